/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a whole batch to its outcome.
 *
 *   STAGING -> (whole) -> BUSY: build (pool) -> upload (store) -> queue (committer) -> COMMITTED
 *      ^          |                  |               |                 |
 *      |          v                  +------ error --+-----------------+-> STAGING + sticky error
 *      +------- WHOLE: an earlier seq is not whole
 *
 * Batches of one producer are built and uploaded side by side and handed to the committer in order of
 * seq.  One that fails because its predecessor did goes back to WHOLE and is tried again with it.
 */
#include "fs/errors.h"
#include "fs/stage.h"

#include "store/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIRECTORY_STAYS_NS (60 * BW_SEC)	/* P3d */
#define TICK_NS (100 * BW_MS)
#define UPLOAD_AGAIN_NS (200 * BW_MS)

void bw_answers_run(struct bw_answer *list, int err)
{
	while (list) {
		struct bw_answer *a = list;
		list = a->next;
		a->done(a, err);
	}
}

static void push_answer(struct bw_answer **list, struct bw_answer *a)
{
	a->next = *list;
	*list = a;
}

/* A list that goes to bw_answers_run(): nobody in it waits any more. */
static struct bw_answer *take_answers(struct bw_produce *p, struct bw_answer **list)
{
	struct bw_answer *all = *list;

	*list = NULL;
	for (struct bw_answer *a = all; a; a = a->next)
		bw_waiting_remove(p->c.waiting, &a->waiter);
	return all;
}

void bw_answer_park(struct bw_produce *p, struct bw_answer *a, enum bw_wait_reason reason,
		    const struct bw_stage_batch *b, const struct bw_stage_node *n)
{
	a->waiter.reason = reason;
	if (n && n->rank >= 0)
		snprintf(a->waiter.what, sizeof(a->waiter.what),
			 "producer=%s seq=%" PRIu64 " rank=%" PRId64, b->producer->name, b->seq, n->rank);
	else if (b)
		snprintf(a->waiter.what, sizeof(a->waiter.what), "producer=%s seq=%" PRIu64,
			 b->producer->name, b->seq);
	bw_waiting_add(p->c.waiting, &a->waiter);
}

uint64_t bw_producer_next(struct bw_produce *p, const char *name, bool *ret_held)
{
	struct bw_root *root = bw_head_root(p->c.head);
	const struct bw_producer_entry *e = bw_root_producer(root, name);
	uint64_t next = e ? e->next : 0;

	*ret_held = e && e->epoch &&
		    memcmp(e->owner, bw_committer_owner(p->c.committer), sizeof(e->owner)) == 0;
	bw_root_unref(root);
	return next;
}

static uint64_t known_epoch(struct bw_produce *p, const char *name)
{
	struct bw_root *root = bw_head_root(p->c.head);
	const struct bw_producer_entry *e = bw_root_producer(root, name);
	uint64_t epoch = e ? e->epoch : 0;

	bw_root_unref(root);
	return epoch;
}

/* ---- The outcome ------------------------------------------------------------------------------ */

/* Those to be answered once the lock is dropped. */
struct replies {
	struct bw_answer *ok, *failed, *again;
	int err;
};

static void run_replies(struct replies *r)
{
	bw_answers_run(r->ok, 0);
	bw_answers_run(r->failed, r->err);
	bw_answers_run(r->again, -EAGAIN);
}

static void drop_build_locked(struct bw_stage_batch *b)
{
	bw_batch_free(b->batch);
	bw_spool_free(b->sink);
	free(b->bodies);
	free(b->body_list);
	b->batch = NULL;
	b->sink = NULL;
	b->bodies = NULL;
	b->body_list = NULL;
	bw_change_done(&b->item.change);
	memset(&b->item, 0, sizeof(b->item));
	b->uploaded = b->pushed = false;
}

/* The batch is no longer BUSY: whoever waited for a slot or for all to be done may go on. */
static void leave_busy_locked(struct bw_stage_batch *b, struct replies *r)
{
	struct bw_produce *p = b->produce;
	struct bw_stage_producer *sp = b->producer;

	drop_build_locked(b);
	p->busy_n--;
	if (b->early)
		sp->queued--;
	b->early = false;
	if (sp->slot_waiters && sp->queued < p->c.options->pending) {
		struct bw_answer *a = sp->slot_waiters;
		sp->slot_waiters = a->next;
		bw_waiting_remove(p->c.waiting, &a->waiter);
		push_answer(&r->ok, a);
	}
	for (struct bw_stage_batch *other = sp->batches; other; other = other->next)
		if (other->state == BW_BATCH_BUSY)
			return;
	/* P8: an fsync of the directory hears of what nobody else was told. */
	struct bw_answer *drainers = take_answers(p, &sp->drainers);

	while (drainers) {
		struct bw_answer *a = drainers;
		drainers = a->next;
		if (sp->deferred_err) {
			r->err = r->failed ? r->err : sp->deferred_err;
			push_answer(&r->failed, a);
		} else {
			push_answer(&r->ok, a);
		}
	}
	if (r->failed)
		sp->deferred_err = 0;
	bw_cond_broadcast(&p->idle);
}

