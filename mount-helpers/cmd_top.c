/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/hangup.h"
#include "mount-helpers/session.h"
#include "mount-helpers/top.h"
#include "mount-helpers/top_screen.h"
#include "store/base/parse.h"
#include "store/base/sync.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { EVERY = 1, ONCE, JSON, NUMBER = 'n' };

#define EVERY_MIN_NS (100 * BW_MS)
#define LINE_MAX_BYTES 4096u
#define WHERE_MAX 512u
#define PAGE_MAX (1u << 20)
#define WIDE 200u	/* columns where there is no terminal */
#define LONG 10000u	/* rows there */

static const struct option longs[] = {
	{"every", required_argument, NULL, EVERY},
	{"once", no_argument, NULL, ONCE},
	{"json", no_argument, NULL, JSON},
	{"number", required_argument, NULL, NUMBER},
	BW_STORE_OPTIONS,
	{0},
};

struct top {
	const struct bw_command *c;
	struct bw_store_options store;
	const char *where;
	bool of_url, once, json, screened;
	bool unread;		/* who read the output has gone */
	int64_t every_ns;
	uint64_t looks;		/* to take; 0: no end */
	struct bw_session s;	/* of a URL */
	struct bw_top *before, *now;	/* owned; NULL: not yet */
	struct bw_screen screen;
	int signals, news;	/* signalfd; eventfd: a look has been taken */
	uint64_t shown;
	/* Between the two threads. */
	struct bw_mutex lock;
	struct bw_cond wake;
	struct bw_top *fresh;	/* owned */
	int err;		/* of the last look */
	bool wanted, looking, stop;
};

/* ---- Looks: a thread of their own, for a mount or a store that hangs must not hold the keys ---------- */

static int look_at_url(struct top *t, struct bw_top *to)
{
	struct bw_root *root = NULL;
	int64_t began = bw_now();
	int err = bw_head_refresh(t->s.head, began + BW_FIRST_ANSWER_NS, &root);

	to->at_ns = bw_now();
	to->v[BW_TOP_LOOK_S] = (double)(to->at_ns - began) / 1e9;
	if (!err)
		bw_top_root(&t->s.stream, root, to);
	snprintf(to->url, sizeof(to->url), "%s", t->where);
	bw_root_unref(root);
	return err;
}

static int look(struct top *t, struct bw_top **ret)
{
	struct bw_top *to = bw_top_new();
	int err = to ? t->of_url ? look_at_url(t, to) : bw_top_read_mount(t->where, to) : -ENOMEM;

	if (err)
		free(to);
	else
		*ret = to;
	return err;
}

static void *look_run(void *arg)
{
	struct top *t = arg;

	bw_lock(&t->lock);
	while (!t->stop) {
		if (!t->wanted) {
			bw_cond_wait(&t->wake, &t->lock);
			continue;
		}
		struct bw_top *fresh = NULL;

		t->wanted = false;
		t->looking = true;
		bw_unlock(&t->lock);
		int err = look(t, &fresh);

		bw_lock(&t->lock);
		t->looking = false;
		free(t->fresh);
		t->fresh = fresh;
		t->err = err;
		uint64_t one = 1;
		ssize_t n = write(t->news, &one, sizeof(one));

		(void)n;
	}
	bw_unlock(&t->lock);
	return NULL;
}

/* False: the one before is not back yet. */
static bool ask_for_look(struct top *t)
{
	BW_LOCK_SCOPE(&t->lock);
	if (t->looking || t->wanted)
		return false;
	t->wanted = true;
	bw_cond_signal(&t->wake);
	return true;
}

/* ---- What is shown ---------------------------------------------------------------------------------- */

static void say_when(char when[32])
{
	bw_wall_text(bw_wall_ms(), when, 32);
}

/* A directory may have any bytes in its name. */
static const char *plain_where(const struct top *t, char said[WHERE_MAX])
{
	snprintf(said, WHERE_MAX, "%s", t->where);
	return bw_make_plain(said);
}

static void draw(struct top *t, const char *trouble)
{
	bw_auto_buf struct bw_buf page = {.max = 0};
	unsigned columns, rows, used = *trouble ? 1 : 0;
	char when[32], where[WHERE_MAX];

	say_when(when);
	bw_buf_init(&page, PAGE_MAX);
	bw_screen_size(&t->screen, &columns, &rows);
	if (*trouble)
		bw_buf_fmt(&page, "%.*s\n", (int)columns, trouble);
	if (t->before && rows > used)
		bw_top_view(t->before, t->now, when, columns, rows - used, &page);
	else if (!*trouble)
		bw_buf_fmt(&page, "%.*s\n", (int)columns, plain_where(t, where));
	bw_screen_draw(&t->screen, bw_buf_text(&page), page.len);
}

