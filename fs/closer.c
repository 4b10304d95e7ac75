/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/closer.h"

#include "store/base/clock.h"
#include "store/base/workq.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JUDGE_THREADS 6
#define HANG_FIRST_NS (40 * BW_MS)	/* a look that takes longer is asked whether it hangs */
#define HANG_AGAIN_NS (10 * BW_MS)

/* include/linux/sched.h; shown by /proc/PID/stat for as long as that file exists */
#define PF_EXITING_BIT 0x4u
#define PF_SIGNALED_BIT 0x400u

struct bw_closer {
	struct bw_workq *judges;	/* may hang in /proc for as long as a judgement may last */
	struct bw_workq *timer;
};

struct judgement {
	struct bw_task look, bound;
	struct bw_closer *closer;
	pid_t looker;		/* the thread that looks */
	long switches;		/* how often it had gone to sleep when it was seen asleep; -1: never seen so */
	atomic_bool hung;
	pid_t pid, opener;
	void (*done)(void *ctx, enum bw_closer_verdict verdict, bool final);
	void *ctx;
	uint64_t ino;
	char name[NAME_MAX + 1];
};

static ssize_t read_proc(pid_t pid, const char *file, char *buf, size_t len)
{
	char path[96];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, buf, len - 1);

	close(fd);
	buf[n > 0 ? n : 0] = 0;
	return n;
}

pid_t bw_closer_tgid(pid_t pid)
{
	char buf[512];

	if (pid <= 0 || read_proc(pid, "status", buf, sizeof(buf)) <= 0)
		return 0;
	const char *at = strstr(buf, "\nTgid:");

	return at ? (pid_t)strtol(at + 6, NULL, 10) : 0;
}

/* Flags (field 9) and exit_code (field 52) of one thread. */
static int read_stat(pid_t pid, unsigned *ret_flags, int *ret_exit_code)
{
	char buf[2048];

	if (read_proc(pid, "stat", buf, sizeof(buf)) <= 0)
		return -ENOENT;
	char *at = strrchr(buf, ')');	/* the name before it may hold anything */

	*ret_flags = 0;
	*ret_exit_code = 0;
	for (int field = 2; at && field <= 52; field++) {
		if (field == 9)
			*ret_flags = (unsigned)strtoul(at, NULL, 10);
		if (field == 52)
			*ret_exit_code = (int)strtol(at, NULL, 10);
		at = strchr(at + 1, ' ');
	}
	return 0;
}

/*
 * Threads that exit_group() sweeps away carry the signalled flag too; the exit code tells them from
 * the killed.  Whoever may not see it (it reads 0) believes the flag.
 */
static bool is_killed(unsigned flags, int exit_code)
{
	if (!(flags & PF_SIGNALED_BIT))
		return false;
	if (geteuid() == 0 && (flags & PF_EXITING_BIT))
		return exit_code & 0x7f;
	return true;
}

/* Is descriptor number fd of tgid a writable one of inode ino?  Reading fdinfo asks no filesystem. */
static bool is_writer_of(pid_t tgid, const char *fd, uint64_t ino)
{
	char file[48], text[1024];

	snprintf(file, sizeof(file), "fdinfo/%.32s", fd);
	if (read_proc(tgid, file, text, sizeof(text)) <= 0)
		return false;
	const char *at_ino = strstr(text, "\nino:"), *at_flags = strstr(text, "\nflags:");

	return at_ino && at_flags && strtoull(at_ino + 5, NULL, 10) == ino &&
	       (strtoul(at_flags + 7, NULL, 8) & O_ACCMODE) != O_RDONLY;
}

/*
 * Does process tgid hold another writable descriptor of the file?  The one being closed has left its
 * table already.  The name alone does not tell (bind mounts show other paths), the inode number alone
 * might be another filesystem's.
 */
static bool holds_another(pid_t tgid, const char *name, uint64_t ino, bool *ret_hidden)
{
	char dir[64], target[PATH_MAX];
	size_t len = strlen(name);
	bool found = false;

	snprintf(dir, sizeof(dir), "/proc/%d/fd", (int)tgid);
	DIR *d = opendir(dir);
	*ret_hidden = !d && (errno == EACCES || errno == EPERM);
	if (!d)
		return false;	/* hidden from us; or its table is gone: it exits */
	for (struct dirent *e; !found && (e = readdir(d));) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target));
		found = n > (ssize_t)len && target[n - (ssize_t)len - 1] == '/' &&
			memcmp(target + n - len, name, len) == 0 && is_writer_of(tgid, e->d_name, ino);
	}
	closedir(d);
	return found;
}

