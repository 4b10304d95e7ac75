/* SPDX-License-Identifier: Apache-2.0 */
/* What is fetched before it is asked for; and many readers, little memory, sudden ends. */
#include "fs/fetch.h"
#include "fs/prefetch.h"
#include "tests/support/seed.h"
#include "tests/unit/reader_world.h"

#define BLOCK (UINT64_C(16) << 10)
#define SLACK UINT64_C(256)	/* what a block costs beside its bytes */

static struct world_options options(uint32_t ranks, uint32_t prefetch)
{
	return (struct world_options){.ranks = ranks, .block_size = BLOCK, .prefetch = prefetch};
}

/* A reader of the whole slice by reads of the kernel's size. */
static int read_slice(struct world *w, uint64_t step, uint32_t rank, size_t by)
{
	uint64_t raw = w->tgbs[step]->slices[rank].raw;
	int err = 0;

	for (uint64_t at = 0; at < raw && !err; at += by)
		err = world_read(w, step, rank, at, by, at > 0);
	return err;
}

/* ---- The window ------------------------------------------------------------------------------- */

#define FETCHES (1 + BW_FETCH_AGAIN)	/* of bytes that are damaged for good */

Test(ahead, eight_blocks_before_a_sequential_reader)
{
	struct world_options o = options(1, 2);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 1, 40 * BLOCK);
	cr_assert_eq(world_read(&w, 0, 0, 0, 4096, false), 0);
	world_until_gets(&w, 9);
	cr_assert_eq(world_read(&w, 0, 0, 4096, 4096, true), 0);
	cr_assert_eq(world_read(&w, 0, 0, 8192, 4096, true), 0);
	cr_assert_eq(world_read(&w, 0, 0, BLOCK, 4096, true), 0);
	world_until_gets(&w, 10);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 10);
	cr_assert_eq(w.counters.prefetched, 9 * BLOCK);
	cr_assert_eq(w.counters.useful, 4 * 4096);
	world_done(&w);
}

Test(ahead, a_read_over_the_edge_of_a_block_enters_the_next)
{
	struct world_options o = options(1, 2);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 1, 40 * BLOCK);
	cr_assert_eq(world_read(&w, 0, 0, BLOCK - 100, 200, true), 0);
	world_until_gets(&w, 2 + 8);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 10);
	world_done(&w);
}

Test(ahead, past_the_end_of_the_slice_into_the_next_steps)
{
	struct world_options o = options(3, 2);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 5, 3 * BLOCK);
	cr_assert_eq(world_read(&w, 0, 1, 0, 4096, false), 0);
	/* Two more blocks of step 0, three of step 1, three of step 2, and two footers. */
	world_until_gets(&w, 1 + 2 + 3 + 3 + 2);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 11);
	cr_assert_eq(w.counters.prefetched, 8 * BLOCK);
	world_done(&w);
}

Test(ahead, who_jumps_about_gets_no_other_steps)
{
	struct world_options o = options(1, 1);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 12, BLOCK);
	/* The first step of a rank brings the next, with its footer. */
	cr_assert_eq(world_read(&w, 0, 0, 0, 4096, false), 0);
	world_until_gets(&w, 1 + 2);
	/* Far ahead, far ahead again, and back: a block each. */
	cr_assert_eq(world_read(&w, 5, 0, 0, 4096, false), 0);
	cr_assert_eq(world_read(&w, 10, 0, 0, 4096, false), 0);
	cr_assert_eq(world_read(&w, 3, 0, 0, 4096, false), 0);
	cr_assert_eq(w.counters.prefetched, BLOCK);
	/* Two more in a row, the second from memory: from there on the next one comes, with its footer. */
	cr_assert_eq(world_read(&w, 4, 0, 0, 4096, false), 0);
	cr_assert_eq(w.counters.prefetched, BLOCK);
	cr_assert_eq(world_read(&w, 5, 0, 0, 4096, false), 0);
	world_until_gets(&w, 3 + 3 + 1 + 2);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 9);
	world_done(&w);
}

