/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that are asked for along with the footer that says where they lie. */
#include "fs/guess.h"
#include "tests/unit/reader_world.h"

#define BLOCK (UINT64_C(16) << 10)
#define SLICE (4 * BLOCK)
#define RANKS 3u

static struct world_options options(void)
{
	return (struct world_options){
		.ranks = RANKS, .block_size = BLOCK, .prefetch = 1, .together = 2 * BLOCK};
}

/* What an open of the slice does: asks for the footer, and says what for. */
static void open_slice(struct world *w, uint64_t step, uint32_t rank)
{
	struct bw_tgb *tgb;

	cr_assert_eq(world_tgb_for(w, &w->head.entries[step], rank + 1, &tgb), 0);
	bw_tgb_unref(tgb);
}

static int read_slice(struct world *w, uint64_t step, uint32_t rank)
{
	int err = 0;

	for (uint64_t at = 0; at < w->tgbs[step]->slices[rank].raw && !err; at += BLOCK)
		err = world_read(w, step, rank, at, BLOCK, true);
	return err;
}

static uint64_t footers(const struct world *w, uint64_t n)
{
	return n * w->head.entries[0].footer_len;
}

/* A world of `steps` steps, whose rank 0 has been read in step 1: three gets, as the test brings its own footer. */
static void init(struct world *w, const struct world_options *o, unsigned steps)
{
	world_init(w, o);
	world_commit_even(w, steps, SLICE);
	cr_assert_eq(read_slice(w, 1, 0), 0);
	world_until_gets(w, 3);
}

Test(guess, the_first_blocks_come_with_the_footer)
{
	struct world_options o = options();
	struct world w;

	init(&w, &o, 12);
	open_slice(&w, 9, 0);
	world_until_gets(&w, 3 + 2);	/* nothing was read yet */
	cr_assert_eq(read_slice(&w, 9, 0), 0);
	world_stop(&w);
	/* The other two blocks of it. */
	cr_assert_eq(world_gets(&w), 3 + 2 + 1);
	cr_assert_eq(w.stats.bytes_in, 2 * SLICE + footers(&w, 1));
	world_done(&w);
}

/* The read comes when the footer is there and the bytes are not. */
Test(guess, a_read_joins_what_is_on_its_way)
{
	struct world_options o = options();
	struct world w;

	for (int i = 0; i < 2; i++) {
		/* Either answer may be the first. */
		o.delay_ns = i ? 5 * BW_MS : 0;
		init(&w, &o, 12);
		for (uint64_t step = 11; step > 3; step -= 2) {
			open_slice(&w, step, 0);
			cr_assert_eq(read_slice(&w, step, 0), 0);
		}
		world_stop(&w);
		cr_assert_eq(world_gets(&w), 3 + 4 * 3);
		cr_assert_eq(w.stats.bytes_in, 5 * SLICE + footers(&w, 4));
		cr_assert_eq(w.counters.useful, 5 * SLICE);
		world_done(&w);
	}
}

/* Names that are looked up and not read: two at most. */
Test(guess, of_ranks_that_are_not_read_here_few_are)
{
	struct world_options o = options();
	struct world w;

	init(&w, &o, 12);
	open_slice(&w, 9, 1);
	open_slice(&w, 7, 2);
	open_slice(&w, 5, 1);
	open_slice(&w, 11, 2);
	world_until_gets(&w, 3 + 4 + BW_GUESS_STRANGERS);
	/* One of them is read, which pays for another. */
	cr_assert_eq(read_slice(&w, 9, 1), 0);
	open_slice(&w, 3, 2);
	world_stop(&w);
	cr_assert_eq(w.stats.bytes_in, 2 * SLICE + footers(&w, 5) + BW_GUESS_STRANGERS * 2 * BLOCK);
	world_done(&w);
}

/* ---- Without an example ------------------------------------------------------------------------ */

