/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/mount_main.h"

#include "fs/fs.h"
#include "fs/heap.h"
#include "fs/memory.h"
#include "mount-helpers/hangup.h"
#include "mount-helpers/last_words.h"
#include "mount-helpers/notify.h"
#include "mount-helpers/say.h"
#include "mount-helpers/stale.h"
#include "store/base/clock.h"
#include "store/base/path.h"
#include "store/base/sync.h"
#include "store/store.h"

#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the command line asks for. */
struct ask {
	const char *name;
	const char *url;		/* borrowed, like dir */
	const char *dir;
	char real_dir[PATH_MAX];	/* the daemon leaves the directory it was started in */
	int passed;			/* the FUSE device that somebody else has mounted; -1: we mount */
	bool fake, verbose;
	bool was_dead;			/* a mount without a daemon was taken away from dir */
	struct bw_mount_options options;
	struct bw_notify manager;
};

/* What the child tells the parent. */
struct news {
	int code;
	char why[BW_WHY_MAX + 1];
};

static const char help_text[] =
	"usage: %s URL DIR [-o OPTION[,OPTION...]] [-fnsv]\n"
	"\n"
	"Mounts the stream at URL (file:///absolute/directory or s3://bucket[/prefix]) on DIR and\n"
	"returns when it answers.\n"
	"\n"
	"  ro                   no /produce; works with read-only access to the store\n"
	"  wait=TIME            how long open and stat wait for a step that is not committed (0)\n"
	"  view=TEMPLATE        shows the slices under a loader's own paths as well, such as\n"
	"                       step_{step}/rank_{rank}.bin; may be given several times\n"
	"  commit=close|rename  what makes a slice whole (close)\n"
	"  pending=N            batches on their way while close returns early (0)\n"
	"  io_timeout=TIME      how long a read waits for the store (60)\n"
	"  commit_timeout=TIME  how long a close waits for its commit (300)\n"
	"  memory=SIZE          what caches, transfers and staging may hold (a quarter of the limit)\n"
	"  cache=DIR            keeps what was read in a directory of this mount alone (none)\n"
	"  cache_size=SIZE      what it may hold (half of what is free)\n"
	"  staging=DIR          where staged bytes go that do not fit into memory ($TMPDIR)\n"
	"  prefetch=N           steps read ahead for each rank that is read here (2; up to 8\n"
	"                       where a bucket is far)\n"
	"  direct_io=auto|yes|no  whether slices are read past the page cache (auto: with ro, those of\n"
	"                       readers who read each once, in large pieces)\n"
	"  gc                   deletes now and then what no checkpoint needs any more\n"
	"  endpoint=URL         of an s3:// store, http://host[:port] or https://... (AWS_ENDPOINT_URL_S3)\n"
	"  region=NAME          of an s3:// store (AWS_REGION)\n"
	"  profile=NAME         of the shared config files (AWS_PROFILE)\n"
	"  path_style           the bucket stands in the path, not in the host name\n"
	"  virtual_hosts        the bucket stands in the host name, also with an endpoint\n"
	"  ca=FILE              certificates to trust, PEM (AWS_CA_BUNDLE)\n"
	"  no_verify_tls        takes any certificate: for tests only\n"
	"  unsigned_payload     does not sign large bodies over http://, as over https://\n"
	"  allow_other          other users may use the mount\n"
	"  uid=ID               owner of everything in the mount\n"
	"  gid=ID               group of everything in the mount\n"
	"  umask=MODE           permission bits to take away, octal\n"
	"  default_permissions  accepted; it is always on\n"
	"  log=WHERE            a file, syslog or stderr (syslog; stderr in the foreground)\n"
	"  loglevel=LEVEL       error, warn, info or debug (info)\n"
	"  foreground           stay in the foreground\n"
	"  debug                stay in the foreground and tell each request of the kernel\n"
	"\n"
	"-f checks the arguments and mounts nothing, -v says what was mounted; -n and -s are accepted.\n"
	"Sizes take K, M or G; times are seconds or 10s, 5m, 2h.  Unmount with umount DIR.\n"
	"DIR may be /dev/fd/N, where N is /dev/fuse, open and mounted by the caller.\n"
	"Exit codes are mount(8)'s: 0 mounted, 1 usage or permissions, 2 system, 32 mount failed.\n";

