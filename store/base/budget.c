/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/budget.h"

void bw_budget_init(struct bw_budget *b, uint64_t limit)
{
	b->limit = limit;
	atomic_init(&b->used, 0);
}

bool bw_budget_take(struct bw_budget *b, uint64_t bytes)
{
	uint_fast64_t used = atomic_load_explicit(&b->used, memory_order_relaxed);

	do {
		if (used > b->limit || bytes > b->limit - used)
			return false;
	} while (!atomic_compare_exchange_weak(&b->used, &used, used + bytes));
	return true;
}

void bw_budget_force(struct bw_budget *b, uint64_t bytes)
{
	atomic_fetch_add(&b->used, bytes);
}

void bw_budget_give(struct bw_budget *b, uint64_t bytes)
{
	atomic_fetch_sub(&b->used, bytes);
}

uint64_t bw_budget_used(const struct bw_budget *b)
{
	return atomic_load_explicit(&b->used, memory_order_relaxed);
}
