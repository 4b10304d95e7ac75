/* SPDX-License-Identifier: Apache-2.0 */
/* What may be deleted: a row for each rule of protocol.md, "Reclaiming" (C5, I9). */
#include "tests/support/reclaim_world.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

struct world {
	struct bw_world w;
	struct bw_refs refs;
	struct bw_reclaim_rules rules;
};

/* p: epoch 3, next 10; its state is that of seq 8, epoch 2.  q: epoch 1, next 0. */
static void init(struct world *t)
{
	bw_world_init(&t->w);
	bw_world_commit_one(&t->w, bw_test_fence("p", 1));
	bw_world_commit_one(&t->w, bw_test_fence("p", 1));
	bw_world_append(&t->w, "p", 1, 2, 0, 9, 8);
	bw_world_commit_one(&t->w, bw_test_fence("p", 1));
	bw_world_append(&t->w, "p", 1, 3, 9, 1, 0);
	bw_world_commit_one(&t->w, bw_test_fence("q", 2));
	cr_assert_eq(bw_refs_init(&t->refs, 10, 4096), 0);
	for (uint32_t i = 5; i < 10; i++)
		cr_assert_eq(bw_refs_add(&t->refs, t->w.root->tail[i].nonce), 0);
	t->rules = (struct bw_reclaim_rules){.judge = t->w.root, .needed = &t->refs};
}

static void done(struct world *t)
{
	bw_refs_done(&t->refs);
	bw_world_done(&t->w);
}

static struct bw_key key(enum bw_key_kind kind, const char *producer, uint64_t epoch, uint64_t seq,
			 uint64_t nonce)
{
	struct bw_key k = {.kind = kind, .epoch = epoch, .seq = seq, .nonce = nonce};

	memcpy(k.producer, producer, strlen(producer) + 1);
	return k;
}

static void is(struct world *t, struct bw_key k, enum bw_reclaim_why why)
{
	enum bw_reclaim_why is = bw_reclaim_judge(&t->rules, &k);

	cr_assert_eq(is, why, "%s %s/%lu/%lu: %s", bw_key_kind_name(k.kind), k.producer,
		     (unsigned long)k.epoch, (unsigned long)k.seq, bw_reclaim_why_words(is));
}

/* Of an upload that is old enough. */
static void is_partial(struct world *t, struct bw_key k, enum bw_reclaim_why why)
{
	enum bw_reclaim_why is = bw_reclaim_judge_partial(&t->rules, &k, 100 * BW_RECLAIM_DAY_MS);

	cr_assert_eq(is, why, "%s %s/%lu/%lu: %s", bw_key_kind_name(k.kind), k.producer,
		     (unsigned long)k.epoch, (unsigned long)k.seq, bw_reclaim_why_words(is));
}

Test(reclaim_rules, data)
{
	struct world t;

	init(&t);
	const struct bw_entry *e = t.w.root->tail;

	is(&t, key(BW_KEY_DATA, "p", 2, 4, e[4].nonce), BW_WHY_FENCED);
	is(&t, key(BW_KEY_DATA, "p", 2, 5, e[5].nonce), BW_WHY_NEEDED);
	is(&t, key(BW_KEY_DATA, "p", 3, 9, e[9].nonce), BW_WHY_NEEDED);
	is(&t, key(BW_KEY_DATA, "p", 3, 9, 1), BW_WHY_LOST);
	is(&t, key(BW_KEY_DATA, "p", 3, 10, 1), BW_WHY_UNSETTLED);
	is(&t, key(BW_KEY_DATA, "p", 4, 10, 1), BW_WHY_UNSETTLED);
	is(&t, key(BW_KEY_DATA, "p", 4, 9, 1), BW_WHY_LOST);
	is(&t, key(BW_KEY_DATA, "p", 2, 10, 1), BW_WHY_FENCED);
	is(&t, key(BW_KEY_DATA, "q", 1, 0, 1), BW_WHY_UNSETTLED);
	is(&t, key(BW_KEY_DATA, "r", 1, 0, 1), BW_WHY_NO_PRODUCER);
	t.rules.needed = NULL;
	is(&t, key(BW_KEY_DATA, "p", 2, 10, 1), BW_WHY_LATER);
	done(&t);
}

Test(reclaim_rules, states)
{
	struct world t;

	init(&t);
	uint64_t nonce = bw_root_producer(t.w.root, "p")->state_nonce;

	is(&t, key(BW_KEY_STATE, "p", 2, 8, nonce), BW_WHY_STATE_CURRENT);
	is(&t, key(BW_KEY_STATE, "p", 2, 8, nonce + 1), BW_WHY_STATE_OLD);
	is(&t, key(BW_KEY_STATE, "p", 3, 8, nonce), BW_WHY_STATE_OLD);
	is(&t, key(BW_KEY_STATE, "p", 3, 9, 1), BW_WHY_STATE_RECENT);
	is(&t, key(BW_KEY_STATE, "p", 3, 10, 1), BW_WHY_UNSETTLED);
	is(&t, key(BW_KEY_STATE, "p", 2, 10, 1), BW_WHY_STATE_OLD);
	is(&t, key(BW_KEY_STATE, "q", 1, 0, 1), BW_WHY_UNSETTLED);
	is(&t, key(BW_KEY_STATE, "r", 1, 0, 1), BW_WHY_NO_PRODUCER);
	done(&t);
}

