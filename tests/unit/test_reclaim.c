/* SPDX-License-Identifier: Apache-2.0 */
/* A pass of reclaiming on streams with garbage of every kind (C3, C4, C5). */
#include "tests/support/reclaim_world.h"

#include <criterion/criterion.h>
#include <string.h>

#define HOUR INT64_C(3600000)
#define DAY (24 * HOUR)

static const struct bw_reclaim_options whole = {.walk = true};

static void trimmed(struct bw_world *w)
{
	const uint64_t markers[] = {300, 450};

	bw_world_grow(w);
	bw_world_job(w, "j", markers, 2);
	w->now_ms += 2 * HOUR;
	struct bw_reclaim_report r = bw_world_pass(w, &whole);

	cr_assert_eq(r.err, 0);
	cr_assert_eq(r.trim, BW_TRIM_DONE);
	cr_assert_eq(w->root->first, 300);
}

Test(reclaim, c3_without_a_job_nothing_is_reclaimed)
{
	struct bw_world w;

	bw_world_grow(&w);
	w.now_ms += 2 * HOUR;
	struct bw_reclaim_report r = bw_world_pass(&w, &whole);

	cr_assert_eq(r.err, 0);
	cr_assert_eq(r.trim, BW_TRIM_NO_JOBS);
	cr_assert_eq(w.root->first, 0);
	cr_assert_eq(r.deleted[BW_WHY_RECLAIMED].n, 0);
	cr_assert_null(bw_world_missing(&w, NULL));
	bw_world_done(&w);
}

Test(reclaim, c3_a_job_with_too_few_markers_holds_everything)
{
	const uint64_t markers[] = {300};
	struct bw_world w;

	bw_world_grow(&w);
	bw_world_job(&w, "j", markers, 1);
	w.now_ms += 2 * HOUR;
	struct bw_reclaim_report r = bw_world_pass(&w, &whole);

	cr_assert_eq(r.trim, BW_TRIM_JOB_HOLDS);
	cr_assert_str_eq(r.holder, "j");
	cr_assert_eq(r.holder_markers, 1);
	cr_assert_eq(w.root->first, 0);
	bw_world_done(&w);
}

Test(reclaim, c4_steps_are_deleted_a_grace_after_their_trim_and_not_before)
{
	struct bw_world w;

	trimmed(&w);
	cr_assert_eq(bw_world_count(&w, BW_KEY_DATA), 700 + 2, "of 700 steps, and two uploads");
	/* The trim is young. */
	w.now_ms += HOUR;
	struct bw_reclaim_report r = bw_world_pass(&w, &whole);

	cr_assert_eq(r.deleted[BW_WHY_RECLAIMED].n, 0);
	cr_assert_eq(r.first, 300);
	cr_assert_eq(r.judge_first, 0);
	/* It is old. */
	w.now_ms += HOUR;
	r = bw_world_pass(&w, &whole);
	cr_assert_eq(r.err, 0);
	cr_assert_eq(r.deleted[BW_WHY_RECLAIMED].n, 300);
	cr_assert_eq(r.deleted[BW_WHY_NODE_OLD].n, 2);
	cr_assert_eq(w.root->swept, 300);
	cr_assert_eq(r.kept[BW_WHY_NEEDED].n, 400);
	cr_assert_null(bw_world_missing(&w, NULL));
	cr_assert_null(bw_world_garbage(&w), "%s", bw_world_garbage(&w));
	/* Nothing is left for the next. */
	r = bw_world_pass(&w, &whole);
	cr_assert_eq(r.trim, BW_TRIM_NOTHING);
	for (unsigned why = 0; why < BW_WHYS; why++)
		cr_assert_eq(r.deleted[why].n, 0, "%s", bw_reclaim_why_words(why));
	bw_world_done(&w);
}

Test(reclaim, c5_uploads_go_by_proof_and_those_that_may_be_committed_stay)
{
	struct bw_world w;

	bw_world_grow(&w);
	w.now_ms += 30 * DAY;
	struct bw_reclaim_report r = bw_world_pass(&w, &whole);

	cr_assert_eq(r.deleted[BW_WHY_FENCED].n, 1);
	cr_assert_eq(r.deleted[BW_WHY_LOST].n, 1);
	cr_assert_eq(r.kept[BW_WHY_UNSETTLED].n, 2, "data and state of p's next");
	cr_assert_eq(r.kept[BW_WHY_NO_PRODUCER].n, 1);
	cr_assert_eq(r.kept[BW_WHY_STATE_CURRENT].n, 2);
	cr_assert_eq(r.kept[BW_WHY_STATE_RECENT].n, 0);
	cr_assert_eq(r.deleted[BW_WHY_STATE_OLD].n, 20 + 40 - 1 + 2 + 100 - 1);
	cr_assert_null(bw_world_missing(&w, NULL));
	cr_assert_null(bw_world_garbage(&w), "%s", bw_world_garbage(&w));
	bw_world_done(&w);
}

