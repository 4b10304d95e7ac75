/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_seeds DIR: writes the ok- and bad- seeds of every corpus below DIR. */
#include "manifest/root_footers.h"
#include "manifest/tgb.h"
#include "tests/fuzz/envelope_fix.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/sample.h"

#include <sys/stat.h>

static void save(const char *dir, const char *target, const char *name, const void *bytes, size_t len)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir, target);
	mkdir(path, 0777);
	snprintf(path, sizeof(path), "%s/%s/%s", dir, target, name);
	FILE *f = fopen(path, "wb");
	bw_fuzz_must(f && (!len || fwrite(bytes, 1, len, f) == len) && fclose(f) == 0, path);
}

static void save_buf(const char *dir, const char *target, const char *name, const struct bw_buf *b)
{
	bw_fuzz_must(b->err == 0, name);
	save(dir, target, name, b->bytes, b->len);
}

/* The same object with its payload stored raw, so that mutants of the text can be repaired. */
static void save_raw(const char *dir, const char *target, const char *name, char kind,
		     const struct bw_buf *sealed)
{
	bw_auto_buf struct bw_buf raw = {.max = 0}, out = {.max = 0};

	bw_buf_init(&raw, BW_ROOT_RAW_MAX);
	bw_buf_init(&out, BW_ROOT_RAW_MAX + 32);
	bw_sample_open(kind, sealed, &raw);
	memset(bw_buf_room(&out, 32), 0, 32);
	bw_buf_used(&out, 32);
	out.bytes[4] = BW_FORMAT;
	out.bytes[5] = (uint8_t)kind;
	bw_buf_add(&out, raw.bytes, raw.len);
	bw_fix_envelope(out.bytes, out.len);
	save_buf(dir, target, name, &out);
}

static void encode(const struct bw_sample *s, struct bw_buf *out)
{
	bw_buf_init(out, BW_ROOT_RAW_MAX);
	bw_fuzz_must(bw_root_encode(s->root, out) == 0, "encode");
}

/* A step whose footer the root brings along. */
static void told(struct bw_sample *s)
{
	uint8_t *footer = calloc(1, 150);

	bw_fuzz_must(footer, "memory");
	memset(footer + 60, (int)s->root->head, 60);
	struct bw_entry e = {.size = 1000, .raw = 9, .footer_len = 150, .footer_xxh3 = bw_tgb_sum(footer, 150)};

	bw_sample_name(e.producer, "alpha");
	bw_sample_append(s, &e);
	bw_root_footers_add(s->root, &s->root->tail[s->root->tail_n - 1], footer);
}

/* With footers: one of the tail, one of a step that has left it; and keys of a newer release around them. */
static void told_roots(const char *dir)
{
	bw_auto_buf struct bw_buf root = {.max = 0};
	struct bw_sample s;

	bw_sample_init(&s, 2);
	told(&s);
	bw_sample_grow(&s, BW_TAIL_FOLD);
	told(&s);
	s.root->unknown = strdup(",\"a\":1,\"zoo\":[2]");
	encode(&s, &root);
	save_buf(dir, "envelope", "ok-told", &root);
	save_raw(dir, "root", "ok-told", 'R', &root);
	bw_sample_done(&s);
}

static void roots(const char *dir)
{
	const uint64_t markers[] = {1, 2};
	bw_auto_buf struct bw_buf first = {.max = 0}, full = {.max = 0}, tail = {.max = 0}, tomb = {.max = 0}, newer = {.max = 0};
	struct bw_sample s;

	bw_sample_init(&s, 2);
	encode(&s, &first);
	save_buf(dir, "root", "ok-first", &first);
	save_buf(dir, "envelope", "ok-root", &first);
	bw_sample_grow(&s, 4);
	bw_sample_state(&s, "alpha", "{\"at\": 1}", 9);
	bw_sample_state(&s, "beta", NULL, 70000);
	bw_sample_job(&s, "job-a", markers, 2, "/ckpt/\"x\"%");
	bw_sample_job(&s, "job-b", markers, 0, "");
	bw_sample_changes(&s);
	s.root->sealed = true;
	s.root->unknown = strdup(",\"a\":1,\"new\":{\"list\":[true,null,-5,\"\\u00e9\\\\\"]}");
	s.root->features_write = strdup("\"retire\"");
	encode(&s, &full);
	save_raw(dir, "root", "ok-full", 'R', &full);
	bw_sample_done(&s);

	bw_sample_init(&s, 2);
	bw_sample_grow(&s, 260);
	s.root->first = s.root->swept = 100;
	encode(&s, &tail);
	save_buf(dir, "root", "ok-packed", &tail);
	save_buf(dir, "envelope", "ok-packed", &tail);
	save_raw(dir, "root", "ok-folded", 'R', &tail);
	bw_sample_done(&s);

	bw_buf_init(&tomb, 1000);
	bw_fuzz_must(bw_tombstone_encode(12, &tomb) == 0, "tombstone");
	save_buf(dir, "root", "ok-tombstone", &tomb);
	save_buf(dir, "envelope", "ok-tombstone", &tomb);

	bw_buf_init(&newer, 1000);
	bw_buf_add(&newer, first.bytes, first.len);
	newer.bytes[4] = BW_FORMAT + 1;
	bw_fix_envelope(newer.bytes, newer.len);
	save_buf(dir, "root", "bad-newer", &newer);
	save_buf(dir, "envelope", "bad-newer", &newer);
}

