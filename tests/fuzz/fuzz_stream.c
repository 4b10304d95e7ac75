/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/stream.h"
#include "store/base/hash.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

/* The sum as docs/format.md tells it to people: no white space outside strings, no checksum. */
void bw_fuzz_fix(uint8_t *bytes, size_t len)
{
	static const char name[] = "\"checksum\"";
	const uint8_t *at = memmem(bytes, len, name, sizeof(name) - 1);
	char *compact = malloc(len + 1), hex[17];
	bool in_string = false;
	size_t n = 0;

	if (!at || !compact) {
		free(compact);
		return;
	}
	for (const uint8_t *p = bytes; p < at; p++) {
		if (*p == '"' && (p == bytes || p[-1] != '\\'))
			in_string = !in_string;
		if (in_string || !strchr(" \t\r\n", *p))
			compact[n++] = (char)*p;
	}
	if (n)
		compact[n - 1] = '}';	/* for the comma */
	snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)bw_xxh3(compact, n));
	free(compact);
	uint8_t *value = bytes + (at - bytes) + sizeof(name) - 1;

	while (value < bytes + len && *value != '"')
		value++;
	if (bytes + len - value > 16)
		memcpy(value + 1, hex, 16);
}

bool bw_fuzz_one(const uint8_t *bytes, size_t len)
{
	bw_auto_buf struct bw_buf text = {.max = 0};
	struct bw_stream s, again;

	bw_buf_init(&text, BW_STREAM_JSON_MAX);
	if (bw_stream_decode(bytes, len, &s) != 0)
		return false;
	bw_fuzz_must(s.options.ranks >= 1 && s.options.ranks <= BW_RANKS_MAX, "ranks are in range");
	bw_fuzz_must(bw_stream_encode(&s, &text) == 0, "what decodes encodes");
	bw_fuzz_must(bw_stream_decode(text.bytes, text.len, &again) == 0, "and decodes again");
	bw_fuzz_must(bw_stream_options_equal(&s.options, &again.options) &&
			     s.block_size == again.block_size && s.created_ms == again.created_ms &&
			     !memcmp(s.id, again.id, sizeof(s.id)),
		     "to the same");
	return true;
}