static void start_locked(struct bw_stage_batch *b);

/* A committed batch may have been what its successor waited for. */
static void start_successor_locked(struct bw_stage_batch *b)
{
	struct bw_stage_batch *after = b->next;

	if (!after || after->seq != b->seq + 1 || after->state != BW_BATCH_WHOLE)
		return;
	if (bw_stage_batch_missing(after, b->produce->c.stream->options.ranks) || b->produce->stopping) {
		after->state = BW_BATCH_STAGING;
		return;
	}
	after->early = true;
	after->producer->queued++;
	start_locked(after);
}

static void committed_locked(struct bw_stage_batch *b, uint64_t step, struct replies *r)
{
	struct bw_produce *p = b->produce;

	b->state = BW_BATCH_COMMITTED;
	b->err = 0;
	b->step = step;
	b->gone_ns = bw_now() + DIRECTORY_STAYS_NS;
	r->ok = take_answers(p, &b->answers);
	atomic_fetch_add(&p->c.counters->commits_ok, 1);
	atomic_fetch_add(&p->c.counters->commit_ns, (uint64_t)(bw_now() - b->started_ns));
	/* The bytes are in the store now; what stays is names. */
	leave_busy_locked(b, r);
	for (struct bw_stage_node *n = b->ranks ? b->ranks->children : NULL; n; n = n->next) {
		if (!n->spool || n->opens)
			continue;
		n->size_was = bw_spool_size(n->spool);
		bw_spool_free(n->spool);
		n->spool = NULL;
	}
	start_successor_locked(b);
	bw_produce_tick_locked(p);
}

static void note_error_locked(struct bw_stage_batch *b, int err, const char *detail)
{
	char text[128];
	const char *why = bw_err_text(err, text, sizeof(text));

	bw_errors_add(b->produce->c.errors, "producer=%s seq=%" PRIu64 " errno=%d reason=\"%s\" %s",
		      b->producer->name, b->seq, bw_err_errno(err), why, detail);
	bw_log(b->produce->c.log, BW_LOG_ERROR, "commit_failed",
	       "producer=%s seq=%" PRIu64 " errno=%d reason=\"%s\" %s", b->producer->name, b->seq,
	       bw_err_errno(err), why, detail);
}

static void failed_locked(struct bw_stage_batch *b, int err, const char *detail, struct replies *r)
{
	struct bw_produce *p = b->produce;
	struct bw_stage_producer *sp = b->producer;
	struct bw_stage_batch *before = b->seq ? bw_stage_batch_find(sp, b->seq - 1) : NULL;
	bool was_early = b->early, follows = before && before->state != BW_BATCH_COMMITTED;

	sp->push_next = sp->push_next < b->seq ? sp->push_next : b->seq;
	if (follows && err != -BW_E_FENCED) {
		/* Only its predecessor failed: it stays whole and commits when that one does. */
		b->state = BW_BATCH_WHOLE;
		r->again = take_answers(p, &b->answers);
		leave_busy_locked(b, r);
		return;
	}
	b->state = BW_BATCH_STAGING;
	b->err = err;
	if (err == -BW_E_FENCED) {
		sp->lost = true;
		for (struct bw_stage_batch *o = sp->batches; o; o = o->next)
			if (o->state == BW_BATCH_STAGING || o->state == BW_BATCH_WHOLE)
				o->err = err;
	}
	note_error_locked(b, err, detail);
	atomic_fetch_add(&p->c.counters->commits_failed, 1);
	if (was_early && p->c.options->pending && !sp->deferred_err)
		sp->deferred_err = err;
	r->failed = take_answers(p, &b->answers);
	r->err = err;
	leave_busy_locked(b, r);
}

/* ---- Build, upload, queue --------------------------------------------------------------------- */

