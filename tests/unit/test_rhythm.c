/* SPDX-License-Identifier: Apache-2.0 */
/* Who computes between two slices. */
#include "fs/rhythm.h"
#include "store/base/clock.h"

#include <criterion/criterion.h>

#define RANKS 4u

static int64_t clock_ns = 1;

static int64_t now(void)
{
	return clock_ns;
}

static struct bw_rhythm *rhythm_new(void)
{
	static struct bw_rhythm r;

	bw_rhythm_init(&r, now);
	return &r;
}

static void ask_and_open(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread)
{
	bw_rhythm_asked(r, step, rank, thread);
	bw_rhythm_opened(r, step, rank, thread);
}

static void read_slice(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread, int64_t ns)
{
	ask_and_open(r, step, rank, thread);
	clock_ns += ns;
	bw_rhythm_closed(r, step, rank, thread);
}

Test(rhythm, who_computes_for_half_as_long_as_it_reads_pauses)
{
	static const struct {
		int64_t read_ms, pause_ms;
		bool pauses;
	} cases[] = {{10, 10, true}, {10, 5, true}, {10, 4, false}, {0, 2, true}, {0, 1, false}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bw_rhythm *r = rhythm_new();

		for (uint64_t step = 0; step < 50; step++) {
			read_slice(r, step, 0, 1, cases[i].read_ms * BW_MS);
			clock_ns += cases[i].pause_ms * BW_MS + 1000;
		}
		cr_assert_eq(bw_rhythm_pauses(r, 0), cases[i].pauses, "%zu", i);
		cr_assert_not(bw_rhythm_pauses(r, 1));
	}
}

/* For each of its ranks it looks as if it computed while it reads the others. */
Test(rhythm, one_thread_that_reads_all_ranks_does_not_pause)
{
	struct bw_rhythm *r = rhythm_new();

	for (uint64_t step = 0; step < 20; step++)
		for (uint32_t rank = 0; rank < RANKS; rank++)
			read_slice(r, step, rank, 1, 10 * BW_MS);
	for (uint32_t rank = 0; rank < RANKS; rank++)
		cr_assert_not(bw_rhythm_pauses(r, rank));
	/* One that then computes does, for each of them. */
	for (uint64_t step = 20; step < 40; step++) {
		for (uint32_t rank = 0; rank < RANKS; rank++)
			read_slice(r, step, rank, 1, 10 * BW_MS);
		clock_ns += 20 * BW_MS;
	}
	for (uint32_t rank = 0; rank < RANKS; rank++)
		cr_assert(bw_rhythm_pauses(r, rank));
}

/* They compute at different times. */
Test(rhythm, a_thread_each_pauses_though_the_others_read)
{
	struct bw_rhythm *r = rhythm_new();

	for (uint64_t step = 0; step < 20; step++)
		for (uint32_t rank = 0; rank < RANKS; rank++)
			read_slice(r, step, rank, (pid_t)(100 + rank), 10 * BW_MS);
	for (uint32_t rank = 0; rank < RANKS; rank++)
		cr_assert(bw_rhythm_pauses(r, rank));
}

Test(rhythm, of_threads_that_take_turns_at_a_rank_all_of_the_time_between_counts)
{
	struct bw_rhythm *r = rhythm_new();

	for (uint64_t step = 0; step < 20; step++) {
		read_slice(r, step, 0, (pid_t)(100 + step % 2), 1 * BW_MS);
		clock_ns += 10 * BW_MS;
	}
	cr_assert(bw_rhythm_pauses(r, 0));
}

/* The answer to a close is not waited for. */
Test(rhythm, a_close_that_is_heard_of_late_is_no_rest)
{
	struct bw_rhythm *r = rhythm_new();

	for (uint64_t step = 0; step < 20; step++)
		for (uint32_t rank = 0; rank < 2; rank++) {
			ask_and_open(r, step, rank, 1);
			clock_ns += 1 * BW_MS;
			if (step || rank)
				bw_rhythm_closed(r, rank ? step : step - 1, !rank, 1);
			clock_ns += 9 * BW_MS;
		}
	cr_assert_not(bw_rhythm_pauses(r, 0));
	cr_assert_not(bw_rhythm_pauses(r, 1));
}

/* stat(2) and open(2) of one slice are one question. */
Test(rhythm, the_slice_that_is_asked_for_is_known)
{
	struct bw_rhythm *r = rhythm_new();

	cr_assert_not(bw_rhythm_is_asked(r, 0, 0));
	bw_rhythm_asked(r, 3, 1, 1);
	bw_rhythm_asked(r, 3, 1, 1);
	cr_assert(bw_rhythm_is_asked(r, 3, 1));
	cr_assert_not(bw_rhythm_is_asked(r, 3, 0));
	bw_rhythm_asked(r, 4, 1, 2);
	cr_assert_not(bw_rhythm_is_asked(r, 3, 1));
}
