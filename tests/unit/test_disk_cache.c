/* SPDX-License-Identifier: Apache-2.0 */
/* The disk cache by itself: what it finds again, what it does not believe, what it never holds more of. */
#include "tests/unit/disk_world.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- Finding again ---------------------------------------------------------------------------- */

Test(disk_cache, what_was_kept_is_found_again_and_after_a_restart)
{
	struct world w;

	world_init(&w, MIB);
	cr_assert_not(get(&w, 7, 3, 5000));
	put_all(&w, 7, 3, 5000);
	put_all(&w, 7, BW_DISK_FOOTER, 1);
	cr_assert_eq(bw_budget_used(&w.budget), 2 * FILE_COST, "S6: the index counts");
	for (int i = 0; i < 3; i++) {
		cr_assert(get(&w, 7, 3, 5000));
		cr_assert(get(&w, 7, BW_DISK_FOOTER, 1));
		cr_assert_not(get(&w, 7, 2, 5000));
		cr_assert_not(get(&w, 8, 3, 5000));
		world_again(&w);
	}
	cr_assert_eq(stats(&w)->bytes, 3 * PAGE);
	cr_assert_eq(stats(&w)->blocks, 2);
	cr_assert_eq(stats(&w)->damaged, 0);
	world_done(&w);
}

Test(disk_cache, one_block_is_kept_once)
{
	struct world w;
	unsigned files;

	world_init(&w, MIB);
	for (int i = 0; i < 3; i++)
		put(&w, 1, 1, 100);
	put_all(&w, 1, 2, 100);
	put(&w, 1, 1, 100);
	put_all(&w, 1, 3, 100);
	cr_assert_eq(stats(&w)->written, 300);
	cr_assert_eq(on_disk(&w, &files), 3 * PAGE);
	cr_assert_eq(files, 3);
	world_done(&w);
}

/* ---- Room ------------------------------------------------------------------------------------- */

Test(disk_cache, the_least_recently_used_goes_first)
{
	struct world w;
	unsigned files;

	world_init(&w, 4 * PAGE);
	for (uint32_t i = 0; i < 4; i++)
		put_all(&w, 1, i, 4000);
	cr_assert(get(&w, 1, 0, 4000));
	put_all(&w, 1, 4, 4000);
	cr_assert(exists(&w, 1, 0, 4000));
	cr_assert_not(exists(&w, 1, 1, 4000));
	put_all(&w, 1, 5, 2 * PAGE);
	cr_assert(exists(&w, 1, 0, 4000));
	cr_assert_not(exists(&w, 1, 2, 4000) || exists(&w, 1, 3, 4000));
	cr_assert_eq(on_disk(&w, &files), 4 * PAGE);
	cr_assert_eq(stats(&w)->bytes, 4 * PAGE);
	put(&w, 1, 6, 4 * PAGE + 1);
	put_all(&w, 1, 7, 1);
	cr_assert_not(get(&w, 1, 6, 4 * PAGE + 1), "what is larger than all of it is not kept");
	cr_assert(exists(&w, 1, 4, 4000) && exists(&w, 1, 5, 2 * PAGE), "nor does anything go for it");
	world_done(&w);
}

