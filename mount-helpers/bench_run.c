/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/bench_run.h"

#include "mount-helpers/bench_load.h"
#include "mount-helpers/bench_report.h"
#include "store/base/parse.h"
#include "store/base/rand.h"

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define ATTEND_MS 50

/* ---- Signals ------------------------------------------------------------------------------------- */

/* No signal has come since it was last looked at on purpose. */
static bool goes_on(void *ctx)
{
	struct signalfd_siginfo info;
	struct bw_bench *b = ctx;

	while (read(b->signals, &info, sizeof(info)) > 0)
		b->signals_n++;
	return b->signals_n == b->signals_known;
}

/* ---- What a row costs ------------------------------------------------------------------------------ */

static void snapshot(struct bw_bench *b, struct bw_bench_snapshot *s)
{
	struct timespec t = {.tv_sec = 0};

	*s = (struct bw_bench_snapshot){.client_ns = 0};
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	s->client_ns = t.tv_sec * BW_SEC + t.tv_nsec;
	for (int side = 0; side < BW_BENCH_SIDES; side++) {
		struct bw_bench_mount *m = &b->mounts[side];
		struct bw_bench_use *u = &s->use[side];

		u->timed = bw_bench_mount_cpu(m, &u->cpu_ns) == 0;
		u->mounted = *m->dir && bw_bench_mount_counts(m, &u->counts) == 0;
	}
}

static void note_begin(void *ctx)
{
	struct bw_bench *b = ctx;

	snapshot(b, &b->before);
}

static void note_end(void *ctx)
{
	struct bw_bench *b = ctx;

	snapshot(b, &b->after);
}

static void take_costs(struct bw_bench *b, struct bw_bench_row *row)
{
	row->client_cpu_ns = b->after.client_ns - b->before.client_ns;
	for (int side = 0; side < BW_BENCH_SIDES; side++) {
		const struct bw_bench_use *was = &b->before.use[side], *is = &b->after.use[side];
		struct bw_bench_use *u = &row->use[side];

		*u = (struct bw_bench_use){.mounted = was->mounted && is->mounted,
					   .timed = was->timed && is->timed};
		if (u->timed)
			u->cpu_ns = is->cpu_ns - was->cpu_ns;
		if (u->mounted)
			bw_counts_since(&was->counts, &is->counts, &u->counts);
	}
}

/* ---- Failing --------------------------------------------------------------------------------------- */

static int exit_of(int err)
{
	switch (-err) {
	case EIO:
	case ENOSPC:
	case EDQUOT:
		return BW_EXIT_STORE;
	case ECANCELED:
		return BW_EXIT_INTERRUPTED;
	default:
		return bw_exit_of(err);
	}
}

/* Says it once, and keeps it for the report. */
static int fail(struct bw_bench *b, int code, const char *what)
{
	if (!*b->result.error) {
		snprintf(b->result.error, sizeof(b->result.error), "%s", what);
		bw_say(b->command, code, "%s", what);
	}
	return code;
}

static int fail_interrupted(struct bw_bench *b)
{
	return fail(b, BW_EXIT_INTERRUPTED, "interrupted");
}

#define DYING_NS BW_SEC /* calls fail a moment before the process has ended */

/* The daemon of which mount has ended; NULL: none. */
static struct bw_bench_mount *find_dead(struct bw_bench *b, int err)
{
	int64_t deadline = bw_now() + (err == -ECONNABORTED || err == -ENOTCONN ? DYING_NS : 0);

	for (;;) {
		for (int side = 0; side < BW_BENCH_SIDES; side++)
			if (bw_bench_mount_is_dead(&b->mounts[side]))
				return &b->mounts[side];
		if (bw_now() >= deadline)
			return NULL;
		bw_sleep(BW_MS);
	}
}

/* A call that failed, and perhaps why: the daemon has gone, and with what words. */
static int fail_row(struct bw_bench *b, enum bw_bench_kind kind, int err, const char *why)
{
	char text[900], words[512] = "";
	const char *ended = "; the daemon of the mount has ended";

	if (err == -ECANCELED)
		return fail_interrupted(b);
	const struct bw_bench_mount *dead = find_dead(b, err);

	bw_bench_mount_last_words(dead ? dead : &b->mounts[BW_BENCH_PRODUCERS], words, sizeof(words));
	snprintf(text, sizeof(text), "%s: %s%s%s%.300s", bw_bench_name(kind),
		 *why ? why : strerrordesc_np(-err), dead ? ended : "", *words ? "; it said: " : "", words);
	return fail(b, exit_of(err), text);
}

