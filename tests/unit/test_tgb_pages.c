/* SPDX-License-Identifier: Apache-2.0 */
/* Footers of many ranks: pages that are verified alone. */
#include "manifest/root.h"
#include "manifest/tgb.h"
#include "manifest/tgb_layout.h"
#include "store/base/hash.h"
#include "tests/support/sample.h"

#include <criterion/criterion.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4u

/* A footer and what an entry says of it; the slices' bytes are nobody's. */
struct footer {
	struct bw_stream stream;
	struct bw_entry e;
	uint8_t *bytes;
	size_t len;
	struct bw_tgb *tgb;
};

typedef uint32_t (*size_fn)(uint32_t rank);

static uint32_t one_block(uint32_t rank)
{
	(void)rank;
	return 3;
}

static uint32_t three_blocks(uint32_t rank)
{
	return 2 * BLOCK + 1 + rank % BLOCK;
}

static uint32_t one_or_more(uint32_t rank)
{
	return 1 + rank % 23;
}

/* As many blocks as if each slice had two. */
static uint32_t one_then_three(uint32_t rank)
{
	return rank % 2 ? 3 * BLOCK : BLOCK;
}

static uint32_t one_in_a_page_then_three(uint32_t rank)
{
	return one_then_three(rank / 64);
}

static void build(struct footer *f, uint32_t ranks, size_fn size)
{
	static const uint8_t bytes[BLOCK] = "ABCD";
	bw_auto_buf struct bw_buf out = {.max = 0};
	struct bw_tgb_builder *b;
	struct bw_sample sample;
	const void *stored;
	size_t n;

	bw_sample_init(&sample, ranks);
	memset(f, 0, sizeof(*f));
	f->stream = sample.stream;
	bw_sample_done(&sample);
	f->stream.block_size = BLOCK;
	bw_buf_init(&out, BW_FOOTER_MAX);
	cr_assert_eq(bw_tgb_builder_new(&f->stream, "alpha", 2, 7, &b), 0);
	for (uint32_t r = 0; r < ranks; r++) {
		for (uint32_t left = size(r), take; left; left -= take) {
			take = left < BLOCK ? left : BLOCK;
			cr_assert_eq(bw_tgb_builder_block(b, bytes, take, &stored, &n), 0);
		}
		cr_assert_eq(bw_tgb_builder_end_slice(b), 0);
		f->e.raw += size(r);
	}
	cr_assert_eq(bw_tgb_builder_finish(b, &out, &f->tgb), 0);
	bw_tgb_builder_free(b);
	f->bytes = bw_buf_take(&out, &f->len);
	memcpy(f->e.producer, "alpha", 6);
	f->e.epoch = 2;
	f->e.seq = 7;
	f->e.size = f->e.raw + f->len;
	f->e.footer_len = (uint32_t)f->len;
	f->e.footer_xxh3 = bw_tgb_sum(f->bytes, f->len);
	cr_assert_eq(bw_tgb_check(f->tgb, &f->stream, &f->e), 0);
}

static void footer_done(struct footer *f)
{
	free(f->bytes);
	bw_tgb_unref(f->tgb);
}

static int decode_page(const struct footer *f, uint32_t rank, struct bw_tgb_page *ret_page, struct bw_tgb **ret)
{
	if (!bw_tgb_page(&f->stream, &f->e, rank, ret_page))
		return -ENXIO;
	cr_assert_geq(ret_page->offset, f->e.raw);
	cr_assert_leq(ret_page->offset + ret_page->length, f->e.size - BW_TGB_TRAILER);
	return bw_tgb_page_decode(f->bytes + (ret_page->offset - f->e.raw), ret_page->length, &f->e, ret_page->number, ret);
}

