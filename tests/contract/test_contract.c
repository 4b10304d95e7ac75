/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of store/store.h, one test each, for every backend under every stack of filters.
 * What happens when many requests are under way at once is in test_contract_load.c.
 */
#include "tests/contract/each_store.h"

#include <stdio.h>
#include <string.h>

/* ---- Put, get, delete ----------------------------------------------------------------------- */

EACH_STORE(put_if_absent_refuses_the_second)
{
	expect(t, bw_test_put(s, "a/key", "first", 5, true), BW_OK);
	expect(t, bw_test_put(s, "a/key", "second", 6, true), BW_EXISTS);
	cr_assert(bw_test_holds(s, "a/key", "first", 5), "%s: the loser changed the object", t->name);
	expect(t, bw_test_delete(s, "a/key"), BW_OK);
	expect(t, bw_test_put(s, "a/key", "third", 5, true), BW_OK);
	cr_assert(bw_test_holds(s, "a/key", "third", 5));
}

EACH_STORE(put_replaces)
{
	expect(t, bw_test_put(s, "key", "first", 5, false), BW_OK);
	expect(t, bw_test_put(s, "key", "2nd", 3, false), BW_OK);
	cr_assert(bw_test_holds(s, "key", "2nd", 3), "%s: not the newest bytes", t->name);
	expect(t, bw_test_put(s, "key", "a longer one", 12, false), BW_OK);
	cr_assert(bw_test_holds(s, "key", "a longer one", 12));
	expect(t, bw_test_put(s, "key", "x", 1, true), BW_EXISTS);
}

EACH_STORE(loser_changes_nothing)
{
	struct bw_op before, after;

	expect(t, bw_test_put(s, "d/key", "winner", 6, true), BW_OK);
	bw_op_get_all(&before, "d/key", 100);
	expect(t, bw_store_sync(s, &before), BW_OK);
	expect(t, bw_test_put(s, "d/key", "loser, longer", 13, true), BW_EXISTS);
	bw_op_get_all(&after, "d/key", 100);
	expect(t, bw_store_sync(s, &after), BW_OK);
	cr_assert_eq(before.object_size, after.object_size);
	cr_assert_eq(before.modified_ms, after.modified_ms);
	cr_assert_arr_eq(after.blob->bytes, "winner", 6);
	bw_op_done(&before);
	bw_op_done(&after);
}

EACH_STORE(read_after_write)
{
	char key[64], bytes[64];

	for (int i = 0; i < 20; i++) {
		struct bw_op list;
		int len = snprintf(bytes, sizeof(bytes), "the bytes of %d", i);
		snprintf(key, sizeof(key), "r/%d/k", i);
		expect(t, bw_test_put(s, key, bytes, (size_t)len, i % 2), BW_OK);
		cr_assert(bw_test_holds(s, key, bytes, (size_t)len));
		expect(t, bw_test_put(s, key, "x", 1, true), BW_EXISTS);
		bw_op_list(&list, key, "", 10);
		expect(t, bw_store_sync(s, &list), BW_OK);
		cr_assert_eq(list.listing->n, 1);
		cr_assert_eq(list.listing->items[0].size, (uint64_t)len);
		bw_op_done(&list);
	}
}

EACH_STORE(get_of_nothing_is_not_found)
{
	struct bw_blob *blob;
	struct bw_op op;

	expect(t, bw_test_get(s, "nothing", &blob), BW_NOT_FOUND);
	expect(t, bw_test_get(s, "no/such/way", &blob), BW_NOT_FOUND);
	expect(t, bw_test_put(s, "a/b/c", "1", 1, true), BW_OK);
	expect(t, bw_test_get(s, "a/b", &blob), BW_NOT_FOUND);
	expect(t, bw_test_get(s, "a", &blob), BW_NOT_FOUND);
	expect(t, bw_test_get(s, "a/b/c/d", &blob), BW_NOT_FOUND);
	bw_op_get(&op, "a/b", 0, 0);
	expect(t, bw_store_sync(s, &op), BW_NOT_FOUND);
	cr_assert_null(op.blob);
	cr_assert_eq(bw_op_err(&op), -ENOENT);
}

