/* SPDX-License-Identifier: Apache-2.0 */
/* Store URLs: what is taken obeys the rules of struct bw_url, what is refused is explained. */
#include "store/store.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

void bw_fuzz_fix(uint8_t *bytes, size_t len)
{
	(void)bytes, (void)len;	/* a URL has no checksum */
}

static bool is_dots(const char *segment)
{
	size_t len = strcspn(segment, "/");

	return len && len <= 2 && strspn(segment, ".") >= len;
}

static void check_path(const struct bw_url *url)
{
	size_t len = strnlen(url->path, sizeof(url->path));

	bw_fuzz_must(len && len < sizeof(url->path), "a path is there and ends");
	bw_fuzz_must(url->path[len - 1] != '/', "trailing slashes are dropped");
	bw_fuzz_must((url->path[0] == '/') == (url->scheme == BW_URL_FILE), "file: absolute");
	for (const char *p = url->path; *p; p++) {
		bw_fuzz_must((unsigned char)*p >= 0x20 && *p != 0x7f, "no control characters");
		bw_fuzz_must((p != url->path && p[-1] != '/') || !is_dots(p), "no . or ..");
	}
}

static void check_why(const char *why, size_t size)
{
	size_t len = strnlen(why, size);

	bw_fuzz_must(len && len < size, "what is wrong is said");
	for (size_t i = 0; i < len; i++)
		bw_fuzz_must((unsigned char)why[i] >= 0x20 && why[i] != 0x7f, "in one line");
}

bool bw_fuzz_one(const uint8_t *bytes, size_t len)
{
	char *text = malloc(len + 1), why[200] = "";
	struct bw_url url;

	bw_fuzz_must(text, "memory");
	if (len)
		memcpy(text, bytes, len);
	text[len] = 0;
	bool taken = bw_url_parse(text, &url, why, sizeof(why)) == 0;

	free(text);
	if (taken)
		check_path(&url);
	else
		check_why(why, sizeof(why));
	return taken;
}
