/* SPDX-License-Identifier: Apache-2.0 */
/* What filter_retry repeats, what it must not, and what it may conclude. */
#include "tests/support/holder.h"
#include "tests/support/stores.h"
#include "tests/unit/expect.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define TRIES 4

/* stats over retry over stats over faults by script over mem. */
struct fixture {
	struct bw_store *s;
	struct bw_store_stats above, below;
	struct bw_fault_plan plan;
	enum bw_fault script[TRIES];	/* for the next requests, then none */
	enum bw_fault always;
	atomic_uint at;
	uint32_t cut;			/* as the last request had it */
};

static enum bw_fault decide(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	struct fixture *f = plan->ctx;
	unsigned at = atomic_fetch_add(&f->at, 1);

	(void)nth;
	f->cut = op->cut;
	return f->always ? f->always : at < TRIES ? f->script[at] : BW_FAULT_NONE;
}

static void setup_config(struct fixture *f, int64_t base_ns, int64_t max_ns)
{
	struct bw_retry_config config = {
		.base_ns = base_ns, .max_ns = max_ns, .tries = TRIES, .seed = 1};

	memset(f, 0, sizeof(*f));
	f->plan.decide = decide;
	f->plan.ctx = f;
	atomic_init(&f->at, TRIES);
	cr_assert_eq(bw_store_mem_new(&f->s), 0);
	cr_assert_eq(bw_filter_fault_new(f->s, &f->plan, &f->s), 0);
	cr_assert_eq(bw_filter_stats_new(f->s, &f->below, &f->s), 0);
	cr_assert_eq(bw_filter_retry_new(f->s, &config, &f->s), 0);
	cr_assert_eq(bw_filter_stats_new(f->s, &f->above, &f->s), 0);
}

static void setup(struct fixture *f)
{
	setup_config(f, BW_MS / 10, BW_MS);
}

/* The faults of the next requests; those left out are none. */
static void script(struct fixture *f, enum bw_fault a, enum bw_fault b, enum bw_fault c)
{
	f->script[0] = a;
	f->script[1] = b;
	f->script[2] = c;
	f->script[3] = BW_FAULT_NONE;
	f->at = 0;
	memset(&f->above, 0, sizeof(f->above));
	memset(&f->below, 0, sizeof(f->below));
}

#define assert_attempts(f, n)                                                                      \
	do {                                                                                       \
		cr_assert_eq(bw_stats_all(&(f)->below), n, "%lu attempts, not %d",                 \
			     (unsigned long)bw_stats_all(&(f)->below), n);                         \
		cr_assert_eq(bw_stats_all(&(f)->above), 1);                                        \
	} while (0)

#define NONE BW_FAULT_NONE
#define BEFORE BW_FAULT_BEFORE
#define LOST BW_FAULT_LOST_REPLY
#define SLOW BW_FAULT_THROTTLED

Test(retry, reads_and_deletes_are_repeated)
{
	struct fixture f;
	struct bw_blob *blob;
	struct bw_op op;

	setup(&f);
	expect(bw_test_put(f.s, "k", "bytes", 5, true), BW_OK);
	script(&f, BEFORE, SLOW, LOST);
	expect(bw_test_get(f.s, "k", &blob), BW_OK);
	cr_assert_eq(blob->len, 5);
	bw_blob_unref(blob);
	assert_attempts(&f, 4);
	script(&f, LOST, BEFORE, NONE);
	bw_op_list(&op, "", "", 5);
	expect(bw_store_sync(f.s, &op), BW_OK);
	cr_assert_eq(op.listing->n, 1);
	bw_op_done(&op);
	assert_attempts(&f, 3);
	script(&f, BEFORE, NONE, NONE);
	expect(bw_test_delete(f.s, "k"), BW_OK);
	assert_attempts(&f, 2);
	script(&f, LOST, BEFORE, NONE);
	expect(bw_test_delete(f.s, "k"), BW_NOT_FOUND);
	assert_attempts(&f, 3);
	bw_store_free(f.s);
}

