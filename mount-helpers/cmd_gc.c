/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/collector.h"
#include "manifest/open_io.h"
#include "mount-helpers/gc_report.h"
#include "mount-helpers/progress.h"
#include "mount-helpers/session.h"
#include "store/base/parse.h"
#include "store/base/sync.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum { DRY = 256, FORCE, ONCE, EVERY, RATE };

static const struct option longs[] = {
	{"dry-run", no_argument, NULL, DRY}, {"force", no_argument, NULL, FORCE},
	{"once", no_argument, NULL, ONCE},   {"every", required_argument, NULL, EVERY},
	{"rate", required_argument, NULL, RATE}, BW_STORE_OPTIONS, {0}};

struct gc {
	const struct bw_command *c;
	struct bw_session s;
	struct bw_store_options store;
	bool dry, force, once;
	int64_t every_ns;		/* 0: once */
	uint64_t rate;
	struct bw_committer *committer;
	struct bw_collector *collector;
	struct bw_progress progress;
	bool progressing;
	enum bw_reclaim_stage stage;	/* that progress is about */
	uint64_t shown;
	/* Ctrl-C ends the pass, a second one the program. */
	pthread_t listener;
	bool listening;
	atomic_bool ready, over, interrupted;	/* ready: there is a collector to stop */
};

/* ---- Signals ------------------------------------------------------------------------------------ */

static void signals(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGINT);
	sigaddset(ret, SIGTERM);
}

static void *listen_run(void *arg)
{
	struct gc *gc = arg;
	sigset_t set;
	int sig;

	signals(&set);
	while (sigwait(&set, &sig) == 0 && !atomic_load(&gc->over)) {
		if (!atomic_load(&gc->ready) || atomic_exchange(&gc->interrupted, true))
			_exit(BW_EXIT_INTERRUPTED);
		bw_collector_stop(gc->collector);
	}
	return NULL;
}

static int listen_start(struct gc *gc)
{
	int err = bw_thread_start(&gc->listener, "gc-signals", listen_run, gc);

	gc->listening = !err;
	return err;
}

static void listen_end(struct gc *gc)
{
	if (!gc->listening)
		return;
	atomic_store(&gc->over, true);
	pthread_kill(gc->listener, SIGTERM);
	pthread_join(gc->listener, NULL);
}

/* ---- Progress ----------------------------------------------------------------------------------- */

static void progress_end(struct gc *gc)
{
	if (gc->progressing)
		bw_progress_done(&gc->progress);
	gc->progressing = false;
}

static void progress(void *ctx, const struct bw_reclaim *r)
{
	enum bw_reclaim_stage stage = bw_reclaim_report(r)->stage;
	struct gc *gc = ctx;
	uint64_t done, total;

	bw_reclaim_progress(r, &done, &total);
	if (gc->progressing && (stage != gc->stage || done < gc->shown))
		progress_end(gc);
	if (!gc->progressing && total) {
		bw_progress_init(&gc->progress, bw_reclaim_stage_name(stage), "objects", total, true);
		gc->progressing = true;
		gc->stage = stage;
		gc->shown = 0;
	}
	if (gc->progressing)
		bw_progress_add(&gc->progress, done - gc->shown);
	gc->shown = done;
}

/* ---- Passes ------------------------------------------------------------------------------------- */

static int say_failed(struct gc *gc, const struct bw_reclaim_report *r)
{
	char what[64 + BW_KEY_MAX], why[BW_WHY_MAX + 1];
	struct bw_io io = {.store = NULL};

	snprintf(what, sizeof(what), "stopped at %s%s%s", bw_reclaim_stage_name(r->stage),
		 r->what[0] ? ", object " : "", r->what);
	snprintf(io.detail, sizeof(io.detail), "%s", r->detail);
	bw_io_why(&io, r->err, what, why, sizeof(why));
	return bw_say_why(gc->c, r->err, why);
}

