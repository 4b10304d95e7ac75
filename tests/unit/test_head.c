/* SPDX-License-Identifier: Apache-2.0 */
/* Publication, probes and look-ups (V2, V3, V6, I2, I3, I12, I14). */
#include "manifest/destroy.h"
#include "tests/unit/head_world.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

TestSuite(head, .init = start, .fini = end);

/* How long the machine slept, which bw_boottime() alone tells. */
static atomic_int asleep_s;

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	int rc = (int)syscall(SYS_clock_gettime, clock, ret);

	if (clock == CLOCK_BOOTTIME)
		ret->tv_sec += atomic_load(&asleep_s);
	return rc;
}

/* ---- Asks ---------------------------------------------------------------------------------------- */

Test(head, sends_nothing_until_asked)
{
	atomic_store(&tap->gets, 0);
	bw_sleep(20 * BW_MS);
	cr_assert_eq(atomic_load(&tap->gets), 0);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	cr_assert_eq(atomic_load(&tap->gets), 1);
}

Test(head, an_ask_finds_what_was_committed)
{
	grow(1);
	grow(1);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	cr_assert_eq(known_version(), root->version);
}

/*
 * V3: an ask never joins a probe that was sent before it.  The first probe is answered NOT_FOUND for
 * a version that is committed before the second ask is made.
 */
Test(head, an_ask_never_joins_an_older_probe)
{
	struct asked before, after;
	struct bw_blob *none;
	char key[BW_KEY_MAX + 1];

	hold_start();
	ask_now(&before, BW_STEPS_MAX, soon());
	struct bw_op *old = hold_wait(1);

	/* The store looks, finds nothing, and its answer travels slowly ... */
	bw_key_root(&stream, root->version + 1, key);
	cr_assert_eq(bw_test_get(tap->store.next, key, &none), BW_NOT_FOUND);
	tap->on_submit = NULL;
	grow(1);
	tap->on_submit = hold_gets;
	ask_now(&after, BW_STEPS_MAX, soon());
	old->outcome = BW_NOT_FOUND;
	old->done(old);
	cr_assert_eq(ask_wait(&before), 0);
	struct bw_op *fresh = hold_wait(2);

	cr_assert_not(after.answered.open);
	tap->on_submit = NULL;
	bw_store_submit(tap->store.next, fresh);
	cr_assert_eq(ask_wait(&after), 0);
	cr_assert_eq(after.version, root->version);
}

/* Asks that are made meanwhile share the next probe. */
Test(head, asks_share_probes)
{
	struct asked first, many[50];

	hold_start();
	ask_now(&first, BW_STEPS_MAX, soon());
	struct bw_op *op = hold_wait(1);

	for (int i = 0; i < 50; i++)
		ask_now(&many[i], BW_STEPS_MAX, soon());
	tap->on_submit = NULL;
	atomic_store(&tap->gets, 0);
	bw_store_submit(tap->store.next, op);
	cr_assert_eq(ask_wait(&first), 0);
	for (int i = 0; i < 50; i++)
		cr_assert_eq(ask_wait(&many[i]), 0);
	cr_assert_eq(atomic_load(&tap->gets), 1);
}

Test(head, fruitless_probes_are_spaced)
{
	int64_t began = bw_now();

	atomic_store(&tap->gets, 0);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	uint64_t most = 1 + (uint64_t)((bw_now() - began) / BW_PROBE_SPACING_NS);

	cr_assert_leq(atomic_load(&tap->gets), most);
	/* Those that pace themselves are not spaced: they are as many as asked for. */
	atomic_store(&tap->gets, 0);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(bw_head_refresh(head, soon(), NULL), 0);
	cr_assert_eq(atomic_load(&tap->gets), 5);
}

static atomic_uint failed_n, repeatable_n;

