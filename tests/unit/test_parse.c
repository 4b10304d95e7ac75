/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/clock.h"
#include "store/base/parse.h"

#include <criterion/criterion.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))

Test(parse, u64_takes_canonical_decimal_up_to_its_maximum)
{
	uint64_t v = 99;

	cr_assert_eq(bw_parse_u64("0", 0, &v), 0);
	cr_assert_eq(v, 0);
	cr_assert_eq(bw_parse_u64("65536", 65536, &v), 0);
	cr_assert_eq(v, 65536);
	cr_assert_eq(bw_parse_u64("18446744073709551615", UINT64_MAX, &v), 0);
	cr_assert_eq(v, UINT64_MAX);
	v = 99;
	cr_assert_eq(bw_parse_u64("65537", 65536, &v), -EINVAL);
	cr_assert_eq(bw_parse_u64("1", 0, &v), -EINVAL);
	cr_assert_eq(bw_parse_u64("18446744073709551616", UINT64_MAX, &v), -EINVAL);
	cr_assert_eq(bw_parse_u64("184467440737095516150", UINT64_MAX, &v), -EINVAL);
	cr_assert_eq(v, 99, "untouched on failure");
}

Test(parse, u64_has_one_spelling)
{
	static const char *const bad[] = {"",   "00", "01",  "-1",  "+1",   " 1", "1 ",
					  "1x", "x",  "0x1", "1.0", "1\n", "٣",  "1K"};
	uint64_t v;

	for (size_t i = 0; i < N(bad); i++)
		cr_assert_eq(bw_parse_u64(bad[i], UINT64_MAX, &v), -EINVAL, "'%s'", bad[i]);
}

Test(parse, size_counts_in_powers_of_1024)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"0", 0},
		{"1", 1},
		{"64K", 65536},
		{"1m", UINT64_C(1) << 20},
		{"3G", UINT64_C(3) << 30},
		{"17179869183G", UINT64_C(17179869183) << 30},
	};
	static const char *const bad[] = {"",    "K",   "1KB", "1KiB", "1T",
					  "1 K", "-1K", "1.5G", "01K", "17179869184G"};
	uint64_t v;

	for (size_t i = 0; i < N(good); i++) {
		cr_assert_eq(bw_parse_size(good[i].text, &v), 0, "%s", good[i].text);
		cr_assert_eq(v, good[i].bytes, "%s", good[i].text);
	}
	for (size_t i = 0; i < N(bad); i++)
		cr_assert_eq(bw_parse_size(bad[i], &v), -EINVAL, "'%s'", bad[i]);
}

Test(parse, duration_knows_seconds_minutes_and_hours)
{
	static const struct {
		const char *text;
		int64_t ns;
	} good[] = {
		{"0", 0},
		{"10", 10 * BW_SEC},
		{"10s", 10 * BW_SEC},
		{"5m", 300 * BW_SEC},
		{"2h", 7200 * BW_SEC},
		{"0.5", 500 * BW_MS},
		{"0.000000001", 1},
		{"0.000000001h", 3600},
		{"1.25m", 75 * BW_SEC},
		{"9223372035.999999999", INT64_C(9223372035999999999)},
	};
	static const char *const bad[] = {"",      "s",  ".5",   "5.",  "-1",           "1d",
					  "1ms",   "1S", "1 s",  "1,5", "1.0000000001", "01",
					  "1.5.5", "1e3", "inf", "nan", "9223372036",   "2562047788h"};
	int64_t v;

	for (size_t i = 0; i < N(good); i++) {
		cr_assert_eq(bw_parse_duration(good[i].text, &v), 0, "%s", good[i].text);
		cr_assert_eq(v, good[i].ns, "%s", good[i].text);
	}
	for (size_t i = 0; i < N(bad); i++)
		cr_assert_eq(bw_parse_duration(bad[i], &v), -EINVAL, "'%s'", bad[i]);
}

Test(parse, names_of_producers_and_jobs)
{
	static const char longest[] = "a234567890123456789012345678901234567890123456789012345678901234";
	const char *bad[] = {"", ".x", "-x", "_x", "a/b", "a b", "a\n", "\xff", "\xc3\xa9",
			     "a2345678901234567890123456789012345678901234567890123456789012345"};

	cr_assert(bw_name_valid("p0"));
	cr_assert(bw_name_valid("A.b_c-9"));
	cr_assert(bw_name_valid(longest));
	for (size_t i = 0; i < N(bad); i++)
		cr_assert_not(bw_name_valid(bad[i]), "%s", bad[i]);
}
