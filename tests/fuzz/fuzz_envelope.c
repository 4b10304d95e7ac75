/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/envelope_fix.h"
#include "tests/fuzz/fuzz.h"

#define MAX (64u << 10)

void bw_fuzz_fix(uint8_t *bytes, size_t len)
{
	bw_fix_envelope(bytes, len);
}

static bool open_as(enum bw_envelope_kind expected, const uint8_t *bytes, size_t len)
{
	bw_auto_buf struct bw_buf raw = {.max = 0}, again = {.max = 0}, raw2 = {.max = 0};
	enum bw_envelope_kind kind = expected;

	bw_buf_init(&raw, MAX);
	bw_buf_init(&again, MAX + 64);
	bw_buf_init(&raw2, MAX);
	if (bw_envelope_open(expected, bytes, len, &raw, &kind) != 0) {
		bw_fuzz_must(raw.len == 0, "a refused envelope leaves the buffer as it was");
		return false;
	}
	bw_fuzz_must(raw.len <= MAX, "the caller's maximum holds");
	bw_fuzz_must(kind == expected || kind == BW_ENVELOPE_TOMBSTONE, "the kind is as expected");
	bw_fuzz_must(bw_envelope_seal(kind, raw.bytes, raw.len, &again) == 0, "it can be sealed again");
	bw_fuzz_must(bw_envelope_open(expected, again.bytes, again.len, &raw2, NULL) == 0,
		     "and opened again");
	bw_fuzz_must(raw.len == raw2.len && !memcmp(bw_buf_text(&raw), bw_buf_text(&raw2), raw.len),
		     "to the same payload");
	return true;
}

bool bw_fuzz_one(const uint8_t *bytes, size_t len)
{
	bool root = open_as(BW_ENVELOPE_ROOT, bytes, len);
	bool node = open_as(BW_ENVELOPE_NODE, bytes, len);

	bw_fuzz_must(!root || !node, "it is a root or a node, not both");
	return root || node;
}
