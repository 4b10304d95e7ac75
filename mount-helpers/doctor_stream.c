/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/doctor_store.h"

#include "fs/jobs.h"
#include "store/base/clock.h"
#include "store/base/rand.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LONG_MS (INT64_C(3600) * 1000)	/* without a commit: worth a look */
#define NAMED 3u			/* names in one line */

/* "1.5 hours"; what is below zero, by clocks that differ, counts as none. */
static const char *ago(int64_t ms, char buf[32])
{
	double seconds = ms > 0 ? (double)ms / 1000 : 0;

	if (seconds < 120)
		snprintf(buf, 32, "%.0f seconds", seconds);
	else if (seconds < 7200)
		snprintf(buf, 32, "%.0f minutes", seconds / 60);
	else if (seconds < 172800)
		snprintf(buf, 32, "%.1f hours", seconds / 3600);
	else
		snprintf(buf, 32, "%.1f days", seconds / 86400);
	return buf;
}

static void check_head(struct bw_doctor *d, const struct bw_stream *s, const struct bw_root *root, int64_t now_ms)
{
	char id[33], since[32];

	bw_hex(s->id, sizeof(s->id), id);
	ago(now_ms - root->time_ms, since);
	bw_doctor_add(d, BW_FINE, "stream", "",
		      "%s, format %" PRIu32 ", %" PRIu32 " rank%s, steps %" PRIu64 " to %" PRIu64 ", version %" PRIu64
		      " committed %s ago%s",
		      id, s->format, s->options.ranks, s->options.ranks == 1 ? "" : "s", root->first, root->head, root->version, since,
		      root->sealed ? ", sealed" : "");
}

/* A list of names, the first NAMED of them. */
struct list {
	unsigned n;
	char text[256];
};

static void add_name(struct list *l, const char *name)
{
	size_t len = strlen(l->text);

	if (l->n < NAMED)
		snprintf(l->text + len, sizeof(l->text) - len, "%s%s", l->n ? ", " : "", name);
	else if (l->n == NAMED)
		snprintf(l->text + len, sizeof(l->text) - len, " ...");
	l->n++;
}

/* Behind: it has committed once, and others went on without it for long. */
static void check_producers(struct bw_doctor *d, const struct bw_root *root, int64_t now_ms)
{
	struct list behind = {.n = 0};
	int64_t newest_ms = 0;
	char since[32];

	for (uint32_t i = 0; i < root->producers_n; i++)
		if (root->producers[i].next && root->producers[i].last_ms > newest_ms)
			newest_ms = root->producers[i].last_ms;
	for (uint32_t i = 0; i < root->producers_n; i++)
		if (root->producers[i].next && newest_ms - root->producers[i].last_ms > LONG_MS)
			add_name(&behind, root->producers[i].name);
	if (root->sealed)
		bw_doctor_add(d, BW_FINE, "producers", "", "%" PRIu32 "; the stream is sealed", root->producers_n);
	else if (behind.n)
		bw_doctor_add(d, BW_NOTE, "producers",
			      "if they should run: status/waiting and status/errors of the mount they write to say why",
			      "%u of %" PRIu32 " committed nothing while others did, for an hour or more: %s", behind.n,
			      root->producers_n, behind.text);
	else if (root->head && now_ms - newest_ms > LONG_MS)
		bw_doctor_add(d, BW_NOTE, "producers",
			      "if they should run: status/waiting and status/errors of the mount they write to say why",
			      "nothing has been committed for %s", ago(now_ms - newest_ms, since));
	else
		bw_doctor_add(d, BW_FINE, "producers", "", "%" PRIu32, root->producers_n);
}

static void check_ahead(struct bw_doctor *d, const struct bw_stream *s, const struct bw_root *root)
{
	const struct bw_job *slowest = bw_jobs_slowest(root);
	char remedy[256];

	if (root->sealed || !bw_jobs_too_far(s, root, 1))
		return;
	snprintf(remedy, sizeof(remedy), "let job %s set a marker; or withdraw it, if it is gone: batchweave checkpoint"
		 " URL %s --remove", slowest->name, slowest->name);
	bw_doctor_add(d, BW_NOTE, "max-ahead", remedy,
		      "producers wait: the head, %" PRIu64 ", is %" PRIu64 " steps past job %s, the limit is %" PRIu64,
		      root->head, root->head - bw_job_stands(root, slowest), slowest->name, s->options.max_ahead);
}

static void check_jobs(struct bw_doctor *d, const struct bw_stream *s, const struct bw_root *root)
{
	struct list stops = {.n = 0};

	for (uint32_t i = 0; i < root->jobs_n; i++)
		if (bw_job_stops_reclaiming(s, &root->jobs[i]))
			add_name(&stops, root->jobs[i].name);
	if (!root->jobs_n)
		bw_doctor_add(d, BW_NOTE, "jobs", "mkdir DIR/checkpoint/JOB, or batchweave watch, for each training job",
			      "none is registered: every step is kept for ever");
	else if (stops.n)
		bw_doctor_add(d, BW_NOTE, "jobs",
			      "set markers for their live checkpoints, or withdraw jobs that are gone: batchweave checkpoint",
			      "%u of %" PRIu32 " hold fewer than %" PRIu32 " markers, so nothing is reclaimed: %s", stops.n,
			      root->jobs_n, s->options.keep, stops.text);
	else
		bw_doctor_add(d, BW_FINE, "jobs", "", "%" PRIu32 ", the slowest stands at step %" PRIu64, root->jobs_n,
			      bw_job_stands(root, bw_jobs_slowest(root)));
}

static void check_garbage(struct bw_doctor *d, const struct bw_stream *s, const struct bw_root *root, int64_t now_ms)
{
	uint64_t steps = root->first - root->swept;
	int64_t grace_ms = (int64_t)s->options.grace_s * 1000;

	/* Nothing tells when first was raised; a root as old as two graces is younger than no trim. */
	if (steps && now_ms - root->time_ms > 2 * grace_ms + LONG_MS)
		bw_doctor_add(d, BW_NOTE, "garbage", "run batchweave gc URL, or mount with the option gc",
			      "%" PRIu64 " reclaimed steps are not deleted, and could have been long ago", steps);
	else
		bw_doctor_add(d, BW_FINE, "garbage", "", "%" PRIu64 " reclaimed steps are not deleted yet", steps);
}

void bw_doctor_stream(struct bw_doctor *d, const struct bw_stream *s, const struct bw_root *root, int64_t now_ms)
{
	check_head(d, s, root, now_ms);
	check_producers(d, root, now_ms);
	check_ahead(d, s, root);
	check_jobs(d, s, root);
	check_garbage(d, s, root, now_ms);
}