static void print(struct top *t)
{
	bw_auto_buf struct bw_buf out = {.max = 0};
	char when[32];

	say_when(when);
	bw_buf_init(&out, PAGE_MAX);
	if (t->json)
		bw_top_json(t->before, t->now, when, &out);
	else if (t->once)
		bw_top_view(t->before, t->now, when, WIDE, LONG, &out);
	else
		bw_top_line(t->before, t->now, when, &out);
	bool failed = fputs(bw_buf_text(&out), stdout) == EOF;

	failed |= fflush(stdout) != 0;
	t->unread = failed && errno == EPIPE;
}

static void show(struct top *t)
{
	if (t->screened)
		draw(t, "");
	else
		print(t);
	t->shown++;
}

/* -1 to go on, else an exit code.  Live it goes on: a store comes back. */
static int show_trouble(struct top *t, int err)
{
	char text[128], where[WHERE_MAX], line[WHERE_MAX + 256];
	bool gone = !t->of_url && (err == -ENOTCONN || err == -ENOENT);

	if (gone || t->looks) {
		bw_screen_end(&t->screen);
		return bw_say_err(t->c, err, gone ? "the mount at %s has ended" : "cannot look at %s", t->where);
	}
	snprintf(line, sizeof(line), "%s DOES NOT ANSWER: %s", plain_where(t, where), bw_err_text(err, text, sizeof(text)));
	if (t->screened)
		draw(t, line);
	else
		bw_say(t->c, 0, "%s", line);
	return -1;
}

/* -1 to go on, else an exit code. */
static int take_news(struct top *t)
{
	struct bw_top *fresh;
	uint64_t n;
	ssize_t got = read(t->news, &n, sizeof(n));

	(void)got;
	bw_lock(&t->lock);
	fresh = t->fresh;
	t->fresh = NULL;
	int err = t->err;

	bw_unlock(&t->lock);
	if (!fresh)
		return err ? show_trouble(t, err) : -1;
	free(t->before);
	t->before = t->now;
	t->now = fresh;
	if (t->before)
		show(t);
	if (t->unread) {
		__fpurge(stdout);	/* that is no error, so what nobody reads is not tried again */
		clearerr(stdout);
	}
	if (t->unread || ferror(stdout))
		return BW_EXIT_DONE;
	return t->looks && t->shown >= t->looks ? BW_EXIT_DONE : -1;
}

/* ---- Keys and signals ------------------------------------------------------------------------------- */

static void pause_screen(struct top *t)
{
	bw_screen_end(&t->screen);
	kill(getpid(), SIGSTOP);
	t->screened = bw_screen_begin(&t->screen, STDOUT_FILENO) == 0;
}

