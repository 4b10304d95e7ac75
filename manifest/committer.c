/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/committer_priv.h"

#include "manifest/destroy.h"
#include "manifest/open_search.h"
#include "store/base/rand.h"

#include <stdlib.h>
#include <string.h>

#define HINT_NS (10 * BW_SEC)

/* ---- One txn ---------------------------------------------------------------------------------- */

static void count(struct bw_committer *c, const struct bw_txn_request *r, int64_t step_ns)
{
	unsigned attempts = bw_txn_attempts(c->txn);

	if (r->conflicts > c->conflicts) {
		atomic_fetch_add(&c->stats.conflicts, r->conflicts - c->conflicts);
		c->conflicts = r->conflicts;
	}
	if (attempts > c->attempts) {
		atomic_fetch_add(&c->stats.attempts, attempts - c->attempts);
		c->attempts = attempts;
		c->build_ns = step_ns;
		c->sent = false;
	}
	BW_LOCK_SCOPE(&c->lock);
	c->in_doubt = bw_txn_in_doubt(c->txn);
}

static bool past_stop(struct bw_committer *c)
{
	BW_LOCK_SCOPE(&c->lock);
	return bw_now() >= c->stop_ns;
}

/* The first step of a txn that is prepared was made when it was; *r is what it asked for. */
static enum bw_txn_want step_txn(struct bw_committer *c, bool prepared, const struct bw_txn_answer *a,
				 struct bw_txn_request *r)
{
	int64_t took_ns = c->prepared_ns, began_ns = bw_now();
	enum bw_txn_want want = BW_TXN_PUT;
	uint8_t id[16];

	if (!prepared) {
		bw_random(id, sizeof(id));
		want = bw_txn_step(c->txn, a, bw_wall_ms(), id, r);
		took_ns = bw_now() - began_ns;
	}
	count(c, r, took_ns);
	return want;
}

/* Steps the txn to its end; prepared: r is its first request.  False: given up, because the time of a stop is over. */
static bool run_txn(struct bw_committer *c, struct bw_txn_request r, bool prepared)
{
	struct bw_txn_answer a = {.outcome = BW_OK};
	struct bw_entry entry;

	c->attempts = c->conflicts = 0;
	for (;; prepared = false) {
		enum bw_txn_want want = step_txn(c, prepared, &a, &r);

		bw_blob_unref(a.blob);
		bw_root_unref(a.root);
		a = (struct bw_txn_answer){.outcome = BW_OK};
		if (want == BW_TXN_DONE)
			return true;
		if (past_stop(c))
			return false;
		bw_commit_request(c, want, &r, prepared, &entry, &a);
	}
}

/* ---- The hint --------------------------------------------------------------------------------- */

struct hint {
	struct bw_op op;
	struct bw_bytes_body body;
	char text[BW_HINT_MAX];
};

static void hint_done(struct bw_op *op)
{
	bw_op_done(op);
	free(op->ctx);
}

/* Only a place to start looking: nobody waits for it, and it may fail. */
static void hint_write(struct bw_committer *c, uint64_t version)
{
	struct hint *h = calloc(1, sizeof(*h));
	char key[BW_KEY_MAX + 1];

	if (!h)
		return;
	bw_bytes_body_init(&h->body, h->text, bw_hint_print(version, h->text));
	bw_key_hint(&c->stream, key);
	bw_op_put(&h->op, key, &h->body.body, false);
	h->op.prio = BW_PRIO_IDLE;
	h->op.deadline_ns = bw_now() + HINT_NS;
	h->op.done = hint_done;
	h->op.ctx = h;
	bw_store_submit(c->store, &h->op);
}

/* ---- A batch of items ------------------------------------------------------------------------- */

struct taken {
	struct bw_commit_item *first, **tail;
	uint32_t n, appends;
};

static void taken_push(struct taken *t, struct bw_commit_item *item)
{
	item->next = NULL;
	*t->tail = item;
	t->tail = &item->next;
	t->n++;
	t->appends += item->change.kind == BW_CHANGE_APPEND;
}

static struct bw_commit_item *queue_pop_locked(struct bw_committer *c)
{
	struct bw_commit_item *item = c->queue;

	c->queue = item->next;
	c->queued -= item->change.kind == BW_CHANGE_APPEND;
	if (!c->queue) {
		c->tail = &c->queue;
		c->hurry = false;
	}
	return item;
}

static void be_there_by_locked(struct bw_committer *c, const struct bw_commit_item *item)
{
	if (item->latest_ns && item->latest_ns < c->latest_ns)
		c->latest_ns = item->latest_ns;
}