/* What page says of its ranks is what the whole footer says. */
static void compare(const struct footer *f, const struct bw_tgb *page)
{
	const struct bw_tgb *t = f->tgb;

	cr_assert_eq(bw_tgb_check(page, &f->stream, &f->e), 0);
	cr_assert(page->ranks == t->ranks && page->blocks_n == t->blocks_n && page->data_len == t->data_len);
	cr_assert(!page->first || !bw_tgb_knows(page, page->first - 1));
	cr_assert_not(bw_tgb_knows(page, page->first + page->known));
	for (uint32_t r = page->first; r < page->first + page->known; r++) {
		const struct bw_slice *is = bw_tgb_slice(page, r), *should = bw_tgb_slice(t, r);

		cr_assert(bw_tgb_knows(page, r));
		cr_assert(is->offset == should->offset && is->stored == should->stored && is->raw == should->raw);
		cr_assert(is->xxh3 == should->xxh3 && is->block0 == should->block0 && is->blocks_n == should->blocks_n);
		for (uint32_t i = is->block0; i < is->block0 + is->blocks_n; i++) {
			const struct bw_block *a = bw_tgb_block(page, i), *b = bw_tgb_block(t, i);
			cr_assert(a->offset == b->offset && a->stored == b->stored && a->xxh3 == b->xxh3);
		}
	}
}

static void read_a_block(const struct bw_tgb *page, uint32_t rank)
{
	const struct bw_slice *s = bw_tgb_slice(page, rank);
	bw_auto_blob struct bw_blob *stored = bw_blob_copy("ABCD", bw_tgb_block(page, s->block0)->stored);
	struct bw_blob *raw;

	cr_assert_eq(bw_tgb_block_read(page, s->block0, stored, &raw), 0);
	bw_blob_unref(raw);
	if (page->block0)
		cr_assert_eq(bw_tgb_block_read(page, page->block0 - 1, stored, &raw), -EINVAL);
	cr_assert_eq(bw_tgb_block_read(page, page->block0 + page->blocks_known, stored, &raw), -EINVAL);
}

Test(tgb_pages, each_says_of_its_ranks_what_the_footer_says)
{
	static const uint32_t ranks[] = {129, 192, 200, 1024, 4096, 4097, 5000};
	static const size_fn sizes[] = {one_block, three_blocks};

	for (size_t i = 0; i < 2 * sizeof(ranks) / sizeof(ranks[0]); i++) {
		struct bw_tgb_page at;
		struct bw_tgb *page;
		struct footer f;
		uint32_t pages = 0;

		build(&f, ranks[i / 2], sizes[i % 2]);
		for (uint32_t r = 0; r < ranks[i / 2]; r += page->known, bw_tgb_unref(page), pages++) {
			cr_assert_eq(decode_page(&f, r, &at, &page), 0, "%u ranks, rank %u", ranks[i / 2], r);
			cr_assert(at.number == pages && page->first == r);
			compare(&f, page);
			read_a_block(page, r + page->known - 1);
		}
		cr_assert_leq(pages, TGB_PAGES_MAX);
		footer_done(&f);
	}
}

Test(tgb_pages, few_ranks_have_none)
{
	struct bw_tgb_page at;
	struct footer f;

	build(&f, 128, one_block);
	cr_assert_eq(f.len, 120 + 128 * 36 + 16);
	cr_assert_eq(f.e.footer_xxh3, bw_xxh3(f.bytes, f.len));
	cr_assert_not(bw_tgb_page(&f.stream, &f.e, 0, &at));
	footer_done(&f);
}

/* What one rank of 1,024 costs beside its slice. */
Test(tgb_pages, one_is_small)
{
	struct bw_tgb_page at;
	struct footer f;

	build(&f, 1024, one_block);
	cr_assert(bw_tgb_page(&f.stream, &f.e, 1023, &at));
	cr_assert_eq(at.length, 120 + 16 * 8 + 16 + 64 * 36);
	cr_assert_not(bw_tgb_page(&f.stream, &f.e, 1024, &at));
	footer_done(&f);
}

/* Bytes that tell whether a page lies there at all: magic, ranks of a page, first block and blocks. */
static bool is_of_the_cut(size_t byte)
{
	size_t place = 120 + 3 * 8;

	return byte < 4 || byte == 6 || byte == 7 || (byte >= place + 8 && byte < place + 16);
}

