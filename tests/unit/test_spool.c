/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/spool.h"

#include "store/base/rand.h"
#include "tests/support/seed.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

struct world {
	struct bw_budget budget;
	struct bw_spool_space space;
	char dir[64];
	uint64_t asked;		/* bytes asked back */
	uint64_t elsewhere;	/* bytes that can be given back */
};

static void reclaim(void *ctx, uint64_t bytes)
{
	struct world *w = ctx;
	uint64_t n = bytes < w->elsewhere ? bytes : w->elsewhere;

	w->asked += bytes;
	w->elsewhere -= n;
	bw_budget_give(&w->budget, n);
}

static void world_init(struct world *w, uint64_t budget, uint64_t memory_max)
{
	memset(w, 0, sizeof(*w));
	bw_budget_init(&w->budget, budget);
	snprintf(w->dir, sizeof(w->dir), "/tmp/bw-spool-XXXXXX");
	cr_assert(mkdtemp(w->dir));
	w->space.budget = &w->budget;
	w->space.memory_max = memory_max;
	w->space.dir = w->dir;
	w->space.reclaim = reclaim;
	w->space.ctx = w;
}

static void world_done(struct world *w)
{
	cr_assert_eq(bw_budget_used(&w->budget), w->elsewhere, "spools have given everything back");
	cr_assert_eq(w->space.memory, 0);
	cr_assert_eq(w->space.disk, 0);
	cr_assert_eq(rmdir(w->dir), 0, "no temporary file has a name: %s", strerror(errno));
}

static struct bw_spool *spool_new(struct world *w)
{
	struct bw_spool *s;

	cr_assert_eq(bw_spool_new(&w->space, &s), 0);
	return s;
}

/* ---- Against a model -------------------------------------------------------------------------- */

#define MODEL_MAX (6 * MIB)
struct model {
	uint8_t *bytes;		/* zeros above size */
	uint64_t size;
};

static void check_same(struct bw_spool *s, struct model *m, struct bw_rng *rng)
{
	static uint8_t got[MODEL_MAX + 4096];
	uint64_t off = bw_rng_below(rng, m->size + 100), len = bw_rng_below(rng, 3 * MIB) + 1;
	uint64_t want = off >= m->size ? 0 : m->size - off < len ? m->size - off : len;

	cr_assert_eq(bw_spool_size(s), m->size);
	memset(got, 0xee, len);
	cr_assert_eq(bw_spool_read(s, off, got, len), (ssize_t)want);
	cr_assert(memcmp(got, m->bytes + off, want) == 0, "bytes at %" PRIu64 "+%" PRIu64, off, want);
	cr_assert(want == len || got[want] == 0xee, "nothing behind the end is touched");
}

static void change(struct bw_spool *s, struct model *m, struct bw_rng *rng)
{
	static uint8_t bytes[2 * MIB];
	uint64_t off = bw_rng_below(rng, 2) ? m->size : bw_rng_below(rng, MODEL_MAX);
	uint64_t len = bw_rng_below(rng, 4) ? bw_rng_below(rng, 9000) : bw_rng_below(rng, sizeof(bytes));

	if (off + len > MODEL_MAX)
		len = MODEL_MAX - off;
	switch (bw_rng_below(rng, 8)) {
	case 0:
		cr_assert_eq(bw_spool_truncate(s, off), 0);
		if (off < m->size)
			memset(m->bytes + off, 0, m->size - off);
		m->size = off;
		break;
	case 1:
		cr_assert_eq(bw_spool_punch(s, off, len), 0);
		memset(m->bytes + off, 0, len);
		break;
	default:
		memset(bytes, (int)bw_rng_below(rng, 255) + 1, len);
		cr_assert_eq(bw_spool_write(s, off, bytes, len), 0);
		memcpy(m->bytes + off, bytes, len);
		if (len && off + len > m->size)
			m->size = off + len;
	}
}

