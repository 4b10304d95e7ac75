/* SPDX-License-Identifier: Apache-2.0 */
/* filter_pace over a store that answers when the test says so. */
#include "store/stats.h"
#include "tests/support/holder.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define OPS_MAX 1024

struct fixture {
	struct bw_store *s;
	struct bw_holder *h;
	struct bw_send_stats stats;
	struct bw_op op[OPS_MAX];
	unsigned n;
	atomic_uint done;
};

static void count_done(struct bw_op *op)
{
	struct fixture *f = op->ctx;

	bw_op_done(op);
	atomic_fetch_add(&f->done, 1);
}

static void setup(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	f->h = bw_holder_new();
	cr_assert_eq(bw_filter_pace_new(&f->h->store, &f->stats, &f->s), 0);
}

static struct bw_op *get(struct fixture *f, const char *key, enum bw_prio prio, int64_t deadline_ns)
{
	struct bw_op *op = &f->op[f->n++];

	bw_op_get(op, key, 0, 5);
	op->prio = prio;
	op->deadline_ns = deadline_ns;
	op->done = count_done;
	op->ctx = f;
	bw_store_submit(f->s, op);
	return op;
}

static void get_many(struct fixture *f, unsigned n)
{
	while (n--)
		get(f, "k", BW_PRIO_DEMAND, BW_NEVER);
}

static void wait_done(struct fixture *f, unsigned n)
{
	while (atomic_load(&f->done) < n)
		bw_sleep(BW_MS / 10);
}

/* Ends the one that came first, and waits until the filter has heard of it. */
static void answer(struct fixture *f, enum bw_outcome outcome, int64_t retry_after_ns)
{
	unsigned done = atomic_load(&f->done);

	bw_holder_answer(f->h, 0, outcome, retry_after_ns);
	wait_done(f, done + 1);
}

static unsigned rate(struct fixture *f)
{
	return (unsigned)atomic_load(&f->stats.rate);
}

static void teardown(struct fixture *f)
{
	while (atomic_load(&f->done) < f->n)
		if (bw_holder_n(f->h))
			bw_holder_let_go(f->h);
	bw_store_free(f->s);
}

/* A store that has just throttled the first of so many requests. */
static void setup_throttled(struct fixture *f, unsigned n)
{
	setup(f);
	get_many(f, n);
	answer(f, BW_THROTTLED, 0);
}

Test(pace, nothing_waits_until_the_store_throttles, .timeout = 60)
{
	static const enum bw_outcome ends[] = {BW_OK, BW_EXISTS, BW_NOT_FOUND, BW_UNREACHABLE,
					       BW_UNKNOWN, BW_DENIED, BW_FULL, BW_CORRUPT};
	static struct fixture f;

	setup(&f);
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		get_many(&f, 50);
		cr_assert_eq(bw_holder_n(f.h), 50, "a request did not go down inside submit");
		while (bw_holder_n(f.h))
			answer(&f, ends[i], 0);
		cr_assert_eq(rate(&f), 0);
	}
	cr_assert_eq(f.stats.throttled, 0);
	teardown(&f);
}

Test(pace, throttled_halves_once_per_round, .timeout = 60)
{
	static struct fixture f;

	setup_throttled(&f, 100);
	unsigned first = rate(&f);

	/* 100 in the last tenth of a second were 1000/s, or fewer on a machine that was busy. */
	cr_assert_leq(first, 500);
	cr_assert_geq(first, (unsigned)BW_PACE_MIN);
	bw_sleep(BW_PACE_CUT_NS + BW_MS);
	for (int i = 0; i < 60; i++)
		answer(&f, BW_THROTTLED, 0);	/* sent before the cut: they tell nothing new */
	cr_assert_eq(rate(&f), first);
	cr_assert_eq(f.stats.throttled, 61);
	/* Of the 39 that are left none is new; one sent now is. */
	get(&f, "new", BW_PRIO_DEMAND, BW_NEVER);
	bw_holder_wait(f.h, 40);
	bw_holder_answer(f.h, 39, BW_THROTTLED, 0);
	wait_done(&f, 62);
	unsigned half = first / 2 > (unsigned)BW_PACE_MIN ? first / 2 : (unsigned)BW_PACE_MIN;
	cr_assert_eq(rate(&f), half);
	/* And one at once after it is too early. */
	get(&f, "early", BW_PRIO_DEMAND, BW_NEVER);
	while (!bw_holder_holds(f.h, bw_holder_n(f.h) - 1, "early"))
		answer(&f, BW_UNREACHABLE, 0);
	teardown(&f);
}

Test(pace, requests_under_way_are_halved_too, .timeout = 60)
{
	static struct fixture f;

	setup_throttled(&f, 100);
	get_many(&f, 50);
	for (unsigned left = 99; left > 50; left--) {
		cr_assert_eq(bw_holder_n(f.h), left, "sent above the window");
		answer(&f, BW_UNREACHABLE, 0);
	}
	bw_sleep(20 * BW_MS);
	cr_assert_eq(bw_holder_n(f.h), 50);
	f.h->most = 0;
	for (int i = 0; i < 30; i++) {
		unsigned sent = bw_holder_sent(f.h);
		answer(&f, BW_UNREACHABLE, 0);
		bw_holder_wait_sent(f.h, sent + 1);
	}
	cr_assert_leq(f.h->most, 50);
	teardown(&f);
}

