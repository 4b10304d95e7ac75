/* SPDX-License-Identifier: Apache-2.0 */
/* Which blocks stay and which go. */
#include "fs/cache.h"
#include "fs/table.h"
#include "tests/unit/reader_world.h"

#define BLOCK (UINT64_C(64) << 10)
#define BLOCKS 32

/* What a block costs beside its bytes; the tests give room for it. */
#define SLACK UINT64_C(256)

static int64_t clock_ns;
static int64_t now(void)
{
	return clock_ns;
}

/* A piece that waits for its block and lets go of it at once, or keeps it. */
struct want {
	struct bw_piece piece;	/* first */
	struct bw_blob *blob;
	struct bw_latch answered;
	int err;
};

static void answer(struct bw_piece *piece, int err)
{
	struct want *w = (struct want *)piece;

	w->err = err;
	w->blob = piece->blob;
	memset(piece, 0xee, sizeof(*piece));	/* who has been told may be gone: it is not looked at any more */
	bw_latch_open(&w->answered);
}

struct shelf {
	struct world world;
	struct bw_fetcher fetcher;
	struct bw_cache *cache;
};

static void shelf_init(struct shelf *s, uint64_t blocks)
{
	uint64_t size = BLOCKS * BLOCK;

	world_init(&s->world, &(struct world_options){
		.ranks = 1, .block_size = BLOCK, .budget = blocks * (BLOCK + SLACK)});
	world_commit(&s->world, &size);
	s->fetcher = (struct bw_fetcher){
		.store = s->world.store,
		.stream = &s->world.stream,
		.head = &s->world.head,
		.pool = s->world.pool,
		.counters = &s->world.counters,
		.io_timeout_ns = 60 * BW_SEC,
	};
	bw_fetcher_init(&s->fetcher);
	struct bw_cache_config config = {.fetcher = &s->fetcher,
					 .budget = &s->world.budget,
					 .counters = &s->world.counters,
					 .answer = answer,
					 .now = now};
	cr_assert_eq(bw_cache_new(&config, &s->cache), 0);
	clock_ns = BW_SEC;
}

static void shelf_done(struct shelf *s)
{
	bw_fetcher_stop(&s->fetcher);
	bw_cache_free(s->cache);
	bw_fetcher_done(&s->fetcher);
	world_done(&s->world);
}

static struct bw_block_want block(struct shelf *s, uint32_t index)
{
	return (struct bw_block_want){.entry = &s->world.head.entries[0],
				      .tgb = s->world.tgbs[0],
				      .rank = 0,
				      .index = index};
}

/* Reads length bytes of a block and keeps hold of it.  True: it was there. */
static bool hold(struct shelf *s, uint32_t index, size_t length, struct bw_blob **ret)
{
	struct bw_block_want b = block(s, index);
	struct want w = {.piece = {.length = length}};

	bw_latch_init(&w.answered);
	int hit = bw_cache_get(s->cache, &b, &w.piece);

	cr_assert_geq(hit, 0);
	if (hit)
		bw_latch_open(&w.answered);
	bw_latch_wait(&w.answered);
	cr_assert_eq(w.err, 0);
	*ret = hit ? w.piece.blob : w.blob;
	return hit;
}

static bool get(struct shelf *s, uint32_t index, size_t length)
{
	bw_auto_blob struct bw_blob *blob = NULL;

	return hold(s, index, length, &blob);
}

static bool many_ahead(struct shelf *s, uint32_t index, uint32_t n)
{
	struct bw_block_want b = block(s, index);
	bool room = bw_cache_prefetch(s->cache, &b, n);

	/* The order of arrival is the order of age: one at a time. */
	bw_lock(&s->fetcher.lock);
	while (s->fetcher.busy)
		bw_cond_wait(&s->fetcher.idle, &s->fetcher.lock);
	bw_unlock(&s->fetcher.lock);
	return room;
}

static bool ahead(struct shelf *s, uint32_t index)
{
	return many_ahead(s, index, 1);
}

