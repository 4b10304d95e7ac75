/* SPDX-License-Identifier: Apache-2.0 */
/* One commit driven by hand: what an attempt is made of, on whatever root is the newest (P4, P5, I6). */
#include "tests/unit/txn_world.h"

#include "manifest/tgb.h"
#include "store/base/rand.h"

#include <stdio.h>
#include <stdlib.h>

TestSuite(txn, .init = start, .fini = end);

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
static void add_with_footer(void)
{
	struct bw_change c = mine(1);

	c.footer_len = 8000;
	c.size = c.raw + c.footer_len;
	c.footer = malloc(c.footer_len);
	bw_random(c.footer, c.footer_len);
	c.footer_xxh3 = bw_tgb_sum(c.footer, c.footer_len);
	add(c);
}

Test(txn, a_footer_comes_with_its_commit)
{
	stream.large_unconditional = true;
	add_with_footer();
	begin(BW_TXN_PUT);
	apply_put();
	cr_assert_eq(roots[newest]->footers_n, 1);
	answer(BW_OK, BW_TXN_DONE);
	expect_committed(0, 1, 3);
}

Test(txn, a_footer_is_no_reason_to_refuse_a_commit)
{
	fill_the_newest(6000);
	add_with_footer();
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

/* C1: a marker holds its own step and no other. */
Test(txn, a_marker_of_another_step_is_not_there)
{
	struct bw_change c[2] = {bw_test_change(BW_CHANGE_JOB, "j"), bw_test_step(BW_CHANGE_MARK, "j", 1)};

	commit_by(67, c, 2);
	bw_txn_free(txn);
	cr_assert_eq(bw_txn_new(&stream, roots[newest], &txn), 0);
	add(bw_test_step(BW_CHANGE_MARK, "j", 0));
	begin(BW_TXN_PUT);
	apply_put();
	answer(BW_OK, BW_TXN_DONE);
	expect_result(0, 0);
	cr_assert_eq(bw_root_job(roots[newest], "j")->markers_n, 2);
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
