/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of committed slices: footers, blocks, cache, prefetch.
 *
 * The one idea: a block (about 1 MiB) is fetched once, verified once (V5) and shared by everybody who
 * wants it, as a refcounted blob.  A read is answered inside the call when its blocks are cached;
 * otherwise it joins or starts one flight per block and is answered by the thread that verified the
 * last one.  No caller waits.
 *
 * Memory: cached blocks, flights and footers draw on the mount's budget; cache.h says which go first.
 * A demand read whose block does not fit overdraws by that block rather than wait for itself.
 *
 * Who is inside: fetch.h one verified get, tgbs.h footers, cache.h blocks, guess.h and prefetch.h what to get
 * before it is asked for.
 *
 * Thread-safe.  Knows nothing of FUSE.
 */
#ifndef BW_FS_READER_H
#define BW_FS_READER_H

#include "fs/counters.h"
#include "fs/disk_cache.h"
#include "manifest/head.h"
#include "manifest/tgb.h"
#include "store/base/budget.h"
#include "store/base/workq.h"
#include "store/store.h"

#include <sys/types.h>

struct bw_reader;

struct bw_reader_config {
	struct bw_store *store;			/* all borrowed */
	const struct bw_stream *stream;
	struct bw_head *head;
	struct bw_budget *budget;
	struct bw_workq *pool;			/* verifies and decompresses */
	struct bw_log *log;
	struct bw_counters *counters;
	struct bw_disk_cache *disk;		/* NULL: none */
	uint32_t prefetch;			/* steps ahead, per rank read here; 0: none */
	uint32_t prefetch_most;			/* what may become of that where readers wait all the same; less: it stays */
	uint64_t together;			/* bytes of neighbouring blocks ahead that one get may bring; 0: one block */
	int64_t io_timeout_ns;
	/* The store has a thread for each request: what it brings is verified and handed out there, while it is in
	 * that processor's cache, and not by the pool. */
	bool here;
	/* NULL, or: bytes of a slice that is expected next have come, see bw_reader_hand().  On a thread of the pool or the
	 * store, no lock held; all borrowed; does not block. */
	void (*came)(void *ctx, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank);
	void *ctx;
	int64_t (*now)(void);			/* who pauses is measured with it.  NULL: bw_now() */
};

int bw_reader_new(const struct bw_reader_config *config, struct bw_reader **ret) bw_must_check;
/*
 * Every read and footer wait has been answered before it returns, which takes at most as long as the
 * requests under way: io_timeout when the store is silent.  Before the head, the pool and the store
 * are freed.  What comes later than that, of the head, starts nothing: bw_reader_tgb() answers -BW_E_STOPPING, and
 * bw_reader_root(), bw_reader_news() and bw_reader_passed() may be called; else only bw_reader_free().  NULL is fine.
 */
void bw_reader_stop(struct bw_reader *r);
void bw_reader_free(struct bw_reader *r);	/* stops it, if need be.  NULL is fine */

/* The head has moved from old to now: fetches ahead for those who read the newest steps.  Does not block. */
void bw_reader_news(struct bw_reader *r, uint64_t old, uint64_t now);

/* ---- Footers ---------------------------------------------------------------------------------- */

struct bw_tgb_wait {
	/* On a pool thread.  err 0: tgb holds a reference that the callee takes over.  -BW_E_CORRUPT,
	 * -BW_E_RECLAIMED (the object is gone and the newest root says so), -BW_E_UNREACHABLE,
	 * -BW_E_DENIED, -BW_E_STOPPING, -ENOMEM. */
	void (*done)(struct bw_tgb_wait *w, int err, struct bw_tgb *tgb);
	struct bw_entry entry;
	uint32_t needs;			/* 1 + the rank whose slice tgb has to know; 0: of all */
	bool reads;			/* that slice, of one rank, will be read next */
	struct bw_tgb_wait *next;	/* private */
};
/* Cached: true, *ret_tgb (a reference) set and done not called.  Else false, and done runs, later
 * (before it returns only for -ENOMEM and -BW_E_STOPPING). */
bool bw_reader_tgb(struct bw_reader *r, struct bw_tgb_wait *w, struct bw_tgb **ret_tgb);
/* A footer that was committed here: saves the get.  Refs tgb.  bytes: NULL, or all of it, for the disk cache: with one, only footers
 * near readers are learnt. */
