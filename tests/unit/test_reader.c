/* SPDX-License-Identifier: Apache-2.0 */
/* What a reader hands out, and what it does when the store answers badly. */
#include "fs/fetch.h"
#include "tests/support/seed.h"
#include "tests/unit/reader_world.h"

#define KIB UINT64_C(1024)

/* ---- Exact bytes ------------------------------------------------------------------------------ */

static void random_reads(const struct world_options *options, unsigned reads)
{
	uint64_t seed = bw_test_seed();
	uint64_t sizes[] = {1, 64 * KIB, 64 * KIB + 1, 64 * KIB - 1, 700 * KIB + 13, 3};
	struct bw_rng rng;
	struct world w;

	cr_log_info("BW_SEED=%" PRIu64, seed);
	bw_rng_init(&rng, seed);
	world_init(&w, options);
	for (int step = 0; step < 3; step++)
		world_commit(&w, sizes);
	for (unsigned i = 0; i < reads; i++) {
		uint64_t step = bw_rng_below(&rng, 3);
		uint32_t rank = (uint32_t)bw_rng_below(&rng, 6);
		uint64_t offset = bw_rng_below(&rng, sizes[rank] + 10);
		uint64_t length = bw_rng_below(&rng, 300 * KIB);
		cr_assert_eq(world_read(&w, step, rank, offset, length, bw_rng_below(&rng, 2)), 0);
	}
	cr_assert_eq(w.counters.checksum_failures, 0);
	cr_assert_eq(w.counters.read_cache + w.counters.read_store, w.counters.useful);
	world_done(&w);
}

#define FETCHES (1 + BW_FETCH_AGAIN)	/* of bytes that are damaged for good */

Test(reader, V5_random_ranges_of_uneven_slices)
{
	random_reads(&(struct world_options){.ranks = 6, .block_size = 64 * KIB, .prefetch = 2}, 2000);
}

Test(reader, V5_random_ranges_of_compressed_slices)
{
	random_reads(&(struct world_options){.ranks = 6,
					     .block_size = 64 * KIB,
					     .compress = BW_COMPRESS_ZSTD,
					     .prefetch = 2},
		     1000);
}

Test(reader, V5_random_ranges_with_little_memory)
{
	random_reads(&(struct world_options){.ranks = 6,
					     .block_size = 64 * KIB,
					     .compress = BW_COMPRESS_ZSTD,
					     .budget = 256 * KIB,
					     .prefetch = 2},
		     1000);
}

/* Reads over more blocks than a result has pieces. */
Test(reader, V5_random_ranges_of_small_blocks)
{
	random_reads(&(struct world_options){.ranks = 6, .block_size = 4 * KIB + 1, .prefetch = 1}, 300);
}

Test(reader, an_uncompressed_block_is_not_copied)
{
	uint64_t sizes[] = {64 * KIB};
	struct world w;
	struct world_read a = {.bytes = NULL};

	world_init(&w, &(struct world_options){.ranks = 1, .block_size = 16 * KIB});
	world_commit(&w, sizes);
	world_start(&w, &a, 0, 0, 16 * KIB - 10, 32 * KIB, false);
	cr_assert_eq(world_wait(&a), 0);
	cr_assert_eq(a.pieces_n, 3);
	cr_assert_eq(a.pieces[0].length, 10);
	cr_assert_eq(a.pieces[1].length, 16 * KIB);
	cr_assert_eq(a.pieces[2].length, 16 * KIB - 10);
	cr_assert_eq(a.pieces[2].offset, 0);
	world_done(&w);
}

Test(reader, a_read_at_the_end_is_empty_and_asks_nothing)
{
	uint64_t sizes[] = {100};
	struct world w;

	world_init(&w, &(struct world_options){.ranks = 1, .block_size = 16 * KIB, .prefetch = 2});
	world_commit(&w, sizes);
	cr_assert_eq(world_read(&w, 0, 0, 100, 10, true), 0);
	cr_assert_eq(world_read(&w, 0, 0, UINT64_MAX - 5, 4096, true), 0);
	cr_assert_eq(world_read(&w, 0, 0, 0, 0, false), 0);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 0);
	world_done(&w);
}

