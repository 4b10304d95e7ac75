/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Refcounted bytes: written by the one who made them, immutable from the moment they are shared.
 */
#ifndef BW_BASE_BLOB_H
#define BW_BASE_BLOB_H

#include "store/base/err.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct bw_blob {
	atomic_uint refs;
	size_t len;
	uint8_t *bytes;		/* points behind this struct, or is owned apart */
	struct bw_blob *next;	/* owned: the bytes that follow, of a chain that is not shared yet; else NULL */
};

/* len uninitialised bytes with one reference; NULL when memory is short. */
struct bw_blob *bw_blob_new(size_t len);
struct bw_blob *bw_blob_copy(const void *bytes, size_t len);
/* Takes malloc'ed bytes, also when it fails. */
struct bw_blob *bw_blob_take(void *bytes, size_t len);
struct bw_blob *bw_blob_ref(struct bw_blob *b);
void bw_blob_unref(struct bw_blob *b);	/* with what hangs on it; NULL is fine */
uint64_t bw_blob_chain_len(const struct bw_blob *b);

static inline void bw_blob_unref_p(struct bw_blob **b)
{
	bw_blob_unref(*b);
}
#define bw_auto_blob __attribute__((cleanup(bw_blob_unref_p)))

#endif
