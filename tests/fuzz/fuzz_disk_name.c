/* SPDX-License-Identifier: Apache-2.0 */
/* Names of a disk cache's files: what is taken is in its range and spelled as it would be written. */
#include "fs/disk_dir.h"
#include "store/base/limits.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

void bw_fuzz_fix(uint8_t *bytes, size_t len)
{
	/* Most bytes of a name are digits: mutants that are none teach nothing about numbers. */
	for (size_t i = 4; i < len; i++)
		if (i != 36 && i != 49 && i != 58)
			bytes[i] = (uint8_t)"0123456789abcdef"[bytes[i] & 15];
}

bool bw_fuzz_one(const uint8_t *bytes, size_t len)
{
	char text[BW_DISK_NAME_LEN + 1];
	char *copy = malloc(len ? len : 1);	/* its end is the allocation's: reading on is seen */
	struct bw_disk_name n;

	bw_fuzz_must(copy, "memory");
	if (len)
		memcpy(copy, bytes, len);
	bool taken = bw_disk_name_parse(copy, len, &n);

	if (taken) {
		bw_fuzz_must(n.step < BW_STEPS_MAX, "a step there can be");
		bw_fuzz_must(n.len && n.len <= BW_FOOTER_MAX, "a length there can be");
		bw_disk_name_print(&n, text);
		bw_fuzz_must(len == BW_DISK_NAME_LEN && memcmp(text, bytes, len) == 0, "one spelling");
	}
	free(copy);
	return taken;
}
