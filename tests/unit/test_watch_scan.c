/* SPDX-License-Identifier: Apache-2.0 */
/* Files that checkpoints are made of: whole ones, and each of their beginnings. */
#include "mount-helpers/watch_scan.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct memory {
	const char *bytes;
	size_t len;
	size_t piece;		/* what one read gives at most */
};

static ssize_t read_memory(void *ctx, uint64_t off, void *bytes, size_t len)
{
	const struct memory *m = ctx;

	if (off >= m->len)
		return 0;
	len = len < m->len - off ? len : m->len - off;
	len = len < m->piece ? len : m->piece;
	memcpy(bytes, m->bytes + off, len);
	return (ssize_t)len;
}

static void scan(enum bw_watch_scan kind, const void *bytes, size_t len, struct bw_watch_facts *f)
{
	struct memory m = {bytes, len, 7};

	cr_assert_eq(bw_watch_scan(kind, len, read_memory, &m, f), 0);
}

static const char *name_at(const struct bw_watch_facts *f, unsigned i)
{
	const char *p = f->names;

	while (i--)
		p += strlen(p) + 1;
	return p;
}

Test(watch_scan, trackers)
{
	static const char nul[] = {'5', 0, '0'};
	struct bw_watch_facts f;
	char longer[300];

	scan(BW_SCAN_TEXT, " global_step500\n", 16, &f);
	cr_assert_str_eq(f.text, "global_step500");
	cr_assert_eq(f.end, BW_END_WHOLE);
	scan(BW_SCAN_TEXT, "", 0, &f);
	cr_assert(!*f.text && f.end == BW_END_TORN);
	scan(BW_SCAN_TEXT, "\n \t", 3, &f);
	cr_assert(!*f.text && f.end == BW_END_TORN);
	scan(BW_SCAN_TEXT, nul, sizeof(nul), &f);
	cr_assert(!*f.text && f.end == BW_END_TORN);
	memset(longer, '1', sizeof(longer));
	scan(BW_SCAN_TEXT, longer, 255, &f);
	cr_assert_eq(strlen(f.text), 255);
	scan(BW_SCAN_TEXT, longer, 256, &f);
	cr_assert(!*f.text && f.end == BW_END_TORN);
}

Test(watch_scan, json_is_whole_or_not)
{
	static const char text[] = "{\"a\":{\"global_step\":7,\"b\":[1,{\"c\":\"}\\\"]\"}]},"
				   "\"global_step\": 512 ,\"log\":[{\"step\":3}],\"commit_timestamp_nsecs\":"
				   "1700000000000000001}\n";
	struct bw_watch_facts f;

	scan(BW_SCAN_JSON, text, sizeof(text) - 1, &f);
	cr_assert(f.end == BW_END_WHOLE && f.has_step && f.step == 512 && f.committed);
	for (size_t n = 0; n + 2 < sizeof(text); n++) {
		scan(BW_SCAN_JSON, text, n, &f);
		cr_assert_eq(f.end, BW_END_TORN, "%zu bytes", n);
	}
	scan(BW_SCAN_JSON, "{}{}", 4, &f);
	cr_assert_eq(f.end, BW_END_TORN);
	scan(BW_SCAN_JSON, "{]", 2, &f);
	cr_assert_eq(f.end, BW_END_TORN);
	scan(BW_SCAN_JSON, "{} x", 4, &f);
	cr_assert_eq(f.end, BW_END_TORN);
	scan(BW_SCAN_JSON, "{\"commit_timestamp_nsecs\":null,\"global_step\":-3}", 48, &f);
	cr_assert(f.end == BW_END_WHOLE && !f.committed && !f.has_step);
}

Test(watch_scan, json_names_each_file_once)
{
	static const char text[] = "{\"x.bin\":1,\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":"
				   "\"m-2.safetensors\",\"c\":\"m-1.safetensors\",\"d\":\"p.bin\",\"e\":\".bin\"}}";
	struct bw_watch_facts f;

	scan(BW_SCAN_JSON, text, sizeof(text) - 1, &f);
	cr_assert_eq(f.names_n, 3);
	cr_assert_str_eq(name_at(&f, 0), "m-1.safetensors");
	cr_assert_str_eq(name_at(&f, 2), "p.bin");
	bw_watch_facts_done(&f);
}

