/* SPDX-License-Identifier: Apache-2.0 */
/* Footers that roots bring along: what a reader keeps of them, and that it asks for the others. */
#include "tests/unit/reader_told.h"

#define KIB UINT64_C(1024)

static const struct world_options options = {.ranks = 2, .block_size = 16 * KIB, .prefetch = 1};

/* The gets that it takes to know where the slices of step lie. */
static uint64_t gets_for(struct world *w, uint64_t step)
{
	uint64_t before = world_gets(w);
	struct bw_tgb *tgb;

	cr_assert_eq(world_tgb(w, &w->head.entries[step], &tgb), 0);
	cr_assert_eq(tgb->known, w->stream.options.ranks);
	bw_tgb_unref(tgb);
	return world_gets(w) - before;
}

/* One step, which somebody has read, and then more. */
static void begin(struct world *w, const struct world_options *o, unsigned more)
{
	world_init(w, o);
	world_commit_even(w, 1, 100);
	cr_assert_eq(world_read(w, 0, 0, 0, 100, true), 0);
	world_commit_even(w, more, 100);
}

static void comes_with_the_root(uint32_t prefetch)
{
	struct world_options o = options;
	struct world w;
	struct told t;

	o.prefetch = prefetch;
	begin(&w, &o, 2);
	told_init(&t, &w, 1);
	bw_reader_root(w.reader, &t.root);
	bw_reader_root(w.reader, &t.root);
	told_done(&t);
	cr_assert_eq(gets_for(&w, 1), 0);
	cr_assert_eq(gets_for(&w, 2), 1, "the root had none of it");
	world_done(&w);
}

Test(told, what_comes_with_the_root_is_not_fetched)
{
	comes_with_the_root(1);
	comes_with_the_root(0);	/* nor where nothing is read ahead */
}

/* Whose readers are elsewhere, or who has none, does not fill its memory with footers. */
Test(told, S6_footers_of_steps_nobody_is_near_are_not_kept)
{
	struct world w;
	struct told t;

	world_init(&w, &options);
	world_commit_even(&w, 1, 100);
	told_init(&t, &w, 0);
	bw_reader_root(w.reader, &t.root);
	told_done(&t);
	cr_assert_eq(w.counters.cache_bytes, 0);
	world_done(&w);

	begin(&w, &options, 65);
	for (uint64_t step = 64; step < 66; step++) {
		told_init(&t, &w, step);
		bw_reader_root(w.reader, &t.root);
		told_done(&t);
	}
	cr_assert_eq(gets_for(&w, 64), 0);
	cr_assert_eq(gets_for(&w, 65), 1);
	world_done(&w);
}

/* S8: older builds carry footers on, from version to version. */
Test(told, S8_those_of_older_versions_are_passed_over)
{
	struct world w;
	struct told t;

	begin(&w, &options, 1);
	told_init(&t, &w, 1);
	t.root.version++;
	bw_reader_root(w.reader, &t.root);
	t.root.version--;
	t.root.tail_n = 0;
	bw_reader_root(w.reader, &t.root);
	told_done(&t);
	cr_assert_eq(gets_for(&w, 1), 1);
	world_done(&w);
}

/* V5: the sum in the root vouches for the head of a footer with pages, not for the pages. */
Test(told, V5_a_damaged_page_is_not_believed)
{
	struct world_options wide = options;
	struct world w;
	struct told t;

	wide.ranks = 200;
	begin(&w, &wide, 1);
	told_init(&t, &w, 1);
	cr_assert_leq(t.footer.len, BW_FOOTER_INLINE_MAX);
	t.footer.bytes[t.footer.len / 2] ^= 1;
	cr_assert_eq(bw_tgb_sum(t.footer.bytes, t.footer.len), t.entry.footer_xxh3);
	bw_reader_root(w.reader, &t.root);
	cr_assert_eq(gets_for(&w, 1), 1);
	told_done(&t);
	world_done(&w);
}
