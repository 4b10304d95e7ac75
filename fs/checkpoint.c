/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/checkpoint_priv.h"

#include "fs/names.h"
#include "store/base/clock.h"
#include "store/base/hash.h"
#include "store/base/parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PACE_BURST 4096		/* questions: `ls -l` asks six for each marker, by its path */
#define PACE_NS (20 * BW_MS)	/* and then one each */

/* ---- What was seen when ------------------------------------------------------------------------ */

/* Its number, or a negative error. */
static int64_t number_locked(struct bw_checkpoint *c, const char *name)
{
	for (uint32_t i = 0; i < c->jobs_n; i++)
		if (strcmp(c->jobs[i].name, name) == 0)
			return i;
	if (c->jobs_n == BW_JOB_NUMBERS)
		return -BW_E_LIMIT;
	struct bw_seen_job *jobs = realloc(c->jobs, (c->jobs_n + (size_t)1) * sizeof(*jobs));

	if (!jobs)
		return -ENOMEM;
	c->jobs = jobs;
	jobs[c->jobs_n] = (struct bw_seen_job){.markers_n = 0};
	snprintf(jobs[c->jobs_n].name, sizeof(jobs->name), "%s", name);
	return c->jobs_n++;
}

const char *bw_checkpoint_job_locked(struct bw_checkpoint *c, uint32_t number)
{
	return number < c->jobs_n ? c->jobs[number].name : NULL;
}

static uint64_t text_sum(const char *text)
{
	return bw_xxh3(text, strlen(text));
}

/* When was this marker, with this text, seen first?  0: not by now. */
static int64_t seen_ms(const struct bw_seen_job *seen, const struct bw_marker *m)
{
	uint32_t lo = 0, hi = seen->markers_n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (seen->markers[mid].step < m->step)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == seen->markers_n || seen->markers[lo].step != m->step ||
	    seen->markers[lo].text_xxh3 != text_sum(m->text))
		return 0;
	return seen->markers[lo].time_ms;
}

/* Memory that is short costs times, nothing else. */
static void see_job_locked(struct bw_checkpoint *c, const struct bw_job *j, int64_t time_ms)
{
	int64_t number = number_locked(c, j->name);
	struct bw_seen_marker *markers = number < 0 ? NULL : calloc(j->markers_n + (size_t)1, sizeof(*markers));

	if (!markers)
		return;
	struct bw_seen_job *seen = &c->jobs[number];
	bool changed = seen->markers_n != j->markers_n || !seen->time_ms;

	for (uint32_t i = 0; i < j->markers_n; i++) {
		int64_t before_ms = seen_ms(seen, &j->markers[i]);
		changed |= !before_ms;
		markers[i] = (struct bw_seen_marker){
			.step = j->markers[i].step,
			.text_xxh3 = text_sum(j->markers[i].text),
			.time_ms = before_ms ? before_ms : time_ms,
		};
	}
	if (changed)
		seen->time_ms = time_ms;
	free(seen->markers);
	seen->markers = markers;
	seen->markers_n = j->markers_n;
}

static void see(struct bw_checkpoint *c, const struct bw_root *r)
{
	BW_LOCK_SCOPE(&c->lock);
	for (uint32_t i = 0; i < c->jobs_n; i++) {
		if (bw_root_job(r, c->jobs[i].name))
			continue;
		c->jobs[i].markers_n = 0;	/* gone; the name keeps its number */
		c->jobs[i].time_ms = 0;
	}
	for (uint32_t i = 0; i < r->jobs_n; i++)
		see_job_locked(c, &r->jobs[i], r->time_ms);
}

static bool same_job(const struct bw_job *a, const struct bw_job *b)
{
	if (strcmp(a->name, b->name) != 0 || a->markers_n != b->markers_n)
		return false;
	for (uint32_t i = 0; i < a->markers_n; i++)
		if (a->markers[i].step != b->markers[i].step || strcmp(a->markers[i].text, b->markers[i].text) != 0)
			return false;
	return true;
}