/* A store may not tell whether there was anything to delete. */
static void expect_gone(struct bw_test_store *t, enum bw_outcome outcome)
{
	expect(t, outcome == BW_NOT_FOUND ? BW_OK : outcome, BW_OK);
}

EACH_STORE(delete_then_not_found)
{
	struct bw_blob *blob;

	expect_gone(t, bw_test_delete(s, "a/key"));
	expect(t, bw_test_put(s, "a/key", "1", 1, true), BW_OK);
	expect(t, bw_test_put(s, "a/key2", "2", 1, true), BW_OK);
	expect_gone(t, bw_test_delete(s, "a"));
	expect(t, bw_test_delete(s, "a/key"), BW_OK);
	expect(t, bw_test_get(s, "a/key", &blob), BW_NOT_FOUND);
	expect_gone(t, bw_test_delete(s, "a/key"));
	cr_assert(bw_test_holds(s, "a/key2", "2", 1), "%s: a neighbour went with it", t->name);
}

EACH_STORE(empty_object)
{
	struct bw_op op;

	expect(t, bw_test_put(s, "empty", "", 0, true), BW_OK);
	expect(t, bw_test_put(s, "empty", "x", 1, true), BW_EXISTS);
	cr_assert(bw_test_holds(s, "empty", "", 0));
	bw_op_get(&op, "empty", 0, 0);
	expect(t, bw_store_sync(s, &op), BW_OK);
	cr_assert_eq(op.blob->len, 0);
	bw_op_done(&op);
	bw_op_get(&op, "empty", 0, 1);
	expect(t, bw_store_sync(s, &op), BW_CORRUPT);
	bw_op_get_all(&op, "empty", 0);
	expect(t, bw_store_sync(s, &op), BW_OK);
	bw_op_done(&op);
}

/* A body made as it is read, so that a backend may ask in any order and the test sees how. */
struct pattern {
	struct bw_body body;
	uint64_t fail_at;	/* reads that touch this byte fail */
	bool out_of_bounds;
	atomic_uint reads;
};

static uint8_t pattern_byte(uint64_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 17 + (i >> 20));
}

static int read_pattern(struct bw_body *body, uint64_t off, void *buf, size_t len)
{
	struct pattern *p = (struct pattern *)body;
	uint8_t *to = buf;

	atomic_fetch_add(&p->reads, 1);
	if (off > body->size || len > body->size - off)
		p->out_of_bounds = true;
	if (off + len > p->fail_at)
		return -EIO;
	for (size_t i = 0; i < len; i++)
		to[i] = pattern_byte(off + i);
	return 0;
}

static void pattern_init(struct pattern *p, uint64_t size)
{
	memset(p, 0, sizeof(*p));
	p->body.size = size;
	p->body.read = read_pattern;
	p->fail_at = UINT64_MAX;
}

static void assert_pattern(const struct bw_blob *b, uint64_t off)
{
	for (size_t i = 0; i < b->len; i++)
		if (b->bytes[i] != pattern_byte(off + i))
			cr_assert_fail("wrong byte at %zu of a range from %lu", i, (unsigned long)off);
}

EACH_STORE(large_body)
{
	const uint64_t size = (16 << 20) + 4321;
	struct pattern p;
	struct bw_op op;

	pattern_init(&p, size);
	bw_op_put(&op, "big/object", &p.body, true);
	expect(t, bw_store_sync(s, &op), BW_OK);
	cr_assert_not(p.out_of_bounds, "%s: read the body beyond its end", t->name);
	bw_op_get_all(&op, "big/object", size);
	expect(t, bw_store_sync(s, &op), BW_OK);
	cr_assert_eq(op.blob->len, size);
	cr_assert_eq(op.object_size, size);
	assert_pattern(op.blob, 0);
	bw_op_done(&op);
	bw_op_get(&op, "big/object", (8 << 20) - 3, 1 << 20);
	expect(t, bw_store_sync(s, &op), BW_OK);
	cr_assert_eq(op.blob->len, 1 << 20);
	assert_pattern(op.blob, (8 << 20) - 3);
	bw_op_done(&op);
}

