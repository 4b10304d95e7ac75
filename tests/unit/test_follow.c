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
	bw_follow_found(&f, now, versions, true, true);
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
		pass((i % 2 ? 7 : 1) * BW_SEC, 2);
	cr_assert(f.every_ns > BW_SEC && f.every_ns < 3 * BW_SEC);
	near(pause_ns(), f.every_ns / 4);
	for (int i = 0; i < 40; i++)
		pass(50 * BW_MS, 1);
	near(pause_ns(), BW_FOLLOW_MIN_NS);
}

/* One who waits all the time, and a writer. */
static int64_t commits[1000];
static unsigned commits_n, known_n, requests;
static int64_t latest_ns;	/* the longest between a commit and its being known, of those from latest_from on */
static unsigned latest_from;

static bool is_there(unsigned i)
{
	return i < commits_n && commits[i] <= now;
}

static void round_of_one(void)
{
	uint64_t versions = 0;
	bool no = true;

	for (requests++; no && is_there(known_n); known_n++, versions++) {
		if (known_n >= latest_from && now - commits[known_n] > latest_ns)
			latest_ns = now - commits[known_n];
		no = versions || !bw_follow_is_content(&f, now);
		requests += no;
	}
	bw_follow_found(&f, now, versions, no, false);
}

static void follow_them(unsigned from)
{
	latest_from = from;
	latest_ns = requests = 0;
	while (known_n < commits_n) {
		int64_t due = bw_follow_wait_due(&f);

		now = due > now ? due : now;
		round_of_one();
	}
}

static void commit_after(int64_t ns)
{
	commits[commits_n] = (commits_n ? commits[commits_n - 1] : now) + ns;
	commits_n++;
}

Test(follow, V7_what_comes_steadily_is_looked_for_when_it_comes)
{
	for (int i = 0; i < 20; i++)
		commit_after(BW_SEC);
	follow_them(0);
	for (int i = 0; i < 200; i++)
		commit_after(BW_SEC);
	follow_them(20);
	cr_assert_leq(latest_ns, 300 * BW_MS, "%ld ms late", latest_ns / BW_MS);
	cr_assert_leq(requests, 200 * 5 / 2, "%u requests, a quarter of a second apart they are 4 a version", requests);
}

/* Who is a whole step behind, always finds one, and so believes that it has just come, does not go on so. */
Test(follow, V7_a_rhythm_that_was_lost_is_found_again)
{
	for (int i = 0; i < 40; i++)
		commit_after(BW_SEC);
	commit_after(300 * BW_MS);
	for (int i = 0; i < 40; i++)
		commit_after(BW_SEC);
	follow_them(50);
	cr_assert_leq(latest_ns, 300 * BW_MS, "%ld ms late", latest_ns / BW_MS);
	known_n = commits_n;
	f.came_ns = f.news_ns = commits[commits_n - 1] + 900 * BW_MS;
	f.quiet_ns = now = f.news_ns;
	for (int i = 0; i < 40; i++)
		commit_after(BW_SEC);
	follow_them(commits_n - 30);
	cr_assert_leq(latest_ns, 300 * BW_MS, "%ld ms late", latest_ns / BW_MS);
}

Test(follow, V7_what_comes_in_pairs_or_by_chance_is_not_foretold)
{
	for (int i = 0; i < 100; i++)
		commit_after(i % 2 ? 0 : 2 * BW_SEC);
	follow_them(20);
	cr_assert_leq(latest_ns, BW_SEC, "%ld ms late", latest_ns / BW_MS);
	for (int i = 0; i < 300; i++)
		commit_after((int64_t)bw_rng_below(&f.rng, 2 * BW_SEC));
	follow_them(commits_n - 200);
	cr_assert_leq(latest_ns, BW_SEC, "%ld ms late", latest_ns / BW_MS);
}

/* What takes a minute is asked for at the pace of what takes long. */
Test(follow, V7_who_waits_long_is_late_by_three_seconds_at_most)
{
	for (int i = 0; i < 30; i++)
		commit_after(60 * BW_SEC + (int64_t)bw_rng_below(&f.rng, 20 * BW_SEC));
	follow_them(0);
	cr_assert_leq(latest_ns, 3 * BW_SEC, "%ld ms late", latest_ns / BW_MS);
	cr_assert_leq(requests, 30 * 50, "%u requests", requests);
}

Test(follow, a_store_that_throttles_is_asked_as_if_nothing_could_be_foretold)
{
	for (int i = 0; i < 20; i++)
		commit_after(BW_SEC);
	follow_them(0);
	f.quiet_ns = now += BW_MS;
	cr_assert(bw_follow_is_content(&f, now + BW_MS));
	bw_follow_failed(&f, now += BW_MS, true);
	cr_assert_not(bw_follow_is_content(&f, now + BW_MS));
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
	bw_follow_found(&f, now, 0, true, false);
	cr_assert_eq(bw_follow_ask_due(&f), due, "nor are they closer to each other for it");
	now = due;
	bw_follow_found(&f, now, 0, true, false);
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
