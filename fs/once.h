/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which slices are read past the page cache: those of readers who read a slice once, and in large pieces.
 *
 * Through the page cache a byte is copied twice, and the first copy takes a page from somebody; it is for whoever reads
 * the slice again.  Training mostly reads a slice once.  A file that is opened with FOPEN_DIRECT_IO is copied once, from here to its
 * reader; but each read of its is a request, however small, and who opens it again finds nothing in the page cache.
 *
 * Nobody says beforehand which kind of reader he is, so it is learned.  Slices are opened directly after so many of them in a
 * row that were opened for the first time: few where it pays most, many else.  One that is opened again, or read in small
 * pieces, ends the row, and when it had been taken for the other kind the next row must be longer.
 *
 * It pays most where several were open at once, where the slice has just been committed and is waited for, and where the reader
 * pauses between large ones: those could be put into the page cache before they are opened (fuse_hand.c), but that takes as
 * many new pages as the slice has, which were dear on the machine it was measured on.
 *
 * Slices above BW_ONCE_BYTES are never opened directly: read in small pieces they would take long.
 *
 * Thread-safe, one lock.
 */
#ifndef BW_FS_ONCE_H
#define BW_FS_ONCE_H

#include "store/base/err.h"
#include "store/base/sync.h"

#include <stdbool.h>
#include <stdint.h>

#define BW_ONCE_SEEN 65536u		/* slices that are remembered, more or less */
#define BW_ONCE_BYTES (16u << 20)
#define BW_ONCE_PIECE (128u << 10)	/* a read of less is a small one, unless it reads to the end */
#define BW_ONCE_PIECES 4u		/* small reads of a file that are nothing yet: formats have headers */
#define BW_ONCE_FEW 8u			/* slices in a row */
#define BW_ONCE_MANY 1024u
#define BW_ONCE_CROWD 4u		/* slices open at once */
#define BW_ONCE_LARGE (2u << 20)	/* of 8 MiB either wins (docs/benchmarks.md, "The loop of 8 MiB"), of 1 MiB handing over; between them guessed */

enum bw_once_mode { BW_ONCE_AUTO, BW_ONCE_ALWAYS, BW_ONCE_NEVER };

struct bw_once {
	enum bw_once_mode mode;		/* settled before the first slice is opened */
	struct bw_mutex lock;		/* what follows */
	uint32_t *seen;			/* owned: BW_ONCE_SEEN marks of slices */
	unsigned open;			/* slices */
	bool crowd;			/* so many were open at once in this row */
	unsigned row;
	unsigned factor;		/* of the row that is wanted; grows with what was taken for the other kind */
};

int bw_once_init(struct bw_once *o, enum bw_once_mode mode) bw_must_check;
void bw_once_done(struct bw_once *o);	/* of zeroes: fine */

/* Nothing is opened directly unless somebody insisted: such files could not be mapped.  Before the first slice is opened. */
void bw_once_give_up(struct bw_once *o);

struct bw_once_slice {
	uint64_t step, bytes;
	uint32_t rank;
	bool fresh;			/* committed a moment ago, and nothing after it */
	bool pauses;			/* its reader computes between two slices */
};

/* A slice is opened: returns whether to open it directly. */
bool bw_once_opened(struct bw_once *o, const struct bw_once_slice *s);
/* Whether a slice of so many bytes, whose reader pauses, will rather be opened directly than found in the page cache. */
bool bw_once_rather(struct bw_once *o, uint64_t bytes);
/* It is closed; once for each bw_once_opened(). */
void bw_once_closed(struct bw_once *o);
/* A slice that was opened directly is read in small pieces. */
void bw_once_small(struct bw_once *o);

#endif
