/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A get that the store does not come back from is given up when its time is over.
 *
 * Each get goes down as a child of its own.  Who asked has its answer, or hears that there is none; a child that was given up
 * goes on below, in the call that does not return, and is nobody's when it comes.  What changes something passes through: nobody
 * could say what has become of it.
 */
#include "store/layer.h"

#include <stdio.h>
#include <stdlib.h>

struct child {
	struct bw_op op;
	struct late *l;
	struct bw_op *parent;	/* NULL: given up, and then it is in no list */
	int64_t due_ns;
	bool cancelled;
	struct child *prev, *next;
};

/* Kept for the next gets: what was just in use is still in the CPU's caches, and 2 KiB of new memory are not. */
#define IDLE_MAX 16

struct late {
	struct bw_store store;
	int64_t more_ns;
	struct bw_gate gate;	/* of parents */
	struct bw_workq *q;
	struct bw_mutex lock;	/* all of the rest, and the children's parents */
	struct child *children;
	struct child *idle;	/* by next */
	unsigned idle_n;
	unsigned lost;		/* children that were given up and have not come */
	struct bw_cond found;	/* none is lost */
	bool leaves;
	struct bw_alarm alarm;
	bool stopping;		/* what is submitted from now on goes down as it is */
};

static struct child *child_new(struct late *l)
{
	bw_lock(&l->lock);
	struct child *c = l->idle;

	if (c) {
		l->idle = c->next;
		l->idle_n--;
	}
	bw_unlock(&l->lock);
	return c ? c : malloc(sizeof(*c));
}

/* False: there are enough, and it is the caller's to free. */
static bool keep_locked(struct late *l, struct child *c)
{
	if (l->idle_n >= IDLE_MAX)
		return false;
	c->next = l->idle;
	l->idle = c;
	l->idle_n++;
	return true;
}

static struct bw_op *part_locked(struct child *c)
{
	struct bw_op *parent = c->parent;

	if (!parent)
		return NULL;
	c->parent = NULL;
	*(c->prev ? &c->prev->next : &c->l->children) = c->next;
	if (c->next)
		c->next->prev = c->prev;
	return parent;
}

static void done(struct bw_op *op)
{
	struct child *c = op->ctx;
	struct late *l = c->l;

	bw_lock(&l->lock);
	struct bw_op *parent = part_locked(c);
	if (parent)
		bw_op_child_give(&c->op, parent);
	else if (--l->lost == 0)
		bw_cond_broadcast(&l->found);
	bw_op_done(op);
	bool kept = keep_locked(l, c);
	bw_unlock(&l->lock);
	if (!kept)
		free(c);
	if (!parent)
		return;
	parent->done(parent);
	bw_gate_leave(&l->gate);
}

/* The parent of one that is late, and how it ends; NULL: there is none, and the alarm is set. */
static struct bw_op *take_late(struct late *l, enum bw_outcome *ret_outcome)
{
	int64_t now_ns = bw_now(), due_ns = BW_NEVER;

	BW_LOCK_SCOPE(&l->lock);
	for (struct child *c = l->children; c; c = c->next) {
		due_ns = c->due_ns < due_ns ? c->due_ns : due_ns;
		*ret_outcome = c->cancelled ? BW_CANCELLED : BW_UNREACHABLE;
		if (c->due_ns > now_ns)
			continue;
		l->lost++;
		return part_locked(c);
	}
	bw_alarm_set(&l->alarm, l->q, due_ns);
	return NULL;
}

static void run_alarm(struct bw_task *task)
{
	struct late *l = bw_container_of(task, struct late, alarm.task);
	enum bw_outcome outcome;
	struct bw_op *parent;

	bw_lock(&l->lock);
	bw_alarm_clear(&l->alarm);
	bw_unlock(&l->lock);
	while ((parent = take_late(l, &outcome))) {
		snprintf(parent->detail, sizeof(parent->detail), "a read does not return");
		bw_op_fail(parent, outcome, 0);
		parent->done(parent);
		bw_gate_leave(&l->gate);
	}
}

