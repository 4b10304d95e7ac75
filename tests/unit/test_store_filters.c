/* SPDX-License-Identifier: Apache-2.0 */
/* What the filters stats, delay and fault do; limit and retry have programs of their own. */
#include "tests/support/stores.h"
#include "tests/unit/expect.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One fault for the requests of a script, then none; mem and its requests are counted. */
struct scripted {
	struct bw_store *s;
	struct bw_fault_plan plan;
	struct bw_store_stats stats;
	enum bw_fault fault;
	unsigned times;
	uint64_t asked;
};

static enum bw_fault decide(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	struct scripted *t = plan->ctx;

	(void)op;
	cr_assert_eq(nth, t->asked, "asked out of order");
	t->asked++;
	if (!t->times)
		return BW_FAULT_NONE;
	t->times--;
	return t->fault;
}

static void setup(struct scripted *t)
{
	memset(t, 0, sizeof(*t));
	t->plan.decide = decide;
	t->plan.ctx = t;
	cr_assert_eq(bw_store_mem_new(&t->s), 0);
	cr_assert_eq(bw_filter_stats_new(t->s, &t->stats, &t->s), 0);
	cr_assert_eq(bw_filter_fault_new(t->s, &t->plan, &t->s), 0);
}

static void next(struct scripted *t, enum bw_fault fault)
{
	t->fault = fault;
	t->times = 1;
}

/* ---- stats ---------------------------------------------------------------------------------- */

Test(stats, requests_by_kind_and_outcome)
{
	struct bw_store_stats stats = {0};
	struct bw_store *s;
	struct bw_blob *blob;
	struct bw_op op;

	cr_assert_eq(bw_store_mem_new(&s), 0);
	cr_assert_eq(bw_filter_stats_new(s, &stats, &s), 0);
	expect(bw_test_put(s, "k", "12345", 5, true), BW_OK);
	expect(bw_test_put(s, "k", "1234567", 7, true), BW_EXISTS);
	expect(bw_test_put(s, "k", "123", 3, false), BW_OK);
	expect(bw_test_get(s, "k", &blob), BW_OK);
	bw_blob_unref(blob);
	bw_op_get(&op, "k", 1, 2);
	expect(bw_store_sync(s, &op), BW_OK);
	bw_op_done(&op);
	bw_op_get(&op, "k", 1, 5);
	expect(bw_store_sync(s, &op), BW_CORRUPT);
	expect(bw_test_get(s, "other", &blob), BW_NOT_FOUND);
	bw_op_list(&op, "", "", 1);
	expect(bw_store_sync(s, &op), BW_OK);
	bw_op_done(&op);
	expect(bw_test_delete(s, "k"), BW_OK);
	expect(bw_test_delete(s, "k"), BW_NOT_FOUND);

	cr_assert_eq(stats.requests[BW_OP_PUT][BW_OK], 2);
	cr_assert_eq(stats.requests[BW_OP_PUT][BW_EXISTS], 1);
	cr_assert_eq(stats.requests[BW_OP_GET][BW_OK], 2);
	cr_assert_eq(stats.requests[BW_OP_GET][BW_CORRUPT], 1);
	cr_assert_eq(stats.requests[BW_OP_GET][BW_NOT_FOUND], 1);
	cr_assert_eq(stats.requests[BW_OP_LIST][BW_OK], 1);
	cr_assert_eq(stats.requests[BW_OP_DELETE][BW_OK], 1);
	cr_assert_eq(stats.requests[BW_OP_DELETE][BW_NOT_FOUND], 1);
	cr_assert_eq(bw_stats_requests(&stats, BW_OP_PUT), 3);
	cr_assert_eq(bw_stats_requests(&stats, BW_OP_GET), 4);
	cr_assert_eq(bw_stats_all(&stats), 10);
	cr_assert_eq(stats.bytes_in, 3 + 2);
	cr_assert_eq(stats.bytes_out, 5 + 7 + 3);
	for (int k = 0; k < BW_STATS_KINDS; k++) {
		uint64_t sum = 0;
		for (int b = 0; b <= BW_STATS_BUCKETS_N; b++)
			sum += stats.buckets[k][b];
		cr_assert_eq(sum, bw_stats_requests(&stats, (enum bw_op_kind)k));
	}
	bw_store_free(s);
}