/* V5: the root's sum vouches for each bit of a page. */
Test(tgb_pages, V5_every_bit_is_covered)
{
	struct bw_tgb_page at;
	struct bw_tgb *page;
	struct footer f;

	build(&f, 150, one_block);
	for (uint32_t r = 0; r < 150; r += 64) {
		cr_assert_eq(decode_page(&f, r, &at, &page), 0);
		bw_tgb_unref(page);
		uint8_t *bytes = f.bytes + (at.offset - f.e.raw);
		for (size_t bit = 0; bit < at.length * 8; bit++) {
			bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			int rc = decode_page(&f, r, &at, &page);
			cr_assert(rc == -BW_E_CORRUPT || rc == -ENOENT, "bit %zu: %d", bit, rc);
			cr_assert(rc == -BW_E_CORRUPT || is_of_the_cut(bit / 8), "bit %zu", bit);
			cr_assert_neq(bw_tgb_decode(f.bytes, f.len, f.e.size, &page), 0);
			bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		for (size_t len = 0; len < at.length; len++)
			cr_assert_neq(bw_tgb_page_decode(bytes, len, &f.e, at.number, &page), 0);
	}
	footer_done(&f);
}

/* V5: another batch of the same producer and seq, as a producer leaves that dies before its commit, is not the root's. */
Test(tgb_pages, V5_one_of_another_object_is_refused)
{
	struct bw_tgb_page at;
	struct footer f, g;
	struct bw_tgb *page;

	build(&f, 150, one_block);
	build(&g, 150, one_block);
	memcpy(g.stream.id, f.stream.id, sizeof(g.stream.id));
	cr_assert_eq(f.len, g.len);
	g.bytes[g.len - 20] ^= 1;	/* of a block's sum, in the last page */
	for (uint32_t r = 0; r < 150; r += 64) {
		cr_assert_eq(decode_page(&g, r, &at, &page), r < 128 ? 0 : -BW_E_CORRUPT);
		if (r < 128)
			bw_tgb_unref(page);
		g.e.footer_xxh3 ^= 1;
		cr_assert_eq(decode_page(&g, r, &at, &page), -BW_E_CORRUPT);
		g.e.footer_xxh3 ^= 1;
	}
	/* A page in another's place. */
	memcpy(f.bytes + (120 + 24 + 16 + 64 * 36), f.bytes, 120 + 24 + 16 + 64 * 36);
	cr_assert_eq(decode_page(&f, 64, &at, &page), -ENOENT);
	footer_done(&f);
	footer_done(&g);
}

/* Never wrong, at most not there. */
Test(tgb_pages, of_uneven_slices_none_is_found_or_the_right_one)
{
	static const size_fn sizes[] = {one_or_more, one_in_a_page_then_three, one_then_three};
	unsigned found = 0, missed = 0;

	for (uint32_t ranks = 129; ranks < 500; ranks++) {
		struct bw_tgb_page at;
		struct bw_tgb *page;
		struct footer f;

		build(&f, ranks, sizes[ranks % 3]);
		for (uint32_t r = 0; r < ranks; r += 64) {
			int rc = decode_page(&f, r, &at, &page);

			cr_assert(rc == 0 || rc == -ENXIO || rc == -ENOENT, "%u ranks, rank %u: %d", ranks, r, rc);
			found += rc == 0;
			missed += rc == -ENOENT;
			if (rc)
				continue;
			compare(&f, page);
			bw_tgb_unref(page);
		}
		footer_done(&f);
	}
	cr_assert(found && missed);
}

static void put_u64(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, 8);
}

/* The whole footer with other bytes, its own sum right again. */
static int decode_with(const struct footer *f, size_t at, uint64_t value, size_t width, bool fix_page)
{
	uint8_t *copy = malloc(f->len);
	struct bw_tgb *t = NULL;
	size_t head = 120 + 3 * 8;

	memcpy(copy, f->bytes, f->len);
	value = htole64(value);
	memcpy(copy + at, &value, width);
	size_t page = head + 16 + 64 * 36;
	for (size_t i = 0; fix_page && i < 3; i++) {
		size_t begin = i * page + head, end = i < 2 ? begin + page - head : f->len - 16;
		for (size_t k = 0; k < 3; k++)
			put_u64(copy + k * page + 120 + i * 8, bw_xxh3(copy + begin, end - begin));
	}
	put_u64(copy + f->len - 16, bw_xxh3(copy, f->len - 16));
	int rc = bw_tgb_decode(copy, f->len, f->e.size, &t);
	free(copy);
	bw_tgb_unref(t);
	return rc;
}