/* The steps ahead of so many readers, all in step 5, who waited so often for step; *ret_window: and blocks. */
static unsigned steps_after(uint32_t most, unsigned readers, unsigned waits, uint64_t step, unsigned *ret_window)
{
	struct bw_prefetch *p = calloc(1, sizeof(*p));

	bw_prefetch_init(p, NULL, NULL, NULL, 2, most, 0);
	for (unsigned i = 0; i < readers; i++) {
		atomic_store(&p->last[i].step_rank, bw_slice_number(5, i));
		atomic_store(&p->last[i].row, 6);
	}
	for (unsigned i = 0; i < waits; i++)
		bw_prefetch_late(p, i % readers, step);
	unsigned steps = atomic_load(&p->steps);

	*ret_window = atomic_load(&p->window);
	free(p);
	return steps;
}

Test(ahead, more_steps_and_blocks_where_readers_wait_all_the_same)
{
	static const struct {
		unsigned most, readers, waits, step, steps, window;
		const char *what;
	} of[] = {
		{4, 1, 1, 6, 3, 12, "one reader, one slice"}, {4, 2, 1, 6, 2, 8, "one of two"}, {4, 2, 2, 6, 3, 12, "both"},
		{4, 8, 3, 6, 2, 8, "too few of many"}, {4, 8, 4, 6, 3, 12, "four"}, {4, 8, 8, 6, 4, 16, "eight"},
		{4, 8, 80, 6, 4, 16, "the bound"}, {4, 8, 80, 100, 2, 8, "nobody had expected it"}, {0, 8, 80, 6, 2, 8, "as told"},
	};

	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		unsigned window;
		cr_expect_eq(steps_after(of[i].most, of[i].readers, of[i].waits, of[i].step, &window), of[i].steps, "%s", of[i].what);
		cr_expect_eq(window, of[i].window, "%s", of[i].what);
	}
}

/* ---- What comes too late ---------------------------------------------------------------------- */

/* It is asked for once more when its reader is there, on a way to the store that is too narrow as it is. */
Test(ahead, what_does_not_come_in_time_is_not_asked_for_without_end)
{
	struct world_options o = options(1, 2);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 1, 100 * BLOCK);
	w.faults.prio = BW_PRIO_PREFETCH;
	world_spoil(&w, BW_FAULT_BEFORE, 0, UINT64_MAX, UINT32_MAX);
	for (uint64_t i = 0; i < 100; i++)
		cr_assert_eq(world_read(&w, 0, 0, i * BLOCK, 4096, true), 0);
	world_stop(&w);
	cr_assert_leq(UINT32_MAX - w.faults.times, 50, "%u gets ahead for 100 blocks", UINT32_MAX - w.faults.times);
	world_done(&w);
}

/* So many gets ahead end, each begun after the one before. */
static void end_ahead(struct bw_prefetch *p, unsigned n, bool in_time)
{
	while (n--)
		bw_prefetch_ended(p, bw_now(), in_time);
}

Test(ahead, windows_are_as_large_as_what_comes_in_time)
{
	struct bw_prefetch *p = calloc(1, sizeof(*p));
	int64_t before_ns = bw_now();

	bw_prefetch_init(p, NULL, NULL, NULL, 2, 8, 0);
	end_ahead(p, 100, true);
	cr_assert_eq(bw_prefetch_window(p), 8);
	end_ahead(p, 1, false);
	cr_assert_eq(bw_prefetch_window(p), 4);
	for (int i = 0; i < 10; i++)
		bw_prefetch_ended(p, before_ns, i % 2);
	cr_assert_eq(bw_prefetch_window(p), 4, "they were under way with the one that was late");
	end_ahead(p, 2, false);
	cr_assert_eq(bw_prefetch_window(p), 1);
	end_ahead(p, 1 + 2 + 3, true);
	cr_assert_eq(bw_prefetch_window(p), 4);
	end_ahead(p, 4 + 5 + 6 + 7, true);
	cr_assert_eq(bw_prefetch_window(p), 8);
	end_ahead(p, 4, false);
	cr_assert_eq(bw_prefetch_window(p), 0, "not even one came");
	atomic_store(&p->cut_ns, bw_now() - 11 * BW_SEC);
	cr_assert_eq(bw_prefetch_window(p), 1, "one shows whether they do now");
	free(p);
}