/* The first look of a mount: at any rank of any step. */
Test(guess, slices_are_taken_to_be_even_until_one_is_seen)
{
	for (uint32_t rank = 0; rank < RANKS; rank++) {
		struct world_options o = options();
		struct world w;

		world_init(&w, &o);
		world_commit_even(&w, 12, SLICE);
		open_slice(&w, 5, rank);
		world_until_gets(&w, 2);
		cr_assert_eq(read_slice(&w, 5, rank), 0);
		world_stop(&w);
		cr_assert_eq(world_gets(&w), 3);
		cr_assert_eq(w.stats.bytes_in, SLICE + footers(&w, 1));
		world_done(&w);
	}
}

/* A slice of less than a block, and the last block of one, are as long as they are. */
Test(guess, even_slices_of_any_length_are_found)
{
	static const uint64_t sizes[] = {100, BLOCK, BLOCK + 1, 2 * BLOCK - 1};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct world_options o = options();
		struct world w;

		world_init(&w, &o);
		world_commit_even(&w, 12, sizes[i]);
		open_slice(&w, 5, 2);
		world_until_gets(&w, 2);
		cr_assert_eq(read_slice(&w, 5, 2), 0);
		world_stop(&w);
		cr_assert_eq(world_gets(&w), 2);
		cr_assert_eq(w.stats.bytes_in, sizes[i] + footers(&w, 1));
		world_done(&w);
	}
}

/* Sizes in the entry that even slices would have as well: one such is paid for, and what is even is seen again. */
Test(guess, uneven_ones_are_taken_for_even_once)
{
	static const uint64_t sizes[RANKS] = {SLICE - BLOCK, SLICE, SLICE + BLOCK};
	struct world_options o = options();
	struct world w;

	world_init(&w, &o);
	for (int i = 0; i < 4; i++)
		world_commit(&w, sizes);
	world_commit_even(&w, 2, BLOCK);
	open_slice(&w, 0, 1);
	open_slice(&w, 2, 1);
	open_slice(&w, 4, 1);	/* even, but the last one was not */
	world_until_gets(&w, 3 + 1);
	world_stop(&w);
	cr_assert_eq(w.stats.bytes_in, 2 * w.head.entries[0].footer_len + w.head.entries[4].footer_len + 2 * BLOCK);
	world_done(&w);
}

Test(guess, where_slices_cannot_be_even_none_is)
{
	static const uint64_t sizes[RANKS] = {SLICE, SLICE, SLICE + 1};

	for (int compress = 0; compress < 2; compress++) {
		struct world_options o = options();
		struct world w;

		o.compress = compress ? BW_COMPRESS_ZSTD : BW_COMPRESS_NONE;
		world_init(&w, &o);
		for (int i = 0; i < 4; i++)
			if (compress)
				world_commit_even(&w, 1, SLICE);
			else
				world_commit(&w, sizes);
		open_slice(&w, 1, 1);
		world_stop(&w);
		cr_assert_eq(world_gets(&w), 1);
		world_done(&w);
	}
}

/* ---- What is wrong, or not read ---------------------------------------------------------------- */

Test(guess, not_when_the_footer_is_known_nor_without_an_example)
{
	struct world_options o = options();
	struct world w;

	init(&w, &o, 12);
	bw_reader_learn(w.reader, &w.head.entries[9], w.tgbs[9], NULL);
	open_slice(&w, 9, 0);
	/* As many bytes in other places have another footer or another size: this one is longer. */
	uint64_t sizes[RANKS] = {SLICE, SLICE, SLICE + 1};
	open_slice(&w, world_commit(&w, sizes), 0);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 3 + 1);
	world_done(&w);
}