static bool fail_gets(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (op->kind != BW_OP_GET)
		return false;
	if (!op->once)
		atomic_fetch_add(&repeatable_n, 1);
	atomic_fetch_add(&failed_n, 1);
	bw_op_fail(op, BW_UNREACHABLE, 0);
	op->done(op);
	return true;
}

/* V3, V6: in an outage the head itself asks again, so that who looks up when it ends waits for no request
 * from before; and it asks ever less often. */
Test(head, probes_that_fail_are_made_again_one_by_one)
{
	struct asked early, late;
	int64_t began = bw_now();

	tap->on_submit = fail_gets;
	ask_now(&early, BW_STEPS_MAX, began + 1500 * BW_MS);
	cr_assert_eq(ask_wait(&early), -BW_E_UNREACHABLE);
	/* The pauses come to 5 to 10 ms, 15 to 30, and so on: 640 to 1280 after the seventh. */
	cr_assert_geq(atomic_load(&failed_n), 2);
	cr_assert_leq(atomic_load(&failed_n), 10);
	cr_assert_eq(atomic_load(&repeatable_n), 0);
	ask_now(&late, BW_STEPS_MAX, soon());
	tap->on_submit = NULL;
	cr_assert_eq(ask_wait(&late), 0);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
}

/* V3: a probe that nobody answers leaves those who ask for five seconds time for another. */
Test(head, a_probe_that_stalls_does_not_use_up_the_time_of_a_look_up)
{
	struct asked a;
	int64_t began = bw_now();

	hold_start();
	ask_now(&a, BW_STEPS_MAX, began + 5 * BW_SEC);
	struct bw_op *op = hold_wait(1);

	cr_assert_leq(op->deadline_ns, bw_now() + 2 * BW_SEC);
	tap->on_submit = NULL;
	bw_op_fail(op, BW_UNREACHABLE, 0);
	op->done(op);
	cr_assert_eq(ask_wait(&a), 0);
	/* The next one would have had twice the time; the answer makes that less again. */
	tap->on_submit = hold_gets;
	ask_now(&a, BW_STEPS_MAX, soon());
	op = hold_wait(2);
	cr_assert_leq(op->deadline_ns, bw_now() + 2 * BW_SEC);
	tap->on_submit = NULL;
	bw_op_fail(op, BW_NOT_FOUND, 0);
	op->done(op);
	cr_assert_eq(ask_wait(&a), 0);
}

static int64_t patience_of(const struct bw_op *op)
{
	return op->deadline_ns - bw_now();
}

static void end_held(struct bw_op *op, enum bw_outcome outcome)
{
	bw_op_fail(op, outcome, 0);
	op->done(op);
}

/* V3: neither connections that were lost nor one slow answer are a slow store. */
Test(head, V3_what_takes_no_time_or_takes_it_once_does_not_make_a_stall_cost_more)
{
	struct asked a;

	hold_start();
	ask_now(&a, BW_STEPS_MAX, soon());
	for (int n = 1; n <= 3; n++) {
		cr_assert_leq(patience_of(hold_wait(n)), 2 * BW_SEC);
		end_held(held[n - 1], BW_UNREACHABLE);
	}
	hold_wait(4);
	bw_sleep(1800 * BW_MS);
	end_held(held[3], BW_NOT_FOUND);
	cr_assert_eq(ask_wait(&a), 0);
	ask_now(&a, BW_STEPS_MAX, soon());
	cr_assert_leq(patience_of(hold_wait(5)), 4 * BW_SEC);
	end_held(held[4], BW_NOT_FOUND);
	cr_assert_eq(ask_wait(&a), 0);
}

static bool fail_three(struct bw_test_tap *t, struct bw_op *op)
{
	return atomic_load(&failed_n) < 3 && fail_gets(t, op);
}

