/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A few mounts against one store that loses, delays and repeats, in virtual time, one seed a run.
 *
 * Each writer drives bw_txn as the committer does.  The oracle looks at every root at the moment it is
 * created and at every result at the moment it is given: I1-I8, I10 and, once faults stop, I13.
 * Run one seed again with BW_SEED; BW_SIM_SEEDS changes how many are run.
 */
#include "manifest/apply.h"
#include "manifest/dac.h"
#include "manifest/txn.h"
#include "store/base/clock.h"
#include "tests/support/change.h"
#include "tests/support/seed.h"
#include "tests/support/sim.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#define SEEDS 400
#else
#define SEEDS 2000
#endif
#define WRITERS_MAX 6
#define PRODUCERS 4
#define JOBS 2
#define EVENTS 300		/* with faults; then the writers come to rest */
#define EVENTS_MAX 60000	/* I13: rest comes within this */

static const char *const producers[PRODUCERS] = {"pa", "pb", "pc", "pd"};
static const char *const jobs[JOBS] = {"ja", "jb"};

struct writer {
	int who;
	uint64_t token;		/* of the request that is waited for; older answers are for the dead */
	uint8_t owner[16];
	struct bw_root *view;	/* NULL: down, or it must look first */
	struct bw_txn *txn;
	struct bw_txn_request request;
	struct bw_dac dac;
	uint64_t acked;
};

struct batch {
	uint64_t nonce;
	bool dead;		/* its writer was told that it is not committed */
};

/* What the oracle remembers: everything. */
struct world {
	struct bw_sim sim;
	struct bw_stream stream;
	uint64_t seed;
	struct writer writers[WRITERS_MAX];
	int writers_n;
	bool quiet;		/* no new work */
	struct bw_entry *history;
	uint64_t history_n;
	struct {
		uint64_t epoch, next;
		uint8_t owner[16];
	} truth[PRODUCERS];
	struct batch *batches;	/* by nonce */
	uint64_t batches_n;
	uint64_t versions, unknowns;
	uint8_t owners;
};

#define CHECK(w, condition, ...)                                                                   \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "BW_SEED=%lu: ", (unsigned long)(w)->seed);                \
			fprintf(stderr, __VA_ARGS__);                                              \
			fprintf(stderr, "\n");                                                     \
			cr_assert(false, "BW_SEED=%lu %s", (unsigned long)(w)->seed, #condition);  \
		}                                                                                  \
	} while (0)

static int producer_index(const char *name)
{
	for (int i = 0; i < PRODUCERS; i++)
		if (!strcmp(producers[i], name))
			return i;
	return -1;
}

/* ---- The oracle: every root, when it is created ------------------------------------------------- */

/* The state that a batch carries, if it does, follows from what it is: so I8 can be checked anywhere. */
static bool state_of(uint64_t nonce, char text[32])
{
	snprintf(text, 32, "cursor-%lu", (unsigned long)nonce);
	return nonce % 3 != 0;
}

static void judge_entry(struct world *w, const struct bw_root *r, const struct bw_entry *e)
{
	int p = producer_index(e->producer);

	CHECK(w, p >= 0, "an unknown producer");
	CHECK(w, e->step == w->history_n, "I4: step %lu after %lu", (unsigned long)e->step,
	      (unsigned long)w->history_n);
	CHECK(w, e->seq == w->truth[p].next, "I5: %s seq %lu, next was %lu", e->producer,
	      (unsigned long)e->seq, (unsigned long)w->truth[p].next);
	CHECK(w, e->epoch == w->truth[p].epoch, "I7: epoch %lu after the fence of %lu",
	      (unsigned long)e->epoch, (unsigned long)w->truth[p].epoch);
	CHECK(w, e->nonce < w->batches_n && !w->batches[e->nonce].dead,
	      "I6: a batch is committed that was said not to be");
	CHECK(w, e->version == r->version, "an entry of another version");
	w->truth[p].next++;
	w->history = realloc(w->history, (w->history_n + 1) * sizeof(*w->history));
	w->history[w->history_n++] = *e;
}

