/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/envelope.h"

#include "manifest/stream.h"
#include "store/base/hash.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#define HEADER 32u
#define HEADER_SUMMED 24u	/* the header's own checksum covers what is before it */
#define PACK_ABOVE 4096u
#define PACK_LEVEL 3
#define TOMBSTONE_RAW_MAX 64u

static const char magic[4] = {'B', 'W', 'O', 'B'};

enum codec { CODEC_RAW, CODEC_ZSTD };

struct header {
	uint8_t format, kind, codec, zero;
	uint32_t raw_len, stored_len;
	uint64_t stored_xxh3;
};

static void put_header(struct bw_buf *out, const struct header *h)
{
	size_t start = out->len;

	bw_buf_add(out, magic, sizeof(magic));
	bw_buf_u8(out, h->format);
	bw_buf_u8(out, h->kind);
	bw_buf_u8(out, h->codec);
	bw_buf_u8(out, h->zero);
	bw_buf_u32(out, h->raw_len);
	bw_buf_u32(out, h->stored_len);
	bw_buf_u64(out, h->stored_xxh3);
	if (!out->err)
		bw_buf_u64(out, bw_xxh3(out->bytes + start, HEADER_SUMMED));
}

/* 1 and *ret (malloc'ed) when zstd makes it shorter, 0 when not, -ENOMEM. */
static int pack(const void *raw, size_t len, void **ret, size_t *ret_len)
{
	if (len <= PACK_ABOVE)
		return 0;
	void *packed = malloc(len - 1);
	if (!packed)
		return -ENOMEM;
	size_t n = ZSTD_compress(packed, len - 1, raw, len, PACK_LEVEL);
	if (!ZSTD_isError(n)) {
		*ret = packed;
		*ret_len = n;
		return 1;
	}
	free(packed);
	return ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall ? 0 : -ENOMEM;
}

int bw_envelope_seal(enum bw_envelope_kind kind, const void *raw, size_t len, struct bw_buf *out)
{
	void *packed = NULL;
	size_t stored = len;

	if (len > UINT32_MAX)
		return -EINVAL;
	int rc = pack(raw, len, &packed, &stored);
	if (rc < 0)
		return rc;
	struct header h = {
		.format = BW_FORMAT,
		.kind = (uint8_t)kind,
		.codec = packed ? CODEC_ZSTD : CODEC_RAW,
		.raw_len = (uint32_t)len,
		.stored_len = (uint32_t)stored,
		.stored_xxh3 = bw_xxh3(packed ? packed : raw, stored),
	};

	put_header(out, &h);
	bw_buf_add(out, packed ? packed : raw, stored);
	free(packed);
	return bw_buf_err(out);
}

static int get_header(const void *bytes, size_t len, struct header *ret)
{
	struct bw_cur c;

	if (len < HEADER || memcmp(bytes, magic, sizeof(magic)) != 0)
		return -BW_E_CORRUPT;
	bw_cur_init(&c, bytes, HEADER);
	bw_cur_bytes(&c, sizeof(magic));
	ret->format = bw_cur_u8(&c);
	ret->kind = bw_cur_u8(&c);
	ret->codec = bw_cur_u8(&c);
	ret->zero = bw_cur_u8(&c);
	ret->raw_len = bw_cur_u32(&c);
	ret->stored_len = bw_cur_u32(&c);
	ret->stored_xxh3 = bw_cur_u64(&c);
	if (bw_cur_u64(&c) != bw_xxh3(bytes, HEADER_SUMMED))
		return -BW_E_CORRUPT;
	if (ret->format > BW_FORMAT)
		return -BW_E_FORMAT_NEWER;
	if (ret->format != BW_FORMAT || ret->zero || ret->stored_len != len - HEADER ||
	    ret->stored_xxh3 != bw_xxh3((const uint8_t *)bytes + HEADER, len - HEADER))
		return -BW_E_CORRUPT;
	return 0;
}

static bool header_fits(const struct header *h, enum bw_envelope_kind expected, size_t room)
{
	if (h->kind == BW_ENVELOPE_TOMBSTONE && expected == BW_ENVELOPE_ROOT)
		return h->codec == CODEC_RAW && h->raw_len == h->stored_len &&
		       h->raw_len <= TOMBSTONE_RAW_MAX;
	if (h->kind != expected || h->raw_len > room)
		return false;
	if (h->codec == CODEC_RAW)
		return h->raw_len == h->stored_len;
	return h->codec == CODEC_ZSTD && h->raw_len > PACK_ABOVE && h->stored_len < h->raw_len;
}

static int unpack(const struct header *h, const uint8_t *stored, void *raw)
{
	if (h->codec == CODEC_RAW) {
		if (h->raw_len)
			memcpy(raw, stored, h->raw_len);
		return 0;
	}
	if (ZSTD_findFrameCompressedSize(stored, h->stored_len) != h->stored_len)
		return -BW_E_CORRUPT;
	size_t n = ZSTD_decompress(raw, h->raw_len, stored, h->stored_len);
	if (ZSTD_isError(n) && ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
		return -ENOMEM;
	return n == h->raw_len ? 0 : -BW_E_CORRUPT;
}

int bw_envelope_open(enum bw_envelope_kind expected, const void *bytes, size_t len,
		     struct bw_buf *raw, enum bw_envelope_kind *ret_kind)
{
	struct header h;
	int rc = get_header(bytes, len, &h);

	if (rc)
		return rc;
	if (!header_fits(&h, expected, raw->max - raw->len))
		return -BW_E_CORRUPT;
	void *room = bw_buf_room(raw, h.raw_len);
	if (!room)
		return bw_buf_err(raw);
	rc = unpack(&h, (const uint8_t *)bytes + HEADER, room);
	if (rc)
		return rc;
	bw_buf_used(raw, h.raw_len);
	if (ret_kind)
		*ret_kind = (enum bw_envelope_kind)h.kind;
	return 0;
}
