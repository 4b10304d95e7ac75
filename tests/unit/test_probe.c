/* SPDX-License-Identifier: Apache-2.0 */
/* Stores that break one rule each, and what the probe says of them (I14). */
#include "manifest/open.h"
#include "tests/support/history.h"
#include "tests/support/stores.h"
#include "tests/unit/liars.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGE (UINT64_C(8) << 20)

static struct bw_store *mem, *store;
static struct bw_test_tap *tap;
static struct bw_fault_plan plan;
static struct bw_probe_config config;
static struct bw_probe_result result;
static char why[200];

static enum bw_fault no_fault(struct bw_fault_plan *p, const struct bw_op *op, uint64_t nth)
{
	(void)p;
	(void)op;
	(void)nth;
	return BW_FAULT_NONE;
}

static void start(void)
{
	cr_assert_eq(bw_store_mem_new(&mem), 0);
	tap = bw_test_tap_new(mem);
	plan = (struct bw_fault_plan){.decide = no_fault};
	cr_assert_eq(bw_filter_fault_new(&tap->store, &plan, &store), 0);
	config = (struct bw_probe_config){.large = LARGE};
	result = (struct bw_probe_result){.large_unconditional = false};
	why[0] = 0;
}

static void end(void)
{
	bw_store_free(store);
}

TestSuite(probe, .init = start, .fini = end);

static int probe(void)
{
	int err = bw_stream_probe(store, &config, BW_NEVER, &result, why, sizeof(why));

	tap->on_submit = NULL;
	return err;
}

static size_t count_keys(void)
{
	struct bw_op op;

	bw_op_list(&op, "", "", BW_LIST_PAGE_MAX);
	cr_assert_eq(bw_store_sync(mem, &op), BW_OK);
	size_t n = op.listing->n;

	bw_op_done(&op);
	return n;
}

static void count_step(void *ctx)
{
	++*(unsigned *)ctx;
}

static bool is(const struct bw_op *op, enum bw_op_kind kind, const char *name)
{
	return op->kind == kind && strstr(op->key, name);
}

/* ---- Good ones ---------------------------------------------------------------------------------- */

Test(probe, a_good_store_is_left_as_it_was)
{
	unsigned steps = 0;

	config.step = count_step;
	config.ctx = &steps;
	cr_assert_eq(probe(), 0, "%s", why);
	cr_assert_not(result.large_unconditional);
	cr_assert_eq(steps, BW_PROBE_STEPS);
	cr_assert_eq(count_keys(), 0);
}

Test(probe, a_directory_is_a_good_store)
{
	char dir[BW_TMPDIR_MAX];
	struct bw_store *file;

	bw_test_tmpdir(dir);
	cr_assert_eq(bw_store_file_new(dir, true, 4, &file), 0);
	cr_assert_eq(bw_stream_probe(file, &config, BW_NEVER, &result, why, sizeof(why)), 0, "%s", why);
	bw_store_free(file);
	bw_test_rmtree(dir);
}

Test(probe, without_parts_no_large_object_is_written)
{
	config.large = 0;
	cr_assert_eq(probe(), 0, "%s", why);
	/* One, a second one through the only way, four listed, four races. */
	cr_assert_eq(atomic_load(&tap->puts), 1 + 1 + 4 + 4 * 16);
}

Test(probe, good_ways_are_all_used)
{
	struct bw_test_tap *ways[2];
	struct bw_store *list[2];

	for (int i = 0; i < 2; i++) {
		ways[i] = bw_test_tap_new(bw_test_way_new(mem));
		list[i] = &ways[i]->store;
	}
	config.ways = list;
	config.ways_n = 2;
	cr_assert_eq(probe(), 0, "%s", why);
	for (int i = 0; i < 2; i++) {
		cr_assert_geq(atomic_load(&ways[i]->puts), 1 + 4 * 5);
		cr_assert_geq(atomic_load(&ways[i]->gets), 1 + 4);
		bw_store_free(list[i]);
	}
}