/* ---- One flight for all ----------------------------------------------------------------------- */

struct one {
	struct world *w;
	pthread_t thread;
	uint64_t seed;
	int err;
};

static void *read_all_blocks(void *arg)
{
	struct one *o = arg;
	struct bw_rng rng;

	bw_rng_init(&rng, o->seed);
	for (int i = 0; i < 60 && !o->err; i++)
		o->err = world_read(o->w, 0, 0, bw_rng_below(&rng, 30) * 16 * KIB, 32 * KIB, false);
	return NULL;
}

Test(reader, one_get_per_block_however_many_read)
{
	uint64_t sizes[] = {30 * 16 * KIB};
	struct one threads[8];
	struct world w;

	world_init(&w, &(struct world_options){.ranks = 1, .block_size = 16 * KIB, .delay_ns = BW_MS});
	world_commit(&w, sizes);
	for (int i = 0; i < 8; i++) {
		threads[i] = (struct one){.w = &w, .seed = (uint64_t)i};
		cr_assert_eq(bw_thread_start(&threads[i].thread, "reader", read_all_blocks, &threads[i]), 0);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i].thread, NULL);
		cr_assert_eq(threads[i].err, 0);
	}
	cr_assert_eq(world_gets(&w), 30);
	world_done(&w);
}

Test(reader, one_get_per_footer_however_many_ask)
{
	struct world_wait waits[8];
	struct world w;
	struct bw_tgb *tgb;

	world_init(&w, &(struct world_options){.ranks = 2, .block_size = 16 * KIB, .delay_ns = 5 * BW_MS});
	world_commit_even(&w, 1, 1000);
	for (int i = 0; i < 8; i++)
		cr_assert_not(world_tgb_start(&w, &waits[i], &w.head.entries[0], 0));
	for (int i = 0; i < 8; i++) {
		bw_latch_wait(&waits[i].answered);
		cr_assert_eq(waits[i].err, 0);
		cr_assert_eq(waits[i].tgb->slices[1].raw, 1000);
		bw_tgb_unref(waits[i].tgb);
	}
	cr_assert_eq(world_tgb(&w, &w.head.entries[0], &tgb), 0);
	bw_tgb_unref(tgb);
	cr_assert_eq(world_gets(&w), 1);
	world_done(&w);
}

Test(reader, a_footer_that_was_learnt_is_not_fetched)
{
	struct world w;
	struct bw_tgb *tgb;

	world_init(&w, &(struct world_options){.ranks = 2, .block_size = 16 * KIB});
	world_commit_even(&w, 1, 1000);
	bw_reader_learn(w.reader, &w.head.entries[0], w.tgbs[0], NULL);
	bw_reader_learn(w.reader, &w.head.entries[0], w.tgbs[0], NULL);
	cr_assert_eq(world_tgb(&w, &w.head.entries[0], &tgb), 0);
	cr_assert_eq(tgb, w.tgbs[0]);
	bw_tgb_unref(tgb);
	cr_assert_eq(world_gets(&w), 0);
	world_done(&w);
}

Test(reader, S6_footers_keep_to_their_share)
{
	struct world w;
	struct bw_tgb *tgb;

	world_init(&w, &(struct world_options){.ranks = 64, .block_size = 16 * KIB, .budget = 256 * KIB});
	world_commit_even(&w, 40, 10);
	for (int i = 0; i < 40; i++) {
		cr_assert_eq(world_tgb(&w, &w.head.entries[i], &tgb), 0);
		bw_tgb_unref(tgb);
		cr_assert_leq(w.counters.cache_bytes, 32 * KIB + bw_tgb_bytes(w.tgbs[i]) + 64);
	}
	cr_assert_eq(world_gets(&w), 40);
	cr_assert_eq(world_tgb(&w, &w.head.entries[39], &tgb), 0);
	bw_tgb_unref(tgb);
	cr_assert_eq(world_gets(&w), 40, "the newest is there");
	cr_assert_eq(world_tgb(&w, &w.head.entries[0], &tgb), 0);
	bw_tgb_unref(tgb);
	cr_assert_eq(world_gets(&w), 41, "the oldest has gone");
	world_done(&w);
}