/* As long, and with as long a footer, but cut otherwise: the bytes are dropped, and the right ones are read. */
Test(guess, a_wrong_one_costs_its_bytes_and_nothing_else)
{
	static const uint64_t sizes[RANKS] = {SLICE - BLOCK, SLICE, SLICE + BLOCK};
	struct world_options o = options();
	struct world w;

	init(&w, &o, 8);
	cr_assert_eq(read_slice(&w, 1, 1), 0);
	uint64_t before = w.stats.bytes_in, step = world_commit(&w, sizes);

	cr_assert_eq(w.head.entries[step].size, w.head.entries[0].size);
	cr_assert_eq(w.head.entries[step].footer_len, w.head.entries[0].footer_len);
	open_slice(&w, step, 1);
	cr_assert_eq(read_slice(&w, step, 1), 0);
	while (w.stats.bytes_in - before < SLICE + 2 * BLOCK + footers(&w, 1))
		bw_sleep(BW_MS);
	/* That was enough of that kind. */
	before = w.stats.bytes_in;
	open_slice(&w, world_commit(&w, sizes), 1);
	world_stop(&w);
	cr_assert_eq(w.stats.bytes_in - before, footers(&w, 1));
	cr_assert_eq(w.counters.checksum_failures, 0);
	world_done(&w);
}

/* Who looks at names and reads nothing: a stat of every slice of a long stream. */
Test(guess, names_that_are_looked_up_cost_a_few_slices_at_most)
{
	struct world_options o = options();
	struct world w;

	init(&w, &o, 50);
	for (uint64_t step = 3; step < 50; step++)
		open_slice(&w, step, 0);
	world_stop(&w);
	cr_assert_leq(w.stats.bytes_in, SLICE + footers(&w, 47) + BW_GUESS_CREDIT * 2 * BLOCK);
	cr_assert_gt(w.stats.bytes_in, SLICE + footers(&w, 47));
	world_done(&w);
}

/* And who reads them all, in whatever order, is never short of credit. */
Test(guess, each_byte_is_fetched_once_by_who_jumps_about)
{
	struct world_options o = options();
	struct world w;

	init(&w, &o, 60);
	for (uint64_t i = 0; i < 29; i++) {
		uint64_t step = 3 + i * 23 % 57;
		uint64_t before = world_gets(&w);
		open_slice(&w, step, 0);
		world_until_gets(&w, before + 2);
		cr_assert_eq(read_slice(&w, step, 0), 0);
		cr_assert_eq(world_gets(&w), before + 3, "step %" PRIu64, step);
	}
	world_stop(&w);
	cr_assert_eq(w.stats.bytes_in, 30 * SLICE + footers(&w, 29));
	world_done(&w);
}

/* ---- Steps that are new ------------------------------------------------------------------------ */

/* A world of two steps, of which the ranks below n have been read. */
static void init_two(struct world *w, uint32_t n)
{
	struct world_options o = options();

	world_init(w, &o);
	world_commit_even(w, 2, SLICE);
	for (uint64_t step = 0; step < 2; step++)
		for (uint32_t rank = 0; rank < n; rank++)
			cr_assert_eq(read_slice(w, step, rank), 0);
}

/* Commits one whose footer cannot be had, tells, and ends when as many bytes have come in all, and no more. */
static void news_without_footer(struct world *w, uint64_t bytes)
{
	uint64_t step = w->head.root.head;

	world_commit_even(w, 1, SLICE);
	world_spoil(w, BW_FAULT_BEFORE, w->tgbs[step]->data_len, UINT64_MAX, UINT32_MAX);
	bw_reader_news(w->reader, step, step + 1);
	while (w->stats.bytes_in < bytes)
		bw_sleep(BW_MS);
	world_stop(w);
	cr_assert_eq(w->stats.bytes_in, bytes);
	world_done(w);
}

/* Steps 0 and 1, the footer of step 1 ahead, and what of step 2 was asked for without one. */
Test(guess, of_a_step_that_is_new_the_blocks_are_asked_for_before_the_footer_is_there, .timeout = 60)
{
	struct world w;

	init_two(&w, 1);
	news_without_footer(&w, 2 * SLICE + footers(&w, 1) + 2 * BLOCK);
}

/* Once a guess of that kind was right: the whole slice, in gets side by side. */
Test(guess, of_a_step_that_is_new_all_is_asked_for_where_that_was_right_before, .timeout = 60)
{
	struct world w;

	init_two(&w, 1);
	world_commit_even(&w, 1, SLICE);
	bw_reader_news(w.reader, 2, 3);
	open_slice(&w, 2, 0);
	cr_assert_eq(read_slice(&w, 2, 0), 0);
	cr_assert_eq(w.stats.bytes_in, 3 * SLICE + footers(&w, 2));
	news_without_footer(&w, 4 * SLICE + footers(&w, 2));
}