/* One that begins in the middle has to show that it reads on; then it gets one more step ahead with each. */
Test(ahead, who_begins_in_the_middle_gets_other_steps_from_the_third_on)
{
	static const uint64_t gets[] = {1, 2, 3 + 2, 5 + 4, 9 + 2};
	struct world_options o = options(1, 2);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 12, BLOCK);
	for (uint64_t i = 0; i < 5; i++) {
		cr_assert_eq(world_read(&w, 3 + i, 0, 0, 4096, false), 0);
		world_until_gets(&w, gets[i]);
		cr_assert_eq(world_gets(&w), gets[i], "step %" PRIu64, 3 + i);
	}
	world_done(&w);
}

Test(ahead, who_begins_at_the_newest_step_gets_those_that_come)
{
	struct world_options o = options(1, 2);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 5, BLOCK);
	cr_assert_eq(world_read(&w, 4, 0, 0, 4096, false), 0);
	world_commit_even(&w, 4, BLOCK);
	cr_assert_eq(world_read(&w, 5, 0, 0, 4096, false), 0);
	world_until_gets(&w, 1 + 1 + 4);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 6);
	world_done(&w);
}

/* Several readers of one rank: who overtakes another by a step does not end what is fetched ahead. */
Test(ahead, readers_of_a_rank_who_overtake_each_other_keep_what_is_ahead)
{
	static const uint64_t order[] = {0, 1, 2, 3, 4, 6, 5, 7, 8};
	struct world_options o = options(1, 2);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 12, BLOCK);
	for (int i = 0; i < 9; i++)
		cr_assert_eq(world_read(&w, order[i], 0, 0, 4096, false), 0);
	/* All of them and two more, each once. */
	world_until_gets(&w, 1 + 2 * 10);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 21);
	world_done(&w);
}

/* Steps in random order, each rank in its own: bytes from the store by bytes that were read. */
Test(ahead, who_jumps_about_costs_each_byte_once)
{
	uint64_t seed = bw_test_seed();
	struct world_options o = options(4, 2);
	struct bw_rng rng;
	struct world w;

	cr_log_info("BW_SEED=%" PRIu64, seed);
	bw_rng_init(&rng, seed);
	world_init(&w, &o);
	world_commit_even(&w, 48, 2 * BLOCK);
	for (uint32_t rank = 0; rank < 4; rank++) {
		uint64_t order[48];
		for (uint64_t i = 0, at; i < 48; i++) {
			at = bw_rng_below(&rng, i + 1);
			order[i] = order[at];
			order[at] = i;
		}
		/* Who begins with the first step would be taken for one who goes on from there. */
		if (!order[0]) {
			order[0] = order[47];
			order[47] = 0;
		}
		for (int i = 0; i < 24; i++)
			cr_assert_eq(read_slice(&w, order[i], rank, 4096), 0);
	}
	world_stop(&w);
	cr_assert_eq(w.counters.useful, 4 * 24 * 2 * BLOCK);
	cr_assert_leq(w.stats.bytes_in, w.counters.useful + w.counters.useful / 50);
	world_done(&w);
}

Test(ahead, no_more_blocks_than_the_window_has)
{
	struct world_options o = options(1, 4);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 5, 5 * BLOCK);
	cr_assert_eq(world_read(&w, 0, 0, 0, 4096, false), 0);
	world_until_gets(&w, 1 + 4 + 4 + 1);
	cr_assert_eq(world_read(&w, 0, 0, BLOCK, 4096, true), 0);
	world_until_gets(&w, 1 + 4 + 5 + 1);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 11);
	world_done(&w);
}

Test(ahead, at_most_as_many_steps_as_the_option_says)
{
	struct world_options o = options(2, 2);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 6, 100);
	cr_assert_eq(world_read(&w, 0, 0, 0, 100, false), 0);
	world_until_gets(&w, 1 + 2 + 2);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 5);
	cr_assert_eq(w.counters.prefetched, 200);
	world_done(&w);
}

static atomic_uint asked;	/* asked for, answered or not */

static enum bw_fault count_footers(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	(void)plan, (void)nth;
	asked += op->kind == BW_OP_GET && op->offset;
	return BW_FAULT_NONE;
}

