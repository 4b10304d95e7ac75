/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3-64 (xxHash), the only checksum of the format.  It finds faults, not forgers. */
#ifndef BW_BASE_HASH_H
#define BW_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Of all the bytes at once; without a seed it is 0. */
uint64_t bw_xxh3(const void *bytes, size_t len);
uint64_t bw_xxh3_seed(const void *bytes, size_t len, uint64_t seed);

/* The same sum over bytes that arrive in pieces. */
struct bw_xxh3;
struct bw_xxh3 *bw_xxh3_new(void);	/* NULL when memory is short */
void bw_xxh3_add(struct bw_xxh3 *h, const void *bytes, size_t len);
uint64_t bw_xxh3_sum(const struct bw_xxh3 *h);
void bw_xxh3_reset(struct bw_xxh3 *h);	/* as new */
void bw_xxh3_free(struct bw_xxh3 *h);	/* NULL is fine */

#endif
