/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Test(url, what_it_takes)
{
	static const struct {
		const char *text;
		int scheme;
		const char *path;
	} cases[] = {
		{"file:///data/run1", BW_URL_FILE, "/data/run1"},
		{"file:///data/run1/", BW_URL_FILE, "/data/run1"},
		{"file:///data/run1////", BW_URL_FILE, "/data/run1"},
		{"file:///d", BW_URL_FILE, "/d"},
		{"file:////d//e", BW_URL_FILE, "//d//e"},
		{"file:///a%20b", BW_URL_FILE, "/a%20b"},
		{"file:///a b/\xc3\xbc", BW_URL_FILE, "/a b/\xc3\xbc"},
		{"file:///a/...", BW_URL_FILE, "/a/..."},
		{"file:///a/.b/c.", BW_URL_FILE, "/a/.b/c."},
		{"file:///a://b", BW_URL_FILE, "/a://b"},
		{"s3://bucket", BW_URL_S3, "bucket"},
		{"s3://bucket/", BW_URL_S3, "bucket"},
		{"s3://bucket/a/b", BW_URL_S3, "bucket/a/b"},
		{"s3://bucket/a/b//", BW_URL_S3, "bucket/a/b"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bw_url url;
		char why[256] = "";
		cr_assert_eq(bw_url_parse(cases[i].text, &url, why, sizeof(why)), 0, "%s: %s",
			     cases[i].text, why);
		cr_assert_eq((int)url.scheme, cases[i].scheme);
		cr_assert_eq(bw_url_is_s3(cases[i].text), cases[i].scheme == BW_URL_S3, "%s", cases[i].text);
		cr_assert_str_eq(url.path, cases[i].path);
		cr_assert_str_eq(why, "");
	}
}

Test(url, what_it_refuses_it_explains)
{
	static const struct {
		const char *text, *hint;
	} cases[] = {
		{"", "file:///data/run1"},
		{"run1", "file:///data/run1"},
		{"/data/run1", "put file:// before"},
		{"file:/data", "file:///data/run1"},
		{"file:", "file:///data/run1"},
		{"://x", "use file:// or s3://"},
		{"http://host/x", "unknown scheme http://; use file:// or s3://"},
		{"FILE:///x", "use file:// or s3://"},
		{"files:///x", "use file:// or s3://"},
		{"a-very-long-scheme-that-goes-on://x", "use file:// or s3://"},
		{"file://", "absolute path"},
		{"file:///", "absolute path"},
		{"file://////", "absolute path"},
		{"file://data/run1", "file:///data/run1"},
		{"file://./x", "absolute path"},
		{"file:///a/../b", ". and .."},
		{"file:///a/..", ". and .."},
		{"file:///./a", ". and .."},
		{"file:///a/./", ". and .."},
		{"s3://", "name a bucket"},
		{"s3:///", "name a bucket"},
		{"s3:///prefix", "name a bucket"},
		{"s3://b/../c", ". and .."},
		{"s3://..", ". and .."},
		{"file:///a\nb", "control characters"},
		{"file:///a\x7f", "control characters"},
		{"\x01", "control characters"},
		{"s3://b\t", "control characters"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bw_url url = {.path = "untouched"};
		char why[256] = "";
		cr_assert_eq(bw_url_parse(cases[i].text, &url, why, sizeof(why)), -EINVAL, "%s",
			     cases[i].text);
		cr_assert_not_null(strstr(why, cases[i].hint), "%s: %s", cases[i].text, why);
		cr_assert_null(strchr(why, '\n'));
		cr_assert_str_eq(url.path, "untouched");
	}
}

Test(url, the_longest_path_fits_exactly)
{
	struct bw_url url;
	char *text = malloc(8192), why[256] = "";
	size_t max = sizeof(url.path) - 1;

	memcpy(text, "file:///", 8);
	memset(text + 8, 'a', 8000);
	text[7 + max] = 0;
	cr_assert_eq(bw_url_parse(text, &url, why, sizeof(why)), 0, "%s", why);
	cr_assert_eq(strlen(url.path), max);
	text[7 + max] = 'a';
	text[8 + max] = 0;
	cr_assert_eq(bw_url_parse(text, &url, why, sizeof(why)), -EINVAL);
	cr_assert_not_null(strstr(why, "4095"), "%s", why);
	/* Slashes that are dropped do not count. */
	memset(text + 7 + max, '/', 100);
	text[107 + max] = 0;
	cr_assert_eq(bw_url_parse(text, &url, why, sizeof(why)), 0);
	free(text);
}

Test(url, a_short_buffer_for_why_is_kept_to)
{
	struct bw_url url;
	char why[8] = "1234567";

	cr_assert_eq(bw_url_parse("http://x", &url, why, 4), -EINVAL);
	cr_assert_str_eq(why, "unk");
	cr_assert_eq(why[4], '5');
	cr_assert_eq(bw_url_parse("http://x", &url, NULL, 0), -EINVAL);
}
