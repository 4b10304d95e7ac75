/* SPDX-License-Identifier: Apache-2.0 */
/* One failure that many meet is a line and a count. */
#include "fs/fold.h"

#include "store/base/err.h"

#include <criterion/criterion.h>

#define EIO_ (-BW_E_UNREACHABLE)

static struct bw_fold f;
static struct bw_failure r;

static bool is_due(int64_t now, uint64_t step, int err, uint64_t times)
{
	return bw_fold_due(&f, now, &r) && r.step == step && r.err == err && r.times == times;
}

static bool first(uint64_t step, int err, int64_t now)
{
	return bw_fold_first(&f, &(struct bw_failure){.step = step, .err = err}, now, &r);
}

Test(fold, the_first_is_told_and_the_others_are_counted)
{
	bw_fold_init(&f);
	cr_assert(first(7, EIO_, 0) && !r.times);
	for (int i = 0; i < 1000; i++)
		cr_assert(!first(7, EIO_, 1 + i) && !r.times);
	cr_assert(first(7, -BW_E_CORRUPT, 5), "it is another error");
	cr_assert(first(8, EIO_, 5), "it is another step");
	cr_assert(bw_fold_first(&f, &(struct bw_failure){.step = 7, .part = 1, .err = EIO_}, 5, &r), "it is another part");
	cr_assert(!bw_fold_due(&f, BW_FOLD_NS - 1, &r));
	cr_assert(is_due(BW_FOLD_NS, 7, EIO_, 1000));
	cr_assert(!bw_fold_due(&f, BW_FOLD_NS, &r), "that was all");
	cr_assert(!first(7, EIO_, BW_FOLD_NS + 1), "it goes on");
	cr_assert(!first(7, EIO_, 2 * BW_FOLD_NS));
	cr_assert(is_due(2 * BW_FOLD_NS, 7, EIO_, 2));
	bw_fold_done(&f);
}

Test(fold, what_was_over_for_a_while_is_told_anew)
{
	bw_fold_init(&f);
	cr_assert(first(7, EIO_, 0));
	cr_assert(!bw_fold_due(&f, BW_FOLD_NS, &r));
	cr_assert(first(7, EIO_, BW_FOLD_NS) && !r.times);
	cr_assert(!first(7, EIO_, BW_FOLD_NS));
	cr_assert(is_due(BW_NEVER, 7, EIO_, 1), "at the end of all");
	cr_assert(!bw_fold_due(&f, BW_NEVER, &r));
	bw_fold_done(&f);
}

/* What is forgotten for another has its count told. */
Test(fold, more_than_are_known_at_a_time)
{
	bw_fold_init(&f);
	for (uint64_t step = 0; step < BW_FOLD_MOST; step++) {
		cr_assert(first(step, EIO_, 10 + (int64_t)step) && !r.times);
		for (uint64_t i = 0; i < step; i++)
			cr_assert(!first(step, EIO_, 1000));
	}
	for (uint64_t step = 0; step < BW_FOLD_MOST; step++) {
		cr_assert(first(1000 + step, EIO_, 2000));
		cr_assert_eq(r.times, step);
		cr_assert(!step || (r.step == step && r.err == EIO_));
	}
	cr_assert(!bw_fold_due(&f, BW_NEVER, &r));
	bw_fold_done(&f);
}