/* DAC reckons with what a probe takes, and not with the pauses after those that failed. */
Test(head, an_ask_is_told_what_its_probe_took)
{
	struct asked a;
	int64_t began = bw_now();

	tap->on_submit = fail_three;
	ask_now(&a, BW_STEPS_MAX, soon());
	cr_assert_eq(ask_wait(&a), 0);
	cr_assert_eq(atomic_load(&failed_n), 3);
	cr_assert_gt(a.ask.took_ns, 0);
	/* Half of 10, 20 and 40 ms at least. */
	cr_assert_leq(a.ask.took_ns + 35 * BW_MS, bw_now() - began);
	grow(1);
	cr_assert_eq(bw_head_publish(head, root), 0);
	ask_now(&a, 0, soon());
	cr_assert_eq(ask_wait(&a), 0);
	cr_assert_eq(a.ask.took_ns, 0, "a step that is there needs no probe");
}

Test(head, until_step_is_enough)
{
	struct asked a, never;

	grow(1);
	cr_assert_eq(ask_and_wait(0), 0);
	hold_start();
	ask_now(&a, 1, soon());
	ask_now(&never, 5, soon());
	struct bw_op *op = hold_wait(1);

	tap->on_submit = NULL;
	grow(1);
	tap->on_submit = hold_gets;
	cr_assert_eq(bw_head_publish(head, root), 0);	/* committed here */
	cr_assert_eq(ask_wait(&a), 0, "while the probe is still under way");
	cr_assert_not(never.answered.open);
	cr_assert(bw_head_ask_cancel(head, &never.ask));
	cr_assert_not(bw_head_ask_cancel(head, &never.ask));
	cr_assert_not(bw_head_ask_cancel(head, &a.ask));
	tap->on_submit = NULL;
	bw_store_submit(tap->store.next, op);
}

static bool refuse_gets(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (op->kind == BW_OP_GET)
		op->deadline_ns = 1;	/* long over: CANCELLED */
	return false;
}

/* V6: a store that does not answer is no reason to say "not committed". */
Test(head, an_ask_fails_at_its_deadline_and_not_before)
{
	struct asked a, b;

	tap->on_submit = refuse_gets;
	int64_t deadline = bw_now() + 250 * BW_MS;

	ask_now(&a, BW_STEPS_MAX, deadline);
	ask_now(&b, BW_STEPS_MAX, soon());
	cr_assert_eq(ask_wait(&a), -BW_E_UNREACHABLE);
	cr_assert_geq(bw_now(), deadline);
	cr_assert_not(b.answered.open);
	tap->on_submit = NULL;
	cr_assert_eq(ask_wait(&b), 0, "asked again until the store is back");
}

Test(head, a_stuck_probe_does_not_hold_deadlines)
{
	struct asked a;

	hold_start();
	ask_now(&a, BW_STEPS_MAX, bw_now() + 50 * BW_MS);
	struct bw_op *op = hold_wait(1);

	cr_assert_eq(ask_wait(&a), -BW_E_UNREACHABLE);
	tap->on_submit = NULL;
	bw_store_submit(tap->store.next, op);
}

Test(head, far_behind_jumps)
{
	struct bw_change c = bw_test_change(BW_CHANGE_TRIM, "");

	for (int i = 0; i < 1000; i++)
		bw_test_commit(&tap->store, &stream, &root, &c, 1);
	atomic_store(&tap->gets, 0);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	cr_assert_eq(known_version(), root->version);
	cr_assert_leq(atomic_load(&tap->gets), 4 + 24);
}

/* Asks with a guess; gets it took. */
static uint64_t gets_with_guess(uint64_t guess)
{
	struct asked a = {.ask = {.done = answered, .until_step = BW_STEPS_MAX,
				  .deadline_ns = soon(), .guess = guess, .urgent = true}};

	bw_latch_init(&a.answered);
	atomic_store(&tap->gets, 0);
	bw_head_ask(head, &a.ask);
	cr_assert_eq(ask_wait(&a), 0);
	cr_assert_eq(a.version, root->version);
	return atomic_load(&tap->gets);
}