/* A validation set that stays mapped while training goes on. */
Test(reader, S6_footers_of_open_files_do_not_keep_those_of_others)
{
	enum { OPEN = 70 };
	struct bw_tgb *open[OPEN], *tgb;
	struct world w;

	world_init(&w, &(struct world_options){.ranks = 64, .block_size = 16 * KIB});
	world_commit_even(&w, WORLD_STEPS, 10);
	for (int i = 0; i < OPEN; i++)
		cr_assert_eq(world_tgb(&w, &w.head.entries[i], &open[i]), 0);
	uint64_t each = w.counters.cache_bytes / OPEN;

	w.budget.limit = (OPEN + 30) * each;
	for (int i = OPEN; i < WORLD_STEPS; i++) {
		cr_assert_eq(world_tgb(&w, &w.head.entries[i], &tgb), 0);
		bw_tgb_unref(tgb);
		cr_assert_lt(bw_budget_used(&w.budget), w.budget.limit, "step %d", i);
	}
	cr_assert_eq(world_gets(&w), WORLD_STEPS);
	for (int i = 0; i < OPEN; i++) {
		cr_assert_eq(world_tgb(&w, &w.head.entries[i], &tgb), 0);
		cr_assert_eq(tgb, open[i], "held, so it is there");
		bw_tgb_unref(tgb);
		bw_tgb_unref(open[i]);
	}
	cr_assert_eq(world_gets(&w), WORLD_STEPS);
	bw_reader_shrink(w.reader, UINT64_MAX);
	world_done(&w);
}

Test(reader, S6_shrinking_gives_back_blocks_and_footers)
{
	struct world w;
	struct bw_tgb *tgb;

	world_init(&w, &(struct world_options){.ranks = 2, .block_size = 16 * KIB});
	world_commit_even(&w, 1, 20 * KIB);
	cr_assert_eq(world_tgb(&w, &w.head.entries[0], &tgb), 0);
	uint64_t footer = w.counters.cache_bytes;

	cr_assert_gt(footer, 0);
	cr_assert_eq(world_read(&w, 0, 0, 0, 100, false), 0);
	cr_assert_eq(bw_budget_used(&w.budget), w.counters.cache_bytes);
	/* What is in somebody's hands stays: the footer, and for a moment the block. */
	while (w.counters.cache_bytes != footer)
		bw_reader_shrink(w.reader, UINT64_MAX);
	bw_tgb_unref(tgb);
	bw_reader_shrink(w.reader, 1);
	cr_assert_eq(w.counters.cache_bytes, 0);
	world_done(&w);
}

Test(reader, S6_what_a_read_overdrew_is_given_back_when_it_is_over)
{
	struct world w;

	world_init(&w, &(struct world_options){.ranks = 1, .block_size = 16 * KIB, .budget = 20 * KIB});
	world_commit_even(&w, 1, 64 * KIB);
	cr_assert_eq(world_read(&w, 0, 0, 1000, 60 * KIB, false), 0);
	while (bw_budget_used(&w.budget) > w.budget.limit)
		bw_sleep(BW_MS);	/* the read is over, its last steps may not be */
	world_done(&w);
}

/* A store's threads carry bytes, they do not look at them; unless it has one for each request. */
static void name_thread(struct bw_read *read, int err)
{
	struct world_read *r = read->ctx;

	pthread_getname_np(pthread_self(), (char *)r->bytes, 16);
	r->bytes = NULL;
	world_read_done(read, err);
}

