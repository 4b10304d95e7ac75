/* SPDX-License-Identifier: Apache-2.0 */
/* One commit driven by hand through every path (S3, P4, P5, I6). */
#include "manifest/envelope.h"
#include "manifest/json.h"
#include "manifest/tgb.h"
#include "manifest/txn.h"
#include "store/base/hash.h"
#include "store/base/rand.h"
#include "tests/support/change.h"
#include "tests/support/sample.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

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

static void store(struct bw_root *r)
{
	newest = r->version;
	bw_buf_init(&bytes[newest], BW_ROOT_RAW_MAX);
	roots[newest] = bw_test_stored(&stream, r, &bytes[newest]);
}

static void commit_by(uint8_t id, const struct bw_change *c, uint32_t n)
{
	struct bw_root *r = bw_test_apply(&stream, roots[newest], c, n, id);

	store(r);
	bw_root_unref(r);
}

/* A stream in which ME holds "p", with one batch committed. */
static void start(void)
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

static void end(void)
{
	bw_txn_free(txn);
	for (int i = 0; i < 16; i++) {
		bw_root_unref(roots[i]);
		bw_buf_done(&bytes[i]);
	}
}

TestSuite(txn, .init = start, .fini = end);

static void add(struct bw_change c)
{
	cr_assert_eq(bw_txn_add(txn, &c, NULL), 0);
}

static struct bw_change mine(uint64_t seq)
{
	return bw_test_append("p", ME, 1, seq, 100 + seq);
}

static enum bw_txn_want step(const struct bw_txn_answer *a)
{
	commit_id[0]++;
	want = bw_txn_step(txn, a, 1, commit_id, &request);
	return want;
}

static void begin(enum bw_txn_want expected)
{
	cr_assert_eq(step(NULL), expected, "got %d", want);
}

static void answer(enum bw_outcome outcome, enum bw_txn_want expected)
{
	struct bw_txn_answer a = {.outcome = outcome};

	cr_assert_eq(step(&a), expected, "after %s: got %d", bw_outcome_name(outcome), want);
}

static void slept(enum bw_txn_want expected)
{
	cr_assert_eq(want, BW_TXN_SLEEP);
	cr_assert_eq(step(NULL), expected, "after a sleep: got %d", want);
}

static void answer_slot(const void *b, size_t len, enum bw_txn_want expected)
{
	struct bw_txn_answer a = {.outcome = BW_OK, .blob = bw_blob_copy(b, len)};

	cr_assert_eq(want, BW_TXN_GET);
	step(&a);
	bw_blob_unref(a.blob);
	cr_assert_eq(want, expected, "after reading the slot: got %d", want);
}

static void answer_newest(enum bw_txn_want expected)
{
	struct bw_txn_answer a = {.outcome = BW_OK, .root = roots[newest]};

	cr_assert_eq(want, BW_TXN_REFRESH);
	cr_assert_eq(step(&a), expected, "after the newest root: got %d", want);
}

static void answer_entry(const struct bw_entry *e, enum bw_txn_want expected)
{
	struct bw_txn_answer a = {.outcome = BW_OK, .entry = e};

	cr_assert_eq(want, BW_TXN_FIND);
	cr_assert_eq(step(&a), expected, "after the entry: got %d", want);
}

/* The put that is asked for takes effect. */
static void apply_put(void)
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

static void answer_tombstone(enum bw_txn_want expected)
{
	bw_auto_buf struct bw_buf t = {.max = 0};

	bw_buf_init(&t, 1024);
	cr_assert_eq(bw_tombstone_encode(3, &t), 0);
	answer_slot(t.bytes, t.len, expected);
}

static void expect_result(size_t i, int err)
{
	const struct bw_txn_change *c = bw_txn_at(txn, i);

	cr_assert_eq(want, BW_TXN_DONE);
	cr_assert(c->settled);
	cr_assert_eq(c->err, err, "change %zu: %d", i, c->err);
	cr_assert_not(bw_txn_in_doubt(txn));
}

static void expect_committed(size_t i, uint64_t step_, uint64_t version)
{
	expect_result(i, 0);
	cr_assert_eq(bw_txn_at(txn, i)->step, step_);
	cr_assert_eq(bw_txn_at(txn, i)->version, version);
}

static void rival_fences(void)
{
	struct bw_change c = bw_test_fence("p", RIVAL);

	commit_by(60, &c, 1);
}

static void rival_appends_elsewhere(void)
{
	struct bw_change c[2] = {bw_test_fence("q", RIVAL), bw_test_append("q", RIVAL, 1, 0, 900)};

	commit_by(61, c, 2);
}

/* ---- The slot decides --------------------------------------------------------------------------- */

Test(txn, ok)
{
	add(mine(1));
	add(mine(2));
	begin(BW_TXN_PUT);
	cr_assert(bw_txn_in_doubt(txn));
	apply_put();
	answer(BW_OK, BW_TXN_DONE);
	expect_committed(0, 1, 3);
	expect_committed(1, 2, 3);
	cr_assert_eq(bw_txn_root(txn)->version, 3);
	cr_assert_eq(bw_txn_root(txn)->stored_xxh3, roots[3]->stored_xxh3);
	cr_assert_eq(bw_txn_attempts(txn), 1);
}