/* Else small slices would come at one step a round trip, however many are read ahead. */
Test(ahead, all_steps_of_a_window_are_asked_for_at_once)
{
	struct world_options o = options(1, 3);
	struct world_read r = {.bytes = NULL};
	struct world w;

	o.delay_ns = 500 * BW_MS;
	world_init(&w, &o);
	world_commit_even(&w, 4, BLOCK);
	w.faults.plan.decide = count_footers;
	world_start(&w, &r, 0, 0, 0, 4096, false);
	for (; asked < 3; bw_sleep(BW_MS))
		cr_assert_eq(world_gets(&w), 0, "%u footers before the first answer", asked);
	cr_assert_eq(world_wait(&r), 0);
	world_until_gets(&w, 1 + 3 + 3);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 7);
	world_done(&w);
}

Test(ahead, never_past_the_known_head)
{
	struct world_options o = options(2, 4);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 2, 100);
	cr_assert_eq(world_read(&w, 0, 0, 0, 100, false), 0);
	world_until_gets(&w, 1 + 2);
	cr_assert_eq(world_read(&w, 1, 0, 0, 100, false), 0);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 3);
	cr_assert_eq(w.head.finds, 1);
	world_done(&w);
}

Test(ahead, not_with_prefetch_0)
{
	struct world_options o = options(1, 0);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 3, 4 * BLOCK);
	cr_assert_eq(read_slice(&w, 0, 0, 4096), 0);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 4);
	world_done(&w);
}

/* ---- Read amplification ----------------------------------------------------------------------- */

/* late: a reader may be in a step before it is known where that lies, and nothing is fetched ahead of it then. */
static void sequential_costs_each_byte_once(struct world_options o, bool late)
{
	uint64_t sizes[] = {7 * BLOCK, 20 * BLOCK + 5, 100};
	struct world w;

	world_init(&w, &o);
	for (int step = 0; step < 6; step++)
		world_commit(&w, sizes);
	for (uint64_t step = 0; step < 6; step++)
		for (uint32_t rank = 0; rank < 3; rank++)
			cr_assert_eq(read_slice(&w, step, rank, 3000), 0);
	world_stop(&w);
	/* Each block once, and the footers of steps 1 to 5, which the test itself does not need. */
	uint64_t footer = w.head.entries[0].footer_len, data = 0;
	uint64_t footers = world_gets(&w) - 6 * w.tgbs[0]->blocks_n;

	for (int step = 0; step < 6; step++)
		data += w.tgbs[step]->data_len;
	cr_assert_eq(w.stats.bytes_in, data + footers * footer);
	cr_assert(footers == 5 || (late && footers < 5));
	cr_assert_eq(w.counters.useful, 6 * (27 * BLOCK + 105));
	cr_assert_eq(w.counters.read_cache + w.counters.read_store, w.counters.useful);
	cr_assert_gt(w.counters.prefetched, w.counters.useful / 4);
	world_done(&w);
}

Test(ahead, sequential_reading_fetches_each_byte_once)
{
	sequential_costs_each_byte_once(options(3, 2), false);
}

Test(ahead, sequential_reading_fetches_each_byte_once_when_entries_come_late)
{
	struct world_options o = options(3, 2);

	o.slow_head = true;
	o.delay_ns = BW_MS / 4;
	sequential_costs_each_byte_once(o, true);
}

Test(ahead, sequential_reading_fetches_each_byte_once_when_compressed)
{
	struct world_options o = options(3, 2);

	o.compress = BW_COMPRESS_ZSTD;
	sequential_costs_each_byte_once(o, false);
}

/* All ranks at once with room for a few blocks each: what was fetched ahead is still there when its
 * reader comes. */
Test(ahead, sequential_reading_fetches_each_byte_once_with_little_memory)
{
	struct world_options o = options(3, 2);

	o.budget = 16 * (BLOCK + SLACK);
	sequential_costs_each_byte_once(o, false);
}