Test(head, far_behind_with_a_guess)
{
	struct bw_change c = bw_test_change(BW_CHANGE_TRIM, "");
	uint64_t first = root->version;

	for (int i = 0; i < 300; i++)
		bw_test_commit(&tap->store, &stream, &root, &c, 1);
	cr_assert_leq(gets_with_guess(root->version + 5), 7, "near");
	cr_assert_leq(gets_with_guess(root->version + 1000), 24, "nothing newer, and a wrong guess");
	for (int i = 0; i < 300; i++)
		bw_test_commit(&tap->store, &stream, &root, &c, 1);
	for (uint64_t v = first + 301; v < root->version - 3; v++)
		bw_test_bury(&tap->store, &stream, v);
	gets_with_guess(root->version - 50);
}

Test(head, a_tombstone_above_is_searched_past)
{
	struct bw_change c = bw_test_change(BW_CHANGE_TRIM, "");
	uint64_t first = root->version + 1;

	for (int i = 0; i < 100; i++)
		bw_test_commit(&tap->store, &stream, &root, &c, 1);
	for (uint64_t v = first; v < root->version - 3; v++)
		bw_test_bury(&tap->store, &stream, v);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	cr_assert_eq(known_version(), root->version);
}

struct news {
	uint64_t n, last;
	bool ok;
};

static void on_news(void *ctx, struct bw_root *old, struct bw_root *now)
{
	struct news *n = ctx;

	n->ok = n->ok && old->version == n->last && now->version > old->version;
	n->last = now->version;
	n->n++;
}

/* V7: while somebody watches, news comes by itself, and in order. */
Test(head, watching_brings_news)
{
	struct news news = {.last = root->version, .ok = true};

	bw_head_subscribe(head, on_news, &news);
	bw_head_watch(head, 1);
	for (int i = 0; i < 5; i++) {
		grow(1);
		while (known_version() < root->version)
			bw_sleep(BW_MS);
	}
	bw_head_watch(head, -1);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);	/* nobody is telling news any more */
	cr_assert(news.ok);
	cr_assert_eq(news.last, root->version);
}

Test(head, free_ends_the_asks)
{
	struct asked a;

	hold_start();
	ask_now(&a, BW_STEPS_MAX, soon());
	struct bw_op *op = hold_wait(1);

	tap->on_submit = NULL;
	bw_store_submit(tap->store.next, op);
	struct asked b;

	ask_now(&b, BW_STEPS_MAX, soon());
	bw_head_free(head);
	cr_assert(a.answered.open && b.answered.open);
	cr_assert(b.err == -BW_E_STOPPING || b.err == 0);
	head = NULL;
}

/* ---- A stream that was destroyed while nobody looked (V6) ------------------------------------------ */

static enum bw_outcome first_says;	/* BW_OK: the store does */
static atomic_uint first_asked;

static bool asks_for_first(struct bw_test_tap *t, struct bw_op *op)
{
	char first[BW_KEY_MAX + 1];

	(void)t;
	bw_key_root(&stream, 1, first);
	if (op->kind != BW_OP_GET || strcmp(op->key, first) != 0)
		return false;
	atomic_fetch_add(&first_asked, 1);
	if (first_says == BW_OK)
		return false;
	bw_op_fail(op, first_says, 0);
	op->done(op);
	return true;
}

/* A head whose root was found before the pause of who destroys a stream. */
static void sleep_long(void)
{
	bw_head_free(head);
	cr_assert_eq(bw_head_new(&tap->store, &stream, root, bw_boottime() - BW_DESTROY_UNSEEN_NS - BW_SEC, NULL, &head), 0);
	tap->on_submit = asks_for_first;
	atomic_store(&tap->gets, 0);
}

