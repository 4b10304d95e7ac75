/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a mount that wants news asks the store again: a value without clock, I/O or thread.
 *
 * A probe that finds nothing is a request that every mount of a fleet sends, all of them for the same name.  So
 * each keeps a pause behind it, which is long where long nothing has come: a quarter of what has lately lain between
 * two versions, or an eighth of the time since the newest came if that is more, at least BW_FOLLOW_MIN_NS, at most
 * BW_FOLLOW_MAX_NS.  What is waited for is then seen late by a share of how long it took, and not by more.
 *
 * Where versions come steadily the next one can be foretold: nobody asks before it may be there, and then at the
 * shortest pause until it is a quarter late.  It is known sooner, for half the requests.  While the store
 * says that it is asked too often the pause doubles, and comes down again slowly.
 * Up to half of a pause more is left to chance, so that mounts that were woken by one event do not stay together.
 * tests/sim/fleet.c has what 2,048 of them cost, and docs/operations.md the table.
 * Times are nanoseconds of a clock that the caller read.  Thread-safety: none; one owner.
 */
#ifndef BW_MANIFEST_FOLLOW_H
#define BW_MANIFEST_FOLLOW_H

#include "store/base/clock.h"
#include "store/base/rand.h"

#include <stdbool.h>

#define BW_FOLLOW_MIN_NS (100 * BW_MS)
#define BW_FOLLOW_MAX_NS (2 * BW_SEC)
#define BW_FOLLOW_STRETCH_MAX 16.0
#define BW_FOLLOW_STRETCHED_MAX_NS (8 * BW_SEC)

struct bw_follow {
	int64_t news_ns;	/* when the newest version was found, or the mount began */
	int64_t came_ns;	/* when it is taken to have been committed: between the last no and its being found */
	int64_t every_ns;	/* between versions lately; 0: no idea */
	int64_t strays_ns;	/* how far from every_ns that was lately */
	int64_t quiet_ns;	/* when the store said that there is none above it; 0: not yet */
	int64_t no_ns;		/* the same, of rounds that answered a question */
	int64_t failed_ns;	/* when the last round failed; 0: it did not */
	int64_t pause_ns;	/* behind rounds that fail, twice as long with each */
	int64_t resume_ns;	/* until when it lasts */
	unsigned unheralded;	/* versions in a row that were there when first looked for */
	double stretch;		/* of pauses, at least 1 */
	double chance;		/* of the pause under way: drawn once a round */
	unsigned in_vain;	/* so many who ask and could wait do so with the others */
	struct bw_rng rng;
};

void bw_follow_init(struct bw_follow *f, int64_t now_ns, uint64_t seed);

/* ---- What a round of probes brought ---------------------------------------------------------- */

/* So many versions newer than the one known before it; or nothing.  no: it ended with one that is not there.
 * asked: that answered somebody's question. */
void bw_follow_found(struct bw_follow *f, int64_t now_ns, uint64_t versions, bool no, bool asked);
/* A round has just found a version: is that all there is, as far as can be foretold?  Who need not know goes without
 * asking for the one above it. */
bool bw_follow_is_content(const struct bw_follow *f, int64_t now_ns);
/* throttled: the store was asked too often. */
void bw_follow_failed(struct bw_follow *f, int64_t now_ns, bool throttled);

/* ---- When the next one may begin; a time that is past is now ---------------------------------- */

/* For those who wait for news. */
int64_t bw_follow_wait_due(const struct bw_follow *f);
/* For a question that wants an answer now.  It keeps BW_FOLLOW_MIN_NS behind the last one that was answered by no, and is
 * not put off by rounds nobody asked for: those come behind it. */
int64_t bw_follow_ask_due(const struct bw_follow *f);

/*
 * Somebody asks who would go on waiting if the answer is no.  False: he is answered as any other question is.
 * True: he waits with those who wait, because the last of his kind asked in vain: processes that train in lock step
 * ask at one moment, on all mounts, and when they are faster than the producers that moment brings nothing.
 */
bool bw_follow_joins(struct bw_follow *f);
/* Such a question has been answered at once, by no. */
void bw_follow_in_vain(struct bw_follow *f);

#endif