Test(ahead, random_reads_fetch_what_they_touch)
{
	uint64_t seed = bw_test_seed(), touched = 0;
	struct world_options o = options(1, 2);
	bool seen[64] = {false};
	struct bw_rng rng;
	struct world w;

	cr_log_info("BW_SEED=%" PRIu64, seed);
	bw_rng_init(&rng, seed);
	world_init(&w, &o);
	world_commit_even(&w, 2, 64 * BLOCK);
	for (int i = 0; i < 40; i++) {
		/* Now inside a block, now from the start of one and over several. */
		uint64_t at = i % 2 ? bw_rng_below(&rng, 60 * BLOCK) + 1
				    : (bw_rng_below(&rng, 60) + 1) * BLOCK;
		uint64_t len = i % 2 ? 50 : bw_rng_below(&rng, 3 * BLOCK) + 1;
		cr_assert_eq(world_read(&w, 0, 0, at, len, false), 0);
		for (uint64_t b = at / BLOCK; b <= (at + len - 1) / BLOCK; b++) {
			touched += !seen[b];
			seen[b] = true;
		}
	}
	world_stop(&w);
	cr_assert_eq(world_gets(&w), touched);
	cr_assert_eq(w.counters.prefetched, 0);
	world_done(&w);
}

/* ---- Room for some ---------------------------------------------------------------------------- */

/* Counts what is fetched ahead, by rank. */
struct by_rank {
	struct bw_fault_plan plan;
	struct world *w;
	atomic_uint gets[8];
};

static enum bw_fault count_ahead(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	struct by_rank *b = (struct by_rank *)plan;

	(void)nth;
	if (op->kind != BW_OP_GET || op->prio != BW_PRIO_PREFETCH)
		return BW_FAULT_NONE;
	for (uint32_t rank = 0; rank < 8; rank++) {
		const struct bw_slice *s = &b->w->tgbs[0]->slices[rank];
		if (op->offset >= s->offset && op->offset < s->offset + s->stored)
			atomic_fetch_add(&b->gets[rank], 1);
	}
	return BW_FAULT_NONE;
}

/* Readers in step with each other, and room for two blocks of each: nobody is left with nothing. */
Test(ahead, S6_memory_that_is_short_goes_to_all_readers)
{
	struct world_options o = options(8, 2);
	struct by_rank by_rank = {.plan = {.decide = count_ahead}};
	struct bw_store *s;
	struct world w;

	o.budget = 4 * 16 * (BLOCK + SLACK);
	world_init(&w, &o);
	world_commit_even(&w, 1, 60 * BLOCK);
	by_rank.w = &w;
	cr_assert_eq(bw_filter_fault_new(w.store, &by_rank.plan, &s), 0);
	w.store = s;
	bw_reader_free(w.reader);
	world_reader(&w, &o);
	for (uint64_t block = 0; block < 60; block++)
		for (uint32_t rank = 0; rank < 8; rank++)
			for (uint64_t at = 0; at < BLOCK; at += BLOCK / 2)
				cr_assert_eq(world_read(&w, 0, rank, block * BLOCK + at, BLOCK / 2, true), 0);
	world_stop(&w);
	for (uint32_t rank = 0; rank < 8; rank++)
		cr_assert_geq(by_rank.gets[rank], 40, "rank %" PRIu32 ": %u of 60", rank,
			      by_rank.gets[rank]);
	cr_assert_eq(world_gets(&w), 8 * 60);
	world_done(&w);
}

/* ---- Prefetch that fails ---------------------------------------------------------------------- */

Test(ahead, a_demand_joins_what_is_under_way)
{
	struct world_options o = options(1, 2);
	struct world_read reads[8] = {{.bytes = NULL}};
	struct world w;

	o.delay_ns = 10 * BW_MS;
	world_init(&w, &o);
	world_commit_even(&w, 1, 8 * BLOCK);
	for (int i = 0; i < 8; i++)
		world_start(&w, &reads[i], 0, 0, (uint64_t)i * BLOCK, BLOCK, true);
	for (int i = 0; i < 8; i++)
		cr_assert_eq(world_wait(&reads[i]), 0);
	cr_assert_eq(world_gets(&w), 8);
	cr_assert_eq(w.counters.prefetched, 7 * BLOCK);
	world_done(&w);
}

Test(ahead, V6_a_prefetch_that_fails_does_not_fail_the_read_that_joined_it)
{
	struct world_options o = options(1, 2);
	struct world_read reads[8] = {{.bytes = NULL}};
	struct world w;

	o.delay_ns = 20 * BW_MS;
	world_init(&w, &o);
	world_commit_even(&w, 1, 8 * BLOCK);
	w.faults.prio = BW_PRIO_PREFETCH;
	world_spoil(&w, BW_FAULT_LOST_REPLY, 0, UINT64_MAX, UINT32_MAX);
	for (int i = 0; i < 8; i++)
		world_start(&w, &reads[i], 0, 0, (uint64_t)i * BLOCK, BLOCK, true);
	for (int i = 0; i < 8; i++)
		cr_assert_eq(world_wait(&reads[i]), 0, "block %d", i);
	cr_assert_eq(world_gets(&w), 8 + 7);
	world_done(&w);
}