static enum bw_fault as_told(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	(void)op;
	(void)nth;
	return *(const enum bw_fault *)plan->ctx;
}

/* The first failure of a row says since when; any answer to its kind of request ends the row. */
Test(stats, trouble_lasts_until_the_store_answers)
{
	static const struct {
		enum bw_fault fault;
		enum bw_outcome trouble;
	} rows[] = {
		{BW_FAULT_BEFORE, BW_UNREACHABLE}, {BW_FAULT_LOST_REPLY, BW_UNKNOWN},
		{BW_FAULT_THROTTLED, BW_THROTTLED}, {BW_FAULT_DENIED, BW_DENIED},
	};
	enum bw_fault fault = BW_FAULT_NONE;
	struct bw_fault_plan plan = {.decide = as_told, .ctx = &fault};
	struct bw_store_stats stats = {0};
	struct bw_trouble first, again;
	int64_t before = bw_wall_ms();
	struct bw_store *s;

	cr_assert_eq(bw_store_mem_new(&s), 0);
	cr_assert_eq(bw_filter_fault_new(s, &plan, &s), 0);
	cr_assert_eq(bw_filter_stats_new(s, &stats, &s), 0);
	expect(bw_stats_trouble(&stats).outcome, BW_OK);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fault = rows[i].fault;
		bw_test_put(s, "k", "1", 1, false);
		first = bw_stats_trouble(&stats);
		expect(first.outcome, rows[i].trouble);
		cr_assert(first.since_ms >= before && first.since_ms <= bw_wall_ms());
		fault = BW_FAULT_DENIED;
		bw_test_put(s, "k", "1", 1, false);
		again = bw_stats_trouble(&stats);
		expect(again.outcome, rows[i].trouble);
		cr_assert_eq(again.since_ms, first.since_ms);
		cr_assert_not(again.writes_only);
		fault = BW_FAULT_NONE;
		bw_test_put(s, "k", "1", 1, false);
		expect(bw_stats_trouble(&stats).outcome, BW_OK);
	}
	bw_store_free(s);
}

#define AT_MS 1700000000000
#define expect_trouble(s, o, only, at_ms)                           \
	do {                                                        \
		struct bw_trouble is = bw_stats_trouble(s);         \
		cr_expect_eq(is.outcome, o, "%d", (int)is.outcome); \
		cr_expect_eq(is.writes_only, only);                 \
		cr_expect_eq(is.since_ms, at_ms);                   \
	} while (0)

/* A store that answers reads while writes fail says both, for as long as somebody writes. */
Test(stats, writes_may_fail_alone)
{
	struct bw_store_stats stats = {0};
	struct bw_send_stats *s = &stats.send;
	int64_t now = bw_wall_ms();

	bw_stats_note(s, BW_OP_GET, BW_OK, AT_MS);
	bw_stats_note(s, BW_OP_PUT, BW_FULL, AT_MS + 1);
	expect_trouble(&stats, BW_FULL, false, AT_MS + 1);
	bw_stats_note(s, BW_OP_PUT, BW_UNKNOWN, now);
	bw_stats_note(s, BW_OP_LIST, BW_OK, now);
	expect_trouble(&stats, BW_FULL, true, AT_MS + 1);
	bw_stats_note(s, BW_OP_GET, BW_UNREACHABLE, now);
	expect_trouble(&stats, BW_UNREACHABLE, false, now);
	bw_stats_note(s, BW_OP_GET, BW_NOT_FOUND, now);
	expect_trouble(&stats, BW_FULL, true, AT_MS + 1);
	bw_stats_note(s, BW_OP_DELETE, BW_CANCELLED, now);
	expect_trouble(&stats, BW_FULL, true, AT_MS + 1);
	bw_stats_note(s, BW_OP_PUT, BW_EXISTS, now);
	expect(bw_stats_trouble(&stats).outcome, BW_OK);

	/* Nobody has written for a while. */
	bw_stats_note(s, BW_OP_PUT, BW_DENIED, now - BW_STATS_WRITES_MS - 1);
	bw_stats_note(s, BW_OP_GET, BW_OK, now);
	atomic_fetch_sub(&s->write_failed_ns, (BW_STATS_WRITES_MS + 1) * BW_MS);
	expect(bw_stats_trouble(&stats).outcome, BW_OK);
	bw_stats_note(s, BW_OP_DELETE_MANY, BW_DENIED, now);
	expect_trouble(&stats, BW_DENIED, true, now - BW_STATS_WRITES_MS - 1);
}

