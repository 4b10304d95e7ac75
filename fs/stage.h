/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The staging tree: the nodes below /produce, private to the produce_*.c files.
 *
 * All of it is guarded by bw_produce.lock; functions here expect it held.  A node lives while it is in
 * the tree or while a handle is open on it.  That the kernel remembers its number keeps nothing: it may do so for
 * ever, and numbers are never given twice.
 */
#ifndef BW_FS_STAGE_H
#define BW_FS_STAGE_H

#include "fs/build.h"
#include "fs/produce.h"

enum bw_node_kind {
	BW_NODE_ROOT,		/* /produce */
	BW_NODE_PRODUCER,	/* /produce/<p> */
	BW_NODE_TEXT,		/* next, state, resume in it */
	BW_NODE_BATCH,		/* /produce/<p>/<seq> */
	BW_NODE_RANKS,		/* rank/ in it */
	BW_NODE_DIR,		/* a stray directory */
	BW_NODE_FILE,
};

/* Why a file with bytes is not whole (P3k). */
enum bw_torn { BW_NOT_TORN, BW_TORN_KILLED, BW_TORN_WRITE, BW_TORN_UNJUDGED };

struct bw_stage_batch;
struct bw_stage_producer;

struct bw_stage_node {
	uint64_t ino;
	enum bw_node_kind kind;
	uint32_t opens;			/* handles */
	bool detached;			/* not in the tree any more */
	char *name;			/* owned */
	struct bw_stage_node *parent;		/* NULL: the root, or detached */
	struct bw_stage_node *children, *next, **prev;
	uint64_t cookie, next_cookie;	/* of this child in its parent; of the next child here */
	struct bw_stage_node *listed;	/* the child that was listed last; NULL: none is known */
	struct bw_stage_node *by_ino, *by_name;	/* hash chains */
	int64_t mtime_ns;
	struct bw_stage_producer *producer;	/* borrowed: below a producer */
	struct bw_stage_batch *batch;		/* below a batch, while that exists */
	enum bw_produce_text text;		/* TEXT */

	/* FILE */
	int64_t rank;			/* inside rank/: which one, or -1 */
	struct bw_spool *spool;		/* owned; NULL once committed */
	uint64_t size_was;		/* of a committed file */
	struct bw_stage_handle *writers;	/* open for writing */
	enum bw_torn torn;		/* P3k: until truncated to 0 or replaced */
	bool sealed;			/* commit=rename: whole; no more writes */
};

struct bw_stage_handle {
	struct bw_stage_node *node;
	struct bw_stage_handle *next;	/* in node->writers */
	pid_t opener;			/* thread group */
	atomic_int wrote;		/* the thread that wrote last, when it was not the opener's first one */
	atomic_int writer;		/* thread group that wrote last and is not the opener's; 0: none */
	bool writable;
	bool dirty;			/* wrote something since it was opened */
	bool closed;			/* a counting flush has ended it */
	bool deferred;			/* a flush of it counted for nothing: somebody could still write to the file */
	bool killed_own;		/* its opener died of a signal */
	bool killed_last;		/* so did whoever closed it last */
	bool unjudged;			/* a closer that could not be seen */
	uint32_t writing;		/* write requests under way */
	uint32_t looks;			/* judgements under way; the last one frees a released handle */
	bool released;
};

enum bw_batch_state {
	BW_BATCH_STAGING,	/* being written */
	BW_BATCH_WHOLE,		/* complete, but an earlier seq is not */
	BW_BATCH_BUSY,		/* frozen: being built, uploaded, committed */
	BW_BATCH_COMMITTED,	/* its directory stays for a while (P3d) */
};

