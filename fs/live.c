/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/live.h"

#include "store/base/clock.h"

#define FIND_NS (30 * BW_SEC)

static void learn(struct bw_live *l, uint64_t first, uint64_t before)
{
	BW_LOCK_SCOPE(&l->lock);
	l->busy = false;
	if (first < l->first)
		return;
	l->first = first;
	l->before = before;
}

/* 1: learn() has been called for what is known now. */
static int look(struct bw_live *l);

static void found(struct bw_find *find, int err)
{
	struct bw_live *l = bw_container_of(find, struct bw_live, find);

	if (!err) {
		learn(l, find->step, find->entry.before);
		while (look(l))		/* it may have moved on meanwhile */
			;
		return;
	}
	/* The next news, or the next who asks, has another try. */
	BW_LOCK_SCOPE(&l->lock);
	l->busy = false;
}

static int look(struct bw_live *l)
{
	struct bw_root *r = bw_head_root(l->head);
	uint64_t first = r->first, head = r->head, bytes = r->bytes;
	int err;

	bw_root_unref(r);
	bw_lock(&l->lock);
	bool due = first != l->first && !l->busy;

	if (due) {
		l->busy = true;
		l->find = (struct bw_find){.step = first, .deadline_ns = bw_now() + FIND_NS, .done = found};
	}
	bw_unlock(&l->lock);
	if (!due)
		return 0;
	if (first == head) {
		learn(l, first, bytes);
		return 1;
	}
	if (!bw_head_find(l->head, &l->find, &err))
		return 0;
	if (!err) {
		learn(l, first, l->find.entry.before);
		return 1;
	}
	BW_LOCK_SCOPE(&l->lock);
	l->busy = false;
	return 0;
}

static void news(void *ctx, struct bw_root *old, struct bw_root *now)
{
	(void)old;
	(void)now;
	look(ctx);
}

void bw_live_init(struct bw_live *l, struct bw_head *head)
{
	*l = (struct bw_live){.head = head};
	bw_mutex_init(&l->lock, BW_RANK_STATUS);
	bw_head_subscribe(head, news, l);
	look(l);
}

void bw_live_done(struct bw_live *l)
{
	if (l->head)
		bw_mutex_done(&l->lock);
}

uint64_t bw_live_bytes(struct bw_live *l, const struct bw_root *root)
{
	look(l);
	BW_LOCK_SCOPE(&l->lock);
	return root->bytes > l->before ? root->bytes - l->before : 0;
}
