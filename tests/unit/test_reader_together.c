/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that come in one get: how many gets there are, and what becomes of those that bring less than was asked. */
#include "fs/fetch.h"
#include "tests/unit/reader_world.h"

#define BLOCK (UINT64_C(16) << 10)
#define SLACK UINT64_C(256)	/* what a block costs beside its bytes */
#define SLICE (8 * BLOCK)

static struct world_options options(uint32_t prefetch)
{
	return (struct world_options){
		.ranks = 1, .block_size = BLOCK, .prefetch = prefetch, .together = 4 * BLOCK};
}

static int read_block(struct world *w, uint64_t step, uint64_t block)
{
	return world_read(w, step, 0, block * BLOCK, BLOCK, true);
}

/* Starts a read of each block of a slice, before any of them is answered. */
static void start_all(struct world *w, struct world_read reads[8])
{
	for (int i = 0; i < 8; i++)
		world_start(w, &reads[i], 0, 0, (uint64_t)i * BLOCK, BLOCK, true);
}

Test(together, a_slice_of_eight_blocks_takes_three_gets)
{
	struct world_options o = options(1);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 1, SLICE);
	cr_assert_eq(read_block(&w, 0, 0), 0);
	world_until_gets(&w, 3);
	for (uint64_t block = 1; block < 8; block++)
		cr_assert_eq(read_block(&w, 0, block), 0);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 3);	/* 0, 1 to 4, 5 to 7 */
	cr_assert_eq(w.stats.bytes_in, SLICE);
	cr_assert_eq(w.counters.prefetched, 7 * BLOCK);
	world_done(&w);
}

/* A window that moves block by block would ask for each by itself; four are left to come together. */
Test(together, step_after_step_takes_two_gets_a_slice)
{
	struct world_options o = options(1);
	uint64_t gets = 3;
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 4, SLICE);
	for (uint64_t step = 0; step < 4; step++) {
		bool is_last = step == 3;
		for (uint64_t block = 0; block < 8; block++) {
			cr_assert_eq(read_block(&w, step, block), 0);
			if (!is_last && block == 0)
				gets++;		/* the next step's footer */
			if (!is_last && block % 4 == 3)
				gets++;
			world_until_gets(&w, gets);
			cr_assert_eq(world_gets(&w), gets, "step %" PRIu64 " block %" PRIu64, step, block);
		}
	}
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 3 + 3 * (1 + 2));
	cr_assert_eq(w.stats.bytes_in, 4 * SLICE + 3 * w.head.entries[0].footer_len);
	world_done(&w);
}

static void compressed_and_odd(enum bw_compress compress)
{
	struct world_options o = options(1);
	uint64_t size = 6 * BLOCK + 5;
	struct world w;

	o.compress = compress;
	world_init(&w, &o);
	world_commit(&w, &size);
	for (uint64_t block = 0; block < 7; block++) {
		cr_assert_eq(read_block(&w, 0, block), 0);
		world_until_gets(&w, 3);
	}
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 3);
	cr_assert_eq(w.stats.bytes_in, w.tgbs[0]->data_len);
	world_done(&w);
}

Test(together, a_short_block_at_the_end)
{
	compressed_and_odd(BW_COMPRESS_NONE);
}

Test(together, compressed_blocks)
{
	compressed_and_odd(BW_COMPRESS_ZSTD);
}

/* Only what is missing is fetched: a block that is there parts those around it. */
Test(together, a_block_that_is_there_is_not_fetched_again)
{
	struct world_options o = options(1);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 1, SLICE);
	cr_assert_eq(world_read(&w, 0, 0, 3 * BLOCK, BLOCK / 2, false), 0);
	cr_assert_eq(read_block(&w, 0, 0), 0);
	world_until_gets(&w, 4);
	for (uint64_t block = 1; block < 8; block++)
		cr_assert_eq(read_block(&w, 0, block), 0);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 4);	/* 3, 0, 1 to 2, 4 to 7 */
	cr_assert_eq(w.stats.bytes_in, SLICE);
	world_done(&w);
}

/* ---- Ranks that lie next to each other ---------------------------------------------------------- */

#define RANKS 4u

static void ranks_init(struct world *w, unsigned steps, uint64_t size)
{
	struct world_options o = options(1);

	o.ranks = RANKS;
	world_init(w, &o);
	world_commit_even(w, steps, size);
}

