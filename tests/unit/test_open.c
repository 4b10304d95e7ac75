/* SPDX-License-Identifier: Apache-2.0 */
/* Creating, probing and opening streams; what a cold open costs (I12, I14). */
#include "manifest/destroy.h"
#include "manifest/open.h"
#include "manifest/open_search.h"
#include "store/base/rand.h"
#include "tests/support/history.h"
#include "tests/support/stores.h"
#include "tests/unit/liars.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct bw_store *store;
static struct bw_test_tap *tap;
static struct bw_stream_options options;
static char why[200];

static void start(void)
{
	struct bw_store *mem;

	cr_assert_eq(bw_store_mem_new(&mem), 0);
	tap = bw_test_tap_new(mem);
	store = &tap->store;
	bw_stream_options_default(&options);
	options.ranks = 4;
	why[0] = 0;
}

static void end(void)
{
	bw_store_free(store);
}

TestSuite(open, .init = start, .fini = end);

static int create(struct bw_stream *ret, bool *ret_existed)
{
	return bw_stream_create(store, &options, BW_NEVER, ret, ret_existed, why, sizeof(why));
}

static int open_(struct bw_stream *ret, struct bw_root **ret_root)
{
	return bw_stream_open(store, BW_NEVER, ret, ret_root, why, sizeof(why));
}

static size_t count_keys(void)
{
	struct bw_op op;

	bw_op_list(&op, "", "", BW_LIST_PAGE_MAX);
	cr_assert_eq(bw_store_sync(store, &op), BW_OK);
	size_t n = op.listing->n;

	bw_op_done(&op);
	return n;
}

Test(open, create_then_open)
{
	struct bw_stream s, o;
	struct bw_root *r;
	bool existed = true;

	cr_assert_eq(create(&s, &existed), 0, "%s", why);
	cr_assert_not(existed);
	cr_assert_eq(count_keys(), 2, "the probe leaves nothing behind");
	cr_assert_eq(open_(&o, &r), 0, "%s", why);
	cr_assert_arr_eq(o.id, s.id, sizeof(s.id));
	cr_assert_eq(o.options.ranks, 4);
	cr_assert_eq(r->version, 1);
	cr_assert_eq(r->head, 0);
	bw_root_unref(r);
}

Test(open, no_stream)
{
	struct bw_stream s;
	struct bw_root *r;

	cr_assert_eq(open_(&s, &r), -BW_E_NO_STREAM);
	cr_assert(strlen(why) > 0);
}

Test(open, equal_options_exist_and_others_are_refused)
{
	struct bw_stream s, again;
	bool existed;

	cr_assert_eq(create(&s, &existed), 0);
	cr_assert_eq(create(&again, &existed), 0);
	cr_assert(existed);
	cr_assert_arr_eq(again.id, s.id, sizeof(s.id));
	options.margin = 7;
	options.grace_s = 1;
	cr_assert_eq(create(&again, &existed), -EEXIST);
	cr_assert_str_eq(why, "a stream exists here with margin 0, not 7; a stream keeps its options: take them as they are, or another URL");
	options.margin = 0;
	options.grace_s = s.options.grace_s;
	options.compress = BW_COMPRESS_ZSTD;
	options.compress_level = 3;
	cr_assert_eq(create(&again, &existed), -EEXIST);
	cr_assert_str_eq(why, "a stream exists here with compress none, not zstd:3; a stream keeps its options: take them as they are, or another URL");
}

Test(open, ranks_have_bounds)
{
	uint32_t bad[] = {0, BW_RANKS_MAX + 1};
	struct bw_stream s;
	bool existed;

	for (int i = 0; i < 2; i++) {
		options.ranks = bad[i];
		cr_assert_eq(create(&s, &existed), -EINVAL);
		cr_assert(strstr(why, "ranks must be between 1 and 65536"));
	}
	cr_assert_eq(count_keys(), 0);
}