/* A layer below has sent twice: EXISTS is no proof of having lost. */
Test(txn, exists_mine)
{
	add(mine(1));
	begin(BW_TXN_PUT);
	apply_put();
	answer(BW_EXISTS, BW_TXN_GET);
	cr_assert(bw_txn_in_doubt(txn));
	answer_slot(bytes[3].bytes, bytes[3].len, BW_TXN_DONE);
	expect_committed(0, 1, 3);
}

Test(txn, exists_other)
{
	add(mine(1));
	begin(BW_TXN_PUT);
	rival_appends_elsewhere();
	answer(BW_EXISTS, BW_TXN_GET);
	answer_slot(bytes[3].bytes, bytes[3].len, BW_TXN_SLEEP);
	cr_assert_eq(request.conflicts, 1);
	cr_assert_not(bw_txn_in_doubt(txn));
	slept(BW_TXN_REFRESH);
	answer_newest(BW_TXN_PUT);
	apply_put();
	answer(BW_OK, BW_TXN_DONE);
	expect_committed(0, 2, 4);
	cr_assert_eq(bw_txn_attempts(txn), 2);
}

Test(txn, unknown_then_ok)
{
	size_t len;

	add(mine(1));
	begin(BW_TXN_PUT);
	len = request.len;
	answer(BW_UNKNOWN, BW_TXN_SLEEP);
	cr_assert(bw_txn_in_doubt(txn));
	cr_assert(request.conflicts == 0 && request.tries == 1);
	slept(BW_TXN_PUT);
	cr_assert_eq(request.len, len);
	apply_put();
	answer(BW_OK, BW_TXN_DONE);
	expect_committed(0, 1, 3);
}

/* The same bytes to the same name, every time. */
Test(txn, unknown_then_exists_mine)
{
	add(mine(1));
	begin(BW_TXN_PUT);
	apply_put();
	answer(BW_UNKNOWN, BW_TXN_SLEEP);
	slept(BW_TXN_PUT);
	cr_assert_eq(request.len, bytes[3].len);
	cr_assert_arr_eq(request.bytes, bytes[3].bytes, bytes[3].len);
	answer(BW_EXISTS, BW_TXN_GET);
	answer_slot(bytes[3].bytes, bytes[3].len, BW_TXN_DONE);
	expect_committed(0, 1, 3);
}

Test(txn, unknown_then_exists_other)
{
	add(mine(1));
	begin(BW_TXN_PUT);
	answer(BW_UNKNOWN, BW_TXN_SLEEP);
	rival_appends_elsewhere();
	slept(BW_TXN_PUT);
	answer(BW_EXISTS, BW_TXN_GET);
	answer_slot(bytes[3].bytes, bytes[3].len, BW_TXN_SLEEP);
	slept(BW_TXN_REFRESH);
	answer_newest(BW_TXN_PUT);
	apply_put();
	answer(BW_OK, BW_TXN_DONE);
	expect_committed(0, 2, 4);
}

/* While an earlier send may still land, no answer but OK or EXISTS says anything. */
Test(txn, late_duplicate)
{
	enum bw_outcome no[] = {BW_FULL, BW_DENIED, BW_UNREACHABLE, BW_CANCELLED, BW_THROTTLED,
				BW_UNKNOWN};

	add(mine(1));
	begin(BW_TXN_PUT);
	answer(BW_UNKNOWN, BW_TXN_SLEEP);
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		slept(BW_TXN_PUT);
		answer(no[i], BW_TXN_SLEEP);
		cr_assert(bw_txn_in_doubt(txn));
	}
	cr_assert_eq(request.tries, 7);
	slept(BW_TXN_PUT);
	apply_put();	/* the first send, late */
	answer(BW_EXISTS, BW_TXN_GET);
	answer_slot(bytes[3].bytes, bytes[3].len, BW_TXN_DONE);
	expect_committed(0, 1, 3);
}

Test(txn, nothing_applied_settles)
{
	add(mine(1));
	add(bw_test_change(BW_CHANGE_JOB, "j"));
	begin(BW_TXN_PUT);
	answer(BW_FULL, BW_TXN_DONE);
	expect_result(0, -ENOSPC);
	expect_result(1, -ENOSPC);
}

/* A slot that was taken and is then not there was perhaps taken by this attempt. */
Test(txn, a_slot_that_comes_and_goes_leaves_a_doubt)
{
	add(mine(1));
	begin(BW_TXN_PUT);
	answer(BW_EXISTS, BW_TXN_GET);
	answer(BW_NOT_FOUND, BW_TXN_SLEEP);
	slept(BW_TXN_PUT);
	answer(BW_FULL, BW_TXN_SLEEP);
	cr_assert(bw_txn_in_doubt(txn));
	slept(BW_TXN_PUT);
	apply_put();
	answer(BW_OK, BW_TXN_DONE);
	expect_committed(0, 1, 3);
}

