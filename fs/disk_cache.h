/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks and footers on a local disk (mount option cache=DIR), so that what was fetched once need not be fetched
 * again: not in the next epoch, not after a remount, not while the store is away.
 *
 * The one idea: it promises nothing.  It may have what is asked for, and the one who asks verifies what it hands
 * out (V5) and says bw_disk_forget() when that was damaged.  So everything here may fail, be dropped, or vanish
 * below its feet, and no read ever fails or waits for it that would not have waited for the store.
 *
 * A block is a file (disk_dir.h): then the oldest can go alone, damage is one block's, whoever wants room may
 * delete at any time, and there is nothing to repair.  Of slices below 1 MiB it means many small files, whose
 * cost is the writer's thread alone.
 *
 * Writing is in the background, one file at a time, from a queue that takes no more when the disk is
 * slower than the store.  The least recently used goes before a file would pass the limit.  A disk that
 * is full, or fails, is not written to for a while.
 *
 * A read that takes longer than two seconds is given up: who asked goes to the store, the call goes on in its thread.
 * Where half of the threads hang so, nothing is asked until one comes back.
 *
 * What lies in the directory is found again at the start, in the background; until then nothing is
 * served or kept.  Index and queue are taken of the mount's budget (S6): each at most a sixteenth of it; for each
 * thread a block of at most BW_DISK_ROOM_MAX; and for one that hangs what it reads.
 *
 * Thread-safe, one lock, under which nothing blocks.
 */
#ifndef BW_FS_DISK_CACHE_H
#define BW_FS_DISK_CACHE_H

#include "fs/disk_dir.h"
#include "store/base/budget.h"
#include "store/base/clock.h"
#include "store/base/log.h"
#include "store/base/workq.h"

struct bw_disk_cache;

#define BW_DISK_THREADS 4u	/* one may be writing */

/* Of what is free for it when it is mounted, unless cache_size= says how much; at least so many bytes. */
#define BW_DISK_SHARE 2u
#define BW_DISK_LEAST (UINT64_C(64) << 20)

struct bw_disk_config {
	const char *dir;		/* copied, as what follows, but budget and log */
	uint64_t size;			/* bytes; 0: a share of what is free */
	uint8_t stream[16];
	uint64_t first;			/* step: what is below is deleted */
	struct bw_budget *budget;	/* borrowed */
	struct bw_log *log;		/* borrowed */
	int64_t (*now)(void);		/* bw_now(), or a test's clock */
};

struct bw_disk_stats {
	atomic_uint_fast64_t limit;	/* bytes; 0: not known yet */
	atomic_uint_fast64_t bytes, blocks;	/* on the disk; each in whole pages of 4 KiB */
	atomic_uint_fast64_t written;	/* bytes, ever, as what follows */
	atomic_uint_fast64_t dropped;	/* blocks not kept: the disk was slow, full or failing */
	atomic_uint_fast64_t damaged;	/* files that were not what they should be */
	atomic_bool ready;		/* what lay in the directory has been found */
	atomic_bool unusable;		/* it could not be looked at: nothing is served or kept */
	atomic_bool paused;		/* the last write failed: none is tried for a while */
	atomic_uint_fast64_t given_up;	/* gets that took too long, ever */
	atomic_bool hangs;		/* reads that were given up have not come back */
};

/* Opens the directory and starts threads.  As bw_disk_dir_open(). */
int bw_disk_new(const struct bw_disk_config *config, struct bw_disk_cache **ret, char *why, size_t why_len)
	bw_must_check;
/* All gets are done.  What is queued to be written is dropped.  Waits for what hangs.  NULL is fine, as for all that follows. */
void bw_disk_free(struct bw_disk_cache *d);
const struct bw_disk_stats *bw_disk_stats(const struct bw_disk_cache *d);

/*
 * What is told of it.  A write that failed tells for so long that the disk does not fill, unless one goes well: whoever has
 * nothing to write does not try, and one that fails all the time is tried again before that is over.
 */
#define BW_DISK_TOLD_NS (10 * 60 * BW_SEC)
enum bw_disk_state { BW_DISK_LOOKS, BW_DISK_UNUSABLE, BW_DISK_HANGS, BW_DISK_DOES_NOT_FILL, BW_DISK_FILLS };
enum bw_disk_state bw_disk_state(struct bw_disk_cache *d);	/* not NULL */

/* One who wants a block; embedded in the asker, and lent until done(). */
struct bw_disk_get {
	uint64_t step;
	uint32_t number;	/* BW_DISK_FOOTER: the footer */
	uint32_t len;		/* as the store has it */
	enum bw_prio prio;
	/* Once, on a thread of the disk cache; must not block.  bytes is the callee's, unverified; NULL: it is not
	 * there after all, or the disk took too long. */
	void (*done)(struct bw_disk_get *get, struct bw_blob *bytes);
};
/* False: it is not there, or the disk does not answer; done will not run. */
bool bw_disk_get(struct bw_disk_cache *d, struct bw_disk_get *get);
bool bw_disk_has(struct bw_disk_cache *d, uint64_t step, uint32_t number);
/* What bw_disk_get() brought is damaged; its file is deleted soon.  Never waits; call it in done(). */
void bw_disk_forget(struct bw_disk_cache *d, uint64_t step, uint32_t number);

/* Verified bytes as the store has them.  May keep them (refs the blob); never waits. */
void bw_disk_put(struct bw_disk_cache *d, uint64_t step, uint32_t number, struct bw_blob *bytes);
/* Steps below first are of no use any more. */
void bw_disk_reclaimed(struct bw_disk_cache *d, uint64_t first);

#endif
