/* SPDX-License-Identifier: Apache-2.0 */
/* What is heard of, and who follows the newest versions (V3, V7). */
#include "tests/unit/head_world.h"

#include "manifest/head_priv.h"

TestSuite(head_follow, .init = start, .fini = end);

Test(head_follow, heard_is_nothing_to_who_does_not_want_news)
{
	grow(1);
	atomic_store(&tap->gets, 0);
	bw_head_heard(head);
	bw_sleep(20 * BW_MS);
	cr_assert_eq(atomic_load(&tap->gets), 0);
}

Test(head_follow, who_follows_knows_what_is_heard_of_without_asking)
{
	bw_head_follow(head);
	for (int i = 0; i < 3; i++) {
		grow(2);
		bw_head_heard(head);
		until_known(root->version);
	}
}

/* Who reads the newest steps has the next one known before it is asked for, where nothing can be heard. */
Test(head_follow, who_follows_finds_what_nobody_asked_for)
{
	for (int i = 0; i < 3; i++) {
		bw_head_follow(head);
		grow(1);
		until_known(root->version);
	}
}

/* The version is known before the round that found it has ended: who comes near to it then follows what is next. */
Test(head_follow, who_follows_while_a_round_ends_is_not_forgotten)
{
	grow(1);
	hold_start();
	bw_head_follow(head);
	bw_store_submit(tap->store.next, hold_wait(1));
	until_known(root->version);
	struct bw_op *above = hold_wait(2);

	bw_head_follow(head);
	tap->on_submit = NULL;
	bw_store_submit(tap->store.next, above);
	bw_sleep(20 * BW_MS);
	grow(1);
	until_known(root->version);
}

static atomic_int_fast64_t published_ns, probed_ns;

static void note_published(void *ctx, struct bw_root *old, struct bw_root *now)
{
	(void)ctx, (void)old, (void)now;
	atomic_store(&published_ns, bw_now());
}

static bool note_probe(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (op->kind == BW_OP_GET && atomic_load(&published_ns) && !atomic_load(&probed_ns))
		atomic_store(&probed_ns, bw_now());
	return false;
}

/* Where requests are few a second, the slice comes before the news that there are none. */
Test(head_follow, the_next_probe_lets_them_read_who_were_answered)
{
	bw_head_subscribe(head, note_published, NULL);
	tap->on_submit = note_probe;
	grow(1);
	bw_head_follow(head);
	for (int64_t until = soon(); !atomic_load(&probed_ns); bw_sleep(BW_MS))
		cr_assert_lt(bw_now(), until);
	cr_assert_geq(atomic_load(&probed_ns) - atomic_load(&published_ns), 5 * BW_MS);
}

static void hear_of_more(void *ctx, struct bw_root *old, struct bw_root *now)
{
	note_published(ctx, old, now);
	bw_head_heard(head);
}

/* ... unless the next one is known to be there, */
Test(head_follow, who_follows_does_not_wait_for_what_is_heard_of)
{
	bool quick = false;

	bw_head_subscribe(head, hear_of_more, NULL);
	tap->on_submit = note_probe;
	for (int i = 0; i < 300 && !quick; i++) {
		atomic_store(&published_ns, 0);
		atomic_store(&probed_ns, 0);
		grow(1);
		bw_head_follow(head);
		for (int64_t until = soon(); !atomic_load(&probed_ns); bw_sleep(BW_MS))
			cr_assert_lt(bw_now(), until);
		quick = atomic_load(&probed_ns) - atomic_load(&published_ns) < 3 * BW_MS;
	}
	cr_assert(quick);
}

/* ... or unless somebody asks, who is answered by that probe alone. */
Test(head_follow, V3_who_asks_meanwhile_is_not_let_wait)
{
	struct asked a;
	bool quick = false;

	for (int i = 0; i < 300 && !quick; i++) {
		grow(1);
		bw_head_follow(head);
		until_known(root->version);
		int64_t begin = bw_now();
		ask_so(&a, (struct bw_ask){.until_step = BW_STEPS_MAX, .deadline_ns = soon(), .urgent = true});
		cr_assert_eq(ask_wait(&a), 0);
		quick = bw_now() - begin < 3 * BW_MS;
	}
	cr_assert(quick);
}

/* That is over when something new has come, until the reader comes near to the end again. */
Test(head_follow, who_follows_and_has_news_asks_no_more)
{
	grow(1);
	bw_head_follow(head);
	until_known(root->version);
	/* The version, and that there is none above. */
	for (int64_t until = soon(); atomic_load(&tap->gets) < 2; bw_sleep(BW_MS))
		cr_assert_lt(bw_now(), until);
	bw_sleep(2 * BW_PROBE_SPACING_NS);
	cr_assert_eq(atomic_load(&tap->gets), 2);
}

/* V7: somebody who waits anyway, and asked in vain before, still has his answer from a probe of his own. */
Test(head_follow, V3_the_patient_are_answered_by_a_probe_sent_after_they_asked)
{
	struct asked a;

	for (int i = 0; i < 6; i++) {
		int before = atomic_load(&tap->gets);

		ask_so(&a, (struct bw_ask){.until_step = BW_STEPS_MAX, .deadline_ns = soon(), .patient = true});
		cr_assert_eq(ask_wait(&a), 0);
		cr_assert_gt(atomic_load(&tap->gets), before);
	}
}

Test(head_follow, heard_before_somebody_follows)
{
	grow(1);
	bw_head_heard(head);
	bw_head_follow(head);
	until_known(root->version);
}

Test(head_follow, V7_who_watches_need_not_wait_for_the_next_probe)
{
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);	/* fruitless: the next one is spaced */
	bw_head_watch(head, 1);
	for (int i = 0; i < 50; i++) {
		grow(1);
		bw_head_heard(head);
		until_known(root->version);
	}
	bw_head_watch(head, -1);
}

/* Versions came every 20 seconds, and it was not there a moment ago: nobody asks for the one above it. */
Test(head_follow, V7_who_waits_for_what_comes_steadily_asks_once)
{
	struct bw_follow *follow = &head->prober.follow;

	bw_head_watch(head, 1);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	bw_lock(&head->prober.lock);
	follow->every_ns = 20 * BW_SEC;
	follow->strays_ns = 0;
	follow->came_ns = follow->news_ns = bw_now() - follow->every_ns + 100 * BW_MS;
	follow->quiet_ns = bw_now();
	bw_unlock(&head->prober.lock);
	atomic_store(&tap->gets, 0);
	grow(1);
	until_known(root->version);
	bw_sleep(100 * BW_MS);
	cr_assert_eq(atomic_load(&tap->gets), 1);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0, "but who asks is told");
	cr_assert_eq(atomic_load(&tap->gets), 2);
	bw_head_watch(head, -1);
}
