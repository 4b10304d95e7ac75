/* SPDX-License-Identifier: Apache-2.0 */
/* The controller, with numbers worked out by hand.  No clock: all times are made up. */
#include "manifest/dac.h"

#include "store/base/clock.h"
#include "tests/support/change.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A controller that has seen `per_second` versions a second, attempts of `ms`, and P committers. */
static struct bw_dac seen(double per_second, int64_t ms, uint32_t committers)
{
	struct bw_dac d;

	bw_dac_init(&d, 7);
	bw_dac_probed(&d, ms * BW_MS / 5);
	bw_dac_put(&d, ms * BW_MS * 4 / 5, false);
	for (uint64_t i = 0; i < 40; i++)
		bw_dac_saw_version(&d, BW_SEC + (int64_t)((double)i / per_second * 1e9), 100 + i, 0,
				   committers);
	return d;
}

static int64_t last_seen(const struct bw_dac *d)
{
	return d->looked_ns;
}

static void assert_near(double got, double want)
{
	cr_assert(got > want * 0.999 && got < want * 1.001, "%g, expected %g", got, want);
}

Test(dac, speed_is_taken_over_sixteen_versions)
{
	struct bw_dac d = seen(4, 100, 8);

	assert_near(bw_dac_speed(&d), 4);
	/* A burst of 8 versions in 1 ms is averaged with the 8 before it: 16 versions in 2.001 s. */
	for (uint64_t v = 140; v < 148; v++)
		bw_dac_saw_version(&d, last_seen(&d) + BW_MS / 8, v, v, 8);
	assert_near(bw_dac_speed(&d), 16 / 2.001);
	/* One look after a long time: all versions since the look before. */
	bw_dac_saw_version(&d, last_seen(&d) + 100 * BW_SEC, 147 + 200, 147 + 200, 8);
	assert_near(bw_dac_speed(&d), 2);
}

Test(dac, speed_of_a_slow_stream_forgets_after_a_minute)
{
	struct bw_dac d;

	bw_dac_init(&d, 7);
	bw_dac_saw_version(&d, BW_SEC, 10, 10, 8);
	cr_assert_eq(bw_dac_speed(&d), 0, "one sample is no speed");
	bw_dac_saw_version(&d, 2 * BW_SEC, 13, 13, 8);
	cr_assert_eq(bw_dac_speed(&d), 0, "three versions are too few");
	bw_dac_saw_version(&d, 3 * BW_SEC, 14, 14, 8);
	assert_near(bw_dac_speed(&d), 2);
	/* Nothing new for a long time: the sample moves on with the look, the speed falls. */
	bw_dac_saw_version(&d, 41 * BW_SEC, 14, 14, 8);
	assert_near(bw_dac_speed(&d), 0.1);
	/* 61 s after the newest but one: against that one only, and 1 version is too few. */
	bw_dac_saw_version(&d, 103 * BW_SEC, 15, 15, 8);
	cr_assert_eq(bw_dac_speed(&d), 0);
	/* An older root says nothing. */
	bw_dac_saw_version(&d, 104 * BW_SEC, 3, 3, 8);
	cr_assert_eq(d.looked_ns, 103 * BW_SEC);
}

Test(dac, tau_by_hand)
{
	/* rho = S * W.  tau = (rho - 0.30) / 0.16 * P * W / 0.46 */
	struct bw_dac low = seen(2.9, 100, 46);		/* 0.29 */
	struct bw_dac half = seen(3.8, 100, 46);	/* 0.38: pressure 0.5 */
	struct bw_dac full = seen(4.6, 100, 46);	/* 0.46: pressure 1 */
	struct bw_dac over = seen(9, 100, 46);		/* 0.90: pressure 3.75, cut to 1.5 */

	cr_assert_eq(bw_dac_tau(&low), 0);
	assert_near((double)bw_dac_tau(&half), 5e9);
	assert_near((double)bw_dac_tau(&full), 10e9);
	assert_near((double)bw_dac_tau(&over), 15e9);
}

Test(dac, the_window_counts_the_nodes_that_all_put)
{
	struct bw_dac d;

	bw_dac_init(&d, 7);
	cr_assert_eq(bw_dac_window(&d), BW_MS, "never less");
	bw_dac_probed(&d, 20 * BW_MS);
	bw_dac_put(&d, 60 * BW_MS, false);
	cr_assert_eq(bw_dac_window(&d), 80 * BW_MS);
	/* 64 batches a version: every other version folds a leaf, one more put of 60 ms. */
	for (uint64_t i = 0; i < 20; i++)
		bw_dac_saw_version(&d, (int64_t)i * BW_SEC, 10 + i, 64 * i, 8);
	cr_assert_eq(bw_dac_window(&d), 110 * BW_MS);
}

Test(dac, guesses_the_newest_version)
{
	struct bw_dac d = seen(4, 100, 8), fresh;

	bw_dac_init(&fresh, 7);
	cr_assert_eq(bw_dac_guess(&fresh, BW_SEC), 0);
	cr_assert_eq(bw_dac_guess(&d, last_seen(&d) + 25 * BW_SEC + BW_MS), 139 + 100);
}

