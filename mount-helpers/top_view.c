/* SPDX-License-Identifier: Apache-2.0 */
/* How two looks are shown: as a page, as a line, as JSON. */
#include "mount-helpers/top.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const reasons[] = BW_WAIT_REASON_NAMES;

/* ---- Numbers as people read them ------------------------------------------------------------------- */

/* Buffers for one line's numbers. */
struct words {
	char text[16][40];
	unsigned n;
};

static char *room(struct words *w)
{
	return w->text[w->n++ % 16];
}

/* Three digits that count: 0.40, 3.1, 41, 12345; "-" when it is not known. */
static const char *count(struct words *w, double v)
{
	char *to = room(w);

	if (isnan(v))
		return "-";
	snprintf(to, 40, "%.*f", v == 0 || v >= 100 ? 0 : v >= 10 ? 1 : 2, v);
	return to;
}

static const char *whole(struct words *w, double v)
{
	char *to = room(w);

	if (isnan(v))
		return "-";
	snprintf(to, 40, "%.0f", v);
	return to;
}

/* Powers of ten, as networks and disks are told. */
static const char *bytes(struct words *w, double v)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
	char *to = room(w);
	unsigned i = 0;

	if (isnan(v))
		return "-";
	for (; v >= 999.5 && i < 5; i++)
		v /= 1000;
	snprintf(to, 40, "%.*f %s", i && v < 99.95 ? 1 : 0, v, units[i]);
	return to;
}

static const char *milliseconds(struct words *w, double seconds)
{
	char *to = room(w);

	if (isnan(seconds))
		return "-";
	if (isinf(seconds))
		return "above 30 s";
	snprintf(to, 40, "%.*f ms", seconds < 0.1 ? 1 : 0, seconds * 1000);
	return to;
}

/* ---- What is shown --------------------------------------------------------------------------------- */

struct pair {
	const struct bw_top *before, *now;
};

static double rate(struct pair p, enum bw_top_value v)
{
	return bw_top_rate(p.before, p.now, v);
}

/* Of a by b, by what both rose: seconds a request, attempts a version. */
static double each(struct pair p, enum bw_top_value a, enum bw_top_value b)
{
	double n = rate(p, b);

	return n > 0 ? rate(p, a) / n : NAN;
}

static double read_rate(struct pair p)
{
	return rate(p, BW_TOP_READ_MEMORY) + rate(p, BW_TOP_READ_DISK) + rate(p, BW_TOP_READ_STORE);
}

/* Percent of what was read that came from there. */
static double share(struct pair p, enum bw_top_value v)
{
	double all = read_rate(p);

	return all > 0 ? 100 * rate(p, v) / all : NAN;
}

static double waiters(const struct bw_top *t)
{
	double all = NAN;

	for (int r = 0; r < BW_WAIT_REASONS; r++) {
		double more = t->v[BW_TOP_WAITERS + r];

		if (!isnan(more))
			all = isnan(all) ? more : all + more;
	}
	return all;
}

static double largest_lag(const struct bw_top *t)
{
	double most = NAN;

	for (unsigned i = 0; i < t->jobs_n; i++)
		if (isnan(most) || t->jobs[i].lag > most)
			most = t->jobs[i].lag;
	return most;
}

/* ---- The page --------------------------------------------------------------------------------------- */

/* Lines that are cut at their end, and a page that ends. */
struct page {
	struct bw_buf *out;
	unsigned columns, rows, used;
};

static void bw_printf_like(2, 3) line(struct page *g, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (g->used >= g->rows)
		return;
	g->used++;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (strlen(text) > g->columns)
		text[g->columns < sizeof(text) ? g->columns : sizeof(text) - 1] = 0;
	bw_buf_fmt(g->out, "%s\n", text);
}

static void show_stream(struct page *g, struct pair p, const char *when)
{
	const struct bw_top *t = p.now;
	struct words w = {.n = 0};

	line(g, "%s  %s", when, t->url);
	line(g, "stream    %.8s  %s ranks  steps %s to %s  version %s%s", t->stream, whole(&w, t->ranks),
	     whole(&w, t->v[BW_TOP_FIRST]), whole(&w, t->v[BW_TOP_HEAD]), whole(&w, t->v[BW_TOP_VERSION]),
	     t->sealed ? "  SEALED" : "");
	if (!t->ok)
		line(g, "store     DOES NOT ANSWER AS IT SHOULD: %s", t->trouble);
	line(g, "committed %s steps/s  %s/s  %s versions/s", count(&w, rate(p, BW_TOP_HEAD)),
	     bytes(&w, rate(p, BW_TOP_BYTES)), count(&w, rate(p, BW_TOP_VERSION)));
}

