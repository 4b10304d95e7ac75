/* SPDX-License-Identifier: Apache-2.0 */
/* Who is believed to read slices once. */
#include "fs/once.h"

#include <criterion/criterion.h>

#define SIZE 1000u

static struct bw_once begin(enum bw_once_mode mode)
{
	struct bw_once o;

	cr_assert_eq(bw_once_init(&o, mode), 0);
	return o;
}

static bool opened(struct bw_once *o, uint64_t step, uint32_t rank, uint64_t bytes, bool fresh)
{
	return bw_once_opened(o, &(struct bw_once_slice){.step = step, .rank = rank, .bytes = bytes, .fresh = fresh});
}

/* Opens and closes the slice, alone. */
static bool alone(struct bw_once *o, uint64_t step, bool fresh)
{
	bool direct = opened(o, step, 0, SIZE, fresh);

	bw_once_closed(o);
	return direct;
}

/* How many fresh steps from one on it takes until one is opened directly. */
static unsigned takes(struct bw_once *o, uint64_t step)
{
	unsigned n = 0;

	while (n < 2 * BW_ONCE_MANY && !alone(o, step + n, true))
		n++;
	return n;
}

Test(once, few_fresh_slices_many_old_ones)
{
	struct bw_once o = begin(BW_ONCE_AUTO);

	cr_assert_eq(takes(&o, 0), BW_ONCE_FEW);
	for (uint64_t step = 100; step < 100 + BW_ONCE_MANY - BW_ONCE_FEW - 1; step++)
		cr_assert_not(alone(&o, step, false));
	cr_assert(alone(&o, 5000, false));
	bw_once_done(&o);
}

Test(once, few_where_several_are_open_at_once)
{
	struct bw_once o = begin(BW_ONCE_AUTO);

	for (unsigned i = 1; i < BW_ONCE_CROWD; i++)
		cr_assert_not(opened(&o, 7, i, SIZE, false));
	for (uint64_t step = 8; step < 8 + BW_ONCE_FEW - BW_ONCE_CROWD + 1; step++)
		cr_assert_not(alone(&o, step, false), "step %d", (int)step);
	cr_assert(alone(&o, 100, false));
	for (unsigned i = 1; i < BW_ONCE_CROWD; i++)
		bw_once_closed(&o);
	cr_assert(alone(&o, 101, false), "they were in this row");
	cr_assert_not(alone(&o, 101, false), "again");
	for (uint64_t step = 200; step < 200 + 16 * BW_ONCE_FEW; step++)
		cr_assert_not(alone(&o, step, false), "they were not in this one");
	bw_once_done(&o);
}

Test(once, what_is_opened_again_ends_the_row_and_each_time_it_takes_longer)
{
	struct bw_once o = begin(BW_ONCE_AUTO);
	unsigned want = BW_ONCE_FEW;

	for (uint64_t step = 0; step < 10000; step += 1000) {
		cr_assert_eq(takes(&o, step), want);
		cr_assert_not(alone(&o, step, true), "the second time");
		want = want < 8 * BW_ONCE_FEW ? 2 * want : want;
	}
	cr_assert_not(alone(&o, 1, true));
	cr_assert_not(alone(&o, 1, true), "a short row");
	cr_assert_eq(takes(&o, 20000), want, "changes nothing");
	bw_once_done(&o);
}

Test(once, small_pieces_end_the_row)
{
	struct bw_once o = begin(BW_ONCE_AUTO);

	cr_assert_eq(takes(&o, 0), BW_ONCE_FEW);
	bw_once_small(&o);
	cr_assert_eq(takes(&o, 1000), 2 * BW_ONCE_FEW);
	bw_once_done(&o);
}

Test(once, ranks_of_a_step_are_not_each_other)
{
	struct bw_once o = begin(BW_ONCE_AUTO);

	for (uint32_t rank = 0; rank < 2 * BW_ONCE_FEW; rank++) {
		cr_assert_eq(opened(&o, 3, rank, SIZE, true), rank >= BW_ONCE_FEW, "rank %u", rank);
		bw_once_closed(&o);
	}
	bw_once_done(&o);
}

Test(once, large_slices_never)
{
	struct bw_once o = begin(BW_ONCE_AUTO);

	takes(&o, 0);
	cr_assert(opened(&o, 100, 0, BW_ONCE_BYTES, true));
	cr_assert_not(opened(&o, 101, 0, BW_ONCE_BYTES + 1, true));
	bw_once_done(&o);
}

/* Of a reader that pauses: the same few as make the next one direct make it not worth handing over. */
Test(once, large_slices_of_who_pauses_are_direct_after_few_and_rather_so_than_handed_over)
{
	struct bw_once o = begin(BW_ONCE_AUTO);
	struct bw_once_slice s = {.bytes = BW_ONCE_LARGE + 1, .pauses = true};

	for (s.step = 0; s.step < 2 * BW_ONCE_FEW; s.step++) {
		bool rather = bw_once_rather(&o, s.bytes);
		cr_assert_eq(rather, s.step >= BW_ONCE_FEW, "step %d", (int)s.step);
		cr_assert_eq(bw_once_opened(&o, &s), rather);
		bw_once_closed(&o);
	}
	cr_assert_not(bw_once_rather(&o, BW_ONCE_LARGE), "a small one");
	cr_assert_not(bw_once_rather(&o, BW_ONCE_BYTES + 1), "never opened directly");
	cr_assert_not(opened(&o, 1, 0, s.bytes, false), "again");
	bw_once_closed(&o);
	cr_assert_not(bw_once_rather(&o, s.bytes), "the row begins anew");
	bw_once_done(&o);
}

Test(once, small_slices_of_who_pauses_take_many)
{
	struct bw_once o = begin(BW_ONCE_AUTO);
	struct bw_once_slice s = {.bytes = BW_ONCE_LARGE, .pauses = true};

	for (s.step = 0; s.step < BW_ONCE_MANY; s.step++) {
		cr_assert_not(bw_once_opened(&o, &s));
		bw_once_closed(&o);
	}
	cr_assert(bw_once_opened(&o, &s));
	bw_once_done(&o);
}

Test(once, given_up)
{
	struct bw_once o = begin(BW_ONCE_AUTO), always = begin(BW_ONCE_ALWAYS);

	bw_once_give_up(&o);
	bw_once_give_up(&always);
	for (uint64_t step = 0; step < 4 * BW_ONCE_FEW; step++) {
		cr_assert_not(alone(&o, step, true));
		cr_assert_not(bw_once_rather(&o, BW_ONCE_BYTES));
		cr_assert(alone(&always, step, true), "somebody insisted");
		cr_assert(bw_once_rather(&always, 1));
	}
	bw_once_done(&o);
	bw_once_done(&always);
}

Test(once, as_told)
{
	struct bw_once always = begin(BW_ONCE_ALWAYS), never = begin(BW_ONCE_NEVER);

	for (uint64_t step = 0; step < 4 * BW_ONCE_FEW; step++) {
		cr_assert(alone(&always, step / 2, true));
		cr_assert_not(alone(&never, step, true));
	}
	bw_once_done(&always);
	bw_once_done(&never);
}

Test(once, of_zeroes_there_is_nothing_to_give_back)
{
	struct bw_once none = {.mode = BW_ONCE_AUTO};

	bw_once_done(&none);
}
