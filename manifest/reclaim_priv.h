/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pass in parts: the machine (reclaim.c), by which root it judges and the trim (reclaim_judge.c), committed
 * steps (reclaim_steps.c), what listings show (reclaim_list.c), unfinished uploads (reclaim_uploads.c), old roots
 * (reclaim_roots.c).
 * Private to reclaim*.c.
 *
 * Each part is a row of phases.  A phase is called with the answer to what it asked for, or with NULL when it
 * begins, and ends by asking for something or by saying which phase is next.
 */
#ifndef BW_MANIFEST_RECLAIM_PRIV_H
#define BW_MANIFEST_RECLAIM_PRIV_H

#include "manifest/apply_draft.h"
#include "manifest/index_walk.h"
#include "manifest/open_io.h"
#include "manifest/open_search.h"
#include "manifest/reclaim.h"

#include <string.h>

#define BW_RECLAIM_TRIES 5u		/* of one request, before the pass ends */
#define BW_RECLAIM_RESTARTS 3u		/* others trim and delete at the same time */
#define BW_RECLAIM_SWEEP_EVERY 32768u	/* steps deleted between commits that say so */
#define BW_RECLAIM_NODES_WAIT 64u	/* index nodes that wait for their steps to be deleted */

#define BW_RECLAIM_LOOK_EVERY 256u	/* tombstones between looks whether the stream is still there */

#define BW_RECLAIM_UPLOADS_MAX 256u	/* gathered before they are aborted */
#define BW_RECLAIM_ROUNDS 16u		/* of gathering, in one pass */

typedef void bw_reclaim_phase(struct bw_reclaim *r, const struct bw_reclaim_answer *a);

struct bw_reclaim_item {
	char key[BW_KEY_MAX + 1];
	enum bw_reclaim_why why;
	uint64_t size;
};

/* The newest version that was put at least min_age_ms ago; tombstones count as old. */
struct bw_age_search {
	int64_t min_age_ms;
	uint64_t low, high;	/* known to be old, 0: none; known to be young */
	uint64_t stride;	/* of the doubling down from the newest; 0: it has ended */
	uint64_t asked;
	struct bw_root *root;	/* owned: that of low; NULL: not got, or no root */
	bool tombstone;		/* that of low */
	bw_reclaim_phase *then;
};

struct bw_reclaim {
	const struct bw_stream *stream;
	struct bw_reclaim_options o;
	struct bw_reclaim_memo own_memo, *memo;
	struct bw_reclaim_report rep;

	/* The machine. */
	bw_reclaim_phase *phase;
	enum bw_reclaim_want want;	/* what is asked for, or will be again after a sleep */
	bool asked, sleeping, begun;
	unsigned tries, restarts;
	unsigned overtaken;		/* trims that markers were moved before */
	struct bw_reclaim_request req;
	uint64_t done_n, total_n;	/* progress of the stage */

	/* By what it judges. */
	struct bw_root *newest, *judge;	/* owned */
	int64_t now_ms;			/* of the store, 0: unknown */
	struct bw_age_search search;
	bool retrimmed;			/* grace 0: judged again after the trim */
	uint64_t bound;			/* steps below are deleted */
	struct bw_reclaim_rules rules;

	/* The trim. */
	unsigned look;
	uint64_t look_steps[4], look_before[4];	/* first; that of G's markers; that of the newest; how far it may go */

	/* Steps, and references. */
	struct bw_walk walk;
	uint64_t clean;			/* all below is deleted */
	struct bw_reclaim_item wait[BW_RECLAIM_NODES_WAIT];
	size_t wait_n;
	struct bw_refs needed, counted;
	bool counting;			/* the walk fills `counted` */
	char after[BW_KEY_MAX + 1];
	bool more;

	/* Unfinished uploads: gathered, then aborted. */
	struct {
		char *key, *id;		/* owned */
	} uploads[BW_RECLAIM_UPLOADS_MAX];
	size_t uploads_n, upload;
	unsigned rounds;
	bool probes;			/* below BW_PROBE_PREFIX; else the stream's */
	char *upload_after;		/* owned: id of the last of the page; NULL: none */

	/* Old roots. */
	uint64_t bury, bury_end, bury_low, bury_high;
	uint64_t buried;		/* all below are tombstones */
	uint64_t look_at;		/* before this one the newest root is asked for */
	struct bw_reclaim_put puts[BW_RECLAIM_PUTS_MAX];

	/* The delete in the making. */
	struct bw_reclaim_item *batch;	/* owned, [BW_DELETE_MANY_MAX] */
	struct bw_delete_item *items;	/* owned, the same */
	size_t batch_n;
	bw_reclaim_phase *after_delete;
};

/* ---- reclaim.c ---------------------------------------------------------------------------------- */

/* Asking; the phase is called again with the answer.  GET also answers NOT_FOUND, and CORRUPT in the end. */
void bw_reclaim_get(struct bw_reclaim *r, const char *key, uint64_t max);
void bw_reclaim_put(struct bw_reclaim *r, size_t n);	/* the first n of r->puts */
void bw_reclaim_refresh(struct bw_reclaim *r);
void bw_reclaim_list(struct bw_reclaim *r, enum bw_key_kind kind, const char *after);
void bw_reclaim_list_uploads(struct bw_reclaim *r, const char *after, const char *id);
void bw_reclaim_abort(struct bw_reclaim *r, const char *key, const char *id);
void bw_reclaim_commit(struct bw_reclaim *r, enum bw_change_kind kind, uint64_t step);
void bw_reclaim_get_node(struct bw_reclaim *r);	/* that r->walk wants */

/* To be deleted, or, when it is a dry run, counted.  There is room: ask bw_reclaim_full() before. */
void bw_reclaim_add(struct bw_reclaim *r, const char *key, enum bw_reclaim_why why, uint64_t size);
bool bw_reclaim_full(const struct bw_reclaim *r);
/* Deletes what was added, then goes on. */
void bw_reclaim_flush(struct bw_reclaim *r, bw_reclaim_phase *then);

void bw_reclaim_stage(struct bw_reclaim *r, enum bw_reclaim_stage stage, uint64_t total);
void bw_reclaim_end(struct bw_reclaim *r);
/* The pass ends; what was done is done. */
void bw_reclaim_fail(struct bw_reclaim *r, int err, const char *what);
/* Something is missing that another collector may have deleted: begins again, a few times. */
void bw_reclaim_again(struct bw_reclaim *r, const char *what);
void bw_reclaim_newer(struct bw_reclaim *r, struct bw_root *root);

/* ---- The phases that others go to ---------------------------------------------------------------- */

bw_reclaim_phase bw_reclaim_open;	/* reclaim_judge.c */
bw_reclaim_phase bw_reclaim_steps;	/* reclaim_steps.c */
bw_reclaim_phase bw_reclaim_states;	/* reclaim_list.c */
bw_reclaim_phase bw_reclaim_data_next;	/* the next part, or what comes behind them */
bw_reclaim_phase bw_reclaim_uploads;	/* reclaim_uploads.c; goes on with the one before */
void bw_reclaim_uploads_done(struct bw_reclaim *r);
bw_reclaim_phase bw_reclaim_roots;	/* reclaim_roots.c */

/* reclaim_judge.c: low 0: none known.  r->search has the answer when `then` begins. */
void bw_reclaim_search(struct bw_reclaim *r, int64_t min_age_ms, uint64_t low, bw_reclaim_phase *then);

#endif