static void show_commits(struct page *g, struct pair p)
{
	struct words w = {.n = 0};

	line(g, "here      %s batches/s  %s failed/s  %s each  %s conflicts/s  %s attempts a version  window %s",
	     count(&w, rate(p, BW_TOP_COMMITS)), count(&w, rate(p, BW_TOP_FAILED)),
	     milliseconds(&w, each(p, BW_TOP_COMMIT_S, BW_TOP_COMMITS)), count(&w, rate(p, BW_TOP_CONFLICTS)),
	     count(&w, each(p, BW_TOP_ATTEMPTS, BW_TOP_VERSIONS)), milliseconds(&w, p.now->v[BW_TOP_WINDOW_S]));
}

static void show_reads(struct page *g, struct pair p)
{
	struct words w = {.n = 0};

	line(g, "read      %s/s  from memory %s %%  disk %s %%  store %s %%", bytes(&w, read_rate(p)),
	     whole(&w, share(p, BW_TOP_READ_MEMORY)), whole(&w, share(p, BW_TOP_READ_DISK)),
	     whole(&w, share(p, BW_TOP_READ_STORE)));
}

static void show_store(struct page *g, struct pair p)
{
	struct words w = {.n = 0};
	double limit = p.now->v[BW_TOP_SEND_RATE];

	line(g, "store     %s requests/s  in %s/s  out %s/s  %s bad/s  %s again/s%s%s", count(&w, rate(p, BW_TOP_REQUESTS)),
	     bytes(&w, rate(p, BW_TOP_IN)), bytes(&w, rate(p, BW_TOP_OUT)), count(&w, rate(p, BW_TOP_BAD)),
	     count(&w, rate(p, BW_TOP_RETRIES)), limit > 0 ? "  SLOWED TO " : "", limit > 0 ? count(&w, limit) : "");
	line(g, "  get     %s/s  %s each  99 of 100 within %s", count(&w, rate(p, BW_TOP_GETS)),
	     milliseconds(&w, each(p, BW_TOP_GET_S, BW_TOP_GETS)), milliseconds(&w, bw_top_p99(p.before, p.now, 0)));
	line(g, "  put     %s/s  %s each  99 of 100 within %s", count(&w, rate(p, BW_TOP_PUTS)),
	     milliseconds(&w, each(p, BW_TOP_PUT_S, BW_TOP_PUTS)), milliseconds(&w, bw_top_p99(p.before, p.now, 1)));
}

static void show_memory(struct page *g, struct pair p)
{
	const double *v = p.now->v;
	struct words w = {.n = 0};

	line(g, "memory    %s of %s  blocks %s  staged %s, on disk %s%s%s", bytes(&w, v[BW_TOP_MEMORY]),
	     bytes(&w, v[BW_TOP_MEMORY_LIMIT]), bytes(&w, v[BW_TOP_CACHE]), bytes(&w, v[BW_TOP_STAGED]),
	     bytes(&w, v[BW_TOP_STAGED_DISK]), isnan(v[BW_TOP_DISK_CACHE]) ? "" : "  disk cache ",
	     isnan(v[BW_TOP_DISK_CACHE]) ? "" : bytes(&w, v[BW_TOP_DISK_CACHE]));
}

/* Reasons for which somebody waits now, or did in between. */
static void show_waits(struct page *g, struct pair p)
{
	char text[400] = "";
	size_t len = 0;

	for (int r = 0; r < BW_WAIT_REASONS; r++) {
		double now = p.now->v[BW_TOP_WAITERS + r];
		double lost = rate(p, (enum bw_top_value)(BW_TOP_WAITED + r));
		struct words w = {.n = 0};

		if (!(now > 0) && !(lost >= 0.005))
			continue;
		len += (size_t)snprintf(text + len, sizeof(text) - len, "  %s %s (%s s/s)", reasons[r], whole(&w, now),
					count(&w, lost));
		if (len >= sizeof(text))
			break;
	}
	line(g, "waiting %s", *text ? text : "  nobody");
}

static void show_trouble(struct page *g, struct pair p)
{
	struct words w = {.n = 0};
	double sums = p.now->v[BW_TOP_CHECKSUMS], errors = rate(p, BW_TOP_ERRORS);

	if (sums > 0)
		line(g, "DAMAGE    %s blocks did not match their checksums", whole(&w, sums));
	if (errors > 0)
		line(g, "errors    %s/s  %s", count(&w, errors), p.now->ok ? p.now->trouble : "");
}

