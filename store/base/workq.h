/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that run tasks, by due time, then priority, then order of arrival.
 *
 * A task is embedded in what it works on, so pushing one cannot fail and allocates nothing.  Once
 * run() has begun the queue has forgotten the task: run() may free it or push it again.
 */
#ifndef BW_BASE_WORKQ_H
#define BW_BASE_WORKQ_H

#include "store/base/container.h"	/* a run() finds what its task is embedded in */
#include "store/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum bw_prio { BW_PRIO_DEMAND, BW_PRIO_COMMIT, BW_PRIO_PREFETCH, BW_PRIO_IDLE };

struct bw_task {
	void (*run)(struct bw_task *task);
	enum bw_prio prio;
	int64_t due_ns;		/* private: bw_now() time; 0 = at once */
	struct bw_task *next;	/* private */
	bool queued;		/* private */
};

struct bw_workq;

/* Starts threads at once, so call it after the last fork.  0 or -errno. */
int bw_workq_new(const char *name, unsigned threads, struct bw_workq **ret) bw_must_check;

/* A task is in one queue at a time, once. */
void bw_workq_push(struct bw_workq *q, struct bw_task *task);
void bw_workq_push_at(struct bw_workq *q, struct bw_task *task, int64_t due_ns);

/* True: it was still queued and will not run.  False: it is running, has run or never was queued. */
bool bw_workq_cancel(struct bw_workq *q, struct bw_task *task);

/*
 * Runs what is queued (tasks due later run at once: they see bw_workq_stopping()), joins, frees.
 * Tasks pushed by running tasks meanwhile are run too.  NULL is fine.
 */
void bw_workq_free(struct bw_workq *q);
bool bw_workq_stopping(struct bw_workq *q);

#endif
