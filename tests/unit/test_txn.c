/* SPDX-License-Identifier: Apache-2.0 */
/* One commit driven by hand through every path that its slot can take (S3, P4, P5, I6). */
#include "tests/unit/txn_world.h"

#include "manifest/envelope.h"
#include "manifest/json.h"
#include "store/base/hash.h"

#include <stdlib.h>
#include <zstd.h>

TestSuite(txn, .init = start, .fini = end);

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

Test(txn, a_later_seq_that_came_first_says_nothing_of_an_earlier_one)
{
	add(mine(2));
	add(mine(1));
	begin(BW_TXN_REFRESH);
	answer_newest(BW_TXN_PUT);
	apply_put();
	answer(BW_OK, BW_TXN_DONE);
	expect_result(0, -BW_E_SEQ_GAP);
	expect_committed(1, 1, 3);
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

/* A batch proves it wherever it stands in the attempt, trimmed or not. */
Test(txn, tombstone_owner_mine_and_covered_behind_other_changes)
{
	add(bw_test_change(BW_CHANGE_JOB, "j"));
	add(bw_test_fence("q", ME));
	add(mine(1));
	begin(BW_TXN_PUT);
	apply_put();
	to_tombstone();
	answer_newest(BW_TXN_DONE);
	expect_committed(0, 0, 3);
	expect_committed(2, 1, 3);
	cr_assert_eq(bw_txn_at(txn, 1)->epoch, 1);
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
