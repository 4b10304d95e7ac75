/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/world_priv.h"

#include "store/base/clock.h"
#include "tests/support/change.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM 0.4
#define SAMPLES_MAX 4000000u

void world_must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "sim: %s\n", what);
	abort();
}

/* ---- Events: a heap by time, then by order of making ------------------------------------------- */

static bool before(const struct event *a, const struct event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

void world_at(struct world *w, int64_t at_ns, enum event_kind kind, struct writer *who)
{
	if (w->events_n == w->events_cap) {
		w->events_cap = w->events_cap ? 2 * w->events_cap : 1024;
		w->events = realloc(w->events, w->events_cap * sizeof(*w->events));
		world_must(w->events, "memory");
	}
	struct event e = {.at_ns = at_ns, .order = w->order++, .kind = kind, .who = who,
			  .token = who ? who->token : 0};
	size_t i = w->events_n++;

	for (; i && before(&e, &w->events[(i - 1) / 2]); i = (i - 1) / 2)
		w->events[i] = w->events[(i - 1) / 2];
	w->events[i] = e;
}

static struct event pop(struct world *w)
{
	struct event top = w->events[0], last = w->events[--w->events_n];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= w->events_n)
			break;
		if (child + 1 < w->events_n && before(&w->events[child + 1], &w->events[child]))
			child++;
		if (!before(&w->events[child], &last))
			break;
		w->events[i] = w->events[child];
		i = child;
	}
	w->events[i] = last;
	return top;
}

/* ---- The store ---------------------------------------------------------------------------------- */

