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
	b->next = NULL;
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
	b->next = NULL;
	return b;
}

struct bw_blob *bw_blob_ref(struct bw_blob *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

void bw_blob_unref(struct bw_blob *b)
{
	while (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1) {
		struct bw_blob *next = b->next;
		if (b->bytes != (uint8_t *)(b + 1))
			free(b->bytes);
		free(b);
		b = next;
	}
}

uint64_t bw_blob_chain_len(const struct bw_blob *b)
{
	uint64_t len = 0;

	for (; b; b = b->next)
		len += b->len;
	return len;
}
