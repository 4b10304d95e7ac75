/* SPDX-License-Identifier: Apache-2.0 */
/* Who computes between two slices. */
#include "fs/rhythm.h"
#include "store/base/clock.h"

#include <criterion/criterion.h>

#define STEPS 40u

static int64_t clock_ns;

static int64_t now(void)
{
	return clock_ns;
}

static struct bw_rhythm *rhythm_new(void)
{
	static struct bw_rhythm r;

	clock_ns = 1;
	bw_rhythm_init(&r, now);
	return &r;
}

/* As FUSE does it. */
static void ask(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread, int64_t answer_ns)
{
	bw_rhythm_begin(r, thread);
	bw_rhythm_asked(r, step, rank, thread);
	clock_ns += answer_ns;
	bw_rhythm_end(r, thread);
}

static void open_slice(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread)
{
	bw_rhythm_begin(r, thread);
	bw_rhythm_asked(r, step, rank, thread);
	bw_rhythm_end(r, thread);
	bw_rhythm_opened(r, step, rank, thread);
}

static void read_slice(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread, int64_t ns)
{
	open_slice(r, step, rank, thread);
	clock_ns += ns;
	bw_rhythm_closed(r, step, rank, thread);
}

static unsigned pausing(struct bw_rhythm *r, uint32_t ranks)
{
	unsigned n = 0;

	for (uint32_t rank = 0; rank < ranks; rank++)
		n += bw_rhythm_pauses(r, rank);
	return n;
}

Test(rhythm, who_computes_for_half_as_long_as_it_reads_pauses)
{
	static const struct {
		int64_t read_ms, pause_ms;
		bool pauses;
	} cases[] = {{10, 10, true}, {10, 5, true}, {10, 4, false}, {0, 2, true}, {0, 1, false}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bw_rhythm *r = rhythm_new();

		for (uint64_t step = 0; step < STEPS; step++) {
			read_slice(r, step, 0, 1, cases[i].read_ms * BW_MS);
			clock_ns += cases[i].pause_ms * BW_MS + 1000;
		}
		cr_assert_eq(bw_rhythm_pauses(r, 0), cases[i].pauses, "%zu", i);
	}
}

/* For each of its ranks it looks as if it computed while it reads the others, and there is a moment between any two calls. */
Test(rhythm, one_thread_that_reads_all_ranks_does_not_pause)
{
	struct bw_rhythm *r = rhythm_new();

	for (uint64_t step = 0; step < STEPS; step++)
		for (uint32_t rank = 0; rank < 64; rank++) {
			read_slice(r, step, rank, 1, 300 * 1000);
			clock_ns += 100 * 1000;
		}
	cr_assert_eq(pausing(r, 64), 0);
}

Test(rhythm, one_that_then_computes_pauses_for_each_of_them)
{
	struct bw_rhythm *r = rhythm_new();

	for (uint64_t step = 0; step < STEPS; step++) {
		for (uint32_t rank = 0; rank < 4; rank++)
			read_slice(r, step, rank, 1, 10 * BW_MS);
		clock_ns += 40 * BW_MS;
	}
	cr_assert_eq(pausing(r, 4), 4);
}

/* They compute at different times.  Their numbers lie as those of processes of a thousand threads might. */
Test(rhythm, a_thread_each_pauses_though_the_others_read)
{
	for (pid_t stride = 0; stride <= 1024; stride += 512) {
		struct bw_rhythm *r = rhythm_new();

		for (uint64_t step = 0; step < STEPS; step++)
			for (uint32_t rank = 0; rank < 4; rank++)
				read_slice(r, step, rank, stride ? 1 + (pid_t)rank * stride : 0, 10 * BW_MS);
		cr_assert_eq(pausing(r, 4), 4, "%d", (int)stride);
	}
}

static void take_turns(struct bw_rhythm *r, uint64_t first, int64_t pause_ns)
{
	for (uint64_t step = first; step < first + STEPS; step++) {
		read_slice(r, step, 0, 100 + (pid_t)(step % 2), 6 * BW_MS);
		clock_ns += pause_ns;
	}
}

/* Also when one of them has rested for long before, somewhere else: that is nobody's rest here. */
Test(rhythm, of_threads_that_take_turns_at_a_rank_all_of_the_time_between_counts)
{
	for (unsigned hours = 0; hours < 2; hours++) {
		struct bw_rhythm *r = rhythm_new();

		for (unsigned i = 0; i < 2 * hours; i++) {
			read_slice(r, i, 9, 101, BW_MS);
			clock_ns += 3600 * BW_SEC;
		}
		take_turns(r, 0, 10 * BW_MS);
		cr_assert(bw_rhythm_pauses(r, 0));
		take_turns(r, STEPS, 0);
		cr_assert_not(bw_rhythm_pauses(r, 0));
	}
}