static void item_done(struct bw_commit_item *item, const struct bw_txn_change *result)
{
	struct bw_stage_batch *b = item->ctx;
	struct bw_produce *p = b->produce;
	struct replies r = {0};

	if (!result->err) {
		struct bw_root *root = bw_head_root(p->c.head);
		const struct bw_entry *e = bw_root_tail_entry(root, result->step);
		if (e)
			bw_reader_learn(p->c.reader, e, bw_batch_tgb(b->batch));
		bw_root_unref(root);
		bw_log(p->c.log, BW_LOG_DEBUG, "committed",
		       "producer=%s seq=%" PRIu64 " step=%" PRIu64 " version=%" PRIu64,
		       b->producer->name, b->seq, result->step, result->version);
	}
	bw_lock(&p->lock);
	if (result->err)
		failed_locked(b, result->err, "", &r);
	else
		committed_locked(b, result->step, &r);
	bw_unlock(&p->lock);
	run_replies(&r);
}

/* Hands to the committer what is uploaded, in order of seq. */
static int push_ready_locked(struct bw_stage_producer *sp)
{
	struct bw_produce *p = sp->produce;

	for (struct bw_stage_batch *b = sp->batches; b; b = b->next) {
		if (b->seq < sp->push_next || b->pushed)
			continue;
		if (b->seq != sp->push_next || b->state != BW_BATCH_BUSY || !b->uploaded)
			break;
		if (p->closed)
			return -BW_E_STOPPING;
		int err = bw_batch_change(b->batch, bw_committer_owner(p->c.committer),
					  &b->item.change);
		if (err)
			return err;
		b->item.done = item_done;
		b->item.ctx = b;
		b->pushed = true;
		sp->push_next = b->seq + 1;
		bw_committer_push(p->c.committer, &b->item);
	}
	return 0;
}

static void run_upload(struct bw_task *task);

/* The name is this batch's alone, so an upload of unknown outcome may be sent again until it is known. */
static bool upload_again_locked(struct bw_stage_batch *b)
{
	struct bw_produce *p = b->produce;
	int64_t at = bw_now() + UPLOAD_AGAIN_NS;

	if (p->stopping || at >= b->deadline_ns)
		return false;
	b->task.run = run_upload;
	bw_workq_push_at(p->c.pool, &b->task, at);
	return true;
}

static void uploaded(void *ctx, int err, const char *detail)
{
	struct bw_stage_batch *b = ctx;
	struct bw_produce *p = b->produce;
	struct replies r = {0};

	bw_lock(&p->lock);
	if (err == -BW_E_UNKNOWN && upload_again_locked(b)) {
		bw_unlock(&p->lock);
		return;
	}
	if (!err) {
		b->uploaded = true;
		err = push_ready_locked(b->producer);
	}
	if (err && !b->pushed)
		failed_locked(b, err, detail, &r);
	bw_unlock(&p->lock);
	run_replies(&r);
}

static int add_state(struct bw_stage_batch *b)
{
	struct bw_produce *p = b->produce;
	struct bw_spool *spool = b->state_file ? b->state_file->spool : NULL;

	if (!spool)
		return 0;
	uint64_t len = bw_spool_size(spool);

	if (len > BW_STATE_MAX)
		return -EFBIG;
	uint8_t *bytes = malloc(len + 1);
	if (!bytes)
		return -ENOMEM;
	ssize_t n = bw_spool_read(spool, 0, bytes, len);
	struct bw_root *root = bw_head_root(p->c.head);
	int err = n < 0 ? (int)n
			: bw_batch_set_state(b->batch, bytes, len, bw_root_state_room(root));

	bw_root_unref(root);
	free(bytes);
	return err;
}

/* The batch is frozen, so its nodes and spools stand still without the lock. */
static int build(struct bw_stage_batch *b)
{
	struct bw_produce *p = b->produce;
	uint32_t ranks = p->c.stream->options.ranks;
	struct bw_sink *sink = NULL;

	b->bodies = calloc(ranks, sizeof(*b->bodies));
	b->body_list = calloc(ranks, sizeof(*b->body_list));
	if (!b->bodies || !b->body_list)
		return -ENOMEM;
	for (uint32_t r = 0; r < ranks; r++) {
		bw_spool_body_init(&b->bodies[r], b->by_rank[r]->spool);
		b->body_list[r] = &b->bodies[r].body;
	}
	if (p->c.stream->options.compress != BW_COMPRESS_NONE) {
		int err = bw_spool_new(p->c.space, &b->sink);
		if (err)
			return err;
		bw_spool_sink_init(&b->sink_body, b->sink);
		sink = &b->sink_body.sink;
	}
	int err = bw_batch_build(p->c.stream, b->producer->name, b->epoch, b->seq, b->body_list, sink,
				 &b->batch);

	return err ? err : add_state(b);
}

static struct bw_stage_batch *batch_of(struct bw_task *task)
{
	return (struct bw_stage_batch *)((char *)task - offsetof(struct bw_stage_batch, task));
}

