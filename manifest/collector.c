/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/collector.h"

#include "store/base/rand.h"
#include "store/base/sync.h"

#include <stdlib.h>
#include <string.h>

/* A delete of a thousand, where each is a request. */
#define REQUEST_NS (120 * BW_SEC)
#define SLEEP_NS (250 * BW_MS)	/* doubled by each try */

struct bw_collector {
	struct bw_collector_config config;
	struct bw_reclaim_memo memo;
	unsigned passes;		/* without a walk */
	uint64_t epochs;		/* of all producers, summed, at the last walk */
	struct bw_rng rng;
	int64_t next_ns;		/* when the next object may be deleted */
	struct bw_mutex lock;		/* what follows */
	struct bw_cond cond;
	bool stopping;
	size_t awaited;			/* answers */
	bool ended[BW_RECLAIM_PUTS_MAX];	/* of the ops under way */
	int err;
	/* Of the pass alone. */
	struct bw_op op, puts[BW_RECLAIM_PUTS_MAX];
};

int bw_collector_new(const struct bw_collector_config *config, struct bw_collector **ret)
{
	struct bw_collector *c = calloc(1, sizeof(*c));
	uint64_t seed;

	if (!c)
		return -ENOMEM;
	c->config = *config;
	if (!c->config.rate)
		c->config.rate = BW_COLLECTOR_RATE;
	c->passes = BW_COLLECTOR_WALK_EVERY;
	bw_random(&seed, sizeof(seed));
	bw_rng_init(&c->rng, seed);
	bw_mutex_init(&c->lock, BW_RANK_WAITERS);	/* below the committer's: see commit() */
	bw_cond_init(&c->cond);
	*ret = c;
	return 0;
}

void bw_collector_free(struct bw_collector *c)
{
	if (!c)
		return;
	bw_cond_done(&c->cond);
	bw_mutex_done(&c->lock);
	free(c);
}

void bw_collector_stop(struct bw_collector *c)
{
	BW_LOCK_SCOPE(&c->lock);
	c->stopping = true;
	bw_cond_broadcast(&c->cond);
}

bool bw_collector_wait(struct bw_collector *c, int64_t until_ns)
{
	BW_LOCK_SCOPE(&c->lock);
	while (!c->stopping && bw_now() < until_ns)
		bw_cond_wait_until(&c->cond, &c->lock, until_ns);
	return !c->stopping;
}

/* ---- Requests --------------------------------------------------------------------------------- */

static void answered(struct bw_collector *c, int err)
{
	BW_LOCK_SCOPE(&c->lock);
	c->err = err;
	c->awaited--;
	bw_cond_broadcast(&c->cond);
}

static void expect(struct bw_collector *c, size_t n)
{
	BW_LOCK_SCOPE(&c->lock);
	c->awaited = n;
}

static void op_done(struct bw_op *op)
{
	struct bw_collector *c = op->ctx;

	BW_LOCK_SCOPE(&c->lock);
	c->ended[op == &c->op ? 0 : op - c->puts] = true;
	c->awaited--;
	bw_cond_broadcast(&c->cond);
}

/* Sends all of them and waits.  A stop cancels them, so the wait ends. */
static void run_ops(struct bw_collector *c, struct bw_op *ops, size_t n)
{
	bool cancelled = false;

	for (size_t i = 0; i < n; i++) {
		ops[i].prio = BW_PRIO_IDLE;
		ops[i].deadline_ns = bw_now() + REQUEST_NS;
		ops[i].done = op_done;
		ops[i].ctx = c;
		c->ended[i] = false;
	}
	expect(c, n);
	for (size_t i = 0; i < n; i++)
		bw_store_submit(c->config.store, &ops[i]);
	BW_LOCK_SCOPE(&c->lock);
	while (c->awaited) {
		for (size_t i = 0; i < n && c->stopping && !cancelled; i++)
			if (!c->ended[i])
				bw_store_cancel(c->config.store, &ops[i]);
		cancelled |= c->stopping;
		if (c->awaited)
			bw_cond_wait(&c->cond, &c->lock);
	}
}

static enum bw_outcome run_op(struct bw_collector *c)
{
	run_ops(c, &c->op, 1);
	return c->op.outcome;
}

