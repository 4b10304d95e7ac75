/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/names.h"

#include <criterion/criterion.h>

Test(names, decimal_is_canonical)
{
	uint64_t v;
	const char *bad[] = {"", "007", "00", "-1", "+1", " 1", "1 ", "0x1", "1.", "9223372036854775808",
			     "99999999999999999999"};

	cr_assert_eq(bw_decimal_parse("0", &v), 0);
	cr_assert_eq(v, 0);
	cr_assert_eq(bw_decimal_parse("9223372036854775807", &v), 0);
	cr_assert_eq(v, INT64_MAX);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(bw_decimal_parse(bad[i], &v), -EINVAL, "%s", bad[i]);
}

Test(names, P2_rank_names)
{
	static const struct {
		const char *name;
		int err;
		uint32_t rank;
	} cases[] = {
		{"0", 0, 0},	      {"7", 0, 7},	       {"7.npy", 0, 7},	      {"3.safetensors", 0, 3},
		{"8", -EINVAL, 0},    {"8.npy", -EINVAL, 0},   {"01", -EINVAL, 0},    {"01.npy", -EINVAL, 0},
		{"-1", -EINVAL, 0},   {"+1", -EINVAL, 0},      {"1.tmp", -ENOENT, 0}, {"x", -ENOENT, 0},
		{".1.npy", -ENOENT, 0}, {"1.npy.tmp", -ENOENT, 0}, {"1.", -ENOENT, 0},    {"1a", -ENOENT, 0},
		{"-", -ENOENT, 0},    {"99999999999999999999999999", -EINVAL, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t rank = 0;
		cr_assert_eq(bw_rank_name_parse(cases[i].name, 8, &rank), cases[i].err, "%s", cases[i].name);
		cr_assert_eq(rank, cases[i].rank, "%s", cases[i].name);
	}
}

Test(names, V4_inode_numbers_are_arithmetic)
{
	uint64_t step;
	enum bw_step_what what;
	uint32_t rank;

	bw_step_ino_split(bw_step_ino(BW_STEPS_MAX - 1, BW_STEP_SLICE, BW_RANKS_MAX - 1), &step, &what, &rank);
	cr_assert_eq(step, BW_STEPS_MAX - 1);
	cr_assert_eq(what, BW_STEP_SLICE);
	cr_assert_eq(rank, BW_RANKS_MAX - 1);
	bw_step_ino_split(bw_step_ino(5, BW_STEP_META, 0), &step, &what, &rank);
	cr_assert_eq(step, 5);
	cr_assert_eq(what, BW_STEP_META);
	cr_assert(bw_is_step_ino(bw_step_ino(0, BW_STEP_DIR, 0)));
	cr_assert_not(bw_is_step_ino(1));
}
