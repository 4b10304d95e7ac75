/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/watch_job.h"
#include "mount-helpers/watch_look.h"
#include "mount-helpers/watch_plan.h"

#include "store/base/parse.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define POLL_NS (30 * BW_SEC)
#define SETTLE_NS (5 * BW_SEC)
#define SETTLE_NETWORK_NS (65 * BW_SEC)	/* longer than NFS clients believe what they know */
#define SPACING_NS (200 * BW_MS)	/* between looks, however many events there are */
#define RETRY_NS (5 * BW_SEC)
#define RETRY_MAX_NS (60 * BW_SEC)

enum { JOB = 1, DIRECTORY, FORMAT, SCALE, OFFSET, SETTLE, POLL, ONCE, ADOPT };

static const struct option longs[] = {
	{"job", required_argument, NULL, JOB},
	{"dir", required_argument, NULL, DIRECTORY},
	{"format", required_argument, NULL, FORMAT},
	{"scale", required_argument, NULL, SCALE},
	{"offset", required_argument, NULL, OFFSET},
	{"settle", required_argument, NULL, SETTLE},
	{"poll", required_argument, NULL, POLL},
	{"once", no_argument, NULL, ONCE},
	{"adopt", no_argument, NULL, ADOPT},
	BW_STORE_OPTIONS,
	{0},
};

struct watch {
	const struct bw_command *c;
	struct bw_store_options store;
	struct bw_watch_rules rules;
	char dir[PATH_MAX];
	char said_dir[PATH_MAX];	/* the same, as a value of the log */
	const char *job_name, *format_text;
	bool settle_given, once;
	int64_t poll_ns;
	struct bw_log *log;
	struct bw_watch_job job;
	struct bw_watch_memory memory;
	struct bw_watch_snapshot last;	/* of the last look that succeeded */
	int look_err;			/* of the last look; 0: it succeeded */
	bool empty;			/* it found nothing at all */
	int store_err;			/* of the last commit or question; 0: it went well */
	int64_t retry_ns;
	uint64_t foreign[BW_MARKERS_MAX];	/* markers that were told of */
	uint32_t foreign_n;
	unsigned told;			/* kinds of acts that were said and belong to no checkpoint */
};

/* Names may hold anything; what is told of them stays between its quotes. */
static const char *value(char *buf, size_t len, const char *text)
{
	snprintf(buf, len, "%s", text);
	return bw_log_value(buf);
}

/* ---- The command line ------------------------------------------------------------------------------- */

static int parse_offset(struct watch *w, const char *text)
{
	uint64_t v;
	bool minus = *text == '-';

	if (bw_parse_u64(text + minus, BW_STEPS_MAX, &v) < 0)
		return bw_say(w->c, BW_EXIT_USAGE,
			      "--offset must be a whole number such as 1 or -5000, not '%s'", text);
	w->rules.offset = minus ? -(int64_t)v : (int64_t)v;
	return 0;
}

static int parse_time(struct watch *w, const char *option, const char *text, int64_t min, int64_t *ret)
{
	if (bw_parse_duration(text, ret) < 0 || *ret < min)
		return bw_say(w->c, BW_EXIT_USAGE, "%s must be a time such as 10s or 5m, not '%s'", option,
			      text);
	return 0;
}

static int parse_format(struct watch *w, const char *text)
{
	w->format_text = text;
	w->rules.format = bw_watch_format_find(text, &w->rules.arg);
	if (w->rules.format)
		return 0;
	return bw_say(w->c, BW_EXIT_USAGE,
		      "--format must be megatron, deepspeed, dcp, hf, orbax, lightning or"
		      " pattern:NAME[/PATH] with {step} in NAME, not '%s'", text);
}