static int pass(struct gc *gc, bool first, bool *ret_left)
{
	struct bw_reclaim_options o = {.dry = gc->dry, .force = gc->force, .dry_now_ms = bw_wall_ms()};
	struct bw_reclaim_report r;

	bw_collector_pass(gc->collector, &o, gc->every_ns ? BW_WALK_NOW_AND_THEN : BW_WALK_ALWAYS, &r);
	*ret_left = r.roots_left && !r.err && !gc->dry;
	progress_end(gc);
	/* One that ended before it knew says why, and not what holds the oldest step. */
	if ((first && (!r.err || r.stage > BW_RECLAIM_TRIMMING)) || bw_gc_did(&r))
		bw_gc_report(&gc->s.stream, &r, gc->dry);
	fflush(stdout);
	if (atomic_load(&gc->interrupted))
		return BW_EXIT_INTERRUPTED;
	return r.err ? say_failed(gc, &r) : BW_EXIT_DONE;
}

/* Passes that fail are said, and the next one is made all the same: a store comes back. */
static int passes(struct gc *gc)
{
	bool left;
	int code = pass(gc, true, &left);

	while (gc->every_ns && !atomic_load(&gc->interrupted)) {
		if (!bw_collector_wait(gc->collector, bw_now() + (left ? BW_SEC : gc->every_ns)))
			break;
		code = pass(gc, false, &left);
	}
	return gc->every_ns && atomic_load(&gc->interrupted) ? BW_EXIT_DONE : code;
}

static int start(struct gc *gc, const char *url)
{
	int err = listen_start(gc);

	if (err)
		return bw_say_err(gc->c, err, "cannot start");
	int code = bw_session_open(&gc->s, gc->c, url, &gc->store, !gc->dry);

	if (code)
		return code;
	err = gc->dry ? 0 : bw_root_may_write(gc->s.root);

	if (!err && !gc->dry)
		err = bw_committer_new(gc->s.store, &gc->s.stream, gc->s.head, gc->s.opened_ns, NULL, &gc->committer);
	struct bw_collector_config config = {
		.store = gc->s.store, .stream = &gc->s.stream, .head = gc->s.head,
		.committer = gc->committer, .rate = (uint32_t)gc->rate, .progress = progress,
		.ctx = gc,
	};
	if (!err)
		err = bw_collector_new(&config, &gc->collector);
	atomic_store(&gc->ready, !err);
	return err ? bw_say_err(gc->c, err, "cannot start") : 0;
}

static void end(struct gc *gc)
{
	listen_end(gc);
	bw_committer_free(gc->committer, bw_now());
	bw_collector_free(gc->collector);
	bw_session_done(&gc->s);
}

static int parse_option(struct gc *gc, int option)
{
	switch (option) {
	case DRY:
		gc->dry = true;
		return 0;
	case FORCE:
		gc->force = true;
		return 0;
	case ONCE:
		gc->once = true;
		return 0;
	case EVERY:
		if (bw_parse_duration(optarg, &gc->every_ns) < 0 || gc->every_ns < BW_SEC)
			return bw_say(gc->c, BW_EXIT_USAGE,
				      "--every must be a time of at least a second such as 300 or 5m, not '%s'",
				      optarg);
		return 0;
	default:
		if (bw_parse_u64(optarg, 1000000, &gc->rate) < 0 || !gc->rate)
			return bw_say(gc->c, BW_EXIT_USAGE,
				      "--rate must be a number of objects per second from 1 to 1000000, not"
				      " '%s'", optarg);
		return 0;
	}
}

int bw_cmd_gc(const struct bw_command *c, int argc, char **argv)
{
	struct gc gc = {.c = c};
	int option, code;

	bw_store_options_init(&gc.store);
	while ((option = bw_option_of(c, argc, argv, longs, &gc.store, &code)) != -1) {
		if (option == BW_OPT_STOP)
			return code;
		code = parse_option(&gc, option);
		if (code)
			return code;
	}
	if (argc - optind != 1)
		return bw_say_usage(c);
	if (gc.once && gc.every_ns)
		return bw_say(c, BW_EXIT_USAGE, "--once and --every exclude each other");
	sigset_t set;

	signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);	/* before any thread starts */
	code = start(&gc, argv[optind]);
	if (!code)
		code = passes(&gc);
	end(&gc);
	return code;
}
