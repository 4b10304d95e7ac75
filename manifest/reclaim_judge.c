/* SPDX-License-Identifier: Apache-2.0 */
/* The store's time, the root to judge by, and the trim. */
#include "manifest/reclaim_priv.h"

/* Stores tell whole seconds. */
#define COARSE_MS 1000

static bw_reclaim_phase opened, clock_put, clock_get, clock_got, judged, trim, look, looked, trimmed;

/* ---- The newest root and the time --------------------------------------------------------------- */

void bw_reclaim_open(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	bw_reclaim_stage(r, BW_RECLAIM_OPENING, 0);
	memset(r->rep.kept, 0, sizeof(r->rep.kept));
	r->rep.no_time = false;
	r->batch_n = 0;
	r->wait_n = 0;
	r->phase = opened;
	bw_reclaim_refresh(r);
}

static void opened(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	bool again = r->newest != NULL;

	bw_reclaim_newer(r, a->root);
	if (!again) {
		r->rep.first_before = r->newest->first;
		r->rep.swept_before = r->newest->swept;
	}
	r->phase = clock_put;
}

static int64_t grace_ms(const struct bw_stream *s)
{
	int64_t most = INT64_MAX / 1000 - COARSE_MS;
	int64_t grace_s = s->options.grace_s < (uint64_t)most ? (int64_t)s->options.grace_s : most;

	return grace_s ? grace_s * 1000 + COARSE_MS : 0;
}

/* The hint is the one object that may be written at any time: what is read back of it is what time it is. */
static void clock_put(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	if (r->o.dry) {
		r->now_ms = r->o.dry_now_ms;
		bw_reclaim_search(r, grace_ms(r->stream), r->memo->old, judged);
		return;
	}
	bw_key_hint(r->stream, r->puts[0].key);
	r->puts[0].len = bw_hint_print(r->newest->version, r->puts[0].bytes);
	r->phase = clock_get;
	bw_reclaim_put(r, 1);
}

static void clock_get(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	char key[BW_KEY_MAX + 1];

	(void)a;
	bw_key_hint(r->stream, key);
	r->phase = clock_got;
	bw_reclaim_get(r, key, BW_HINT_MAX);
}

static void clock_got(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	r->now_ms = a->outcome == BW_OK ? a->modified_ms : 0;
	r->rep.no_time = a->outcome == BW_OK && !a->modified_ms;
	bw_reclaim_search(r, grace_ms(r->stream), r->memo->old, judged);
}

/* ---- Which version is so old -------------------------------------------------------------------- */

static bw_reclaim_phase search_next, search_got;

void bw_reclaim_search(struct bw_reclaim *r, int64_t min_age_ms, uint64_t low, bw_reclaim_phase *then)
{
	uint64_t high = r->newest->version + 1;

	bw_root_unref(r->search.root);
	r->search = (struct bw_age_search){.min_age_ms = min_age_ms, .low = low < high ? low : 0,
					   .high = high, .stride = 1, .then = then};
	r->phase = search_next;
}

/* Down from the newest by doubling strides, then halving; at the end the root itself, if it was not got. */
static uint64_t search_version(const struct bw_age_search *s)
{
	if (s->low + 1 == s->high)
		return s->root || s->tombstone ? 0 : s->low;
	if (!s->stride)
		return s->low + (s->high - s->low) / 2;
	return s->high - s->low > s->stride ? s->high - s->stride : s->low + 1;
}

static void search_next(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	char key[BW_KEY_MAX + 1];

	(void)a;
	r->search.asked = search_version(&r->search);
	if (!r->search.asked) {
		r->phase = r->search.then;
		return;
	}
	bw_key_root(r->stream, r->search.asked, key);
	r->phase = search_got;
	bw_reclaim_get(r, key, BW_ROOT_STORED_MAX);
}

