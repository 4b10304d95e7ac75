/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader that comes when what was fetched ahead has just failed: after that was found to be final, and before those
 * who wait for it are told.  In between there is a line in the log, so the log of this program is one that has a reader come.
 */
#include "fs/cache.h"
#include "fs/tgbs.h"
#include "tests/unit/reader_world.h"

#define BLOCK (UINT64_C(64) << 10)

/* ---- A log to order: it defines the functions of store/base/log.h ------------------------------- */

struct bw_log {
	void (*failed)(void *ctx);	/* a get has; once */
	void *ctx;
};

int bw_log_open(const char *to, enum bw_log_level level, struct bw_log **ret)
{
	(void)to, (void)level;
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

void bw_log_close(struct bw_log *log)
{
	free(log);
}

void bw_log_reopen(struct bw_log *log)
{
	(void)log;
}

void bw_log(struct bw_log *log, enum bw_log_level level, const char *event, const char *fmt, ...)
{
	void (*failed)(void *ctx) = log ? log->failed : NULL;

	(void)level, (void)fmt;
	if (!failed || strcmp(event, "get_failed") != 0)
		return;
	log->failed = NULL;
	failed(log->ctx);
}

void bw_log_dying(const struct bw_log *log, const char *text)
{
	(void)log, (void)text;
}

int bw_log_level_parse(const char *text, enum bw_log_level *ret)
{
	(void)text, (void)ret;
	return -EINVAL;
}

/* ---- Blocks and footers ----------------------------------------------------------------------- */

struct late {
	struct world world;
	struct bw_fetcher fetcher;
	struct bw_cache *blocks;
	struct bw_tgbs *tgbs;
	struct bw_piece piece;		/* the reader's */
	struct world_wait ahead, demand;
	struct bw_latch answered;
	int err;
	int64_t joined_ns;
};

static struct late *late;	/* answer() has no other way to it */

static void answer(struct bw_piece *piece, int err)
{
	cr_assert_eq(piece, &late->piece);
	late->err = err;
	bw_latch_open(&late->answered);
}

/* Of one step, of which prefetches fail. */
static void late_init(struct late *l, void (*failed)(void *ctx))
{
	late = l;
	world_init(&l->world, &(struct world_options){.ranks = 1, .block_size = BLOCK});
	world_commit_even(&l->world, 1, 2 * BLOCK);
	l->world.log->failed = failed;
	l->world.log->ctx = l;
	l->fetcher = (struct bw_fetcher){
		.store = l->world.store,
		.stream = &l->world.stream,
		.head = &l->world.head,
		.pool = l->world.pool,
		.log = l->world.log,
		.counters = &l->world.counters,
		.io_timeout_ns = 60 * BW_SEC,
	};
	bw_fetcher_init(&l->fetcher);
	struct bw_cache_config config = {.fetcher = &l->fetcher,
					 .budget = &l->world.budget,
					 .counters = &l->world.counters,
					 .answer = answer,
					 .now = bw_now};
	cr_assert_eq(bw_cache_new(&config, &l->blocks), 0);
	cr_assert_eq(bw_tgbs_new(&l->fetcher, &l->world.budget, l->blocks, &l->tgbs), 0);
	bw_latch_init(&l->answered);
	l->world.faults.prio = BW_PRIO_PREFETCH;
	world_spoil(&l->world, BW_FAULT_BEFORE, 0, UINT64_MAX, UINT32_MAX);
}

static void late_done(struct late *l)
{
	bw_fetcher_stop(&l->fetcher);
	bw_tgbs_free(l->tgbs);
	bw_cache_free(l->blocks);
	bw_fetcher_done(&l->fetcher);
	world_done(&l->world);
}

static struct bw_block_want second_block(struct late *l)
{
	return (struct bw_block_want){.entry = &l->world.head.entries[0], .tgb = l->world.tgbs[0], .index = 1};
}

static void read_block(void *ctx)
{
	struct late *l = ctx;
	struct bw_block_want want = second_block(l);

	l->piece.length = BLOCK;
	cr_assert_eq(bw_cache_get(l->blocks, &want, &l->piece), 0, "it joins");
}

Test(fetch_joined, V6_who_joins_a_block_that_has_failed_gets_it)
{
	struct late l;
	struct bw_block_want want;

	late_init(&l, read_block);
	want = second_block(&l);
	cr_assert(bw_cache_prefetch(l.blocks, &want, 1));
	bw_latch_wait(&l.answered);
	cr_assert_eq(l.err, 0);
	cr_assert_eq(l.piece.blob->len, BLOCK);
	bw_blob_unref(l.piece.blob);
	cr_assert_eq(world_gets(&l.world), 2, "once more, for the reader");
	late_done(&l);
}

static int ask(struct late *l, struct world_wait *w, enum bw_prio prio)
{
	*w = (struct world_wait){.wait = {.done = world_tgb_came, .entry = l->world.head.entries[0]}};
	bw_latch_init(&w->answered);
	return bw_tgbs_get(l->tgbs, &w->wait, prio, &w->tgb);
}

static void read_footer(void *ctx)
{
	struct late *l = ctx;

	cr_assert_eq(ask(l, &l->demand, BW_PRIO_DEMAND), 0, "it joins");
}

Test(fetch_joined, V6_who_joins_a_footer_that_has_failed_gets_it)
{
	struct late l;

	late_init(&l, read_footer);
	cr_assert_eq(ask(&l, &l.ahead, BW_PRIO_PREFETCH), 0);
	bw_latch_wait(&l.ahead.answered);
	bw_latch_wait(&l.demand.answered);
	cr_assert_eq(l.demand.err, 0);
	cr_assert_eq(l.ahead.err, 0, "as it came, it is for both");
	bw_tgb_unref(l.demand.tgb);
	bw_tgb_unref(l.ahead.tgb);
	cr_assert_eq(world_gets(&l.world), 2);
	late_done(&l);
}

static void block_then_pause(void *ctx)
{
	read_block(ctx);
	late->joined_ns = bw_now();
	bw_sleep(100 * BW_MS);
}

static void footer_then_pause(void *ctx)
{
	read_footer(ctx);
	late->joined_ns = bw_now();
	bw_sleep(100 * BW_MS);
}

static void expect_time_of_join(struct late *l)
{
	cr_assert_eq(world_gets(&l->world), 2);
	cr_assert_leq(l->world.faults.deadline_ns, l->joined_ns + l->fetcher.io_timeout_ns);
	late_done(l);
}

/* V6: of whoever joins, what was fetched ahead takes no time that io_timeout does not count. */
Test(fetch_joined, V6_the_time_of_who_joins_begins_when_he_does)
{
	struct late l;
	struct bw_block_want wants[2];

	for (unsigned n = 1; n <= 2; n++) {	/* by itself, and in one get with another */
		late_init(&l, block_then_pause);
		wants[2 - n] = wants[1] = second_block(&l);
		wants[2 - n].index = 2 - n;
		cr_assert(bw_cache_prefetch(l.blocks, &wants[2 - n], n));
		bw_latch_wait(&l.answered);
		cr_assert_eq(l.err, 0);
		bw_blob_unref(l.piece.blob);
		expect_time_of_join(&l);
	}
	late_init(&l, footer_then_pause);
	cr_assert_eq(ask(&l, &l.ahead, BW_PRIO_PREFETCH), 0);
	bw_latch_wait(&l.ahead.answered);
	bw_latch_wait(&l.demand.answered);
	bw_tgb_unref(l.demand.tgb);
	bw_tgb_unref(l.ahead.tgb);
	expect_time_of_join(&l);
}

/* And who does not join waits for nothing. */
Test(fetch_joined, V6_what_nobody_joins_is_asked_for_once)
{
	struct late l;

	late_init(&l, NULL);
	struct bw_block_want want = second_block(&l);

	cr_assert(bw_cache_prefetch(l.blocks, &want, 1));
	cr_assert_eq(ask(&l, &l.ahead, BW_PRIO_PREFETCH), 0);
	bw_latch_wait(&l.ahead.answered);
	cr_assert_eq(l.ahead.err, -BW_E_UNREACHABLE);
	bw_fetcher_stop(&l.fetcher);
	cr_assert_eq(world_gets(&l.world), 2, "a block and a footer");
	cr_assert_not(bw_cache_has(l.blocks, &want));
	late_done(&l);
}
