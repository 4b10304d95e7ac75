/* SPDX-License-Identifier: Apache-2.0 */
/* filter_hedge over a store that answers when the test says so, and over one that is slow by chance. */
#include "store/stats.h"
#include "tests/support/holder.h"
#include "tests/support/stores.h"
#include "tests/unit/expect.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define OPS_MAX 1024
#define MIB (UINT64_C(1) << 20)
#define NEVER_LATE (3600 * BW_SEC)

struct fixture {
	struct bw_store *s;
	struct bw_holder *h;
	struct bw_send_stats stats;
	struct bw_op op[OPS_MAX];
	unsigned n;
	atomic_uint done;
	char thread[16];	/* that the last done() ran on */
};

static void count_done(struct bw_op *op)
{
	struct fixture *f = op->ctx;

	if (op->outcome == BW_OK && (op->blob->len != 5 || memcmp(op->blob->bytes, "bytes", 5) != 0))
		abort();
	bw_op_done(op);
	pthread_getname_np(pthread_self(), f->thread, sizeof(f->thread));
	atomic_fetch_add(&f->done, 1);
}

static void setup(struct fixture *f, int64_t min_ns)
{
	memset(f, 0, sizeof(*f));
	f->h = bw_holder_new();
	cr_assert_eq(bw_filter_hedge_new(&f->h->store, min_ns, &f->stats, &f->s), 0);
}

static struct bw_op *submit(struct fixture *f)
{
	struct bw_op *op = &f->op[f->n++];

	op->done = count_done;
	op->ctx = f;
	bw_store_submit(f->s, op);
	return op;
}

static struct bw_op *get_size(struct fixture *f, const char *key, uint64_t size)
{
	if (size == BW_TO_END)
		bw_op_get_all(&f->op[f->n], key, MIB);
	else
		bw_op_get(&f->op[f->n], key, 0, size);
	return submit(f);
}

static struct bw_op *get(struct fixture *f, const char *key)
{
	return get_size(f, key, 5);
}

static unsigned hedges(struct fixture *f)
{
	return (unsigned)atomic_load(&f->stats.hedges);
}

static void wait_hedges(struct fixture *f, unsigned n)
{
	while (hedges(f) < n)
		bw_sleep(BW_MS / 10);
	bw_holder_wait_sent(f->h, n);
}

static void wait_done(struct fixture *f, unsigned n)
{
	while (atomic_load(&f->done) < n)
		bw_sleep(BW_MS / 10);
	cr_assert_eq(atomic_load(&f->done), n);
}

/* A get of which there are two now: held at 0 and 1. */
static struct bw_op *get_twice(struct fixture *f)
{
	struct bw_op *op = get(f, "k");

	bw_holder_wait(f->h, 2);
	cr_assert(bw_holder_holds(f->h, 0, "k") && bw_holder_holds(f->h, 1, "k"));
	return op;
}

/*
 * Until those who were late before have been looked at: one more get has been sent twice.  Answers both,
 * and fails when any more came meanwhile.
 */
static void pass_time(struct fixture *f)
{
	unsigned held = bw_holder_n(f->h), done = atomic_load(&f->done);

	get(f, "time");
	while (bw_holder_n(f->h) < held + 2)
		bw_sleep(BW_MS / 10);
	cr_assert(bw_holder_holds(f->h, held, "time") && bw_holder_holds(f->h, held + 1, "time"),
		  "somebody else was sent twice");
	cr_assert_eq(bw_holder_n(f->h), held + 2);
	bw_holder_answer(f->h, held, BW_OK, 0);
	bw_holder_answer(f->h, held, BW_OK, 0);
	wait_done(f, done + 1);
}

static void teardown(struct fixture *f)
{
	while (atomic_load(&f->done) < f->n || bw_holder_n(f->h))
		if (bw_holder_n(f->h))
			bw_holder_answer(f->h, 0, BW_OK, 0);
	bw_store_free(f->s);
	cr_assert_eq(atomic_load(&f->done), f->n, "a done() ran twice");
}

/* ---- When ----------------------------------------------------------------------------------- */