/* What is not known of an attempt that was lost is no doubt about the next one. */
Test(txn, nothing_applied_settles_behind_one_that_was_lost)
{
	add(mine(1));
	begin(BW_TXN_PUT);
	rival_appends_elsewhere();
	answer(BW_UNKNOWN, BW_TXN_SLEEP);
	slept(BW_TXN_PUT);
	answer(BW_EXISTS, BW_TXN_GET);
	answer_slot(bytes[newest].bytes, bytes[newest].len, BW_TXN_SLEEP);
	cr_assert_not(bw_txn_in_doubt(txn));
	slept(BW_TXN_REFRESH);
	answer_newest(BW_TXN_PUT);
	answer(BW_FULL, BW_TXN_DONE);
	expect_result(0, -ENOSPC);
}

Test(txn, throttled_then_denied_settles)
{
	add(mine(1));
	begin(BW_TXN_PUT);
	answer(BW_THROTTLED, BW_TXN_SLEEP);
	cr_assert_not(bw_txn_in_doubt(txn), "nothing was applied");
	slept(BW_TXN_PUT);
	cr_assert(bw_txn_in_doubt(txn));
	answer(BW_DENIED, BW_TXN_DONE);
	expect_result(0, -BW_E_DENIED);
}

Test(txn, the_slot_is_read_until_it_answers)
{
	bw_auto_buf struct bw_buf damaged = {.max = 0};

	add(mine(1));
	begin(BW_TXN_PUT);
	apply_put();
	answer(BW_EXISTS, BW_TXN_GET);
	answer(BW_UNREACHABLE, BW_TXN_SLEEP);
	slept(BW_TXN_GET);
	bw_buf_init(&damaged, BW_ROOT_RAW_MAX);
	bw_buf_add(&damaged, bytes[3].bytes, bytes[3].len);
	damaged.bytes[damaged.len / 2] ^= 1;
	answer_slot(damaged.bytes, damaged.len, BW_TXN_SLEEP);
	cr_assert(bw_txn_in_doubt(txn));
	slept(BW_TXN_GET);
	answer(BW_NOT_FOUND, BW_TXN_SLEEP);
	slept(BW_TXN_PUT);
	answer(BW_EXISTS, BW_TXN_GET);
	answer_slot(bytes[3].bytes, bytes[3].len, BW_TXN_DONE);
	expect_committed(0, 1, 3);
}

/* In the slot is what asks its readers for a feature that none here has. */
static void answer_slot_with(const char *feature, enum bw_txn_want expected)
{
	bw_auto_buf struct bw_buf raw = {.max = 0}, stored = {.max = 0};

	bw_buf_init(&raw, 1024);
	bw_buf_init(&stored, 1024);
	bw_buf_fmt(&raw, "{\"features_read\":[\"%s\"],\"features_write\":[\"%s\"],\"stream\":", feature, feature);
	bw_json_put_hex(&raw, stream.id, sizeof(stream.id));
	bw_buf_str(&raw, ",\"version\":\"3\"}");
	cr_assert_eq(bw_envelope_seal(BW_ENVELOPE_ROOT, raw.bytes, raw.len, &stored), 0);
	answer_slot(stored.bytes, stored.len, expected);
}

/* What another has put there, a barrier or a newer release's root, no look will make ours: the wait has an end. */
Test(txn, the_slot_of_a_stream_that_is_destroyed)
{
	add(mine(1));
	begin(BW_TXN_PUT);
	answer(BW_EXISTS, BW_TXN_GET);
	answer_slot_with(BW_FEATURE_DESTROYED, BW_TXN_DONE);
	expect_result(0, -BW_E_DESTROYED);
}

Test(txn, the_slot_of_a_newer_format)
{
	add(mine(1));
	begin(BW_TXN_PUT);
	answer(BW_EXISTS, BW_TXN_GET);
	for (int i = 0; i < 3; i++) {
		answer_slot_with("later", BW_TXN_SLEEP);
		cr_assert(bw_txn_in_doubt(txn));
		slept(BW_TXN_GET);
	}
	answer_slot_with("later", BW_TXN_DONE);
	expect_result(0, -BW_E_FORMAT_NEWER);
}

/* The same root, compressed otherwise: other bytes that hold the same. */
static void pack_otherwise(const struct bw_buf *stored, struct bw_buf *ret)
{
	bw_auto_buf struct bw_buf raw = {.max = 0};
	size_t room, n;

	bw_buf_init(&raw, BW_ROOT_RAW_MAX);
	bw_sample_open(BW_ENVELOPE_ROOT, stored, &raw);
	room = ZSTD_compressBound(raw.len);
	void *packed = malloc(room);

	n = ZSTD_compress(packed, room, raw.bytes, raw.len, 19);
	cr_assert_not(ZSTD_isError(n));
	/* docs/format.md: the stored length at 12, its checksum at 16, the header's at 24 */
	bw_buf_add(ret, stored->bytes, 12);
	bw_buf_u32(ret, (uint32_t)n);
	bw_buf_u64(ret, bw_xxh3(packed, n));
	bw_buf_u64(ret, bw_xxh3(ret->bytes, 24));
	bw_buf_add(ret, packed, n);
	free(packed);
}