/* 0, or an exit code with the sentence said. */
static int parse_option(struct watch *w, int option, const char *text)
{
	switch (option) {
	case JOB:
		w->job_name = text;
		if (bw_name_valid(text))
			return 0;
		return bw_say(w->c, BW_EXIT_USAGE,
			      "a job's name is 1 to 64 letters, digits, dots, dashes and underscores and"
			      " begins with a letter or a digit; '%s' is not", text);
	case DIRECTORY:
		w->rules.dir = text;
		return 0;
	case FORMAT:
		return parse_format(w, text);
	case SCALE:
		if (bw_parse_u64(text, BW_STEPS_MAX, &w->rules.scale) == 0 && w->rules.scale)
			return 0;
		return bw_say(w->c, BW_EXIT_USAGE, "--scale must be a whole number from 1, not '%s'", text);
	case OFFSET:
		return parse_offset(w, text);
	case SETTLE:
		w->settle_given = true;
		return parse_time(w, "--settle", text, 0, &w->rules.settle_ns);
	case POLL:
		return parse_time(w, "--poll", text, 1, &w->poll_ns);
	case ONCE:
		w->once = true;
		return 0;
	case ADOPT:
	default:
		w->rules.adopt = true;
		return 0;
	}
}

/* An absolute path without slashes at its end; links in it stay, since they may be set anew. */
static int set_dir(struct watch *w)
{
	const char *dir = w->rules.dir;
	char here[PATH_MAX] = "";

	if (*dir != '/' && !getcwd(here, sizeof(here)))
		return bw_say_err(w->c, -errno, "cannot tell where %s is", dir);
	bool given = *dir;

	while (!strncmp(dir, "./", 2))
		for (dir += 2; *here && *dir == '/'; dir++)
			;
	if (*here && strcmp(dir, ".") == 0)
		dir++;
	int n = snprintf(w->dir, sizeof(w->dir), "%s%s%s", here, *here && *dir ? "/" : "", dir);

	if (!given || n < 0 || (size_t)n >= sizeof(w->dir))
		return bw_say(w->c, BW_EXIT_USAGE, "--dir must be a directory");
	/* Markers tell it: however it is written, it is the same. */
	bw_watch_squeeze(w->dir);
	n = (int)strlen(w->dir);
	if (n > 1 && w->dir[n - 1] == '/')
		w->dir[n - 1] = 0;
	value(w->said_dir, sizeof(w->said_dir), w->dir);
	w->rules.dir = w->dir;
	return 0;
}

/* -1: go on; else the exit code. */
static int parse(struct watch *w, int argc, char **argv)
{
	int option, code;

	bw_store_options_init(&w->store);
	while ((option = bw_option_of(w->c, argc, argv, longs, &w->store, &code)) != -1) {
		if (option != BW_OPT_STOP)
			code = parse_option(w, option, optarg);
		if (option == BW_OPT_STOP || code)
			return code;
	}
	if (argc - optind != 1)
		return bw_say_usage(w->c);
	if (!w->job_name || !w->rules.dir || !w->rules.format)
		return bw_say(w->c, BW_EXIT_USAGE, "%s is missing",
			      !w->job_name	? "--job, the name that the markers are set for,"
			      : !w->rules.dir	? "--dir, the directory of the checkpoints,"
						: "--format, whose checkpoints they are,");
	code = set_dir(w);
	return code ? code : -1;
}

/* ---- What is said ------------------------------------------------------------------------------------ */

/* Once for each thing that is known; true: it has not been said before. */
static bool first_time(struct watch *w, const struct bw_watch_act *a)
{
	if (a->of) {
		bool told = a->of->told & 1u << a->kind;

		a->of->told |= 1u << a->kind;
		return !told;
	}
	if (a->kind == BW_WATCH_FOREIGN) {
		for (uint32_t i = 0; i < w->foreign_n; i++)
			if (w->foreign[i] == a->step)
				return false;
		/* Full of old ones: begin anew, and say a few things twice. */
		w->foreign_n %= BW_MARKERS_MAX;
		w->foreign[w->foreign_n++] = a->step;
		return true;
	}
	bool told = w->told & 1u << a->kind;

	w->told |= 1u << a->kind;
	return !told;
}

