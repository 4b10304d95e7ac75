/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the jobs of a root ask for: what each still needs (C3), how far it is behind, and how far
 * producers may run ahead of it (P7).
 *
 * A job without a marker has told nothing yet: it counts as one that stands at `first`, where it began to
 * read when it registered.  Pure.
 */
#ifndef BW_FS_JOBS_H
#define BW_FS_JOBS_H

#include "manifest/root.h"

/* C3: it holds fewer markers than keep, so nothing at all is reclaimed. */
bool bw_job_stops_reclaiming(const struct bw_stream *s, const struct bw_job *j);
/* The oldest step that is kept for it. */
uint64_t bw_job_needs(const struct bw_stream *s, const struct bw_root *r, const struct bw_job *j);
/* Where it stands: its newest marker. */
uint64_t bw_job_stands(const struct bw_root *r, const struct bw_job *j);

/* The job that stands farthest back; NULL when none is registered. */
const struct bw_job *bw_jobs_slowest(const struct bw_root *r);
/*
 * P7: would the head, after `more` further steps, be more than max_ahead past where the slowest job stands?
 * Never without max_ahead, and never without a job.
 */
bool bw_jobs_too_far(const struct bw_stream *s, const struct bw_root *r, uint64_t more);

/* A line for status: markers, what is kept for it, and whether it stops all reclaiming. */
void bw_job_print(const struct bw_stream *s, const struct bw_root *r, const struct bw_job *j,
		  struct bw_buf *out);

#endif