Test(txn, exists_mine_in_other_bytes)
{
	bw_auto_buf struct bw_buf other = {.max = 0};

	for (uint64_t i = 1; i < 60; i++)
		add(mine(i));
	begin(BW_TXN_PUT);
	apply_put();
	answer(BW_EXISTS, BW_TXN_GET);
	bw_buf_init(&other, BW_ROOT_RAW_MAX);
	pack_otherwise(&bytes[3], &other);
	cr_assert_neq(other.len, bytes[3].len);
	answer_slot(other.bytes, other.len, BW_TXN_DONE);
	expect_committed(0, 1, 3);
}

/* ---- The slot is a tombstone: the state decides ------------------------------------------------- */

static void to_tombstone(void)
{
	answer(BW_UNKNOWN, BW_TXN_SLEEP);
	slept(BW_TXN_PUT);
	answer(BW_EXISTS, BW_TXN_GET);
	answer_tombstone(BW_TXN_REFRESH);
	cr_assert(bw_txn_in_doubt(txn));
}

Test(txn, tombstone_owner_mine_and_covered)
{
	add(mine(1));
	add(bw_test_change(BW_CHANGE_JOB, "j"));
	begin(BW_TXN_PUT);
	apply_put();
	rival_appends_elsewhere();
	to_tombstone();
	answer_newest(BW_TXN_DONE);
	expect_committed(0, 1, 3);
	expect_committed(1, 0, 3);
}

Test(txn, tombstone_owner_mine_not_covered)
{
	add(mine(1));
	begin(BW_TXN_PUT);
	rival_appends_elsewhere();
	to_tombstone();
	answer_newest(BW_TXN_SLEEP);
	slept(BW_TXN_REFRESH);
	answer_newest(BW_TXN_PUT);
	apply_put();
	answer(BW_OK, BW_TXN_DONE);
	expect_committed(0, 2, 4);
}

Test(txn, tombstone_fenced_after_the_commit)
{
	add(mine(1));
	begin(BW_TXN_PUT);
	apply_put();
	rival_fences();
	to_tombstone();
	answer_newest(BW_TXN_FIND);
	cr_assert_eq(request.step, 1);
	answer_entry(bw_root_tail_entry(roots[newest], 1), BW_TXN_DONE);
	expect_committed(0, 1, 3);
}

Test(txn, tombstone_fenced_instead_of_the_commit)
{
	struct bw_change theirs = bw_test_append("p", RIVAL, 2, 1, 555);

	add(mine(1));
	begin(BW_TXN_PUT);
	rival_fences();
	commit_by(62, &theirs, 1);
	to_tombstone();
	answer_newest(BW_TXN_FIND);
	answer(BW_UNREACHABLE, BW_TXN_SLEEP);
	slept(BW_TXN_REFRESH);
	answer_newest(BW_TXN_FIND);
	answer_entry(bw_root_tail_entry(roots[newest], 1), BW_TXN_SLEEP);
	slept(BW_TXN_REFRESH);
	answer_newest(BW_TXN_DONE);
	expect_result(0, -BW_E_FENCED);
}

/* The same seq and step, but another's nonce or epoch, is not mine. */
Test(txn, tombstone_nonce_decides)
{
	struct bw_entry e;

	add(mine(1));
	begin(BW_TXN_PUT);
	apply_put();
	rival_fences();
	to_tombstone();
	answer_newest(BW_TXN_FIND);
	e = *bw_root_tail_entry(roots[newest], 1);
	e.nonce++;
	answer_entry(&e, BW_TXN_SLEEP);
	slept(BW_TXN_REFRESH);
	answer_newest(BW_TXN_DONE);
	expect_result(0, -BW_E_FENCED);
}

Test(txn, tombstone_fenced_and_no_such_step)
{
	add(mine(1));
	begin(BW_TXN_PUT);
	rival_fences();
	to_tombstone();
	answer_newest(BW_TXN_SLEEP);
	slept(BW_TXN_REFRESH);
	answer_newest(BW_TXN_DONE);
	expect_result(0, -BW_E_FENCED);
}

Test(txn, tombstone_fenced_and_trimmed)
{
	struct bw_change c[4] = {bw_test_change(BW_CHANGE_JOB, "j"),
				 bw_test_step(BW_CHANGE_MARK, "j", 2),
				 bw_test_step(BW_CHANGE_MARK, "j", 1),
				 bw_test_change(BW_CHANGE_TRIM, "")};

	add(mine(1));
	begin(BW_TXN_PUT);
	apply_put();
	rival_fences();
	commit_by(63, c, 2);
	c[2].step = 2;
	stream.options.keep = 1;
	commit_by(64, &c[3], 1);
	cr_assert_eq(roots[newest]->first, 2);
	to_tombstone();
	answer_newest(BW_TXN_DONE);
	expect_result(0, -BW_E_UNKNOWN);
}

