/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/head.h"

#include "manifest/apply.h"
#include "manifest/head_priv.h"

#include <inttypes.h>
#include <stdlib.h>

#define VERIFY_NS (30 * BW_SEC)

int bw_head_new(struct bw_store *store, const struct bw_stream *stream, struct bw_root *root, int64_t opened_ns,
		struct bw_log *log, struct bw_head **ret)
{
	struct bw_head *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->store = store;
	h->log = log;
	h->stream = *stream;
	h->root = bw_root_ref(root);
	h->news_tail = &h->news;
	bw_mutex_init(&h->lock, BW_RANK_HEAD);
	bw_nodes_init(h);
	int err = bw_prober_init(h, opened_ns);

	if (err) {
		bw_head_free(h);
		return err;
	}
	*ret = h;
	return 0;
}

void bw_head_free(struct bw_head *h)
{
	if (!h)
		return;
	bw_prober_stop(h);
	bw_nodes_done(h);
	bw_prober_done(h);
	bw_root_unref(h->root);
	bw_mutex_done(&h->lock);
	free(h);
}

struct bw_root *bw_head_root(struct bw_head *h)
{
	BW_LOCK_SCOPE(&h->lock);
	return bw_root_ref(h->root);
}

void bw_head_subscribe(struct bw_head *h, bw_head_news *news, void *ctx)
{
	BW_LOCK_SCOPE(&h->lock);
	if (h->subscribers_n == BW_HEAD_SUBSCRIBERS)
		abort();
	h->subscribers[h->subscribers_n].news = news;
	h->subscribers[h->subscribers_n++].ctx = ctx;
}

int bw_head_poisoned(struct bw_head *h)
{
	BW_LOCK_SCOPE(&h->lock);
	return h->poisoned;
}

static int poison(struct bw_head *h, const struct bw_root *old, const struct bw_root *now)
{
	bw_lock(&h->lock);
	bool first = !h->poisoned;

	h->poisoned = -BW_E_CONTRADICTION;
	bw_unlock(&h->lock);
	if (first)
		bw_log(h->log, BW_LOG_ERROR, "contradiction",
		       "used=%" PRIu64 " found=%" PRIu64
		       " note=\"the store holds a manifest that contradicts one used before\"",
		       old->version, now->version);
	return -BW_E_CONTRADICTION;
}

void bw_head_destroyed(struct bw_head *h)
{
	bw_lock(&h->lock);
	bool first = !h->poisoned;

	if (first)
		h->poisoned = -BW_E_DESTROYED;
	bw_unlock(&h->lock);
	if (first)
		bw_log(h->log, BW_LOG_ERROR, "destroyed", "note=\"the stream is being destroyed, or was\"");
}

/*
 * bw_apply_check() compares the digest at old's head where now still knows it.  Where now's tail does
 * not reach back so far, its index does, unless it is reclaimed.
 */
static int check_gap(struct bw_head *h, const struct bw_root *old, const struct bw_root *now,
		     bw_fetch *fetch)
{
	uint64_t digest;

	if (now->head - now->tail_n <= old->head || !old->head || old->head - 1 < now->first)
		return 0;
	int err = bw_nodes_digest(h, now, old->head, fetch, &digest);

	if (err)
		return err;
	return digest == old->digest ? 0 : -BW_E_CONTRADICTION;
}

static struct bw_news_item *news_pop(struct bw_head *h)
{
	BW_LOCK_SCOPE(&h->lock);
	struct bw_news_item *item = h->news;

	if (!item) {
		h->telling = false;
		return NULL;
	}
	h->news = item->next;
	if (!h->news)
		h->news_tail = &h->news;
	return item;
}

/* In order and one at a time: by the first publisher for those that come while it does so. */
static void tell(struct bw_head *h)
{
	bw_lock(&h->lock);
	bool mine = !h->telling;

	h->telling = true;
	bw_unlock(&h->lock);
	if (!mine)
		return;
	for (struct bw_news_item *item; (item = news_pop(h));) {
		for (unsigned i = 0; i < h->subscribers_n; i++)
			h->subscribers[i].news(h->subscribers[i].ctx, item->old, item->now);
		bw_root_unref(item->old);
		bw_root_unref(item->now);
		free(item);
	}
}

/* Swaps old for root, unless another was faster: then false, and nothing is changed. */
static bool swap(struct bw_head *h, struct bw_root *old, struct bw_root *root,
		 struct bw_news_item *item)
{
	BW_LOCK_SCOPE(&h->lock);
	if (h->root != old)
		return false;
	/* The head's own reference to old goes to the news. */
	*item = (struct bw_news_item){.old = old, .now = bw_root_ref(root)};
	h->root = bw_root_ref(root);
	*h->news_tail = item;
	h->news_tail = &item->next;
	return true;
}

int bw_head_publish_by(struct bw_head *h, struct bw_root *root, bw_fetch *fetch)
{
	struct bw_news_item *item = malloc(sizeof(*item));
	int err = bw_head_poisoned(h);
	bool swapped = false;

	if (!err && !item)
		err = -ENOMEM;
	while (!err && !swapped) {
		struct bw_root *old = bw_head_root(h);

		if (root->version < old->version) {
			bw_root_unref(old);
			break;
		}
		err = bw_apply_check(&h->stream, old, root);
		if (!err && root->version == old->version) {
			bw_root_unref(old);
			break;
		}
		if (!err)
			err = check_gap(h, old, root, fetch);
		if (err == -BW_E_CONTRADICTION)
			poison(h, old, root);
		if (!err)
			swapped = swap(h, old, root, item);
		bw_root_unref(old);
	}
	if (!swapped)
		free(item);
	else
		tell(h);
	if (swapped || err == -BW_E_CONTRADICTION)
		bw_prober_nudge(h);
	return err;
}

static int fetch_sync(struct bw_head *h, const char *key, uint64_t max, struct bw_blob **ret)
{
	struct bw_op op;

	bw_op_get_all(&op, key, max);
	op.deadline_ns = bw_now() + VERIFY_NS;
	bw_store_sync(h->store, &op);
	int err = bw_op_err(&op);

	if (!err) {
		*ret = op.blob;
		op.blob = NULL;
	}
	bw_op_done(&op);
	return err;
}

int bw_head_publish(struct bw_head *h, struct bw_root *root)
{
	return bw_head_publish_by(h, root, fetch_sync);
}
