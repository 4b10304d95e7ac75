/* SPDX-License-Identifier: Apache-2.0 */
/* P1, P3: closes of one slice that was opened more than once. */
#include "tests/unit/produce_world.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

TestSuite(closes, .init = start, .fini = end);

static struct bw_stage_handle *begin(uint64_t *ret_ino)
{
	uint64_t batch = make_dir(make_dir(BW_PRODUCE_INO, "p", false), "0", false);
	uint64_t ranks = make_dir(batch, "rank", false);
	struct bw_stage_handle *h;
	struct bw_attr attr;
	char name[24];

	for (unsigned r = 1; r < w.stream.options.ranks; r++) {
		snprintf(name, sizeof(name), "%u", r);
		write_file(ranks, name, "x");
	}
	cr_assert_eq(bw_produce_create(w.p, ranks, "0.bin", O_WRONLY, getpid(), &attr, &h), 0);
	*ret_ino = attr.ino;
	return h;
}

static int closed_by(pid_t pid, struct bw_stage_handle *h)
{
	struct asker a;

	ask(&a, false);
	a.answer.waiter.pid = pid;
	bw_produce_flush(w.p, h, &a.answer);
	bw_latch_wait(&a.answered);
	return a.err;
}

static uint64_t steps(void)
{
	return bw_head_steps(w.head);
}

/*
 * The kernel does not wait for a release, so that of the first may come behind the last close, which has to have committed all the same.  A close
 * that counts for nothing is here one by another process; to a process with both open its first one is.
 */
Test(closes, P1_the_last_close_commits_before_the_release_of_another_open)
{
	uint64_t ino;
	struct bw_stage_handle *first = begin(&ino), *last;
	pid_t other = fork();

	if (!other) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(STDOUT_FILENO);
		close(STDERR_FILENO);
		pause();
		_exit(0);
	}
	cr_assert_eq(bw_produce_open(w.p, ino, O_WRONLY, getpid(), &last), 0);
	cr_assert_eq(bw_produce_write(w.p, first, 0, "one ", 4, getpid()), 0);
	cr_assert_eq(bw_produce_write(w.p, last, 4, "two", 3, getpid()), 0);
	cr_assert_eq(closed_by(other, first), 0);
	cr_assert_eq(steps(), 0);
	cr_assert_eq(closed_by(getpid(), last), 0);
	cr_assert_eq(steps(), 1);
	bw_produce_release(w.p, first);
	bw_produce_release(w.p, last);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
}

/* What has not been closed at all since it was opened is open. */
Test(closes, P1_another_open_holds_the_commit)
{
	uint64_t ino;
	struct bw_stage_handle *first = begin(&ino), *last;

	cr_assert_eq(bw_produce_open(w.p, ino, O_WRONLY, getpid(), &last), 0);
	cr_assert_eq(bw_produce_write(w.p, last, 0, "two", 3, getpid()), 0);
	cr_assert_eq(closed_by(getpid(), last), 0);
	cr_assert_eq(steps(), 0);
	bw_produce_release(w.p, last);
	cr_assert_eq(steps(), 0);
	cr_assert_eq(closed_by(getpid(), first), 0);
	cr_assert_eq(steps(), 1);
	bw_produce_release(w.p, first);
}
