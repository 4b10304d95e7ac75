/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to fetch before it is asked for.  Private to the reader; a policy without a thread.
 *
 * A sequential reader that enters a block, and whoever reads a slice from its start, has a window of
 * BW_PREFETCH_BLOCKS blocks before it.  What of the window lies past the end of the slice lies in the
 * same rank's slices of the next steps, at most `steps` of them and below the head that is known: that
 * part goes on by itself as index nodes and footers arrive.  Where memory has no room the window ends;
 * the next block entered opens it again.
 *
 * Other steps are fetched for a rank that is read step after step: from its third step in a row on, first one, then one
 * more with each, or from its first one, when that is the stream's first or newest.  Two steps that happen to lie
 * near each other say little in a short stream.  Who jumps about gets what is asked for and no more; several
 * readers of one rank, who overtake each other by a few steps now and then, are not taken for such.
 *
 * Blocks that lie next to each other in the object come in one get, of one slice `together` bytes at most and half a window, so
 * that a reader never waits for a whole window at once.  Until the window holds so many of them, or the last one
 * of the slice, they are left for the next block entered.  Behind the last one of a slice lies the next rank's: when
 * that is read here too, step after step, and its reader has not come to this step, its blocks come along, half a
 * window in all, or more when that is less than `together`.  Slices of one block bring along those before them as well: the object
 * counts as cut at multiples of `together`, or of half a window of them, so that the gets do not depend on whose reader comes first.
 *
 * Who has come to the newest steps is followed by the head: it hears of a commit as soon as the store can tell, and
 * what the window has room for of the new steps is fetched at once, for each rank that is read step after step.
 *
 * A step that has just been committed is perhaps waited for: where one rank is read, its first blocks are asked for along
 * with the footer (guess.h).  Several come together, once that is there.
 *
 * A slice of a later step whose bytes are there goes into the kernel's page cache before its reader opens it, where the
 * mount can do that (handed.h, fuse_hand.c), and when that reader computes between two slices (rhythm.h): from one
 * that hardly pauses it would only take the processor.  What was there before that was known is offered when the window comes
 * there again, or when the first pause turns out to be one.  Blocks handed over count as there.  Who opens such a slice moves the
 * window as a READ of its last block there would, for none of them is read here any more.
 *
 * Where the store is far, `steps` may be too few: whenever as many slices that were expected had to be waited for all the
 * same as ranks are read here, or four, they become one more, up to a bound, and the window half as many blocks as it began with.
 *
 * Memory that is short goes to all: a window that had no room makes everybody's smaller by a block, or
 * the first readers would keep all of it; many that had room make them larger again.
 *
 * So does a way to the store that is too narrow: a get ahead that was not answered in its time has taken from the others what they
 * needed, and is made once more.  Then windows have half as many blocks, down to none for a while, and one more whenever as
 * many gets ahead as they have blocks have come.
 *
 * Thread-safe.
 */
#ifndef BW_FS_PREFETCH_H
#define BW_FS_PREFETCH_H

#include "fs/guess.h"
#include "fs/handed.h"
#include "fs/rhythm.h"

#define BW_PREFETCH_BLOCKS 8
#define BW_PREFETCH_ALL UINT32_MAX
#define BW_PREFETCH_RANKS 1024u		/* whose last step is remembered; two that meet forget each other's */

struct bw_prefetch {
	struct bw_fetcher *fetcher;	/* all borrowed */
	struct bw_cache *blocks;
	struct bw_tgbs *tgbs;
	struct bw_guesses *guesses;	/* NULL until it is set: none are made */
	struct bw_rhythm *rhythm;	/* set before anything is asked for */
	struct bw_handed handed;	/* of zeroes where nothing is handed over, and then the next is NULL */
	void (*offer)(void *ctx, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank);
	void *ctx;
	atomic_uint steps;
	atomic_uint late;		/* slices that were waited for since steps grew */
	uint32_t steps_most;
	uint64_t together;		/* bytes; 0: each block by itself */
	atomic_uint walks;		/* windows that are looking for the next steps */
	atomic_uint window;		/* blocks, 1 to window_most */
	atomic_uint window_most;	/* BW_PREFETCH_BLOCKS, and more with `steps` */
	atomic_uint calm;		/* windows since it changed that found room */
	atomic_uint reach;		/* blocks of a window that come in time; BW_PREFETCH_ALL: as many as it has */
	atomic_uint in_time;		/* gets ahead that did, since reach changed */
	atomic_int_fast64_t cut_ns;	/* when it became smaller; 0: never */
	struct bw_prefetch_last {
		atomic_uint_fast64_t step_rank;	/* 1 + step * BW_RANKS_MAX + rank; 0: none */
		atomic_uint row;		/* how many steps followed one another */
	} last[BW_PREFETCH_RANKS];
};

void bw_prefetch_init(struct bw_prefetch *p, struct bw_fetcher *fetcher, struct bw_cache *blocks,
		      struct bw_tgbs *tgbs, uint32_t steps, uint32_t most, uint64_t together);

/* The start of a slice was asked for and is not there yet. */
void bw_prefetch_late(struct bw_prefetch *p, uint32_t rank, uint64_t step);
/* The first step that is far from all readers who were below step last; 0: there are none.  Looks at all ranks: once for many steps. */
uint64_t bw_prefetch_far(struct bw_prefetch *p, uint64_t step);
/* Whether that rank is one of those that are read here. */
bool bw_prefetch_knows(struct bw_prefetch *p, uint32_t rank);
/* at has been entered; its own flight, if any, is under way.  Nothing of at is kept. */
void bw_prefetch_entered(struct bw_prefetch *p, const struct bw_block_want *at);
/* Whether the reader of rank, who pauses between slices, will come to step soon, and has not come yet. */
bool bw_prefetch_expects(struct bw_prefetch *p, uint32_t rank, uint64_t step);
/* Bytes of a slice have come that nobody has asked for: offers those that are expected.  Only where there is an offer(). */
void bw_prefetch_came(struct bw_prefetch *p, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank);
/*
 * Offers what is there to readers whose first pause this is.  Returns when to look again, a time of the rhythm's clock; BW_NEVER:
 * when one of them has closed a slice.
 */
int64_t bw_prefetch_first_pauses(struct bw_prefetch *p);
/* How many blocks one has now: for as many there is memory, and they come in time. */
unsigned bw_prefetch_window(struct bw_prefetch *p);
/* A get ahead that was begun then has come, or was given up because it took too long. */
void bw_prefetch_ended(struct bw_prefetch *p, int64_t begun_ns, bool in_time);
/* The steps [old, now) were committed. */
void bw_prefetch_news(struct bw_prefetch *p, uint64_t old, uint64_t now);

#endif
