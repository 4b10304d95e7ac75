/* SPDX-License-Identifier: Apache-2.0 */
/* Of many ranks one is read: pages of footers instead of whole ones. */
#include "fs/cache.h"
#include "fs/disk_cache.h"
#include "tests/support/tmpdir.h"
#include "tests/unit/reader_world.h"

#define KIB UINT64_C(1024)
#define RANKS 200u	/* pages of 64 ranks */
#define PAGE (120u + 4 * 8 + 16 + 64 * 36)
#define AROUND 64u	/* steps in which a second page makes footers come whole */

static const struct world_options wide = {.ranks = RANKS, .block_size = 16 * KIB};

static struct bw_tgb *footer(struct world *w, uint64_t step, uint32_t rank)
{
	struct bw_tgb *tgb;

	cr_assert_eq(world_tgb_for(w, &w->head.entries[step], rank + 1, &tgb), 0);
	cr_assert(bw_tgb_knows(tgb, rank));
	return tgb;
}

/* Asks for what says where the slice lies; so many gets and bytes that took. */
static void ask(struct world *w, uint64_t step, uint32_t rank, uint64_t gets, uint64_t bytes)
{
	uint64_t gets0 = world_gets(w), bytes0 = w->stats.bytes_in;

	bw_tgb_unref(footer(w, step, rank));
	cr_assert_eq(world_gets(w) - gets0, gets, "step %" PRIu64 " rank %" PRIu32, step, rank);
	cr_assert_eq(w->stats.bytes_in - bytes0, bytes, "step %" PRIu64 " rank %" PRIu32, step, rank);
}

Test(reader_pages, of_one_rank_its_page_is_fetched)
{
	struct world w;

	world_init(&w, &wide);
	world_commit_even(&w, 3, 100);
	for (uint64_t step = 0; step < 3; step++) {
		ask(&w, step, 70, 1, PAGE);
		ask(&w, step, 127, 0, 0);
		ask(&w, step, 64, 0, 0);
	}
	world_done(&w);
}

/* V5: the bytes of a slice that a page has told of. */
Test(reader_pages, V5_slices_are_read_by_pages)
{
	struct world w;

	world_init(&w, &wide);
	world_commit_even(&w, 4, 40 * KIB + 3);
	for (uint64_t step = 0; step < 4; step++) {
		bw_tgb_unref(w.tgbs[step]);
		w.tgbs[step] = footer(&w, step, 199);
		cr_assert_eq(w.tgbs[step]->known, RANKS - 192);
		for (uint32_t rank = 192; rank < RANKS; rank++) {
			cr_assert_eq(bw_tgb_slice(w.tgbs[step], rank)->raw, 40 * KIB + 3);
			cr_assert_eq(world_read(&w, step, rank, 0, 40 * KIB + 3, true), 0);
		}
	}
	world_done(&w);
}

Test(reader_pages, of_ranks_of_several_pages_footers_are_fetched_whole)
{
	struct world w;

	world_init(&w, &wide);
	world_commit_even(&w, 150, 10);
	uint64_t whole = w.head.entries[0].footer_len;

	ask(&w, 0, 0, 1, PAGE);
	ask(&w, 0, 150, 1, whole);
	for (uint64_t step = 1; step <= AROUND + 1; step++) {
		ask(&w, step, 0, 1, whole);
		ask(&w, step, 63, 0, 0);
	}
	/* The other one has gone. */
	ask(&w, AROUND + 2, 0, 1, PAGE);
	/* Somebody who looks at all of one step does not make it whole for ever, nor for who begins again. */
	ask(&w, 140, 100, 1, whole);
	ask(&w, 140, 0, 0, 0);
	ask(&w, 75, 0, 1, PAGE);
	world_done(&w);
}

/* Ranks that come together end with the page. */
Test(reader_pages, behind_its_last_rank_a_page_knows_none)
{
	struct world w;

	world_init(&w, &wide);
	world_commit_even(&w, 1, 10);
	struct bw_tgb *page = footer(&w, 0, 63);
	struct bw_block_want want = {.entry = &w.head.entries[0], .tgb = page, .rank = 62};

	cr_assert(bw_block_next(&want) && want.rank == 63);
	cr_assert_not(bw_block_next(&want));
	bw_tgb_unref(page);
	world_done(&w);
}

Test(reader_pages, who_needs_all_gets_all)
{
	struct bw_tgb *tgb;
	struct world w;

	world_init(&w, &wide);
	world_commit_even(&w, 1, 10);
	ask(&w, 0, 5, 1, PAGE);
	cr_assert_eq(world_tgb(&w, &w.head.entries[0], &tgb), 0);
	cr_assert_eq(tgb->known, RANKS);
	bw_tgb_unref(tgb);
	cr_assert_eq(world_gets(&w), 2);
	ask(&w, 0, 150, 0, 0);
	world_done(&w);
}