void bw_reader_learn(struct bw_reader *r, const struct bw_entry *entry, struct bw_tgb *tgb, const void *bytes);
/* Those that the root brings along of the steps it has committed, if slices a little below them have been read here. */
void bw_reader_root(struct bw_reader *r, const struct bw_root *root);

/* ---- Slices ----------------------------------------------------------------------------------- */

/* 1 MiB of FUSE read over blocks of 256 KiB and more; a read of more pieces is copied into one. */
#define BW_READ_PIECES 6

struct bw_piece {
	struct bw_blob *blob;
	size_t offset, length;		/* in the blob */
	bool from_disk;			/* private, with what follows */
	struct bw_read *read;
	struct bw_piece *next;
};

struct bw_read {
	/* The request; the caller keeps entry and tgb until done. */
	const struct bw_entry *entry;
	struct bw_tgb *tgb;
	uint32_t rank;
	uint64_t offset;	/* raw bytes of the slice */
	size_t length;		/* clamped to the slice's end; nothing above it */
	bool sequential;	/* follows the handle's last read: worth reading ahead */
	bool ahead;		/* nobody's yet: see bw_reader_hand() */
	/* Runs exactly once, inside bw_reader_read() or later on a pool thread; may free the read.
	 * err 0: pieces are set, in order; their blobs are valid until done returns.
	 * -BW_E_CORRUPT, -BW_E_RECLAIMED, -BW_E_UNREACHABLE, -BW_E_DENIED, -ENOMEM. */
	void (*done)(struct bw_read *read, int err);
	/* NULL, or: runs inside bw_reader_read(), before done, when bytes have to come from somewhere. */
	void (*waits)(struct bw_read *read);
	void *ctx;

	/* The result. */
	struct bw_piece pieces[BW_READ_PIECES];
	unsigned pieces_n;

	struct bw_reader *reader;	/* private, with what follows */
	struct bw_piece *many;		/* owned: pieces when there are more than BW_READ_PIECES */
	unsigned many_n;
	atomic_uint missing;
	atomic_int err;
	uint64_t hits;			/* bytes that were cached */
	atomic_uint_fast64_t disk;	/* bytes that came from the disk cache */
};
void bw_reader_read(struct bw_reader *r, struct bw_read *read);

/*
 * The next block, from the first on, of a slice that is expected next, for the kernel to read before anybody asks for it: true, and
 * where it lies.  From here on the block counts as handed over.
 */
bool bw_reader_hand(struct bw_reader *r, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank,
		    uint64_t *ret_offset, uint64_t *ret_length);
/* The kernel was not told of that block after all: whoever opens the slice will read it. */
void bw_reader_hand_back(struct bw_reader *r, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank,
			 uint64_t offset, uint64_t length);
/* A program's thread asks something about a step; and has its answer.  Once for each other. */
void bw_reader_begin(struct bw_reader *r, pid_t thread);
void bw_reader_end(struct bw_reader *r, pid_t thread);
/* Somebody opens the slice or waits for it: there is nothing to hand over any more. */
void bw_reader_asked(struct bw_reader *r, uint64_t step, uint32_t rank, pid_t thread);
/* What was opened is closed, by whomever; thread is who opened it.  How long it rests before it asks for the next one of the rank
 * tells whether that is worth to be handed over.  Returns when to call bw_reader_first_pauses() for it, BW_NEVER: not at all. */
int64_t bw_reader_closed(struct bw_reader *r, uint64_t step, uint32_t rank, pid_t thread);
/* Offers (came) what is there to those who were not known to pause.  Returns when to call it again, BW_NEVER: not for those.  Any
 * time before bw_reader_free(); does not block. */
int64_t bw_reader_first_pauses(struct bw_reader *r);
/* Whether the reader of rank computes between two slices. */
bool bw_reader_pauses(struct bw_reader *r, uint32_t rank);
/* The slice is being opened: how much of it was handed over before. */
uint64_t bw_reader_opened(struct bw_reader *r, const struct bw_entry *entry, uint32_t rank, pid_t thread);
/* Nobody will ask for those bytes of the slice, which are more than none: reads ahead as if somebody had. */
void bw_reader_passed(struct bw_reader *r, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank,
		      uint64_t bytes);

/* Gives back about bytes of the budget if it can.  Does not block: locks up to SPOOL may be held. */
void bw_reader_shrink(struct bw_reader *r, uint64_t bytes);

#endif
