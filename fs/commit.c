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

void bw_answers_run(struct bw_answer *list)
{
	while (list) {
		struct bw_answer *a = list;
		list = a->next;
		a->done(a, a->err);
	}
}

void bw_produce_told(struct bw_produce *p)
{
	BW_LOCK_SCOPE(&p->lock);
	p->asking_n--;
	bw_cond_broadcast(&p->idle);
}

static void push_answer(struct bw_answer **list, struct bw_answer *a)
{
	a->next = *list;
	*list = a;
}

/* Moves all of a list to replies, with err: nobody in it waits any more. */
static void answer_all(struct bw_produce *p, struct bw_answer **list, int err,
		       struct bw_answer **replies)
{
	while (*list) {
		struct bw_answer *a = *list;
		*list = a->next;
		bw_waiting_remove(p->c.waiting, &a->waiter);
		a->err = err;
		push_answer(replies, a);
	}
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
	if (!a->deadline_ns)
		a->deadline_ns = bw_now() + p->c.options->commit_timeout_ns;
	bw_waiting_add(p->c.waiting, &a->waiter);
}

bool bw_producer_held(const struct bw_produce *p, const struct bw_producer_entry *e)
{
	return e && e->epoch && memcmp(e->owner, p->owner, sizeof(e->owner)) == 0;
}

uint64_t bw_producer_next(struct bw_produce *p, const char *name, bool *ret_held)
{
	struct bw_root *root = bw_head_root(p->c.head);
	const struct bw_producer_entry *e = bw_root_producer(root, name);
	uint64_t next = e ? e->next : 0;

	*ret_held = bw_producer_held(p, e);
	bw_root_unref(root);
	return next;
}

uint64_t bw_producer_epoch(struct bw_produce *p, const char *name)
{
	struct bw_root *root = bw_head_root(p->c.head);
	const struct bw_producer_entry *e = bw_root_producer(root, name);
	uint64_t epoch = e ? e->epoch : 0;

	bw_root_unref(root);
	return epoch;
}

/* ---- The outcome ------------------------------------------------------------------------------ */

static void drop_build_locked(struct bw_stage_batch *b)
{
	bw_build_drop_locked(b);
	bw_change_done(&b->item.change);
	memset(&b->item, 0, sizeof(b->item));
	b->uploaded = b->pushed = false;
}

/* P8: batches that closes have taken, or may, and that are not committed: there are to be `pending` of them at most. */
static uint32_t taken_locked(const struct bw_stage_producer *sp)
{
	uint32_t n = sp->queued;

	for (const struct bw_stage_batch *b = sp->batches; b; b = b->next)
		n += b->state == BW_BATCH_WHOLE;
	return n;
}

int bw_producer_drained_locked(struct bw_stage_producer *sp)
{
	int err = sp->deferred_err;

	for (const struct bw_stage_batch *b = sp->batches; b && !err; b = b->next)
		err = b->err ? b->err : b->state == BW_BATCH_WHOLE ? -EAGAIN : 0;
	sp->deferred_err = 0;
	return err;
}

/* The batch is no longer BUSY: whoever waited for a slot or for all to be done may go on. */
static void leave_busy_locked(struct bw_stage_batch *b, struct bw_answer **replies)
{
	struct bw_produce *p = b->produce;
	struct bw_stage_producer *sp = b->producer;

	drop_build_locked(b);
	p->busy_n--;
	if (b->early)
		sp->queued--;
	b->early = b->hurry = false;
	if (taken_locked(sp) <= p->c.options->pending)
		answer_all(p, &sp->slot_waiters, 0, replies);
	bw_cond_broadcast(&p->idle);
	for (struct bw_stage_batch *other = sp->batches; other; other = other->next)
		if (other->state == BW_BATCH_BUSY)
			return;
	answer_all(p, &sp->slot_waiters, 0, replies);	/* what is left does not move before somebody writes again */
	if (sp->drainers)
		answer_all(p, &sp->drainers, bw_producer_drained_locked(sp), replies);
}

static void start_locked(struct bw_stage_batch *b);

/* A committed batch may have been what its successor waited for. */
static void start_successor_locked(const struct bw_stage_batch *b, struct bw_stage_batch *after)
{
	if (!after || after->seq != b->seq + 1 || after->state != BW_BATCH_WHOLE)
		return;
	if (!bw_stage_batch_whole(after, b->produce->c.stream->options.ranks) || b->produce->closed) {
		after->state = BW_BATCH_STAGING;
		return;
	}
	after->early = true;
	after->producer->queued++;
	start_locked(after);
}

