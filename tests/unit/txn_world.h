/* SPDX-License-Identifier: Apache-2.0 */
/* One commit that a test drives by hand, and the store as one slot after another.  Included once in a program. */
#ifndef BW_TESTS_TXN_WORLD_H
#define BW_TESTS_TXN_WORLD_H

#include "manifest/txn.h"
#include "tests/support/change.h"
#include "tests/support/sample.h"

#include <criterion/criterion.h>
#include <string.h>

#define ME 1
#define RIVAL 2

/* The store as one slot after another: what is at each version. */
static struct bw_stream stream;
static struct bw_root *roots[16];
static struct bw_buf bytes[16];
static uint64_t newest;

static struct bw_txn *txn;
static struct bw_txn_request request;
static enum bw_txn_want want;
static uint8_t commit_id[16];

static inline void store(struct bw_root *r)
{
	newest = r->version;
	bw_buf_init(&bytes[newest], BW_ROOT_RAW_MAX);
	roots[newest] = bw_test_stored(&stream, r, &bytes[newest]);
}

static inline void commit_by(uint8_t id, const struct bw_change *c, uint32_t n)
{
	struct bw_root *r = bw_test_apply(&stream, roots[newest], c, n, id);

	store(r);
	bw_root_unref(r);
}

/* A stream in which ME holds "p", with one batch committed. */
static inline void start(void)
{
	struct bw_root *first;
	struct bw_change c[2] = {bw_test_fence("p", ME), bw_test_append("p", ME, 1, 0, 100)};

	bw_test_stream(&stream, 4);
	cr_assert_eq(bw_root_first(&stream, &first), 0);
	store(first);
	bw_root_unref(first);
	commit_by(50, c, 2);
	cr_assert_eq(bw_txn_new(&stream, roots[newest], &txn), 0);
}

static inline void end(void)
{
	bw_txn_free(txn);
	for (int i = 0; i < 16; i++) {
		bw_root_unref(roots[i]);
		bw_buf_done(&bytes[i]);
	}
}

static inline void add(struct bw_change c)
{
	cr_assert_eq(bw_txn_add(txn, &c, NULL), 0);
}

static inline struct bw_change mine(uint64_t seq)
{
	return bw_test_append("p", ME, 1, seq, 100 + seq);
}

static inline enum bw_txn_want step(const struct bw_txn_answer *a)
{
	commit_id[0]++;
	want = bw_txn_step(txn, a, 1, commit_id, &request);
	return want;
}

static inline void begin(enum bw_txn_want expected)
{
	cr_assert_eq(step(NULL), expected, "got %d", want);
}

static inline void answer(enum bw_outcome outcome, enum bw_txn_want expected)
{
	struct bw_txn_answer a = {.outcome = outcome};

	cr_assert_eq(step(&a), expected, "after %s: got %d", bw_outcome_name(outcome), want);
}

static inline void slept(enum bw_txn_want expected)
{
	cr_assert_eq(want, BW_TXN_SLEEP);
	cr_assert_eq(step(NULL), expected, "after a sleep: got %d", want);
}

static inline void answer_slot(const void *b, size_t len, enum bw_txn_want expected)
{
	struct bw_txn_answer a = {.outcome = BW_OK, .blob = bw_blob_copy(b, len)};

	cr_assert_eq(want, BW_TXN_GET);
	step(&a);
	bw_blob_unref(a.blob);
	cr_assert_eq(want, expected, "after reading the slot: got %d", want);
}

static inline void answer_newest(enum bw_txn_want expected)
{
	struct bw_txn_answer a = {.outcome = BW_OK, .root = roots[newest]};

	cr_assert_eq(want, BW_TXN_REFRESH);
	cr_assert_eq(step(&a), expected, "after the newest root: got %d", want);
}

static inline void answer_entry(const struct bw_entry *e, enum bw_txn_want expected)
{
	struct bw_txn_answer a = {.outcome = BW_OK, .entry = e};

	cr_assert_eq(want, BW_TXN_FIND);
	cr_assert_eq(step(&a), expected, "after the entry: got %d", want);
}

/* The put that is asked for takes effect. */
static inline void apply_put(void)
{
	char key[BW_KEY_MAX + 1];
	struct bw_root *r;
	bool tombstone;

	cr_assert_eq(want, BW_TXN_PUT);
	bw_key_root(&stream, newest + 1, key);
	cr_assert_str_eq(request.key, key);
	cr_assert_eq(bw_root_decode(&stream, newest + 1, request.bytes, request.len, &r, &tombstone),
		     0);
	cr_assert_eq(bw_apply_check(&stream, roots[newest], r), 0);
	store(r);
	bw_root_unref(r);
}

static inline void answer_tombstone(enum bw_txn_want expected)
{
	bw_auto_buf struct bw_buf t = {.max = 0};

	bw_buf_init(&t, 1024);
	cr_assert_eq(bw_tombstone_encode(3, &t), 0);
	answer_slot(t.bytes, t.len, expected);
}

static inline void expect_result(size_t i, int err)
{
	const struct bw_txn_change *c = bw_txn_at(txn, i);

	cr_assert_eq(want, BW_TXN_DONE);
	cr_assert(c->settled);
	cr_assert_eq(c->err, err, "change %zu: %d", i, c->err);
	cr_assert_not(bw_txn_in_doubt(txn));
}

static inline void expect_committed(size_t i, uint64_t step_, uint64_t version)
{
	expect_result(i, 0);
	cr_assert_eq(bw_txn_at(txn, i)->step, step_);
	cr_assert_eq(bw_txn_at(txn, i)->version, version);
}

static inline void rival_fences(void)
{
	struct bw_change c = bw_test_fence("p", RIVAL);

	commit_by(60, &c, 1);
}

static inline void rival_appends_elsewhere(void)
{
	struct bw_change c[2] = {bw_test_fence("q", RIVAL), bw_test_append("q", RIVAL, 1, 0, 900)};

	commit_by(61, c, 2);
}

#endif