/* What is looked up is a batch, whatever was committed with it. */
Test(txn, tombstone_fenced_after_a_commit_of_more_than_batches)
{
	struct bw_change mark = bw_test_step(BW_CHANGE_MARK, "j", 1);

	add(bw_test_change(BW_CHANGE_JOB, "j"));
	add(mine(1));
	add(mark);
	begin(BW_TXN_PUT);
	apply_put();
	rival_fences();
	to_tombstone();
	answer_newest(BW_TXN_FIND);
	cr_assert_eq(request.step, 1);
	answer_entry(bw_root_tail_entry(roots[newest], 1), BW_TXN_DONE);
	expect_committed(0, 0, 3);
	expect_committed(1, 1, 3);
	expect_committed(2, 0, 3);
}

/* One batch of the attempt that can still be looked up is enough for all of them. */
Test(txn, tombstone_fenced_and_partly_trimmed)
{
	struct bw_change c[3] = {bw_test_change(BW_CHANGE_JOB, "j"),
				 bw_test_step(BW_CHANGE_MARK, "j", 2),
				 bw_test_change(BW_CHANGE_TRIM, "")};

	add(mine(1));
	add(mine(2));
	begin(BW_TXN_PUT);
	apply_put();
	rival_fences();
	stream.options.keep = 1;
	commit_by(63, c, 3);
	cr_assert_eq(roots[newest]->first, 2);
	to_tombstone();
	answer_newest(BW_TXN_FIND);
	cr_assert_eq(request.step, 2);
	answer_entry(bw_root_tail_entry(roots[newest], 2), BW_TXN_DONE);
	expect_committed(0, 1, 3);
	expect_committed(1, 2, 3);
}

Test(txn, tombstone_an_older_root_proves_nothing)
{
	struct bw_txn_answer old = {.outcome = BW_OK, .root = roots[2]};

	add(mine(1));
	begin(BW_TXN_PUT);
	apply_put();
	to_tombstone();
	cr_assert_eq(step(&old), BW_TXN_SLEEP);
	slept(BW_TXN_REFRESH);
	answer(BW_UNREACHABLE, BW_TXN_SLEEP);
	cr_assert(bw_txn_in_doubt(txn));
	slept(BW_TXN_REFRESH);
	answer_newest(BW_TXN_DONE);
	expect_committed(0, 1, 3);
}

/* S3: a head that is poisoned, or cannot read what is newest, never brings a root: the wait has an end. */
static void expect_end_without_root(int err, unsigned looks, int told)
{
	struct bw_txn_answer none = {.outcome = BW_UNREACHABLE, .err = err};

	add(mine(1));
	begin(BW_TXN_PUT);
	apply_put();
	to_tombstone();
	while (--looks) {
		cr_assert_eq(step(&none), BW_TXN_SLEEP);
		slept(BW_TXN_REFRESH);
	}
	cr_assert_eq(step(&none), BW_TXN_DONE);
	expect_result(0, told);
}

Test(txn, tombstone_of_a_stream_that_is_destroyed)
{
	expect_end_without_root(-BW_E_DESTROYED, 1, -BW_E_DESTROYED);
}

Test(txn, tombstone_below_a_contradiction)
{
	expect_end_without_root(-BW_E_CONTRADICTION, 1, -BW_E_UNKNOWN);
}

Test(txn, tombstone_below_a_newer_format)
{
	expect_end_without_root(-BW_E_FORMAT_NEWER, 4, -BW_E_UNKNOWN);
}

/* Without a batch there is nothing to count twice: what is there is taken as done, the rest is redone. */
Test(txn, tombstone_without_a_batch)
{
	add(bw_test_fence("q", ME));
	add(bw_test_change(BW_CHANGE_JOB, "j"));
	begin(BW_TXN_PUT);
	apply_put();
	rival_fences();
	to_tombstone();
	answer_newest(BW_TXN_SLEEP);
	slept(BW_TXN_REFRESH);
	answer_newest(BW_TXN_DONE);
	expect_result(0, 0);
	expect_result(1, 0);
	cr_assert_eq(bw_txn_at(txn, 0)->epoch, 1);
	cr_assert_eq(newest, 4);
}

/* ---- Rebasing ----------------------------------------------------------------------------------- */

/* P5: what is not held any more is dropped, the rest is committed. */
Test(txn, fenced)
{
	add(mine(1));
	add(mine(2));
	add(bw_test_change(BW_CHANGE_JOB, "j"));
	begin(BW_TXN_PUT);
	rival_fences();
	answer(BW_EXISTS, BW_TXN_GET);
	answer_slot(bytes[3].bytes, bytes[3].len, BW_TXN_SLEEP);
	slept(BW_TXN_REFRESH);
	answer_newest(BW_TXN_PUT);
	apply_put();
	answer(BW_OK, BW_TXN_DONE);
	expect_result(0, -BW_E_FENCED);
	expect_result(1, -BW_E_FENCED);
	expect_committed(2, 0, 4);
	cr_assert_eq(roots[4]->head, 1, "nothing of the fenced epoch");
}

