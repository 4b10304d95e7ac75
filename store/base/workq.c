/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/workq.h"

#include "store/base/clock.h"
#include "store/base/sync.h"

#include <assert.h>
#include <stdlib.h>

/*
 * Tasks that may run now wait in one list per priority; tasks due later wait in a list sorted by
 * due time, which stays short (retries, delays, polls).
 */
struct list {
	struct bw_task *head, **tail;
};

struct bw_workq {
	struct bw_mutex lock;
	struct bw_cond wake;
	struct list ready[BW_PRIO_IDLE + 1];
	struct bw_task *later;
	unsigned running;
	int64_t wakes_ns;	/* a single thread: when it will look at `later` by itself; 0: as soon as it has run its task */
	bool stopping;
	unsigned threads_n;
	pthread_t threads[];
};

static void list_push(struct list *l, struct bw_task *t)
{
	t->next = NULL;
	*l->tail = t;
	l->tail = &t->next;
}

static void ripen_locked(struct bw_workq *q, int64_t now)
{
	while (q->later && (q->stopping || q->later->due_ns <= now)) {
		struct bw_task *t = q->later;
		q->later = t->next;
		list_push(&q->ready[t->prio], t);
	}
}

static struct bw_task *pop_locked(struct bw_workq *q)
{
	for (int p = 0; p <= BW_PRIO_IDLE; p++) {
		struct list *l = &q->ready[p];
		struct bw_task *t = l->head;
		if (!t)
			continue;
		l->head = t->next;
		if (!l->head)
			l->tail = &l->head;
		t->queued = false;
		return t;
	}
	return NULL;
}

static void *worker(void *arg)
{
	struct bw_workq *q = arg;

	bw_lock(&q->lock);
	for (;;) {
		ripen_locked(q, bw_now());
		struct bw_task *t = pop_locked(q);
		if (t) {
			q->running++;
			bw_unlock(&q->lock);
			t->run(t);
			bw_lock(&q->lock);
			q->running--;
			if (q->stopping && !q->running)
				bw_cond_broadcast(&q->wake);
			continue;
		}
		if (q->stopping && !q->running)
			break;
		q->wakes_ns = q->later ? q->later->due_ns : BW_NEVER;
		bw_cond_wait_until(&q->wake, &q->lock, q->wakes_ns);
		q->wakes_ns = 0;
	}
	bw_unlock(&q->lock);
	return NULL;
}

int bw_workq_new(const char *name, unsigned threads, struct bw_workq **ret)
{
	struct bw_workq *q = calloc(1, sizeof(*q) + threads * sizeof(q->threads[0]));

	if (!q)
		return -ENOMEM;
	bw_mutex_init(&q->lock, BW_RANK_WORKQ);
	bw_cond_init(&q->wake);
	for (int p = 0; p <= BW_PRIO_IDLE; p++)
		q->ready[p].tail = &q->ready[p].head;
	for (; q->threads_n < threads; q->threads_n++) {
		int err = bw_thread_start(&q->threads[q->threads_n], name, worker, q);
		if (err) {
			bw_workq_free(q);
			return err;
		}
	}
	*ret = q;
	return 0;
}

void bw_workq_push(struct bw_workq *q, struct bw_task *task)
{
	bw_workq_push_at(q, task, 0);
}

void bw_workq_push_at(struct bw_workq *q, struct bw_task *task, int64_t due_ns)
{
	BW_LOCK_SCOPE(&q->lock);
	assert(!task->queued);
	task->due_ns = due_ns;
	task->queued = true;
	if (!due_ns || q->stopping) {
		list_push(&q->ready[task->prio], task);
		bw_cond_signal(&q->wake);
		return;
	}
	struct bw_task **at = &q->later;

	while (*at && (*at)->due_ns <= due_ns)
		at = &(*at)->next;
	task->next = *at;
	*at = task;
	/* Every sleeper re-reads the earliest due time: the one that would have woken for it may
	 * be asleep for ever.  One that is alone and wakes sooner anyway, for a task that was cancelled
	 * meanwhile, is left asleep: alarms that hardly ever ring cost no switch of threads. */
	if (q->later == task && (q->threads_n > 1 || due_ns < q->wakes_ns))
		bw_cond_broadcast(&q->wake);
}

static bool list_remove(struct list *l, struct bw_task *task)
{
	for (struct bw_task **at = &l->head; *at; at = &(*at)->next) {
		if (*at != task)
			continue;
		*at = task->next;
		if (!*at)
			l->tail = at;
		return true;
	}
	return false;
}

bool bw_workq_cancel(struct bw_workq *q, struct bw_task *task)
{
	BW_LOCK_SCOPE(&q->lock);
	if (!task->queued)
		return false;
	task->queued = false;
	if (list_remove(&q->ready[task->prio], task))
		return true;
	for (struct bw_task **at = &q->later; *at; at = &(*at)->next) {
		if (*at == task) {
			*at = task->next;
			return true;
		}
	}
	return false;
}

bool bw_workq_stopping(struct bw_workq *q)
{
	BW_LOCK_SCOPE(&q->lock);
	return q->stopping;
}

void bw_workq_free(struct bw_workq *q)
{
	if (!q)
		return;
	bw_lock(&q->lock);
	q->stopping = true;
	bw_cond_broadcast(&q->wake);
	bw_unlock(&q->lock);
	for (unsigned i = 0; i < q->threads_n; i++)
		pthread_join(q->threads[i], NULL);
	bw_cond_done(&q->wake);
	bw_mutex_done(&q->lock);
	free(q);
}
