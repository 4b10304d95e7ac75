/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/stream.h"
#include "store/base/hash.h"
#include "tests/support/sample.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct bw_stream sample(void)
{
	struct bw_sample s;

	bw_sample_init(&s, 4);
	bw_sample_done(&s);
	return s.stream;
}

static int decode(const char *text)
{
	struct bw_stream s;

	return bw_stream_decode(text, strlen(text), &s);
}

/* The text with one piece replaced; the caller frees. */
static char *edited(const struct bw_buf *b, const char *from, const char *to)
{
	const char *text = bw_buf_text(b), *at = strstr(text, from);
	char *out = NULL;

	cr_assert_not_null(at, "%s", from);
	cr_assert_gt(asprintf(&out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)), 0);
	return out;
}

Test(stream, round_trip)
{
	bw_auto_buf struct bw_buf text = {.max = 0}, again = {.max = 0};
	struct bw_stream s = sample(), d;

	s.options = (struct bw_stream_options){.ranks = BW_RANKS_MAX,
					       .keep = 7,
					       .margin = UINT64_C(9007199254740993),
					       .grace_s = 60,
					       .max_ahead = BW_COUNTER_MAX - 1,
					       .compress = BW_COMPRESS_ZSTD,
					       .compress_level = 19};
	bw_buf_init(&text, BW_STREAM_JSON_MAX);
	bw_buf_init(&again, BW_STREAM_JSON_MAX);
	cr_assert_eq(bw_stream_encode(&s, &text), 0);
	cr_assert_eq(bw_stream_decode(text.bytes, text.len, &d), 0);
	cr_assert_arr_eq(d.id, s.id, 16);
	cr_assert_eq(d.format, BW_FORMAT);
	cr_assert_eq(d.block_size, s.block_size);
	cr_assert_eq(d.created_ms, s.created_ms);
	cr_assert(bw_stream_options_equal(&d.options, &s.options));
	cr_assert_eq(d.options.margin, UINT64_C(9007199254740993), "2^53 + 1 survives");
	cr_assert_eq(bw_stream_encode(&d, &again), 0);
	cr_assert_str_eq(bw_buf_text(&again), bw_buf_text(&text));
}

Test(stream, options_that_cannot_be_are_not_written)
{
	bw_auto_buf struct bw_buf out = {.max = 0};
	struct bw_stream good = sample();
	struct bw_stream bad[8];

	for (int i = 0; i < 8; i++)
		bad[i] = good;
	bad[0].options.ranks = 0;
	bad[1].options.ranks = BW_RANKS_MAX + 1;
	bad[2].options.keep = 0;
	bad[3].options.compress_level = 3;
	bad[4].options.compress = BW_COMPRESS_ZSTD;
	bad[5].block_size = BW_BLOCK_SIZE_MAX + 1;
	bad[6].created_ms = -1;
	bad[7].options.margin = BW_COUNTER_MAX;
	bw_buf_init(&out, BW_STREAM_JSON_MAX);
	for (int i = 0; i < 8; i++)
		cr_assert_eq(bw_stream_encode(&bad[i], &out), -EINVAL, "%d", i);
	cr_assert_eq(out.len, 0);
}

Test(stream, a_torn_or_edited_file_is_noticed)
{
	bw_auto_buf struct bw_buf text = {.max = 0};
	struct bw_stream s = sample();

	bw_buf_init(&text, BW_STREAM_JSON_MAX);
	cr_assert_eq(bw_stream_encode(&s, &text), 0);
	for (size_t len = 0; len + 1 < text.len; len++) {	/* the last byte is a newline */
		struct bw_stream d;

		cr_assert_eq(bw_stream_decode(text.bytes, len, &d), -BW_E_CORRUPT, "%zu", len);
	}
	const char *edits[][2] = {
		{"\"ranks\": 4", "\"ranks\": 5"},
		{"\"keep\": 2", "\"keep\": 02"},
		{"\"keep\": 2", "\"keep\": 2.0"},
		{"\"keep\": 2", "\"keep\": \"2\""},
		{"\"ranks\": 4", "\"ranks\": 4, \"ranks\": 4"},
		{"\"ranks\"", "\"Ranks\""},
		{"\"none\"", "\"zstd\""},
		{"}\n", "}\n}"},
		{"\"format\": 1", "\"format\": 0"},
		{"\"format\": 1", "\"format\": -1"},
		{"\"format\": 1", "\"format\": 1e0"},
	};
	for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
		char *bad = edited(&text, edits[i][0], edits[i][1]);

		cr_assert_eq(decode(bad), -BW_E_CORRUPT, "%s", bad);
		free(bad);
	}
}