/* Same epoch, other owner: two mounts raced to take it. */
Test(txn, owner_is_compared_not_only_the_epoch)
{
	add(bw_test_append("r", ME, 1, 0, 7));
	begin(BW_TXN_REFRESH);
	struct bw_change c = bw_test_fence("r", RIVAL);

	commit_by(65, &c, 1);
	answer_newest(BW_TXN_DONE);
	expect_result(0, -BW_E_FENCED);
}

Test(txn, seq_taken_and_gap)
{
	add(mine(0));
	add(mine(3));
	begin(BW_TXN_REFRESH);
	answer_newest(BW_TXN_DONE);
	expect_result(0, -BW_E_SEQ_TAKEN);
	expect_result(1, -BW_E_SEQ_TAKEN);	/* what follows a failed batch fails with it */
}

/* An error is only given on a root that was the newest during the txn. */
Test(txn, errors_are_not_given_on_an_old_root)
{
	struct bw_change c = bw_test_change(BW_CHANGE_JOB, "j");

	commit_by(66, &c, 1);
	add(bw_test_step(BW_CHANGE_MARK, "j", 1));	/* in the root the txn began with: no such job */
	begin(BW_TXN_REFRESH);
	answer_newest(BW_TXN_PUT);
	apply_put();
	answer(BW_OK, BW_TXN_DONE);
	expect_committed(0, 0, 4);
}

/* ... and not on changes that are not committed themselves. */
Test(txn, errors_wait_for_the_changes_they_come_from)
{
	add(mine(1));
	add(bw_test_append("p", ME, 1, 1, 999));
	add(mine(2));
	begin(BW_TXN_PUT);
	apply_put();
	cr_assert_eq(roots[3]->changes_n, 1);
	answer(BW_OK, BW_TXN_DONE);
	expect_committed(0, 1, 3);
	expect_result(1, -BW_E_SEQ_TAKEN);
	expect_result(2, -BW_E_SEQ_TAKEN);
}

Test(txn, a_full_version_is_followed_by_another)
{
	for (uint64_t i = 0; i < BW_APPENDS_MAX + 10; i++)
		add(mine(1 + i));
	begin(BW_TXN_PUT);	/* a leaf */
	answer(BW_OK, BW_TXN_PUT);
	apply_put();
	answer(BW_OK, BW_TXN_PUT);
	apply_put();
	answer(BW_OK, BW_TXN_DONE);
	expect_committed(BW_APPENDS_MAX - 1, BW_APPENDS_MAX, 3);
	expect_committed(BW_APPENDS_MAX + 9, BW_APPENDS_MAX + 10, 4);
}

/* ,"zzz":"..." of so many bytes, which pack to three quarters. */
static char *ballast_new(size_t len)
{
	static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
	char *text = malloc(len + 16), *at = text + snprintf(text, 16, ",\"zzz\":\"");
	struct bw_rng rng;

	bw_rng_init(&rng, 7);
	for (size_t i = 0; i < len; i++)
		*at++ = letters[bw_rng_next(&rng) >> 58];
	memcpy(at, "\"", 2);
	return text;
}

/* The newest root packs to as many bytes as a root may have, or up to room less. */
static void fill_the_newest(size_t room)
{
	size_t len = BW_LARGE_OBJECT / 4 * 5;

	stream.large_unconditional = true;
	do {
		struct bw_root *r = roots[newest];

		free(r->unknown);
		r->unknown = ballast_new(len);
		bw_buf_reset(&bytes[newest]);
		roots[newest] = bw_test_stored(&stream, r, &bytes[newest]);
		bw_root_unref(r);
		len = (size_t)((double)len * (BW_LARGE_OBJECT - (double)room / 2) / (double)bytes[newest].len);
	} while (bytes[newest].len > BW_LARGE_OBJECT - room / 4 || bytes[newest].len < BW_LARGE_OBJECT - room);
	bw_txn_free(txn);
	cr_assert_eq(bw_txn_new(&stream, roots[newest], &txn), 0);
}

/* Where roots above 5 MiB cannot be put if absent, a footer that would make one so large stays out. */
Test(txn, a_footer_is_no_reason_to_refuse_a_commit)
{
	struct bw_change c = mine(1);

	fill_the_newest(6000);
	c.footer_len = 8000;
	c.size = c.raw + c.footer_len;
	c.footer = malloc(c.footer_len);
	bw_random(c.footer, c.footer_len);
	c.footer_xxh3 = bw_tgb_sum(c.footer, c.footer_len);
	add(c);
	begin(BW_TXN_PUT);
	cr_assert_leq(request.len, BW_LARGE_OBJECT);
	apply_put();
	cr_assert_eq(roots[newest]->footers_n, 0);
	answer(BW_OK, BW_TXN_DONE);
	expect_committed(0, 1, 3);
}

