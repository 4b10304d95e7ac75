/* SPDX-License-Identifier: Apache-2.0 */
/* The figures of `batchweave bench`, and what it takes for them. */
#include "mount-helpers/bench_report.h"
#include "mount-helpers/bench_slice.h"
#include "store/base/clock.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

/* ---- Times ----------------------------------------------------------------------------------------- */

/* n, n-1, ... 1 */
static struct bw_times falling(size_t n)
{
	struct bw_times t = {.n = 0};

	for (size_t i = n; i; i--)
		cr_assert_eq(bw_times_add(&t, (int64_t)i), 0);
	return t;
}

Test(bench_times, percentiles_are_samples_by_rank)
{
	static const struct {
		size_t n;
		int64_t p50, p99;
	} rows[] = {{1, 1, 1},	   {2, 1, 2},	   {3, 2, 3},	    {99, 50, 99},
		    {100, 50, 99}, {101, 51, 100}, {1000, 500, 990}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bw_times t = falling(rows[i].n);
		struct bw_times_summary s;

		cr_assert_eq(bw_times_sum(&t, &s), 0);
		cr_expect_eq(s.n, rows[i].n);
		cr_expect_eq(s.p50, rows[i].p50, "p50 of %zu: %ld", rows[i].n, (long)s.p50);
		cr_expect_eq(s.p99, rows[i].p99, "p99 of %zu: %ld", rows[i].n, (long)s.p99);
		cr_expect_eq(s.min, 1);
		cr_expect_eq(s.max, (int64_t)rows[i].n);
		cr_expect_float_eq(s.mean, ((double)rows[i].n + 1) / 2, 1e-9);
		cr_expect_eq(t.ns[0], (int64_t)rows[i].n, "samples keep their order");
		bw_times_done(&t);
	}
}

Test(bench_times, may_be_below_zero_or_none_at_all)
{
	struct bw_times t = {.n = 0}, more = falling(3);
	struct bw_times_summary s;

	cr_assert_eq(bw_times_sum(&t, &s), 0);
	cr_expect_eq(s.n, 0);
	cr_assert_eq(bw_times_append(&t, &t), 0);
	cr_assert_eq(bw_times_add(&t, -7), 0);
	cr_assert_eq(bw_times_append(&t, &more), 0);
	cr_assert_eq(bw_times_sum(&t, &s), 0);
	cr_expect_eq(s.n, 4);
	cr_expect_eq(s.min, -7);
	cr_expect_eq(s.p50, 1);
	cr_expect_eq(s.max, 3);
	bw_times_done(&t);
	bw_times_done(&more);
}

/* ---- Counts ---------------------------------------------------------------------------------------- */

#define REQUEST(op, code, n) "batchweave_store_requests_total{op=\"" op "\",code=\"" code "\"} " n "\n"

Test(bench_counts, requests_add_up_over_their_outcomes)
{
	static const char text[] = "# HELP batchweave_store_requests_total Requests.\n" REQUEST(
		"get", "ok", "20") REQUEST("get", "not_found", "3") REQUEST("put", "ok", "7")
		REQUEST("delete_many", "ok", "5") REQUEST("delete", "ok", "2")
			REQUEST("list", "denied",
				"1") "batchweave_store_bytes_total{dir=\"in\"} "
				     "1000\nbatchweave_store_bytes_total{dir=\"out\"} 18446744073709551600\n"
				     "batchweave_read_bytes_total{source=\"cache\"} "
				     "11\nbatchweave_read_bytes_total{source=\"disk\"} 12\n"
				     "batchweave_read_bytes_total{source=\"store\"} "
				     "13\nbatchweave_commit_seconds_sum 1.5\n\n";
	struct bw_counts c, d;

	cr_assert_eq(bw_counts_parse(text, strlen(text), &c), 0);
	cr_expect_eq(c.requests[BW_COUNTS_GET], 23);
	cr_expect_eq(c.requests[BW_COUNTS_PUT], 7);
	cr_expect_eq(c.requests[BW_COUNTS_DELETE], 2);
	cr_expect_eq(c.requests[BW_COUNTS_LIST], 1);
	cr_expect_eq(c.requests[BW_COUNTS_OTHER], 5);
	cr_expect_eq(bw_counts_requests(&c), 38);
	cr_expect_eq(c.in, 1000);
	cr_expect_eq(c.out, UINT64_C(18446744073709551600));
	cr_expect(c.cache == 11 && c.disk == 12 && c.store == 13);
	d = c;
	d.in += 5;
	d.requests[BW_COUNTS_GET] -= 1;
	bw_counts_since(&c, &d, &d);
	cr_expect_eq(d.in, 5);
	cr_expect_eq(bw_counts_requests(&d), 0, "a daemon that is another one does not count below zero");
}

