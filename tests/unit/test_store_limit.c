/* SPDX-License-Identifier: Apache-2.0 */
/* filter_limit over a store that answers when the test says so. */
#include "tests/support/holder.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPS_MAX 64
#define LARGE 1000u	/* of a put: a body where so many bytes are allowed, */
#define SMALL 3u	/* and none */

/* ---- Ops that tell when they are done ------------------------------------------------------- */

struct ops {
	struct bw_store *s;
	struct bw_holder *h;
	struct bw_op op[OPS_MAX];
	struct bw_bytes_body body[OPS_MAX];
	unsigned n;
	atomic_uint done;
};

static void count_done(struct bw_op *op)
{
	struct ops *o = op->ctx;

	atomic_fetch_add(&o->done, 1);
}

static void setup(struct ops *o, unsigned max_ops, uint64_t max_bytes)
{
	memset(o, 0, sizeof(*o));
	o->h = bw_holder_new();
	cr_assert_eq(bw_filter_limit_new(&o->h->store, max_ops, max_bytes, &o->s), 0);
}

static struct bw_op *submit(struct ops *o, struct bw_op *op, enum bw_prio prio, int64_t deadline_ns)
{
	op->prio = prio;
	op->deadline_ns = deadline_ns;
	op->done = count_done;
	op->ctx = o;
	bw_store_submit(o->s, op);
	return op;
}

static struct bw_op *get(struct ops *o, const char *key, uint64_t bytes, enum bw_prio prio,
			 int64_t deadline_ns)
{
	struct bw_op *op = &o->op[o->n++];

	bw_op_get(op, key, 0, bytes);
	return submit(o, op, prio, deadline_ns);
}

static void put(struct ops *o, const char *key, size_t bytes)
{
	static const uint8_t zeroes[LARGE];
	struct bw_bytes_body *body = &o->body[o->n];
	struct bw_op *op = &o->op[o->n++];

	bw_bytes_body_init(body, zeroes, bytes);
	bw_op_put(op, key, &body->body, false);
	submit(o, op, BW_PRIO_COMMIT, BW_NEVER);
}

static void wait_done(struct ops *o, unsigned n)
{
	while (atomic_load(&o->done) < n)
		bw_sleep(BW_MS / 10);
}

static void assert_held(struct ops *o, unsigned at, const char *key)
{
	cr_assert(bw_holder_holds(o->h, at, key), "%s is not held in place %u", key, at);
}

static void drain(struct ops *o)
{
	while (atomic_load(&o->done) < o->n)
		if (bw_holder_n(o->h))
			bw_holder_let_go(o->h);
}

static void teardown(struct ops *o)
{
	drain(o);
	bw_store_free(o->s);
}

/* ---- Tests ---------------------------------------------------------------------------------- */

Test(limit, never_more_ops_than_allowed, .timeout = 60)
{
	struct ops o;

	setup(&o, 3, 1000);
	for (int i = 0; i < 20; i++)
		get(&o, "k", 1, (enum bw_prio)(i % 4), BW_NEVER);
	for (unsigned i = 1; i <= 20; i++) {
		bw_holder_wait(o.h, 21 - i < 3 ? 21 - i : 3);
		bw_holder_let_go(o.h);
		wait_done(&o, i);
	}
	cr_assert_eq(o.h->most, 3);
	teardown(&o);
}

Test(limit, never_more_bytes_than_allowed, .timeout = 60)
{
	static const uint64_t sizes[] = {60, 40, 1, 100, 30, 30, 40, 0, 99, 2};
	struct ops o;

	setup(&o, 10, 100);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		get(&o, "k", sizes[i], BW_PRIO_DEMAND, BW_NEVER);
	bw_holder_wait(o.h, 2);
	bw_holder_let_go(o.h);
	bw_holder_wait(o.h, 2);	/* 40 and 1 */
	bw_holder_let_go(o.h);
	bw_holder_let_go(o.h);
	bw_holder_wait(o.h, 1);	/* 100 alone */
	bw_holder_let_go(o.h);
	bw_holder_wait(o.h, 4);	/* 30, 30, 40, 0 */
	for (unsigned i = 5; i <= 10; i++) {
		while (!bw_holder_n(o.h))
			bw_sleep(BW_MS / 10);
		bw_holder_let_go(o.h);
		wait_done(&o, i);
	}
	cr_assert_leq(o.h->most_bytes, 100);
	cr_assert_gt(o.h->most_bytes, 90);
	teardown(&o);
}