static void set_age(struct world *w, uint32_t number, uint32_t len, time_t when)
{
	struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
	char path[512];

	path_of(w, 1, number, len, path);
	cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

Test(disk_cache, age_outlives_a_restart_and_a_smaller_limit_is_kept)
{
	static const time_t ages[] = {5000, 2000, 9000, 1000, 7000};
	struct world w;
	char path[512];
	struct stat st;

	world_init(&w, 8 * PAGE);
	for (uint32_t i = 0; i < 5; i++)
		put_all(&w, 1, i, 100);
	for (uint32_t i = 0; i < 5; i++)
		set_age(&w, i, 100, ages[i]);
	w.config.size = 3 * PAGE;
	world_again(&w);
	cr_assert_eq(stats(&w)->bytes, 3 * PAGE);
	cr_assert_not(exists(&w, 1, 3, 100) || exists(&w, 1, 1, 100), "the two oldest");
	cr_assert(get(&w, 1, 0, 100), "which tells the disk that it is of use");
	world_close(&w);
	path_of(&w, 1, 0, 100, path);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_gt(st.st_mtime, 9000);
	w.config.size = PAGE;
	world_open(&w);
	cr_assert(get(&w, 1, 0, 100));
	cr_assert_eq(stats(&w)->blocks, 1);
	world_done(&w);
}

Test(disk_cache, S6_the_index_has_a_limit)
{
	struct world w;
	unsigned files;

	world_init(&w, MIB);
	world_close(&w);
	w.budget.limit = 16 * 10 * FILE_COST;
	world_open(&w);
	for (uint32_t i = 0; i < 15; i++)
		put_all(&w, 1, i, 100);
	cr_assert_eq(stats(&w)->blocks, 10);
	cr_assert_eq(bw_budget_used(&w.budget), 10 * FILE_COST);
	w.budget.limit = 16 * 4 * FILE_COST;
	world_again(&w);
	cr_assert_leq(bw_budget_used(&w.budget), 4 * FILE_COST);
	cr_assert_eq(on_disk(&w, &files), stats(&w)->blocks * PAGE);
	world_done(&w);
}

/* Whatever order the directory has them in. */
Test(disk_cache, S6_what_an_index_that_became_smaller_does_not_hold_is_the_oldest)
{
	enum { FILES = 700, KEPT = 100 };
	struct world w;

	world_init(&w, FILES * PAGE);
	for (uint32_t i = 0; i < FILES; i++)
		put_all(&w, 1, i, 100);
	for (uint32_t i = 0; i < FILES; i++)
		set_age(&w, i, 100, 1000 + (time_t)(i * 37 % FILES));
	world_close(&w);
	w.budget.limit = 16 * (KEPT + 1) * FILE_COST;	/* a place is for the next one */
	world_open(&w);
	cr_assert_eq(stats(&w)->blocks, KEPT);
	for (uint32_t i = 0; i < FILES; i++)
		cr_assert_eq(exists(&w, 1, i, 100), i * 37 % FILES >= FILES - KEPT, "of age %u", i * 37 % FILES);
	world_done(&w);
}

/* Holds all threads of the cache, as a disk that does not answer would. */
#define THREADS ((int)BW_DISK_THREADS)
static void hold_threads(struct world *w, struct getting held[THREADS])
{
	for (int i = 0; i < THREADS; i++) {
		held[i].hold = true;
		cr_assert(get_start(w, &held[i], 1, 0, 100));
	}
	for (int i = 0; i < THREADS; i++) {
		bw_lock(&held[i].lock);
		while (!held[i].came)
			bw_cond_wait(&held[i].cond, &held[i].lock);
		bw_unlock(&held[i].lock);
	}
}

static void let_threads_go(struct getting held[THREADS])
{
	for (int i = 0; i < THREADS; i++) {
		bw_lock(&held[i].lock);
		held[i].hold = false;
		bw_cond_broadcast(&held[i].cond);
		bw_unlock(&held[i].lock);
	}
	for (int i = 0; i < THREADS; i++) {
		get_wait(&held[i]);
		bw_blob_unref(held[i].bytes);
	}
}

/* By bytes, or by number: blocks of a few bytes would be a million of them before they are many bytes. */
static void only_so_many_wait(uint64_t memory, size_t len, uint32_t most)
{
	struct getting held[THREADS];
	struct world w;

	world_init(&w, 64 * MIB);
	put_all(&w, 1, 0, 100);
	world_close(&w);
	w.budget.limit = memory;
	world_open(&w);
	hold_threads(&w, held);
	for (uint32_t i = 1; i <= most + 4; i++)
		put(&w, 2, i, len);
	cr_assert_eq(stats(&w)->dropped, 4);
	cr_assert_eq(bw_budget_used(&w.budget), FILE_COST + most * len, "S6: what waits counts");
	let_threads_go(held);
	while (stats(&w)->blocks < most + 1)
		bw_sleep(BW_MS);
	cr_assert(get(&w, 2, most, len) && !get(&w, 2, most + 1, len));
	world_done(&w);
}

Test(disk_cache, a_slow_disk_drops_what_its_queue_does_not_hold)
{
	only_so_many_wait(16 * 5 * PAGE, PAGE, 5);
	only_so_many_wait(64 * MIB, 1, 1024);
}

Test(disk_cache, V6_a_disk_that_does_not_answer_is_not_asked)
{
	struct getting held[THREADS], more = {.hold = false};
	struct world w;

	world_init(&w, 64 * MIB);
	put_all(&w, 1, 0, 100);
	hold_threads(&w, held);
	atomic_fetch_add(&test_now, 2 * BW_SEC);
	cr_assert(get_start(&w, &more, 1, 0, 100), "it may be a little slow");
	atomic_fetch_add(&test_now, 1);
	cr_assert_not(get(&w, 1, 0, 100));
	let_threads_go(held);
	get_wait(&more);
	bw_blob_unref(more.bytes);
	while (!get(&w, 1, 0, 100))
		bw_sleep(BW_MS);	/* the last of them may not be counted out */
	world_again(&w);
	cr_assert(get(&w, 1, 0, 100));
	do {
		atomic_fetch_add(&test_now, 10 * BW_SEC);	/* nothing is under way */
		bw_sleep(BW_MS);
	} while (!get(&w, 1, 0, 100));
	world_done(&w);
}

Test(disk_cache, what_is_queued_at_the_end_is_dropped)
{
	struct getting held[THREADS];
	struct world w;

	world_init(&w, 64 * MIB);
	put_all(&w, 1, 0, 100);
	hold_threads(&w, held);
	for (uint32_t i = 1; i <= 9; i++)
		put(&w, 2, i, PAGE);
	let_threads_go(held);
	world_again(&w);
	cr_assert_geq(stats(&w)->blocks, 1);
	world_done(&w);
}

/* ---- A disk that is full ---------------------------------------------------------------------- */

static void limit_files(rlim_t bytes)
{
	struct rlimit limit = {.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};

	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(disk_cache, what_cannot_be_written_leaves_nothing_and_is_told_once)
{
	struct world w;
	unsigned files;

	world_init(&w, MIB);
	limit_files(8 * PAGE);
	put_all(&w, 1, 0, PAGE);
	for (uint32_t i = 1; i < 4; i++) {
		put(&w, 1, i, 8 * PAGE + 1);
		while (stats(&w)->dropped < i)
			bw_sleep(BW_MS);
		while (!stats(&w)->paused || bw_budget_used(&w.budget) > FILE_COST)
			bw_sleep(BW_MS);
		atomic_fetch_add(&test_now, 60 * BW_SEC);	/* tried again */
	}
	cr_assert_eq(logged(&w, "disk_cache_stops_filling"), 1);
	cr_assert_eq(on_disk(&w, &files), PAGE);
	cr_assert_eq(files, 1);
	limit_files(RLIM_INFINITY);
	put_all(&w, 1, 1, 8 * PAGE + 1);
	cr_assert_not(stats(&w)->paused);
	cr_assert_eq(logged(&w, "disk_cache_fills_again"), 1);
	world_done(&w);
}

/* A write has failed. */
static void world_of_a_full_disk(struct world *w)
{
	world_init(w, MIB);
	limit_files(PAGE);
	put(w, 1, 1, 2 * PAGE);
	while (!stats(w)->paused)
		bw_sleep(BW_MS);
}

Test(disk_cache, a_full_disk_is_left_alone_for_a_minute)
{
	struct world w;

	world_of_a_full_disk(&w);
	cr_assert_eq(bw_disk_state(w.d), BW_DISK_DOES_NOT_FILL);
	limit_files(RLIM_INFINITY);
	atomic_fetch_add(&test_now, 60 * BW_SEC - 1);
	put(&w, 1, 2, 100);
	cr_assert_eq(stats(&w)->dropped, 2);
	atomic_fetch_add(&test_now, 1);
	cr_assert_eq(bw_disk_state(w.d), BW_DISK_DOES_NOT_FILL);
	put_all(&w, 1, 3, 100);
	cr_assert_eq(bw_disk_state(w.d), BW_DISK_FILLS);
	cr_assert_not(get(&w, 1, 2, 100));
	world_done(&w);
}

/* Nobody had anything to write since: that is no trouble that goes on. */
Test(disk_cache, a_write_that_failed_is_told_for_ten_minutes)
{
	struct world w;

	world_of_a_full_disk(&w);
	atomic_fetch_add(&test_now, BW_DISK_TOLD_NS - 1);
	cr_assert_eq(bw_disk_state(w.d), BW_DISK_DOES_NOT_FILL);
	put(&w, 1, 2, 2 * PAGE);
	while (stats(&w)->dropped < 2)
		bw_sleep(BW_MS);
	while (bw_budget_used(&w.budget))
		bw_sleep(BW_MS);
	atomic_fetch_add(&test_now, BW_DISK_TOLD_NS - 1);
	cr_assert_eq(bw_disk_state(w.d), BW_DISK_DOES_NOT_FILL, "it failed again");
	atomic_fetch_add(&test_now, 1);
	cr_assert_eq(bw_disk_state(w.d), BW_DISK_FILLS);
	world_done(&w);
}

/* So many more may be opened; returns what was. */
static struct rlimit limit_descriptors(unsigned more)
{
	struct rlimit few, was;
	int next = dup(0);

	cr_assert_geq(next, 0);
	close(next);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
	few = was;
	few.rlim_cur = (rlim_t)next + more;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	return was;
}

Test(disk_cache, where_the_daemon_is_short_of_descriptors_no_file_is_to_blame)
{
	struct world w;

	world_init(&w, MIB);
	put_all(&w, 1, 1, 100);
	struct rlimit was = limit_descriptors(0);

	cr_assert_not(get(&w, 1, 1, 100));
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
	cr_assert(get(&w, 1, 1, 100));
	cr_assert_eq(stats(&w)->damaged, 0);
	world_done(&w);
}

Test(disk_cache, a_directory_that_cannot_be_looked_at_is_told)
{
	struct world w;
	char why[400];

	world_init(&w, MIB);
	world_close(&w);
	/* One for the directory, none for whoever lists it. */
	struct rlimit was = limit_descriptors(1);

	cr_assert_eq(bw_disk_new(&w.config, &w.d, why, sizeof(why)), 0, "%s", why);
	while (bw_disk_state(w.d) == BW_DISK_LOOKS)
		bw_sleep(BW_MS);
	cr_assert_eq(bw_disk_state(w.d), BW_DISK_UNUSABLE);
	cr_assert_not(stats(&w)->ready);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
	world_done(&w);
}

/* A file system of its own below the world's root. */
static void small_disk(struct world *w, const char *options)
{
	cr_assert_eq(unshare(CLONE_NEWNS), 0);
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	snprintf(w->dir, sizeof(w->dir), "%s/disk", w->root);
	cr_assert_eq(mkdir(w->dir, 0700), 0);
	cr_assert_eq(mount("none", w->dir, "tmpfs", 0, options), 0);
	w->config.dir = w->dir;
}

Test(disk_cache, half_of_what_is_free_and_at_least_64_MiB)
{
	struct world w;
	struct statvfs st;

	if (geteuid() != 0)
		cr_skip_test("needs root");
	world_init(&w, MIB);
	world_close(&w);
	small_disk(&w, "size=400m,mode=700");
	cr_assert_eq(statvfs(w.dir, &st), 0);
	w.config.size = 0;
	world_open(&w);
	uint64_t limit = stats(&w)->limit;
	cr_assert_eq(limit, st.f_bavail * st.f_frsize / 2);
	put_all(&w, 1, 1, MIB);
	world_again(&w);
	cr_assert_eq(stats(&w)->limit, limit, "what it holds itself counts as free");
	world_close(&w);
	cr_assert_eq(umount(w.dir), 0);
	cr_assert_eq(mount("none", w.dir, "tmpfs", 0, "size=8m,mode=700"), 0);
	world_open(&w);
	cr_assert_eq(stats(&w)->limit, 64 * MIB);
	world_close(&w);
	cr_assert_eq(umount(w.dir), 0);
	world_open(&w);
	world_done(&w);
}

/* What must go for a new one does not go either. */
Test(disk_cache, a_disk_that_becomes_read_only_is_read_on)
{
	struct world w;
	unsigned files;

	if (geteuid() != 0)
		cr_skip_test("needs root");
	world_init(&w, 4 * PAGE);
	world_close(&w);
	small_disk(&w, "size=8m,mode=700");
	world_open(&w);
	for (uint32_t i = 0; i < 4; i++)
		put_all(&w, 1, i, 100);
	cr_assert_eq(mount("none", w.dir, NULL, MS_REMOUNT | MS_RDONLY, "size=8m,mode=700"), 0);
	for (uint32_t round = 1; round <= 3; round++) {
		put(&w, 2, 0, 2 * PAGE);
		while (stats(&w)->dropped < round || bw_budget_used(&w.budget) > 4 * FILE_COST)
			bw_sleep(BW_MS);
		cr_assert_eq(bw_disk_state(w.d), BW_DISK_DOES_NOT_FILL);
		for (uint32_t i = 0; i < 4; i++)
			cr_assert(get(&w, 1, i, 100));
		cr_assert_eq(stats(&w)->bytes, 4 * PAGE);
		atomic_fetch_add(&test_now, 60 * BW_SEC);
	}
	cr_assert_eq(logged(&w, "disk_cache_stops_filling"), 1);
	cr_assert_eq(mount("none", w.dir, NULL, MS_REMOUNT, "size=8m,mode=700"), 0);
	put_all(&w, 2, 0, 2 * PAGE);
	cr_assert_eq(logged(&w, "disk_cache_fills_again"), 1);
	cr_assert_eq(on_disk(&w, &files), 4 * PAGE, "it never holds more");
	cr_assert_eq(stats(&w)->bytes, 4 * PAGE);
	cr_assert_not(get(&w, 1, 0, 100) || get(&w, 1, 1, 100), "the oldest went");
	cr_assert(get(&w, 1, 2, 100) && get(&w, 1, 3, 100) && get(&w, 2, 0, 2 * PAGE));
	world_close(&w);
	cr_assert_eq(umount(w.dir), 0);
	world_open(&w);
	world_done(&w);
}

static void large_files(struct world *w)
{
	static const uint32_t lens[] = {65535, 65536, 65537, 65536 + 4095, 69632, 1048575, 1048576, 1048581};
	struct stat st;
	char path[512];

	for (uint32_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		put_all(w, 1, i, lens[i]);
		path_of(w, 1, i, lens[i], path);
		cr_assert(stat(path, &st) == 0 && st.st_size == (off_t)lens[i]);
		cr_assert(get(w, 1, i, lens[i]));
	}
	world_again(w);
	for (uint32_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		cr_assert(get(w, 1, i, lens[i]));
		path_of(w, 1, i, lens[i], path);
		cr_assert_eq(truncate(path, (off_t)lens[i] - 1), 0);
		cr_assert_not(get(w, 1, i, lens[i]));
		cr_assert_eq(stats(w)->damaged, i + 1);
	}
	until_bytes(w, 0);
}

Test(disk_cache, large_files_of_any_length)
{
	struct world w;

	world_init(&w, 64 * MIB);
	large_files(&w);
	world_done(&w);
}

/* And on a file system in memory, and where there is no room. */
Test(disk_cache, large_files_in_memory_until_it_is_full)
{
	struct world w;
	unsigned files;

	if (geteuid() != 0)
		cr_skip_test("needs root");
	world_init(&w, 64 * MIB);
	world_close(&w);
	small_disk(&w, "size=8m,mode=700");
	world_open(&w);
	large_files(&w);
	for (uint32_t i = 0; !stats(&w)->paused; i++) {
		put(&w, 2, i, MIB - 100);
		while (stats(&w)->blocks <= i && !stats(&w)->paused)
			bw_sleep(BW_MS);
	}
	cr_assert_eq(on_disk(&w, &files), stats(&w)->bytes, "nothing is left of what had no room");
	cr_assert_eq(files, stats(&w)->blocks);
	cr_assert_geq(files, 7);
	for (uint32_t i = 0; i < files; i++)
		cr_assert(get(&w, 2, i, MIB - 100));
	cr_assert_eq(bw_budget_used(&w.budget) - files * FILE_COST, MIB + PAGE, "S6: and the pages of a thread");
	world_close(&w);
	cr_assert_eq(umount(w.dir), 0);
	world_open(&w);
	world_done(&w);
}

/* ---- What is not believed --------------------------------------------------------------------- */

Test(disk_cache, cut_at_any_length_it_is_absent_after_a_restart_and_at_once)
{
	struct bw_blob *whole = bytes_of(1, 1, 120);
	struct world w;
	char path[512];

	world_init(&w, MIB);
	path_of(&w, 1, 1, 120, path);
	for (size_t len = 0; len < 120; len++) {
		world_close(&w);
		write_file(path, whole->bytes, len);
		world_open(&w);
		cr_assert_not(bw_disk_has(w.d, 1, 1));
		cr_assert_not(exists(&w, 1, 1, 120), "it is deleted");
		put_all(&w, 1, 1, 120);
		write_file(path, whole->bytes, len);
		cr_assert_not(get(&w, 1, 1, 120));
		cr_assert_not(bw_disk_has(w.d, 1, 1));
		cr_assert_eq(stats(&w)->damaged, 1);
		until_bytes(&w, 0);
		cr_assert_not(exists(&w, 1, 1, 120));
	}
	world_close(&w);
	write_file(path, whole->bytes, 120);
	world_open(&w);
	cr_assert(get(&w, 1, 1, 120));
	bw_blob_unref(whole);
	world_done(&w);
}

Test(disk_cache, what_takes_the_place_of_a_file_is_not_followed)
{
	struct world w;
	char path[512], other[BW_TMPDIR_MAX + 16];
	struct bw_blob *bytes = bytes_of(1, 1, 100);

	world_init(&w, MIB);
	snprintf(other, sizeof(other), "%s/other", w.root);
	write_file(other, bytes->bytes, 100);
	path_of(&w, 1, 1, 100, path);
	for (int kind = 0; kind < 3; kind++) {
		for (int restart = 0; restart < 2; restart++) {
			put_all(&w, 1, 1, 100);
			cr_assert_eq(unlink(path), 0);
			if (kind == 0)
				cr_assert_eq(symlink(other, path), 0);
			else if (kind == 1)
				cr_assert_eq(mkfifo(path, 0600), 0);
			else
				cr_assert_eq(mkdir(path, 0700), 0);
			if (restart) {
				world_again(&w);
				cr_assert_not(bw_disk_has(w.d, 1, 1));
			}
			cr_assert_not(get(&w, 1, 1, 100));
			until_bytes(&w, 0);
			cr_assert_eq(exists(&w, 1, 1, 100), kind == 2, "only what is no directory goes");
			if (kind == 2)
				rmdir(path);
		}
	}
	cr_assert_eq(access(other, F_OK), 0);
	/* Nor is one followed when a block is written. */
	cr_assert_eq(unlink(other), 0);
	cr_assert_eq(symlink(other, path), 0);
	put_all(&w, 1, 1, 100);
	cr_assert_neq(access(other, F_OK), 0);
	cr_assert(get(&w, 1, 1, 100));
	bw_blob_unref(bytes);
	world_done(&w);
}

Test(disk_cache, files_of_others_stay_and_those_of_other_streams_go)
{
	static const char *const others[] = {"notes.txt", "bw1-", "bw2-00", ".hidden", "bw1-zz"};
	struct world w;
	unsigned files;
	char path[512];

	world_init(&w, MIB);
	put_all(&w, 5, 1, 100);
	world_close(&w);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", w.dir, others[i]);
		write_file(path, "mine", 4);
	}
	w.config.stream[15] = 9;
	world_open(&w);
	cr_assert_eq(stats(&w)->blocks, 0);
	(void)on_disk(&w, &files);
	cr_assert_eq(files, 4, "and one that begins with a dot");
	cr_assert_eq(stats(&w)->bytes, 0);
	world_done(&w);
}

Test(disk_cache, one_block_of_two_lengths_is_counted_once)
{
	struct world w;
	char path[512];
	unsigned files;

	world_init(&w, MIB);
	put_all(&w, 5, 1, 100);
	world_close(&w);
	path_of(&w, 5, 1, 3, path);
	write_file(path, "abc", 3);
	world_open(&w);
	cr_assert_eq(stats(&w)->blocks, 1);
	(void)on_disk(&w, &files);
	cr_assert_eq(files, 1);
	(void)get(&w, 5, 1, 100);
	world_done(&w);
}

Test(disk_cache, deleted_below_it_is_absent_and_can_be_kept_again)
{
	struct world w;
	char path[512];

	world_init(&w, MIB);
	put_all(&w, 1, 1, 100);
	path_of(&w, 1, 1, 100, path);
	cr_assert_eq(unlink(path), 0);
	cr_assert_not(get(&w, 1, 1, 100));
	put_all(&w, 1, 1, 100);
	cr_assert(get(&w, 1, 1, 100));
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(rmdir(w.dir), 0);
	cr_assert_not(get(&w, 1, 1, 100));
	put_all(&w, 1, 2, 100);
	cr_assert_not(stats(&w)->paused, "the directory was made again");
	cr_assert(get(&w, 1, 2, 100));
	world_again(&w);
	cr_assert(get(&w, 1, 2, 100));
	world_done(&w);
}

Test(disk_cache, why_its_directory_cannot_be_made_again_is_told)
{
	struct world w;
	int other;
	char why[400];

	world_init(&w, MIB);
	cr_assert_eq(rmdir(w.dir), 0);
	cr_assert_eq(bw_disk_dir_open(w.dir, &other, why, sizeof(why)), 0, "%s", why);
	put(&w, 1, 1, 100);
	while (bw_disk_state(w.d) != BW_DISK_DOES_NOT_FILL)
		bw_sleep(BW_MS);
	while (logged(&w, "another mount uses this directory") == 0)
		bw_sleep(BW_MS);
	close(other);
	atomic_fetch_add(&test_now, 60 * BW_SEC);
	put_all(&w, 1, 1, 100);
	cr_assert(get(&w, 1, 1, 100));
	world_done(&w);
}

Test(disk_cache, where_its_directory_cannot_be_made_again_it_does_not_fill)
{
	struct world w;

	world_init(&w, MIB);
	put_all(&w, 1, 1, 100);
	cr_assert_eq(bw_disk_state(w.d), BW_DISK_FILLS);
	bw_test_rmtree(w.root);
	put(&w, 1, 2, 100);
	while (bw_disk_state(w.d) != BW_DISK_DOES_NOT_FILL)
		bw_sleep(BW_MS);
	world_close(&w);
	bw_log_close(w.log);
}

Test(disk_cache, what_its_asker_calls_damaged_goes)
{
	struct world w;

	world_init(&w, MIB);
	put_all(&w, 1, 1, 100);
	put_all(&w, 1, 2, 100);
	bw_disk_forget(w.d, 1, 1);
	bw_disk_forget(w.d, 1, 1);
	cr_assert_not(get(&w, 1, 1, 100));
	cr_assert(get(&w, 1, 2, 100));
	until_bytes(&w, PAGE);
	cr_assert_not(exists(&w, 1, 1, 100));
	world_done(&w);
}

/* ---- What is reclaimed ------------------------------------------------------------------------ */

Test(disk_cache, steps_below_first_go_and_come_no_more)
{
	struct world w;
	unsigned files;

	world_init(&w, MIB);
	for (uint64_t step = 0; step < 100; step++)
		put_all(&w, step, 1, 100);
	bw_disk_reclaimed(w.d, 60);
	bw_disk_reclaimed(w.d, 50);
	while (stats(&w)->bytes != 40 * PAGE)
		bw_sleep(BW_MS);
	put(&w, 59, 1, 100);
	put_all(&w, 60, 2, 100);
	cr_assert_not(get(&w, 59, 1, 100));
	cr_assert(get(&w, 60, 1, 100));
	w.config.first = 90;
	world_again(&w);
	cr_assert_eq(stats(&w)->blocks, 10);
	(void)on_disk(&w, &files);
	cr_assert_eq(files, 10);
	world_done(&w);
}

/* ---- The directory ---------------------------------------------------------------------------- */

static void refused(const struct world *w, const char *dir, int err, const char *sentence)
{
	struct bw_disk_config config = w->config;
	struct bw_disk_cache *d;
	char why[400] = "";

	config.dir = dir;
	cr_assert_eq(bw_disk_new(&config, &d, why, sizeof(why)), err, "%s", why);
	cr_assert(strstr(why, sentence), "%s", why);
}

Test(disk_cache, a_directory_is_private_and_of_one_daemon)
{
	struct world w;
	char other[BW_TMPDIR_MAX + 16];

	world_init(&w, MIB);
	refused(&w, w.dir, -EBUSY, "another mount uses this directory");
	world_close(&w);
	for (unsigned bit = 1; bit <= 040; bit <<= 1) {
		cr_assert_eq(chmod(w.dir, 0700 | bit), 0);
		refused(&w, w.dir, -EPERM, "chmod 700");
	}
	for (unsigned bit = 0100; bit <= 0400; bit <<= 1) {
		cr_assert_eq(chmod(w.dir, 0700 & ~bit), 0);
		bool is_seen = geteuid() == 0 || bit != 0400;
		refused(&w, w.dir, is_seen ? -EPERM : -EACCES, is_seen ? "chmod 700" : "Permission denied");
	}
	cr_assert_eq(chmod(w.dir, 0700), 0);
	if (geteuid() == 0) {
		cr_assert_eq(chown(w.dir, 1, 1), 0);
		refused(&w, w.dir, -EPERM, "another user");
		cr_assert_eq(chown(w.dir, 0, 0), 0);
	}
	snprintf(other, sizeof(other), "%s/link", w.root);
	cr_assert_eq(symlink(w.dir, other), 0);
	refused(&w, other, -ENOTDIR, "symbolic link");
	refused(&w, w.log_path, -ENOTDIR, "not a directory");
	refused(&w, "relative", -EINVAL, "absolute path");
	snprintf(other, sizeof(other), "%s/no/where", w.root);
	refused(&w, other, -ENOENT, "No such file");
	world_open(&w);
	world_done(&w);
}
