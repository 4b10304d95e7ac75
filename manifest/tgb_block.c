/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/tgb.h"

#include "store/base/hash.h"

#include <zstd.h>
#include <zstd_errors.h>

uint32_t bw_tgb_block_raw(const struct bw_tgb *t, const struct bw_slice *s, uint32_t i_in_slice)
{
	uint64_t left = s->raw - (uint64_t)i_in_slice * t->block_size;

	return left < t->block_size ? (uint32_t)left : t->block_size;
}

/* The slice that block i belongs to: the last one that does not begin behind it. */
static const struct bw_slice *slice_of(const struct bw_tgb *t, uint32_t i)
{
	uint32_t low = 0, high = t->known;

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
	if (i < t->block0 || i - t->block0 >= t->blocks_known)
		return -EINVAL;
	const struct bw_block *b = bw_tgb_block(t, i);
	const struct bw_slice *s = slice_of(t, i);
	uint32_t raw = bw_tgb_block_raw(t, s, i - s->block0);

	if (stored->len != b->stored || bw_xxh3(stored->bytes, stored->len) != b->xxh3)
		return -BW_E_CORRUPT;
	if (b->stored < raw)
		return unpack(stored, raw, ret);
	*ret = bw_blob_ref(stored);
	return 0;
}
