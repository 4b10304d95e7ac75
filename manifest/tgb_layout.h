/* SPDX-License-Identifier: Apache-2.0 */
/* The footer's layout, shared by its reader (tgb.c) and its writer (tgb_builder.c). */
#ifndef BW_MANIFEST_TGB_LAYOUT_H
#define BW_MANIFEST_TGB_LAYOUT_H

#include <stdint.h>

#define TGB_MAGIC "BWTF"
#define TGB_END_MAGIC "BWTE"
#define TGB_HEADER 120u		/* up to the slice table */
#define TGB_NAME_ROOM 67u	/* the name's field: zeros behind the name */
#define TGB_SLICE 24u		/* an element of the slice table */
#define TGB_BLOCK 12u		/* an element of the block table */
#define TGB_FOOTER_MIN (TGB_HEADER + TGB_SLICE + TGB_BLOCK + BW_TGB_TRAILER)

static inline uint64_t tgb_footer_len(uint32_t ranks, uint32_t blocks_n)
{
	return TGB_HEADER + (uint64_t)ranks * TGB_SLICE + (uint64_t)blocks_n * TGB_BLOCK + 16;
}

#endif