struct bw_stage_batch {
	struct bw_produce *produce;
	struct bw_stage_producer *producer;
	uint64_t seq;
	enum bw_batch_state state;
	int err;			/* sticky, 0 or -errno-like (P3e) */
	struct bw_stage_node *dir;
	struct bw_stage_node *ranks;		/* NULL before mkdir rank */
	struct bw_stage_node **by_rank;	/* owned, [ranks] */
	uint32_t lacks;			/* the rank that was not whole when somebody last looked for one */
	struct bw_stage_node *state_file;	/* or NULL */
	struct bw_stage_batch *next, **prev;	/* in one of the producer's lists */
	struct bw_build *build;		/* owned reference; NULL: nothing is built yet */
	bool late_build;		/* and nothing will be before it is whole */
	uint32_t counted_n;		/* up to this rank slices were whole when what is to be fed was counted */
	uint64_t counted;		/* their bytes that are not fed */

	/* BUSY */
	uint64_t epoch;
	struct bw_answer *answers;	/* parked on its outcome */
	int64_t started_ns, deadline_ns;
	bool early;			/* nobody waits for it: pending=N, or a release */
	bool hurry;			/* an fsync waits for it */
	bool uploaded, pushed;
	unsigned uploads_failed;	/* and will be made again */
	struct bw_task task;
	struct bw_commit_item item;

	/* COMMITTED */
	int64_t gone_ns;		/* when the directory goes */
	uint32_t kept;			/* counted in bw_produce.kept */
};

struct bw_stage_producer {
	char name[BW_NAME_MAX + 1];
	struct bw_stage_node *dir;
	/*
	 * Ascending by seq: those that are not committed, which are few, and those that are, whose directories stay for
	 * a while, which may be many thousands: nothing walks through these but who asks for an old seq.
	 */
	struct bw_stage_batch *batches, *done, *done_last;
	struct bw_stage_batch *full;	/* the first of done that still has names of files */
	struct bw_stage_producer *next;
	bool lost;			/* fenced while batches were staged */
	uint64_t push_next;		/* seq to hand to the committer next */
	uint32_t queued;		/* BUSY batches nobody waits for */
	int deferred_err;		/* of such a batch, until somebody was told */
	struct bw_answer *slot_waiters;	/* closes that wait for queued < pending */
	struct bw_answer *drainers;	/* fsync of the directory */
	/* Taking (P5). */
	bool taking;
	struct bw_answer *takers;	/* mkdirs of a seq */
	struct bw_ask ask;
	struct bw_commit_item item;
	struct bw_produce *produce;
};

/* Nodes of committed batches, some 300 bytes each; a batch itself is as much as so many. */
#define BW_KEPT_MAX 65536u
#define BW_KEPT_BATCH 4u

#define BW_NODE_BUCKETS_LOG 16
#define BW_NODE_BUCKETS (1u << BW_NODE_BUCKETS_LOG)	/* of a minute of commits; pages of it that are not used cost nothing */

struct bw_produce {
	struct bw_produce_config c;
	uint8_t owner[16];		/* the committer's: what ends with the store is later than the committer */
	struct bw_mutex lock;
	struct bw_cond idle;		/* busy_n or asking_n fell */
	struct bw_spool *freed;		/* given up under the lock: whoever gives that back frees them (bw_produce_unlock()) */
	struct bw_stage_node *root;
	struct bw_stage_producer *producers;
	struct bw_stage_node *inos[BW_NODE_BUCKETS], *names[BW_NODE_BUCKETS];
	uint64_t next_ino;		/* even; directories get the odd number after it */
	uint64_t kept;			/* nodes of committed batches, and what these are themselves */
	uint32_t busy_n;		/* batches in BUSY */
	uint32_t asking_n;		/* takes, registrations, questions of ahead.c and outcomes that somebody has yet to be told */
	struct bw_answer *begun;
	struct bw_ahead *ahead;		/* mkdirs that wait for a job */
	atomic_uint ahead_n;		/* those and the ones that still ask */
	struct bw_registration *registrations;	/* commits of new producers under way */
	uint64_t next_id;
	bool stopping;			/* nothing new is taken */
	bool closed;			/* nor is what was taken committed: the time for that is over */
	struct bw_workq *timer;		/* owned */
	struct bw_task tick;
	bool ticking;
};

