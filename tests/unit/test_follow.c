/* SPDX-License-Identifier: Apache-2.0 */
/* Pauses of those who follow a stream; what a fleet of them costs is tests/sim/test_fleet.c (V3, V7). */
#include "manifest/follow.h"

#include <criterion/criterion.h>

static struct bw_follow f;
static int64_t now;

static void start(void)
{
	now = 1000 * BW_SEC;
	bw_follow_init(&f, now, 7);
}

TestSuite(follow, .init = start);

/* The pause behind a round that ended now, without the share that is left to chance. */
static int64_t pause_ns(void)
{
	int64_t ns = bw_follow_wait_due(&f) - now;

	return (int64_t)((double)ns / (1 + f.chance / 2) + 0.5);
}

static void pass(int64_t ns, uint64_t versions)
{
	now += ns;
	bw_follow_found(&f, now, versions, true);
}

static void near(int64_t ns, int64_t expected)
{
	cr_assert(ns >= expected - BW_MS && ns <= expected + BW_MS, "%ld ms, expected %ld ms", ns / BW_MS, expected / BW_MS);
}

Test(follow, V7_who_waits_is_late_by_an_eighth_of_the_wait_at_most)
{
	pass(BW_MS, 1);
	near(pause_ns(), BW_FOLLOW_MIN_NS);
	pass(400 * BW_MS, 0);
	near(pause_ns(), BW_FOLLOW_MIN_NS);
	pass(7600 * BW_MS, 0);
	near(pause_ns(), BW_SEC);
	pass(1000 * BW_SEC, 0);
	near(pause_ns(), BW_FOLLOW_MAX_NS);
	pass(BW_SEC, 1);
	cr_assert_gt(pause_ns(), BW_FOLLOW_MIN_NS, "it remembers how seldom something came");
}

Test(follow, pauses_are_a_quarter_of_what_lies_between_two_versions)
{
	for (int i = 0; i < 40; i++)
		pass(4 * BW_SEC, 2);
	near(pause_ns(), 500 * BW_MS);
	for (int i = 0; i < 40; i++)
		pass(50 * BW_MS, 1);
	near(pause_ns(), BW_FOLLOW_MIN_NS);
}

Test(follow, chance_is_drawn_once_a_round_and_spreads)
{
	int64_t least = BW_NEVER, most = 0;

	for (int i = 0; i < 200; i++) {
		pass(1000 * BW_SEC, 0);
		int64_t due = bw_follow_wait_due(&f);

		cr_assert_eq(due, bw_follow_wait_due(&f), "looking changes nothing");
		least = due - now < least ? due - now : least;
		most = due - now > most ? due - now : most;
	}
	cr_assert(least >= BW_FOLLOW_MAX_NS && most <= BW_FOLLOW_MAX_NS * 3 / 2);
	cr_assert_gt(most - least, BW_FOLLOW_MAX_NS / 4);
}

/* V3: a question is not put off but by the spacing of rounds that find nothing. */
Test(follow, V3_questions_wait_for_the_spacing_alone)
{
	pass(1000 * BW_SEC, 0);
	cr_assert_eq(bw_follow_ask_due(&f), now + BW_FOLLOW_MIN_NS);
	pass(BW_SEC, 1);
	cr_assert_leq(bw_follow_ask_due(&f), now);
}

/* Who follows the newest steps has the store asked all the time: that is no reason to put a question off. */
Test(follow, V3_questions_do_not_wait_for_rounds_nobody_asked_for)
{
	pass(BW_SEC, 0);
	int64_t due = bw_follow_ask_due(&f);

	now += 10 * BW_MS;
	bw_follow_found(&f, now, 0, false);
	cr_assert_eq(bw_follow_ask_due(&f), due, "nor are they closer to each other for it");
	now = due;
	bw_follow_found(&f, now, 0, false);
	cr_assert_leq(bw_follow_ask_due(&f), now);
	cr_assert_geq(bw_follow_wait_due(&f), now + BW_FOLLOW_MIN_NS, "but those keep behind any");
}

Test(follow, a_store_that_throttles_is_asked_less_until_it_does_not)
{
	for (int i = 0; i < 3; i++) {
		now += BW_SEC;
		bw_follow_failed(&f, now, true);
		cr_assert_gt(bw_follow_ask_due(&f), now, "questions too");
		cr_assert_leq(bw_follow_ask_due(&f), now + BW_SEC, "which wait 5 s at most");
	}
	pass(BW_MS, 1);
	cr_assert_gt(pause_ns(), 7 * BW_FOLLOW_MIN_NS);
	for (int i = 0; i < 100; i++)
		bw_follow_failed(&f, now += BW_SEC, true);
	cr_assert_leq(bw_follow_wait_due(&f), now + BW_FOLLOW_STRETCHED_MAX_NS * 3 / 2);
	for (int i = 0; i < 200; i++)
		pass(100 * BW_MS, 1);
	near(pause_ns(), BW_FOLLOW_MIN_NS);
}

Test(follow, rounds_that_fail_pause_longer_and_longer)
{
	int64_t before = 0;

	for (int i = 0; i < 12; i++) {
		bw_follow_failed(&f, now, false);
		int64_t due = bw_follow_ask_due(&f) - now;

		cr_assert(due > before / 2 && due <= BW_SEC);
		before = due;
		now += due;
	}
	cr_assert_geq(before, BW_SEC / 2);
	pass(BW_MS, 1);
	cr_assert_leq(bw_follow_ask_due(&f), now, "one answer ends it");
	bw_follow_failed(&f, now, false);
	cr_assert_leq(bw_follow_ask_due(&f), now + 10 * BW_MS, "and the next pause is the first again");
	bw_follow_failed(&f, now += BW_SEC, false);
	pass(0, 1);
	cr_assert_leq(bw_follow_ask_due(&f), now, "as soon as it comes");
	cr_assert_eq(f.failed_ns, 0);
}

Test(follow, who_asked_in_vain_comes_along_with_those_who_wait)
{
	unsigned joined = 0;

	cr_assert_not(bw_follow_joins(&f));
	bw_follow_in_vain(&f);
	while (bw_follow_joins(&f))
		joined++;
	cr_assert(joined > 0 && joined <= 64, "now and then one is asked for at once again");
}
