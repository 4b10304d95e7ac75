/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/jobs.h"

#include <inttypes.h>

bool bw_job_stops_reclaiming(const struct bw_stream *s, const struct bw_job *j)
{
	uint32_t keep = s->options.keep ? s->options.keep : 1;

	return j->markers_n < keep;
}

uint64_t bw_job_needs(const struct bw_stream *s, const struct bw_root *r, const struct bw_job *j)
{
	if (bw_job_stops_reclaiming(s, j))
		return r->first;
	uint64_t oldest = j->markers[0].step;
	uint64_t needs = oldest > s->options.margin ? oldest - s->options.margin : 0;

	return needs > r->first ? needs : r->first;
}

uint64_t bw_job_stands(const struct bw_root *r, const struct bw_job *j)
{
	return j->markers_n ? j->markers[j->markers_n - 1].step : r->first;
}

const struct bw_job *bw_jobs_slowest(const struct bw_root *r)
{
	const struct bw_job *slowest = NULL;

	for (uint32_t i = 0; i < r->jobs_n; i++)
		if (!slowest || bw_job_stands(r, &r->jobs[i]) < bw_job_stands(r, slowest))
			slowest = &r->jobs[i];
	return slowest;
}

bool bw_jobs_too_far(const struct bw_stream *s, const struct bw_root *r, uint64_t more)
{
	const struct bw_job *slowest = bw_jobs_slowest(r);
	uint64_t max = s->options.max_ahead;

	if (!max || !slowest)
		return false;
	/* A marker is at or below the head, so nothing here falls below 0. */
	uint64_t ahead = r->head - bw_job_stands(r, slowest);

	return ahead >= max || more > max - ahead;
}

void bw_job_print(const struct bw_stream *s, const struct bw_root *r, const struct bw_job *j,
		  struct bw_buf *out)
{
	bw_buf_fmt(out, "%s: %" PRIu32 " marker%s", j->name, j->markers_n, j->markers_n == 1 ? "" : "s");
	if (j->markers_n)
		bw_buf_fmt(out, ", oldest at step %" PRIu64 ", newest at %" PRIu64, j->markers[0].step,
			   j->markers[j->markers_n - 1].step);
	bw_buf_fmt(out, ", holds everything from step %" PRIu64, bw_job_needs(s, r, j));
	if (bw_job_stops_reclaiming(s, j))
		bw_buf_fmt(out, "; a job with fewer than %" PRIu32 " markers stops all reclaiming", s->options.keep);
	bw_buf_str(out, "\n");
}
