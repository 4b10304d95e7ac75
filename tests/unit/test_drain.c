/* SPDX-License-Identifier: Apache-2.0 */
/* S5, P1: a mount that ends has told the outcome to whoever waits for it before the wait for what is under way is over. */
#include "tests/unit/produce_world.h"

TestSuite(drain, .init = start, .fini = end);

Test(drain, S5_whoever_registers_is_told)
{
	make_dir(BW_PRODUCE_INO, "p", true);
}

Test(drain, S5_whoever_takes_a_producer_is_told)
{
	make_dir(make_dir(BW_PRODUCE_INO, "p", false), "0", true);
}

Test(drain, S5_P1_whoever_commits_is_told)
{
	uint64_t batch = make_dir(make_dir(BW_PRODUCE_INO, "p", false), "0", false);
	uint64_t ranks = make_dir(batch, "rank", false);
	struct asker a;
	char name[24];

	for (unsigned r = 1; r < w.stream.options.ranks; r++) {
		snprintf(name, sizeof(name), "%u", r);
		write_file(ranks, name, "x");
	}
	write_file(ranks, "part", "x");
	bw_produce_rename(w.p, ranks, "part", ranks, "0", false, &ask(&a, true)->answer);
	bw_latch_wait(&a.answered);
	cr_assert_eq(a.err, 0);
	cr_assert(a.is_waited_for);
	struct bw_root *root = bw_head_root(w.head);

	cr_assert_eq(root->head, 1);
	bw_root_unref(root);
}

/* Nobody is waited for once all are told. */
Test(drain, S5_nothing_is_left)
{
	int64_t until = bw_now() + 3600 * BW_SEC;

	make_dir(make_dir(BW_PRODUCE_INO, "p", false), "0", false);
	bw_produce_drain(w.p, until);
	cr_assert_lt(bw_now(), until);
}