static void against_model(uint64_t budget, uint64_t memory_max, bool expect_disk)
{
	uint64_t seed = bw_test_seed();
	struct bw_rng rng;
	struct world w;

	cr_log_info("BW_SEED=%" PRIu64, seed);
	bw_rng_init(&rng, seed);
	world_init(&w, budget, memory_max);
	for (int round = 0; round < 6; round++) {
		struct bw_spool *s = spool_new(&w);
		struct model m = {.bytes = calloc(1, MODEL_MAX + 4096)};
		bool disk = false;
		cr_assert(m.bytes);
		for (int i = 0; i < 120; i++) {
			change(s, &m, &rng);
			check_same(s, &m, &rng);
			disk |= w.space.disk > 0;
			cr_assert_leq(w.space.memory, memory_max);
			cr_assert_leq(bw_budget_used(&w.budget), budget);
		}
		cr_assert(!disk || expect_disk);
		bw_spool_free(s);
		free(m.bytes);
	}
	world_done(&w);
}

Test(spool, P2_random_changes_in_memory)
{
	against_model(64 * MIB, 64 * MIB, false);
}

Test(spool, P2_random_changes_across_the_spill)
{
	against_model(64 * MIB, 2 * MIB, true);
}

Test(spool, P2_random_changes_without_memory)
{
	against_model(0, 0, true);
}

/* ---- Where the bytes are ---------------------------------------------------------------------- */

Test(spool, S6_memory_goes_to_a_file_when_the_share_is_used_up)
{
	static uint8_t bytes[MIB];
	struct world w;

	world_init(&w, 64 * MIB, 2 * MIB);
	struct bw_spool *a = spool_new(&w), *b = spool_new(&w);

	cr_assert_eq(bw_spool_write(a, 0, bytes, MIB), 0);
	cr_assert_eq(bw_spool_write(b, 0, bytes, MIB), 0);
	cr_assert_eq(w.space.memory, 2 * MIB);
	cr_assert_eq(w.space.disk, 0);
	cr_assert_eq(bw_spool_stored(a), MIB);
	cr_assert_eq(bw_spool_write(a, MIB, bytes, 1), 0);
	cr_assert_eq(w.space.memory, MIB, "all of it has moved");
	cr_assert_eq(w.space.disk, MIB + 1);
	cr_assert_eq(bw_budget_used(&w.budget), MIB);
	cr_assert_eq(bw_spool_truncate(a, 0), 0);
	cr_assert_eq(w.space.disk, 0, "an emptied file starts in memory again");
	cr_assert_eq(bw_spool_write(a, 0, bytes, MIB), 0);
	cr_assert_eq(w.space.memory, 2 * MIB);
	bw_spool_free(a);
	bw_spool_free(b);
	world_done(&w);
}

Test(spool, S6_asks_others_before_it_goes_to_a_file)
{
	static uint8_t bytes[MIB];
	struct world w;

	world_init(&w, 4 * MIB, 4 * MIB);
	w.elsewhere = 4 * MIB;
	cr_assert(bw_budget_take(&w.budget, 4 * MIB));
	struct bw_spool *s = spool_new(&w);

	cr_assert_eq(bw_spool_write(s, 0, bytes, MIB), 0);
	cr_assert_eq(w.asked, MIB);
	cr_assert_eq(w.space.disk, 0);
	cr_assert_eq(bw_budget_used(&w.budget), 4 * MIB);
	bw_spool_free(s);
	world_done(&w);
}