/* The first look at an even slice was right: that is proof enough. */
Test(guess, after_one_look_all_of_a_step_that_is_new_is_asked_for, .timeout = 60)
{
	struct world w;

	init_two(&w, 0);
	open_slice(&w, 1, 0);
	cr_assert_eq(read_slice(&w, 1, 0), 0);
	news_without_footer(&w, 2 * SLICE + footers(&w, 1));
}

Test(guess, of_slices_that_come_together_none_is, .timeout = 60)
{
	struct world w;

	init_two(&w, RANKS);
	news_without_footer(&w, 2 * RANKS * SLICE + footers(&w, 1));
}

/* ---- Bytes that are not good ------------------------------------------------------------------ */

Test(guess, V5_damage_on_the_way_costs_one_block)
{
	struct world_options o = options();
	struct world w;

	init(&w, &o, 12);
	world_spoil(&w, BW_FAULT_FLIP, 0, 1, 1);
	open_slice(&w, 9, 0);
	cr_assert_eq(read_slice(&w, 9, 0), 0);
	world_stop(&w);
	cr_assert_eq(w.counters.checksum_failures, 1);
	cr_assert_leq(w.stats.bytes_in, 2 * SLICE + footers(&w, 1) + BLOCK);
	world_done(&w);
}

Test(guess, V6_one_that_fails_fails_nobody)
{
	static const enum bw_fault faults[] = {BW_FAULT_BEFORE, BW_FAULT_LOST_REPLY, BW_FAULT_SHORT};

	for (int i = 0; i < 3; i++) {
		struct world_options o = options();
		struct world w;
		o.delay_ns = i * 2 * BW_MS;
		init(&w, &o, 12);
		world_spoil(&w, faults[i], 0, 1, 1);
		open_slice(&w, 9, 0);
		cr_assert_eq(read_slice(&w, 9, 0), 0);
		world_stop(&w);
		cr_assert_eq(world_log_lines(&w, "checksum"), 0);
		world_done(&w);
	}
}

/* Bytes that came well, and no footer: the reader is told, and nothing of them stays. */
Test(guess, V5_without_a_footer_nothing_is_believed)
{
	struct world_options o = options();
	struct world w;

	init(&w, &o, 12);
	uint64_t end = w.head.entries[9].size, at = end - w.head.entries[9].footer_len;
	struct world_wait t;

	world_spoil(&w, BW_FAULT_FLIP, at, end, UINT32_MAX);
	cr_assert_not(world_tgb_start(&w, &t, &w.head.entries[9], 1));
	bw_latch_wait(&t.answered);
	cr_assert_eq(t.err, -BW_E_CORRUPT);
	world_stop(&w);
	cr_assert_eq(bw_budget_used(&w.budget), 0);
	world_done(&w);
}

Test(guess, S6_not_when_memory_is_short)
{
	struct world_options o = options();
	struct world w;

	init(&w, &o, 12);
	bw_budget_force(&w.budget, w.budget.limit);
	open_slice(&w, 9, 0);
	cr_assert_eq(world_gets(&w), 3 + 1);
	bw_budget_give(&w.budget, w.budget.limit);
	world_stop(&w);
	cr_assert_eq(bw_budget_used(&w.budget), 0);
	world_done(&w);
}

Test(guess, S5_the_end_waits_for_none)
{
	struct world_options o = options();
	struct world_read read = {.bytes = NULL};
	struct world w;

	o.delay_ns = 10 * BW_MS;
	init(&w, &o, 12);
	open_slice(&w, 9, 0);
	world_start(&w, &read, 9, 0, 0, BLOCK, true);
	world_stop(&w);
	cr_assert(read.answered.open);
	cr_assert_eq(bw_budget_used(&w.budget), 0);
	world_done(&w);
}
