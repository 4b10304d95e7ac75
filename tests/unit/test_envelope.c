/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/envelope.h"
#include "manifest/stream.h"
#include "store/base/hash.h"
#include "store/base/limits.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define HEADER 32

static void seal(enum bw_envelope_kind kind, const void *raw, size_t len, struct bw_buf *out)
{
	bw_buf_init(out, 1 << 20);
	cr_assert_eq(bw_envelope_seal(kind, raw, len, out), 0);
}

static int open_as(enum bw_envelope_kind expected, const void *bytes, size_t len, size_t max)
{
	bw_auto_buf struct bw_buf raw = {.max = 0};

	bw_buf_init(&raw, max);
	return bw_envelope_open(expected, bytes, len, &raw, NULL);
}

/* After an edit of the header: makes its own checksum right again. */
static void resum(struct bw_buf *b)
{
	uint64_t sum = bw_xxh3(b->bytes, 24);

	memcpy(b->bytes + 24, &sum, 8);
}

static void round_trip(size_t len, bool packable, int codec)
{
	bw_auto_buf struct bw_buf sealed = {.max = 0}, raw = {.max = 0};
	enum bw_envelope_kind kind = BW_ENVELOPE_NODE;
	uint8_t *bytes = malloc(len + 1);
	uint64_t x = 1;

	for (size_t i = 0; i < len; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = packable ? (uint8_t)(i / 100) : (uint8_t)(x >> 56);
	}
	seal(BW_ENVELOPE_ROOT, bytes, len, &sealed);
	bw_buf_init(&raw, len);
	cr_assert_eq(bw_envelope_open(BW_ENVELOPE_ROOT, sealed.bytes, sealed.len, &raw, &kind), 0);
	cr_assert_eq(kind, BW_ENVELOPE_ROOT);
	cr_assert_eq(raw.len, len);
	cr_assert(memcmp(bw_buf_text(&raw), bytes, len) == 0);
	cr_assert_eq(sealed.bytes[6], codec);
	cr_assert_eq(sealed.len == HEADER + len, codec == 0);
	free(bytes);
}

Test(envelope, round_trip_and_choice_of_codec)
{
	round_trip(0, true, 0);
	round_trip(1, true, 0);
	round_trip(4096, true, 0);
	round_trip(4097, true, 1);
	round_trip(100000, true, 1);
	round_trip(100000, false, 0);
}

