/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commit protocol under every fault, some thousands of seeds (check.h).  Run one seed again with BW_SEED;
 * BW_SIM_SEEDS changes how many are run.  The program `sim` runs any number, and shrinks what fails.
 */
#include "tests/sim/check.h"
#include "tests/support/seed.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#ifdef __SANITIZE_ADDRESS__
#define SEEDS 400
#else
#define SEEDS 3000
#endif
#define BUG_SEEDS 1000

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

/* A simulator that finds nothing proves nothing: each rule that a client may break is missed. */
Test(sim, bugs, .timeout = 500)
{
	static const char *const breaks[BUGS] = {
		[BUG_STATUS] = "I6", [BUG_OWNER] = "I7", [BUG_REUSE] = "I1",
		[BUG_EARLY] = "I6", [BUG_NODES] = "I9", [BUG_ABANDON] = "I6"};

	for (int bug = BUG_NONE + 1; bug < BUGS; bug++) {
		struct check_result r = {.failed = false};
		uint64_t n;

		for (n = 1; n <= BUG_SEEDS && !r.failed; n++) {
			struct check_options o;

			check_options_init(&o, n);
			o.bug = (enum check_bug)bug;
			check_run(&o, &r);
		}
		cr_assert(r.failed, "%s is not found in %d seeds", check_bug_names[bug], BUG_SEEDS);
		fprintf(stderr, "%s: seed %lu, %s\n", check_bug_names[bug], (unsigned long)n - 1,
			r.text);
		cr_assert_eq(strncmp(r.text, breaks[bug], 2), 0, "%s is found as %s",
			     check_bug_names[bug], r.text);
	}
}
