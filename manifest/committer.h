/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The committer of a mount: one thread that turns queued changes into versions.
 *
 * Each version takes everything that is queued (of every producer of the mount).  One commit in
 * flight per committer.  When the next starts is asked of dac.h: batches may be put off so that many
 * mounts share the slots; what is not a batch never is, and takes the queued batches with it.
 * Owners: a committer has one random owner id for its life; the producers it holds are those whose
 * entry in the newest root names it.
 */
#ifndef BW_MANIFEST_COMMITTER_H
#define BW_MANIFEST_COMMITTER_H

#include "manifest/head.h"
#include "manifest/txn.h"

struct bw_committer;

/* One queued change; embedded in its owner, lent until done(). */
struct bw_commit_item {
	struct bw_change change;	/* owned by the item; the committer copies it */
	/* On the committer's thread, no lock held: must not block.  result: borrowed for the call. */
	void (*done)(struct bw_commit_item *item, const struct bw_txn_change *result);
	void *ctx;
	bool hurry;			/* do not put it off, nor what is queued with it */
	int64_t latest_ns;		/* put it off until then at most; 0: as dac.h has it */
	struct bw_commit_item *next;	/* private */
	int64_t queued_ns;		/* private */
};

struct bw_commit_stats {
	atomic_uint_fast64_t committed, conflicts, failed, attempts, versions;
	atomic_uint_fast64_t prepared;		/* of the versions: put with what was prepared (bw_committer_expect()) */
	atomic_uint_fast64_t nanoseconds;	/* queued to settled, of settled items, summed */
	atomic_uint_fast64_t window_ns;		/* tau: how long batches are put off now (dac.h) */
};

/* opened_ns: the bw_boottime() before the root was looked for that head began with (destroy.h). */
int bw_committer_new(struct bw_store *store, const struct bw_stream *stream, struct bw_head *head, int64_t opened_ns,
		     struct bw_log *log, struct bw_committer **ret) bw_must_check;

const uint8_t *bw_committer_owner(const struct bw_committer *c);	/* [16] */
struct bw_head *bw_committer_head(const struct bw_committer *c);	/* borrowed */
const struct bw_commit_stats *bw_committer_stats(const struct bw_committer *c);

/*
 * Queues item; items of one producer are committed in the order they are queued.  Items whose
 * predecessor fails (same producer, APPEND) fail with the same error.  A failed change settles with
 * its error; an ambiguous one only when its outcome is known, however long that takes.
 */
void bw_committer_push(struct bw_committer *c, struct bw_commit_item *item);
/*
 * The append that will be pushed when its object is durable, unless that fails, and that nothing else is likely to be
 * committed before: the root may be prepared meanwhile (prepared.h).  Copied; promises nothing, and the last one said is what counts.
 */
void bw_committer_expect(struct bw_committer *c, const struct bw_change *change);
/* What is queued now is not put off any longer: somebody waits for all of it (fsync, unmount). */
void bw_committer_hurry(struct bw_committer *c);
/*
 * Push and wait; for commands.  Fills *ret.  At deadline_ns the committer stops: -BW_E_UNKNOWN when the outcome is in doubt
 * then, else -BW_E_UNREACHABLE, as from then on.
 */
int bw_committer_sync(struct bw_committer *c, const struct bw_change *change, int64_t deadline_ns,
		      struct bw_txn_change *ret) bw_must_check;

/*
 * Takes a producer for this committer: nothing when the newest known root says it is held, else a
 * fence.  Fills epoch and next.  Waits, as bw_committer_sync().  For commands; the mount pushes its own FENCE item.
 */
int bw_committer_take(struct bw_committer *c, const char *producer, int64_t deadline_ns,
		      struct bw_producer_entry *ret) bw_must_check;

/* It was stopped, and the time for that is over: what is pushed now is never answered. */
bool bw_committer_is_over(struct bw_committer *c);

/* True while an attempt was sent and its outcome is not known. */
bool bw_committer_in_doubt(struct bw_committer *c);

/* Commits what is queued until deadline_ns, and fails the rest with -BW_E_STOPPING, or -BW_E_UNKNOWN what is in doubt. */
void bw_committer_stop(struct bw_committer *c, int64_t deadline_ns);
/* The same, joins, frees. */
void bw_committer_free(struct bw_committer *c, int64_t deadline_ns);

#endif