Test(envelope, every_bit_of_a_raw_and_a_packed_object_is_covered)
{
	for (int packed = 0; packed < 2; packed++) {
		bw_auto_buf struct bw_buf sealed = {.max = 0};
		size_t len = packed ? 6000 : 200;
		char *raw = malloc(len);

		for (size_t i = 0; i < len; i++)
			raw[i] = (char)('a' + i % 7);
		seal(BW_ENVELOPE_NODE, raw, len, &sealed);
		for (size_t bit = 0; bit < sealed.len * 8; bit++) {
			sealed.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			/* Also those bits of a zstd frame that mean nothing to zstd. */
			cr_assert_eq(open_as(BW_ENVELOPE_NODE, sealed.bytes, sealed.len, 1 << 16),
				     -BW_E_CORRUPT, "bit %zu", bit);
			sealed.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		cr_assert_eq(open_as(BW_ENVELOPE_NODE, sealed.bytes, sealed.len, 1 << 16), 0);
		free(raw);
	}
}

Test(envelope, truncation_and_trailing_bytes)
{
	bw_auto_buf struct bw_buf sealed = {.max = 0};

	seal(BW_ENVELOPE_ROOT, "payload", 7, &sealed);
	for (size_t len = 0; len < sealed.len; len++)
		cr_assert_eq(open_as(BW_ENVELOPE_ROOT, sealed.bytes, len, 100), -BW_E_CORRUPT);
	bw_buf_u8(&sealed, 0);
	cr_assert_eq(open_as(BW_ENVELOPE_ROOT, sealed.bytes, sealed.len, 100), -BW_E_CORRUPT);
}

/* S8: a newer format is told from damage. */
Test(envelope, S8_a_newer_format_is_refused_by_name)
{
	bw_auto_buf struct bw_buf sealed = {.max = 0};

	seal(BW_ENVELOPE_ROOT, "payload", 7, &sealed);
	sealed.bytes[4] = BW_FORMAT + 1;
	cr_assert_eq(open_as(BW_ENVELOPE_ROOT, sealed.bytes, sealed.len, 100), -BW_E_CORRUPT,
		     "the header's checksum fails");
	resum(&sealed);
	cr_assert_eq(open_as(BW_ENVELOPE_ROOT, sealed.bytes, sealed.len, 100), -BW_E_FORMAT_NEWER);
	sealed.bytes[4] = 0;
	resum(&sealed);
	cr_assert_eq(open_as(BW_ENVELOPE_ROOT, sealed.bytes, sealed.len, 100), -BW_E_CORRUPT);
}

Test(envelope, kinds_do_not_pass_for_each_other)
{
	bw_auto_buf struct bw_buf root = {.max = 0}, node = {.max = 0}, tomb = {.max = 0};
	bw_auto_buf struct bw_buf raw = {.max = 0};
	enum bw_envelope_kind kind;
	char long_text[65] = "";

	seal(BW_ENVELOPE_ROOT, "r", 1, &root);
	seal(BW_ENVELOPE_NODE, "n", 1, &node);
	seal(BW_ENVELOPE_TOMBSTONE, "t", 1, &tomb);
	cr_assert_eq(open_as(BW_ENVELOPE_NODE, root.bytes, root.len, 9), -BW_E_CORRUPT);
	cr_assert_eq(open_as(BW_ENVELOPE_ROOT, node.bytes, node.len, 9), -BW_E_CORRUPT);
	cr_assert_eq(open_as(BW_ENVELOPE_NODE, tomb.bytes, tomb.len, 9), -BW_E_CORRUPT);
	bw_buf_init(&raw, 9);
	cr_assert_eq(bw_envelope_open(BW_ENVELOPE_ROOT, tomb.bytes, tomb.len, &raw, &kind), 0);
	cr_assert_eq(kind, BW_ENVELOPE_TOMBSTONE);
	bw_buf_done(&tomb);
	seal(BW_ENVELOPE_TOMBSTONE, long_text, sizeof(long_text), &tomb);
	cr_assert_eq(open_as(BW_ENVELOPE_ROOT, tomb.bytes, tomb.len, 999), -BW_E_CORRUPT);
}

/* Allocation is bounded by the caller's maximum, whatever a valid header claims. */
Test(envelope, a_payload_above_the_maximum_is_refused_before_memory_is_taken)
{
	bw_auto_buf struct bw_buf sealed = {.max = 0};
	char *zeros = calloc(1, 60000);

	seal(BW_ENVELOPE_ROOT, zeros, 60000, &sealed);
	free(zeros);
	cr_assert_lt(sealed.len, 200);
	cr_assert_eq(open_as(BW_ENVELOPE_ROOT, sealed.bytes, sealed.len, 59999), -BW_E_CORRUPT);
	cr_assert_eq(open_as(BW_ENVELOPE_ROOT, sealed.bytes, sealed.len, 60000), 0);
	uint32_t claimed = UINT32_MAX;

	memcpy(sealed.bytes + 8, &claimed, 4);
	resum(&sealed);
	cr_assert_eq(open_as(BW_ENVELOPE_ROOT, sealed.bytes, sealed.len, 60000), -BW_E_CORRUPT);
	claimed = 59999;	/* the frame holds one byte more than the header says */
	memcpy(sealed.bytes + 8, &claimed, 4);
	resum(&sealed);
	cr_assert_eq(open_as(BW_ENVELOPE_ROOT, sealed.bytes, sealed.len, 60000), -BW_E_CORRUPT);
}

/* Wraps one packed form of raw_len bytes by hand. */
static int open_packed(size_t raw_len, const void *stored, size_t stored_len)
{
	bw_auto_buf struct bw_buf b = {.max = 0};

	bw_buf_init(&b, 1 << 20);
	bw_buf_str(&b, "BWOB");
	bw_buf_u8(&b, BW_FORMAT);
	bw_buf_u8(&b, BW_ENVELOPE_NODE);
	bw_buf_u8(&b, 1);
	bw_buf_u8(&b, 0);
	bw_buf_u32(&b, (uint32_t)raw_len);
	bw_buf_u32(&b, (uint32_t)stored_len);
	bw_buf_u64(&b, bw_xxh3(stored, stored_len));
	bw_buf_u64(&b, bw_xxh3(b.bytes, 24));
	bw_buf_add(&b, stored, stored_len);
	cr_assert_eq(bw_buf_err(&b), 0);
	return open_as(BW_ENVELOPE_NODE, b.bytes, b.len, 1 << 16);
}

/* One payload has one packed form of one frame, not many that a writer could hide bytes in. */
Test(envelope, a_packed_payload_is_one_frame_that_was_worth_it)
{
	static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3};
	uint8_t raw[5000], stored[5000];

	memset(raw, 'r', sizeof(raw));
	size_t n = ZSTD_compress(stored, sizeof(stored), raw, sizeof(raw), 3);
	cr_assert_eq(open_packed(sizeof(raw), stored, n), 0);
	memcpy(stored + n, skippable, sizeof(skippable));
	cr_assert_eq(open_packed(sizeof(raw), stored, n + sizeof(skippable)), -BW_E_CORRUPT);
	for (int delta = -1; delta <= 1; delta += 2)
		cr_assert_eq(open_packed(sizeof(raw) + (size_t)(ptrdiff_t)delta, stored, n), -BW_E_CORRUPT);
	cr_assert_eq(open_packed(sizeof(raw), raw, 100), -BW_E_CORRUPT, "no frame at all");
	n = ZSTD_compress(stored, sizeof(stored), raw, 2500, 3);
	size_t both = n + ZSTD_compress(stored + n, sizeof(stored) - n, raw, 2500, 3);
	cr_assert_eq(open_packed(sizeof(raw), stored, both), -BW_E_CORRUPT, "two frames");
	n = ZSTD_compress(stored, sizeof(stored), raw, 4096, 3);
	cr_assert_eq(open_packed(4096, stored, n), -BW_E_CORRUPT, "too short to be packed");
}
