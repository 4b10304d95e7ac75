/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/build.h"

#include "fs/stage.h"

#include <stdlib.h>

#define STEP (UINT64_C(1) << 18)	/* less than this is not worth a task */
#define PIECE (UINT64_C(64) << 20)	/* after so much the thread is the next one's: a slice may be a hole of many terabytes */

static void build_unref_later(struct bw_build *u, struct bw_spool **freed)
{
	if (atomic_fetch_sub_explicit(&u->refs, 1, memory_order_acq_rel) != 1)
		return;
	uint32_t ranks = u->produce->c.stream->options.ranks;

	bw_batch_free(u->batch);
	for (uint32_t i = 0; u->bodies && i < ranks; i++)
		bw_spool_free_later(u->bodies[i].spool, freed);
	free(u->bodies);
	bw_spool_free_later(u->sink, freed);
	free(u);
}

/* Without the lock. */
static void build_unref(void *ctx)
{
	struct bw_spool *freed = NULL;

	build_unref_later(ctx, &freed);
	bw_spool_free_list(freed);
}

static void build_unref_locked(struct bw_build *u)
{
	build_unref_later(u, &u->produce->freed);
}

static int build_new(struct bw_stage_batch *b, uint64_t epoch, struct bw_build **ret)
{
	struct bw_produce *p = b->produce;
	const struct bw_stream *stream = p->c.stream;
	struct bw_build *u = calloc(1, sizeof(*u));
	int err = 0;

	if (!u)
		return -ENOMEM;
	atomic_init(&u->refs, 1);
	u->produce = p;
	u->of = b;
	u->epoch = epoch;
	u->bodies = calloc(stream->options.ranks, sizeof(*u->bodies));
	if (!u->bodies)
		err = -ENOMEM;
	if (!err && stream->options.compress != BW_COMPRESS_NONE) {
		err = bw_spool_new(p->c.space, &u->sink);
		if (!err)
			bw_spool_sink_init(&u->sink_body, u->sink);
	}
	if (!err)
		err = bw_batch_new(stream, b->producer->name, epoch, b->seq, u->sink ? &u->sink_body.sink : NULL,
				   &u->batch);
	if (err) {
		build_unref(u);
		return err;
	}
	*ret = u;
	return 0;
}

/* ---- What is certain ---------------------------------------------------------------------------- */

/* Bytes of slice `rank` that may be fed, of which `fed` are. */
static uint64_t certain_locked(const struct bw_stage_batch *b, uint32_t rank, uint64_t fed, bool *ret_whole)
{
	const struct bw_stage_node *n = b->by_rank[rank];
	uint32_t block = b->produce->c.stream->block_size;

	*ret_whole = false;
	if (!n || !n->spool || n->torn)
		return fed;
	*ret_whole = bw_stage_node_whole(n);
	uint64_t upto = *ret_whole ? bw_spool_size(n->spool) : bw_spool_filled(n->spool) / block * block;

	return upto > fed ? upto : fed;
}

/* Is there enough to feed?  It is asked at each write: whole slices that were counted are not looked at again until something is fed. */
static bool is_much_locked(struct bw_stage_batch *b)
{
	uint32_t ranks = b->produce->c.stream->options.ranks;
	uint32_t feeds = b->build ? bw_batch_feeds(b->build->batch) : 0;
	bool whole = true;

	if (b->counted_n < feeds)
		b->counted_n = feeds;
	while (b->counted_n < ranks && b->counted < STEP) {
		uint64_t fed = b->build && b->counted_n == feeds ? bw_batch_fed(b->build->batch) : 0;
		uint64_t more = certain_locked(b, b->counted_n, fed, &whole) - fed;
		if (!whole)
			return b->counted + more >= STEP;
		b->counted += more;
		b->counted_n++;
	}
	return b->counted >= STEP;
}

static void count_anew_locked(struct bw_stage_batch *b)
{
	b->counted_n = 0;
	b->counted = 0;
}

