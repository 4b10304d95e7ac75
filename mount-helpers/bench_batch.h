/* SPDX-License-Identifier: Apache-2.0 */
/* One writer's part of batches: files of a mount, written as a program writes them.  One thread. */
#ifndef BW_MOUNT_HELPERS_BENCH_BATCH_H
#define BW_MOUNT_HELPERS_BENCH_BATCH_H

#include "mount-helpers/bench_crew.h"
#include "mount-helpers/bench_load.h"

#include <limits.h>

struct bw_bench_batch {
	struct bw_crew *crew;
	const struct bw_load *load;
	uint32_t producer;
	char dir[PATH_MAX];	/* of the producer */
	uint8_t *bytes;		/* owned: a slice */
	int64_t close_ns;	/* when the last close was called, and when it returned */
	int64_t closed_ns;
};

/* The functions that return int fail through bw_crew_fail().  bw_bench_batch_done() is due in any case. */
int bw_bench_batch_init(struct bw_bench_batch *b, struct bw_crew *crew, const struct bw_load *l, uint32_t producer) bw_must_check;
void bw_bench_batch_done(struct bw_bench_batch *b);

/* Makes the producer and tells its next seq. */
int bw_bench_batch_next(struct bw_bench_batch *b, uint64_t *ret) bw_must_check;
int bw_bench_batch_begin(struct bw_bench_batch *b, uint64_t seq) bw_must_check;	/* the directories */
/* -ECANCELED, and no slice, once the crew ends. */
int bw_bench_batch_write(struct bw_bench_batch *b, uint64_t seq, uint32_t rank) bw_must_check;
/* Gives up a batch that is not whole: nobody will write the rest of it.  Nobody writes to it any more. */
void bw_bench_batch_drop(struct bw_bench_batch *b, uint64_t seq);
/* Returns when all of the producer is committed. */
int bw_bench_batch_drain(struct bw_bench_batch *b) bw_must_check;

#endif