static void committed_locked(struct bw_stage_batch *b, struct bw_answer **replies)
{
	struct bw_produce *p = b->produce;
	struct bw_stage_batch *after = b->next;

	b->state = BW_BATCH_COMMITTED;
	bw_stage_batch_done(b);
	b->err = 0;
	b->gone_ns = bw_now() + DIRECTORY_STAYS_NS;
	answer_all(p, &b->answers, 0, replies);
	bw_counters_committed(p->c.counters, bw_now() - b->started_ns);
	/* The successor first: whoever drains the queue waits for it as well. */
	start_successor_locked(b, after);
	leave_busy_locked(b, replies);
	/* The bytes are in the store now; what stays is names. */
	if (b->dir)
		bw_stage_node_drop_bytes(p, b->dir);
	bw_produce_tick_locked(p);
}

static void note_error_locked(struct bw_stage_batch *b, int err, const char *detail)
{
	char what[BW_NAME_MAX + BW_DETAIL_MAX + 256], text[128];
	const char *quote = *detail ? "\"" : "";

	snprintf(what, sizeof(what), "producer=%s seq=%" PRIu64 " errno=%d reason=\"%s\"%s%s%.*s%s", b->producer->name, b->seq,
		 bw_err_errno(err), bw_err_text(err, text, sizeof(text)), *detail ? " detail=" : "", quote, (int)BW_DETAIL_MAX,
		 detail, quote);
	bw_errors_add(b->produce->c.errors, "%s", what);
	bw_log(b->produce->c.log, BW_LOG_ERROR, "commit_failed", "%s", what);
}

void bw_producer_lose_locked(struct bw_stage_producer *sp)
{
	sp->lost = true;
	for (struct bw_stage_batch *b = sp->batches; b; b = b->next)
		if (b->state == BW_BATCH_STAGING || b->state == BW_BATCH_WHOLE)
			b->err = -BW_E_FENCED;
}

static void failed_locked(struct bw_stage_batch *b, int err, const char *detail,
			  struct bw_answer **replies)
{
	struct bw_produce *p = b->produce;
	struct bw_stage_producer *sp = b->producer;
	struct bw_stage_batch *before = b->seq ? bw_stage_batch_find(sp, b->seq - 1) : NULL;
	bool follows = before && before->state != BW_BATCH_COMMITTED;

	sp->push_next = sp->push_next < b->seq ? sp->push_next : b->seq;
	if (follows && err != -BW_E_FENCED && !sp->lost && !p->closed) {
		/* Only its predecessor failed: it stays whole and commits when that one does. */
		b->state = BW_BATCH_WHOLE;
		answer_all(p, &b->answers, -EAGAIN, replies);
		leave_busy_locked(b, replies);
		return;
	}
	b->state = BW_BATCH_STAGING;
	b->err = err;
	if (err == -BW_E_FENCED)
		bw_producer_lose_locked(sp);
	note_error_locked(b, err, detail);
	atomic_fetch_add(&p->c.counters->commits_failed, 1);
	if (b->early && p->c.options->pending && !sp->deferred_err)
		sp->deferred_err = err;
	answer_all(p, &b->answers, err, replies);
	leave_busy_locked(b, replies);
}

/*
 * A batch that is uploaded and whose turn will not come, because what was before it failed, was taken
 * by another mount, or is gone: it fails too, or waits for its predecessor again.
 */
static void release_stranded_locked(struct bw_stage_producer *sp, struct bw_answer **replies)
{
	bool held;
	uint64_t next = bw_producer_next(sp->produce, sp->name, &held);

	for (struct bw_stage_batch *b = sp->batches; b; b = b->next) {
		if (b->state != BW_BATCH_BUSY || !b->uploaded || b->pushed)
			continue;
		struct bw_stage_batch *before = b->seq ? bw_stage_batch_find(sp, b->seq - 1) : NULL;
		if (sp->lost)
			failed_locked(b, -BW_E_FENCED, "", replies);
		else if (b->seq < next)
			failed_locked(b, -BW_E_SEQ_TAKEN, "", replies);
		else if (b->seq != next && (!before || before->state < BW_BATCH_BUSY))
			failed_locked(b, -BW_E_SEQ_GAP, "", replies);
	}
}

/* ---- Build, upload, queue --------------------------------------------------------------------- */

