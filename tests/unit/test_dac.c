/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/dac.h"

#include "store/base/clock.h"

#include <criterion/criterion.h>

static int64_t longest_conflict(struct bw_dac *d, unsigned conflicts)
{
	int64_t most = 0;

	for (int i = 0; i < 2000; i++) {
		int64_t ns = bw_dac_after_conflict(d, conflicts);

		cr_assert_geq(ns, 0);
		most = ns > most ? ns : most;
	}
	return most;
}

Test(dac, waits_after_conflicts_grow_to_a_bound)
{
	struct bw_dac d;

	bw_dac_init(&d, 7);
	bw_dac_attempted(&d, 100 * BW_MS);
	int64_t one = longest_conflict(&d, 1), two = longest_conflict(&d, 2);
	int64_t three = longest_conflict(&d, 3);

	/* U(0, W * 2^b / 2) */
	cr_assert(one > 90 * BW_MS && one <= 100 * BW_MS);
	cr_assert(two > 180 * BW_MS && two <= 200 * BW_MS);
	cr_assert(three > 360 * BW_MS && three <= 400 * BW_MS);
	cr_assert_leq(longest_conflict(&d, 1000), 400 * BW_MS);
}

Test(dac, attempts_are_averaged)
{
	struct bw_dac d;

	bw_dac_init(&d, 7);
	bw_dac_attempted(&d, 80 * BW_MS);
	cr_assert_eq(d.attempt_ns, 80 * BW_MS);
	bw_dac_attempted(&d, 160 * BW_MS);
	cr_assert_eq(d.attempt_ns, 90 * BW_MS);
	for (int i = 0; i < 200; i++)
		bw_dac_attempted(&d, 1000 * BW_SEC);
	cr_assert_leq(d.attempt_ns, 60 * BW_SEC, "a suspended process is no slow store");
}

Test(dac, waits_in_doubt_double_to_five_seconds)
{
	struct bw_dac d;
	int64_t most[2] = {0, 0};

	bw_dac_init(&d, 7);
	for (int i = 0; i < 2000; i++) {
		int64_t first = bw_dac_after_doubt(&d, 1), late = bw_dac_after_doubt(&d, 100);

		most[0] = first > most[0] ? first : most[0];
		most[1] = late > most[1] ? late : most[1];
	}
	cr_assert(most[0] > 45 * BW_MS && most[0] <= 50 * BW_MS);
	cr_assert(most[1] > 4500 * BW_MS && most[1] <= 5 * BW_SEC);
}
