/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads in parts that are begun before their put. */
#include "tests/unit/s3_multipart_world.h"

/* ---- Early ones ----------------------------------------------------------------------------- */

static void count(void *ctx)
{
	atomic_fetch_add((atomic_uint *)ctx, 1);
}

/* False: the put has to do without it, and none was begun. */
static bool put_early(struct world *w, struct bw_early *e)
{
	w->op.early = e;
	bw_gate_enter(&w->s3.gate);
	if (fake_early_put(&w->op)) {
		cr_assert_null(w->op.early);
		return true;
	}
	cr_assert_null(w->op.early);
	bw_gate_leave(&w->s3.gate);
	return false;
}

/* The put goes on with what was begun early: so many parts in all, each byte of it sent once. */
static void expect_served(struct world *w, struct bw_early *e, unsigned parts)
{
	cr_assert(put_early(w, e));
	cr_assert_eq(end(w), BW_OK, "%s", bw_outcome_name(w->op.outcome));
	cr_assert_eq(w->asked[BEGIN], 1);
	cr_assert_eq(w->asked[PART], parts);
	cr_assert_eq(w->sent, w->body.size);
	cr_assert_eq(w->asked[ABORT], 0);
}

/* Until all that it was told of has arrived. */
static void wait_rest(struct world *w, struct bw_early *e)
{
	for (bool rests = false; !rests;) {
		BW_LOCK_SCOPE(&w->s3.lock);
		rests = ((struct bw_s3_upload *)e)->heard && !((struct bw_s3_upload *)e)->busy;
	}
}

Test(s3_multipart, early_parts_have_arrived_when_the_put_comes)
{
	atomic_uint released = 0;
	struct world w;

	world_init(&w, 20 * MIB + 100, true);
	w.is_deadline_of_op = false;
	struct bw_early *e = fake_early(&w.s3.store, "data/key", &w.body, count, &released);

	e->grow(e, 12 * MIB, 0);
	cr_assert_eq(w.asked[BEGIN], 0, "as little goes in one piece");
	e->grow(e, 13 * MIB, 0);
	wait_asked(&w, PART, 1);
	wait_rest(&w, e);
	e->grow(e, 16 * MIB - 1, 0);
	wait_rest(&w, e);
	cr_assert_eq(w.asked[PART], 1);
	e->grow(e, 16 * MIB, 0);
	wait_asked(&w, PART, 2);
	e->grow(e, 20 * MIB + 100, 0);
	cr_assert_eq(w.asked[COMPLETE], 0);
	cr_assert(put_early(&w, e));
	cr_assert_eq(end(&w), BW_OK);
	cr_assert_eq(w.asked[BEGIN], 1);
	cr_assert_eq(w.asked[PART], 3);
	cr_assert_eq(w.sent, 20 * MIB + 100);
	cr_assert_eq(w.asked[ABORT], 0);
	cr_assert(w.if_absent_sent);
	cr_assert_eq(released, 1);
	world_done(&w);
}

/* Parts get no answer before they are cancelled. */
static struct answer no_part(struct world *w, enum step step, unsigned nth, unsigned part)
{
	(void)w, (void)nth, (void)part;
	return (struct answer){.outcome = BW_OK, .held = step == PART};
}

Test(s3_multipart, early_parts_that_nobody_wants_are_aborted)
{
	for (unsigned mib = 0; mib < 40; mib += 6) {
		atomic_uint released = 0;
		struct world w;

		world_init(&w, 100 * MIB, true);
		struct bw_early *e = fake_early(&w.s3.store, "data/key", &w.body, count, &released);
		e->grow(e, mib * MIB, 0);
		if (mib % 4 == 0 && mib > 12)
			wait_asked(&w, PART, 1);
		e->drop(e);
		bw_gate_wait(&w.s3.gate);
		cr_assert_eq(released, 1);
		cr_assert_eq(w.asked[COMPLETE], 0);
		cr_assert_eq(w.asked[BEGIN], mib > 12, "%u MiB", mib);
		cr_assert(mib <= 12 ? !w.asked[ABORT] : w.asked[ABORT] >= 1);
		world_done(&w);
	}
}

