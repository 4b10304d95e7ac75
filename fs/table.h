/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table of (step, number) and lists by age, both through what they hold: nothing is allocated
 * for an item, so adding one cannot fail.
 *
 * No locks here: the owner has one.
 */
#ifndef BW_FS_TABLE_H
#define BW_FS_TABLE_H

#include "store/base/err.h"

#include <stddef.h>
#include <stdint.h>

struct bw_item {
	uint64_t step;
	uint32_t number;
	struct bw_item *chain;		/* private */
	struct bw_item *prev, *next;	/* private: its place in a list */
};

struct bw_table {
	struct bw_item **heads;		/* owned, [mask + 1] */
	size_t mask, n;
};

int bw_table_init(struct bw_table *t) bw_must_check;
void bw_table_done(struct bw_table *t);		/* the items are the owner's */
struct bw_item *bw_table_find(const struct bw_table *t, uint64_t step, uint32_t number);
void bw_table_add(struct bw_table *t, struct bw_item *i);	/* its key is not in the table */
void bw_table_remove(struct bw_table *t, struct bw_item *i);

/* A list is an item that stands for both its ends: next is the oldest, prev the newest. */
static inline void bw_list_init(struct bw_item *list)
{
	list->prev = list->next = list;
}

static inline void bw_list_add(struct bw_item *list, struct bw_item *i)
{
	i->prev = list->prev;
	i->next = list;
	i->prev->next = i;
	list->prev = i;
}

static inline void bw_list_remove(struct bw_item *i)
{
	i->prev->next = i->next;
	i->next->prev = i->prev;
}

#endif