/* Keeps to the rate before n objects are deleted.  False: stopped. */
static bool pace(struct bw_collector *c, size_t n)
{
	int64_t now = bw_now();

	if (c->next_ns < now)
		c->next_ns = now;
	int64_t begin_ns = c->next_ns;

	c->next_ns += (int64_t)n * BW_SEC / c->config.rate;
	return bw_collector_wait(c, begin_ns);
}

struct refresh {
	struct bw_ask ask;
	struct bw_collector *c;
};

static void ask_done(struct bw_ask *ask, int err)
{
	answered(((struct refresh *)ask)->c, err);
}

static void refresh(struct bw_collector *c, struct bw_reclaim_answer *a)
{
	struct refresh f = {.ask = {.done = ask_done, .until_step = BW_STEPS_MAX, .urgent = true,
				    .deadline_ns = bw_now() + REQUEST_NS},
			    .c = c};
	bool cancel;

	expect(c, 1);
	bw_head_ask(c->config.head, &f.ask);
	bw_lock(&c->lock);
	while (c->awaited && !c->stopping)
		bw_cond_wait(&c->cond, &c->lock);
	cancel = c->awaited;
	bw_unlock(&c->lock);
	if (cancel && bw_head_ask_cancel(c->config.head, &f.ask))
		answered(c, -BW_E_STOPPING);
	bw_lock(&c->lock);
	while (c->awaited)
		bw_cond_wait(&c->cond, &c->lock);
	a->err = c->err;
	bw_unlock(&c->lock);
	a->root = a->err ? NULL : bw_head_root(c->config.head);
}

static void commit_done(struct bw_commit_item *item, const struct bw_txn_change *result)
{
	answered(item->ctx, result->err);
}

/*
 * The outcome is awaited, as nothing may be built on a guess; the end of the committer ends the wait as well.
 * Once bw_collector_stop() has returned nothing is pushed any more, so the committer may go.
 */
static void commit(struct bw_collector *c, const struct bw_change *change,
		   struct bw_reclaim_answer *a)
{
	struct bw_commit_item item = {.change = *change, .done = commit_done, .ctx = c};

	bw_lock(&c->lock);
	c->awaited = !c->stopping;
	c->err = -BW_E_STOPPING;
	if (!c->stopping)
		bw_committer_push(c->config.committer, &item);
	while (c->awaited)
		bw_cond_wait(&c->cond, &c->lock);
	a->err = c->err;
	bw_unlock(&c->lock);
	a->root = a->err ? NULL : bw_head_root(c->config.head);
}

static void get(struct bw_collector *c, const struct bw_reclaim_request *q,
		struct bw_reclaim_answer *a)
{
	bw_op_get_all(&c->op, q->key, q->max);
	a->outcome = run_op(c);
	a->blob = c->op.blob;
	a->modified_ms = c->op.modified_ms;
}

static void put(struct bw_collector *c, const struct bw_reclaim_request *q)
{
	struct bw_bytes_body bodies[BW_RECLAIM_PUTS_MAX];

	for (size_t i = 0; i < q->puts_n; i++) {
		bw_bytes_body_init(&bodies[i], q->puts[i].bytes, q->puts[i].len);
		bw_op_put(&c->puts[i], q->puts[i].key, &bodies[i].body, false);
		c->puts[i].outcome = BW_CANCELLED;
	}
	if (pace(c, q->puts_n))
		run_ops(c, c->puts, q->puts_n);
	for (size_t i = 0; i < q->puts_n; i++) {
		q->puts[i].outcome = c->puts[i].outcome;
		if (c->puts[i].outcome != BW_OK)	/* for the report */
			memcpy(c->op.detail, c->puts[i].detail, sizeof(c->op.detail));
		bw_op_done(&c->puts[i]);
	}
}

static void list(struct bw_collector *c, const struct bw_reclaim_request *q,
		 struct bw_reclaim_answer *a)
{
	bw_op_list(&c->op, q->key, q->after, (unsigned)q->max);
	a->outcome = run_op(c);
	a->listing = c->op.listing;
}

static void list_uploads(struct bw_collector *c, const struct bw_reclaim_request *q,
			 struct bw_reclaim_answer *a)
{
	bw_op_list_uploads(&c->op, q->key, q->after, q->upload, (unsigned)q->max);
	a->outcome = run_op(c);
	a->uploads = c->op.uploads;
}