/* Where the store forgets the condition a larger one would overwrite another's: it is never sent. */
Test(txn, S3_a_root_above_what_is_put_if_absent_is_refused)
{
	const size_t len = 59;
	char *letters = ballast_new(60 * len);

	fill_the_newest(2000);
	for (size_t i = 0; i < 60; i++) {
		struct bw_change job = bw_test_change(BW_CHANGE_JOB, "j");

		for (size_t k = 0; k < len; k++)	/* backwards: what is there already packs to nothing */
			job.name[1 + k] = letters[8 + (60 - i) * len - k - 1];
		add(job);
	}
	free(letters);
	begin(BW_TXN_DONE);
	for (size_t i = 0; i < 60; i++)
		expect_result(i, -BW_E_LIMIT);
	cr_assert_eq(bw_txn_attempts(txn), 0);
}

Test(txn, what_is_there_already_commits_nothing)
{
	add(bw_test_change(BW_CHANGE_REGISTER, "p"));
	add(bw_test_fence("p", ME));
	begin(BW_TXN_REFRESH);
	answer_newest(BW_TXN_DONE);
	expect_result(0, 0);
	expect_result(1, 0);
	cr_assert_eq(bw_txn_at(txn, 1)->epoch, 1);
	cr_assert_eq(bw_txn_attempts(txn), 0);
}

Test(txn, unmark_then_mark_is_not_there_already)
{
	struct bw_change c[2] = {bw_test_change(BW_CHANGE_JOB, "j"),
				 bw_test_step(BW_CHANGE_MARK, "j", 1)};

	commit_by(67, c, 2);
	add(bw_test_step(BW_CHANGE_UNMARK, "j", 1));
	add(bw_test_step(BW_CHANGE_MARK, "j", 1));
	begin(BW_TXN_REFRESH);
	answer_newest(BW_TXN_PUT);
	apply_put();
	answer(BW_OK, BW_TXN_DONE);
	expect_committed(0, 0, 4);
	expect_committed(1, 0, 4);
}

/* C2: one that has lost its slot to the same marker with a text is not made over it. */
Test(txn, a_mark_without_a_text_is_there_with_any)
{
	struct bw_change c[2] = {bw_test_change(BW_CHANGE_JOB, "j"),
				 bw_test_step(BW_CHANGE_MARK, "j", 1)};

	c[1].text = strdup("text");
	commit_by(67, c, 2);
	bw_change_done(&c[1]);
	add(bw_test_step(BW_CHANGE_MARK, "j", 1));
	begin(BW_TXN_REFRESH);
	answer_newest(BW_TXN_DONE);
	expect_result(0, 0);
	cr_assert_eq(bw_txn_attempts(txn), 0);
}

Test(txn, each_marker_of_a_job_is_there_already)
{
	struct bw_change c[3] = {bw_test_change(BW_CHANGE_JOB, "j"), bw_test_step(BW_CHANGE_MARK, "j", 0),
				 bw_test_step(BW_CHANGE_MARK, "j", 1)};

	commit_by(67, c, 3);
	add(c[1]);
	add(c[2]);
	begin(BW_TXN_REFRESH);
	answer_newest(BW_TXN_DONE);
	expect_result(0, 0);
	expect_result(1, 0);
	cr_assert_eq(bw_txn_attempts(txn), 0);
}

Test(txn, fences_give_their_epochs)
{
	add(bw_test_fence("q", ME));
	add(bw_test_fence("p", RIVAL));
	add(bw_test_fence("q", RIVAL));
	begin(BW_TXN_PUT);
	apply_put();
	answer(BW_OK, BW_TXN_DONE);
	expect_result(0, 0);
	cr_assert_eq(bw_txn_at(txn, 0)->epoch, 1);
	cr_assert_eq(bw_txn_at(txn, 1)->epoch, 2);
	cr_assert_eq(bw_txn_at(txn, 2)->epoch, 2);
}

/* C4: a trim that lost its slot to other markers releases no more than who sent it has looked at. */
Test(txn, C4_a_trim_goes_no_further_than_was_looked_at)
{
	struct bw_change marks[] = {bw_test_change(BW_CHANGE_JOB, "j"), bw_test_step(BW_CHANGE_MARK, "j", 1),
				    bw_test_step(BW_CHANGE_MARK, "j", 3)};
	struct bw_change moved[] = {bw_test_step(BW_CHANGE_UNMARK, "j", 1), bw_test_step(BW_CHANGE_MARK, "j", 4)};

	commit_by(62, (struct bw_change[]){mine(1), mine(2), mine(3)}, 3);
	commit_by(63, marks, 3);
	add((struct bw_change){.kind = BW_CHANGE_TRIM, .trim_most = 1});
	begin(BW_TXN_REFRESH);
	answer_newest(BW_TXN_PUT);
	commit_by(64, moved, 2);
	answer(BW_EXISTS, BW_TXN_GET);
	answer_slot(bytes[newest].bytes, bytes[newest].len, BW_TXN_SLEEP);
	slept(BW_TXN_REFRESH);
	answer_newest(BW_TXN_DONE);
	expect_result(0, -EAGAIN);
	cr_assert_eq(roots[newest]->first, 0);
}

