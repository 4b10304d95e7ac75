/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes passes of reclaiming (reclaim.h) on a real store, by order of whoever owns it: a command or a thread of a
 * mount.
 *
 * A pass runs on the thread that asks for it, at the lowest priority, and deletes at most so many objects per second.
 * bw_collector_stop() may be called by any thread; all else by one at a time.
 */
#ifndef BW_MANIFEST_COLLECTOR_H
#define BW_MANIFEST_COLLECTOR_H

#include "manifest/committer.h"
#include "manifest/reclaim.h"

/* Objects deleted or overwritten per second, when nothing else is said: a third of what S3 takes of one prefix. */
#define BW_COLLECTOR_RATE 1000u
/* A pass that nobody has asked for by name walks data/ when this many have not, or when some mount has taken a
 * producer since: that is when uploads are left behind. */
#define BW_COLLECTOR_WALK_EVERY 16u

struct bw_collector_config {
	struct bw_store *store;		/* all of these are borrowed and outlive it */
	const struct bw_stream *stream;
	struct bw_head *head;
	struct bw_committer *committer;	/* NULL: dry runs only */
	uint32_t rate;			/* 0: BW_COLLECTOR_RATE */
	/* During a pass, on its thread, after each request.  May be NULL. */
	void (*progress)(void *ctx, const struct bw_reclaim *r);
	void *ctx;
};

struct bw_collector;

int bw_collector_new(const struct bw_collector_config *config, struct bw_collector **ret) bw_must_check;
void bw_collector_free(struct bw_collector *c);	/* no pass runs; NULL is fine */

/* What a walk of data/ depends on. */
enum bw_collector_walk { BW_WALK_ALWAYS, BW_WALK_NOW_AND_THEN };

/*
 * One pass; waits.  *ret is what was done, also when it ended early: ret->err says why.  -BW_E_STOPPING: by
 * bw_collector_stop().
 */
void bw_collector_pass(struct bw_collector *c, const struct bw_reclaim_options *options,
		       enum bw_collector_walk walk, struct bw_reclaim_report *ret);

/* Sleeps until bw_now() is until_ns.  False: stopped. */
bool bw_collector_wait(struct bw_collector *c, int64_t until_ns);
/* The pass under way, if any, ends soon: at once unless a commit's outcome is awaited.  So do all later ones. */
void bw_collector_stop(struct bw_collector *c);

#endif