/* Is what was fed of this rank still what lies there? */
static bool is_rank_true_locked(const struct bw_stage_batch *b, uint32_t rank)
{
	struct bw_spool *fed = b->build->bodies[rank].spool;
	const struct bw_stage_node *n = b->by_rank[rank];

	return !fed || (n && n->spool == fed && !bw_spool_broken(fed));
}

static bool is_true_locked(const struct bw_stage_batch *b)
{
	const struct bw_build *u = b->build;
	uint32_t ranks = b->produce->c.stream->options.ranks;

	for (uint32_t i = 0; i < ranks && u->bodies[i].spool; i++)
		if (!is_rank_true_locked(b, i))
			return false;
	return !u->failed;
}

/* ---- Feeding ------------------------------------------------------------------------------------ */

struct step {
	struct bw_spool_body *body;
	uint64_t upto, len;
	uint64_t expected;	/* bytes of the whole batch, about */
	bool whole;		/* and the slice ends there */
	bool cut;		/* more is certain */
};

/* The batch is taken to be like the one before, unless it is larger by now: then its slices are taken to be like its largest. */
static uint64_t expected_locked(struct bw_build *u, const struct bw_stage_node *n)
{
	struct bw_root *root = bw_head_root(u->produce->c.head);
	const struct bw_entry *before = root->head ? bw_root_tail_entry(root, root->head - 1) : NULL;
	uint64_t raw = before ? before->raw : 0, size = bw_spool_size(n->spool);

	bw_root_unref(root);
	u->largest = u->largest > size ? u->largest : size;
	return raw >= u->raw ? raw : u->largest * u->produce->c.stream->options.ranks;
}

/* The next piece to feed, promised by its spool; false: there is none now. */
static bool next_step_locked(struct bw_build *u, struct step *ret)
{
	const struct bw_stage_batch *b = u->of;
	uint32_t rank = bw_batch_feeds(u->batch);
	uint64_t fed = bw_batch_fed(u->batch);

	if (!b || u->wanted || u->failed || u->produce->stopping || rank == u->produce->c.stream->options.ranks)
		return false;
	ret->upto = certain_locked(b, rank, fed, &ret->whole);
	if (ret->upto == fed && !ret->whole)
		return false;
	ret->cut = ret->upto - fed > PIECE;
	if (ret->cut) {
		ret->upto = fed + PIECE;
		ret->whole = false;
	}
	ret->len = ret->upto - fed;
	ret->body = &u->bodies[rank];
	if (!ret->body->spool)
		bw_spool_body_init(ret->body, bw_spool_ref(b->by_rank[rank]->spool));
	if (ret->body->spool != b->by_rank[rank]->spool)
		return false;
	bw_spool_promise(ret->body->spool, ret->whole ? UINT64_MAX : ret->upto);
	u->raw += ret->len;
	ret->expected = expected_locked(u, b->by_rank[rank]);
	return true;
}

static struct bw_build *build_of(struct bw_task *task)
{
	return bw_container_of(task, struct bw_build, task);
}

/* What went wrong once may do so again, and each time all would be read and sent anew: the rest is left to the commit. */
static void give_up_locked(struct bw_stage_batch *b)
{
	b->late_build = true;
	bw_build_drop_locked(b);
}

static void run_feed(struct bw_task *task)
{
	struct bw_build *u = build_of(task);
	struct bw_produce *p = u->produce;
	struct step s;
	uint64_t sum = 0;

	bw_lock(&p->lock);
	while (next_step_locked(u, &s)) {
		if (sum >= PIECE) {
			bw_workq_push(p->c.pool, &u->task);
			bw_unlock(&p->lock);
			return;
		}
		bw_unlock(&p->lock);
		int err = bw_batch_feed(u->batch, &s.body->body, s.upto, s.whole);
		if (!err && !s.cut)
			bw_batch_early_grow(u->batch, s.expected);
		sum += s.len;
		bw_lock(&p->lock);
		u->failed |= err != 0;
	}
	struct bw_stage_batch *b = u->of;

	u->feeding = false;
	if (!b)
		bw_batch_early_drop(u->batch);
	else if (u->failed)
		give_up_locked(b);
	if (b && u->wanted)
		bw_workq_push(p->c.pool, &b->task);
	bw_produce_unlock(p);
	build_unref(u);
}