/* The clock that people see is set back by a day, and forward again: what is told does not depend on it. */
Test(stats, trouble_is_told_whatever_the_wall_clock_says)
{
	static const int64_t shifts[] = {-86400000, 0, 86400000};

	for (size_t i = 0; i < sizeof(shifts) / sizeof(shifts[0]); i++) {
		struct bw_store_stats stats = {0};
		struct bw_send_stats *s = &stats.send;
		int64_t then = bw_wall_ms() + shifts[i], now = bw_wall_ms();

		bw_stats_note(s, BW_OP_GET, BW_OK, then);
		bw_stats_note(s, BW_OP_PUT, BW_FULL, now);
		expect_trouble(&stats, BW_FULL, false, now);
		bw_stats_note(s, BW_OP_PUT, BW_FULL, then);
		bw_stats_note(s, BW_OP_GET, BW_OK, then);
		expect_trouble(&stats, BW_FULL, true, now);
		atomic_fetch_sub(&s->write_failed_ns, (BW_STATS_WRITES_MS + 1) * BW_MS);
		expect(bw_stats_trouble(&stats).outcome, BW_OK);
	}
}

struct attempts {
	struct bw_store_stats stats;
	enum bw_outcome seen[8];	/* before each attempt */
	unsigned n;
};

static enum bw_fault six_times(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	struct attempts *a = plan->ctx;

	(void)op;
	(void)nth;
	cr_assert_lt(a->n, 8);
	a->seen[a->n] = bw_stats_trouble(&a->stats).outcome;
	return a->n++ < 6 ? BW_FAULT_BEFORE : BW_FAULT_NONE;
}

/* A commit is repeated for minutes: that its store is away is known long before it gives up. */
Test(stats, trouble_is_seen_at_the_third_attempt)
{
	struct attempts a = {0};
	struct bw_fault_plan plan = {.decide = six_times, .ctx = &a};
	struct bw_retry_config retry = {
		.base_ns = BW_MS / 10, .max_ns = BW_MS, .tries = 8, .seed = 1, .stats = &a.stats.send};
	struct bw_store *s;

	cr_assert_eq(bw_store_mem_new(&s), 0);
	cr_assert_eq(bw_filter_fault_new(s, &plan, &s), 0);
	cr_assert_eq(bw_filter_retry_new(s, &retry, &s), 0);
	cr_assert_eq(bw_filter_stats_new(s, &a.stats, &s), 0);
	expect(bw_test_put(s, "k", "1", 1, false), BW_OK);
	cr_assert_eq(a.n, 7);
	for (unsigned i = 0; i < a.n; i++)
		expect(a.seen[i], i < BW_STATS_TROUBLE_TRIES ? BW_OK : BW_UNREACHABLE);
	expect(bw_stats_trouble(&a.stats).outcome, BW_OK);
	bw_store_free(s);
}

