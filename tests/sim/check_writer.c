/* SPDX-License-Identifier: Apache-2.0 */
/* A mount that writes: bw_txn, driven as the committer does, with lives that end at any moment. */
#include "tests/sim/check_priv.h"

static void step(struct world *w, struct writer *me, const struct bw_txn_answer *a);
static void drop_work(struct writer *me);

/* A new life: another owner, nothing remembered, the requests of the old one still under way. */
void writer_born(struct world *w, struct writer *me)
{
	drop_work(me);
	bw_txn_free(me->txn);
	bw_root_unref(me->view);
	me->txn = NULL;
	me->view = NULL;
	memset(me->owner, 0xb5, 16);
	w->lives++;
	memcpy(me->owner, &w->lives, sizeof(w->lives));
	bw_sim_wake(&w->sim, me->who, ++me->token, bw_sim_roll(&w->sim, 2000));
}

static void drop_work(struct writer *me)
{
	while (me->work_n)
		bw_change_done(&me->work[--me->work_n]);
	me->uploaded = 0;
	me->state_next = false;
}

static void add(struct world *w, struct writer *me, struct bw_change c)
{
	CHECK(w, me->work_n < WORK_MAX, "too much work");
	me->work[me->work_n++] = c;
}

static void add_batches(struct world *w, struct writer *me, const struct bw_producer_entry *p)
{
	uint64_t n = 1 + bw_sim_roll(&w->sim, 3);

	for (uint64_t i = 0; i < n; i++) {
		struct bw_change c = bw_test_append(p->name, 1, p->epoch, p->next + i, w->batches_n);
		char text[32];

		memcpy(c.owner, w->o.bug == BUG_OWNER ? p->owner : me->owner, 16);
		if (state_of(w->batches_n, text)) {
			bw_test_state(&c, text);
			if (state_is_apart(w->batches_n)) {
				free(c.state);
				c.state = NULL;
			}
		}
		batch_new(w, me->owner);
		add(w, me, c);
	}
}

static void add_markers(struct world *w, struct writer *me)
{
	struct bw_sim *sim = &w->sim;
	const char *job = check_jobs[bw_sim_roll(sim, JOBS)];
	uint64_t span = me->view->head - me->view->first + 1;

	if (bw_sim_chance(sim, 0.1))
		add(w, me, bw_test_change(BW_CHANGE_JOB, job));
	if (bw_sim_chance(sim, 0.3))
		add(w, me, bw_test_step(BW_CHANGE_MARK, job,
				     me->view->first + bw_sim_roll(sim, span)));
	if (bw_sim_chance(sim, 0.15))
		add(w, me, bw_test_step(BW_CHANGE_UNMARK, job,
				     me->view->first + bw_sim_roll(sim, span)));
	if (bw_sim_chance(sim, 0.1))
		add(w, me, bw_test_change(BW_CHANGE_TRIM, ""));
	/* Whoever sweeps has deleted. */
	if (!w->collectors_n && bw_sim_chance(sim, 0.05))
		add(w, me, bw_test_step(BW_CHANGE_SWEEP, "", me->view->first));
	if (bw_sim_chance(sim, 0.02))
		add(w, me, bw_test_change(BW_CHANGE_UNJOB, job));
}

static void add_work(struct world *w, struct writer *me)
{
	struct bw_sim *sim = &w->sim;

	for (int i = 0; i < PRODUCERS; i++) {
		const struct bw_producer_entry *p = bw_root_producer(me->view, check_producers[i]);
		struct bw_change fence = bw_test_fence(check_producers[i], 1);

		memcpy(fence.owner, me->owner, 16);
		if (p && !memcmp(p->owner, me->owner, 16)) {
			if (bw_sim_chance(sim, 0.7))
				add_batches(w, me, p);
		} else if (w->o.bug == BUG_OWNER && p && p->epoch && me->acked &&
			   bw_sim_chance(sim, 0.2)) {
			add_batches(w, me, p);
		} else if ((w->o.fences || !p || !p->epoch) &&
			   bw_sim_chance(sim, i == me->who % PRODUCERS ? 0.5 : 0.04)) {
			add(w, me, fence);
		}
	}
	if (w->o.jobs)
		add_markers(w, me);
}

/* ---- Uploads ---------------------------------------------------------------------------------------- */

/* Sends the next object that the work needs; false when all of them are there. */
static bool upload(struct world *w, struct writer *me)
{
	char key[BW_KEY_MAX + 1];

	for (; me->uploaded < me->work_n; me->uploaded++) {
		const struct bw_change *c = &me->work[me->uploaded];

		if (c->kind != BW_CHANGE_APPEND)
			continue;
		if (me->state_next)
			bw_key_state(&w->stream, c->name, c->epoch, c->seq, c->nonce, key);
		else
			bw_key_data(&w->stream, c->name, c->epoch, c->seq, c->nonce, key);
		bw_sim_put(&w->sim, me->who, ++me->token, key, "bytes", 5);
		return true;
	}
	return false;
}

static void uploaded(struct writer *me)
{
	const struct bw_change *c = &me->work[me->uploaded];

	if (!me->state_next && c->has_state && !c->state) {
		me->state_next = true;
		return;
	}
	me->state_next = false;
	me->uploaded++;
}

