/* SPDX-License-Identifier: Apache-2.0 */
/* What the reader offers the kernel before it is asked for. */
#include "tests/unit/reader_world.h"

#define BLOCK (UINT64_C(16) << 10)
#define READER 7	/* a thread */

/* What came, by step, of rank 0. */
struct offered {
	struct bw_mutex lock;
	struct bw_cond changed;
	unsigned blocks[WORLD_STEPS];
};

/* The reader's time passes when a test says so: on a busy machine who hurries pauses too. */
static atomic_int_fast64_t clock_ns;

static int64_t now(void)
{
	return atomic_load(&clock_ns);
}

static void pass(int64_t ns)
{
	atomic_fetch_add(&clock_ns, ns);
}

static void came(void *ctx, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank)
{
	struct offered *o = ctx;

	(void)tgb;
	cr_assert_eq(rank, 0);
	BW_LOCK_SCOPE(&o->lock);
	o->blocks[entry->step]++;
	bw_cond_broadcast(&o->changed);
}

static void offered_init(struct offered *o)
{
	*o = (struct offered){.blocks = {0}};
	bw_mutex_init(&o->lock, BW_RANK_LEAF);
	bw_cond_init(&o->changed);
}

static void offered_until(struct offered *o, uint64_t step, unsigned blocks)
{
	bw_lock(&o->lock);
	while (o->blocks[step] < blocks)
		bw_cond_wait(&o->changed, &o->lock);
	bw_unlock(&o->lock);
}

static void ask_for(struct world *w, uint64_t step)
{
	bw_reader_begin(w->reader, READER);
	bw_reader_asked(w->reader, step, 0, READER);
	bw_reader_end(w->reader, READER);
}

static void begin_hurried(struct world *w, struct offered *o, unsigned steps, uint64_t size)
{
	struct world_options options = {.ranks = 1, .block_size = BLOCK, .prefetch = 2, .came = came, .ctx = o,
					.now = now};

	offered_init(o);
	atomic_store(&clock_ns, BW_SEC);
	world_init(w, &options);
	world_commit_even(w, steps, size);
}

/* The reader has computed between two slices, which are not among those of the test. */
static void begin(struct world *w, struct offered *o, unsigned steps, uint64_t size)
{
	const struct bw_entry other = {.step = WORLD_STEPS};

	begin_hurried(w, o, steps, size);
	ask_for(w, WORLD_STEPS);
	cr_assert_eq(bw_reader_opened(w->reader, &other, 0, READER), 0);
	bw_reader_closed(w->reader, WORLD_STEPS, 0, READER);
	pass(40 * BW_MS);
	ask_for(w, WORLD_STEPS + 1);
}

/* Reads what is to be handed over of a slice, as the kernel does: how many bytes. */
static uint64_t take(struct world *w, uint64_t step)
{
	uint64_t offset, length, sum = 0;

	w->ahead = true;
	while (bw_reader_hand(w->reader, &w->head.entries[step], w->tgbs[step], 0, &offset, &length)) {
		cr_assert_eq(offset, sum);
		cr_assert_eq(world_read(w, step, 0, offset, length, false), 0);
		sum += length;
	}
	w->ahead = false;
	return sum;
}

/* As FUSE does it. */
static uint64_t open_slice(struct world *w, uint64_t step)
{
	pass(10 * BW_MS);
	ask_for(w, step);
	uint64_t there = bw_reader_opened(w->reader, &w->head.entries[step], 0, READER);

	if (there)
		bw_reader_passed(w->reader, &w->head.entries[step], w->tgbs[step], 0, there);
	bw_reader_closed(w->reader, step, 0, READER);
	return there;
}