Test(open, a_prefix_with_other_objects_is_refused)
{
	struct bw_stream s;
	bool existed;

	cr_assert_eq(bw_test_put(store, "probe-0123456789abcdef/a", "left by a probe", 15, true), BW_OK);
	cr_assert_eq(bw_test_put(store, "photos/cat.jpg", "x", 1, true), BW_OK);
	cr_assert_eq(create(&s, &existed), -BW_E_FOREIGN);
	cr_assert(strstr(why, "photos/cat.jpg"), "%s", why);
	cr_assert_eq(count_keys(), 2);
	bw_test_delete(store, "photos/cat.jpg");
	cr_assert_eq(create(&s, &existed), 0, "%s", why);
}

/* Died between stream.json and root 1: whoever comes next finishes. */
Test(open, a_torn_creation_is_finished)
{
	struct bw_stream s, o;
	struct bw_root *r;
	char key[BW_KEY_MAX + 1];
	bool existed;

	for (int i = 0; i < 2; i++) {
		cr_assert_eq(create(&s, &existed), 0);
		bw_key_root(&s, 1, key);
		cr_assert_eq(bw_test_delete(store, key), BW_OK);
		if (i) {
			cr_assert_eq(create(&o, &existed), 0, "%s", why);
			cr_assert(existed);
		}
		cr_assert_eq(open_(&o, &r), 0, "%s", why);
		cr_assert_arr_eq(o.id, s.id, sizeof(s.id));
		cr_assert_eq(r->version, 1);
		bw_root_unref(r);
	}
}

/* ---- Stores that break the contract (I14) ------------------------------------------------------- */

static bool ignore_condition_in_a_race(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (op->kind == BW_OP_PUT && strstr(op->key, "/race"))
		op->if_absent = false;
	return false;
}

Test(open, broken_stores_are_refused_with_the_rule)
{
	struct {
		bool (*lie)(struct bw_test_tap *, struct bw_op *);
		const char *rule;
	} liars[] = {
		{ignore_condition, "a second put-if-absent of one name succeeds"},
		{ignore_condition_in_a_race, "more than one succeeds"},
		{ignore_range, "a read of a range brings other bytes"},
		{ignore_after, "a listing is not in the order of its keys"},
		{lose_puts, "cannot be read at once"},
	};
	struct bw_stream s;
	bool existed;

	for (size_t i = 0; i < sizeof(liars) / sizeof(liars[0]); i++) {
		end();
		start();
		tap->on_submit = liars[i].lie;
		int err = create(&s, &existed);

		tap->on_submit = NULL;
		cr_assert_neq(err, 0, "%s", liars[i].rule);
		if (liars[i].lie != lose_puts)
			cr_assert(strstr(why, liars[i].rule), "%s", why);
		struct bw_blob *blob;

		cr_assert_eq(bw_test_get(store, BW_STREAM_KEY, &blob), BW_NOT_FOUND);
	}
}

/* ---- Cold open at any length (I12) -------------------------------------------------------------- */

/* Versions 1 .. n exist; those below `buried` are tombstones; made when they are asked for. */
struct versions {
	struct bw_versions versions;
	uint64_t n, buried, gets;
};

static int get_version(struct bw_versions *from, uint64_t version, struct bw_root **ret)
{
	struct versions *v = (struct versions *)from;
	struct bw_stream s;

	v->gets++;
	cr_assert_geq(version, 1);
	if (version > v->n)
		return BW_VERSION_ABSENT;
	if (version < v->buried)
		return BW_VERSION_TOMBSTONE;
	bw_test_stream(&s, 4);
	cr_assert_eq(bw_root_first(&s, ret), 0);
	(*ret)->version = version;
	return BW_VERSION_ROOT;
}

static uint64_t search(uint64_t n, uint64_t buried, uint64_t start_at)
{
	struct versions v = {.versions.get = get_version, .n = n, .buried = buried};
	struct bw_root *r;

	cr_assert_eq(bw_search_newest(&v.versions, start_at, &r), 0);
	cr_assert_eq(r->version, n, "from %lu", (unsigned long)start_at);
	bw_root_unref(r);
	return v.gets;
}