static void commit(struct world *w, struct writer *me)
{
	CHECK(w, !bw_txn_new(&w->stream, me->view, &me->txn), "memory");
	for (unsigned i = 0; i < me->work_n; i++)
		CHECK(w, !bw_txn_add(me->txn, &me->work[i], NULL), "memory");
	me->work_n = 0;
	drop_work(me);
	step(w, me, NULL);
}

/* An upload whose outcome is unknown is sent again: the name is this batch's alone. */
static void upload_answer(struct world *w, struct writer *me, const struct bw_sim_op *op)
{
	if (op->kind == BW_SIM_PUT && (op->outcome == BW_OK || op->outcome == BW_EXISTS ||
				       w->o.bug == BUG_UPLOAD)) {
		uploaded(me);
	} else if (op->kind == BW_SIM_PUT) {
		bw_sim_wake(&w->sim, me->who, ++me->token, bw_sim_roll(&w->sim, 200));
		return;
	}
	if (!upload(w, me))
		commit(w, me);
}

static void begin(struct world *w, struct writer *me)
{
	if (w->quiet)
		return;
	if (!me->view) {
		bw_sim_newest(&w->sim, me->who, ++me->token);
		return;
	}
	add_work(w, me);
	if (!upload(w, me))
		commit(w, me);
}

static void finish(struct world *w, struct writer *me)
{
	bool failed = false;

	judge_results(w, me->txn);
	for (size_t i = 0; i < bw_txn_n(me->txn); i++) {
		failed |= bw_txn_at(me->txn, i)->err != 0;
		me->acked += !bw_txn_at(me->txn, i)->err;
		w->result->acked += !bw_txn_at(me->txn, i)->err;
	}
	bw_root_unref(me->view);
	me->view = bw_root_ref(bw_txn_root(me->txn));
	judge_view(w, me->view);
	if (failed && bw_sim_chance(&w->sim, 0.7)) {
		bw_root_unref(me->view);
		me->view = NULL;	/* look first; else go on with what it believes */
	}
	bw_txn_free(me->txn);
	me->txn = NULL;
	bw_sim_wake(&w->sim, me->who, ++me->token, bw_sim_roll(&w->sim, 200));
}

static void step(struct world *w, struct writer *me, const struct bw_txn_answer *a)
{
	uint8_t id[16];

	txn_commit_id(w, id);
	enum bw_txn_want want = bw_txn_step(me->txn, a, txn_clock_ms(w, me->who), id, &me->request);

	if (want == BW_TXN_DONE) {
		finish(w, me);
		return;
	}
	if (want == BW_TXN_PUT)
		me->slot = bw_txn_in_doubt(me->txn);
	txn_request(w, me->who, ++me->token, want, &me->request, &me->dac);
}

/* ---- Bugs: what a client that breaks a rule believes ------------------------------------------------ */

/* All that was in the attempt is said to be lost. */
static void give_up(struct world *w, struct writer *me)
{
	for (size_t i = 0; i < bw_txn_n(me->txn); i++) {
		struct bw_txn_change *c = bw_txn_at(me->txn, i);

		if (!c->settled) {
			c->settled = true;
			c->err = -BW_E_SEQ_TAKEN;
		}
	}
	judge_results(w, me->txn);
	bw_txn_free(me->txn);
	bw_root_unref(me->view);
	me->txn = NULL;
	me->view = NULL;
	bw_sim_wake(&w->sim, me->who, ++me->token, bw_sim_roll(&w->sim, 200));
}

/* True: the answer was dealt with, wrongly. */
static bool misread(struct world *w, struct writer *me, const struct bw_sim_op *op,
		    struct bw_txn_answer *a)
{
	bool slot = op->kind == BW_SIM_PUT && me->slot;

	if (slot && ((w->o.bug == BUG_STATUS && a->outcome == BW_EXISTS) ||
		     (w->o.bug == BUG_ABANDON && a->outcome == BW_UNKNOWN))) {
		give_up(w, me);
		return true;
	}
	if (slot && w->o.bug == BUG_EARLY && a->outcome == BW_UNKNOWN)
		a->outcome = BW_OK;
	if (op->kind == BW_SIM_PUT && !me->slot && w->o.bug == BUG_NODES)
		a->outcome = BW_OK;
	return false;
}

void writer_answer(struct world *w, struct writer *me, struct bw_sim_op *op)
{
	struct bw_txn_answer a = {.outcome = op->outcome, .blob = op->blob, .root = op->root,
				  .entry = &op->entry};

	if (op->token != me->token)
		return;		/* it was for a life that is over */
	if (!w->quiet && w->o.kills && bw_sim_chance(&w->sim, 0.01)) {
		writer_born(w, me);
		return;
	}
	if (me->txn) {
		if (!misread(w, me, op, &a))
			step(w, me, &a);
	} else if (me->work_n) {
		upload_answer(w, me, op);
	} else {
		if (op->kind == BW_SIM_NEWEST && op->outcome == BW_OK) {
			me->view = bw_root_ref(op->root);
			judge_view(w, me->view);
		}
		begin(w, me);
	}
	/* Dead right after it sent something. */
	if (!w->quiet && w->o.kills && bw_sim_chance(&w->sim, 0.005))
		writer_born(w, me);
}