Test(reclaim_rules, a_state_in_the_root_leaves_no_object_current)
{
	struct world t;

	init(&t);
	struct bw_change c = bw_test_append("p", 1, 3, 10, 500);

	bw_test_state(&c, "inline");
	bw_world_commit_one(&t.w, c);
	t.rules.judge = t.w.root;
	is(&t, key(BW_KEY_STATE, "p", 3, 10, 500), BW_WHY_STATE_RECENT);
	done(&t);
}

Test(reclaim_rules, index_nodes)
{
	struct world t;
	struct bw_key k = {.kind = BW_KEY_NODE, .first = 128, .last = 255};

	init(&t);
	struct bw_root judge = *t.w.root;

	t.rules.judge = &judge;
	judge.first = 256;
	t.rules.swept = 255;
	is(&t, k, BW_WHY_NODE_NEEDED);
	t.rules.swept = 256;
	is(&t, k, BW_WHY_NODE_OLD);
	judge.first = 255;
	is(&t, k, BW_WHY_NODE_NEEDED);
	judge.first = 0;
	is(&t, k, BW_WHY_NODE_NEEDED);
	done(&t);
}

Test(reclaim_rules, all_else_stays)
{
	struct world t;

	init(&t);
	is(&t, (struct bw_key){.kind = BW_KEY_FOREIGN}, BW_WHY_FOREIGN);
	is(&t, (struct bw_key){.kind = BW_KEY_STREAM}, BW_WHY_META);
	is(&t, (struct bw_key){.kind = BW_KEY_HINT}, BW_WHY_META);
	is(&t, (struct bw_key){.kind = BW_KEY_ROOT, .version = 1}, BW_WHY_META);
	done(&t);
}

Test(reclaim_rules, c5_unfinished_uploads_go_by_age_and_proof_both)
{
	struct world t;

	init(&t);
	struct bw_key fenced = key(BW_KEY_DATA, "p", 2, 10, 1), next = key(BW_KEY_DATA, "p", 3, 10, 1);
	struct bw_key live = key(BW_KEY_DATA, "p", 3, 9, t.w.root->tail[9].nonce);
	int64_t day = BW_RECLAIM_DAY_MS;

	cr_assert_eq(bw_reclaim_judge_partial(&t.rules, &fenced, day - 1), BW_WHY_PARTIAL_YOUNG);
	cr_assert_eq(bw_reclaim_judge_partial(&t.rules, &fenced, day), BW_WHY_PARTIAL_OLD);
	cr_assert_eq(bw_reclaim_judge_partial(&t.rules, &next, 100 * day), BW_WHY_UNSETTLED);
	cr_assert_eq(bw_reclaim_judge_partial(&t.rules, &live, 100 * day), BW_WHY_NEEDED);
	struct bw_key root = {.kind = BW_KEY_ROOT, .version = t.w.root->version};
	struct bw_key node = {.kind = BW_KEY_NODE, .last = t.w.root->head - 1}, hint = {.kind = BW_KEY_HINT};
	struct bw_key foreign = {.kind = BW_KEY_FOREIGN}, stream = {.kind = BW_KEY_STREAM};

	cr_assert_eq(bw_reclaim_judge_partial(&t.rules, &root, day), BW_WHY_PARTIAL_OLD);
	root.version++;
	cr_assert_eq(bw_reclaim_judge_partial(&t.rules, &root, 100 * day), BW_WHY_UNSETTLED);
	cr_assert_eq(bw_reclaim_judge_partial(&t.rules, &node, day), BW_WHY_PARTIAL_OLD);
	node.last++;
	cr_assert_eq(bw_reclaim_judge_partial(&t.rules, &node, 100 * day), BW_WHY_UNSETTLED);
	cr_assert_eq(bw_reclaim_judge_partial(&t.rules, &hint, day - 1), BW_WHY_PARTIAL_YOUNG);
	cr_assert_eq(bw_reclaim_judge_partial(&t.rules, &hint, day), BW_WHY_PARTIAL_OLD);
	cr_assert_eq(bw_reclaim_judge_partial(&t.rules, &foreign, 100 * day), BW_WHY_FOREIGN);
	cr_assert_eq(bw_reclaim_judge_partial(&t.rules, &stream, 100 * day), BW_WHY_FOREIGN);
	done(&t);
}

Test(reclaim_rules, what_deletes_is_named)
{
	for (unsigned why = 0; why < BW_WHYS; why++) {
		cr_assert_gt(strlen(bw_reclaim_why_words(why)), 0);
		cr_assert_eq(bw_reclaim_deletes(why), why >= BW_WHY_RECLAIMED);
	}
}

/* ---- References ---------------------------------------------------------------------------------- */