EACH_STORE(body_that_fails_applies_nothing)
{
	struct bw_blob *blob;
	struct pattern p;
	struct bw_op op;

	expect(t, bw_test_put(s, "kept", "kept", 4, false), BW_OK);
	for (int i = 0; i < 4; i++) {
		pattern_init(&p, 3 << 20);
		p.fail_at = i % 2 ? 0 : 2 << 20;
		bw_op_put(&op, i < 2 ? "new/key" : "kept", &p.body, i < 2);
		expect(t, bw_store_sync(s, &op), BW_UNREACHABLE);
		cr_assert_eq(op.err, -EIO);
		cr_assert_eq(bw_op_err(&op), -BW_E_UNREACHABLE);
	}
	expect(t, bw_test_get(s, "new/key", &blob), BW_NOT_FOUND);
	cr_assert(bw_test_holds(s, "kept", "kept", 4));
	bw_op_list(&op, "", "", 10);
	expect(t, bw_store_sync(s, &op), BW_OK);
	cr_assert_eq(op.listing->n, 1);
	bw_op_done(&op);
}

/* ---- Ranges --------------------------------------------------------------------------------- */

EACH_STORE(get_range_exact)
{
	static const char bytes[] = "0123456789";
	struct bw_op op;

	expect(t, bw_test_put(s, "digits", bytes, 10, true), BW_OK);
	for (uint64_t from = 0; from <= 10; from++) {
		for (uint64_t len = 0; from + len <= 10; len++) {
			bw_op_get(&op, "digits", from, len);
			expect(t, bw_store_sync(s, &op), BW_OK);
			cr_assert_eq(op.blob->len, len);
			cr_assert(!len || memcmp(op.blob->bytes, bytes + from, len) == 0);
			cr_assert(op.object_size == 10 || op.object_size == 0);
			bw_op_done(&op);
		}
	}
}

/* A store may cut or may not; whoever asked for it takes either. */
EACH_STORE(get_range_cut_into_a_chain)
{
	static const char bytes[] = "0123456789";
	struct bw_op op;

	expect(t, bw_test_put(s, "digits", bytes, 10, true), BW_OK);
	for (uint32_t cut = 1; cut <= 11; cut++) {
		for (uint64_t len = 0; len <= 9; len++) {
			uint64_t at = 1;
			bw_op_get(&op, "digits", 1, len);
			op.cut = cut;
			expect(t, bw_store_sync(s, &op), BW_OK);
			cr_assert_eq(bw_blob_chain_len(op.blob), len);
			for (const struct bw_blob *b = op.blob; b; at += b->len, b = b->next) {
				cr_assert(memcmp(b->bytes, bytes + at, b->len) == 0);
				cr_assert(b->len == cut || !b->next);
				cr_assert(!op.blob->next || b->len <= cut);
			}
			bw_op_done(&op);
		}
	}
	bw_op_get(&op, "digits", 5, 6);
	op.cut = 3;
	expect(t, bw_store_sync(s, &op), BW_CORRUPT);
	cr_assert_null(op.blob);
}

EACH_STORE(get_range_past_end_is_corrupt)
{
	static const struct {
		uint64_t from, len;
	} ranges[] = {{0, 11}, {10, 1}, {11, 0}, {5, 6}, {1000, 1}, {1, UINT64_MAX - 1}, {1, 1ull << 62}};
	struct bw_op op;

	expect(t, bw_test_put(s, "digits", "0123456789", 10, true), BW_OK);
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		bw_op_get(&op, "digits", ranges[i].from, ranges[i].len);
		expect(t, bw_store_sync(s, &op), BW_CORRUPT);
		cr_assert_null(op.blob);
		cr_assert_eq(bw_op_err(&op), -BW_E_CORRUPT);
	}
}

