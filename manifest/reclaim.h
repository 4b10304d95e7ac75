/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass of reclaiming: from the jobs' markers to deleted objects.
 *
 * Does no I/O and reads no clock: the caller performs the request that bw_reclaim_step() asks for and hands the
 * answer back, as with txn.h.  A pass may be dropped after any request, by a crash or on purpose: what
 * is left is found again by the next one, from the store alone.  Any number may run at once.
 *
 *   newest root -> the store's time -> the deletion root G -> trim -> delete steps [swept, G.first) with
 *   their index nodes, sweep -> states -> data that no commit named -> index nodes -> unfinished
 *   uploads -> old roots become tombstones
 *
 * Thread-safety: none; one owner at a time.
 */
#ifndef BW_MANIFEST_RECLAIM_H
#define BW_MANIFEST_RECLAIM_H

#include "manifest/reclaim_rules.h"
#include "store/store.h"

enum bw_reclaim_want {
	BW_RECLAIM_REFRESH,	/* bring the newest root, asked for from now on; step with root, or err */
	BW_RECLAIM_GET,		/* get key whole, max bytes; step with outcome, blob, modified_ms */
	BW_RECLAIM_PUT,		/* put all puts, in any order, whatever is there, and set the outcome of each */
	BW_RECLAIM_LIST,	/* a page of max keys; step with outcome and listing */
	BW_RECLAIM_DELETE,	/* delete all items, in any order, and set the outcome of each */
	BW_RECLAIM_UPLOADS,	/* a page of the uploads that have not ended; step with outcome and uploads */
	BW_RECLAIM_ABORT,	/* end an upload; step with outcome */
	BW_RECLAIM_COMMIT,	/* commit change; step with err (TRIM: -EAGAIN by bw_change_check() as well), and when it is 0
				 * with a root that has it */
	BW_RECLAIM_SLEEP,	/* wait; then step with nothing */
	BW_RECLAIM_DONE,	/* the report is final */
};

struct bw_reclaim_answer {
	enum bw_outcome outcome;	/* GET, LIST, UPLOADS, ABORT */
	const char *detail;		/* what the store said of a request that failed: borrowed; NULL: nothing */
	struct bw_blob *blob;		/* GET OK: borrowed */
	int64_t modified_ms;		/* GET OK: by the store's clock; 0: it did not say, so nothing is old */
	const struct bw_listing *listing;	/* LIST OK: borrowed */
	const struct bw_uploads *uploads;	/* UPLOADS OK: borrowed */
	struct bw_root *root;		/* REFRESH, COMMIT OK: borrowed */
	int err;			/* REFRESH, COMMIT: 0, or why not, negative */
};

#define BW_RECLAIM_PUTS_MAX 16u		/* in one request */
#define BW_RECLAIM_BURIED_MAX 4096u	/* tombstones that a pass writes; the next one goes on */

struct bw_reclaim_put {
	char key[BW_KEY_MAX + 1];
	char bytes[BW_TOMBSTONE_MAX];	/* len of them; the hint is shorter */
	size_t len;
	enum bw_outcome outcome;
};

struct bw_reclaim_request {
	char key[BW_KEY_MAX + 1];	/* GET, ABORT; LIST, UPLOADS: the prefix */
	char after[BW_KEY_MAX + 1];	/* LIST, UPLOADS */
	const char *upload;		/* ABORT: its id; UPLOADS: NULL, or behind which one of `after`; borrowed */
	uint64_t max;			/* GET: longest object to accept; LIST, UPLOADS: items */
	struct bw_reclaim_put *puts;	/* PUT: 1 to BW_RECLAIM_PUTS_MAX, borrowed until the next step */
	size_t puts_n;
	struct bw_delete_item *items;	/* DELETE: 1 to BW_DELETE_MANY_MAX, borrowed until the next step */
	size_t items_n;
	struct bw_change change;	/* COMMIT: TRIM or SWEEP, owns nothing */
	unsigned tries;			/* SLEEP: how often the request before it has failed, 1 .. */
};

/* What earlier passes of the same process found out: only saves requests.  Zeros to begin with. */
struct bw_reclaim_memo {
	uint64_t old;		/* a version that was older than grace */
	uint64_t aged;		/* a version that was older than a day */
	uint64_t buried;	/* all versions below are tombstones */
};

