/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/root_entry.h"

#include "store/base/hash.h"
#include "store/base/parse.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

uint64_t bw_level_span(unsigned level)
{
	uint64_t span = BW_LEAF_ENTRIES;

	while (level-- > 0)
		span *= BW_FANOUT;
	return span;
}

void *bw_array_room(void *array, uint32_t n, uint32_t *cap, size_t size)
{
	if (n < *cap)
		return array;
	uint32_t grown = *cap ? *cap * 2 : 8;
	void *p = reallocarray(array, grown, size);
	if (p)
		*cap = grown;
	return p;
}

static void put_comma(struct bw_buf *b)
{
	bw_buf_u8(b, ',');
}

void bw_entry_put(struct bw_buf *b, const struct bw_entry *e)
{
	bw_buf_u8(b, '[');
	bw_json_put_dec(b, e->step);
	bw_buf_add(b, ",\"", 2);
	bw_buf_str(b, e->producer);
	bw_buf_add(b, "\",", 2);
	bw_json_put_dec(b, e->epoch);
	put_comma(b);
	bw_json_put_dec(b, e->seq);
	put_comma(b);
	bw_json_put_hex64(b, e->nonce);
	put_comma(b);
	bw_json_put_dec(b, e->size);
	put_comma(b);
	bw_json_put_dec(b, e->raw);
	put_comma(b);
	bw_json_put_dec(b, e->before);
	put_comma(b);
	bw_json_put_int(b, e->footer_len);
	put_comma(b);
	bw_json_put_hex64(b, e->footer_xxh3);
	put_comma(b);
	bw_json_put_dec(b, e->version);
	put_comma(b);
	bw_json_put_int(b, (uint64_t)e->time_ms);
	bw_buf_u8(b, ']');
}

void bw_entry_get(struct bw_json *j, struct bw_entry *ret)
{
	bw_json_expect(j, "[");
	ret->step = bw_json_dec(j, BW_STEPS_MAX - 1);
	bw_json_expect(j, ",");
	bw_json_name(j, ret->producer);
	bw_json_expect(j, ",");
	ret->epoch = bw_json_dec(j, BW_COUNTER_MAX - 1);
	bw_json_expect(j, ",");
	ret->seq = bw_json_dec(j, BW_COUNTER_MAX - 1);
	bw_json_expect(j, ",");
	ret->nonce = bw_json_hex64(j);
	bw_json_expect(j, ",");
	ret->size = bw_json_dec(j, BW_BYTES_MAX);
	bw_json_expect(j, ",");
	ret->raw = bw_json_dec(j, BW_BYTES_MAX);
	bw_json_expect(j, ",");
	ret->before = bw_json_dec(j, BW_BYTES_MAX);
	bw_json_expect(j, ",");
	ret->footer_len = (uint32_t)bw_json_int(j, BW_FOOTER_MAX);
	bw_json_expect(j, ",");
	ret->footer_xxh3 = bw_json_hex64(j);
	bw_json_expect(j, ",");
	ret->version = bw_json_dec(j, BW_VERSION_MAX);
	bw_json_expect(j, ",");
	ret->time_ms = (int64_t)bw_json_int(j, BW_JSON_INT_MAX);
	bw_json_expect(j, "]");
}

bool bw_entry_valid(const struct bw_entry *e)
{
	return e->step < BW_STEPS_MAX && bw_name_valid(e->producer) && e->epoch > 0 &&
	       e->epoch < BW_COUNTER_MAX && e->seq < BW_COUNTER_MAX && e->seq <= e->step &&
	       e->size <= BW_BYTES_MAX && e->raw > 0 && e->raw <= BW_BYTES_MAX &&
	       e->before <= BW_BYTES_MAX - e->size && e->footer_len > 0 &&
	       e->footer_len <= BW_FOOTER_MAX && e->footer_len < e->size && e->version > 1 &&
	       e->version <= BW_VERSION_MAX && e->time_ms >= 0 &&
	       (uint64_t)e->time_ms <= BW_JSON_INT_MAX;
}

bool bw_entry_follows(const struct bw_entry *prev, const struct bw_entry *e)
{
	return e->step == prev->step + 1 && e->before == prev->before + prev->size &&
	       e->version >= prev->version && e->time_ms >= prev->time_ms;
}

void bw_pointers_put(struct bw_buf *b, const struct bw_pointer *pointers, uint32_t n)
{
	bw_buf_u8(b, '[');
	for (uint32_t i = 0; i < n; i++) {
		if (i)
			put_comma(b);
		bw_json_put_hex64(b, pointers[i].hash);
	}
	bw_buf_u8(b, ']');
}

void bw_pointer_get(struct bw_json *j, unsigned level, uint64_t first, uint32_t i,
		    struct bw_pointer *ret)
{
	uint64_t span = bw_level_span(level);

	ret->first = first + i * span;
	ret->last = ret->first + span - 1;
	ret->hash = bw_json_hex64(j);
}

bool bw_pointer_valid(unsigned level, const struct bw_pointer *p)
{
	uint64_t span = bw_level_span(level);

	return level < BW_LEVELS_MAX && p->first < BW_STEPS_MAX && p->first % span == 0 &&
	       p->last == p->first + span - 1;
}

uint64_t bw_digest_next(uint64_t digest, const struct bw_entry *e)
{
	/* Every part is little endian; the name carries its length, so no two entries look alike. */
	uint8_t bytes[8 + 8 + 1 + BW_NAME_MAX + 4 * 8 + 4 + 8], *p = bytes;
	size_t name_len = strlen(e->producer);
	uint64_t u64;
	uint32_t u32;

#define PUT_U64(v) (u64 = htole64(v), p = (uint8_t *)mempcpy(p, &u64, sizeof(u64)))
	PUT_U64(digest);
	PUT_U64(e->step);
	*p++ = (uint8_t)name_len;
	p = mempcpy(p, e->producer, name_len);
	PUT_U64(e->epoch);
	PUT_U64(e->seq);
	PUT_U64(e->nonce);
	PUT_U64(e->size);
	u32 = htole32(e->footer_len);
	p = mempcpy(p, &u32, sizeof(u32));
	PUT_U64(e->footer_xxh3);
#undef PUT_U64
	return bw_xxh3(bytes, (size_t)(p - bytes));
}

uint64_t bw_digest_over(uint64_t digest, const struct bw_entry *entries, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		digest = bw_digest_next(digest, &entries[i]);
	return digest;
}