Test(head, V6_whether_the_stream_is_there_is_asked_once_behind_a_gap)
{
	sleep_long();
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	cr_assert_eq(atomic_load(&first_asked), 1);
	cr_assert_eq(atomic_load(&tap->gets), 2);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	cr_assert_eq(atomic_load(&tap->gets), 3, "there was no gap");
	/* What is found is no news of what is not. */
	sleep_long();
	grow(1);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	cr_assert_eq(known_version(), root->version);
	cr_assert_eq(atomic_load(&first_asked), 2);
}

/* The machine sleeps while a probe is on its way: what answers it was so when it was sent, or later. */
Test(head, V6_a_probe_from_before_a_gap_ends_none)
{
	struct asked a;

	hold_start();
	ask_now(&a, BW_STEPS_MAX, soon());
	struct bw_op *probe = hold_wait(1);

	tap->on_submit = asks_for_first;
	atomic_fetch_add(&asleep_s, BW_DESTROY_UNSEEN_NS / BW_SEC + 1);
	bw_store_submit(tap->store.next, probe);
	cr_assert_eq(ask_wait(&a), 0);
	cr_assert_eq(atomic_load(&first_asked), 1);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	cr_assert_eq(atomic_load(&first_asked), 2);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	cr_assert_eq(atomic_load(&first_asked), 2, "there was no gap");
}

Test(head, V6_nothing_newer_of_a_stream_that_is_gone_is_no_step_that_is_late)
{
	struct bw_find find = {.step = 0};
	char key[BW_KEY_MAX + 1];
	int err;

	grow(1);
	sleep_long();
	for (uint64_t v = 1; v <= root->version; v++) {
		bw_key_root(&stream, v, key);
		bw_test_delete(&tap->store, key);
	}
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), -BW_E_DESTROYED);
	cr_assert_eq(bw_head_poisoned(head), -BW_E_DESTROYED);
	cr_assert(bw_head_find(head, &find, &err));
	cr_assert_eq(err, -BW_E_DESTROYED);
}

/* V3: without an answer nothing is said; an archive that does not give root 1 has it. */
Test(head, V6_no_answer_to_the_question_for_the_stream_is_none)
{
	static const enum bw_outcome no_answers[] = {BW_UNREACHABLE, BW_THROTTLED};
	struct asked a;

	for (size_t i = 0; i < sizeof(no_answers) / sizeof(no_answers[0]); i++) {
		first_says = no_answers[i];
		sleep_long();
		ask_now(&a, BW_STEPS_MAX, bw_now() + 300 * BW_MS);
		cr_assert_eq(ask_wait(&a), -BW_E_UNREACHABLE);
		cr_assert_eq(bw_head_poisoned(head), 0);
		first_says = BW_OK;
		cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	}
	first_says = BW_DENIED;
	sleep_long();
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	cr_assert_eq(atomic_load(&tap->gets), 3);
}

/* ---- Contradictions (I14) ------------------------------------------------------------------------ */

static void expect_poisoned(void)
{
	struct bw_find find = {.step = 0};
	int err;

	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), -BW_E_CONTRADICTION);
	cr_assert_eq(bw_head_poisoned(head), -BW_E_CONTRADICTION);
	cr_assert(bw_head_find(head, &find, &err));
	cr_assert_eq(err, -BW_E_CONTRADICTION, "not one more step is served");
	cr_assert_eq(bw_head_publish(head, root), -BW_E_CONTRADICTION);
}

Test(head, a_forked_next_version_poisons)
{
	grow(2);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	struct bw_root *fork = bw_root_ref(root);

	next_seq--;
	root->tail[1].nonce++;		/* another history before the next version */
	root->digest = bw_digest_next(bw_digest_next(0, &root->tail[0]), &root->tail[1]);
	next_seq++;
	struct bw_change c = bw_test_append("p", 1, 1, next_seq, 1);

	bw_test_commit(&tap->store, &stream, &root, &c, 1);
	expect_poisoned();
	bw_root_unref(fork);
}

