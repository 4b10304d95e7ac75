/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/handed.h"

#include "store/base/clock.h"

#include <stdlib.h>

#define STALE_NS (30 * BW_SEC)		/* unopened for so long: its reader has gone */

/* item first: the table knows it by that. */
struct slice {
	struct bw_item item;		/* number is the rank */
	uint32_t blocks;
	uint64_t bytes;
	int64_t since_ns;		/* of its latest block */
};

int bw_handed_init(struct bw_handed *h, uint64_t most, int64_t (*now)(void))
{
	if (bw_table_init(&h->table))
		return -ENOMEM;
	bw_mutex_init(&h->lock, BW_RANK_LEAF);
	bw_list_init(&h->list);
	h->most = most;
	h->now = now;
	h->bytes = 0;
	h->n = 0;
	return 0;
}

static struct slice *find_locked(struct bw_handed *h, uint64_t step, uint32_t rank)
{
	return (struct slice *)bw_table_find(&h->table, step, rank);
}

static void forget_locked(struct bw_handed *h, struct slice *s)
{
	bw_table_remove(&h->table, &s->item);
	bw_list_remove(&s->item);
	h->bytes -= s->bytes;
	h->n--;
	free(s);
}

static struct slice *oldest_locked(struct bw_handed *h)
{
	return h->n ? (struct slice *)h->list.next : NULL;
}

void bw_handed_done(struct bw_handed *h)
{
	struct slice *s;

	if (!h->table.heads)
		return;
	while ((s = oldest_locked(h)))
		forget_locked(h, s);
	bw_table_done(&h->table);
	bw_mutex_done(&h->lock);
}

uint32_t bw_handed_blocks(struct bw_handed *h, uint64_t step, uint32_t rank)
{
	BW_LOCK_SCOPE(&h->lock);
	const struct slice *s = find_locked(h, step, rank);

	return s ? s->blocks : 0;
}

static bool make_room_locked(struct bw_handed *h, uint64_t bytes)
{
	int64_t now = h->now();

	while (h->bytes + bytes > h->most) {
		struct slice *s = oldest_locked(h);
		if (!s || now - s->since_ns <= STALE_NS)
			return false;
		forget_locked(h, s);
	}
	return true;
}

static struct slice *add_locked(struct bw_handed *h, uint64_t step, uint32_t rank)
{
	struct slice *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->item.step = step;
	s->item.number = rank;
	if (h->n == BW_HANDED_SLICES)
		forget_locked(h, oldest_locked(h));
	bw_table_add(&h->table, &s->item);
	bw_list_add(&h->list, &s->item);
	h->n++;
	return s;
}

bool bw_handed_add(struct bw_handed *h, uint64_t step, uint32_t rank, uint32_t index, uint64_t bytes)
{
	BW_LOCK_SCOPE(&h->lock);
	bool has_room = make_room_locked(h, bytes);
	struct slice *s = find_locked(h, step, rank);

	if (!s && !index && has_room)
		s = add_locked(h, step, rank);
	if (!s || s->blocks != index || !has_room)
		return false;
	bw_list_remove(&s->item);
	bw_list_add(&h->list, &s->item);
	s->since_ns = h->now();
	s->blocks++;
	s->bytes += bytes;
	h->bytes += bytes;
	return true;
}

void bw_handed_drop(struct bw_handed *h, uint64_t step, uint32_t rank, uint32_t index, uint64_t bytes)
{
	BW_LOCK_SCOPE(&h->lock);
	struct slice *s = find_locked(h, step, rank);

	if (!s || s->blocks != index + 1)
		return;
	s->blocks--;
	s->bytes -= bytes;
	h->bytes -= bytes;
	if (!s->blocks)
		forget_locked(h, s);
}

uint64_t bw_handed_take(struct bw_handed *h, uint64_t step, uint32_t rank)
{
	BW_LOCK_SCOPE(&h->lock);
	struct slice *s = find_locked(h, step, rank);
	uint64_t bytes = 0;

	if (s) {
		bytes = s->bytes;
		forget_locked(h, s);
	}
	return bytes;
}