Test(hedge, what_is_not_late_is_sent_once, .timeout = 60)
{
	static const enum bw_outcome answers[] = {BW_OK, BW_UNREACHABLE, BW_CANCELLED, BW_NOT_FOUND};
	struct fixture f;

	setup(&f, NEVER_LATE);
	for (unsigned i = 1; i <= 100; i++) {
		struct bw_op *op = get(&f, "k");
		bw_holder_answer(f.h, 0, answers[i % 4], 0);
		wait_done(&f, i);
		expect(op->outcome, answers[i % 4]);
		cr_assert_str_eq(f.thread, "holder", "the answer went over a thread of the filter");
	}
	cr_assert_eq(bw_holder_sent(f.h), 100);
	cr_assert_eq(f.h->cancels, 0);
	teardown(&f);
}

Test(hedge, what_is_late_is_sent_once_more_and_no_more, .timeout = 60)
{
	struct fixture f;

	setup(&f, BW_MS);
	get_twice(&f);
	pass_time(&f);
	cr_assert_eq(bw_holder_n(f.h), 2);
	cr_assert_eq(hedges(&f), 2);
	teardown(&f);
}

Test(hedge, only_gets_are_sent_twice, .timeout = 60)
{
	struct bw_bytes_body body;
	struct bw_delete_item item = {.key = "k"};
	struct fixture f;

	setup(&f, BW_MS);
	bw_bytes_body_init(&body, "bytes", 5);
	bw_op_put(&f.op[0], "k", &body.body, true);
	bw_op_delete(&f.op[1], "k");
	bw_op_list(&f.op[2], "", "", 5);
	bw_op_delete_many(&f.op[3], &item, 1);
	for (int i = 0; i < 4; i++)
		submit(&f);
	pass_time(&f);
	cr_assert_eq(bw_holder_n(f.h), 4);
	for (int i = 0; i < 4; i++)
		bw_store_cancel(f.s, &f.op[i]);
	cr_assert_eq(f.h->cancels, 4 + 1, "a cancel does not pass");
	for (int i = 0; i < 4; i++)
		bw_holder_let_go(f.h);
	teardown(&f);
}

/* One that is late for its size is not for another. */
Test(hedge, gets_are_compared_with_gets_of_their_size, .timeout = 60)
{
	static const uint64_t sizes[][2] = {{64 << 10, (64 << 10) + 1},
					    {MIB, MIB + 1},
					    {5, BW_TO_END},
					    {(64 << 10) + 1, 64 << 10}};

	for (int i = 0; i < 4; i++) {
		struct fixture f;
		setup(&f, BW_MS);
		get_size(&f, "slow", sizes[i][0]);
		bw_holder_wait(f.h, 2);
		bw_sleep(300 * BW_MS);
		bw_holder_answer(f.h, 0, BW_OK, 0);
		wait_done(&f, 1);
		bw_holder_answer(f.h, 0, BW_OK, 0);

		get_size(&f, "slow", sizes[i][0]);
		get_size(&f, "other", sizes[i][1]);
		bw_holder_wait(f.h, 4);
		cr_assert(bw_holder_holds(f.h, 2, "other"), "of %d", i);
		cr_assert(bw_holder_holds(f.h, 3, "slow"), "of %d", i);
		teardown(&f);
	}
}

/* Unclipped, its 2 s would still be 630 ms after the others; where nothing is known yet 500 ms are waited. */
Test(hedge, one_in_a_stalled_connection_is_not_what_others_are_compared_with, .timeout = 60)
{
	struct fixture f;

	setup(&f, 100 * BW_MS);
	get(&f, "k");
	bw_holder_wait(f.h, 2);
	bw_sleep(2 * BW_SEC);
	bw_holder_answer(f.h, 0, BW_OK, 0);
	wait_done(&f, 1);
	bw_holder_answer(f.h, 0, BW_OK, 0);
	for (unsigned i = 2; i <= 20; i++) {
		get(&f, "k");
		bw_holder_answer(f.h, 0, BW_OK, 0);
		wait_done(&f, i);
	}
	get_size(&f, "other", MIB);
	get(&f, "k");
	bw_holder_wait(f.h, 4);
	cr_assert(bw_holder_holds(f.h, 2, "k"));
	cr_assert(bw_holder_holds(f.h, 3, "other"));
	teardown(&f);
}

/* ---- Which answer --------------------------------------------------------------------------- */

