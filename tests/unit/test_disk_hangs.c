/* SPDX-License-Identifier: Apache-2.0 */
/* The disk cache on a disk that does not answer, or fails: the program's own pread() and its like stand before the C library's. */
#include "tests/unit/disk_world.h"

#include <sys/syscall.h>
#include <unistd.h>

/* Calls of one kind that wait until they are let go; not more of them than most. */
enum kind { NONE, READS, WRITES, TOUCHES, REMOVALS };

static struct {
	_Atomic enum kind held;
	atomic_int most;
	atomic_uint waiting;
} gate;

/* Calls of one kind that fail. */
static struct {
	_Atomic enum kind kind;
	int err;
} fault;

static bool fails(enum kind kind)
{
	errno = fault.err;
	return fault.kind == kind;
}

static void pass(enum kind kind)
{
	if (gate.held != kind || gate.most-- <= 0)
		return;
	gate.waiting++;
	while (gate.held == kind)
		bw_sleep(BW_MS);
	gate.waiting--;
}

static void hold(enum kind kind, int most)
{
	gate.most = most;
	gate.held = kind;
}

static void until_waiting(unsigned n)
{
	while (gate.waiting != n)
		bw_sleep(BW_MS);
}

ssize_t pread(int fd, void *to, size_t len, off_t off)
{
	pass(READS);
	return fails(READS) ? -1 : syscall(SYS_pread64, fd, to, len, off);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t off)
{
	return fails(WRITES) ? -1 : syscall(SYS_pwrite64, fd, bytes, len, off);
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
	hold(TOUCHES, 1);
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
	hold(REMOVALS, 1);
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

/* ---- Reads ------------------------------------------------------------------------------------ */

#define THREADS ((int)BW_DISK_THREADS)
#define GETS (THREADS + 2)

/* The clock that says what is late; the cache looks at it two seconds after a get. */
static void later(void)
{
	atomic_fetch_add(&test_now, 3 * BW_SEC);
}

static void world_of_blocks(struct world *w)
{
	world_init(w, 64 * MIB);
	for (uint32_t i = 0; i < GETS; i++)
		put_all(w, 1, i, 100);
	/* What waited to be written is given back when it is there already. */
	while (bw_budget_used(&w->budget) != GETS * FILE_COST)
		bw_sleep(BW_MS);
}

static void let_go(struct world *w)
{
	/* Who is given up hears of it before the log does. */
	while (logged(w, "disk_cache_hangs") == 0)
		bw_sleep(BW_MS);
	gate.held = NONE;
	while (logged(w, "disk_cache_answers") == 0)
		bw_sleep(BW_MS);
	cr_assert_eq(logged(w, "disk_cache_hangs"), 1);
	cr_assert_eq(bw_disk_state(w->d), BW_DISK_FILLS);
	cr_assert_eq(bw_budget_used(&w->budget), GETS * FILE_COST);
	cr_assert_eq(stats(w)->damaged, 0);
	for (uint32_t i = 0; i < GETS; i++)
		cr_assert(get(w, 1, i, 100));
	cr_assert_eq(logged(w, "disk_cache_answers"), 1);
	world_done(w);
}

Test(disk_hangs, V6_one_that_hangs_is_given_up_and_the_others_are_served)
{
	struct getting g = {.hold = false};
	struct world w;

	world_of_blocks(&w);
	hold(READS, 1);
	cr_assert(get_start(&w, &g, 1, 0, 100));
	until_waiting(1);
	cr_assert(get(&w, 1, 1, 100));
	cr_assert_not(is_over(&g));
	later();
	get_wait(&g);
	cr_assert_null(g.bytes);
	cr_assert_eq(stats(&w)->given_up, 1);
	cr_assert_eq(bw_disk_state(w.d), BW_DISK_HANGS);
	cr_assert_eq(bw_budget_used(&w.budget), GETS * FILE_COST + 100, "S6: what it reads counts until it has come back");
	for (uint32_t i = 1; i < GETS; i++)
		cr_assert(get(&w, 1, i, 100));
	cr_assert(bw_disk_has(w.d, 1, 0), "it may be as it should be");
	cr_assert_eq(stats(&w)->given_up, 1);
	let_go(&w);
}

Test(disk_hangs, V6_where_many_hang_none_is_asked_until_one_comes_back)
{
	struct getting held[GETS] = {{.hold = false}};
	struct world w;

	world_of_blocks(&w);
	hold(READS, GETS);
	for (uint32_t i = 0; i < GETS; i++)
		cr_assert(get_start(&w, &held[i], 1, i, 100));
	until_waiting(BW_DISK_THREADS);
	later();
	cr_assert_not(get(&w, 1, 1, 100), "not asked, before it is known who is given up");
	for (uint32_t i = 0; i < GETS; i++) {
		get_wait(&held[i]);
		cr_assert_null(held[i].bytes);
	}
	cr_assert_eq(stats(&w)->given_up, GETS, "those whose turn had not come as well");
	cr_assert_eq(gate.waiting, BW_DISK_THREADS);
	cr_assert_not(get(&w, 1, 1, 100));
	let_go(&w);
}

/* Who reads has his bytes then, and nothing is given up. */
Test(disk_hangs, V6_a_touch_that_hangs_is_one_of_them)
{
	static const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct world w;
	char path[512];

	world_of_blocks(&w);
	for (uint32_t i = 0; i < 2; i++) {
		path_of(&w, 1, i, 100, path);
		cr_assert_eq(utimensat(AT_FDCWD, path, old, 0), 0);
	}
	world_again(&w);
	hold(TOUCHES, 2);
	cr_assert(get(&w, 1, 0, 100));
	cr_assert(get(&w, 1, 1, 100));
	until_waiting(2);
	later();
	cr_assert_not(get(&w, 1, 2, 100));
	while (logged(&w, "disk_cache_hangs") == 0)
		bw_sleep(BW_MS);
	cr_assert_eq(stats(&w)->given_up, 0);
	let_go(&w);
}

/* The one that is late and ends last has not been looked at by the watch, which comes up to two seconds later. */
Test(disk_hangs, V6_the_end_of_a_hang_is_seen_whichever_ends_last)
{
	struct getting first = {.hold = false}, last = {.hold = true};
	struct world w;

	world_of_blocks(&w);
	hold(READS, 1);
	cr_assert(get_start(&w, &first, 1, 0, 100));
	until_waiting(1);
	later();
	get_wait(&first);
	while (logged(&w, "disk_cache_hangs") == 0)
		bw_sleep(BW_MS);
	cr_assert(get_start(&w, &last, 1, 1, 100));
	bw_lock(&last.lock);
	while (!last.came)
		bw_cond_wait(&last.cond, &last.lock);
	bw_unlock(&last.lock);
	later();
	gate.held = NONE;
	while (bw_budget_used(&w.budget) != GETS * FILE_COST)
		bw_sleep(BW_MS);
	cr_assert_eq(bw_disk_state(w.d), BW_DISK_HANGS);
	bw_lock(&last.lock);
	last.hold = false;
	bw_cond_broadcast(&last.cond);
	bw_unlock(&last.lock);
	get_wait(&last);
	bw_blob_unref(last.bytes);
	let_go(&w);
}

/* ---- A disk that fails ------------------------------------------------------------------------ */

Test(disk_hangs, what_cannot_be_written_is_told_once_and_what_is_there_is_read_on)
{
	static const int errs[] = {ENOSPC, EDQUOT, EIO, EROFS};

	for (size_t i = 0; i < sizeof(errs) / sizeof(errs[0]); i++) {
		struct world w;
		unsigned files;

		world_init(&w, MIB);
		put_all(&w, 1, 1, 100);
		fault.err = errs[i];
		fault.kind = WRITES;
		for (uint32_t n = 1; n <= 3; n++) {
			put(&w, 2, n, 100);
			while (stats(&w)->dropped < n || bw_budget_used(&w.budget) > FILE_COST)
				bw_sleep(BW_MS);
			cr_assert(get(&w, 1, 1, 100));
			cr_assert_eq(on_disk(&w, &files), PAGE);
			atomic_fetch_add(&test_now, 60 * BW_SEC);
		}
		cr_assert_eq(logged(&w, "disk_cache_stops_filling"), 1);
		cr_assert_eq(logged(&w, strerror(errs[i])), 1);
		fault.kind = NONE;
		put_all(&w, 2, 1, 100);
		cr_assert_eq(bw_disk_state(w.d), BW_DISK_FILLS);
		world_done(&w);
	}
}

Test(disk_hangs, V5_what_cannot_be_read_is_absent_and_can_be_kept_again)
{
	struct world w;

	world_init(&w, MIB);
	put_all(&w, 1, 1, 100);
	put_all(&w, 1, 2, 100);
	fault.err = EIO;
	fault.kind = READS;
	cr_assert_not(get(&w, 1, 1, 100));
	fault.kind = NONE;
	cr_assert_not(bw_disk_has(w.d, 1, 1));
	put_all(&w, 1, 1, 100);
	cr_assert(get(&w, 1, 1, 100) && get(&w, 1, 2, 100));
	cr_assert_eq(stats(&w)->damaged, 1);
	world_done(&w);
}