static void search_old(struct bw_age_search *s, struct bw_root *root, bool tombstone)
{
	s->low = s->asked;
	s->stride = 0;
	bw_root_unref(s->root);
	s->root = root;
	s->tombstone = tombstone;
}

static void search_got(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	struct bw_age_search *s = &r->search;
	struct bw_root *root = NULL;
	bool tombstone = false;
	int err = -BW_E_CORRUPT;	/* a version below the newest is there for ever */

	if (a->outcome == BW_OK)
		err = bw_root_decode(r->stream, s->asked, a->blob->bytes, a->blob->len, &root,
				     &tombstone);
	if (err) {
		bw_reclaim_fail(r, err, r->req.key);
		return;
	}
	bool known = r->now_ms && a->modified_ms;

	r->rep.no_time |= !a->modified_ms;
	if (tombstone || (known && r->now_ms - a->modified_ms >= s->min_age_ms)) {
		search_old(s, root, tombstone);
	} else {
		bw_root_unref(root);
		s->high = s->asked;
		s->stride *= 2;
		/* A clock that goes back makes a version young again that was old. */
		if (s->low >= s->high)
			s->low = 0;
	}
	r->phase = search_next;
}

/* ---- The judge ---------------------------------------------------------------------------------- */

static void judged(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	struct bw_root *g = r->search.root;

	(void)a;
	bw_root_unref(r->judge);
	r->judge = NULL;
	r->rep.judge = 0;
	int err = g ? bw_apply_check(r->stream, g, r->newest) : 0;

	if (err) {
		bw_reclaim_fail(r, err, "");
		return;
	}
	if (g) {
		r->judge = bw_root_ref(g);
		r->memo->old = g->version;
		r->rep.judge = g->version;
		r->rep.judge_first = r->bound = g->first;
	}
	r->phase = r->retrimmed ? bw_reclaim_steps : trim;
}

/* ---- The trim ----------------------------------------------------------------------------------- */

/* The job that decides where first is: one with too few markers, else the one with the oldest. */
static const struct bw_job *holder(const struct bw_reclaim *r)
{
	const struct bw_root *n = r->newest;
	uint32_t keep = r->stream->options.keep ? r->stream->options.keep : 1;
	const struct bw_job *slowest = NULL;

	for (uint32_t i = 0; i < n->jobs_n; i++) {
		const struct bw_job *j = &n->jobs[i];

		if (j->markers_n < keep)
			return j;
		if (!slowest || j->markers[0].step < slowest->markers[0].step)
			slowest = j;
	}
	return slowest;
}

static enum bw_reclaim_trim say_holder(struct bw_reclaim *r)
{
	const struct bw_job *j = holder(r);