/* P7, S6: the daemon has other uses for the files it may open.  Freed later, their bytes count until then. */
Test(spool, P7_so_many_are_in_files)
{
	struct bw_spool *s[4], *list = NULL;
	struct world w;

	world_init(&w, MIB, 0);
	w.space.files_max = 2;
	for (int i = 0; i < 4; i++) {
		cr_assert_eq(bw_spool_new(&w.space, &s[i]), 0);
		cr_assert_eq(bw_spool_write(s[i], 0, "word", 4), i < 2 ? 0 : -EMFILE);
		cr_assert_eq(bw_spool_size(s[i]), i < 2 ? 4 : 0);
	}
	cr_assert_eq(w.space.files, 2);
	cr_assert_eq(bw_spool_truncate(s[0], 0), 0);
	cr_assert_eq(bw_spool_write(s[2], 0, "word", 4), 0);
	cr_assert_eq(bw_spool_write(s[3], 0, "word", 4), -EMFILE);
	bw_spool_free_later(bw_spool_ref(s[1]), &list);
	cr_assert_null(list, "somebody has it");
	for (int i = 0; i < 4; i++)
		bw_spool_free_later(s[i], &list);
	cr_assert_eq(w.space.files, 2);
	cr_assert_eq(w.space.disk, 8);
	bw_spool_free_list(list);
	cr_assert_eq(w.space.files, 0);
	world_done(&w);
}

Test(spool, P2_a_hole_costs_nothing)
{
	struct world w;
	uint8_t got[3] = {9, 9, 9};

	world_init(&w, 64 * MIB, 8 * MIB);
	struct bw_spool *s = spool_new(&w);

	cr_assert_eq(bw_spool_write(s, 1000 * MIB, "x", 1), 0);
	cr_assert_eq(bw_spool_size(s), 1000 * MIB + 1);
	cr_assert_leq(bw_spool_stored(s), 4096);
	cr_assert_eq(bw_spool_read(s, 1000 * MIB - 1, got, 3), 2);
	cr_assert(got[0] == 0 && got[1] == 'x' && got[2] == 9);
	/* So far that the table of chunks would be large: a sparse file. */
	cr_assert_eq(bw_spool_write(s, UINT64_C(1) << 38, "y", 1), 0);
	cr_assert_eq(w.space.memory, 0);
	cr_assert_leq(bw_spool_stored(s), 64 << 10, "%" PRIu64, bw_spool_stored(s));
	cr_assert_eq(bw_spool_read(s, 1000 * MIB, got, 1), 1);
	cr_assert_eq(got[0], 'x');
	bw_spool_free(s);
	world_done(&w);
}

Test(spool, a_write_of_nothing_changes_nothing)
{
	struct world w;

	world_init(&w, MIB, MIB);
	struct bw_spool *s = spool_new(&w);

	cr_assert_eq(bw_spool_write(s, 5000, "", 0), 0);
	cr_assert_eq(bw_spool_size(s), 0);
	cr_assert_eq(bw_spool_read(s, 0, &(uint8_t){0}, 1), 0);
	bw_spool_free(s);
	world_done(&w);
}

Test(spool, P7_offsets_past_the_limit_are_too_big)
{
	struct world w;

	world_init(&w, MIB, MIB);
	struct bw_spool *s = spool_new(&w);

	cr_assert_eq(bw_spool_write(s, UINT64_MAX, "ab", 2), -EFBIG);
	cr_assert_eq(bw_spool_write(s, UINT64_C(1) << 40, "a", 1), -EFBIG);
	cr_assert_eq(bw_spool_truncate(s, UINT64_MAX), -EFBIG);
	cr_assert_eq(bw_spool_punch(s, 0, UINT64_MAX), 0);
	cr_assert_eq(bw_spool_size(s), 0);
	bw_spool_free(s);
	world_done(&w);
}

/* ---- Failures --------------------------------------------------------------------------------- */

static void expect_bytes(struct bw_spool *s, uint8_t value, uint64_t size)
{
	uint8_t *got = malloc(size + 1);

	cr_assert(got);
	cr_assert_eq(bw_spool_size(s), size);
	cr_assert_eq(bw_spool_read(s, 0, got, size + 1), (ssize_t)size);
	for (uint64_t i = 0; i < size; i++)
		cr_assert_eq(got[i], value, "byte %" PRIu64, i);
	free(got);
}