/* Two readers whose groups overlap come at the same moment: what the first has entered does not keep the second from the rest. */
Test(cache, what_is_there_parts_what_is_missing)
{
	struct shelf s;

	shelf_init(&s, 4 * BLOCKS);
	cr_assert(many_ahead(&s, 1, 2));
	cr_assert(many_ahead(&s, 5, 1));
	uint64_t gets = world_gets(&s.world);

	cr_assert_eq(gets, 2);
	cr_assert(many_ahead(&s, 1, 8));
	cr_assert_eq(world_gets(&s.world) - gets, 2, "3 and 4, 6 to 8");
	for (uint32_t i = 1; i < 9; i++) {
		struct bw_block_want b = block(&s, i);

		cr_assert(bw_cache_has(s.cache, &b), "block %u", i);
	}
	cr_assert_eq(s.world.stats.bytes_in, 8 * BLOCK);
	shelf_done(&s);
}

/* Bytes that are on their way go to the blocks in order: none may be left out. */
Test(cache, what_is_there_ends_what_is_expected)
{
	struct bw_expected *e;
	struct shelf s;

	shelf_init(&s, 4 * BLOCKS);
	cr_assert(many_ahead(&s, 2, 1));
	struct bw_block_want first = block(&s, 2), before = block(&s, 0), behind = block(&s, 3);

	cr_assert_null(bw_cache_expect(s.cache, &first, 4));
	cr_assert(bw_fetcher_try_enter(&s.fetcher));
	e = bw_cache_expect(s.cache, &before, 4);
	cr_assert(e && bw_cache_has(s.cache, &before) && !bw_cache_has(s.cache, &behind));
	bw_cache_arrive(s.cache, e, NULL, -BW_E_UNREACHABLE);
	bw_fetcher_leave(&s.fetcher);
	cr_assert_not(bw_cache_has(s.cache, &before));
	shelf_done(&s);
}

/* ---- What could not be had -------------------------------------------------------------------- */

/* Spoils all gets, and says how long the last of them might take. */
struct trouble {
	struct bw_fault_plan plan;
	enum bw_fault fault;
	int64_t patience_ns;
};

static enum bw_fault give_trouble(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	struct trouble *t = (struct trouble *)plan;

	(void)nth;
	t->patience_ns = op->deadline_ns - bw_now();
	return t->fault;
}

/* Waits for a block that will not come: the error. */
static int fails(struct shelf *s, uint32_t index)
{
	struct bw_block_want b = block(s, index);
	struct want w = {.piece = {.length = 1}};

	bw_latch_init(&w.answered);
	cr_assert_eq(bw_cache_get(s->cache, &b, &w.piece), 0);
	bw_latch_wait(&w.answered);
	return w.err;
}

static void trouble_init(struct shelf *s, struct trouble *t, enum bw_fault fault)
{
	struct bw_store *faulty;

	shelf_init(s, 4 * BLOCKS);
	*t = (struct trouble){.plan = {.decide = give_trouble}, .fault = fault};
	cr_assert_eq(bw_filter_fault_new(s->world.store, &t->plan, &faulty), 0);
	s->world.store = s->fetcher.store = faulty;
}

static bool is_short(const struct trouble *t)
{
	cr_assert(t->patience_ns < 10 * BW_SEC || t->patience_ns > 30 * BW_SEC, "%" PRId64, t->patience_ns);
	return t->patience_ns < 10 * BW_SEC;
}

/* The kernel reads ahead, in vain, and asks again for the first page of that before it tells anybody. */
Test(cache, V6_who_asks_again_at_once_does_not_wait_as_long_again)
{
	struct trouble t;
	struct shelf s;

	trouble_init(&s, &t, BW_FAULT_BEFORE);
	cr_assert(fails(&s, 3) == -BW_E_UNREACHABLE && !is_short(&t));
	cr_assert(fails(&s, 4) == -BW_E_UNREACHABLE && !is_short(&t), "another one");
	clock_ns += 190 * BW_MS;
	cr_assert(fails(&s, 3) == -BW_E_UNREACHABLE && is_short(&t));
	/* A program that tries again is as patient as it was. */
	clock_ns += 20 * BW_MS;
	cr_assert(fails(&s, 3) == -BW_E_UNREACHABLE && !is_short(&t));
	cr_assert(fails(&s, 3) == -BW_E_UNREACHABLE && is_short(&t));
	clock_ns += 200 * BW_MS;
	cr_assert(fails(&s, 3) == -BW_E_UNREACHABLE && !is_short(&t));
	/* It is asked for all the same: a store that is back serves at once. */
	t.fault = BW_FAULT_NONE;
	cr_assert_not(get(&s, 3, 1));
	cr_assert(is_short(&t));
	cr_assert(get(&s, 3, 1));
	shelf_done(&s);
}

