/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is everything in the store that the manifest says, and nothing else?
 *
 * fsck holds the objects of a stream against its newest root and the versions against each other.  It
 * sends gets and lists and nothing else, and it may run beside writers, collectors and trims: it
 * takes one root, r, as what must be there, and believes that something is missing only when a root that was the
 * newest *after* it was not found still needs it.  What came after r is not looked at.
 *
 * Its memory is bounded whatever the stream holds (docs/fsck.md): BW_FSCK_TABLE_BYTES for the live
 * steps, of which it takes as many at a time as fit, BW_FSCK_AHEAD_BYTES for objects that are read ahead, and with
 * data BW_FSCK_LANES times a range of blocks.  Synchronous; one thread, and BW_FSCK_LANES more with data.
 */
#ifndef BW_MANIFEST_FSCK_H
#define BW_MANIFEST_FSCK_H

#include "manifest/key.h"
#include "manifest/root.h"
#include "store/store.h"

#define BW_FSCK_TOLD 100u	/* findings of one check that are kept; the others are counted */
#define BW_FSCK_TABLE_BYTES (UINT64_C(96) << 20)
#define BW_FSCK_AHEAD 24u	/* gets under way */
#define BW_FSCK_AHEAD_BYTES (UINT64_C(64) << 20)	/* of them, or a single longer one */
#define BW_FSCK_LANES 8u

/* X(id, name for people and scripts, whether the stream is damaged by it) */
#define BW_FSCK_CHECKS(X)                                                                          \
	X(STREAM, "stream", true)		/* stream.json */                                  \
	X(NEWEST, "newest", true)		/* the root that readers open with */              \
	X(VERSIONS, "versions", true)		/* a name that is free again (I2) */               \
	X(ROOT, "root", true)			/* damaged (I1) */                                 \
	X(HISTORY, "history", true)		/* does not follow from the one before (I2 to I8) */ \
	X(MARKER, "marker", true)		/* below first (I9) */                             \
	X(INDEX_MISSING, "index-missing", true)	/* a node (I9) */                                  \
	X(INDEX_DAMAGED, "index-damaged", true)                                                    \
	X(INDEX, "index", true)			/* entries or digests that do not follow (I3, I4) */ \
	X(SEQ, "seq", true)			/* a gap or a repeat (I5) */                       \
	X(DATA_MISSING, "data-missing", true)	/* I9 */                                           \
	X(DATA_SIZE, "data-size", true)                                                            \
	X(DATA_SHARED, "data-shared", true)	/* two steps name one object */                    \
	X(DATA_FOOTER, "data-footer", true)                                                        \
	X(DATA_BLOCK, "data-block", true)                                                          \
	X(STATE_MISSING, "state-missing", true)	/* I8 */                                           \
	X(STATE_DAMAGED, "state-damaged", true)                                                    \
	X(FOREIGN, "foreign", true)		/* an object of something else */                  \
	X(NEWER, "newer", true)			/* of a newer release: it was not checked */       \
	X(HINT, "hint", false)                                                                     \
	X(TOMBSTONE, "tombstone", false)	/* above a root */                                 \
	X(LISTING, "listing", false)		/* an object that is there was not listed */       \
	X(PROBE, "probe", false)		/* left behind by an init */                       \
	X(NESTED, "nested", false)		/* a stream of its own below this one */

enum bw_fsck_check {
#define X(id, name, wrong) BW_FSCK_##id,
	BW_FSCK_CHECKS(X)
#undef X
	BW_FSCK_CHECKS_N
};

struct bw_fsck_finding {
	enum bw_fsck_check check;
	uint64_t first, last;	/* the steps it hurts; first > last: none */
	char *text;		/* owned: a sentence without its full stop, steps and key included */
	char *key;		/* owned: the object it is about; "" for none */
};

/*
 * What an object is there for, as a collector will see it once the root is older than the grace
 * (reclaim_rules.h).  X(id, name)
 */
#define BW_FSCK_CLASSES(X)                                                                         \
	X(LIVE, "live")			/* the root needs it */                                    \
	X(RECLAIMED, "reclaimed")	/* of reclaimed steps, or superseded: a collector frees it */ \
	X(LOST, "lost")			/* an upload of a fenced epoch or a taken seq: likewise */ \
	X(FLIGHT, "in_flight")		/* may still become part of a commit */                    \
	X(KEPT, "kept")			/* needed no more; freed when its producer or the index moves on */ \
	X(UNJUDGED, "unjudged")		/* what might name it cannot be read */                    \
	X(OTHER, "other")		/* none of the stream's */

enum bw_fsck_class {
#define X(id, name) BW_FSCK_##id,
	BW_FSCK_CLASSES(X)
#undef X
	BW_FSCK_CLASSES_N
};
#define BW_FSCK_KINDS_N (BW_KEY_STATE + 1)

struct bw_fsck_sum {
	uint64_t objects, bytes;
};

struct bw_fsck_report {
	bool has_stream, has_root;	/* stream, and what follows it, are set */
	struct bw_stream stream;
	uint64_t version, first, head;	/* of the root that everything was held against */
	/* What was looked at. */
	uint64_t versions, tombstones, nodes, steps, states, blocks;
	uint64_t bytes_read;		/* of data */
	/* Objects that were listed: roots, index nodes, data, states (enum bw_key_kind), foreign ones. */
	struct bw_fsck_sum sums[BW_FSCK_KINDS_N][BW_FSCK_CLASSES_N];
	struct bw_fsck_sum tombstone_sum;
	/* Uploads that were begun and have not ended, LOST or FLIGHT: no store tells their bytes. */
	uint64_t uploads[BW_FSCK_CLASSES_N];
	uint64_t counts[BW_FSCK_CHECKS_N];
	size_t findings_n, findings_cap;
	struct bw_fsck_finding *findings;	/* owned; in the order they were found */
};

struct bw_fsck_options {
	bool data;		/* read and verify every block of every live step */
	int64_t request_ns;	/* patience with one request */
	/* Checked between requests, and ends those under way; NULL: never. */
	const atomic_bool *stop;
	/* A part of the work begins; so much of it is done.  The second on any thread.  May be NULL. */
	void (*phase)(void *ctx, const char *what, const char *unit, uint64_t total);
	void (*did)(void *ctx, uint64_t n);
	void *ctx;
	uint64_t table_bytes;	/* 0: BW_FSCK_TABLE_BYTES */
};

/*
 * 0: everything was looked at, and ret says what was found.  -ECANCELED: stopped; an error of the
 * store, or -ENOMEM: could not go on, with a sentence in why.  ret then holds what was found until there.
 * -BW_E_NO_STREAM: there is none.  ret is for bw_fsck_report_done() in any case.
 */
int bw_fsck(struct bw_store *store, const struct bw_fsck_options *o, struct bw_fsck_report *ret,
	    char *why, size_t why_len) bw_must_check;
void bw_fsck_report_done(struct bw_fsck_report *r);

const char *bw_fsck_check_name(enum bw_fsck_check check);
bool bw_fsck_check_wrong(enum bw_fsck_check check);
const char *bw_fsck_class_name(enum bw_fsck_class class);	/* "live", "reclaimed" ... */
uint64_t bw_fsck_wrong(const struct bw_fsck_report *r);		/* findings of damage */
uint64_t bw_fsck_warnings(const struct bw_fsck_report *r);

#endif
