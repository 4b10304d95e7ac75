/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /produce: producers, staged batches, and the way from a complete batch to a commit.
 *
 * A batch is an ordinary directory in memory until all its ranks are whole; then it is frozen, built
 * (manifest/batch.h), uploaded, and queued at the committer; when the outcome is known the requests
 * parked on it are answered.  docs/architecture.md draws the states.
 *
 * Calls return 0 or -errno at once, or park a struct bw_answer whose done() runs later; never both.
 * No call waits for the network.  Thread-safe: one lock guards the tree, each file's bytes have their
 * own.  Knows nothing of FUSE.
 */
#ifndef BW_FS_PRODUCE_H
#define BW_FS_PRODUCE_H

#include "fs/closer.h"
#include "fs/counters.h"
#include "fs/options.h"
#include "fs/reader.h"
#include "fs/spool.h"
#include "fs/waiting.h"
#include "manifest/committer.h"

#define BW_PRODUCE_INO 3u		/* of /produce itself */

struct bw_errors;

struct bw_stage_handle;

struct bw_produce;
struct bw_produce_config {
	struct bw_store *store;			/* all borrowed */
	const struct bw_stream *stream;
	struct bw_head *head;
	struct bw_committer *committer;
	struct bw_reader *reader;
	struct bw_workq *pool;			/* builds batches: may block on a local disk */
	struct bw_closer *closer;
	struct bw_waiting *waiting;
	struct bw_errors *errors;
	struct bw_counters *counters;
	struct bw_log *log;
	struct bw_spool_space *space;
	const struct bw_mount_options *options;
	/*
	 * What was told of ino (bw_attr.stays) is not true any more: whoever keeps it, and he may, forgets it before this
	 * returns.  On the committer's thread, no lock held.  NULL: nobody keeps anything.
	 */
	void (*changed)(void *ctx, uint64_t ino);
	void *changed_ctx;
};

int bw_produce_new(const struct bw_produce_config *config, struct bw_produce **ret) bw_must_check;
/* No new batch or commit from now on; parked mkdirs fail.  Commits under way go on. */
void bw_produce_stop(struct bw_produce *p);
/*
 * Waits until deadline_ns for batches under way, and for those that follow them; afterwards nothing is handed to the committer,
 * and what is whole and waits for a predecessor is given up, with a line in the log, as is what is not whole and holds files.
 */
void bw_produce_drain(struct bw_produce *p, int64_t deadline_ns);
/* Nothing is being built any more (the pool is gone): ends uploads of batches that are not whole, so that the store can end. */
void bw_produce_release_store(struct bw_produce *p);
/* After the committer is gone.  Answers what is still parked.  Handles that nobody released are the
 * caller's to free(). */
void bw_produce_free(struct bw_produce *p);

struct bw_attr {
	uint64_t ino;
	uint32_t mode;		/* type and permissions */
	uint64_t size, stored;
	int64_t mtime_ns;
	bool stays;		/* the caller hears (bw_produce_config.changed) when mode or ino become others by our own doing */
};

/* A parked request.  Zeroed by the caller but for done, pid and ctx. */
struct bw_answer {
	/* Runs once: inside the call or later on any thread, no lock held. */
	void (*done)(struct bw_answer *a, int err);
	void *ctx;
	struct bw_attr attr;		/* mkdir: the new directory */
	struct bw_waiter waiter;	/* pid set by the caller */
	uint64_t seq;			/* private */
	int64_t deadline_ns;		/* private; 0: none yet */
	int err;			/* private */
	struct bw_answer *next;		/* private */
	/* Private, of those that have begun (bw_produce_begin). */
	uint64_t id;
	bool interrupted;
	struct bw_ahead *ahead;
	struct bw_answer *begun_next, **begun_prev;
};

/* ---- The tree.  ino and parent are numbers this module gave out, or BW_PRODUCE_INO ------------- */

/* 1: not known here; ask for fresh news and try again (a producer of another mount). */
int bw_produce_lookup(struct bw_produce *p, uint64_t parent, const char *name, struct bw_attr *ret);
/* Of a directory that is gone as well: somebody may work in it. */
int bw_produce_getattr(struct bw_produce *p, uint64_t ino, struct bw_attr *ret) bw_must_check;
/* h: the handle of ftruncate(2), or NULL. */
int bw_produce_truncate(struct bw_produce *p, uint64_t ino, struct bw_stage_handle *h, uint64_t size)
	bw_must_check;