Test(cache, V5_damage_is_not_fetched_as_often_for_who_asks_again_at_once)
{
	struct trouble t;
	struct shelf s;

	trouble_init(&s, &t, BW_FAULT_FLIP);
	cr_assert_eq(fails(&s, 3), -BW_E_CORRUPT);
	cr_assert_eq(world_gets(&s.world), 1 + BW_FETCH_AGAIN);
	cr_assert_eq(fails(&s, 3), -BW_E_CORRUPT);
	cr_assert_eq(world_gets(&s.world), 1 + BW_FETCH_AGAIN + 2);
	clock_ns += 2 * BW_SEC;
	cr_assert_eq(fails(&s, 3), -BW_E_CORRUPT);
	cr_assert_eq(world_gets(&s.world), 2 * (1 + BW_FETCH_AGAIN) + 2);
	shelf_done(&s);
}

/* ---- What goes -------------------------------------------------------------------------------- */

Test(cache, S6_what_the_kernel_has_goes_first)
{
	struct shelf s;

	shelf_init(&s, 4);
	get(&s, 0, BLOCK / 2);
	get(&s, 1, BLOCK / 2);
	get(&s, 1, BLOCK / 2);	/* all of it */
	get(&s, 2, BLOCK / 2);
	get(&s, 3, BLOCK / 2);
	get(&s, 4, BLOCK / 2);	/* block 1 had to go */
	cr_assert(get(&s, 0, 1) && get(&s, 2, 1) && get(&s, 3, 1) && get(&s, 4, 1));
	cr_assert_not(get(&s, 1, 1));
	cr_assert_leq(bw_budget_used(&s.world.budget), s.world.budget.limit);
	shelf_done(&s);
}

Test(cache, S6_of_what_the_kernel_has_little_stays)
{
	struct shelf s;

	shelf_init(&s, 16 * 3);		/* three of them */
	for (uint32_t i = 0; i < 10; i++)
		get(&s, i, BLOCK);
	cr_assert_leq(bw_budget_used(&s.world.budget), 4 * (BLOCK + SLACK));
	cr_assert(get(&s, 9, 1) && get(&s, 8, 1) && get(&s, 7, 1));
	cr_assert_not(get(&s, 5, 1));
	shelf_done(&s);
}

Test(cache, S6_then_what_was_used_longest_ago)
{
	struct shelf s;

	shelf_init(&s, 4);
	for (uint32_t i = 0; i < 4; i++)
		get(&s, i, 1);
	get(&s, 0, 1);
	get(&s, 4, 1);		/* block 1 had to go */
	cr_assert(get(&s, 0, 1) && get(&s, 2, 1) && get(&s, 3, 1) && get(&s, 4, 1));
	cr_assert_not(get(&s, 1, 1));
	shelf_done(&s);
}

Test(cache, S6_a_block_that_is_held_stays_and_is_paid_back_later)
{
	struct bw_blob *held[6];
	struct shelf s;

	shelf_init(&s, 4);
	for (uint32_t i = 0; i < 6; i++)
		cr_assert_not(hold(&s, i, BLOCK, &held[i]));
	uint64_t used = bw_budget_used(&s.world.budget);

	cr_assert_gt(used, s.world.budget.limit, "two demands had to overdraw");
	cr_assert_leq(used, s.world.budget.limit + 2 * (BLOCK + SLACK));
	cr_assert_eq(bw_cache_shrink(s.cache, UINT64_MAX), 0);
	for (uint32_t i = 0; i < 6; i++)
		bw_blob_unref(held[i]);
	bw_cache_trim(s.cache);
	cr_assert_leq(bw_budget_used(&s.world.budget), s.world.budget.limit);
	cr_assert(get(&s, 5, 1));
	shelf_done(&s);
}