/* What a whole footer says twice must be the same: else who reads a page hears otherwise than who reads it all. */
Test(tgb_pages, a_footer_that_contradicts_its_pages_is_corrupt)
{
	size_t head = 120 + 3 * 8, page = head + 16 + 64 * 36;
	struct footer f;

	build(&f, 150, one_block);
	cr_assert_eq(decode_with(&f, 0, 0x46545742, 4, true), 0);
	cr_assert_eq(decode_with(&f, page + 32, 8, 8, false), -BW_E_CORRUPT);	/* seq, in one copy of the head */
	cr_assert_eq(decode_with(&f, head + 16 + 16, 5, 8, false), -BW_E_CORRUPT);	/* a slice, not the page's sum */
	cr_assert_eq(decode_with(&f, head + 16 + 16, 5, 8, true), 0);
	cr_assert_eq(decode_with(&f, head, 1, 8, true), -BW_E_CORRUPT);	/* where the first page begins */
	cr_assert_eq(decode_with(&f, page + head, 193, 8, true), -BW_E_CORRUPT);	/* where the second does */
	cr_assert_eq(decode_with(&f, page + head + 8, 63, 4, true), -BW_E_CORRUPT);	/* its first block */
	cr_assert_eq(decode_with(&f, page + head + 12, 65, 4, true), -BW_E_CORRUPT);	/* blocks */
	cr_assert_eq(decode_with(&f, page + head + 12, UINT32_MAX, 4, true), -BW_E_CORRUPT);
	for (uint16_t ranks = 0; ranks < 200; ranks++)
		cr_assert_eq(decode_with(&f, 6, ranks, 2, true), ranks == 64 ? 0 : -BW_E_CORRUPT);
	footer_done(&f);
}

/* The footer of f cut into pages of so many ranks, sound otherwise; its length. */
static size_t cut(const struct footer *f, uint32_t page_ranks, uint8_t *to)
{
	uint32_t ranks = f->tgb->ranks, pages = tgb_pages(ranks, page_ranks), head_len = tgb_head_len(pages);
	uint8_t *sums = to + 120, *at = to;
	uint32_t le;

	memcpy(to, f->bytes, 120);
	to[6] = (uint8_t)page_ranks;
	to[7] = (uint8_t)(page_ranks >> 8);
	for (uint32_t p = 0; p < pages; p++) {
		uint32_t first = p * page_ranks, n = ranks - first < page_ranks ? ranks - first : page_ranks;
		uint8_t *body = at + head_len;
		put_u64(body, 3 * first);
		le = htole32(first);
		memcpy(body + 8, &le, 4);
		le = htole32(n);
		memcpy(body + 12, &le, 4);
		for (uint32_t i = 0; i < n; i++) {
			const struct bw_slice *s = bw_tgb_slice(f->tgb, first + i);
			uint8_t *slice = body + 16 + i * 24, *block = body + 16 + n * 24 + i * 12;
			put_u64(slice, s->stored);
			put_u64(slice + 8, s->raw);
			put_u64(slice + 16, s->xxh3);
			le = htole32((uint32_t)s->stored);
			memcpy(block, &le, 4);
			put_u64(block + 4, bw_tgb_block(f->tgb, s->block0)->xxh3);
		}
		put_u64(sums + 8 * p, bw_xxh3(body, 16 + n * 36));
		at = body + 16 + n * 36;
	}
	for (uint32_t p = 1; p < pages; p++)
		memcpy(to + p * (head_len + 16 + page_ranks * 36), to, head_len);
	size_t len = (size_t)(at - to) + 16;
	put_u64(at, bw_xxh3(to, len - 16));
	le = htole32((uint32_t)len);
	memcpy(at + 8, &le, 4);
	memcpy(at + 12, "BWTE", 4);
	return len;
}

/* There is one way to cut it. */
Test(tgb_pages, pages_of_another_size_are_corrupt)
{
	uint8_t *bytes = calloc(1, 1 << 20);
	struct footer f;

	build(&f, 150, one_block);
	for (uint32_t page_ranks = 1; page_ranks <= 200; page_ranks++) {
		struct bw_tgb *t = NULL;
		size_t len = cut(&f, page_ranks, bytes);
		int rc = bw_tgb_decode(bytes, len, f.e.raw + len, &t);

		cr_assert_eq(rc, page_ranks == 64 ? 0 : -BW_E_CORRUPT, "%u: %d", page_ranks, rc);
		bw_tgb_unref(t);
		if (page_ranks == 64)
			cr_assert(len == f.len && memcmp(bytes, f.bytes, len) == 0);
	}
	free(bytes);
	footer_done(&f);
}