Test(limit, an_op_above_the_limit_goes_alone, .timeout = 60)
{
	struct ops o;

	setup(&o, 10, 100);
	get(&o, "small", 1, BW_PRIO_DEMAND, BW_NEVER);
	struct bw_op *huge = get(&o, "huge", BW_TO_END, BW_PRIO_DEMAND, BW_NEVER);
	(void)huge;
	get(&o, "large", 101, BW_PRIO_DEMAND, BW_NEVER);
	get(&o, "small2", 1, BW_PRIO_DEMAND, BW_NEVER);
	bw_holder_wait(o.h, 2);	/* small, and huge whose max is 0 */
	bw_holder_let_go(o.h);
	bw_holder_let_go(o.h);
	bw_holder_wait(o.h, 1);
	assert_held(&o, 0, "large");
	bw_holder_let_go(o.h);
	bw_holder_wait(o.h, 1);
	assert_held(&o, 0, "small2");
	teardown(&o);
}

Test(limit, demand_first_then_order_of_arrival, .timeout = 60)
{
	static const char *const order[] = {"demand1", "demand2", "commit1", "commit2",
					    "prefetch", "idle1", "idle2"};
	struct ops o;

	setup(&o, 1, 100);
	get(&o, "first", 1, BW_PRIO_IDLE, BW_NEVER);
	get(&o, "idle1", 1, BW_PRIO_IDLE, BW_NEVER);
	get(&o, "prefetch", 1, BW_PRIO_PREFETCH, BW_NEVER);
	get(&o, "commit1", 1, BW_PRIO_COMMIT, BW_NEVER);
	get(&o, "demand1", 1, BW_PRIO_DEMAND, BW_NEVER);
	get(&o, "idle2", 1, BW_PRIO_IDLE, BW_NEVER);
	get(&o, "commit2", 1, BW_PRIO_COMMIT, BW_NEVER);
	get(&o, "demand2", 1, BW_PRIO_DEMAND, BW_NEVER);
	bw_holder_wait(o.h, 1);
	assert_held(&o, 0, "first");
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		bw_holder_let_go(o.h);
		wait_done(&o, (unsigned)i + 1);
		bw_holder_wait(o.h, 1);
		assert_held(&o, 0, order[i]);
	}
	teardown(&o);
}

Test(limit, a_large_op_is_not_starved_by_small_ones, .timeout = 60)
{
	struct ops o;

	setup(&o, 10, 100);
	get(&o, "small1", 60, BW_PRIO_DEMAND, BW_NEVER);
	get(&o, "large", 80, BW_PRIO_DEMAND, BW_NEVER);
	get(&o, "small2", 10, BW_PRIO_DEMAND, BW_NEVER);
	get(&o, "small3", 10, BW_PRIO_IDLE, BW_NEVER);
	bw_holder_wait(o.h, 1);
	assert_held(&o, 0, "small1");
	bw_holder_let_go(o.h);
	bw_holder_wait(o.h, 3);
	assert_held(&o, 0, "large");
	assert_held(&o, 1, "small2");
	teardown(&o);
}

