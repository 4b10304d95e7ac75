/* SPDX-License-Identifier: Apache-2.0 */
/* filter_limit over a store that answers when the test says so. */
#include "store/base/sync.h"
#include "tests/support/stores.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELD_MAX 64

/* Keeps what it is given, in order of arrival, until it is told to let go. */
struct holder {
	struct bw_store store;
	struct bw_workq *q;
	struct bw_mutex lock;
	struct bw_op *held[HELD_MAX];
	unsigned n;
	unsigned most;		/* held at once */
	uint64_t most_bytes;
	unsigned cancels;	/* that came down */
};

static uint64_t size_of(const struct bw_op *op)
{
	return op->kind == BW_OP_GET ? op->length == BW_TO_END ? op->max : op->length
	       : op->kind == BW_OP_PUT ? op->body->size
				       : 0;
}

static void hold(struct bw_store *s, struct bw_op *op)
{
	struct holder *h = (struct holder *)s;
	uint64_t bytes = 0;

	BW_LOCK_SCOPE(&h->lock);
	h->held[h->n++] = op;
	for (unsigned i = 0; i < h->n; i++)
		bytes += size_of(h->held[i]);
	h->most = h->n > h->most ? h->n : h->most;
	h->most_bytes = bytes > h->most_bytes ? bytes : h->most_bytes;
}

static void note_cancel(struct bw_store *s, struct bw_op *op)
{
	(void)op;
	((struct holder *)s)->cancels++;
}

static void run_ok(struct bw_task *task)
{
	struct bw_op *op = (struct bw_op *)((char *)task - offsetof(struct bw_op, task));

	op->outcome = BW_NOT_FOUND;
	op->done(op);
}

static void holder_free(struct bw_store *s)
{
	struct holder *h = (struct holder *)s;

	bw_workq_free(h->q);
	bw_mutex_done(&h->lock);
	free(h);
}

static struct holder *holder_new(void)
{
	static const struct bw_store_ops ops = {
		.name = "holder", .submit = hold, .cancel = note_cancel, .free = holder_free};
	struct holder *h = calloc(1, sizeof(*h));

	h->store.ops = &ops;
	bw_mutex_init(&h->lock, BW_RANK_STORE);
	cr_assert_eq(bw_workq_new("holder", 1, &h->q), 0);
	return h;
}

static unsigned held(struct holder *h)
{
	BW_LOCK_SCOPE(&h->lock);
	return h->n;
}

static void wait_held(struct holder *h, unsigned n)
{
	while (held(h) != n)
		bw_sleep(BW_MS / 10);
}

/* Answers the one that came first. */
static void let_go(struct holder *h)
{
	bw_lock(&h->lock);
	struct bw_op *op = h->held[0];
	memmove(h->held, h->held + 1, --h->n * sizeof(h->held[0]));
	bw_unlock(&h->lock);
	op->task.run = run_ok;
	bw_workq_push(h->q, &op->task);
}

/* ---- Ops that tell when they are done ------------------------------------------------------- */

struct ops {
	struct bw_store *s;
	struct holder *h;
	struct bw_op op[HELD_MAX];
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
	o->h = holder_new();
	cr_assert_eq(bw_filter_limit_new(&o->h->store, max_ops, max_bytes, &o->s), 0);
}

static struct bw_op *get(struct ops *o, const char *key, uint64_t bytes, enum bw_prio prio,
			 int64_t deadline_ns)
{
	struct bw_op *op = &o->op[o->n++];

	bw_op_get(op, key, 0, bytes);
	op->prio = prio;
	op->deadline_ns = deadline_ns;
	op->done = count_done;
	op->ctx = o;
	bw_store_submit(o->s, op);
	return op;
}

static void wait_done(struct ops *o, unsigned n)
{
	while (atomic_load(&o->done) < n)
		bw_sleep(BW_MS / 10);
}

static void assert_held(struct ops *o, unsigned at, const char *key)
{
	BW_LOCK_SCOPE(&o->h->lock);
	cr_assert_lt(at, o->h->n, "%s is not held", key);
	cr_assert_str_eq(o->h->held[at]->key, key);
}

static void teardown(struct ops *o)
{
	while (atomic_load(&o->done) < o->n)
		if (held(o->h))
			let_go(o->h);
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
		wait_held(o.h, 21 - i < 3 ? 21 - i : 3);
		let_go(o.h);
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
	wait_held(o.h, 2);
	let_go(o.h);
	wait_held(o.h, 2);	/* 40 and 1 */
	let_go(o.h);
	let_go(o.h);
	wait_held(o.h, 1);	/* 100 alone */
	let_go(o.h);
	wait_held(o.h, 4);	/* 30, 30, 40, 0 */
	for (unsigned i = 5; i <= 10; i++) {
		while (!held(o.h))
			bw_sleep(BW_MS / 10);
		let_go(o.h);
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
	wait_held(o.h, 2);	/* small, and huge whose max is 0 */
	let_go(o.h);
	let_go(o.h);
	wait_held(o.h, 1);
	assert_held(&o, 0, "large");
	let_go(o.h);
	wait_held(o.h, 1);
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
	wait_held(o.h, 1);
	assert_held(&o, 0, "first");
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		let_go(o.h);
		wait_done(&o, (unsigned)i + 1);
		wait_held(o.h, 1);
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
	wait_held(o.h, 1);
	assert_held(&o, 0, "small1");
	let_go(o.h);
	wait_held(o.h, 3);
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
	cr_assert_eq(held(o.h), 1, "an op that had ended was sent");
	let_go(o.h);
	wait_held(o.h, 1);
	assert_held(&o, 0, "never");
	let_go(o.h);
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
	wait_held(o.h, 2);
	assert_held(&o, 1, "small");
	struct bw_op *large = get(&o, "large", 80, BW_PRIO_DEMAND, BW_NEVER);
	get(&o, "small2", 10, BW_PRIO_IDLE, BW_NEVER);
	bw_store_cancel(o.s, large);
	wait_held(o.h, 3);
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
	let_go(o.h);
	wait_held(o.h, 1);
	assert_held(&o, 0, "last");
	teardown(&o);
}
