/* SPDX-License-Identifier: Apache-2.0 */
/* P3, P3k: whose close it is.  What only a dying process or an exec shows is in tests/mount/test_{close,killed}.py. */
#include "fs/closer.h"

#include "store/base/sync.h"
#include "tests/support/tmpdir.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534
#define CHILDREN 70	/* more than numbers that are remembered side by side */

/* A thread that is there until it is told to go. */
struct stayer {
	pthread_t thread;
	struct bw_mutex lock;
	struct bw_cond changed;
	pid_t tid;
	bool go;
};

static void *stay(void *arg)
{
	struct stayer *s = arg;

	BW_LOCK_SCOPE(&s->lock);
	s->tid = gettid();
	bw_cond_broadcast(&s->changed);
	while (!s->go)
		bw_cond_wait(&s->changed, &s->lock);
	return NULL;
}

static pid_t stayer_start(struct stayer *s)
{
	*s = (struct stayer){.tid = 0};
	bw_mutex_init(&s->lock, BW_RANK_LEAF);
	bw_cond_init(&s->changed);
	cr_assert_eq(bw_thread_start(&s->thread, "stay", stay, s), 0);
	BW_LOCK_SCOPE(&s->lock);
	while (!s->tid)
		bw_cond_wait(&s->changed, &s->lock);
	return s->tid;
}

static void stayer_end(struct stayer *s)
{
	bw_lock(&s->lock);
	s->go = true;
	bw_cond_broadcast(&s->changed);
	bw_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	bw_cond_done(&s->changed);
	bw_mutex_done(&s->lock);
}

static pid_t child_start(void)
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);	/* of a test that has failed, nothing stays */
		pause();
		_exit(0);
	}
	return pid;
}

