/* SPDX-License-Identifier: Apache-2.0 */
/* Shared config files: items lie within the file and one behind the other, are trimmed, and come to an end. */
#include "store/s3_cred_ini.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

void bw_fuzz_fix(uint8_t *bytes, size_t len)
{
	(void)bytes, (void)len;	/* there is no checksum */
}

static void check_text(const struct bw_ini_text *t, const char *from, const char *to)
{
	bw_fuzz_must(t->p >= from && t->p <= to && t->len <= (size_t)(to - t->p), "within the file");
	bw_fuzz_must(!memchr(t->p, '\n', t->len), "within a line");
	bw_fuzz_must(!t->len || (*t->p != ' ' && t->p[t->len - 1] != '\r'), "without blanks around it");
}

/* Accepted: every line is something. */
bool bw_fuzz_one(const uint8_t *bytes, size_t len)
{
	const char *from = (const char *)bytes, *to = from + len, *last = from;
	struct bw_ini_item item;
	bool good = true;
	struct bw_ini ini;
	size_t lines = 1;
	int got;

	for (size_t i = 0; i < len; i++)
		lines += bytes[i] == '\n';
	bw_ini_init(&ini, bytes, len);
	for (size_t n = 0; (got = bw_ini_next(&ini, &item)) != 0; n++) {
		bw_fuzz_must(n < lines && ini.line <= lines, "no more items than lines");
		good = good && got > 0;
		if (got < 0)
			continue;
		const struct bw_ini_text *first = item.key.p ? &item.key : &ini.section;

		check_text(first, last, to);
		last = first->p + first->len;
		if (item.key.p)
			check_text(&item.value, last, to);
		/* Must not read behind it either. */
		(void)bw_ini_is_profile(&ini.section, true, "work");
		(void)bw_ini_is_profile(&ini.section, false, "work");
	}
	return good;
}
