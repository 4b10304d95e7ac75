/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs of the contract suite share: tests that are run with every store. */
#ifndef BW_TESTS_EACH_STORE_H
#define BW_TESTS_EACH_STORE_H

#include "tests/support/stores.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

static struct criterion_test_params numbers(void)
{
	static unsigned n[BW_TEST_STORES];
	unsigned first, count;

	bw_test_stores(&first, &count);
	for (unsigned i = 0; i < count; i++)
		n[i] = first + i;
	return cr_make_param_array(unsigned, n, count);
}

/* A test that is run with every store, opened as t. */
#define EACH_STORE(rule)                                                                           \
	static void rule(struct bw_test_store *t, struct bw_store *s);                             \
	ParameterizedTestParameters(contract, rule)                                                \
	{                                                                                          \
		return numbers();                                                                  \
	}                                                                                          \
	ParameterizedTest(unsigned *number, contract, rule, .timeout = 120)                        \
	{                                                                                          \
		struct bw_test_store t;                                                            \
		bw_test_store_open(*number, &t);                                                   \
		rule(&t, t.s);                                                                     \
		bw_test_store_close(&t);                                                           \
	}                                                                                          \
	static void rule(struct bw_test_store *t __attribute__((unused)),                          \
			 struct bw_store *s __attribute__((unused)))

#define expect(t, outcome, wanted)                                                                 \
	do {                                                                                       \
		enum bw_outcome expect_o = (outcome);                                              \
		cr_assert_eq(expect_o, wanted, "%s: %s, not %s", (t)->name,                        \
			     bw_outcome_name(expect_o), bw_outcome_name(wanted));                  \
	} while (0)

#endif