/* Across a gap that the new root's tail does not bridge, the index is asked: see bw_nodes_digest. */
static void fork_then_grow(uint32_t steps, uint32_t versions)
{
	grow(steps);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	root->tail[50].nonce++;
	root->digest = bw_digest_over(0, root->tail, steps);
	for (uint32_t i = 0; i < versions; i++)
		grow(200);
	for (uint64_t v = root->version - versions + 1; v < root->version; v++)
		bw_test_bury(&tap->store, &stream, v);
}

Test(head, a_fork_is_found_across_a_long_gap)
{
	fork_then_grow(100, 20);
	expect_poisoned();
}

Test(head, a_fork_of_whole_leaves_is_found_across_a_long_gap)
{
	fork_then_grow(BW_LEAF_ENTRIES, 20);
	expect_poisoned();
}

/* As long as the last step that is common, or is not, was not reclaimed. */
static void fork_and_trim(uint64_t first)
{
	struct bw_change c[3] = {bw_test_change(BW_CHANGE_JOB, "j"), bw_test_step(BW_CHANGE_MARK, "j", first),
				 bw_test_change(BW_CHANGE_TRIM, "")};

	fork_then_grow(100, 20);
	stream.options.keep = 1;
	bw_test_commit(&tap->store, &stream, &root, c, 3);
	bw_test_bury(&tap->store, &stream, root->version - 1);
	cr_assert_eq(root->first, first);
}

Test(head, a_fork_is_found_while_its_step_is_there)
{
	fork_and_trim(99);
	expect_poisoned();
}

Test(head, what_was_reclaimed_in_a_long_gap_contradicts_nothing)
{
	fork_and_trim(100);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	cr_assert_eq(known_version(), root->version);
}

Test(head, a_long_gap_without_a_fork_is_fine)
{
	grow(100);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	for (int i = 0; i < 20; i++)
		grow(200);
	for (uint64_t v = 4; v < root->version; v++)
		bw_test_bury(&tap->store, &stream, v);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	cr_assert_eq(known_version(), root->version);
}

/* A node that cannot be read says nothing of a fork, neither that there is one nor that there is none. */
Test(head, a_damaged_node_in_a_long_gap_contradicts_nothing)
{
	char key[BW_KEY_MAX + 1];

	grow(100);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	uint64_t known = known_version();

	for (int i = 0; i < 20; i++)
		grow(200);
	for (uint64_t v = known + 1; v < root->version; v++)
		bw_test_bury(&tap->store, &stream, v);
	const struct bw_pointer *p = &root->levels[0].pointers[0];
	struct bw_blob *node;

	bw_key_node(&stream, 0, p->first, p->last, p->hash, key);
	cr_assert_eq(bw_test_get(&tap->store, key, &node), BW_OK);
	cr_assert_eq(bw_test_put(&tap->store, key, "damage", 6, false), BW_OK);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), -BW_E_CORRUPT);
	cr_assert_eq(bw_head_poisoned(head), 0);
	cr_assert_eq(known_version(), known);
	cr_assert_eq(bw_test_put(&tap->store, key, node->bytes, node->len, false), BW_OK);
	bw_blob_unref(node);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	cr_assert_eq(known_version(), root->version);
}

/* S8: a feature of writers is none of a reader's, who reads on whatever comes of it. */
Test(head, a_version_with_a_feature_of_writers_is_read)
{
	grow(2);
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
	struct bw_change c = bw_test_append("p", 1, 1, next_seq, 1);
	struct bw_root *made = bw_test_apply(&stream, root, &c, 1, 1);

	made->features_write = strdup("\"later\"");
	made->time_ms += 5;	/* no change says so */
	struct bw_root *newer = bw_test_stored(&stream, made, NULL);

	cr_assert_eq(bw_head_publish(head, newer), 0);
	cr_assert_eq(bw_head_poisoned(head), 0);
	cr_assert_eq(known_version(), newer->version);
	bw_root_unref(newer);
	bw_root_unref(made);
}