struct bw_reclaim_options {
	bool dry;		/* delete, put and commit nothing, count what would be */
	bool force;		/* trim however much it releases */
	bool walk;		/* list data/ for what no commit named: costs a request for each 100 live steps */
	int64_t dry_now_ms;	/* dry: the time, as nothing is written to ask the store for it */
	uint64_t memory;	/* bytes for the set of references; 0: BW_RECLAIM_MEMORY */
	int64_t root_kept_ms;	/* a superseded root stays readable so long; 0: BW_RECLAIM_DAY_MS */
	struct bw_reclaim_memo *memo;	/* borrowed; NULL: none */
};
#define BW_RECLAIM_MEMORY (UINT64_C(64) << 20)	/* the nonces of about four million live steps */

enum bw_reclaim_stage {
	BW_RECLAIM_OPENING, BW_RECLAIM_TRIMMING, BW_RECLAIM_STEPS, BW_RECLAIM_STATES, BW_RECLAIM_DATA,
	BW_RECLAIM_NODES, BW_RECLAIM_PARTIALS, BW_RECLAIM_ROOTS, BW_RECLAIM_STAGES
};
const char *bw_reclaim_stage_name(enum bw_reclaim_stage stage);	/* "steps", "states" ... */

/* Why `first` is where it is. */
enum bw_reclaim_trim {
	BW_TRIM_NOTHING,	/* every job's oldest marker is at first */
	BW_TRIM_NO_JOBS,
	BW_TRIM_JOB_HOLDS,	/* holder has too few markers */
	BW_TRIM_WAITS,		/* bw_reclaim_trim_waits() */
	BW_TRIM_OVERTAKEN,	/* markers were moved before each attempt to commit it: the next pass tries again */
	BW_TRIM_DONE,
};

struct bw_reclaim_tally {
	uint64_t n, bytes;
};

struct bw_reclaim_report {
	int err;		/* 0, or what ended the pass early, negative; what is below was done all the same */
	enum bw_reclaim_stage stage;	/* the last one begun */
	char what[BW_KEY_MAX + 1];	/* err: the object it met, or "" */
	char detail[BW_DETAIL_MAX + 1];	/* err: what the store said of the last request, or "" */
	uint64_t version, head;		/* of the newest root */
	uint64_t judge;			/* version of G; 0: no root is older than grace */
	uint64_t judge_first;		/* its first */
	bool no_time;			/* the store did not say of the hint, or of a root, when it was put */
	enum bw_reclaim_trim trim;
	char holder[BW_NAME_MAX + 1];	/* JOB_HOLDS: who; else the job whose oldest marker is at first, or "" */
	uint32_t holder_markers;
	uint64_t first_before, first, swept_before, swept;
	uint64_t live_bytes, trim_bytes, fresh_bytes;	/* when a trim was due */
	struct bw_reclaim_tally deleted[BW_WHYS];	/* dry: would be */
	struct bw_reclaim_tally kept[BW_WHYS];
	uint64_t roots_buried;		/* dry: would be */
	uint64_t roots_left;		/* that are due as well: for the next pass */
	uint64_t requests;
	bool walked;			/* data/ was walked to its end */
};

struct bw_reclaim;

/* stream, options and options->memo outlive it.  -ENOMEM. */
int bw_reclaim_new(const struct bw_stream *stream, const struct bw_reclaim_options *options,
		   struct bw_reclaim **ret) bw_must_check;
void bw_reclaim_free(struct bw_reclaim *r);	/* legal in every state; NULL is fine */

/* last answers the request before; it is not looked at in the first step and after a SLEEP. */
enum bw_reclaim_want bw_reclaim_step(struct bw_reclaim *r, const struct bw_reclaim_answer *last,
				     struct bw_reclaim_request *ret);

/* Legal in every state; borrowed. */
const struct bw_reclaim_report *bw_reclaim_report(const struct bw_reclaim *r);
/* How far the stage is, for people: done of total, total 0 when it is not known. */
void bw_reclaim_progress(const struct bw_reclaim *r, uint64_t *ret_done, uint64_t *ret_total);
/* Bytes that it holds: bounded by options.memory and what a page, a delete and a few nodes take. */
size_t bw_reclaim_bytes(const struct bw_reclaim *r);

#endif