/* Processes of one model-parallel group. */
Test(rhythm, two_threads_that_read_the_same_slices_pause_when_both_do)
{
	for (int64_t pause_ms = 0; pause_ms <= 20; pause_ms += 20) {
		struct bw_rhythm *r = rhythm_new();

		for (uint64_t step = 0; step < STEPS; step++) {
			open_slice(r, step, 0, 1);
			open_slice(r, step, 0, 2);
			clock_ns += 10 * BW_MS;
			bw_rhythm_closed(r, step, 0, 1);
			bw_rhythm_closed(r, step, 0, 2);
			clock_ns += pause_ms * BW_MS;
		}
		cr_assert_eq(bw_rhythm_pauses(r, 0), pause_ms > 0);
	}
}

/* The answer to a close is not waited for: here it is heard of in the middle of the next slice. */
Test(rhythm, a_close_that_is_heard_of_late_is_no_rest)
{
	struct bw_rhythm *r = rhythm_new();

	for (uint64_t step = 0; step < STEPS; step++)
		for (uint32_t rank = 0; rank < 2; rank++) {
			open_slice(r, step, rank, 1);
			clock_ns += 1 * BW_MS;
			if (step || rank)
				bw_rhythm_closed(r, rank ? step : step - 1, !rank, 1);
			clock_ns += 9 * BW_MS;
		}
	cr_assert_eq(pausing(r, 2), 0);
}

/* The wait for a step that is not committed yet, and for a store that is far, is not the reader's. */
Test(rhythm, who_waits_for_an_answer_does_not_rest)
{
	struct bw_rhythm *r = rhythm_new();

	for (uint64_t step = 0; step < STEPS; step++)
		for (uint32_t rank = 0; rank < 4; rank++) {
			ask(r, step, rank, 1, 30 * BW_MS);
			read_slice(r, step, rank, 1, 1 * BW_MS);
		}
	cr_assert_eq(pausing(r, 4), 0);
}

/* Where the next step lies is looked up, and then there is something to compute. */
Test(rhythm, a_question_does_not_end_the_rest_for_good)
{
	struct bw_rhythm *r = rhythm_new();

	for (uint64_t step = 0; step < STEPS; step++) {
		read_slice(r, step, 0, 1, 10 * BW_MS);
		bw_rhythm_begin(r, 1);
		bw_rhythm_end(r, 1);
		clock_ns += 20 * BW_MS;
	}
	cr_assert_eq(pausing(r, 1), 1);
}

/* The one that was opened last is closed first. */
Test(rhythm, who_has_one_open_does_not_rest)
{
	struct bw_rhythm *r = rhythm_new();

	for (uint64_t step = 0; step < STEPS; step++) {
		open_slice(r, step, 0, 1);
		read_slice(r, step, 1, 1, 1 * BW_MS);
		clock_ns += 20 * BW_MS;
		bw_rhythm_closed(r, step, 0, 1);
	}
	cr_assert_eq(pausing(r, 2), 0);
}

/* stat(2) and open(2) of one slice are one question: the time between them is no pause of 0. */
Test(rhythm, the_slice_that_is_asked_for_is_known)
{
	struct bw_rhythm *r = rhythm_new();

	cr_assert_not(bw_rhythm_is_asked(r, 0, 0));
	for (uint64_t step = 0; step < STEPS; step++) {
		for (unsigned i = 0; i < 9; i++)
			ask(r, step, 1, 1, 0);
		cr_assert(bw_rhythm_is_asked(r, step, 1));
		cr_assert_not(bw_rhythm_is_asked(r, step, 0));
		cr_assert_not(bw_rhythm_is_asked(r, step + 1, 1));
		read_slice(r, step, 1, 1, 1 * BW_MS);
		clock_ns += 10 * BW_MS;
	}
	cr_assert(bw_rhythm_pauses(r, 1));
}

static void flood(struct bw_rhythm *r)
{
	for (pid_t thread = 1000; thread < 1000 + 3 * (pid_t)BW_RHYTHM_THREADS; thread++) {
		read_slice(r, STEPS, (uint32_t)thread % 4, thread, 10 * 1000);
		clock_ns += 1000;
	}
}