Test(open, search_is_logarithmic_without_a_hint_and_bounded_with_one)
{
	uint64_t lengths[] = {1, 2, 3, 1000, 100000, 1000000, 10000000};

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint64_t n = lengths[i];

		for (uint64_t behind = 0; behind < BW_HINT_EVERY * 2 && behind < n; behind++)
			cr_assert_leq(search(n, 0, n - behind), 17);
		cr_assert_leq(search(n, 0, 1), 2 * 24 + 2);
		cr_assert_leq(search(n, n, n > 70 ? n - 70 : 1), 17, "old roots are tombstones");
		cr_assert_leq(search(n, 0, 2 * n), 26, "a hint of something that is not there");
	}
}

Test(open, search_from_everywhere)
{
	for (uint64_t n = 1; n <= 40; n++)
		for (uint64_t from = 1; from <= 90; from++)
			search(n, n / 2, from);
}

/* Gets until the newest of n is found, from one that is known and a guess. */
static uint64_t search_newer(uint64_t n, uint64_t buried, uint64_t known, uint64_t guess)
{
	struct versions v = {.versions.get = get_version, .n = n, .buried = buried};
	struct bw_root *r = NULL;

	cr_assert_eq(bw_search_newer(&v.versions, known, guess, &r), 0);
	cr_assert_eq(!r, known == n, "nothing newer, no root");
	cr_assert(!r || r->version == n, "from %lu, guess %lu", (unsigned long)known,
		  (unsigned long)guess);
	bw_root_unref(r);
	return v.gets;
}

Test(open, search_from_a_guess)
{
	for (uint64_t n = 1; n <= 40; n++)
		for (uint64_t known = 1; known <= n; known++)
			for (uint64_t guess = 0; guess <= 60; guess++)
				search_newer(n, n / 2, known, guess);
	/* 1,000 behind and wrong by as much as the root of it: half of what a doubling from there costs. */
	for (uint64_t guess = 1968; guess <= 2032; guess++)
		cr_assert_leq(search_newer(2000, 0, 1000, guess), 9);
	cr_assert_leq(search_newer(2000, 0, 1000, 100000), 40, "a guess far off");
}

Test(open, search_of_nothing)
{
	struct versions v = {.versions.get = get_version};
	struct bw_root *r;

	cr_assert_eq(bw_search_newest(&v.versions, 1, &r), -BW_E_NO_STREAM);
	cr_assert_eq(bw_search_newest(&v.versions, 77, &r), -BW_E_NO_STREAM);
	v.n = 10;
	v.buried = 11;	/* a tombstone at the newest version, for ever: a lie */
	cr_assert_eq(bw_search_newest(&v.versions, 1, &r), -BW_E_CORRUPT);
	cr_assert_lt(v.gets, 200);
}

static void grow(struct bw_stream *s, struct bw_root **r, int versions)
{
	struct bw_change c = bw_test_change(BW_CHANGE_TRIM, "");

	bw_test_create(store, s, r);
	for (int i = 1; i < versions; i++)
		bw_test_commit(store, s, r, &c, 1);
}

Test(open, opens_at_the_newest_with_any_hint)
{
	const char *hints[] = {"64\n", "128\n", "1\n", "9999\n", "0\n", "x", "", "128", "-3\n",
			       "99999999999999999999\n"};
	struct bw_stream s, o;
	struct bw_root *r, *opened;
	char key[BW_KEY_MAX + 1];

	grow(&s, &r, 150);
	for (uint64_t v = 1; v < 140; v++)
		bw_test_bury(store, &s, v);
	bw_key_hint(&s, key);
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		bw_test_put(store, key, hints[i], strlen(hints[i]), false);
		cr_assert_eq(open_(&o, &opened), 0, "hint %s: %s", hints[i], why);
		cr_assert_eq(opened->version, 150);
		cr_assert_eq(opened->stored_xxh3, r->stored_xxh3);
		bw_root_unref(opened);
	}
	bw_test_put(store, key, "128\n", 4, false);
	atomic_store(&tap->gets, 0);
	cr_assert_eq(open_(&o, &opened), 0);
	cr_assert_leq(atomic_load(&tap->gets), 19);
	bw_root_unref(opened);
	bw_root_unref(r);
}