Test(stats, time_goes_to_its_bucket)
{
	struct bw_store_stats stats = {0};
	struct bw_store *s;

	cr_assert_eq(bw_store_mem_new(&s), 0);
	cr_assert_eq(bw_filter_delay_new(s, 31 * BW_MS, 0, 1, &s), 0);
	cr_assert_eq(bw_filter_stats_new(s, &stats, &s), 0);
	expect(bw_test_put(s, "k", "", 0, true), BW_OK);
	cr_assert_geq(stats.nanoseconds[BW_OP_PUT], 31 * BW_MS);
	/* Above 0.03 seconds; how far above is the machine's business. */
	for (int b = 0; b < 4; b++)
		cr_assert_eq(stats.buckets[BW_OP_PUT][b], 0);
	bw_store_free(s);
}

/* ---- delay ---------------------------------------------------------------------------------- */

Test(delay, no_answer_before_its_time)
{
	struct bw_store *s;

	cr_assert_eq(bw_store_mem_new(&s), 0);
	cr_assert_eq(bw_filter_delay_new(s, 10 * BW_MS, 5 * BW_MS, 1, &s), 0);
	for (int i = 0; i < 3; i++) {
		int64_t before = bw_now();
		expect(bw_test_put(s, "k", "", 0, false), BW_OK);
		cr_assert_geq(bw_now() - before, 10 * BW_MS);
	}
	bw_store_free(s);
}

Test(delay, ends_at_the_deadline, .timeout = 60)
{
	struct bw_bytes_body body;
	struct bw_blob *blob;
	struct bw_store *mem, *s;
	struct bw_op op;

	cr_assert_eq(bw_store_mem_new(&mem), 0);
	cr_assert_eq(bw_filter_delay_new(mem, 3600 * BW_SEC, 0, 1, &s), 0);
	bw_bytes_body_init(&body, "bytes", 5);
	bw_op_put(&op, "k", &body.body, true);
	op.deadline_ns = bw_now() + 20 * BW_MS;
	expect(bw_store_sync(s, &op), BW_CANCELLED);
	expect(bw_test_get(mem, "k", &blob), BW_NOT_FOUND);
	bw_store_free(s);
}

/* ---- fault: what is applied and what is said ------------------------------------------------ */

Test(fault, before_applies_nothing)
{
	static const struct {
		enum bw_fault fault;
		enum bw_outcome outcome;
		int err;
	} cases[] = {{BW_FAULT_BEFORE, BW_UNREACHABLE, 0},
		     {BW_FAULT_THROTTLED, BW_THROTTLED, 0},
		     {BW_FAULT_FULL, BW_FULL, -ENOSPC},
		     {BW_FAULT_DENIED, BW_DENIED, -EACCES}};
	struct scripted t;
	struct bw_blob *blob;
	struct bw_op op;

	setup(&t);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		expect(bw_test_put(t.s, "there", "1", 1, false), BW_OK);
		uint64_t sent = bw_stats_all(&t.stats);
		for (int k = 0; k < 5; k++) {
			struct bw_bytes_body body;
			bw_bytes_body_init(&body, "22", 2);
			switch (k) {
			case 0:
				bw_op_put(&op, "new", &body.body, true);
				break;
			case 1:
				bw_op_put(&op, "there", &body.body, false);
				break;
			case 2:
				bw_op_delete(&op, "there");
				break;
			case 3:
				bw_op_get_all(&op, "there", 1);
				break;
			default:
				bw_op_list(&op, "", "", 1);
			}
			next(&t, cases[i].fault);
			expect(bw_store_sync(t.s, &op), cases[i].outcome);
			cr_assert_eq(op.err, cases[i].err);
			cr_assert_null(op.blob);
			cr_assert_null(op.listing);
		}
		cr_assert_eq(bw_stats_all(&t.stats), sent, "something was sent");
		cr_assert(bw_test_holds(t.s, "there", "1", 1));
		expect(bw_test_get(t.s, "new", &blob), BW_NOT_FOUND);
	}
	bw_store_free(t.s);
}

