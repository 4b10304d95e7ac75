/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The byte budget of a mount: cache, transfers and staging all draw on it, so that memory= is a
 * promise and not a hope.
 *
 * Nobody sleeps for it.  A taker asks; when the answer is no it evicts what it can, goes to disk,
 * waits for its own earlier requests, or fails with a clear error.  A demand read that holds nothing
 * else may overdraw by one block (force), or the last reader would wait for itself.
 */
#ifndef BW_BASE_BUDGET_H
#define BW_BASE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct bw_budget {
	uint64_t limit;
	atomic_uint_fast64_t used;
};

void bw_budget_init(struct bw_budget *b, uint64_t limit);
bool bw_budget_take(struct bw_budget *b, uint64_t bytes);	/* false: would pass the limit */
void bw_budget_force(struct bw_budget *b, uint64_t bytes);
void bw_budget_give(struct bw_budget *b, uint64_t bytes);
uint64_t bw_budget_used(const struct bw_budget *b);

#endif
