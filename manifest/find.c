/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking up entries: the root's tail, then index nodes, which are immutable and so cached for ever,
 * or until the cache is full.  One flight per node: who needs it meanwhile joins.
 */
#include "manifest/head_priv.h"

#include <stdlib.h>

#define FETCHES 5	/* of a node that came damaged: it may have been damaged on the way */

/* One look-up that could not be answered at once. */
struct walk {
	struct bw_ask ask;	/* when a node is missing: is the step reclaimed by now? */
	struct bw_head *head;
	struct bw_find *find;	/* borrowed */
	struct bw_root *root;	/* owned: the root the look-up began with */
	struct bw_node *node;	/* owned: where it is; NULL at the root */
	struct walk *next;
};

struct bw_flight {
	struct bw_op op;
	struct bw_head *head;
	unsigned level;
	struct bw_pointer pointer;
	unsigned fetches;
	bool lent;		/* to the store, or about to be */
	struct walk *walks;	/* the first is the one it was started for */
	struct bw_flight *next;
};

/* ---- The cache -------------------------------------------------------------------------------- */

void bw_nodes_init(struct bw_head *h)
{
	bw_mutex_init(&h->nodes.lock, BW_RANK_INDEX);
	bw_cond_init(&h->nodes.idle);
}

void bw_nodes_done(struct bw_head *h)
{
	struct bw_node_cache *c = &h->nodes;

	bw_lock(&c->lock);
	c->stopping = true;
	for (struct bw_flight *f = c->flights; f; f = f->next)
		if (f->lent)
			bw_store_cancel(h->store, &f->op);
	while (c->walks)
		bw_cond_wait(&c->idle, &c->lock);
	bw_unlock(&c->lock);
	for (unsigned i = 0; i < BW_NODES_CACHED; i++)
		bw_node_unref(c->slots[i].node);
	bw_cond_done(&c->idle);
	bw_mutex_done(&c->lock);
}

static struct bw_node *cache_get_locked(struct bw_node_cache *c, unsigned level,
					const struct bw_pointer *p)
{
	for (unsigned i = 0; i < BW_NODES_CACHED; i++) {
		struct bw_node *n = c->slots[i].node;

		if (!n || c->slots[i].hash != p->hash || n->level != level || n->first != p->first)
			continue;
		c->slots[i].used = ++c->clock;
		return bw_node_ref(n);
	}
	return NULL;
}

static void cache_put_locked(struct bw_node_cache *c, const struct bw_pointer *p, struct bw_node *n)
{
	unsigned oldest = 0;
	struct bw_node *there = cache_get_locked(c, n->level, p);

	if (there) {
		bw_node_unref(there);
		return;
	}
	for (unsigned i = 0; i < BW_NODES_CACHED; i++)
		if (c->slots[i].used < c->slots[oldest].used)
			oldest = i;
	bw_node_unref(c->slots[oldest].node);
	c->slots[oldest].node = bw_node_ref(n);
	c->slots[oldest].hash = p->hash;
	c->slots[oldest].used = ++c->clock;
}

/* ---- Walks ------------------------------------------------------------------------------------ */

static void walk_end(struct walk *w, int err)
{
	struct bw_node_cache *c = &w->head->nodes;
	struct bw_find *find = w->find;

	bw_root_unref(w->root);
	bw_node_unref(w->node);
	free(w);
	find->done(find, err);
	BW_LOCK_SCOPE(&c->lock);
	if (--c->walks == 0)
		bw_cond_broadcast(&c->idle);
}

static void flight_done(struct bw_op *op);

static void flight_send(struct bw_flight *f)
{
	char key[BW_KEY_MAX + 1];
	int64_t deadline_ns = f->walks->find->deadline_ns;

	bw_key_node(&f->head->stream, f->level, f->pointer.first, f->pointer.last, f->pointer.hash,
		    key);
	bw_op_get_all(&f->op, key, BW_NODE_STORED_MAX);
	f->op.deadline_ns = deadline_ns;
	f->op.done = flight_done;
	f->op.ctx = f;
	f->fetches++;
	bw_lock(&f->head->nodes.lock);
	f->lent = true;
	bw_unlock(&f->head->nodes.lock);
	bw_store_submit(f->head->store, &f->op);
}