/* Else each byte of it would be copied once more by whoever asked. */
Test(retry, an_answer_that_may_come_in_parts_may_each_time)
{
	struct fixture f;
	struct bw_op op;

	setup(&f);
	expect(bw_test_put(f.s, "k", "bytes", 5, true), BW_OK);
	for (int i = 0; i < 2; i++) {
		script(&f, i ? BEFORE : NONE, NONE, NONE);
		bw_op_get(&op, "k", 0, 5);
		op.cut = 2;
		expect(bw_store_sync(f.s, &op), BW_OK);
		cr_assert_eq(f.cut, 2);
		bw_op_done(&op);
		assert_attempts(&f, 1 + i);
	}
	bw_store_free(f.s);
}

Test(retry, unconditional_puts_are_repeated)
{
	struct fixture f;

	setup(&f);
	script(&f, LOST, BEFORE, SLOW);
	expect(bw_test_put(f.s, "k", "bytes", 5, false), BW_OK);
	assert_attempts(&f, 4);
	cr_assert(bw_test_holds(f.s, "k", "bytes", 5));
	bw_store_free(f.s);
}

Test(retry, S3_an_ambiguous_put_if_absent_is_never_repeated)
{
	struct fixture f;

	setup(&f);
	script(&f, LOST, NONE, NONE);
	expect(bw_test_put(f.s, "k", "bytes", 5, true), BW_UNKNOWN);
	assert_attempts(&f, 1);
	script(&f, BEFORE, LOST, NONE);
	expect(bw_test_put(f.s, "k2", "bytes", 5, true), BW_UNKNOWN);
	assert_attempts(&f, 2);
	script(&f, BW_FAULT_LATE, NONE, NONE);
	expect(bw_test_put(f.s, "k3", "bytes", 5, true), BW_UNKNOWN);
	assert_attempts(&f, 1);
	bw_store_free(f.s);
}

Test(retry, a_put_if_absent_that_did_nothing_is_repeated)
{
	struct fixture f;

	setup(&f);
	script(&f, BEFORE, SLOW, BEFORE);
	expect(bw_test_put(f.s, "k", "bytes", 5, true), BW_OK);
	assert_attempts(&f, 4);
	script(&f, BEFORE, NONE, NONE);
	expect(bw_test_put(f.s, "k", "other", 5, true), BW_EXISTS);
	assert_attempts(&f, 2);
	cr_assert(bw_test_holds(f.s, "k", "bytes", 5));
	bw_store_free(f.s);
}

Test(retry, clear_answers_are_passed_up_at_once)
{
	struct fixture f;
	struct bw_blob *blob;

	setup(&f);
	expect(bw_test_put(f.s, "k", "bytes", 5, true), BW_OK);
	script(&f, BW_FAULT_DENIED, NONE, NONE);
	expect(bw_test_get(f.s, "k", &blob), BW_DENIED);
	assert_attempts(&f, 1);
	script(&f, BW_FAULT_FULL, NONE, NONE);
	expect(bw_test_put(f.s, "k", "x", 1, false), BW_FULL);
	assert_attempts(&f, 1);
	script(&f, BW_FAULT_SHORT, NONE, NONE);
	expect(bw_test_get(f.s, "k", &blob), BW_CORRUPT);
	assert_attempts(&f, 1);
	script(&f, NONE, NONE, NONE);
	expect(bw_test_get(f.s, "other", &blob), BW_NOT_FOUND);
	assert_attempts(&f, 1);
	script(&f, NONE, NONE, NONE);
	expect(bw_test_put(f.s, "k", "x", 1, true), BW_EXISTS);
	assert_attempts(&f, 1);
	bw_store_free(f.s);
}

Test(retry, tries_bound_an_op_without_a_deadline)
{
	struct fixture f;
	struct bw_blob *blob;

	setup(&f);
	script(&f, NONE, NONE, NONE);
	f.always = BEFORE;
	expect(bw_test_get(f.s, "k", &blob), BW_UNREACHABLE);
	assert_attempts(&f, TRIES);
	bw_store_free(f.s);
}

Test(retry, what_is_to_be_sent_once_is_not_repeated)
{
	static const enum bw_fault faults[] = {BEFORE, LOST, SLOW};
	struct fixture f;
	struct bw_op op;

	setup(&f);
	for (int i = 0; i < 3; i++) {
		script(&f, faults[i], NONE, NONE);
		bw_op_get_all(&op, "k", 5);
		op.once = true;
		op.deadline_ns = bw_now() + 60 * BW_SEC;
		expect(bw_store_sync(f.s, &op), faults[i] == SLOW ? BW_THROTTLED : BW_UNREACHABLE);
		bw_op_done(&op);
		assert_attempts(&f, 1);
	}
	bw_store_free(f.s);
}

