/* SPDX-License-Identifier: Apache-2.0 */
/* A committer's callers that wait. */
#include "manifest/committer.h"
#include "store/base/sync.h"

#include <string.h>

struct waiter {
	struct bw_commit_item item;
	struct bw_mutex lock;
	struct bw_cond cond;
	bool done;
	struct bw_txn_change result;
};

static void wake(struct bw_commit_item *item, const struct bw_txn_change *result)
{
	struct waiter *w = (struct waiter *)item;

	BW_LOCK_SCOPE(&w->lock);
	w->done = true;
	w->result = *result;
	bw_cond_signal(&w->cond);
}

int bw_committer_sync(struct bw_committer *c, const struct bw_change *change,
		      struct bw_txn_change *ret)
{
	struct waiter w = {.item = {.change = *change, .done = wake}};

	bw_mutex_init(&w.lock, BW_RANK_LEAF);
	bw_cond_init(&w.cond);
	bw_committer_push(c, &w.item);
	bw_lock(&w.lock);
	while (!w.done)
		bw_cond_wait(&w.cond, &w.lock);
	bw_unlock(&w.lock);
	bw_cond_done(&w.cond);
	bw_mutex_done(&w.lock);
	*ret = w.result;
	ret->change = *change;	/* the caller's own, borrowed: the committer's copy is gone */
	ret->ctx = NULL;
	return ret->err;
}

int bw_committer_take(struct bw_committer *c, const char *producer, struct bw_producer_entry *ret)
{
	struct bw_head *head = bw_committer_head(c);
	const uint8_t *owner = bw_committer_owner(c);
	struct bw_change fence = {.kind = BW_CHANGE_FENCE};
	struct bw_txn_change result;

	if (strlen(producer) > BW_NAME_MAX)
		return -EINVAL;
	memcpy(fence.name, producer, strlen(producer) + 1);
	memcpy(fence.owner, owner, sizeof(fence.owner));
	struct bw_root *r = bw_head_root(head);
	const struct bw_producer_entry *p = bw_root_producer(r, producer);

	if (!p || memcmp(p->owner, owner, sizeof(p->owner)) != 0) {
		int err = bw_committer_sync(c, &fence, &result);

		bw_root_unref(r);
		if (err)
			return err;
		r = bw_head_root(head);
		p = bw_root_producer(r, producer);
	}
	int err = p && !memcmp(p->owner, owner, sizeof(p->owner)) ? 0 : -BW_E_FENCED;

	if (!err) {
		*ret = *p;
		ret->state = NULL;	/* it belongs to the root */
	}
	bw_root_unref(r);
	return err;
}
