/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of /checkpoint: what is there (checkpoint.c), changes (mark.c).  Private to those two. */
#ifndef BW_FS_CHECKPOINT_PRIV_H
#define BW_FS_CHECKPOINT_PRIV_H

#include "fs/checkpoint.h"
#include "store/base/workq.h"

struct bw_seen_marker {
	uint64_t step;
	uint64_t text_xxh3;
	int64_t time_ms;	/* of the first root that was seen with it */
};

/* A job that was there at some time; its place in the table is its number, for ever. */
struct bw_seen_job {
	char name[BW_NAME_MAX + 1];
	int64_t time_ms;	/* of the root that changed its markers last */
	uint32_t markers_n;
	struct bw_seen_marker *markers;	/* owned, ascending */
};

struct bw_checkpoint {
	struct bw_checkpoint_config c;
	struct bw_mutex lock;
	struct bw_cond idle;		/* busy_n fell */
	uint32_t jobs_n;
	struct bw_seen_job *jobs;	/* owned */
	int64_t credit_ns, credited_ns;	/* bw_checkpoint_pace() */

	struct bw_mark *marks;		/* begun and not answered */
	uint64_t next_id;
	uint32_t busy_n;		/* changes that the committer has */
	bool stopping, ticking;
	struct bw_workq *timer;		/* owned */
	struct bw_task tick;
};

/* Which job has this number; NULL: none. */
const char *bw_checkpoint_job_locked(struct bw_checkpoint *c, uint32_t number);
void bw_checkpoint_run_tick(struct bw_task *task);

#endif