Test(limit, an_op_that_waits_ends_at_its_deadline, .timeout = 60)
{
	struct ops o;

	setup(&o, 1, 100);
	get(&o, "first", 1, BW_PRIO_DEMAND, BW_NEVER);
	struct bw_op *later = get(&o, "later", 1, BW_PRIO_DEMAND, bw_now() + 40 * BW_MS);
	struct bw_op *soon = get(&o, "soon", 1, BW_PRIO_IDLE, bw_now() + 10 * BW_MS);
	struct bw_op *never = get(&o, "never", 1, BW_PRIO_COMMIT, BW_NEVER);
	struct bw_op *past = get(&o, "past", 1, BW_PRIO_DEMAND, bw_now() - 1);
	wait_done(&o, 3);
	cr_assert_eq(later->outcome, BW_CANCELLED);
	cr_assert_eq(soon->outcome, BW_CANCELLED);
	cr_assert_eq(past->outcome, BW_CANCELLED);
	cr_assert_geq(bw_now(), later->deadline_ns);
	cr_assert_eq(bw_holder_n(o.h), 1, "an op that had ended was sent");
	bw_holder_let_go(o.h);
	bw_holder_wait(o.h, 1);
	assert_held(&o, 0, "never");
	bw_holder_let_go(o.h);
	wait_done(&o, 5);
	cr_assert_eq(never->outcome, BW_NOT_FOUND);
	teardown(&o);
}

/* Ended at its deadline, the first in line must not hold up those behind it. */
Test(limit, the_next_goes_when_the_first_in_line_ends, .timeout = 60)
{
	struct ops o;

	setup(&o, 10, 100);
	get(&o, "first", 60, BW_PRIO_DEMAND, BW_NEVER);
	get(&o, "large", 80, BW_PRIO_DEMAND, bw_now() + 10 * BW_MS);
	get(&o, "small", 10, BW_PRIO_IDLE, BW_NEVER);
	bw_holder_wait(o.h, 2);
	assert_held(&o, 1, "small");
	struct bw_op *large = get(&o, "large", 80, BW_PRIO_DEMAND, BW_NEVER);
	get(&o, "small2", 10, BW_PRIO_IDLE, BW_NEVER);
	bw_store_cancel(o.s, large);
	bw_holder_wait(o.h, 3);
	assert_held(&o, 2, "small2");
	wait_done(&o, 2);
	cr_assert_eq(large->outcome, BW_CANCELLED);
	teardown(&o);
}

Test(limit, cancel_reaches_an_op_wherever_it_is, .timeout = 60)
{
	struct ops o;

	setup(&o, 1, 100);
	struct bw_op *lent = get(&o, "lent", 1, BW_PRIO_DEMAND, BW_NEVER);
	struct bw_op *waits = get(&o, "waits", 1, BW_PRIO_DEMAND, BW_NEVER);
	get(&o, "last", 1, BW_PRIO_DEMAND, BW_NEVER);
	bw_store_cancel(o.s, waits);
	bw_store_cancel(o.s, waits);
	wait_done(&o, 1);
	cr_assert_eq(waits->outcome, BW_CANCELLED);
	cr_assert_eq(o.h->cancels, 0);
	bw_store_cancel(o.s, lent);
	cr_assert_eq(o.h->cancels, 1);
	cr_assert_eq(atomic_load(&o.done), 1);
	bw_holder_let_go(o.h);
	bw_holder_wait(o.h, 1);
	assert_held(&o, 0, "last");
	teardown(&o);
}

/* ---- Reads and all the others --------------------------------------------------------------- */

Test(limit, reads_do_not_wait_for_bodies, .timeout = 60)
{
	struct ops o;

	setup(&o, 8, 1000);
	for (int i = 0; i < 20; i++)
		put(&o, "put", SMALL);
	bw_holder_wait(o.h, 6);
	get(&o, "read1", 1, BW_PRIO_DEMAND, BW_NEVER);
	get(&o, "ahead", 1, BW_PRIO_PREFETCH, BW_NEVER);
	get(&o, "read2", 1, BW_PRIO_DEMAND, BW_NEVER);
	bw_holder_wait(o.h, 8);
	assert_held(&o, 6, "read1");
	assert_held(&o, 7, "read2");
	drain(&o);
	cr_assert_eq(o.h->most, 8);
	teardown(&o);
}