/* What it has begun with are parts too small for so much. */
Test(s3_multipart, early_parts_too_small_for_the_put_are_not_used)
{
	const uint64_t fits = PARTS_MAX * 8 * MIB;

	for (unsigned more = 0; more < 2; more++) {
		atomic_uint released = 0;
		struct world w;

		world_init(&w, fits + more, true);
		w.script = no_part;
		struct bw_early *e = fake_early(&w.s3.store, "data/key", &w.body, count, &released);
		e->grow(e, 13 * MIB, 0);
		wait_asked(&w, PART, 1);
		cr_assert_eq(put_early(&w, e), !more);
		cancel(&w);
		bw_gate_wait(&w.s3.gate);
		cr_assert_eq(w.done, !more);
		cr_assert_eq(released, 1);
		cr_assert_eq(w.asked[COMPLETE], 0);
		cr_assert_geq(w.asked[ABORT], 1);
		world_done(&w);
	}
}

Test(s3_multipart, a_put_with_early_parts_can_be_cancelled)
{
	atomic_uint released = 0;
	struct world w;

	world_init(&w, 20 * MIB, true);
	w.script = no_part;
	struct bw_early *e = fake_early(&w.s3.store, "data/key", &w.body, count, &released);
	e->grow(e, 18 * MIB, 0);
	wait_asked(&w, PART, 2);
	cr_assert(put_early(&w, e));
	cancel(&w);
	cr_assert_eq(end(&w), BW_CANCELLED, "%s", bw_outcome_name(w.op.outcome));
	cr_assert_null(w.s3.jobs);
	cr_assert_eq(released, 1);
	cr_assert_eq(w.asked[COMPLETE], 0);
	cr_assert_geq(w.asked[ABORT], 1);
	world_done(&w);
}

static struct answer first_try_denied(struct world *w, enum step step, unsigned nth, unsigned part)
{
	bool is_bad = nth == 1 && (w->number ? step == PART && part == w->number : step == BEGIN);

	return (struct answer){.outcome = is_bad ? BW_DENIED : BW_OK};
}

Test(s3_multipart, after_an_early_failure_the_put_sends_everything)
{
	for (unsigned bad = 0; bad < 3; bad++) {
		atomic_uint released = 0;
		struct world w;

		world_init(&w, 20 * MIB, true);
		w.script = first_try_denied;
		w.number = bad;
		struct bw_early *e = fake_early(&w.s3.store, "data/key", &w.body, count, &released);
		e->grow(e, 18 * MIB, 0);
		for (bool failed = false; !failed;) {
			BW_LOCK_SCOPE(&w.s3.lock);
			failed = ((struct bw_s3_upload *)e)->failed;
		}
		cr_assert_not(put_early(&w, e));
		bw_gate_wait(&w.s3.gate);
		cr_assert_eq(released, 1);
		cr_assert_eq(w.asked[ABORT] >= 1, bad > 0);
		w.sent = 0;
		cr_assert_eq(put(&w), BW_OK);
		cr_assert_eq(w.sent, 20 * MIB);
		world_done(&w);
	}
}

/* What an exchange ends as that was begun before its put and was not sent in the time it had then. */
static struct answer first_try_ends_by_its_old_deadline(struct world *w, enum step step, unsigned nth, unsigned part)
{
	struct answer old = {.outcome = BW_CANCELLED, .held = true};

	if (nth == 1 && (w->number ? step == PART && part == w->number : step == BEGIN))
		return old;
	return (struct answer){.outcome = BW_OK};
}

static struct bw_early *early_up_to(struct world *w, uint64_t upto, atomic_uint *released)
{
	w->is_deadline_of_op = false;
	struct bw_early *e = fake_early(&w->s3.store, "data/key", &w->body, count, released);

	e->grow(e, upto, 0);
	return e;
}

/* The put has more time than that. */
Test(s3_multipart, P3m_time_that_an_early_part_had_is_not_the_time_of_the_put)
{
	atomic_uint released = 0;
	struct world w;

	world_init(&w, 20 * MIB, true);
	w.op.deadline_ns = bw_now() + 3600 * BW_SEC;
	w.script = first_try_ends_by_its_old_deadline;
	w.number = 1;
	struct bw_early *e = early_up_to(&w, 18 * MIB, &released);

	wait_asked(&w, PART, 2);
	cr_assert(put_early(&w, e));
	bw_lock(&w.lock);
	w.is_deadline_of_op = true;
	w.let_go = true;
	bw_unlock(&w.lock);
	cr_assert_eq(end(&w), BW_OK, "%s", bw_outcome_name(w.op.outcome));
	cr_assert(w.is_deadline_of_op);
	cr_assert_eq(w.tries[1], 2);
	cr_assert_eq(w.asked[PART], 4);
	cr_assert_eq(w.sent, 20 * MIB);
	cr_assert_eq(w.asked[ABORT], 0);
	cr_assert_eq(released, 1);
	world_done(&w);
}

