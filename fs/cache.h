/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks in memory and on their way.  Private to the reader.
 *
 * The one idea: (step, block) is in the table once, either in flight with those who wait for it or
 * as verified bytes; so a block is never fetched twice while it is there, and never seen unverified.
 *
 * What goes when memory is short, first to last:
 *   spent	every byte was handed out: the kernel's page cache has them now (V4).  A few MiB stay
 *		for a second look, the rest goes at once: memory that goes round quickly stays in the
 *		CPU's caches, and what is not held is there for others
 *   ahead	prefetched and unread for so long that its reader has probably gone
 *   used	handed out in part, least recently used first; a prefetch takes only those that rest
 *   ahead	the latest first: it will be asked for last.  Never for a prefetch
 * A block that a read holds at this moment stays.  Blocks ahead hold at most a quarter of the budget.
 *
 * Blocks ahead that lie next to each other may come in one get: each get costs a gateway as much as half a mebibyte
 * or more.  In all else each is for itself: verified, kept, given up.  What such a get does not bring, as it failed
 * or the block in it was damaged, is fetched alone if a reader waits for it, and otherwise forgotten.
 *
 * A block that could not be had is forgotten, but for a moment who asks for it again does not wait as long (failed.h).
 *
 * Thread-safe, one lock.
 */
#ifndef BW_FS_CACHE_H
#define BW_FS_CACHE_H

#include "fs/fetch.h"
#include "fs/reader.h"

struct bw_cache;

struct bw_cache_config {
	struct bw_fetcher *fetcher;	/* all borrowed */
	struct bw_budget *budget;
	struct bw_counters *counters;
	/* Answers a piece that had to wait: piece->blob holds a reference, or err says why not.  On a
	 * pool thread, no lock held. */
	void (*answer)(struct bw_piece *piece, int err);
	/* NULL, or: a block ahead has come and nobody waits for it.  On a pool thread, no lock held; all borrowed. */
	void (*came)(void *ctx, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank);
	/* NULL, or: a get ahead that was begun then has brought something, or had not enough time.  As came(). */
	void (*ahead)(void *ctx, int64_t begun_ns, bool in_time);
	void *ctx;
	int64_t (*now)(void);		/* bw_now(), or a test's clock: decides what is old */
};

/* Block number index of the slice of rank. */
struct bw_block_want {
	const struct bw_entry *entry;	/* borrowed for the call, as tgb */
	struct bw_tgb *tgb;
	uint32_t rank, index;
};

int bw_cache_new(const struct bw_cache_config *config, struct bw_cache **ret) bw_must_check;
void bw_cache_free(struct bw_cache *c);		/* nothing in flight; NULL is fine */

/* 1: piece->blob holds a reference.  0: answer() will run, or has run.  -ENOMEM. */
int bw_cache_get(struct bw_cache *c, const struct bw_block_want *want, struct bw_piece *piece)
	bw_must_check;
/* It is there, and nobody has asked for it yet. */
bool bw_cache_is_ahead(struct bw_cache *c, const struct bw_block_want *want);
bool bw_cache_has(struct bw_cache *c, const struct bw_block_want *want);	/* or it is on its way */
/* Moves to the block that lies next in the object, perhaps of the next rank; false: that was the last one. */
bool bw_block_next(struct bw_block_want *want);
/* Sees to it that the n blocks from want on as they lie in the object will be there, by one get for those between two that are
 * there already.  False: memory has no room for all of them ahead. */
bool bw_cache_prefetch(struct bw_cache *c, const struct bw_block_want *want, uint32_t n);

/*
 * Blocks whose bytes have been asked for already, from want's block on up to one that is there or has no room; those who come
 * meanwhile wait.  NULL: those are none.
 */
struct bw_expected;
struct bw_expected *bw_cache_expect(struct bw_cache *c, const struct bw_block_want *want, uint32_t n);
/* Those bytes, or err why there are none; borrowed, perhaps cut into blocks, which may be taken out of the chain.  On
 * a pool thread, while the fetcher is busy. */
void bw_cache_arrive(struct bw_cache *c, struct bw_expected *e, struct bw_blob *bytes, int err);

/* Evicts about bytes; returns how many it gave back. */
uint64_t bw_cache_shrink(struct bw_cache *c, uint64_t bytes);
/* Gives back what demand reads have overdrawn, as far as nobody holds it. */
void bw_cache_trim(struct bw_cache *c);

#endif