/* ---- Those that break a rule -------------------------------------------------------------------- */

/* The put is carried out, and then refused. */
static void apply_first(struct bw_test_tap *t, const struct bw_op *like)
{
	struct bw_op op;

	bw_op_put(&op, like->key, like->body, false);
	cr_assert_eq(bw_store_sync(t->store.next, &op), BW_OK);
	bw_op_done(&op);
}

static bool ignore_condition_in_a_race(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (is(op, BW_OP_PUT, "/race-3"))
		op->if_absent = false;
	return false;
}

static bool refuse_what_it_does(struct bw_test_tap *t, struct bw_op *op)
{
	if (is(op, BW_OP_PUT, "/a"))
		apply_first(t, op);
	return false;
}

static bool refuse_what_it_does_in_a_race(struct bw_test_tap *t, struct bw_op *op)
{
	if (is(op, BW_OP_PUT, "/race-0"))
		apply_first(t, op);
	return false;
}

static bool refuse_what_is_free(struct bw_test_tap *t, struct bw_op *op)
{
	struct bw_bytes_body other;
	struct bw_op put;

	if (!is(op, BW_OP_PUT, "/a"))
		return false;
	bw_bytes_body_init(&other, "x", 1);
	bw_op_put(&put, op->key, &other.body, false);
	cr_assert_eq(bw_store_sync(t->store.next, &put), BW_OK);
	bw_op_done(&put);
	return false;
}

static bool list_too_little(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (op->kind == BW_OP_LIST)
		op->max = 1;
	return false;
}

static void (*told)(struct bw_op *op);
static bool is_more;

/* Of each page that holds something. */
static void tell_of_more(struct bw_op *op)
{
	if (op->outcome == BW_OK && op->listing->n)
		op->listing->more = is_more;
	op->done = told;
	told(op);
}

static bool say_more(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (op->kind != BW_OP_LIST)
		return false;
	told = op->done;
	op->done = tell_of_more;
	return false;
}

static bool lose_a_race(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (is(op, BW_OP_GET, "/race-2"))
		snprintf(op->key, sizeof(op->key), "elsewhere");
	return false;
}

static bool lose_deletes(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (op->kind == BW_OP_DELETE)
		snprintf(op->key, sizeof(op->key), "elsewhere");
	return false;
}

static bool list_what_was_deleted(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (is(op, BW_OP_LIST, "/a"))
		op->key[strlen(op->key) - 1] = 0;
	return false;
}

static bool replace_large(struct bw_test_tap *t, struct bw_op *op)
{
	if (is(op, BW_OP_PUT, "/large"))
		apply_first(t, op);
	return false;
}

Test(probe, I14_each_broken_rule_is_named)
{
	struct {
		bool (*lie)(struct bw_test_tap *, struct bw_op *);
		const char *rule;
		bool clean;
	} liars[] = {
		{ignore_condition, "a second put-if-absent of one name succeeds", true},
		{ignore_condition_in_a_race, "of many put-if-absent of one name more than one succeeds", true},
		{refuse_what_it_does, "a put-if-absent replaces what is there", true},
		{refuse_what_it_does_in_a_race, "a put-if-absent that it refused was carried out", true},
		{refuse_what_is_free, "a put-if-absent of a free name is refused", true},
		{ignore_range, "a read of a range brings other bytes", true},
		{ignore_after, "a listing is not in the order of its keys", true},
		{list_too_little, "a listing does not show what was just written", true},
		{lose_a_race, "what was written cannot be read at once", true},
		{lose_puts, "a second put-if-absent of one name succeeds", false},
		{lose_deletes, "what was deleted can still be read", false},
		{say_more, "a page of a listing does not say whether there is more", true},
		{list_what_was_deleted, "a listing shows what was deleted", true},
	};

	for (size_t i = 0; i < sizeof(liars) / sizeof(liars[0]); i++) {
		char expected[200];

		end();
		start();
		tap->on_submit = liars[i].lie;
		cr_assert_eq(probe(), -EOPNOTSUPP, "%s: %s", liars[i].rule, why);
		snprintf(expected, sizeof(expected), "this store cannot hold a stream: %s", liars[i].rule);
		cr_assert_str_eq(why, expected);
		if (liars[i].clean)
			cr_assert_eq(count_keys(), 0, "%s", liars[i].rule);
	}
}