EACH_STORE(get_to_end_with_max)
{
	struct bw_op op;

	expect(t, bw_test_put(s, "digits", "0123456789", 10, true), BW_OK);
	bw_op_get_all(&op, "digits", 10);
	expect(t, bw_store_sync(s, &op), BW_OK);
	cr_assert_eq(op.blob->len, 10);
	bw_op_done(&op);
	bw_op_get_all(&op, "digits", 9);
	expect(t, bw_store_sync(s, &op), BW_CORRUPT);
	cr_assert_null(op.blob);
	bw_op_get(&op, "digits", 4, BW_TO_END);
	op.max = 6;
	expect(t, bw_store_sync(s, &op), BW_OK);
	cr_assert_eq(op.blob->len, 6);
	cr_assert_arr_eq(op.blob->bytes, "456789", 6);
	bw_op_done(&op);
	bw_op_get(&op, "digits", 4, BW_TO_END);
	op.max = 5;
	expect(t, bw_store_sync(s, &op), BW_CORRUPT);
	bw_op_get(&op, "digits", 10, BW_TO_END);
	expect(t, bw_store_sync(s, &op), BW_OK);
	cr_assert_eq(op.blob->len, 0);
	bw_op_done(&op);
	bw_op_get(&op, "digits", 11, BW_TO_END);
	op.max = 100;
	expect(t, bw_store_sync(s, &op), BW_CORRUPT);
}

EACH_STORE(an_answer_outlives_its_object)
{
	struct bw_blob *blob;

	expect(t, bw_test_put(s, "key", "bytes", 5, true), BW_OK);
	expect(t, bw_test_get(s, "key", &blob), BW_OK);
	expect(t, bw_test_put(s, "key", "other", 5, false), BW_OK);
	expect(t, bw_test_delete(s, "key"), BW_OK);
	bw_store_free(s);
	t->s = NULL;
	cr_assert_arr_eq(blob->bytes, "bytes", 5);
	bw_blob_unref(blob);
}

EACH_STORE(modified_is_the_time_of_the_put)
{
	int64_t before = bw_wall_ms();
	struct bw_op get, list;

	expect(t, bw_test_put(s, "key", "bytes", 5, true), BW_OK);
	bw_op_get_all(&get, "key", 5);
	expect(t, bw_store_sync(s, &get), BW_OK);
	bw_op_list(&list, "", "", 1);
	expect(t, bw_store_sync(s, &list), BW_OK);
	/* File systems stamp with a clock that ticks, and HTTP tells whole seconds. */
	cr_assert_geq(get.modified_ms, before - 1100);
	cr_assert_leq(get.modified_ms, bw_wall_ms());
	cr_assert_eq(list.listing->items[0].modified_ms / 1000, get.modified_ms / 1000);
	bw_op_done(&get);
	bw_op_done(&list);
}

/* ---- Listings ------------------------------------------------------------------------------- */

/* In byte order: what follows a name matters, and '-' and '.' sort before '/', letters after. */
static const char *const sorted[] = {
	"-/-",	"0",	"A/z",	 "a-/x", "a-b", "a.b",	"a/-",	 "a/b-c", "a/b/c",     "a/b/d",
	"a/b0", "a/c/d", "a0/b", "a0b",	 "aa",	"aa-",	"b.",	 "b/.c",  "b/c..",     "b_",
	"ba",	"c/d/e/f/g",	 "c/d/e0",	"z",	"z.z",	 "z.z.z"};
#define SORTED_N (sizeof(sorted) / sizeof(sorted[0]))

static bool is_in(size_t i, const char *prefix, const char *after)
{
	return strncmp(sorted[i], prefix, strlen(prefix)) == 0 && strcmp(sorted[i], after) > 0;
}

/* The object of sorted[i] has i bytes. */
static void put_sorted(struct bw_test_store *t)
{
	static const char bytes[SORTED_N];

	for (size_t i = 0; i < SORTED_N; i++) {
		size_t at = i * 17 % SORTED_N;	/* in another order */
		expect(t, bw_test_put(t->s, sorted[at], bytes, at, true), BW_OK);
	}
}

