/* SPDX-License-Identifier: Apache-2.0 */
/* batchweave top: reading what a mount says, rates between two looks, and how they are shown. */
#include "mount-helpers/top.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A page of a mount; numbers times n. */
static const char page_text[] =
	"# HELP batchweave_head_step x\n# TYPE batchweave_head_step gauge\nbatchweave_head_step %d\n"
	"batchweave_stream_bytes_total %d000000\n"
	"batchweave_commits_total{result=\"ok\"} %d\nbatchweave_commits_total{result=\"failed\"} 0\n"
	"batchweave_commits_total{result=\"conflict\"} 4\n"
	"batchweave_read_bytes_total{source=\"cache\"} %d000000\nbatchweave_read_bytes_total{source=\"disk\"} 0\n"
	"batchweave_read_bytes_total{source=\"store\"} 0\n"
	"batchweave_store_requests_total{op=\"get\",code=\"ok\"} %d\n"
	"batchweave_store_requests_total{op=\"get\",code=\"denied\"} 3\n"
	"batchweave_store_requests_total{op=\"get\",code=\"not_found\"} 2\n"
	"batchweave_store_request_seconds_bucket{op=\"get\",le=\"0.001\"} 0\n"
	"batchweave_store_request_seconds_bucket{op=\"get\",le=\"0.003\"} %d\n"
	"batchweave_store_request_seconds_bucket{op=\"get\",le=\"+Inf\"} %d\n"
	"batchweave_store_request_seconds_sum{op=\"get\"} 1.5\nbatchweave_store_request_seconds_count{op=\"get\"} %d\n"
	"batchweave_lag_steps{job=\"a.b\"} 17\nbatchweave_waiters{reason=\"step\"} 2\n"
	"batchweave_wait_seconds_sum{reason=\"step\"} %d\nother_program_total 5\n";

static const char status_text[] =
	"{\"stream\":\"00ff\",\"ranks\":8,\"sealed\":false,\"version\":9,\"new\":[{\"x\":[1,{}]}],"
	"\"producers\":{\"p.next\":{\"next\":5,\"pending\":1}},\"jobs\":{\"a.b\":{\"markers\":[3,4],"
	"\"holds\":3,\"stops_reclaiming\":true}},\"store\":{\"url\":\"file:///a \\\"b\\u0007\",\"ok\":false,"
	"\"last_error\":\"gone\"}}\n";

static struct bw_top *look(int n, int64_t at_ns)
{
	struct bw_top *t = bw_top_new();
	char text[4096];

	snprintf(text, sizeof(text), page_text, n, n, n, n, n, n, n, n, n);
	cr_assert_eq(bw_top_metrics(text, strlen(text), t), 0);
	cr_assert_eq(bw_top_status(status_text, strlen(status_text), t), 0);
	t->at_ns = at_ns;
	t->of_mount = true;
	return t;
}

Test(top, reads_what_a_mount_says)
{
	struct bw_top *t = look(10, 0);

	cr_expect_eq(t->v[BW_TOP_HEAD], 10);
	cr_expect_eq(t->v[BW_TOP_COMMITS], 10);
	cr_expect_eq(t->v[BW_TOP_CONFLICTS], 4);
	cr_expect_eq(t->v[BW_TOP_REQUESTS], 15, "the sum of all");
	cr_expect_eq(t->v[BW_TOP_BAD], 3, "an answer of no is not bad");
	cr_expect_eq(t->v[BW_TOP_WAITERS + BW_WAIT_STEP], 2);
	cr_expect_eq(t->v[BW_TOP_WAITED + BW_WAIT_STEP], 10);
	cr_expect(isnan(t->v[BW_TOP_WAITERS + BW_WAIT_MARK]), "not said");
	cr_expect_str_eq(t->stream, "00ff");
	cr_expect_str_eq(t->url, "file:///a \"bu0007", "nothing in it steers a terminal: %s", t->url);
	cr_expect_str_eq(t->trouble, "gone");
	cr_expect_not(t->ok);
	cr_expect_eq(t->ranks, 8);
	cr_expect_eq(t->v[BW_TOP_VERSION], 9);
	cr_assert_eq(t->jobs_n, 1, "the metric and the status are of one job");
	cr_expect_str_eq(t->jobs[0].name, "a.b");
	cr_expect_eq(t->jobs[0].lag, 17);
	cr_expect_eq(t->jobs[0].markers, 2);
	cr_expect(t->jobs[0].stops);
	cr_assert_eq(t->producers_n, 1);
	cr_expect_str_eq(t->producers[0].name, "p.next");
	cr_expect_eq(t->producers[0].next, 5);
	cr_expect_eq(t->producers[0].pending, 1);
	free(t);
}

Test(top, refuses_what_is_no_status)
{
	static const char *const metrics[] = {"", "batchweave_head_step 1", "batchweave_head_step\n",
					      "batchweave_head_step x\n", "batchweave_waiters{reason=\"step\" 1\n",
					      "batchweave_head_step 0x10\n", "batchweave_head_step  1\n"};
	static const char *const status[] = {"", "[1]", "{", "{}}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":\"b}",
					     "{\"a\":[1}", "{\"a\\", "{\"stream\":\"x\n\"}"};
	char deep[100];
	struct bw_top *t = bw_top_new();

	for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++)
		cr_expect_eq(bw_top_metrics(metrics[i], strlen(metrics[i]), t), -EINVAL, "%s", metrics[i]);
	for (size_t i = 0; i < sizeof(status) / sizeof(status[0]); i++)
		cr_expect_eq(bw_top_status(status[i], strlen(status[i]), t), -EINVAL, "%s", status[i]);
	memset(deep, '[', sizeof(deep));
	memcpy(deep, "{\"a\":", 5);
	cr_expect_eq(bw_top_status(deep, sizeof(deep), t), -EINVAL, "too deep");
	free(t);
}