/* Everything that is queued, as far as a version has room. */
static void take_locked(struct bw_committer *c, struct taken *t)
{
	while (c->queue && t->n < BW_CHANGES_MAX &&
	       (t->appends < BW_APPENDS_MAX || c->queue->change.kind != BW_CHANGE_APPEND))
		taken_push(t, queue_pop_locked(c));
	c->latest_ns = BW_NEVER;
	for (const struct bw_commit_item *item = c->queue; item; item = item->next)
		be_there_by_locked(c, item);
}

static void item_end(struct bw_committer *c, struct bw_commit_item *item,
		     const struct bw_txn_change *result)
{
	atomic_fetch_add(&c->stats.nanoseconds, (uint64_t)(bw_now() - item->queued_ns));
	atomic_fetch_add(result->err ? &c->stats.failed : &c->stats.committed, 1);
	item->done(item, result);
}

static void item_fail(struct bw_committer *c, struct bw_commit_item *item, int err)
{
	struct bw_txn_change result = {.change = item->change, .settled = true, .err = err};

	item_end(c, item, &result);
}

/* Queued batches of the producer come after one that failed: they fail with it. */
static void take_followers(struct bw_committer *c, const struct bw_txn_change *failed,
			   struct taken *t)
{
	BW_LOCK_SCOPE(&c->lock);
	for (struct bw_commit_item **at = &c->queue; *at;) {
		struct bw_commit_item *item = *at;

		if (item->change.kind != BW_CHANGE_APPEND ||
		    strcmp(item->change.name, failed->change.name) != 0 ||
		    item->change.seq <= failed->change.seq) {
			at = &item->next;
			continue;
		}
		*at = item->next;
		c->queued--;
		taken_push(t, item);
	}
	c->tail = &c->queue;
	while (*c->tail)
		c->tail = &(*c->tail)->next;
	c->hurry &= c->queue != NULL;
}

static void end_items(struct bw_committer *c, struct taken *t)
{
	for (size_t i = 0; i < bw_txn_n(c->txn); i++) {
		struct bw_txn_change *result = bw_txn_at(c->txn, i);
		struct taken followers = {.tail = &followers.first};

		if (result->err && result->change.kind == BW_CHANGE_APPEND)
			take_followers(c, result, &followers);
		item_end(c, result->ctx, result);
		while (followers.first) {
			struct bw_commit_item *item = followers.first;

			followers.first = item->next;
			item_fail(c, item, result->err);
		}
	}
	t->first = NULL;
}

static bool is_any_settled(struct bw_committer *c)
{
	for (size_t i = 0; i < bw_txn_n(c->txn); i++)
		if (bw_txn_at(c->txn, i)->settled)
			return true;
	return false;
}

/* Of a txn that was not ended: what has no result is in doubt, or was not sent. */
static void give_up_items(struct bw_committer *c, struct taken *t)
{
	int err = c->sent && bw_txn_in_doubt(c->txn) ? -BW_E_UNKNOWN : -BW_E_STOPPING;

	for (size_t i = 0; i < bw_txn_n(c->txn); i++) {
		struct bw_txn_change *result = bw_txn_at(c->txn, i);

		if (!result->settled)
			result->err = err;
		item_end(c, result->ctx, result);
	}
	t->first = NULL;
}

static void fail_items(struct bw_committer *c, struct taken *t, int err)
{
	while (t->first) {
		struct bw_commit_item *item = t->first;

		t->first = item->next;
		item_fail(c, item, err);
	}
}

/* Fresh news first, acknowledgements after: a look-up after the acknowledgement sees the step. */
static int publish(struct bw_committer *c)
{
	struct bw_root *root = bw_txn_root(c->txn);
	uint64_t before = atomic_load(&c->stats.versions);
	uint64_t made = 0;
	int err = bw_head_publish(c->head, root);

	for (size_t i = 0; i < bw_txn_n(c->txn); i++) {
		const struct bw_txn_change *r = bw_txn_at(c->txn, i);

		if (r->err || r->version <= made)
			continue;
		made = r->version;
		atomic_fetch_add(&c->stats.versions, 1);
		if (made % BW_HINT_EVERY == 0)
			hint_write(c, made);
	}
	if (atomic_load(&c->stats.versions) > before) {
		int64_t now = bw_now();

		bw_dac_saw(&c->dac, now, root);
		bw_dac_committed(&c->dac, now);
		atomic_store(&c->stats.window_ns, (uint64_t)bw_dac_tau(&c->dac));
	}
	return err;
}

