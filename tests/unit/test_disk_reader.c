/* SPDX-License-Identifier: Apache-2.0 */
/* What a reader makes of a disk cache: the same bytes as without one, and the store asked less. */
#include "tests/support/seed.h"
#include "tests/support/tmpdir.h"
#include "tests/unit/reader_told.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#define KIB UINT64_C(1024)

struct cached {
	struct world w;
	struct world_options o;
	struct bw_budget budget;	/* of the cache alone, so that the reader's can be checked */
	char root[BW_TMPDIR_MAX], dir[BW_TMPDIR_MAX + 8];
};

/* A new reader, that has nothing in memory; what an earlier one wrote is on the disk. */
static void reopen(struct cached *c)
{
	struct bw_disk_config config = {.dir = c->dir, .size = 64 * MIB, .budget = &c->budget, .log = c->w.log, .now = bw_now};
	char why[400] = "";

	world_stop(&c->w);
	bw_disk_free(c->w.disk);
	memcpy(config.stream, c->w.stream.id, sizeof(config.stream));
	cr_assert_eq(bw_disk_new(&config, &c->w.disk, why, sizeof(why)), 0, "%s", why);
	while (!atomic_load(&bw_disk_stats(c->w.disk)->ready))
		bw_sleep(BW_MS);
	world_reader(&c->w, &c->o);
}

static void cached_init(struct cached *c, const struct world_options *o)
{
	c->o = *o;
	bw_test_tmpdir(c->root);
	snprintf(c->dir, sizeof(c->dir), "%s/cache", c->root);
	bw_budget_init(&c->budget, 512 * MIB);
	world_init(&c->w, o);
	c->w.disk = NULL;
	reopen(c);
}

static void cached_done(struct cached *c)
{
	struct bw_disk_cache *disk = c->w.disk;

	world_stop(&c->w);
	bw_disk_free(disk);
	cr_assert_eq(bw_budget_used(&c->budget), 0);
	world_done(&c->w);
	bw_test_rmtree(c->root);
}

static void until_blocks(struct cached *c, uint64_t n)
{
	while (atomic_load(&bw_disk_stats(c->w.disk)->blocks) < n)
		bw_sleep(BW_MS);
	cr_assert_eq(bw_disk_stats(c->w.disk)->blocks, n);
}

static void read_all(struct cached *c)
{
	for (uint64_t step = 0; step < c->w.head.root.head; step++)
		for (uint32_t rank = 0; rank < c->o.ranks; rank++)
			cr_assert_eq(world_read(&c->w, step, rank, 0, c->w.tgbs[step]->slices[rank].raw, true), 0);
}

static uint64_t blocks_of(const struct cached *c)
{
	uint64_t n = 0;

	for (uint64_t step = 0; step < c->w.head.root.head; step++)
		n += c->w.tgbs[step]->blocks_n;
	return n;
}

static void check_sources(const struct cached *c)
{
	const struct bw_counters *k = &c->w.counters;

	cr_assert_eq(k->read_cache + k->read_disk + k->read_store, k->useful);
	cr_assert_eq(k->checksum_failures, 0);
}

/* Then none is fetched ahead, and only blocks are counted. */
static void learn_footers(struct cached *c)
{
	for (uint64_t step = 0; step < c->w.head.root.head; step++)
		bw_reader_learn(c->w.reader, &c->w.head.entries[step], c->w.tgbs[step], NULL);
}

/* Reads all, twice: the second time nothing is asked of the store. */
static void second_time_from_disk(const struct world_options *o, const uint64_t *sizes)
{
	struct cached c;

	cached_init(&c, o);
	for (int step = 0; step < 4; step++)
		world_commit(&c.w, sizes);
	learn_footers(&c);
	read_all(&c);
	until_blocks(&c, blocks_of(&c));
	reopen(&c);
	learn_footers(&c);
	uint64_t gets = world_gets(&c.w), disk = c.w.counters.read_disk;

	read_all(&c);
	world_stop(&c.w);
	cr_assert_eq(world_gets(&c.w), gets);
	cr_assert_gt(c.w.counters.read_disk, disk);
	cr_assert_eq(bw_disk_stats(c.w.disk)->damaged, 0);
	cr_assert_eq(bw_disk_stats(c.w.disk)->written, 0, "what is there is not written again");
	check_sources(&c);
	cached_done(&c);
}

static const uint64_t even[] = {256 * KIB, 256 * KIB, 256 * KIB, 256 * KIB};
static const uint64_t uneven[] = {1, 64 * KIB + 1, 700 * KIB + 13, 64 * KIB - 1};

Test(disk_reader, V5_blocks_got_alone)
{
	second_time_from_disk(&(struct world_options){.ranks = 4, .block_size = 64 * KIB}, uneven);
}

Test(disk_reader, V5_blocks_got_together_and_cut)
{
	second_time_from_disk(&(struct world_options){
		.ranks = 4, .block_size = 64 * KIB, .prefetch = 2, .together = 256 * KIB}, even);
}

