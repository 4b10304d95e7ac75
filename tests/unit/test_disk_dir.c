/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the disk cache's files. */
#include "fs/disk_dir.h"

#include <criterion/criterion.h>
#include <string.h>

Test(disk_dir, a_name_says_all_and_has_one_spelling)
{
	struct bw_disk_name n = {.stream = {0xab, 1}, .step = (UINT64_C(1) << 45) - 1, .number = BW_DISK_FOOTER, .len = 77},
			    got;
	char text[BW_DISK_NAME_LEN + 1], bad[BW_DISK_NAME_LEN + 1];

	bw_disk_name_print(&n, text);
	cr_assert_str_eq(text, "bw1-ab010000000000000000000000000000-1fffffffffff-ffffffff-0000004d");
	cr_assert(bw_disk_name_parse(text, BW_DISK_NAME_LEN, &got));
	cr_assert_eq(memcmp(got.stream, n.stream, sizeof(n.stream)), 0);
	cr_assert(got.step == n.step && got.number == n.number && got.len == n.len);
	for (size_t i = 0; i < BW_DISK_NAME_LEN; i++) {
		cr_assert_not(bw_disk_name_parse(text, i, &got));
		memcpy(bad, text, sizeof(bad));
		bad[i] = 'A';
		cr_assert_not(bw_disk_name_parse(bad, BW_DISK_NAME_LEN, &got), "%s", bad);
	}
	memcpy(bad, text, sizeof(bad));
	bad[37] = '2';
	cr_assert_not(bw_disk_name_parse(bad, BW_DISK_NAME_LEN, &got), "a step beyond all");
	memcpy(bad, text, sizeof(bad));
	memcpy(bad + 59, "00000000", 8);
	cr_assert_not(bw_disk_name_parse(bad, BW_DISK_NAME_LEN, &got), "no bytes");
	memcpy(bad + 59, "04000001", 8);
	cr_assert_not(bw_disk_name_parse(bad, BW_DISK_NAME_LEN, &got), "more than any block or footer");
}
