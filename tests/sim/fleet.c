/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/fleet.h"

#include "manifest/follow.h"
#include "manifest/open_search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define LATENCY_NS (20 * BW_MS)
#define SIGMA 0.35
#define SKEW_NS (5 * BW_MS)	/* between ranks that leave a barrier */
#define READ_NS (5 * BW_MS)
#define NEAR 8u		/* steps: who comes so near to what is known wants news (fs/prefetch.c) */
#define HITS_BEFORE_SEARCH 4u
#define PATIENCE_NS (2 * BW_SEC)
#define PATIENCE_MAX_NS (10 * BW_SEC)
#define SLOT_NS (100 * BW_MS)
#define AFTER_NS (60 * BW_SEC)

enum event_kind { EVENT_COMMIT, EVENT_TRAINED, EVENT_ASK, EVENT_WAKE, EVENT_ANSWER };
enum answer { ANSWER_THERE, ANSWER_ABSENT, ANSWER_NONE, ANSWER_THROTTLED };
enum trainer { COMPUTES, ASKS, JOINS, WAITS };	/* JOINS: asks, and need not be answered before news */

struct mount {
	struct bw_follow follow;
	uint64_t known, known_before;	/* version; when the round began */
	/* The training process. */
	enum trainer trainer;
	uint64_t step;		/* that it reads or waits for; one a version */
	int64_t asked_ns;
	bool near;		/* it came near to the newest step that is known, and nothing has come since */
	/* The round under way. */
	bool probing, searching;
	bool answers_ask;	/* the trainer asked before the last request was sent */
	struct bw_search search;
	uint64_t asked;		/* version */
	unsigned hits;
	enum answer answer;
	int64_t patience_ns;
	uint64_t token;		/* wake-ups of older ones are void */
	uint32_t in_second;
	int64_t second;
};

struct event {
	int64_t at_ns;
	uint64_t order, token;
	enum event_kind kind;
	struct mount *who;
};

struct world {
	const struct fleet *f;
	struct bw_rng rng;
	int64_t now_ns, from_ns, until_ns, away_ns, back_ns;
	struct event *events;
	size_t n, cap;
	uint64_t order;
	struct mount *mounts;
	uint32_t met;		/* at the barrier */
	uint64_t newest;
	int64_t *commits;	/* [version] when */
	size_t commits_cap;
	double tokens;
	int64_t tokens_ns;
	uint32_t *slots;	/* requests sent in each 100 ms of what is measured */
	size_t slots_n;
	uint64_t sent, hits, throttled;
	uint32_t mount_max;
	double *late;
	size_t late_n, late_cap;
};

static void must(bool ok)
{
	if (ok)
		return;
	fprintf(stderr, "fleet: memory\n");
	abort();
}

/* ---- Events: a heap by time, then by order of making --------------------------------------------- */

