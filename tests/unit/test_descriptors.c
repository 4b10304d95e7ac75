/* SPDX-License-Identifier: Apache-2.0 */
/* What others have open for writing. */
#include "fs/descriptors.h"

#include "store/base/clock.h"
#include "tests/support/tmpdir.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN 70	/* more than are kept: the first and the 65th have one place, and differ */

struct fixture {
	struct bw_workq *timer;
	struct bw_descriptors *d;
	char dir[BW_TMPDIR_MAX], path[BW_TMPDIR_MAX + 8];
	int fd;
	uint64_t ino;
};

static void setup(struct fixture *f, int64_t kept_ns)
{
	struct stat st;

	cr_assert_eq(bw_workq_new("timer", 1, &f->timer), 0);
	cr_assert_eq(bw_descriptors_new(f->timer, kept_ns, &f->d), 0);
	bw_test_tmpdir(f->dir);
	snprintf(f->path, sizeof(f->path), "%s/slice", f->dir);
	f->fd = open(f->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert(f->fd >= 0 && fstat(f->fd, &st) == 0);
	f->ino = st.st_ino;
}

static void teardown(struct fixture *f)
{
	bw_workq_free(f->timer);
	bw_descriptors_free(f->d);
	bw_test_rmtree(f->dir);
}

static enum bw_descriptors_seen look(struct fixture *f, pid_t pid)
{
	return bw_descriptors_look(f->d, pid, pid, "slice", f->ino);
}

/* How many such directories this process has open. */
static unsigned kept(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	cr_assert(d);
	for (struct dirent *e; (e = readdir(d));) {
		char target[128] = "";
		ssize_t len = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
		n += len > 0 && strncmp(target, "/proc/", 6) == 0 && strstr(target, "/task/");
	}
	closedir(d);
	return n;
}

/* What a child does with its descriptors before it waits for its end. */
enum child { AS_IT_IS, WITHOUT_ANY, WITHOUT_THE_FILE };

static _Noreturn void child_run(const struct fixture *f, enum child does, int ready)
{
	char c = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);	/* of a test that has failed, nothing stays */
	if (does == WITHOUT_THE_FILE)
		close(f->fd);
	if (write(ready, &c, 1) != 1)
		_exit(1);
	if (does == WITHOUT_ANY)
		close_range(0, ~0u, 0);
	for (;;)
		pause();
}