/* The directories of b that have become read-only. */
static void list_fixed_locked(const struct bw_stage_batch *b, uint64_t ret[2])
{
	ret[0] = b->dir ? b->dir->ino : 0;
	ret[1] = b->ranks ? b->ranks->ino : 0;
}

static void tell_changed(struct bw_produce *p, const uint64_t inos[2])
{
	for (int i = 0; i < 2 && p->c.changed; i++)
		if (inos[i])
			p->c.changed(p->c.changed_ctx, inos[i]);
}

static void push_ready_locked(struct bw_stage_producer *sp, struct bw_answer **replies);
static void run_upload(struct bw_task *task);

static void take_back_locked(struct bw_stage_batch *b)
{
	struct bw_stage_producer *sp = b->producer;

	bw_change_done(&b->item.change);
	memset(&b->item, 0, sizeof(b->item));
	b->pushed = false;
	sp->push_next = sp->push_next < b->seq ? sp->push_next : b->seq;
}

/*
 * The root had no room for the state of b, or of the batch before it, which is then on its way again and takes b with it: b is
 * not committed, nor will be as it was pushed, and is pushed once more.  False: that is not what failed.
 */
static bool push_again_locked(struct bw_stage_batch *b, int err, struct bw_answer **replies)
{
	struct bw_stage_producer *sp = b->producer;
	struct bw_stage_batch *before = b->seq ? bw_stage_batch_find(sp, b->seq - 1) : NULL;

	if (sp->lost || sp->produce->closed || (err != -BW_E_LIMIT && err != -BW_E_SEQ_GAP))
		return false;
	if (before && before->state == BW_BATCH_BUSY) {
		take_back_locked(b);
		push_ready_locked(sp, replies);
		return true;
	}
	if (err != -BW_E_LIMIT || !bw_batch_state_apart(b->build->batch))
		return false;
	take_back_locked(b);
	b->uploaded = false;
	b->task.run = run_upload;
	bw_workq_push(b->produce->c.pool, &b->task);
	return true;
}

static void item_done(struct bw_commit_item *item, const struct bw_txn_change *result)
{
	struct bw_stage_batch *b = item->ctx;
	struct bw_produce *p = b->produce;
	struct bw_answer *replies = NULL;
	uint64_t fixed[2] = {0, 0};

	if (!result->err) {
		struct bw_root *root = bw_head_root(p->c.head);
		const struct bw_entry *e = bw_root_tail_entry(root, result->step);
		if (e)
			bw_reader_learn(p->c.reader, e, bw_batch_tgb(b->build->batch), bw_batch_footer(b->build->batch));
		bw_root_unref(root);
		bw_log(p->c.log, BW_LOG_DEBUG, "committed",
		       "producer=%s seq=%" PRIu64 " step=%" PRIu64 " version=%" PRIu64,
		       b->producer->name, b->seq, result->step, result->version);
	}
	bw_lock(&p->lock);
	if (!result->err)
		committed_locked(b, &replies);
	else if (!push_again_locked(b, result->err, &replies))
		failed_locked(b, result->err, "", &replies);
	release_stranded_locked(b->producer, &replies);
	if (!result->err)
		list_fixed_locked(b, fixed);
	p->asking_n++;
	bw_produce_unlock(p);		/* before anybody writes the next batch, which may need the room */
	tell_changed(p, fixed);		/* P3d: who was told that it is committed finds it so */
	bw_answers_run(replies);
	bw_produce_told(p);
}

/* Hands to the committer what is uploaded, in order of seq.  What cannot be handed over fails: nobody comes back to it. */
static void push_ready_locked(struct bw_stage_producer *sp, struct bw_answer **replies)
{
	struct bw_produce *p = sp->produce;

	for (struct bw_stage_batch *b = sp->batches; b; b = b->next) {
		if (b->seq < sp->push_next || b->pushed)
			continue;
		if (b->seq != sp->push_next || b->state != BW_BATCH_BUSY || !b->uploaded)
			break;
		int err = p->closed ? -BW_E_STOPPING : bw_batch_change(b->build->batch, p->owner, &b->item.change);
		if (err) {
			failed_locked(b, err, "", replies);
			return;
		}
		b->item.done = item_done;
		b->item.ctx = b;
		b->item.hurry = b->hurry || sp->drainers || p->stopping;
		b->item.latest_ns = b->started_ns + p->c.options->commit_timeout_ns / 4 * 3;
		b->pushed = true;
		sp->push_next = b->seq + 1;
		bw_committer_push(p->c.committer, &b->item);
	}
}