Test(fault, lost_reply_is_applied)
{
	struct scripted t;
	struct bw_blob *blob;
	struct bw_op op;

	setup(&t);
	next(&t, BW_FAULT_LOST_REPLY);
	expect(bw_test_put(t.s, "k", "1", 1, true), BW_UNKNOWN);
	cr_assert(bw_test_holds(t.s, "k", "1", 1));
	next(&t, BW_FAULT_LOST_REPLY);
	expect(bw_test_put(t.s, "k", "2", 1, true), BW_UNKNOWN);
	cr_assert(bw_test_holds(t.s, "k", "1", 1), "a put that lost is lost");
	next(&t, BW_FAULT_LOST_REPLY);
	expect(bw_test_put(t.s, "k", "3", 1, false), BW_UNKNOWN);
	cr_assert(bw_test_holds(t.s, "k", "3", 1));
	next(&t, BW_FAULT_LOST_REPLY);
	expect(bw_test_get(t.s, "k", &blob), BW_UNREACHABLE);
	next(&t, BW_FAULT_LOST_REPLY);
	bw_op_list(&op, "", "", 1);
	expect(bw_store_sync(t.s, &op), BW_UNREACHABLE);
	cr_assert_null(op.listing);
	next(&t, BW_FAULT_LOST_REPLY);
	expect(bw_test_delete(t.s, "k"), BW_UNKNOWN);
	expect(bw_test_get(t.s, "k", &blob), BW_NOT_FOUND);
	bw_store_free(t.s);
}

Test(fault, duplicate_is_delivered_twice_and_the_first_answer_counts)
{
	struct scripted t;
	char bytes[] = "first";

	setup(&t);
	next(&t, BW_FAULT_DUPLICATE);
	expect(bw_test_put(t.s, "k", bytes, 5, true), BW_OK);
	memset(bytes, 'x', 5);	/* the body was only lent */
	cr_assert(bw_test_holds(t.s, "k", "first", 5));
	cr_assert_eq(t.stats.requests[BW_OP_PUT][BW_OK], 1);
	cr_assert_eq(t.stats.requests[BW_OP_PUT][BW_EXISTS], 1);

	memcpy(bytes, "again", 5);
	next(&t, BW_FAULT_DUPLICATE);
	expect(bw_test_put(t.s, "k", bytes, 5, false), BW_OK);
	memset(bytes, 'x', 5);
	cr_assert(bw_test_holds(t.s, "k", "again", 5));
	cr_assert_eq(t.stats.requests[BW_OP_PUT][BW_OK], 3);

	next(&t, BW_FAULT_DUPLICATE);
	expect(bw_test_delete(t.s, "k"), BW_OK);
	next(&t, BW_FAULT_DUPLICATE);
	struct bw_blob *blob;
	expect(bw_test_get(t.s, "k", &blob), BW_NOT_FOUND);
	cr_assert_eq(t.stats.requests[BW_OP_DELETE][BW_OK], 1);
	bw_store_free(t.s);
	cr_assert_eq(t.stats.requests[BW_OP_DELETE][BW_NOT_FOUND], 1);
	cr_assert_eq(bw_stats_requests(&t.stats, BW_OP_GET), 2 + 2);
}

Test(fault, late_is_unknown_and_applied_afterwards, .timeout = 60)
{
	struct scripted t;
	struct bw_blob *blob;
	char bytes[] = "late";

	setup(&t);
	t.plan.late_ns = 200 * BW_MS;
	int64_t before = bw_now();
	next(&t, BW_FAULT_LATE);
	expect(bw_test_put(t.s, "k", bytes, 4, false), BW_UNKNOWN);
	memset(bytes, 'x', 4);
	enum bw_outcome o = bw_test_get(t.s, "k", &blob);
	cr_assert(o == BW_NOT_FOUND || bw_now() - before >= 200 * BW_MS);
	while (!bw_test_holds(t.s, "k", "late", 4))
		bw_sleep(BW_MS);
	cr_assert_geq(bw_now() - before, 200 * BW_MS);
	if (o == BW_OK)
		bw_blob_unref(blob);
	next(&t, BW_FAULT_LATE);
	expect(bw_test_get(t.s, "k", &blob), BW_UNREACHABLE);
	bw_store_free(t.s);
}