Test(limit, reads_have_bytes_of_their_own, .timeout = 60)
{
	struct ops o;

	setup(&o, 8, 1000);
	get(&o, "ahead1", 1000, BW_PRIO_PREFETCH, BW_NEVER);	/* counted as all that others may take up */
	get(&o, "ahead2", 1, BW_PRIO_PREFETCH, BW_NEVER);
	get(&o, "read1", 250, BW_PRIO_DEMAND, BW_NEVER);
	get(&o, "read2", 1, BW_PRIO_DEMAND, BW_NEVER);
	bw_holder_wait(o.h, 2);
	assert_held(&o, 0, "ahead1");
	assert_held(&o, 1, "read1");
	bw_holder_let_go(o.h);
	wait_done(&o, 1);
	bw_holder_wait(o.h, 3);
	assert_held(&o, 1, "read2");
	assert_held(&o, 2, "ahead2");
	teardown(&o);
}

/* A commit, a marker and what is read ahead go on while batches are being uploaded, however many and large. */
Test(limit, bodies_leave_room_for_all_others, .timeout = 60)
{
	struct ops o;

	setup(&o, 16, 1000);
	for (int i = 0; i < 20; i++)
		put(&o, "body", LARGE);
	bw_holder_wait(o.h, 10);
	put(&o, "root", SMALL);
	get(&o, "ahead", 100, BW_PRIO_PREFETCH, BW_NEVER);
	get(&o, "read", 100, BW_PRIO_DEMAND, BW_NEVER);
	bw_holder_wait(o.h, 13);
	assert_held(&o, 10, "root");
	assert_held(&o, 11, "ahead");
	assert_held(&o, 12, "read");
	drain(&o);
	cr_assert_eq(o.h->most, 13);
	teardown(&o);
}

/* Of those that are as urgent; but one body is always on its way. */
Test(limit, small_puts_go_before_bodies, .timeout = 60)
{
	static const char *const order[] = {"body2", "root1", "body3", "root2", "ahead"};
	struct ops o;

	setup(&o, 2, 1000);
	put(&o, "body1", LARGE);
	get(&o, "first", 1, BW_PRIO_PREFETCH, BW_NEVER);
	bw_holder_wait(o.h, 2);
	get(&o, "ahead", 1, BW_PRIO_PREFETCH, BW_NEVER);
	put(&o, "gone", LARGE);
	put(&o, "root1", SMALL);
	put(&o, "body2", LARGE);
	put(&o, "root2", SMALL);
	put(&o, "body3", LARGE);
	bw_store_cancel(o.s, &o.op[3]);
	wait_done(&o, 1);
	cr_assert_eq(o.op[3].outcome, BW_CANCELLED);
	for (unsigned i = 0; i < 5; i++) {
		bw_holder_let_go(o.h);
		wait_done(&o, i + 2);
		bw_holder_wait(o.h, 2);
		assert_held(&o, 1, order[i]);
	}
	teardown(&o);
}

/* What is less urgent does not take the room that a body waits for. */
Test(limit, a_body_is_not_starved_by_what_is_read_ahead, .timeout = 60)
{
	struct ops o;

	setup(&o, 8, 1000);
	get(&o, "ahead1", 350, BW_PRIO_PREFETCH, BW_NEVER);
	get(&o, "ahead2", 350, BW_PRIO_PREFETCH, BW_NEVER);
	put(&o, "body", LARGE);
	get(&o, "ahead3", 10, BW_PRIO_PREFETCH, BW_NEVER);
	bw_holder_wait(o.h, 2);
	bw_holder_let_go(o.h);
	wait_done(&o, 1);
	bw_holder_wait(o.h, 3);
	assert_held(&o, 1, "body");
	assert_held(&o, 2, "ahead3");
	teardown(&o);
}

Test(limit, a_commit_does_not_wait_for_readers_without_end, .timeout = 60)
{
	struct ops o;

	setup(&o, 8, 1000);
	for (int i = 0; i < 20; i++)
		get(&o, "read", 1, BW_PRIO_DEMAND, BW_NEVER);
	bw_holder_wait(o.h, 7);
	put(&o, "put", SMALL);
	bw_holder_wait(o.h, 8);
	assert_held(&o, 7, "put");
	teardown(&o);
}