static int bw_printf_like(3, 4) say(const struct ask *a, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	bw_vcomplain(a->name, code, fmt, ap);
	va_end(ap);
	return code;
}

/* ---- Arguments -------------------------------------------------------------------------------- */

/* Out of the way of the descriptors that a daemon gives up, and not for its children. */
#define PASSED_MIN 10
#define FUSE_DEVICE makedev(10, 229)	/* Linux's devices.txt */

static int take_passed(struct ask *a)
{
	int fd = fcntl(a->passed, F_DUPFD_CLOEXEC, PASSED_MIN);
	struct stat st;

	if (fd < 0)
		return say(a, BW_FS_USAGE, "%s is not open: the caller passes /dev/fuse, mounted", a->dir);
	close(a->passed);
	a->passed = fd;
	/* What is read from anything else would be taken for requests. */
	if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != FUSE_DEVICE)
		return say(a, BW_FS_USAGE, "%s is not /dev/fuse", a->dir);
	snprintf(a->real_dir, sizeof(a->real_dir), "/dev/fd/%d", fd);
	return -1;
}

static int remove_dead(struct ask *a)
{
	int r = a->fake ? 0 : bw_stale_remove(a->dir);

	a->was_dead = r > 0;
	if (r >= 0)
		return -1;
	return say(a, BW_FS_MOUNT_FAILED, "a mount at %s has lost its daemon%s%s; run umount -l %s first", a->dir,
		   r == -ENOTCONN ? "" : " and cannot be unmounted: ", r == -ENOTCONN ? "" : strerrordesc_np(-r),
		   a->dir);
}

static int check_dir(struct ask *a)
{
	struct stat st;

	a->passed = bw_fs_passed_fd(a->dir);
	if (a->passed >= 0)
		return take_passed(a);
	int code = remove_dead(a);

	if (code >= 0)
		return code;
	if (realpath(a->dir, a->real_dir) && stat(a->real_dir, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return -1;
		return say(a, BW_FS_MOUNT_FAILED, "%s is not a directory to mount on", a->dir);
	}
	switch (errno) {
	case ENOENT:
		return say(a, BW_FS_MOUNT_FAILED,
			   "there is no directory %s to mount on; make it with mkdir -p", a->dir);
	case ENOTCONN:
		return say(a, BW_FS_MOUNT_FAILED,
			   "a mount at %s has lost its daemon; run umount -l %s first", a->dir, a->dir);
	case EACCES:
		return say(a, BW_FS_USAGE, "cannot mount on %s: this user may not enter a directory on the way there",
			   a->dir);
	default:
		return say(a, BW_FS_MOUNT_FAILED, "cannot mount on %s: %s", a->dir,
			   strerrordesc_np(errno));
	}
}

static int check_operands(struct ask *a, int argc, char **argv)
{
	char why[BW_WHY_MAX + 1] = "";
	struct bw_url url;

	if (argc - optind != 2)
		return say(a, BW_FS_USAGE, "a URL and a directory are needed; see %s --help", a->name);
	a->url = argv[optind];
	a->dir = argv[optind + 1];
	if (bw_url_parse(a->url, &url, why, sizeof(why)) < 0)
		return say(a, BW_FS_USAGE, "%s", why);
	if (url.scheme != BW_URL_S3 && *a->options.s3_option)
		return say(a, BW_FS_USAGE, "option %s is for s3:// streams; leave it out for %s",
			   a->options.s3_option, a->url);
	return check_dir(a);
}

static int take_option(struct ask *a, int option, char **argv, int at)
{
	char why[BW_WHY_MAX + 1] = "";

	switch (option) {
	case 'o':
		if (bw_mount_options_parse(&a->options, optarg, why, sizeof(why)) < 0)
			return say(a, BW_FS_USAGE, "%s", why);
		return -1;
	case 'f':
		a->fake = true;
		return -1;
	case 'v':
		a->verbose = true;
		return -1;
	case 'n':
	case 's':
	case 't':
		return -1;
	case 'h':
		printf(help_text, a->name);
		return 0;
	case 'V':
		printf("batchweave %s\n", BW_VERSION);
		return 0;
	case ':':
		return say(a, BW_FS_USAGE, "%s needs a value; see %s --help", argv[optind - 1], a->name);
	default:
		return say(a, BW_FS_USAGE, "unknown option %s; see %s --help", bw_unknown_option(argv, at), a->name);
	}
}

/* -1 to go on, else the exit code. */
static int parse(struct ask *a, int argc, char **argv)
{
	static const struct option longs[] = {
		{"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {0}};
	int option, at = optind;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":o:fnsvt:hV", longs, NULL)) != -1) {
		int code = take_option(a, option, argv, at);

		if (code >= 0)
			return code;
		at = optind;
	}
	return check_operands(a, argc, argv);
}