Test(bench_counts, what_is_no_such_page_is_refused)
{
	static const char *const bad[] = {
		"",
		"x",
		"batchweave_store_bytes_total{dir=\"in\"} 1",
		"batchweave_store_bytes_total{dir=\"in\"} \n",
		"batchweave_store_bytes_total{dir=\"in\"} -1\n",
		"batchweave_store_bytes_total{dir=\"in\"} 1 \n",
		"batchweave_store_bytes_total{dir=\"in\"} 184467440737095516160\n",
		REQUEST("get", "ok", ""),
		"batchweave_store_requests_total{op=\"\n",
	};
	struct bw_counts c = {.in = 99};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char *exact =
			malloc(strlen(bad[i]) + !*bad[i]); /* without its NUL: nothing behind it is read */

		cr_assert_not_null(exact);
		memcpy(exact, bad[i], strlen(bad[i]));
		cr_expect_eq(bw_counts_parse(exact, strlen(bad[i]), &c), -EINVAL, "'%s'", bad[i]);
		free(exact);
	}
	cr_expect_eq(c.in, 99, "untouched on failure");
}

/* ---- Slices ---------------------------------------------------------------------------------------- */

static uint8_t *slice(size_t len, const struct bw_stamp *s)
{
	uint8_t *bytes = malloc(len);

	cr_assert_not_null(bytes);
	bw_slice_fill(bytes, len, 42);
	bw_slice_stamp(bytes, len, s);
	return bytes;
}

Test(bench_slice, says_where_it_belongs)
{
	static const size_t lens[] = {BW_SLICE_MIN, 65,	   65535, 65536,  65537,
				      65551,	    65552, 65553, 200000, 1 << 20};
	const struct bw_stamp s = {.run = 5, .seq = UINT64_C(1) << 40, .producer = 3, .rank = 4095};

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		uint8_t *bytes = slice(lens[i], &s);
		struct bw_stamp is;

		cr_assert_eq(bw_slice_check(bytes, lens[i], &is), 0, "%zu bytes", lens[i]);
		cr_expect(is.run == s.run && is.seq == s.seq && is.producer == s.producer &&
			  is.rank == s.rank);
		cr_expect_eq(bw_slice_check(bytes, lens[i] - 1, &is),
			     lens[i] == BW_SLICE_MIN ? -ENOENT : -EILSEQ, "a slice that was cut");
		free(bytes);
	}
}

Test(bench_slice, mixed_slices_are_told)
{
	const struct bw_stamp a = {.run = 1, .seq = 7, .producer = 0, .rank = 1};
	static const struct bw_stamp others[] = {{2, 7, 0, 1}, {1, 8, 0, 1}, {1, 7, 1, 1}, {1, 7, 0, 2}};
	static const size_t len = 300000;
	struct bw_stamp is;

	for (size_t i = 0; i < 4; i++)
		for (size_t at = 0; at < len; at += 65536) {
			uint8_t *x = slice(len, &a), *y = slice(len, &others[i]);

			/* 64 KiB of another slice, as when a reader got the wrong block. */
			memcpy(x + at, y + at, len - at < 65536 ? len - at : 65536);
			cr_expect_eq(bw_slice_check(x, len, &is), -EILSEQ, "other %zu at %zu", i, at);
			free(x);
			free(y);
		}
	uint8_t zeros[4096] = {0};

	cr_expect_eq(bw_slice_check(zeros, sizeof(zeros), &is), -ENOENT, "nobody's");
	cr_expect_eq(bw_slice_check(zeros, 3, &is), -ENOENT);
}