/* ---- Mounts ---------------------------------------------------------------------------------------- */

static int unmount(struct bw_bench *b, enum bw_bench_side side)
{
	bool had = b->mounts[side].own;

	return bw_bench_mount_stop(&b->mounts[side]) && had;
}

static int mount_side(struct bw_bench *b, enum bw_bench_side side)
{
	static const char *const names[] = {"producers", "readers"};
	char dir[PATH_MAX], why[BW_WHY_MAX + 1] = "";

	snprintf(dir, sizeof(dir), "%.*s/%s", PATH_MAX - 16, b->work, names[side]);
	int err = bw_bench_mount_start(&b->mounts[side], b->scratch.url, dir, b->options[side], goes_on, b,
				       why, sizeof(why));

	if (err == -ECANCELED)
		return fail_interrupted(b);
	return err ? fail(b, BW_EXIT_STORE, why) : 0;
}

/* 0, or an exit code.  fresh: nothing is in its memory. */
static int mount_readers(struct bw_bench *b, bool fresh)
{
	if (!b->plan.scratch || (b->mounts[BW_BENCH_READERS].own && !fresh))
		return 0;
	unmount(b, BW_BENCH_READERS);
	return mount_side(b, BW_BENCH_READERS);
}

static int mount_producers(struct bw_bench *b)
{
	return !b->plan.scratch || b->mounts[BW_BENCH_PRODUCERS].own ? 0 : mount_side(b, BW_BENCH_PRODUCERS);
}

static void kill_mounts(void *ctx)
{
	struct bw_bench *b = ctx;

	for (int side = 0; side < BW_BENCH_SIDES; side++)
		bw_bench_mount_kill(&b->mounts[side]);
	if (b->plan.scratch)
		return;
	/* Nothing here is ours to take away, and threads that are stuck there keep this process from ending well. */
	bw_say(b->command, BW_EXIT_STORE, "a call into %s does not return; see %s/status/waiting",
	       b->plan.target, b->plan.target);
	_exit(BW_EXIT_STORE);
}

static int ask_number(struct bw_bench *b, const char *name, uint64_t *ret)
{
	const struct bw_bench_mount *m = &b->mounts[BW_BENCH_PRODUCERS];
	char text[64];

	if (!*m->dir)
		m = &b->mounts[BW_BENCH_READERS];
	ssize_t n = bw_bench_mount_status(m, name, text, sizeof(text));

	text[strcspn(text, "\n")] = 0;
	return n < 0 ? (int)n : bw_parse_u64(text, UINT64_MAX, ret);
}

int bw_bench_ask_mount(struct bw_bench *b, const char *dir)
{
	struct bw_bench_mount *m = &b->mounts[BW_BENCH_PRODUCERS];
	static const char key[] = "\"ranks\":";
	char text[64 << 10];

	bw_let_interrupts_kill();
	if (!realpath(dir, m->dir))
		return bw_say(b->command, BW_EXIT_USAGE, "%s is neither a URL nor the mount of a stream: %s",
			      dir, strerrordesc_np(errno));
	ssize_t n = bw_bench_mount_status(m, "status.json", text, sizeof(text));
	const char *at = n < 0 ? NULL : strstr(text, key);

	if (!at)
		return bw_say(b->command, BW_EXIT_USAGE, "%s is neither a URL nor the mount of a stream",
			      dir);
	b->plan.ranks = (uint32_t)strtoul(at + sizeof(key) - 1, NULL, 10);
	return 0;
}

/* ---- Rows ------------------------------------------------------------------------------------------ */

/* The steps that rows of reading go through; a tail begins behind them. */
static int set_range(struct bw_bench *b, struct bw_load *l)
{
	const struct bw_bench_plan *p = &b->plan;
	uint64_t head, first;
	int err = ask_number(b, "head", &head);

	if (!err)
		err = ask_number(b, "first", &first);
	if (err)
		return err;
	l->from = first;
	l->to = head;
	if (p->range && p->to < head)
		l->to = p->to;
	if (p->range && p->from != BW_BENCH_NEWEST)
		l->from = p->from;
	else if (!p->scratch && l->to > first && l->to - first > p->batches)
		l->from = l->to - p->batches;
	return 0;
}

