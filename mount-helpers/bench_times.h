/* SPDX-License-Identifier: Apache-2.0 */
/* Samples of a time, and what is told of them.  One thread. */
#ifndef BW_MOUNT_HELPERS_BENCH_TIMES_H
#define BW_MOUNT_HELPERS_BENCH_TIMES_H

#include "store/base/err.h"

#include <stddef.h>
#include <stdint.h>

/* A 99th percentile of fewer says nothing. */
#define BW_TIMES_P99_MIN 100u

struct bw_times {
	int64_t *ns;	/* owned */
	size_t n, room;
};

/* 0 or -ENOMEM. */
int bw_times_add(struct bw_times *t, int64_t ns) bw_must_check;
int bw_times_append(struct bw_times *t, const struct bw_times *more) bw_must_check;
void bw_times_done(struct bw_times *t);

/* What is in them; zeros for no samples.  p99 counts only from BW_TIMES_P99_MIN samples on. */
struct bw_times_summary {
	size_t n;
	int64_t min, p50, p99, max;
	double mean;
};
/* The q-th percentile is the smallest sample that at least q of 100 do not exceed.  0 or -ENOMEM. */
int bw_times_sum(const struct bw_times *t, struct bw_times_summary *ret) bw_must_check;

#endif