Test(dac, tau_is_bounded_and_nothing_alone)
{
	struct bw_dac alone = seen(10, 100, 1), many = seen(0.1, 60000, 1000);

	cr_assert_eq(bw_dac_tau(&alone), 0, "who is alone never waits, however busy");
	cr_assert_eq(bw_dac_tau(&many), BW_DAC_TAU_MAX_NS);
}

Test(dac, the_first_attempt_and_light_load_go_at_once)
{
	struct bw_dac d, light = seen(2.9, 100, 1000);

	bw_dac_init(&d, 7);
	cr_assert_leq(bw_dac_due(&d, 5 * BW_SEC, 1), 5 * BW_SEC);
	bw_dac_committed(&light, 50 * BW_SEC);
	cr_assert_eq(bw_dac_due(&light, 50 * BW_SEC, 1), 50 * BW_SEC);
	cr_assert_eq(bw_dac_peek(&light, 50 * BW_SEC, 50 * BW_SEC), INT64_MAX);
}

Test(dac, the_wait_is_half_to_one_and_a_half_tau_after_the_last_success)
{
	int64_t least = INT64_MAX, most = 0, tau = 0, sum = 0;
	struct bw_dac d = seen(4.6, 100, 46);		/* tau = 10 s */

	for (int i = 0; i < 4000; i++) {
		bw_dac_committed(&d, 1000 * BW_SEC);
		int64_t wait = bw_dac_due(&d, 1000 * BW_SEC, 1) - 1000 * BW_SEC;

		tau = bw_dac_tau(&d);
		least = wait < least ? wait : least;
		most = wait > most ? wait : most;
		sum += wait / 4000;
	}
	assert_near((double)tau, 10e9);
	cr_assert(least >= 5 * BW_SEC && least < 5 * BW_SEC + 100 * BW_MS);
	cr_assert(most <= 15 * BW_SEC && most > 15 * BW_SEC - 100 * BW_MS);
	cr_assert(sum > 9800 * BW_MS && sum < 10200 * BW_MS);
	/* Whoever has enough for two more versions comes three times as often. */
	int64_t wait = bw_dac_due(&d, 1000 * BW_SEC, BW_APPENDS_MAX - 1) - 1000 * BW_SEC;

	cr_assert_eq(bw_dac_due(&d, 1000 * BW_SEC, 2 * BW_APPENDS_MAX) - 1000 * BW_SEC, wait / 3);
}

Test(dac, a_wait_is_shortened_but_never_lengthened)
{
	struct bw_dac d = seen(6, 100, 60);
	int64_t now = last_seen(&d);

	bw_dac_committed(&d, now);
	int64_t due = bw_dac_due(&d, now, 1);

	/* Now 600 committers: the wait under way stays. */
	bw_dac_saw_version(&d, now + BW_MS, 140, 140, 600);
	cr_assert_eq(bw_dac_due(&d, now, 1), due);
	/* Now nobody else: it is over. */
	bw_dac_saw_version(&d, now + 2 * BW_MS, 141, 141, 1);
	cr_assert_eq(bw_dac_due(&d, now, 1), now);
}

Test(dac, a_long_wait_has_one_look_at_a_third)
{
	struct bw_dac d = seen(6, 100, 600);
	int64_t now = last_seen(&d);

	bw_dac_committed(&d, now);
	int64_t due = bw_dac_due(&d, now, 1);

	cr_assert_eq(bw_dac_peek(&d, now, due), now + (due - now) / 3);
	cr_assert_eq(bw_dac_peek(&d, now, now + 256 * bw_dac_window(&d)), INT64_MAX,
		     "256 W is short");
	bw_dac_peeked(&d);
	cr_assert_eq(bw_dac_peek(&d, now, due), INT64_MAX);
	bw_dac_committed(&d, now);
	cr_assert_neq(bw_dac_peek(&d, now, bw_dac_due(&d, now, 1)), INT64_MAX);
}

Test(dac, looks_first_when_the_root_is_likely_old)
{
	struct bw_dac d = seen(4, 100, 8), alone = seen(4, 100, 1), fresh;
	int64_t now = last_seen(&d);

	cr_assert_not(bw_dac_look_first(&d, now + 99 * BW_MS), "0.396 versions expected");
	cr_assert(bw_dac_look_first(&d, now + 101 * BW_MS), "0.404 versions expected");
	cr_assert_not(bw_dac_look_first(&alone, now + 3600 * BW_SEC), "one put a commit");
	bw_dac_init(&fresh, 7);
	cr_assert_not(bw_dac_look_first(&fresh, now));
}

/* ---- P ---------------------------------------------------------------------------------------- */