Test(hedge, the_first_good_answer_wins, .timeout = 60)
{
	static const enum bw_outcome good[] = {BW_OK, BW_NOT_FOUND};

	for (unsigned i = 0; i < 4; i++) {
		struct fixture f;
		setup(&f, BW_MS);
		struct bw_op *op = get_twice(&f);
		bw_holder_answer(f.h, i / 2, good[i % 2], 0);
		wait_done(&f, 1);
		expect(op->outcome, good[i % 2]);
		cr_assert_eq(f.h->cancels, 1, "the other is not cancelled");
		cr_assert_eq(f.stats.hedges_won, i / 2);
		/* The other, which has not heard of it, answers all the same. */
		bw_holder_answer(f.h, 0, BW_OK, 0);
		teardown(&f);
	}
}

Test(hedge, a_bad_answer_waits_for_the_other, .timeout = 60)
{
	static const enum bw_outcome bad[] = {BW_UNREACHABLE, BW_THROTTLED, BW_CORRUPT, BW_DENIED,
					      BW_CANCELLED};

	for (unsigned i = 0; i < 10; i++) {
		struct fixture f;
		setup(&f, BW_MS);
		struct bw_op *op = get_twice(&f);
		bw_holder_answer(f.h, i % 2, bad[i / 2], 0);
		bw_sleep(2 * BW_MS);
		cr_assert_eq(atomic_load(&f.done), 0, "%s won", bw_outcome_name(bad[i / 2]));
		bw_holder_answer(f.h, 0, BW_OK, 0);
		wait_done(&f, 1);
		expect(op->outcome, BW_OK);
		cr_assert_eq(f.h->cancels, 0);
		cr_assert_eq(f.stats.hedges_won, 1 - i % 2);
		teardown(&f);
	}
}

Test(hedge, of_two_bad_answers_the_one_that_says_more, .timeout = 60)
{
	static const enum bw_outcome pairs[][3] = {
		{BW_UNREACHABLE, BW_DENIED, BW_DENIED},
		{BW_THROTTLED, BW_CANCELLED, BW_THROTTLED},
		{BW_CANCELLED, BW_UNREACHABLE, BW_UNREACHABLE},
		{BW_CANCELLED, BW_CANCELLED, BW_CANCELLED},
	};

	for (int i = 0; i < 4; i++) {
		struct fixture f;
		setup(&f, BW_MS);
		struct bw_op *op = get_twice(&f);
		bw_holder_answer(f.h, 0, pairs[i][0], 7);
		bw_holder_answer(f.h, 0, pairs[i][1], 7);
		wait_done(&f, 1);
		expect(op->outcome, pairs[i][2]);
		cr_assert_eq(op->retry_after_ns, 7);
		cr_assert_null(op->blob);
		cr_assert_eq(f.stats.hedges_won, 0);
		teardown(&f);
	}
}

/* ---- Cancel, deadline, free ----------------------------------------------------------------- */

/* One of two that end at the same time, and whether they may. */
struct ending {
	struct bw_op *op;
	enum bw_outcome outcome;
	atomic_bool *go;
};

static void *end_now(void *arg)
{
	struct ending *e = arg;

	e->op->outcome = e->outcome;
	while (!atomic_load(e->go))
		;
	e->op->done(e->op);
	return NULL;
}

/* The one that says more is told by whoever comes last, while the other's own thread lets go of it. */
Test(hedge, of_two_bad_answers_at_once_the_one_that_says_more, .timeout = 60)
{
	for (unsigned round = 0; round < 40; round++) {
		struct fixture f;
		setup(&f, BW_MS / 10);
		for (unsigned i = 1; i <= BW_HEDGE_BURST / 2; i++) {
			atomic_bool go = false;
			struct bw_op *op = get_twice(&f);
			struct ending ends[2] = {{f.h->held[0], BW_UNREACHABLE, &go}, {f.h->held[1], BW_CANCELLED, &go}};
			pthread_t threads[2];
			f.h->n = 0;
			for (unsigned k = 0; k < 2; k++)
				cr_assert_eq(bw_thread_start(&threads[k], "ending", end_now, &ends[k]), 0);
			atomic_store(&go, true);
			pthread_join(threads[0], NULL);
			pthread_join(threads[1], NULL);
			wait_done(&f, i);
			expect(op->outcome, BW_UNREACHABLE);
		}
		teardown(&f);
	}
}

