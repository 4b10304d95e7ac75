/* SPDX-License-Identifier: Apache-2.0 */
/* The parsers of the credential sources: times, JSON and XML answers, profiles. */
#include "store/s3_cred_answer.h"
#include "store/s3_cred_ini.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))

Test(s3_cred_parse, times)
{
	static const struct {
		const char *text;
		int64_t ms;
	} good[] = {
		{"1970-01-01T00:00:00Z", 0},
		{"2000-02-29T23:59:59Z", 951868799000},
		{"2026-11-21T12:31:50Z", 1795264310000},
		{"2026-11-21T12:31:50.5Z", 1795264310500},
		{"2026-11-21T12:31:50.123456789Z", 1795264310123},
		{"2026-11-21 13:31:50+01:00", 1795264310000},
		{"2026-11-21T07:01:50-0530", 1795264310000},
		{"2016-12-31T23:59:60Z", 1483228800000},
		{"9999-12-31T23:59:59Z", 253402300799000},
	};
	static const char *const bad[] = {
		"", "soon", "2026-11-21", "2026-11-21T12:31:50", "2026-11-21T12:31Z", "2026-13-01T00:00:00Z",
		"2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "2026-11-31T00:00:00Z",
		"2026-11-21T24:00:00Z", "2026-11-21T00:60:00Z", "2026-11-21T00:00:61Z", "1969-12-31T23:59:59Z",
		"2026-11-21T12:31:50Zz", "2026-11-21T12:31:50.Z", "2026-11-21T12:31:50+1:00",
		"2026-11-21T12:31:50.1234567890Z", "+026-11-21T12:31:50Z", "2026-11-21T12:31:50+24:00",
	};
	int64_t ms;

	for (size_t i = 0; i < N(good); i++) {
		cr_assert_eq(bw_cred_time(good[i].text, &ms), 0, "%s", good[i].text);
		cr_assert_eq(ms, good[i].ms, "%s: %lld", good[i].text, (long long)ms);
	}
	for (size_t i = 0; i < N(bad); i++) {
		ms = 7;
		cr_assert_eq(bw_cred_time(bad[i], &ms), -EINVAL, "%s", bad[i]);
		cr_assert_eq(ms, 7);
	}
}

static int json(const char *text, struct bw_cred_answer *a)
{
	/* Of its exact size, so that a sanitizer sees one byte too far. */
	size_t len = strlen(text);
	char *exact = malloc(len + !len);

	memcpy(exact, text, len);
	int err = bw_cred_answer_json(exact, len, "Token", a);
	free(exact);
	return err;
}

Test(s3_cred_parse, json_answers)
{
	struct bw_cred_answer a;

	cr_assert_eq(json(" {\"AccessKeyId\" : \"A\\u00e9\\ud83d\\ude00\\n\\/\", \"SecretAccessKey\":\"s\",\r\n"
			  "\"Token\":null,\"x\":[1,-2.5e3,{\"Token\":\"no\",\"y\":[]},true],\"Version\":1} ", &a), 0);
	cr_assert_str_eq(a.key_id, "A\xc3\xa9\xf0\x9f\x98\x80\n/");
	cr_assert_str_eq(a.secret, "s");
	cr_assert_str_eq(a.token, "");
	cr_assert_str_eq(a.version, "1");
	cr_assert_eq(json("{}", &a), 0);
	cr_assert_str_eq(a.key_id, "");
	cr_assert_eq(json("{\"AccessKeyI\":\"A\",\"AccessKeyIdd\":\"B\",\"accesskeyid\":\"C\","
			  "\"A very long name that is certainly none of those that are ours\":\"D\"}", &a), 0);
	cr_assert_str_eq(a.key_id, "");
}

