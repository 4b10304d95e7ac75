/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/tgb.h"

#include "manifest/root.h"
#include "manifest/tgb_layout.h"
#include "store/base/hash.h"
#include "store/base/parse.h"

#include <stdlib.h>
#include <string.h>

struct bw_tgb *bw_tgb_ref(struct bw_tgb *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void bw_tgb_unref(struct bw_tgb *t)
{
	if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(t->slices);
	free(t->blocks);
	free(t);
}

size_t bw_tgb_bytes(const struct bw_tgb *t)
{
	return sizeof(*t) + t->known * sizeof(*t->slices) + t->blocks_known * sizeof(*t->blocks);
}

/* ---- Decoding ------------------------------------------------------------------------------------ */

int bw_tgb_trailer(const void *trailer, uint64_t object_size, uint32_t *ret_footer_len)
{
	struct bw_cur c;

	bw_cur_init(&c, trailer, BW_TGB_TRAILER);
	bw_cur_u64(&c);
	uint32_t footer_len = bw_cur_u32(&c);
	const uint8_t *magic = bw_cur_bytes(&c, 4);

	if (memcmp(magic, TGB_END_MAGIC, 4) != 0 || footer_len > BW_FOOTER_MAX ||
	    footer_len < TGB_FOOTER_MIN || footer_len >= object_size)
		return -BW_E_CORRUPT;
	*ret_footer_len = footer_len;
	return 0;
}

/* The fixed part.  Nothing is allocated by its sizes before they are compared with a length. */
static int get_header(struct bw_cur *c, struct bw_tgb *t, uint32_t *ret_page_ranks)
{
	const uint8_t *magic = bw_cur_bytes(c, 4);

	if (memcmp(magic, TGB_MAGIC, 4) != 0)
		return -BW_E_CORRUPT;
	uint8_t format = bw_cur_u8(c);
	if (format > BW_FORMAT)
		return -BW_E_FORMAT_NEWER;
	uint8_t codec = bw_cur_u8(c);
	if (format != BW_FORMAT || codec > BW_COMPRESS_ZSTD)
		return -BW_E_CORRUPT;
	t->compress = (enum bw_compress)codec;
	*ret_page_ranks = bw_cur_u16(c);
	memcpy(t->stream_id, bw_cur_bytes(c, 16), 16);
	t->epoch = bw_cur_u64(c);
	t->seq = bw_cur_u64(c);
	t->ranks = bw_cur_u32(c);
	t->block_size = bw_cur_u32(c);
	t->blocks_n = bw_cur_u32(c);
	uint8_t name_len = bw_cur_u8(c);
	const uint8_t *name = bw_cur_bytes(c, TGB_NAME_ROOM);
	if (name_len > BW_NAME_MAX)
		return -BW_E_CORRUPT;
	memcpy(t->producer, name, name_len);
	for (size_t i = name_len; i < TGB_NAME_ROOM; i++) {
		if (name[i])
			return -BW_E_CORRUPT;
	}
	if (strlen(t->producer) != name_len || !bw_name_valid(t->producer) || !t->epoch ||
	    t->epoch >= BW_COUNTER_MAX || t->seq >= BW_COUNTER_MAX || !t->ranks ||
	    t->ranks > BW_RANKS_MAX || !t->block_size || t->block_size > BW_BLOCK_SIZE_MAX)
		return -BW_E_CORRUPT;
	return !*ret_page_ranks || *ret_page_ranks == tgb_page_ranks(t->ranks) ? 0 : -BW_E_CORRUPT;
}

/* Hands the blocks that are known to the slices in turn, the first of which lies at offset; the sums must come out even. */
static bool spread_blocks(struct bw_tgb *t, uint64_t offset)
{
	uint32_t block = 0;

	for (uint32_t i = 0; i < t->known; i++) {
		struct bw_slice *s = &t->slices[i];
		uint64_t left = s->raw;

		s->offset = offset;
		s->block0 = t->block0 + block;
		for (; left; block++) {
			if (block == t->blocks_known)
				return false;
			struct bw_block *b = &t->blocks[block];
			uint32_t raw = left < t->block_size ? (uint32_t)left : t->block_size;

			if (!b->stored || b->stored > raw ||
			    (b->stored < raw && t->compress == BW_COMPRESS_NONE))
				return false;
			b->offset = offset;
			offset += b->stored;	/* 2^32 blocks of 2^24 bytes: cannot overflow */
			left -= raw;
		}
		s->blocks_n = t->block0 + block - s->block0;
		if (!s->blocks_n || s->stored != offset - s->offset)
			return false;
	}
	bool is_end = t->first + t->known == t->ranks;

	return block == t->blocks_known && (is_end ? offset == t->data_len : offset < t->data_len);
}

static int make_tables(struct bw_tgb *t)
{
	t->slices = calloc(t->known, sizeof(*t->slices));
	t->blocks = calloc(t->blocks_known ? t->blocks_known : 1, sizeof(*t->blocks));
	return t->slices && t->blocks ? 0 : -ENOMEM;
}

static void get_slices(struct bw_cur *c, struct bw_slice *slices, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		slices[i].stored = bw_cur_u64(c);
		slices[i].raw = bw_cur_u64(c);
		slices[i].xxh3 = bw_cur_u64(c);
	}
}