Test(hedge, cancel_goes_to_both_and_none_is_sent_afterwards, .timeout = 60)
{
	struct fixture f;

	setup(&f, BW_MS);
	struct bw_op *op = get_twice(&f);

	bw_store_cancel(f.s, op);
	cr_assert_eq(f.h->cancels, 2);
	bw_holder_answer(f.h, 0, BW_CANCELLED, 0);
	bw_holder_answer(f.h, 0, BW_CANCELLED, 0);
	wait_done(&f, 1);
	expect(op->outcome, BW_CANCELLED);
	teardown(&f);

	setup(&f, 50 * BW_MS);
	op = get(&f, "k");
	bw_store_cancel(f.s, op);
	cr_assert_eq(f.h->cancels, 1);
	pass_time(&f);
	cr_assert_eq(bw_holder_n(f.h), 1, "sent again though nobody wants it");
	teardown(&f);
}

Test(hedge, the_deadline_goes_to_both_and_none_is_sent_past_it, .timeout = 60)
{
	struct fixture f;

	setup(&f, BW_MS);
	bw_op_get(&f.op[0], "k", 3, 5);
	f.op[0].deadline_ns = bw_now() + 3600 * BW_SEC;
	f.op[0].prio = BW_PRIO_PREFETCH;
	f.op[0].attempts = 2;
	submit(&f);
	bw_holder_wait(f.h, 2);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(f.h->held[i]->deadline_ns, f.op[0].deadline_ns);
		cr_assert_eq(f.h->held[i]->prio, BW_PRIO_PREFETCH);
		cr_assert_eq(f.h->held[i]->attempts, 2);
		cr_assert_eq(f.h->held[i]->offset, 3);
		cr_assert_eq(f.h->held[i]->length, 5);
	}
	bw_op_get(&f.op[1], "late", 0, 5);
	f.op[1].deadline_ns = bw_now();
	submit(&f);
	pass_time(&f);
	cr_assert_eq(bw_holder_n(f.h), 3);
	teardown(&f);
}

/* A layer that keeps whoever submits standing in its door while it is shut. */
struct door {
	struct bw_store store;
	atomic_bool shut;
	atomic_uint standing;
};

static void door_submit(struct bw_store *s, struct bw_op *op)
{
	struct door *d = (struct door *)s;

	while (atomic_load(&d->shut)) {
		atomic_store(&d->standing, 1);
		bw_sleep(BW_MS / 10);
	}
	bw_store_submit(s->next, op);
}

static void door_cancel(struct bw_store *s, struct bw_op *op)
{
	bw_store_cancel(s->next, op);
}

static void door_free(struct bw_store *s)
{
	bw_store_free(s->next);
}

/* Answered, or cancelled, while the second is being sent: that one is cancelled when it can be. */
Test(hedge, too_late_while_it_is_sent_is_cancelled_once_it_was, .timeout = 60)
{
	static const struct bw_store_ops ops = {
		.name = "door", .submit = door_submit, .cancel = door_cancel, .free = door_free};

	for (int i = 0; i < 2; i++) {
		struct fixture f = {.h = bw_holder_new()};
		struct door door = {.store = {.ops = &ops, .next = &f.h->store}};
		cr_assert_eq(bw_filter_hedge_new(&door.store, 50 * BW_MS, &f.stats, &f.s), 0);
		struct bw_op *op = get(&f, "k");
		atomic_store(&door.shut, true);
		while (!atomic_load(&door.standing))
			bw_sleep(BW_MS / 10);
		unsigned before = 0;
		if (i) {
			bw_store_cancel(f.s, op);
			before = 1;
		} else {
			bw_holder_answer(f.h, 0, BW_OK, 0);
			wait_done(&f, 1);
		}
		cr_assert_eq(f.h->cancels, before, "cancelled before it was sent");
		atomic_store(&door.shut, false);
		bw_holder_wait_sent(f.h, 2);
		while (f.h->cancels < before + 1)
			bw_sleep(BW_MS / 10);
		teardown(&f);
	}
}

struct freeing {
	struct bw_store *s;
	atomic_bool over;
};

static void *free_store(void *arg)
{
	struct freeing *f = arg;

	bw_store_free(f->s);
	atomic_store(&f->over, true);
	return NULL;
}

