/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/table.h"

#include <stdlib.h>

#define HEADS_MIN 256u

int bw_table_init(struct bw_table *t)
{
	*t = (struct bw_table){.mask = HEADS_MIN - 1};
	t->heads = calloc(HEADS_MIN, sizeof(struct bw_item *));
	return t->heads ? 0 : -ENOMEM;
}

void bw_table_done(struct bw_table *t)
{
	free(t->heads);
	t->heads = NULL;
}

static struct bw_item **head_of(struct bw_item **heads, size_t mask, uint64_t step, uint32_t number)
{
	uint64_t h = (step ^ (uint64_t)number << 40) * UINT64_C(0x9e3779b97f4a7c15);

	return &heads[(h ^ h >> 32) & mask];
}

struct bw_item *bw_table_find(const struct bw_table *t, uint64_t step, uint32_t number)
{
	struct bw_item *i = *head_of(t->heads, t->mask, step, number);

	while (i && (i->step != step || i->number != number))
		i = i->chain;
	return i;
}

/* Chains that grow are slow and right, so a table that finds no memory stays as it is. */
static void grow(struct bw_table *t)
{
	size_t mask = 2 * t->mask + 1;
	struct bw_item **heads = calloc(mask + 1, sizeof(struct bw_item *));

	if (!heads)
		return;
	for (size_t h = 0; h <= t->mask; h++) {
		for (struct bw_item *i = t->heads[h], *next; i; i = next) {
			struct bw_item **to = head_of(heads, mask, i->step, i->number);
			next = i->chain;
			i->chain = *to;
			*to = i;
		}
	}
	free(t->heads);
	t->heads = heads;
	t->mask = mask;
}

void bw_table_add(struct bw_table *t, struct bw_item *i)
{
	if (t->n > t->mask)
		grow(t);
	struct bw_item **head = head_of(t->heads, t->mask, i->step, i->number);

	i->chain = *head;
	*head = i;
	t->n++;
}

void bw_table_remove(struct bw_table *t, struct bw_item *i)
{
	struct bw_item **at = head_of(t->heads, t->mask, i->step, i->number);

	while (*at != i)
		at = &(*at)->chain;
	*at = i->chain;
	t->n--;
}
