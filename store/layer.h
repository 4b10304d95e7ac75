/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the layers of a store share.  Private to store/.
 *
 * A filter that must see the answer of an op puts a frame between itself and the caller: the frame
 * keeps the caller's done() while the filter's own stands in the op, so one op travels down the
 * whole chain and no layer copies it.  One that may have an answer for the caller before what it sent down has
 * ended sends a child instead, which is its own.
 */
#ifndef BW_STORE_LAYER_H
#define BW_STORE_LAYER_H

#include "store/base/sync.h"
#include "store/store.h"

struct bw_frame {
	void (*done)(struct bw_op *op);	/* what stood in the op */
	void *priv;
};

/* f stays where it is until it is popped: embedded in what the filter keeps for this op. */
void bw_frame_push(struct bw_op *op, struct bw_frame *f, void (*done)(struct bw_op *op));
/* In that done(): the frame, with the op as it was before. */
struct bw_frame *bw_frame_pop(struct bw_op *op);

/* A get like the caller's, to be sent in its place. */
void bw_op_child(struct bw_op *child, const struct bw_op *parent, void (*done)(struct bw_op *op), void *ctx);
/* What the child was answered, with all that it owns, becomes the parent's, of any kind; done() is for the filter to run. */
void bw_op_child_give(struct bw_op *child, struct bw_op *parent);

static inline struct bw_op *bw_op_of(struct bw_task *task)
{
	return bw_container_of(task, struct bw_op, task);
}

/* What asks and changes nothing: lost, it was as if never sent. */
static inline bool bw_op_kind_is_read(enum bw_op_kind kind)
{
	return kind == BW_OP_GET || kind == BW_OP_LIST || kind == BW_OP_LIST_UPLOADS;
}

/* Queues an op, to be run by run() on a thread of q, not before due_ns (0: at once). */
void bw_op_queue(struct bw_op *op, struct bw_workq *q, void (*run)(struct bw_task *task),
		 int64_t due_ns);
/* The same, to be given back as it is: outcome and err are set.  For what fails inside submit. */
void bw_op_end_on(struct bw_op *op, struct bw_workq *q);
/* For a backend whose ops wait in q: one that has not begun ends CANCELLED. */
void bw_op_cancel_on(struct bw_op *op, struct bw_workq *q);

/* DELETE_MANY for a backend that has none: one() deletes op->key and sets op->outcome, for each item. */
void bw_op_delete_each(struct bw_op *op, void (*one)(void *ctx, struct bw_op *op), void *ctx);

/* The outcome of a DELETE_MANY by those of its items: the one a caller has to hear of most. */
enum bw_outcome bw_delete_worst(const struct bw_delete_item *items, size_t n);

/* The items of a DELETE_MANY end as it does. */
void bw_op_fail(struct bw_op *op, enum bw_outcome outcome, int err);

/* Counts the ops lent to a filter, so that its free() can wait for the last. */
struct bw_gate {
	struct bw_mutex lock;
	struct bw_cond empty;
	uint64_t lent;
};
void bw_gate_init(struct bw_gate *g);
void bw_gate_done(struct bw_gate *g);
void bw_gate_enter(struct bw_gate *g);
void bw_gate_leave(struct bw_gate *g);	/* after the caller's done() has returned */
void bw_gate_wait(struct bw_gate *g);

/*
 * Ops that wait in a filter, by priority and then order of arrival, linked through their tasks.  The
 * filter's lock guards it; whoever queues an op that stands in a line takes it out first.
 */
struct bw_line {
	struct {
		struct bw_task *head, **tail;
	} at[BW_PRIO_IDLE + 1];
};
void bw_line_init(struct bw_line *l);
void bw_line_push(struct bw_line *l, struct bw_op *op);
struct bw_op *bw_line_first(const struct bw_line *l);	/* NULL: nobody waits */
struct bw_op *bw_line_first_below(const struct bw_line *l, enum bw_prio prio);	/* of prio, or behind it */
/* False: it does not wait here.  Touches nothing of op but its priority and address. */
bool bw_line_remove(struct bw_line *l, struct bw_op *op);
/* Takes out one op whose deadline has passed, or NULL and when the next one's passes (BW_NEVER: none). */
struct bw_op *bw_line_take_late(struct bw_line *l, int64_t now_ns, int64_t *ret_due_ns);

/* Wakes a filter at the earliest of the times it was set to: run() begins by clearing it, once, under the
 * filter's lock, which guards it, and sets it again. */
struct bw_alarm {
	struct bw_task task;
	int64_t due_ns;		/* BW_NEVER: not set */
};
void bw_alarm_init(struct bw_alarm *a, void (*run)(struct bw_task *task));
void bw_alarm_set(struct bw_alarm *a, struct bw_workq *q, int64_t due_ns);
static inline void bw_alarm_clear(struct bw_alarm *a)
{
	a->due_ns = BW_NEVER;
}

#endif
