/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files a thread of another process has open for writing, from its /proc/PID/task/TID/fd.  Private to closer.h.
 *
 * To find that directory is half of a look.  It is kept open for the next one, for a few seconds and for a few threads: of one
 * that has gone it shows nothing for ever, whoever has the number then.
 *
 * Thread-safe.
 */
#ifndef BW_FS_DESCRIPTORS_H
#define BW_FS_DESCRIPTORS_H

#include "store/base/workq.h"

#include <sys/types.h>

enum bw_descriptors_seen {
	BW_DESCRIPTORS_NONE,	/* no descriptor at all: it exits, has gone or has closed all */
	BW_DESCRIPTORS_OTHERS,	/* some, and none of them is such a one */
	BW_DESCRIPTORS_WRITER,	/* one that may write the file */
	BW_DESCRIPTORS_HIDDEN,	/* we may not look, or lack what it takes: descriptors, memory */
};

struct bw_descriptors;
/* timer, borrowed: gives up directories that were not looked into for kept_ns (to twice that). */
int bw_descriptors_new(struct bw_workq *timer, int64_t kept_ns, struct bw_descriptors **ret) bw_must_check;
void bw_descriptors_free(struct bw_descriptors *d);	/* after the timer, whose end closes what is kept; NULL is fine */

/*
 * What thread tid of process tgid has open; the file has that name, in whatever directory, and that inode number.  Blocks while the thread is
 * in an exec whose closes are not answered.
 */
enum bw_descriptors_seen bw_descriptors_look(struct bw_descriptors *d, pid_t tgid, pid_t tid, const char *name,
					     uint64_t ino);

/* text: that of /proc/PID/fdinfo/FD, of a descriptor whose file has the name that is looked for.  May it write the file of that inode number?
 * Kernels before 5.14 do not tell the number: then the name decides. */
bool bw_fdinfo_is_writer(const char *text, uint64_t ino);

#endif
