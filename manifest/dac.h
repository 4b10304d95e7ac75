/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When to commit: a value without clock, I/O or thread.  Times are nanoseconds the caller read.
 *
 * The rule of this release: commit at once; after b conflicts in a row wait U(0, W * 2^min(b,3) / 2),
 * W being a moving average of the time an attempt takes; an ambiguous answer is repeated with full
 * jitter from 50 ms doubling to 5 s.
 */
#ifndef BW_MANIFEST_DAC_H
#define BW_MANIFEST_DAC_H

#include "store/base/rand.h"

#include <stdbool.h>

struct bw_dac {
	int64_t attempt_ns;	/* W: average over about 8 attempts */
	struct bw_rng rng;
};

void bw_dac_init(struct bw_dac *d, uint64_t seed);
/* After each attempt, won or lost. */
void bw_dac_attempted(struct bw_dac *d, int64_t took_ns);
/* How long to wait before the next attempt after `conflicts` lost slots in a row. */
int64_t bw_dac_after_conflict(struct bw_dac *d, unsigned conflicts);
/* How long to wait before repeating an ambiguous or throttled request the tries-th time. */
int64_t bw_dac_after_doubt(struct bw_dac *d, unsigned tries);

#endif
