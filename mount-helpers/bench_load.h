/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows themselves: threads that write and read a mounted stream.
 *
 * Each runs a crew, which was initialised for it, to its end and returns its outcome, with the crew to take
 * the samples from.
 */
#ifndef BW_MOUNT_HELPERS_BENCH_LOAD_H
#define BW_MOUNT_HELPERS_BENCH_LOAD_H

#include "mount-helpers/bench.h"
#include "mount-helpers/bench_crew.h"

struct bw_load {
	const struct bw_bench_plan *plan;
	const char *producers, *readers;	/* directories of the mounts */
	const char *name;	/* of producer 0; number i is NAME-i */
	uint64_t run;		/* in each slice that is written */
	uint64_t from, to;	/* steps there are to read */
	const struct bw_crew_watch *watch;
};

/* batches is what the plan says, or what fills a stream for others to read. */
int bw_load_ingest(const struct bw_load *l, const char *what, struct bw_crew *crew) bw_must_check;
int bw_load_tail(const struct bw_load *l, struct bw_crew *crew) bw_must_check;
int bw_load_seek(const struct bw_load *l, struct bw_crew *crew) bw_must_check;
/* catchup and hot; or loop. */
int bw_load_read(const struct bw_load *l, enum bw_bench_kind kind, struct bw_crew *crew) bw_must_check;

/* What a crew measured, added up.  0 or -ENOMEM; bw_bench_row_done() is due in any case. */
int bw_load_sum(const struct bw_crew *crew, enum bw_bench_kind kind, struct bw_bench_row *ret) bw_must_check;

#endif
