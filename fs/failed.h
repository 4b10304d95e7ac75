/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks that could not be had a moment ago.  Private to the cache.
 *
 * What the kernel could not read ahead it asks for once more before it tells whoever reads, who waits for both answers: V6 promises
 * io_timeout, not twice that.  So who asks again within a fifth of a second waits two seconds at most, and a damaged block is
 * fetched twice.  It is asked for all the same: a store that is back serves it.
 *
 * No locks here: the owner has one.
 */
#ifndef BW_FS_FAILED_H
#define BW_FS_FAILED_H

#include "fs/fetch.h"

#define BW_FAILED_MOST 64u

/* Of zeroes: none. */
struct bw_failed {
	struct {
		uint64_t step;
		uint32_t number;
		int err;
		int64_t until_ns;
	} ring[BW_FAILED_MOST];
	unsigned next;
};

/* fetch, for which somebody waited, has ended with err.  Of one that was in a hurry nothing is noted. */
void bw_failed_note(struct bw_failed *f, const struct bw_fetch *fetch, int err, int64_t now);
/* fetch is about to be started: makes it hurry if its block is one of those. */
void bw_failed_hurry(const struct bw_failed *f, struct bw_fetch *fetch, int64_t now);

#endif