static void forget_prepared(struct bw_committer *c)
{
	bw_prepared_free(c->prepared);
	c->prepared = NULL;
}

/* *ret_prepared: its first request is made, and is *r. */
static int txn_make(struct bw_committer *c, const struct taken *t, struct bw_txn_request *r, bool *ret_prepared)
{
	struct bw_root *base = bw_head_root(c->head);
	int err = bw_head_poisoned(c->head);

	*ret_prepared = !err && t->n == 1 && bw_prepared_fits(c->prepared, base, &t->first->change);
	if (*ret_prepared) {
		c->txn = bw_prepared_take(c->prepared, r);
		bw_txn_at(c->txn, 0)->ctx = t->first;
		bw_root_unref(base);
		return 0;
	}
	forget_prepared(c);
	if (!err)
		err = bw_txn_new(&c->stream, base, &c->txn);
	bw_root_unref(base);
	for (struct bw_commit_item *item = t->first; item && !err; item = item->next) {
		struct bw_change copy;

		err = bw_change_copy(&copy, &item->change);
		if (!err)
			err = bw_txn_add(c->txn, &copy, item);
	}
	return err;
}

static void commit(struct bw_committer *c, struct taken *t)
{
	struct bw_txn_request r = {.len = 0};
	bool prepared;
	int err = txn_make(c, t, &r, &prepared);

	if (!err) {
		bool ended = run_txn(c, r, prepared);
		int published = ended || is_any_settled(c) ? publish(c) : 0;

		if (published)
			bw_log(c->log, BW_LOG_ERROR, "publish", "err=%d", published);
		if (ended)
			end_items(c, t);
		else
			give_up_items(c, t);
	}
	bw_txn_free(c->txn);
	c->txn = NULL;
	forget_prepared(c);
	bw_lock(&c->lock);
	c->in_doubt = false;
	bw_unlock(&c->lock);
	if (err)
		fail_items(c, t, err);
}

/* A failed look is no error: the attempt finds out for itself. */
static void look(struct bw_committer *c)
{
	struct bw_txn_answer a;

	bw_commit_refresh(c, &a);
	bw_root_unref(a.root);
}

/* Who waits for a batch gives up some time: DAC must not spend all of that. */
static int64_t due_locked(const struct bw_committer *c, int64_t now)
{
	int64_t due = bw_dac_due(&c->dac, now, c->queued);

	return c->latest_ns < due ? c->latest_ns : due;
}

/* Not where mounts compete: what was built then would seldom be for the newest root. */
static void prepare(struct bw_committer *c, const struct bw_change *change)
{
	int64_t now = bw_now();
	uint8_t id[16];

	forget_prepared(c);
	if (bw_dac_due(&c->dac, now, 1) > now || bw_dac_look_first(&c->dac, now))
		return;
	bw_random(id, sizeof(id));
	struct bw_root *base = bw_head_root(c->head);

	c->prepared = bw_prepared_new(c->store, &c->stream, base, change, bw_wall_ms(), id);
	c->prepared_ns = bw_now() - now;
	bw_root_unref(base);
}

static void wait_queue_locked(struct bw_committer *c)
{
	while (!c->queue && !c->stopping) {
		if (!c->expects) {
			bw_cond_wait(&c->cond, &c->lock);
			continue;
		}
		struct bw_change expected = c->expected;

		c->expects = false;
		bw_unlock(&c->lock);
		prepare(c, &expected);
		bw_change_done(&expected);
		bw_lock(&c->lock);
	}
}

/* Until something is queued and may be committed, or (false) the newest root is to be looked for. */
static bool wait_due_locked(struct bw_committer *c)
{
	for (;;) {
		wait_queue_locked(c);
		int64_t now = bw_now(), due = due_locked(c, now);
		int64_t peek = bw_dac_peek(&c->dac, now, due);

		if (c->stopping || c->hurry || due <= now)
			return true;
		if (peek <= now)
			return false;
		bw_cond_wait_until(&c->cond, &c->lock, peek < due ? peek : due);
	}
}

static void wait_due(struct bw_committer *c)
{
	for (;;) {
		bw_lock(&c->lock);
		bool due = wait_due_locked(c);
		bool first = due && c->queue && !c->stopping &&
			     bw_dac_look_first(&c->dac, bw_now());

		bw_unlock(&c->lock);
		if (!due)
			bw_dac_peeked(&c->dac);
		if (!due || first)
			look(c);
		if (due)
			return;
	}
}

