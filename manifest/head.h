/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The newest root a process knows, and how it learns of newer ones.
 *
 * Roots found by probing and roots committed here are published through bw_head_publish(): one way in
 * for local and remote news.  A subscriber hears of every published root, in order.
 *
 * Probing asks for version v+1.  The rule readers rely on (V3): "not committed" may only be said on
 * the strength of a NOT_FOUND whose request was sent after the look-up began, so bw_head_ask() never
 * joins a probe that is already under way.  Askers share the next one; probes that find nothing are
 * spaced by at least BW_PROBE_SPACING_NS, unless something has been heard of in between.  After one that found a version the
 * next waits some milliseconds for those whom that answered, unless there is an ask or something was heard of.
 */
#ifndef BW_MANIFEST_HEAD_H
#define BW_MANIFEST_HEAD_H

#include "manifest/follow.h"
#include "manifest/index.h"
#include "store/store.h"

#define BW_PROBE_SPACING_NS BW_FOLLOW_MIN_NS
#define BW_PATIENT_NS BW_SEC
#define BW_FOLLOW_NS (60 * BW_SEC)

struct bw_head;

/* Called after every publication with the roots before and after, on the publishing thread, no lock
 * held; publications are serialised. */
typedef void bw_head_news(void *ctx, struct bw_root *old, struct bw_root *now);

/* store and log are borrowed, stream is copied, root is ref'ed; opened_ns: the bw_boottime() before it was looked for.
 * Starts a thread, so call it after the last fork; sends nothing until asked. */
int bw_head_new(struct bw_store *store, const struct bw_stream *stream, struct bw_root *root, int64_t opened_ns,
		struct bw_log *log, struct bw_head **ret) bw_must_check;
/* Askers get -BW_E_STOPPING.  Waits for its requests.  NULL is fine. */
void bw_head_free(struct bw_head *h);

struct bw_root *bw_head_root(struct bw_head *h);	/* the newest; caller unrefs */
/* How many steps it has: the number of the next one. */
static inline uint64_t bw_head_steps(struct bw_head *h)
{
	struct bw_root *root = bw_head_root(h);
	uint64_t steps = root->head;

	bw_root_unref(root);
	return steps;
}
void bw_head_subscribe(struct bw_head *h, bw_head_news *news, void *ctx);	/* before any news; several */

/*
 * Makes root the newest unless it is older.  Checks it against the one before (bw_apply_check): on a
 * contradiction the head is poisoned and everything fails with -BW_E_CONTRADICTION from then on.
 * Across a gap that root's tail does not bridge, the check reads index nodes and so may wait for the
 * store, and fail with its errors; between adjacent versions it never does.
 */
int bw_head_publish(struct bw_head *h, struct bw_root *root) bw_must_check;
int bw_head_poisoned(struct bw_head *h);	/* 0, -BW_E_CONTRADICTION or -BW_E_DESTROYED */
/* The stream is being destroyed, or was: everything fails with -BW_E_DESTROYED from now on.  Probes find out by
 * themselves. */
void bw_head_destroyed(struct bw_head *h);

/* One who waits for fresh news; embedded in the asker. */
struct bw_ask {
	/* err 0: some probe sent after the ask said NOT_FOUND above bw_head_root(); or, with until_step
	 * set, that step is below head.  -BW_E_UNREACHABLE ...: the store did not answer in time. */
	void (*done)(struct bw_ask *ask, int err);
	uint64_t until_step;	/* BW_STEPS_MAX: only a NOT_FOUND will do */
	int64_t deadline_ns;
	uint64_t guess;		/* the newest version may be about this one; 0: no idea */
	bool urgent;		/* its probes are not spaced: the asker paces itself (committers) */
	bool patient;		/* the asker would wait on if the answer is no: after one who asked in vain he may be
				 * answered with those who watch, at most BW_PATIENT_NS later */
	int64_t took_ns;	/* set before done: what the probe took whose NOT_FOUND it was; 0: it was none */
	struct bw_ask *next;	/* private */
	uint64_t asked;		/* private: probes sent before it */
	int64_t joins_ns;	/* private: when he must be asked for if he comes along with the watchers; else 0 */
};
/* done runs once, never inside the call, on a thread of the store or the head; it must not block. */
void bw_head_ask(struct bw_head *h, struct bw_ask *ask);
/* True: done will not run. */
bool bw_head_ask_cancel(struct bw_head *h, struct bw_ask *ask);
/* Waits; not spaced, so the caller paces itself.  For commands and the committer.  *ret (may be NULL)
 * gets the root; caller unrefs. */
int bw_head_refresh(struct bw_head *h, int64_t deadline_ns, struct bw_root **ret) bw_must_check;
/* Keeps probing while somebody waits for news (V7), at the pace of manifest/follow.h: count them in and out. */
void bw_head_watch(struct bw_head *h, int delta);
/* The store may hold a newer version: whoever asks, watches or follows need not wait for the next probe's time. */
void bw_head_heard(struct bw_head *h);
/* Somebody reads the newest steps as they come: for the next BW_FOLLOW_NS what is heard of is looked at, so that it is
 * known before it is asked for; and until something new is found the store is asked at the pace of those who watch. */
void bw_head_follow(struct bw_head *h);

/* ---- Looking up entries ---------------------------------------------------------------------- */

struct bw_find {
	uint64_t step;
	int64_t deadline_ns;
	/* err 0: entry is set.  -BW_E_NOT_COMMITTED (in the root known when asked), -BW_E_RECLAIMED,
	 * -BW_E_CORRUPT, -BW_E_UNREACHABLE. */
	void (*done)(struct bw_find *find, int err);
	struct bw_entry entry;
};
/*
 * The entry of a step, from the tail, from cached nodes, or by at most three gets.  Answers at once
 * (true, *ret_err set, done will not run) when no get is needed; else false, and done runs later.
 */
bool bw_head_find(struct bw_head *h, struct bw_find *find, int *ret_err);
int bw_head_find_sync(struct bw_head *h, uint64_t step, int64_t deadline_ns, struct bw_entry *ret)
	bw_must_check;

#endif