/* As many readers as ranks, on one mount: the slices of a step lie side by side. */
Test(together, neighbours_that_are_all_read_come_in_one_get)
{
	uint64_t gets = 0;
	struct world w;

	ranks_init(&w, 4, BLOCK);
	for (uint64_t step = 0; step < 4; step++)
		for (uint32_t rank = 0; rank < RANKS; rank++) {
			cr_assert_eq(world_read(&w, step, rank, 0, BLOCK, true), 0);
			if (step == 0)
				gets += rank ? 2 : 3;	/* itself, the next step's footer, the next step's */
			else if (step < 3 && !rank)
				gets += 2;		/* the next step's footer, and all of it */
			world_until_gets(&w, gets);
			cr_assert_eq(world_gets(&w), gets, "step %" PRIu64 " rank %u", step, rank);
		}
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 9 + 2 * 2);
	cr_assert_eq(w.stats.bytes_in, 4 * RANKS * BLOCK + 3 * w.head.entries[0].footer_len);
	world_done(&w);
}

/*
 * Four steps of ranks small slices, whose readers come in this order: each step but the first is one get for its footer and so many for
 * all of it.
 */
static void small(uint32_t ranks, uint64_t size, uint64_t together, const uint32_t *order, uint64_t gets)
{
	struct world_options o = options(1);
	uint64_t first = 1 + 2 * ranks;	/* a get for each slice, one for each of the step after, and that one's footer */
	struct world w;

	o.ranks = ranks;
	o.together = together;
	world_init(&w, &o);
	world_commit_even(&w, 4, size);
	for (uint64_t step = 0; step < 4; step++)
		for (uint32_t i = 0; i < ranks; i++) {
			cr_assert_eq(world_read(&w, step, order[i], 0, BLOCK, true), 0);
			if (step == 0)
				world_until_gets(&w, 3 + 2 * i);
			else if (i == ranks - 1)
				world_until_gets(&w, first + (1 + gets) * (step < 3 ? step : 2));
		}
	world_stop(&w);
	cr_assert_eq(world_gets(&w), first + (1 + gets) * 2);
	cr_assert_eq(w.stats.bytes_in, 4 * ranks * size + 3 * w.head.entries[0].footer_len);
	world_done(&w);
}