Test(bench_slice, bytes_do_not_compress)
{
	const struct bw_stamp s = {.run = 1};
	uint8_t *bytes = slice(1 << 20, &s);
	unsigned seen[256] = {0};

	for (size_t i = 0; i < 1 << 20; i++)
		seen[bytes[i]]++;
	for (unsigned i = 0; i < 256; i++)
		cr_expect(seen[i] > 3500 && seen[i] < 4700, "byte %u: %u of 4096", i, seen[i]);
	free(bytes);
}

/* ---- The plan -------------------------------------------------------------------------------------- */

static struct bw_bench_plan plan(bool scratch)
{
	struct bw_bench_plan p;

	bw_bench_plan_default(&p);
	p.scratch = scratch;
	return p;
}

Test(bench_plan, rows_are_a_list_of_names)
{
	static const char *const bad[] = {"", ",", "tail,", ",tail", "tails", "tai", "tail, seek", "all"};

	cr_expect_eq(bw_bench_rows_parse("tail"), 1u << BW_BENCH_TAIL);
	cr_expect_eq(bw_bench_rows_parse("loop,ingest,loop"), 1u << BW_BENCH_LOOP | 1u << BW_BENCH_INGEST);
	cr_expect_eq(bw_bench_rows_parse("ingest,tail,seek,catchup,hot,loop"), BW_BENCH_ALL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(bw_bench_rows_parse(bad[i]), 0, "'%s'", bad[i]);
}

Test(bench_plan, nobodys_mount_is_written_to_unless_it_is_said)
{
	struct bw_bench_plan p = plan(false), own = plan(true);
	char why[200];

	cr_assert_eq(bw_bench_plan_settle(&p, why, sizeof(why)), 0);
	cr_expect_eq(p.rows & BW_BENCH_WRITES, 0);
	cr_expect_eq(bw_bench_plan_steps(&p), 0);
	cr_assert_eq(bw_bench_plan_settle(&own, why, sizeof(why)), 0);
	cr_expect_eq(own.rows, BW_BENCH_ALL);
	cr_expect_eq(bw_bench_plan_steps(&own), 2 * BW_BENCH_BATCHES);
	cr_expect_eq(own.readers, 8);
}

Test(bench_plan, tells_how_many_steps_it_writes)
{
	static const struct {
		const char *rows;
		bool scratch;
		uint64_t batches, steps;
	} rows[] = {
		{"ingest", true, 7, 7},
		{"tail", true, 7, 7},
		{"ingest,tail,hot", true, 7, 14},
		{"hot", true, 7, 7},
		{"tail,hot", true, 7, 14},
		{"hot", false, 7, 0},
		{"tail,hot", false, 7, 7},
		{"tail", true, UINT64_MAX, UINT64_MAX},
		{"tail,ingest", true, UINT64_MAX, UINT64_MAX},
	};
	char why[200];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bw_bench_plan p = plan(rows[i].scratch);

		p.rows = bw_bench_rows_parse(rows[i].rows);
		p.batches = rows[i].batches;
		cr_assert_eq(bw_bench_plan_settle(&p, why, sizeof(why)), 0);
		cr_expect_eq(bw_bench_plan_steps(&p), rows[i].steps, "%s", rows[i].rows);
	}
	struct bw_bench_plan p = plan(true);

	p.limit_ns = BW_SEC;
	cr_assert_eq(bw_bench_plan_settle(&p, why, sizeof(why)), 0);
	cr_expect_eq(p.batches, UINT64_MAX, "time alone ends a row");
}

static void refused(struct bw_bench_plan p, const char *what)
{
	char why[200] = "";

	cr_expect_eq(bw_bench_plan_settle(&p, why, sizeof(why)), -EINVAL, "%s", what);
	cr_expect(*why, "%s is explained", what);
}