/* The name is this batch's alone, so an upload of unknown outcome may be sent again until it is known. */
static bool upload_again_locked(struct bw_stage_batch *b)
{
	struct bw_produce *p = b->produce;
	int64_t at = bw_batch_again_ns(b->uploads_failed, b->deadline_ns);

	if (p->closed || at == BW_NEVER)
		return false;
	b->uploads_failed++;
	b->task.run = run_upload;
	bw_workq_push_at(p->c.pool, &b->task, at);
	return true;
}

static void uploaded(void *ctx, int err, const char *detail)
{
	struct bw_stage_batch *b = ctx;
	struct bw_produce *p = b->produce;
	struct bw_stage_producer *sp = b->producer;
	struct bw_answer *replies = NULL;

	bw_lock(&p->lock);
	if (err == -BW_E_UNKNOWN && upload_again_locked(b)) {
		bw_unlock(&p->lock);
		return;
	}
	b->uploaded = !err;
	if (err)
		failed_locked(b, err == -ECANCELED ? -ETIMEDOUT : err, detail, &replies);
	else
		push_ready_locked(sp, &replies);
	/* The last uploads end with the store, when there are no news any more. */
	if (!p->closed)
		release_stranded_locked(sp, &replies);
	p->asking_n++;
	bw_produce_unlock(p);
	bw_answers_run(replies);
	bw_produce_told(p);
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
			: bw_batch_set_state(b->build->batch, bytes, len, bw_root_state_room(root));

	bw_root_unref(root);
	free(bytes);
	return err;
}

static struct bw_stage_batch *batch_of(struct bw_task *task)
{
	return bw_container_of(task, struct bw_stage_batch, task);
}

static void run_upload(struct bw_task *task)
{
	struct bw_stage_batch *b = batch_of(task);

	bw_batch_upload(b->build->batch, b->produce->c.store, b->deadline_ns, uploaded, b);
}

/* With another batch on its way nobody knows which version will have which. */
static void announce(struct bw_stage_batch *b)
{
	struct bw_produce *p = b->produce;
	struct bw_change change;

	if (!bw_store_prepares(p->c.store) ||
	    bw_batch_change(b->build->batch, p->owner, &change) != 0)
		return;
	bw_lock(&p->lock);
	if (p->busy_n == 1 && b->seq == b->producer->push_next && !p->closed)
		bw_committer_expect(p->c.committer, &change);
	bw_unlock(&p->lock);
	bw_change_done(&change);
}

/* A build that takes long goes on when those that wait have had their turn, until the time is over for which somebody would wait. */
static int build_on(struct bw_stage_batch *b)
{
	struct bw_produce *p = b->produce;

	BW_LOCK_SCOPE(&p->lock);
	if (p->closed)
		return -BW_E_STOPPING;
	if (bw_now() >= b->deadline_ns)
		return -ETIMEDOUT;
	bw_workq_push(p->c.pool, &b->task);
	return 1;
}

static void run_build(struct bw_task *task)
{
	struct bw_stage_batch *b = batch_of(task);
	/* The batch is frozen, so its nodes and spools stand still without the lock. */
	int err = bw_build_finish(b);

	if (err > 0)
		err = build_on(b);
	if (err > 0)
		return;
	if (!err)
		err = add_state(b);
	if (err) {
		uploaded(b, err, "while reading the staged bytes");
		return;
	}
	announce(b);
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
	b->uploads_failed = 0;
	b->epoch = bw_producer_epoch(p, sp->name);
	b->started_ns = bw_now();
	b->deadline_ns = b->started_ns + p->c.options->commit_timeout_ns;
	p->busy_n++;
	if (sp->push_next < next)
		sp->push_next = next;
	b->task = (struct bw_task){.run = run_build, .prio = BW_PRIO_COMMIT};
	if (bw_build_freeze_locked(b))
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
	if (b->state > BW_BATCH_WHOLE || !bw_stage_batch_whole(b, p->c.stream->options.ranks))
		return;
	uint64_t next = bw_producer_next(p, sp->name, &held);
	int err = p->stopping ? -ESHUTDOWN : 0;

	if (!err && (sp->lost || !held))
		err = -BW_E_FENCED;
	if (!err && b->seq < next)
		err = -BW_E_SEQ_TAKEN;
	if (err) {
		b->err = *ret_err = err;
		if (err == -BW_E_FENCED)
			bw_producer_lose_locked(sp);
		if (err != -ESHUTDOWN) {
			note_error_locked(b, err, "");
			atomic_fetch_add(&p->c.counters->commits_failed, 1);
		}
		return;
	}
	struct bw_stage_batch *before = b->seq ? bw_stage_batch_find(sp, b->seq - 1) : NULL;

	if (b->seq > next && (!before || before->state < BW_BATCH_BUSY)) {
		b->state = BW_BATCH_WHOLE;
		*ret_err = taken_locked(sp) <= p->c.options->pending ? 0 : -EAGAIN;
		return;
	}
	early = !a || p->c.options->pending;
	b->early = early;
	sp->queued += early;
	start_locked(b);
	if (!early) {
		bw_answer_park(p, a, BW_WAIT_COMMIT, b, NULL);
		push_answer(&b->answers, a);
		*ret_now = NULL;
	} else if (a && taken_locked(sp) > p->c.options->pending) {
		bw_answer_park(p, a, BW_WAIT_COMMIT, b, NULL);
		push_answer(&sp->slot_waiters, a);
		*ret_now = NULL;
	}
}