/* Damage that only the prefetch met: later reads ask again. */
Test(ahead, V5_a_prefetch_that_fails_is_forgotten)
{
	struct world_options o = options(2, 2);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 4, 5 * BLOCK + 1);
	w.faults.prio = BW_PRIO_PREFETCH;
	world_spoil(&w, BW_FAULT_FLIP, 0, UINT64_MAX, UINT32_MAX);
	cr_assert_eq(world_read(&w, 0, 1, 0, 4096, false), 0);
	/* Five blocks and a footer, each fetched twice; what lies behind the footer stays unknown. */
	world_until_gets(&w, 1 + FETCHES * (5 + 1));
	while (w.counters.checksum_failures < FETCHES * (5 + 1))
		bw_sleep(BW_MS);
	world_spoil(&w, BW_FAULT_NONE, 0, 0, 0);
	for (uint64_t step = 0; step < 4; step++)
		cr_assert_eq(read_slice(&w, step, 1, 8192), 0);
	cr_assert_eq(w.counters.checksum_failures, FETCHES * (5 + 1));
	world_done(&w);
}

Test(ahead, prefetch_meets_steps_that_are_reclaimed)
{
	struct world_options o = options(1, 3);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 5, BLOCK);
	for (uint64_t step = 1; step < 5; step++)
		world_delete(&w, step);
	w.head.first_after_ask = 5;
	cr_assert_eq(world_read(&w, 0, 0, 0, BLOCK, false), 0);
	world_stop(&w);
	cr_assert_eq(world_log_lines(&w, "object_missing"), 0);
	world_done(&w);
}

/* ---- Many readers, little memory -------------------------------------------------------------- */

#define READERS 8

struct one {
	struct world *w;
	pthread_t thread;
	uint32_t number;
	uint64_t seed, most;	/* used of the budget, as seen by this reader */
	int err;
};

static void *read_at_will(void *arg)
{
	struct one *o = arg;
	struct bw_rng rng;

	bw_rng_init(&rng, o->seed);
	for (int i = 0; i < 150 && !o->err; i++) {
		uint64_t step = bw_rng_below(&rng, 4), used;
		uint32_t rank = (uint32_t)bw_rng_below(&rng, 3);
		if (o->number % 2 && i % 10 == 0)
			o->err = read_slice(o->w, step, rank, 4096);
		else
			o->err = world_read(o->w, step, rank, bw_rng_below(&rng, 24) * 4096, 4096,
					    bw_rng_below(&rng, 2));
		used = bw_budget_used(&o->w->budget);
		o->most = used > o->most ? used : o->most;
		if (i % 50 == 0)
			bw_reader_shrink(o->w->reader, BLOCK);
	}
	return NULL;
}

static void many_readers(uint64_t blocks, enum bw_compress compress)
{
	struct world_options o = options(3, 2);
	uint64_t sizes[] = {6 * BLOCK, 5 * BLOCK + 17, 4096}, seed = bw_test_seed();
	struct one readers[READERS];
	struct world w;

	cr_log_info("BW_SEED=%" PRIu64, seed);
	o.compress = compress;
	o.budget = blocks * (BLOCK + SLACK);
	o.delay_ns = BW_MS / 10;
	o.slow_head = true;
	world_init(&w, &o);
	for (int step = 0; step < 4; step++)
		world_commit(&w, sizes);
	for (uint32_t i = 0; i < READERS; i++) {
		readers[i] = (struct one){.w = &w, .number = i, .seed = seed + i};
		cr_assert_eq(bw_thread_start(&readers[i].thread, "reader", read_at_will, &readers[i]), 0);
	}
	for (uint32_t i = 0; i < READERS; i++) {
		pthread_join(readers[i].thread, NULL);
		cr_assert_eq(readers[i].err, 0);
		/* A block of each reader: its bytes, twice while it is being unpacked. */
		cr_assert_leq(readers[i].most, o.budget + READERS * 2 * (BLOCK + SLACK));
	}
	world_done(&w);
}

