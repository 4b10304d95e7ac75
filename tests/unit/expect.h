/* SPDX-License-Identifier: Apache-2.0 */
/* How a request ended, and what was wanted, by their names. */
#ifndef BW_TESTS_EXPECT_H
#define BW_TESTS_EXPECT_H

#include "store/store.h"

#include <criterion/criterion.h>

#define expect(outcome, wanted)                                                                    \
	do {                                                                                       \
		enum bw_outcome expect_o = (outcome);                                              \
		cr_assert_eq(expect_o, wanted, "%s, not %s", bw_outcome_name(expect_o),            \
			     bw_outcome_name(wanted));                                             \
	} while (0)

#endif