Test(retry, the_deadline_bounds_an_op_that_has_one, .timeout = 60)
{
	struct fixture f;
	struct bw_op op;

	setup(&f);
	script(&f, NONE, NONE, NONE);
	f.always = SLOW;
	bw_op_get_all(&op, "k", 5);
	op.deadline_ns = bw_now() + 300 * BW_MS;
	expect(bw_store_sync(f.s, &op), BW_THROTTLED);
	cr_assert_gt(bw_stats_all(&f.below), TRIES);
	cr_assert_leq(bw_now() - op.deadline_ns, 30 * BW_SEC);
	bw_store_free(f.s);
}

/* No later answer takes the doubt away that an earlier one raised. */
Test(retry, S3_doubt_stays)
{
	static const enum bw_fault last[] = {BW_FAULT_DENIED, BW_FAULT_FULL};
	struct fixture f;

	setup(&f);
	for (size_t i = 0; i < 2; i++) {
		script(&f, LOST, last[i], NONE);
		expect(bw_test_put(f.s, "k", "bytes", 5, false), BW_UNKNOWN);
		assert_attempts(&f, 2);
		cr_assert(bw_test_holds(f.s, "k", "bytes", 5));
		script(&f, BEFORE, LOST, last[i]);
		expect(bw_test_delete(f.s, "k"), BW_UNKNOWN);
		assert_attempts(&f, 3);
		/* Without doubt the answer is what it is. */
		script(&f, BEFORE, last[i], NONE);
		expect(bw_test_put(f.s, "k", "bytes", 5, false), i ? BW_FULL : BW_DENIED);
	}
	for (int i = 0; i < TRIES; i++)
		f.script[i] = i ? BEFORE : LOST;
	f.at = 0;
	expect(bw_test_put(f.s, "k", "bytes", 5, false), BW_UNKNOWN);
	f.at = 0;
	f.script[1] = SLOW;
	expect(bw_test_delete(f.s, "k"), BW_UNKNOWN);
	bw_store_free(f.s);
}

/* Failed once, then held up below until its deadline: the failure is what is worth telling. */
Test(retry, the_last_real_answer_is_told, .timeout = 60)
{
	struct bw_retry_config config = {.base_ns = 1, .max_ns = 1, .tries = TRIES, .seed = 1};
	struct fixture f = {.plan = {.decide = decide, .ctx = &f}, .script = {BEFORE}};
	struct bw_op op;

	cr_assert_eq(bw_store_mem_new(&f.s), 0);
	cr_assert_eq(bw_filter_delay_new(f.s, 3600 * BW_SEC, 0, 1, &f.s), 0);
	cr_assert_eq(bw_filter_fault_new(f.s, &f.plan, &f.s), 0);
	cr_assert_eq(bw_filter_retry_new(f.s, &config, &f.s), 0);
	bw_op_get_all(&op, "k", 5);
	op.deadline_ns = bw_now() + 200 * BW_MS;
	expect(bw_store_sync(f.s, &op), BW_UNREACHABLE);
	cr_assert_str_eq(op.detail, "injected");
	cr_assert_eq(atomic_load(&f.at), 2, "it was not sent a second time");
	bw_store_free(f.s);
}

/* ---- Sleepers ------------------------------------------------------------------------------- */

static void count_done(struct bw_op *op)
{
	atomic_fetch_add((atomic_uint *)op->ctx, 1);
}

#define SLEEPERS 5

static void put_to_sleep(struct fixture *f, struct bw_op op[SLEEPERS], atomic_uint *done)
{
	setup_config(f, 3600 * BW_SEC, 3600 * BW_SEC);
	f->always = BEFORE;
	for (int i = 0; i < SLEEPERS; i++) {
		bw_op_get_all(&op[i], "k", 5);
		op[i].deadline_ns = bw_now() + (i % 2 ? 4000 : 5000) * 2 * BW_SEC;
		op[i].done = count_done;
		op[i].ctx = done;
		bw_store_submit(f->s, &op[i]);
	}
	while (bw_stats_all(&f->below) < SLEEPERS)
		bw_sleep(BW_MS);
}