Test(reclaim_rules, references_are_never_forgotten_whatever_the_memory)
{
	struct bw_refs r;
	uint64_t most = 20000, parts = 0, seen = 0;

	cr_assert_eq(bw_refs_init(&r, most, 65536), 0);
	cr_assert_leq(r.cap * sizeof(*r.slots), 65536);
	cr_assert_gt(r.parts, 1);
	for (;; parts++) {
		for (uint64_t i = 0; i < most; i++)
			cr_assert_eq(bw_refs_add(&r, i), 0, "part %lu", (unsigned long)parts);
		for (uint64_t i = 0; i < most; i++) {
			bool covers = bw_refs_covers(&r, i);

			seen += covers;
			cr_assert_eq(bw_refs_has(&r, i), covers, "%lu", (unsigned long)i);
		}
		if (parts + 1 == r.parts)
			break;
		bw_refs_next_part(&r);
	}
	cr_assert_eq(seen, most, "each is in one part");
	bw_refs_done(&r);
}

/* C5: of an object whose reference may be in another part nothing is said before that part's turn. */
Test(reclaim_rules, c5_with_a_part_of_the_references_only_what_it_covers_is_judged)
{
	struct world t;
	unsigned judged = 0, lost = 0;

	init(&t);
	bw_refs_done(&t.refs);
	cr_assert_eq(bw_refs_init(&t.refs, 600, 4096), 0);
	cr_assert_gt(t.refs.parts, 1);
	for (;; bw_refs_next_part(&t.refs)) {
		struct bw_key hint = {.kind = BW_KEY_HINT};

		for (uint32_t i = 5; i < 10; i++)
			cr_assert_eq(bw_refs_add(&t.refs, t.w.root->tail[i].nonce), 0);
		for (uint32_t i = 5; i < 10; i++) {
			const struct bw_entry *e = &t.w.root->tail[i];
			struct bw_key k = key(BW_KEY_DATA, "p", e->epoch, e->seq, e->nonce);
			bool covers = bw_refs_covers(&t.refs, e->nonce);

			is(&t, k, covers ? BW_WHY_NEEDED : BW_WHY_LATER);
			is_partial(&t, k, covers ? BW_WHY_NEEDED : BW_WHY_LATER);
			judged += covers;
		}
		for (uint64_t nonce = 1; nonce <= 100; nonce++) {
			struct bw_key k = key(BW_KEY_DATA, "p", 3, 9, nonce);
			bool covers = bw_refs_covers(&t.refs, nonce);

			is(&t, k, covers ? BW_WHY_LOST : BW_WHY_LATER);
			is_partial(&t, k, covers ? BW_WHY_PARTIAL_OLD : BW_WHY_LATER);
			lost += covers;
		}
		is_partial(&t, hint, t.refs.part ? BW_WHY_LATER : BW_WHY_PARTIAL_OLD);
		if (t.refs.part + 1 == t.refs.parts)
			break;
	}
	cr_assert_eq(judged, 5, "each in one part");
	cr_assert_eq(lost, 100, "each in one part");
	done(&t);
}

/* More of them than were told of are refused, the same one again is not. */
Test(reclaim_rules, references_that_do_not_fit_are_said)
{
	struct bw_refs r;
	uint64_t n = 0;

	cr_assert_eq(bw_refs_init(&r, 10, 4096), 0);
	for (int i = 0; i < 10000; i++)
		cr_assert_eq(bw_refs_add(&r, 7), 0);
	while (n < 10000 && bw_refs_add(&r, 1000 + n) == 0)
		n++;
	cr_assert(n >= 10 && n < r.cap, "%lu in %lu slots", (unsigned long)n, (unsigned long)r.cap);
	cr_assert_eq(bw_refs_add(&r, 1000 + n), -ENOMEM);
	cr_assert(bw_refs_has(&r, 7) && bw_refs_has(&r, 1000 + n - 1));
	cr_assert_not(bw_refs_has(&r, 1000 + n));
	bw_refs_done(&r);
}

Test(reclaim_rules, references_of_nobody_are_not_there)
{
	struct bw_refs r;

	cr_assert_eq(bw_refs_init(&r, 0, 0), 0);
	cr_assert_eq(r.parts, 1);
	cr_assert(bw_refs_covers(&r, 0) && bw_refs_covers(&r, UINT64_MAX));
	cr_assert_not(bw_refs_has(&r, 0));
	cr_assert_not(bw_refs_has(&r, UINT64_MAX));
	cr_assert_eq(bw_refs_add(&r, 0), 0);
	cr_assert_eq(bw_refs_add(&r, UINT64_MAX), 0);
	cr_assert(bw_refs_has(&r, 0) && bw_refs_has(&r, UINT64_MAX));
	bw_refs_done(&r);
}

Test(reclaim_rules, trims_wait_when_young_markers_release_more_than_half)
{
	cr_assert_not(bw_reclaim_trim_waits(100, 0));
	cr_assert_not(bw_reclaim_trim_waits(100, 50));
	cr_assert(bw_reclaim_trim_waits(100, 51));
	cr_assert_not(bw_reclaim_trim_waits(0, 0));
}
