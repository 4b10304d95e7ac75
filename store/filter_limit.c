/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An op that may not go down yet waits here, in the list of its priority.  The first op of the
 * highest priority is never overtaken, so a large one cannot be starved by small ones.
 */
#include "store/layer.h"

#include <assert.h>
#include <stdlib.h>

/* The place of an op that was lent to what is below. */
struct lent {
	struct bw_frame frame;
	struct limit *l;
	struct bw_op *op;	/* NULL: unused */
	uint64_t bytes;
	struct lent *next;	/* in the list of unused ones */
};

struct waiting {
	struct bw_task *head, **tail;
};

struct limit {
	struct bw_store store;
	struct bw_gate gate;
	struct bw_workq *q;
	struct bw_mutex lock;	/* all of the rest */
	uint64_t max_bytes, bytes;
	struct lent *unused;	/* none left: max_ops are lent */
	struct waiting waiting[BW_PRIO_IDLE + 1];
	struct bw_task timer;	/* looks for ops that waited past their deadline */
	int64_t timer_ns;	/* when it is due; BW_NEVER: not queued */
	unsigned places_n;
	struct lent places[];
};

/* An op larger than all that may be lent goes when nothing else is. */
static uint64_t bytes_of(const struct limit *l, const struct bw_op *op)
{
	uint64_t bytes = 0;

	if (op->kind == BW_OP_GET)
		bytes = op->length == BW_TO_END ? op->max : op->length;
	else if (op->kind == BW_OP_PUT)
		bytes = op->body->size;
	return bytes < l->max_bytes ? bytes : l->max_bytes;
}

static void wait_push_locked(struct limit *l, struct bw_op *op)
{
	struct waiting *w = &l->waiting[op->prio];

	op->task.next = NULL;
	*w->tail = &op->task;
	w->tail = &op->task.next;
}

static void wait_remove_locked(struct waiting *w, struct bw_task **at)
{
	struct bw_task *t = *at;

	*at = t->next;
	if (!*at)
		w->tail = at;
}

static void done(struct bw_op *op);

/* The next op that may go down, with its place taken; NULL: none. */
static struct bw_op *take(struct limit *l)
{
	struct waiting *w = l->waiting;

	BW_LOCK_SCOPE(&l->lock);
	while (w <= &l->waiting[BW_PRIO_IDLE] && !w->head)
		w++;
	if (w > &l->waiting[BW_PRIO_IDLE] || !l->unused)
		return NULL;
	struct bw_op *op = bw_op_of(w->head);
	uint64_t bytes = bytes_of(l, op);

	if (bytes > l->max_bytes - l->bytes)
		return NULL;
	wait_remove_locked(w, &w->head);
	struct lent *place = l->unused;
	l->unused = place->next;
	l->bytes += bytes;
	place->op = op;
	place->bytes = bytes;
	bw_frame_push(op, &place->frame, done);
	return op;
}

static void pump(struct limit *l)
{
	struct bw_op *op;

	while ((op = take(l)))
		bw_store_submit(l->store.next, op);
}

static void done(struct bw_op *op)
{
	struct lent *place = (struct lent *)bw_frame_pop(op);
	struct limit *l = place->l;

	bw_lock(&l->lock);
	l->bytes -= place->bytes;
	place->op = NULL;
	place->next = l->unused;
	l->unused = place;
	bw_unlock(&l->lock);
	pump(l);
	op->done(op);
	bw_gate_leave(&l->gate);
}

/* ---- Ops that end while they wait ----------------------------------------------------------- */

static void end(struct limit *l, struct bw_op *op)
{
	bw_op_fail(op, BW_CANCELLED, 0);
	op->done(op);
	bw_gate_leave(&l->gate);
}

static void arm_locked(struct limit *l, int64_t due_ns)
{
	if (due_ns >= l->timer_ns)
		return;
	/* A timer that is about to run will see this op itself. */
	if (l->timer_ns != BW_NEVER && !bw_workq_cancel(l->q, &l->timer))
		return;
	l->timer_ns = due_ns;
	bw_workq_push_at(l->q, &l->timer, due_ns);
}

