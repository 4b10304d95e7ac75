/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a command line as slices, and a temporary file as a sink.
 *
 * A batch may have 65,536 slices, more than a process may have open, so a file is opened for each
 * read.  It must stay the file it was when the command looked at it first; one that changed fails.
 */
#ifndef BW_MOUNT_HELPERS_SLICE_FILE_H
#define BW_MOUNT_HELPERS_SLICE_FILE_H

#include "manifest/batch.h"
#include "mount-helpers/progress.h"

#include <sys/stat.h>

struct bw_slice_file {
	struct bw_body body;	/* first: reads come back with it; any thread */
	const char *path;	/* borrowed */
	struct bw_progress *progress;	/* borrowed, or NULL: hears of the bytes read */
	struct stat was;
	atomic_int err;		/* the first failed read: -errno; -ESTALE: the file has changed */
};

/* Looks at the file.  0; -errno; -EISDIR and alike for what is no plain file; -ENODATA when empty. */
int bw_slice_file_init(struct bw_slice_file *f, const char *path, struct bw_progress *progress)
	bw_must_check;

/* Where compressed blocks wait for the upload: a file without a name in $TMPDIR or /tmp. */
struct bw_file_sink {
	struct bw_sink sink;
	int fd;
};
const char *bw_file_sink_folder(void);
int bw_file_sink_init(struct bw_file_sink *s) bw_must_check;
void bw_file_sink_done(struct bw_file_sink *s);

#endif