static void news(void *ctx, struct bw_root *old, struct bw_root *now)
{
	bool same = old->jobs_n == now->jobs_n;

	for (uint32_t i = 0; same && i < now->jobs_n; i++)
		same = same_job(&old->jobs[i], &now->jobs[i]);
	if (!same)
		see(ctx, now);
}

/* ---- Names and attributes ---------------------------------------------------------------------- */

static const struct bw_marker *find_marker(const struct bw_job *j, uint64_t step)
{
	uint32_t lo = 0, hi = j->markers_n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (j->markers[mid].step < step)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < j->markers_n && j->markers[lo].step == step ? &j->markers[lo] : NULL;
}

/* m: NULL for the job itself. */
static int fill(struct bw_checkpoint *c, const struct bw_root *r, const struct bw_job *j,
		const struct bw_marker *m, struct bw_mark_node *ret)
{
	BW_LOCK_SCOPE(&c->lock);
	int64_t number = number_locked(c, j->name);

	if (number < 0)
		return (int)number;
	const struct bw_seen_job *seen = &c->jobs[number];
	int64_t time_ms = m ? seen_ms(seen, m) : seen->time_ms;

	*ret = (struct bw_mark_node){
		.dir = !m,
		.ino = m ? bw_marker_ino((uint32_t)number, m->step) : bw_job_ino((uint32_t)number),
		.step = m ? m->step : 0,
		.size = m ? strlen(m->text) : 0,
		.mtime_ms = time_ms ? time_ms : r->time_ms,	/* the news of it are on their way */
	};
	memcpy(ret->job, j->name, sizeof(ret->job));
	return 0;
}

/* What ino stands for in r.  *ret_marker is NULL for a job. */
static int find(struct bw_checkpoint *c, const struct bw_root *r, uint64_t ino, const struct bw_job **ret_job,
		const struct bw_marker **ret_marker)
{
	char name[BW_NAME_MAX + 1] = "";
	uint32_t number;
	uint64_t step;
	bool marker = bw_job_ino_split(ino, &number, &step);

	bw_lock(&c->lock);
	const char *job = bw_checkpoint_job_locked(c, number);

	if (job)
		memcpy(name, job, sizeof(name));
	bw_unlock(&c->lock);
	*ret_job = bw_is_job_ino(ino) ? bw_root_job(r, name) : NULL;
	if (!*ret_job)
		return -ENOENT;
	*ret_marker = marker ? find_marker(*ret_job, step) : NULL;
	return marker && !*ret_marker ? -ENOENT : 0;
}

static int lookup(struct bw_checkpoint *c, const struct bw_root *r, uint64_t parent, const char *name,
		  struct bw_mark_node *ret)
{
	const struct bw_job *j;
	const struct bw_marker *m = NULL;
	uint64_t step;

	if (parent == BW_CHECKPOINT_INO) {
		j = bw_name_valid(name) ? bw_root_job(r, name) : NULL;
		return j ? fill(c, r, j, NULL, ret) : -ENOENT;
	}
	int err = find(c, r, parent, &j, &m);

	if (!err && m)
		err = -ENOTDIR;
	if (!err && (bw_decimal_parse(name, &step) || !(m = find_marker(j, step))))
		err = -ENOENT;
	return err ? err : fill(c, r, j, m, ret);
}

int bw_checkpoint_lookup(struct bw_checkpoint *c, uint64_t parent, const char *name, struct bw_mark_node *ret)
{
	struct bw_root *r = bw_head_root(c->c.head);
	int err = lookup(c, r, parent, name, ret);

	bw_root_unref(r);
	return err;
}

int bw_checkpoint_node(struct bw_checkpoint *c, uint64_t ino, struct bw_mark_node *ret)
{
	struct bw_root *r = bw_head_root(c->c.head);
	const struct bw_marker *m;
	const struct bw_job *j;
	int err = find(c, r, ino, &j, &m);

	if (!err)
		err = fill(c, r, j, m, ret);
	bw_root_unref(r);
	return err;
}