Test(spool, P7_a_missing_directory_fails_the_write_and_keeps_the_bytes)
{
	static uint8_t bytes[2 * MIB];
	struct world w;

	world_init(&w, 64 * MIB, MIB);
	w.space.dir = "/proc/self/fd/none";
	struct bw_spool *s = spool_new(&w);

	memset(bytes, 7, sizeof(bytes));
	cr_assert_eq(bw_spool_write(s, 0, bytes, MIB / 2), 0);
	cr_assert_eq(bw_spool_write(s, 1, bytes, sizeof(bytes)), -ENOENT);
	expect_bytes(s, 7, MIB / 2);
	cr_assert_leq(w.space.memory, MIB, "a write that failed keeps no memory above the size");
	cr_assert_eq(bw_spool_write(s, 0, bytes, MIB), 0, "what fits still works");
	bw_spool_free(s);
	world_done(&w);
}

/* A file of at most MIB bytes: an append is cut short in its middle. */
Test(spool, P7_an_append_that_fails_midway_leaves_no_tail)
{
	static uint8_t bytes[MIB];
	struct rlimit limit = {.rlim_cur = MIB, .rlim_max = MIB};
	struct world w;

	world_init(&w, 0, 0);
	struct bw_spool *s = spool_new(&w);

	memset(bytes, 7, sizeof(bytes));
	cr_assert_eq(bw_spool_write(s, 0, bytes, MIB - 100), 0);
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	cr_assert_eq(bw_spool_write(s, MIB - 100, bytes, 4096), -EFBIG);
	expect_bytes(s, 7, MIB - 100);
	cr_assert_eq(w.space.disk, MIB - 100);
	bw_spool_free(s);
	world_done(&w);
}

/* A private tmpfs of 1 MiB over the world's directory. */
static void small_disk(struct world *w)
{
	if (geteuid() != 0 && unshare(CLONE_NEWUSER) != 0)
		cr_skip_test("no user namespaces here");
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("none", w->dir, "tmpfs", 0, "size=1m") != 0)
		cr_skip_test("mount: %s", strerror(errno));
}

Test(spool, P7_a_full_disk_says_so_and_the_old_bytes_stand)
{
	static uint8_t bytes[2 * MIB];
	struct world w;

	world_init(&w, 0, 0);
	small_disk(&w);
	struct bw_spool *s = spool_new(&w), *other = spool_new(&w);

	memset(bytes, 7, sizeof(bytes));
	cr_assert_eq(bw_spool_write(s, 0, bytes, MIB / 2), 0);
	cr_assert_eq(bw_spool_write(s, MIB / 2, bytes, MIB), -ENOSPC);
	expect_bytes(s, 7, MIB / 2);
	/* A hole in the middle that the disk cannot fill. */
	cr_assert_eq(bw_spool_punch(s, 4096, MIB / 2 - 8192), 0);
	cr_assert_eq(bw_spool_write(other, 0, bytes, MIB - 16384), 0);
	memset(bytes, 9, sizeof(bytes));
	cr_assert_eq(bw_spool_write(s, 0, bytes, MIB / 2), -ENOSPC);
	uint8_t got[4096 + 1];
	cr_assert_eq(bw_spool_read(s, 0, got, sizeof(got)), (ssize_t)sizeof(got));
	for (int i = 0; i < 4096; i++)
		cr_assert_eq(got[i], 7, "byte %d", i);
	cr_assert_eq(got[4096], 0);
	bw_spool_free(other);
	cr_assert_eq(bw_spool_write(s, 0, bytes, MIB / 2), 0, "room again");
	expect_bytes(s, 9, MIB / 2);
	bw_spool_free(s);
	cr_assert_eq(umount(w.dir), 0);
	world_done(&w);
}

/* A spill that fails leaves the spool in memory, whole. */
Test(spool, P7_a_spill_onto_a_full_disk_loses_nothing)
{
	static uint8_t bytes[2 * MIB];
	struct world w;

	world_init(&w, 64 * MIB, 2 * MIB);
	small_disk(&w);
	struct bw_spool *s = spool_new(&w);

	memset(bytes, 7, sizeof(bytes));
	cr_assert_eq(bw_spool_write(s, 0, bytes, 2 * MIB), 0);
	cr_assert_eq(bw_spool_write(s, 2 * MIB, bytes, 1), -ENOSPC);
	expect_bytes(s, 7, 2 * MIB);
	cr_assert_eq(w.space.disk, 0);
	bw_spool_free(s);
	cr_assert_eq(umount(w.dir), 0);
	world_done(&w);
}