Test(fault, late_lands_on_what_came_meanwhile)
{
	struct bw_store *mem;
	struct scripted t = {.plan = {.decide = decide, .ctx = &t, .late_ns = 3600 * BW_SEC}};
	char dir[BW_TMPDIR_MAX];

	bw_test_tmpdir(dir);
	cr_assert_eq(bw_store_file_new(dir, false, 1, &t.s), 0);
	cr_assert_eq(bw_filter_fault_new(t.s, &t.plan, &t.s), 0);
	next(&t, BW_FAULT_LATE);
	expect(bw_test_put(t.s, "k", "old", 3, false), BW_UNKNOWN);
	next(&t, BW_FAULT_LATE);
	expect(bw_test_put(t.s, "k", "older", 5, true), BW_UNKNOWN);
	expect(bw_test_put(t.s, "k", "new", 3, false), BW_OK);
	expect(bw_test_put(t.s, "gone", "1", 1, true), BW_OK);
	next(&t, BW_FAULT_LATE);
	expect(bw_test_delete(t.s, "gone"), BW_UNKNOWN);
	cr_assert(bw_test_holds(t.s, "k", "new", 3));
	bw_store_free(t.s);	/* does not wait for the hour */
	cr_assert_eq(bw_store_file_new(dir, false, 1, &mem), 0);
	cr_assert(bw_test_holds(mem, "k", "old", 3));
	cr_assert_not(bw_test_holds(mem, "gone", "1", 1));
	bw_store_free(mem);
	bw_test_rmtree(dir);
}

Test(fault, short_and_flipped_answers_leave_the_object_alone)
{
	struct scripted t;
	struct bw_blob *blob;
	unsigned bits = 0;

	setup(&t);
	expect(bw_test_put(t.s, "k", "0123456789", 10, true), BW_OK);
	next(&t, BW_FAULT_SHORT);
	expect(bw_test_get(t.s, "k", &blob), BW_CORRUPT);
	next(&t, BW_FAULT_FLIP);
	expect(bw_test_get(t.s, "k", &blob), BW_OK);
	cr_assert_eq(blob->len, 10);
	for (int i = 0; i < 10; i++)
		bits += (unsigned)__builtin_popcount(blob->bytes[i] ^ (uint8_t)"0123456789"[i]);
	cr_assert_eq(bits, 1);
	bw_blob_unref(blob);
	cr_assert(bw_test_holds(t.s, "k", "0123456789", 10));

	/* Other kinds know nothing of them. */
	next(&t, BW_FAULT_SHORT);
	expect(bw_test_put(t.s, "k", "x", 1, false), BW_OK);
	next(&t, BW_FAULT_FLIP);
	expect(bw_test_put(t.s, "k", "", 0, false), BW_OK);
	next(&t, BW_FAULT_FLIP);
	expect(bw_test_get(t.s, "k", &blob), BW_OK);
	bw_blob_unref(blob);
	next(&t, BW_FAULT_SHORT);
	expect(bw_test_get(t.s, "other", &blob), BW_NOT_FOUND);
	bw_store_free(t.s);
}

static int fail_body(struct bw_body *body, uint64_t off, void *buf, size_t len)
{
	(void)body, (void)off, (void)buf, (void)len;
	return -ENODEV;
}

