/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All entries of a range of steps, in order: from a root's tail and its index, each node got once.
 *
 * Holds one node of each level.  Does no I/O: the caller gets the node that is asked for.  Nodes that are
 * missing are passed over on request, as those who walk over what is being deleted must.
 * Thread-safety: none.
 */
#ifndef BW_MANIFEST_INDEX_WALK_H
#define BW_MANIFEST_INDEX_WALK_H

#include "manifest/index.h"

struct bw_walk {
	struct bw_root *root;			/* owned; NULL: not begun */
	uint64_t at, end;			/* the next step; the one behind the last */
	struct bw_node *nodes[BW_LEVELS_MAX];	/* owned: the last one got of each level, or NULL */
	uint64_t hashes[BW_LEVELS_MAX];		/* of those nodes */
	struct bw_pointer want;			/* the node that is asked for */
	unsigned want_level;
};

/* Steps [at, end) of root (ref'ed), at or above its swept and below its head.  w was zeroed or done before. */
void bw_walk_begin(struct bw_walk *w, struct bw_root *root, uint64_t at, uint64_t end);
void bw_walk_done(struct bw_walk *w);

/*
 * 1: *ret points to n entries from w->at on, borrowed until the next move; the caller raises w->at as far as it
 * likes.  0: get w->want of w->want_level and give or pass it.  -ENODATA: the end.  -BW_E_CORRUPT: the index has a
 * gap.
 */
int bw_walk_move(struct bw_walk *w, const struct bw_entry **ret, uint32_t *ret_n) bw_must_check;

/* The bytes of the node that is wanted: 0, -BW_E_CORRUPT when they are another's or damaged, -ENOMEM. */
int bw_walk_give(struct bw_walk *w, const void *bytes, size_t len) bw_must_check;
/* The node that is wanted is not to be had: goes on behind its last step. */
void bw_walk_pass(struct bw_walk *w);

size_t bw_walk_bytes(const struct bw_walk *w);	/* memory it holds */

#endif
