/* SPDX-License-Identifier: Apache-2.0 */
#include "store/layer.h"

void bw_line_init(struct bw_line *l)
{
	for (int p = 0; p <= BW_PRIO_IDLE; p++) {
		l->at[p].head = NULL;
		l->at[p].tail = &l->at[p].head;
	}
}

void bw_line_push(struct bw_line *l, struct bw_op *op)
{
	op->task.next = NULL;
	*l->at[op->prio].tail = &op->task;
	l->at[op->prio].tail = &op->task.next;
}

struct bw_op *bw_line_first_below(const struct bw_line *l, enum bw_prio prio)
{
	for (int p = (int)prio; p <= BW_PRIO_IDLE; p++)
		if (l->at[p].head)
			return bw_op_of(l->at[p].head);
	return NULL;
}

struct bw_op *bw_line_first(const struct bw_line *l)
{
	return bw_line_first_below(l, BW_PRIO_DEMAND);
}

static struct bw_op *take(struct bw_line *l, int prio, struct bw_task **at)
{
	struct bw_task *t = *at;

	*at = t->next;
	if (!*at)
		l->at[prio].tail = at;
	return bw_op_of(t);
}

bool bw_line_remove(struct bw_line *l, struct bw_op *op)
{
	for (struct bw_task **at = &l->at[op->prio].head; *at; at = &(*at)->next) {
		if (*at == &op->task) {
			take(l, op->prio, at);
			return true;
		}
	}
	return false;
}

struct bw_op *bw_line_take_late(struct bw_line *l, int64_t now_ns, int64_t *ret_due_ns)
{
	int64_t due_ns = BW_NEVER;

	for (int p = 0; p <= BW_PRIO_IDLE; p++) {
		for (struct bw_task **at = &l->at[p].head; *at; at = &(*at)->next) {
			int64_t deadline_ns = bw_op_of(*at)->deadline_ns;
			if (deadline_ns <= now_ns)
				return take(l, p, at);
			due_ns = deadline_ns < due_ns ? deadline_ns : due_ns;
		}
	}
	*ret_due_ns = due_ns;
	return NULL;
}

void bw_alarm_init(struct bw_alarm *a, void (*run)(struct bw_task *task))
{
	a->task = (struct bw_task){.run = run, .prio = BW_PRIO_DEMAND};
	a->due_ns = BW_NEVER;
}

void bw_alarm_set(struct bw_alarm *a, struct bw_workq *q, int64_t due_ns)
{
	if (due_ns >= a->due_ns)
		return;
	/* One that is about to run will see for itself. */
	if (a->due_ns != BW_NEVER && !bw_workq_cancel(q, &a->task))
		return;
	a->due_ns = due_ns;
	bw_workq_push_at(q, &a->task, due_ns);
}
