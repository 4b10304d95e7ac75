/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first blocks of a slice, fetched along with the footer that says where they lie.  Private to the reader.
 *
 * Whoever opens a slice of a step that nobody expected waits for two answers of the store, one after the other: the
 * footer and then the bytes.  But batches of a stream are often cut alike: where an object is as long as one whose
 * footer was read, and its footer too, its blocks are taken to lie as they lie there, and are asked for at
 * once.  The footer decides.  If it says so too they enter the cache, on their way or not, and are checked as
 * any others; otherwise the bytes are dropped.
 *
 * A guess is made for ranks that are read on this mount, and when nobody has asked for the footer yet.
 * Each costs a credit, which comes back with another when the slice is then read: so who looks up names and reads nothing
 * costs a few slices at most.
 *
 * Thread-safe.
 */
#ifndef BW_FS_GUESS_H
#define BW_FS_GUESS_H

#include "fs/tgbs.h"

#define BW_GUESS_LIKES 4u	/* kinds of objects remembered */
#define BW_GUESS_RANKS 64u	/* last guesses remembered, by rank */
#define BW_GUESS_CREDIT 8u	/* at most, and to begin with */

struct bw_guesses {
	struct bw_fetcher *fetcher;	/* all borrowed */
	struct bw_budget *budget;
	struct bw_cache *blocks;
	struct bw_tgbs *tgbs;
	uint64_t most;			/* bytes to fetch of a slice; 0: nothing is guessed */
	struct bw_mutex lock;		/* what follows, and the state of each guess */
	struct bw_like {
		uint64_t size;
		uint32_t footer_len;
		struct bw_tgb *tgb;	/* NULL: free */
	} likes[BW_GUESS_LIKES];
	unsigned next_like, credit, reads;
	uint64_t made[BW_GUESS_RANKS];	/* 1 + step * BW_RANKS_MAX + rank of guesses nobody has read yet; 0: none */
};

void bw_guesses_init(struct bw_guesses *g, struct bw_fetcher *fetcher, struct bw_budget *budget,
		     struct bw_cache *blocks, struct bw_tgbs *tgbs, uint64_t most);
void bw_guesses_done(struct bw_guesses *g);	/* nothing in flight */

/* The slice of rank in entry's step is about to be read, and the rank is one that is read here. */
void bw_guess(struct bw_guesses *g, const struct bw_entry *entry, uint32_t rank);
/* A slice is read from its start: an example for others, and perhaps one that was guessed. */
void bw_guess_learn(struct bw_guesses *g, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank);

#endif