Test(reader_pages, one_get_however_many_ask)
{
	struct world_options o = wide;
	struct world_wait waits[8];
	struct world w;

	o.delay_ns = 5 * BW_MS;
	world_init(&w, &o);
	world_commit_even(&w, 1, 100);
	for (uint32_t i = 0; i < 8; i++)
		cr_assert_not(world_tgb_start(&w, &waits[i], &w.head.entries[0], 1 + 8 * i));
	for (uint32_t i = 0; i < 8; i++) {
		bw_latch_wait(&waits[i].answered);
		cr_assert_eq(waits[i].err, 0);
		cr_assert_eq(bw_tgb_slice(waits[i].tgb, 8 * i)->raw, 100);
		bw_tgb_unref(waits[i].tgb);
	}
	cr_assert_eq(world_gets(&w), 1);
	world_done(&w);
}

/* Who has a page does not wait for the rest. */
Test(reader_pages, a_page_that_is_there_serves_while_the_footer_comes)
{
	struct world_options o = wide;
	struct world_wait whole, part;
	struct world w;

	o.delay_ns = 50 * BW_MS;
	world_init(&w, &o);
	world_commit_even(&w, 1, 100);
	ask(&w, 0, 70, 1, PAGE);
	cr_assert_not(world_tgb_start(&w, &whole, &w.head.entries[0], 0));
	(void)world_tgb_start(&w, &part, &w.head.entries[0], 71);
	bw_latch_wait(&part.answered);
	cr_assert_eq(part.tgb->known, 64, "the page");
	bw_tgb_unref(part.tgb);
	cr_assert_not(world_tgb_start(&w, &part, &w.head.entries[0], 1), "of another page");
	bw_latch_wait(&whole.answered);
	bw_latch_wait(&part.answered);
	cr_assert_eq(world_gets(&w), 2);
	bw_tgb_unref(whole.tgb);
	bw_tgb_unref(part.tgb);
	bw_tgb_unref(footer(&w, 0, 70));
	world_done(&w);
}

/* Slices of one block, then of three: as many in all as if each had two. */
static void commit_uneven(struct world *w)
{
	uint64_t sizes[RANKS];

	for (uint32_t r = 0; r < RANKS; r++)
		sizes[r] = r < RANKS / 2 ? 16 * KIB : 48 * KIB;
	world_commit(w, sizes);
}

/* It costs a page's bytes, once. */
Test(reader_pages, where_the_footer_is_cut_otherwise_it_is_fetched_whole)
{
	for (uint32_t rank = 0; rank < RANKS; rank += 66) {
		struct world w;

		world_init(&w, &wide);
		for (int i = 0; i < 3; i++)
			commit_uneven(&w);
		uint64_t whole = w.head.entries[0].footer_len, gets = world_gets(&w);
		struct bw_tgb *tgb = footer(&w, 0, rank);

		cr_assert_eq(tgb->known, RANKS);
		bw_tgb_unref(tgb);
		cr_assert_eq(world_gets(&w) - gets, 2);
		ask(&w, 1, rank, 1, whole);
		ask(&w, 2, rank, 1, whole);
		cr_assert_eq(w.counters.checksum_failures, 0);
		world_done(&w);
	}
}