/* ---- Time ------------------------------------------------------------------------------------- */

void bw_answer_late_locked(struct bw_produce *p, struct bw_answer *a, struct bw_answer **late)
{
	bw_waiting_remove(p->c.waiting, &a->waiter);
	a->err = a->interrupted ? -EINTR : -ETIMEDOUT;
	push_answer(late, a);
}

/* P3m: the deadline ends the wait, not the attempt; a batch stays frozen until its outcome is known. */
static bool expire_locked(struct bw_produce *p, struct bw_answer **list, int64_t now,
			  struct bw_answer **late)
{
	bool any = false;

	for (struct bw_answer **at = list; *at;) {
		struct bw_answer *a = *at;
		if (a->deadline_ns > now) {
			at = &a->next;
			continue;
		}
		*at = a->next;
		bw_answer_late_locked(p, a, late);
		any = true;
	}
	return any;
}

static void run_tick(struct bw_task *task)
{
	struct bw_produce *p = bw_container_of(task, struct bw_produce, tick);
	struct bw_answer *late = NULL;
	int64_t now = bw_now();

	bw_lock(&p->lock);
	bool more = bw_register_late_locked(p, now, &late);

	p->ticking = false;
	for (struct bw_stage_producer *sp = p->producers; sp; sp = sp->next) {
		expire_locked(p, &sp->takers, now, &late);
		more |= sp->takers != NULL;
		expire_locked(p, &sp->slot_waiters, now, &late);
		expire_locked(p, &sp->drainers, now, &late);
		for (struct bw_stage_batch *b = sp->batches; b; b = b->next) {
			if (expire_locked(p, &b->answers, now, &late))
				note_error_locked(b, -ETIMEDOUT, "the attempt goes on");
			more |= b->state == BW_BATCH_BUSY;
		}
		while (sp->done && (now >= sp->done->gone_ns || p->stopping))
			bw_stage_batch_drop(sp->done);
		more |= sp->done != NULL;
	}
	if (more)
		bw_produce_tick_locked(p);
	p->asking_n++;
	bw_produce_unlock(p);
	bw_answers_run(late);
	bw_produce_told(p);
}

void bw_stage_batch_give_up_locked(struct bw_stage_batch *b)
{
	b->err = -BW_E_STOPPING;
	note_error_locked(b, b->err, "");
}

/* At the end of the mount, when nothing of the store can call back any more. */
void bw_stage_batch_abandon(struct bw_stage_batch *b)
{
	struct bw_answer *replies = NULL;

	if (b->state == BW_BATCH_BUSY)
		bw_stage_batch_give_up_locked(b);	/* uploaded, and never its turn */
	answer_all(b->produce, &b->answers, -BW_E_STOPPING, &replies);
	answer_all(b->produce, &b->producer->slot_waiters, -BW_E_STOPPING, &replies);
	answer_all(b->produce, &b->producer->drainers, -BW_E_STOPPING, &replies);
	drop_build_locked(b);
	bw_answers_run(replies);
}

void bw_produce_tick_locked(struct bw_produce *p)
{
	if (p->ticking || p->stopping)
		return;
	p->ticking = true;
	p->tick.run = run_tick;
	bw_workq_push_at(p->timer, &p->tick, bw_now() + TICK_NS);
}