static void judged_on(bool here, char name[16])
{
	struct world_read r = {.bytes = (uint8_t *)name};
	struct world w;

	world_init(&w, &(struct world_options){.ranks = 1, .block_size = 16 * KIB, .delay_ns = 5 * BW_MS,
					       .here = here});
	world_commit_even(&w, 1, 64 * KIB);
	bw_latch_init(&r.answered);
	r.read = (struct bw_read){.entry = &w.head.entries[0], .tgb = w.tgbs[0], .length = 100,
				  .done = name_thread, .ctx = &r};
	bw_reader_read(w.reader, &r.read);
	cr_assert_eq(world_wait(&r), 0);
	world_done(&w);
}

Test(reader, bytes_are_judged_on_the_pool)
{
	char name[16] = "";

	judged_on(false, name);
	cr_assert_str_eq(name, "pool");
}

Test(reader, bytes_are_judged_where_they_are_when_the_store_has_threads_for_it)
{
	char name[16] = "";

	judged_on(true, name);
	cr_assert_str_neq(name, "pool");
	cr_assert_str_neq(name, "");
}

Test(reader, V5_damage_is_found_on_the_stores_thread_as_well)
{
	struct world w;

	world_init(&w, &(struct world_options){.ranks = 2, .block_size = 16 * KIB, .here = true, .prefetch = 2,
					       .budget = 256 * KIB});
	world_commit_even(&w, 4, 70 * KIB);
	world_spoil(&w, BW_FAULT_FLIP, 0, UINT64_MAX, 3);
	for (uint64_t at = 0; at < 4 * 2; at++)
		cr_assert_eq(world_read(&w, at / 2, at % 2, 0, 70 * KIB, true), 0);
	cr_assert_eq(w.counters.checksum_failures, 3);
	world_delete(&w, 3);
	world_stop(&w);
	world_done(&w);
}

/* ---- Bad bytes -------------------------------------------------------------------------------- */

static const struct world_options plain = {.ranks = 2, .block_size = 16 * 1024};

static void key_of(struct world *w, uint64_t step, char key[BW_KEY_MAX + 1])
{
	const struct bw_entry *e = &w->head.entries[step];

	bw_key_data(&w->stream, e->producer, e->epoch, e->seq, e->nonce, key);
}

Test(reader, V5_a_flipped_bit_is_fetched_again)
{
	struct world w;

	world_init(&w, &plain);
	world_commit_even(&w, 1, 40 * KIB);
	world_spoil(&w, BW_FAULT_FLIP, 16 * KIB, 17 * KIB, 1);
	cr_assert_eq(world_read(&w, 0, 0, 0, 40 * KIB, false), 0);
	cr_assert_eq(w.counters.checksum_failures, 1);
	cr_assert_eq(world_gets(&w), 4);
	cr_assert_eq(world_log_lines(&w, "checksum"), 0, "nobody needs to know");
	world_done(&w);
}

Test(reader, V5_damage_that_persists_is_an_error_and_named)
{
	char key[BW_KEY_MAX + 1], sum[32];
	struct world w;

	world_init(&w, &plain);
	world_commit_even(&w, 1, 40 * KIB);
	world_spoil(&w, BW_FAULT_FLIP, 16 * KIB, 17 * KIB, FETCHES);
	cr_assert_eq(world_read(&w, 0, 0, 20 * KIB, 100, false), -BW_E_CORRUPT);
	cr_assert_eq(bw_err_errno(-BW_E_CORRUPT), EIO);
	cr_assert_eq(w.counters.checksum_failures, FETCHES);
	cr_assert_eq(world_gets(&w), FETCHES);
	key_of(&w, 0, key);
	snprintf(sum, sizeof(sum), "wanted=%016" PRIx64, w.tgbs[0]->blocks[1].xxh3);
	cr_assert(world_logged(&w, key, "rank=0 block=1 got=", sum));
	cr_assert_eq(world_log_lines(&w, "checksum"), 1);
	/* Forgotten: the next read asks the store, and the other blocks were never in doubt. */
	cr_assert_eq(world_read(&w, 0, 0, 0, 40 * KIB, false), 0);
	cr_assert_eq(world_gets(&w), FETCHES + 3);
	world_done(&w);
}

