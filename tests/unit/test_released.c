/* SPDX-License-Identifier: Apache-2.0 */
/* Which marker released a step (V6, C4). */
#include "fs/released.h"
#include "tests/support/reclaim_world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* A marker at step takes the place of the one at was, and the trim lands. */
static void trim_to(struct bw_world *w, struct bw_released *r, uint64_t was, uint64_t step)
{
	struct bw_root *old = bw_root_ref(w->root);

	bw_world_commit_one(w, bw_test_step(BW_CHANGE_MARK, "j", step));
	if (was)
		bw_world_commit_one(w, bw_test_step(BW_CHANGE_UNMARK, "j", was));
	bw_world_commit_one(w, bw_test_change(BW_CHANGE_TRIM, ""));
	bw_released_saw(r, w->stream.options.margin, old, w->root);
	bw_root_unref(old);
}

static void begin(struct bw_world *w, struct bw_released *r)
{
	bw_world_init(w);
	w->stream.options.keep = 1;
	w->stream.options.margin = 5;
	bw_released_init(r);
	bw_world_commit_one(w, bw_test_fence("p", 1));
	bw_world_append(w, "p", 1, 1, 0, 400, 0);
	bw_world_commit_one(w, bw_test_change(BW_CHANGE_JOB, "j"));
}

Test(released, V6_each_step_by_its_own_marker)
{
	struct bw_released r;
	struct bw_world w;
	char text[BW_RELEASED_TEXT], expected[BW_RELEASED_TEXT];

	begin(&w, &r);
	trim_to(&w, &r, 0, 100);
	uint64_t version = w.root->version;

	trim_to(&w, &r, 100, 200);
	snprintf(expected, sizeof(expected),
		 "released_by_job=j released_by_marker=100 by_version=%lu", (unsigned long)version);
	bw_released_text(&r, 94, text);
	cr_assert_str_eq(text, expected);
	bw_released_text(&r, 95, text);
	cr_assert(strstr(text, "released_by_marker=200 "), "%s", text);
	bw_released_text(&r, 194, text);
	cr_assert(strstr(text, "released_by_marker=200 "), "%s", text);
	bw_released_text(&r, 195, text);
	cr_assert_str_eq(text, "released_by_job=- released_by_marker=-", "nobody has released it");
	bw_released_done(&r);
	bw_world_done(&w);
}

Test(released, V6_of_what_is_too_long_ago_it_says_that_it_does_not_know)
{
	struct bw_released r;
	struct bw_world w;
	char text[BW_RELEASED_TEXT];

	begin(&w, &r);
	trim_to(&w, &r, 0, 6);
	for (uint64_t i = 7; i < 6 + BW_RELEASED_KEPT; i++)
		trim_to(&w, &r, i - 1, i);
	bw_released_text(&r, 0, text);
	cr_assert(strstr(text, "released_by_marker=6 "), "%s", text);
	trim_to(&w, &r, 5 + BW_RELEASED_KEPT, 6 + BW_RELEASED_KEPT);
	bw_released_text(&r, 0, text);
	cr_assert_str_eq(text, "released_by_job=- released_by_marker=-");
	bw_released_done(&r);
	bw_world_done(&w);
}