/* Gives the lock back, then frees what was given up under it: closing a file may take long, and nobody else is to wait for that. */
void bw_produce_unlock(struct bw_produce *p);
static inline void bw_produce_unlock_p(struct bw_produce **p)
{
	bw_produce_unlock(*p);
}
#define BW_PRODUCE_SCOPE(p)                                                                        \
	struct bw_produce *scope_produce __attribute__((cleanup(bw_produce_unlock_p), unused)) = (p); \
	bw_lock(&(p)->lock)

/* ---- Nodes (stage.c) -------------------------------------------------------------------------- */

struct bw_stage_node *bw_stage_node_make(struct bw_produce *p, struct bw_stage_node *parent, enum bw_node_kind kind,
			     const char *name);
struct bw_stage_node *bw_stage_node_find(struct bw_produce *p, uint64_t ino);
/* Was ino a directory that is no more?  Whoever works in it still asks for its attributes on the way to "..". */
bool bw_stage_node_was_dir(struct bw_produce *p, uint64_t ino);
struct bw_stage_node *bw_stage_node_child(struct bw_produce *p, const struct bw_stage_node *parent, const char *name);
/* Takes the node (and what is below it) out of the tree; frees what nobody refers to. */
void bw_stage_node_detach(struct bw_produce *p, struct bw_stage_node *n);
/* Owns name from now on. */
void bw_stage_node_move(struct bw_produce *p, struct bw_stage_node *n, struct bw_stage_node *to, char *name);
/* Frees a detached node that no handle is open on any more. */
void bw_stage_node_settle(struct bw_produce *p, struct bw_stage_node *n);
void bw_stage_node_attr(const struct bw_produce *p, const struct bw_stage_node *n, struct bw_attr *ret);
/* The bytes of n and of everything below it that no handle is open on go, to p->freed; names and sizes stay. */
void bw_stage_node_drop_bytes(struct bw_produce *p, struct bw_stage_node *n);
uint32_t bw_stage_node_count(const struct bw_stage_node *n);	/* with all below it */
bool bw_stage_node_is_dir(const struct bw_stage_node *n);
void bw_stage_node_touch(struct bw_stage_node *n);

/* ---- Batches (batches.c) ---------------------------------------------------------------------- */

struct bw_stage_producer *bw_producer_find(struct bw_produce *p, const char *name);
struct bw_stage_producer *bw_producer_make(struct bw_produce *p, const char *name);
struct bw_stage_batch *bw_stage_batch_find(const struct bw_stage_producer *sp, uint64_t seq);
int bw_stage_batch_make(struct bw_stage_producer *sp, const char *name, uint64_t seq,
		  struct bw_stage_batch **ret) bw_must_check;
/*
 * It is committed: nothing comes across it any more but who looks for it.  Where there are more of them than BW_KEPT_MAX allows the names in
 * the oldest of its producer go, then their directories.
 */
void bw_stage_batch_done(struct bw_stage_batch *b);
/* Takes it out of its producer and frees it; its nodes are detached. */
void bw_stage_batch_drop(struct bw_stage_batch *b);
/* May its files change?  0, -EBUSY while frozen, -EROFS once committed. */
int bw_stage_batch_editable(const struct bw_stage_batch *b) bw_must_check;
bool bw_stage_node_whole(const struct bw_stage_node *n);
bool bw_stage_node_writing(const struct bw_stage_node *n);	/* write requests under way */
/* Does the end of a handle on n decide over its batch: a slice, or the state? */
bool bw_stage_node_counts(const struct bw_stage_node *n);
/* commit=rename: does an fsync of n, or a rename to where it counts, make it whole?  An empty state is one, an empty slice is none. */
bool bw_stage_node_seals(const struct bw_stage_node *n);
/* Is there a state file that is not whole? */
bool bw_stage_batch_state_missing(const struct bw_stage_batch *b);
/* Are all ranks and the state file whole?  Looks at one rank unless that has become whole since it was asked last: it is asked at each close. */
bool bw_stage_batch_whole(struct bw_stage_batch *b, uint32_t ranks);
/* Ranks that are not whole, all of which are looked at; a state file that is not counts as one more. */
uint32_t bw_stage_batch_missing(const struct bw_stage_batch *b, uint32_t ranks);

