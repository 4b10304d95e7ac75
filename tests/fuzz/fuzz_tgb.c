/* SPDX-License-Identifier: Apache-2.0 */
/* The input is a whole object: blocks, footer, trailer. */
#include "manifest/root.h"
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

/* Ranks of a page as the header says; 0: none, or what the header says cannot be. */
static uint32_t page_ranks_of(const uint8_t *footer)
{
	uint32_t ranks = get_u32(footer + 40), page_ranks = footer[6] | footer[7] << 8;

	return ranks <= BW_RANKS_MAX && page_ranks == tgb_page_ranks(ranks) ? page_ranks : 0;
}

/* Copies of the head and sums of pages, where their own numbers of blocks allow it. */
static void fix_pages(uint8_t *footer, size_t len, const uint8_t *bytes, size_t data_len)
{
	uint32_t ranks = get_u32(footer + 40), page_ranks = page_ranks_of(footer), pages = tgb_pages(ranks, page_ranks);
	uint32_t head_len = tgb_head_len(pages);
	uint8_t *pages_at[TGB_PAGES_MAX], *at = footer, *end = footer + len;
	size_t data_at = 0;

	for (uint32_t i = 0; i < pages; i++) {
		uint32_t n = ranks - i * page_ranks < page_ranks ? ranks - i * page_ranks : page_ranks;
		if ((size_t)(end - at) < tgb_page_len(pages, n, 0))
			return;
		uint32_t blocks = get_u32(at + head_len + 12);
		uint64_t page_len = tgb_page_len(pages, n, blocks);
		if ((size_t)(end - at) < page_len)
			return;
		for (uint8_t *b = at + page_len - (uint64_t)blocks * TGB_BLOCK; b < at + page_len; b += TGB_BLOCK) {
			uint32_t stored = get_u32(b);
			if (stored > data_len - data_at)
				break;
			put_u64(b + 4, bw_xxh3(bytes + data_at, stored));
			data_at += stored;
		}
		put_u64(footer + TGB_HEADER + i * TGB_SUM, bw_xxh3(at + head_len, page_len - head_len));
		pages_at[i] = at;
		at += page_len;
	}
	for (uint32_t i = 1; i < pages; i++)
		memcpy(pages_at[i], footer, head_len);
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
	bool has_pages = page_ranks_of(footer);

	if (has_pages)
		fix_pages(footer, footer_len - BW_TGB_TRAILER, bytes, data_len);
	for (uint32_t i = 0; i < blocks_n && !has_pages; i++) {
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
		const struct bw_block *b = bw_tgb_block(t, s->block0 + i);
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

static void read_slices(const struct bw_tgb *t, const uint8_t *bytes, size_t footer_len)
{
	bw_fuzz_must(bw_tgb_bytes(t) <= 4 * footer_len + sizeof(*t), "memory is bounded");
	for (uint32_t rank = t->first; rank < t->first + t->known; rank++)
		read_slice(t, bw_tgb_slice(t, rank), bytes);
}

/* Each page alone, for readers who believe the root's sum of the head: what it says holds of these bytes. */
static void read_pages(const uint8_t *bytes, size_t len, uint32_t footer_len)
{
	const uint8_t *footer = bytes + len - footer_len;
	uint32_t ranks = get_u32(footer + 40), page_ranks = page_ranks_of(footer);
	struct bw_stream s = {.options = {.ranks = ranks}};
	struct bw_entry e = {.size = len, .footer_len = footer_len, .footer_xxh3 = bw_tgb_sum(footer, footer_len)};

	for (uint32_t rank = 0; page_ranks && rank < ranks; rank += page_ranks) {
		struct bw_tgb_page at;
		struct bw_tgb *t;
		if (!bw_tgb_page(&s, &e, rank, &at))
			continue;
		bw_fuzz_must(at.offset >= len - footer_len && at.offset + at.length <= len, "a page is inside the footer");
		bw_auto_blob struct bw_blob *page = bw_blob_copy(bytes + at.offset, at.length);	/* no byte beyond it */
		if (bw_tgb_page_decode(page->bytes, page->len, &e, at.number, &t) != 0)
			continue;
		bw_fuzz_must(t->first == rank && t->known <= page_ranks, "a page has its ranks");
		read_slices(t, bytes, footer_len);
		bw_tgb_unref(t);
	}
}

bool bw_fuzz_one(const uint8_t *bytes, size_t len)
{
	uint32_t footer_len;
	struct bw_tgb *t;

	if (len < BW_TGB_TRAILER ||
	    bw_tgb_trailer(bytes + len - BW_TGB_TRAILER, len, &footer_len) != 0)
		return false;
	bw_fuzz_must(footer_len < len, "the footer is inside the object");
	read_pages(bytes, len, footer_len);
	if (bw_tgb_decode(bytes + len - footer_len, footer_len, len, &t) != 0)
		return false;
	bw_fuzz_must(t->data_len + footer_len == len, "data and footer are all there is");
	read_slices(t, bytes, footer_len);
	bw_tgb_unref(t);
	return true;
}