Test(retry, free_does_not_wait_for_sleepers, .timeout = 60)
{
	struct bw_op op[SLEEPERS];
	atomic_uint done = 0;
	struct fixture f;

	put_to_sleep(&f, op, &done);
	bw_store_free(f.s);
	cr_assert_eq(atomic_load(&done), SLEEPERS);
	for (int i = 0; i < SLEEPERS; i++)
		expect(op[i].outcome, BW_UNREACHABLE);
	cr_assert_eq(bw_stats_all(&f.below), SLEEPERS);
}

Test(retry, cancel_ends_a_sleeper, .timeout = 60)
{
	struct bw_op op[SLEEPERS];
	atomic_uint done = 0;
	struct fixture f;

	put_to_sleep(&f, op, &done);
	bw_store_cancel(f.s, &op[1]);
	bw_store_cancel(f.s, &op[3]);
	while (atomic_load(&done) < 2)
		bw_sleep(BW_MS);
	expect(op[1].outcome, BW_UNREACHABLE);
	expect(op[3].outcome, BW_UNREACHABLE);
	cr_assert_eq(bw_stats_all(&f.below), SLEEPERS, "a cancelled op was sent again");
	bw_store_free(f.s);
	cr_assert_eq(atomic_load(&done), SLEEPERS);
}

/* ---- Not before the store said -------------------------------------------------------------- */

/* A get through a new retry filter above h, on its way. */
static struct bw_store *submit_get(struct bw_holder *h, struct bw_op *op, int64_t deadline_ns, atomic_uint *done)
{
	struct bw_retry_config config = {.base_ns = 1, .max_ns = 1, .tries = TRIES, .seed = 1};
	struct bw_store *s;

	cr_assert_eq(bw_filter_retry_new(&h->store, &config, &s), 0);
	bw_op_get_all(op, "k", 5);
	op->deadline_ns = deadline_ns;
	op->done = count_done;
	op->ctx = done;
	bw_store_submit(s, op);
	return s;
}

static void wait_done(atomic_uint *done)
{
	while (!atomic_load(done))
		bw_sleep(BW_MS);
}

Test(retry, a_repeat_waits_as_long_as_the_store_asks, .timeout = 60)
{
	static const enum bw_outcome asks[] = {BW_THROTTLED, BW_UNREACHABLE};
	struct bw_holder *h = bw_holder_new();
	atomic_uint done = 0;
	struct bw_op op;
	struct bw_store *s = submit_get(h, &op, BW_NEVER, &done);

	for (unsigned i = 0; i < 2; i++) {
		int64_t start_ns = bw_now();
		bw_holder_wait(h, 1);
		bw_holder_answer(h, 0, asks[i], 60 * BW_MS);
		bw_holder_wait_sent(h, i + 2);
		cr_assert_geq(bw_now() - start_ns, 60 * BW_MS);
	}
	bw_holder_let_go(h);
	wait_done(&done);
	expect(op.outcome, BW_NOT_FOUND);
	cr_assert_eq(op.retry_after_ns, 0);
	bw_store_free(s);
}

Test(retry, nobody_waits_for_what_comes_too_late, .timeout = 60)
{
	struct bw_holder *h = bw_holder_new();
	atomic_uint done = 0;
	struct bw_op op;
	struct bw_store *s = submit_get(h, &op, bw_now() + BW_PACE_PAUSE_MAX_NS, &done);

	bw_holder_answer(h, 0, BW_THROTTLED, 3601 * BW_SEC);
	wait_done(&done);
	expect(op.outcome, BW_THROTTLED);
	cr_assert_eq(op.retry_after_ns, 3601 * BW_SEC, "the caller is not told");
	cr_assert_eq(bw_holder_sent(h), 1);
	bw_store_free(s);
}

/* MinIO asks for 60 s or 120 with each 503: a read with an io_timeout of 60 s failed at the first. */
Test(retry, V6_a_store_that_asks_for_long_ends_nothing_that_has_time, .timeout = 60)
{
	struct bw_holder *h = bw_holder_new();
	atomic_uint done = 0;
	struct bw_op op;
	struct bw_store *s = submit_get(h, &op, bw_now() + 60 * BW_SEC, &done);

	bw_holder_answer(h, 0, BW_THROTTLED, 120 * BW_SEC);
	bw_sleep(50 * BW_MS);
	cr_assert_eq(atomic_load(&done), 0);
	bw_store_cancel(s, &op);
	wait_done(&done);
	expect(op.outcome, BW_THROTTLED);
	bw_store_free(s);
}

