/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/root.h"
#include "manifest/tgb.h"
#include "store/base/hash.h"
#include "store/base/rand.h"
#include "tests/support/sample.h"

#include <criterion/criterion.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define RANKS 3
#define BLOCK 1000

/* An object in memory, and what went into it. */
struct object {
	struct bw_stream stream;
	uint64_t raw_len[RANKS];
	uint8_t *raw[RANKS];
	struct bw_buf bytes;	/* the whole object */
	size_t footer_len;
	struct bw_tgb *tgb;
};

static void fill(uint8_t *p, size_t len, bool packable, uint64_t seed)
{
	struct bw_rng rng;

	bw_rng_init(&rng, seed);
	for (size_t i = 0; i < len; i++)
		p[i] = packable ? (uint8_t)("batch weave "[(i + seed) % 12]) : (uint8_t)bw_rng_next(&rng);
}

static void build(struct object *o, const uint64_t len[RANKS], bool compress)
{
	struct bw_tgb_builder *b;
	bw_auto_buf struct bw_buf footer = {.max = 0};
	struct bw_sample sample;

	bw_sample_init(&sample, RANKS);
	memset(o, 0, sizeof(*o));
	o->stream = sample.stream;
	bw_sample_done(&sample);
	o->stream.block_size = BLOCK;
	if (compress) {
		o->stream.options.compress = BW_COMPRESS_ZSTD;
		o->stream.options.compress_level = 3;
	}
	bw_buf_init(&o->bytes, 1 << 20);
	bw_buf_init(&footer, BW_FOOTER_MAX);
	cr_assert_eq(bw_tgb_builder_new(&o->stream, "alpha", 2, 7, &b), 0);
	for (uint32_t r = 0; r < RANKS; r++) {
		o->raw_len[r] = len[r];
		o->raw[r] = malloc(len[r]);
		fill(o->raw[r], len[r], r != 1, r);	/* rank 1 does not compress */
		for (uint64_t at = 0; at < len[r]; at += BLOCK) {
			size_t n = len[r] - at < BLOCK ? len[r] - at : BLOCK, stored_len;
			const void *stored;

			cr_assert_eq(bw_tgb_builder_block(b, o->raw[r] + at, n, &stored, &stored_len), 0);
			bw_buf_add(&o->bytes, stored, stored_len);
		}
		cr_assert_eq(bw_tgb_builder_end_slice(b), 0);
	}
	cr_assert_eq(bw_tgb_builder_finish(b, &footer, &o->tgb), 0);
	bw_tgb_builder_free(b);
	o->footer_len = footer.len;
	bw_buf_add(&o->bytes, footer.bytes, footer.len);
	cr_assert_eq(bw_buf_err(&o->bytes), 0);
}

static void object_done(struct object *o)
{
	for (int r = 0; r < RANKS; r++)
		free(o->raw[r]);
	bw_buf_done(&o->bytes);
	bw_tgb_unref(o->tgb);
}

static uint8_t *footer_of(const struct object *o)
{
	return o->bytes.bytes + o->bytes.len - o->footer_len;
}

static int decode(const struct object *o, struct bw_tgb **ret)
{
	return bw_tgb_decode(footer_of(o), o->footer_len, o->bytes.len, ret);
}