static void get_blocks(struct bw_cur *c, struct bw_block *blocks, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		blocks[i].stored = bw_cur_u32(c);
		blocks[i].xxh3 = bw_cur_u64(c);
	}
}

static int get_tables(struct bw_cur *c, struct bw_tgb *t)
{
	get_slices(c, t->slices, t->known);
	get_blocks(c, t->blocks, t->blocks_known);
	return !c->bad && spread_blocks(t, 0) ? 0 : -BW_E_CORRUPT;
}

/* ---- Pages --------------------------------------------------------------------------------------- */

/* A page as it begins behind its copy of the head. */
struct place {
	uint64_t offset;		/* of its first slice */
	uint32_t block0, blocks_n;
};

static struct place get_place(struct bw_cur *c)
{
	struct place p = {.offset = bw_cur_u64(c)};

	p.block0 = bw_cur_u32(c);
	p.blocks_n = bw_cur_u32(c);
	return p;
}

static uint64_t sum_of_page(const uint8_t *head, uint32_t number)
{
	struct bw_cur c;

	bw_cur_init(&c, head + TGB_HEADER + (size_t)number * TGB_SUM, TGB_SUM);
	return bw_cur_u64(&c);
}

static uint32_t ranks_of_page(const struct bw_tgb *t, uint32_t page_ranks, uint32_t number)
{
	uint32_t left = t->ranks - number * page_ranks;

	return left < page_ranks ? left : page_ranks;
}

/* The next page of a whole footer, into the tables.  Moves c behind it. */
static bool get_page(struct bw_cur *c, const uint8_t *head, uint32_t pages, uint32_t page_ranks, uint32_t number,
		     uint32_t *block, struct place *ret_place, struct bw_tgb *t)
{
	uint32_t ranks = ranks_of_page(t, page_ranks, number), head_len = tgb_head_len(pages);
	const uint8_t *copy = bw_cur_bytes(c, head_len), *body = c->p;
	size_t before = c->left;

	if (!copy || memcmp(copy, head, head_len) != 0)
		return false;
	*ret_place = get_place(c);
	if (c->bad || ret_place->block0 != *block || ret_place->blocks_n > t->blocks_n - *block)
		return false;
	get_slices(c, &t->slices[number * page_ranks], ranks);
	get_blocks(c, &t->blocks[*block], ret_place->blocks_n);
	*block += ret_place->blocks_n;
	return !c->bad && bw_xxh3(body, before - c->left) == sum_of_page(head, number);
}

static int get_pages(const uint8_t *bytes, size_t len, uint32_t page_ranks, struct bw_tgb *t)
{
	uint32_t pages = tgb_pages(t->ranks, page_ranks), block = 0;
	struct place places[TGB_PAGES_MAX];
	struct bw_cur c;

	bw_cur_init(&c, bytes, len);
	for (uint32_t i = 0; i < pages; i++)
		if (!get_page(&c, bytes, pages, page_ranks, i, &block, &places[i], t))
			return -BW_E_CORRUPT;
	if (c.left || !spread_blocks(t, 0))
		return -BW_E_CORRUPT;
	for (uint32_t i = 0; i < pages; i++) {
		const struct bw_slice *s = &t->slices[i * page_ranks];
		if (places[i].offset != s->offset || places[i].block0 != s->block0)
			return -BW_E_CORRUPT;
	}
	return 0;
}