static int take_signal(struct top *t)
{
	struct signalfd_siginfo info;

	if (read(t->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return -1;
	if (info.ssi_signo == SIGTSTP)
		pause_screen(t);
	if (info.ssi_signo == SIGTSTP || info.ssi_signo == SIGWINCH) {
		if (t->screened)
			draw(t, "");
		return -1;
	}
	return info.ssi_signo == SIGINT && !t->screened ? BW_EXIT_INTERRUPTED : BW_EXIT_DONE;
}

static int take_key(void)
{
	char keys[64];
	ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

	if (n <= 0 || memchr(keys, 'q', (size_t)n) || memchr(keys, 'Q', (size_t)n))
		return BW_EXIT_DONE;
	return -1;
}

static int take_signals(bool screened)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (!bw_hangup_ignored())
		sigaddset(&set, SIGHUP);
	if (screened) {
		sigaddset(&set, SIGWINCH);
		sigaddset(&set, SIGTSTP);
	}
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	int fd = signalfd(-1, &set, SFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* ---- The loop --------------------------------------------------------------------------------------- */

static int watch(struct top *t)
{
	struct pollfd fds[] = {
		{.fd = t->signals, .events = POLLIN},
		{.fd = t->news, .events = POLLIN},
		{.fd = t->screened ? STDIN_FILENO : -1, .events = POLLIN},
	};
	int64_t due_ns = bw_now() + t->every_ns;
	int code = -1;

	if (t->screened)
		draw(t, "");

	while (code < 0) {
		int64_t now = bw_now();

		if (now >= due_ns) {
			ask_for_look(t);
			due_ns += (now - due_ns) / t->every_ns * t->every_ns + t->every_ns;
		}
		if (poll(fds, 3, (int)((due_ns - now) / BW_MS) + 1) < 0 && errno != EINTR)
			return bw_say_err(t->c, -errno, "cannot wait");
		if (fds[0].revents)
			code = take_signal(t);
		if (code < 0 && fds[1].revents)
			code = take_news(t);
		if (code < 0 && fds[2].revents)
			code = take_key();
	}
	return code;
}

/* A look that hangs in the mount cannot be waited for: the process ends without it. */
static int stop(struct top *t, pthread_t looker, int code)
{
	bw_screen_end(&t->screen);
	bw_lock(&t->lock);
	bool hangs = t->looking;

	t->stop = true;
	bw_cond_signal(&t->wake);
	bw_unlock(&t->lock);
	if (hangs) {
		fflush(stdout);
		_exit(code);
	}
	pthread_join(looker, NULL);
	return code;
}

/* A terminal that knows how to move its cursor, as all do but the one that says so. */
static bool can_draw(void)
{
	const char *kind = getenv("TERM");

	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && (!kind || strcmp(kind, "dumb") != 0);
}

static int run(struct top *t)
{
	pthread_t looker;
	int err = 0;

	t->screened = !t->once && !t->json && can_draw();
	t->signals = take_signals(t->screened);
	t->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->signals < 0 || t->news < 0)
		return bw_say_err(t->c, -ENOMEM, "cannot start");
	err = bw_thread_start(&looker, "top-look", look_run, t);
	if (err)
		return bw_say_err(t->c, err, "cannot start");
	if (t->screened)
		t->screened = bw_screen_begin(&t->screen, STDOUT_FILENO) == 0;
	return stop(t, looker, watch(t));
}

/* The first look says what is wrong with the operand. */
static int first_look(struct top *t)
{
	int code = 0;

	if (t->of_url)
		code = bw_session_open(&t->s, t->c, t->where, &t->store, false);
	else
		bw_let_interrupts_kill();
	int err = code ? 0 : look(t, &t->now);

	if (!err)
		return code;
	if (!t->of_url && (err == -ENOENT || err == -ENOTDIR || err == -EINVAL))
		return bw_say(t->c, BW_EXIT_USAGE,
			      "%s is neither a stream URL (file:///dir, s3://bucket) nor a directory where a stream is"
			      " mounted", t->where);
	if (err == -ENOTCONN)
		return bw_say(t->c, BW_EXIT_WRONG, "the mount at %s has lost its daemon; run umount %s and mount it again",
			      t->where, t->where);
	code = bw_say_err(t->c, err, "cannot look at %s", t->where);
	return t->of_url ? code : BW_EXIT_WRONG;	/* a directory is no store */
}

static int parse_option(struct top *t, int option)
{
	switch (option) {
	case EVERY:
		if (bw_parse_duration(optarg, &t->every_ns) < 0 || t->every_ns < EVERY_MIN_NS)
			return bw_say(t->c, BW_EXIT_USAGE, "--every must be a time of 0.1 seconds or more, not '%s'",
				      optarg);
		return 0;
	case NUMBER:
		if (bw_parse_u64(optarg, UINT32_MAX, &t->looks) < 0 || !t->looks)
			return bw_say(t->c, BW_EXIT_USAGE, "-n must be a number of looks from 1, not '%s'", optarg);
		return 0;
	case ONCE:
		t->once = true;
		return 0;
	default:
		t->json = true;
		return 0;
	}
}

static void end(struct top *t)
{
	bw_session_done(&t->s);
	free(t->before);
	free(t->now);
	free(t->fresh);
	if (t->signals >= 0)
		close(t->signals);
	if (t->news >= 0)
		close(t->news);
	bw_cond_done(&t->wake);
	bw_mutex_done(&t->lock);
}

int bw_cmd_top(const struct bw_command *c, int argc, char **argv)
{
	struct top t = {.c = c, .every_ns = 2 * BW_SEC, .signals = -1, .news = -1};
	int option, code = 0;

	bw_store_options_init(&t.store);
	while ((option = bw_option_of(c, argc, argv, longs, &t.store, &code)) != -1) {
		if (option != BW_OPT_STOP)
			code = parse_option(&t, option);
		if (option == BW_OPT_STOP || code)
			return code;
	}
	if (argc - optind != 1)
		return bw_say_usage(c);
	t.where = argv[optind];
	t.of_url = strstr(t.where, "://") != NULL;
	if (!t.of_url && *t.store.given)
		return bw_say(c, BW_EXIT_USAGE, "%s is for s3:// streams; the mount at %s has its own options",
			      t.store.given, t.where);
	if (t.once && t.looks)
		return bw_say(c, BW_EXIT_USAGE, "--once and -n exclude each other");
	if (t.once)
		t.looks = 1;
	bw_mutex_init(&t.lock, BW_RANK_FS);
	bw_cond_init(&t.wake);
	code = first_look(&t);
	if (!code)
		code = run(&t);
	end(&t);
	return code;
}