/* False: the queue of the alarm is about to go. */
static bool list_locked(struct late *l, struct child *c)
{
	if (l->stopping)
		return false;
	c->prev = NULL;
	c->next = l->children;
	if (c->next)
		c->next->prev = c;
	l->children = c;
	if (c->due_ns != BW_NEVER)
		bw_alarm_set(&l->alarm, l->q, c->due_ns);
	return true;
}

static void submit(struct bw_store *s, struct bw_op *op)
{
	struct late *l = (struct late *)s;
	struct child *c = op->kind == BW_OP_GET ? child_new(l) : NULL;

	/* Short of memory, a get goes down as it is. */
	if (!c) {
		bw_store_submit(s->next, op);
		return;
	}
	bw_gate_enter(&l->gate);
	c->l = l;
	c->parent = op;
	c->cancelled = false;
	bw_op_child(&c->op, op, done, c);
	c->due_ns = op->deadline_ns < BW_NEVER - l->more_ns ? op->deadline_ns + l->more_ns : BW_NEVER;
	bw_lock(&l->lock);
	bool listed = list_locked(l, c);
	bw_unlock(&l->lock);
	if (!listed) {
		bw_gate_leave(&l->gate);
		free(c);
	}
	bw_store_submit(s->next, listed ? &c->op : op);
}

/* A get that nobody wants any more is one that is late. */
static void cancel(struct bw_store *s, struct bw_op *op)
{
	struct late *l = (struct late *)s;

	if (op->kind != BW_OP_GET) {
		bw_store_cancel(s->next, op);
		return;
	}
	BW_LOCK_SCOPE(&l->lock);
	for (struct child *c = l->children; c; c = c->next) {
		if (c->parent != op)
			continue;
		c->cancelled = true;
		c->due_ns = bw_now();
		bw_alarm_set(&l->alarm, l->q, c->due_ns);
		return;
	}
}

static void leave(struct bw_store *s)
{
	struct late *l = (struct late *)s;

	BW_LOCK_SCOPE(&l->lock);
	l->leaves = true;
}

/* Whether there are calls that go on below, and need what is there and their children. */
static bool is_left(struct late *l)
{
	int64_t until_ns = bw_now() + l->more_ns;

	BW_LOCK_SCOPE(&l->lock);
	while (l->leaves && l->lost && bw_cond_wait_until(&l->found, &l->lock, until_ns))
		;
	return l->leaves && l->lost;
}

static void late_free(struct bw_store *s)
{
	struct late *l = (struct late *)s;

	if (l->q) {
		bw_lock(&l->lock);
		l->stopping = true;
		bw_unlock(&l->lock);
		bw_gate_wait(&l->gate);
		bw_workq_free(l->q);
	}
	if (is_left(l))
		return;
	bw_store_free(s->next);
	for (struct child *c; (c = l->idle);) {
		l->idle = c->next;
		free(c);
	}
	bw_gate_done(&l->gate);
	bw_cond_done(&l->found);
	bw_mutex_done(&l->lock);
	free(l);
}

int bw_filter_late_new(struct bw_store *below, int64_t more_ns, struct bw_store **ret)
{
	static const struct bw_store_ops ops = {
		.name = "late", .submit = submit, .cancel = cancel, .leave = leave, .free = late_free};
	struct late *l = calloc(1, sizeof(*l));

	if (!l) {
		bw_store_free(below);
		return -ENOMEM;
	}
	l->store = (struct bw_store){.ops = &ops, .next = below};
	l->more_ns = more_ns;
	bw_alarm_init(&l->alarm, run_alarm);
	bw_mutex_init(&l->lock, BW_RANK_FILTER);
	bw_cond_init(&l->found);
	bw_gate_init(&l->gate);
	int err = bw_workq_new("bw-late", 1, &l->q);

	if (err) {
		late_free(&l->store);
		return err;
	}
	*ret = &l->store;
	return 0;
}
