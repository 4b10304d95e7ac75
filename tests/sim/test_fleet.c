/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request budget of 2,048 mounts that follow one stream.  The seed is fixed and time is virtual, so these are the
 * same numbers everywhere; docs/operations.md states them.
 */
#include "tests/sim/fleet.h"

#include <criterion/criterion.h>

#define MOUNTS 2048

static struct fleet_result run(struct fleet f)
{
	struct fleet_result r;

	f.mounts = MOUNTS;
	f.seed = 1;
	fleet_run(&f, &r);
	cr_assert_eq(r.behind, 0, "%lu mounts never heard of the last commit", (unsigned long)r.behind);
	return r;
}

/* a: requests a second and mount; most: of one mount in a second; burst: of all in 100 ms, for each mount. */
static void within(struct fleet f, double a, double most, double burst)
{
	struct fleet_result r = run(f);

	cr_expect_leq(r.mount, a, "%.2f requests a second and mount", r.mount);
	cr_expect_leq(r.mount_max, most, "a mount sent %.0f in a second", r.mount_max);
	cr_expect_leq(r.peak, burst * MOUNTS, "%.0f requests in 100 ms", r.peak);
	cr_expect_gt(r.requests, 0);
}

Test(fleet, V7_nothing_is_committed)
{
	within((struct fleet){.seconds = 60}, 0.6, 2, 0.1);
}

Test(fleet, V7_a_commit_a_second_and_all_wait)
{
	struct fleet f = {.seconds = 20, .every_s = 1};

	within(f, 2.7, 9, 1);
	struct fleet_result r = run(f);

	cr_expect_lt(r.late_p50, 0.14, "known after %.2f s", r.late_p50);
	cr_expect_lt(r.late_p99, 0.4, "known after %.2f s", r.late_p99);
	cr_expect_geq(r.hits, 0.9 * MOUNTS, "everybody saw every step");
}

Test(fleet, V7_a_commit_a_second_as_a_clock)
{
	struct fleet f = {.seconds = 60, .every_s = 1, .pace = FLEET_CLOCKED};

	within(f, 2.1, 8, 1);
	struct fleet_result r = run(f);

	cr_expect_lt(r.late_p99, 0.25, "known after %.2f s", r.late_p99);
}

/* What cannot be foretold is looked for as often as before, and known as soon. */
Test(fleet, V7_commits_without_a_rhythm)
{
	const enum fleet_pace paces[] = {FLEET_CHANCE, FLEET_PAIRS, FLEET_CHANGES};

	for (unsigned i = 0; i < sizeof(paces) / sizeof(*paces); i++) {
		struct fleet_result r = run((struct fleet){.seconds = 60, .every_s = 1, .pace = paces[i]});

		cr_expect_leq(r.mount, 4.5 * r.hits / MOUNTS, "%.2f requests a second and mount", r.mount);
		cr_expect_lt(r.late_p50, 0.25, "known after %.2f s", r.late_p50);
		cr_expect_lt(r.late_p99, 0.8, "known after %.2f s", r.late_p99);
	}
}

Test(fleet, V7_a_commit_in_five_seconds)
{
	struct fleet_result r = run((struct fleet){.seconds = 120, .every_s = 5});

	cr_expect_leq(r.mount, 0.9, "%.2f requests a second and mount", r.mount);
	cr_expect_lt(r.late_p50, 0.45, "known after %.2f s", r.late_p50);
}

/* All ranks of a job ask at one moment: that moment must not be the store's. */
Test(fleet, V7_a_commit_a_second_in_lock_step)
{
	within((struct fleet){.seconds = 20, .every_s = 1, .compute_s = 0.3, .lock_step = true}, 2.9, 9, 1.1);
}

Test(fleet, V7_ten_commits_a_second_and_all_wait)
{
	within((struct fleet){.seconds = 5, .every_s = 0.1}, 18, 25, 2.2);
}

Test(fleet, producers_are_ahead)
{
	struct fleet_result r = run((struct fleet){.seconds = 30, .every_s = 1, .compute_s = 1, .ahead = 20});

	cr_expect_leq(r.mount, 1, "%.2f requests a second and mount", r.mount);
	cr_expect_lt(r.late_p99, 0.1, "nobody waits");
}

/* The store answers again: nobody was told, and they do not come all at once. */
static void outage(bool hangs)
{
	struct fleet_result r = run((struct fleet){.seconds = 40, .every_s = 1, .away_s = 15, .hangs = hangs});

	cr_expect_leq(r.peak_back, 1.5 * MOUNTS, "%.0f requests in 100 ms", r.peak_back);
	cr_expect_leq(r.mount, 4.5, "%.2f requests a second and mount", r.mount);
}

Test(fleet, an_outage_ends)
{
	outage(false);
}

Test(fleet, an_outage_without_answers_ends)
{
	outage(true);
}

/* A store that says 503 above what it can do gets what it can do. */
Test(fleet, a_store_that_throttles)
{
	struct fleet_result r = run((struct fleet){.seconds = 60, .every_s = 1, .limit = 4000});

	cr_expect_leq(r.requests, 4400, "%.0f requests a second", r.requests);
	cr_expect_leq(r.throttled, 0.1, "%.3f of them refused", r.throttled);
}
