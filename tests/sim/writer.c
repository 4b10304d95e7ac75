/* SPDX-License-Identifier: Apache-2.0 */
/* One committer, as committer.c and head_probe.c drive a commit, one event at a time. */
#include "tests/sim/world_priv.h"

#include "store/base/clock.h"

#define LINEAR 4	/* versions tried one by one */
#define LOOKS_MAX 3

static void try_begin(struct world *w, struct writer *me);
static void go_on(struct world *w, struct writer *me);

/* ---- Looking for the newest version --------------------------------------------------------------- */

static void probe(struct world *w, struct writer *me)
{
	uint64_t version = me->found ? bw_search_next(&me->search) : me->known + 1;

	world_request(w, me, REQUEST_GET, version);
}

static void look(struct world *w, struct writer *me, bool again)
{
	const struct bw_dac *d = &me->pacer.dac;
	double expected = bw_dac_speed(d) * (double)(w->now_ns - d->looked_ns) / 1e9;

	me->at = LOOKING;
	me->hits = 0;
	me->looks = again ? me->looks + 1 : 1;
	me->found = d->looked_ns && expected > LINEAR;
	if (me->found)
		bw_search_warm(&me->search, me->known, me->known + (uint64_t)expected);
	probe(w, me);
}

static void looked(struct world *w, struct writer *me)
{
	bw_dac_saw_version(&me->pacer.dac, me->absent_ns, me->known, w->head,
			   world_committers(w));
	/* A long search ends at a version that is old by now. */
	if (me->looks < LOOKS_MAX && bw_dac_look_again(&me->pacer.dac, w->now_ns)) {
		look(w, me, true);
		return;
	}
	if (me->peek) {
		me->peek = false;
		bw_dac_peeked(&me->pacer.dac);
		me->at = IDLE;
		try_begin(w, me);
		return;
	}
	go_on(w, me);
}

static void probed(struct world *w, struct writer *me)
{
	bool there = me->outcome == BW_OK;

	if (!there) {
		me->absent_ns = me->sent_ns;
		bw_dac_probed(&me->pacer.dac, w->now_ns - me->sent_ns);
	}
	if (there && me->version > me->known)
		me->known = me->version;
	if (me->found) {
		bw_search_saw(&me->search, me->version, there);
	} else if (there && ++me->hits == LINEAR) {
		me->found = true;
		bw_search_warm(&me->search, me->known, me->known + 1);
	}
	if (me->found ? bw_search_next(&me->search) == 0 : !there)
		looked(w, me);
	else
		probe(w, me);
}

/* ---- A commit ------------------------------------------------------------------------------------- */

static void lost(struct world *w, struct writer *me)
{
	if (me->pacer.policy->tries && me->conflicts >= me->pacer.policy->tries) {
		/* It failed; whoever uses such a thing begins anew. */
		engine_over(me);
		me->at = IDLE;
		try_begin(w, me);
		return;
	}
	me->at = SLEEPING;
	me->refused = false;
	me->token++;
	world_at(w, w->now_ns + pacer_after_conflict(&me->pacer, me->conflicts), EVENT_WAKE, me);
}

static void won(struct world *w, struct writer *me)
{
	me->known = me->version;
	bw_dac_saw_version(&me->pacer.dac, w->now_ns, me->known, w->head,
			   world_committers(w));
	pacer_committed(&me->pacer, w->now_ns);
	me->queue_at = (me->queue_at + me->taken) % me->queue_cap;
	me->queued -= me->taken;
	engine_over(me);
	me->at = IDLE;
	try_begin(w, me);
}

static void refused(struct world *w, struct writer *me)
{
	me->throttled = true;
	me->refused = true;
	me->was = me->at;
	me->at = SLEEPING;
	me->token++;
	world_at(w, w->now_ns + bw_dac_after_doubt(&me->pacer.dac, ++me->refusals), EVENT_WAKE, me);
}

static void go_on(struct world *w, struct writer *me)
{
	bool builds = !me->begun || me->at == LOOKING;

	if (me->at == SENDING && me->request == REQUEST_ROOT && me->outcome != BW_THROTTLED)
		pacer_attempted(&me->pacer, w->now_ns - me->sent_ns, me->throttled,
				me->conflicts + 1);
	unsigned conflicts = me->conflicts;

	if (!me->begun)
		me->taken = me->pacer.policy->one		 ? 1
			    : me->queued < BW_APPENDS_MAX ? me->queued
							  : BW_APPENDS_MAX;
	enum bw_txn_want want = engine_step(w, me);

	if (builds) {
		w->attempts += w->measuring;
		me->think_ns = engine_build_ns(w);
		me->throttled = false;
	}
	if (want == BW_TXN_DONE) {
		won(w, me);
	} else if (want == BW_TXN_SLEEP) {
		if (me->conflicts > conflicts)
			lost(w, me);
		else
			refused(w, me);
	} else if (want == BW_TXN_REFRESH) {
		look(w, me, false);
	} else if (want == BW_TXN_GET) {
		me->at = READING;
		world_request(w, me, REQUEST_GET, me->known + 1);
	} else {
		me->at = SENDING;
		world_request(w, me, me->ask_node ? REQUEST_NODE : REQUEST_ROOT, me->known + 1);
	}
}

/* ---- Events --------------------------------------------------------------------------------------- */

static void try_begin(struct world *w, struct writer *me)
{
	if (!me->queued)
		return;
	int64_t due = pacer_due(&me->pacer, w->now_ns, me->queued);
	int64_t peek = pacer_peek(&me->pacer, w->now_ns, due);

	me->token++;
	if (due > w->now_ns) {
		if (peek <= w->now_ns) {
			me->peek = true;
			look(w, me, false);
		} else {
			world_at(w, peek < due ? peek : due, EVENT_WAKE, me);
		}
		return;
	}
	me->begun = false;
	me->conflicts = 0;
	if (bw_dac_look_first(&me->pacer.dac, w->now_ns))
		look(w, me, false);
	else
		go_on(w, me);
}

void writer_arrived(struct world *w, struct writer *me)
{
	if (me->at == IDLE)
		try_begin(w, me);
}

static void awake(struct world *w, struct writer *me)
{
	if (me->at == IDLE) {
		try_begin(w, me);
		return;
	}
	if (me->refused)
		me->at = me->was;
	if (me->refused && me->at != SENDING)
		world_request(w, me, me->request, me->version);
	else
		go_on(w, me);
	me->refused = false;
}

void writer_event(struct world *w, struct writer *me, enum event_kind kind)
{
	if (kind == EVENT_WAKE) {
		awake(w, me);
		return;
	}
	if (me->outcome != BW_THROTTLED)
		me->refusals = 0;
	if (me->outcome == BW_THROTTLED && me->at != SENDING)
		refused(w, me);
	else if (me->at == LOOKING)
		probed(w, me);
	else
		go_on(w, me);
}