static void run_timer(struct bw_task *task)
{
	struct limit *l = (struct limit *)((char *)task - offsetof(struct limit, timer));
	struct bw_task *late = NULL;
	int64_t now_ns = bw_now(), due_ns = BW_NEVER;

	bw_lock(&l->lock);
	for (struct waiting *w = l->waiting; w <= &l->waiting[BW_PRIO_IDLE]; w++) {
		for (struct bw_task **at = &w->head; *at;) {
			struct bw_task *t = *at;
			int64_t deadline_ns = bw_op_of(t)->deadline_ns;
			if (deadline_ns <= now_ns) {
				wait_remove_locked(w, at);
				t->next = late;
				late = t;
				continue;
			}
			due_ns = deadline_ns < due_ns ? deadline_ns : due_ns;
			at = &t->next;
		}
	}
	l->timer_ns = BW_NEVER;
	arm_locked(l, due_ns);
	bw_unlock(&l->lock);
	while (late) {
		struct bw_op *op = bw_op_of(late);
		late = late->next;
		end(l, op);
	}
	pump(l);
}

static void run_cancelled(struct bw_task *task)
{
	struct bw_op *op = bw_op_of(task);

	end((struct limit *)op->at, op);
}

static bool stop_waiting(struct limit *l, struct bw_op *op)
{
	struct waiting *w = &l->waiting[op->prio];

	BW_LOCK_SCOPE(&l->lock);
	for (struct bw_task **at = &w->head; *at; at = &(*at)->next) {
		if (*at == &op->task) {
			wait_remove_locked(w, at);
			return true;
		}
	}
	return false;
}

static bool is_lent(struct limit *l, const struct bw_op *op)
{
	BW_LOCK_SCOPE(&l->lock);
	for (unsigned i = 0; i < l->places_n; i++)
		if (l->places[i].op == op)
			return true;
	return false;
}

static void cancel(struct bw_store *s, struct bw_op *op)
{
	struct limit *l = (struct limit *)s;

	if (stop_waiting(l, op)) {
		bw_op_queue(op, l->q, run_cancelled, 0);
		pump(l);	/* it may have stood before others */
	} else if (is_lent(l, op)) {
		bw_store_cancel(s->next, op);
	}
	/* Else it is ending already, on our own thread: none of the business of what is below. */
}

/* ---- The filter ----------------------------------------------------------------------------- */

static void submit(struct bw_store *s, struct bw_op *op)
{
	struct limit *l = (struct limit *)s;

	bw_gate_enter(&l->gate);
	bw_lock(&l->lock);
	wait_push_locked(l, op);
	arm_locked(l, op->deadline_ns);
	bw_unlock(&l->lock);
	pump(l);
}

static void limit_free(struct bw_store *s)
{
	struct limit *l = (struct limit *)s;

	if (l->q) {
		bw_gate_wait(&l->gate);
		bw_workq_free(l->q);
	}
	bw_store_free(s->next);
	bw_gate_done(&l->gate);
	bw_mutex_done(&l->lock);
	free(l);
}

int bw_filter_limit_new(struct bw_store *below, unsigned max_ops, uint64_t max_bytes,
			struct bw_store **ret)
{
	static const struct bw_store_ops ops = {
		.name = "limit", .submit = submit, .cancel = cancel, .free = limit_free};
	struct limit *l = calloc(1, sizeof(*l) + max_ops * sizeof(l->places[0]));

	assert(max_ops > 0);
	if (!l) {
		bw_store_free(below);
		return -ENOMEM;
	}
	l->store = (struct bw_store){.ops = &ops, .next = below};
	l->max_bytes = max_bytes;
	l->places_n = max_ops;
	l->timer_ns = BW_NEVER;
	l->timer = (struct bw_task){.run = run_timer, .prio = BW_PRIO_DEMAND};
	for (unsigned i = 0; i < max_ops; i++) {
		l->places[i].l = l;
		l->places[i].next = l->unused;
		l->unused = &l->places[i];
	}
	for (int p = 0; p <= BW_PRIO_IDLE; p++)
		l->waiting[p].tail = &l->waiting[p].head;
	bw_mutex_init(&l->lock, BW_RANK_FILTER);
	bw_gate_init(&l->gate);
	int err = bw_workq_new("bw-limit", 1, &l->q);
	if (err) {
		limit_free(&l->store);
		return err;
	}
	*ret = &l->store;
	return 0;
}
