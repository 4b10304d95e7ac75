/* SPDX-License-Identifier: Apache-2.0 */
/* What a pass does with uploads that were begun and have not ended (C5). */
#include "store/base/hash.h"
#include "tests/support/reclaim_world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define HOUR INT64_C(3600000)
#define DAY (24 * HOUR)

static const struct bw_reclaim_options whole = {.walk = true};

static void begin_many(struct bw_world *w, uint64_t epoch, uint64_t seq, unsigned n)
{
	char key[BW_KEY_MAX + 1], id[32];

	for (unsigned i = 0; i < n; i++) {
		bw_key_data(&w->stream, "p", epoch, seq, 1000 * epoch + i, key);
		snprintf(id, sizeof(id), "id-%u-%zu", i, w->begun_n);
		bw_world_begin(w, key, id);
	}
}

Test(reclaim_uploads, c5_uploads_that_have_not_ended_go_when_nothing_can_come_of_them)
{
	struct bw_world w;

	bw_world_grow(&w);
	w.begun_page = 7;
	begin_many(&w, 1, 200, 300);	/* fenced, more than are gathered at once */
	begin_many(&w, 2, 600, 5);	/* p's next */
	bw_world_begin(&w, "else", "where");
	w.now_ms += DAY / 2;
	struct bw_reclaim_report r = bw_world_pass(&w, &whole);

	cr_assert_eq(r.deleted[BW_WHY_PARTIAL_OLD].n, 0);
	cr_assert_eq(r.kept[BW_WHY_PARTIAL_YOUNG].n, 305);
	w.now_ms += DAY;
	begin_many(&w, 1, 200, 1);	/* begun just now */
	struct bw_reclaim_options dry = {.dry = true, .walk = true, .dry_now_ms = w.now_ms};

	cr_assert_eq(bw_world_pass(&w, &dry).deleted[BW_WHY_PARTIAL_OLD].n, 300);
	cr_assert_eq(w.begun_n, 307);
	r = bw_world_pass(&w, &whole);
	cr_assert_eq(r.err, 0);
	cr_assert_eq(r.deleted[BW_WHY_PARTIAL_OLD].n, 300);
	cr_assert_eq(w.begun_n, 7);
	for (size_t i = 0; i < w.begun_n; i++)
		cr_assert(i >= 5 || strstr(w.begun[i].key, "/p/2/"), "%s", w.begun[i].key);
	bw_world_done(&w);
}

Test(reclaim_uploads, uploads_of_a_probe_that_was_killed_go_a_day_later)
{
	static const char *const others[] = {"probes/large", "probe-7/large", "probe-0123456789ABCDEF/large",
					     "probe-0123456789abcdef0/large", "probe-0123456789abcdef"};
	enum { OTHERS = sizeof(others) / sizeof(others[0]) };
	struct bw_reclaim_options dry = {.dry = true, .walk = true};
	char key[BW_KEY_MAX + 1], id[32];
	struct bw_world w;

	bw_world_grow(&w);
	w.begun_page = 7;
	for (unsigned i = 0; i < 300; i++) {	/* more than are gathered at once */
		snprintf(key, sizeof(key), BW_PROBE_PREFIX "%016x/large", i);
		snprintf(id, sizeof(id), "id-%u", i);
		bw_world_begin(&w, key, id);
	}
	for (size_t i = 0; i < OTHERS; i++)
		bw_world_begin(&w, others[i], "of-another");
	begin_many(&w, 1, 200, 3);
	w.now_ms += DAY - 1;
	struct bw_reclaim_report r = bw_world_pass(&w, &whole);

	cr_assert_eq(r.deleted[BW_WHY_PARTIAL_OLD].n, 0);
	cr_assert_eq(r.kept[BW_WHY_PARTIAL_YOUNG].n, 303);
	w.now_ms += 1;
	bw_world_begin(&w, BW_PROBE_PREFIX "0123456789abcdef/large", "running");
	dry.dry_now_ms = w.now_ms;
	cr_assert_eq(bw_world_pass(&w, &dry).deleted[BW_WHY_PARTIAL_OLD].n, 303);
	cr_assert_eq(w.begun_n, 303 + OTHERS + 1);
	r = bw_world_pass(&w, &whole);
	cr_assert_eq(r.err, 0);
	cr_assert_eq(r.deleted[BW_WHY_PARTIAL_OLD].n, 303);
	cr_assert_eq(w.begun_n, OTHERS + 1);
	for (size_t i = 0; i < w.begun_n; i++)
		cr_assert_str_eq(w.begun[i].id, i < OTHERS ? "of-another" : "running");
	bw_world_done(&w);
}

/* Three that are old, at a store that says this when it is asked for them. */
static void begin_where_none_are_told(struct bw_world *w, enum bw_outcome outcome)
{
	bw_world_grow(w);
	begin_many(w, 1, 200, 3);
	w->now_ms += 2 * DAY;
	w->begun_fails = outcome;
}

Test(reclaim_uploads, a_store_that_tells_nobody_of_uploads_is_asked_once)
{
	struct bw_world w;

	begin_where_none_are_told(&w, BW_DENIED);
	struct bw_test_collector c;
	unsigned asked = 0;

	bw_test_collector_init(&c, &w, &whole);
	while (bw_test_collector_ask(&c) != BW_RECLAIM_DONE) {
		asked += c.want == BW_RECLAIM_UPLOADS;
		bw_test_collector_serve(&c);
	}
	cr_assert_eq(bw_reclaim_report(c.r)->err, 0);
	cr_assert(bw_reclaim_report(c.r)->walked);
	cr_assert_eq(asked, 1, "%u times", asked);
	bw_test_collector_done(&c);
	cr_assert_eq(w.begun_n, 3);
	bw_world_done(&w);
}

/* A gateway that takes the question for another one, say: what lies behind it in a pass is done all the same. */
Test(reclaim_uploads, a_store_that_answers_something_else_holds_up_nothing)
{
	struct bw_world w;

	begin_where_none_are_told(&w, BW_CORRUPT);
	struct bw_reclaim_report r = bw_world_pass(&w, &whole);

	cr_assert_eq(r.err, 0, "%s", r.what);
	cr_assert_eq(r.stage, BW_RECLAIM_ROOTS, "%s", bw_reclaim_stage_name(r.stage));
	cr_assert(r.walked);
	cr_assert_eq(w.begun_n, 3);
	/* One that is away is something else. */
	w.begun_fails = BW_UNREACHABLE;
	r = bw_world_pass(&w, &whole);
	cr_assert_eq(r.err, -BW_E_UNREACHABLE);
	cr_assert_eq(r.stage, BW_RECLAIM_PARTIALS);
	bw_world_done(&w);
}
