/* SPDX-License-Identifier: Apache-2.0 */
/* What a txn asks for, sent and waited for; and what is known of the stream by the answers. */
#include "manifest/committer_priv.h"

#include "manifest/destroy.h"
#include "manifest/standing.h"

/* One request of a commit: a stuck one ends UNKNOWN and is repeated. */
#define REQUEST_NS (30 * BW_SEC)
#define LOOKS 3

static void op_done(struct bw_op *op)
{
	struct bw_committer *c = op->ctx;

	BW_LOCK_SCOPE(&c->lock);
	c->op_done = true;
	bw_cond_broadcast(&c->cond);
}

/* Sends op and waits.  Past the deadline of a stop it is cancelled, so the wait ends. */
static enum bw_outcome run_op(void *ctx, struct bw_op *op)
{
	struct bw_committer *c = ctx;
	bool cancelled = false;

	op->prio = BW_PRIO_COMMIT;
	op->deadline_ns = bw_now() + REQUEST_NS;
	op->done = op_done;
	op->ctx = c;
	bw_lock(&c->lock);
	c->op_done = false;
	bw_unlock(&c->lock);
	bw_store_submit(c->store, op);
	bw_lock(&c->lock);
	while (!c->op_done) {
		bool over = c->stop_ns != BW_NEVER && bw_now() >= c->stop_ns;

		if (over && !cancelled)
			bw_store_cancel(c->store, op);
		cancelled |= over;
		bw_cond_wait_until(&c->cond, &c->lock, cancelled ? BW_NEVER : c->stop_ns);
	}
	bw_unlock(&c->lock);
	return op->outcome;
}

/* Every name may have been free for a moment: what was seen since proves nothing of the stream. */
static bool is_unseen(const struct bw_committer *c)
{
	return bw_boottime() - c->seen_ns > BW_DESTROY_UNSEEN_NS;
}

/* The newest version was seen: that keeps proving something as long as there was no gap. */
static void saw(struct bw_committer *c, int64_t at_ns)
{
	if (!is_unseen(c))
		c->seen_ns = at_ns;
}

/* The put of a root was OK, or found something there, which may be what an earlier send of it has left. */
static void slot_taken(struct bw_committer *c, const struct bw_txn_request *r, int64_t sent_ns, bool resent,
		       struct bw_txn_answer *a)
{
	const struct bw_slot slot = {
		.stream = &c->stream, .key = r->key, .bytes = r->bytes, .len = r->len, .run = run_op, .ctx = c};
	/* What was found may be acknowledged only if it is what an earlier send has left. */
	bool asks = is_unseen(c) && (a->outcome == BW_OK || resent);
	enum bw_standing standing = asks ? bw_slot_standing(&slot) : BW_STANDS;

	if (standing == BW_STANDS && a->outcome == BW_OK) {
		c->seen_ns = sent_ns;
	} else if (standing == BW_UNSAID) {
		a->outcome = BW_UNKNOWN;	/* neither acknowledged nor failed: the same put asks again */
	} else if (standing == BW_GONE) {
		bw_head_destroyed(c->head);
		bw_slot_remove(&slot);
		a->outcome = BW_NOT_FOUND;
	}
}

static void root_put(struct bw_committer *c, const struct bw_txn_request *r, int64_t sent_ns, int64_t took_ns,
		     struct bw_txn_answer *a)
{
	bool taken = a->outcome == BW_OK || a->outcome == BW_EXISTS, resent = c->sent;

	c->sent |= a->outcome != BW_THROTTLED;
	if (!taken)
		return;
	bw_dac_put(&c->dac, took_ns, c->throttled);
	c->throttled = false;
	slot_taken(c, r, sent_ns, resent, a);
}

static void request_put(struct bw_committer *c, const struct bw_txn_request *r, bool prepared,
			struct bw_txn_answer *a)
{
	struct bw_bytes_body body;
	int64_t began_ns = bw_now(), sent_ns = bw_boottime();

	bw_bytes_body_init(&body, r->bytes, r->len);
	bw_op_put(&c->op, r->key, &body.body, true);
	if (prepared)
		bw_prepared_arm(c->prepared, &c->op);
	a->outcome = run_op(c, &c->op);
	atomic_fetch_add(&c->stats.prepared, prepared && a->outcome == BW_OK);
	if (c->op.early)
		c->op.early->drop(c->op.early);	/* the put ended before it came to the backend */
	c->op.early = NULL;
	int64_t took_ns = c->build_ns + bw_now() - began_ns;

	/* What was said to exist does not: nothing is known. */
	if (a->outcome == BW_EXISTS && r->look && bw_ask_for(run_op, c, r->key) == BW_NOT_FOUND)
		a->outcome = BW_UNKNOWN;
	c->throttled |= a->outcome == BW_THROTTLED;
	if (a->outcome != BW_OK && a->outcome != BW_EXISTS)
		bw_log(c->log, BW_LOG_DEBUG, "commit_put", "key=%s outcome=%s detail=\"%s\"",
		       r->key, bw_outcome_name(a->outcome), c->op.detail);
	if (bw_txn_in_doubt(c->txn))
		root_put(c, r, sent_ns, took_ns, a);
}

