/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/watch_plan.h"

#include "store/base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The memory ----------------------------------------------------------------------------------- */

void bw_watch_memory_done(struct bw_watch_memory *m)
{
	for (uint32_t i = 0; i < m->n; i++)
		free(m->known[i].name);
	free(m->known);
	*m = (struct bw_watch_memory){.n = 0};
}

void bw_watch_memory_blind(struct bw_watch_memory *m)
{
	m->looks = 0;
	for (uint32_t i = 0; i < m->n; i++)
		if (!m->known[i].here)
			m->known[i].looks = 0;
}

static uint32_t known_at(const struct bw_watch_memory *m, const char *name)
{
	uint32_t lo = 0, hi = m->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (strcmp(m->known[mid].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct bw_watch_known *known_find(const struct bw_watch_memory *m, const char *name)
{
	uint32_t i = known_at(m, name);

	return i < m->n && !strcmp(m->known[i].name, name) ? &m->known[i] : NULL;
}

static struct bw_watch_known *known_make(struct bw_watch_memory *m, const char *name)
{
	uint32_t i = known_at(m, name);

	if (i < m->n && !strcmp(m->known[i].name, name))
		return &m->known[i];
	if (m->n == m->cap) {
		uint32_t cap = m->cap ? 2 * m->cap : 16;
		void *known = realloc(m->known, cap * sizeof(*m->known));

		if (!known)
			return NULL;
		m->known = known;
		m->cap = cap;
	}
	char *copy = strdup(name);

	if (!copy)
		return NULL;
	memmove(&m->known[i + 1], &m->known[i], (m->n - i) * sizeof(*m->known));
	m->known[i] = (struct bw_watch_known){.name = copy};
	m->n++;
	return &m->known[i];
}

static void print_file(struct bw_xxh3 *h, const struct bw_watch_file *f)
{
	/* The time of a folder says nothing that the names in it do not. */
	uint64_t what[3] = {f->size, f->is_dir ? 0 : (uint64_t)f->mtime_ns, f->is_dir};

	bw_xxh3_add(h, f->path, strlen(f->path) + 1);
	bw_xxh3_add(h, what, sizeof(what));
}

static bool print_item(const struct bw_watch_item *item, uint64_t *ret)
{
	struct bw_xxh3 *h = bw_xxh3_new();

	if (!h)
		return false;
	print_file(h, &item->self);
	for (uint32_t i = 0; i < item->n; i++)
		print_file(h, &item->files[i]);
	*ret = bw_xxh3_sum(h);
	bw_xxh3_free(h);
	return true;
}

static bool marker_of(const struct bw_watch_rules *rules, uint64_t step, uint64_t *ret)
{
	uint64_t v;

	if (__builtin_mul_overflow(step, rules->scale, &v) || v > BW_STEPS_MAX)
		return false;
	int64_t marker = (int64_t)v + rules->offset;

	/* One from before the stream began needs all of it. */
	*ret = marker < 0 ? 0 : (uint64_t)marker;
	return *ret <= BW_STEPS_MAX;
}

static int look_item(struct bw_watch_memory *m, const struct bw_watch_rules *rules,
		     const struct bw_watch_snapshot *s, const struct bw_watch_item *item, uint64_t step,
		     int64_t now_ns)
{
	struct bw_watch_verdict v = {.state = BW_WATCH_DONE};
	struct bw_watch_known *k = known_make(m, item->self.path);
	uint64_t print;

	if (!k || !print_item(item, &print))
		return -ENOMEM;
	rules->format->judge(rules->arg, s, item, &v);
	if (!k->here || k->print != print || k->verdict.state != v.state) {
		k->since_ns = now_ns;
		k->looks = 0;
	}
	k->here = true;
	k->looks += k->looks < UINT32_MAX;
	k->print = print;
	k->verdict = v;
	k->counts = marker_of(rules, step, &k->marker);
	return 0;
}

/* Those that are not in this look.  One that is settled as gone is forgotten: bw_watch_plan() takes
 * what it does not know for gone as long as the directory itself has been there. */
static void look_missing(struct bw_watch_memory *m, const struct bw_watch_rules *rules,
			 const struct bw_watch_snapshot *s, int64_t now_ns)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < m->n; i++) {
		struct bw_watch_known *k = &m->known[i];

		if (!bw_watch_item(s, k->name)) {
			if (k->here || !k->looks) {
				k->here = false;
				k->since_ns = now_ns;
				k->looks = 0;
			}
			k->looks++;
			if (k->looks > 2 && now_ns - k->since_ns > 2 * rules->settle_ns) {
				free(k->name);
				continue;
			}
		}
		m->known[n++] = *k;
	}
	m->n = n;
}

int bw_watch_memory_look(struct bw_watch_memory *m, const struct bw_watch_rules *rules,
			 const struct bw_watch_snapshot *s, int64_t now_ns)
{
	bool other = m->ino && (m->dev != s->dev || m->ino != s->ino);
	uint64_t step;

	if (!s->n) {
		bw_watch_memory_blind(m);
		return 0;
	}
	if (other) {
		bw_watch_memory_blind(m);
		m->trusted = false;
		m->replaced = true;
	}
	if (!m->looks)
		m->since_ns = now_ns;
	m->looks += m->looks < UINT32_MAX;
	m->dev = s->dev;
	m->ino = s->ino;
	for (uint32_t i = 0; i < s->n; i++) {
		const struct bw_watch_item *item = &s->items[i];

		if (!rules->format->step(rules->arg, item->self.path, item->self.is_dir, &step))
			continue;
		int err = look_item(m, rules, s, item, step, now_ns);

		if (err)
			return err;
	}
	look_missing(m, rules, s, now_ns);
	return other;
}

static bool settled(const struct bw_watch_known *k, const struct bw_watch_rules *rules, int64_t now_ns)
{
	/* Taking a marker away from what is there is never urgent: it may be mended. */
	bool slow = k->here && (k->verdict.slow || k->verdict.state == BW_WATCH_TORN);
	int64_t need = slow ? BW_WATCH_SLOW * rules->settle_ns : rules->settle_ns;

	return k->looks >= 2 && now_ns - k->since_ns >= need;
}

bool bw_watch_memory_unsettled(const struct bw_watch_memory *m, const struct bw_watch_rules *rules,
			       int64_t now_ns)
{
	for (uint32_t i = 0; i < m->n; i++) {
		const struct bw_watch_known *k = &m->known[i];

		if ((!k->here || k->verdict.state != BW_WATCH_UNKNOWN) && !settled(k, rules, now_ns))
			return true;
	}
	return m->looks == 1;
}

bool bw_watch_memory_slow(const struct bw_watch_memory *m, const struct bw_watch_rules *rules,
			  int64_t now_ns)
{
	for (uint32_t i = 0; i < m->n; i++) {
		const struct bw_watch_known *k = &m->known[i];

		if (k->here && k->verdict.state == BW_WATCH_DONE && k->verdict.slow &&
		    !settled(k, rules, now_ns))
			return true;
	}
	return false;
}

/* ---- The plan ------------------------------------------------------------------------------------- */

struct plan {
	struct bw_watch_memory *m;
	const struct bw_watch_rules *rules;
	const struct bw_watch_snapshot *s;
	const struct bw_root *root;
	int64_t now_ns;
	uint64_t markers[BW_MARKERS_MAX];	/* as they will be */
	uint32_t markers_n;
	uint64_t *live;				/* owned, ascending: markers of those that are done */
	uint32_t live_n;
	struct bw_watch_acts *acts;
	int err;
};

void bw_watch_acts_done(struct bw_watch_acts *a)
{
	free(a->acts);
	*a = (struct bw_watch_acts){.n = 0};
}

static struct bw_watch_act *act_add(struct plan *p, enum bw_watch_act_kind kind, uint64_t step,
				    struct bw_watch_known *of, const char *why)
{
	struct bw_watch_acts *a = p->acts;

	if (a->n == a->cap) {
		uint32_t cap = a->cap ? 2 * a->cap : 16;
		void *acts = realloc(a->acts, cap * sizeof(*a->acts));

		if (!acts) {
			p->err = -ENOMEM;
			return NULL;
		}
		a->acts = acts;
		a->cap = cap;
	}
	a->acts[a->n] = (struct bw_watch_act){.kind = kind, .step = step, .of = of, .why = why};
	return &a->acts[a->n++];
}

static bool has_marker(const struct plan *p, uint64_t step)
{
	for (uint32_t i = 0; i < p->markers_n; i++)
		if (p->markers[i] == step)
			return true;
	return false;
}

/* A marker at or below step, other than one at without. */
static bool has_below(const struct plan *p, uint64_t step, uint64_t without)
{
	for (uint32_t i = 0; i < p->markers_n; i++)
		if (p->markers[i] <= step && p->markers[i] != without)
			return true;
	return false;
}

static bool is_live(const struct plan *p, const struct bw_watch_known *k)
{
	return k->here && k->counts && k->verdict.state == BW_WATCH_DONE &&
	       settled(k, p->rules, p->now_ns);
}

/* It may be a checkpoint that somebody resumes from, and has no marker. */
static bool is_doubtful(const struct plan *p, const struct bw_watch_known *k)
{
	return k->here && k->counts && k->verdict.state != BW_WATCH_TORN && !is_live(p, k) &&
	       k->marker >= p->root->first && !has_marker(p, k->marker);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int find_live(struct plan *p)
{
	uint32_t n = 0;

	p->live = calloc(p->m->n + (size_t)1, sizeof(*p->live));
	if (!p->live)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->m->n; i++)
		if (is_live(p, &p->m->known[i]))
			p->live[p->live_n++] = p->m->known[i].marker;
	qsort(p->live, p->live_n, sizeof(*p->live), by_value);
	for (uint32_t i = 0; i < p->live_n; i++)
		if (!n || p->live[n - 1] != p->live[i])
			p->live[n++] = p->live[i];
	p->live_n = n;
	return 0;
}

static bool is_listed(const uint64_t *list, uint32_t n, uint64_t step)
{
	return bsearch(&step, list, n, sizeof(*list), by_value);
}

/*
 * A job holds BW_MARKERS_MAX markers.  Of more checkpoints the oldest are marked, because they say what
 * is kept, and the newest; those between need no marker to be safe.  A quarter stays free, so that new
 * markers fit before old ones are withdrawn.
 */
static void thin(struct plan *p)
{
	uint32_t foreign = 0;

	for (uint32_t i = 0; i < p->markers_n; i++)
		foreign += !is_listed(p->live, p->live_n, p->markers[i]);
	uint32_t room = (BW_MARKERS_MAX - foreign) / 4 * 3;

	if (p->live_n <= room)
		return;
	act_add(p, BW_WATCH_MANY, p->live_n, NULL, "");
	uint32_t oldest = room / 4, newest = room - oldest;

	memmove(p->live + oldest, p->live + p->live_n - newest, newest * sizeof(*p->live));
	p->live_n = room;
}

/* The end of DIR/NAME, as much as fits. */
static void text_of(const struct plan *p, const char *name, char text[BW_MARKER_TEXT_MAX + 1])
{
	size_t dir = strlen(p->rules->dir), len = strlen(name);
	size_t room = BW_MARKER_TEXT_MAX - 1;	/* for both, and a slash between them */

	if (len >= room) {
		size_t kept = len < BW_MARKER_TEXT_MAX ? len : BW_MARKER_TEXT_MAX;

		memcpy(text, name + len - kept, kept + 1);
		return;
	}
	size_t kept = dir < room - len ? dir : room - len;

	memcpy(text, p->rules->dir + dir - kept, kept);
	if (kept)
		text[kept++] = '/';
	memcpy(text + kept, name, len + 1);
}

/* The name in a text that text_of() has made, or NULL. */
static const char *name_in(const struct plan *p, const char *text)
{
	const char *slash = strrchr(text, '/');
	const char *name = slash ? slash + 1 : text;
	char again[BW_MARKER_TEXT_MAX + 1], plain[BW_MARKER_TEXT_MAX + 1];

	if (!*name)
		return NULL;
	text_of(p, name, again);
	snprintf(plain, sizeof(plain), "%s", text);
	bw_watch_squeeze(plain);
	return strcmp(plain, again) ? NULL : name;
}

static struct bw_watch_known *known_live(const struct plan *p, uint64_t marker)
{
	for (uint32_t i = 0; i < p->m->n; i++)
		if (is_live(p, &p->m->known[i]) && p->m->known[i].marker == marker)
			return &p->m->known[i];
	return NULL;
}

/* One that cannot be judged and that a marker at step would take away the ground from. */
static struct bw_watch_known *held_by(const struct plan *p, uint64_t step)
{
	for (uint32_t i = 0; i < p->m->n; i++) {
		struct bw_watch_known *k = &p->m->known[i];

		if (k->marker < step && is_doubtful(p, k) && !has_below(p, k->marker, UINT64_MAX))
			return k;
	}
	return NULL;
}

static void plan_marks(struct plan *p)
{
	for (uint32_t i = 0; i < p->live_n && !p->err; i++) {
		uint64_t step = p->live[i];
		struct bw_watch_known *k = known_live(p, step), *by;

		if (has_marker(p, step))
			continue;
		if (step < p->root->first) {
			act_add(p, BW_WATCH_BELOW, step, k, "the stream has released what it would read");
			continue;
		}
		if (step > p->root->head) {
			act_add(p, BW_WATCH_BEYOND, step, k, "the stream does not reach so far");
			continue;
		}
		by = held_by(p, step);
		if (by) {
			act_add(p, BW_WATCH_HELD, step, by, by->verdict.why);
			continue;
		}
		if (p->markers_n == BW_MARKERS_MAX)
			continue;
		struct bw_watch_act *a = act_add(p, BW_WATCH_MARK, step, k, "");

		if (a)
			text_of(p, k->name, a->text);
		p->markers[p->markers_n++] = step;
	}
}

/* Is the checkpoint that the text names gone, or torn?  Why, or NULL. */
static const char *is_over(const struct plan *p, const char *name)
{
	const struct bw_watch_known *k = known_find(p->m, name);
	const struct bw_watch_memory *m = p->m;

	if (k && !settled(k, p->rules, p->now_ns))
		return NULL;
	if (k && k->here)
		return k->verdict.state == BW_WATCH_TORN ? "torn" : NULL;
	/* It may be there, and no checkpoint for this format. */
	if (!k && bw_watch_item(p->s, name))
		return NULL;
	if (m->looks < 2 || p->now_ns - m->since_ns < p->rules->settle_ns)
		return NULL;
	return "gone";
}

/* A checkpoint that is there, or may be, and that the marker stands for. */
static bool is_needed(const struct plan *p, uint64_t step)
{
	for (uint32_t i = 0; i < p->m->n; i++) {
		const struct bw_watch_known *k = &p->m->known[i];

		if (k->counts && k->marker == step && !is_over(p, k->name))
			return true;
	}
	return false;
}

/* Is there another checkpoint, done and marked? */
static bool has_other(const struct plan *p, uint64_t step)
{
	for (uint32_t i = 0; i < p->m->n; i++) {
		const struct bw_watch_known *k = &p->m->known[i];

		if (k->marker != step && is_live(p, k) && has_marker(p, k->marker))
			return true;
	}
	return false;
}

static struct bw_watch_known *stands_on(const struct plan *p, uint64_t step)
{
	for (uint32_t i = 0; i < p->m->n; i++) {
		struct bw_watch_known *k = &p->m->known[i];

		if (is_doubtful(p, k) && !has_below(p, k->marker, step))
			return k;
	}
	return NULL;
}

/* Why the marker has lost its ground, or NULL. */
static const char *why_unmark(struct plan *p, const struct bw_marker *marker)
{
	const char *name = name_in(p, marker->text);

	if (is_listed(p->live, p->live_n, marker->step))
		return NULL;
	if (known_live(p, marker->step))
		return "thinned: there are more checkpoints than markers";
	if (is_needed(p, marker->step))
		return NULL;
	if (name)
		return is_over(p, name);
	if (!p->rules->adopt) {
		act_add(p, BW_WATCH_FOREIGN, marker->step, NULL, "");
		return NULL;
	}
	return p->m->looks >= 2 && p->now_ns - p->m->since_ns >= p->rules->settle_ns ? "adopted" : NULL;
}

static void plan_unmark(struct plan *p, const struct bw_marker *marker)
{
	const char *why = why_unmark(p, marker);
	struct bw_watch_known *by;

	if (!why)
		return;
	if (!has_other(p, marker->step)) {
		act_add(p, BW_WATCH_LAST, marker->step, NULL, "");
		return;
	}
	by = stands_on(p, marker->step);
	if (by) {
		act_add(p, BW_WATCH_HELD, marker->step, by, by->verdict.why);
		return;
	}
	struct bw_watch_act *a = act_add(p, BW_WATCH_UNMARK, marker->step, NULL, why);

	if (a)
		snprintf(a->text, sizeof(a->text), "%s", marker->text);
	for (uint32_t i = 0; i < p->markers_n; i++)
		if (p->markers[i] == marker->step)
			p->markers[i] = p->markers[--p->markers_n];
}

/* There is one that is done, and all of them are newer than newest: the trainer has gone on. */
static bool has_gone_on(const struct plan *p, uint64_t newest)
{
	bool any = false;

	for (uint32_t i = 0; i < p->m->n; i++) {
		const struct bw_watch_known *k = &p->m->known[i];

		if (k->here && k->marker <= newest)
			return false;
		any |= is_live(p, k);
	}
	return any;
}

/*
 * Is this the directory that the markers tell of?  A mount point without its mount may hold what somebody
 * left there once.  One checkpoint that has a marker is proof, and so are newer ones alone, when all that
 * had markers were rotated and nobody watched.  It is trusted until another stands in its place.
 */
static bool is_trusted(const struct plan *p, const struct bw_job *j)
{
	uint64_t newest = 0;
	bool ours = false;

	if (p->m->trusted || p->rules->adopt)
		return true;
	for (uint32_t i = 0; i < j->markers_n; i++) {
		const char *name = name_in(p, j->markers[i].text);
		const struct bw_watch_known *k = name ? known_find(p->m, name) : NULL;

		if (!name)
			continue;
		ours = true;
		newest = j->markers[i].step;	/* they ascend */
		if (k && k->here && k->verdict.state != BW_WATCH_TORN)
			return true;
	}
	return !ours || (!p->m->replaced && has_gone_on(p, newest));
}

int bw_watch_plan(struct bw_watch_memory *m, const struct bw_watch_rules *rules,
		  const struct bw_watch_snapshot *s, const struct bw_root *root, const char *job,
		  int64_t now_ns, struct bw_watch_acts *ret)
{
	struct plan p = {
		.m = m, .rules = rules, .s = s, .root = root, .now_ns = now_ns, .acts = ret,
	};
	const struct bw_job *j = bw_root_job(root, job);

	*ret = (struct bw_watch_acts){.n = 0};
	for (uint32_t i = 0; j && i < j->markers_n; i++)
		p.markers[p.markers_n++] = j->markers[i].step;
	if (!j || !m->looks)
		return 0;
	m->trusted = is_trusted(&p, j);
	if (!m->trusted) {
		if (!bw_watch_memory_unsettled(m, rules, now_ns))
			act_add(&p, BW_WATCH_STRANGER, 0, NULL, "");
		return p.err;
	}
	p.err = find_live(&p);
	if (!p.err) {
		thin(&p);
		plan_marks(&p);
	}
	bool marks = p.markers_n > j->markers_n;

	for (uint32_t i = 0; i < j->markers_n && !marks && !p.err; i++)
		plan_unmark(&p, &j->markers[i]);
	free(p.live);
	return p.err;
}