int bw_checkpoint_text(struct bw_checkpoint *c, uint64_t ino, char text[BW_MARKER_TEXT_MAX + 1])
{
	struct bw_root *r = bw_head_root(c->c.head);
	const struct bw_marker *m;
	const struct bw_job *j;
	int err = find(c, r, ino, &j, &m);

	if (!err && !m)
		err = -EISDIR;
	if (!err)
		snprintf(text, BW_MARKER_TEXT_MAX + 1, "%s", m->text);
	bw_root_unref(r);
	return err;
}

/* By number: those that come while a listing is under way come after what it has shown. */
static int list_jobs(struct bw_checkpoint *c, const struct bw_root *r, uint64_t after, bw_mark_emit *emit,
		     void *ctx)
{
	BW_LOCK_SCOPE(&c->lock);
	for (uint32_t i = 0; i < r->jobs_n; i++) {
		int64_t number = number_locked(c, r->jobs[i].name);
		if (number < 0)
			return (int)number;
	}
	for (uint64_t i = after; i < c->jobs_n; i++)
		if (bw_root_job(r, c->jobs[i].name) &&
		    !emit(ctx, c->jobs[i].name, bw_job_ino((uint32_t)i), true, i + 1))
			break;
	return 0;
}

static void list_markers(const struct bw_job *j, uint32_t number, uint64_t after, bw_mark_emit *emit, void *ctx)
{
	char name[24];

	for (uint32_t i = 0; i < j->markers_n; i++) {
		uint64_t step = j->markers[i].step;
		if (step < after)
			continue;
		snprintf(name, sizeof(name), "%" PRIu64, step);
		if (!emit(ctx, name, bw_marker_ino(number, step), false, step + 1))
			break;
	}
}

int bw_checkpoint_list(struct bw_checkpoint *c, uint64_t ino, uint64_t after, bw_mark_emit *emit, void *ctx)
{
	struct bw_root *r = bw_head_root(c->c.head);
	const struct bw_marker *m = NULL;
	const struct bw_job *j;
	uint32_t number;
	uint64_t step;
	int err;

	if (ino == BW_CHECKPOINT_INO) {
		err = list_jobs(c, r, after, emit, ctx);
	} else {
		err = find(c, r, ino, &j, &m);
		if (!err && m)
			err = -ENOTDIR;
		if (!err) {
			bw_job_ino_split(ino, &number, &step);
			list_markers(j, number, after, emit, ctx);
		}
	}
	bw_root_unref(r);
	return err;
}

bool bw_checkpoint_pace(struct bw_checkpoint *c)
{
	const int64_t most = PACE_BURST * PACE_NS;
	int64_t now = bw_now();

	BW_LOCK_SCOPE(&c->lock);
	c->credit_ns += now - c->credited_ns;
	c->credited_ns = now;
	if (c->credit_ns > most)
		c->credit_ns = most;
	if (c->credit_ns < PACE_NS)
		return false;
	c->credit_ns -= PACE_NS;
	return true;
}

/* ---- Life -------------------------------------------------------------------------------------- */

int bw_checkpoint_new(const struct bw_checkpoint_config *config, struct bw_checkpoint **ret)
{
	struct bw_checkpoint *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->c = *config;
	c->tick.run = bw_checkpoint_run_tick;
	c->credited_ns = bw_now();
	c->credit_ns = PACE_BURST * PACE_NS;
	bw_mutex_init(&c->lock, BW_RANK_PRODUCE);
	bw_cond_init(&c->idle);
	int err = bw_workq_new("bw-mark", 1, &c->timer);

	if (err) {
		bw_checkpoint_free(c);
		return err;
	}
	struct bw_root *r = bw_head_root(c->c.head);

	see(c, r);
	bw_root_unref(r);
	bw_head_subscribe(c->c.head, news, c);
	*ret = c;
	return 0;
}

void bw_checkpoint_free(struct bw_checkpoint *c)
{
	if (!c)
		return;
	bw_workq_free(c->timer);
	for (uint32_t i = 0; i < c->jobs_n; i++)
		free(c->jobs[i].markers);
	free(c->jobs);
	bw_cond_done(&c->idle);
	bw_mutex_done(&c->lock);
	free(c);
}
