/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may be deleted, and why: the rules of protocol.md, "Reclaiming", and nothing else.
 *
 * One root judges: the deletion root G, the newest that has been there for `grace` by the store's clock.  Whoever
 * opened a root less than grace ago holds G or a newer one, so nothing that G or a newer root needs is
 * deleted.  References, epochs and seqs are all taken from G: mixing two roots deletes what is live.
 * What is not known is kept.  Pure; thread-safety: none.
 */
#ifndef BW_MANIFEST_RECLAIM_RULES_H
#define BW_MANIFEST_RECLAIM_RULES_H

#include "manifest/key.h"
#include "manifest/root.h"

/* X(name, deletes, what they are, for people) */
#define BW_RECLAIM_WHYS(X)                                                                      \
	X(FOREIGN, false, "objects of something else, or of a kind that this release does not know") \
	X(META, false, "objects that the stream is opened by")                                  \
	X(NEEDED, false, "data objects of steps that may be read")                              \
	X(UNSETTLED, false, "uploads that may still be committed")                              \
	X(NO_PRODUCER, false, "uploads of producers that are younger than the grace")           \
	X(STATE_CURRENT, false, "states that producers resume from")                            \
	X(STATE_RECENT, false, "states that were replaced last")                                \
	X(NODE_NEEDED, false, "index nodes of steps that may be read or are not deleted yet")   \
	X(PARTIAL_YOUNG, false, "unfinished uploads begun less than a day ago")                 \
	X(LATER, false, "objects that another part of the walk looks at")                       \
	X(RECLAIMED, true, "data objects of reclaimed steps")                                   \
	X(FENCED, true, "data objects of mounts that lost the producer, never committed")       \
	X(LOST, true, "data objects that lost their seq, never committed")                      \
	X(STATE_OLD, true, "states that no producer resumes from")                              \
	X(NODE_OLD, true, "index nodes of reclaimed steps")                                     \
	X(PARTIAL_OLD, true, "unfinished uploads that can never be committed")

enum bw_reclaim_why {
#define X(name, deletes, words) BW_WHY_##name,
	BW_RECLAIM_WHYS(X)
#undef X
	BW_WHYS
};
bool bw_reclaim_deletes(enum bw_reclaim_why why);
const char *bw_reclaim_why_words(enum bw_reclaim_why why);

/*
 * The nonces of entries: a compact set in bounded memory.  When they do not fit, it holds one part of
 * `parts`, chosen by the nonce, and the walk is made once for each part.  Never says no to what was added.
 */
struct bw_refs {
	uint64_t *slots;	/* owned: open addressing; 0 is free */
	size_t cap, n;
	bool zero;		/* the nonce 0 is in the set */
	uint64_t part, parts;
};
/* For at most `most` entries in at most memory bytes (at least a page); sets parts, part 0.  -ENOMEM. */
int bw_refs_init(struct bw_refs *r, uint64_t most, uint64_t memory) bw_must_check;
void bw_refs_done(struct bw_refs *r);
void bw_refs_next_part(struct bw_refs *r);	/* empties it */
bool bw_refs_covers(const struct bw_refs *r, uint64_t nonce);	/* it belongs to this part */
/* Nothing when it belongs to another part.  -ENOMEM when there are more than was said. */
int bw_refs_add(struct bw_refs *r, uint64_t nonce) bw_must_check;
bool bw_refs_has(const struct bw_refs *r, uint64_t nonce);

struct bw_reclaim_rules {
	const struct bw_root *judge;	/* G; borrowed */
	const struct bw_refs *needed;	/* all entries of [G.first, G.head), or a part; NULL: data is not judged */
	const struct bw_refs *counted;	/* a dry run: entries below G.first, dealt with already; NULL: none */
	uint64_t swept;			/* of the newest root: below, everything is deleted that entries name */
};

/* Of an object that was found in a listing. */
enum bw_reclaim_why bw_reclaim_judge(const struct bw_reclaim_rules *r, const struct bw_key *k);
/*
 * Of an upload that was begun and not ended; age_ms: since then, by the store's clock.  What is a day old goes when
 * nothing can come of it: its epoch is fenced or its seq taken, the root's name is taken, the node's steps are
 * committed by now; and the hint is written again and again.
 */
enum bw_reclaim_why bw_reclaim_judge_partial(const struct bw_reclaim_rules *r, const struct bw_key *k,
					     int64_t age_ms);

#define BW_RECLAIM_DAY_MS (INT64_C(24) * 60 * 60 * 1000)

/*
 * The guard against markers set by mistake.  A trim is made at once when no more than half of the live bytes
 * depend on markers that are younger than grace: fresh bytes are those released by the newest root's jobs and not by
 * those of G as well.  Otherwise it waits until the markers are older, or until enough else is released.
 */
bool bw_reclaim_trim_waits(uint64_t live_bytes, uint64_t fresh_bytes);

#endif
