/* SPDX-License-Identifier: Apache-2.0 */
/* The disk cache on a disk that does not answer: the program's own pread() and its like stand before the C library's. */
#include "tests/unit/disk_world.h"

#include <sys/syscall.h>
#include <unistd.h>

/* Calls of one kind that wait until they are let go. */
enum kind { NONE, TOUCHES, REMOVALS };

static struct {
	_Atomic enum kind held;
	atomic_uint waiting;
} gate;

static void pass(enum kind kind)
{
	if (gate.held != kind)
		return;
	gate.waiting++;
	while (gate.held == kind)
		bw_sleep(BW_MS);
	gate.waiting--;
}

static void until_waiting(unsigned n)
{
	while (gate.waiting != n)
		bw_sleep(BW_MS);
}

int utimensat(int dir, const char *name, const struct timespec times[2], int flags)
{
	pass(TOUCHES);
	return (int)syscall(SYS_utimensat, dir, name, times, flags);
}

int futimens(int fd, const struct timespec times[2])
{
	pass(TOUCHES);
	return (int)syscall(SYS_utimensat, fd, NULL, times, 0);
}

int unlinkat(int dir, const char *name, int flags)
{
	pass(REMOVALS);
	return (int)syscall(SYS_unlinkat, dir, name, flags);
}

static bool is_over(struct getting *g)
{
	BW_LOCK_SCOPE(&g->lock);
	return g->over;
}

Test(disk_hangs, a_file_is_touched_when_its_reader_has_its_bytes)
{
	static const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct getting g = {.hold = false};
	struct stat st;
	struct world w;
	char path[512];

	world_init(&w, MIB);
	put_all(&w, 1, 1, 100);
	path_of(&w, 1, 1, 100, path);
	cr_assert_eq(utimensat(AT_FDCWD, path, old, 0), 0);
	world_again(&w);
	gate.held = TOUCHES;
	cr_assert(get_start(&w, &g, 1, 1, 100));
	until_waiting(1);
	cr_assert(is_over(&g));
	cr_assert(g.bytes);
	bw_blob_unref(g.bytes);
	gate.held = NONE;
	until_waiting(0);
	world_close(&w);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_gt(st.st_mtime, 1000);
	world_open(&w);
	world_done(&w);
}

Test(disk_hangs, nobody_waits_for_the_end_of_what_is_damaged)
{
	struct world w;
	char path[512];

	world_init(&w, MIB);
	put_all(&w, 1, 1, 100);
	put_all(&w, 1, 2, 100);
	path_of(&w, 1, 1, 100, path);
	cr_assert_eq(truncate(path, 99), 0);
	gate.held = REMOVALS;
	cr_assert_not(get(&w, 1, 1, 100));
	bw_disk_forget(w.d, 1, 2);
	until_waiting(1);
	put(&w, 1, 1, 100);
	cr_assert_not(bw_disk_has(w.d, 1, 2));
	gate.held = NONE;
	until_waiting(0);
	until_bytes(&w, PAGE);
	while (!bw_disk_has(w.d, 1, 1))
		bw_sleep(BW_MS);
	cr_assert(get(&w, 1, 1, 100), "what is fetched again is not what is deleted");
	cr_assert_not(exists(&w, 1, 2, 100));
	world_done(&w);
}