static void folded(void *ctx, unsigned level, const struct bw_pointer *p, const struct bw_buf *bytes)
{
	const char *dir = ctx;

	if (level == 0 && p->first != 128)
		return;
	save_buf(dir, "node", level ? "ok-inner-packed" : "ok-leaf-packed", bytes);
	save_raw(dir, "node", level ? "ok-inner" : "ok-leaf", 'N', bytes);
	if (level)
		save_buf(dir, "envelope", "ok-node", bytes);
}

static void nodes(const char *dir)
{
	struct bw_sample s;

	bw_sample_init(&s, 2);
	s.folded = folded;
	s.ctx = (void *)(uintptr_t)dir;
	bw_sample_grow(&s, 128 * 66);
	bw_sample_done(&s);
}

static void streams(const char *dir)
{
	bw_auto_buf struct bw_buf one = {.max = 0}, two = {.max = 0};
	struct bw_sample s;
	static const char newer[] = "{\"format\": 2, \"id\": [1.5e3]}";

	bw_sample_init(&s, 4);
	bw_buf_init(&one, BW_STREAM_JSON_MAX);
	bw_buf_init(&two, BW_STREAM_JSON_MAX);
	bw_fuzz_must(bw_stream_encode(&s.stream, &one) == 0, "stream");
	save_buf(dir, "stream", "ok-plain", &one);
	s.stream.options.compress = BW_COMPRESS_ZSTD;
	s.stream.options.compress_level = 19;
	s.stream.options.max_ahead = BW_COUNTER_MAX - 1;
	bw_fuzz_must(bw_stream_encode(&s.stream, &two) == 0, "stream");
	char *at = strstr((char *)two.bytes, "\"checksum\"");
	bw_auto_buf struct bw_buf more = {.max = 0};
	bw_buf_init(&more, BW_STREAM_JSON_MAX);
	bw_buf_add(&more, two.bytes, (size_t)(at - (char *)two.bytes));
	bw_buf_str(&more, "\"added\": {\"deep\": [1, -2, \"x \\\" y\", null]}, ");
	bw_buf_str(&more, at);
	bw_fuzz_fix(more.bytes, more.len);
	save_buf(dir, "stream", "ok-added", &more);
	save(dir, "stream", "bad-newer", newer, sizeof(newer) - 1);
	bw_sample_done(&s);
}

static void tgb(const char *dir, const char *name, bool compress, uint32_t ranks, size_t longest)
{
	bw_auto_buf struct bw_buf object = {.max = 0}, footer = {.max = 0};
	struct bw_tgb_builder *b;
	struct bw_tgb *t;
	struct bw_sample s;
	uint8_t block[64];

	bw_sample_init(&s, ranks);
	s.stream.block_size = sizeof(block);
	s.stream.options.compress = compress ? BW_COMPRESS_ZSTD : BW_COMPRESS_NONE;
	s.stream.options.compress_level = compress ? 3 : 0;
	bw_buf_init(&object, 1 << 20);
	bw_buf_init(&footer, 1 << 20);
	bw_fuzz_must(bw_tgb_builder_new(&s.stream, "alpha", 1, 5, &b) == 0, "builder");
	for (uint32_t r = 0; r < ranks; r++) {
		for (size_t left = longest / (r + 1) + 1, n; left; left -= n) {
			const void *stored;
			size_t stored_len;

			n = left < sizeof(block) ? left : sizeof(block);
			memset(block, (int)('a' + r), sizeof(block));
			block[n / 2] = (uint8_t)left;
			bw_fuzz_must(bw_tgb_builder_block(b, block, n, &stored, &stored_len) == 0, "block");
			bw_buf_add(&object, stored, stored_len);
		}
		bw_fuzz_must(bw_tgb_builder_end_slice(b) == 0, "slice");
	}
	bw_fuzz_must(bw_tgb_builder_finish(b, &footer, &t) == 0, "finish");
	bw_buf_add(&object, footer.bytes, footer.len);
	save_buf(dir, "tgb", name, &object);
	bw_tgb_unref(t);
	bw_tgb_builder_free(b);
	bw_sample_done(&s);
}

int main(int argc, char **argv)
{
	bw_fuzz_must(argc == 2, "usage: fuzz_seeds DIR");
	roots(argv[1]);
	told_roots(argv[1]);
	nodes(argv[1]);
	streams(argv[1]);
	tgb(argv[1], "ok-one-byte", false, 1, 0);
	tgb(argv[1], "ok-plain", false, 3, 200);
	tgb(argv[1], "ok-zstd", true, 3, 200);
	tgb(argv[1], "ok-zstd-long", true, 1, 2000);
	tgb(argv[1], "ok-pages", false, 130, 5);
	return 0;
}