Test(cache, S6_blocks_ahead_hold_at_most_a_quarter)
{
	struct shelf s;

	shelf_init(&s, 16);
	for (uint32_t i = 0; i < 4; i++)
		cr_assert(ahead(&s, i));
	cr_assert_not(ahead(&s, 4));
	cr_assert(ahead(&s, 3), "that one is there");
	cr_assert(get(&s, 0, 1), "read: no longer ahead");
	cr_assert(ahead(&s, 4));
	cr_assert_not(ahead(&s, 5));
	/* One that nobody came for makes room when it is old. */
	clock_ns += 31 * BW_SEC;
	cr_assert(ahead(&s, 5));
	cr_assert_not(get(&s, 1, 1));
	cr_assert_eq(s.world.counters.prefetched, 6 * BLOCK);
	shelf_done(&s);
}

Test(cache, S6_a_prefetch_takes_only_what_rests)
{
	struct shelf s;

	shelf_init(&s, 4);
	for (uint32_t i = 0; i < 4; i++)
		get(&s, i, 1);
	cr_assert_not(ahead(&s, 10), "all of them are in use");
	clock_ns += 6 * BW_SEC;
	get(&s, 0, 1);
	cr_assert(ahead(&s, 10), "block 1 rests");
	cr_assert(get(&s, 0, 1) && get(&s, 2, 1) && get(&s, 3, 1));
	cr_assert_not(get(&s, 1, 1));
	shelf_done(&s);
}

Test(cache, S6_a_demand_takes_what_is_ahead_last_and_the_latest_first)
{
	struct shelf s;

	shelf_init(&s, 8);
	cr_assert(ahead(&s, 0) && ahead(&s, 1));
	for (uint32_t i = 10; i < 16; i++)
		get(&s, i, 1);
	get(&s, 16, 1);		/* block 10 had to go */
	cr_assert_eq(world_gets(&s.world), 9);
	struct bw_blob *held[6];

	for (uint32_t i = 0; i < 6; i++)
		cr_assert(hold(&s, 11 + i, 1, &held[i]));
	get(&s, 17, 1);		/* block 1 had to go */
	cr_assert(get(&s, 0, 1));
	for (uint32_t i = 0; i < 6; i++)
		bw_blob_unref(held[i]);
	cr_assert_not(get(&s, 1, 1));
	shelf_done(&s);
}

Test(cache, S6_what_others_hold_of_the_budget_leaves_no_room_for_a_prefetch)
{
	struct shelf s;

	shelf_init(&s, 8);
	uint64_t other = s.world.budget.limit - 10;

	cr_assert(bw_budget_take(&s.world.budget, other));
	cr_assert_not(ahead(&s, 0));
	cr_assert_not(get(&s, 0, 1), "a demand is served all the same");
	cr_assert_leq(bw_budget_used(&s.world.budget), s.world.budget.limit + BLOCK + SLACK);
	cr_assert_geq(bw_cache_shrink(s.cache, 1), BLOCK);
	cr_assert_eq(bw_budget_used(&s.world.budget), other);
	bw_budget_give(&s.world.budget, other);
	shelf_done(&s);
}

Test(cache, a_table_that_grows_finds_everything)
{
	enum { N = 3000 };
	static struct bw_item items[N];
	struct bw_table t;

	cr_assert_eq(bw_table_init(&t), 0);
	for (uint32_t i = 0; i < N; i++) {
		items[i].step = i / 7;
		items[i].number = i % 7;
		bw_table_add(&t, &items[i]);
	}
	cr_assert_geq(t.mask + 1, N / 2);
	for (uint32_t i = 0; i < N; i += 3)
		bw_table_remove(&t, &items[i]);
	for (uint32_t i = 0; i < N; i++)
		cr_assert_eq(bw_table_find(&t, i / 7, i % 7), i % 3 ? &items[i] : NULL);
	cr_assert_eq(t.n, N - (N + 2) / 3);
	cr_assert_null(bw_table_find(&t, 1, 7));
	bw_table_done(&t);
}