/* A root at version v with producers; [i] is of owner owners[i], active at versions[i]. */
static uint32_t committers(uint64_t v, const uint8_t *owners, const uint64_t *versions, uint32_t n)
{
	struct bw_producer_entry *p = calloc(n, sizeof(*p));
	struct bw_root r = {.version = v, .producers_n = n, .producers = p};

	for (uint32_t i = 0; i < n; i++) {
		bw_test_owner(p[i].owner, owners[i]);
		p[i].epoch = 1;
		p[i].next = versions[i] ? 1 : 0;
		p[i].last_version = versions[i];
	}
	uint32_t c = bw_dac_committers(&r);

	free(p);
	return c;
}

Test(dac, committers_are_owners_that_committed_lately)
{
	const uint8_t owners[6] = {1, 1, 2, 3, 3, 4};
	const uint64_t lately[6] = {90, 100, 99, 77, 76, 50}, never[6] = {0};

	/* Few: the last 256 versions, 77 to 332.  Owner 3 by its newer producer, owner 4 not. */
	cr_assert_eq(committers(332, owners, lately, 6), 3);
	cr_assert_eq(committers(333, owners, lately, 6), 2);
	cr_assert_eq(committers(100, owners, never, 6), 1, "nobody, but this one is about to");
}

Test(dac, committers_by_the_hundred_and_the_dead_forgotten)
{
	uint8_t owners[200];
	uint64_t versions[200];

	for (uint32_t i = 0; i < 200; i++) {
		owners[i] = (uint8_t)(i + 1);
		versions[i] = 10001 - i;	/* in turn */
	}
	cr_assert_eq(committers(10001, owners, versions, 200), 200);
	/* 190 of them have gone: after 256 versions they count no more. */
	for (uint32_t i = 0; i < 10; i++)
		versions[i] += 256;
	cr_assert_eq(committers(10257, owners, versions, 200), 10);
}

/* ---- Attempts and waits ------------------------------------------------------------------------ */

static int64_t longest_conflict(struct bw_dac *d, unsigned conflicts)
{
	int64_t most = 0;

	for (int i = 0; i < 2000; i++) {
		int64_t ns = bw_dac_after_conflict(d, conflicts);

		cr_assert_geq(ns, 0);
		most = ns > most ? ns : most;
	}
	return most;
}

Test(dac, waits_after_conflicts_grow_to_a_bound)
{
	struct bw_dac d;

	bw_dac_init(&d, 7);
	bw_dac_put(&d, 100 * BW_MS, false);
	int64_t one = longest_conflict(&d, 1), two = longest_conflict(&d, 2);
	int64_t three = longest_conflict(&d, 3);

	/* U(0, W * 2^b / 2) */
	cr_assert(one > 90 * BW_MS && one <= 100 * BW_MS);
	cr_assert(two > 180 * BW_MS && two <= 200 * BW_MS);
	cr_assert(three > 360 * BW_MS && three <= 400 * BW_MS);
	cr_assert_leq(longest_conflict(&d, 1000), 400 * BW_MS);
}

Test(dac, attempts_are_averaged)
{
	struct bw_dac d;

	bw_dac_init(&d, 7);
	bw_dac_put(&d, 80 * BW_MS, false);
	cr_assert_eq(bw_dac_window(&d), 80 * BW_MS);
	bw_dac_put(&d, 160 * BW_MS, false);
	cr_assert_eq(bw_dac_window(&d), 90 * BW_MS);
	bw_dac_put(&d, 180 * BW_MS, true);	/* counts as 270 */
	cr_assert_eq(bw_dac_window(&d), 112500000);
	for (int i = 0; i < 200; i++)
		bw_dac_put(&d, 1000 * BW_SEC, true);
	cr_assert_leq(bw_dac_window(&d), 60 * BW_SEC, "a suspended process is no slow store");
}

Test(dac, waits_in_doubt_double_to_five_seconds)
{
	struct bw_dac d;
	int64_t most[2] = {0, 0};

	bw_dac_init(&d, 7);
	for (int i = 0; i < 2000; i++) {
		int64_t first = bw_dac_after_doubt(&d, 1), late = bw_dac_after_doubt(&d, 100);

		most[0] = first > most[0] ? first : most[0];
		most[1] = late > most[1] ? late : most[1];
	}
	cr_assert(most[0] > 45 * BW_MS && most[0] <= 50 * BW_MS);
	cr_assert(most[1] > 4500 * BW_MS && most[1] <= 5 * BW_SEC);
}

Test(dac, equal_seeds_and_times_give_equal_decisions)
{
	struct bw_dac a = seen(5, 100, 30), b = seen(5, 100, 30);

	for (int64_t i = 1; i < 1000; i++) {
		bw_dac_committed(&a, i * BW_SEC);
		bw_dac_committed(&b, i * BW_SEC);
		cr_assert_eq(bw_dac_due(&a, i * BW_SEC, 1), bw_dac_due(&b, i * BW_SEC, 1));
		cr_assert_eq(bw_dac_after_conflict(&a, 2), bw_dac_after_conflict(&b, 2));
	}
}
