/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/closer.h"

#include "fs/descriptors.h"
#include "store/base/clock.h"
#include "store/base/workq.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define JUDGE_THREADS 6
#define HANG_FIRST_NS (40 * BW_MS)	/* a look that takes longer is asked whether it hangs */
#define HANG_AGAIN_NS (10 * BW_MS)
#define ASLEEP_TRIES 100	/* each of a tenth of a millisecond */
#define SEEN_N 64		/* threads whose process is remembered */
#define TABLES_KEPT_NS (10 * BW_SEC)

/* include/linux/sched.h; shown by /proc/PID/stat for as long as that file exists */
#define PF_EXITING_BIT 0x4u
#define PF_SIGNALED_BIT 0x400u

struct bw_closer {
	struct bw_workq *judges;	/* may hang in /proc for as long as a judgement may last */
	struct bw_workq *timer;
	struct bw_descriptors *descriptors;
	unsigned here_most;
	atomic_uint here;		/* judgements that the threads make that ask for them */
	/* By thread: it (low half) and its process, when it was looked up last. */
	atomic_uint_fast64_t seen[SEEN_N];
};

struct judgement {
	struct bw_task look, bound;
	struct bw_closer *closer;
	pid_t looker;		/* the thread that looks */
	long switches;		/* how often it had gone to sleep when it was seen asleep; -1: never seen so */
	atomic_bool hung;
	pid_t pid, opener, writer;
	void (*done)(void *ctx, enum bw_closer_verdict verdict, bool final);
	void *ctx;
	uint64_t ino;
	char name[NAME_MAX + 1];
};

static ssize_t read_path(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	ssize_t n = read(fd, buf, len - 1);

	close(fd);
	buf[n > 0 ? n : 0] = 0;
	return n;
}

static ssize_t read_proc(pid_t pid, const char *file, char *buf, size_t len)
{
	char path[96];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	return read_path(path, buf, len);
}

/* ---- Which process a thread is of ------------------------------------------------------------- */

/* The sure way, and the long one: the kernel writes sixty lines for the one that is wanted. */
static pid_t read_tgid(pid_t pid)
{
	char buf[512];

	if (pid <= 0 || read_proc(pid, "status", buf, sizeof(buf)) <= 0)
		return 0;
	const char *at = strstr(buf, "\nTgid:");

	return at ? (pid_t)strtol(at + 6, NULL, 10) : 0;
}

/* Whether pid is a thread of process tgid now.  No signal is sent; that we may not send one is said of those only that are. */
static bool is_thread_of(pid_t pid, pid_t tgid)
{
	return tgid > 0 && (tgkill(tgid, pid, 0) == 0 || errno != ESRCH);
}

pid_t bw_closer_tgid(struct bw_closer *c, pid_t pid)
{
	if (pid <= 0)
		return 0;
	atomic_uint_fast64_t *slot = &c->seen[(unsigned)pid % SEEN_N];
	uint64_t seen = atomic_load_explicit(slot, memory_order_relaxed);
	pid_t tgid = (uint32_t)seen == (uint32_t)pid ? (pid_t)(seen >> 32) : pid;

	if (is_thread_of(pid, tgid))
		return tgid;
	tgid = read_tgid(pid);
	atomic_store_explicit(slot, (uint64_t)(uint32_t)tgid << 32 | (uint32_t)pid, memory_order_relaxed);
	return tgid;
}

/* ---- Looks ------------------------------------------------------------------------------------ */

struct sight {
	bool runs;		/* field 3 of stat */
	unsigned flags;		/* field 9 */
	bool permitted;		/* field 35: that it sleeps; like the exit code only told whom the kernel permits to see it */
	int exit_code;		/* field 52 */
};