Test(pace, demand_before_prefetch_before_idle, .timeout = 60)
{
	static const char *const order[] = {"demand1", "demand2", "commit", "demand3",
					    "prefetch", "idle"};
	static struct fixture f;

	setup_throttled(&f, 2);	/* one more is under way, and no other may be */
	get(&f, "idle", BW_PRIO_IDLE, BW_NEVER);
	get(&f, "prefetch", BW_PRIO_PREFETCH, BW_NEVER);
	get(&f, "demand1", BW_PRIO_DEMAND, BW_NEVER);
	get(&f, "commit", BW_PRIO_COMMIT, BW_NEVER);
	get(&f, "demand2", BW_PRIO_DEMAND, BW_NEVER);
	get(&f, "demand3", BW_PRIO_DEMAND, BW_NEVER);
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		answer(&f, BW_UNREACHABLE, 0);
		bw_holder_wait(f.h, 1);
		cr_assert(bw_holder_holds(f.h, 0, order[i]), "not %s", order[i]);
	}
	teardown(&f);
}

Test(pace, answers_end_the_limit_within_ten_seconds, .timeout = 120)
{
	static struct fixture f;
	unsigned last = 0;
	int answers = 0;

	setup_throttled(&f, 100);
	/* An answer that says nothing of load raises nothing. */
	bw_sleep(100 * BW_MS);
	unsigned first = rate(&f);

	answer(&f, BW_UNREACHABLE, 0);
	answer(&f, BW_UNKNOWN, 0);
	cr_assert_eq(rate(&f), first);
	while (rate(&f)) {
		cr_assert_geq(rate(&f), last, "it fell");
		last = rate(&f);
		bw_sleep(250 * BW_MS);
		answer(&f, BW_OK, 0);
		answers++;
	}
	/* At 250 ms and more each. */
	cr_assert_leq(answers, 40);
	cr_assert_geq(answers, 10);
	get_many(&f, 300);
	cr_assert_geq(bw_holder_n(f.h), 300, "something waits without a limit");
	teardown(&f);
}

Test(pace, it_never_stops_altogether, .timeout = 60)
{
	static struct fixture f;

	setup_throttled(&f, 1);
	for (int i = 0; i < 8; i++) {
		get(&f, "k", BW_PRIO_DEMAND, BW_NEVER);
		bw_holder_wait(f.h, 1);
		bw_sleep(BW_PACE_CUT_NS);
		answer(&f, BW_THROTTLED, 0);
	}
	cr_assert_eq(rate(&f), (unsigned)BW_PACE_MIN);
	get(&f, "k", BW_PRIO_IDLE, BW_NEVER);
	bw_holder_wait(f.h, 1);
	teardown(&f);
}

Test(pace, retry_after_pauses_everybody, .timeout = 60)
{
	static const enum bw_outcome asks[] = {BW_THROTTLED, BW_UNREACHABLE};
	static struct fixture f;

	for (int i = 0; i < 2; i++) {
		setup(&f);
		get_many(&f, 20);
		int64_t start_ns = bw_now();
		answer(&f, asks[i], BW_SEC);	/* longer than what is done in it takes on a busy machine */
		for (int k = 0; k < 10; k++)
			answer(&f, BW_NOT_FOUND, 0);	/* which does not end the pause */
		unsigned sent = bw_holder_sent(f.h);
		struct bw_op *late = get(&f, "late", BW_PRIO_DEMAND, bw_now() + BW_MS);
		get(&f, "k", BW_PRIO_DEMAND, BW_NEVER);
		bw_holder_wait_sent(f.h, sent + 1);
		cr_assert_geq(bw_now() - start_ns, BW_SEC);
		cr_assert_eq(late->outcome, BW_CANCELLED);
		cr_assert_eq(f.stats.throttled, i == 0);
		teardown(&f);
	}
}

Test(pace, deadline_and_cancel_end_those_who_wait, .timeout = 60)
{
	static struct fixture f;

	setup_throttled(&f, 2);
	struct bw_op *late = get(&f, "late", BW_PRIO_DEMAND, bw_now() + 10 * BW_MS);
	struct bw_op *past = get(&f, "past", BW_PRIO_IDLE, bw_now() - 1);
	struct bw_op *gone = get(&f, "gone", BW_PRIO_COMMIT, BW_NEVER);
	get(&f, "last", BW_PRIO_IDLE, BW_NEVER);
	wait_done(&f, 3);
	cr_assert_eq(late->outcome, BW_CANCELLED);
	cr_assert_eq(past->outcome, BW_CANCELLED);
	bw_store_cancel(f.s, gone);
	wait_done(&f, 4);
	cr_assert_eq(gone->outcome, BW_CANCELLED);
	cr_assert_eq(f.h->cancels, 0, "below was told of an op that it was never given");
	bw_store_cancel(f.s, &f.op[1]);
	cr_assert_eq(f.h->cancels, 1);
	answer(&f, BW_UNREACHABLE, 0);
	bw_holder_wait(f.h, 1);
	cr_assert(bw_holder_holds(f.h, 0, "last"));
	cr_assert_eq(bw_holder_sent(f.h), 3, "an op that had ended was sent");
	teardown(&f);
}
