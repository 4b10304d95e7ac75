/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/key.h"
#include "tests/support/sample.h"

#include <criterion/criterion.h>
#include <string.h>

static struct bw_stream sample(void)
{
	struct bw_sample s;

	bw_sample_init(&s, 4);
	bw_sample_done(&s);
	return s.stream;
}

static enum bw_key_kind kind_of(const char *text)
{
	struct bw_stream s = sample();

	return bw_key_parse(&s, text).kind;
}

Test(key, what_was_built_is_told_apart_again)
{
	struct bw_stream s = sample();
	char text[BW_KEY_MAX + 1];

	cr_assert_eq(kind_of(BW_STREAM_KEY), BW_KEY_STREAM);
	bw_key_hint(&s, text);
	cr_assert_eq(kind_of(text), BW_KEY_HINT);

	bw_key_root(&s, UINT64_MAX, text);
	struct bw_key k = bw_key_parse(&s, text);

	cr_assert_eq(k.kind, BW_KEY_ROOT);
	cr_assert_eq(k.version, UINT64_MAX);

	bw_key_node(&s, 2, 8192, 16383, 0xfedcba9876543210, text);
	k = bw_key_parse(&s, text);
	cr_assert_eq(k.kind, BW_KEY_NODE);
	cr_assert(k.level == 2 && k.first == 8192 && k.last == 16383);
	cr_assert_eq(k.hash, 0xfedcba9876543210);

	bw_key_data(&s, "p-1.x_", 3, 17, 0xabc, text);
	k = bw_key_parse(&s, text);
	cr_assert_eq(k.kind, BW_KEY_DATA);
	cr_assert_str_eq(k.producer, "p-1.x_");
	cr_assert(k.epoch == 3 && k.seq == 17 && k.nonce == 0xabc);

	bw_key_state(&s, "p", UINT64_MAX, 0, UINT64_MAX, text);
	k = bw_key_parse(&s, text);
	cr_assert_eq(k.kind, BW_KEY_STATE);
	cr_assert(k.epoch == UINT64_MAX && k.seq == 0 && k.nonce == UINT64_MAX);
}

Test(key, nothing_is_concluded_of_any_other_spelling)
{
	static const char *const others[] = {
		"", "hint", "stream.json.bak", "10111213", "10111213/", "10111213/hint/", "20111213/hint",
		"10111213/manifest/42", "10111213/manifest/000000000000000000421",
		"10111213/manifest/99999999999999999999", "10111213/manifest/", "10111213/index/1/2-3-f",
		"10111213/index/1/2-3-", "10111213/index/01/2-3-fedcba9876543210",
		"10111213/data/p/3/17-abc", "10111213/data/p/3/17-0000000000000ABC",
		"10111213/data/p/3/017-0000000000000abc", "10111213/data/p/+3/17-0000000000000abc",
		"10111213/data/p/ 3/17-0000000000000abc", "10111213/data/p/3/17-0000000000000abc.tmp",
		"10111213/data/.p/3/17-0000000000000abc", "10111213/data//3/17-0000000000000abc",
		"10111213/data/p/3", "10111213/data/p", "10111213/other/p/3/17-0000000000000abc",
		"10111213/data/p/-3/17-0000000000000abc", "10111213/data/p/3/17-0x00000000000abc",
	};
	char text[BW_KEY_MAX + 1] = "10111213/data/";

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		cr_assert_eq(kind_of(others[i]), BW_KEY_FOREIGN, "'%s'", others[i]);
	memset(text + strlen(text), 'p', BW_KEY_MAX - strlen(text));
	cr_assert_eq(kind_of(text), BW_KEY_FOREIGN);
}

Test(key, prefixes)
{
	struct bw_stream s = sample();
	char text[BW_KEY_MAX + 1];

	bw_key_prefix(&s, BW_KEY_STATE, text);
	cr_assert_str_eq(text, "10111213/state/");
	bw_key_prefix(&s, BW_KEY_FOREIGN, text);
	cr_assert_str_eq(text, "10111213/");
}
