/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/dac.h"

#include "store/base/clock.h"

#define ATTEMPT_MIN BW_MS
#define ATTEMPT_MAX (60 * BW_SEC)
#define DOUBT_BASE (50 * BW_MS)
#define DOUBT_MAX (5 * BW_SEC)

void bw_dac_init(struct bw_dac *d, uint64_t seed)
{
	d->attempt_ns = 0;
	bw_rng_init(&d->rng, seed);
}

void bw_dac_attempted(struct bw_dac *d, int64_t took_ns)
{
	if (took_ns < ATTEMPT_MIN)
		took_ns = ATTEMPT_MIN;
	if (took_ns > ATTEMPT_MAX)
		took_ns = ATTEMPT_MAX;
	if (!d->attempt_ns)
		d->attempt_ns = took_ns;
	else
		d->attempt_ns += (took_ns - d->attempt_ns) / 8;
}

static int64_t uniform(struct bw_dac *d, int64_t below)
{
	return (int64_t)(bw_rng_unit(&d->rng) * (double)below);
}

int64_t bw_dac_after_conflict(struct bw_dac *d, unsigned conflicts)
{
	int64_t w = d->attempt_ns ? d->attempt_ns : ATTEMPT_MIN;

	/* Bounded: whoever lost often stays aggressive, or the slowest would never win a slot. */
	return uniform(d, (w << (conflicts < 3 ? conflicts : 3)) / 2);
}

int64_t bw_dac_after_doubt(struct bw_dac *d, unsigned tries)
{
	int64_t most = DOUBT_BASE;

	while (tries-- > 1 && most < DOUBT_MAX)
		most *= 2;
	return uniform(d, most < DOUBT_MAX ? most : DOUBT_MAX);
}
