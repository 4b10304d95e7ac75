/* SPDX-License-Identifier: Apache-2.0 */
/* The input is a whole object: blocks, footer, trailer. */
#include "manifest/tgb.h"
#include "manifest/tgb_layout.h"
#include "store/base/hash.h"
#include "tests/fuzz/fuzz.h"

#include <endian.h>
#include <string.h>

static uint32_t get_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static void put_u64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

/* Block sums first, because the footer's sum covers them. */
void bw_fuzz_fix(uint8_t *bytes, size_t len)
{
	if (len < TGB_FOOTER_MIN)
		return;
	uint8_t *trailer = bytes + len - BW_TGB_TRAILER;
	uint32_t footer_len = get_u32(trailer + 8);

	if (footer_len < TGB_FOOTER_MIN || footer_len > len)
		return;
	uint8_t *footer = bytes + len - footer_len;
	uint32_t ranks = get_u32(footer + 40), blocks_n = get_u32(footer + 48);
	size_t data_len = len - footer_len, at = 0;

	for (uint32_t i = 0; i < blocks_n; i++) {
		uint64_t place = TGB_HEADER + (uint64_t)ranks * TGB_SLICE + (uint64_t)i * TGB_BLOCK;

		if (place + TGB_BLOCK > footer_len - BW_TGB_TRAILER)
			break;
		uint32_t stored = get_u32(footer + place);
		if (stored > data_len - at)
			break;
		put_u64(footer + place + 4, bw_xxh3(bytes + at, stored));
		at += stored;
	}
	put_u64(trailer, bw_xxh3(footer, footer_len - BW_TGB_TRAILER));
}

static void read_slice(const struct bw_tgb *t, const struct bw_slice *s, const uint8_t *bytes)
{
	uint64_t raw_sum = 0, stored_sum = 0;

	for (uint32_t i = 0; i < s->blocks_n; i++) {
		const struct bw_block *b = &t->blocks[s->block0 + i];
		uint32_t raw_len = bw_tgb_block_raw(t, s, i);

		bw_fuzz_must(b->offset == s->offset + stored_sum, "blocks follow each other");
		bw_fuzz_must(b->offset + b->stored <= t->data_len, "blocks are inside the object");
		bw_auto_blob struct bw_blob *stored = bw_blob_copy(bytes + b->offset, b->stored);
		bw_auto_blob struct bw_blob *raw = NULL;
		if (bw_tgb_block_read(t, s->block0 + i, stored, &raw) == 0) {
			bw_fuzz_must(raw->len == raw_len, "a block has the bytes it claims");
			bw_fuzz_must(bw_xxh3(stored->bytes, stored->len) == b->xxh3, "and the sum");
		}
		raw_sum += raw_len;
		stored_sum += b->stored;
	}
	bw_fuzz_must(raw_sum == s->raw && stored_sum == s->stored, "blocks add up to their slice");
}

bool bw_fuzz_one(const uint8_t *bytes, size_t len)
{
	uint32_t footer_len;
	struct bw_tgb *t;

	if (len < BW_TGB_TRAILER ||
	    bw_tgb_trailer(bytes + len - BW_TGB_TRAILER, len, &footer_len) != 0)
		return false;
	bw_fuzz_must(footer_len < len, "the footer is inside the object");
	if (bw_tgb_decode(bytes + len - footer_len, footer_len, len, &t) != 0)
		return false;
	bw_fuzz_must(t->data_len + footer_len == len, "data and footer are all there is");
	bw_fuzz_must(bw_tgb_bytes(t) <= 4 * (size_t)footer_len + sizeof(*t), "memory is bounded");
	for (uint32_t rank = 0; rank < t->ranks; rank++)
		read_slice(t, &t->slices[rank], bytes);
	bw_tgb_unref(t);
	return true;
}
