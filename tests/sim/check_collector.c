/* SPDX-License-Identifier: Apache-2.0 */
/* A collector: bw_reclaim, pass after pass, driven as gc does, with lives that end at any moment. */
#include "tests/sim/check_priv.h"

#define FIRST (WRITERS_MAX + READERS_MAX)
#define LATEST (2 * BW_SIM_HOUR)	/* after the last fault nothing is under way any more */
#define AT_REST 2

static void step(struct world *w, struct collector *me, const struct bw_reclaim_answer *a);

void collector_done(struct collector *me)
{
	bw_reclaim_free(me->pass);
	bw_txn_free(me->txn);
	bw_root_unref(me->view);
	me->pass = NULL;
	me->txn = NULL;
	me->view = NULL;
}

static void sleep_until_next(struct world *w, struct collector *me)
{
	uint64_t ms = w->quiet ? BW_SIM_HOUR / 4 : bw_sim_roll(&w->sim, 3000);

	bw_sim_wake(&w->sim, me->who, ++me->token, ms);
}

void collector_born(struct world *w, struct collector *me)
{
	collector_done(me);
	me->who = FIRST + (int)(me - w->collectors);
	me->memo = (struct bw_reclaim_memo){0};
	sleep_until_next(w, me);
}

/* ---- A pass ----------------------------------------------------------------------------------------- */

static void begin(struct world *w, struct collector *me)
{
	me->options = (struct bw_reclaim_options){
		.force = w->quiet || bw_sim_chance(&w->sim, 0.3),
		.walk = w->quiet || bw_sim_chance(&w->sim, 0.5),
		.memory = 1,
		.root_kept_ms = 30000,
		.memo = bw_sim_chance(&w->sim, 0.5) ? &me->memo : NULL,
	};
	CHECK(w, !bw_reclaim_new(&w->stream, &me->options, &me->pass), "memory");
	step(w, me, NULL);
}

static bool has_deleted(const struct bw_reclaim_report *r)
{
	uint64_t n = r->roots_buried + (r->swept - r->swept_before) + (r->first - r->first_before);

	for (int i = 0; i < BW_WHYS; i++)
		n += r->deleted[i].n;
	return n > 0;
}

static void finish(struct world *w, struct collector *me)
{
	const struct bw_reclaim_report *r = bw_reclaim_report(me->pass);

	w->result->passes += !r->err;
	for (int i = 0; i < BW_WHYS; i++)
		w->result->deleted += r->deleted[i].n;
	CHECK(w, !w->quiet || w->o.bug || !r->err || w->sim.now < w->quiet_at + LATEST,
	      "I13: a pass fails without a fault: %d at %s", r->err, r->what);
	bool rests = !r->err && !has_deleted(r) && w->quiet && w->sim.now > w->quiet_at + LATEST;

	me->passes_at_rest = rests ? me->passes_at_rest + 1 : 0;
	bw_reclaim_free(me->pass);
	me->pass = NULL;
	if (me->passes_at_rest < AT_REST)
		sleep_until_next(w, me);
}

/* One after the other, the last one first: a life may end between two of them. */
static void put_next(struct world *w, struct collector *me)
{
	const struct bw_reclaim_put *p = &me->request.puts[me->request.puts_n - 1 - me->put];

	bw_sim_put_over(&w->sim, me->who, ++me->token, p->key, p->bytes, p->len);
}

/* True: there are more. */
static bool put_answered(struct world *w, struct collector *me, enum bw_outcome outcome)
{
	me->request.puts[me->request.puts_n - 1 - me->put].outcome = outcome;
	if (++me->put == me->request.puts_n)
		return false;
	put_next(w, me);
	return true;
}