static void judge_changes(struct world *w, const struct bw_root *r)
{
	for (uint32_t i = 0; i < r->changes_n; i++) {
		const struct bw_change *c = &r->changes[i];
		int p = c->kind <= BW_CHANGE_APPEND ? producer_index(c->name) : -1;

		if (c->kind == BW_CHANGE_FENCE) {
			w->truth[p].epoch++;
			memcpy(w->truth[p].owner, c->owner, 16);
		}
		if (c->kind != BW_CHANGE_APPEND)
			continue;
		CHECK(w, !memcmp(c->owner, w->truth[p].owner, 16), "I7: not the owner's batch");
		const struct bw_entry *e = bw_root_tail_entry(r, w->history_n);

		CHECK(w, e && e->nonce == c->nonce, "the entry is not what the change says");
		judge_entry(w, r, e);
	}
}

static void judge_states(struct world *w, const struct bw_root *r)
{
	for (uint32_t i = 0; i < r->producers_n; i++) {
		const struct bw_producer_entry *p = &r->producers[i];
		const struct bw_entry *last = NULL;
		char text[32];

		for (uint64_t s = w->history_n; s-- > 0 && !last;)
			if (!strcmp(w->history[s].producer, p->name) &&
			    state_of(w->history[s].nonce, text))
				last = &w->history[s];
		CHECK(w, p->has_state == !!last, "I8: %s has %s state", p->name, last ? "no" : "a");
		if (!last)
			continue;
		state_of(last->nonce, text);
		CHECK(w, p->state_seq == last->seq && p->state_len == strlen(text) &&
			 !memcmp(p->state, text, strlen(text)),
		      "I8: another batch's state");
	}
}

static void judge_prefix(struct world *w, const struct bw_root *r)
{
	for (uint32_t i = 0; i < r->tail_n; i++) {
		const struct bw_entry *e = &r->tail[i], *h = &w->history[e->step];

		CHECK(w, e->nonce == h->nonce && e->seq == h->seq && e->version == h->version &&
			 !strcmp(e->producer, h->producer),
		      "I3: entry %lu has changed", (unsigned long)e->step);
	}
	for (unsigned k = 0; k < r->levels_n; k++) {
		for (uint32_t i = 0; i < r->levels[k].n; i++) {
			const struct bw_pointer *p = &r->levels[k].pointers[i];
			char key[BW_KEY_MAX + 1];

			bw_key_node(&w->stream, k, p->first, p->last, p->hash, key);
			CHECK(w, bw_sim_has(&w->sim, key), "I9: a root before its index node");
		}
	}
}

static void judge(struct bw_sim *sim, struct bw_root *r)
{
	struct world *w = sim->ctx;
	const struct bw_root *old = r->version > 1 ? sim->roots[r->version - 1] : NULL;

	w->versions++;
	if (old)
		CHECK(w, !bw_apply_check(&w->stream, old, r), "version %lu does not follow",
		      (unsigned long)r->version);
	judge_changes(w, r);
	CHECK(w, r->head == w->history_n, "I2: head %lu, history %lu", (unsigned long)r->head,
	      (unsigned long)w->history_n);
	judge_states(w, r);
	judge_prefix(w, r);
}

/* ---- The oracle: every result, when it is given -------------------------------------------------- */

static void judge_append(struct world *w, const struct bw_txn_change *c)
{
	const struct bw_root *newest = w->sim.roots[w->sim.newest];
	uint64_t step = UINT64_MAX;

	for (uint64_t s = 0; s < w->history_n; s++)
		if (w->history[s].nonce == c->change.nonce)
			step = s;
	if (!c->err) {
		CHECK(w, step == c->step, "I6: acknowledged at %lu, committed at %lu",
		      (unsigned long)c->step, (unsigned long)step);
		CHECK(w, w->history[step].version == c->version, "I6: another version");
		return;
	}
	if (c->err == -BW_E_UNKNOWN) {
		w->unknowns++;
		CHECK(w, newest->first > 0, "unknown, with nothing trimmed");
		return;
	}
	CHECK(w, step == UINT64_MAX, "I6: error %d, but committed at %lu", c->err,
	      (unsigned long)step);
	w->batches[c->change.nonce].dead = true;
}