Test(fault, a_body_that_cannot_be_copied_is_not_sent)
{
	struct bw_body body = {.size = 5, .read = fail_body};
	struct scripted t;
	struct bw_op op;

	setup(&t);
	for (int i = 0; i < 2; i++) {
		bw_op_put(&op, "k", &body, true);
		next(&t, i ? BW_FAULT_LATE : BW_FAULT_DUPLICATE);
		expect(bw_store_sync(t.s, &op), BW_UNREACHABLE);
		cr_assert_eq(op.err, -ENODEV);
	}
	cr_assert_eq(bw_stats_all(&t.stats), 0);
	bw_store_free(t.s);
}

/* Sends itself again from done(), some times, while the store is being freed. */
struct again {
	struct bw_op op;
	struct bw_store *s;
	unsigned left;
};

static void send_again(struct bw_op *op)
{
	struct again *a = op->ctx;

	if (a->left) {
		a->left--;
		bw_store_submit(a->s, op);
	}
}

/* So that answers come from below and from the filter itself in turn. */
static enum bw_fault mixed(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	static const enum bw_fault faults[] = {BW_FAULT_NONE, BW_FAULT_BEFORE, BW_FAULT_LATE};

	(void)plan, (void)op;
	return faults[nth % 3];
}

Test(fault, free_waits_for_forged_answers_too)
{
	struct bw_fault_plan plan = {.decide = mixed, .late_ns = 3600 * BW_SEC};
	struct again a = {.left = 200};

	cr_assert_eq(bw_store_mem_new(&a.s), 0);
	cr_assert_eq(bw_filter_fault_new(a.s, &plan, &a.s), 0);
	bw_op_delete(&a.op, "k");
	a.op.done = send_again;
	a.op.ctx = &a;
	bw_store_submit(a.s, &a.op);
	bw_store_free(a.s);
	cr_assert_eq(a.left, 0);
}

/* ---- mem ------------------------------------------------------------------------------------ */

struct held_body {
	struct bw_body body;
	atomic_bool reading, go;
};

static int read_held(struct bw_body *body, uint64_t off, void *buf, size_t len)
{
	struct held_body *h = (struct held_body *)body;

	(void)off;
	atomic_store(&h->reading, true);
	while (!atomic_load(&h->go))
		bw_sleep(BW_MS / 10);
	memset(buf, 'h', len);
	return 0;
}

static void count_done(struct bw_op *op)
{
	atomic_fetch_add((atomic_uint *)op->ctx, 1);
}

/* The one thread is held, so what follows is still waiting when it is cancelled. */
Test(mem, a_request_that_waits_can_be_cancelled, .timeout = 60)
{
	struct held_body held = {.body = {.size = 4, .read = read_held}};
	struct bw_bytes_body body;
	struct bw_op first, second, third;
	struct bw_blob *blob;
	struct bw_store *s;
	atomic_uint done = 0;

	cr_assert_eq(bw_store_mem_new(&s), 0);
	bw_op_put(&first, "first", &held.body, true);
	bw_bytes_body_init(&body, "bytes", 5);
	bw_op_put(&second, "second", &body.body, true);
	bw_op_put(&third, "third", &body.body, true);
	third.deadline_ns = bw_now() + BW_MS;
	first.done = second.done = third.done = count_done;
	first.ctx = second.ctx = third.ctx = &done;
	bw_store_submit(s, &first);
	while (!atomic_load(&held.reading))
		bw_sleep(BW_MS / 10);
	bw_store_submit(s, &second);
	bw_store_submit(s, &third);
	bw_store_cancel(s, &second);
	bw_store_cancel(s, &first);
	cr_assert_eq(atomic_load(&done), 0, "done() ran inside cancel");
	bw_sleep(2 * BW_MS);
	atomic_store(&held.go, true);
	while (atomic_load(&done) < 3)
		bw_sleep(BW_MS / 10);
	expect(first.outcome, BW_OK);
	expect(second.outcome, BW_CANCELLED);
	expect(third.outcome, BW_CANCELLED);
	expect(bw_test_get(s, "second", &blob), BW_NOT_FOUND);
	expect(bw_test_get(s, "third", &blob), BW_NOT_FOUND);
	bw_store_free(s);
}
