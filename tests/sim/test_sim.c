/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commit protocol under every fault, some seeds with what the preset compiles in (check.h).  Run one
 * seed again with BW_SEED; BW_SIM_SEEDS changes how many are run.  Thousands, and the seeded bugs, are run
 * by the programs `sim` and `sim_small`, which are optimised and have no sanitizers.
 */
#include "tests/sim/check.h"
#include "tests/support/seed.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define SEEDS 150

Test(sim, many_writers_one_history, .timeout = 500)
{
	const char *seeds = getenv("BW_SIM_SEEDS");
	uint64_t n = seeds ? strtoull(seeds, NULL, 0) : getenv("BW_SEED") ? 1 : SEEDS;
	uint64_t seed = bw_test_seed(), versions = 0, acked = 0, opens = 0;

	fprintf(stderr, "BW_SEED=%lu and the %lu after it\n", (unsigned long)seed,
		(unsigned long)n - 1);
	for (uint64_t i = 0; i < n; i++) {
		struct check_options o;
		struct check_result r;

		check_options_init(&o, seed + i);
		check_run(&o, &r);
		if (r.failed) {
			check_shrink(&o, &r);
			check_print(&o, &r, stderr);
			cr_assert(false, "BW_SEED=%lu breaks %s", (unsigned long)(seed + i), r.text);
		}
		versions += r.versions;
		acked += r.acked;
		opens += r.opens;
	}
	cr_assert_gt(versions, 5 * n, "the writers got somewhere");
	cr_assert_gt(acked, 10 * n);
	cr_assert_gt(opens, n, "and the readers");
}