Test(head, the_same_version_with_other_bytes_poisons)
{
	struct bw_root *other = bw_test_stored(&stream, root, NULL);

	other->stored_xxh3++;
	cr_assert_eq(bw_head_publish(head, root), 0);
	cr_assert_eq(bw_head_publish(head, other), -BW_E_CONTRADICTION);
	bw_root_unref(other);
}

Test(head, an_older_root_changes_nothing)
{
	struct bw_root *old = bw_root_ref(root);

	grow(1);
	cr_assert_eq(bw_head_publish(head, root), 0);
	cr_assert_eq(bw_head_publish(head, old), 0);
	cr_assert_eq(known_version(), root->version);
	bw_root_unref(old);
}

/* ---- Look-ups ------------------------------------------------------------------------------------ */

static int find(uint64_t step, struct bw_entry *e)
{
	return bw_head_find_sync(head, step, soon(), e);
}

static void grow_indexed(void)
{
	for (int i = 0; i < 40; i++)
		grow(250);	/* 10,000 steps: leaves and a node above them */
	cr_assert_eq(ask_and_wait(BW_STEPS_MAX), 0);
}

Test(head, finds_every_entry_and_fetches_a_node_once)
{
	struct bw_entry e;

	grow_indexed();
	atomic_store(&tap->gets, 0);
	for (uint64_t s = 0; s < next_seq; s++) {
		cr_assert_eq(find(s, &e), 0);
		cr_assert(e.step == s && e.seq == s && e.nonce == s);
	}
	cr_assert_leq(atomic_load(&tap->gets), next_seq / BW_LEAF_ENTRIES + 2);
	cr_assert_eq(find(next_seq, &e), -BW_E_NOT_COMMITTED);
}

struct finding {
	struct bw_find find;
	atomic_int *left;
	int err;
};

static void found(struct bw_find *f, int err)
{
	struct finding *me = (struct finding *)f;

	me->err = err;
	atomic_fetch_sub(me->left, 1);
}

Test(head, finders_of_one_node_share_a_flight)
{
	struct finding f[BW_LEAF_ENTRIES];
	atomic_int left = BW_LEAF_ENTRIES;
	int err;

	grow_indexed();
	hold_start();
	for (unsigned i = 0; i < BW_LEAF_ENTRIES; i++) {
		f[i] = (struct finding){.find = {.step = 8192 + i, .deadline_ns = BW_NEVER,
						 .done = found},
					.left = &left};
		cr_assert_not(bw_head_find(head, &f[i].find, &err));
	}
	struct bw_op *op = hold_wait(1);

	cr_assert_eq(atomic_load(&held_n), 1);
	tap->on_submit = NULL;
	bw_store_submit(tap->store.next, op);
	while (atomic_load(&left))
		bw_sleep(BW_MS);
	for (unsigned i = 0; i < BW_LEAF_ENTRIES; i++)
		cr_assert(!f[i].err && f[i].find.entry.step == 8192 + i);
}

static void delete_nodes(void)
{
	struct bw_op op;

	bw_op_list(&op, "", "", BW_LIST_PAGE_MAX);
	cr_assert_eq(bw_store_sync(&tap->store, &op), BW_OK);
	for (size_t i = 0; i < op.listing->n; i++)
		if (strstr(op.listing->items[i].key, "/index/"))
			bw_test_delete(&tap->store, op.listing->items[i].key);
	bw_op_done(&op);
}

