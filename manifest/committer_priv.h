/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of a committer: its thread, which turns what is queued into txns (committer.c), and what a txn asks of the
 * store and of the head (committer_requests.c).  Private to those two.
 *
 * lock guards what stands below it in the struct, down to the thread's own; it is held across no request.
 */
#ifndef BW_MANIFEST_COMMITTER_PRIV_H
#define BW_MANIFEST_COMMITTER_PRIV_H

#include "manifest/committer.h"
#include "manifest/dac.h"
#include "manifest/prepared.h"
#include "store/base/sync.h"

struct bw_committer {
	struct bw_store *store;	/* borrowed */
	struct bw_head *head;	/* borrowed */
	struct bw_log *log;	/* borrowed */
	struct bw_stream stream;
	uint8_t owner[16];
	struct bw_commit_stats stats;
	struct bw_mutex lock;
	struct bw_cond cond;
	struct bw_commit_item *queue, **tail;
	uint32_t queued;	/* APPENDs in it */
	bool hurry;		/* what is queued is not put off */
	int64_t latest_ns;	/* the soonest of what is queued; BW_NEVER: none says */
	bool in_doubt;
	bool expects;		/* that `expected` (owned) will be queued soon, and it was not looked at yet */
	struct bw_change expected;
	bool stopping;
	int64_t stop_ns;	/* deadline of the stop; BW_NEVER before */
	bool op_done;
	pthread_t thread;
	/* Of the thread alone. */
	struct bw_dac dac;
	struct bw_op op;
	struct bw_txn *txn;
	struct bw_prepared *prepared;	/* owned; NULL: none */
	int64_t prepared_ns;		/* what its build took */
	int64_t seen_ns;		/* bw_boottime() when the newest version of a whole stream was seen, or made, last */
	unsigned attempts, conflicts;	/* of txn, counted so far */
	bool throttled;			/* a send of the root under way was */
	bool sent;			/* one of it may have been applied */
	int64_t build_ns;		/* what the build of the attempt under way took */
};

/* ---- committer_requests.c: by the committer's thread ---------------------------------------------- */

/*
 * Does what the txn wants in r (anything but DONE) and waits for it: a request has 30 s, and no more than a stop leaves.
 * prepared: the root lies ready in c->prepared.  *a holds references, or points at *entry, which is the caller's.
 */
void bw_commit_request(struct bw_committer *c, enum bw_txn_want want, const struct bw_txn_request *r, bool prepared,
		       struct bw_entry *entry, struct bw_txn_answer *a);
/* The newest root, as REFRESH answers it. */
void bw_commit_refresh(struct bw_committer *c, struct bw_txn_answer *a);

#endif