uint64_t bw_tgb_sum(const void *footer, size_t len)
{
	uint32_t page_ranks, ranks;
	struct bw_cur c;

	bw_cur_init(&c, footer, len);
	bw_cur_bytes(&c, 6);
	page_ranks = bw_cur_u16(&c);
	bw_cur_bytes(&c, 32);
	ranks = bw_cur_u32(&c);
	if (c.bad || !page_ranks || ranks > BW_RANKS_MAX || page_ranks != tgb_page_ranks(ranks))
		return bw_xxh3(footer, len);
	uint32_t head_len = tgb_head_len(tgb_pages(ranks, page_ranks));

	return bw_xxh3(footer, head_len < len ? head_len : len);
}

/* Blocks of each slice, if all slices of a footer with pages and of this length have as many; 0: they cannot. */
static uint64_t blocks_each(uint32_t ranks, const struct bw_entry *e)
{
	uint64_t least = tgb_footer_len(ranks, tgb_page_ranks(ranks), 0);

	if (e->footer_len <= least || e->footer_len > e->size)
		return 0;
	return (e->footer_len - least) % ((uint64_t)ranks * TGB_BLOCK) ? 0 : (e->footer_len - least) / TGB_BLOCK / ranks;
}

bool bw_tgb_page(const struct bw_stream *s, const struct bw_entry *e, uint32_t rank, struct bw_tgb_page *ret)
{
	uint32_t ranks = s->options.ranks, page_ranks = tgb_page_ranks(ranks), pages = tgb_pages(ranks, page_ranks);
	uint64_t blocks = blocks_each(ranks, e);

	if (!pages || rank >= ranks || !blocks)
		return false;
	uint32_t number = rank / page_ranks, first = number * page_ranks;

	*ret = (struct bw_tgb_page){.number = number};
	ret->offset = e->size - e->footer_len + number * tgb_page_len(pages, page_ranks, page_ranks * blocks);
	if (page_ranks > ranks - first)
		page_ranks = ranks - first;
	ret->length = (uint32_t)tgb_page_len(pages, page_ranks, page_ranks * blocks);
	return true;
}

/*
 * The page behind the head.  Another page of the footer is told by its first block.  Pages that are taken alone so never claim each
 * other's blocks, which are known by their numbers.
 */
static int get_lone_page(const uint8_t *body, size_t len, uint64_t sum, uint64_t block0, struct bw_tgb *t)
{
	struct bw_cur cur, *c = &cur;

	bw_cur_init(c, body, len);
	struct place place = get_place(c);
	if (c->bad || c->left != t->known * TGB_SLICE + (uint64_t)place.blocks_n * TGB_BLOCK ||
	    place.block0 != block0)
		return -ENOENT;
	if (bw_xxh3(body, len) != sum || block0 > t->blocks_n || place.blocks_n > t->blocks_n - block0 ||
	    place.offset > t->data_len)
		return -BW_E_CORRUPT;
	t->block0 = place.block0;
	t->blocks_known = place.blocks_n;
	int rc = make_tables(t);
	if (rc)
		return rc;
	get_slices(c, t->slices, t->known);
	get_blocks(c, t->blocks, t->blocks_known);
	return spread_blocks(t, place.offset) ? 0 : -BW_E_CORRUPT;
}

static int decode_page(const uint8_t *bytes, size_t len, const struct bw_entry *e, uint32_t number, struct bw_tgb *t)
{
	uint32_t page_ranks;
	struct bw_cur c;

	bw_cur_init(&c, bytes, len);
	int rc = get_header(&c, t, &page_ranks);
	uint32_t pages = rc ? 0 : tgb_pages(t->ranks, page_ranks), head_len = tgb_head_len(pages);

	if (rc)
		return rc;
	if (number >= pages || head_len > len)
		return -BW_E_CORRUPT;
	t->data_len = e->size - e->footer_len;
	t->first = number * page_ranks;
	t->known = ranks_of_page(t, page_ranks, number);
	return get_lone_page(bytes + head_len, len - head_len, sum_of_page(bytes, number),
			     number * page_ranks * blocks_each(t->ranks, e), t);
}

/* ---- Whole, or a page ---------------------------------------------------------------------------- */

static struct bw_tgb *tgb_new(void)
{
	struct bw_tgb *t = calloc(1, sizeof(*t));

	if (t)
		atomic_init(&t->refs, 1);
	return t;
}

