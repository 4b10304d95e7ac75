/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/gc.h"

#include "store/base/rand.h"
#include "store/base/sync.h"

#include <inttypes.h>
#include <stdlib.h>

#define PASSES_PER_GRACE 4
#define EVERY_MIN_NS BW_SEC
#define EVERY_MAX_NS (300 * BW_SEC)

struct bw_gc {
	struct bw_gc_config config;
	struct bw_collector *collector;
	pthread_t thread;
	bool started;
	/* Of the thread alone. */
	struct bw_rng rng;
	uint64_t counted;		/* bytes of the pass under way, in the counter already */
	enum bw_reclaim_trim trim;	/* of the last pass */
	int err;
	bool no_time;
};

static int64_t every_ns(const struct bw_stream *s)
{
	uint64_t grace_s = s->options.grace_s;

	if (grace_s >= PASSES_PER_GRACE * EVERY_MAX_NS / BW_SEC)
		return EVERY_MAX_NS;
	int64_t ns = (int64_t)grace_s * BW_SEC / PASSES_PER_GRACE;

	return ns < EVERY_MIN_NS ? EVERY_MIN_NS : ns;
}

static struct bw_reclaim_tally deleted(const struct bw_reclaim_report *r)
{
	struct bw_reclaim_tally sum = {0};

	for (unsigned why = 0; why < BW_WHYS; why++) {
		sum.n += r->deleted[why].n;
		sum.bytes += r->deleted[why].bytes;
	}
	return sum;
}

static void progress(void *ctx, const struct bw_reclaim *r)
{
	struct bw_gc *g = ctx;
	uint64_t bytes = deleted(bw_reclaim_report(r)).bytes;

	atomic_fetch_add(&g->config.counters->reclaimed_bytes, bytes - g->counted);
	g->counted = bytes;
}

/* What is the same as after the last pass is said once. */
static void log_pass(struct bw_gc *g, const struct bw_reclaim_report *r)
{
	struct bw_reclaim_tally sum = deleted(r);
	struct bw_log *log = g->config.log;
	char text[128];

	if (r->trim == BW_TRIM_DONE)
		bw_log(log, BW_LOG_INFO, "trimmed",
		       "first=%" PRIu64 " was=%" PRIu64 " job=%s bytes=%" PRIu64, r->first,
		       r->first_before, r->holder[0] ? r->holder : "-", r->trim_bytes);
	if (r->trim == BW_TRIM_WAITS && g->trim != BW_TRIM_WAITS)
		bw_log(log, BW_LOG_WARN, "trim_waits",
		       "first=%" PRIu64 " would_release=%" PRIu64 " of=%" PRIu64
		       " reason=\"markers younger than the grace would release more than half of the live bytes\"",
		       r->first, r->fresh_bytes, r->live_bytes);
	if (r->trim == BW_TRIM_OVERTAKEN && g->trim != BW_TRIM_OVERTAKEN)
		bw_log(log, BW_LOG_WARN, "trim_waits",
		       "first=%" PRIu64 " would_release=%" PRIu64 " of=%" PRIu64
		       " reason=\"markers were moved each time before the trim was committed; the next pass tries again\"",
		       r->first, r->trim_bytes, r->live_bytes);
	if (sum.n || r->roots_buried)
		bw_log(log, BW_LOG_INFO, "reclaimed",
		       "objects=%" PRIu64 " bytes=%" PRIu64 " versions=%" PRIu64 " swept=%" PRIu64
		       " requests=%" PRIu64 " versions_left=%" PRIu64,
		       sum.n, sum.bytes, r->roots_buried, r->swept, r->requests, r->roots_left);
	if (!r->judge && r->no_time && !g->no_time)
		bw_log(log, BW_LOG_WARN, "reclaim_stands_still",
		       "reason=\"the store does not say when objects were written: nothing is old enough to be deleted\"");
	if (r->err && r->err != g->err && r->err != -BW_E_STOPPING)
		bw_log(log, BW_LOG_WARN, "reclaim_failed", "at=\"%s\" object=\"%s\" reason=\"%s\" detail=\"%s\"",
		       bw_reclaim_stage_name(r->stage), r->what, bw_err_text(r->err, text, sizeof(text)),
		       r->detail);
	g->trim = r->trim;
	g->err = r->err;
	g->no_time = r->no_time && !r->judge;
}

static void *run(void *arg)
{
	struct bw_reclaim_report r;
	struct bw_gc *g = arg;
	struct bw_reclaim_options options = {.memory = g->config.memory};
	int64_t every = every_ns(g->config.stream);
	/* Mounts that begin together spread out. */
	double part = bw_rng_unit(&g->rng);

	while (bw_collector_wait(g->collector, bw_now() + (int64_t)(part * (double)every))) {
		g->counted = 0;
		bw_collector_pass(g->collector, &options, BW_WALK_NOW_AND_THEN, &r);
		log_pass(g, &r);
		part = 0.75 + bw_rng_unit(&g->rng) / 2;
		every = r.roots_left && !r.err ? EVERY_MIN_NS : every_ns(g->config.stream);
	}
	return NULL;
}

int bw_gc_new(const struct bw_gc_config *config, struct bw_gc **ret)
{
	struct bw_gc *g = calloc(1, sizeof(*g));
	uint64_t seed;

	if (!g)
		return -ENOMEM;
	struct bw_collector_config collector = {
		.store = config->store, .stream = config->stream, .head = config->head,
		.committer = config->committer, .progress = progress, .ctx = g,
	};

	g->config = *config;
	bw_random(&seed, sizeof(seed));
	bw_rng_init(&g->rng, seed);
	int err = bw_collector_new(&collector, &g->collector);

	if (!err)
		err = bw_thread_start(&g->thread, "bw-gc", run, g);
	g->started = !err;
	if (err) {
		bw_gc_free(g);
		return err;
	}
	*ret = g;
	return 0;
}

void bw_gc_stop(struct bw_gc *g)
{
	if (g)
		bw_collector_stop(g->collector);
}

void bw_gc_free(struct bw_gc *g)
{
	if (!g)
		return;
	if (g->started) {
		bw_collector_stop(g->collector);
		pthread_join(g->thread, NULL);
	}
	bw_collector_free(g->collector);
	free(g);
}