Test(top, rates_are_of_a_second)
{
	struct bw_top *a = look(10, 0), *b = look(30, 2000000000);

	cr_expect_float_eq(bw_top_rate(a, b, BW_TOP_HEAD), 10, 1e-9);
	cr_expect_float_eq(bw_top_rate(a, b, BW_TOP_BYTES), 10e6, 1e-3);
	cr_expect_float_eq(bw_top_rate(a, b, BW_TOP_CONFLICTS), 0, 1e-9);
	cr_expect(isnan(bw_top_rate(b, a, BW_TOP_HEAD)), "time does not run back");
	cr_expect(isnan(bw_top_rate(a, b, BW_TOP_PUTS)), "nobody told");
	cr_expect(isnan(bw_top_rate(a, a, BW_TOP_HEAD)), "no time has passed");
	/* The mount was started anew: its counters begin at 0. */
	a->at_ns = 4000000000;
	cr_expect_eq(bw_top_rate(b, a, BW_TOP_COMMITS), 0);
	free(a);
	free(b);
}

Test(top, percentile_is_a_bound)
{
	struct bw_top *a = look(0, 0), *b = look(100, BW_SEC);

	cr_expect_float_eq(bw_top_p99(a, b, 0), 0.003, 1e-12);
	b->buckets[0][2].count = 102;	/* two of 102 took longer */
	cr_expect(isinf(bw_top_p99(a, b, 0)));
	b->buckets[0][2].count = 101;
	cr_expect_float_eq(bw_top_p99(a, b, 0), 0.003, 1e-12);
	cr_expect(isnan(bw_top_p99(a, b, 1)), "no puts");
	cr_expect(isnan(bw_top_p99(b, b, 0)), "none in between");
	free(a);
	free(b);
}

/* The page as text; the caller frees. */
static char *view(const struct bw_top *a, const struct bw_top *b, unsigned columns, unsigned rows)
{
	struct bw_buf out;

	bw_buf_init(&out, 1 << 20);
	bw_top_view(a, b, "NOW", columns, rows, &out);
	cr_assert_eq(bw_buf_err(&out), 0);
	char *text = strdup(bw_buf_text(&out));

	bw_buf_done(&out);
	return text;
}

Test(top, the_page_says_what_happened)
{
	static const char *const wanted[] = {
		"8 ranks", "to 30 ", "10.0 steps/s", "10.0 MB/s", "memory 100 %", "step 2 (10.0 s/s)", "a.b ",
		"stops reclaiming", "DOES NOT ANSWER AS IT SHOULD: gone", "p.next ", "99 of 100 within 3.0 ms",
		"10.0 requests/s",
	};
	struct bw_top *a = look(10, 0), *b = look(30, 2000000000);
	char *text = view(a, b, 200, 100);

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		cr_expect(strstr(text, wanted[i]), "%s is not in\n%s", wanted[i], text);
	cr_expect_not(strstr(text, "nan"), "%s", text);
	free(text);
	b->of_mount = false;	/* a URL tells less, and says nothing that it does not know */
	text = view(a, b, 200, 100);
	cr_expect(strstr(text, "10.0 steps/s"));
	cr_expect_not(strstr(text, "waiting"), "%s", text);
	free(text);
	free(a);
	free(b);
}

Test(top, the_page_fits_every_terminal)
{
	struct bw_top *a = look(10, 0), *b = look(30, 2000000000);

	for (unsigned columns = 1; columns < 120; columns += 7) {
		for (unsigned rows = 1; rows < 30; rows++) {
			char *text = view(a, b, columns, rows);
			unsigned lines = 0;

			for (char *p = text; *p; lines++) {
				size_t len = strcspn(p, "\n");

				cr_assert_leq(len, columns);
				p += len + 1;
			}
			cr_assert_leq(lines, rows);
			free(text);
		}
	}
	free(a);
	free(b);
}

Test(top, a_line_and_json_tell_the_same)
{
	struct bw_top *a = look(10, 0), *b = look(30, 2000000000), *empty = bw_top_new();
	struct bw_buf out;

	bw_buf_init(&out, 1 << 16);
	bw_top_line(a, b, "NOW", &out);
	cr_expect(strstr(bw_buf_text(&out), "NOW head=30 "), "%s", bw_buf_text(&out));
	cr_expect(strstr(bw_buf_text(&out), " steps_per_s=10.0 "), "%s", bw_buf_text(&out));
	cr_expect(strstr(bw_buf_text(&out), " waiting_step=2 store=trouble\n"), "%s", bw_buf_text(&out));
	bw_buf_reset(&out);
	bw_top_json(a, b, "NOW", &out);
	cr_expect(strstr(bw_buf_text(&out), "\"steps_per_s\":10,"), "%s", bw_buf_text(&out));
	cr_expect(strstr(bw_buf_text(&out), "\"a.b\":17"), "%s", bw_buf_text(&out));
	cr_expect_eq(bw_top_status(bw_buf_text(&out), out.len, empty), 0, "it is JSON");
	bw_buf_reset(&out);
	bw_top_json(empty, empty, "NOW", &out);
	cr_expect(strstr(bw_buf_text(&out), "\"head\":null"), "%s", bw_buf_text(&out));
	cr_expect_not(strstr(bw_buf_text(&out), "nan"));
	bw_buf_done(&out);
	free(a);
	free(b);
	free(empty);
}
