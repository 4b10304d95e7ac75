/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers: names that must be unique come from the kernel, jitter from a seeded generator. */
#ifndef BW_BASE_RAND_H
#define BW_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

void bw_random(void *bytes, size_t len);	/* getrandom(2); cannot fail on a running system */

struct bw_rng {
	uint64_t s;
};
void bw_rng_init(struct bw_rng *r, uint64_t seed);
uint64_t bw_rng_next(struct bw_rng *r);				/* splitmix64 */
double bw_rng_unit(struct bw_rng *r);				/* [0, 1) */
uint64_t bw_rng_below(struct bw_rng *r, uint64_t n);		/* [0, n), n > 0 */

/* len bytes as 2*len lower-case hex digits and a NUL. */
void bw_hex(const void *bytes, size_t len, char *text);
/* Exactly 2*len lower-case hex digits into bytes; 0 or -EINVAL. */
int bw_unhex(const char *text, size_t text_len, void *bytes, size_t len);

#endif