/* V6: a missing node is a fault while its steps are readable, and no news once they are reclaimed. */
Test(head, a_missing_node_is_judged_by_the_newest_root)
{
	struct bw_change c[4] = {bw_test_change(BW_CHANGE_JOB, "j"),
				 bw_test_step(BW_CHANGE_MARK, "j", 5000),
				 bw_test_step(BW_CHANGE_MARK, "j", 5001),
				 bw_test_change(BW_CHANGE_TRIM, "")};
	struct bw_entry e;

	grow_indexed();
	delete_nodes();
	cr_assert_eq(find(100, &e), -BW_E_CORRUPT);
	bw_test_commit(&tap->store, &stream, &root, c, 4);
	cr_assert_eq(root->first, 5000);
	cr_assert_eq(find(100, &e), -BW_E_RECLAIMED, "learned because the node was missing");
	cr_assert_eq(known_version(), root->version);
	cr_assert_eq(find(6000, &e), -BW_E_CORRUPT);
	cr_assert_eq(find(4999, &e), -BW_E_RECLAIMED, "known now");
}

static atomic_int flips;

static enum bw_fault flip(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	(void)plan;
	(void)nth;
	if (!strstr(op->key, "/index/") || atomic_load(&flips) <= 0)
		return BW_FAULT_NONE;
	atomic_fetch_sub(&flips, 1);
	return BW_FAULT_FLIP;
}

Test(head, a_node_damaged_on_the_way_is_fetched_again)
{
	struct bw_fault_plan plan = {.decide = flip};
	struct bw_entry e;

	grow_indexed();
	bw_head_free(head);
	cr_assert_eq(bw_filter_fault_new(tap->store.next, &plan, &tap->store.next), 0);
	cr_assert_eq(bw_head_new(&tap->store, &stream, root, bw_boottime(), NULL, &head), 0);
	atomic_store(&flips, 2);
	cr_assert_eq(find(8200, &e), 0);
	atomic_store(&flips, 1000);
	cr_assert_eq(find(8400, &e), -BW_E_CORRUPT);
	atomic_store(&flips, 0);
	cr_assert_eq(find(8400, &e), 0);
}

Test(head, an_unreachable_node_is_said)
{
	struct bw_entry e;

	grow_indexed();
	tap->on_submit = refuse_gets;
	cr_assert_eq(find(100, &e), -BW_E_UNREACHABLE);
	tap->on_submit = NULL;
	cr_assert_eq(find(100, &e), 0);
}

/* ---- I12 at a million steps ---------------------------------------------------------------------- */

static void keep(void *ctx, unsigned level, const struct bw_pointer *p, const struct bw_buf *bytes)
{
	struct bw_sample *s = ctx;
	char key[BW_KEY_MAX + 1];

	/* A few subtrees are enough; all of them would take a minute to write. */
	if (level == 0 && (p->first / BW_LEAF_ENTRIES) % 61)
		return;
	bw_key_node(&s->stream, level, p->first, p->last, p->hash, key);
	cr_assert_eq(bw_test_put(&tap->store, key, bytes->bytes, bytes->len, true), BW_OK);
}

Test(head, a_cold_look_up_at_a_million_steps_costs_three_gets, .timeout = 120)
{
	struct bw_sample s;
	struct bw_rng rng;
	struct bw_head *h;

	bw_sample_init(&s, 4);
	s.folded = keep;
	s.ctx = &s;
	bw_sample_grow(&s, 1200000);
	cr_assert_eq(s.root->levels[2].n > 0, 1);
	bw_rng_init(&rng, 1);
	for (int i = 0; i < 50; i++) {
		uint64_t leaf = bw_rng_below(&rng, s.root->head / BW_LEAF_ENTRIES / 61 - 1) * 61;
		uint64_t step = leaf * BW_LEAF_ENTRIES + bw_rng_below(&rng, BW_LEAF_ENTRIES);
		struct bw_entry e;

		cr_assert_eq(bw_head_new(&tap->store, &s.stream, s.root, bw_boottime(), NULL, &h), 0);
		atomic_store(&tap->gets, 0);
		cr_assert_eq(bw_head_find_sync(h, step, soon(), &e), 0);
		cr_assert_eq(e.step, step);
		cr_assert_leq(atomic_load(&tap->gets), 3);
		bw_head_free(h);
	}
	bw_sample_done(&s);
}
