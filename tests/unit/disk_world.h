/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk cache in a directory of its own, for its tests: with a clock and a budget to order, and blocks whose bytes
 * follow from their names.  Include in one file of a test program.
 */
#ifndef BW_TESTS_DISK_WORLD_H
#define BW_TESTS_DISK_WORLD_H

#include "fs/disk_cache.h"

#include "store/base/clock.h"
#include "store/base/sync.h"
#include "tests/support/tmpdir.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PAGE UINT64_C(4096)
#define MIB (UINT64_C(1) << 20)
#define FILE_COST 80u	/* as docs/operations.md tells it */

static atomic_int_fast64_t test_now = 1000 * BW_SEC;

static inline int64_t now(void)
{
	return atomic_load(&test_now);
}

struct world {
	char root[BW_TMPDIR_MAX], dir[BW_TMPDIR_MAX + 8], log_path[BW_TMPDIR_MAX + 8];
	struct bw_disk_config config;
	struct bw_budget budget;
	struct bw_log *log;
	struct bw_disk_cache *d;
};

static inline void world_open(struct world *w)
{
	char why[400] = "";

	cr_assert_eq(bw_disk_new(&w->config, &w->d, why, sizeof(why)), 0, "%s", why);
	while (!atomic_load(&bw_disk_stats(w->d)->ready))
		bw_sleep(BW_MS);
}

static inline void world_close(struct world *w)
{
	bw_disk_free(w->d);
	w->d = NULL;
	cr_assert_eq(bw_budget_used(&w->budget), 0, "all memory is given back");
}

static inline void world_again(struct world *w)
{
	world_close(w);
	world_open(w);
}

static inline void world_init(struct world *w, uint64_t size)
{
	memset(w, 0, sizeof(*w));
	bw_test_tmpdir(w->root);
	snprintf(w->dir, sizeof(w->dir), "%s/cache", w->root);
	snprintf(w->log_path, sizeof(w->log_path), "%s/log", w->root);
	cr_assert_eq(bw_log_open(w->log_path, BW_LOG_DEBUG, &w->log), 0);
	bw_budget_init(&w->budget, 64 * MIB);
	w->config = (struct bw_disk_config){
		.dir = w->dir, .size = size, .stream = {1, 2, 3}, .budget = &w->budget, .log = w->log, .now = now};
	world_open(w);
}

static inline void world_done(struct world *w)
{
	world_close(w);
	bw_log_close(w->log);
	bw_test_rmtree(w->root);
}

static inline const struct bw_disk_stats *stats(const struct world *w)
{
	return bw_disk_stats(w->d);
}

static inline unsigned logged(const struct world *w, const char *word)
{
	FILE *f = fopen(w->log_path, "re");
	char line[4096];
	unsigned n = 0;

	cr_assert(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, word) != NULL;
	fclose(f);
	return n;
}

/* What block (step, number) holds: len bytes that no other has. */
static inline struct bw_blob *bytes_of(uint64_t step, uint32_t number, size_t len)
{
	struct bw_blob *b = bw_blob_new(len);

	cr_assert(b);
	for (size_t i = 0; i < len; i++)
		b->bytes[i] = (uint8_t)(step * 7 + number * 31 + i * 13 + i / 256);
	return b;
}

static inline void put(struct world *w, uint64_t step, uint32_t number, size_t len)
{
	struct bw_blob *b = bytes_of(step, number, len);

	bw_disk_put(w->d, step, number, b);
	bw_blob_unref(b);
}

/* Waits until it is on the disk. */
static inline void put_all(struct world *w, uint64_t step, uint32_t number, size_t len)
{
	uint64_t before = atomic_load(&stats(w)->written);

	put(w, step, number, len);
	while (atomic_load(&stats(w)->written) == before || !bw_disk_has(w->d, step, number))
		bw_sleep(BW_MS);
}

struct getting {
	struct bw_disk_get get;
	struct bw_mutex lock;
	struct bw_cond cond;
	bool came, over, hold;
	struct bw_blob *bytes;
};

static inline void came(struct bw_disk_get *get, struct bw_blob *bytes)
{
	struct getting *g = (struct getting *)get;

	BW_LOCK_SCOPE(&g->lock);
	g->bytes = bytes;
	g->came = true;
	bw_cond_broadcast(&g->cond);
	while (g->hold)
		bw_cond_wait(&g->cond, &g->lock);
	g->over = true;
	bw_cond_broadcast(&g->cond);
}

static inline bool get_start(struct world *w, struct getting *g, uint64_t step, uint32_t number, uint32_t len)
{
	*g = (struct getting){.get = {.step = step, .number = number, .len = len, .done = came}, .hold = g->hold};
	bw_mutex_init(&g->lock, BW_RANK_STATUS);
	bw_cond_init(&g->cond);
	return bw_disk_get(w->d, &g->get);
}

static inline void get_wait(struct getting *g)
{
	bw_lock(&g->lock);
	while (!g->over)
		bw_cond_wait(&g->cond, &g->lock);
	bw_unlock(&g->lock);
}

static inline bool get(struct world *w, uint64_t step, uint32_t number, uint32_t len)
{
	struct getting g = {.hold = false};
	struct bw_blob *want = bytes_of(step, number, len);

	if (get_start(w, &g, step, number, len))
		get_wait(&g);
	bool there = g.bytes;
	if (there)
		cr_assert(g.bytes->len == len && memcmp(g.bytes->bytes, want->bytes, len) == 0);
	bw_blob_unref(g.bytes);
	bw_blob_unref(want);
	return there;
}

static inline void path_of(const struct world *w, uint64_t step, uint32_t number, uint32_t len, char path[512])
{
	struct bw_disk_name n = {.step = step, .number = number, .len = len};
	char name[BW_DISK_NAME_LEN + 1];

	memcpy(n.stream, w->config.stream, sizeof(n.stream));
	bw_disk_name_print(&n, name);
	snprintf(path, 512, "%s/%s", w->dir, name);
}

static inline bool exists(const struct world *w, uint64_t step, uint32_t number, uint32_t len)
{
	struct stat st;
	char path[512];

	path_of(w, step, number, len, path);
	return lstat(path, &st) == 0;
}

/* What was damaged is deleted in the background. */
static inline void until_bytes(const struct world *w, uint64_t bytes)
{
	while (atomic_load(&stats(w)->bytes) != bytes)
		bw_sleep(BW_MS);
}

static inline void write_file(const char *path, const void *bytes, size_t len)
{
	FILE *f = fopen(path, "we");

	cr_assert(f && fwrite(bytes, 1, len, f) == len && fclose(f) == 0);
}

/* Files in the directory, and their bytes in whole pages. */
static inline uint64_t on_disk(const struct world *w, unsigned *ret_files)
{
	DIR *d = opendir(w->dir);
	struct dirent *e;
	struct stat st;
	uint64_t bytes = 0;

	cr_assert(d);
	*ret_files = 0;
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.' || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		bytes += ((uint64_t)st.st_size + PAGE - 1) / PAGE * PAGE;
		++*ret_files;
	}
	closedir(d);
	return bytes;
}

#endif