static void *run(void *arg)
{
	struct bw_committer *c = arg;

	for (;;) {
		struct taken t = {.tail = &t.first};

		wait_due(c);
		bw_lock(&c->lock);
		take_locked(c, &t);
		bool over = bw_now() >= c->stop_ns;

		bw_unlock(&c->lock);
		if (!t.n)
			return NULL;
		if (over)
			fail_items(c, &t, -BW_E_STOPPING);
		else
			commit(c, &t);
	}
}

/* ---- For callers ------------------------------------------------------------------------------ */

int bw_committer_new(struct bw_store *store, const struct bw_stream *stream, struct bw_head *head, int64_t opened_ns,
		     struct bw_log *log, struct bw_committer **ret)
{
	struct bw_committer *c = calloc(1, sizeof(*c));
	uint64_t seed;

	if (!c)
		return -ENOMEM;
	c->store = store;
	c->stream = *stream;
	c->head = head;
	c->log = log;
	c->tail = &c->queue;
	c->stop_ns = c->latest_ns = BW_NEVER;
	/* Root 1 alone may be what another open has made of a stream that was destroyed, and is about to take back. */
	struct bw_root *root = bw_head_root(head);

	c->seen_ns = root->version > 1 ? opened_ns : opened_ns - BW_DESTROY_UNSEEN_NS - 1;
	bw_root_unref(root);
	bw_random(c->owner, sizeof(c->owner));
	bw_random(&seed, sizeof(seed));
	bw_dac_init(&c->dac, seed);
	bw_mutex_init(&c->lock, BW_RANK_COMMITTER);
	bw_cond_init(&c->cond);
	int err = bw_thread_start(&c->thread, "bw-commit", run, c);

	if (err) {
		bw_cond_done(&c->cond);
		bw_mutex_done(&c->lock);
		free(c);
		return err;
	}
	*ret = c;
	return 0;
}

const uint8_t *bw_committer_owner(const struct bw_committer *c)
{
	return c->owner;
}

struct bw_head *bw_committer_head(const struct bw_committer *c)
{
	return c->head;
}

const struct bw_commit_stats *bw_committer_stats(const struct bw_committer *c)
{
	return &c->stats;
}

void bw_committer_push(struct bw_committer *c, struct bw_commit_item *item)
{
	bool append = item->change.kind == BW_CHANGE_APPEND;

	item->next = NULL;
	item->queued_ns = bw_now();
	BW_LOCK_SCOPE(&c->lock);
	*c->tail = item;
	c->tail = &item->next;
	c->queued += append;
	/* Who takes a producer or sets a marker waits for just that, and there are few of these. */
	c->hurry |= item->hurry || !append;
	be_there_by_locked(c, item);
	bw_cond_broadcast(&c->cond);
}

void bw_committer_expect(struct bw_committer *c, const struct bw_change *change)
{
	struct bw_change copy, old;

	if (!bw_store_prepares(c->store) || bw_change_copy(&copy, change) != 0)
		return;
	bw_lock(&c->lock);
	old = c->expects ? c->expected : (struct bw_change){.state = NULL};
	c->expected = copy;
	c->expects = true;
	bw_cond_broadcast(&c->cond);
	bw_unlock(&c->lock);
	bw_change_done(&old);
}

void bw_committer_hurry(struct bw_committer *c)
{
	BW_LOCK_SCOPE(&c->lock);
	c->hurry |= c->queue != NULL;
	bw_cond_broadcast(&c->cond);
}

bool bw_committer_is_over(struct bw_committer *c)
{
	BW_LOCK_SCOPE(&c->lock);
	return c->stopping && bw_now() >= c->stop_ns;
}

bool bw_committer_in_doubt(struct bw_committer *c)
{
	BW_LOCK_SCOPE(&c->lock);
	return c->in_doubt;
}

void bw_committer_stop(struct bw_committer *c, int64_t deadline_ns)
{
	BW_LOCK_SCOPE(&c->lock);
	c->stopping = true;
	c->stop_ns = deadline_ns;
	bw_cond_broadcast(&c->cond);
}

void bw_committer_free(struct bw_committer *c, int64_t deadline_ns)
{
	if (!c)
		return;
	bw_committer_stop(c, deadline_ns);
	pthread_join(c->thread, NULL);
	forget_prepared(c);
	if (c->expects)
		bw_change_done(&c->expected);
	bw_cond_done(&c->cond);
	bw_mutex_done(&c->lock);
	free(c);
}