/* ---- Commits (commit.c) ----------------------------------------------------------------------- */

/*
 * A file of the batch has become whole: commits when that was the last.  a (or NULL) is parked, or
 * put on *ret_now with *ret_err when it is to be answered at once, by the caller, without the lock.
 */
void bw_stage_batch_settled_locked(struct bw_stage_batch *b, struct bw_answer *a, struct bw_answer **ret_now,
			     int *ret_err);
/* The mount ends before its turn came: says so in the log. */
void bw_stage_batch_give_up_locked(struct bw_stage_batch *b);
/* Gives up a batch in whatever state; only when the mount ends. */
void bw_stage_batch_abandon(struct bw_stage_batch *b);
/*
 * P8: 0 when all that closes have taken of the producer, none of which is BUSY, is committed; else why not, each time it is asked:
 * the error that stays on a batch, or -EAGAIN, one waits for another that is not whole.  What waited to be told is told with this.
 */
int bw_producer_drained_locked(struct bw_stage_producer *sp) bw_must_check;
/* Is the producer with this entry (or NULL) this mount's? */
bool bw_producer_held(const struct bw_produce *p, const struct bw_producer_entry *e);
/* Next seq the producer may commit, by the newest known root. */
uint64_t bw_producer_next(struct bw_produce *p, const char *name, bool *ret_held);
/* Its epoch, by the newest known root; 0: nobody has it. */
uint64_t bw_producer_epoch(struct bw_produce *p, const char *name);
/* It was fenced (P5): what is staged of it can only be removed. */
void bw_producer_lose_locked(struct bw_stage_producer *sp);
void bw_produce_tick_locked(struct bw_produce *p);	/* arms the timer */

/* Answers a list linked by next, each with its err; without the lock. */
void bw_answers_run(struct bw_answer *list);
/* One less of asking_n, whose asker has been answered: a mount that ends takes no answer any more (S5).  Without the lock. */
void bw_produce_told(struct bw_produce *p);
/* It waits from now on; until commit_timeout is over, which counts from the first time. */
void bw_answer_park(struct bw_produce *p, struct bw_answer *a, enum bw_wait_reason reason,
		    const struct bw_stage_batch *b, const struct bw_stage_node *n);
/* Its time is over: moves what is in no list any more to late, to be run without the lock. */
void bw_answer_late_locked(struct bw_produce *p, struct bw_answer *a, struct bw_answer **late);

/* ---- Taking and registering (take.c) ---------------------------------------------------------- */

void bw_take_mkdir(struct bw_produce *p, struct bw_stage_node *dir, const char *name, struct bw_answer *a);
/* a->seq is set, and nothing is in its way but what is checked here. */
void bw_take_seq(struct bw_produce *p, struct bw_stage_producer *sp, struct bw_answer *a);
void bw_register_mkdir(struct bw_produce *p, const char *name, struct bw_answer *a);
/* Moves those whose time is over to late.  Does anybody still wait? */
bool bw_register_late_locked(struct bw_produce *p, int64_t now, struct bw_answer **late);

/* ---- Waiting for the slowest job (ahead.c) ------------------------------------------------------ */

void bw_ahead_mkdir(struct bw_produce *p, struct bw_stage_producer *sp, struct bw_answer *a);
bw_head_news bw_ahead_news;	/* ctx: the bw_produce */
void bw_ahead_stop(struct bw_produce *p);

#endif
