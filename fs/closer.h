/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is closing a staged file, and in what state: the question behind P3 and P3k.
 *
 * To FUSE a killed writer looks like a clean close, and a shell's dup or a forked child's exit like
 * the writer's own.  A signal that is not sent (tgkill) tells whether the thread is one of the process that opened
 * the file, /proc the rest:
 *   status  Tgid: of which process is a thread that was not seen before?
 *   fd      does that thread hold another writable descriptor of it (exec 3>f, `cat >> f` of a shell)?  The directory is kept open
 *           for the next close, and for some seconds.
 *   stat    flags and exit_code: is it dying of a signal?  Asked only when it has no descriptor at all: who dies gives up the
 *           table before what is in it.  Or when its descriptors are hidden, as those of who exits are from all but root.
 * Reading them blocks for as long as a close-on-exec flush is unanswered (the task holds what /proc
 * wants), so each look runs where it may hang: on the thread that asks, while fewer than a given number of
 * those do, else on one of its own.  One that has been asleep there for 50 ms says DEFER: then the flush is
 * answered, by another thread, the exec goes on, the look comes back, and the release of the last descriptor
 * decides.
 */
#ifndef BW_FS_CLOSER_H
#define BW_FS_CLOSER_H

#include "store/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum bw_closer_verdict {
	BW_CLOSER_OWN,		/* the opener's last descriptor, alive or leaving in order: counts */
	BW_CLOSER_DEFER,	/* another process, another descriptor, a writer that goes on, an exec: the release decides */
	BW_CLOSER_KILLED_OWN,	/* the opener is dying of a signal */
	BW_CLOSER_KILLED_OTHER,	/* somebody else is, who had inherited it */
	BW_CLOSER_UNKNOWN,	/* cannot be seen: another pid namespace, hidden /proc */
};

struct bw_closer;
/* here_most: so many judgements at a time are made by the threads that ask for them.  Starts threads. */
int bw_closer_new(unsigned here_most, struct bw_closer **ret) bw_must_check;
void bw_closer_free(struct bw_closer *c);	/* NULL is fine; judgements under way end first */

/* Thread group of pid as seen here; 0 when it cannot be seen.  Does not block. */
pid_t bw_closer_tgid(struct bw_closer *c, pid_t pid);

/*
 * Judges the flush by thread pid of a file that process opener opened; writer is another process that wrote to it, or 0;
 * name and ino are the file's, to find other descriptors of it.  Inside the call or on other threads, done runs once, final;
 * or twice, when the look hangs: first DEFER, so that the flush can be answered, later the verdict, final.
 * False when memory is short: done will not run.
 */
bool bw_closer_judge(struct bw_closer *c, pid_t pid, pid_t opener, pid_t writer, const char *name, uint64_t ino,
		     void (*done)(void *ctx, enum bw_closer_verdict verdict, bool final),
		     void *ctx);

#endif