static int decode(const uint8_t *bytes, size_t len, struct bw_tgb *t)
{
	uint32_t page_ranks;
	struct bw_cur c;

	bw_cur_init(&c, bytes, len - BW_TGB_TRAILER);
	int rc = get_header(&c, t, &page_ranks);
	if (rc)
		return rc;
	if (tgb_footer_len(t->ranks, page_ranks, t->blocks_n) != len)
		return -BW_E_CORRUPT;
	t->known = t->ranks;
	t->blocks_known = t->blocks_n;
	rc = make_tables(t);
	if (rc)
		return rc;
	return page_ranks ? get_pages(bytes, len - BW_TGB_TRAILER, page_ranks, t) : get_tables(&c, t);
}

static int settle(int rc, struct bw_tgb *t, struct bw_tgb **ret)
{
	if (rc)
		bw_tgb_unref(t);
	else
		*ret = t;
	return rc;
}

int bw_tgb_decode(const void *footer, size_t len, uint64_t object_size, struct bw_tgb **ret)
{
	const uint8_t *bytes = footer;
	uint32_t footer_len;
	struct bw_cur c;

	if (len < TGB_FOOTER_MIN || len > BW_FOOTER_MAX)
		return -BW_E_CORRUPT;
	const uint8_t *trailer = bytes + len - BW_TGB_TRAILER;
	int rc = bw_tgb_trailer(trailer, object_size, &footer_len);
	if (rc)
		return rc;
	bw_cur_init(&c, trailer, 8);
	if (footer_len != len || bw_cur_u64(&c) != bw_xxh3(bytes, len - BW_TGB_TRAILER))
		return -BW_E_CORRUPT;
	struct bw_tgb *t = tgb_new();
	if (!t)
		return -ENOMEM;
	t->data_len = object_size - len;
	return settle(decode(bytes, len, t), t, ret);
}

int bw_tgb_page_decode(const void *page, size_t len, const struct bw_entry *e, uint32_t number, struct bw_tgb **ret)
{
	const uint8_t *bytes = page;

	if (len < TGB_HEADER || memcmp(bytes, TGB_MAGIC, 4) != 0 || (!bytes[6] && !bytes[7]))
		return -ENOENT;		/* or a whole footer that has no pages begins here */
	if (e->footer_len > e->size || bw_tgb_sum(bytes, len) != e->footer_xxh3)
		return -BW_E_CORRUPT;
	struct bw_tgb *t = tgb_new();

	return t ? settle(decode_page(bytes, len, e, number, t), t, ret) : -ENOMEM;
}

int bw_tgb_check(const struct bw_tgb *t, const struct bw_stream *s, const struct bw_entry *e)
{
	bool is_whole = t->known == t->ranks;
	uint64_t raw = 0;

	for (uint32_t i = 0; i < t->known; i++)
		raw += t->slices[i].raw;	/* blocks_n times block_size at most: cannot overflow */
	if (memcmp(t->stream_id, s->id, sizeof(s->id)) != 0 || t->ranks != s->options.ranks ||
	    strcmp(t->producer, e->producer) != 0 || t->epoch != e->epoch || t->seq != e->seq ||
	    t->data_len + e->footer_len != e->size || (is_whole ? raw != e->raw : raw >= e->raw))
		return -BW_E_CORRUPT;
	return 0;
}

int bw_tgb_verify(const void *footer, size_t len, const struct bw_stream *s, const struct bw_entry *e, struct bw_tgb **ret)
{
	struct bw_tgb *t;

	if (bw_tgb_sum(footer, len) != e->footer_xxh3)
		return -BW_E_CORRUPT;
	int rc = bw_tgb_decode(footer, len, e->size, &t);

	return rc ? rc : settle(bw_tgb_check(t, s, e), t, ret);
}

bool bw_tgb_may_be_even(const struct bw_stream *s, const struct bw_entry *e, uint64_t *ret_slice)
{
	uint32_t ranks = s->options.ranks;
	uint64_t length = e->raw / ranks, blocks = (length + s->block_size - 1) / s->block_size * ranks;

	if (!length || e->raw % ranks || e->size - e->footer_len != e->raw || blocks > UINT32_MAX ||
	    (tgb_footer_len(ranks, 0, blocks) != e->footer_len &&
	     tgb_footer_len(ranks, tgb_page_ranks(ranks), blocks) != e->footer_len))
		return false;
	*ret_slice = length;
	return true;
}
