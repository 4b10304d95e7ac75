/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/root_entry.h"
#include "manifest/tgb.h"
#include "manifest/tgb_layout.h"
#include "store/base/hash.h"
#include "store/base/parse.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

struct bw_tgb_builder {
	struct bw_stream stream;
	char producer[BW_NAME_MAX + 1];
	uint64_t epoch, seq;
	struct bw_slice *slices;	/* [ranks]; those below rank are complete */
	uint32_t rank;
	struct bw_block *blocks;
	uint32_t blocks_n, blocks_cap;
	uint64_t offset;
	bool short_block;		/* the slice's last block was short: nothing may follow it */
	struct bw_xxh3 *sum;		/* of the slice's raw bytes */
	ZSTD_CCtx *zstd;		/* when the stream compresses */
	void *scratch;			/* [block_size], when the stream compresses */
};

int bw_tgb_builder_new(const struct bw_stream *s, const char *producer, uint64_t epoch, uint64_t seq,
		       struct bw_tgb_builder **ret)
{
	if (!bw_name_valid(producer) || !epoch || epoch >= BW_COUNTER_MAX ||
	    seq >= BW_COUNTER_MAX)
		return -EINVAL;
	struct bw_tgb_builder *b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->stream = *s;
	memcpy(b->producer, producer, strlen(producer) + 1);
	b->epoch = epoch;
	b->seq = seq;
	b->slices = calloc(s->options.ranks, sizeof(*b->slices));
	b->sum = bw_xxh3_new();
	if (!b->slices || !b->sum)
		goto fail;
	if (s->options.compress == BW_COMPRESS_ZSTD) {
		b->zstd = ZSTD_createCCtx();
		b->scratch = malloc(s->block_size);
		if (!b->zstd || !b->scratch)
			goto fail;
	}
	*ret = b;
	return 0;
fail:
	bw_tgb_builder_free(b);
	return -ENOMEM;
}

void bw_tgb_builder_free(struct bw_tgb_builder *b)
{
	if (!b)
		return;
	free(b->slices);
	free(b->blocks);
	bw_xxh3_free(b->sum);
	ZSTD_freeCCtx(b->zstd);
	free(b->scratch);
	free(b);
}

/* Leaves *stored alone when zstd does not make it shorter. */
static int pack(struct bw_tgb_builder *b, const void *raw, size_t len, const void **stored,
		size_t *stored_len)
{
	if (!b->zstd || len < 2)
		return 0;
	size_t n = ZSTD_compressCCtx(b->zstd, b->scratch, len - 1, raw, len,
				     b->stream.options.compress_level);

	if (ZSTD_isError(n))
		return ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall ? 0 : -ENOMEM;
	*stored = b->scratch;
	*stored_len = n;
	return 0;
}

int bw_tgb_builder_block(struct bw_tgb_builder *b, const void *raw, size_t len,
			 const void **ret_stored, size_t *ret_len)
{
	const void *stored = raw;
	size_t stored_len = len;

	if (b->rank >= b->stream.options.ranks || !len || len > b->stream.block_size ||
	    b->short_block)
		return -EINVAL;
	uint32_t ranks = b->stream.options.ranks;

	if (tgb_footer_len(ranks, tgb_page_ranks(ranks), b->blocks_n + 1) > BW_FOOTER_MAX)
		return -EFBIG;
	int rc = pack(b, raw, len, &stored, &stored_len);
	if (rc)
		return rc;
	struct bw_block *blocks =
		bw_array_room(b->blocks, b->blocks_n, &b->blocks_cap, sizeof(*blocks));
	if (!blocks)
		return -ENOMEM;
	b->blocks = blocks;
	blocks[b->blocks_n++] = (struct bw_block){
		.offset = b->offset,
		.stored = (uint32_t)stored_len,
		.xxh3 = bw_xxh3(stored, stored_len),
	};
	bw_xxh3_add(b->sum, raw, len);
	if (!b->slices[b->rank].raw)
		b->slices[b->rank].block0 = b->blocks_n - 1;
	b->offset += stored_len;
	b->slices[b->rank].raw += len;
	b->slices[b->rank].stored += stored_len;
	b->short_block = len < b->stream.block_size;
	*ret_stored = stored;
	*ret_len = stored_len;
	return 0;
}

int bw_tgb_builder_end_slice(struct bw_tgb_builder *b)
{
	if (b->rank >= b->stream.options.ranks || !b->slices[b->rank].raw)
		return -EINVAL;
	b->slices[b->rank++].xxh3 = bw_xxh3_sum(b->sum);
	bw_xxh3_reset(b->sum);
	b->short_block = false;
	return 0;
}

