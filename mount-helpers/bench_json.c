/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/bench_report.h"
#include "mount-helpers/json_print.h"
#include "store/base/clock.h"

#include <inttypes.h>
#include <stdio.h>

static void string(const char *name, const char *value)
{
	printf("\"%s\": ", name);
	bw_print_json_string(value);
}

static void print_shape(const struct bw_bench_plan *p)
{
	printf("\"shape\": {\"ranks\": %" PRIu32 ", \"slice_bytes\": %" PRIu64 ", \"producers\": %" PRIu32
	       ", \"writers\": %" PRIu32 ", \"readers\": %" PRIu32,
	       p->ranks, p->size, p->producers, p->writers, p->readers);
	if (p->batches == UINT64_MAX)
		printf(", \"batches\": null");
	else
		printf(", \"batches\": %" PRIu64, p->batches);
	if (p->limit_ns)
		printf(", \"seconds\": %.3f", (double)p->limit_ns / 1e9);
	else
		printf(", \"seconds\": null");
	printf(", \"compute_ms\": %.3f, \"io_bytes\": ", (double)p->compute_ns / 1e6);
	if (p->io)
		printf("%" PRIu64 "}", p->io);
	else
		printf("null}");
}

static void print_samples(const struct bw_times *t)
{
	printf(", \"samples_ms\": [");
	for (size_t i = 0; i < t->n; i++)
		printf("%s%.6f", i ? ", " : "", (double)t->ns[i] / 1e6);
	printf("]");
}

static int print_times(const char *name, const struct bw_times *t, bool samples)
{
	struct bw_times_summary s;
	int err = bw_times_sum(t, &s);

	if (err)
		return err;
	printf("\"%s\": {\"n\": %zu", name, s.n);
	if (s.n)
		printf(", \"min_ms\": %.6f, \"p50_ms\": %.6f, \"mean_ms\": %.6f, \"max_ms\": %.6f, "
		       "\"p99_ms\": ",
		       (double)s.min / 1e6, (double)s.p50 / 1e6, s.mean / 1e6, (double)s.max / 1e6);
	if (s.n >= BW_TIMES_P99_MIN)
		printf("%.6f", (double)s.p99 / 1e6);
	else if (s.n)
		printf("null");
	if (samples)
		print_samples(t);
	printf("}");
	return 0;
}

static void print_use(const char *name, const struct bw_bench_use *u)
{
	printf("\"%s\": {\"cpu_s\": ", name);
	if (u->timed)
		printf("%.6f", (double)u->cpu_ns / 1e9);
	else
		printf("null");
	printf(", \"requests\": {");
	for (int i = 0; i < BW_COUNTS_OPS; i++)
		printf("%s\"%s\": %" PRIu64, i ? ", " : "", bw_counts_op_name((enum bw_counts_op)i),
		       u->counts.requests[i]);
	printf("}, \"store_bytes_in\": %" PRIu64 ", \"store_bytes_out\": %" PRIu64
	       ", \"read_bytes_from_cache\": %" PRIu64 ", \"read_bytes_from_disk\": %" PRIu64
	       ", \"read_bytes_from_store\": %" PRIu64 "}",
	       u->counts.in, u->counts.out, u->counts.cache, u->counts.disk, u->counts.store);
}

static void print_mounts(const struct bw_bench_row *row, bool scratch)
{
	static const char *const names[] = {"producers", "readers"};
	bool more = false;

	printf("\"mounts\": {");
	for (int side = 0; side < BW_BENCH_SIDES; side++) {
		if (!row->use[side].mounted)
			continue;
		printf("%s", more ? ", " : "");
		print_use(scratch ? names[side] : "mount", &row->use[side]);
		more = true;
	}
	printf("}");
}

static void print_figures(const struct bw_bench_row *row)
{
	int64_t cpu = bw_bench_daemon_cpu(row);

	printf("\"seconds\": %.6f, \"steps\": %" PRIu64 ", \"slices\": %" PRIu64 ", \"bytes\": %" PRIu64
	       ", \"verified_slices\": %" PRIu64 ", \"mb_per_s\": %.6f, \"steps_per_s\": %.6f",
	       (double)row->ns / 1e9, row->steps, row->slices, row->bytes, row->verified, bw_bench_rate(row),
	       bw_bench_steps_rate(row));
	printf(", \"client_cpu_s\": %.6f, \"client_cpu_s_per_gb\": %.4f, \"daemon_cpu_s_per_gb\": ",
	       (double)row->client_cpu_ns / 1e9, bw_bench_cpu(row, row->client_cpu_ns));
	if (cpu >= 0)
		printf("%.4f", bw_bench_cpu(row, cpu));
	else
		printf("null");
	printf(", \"requests_per_step\": %.3f, \"amplification\": %.4f",
	       row->steps ? (double)bw_bench_requests(row) / (double)row->steps : 0,
	       bw_bench_amplification(row));
	if (row->kind == BW_BENCH_LOOP)
		printf(", \"stall_share\": %.6f", row->stall);
}

static int print_row(const struct bw_bench_row *row, bool scratch, bool samples)
{
	const char *second = bw_bench_time_name(row->kind, 1);

	printf("{");
	string("row", bw_bench_name(row->kind));
	printf(", \"cold\": %s, ", row->cold ? "true" : "false");
	print_figures(row);
	printf(", \"times\": {");
	int err = print_times(bw_bench_time_name(row->kind, 0), &row->times[0], samples);

	if (!err && second) {
		printf(", ");
		err = print_times(second, &row->times[1], samples);
	}
	printf("}, ");
	print_mounts(row, scratch);
	printf("}");
	return err;
}

int bw_report_json(const struct bw_bench_result *r, bool samples)
{
	char when[32];
	int err = 0;

	bw_wall_text(r->began_ms, when, sizeof(when));
	printf("{\"bench\": 1, ");
	string("version", BW_VERSION);
	printf(", ");
	string("began", when);
	printf(", ");
	string("target", r->plan->target);
	printf(", ");
	if (*r->stream)
		string("stream", r->stream);
	else
		printf("\"stream\": null");
	printf(", ");
	string("options", r->options);
	printf(", ");
	print_shape(r->plan);
	printf(", \"complete\": %s, \"error\": ", r->complete ? "true" : "false");
	if (*r->error)
		bw_print_json_string(r->error);
	else
		printf("null");
	printf(", \"rows\": [");
	for (unsigned i = 0; i < r->rows_n && !err; i++) {
		printf("%s\n", i ? "," : "");
		err = print_row(&r->rows[i], r->plan->scratch, samples);
	}
	printf("]}\n");
	return err;
}