/* ---- The budget ----------------------------------------------------------------------------- */

#define CROWD 1000
#define BUDGET 100
#define FLOOR_NS (4 * BW_MS)

/* retry over faults over mem; the first outage requests that arrive fail. */
struct crowd {
	struct bw_store *s;
	struct bw_fault_plan plan;
	struct bw_send_stats stats;
	unsigned outage;
	int64_t start_ns;
	atomic_uint fresh, done, excess;
	struct bw_op op[CROWD];
};

static enum bw_fault decide_outage(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	struct crowd *c = plan->ctx;
	uint64_t floor = (uint64_t)((bw_now() - c->start_ns) / FLOOR_NS);
	uint64_t bound = BUDGET + atomic_load(&c->fresh) / BW_RETRY_EARN + floor + 1;

	(void)op;
	if (nth >= c->outage)
		return BW_FAULT_NONE;
	if (atomic_load(&c->stats.repeats) > bound)
		atomic_fetch_add(&c->excess, 1);
	return nth % 3 ? BW_FAULT_BEFORE : BW_FAULT_LOST_REPLY;
}

static void crowd_new(struct crowd *c, unsigned outage, int64_t floor_ns)
{
	struct bw_retry_config config = {.base_ns = BW_MS / 10, .max_ns = BW_MS, .tries = TRIES,
					 .budget = BUDGET, .floor_ns = floor_ns, .seed = 1,
					 .stats = &c->stats};

	memset(c, 0, sizeof(*c));
	c->outage = outage;
	c->plan = (struct bw_fault_plan){.decide = decide_outage, .ctx = c};
	c->start_ns = bw_now();
	cr_assert_eq(bw_store_mem_new(&c->s), 0);
	expect(bw_test_put(c->s, "k", "bytes", 5, true), BW_OK);
	cr_assert_eq(bw_filter_fault_new(c->s, &c->plan, &c->s), 0);
	cr_assert_eq(bw_filter_retry_new(c->s, &config, &c->s), 0);
}

static void crowd_send(struct crowd *c, unsigned i, int64_t deadline_ns)
{
	struct bw_op *op = &c->op[i];

	bw_op_get_all(op, "k", 5);
	op->prio = (enum bw_prio)(i % 4);
	op->deadline_ns = deadline_ns;
	op->done = count_done;
	op->ctx = &c->done;
	atomic_fetch_add(&c->fresh, 1);
	bw_store_submit(c->s, op);
}

static void crowd_wait(struct crowd *c, unsigned n)
{
	while (atomic_load(&c->done) < n)
		bw_sleep(BW_MS);
}

static void crowd_end(struct crowd *c)
{
	for (unsigned i = 0; i < atomic_load(&c->fresh); i++)
		bw_op_done(&c->op[i]);
	bw_store_free(c->s);
}

Test(retry, a_crowd_in_an_outage_cannot_storm, .timeout = 120)
{
	static struct crowd c;

	/* All of the budget, all that the fresh ones may earn, and a part that the floor must pay. */
	crowd_new(&c, CROWD + BUDGET + CROWD / BW_RETRY_EARN + 50, FLOOR_NS);
	for (unsigned i = 0; i < CROWD; i++)
		crowd_send(&c, i, bw_now() + 3600 * BW_SEC);
	crowd_wait(&c, CROWD);
	for (unsigned i = 0; i < CROWD; i++)
		expect(c.op[i].outcome, BW_OK);
	cr_assert_eq(c.excess, 0, "%u requests above the bound", c.excess);
	uint64_t floor = (uint64_t)((bw_now() - c.start_ns) / FLOOR_NS);
	cr_assert_leq(c.stats.repeats, BUDGET + CROWD / BW_RETRY_EARN + 2 * CROWD + floor + 1);
	cr_assert_gt(c.stats.repeats, CROWD);
	crowd_end(&c);
}

/* The floor lets one through; from then on answers pay for repeats. */
Test(retry, answers_feed_those_who_wait_once_the_store_is_back, .timeout = 120)
{
	static struct crowd c;

	crowd_new(&c, CROWD + BUDGET, 3600 * BW_SEC);
	for (unsigned i = 0; i < CROWD; i++)
		crowd_send(&c, i, bw_now() + 3600 * BW_SEC);
	crowd_wait(&c, CROWD);
	for (unsigned i = 0; i < CROWD; i++)
		expect(c.op[i].outcome, BW_OK);
	crowd_end(&c);
}

