/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mount option gc: a thread that makes passes of reclaiming (manifest/collector.h) while the stream is mounted.
 *
 * Any number of mounts may do it.  A pass is made a few times per grace, at times that mounts do not share.
 */
#ifndef BW_FS_GC_H
#define BW_FS_GC_H

#include "fs/counters.h"
#include "manifest/collector.h"

struct bw_gc_config {
	struct bw_store *store;		/* all of these are borrowed and outlive it */
	const struct bw_stream *stream;
	struct bw_head *head;
	struct bw_committer *committer;
	struct bw_counters *counters;
	struct bw_log *log;
	uint64_t memory;		/* bytes that a pass may hold */
};

struct bw_gc;

/* Starts the thread. */
int bw_gc_new(const struct bw_gc_config *config, struct bw_gc **ret) bw_must_check;
/* The thread ends soon: at once, unless it waits for the outcome of a commit.  NULL is fine, in both. */
void bw_gc_stop(struct bw_gc *g);
void bw_gc_free(struct bw_gc *g);	/* joins; after the committer was freed, so that it waits for nothing */

#endif
