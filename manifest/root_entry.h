/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries and pointers as roots and index nodes share them: spelling, digest, and the rules that
 * hold between neighbours.  Pure.
 */
#ifndef BW_MANIFEST_ROOT_ENTRY_H
#define BW_MANIFEST_ROOT_ENTRY_H

#include "manifest/json.h"
#include "manifest/root.h"

#define BW_VERSION_MAX (BW_COUNTER_MAX - 1)
#define BW_BYTES_MAX (BW_COUNTER_MAX - 1)	/* any size, and any sum of sizes */

/* Steps below one pointer of levels[level]: BW_LEAF_ENTRIES * BW_FANOUT^level. */
uint64_t bw_level_span(unsigned level);

void bw_entry_put(struct bw_buf *b, const struct bw_entry *e);
void bw_entry_get(struct bw_json *j, struct bw_entry *ret);
/* Every number of e is in its range. */
bool bw_entry_valid(const struct bw_entry *e);
/* e may stand directly behind prev: next step, sizes summed, version and time not falling. */
bool bw_entry_follows(const struct bw_entry *prev, const struct bw_entry *e);

/* An array of hashes: what touches each other and is whole (bw_pointer_valid) needs no more. */
void bw_pointers_put(struct bw_buf *b, const struct bw_pointer *pointers, uint32_t n);
/* Element i of such an array, of pointers to nodes of level, the first of which begins at first. */
void bw_pointer_get(struct bw_json *j, unsigned level, uint64_t first, uint32_t i,
		    struct bw_pointer *ret);
/* p spans exactly one whole node of this level. */
bool bw_pointer_valid(unsigned level, const struct bw_pointer *p);

/* Room for element n of a growing array (sizes double); NULL when memory is short. */
void *bw_array_room(void *array, uint32_t n, uint32_t *cap, size_t size);

#endif
