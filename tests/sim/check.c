/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/check_priv.h"

#include <stdarg.h>

#define SHRINK_SEEDS 60

const char *const check_bug_names[BUGS] = {"none",  "status", "owner", "reuse",
					   "early", "nodes",  "abandon", "upload", "clock"};
const char *const check_bug_breaks[BUGS] = {"", "I6", "I7", "I1", "I6", "I9", "I6", "I9", "I9"};

void check_fail(struct world *w, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(w->result->text, sizeof(w->result->text), format, args);
	va_end(args);
	w->result->failed = true;
	w->result->at_event = w->result->events;
	longjmp(w->failed, 1);
}

void check_options_init(struct check_options *o, uint64_t seed)
{
	*o = (struct check_options){.seed = seed, .events = 300, .kinds = BW_SIM_ALL_FAULTS,
				    .writers = -1, .readers = -1, .collectors = -1, .kills = true, .buries = true,
				    .jobs = true, .fences = true};
}

/* ---- A run ------------------------------------------------------------------------------------------ */

static void answer(struct bw_sim *sim, struct bw_sim_op *op)
{
	struct world *w = sim->ctx;

	if (op->who < WRITERS_MAX)
		writer_answer(w, &w->writers[op->who], op);
	else if (op->who < WRITERS_MAX + READERS_MAX)
		reader_answer(w, &w->readers[op->who - WRITERS_MAX], op);
	else
		collector_answer(w, &w->collectors[op->who - WRITERS_MAX - READERS_MAX], op);
}

/* ---- Commits of writers and collectors ------------------------------------------------------------------ */

void txn_request(struct world *w, int who, uint64_t token, enum bw_txn_want want, const struct bw_txn_request *r,
		 struct bw_dac *dac)
{
	int64_t ns;

	switch (want) {
	case BW_TXN_PUT:
		bw_sim_put(&w->sim, who, token, r->key, r->bytes, r->len);
		return;
	case BW_TXN_GET:
		bw_sim_get(&w->sim, who, token, r->key);
		return;
	case BW_TXN_REFRESH:
		bw_sim_newest(&w->sim, who, token);
		return;
	case BW_TXN_FIND:
		bw_sim_find(&w->sim, who, token, r->step);
		return;
	case BW_TXN_SLEEP:
		ns = r->conflicts ? bw_dac_after_conflict(dac, r->conflicts) : bw_dac_after_doubt(dac, r->tries);
		bw_sim_wake(&w->sim, who, token, 1 + (uint64_t)(ns / BW_MS));
		return;
	case BW_TXN_DONE:
		break;
	}
}

/* Clocks of hosts disagree. */
int64_t txn_clock_ms(const struct world *w, int who)
{
	return bw_sim_wall_ms(w->sim.now) + who * 5000;
}

void txn_commit_id(struct world *w, uint8_t id[16])
{
	uint64_t random = bw_rng_next(&w->sim.rng);

	memset(id, 0, 16);
	memcpy(id, &random, sizeof(random));
}

static void recreated(struct bw_sim *sim, uint64_t version)
{
	check_fail(sim->ctx, "I1: version %lu was created twice", (unsigned long)version);
}

static void put_data(struct world *w, const struct bw_change *c)
{
	char key[BW_KEY_MAX + 1];

	bw_key_data(&w->stream, c->name, c->epoch, c->seq, c->nonce, key);
	bw_sim_put_node(&w->sim, key, "bytes", 5);
}