/* In order; each fetched once, though nobody has opened it; who opens it moves the window. */
Test(hand, slices_ahead_are_offered_and_count_as_read_when_they_are_opened)
{
	struct offered o;
	struct world w;

	begin(&w, &o, 8, 2 * BLOCK + 100);
	cr_assert_eq(open_slice(&w, 0), 0);
	cr_assert_eq(world_read(&w, 0, 0, 0, 4096, false), 0);
	for (uint64_t step = 1; step < 8; step++) {
		offered_until(&o, step, 3);
		cr_assert_eq(take(&w, step), 2 * BLOCK + 100, "step %" PRIu64, step);
		cr_assert_eq(take(&w, step), 0, "once");
		cr_assert_eq(open_slice(&w, step), 2 * BLOCK + 100);
		cr_assert_eq(open_slice(&w, step), 0, "a second look goes to the kernel's own");
	}
	world_stop(&w);
	/* A block of step 0 by the read, the others ahead; three each, and footers, of the others. */
	cr_assert_eq(world_gets(&w), 3 + 7 * (3 + 1));
	cr_assert_eq(w.counters.useful, 4096 + 7 * (2 * BLOCK + 100));
	world_done(&w);
}

Test(hand, nothing_of_a_slice_that_was_opened_or_is_waited_for)
{
	struct offered o;
	struct world w;

	begin(&w, &o, 3, 2 * BLOCK);
	ask_for(&w, 0);
	cr_assert_eq(world_read(&w, 0, 0, 0, 4096, false), 0);
	offered_until(&o, 2, 2);
	ask_for(&w, 1);
	cr_assert_eq(take(&w, 1), 0);
	cr_assert_eq(take(&w, 2), 2 * BLOCK, "the next one is still expected");
	cr_assert_eq(world_read(&w, 1, 0, 0, 2 * BLOCK, false), 0, "its blocks are where they were");
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 2 + 2 * 3);
	world_done(&w);
}

Test(hand, what_a_read_has_asked_for_is_not_handed_over_as_well)
{
	struct offered o;
	struct world w;

	begin(&w, &o, 3, 2 * BLOCK);
	cr_assert_eq(world_read(&w, 0, 0, 0, 4096, false), 0);
	offered_until(&o, 2, 2);
	cr_assert_eq(world_read(&w, 2, 0, BLOCK, 100, false), 0);
	cr_assert_eq(take(&w, 2), BLOCK, "the first block only");
	world_done(&w);
}

/* Whose slices are fetched but not expected, as it jumps about, gets none. */
Test(hand, nobody_is_expected_who_does_not_read_step_after_step)
{
	struct offered o;
	struct world w;

	begin(&w, &o, 9, 20 * BLOCK);
	cr_assert_eq(world_read(&w, 4, 0, 0, 4096, false), 0);
	world_until_gets(&w, 1 + 8);
	for (uint64_t step = 0; step < 9; step++)
		cr_assert_eq(take(&w, step), 0);
	world_stop(&w);
	cr_assert_eq(o.blocks[4], 0);
	world_done(&w);
}

/* It is read ahead for as ever. */
Test(hand, nothing_for_who_never_pauses)
{
	struct offered o;
	struct world w;

	begin_hurried(&w, &o, 3, 2 * BLOCK);
	for (uint64_t step = 0; step < 2; step++) {
		ask_for(&w, step);
		bw_reader_opened(w.reader, &w.head.entries[step], 0, READER);
		cr_assert_eq(world_read(&w, step, 0, 0, 2 * BLOCK, false), 0);
		pass(10 * BW_MS);
		bw_reader_closed(w.reader, step, 0, READER);
	}
	world_until_gets(&w, 2 + 2 * 3);
	cr_assert_eq(take(&w, 2), 0);
	world_stop(&w);
	cr_assert_eq(o.blocks[1] + o.blocks[2], 0);
	world_done(&w);
}

static void until_prefetched(struct world *w, uint64_t bytes)
{
	while (atomic_load(&w->counters.prefetched) < bytes)
		bw_sleep(BW_MS);
	bw_sleep(20 * BW_MS);	/* they are counted before they are told of */
}

/* What has been fetched for it meanwhile is offered. */
Test(hand, the_first_pause_is_seen_while_it_lasts)
{
	struct offered o;
	struct world w;

	begin_hurried(&w, &o, 3, 2 * BLOCK);
	ask_for(&w, 0);
	bw_reader_opened(w.reader, &w.head.entries[0], 0, READER);
	cr_assert_eq(world_read(&w, 0, 0, 0, 2 * BLOCK, false), 0);
	int64_t closed_ns = now(), due_ns = bw_reader_closed(w.reader, 0, 0, READER);

	cr_assert_geq(due_ns, closed_ns + 2 * BW_MS);
	cr_assert_lt(due_ns, closed_ns + 60 * BW_SEC);
	until_prefetched(&w, 2 * 2 * BLOCK);
	pass(due_ns - closed_ns);
	cr_assert_eq(bw_reader_first_pauses(w.reader), BW_NEVER);
	cr_assert(o.blocks[1] && o.blocks[2]);
	cr_assert_eq(take(&w, 1), 2 * BLOCK);
	cr_assert_eq(take(&w, 2), 2 * BLOCK);
	cr_assert_eq(bw_reader_first_pauses(w.reader), BW_NEVER);
	world_done(&w);
}

