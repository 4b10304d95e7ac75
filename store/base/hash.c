/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/hash.h"

#include <xxhash.h>
/* Debian's library chooses between SSE2, AVX2 and AVX512 at run time for those who include this. */
#if defined(__x86_64__) && defined(__has_include)
#if __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
#endif
#endif

uint64_t bw_xxh3(const void *bytes, size_t len)
{
	return XXH3_64bits(bytes, len);
}

uint64_t bw_xxh3_seed(const void *bytes, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(bytes, len, seed);
}

struct bw_xxh3 *bw_xxh3_new(void)
{
	XXH3_state_t *s = XXH3_createState();

	if (s)
		XXH3_64bits_reset(s);
	return (struct bw_xxh3 *)s;
}

void bw_xxh3_add(struct bw_xxh3 *h, const void *bytes, size_t len)
{
	XXH3_64bits_update((XXH3_state_t *)h, bytes, len);
}

uint64_t bw_xxh3_sum(const struct bw_xxh3 *h)
{
	return XXH3_64bits_digest((const XXH3_state_t *)h);
}

void bw_xxh3_reset(struct bw_xxh3 *h)
{
	XXH3_64bits_reset((XXH3_state_t *)h);
}

void bw_xxh3_free(struct bw_xxh3 *h)
{
	XXH3_freeState((XXH3_state_t *)h);
}