static void abort_upload(struct bw_collector *c, const struct bw_reclaim_request *q,
			 struct bw_reclaim_answer *a)
{
	bw_op_abort_upload(&c->op, q->key, q->upload);
	a->outcome = pace(c, 1) ? run_op(c) : BW_CANCELLED;
}

static void delete_many(struct bw_collector *c, const struct bw_reclaim_request *q)
{
	bw_op_delete_many(&c->op, q->items, q->items_n);
	if (pace(c, q->items_n))
		run_op(c);
}

static void sleep_some(struct bw_collector *c, unsigned tries)
{
	int64_t most = SLEEP_NS << (tries < 6 ? tries : 6);

	bw_collector_wait(c, bw_now() + (int64_t)(bw_rng_unit(&c->rng) * (double)most));
}

/* Until the answer has been looked at c->op keeps what a points to. */
static void serve(struct bw_collector *c, enum bw_reclaim_want want,
		  const struct bw_reclaim_request *q, struct bw_reclaim_answer *a)
{
	*a = (struct bw_reclaim_answer){.outcome = BW_OK};
	switch (want) {
	case BW_RECLAIM_REFRESH:
		refresh(c, a);
		break;
	case BW_RECLAIM_GET:
		get(c, q, a);
		break;
	case BW_RECLAIM_PUT:
		put(c, q);
		break;
	case BW_RECLAIM_LIST:
		list(c, q, a);
		break;
	case BW_RECLAIM_DELETE:
		delete_many(c, q);
		break;
	case BW_RECLAIM_UPLOADS:
		list_uploads(c, q, a);
		break;
	case BW_RECLAIM_ABORT:
		abort_upload(c, q, a);
		break;
	case BW_RECLAIM_COMMIT:
		commit(c, &q->change, a);
		break;
	case BW_RECLAIM_SLEEP:
		sleep_some(c, q->tries);
		break;
	case BW_RECLAIM_DONE:
		break;
	}
}

static bool is_stopping(struct bw_collector *c)
{
	BW_LOCK_SCOPE(&c->lock);
	return c->stopping;
}

/* ---- Passes ----------------------------------------------------------------------------------- */

static void run(struct bw_collector *c, struct bw_reclaim *r)
{
	struct bw_reclaim_answer a = {.outcome = BW_OK};
	struct bw_reclaim_request q;
	enum bw_reclaim_want want;

	while (!is_stopping(c)) {
		want = bw_reclaim_step(r, &a, &q);
		bw_root_unref(a.root);
		bw_op_done(&c->op);
		memset(&c->op, 0, sizeof(c->op));
		a.root = NULL;
		if (c->config.progress)
			c->config.progress(c->config.ctx, r);
		if (want == BW_RECLAIM_DONE)
			return;
		serve(c, want, &q, &a);
		a.detail = c->op.detail;
	}
	bw_root_unref(a.root);
	bw_op_done(&c->op);
	memset(&c->op, 0, sizeof(c->op));
}

static uint64_t epochs_now(struct bw_collector *c)
{
	struct bw_root *root = bw_head_root(c->config.head);
	uint64_t sum = 0;

	for (uint32_t i = 0; i < root->producers_n; i++)
		sum += root->producers[i].epoch;
	bw_root_unref(root);
	return sum;
}

void bw_collector_pass(struct bw_collector *c, const struct bw_reclaim_options *options,
		       enum bw_collector_walk walk, struct bw_reclaim_report *ret)
{
	struct bw_reclaim_options o = *options;
	uint64_t epochs = epochs_now(c);
	struct bw_reclaim *r;

	o.memo = &c->memo;
	o.dry |= !c->config.committer;
	o.walk = walk == BW_WALK_ALWAYS || c->passes >= BW_COLLECTOR_WALK_EVERY ||
		 epochs != c->epochs;
	*ret = (struct bw_reclaim_report){.err = bw_reclaim_new(c->config.stream, &o, &r)};
	if (ret->err)
		return;
	run(c, r);
	*ret = *bw_reclaim_report(r);
	bw_reclaim_free(r);
	if (is_stopping(c))
		ret->err = -BW_E_STOPPING;
	c->passes++;
	if (ret->walked) {
		c->passes = 0;
		c->epochs = epochs;
	}
}