static void judge_fence(struct world *w, const struct bw_txn_change *c)
{
	bool found = false;

	for (uint64_t v = 1; v <= w->sim.newest && !c->err; v++) {
		const struct bw_producer_entry *p =
			bw_root_producer(w->sim.roots[v], c->change.name);

		found |= p && p->epoch == c->epoch && !memcmp(p->owner, c->change.owner, 16);
	}
	CHECK(w, c->err || found, "I6: a fence was acknowledged that did not take place");
}

static void judge_results(struct world *w, struct bw_txn *t)
{
	for (size_t i = 0; i < bw_txn_n(t); i++) {
		const struct bw_txn_change *c = bw_txn_at(t, i);

		CHECK(w, c->settled, "a change without a result");
		CHECK(w, c->err || c->version <= w->sim.newest, "a version that is not there");
		if (c->change.kind == BW_CHANGE_APPEND)
			judge_append(w, c);
		if (c->change.kind == BW_CHANGE_FENCE)
			judge_fence(w, c);
	}
}

/* I10: whatever any mount has seen is a prefix of the one history. */
static void judge_view(struct world *w, const struct bw_root *view)
{
	CHECK(w, view->stored_xxh3 == w->sim.roots[view->version]->stored_xxh3,
	      "I1: two byte strings at version %lu", (unsigned long)view->version);
}

/* ---- Writers -------------------------------------------------------------------------------------- */

static void step(struct world *w, struct writer *me, const struct bw_txn_answer *a);

/* A new life: another owner, nothing remembered, the requests of the old one still under way. */
static void be_born(struct world *w, struct writer *me)
{
	bw_txn_free(me->txn);
	bw_root_unref(me->view);
	me->txn = NULL;
	me->view = NULL;
	bw_test_owner(me->owner, ++w->owners);
	CHECK(w, w->owners, "too many lives");
	bw_sim_wake(&w->sim, me->who, ++me->token, bw_sim_roll(&w->sim, 2000));
}

static void add(struct writer *me, struct bw_change c)
{
	cr_assert_eq(bw_txn_add(me->txn, &c, NULL), 0);
}

static void add_batches(struct world *w, struct writer *me, const struct bw_producer_entry *p)
{
	uint64_t n = 1 + bw_sim_roll(&w->sim, 3);

	for (uint64_t i = 0; i < n; i++) {
		struct bw_change c = bw_test_append(p->name, 1, p->epoch, p->next + i, w->batches_n);
		char text[32];

		memcpy(c.owner, me->owner, 16);
		if (state_of(w->batches_n, text))
			bw_test_state(&c, text);
		w->batches = realloc(w->batches, (w->batches_n + 1) * sizeof(*w->batches));
		w->batches[w->batches_n] = (struct batch){.nonce = w->batches_n};
		w->batches_n++;
		add(me, c);
	}
}

static void add_work(struct world *w, struct writer *me)
{
	struct bw_sim *sim = &w->sim;

	for (int i = 0; i < PRODUCERS; i++) {
		const struct bw_producer_entry *p = bw_root_producer(me->view, producers[i]);
		struct bw_change fence = bw_test_fence(producers[i], 1);

		memcpy(fence.owner, me->owner, 16);
		if (p && !memcmp(p->owner, me->owner, 16)) {
			if (bw_sim_chance(sim, 0.7))
				add_batches(w, me, p);
		} else if (bw_sim_chance(sim, i == me->who % PRODUCERS ? 0.5 : 0.04)) {
			add(me, fence);
		}
	}
	const char *job = jobs[bw_sim_roll(sim, JOBS)];
	uint64_t span = me->view->head - me->view->first + 1;

	if (bw_sim_chance(sim, 0.1))
		add(me, bw_test_change(BW_CHANGE_JOB, job));
	if (bw_sim_chance(sim, 0.3))
		add(me, bw_test_step(BW_CHANGE_MARK, job,
				     me->view->first + bw_sim_roll(sim, span)));
	if (bw_sim_chance(sim, 0.15))
		add(me, bw_test_step(BW_CHANGE_UNMARK, job,
				     me->view->first + bw_sim_roll(sim, span)));
	if (bw_sim_chance(sim, 0.1))
		add(me, bw_test_change(BW_CHANGE_TRIM, ""));
	if (bw_sim_chance(sim, 0.05))
		add(me, bw_test_step(BW_CHANGE_SWEEP, "", me->view->first));
	if (bw_sim_chance(sim, 0.02))
		add(me, bw_test_change(BW_CHANGE_UNJOB, job));
}

