/* SPDX-License-Identifier: Apache-2.0 */
/* What hangs off a mount; for fs.c, status.c and the fuse_*.c adapters. */
#ifndef BW_FS_PRIV_H
#define BW_FS_PRIV_H

#include "fs/checkpoint.h"
#include "fs/closer.h"
#include "fs/counters.h"
#include "fs/errors.h"
#include "fs/fold.h"
#include "fs/fs.h"
#include "fs/live.h"
#include "fs/gc.h"
#include "fs/once.h"
#include "fs/produce.h"
#include "fs/reader.h"
#include "fs/released.h"
#include "fs/spool.h"
#include "fs/steps.h"
#include "fs/waiting.h"
#include "manifest/committer.h"
#include "manifest/head.h"
#include "manifest/open.h"
#include "store/file_news.h"
#include "store/stats.h"
#include "store/store.h"

struct bw_hand;
struct bw_handle;
struct fuse_session;

#define BW_FUSE_THREADS_MAX 8u

struct bw_fs {
	char *url_text;			/* owned */
	char *dir;			/* owned, absolute */
	char *staging;			/* the same; NULL: ro */
	struct bw_url url;
	struct bw_mount_options o;
	struct bw_log *log;		/* borrowed */
	int64_t started_ms;

	struct bw_store_stats stats;
	struct bw_counters counters;
	struct bw_budget budget;
	struct bw_budget texts;		/* of it: what texts of open files may hold (fuse_reply.c) */
	struct bw_errors errors;
	struct bw_fold fold;
	struct bw_waiting waiting;
	struct bw_spool_space space;
	struct bw_released released;
	struct bw_once once;
	atomic_int_fast64_t grown_ns;	/* when this mount saw the last steps being committed; 0: never */
	atomic_uint_fast64_t listed;	/* 1 + the step one of whose directories was opened last; 0: none */

	/* In the order they start; freed the other way round. */
	struct bw_store *store;
	struct bw_stream stream;
	int64_t opened_ns;	/* the bw_boottime() before the root was looked for with which the head began */
	struct bw_workq *pool;		/* verifies blocks */
	struct bw_workq *builders;	/* builds batches */
	struct bw_workq *side;		/* df: may wait for a local file system; looks of fuse_hand.c */
	struct bw_disk_cache *disk;	/* NULL: without option cache */
	struct bw_head *head;
	struct bw_file_news *news;	/* file:// */
	struct bw_ask look;		/* of who reads the metrics while the store is in trouble; while looking */
	atomic_bool looking;
	struct bw_live live;
	struct bw_committer *committer;
	struct bw_closer *closer;
	struct bw_hand *hand;		/* NULL: without prefetch, or mounted by somebody else */
	struct bw_reader *reader;
	struct bw_steps *steps;
	struct bw_checkpoint *checkpoint;
	struct bw_produce *produce;	/* NULL: ro */
	struct bw_gc *gc;		/* NULL: without option gc */

	struct fuse_session *session;
	bool mounted;
	unsigned dev_major, dev_minor;	/* of the mount; both 0: not known */
	int wake[2];			/* pipe: ends bw_fs_run() */
	struct bw_handle *handles;	/* open files; under handles_lock */
	struct bw_mutex handles_lock;
	struct bw_mutex lock;		/* what follows */
	struct bw_cond changed;
	bool ready;			/* the kernel has INIT's answer */
	bool head_over;			/* the head is about to go: a request of the store that ends now does not ask it */
	unsigned serving;		/* threads in the FUSE loop */
	unsigned threads_n;
	pthread_t threads[BW_FUSE_THREADS_MAX];
	atomic_bool exiting;
	atomic_bool init_replied;
	atomic_uint replying;		/* threads that write to the kernel's descriptor */
	atomic_bool unmounting;		/* no more of them: it is about to be another's */
	/* The kernel offers them; set before INIT is replied to. */
	bool parallel_dirops;
	bool direct_mmap;		/* of files opened with FOPEN_DIRECT_IO; false: or not wanted */
};

/* ---- fuse_main.c ------------------------------------------------------------------------------ */

int bw_fuse_mount(struct bw_fs *fs, char *why, size_t why_len) bw_must_check;
int bw_fuse_serve(struct bw_fs *fs) bw_must_check;	/* starts the threads; waits for INIT */
unsigned bw_fuse_threads(void);		/* how many these are; at least 2 */
void bw_fuse_changed(void *fs, uint64_t ino);	/* the kernel forgets its attributes; not on a thread that serves */
/* And joins the threads; late replies go nowhere.  What others have mounted at dir since stays. */
void bw_fuse_unmount(struct bw_fs *fs);
void bw_fuse_destroy(struct bw_fs *fs);

/* ---- fuse_step.c ------------------------------------------------------------------------------ */

/* Tells of steps that went on failing for a minute; BW_NEVER: of all that have. */
void bw_step_tell_repeats(struct bw_fs *fs, int64_t now);

/* ---- fuse_hand.c ------------------------------------------------------------------------------ */

int bw_hand_new(struct bw_fs *fs, struct bw_hand **ret) bw_must_check;
/* Whether a request of this thread is its own. */
bool bw_hand_is(const struct bw_hand *h, pid_t tid);
/* As bw_reader_config's came; ctx is the hand. */
void bw_hand_came(void *ctx, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank);
/* Looks then for readers that pause for the first time (bw_reader_first_pauses()); BW_NEVER: not at all.  NULL is fine, as for
 * the next two. */
void bw_hand_look(struct bw_hand *h, int64_t due_ns);
/* Nothing more is handed over. */
void bw_hand_stop(struct bw_hand *h);
/* After the mount is gone, before the reader. */
void bw_hand_free(struct bw_hand *h);

/* ---- status.c: texts, made when they are opened ------------------------------------------------ */

enum bw_status_file {
	BW_STATUS_HEAD, BW_STATUS_FIRST, BW_STATUS_STATUS, BW_STATUS_JSON, BW_STATUS_METRICS,
	BW_STATUS_WAITING, BW_STATUS_ERRORS, BW_STATUS_FILES
};
const char *bw_status_name(enum bw_status_file file);
void bw_status_print(struct bw_fs *fs, enum bw_status_file file, struct bw_buf *out);
void bw_metrics_print(struct bw_fs *fs, struct bw_buf *out);	/* metrics.c */
uint64_t bw_memory_used(const struct bw_fs *fs);	/* of memory=, but for texts: a look does not change what it sees */
/* meta.json of a step. */
void bw_meta_print(const struct bw_fs *fs, const struct bw_entry *e, const struct bw_tgb *t,
		   struct bw_buf *out);
/* next, state length and resume, from one root. */
uint64_t bw_text_size(struct bw_fs *fs, const char *producer, enum bw_produce_text what);
/* state: the bytes, inline or fetched before by the caller. */
void bw_text_print(const struct bw_producer_entry *e, const void *state, size_t state_len,
		   enum bw_produce_text what, struct bw_buf *out);

#define BW_STATUS_TEXT_MAX (8u << 20)

#endif