Test(hedge, free_waits_for_the_one_that_lost, .timeout = 60)
{
	struct fixture f;
	pthread_t thread;

	setup(&f, BW_MS);
	get_twice(&f);
	bw_holder_answer(f.h, 1, BW_OK, 0);
	wait_done(&f, 1);
	struct freeing freeing = {.s = f.s};

	cr_assert_eq(pthread_create(&thread, NULL, free_store, &freeing), 0);
	bw_sleep(20 * BW_MS);
	cr_assert_not(atomic_load(&freeing.over));
	bw_holder_answer(f.h, 0, BW_OK, 0);
	pthread_join(thread, NULL);
	cr_assert_eq(f.done, 1);
}

/* ---- How many ------------------------------------------------------------------------------- */

Test(hedge, a_twentieth_and_a_burst_of_gets_are_sent_twice, .timeout = 60)
{
	static struct fixture f;

	setup(&f, 1);
	for (int i = 0; i < 10; i++)
		get(&f, "k");
	wait_hedges(&f, BW_HEDGE_BURST);
	bw_sleep(120 * BW_MS);
	cr_assert_eq(hedges(&f), BW_HEDGE_BURST, "%u, and no more were earned", hedges(&f));
	for (unsigned i = 0; i < BW_HEDGE_EARN; i++)
		get(&f, "k");
	wait_hedges(&f, BW_HEDGE_BURST + 1);
	for (int i = 0; i < 900; i++)
		get(&f, "k");
	wait_hedges(&f, BW_HEDGE_BURST + 2);
	while (atomic_load(&f.done) < f.n)
		if (bw_holder_n(f.h))
			bw_holder_let_go(f.h);
	cr_assert_leq(hedges(&f), BW_HEDGE_BURST + f.n / BW_HEDGE_EARN);
	/* The last one is counted before it is sent, and its first may have been answered in between. */
	while (bw_holder_sent(f.h) != f.n + hedges(&f))
		bw_sleep(BW_MS / 10);
	teardown(&f);
}

/* However long nothing is late, what is saved up is a burst. */
Test(hedge, a_quiet_time_saves_no_more_than_a_burst, .timeout = 60)
{
	static struct fixture f;
	unsigned before;

	setup(&f, 100 * BW_MS);
	do {	/* on a busy machine one may be late all the same, and then less is saved up */
		before = hedges(&f);
		f.n = 0;
		atomic_store(&f.done, 0);
		while (f.n < 600) {
			get(&f, "k");
			while (atomic_load(&f.done) < f.n || bw_holder_n(f.h))
				if (bw_holder_n(f.h))
					bw_holder_let_go(f.h);
		}
	} while (hedges(&f) != before);

	for (int i = 0; i < 19; i++)
		get(&f, "k");
	wait_hedges(&f, before + BW_HEDGE_BURST);
	bw_sleep(120 * BW_MS);
	cr_assert_leq(hedges(&f), before + BW_HEDGE_BURST);
	teardown(&f);
}

Test(hedge, second_requests_take_up_so_many_bytes, .timeout = 60)
{
	struct fixture f;

	setup(&f, BW_MS);
	get_size(&f, "whole", BW_HEDGE_BYTES_MAX + 1);
	get_size(&f, "a", 30 * MIB);
	bw_holder_wait(f.h, 3);
	get_size(&f, "b", 30 * MIB);
	bw_holder_wait(f.h, 5);
	get_size(&f, "c", 30 * MIB);
	pass_time(&f);
	cr_assert_eq(bw_holder_n(f.h), 6);
	/* whole, a, a, b, b, c: one a is answered, and the other may still hold what it has. */
	bw_holder_answer(f.h, 1, BW_OK, 0);
	wait_done(&f, 2);
	pass_time(&f);
	cr_assert_eq(bw_holder_n(f.h), 5);
	bw_holder_answer(f.h, 1, BW_UNREACHABLE, 0);
	bw_holder_wait(f.h, 5);
	cr_assert(bw_holder_holds(f.h, 4, "c"));
	teardown(&f);
}