static int by_lag(const void *a, const void *b)
{
	const struct bw_top_job *x = *(const struct bw_top_job *const *)a, *y = *(const struct bw_top_job *const *)b;

	return x->lag > y->lag ? -1 : x->lag < y->lag ? 1 : strcmp(x->name, y->name);
}

/* What the job with this name had before; NAN. */
static double lag_before(const struct bw_top *t, const char *name)
{
	for (unsigned i = 0; i < t->jobs_n; i++)
		if (strcmp(t->jobs[i].name, name) == 0)
			return t->jobs[i].lag;
	return NAN;
}

static double seconds(struct pair p)
{
	double s = (double)(p.now->at_ns - p.before->at_ns) / 1e9;

	return s > 0 ? s : NAN;
}

static void show_jobs(struct page *g, struct pair p)
{
	const struct bw_top_job *order[BW_JOBS_MAX];
	const struct bw_top *t = p.now;

	if (!t->jobs_n)
		return;
	for (unsigned i = 0; i < t->jobs_n; i++)
		order[i] = &t->jobs[i];
	qsort(order, t->jobs_n, sizeof(order[0]), by_lag);
	line(g, "%-24s %12s %10s %8s", "JOB", "lag", "lag/s", "markers");
	for (unsigned i = 0; i < t->jobs_n; i++) {
		const struct bw_top_job *j = order[i];
		struct words w = {.n = 0};
		double more = (j->lag - lag_before(p.before, j->name)) / seconds(p);

		line(g, "%-24.24s %12s %s%9s %8s%s", j->name, whole(&w, j->lag), more > 0 ? "+" : more < 0 ? "-" : " ",
		     count(&w, fabs(more)), whole(&w, j->markers), j->stops ? "  stops reclaiming" : "");
	}
}

struct busy {
	const struct bw_top_producer *p;
	double rate;
};

static int by_rate(const void *a, const void *b)
{
	const struct busy *x = a, *y = b;

	return x->rate > y->rate ? -1 : x->rate < y->rate ? 1 : strcmp(x->p->name, y->p->name);
}

/* Names ascend in both looks, so the place in the one before is never behind. */
static void show_producers(struct page *g, struct pair p)
{
	const struct bw_top *t = p.now, *b = p.before;
	unsigned at = 0;

	if (!t->producers_n)
		return;
	struct busy *order = calloc(t->producers_n, sizeof(*order));

	for (unsigned i = 0; order && i < t->producers_n; i++) {
		while (at < b->producers_n && strcmp(b->producers[at].name, t->producers[i].name) < 0)
			at++;
		bool known = at < b->producers_n && strcmp(b->producers[at].name, t->producers[i].name) == 0;

		order[i] = (struct busy){.p = &t->producers[i]};
		order[i].rate = (t->producers[i].next - (known ? b->producers[at].next : 0)) / seconds(p);
	}
	if (order)
		qsort(order, t->producers_n, sizeof(*order), by_rate);
	line(g, "%-24s %12s %10s %8s", "PRODUCER", "next", "batches/s", "pending");
	for (unsigned i = 0; order && i < t->producers_n && g->used < g->rows; i++) {
		struct words w = {.n = 0};

		line(g, "%-24.24s %12s %10s %8s", order[i].p->name, whole(&w, order[i].p->next), count(&w, order[i].rate),
		     whole(&w, order[i].p->pending));
	}
	free(order);
}

void bw_top_view(const struct bw_top *before, const struct bw_top *now, const char *when, unsigned columns,
		 unsigned rows, struct bw_buf *out)
{
	struct page g = {.out = out, .columns = columns, .rows = rows};
	struct pair p = {before, now};
	struct words w = {.n = 0};

	show_stream(&g, p, when);
	if (now->of_mount) {
		show_commits(&g, p);
		show_reads(&g, p);
		show_store(&g, p);
		show_memory(&g, p);
		show_waits(&g, p);
		show_trouble(&g, p);
	} else {
		line(&g, "store     newest version asked for in %s", milliseconds(&w, now->v[BW_TOP_LOOK_S]));
	}
	show_jobs(&g, p);
	show_producers(&g, p);
}

/* ---- A line, and JSON ------------------------------------------------------------------------------- */

