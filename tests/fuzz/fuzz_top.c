/* SPDX-License-Identifier: Apache-2.0 */
/* The status files of a mount, as top reads them; and whatever they say, the page fits the terminal. */
#include "mount-helpers/top.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define COLUMNS 60u
#define ROWS 20u

void bw_fuzz_fix(uint8_t *bytes, size_t len)
{
	(void)bytes, (void)len;	/* there is no checksum */
}

static void show(const struct bw_top *before, const struct bw_top *now)
{
	struct bw_buf out;
	unsigned lines = 0, column = 0;

	bw_buf_init(&out, 1 << 20);
	bw_top_view(before, now, "now", COLUMNS, ROWS, &out);
	bw_fuzz_must(bw_buf_err(&out) == 0, "a page is bounded");
	for (size_t i = 0; i < out.len; i++) {
		uint8_t c = out.bytes[i];

		lines += c == '\n';
		column = c == '\n' ? 0 : column + 1;
		bw_fuzz_must(column <= COLUMNS && lines <= ROWS, "a page fits");
		bw_fuzz_must(c == '\n' || (c >= 0x20 && c < 0x7f), "nothing steers the terminal");
	}
	bw_buf_done(&out);
}

bool bw_fuzz_one(const uint8_t *bytes, size_t len)
{
	struct bw_top *before = bw_top_new(), *now = bw_top_new();
	const char *text = (const char *)bytes;
	bool taken;

	bw_fuzz_must(before && now, "memory");
	taken = len && *bytes == '{' ? bw_top_status(text, len, now) == 0 : bw_top_metrics(text, len, now) == 0;
	now->of_mount = true;
	now->at_ns = 1000000000;
	show(before, now);
	free(before);
	free(now);
	return taken;
}