/* Takes the pages out of a footer, as it was before there were any. */
static void take_pages_out(struct footer *f)
{
	uint32_t ranks = f->tgb->ranks, blocks = f->tgb->blocks_n, le;
	size_t len = 120 + ranks * 24 + blocks * 12 + 16;
	uint8_t *plain = malloc(len), *at = plain + 120;

	memcpy(plain, f->bytes, 120);
	plain[6] = plain[7] = 0;
	for (uint32_t r = 0; r < ranks; r++, at += 24) {
		put_u64(at, f->tgb->slices[r].stored);
		put_u64(at + 8, f->tgb->slices[r].raw);
		put_u64(at + 16, f->tgb->slices[r].xxh3);
	}
	for (uint32_t i = 0; i < blocks; i++, at += 12) {
		le = htole32(f->tgb->blocks[i].stored);
		memcpy(at, &le, 4);
		put_u64(at + 4, f->tgb->blocks[i].xxh3);
	}
	put_u64(at, bw_xxh3(plain, len - 16));
	le = htole32((uint32_t)len);
	memcpy(at + 8, &le, 4);
	memcpy(at + 12, "BWTE", 4);
	free(f->bytes);
	f->bytes = plain;
	f->len = len;
	f->e.footer_len = (uint32_t)len;
	f->e.size = f->e.raw + len;
	f->e.footer_xxh3 = bw_tgb_sum(plain, len);
}

/* Each fifth slice of 150 has two blocks: a length as if there were pages, and each slice had one. */
static uint32_t two_of_each_fifth(uint32_t rank)
{
	return rank % 5 ? 1 : BLOCK + 1;
}

/* One that has none though it has many ranks, as it was before there were pages, is read. */
Test(tgb_pages, S8_many_ranks_without_pages_are_read)
{
	static const size_fn sizes[] = {one_block, two_of_each_fifth};

	for (int i = 0; i < 2; i++) {
		struct bw_tgb_page at;
		struct bw_tgb *t;
		uint64_t slice;
		struct footer f;

		build(&f, 150, sizes[i]);
		take_pages_out(&f);
		cr_assert_eq(bw_tgb_decode(f.bytes, f.len, f.e.size, &t), 0);
		cr_assert_eq(f.e.footer_xxh3, bw_xxh3(f.bytes, f.len));
		cr_assert_eq(bw_tgb_check(t, &f.stream, &f.e), 0);
		compare(&f, t);
		for (uint32_t r = 0; r < 150; r += 64) {
			cr_assert_eq(bw_tgb_page(&f.stream, &f.e, r, &at), i);
			cr_assert_eq(decode_page(&f, r, &at, &t), i ? -ENOENT : -ENXIO);
		}
		cr_assert(i || (bw_tgb_may_be_even(&f.stream, &f.e, &slice) && slice == 3));
		bw_tgb_unref(t);
		footer_done(&f);
	}
}

/* Five blocks a slice on average; where page 2 would be if all had five lies page 1, of five blocks a slice. */
static uint32_t another_page_in_its_place(uint32_t rank)
{
	static const uint32_t blocks[4][2] = {{12, 12}, {5, 5}, {2, 1}, {2, 1}};
	static const uint32_t until[4] = {63, 64, 36, 14};

	return rank == 63 ? 26 * BLOCK : blocks[rank / 64][rank % 64 >= until[rank / 64]] * BLOCK;
}

Test(tgb_pages, another_page_in_its_place_is_not_damage)
{
	struct bw_tgb_page at;
	struct bw_tgb *page;
	struct footer f;

	build(&f, 256, another_page_in_its_place);
	cr_assert(bw_tgb_page(&f.stream, &f.e, 128, &at));
	cr_assert_eq(memcmp(f.bytes + (at.offset - f.e.raw), f.bytes, 120), 0, "there lies one");
	for (uint32_t r = 0; r < 256; r += 64)
		cr_assert_eq(decode_page(&f, r, &at, &page), -ENOENT);
	footer_done(&f);
}