/* Small slices: as many as the bytes that come together, whatever the window says of blocks. */
Test(together, neighbours_that_are_small_come_all_at_once)
{
	static const uint32_t order[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

	small(12, BLOCK / 4, 4 * BLOCK, order, 1);
}

/* Whoever comes first brings along those on both sides, and as if the object had been cut beforehand: here after 16. */
Test(together, neighbours_that_are_small_come_in_any_order)
{
	static const uint32_t backwards[] = {11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
	static const uint32_t mixed[] = {20, 5, 17, 31, 0, 15, 16, 8, 3, 29, 11, 24, 1, 2, 4, 6,
					 7, 9, 10, 12, 13, 14, 18, 19, 21, 22, 23, 25, 26, 27, 28, 30};

	small(12, BLOCK / 4, 4 * BLOCK, backwards, 1);
	small(32, BLOCK / 4, 4 * BLOCK, mixed, 2);
	small(12, BLOCK, 4 * BLOCK, backwards, 3);
	small(12, BLOCK, 2 * BLOCK, backwards, 3);	/* half a window is more */
	small(32, BLOCK / 3, 4 * BLOCK, mixed, 3);
}

/* The last of a group is longer than the others: what came is cut where the blocks end, and no byte of it is taken for damaged. */
Test(together, V5_a_longer_block_at_the_end)
{
	struct world_options o = options(1);
	uint64_t sizes[3] = {BLOCK / 2, BLOCK / 2, BLOCK};
	struct world w;

	o.ranks = 3;
	world_init(&w, &o);
	for (int step = 0; step < 4; step++)
		world_commit(&w, sizes);
	for (uint64_t step = 0; step < 4; step++)
		for (uint32_t rank = 0; rank < 3; rank++)
			cr_assert_eq(world_read(&w, step, rank, 0, BLOCK, true), 0);
	world_stop(&w);
	cr_assert_eq(w.counters.checksum_failures, 0);
	cr_assert_eq(w.stats.bytes_in, 4 * 2 * BLOCK + 3 * w.head.entries[0].footer_len);
	world_done(&w);
}

/* A rank that nobody reads here does not come along; one that is read no more does so once. */
Test(together, neighbours_that_are_not_read_stay_away)
{
	struct world w;

	ranks_init(&w, 6, BLOCK);
	cr_assert_eq(world_read(&w, 0, 1, 0, BLOCK, true), 0);
	world_until_gets(&w, 3);
	for (uint64_t step = 0; step < 6; step++) {
		cr_assert_eq(world_read(&w, step, 0, 0, BLOCK, true), 0);
		world_until_gets(&w, 5 + 2 * (step < 4 ? step : 4) - (step > 4));
	}
	world_stop(&w);
	/* Rank 0 in six steps; rank 1 where it was read, ahead of that, and with a neighbour in step 2. */
	cr_assert_eq(w.stats.bytes_in, (6 + 3) * BLOCK + 5 * w.head.entries[0].footer_len);
	world_done(&w);
}

/* Slices of several blocks: with what is left of one begins the next. */
Test(together, neighbours_begin_where_a_slice_ends)
{
	uint64_t sizes[RANKS] = {5 * BLOCK + 1, 1, 3 * BLOCK, BLOCK};
	struct world w;

	ranks_init(&w, 0, BLOCK);
	for (int step = 0; step < 5; step++)
		world_commit(&w, sizes);
	for (uint64_t step = 0; step < 5; step++)
		for (uint32_t rank = 0; rank < RANKS; rank++)
			cr_assert_eq(world_read(&w, step, rank, 0, sizes[rank], true), 0);
	world_stop(&w);
	cr_assert_eq(w.stats.bytes_in, 5 * (9 * BLOCK + 2) + 4 * w.head.entries[0].footer_len);
	world_done(&w);
}

/* ---- Gets that bring less --------------------------------------------------------------------- */

/* A bit is wrong in one of four blocks: the others are good, and that one is asked for alone. */
Test(together, V5_damage_on_the_way_costs_one_block)
{
	struct world_options o = options(1);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 1, SLICE);
	world_spoil(&w, BW_FAULT_FLIP, BLOCK, BLOCK + 1, 1);
	cr_assert_eq(read_block(&w, 0, 0), 0);
	world_until_gets(&w, 3);
	for (uint64_t block = 1; block < 8; block++)
		cr_assert_eq(read_block(&w, 0, block), 0);
	world_stop(&w);
	cr_assert_eq(w.counters.checksum_failures, 1);
	cr_assert_eq(world_gets(&w), 4);
	cr_assert_eq(w.stats.bytes_in, SLICE + BLOCK);
	world_done(&w);
}

/* Puts the step's object back with a byte changed. */
static void damage(struct world *w, uint64_t step, uint64_t at)
{
	const struct bw_entry *e = &w->head.entries[step];
	char key[BW_KEY_MAX + 1];
	struct bw_op op;

	bw_key_data(&w->stream, e->producer, e->epoch, e->seq, e->nonce, key);
	bw_op_get_all(&op, key, e->size);
	cr_assert_eq(bw_store_sync(w->store, &op), BW_OK);
	struct bw_blob *copy = bw_blob_copy(op.blob->bytes, op.blob->len);
	cr_assert(copy);
	bw_op_done(&op);
	copy->bytes[at] ^= 1;
	world_put(w, e, copy->bytes, copy->len);
	bw_blob_unref(copy);
}

Test(together, V5_a_block_damaged_in_the_store_is_an_error_and_the_others_are_not)
{
	struct world_options o = options(1);
	struct world_read reads[8] = {{.bytes = NULL}};
	struct world w;

	o.delay_ns = 20 * BW_MS;
	world_init(&w, &o);
	world_commit_even(&w, 1, SLICE);
	damage(&w, 0, 3 * BLOCK + 7);
	uint64_t before = world_gets(&w);

	start_all(&w, reads);
	for (int i = 0; i < 8; i++)
		cr_assert_eq(world_wait(&reads[i]), i == 3 ? -BW_E_CORRUPT : 0, "block %d", i);
	world_stop(&w);
	/* As often as a block that comes alone: once more if nobody waited for it yet when it came with the others. */
	cr_assert_geq(w.counters.checksum_failures, 1 + BW_FETCH_AGAIN);
	cr_assert_leq(w.counters.checksum_failures, 2 + BW_FETCH_AGAIN);
	cr_assert_eq(world_gets(&w) - before, 3 + w.counters.checksum_failures - 1);
	cr_assert(world_logged(&w, "checksum", "rank=0", "block=3"));
	cr_assert_eq(world_log_lines(&w, "checksum"), 1);
	world_done(&w);
}

/* A get that fails, or is cut short, fails nobody; who waits is served alone. */
Test(together, V6_a_get_that_fails_does_not_fail_those_who_joined_it)
{
	static const enum bw_fault faults[] = {BW_FAULT_LOST_REPLY, BW_FAULT_SHORT};

	for (int i = 0; i < 2; i++) {
		struct world_options o = options(1);
		struct world_read reads[8] = {{.bytes = NULL}};
		struct world w;
		o.delay_ns = 20 * BW_MS;
		world_init(&w, &o);
		world_commit_even(&w, 1, SLICE);
		w.faults.prio = BW_PRIO_PREFETCH;
		world_spoil(&w, faults[i], 0, UINT64_MAX, UINT32_MAX);
		start_all(&w, reads);
		for (int n = 0; n < 8; n++)
			cr_assert_eq(world_wait(&reads[n]), 0, "fault %d block %d", i, n);
		world_stop(&w);
		cr_assert_eq(world_gets(&w), 3 + 7, "fault %d", i);
		cr_assert_eq(world_log_lines(&w, "checksum"), 0);
		world_done(&w);
	}
}

Test(together, V5_what_nobody_waits_for_is_forgotten)
{
	struct world_options o = options(1);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 1, SLICE);
	w.faults.prio = BW_PRIO_PREFETCH;
	world_spoil(&w, BW_FAULT_BEFORE, 0, UINT64_MAX, UINT32_MAX);
	cr_assert_eq(read_block(&w, 0, 0), 0);
	world_until_gets(&w, 3);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 3);
	cr_assert_eq(w.counters.prefetched, 0);
	world_done(&w);
}