static double normal(struct bw_rng *rng)
{
	double u = 1 - bw_rng_unit(rng), v = bw_rng_unit(rng);

	return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

int64_t world_latency(struct world *w, const struct writer *who, int64_t median_ns, size_t bytes)
{
	const struct store_model *s = w->load.store;
	double factor = exp(s->sigma * normal(&w->rng)) * (who ? who->slowness : 1);

	return (int64_t)((double)median_ns * factor + (double)bytes / s->bytes_per_ns);
}

static bool refused(struct world *w, struct limiter *l, unsigned per_s)
{
	double gained = (double)(w->now_ns - l->at_ns) / 1e9 * per_s;

	/* A bucket of one second. */
	l->tokens = l->tokens + gained < per_s ? l->tokens + gained : per_s;
	l->at_ns = w->now_ns;
	if (l->tokens < 1)
		return true;
	l->tokens -= 1;
	return false;
}

/* The effect is half way between the request and its answer. */
void world_request(struct world *w, struct writer *me, enum request_kind kind, uint64_t version)
{
	const struct store_model *s = w->load.store;
	bool put = kind != REQUEST_GET;
	bool no = put ? refused(w, &w->puts, s->puts_per_s) : refused(w, &w->gets, s->gets_per_s);
	size_t bytes = kind == REQUEST_NODE ? 8000 : (size_t)w->newest_bytes;
	int64_t median = put ? s->put_ns : version > w->newest ? s->miss_ns : s->get_ns;

	me->token++;
	me->request = kind;
	me->version = version;
	me->sent_ns = w->now_ns;
	w->requests += w->measuring;
	w->refusals += w->measuring && no;
	if (no) {
		me->outcome = BW_THROTTLED;
		world_at(w, w->now_ns + world_latency(w, me, s->miss_ns, 0), EVENT_ANSWER, me);
		return;
	}
	int64_t ns = world_latency(w, me, median, version > w->newest && !put ? 0 : bytes);
	int64_t sent_ns = w->now_ns + me->think_ns;

	me->think_ns = 0;
	world_at(w, sent_ns + ns / 2, EVENT_EFFECT, me);
	world_at(w, sent_ns + ns, EVENT_ANSWER, me);
}

static void hint(struct world *w)
{
	w->requests += w->measuring && w->newest % 64 == 0;
}

static void sample(struct world *w, int64_t ns)
{
	if (w->samples_n == w->samples_cap && w->samples_cap < SAMPLES_MAX) {
		w->samples_cap = w->samples_cap ? 2 * w->samples_cap : 4096;
		w->samples = realloc(w->samples, w->samples_cap * sizeof(*w->samples));
		world_must(w->samples, "memory");
	}
	if (w->samples_n < w->samples_cap)
		w->samples[w->samples_n++] = (double)ns / 1e9;
}

/* The root of me's attempt is there: its batches are visible from now on. */
static void created(struct world *w, struct writer *me)
{
	w->newest++;
	w->head += me->taken;
	w->last_version[me->who] = w->newest;
	for (uint32_t i = 0; i < me->taken; i++) {
		int64_t queued_ns = me->queue[(me->queue_at + i) % me->queue_cap];

		if (queued_ns >= w->warm_ns)
			sample(w, w->now_ns - queued_ns);
	}
	if (w->measuring) {
		w->commits++;
		w->committed += me->taken;
		me->committed += me->taken;
	}
	engine_created(w, me);
	w->bytes_sum += w->measuring ? w->newest_bytes : 0;
	hint(w);
}

static void effect(struct world *w, struct writer *me)
{
	me->outcome = BW_OK;
	if (me->request == REQUEST_GET && me->version > w->newest)
		me->outcome = BW_NOT_FOUND;
	if (me->request == REQUEST_ROOT) {
		me->outcome = me->version <= w->newest ? BW_EXISTS : BW_OK;
		world_must(me->version <= w->newest + 1, "a slot beyond the next");
		if (me->outcome == BW_OK)
			created(w, me);
	}
}

/* ---- P, as a root tells it ----------------------------------------------------------------------- */

uint32_t world_committers(struct world *w)
{
	if (w->committers_at == w->newest && w->committers)
		return w->committers;
	for (uint32_t c = 1;;) {
		uint64_t window = 3 * (uint64_t)c > 256 ? 3 * (uint64_t)c : 256;
		uint32_t active = 0;

		for (uint32_t i = 0; i < w->load.producers; i++)
			active += w->last_version[i] &&
				  w->newest - w->last_version[i] < window;
		if (active <= c) {
			w->committers_at = w->newest;
			return w->committers = active ? active : 1;
		}
		c = active;
	}
}

/* ---- Arrivals ------------------------------------------------------------------------------------- */

static void arrive(struct world *w)
{
	struct writer *me = &w->writers[bw_rng_below(&w->rng, w->load.producers)];

	if (me->queued == me->queue_cap) {
		uint32_t cap = me->queue_cap ? 2 * me->queue_cap : 16;
		int64_t *queue = malloc(cap * sizeof(*queue));

		world_must(queue, "memory");
		for (uint32_t i = 0; i < me->queued; i++)
			queue[i] = me->queue[(me->queue_at + i) % me->queue_cap];
		free(me->queue);
		me->queue = queue;
		me->queue_at = 0;
		me->queue_cap = cap;
	}
	me->queue[(me->queue_at + me->queued++) % me->queue_cap] = w->now_ns;
	w->arrived += w->measuring;
	writer_arrived(w, me);
	double wait = -log(1 - bw_rng_unit(&w->rng)) / w->load.offered;

	world_at(w, w->now_ns + (int64_t)(wait * 1e9), EVENT_ARRIVE, NULL);
}

/* ---- A run ---------------------------------------------------------------------------------------- */

static void begin(struct world *w, const struct load *l)
{
	*w = (struct world){.load = *l, .warm_ns = (int64_t)(WARM * (double)l->length_ns)};
	bw_rng_init(&w->rng, l->seed);
	w->puts = (struct limiter){.tokens = l->store->puts_per_s};
	w->gets = (struct limiter){.tokens = l->store->gets_per_s};
	w->writers = calloc(l->producers, sizeof(*w->writers));
	w->last_version = calloc(l->producers, sizeof(*w->last_version));
	world_must(w->writers && w->last_version, "memory");
	w->newest = 1;
	engine_begin(w);
	for (uint32_t i = 0; i < l->producers; i++) {
		w->writers[i].who = i;
		w->writers[i].slowness = i < l->slow ? 4 : 1;
		w->writers[i].known = w->newest;
		w->last_version[i] = w->newest;
		pacer_init(&w->writers[i].pacer, l->policy, l->seed * 7919 + i);
	}
	world_at(w, 0, EVENT_ARRIVE, NULL);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double quantile(double *values, size_t n, double q)
{
	return n ? values[(size_t)(q * (double)(n - 1))] : 0;
}

static double bare(struct world *w)
{
	static double ns[20001];

	for (size_t i = 0; i < 20001; i++)
		ns[i] = (double)world_latency(w, NULL, w->load.store->put_ns,
					      (size_t)w->newest_bytes) / 2e9;
	qsort(ns, 20001, sizeof(*ns), by_value);
	return ns[10000];
}

static void controllers(struct world *w, struct load_result *r)
{
	double *tau = calloc(2 * (size_t)w->load.producers, sizeof(*tau));
	double *rho = tau + w->load.producers;

	world_must(tau, "memory");
	for (uint32_t i = 0; i < w->load.producers; i++) {
		tau[i] = (double)bw_dac_tau(&w->writers[i].pacer.dac) / 1e9;
		rho[i] = bw_dac_rho(&w->writers[i].pacer.dac);
	}
	qsort(tau, w->load.producers, sizeof(*tau), by_value);
	qsort(rho, w->load.producers, sizeof(*rho), by_value);
	r->tau_s = tau[w->load.producers / 2];
	r->rho = rho[w->load.producers / 2];
	free(tau);
}

static void report(struct world *w, struct load_result *r)
{
	double seconds = (double)(w->load.length_ns - w->warm_ns) / 1e9, sum = 0, squares = 0;

	*r = (struct load_result){.seconds = seconds, .offered = (double)w->arrived / seconds,
				  .committed = (double)w->committed / seconds,
				  .commits = (double)w->commits / seconds,
				  .requests = (double)w->requests / seconds, .events = w->order};
	for (uint32_t i = 0; i < w->load.producers; i++) {
		double x = (double)w->writers[i].committed;

		sum += x;
		squares += x * x;
		r->backlog += w->writers[i].queued;
	}
	r->attempts = w->commits ? (double)w->attempts / (double)w->commits : 0;
	r->requests_tgb = w->committed ? (double)w->requests / (double)w->committed : 0;
	r->throttled = w->requests ? (double)w->refusals / (double)w->requests : 0;
	r->jain = squares > 0 ? sum * sum / ((double)w->load.producers * squares) : 0;
	r->root_bytes = w->commits ? w->bytes_sum / (double)w->commits : 0;
	r->bare_p50 = bare(w);
	qsort(w->samples, w->samples_n, sizeof(*w->samples), by_value);
	r->p50 = quantile(w->samples, w->samples_n, 0.5);
	r->p99 = quantile(w->samples, w->samples_n, 0.99);
	controllers(w, r);
}

static void end(struct world *w)
{
	engine_end(w);
	for (uint32_t i = 0; i < w->load.producers; i++)
		free(w->writers[i].queue);
	free(w->writers);
	free(w->last_version);
	free(w->events);
	free(w->samples);
}

void load_run(const struct load *l, struct load_result *ret)
{
	struct world w;

	begin(&w, l);
	while (w.events_n) {
		struct event e = pop(&w);

		if (e.at_ns >= l->length_ns)
			break;
		w.now_ns = e.at_ns;
		w.measuring = e.at_ns >= w.warm_ns;
		if (e.kind == EVENT_ARRIVE)
			arrive(&w);
		else if (e.token != e.who->token)
			continue;
		else if (e.kind == EVENT_EFFECT)
			effect(&w, e.who);
		else
			writer_event(&w, e.who, e.kind);
	}
	report(&w, ret);
	end(&w);
}
