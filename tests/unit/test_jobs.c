/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/jobs.h"
#include "fs/names.h"

#include <criterion/criterion.h>
#include <string.h>

static struct bw_marker marks[] = {{.step = 40, .text = (char *)""}, {.step = 60, .text = (char *)""},
				   {.step = 90, .text = (char *)""}};
static struct bw_job jobs[] = {{.name = "a", .markers_n = 3, .markers = marks},
			       {.name = "b", .markers_n = 2, .markers = marks},
			       {.name = "c"}};

static struct bw_stream stream(uint32_t keep, uint64_t margin, uint64_t max_ahead)
{
	struct bw_stream s;

	memset(&s, 0, sizeof(s));
	s.options.keep = keep;
	s.options.margin = margin;
	s.options.max_ahead = max_ahead;
	return s;
}

static struct bw_root root(uint32_t jobs_n)
{
	struct bw_root r;

	memset(&r, 0, sizeof(r));
	r.first = 10;
	r.head = 100;
	r.jobs = jobs;
	r.jobs_n = jobs_n;
	return r;
}

Test(jobs, C3_what_a_job_needs)
{
	struct bw_root r = root(3);
	struct bw_stream s = stream(2, 0, 0);

	cr_assert_eq(bw_job_needs(&s, &r, &jobs[0]), 40);
	cr_assert_not(bw_job_stops_reclaiming(&s, &jobs[1]));
	cr_assert(bw_job_stops_reclaiming(&s, &jobs[2]));
	cr_assert_eq(bw_job_needs(&s, &r, &jobs[2]), 10);
	s = stream(3, 0, 0);
	cr_assert(bw_job_stops_reclaiming(&s, &jobs[1]));
	cr_assert_eq(bw_job_needs(&s, &r, &jobs[1]), 10);
	s = stream(2, 5, 0);
	cr_assert_eq(bw_job_needs(&s, &r, &jobs[0]), 35);
	s = stream(2, 35, 0);
	cr_assert_eq(bw_job_needs(&s, &r, &jobs[0]), 10, "never below first");
	s = stream(2, 1000, 0);
	cr_assert_eq(bw_job_needs(&s, &r, &jobs[0]), 10);
}

Test(jobs, P7_who_is_slowest)
{
	struct bw_root r = root(0);

	cr_assert_null(bw_jobs_slowest(&r));
	r = root(2);
	cr_assert_str_eq(bw_jobs_slowest(&r)->name, "b");
	cr_assert_eq(bw_job_stands(&r, &jobs[0]), 90);
	r = root(3);
	cr_assert_str_eq(bw_jobs_slowest(&r)->name, "c", "without a marker it stands at first");
	cr_assert_eq(bw_job_stands(&r, &jobs[2]), 10);
}

Test(jobs, P7_how_far_is_too_far)
{
	struct bw_root r = root(2);	/* b stands at 60, the head is 100 */
	struct bw_stream s = stream(2, 0, 41);

	cr_assert_not(bw_jobs_too_far(&s, &r, 1));
	cr_assert(bw_jobs_too_far(&s, &r, 2));
	cr_assert(bw_jobs_too_far(&s, &r, UINT64_MAX));
	s = stream(2, 0, 40);
	cr_assert(bw_jobs_too_far(&s, &r, 1));
	s = stream(2, 0, 10);
	cr_assert(bw_jobs_too_far(&s, &r, 1));
	s = stream(2, 0, 0);
	cr_assert_not(bw_jobs_too_far(&s, &r, UINT64_MAX), "no limit was set");
	s = stream(2, 0, 1);
	r = root(0);
	cr_assert_not(bw_jobs_too_far(&s, &r, UINT64_MAX), "no job is registered");
}

Test(jobs, C2_inode_numbers)
{
	uint64_t numbers[] = {bw_job_ino(0), bw_job_ino(1), bw_job_ino(BW_JOB_NUMBERS - 1), bw_marker_ino(0, 0),
			      bw_marker_ino(0, BW_STEPS_MAX - 1), bw_marker_ino(BW_JOB_NUMBERS - 1, BW_STEPS_MAX - 1)};
	uint32_t job;
	uint64_t step;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		cr_assert(bw_is_job_ino(numbers[i]));
		cr_assert_not(bw_is_step_ino(numbers[i]));
		for (size_t k = 0; k < i; k++)
			cr_assert_neq(numbers[i], numbers[k]);
	}
	cr_assert_not(bw_is_job_ino(bw_step_ino(BW_STEPS_MAX - 1, BW_STEP_DIR, 0)));
	cr_assert_not(bw_is_job_ino(UINT64_C(1) << 32));
	cr_assert_not(bw_job_ino_split(bw_job_ino(7), &job, &step));
	cr_assert_eq(job, 7);
	cr_assert(bw_job_ino_split(bw_marker_ino(BW_JOB_NUMBERS - 1, 5), &job, &step));
	cr_assert_eq(job, BW_JOB_NUMBERS - 1);
	cr_assert_eq(step, 5);
}