static void put_header(const struct bw_tgb_builder *b, struct bw_buf *out)
{
	static const uint8_t zeros[TGB_NAME_ROOM];
	size_t name_len = strlen(b->producer);

	bw_buf_add(out, TGB_MAGIC, 4);
	bw_buf_u8(out, BW_FORMAT);
	bw_buf_u8(out, (uint8_t)b->stream.options.compress);
	bw_buf_u16(out, (uint16_t)tgb_page_ranks(b->stream.options.ranks));
	bw_buf_add(out, b->stream.id, sizeof(b->stream.id));
	bw_buf_u64(out, b->epoch);
	bw_buf_u64(out, b->seq);
	bw_buf_u32(out, b->stream.options.ranks);
	bw_buf_u32(out, b->stream.block_size);
	bw_buf_u32(out, b->blocks_n);
	bw_buf_u8(out, (uint8_t)name_len);
	bw_buf_add(out, b->producer, name_len);
	bw_buf_add(out, zeros, TGB_NAME_ROOM - name_len);
}

static void put_slices(const struct bw_tgb_builder *b, uint32_t first, uint32_t n, struct bw_buf *out)
{
	for (uint32_t i = first; i < first + n; i++) {
		bw_buf_u64(out, b->slices[i].stored);
		bw_buf_u64(out, b->slices[i].raw);
		bw_buf_u64(out, b->slices[i].xxh3);
	}
}

static void put_blocks(const struct bw_tgb_builder *b, uint32_t first, uint32_t n, struct bw_buf *out)
{
	for (uint32_t i = first; i < first + n; i++) {
		bw_buf_u32(out, b->blocks[i].stored);
		bw_buf_u64(out, b->blocks[i].xxh3);
	}
}

/* A page without its copy of the head. */
static void put_page(const struct bw_tgb_builder *b, uint32_t first, uint32_t ranks, struct bw_buf *out)
{
	bool is_last = first + ranks == b->stream.options.ranks;
	uint32_t block0 = b->slices[first].block0, end = is_last ? b->blocks_n : b->slices[first + ranks].block0;

	bw_buf_u64(out, b->blocks[block0].offset);
	bw_buf_u32(out, block0);
	bw_buf_u32(out, end - block0);
	put_slices(b, first, ranks, out);
	put_blocks(b, block0, end - block0, out);
}

/* The pages are made one behind the other first, for the head has the sum of each. */
static void put_pages(const struct bw_tgb_builder *b, uint32_t page_ranks, struct bw_buf *out)
{
	uint32_t ranks = b->stream.options.ranks, pages = tgb_pages(ranks, page_ranks);
	bw_auto_buf struct bw_buf head = {.max = 0}, bodies = {.max = 0};
	size_t ends[TGB_PAGES_MAX], at = 0;

	bw_buf_init(&head, tgb_head_len(pages));
	bw_buf_init(&bodies, BW_FOOTER_MAX);
	put_header(b, &head);
	for (uint32_t i = 0; i < pages; i++) {
		uint32_t first = i * page_ranks;
		put_page(b, first, page_ranks < ranks - first ? page_ranks : ranks - first, &bodies);
		ends[i] = bodies.len;
	}
	for (uint32_t i = 0; i < pages && !bw_buf_err(&bodies); at = ends[i++])
		bw_buf_u64(&head, bw_xxh3(bodies.bytes + at, ends[i] - at));
	if (bw_buf_err(&bodies) || bw_buf_err(&head)) {
		out->err = -ENOMEM;
		return;
	}
	at = 0;
	for (uint32_t i = 0; i < pages; at = ends[i++]) {
		bw_buf_add(out, head.bytes, head.len);
		bw_buf_add(out, bodies.bytes + at, ends[i] - at);
	}
}

int bw_tgb_builder_finish(struct bw_tgb_builder *b, struct bw_buf *out, struct bw_tgb **ret_tgb)
{
	uint32_t ranks = b->stream.options.ranks, page_ranks = tgb_page_ranks(ranks);
	size_t start = out->len;

	if (b->rank != ranks)
		return -EINVAL;
	if (page_ranks) {
		put_pages(b, page_ranks, out);
	} else {
		put_header(b, out);
		put_slices(b, 0, ranks, out);
		put_blocks(b, 0, b->blocks_n, out);
	}
	int rc = bw_buf_err(out);
	if (rc)
		return rc;
	size_t summed = out->len - start;

	bw_buf_u64(out, bw_xxh3(out->bytes + start, summed));
	bw_buf_u32(out, (uint32_t)(summed + BW_TGB_TRAILER));
	bw_buf_add(out, TGB_END_MAGIC, 4);
	rc = bw_buf_err(out);
	if (rc)
		return rc;
	/* What a reader would say, so that nothing is uploaded that none would accept. */
	return bw_tgb_decode(out->bytes + start, summed + BW_TGB_TRAILER,
			     b->offset + summed + BW_TGB_TRAILER, ret_tgb);
}