Test(open, a_damaged_newest_root_is_said)
{
	struct bw_stream s, o;
	struct bw_root *r, *opened;
	char key[BW_KEY_MAX + 1];

	grow(&s, &r, 5);
	bw_key_root(&s, 3, key);
	bw_test_put(store, key, "garbage", 7, false);
	cr_assert_eq(open_(&o, &opened), 0, "an old one does not matter");
	bw_root_unref(opened);
	bw_key_root(&s, 5, key);
	bw_test_put(store, key, "garbage", 7, false);
	cr_assert_eq(open_(&o, &opened), -BW_E_CORRUPT);
	cr_assert(strstr(why, "version 5"), "%s", why);
	bw_root_unref(r);
}

static unsigned flips_left;

static enum bw_fault flip_some(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	(void)plan, (void)nth;
	if (op->kind != BW_OP_GET || !flips_left)
		return BW_FAULT_NONE;
	flips_left--;
	return BW_FAULT_FLIP;
}

/* What is damaged on the way is asked for again, of each object four times. */
Test(open, S3_bits_that_flip_on_the_way_are_no_damage)
{
	struct bw_fault_plan plan = {.decide = flip_some};
	struct bw_root *r, *opened;
	struct bw_stream s, o;

	grow(&s, &r, 5);
	cr_assert_eq(bw_filter_fault_new(store, &plan, &store), 0);
	for (unsigned flips = 1; flips <= 4; flips++) {
		flips_left = flips;
		cr_assert_eq(open_(&o, &opened), 0, "%s", why);
		cr_assert_eq(flips_left, 0);
		cr_assert_eq(opened->version, 5);
		bw_root_unref(opened);
	}
	flips_left = 1000;
	int err = open_(&o, &opened);
	cr_assert(err == -BW_E_CORRUPT || err == -BW_E_FORMAT_NEWER, "%d", err);
	cr_assert_eq(flips_left, 1000 - 5);
	bw_root_unref(r);
}

/* ---- Opening to write: the store still keeps put-if-absent, or it is refused (I14) --------------- */

static int open_to_write(struct bw_stream *ret, struct bw_root **ret_root)
{
	return bw_stream_open_to_write(store, BW_NEVER, ret, ret_root, why, sizeof(why));
}

Test(open, to_write_costs_one_put_that_changes_nothing)
{
	struct bw_blob *before, *after;
	struct bw_stream s, o;
	struct bw_root *r, *opened;

	grow(&s, &r, 3);
	cr_assert_eq(bw_test_get(store, BW_STREAM_KEY, &before), BW_OK);
	atomic_store(&tap->puts, 0);
	atomic_store(&tap->gets, 0);
	cr_assert_eq(open_(&o, &opened), 0);
	bw_root_unref(opened);
	uint64_t gets = atomic_load(&tap->gets);

	cr_assert_eq(atomic_load(&tap->puts), 0, "a reader writes nothing");
	cr_assert_eq(open_to_write(&o, &opened), 0, "%s", why);
	cr_assert_eq(opened->version, 3);
	cr_assert_arr_eq(o.id, s.id, sizeof(s.id));
	bw_root_unref(opened);
	cr_assert_eq(atomic_load(&tap->puts), 1);
	cr_assert_eq(atomic_load(&tap->gets), 2 * gets);
	cr_assert_eq(bw_test_get(store, BW_STREAM_KEY, &after), BW_OK);
	cr_assert(before->len == after->len && !memcmp(before->bytes, after->bytes, after->len));
	bw_blob_unref(before);
	bw_blob_unref(after);
	bw_root_unref(r);
}

Test(open, to_write_is_refused_where_put_if_absent_is_gone)
{
	struct bw_stream s, o;
	struct bw_root *r, *opened;

	grow(&s, &r, 3);
	tap->on_submit = ignore_condition;
	cr_assert_eq(open_to_write(&o, &opened), -EOPNOTSUPP);
	cr_assert(strstr(why, "a second put-if-absent of one name succeeds"), "%s", why);
	cr_assert(strstr(why, "versioning"), "%s", why);
	cr_assert_eq(open_(&o, &opened), 0, "who only reads does not care");
	bw_root_unref(opened);
	tap->on_submit = NULL;
	cr_assert_eq(open_to_write(&o, &opened), 0, "the question has left the stream as it was");
	bw_root_unref(opened);
	bw_root_unref(r);
}

