/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stream that bench makes below somebody's URL, and takes away again whatever happens.  What else lies there is
 * neither looked at nor touched.
 */
#ifndef BW_MOUNT_HELPERS_BENCH_SCRATCH_H
#define BW_MOUNT_HELPERS_BENCH_SCRATCH_H

#include "mount-helpers/session.h"

#define BW_SCRATCH_URL_MAX 4096

struct bw_scratch {
	const struct bw_command *command;
	const struct bw_store_options *how;	/* borrowed */
	char url[BW_SCRATCH_URL_MAX];
	char id[33];		/* "": there is no stream yet */
	size_t keep;		/* of a file:// URL: how much of the path was there before */
};

/* Only the name: NAME below url.  0 or an exit code with the sentence said. */
int bw_scratch_name(struct bw_scratch *s, const struct bw_command *c, const char *url, const char *name,
		    const struct bw_store_options *how);
/* Probes the store and creates the stream.  0 or an exit code with the sentence said; bw_scratch_destroy() is due. */
int bw_scratch_create(struct bw_scratch *s, const struct bw_stream_options *options);
/*
 * Deletes it; every mount of it must have ended.  go_on is asked now and then, and may be NULL.  0, or
 * an exit code with a sentence that tells how to do it by hand.
 */
int bw_scratch_destroy(struct bw_scratch *s, bool (*go_on)(void *ctx), void *ctx);

#endif