Test(reclaim, what_a_young_root_needs_stays)
{
	struct bw_world w;

	bw_world_grow(&w);
	w.now_ms += 2 * HOUR;
	/* Taken and committed after the judge: by the judge's epoch the upload is of nobody, or to come. */
	bw_world_commit_one(&w, bw_test_fence("p", 4));
	bw_world_append(&w, "p", 4, 3, 600, 5, 1);
	bw_world_upload(&w, BW_KEY_DATA, "p", 2, 601, 90);	/* fenced, but not by the judge */
	struct bw_reclaim_report r = bw_world_pass(&w, &whole);

	cr_assert_null(bw_world_missing(&w, NULL));
	cr_assert_eq(r.kept[BW_WHY_UNSETTLED].n, 2 + 5 + 5 + 1);
	bw_world_done(&w);
}

Test(reclaim, a_store_that_tells_no_time_keeps_everything)
{
	struct bw_world w;

	trimmed(&w);
	w.now_ms += 2 * DAY;
	w.hide_times = true;
	size_t n = w.n;
	struct bw_reclaim_report r = bw_world_pass(&w, &whole);

	cr_assert_eq(r.err, 0);
	cr_assert_eq(r.judge, 0);
	cr_assert_eq(w.n, n);
	bw_world_done(&w);
}

Test(reclaim, old_roots_become_tombstones_a_day_after_they_were_superseded)
{
	struct bw_world w;
	struct bw_reclaim_report r;
	char key[BW_KEY_MAX + 1];

	trimmed(&w);
	uint64_t last = w.root->version;

	w.now_ms += 23 * HOUR;
	r = bw_world_pass(&w, &whole);
	cr_assert_eq(r.roots_buried, last - 2, "by the root before the trim, which is a day old");
	w.now_ms += DAY;
	r = bw_world_pass(&w, &whole);
	cr_assert_eq(r.roots_buried, 2, "the sweep is a day old now: what it superseded goes");
	cr_assert_eq(bw_world_count(&w, BW_KEY_ROOT), w.root->version, "no name is free");
	cr_assert_null(bw_world_missing(&w, NULL));
	for (uint64_t v = 1; v <= w.root->version; v++) {
		struct bw_root *root;
		bool tombstone;

		bw_key_root(&w.stream, v, key);
		const struct bw_blob *b = bw_world_get(&w, key)->blob;

		cr_assert_eq(bw_root_decode(&w.stream, v, b->bytes, b->len, &root, &tombstone), 0);
		cr_assert_eq(tombstone, v < w.root->version, "version %lu", (unsigned long)v);
		if (!tombstone)
			bw_root_unref(root);
	}
	bw_world_done(&w);
}

Test(reclaim, a_dry_run_says_what_a_real_one_then_does_and_writes_nothing)
{
	struct bw_world w, before;

	trimmed(&w);
	w.now_ms += 2 * DAY;
	bw_world_copy(&before, &w);
	struct bw_reclaim_options dry = {.dry = true, .walk = true, .dry_now_ms = w.now_ms};
	struct bw_reclaim_report d = bw_world_pass(&w, &dry), r;

	cr_assert_eq(d.err, 0);
	cr_assert_eq(w.n, before.n);
	for (size_t i = 0; i < w.n; i++)
		cr_assert_eq(w.objects[i].blob, before.objects[i].blob, "%s was written", w.objects[i].key);
	cr_assert_eq(w.root->version, before.root->version);
	r = bw_world_pass(&w, &whole);
	cr_assert_gt(r.deleted[BW_WHY_RECLAIMED].n, 0);
	for (unsigned why = 0; why < BW_WHYS; why++) {
		cr_assert_eq(d.deleted[why].n, r.deleted[why].n, "%s: %lu, %lu", bw_reclaim_why_words(why),
			     (unsigned long)d.deleted[why].n, (unsigned long)r.deleted[why].n);
		cr_assert_eq(d.kept[why].n, r.kept[why].n, "%s: %lu, %lu", bw_reclaim_why_words(why),
			     (unsigned long)d.kept[why].n, (unsigned long)r.kept[why].n);
	}
	cr_assert_eq(d.roots_buried, r.roots_buried);
	bw_world_done(&w);
	bw_world_done(&before);
}