/* As a reader finds it: trailer, footer, blocks. */
static void check_object(const struct object *o)
{
	struct bw_tgb *t;
	uint32_t footer_len = 0;

	cr_assert_eq(bw_tgb_trailer(o->bytes.bytes + o->bytes.len - BW_TGB_TRAILER, o->bytes.len,
				    &footer_len), 0);
	cr_assert_eq(footer_len, o->footer_len);
	cr_assert_eq(decode(o, &t), 0);
	cr_assert_eq(t->data_len, o->bytes.len - footer_len);
	cr_assert_str_eq(t->producer, "alpha");
	cr_assert(t->epoch == 2 && t->seq == 7 && t->ranks == RANKS && t->block_size == BLOCK);
	cr_assert_eq(t->compress, o->stream.options.compress);
	cr_assert_arr_eq(t->stream_id, o->stream.id, 16);
	cr_assert_geq(bw_tgb_bytes(t), t->blocks_n * sizeof(struct bw_block));
	for (uint32_t r = 0; r < RANKS; r++) {
		const struct bw_slice *s = &t->slices[r];
		uint64_t at = 0;

		cr_assert_eq(s->raw, o->raw_len[r]);
		cr_assert_eq(s->xxh3, bw_xxh3(o->raw[r], s->raw));
		for (uint32_t i = 0; i < s->blocks_n; i++) {
			const struct bw_block *b = &t->blocks[s->block0 + i];
			bw_auto_blob struct bw_blob *stored =
				bw_blob_copy(o->bytes.bytes + b->offset, b->stored);
			bw_auto_blob struct bw_blob *raw = NULL;

			cr_assert_eq(bw_tgb_block_read(t, s->block0 + i, stored, &raw), 0);
			cr_assert_eq(raw->len, bw_tgb_block_raw(t, s, i));
			cr_assert_eq(memcmp(raw->bytes, o->raw[r] + at, raw->len), 0);
			cr_assert_eq(raw == stored, b->stored == raw->len);
			at += raw->len;
		}
		cr_assert_eq(at, s->raw);
	}
	bw_tgb_unref(t);
}