/* More than can be remembered: one that was forgotten is as if it came for the first time. */
Test(rhythm, more_threads_than_places)
{
	struct bw_rhythm *r = rhythm_new();

	read_slice(r, 0, 7, 1, 10 * BW_MS);
	clock_ns += 3600 * BW_SEC;
	read_slice(r, 1, 7, 1, 10 * BW_MS);
	flood(r);
	for (uint64_t step = 2; step < 4; step++) {
		clock_ns += 40 * BW_MS;
		read_slice(r, step, 7, 1, 10 * BW_MS);
	}
	cr_assert(bw_rhythm_pauses(r, 7));
}

Test(rhythm, who_is_busy_is_not_forgotten)
{
	struct bw_rhythm *r = rhythm_new();

	open_slice(r, 0, 9, 1);
	flood(r);
	for (uint64_t step = 0; step < STEPS; step++) {
		read_slice(r, step, 8, 1, 1 * BW_MS);
		clock_ns += 20 * BW_MS;
	}
	cr_assert_not(bw_rhythm_pauses(r, 8), "one is open all the time");
}

/* ---- The first pause -------------------------------------------------------------------------- */

Test(rhythm, the_first_pause_is_one_as_soon_as_it_is_long_enough)
{
	struct bw_rhythm *r = rhythm_new();

	cr_assert_eq(bw_rhythm_first_pause(r, 0, true), BW_NEVER);
	open_slice(r, 0, 0, 1);
	clock_ns += 10 * BW_MS;
	cr_assert_eq(bw_rhythm_first_pause(r, 0, true), BW_NEVER, "it is open");
	bw_rhythm_closed(r, 0, 0, 1);
	int64_t due_ns = clock_ns + 5 * BW_MS;

	cr_assert_eq(bw_rhythm_first_pause(r, 0, true), due_ns);
	clock_ns += 5 * BW_MS - 1;
	cr_assert_eq(bw_rhythm_first_pause(r, 0, true), due_ns);
	cr_assert_not(bw_rhythm_pauses(r, 0));
	clock_ns++;
	cr_assert(bw_rhythm_pauses(r, 0));
	for (int i = 0; i < 2; i++)
		cr_assert_eq(bw_rhythm_first_pause(r, 0, false), due_ns, "who only asks does not use it up");
	cr_assert_eq(bw_rhythm_first_pause(r, 0, true), due_ns);
	cr_assert_eq(bw_rhythm_first_pause(r, 0, true), BW_NEVER, "once");
	cr_assert(bw_rhythm_pauses(r, 0));
}

/* What the reader did then counts from the first time on, and there is no other first one. */
Test(rhythm, who_has_come_back_is_known)
{
	for (int64_t pause_ms = 1; pause_ms <= 6; pause_ms += 5) {
		struct bw_rhythm *r = rhythm_new();

		read_slice(r, 0, 0, 1, 10 * BW_MS);
		clock_ns += pause_ms * BW_MS;
		ask(r, 1, 0, 1, 0);
		cr_assert_eq(bw_rhythm_pauses(r, 0), pause_ms == 6);
		bw_rhythm_opened(r, 1, 0, 1);
		bw_rhythm_closed(r, 1, 0, 1);
		clock_ns += 60 * BW_MS;
		cr_assert_eq(bw_rhythm_first_pause(r, 0, true), BW_NEVER);
		cr_assert_eq(bw_rhythm_pauses(r, 0), pause_ms == 6);
	}
}

Test(rhythm, a_thread_that_reads_other_ranks_has_not_come_to_its_first_pause)
{
	struct bw_rhythm *r = rhythm_new();

	for (uint32_t rank = 0; rank < 4; rank++) {
		open_slice(r, 0, rank, 1);
		for (uint32_t before = 0; before < rank; before++)
			cr_assert_eq(bw_rhythm_first_pause(r, before, true), BW_NEVER);
		clock_ns += 10 * BW_MS;
		bw_rhythm_closed(r, 0, rank, 1);
	}
	/* Half of the 10 ms it read, and of the 30 it was busy with the others. */
	cr_assert_eq(bw_rhythm_first_pause(r, 3, true), clock_ns + 5 * BW_MS);
	cr_assert_eq(bw_rhythm_first_pause(r, 0, true), clock_ns + 20 * BW_MS);
	clock_ns += 20 * BW_MS;
	cr_assert_eq(pausing(r, 4), 4);
}

/* Nothing is known of what such a thread does. */
Test(rhythm, one_that_cannot_be_seen_pauses_from_the_close_on)
{
	struct bw_rhythm *r = rhythm_new();

	read_slice(r, 0, 0, 0, 1 * BW_MS);
	cr_assert_eq(bw_rhythm_first_pause(r, 0, true), clock_ns + 2 * BW_MS);
	clock_ns += 2 * BW_MS;
	cr_assert(bw_rhythm_pauses(r, 0));
}
