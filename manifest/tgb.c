/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/tgb.h"

#include "manifest/json.h"
#include "manifest/root.h"
#include "manifest/tgb_layout.h"
#include "store/base/hash.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

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
	return sizeof(*t) + t->ranks * sizeof(*t->slices) + t->blocks_n * sizeof(*t->blocks);
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

/* The fixed part.  Sizes are compared with len before anything is allocated by them. */
static int get_header(struct bw_cur *c, size_t len, struct bw_tgb *t)
{
	const uint8_t *magic = bw_cur_bytes(c, 4);

	if (memcmp(magic, TGB_MAGIC, 4) != 0)
		return -BW_E_CORRUPT;
	uint8_t format = bw_cur_u8(c);
	if (format > BW_FORMAT)
		return -BW_E_FORMAT_NEWER;
	uint8_t codec = bw_cur_u8(c);
	if (format != BW_FORMAT || codec > BW_COMPRESS_ZSTD || bw_cur_u16(c) != 0)
		return -BW_E_CORRUPT;
	t->compress = (enum bw_compress)codec;
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
	if (strlen(t->producer) != name_len || !bw_json_name_valid(t->producer) || !t->epoch ||
	    t->epoch >= BW_COUNTER_MAX || t->seq >= BW_COUNTER_MAX || !t->ranks ||
	    t->ranks > BW_RANKS_MAX || !t->block_size || t->block_size > BW_BLOCK_SIZE_MAX)
		return -BW_E_CORRUPT;
	return tgb_footer_len(t->ranks, t->blocks_n) == len ? 0 : -BW_E_CORRUPT;
}

/* Hands the blocks to the slices in turn; the sums must come out even at every step. */
static bool spread_blocks(struct bw_tgb *t)
{
	uint64_t offset = 0;
	uint32_t block = 0;

	for (uint32_t rank = 0; rank < t->ranks; rank++) {
		struct bw_slice *s = &t->slices[rank];
		uint64_t left = s->raw;

		s->offset = offset;
		s->block0 = block;
		for (; left; block++) {
			if (block == t->blocks_n)
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
		s->blocks_n = block - s->block0;
		if (!s->blocks_n || s->stored != offset - s->offset)
			return false;
	}
	return block == t->blocks_n && offset == t->data_len;
}

static int get_tables(struct bw_cur *c, struct bw_tgb *t)
{
	t->slices = calloc(t->ranks, sizeof(*t->slices));
	t->blocks = calloc(t->blocks_n ? t->blocks_n : 1, sizeof(*t->blocks));
	if (!t->slices || !t->blocks)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->ranks; i++) {
		t->slices[i].stored = bw_cur_u64(c);
		t->slices[i].raw = bw_cur_u64(c);
		t->slices[i].xxh3 = bw_cur_u64(c);
	}
	for (uint32_t i = 0; i < t->blocks_n; i++) {
		t->blocks[i].stored = bw_cur_u32(c);
		t->blocks[i].xxh3 = bw_cur_u64(c);
	}
	return !c->bad && spread_blocks(t) ? 0 : -BW_E_CORRUPT;
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
	struct bw_tgb *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	atomic_init(&t->refs, 1);
	t->data_len = object_size - len;
	bw_cur_init(&c, bytes, len - BW_TGB_TRAILER);
	rc = get_header(&c, len, t);
	if (!rc)
		rc = get_tables(&c, t);
	if (rc) {
		bw_tgb_unref(t);
		return rc;
	}
	*ret = t;
	return 0;
}

int bw_tgb_check(const struct bw_tgb *t, const struct bw_stream *s, const struct bw_entry *e)
{
	uint64_t raw = 0;

	for (uint32_t i = 0; i < t->ranks; i++)
		raw += t->slices[i].raw;	/* blocks_n times block_size at most: cannot overflow */
	if (memcmp(t->stream_id, s->id, sizeof(s->id)) != 0 || t->ranks != s->options.ranks ||
	    strcmp(t->producer, e->producer) != 0 || t->epoch != e->epoch || t->seq != e->seq ||
	    t->data_len + e->footer_len != e->size || raw != e->raw)
		return -BW_E_CORRUPT;
	return 0;
}

bool bw_tgb_may_be_even(const struct bw_stream *s, const struct bw_entry *e, uint64_t *ret_slice)
{
	uint32_t ranks = s->options.ranks;
	uint64_t length = e->raw / ranks, blocks = (length + s->block_size - 1) / s->block_size;

	if (!length || e->raw % ranks || e->size - e->footer_len != e->raw || blocks * ranks > UINT32_MAX ||
	    tgb_footer_len(ranks, (uint32_t)blocks * ranks) != e->footer_len)
		return false;
	*ret_slice = length;
	return true;
}

/* ---- Blocks -------------------------------------------------------------------------------------- */

uint32_t bw_tgb_block_raw(const struct bw_tgb *t, const struct bw_slice *s, uint32_t i_in_slice)
{
	uint64_t left = s->raw - (uint64_t)i_in_slice * t->block_size;

	return left < t->block_size ? (uint32_t)left : t->block_size;
}

/* The slice that block i belongs to: the last one that does not begin behind it. */
static const struct bw_slice *slice_of(const struct bw_tgb *t, uint32_t i)
{
	uint32_t low = 0, high = t->ranks;

	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;

		if (t->slices[mid].block0 <= i)
			low = mid;
		else
			high = mid;
	}
	return &t->slices[low];
}

static int unpack(struct bw_blob *stored, uint32_t raw, struct bw_blob **ret)
{
	if (ZSTD_findFrameCompressedSize(stored->bytes, stored->len) != stored->len)
		return -BW_E_CORRUPT;
	struct bw_blob *b = bw_blob_new(raw);
	if (!b)
		return -ENOMEM;
	size_t n = ZSTD_decompress(b->bytes, raw, stored->bytes, stored->len);
	if (n == raw) {
		*ret = b;
		return 0;
	}
	bw_blob_unref(b);
	return ZSTD_isError(n) && ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation
		       ? -ENOMEM
		       : -BW_E_CORRUPT;
}

int bw_tgb_block_read(const struct bw_tgb *t, uint32_t i, struct bw_blob *stored,
		      struct bw_blob **ret)
{
	if (i >= t->blocks_n)
		return -EINVAL;
	const struct bw_block *b = &t->blocks[i];
	const struct bw_slice *s = slice_of(t, i);
	uint32_t raw = bw_tgb_block_raw(t, s, i - s->block0);

	if (stored->len != b->stored || bw_xxh3(stored->bytes, stored->len) != b->xxh3)
		return -BW_E_CORRUPT;
	if (b->stored < raw)
		return unpack(stored, raw, ret);
	*ret = bw_blob_ref(stored);
	return 0;
}