Test(reader, V5_damage_fails_everybody_who_waits_for_the_block)
{
	struct world_read reads[5] = {{.bytes = NULL}};
	struct world w;
	struct world_options o = plain;

	o.delay_ns = 3 * BW_MS;
	world_init(&w, &o);
	world_commit_even(&w, 1, 40 * KIB);
	world_spoil(&w, BW_FAULT_FLIP, 16 * KIB, 17 * KIB, FETCHES);
	for (int i = 0; i < 4; i++)
		world_start(&w, &reads[i], 0, 0, 15 * KIB, 2 * KIB, false);
	world_start(&w, &reads[4], 0, 0, 15 * KIB, 100, false);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(world_wait(&reads[i]), -BW_E_CORRUPT);
	cr_assert_eq(world_wait(&reads[4]), 0);
	cr_assert_eq(world_gets(&w), FETCHES + 1);
	world_done(&w);
}

/* The store has other bytes than were committed, for good. */
Test(reader, V5_no_byte_of_a_rotten_object_is_served)
{
	uint64_t sizes[] = {40 * KIB, 40 * KIB};
	struct world w;
	uint8_t rotten[200 * 1024];

	world_init(&w, &plain);
	world_commit(&w, sizes);
	memset(rotten, 0, sizeof(rotten));
	world_put(&w, &w.head.entries[0], rotten, w.head.entries[0].size);
	for (uint32_t rank = 0; rank < 2; rank++)
		for (uint64_t at = 0; at < 40 * KIB; at += 8 * KIB)
			cr_assert_eq(world_read(&w, 0, rank, at, 4 * KIB, false), -BW_E_CORRUPT);
	cr_assert_eq(w.counters.read_store + w.counters.read_cache, 0);
	struct bw_tgb *tgb;

	cr_assert_eq(world_tgb(&w, &w.head.entries[0], &tgb), -BW_E_CORRUPT);
	cr_assert_eq(world_log_lines(&w, "footer got="), 1);
	world_done(&w);
}

Test(reader, V5_damage_of_compressed_blocks_is_found_before_they_are_unpacked)
{
	struct world w;
	struct world_options o = plain;

	o.compress = BW_COMPRESS_ZSTD;
	world_init(&w, &o);
	world_commit_even(&w, 1, 40 * KIB);
	cr_assert_lt(w.tgbs[0]->blocks[0].stored, 16 * KIB);
	world_spoil(&w, BW_FAULT_FLIP, 0, 1, FETCHES + 1);
	cr_assert_eq(world_read(&w, 0, 0, 0, 100, false), -BW_E_CORRUPT);
	cr_assert_eq(world_read(&w, 0, 0, 0, 100, false), 0);
	cr_assert_eq(w.counters.checksum_failures, FETCHES + 1);
	/* S6: the stored bytes were needed for a moment only. */
	cr_assert_geq(w.counters.cache_bytes, 16 * KIB);
	cr_assert_leq(w.counters.cache_bytes, 16 * KIB + 256);
	world_done(&w);
}

Test(reader, V5_footers_are_verified_too)
{
	struct world w;
	struct bw_tgb *tgb;

	world_init(&w, &plain);
	world_commit_even(&w, 2, 1000);
	world_spoil(&w, BW_FAULT_FLIP, 0, UINT64_MAX, 1);
	cr_assert_eq(world_tgb(&w, &w.head.entries[0], &tgb), 0);
	bw_tgb_unref(tgb);
	cr_assert_eq(w.counters.checksum_failures, 1);
	/* A sound footer, but of another batch: the entry's names decide. */
	struct bw_entry e = w.head.entries[1];

	e.seq = 7;
	bw_auto_blob struct bw_blob *object = NULL;
	char key[BW_KEY_MAX + 1];
	struct bw_op op;

	key_of(&w, 1, key);
	bw_op_get_all(&op, key, MIB);
	cr_assert_eq(bw_store_sync(w.store, &op), BW_OK);
	object = bw_blob_ref(op.blob);
	bw_op_done(&op);
	world_put(&w, &e, object->bytes, object->len);
	cr_assert_eq(world_tgb(&w, &e, &tgb), -BW_E_CORRUPT);
	cr_assert(world_logged(&w, "checksum", "not the one of this step", ""));
	world_done(&w);
}

