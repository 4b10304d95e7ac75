/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The footer's layout (docs/format.md), shared by its reader (tgb.c) and its writer (tgb_builder.c).
 *
 * Of many ranks it has pages, so that who reads one rank needs no more than its page.  The root vouches for the head of
 * the footer, the head for each page, and each page begins with a copy of the head.
 */
#ifndef BW_MANIFEST_TGB_LAYOUT_H
#define BW_MANIFEST_TGB_LAYOUT_H

#include <stdint.h>

#define TGB_MAGIC "BWTF"
#define TGB_END_MAGIC "BWTE"
#define TGB_HEADER 120u		/* up to the slice table, or to the sums of the pages */
#define TGB_NAME_ROOM 67u	/* the name's field: zeros behind the name */
#define TGB_SLICE 24u		/* an element of the slice table */
#define TGB_BLOCK 12u		/* an element of the block table */
#define TGB_SUM 8u		/* of a page, in the head */
#define TGB_PLACE 16u		/* what a page begins with, behind its copy of the head */
#define TGB_FOOTER_MIN (TGB_HEADER + TGB_SLICE + TGB_BLOCK + BW_TGB_TRAILER)

#define TGB_RANKS_AT_ONCE 128u	/* so many have no pages: 36 bytes each are 1.07 bytes a byte of 64 KiB at the most */
#define TGB_PAGE_RANKS 64u	/* at least */
#define TGB_PAGES_MAX 64u	/* then all copies of the head are 40 KB */

/* Ranks of a page (the last one may have fewer); 0: no pages. */
static inline uint32_t tgb_page_ranks(uint32_t ranks)
{
	uint32_t least = (ranks + TGB_PAGES_MAX - 1) / TGB_PAGES_MAX;

	if (ranks <= TGB_RANKS_AT_ONCE)
		return 0;
	return least > TGB_PAGE_RANKS ? least : TGB_PAGE_RANKS;
}

static inline uint32_t tgb_pages(uint32_t ranks, uint32_t page_ranks)
{
	return page_ranks ? (ranks + page_ranks - 1) / page_ranks : 0;
}

static inline uint32_t tgb_head_len(uint32_t pages)
{
	return TGB_HEADER + pages * TGB_SUM;
}

static inline uint64_t tgb_page_len(uint32_t pages, uint32_t ranks, uint64_t blocks)
{
	return tgb_head_len(pages) + TGB_PLACE + (uint64_t)ranks * TGB_SLICE + blocks * TGB_BLOCK;
}

static inline uint64_t tgb_footer_len(uint32_t ranks, uint32_t page_ranks, uint64_t blocks_n)
{
	uint32_t pages = tgb_pages(ranks, page_ranks);
	uint64_t tables = (uint64_t)ranks * TGB_SLICE + blocks_n * TGB_BLOCK;

	return (pages ? (uint64_t)pages * (tgb_head_len(pages) + TGB_PLACE) : TGB_HEADER) + tables + 16;
}

#endif
