/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/rand.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void bw_random(void *bytes, size_t len)
{
	uint8_t *p = bytes;

	while (len) {
		ssize_t n = getrandom(p, len, 0);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			abort();	/* no entropy source: nothing we name would be unique */
		}
		p += n;
		len -= (size_t)n;
	}
}

void bw_rng_init(struct bw_rng *r, uint64_t seed)
{
	r->s = seed;
}

uint64_t bw_rng_next(struct bw_rng *r)
{
	uint64_t z = (r->s += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

double bw_rng_unit(struct bw_rng *r)
{
	return (double)(bw_rng_next(r) >> 11) / 9007199254740992.0;
}

uint64_t bw_rng_below(struct bw_rng *r, uint64_t n)
{
	return bw_rng_next(r) % n;
}

void bw_hex(const void *bytes, size_t len, char *text)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i++) {
		text[2 * i] = digits[p[i] >> 4];
		text[2 * i + 1] = digits[p[i] & 15];
	}
	text[2 * len] = 0;
}

/* -1 for what is no digit; without branches for what is. */
static int hex_digit(char c)
{
	static const int8_t values[256] = {
		['0'] = 1, ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,
		['6'] = 7, ['7'] = 8,  ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12,
		['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16};

	return values[(unsigned char)c] - 1;
}

int bw_unhex(const char *text, size_t text_len, void *bytes, size_t len)
{
	uint8_t *p = bytes;

	if (text_len != 2 * len)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		int hi = hex_digit(text[2 * i]), lo = hex_digit(text[2 * i + 1]);
		if ((hi | lo) < 0)
			return -EINVAL;
		p[i] = (uint8_t)(hi << 4 | lo);
	}
	return 0;
}
