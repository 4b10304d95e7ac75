/* SPDX-License-Identifier: Apache-2.0 */
/* Store URLs: what is taken obeys the rules of struct bw_url, what is refused is explained. */
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(const struct bw_url *url)
{
	size_t len = strnlen(url->path, sizeof(url->path));

	if (!len || len == sizeof(url->path) || url->path[len - 1] == '/')
		abort();
	if ((url->path[0] == '/') != (url->scheme == BW_URL_FILE))
		abort();
	for (const char *p = url->path; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			abort();
		if (p == url->path || p[-1] == '/') {
			size_t n = strcspn(p, "/");
			if (n && n <= 2 && strspn(p, ".") >= n)
				abort();
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), why[200] = "";
	struct bw_url url;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	if (bw_url_parse(text, &url, why, sizeof(why)) == 0) {
		check_path(&url);
	} else {
		size_t len = strnlen(why, sizeof(why));
		if (!len || len == sizeof(why))
			abort();
		for (size_t i = 0; i < len; i++)
			if ((unsigned char)why[i] < 0x20 || why[i] == 0x7f)
				abort();
	}
	free(text);
	return 0;
}