Test(s3_cred_parse, what_is_no_json_answer)
{
	static const char *const bad[] = {
		"", "{", "}", "[]", "null", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{\"a\":1}x", "{\"a\":1}{}",
		"{a:1}", "{\"a\":\"\n\"}", "{\"a\":\"\\x\"}", "{\"a\":\"\\", "{\"a\":\"\\u12\"}", "{\"a\":\"\\u0000\"}",
		"{\"a\":\"\\ud800\"}", "{\"a\":\"\\udc00\"}", "{\"a\":\"\\ud800\\u0041\"}", "{\"a\":[1}", "{\"a\":[1,]}",
		"{\"Token\":\"a\",\"Token\":\"b\"}", "{\"Token\":{}}", "{\"Token\":[]}", "{\"Token\":\"a",
		"{\"Version\":12345678901234567}",
		"{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]}",
	};
	struct bw_cred_answer a;

	for (size_t i = 0; i < N(bad); i++) {
		memset(&a, 'x', sizeof(a));
		cr_assert_eq(json(bad[i], &a), -BW_E_CORRUPT, "%s", bad[i]);
		cr_assert_eq(a.token[0], 0);
	}
}

Test(s3_cred_parse, fields_that_just_fit)
{
	struct bw_cred_answer a;
	char text[400];

	for (int len = 255; len <= 256; len++) {
		snprintf(text, sizeof(text), "{\"AccessKeyId\":\"%0*d\"}", len, 0);
		cr_assert_eq(json(text, &a), len == 255 ? 0 : -BW_E_CORRUPT);
		cr_assert_eq(strlen(a.key_id), len == 255 ? 255u : 0u);
	}
}

#define OPEN "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
#define CLOSE "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"

Test(s3_cred_parse, sts_answers)
{
	static const char good[] = OPEN "<AccessKeyId>A</AccessKeyId><SecretAccessKey>s&amp;</SecretAccessKey>"
				   "<More><AccessKeyId>no</AccessKeyId></More>" CLOSE;
	static const char *const bad[] = {
		"", "<a/>", OPEN CLOSE, OPEN "<AccessKeyId>A</AccessKeyId>" CLOSE,
		OPEN "<AccessKeyId>A</AccessKeyId><SecretAccessKey>s</SecretAccessKey>",
		OPEN "<AccessKeyId>A</AccessKeyId><AccessKeyId>B</AccessKeyId><SecretAccessKey>s</SecretAccessKey>" CLOSE,
		"<!DOCTYPE x [<!ENTITY e \"x\">]>" OPEN "<AccessKeyId>&e;</AccessKeyId><SecretAccessKey>s"
		"</SecretAccessKey>" CLOSE,
	};
	struct bw_cred_answer a;

	cr_assert_eq(bw_cred_answer_sts(good, strlen(good), &a), 0);
	cr_assert_str_eq(a.key_id, "A");
	cr_assert_str_eq(a.secret, "s&");
	cr_assert_str_eq(a.token, "");
	for (size_t i = 0; i < N(bad); i++) {
		cr_assert_eq(bw_cred_answer_sts(bad[i], strlen(bad[i]), &a), -BW_E_CORRUPT, "%s", bad[i]);
		cr_assert_eq(a.key_id[0], 0);
	}
}

Test(s3_cred_parse, lines_of_a_config_file)
{
	static const char text[] = "orphan = 1\n[ a ]\n k = v \n  deeper = no\n k2=\n; c\n# c\n\n=x\n[broken\nk3 = lost\n[b]";
	static const struct {
		int got;
		const char *section, *key, *value;
		unsigned line;
	} items[] = {
		{1, NULL, "orphan", "1", 1}, {1, "a", NULL, NULL, 2}, {1, "a", "k", "v", 3}, {1, "a", "k2", "", 5},
		{-BW_E_CORRUPT, "a", NULL, NULL, 9}, {-BW_E_CORRUPT, NULL, NULL, NULL, 10},
		{1, NULL, "k3", "lost", 11}, {1, "b", NULL, NULL, 12}, {0, "b", NULL, NULL, 12},
	};
	struct bw_ini_item item;
	struct bw_ini ini;

	bw_ini_init(&ini, text, strlen(text));
	for (size_t i = 0; i < N(items); i++) {
		cr_assert_eq(bw_ini_next(&ini, &item), items[i].got, "item %zu", i);
		cr_assert_eq(ini.line, items[i].line, "item %zu in line %u", i, ini.line);
		cr_assert(items[i].section ? bw_ini_is(&ini.section, items[i].section) : !ini.section.p);
		if (items[i].got <= 0)
			continue;
		cr_assert(items[i].key ? bw_ini_is(&item.key, items[i].key) : !item.key.p, "item %zu", i);
		cr_assert(!items[i].key || bw_ini_is(&item.value, items[i].value), "item %zu", i);
	}
}

Test(s3_cred_parse, names_of_profiles)
{
	static const struct {
		const char *section, *profile;
		bool config, credentials;
	} cases[] = {
		{"profile x", "x", true, false},	{"profile\t x", "x", true, false},
		{"profile \"x y\"", "x y", true, false}, {"profile 'x'", "x", true, false},
		{"profilex", "x", false, false},	{"x", "x", false, true},
		{"default", "default", true, true},	{"profile default", "default", true, false},
		{"profile", "profile", false, true},	{"services x", "x", false, false},
		{"profile xy", "x", false, false},	{"", "x", false, false},
	};

	for (size_t i = 0; i < N(cases); i++) {
		struct bw_ini_text section = {cases[i].section, strlen(cases[i].section)};

		cr_assert_eq(bw_ini_is_profile(&section, true, cases[i].profile), cases[i].config, "%zu", i);
		cr_assert_eq(bw_ini_is_profile(&section, false, cases[i].profile), cases[i].credentials, "%zu", i);
	}
}