Test(txn, a_newest_root_that_cannot_be_had_settles)
{
	struct bw_txn_answer a = {.outcome = BW_UNREACHABLE, .err = -BW_E_CONTRADICTION};

	add(mine(1));
	begin(BW_TXN_PUT);
	rival_fences();
	answer(BW_EXISTS, BW_TXN_GET);
	answer_slot(bytes[3].bytes, bytes[3].len, BW_TXN_SLEEP);
	slept(BW_TXN_REFRESH);
	cr_assert_eq(step(&a), BW_TXN_DONE);
	expect_result(0, -BW_E_CONTRADICTION);
}

/* ---- Index nodes -------------------------------------------------------------------------------- */

static void fill_to_fold(void)
{
	struct bw_change c[254];

	for (uint64_t i = 0; i < 254; i++)
		c[i] = mine(1 + i);
	commit_by(68, c, 254);
	bw_txn_free(txn);
	cr_assert_eq(bw_txn_new(&stream, roots[newest], &txn), 0);
	add(mine(255));
}

/* Nodes are durable before the root that names them is sent. */
Test(txn, nodes_go_first)
{
	char key[BW_KEY_MAX + 1];

	fill_to_fold();
	begin(BW_TXN_PUT);
	cr_assert(strstr(request.key, "/index/0/"));
	cr_assert_not(bw_txn_in_doubt(txn));
	answer(BW_EXISTS, BW_TXN_PUT);
	bw_key_root(&stream, newest + 1, key);
	cr_assert_str_eq(request.key, key);
	apply_put();
	answer(BW_OK, BW_TXN_DONE);
	expect_committed(0, 255, newest);
	cr_assert_eq(roots[newest]->levels[0].n, 1);
}

/* All of them: a root that names one which is not there has lost its steps. */
Test(txn, each_node_goes_first)
{
	static const char *const nodes[] = {"/index/0/0-127-", "/index/0/128-255-"};

	fill_to_fold();
	for (uint64_t i = 256; i < 400; i++)
		add(mine(i));
	begin(BW_TXN_PUT);
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		cr_assert(strstr(request.key, nodes[i]), "%s", request.key);
		cr_assert_not(bw_txn_in_doubt(txn));
		answer(BW_OK, BW_TXN_PUT);
	}
	apply_put();
	answer(BW_OK, BW_TXN_DONE);
	expect_committed(144, 399, newest);
	cr_assert_eq(roots[newest]->levels[0].n, 2);
}

/* An attempt that was lost says nothing of the nodes of the next one, which may be others. */
Test(txn, nodes_go_first_in_each_attempt)
{
	struct bw_change job = bw_test_change(BW_CHANGE_JOB, "j");
	char key[BW_KEY_MAX + 1];

	fill_to_fold();
	begin(BW_TXN_PUT);
	memcpy(key, request.key, sizeof(key));
	answer(BW_OK, BW_TXN_PUT);
	cr_assert_str_neq(request.key, key);
	commit_by(61, &job, 1);
	answer(BW_EXISTS, BW_TXN_GET);
	answer_slot(bytes[newest].bytes, bytes[newest].len, BW_TXN_SLEEP);
	slept(BW_TXN_REFRESH);
	answer_newest(BW_TXN_PUT);
	cr_assert_str_eq(request.key, key);
	cr_assert_not(bw_txn_in_doubt(txn));
	answer(BW_OK, BW_TXN_PUT);
	apply_put();
	answer(BW_OK, BW_TXN_DONE);
	expect_committed(0, 255, newest);
}

Test(txn, node_put_ambiguous)
{
	char key[BW_KEY_MAX + 1];

	fill_to_fold();
	begin(BW_TXN_PUT);
	memcpy(key, request.key, sizeof(key));
	answer(BW_UNKNOWN, BW_TXN_SLEEP);
	slept(BW_TXN_PUT);
	cr_assert_str_eq(request.key, key);
	answer(BW_THROTTLED, BW_TXN_SLEEP);
	slept(BW_TXN_PUT);
	cr_assert_str_eq(request.key, key);
	answer(BW_OK, BW_TXN_PUT);
	cr_assert_str_neq(request.key, key);
}

Test(txn, node_put_full)
{
	fill_to_fold();
	begin(BW_TXN_PUT);
	answer(BW_FULL, BW_TXN_DONE);
	expect_result(0, -ENOSPC);
}

Test(txn, may_be_freed_in_every_state)
{
	add(mine(1));
	begin(BW_TXN_PUT);
	bw_txn_free(txn);
	cr_assert_eq(bw_txn_new(&stream, roots[newest], &txn), 0);
	add(mine(1));
	begin(BW_TXN_PUT);
	answer(BW_UNKNOWN, BW_TXN_SLEEP);
	bw_txn_free(txn);
	txn = NULL;
}