static bool begin_locked(struct bw_stage_batch *b)
{
	struct bw_produce *p = b->produce;
	bool held;

	bw_producer_next(p, b->producer->name, &held);
	if (!held || build_new(b, bw_producer_epoch(p, b->producer->name), &b->build))
		return false;
	struct bw_build *u = b->build;

	atomic_fetch_add_explicit(&u->refs, 1, memory_order_relaxed);
	if (!bw_batch_early(u->batch, p->c.store, build_unref, u))
		build_unref_locked(u);
	return true;
}

void bw_build_nudge_locked(struct bw_stage_batch *b)
{
	struct bw_produce *p = b->produce;

	if (b->state > BW_BATCH_WHOLE || b->err || b->late_build || p->stopping || (b->build && b->build->feeding) ||
	    !is_much_locked(b))
		return;
	if (!b->build && !begin_locked(b)) {
		b->late_build = true;
		return;
	}
	struct bw_build *u = b->build;

	count_anew_locked(b);
	u->feeding = true;
	atomic_fetch_add_explicit(&u->refs, 1, memory_order_relaxed);
	u->task = (struct bw_task){.run = run_feed, .prio = BW_PRIO_PREFETCH};
	bw_workq_push(p->c.pool, &u->task);
}

void bw_build_recheck_locked(struct bw_stage_batch *b, int64_t rank)
{
	if (!b->build || rank < 0 || b->state > BW_BATCH_WHOLE || is_rank_true_locked(b, (uint32_t)rank))
		return;
	give_up_locked(b);
}

/* ---- The commit --------------------------------------------------------------------------------- */

bool bw_build_freeze_locked(struct bw_stage_batch *b)
{
	struct bw_build *u = b->build;

	if (u && (u->epoch != b->epoch || !is_true_locked(b)))
		bw_build_drop_locked(b);
	else if (u && u->feeding && !bw_workq_cancel(b->produce->c.pool, &u->task))
		return !(u->wanted = true);
	else if (u && u->feeding) {
		/* It waits for its turn behind those that nobody waits for: the commit goes on with it. */
		u->feeding = false;
		build_unref_locked(u);
	}
	return true;
}

int bw_build_finish(struct bw_stage_batch *b)
{
	uint32_t ranks = b->produce->c.stream->options.ranks;
	int err = b->build ? 0 : build_new(b, b->epoch, &b->build);

	if (err)
		return err;
	struct bw_build *u = b->build;
	uint64_t sum = 0;

	for (uint32_t i; !err && (i = bw_batch_feeds(u->batch)) < ranks;) {
		struct bw_spool *spool = b->by_rank[i]->spool;
		uint64_t fed = bw_batch_fed(u->batch), len = bw_spool_size(spool) - fed;
		bool whole = len <= PIECE;
		if (sum >= PIECE)
			return 1;
		if (!u->bodies[i].spool)
			bw_spool_body_init(&u->bodies[i], bw_spool_ref(spool));
		err = bw_batch_feed(u->batch, &u->bodies[i].body, fed + (whole ? len : PIECE), whole);
		sum += whole ? len : PIECE;
	}
	return err ? err : bw_batch_finish(u->batch);
}

void bw_build_drop_locked(struct bw_stage_batch *b)
{
	struct bw_build *u = b->build;

	if (!u)
		return;
	b->build = NULL;
	u->of = NULL;
	if (!u->feeding)
		bw_batch_early_drop(u->batch);
	build_unref_locked(u);
}
