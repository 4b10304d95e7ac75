/* SPDX-License-Identifier: Apache-2.0 */
/* A delete of many through the filters: each item says what became of it, and only open ones are repeated. */
#include "store/layer.h"
#include "tests/support/stores.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS 5
#define ATTEMPTS 4

/* A store that ends the items of each attempt as the script has it. */
struct scripted {
	struct bw_store store;
	struct bw_workq *q;
	enum bw_outcome script[ATTEMPTS][ITEMS];	/* by number of the key */
	unsigned attempts;
	char asked[ATTEMPTS][ITEMS + 1];	/* the keys of each attempt */
};

static void run(struct bw_task *task)
{
	struct bw_op *op = bw_op_of(task);
	struct scripted *s = (struct scripted *)op->at;
	unsigned nth = s->attempts++;

	cr_assert_lt(nth, ATTEMPTS);
	if (bw_now() >= op->deadline_ns) {
		bw_op_fail(op, BW_CANCELLED, 0);
		op->done(op);
		return;
	}
	for (size_t i = 0; i < op->items_n; i++) {
		char key = op->items[i].key[0];
		s->asked[nth][i] = key;
		op->items[i].outcome = s->script[nth][key - 'a'];
	}
	op->outcome = bw_delete_worst(op->items, op->items_n);
	op->done(op);
}

static void submit(struct bw_store *store, struct bw_op *op)
{
	bw_op_queue(op, ((struct scripted *)store)->q, run, 0);
}

static void scripted_free(struct bw_store *store)
{
	struct scripted *s = (struct scripted *)store;

	bw_workq_free(s->q);
}

static const char *const keys[ITEMS] = {"a", "b", "c", "d", "e"};

static void items_init(struct bw_delete_item items[ITEMS])
{
	for (int i = 0; i < ITEMS; i++)
		items[i] = (struct bw_delete_item){.key = keys[i], .outcome = BW_CORRUPT};
}

static struct bw_store *over(struct scripted *s)
{
	static const struct bw_store_ops ops = {
		.name = "scripted", .submit = submit, .free = scripted_free};
	const struct bw_retry_config config = {
		.base_ns = BW_MS / 10, .max_ns = BW_MS, .tries = ATTEMPTS, .seed = 1};
	struct bw_store *top;

	s->store = (struct bw_store){.ops = &ops};
	cr_assert_eq(bw_workq_new("scripted", 1, &s->q), 0);
	cr_assert_eq(bw_filter_retry_new(&s->store, &config, &top), 0);
	return top;
}

static void assert_items(const struct bw_delete_item *items, const enum bw_outcome *wanted)
{
	for (int i = 0; i < ITEMS; i++)
		cr_assert_eq(items[i].outcome, wanted[i], "%s: %s, not %s", items[i].key,
			     bw_outcome_name(items[i].outcome), bw_outcome_name(wanted[i]));
}

#define OK BW_OK
#define SLOW BW_THROTTLED
#define AWAY BW_UNREACHABLE
#define LOST BW_UNKNOWN
#define NO BW_DENIED
#define LATE BW_CANCELLED

Test(delete_many, only_open_items_are_repeated)
{
	struct scripted s = {.script = {{OK, SLOW, NO, AWAY, LOST}, {NO, OK, NO, AWAY, OK}, {OK, OK, OK, OK, OK}}};
	struct bw_store *top = over(&s);
	struct bw_delete_item items[ITEMS];
	struct bw_op op;

	items_init(items);
	bw_op_delete_many(&op, items, ITEMS);
	cr_assert_eq(bw_store_sync(top, &op), BW_DENIED);
	cr_assert_eq(s.attempts, 3);
	cr_assert_str_eq(s.asked[0], "abcde");
	cr_assert_str_eq(s.asked[1], "bde");
	cr_assert_str_eq(s.asked[2], "d");
	assert_items(items, (enum bw_outcome[]){OK, OK, NO, OK, OK});
	bw_store_free(top);
}

Test(delete_many, all_of_them_in_the_end_is_ok)
{
	struct scripted s = {.script = {{LOST, LOST, LOST, LOST, LOST}, {OK, OK, OK, OK, OK}}};
	struct bw_store *top = over(&s);
	struct bw_delete_item items[ITEMS];
	struct bw_op op;

	items_init(items);
	bw_op_delete_many(&op, items, ITEMS);
	cr_assert_eq(bw_store_sync(top, &op), BW_OK);
	cr_assert_eq(s.attempts, 2);
	assert_items(items, (enum bw_outcome[]){OK, OK, OK, OK, OK});
	bw_store_free(top);
}