/* ---- The daemon ------------------------------------------------------------------------------- */

/* Lives as long as bw_fs_run(): signals are taken here and nowhere else. */
struct signals {
	struct bw_fs *fs;
	const struct bw_notify *manager;
	struct bw_log *log;
	sigset_t set;
	bool hangup_ends;	/* the terminal has gone; else SIGHUP is for the log */
	atomic_int ended_by;	/* a signal, or 0 */
	atomic_bool over;	/* SIGNAL_END is ours; before, it is somebody's who means another program */
	pthread_t thread;
};

#define SIGNAL_END SIGUSR1
#define STOPPING "STOPPING=1\nSTATUS=committing what is queued"

static void *take_signals(void *arg)
{
	struct signals *s = arg;
	int sig;

	while (sigwait(&s->set, &sig) == 0 && !atomic_load(&s->over)) {
		if (sig == SIGNAL_END)
			continue;
		if (sig == SIGHUP && !s->hangup_ends) {
			bw_fs_reopen_log(s->fs);
			bw_log(s->log, BW_LOG_INFO, "log_reopened", "reason=SIGHUP");
			continue;
		}
		atomic_store(&s->ended_by, sig);
		bw_notify_say(s->manager, STOPPING);
		bw_fs_stop(s->fs);	/* first: a log may take its time */
		bw_log(s->log, BW_LOG_INFO, "stopping", "reason=SIG%s", sigabbrev_np(sig));
	}
	return NULL;
}

/* Before any thread is started: they all inherit it, so only sigwait() sees these signals. */
static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGNAL_END);
	sigprocmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* under ulimit -f a write that is too far says EFBIG */
}

/* S6: killing the mount would stop every process that reads from it.  Needs root; else nothing. */
static void avoid_oom_killer(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	ssize_t n = write(fd, "-1000", 5);

	(void)n;
	close(fd);
}

static int start(const struct ask *a, struct bw_log **ret_log, struct bw_fs **ret, char *why)
{
	const char *to = *a->options.log ? a->options.log : a->options.foreground ? "stderr" : "syslog";
	char detail[128];
	int r = bw_log_open(to, a->options.loglevel, ret_log);

	if (r == 0)
		bw_last_words_begin(*ret_log, a->real_dir);
	if (r < 0) {
		snprintf(why, BW_WHY_MAX + 1, "cannot open the log %.512s: %s", to,
			 bw_err_text(r, detail, sizeof(detail)));
		return BW_FS_USAGE;
	}
	r = bw_fs_start(a->url, a->real_dir, &a->options, *ret_log, ret, why, BW_WHY_MAX + 1);
	if (r && !*why)
		snprintf(why, BW_WHY_MAX + 1, "the mount failed");
	return r;
}