	if (!j)
		return BW_TRIM_NO_JOBS;
	memcpy(r->rep.holder, j->name, sizeof(r->rep.holder));
	r->rep.holder_markers = j->markers_n;
	return j->markers_n < r->stream->options.keep ? BW_TRIM_JOB_HOLDS : BW_TRIM_NOTHING;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * How far the trim may go: markers that moved before an attempt move before the next one as well, so that is judged
 * for some moves like the last, fewer at each attempt as the guard may not hold so far on.
 */
static uint64_t room(const struct bw_reclaim *r, uint64_t was, uint64_t to)
{
	if (!r->overtaken || to <= was)
		return to;
	uint64_t moves = UINT64_C(2) << (BW_RECLAIM_RESTARTS - r->overtaken);

	return to + least((to - was) * moves, r->newest->head - to);
}

static void trim(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	const struct bw_root *n = r->newest;
	uint64_t to = bw_trim_first(r->stream, n), was = r->look_steps[2];

	(void)a;
	bw_reclaim_stage(r, BW_RECLAIM_TRIMMING, 0);
	if (r->rep.trim != BW_TRIM_DONE)	/* it began again */
		r->rep.trim = say_holder(r);
	if (to == n->first) {
		r->phase = bw_reclaim_steps;
		return;
	}
	uint64_t proven = r->judge ? bw_trim_first(r->stream, r->judge) : 0;

	r->look = 0;
	r->look_steps[0] = n->first;
	r->look_steps[1] = proven < n->first ? n->first : least(proven, to);
	r->look_steps[2] = to;
	r->look_steps[3] = room(r, was, to);
	bw_walk_done(&r->walk);
	bw_walk_begin(&r->walk, r->newest, 0, 0);
	r->phase = look;
}

/* Looks up what the objects of all steps before a step weigh together. */
static void look(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	const struct bw_entry *e;
	uint32_t n;

	(void)a;
	if (r->look == 4) {
		r->phase = looked;
		return;
	}
	uint64_t step = r->look_steps[r->look];

	if (step == r->newest->head) {
		r->look_before[r->look++] = r->newest->bytes;
		return;
	}
	r->walk.at = step;
	r->walk.end = step + 1;
	int got = bw_walk_move(&r->walk, &e, &n);

	if (got < 0) {
		bw_reclaim_fail(r, got, "");
	} else if (got) {
		r->look_before[r->look++] = e->before;
	} else {
		bw_reclaim_get_node(r);
		r->phase = looked;
	}
}

static bool waits(const struct bw_reclaim *r, unsigned look)
{
	return bw_reclaim_trim_waits(r->rep.live_bytes, r->look_before[look] - r->look_before[1]);
}

static void commit_trim(struct bw_reclaim *r)
{
	uint64_t *before = r->look_before;

	bw_walk_done(&r->walk);
	r->rep.live_bytes = r->newest->bytes - before[0];
	r->rep.trim_bytes = before[2] - before[0];
	r->rep.fresh_bytes = before[2] - before[1];
	if (!r->o.force && waits(r, 2)) {
		r->rep.trim = BW_TRIM_WAITS;
		r->phase = bw_reclaim_steps;
		return;
	}
	if (r->o.dry) {
		r->rep.trim = BW_TRIM_DONE;
		r->rep.first = r->look_steps[2];
		if (!r->stream->options.grace_s)
			r->bound = r->rep.first;
		r->phase = bw_reclaim_steps;
		return;
	}
	r->phase = trimmed;
	bw_reclaim_commit(r, BW_CHANGE_TRIM, 0);
	/* On the root it lands on there may be other markers, and nobody has looked at what those release. */
	r->req.change.trim_most = r->o.force ? 0 : r->look_steps[waits(r, 3) ? 2 : 3];
}

/* A node for a look-up has come, or all have been made. */
static void looked(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	if (!a) {
		commit_trim(r);
		return;
	}
	int err = a->outcome == BW_OK ? bw_walk_give(&r->walk, a->blob->bytes, a->blob->len)
				      : -ENOENT;

	r->phase = look;
	if (err == -ENOENT)	/* its steps may be read, unless they have been reclaimed meanwhile */
		bw_reclaim_again(r, r->req.key);
	else if (err)
		bw_reclaim_fail(r, err, r->req.key);
}

/* Markers were moved meanwhile: looks again.  Where that goes on and on, this pass deletes what was trimmed before it. */
static void overtaken(struct bw_reclaim *r)
{
	if (r->overtaken < BW_RECLAIM_RESTARTS) {
		r->overtaken++;
		r->phase = bw_reclaim_open;
		return;
	}
	r->rep.trim = BW_TRIM_OVERTAKEN;
	r->phase = bw_reclaim_steps;
}

static void trimmed(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	if (a->err) {
		overtaken(r);
		return;
	}
	bw_reclaim_newer(r, a->root);
	r->rep.trim = BW_TRIM_DONE;
	r->phase = bw_reclaim_steps;
	/* Without a grace the root just made is old enough already. */
	if (!r->stream->options.grace_s) {
		r->retrimmed = true;
		r->phase = clock_put;
	}
}
