/* SPDX-License-Identifier: Apache-2.0 */
/* Files of checkpoints: the first byte says as what, the rest is the file. */
#include "mount-helpers/watch_scan.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

struct file {
	const uint8_t *bytes;
	size_t len, piece;
};

void bw_fuzz_fix(uint8_t *bytes, size_t len)
{
	(void)bytes, (void)len;	/* there is no checksum */
}

static ssize_t read_file(void *ctx, uint64_t off, void *bytes, size_t len)
{
	const struct file *f = ctx;

	if (off >= f->len)
		return 0;
	len = len < f->len - off ? len : f->len - off;
	len = len < f->piece ? len : f->piece;
	memcpy(bytes, f->bytes + off, len);
	return (ssize_t)len;
}

static bool is_within(const struct file *f, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i + n <= f->len; i++)
		if (!memcmp(f->bytes + i, name, n))
			return true;
	return false;
}

static void check_names(const struct file *f, const struct bw_watch_facts *facts, bool plain)
{
	const char *name = facts->names;

	for (uint32_t i = 0; i < facts->names_n; i++, name += strlen(name) + 1) {
		bw_fuzz_must(strlen(name) < 256, "a name is short");
		/* Numbers lose their leading zeros, so only names that are copied are looked for. */
		bw_fuzz_must(!plain || is_within(f, name), "a name stands in the file");
	}
}

/* Accepted: it is whole. */
bool bw_fuzz_one(const uint8_t *bytes, size_t len)
{
	if (!len)
		return false;
	enum bw_watch_scan kind = BW_SCAN_TEXT + bytes[0] % (BW_SCAN_SAFETENSORS - BW_SCAN_NONE);
	struct file whole = {bytes + 1, len - 1, len}, pieces = {bytes + 1, len - 1, 5};
	struct bw_watch_facts a, b;

	bw_fuzz_must(bw_watch_scan(kind, whole.len, read_file, &whole, &a) == 0, "any bytes are taken");
	bw_fuzz_must(bw_watch_scan(kind, whole.len, read_file, &pieces, &b) == 0, "and in pieces");
	bw_fuzz_must(a.end == b.end && a.names_n == b.names_n && a.has_step == b.has_step &&
			     a.step == b.step && a.committed == b.committed && !strcmp(a.text, b.text),
		     "pieces make no difference");
	bw_fuzz_must(strlen(a.text) <= BW_WATCH_TEXT_MAX, "a tracker is short");
	check_names(&whole, &a, kind == BW_SCAN_JSON);
	bool good = a.end == BW_END_WHOLE;

	bw_watch_facts_done(&a);
	bw_watch_facts_done(&b);
	return good;
}