static void child_end(pid_t pid)
{
	kill(pid, SIGKILL);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

/* ---- Which process ---------------------------------------------------------------------------- */

Test(closer, P3_a_thread_is_of_its_process)
{
	struct bw_closer *c;
	struct stayer s;
	pid_t children[CHILDREN];

	cr_assert_eq(bw_closer_new(1, &c), 0);
	pid_t tid = stayer_start(&s);

	for (int i = 0; i < CHILDREN; i++)
		children[i] = child_start();
	for (int round = 0; round < 3; round++) {
		cr_assert_eq(bw_closer_tgid(c, getpid()), getpid());
		cr_assert_eq(bw_closer_tgid(c, tid), getpid());
		for (int i = 0; i < CHILDREN; i++)
			cr_assert_eq(bw_closer_tgid(c, children[i]), children[i]);
	}
	stayer_end(&s);
	for (int i = 0; i < CHILDREN; i++)
		child_end(children[i]);
	bw_closer_free(c);
}

/* Nothing is remembered of those who have gone: the number may be another's by then. */
Test(closer, P3_who_has_gone_is_nobody)
{
	struct bw_closer *c;
	struct stayer s;

	cr_assert_eq(bw_closer_new(1, &c), 0);
	pid_t tid = stayer_start(&s), child = child_start();

	cr_assert_eq(bw_closer_tgid(c, tid), getpid());
	cr_assert_eq(bw_closer_tgid(c, child), child);
	stayer_end(&s);
	child_end(child);
	cr_assert_eq(bw_closer_tgid(c, tid), 0);
	cr_assert_eq(bw_closer_tgid(c, child), 0);
	cr_assert_eq(bw_closer_tgid(c, 0), 0);
	bw_closer_free(c);
}

/* ---- Judgements ------------------------------------------------------------------------------- */

struct heard {
	struct bw_latch answered;
	enum bw_closer_verdict verdict;
	pid_t by;
};

static void hear(void *ctx, enum bw_closer_verdict verdict, bool final)
{
	struct heard *h = ctx;

	cr_assert(final, "nothing here hangs");
	h->verdict = verdict;
	h->by = gettid();
	bw_latch_open(&h->answered);
}

struct fixture {
	struct bw_closer *c;
	char dir[BW_TMPDIR_MAX], path[BW_TMPDIR_MAX + 8];
	int fd;
	uint64_t ino;
	pid_t by;		/* who made the last judgement */
};

static void setup_file(struct fixture *f)
{
	struct stat st;

	bw_test_tmpdir(f->dir);
	snprintf(f->path, sizeof(f->path), "%s/slice", f->dir);
	f->fd = open(f->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert(f->fd >= 0 && fstat(f->fd, &st) == 0);
	f->ino = st.st_ino;
}

static void setup(struct fixture *f, unsigned here_most)
{
	setup_file(f);
	cr_assert_eq(bw_closer_new(here_most, &f->c), 0);
}

static void teardown(struct fixture *f)
{
	bw_closer_free(f->c);
	bw_test_rmtree(f->dir);
}

static enum bw_closer_verdict judge_beside(struct fixture *f, pid_t pid, pid_t opener, pid_t writer)
{
	struct heard h;

	bw_latch_init(&h.answered);
	cr_assert(bw_closer_judge(f->c, pid, opener, writer, "slice", f->ino, hear, &h));
	bw_latch_wait(&h.answered);
	f->by = h.by;
	return h.verdict;
}

static enum bw_closer_verdict judge(struct fixture *f, pid_t pid, pid_t opener)
{
	return judge_beside(f, pid, opener, 0);
}

Test(closer, P3_the_openers_last_descriptor_counts)
{
	struct fixture f;

	setup(&f, 1);
	cr_assert_eq(judge(&f, getpid(), getpid()), BW_CLOSER_DEFER, "it is open still");
	int reader = open(f.path, O_RDONLY | O_CLOEXEC), other = dup(f.fd);

	close(f.fd);
	cr_assert_eq(judge(&f, getpid(), getpid()), BW_CLOSER_DEFER, "its copy is");
	close(other);
	cr_assert_eq(judge(&f, getpid(), getpid()), BW_CLOSER_OWN, "a reader is none");
	close(reader);
	teardown(&f);
}

/* Another one who wrote goes on to, or perhaps does: without a descriptor of ours to look with nobody knows. */
Test(closer, P3_another_who_wrote)
{
	struct rlimit limit, none;
	struct fixture f;

	setup(&f, 1);
	pid_t child = child_start();

	cr_assert_eq(judge(&f, getpid(), getpid()), BW_CLOSER_DEFER, "and what is looked into is kept open");
	close(f.fd);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	enum bw_closer_verdict alone = judge(&f, getpid(), getpid());
	enum bw_closer_verdict blind = judge_beside(&f, getpid(), getpid(), child);

	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_eq(alone, BW_CLOSER_OWN, "that needs no descriptor");
	cr_assert_eq(blind, BW_CLOSER_DEFER);
	cr_assert_eq(judge_beside(&f, getpid(), getpid(), child), BW_CLOSER_DEFER);
	child_end(child);
	cr_assert_eq(judge_beside(&f, getpid(), getpid(), child), BW_CLOSER_OWN);
	teardown(&f);
}

/* What a process without its first thread does on command, each answered by a byte. */
struct headless {
	pid_t pid, tid;		/* of the process, and of the thread that goes on */
	int orders[2], answers[2];
};

struct goes_on {
	struct headless h;	/* a copy: the stack of the first thread goes with it */
	pthread_t first;
	int fd;
};

/* Obeys until its orders end: 'c' closes the slice. */
static void *go_on(void *arg)
{
	struct goes_on *g = arg;
	pid_t tid = gettid();
	char order;

	pthread_join(g->first, NULL);
	(void)!write(g->h.answers[1], &tid, sizeof(tid));
	while (read(g->h.orders[0], &order, 1) == 1) {
		close(g->fd);
		(void)!write(g->h.answers[1], &order, 1);
	}
	_exit(0);
}

/* A process that inherits fd, whose first thread has ended.  Begun by one that has no other threads: their locks are held for ever in the child. */
static void headless_start(struct headless *h, int fd)
{
	static struct goes_on g;
	pthread_t thread;

	cr_assert(pipe(h->orders) == 0 && pipe(h->answers) == 0);
	h->pid = fork();
	cr_assert_geq(h->pid, 0);
	if (h->pid == 0) {
		close(h->orders[1]);
		g = (struct goes_on){.h = *h, .first = pthread_self(), .fd = fd};
		if (pthread_create(&thread, NULL, go_on, &g))
			_exit(1);
		pthread_exit(NULL);
	}
	close(h->orders[0]);
	cr_assert_eq(read(h->answers[0], &h->tid, sizeof(h->tid)), sizeof(h->tid));
}

static void headless_close(struct headless *h)
{
	char answer;

	cr_assert(write(h->orders[1], "c", 1) == 1 && read(h->answers[0], &answer, 1) == 1);
}

static void headless_end(struct headless *h)
{
	close(h->orders[1]);
	cr_assert_eq(waitpid(h->pid, NULL, 0), h->pid);
	close(h->answers[0]);
	close(h->answers[1]);
}

Test(closer, P3_whose_first_thread_has_ended)
{
	struct headless h;
	struct fixture f;

	setup_file(&f);
	headless_start(&h, f.fd);
	cr_assert_eq(bw_closer_new(1, &f.c), 0);
	cr_assert_eq(bw_closer_tgid(f.c, h.tid), h.pid);
	cr_assert_eq(bw_closer_tgid(f.c, h.pid), h.pid);
	close(f.fd);
	cr_assert_eq(judge(&f, h.tid, h.pid), BW_CLOSER_DEFER, "it is open still");
	cr_assert_eq(judge_beside(&f, getpid(), getpid(), h.pid), BW_CLOSER_DEFER, "it writes on");
	headless_close(&h);
	cr_assert_eq(judge(&f, h.tid, h.pid), BW_CLOSER_OWN);
	cr_assert_eq(judge_beside(&f, getpid(), getpid(), h.pid), BW_CLOSER_OWN);
	headless_end(&h);
	cr_assert_eq(judge_beside(&f, getpid(), getpid(), h.pid), BW_CLOSER_OWN);
	teardown(&f);
}

/* More descriptors than one look at the table shows. */
Test(closer, P3_a_descriptor_among_many)
{
	struct fixture f;
	int many[600];

	setup(&f, 1);
	for (int i = 0; i < 600; i++)
		cr_assert_geq(many[i] = open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
	int last = dup(f.fd);

	close(f.fd);
	cr_assert_gt(last, many[599]);
	cr_assert_eq(judge(&f, getpid(), getpid()), BW_CLOSER_DEFER);
	close(last);
	cr_assert_eq(judge(&f, getpid(), getpid()), BW_CLOSER_OWN);
	for (int i = 0; i < 600; i++)
		close(many[i]);
	teardown(&f);
}

Test(closer, P3_any_thread_of_the_opener_and_nobody_else)
{
	struct fixture f;
	struct stayer one, two;

	setup(&f, 1);
	pid_t child = child_start();	/* has a descriptor of its own, which is not looked at */
	pid_t tid = stayer_start(&one), other = stayer_start(&two);

	close(f.fd);
	cr_assert_eq(judge(&f, tid, getpid()), BW_CLOSER_OWN);
	cr_assert_eq(judge(&f, child, getpid()), BW_CLOSER_DEFER);
	cr_assert_eq(judge(&f, getpid(), child), BW_CLOSER_DEFER);
	/* The number of an opener that has gone may be a thread's by now, even one beside the closer. */
	cr_assert_eq(judge(&f, getpid(), tid), BW_CLOSER_DEFER);
	cr_assert_eq(judge(&f, other, tid), BW_CLOSER_DEFER);
	cr_assert_eq(judge(&f, tid, tid), BW_CLOSER_DEFER);
	stayer_end(&one);
	stayer_end(&two);
	child_end(child);
	teardown(&f);
}

/* As nobody, of process 1: it is there to be seen, its descriptors are not.  Returned by the exit of a child. */
static enum bw_closer_verdict judge_a_strangers_close(void)
{
	int status;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		struct fixture f;

		if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) != 0)
			_exit(BW_CLOSER_UNKNOWN + 1);
		setup(&f, 1);
		enum bw_closer_verdict verdict = judge(&f, 1, 1);
		teardown(&f);
		_exit(verdict);
	}
	cr_assert(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

Test(closer, P3_whom_we_may_not_signal_is_seen_all_the_same)
{
	if (geteuid() != 0 && kill(1, 0) == 0)
		cr_skip("process 1 is ours");
	cr_assert_eq(judge_a_strangers_close(), BW_CLOSER_UNKNOWN, "nobody can say that it is another's close");
}

Test(closer, P3k_who_cannot_be_seen_is_unknown)
{
	struct fixture f;

	setup(&f, 1);
	pid_t child = child_start();

	child_end(child);
	close(f.fd);
	cr_assert_eq(judge(&f, child, getpid()), BW_CLOSER_UNKNOWN);
	cr_assert_eq(judge(&f, child, child), BW_CLOSER_UNKNOWN);
	cr_assert_eq(judge(&f, getpid(), 0), BW_CLOSER_UNKNOWN);
	cr_assert_eq(judge(&f, 0, getpid()), BW_CLOSER_UNKNOWN);
	cr_assert_eq(judge(&f, getpid(), child), BW_CLOSER_DEFER, "the opener has gone, the closer is there");
	teardown(&f);
}

Test(closer, judgements_are_made_here_as_far_as_that_is_allowed)
{
	struct fixture f;

	for (unsigned most = 0; most < 2; most++) {
		setup(&f, most);
		close(f.fd);
		for (int i = 0; i < 3; i++) {
			cr_assert_eq(judge(&f, getpid(), getpid()), BW_CLOSER_OWN);
			cr_assert_eq(f.by == gettid(), most == 1);
		}
		teardown(&f);
	}
}
