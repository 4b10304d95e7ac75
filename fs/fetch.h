/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One verified get of a part of a data object: what blocks and footers have in common.
 *
 * The one idea: bytes arrive on a thread of the store and are judged on the pool, and bad news is told
 * only when it is certain.  Bytes that fail their check are fetched again,
 * BW_FETCH_AGAIN times at most (V5).  An object that
 * is not there means nothing before the newest root has been read: its step may have been reclaimed.
 * What the disk cache has is judged alike, and the store asked when it is not right.
 *
 * Thread-safe.
 */
#ifndef BW_FS_FETCH_H
#define BW_FS_FETCH_H

#include "fs/counters.h"
#include "fs/disk_cache.h"
#include "fs/fold.h"
#include "manifest/head.h"
#include "store/base/sync.h"
#include "store/base/workq.h"
#include "store/store.h"

/* What all fetches of a reader share, and how many there are. */
struct bw_fetcher {
	struct bw_store *store;			/* all borrowed */
	const struct bw_stream *stream;
	struct bw_head *head;
	struct bw_workq *pool;
	struct bw_log *log;
	struct bw_counters *counters;
	struct bw_disk_cache *disk;		/* NULL: none */
	bool here;				/* judge on the store's thread: reader.h */
	int64_t io_timeout_ns;

	struct bw_fold fold;			/* private, with what follows */
	struct bw_mutex lock;
	struct bw_cond idle;
	unsigned busy;
	bool stopping;
	struct bw_fetch *sent;			/* lent to the store */
};

void bw_fetcher_init(struct bw_fetcher *by);
void bw_fetcher_done(struct bw_fetcher *by);
/* Counts something that goes on in the background in and out. */
void bw_fetcher_enter(struct bw_fetcher *by);
bool bw_fetcher_try_enter(struct bw_fetcher *by);	/* false: stopping, not counted */
void bw_fetcher_leave(struct bw_fetcher *by);
/* Says that nothing new should begin, cancels what the store has not answered, and waits until nothing goes on. */
void bw_fetcher_stop(struct bw_fetcher *by);
bool bw_fetcher_stopping(struct bw_fetcher *by);

#define BW_FETCH_AGAIN 5u

/* Embedded in what it fetches for; zeroed, filled in, lent from bw_fetch_start() to done(). */
struct bw_fetch {
	struct bw_fetcher *by;
	struct bw_entry entry;		/* names the object */
	uint64_t offset, length;
	uint32_t number;		/* of the block, or BW_DISK_FOOTER: what the disk cache knows it by */
	uint32_t cut;			/* as in store.h */
	enum bw_prio prio;
	int64_t patience_ns;		/* less than io_timeout, or 0: that */
	/* What it does not bring is fetched otherwise: it is sent once, and what went wrong is no news. */
	bool once;
	/* A reader waits: from the start, or by bw_fetch_demand().  A fetch that was sent as prefetch and did not
	 * reach the store is then sent again as demand, with a demand's time from when he came. */
	atomic_bool demanded;
	atomic_int_fast64_t demanded_ns;	/* when that was; 0: not, or from the start */
	/* On the pool or on a thread of the disk cache: 0, or -BW_E_CORRUPT and what is wrong in why.  bytes is length bytes, borrowed; when cut was
	 * set perhaps a chain, whose blobs may be taken out of it. */
	int (*check)(struct bw_fetch *f, struct bw_blob *bytes, char *why, size_t why_len);
	/* Once, on a thread as check() or on the pool, no lock held; may free f.  0, -BW_E_CORRUPT, -BW_E_RECLAIMED,
	 * -BW_E_UNREACHABLE, -BW_E_DENIED, -ENOMEM; what is wrong has been logged. */
	void (*done)(struct bw_fetch *f, int err);

	bool from_disk;		/* set before check(): bytes are the disk cache's */
	struct bw_op op;		/* private, with what follows */
	struct bw_disk_get disk;
	struct bw_task task;
	struct bw_ask ask;
	int ask_err;
	int64_t deadline_ns;
	unsigned again;	/* times it was sent again because of its bytes; not 0 at the start: as if it had been */
	struct bw_fetch *prev, *next;	/* under by->lock, with what follows */
	bool held, has_arrived;	/* a cancel is on its way to the store; it has answered meanwhile */
	unsigned cancels;
};

/* done never runs inside the call.  One that is done may be started again. */
void bw_fetch_start(struct bw_fetch *f);
/* By anybody at any time: a reader waits from now on. */
void bw_fetch_demand(struct bw_fetch *f);
/*
 * For done(), under the lock that is held by who calls bw_fetch_demand(): true when that was after err of a prefetch had been
 * found to be final.  Then it is a demand's from here on, and to be started again.
 */
bool bw_fetch_joined(struct bw_fetch *f, int err);

#endif
