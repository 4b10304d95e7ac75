/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When the reader of a rank reads, and when it computes.  Private to the reader of blocks.
 *
 * Between the close of a slice and the question for the next one of its rank a training process computes: time to get that
 * one ready for it.  A process that reads all ranks, one after the other, is busy in that time with the others; so
 * what counts of it is how long the thread that asks had no slice open.  Of a thread that has not
 * asked for that rank before, as those of a pool are, nothing is known, and all of it counts.
 *
 * Thread-safe, without a lock: ranks or threads that meet may lose a slice of each other's, and the next one makes up for it.
 */
#ifndef BW_FS_RHYTHM_H
#define BW_FS_RHYTHM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BW_RHYTHM_RANKS 1024u
#define BW_RHYTHM_THREADS 1024u

struct bw_rhythm {
	int64_t (*now)(void);
	struct bw_rhythm_rank {
		atomic_uint_fast64_t asked;	/* the slice (bw_slice_number()) that was asked for last; 0: none */
		atomic_int thread;		/* that asked for it */
		atomic_int_fast64_t opened_ns;	/* when it opened that; 0: not yet, as the next */
		atomic_int_fast64_t closed_ns;
		atomic_int_fast64_t rested_ns;	/* the thread's, then */
		/* Means of the last few: */
		atomic_int_fast64_t pause_ns;	/* from a close to the next question */
		atomic_int_fast64_t read_ns;	/* from an open to its close */
	} ranks[BW_RHYTHM_RANKS];
	struct bw_rhythm_thread {
		atomic_int id;
		atomic_uint_fast64_t open;	/* the slice it opened last */
		atomic_int_fast64_t closed_ns;	/* when it closed that; 0: has not, or has asked for another since */
		atomic_int_fast64_t rested_ns;	/* how long it has had none open, in all */
	} threads[BW_RHYTHM_THREADS];
};

/* now: bw_now(), or a test's clock. */
void bw_rhythm_init(struct bw_rhythm *r, int64_t (*now)(void));

/* The thread opens the slice, or waits for it to be committed. */
void bw_rhythm_asked(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread);
/* The slice is being opened. */
void bw_rhythm_opened(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread);
/* It is closed, by whomever; thread: who opened it. */
void bw_rhythm_closed(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread);

/* Whether the slice is the one of its rank that was asked for last. */
bool bw_rhythm_is_asked(const struct bw_rhythm *r, uint64_t step, uint32_t rank);
/* Whether the reader of rank computes between two slices, for half as long as it reads or longer. */
bool bw_rhythm_pauses(const struct bw_rhythm *r, uint32_t rank);

#endif
