/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The markers of one job, as `batchweave watch` changes them: commits that can be waited for, and given
 * up when the program is told to end.  One thread.
 */
#ifndef BW_MOUNT_HELPERS_WATCH_JOB_H
#define BW_MOUNT_HELPERS_WATCH_JOB_H

#include "manifest/committer.h"
#include "mount-helpers/session.h"
#include "store/base/sync.h"

struct bw_watch_job {
	struct bw_session s;
	const char *name;		/* borrowed */
	struct bw_committer *committer;
	int signals;			/* signalfd: SIGTERM, SIGINT and SIGHUP end the program */
	bool stop;			/* one of them has come */
	struct bw_mutex lock;		/* what follows */
	struct bw_cond cond;
	bool over;			/* the change that is under way is settled */
	int err;
	struct bw_commit_item item;	/* the one change under way */
	bool under_way;			/* given up: it settles in bw_watch_job_done() */
};

/* 0, or an exit code with the sentence said.  bw_watch_job_done() is due in both cases.  Takes signals. */
int bw_watch_job_open(struct bw_watch_job *j, const struct bw_command *c, const char *url,
		      const struct bw_store_options *o, const char *name);
void bw_watch_job_done(struct bw_watch_job *j);

/* The newest root; the caller unrefs. */
int bw_watch_job_root(struct bw_watch_job *j, struct bw_root **ret) bw_must_check;

/* Registers the job, or sets or withdraws a marker.  0; -ECANCELED when a signal came first; or why not. */
int bw_watch_job_change(struct bw_watch_job *j, enum bw_change_kind kind, uint64_t step,
			const char *text) bw_must_check;

/* Waits for a signal, for fd (-1: none) to be readable, or for deadline_ns (BW_NEVER: none).  True: a
 * signal has come, now or earlier. */
bool bw_watch_job_wait(struct bw_watch_job *j, int fd, int64_t deadline_ns);

#endif
