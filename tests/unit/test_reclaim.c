/* SPDX-License-Identifier: Apache-2.0 */
/* A pass of reclaiming on streams with garbage of every kind (C3, C4, C5). */
#include "store/base/hash.h"
#include "tests/support/reclaim_world.h"

#include <criterion/criterion.h>
#include <endian.h>
#include <stdio.h>
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
	cr_assert(r.no_time);
	cr_assert_eq(w.n, n);
	w.hide_times = false;
	w.hide_root_times = true;
	r = bw_world_pass(&w, &whole);
	cr_assert_eq(r.err, 0);
	cr_assert_eq(r.judge, 0);
	cr_assert(r.no_time);
	cr_assert_eq(w.n, n);
	w.hide_root_times = false;
	r = bw_world_pass(&w, &whole);
	cr_assert(r.judge && !r.no_time);
	bw_world_done(&w);
}

/* When they were written says nothing of the versions whose names they keep. */
Test(reclaim, tombstones_written_lately_are_old_all_the_same)
{
	struct bw_world w;

	trimmed(&w);
	w.now_ms += 2 * DAY;
	uint64_t old = w.root->version;

	for (int i = 0; i < 60; i++)
		bw_world_commit_one(&w, bw_test_fence("q", 3));
	cr_assert_eq(bw_world_pass(&w, &whole).roots_buried, old - 1);
	cr_assert_eq(bw_world_pass(&w, &whole).judge, old);
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

#define BACKLOG (BW_RECLAIM_BURIED_MAX + 1000)

static void many_versions(struct bw_world *w)
{
	bw_world_init(w);
	bw_world_commit_one(w, bw_test_fence("p", 1));
	while (w->root->version <= BACKLOG)
		bw_world_commit_one(w, bw_test_fence("p", (uint8_t)(1 + w->root->version % 2)));
	w->now_ms += 2 * DAY;
}

static bool is_root(const struct bw_world *w, uint64_t version)
{
	char key[BW_KEY_MAX + 1];

	bw_key_root(&w->stream, version, key);
	return bw_world_get(w, key)->blob->len > BW_TOMBSTONE_MAX;
}

static uint64_t roots(const struct bw_world *w)
{
	uint64_t n = 0;

	for (uint64_t v = 1; v <= w->root->version; v++)
		n += is_root(w, v);
	return n;
}

/* However many are due, a pass has an end; those that follow leave nothing. */
Test(reclaim, a_pass_makes_so_many_tombstones_some_at_a_time_and_the_next_goes_on)
{
	struct bw_reclaim_memo memo = {.old = 0};
	struct bw_reclaim_options o = {.walk = true, .memo = &memo};
	struct bw_world w;

	many_versions(&w);
	struct bw_reclaim_options dry = {.dry = true, .walk = true, .dry_now_ms = w.now_ms};
	struct bw_reclaim_report d = bw_world_pass(&w, &dry), r;

	w.puts = w.requests = 0;
	r = bw_world_pass(&w, &o);
	cr_assert_eq(r.err, 0);
	cr_assert(d.roots_buried == r.roots_buried && d.roots_left == r.roots_left);
	cr_assert_eq(r.roots_buried, BW_RECLAIM_BURIED_MAX);
	cr_assert_eq(r.roots_left, BACKLOG - BW_RECLAIM_BURIED_MAX);
	cr_assert_eq(w.puts, BW_RECLAIM_BURIED_MAX + 1, "and the hint");
	cr_assert_eq(w.most_puts, BW_RECLAIM_PUTS_MAX);
	cr_assert_eq(r.requests, w.requests);
	cr_assert_leq(w.most_bytes, UINT64_C(4) << 20);
	cr_assert_eq(roots(&w), BACKLOG + 1 - BW_RECLAIM_BURIED_MAX);
	r = bw_world_pass(&w, &o);
	cr_assert(r.roots_buried == BACKLOG - BW_RECLAIM_BURIED_MAX && !r.roots_left);
	cr_assert_eq(roots(&w), 1);
	bw_world_done(&w);
}

/* Of those that were under way when a pass was stopped any may be in its place. */
Test(reclaim, roots_that_were_left_among_tombstones_are_found)
{
	const uint64_t end = 40;
	struct bw_reclaim_report r;
	struct bw_world w;
	char key[BW_KEY_MAX + 1];

	for (uint64_t hole = 1; hole <= BW_RECLAIM_PUTS_MAX; hole++) {
		bw_auto_buf struct bw_buf b = {.max = 0};

		bw_world_init(&w);
		while (w.root->version <= end)
			bw_world_commit_one(&w, bw_test_fence("p", (uint8_t)(1 + w.root->version % 2)));
		w.now_ms += 2 * DAY;
		bw_buf_init(&b, BW_TOMBSTONE_MAX);
		for (uint64_t v = 1; v <= end; v++) {
			bw_buf_reset(&b);
			cr_assert_eq(bw_tombstone_encode(v, &b), 0);
			bw_key_root(&w.stream, v, key);
			if (v != end + 1 - hole)
				bw_world_put(&w, key, b.bytes, b.len);
		}
		r = bw_world_pass(&w, &whole);
		cr_assert_eq(r.err, 0);
		cr_assert_eq(roots(&w), 1, "version %lu is left", (unsigned long)(end + 1 - hole));
		bw_world_done(&w);
	}
}

/* Those that failed are put again, and they alone; a pass that gives up has counted the others. */
static struct bw_reclaim_report failing(struct bw_world *w, enum bw_outcome fault, unsigned faults)
{
	struct bw_test_collector c;

	bw_world_init(w);
	while (w->root->version <= 40)
		bw_world_commit_one(w, bw_test_fence("p", (uint8_t)(1 + w->root->version % 2)));
	w->now_ms += 2 * DAY;
	bw_test_collector_init(&c, w, &whole);
	while (bw_test_collector_ask(&c) != BW_RECLAIM_DONE) {
		if (c.want == BW_RECLAIM_PUT && c.q.puts_n > 1 && !w->fault) {
			w->puts = 0;
			w->fault = fault;
			w->faults = faults;
			w->faulty_puts = true;
		}
		bw_test_collector_serve(&c);
	}
	struct bw_reclaim_report report = *bw_reclaim_report(c.r);

	bw_test_collector_done(&c);
	cr_assert_eq(report.requests, w->requests);
	cr_assert_eq(roots(w), 41 - report.roots_buried);
	return report;
}

Test(reclaim, tombstones_that_fail_are_made_again)
{
	struct bw_world w;
	struct bw_reclaim_report r = failing(&w, BW_THROTTLED, 16 + 5);

	cr_assert_eq(r.err, 0);
	cr_assert_eq(r.roots_buried, 40);
	cr_assert_eq(w.puts, 40 + 16 + 5);
	bw_world_done(&w);
	r = failing(&w, BW_DENIED, 5);
	cr_assert_eq(r.err, -BW_E_DENIED);
	cr_assert_eq(r.roots_buried, 16 - 5);
	bw_world_done(&w);
}

/* A pass over many versions; the stream is destroyed before the nth request of a kind, of so many puts or more. */
static struct bw_reclaim_report destroyed_at(struct bw_world *w, enum bw_reclaim_want want, size_t puts, unsigned nth)
{
	struct bw_test_collector c;

	many_versions(w);
	bw_test_collector_init(&c, w, &whole);
	while (bw_test_collector_ask(&c) != BW_RECLAIM_DONE) {
		if (c.want == want && c.q.puts_n >= puts && !w->destroyed) {
			w->destroyed = !nth--;
			w->puts = 0;
		}
		bw_test_collector_serve(&c);
	}
	struct bw_reclaim_report report = *bw_reclaim_report(c.r);

	bw_test_collector_done(&c);
	cr_assert_eq(report.err, -BW_E_DESTROYED);
	return report;
}

/* A tombstone takes a name that destroy frees, and root 1's says that the stream is there. */
Test(reclaim, of_a_stream_that_is_being_destroyed_no_more_tombstones_are_made)
{
	struct bw_world w;
	struct bw_reclaim_report r = destroyed_at(&w, BW_RECLAIM_LIST, 0, 0);

	cr_assert_eq(r.roots_buried, 0, "after the listings, which may take long");
	cr_assert_eq(w.puts, 0);
	bw_world_done(&w);
	r = destroyed_at(&w, BW_RECLAIM_PUT, 2, 70);
	cr_assert_gt(r.roots_buried, 70 * BW_RECLAIM_PUTS_MAX);
	cr_assert_leq(w.puts, 256, "%lu puts", (unsigned long)w.puts);
	bw_world_done(&w);
}

/* Whole: what to do about it may stand at its end. */
Test(reclaim, what_the_store_said_of_the_request_that_ended_a_pass)
{
	char said[BW_DETAIL_MAX + 1];
	struct bw_test_collector c;
	struct bw_world w;

	memset(said, 'x', sizeof(said) - 1);
	said[sizeof(said) - 1] = 0;
	bw_world_init(&w);
	bw_test_collector_init(&c, &w, &whole);
	while (bw_test_collector_ask(&c) != BW_RECLAIM_PUT) {
		bw_test_collector_serve(&c);
		c.a.detail = "of a request that did not end it";
	}
	w.fault = BW_DENIED;
	w.faults = 1;
	w.faulty_puts = true;
	bw_test_collector_serve(&c);
	c.a.detail = said;
	cr_assert_eq(bw_test_collector_ask(&c), BW_RECLAIM_DONE);
	cr_assert_eq(bw_reclaim_report(c.r)->err, -BW_E_DENIED);
	cr_assert_str_eq(bw_reclaim_report(c.r)->detail, said);
	bw_test_collector_done(&c);
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

/* ---- The guard ------------------------------------------------------------------------------------ */

static const struct bw_reclaim_options forced = {.walk = true, .force = true};

struct mark {
	uint64_t first;
	enum bw_reclaim_trim trim;
};

static struct mark trim_of(struct bw_world *w, const struct bw_reclaim_options *o)
{
	struct bw_reclaim_report r = bw_world_pass(w, o);

	cr_assert_eq(r.err, 0);
	return (struct mark){w->root->first, r.trim};
}

/* Markers at 600 and 650 of 700 steps release most of the bytes. */
static void jumped(struct bw_world *w)
{
	const uint64_t markers[] = {600, 650};

	bw_world_grow(w);
	w->now_ms += 2 * HOUR;
	bw_world_job(w, "j", markers, 2);
}

Test(reclaim, young_markers_that_release_more_than_half_wait_for_the_grace)
{
	struct bw_world w;

	jumped(&w);
	struct mark m = trim_of(&w, &whole);

	cr_assert(m.first == 0 && m.trim == BW_TRIM_WAITS);
	w.now_ms += HOUR / 2;
	m = trim_of(&w, &whole);
	cr_assert(m.first == 0 && m.trim == BW_TRIM_WAITS);
	w.now_ms += HOUR;
	m = trim_of(&w, &whole);
	cr_assert(m.first == 600 && m.trim == BW_TRIM_DONE);
	bw_world_done(&w);
}

Test(reclaim, a_marker_that_is_withdrawn_within_the_grace_releases_nothing)
{
	struct bw_world w;

	jumped(&w);
	trim_of(&w, &whole);
	bw_world_commit_one(&w, bw_test_step(BW_CHANGE_UNMARK, "j", 650));
	w.now_ms += 2 * HOUR;
	struct mark m = trim_of(&w, &whole);

	cr_assert(m.first == 0 && m.trim == BW_TRIM_JOB_HOLDS);
	bw_world_done(&w);
}

static void move(struct bw_world *w, uint64_t from, uint64_t to)
{
	bw_world_commit_one(w, bw_test_step(BW_CHANGE_MARK, "j", to));
	bw_world_commit_one(w, bw_test_step(BW_CHANGE_UNMARK, "j", from));
}

/* A pass over young markers at 300 and 600, of which the first is moved when a trim is about to be committed: `to` ends with 0. */
static struct bw_reclaim_report overtaken(struct bw_world *w, const struct bw_reclaim_options *o, const uint64_t *to)
{
	const uint64_t markers[] = {300, 600};
	struct bw_test_collector c;
	uint64_t at = markers[0];

	bw_world_grow(w);
	w->now_ms += 2 * HOUR;
	bw_world_job(w, "j", markers, 2);
	bw_test_collector_init(&c, w, o);
	for (enum bw_reclaim_want want; (want = bw_test_collector_ask(&c)) != BW_RECLAIM_DONE;) {
		if (want == BW_RECLAIM_COMMIT && c.q.change.kind == BW_CHANGE_TRIM && *to) {
			move(w, at, *to);
			at = *to++;
		}
		bw_test_collector_serve(&c);
	}
	struct bw_reclaim_report report = *bw_reclaim_report(c.r);

	bw_test_collector_done(&c);
	cr_assert_eq(report.err, 0);
	cr_assert_eq(report.first, w->root->first);
	cr_assert_null(bw_world_missing(w, NULL));
	return report;
}

/* C4: the guard holds for the root that the trim lands on, not for the one that was looked at. */
Test(reclaim, C4_a_marker_that_is_moved_just_before_the_trim_waits_as_well)
{
	struct bw_world w;
	struct bw_reclaim_report r = overtaken(&w, &whole, (const uint64_t[]){690, 0});

	cr_assert_eq(r.trim, BW_TRIM_WAITS);
	cr_assert_eq(w.root->first, 0);
	bw_world_done(&w);
	r = overtaken(&w, &forced, (const uint64_t[]){690, 0});
	cr_assert(r.trim == BW_TRIM_DONE && w.root->first == 600);
	bw_world_done(&w);
}

Test(reclaim, C4_a_trim_that_was_overtaken_is_looked_at_again)
{
	struct bw_world w;
	struct bw_reclaim_report r = overtaken(&w, &whole, (const uint64_t[]){305, 0});

	cr_assert(r.trim == BW_TRIM_DONE && w.root->first == 305);
	bw_world_done(&w);
	r = overtaken(&w, &whole, (const uint64_t[]){301, 310, 347, 348, 0});
	cr_assert(r.trim == BW_TRIM_OVERTAKEN && w.root->first == 0, "it does not go on for ever");
	bw_world_done(&w);
}

/* Marks come faster than trims: the guard is judged some moves ahead. */
Test(reclaim, C4_a_job_that_marks_before_every_attempt_is_trimmed_all_the_same)
{
	struct bw_world w;
	struct bw_reclaim_report r = overtaken(&w, &whole, (const uint64_t[]){301, 302, 303, 304, 305, 306, 0});

	cr_assert(r.trim == BW_TRIM_DONE && w.root->first == 302, "the first says how far they move");
	bw_world_done(&w);
	r = overtaken(&w, &whole, (const uint64_t[]){307, 314, 321, 328, 335, 0});
	cr_assert(r.trim == BW_TRIM_DONE && w.root->first == 321, "where eight moves are too many it tries four");
	bw_world_done(&w);
}

/* C4: ... and it is judged there as it is everywhere. */
Test(reclaim, C4_a_mistaken_marker_waits_also_where_the_trim_was_overtaken_before)
{
	struct bw_world w;
	struct bw_reclaim_report r = overtaken(&w, &whole, (const uint64_t[]){301, 690, 0});

	cr_assert(r.trim == BW_TRIM_WAITS && w.root->first == 0, "it is beyond the room");
	bw_world_done(&w);
	r = overtaken(&w, &whole, (const uint64_t[]){340, 690, 0});
	cr_assert(r.trim == BW_TRIM_WAITS && w.root->first == 0, "so much room would be too much");
	bw_world_done(&w);
}

Test(reclaim, forced_it_waits_for_nothing)
{
	struct bw_world w;

	jumped(&w);
	struct mark m = trim_of(&w, &forced);

	cr_assert(m.first == 600 && m.trim == BW_TRIM_DONE);
	bw_world_done(&w);
}

/* keep=1: each marker releases nearly all there is.  Storage is bounded all the same, and nobody is asked. */
Test(reclaim, with_one_marker_to_keep_the_guard_holds_no_more_than_two_graces_of_data)
{
	struct bw_world w;
	uint64_t next = 0, most = 0;

	bw_world_init(&w);
	w.stream.options.keep = 1;
	bw_world_commit_one(&w, bw_test_fence("p", 1));
	bw_world_commit_one(&w, bw_test_change(BW_CHANGE_JOB, "j"));
	for (int i = 0; i < 60; i++) {	/* ten minutes each: ten steps, a marker, a pass */
		bw_world_append(&w, "p", 1, 1, next, 10, 0);
		next += 10;
		bw_world_commit_one(&w, bw_test_step(BW_CHANGE_MARK, "j", next));
		if (i)
			bw_world_commit_one(&w, bw_test_step(BW_CHANGE_UNMARK, "j", next - 10));
		w.now_ms += HOUR / 6;
		trim_of(&w, &whole);
		most = w.root->head - w.root->first > most ? w.root->head - w.root->first : most;
	}
	cr_assert_gt(w.root->first, 400);
	cr_assert_leq(most, 2 * 70 + 10);
	bw_world_done(&w);
}

/* Off for a week, it finds much to release, all of it by markers that are older than the grace. */
Test(reclaim, a_collector_that_was_off_for_a_week_releases_all_of_it_at_once)
{
	const uint64_t markers[] = {600, 650};
	struct bw_world w;

	bw_world_grow(&w);
	bw_world_job(&w, "j", markers, 2);
	w.now_ms += 7 * DAY;
	bw_world_append(&w, "q", 3, 1, 100, 1, 0);
	struct mark m = trim_of(&w, &whole);

	cr_assert(m.first == 600 && m.trim == BW_TRIM_DONE);
	bw_world_done(&w);
}

Test(reclaim, without_a_grace_one_pass_trims_and_deletes)
{
	const uint64_t markers[] = {300, 450};
	struct bw_world w;

	bw_world_grow(&w);
	w.stream.options.grace_s = 0;
	bw_world_job(&w, "j", markers, 2);
	struct bw_reclaim_report r = bw_world_pass(&w, &whole);

	cr_assert_eq(r.err, 0);
	cr_assert_eq(r.deleted[BW_WHY_RECLAIMED].n, 300);
	cr_assert_null(bw_world_missing(&w, NULL));
	cr_assert_null(bw_world_garbage(&w));
	bw_world_done(&w);
}

/* ---- What may be wrong with a store ---------------------------------------------------------------- */

/* The key of an index node by its first step. */
static const char *node_key(const struct bw_world *w, uint64_t first)
{
	for (size_t i = 0; i < w->n; i++) {
		struct bw_key k = bw_key_parse(&w->stream, w->objects[i].key);

		if (k.kind == BW_KEY_NODE && k.first == first)
			return w->objects[i].key;
	}
	return NULL;
}

Test(reclaim, a_damaged_node_of_reclaimed_steps_holds_up_nothing)
{
	struct bw_world w;
	char key[BW_KEY_MAX + 1];

	trimmed(&w);
	memcpy(key, node_key(&w, 0), strlen(node_key(&w, 0)) + 1);
	bw_world_put(&w, key, "damage", 6);
	w.now_ms += 2 * DAY;
	struct bw_reclaim_report r = bw_world_pass(&w, &whole);

	cr_assert_eq(r.err, 0);
	cr_assert_eq(w.root->swept, 300);
	cr_assert_eq(r.deleted[BW_WHY_RECLAIMED].n, 300 - 128);
	cr_assert_eq(r.deleted[BW_WHY_FENCED].n, 128, "found by the listing");
	cr_assert_null(bw_world_missing(&w, NULL));
	cr_assert_null(bw_world_garbage(&w), "%s", bw_world_garbage(&w));
	bw_world_done(&w);
}

/* S8: what a newer release says with it this one does not know, and so does not go past it. */
Test(reclaim, S8_a_node_of_a_newer_format_ends_the_pass)
{
	struct bw_world w;
	char key[BW_KEY_MAX + 1];

	trimmed(&w);
	memcpy(key, node_key(&w, 0), strlen(node_key(&w, 0)) + 1);
	const struct bw_blob *node = bw_world_get(&w, key)->blob;
	uint8_t newer[1 << 15];
	size_t len = node->len;

	cr_assert_leq(len, sizeof(newer));
	memcpy(newer, node->bytes, len);
	newer[4]++;	/* of the envelope */
	uint64_t sum = htole64(bw_xxh3(newer, 24));

	memcpy(newer + 24, &sum, 8);
	bw_world_put(&w, key, newer, len);
	w.now_ms += 2 * DAY;
	struct bw_reclaim_report r = bw_world_pass(&w, &whole);

	cr_assert_eq(r.err, -BW_E_FORMAT_NEWER);
	cr_assert_str_eq(r.what, key);
	cr_assert_eq(w.root->swept, 0);
	cr_assert_eq(r.deleted[BW_WHY_RECLAIMED].n, 0);
	bw_world_done(&w);
}

/* Without a node it is not known what is needed: so nothing of data/ is judged. */
Test(reclaim, a_missing_node_of_live_steps_keeps_all_data)
{
	struct bw_world w;
	char key[BW_KEY_MAX + 1];

	trimmed(&w);
	memcpy(key, node_key(&w, 384), strlen(node_key(&w, 384)) + 1);
	bw_world_delete(&w, key);
	w.now_ms += 2 * DAY;
	struct bw_reclaim_report r = bw_world_pass(&w, &whole);

	cr_assert_eq(r.err, -BW_E_CORRUPT);
	cr_assert_str_eq(r.what, key);
	cr_assert_not(r.walked);
	cr_assert_eq(bw_world_count(&w, BW_KEY_DATA), 400 + 2);
	bw_world_done(&w);
}

/* Its clock was ahead: by a root that is too young for this one it has swept more than this one may. */
Test(reclaim, what_another_has_swept_by_a_newer_root_is_not_asked_for)
{
	struct bw_world w;

	trimmed(&w);
	int64_t now_ms = w.now_ms;

	w.now_ms += 2 * HOUR;
	cr_assert_eq(bw_world_pass(&w, &whole).deleted[BW_WHY_RECLAIMED].n, 300);
	w.now_ms = now_ms + HOUR / 2;
	struct bw_reclaim_report r = bw_world_pass(&w, &whole);

	cr_assert_eq(r.err, 0);
	cr_assert_eq(r.judge_first, 0);
	cr_assert(r.walked);
	cr_assert_null(bw_world_missing(&w, NULL));
	bw_world_done(&w);
}

Test(reclaim, a_clock_that_goes_back_makes_nothing_old)
{
	struct bw_reclaim_memo memo = {.old = 0};
	struct bw_reclaim_options o = {.walk = true, .memo = &memo};
	struct bw_world w;

	trimmed(&w);
	w.now_ms += 4 * HOUR;
	bw_world_pass(&w, &o);
	cr_assert_gt(memo.old, 1);
	bw_world_commit_one(&w, bw_test_step(BW_CHANGE_MARK, "j", 500));
	bw_world_commit_one(&w, bw_test_step(BW_CHANGE_UNMARK, "j", 300));
	w.now_ms += HOUR / 2;
	bw_world_pass(&w, &o);
	cr_assert_eq(w.root->first, 450);
	w.now_ms -= 30 * DAY;
	size_t n = w.n;
	struct bw_reclaim_report r = bw_world_pass(&w, &o);

	cr_assert_eq(r.err, 0);
	cr_assert_eq(r.judge, 0);
	cr_assert_eq(w.n, n);
	bw_world_done(&w);
}

Test(reclaim, a_delete_that_fails_is_made_again_and_ends_the_pass_when_it_keeps_failing)
{
	struct bw_world w;

	trimmed(&w);
	w.now_ms += 2 * DAY;
	w.fault = BW_DENIED;
	w.faults = 1;
	struct bw_reclaim_report r = bw_world_pass(&w, &whole);

	cr_assert_eq(r.err, -BW_E_DENIED);
	cr_assert_eq(w.root->swept, 0);
	w.fault = BW_UNKNOWN;
	w.faults = 4;
	w.requests = 0;
	r = bw_world_pass(&w, &whole);
	cr_assert_eq(r.err, 0);
	cr_assert_eq(r.requests, w.requests, "%lu requests, not %lu", (unsigned long)w.requests, (unsigned long)r.requests);
	cr_assert_eq(r.deleted[BW_WHY_RECLAIMED].n, 300);
	cr_assert_null(bw_world_garbage(&w), "%s", bw_world_garbage(&w));
	bw_world_done(&w);
}

/* ---- What it costs ---------------------------------------------------------------------------------- */

#define MANY 100000u

/* Nobody looks at the data objects, so there are none. */
static void long_history(struct bw_world *w)
{
	struct bw_change *c = calloc(BW_APPENDS_MAX, sizeof(*c));

	bw_world_init(w);
	bw_world_commit_one(w, bw_test_fence("p", 1));
	for (uint64_t seq = 0; seq < MANY + 1000; seq += BW_APPENDS_MAX) {
		for (uint32_t i = 0; i < BW_APPENDS_MAX; i++)
			c[i] = bw_test_append("p", 1, 1, seq + i, seq + i + 1);
		bw_world_commit(w, c, BW_APPENDS_MAX);
	}
	free(c);
}

Test(reclaim, i12_costs_a_hundredth_request_a_step_and_bounded_memory)
{
	const uint64_t markers[] = {MANY, MANY + 500};
	struct bw_world w;

	long_history(&w);
	bw_world_job(&w, "j", markers, 2);
	w.now_ms += 2 * HOUR;
	bw_world_pass(&w, &whole);
	cr_assert_eq(w.root->first, MANY);
	w.now_ms += 2 * HOUR;
	w.requests = w.deletes = w.commits = 0;
	struct bw_reclaim_report r = bw_world_pass(&w, &whole);

	cr_assert_eq(r.err, 0);
	cr_assert_eq(r.deleted[BW_WHY_RECLAIMED].n, MANY);
	cr_assert_eq(w.root->swept, MANY);
	cr_assert_eq(r.requests, w.requests);
	cr_assert_leq(w.requests, MANY / 100, "%lu requests with batches", (unsigned long)w.requests);
	/* A store without batches gets a request for each key of a batch. */
	uint64_t single = w.requests + w.deletes;

	cr_assert_leq(single, MANY * 11 / 10, "%lu requests one by one", (unsigned long)single);
	cr_assert_eq(w.commits, 3, "%lu sweeps: now and then, not with each delete", (unsigned long)w.commits);
	cr_assert_leq(w.most_bytes, UINT64_C(4) << 20, "%lu bytes", (unsigned long)w.most_bytes);
	cr_assert_eq(w.most_deletes, BW_DELETE_MANY_MAX);
	bw_world_done(&w);
}

Test(reclaim, references_in_many_parts_give_the_same_result)
{
	struct bw_reclaim_options small = {.walk = true, .memory = 4096};
	const uint64_t markers[] = {300, 450};
	struct bw_world w;

	bw_world_grow(&w);
	bw_world_append(&w, "p", 2, 2, 600, 1500, 0);
	bw_world_job(&w, "j", markers, 2);
	w.now_ms += 2 * HOUR;
	bw_world_pass(&w, &forced);
	w.now_ms += 2 * HOUR;
	struct bw_reclaim_report r = bw_world_pass(&w, &small);

	cr_assert_eq(r.err, 0);
	cr_assert(r.walked);
	cr_assert_eq(r.kept[BW_WHY_NEEDED].n, 1900);
	cr_assert_null(bw_world_missing(&w, NULL));
	cr_assert_null(bw_world_garbage(&w), "%s", bw_world_garbage(&w));
	bw_world_done(&w);
}