/* Without an upload there is nothing to go on with: nothing was applied, and another put makes its own. */
Test(s3_multipart, P3m_time_that_an_early_beginning_had_is_not_the_time_of_the_put)
{
	atomic_uint released = 0;
	struct world w;

	world_init(&w, 20 * MIB, true);
	w.op.deadline_ns = bw_now() + 3600 * BW_SEC;
	w.script = first_try_ends_by_its_old_deadline;
	struct bw_early *e = early_up_to(&w, 18 * MIB, &released);

	wait_asked(&w, BEGIN, 1);
	cr_assert(put_early(&w, e));
	bw_lock(&w.lock);
	w.let_go = true;
	bw_unlock(&w.lock);
	cr_assert_eq(end(&w), BW_UNREACHABLE, "%s", bw_outcome_name(w.op.outcome));
	cr_assert_eq(released, 1);
	w.done = false;
	cr_assert_eq(put(&w), BW_OK);
	cr_assert_eq(w.asked[BEGIN], 2);
	cr_assert_eq(w.sent, 20 * MIB);
	world_done(&w);
}

/* The time that one part has is not the time of all of them, nor is a wait for memory that nobody waits for. */
Test(s3_multipart, early_parts_go_on_as_long_as_they_arrive)
{
	atomic_uint released = 0;
	struct world w;

	world_init(&w, 40 * MIB, true);
	w.s3.parts_memory = 8 * MIB;
	w.script = no_part;
	struct bw_early *e = early_up_to(&w, 40 * MIB, &released);
	struct bw_s3_upload *u = (struct bw_s3_upload *)e;

	wait_asked(&w, PART, 1);
	for (bool waits = false; !waits;) {
		BW_LOCK_SCOPE(&w.s3.lock);
		waits = u->waits;
		if (waits) {
			u->deadline_ns = bw_now();
			wake_locked(w.s3.workers, &u->task);
		}
	}
	bw_lock(&w.lock);
	w.let_go = true;
	bw_unlock(&w.lock);
	wait_rest(&w, e);
	cr_assert_gt(u->deadline_ns, bw_now());
	expect_served(&w, e, 5);
	cr_assert_eq(released, 1);
	world_done(&w);
}

/* Nor is the time that it had to wait for memory: a put may have less. */
Test(s3_multipart, P3m_a_put_ends_by_its_deadline_though_its_early_parts_had_more, .timeout = 120)
{
	atomic_uint released = 0;
	struct world w;

	world_init(&w, 20 * MIB, true);
	w.s3.parts_memory = 8 * MIB;
	w.script = first_try_ends_by_its_old_deadline;
	w.number = 1;
	struct bw_early *e = early_up_to(&w, 18 * MIB, &released);

	wait_asked(&w, PART, 1);
	for (bool waits = false; !waits;) {
		BW_LOCK_SCOPE(&w.s3.lock);
		waits = ((struct bw_s3_upload *)e)->waits;
	}
	w.op.deadline_ns = bw_now() + 50 * BW_MS;
	cr_assert(put_early(&w, e));
	cr_assert_eq(end(&w), BW_CANCELLED, "%s", bw_outcome_name(w.op.outcome));
	cr_assert_lt(bw_now() - w.op.deadline_ns, EARLY_NS / 2);
	cr_assert_eq(w.asked[PART], 1);
	cr_assert_eq(released, 1);
	world_done(&w);
}

/* Whoever comes first: the answers, more bytes, the put or a drop. */
Test(s3_multipart, early_ones_end_whenever_they_are_ended)
{
	struct bw_rng rng;

	bw_rng_init(&rng, 7);
	for (unsigned round = 0; round < 12; round++) {
		atomic_uint released = 0;
		uint64_t size = 14 * MIB + bw_rng_below(&rng, 12 * MIB), at = 0;
		struct world w;

		world_init(&w, size, false);
		w.s3.parts_memory = 20 * MIB;
		struct bw_early *e = fake_early(&w.s3.store, "data/key", &w.body, count, &released);
		uint64_t stop = bw_rng_below(&rng, size);
		while (at < stop) {
			at += bw_rng_below(&rng, 6 * MIB) + 1;
			e->grow(e, at < size ? at : size, 0);
			if (bw_rng_below(&rng, 3) == 0)
				sched_yield();
		}
		bool puts = bw_rng_below(&rng, 3);
		if (puts && !put_early(&w, e))
			begin(&w);
		else if (!puts)
			e->drop(e);
		if (puts) {
			cr_assert_eq(end(&w), BW_OK);
			cr_assert_geq(w.sent, size);
		}
		bw_gate_wait(&w.s3.gate);
		cr_assert_eq(released, 1);
		world_done(&w);
	}
}