/* ---- As a body and as a sink ------------------------------------------------------------------ */

Test(spool, body_and_sink_are_the_spool)
{
	struct bw_spool_body body;
	struct bw_spool_sink sink;
	struct world w;
	char got[6] = "";

	world_init(&w, MIB, MIB);
	struct bw_spool *s = spool_new(&w);

	bw_spool_sink_init(&sink, s);
	cr_assert_eq(sink.sink.write(&sink.sink, 0, "hello", 5), 0);
	cr_assert_eq(sink.sink.read(&sink.sink, 1, got, 3), 0);
	cr_assert_str_eq(got, "ell");
	cr_assert_eq(sink.sink.read(&sink.sink, 3, got, 3), -EIO, "no short reads");
	bw_spool_body_init(&body, s);
	cr_assert_eq(body.body.size, 5);
	cr_assert_eq(body.body.read(&body.body, 0, got, 5), 0);
	cr_assert_str_eq(got, "hello");
	cr_assert_eq(bw_spool_truncate(s, 2), 0);
	cr_assert_eq(body.body.read(&body.body, 0, got, 5), -EIO, "bytes that went missing are noticed");
	bw_spool_free(s);
	world_done(&w);
}

/* ---- Bytes that others look at, or build on --------------------------------------------------- */

Test(spool, what_is_viewed_stays_as_it_was)
{
	struct bw_blob *hold;
	const uint8_t *bytes;
	struct world w;
	char got[8] = "";

	world_init(&w, 4 * MIB, 4 * MIB);
	struct bw_spool *s = spool_new(&w);

	cr_assert_eq(bw_spool_view(s, 0, 5, &hold, &bytes), 0, "nothing is there");
	cr_assert_eq(bw_spool_write(s, 0, "hello", 5), 0);
	cr_assert_eq(bw_spool_view(s, 1, 100, &hold, &bytes), 4);
	cr_assert_eq(bw_spool_write(s, 0, "HELLO, WORLD", 7), 0);
	cr_assert_arr_eq(bytes, "ello", 4);
	cr_assert_eq(bw_spool_read(s, 0, got, 7), 7);
	cr_assert_arr_eq(got, "HELLO, ", 7);
	bw_blob_unref(hold);
	cr_assert_eq(bw_spool_view(s, 0, 7, &hold, &bytes), 7);
	cr_assert_eq(bw_spool_punch(s, 2, 2), 0);
	cr_assert_eq(bw_spool_truncate(s, 6), 0);
	bw_spool_free(s);
	cr_assert_arr_eq(bytes, "HELLO, ", 7);
	bw_blob_unref(hold);
	world_done(&w);
}

Test(spool, a_promise_is_broken_by_what_changes_bytes_below_it)
{
	struct world w;

	world_init(&w, 4 * MIB, 4 * MIB);
	for (unsigned change = 0; change < 6; change++) {
		struct bw_spool *s = spool_new(&w);
		cr_assert_eq(bw_spool_write(s, 10, "later", 5), 0);
		cr_assert_eq(bw_spool_filled(s), 0, "not from the beginning");
		cr_assert_eq(bw_spool_write(s, 0, "0123456789", 10), 0);
		cr_assert_eq(bw_spool_filled(s), 10);
		bw_spool_promise(s, change == 5 ? UINT64_MAX : 8);
		cr_assert_eq(bw_spool_write(s, 8, "xx", 2), 0);
		cr_assert_eq(bw_spool_broken(s), change == 5);
		switch (change) {
		case 0:
			cr_assert_eq(bw_spool_write(s, 7, "y", 1), 0);
			break;
		case 1:
			cr_assert_eq(bw_spool_truncate(s, 7), 0);
			cr_assert_eq(bw_spool_filled(s), 7);
			break;
		case 2:
			cr_assert_eq(bw_spool_punch(s, 3, 1), 0);
			break;
		case 3:
			cr_assert_eq(bw_spool_write(s, 0, "z", 1), 0);
			break;
		case 4:		/* what lies behind it may come and go */
			cr_assert_eq(bw_spool_truncate(s, 9), 0);
			cr_assert_eq(bw_spool_write(s, 20, "z", 1), 0);
			cr_assert_not(bw_spool_broken(s));
			break;
		default:
			break;
		}
		cr_assert_eq(bw_spool_broken(s), change != 4, "change %u", change);
		bw_spool_free(s);
	}
	world_done(&w);
}