Test(reader, V5_an_object_that_is_too_short)
{
	struct world w;
	uint8_t byte = 0;

	world_init(&w, &plain);
	world_commit_even(&w, 1, 40 * KIB);
	world_spoil(&w, BW_FAULT_SHORT, 0, 1, 1);
	cr_assert_eq(world_read(&w, 0, 0, 0, 100, false), 0, "an answer that was cut is asked again");
	cr_assert_eq(w.counters.checksum_failures, 0);
	world_put(&w, &w.head.entries[0], &byte, 1);
	cr_assert_eq(world_read(&w, 0, 1, 0, 100, false), -BW_E_CORRUPT);
	cr_assert_eq(world_log_lines(&w, "another length"), 1);
	world_done(&w);
}

/* ---- No bytes --------------------------------------------------------------------------------- */

Test(reader, V6_a_store_that_cannot_be_reached)
{
	static const enum bw_fault faults[] = {BW_FAULT_BEFORE, BW_FAULT_LOST_REPLY, BW_FAULT_THROTTLED};
	struct world w;
	struct bw_tgb *tgb;

	world_init(&w, &plain);
	world_commit_even(&w, 1, 40 * KIB);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		world_spoil(&w, faults[i], 0, UINT64_MAX, 2);
		cr_assert_eq(world_read(&w, 0, 0, 0, 100, false), -BW_E_UNREACHABLE);
		cr_assert_eq(world_tgb(&w, &w.head.entries[0], &tgb), -BW_E_UNREACHABLE);
	}
	cr_assert_eq(bw_err_errno(-BW_E_UNREACHABLE), EIO);
	world_spoil(&w, BW_FAULT_DENIED, 0, UINT64_MAX, 1);
	cr_assert_eq(world_read(&w, 0, 0, 0, 100, false), -BW_E_DENIED);
	cr_assert_eq(world_read(&w, 0, 0, 0, 40 * KIB, false), 0);
	cr_assert_eq(bw_budget_used(&w.budget), w.counters.cache_bytes);
	world_done(&w);
}

Test(reader, V6_io_timeout_ends_a_read)
{
	struct world w;
	struct world_options o = plain;

	o.delay_ns = 50 * BW_MS;
	o.io_timeout_ns = BW_MS;
	world_init(&w, &o);
	world_commit_even(&w, 1, 40 * KIB);
	cr_assert_eq(world_read(&w, 0, 0, 0, 100, false), -BW_E_UNREACHABLE);
	world_done(&w);
}

Test(reader, V6_an_object_that_is_gone_because_its_step_is)
{
	struct world w;
	struct bw_tgb *tgb;

	world_init(&w, &plain);
	world_commit_even(&w, 3, 40 * KIB);
	world_delete(&w, 0);
	world_delete(&w, 1);
	w.head.first_after_ask = 1;
	cr_assert_eq(world_read(&w, 0, 0, 0, 100, false), -BW_E_RECLAIMED);
	cr_assert_eq(bw_err_errno(-BW_E_RECLAIMED), ESTALE);
	cr_assert_eq(w.head.asks, 1);
	cr_assert_eq(world_tgb(&w, &w.head.entries[0], &tgb), -BW_E_RECLAIMED);
	cr_assert_eq(world_log_lines(&w, "object_missing"), 0);
	/* Step 1 is still promised: that is damage. */
	char key[BW_KEY_MAX + 1];

	key_of(&w, 1, key);
	cr_assert_eq(world_read(&w, 1, 0, 0, 100, false), -BW_E_CORRUPT);
	cr_assert(world_logged(&w, "object_missing", key, "step=1"));
	cr_assert_eq(world_read(&w, 2, 0, 0, 100, false), 0);
	world_done(&w);
}

