/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoded footers, by step.  Private to the reader.
 *
 * A footer is fetched once, however many ask for it, checked against the sum and the names in its
 * entry, and kept until an eighth of the budget is full of footers; then the least recently used that
 * nobody holds goes.  Where it has pages and the slices of one page are all that is read here, the page is
 * fetched instead, as a footer of its own.
 *
 * Thread-safe, one lock.
 */
#ifndef BW_FS_TGBS_H
#define BW_FS_TGBS_H

#include "fs/cache.h"
#include "fs/fetch.h"

struct bw_tgbs;

/* All borrowed.  blocks gives back memory when a footer finds none. */
int bw_tgbs_new(struct bw_fetcher *fetcher, struct bw_budget *budget, struct bw_cache *blocks,
		struct bw_tgbs **ret) bw_must_check;
void bw_tgbs_free(struct bw_tgbs *t);	/* nothing in flight; NULL is fine */

/* 1: *ret_tgb holds a reference.  0: w->done will run, or has run.  -ENOMEM: neither; for a prefetch
 * also when the budget has no room. */
int bw_tgbs_get(struct bw_tgbs *t, struct bw_tgb_wait *w, enum bw_prio prio,
		struct bw_tgb **ret_tgb) bw_must_check;
/* What says where the slice of rank lies, or it is on its way. */
bool bw_tgbs_has(struct bw_tgbs *t, const struct bw_entry *entry, uint32_t rank);
bool bw_tgbs_on_disk(struct bw_tgbs *t, const struct bw_entry *entry, uint32_t rank);
/* bytes: NULL, or the whole footer, [entry->footer_len], which the disk cache has as soon as somebody asks for it. */
void bw_tgbs_learn(struct bw_tgbs *t, const struct bw_entry *entry, struct bw_tgb *tgb, const void *bytes);
uint64_t bw_tgbs_shrink(struct bw_tgbs *t, uint64_t bytes);

#endif