static void parse_stat(char *text, struct sight *ret)
{
	char *at = strrchr(text, ')');	/* the name before it may hold anything */

	*ret = (struct sight){0};
	for (int field = 2; at && field <= 52; field++) {
		if (field == 3)
			ret->runs = at[1] == 'R';
		if (field == 9)
			ret->flags = (unsigned)strtoul(at, NULL, 10);
		if (field == 35)
			ret->permitted = strtoull(at, NULL, 10) != 0;
		if (field == 52)
			ret->exit_code = (int)strtol(at, NULL, 10);
		at = strchr(at + 1, ' ');
	}
}

/*
 * Looks at thread pid, and whether it is one of process tgid.  -ENOENT: it cannot be seen.
 */
static int see_thread(pid_t pid, pid_t tgid, bool *ret_own, struct sight *ret)
{
	char path[64], text[2048];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)tgid, (int)pid);
	*ret_own = is_thread_of(pid, tgid) && read_path(path, text, sizeof(text)) > 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)pid);
	if (!*ret_own && read_path(path, text, sizeof(text)) <= 0)
		return -ENOENT;
	parse_stat(text, ret);
	return 0;
}

/* The same; of one that may have been killed once it sleeps, as who waits for the answer to a close soon does. */
static int see_settled(pid_t pid, pid_t tgid, bool *ret_own, struct sight *ret)
{
	const struct timespec nap = {.tv_nsec = 100 * 1000};
	int err = see_thread(pid, tgid, ret_own, ret);

	for (int i = 0; !err && ret->runs && (ret->flags & PF_SIGNALED_BIT) && i < ASLEEP_TRIES; i++) {
		nanosleep(&nap, NULL);
		err = see_thread(pid, tgid, ret_own, ret);
	}
	return err;
}

/*
 * Threads that exit_group() sweeps away carry the signalled flag too; the exit code tells them from
 * the killed.  Whoever may not see it (it reads 0) believes the flag.  Kernels before 5.16 do not say to whom they show it:
 * there root is believed to see all, unless something was hidden from it.
 */
static bool is_killed(const struct sight *s, bool hidden)
{
	bool shown = s->permitted || (geteuid() == 0 && !hidden);

	if (!(s->flags & PF_SIGNALED_BIT))
		return false;
	return !shown || !(s->flags & PF_EXITING_BIT) || (s->exit_code & 0x7f);
}

static enum bw_closer_verdict look_at(const struct judgement *j)
{
	struct sight s;
	bool own, hidden = false;

	if (!j->opener)
		return BW_CLOSER_UNKNOWN;
	if (is_thread_of(j->pid, j->opener)) {
		switch (bw_descriptors_look(j->closer->descriptors, j->opener, j->pid, j->name, j->ino)) {
		case BW_DESCRIPTORS_WRITER:
			return BW_CLOSER_DEFER;
		case BW_DESCRIPTORS_HIDDEN:
			hidden = true;	/* or it exits: what has given up its memory is root's in /proc; it has no table either */
			break;
		case BW_DESCRIPTORS_OTHERS:
			return BW_CLOSER_OWN;
		case BW_DESCRIPTORS_NONE:
			break;	/* it exits; or it has no other file open */
		}
	}
	if (see_settled(j->pid, j->opener, &own, &s) || (hidden && !(s.flags & PF_EXITING_BIT)))
		return BW_CLOSER_UNKNOWN;
	if (is_killed(&s, hidden))
		return own ? BW_CLOSER_KILLED_OWN : BW_CLOSER_KILLED_OTHER;
	return own ? BW_CLOSER_OWN : BW_CLOSER_DEFER;
}

enum writes { WRITES_NOT, WRITES_ON, HAS_ENDED };

/* Of one that cannot be looked at nobody knows, and the release is never wrong. */
static enum writes thread_writes(const struct judgement *j, pid_t tid)
{
	struct sight s;
	bool own;