/* ---- A disk that hangs -------------------------------------------------------------------------- */

struct stuck {
	struct world w;
	struct bw_spool *s;
	struct bw_latch begun, go_on;
};

/* Called in the middle of a write: to the spool it is as slow as a disk. */
static void hang(void *ctx, uint64_t bytes)
{
	struct stuck *k = ctx;
	(void)bytes;

	bw_latch_open(&k->begun);
	bw_latch_wait(&k->go_on);
}

static void *write_more(void *arg)
{
	struct stuck *k = arg;
	static uint8_t more[2 * MIB];

	cr_assert_eq(bw_spool_write(k->s, 1000, more, sizeof(more)), 0);
	return NULL;
}

Test(spool, P7_who_asks_for_numbers_does_not_wait_for_a_disk, .timeout = 60)
{
	struct stuck k;
	pthread_t writer;

	world_init(&k.w, MIB, 4 * MIB);
	bw_latch_init(&k.begun);
	bw_latch_init(&k.go_on);
	k.s = spool_new(&k.w);
	cr_assert_eq(bw_spool_write(k.s, 0, "0123456789", 10), 0);
	k.w.space.reclaim = hang;
	k.w.space.ctx = &k;
	cr_assert_eq(pthread_create(&writer, NULL, write_more, &k), 0);
	bw_latch_wait(&k.begun);
	cr_assert_eq(bw_spool_size(k.s), 10);
	cr_assert_eq(bw_spool_filled(k.s), 10);
	cr_assert_geq(bw_spool_stored(k.s), 10);
	bw_spool_promise(k.s, 10);
	cr_assert_not(bw_spool_broken(k.s));
	bw_latch_open(&k.go_on);
	pthread_join(writer, NULL);
	cr_assert_eq(bw_spool_size(k.s), 1000 + 2 * MIB);
	cr_assert_eq(bw_spool_filled(k.s), 10);
	cr_assert_geq(bw_spool_stored(k.s), 2 * MIB);
	cr_assert_not(bw_spool_broken(k.s));
	bw_spool_free(k.s);
	world_done(&k.w);
}

/* The file of what is emptied is closed by who frees the list, and counted until then. */
Test(spool, S6_a_file_that_is_emptied_is_given_back_later)
{
	struct bw_spool *list = NULL;
	struct world w;
	char byte;

	world_init(&w, MIB, 0);
	struct bw_spool *s = spool_new(&w);

	cr_assert_eq(bw_spool_write(s, 0, "0123456789", 10), 0);
	cr_assert_eq(w.space.disk, 10);
	cr_assert_eq(w.space.files, 1);
	cr_assert_eq(bw_spool_truncate_later(s, 0, &list), 0);
	cr_assert_not_null(list);
	cr_assert_eq(w.space.disk, 10);
	cr_assert_eq(w.space.files, 1);
	cr_assert_eq(bw_spool_size(s), 0);
	cr_assert_eq(bw_spool_stored(s), 0);
	cr_assert_eq(bw_spool_write(s, 0, "ab", 2), 0);
	cr_assert_eq(w.space.files, 2);
	bw_spool_free_list(list);
	cr_assert_eq(w.space.disk, 2);
	cr_assert_eq(w.space.files, 1);
	cr_assert_eq(bw_spool_read(s, 1, &byte, 1), 1);
	cr_assert_eq(byte, 'b');
	bw_spool_free(s);
	world_done(&w);
}