static void request_get(struct bw_committer *c, const struct bw_txn_request *r,
			struct bw_txn_answer *a)
{
	bw_op_get_all(&c->op, r->key, r->max);
	a->outcome = run_op(c, &c->op);
	a->blob = c->op.blob;
	c->op.blob = NULL;
}

/* How long a request through the head may take. */
static int64_t request_deadline(struct bw_committer *c)
{
	int64_t deadline_ns = bw_now() + REQUEST_NS;

	BW_LOCK_SCOPE(&c->lock);
	return deadline_ns < c->stop_ns ? deadline_ns : c->stop_ns;
}

struct refresh {
	struct bw_ask ask;
	struct bw_committer *c;
	bool done;
	int err;
};

static void refreshed(struct bw_ask *ask, int err)
{
	struct refresh *f = (struct refresh *)ask;
	struct bw_committer *c = f->c;

	BW_LOCK_SCOPE(&c->lock);
	f->done = true;
	f->err = err;
	bw_cond_broadcast(&c->cond);
}

/* Until the head answers; the deadline of a stop that comes meanwhile ends it as well. */
static void refresh_once(struct bw_committer *c, struct bw_txn_answer *a)
{
	int64_t now = bw_now();
	struct refresh f = {.ask = {.done = refreshed, .until_step = BW_STEPS_MAX, .urgent = true,
				    .guess = bw_dac_guess(&c->dac, now),
				    .deadline_ns = now + REQUEST_NS},
			    .c = c};

	bw_head_ask(c->head, &f.ask);
	bw_lock(&c->lock);
	while (!f.done && bw_cond_wait_until(&c->cond, &c->lock, c->stop_ns))
		;
	bool done = f.done;

	bw_unlock(&c->lock);
	if (!done && bw_head_ask_cancel(c->head, &f.ask)) {
		f.done = true;
		f.err = -BW_E_STOPPING;
	}
	bw_lock(&c->lock);
	while (!f.done)
		bw_cond_wait(&c->cond, &c->lock);
	bw_unlock(&c->lock);
	if (!f.err && f.ask.took_ns)
		bw_dac_probed(&c->dac, f.ask.took_ns);
	a->err = f.err;
	a->outcome = f.err ? BW_UNREACHABLE : BW_OK;
	a->root = f.err ? NULL : bw_head_root(c->head);
}

/* Long searches end at a version that is old by then: look again, which is short. */
void bw_commit_refresh(struct bw_committer *c, struct bw_txn_answer *a)
{
	for (int i = 0; i < LOOKS; i++) {
		int64_t began_ns = bw_now(), asked_ns = bw_boottime();

		refresh_once(c, a);
		if (!a->root)
			return;
		saw(c, asked_ns);
		bw_dac_saw(&c->dac, began_ns, a->root);
		if (i + 1 == LOOKS || !bw_dac_look_again(&c->dac, bw_now()))
			return;
		bw_root_unref(a->root);
	}
}

static void request_find(struct bw_committer *c, const struct bw_txn_request *r,
			 struct bw_entry *entry, struct bw_txn_answer *a)
{
	a->err = bw_head_find_sync(c->head, r->step, request_deadline(c), entry);
	a->outcome = a->err ? BW_UNREACHABLE : BW_OK;
	a->entry = entry;
}

/* Waits ns; when nothing is in doubt a stop ends the wait, else only its deadline does. */
static void request_sleep(struct bw_committer *c, const struct bw_txn_request *r)
{
	bool in_doubt = bw_txn_in_doubt(c->txn);
	int64_t ns = r->conflicts ? bw_dac_after_conflict(&c->dac, r->conflicts)
				  : bw_dac_after_doubt(&c->dac, r->tries);
	int64_t until = bw_now() + ns;

	BW_LOCK_SCOPE(&c->lock);
	while (bw_now() < until && bw_now() < c->stop_ns && (in_doubt || !c->stopping))
		bw_cond_wait_until(&c->cond, &c->lock, until < c->stop_ns ? until : c->stop_ns);
}

void bw_commit_request(struct bw_committer *c, enum bw_txn_want want, const struct bw_txn_request *r, bool prepared,
		       struct bw_entry *entry, struct bw_txn_answer *a)
{
	if (want == BW_TXN_PUT)
		request_put(c, r, prepared, a);
	else if (want == BW_TXN_GET)
		request_get(c, r, a);
	else if (want == BW_TXN_REFRESH)
		bw_commit_refresh(c, a);
	else if (want == BW_TXN_FIND)
		request_find(c, r, entry, a);
	else
		request_sleep(c, r);
}