/* Joins the flight to a node, unless it may take longer than the walk can wait. */
static bool join_locked(struct bw_node_cache *c, struct walk *w, unsigned level,
			const struct bw_pointer *p)
{
	for (struct bw_flight *f = c->flights; f; f = f->next) {
		if (f->level != level || f->pointer.hash != p->hash ||
		    f->pointer.first != p->first ||
		    f->walks->find->deadline_ns > w->find->deadline_ns)
			continue;
		w->next = f->walks->next;
		f->walks->next = w;
		return true;
	}
	return false;
}

/* 1: *ret is the node, to be unref'ed.  0: the walk waits for a flight.  Or an error. */
static int walk_fetch(struct walk *w, unsigned level, const struct bw_pointer *p,
		      struct bw_node **ret)
{
	struct bw_node_cache *c = &w->head->nodes;
	struct bw_flight *f = calloc(1, sizeof(*f));

	bw_lock(&c->lock);
	bool stopping = c->stopping;
	*ret = cache_get_locked(c, level, p);
	bool joined = !*ret && join_locked(c, w, level, p);
	bool start = !*ret && !joined && !stopping && f;

	if (start) {
		f->head = w->head;
		f->level = level;
		f->pointer = *p;
		f->walks = w;
		w->next = NULL;
		f->next = c->flights;
		c->flights = f;
	}
	bw_unlock(&c->lock);
	if (start) {
		flight_send(f);
		return 0;
	}
	bool memory = f;

	free(f);
	if (*ret || joined)
		return *ret ? 1 : 0;
	return memory ? -BW_E_STOPPING : -ENOMEM;
}

/* True: the walk is over, with *ret_err, and the caller ends it. */
static bool walk_on(struct walk *w, int *ret_err)
{
	struct bw_pointer fetch;
	unsigned level;

	for (;;) {
		struct bw_node *node;
		int rc = bw_index_move(w->root, w->node, w->find->step, &w->find->entry, &fetch,
				       &level);

		if (rc != 0) {
			*ret_err = rc < 0 ? rc : 0;
			return true;
		}
		rc = walk_fetch(w, level, &fetch, &node);
		if (rc == 0)
			return false;
		if (rc < 0) {
			*ret_err = rc;
			return true;
		}
		bw_node_unref(w->node);
		w->node = node;
	}
}

static void missing_known(struct bw_ask *ask, int err)
{
	struct walk *w = (struct walk *)ask;

	if (!err) {
		struct bw_root *r = bw_head_root(w->head);

		err = w->find->step < r->first ? -BW_E_RECLAIMED : -BW_E_CORRUPT;
		bw_root_unref(r);
	}
	walk_end(w, err);
}

/* A node is gone: with its steps, or it is a fault.  Only the newest root knows. */
static void walk_missing(struct walk *w)
{
	w->ask = (struct bw_ask){.done = missing_known,
				 .until_step = BW_STEPS_MAX,
				 .deadline_ns = w->find->deadline_ns};
	bw_head_ask(w->head, &w->ask);
}

static void walk_resume(struct walk *w, struct bw_node *node)
{
	int err;

	if (node) {
		bw_node_unref(w->node);
		w->node = bw_node_ref(node);
	}
	if (walk_on(w, &err))
		walk_end(w, err);
}

/* ---- Flights ---------------------------------------------------------------------------------- */

static int flight_err(const struct bw_op *op)
{
	int err = bw_op_err(op);

	return err == -ECANCELED || err == -BW_E_THROTTLED ? -BW_E_UNREACHABLE : err;
}

static struct walk *flight_land(struct bw_flight *f, struct bw_node *node)
{
	struct bw_node_cache *c = &f->head->nodes;

	BW_LOCK_SCOPE(&c->lock);
	for (struct bw_flight **at = &c->flights; *at; at = &(*at)->next) {
		if (*at == f) {
			*at = f->next;
			break;
		}
	}
	if (node)
		cache_put_locked(c, &f->pointer, node);
	return f->walks;
}

static void flight_done(struct bw_op *op)
{
	struct bw_flight *f = op->ctx;
	struct bw_node *node = NULL;
	int err = flight_err(op);

	bw_lock(&f->head->nodes.lock);
	f->lent = false;
	bool stopping = f->head->nodes.stopping;

	bw_unlock(&f->head->nodes.lock);
	if (!err)
		err = bw_node_decode(f->level, &f->pointer, op->blob->bytes, op->blob->len, &node);
	bw_op_done(op);
	if (err == -BW_E_CORRUPT && f->fetches < FETCHES && !stopping) {
		flight_send(f);
		return;
	}
	struct walk *walks = flight_land(f, node);
	bool starter = true;

	free(f);
	while (walks) {
		struct walk *w = walks;

		walks = w->next;
		if (!err || (!starter && err == -BW_E_UNREACHABLE))
			walk_resume(w, node);	/* who joined may have time left: tries alone */
		else if (err == -ENOENT)
			walk_missing(w);
		else
			walk_end(w, err);
		starter = false;
	}
	bw_node_unref(node);
}