static int load_row(struct bw_bench *b, struct bw_load *l, enum bw_bench_kind kind, struct bw_crew *crew)
{
	uint64_t head;
	int err;

	switch (kind) {
	case BW_BENCH_INGEST:
		return bw_load_ingest(l, bw_bench_name(kind), crew);
	case BW_BENCH_TAIL:
		err = ask_number(b, "head", &head);
		l->to = head;
		return err ? err : bw_load_tail(l, crew);
	case BW_BENCH_SEEK:
		return bw_load_seek(l, crew);
	default:
		return bw_load_read(l, kind, crew);
	}
}

/* 0, or an exit code with the sentence said.  shown: it is a row of the report. */
static int run_load(struct bw_bench *b, enum bw_bench_kind kind, bool shown)
{
	struct bw_bench_row *row = &b->result.rows[b->result.rows_n];
	const struct bw_crew_watch watch = {
		.go_on = goes_on, .kill = kill_mounts, .begin = note_begin, .end = note_end, .ctx = b};
	const struct bw_bench_mount *readers =
		&b->mounts[b->plan.scratch ? BW_BENCH_READERS : BW_BENCH_PRODUCERS];
	struct bw_load l = {.plan = &b->plan,
			    .producers = b->mounts[BW_BENCH_PRODUCERS].dir,
			    .readers = readers->dir,
			    .name = b->name,
			    .run = b->run,
			    .watch = &watch};
	struct bw_crew crew;
	int err = set_range(b, &l);

	if (err)
		return fail_row(b, kind, err, "cannot ask the mount for its head");
	if (!(1u << kind & BW_BENCH_WRITES) && l.from >= l.to)
		return fail(b, BW_EXIT_WRONG, "there are no such steps to read");
	bw_crew_init(&crew);
	err = load_row(b, &l, kind, &crew);
	int code = err ? fail_row(b, kind, err, crew.why) : 0;

	if (!code && shown) {
		err = bw_load_sum(&crew, kind, row);
		b->result.rows_n++;
		take_costs(b, row);
		row->cold = b->plan.scratch && kind != BW_BENCH_HOT && !(1u << kind & BW_BENCH_WRITES);
		code = err ? fail_row(b, kind, err, "") : 0;
	}
	bw_crew_done(&crew);
	return code;
}

static int show_row(struct bw_bench *b)
{
	int err = b->json ? 0 : bw_report_row(&b->result.rows[b->result.rows_n - 1]);

	return err ? bw_say_err(b->command, err, "cannot report") : 0;
}

static int run_row(struct bw_bench *b, enum bw_bench_kind kind)
{
	int code = 0;

	switch (kind) {
	case BW_BENCH_INGEST:
		code = mount_producers(b);
		break;
	case BW_BENCH_TAIL:
		code = mount_producers(b);
		code = code ? code : mount_readers(b, false);
		break;
	case BW_BENCH_HOT:
		/* Whoever wants it alone gets the pass before it, which is no row then. */
		if (b->plan.rows & 1u << BW_BENCH_CATCHUP)
			break;
		code = mount_readers(b, true);
		code = code ? code : run_load(b, BW_BENCH_CATCHUP, false);
		break;
	default:
		code = mount_readers(b, true);
		break;
	}
	code = code ? code : run_load(b, kind, true);
	return code ? code : show_row(b);
}

/* A scratch stream has nothing to read until it was written to. */
static int fill(struct bw_bench *b)
{
	bool reads = b->plan.rows & ~BW_BENCH_WRITES;
	int code = 0;

	if (b->plan.scratch && reads && !(b->plan.rows & 1u << BW_BENCH_INGEST)) {
		code = mount_producers(b);
		code = code ? code : run_load(b, BW_BENCH_INGEST, false);
	}
	return code;
}

/* Pages that a hypervisor took back cost much more to get than others: get them before the clock runs. */
static void touch(uint64_t bytes)
{
	void *p = bytes ? mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0)
			: MAP_FAILED;

	if (p != MAP_FAILED)
		munmap(p, bytes);
}

static int run_rows(struct bw_bench *b)
{
	int code = fill(b);

	for (int k = 0; k < BW_BENCH_KINDS && !code; k++)
		if (b->plan.rows & 1u << k)
			code = run_row(b, (enum bw_bench_kind)k);
	return code;
}

/* ---- From the first thing that is made to the last that is taken away ------------------------------- */

