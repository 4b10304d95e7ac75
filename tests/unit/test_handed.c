/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel was given before it asked. */
#include "fs/handed.h"
#include "store/base/clock.h"

#include <criterion/criterion.h>

static int64_t clock_ns;

static int64_t now(void)
{
	return clock_ns;
}

static struct bw_handed *handed_new(uint64_t most)
{
	static struct bw_handed h;

	cr_assert_eq(bw_handed_init(&h, most, now), 0);
	return &h;
}

Test(handed, blocks_count_in_order_and_are_taken_once)
{
	struct bw_handed *h = handed_new(100);

	cr_assert_eq(bw_handed_blocks(h, 7, 3), 0);
	cr_assert(bw_handed_add(h, 7, 3, 0, 10));
	cr_assert_not(bw_handed_add(h, 7, 3, 2, 10), "not the next one");
	cr_assert(bw_handed_add(h, 7, 3, 1, 5));
	cr_assert_not(bw_handed_add(h, 7, 4, 1, 5), "not the first one");
	cr_assert_eq(bw_handed_blocks(h, 7, 3), 2);
	cr_assert_eq(bw_handed_blocks(h, 7, 4), 0);
	cr_assert_eq(bw_handed_blocks(h, 8, 3), 0);
	cr_assert_eq(bw_handed_take(h, 7, 3), 15);
	cr_assert_eq(bw_handed_take(h, 7, 3), 0);
	cr_assert_eq(bw_handed_blocks(h, 7, 3), 0);
	bw_handed_done(h);
}

Test(handed, what_was_not_handed_over_does_not_count)
{
	struct bw_handed *h = handed_new(20);

	bw_handed_drop(h, 1, 0, 0, 10);
	cr_assert(bw_handed_add(h, 1, 0, 0, 12));
	cr_assert(bw_handed_add(h, 1, 0, 1, 8));
	bw_handed_drop(h, 1, 0, 0, 12);
	cr_assert_eq(bw_handed_blocks(h, 1, 0), 2, "not the last one");
	bw_handed_drop(h, 1, 0, 1, 8);
	cr_assert_eq(bw_handed_blocks(h, 1, 0), 1);
	cr_assert(bw_handed_add(h, 1, 0, 1, 8), "there is room again");
	bw_handed_drop(h, 1, 0, 1, 8);
	bw_handed_drop(h, 1, 0, 0, 12);
	cr_assert_eq(h->n, 0);
	cr_assert_eq(h->bytes, 0);
	cr_assert(bw_handed_add(h, 1, 0, 0, 20));
	cr_assert_eq(bw_handed_take(h, 1, 0), 20);
	bw_handed_done(h);
}

Test(handed, no_more_wait_than_may)
{
	struct bw_handed *h = handed_new(20);

	cr_assert_not(bw_handed_add(h, 1, 0, 0, 21));
	cr_assert(bw_handed_add(h, 1, 0, 0, 10));
	cr_assert_not(bw_handed_add(h, 1, 0, 1, 11));
	cr_assert_not(bw_handed_add(h, 2, 0, 0, 11));
	cr_assert_eq(bw_handed_blocks(h, 2, 0), 0);
	bw_handed_take(h, 1, 0);
	cr_assert(bw_handed_add(h, 2, 0, 0, 20));
	bw_handed_done(h);
}

Test(handed, who_does_not_come_makes_room)
{
	struct bw_handed *h = handed_new(20);

	cr_assert(bw_handed_add(h, 1, 0, 0, 10));
	clock_ns += 20 * BW_SEC;
	cr_assert(bw_handed_add(h, 2, 0, 0, 10));
	clock_ns += 15 * BW_SEC;
	cr_assert(bw_handed_add(h, 3, 0, 0, 10));
	cr_assert_eq(bw_handed_blocks(h, 1, 0), 0, "the older one is forgotten");
	cr_assert_eq(bw_handed_blocks(h, 2, 0), 1, "the younger one is not");
	cr_assert_not(bw_handed_add(h, 4, 0, 0, 10));
	bw_handed_done(h);
}

Test(handed, so_many_slices_and_then_the_oldest_goes)
{
	struct bw_handed *h = handed_new(UINT64_MAX);

	for (unsigned i = 0; i <= BW_HANDED_SLICES; i++)
		cr_assert(bw_handed_add(h, i, 0, 0, 1));
	cr_assert_eq(h->bytes, BW_HANDED_SLICES);
	cr_assert_eq(bw_handed_blocks(h, 0, 0), 0);
	cr_assert_eq(bw_handed_blocks(h, 1, 0), 1);
	cr_assert_eq(bw_handed_blocks(h, BW_HANDED_SLICES, 0), 1);
	bw_handed_done(h);
}

Test(handed, of_zeroes_there_is_nothing_to_give_back)
{
	struct bw_handed none = {.most = 0};

	bw_handed_done(&none);
}