/* Directories: producers and seqs are answered later, others at once; always through a->done.  A seq may wait
 * for a job (P7), and a signal ends that, as it ends, a second later, the wait for a commit: the caller gives the
 * request a number that bw_produce_interrupt() knows it by, and takes it back in done. */
uint64_t bw_produce_begin(struct bw_produce *p, struct bw_answer *a);
void bw_produce_end(struct bw_produce *p, struct bw_answer *a);
void bw_produce_interrupt(struct bw_produce *p, uint64_t id);
void bw_produce_mkdir(struct bw_produce *p, uint64_t parent, const char *name, struct bw_answer *a);
int bw_produce_unlink(struct bw_produce *p, uint64_t parent, const char *name) bw_must_check;
int bw_produce_rmdir(struct bw_produce *p, uint64_t parent, const char *name) bw_must_check;
/* Always through a->done: a rename inside rank/ may commit. */
void bw_produce_rename(struct bw_produce *p, uint64_t parent, const char *name, uint64_t to_parent,
		       const char *to_name, bool noreplace, struct bw_answer *a);

/* Names after cookie (0: from the start), in stable order; false from emit stops. */
typedef bool bw_emit(void *ctx, const char *name, uint64_t ino, bool dir, uint64_t cookie);
int bw_produce_readdir(struct bw_produce *p, uint64_t ino, uint64_t cookie, bw_emit *emit, void *ctx)
	bw_must_check;

/* ---- Files ----------------------------------------------------------------------------------- */

/* flags as open(2); pid is the opener.  *ret is released by bw_produce_release(). */
int bw_produce_open(struct bw_produce *p, uint64_t ino, int flags, pid_t pid,
		    struct bw_stage_handle **ret) bw_must_check;
int bw_produce_create(struct bw_produce *p, uint64_t parent, const char *name, int flags, pid_t pid,
		      struct bw_attr *ret_attr, struct bw_stage_handle **ret) bw_must_check;
ssize_t bw_produce_read(struct bw_produce *p, struct bw_stage_handle *h, uint64_t off, void *buf,
			size_t len) bw_must_check;
/* pid writes.  With O_APPEND as well off is where the bytes belong: the kernel, through which all changes of a size go, has put the end of the
 * file there, and the pieces of one request may come at once. */
int bw_produce_write(struct bw_produce *p, struct bw_stage_handle *h, uint64_t off, const void *buf,
		     size_t len, pid_t pid) bw_must_check;
int bw_produce_fallocate(struct bw_produce *p, struct bw_stage_handle *h, int mode, uint64_t off,
			 uint64_t len) bw_must_check;
/* Each close(2) of a descriptor, and fsync(2): answered through a->done. */
void bw_produce_flush(struct bw_produce *p, struct bw_stage_handle *h, struct bw_answer *a);
void bw_produce_flush_missed(struct bw_produce *p, struct bw_stage_handle *h);	/* there is no memory to ask who closes */
void bw_produce_fsync(struct bw_produce *p, struct bw_stage_handle *h, struct bw_answer *a);
/* The last descriptor is gone: frees h. */
void bw_produce_release(struct bw_produce *p, struct bw_stage_handle *h);
/* fsync of a directory: /produce/<p> drains its queue and reports (P8); others: nothing. */
void bw_produce_fsyncdir(struct bw_produce *p, uint64_t ino, struct bw_answer *a);

/* ---- next, state, resume ---------------------------------------------------------------------- */

enum bw_produce_text { BW_TEXT_NEXT, BW_TEXT_STATE, BW_TEXT_RESUME };
/* Is ino one of these files, and of which producer? */
bool bw_produce_is_text(struct bw_produce *p, uint64_t ino, enum bw_produce_text *ret_what,
			char producer[BW_NAME_MAX + 1]);

/* Lines for /status/waiting: batches that are not committed, what they lack, what is stray in them; of a thousand at most. */
void bw_produce_print(struct bw_produce *p, struct bw_buf *out);
/* Batches that are not committed. */
uint64_t bw_produce_staged(struct bw_produce *p);
/* For status.json: batches queued or being committed of one producer. */
uint64_t bw_produce_pending(struct bw_produce *p, const char *producer);

#endif