static void run_upload(struct bw_task *task)
{
	struct bw_stage_batch *b = batch_of(task);

	bw_batch_upload(b->batch, b->produce->c.store, b->deadline_ns, uploaded, b);
}

static void run_build(struct bw_task *task)
{
	struct bw_stage_batch *b = batch_of(task);
	int err = build(b);

	if (err)
		uploaded(b, err, "while reading the staged bytes");
	else
		run_upload(task);
}

static void start_locked(struct bw_stage_batch *b)
{
	struct bw_produce *p = b->produce;
	struct bw_stage_producer *sp = b->producer;
	bool held;
	uint64_t next = bw_producer_next(p, sp->name, &held);

	b->state = BW_BATCH_BUSY;
	b->err = 0;
	b->epoch = known_epoch(p, sp->name);
	b->started_ns = bw_now();
	b->deadline_ns = b->started_ns + p->c.options->commit_timeout_ns;
	p->busy_n++;
	if (sp->push_next < next)
		sp->push_next = next;
	b->task = (struct bw_task){.run = run_build, .prio = BW_PRIO_COMMIT};
	bw_workq_push(p->c.pool, &b->task);
	bw_produce_tick_locked(p);
}

void bw_stage_batch_settled_locked(struct bw_stage_batch *b, struct bw_answer *a, struct bw_answer **ret_now,
			     int *ret_err)
{
	struct bw_produce *p = b->produce;
	struct bw_stage_producer *sp = b->producer;
	bool held, early;

	*ret_now = a;
	*ret_err = 0;
	if (b->state > BW_BATCH_WHOLE || bw_stage_batch_missing(b, p->c.stream->options.ranks))
		return;
	if (p->stopping || sp->lost) {
		*ret_err = p->stopping ? -ESHUTDOWN : -BW_E_FENCED;
		b->err = *ret_err;
		return;
	}
	struct bw_stage_batch *before = b->seq ? bw_stage_batch_find(sp, b->seq - 1) : NULL;

	if (b->seq > bw_producer_next(p, sp->name, &held) &&
	    (!before || before->state < BW_BATCH_BUSY)) {
		b->state = BW_BATCH_WHOLE;
		*ret_err = p->c.options->pending ? 0 : -EAGAIN;
		return;
	}
	early = !a || p->c.options->pending;
	b->early = early;
	sp->queued += early;
	if (!early) {
		bw_answer_park(p, a, BW_WAIT_COMMIT, b, NULL);
		push_answer(&b->answers, a);
		*ret_now = NULL;
	} else if (a && sp->queued > p->c.options->pending) {
		bw_answer_park(p, a, BW_WAIT_COMMIT, b, NULL);
		push_answer(&sp->slot_waiters, a);
		*ret_now = NULL;
	}
	start_locked(b);
}

/* ---- Time ------------------------------------------------------------------------------------- */

/* P3m: the deadline ends the wait, not the attempt; the batch stays frozen until its outcome is known. */
static void expire_waits_locked(struct bw_stage_batch *b, int64_t now, struct bw_answer **late)
{
	if (b->state != BW_BATCH_BUSY || now < b->deadline_ns || !b->answers)
		return;
	note_error_locked(b, -ETIMEDOUT, "the attempt goes on");
	struct bw_answer *all = take_answers(b->produce, &b->answers);

	while (all) {
		struct bw_answer *a = all;
		all = a->next;
		push_answer(late, a);
	}
}

static void run_tick(struct bw_task *task)
{
	struct bw_produce *p = (struct bw_produce *)((char *)task - offsetof(struct bw_produce, tick));
	struct bw_answer *late = NULL;
	int64_t now = bw_now();
	bool more = false;

	bw_lock(&p->lock);
	p->ticking = false;
	for (struct bw_stage_producer *sp = p->producers; sp; sp = sp->next) {
		for (struct bw_stage_batch *b = sp->batches, *next; b; b = next) {
			next = b->next;
			expire_waits_locked(b, now, &late);
			if (b->state == BW_BATCH_COMMITTED && (now >= b->gone_ns || p->stopping))
				bw_stage_batch_drop(b);
			else
				more |= b->state >= BW_BATCH_BUSY;
		}
	}
	if (more)
		bw_produce_tick_locked(p);
	bw_unlock(&p->lock);
	bw_answers_run(late, -ETIMEDOUT);
}

void bw_produce_tick_locked(struct bw_produce *p)
{
	if (p->ticking || p->stopping)
		return;
	p->ticking = true;
	p->tick.run = run_tick;
	bw_workq_push_at(p->timer, &p->tick, bw_now() + TICK_NS);
}