Test(reader, V6_what_is_missing_while_the_newest_root_cannot_be_read)
{
	struct world w;

	world_init(&w, &plain);
	world_commit_even(&w, 1, 40 * KIB);
	world_delete(&w, 0);
	w.head.ask_err = -BW_E_UNREACHABLE;
	cr_assert_eq(world_read(&w, 0, 0, 0, 100, false), -BW_E_UNREACHABLE);
	cr_assert_eq(world_log_lines(&w, "object_missing"), 0);
	world_done(&w);
}

/* ---- The end ---------------------------------------------------------------------------------- */

/* A look-up that the head answers when the reader has been stopped, as a mount ends. */
Test(reader, S5_what_is_asked_for_after_the_end_starts_nothing)
{
	struct world_wait wait;
	struct world w;

	world_init(&w, &(struct world_options){.ranks = 2, .block_size = 16 * KIB, .prefetch = 2, .together = 32 * KIB});
	world_commit_even(&w, 4, 40 * KIB);
	bw_reader_stop(w.reader);
	for (uint32_t reads = 0; reads < 2; reads++) {
		cr_assert_not(world_tgb_start(&w, &wait, &w.head.entries[0], reads));
		bw_latch_wait(&wait.answered);
		cr_assert_eq(wait.err, -BW_E_STOPPING);
	}
	bw_reader_passed(w.reader, &w.head.entries[0], w.tgbs[0], 0, 16 * KIB);
	bw_reader_news(w.reader, 1, 4);
	world_stop(&w);
	cr_assert_eq(world_gets(&w), 0);
	world_done(&w);
}

/* A store that takes gets and answers none of its own accord, nor the first cancel() of one. */
struct hole {
	struct bw_store store;
	struct bw_workq *q;
	struct bw_mutex lock;
	struct bw_op *ops[8];
	unsigned n, cancels;
};

static void hole_submit(struct bw_store *s, struct bw_op *op)
{
	struct hole *h = (struct hole *)s;

	BW_LOCK_SCOPE(&h->lock);
	cr_assert_lt(h->n, 8);
	h->ops[h->n++] = op;
}

static void hole_end(struct bw_task *task)
{
	struct bw_op *op = bw_container_of(task, struct bw_op, task);

	op->outcome = BW_CANCELLED;
	op->done(op);
}

static void hole_cancel(struct bw_store *s, struct bw_op *op)
{
	struct hole *h = (struct hole *)s;

	BW_LOCK_SCOPE(&h->lock);
	if (++h->cancels <= h->n)
		return;
	for (unsigned i = 0; i < h->n; i++) {
		if (h->ops[i] != op)
			continue;
		h->ops[i] = NULL;
		op->task = (struct bw_task){.run = hole_end};
		bw_workq_push(h->q, &op->task);
	}
}

/* Nobody waits for the bytes any more, so the end does not wait for the store, whose time is an hour. */
Test(reader, S5_the_end_waits_for_no_store, .timeout = 60)
{
	static const struct bw_store_ops ops = {.name = "hole", .submit = hole_submit, .cancel = hole_cancel};
	struct world_options options = plain;
	struct hole hole = {.store = {.ops = &ops}};
	struct world_read reads[3];
	struct world w;

	options.io_timeout_ns = 3600 * BW_SEC;
	world_init(&w, &options);
	for (int step = 0; step < 3; step++)
		world_commit_even(&w, 1, 40 * KIB);
	world_stop(&w);
	bw_mutex_init(&hole.lock, BW_RANK_STORE);
	cr_assert_eq(bw_workq_new("hole", 1, &hole.q), 0);
	struct bw_store *store = w.store;

	w.store = &hole.store;
	world_reader(&w, &options);
	for (int i = 0; i < 3; i++) {
		reads[i].bytes = NULL;
		world_start(&w, &reads[i], (uint64_t)i, 0, 0, 100, false);
	}
	world_stop(&w);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(world_wait(&reads[i]), -BW_E_UNREACHABLE);
	bw_workq_free(hole.q);
	bw_mutex_done(&hole.lock);
	w.store = store;
	world_done(&w);
}