/* All keys with the prefix above after, in pages of max, must be those of sorted. */
static void assert_pages(struct bw_test_store *t, const char *prefix, const char *after, unsigned max)
{
	char last[BW_KEY_MAX + 1];
	bool more = true;
	struct bw_op op;
	size_t i = 0;

	snprintf(last, sizeof(last), "%s", after);
	while (more) {
		bw_op_list(&op, prefix, last, max);
		expect(t, bw_store_sync(t->s, &op), BW_OK);
		more = op.listing->more;
		cr_assert_leq(op.listing->n, max);
		cr_assert(!more || op.listing->n == max, "%s: a short page that is not the last", t->name);
		for (size_t k = 0; k < op.listing->n; k++, i++) {
			const struct bw_listed *item = &op.listing->items[k];
			while (i < SORTED_N && !is_in(i, prefix, after))
				i++;
			cr_assert_lt(i, SORTED_N, "%s: %s is too much", t->name, item->key);
			cr_assert_str_eq(item->key, sorted[i], "%s: prefix %s after %s: %s, not %s",
					 t->name, prefix, after, item->key, sorted[i]);
			cr_assert_eq(item->size, i);
			snprintf(last, sizeof(last), "%s", item->key);
		}
		bw_op_done(&op);
	}
	for (; i < SORTED_N; i++)
		cr_assert_not(is_in(i, prefix, after), "%s: prefix %s after %s: %s is not listed",
			      t->name, prefix, after, sorted[i]);
}

EACH_STORE(list_in_byte_order)
{
	for (size_t i = 1; i < SORTED_N; i++)
		cr_assert_lt(strcmp(sorted[i - 1], sorted[i]), 0, "the test itself is unsorted");
	put_sorted(t);
	assert_pages(t, "", "", 1000);
}

EACH_STORE(list_after_and_pages)
{
	static const char *const afters[] = {"a", "a/", "a/b", "a/b/", "a/bz", "a-b/zzz", "c/d/e/f/g/h",
					     "zz", "-/-", "a0", "b/.b"};
	put_sorted(t);
	for (unsigned max = 1; max <= SORTED_N + 1; max += 1 + max / 4)
		assert_pages(t, "", "", max);
	for (size_t i = 0; i < SORTED_N; i++)
		assert_pages(t, "", sorted[i], 3);
	for (size_t i = 0; i < sizeof(afters) / sizeof(afters[0]); i++)
		assert_pages(t, "", afters[i], 2);
}

EACH_STORE(list_by_prefix)
{
	static const char *const prefixes[] = {"a", "a/", "a/b", "a/b/", "a-", "a/b/c", "c/d/e", "z",
					       "nothing", "no/way", "b/.", "aaa", "a//", "/", "../",
					       "a/../a", "./"};
	put_sorted(t);
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		assert_pages(t, prefixes[i], "", 2);
		assert_pages(t, prefixes[i], "a/b-c", 3);
		assert_pages(t, prefixes[i], "zzz", 3);
	}
}

EACH_STORE(list_of_nothing)
{
	struct bw_op op;

	bw_op_list(&op, "", "", 1);
	expect(t, bw_store_sync(s, &op), BW_OK);
	cr_assert_eq(op.listing->n, 0);
	cr_assert_not(op.listing->more);
	bw_op_done(&op);
}

EACH_STORE(list_more_is_exact)
{
	struct bw_op op;

	expect(t, bw_test_put(s, "a/1", "", 0, true), BW_OK);
	expect(t, bw_test_put(s, "b/2", "", 0, true), BW_OK);
	expect(t, bw_test_put(s, "c/3", "", 0, true), BW_OK);
	expect(t, bw_test_delete(s, "c/3"), BW_OK);
	bw_op_list(&op, "", "", 2);
	expect(t, bw_store_sync(s, &op), BW_OK);
	cr_assert_eq(op.listing->n, 2);
	cr_assert_not(op.listing->more, "%s: promised more than there is", t->name);
	bw_op_done(&op);
	bw_op_list(&op, "", "", 1);
	expect(t, bw_store_sync(s, &op), BW_OK);
	cr_assert_eq(op.listing->n, 1);
	cr_assert(op.listing->more);
	bw_op_done(&op);
}