static bool before(const struct event *a, const struct event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void at(struct world *w, int64_t at_ns, enum event_kind kind, struct mount *who)
{
	if (w->n == w->cap) {
		w->cap = w->cap ? 2 * w->cap : 4096;
		w->events = realloc(w->events, w->cap * sizeof(*w->events));
		must(w->events);
	}
	struct event e = {.at_ns = at_ns, .order = w->order++, .kind = kind, .who = who,
			  .token = who ? who->token : 0};
	size_t i = w->n++;

	for (; i && before(&e, &w->events[(i - 1) / 2]); i = (i - 1) / 2)
		w->events[i] = w->events[(i - 1) / 2];
	w->events[i] = e;
}

static struct event pop(struct world *w)
{
	struct event top = w->events[0], last = w->events[--w->n];
	size_t i = 0;

	for (size_t child; (child = 2 * i + 1) < w->n; i = child) {
		if (child + 1 < w->n && before(&w->events[child + 1], &w->events[child]))
			child++;
		if (!before(&w->events[child], &last))
			break;
		w->events[i] = w->events[child];
	}
	w->events[i] = last;
	return top;
}

/* ---- The store ------------------------------------------------------------------------------------ */

static int64_t latency(struct world *w)
{
	double u = 1 - bw_rng_unit(&w->rng), v = bw_rng_unit(&w->rng);
	double normal = sqrt(-2 * log(u)) * cos(6.283185307179586 * v);

	return (int64_t)((double)LATENCY_NS * exp(SIGMA * normal));
}

static bool measured(const struct world *w)
{
	return w->now_ns >= w->from_ns && w->now_ns < w->until_ns;
}

static void count(struct world *w, struct mount *m)
{
	if (m->second != w->now_ns / BW_SEC) {
		m->second = w->now_ns / BW_SEC;
		m->in_second = 0;
	}
	m->in_second++;
	if (!measured(w))
		return;
	w->sent++;
	w->slots[(w->now_ns - w->from_ns) / SLOT_NS]++;
	if (m->in_second > w->mount_max)
		w->mount_max = m->in_second;
}

static bool too_many(struct world *w)
{
	if (w->f->limit <= 0)
		return false;
	w->tokens += (double)(w->now_ns - w->tokens_ns) / 1e9 * w->f->limit;
	w->tokens = w->tokens < w->f->limit / 10 ? w->tokens : w->f->limit / 10;
	w->tokens_ns = w->now_ns;
	if (w->tokens < 1)
		return true;
	w->tokens -= 1;
	return false;
}

/* What the store sees half way between the request and its answer is left to the moment it is sent: a version that is
 * committed meanwhile is found by the next one. */
static void ask_store(struct world *w, struct mount *m, uint64_t version)
{
	int64_t ns = latency(w);

	count(w, m);
	m->asked = version;
	m->answers_ask = m->trainer == ASKS || m->trainer == JOINS;
	if (w->now_ns >= w->away_ns && w->now_ns < w->back_ns) {
		m->answer = ANSWER_NONE;
		if (w->f->hangs) {
			ns = m->patience_ns;
			m->patience_ns = 2 * ns < PATIENCE_MAX_NS ? 2 * ns : PATIENCE_MAX_NS;
		}
	} else if (too_many(w)) {
		m->answer = ANSWER_THROTTLED;
		w->throttled += measured(w);
	} else {
		m->answer = version <= w->newest ? ANSWER_THERE : ANSWER_ABSENT;
		m->patience_ns = PATIENCE_NS;
	}
	at(w, w->now_ns + ns, EVENT_ANSWER, m);
}

/* ---- A mount -------------------------------------------------------------------------------------- */

static bool wants_news(const struct mount *m)
{
	return m->trainer != COMPUTES || m->near;
}

static void schedule(struct world *w, struct mount *m)
{
	if (m->probing || !wants_news(m))
		return;
	int64_t due = bw_follow_wait_due(&m->follow);

	if (m->trainer == ASKS && bw_follow_ask_due(&m->follow) < due)
		due = bw_follow_ask_due(&m->follow);
	m->token++;
	at(w, due > w->now_ns ? due : w->now_ns, EVENT_WAKE, m);
}

static void read_step(struct world *w, struct mount *m)
{
	m->trainer = COMPUTES;
	m->near = m->step + NEAR >= m->known;
	at(w, w->now_ns + READ_NS + (int64_t)(w->f->compute_s * 1e9), EVENT_TRAINED, m);
}

static void keep_late(struct world *w, const struct mount *m)
{
	int64_t since = w->commits[m->step] > m->asked_ns ? w->commits[m->step] : m->asked_ns;

	if (!measured(w))
		return;
	if (w->late_n == w->late_cap) {
		w->late_cap = w->late_cap ? 2 * w->late_cap : 65536;
		w->late = realloc(w->late, w->late_cap * sizeof(*w->late));
		must(w->late);
	}
	w->late[w->late_n++] = (double)(w->now_ns - since) / 1e9;
}

static void ask_for(struct world *w, struct mount *m)
{
	m->step++;
	m->asked_ns = w->now_ns;
	if (m->step <= m->known) {
		keep_late(w, m);
		read_step(w, m);
		return;
	}
	m->trainer = bw_follow_joins(&m->follow) ? JOINS : ASKS;
	schedule(w, m);
}

static void trained(struct world *w, struct mount *m)
{
	if (!w->f->lock_step) {
		ask_for(w, m);
		return;
	}
	if (++w->met < w->f->mounts)
		return;
	w->met = 0;
	for (uint32_t i = 0; i < w->f->mounts; i++)
		at(w, w->now_ns + (int64_t)bw_rng_below(&w->rng, SKEW_NS), EVENT_ASK, &w->mounts[i]);
}

static void knows(struct world *w, struct mount *m, uint64_t version)
{
	w->hits += measured(w);
	if (version <= m->known)
		return;
	m->known = version;
	m->near = false;
	if (m->trainer != COMPUTES && m->step <= m->known) {
		keep_late(w, m);
		read_step(w, m);
	}
}

static void round_over(struct world *w, struct mount *m, bool no)
{
	uint64_t found = m->known - m->known_before;

	m->probing = false;
	bw_follow_found(&m->follow, w->now_ns, found, no, no && m->answers_ask);
	if (no && m->answers_ask && (m->trainer == ASKS || m->trainer == JOINS)) {
		if (m->trainer == ASKS && !found)
			bw_follow_in_vain(&m->follow);
		m->trainer = WAITS;
	}
	schedule(w, m);
}

static void probe(struct world *w, struct mount *m)
{
	m->probing = true;
	m->searching = false;
	m->hits = 0;
	m->known_before = m->known;
	ask_store(w, m, m->known + 1);
}

static void answered(struct world *w, struct mount *m)
{
	if (m->answer == ANSWER_NONE || m->answer == ANSWER_THROTTLED) {
		m->probing = false;
		bw_follow_failed(&m->follow, w->now_ns, m->answer == ANSWER_THROTTLED);
		schedule(w, m);
		return;
	}
	if (m->answer == ANSWER_THERE)
		knows(w, m, m->asked);
	if (m->searching)
		bw_search_saw(&m->search, m->asked, m->answer == ANSWER_THERE);
	else if (m->answer == ANSWER_THERE && ++m->hits == HITS_BEFORE_SEARCH) {
		m->searching = true;
		bw_search_cold(&m->search, m->known);
	}
	uint64_t next = m->searching ? bw_search_next(&m->search)
			: m->answer == ANSWER_THERE ? m->known + 1 : 0;

	bool content = next && m->hits == 1 && m->trainer != ASKS && m->trainer != JOINS &&
		       bw_follow_is_content(&m->follow, w->now_ns);

	if (next && !content)
		ask_store(w, m, next);
	else
		round_over(w, m, !next);
}

/* ---- A run ---------------------------------------------------------------------------------------- */

static double until_next_s(struct world *w)
{
	double every = w->f->every_s, u = bw_rng_unit(&w->rng);

	switch (w->f->pace) {
	case FLEET_STEADY:
		break;
	case FLEET_CLOCKED:
		return every * (0.98 + 0.04 * u);
	case FLEET_CHANCE:
		return -log(1 - u) * every;
	case FLEET_PAIRS:
		return w->newest % 2 ? 2 * every : 0;
	case FLEET_CHANGES:
		every = w->now_ns / (10 * BW_SEC) % 2 ? every / 3 : every;
		break;
	}
	return every * (0.8 + 0.4 * u);
}

static void commit(struct world *w)
{
	if (++w->newest >= w->commits_cap) {
		w->commits_cap = 2 * w->newest + 64;
		w->commits = realloc(w->commits, w->commits_cap * sizeof(*w->commits));
		must(w->commits);
	}
	w->commits[w->newest] = w->now_ns;
	double wait = until_next_s(w);

	if (w->f->every_s > 0 && w->now_ns < w->until_ns && (double)w->newest >= w->f->ahead)
		at(w, w->now_ns + (int64_t)(wait * 1e9), EVENT_COMMIT, NULL);
}

static void run_event(struct world *w, const struct event *e)
{
	struct mount *m = e->who;

	w->now_ns = e->at_ns;
	if (e->kind == EVENT_COMMIT)
		commit(w);
	else if (e->kind == EVENT_TRAINED)
		trained(w, m);
	else if (e->kind == EVENT_ASK)
		ask_for(w, m);
	else if (e->kind == EVENT_ANSWER)
		answered(w, m);
	else if (e->token == m->token && !m->probing && wants_news(m))
		probe(w, m);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* They were mounted one after the other, in a minute or less. */
static void begin(struct world *w)
{
	const struct fleet *f = w->f;
	int64_t spread = w->from_ns / 2 < 60 * BW_SEC ? w->from_ns / 2 : 60 * BW_SEC;

	do
		commit(w);
	while ((double)w->newest < f->ahead);
	for (uint32_t i = 0; i < f->mounts; i++) {
		struct mount *m = &w->mounts[i];

		bw_follow_init(&m->follow, 0, bw_rng_next(&w->rng));
		m->known = m->step = w->newest > f->ahead ? w->newest - (uint64_t)f->ahead : 1;
		m->patience_ns = PATIENCE_NS;
		at(w, (int64_t)bw_rng_below(&w->rng, (uint64_t)spread), EVENT_TRAINED, m);
	}
}

static void sum_up(struct world *w, struct fleet_result *r)
{
	const struct fleet *f = w->f;
	double peak = 0, peak_back = 0;

	for (size_t i = 0; i < w->slots_n; i++) {
		int64_t at_ns = w->from_ns + (int64_t)i * SLOT_NS;

		peak = w->slots[i] > peak ? w->slots[i] : peak;
		if (f->away_s > 0 && at_ns + SLOT_NS > w->back_ns && w->slots[i] > peak_back)
			peak_back = w->slots[i];
	}
	qsort(w->late, w->late_n, sizeof(*w->late), by_value);
	*r = (struct fleet_result){.requests = (double)w->sent / f->seconds,
				   .mount = (double)w->sent / f->seconds / f->mounts,
				   .mount_max = w->mount_max,
				   .peak = peak,
				   .peak_back = peak_back,
				   .hits = (double)w->hits / f->seconds,
				   .throttled = w->sent ? (double)w->throttled / (double)w->sent : 0,
				   .steps = UINT64_MAX};
	if (w->late_n) {
		r->late_p50 = w->late[w->late_n / 2];
		r->late_p99 = w->late[w->late_n * 99 / 100];
	}
	for (uint32_t i = 0; i < f->mounts; i++) {
		r->steps = w->mounts[i].step < r->steps ? w->mounts[i].step : r->steps;
		r->behind += wants_news(&w->mounts[i]) && w->mounts[i].known < w->newest;
	}
}

void fleet_run(const struct fleet *f, struct fleet_result *ret)
{
	int64_t length = (int64_t)(f->seconds * 1e9);
	struct world w = {.f = f, .from_ns = length / 3, .until_ns = length / 3 + length,
			  .away_ns = BW_NEVER, .back_ns = BW_NEVER,
			  .mounts = calloc(f->mounts, sizeof(*w.mounts)),
			  .slots_n = (size_t)(length / SLOT_NS) + 1};

	w.slots = calloc(w.slots_n, sizeof(*w.slots));
	must(w.mounts && w.slots);
	bw_rng_init(&w.rng, f->seed);
	if (f->away_s > 0) {
		w.away_ns = w.from_ns + length / 2;
		w.back_ns = w.away_ns + (int64_t)(f->away_s * 1e9);
	}
	begin(&w);
	while (w.n && w.events[0].at_ns < w.until_ns + AFTER_NS) {
		struct event e = pop(&w);

		run_event(&w, &e);
	}
	sum_up(&w, ret);
	free(w.events);
	free(w.mounts);
	free(w.slots);
	free(w.late);
	free(w.commits);
}
