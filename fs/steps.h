/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a step number to its entry, or to the reason why there is none: V2, V3, V6, V7.
 *
 * Below the known head the answer comes from memory or the index.  At or above it the store is asked
 * first, by a probe sent after the question; and with wait= a caller who may wait is parked until the
 * step is committed, the time is over, or a signal ends it.
 *
 * Thread-safe.  Knows nothing of FUSE.
 */
#ifndef BW_FS_STEPS_H
#define BW_FS_STEPS_H

#include "fs/waiting.h"
#include "manifest/head.h"
#include "store/base/workq.h"

struct bw_steps;

/* At most this long for the probe of a question that may not wait (V3). */
#define BW_LOOKUP_LIMIT_NS (5 * BW_SEC)

struct bw_steps_config {
	struct bw_head *head;		/* all borrowed */
	struct bw_waiting *waiting;
	int64_t wait_ns;		/* 0: nobody waits */
	int64_t io_timeout_ns;
};

int bw_steps_new(const struct bw_steps_config *config, struct bw_steps **ret) bw_must_check;
/* Those who wait get -BW_E_STOPPING; new questions too. */
void bw_steps_stop(struct bw_steps *s);
void bw_steps_free(struct bw_steps *s);		/* after the head is gone; NULL is fine */

enum bw_resolve_stage { BW_RESOLVE_NEW, BW_RESOLVE_ASK, BW_RESOLVE_WAIT, BW_RESOLVE_FIND };

/* One question; embedded in the asker.  step, may_wait, done and waiter.pid are the asker's. */
struct bw_resolve {
	uint64_t step;
	bool may_wait;
	/* Runs once, inside bw_steps_go() or later on any thread.  0: entry is set.  -BW_E_NOT_COMMITTED,
	 * -BW_E_RECLAIMED, -BW_E_PAST_END, -ETIMEDOUT, -EINTR, -BW_E_UNREACHABLE, -BW_E_CORRUPT ... */
	void (*done)(struct bw_resolve *r, int err);
	struct bw_entry entry;
	struct bw_waiter waiter;

	uint64_t id;			/* private from here on */
	struct bw_steps *steps;
	enum bw_resolve_stage stage;
	bool interrupted;
	int64_t deadline_ns;
	struct bw_ask ask;
	struct bw_find find;
	struct bw_resolve *next, **prev;
};

/* Gives the question an id that bw_steps_interrupt() knows it by from now on. */
uint64_t bw_steps_begin(struct bw_steps *s, struct bw_resolve *r);
void bw_steps_go(struct bw_steps *s, struct bw_resolve *r);
/* A signal ends the wait of question id, if it is still a wait; harmless for any other number. */
void bw_steps_interrupt(struct bw_steps *s, uint64_t id);

#endif
