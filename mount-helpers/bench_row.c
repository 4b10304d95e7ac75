/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from a row's counts. */
#include "mount-helpers/bench.h"

void bw_bench_row_done(struct bw_bench_row *r)
{
	bw_times_done(&r->times[0]);
	bw_times_done(&r->times[1]);
}

void bw_bench_result_done(struct bw_bench_result *r)
{
	for (unsigned i = 0; i < r->rows_n; i++)
		bw_bench_row_done(&r->rows[i]);
	r->rows_n = 0;
}

static double per_second(double what, int64_t ns)
{
	return ns > 0 ? what * 1e9 / (double)ns : 0;
}

double bw_bench_rate(const struct bw_bench_row *r)
{
	return per_second((double)r->bytes / 1e6, r->ns);
}

double bw_bench_steps_rate(const struct bw_bench_row *r)
{
	return per_second((double)r->steps, r->ns);
}

double bw_bench_cpu(const struct bw_bench_row *r, int64_t cpu_ns)
{
	return r->bytes ? (double)cpu_ns / (double)r->bytes : 0;
}

double bw_bench_amplification(const struct bw_bench_row *r)
{
	uint64_t moved = 0;

	/* The bytes of a tail are those that were read. */
	for (int side = 0; side < BW_BENCH_SIDES; side++) {
		const struct bw_counts *c = &r->use[side].counts;

		moved += r->kind == BW_BENCH_INGEST ? c->out : c->in;
	}
	return r->bytes ? (double)moved / (double)r->bytes : 0;
}

uint64_t bw_bench_requests(const struct bw_bench_row *r)
{
	uint64_t n = 0;

	for (int side = 0; side < BW_BENCH_SIDES; side++)
		n += bw_counts_requests(&r->use[side].counts);
	return n;
}

int64_t bw_bench_daemon_cpu(const struct bw_bench_row *r)
{
	int64_t ns = 0;
	bool any = false;

	for (int side = 0; side < BW_BENCH_SIDES; side++) {
		const struct bw_bench_use *u = &r->use[side];

		if (u->mounted && !u->timed)
			return -1;
		any |= u->timed;
		ns += u->cpu_ns;
	}
	return any ? ns : -1;
}