Test(bench_plan, what_does_not_fit_is_refused)
{
	struct bw_bench_plan p;

	p = plan(true), p.ranks = 4097, refused(p, "ranks");
	p = plan(true), p.ranks = 0, refused(p, "no ranks");
	p = plan(true), p.size = 63, refused(p, "a slice without room for its words");
	p = plan(true), p.size = (UINT64_C(4) << 30) + 1, refused(p, "a huge slice");
	p = plan(true), p.readers = 9, refused(p, "more readers than ranks");
	p = plan(true), p.writers = 9, refused(p, "more writers than ranks");
	p = plan(true), p.producers = 1025, refused(p, "too many threads");
	p = plan(true), p.producers = 513, p.writers = 2, refused(p, "too many threads together");
	p = plan(true), p.range = true, refused(p, "steps of a stream that is not there");
	p = plan(false), p.range = true, p.from = p.to = 5, refused(p, "no steps");
}

/* ---- A row ----------------------------------------------------------------------------------------- */

Test(bench_row, figures_follow_from_its_counts)
{
	struct bw_bench_row r = {.kind = BW_BENCH_CATCHUP, .ns = 2 * BW_SEC, .steps = 50, .bytes = 4000000};

	r.use[BW_BENCH_READERS] =
		(struct bw_bench_use){.mounted = true, .timed = true, .cpu_ns = BW_SEC / 500};
	r.use[BW_BENCH_READERS].counts = (struct bw_counts){.in = 5000000, .out = 1, .requests = {100, 1}};
	r.use[BW_BENCH_PRODUCERS] =
		(struct bw_bench_use){.mounted = true, .timed = true, .cpu_ns = BW_SEC / 500};
	r.use[BW_BENCH_PRODUCERS].counts = (struct bw_counts){.in = 1000000, .out = 8000000, .requests = {2}};
	cr_expect_float_eq(bw_bench_rate(&r), 2.0, 1e-9);
	cr_expect_float_eq(bw_bench_steps_rate(&r), 25.0, 1e-9);
	cr_expect_float_eq(bw_bench_amplification(&r), 1.5, 1e-9);
	cr_expect_eq(bw_bench_requests(&r), 103);
	cr_expect_eq(bw_bench_daemon_cpu(&r), BW_SEC / 250);
	cr_expect_float_eq(bw_bench_cpu(&r, BW_SEC / 250), 1.0, 1e-9, "4 ms for 4 MB: a second for a GB");
	r.kind = BW_BENCH_INGEST;
	cr_expect_float_eq(bw_bench_amplification(&r), 8000001 / 4e6, 1e-9, "what was sent counts");
	r.use[BW_BENCH_READERS].timed = false;
	cr_expect_eq(bw_bench_daemon_cpu(&r), -1, "half of it is not told for the whole");
	r = (struct bw_bench_row){.kind = BW_BENCH_HOT};
	cr_expect(bw_bench_rate(&r) == 0 && bw_bench_cpu(&r, 5) == 0 && bw_bench_amplification(&r) == 0,
		  "no division by 0");
	cr_expect_eq(bw_bench_daemon_cpu(&r), -1);
}

Test(bench_row, sizes_are_readable)
{
	char buf[32];

	cr_expect_str_eq(bw_report_size(buf, 64), "64 B");
	cr_expect_str_eq(bw_report_size(buf, 65536), "64 KiB");
	cr_expect_str_eq(bw_report_size(buf, 1000000), "1000000 B");
	cr_expect_str_eq(bw_report_size(buf, 8 * MIB), "8 MiB");
	cr_expect_str_eq(bw_report_size(buf, 4096 * MIB), "4 GiB");
	cr_expect_str_eq(bw_report_bytes(buf, 999), "999 B");
	cr_expect_str_eq(bw_report_bytes(buf, 1500), "1.5 kB");
	cr_expect_str_eq(bw_report_bytes(buf, 838860800), "839 MB");
	cr_expect_str_eq(bw_report_bytes(buf, UINT64_MAX), "18447 PB");
}
