/* SPDX-License-Identifier: Apache-2.0 */
/* The seed of a randomised test: BW_SEED, or a random one that the test must print. */
#ifndef BW_TESTS_SEED_H
#define BW_TESTS_SEED_H

#include <stdint.h>

uint64_t bw_test_seed(void);

#endif
