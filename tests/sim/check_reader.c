/* SPDX-License-Identifier: Apache-2.0 */
/* A mount that reads: opens cold, polls, consumes step after step, forgets everything and opens again. */
#include "store/base/hash.h"
#include "tests/sim/check_priv.h"

#define HITS 4
#define RESTARTS 16

static void get(struct world *w, struct reader *me, uint64_t version)
{
	char key[BW_KEY_MAX + 1];

	me->asked = version;
	me->requests++;
	bw_key_root(&w->stream, version, key);
	bw_sim_get(&w->sim, me->who, ++me->token, key);
}

static void rest(struct world *w, struct reader *me)
{
	me->asked = 0;
	if (!w->quiet || !me->view || me->view->version < w->sim.newest)
		bw_sim_wake(&w->sim, me->who, ++me->token, 1 + bw_sim_roll(&w->sim, 300));
}

static void go_on(struct world *w, struct reader *me)
{
	uint64_t next = me->searching ? bw_search_next(&me->search) : me->view->version + 1;

	if (next)
		get(w, me, next);
}

static void begin_look(struct world *w, struct reader *me)
{
	me->newest_then = w->sim.newest;
	me->requests = me->failures = me->hits = me->restarts = 0;
	bw_root_unref(me->found);
	me->found = NULL;
	me->searching = !me->view;
	/* The hint is any version, or none: it is only a place to start. */
	if (me->searching)
		bw_search_cold(&me->search, 1 + bw_sim_roll(&w->sim, w->sim.newest + 3));
	else if (bw_sim_chance(&w->sim, 0.2)) {
		me->searching = true;
		bw_search_warm(&me->search, me->view->version,
			       me->view->version + bw_sim_roll(&w->sim, 20));
	}
	go_on(w, me);
}

void reader_born(struct world *w, struct reader *me)
{
	bw_root_unref(me->view);
	bw_root_unref(me->found);
	me->view = me->found = NULL;
	me->asked = 0;
	bw_sim_wake(&w->sim, me->who, ++me->token, bw_sim_roll(&w->sim, 1000));
}

/* I11: what it consumes is the history, from where it began, nothing left out and nothing twice. */
static void consume(struct world *w, struct reader *me)
{
	const struct bw_root *r = me->view;
	uint64_t tail = r->head - r->tail_n;

	if (me->next < tail || me->next < r->first)
		me->next = tail > r->first ? tail : r->first;	/* behind: through the index, or gone */
	for (; me->next < r->head; me->next++) {
		const struct bw_entry *e = bw_root_tail_entry(r, me->next), *h;

		CHECK(w, e && me->next < w->history_n, "I11: step %lu is not there",
		      (unsigned long)me->next);
		h = &w->history[me->next];
		CHECK(w, e->nonce == h->nonce && e->seq == h->seq &&
			 !strcmp(e->producer, h->producer), "I10: step %lu is another batch",
		      (unsigned long)me->next);
	}
}

static void take(struct world *w, struct reader *me, struct bw_root *r)
{
	judge_view(w, r);
	CHECK(w, !me->view || !bw_apply_check(&w->stream, me->view, r),
	      "I3: a reader sees that %lu does not follow from %lu", (unsigned long)r->version,
	      (unsigned long)me->view->version);
	bw_root_unref(me->view);
	me->view = bw_root_ref(r);
	consume(w, me);
}

/* The look is over: what it did not find was not there when it began. */
static void looked(struct world *w, struct reader *me)
{
	unsigned log2 = 1;

	while (w->sim.newest >> log2)
		log2++;
	CHECK(w, me->view->version >= me->newest_then, "V3: version %lu was there and is not seen",
	      (unsigned long)me->newest_then);
	CHECK(w, me->requests - me->failures <= (me->restarts + 1) * (2 * log2 + 8),
	      "I12: a look of %u requests", me->requests);
	w->result->opens += me->searching;
	w->result->polls += !me->searching;
	rest(w, me);
}

static void search_over(struct world *w, struct reader *me)
{
	if (me->found && me->found->version == me->search.low) {
		take(w, me, me->found);
		looked(w, me);
		return;
	}
	if (me->view && me->search.low == me->view->version) {
		looked(w, me);
		return;
	}
	/* A tombstone at the newest: there is a newer one by now. */
	CHECK(w, me->search.low, "a stream without a version");
	me->restarts++;
	if (me->restarts > RESTARTS) {
		rest(w, me);
		return;
	}
	bw_search_cold(&me->search, me->search.low);
	go_on(w, me);
}

static void saw(struct world *w, struct reader *me, bool there, struct bw_root *r)
{
	if (me->searching) {
		bw_search_saw(&me->search, me->asked, there);
		if (there) {
			bw_root_unref(me->found);
			me->found = r ? bw_root_ref(r) : NULL;
		}
		if (bw_search_next(&me->search))
			go_on(w, me);
		else
			search_over(w, me);
		return;
	}
	if (!there) {
		looked(w, me);
		return;
	}
	if (r)
		take(w, me, r);
	if (!r || ++me->hits == HITS) {
		me->searching = true;
		bw_search_cold(&me->search, me->asked);
	}
	go_on(w, me);
}

void reader_answer(struct world *w, struct reader *me, struct bw_sim_op *op)
{
	struct bw_root *r = NULL;
	bool tombstone = false;

	if (op->token != me->token)
		return;
	if (!w->quiet && w->o.kills && bw_sim_chance(&w->sim, 0.01)) {
		reader_born(w, me);
		return;
	}
	if (!me->asked) {
		begin_look(w, me);
		return;
	}
	bool failed = op->outcome != BW_OK && op->outcome != BW_NOT_FOUND;

	/* The very bytes that were decoded when they were put need not be decoded by each reader. */
	if (op->outcome == BW_OK &&
	    bw_xxh3(op->blob->bytes, op->blob->len) == w->sim.roots[me->asked]->stored_xxh3)
		r = bw_root_ref(w->sim.roots[me->asked]);
	else if (op->outcome == BW_OK)
		failed = bw_root_decode(&w->stream, me->asked, op->blob->bytes, op->blob->len, &r,
					&tombstone) != 0;
	if (failed) {
		me->failures++;
		get(w, me, me->asked);
		return;
	}
	saw(w, me, op->outcome == BW_OK, r);
	bw_root_unref(r);
}