/* It was not known to pause when its blocks came. */
Test(hand, what_is_there_already_is_offered_when_its_reader_comes_on)
{
	struct offered o;
	struct world w;

	begin_hurried(&w, &o, 3, 2 * BLOCK);
	ask_for(&w, 0);
	bw_reader_opened(w.reader, &w.head.entries[0], 0, READER);
	cr_assert_eq(world_read(&w, 0, 0, 0, 2 * BLOCK, false), 0);
	until_prefetched(&w, 2 * 2 * BLOCK);
	(void)bw_reader_closed(w.reader, 0, 0, READER);
	cr_assert_eq(o.blocks[1] + o.blocks[2], 0);
	pass(300 * BW_MS);
	ask_for(&w, 1);
	cr_assert_eq(world_read(&w, 1, 0, 0, 4096, false), 0);
	cr_assert_eq(o.blocks[1], 0, "it is here");
	cr_assert_eq(o.blocks[2], 1);
	cr_assert_eq(take(&w, 2), 2 * BLOCK);
	world_done(&w);
}

/* Threads that wait for a processor pause for a moment too. */
Test(hand, nothing_for_who_reads_for_longer_than_it_pauses)
{
	struct offered o;
	struct world w;

	begin(&w, &o, 3, 2 * BLOCK);
	ask_for(&w, 0);
	bw_reader_opened(w.reader, &w.head.entries[0], 0, READER);
	pass(400 * BW_MS);
	bw_reader_closed(w.reader, 0, 0, READER);
	cr_assert_eq(world_read(&w, 0, 0, 0, 2 * BLOCK, false), 0);
	world_until_gets(&w, 2 + 2 * 3);
	cr_assert_eq(take(&w, 1), 0);
	world_stop(&w);
	world_done(&w);
}

/* Who could not open the slice gives back what it was to hand over: it is read, and counted once. */
Test(hand, what_could_not_be_handed_over_is_read)
{
	uint64_t offset, length;
	struct offered o;
	struct world w;

	begin(&w, &o, 3, 2 * BLOCK);
	cr_assert_eq(world_read(&w, 0, 0, 0, 4096, false), 0);
	offered_until(&o, 1, 2);
	cr_assert(bw_reader_hand(w.reader, &w.head.entries[1], w.tgbs[1], 0, &offset, &length));
	cr_assert(bw_reader_hand(w.reader, &w.head.entries[1], w.tgbs[1], 0, &offset, &length));
	cr_assert(offset == BLOCK && length == BLOCK);
	bw_reader_hand_back(w.reader, &w.head.entries[1], w.tgbs[1], 0, offset, length);
	cr_assert_eq(open_slice(&w, 1), BLOCK);
	cr_assert_eq(world_read(&w, 1, 0, BLOCK, BLOCK, true), 0);
	world_stop(&w);
	cr_assert_eq(w.counters.useful, 4096 + 2 * BLOCK);
	world_done(&w);
}

/* What the kernel has given up it asks for again. */
Test(hand, a_read_of_what_was_handed_over_gets_it)
{
	struct offered o;
	struct world w;

	begin(&w, &o, 3, 2 * BLOCK);
	cr_assert_eq(world_read(&w, 0, 0, 0, 4096, false), 0);
	offered_until(&o, 1, 2);
	cr_assert_eq(take(&w, 1), 2 * BLOCK);
	bw_reader_shrink(w.reader, UINT64_MAX);
	cr_assert_eq(open_slice(&w, 1), 2 * BLOCK);
	cr_assert_eq(world_read(&w, 1, 0, 0, 2 * BLOCK, false), 0);
	world_done(&w);
}