Test(ahead, S6_many_readers_with_memory_for_a_few_blocks)
{
	many_readers(4, BW_COMPRESS_NONE);
}

Test(ahead, S6_many_readers_with_memory_for_a_few_compressed_blocks)
{
	many_readers(6, BW_COMPRESS_ZSTD);
}

Test(ahead, S6_many_readers_with_memory_for_one_block)
{
	many_readers(1, BW_COMPRESS_NONE);
}

/* ---- News ------------------------------------------------------------------------------------- */

static void commit_and_tell(struct world *w, unsigned steps, uint64_t size)
{
	uint64_t old = w->head.root.head;

	world_commit_even(w, steps, size);
	bw_reader_news(w->reader, old, old + steps);
}

Test(ahead, a_step_that_is_committed_is_fetched_for_the_ranks_that_are_read)
{
	struct world_options o = options(3, 2);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 2, 2 * BLOCK);
	cr_assert_eq(read_slice(&w, 0, 1, BLOCK), 0);
	cr_assert_eq(read_slice(&w, 1, 1, BLOCK), 0);
	world_until_gets(&w, 2 + 2 + 1);	/* their blocks, and the footer of the second */
	cr_assert_geq(w.head.follows, 1, "the reader is at the head");
	commit_and_tell(&w, 1, 2 * BLOCK);
	world_until_gets(&w, 5 + 1 + 2);	/* before it is asked for */
	cr_assert_eq(read_slice(&w, 2, 1, BLOCK), 0);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 8);
	world_done(&w);
}

Test(ahead, news_bring_as_many_steps_as_are_read_ahead)
{
	struct world_options o = options(1, 2);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 1, BLOCK);
	cr_assert_eq(read_slice(&w, 0, 0, BLOCK), 0);
	commit_and_tell(&w, 1, BLOCK);
	commit_and_tell(&w, 1, BLOCK);
	commit_and_tell(&w, 3, BLOCK);
	world_until_gets(&w, 1 + 2 * 2);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 5, "steps 1 and 2, once each");
	world_done(&w);
}

Test(ahead, news_are_nothing_to_who_reads_nothing_or_jumps_about)
{
	struct world_options o = options(2, 2);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 20, BLOCK);
	commit_and_tell(&w, 1, BLOCK);
	cr_assert_eq(world_gets(&w), 0);
	cr_assert_eq(world_read(&w, 9, 0, 0, BLOCK, false), 0);
	cr_assert_eq(world_read(&w, 20, 0, 0, BLOCK, false), 0);	/* far from the one before */
	commit_and_tell(&w, 1, BLOCK);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 2);
	world_done(&w);
}

Test(ahead, S5_news_after_the_end_are_nothing)
{
	struct world_options o = options(1, 2);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 1, BLOCK);
	cr_assert_eq(read_slice(&w, 0, 0, BLOCK), 0);
	bw_reader_stop(w.reader);
	commit_and_tell(&w, 1, BLOCK);
	cr_assert_eq(world_gets(&w), 1);
	world_done(&w);
}

/* ---- The end ---------------------------------------------------------------------------------- */

Test(ahead, S5_the_end_answers_everybody)
{
	struct world_options o = options(3, 3);
	struct world_read reads[24] = {{.bytes = NULL}};
	struct world_wait wait;
	struct world w;

	o.delay_ns = 10 * BW_MS;
	o.slow_head = true;
	world_init(&w, &o);
	world_commit_even(&w, 4, 5 * BLOCK);
	for (uint32_t i = 0; i < 24; i++)
		world_start(&w, &reads[i], i / 6, i % 3, i % 2 * BLOCK, 3 * BLOCK / 2, true);
	/* It was fetched ahead: where the machine is slow it may be there by now. */
	world_tgb_start(&w, &wait, &w.head.entries[3], 0);
	world_stop(&w);
	for (int i = 0; i < 24; i++) {
		cr_assert(reads[i].answered.open);
		cr_assert_eq(reads[i].err, 0);
	}
	cr_assert(wait.answered.open);
	bw_tgb_unref(wait.tgb);
	world_done(&w);
}