static void serve(const struct ask *a, struct bw_fs *fs, struct bw_log *log, const sigset_t *set)
{
	struct signals s = {.fs = fs, .manager = &a->manager, .log = log, .set = *set,
			    .hangup_ends = a->options.foreground && a->manager.fd < 0 && !bw_hangup_ignored()};

	if (a->was_dead)
		bw_log(log, BW_LOG_WARN, "dead_mount_removed", "dir=\"%s\" reason=\"its daemon had died\"", a->real_dir);
	bw_log(log, BW_LOG_INFO, "mounted", "url=\"%s\" dir=\"%s\" version=" BW_VERSION " pid=%d", a->url, a->real_dir,
	       (int)getpid());
	bool taken = bw_thread_start(&s.thread, "bw-signals", take_signals, &s) == 0;

	bw_notify_say(&a->manager, "READY=1\nSTATUS=mounted");
	bw_fs_run(fs);
	bw_notify_say(&a->manager, "STOPPING=1\nSTATUS=unmounted");
	if (taken) {
		atomic_store(&s.over, true);
		pthread_kill(s.thread, SIGNAL_END);
		pthread_join(s.thread, NULL);
	}
	int sig = atomic_load(&s.ended_by);

	bw_log(log, BW_LOG_INFO, "unmounted", "reason=%s%s dir=\"%s\"", sig ? "SIG" : "umount",
	       sig ? sigabbrev_np(sig) : "", a->real_dir);
}

/* S5: once unmounted the process ends in bounded time, even when a call into the store never returns. */
struct leaving {
	struct bw_log *log;
	struct bw_mutex lock;
	struct bw_cond cond;
	bool done;
};

#define LEAVE_NS (10 * BW_SEC)

static void *leave_in_time(void *arg)
{
	struct leaving *l = arg;
	int64_t deadline = bw_now() + LEAVE_NS;

	BW_LOCK_SCOPE(&l->lock);
	while (!l->done) {
		if (bw_cond_wait_until(&l->cond, &l->lock, deadline))
			continue;
		bw_log(l->log, BW_LOG_ERROR, "left",
		       "reason=\"a request to the store, or a call to a local disk, does not return: what a request was about is "
		       "decided by the store\"");
		_exit(BW_FS_SYSTEM);
	}
	return NULL;
}

static void leave(struct bw_fs *fs, struct bw_log *log)
{
	struct leaving l = {.log = log};
	pthread_t thread;

	bw_mutex_init(&l.lock, BW_RANK_FS);
	bw_cond_init(&l.cond);
	bool watched = bw_thread_start(&thread, "bw-leave", leave_in_time, &l) == 0;

	bw_fs_free(fs);
	bw_lock(&l.lock);
	l.done = true;
	bw_cond_signal(&l.cond);
	bw_unlock(&l.lock);
	if (watched)
		pthread_join(thread, NULL);
	bw_cond_done(&l.cond);
	bw_mutex_done(&l.lock);
	bw_last_words_end();
	bw_log_close(log);
}

static int run_foreground(const struct ask *a)
{
	struct bw_log *log = NULL;
	struct bw_fs *fs = NULL;
	char why[BW_WHY_MAX + 1] = "";
	sigset_t set;

	block_signals(&set);
	avoid_oom_killer();
	int code = start(a, &log, &fs, why);

	if (code)
		say(a, code, "%s", why);
	else
		serve(a, fs, log, &set);
	leave(fs, log);
	return code;
}

/* Nothing of the caller's is kept open: a script that reads our output must see its end. */
static void leave_terminal(int *pipe_fd, bool keep_stderr, int passed)
{
	int null = open("/dev/null", O_RDWR);

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		if (!keep_stderr)
			dup2(null, STDERR_FILENO);
	}
	if (*pipe_fd != 3 && dup2(*pipe_fd, 3) == 3)
		*pipe_fd = 3;
	if (*pipe_fd == 3 && passed < 0) {
		close_range(4, ~0U, 0);
	} else if (*pipe_fd == 3) {
		close_range(4, (unsigned)passed - 1, 0);
		close_range((unsigned)passed + 1, ~0U, 0);
	}
	fcntl(*pipe_fd, F_SETFD, FD_CLOEXEC);
}

/* False: the parent is gone, so nobody wants this mount any more. */
static bool tell(int fd, int code, const char *why)
{
	struct news n = {.code = code};

	snprintf(n.why, sizeof(n.why), "%s", why);
	/* One write below PIPE_BUF is whole or not at all. */
	ssize_t written = write(fd, &n, sizeof(n));

	close(fd);
	return written == (ssize_t)sizeof(n);
}

