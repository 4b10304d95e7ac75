/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many bytes of the stream are live: those of the steps from first on.
 *
 * A root sums all steps since 0.  What lies below `first` is told by the entry of first, which may be a get or two
 * away; so it is looked up when `first` moves, and whoever asks meanwhile gets the sum that was right before.
 *
 * Thread-safe; nothing waits.
 */
#ifndef BW_FS_LIVE_H
#define BW_FS_LIVE_H

#include "manifest/head.h"
#include "store/base/sync.h"

struct bw_live {
	struct bw_head *head;		/* borrowed */
	struct bw_mutex lock;
	uint64_t first, before;		/* sizes of the objects below first, summed */
	bool busy;			/* find is lent */
	struct bw_find find;
};

/* Subscribes to the head's news, so before any.  bw_live_done() after the head is gone. */
void bw_live_init(struct bw_live *l, struct bw_head *head);
void bw_live_done(struct bw_live *l);
/* Of root, one that the head has or had. */
uint64_t bw_live_bytes(struct bw_live *l, const struct bw_root *root);

#endif
