/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first blocks of a slice, fetched along with the footer that says where they lie.  Private to the reader.
 *
 * Whoever opens a slice of a step that nobody expected waits for two answers of the store, one after the other: the
 * footer and then the bytes.  But batches of a stream are often cut alike: where an object is as long as one whose
 * footer was read, and its footer too, its blocks are taken to lie as they lie there, and are asked for at
 * once.  Without such an example the slices of a batch are taken to be of one length, where the sizes in its entry
 * allow it and the last batch that was new here did not show otherwise.  The footer decides.  If it says so too the
 * blocks enter the cache, on their way or not, and are checked as any others; otherwise the bytes are dropped.
 *
 * A guess is made when nobody has asked for the footer yet.
 * Each costs a credit, which comes back with another when the slice is then read: so who looks up names and reads nothing
 * costs a few slices at most, and of ranks that are not read on this mount next to nothing.
 *
 * Thread-safe.
 */
#ifndef BW_FS_GUESS_H
#define BW_FS_GUESS_H

#include "fs/names.h"
#include "fs/tgbs.h"

#define BW_GUESS_LIKES 4u	/* kinds of objects remembered */
#define BW_GUESS_RANKS 64u	/* last guesses remembered, by rank */
#define BW_GUESS_CREDIT 8u	/* at most, and to begin with */
#define BW_GUESS_STRANGERS 2u	/* guesses nobody has read yet, beyond which none is made for a rank that is not read here */

struct bw_guesses {
	struct bw_fetcher *fetcher;	/* all borrowed */
	struct bw_budget *budget;
	struct bw_cache *blocks;
	struct bw_tgbs *tgbs;
	uint64_t most;			/* bytes of one get; 0: nothing is guessed */
	struct bw_mutex lock;		/* what follows, and the state of each guess */
	struct bw_like {
		uint64_t size;
		uint32_t footer_len;
		struct bw_tgb *tgb;	/* NULL: free */
		unsigned trust;		/* 1, 2 when a guess by it was right, less when one was wrong; 0: none is made */
	} likes[BW_GUESS_LIKES];
	bool uneven;			/* slices of the last object that was not like another, or of one that was taken for even */
	unsigned next_like, credit, reads;
	uint64_t made[BW_GUESS_RANKS];	/* 1 + step * BW_RANKS_MAX + rank of guesses nobody has read yet; 0: none */
};

/* Why a guess is wanted. */
enum bw_guess_for {
	BW_GUESS_STRANGER,	/* somebody asks for a slice of a rank that is not read here yet */
	BW_GUESS_READER,	/* ... of one that is */
	BW_GUESS_FOLLOWER,	/* a step has come that a reader of the rank awaits: several gets, when it is sure */
};

void bw_guesses_init(struct bw_guesses *g, struct bw_fetcher *fetcher, struct bw_budget *budget,
		     struct bw_cache *blocks, struct bw_tgbs *tgbs, uint64_t most);
void bw_guesses_done(struct bw_guesses *g);	/* nothing in flight */

/* The slice of rank in entry's step is about to be read. */
void bw_guess(struct bw_guesses *g, const struct bw_entry *entry, uint32_t rank, enum bw_guess_for why);
/* A slice is read from its start: an example for others, and perhaps one that was guessed. */
void bw_guess_learn(struct bw_guesses *g, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank);

#endif