/* S3 lets a page that ends with the last key say that there is more, and an empty one follow it. */
Test(probe, an_empty_last_page_is_put_up_with)
{
	tap->on_submit = say_more;
	is_more = true;
	cr_assert_eq(probe(), 0, "%s", why);
}

/* ---- Addresses that do not know of each other ---------------------------------------------------- */

static struct bw_store *other;	/* where a way leads that does not lead to the store */

static bool read_elsewhere(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (op->kind != BW_OP_GET)
		return false;
	bw_store_submit(other, op);
	return true;
}

static bool race_elsewhere(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (!is(op, BW_OP_PUT, "/race"))
		return false;
	bw_store_submit(other, op);
	return true;
}

static bool write_elsewhere(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (op->kind != BW_OP_PUT)
		return false;
	bw_store_submit(other, op);
	return true;
}

Test(probe, I14_each_address_must_lead_to_the_same_store)
{
	struct {
		bool (*lie)(struct bw_test_tap *, struct bw_op *);
		const char *rule;
	} liars[] = {
		{write_elsewhere, "a second put-if-absent of one name succeeds"},
		{read_elsewhere, "what was written cannot be read at once"},
		{race_elsewhere, "of many put-if-absent of one name more than one succeeds"},
	};

	for (size_t i = 0; i < sizeof(liars) / sizeof(liars[0]); i++) {
		end();
		start();
		cr_assert_eq(bw_store_mem_new(&other), 0);
		struct bw_test_tap *way = bw_test_tap_new(bw_test_way_new(mem));
		struct bw_store *ways[] = {&way->store};

		way->on_submit = liars[i].lie;
		config.ways = ways;
		config.ways_n = 1;
		cr_assert_eq(probe(), -EOPNOTSUPP, "%s: %s", liars[i].rule, why);
		cr_assert(strstr(why, liars[i].rule), "%s", why);
		cr_assert_eq(count_keys(), 0);
		bw_store_free(&way->store);
		bw_store_free(other);
	}
}

/* ---- Large objects ------------------------------------------------------------------------------ */

static bool ignore_condition_of_large(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (is(op, BW_OP_PUT, "/large"))
		op->if_absent = false;
	return false;
}

static enum bw_fault refuse_condition_of_large(struct bw_fault_plan *p, const struct bw_op *op, uint64_t nth)
{
	(void)p;
	(void)nth;
	return is(op, BW_OP_PUT, "/large") && op->if_absent ? BW_FAULT_DENIED : BW_FAULT_NONE;
}

static enum bw_fault refuse_large(struct bw_fault_plan *p, const struct bw_op *op, uint64_t nth)
{
	(void)p;
	(void)nth;
	return is(op, BW_OP_PUT, "/large") ? BW_FAULT_DENIED : BW_FAULT_NONE;
}

static enum bw_fault change_large(struct bw_fault_plan *p, const struct bw_op *op, uint64_t nth)
{
	(void)p;
	(void)nth;
	return is(op, BW_OP_GET, "/large") && op->offset > 0 ? BW_FAULT_FLIP : BW_FAULT_NONE;
}

Test(probe, a_condition_of_large_objects_that_is_ignored_is_noted)
{
	tap->on_submit = ignore_condition_of_large;
	cr_assert_eq(probe(), 0, "%s", why);
	cr_assert(result.large_unconditional);
	cr_assert_eq(count_keys(), 0);
}

Test(probe, a_condition_of_large_objects_that_is_refused_is_noted)
{
	plan.decide = refuse_condition_of_large;
	cr_assert_eq(probe(), 0, "%s", why);
	cr_assert(result.large_unconditional);
	cr_assert_eq(count_keys(), 0);
}

