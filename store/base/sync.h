/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks with ranks.
 *
 * A thread takes locks in rising rank only; debug builds keep the ranks a thread holds and abort on
 * the first violation, so a deadlock that would need two unlucky threads is found by one.  Functions
 * that need their lock held end in _locked.  No callback runs and nothing blocks under a lock.
 */
#ifndef BW_BASE_SYNC_H
#define BW_BASE_SYNC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Outermost first.  X(name, what it guards) */
#define BW_LOCK_RANKS(X)                                                                           \
	X(FS, "struct bw_fs: lifecycle and options that change")                                   \
	X(PRODUCE, "the staging tree of a mount: producers, batches, nodes")                       \
	X(SPOOL, "the bytes of one staged file")                                                   \
	X(WAITERS, "parked FUSE requests")                                                         \
	X(HAND, "when it is looked for readers that pause")                                        \
	X(COMMITTER, "the queue of a committer")                                                   \
	X(POLLER, "probes and those who wait for them")                                            \
	X(TGBS, "decoded footers")                                                                 \
	X(CACHE, "blocks and their flights")                                                       \
	X(INDEX, "decoded index nodes")                                                            \
	X(HEAD, "the newest root")                                                                 \
	X(FILTER, "a store filter's own state")                                                    \
	X(STORE, "a backend's own state")                                                          \
	X(WORKQ, "a work queue")                                                                   \
	X(STATUS, "counters and the ring of errors")                                               \
	X(LOG, "the log's sink")                                                                   \
	X(LEAF, "locks under which no other is taken")

enum bw_lock_rank {
#define X(name, what) BW_RANK_##name,
	BW_LOCK_RANKS(X)
#undef X
};

struct bw_mutex {
	pthread_mutex_t m;
	enum bw_lock_rank rank;
};

void bw_mutex_init(struct bw_mutex *m, enum bw_lock_rank rank);
void bw_mutex_done(struct bw_mutex *m);
void bw_lock(struct bw_mutex *m);
void bw_unlock(struct bw_mutex *m);

struct bw_cond {
	pthread_cond_t c;	/* on CLOCK_MONOTONIC */
};

void bw_cond_init(struct bw_cond *c);
void bw_cond_done(struct bw_cond *c);
void bw_cond_wait(struct bw_cond *c, struct bw_mutex *m);
/* False when deadline_ns (bw_now() time) passed first; BW_NEVER waits for ever. */
bool bw_cond_wait_until(struct bw_cond *c, struct bw_mutex *m, int64_t deadline_ns);
void bw_cond_signal(struct bw_cond *c);
void bw_cond_broadcast(struct bw_cond *c);

static inline void bw_unlock_scope(struct bw_mutex **m)
{
	bw_unlock(*m);
}
#define BW_CAT2(a, b) a##b
#define BW_CAT(a, b) BW_CAT2(a, b)
/* Holds *m until the end of the enclosing block. */
#define BW_LOCK_SCOPE(mutex)                                                                       \
	struct bw_mutex *BW_CAT(scope_lock_, __LINE__)                                             \
		__attribute__((cleanup(bw_unlock_scope), unused)) = (mutex);                       \
	bw_lock(BW_CAT(scope_lock_, __LINE__))

/*
 * For one thread that waits for one callback on another: what the callback writes before it opens the
 * latch is seen behind the wait, which also ends the latch.  Open it once, waited for or not.
 */
struct bw_latch {
	struct bw_mutex lock;
	struct bw_cond opened;
	bool open;
};

void bw_latch_init(struct bw_latch *l);
void bw_latch_open(struct bw_latch *l);
void bw_latch_wait(struct bw_latch *l);
/* False: it is not open by then, and must be waited for once more. */
bool bw_latch_wait_until(struct bw_latch *l, int64_t deadline_ns);

/*
 * Starts a thread with every signal blocked but those of faults, which come to the thread that is at
 * fault (one thread of the program takes signals), and a name of at most 15 bytes for ps and gdb.
 * Returns 0, -BW_E_NO_THREADS or -errno.
 */
int bw_thread_start(pthread_t *ret, const char *name, void *(*run)(void *), void *arg);

#endif