static enum bw_closer_verdict look_at(const struct judgement *j)
{
	pid_t tgid = bw_closer_tgid(j->pid);
	unsigned flags;
	int exit_code;

	if (!tgid || !j->opener)
		return BW_CLOSER_UNKNOWN;
	bool own = tgid == j->opener;

	bool hidden = false;

	if (own && holds_another(tgid, j->name, j->ino, &hidden))
		return BW_CLOSER_DEFER;
	if (hidden)
		return BW_CLOSER_UNKNOWN;
	if (read_stat(j->pid, &flags, &exit_code))
		return BW_CLOSER_UNKNOWN;
	if (is_killed(flags, exit_code))
		return own ? BW_CLOSER_KILLED_OWN : BW_CLOSER_KILLED_OTHER;
	return own ? BW_CLOSER_OWN : BW_CLOSER_DEFER;
}

/*
 * Does the look hang?  Asleep in two samples and never awake between them: yes.  A thread that merely
 * waits for a processor is not asleep, so a busy machine looks for longer and judges no worse.
 */
static bool is_hung(struct judgement *j)
{
	char file[32], text[4096];
	long before = j->switches;

	snprintf(file, sizeof(file), "task/%d/status", (int)j->looker);
	if (read_proc(getpid(), file, text, sizeof(text)) <= 0)
		return true;
	const char *state = strstr(text, "\nState:\t");
	const char *switches = strstr(text, "\nvoluntary_ctxt_switches:\t");

	if (!state || !switches)
		return true;
	bool asleep = strchr("SD", state[8]);

	j->switches = asleep ? strtol(switches + 26, NULL, 10) : -1;
	return asleep && j->switches == before;
}

static void run_bound(struct bw_task *task)
{
	struct judgement *j = (struct judgement *)((char *)task - offsetof(struct judgement, bound));

	if (!is_hung(j)) {
		bw_workq_push_at(j->closer->timer, &j->bound, bw_now() + HANG_AGAIN_NS);
		return;		/* the look may be over and j gone */
	}
	j->done(j->ctx, BW_CLOSER_DEFER, false);
	atomic_store(&j->hung, true);
}

static void run_look(struct bw_task *task)
{
	struct judgement *j = (struct judgement *)((char *)task - offsetof(struct judgement, look));

	j->looker = gettid();
	bw_workq_push_at(j->closer->timer, &j->bound, bw_now() + HANG_FIRST_NS);
	enum bw_closer_verdict verdict = look_at(j);

	while (!bw_workq_cancel(j->closer->timer, &j->bound) && !atomic_load(&j->hung))
		sched_yield();	/* it is running this moment */
	/* Only an exec makes a look hang, and who dies of a signal does not get to exec: one that went on
	 * and ended before it could be seen again has closed in order. */
	if (verdict == BW_CLOSER_UNKNOWN && atomic_load(&j->hung))
		verdict = BW_CLOSER_DEFER;
	j->done(j->ctx, verdict, true);
	free(j);
}

bool bw_closer_judge(struct bw_closer *c, pid_t pid, pid_t opener, const char *name, uint64_t ino,
		     void (*done)(void *ctx, enum bw_closer_verdict verdict, bool final),
		     void *ctx)
{
	struct judgement *j = calloc(1, sizeof(*j));

	if (!j)
		return false;
	j->closer = c;
	j->pid = pid;
	j->opener = opener;
	j->done = done;
	j->ctx = ctx;
	j->ino = ino;
	j->switches = -1;
	snprintf(j->name, sizeof(j->name), "%s", name);
	j->look.run = run_look;
	j->bound.run = run_bound;
	bw_workq_push(c->judges, &j->look);
	return true;
}

int bw_closer_new(struct bw_closer **ret)
{
	struct bw_closer *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	int err = bw_workq_new("bw-judge", JUDGE_THREADS, &c->judges);

	if (!err)
		err = bw_workq_new("bw-judge-t", 1, &c->timer);
	if (err) {
		bw_closer_free(c);
		return err;
	}
	*ret = c;
	return 0;
}

void bw_closer_free(struct bw_closer *c)
{
	if (!c)
		return;
	bw_workq_free(c->judges);	/* the timer still answers what hangs, so they come back */
	bw_workq_free(c->timer);
	free(c);
}
