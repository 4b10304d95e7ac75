/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the newest root names, to be looked up by key while objects are listed: open addressing, 24
 * bytes an object.  A key is known by 64 bits of its hash alone: that any two of ten million are alike has a chance
 * of 3 in 10^6, and then they are taken for one object that two steps name.  One thread.
 */
#ifndef BW_MANIFEST_FSCK_TABLE_H
#define BW_MANIFEST_FSCK_TABLE_H

#include "manifest/key.h"

struct fsck_cell {
	uint64_t hash;		/* 0: free */
	uint64_t step;		/* of the entry; first of the node */
	uint64_t size : 63;
	uint64_t seen : 1;	/* it was listed */
};

struct fsck_table {
	struct fsck_cell *cells;	/* owned, [mask + 1] */
	uint64_t mask, n;
};

/* How many objects fit into so many bytes. */
uint64_t fsck_table_room(uint64_t bytes);
/* Makes it empty, with room for n objects. */
int fsck_table_reset(struct fsck_table *t, uint64_t n) bw_must_check;
void fsck_table_done(struct fsck_table *t);

uint64_t fsck_hash(const struct bw_key *k);	/* never 0 */
/* *ret_other NULL: it was not there and is now; else the cell that has it.  Grows when there is no room. */
int fsck_table_add(struct fsck_table *t, uint64_t hash, uint64_t step, uint64_t size,
		   const struct fsck_cell **ret_other) bw_must_check;
struct fsck_cell *fsck_table_find(const struct fsck_table *t, uint64_t hash);

#endif