/* pid 0: any. */
static pid_t child_start(const struct fixture *f, enum child does, pid_t pid)
{
	struct clone_args args = {.exit_signal = SIGCHLD};
	int ready[2];
	char c;

	if (pid) {
		args.set_tid = (uint64_t)(uintptr_t)&pid;
		args.set_tid_size = 1;
	}

	cr_assert_eq(pipe(ready), 0);
	pid_t child = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (child == 0)
		child_run(f, does, ready[1]);
	cr_assert_gt(child, 0, "%s", strerror(errno));
	cr_assert_eq(read(ready[0], &c, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return child;
}

static void child_end(pid_t pid)
{
	kill(pid, SIGKILL);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

Test(descriptors, what_a_thread_has_open_now)
{
	struct fixture f;

	setup(&f, 3600 * BW_SEC);
	for (int i = 0; i < 2; i++) {
		int other = dup(f.fd), reader = open(f.path, O_RDONLY | O_CLOEXEC);

		close(f.fd);
		cr_assert_eq(look(&f, getpid()), BW_DESCRIPTORS_WRITER);
		close(other);
		cr_assert_eq(look(&f, getpid()), BW_DESCRIPTORS_OTHERS, "a reader is none");
		close(reader);
		cr_assert_eq(look(&f, getpid()), BW_DESCRIPTORS_OTHERS);
		f.fd = open(f.path, O_WRONLY | O_CLOEXEC);
		cr_assert_eq(look(&f, getpid()), BW_DESCRIPTORS_WRITER);
		cr_assert_eq(bw_descriptors_look(f.d, getpid(), getpid(), "slice", f.ino + 1), BW_DESCRIPTORS_OTHERS);
		cr_assert_eq(bw_descriptors_look(f.d, getpid(), getpid(), "lice", f.ino), BW_DESCRIPTORS_OTHERS);
		cr_assert_eq(kept(), 1);
	}
	teardown(&f);
	cr_assert_eq(kept(), 0);
}

Test(descriptors, none_is_not_the_same_as_no_such_file)
{
	struct fixture f;

	setup(&f, 3600 * BW_SEC);
	pid_t child = child_start(&f, WITHOUT_ANY, 0);

	while (look(&f, child) != BW_DESCRIPTORS_NONE)
		bw_sleep(BW_MS);
	child_end(child);
	cr_assert_eq(look(&f, child), BW_DESCRIPTORS_NONE, "it has gone");
	child = child_start(&f, WITHOUT_THE_FILE, 0);
	cr_assert_eq(look(&f, child), BW_DESCRIPTORS_OTHERS);
	child_end(child);
	teardown(&f);
}

/* P3: what does not say which file it is may be the one, or a slice that a shell has open twice is closed by its first close. */
Test(descriptors, P3_an_older_kernel_does_not_tell_the_inode)
{
	static const struct {
		const char *text;
		bool writes;
	} rows[] = {
		{"pos:\t0\nflags:\t0100001\nmnt_id:\t29\nino:\t7\n", true},
		{"pos:\t0\nflags:\t0100002\nmnt_id:\t29\nino:\t7\n", true},
		{"pos:\t0\nflags:\t0100000\nmnt_id:\t29\nino:\t7\n", false},
		{"pos:\t0\nflags:\t0100001\nmnt_id:\t29\nino:\t77\n", false},
		{"pos:\t0\nflags:\t0100001\nmnt_id:\t29\n", true},
		{"pos:\t0\nflags:\t0100000\nmnt_id:\t29\n", false},
		{"", true},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		cr_assert_eq(bw_fdinfo_is_writer(rows[i].text, 7), rows[i].writes, "row %u", i);
}

/* P3: when we have no descriptor to spare nothing is known, which is not the same as no writer. */
Test(descriptors, P3_without_descriptors_of_ours_nothing_is_seen)
{
	struct rlimit limit, none;
	struct fixture f;

	setup(&f, 3600 * BW_SEC);
	pid_t child = child_start(&f, AS_IT_IS, 0), new_one = child_start(&f, AS_IT_IS, 0);

	cr_assert_eq(look(&f, child), BW_DESCRIPTORS_WRITER);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	enum bw_descriptors_seen kept_dir = look(&f, child), no_dir = look(&f, new_one);

	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_eq(kept_dir, BW_DESCRIPTORS_HIDDEN, "its directory is kept, what is in it cannot be opened");
	cr_assert_eq(no_dir, BW_DESCRIPTORS_HIDDEN);
	cr_assert_eq(look(&f, child), BW_DESCRIPTORS_WRITER);
	cr_assert_eq(look(&f, new_one), BW_DESCRIPTORS_WRITER);
	child_end(child);
	child_end(new_one);
	teardown(&f);
}

/* The directory that is kept is of one who has gone. */
Test(descriptors, a_number_that_is_anothers_by_now)
{
	struct fixture f;

	if (geteuid() != 0)
		cr_skip("only root may choose the number of a process");
	setup(&f, 3600 * BW_SEC);
	pid_t child = child_start(&f, WITHOUT_THE_FILE, 0);

	cr_assert_eq(look(&f, child), BW_DESCRIPTORS_OTHERS);
	child_end(child);
	cr_assert_eq(child_start(&f, AS_IT_IS, child), child);
	cr_assert_eq(look(&f, child), BW_DESCRIPTORS_WRITER);
	cr_assert_eq(look(&f, child), BW_DESCRIPTORS_WRITER);
	child_end(child);
	teardown(&f);
}

/* Not more than so many, each right, and of those that are not looked at any more none. */
Test(descriptors, what_is_kept_is_bounded_and_goes)
{
	struct fixture f;
	pid_t children[CHILDREN];

	setup(&f, BW_SEC);
	for (int i = 0; i < CHILDREN; i++)
		children[i] = child_start(&f, i % 3 ? AS_IT_IS : WITHOUT_THE_FILE, 0);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < CHILDREN; i++)
			cr_assert_eq(look(&f, children[i]), i % 3 ? BW_DESCRIPTORS_WRITER : BW_DESCRIPTORS_OTHERS);
	cr_assert(kept() && kept() <= 64);
	while (kept())
		bw_sleep(BW_MS);
	cr_assert_eq(look(&f, children[1]), BW_DESCRIPTORS_WRITER);
	cr_assert_eq(kept(), 1);
	for (int i = 0; i < CHILDREN; i++)
		child_end(children[i]);
	teardown(&f);
}
