/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics page of a mount, as bench reads it. */
#include "mount-helpers/bench_counts.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

void bw_fuzz_fix(uint8_t *bytes, size_t len)
{
	(void)bytes, (void)len;	/* there is no checksum */
}

bool bw_fuzz_one(const uint8_t *bytes, size_t len)
{
	struct bw_counts c, again, none = {.in = 0};
	char *twice = malloc(2 * len + 1);

	bw_fuzz_must(twice, "memory");
	if (len) {
		memcpy(twice, bytes, len);
		memcpy(twice + len, bytes, len);
	}
	bool taken = bw_counts_parse((const char *)bytes, len, &c) == 0;

	bw_fuzz_must((bw_counts_parse(twice, 2 * len, &again) == 0) == taken, "lines are read one by one");
	free(twice);
	if (!taken)
		return false;
	for (int i = 0; i < BW_COUNTS_OPS; i++)
		bw_fuzz_must(again.requests[i] == 2 * c.requests[i], "requests add up");
	bw_fuzz_must(again.in == c.in && again.out == c.out && again.cache == c.cache, "the last one counts");
	bw_counts_since(&c, &c, &again);
	bw_fuzz_must(memcmp(&again, &none, sizeof(none)) == 0, "nothing between a page and itself");
	return true;
}
