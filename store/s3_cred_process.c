/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_cred_process.h"

#include "store/base/clock.h"
#include "store/s3_cred_answer.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define OUT_MAX (64u << 10)
#define ERR_MAX 1024u		/* of stderr; the rest is read and dropped */
#define LIMIT_NS (60 * BW_SEC)

struct pipe_end {
	int fd;			/* -1: ended */
	char *bytes;
	size_t len, max;
	bool overflow;
};

struct child {
	pid_t pid;
	struct pipe_end out, err;
	bool ended;
	int status;
};

/* Above the standard three, which a daemon may have closed: they are set up one by one in the child. */
static int above_stdio(int fd)
{
	if (fd < 0 || fd > 2)
		return fd;
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	close(fd);
	return moved;
}

static int make_pipe(int ret[2])
{
	if (pipe2(ret, O_CLOEXEC) != 0)
		return -errno;
	ret[0] = above_stdio(ret[0]);
	ret[1] = above_stdio(ret[1]);
	if (ret[0] >= 0 && ret[1] >= 0 && fcntl(ret[0], F_SETFL, O_NONBLOCK) == 0)
		return 0;
	close(ret[0]);
	close(ret[1]);
	ret[0] = ret[1] = -1;
	return -EMFILE;
}

/* The chain's thread blocks every signal and the daemon ignores some: the child starts as a shell's would. */
static void set_signals(posix_spawnattr_t *attr)
{
	sigset_t none, defaults;

	sigemptyset(&none);
	sigemptyset(&defaults);
	for (int s = 1; s < SIGRTMIN; s++) {
		if (s != SIGKILL && s != SIGSTOP)
			sigaddset(&defaults, s);
	}
	posix_spawnattr_setsigmask(attr, &none);
	posix_spawnattr_setsigdefault(attr, &defaults);
	posix_spawnattr_setpgroup(attr, 0);
	posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
				 POSIX_SPAWN_SETPGROUP);
}

/* A daemon raises its soft limit of open files; a program that uses select(), or closes all there may be, wants a login's. */
static const char with_few_files[] = "ulimit -S -n 1024 2>/dev/null; exec sh -c \"$1\"";