/* All tokens are gone, and there is none for an hour. */
static void crowd_starve(struct crowd *c)
{
	crowd_new(c, UINT32_MAX, 3600 * BW_SEC);
	for (unsigned i = 0; i < CROWD; i++)
		crowd_send(c, i, bw_now() + (i == 7 ? 2 : 7200) * BW_SEC);
	while (atomic_load(&c->stats.repeats) <= BUDGET)
		bw_sleep(BW_MS);
}

Test(retry, those_in_line_end_by_deadline_cancel_and_free, .timeout = 120)
{
	static struct crowd c;

	crowd_starve(&c);
	crowd_wait(&c, 1);
	expect(c.op[7].outcome, BW_UNREACHABLE);
	bw_store_cancel(c.s, &c.op[8]);
	bw_store_cancel(c.s, &c.op[9]);
	crowd_wait(&c, 3);
	expect(c.op[8].outcome, BW_UNREACHABLE);
	expect(c.op[9].outcome, BW_UNREACHABLE);
	cr_assert_eq(c.done, 3);
	bw_store_free(c.s);
	cr_assert_eq(c.done, CROWD);
	cr_assert_leq(c.stats.repeats, BUDGET + CROWD / BW_RETRY_EARN + 1);
}

#define TOKENS 2	/* by the budget, by the floor */

/* retry over a holder; all of them but the few that tokens were for wait in line, until the same deadline. */
struct lined_up {
	struct bw_store *s;
	struct bw_holder *h;
	atomic_uint ended;
	atomic_uint last;	/* index + 1 of the one that ended last */
	struct bw_op op[CROWD];
};

static void note_last(struct bw_op *op)
{
	struct lined_up *l = op->ctx;

	atomic_store(&l->last, (unsigned)(op - l->op) + 1);
	atomic_fetch_add(&l->ended, 1);
}

static void line_up(struct lined_up *l, int64_t time_ns)
{
	struct bw_retry_config config = {.base_ns = 1, .max_ns = 1, .tries = TRIES, .budget = 1,
					 .floor_ns = 3600 * BW_SEC, .seed = 1};

	memset(l, 0, sizeof(*l));
	l->h = bw_holder_new();
	cr_assert_eq(bw_filter_retry_new(&l->h->store, &config, &l->s), 0);
	int64_t deadline_ns = bw_now() + time_ns;

	for (unsigned i = 0; i < CROWD; i++) {
		bw_op_get_all(&l->op[i], "k", 5);
		l->op[i].deadline_ns = deadline_ns;
		l->op[i].done = note_last;
		l->op[i].ctx = l;
		bw_store_submit(l->s, &l->op[i]);
	}
	for (unsigned i = 0; i < CROWD; i++)
		bw_holder_answer(l->h, 0, BW_UNREACHABLE, 0);
	bw_holder_wait_sent(l->h, CROWD + TOKENS);
	for (unsigned i = 0; i < TOKENS; i++)
		bw_holder_answer(l->h, 0, BW_DENIED, 0);
}

static void *cancel_the_next(void *arg)
{
	struct lined_up *l = arg;
	unsigned seen = 0, last, ended;

	while ((ended = atomic_load(&l->ended)) < CROWD) {
		last = atomic_load(&l->last);
		if (ended > TOKENS && last != seen && last < CROWD)
			bw_store_cancel(l->s, &l->op[last]);
		seen = last;
	}
	return NULL;
}

/* The child of one that has just left the line is about to be freed: a cancel must not go down with it. */
Test(retry, cancelling_those_in_line_while_their_deadline_passes_reaches_nothing_below, .timeout = 120)
{
	static struct lined_up l;
	pthread_t canceller;

	for (unsigned round = 0; round < 2; round++) {
		line_up(&l, 2 * BW_SEC);
		cr_assert_eq(bw_thread_start(&canceller, "canceller", cancel_the_next, &l), 0);
		pthread_join(canceller, NULL);
		cr_assert_eq(l.h->cancels, 0, "%u of what is not there", l.h->cancels);
		cr_assert_eq(bw_holder_sent(l.h), CROWD + TOKENS);
		bw_store_free(l.s);
	}
}