/* ---- For callers ------------------------------------------------------------------------------ */

bool bw_head_find(struct bw_head *h, struct bw_find *find, int *ret_err)
{
	struct walk *w = NULL;
	int err = bw_head_poisoned(h);

	if (err) {
		*ret_err = err;
		return true;
	}
	struct bw_root *r = bw_head_root(h);
	const struct bw_entry *e = bw_root_tail_entry(r, find->step);

	*ret_err = 0;
	if (find->step >= r->head)
		*ret_err = -BW_E_NOT_COMMITTED;
	else if (find->step < r->first)
		*ret_err = -BW_E_RECLAIMED;
	else if (e)
		find->entry = *e;
	else if (!(w = calloc(1, sizeof(*w))))
		*ret_err = -ENOMEM;
	if (!w) {
		bw_root_unref(r);
		return true;
	}
	w->head = h;
	w->find = find;
	w->root = r;
	bw_lock(&h->nodes.lock);
	h->nodes.walks++;
	bw_unlock(&h->nodes.lock);
	if (!walk_on(w, ret_err))
		return false;
	bw_root_unref(w->root);
	bw_node_unref(w->node);
	free(w);
	BW_LOCK_SCOPE(&h->nodes.lock);
	if (--h->nodes.walks == 0)
		bw_cond_broadcast(&h->nodes.idle);
	return true;
}

struct waiter {
	struct bw_find find;
	struct bw_latch answered;
	int err;
};

static void wake(struct bw_find *find, int err)
{
	struct waiter *w = (struct waiter *)find;

	w->err = err;
	bw_latch_open(&w->answered);
}

int bw_head_find_sync(struct bw_head *h, uint64_t step, int64_t deadline_ns, struct bw_entry *ret)
{
	struct waiter w = {.find = {.step = step, .deadline_ns = deadline_ns, .done = wake}};

	bw_latch_init(&w.answered);
	if (bw_head_find(h, &w.find, &w.err))
		bw_latch_open(&w.answered);
	bw_latch_wait(&w.answered);
	if (!w.err)
		*ret = w.find.entry;
	return w.err;
}

/* ---- For the check across a gap ----------------------------------------------------------------- */

static int node_get(struct bw_head *h, unsigned level, const struct bw_pointer *p, bw_fetch *fetch,
		    struct bw_node **ret)
{
	bw_auto_blob struct bw_blob *blob = NULL;
	char key[BW_KEY_MAX + 1];

	bw_lock(&h->nodes.lock);
	*ret = cache_get_locked(&h->nodes, level, p);
	bw_unlock(&h->nodes.lock);
	if (*ret)
		return 0;
	bw_key_node(&h->stream, level, p->first, p->last, p->hash, key);
	int err = fetch(h, key, BW_NODE_STORED_MAX, &blob);

	if (err)
		return err == -ENOENT ? -BW_E_CORRUPT : err;
	err = bw_node_decode(level, p, blob->bytes, blob->len, ret);
	if (err)
		return err;
	BW_LOCK_SCOPE(&h->nodes.lock);
	cache_put_locked(&h->nodes, p, *ret);
	return 0;
}

int bw_nodes_digest(struct bw_head *h, const struct bw_root *root, uint64_t step, bw_fetch *fetch,
		    uint64_t *ret)
{
	struct bw_node *node = NULL, *below;
	struct bw_pointer pointer;
	struct bw_entry entry;
	unsigned level;
	int rc;

	while ((rc = bw_index_move(root, node, step - 1, &entry, &pointer, &level)) == 0) {
		rc = node_get(h, level, &pointer, fetch, &below);
		if (rc)
			break;
		bw_node_unref(node);
		node = below;
	}
	if (rc == 1 && node && node->level == 0) {
		*ret = bw_digest_over(node->digest_before, node->entries, step - node->first);
		rc = 0;
	} else if (rc >= 0) {
		rc = -BW_E_CORRUPT;
	}
	bw_node_unref(node);
	return rc;
}