Test(hedge, a_store_that_asks_for_less_is_not_asked_twice, .timeout = 60)
{
	struct fixture f;

	setup(&f, 1);
	f.stats.rate = 100;
	get(&f, "k");
	bw_sleep(120 * BW_MS);
	cr_assert_eq(bw_holder_n(f.h), 1);
	f.stats.rate = 0;
	bw_holder_wait(f.h, 2);
	teardown(&f);
}

/* ---- By chance ------------------------------------------------------------------------------ */

#define CROWD 4000
#define UNDER_WAY 64

struct crowd {
	struct bw_store *s;
	struct bw_send_stats stats;
	struct bw_fault_plan plan;
	struct bw_op op[CROWD];
	atomic_uchar done[CROWD];
	atomic_uint sent_off, ok, bad;
	atomic_bool wrong;
};

static enum bw_fault decide(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	static const enum bw_fault faults[] = {BW_FAULT_BEFORE, BW_FAULT_LOST_REPLY, BW_FAULT_THROTTLED,
					       BW_FAULT_SHORT, BW_FAULT_DUPLICATE};

	(void)plan, (void)op;
	/* All that are under way are late then, and more than a burst is due. */
	if (nth % 500 == 499)
		bw_sleep(20 * BW_MS);
	return nth % 4 ? BW_FAULT_NONE : faults[nth / 4 % 5];
}

static void crowd_done(struct bw_op *op)
{
	struct crowd *c = op->ctx;

	atomic_fetch_add(&c->done[op - c->op], 1);
	if (op->outcome == BW_OK && (op->blob->len != 5 || memcmp(op->blob->bytes, "bytes", 5) != 0))
		atomic_store(&c->wrong, true);
	if (op->outcome != BW_OK && op->blob)
		atomic_store(&c->wrong, true);
	bw_op_done(op);
	/* Once all are counted, they are used again. */
	atomic_fetch_add(op->outcome == BW_OK ? &c->ok : &c->bad, 1);
}

static unsigned crowd_ended(struct crowd *c)
{
	return atomic_load(&c->ok) + atomic_load(&c->bad);
}

/* Sends the crowd through and waits for it; each must be answered once. */
static void crowd_round(struct crowd *c)
{
	memset(c->done, 0, sizeof(c->done));
	atomic_store(&c->ok, 0);
	atomic_store(&c->bad, 0);
	for (unsigned i = 0; i < CROWD; i++) {
		while (i - crowd_ended(c) >= UNDER_WAY)
			bw_sleep(BW_MS / 10);
		bw_op_get_all(&c->op[i], "k", 5);
		c->op[i].done = crowd_done;
		c->op[i].ctx = c;
		bw_store_submit(c->s, &c->op[i]);
		/* Of one that may have been answered meanwhile: its op is still there. */
		if (i % 5 == 0)
			bw_store_cancel(c->s, &c->op[i]);
	}
	while (crowd_ended(c) < CROWD)
		bw_sleep(BW_MS);
	cr_assert_gt(c->ok, CROWD / 2);
}

static bool is_answered_once(const struct crowd *c)
{
	for (unsigned i = 0; i < CROWD; i++)
		if (c->done[i] != 1)
			return false;
	return true;
}

Test(hedge, each_get_is_answered_once_whatever_happens_to_it, .timeout = 120)
{
	static struct crowd c = {.plan = {.decide = decide}};
	unsigned rounds = 0;

	cr_assert_eq(bw_store_mem_new(&c.s), 0);
	expect(bw_test_put(c.s, "k", "bytes", 5, true), BW_OK);
	cr_assert_eq(bw_filter_fault_new(c.s, &c.plan, &c.s), 0);
	cr_assert_eq(bw_filter_delay_new(c.s, 0, 2 * BW_MS, 1, &c.s), 0);
	cr_assert_eq(bw_filter_hedge_new(c.s, BW_MS / 10, &c.stats, &c.s), 0);
	/* What is late is a matter of how fast the machine is: one round mostly does. */
	do {
		crowd_round(&c);
		cr_assert(is_answered_once(&c));
		rounds++;
	} while (c.stats.hedges <= BW_HEDGE_BURST || !c.stats.hedges_won);
	bw_store_free(c.s);
	cr_assert(is_answered_once(&c), "once more, after all had been answered");
	cr_assert_not(c.wrong);
	cr_assert_leq(c.stats.hedges, BW_HEDGE_BURST + rounds * CROWD / BW_HEDGE_EARN);
}