/* A pickle longer than any window, with names everywhere, across its edges too. */
Test(watch_scan, metadata_names_its_files)
{
	size_t len = 400000;
	char *bytes = malloc(len);
	struct bw_watch_facts f;
	char name[32];

	cr_assert(bytes);
	memset(bytes, '_', len);
	for (unsigned i = 0; i < 6000; i++) {
		snprintf(name, sizeof(name), "__%u_%u.distcp", i % 500, i % 3);
		memcpy(bytes + 60 * (size_t)i + 11, name, strlen(name));
	}
	memcpy(bytes + 1, "_7.distcp", 9);
	memcpy(bytes + 399900, "_1__2.distcp", 12);
	bytes[len - 1] = '.';
	scan(BW_SCAN_DCP, bytes, len, &f);
	cr_assert_eq(f.end, BW_END_WHOLE);
	cr_assert_eq(f.names_n, 1500);
	cr_assert_str_eq(name_at(&f, 0), "__0_0.distcp");
	cr_assert_str_eq(name_at(&f, 1499), "__499_2.distcp");
	bw_watch_facts_done(&f);
	bytes[len - 1] = 'x';
	scan(BW_SCAN_DCP, bytes, len, &f);
	cr_assert_eq(f.end, BW_END_TORN);
	bw_watch_facts_done(&f);
	free(bytes);
}

Test(watch_scan, torch)
{
	char bytes[200] = "PK\3\4";
	struct bw_watch_facts f;

	memcpy(bytes + 178, "PK\5\6", 4);
	scan(BW_SCAN_TORCH, bytes, 200, &f);
	cr_assert_eq(f.end, BW_END_WHOLE);
	for (size_t n = 4; n < 200; n++) {
		scan(BW_SCAN_TORCH, bytes, n, &f);
		cr_assert_eq(f.end, BW_END_TORN, "%zu bytes", n);
	}
	bytes[0] = '\x80';
	scan(BW_SCAN_TORCH, bytes, 200, &f);
	cr_assert_eq(f.end, BW_END_UNSAID);
	scan(BW_SCAN_TORCH, bytes, 0, &f);
	cr_assert_eq(f.end, BW_END_UNSAID);
}

Test(watch_scan, safetensors)
{
	static const char header[] = "{\"a\":{\"data_offsets\":[100,200]},\"b\":{\"data_offsets\": [0, 100]},"
				     "\"__metadata__\":{\"x\":\"\\\"data_offsets\\\":\"}}   ";
	char bytes[1000] = "";
	size_t whole = 8 + sizeof(header) - 1 + 200;
	struct bw_watch_facts f;

	bytes[0] = (char)(sizeof(header) - 1);
	memcpy(bytes + 8, header, sizeof(header) - 1);
	scan(BW_SCAN_SAFETENSORS, bytes, whole, &f);
	cr_assert_eq(f.end, BW_END_WHOLE);
	for (size_t n = 0; n < whole; n++) {
		scan(BW_SCAN_SAFETENSORS, bytes, n, &f);
		cr_assert_eq(f.end, BW_END_TORN, "%zu bytes", n);
	}
	memset(bytes, 0xff, 8);
	scan(BW_SCAN_SAFETENSORS, bytes, 1000, &f);
	cr_assert_eq(f.end, BW_END_TORN);
}

static ssize_t read_badly(void *ctx, uint64_t off, void *bytes, size_t len)
{
	(void)ctx, (void)off, (void)bytes, (void)len;
	return -EIO;
}

Test(watch_scan, an_error_is_told_and_a_shorter_file_is_torn)
{
	enum bw_watch_scan all[] = {BW_SCAN_TEXT, BW_SCAN_JSON, BW_SCAN_DCP, BW_SCAN_TORCH,
				    BW_SCAN_SAFETENSORS};
	struct memory m = {"PK\3\4{\"a\"", 8, 100};
	struct bw_watch_facts f;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		cr_assert_eq(bw_watch_scan(all[i], 100, read_badly, NULL, &f), -EIO);
		bw_watch_facts_done(&f);
		cr_assert_eq(bw_watch_scan(all[i], 100, read_memory, &m, &f), 0);
		cr_assert_eq(f.end, BW_END_TORN);
		bw_watch_facts_done(&f);
	}
}