/* ---- Keys ----------------------------------------------------------------------------------- */

static void assert_key_works(struct bw_test_store *t, const char *key)
{
	struct bw_op op;

	cr_assert(bw_key_valid(key));
	expect(t, bw_test_put(t->s, key, key, strlen(key), true), BW_OK);
	expect(t, bw_test_put(t->s, key, "", 0, true), BW_EXISTS);
	cr_assert(bw_test_holds(t->s, key, key, strlen(key)));
	bw_op_list(&op, key, "", 2);
	expect(t, bw_store_sync(t->s, &op), BW_OK);
	cr_assert_eq(op.listing->n, 1);
	cr_assert_str_eq(op.listing->items[0].key, key);
	bw_op_done(&op);
	bw_op_list(&op, "", key, 1000);
	expect(t, bw_store_sync(t->s, &op), BW_OK);
	cr_assert_eq(op.listing->n, 0, "%s: %zu keys after the last", t->name, op.listing->n);
	bw_op_done(&op);
	expect(t, bw_test_delete(t->s, key), BW_OK);
}

EACH_STORE(keys_at_their_limits)
{
	char key[BW_KEY_MAX + 2];

	/* One byte; two segments of 255; as deep as can be; names that are special elsewhere. */
	assert_key_works(t, "x");
	memset(key, 'k', BW_KEY_MAX);
	key[BW_KEY_MAX] = 0;
	key[255] = '/';
	assert_key_works(t, key);
	for (int i = 1; i < BW_KEY_MAX; i += 2)
		key[i] = '/';
	key[255] = 'k';
	assert_key_works(t, key);
	assert_key_works(t, ".../..a/.b/-/--/_/a..");
	assert_key_works(t, "CON/nul.txt/A.B");
}

EACH_STORE(neighbours_are_other_objects)
{
	static const char *const keys[] = {"k", "k-", "k.", "k0", "kk", "K", "k_/k", "l/k", "l/K"};
	enum { N = sizeof(keys) / sizeof(keys[0]) };

	for (int i = 0; i < N; i++)
		expect(t, bw_test_put(s, keys[i], keys[i], strlen(keys[i]), true), BW_OK);
	for (int i = 0; i < N; i++)
		cr_assert(bw_test_holds(s, keys[i], keys[i], strlen(keys[i])));
	expect(t, bw_test_delete(s, "k"), BW_OK);
	for (int i = 1; i < N; i++)
		cr_assert(bw_test_holds(s, keys[i], keys[i], strlen(keys[i])));
}

/* ---- Deadlines ------------------------------------------------------------------------------ */

EACH_STORE(deadline_already_past)
{
	struct bw_bytes_body body;
	struct bw_blob *blob;
	struct bw_op op;

	expect(t, bw_test_put(s, "there", "1", 1, true), BW_OK);
	bw_bytes_body_init(&body, "bytes", 5);
	for (int i = 0; i < 2; i++) {
		bw_op_put(&op, i ? "there" : "new", &body.body, !i);
		op.deadline_ns = bw_now() - 1;
		expect(t, bw_store_sync(s, &op), BW_CANCELLED);
		cr_assert_eq(bw_op_err(&op), -ECANCELED);
	}
	bw_op_delete(&op, "there");
	op.deadline_ns = 1;
	expect(t, bw_store_sync(s, &op), BW_CANCELLED);
	bw_op_get_all(&op, "there", 10);
	op.deadline_ns = bw_now();
	expect(t, bw_store_sync(s, &op), BW_CANCELLED);
	cr_assert_null(op.blob);
	bw_op_list(&op, "", "", 10);
	op.deadline_ns = bw_now();
	expect(t, bw_store_sync(s, &op), BW_CANCELLED);
	cr_assert_null(op.listing);
	expect(t, bw_test_get(s, "new", &blob), BW_NOT_FOUND);
	cr_assert(bw_test_holds(s, "there", "1", 1));
}