static int spawn(const char *command, int out, int err, pid_t *ret)
{
	char *argv[] = {(char *)(uintptr_t)"sh", (char *)(uintptr_t)"-c", (char *)(uintptr_t)with_few_files,
			(char *)(uintptr_t)"sh", (char *)(uintptr_t)command, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;

	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	set_signals(&attr);
	int failed = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	if (!failed)
		failed = posix_spawn_file_actions_adddup2(&files, out, 1);
	if (!failed)
		failed = posix_spawn_file_actions_adddup2(&files, err, 2);
	if (!failed)	/* libraries may have opened some without close-on-exec */
		failed = posix_spawn_file_actions_addclosefrom_np(&files, 3);
	if (!failed)
		failed = posix_spawn(ret, "/bin/sh", &files, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return -failed;
}

static int start(struct child *c, const char *command)
{
	int out[2] = {-1, -1}, err[2] = {-1, -1};
	int failed = make_pipe(out);

	if (!failed)
		failed = make_pipe(err);
	if (!failed)
		failed = spawn(command, out[1], err[1], &c->pid);
	if (out[1] >= 0)
		close(out[1]);
	if (err[1] >= 0)
		close(err[1]);
	c->out.fd = out[0];
	c->err.fd = err[0];
	return failed;
}

/* Takes what is there; what is beyond max is dropped. */
static void drain(struct pipe_end *e)
{
	char rest[512];

	while (e->fd >= 0) {
		bool full = e->len == e->max;
		ssize_t n = read(e->fd, full ? rest : e->bytes + e->len, full ? sizeof(rest) : e->max - e->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			close(e->fd);
			e->fd = -1;
		} else if (full) {
			e->overflow = true;
			break;		/* one that never stops must not keep us here */
		} else {
			e->len += (size_t)n;
		}
	}
	explicit_bzero(rest, sizeof(rest));
}

static void reap(struct child *c, int flags)
{
	pid_t got;

	do
		got = waitpid(c->pid, &c->status, flags);
	while (got < 0 && errno == EINTR);
	/* Where the daemon ignores SIGCHLD there is no status: then what was printed has to speak. */
	if (got < 0)
		c->status = 0;
	c->ended = got != 0;
}

/*
 * Until it has ended, was stopped, printed too much or is late.  Its end is looked for as well as that of its
 * output, which something in its background may hold open.
 */
static int watch(struct bw_cred_job *job, struct child *c)
{
	int64_t late = bw_now() + LIMIT_NS;

	while (!c->ended && !c->out.overflow && bw_now() < late) {
		bool open = c->out.fd >= 0;
		struct pollfd fds[] = {
			{.fd = job->stop_fd, .events = POLLIN},
			{.fd = c->out.fd, .events = POLLIN},
			{.fd = c->err.fd, .events = POLLIN},
		};

		if (poll(fds, 3, open ? 100 : 5) < 0 && errno != EINTR)
			return -ENOMEM;
		if (fds[0].revents)
			return -BW_E_STOPPING;
		reap(c, WNOHANG);	/* first, so that all it wrote is in the pipes */
		drain(&c->out);
		drain(&c->err);
	}
	return 0;
}

static void finish(struct child *c)
{
	if (!c->ended) {
		kill(-c->pid, SIGKILL);
		reap(c, 0);
	}
}

/* Quoting its first line may help, but never with a secret in it. */
static void log_stderr(struct bw_cred_job *job, struct child *c, const struct bw_creds *out, bool failed)
{
	char *line = c->err.bytes;

	line[c->err.len] = 0;
	line[strcspn(line, "\r\n")] = 0;
	if (!*line)
		return;
	if ((*out->secret && strstr(line, out->secret)) || (*out->token && strstr(line, out->token)) ||
	    strstr(line, "SecretAccessKey"))
		snprintf(line, ERR_MAX, "(a line that holds a secret)");
	bw_log(job->log, failed ? BW_LOG_WARN : BW_LOG_INFO, "credential_process", "stderr=\"%.300s\"", bw_log_value(line));
}

static int read_answer(struct bw_cred_job *job, const char *where, const struct child *c,
		       struct bw_creds *out)
{
	bw_auto_cred_answer struct bw_cred_answer *a = bw_secret_new(sizeof(*a));

	if (!a)
		return -ENOMEM;
	if (bw_cred_answer_json(c->out.bytes, c->out.len, "SessionToken", a) < 0)
		return bw_cred_fail(job, "%s printed something else than a JSON object of credentials: run it by hand"
				    " and correct it", where);
	if (strcmp(a->version, "1") != 0)
		return bw_cred_fail(job, "%s printed Version %.15s, and only 1 is known: correct it", where,
				    a->version[0] ? a->version : "(none)");
	return bw_cred_answer_take(job, where, a, out);
}

static int judge(struct bw_cred_job *job, const char *where, const struct child *c, struct bw_creds *out)
{
	if (c->out.overflow)
		return bw_cred_fail(job, "%s printed more than 64 KiB and was killed: correct it", where);
	if (!c->ended)
		return bw_cred_fail(job, "%s did not end within 60 s and was killed: correct it", where);
	if (WIFSIGNALED(c->status))
		return bw_cred_fail(job, "%s was killed by signal %d: run it by hand and correct it", where,
				    WTERMSIG(c->status));
	if (WEXITSTATUS(c->status) != 0)
		return bw_cred_fail(job, "%s ended with exit code %d: run it by hand and correct it", where,
				    WEXITSTATUS(c->status));
	return read_answer(job, where, c, out);
}

static int run(struct bw_cred_job *job, const char *where, const char *command, char *memory,
	       struct bw_creds *out)
{
	struct child c = {.out = {.fd = -1, .bytes = memory, .max = OUT_MAX},
			  .err = {.fd = -1, .bytes = memory + OUT_MAX, .max = ERR_MAX - 1}};
	char text[64];
	int got = start(&c, command);

	if (!got)
		got = watch(job, &c);
	else
		got = bw_cred_fail(job, "%s cannot be started (%s): free what this machine is short of", where,
				   bw_err_text(got, text, sizeof(text)));
	if (c.pid) {
		if (!got)
			got = judge(job, where, &c, out);
		finish(&c);
	}
	log_stderr(job, &c, out, got < 0);
	if (c.out.fd >= 0)
		close(c.out.fd);
	if (c.err.fd >= 0)
		close(c.err.fd);
	return got;
}

int bw_cred_process(struct bw_cred_job *job, const char *where, const char *command, struct bw_creds *out)
{
	char *memory = bw_secret_new(OUT_MAX + ERR_MAX);

	if (!memory)
		return -ENOMEM;
	int got = run(job, where, command, memory, out);

	bw_secret_free(memory, OUT_MAX + ERR_MAX);
	return got;
}
