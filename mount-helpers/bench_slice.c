/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/bench_slice.h"

#include "store/base/rand.h"

#include <stdbool.h>
#include <string.h>

#define MAGIC UINT64_C(0x6265686374614277) /* any value that data does not begin with by chance */
#define EVERY ((size_t)64 << 10)

/* At the beginning of a slice. */
struct head {
	uint64_t magic, run, seq;
	uint32_t producer, rank;
	uint64_t len;
	uint64_t check; /* word() at 0 */
};

_Static_assert(sizeof(struct head) + sizeof(uint64_t) <= BW_SLICE_MIN, "the head and the last word fit");

static uint64_t word(const struct head *h, uint64_t off)
{
	struct bw_rng rng;

	bw_rng_init(&rng, h->run ^ h->seq * UINT64_C(0x9e3779b97f4a7c15) ^ off);
	rng.s ^= (uint64_t)h->producer << 32 | h->rank;
	rng.s += h->len;
	return bw_rng_next(&rng);
}

void bw_slice_fill(void *bytes, size_t len, uint64_t seed)
{
	uint8_t *p = bytes;
	struct bw_rng rng;

	bw_rng_init(&rng, seed);
	for (size_t off = 0; off < len; off += sizeof(uint64_t)) {
		uint64_t v = bw_rng_next(&rng);

		memcpy(p + off, &v, len - off < sizeof(v) ? len - off : sizeof(v));
	}
}

static void put(uint8_t *bytes, const struct head *h, size_t off)
{
	uint64_t v = word(h, off);

	memcpy(bytes + off, &v, sizeof(v));
}

static bool is(const uint8_t *bytes, const struct head *h, size_t off)
{
	uint64_t v = word(h, off);

	return memcmp(bytes + off, &v, sizeof(v)) == 0;
}

void bw_slice_stamp(void *bytes, size_t len, const struct bw_stamp *s)
{
	struct head h = {.magic = MAGIC,
			 .run = s->run,
			 .seq = s->seq,
			 .producer = s->producer,
			 .rank = s->rank,
			 .len = len};

	h.check = word(&h, 0);
	memcpy(bytes, &h, sizeof(h));
	for (size_t off = EVERY; off + 2 * sizeof(uint64_t) <= len; off += EVERY)
		put(bytes, &h, off);
	put(bytes, &h, len - sizeof(uint64_t));
}

int bw_slice_check(const void *bytes, size_t len, struct bw_stamp *ret)
{
	struct head h;

	if (len < BW_SLICE_MIN)
		return -ENOENT;
	memcpy(&h, bytes, sizeof(h));
	if (h.magic != MAGIC)
		return -ENOENT;
	if (h.len != len || h.check != word(&h, 0) || !is(bytes, &h, len - sizeof(uint64_t)))
		return -EILSEQ;
	for (size_t off = EVERY; off + 2 * sizeof(uint64_t) <= len; off += EVERY)
		if (!is(bytes, &h, off))
			return -EILSEQ;
	*ret = (struct bw_stamp){.run = h.run, .seq = h.seq, .producer = h.producer, .rank = h.rank};
	return 0;
}