static int run_daemon(const struct ask *a, int news_fd)
{
	struct bw_log *log = NULL;
	struct bw_fs *fs = NULL;
	char why[BW_WHY_MAX + 1] = "";
	sigset_t set;

	block_signals(&set);
	leave_terminal(&news_fd, strcmp(a->options.log, "stderr") == 0, a->passed);
	avoid_oom_killer();
	int code = start(a, &log, &fs, why);

	if (code == 0) {
		/* Until here an interrupt of the terminal reaches us as well, and undoes the mount. */
		setsid();
		if (chdir("/") < 0)
			code = BW_FS_SYSTEM;
	}
	if (tell(news_fd, code, why) && code == 0)
		serve(a, fs, log, &set);
	leave(fs, log);
	return code;
}

static int hear(const struct ask *a, int fd, pid_t child)
{
	struct news n = {.code = 0};
	ssize_t got;
	int status = 0;

	do
		got = read(fd, &n, sizeof(n));
	while (got < 0 && errno == EINTR);
	if (got == (ssize_t)sizeof(n)) {
		n.why[BW_WHY_MAX] = 0;
		return n.code ? say(a, n.code, "%s", n.why) : 0;
	}
	waitpid(child, &status, 0);
	if (WIFSIGNALED(status))
		return say(a, BW_FS_SYSTEM, "the daemon was ended by signal %d before it was ready",
			   WTERMSIG(status));
	return say(a, BW_FS_SYSTEM, "the daemon ended before it was ready");
}

/*
 * The daemon works in /, and reads what these name for as long as it lives.  "~/" is left to who reads it: the home directory in
 * the two files of profiles, and nothing special in the names of token files.
 */
static bool keep_paths(void)
{
	static const char *const names[] = {"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
					    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *path = getenv(names[i]);

		if (!path || !*path || *path == '/' || strncmp(path, "~/", 2) == 0)
			continue;
		char *whole = bw_path_absolute(path);
		bool kept = whole && setenv(names[i], whole, 1) == 0;

		free(whole);
		if (!kept)
			return false;
	}
	return true;
}

static int run_background(const struct ask *a)
{
	char text[128];
	int fds[2];

	if (!keep_paths())
		return say(a, BW_FS_SYSTEM, "cannot find the directory that this was called in: %s", strerrordesc_np(errno));
	if (pipe2(fds, O_CLOEXEC) < 0)
		return say(a, BW_FS_SYSTEM, "cannot make a pipe: %s", strerrordesc_np(errno));
	fflush(stdout);
	pid_t child = fork();

	if (child < 0) {
		int err = errno == EAGAIN ? -BW_E_NO_THREADS : -errno;

		return say(a, BW_FS_SYSTEM, "cannot start the daemon: %s", bw_err_text(err, text, sizeof(text)));
	}
	if (child == 0) {
		close(fds[0]);
		return run_daemon(a, fds[1]);
	}
	close(fds[1]);
	int code = hear(a, fds[0], child);

	close(fds[0]);
	return code;
}

/* A caller may have closed 0, 1 or 2; nothing we open must be taken for them. */
static void keep_low_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* A staged slice that does not fit into memory has a file open until its commit.  The soft limit is for programs that select(). */
static void raise_files(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
}

int bw_mount_main(const char *name, int argc, char **argv)
{
	struct ask a = {.name = name, .passed = -1};

	keep_low_descriptors();
	bw_notify_open(&a.manager);
	bw_mount_options_default(&a.options);
	int code = parse(&a, argc, argv);

	if (code >= 0)
		return code;
	if (a.fake)
		return 0;
	raise_files();
	bw_heap_tune(a.options.memory ? a.options.memory : bw_memory_default());
	if (a.options.foreground) {
		code = run_foreground(&a);
		bw_notify_close(&a.manager);
		return code;
	}
	/* Who forks says by its exit that the mount answers. */
	bw_notify_close(&a.manager);
	code = run_background(&a);
	if (code == 0 && a.verbose)
		printf("%s: mounted %s on %s\n", a.name, a.url, a.real_dir);
	return code;
}
