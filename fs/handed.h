/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel was given of slices that nobody has opened yet.  Private to the reader.
 *
 * Bytes that were handed over lie in the page cache of the mount (V4) and are asked for no more, so reading ahead must
 * not fetch them again, and who opens the slice says what READs would have said.  They are not ours any more, but
 * the kernel gives them up when it must: so no more of them wait than may wait in our own memory.
 *
 * A slice is forgotten when it is opened, and when its reader has not come for long.
 *
 * Thread-safe, one lock.
 */
#ifndef BW_FS_HANDED_H
#define BW_FS_HANDED_H

#include "fs/table.h"
#include "store/base/sync.h"

#include <stdbool.h>

#define BW_HANDED_SLICES 4096u		/* remembered at once */

struct bw_handed {
	uint64_t most;			/* bytes */
	int64_t (*now)(void);
	struct bw_mutex lock;		/* what follows */
	struct bw_table table;
	struct bw_item list;		/* by age */
	uint64_t bytes;
	unsigned n;
};

int bw_handed_init(struct bw_handed *h, uint64_t most, int64_t (*now)(void)) bw_must_check;
void bw_handed_done(struct bw_handed *h);	/* of zeroes: fine */

/* How many blocks of the slice, from its first on. */
uint32_t bw_handed_blocks(struct bw_handed *h, uint64_t step, uint32_t rank);
/*
 * Block index of the slice, of so many bytes, is handed over.  False, and nothing is noted: it is not the slice's next one, for
 * that was opened meanwhile, or so many bytes more may not wait there.  Forgets what has waited for long.
 */
bool bw_handed_add(struct bw_handed *h, uint64_t step, uint32_t rank, uint32_t index, uint64_t bytes);
/* That block was not handed over after all; nothing, when the slice was opened meanwhile. */
void bw_handed_drop(struct bw_handed *h, uint64_t step, uint32_t rank, uint32_t index, uint64_t bytes);
/* Forgets the slice; returns its bytes. */
uint64_t bw_handed_take(struct bw_handed *h, uint64_t step, uint32_t rank);

#endif
