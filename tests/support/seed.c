/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/seed.h"

#include "store/base/rand.h"

#include <stdlib.h>

uint64_t bw_test_seed(void)
{
	const char *text = getenv("BW_SEED");
	uint64_t seed;

	if (text)
		return strtoull(text, NULL, 0);
	bw_random(&seed, sizeof(seed));
	return seed;
}
