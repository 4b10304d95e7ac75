/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which marker released a step: for the log line of a read that came too late.
 *
 * Where `first` is, a marker of the slowest job decides.  A mount sees the versions in which it rises, and remembers
 * the last of them; of what was released before, it can only say that.  Any thread.
 */
#ifndef BW_FS_RELEASED_H
#define BW_FS_RELEASED_H

#include "manifest/root.h"
#include "store/base/sync.h"

#define BW_RELEASED_KEPT 64u
#define BW_RELEASED_TEXT 160u

struct bw_released {
	struct bw_mutex lock;
	uint64_t n;	/* seen so far; number i is in trims[i % BW_RELEASED_KEPT] */
	struct {
		uint64_t was, first;	/* released: [was, first) */
		uint64_t version, marker;
		char job[BW_NAME_MAX + 1];	/* "": the marker was gone when it was looked for */
	} trims[BW_RELEASED_KEPT];
};

void bw_released_init(struct bw_released *r);
void bw_released_done(struct bw_released *r);
/* margin: the stream's. */
void bw_released_saw(struct bw_released *r, uint64_t margin, const struct bw_root *old,
		     const struct bw_root *now);
/* key=value pairs, never empty. */
void bw_released_text(struct bw_released *r, uint64_t step, char text[BW_RELEASED_TEXT]);

#endif