static void say_act(struct watch *w, const struct bw_watch_act *a)
{
	char name[NAME_MAX + 1], why[256];

	if (!first_time(w, a))
		return;
	value(name, sizeof(name), a->of ? a->of->name : "");
	value(why, sizeof(why), a->why);
	switch (a->kind) {
	case BW_WATCH_HELD:
		bw_log(w->log, BW_LOG_WARN, "held",
		       "job=%s step=%" PRIu64 " because_of=\"%s/%s\" why=\"%s\"", w->job_name, a->step,
		       w->said_dir, name, why);
		return;
	case BW_WATCH_BELOW:
	case BW_WATCH_BEYOND:
		bw_log(w->log, BW_LOG_WARN, "refused", "job=%s step=%" PRIu64 " path=\"%s/%s\" why=\"%s\"",
		       w->job_name, a->step, w->said_dir, name, why);
		return;
	case BW_WATCH_FOREIGN:
		bw_log(w->log, BW_LOG_WARN, "unexplained",
		       "job=%s step=%" PRIu64 " why=\"no checkpoint here explains this marker, so it stays;"
		       " --adopt withdraws it\"", w->job_name, a->step);
		return;
	case BW_WATCH_MANY:
		bw_log(w->log, BW_LOG_WARN, "many", "job=%s checkpoints=%" PRIu64
		       " why=\"a job has %u markers; the oldest and the newest are marked\"", w->job_name,
		       a->step, BW_MARKERS_MAX);
		return;
	case BW_WATCH_LAST:
		bw_log(w->log, BW_LOG_WARN, "kept",
		       "job=%s step=%" PRIu64 " why=\"no other whole checkpoint has a marker\"", w->job_name,
		       a->step);
		return;
	case BW_WATCH_STRANGER:
		bw_log(w->log, BW_LOG_WARN, "stranger",
		       "job=%s dir=\"%s\" markers=kept why=\"no checkpoint that has a marker is here;"
		       " --adopt goes on with those that are\"", w->job_name, w->said_dir);
		return;
	default:
		return;
	}
}

/* ---- Looking ----------------------------------------------------------------------------------------- */

static void say_look(struct watch *w, int err)
{
	char text[128];

	if (err && err != w->look_err)
		bw_log(w->log, BW_LOG_WARN, "away", "dir=\"%s\" why=\"%s\" markers=kept", w->said_dir,
		       bw_err_text(err, text, sizeof(text)));
	if (!err && w->look_err)
		bw_log(w->log, BW_LOG_INFO, "back", "dir=\"%s\"", w->said_dir);
	w->look_err = err;
}

/* 0, or what kept it from being looked at. */
static int look(struct watch *w)
{
	struct bw_watch_snapshot now;
	int err = bw_watch_look(w->dir, w->rules.format, w->rules.arg, &w->last, &now);

	say_look(w, err);
	if (err) {
		bw_watch_memory_blind(&w->memory);
		return err;
	}
	bw_watch_snapshot_done(&w->last);
	w->last = now;
	if (!now.n && !w->empty && w->memory.n)
		bw_log(w->log, BW_LOG_WARN, "empty", "dir=\"%s\" markers=kept", w->said_dir);
	w->empty = !now.n;
	int other = bw_watch_memory_look(&w->memory, &w->rules, &now, bw_now());

	if (other > 0) {
		bw_log(w->log, BW_LOG_WARN, "replaced",
		       "dir=\"%s\" why=\"another directory stands there than before\"", w->said_dir);
		w->told = 0;
	}
	return other < 0 ? other : 0;
}

/* ---- Acting ------------------------------------------------------------------------------------------ */

/* What no waiting mends. */
static bool is_final(int err)
{
	return err == -BW_E_CONTRADICTION || err == -BW_E_FORMAT_NEWER || err == -BW_E_NO_STREAM ||
	       err == -BW_E_DESTROYED;
}

