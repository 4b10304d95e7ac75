/* SPDX-License-Identifier: Apache-2.0 */
/* A committer's callers that wait. */
#include "manifest/committer.h"
#include "store/base/sync.h"

#include <string.h>

struct waiter {
	struct bw_commit_item item;
	struct bw_latch answered;
	struct bw_txn_change result;
};

static void wake(struct bw_commit_item *item, const struct bw_txn_change *result)
{
	struct waiter *w = (struct waiter *)item;

	w->result = *result;
	bw_latch_open(&w->answered);
}

int bw_committer_sync(struct bw_committer *c, const struct bw_change *change, int64_t deadline_ns,
		      struct bw_txn_change *ret)
{
	struct waiter w = {.item = {.change = *change, .done = wake}};

	if (bw_committer_is_over(c))
		return -BW_E_UNREACHABLE;
	bw_latch_init(&w.answered);
	bw_committer_push(c, &w.item);
	bool late = !bw_latch_wait_until(&w.answered, deadline_ns);

	if (late) {
		bw_committer_stop(c, deadline_ns);
		bw_latch_wait(&w.answered);
	}
	if (late && w.result.err == -BW_E_STOPPING)
		w.result.err = -BW_E_UNREACHABLE;
	*ret = w.result;
	ret->change = *change;	/* the caller's own, borrowed: the committer's copy is gone */
	ret->ctx = NULL;
	return ret->err;
}

int bw_committer_take(struct bw_committer *c, const char *producer, int64_t deadline_ns,
		      struct bw_producer_entry *ret)
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
		int err = bw_committer_sync(c, &fence, deadline_ns, &result);

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