static void begin(struct world *w, struct writer *me)
{
	if (w->quiet)
		return;
	if (!me->view) {
		bw_sim_newest(&w->sim, me->who, ++me->token);
		return;
	}
	cr_assert_eq(bw_txn_new(&w->stream, me->view, &me->txn), 0);
	add_work(w, me);
	step(w, me, NULL);
}

static void finish(struct world *w, struct writer *me)
{
	bool failed = false;

	judge_results(w, me->txn);
	for (size_t i = 0; i < bw_txn_n(me->txn); i++) {
		failed |= bw_txn_at(me->txn, i)->err != 0;
		me->acked += !bw_txn_at(me->txn, i)->err;
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

static void ask(struct world *w, struct writer *me, enum bw_txn_want want)
{
	const struct bw_txn_request *r = &me->request;
	int64_t ns;

	me->token++;
	switch (want) {
	case BW_TXN_PUT:
		bw_sim_put(&w->sim, me->who, me->token, r->key, r->bytes, r->len);
		return;
	case BW_TXN_GET:
		bw_sim_get(&w->sim, me->who, me->token, r->key);
		return;
	case BW_TXN_REFRESH:
		bw_sim_newest(&w->sim, me->who, me->token);
		return;
	case BW_TXN_FIND:
		bw_sim_find(&w->sim, me->who, me->token, r->step);
		return;
	case BW_TXN_SLEEP:
		ns = r->conflicts ? bw_dac_after_conflict(&me->dac, r->conflicts)
				  : bw_dac_after_doubt(&me->dac, r->tries);
		bw_sim_wake(&w->sim, me->who, me->token, 1 + (uint64_t)(ns / BW_MS));
		return;
	case BW_TXN_DONE:
		finish(w, me);
	}
}

static void step(struct world *w, struct writer *me, const struct bw_txn_answer *a)
{
	uint8_t id[16] = {0};
	uint64_t random = bw_rng_next(&w->sim.rng);

	memcpy(id, &random, sizeof(random));
	/* Clocks of hosts disagree. */
	int64_t clock_ms = 1700000000000 + (int64_t)w->sim.now + me->who * 5000;

	ask(w, me, bw_txn_step(me->txn, a, clock_ms, id, &me->request));
}

static void answer(struct bw_sim *sim, struct bw_sim_op *op)
{
	struct world *w = sim->ctx;
	struct writer *me = &w->writers[op->who];
	struct bw_txn_answer a = {.outcome = op->outcome, .blob = op->blob, .root = op->root,
				  .entry = &op->entry};

	if (op->token != me->token)
		return;		/* it was for a life that is over */
	if (!w->quiet && bw_sim_chance(sim, 0.01)) {
		be_born(w, me);
		return;
	}
	if (me->txn) {
		step(w, me, &a);
		return;
	}
	if (op->kind == BW_SIM_NEWEST && op->outcome == BW_OK) {
		me->view = bw_root_ref(op->root);
		judge_view(w, me->view);
	}
	begin(w, me);
}

/* ---- Runs ----------------------------------------------------------------------------------------- */

/* A stream that is about to fold, in some runs. */
static void prologue(struct world *w)
{
	struct bw_root *first, *root;
	struct bw_change *c = calloc(BW_APPENDS_MAX, sizeof(*c));
	uint32_t n = bw_sim_chance(&w->sim, 0.1) ? 200 + (uint32_t)bw_sim_roll(&w->sim, 50) : 0;

	cr_assert_eq(bw_root_first(&w->stream, &first), 0);
	bw_sim_put_root(&w->sim, first);
	bw_root_unref(first);
	if (n) {
		c[0] = bw_test_fence("pa", 255);
		w->batches = calloc(n, sizeof(*w->batches));
		for (uint32_t i = 1; i < n; i++) {
			char text[32];

			c[i] = bw_test_append("pa", 255, 1, i - 1, w->batches_n);
			if (state_of(w->batches_n++, text))
				bw_test_state(&c[i], text);
		}
		root = bw_test_apply(&w->stream, w->sim.roots[1], c, n, 1);
		bw_sim_put_root(&w->sim, root);
		bw_root_unref(root);
		for (uint32_t i = 0; i < n; i++)
			bw_change_done(&c[i]);
	}
	free(c);
}

static void bury_some(struct world *w)
{
	if (w->sim.newest > 2 && bw_sim_chance(&w->sim, 0.05))
		bw_sim_bury(&w->sim, 1 + bw_sim_roll(&w->sim, w->sim.newest - 1));
	/* The collector's favourite: the one that was superseded just now. */
	if (w->sim.newest > 2 && bw_sim_chance(&w->sim, 0.03))
		bw_sim_bury(&w->sim, w->sim.newest - 1);
}

static void run_world(struct world *w)
{
	uint64_t events = 0;

	while (bw_sim_run(&w->sim)) {
		events++;
		bury_some(w);
		if (events == EVENTS) {
			w->quiet = true;
			w->sim.faults = 0;
		}
		CHECK(w, events < EVENTS_MAX, "I13: the writers do not come to rest");
	}
	for (int i = 0; i < w->writers_n; i++)
		CHECK(w, !w->writers[i].txn, "I13: writer %d waits for ever", i);
}

static void one_seed(uint64_t seed, uint64_t *versions, uint64_t *acked, uint64_t *unknowns)
{
	struct world *w = calloc(1, sizeof(*w));

	w->seed = seed;
	bw_test_stream(&w->stream, 4);
	bw_sim_init(&w->sim, &w->stream, seed);
	w->stream.options.keep = 1 + (uint32_t)bw_sim_roll(&w->sim, 2);
	w->sim.ctx = w;
	w->sim.created = judge;
	w->sim.answer = answer;
	prologue(w);
	w->sim.faults = bw_sim_chance(&w->sim, 0.2) ? 0 : 0.05 + 0.3 * bw_rng_unit(&w->sim.rng);
	w->writers_n = 3 + (int)bw_sim_roll(&w->sim, WRITERS_MAX - 2);
	for (int i = 0; i < w->writers_n; i++) {
		w->writers[i].who = i;
		bw_dac_init(&w->writers[i].dac, seed + (uint64_t)i);
		bw_dac_put(&w->writers[i].dac, 100 * BW_MS, false);
		be_born(w, &w->writers[i]);
	}
	run_world(w);
	*versions += w->versions;
	*unknowns += w->unknowns;
	for (int i = 0; i < w->writers_n; i++) {
		*acked += w->writers[i].acked;
		bw_root_unref(w->writers[i].view);
	}
	bw_sim_done(&w->sim);
	free(w->history);
	free(w->batches);
	free(w);
}

Test(sim, many_writers_one_history, .timeout = 500)
{
	const char *seeds = getenv("BW_SIM_SEEDS");
	uint64_t n = seeds ? strtoull(seeds, NULL, 0) : getenv("BW_SEED") ? 1 : SEEDS;
	uint64_t seed = bw_test_seed(), versions = 0, acked = 0, unknowns = 0;

	fprintf(stderr, "BW_SEED=%lu and the %lu after it\n", (unsigned long)seed,
		(unsigned long)n - 1);
	for (uint64_t i = 0; i < n; i++)
		one_seed(seed + i, &versions, &acked, &unknowns);
	fprintf(stderr, "%lu versions, %lu changes acknowledged, %lu unknown\n",
		(unsigned long)versions, (unsigned long)acked, (unsigned long)unknowns);
	cr_assert_gt(versions, 5 * n, "the writers got somewhere");
	cr_assert_gt(acked, 10 * n);
}
