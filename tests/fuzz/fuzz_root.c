/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/root.h"
#include "store/base/rand.h"
#include "tests/fuzz/envelope_fix.h"
#include "tests/fuzz/fuzz.h"

void bw_fuzz_fix(uint8_t *bytes, size_t len)
{
	bw_fix_envelope(bytes, len);
}

/* Asks for the version and the stream that the text itself names, so that other checks are met. */
static uint64_t look_up(const struct bw_buf *raw, struct bw_stream *s)
{
	const char *version = memmem(bw_buf_text(raw), raw->len, "\"version\":\"", 11);
	const char *stream = memmem(bw_buf_text(raw), raw->len, "\"stream\":\"", 10);

	if (stream && strlen(stream) >= 42 && bw_unhex(stream + 10, 32, s->id, 16) != 0)
		memset(s->id, 0, sizeof(s->id));
	return version ? strtoull(version + 11, NULL, 10) : 1;
}

static void same_payload(enum bw_envelope_kind kind, const struct bw_buf *raw, const struct bw_buf *again)
{
	bw_auto_buf struct bw_buf raw2 = {.max = 0};

	bw_buf_init(&raw2, BW_ROOT_RAW_MAX);
	bw_fuzz_must(bw_envelope_open(kind, again->bytes, again->len, &raw2, NULL) == 0, "it opens");
	bw_fuzz_must(raw->len == raw2.len && !memcmp(raw->bytes, raw2.bytes, raw->len),
		     "what decodes encodes to the same bytes");
}

bool bw_fuzz_one(const uint8_t *bytes, size_t len)
{
	bw_auto_buf struct bw_buf raw = {.max = 0}, again = {.max = 0};
	struct bw_stream s = {.format = BW_FORMAT};
	struct bw_root *r = NULL;
	bool tombstone = false;
	enum bw_envelope_kind kind = BW_ENVELOPE_ROOT;
	uint64_t version = 1;

	bw_buf_init(&raw, BW_ROOT_RAW_MAX);
	bw_buf_init(&again, BW_ROOT_RAW_MAX);
	if (bw_envelope_open(BW_ENVELOPE_ROOT, bytes, len, &raw, &kind) == 0)
		version = look_up(&raw, &s);
	if (bw_root_decode(&s, version, bytes, len, &r, &tombstone) != 0)
		return false;
	bw_fuzz_must(tombstone == (kind == BW_ENVELOPE_TOMBSTONE) && tombstone == !r,
		     "a tombstone is one and has no root");
	if (tombstone) {
		bw_fuzz_must(bw_tombstone_encode(version, &again) == 0, "it encodes");
	} else {
		for (uint64_t step = r->head - r->tail_n; step < r->head; step++)
			bw_fuzz_must(bw_root_tail_entry(r, step)->step == step, "the tail is dense");
		for (uint32_t i = 0; i < r->producers_n; i++)
			bw_fuzz_must(bw_root_producer(r, r->producers[i].name) == &r->producers[i],
				     "producers are found");
		bw_fuzz_must(bw_root_encode(r, &again) == 0, "it encodes");
	}
	same_payload(kind == BW_ENVELOPE_TOMBSTONE ? BW_ENVELOPE_ROOT : kind, &raw, &again);
	bw_root_unref(r);
	return true;
}