/* V5: with right sums as well a page names no block that the object has not, and none behind its slices. */
Test(tgb_pages, V5_a_page_stays_within_its_object)
{
	uint8_t *bytes = calloc(1, 1 << 20);
	size_t head = 120 + 3 * 8, length = 16 + 64 * 36;
	struct bw_tgb_page at;
	struct bw_tgb *page;
	struct footer f;

	build(&f, 150, one_block);
	const struct {
		uint32_t blocks;
		uint64_t offset;
		int rc;
	} rows[] = {
		{150, 3 * 64, 0},
		{128, 3 * 64, 0},
		{127, 3 * 64, -BW_E_CORRUPT},
		{64, 3 * 64, -BW_E_CORRUPT},
		{63, 3 * 64, -BW_E_CORRUPT},
		{150, f.e.raw - 3 * 64 - 1, 0},
		{150, f.e.raw - 3 * 64, -BW_E_CORRUPT},
		{150, f.e.raw + 1, -BW_E_CORRUPT},
		{150, UINT64_MAX, -BW_E_CORRUPT},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t le = htole32(rows[i].blocks);

		cut(&f, 64, bytes);
		uint8_t *second = bytes + head + length;
		put_u64(second + head, rows[i].offset);
		for (size_t k = 0; k < 3; k++) {
			memcpy(bytes + k * (head + length) + 48, &le, 4);
			put_u64(bytes + k * (head + length) + 120 + 8, bw_xxh3(second + head, length));
		}
		f.e.footer_xxh3 = bw_tgb_sum(bytes, f.len);
		cr_assert(bw_tgb_page(&f.stream, &f.e, 64, &at));
		int rc = bw_tgb_page_decode(second, at.length, &f.e, 1, &page);
		cr_assert_eq(rc, rows[i].rc, "row %zu: %d", i, rc);
		if (!rc)
			bw_tgb_unref(page);
	}
	free(bytes);
	footer_done(&f);
}

/* Blocks are known by their numbers: no two pages may have the same. */
Test(tgb_pages, a_page_does_not_claim_the_blocks_of_another)
{
	uint8_t *bytes = calloc(1, 1 << 20);
	size_t head = 120 + 3 * 8, length = 16 + 64 * 36;
	struct bw_tgb_page at;
	struct bw_tgb *page;
	struct footer f;

	build(&f, 150, one_block);
	for (uint32_t block0 = 64; block0 < 65; block0 -= 64) {
		cut(&f, 64, bytes);
		uint32_t le = htole32(block0);
		uint8_t *second = bytes + head + length;
		memcpy(second + head + 8, &le, 4);
		for (size_t i = 0; i < 3; i++)
			put_u64(bytes + i * (head + length) + 120 + 8, bw_xxh3(second + head, length));
		f.e.footer_xxh3 = bw_tgb_sum(bytes, f.len);
		cr_assert(bw_tgb_page(&f.stream, &f.e, 64, &at));
		cr_assert_eq(bw_tgb_page_decode(second, at.length, &f.e, 1, &page), block0 ? 0 : -ENOENT);
		if (block0)
			bw_tgb_unref(page);
	}
	free(bytes);
	footer_done(&f);
}

/* "Newer" is only said of bytes that the root vouches for. */
Test(tgb_pages, S8_a_newer_format_is_refused_by_name)
{
	struct bw_tgb_page at;
	struct bw_tgb *page;
	struct footer f;

	build(&f, 150, one_block);
	f.bytes[4]++;
	cr_assert_eq(decode_page(&f, 0, &at, &page), -BW_E_CORRUPT);
	f.e.footer_xxh3 = bw_tgb_sum(f.bytes, f.len);
	cr_assert_eq(decode_page(&f, 0, &at, &page), -BW_E_FORMAT_NEWER);
	footer_done(&f);
}

Test(tgb_pages, even_slices_lie_where_their_sizes_say)
{
	struct footer f;
	uint64_t slice;

	build(&f, 150, one_block);
	cr_assert(bw_tgb_may_be_even(&f.stream, &f.e, &slice));
	cr_assert_eq(slice, 3);
	footer_done(&f);
	build(&f, 150, one_or_more);
	cr_assert_not(bw_tgb_may_be_even(&f.stream, &f.e, &slice));
	footer_done(&f);
}