Test(disk_reader, V5_blocks_got_together_in_one_piece)
{
	second_time_from_disk(&(struct world_options){
		.ranks = 4, .block_size = 64 * KIB, .prefetch = 2, .together = 256 * KIB}, uneven);
}

Test(disk_reader, V5_compressed_blocks)
{
	second_time_from_disk(&(struct world_options){.ranks = 4, .block_size = 64 * KIB, .prefetch = 2,
		.together = 256 * KIB, .compress = BW_COMPRESS_ZSTD}, uneven);
}

Test(disk_reader, V5_a_footer)
{
	struct bw_tgb *tgb;
	struct cached c;

	cached_init(&c, &(struct world_options){.ranks = 4, .block_size = 64 * KIB});
	world_commit(&c.w, even);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(world_tgb(&c.w, &c.w.head.entries[0], &tgb), 0);
		cr_assert_eq(tgb->slices[3].raw, 256 * KIB);
		bw_tgb_unref(tgb);
		until_blocks(&c, 1);
		reopen(&c);
	}
	cr_assert_eq(world_gets(&c.w), 1);
	cached_done(&c);
}

Test(disk_reader, blocks_on_the_disk_part_those_that_come_together)
{
	struct cached c;

	cached_init(&c, &(struct world_options){.ranks = 1, .block_size = 16 * KIB});
	uint64_t size = 16 * 16 * KIB;
	world_commit(&c.w, &size);
	for (uint64_t at = 0; at < size; at += 5 * 16 * KIB)
		cr_assert_eq(world_read(&c.w, 0, 0, at, 16 * KIB, false), 0);
	until_blocks(&c, 4);
	c.o.prefetch = 1;
	c.o.together = MIB;
	reopen(&c);
	uint64_t gets = world_gets(&c.w), before = c.w.counters.read_disk;

	for (uint64_t at = 0; at < size; at += 4 * KIB)
		cr_assert_eq(world_read(&c.w, 0, 0, at, 4 * KIB, true), 0);
	world_stop(&c.w);
	cr_assert_lt(world_gets(&c.w) - gets, 12, "some of the twelve others came together");
	cr_assert_gt(c.w.counters.read_disk, before);
	until_blocks(&c, 16);
	check_sources(&c);
	cached_done(&c);
}

/* ---- Damage ----------------------------------------------------------------------------------- */

static unsigned spoil_all(const struct cached *c, uint64_t seed)
{
	DIR *d = opendir(c->dir);
	struct bw_rng rng;
	struct dirent *e;
	unsigned n = 0;

	bw_rng_init(&rng, seed);
	cr_assert(d);
	while ((e = readdir(d))) {
		struct stat st;
		uint8_t byte;
		int fd = e->d_name[0] == '.' ? -1 : openat(dirfd(d), e->d_name, O_RDWR);
		if (fd < 0)
			continue;
		cr_assert_eq(fstat(fd, &st), 0);
		if (!st.st_size) {	/* it is being written */
			close(fd);
			continue;
		}
		off_t at = (off_t)bw_rng_below(&rng, (uint64_t)st.st_size);
		cr_assert_eq(pread(fd, &byte, 1, at), 1);
		byte ^= (uint8_t)(1u << bw_rng_below(&rng, 8));
		cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
		close(fd);
		n++;
	}
	closedir(d);
	return n;
}

static void damage(const struct world_options *o)
{
	uint64_t seed = bw_test_seed(), sizes[] = {1, 64 * KIB, 200 * KIB + 13, 3};
	struct bw_tgb *tgb;
	struct cached c;

	cr_log_info("BW_SEED=%" PRIu64, seed);
	cached_init(&c, o);
	world_commit(&c.w, sizes);
	for (uint64_t round = 0; round < 20; round++) {
		read_all(&c);
		cr_assert_eq(world_tgb(&c.w, &c.w.head.entries[0], &tgb), 0);
		bw_tgb_unref(tgb);
		until_blocks(&c, blocks_of(&c) + 1);
		cr_assert_eq(bw_disk_stats(c.w.disk)->damaged, round ? blocks_of(&c) + 1 : 0);
		reopen(&c);
		cr_assert_eq(spoil_all(&c, seed + round), blocks_of(&c) + 1);
	}
	cr_assert_eq(world_gets(&c.w), 20 * (blocks_of(&c) + 1), "each was fetched anew each time");
	cr_assert_eq(world_log_lines(&c.w, " error "), 0);
	check_sources(&c);
	cached_done(&c);
}

Test(disk_reader, V5_a_bit_anywhere_is_seen)
{
	damage(&(struct world_options){.ranks = 4, .block_size = 64 * KIB});
}

Test(disk_reader, V5_a_bit_anywhere_in_compressed_blocks_is_seen)
{
	damage(&(struct world_options){.ranks = 4, .block_size = 64 * KIB, .compress = BW_COMPRESS_ZSTD});
}

/* ---- What is reclaimed ------------------------------------------------------------------------ */