static void request(struct world *w, struct collector *me)
{
	static const struct bw_reclaim_answer denied = {.outcome = BW_DENIED};
	const struct bw_reclaim_request *r = &me->request;
	const char *keys[BW_DELETE_MANY_MAX];
	uint64_t ms;

	switch (me->want) {
	case BW_RECLAIM_REFRESH:
		bw_sim_newest(&w->sim, me->who, ++me->token);
		return;
	case BW_RECLAIM_GET:
		bw_sim_get(&w->sim, me->who, ++me->token, r->key);
		return;
	case BW_RECLAIM_PUT:
		put_next(w, me);
		return;
	case BW_RECLAIM_LIST:
		bw_sim_list(&w->sim, me->who, ++me->token, r->key, r->after,
			    w->small_pages ? 3 : r->max);
		return;
	case BW_RECLAIM_DELETE:
		for (size_t i = 0; i < r->items_n; i++)
			keys[i] = r->items[i].key;
		bw_sim_delete_many(&w->sim, me->who, ++me->token, keys, r->items_n);
		return;
	case BW_RECLAIM_UPLOADS:	/* an object is there at once, or was never begun */
	case BW_RECLAIM_ABORT:
		step(w, me, &denied);
		return;
	case BW_RECLAIM_SLEEP:
		ms = 1 + bw_sim_roll(&w->sim, 200);
		bw_sim_wake(&w->sim, me->who, ++me->token, ms);
		return;
	case BW_RECLAIM_COMMIT:
	case BW_RECLAIM_DONE:
		break;
	}
}

/* ---- The commits of a pass -------------------------------------------------------------------------- */

static void commit_step(struct world *w, struct collector *me, const struct bw_txn_answer *a)
{
	uint8_t id[16];

	txn_commit_id(w, id);
	enum bw_txn_want want = bw_txn_step(me->txn, a, txn_clock_ms(w, me->who), id, &me->ask);

	if (want != BW_TXN_DONE) {
		txn_request(w, me->who, ++me->token, want, &me->ask, &me->dac);
		return;
	}
	judge_results(w, me->txn);
	bw_root_unref(me->view);
	me->view = bw_root_ref(bw_txn_root(me->txn));
	struct bw_reclaim_answer answer = {.err = bw_txn_at(me->txn, 0)->err, .root = me->view};

	bw_txn_free(me->txn);
	me->txn = NULL;
	step(w, me, &answer);
}

static void commit(struct world *w, struct collector *me)
{
	struct bw_change copy;

	CHECK(w, !bw_change_copy(&copy, &me->request.change) &&
		 !bw_txn_new(&w->stream, me->view, &me->txn) && !bw_txn_add(me->txn, &copy, NULL),
	      "memory");
	commit_step(w, me, NULL);
}

static void step(struct world *w, struct collector *me, const struct bw_reclaim_answer *a)
{
	me->want = bw_reclaim_step(me->pass, a, &me->request);
	me->put = 0;
	if (me->want == BW_RECLAIM_DONE)
		finish(w, me);
	else if (me->want == BW_RECLAIM_COMMIT)
		commit(w, me);
	else
		request(w, me);
}

/* ---- Answers ---------------------------------------------------------------------------------------- */

static void answer_pass(struct world *w, struct collector *me, struct bw_sim_op *op)
{
	struct bw_reclaim_answer a = {.outcome = op->outcome, .blob = op->blob, .listing = op->listing,
				      .modified_ms = op->modified_ms};

	if (me->want == BW_RECLAIM_PUT && put_answered(w, me, op->outcome))
		return;
	if (me->want == BW_RECLAIM_REFRESH) {
		a.err = op->outcome == BW_OK ? 0 : -BW_E_UNREACHABLE;
		a.root = op->root;
		if (!a.err) {
			bw_root_unref(me->view);
			me->view = bw_root_ref(op->root);
			judge_view(w, me->view);
		}
	}
	/* Ages by a clock of its own, which is ahead. */
	if (w->o.bug == BUG_CLOCK && me->want == BW_RECLAIM_GET && strstr(me->request.key, "hint"))
		a.modified_ms += 60000;
	if (me->want == BW_RECLAIM_DELETE)
		for (size_t i = 0; i < me->request.items_n; i++)
			me->request.items[i].outcome = op->outcome;
	step(w, me, &a);
}

void collector_answer(struct world *w, struct collector *me, struct bw_sim_op *op)
{
	struct bw_txn_answer a = {.outcome = op->outcome, .blob = op->blob, .root = op->root,
				  .entry = &op->entry};

	if (op->token != me->token)
		return;
	if (!w->quiet && w->o.kills && bw_sim_chance(&w->sim, 0.01)) {
		collector_born(w, me);
		return;
	}
	if (me->txn)
		commit_step(w, me, &a);
	else if (me->pass)
		answer_pass(w, me, op);
	else
		begin(w, me);
	if (!w->quiet && w->o.kills && bw_sim_chance(&w->sim, 0.005))
		collector_born(w, me);
}