Test(together, a_step_that_is_reclaimed)
{
	struct world_options o = options(1);
	struct world w;

	world_init(&w, &o);
	world_commit_even(&w, 1, SLICE);
	cr_assert_eq(read_block(&w, 0, 4), 0);
	world_until_gets(&w, 1 + 1);	/* 4, and 5 to 7 */
	world_delete(&w, 0);
	w.head.first_after_ask = 1;
	cr_assert_eq(world_read(&w, 0, 0, 0, BLOCK, true), -BW_E_RECLAIMED);
	world_stop(&w);
	cr_assert_eq(world_log_lines(&w, "object_missing"), 0);
	world_done(&w);
}

/* ---- Memory and the end ----------------------------------------------------------------------- */

Test(together, S6_little_memory_makes_smaller_gets)
{
	struct world_options o = options(1);
	uint64_t most = 0;
	struct world w;

	o.budget = 12 * (BLOCK + SLACK);	/* a quarter of it is for blocks ahead */
	world_init(&w, &o);
	world_commit_even(&w, 3, SLICE);
	for (uint64_t step = 0; step < 3; step++) {
		for (uint64_t block = 0; block < 8; block++) {
			cr_assert_eq(read_block(&w, step, block), 0);
			uint64_t used = bw_budget_used(&w.budget);
			most = used > most ? used : most;
		}
	}
	world_stop(&w);
	cr_assert_leq(most, o.budget);
	cr_assert_gt(w.counters.prefetched, 8 * BLOCK);
	cr_assert_eq(w.stats.bytes_in, 3 * SLICE + 2 * w.head.entries[0].footer_len);
	world_done(&w);
}

struct hold {
	struct bw_task task;
	struct bw_latch go;
};

static void hold(struct bw_task *task)
{
	bw_latch_wait(&((struct hold *)task)->go);
}

/* Where memory is short what was read is gone, and a window that hears late where a step lies would fetch it again. */
Test(together, what_its_reader_has_passed_is_not_read_ahead)
{
	struct world_options o = options(2);
	struct hold h = {.task = {.run = hold}};
	struct world w;

	o.budget = 12 * (BLOCK + SLACK);
	o.slow_head = true;
	world_init(&w, &o);
	world_commit_even(&w, 4, SLICE);
	bw_latch_init(&h.go);
	bw_workq_push(w.head.later, &h.task);
	for (uint64_t step = 0; step < 3; step++)
		for (uint64_t block = 0; block < 8; block++)
			cr_assert_eq(read_block(&w, step, block), 0);
	cr_assert_eq(w.stats.bytes_in, 3 * SLICE);
	unsigned gets = (unsigned)world_gets(&w);

	bw_latch_open(&h.go);
	world_until_gets(&w, gets + 2);		/* the footer of step 3, and blocks behind it */
	for (uint64_t block = 0; block < 8; block++)
		cr_assert_eq(read_block(&w, 3, block), 0);
	world_stop(&w);
	cr_assert_eq(w.stats.bytes_in, 4 * SLICE + w.head.entries[0].footer_len);
	world_done(&w);
}

Test(together, S5_the_end_answers_everybody)
{
	struct world_options o = options(1);
	struct world_read reads[8] = {{.bytes = NULL}};
	struct world w;

	o.delay_ns = 10 * BW_MS;
	world_init(&w, &o);
	world_commit_even(&w, 1, SLICE);
	world_spoil(&w, BW_FAULT_BEFORE, BLOCK, 2 * BLOCK, 1);
	start_all(&w, reads);
	world_stop(&w);
	for (int i = 0; i < 8; i++)
		cr_assert(reads[i].answered.open);
	world_done(&w);
}
