/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/bench_report.h"

#include "store/base/err.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

#define BUF 32

const char *bw_report_bytes(char *buf, uint64_t n)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
	double v = (double)n;
	unsigned i = 0;

	for (; v >= 1000 && i < 5; i++)
		v /= 1000;
	snprintf(buf, BUF, i && v < 100 ? "%.1f %s" : "%.0f %s", v, units[i]);
	return buf;
}

const char *bw_report_size(char *buf, uint64_t n)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB"};
	unsigned i = 0;

	for (; n && n % 1024 == 0 && i < 3; i++)
		n /= 1024;
	snprintf(buf, BUF, "%" PRIu64 " %s", n, units[i]);
	return buf;
}

static void print_load(const struct bw_bench_plan *p)
{
	char size[BUF];

	printf("%" PRIu32 " rank%s", p->ranks, p->ranks == 1 ? "" : "s");
	if (p->scratch || p->rows & BW_BENCH_WRITES)
		printf(" of %s", bw_report_size(size, p->size));
	printf(", %" PRIu32 " producer%s with %" PRIu32 " writer%s, %" PRIu32 " reader%s\n", p->producers,
	       p->producers == 1 ? "" : "s", p->writers, p->writers == 1 ? "" : "s", p->readers,
	       p->readers == 1 ? "" : "s");
}

static void print_writes(const struct bw_bench_result *r)
{
	const struct bw_bench_plan *p = r->plan;
	uint64_t steps = bw_bench_plan_steps(p), each = p->size * p->ranks;
	const char *to = p->scratch ? r->stream : p->target;
	char bytes[BUF];

	if (!steps)
		printf("writes nothing\n");
	else if (steps > UINT64_MAX / each)
		printf("writes steps of %s to %s, for %.0f s in each row that writes",
		       bw_report_bytes(bytes, each), to, (double)p->limit_ns / 1e9);
	else
		printf("writes at most %s in %" PRIu64 " steps to %s", bw_report_bytes(bytes, steps * each),
		       steps, to);
	if (steps)
		printf("%s\n", p->scratch ? ", and deletes them at the end" : ", where they stay");
}

void bw_report_begin(const struct bw_bench_result *r)
{
	char target[PATH_MAX];

	snprintf(target, sizeof(target), "%s", r->plan->target);
	printf("batchweave bench of %s: ", bw_make_plain(target));
	print_load(r->plan);
	print_writes(r);
	printf("\n%-8s %7s %8s %8s  %-15s %9s %9s %9s  %8s %8s  %9s %8s\n", "row", "steps", "MB/s", "steps/s",
	       "time of", "p50 ms", "p99 ms", "max ms", "CPU s/GB", "CPU s/GB", "requests", "bytes");
	printf("%-8s %7s %8s %8s  %-15s %9s %9s %9s  %8s %8s  %9s %8s\n", "", "", "", "", "", "", "", "",
	       "daemons", "client", "a step", "a byte");
	fflush(stdout);
}

static void print_times(const char *name, const struct bw_times_summary *s)
{
	char p99[BUF] = "-";

	if (s->n >= BW_TIMES_P99_MIN)
		snprintf(p99, sizeof(p99), "%.3f", (double)s->p99 / 1e6);
	printf("%-15s %9.3f %9s %9.3f", name, (double)s->p50 / 1e6, p99, (double)s->max / 1e6);
}

static void print_costs(const struct bw_bench_row *row)
{
	int64_t cpu = bw_bench_daemon_cpu(row);
	char daemons[BUF] = "-";

	if (cpu >= 0)
		snprintf(daemons, sizeof(daemons), "%.2f", bw_bench_cpu(row, cpu));
	printf("  %8s %8.2f  %9.2f %8.3f\n", daemons, bw_bench_cpu(row, row->client_cpu_ns),
	       row->steps ? (double)bw_bench_requests(row) / (double)row->steps : 0,
	       bw_bench_amplification(row));
}

int bw_report_row(const struct bw_bench_row *row)
{
	struct bw_times_summary s;
	int err = bw_times_sum(&row->times[0], &s);

	if (err)
		return err;
	printf("%-8s %7" PRIu64 " %8.1f %8.1f  ", bw_bench_name(row->kind), row->steps, bw_bench_rate(row),
	       bw_bench_steps_rate(row));
	print_times(bw_bench_time_name(row->kind, 0), &s);
	print_costs(row);
	if (bw_bench_time_name(row->kind, 1)) {
		err = bw_times_sum(&row->times[1], &s);
		if (err)
			return err;
		printf("%-36s", "");
		print_times(bw_bench_time_name(row->kind, 1), &s);
		if (row->kind == BW_BENCH_LOOP)
			printf("  stalled %.1f %% of the time", row->stall * 100);
		printf("\n");
	}
	fflush(stdout);
	return 0;
}

static bool was_run(const struct bw_bench_result *r, enum bw_bench_kind kind)
{
	for (unsigned i = 0; i < r->rows_n; i++)
		if (r->rows[i].kind == kind)
			return true;
	return false;
}

void bw_report_end(const struct bw_bench_result *r)
{
	static const char *const notes[BW_BENCH_KINDS] = {
		[BW_BENCH_INGEST] = "close: the one that commits a batch; batch: from its mkdir to the "
				    "return of that close",
		[BW_BENCH_TAIL] = "delivery: from the return of the last close to the last byte of a rank in "
				  "a reader's memory on\n"
				  "  another mount, below zero where that was earlier; close_to_memory: from "
				  "the call of that close",
		[BW_BENCH_SEEK] = "one reader, steps in random order; read: open to close",
		[BW_BENCH_CATCHUP] = "all steps in order, each reader its rank",
		[BW_BENCH_HOT] = "the same once more",
		[BW_BENCH_LOOP] = "read, then compute: how much of it is waiting for data",
	};
	bool few = false;

	printf("\n");
	for (int k = 0; k < BW_BENCH_KINDS; k++)
		if (was_run(r, (enum bw_bench_kind)k))
			printf("%s: %s\n", bw_bench_name((enum bw_bench_kind)k), notes[k]);
	if (!r->plan->scratch)
		printf("the mount is used as it is: what is read may be in its memory already\n");
	else
		printf("seek, catchup and loop begin on a fresh mount\n");
	for (unsigned i = 0; i < r->rows_n; i++)
		few |= r->rows[i].times[0].n < BW_TIMES_P99_MIN;
	if (few)
		printf("p99 is told from %u samples on: give more --batches\n", BW_TIMES_P99_MIN);
	printf("MB = 10^6 bytes.  What the store has in memory it is not asked to forget.\n");
}