static void say_store(struct watch *w, int err)
{
	char text[128];

	if (err && err != w->store_err)
		bw_log(w->log, BW_LOG_WARN, "store", "url=%s why=\"%s\" again=later", w->job.s.url,
		       bw_err_text(err, text, sizeof(text)));
	if (!err && w->store_err)
		bw_log(w->log, BW_LOG_INFO, "store", "url=%s answers=again", w->job.s.url);
	w->store_err = err;
}

/* 1: something was committed, so look at what is left; 0: nothing to do; or why not. */
static int act(struct watch *w, const struct bw_watch_act *a)
{
	char text[BW_MARKER_TEXT_MAX + 1];
	bool mark = a->kind == BW_WATCH_MARK;
	int err = bw_watch_job_change(&w->job, mark ? BW_CHANGE_MARK : BW_CHANGE_UNMARK, a->step,
				      mark ? a->text : NULL);

	if (err == -BW_E_RECLAIMED || err == -EINVAL || (!mark && err == -ENOENT))
		return 1;	/* it was overtaken: the next plan sees why */
	if (err)
		return err;
	bw_log(w->log, BW_LOG_INFO, mark ? "marked" : "withdrawn",
	       "job=%s step=%" PRIu64 " path=\"%s\"%s%s%s", w->job_name, a->step, value(text, sizeof(text), a->text),
	       mark ? "" : " why=\"", mark ? "" : a->why, mark ? "" : "\"");
	w->told = 0;
	return 1;
}

static int register_job(struct watch *w)
{
	int err = bw_watch_job_change(&w->job, BW_CHANGE_JOB, 0, NULL);

	if (!err)
		bw_log(w->log, BW_LOG_INFO, "registered", "job=%s", w->job_name);
	return err ? err : 1;
}

/* One plan, carried out as far as it goes. */
static int act_once(struct watch *w)
{
	struct bw_watch_acts acts = {.n = 0};
	struct bw_root *root = NULL;
	int r = bw_watch_job_root(&w->job, &root);

	if (r < 0)
		return r;
	if (!bw_root_job(root, w->job_name)) {
		bw_root_unref(root);
		return register_job(w);
	}
	if (!w->look_err)
		r = bw_watch_plan(&w->memory, &w->rules, &w->last, root, w->job_name, bw_now(), &acts);
	bw_root_unref(root);
	for (uint32_t i = 0; i < acts.n && r >= 0; i++) {
		const struct bw_watch_act *a = &acts.acts[i];

		if (a->kind == BW_WATCH_MARK || a->kind == BW_WATCH_UNMARK)
			r = act(w, a);
		else
			say_act(w, a);
	}
	bw_watch_acts_done(&acts);
	return r;
}

/* Until nothing is left to do.  0; -ECANCELED when a signal came; or why not. */
static int act_all(struct watch *w)
{
	/* Marks and withdrawals take a plan each, and others may change the job meanwhile. */
	for (unsigned i = 0; i < 64; i++) {
		int r = act_once(w);

		if (r == -ECANCELED || r == -ENOMEM)
			return r;
		say_store(w, r < 0 ? r : 0);
		if (r <= 0)
			return r;
	}
	return 0;
}

/* ---- Running ----------------------------------------------------------------------------------------- */

static int64_t next_look(struct watch *w, int acted)
{
	int64_t now = bw_now(), due = now + w->poll_ns;

	if (bw_watch_memory_unsettled(&w->memory, &w->rules, now) && !w->look_err) {
		int64_t soon = now + (w->rules.settle_ns > SPACING_NS ? w->rules.settle_ns : SPACING_NS);

		due = soon < due ? soon : due;
	}
	if (!acted) {
		w->retry_ns = 0;
		return due;
	}
	w->retry_ns = w->retry_ns ? 2 * w->retry_ns : RETRY_NS;
	if (w->retry_ns > RETRY_MAX_NS)
		w->retry_ns = RETRY_MAX_NS;
	return now + w->retry_ns < due ? now + w->retry_ns : due;
}