/* What befalls the question, and whether the store has then shown that it does not keep the primitive. */
static const enum bw_fault troubles[] = {BW_FAULT_BEFORE, BW_FAULT_LOST_REPLY, BW_FAULT_DUPLICATE,
					 BW_FAULT_THROTTLED, BW_FAULT_FULL, BW_FAULT_DENIED};

static enum bw_fault hit_puts(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	const enum bw_fault *fault = plan->ctx;

	(void)nth;
	return op->kind == BW_OP_PUT ? *fault : BW_FAULT_NONE;
}

Test(open, to_write_opens_where_the_question_has_no_answer)
{
	struct bw_stream s, o;
	struct bw_root *r, *opened;
	enum bw_fault fault = BW_FAULT_NONE;
	struct bw_fault_plan plan = {.decide = hit_puts, .ctx = &fault};

	grow(&s, &r, 3);
	cr_assert_eq(bw_filter_fault_new(store, &plan, &store), 0);
	for (size_t i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++) {
		fault = troubles[i];
		cr_assert_eq(open_to_write(&o, &opened), 0, "%zu: %s", i, why);
		cr_assert_eq(opened->version, 3);
		bw_root_unref(opened);
	}
	bw_root_unref(r);
}

Test(open, to_write_of_what_is_no_stream_or_damaged_says_that)
{
	struct bw_stream s, o;
	struct bw_root *r, *opened;
	char key[BW_KEY_MAX + 1];

	cr_assert_eq(open_to_write(&o, &opened), -BW_E_NO_STREAM);
	cr_assert_eq(atomic_load(&tap->puts), 0, "nothing is made where there is none");
	grow(&s, &r, 3);
	bw_key_root(&s, 3, key);
	bw_test_put(store, key, "garbage", 7, false);
	for (int broken = 0; broken < 2; broken++) {
		tap->on_submit = broken ? ignore_condition : NULL;
		cr_assert_eq(open_to_write(&o, &opened), -BW_E_CORRUPT);
		cr_assert(strstr(why, "version 3"), "%s", why);
	}
	tap->on_submit = NULL;
	cr_assert_eq(bw_test_put(store, BW_STREAM_KEY, "{}", 2, false), BW_OK);
	atomic_store(&tap->puts, 0);
	cr_assert_lt(open_to_write(&o, &opened), 0);
	cr_assert_eq(atomic_load(&tap->puts), 0, "what cannot be read is not put again");
	bw_root_unref(r);
}

/* ---- Destroyed at that very moment ---------------------------------------------------------------- */

static struct bw_stream goes;	/* the stream that is destroyed when the tap says so */
static const char *goes_at;	/* before a request for this key */
static bool comes;		/* and another takes its place */

static void destroy_now(void)
{
	struct bw_destroy_report report;
	char id[33], text[200];
	bool existed;

	bw_hex(goes.id, sizeof(goes.id), id);
	const struct bw_destroy d = {.store = tap->store.next, .id = id, .op_ns = 30 * BW_SEC};

	cr_assert_eq(bw_stream_destroy(&d, &report, text, sizeof(text)), 0, "%s", text);
	if (comes)
		cr_assert_eq(bw_stream_create(tap->store.next, &options, BW_NEVER, &goes, &existed, text, sizeof(text)), 0);
}

static bool destroy_at(struct bw_test_tap *t, struct bw_op *op)
{
	bool is_put = op->kind == BW_OP_PUT;

	if (!goes_at || strcmp(op->key, goes_at) != 0 || is_put != !strcmp(goes_at, BW_STREAM_KEY))
		return false;
	goes_at = NULL;
	t->on_submit = NULL;
	destroy_now();
	return false;
}