static double of_head(struct pair p)
{
	return p.now->v[BW_TOP_HEAD];
}

static double of_first(struct pair p)
{
	return p.now->v[BW_TOP_FIRST];
}

static double of_steps(struct pair p)
{
	return rate(p, BW_TOP_HEAD);
}

static double of_bytes(struct pair p)
{
	return rate(p, BW_TOP_BYTES) / 1e6;
}

static double of_batches(struct pair p)
{
	return rate(p, BW_TOP_COMMITS);
}

static double of_conflicts(struct pair p)
{
	return rate(p, BW_TOP_CONFLICTS);
}

static double of_reads(struct pair p)
{
	return read_rate(p) / 1e6;
}

static double of_requests(struct pair p)
{
	return rate(p, BW_TOP_REQUESTS);
}

static double of_bad(struct pair p)
{
	return rate(p, BW_TOP_BAD);
}

static double of_get(struct pair p)
{
	return each(p, BW_TOP_GET_S, BW_TOP_GETS) * 1000;
}

static double of_put(struct pair p)
{
	return each(p, BW_TOP_PUT_S, BW_TOP_PUTS) * 1000;
}

static double of_waiters(struct pair p)
{
	return waiters(p.now);
}

static double of_lag(struct pair p)
{
	return largest_lag(p.now);
}

/* The numbers of both, in their order. */
static const struct {
	const char *key;
	double (*of)(struct pair p);
	bool always;	/* in a line of a URL too */
	bool counted;	/* whole steps or callers, no rate */
} numbers[] = {
	{"head", of_head, true, true},
	{"first", of_first, true, true},
	{"steps_per_s", of_steps, true, false},
	{"mb_per_s", of_bytes, true, false},
	{"batches_per_s", of_batches, false, false},
	{"conflicts_per_s", of_conflicts, false, false},
	{"read_mb_per_s", of_reads, false, false},
	{"requests_per_s", of_requests, false, false},
	{"bad_per_s", of_bad, false, false},
	{"get_ms", of_get, false, false},
	{"put_ms", of_put, false, false},
	{"waiting", of_waiters, false, true},
	{"lag", of_lag, true, true},
};
#define NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

void bw_top_line(const struct bw_top *before, const struct bw_top *now, const char *when, struct bw_buf *out)
{
	struct pair p = {before, now};

	bw_buf_fmt(out, "%s", when);
	for (size_t i = 0; i < NUMBERS; i++) {
		struct words w = {.n = 0};

		if (numbers[i].always || now->of_mount)
			bw_buf_fmt(out, " %s=%s", numbers[i].key,
				   (numbers[i].counted ? whole : count)(&w, numbers[i].of(p)));
	}
	for (int r = 0; r < BW_WAIT_REASONS; r++)
		if (now->v[BW_TOP_WAITERS + r] > 0)
			bw_buf_fmt(out, " waiting_%s=%.0f", reasons[r], now->v[BW_TOP_WAITERS + r]);
	bw_buf_fmt(out, "%s\n", now->ok ? "" : " store=trouble");
}

static void put_number(struct bw_buf *out, double v)
{
	if (isnan(v) || isinf(v))
		bw_buf_str(out, "null");
	else
		bw_buf_fmt(out, "%.15g", v);
}

void bw_top_json(const struct bw_top *before, const struct bw_top *now, const char *when, struct bw_buf *out)
{
	struct pair p = {before, now};

	bw_buf_fmt(out, "{\"time\":\"%s\",\"stream\":\"%s\",\"seconds\":", when, now->stream);
	put_number(out, seconds(p));
	bw_buf_fmt(out, ",\"store_ok\":%s", now->ok ? "true" : "false");
	for (size_t i = 0; i < NUMBERS; i++) {
		bw_buf_fmt(out, ",\"%s\":", numbers[i].key);
		put_number(out, numbers[i].of(p));
	}
	bw_buf_str(out, ",\"waiters\":{");
	for (int r = 0; r < BW_WAIT_REASONS; r++) {
		bw_buf_fmt(out, "%s\"%s\":", r ? "," : "", reasons[r]);
		put_number(out, now->v[BW_TOP_WAITERS + r]);
	}
	bw_buf_str(out, "},\"lags\":{");
	for (unsigned i = 0; i < now->jobs_n; i++) {
		bw_buf_fmt(out, "%s\"%s\":", i ? "," : "", now->jobs[i].name);
		put_number(out, now->jobs[i].lag);
	}
	bw_buf_str(out, "}}\n");
}