/* S3: an attempt that did nothing proves it of itself only. */
Test(delete_many, S3_doubt_stays_with_its_item)
{
	struct scripted s = {.script = {{LOST, LOST, OK, SLOW, OK},
					{NO, SLOW, OK, SLOW, OK},
					{OK, SLOW, OK, AWAY, OK},
					{OK, AWAY, OK, SLOW, OK}}};
	struct bw_store *top = over(&s);
	struct bw_delete_item items[ITEMS];
	struct bw_op op;

	items_init(items);
	bw_op_delete_many(&op, items, ITEMS);
	cr_assert_eq(bw_store_sync(top, &op), BW_UNKNOWN);
	cr_assert_eq(s.attempts, ATTEMPTS);
	cr_assert_str_eq(s.asked[1], "abd");
	cr_assert_str_eq(s.asked[2], "abd", "a refusal does not end the doubt");
	assert_items(items, (enum bw_outcome[]){OK, LOST, OK, SLOW, OK});
	bw_store_free(top);
}

/* What an item was told before its time was over stands; one that was told nothing is cancelled. */
Test(delete_many, S3_an_attempt_without_time_takes_no_answer_back)
{
	for (int first = 0; first < 2; first++) {
		struct scripted s = {.script = {{OK, SLOW, LOST, AWAY, OK}, {LATE, LATE, LATE, LATE, LATE}}};
		struct bw_store *top = over(&s);
		struct bw_delete_item items[ITEMS];
		struct bw_op op;

		if (first)
			memcpy(s.script[0], s.script[1], sizeof(s.script[0]));
		items_init(items);
		bw_op_delete_many(&op, items, ITEMS);
		cr_assert_eq(bw_store_sync(top, &op), first ? LATE : LOST);
		cr_assert_eq(s.attempts, first ? 1 : 2);
		assert_items(items, first ? (enum bw_outcome[]){LATE, LATE, LATE, LATE, LATE}
					  : (enum bw_outcome[]){OK, SLOW, LOST, AWAY, OK});
		bw_store_free(top);
	}
}

Test(delete_many, past_its_deadline_all_are_cancelled)
{
	struct scripted s = {.attempts = 0};
	struct bw_store *top = over(&s);
	struct bw_delete_item items[ITEMS];
	struct bw_op op;

	items_init(items);
	bw_op_delete_many(&op, items, ITEMS);
	op.deadline_ns = bw_now() - 1;
	cr_assert_eq(bw_store_sync(top, &op), BW_CANCELLED);
	assert_items(items, (enum bw_outcome[]){BW_CANCELLED, BW_CANCELLED, BW_CANCELLED, BW_CANCELLED,
						BW_CANCELLED});
	bw_store_free(top);
}

/* ---- Faults --------------------------------------------------------------------------------- */

static enum bw_fault always(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	(void)nth;
	return op->kind == BW_OP_DELETE_MANY ? *(enum bw_fault *)plan->ctx : BW_FAULT_NONE;
}

static const struct {
	enum bw_fault fault;
	enum bw_outcome outcome;
	bool applied;
} faults[] = {
	{BW_FAULT_NONE, OK, true},
	{BW_FAULT_BEFORE, AWAY, false},
	{BW_FAULT_LOST_REPLY, LOST, true},
	{BW_FAULT_DUPLICATE, OK, true},
	{BW_FAULT_LATE, AWAY, false},
	{BW_FAULT_THROTTLED, SLOW, false},
	{BW_FAULT_FULL, BW_FULL, false},
	{BW_FAULT_DENIED, NO, false},
	{BW_FAULT_SHORT, OK, true},
	{BW_FAULT_FLIP, OK, true},
};

/* No fault leaves anything behind that writes to the items: they are the caller's again, here freed. */
Test(delete_many, faults_are_those_of_every_item)
{
	for (size_t n = 0; n < sizeof(faults) / sizeof(faults[0]); n++) {
		enum bw_fault fault = faults[n].fault;
		struct bw_fault_plan plan = {.decide = always, .late_ns = BW_MS, .ctx = &fault};
		struct bw_delete_item *items = malloc(ITEMS * sizeof(*items));
		struct bw_store *s;
		struct bw_blob *blob;
		struct bw_op op;

		cr_assert_eq(bw_store_mem_new(&s), 0);
		cr_assert_eq(bw_filter_fault_new(s, &plan, &s), 0);
		cr_assert_eq(bw_test_put(s, "c", "x", 1, true), BW_OK);
		items_init(items);
		bw_op_delete_many(&op, items, ITEMS);
		cr_assert_eq(bw_store_sync(s, &op), faults[n].outcome, "row %zu", n);
		for (int i = 0; i < ITEMS; i++)
			cr_assert_eq(items[i].outcome, faults[n].outcome, "row %zu", n);
		free(items);
		bw_sleep(2 * BW_MS);
		enum bw_outcome o = bw_test_get(s, "c", &blob);
		cr_assert_eq(o, faults[n].applied ? BW_NOT_FOUND : BW_OK, "row %zu", n);
		if (o == BW_OK)
			bw_blob_unref(blob);
		bw_store_free(s);
	}
}