/* Nothing that an open makes brings back a stream, empty and with its old id. */
Test(open, what_is_destroyed_meanwhile_stays_so)
{
	char hint[BW_KEY_MAX + 1];
	struct bw_root *r, *opened;
	struct bw_stream o;

	for (int i = 0; i < 4; i++) {
		bool writes = i & 1;

		comes = i & 2;
		grow(&goes, &r, 3);
		bw_root_unref(r);
		bw_key_hint(&goes, hint);
		goes_at = writes && !comes ? BW_STREAM_KEY : hint;
		tap->on_submit = destroy_at;
		cr_assert_eq(writes ? open_to_write(&o, &opened) : open_(&o, &opened), -BW_E_DESTROYED, "%d: %s", i, why);
		cr_assert_null(goes_at);
		cr_assert_eq(count_keys(), comes ? 2 : 0, "%d", i);
		if (!comes)
			continue;
		cr_assert_eq(open_(&o, &opened), 0);
		cr_assert_arr_eq(o.id, goes.id, sizeof(o.id));
		bw_root_unref(opened);
		comes = false;
		destroy_now();
	}
}

static struct bw_op *question;
static atomic_bool found;

/* The question whether the store keeps put-if-absent travels slowly, and all else is found. */
static bool hold_question(struct bw_test_tap *t, struct bw_op *op)
{
	char beyond[BW_KEY_MAX + 1];

	(void)t;
	bw_key_root(&goes, 4, beyond);
	if (!strcmp(op->key, beyond))
		atomic_store(&found, true);
	if (op->kind != BW_OP_PUT || strcmp(op->key, BW_STREAM_KEY) != 0)
		return false;
	question = op;
	return true;
}

static void *destroy_when_found(void *arg)
{
	while (!atomic_load(&found))
		bw_sleep(BW_MS);
	destroy_now();
	bw_store_submit(tap->store.next, question);
	return arg;
}

Test(open, what_was_found_and_is_destroyed_before_it_is_opened_stays_so)
{
	struct bw_root *r, *opened;
	struct bw_stream o;
	pthread_t thread;

	grow(&goes, &r, 3);
	bw_root_unref(r);
	tap->on_submit = hold_question;
	cr_assert_eq(pthread_create(&thread, NULL, destroy_when_found, NULL), 0);
	cr_assert_eq(open_to_write(&o, &opened), -BW_E_DESTROYED, "%s", why);
	pthread_join(thread, NULL);
	tap->on_submit = NULL;
	cr_assert_eq(count_keys(), 0);
}

static const char *built_at, *built;	/* before this is deleted that is put */

static bool build_on_it(struct bw_test_tap *t, struct bw_op *op)
{
	if (op->kind == BW_OP_DELETE && built_at && !strcmp(op->key, built_at)) {
		built_at = NULL;
		cr_assert_eq(bw_test_put(t->store.next, built, "{}", 2, true), BW_OK);
	}
	if (goes_at && op->kind == BW_OP_PUT && !strcmp(op->key, goes_at)) {
		goes_at = NULL;
		destroy_now();
	}
	return false;
}

/* Another one has opened what this open made, and committed on it: then it is a stream, and stays. */
Test(open, what_others_have_built_on_is_not_taken_back)
{
	char root_1[BW_KEY_MAX + 1], root_2[BW_KEY_MAX + 1];
	struct bw_root *r, *opened;
	struct bw_blob *blob = NULL;
	struct bw_stream o;

	for (int i = 0; i < 2; i++) {
		grow(&goes, &r, 3);
		bw_root_unref(r);
		bw_key_root(&goes, 1, root_1);
		bw_key_root(&goes, 2, root_2);
		goes_at = BW_STREAM_KEY;
		built_at = i ? BW_STREAM_KEY : root_1;
		built = i ? root_1 : root_2;
		tap->on_submit = build_on_it;
		cr_assert_eq(open_to_write(&o, &opened), -BW_E_DESTROYED, "%d: %s", i, why);
		tap->on_submit = NULL;
		cr_assert_null(built_at);
		cr_assert_eq(count_keys(), i ? 2 : 3);
		cr_assert_eq(bw_test_get(store, BW_STREAM_KEY, &blob), BW_OK);
		bw_blob_unref(blob);
		cr_assert_eq(bw_test_get(store, root_1, &blob), BW_OK);
		bw_blob_unref(blob);
		cr_assert_eq(bw_test_delete(store, BW_STREAM_KEY), BW_OK);
		cr_assert_eq(bw_test_delete(store, root_1), BW_OK);
		if (!i)
			cr_assert_eq(bw_test_delete(store, root_2), BW_OK);
	}
}