/* ---- How large they are --------------------------------------------------------------------- */

#define GIB (UINT64_C(1) << 30)

/* What is expected fits into the parts that there may be, if there is memory for one: a part is held whole. */
Test(s3_multipart, early_parts_are_as_large_as_is_expected)
{
	static const struct {
		uint64_t memory, expected, part;
	} cases[] = {
		{GIB, 0, 8 * MIB}, {GIB, 12 * MIB, 8 * MIB}, {GIB, 62 * GIB, 8 * MIB}, {GIB, 65536 * MIB, 9 * MIB},
		{GIB, GIB << 10, 132 * MIB}, {GIB, 4096 * GIB, 525 * MIB}, {GIB, 5 * 1024 * GIB, 525 * MIB}, {GIB, UINT64_MAX, 525 * MIB},
		{128 * MIB, UINT64_MAX, 128 * MIB}, {16 * MIB, 120 * GIB, 16 * MIB}, {16 * MIB, GIB << 10, 16 * MIB}, {MIB, UINT64_MAX, 8 * MIB},
	};
	struct world w;

	world_init(&w, 1, true);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		atomic_uint released = 0;
		w.s3.parts_memory = cases[i].memory;
		struct bw_early *e = fake_early(&w.s3.store, "data/key", &w.body, count, &released);
		e->grow(e, MIB, cases[i].expected);
		uint64_t part = ((struct bw_s3_upload *)e)->part_size;
		cr_assert_eq(part, cases[i].part, "case %zu: %llu MiB", i, (unsigned long long)(part / MIB));
		if (cases[i].memory == GIB && cases[i].expected <= 5 * 1024 * GIB)
			cr_assert_leq(cases[i].expected, 10000 * part);
		e->drop(e);
		bw_gate_wait(&w.s3.gate);
		cr_assert_eq(released, 1);
	}
	cr_assert_eq(w.asked[BEGIN], 0);
	world_done(&w);
}

/* What is expected becomes more before the upload begins, and less when it has begun: parts stay as they are, and serve the put. */
Test(s3_multipart, early_parts_that_were_made_for_more_serve_the_put)
{
	atomic_uint released = 0;
	struct world w;

	world_init(&w, 120 * MIB, true);
	w.is_deadline_of_op = false;
	struct bw_early *e = fake_early(&w.s3.store, "data/key", &w.body, count, &released);

	e->grow(e, MIB, 100 * MIB);
	e->grow(e, 13 * MIB, 256 * GIB);
	cr_assert_eq(w.asked[BEGIN], 0, "as little goes in one piece, of 33 MiB");
	e->grow(e, 60 * MIB, 256 * GIB);
	wait_asked(&w, PART, 1);
	e->grow(e, 120 * MIB, 120 * MIB);
	wait_asked(&w, PART, 3);
	expect_served(&w, e, 4);
	cr_assert_eq(released, 1);
	world_done(&w);
}

/* All parts below next have been sent. */
static void as_if_sent(struct bw_s3_upload *u, uint32_t next)
{
	BW_LOCK_SCOPE(&u->s->lock);
	u->etags = realloc(u->etags, next * sizeof(*u->etags));
	cr_assert_not_null(u->etags);
	memset(u->etags + u->etags_n, 0, (next - u->etags_n) * sizeof(*u->etags));
	u->etags_n = next;
	u->next = next;
}

/* Nobody expected so much: no part has a number above 10,000, and the put, which has more of them, does without. */
Test(s3_multipart, early_parts_that_are_too_small_end)
{
	const uint64_t most = 10000 * 8 * MIB;

	for (unsigned over = 0; over < 2; over++) {
		atomic_uint released = 0;
		struct world w;

		world_init(&w, most + over, true);
		struct bw_early *e = fake_early(&w.s3.store, "data/key", &w.body, count, &released);
		struct bw_s3_upload *u = (struct bw_s3_upload *)e;

		e->grow(e, 15 * MIB, 0);
		wait_asked(&w, PART, 1);
		as_if_sent(u, 10000);
		e->grow(e, most + over, 0);
		wait_asked(&w, PART, 2);
		cr_assert_eq(w.tries[10000], 1);
		cr_assert_eq(w.tries[10001], 0);
		if (over)
			cr_assert_not(put_early(&w, e));
		else
			e->drop(e);	/* the put would serve, but for the parts that this test has left out */
		bw_gate_wait(&w.s3.gate);
		cr_assert_eq(w.tries[10001], 0);
		cr_assert_geq(w.asked[ABORT], 1);
		cr_assert_eq(released, 1);
		world_done(&w);
	}
}