static bool is_logged(const struct world *w, const char *what)
{
	char text[64 << 10];
	FILE *f = fopen(w->log_path, "r");

	cr_assert(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = 0;
	fclose(f);
	return strstr(text, what);
}

Test(reader_pages, V5_a_flipped_bit_is_fetched_again)
{
	struct world w;

	world_init(&w, &wide);
	world_commit_even(&w, 1, 100);
	world_spoil(&w, BW_FAULT_FLIP, 0, UINT64_MAX, 1);
	ask(&w, 0, 70, 2, 2 * PAGE);
	cr_assert_eq(w.counters.checksum_failures, 1);
	world_done(&w);
}

Test(reader_pages, V5_damage_that_persists_is_an_error_and_named)
{
	struct bw_tgb *tgb;
	struct world w;

	world_init(&w, &wide);
	world_commit_even(&w, 1, 100);
	world_spoil(&w, BW_FAULT_FLIP, 0, UINT64_MAX, 100);
	cr_assert_eq(world_tgb_for(&w, &w.head.entries[0], 71, &tgb), -BW_E_CORRUPT);
	cr_assert(is_logged(&w, "page=1 of=footer"));
	world_done(&w);
}

Test(reader_pages, V6_a_store_that_cannot_be_reached)
{
	struct world_options o = wide;
	struct bw_tgb *tgb;
	struct world w;

	o.io_timeout_ns = 200 * BW_MS;
	world_init(&w, &o);
	world_commit_even(&w, 1, 100);
	world_spoil(&w, BW_FAULT_BEFORE, 0, UINT64_MAX, 1000);
	cr_assert_eq(world_tgb_for(&w, &w.head.entries[0], 71, &tgb), -BW_E_UNREACHABLE);
	world_done(&w);
}

/* The first blocks come with the page as they do with a footer. */
Test(reader_pages, a_guess_goes_with_the_page)
{
	struct world_options o = wide;
	struct bw_tgb *tgb;
	struct world w;

	o.prefetch = 1;
	o.together = 32 * KIB;
	world_init(&w, &o);
	world_commit_even(&w, 4, 16 * KIB);
	tgb = footer(&w, 1, 70);
	cr_assert_eq(world_read(&w, 1, 70, 0, 16 * KIB, true), 0);
	bw_tgb_unref(tgb);
	world_until_gets(&w, 2);
	uint64_t bytes = w.stats.bytes_in, gets = world_gets(&w);

	bw_tgb_unref(footer(&w, 3, 70));
	world_until_gets(&w, gets + 2);
	cr_assert_eq(world_read(&w, 3, 70, 0, 16 * KIB, true), 0);
	/* What a page has shown of its ranks says nothing of others. */
	bw_tgb_unref(footer(&w, 2, 5));
	cr_assert_eq(world_read(&w, 2, 5, 0, 16 * KIB, true), 0);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), gets + 4);
	cr_assert_eq(w.stats.bytes_in - bytes, PAGE + w.head.entries[2].footer_len + 2 * 16 * KIB);
	world_done(&w);
}

/* One rank of 200, step after step: what is fetched is what is read, and a page for each step. */
Test(reader_pages, windows_fetch_pages)
{
	struct world_options o = wide;
	struct world w;

	o.prefetch = 4;
	world_init(&w, &o);
	world_commit_even(&w, 20, 16 * KIB);
	for (uint64_t step = 0; step < 20; step++) {
		bw_tgb_unref(w.tgbs[step]);
		w.tgbs[step] = footer(&w, step, 70);
		cr_assert_eq(world_read(&w, step, 70, 0, 16 * KIB, true), 0);
	}
	world_stop(&w);
	cr_assert_eq(w.stats.bytes_in, 20 * (PAGE + 16 * KIB));
	world_done(&w);
}

/* A new reader, with nothing in memory. */
static void reopen(struct world *w, const struct bw_disk_config *config)
{
	char why[400] = "";

	world_stop(w);
	bw_disk_free(w->disk);
	cr_assert_eq(bw_disk_new(config, &w->disk, why, sizeof(why)), 0, "%s", why);
	while (!atomic_load(&bw_disk_stats(w->disk)->ready))
		bw_sleep(BW_MS);
	world_reader(w, &wide);
}

static void until_kept(const struct world *w, uint64_t n)
{
	while (atomic_load(&bw_disk_stats(w->disk)->blocks) < n)
		bw_sleep(BW_MS);
}

Test(reader_pages, pages_are_kept_on_the_disk_and_whole_footers_serve)
{
	char root[BW_TMPDIR_MAX], dir[BW_TMPDIR_MAX + 8];
	struct bw_budget budget;
	struct bw_tgb *tgb;
	struct world w;

	bw_test_tmpdir(root);
	snprintf(dir, sizeof(dir), "%s/cache", root);
	bw_budget_init(&budget, 512 * MIB);
	world_init(&w, &wide);
	world_commit_even(&w, 2, 100);
	struct bw_disk_config config = {.dir = dir, .size = 64 * MIB, .budget = &budget, .log = w.log, .now = bw_now};

	memcpy(config.stream, w.stream.id, sizeof(config.stream));
	reopen(&w, &config);
	ask(&w, 0, 70, 1, PAGE);
	ask(&w, 1, 70, 1, PAGE);
	until_kept(&w, 2);
	reopen(&w, &config);
	ask(&w, 0, 70, 0, 0);
	ask(&w, 1, 70, 0, 0);
	cr_assert_eq(world_tgb(&w, &w.head.entries[0], &tgb), 0);
	bw_tgb_unref(tgb);
	until_kept(&w, 3);
	reopen(&w, &config);
	ask(&w, 0, 5, 0, 0);
	ask(&w, 1, 5, 1, PAGE);
	world_stop(&w);
	bw_disk_free(w.disk);
	w.disk = NULL;
	cr_assert_eq(bw_budget_used(&budget), 0);
	world_done(&w);
	bw_test_rmtree(root);
}