/* A stream that is about to fold, in some runs. */
static void prologue(struct world *w)
{
	struct bw_root *first, *root;
	struct bw_change *c = calloc(BW_TAIL_FOLD, sizeof(*c));
	uint32_t n = bw_sim_chance(&w->sim, 0.1) ?
			     BW_TAIL_FOLD * 4 / 5 + (uint32_t)bw_sim_roll(&w->sim, BW_TAIL_FOLD / 5) :
			     0;
	uint8_t owner[16];

	bw_test_owner(owner, 255);
	CHECK(w, c && !bw_root_first(&w->stream, &first), "memory");
	bw_sim_put_root(&w->sim, first);
	bw_root_unref(first);
	if (n) {
		c[0] = bw_test_fence("pa", 255);
		for (uint32_t i = 1; i < n; i++) {
			char text[32];

			c[i] = bw_test_append("pa", 255, 1, i - 1, w->batches_n);
			put_data(w, &c[i]);
			if (state_of(w->batches_n, text))
				bw_test_state(&c[i], text);
			batch_new(w, owner);
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
	uint64_t version = 0;

	if (!w->o.buries)
		return;
	if (w->sim.newest > 2 && bw_sim_chance(&w->sim, 0.05))
		version = 1 + bw_sim_roll(&w->sim, w->sim.newest - 1);
	/* The collector's favourite: the one that was superseded just now. */
	if (w->sim.newest > 2 && bw_sim_chance(&w->sim, 0.03))
		version = w->sim.newest - 1;
	if (version && w->o.bug == BUG_REUSE)
		bw_sim_delete(&w->sim, version);
	else if (version && w->sim.slots[version])
		bw_sim_bury(&w->sim, version);
}

static void run(struct world *w)
{
	while (bw_sim_run(&w->sim)) {
		w->result->events++;
		bury_some(w);
		if (w->result->events == w->o.events) {
			w->quiet = true;
			w->quiet_at = w->sim.now;
			w->sim.faults = 0;
		}
		CHECK(w, w->result->events < w->o.events + EVENTS_MAX,
		      "I13: the writers do not come to rest");
	}
	for (int i = 0; i < w->writers_n; i++)
		CHECK(w, !w->writers[i].txn, "I13: writer %d waits for ever", i);
	for (int i = 0; i < w->readers_n && w->o.bug != BUG_REUSE; i++)
		CHECK(w, w->readers[i].view && w->readers[i].view->version == w->sim.newest,
		      "I13: reader %d never sees the end", i);
	for (int i = 0; i < w->collectors_n; i++)
		CHECK(w, !w->collectors[i].pass, "I13: collector %d waits for ever", i);
	if (w->collectors_n)
		judge_rest(w);
}

static int some(struct world *w, int wished, int least, int most)
{
	int n = least + (int)bw_sim_roll(&w->sim, (uint64_t)(most - least + 1));

	return wished < 0 || n < wished ? n : wished;
}

static void begin(struct world *w)
{
	prologue(w);
	w->sim.faults = bw_sim_chance(&w->sim, 0.2) ? 0 : 0.05 + 0.3 * bw_rng_unit(&w->sim.rng);
	if (w->sim.faults < w->o.faults)
		w->sim.faults = w->o.faults;
	w->writers_n = some(w, w->o.writers, 3, WRITERS_MAX);
	w->readers_n = some(w, w->o.readers, 0, READERS_MAX);
	w->collectors_n = some(w, w->o.collectors, 0, COLLECTORS_MAX);
	/* Names that become free confuse everybody; it is the version made twice that is looked for. */
	if (w->o.bug == BUG_REUSE)
		w->readers_n = w->collectors_n = 0;
	for (int i = 0; i < w->writers_n; i++) {
		w->writers[i].who = i;
		bw_dac_init(&w->writers[i].dac, w->o.seed + (uint64_t)i);
		bw_dac_put(&w->writers[i].dac, 100 * BW_MS, false);
		writer_born(w, &w->writers[i]);
	}
	for (int i = 0; i < w->readers_n; i++) {
		w->readers[i].who = WRITERS_MAX + i;
		reader_born(w, &w->readers[i]);
	}
	w->small_pages = bw_sim_chance(&w->sim, 0.5);
	for (int i = 0; i < w->collectors_n; i++) {
		bw_dac_init(&w->collectors[i].dac, w->o.seed + 100 + (uint64_t)i);
		collector_born(w, &w->collectors[i]);
	}
}

static void end(struct world *w)
{
	for (int i = 0; i < WRITERS_MAX; i++) {
		bw_txn_free(w->writers[i].txn);
		bw_root_unref(w->writers[i].view);
		while (w->writers[i].work_n)
			bw_change_done(&w->writers[i].work[--w->writers[i].work_n]);
	}
	for (int i = 0; i < COLLECTORS_MAX; i++)
		collector_done(&w->collectors[i]);
	for (int i = 0; i < READERS_MAX; i++) {
		bw_root_unref(w->readers[i].view);
		bw_root_unref(w->readers[i].found);
	}
	bw_sim_done(&w->sim);
	for (int i = 0; i < PRODUCERS; i++)
		free(w->truth[i].owners);
	free(w->history);
	free(w->batches);
	free(w);
}

void check_run(const struct check_options *o, struct check_result *ret)
{
	struct world *volatile w = calloc(1, sizeof(*w));

	*ret = (struct check_result){.failed = false};
	if (!w)
		abort();
	w->o = *o;
	w->result = ret;
	for (int i = 0; i < PRODUCERS; i++)
		w->truth[i].state = UNCOMMITTED;
	bw_test_stream(&w->stream, 4);
	bw_sim_init(&w->sim, &w->stream, o->seed);
	w->stream.options.keep = 1 + (uint32_t)bw_sim_roll(&w->sim, 2);
	w->stream.options.grace_s = 1 + bw_sim_roll(&w->sim, 3);
	w->sim.kinds = o->kinds ? o->kinds : 1u << 31;	/* no bit that is one: no fault */
	w->sim.trace = o->trace;
	w->sim.ctx = w;
	w->sim.created = judge_root;
	w->sim.recreated = recreated;
	w->sim.deleting = judge_deletion;
	w->sim.burying = judge_burial;
	w->sim.answer = answer;
	if (!setjmp(w->failed)) {
		begin(w);
		run(w);
	}
	end(w);
}

/* ---- Shrinking -------------------------------------------------------------------------------------- */

static bool same_kind(const char *a, const char *b)
{
	return !strncmp(a, b, 3);
}

/* Does o, or one of the seeds after it, fail in the same way?  *o gets the seed, and stops where it fails. */
static bool still(struct check_options *o, struct check_result *ret)
{
	struct check_options try = *o;
	struct check_result r;

	for (int i = 0; i < SHRINK_SEEDS; i++, try.seed++) {
		check_run(&try, &r);
		if (!r.failed || !same_kind(r.text, ret->text))
			continue;
		*o = try;
		*ret = r;
		return true;
	}
	return false;
}

static bool without(struct check_options *o, struct check_result *ret, int what)
{
	struct check_options try = *o;
	bool *const switches[] = {&try.kills, &try.buries, &try.jobs, &try.fences};

	if (what < 4) {
		if (!*switches[what])
			return false;
		*switches[what] = false;
	} else if (what < 14) {
		unsigned bit = 1u << (what - 4);

		if (!(try.kinds & bit))
			return false;
		try.kinds &= ~bit;
	} else if (what == 14) {
		try.readers = try.readers < 0 ? READERS_MAX : try.readers;
		if (!try.readers)
			return false;
		try.readers--;
	} else if (what == 15) {
		try.collectors = try.collectors < 0 ? COLLECTORS_MAX : try.collectors;
		if (!try.collectors)
			return false;
		try.collectors--;
	} else {
		try.writers = try.writers < 0 ? WRITERS_MAX : try.writers;
		if (try.writers <= 1)
			return false;
		try.writers--;
	}
	if (!still(&try, ret))
		return false;
	*o = try;
	return true;
}

void check_shrink(struct check_options *o, struct check_result *ret)
{
	bool any = true;

	while (any) {
		any = false;
		for (int what = 0; what < 17; what++)
			while (without(o, ret, what))
				any = true;
		/* Among the seeds that are left, the one that fails soonest. */
		struct check_options try = *o;

		while (ret->at_event > 2) {
			try.events = ret->at_event - 1;
			if (!still(&try, ret) || ret->at_event > try.events)
				break;
			*o = try;
			any = true;
		}
	}
	check_run(o, ret);
}

void check_print(const struct check_options *o, const struct check_result *r, FILE *out)
{
	struct check_options again = *o;
	struct check_result same;

	fprintf(out, "BW_SEED=%lu events=%lu writers=%d readers=%d collectors=%d faults=0x%x kills=%d buries=%d "
		     "jobs=%d fences=%d bug=%s\n", (unsigned long)o->seed, (unsigned long)o->events,
		o->writers, o->readers, o->collectors, o->kinds, o->kills, o->buries, o->jobs, o->fences,
		check_bug_names[o->bug]);
	again.trace = out;
	check_run(&again, &same);
	fprintf(out, "%s, at event %lu\n", r->text, (unsigned long)r->at_event);
}
