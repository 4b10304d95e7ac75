/* SPDX-License-Identifier: Apache-2.0 */
#include "store/layer.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void bw_frame_push(struct bw_op *op, struct bw_frame *f, void (*done)(struct bw_op *op))
{
	f->done = op->done;
	f->priv = op->store_priv;
	op->done = done;
	op->store_priv = f;
}

struct bw_frame *bw_frame_pop(struct bw_op *op)
{
	struct bw_frame *f = op->store_priv;

	op->done = f->done;
	op->store_priv = f->priv;
	return f;
}

void bw_op_child(struct bw_op *child, const struct bw_op *parent, void (*done)(struct bw_op *op), void *ctx)
{
	assert(parent->kind == BW_OP_GET);
	*child = *parent;
	child->task = (struct bw_task){0};
	child->store_priv = NULL;
	child->done = done;
	child->ctx = ctx;
}

void bw_op_child_give(struct bw_op *child, struct bw_op *parent)
{
	parent->outcome = child->outcome;
	parent->err = child->err;
	parent->retry_after_ns = child->retry_after_ns;
	memcpy(parent->detail, child->detail, sizeof(parent->detail));
	parent->object_size = child->object_size;
	parent->modified_ms = child->modified_ms;
	parent->blob = child->blob;
	child->blob = NULL;
	parent->listing = child->listing;
	child->listing = NULL;
	parent->uploads = child->uploads;
	child->uploads = NULL;
}

void bw_op_queue(struct bw_op *op, struct bw_workq *q, void (*run)(struct bw_task *task),
		 int64_t due_ns)
{
	op->task.run = run;
	op->task.prio = op->prio;
	bw_workq_push_at(q, &op->task, due_ns);
}

static void run_end(struct bw_task *task)
{
	struct bw_op *op = bw_op_of(task);

	op->done(op);
}

void bw_op_end_on(struct bw_op *op, struct bw_workq *q)
{
	bw_op_queue(op, q, run_end, 0);
}

void bw_op_cancel_on(struct bw_op *op, struct bw_workq *q)
{
	if (!bw_workq_cancel(q, &op->task))
		return;
	bw_op_fail(op, BW_CANCELLED, 0);
	bw_op_end_on(op, q);
}

void bw_op_fail(struct bw_op *op, enum bw_outcome outcome, int err)
{
	op->outcome = outcome;
	op->err = err;
	for (size_t i = 0; op->kind == BW_OP_DELETE_MANY && i < op->items_n; i++)
		op->items[i].outcome = outcome;
}

/* How much a caller has to hear of an outcome: the worst of a batch is the batch's. */
static unsigned weight(enum bw_outcome outcome)
{
	switch (outcome) {
	case BW_OK:
		return 0;
	case BW_UNKNOWN:
		return 2;
	default:
		return 1;
	}
}

enum bw_outcome bw_delete_worst(const struct bw_delete_item *items, size_t n)
{
	enum bw_outcome worst = BW_OK;

	for (size_t i = 0; i < n; i++)
		if (weight(items[i].outcome) > weight(worst))
			worst = items[i].outcome;
	return worst;
}

void bw_op_delete_each(struct bw_op *op, void (*one)(void *ctx, struct bw_op *op), void *ctx)
{
	op->kind = BW_OP_DELETE;	/* for the time of each: its failure is not that of all */
	for (size_t i = 0; i < op->items_n; i++) {
		struct bw_delete_item *item = &op->items[i];

		snprintf(op->key, sizeof(op->key), "%s", item->key);
		one(ctx, op);
		item->outcome = op->outcome == BW_NOT_FOUND ? BW_OK : op->outcome;
	}
	op->kind = BW_OP_DELETE_MANY;
	op->key[0] = 0;
	op->outcome = bw_delete_worst(op->items, op->items_n);
}

void bw_gate_init(struct bw_gate *g)
{
	bw_mutex_init(&g->lock, BW_RANK_LEAF);
	bw_cond_init(&g->empty);
	g->lent = 0;
}

void bw_gate_done(struct bw_gate *g)
{
	bw_cond_done(&g->empty);
	bw_mutex_done(&g->lock);
}

void bw_gate_enter(struct bw_gate *g)
{
	BW_LOCK_SCOPE(&g->lock);
	g->lent++;
}

void bw_gate_leave(struct bw_gate *g)
{
	BW_LOCK_SCOPE(&g->lock);
	if (--g->lent == 0)
		bw_cond_broadcast(&g->empty);
}

void bw_gate_wait(struct bw_gate *g)
{
	BW_LOCK_SCOPE(&g->lock);
	while (g->lent)
		bw_cond_wait(&g->empty, &g->lock);
}