/* Listens before it looks, so that no change falls between the two. */
static int listen_for(struct watch *w)
{
	return bw_watch_is_network(w->dir)
		       ? -EOPNOTSUPP
		       : bw_watch_listen(w->dir, w->rules.format, w->rules.arg, &w->last);
}

static int say_final(struct watch *w, int err)
{
	return bw_say_err(w->c, err, "cannot keep the markers of job %s", w->job_name);
}

static int run_on(struct watch *w)
{
	bool stop = false;

	while (!stop) {
		int events = listen_for(w);
		int64_t began = bw_now();
		/* A failed look is said already, and the next one comes. */
		int looked = look(w), acted = looked == -ENOMEM ? looked : act_all(w);

		if (is_final(acted)) {
			if (events >= 0)
				close(events);
			return say_final(w, acted);
		}
		stop = acted == -ECANCELED ||
		       bw_watch_job_wait(&w->job, events, next_look(w, acted)) ||
		       bw_watch_job_wait(&w->job, -1, began + SPACING_NS);
		if (events >= 0)
			close(events);
	}
	bw_log(w->log, BW_LOG_INFO, "ends", "job=%s", w->job_name);
	return BW_EXIT_DONE;
}

/* Two looks, settle apart, and what follows from them; more for checkpoints that must hold still longer. */
static int run_once(struct watch *w)
{
	int err = look(w), acted = 0;

	for (unsigned n = 0; !err && !acted && n <= BW_WATCH_SLOW; n++) {
		if (bw_watch_job_wait(&w->job, -1, bw_now() + w->rules.settle_ns))
			return BW_EXIT_INTERRUPTED;
		err = look(w);
		acted = act_all(w);
		if (!bw_watch_memory_slow(&w->memory, &w->rules, bw_now()))
			break;
	}
	if (err && !acted)
		acted = act_all(w);
	if (acted == -ECANCELED)
		return BW_EXIT_INTERRUPTED;
	if (acted < 0)
		return say_final(w, acted);
	return err ? bw_say(w->c, BW_EXIT_WRONG, "%s could not be read, so its markers stay", w->dir) : 0;
}

static int watch(struct watch *w, const char *url)
{
	int code = bw_watch_job_open(&w->job, w->c, url, &w->store, w->job_name);

	if (code)
		return code;
	bool network = bw_watch_is_network(w->dir);

	if (!w->settle_given)
		w->rules.settle_ns = network ? SETTLE_NETWORK_NS : SETTLE_NS;
	int r = bw_log_open("stderr", BW_LOG_INFO, &w->log);

	if (r < 0)
		return bw_say_err(w->c, r, "cannot log");
	if (w->once)
		return run_once(w);
	const char *quote = strpbrk(w->format_text, " \t\"") ? "\"" : "";
	char format[512];

	bw_log(w->log, BW_LOG_INFO, "watching",
	       "job=%s dir=\"%s\" format=%s%s%s by=%s poll_s=%.1f settle_s=%.1f", w->job_name, w->said_dir, quote,
	       value(format, sizeof(format), w->format_text), quote, network ? "polling" : "inotify", (double)w->poll_ns / 1e9,
	       (double)w->rules.settle_ns / 1e9);
	return run_on(w);
}

int bw_cmd_watch(const struct bw_command *c, int argc, char **argv)
{
	struct watch w = {.c = c, .rules = {.scale = 1}, .poll_ns = POLL_NS, .job = {.signals = -1}};
	int code = parse(&w, argc, argv);

	if (code >= 0)
		return code;
	code = watch(&w, argv[optind]);
	bw_watch_job_done(&w.job);
	bw_watch_memory_done(&w.memory);
	bw_watch_snapshot_done(&w.last);
	bw_log_close(w.log);
	return code;
}