static enum bw_fault lose_a_large(struct bw_fault_plan *p, const struct bw_op *op, uint64_t nth)
{
	unsigned *left = p->ctx;

	(void)nth;
	return is(op, BW_OP_PUT, "/large") && !(*left)-- ? BW_FAULT_LOST_REPLY : BW_FAULT_NONE;
}

/* S3: what is kept for the life of a stream does not hang on one reply. */
Test(probe, a_lost_reply_says_nothing_of_the_condition)
{
	for (unsigned lost = 0; lost < 2; lost++) {
		unsigned left = lost;

		plan.decide = lose_a_large;
		plan.ctx = &left;
		cr_assert_eq(probe(), 0, "%s", why);
		cr_assert_not(result.large_unconditional, "put %u", lost);
	}
}

Test(probe, large_objects_must_be_possible_and_whole)
{
	plan.decide = refuse_large;
	cr_assert_eq(probe(), -BW_E_DENIED);
	cr_assert(strstr(why, "cannot write a large object to the store"), "%s", why);
	plan.decide = change_large;
	cr_assert_eq(probe(), -EOPNOTSUPP);
	cr_assert(strstr(why, "a large object does not hold what was written"), "%s", why);
	plan.decide = no_fault;
	tap->on_submit = replace_large;
	cr_assert_eq(probe(), 0, "%s", why);
	cr_assert(result.large_unconditional, "refused, though nothing was there");
	cr_assert_eq(count_keys(), 0);
}

static bool replace_second_large(struct bw_test_tap *t, struct bw_op *op)
{
	if (is(op, BW_OP_PUT, "/large") && atomic_fetch_add((atomic_uint *)t->ctx, 1) == 1)
		apply_first(t, op);
	return false;
}

Test(probe, a_refused_large_object_must_not_replace_the_first)
{
	atomic_uint seen = 0;

	tap->ctx = &seen;
	tap->on_submit = replace_second_large;
	cr_assert_eq(probe(), -EOPNOTSUPP);
	cr_assert(strstr(why, "a put-if-absent of a large object replaces what is there"), "%s", why);
}

Test(probe, what_was_found_is_written_down)
{
	struct bw_stream_options options;
	struct bw_stream s, opened;
	struct bw_root *root;
	bool existed;

	bw_stream_options_default(&options);
	options.ranks = 1;
	tap->on_submit = ignore_condition_of_large;
	cr_assert_eq(bw_stream_create_probed(store, &config, &options, BW_NEVER, &s, &existed, why,
					     sizeof(why)), 0, "%s", why);
	cr_assert(s.large_unconditional);
	cr_assert_eq(bw_stream_open(store, BW_NEVER, &opened, &root, why, sizeof(why)), 0);
	cr_assert(opened.large_unconditional);
	bw_root_unref(root);
}

/* ---- What keeps it from asking is no broken rule ------------------------------------------------- */

static enum bw_fault fail_some(struct bw_fault_plan *p, const struct bw_op *op, uint64_t nth)
{
	const uint64_t *from = p->ctx;

	/* At the end it cleans up. */
	return nth >= *from && op->kind != BW_OP_DELETE ? BW_FAULT_DENIED : BW_FAULT_NONE;
}

Test(probe, a_store_that_fails_on_the_way_is_not_accused)
{
	uint64_t from;

	plan.decide = fail_some;
	plan.ctx = &from;
	for (from = 0; from < 200; from += from < 12 ? 1 : 7) {
		int err;

		end();
		start();
		plan.decide = fail_some;
		plan.ctx = &from;
		err = probe();
		if (!err)
			break;
		cr_assert(err == -BW_E_DENIED, "from %lu: %s", (unsigned long)from, why);
		cr_assert_str_not_empty(why);
		cr_assert_eq(count_keys(), 0, "from %lu", (unsigned long)from);
	}
	cr_assert_gt(from, 80, "the number of its requests");
	cr_assert_lt(from, 200);
}