static int make_work(struct bw_bench *b)
{
	const char *tmp = getenv("TMPDIR");
	int n = snprintf(b->work, sizeof(b->work), "%s/batchweave-bench-XXXXXX", tmp && *tmp ? tmp : "/tmp");

	if (n > 0 && (size_t)n < sizeof(b->work) - 64 && mkdtemp(b->work))
		return 0;
	b->work[0] = 0;
	return bw_say_err(b->command, -errno, "cannot make a directory in %s", tmp && *tmp ? tmp : "/tmp");
}

static int make_scratch(struct bw_bench *b)
{
	int code = make_work(b);

	if (!code)
		code = bw_scratch_name(&b->scratch, b->command, b->plan.target, b->name, &b->how);
	snprintf(b->result.stream, sizeof(b->result.stream), "%s", b->scratch.url);
	if (!code)
		code = bw_scratch_create(&b->scratch, &b->stream);
	if (code) /* the sentence was said there */
		snprintf(b->result.error, sizeof(b->result.error), "cannot create a stream at %.900s",
			 b->plan.target);
	return code;
}

struct attendant {
	struct bw_bench *b;
	atomic_bool over;
};

/* Nothing is to be left of a stream half made: a first signal ends it once the store has answered, which may take a minute. */
static void *attend(void *arg)
{
	struct attendant *a = arg;
	struct bw_bench *b = a->b;
	struct pollfd signals = {.fd = b->signals, .events = POLLIN};

	for (unsigned said = 0; !atomic_load(&a->over);) {
		poll(&signals, 1, ATTEND_MS);
		goes_on(b);
		if (b->signals_n > 1) {
			rmdir(b->work);
			_exit(BW_EXIT_INTERRUPTED);
		}
		if (said < b->signals_n)
			bw_say(b->command, 0, "ends when the store has answered, or at once with a second signal");
		said = b->signals_n;
	}
	return NULL;
}

static int make_scratch_attended(struct bw_bench *b)
{
	struct attendant a = {.b = b};
	pthread_t thread;
	int err = bw_thread_start(&thread, "bench-signals", attend, &a);

	if (err)
		return bw_say_err(b->command, err, "cannot start");
	int code = make_scratch(b);

	atomic_store(&a.over, true);
	pthread_join(thread, NULL);
	return goes_on(b) ? code : BW_EXIT_INTERRUPTED;
}

static int take_away(struct bw_bench *b, int code)
{
	int other = 0;

	b->signals_known = b->signals_n;
	for (int side = 0; side < BW_BENCH_SIDES; side++)
		if (unmount(b, (enum bw_bench_side)side) && !code)
			other = bw_say(b->command, BW_EXIT_WRONG, "a daemon did not end well");
	if (*b->scratch.url && !b->keep) {
		int left = bw_scratch_destroy(&b->scratch, goes_on, b);

		other = left ? left : other;
	}
	if (*b->work && rmdir(b->work) < 0)
		bw_say_err(b->command, -errno, "cannot remove %s", b->work);
	return code ? code : other;
}

static void report(struct bw_bench *b, int *code)
{
	if (b->json) {
		int err = bw_report_json(&b->result, b->samples);

		if (err)
			*code = bw_say_err(b->command, err, "cannot report");
		return;
	}
	if (b->result.rows_n)
		bw_report_end(&b->result);
	if (b->keep && *b->scratch.id)
		printf("the stream %s is kept; batchweave destroy %s --yes-destroy %s\n", b->scratch.url,
		       b->scratch.url, b->scratch.id);
}

int bw_bench_run(struct bw_bench *b)
{
	uint32_t words[3];

	bw_random(words, sizeof(words));
	b->run = (uint64_t)words[0] << 32 | words[1];
	snprintf(b->name, sizeof(b->name), "bench-%08" PRIx32, words[2]);
	b->result.plan = &b->plan;
	b->result.options = b->options[BW_BENCH_PRODUCERS];
	b->result.began_ms = bw_wall_ms();
	b->signals = bw_take_signals();
	if (b->signals < 0)
		return bw_say_err(b->command, b->signals, "cannot start");
	int code = b->plan.scratch ? make_scratch_attended(b) : 0;

	if (!code && !b->json)
		bw_report_begin(&b->result);
	if (!code) {
		touch(b->plan.touch);
		code = run_rows(b);
	}
	code = take_away(b, code);
	b->result.complete = !code;
	report(b, &code);
	bw_bench_result_done(&b->result);
	close(b->signals);
	return code;
}
