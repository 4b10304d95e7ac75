/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/bench_mount.h"

#include "store/base/clock.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FUSE_MAGIC 0x65735546
#define GLANCE_NS (2 * BW_MS)
#define STOP_NS (12 * BW_SEC) /* then it is killed: the stream goes too */
#define METRICS_MAX ((size_t)256 << 10)

static int path_in(char path[PATH_MAX], const char *dir, const char *name)
{
	int n = snprintf(path, PATH_MAX, "%s/%s", dir, name);

	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* ---- Starting ------------------------------------------------------------------------------------ */

/* Between fork and exec: nothing but system calls. */
static void become_daemon(pid_t parent, int log, const char *const argv[])
{
	sigset_t none;

	setsid();
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(1);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv("/proc/self/exe", (char *const *)argv); /* which does not write to them */
	_exit(127);
}

static int spawn(struct bw_bench_mount *m, const char *url, const char *options)
{
	char *list = NULL;

	if (asprintf(&list, "foreground,loglevel=warn%s%s", *options ? "," : "", options) < 0)
		return -ENOMEM;
	int log = open(m->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	int err = log < 0 ? -errno : 0;
	const char *const argv[] = {"batchweave", "mount", url, m->dir, "-o", list, NULL};
	pid_t me = getpid();

	if (!err) {
		fflush(NULL);
		m->pid = fork();
		if (m->pid == 0)
			become_daemon(me, log, argv);
		err = m->pid < 0 ? -errno : 0;
	}
	if (log >= 0)
		close(log);
	free(list);
	m->own = !err;
	return err;
}

static bool is_ready(const struct bw_bench_mount *m)
{
	char path[PATH_MAX];
	struct statfs fs;
	struct stat st;

	return statfs(m->dir, &fs) == 0 && fs.f_type == FUSE_MAGIC && path_in(path, m->dir, "status") == 0 &&
	       stat(path, &st) == 0;
}

bool bw_bench_mount_is_dead(struct bw_bench_mount *m)
{
	siginfo_t info = {.si_pid = 0};

	/* It stays to be waited for. */
	return m->own && waitid(P_PID, (id_t)m->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid;
}

static void say_failed(const struct bw_bench_mount *m, char *why, size_t why_len)
{
	bw_bench_mount_last_words(m, why, why_len);
	if (!*why)
		snprintf(why, why_len, "the daemon of the mount ended before it was ready");
}

int bw_bench_mount_start(struct bw_bench_mount *m, const char *url, const char *dir, const char *options,
			 bool (*go_on)(void *ctx), void *ctx, char *why, size_t why_len)
{
	*m = (struct bw_bench_mount){.pid = 0};
	snprintf(m->dir, sizeof(m->dir), "%s", dir);
	int n = snprintf(m->log, sizeof(m->log), "%s.log", dir);
	int err = n < 0 || (size_t)n >= sizeof(m->log) ? -ENAMETOOLONG : 0;

	if (!err && mkdir(dir, 0700) < 0)
		err = -errno;
	if (!err)
		err = spawn(m, url, options);
	while (!err && !is_ready(m)) {
		if (bw_bench_mount_is_dead(m))
			err = -EIO;
		else if (!go_on(ctx))
			err = -ECANCELED;
		else
			bw_sleep(GLANCE_NS);
	}
	if (err == -EIO)
		say_failed(m, why, why_len);
	else if (err)
		snprintf(why, why_len, "cannot mount on %s: %s", dir, strerrordesc_np(-err));
	if (err)
		bw_bench_mount_stop(m);
	return err;
}

/* ---- Ending -------------------------------------------------------------------------------------- */

/* Of a mount whose daemon is dead, or stuck. */
static void detach(const char *dir)
{
	int status;

	if (umount2(dir, MNT_DETACH) == 0 || errno != EPERM)
		return;
	pid_t pid = fork();

	if (pid == 0) {
		execlp("fusermount3", "fusermount3", "-u", "-z", "-q", "--", dir, (char *)NULL);
		_exit(127);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
}

void bw_bench_mount_kill(struct bw_bench_mount *m)
{
	if (m->own)
		kill(m->pid, SIGKILL);
}

static int wait_for_end(struct bw_bench_mount *m)
{
	int64_t deadline = bw_now() + STOP_NS;
	int status = 0;

	while (!bw_bench_mount_is_dead(m)) {
		if (bw_now() > deadline) {
			kill(m->pid, SIGKILL);
			deadline = BW_NEVER;
		}
		bw_sleep(GLANCE_NS);
	}
	waitpid(m->pid, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

int bw_bench_mount_stop(struct bw_bench_mount *m)
{
	int bad = 0;

	if (!m->own && !*m->log)
		return 0;
	if (m->own) {
		bad = bw_bench_mount_is_dead(m);
		kill(m->pid, SIGTERM);
		bad |= wait_for_end(m);
	}
	if (bad)
		detach(m->dir);
	unlink(m->log);
	rmdir(m->dir);
	*m = (struct bw_bench_mount){.pid = 0};
	return bad;
}

/* ---- Asking -------------------------------------------------------------------------------------- */

static ssize_t read_file(const char *path, off_t from, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t got = 0;
	ssize_t n = fd < 0 ? -1 : lseek(fd, from, SEEK_SET) < 0 ? -1 : 1;

	while (n > 0 && got < len - 1) {
		n = read(fd, buf + got, len - 1 - got);
		got += n > 0 ? (size_t)n : 0;
	}
	n = n < 0 ? -errno : (ssize_t)got;
	buf[n < 0 ? 0 : got] = 0;
	if (fd >= 0)
		close(fd);
	return n;
}

ssize_t bw_bench_mount_status(const struct bw_bench_mount *m, const char *name, char *buf, size_t len)
{
	char path[PATH_MAX], below[64];

	snprintf(below, sizeof(below), "status/%s", name);
	int err = path_in(path, m->dir, below);

	return err ? err : read_file(path, 0, buf, len);
}

int bw_bench_mount_counts(const struct bw_bench_mount *m, struct bw_counts *ret)
{
	char *text = malloc(METRICS_MAX);

	if (!text)
		return -ENOMEM;
	ssize_t n = bw_bench_mount_status(m, "metrics", text, METRICS_MAX);
	int err = n < 0 ? (int)n : bw_counts_parse(text, (size_t)n, ret);

	free(text);
	return err;
}

int bw_bench_mount_cpu(const struct bw_bench_mount *m, int64_t *ret_ns)
{
	struct timespec t;
	clockid_t clock;

	/* All threads, those that have ended too, and not rounded to ticks as /proc/PID/stat is. */
	if (!m->pid || clock_getcpuclockid(m->pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
		return -ESRCH;
	*ret_ns = t.tv_sec * BW_SEC + t.tv_nsec;
	return 0;
}

void bw_bench_mount_last_words(const struct bw_bench_mount *m, char *text, size_t len)
{
	char tail[4096];
	struct stat st;

	*text = 0;
	if (!*m->log || stat(m->log, &st) < 0)
		return;
	off_t from = st.st_size > (off_t)sizeof(tail) - 1 ? st.st_size - (off_t)sizeof(tail) + 1 : 0;
	ssize_t n = read_file(m->log, from, tail, sizeof(tail));

	while (n > 0 && tail[n - 1] == '\n')
		tail[--n] = 0;
	if (n <= 0)
		return;
	const char *line = strrchr(tail, '\n');

	line = line ? line + 1 : tail;
	/* How mount.batchweave begins its sentences. */
	static const char name[] = "batchweave mount: ";

	snprintf(text, len, "%s", strncmp(line, name, sizeof(name) - 1) ? line : line + sizeof(name) - 1);
}
