/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens between two requests of fsck, chosen so that a fsck which trusts what it saw first is
 * wrong: I9 is judged by the newest root that was read afterwards.  The stream is whole at all times.
 */
#include "tests/unit/fsck_world.h"

struct race {
	struct bw_whole *w;
	enum bw_op_kind kind;
	const char *part;	/* of the key or prefix of the request it comes before; "": of none longer */
	unsigned nth;		/* of those: 1 is the first */
	void (*happens)(struct bw_whole *w);
	atomic_uint seen;
};

static bool before(struct bw_test_tap *tap, struct bw_op *op)
{
	struct race *r = tap->ctx;
	bool is = *r->part ? strstr(op->key, r->part) != NULL : !*op->key;

	if (op->kind == r->kind && is && ++r->seen == r->nth)
		r->happens(r->w);
	return false;
}

/* fsck finds nothing, and the race took place. */
static void run(const struct bw_fsck_options *o, enum bw_op_kind kind, const char *part, unsigned nth,
		void (*happens)(struct bw_whole *w))
{
	struct bw_fsck_report r;
	struct bw_test_tap *tap;
	struct bw_whole w;
	struct race race = {.w = &w, .kind = kind, .part = part, .nth = nth, .happens = happens};

	make(&w);
	tap = bw_test_tap_new(bw_test_way_new(w.store));
	tap->ctx = &race;
	tap->on_submit = before;
	bw_whole_fsck(&tap->store, o, &r);
	bw_whole_tell(&r);
	cr_expect_geq(race.seen, nth);
	cr_expect_eq(r.findings_n, 0);
	bw_fsck_report_done(&r);
	bw_store_free(&tap->store);
	/* And it was whole. */
	bw_whole_fsck(w.store, &thorough, &r);
	cr_expect_eq(r.findings_n, 0);
	bw_fsck_report_done(&r);
	end(&w);
}

static void commit_one(struct bw_whole *w, struct bw_change c)
{
	bw_whole_commit(w, &c, 1);
}

/* All but the newest 100 steps go: trimmed, deleted, swept, nodes deleted. */
static void reclaim(struct bw_whole *w)
{
	char keys[200][BW_KEY_MAX + 1], prefix[BW_KEY_MAX + 1];
	struct bw_op op;

	for (uint64_t step = 0; step < 200; step++)
		bw_whole_data_key(w, step, keys[step]);
	commit_one(w, bw_test_step(BW_CHANGE_MARK, "train", 200));
	commit_one(w, bw_test_step(BW_CHANGE_MARK, "train", 250));
	commit_one(w, bw_test_change(BW_CHANGE_TRIM, ""));
	cr_assert_eq(w->root->first, 200);
	for (uint64_t step = 0; step < 200; step++)
		bw_whole_delete(w, keys[step]);
	commit_one(w, bw_test_step(BW_CHANGE_SWEEP, "", 200));
	bw_key_prefix(&w->stream, BW_KEY_NODE, prefix);
	bw_op_list(&op, prefix, "", BW_LIST_PAGE_MAX);
	cr_assert_eq(bw_store_sync(w->store, &op), BW_OK);
	for (size_t i = 0; i < op.listing->n; i++)
		if (bw_key_parse(&w->stream, op.listing->items[i].key).last < 200)
			bw_whole_delete(w, op.listing->items[i].key);
	bw_op_done(&op);
}

Test(fsck_races, steps_are_reclaimed_before_the_index_is_read)
{
	run(&quick, BW_OP_GET, "/index/", 1, reclaim);
}

Test(fsck_races, steps_are_reclaimed_before_the_listing)
{
	run(&quick, BW_OP_LIST, "", 1, reclaim);
}

Test(fsck_races, steps_are_reclaimed_before_data_is_read)
{
	run(&thorough, BW_OP_GET, "/data/", 1, reclaim);
}

Test(fsck_races, steps_are_reclaimed_while_data_is_read)
{
	run(&thorough, BW_OP_GET, "/data/", 50, reclaim);
}

static void next_state(struct bw_whole *w)
{
	const struct bw_producer_entry *p = bw_root_producer(w->root, "tok");
	char key[BW_KEY_MAX + 1];

	bw_key_state(&w->stream, "tok", p->state_epoch, p->state_seq, p->state_nonce, key);
	bw_whole_append(w, "tok", 2, 3000);
	bw_whole_delete(w, key);
}

Test(fsck_races, a_state_is_replaced_before_it_is_read)
{
	run(&quick, BW_OP_GET, "/state/", 1, next_state);
}

static void bury_some(struct bw_whole *w)
{
	for (uint64_t v = 1; v <= 6; v++)
		bw_test_bury(w->store, &w->stream, v);
}

Test(fsck_races, versions_are_buried_before_they_are_listed)
{
	run(&quick, BW_OP_LIST, "/manifest/", 2, bury_some);
}

Test(fsck_races, versions_are_buried_before_they_are_read)
{
	run(&quick, BW_OP_GET, "/manifest/00000000000000000003", 1, bury_some);
}

/* What the open found is buried, with all but one of those that the listing shows. */
static void run_away(struct bw_whole *w)
{
	uint64_t version = w->root->version;

	bw_whole_append(w, "img", 1, 0);
	bw_whole_append(w, "tok", 1, 20);
	bw_whole_append(w, "img", 3, 0);
	for (uint64_t v = 1; v <= version + 2; v++)
		bw_test_bury(w->store, &w->stream, v);
}

Test(fsck_races, commits_come_between_open_and_listing)
{
	run(&quick, BW_OP_LIST, "/manifest/", 1, run_away);
}

static unsigned rounds;

/* Before the search behind the listing: what was listed is a tombstone by now. */
static bool run_away_twice(struct bw_test_tap *tap, struct bw_op *op)
{
	struct bw_whole *w = tap->ctx;

	if (op->kind == BW_OP_LIST && strstr(op->key, "/manifest/") && rounds == 0) {
		bw_whole_append(w, "img", 1, 0);
		rounds++;
	} else if (op->kind == BW_OP_GET && rounds == 1) {
		uint64_t version = w->root->version;

		rounds++;
		bw_whole_append(w, "img", 1, 0);
		for (uint64_t v = 1; v <= version; v++)
			bw_test_bury(w->store, &w->stream, v);
	}
	return false;
}

Test(fsck_races, what_was_listed_is_buried_before_it_is_read)
{
	struct bw_fsck_report r;
	struct bw_test_tap *tap;
	struct bw_whole w;

	make(&w);
	tap = bw_test_tap_new(bw_test_way_new(w.store));
	tap->ctx = &w;
	tap->on_submit = run_away_twice;
	bw_whole_fsck(&tap->store, &quick, &r);
	bw_whole_tell(&r);
	cr_expect_eq(rounds, 2);
	cr_expect_eq(r.findings_n, 0);
	bw_fsck_report_done(&r);
	bw_store_free(&tap->store);
	end(&w);
}