static const uint64_t shapes[][RANKS] = {
	{1, 1, 1}, {BLOCK, BLOCK, BLOCK}, {BLOCK - 1, BLOCK + 1, 2 * BLOCK}, {5 * BLOCK + 3, 1, 300},
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

Test(tgb, round_trip)
{
	for (size_t i = 0; i < SHAPES; i++) {
		for (int compress = 0; compress < 2; compress++) {
			struct object o;

			build(&o, shapes[i], compress);
			check_object(&o);
			object_done(&o);
		}
	}
}

Test(tgb, a_block_that_zstd_does_not_shorten_is_stored_raw)
{
	struct object o;

	build(&o, shapes[2], true);
	for (uint32_t i = 0; i < o.tgb->slices[1].blocks_n; i++)
		cr_assert_eq(o.tgb->blocks[o.tgb->slices[1].block0 + i].stored,
			     bw_tgb_block_raw(o.tgb, &o.tgb->slices[1], i));
	cr_assert_lt(o.tgb->blocks[0].stored, BLOCK / 2);
	object_done(&o);
}

/* V5: no bit of a block or of the footer can change unnoticed. */
Test(tgb, V5_every_bit_is_covered)
{
	for (int compress = 0; compress < 2; compress++) {
		struct object o;
		struct bw_tgb *t;

		build(&o, (const uint64_t[]){1200, 30, 1}, compress);
		for (size_t bit = 0; bit < o.footer_len * 8; bit++) {
			footer_of(&o)[bit / 8] ^= (uint8_t)(1 << bit % 8);
			cr_assert_eq(decode(&o, &t), -BW_E_CORRUPT, "bit %zu", bit);
			footer_of(&o)[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		for (uint32_t i = 0; i < o.tgb->blocks_n; i++) {
			const struct bw_block *b = &o.tgb->blocks[i];
			bw_auto_blob struct bw_blob *stored =
				bw_blob_copy(o.bytes.bytes + b->offset, b->stored);
			struct bw_blob *raw;

			for (size_t bit = 0; bit < stored->len * 8; bit++) {
				stored->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
				cr_assert_eq(bw_tgb_block_read(o.tgb, i, stored, &raw), -BW_E_CORRUPT);
				stored->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			}
			stored->len--;
			cr_assert_eq(bw_tgb_block_read(o.tgb, i, stored, &raw), -BW_E_CORRUPT);
			stored->len++;
			cr_assert_eq(bw_tgb_block_read(o.tgb, i, stored, &raw), 0);
			bw_blob_unref(raw);
		}
		object_done(&o);
	}
}

Test(tgb, a_truncated_or_longer_object_is_noticed)
{
	struct object o;
	struct bw_tgb *t;
	uint32_t n;

	build(&o, shapes[3], false);
	for (size_t len = 0; len < o.footer_len; len++)
		cr_assert_eq(bw_tgb_decode(footer_of(&o), len, o.bytes.len, &t), -BW_E_CORRUPT);
	cr_assert_eq(bw_tgb_decode(footer_of(&o), o.footer_len, o.bytes.len + 1, &t), -BW_E_CORRUPT);
	cr_assert_eq(bw_tgb_decode(footer_of(&o), o.footer_len, o.bytes.len - 1, &t), -BW_E_CORRUPT);
	cr_assert_eq(bw_tgb_decode(footer_of(&o), o.footer_len, o.footer_len, &t), -BW_E_CORRUPT);
	cr_assert_eq(bw_tgb_decode(footer_of(&o), o.footer_len, 0, &t), -BW_E_CORRUPT);
	cr_assert_eq(bw_tgb_decode(footer_of(&o), o.footer_len, UINT64_MAX, &t), -BW_E_CORRUPT);
	cr_assert_eq(bw_tgb_trailer(o.bytes.bytes, o.bytes.len, &n), -BW_E_CORRUPT);
	cr_assert_eq(bw_tgb_trailer(o.bytes.bytes + o.bytes.len - 16, o.footer_len, &n), -BW_E_CORRUPT);
	object_done(&o);
}

/* Overwrites width bytes at off of the footer and makes its checksum right again. */
static int decode_with(const struct object *o, size_t off, uint64_t value, size_t width)
{
	uint8_t *copy = malloc(o->footer_len);
	struct bw_tgb *t = NULL;

	memcpy(copy, footer_of(o), o->footer_len);
	value = htole64(value);
	memcpy(copy + off, &value, width);
	uint64_t sum = htole64(bw_xxh3(copy, o->footer_len - 16));
	memcpy(copy + o->footer_len - 16, &sum, 8);
	int rc = bw_tgb_decode(copy, o->footer_len, o->bytes.len, &t);
	free(copy);
	bw_tgb_unref(t);
	return rc;
}

Test(tgb, S8_a_newer_format_is_refused_by_name)
{
	struct object o;

	build(&o, shapes[0], false);
	cr_assert_eq(decode_with(&o, 4, BW_FORMAT, 1), 0);
	cr_assert_eq(decode_with(&o, 4, BW_FORMAT + 1, 1), -BW_E_FORMAT_NEWER);
	cr_assert_eq(decode_with(&o, 4, 0, 1), -BW_E_CORRUPT);
	object_done(&o);
}

Test(tgb, fields_that_contradict_each_other_are_corrupt)
{
	struct object o;
	size_t slices = 120, blocks = slices + 24 * RANKS;

	for (int compress = 0; compress < 2; compress++) {
		build(&o, (const uint64_t[]){2500, 1500, 10}, compress);
		cr_assert_eq(decode_with(&o, 24, 2, 8), 0, "the edits fail for what they say");
		const struct {
			size_t off;
			uint64_t value;
			size_t width;
		} edits[] = {
			{5, 2, 1},				/* codec */
			{6, 1, 2},				/* zero */
			{24, 0, 8},				/* epoch */
			{24, BW_COUNTER_MAX, 8},
			{32, UINT64_MAX, 8},			/* seq */
			{40, 0, 4}, {40, 2, 4}, {40, 4, 4}, {40, BW_RANKS_MAX + 1, 4}, {40, UINT32_MAX, 4},
			{44, 0, 4}, {44, 999, 4}, {44, BW_BLOCK_SIZE_MAX + 1, 4}, {44, UINT32_MAX, 4},
			{48, 0, 4}, {48, 5, 4}, {48, 7, 4}, {48, UINT32_MAX, 4},	/* blocks_n */
			{52, 0, 1}, {52, 4, 1}, {52, 6, 1}, {52, 65, 1}, {52, 255, 1},	/* name length */
			{53, '/', 1}, {53, 0, 1}, {119, 1, 1},				/* name */
			{slices + 8, 0, 8}, {slices + 8, 2501, 8}, {slices + 8, 3001, 8},
			{slices + 8, UINT64_MAX, 8}, {slices, UINT64_MAX, 8}, {slices, 0, 8},
			{slices + 24 + 8, 0, 8},
			{blocks, 0, 4}, {blocks, 1001, 4}, {blocks, UINT32_MAX, 4},
		};
		for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
			/* Compressed blocks leave the raw length of a last block open. */
			if (compress && edits[i].off == slices + 8 && edits[i].value == 2501)
				continue;
			cr_assert_eq(decode_with(&o, edits[i].off, edits[i].value, edits[i].width),
				     -BW_E_CORRUPT, "compress %d: %zu = %#lx", compress, edits[i].off,
				     (unsigned long)edits[i].value);
		}
		object_done(&o);
	}
}

/* A frame that holds more or less than the footer says, with every checksum right. */
Test(tgb, a_frame_of_another_length_is_corrupt)
{
	for (int delta = -1; delta <= 1; delta++) {
		struct object o;
		struct bw_blob *raw = NULL;

		build(&o, (const uint64_t[]){500, 10, 10}, true);
		o.tgb->slices[0].raw += (uint64_t)(int64_t)delta;	/* what a wrong footer would say */
		const struct bw_block *b = &o.tgb->blocks[0];
		bw_auto_blob struct bw_blob *stored = bw_blob_copy(o.bytes.bytes, b->stored);
		cr_assert_eq(bw_tgb_block_read(o.tgb, 0, stored, &raw), delta ? -BW_E_CORRUPT : 0);
		bw_blob_unref(raw);
		cr_assert_eq(bw_tgb_block_read(o.tgb, o.tgb->blocks_n, stored, &raw), -EINVAL);
		object_done(&o);
	}
}

/* An object of one rank whose one block is what the test says, and whose footer has extra more of
 * them; every checksum is right. */
static int decode_crafted(uint64_t raw, const void *stored, size_t stored_len, uint32_t extra,
			  struct bw_blob **ret)
{
	static const uint8_t zeros[67];
	bw_auto_buf struct bw_buf f = {.max = 0};
	struct bw_tgb *t;

	bw_buf_init(&f, 4096);
	bw_buf_str(&f, "BWTF");
	bw_buf_u8(&f, BW_FORMAT);
	bw_buf_u8(&f, BW_COMPRESS_ZSTD);
	bw_buf_u16(&f, 0);
	bw_buf_add(&f, zeros, 16);
	bw_buf_u64(&f, 1);
	bw_buf_u64(&f, 0);
	bw_buf_u32(&f, 1);
	bw_buf_u32(&f, BLOCK);
	bw_buf_u32(&f, 1 + extra);
	bw_buf_u8(&f, 1);
	bw_buf_str(&f, "p");
	bw_buf_add(&f, zeros, 66);
	bw_buf_u64(&f, stored_len);
	bw_buf_u64(&f, raw);
	bw_buf_u64(&f, 0);
	for (uint32_t i = 0; i <= extra; i++) {
		bw_buf_u32(&f, (uint32_t)stored_len);
		bw_buf_u64(&f, bw_xxh3(stored, stored_len));
	}
	bw_buf_u64(&f, bw_xxh3(f.bytes, f.len));
	bw_buf_u32(&f, (uint32_t)f.len + 8);
	bw_buf_str(&f, "BWTE");
	int rc = bw_tgb_decode(f.bytes, f.len, stored_len + f.len, &t);
	if (rc)
		return rc;
	bw_auto_blob struct bw_blob *blob = bw_blob_copy(stored, stored_len);
	rc = bw_tgb_block_read(t, 0, blob, ret);
	bw_tgb_unref(t);
	return rc;
}

Test(tgb, a_block_is_one_frame_and_the_table_has_no_more_of_them)
{
	static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3};
	uint8_t raw[900], stored[900];
	struct bw_blob *blob;

	memset(raw, 'r', sizeof(raw));
	size_t n = ZSTD_compress(stored, sizeof(stored), raw, sizeof(raw), 3);
	cr_assert_eq(decode_crafted(sizeof(raw), stored, n, 0, &blob), 0);
	cr_assert_eq(memcmp(blob->bytes, raw, sizeof(raw)), 0);
	bw_blob_unref(blob);
	cr_assert_eq(decode_crafted(sizeof(raw), stored, n, 1, &blob), -BW_E_CORRUPT, "a block too many");
	cr_assert_eq(decode_crafted(sizeof(raw) - 1, stored, n, 0, &blob), -BW_E_CORRUPT);
	cr_assert_eq(decode_crafted(sizeof(raw) + 1, stored, n, 0, &blob), -BW_E_CORRUPT);
	memcpy(stored + n, skippable, sizeof(skippable));
	cr_assert_eq(decode_crafted(sizeof(raw), stored, n + sizeof(skippable), 0, &blob), -BW_E_CORRUPT);
	cr_assert_eq(decode_crafted(sizeof(raw), raw, 100, 0, &blob), -BW_E_CORRUPT, "no frame at all");
}

Test(tgb, the_builder_refuses_what_a_reader_would)
{
	struct bw_sample s;
	struct bw_tgb_builder *b;
	struct bw_tgb *t;
	bw_auto_buf struct bw_buf out = {.max = 0};
	uint8_t bytes[BLOCK + 1] = {0};
	const void *stored;
	size_t n;

	bw_sample_init(&s, 2);
	s.stream.block_size = BLOCK;
	bw_buf_init(&out, BW_FOOTER_MAX);
	cr_assert_eq(bw_tgb_builder_new(&s.stream, "not/a/name", 1, 0, &b), -EINVAL);
	cr_assert_eq(bw_tgb_builder_new(&s.stream, "p", 0, 0, &b), -EINVAL);
	cr_assert_eq(bw_tgb_builder_new(&s.stream, "p", 1, 0, &b), 0);
	cr_assert_eq(bw_tgb_builder_end_slice(b), -EINVAL, "no empty slices");
	cr_assert_eq(bw_tgb_builder_block(b, bytes, 0, &stored, &n), -EINVAL);
	cr_assert_eq(bw_tgb_builder_block(b, bytes, BLOCK + 1, &stored, &n), -EINVAL);
	cr_assert_eq(bw_tgb_builder_block(b, bytes, 5, &stored, &n), 0);
	cr_assert_eq(bw_tgb_builder_block(b, bytes, 5, &stored, &n), -EINVAL, "behind a short one");
	cr_assert_eq(bw_tgb_builder_end_slice(b), 0);
	cr_assert_eq(bw_tgb_builder_finish(b, &out, &t), -EINVAL, "a rank is missing");
	cr_assert_eq(bw_tgb_builder_block(b, bytes, 5, &stored, &n), 0);
	cr_assert_eq(bw_tgb_builder_end_slice(b), 0);
	cr_assert_eq(bw_tgb_builder_end_slice(b), -EINVAL);
	cr_assert_eq(bw_tgb_builder_block(b, bytes, 5, &stored, &n), -EINVAL, "a rank too many");
	cr_assert_eq(bw_tgb_builder_finish(b, &out, &t), 0);
	bw_tgb_unref(bw_tgb_ref(t));
	bw_tgb_unref(t);
	bw_tgb_builder_free(b);
	bw_sample_done(&s);
}

Test(tgb, it_must_be_the_object_that_the_entry_names)
{
	struct object o;
	struct bw_entry e = {.epoch = 2, .seq = 7};

	build(&o, shapes[3], true);
	bw_sample_name(e.producer, "alpha");
	e.size = o.bytes.len;
	e.footer_len = (uint32_t)o.footer_len;
	e.raw = shapes[3][0] + shapes[3][1] + shapes[3][2];
	cr_assert_eq(bw_tgb_check(o.tgb, &o.stream, &e), 0);
	struct bw_entry bad[] = {e, e, e, e, e};
	bad[0].producer[0] = 'b', bad[1].epoch++, bad[2].seq++, bad[3].size++, bad[4].raw++;
	for (int i = 0; i < 5; i++)
		cr_assert_eq(bw_tgb_check(o.tgb, &o.stream, &bad[i]), -BW_E_CORRUPT, "%d", i);
	o.stream.options.ranks++;
	cr_assert_eq(bw_tgb_check(o.tgb, &o.stream, &e), -BW_E_CORRUPT);
	o.stream.options.ranks--;
	o.stream.id[0]++;
	cr_assert_eq(bw_tgb_check(o.tgb, &o.stream, &e), -BW_E_CORRUPT);
	object_done(&o);
}

/* What the sizes in an entry allow to suppose. */
Test(tgb, even_slices_lie_where_their_sizes_say)
{
	static const struct {
		uint64_t len[RANKS];
		bool compress, may;
	} cases[] = {
		{{1, 1, 1}, false, true},
		{{BLOCK, BLOCK, BLOCK}, false, true},
		{{2 * BLOCK + 1, 2 * BLOCK + 1, 2 * BLOCK + 1}, false, true},
		{{BLOCK, BLOCK, BLOCK + 1}, false, false},
		{{BLOCK - 1, BLOCK, BLOCK + 1}, false, false},	/* a block too many */
		{{500, 500, 500}, true, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bw_entry e = {.raw = 0};
		struct object o;
		uint64_t slice = 0;

		build(&o, cases[i].len, cases[i].compress);
		for (int r = 0; r < RANKS; r++)
			e.raw += cases[i].len[r];
		e.size = o.bytes.len;
		e.footer_len = (uint32_t)o.footer_len;
		cr_assert_eq(bw_tgb_may_be_even(&o.stream, &e, &slice), cases[i].may, "case %zu", i);
		for (uint32_t r = 0; r < RANKS && cases[i].may; r++) {
			cr_assert_eq(o.tgb->slices[r].offset, r * slice);
			cr_assert_eq(o.tgb->slices[r].stored, slice);
		}
		e.footer_len++;
		e.size++;
		cr_assert_not(bw_tgb_may_be_even(&o.stream, &e, &slice));
		object_done(&o);
	}
}

Test(tgb, many_ranks)
{
	struct bw_sample s;
	struct bw_tgb_builder *b;
	struct bw_tgb *t;
	bw_auto_buf struct bw_buf out = {.max = 0};
	const void *stored;
	size_t n;

	bw_sample_init(&s, BW_RANKS_MAX);
	bw_buf_init(&out, BW_FOOTER_MAX);
	cr_assert_eq(bw_tgb_builder_new(&s.stream, "p", 1, 0, &b), 0);
	for (uint32_t r = 0; r < BW_RANKS_MAX; r++) {
		cr_assert_eq(bw_tgb_builder_block(b, &r, 1 + r % 4, &stored, &n), 0);
		cr_assert_eq(bw_tgb_builder_end_slice(b), 0);
	}
	cr_assert_eq(bw_tgb_builder_finish(b, &out, &t), 0);
	for (uint32_t r = 0; r < BW_RANKS_MAX; r += 1111) {
		bw_auto_blob struct bw_blob *in = bw_blob_copy(&r, 1 + r % 4);
		bw_auto_blob struct bw_blob *raw = NULL;

		cr_assert_eq(t->slices[r].block0, r);
		cr_assert_eq(bw_tgb_block_read(t, r, in, &raw), 0);
	}
	bw_tgb_unref(t);
	bw_tgb_builder_free(b);
	bw_sample_done(&s);
}