	switch (bw_descriptors_look(j->closer->descriptors, j->writer, tid, j->name, j->ino)) {
	case BW_DESCRIPTORS_WRITER:
		return WRITES_ON;
	case BW_DESCRIPTORS_HIDDEN:
		return see_thread(tid, j->writer, &own, &s) || !(s.flags & PF_EXITING_BIT) ? WRITES_ON : HAS_ENDED;
	case BW_DESCRIPTORS_OTHERS:
		return WRITES_NOT;
	case BW_DESCRIPTORS_NONE:
		break;
	}
	return HAS_ENDED;
}

/* Whether the other process that wrote may go on to do so: its first thread that has not ended has the descriptors of all. */
static bool is_written_on(const struct judgement *j)
{
	enum writes writes = HAS_ENDED;
	const struct dirent *e;
	char path[32];

	if (!j->writer || j->writer == j->opener)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)j->writer);
	DIR *threads = opendir(path);

	if (!threads)
		return errno != ENOENT && errno != ESRCH;
	while (writes == HAS_ENDED && (e = readdir(threads)))
		if (e->d_name[0] != '.')
			writes = thread_writes(j, (pid_t)strtol(e->d_name, NULL, 10));
	closedir(threads);
	return writes == WRITES_ON;
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
	struct judgement *j = bw_container_of(task, struct judgement, bound);

	if (!is_hung(j)) {
		bw_workq_push_at(j->closer->timer, &j->bound, bw_now() + HANG_AGAIN_NS);
		return;		/* the look may be over and j gone */
	}
	j->done(j->ctx, BW_CLOSER_DEFER, false);
	atomic_store(&j->hung, true);
}

static void run_look(struct bw_task *task)
{
	struct judgement *j = bw_container_of(task, struct judgement, look);

	j->looker = gettid();
	bw_workq_push_at(j->closer->timer, &j->bound, bw_now() + HANG_FIRST_NS);
	enum bw_closer_verdict verdict = look_at(j);

	if (verdict == BW_CLOSER_OWN && is_written_on(j))
		verdict = BW_CLOSER_DEFER;
	while (!bw_workq_cancel(j->closer->timer, &j->bound) && !atomic_load(&j->hung))
		sched_yield();	/* it is running this moment */
	/* Only an exec makes a look hang, and who dies of a signal does not get to exec: one that went on
	 * and ended before it could be seen again has closed in order. */
	if (verdict == BW_CLOSER_UNKNOWN && atomic_load(&j->hung))
		verdict = BW_CLOSER_DEFER;
	j->done(j->ctx, verdict, true);
	free(j);
}

bool bw_closer_judge(struct bw_closer *c, pid_t pid, pid_t opener, pid_t writer, const char *name, uint64_t ino,
		     void (*done)(void *ctx, enum bw_closer_verdict verdict, bool final),
		     void *ctx)
{
	struct judgement *j = calloc(1, sizeof(*j));

	if (!j)
		return false;
	j->closer = c;
	j->pid = pid;
	j->opener = opener;
	j->writer = writer;
	j->done = done;
	j->ctx = ctx;
	j->ino = ino;
	j->switches = -1;
	snprintf(j->name, sizeof(j->name), "%s", name);
	j->look.run = run_look;
	j->bound.run = run_bound;
	bool here = atomic_fetch_add(&c->here, 1) < c->here_most;

	if (here)
		run_look(&j->look);
	atomic_fetch_sub(&c->here, 1);
	if (!here)
		bw_workq_push(c->judges, &j->look);
	return true;
}

int bw_closer_new(unsigned here_most, struct bw_closer **ret)
{
	struct bw_closer *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->here_most = here_most;
	int err = bw_workq_new("bw-judge", JUDGE_THREADS, &c->judges);

	if (!err)
		err = bw_workq_new("bw-judge-t", 1, &c->timer);
	if (!err)
		err = bw_descriptors_new(c->timer, TABLES_KEPT_NS, &c->descriptors);
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
	bw_descriptors_free(c->descriptors);
	free(c);
}