EACH_STORE(deadline_to_come)
{
	struct bw_bytes_body body;
	struct bw_op op;

	bw_bytes_body_init(&body, "bytes", 5);
	bw_op_put(&op, "key", &body.body, true);
	op.deadline_ns = bw_now() + 60 * BW_SEC;
	expect(t, bw_store_sync(s, &op), BW_OK);
	bw_op_get_all(&op, "key", 10);
	op.deadline_ns = bw_now() + 60 * BW_SEC;
	expect(t, bw_store_sync(s, &op), BW_OK);
	bw_op_done(&op);
}

EACH_STORE(delete_many)
{
	struct bw_delete_item items[3] = {{.key = "a/1"}, {.key = "a/none"}, {.key = "b"}};
	struct bw_blob *blob;
	struct bw_op op;

	for (size_t i = 0; i < 3; i++)
		if (i != 1)
			expect(t, bw_test_put(s, items[i].key, "x", 1, true), BW_OK);
	expect(t, bw_test_put(s, "kept", "x", 1, true), BW_OK);
	bw_op_delete_many(&op, items, 3);
	expect(t, bw_store_sync(s, &op), BW_OK);
	for (size_t i = 0; i < 3; i++) {
		expect(t, items[i].outcome, BW_OK);
		expect(t, bw_test_get(s, items[i].key, &blob), BW_NOT_FOUND);
	}
	cr_assert(bw_test_holds(s, "kept", "x", 1));
}

EACH_STORE(delete_many_of_one_and_of_all)
{
	enum { N = 300 };
	static struct bw_delete_item items[BW_DELETE_MANY_MAX];
	static char keys[BW_DELETE_MANY_MAX][24];
	struct bw_op op;

	for (int i = 0; i < BW_DELETE_MANY_MAX; i++) {
		snprintf(keys[i], sizeof(keys[i]), "many/%04d", i);
		items[i] = (struct bw_delete_item){.key = keys[i], .outcome = BW_CORRUPT};
	}
	for (int i = 0; i < N; i++)
		expect(t, bw_test_put(s, keys[i], "x", 1, true), BW_OK);
	bw_op_delete_many(&op, items, 1);
	expect(t, bw_store_sync(s, &op), BW_OK);
	expect(t, items[1].outcome, BW_CORRUPT);
	bw_op_list(&op, "many/", "", 1000);
	expect(t, bw_store_sync(s, &op), BW_OK);
	cr_assert_eq(op.listing->n, N - 1);
	bw_op_done(&op);
	bw_op_delete_many(&op, items, BW_DELETE_MANY_MAX);
	expect(t, bw_store_sync(s, &op), BW_OK);
	for (int i = 0; i < BW_DELETE_MANY_MAX; i++)
		expect(t, items[i].outcome, BW_OK);
	bw_op_list(&op, "", "", 1000);
	expect(t, bw_store_sync(s, &op), BW_OK);
	cr_assert_eq(op.listing->n, 0);
	bw_op_done(&op);
}

EACH_STORE(delete_many_past_its_deadline_deletes_nothing)
{
	struct bw_delete_item items[3] = {{.key = "a/1"}, {.key = "a/none"}, {.key = "b"}};
	struct bw_op op;

	expect(t, bw_test_put(s, "a/1", "x", 1, true), BW_OK);
	expect(t, bw_test_put(s, "b", "x", 1, true), BW_OK);
	bw_op_delete_many(&op, items, 3);
	op.deadline_ns = bw_now() - 1;
	expect(t, bw_store_sync(s, &op), BW_CANCELLED);
	for (size_t i = 0; i < 3; i++)
		expect(t, items[i].outcome, BW_CANCELLED);
	cr_assert(bw_test_holds(s, "a/1", "x", 1));
	cr_assert(bw_test_holds(s, "b", "x", 1));
}
