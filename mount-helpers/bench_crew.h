/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads of one row: they begin together once all are ready, and end together when one of them fails,
 * when the row's time is over or when the program is told to end.
 *
 * A call into a mount may wait for long.  Who is to end is told so by a signal that does nothing but end the
 * call, again and again, and, when no call returns any more, by killing the mount.
 */
#ifndef BW_MOUNT_HELPERS_BENCH_CREW_H
#define BW_MOUNT_HELPERS_BENCH_CREW_H

#include "mount-helpers/bench_times.h"
#include "mount-helpers/progress.h"
#include "store/base/limits.h"
#include "store/base/sync.h"

#include <stdatomic.h>

struct bw_crew;

/* One of them, and what it measured. */
struct bw_hand {
	struct bw_crew *crew;
	uint32_t index;
	void *ctx;		/* of the row; borrowed */
	int (*work)(struct bw_hand *h);
	pthread_t thread;
	bool started;
	struct bw_times times[2];
	uint64_t steps, slices, bytes, verified;
	int64_t busy_ns, all_ns;	/* loop: in calls, and in all */
};

struct bw_crew {
	struct bw_mutex lock;
	struct bw_cond cond;
	uint32_t n, ready, running;	/* under lock, like what follows */
	bool go;
	int err;			/* the first failure, and what it was */
	char why[BW_WHY_MAX + 1];
	atomic_bool stop;
	_Atomic(uint64_t) calls;	/* into mounts, that have returned */
	int64_t limit_ns;		/* of the row; 0: none */
	_Atomic(int64_t) end_ns;	/* when its time is over */
	int64_t begin_ns, took_ns;
	struct bw_hand *hands;		/* owned */
	struct bw_progress progress;
};

/* What the thread that waits for them is asked and told. */
struct bw_crew_watch {
	bool (*go_on)(void *ctx);	/* false: the program is to end; asked 20 times a second */
	void (*kill)(void *ctx);	/* makes every call into the mounts fail, or ends the program */
	/* All are ready and none has begun; and all have ended.  What they note is the row's use of the mounts. */
	void (*begin)(void *ctx);
	void (*end)(void *ctx);
	void *ctx;
};

void bw_crew_init(struct bw_crew *crew);
/*
 * n threads run work(hand).  It calls bw_crew_start() once it is ready, does its share while bw_crew_goes_on(), and
 * returns 0 or what bw_crew_fail() returned.  What and total are shown as progress: bytes, 0 for no end in
 * sight.  0; -ECANCELED: told to end; or the first failure, with its sentence in crew->why.
 * Once for each bw_crew_init().
 */
int bw_crew_run(struct bw_crew *crew, const char *what, uint64_t total, uint32_t n, int64_t limit_ns,
		int (*work)(struct bw_hand *h), void *ctx, const struct bw_crew_watch *watch) bw_must_check;
void bw_crew_done(struct bw_crew *crew);

/* ---- For work() ---------------------------------------------------------------------------------- */

/* Waits until all are ready.  False: it is over before it began. */
bool bw_crew_start(struct bw_crew *crew);
bool bw_crew_goes_on(struct bw_crew *crew);
/* Notes that it went wrong, if it is the first, and ends the row; returns err. */
int bw_crew_fail(struct bw_crew *crew, int err, const char *fmt, ...) bw_printf_like(3, 4);
/* The call failed only because the row ends. */
bool bw_crew_ends(struct bw_crew *crew);

#endif
