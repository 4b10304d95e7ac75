/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When the reader of a rank reads, and when it computes.  Private to the reader of blocks.
 *
 * Between the close of a slice and the question for the next one of its rank a training process computes: time to get that
 * one ready for it.  A thread that reads all ranks, one after the other, is busy in that time with the others; so what
 * counts of it is how long the thread rested: had no question under way and no slice open.
 *
 * What a thread did is known when the one that closed a rank's slice asks for the next.  Of threads that take turns at a rank, and of
 * those that cannot be seen (another pid namespace: 0), nothing is, and all of the time counts as rest.
 *
 * Nothing is known of a rank until its reader has come back once.  Until then its first pause counts as far as it has come.
 *
 * Thread-safe, one lock.
 */
#ifndef BW_FS_RHYTHM_H
#define BW_FS_RHYTHM_H

#include "store/base/sync.h"

#include <sys/types.h>

#define BW_RHYTHM_RANKS 1024u		/* two that meet forget each other's */
#define BW_RHYTHM_THREADS 1024u		/* a power of 2; of more, those that have rested longest are forgotten */

struct bw_rhythm {
	int64_t (*now)(void);
	struct bw_mutex lock;		/* what follows */
	struct bw_rhythm_rank {
		uint64_t asked;		/* the slice (bw_slice_number()) that was asked for last; 0: none */
		int64_t opened_ns;	/* when it was opened; 0: not yet, as the next */
		int64_t closed_ns;
		pid_t closer;		/* the thread that had opened what was closed then */
		int64_t rested_ns;	/* its sum at that time */
		/* Means of the last few: */
		int64_t read_ns;	/* from an open to its close */
		int64_t rest_ns;	/* of the time from a close to the next question, what its thread rested */
		int64_t busy_ns;	/* and what it did not */
		bool is_known;		/* they have a time from a close to the next question */
		bool was_told;		/* of its first pause */
	} ranks[BW_RHYTHM_RANKS];
	struct bw_rhythm_thread {
		pid_t id;		/* 0: none */
		unsigned busy;		/* questions under way and slices open */
		int64_t since_ns;	/* when busy became 0 */
		int64_t rested_ns;	/* sum of what lay between */
	} threads[BW_RHYTHM_THREADS];
};

/* now: bw_now(), or a test's clock. */
void bw_rhythm_init(struct bw_rhythm *r, int64_t (*now)(void));
void bw_rhythm_done(struct bw_rhythm *r);

/* The thread asks something about a step; and has its answer. */
void bw_rhythm_begin(struct bw_rhythm *r, pid_t thread);
void bw_rhythm_end(struct bw_rhythm *r, pid_t thread);

/* What it asks, between those two, is to open the slice or to wait until it is committed. */
void bw_rhythm_asked(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread);
/* The slice is being opened; and closed, by whomever: thread is who opened it.  Once for each other. */
void bw_rhythm_opened(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread);
void bw_rhythm_closed(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread);

/* Whether the slice is the one of its rank that was asked for last. */
bool bw_rhythm_is_asked(struct bw_rhythm *r, uint64_t step, uint32_t rank);
/* Whether the reader of rank computes between two slices: rests for half as long as it is busy, or longer. */
bool bw_rhythm_pauses(struct bw_rhythm *r, uint32_t rank);
/*
 * When the rank's first pause will be one, at the earliest: now() or before means that it is, and that is told once to
 * who will act on it.  BW_NEVER: it was told, the thread is busy with others, or it is not the first.
 */
int64_t bw_rhythm_first_pause(struct bw_rhythm *r, uint32_t rank, bool will_act);

#endif
