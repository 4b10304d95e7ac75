/* SPDX-License-Identifier: Apache-2.0 */
/* filter_late over a store that answers when the test says so. */
#include "store/base/sync.h"
#include "tests/support/holder.h"

#include <criterion/criterion.h>
#include <string.h>

#define MORE_NS (20 * BW_MS)

struct asked {
	struct bw_op op;
	struct bw_latch answered;
};

static void answered(struct bw_op *op)
{
	bw_latch_open(&((struct asked *)op)->answered);
}

static void ask(struct bw_store *s, struct asked *a, int64_t deadline_ns)
{
	bw_op_get(&a->op, "key", 0, 5);
	a->op.deadline_ns = deadline_ns;
	a->op.done = answered;
	bw_latch_init(&a->answered);
	bw_store_submit(s, &a->op);
}

static enum bw_outcome wait_for(struct asked *a)
{
	bw_latch_wait(&a->answered);
	enum bw_outcome outcome = a->op.outcome;

	cr_assert(outcome != BW_OK || (a->op.blob->len == 5 && memcmp(a->op.blob->bytes, "bytes", 5) == 0));
	bw_op_done(&a->op);
	return outcome;
}

Test(late, V6_a_get_that_does_not_come_back_is_given_up)
{
	struct bw_holder *h = bw_holder_new();
	struct bw_store *s;
	struct asked a, b;

	cr_assert_eq(bw_filter_late_new(&h->store, MORE_NS, &s), 0);
	int64_t from_ns = bw_now();
	ask(s, &a, from_ns + 10 * BW_MS);
	cr_assert_eq(wait_for(&a), BW_UNREACHABLE);
	cr_assert_geq(bw_now() - from_ns, 10 * BW_MS + MORE_NS);
	cr_assert_eq(bw_holder_n(h), 1, "it goes on below");
	memset(&a, 0xee, sizeof(a));	/* nobody's any more */
	bw_holder_answer(h, 0, BW_OK, 0);

	ask(s, &b, bw_now() + 3600 * BW_SEC);
	bw_holder_wait_sent(h, 2);
	bw_holder_answer(h, 0, BW_OK, 0);
	cr_assert_eq(wait_for(&b), BW_OK);
	bw_store_free(s);
}

Test(late, a_get_that_nobody_wants_any_more_is_given_up_at_once)
{
	struct bw_holder *h = bw_holder_new();
	struct bw_store *s;
	struct asked a, b;

	cr_assert_eq(bw_filter_late_new(&h->store, MORE_NS, &s), 0);
	ask(s, &a, bw_now() + 3600 * BW_SEC);
	ask(s, &b, BW_NEVER);
	bw_holder_wait(h, 2);
	bw_store_cancel(s, &b.op);
	cr_assert_eq(wait_for(&b), BW_CANCELLED);
	cr_assert_not(a.answered.open);
	bw_holder_let_go(h);
	bw_holder_let_go(h);
	cr_assert_eq(wait_for(&a), BW_NOT_FOUND);
	bw_store_free(s);
}

static void *leave(void *s)
{
	bw_store_leave(s);
	return NULL;
}

/* Nobody could end, or unmount, where a store is that does not answer. */
Test(late, V6_who_leaves_waits_for_no_get_that_was_given_up)
{
	struct bw_holder *h = bw_holder_new();
	struct bw_store *s;
	struct asked a;
	pthread_t thread;

	cr_assert_eq(bw_filter_late_new(&h->store, MORE_NS, &s), 0);
	ask(s, &a, bw_now());
	cr_assert_eq(wait_for(&a), BW_UNREACHABLE);
	cr_assert_eq(bw_thread_start(&thread, "leaves", leave, s), 0);
	pthread_join(thread, NULL);
	cr_assert_eq(bw_holder_n(h), 1);
	bw_holder_let_go(h);	/* what it needs is there still */
	bw_sleep(MORE_NS);

	/* One that comes soon is waited for, and nothing is left behind. */
	h = bw_holder_new();
	cr_assert_eq(bw_filter_late_new(&h->store, BW_SEC, &s), 0);
	ask(s, &a, BW_NEVER);
	bw_store_cancel(s, &a.op);
	cr_assert_eq(wait_for(&a), BW_CANCELLED);
	cr_assert_eq(bw_thread_start(&thread, "leaves", leave, s), 0);
	bw_sleep(MORE_NS);
	bw_holder_let_go(h);
	pthread_join(thread, NULL);
}

/* Nobody could say what has become of it. */
Test(late, what_changes_something_is_waited_for)
{
	struct bw_holder *h = bw_holder_new();
	struct bw_store *s;
	struct asked a;

	cr_assert_eq(bw_filter_late_new(&h->store, MORE_NS, &s), 0);
	bw_op_delete(&a.op, "key");
	a.op.deadline_ns = bw_now();
	a.op.done = answered;
	bw_latch_init(&a.answered);
	bw_store_submit(s, &a.op);
	bw_sleep(3 * MORE_NS);
	cr_assert_not(a.answered.open);
	bw_holder_let_go(h);
	cr_assert_eq(wait_for(&a), BW_NOT_FOUND);
	bw_store_free(s);
}
