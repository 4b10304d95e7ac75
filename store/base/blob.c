/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/blob.h"

#include <stdlib.h>
#include <string.h>

struct bw_blob *bw_blob_new(size_t len)
{
	struct bw_blob *b = malloc(sizeof(*b) + len);

	if (!b)
		return NULL;
	atomic_init(&b->refs, 1);
	b->len = len;
	b->bytes = (uint8_t *)(b + 1);
	return b;
}

struct bw_blob *bw_blob_copy(const void *bytes, size_t len)
{
	struct bw_blob *b = bw_blob_new(len);

	if (b && len)
		memcpy(b->bytes, bytes, len);
	return b;
}

struct bw_blob *bw_blob_take(void *bytes, size_t len)
{
	struct bw_blob *b = malloc(sizeof(*b));

	if (!b) {
		free(bytes);
		return NULL;
	}
	atomic_init(&b->refs, 1);
	b->len = len;
	b->bytes = bytes;
	return b;
}

struct bw_blob *bw_blob_ref(struct bw_blob *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

void bw_blob_unref(struct bw_blob *b)
{
	if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (b->bytes != (uint8_t *)(b + 1))
		free(b->bytes);
	free(b);
}