Test(disk_reader, V6_a_reclaimed_step_is_not_served_from_the_disk)
{
	struct cached c;

	cached_init(&c, &(struct world_options){.ranks = 4, .block_size = 64 * KIB});
	world_commit_even(&c.w, 2, 64 * KIB);
	read_all(&c);
	until_blocks(&c, 8);
	reopen(&c);
	c.w.head.root.first = c.w.head.first_after_ask = 1;
	/* Within the grace the object is there: what reads then, reads the store. */
	uint64_t gets = world_gets(&c.w);
	cr_assert_eq(world_read(&c.w, 0, 0, 0, 64 * KIB, false), 0);
	cr_assert_eq(world_gets(&c.w), gets + 1);
	world_delete(&c.w, 0);
	cr_assert_eq(world_read(&c.w, 0, 1, 0, 64 * KIB, false), -BW_E_RECLAIMED);
	world_delete(&c.w, 1);
	cr_assert_eq(world_read(&c.w, 1, 1, 0, 64 * KIB, false), 0);
	cached_done(&c);
}

/* ---- Much at once ----------------------------------------------------------------------------- */

struct one {
	struct cached *c;
	pthread_t thread;
	uint64_t seed;
	int err;
};

static void *read_much(void *arg)
{
	struct one *o = arg;
	struct bw_rng rng;

	bw_rng_init(&rng, o->seed);
	for (int i = 0; i < 150 && !o->err; i++)
		o->err = world_read(&o->c->w, bw_rng_below(&rng, 4), (uint32_t)bw_rng_below(&rng, 4),
				    bw_rng_below(&rng, 700 * KIB), bw_rng_below(&rng, 200 * KIB), bw_rng_below(&rng, 2));
	return NULL;
}

Test(disk_reader, V5_many_readers_with_little_memory_while_files_go)
{
	uint64_t seed = bw_test_seed();
	struct one threads[4];
	struct cached c;

	cr_log_info("BW_SEED=%" PRIu64, seed);
	cached_init(&c, &(struct world_options){
		.ranks = 4, .block_size = 64 * KIB, .budget = MIB, .prefetch = 1, .together = 256 * KIB});
	for (int step = 0; step < 4; step++)
		world_commit(&c.w, uneven);
	for (int i = 0; i < 4; i++) {
		threads[i] = (struct one){.c = &c, .seed = seed + (uint64_t)i};
		cr_assert_eq(bw_thread_start(&threads[i].thread, "reader", read_much, &threads[i]), 0);
	}
	for (int i = 0; i < 20; i++) {
		bw_sleep(5 * BW_MS);
		(void)spoil_all(&c, seed + 100 + (uint64_t)i);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i].thread, NULL);
		cr_assert_eq(threads[i].err, 0);
	}
	check_sources(&c);
	cached_done(&c);
}

/* One step, whose first slice somebody has read if is_read. */
static void told_begin(struct cached *c, bool is_read)
{
	static const struct world_options options = {.ranks = 2, .block_size = 16 * KIB, .prefetch = 1};

	cached_init(c, &options);
	world_commit_even(&c->w, 1, 100);
	if (is_read)
		cr_assert_eq(world_read(&c->w, 0, 0, 0, 100, true), 0);
}

/* V6: what a root has brought along is on the disk like what was fetched, once somebody has asked for it. */
Test(disk_reader, V6_footers_that_were_told_are_kept_as_well)
{
	struct cached c;
	struct bw_tgb *tgb;
	struct told t;

	told_begin(&c, true);
	until_blocks(&c, 1);
	world_commit_even(&c.w, 2, 100);
	for (uint64_t step = 1; step < 3; step++) {
		told_init(&t, &c.w, step);
		bw_reader_root(c.w.reader, &t.root);
		told_done(&t);
	}
	uint64_t gets = world_gets(&c.w);

	for (int again = 0; again < 2; again++) {
		cr_assert_eq(world_tgb(&c.w, &c.w.head.entries[1], &tgb), 0);
		bw_tgb_unref(tgb);
	}
	until_blocks(&c, 2);
	reopen(&c);
	cr_assert_eq(bw_disk_stats(c.w.disk)->blocks, 2, "nobody has asked for step 2");
	cr_assert_eq(world_tgb(&c.w, &c.w.head.entries[1], &tgb), 0);
	bw_tgb_unref(tgb);
	cr_assert_eq(world_gets(&c.w), gets);
	cached_done(&c);
}

/* What was committed here is learnt where readers are near; elsewhere it would fill memory for the disk's sake. */
Test(disk_reader, S6_own_footers_are_learnt_near_readers)
{
	for (int is_read = 0; is_read < 2; is_read++) {
		struct cached c;
		struct bw_tgb *tgb;
		struct told t;

		told_begin(&c, is_read);
		world_commit_even(&c.w, 1, 100);
		told_init(&t, &c.w, 1);
		bw_reader_learn(c.w.reader, &t.entry, c.w.tgbs[1], t.footer.bytes);
		told_done(&t);
		uint64_t gets = world_gets(&c.w);

		cr_assert_eq(world_tgb(&c.w, &c.w.head.entries[1], &tgb), 0);
		bw_tgb_unref(tgb);
		cr_assert_eq(world_gets(&c.w) - gets, is_read ? 0 : 1);
		cached_done(&c);
	}
}