/* Written only where it is false: streams of before stay as they are. */
Test(stream, large_objects_without_a_condition)
{
	bw_auto_buf struct bw_buf text = {.max = 0}, again = {.max = 0};
	struct bw_stream s = sample(), d;

	bw_buf_init(&text, BW_STREAM_JSON_MAX);
	bw_buf_init(&again, BW_STREAM_JSON_MAX);
	cr_assert_eq(bw_stream_encode(&s, &text), 0);
	cr_assert_null(strstr(bw_buf_text(&text), "large"));
	cr_assert_eq(bw_stream_decode(text.bytes, text.len, &d), 0);
	cr_assert_not(d.large_unconditional);
	bw_buf_done(&text);
	bw_buf_init(&text, BW_STREAM_JSON_MAX);
	s.large_unconditional = true;
	cr_assert_eq(bw_stream_encode(&s, &text), 0);
	cr_assert_not_null(strstr(bw_buf_text(&text), "\n  \"large_if_absent\": false,\n  \"checksum\""));
	cr_assert_eq(bw_stream_decode(text.bytes, text.len, &d), 0);
	cr_assert(d.large_unconditional);
	cr_assert_eq(bw_stream_encode(&d, &again), 0);
	cr_assert_str_eq(bw_buf_text(&again), bw_buf_text(&text));
	char *bad = edited(&text, "\"large_if_absent\": false", "\"large_if_absent\": true");

	cr_assert_eq(decode(bad), -BW_E_CORRUPT);
	free(bad);
}

Test(stream, S8_a_newer_format_is_refused_before_anything_else_is_looked_at)
{
	cr_assert_eq(decode("{\"format\": 2, \"id\": [1e5, {}], \"whatever\""), -BW_E_FORMAT_NEWER);
	cr_assert_eq(decode("{ \"format\" : 4294967295 }"), -BW_E_FORMAT_NEWER);
	cr_assert_eq(decode("{\"format\": 1}"), -BW_E_CORRUPT);
	cr_assert_eq(decode("{}"), -BW_E_CORRUPT);
	cr_assert_eq(decode(""), -BW_E_CORRUPT);
	cr_assert_eq(decode("{\"format\": 99999999999999999999}"), -BW_E_CORRUPT);
}

/* A file as a later release of the same format may write it. */
Test(stream, keys_of_a_newer_release_are_ignored_but_summed)
{
	const char *compact =
		"{\"format\":1,\"id\":\"101112131415161718191a1b1c1d1e1f\",\"created_ms\":5,"
		"\"ranks\":1,\"block_size\":4096,\"compress\":\"none\",\"keep\":2,"
		"\"margin\":\"0\",\"grace_s\":\"3600\",\"max_ahead\":\"0\","
		"\"a_key\":{\"deep\":[1,-2,\"x \\\" } y\",null]},\"future\":true}";
	uint64_t sum = bw_xxh3(compact, strlen(compact));
	char *text = NULL;
	struct bw_stream d;

	for (int wrong = 0; wrong < 2; wrong++) {
		cr_assert_gt(asprintf(&text, "\r\n\t %.*s ,\n \"checksum\" : \"%016" PRIx64 "\" } ",
				      (int)strlen(compact) - 1, compact, sum + (uint64_t)wrong), 0);
		cr_assert_eq(bw_stream_decode(text, strlen(text), &d), wrong ? -BW_E_CORRUPT : 0);
		free(text);
	}
	cr_assert_eq(d.created_ms, 5);
}

Test(stream, compress_words)
{
	enum bw_compress c;
	int32_t level;

	cr_assert_eq(bw_compress_parse("none", &c, &level), 0);
	cr_assert(c == BW_COMPRESS_NONE && level == 0);
	cr_assert_eq(bw_compress_parse("zstd", &c, &level), 0);
	cr_assert(c == BW_COMPRESS_ZSTD && level == 3);
	cr_assert_eq(bw_compress_parse("zstd:19", &c, &level), 0);
	cr_assert(c == BW_COMPRESS_ZSTD && level == 19);
	const char *bad[] = {"",	"zst",	   "zstd:",	 "zstd:0", "zstd:20", "zstd:03",
			     "zstd:-1", "zstd:3 ", "zstd:99999999999", "None",   "lz4"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(bw_compress_parse(bad[i], &c, &level), -EINVAL, "%s", bad[i]);
}

Test(stream, keys)
{
	struct bw_stream s = sample();
	char key[BW_KEY_MAX + 1], name[BW_NAME_MAX + 1];

	bw_key_root(&s, 42, key);
	cr_assert_str_eq(key, "10111213/manifest/00000000000000000042");
	bw_key_root(&s, UINT64_MAX, key);
	cr_assert_str_eq(key, "10111213/manifest/18446744073709551615");
	bw_key_hint(&s, key);
	cr_assert_str_eq(key, "10111213/hint");
	bw_key_data(&s, "p.1", 3, 17, 0xabc, key);
	cr_assert_str_eq(key, "10111213/data/p.1/3/17-0000000000000abc");
	bw_key_state(&s, "p.1", 3, 17, 0xabc, key);
	cr_assert_str_eq(key, "10111213/state/p.1/3/17-0000000000000abc");
	bw_key_node(&s, 1, 8192, 16383, 0xfedcba9876543210, key);
	cr_assert_str_eq(key, "10111213/index/1/8192-16383-fedcba9876543210");
	memset(name, 'n', BW_NAME_MAX);
	name[BW_NAME_MAX] = 0;
	bw_key_data(&s, name, UINT64_MAX, UINT64_MAX, UINT64_MAX, key);
	cr_assert_lt(strlen(key), 150);
}
