/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `batchweave bench`: what is asked for, and what was measured.
 *
 * The load goes through real mounts with plain open, read, write and close, because that is the path of a
 * training job.  One process drives it; a producer is one thread or several, a reader is a thread.
 *
 * A row is one kind of load, and the rows run one after the other in the order of enum bw_bench_kind:
 *
 *   ingest   P producers write batches; a batch counts when its last close has returned, and the row
 *            ends when all is committed.
 *              close: the one that commits;  batch: from its mkdir to the return of that close
 *   tail     R readers on the other mount wait for each step.
 *              delivery: from the return of the last close to the last byte of a rank in memory, below
 *              zero where a reader was earlier;  close_to_memory: from the call of that close
 *   seek     one reader, steps in random order, a fresh mount.    read: open to last byte and close
 *   catchup  R readers, all steps in order, a fresh mount.        read
 *   hot      the same again.                                      read
 *   loop     R readers, a fresh mount: read, then compute.        read;  step: read and compute
 *
 * "Fresh mount" is what cold means here: nothing in the daemon's memory nor in the page cache of the mount.
 * What the store itself keeps in memory, it keeps.  bench_json.c has the same names.
 *
 * Everything here is a value: no threads.
 */
#ifndef BW_MOUNT_HELPERS_BENCH_H
#define BW_MOUNT_HELPERS_BENCH_H

#include "mount-helpers/bench_counts.h"
#include "mount-helpers/bench_times.h"

#include <stdbool.h>

#define BW_BENCH_RANKS_MAX 4096u
#define BW_BENCH_HANDS_MAX 1024u	/* threads of a row */
#define BW_BENCH_SLICE_MAX (UINT64_C(4) << 30)

enum bw_bench_kind {
	BW_BENCH_INGEST,
	BW_BENCH_TAIL,
	BW_BENCH_SEEK,
	BW_BENCH_CATCHUP,
	BW_BENCH_HOT,
	BW_BENCH_LOOP,
	BW_BENCH_KINDS
};
#define BW_BENCH_ALL ((1u << BW_BENCH_KINDS) - 1)
#define BW_BENCH_WRITES (1u << BW_BENCH_INGEST | 1u << BW_BENCH_TAIL)

/* "ingest"; and what its two times are called, NULL where there is one. */
const char *bw_bench_name(enum bw_bench_kind kind);
const char *bw_bench_time_name(enum bw_bench_kind kind, unsigned i);

#define BW_BENCH_NEWEST UINT64_MAX

struct bw_bench_plan {
	const char *target;	/* as it was typed; borrowed */
	bool scratch;		/* target is a URL: a stream of our own; else the mount of somebody's */
	unsigned rows;		/* a bit for each enum bw_bench_kind */
	uint32_t ranks, producers, writers, readers;
	uint64_t size;		/* bytes of a slice that is written */
	uint64_t batches;	/* at most, of each row that writes; reads of seek and loop: the same */
	int64_t limit_ns;	/* of each row; 0: none */
	int64_t compute_ns;
	uint64_t io;		/* bytes of one read or write at most; 0: the whole slice */
	uint64_t touch;		/* bytes of memory touched and released before the first row */
	bool range;		/* from and to were given */
	uint64_t from, to;	/* steps to read: from <= step < to; from BW_BENCH_NEWEST: the newest of them, as many as batches */
	bool pending;		/* close may return before the commit */
};

#define BW_BENCH_BATCHES 100u

/* Everything but the target at its default: readers and rows are 0, bw_bench_plan_settle() decides. */
void bw_bench_plan_default(struct bw_bench_plan *p);
/* "tail,seek" as bits; 0 when a name is none. */
unsigned bw_bench_rows_parse(const char *list);
/*
 * What was left open, once ranks are known, and what does not fit together.  0 or -EINVAL and a sentence in
 * why.
 */
int bw_bench_plan_settle(struct bw_bench_plan *p, char *why, size_t why_len) bw_must_check;
/* Steps that will be written at most; UINT64_MAX: what --seconds allow. */
uint64_t bw_bench_plan_steps(const struct bw_bench_plan *p);

/* The two mounts; of somebody's mount only the first is used. */
enum bw_bench_side { BW_BENCH_PRODUCERS, BW_BENCH_READERS, BW_BENCH_SIDES };

/* What a daemon did during a row. */
struct bw_bench_use {
	bool mounted;		/* during the whole row */
	bool timed;		/* cpu_ns is known */
	int64_t cpu_ns;		/* user and system */
	struct bw_counts counts;
};

struct bw_bench_row {
	enum bw_bench_kind kind;
	bool cold;		/* on a fresh mount */
	int64_t ns;		/* from the first call to the last */
	uint64_t steps;		/* written; or read, by any number of readers */
	uint64_t slices, bytes;	/* written or read */
	uint64_t verified;	/* slices whose words were looked at */
	int64_t client_cpu_ns;
	struct bw_bench_use use[BW_BENCH_SIDES];
	struct bw_times times[2];	/* owned */
	double stall;		/* loop: the share of reading in the time of the steps */
};
void bw_bench_row_done(struct bw_bench_row *r);

/* All of it: what the report shows. */
struct bw_bench_result {
	const struct bw_bench_plan *plan;
	const char *options;	/* of the mounts; borrowed */
	char stream[4096];	/* URL of the scratch stream; "" */
	int64_t began_ms;	/* wall time */
	unsigned rows_n;
	struct bw_bench_row rows[BW_BENCH_KINDS];
	bool complete;
	char error[1024];	/* why not */
};
void bw_bench_result_done(struct bw_bench_result *r);

/* Of a row: MB/s (10^6), steps/s, CPU seconds per 10^9 bytes, bytes of the store per byte of a slice; 0 for nothing. */
double bw_bench_rate(const struct bw_bench_row *r);
double bw_bench_steps_rate(const struct bw_bench_row *r);
double bw_bench_cpu(const struct bw_bench_row *r, int64_t cpu_ns);
double bw_bench_amplification(const struct bw_bench_row *r);
uint64_t bw_bench_requests(const struct bw_bench_row *r);	/* of both mounts */
int64_t bw_bench_daemon_cpu(const struct bw_bench_row *r);	/* of both; -1 where one is not known */

#endif
