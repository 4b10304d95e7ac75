/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/top.h"

#include "fs/jobs.h"
#include "store/base/rand.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct bw_top *bw_top_new(void)
{
	struct bw_top *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->ok = true;
	t->ranks = NAN;
	for (int i = 0; i < BW_TOP_VALUES; i++)
		t->v[i] = NAN;
	return t;
}

void bw_top_root(const struct bw_stream *s, const struct bw_root *root, struct bw_top *t)
{
	bw_hex(s->id, sizeof(s->id), t->stream);
	t->ranks = s->options.ranks;
	t->sealed = root->sealed;
	t->v[BW_TOP_HEAD] = (double)root->head;
	t->v[BW_TOP_FIRST] = (double)root->first;
	t->v[BW_TOP_VERSION] = (double)root->version;
	t->v[BW_TOP_BYTES] = (double)root->bytes;
	for (uint32_t i = 0; i < root->jobs_n; i++) {
		const struct bw_job *j = &root->jobs[i];
		struct bw_top_job *to = &t->jobs[t->jobs_n++];

		memcpy(to->name, j->name, sizeof(to->name));
		to->lag = (double)(root->head - bw_job_stands(root, j));
		to->markers = j->markers_n;
		to->stops = bw_job_stops_reclaiming(s, j);
	}
	for (uint32_t i = 0; i < root->producers_n; i++) {
		struct bw_top_producer *to = &t->producers[t->producers_n++];

		memcpy(to->name, root->producers[i].name, sizeof(to->name));
		to->next = (double)root->producers[i].next;
		to->pending = NAN;
	}
}

static double seconds_between(const struct bw_top *before, const struct bw_top *now)
{
	return (double)(now->at_ns - before->at_ns) / 1e9;
}

double bw_top_rate(const struct bw_top *before, const struct bw_top *now, enum bw_top_value v)
{
	double seconds = seconds_between(before, now), more = now->v[v] - before->v[v];

	if (isnan(more) || seconds <= 0)
		return NAN;
	return more > 0 ? more / seconds : 0;
}

double bw_top_p99(const struct bw_top *before, const struct bw_top *now, unsigned op)
{
	unsigned n = now->buckets_n[op];
	double all, so_far;

	if (!n || before->buckets_n[op] != n)
		return NAN;
	all = now->buckets[op][n - 1].count - before->buckets[op][n - 1].count;
	if (!(all > 0))
		return NAN;
	for (unsigned i = 0; i < n; i++) {
		so_far = now->buckets[op][i].count - before->buckets[op][i].count;
		if (so_far >= 0.99 * all)
			return now->buckets[op][i].bound;
	}
	return INFINITY;
}
