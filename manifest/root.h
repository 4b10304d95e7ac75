/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manifest root: all that is committed, at one version, self-contained and bounded.
 *
 * A decoded root is immutable and refcounted; a reader that holds one holds a consistent view of the
 * whole stream.  The root at version v+1 is apply(root at v, its changes) (apply.h), and the
 * put-if-absent of its name is the commit.
 */
#ifndef BW_MANIFEST_ROOT_H
#define BW_MANIFEST_ROOT_H

#include "manifest/stream.h"
#include "store/base/blob.h"

#include <stdatomic.h>

/* What the barrier of destroy.h asks readers for; none has it. */
#define BW_FEATURE_DESTROYED "destroyed"

/* A committed step. */
struct bw_entry {
	uint64_t step;
	char producer[BW_NAME_MAX + 1];
	uint64_t epoch, seq, nonce;	/* name the data object (bw_key_data) */
	uint64_t size;			/* of the data object */
	uint64_t raw;			/* raw bytes of all its slices */
	uint64_t before;		/* sizes of the objects of all earlier steps, summed */
	uint32_t footer_len;
	uint64_t footer_xxh3;		/* of the footer, trailer included */
	uint64_t version;		/* that committed it */
	int64_t time_ms;		/* commit time */
};

/* A pointer to an index node: steps first..last, all of one level below. */
struct bw_pointer {
	uint64_t first, last;
	uint64_t hash;			/* xxh3 of the node's raw canonical bytes; part of its name */
};

struct bw_producer_entry {
	char name[BW_NAME_MAX + 1];
	uint64_t epoch;			/* 0: registered, never taken */
	uint8_t owner[16];		/* random per incarnation; zeros while epoch is 0 */
	uint64_t next;			/* seq to commit next */
	uint64_t last_step;		/* of seq next-1; valid when next > 0 */
	int64_t last_ms;		/* commit time of that */
	uint64_t last_version;
	/* The state committed last, and with which seq; a batch without one keeps the state before it. */
	bool has_state;
	uint64_t state_seq;
	uint64_t state_epoch, state_nonce;	/* name the state object when it is not inline */
	uint32_t state_len;
	uint64_t state_xxh3;
	uint8_t *state;			/* owned, [state_len]; NULL when it is in an object */
};

struct bw_marker {
	uint64_t step;
	char *text;			/* owned; "" when there is none */
};

struct bw_job {
	char name[BW_NAME_MAX + 1];
	uint32_t markers_n;
	struct bw_marker *markers;	/* owned, ascending */
};

enum bw_change_kind {
	BW_CHANGE_REGISTER,	/* producer: make it known; no effect when it is */
	BW_CHANGE_FENCE,	/* producer: epoch + 1, new owner */
	BW_CHANGE_APPEND,	/* producer: one TGB takes the next step */
	BW_CHANGE_JOB,
	BW_CHANGE_UNJOB,
	BW_CHANGE_MARK,
	BW_CHANGE_UNMARK,
	BW_CHANGE_TRIM,		/* no operand: apply computes first from jobs, markers, keep, margin */
	BW_CHANGE_SWEEP,	/* everything below `step` is deleted: swept = step */
	BW_CHANGE_SEAL,
};

/* One operation.  Which fields count depends on kind; the rest is zero. */
struct bw_change {
	enum bw_change_kind kind;
	char name[BW_NAME_MAX + 1];	/* producer or job */
	uint8_t owner[16];		/* FENCE: the new owner; APPEND: who appends */
	uint64_t epoch;			/* APPEND: the epoch its object was uploaded in */
	uint64_t seq, nonce;		/* APPEND */
	uint64_t size, raw;		/* APPEND: of the object; of its slices */
	uint32_t footer_len;		/* APPEND */
	uint64_t footer_xxh3;		/* APPEND */
	uint8_t *footer;		/* APPEND: owned, [footer_len]; NULL: not at hand.  Goes into the root's footers */
	bool has_state;			/* APPEND */
	uint32_t state_len;		/* APPEND */
	uint64_t state_xxh3;		/* APPEND */
	uint8_t *state;			/* APPEND: owned, inline; NULL: in the object of that name */
	uint64_t step;			/* MARK, UNMARK, SWEEP */
	char *text;			/* MARK: owned; NULL keeps the text of a marker that is there */
	bool only_there;		/* MARK: -ENOENT for a marker that is not there; not encoded */
	uint64_t trim_most;		/* TRIM: -EAGAIN where first would go beyond it, 0: wherever it goes; not encoded */
};
void bw_change_done(struct bw_change *c);
int bw_change_copy(struct bw_change *to, const struct bw_change *from) bw_must_check;

/* The footer of one of the steps that this version committed. */
struct bw_root_footer {
	uint64_t step;
	uint32_t len;
	uint8_t *bytes;			/* owned, [len] */
};

struct bw_root {
	atomic_uint refs;
	uint64_t version;
	uint8_t stream_id[16];
	uint8_t commit_id[16];		/* random: makes the bytes of each attempt unique */
	uint64_t previous_xxh3;		/* of the previous root's stored bytes; 0 at version 1 */
	uint64_t stored_xxh3;		/* of this root's own stored bytes; not encoded */
	int64_t time_ms;		/* max(previous root's, committer's clock): information */
	uint64_t first, swept, head;
	uint64_t bytes;			/* sizes of all objects of steps [0, head), summed */
	bool sealed;
	uint64_t digest;		/* running digest after entry head-1 */
	uint64_t tail_digest;		/* running digest before tail[0] */
	uint32_t changes_n;
	struct bw_change *changes;	/* owned: the operations that made this version */
	uint32_t producers_n;
	struct bw_producer_entry *producers;	/* owned, ascending by name */
	uint32_t jobs_n;
	struct bw_job *jobs;		/* owned, ascending by name */
	uint32_t tail_n;
	struct bw_entry *tail;		/* owned: steps head-tail_n .. head-1 */
	uint32_t levels_n;
	struct {
		uint32_t n;
		struct bw_pointer *pointers;	/* owned, ascending */
	} levels[BW_LEVELS_MAX];	/* [0] points to leaves */
	uint32_t footers_n;		/* those that are small; of steps that are no longer in the tail as well */
	struct bw_root_footer *footers;	/* owned, ascending */
	/* What newer releases put into a root, as canonical text that is carried through unread;
	 * owned, NULL when there is nothing.  bw_root_carry() copies it. */
	char *features_write;		/* the names in "features_write" */
	char *unknown;			/* the keys after "levels", but "footers" */
};

struct bw_root *bw_root_ref(struct bw_root *r);
void bw_root_unref(struct bw_root *r);	/* NULL is fine */

/* Version 1: empty.  The same for every process that makes it, so a torn init can be finished. */
int bw_root_first(const struct bw_stream *s, struct bw_root **ret) bw_must_check;

/* Canonical bytes, envelope included, appended to out.  -EINVAL when r breaks a rule that a decode
 * checks (root_check.h says which), -BW_E_LIMIT when it is too long. */
int bw_root_encode(const struct bw_root *r, struct bw_buf *out) bw_must_check;

/* What a superseded root is overwritten with: its version's name stays taken.  Appended to out. */
int bw_tombstone_encode(uint64_t version, struct bw_buf *out) bw_must_check;

/*
 * Checks structure, order, counts and limits, that the entries are dense up to head, and that the
 * digests agree with each other.  Sets *ret_tombstone, and no root, for a tombstone.
 * -BW_E_CORRUPT, -BW_E_FORMAT_NEWER (also: an unknown feature that readers must know), -ENOMEM.
 */
int bw_root_decode(const struct bw_stream *s, uint64_t version, const void *bytes, size_t len,
		   struct bw_root **ret, bool *ret_tombstone) bw_must_check;
/* -BW_E_FORMAT_NEWER when a newer release demands that writers know something this one does not. */
int bw_root_may_write(const struct bw_root *r) bw_must_check;

/* Copies what newer releases have put into from; to has none yet.  bw_apply() does it.  -ENOMEM. */
int bw_root_carry(struct bw_root *to, const struct bw_root *from) bw_must_check;

/* By name; borrowed from r; NULL: there is none. */
const struct bw_producer_entry *bw_root_producer(const struct bw_root *r, const char *name);
const struct bw_job *bw_root_job(const struct bw_root *r, const char *name);
/* The entry when it is in the tail, else NULL. */
const struct bw_entry *bw_root_tail_entry(const struct bw_root *r, uint64_t step);

/*
 * The sum of the inline states is below 3/4 of BW_STATES_INLINE_MAX, so there will be room for another, unless many come at once:
 * where an append is refused for that, bw_batch_state_apart().
 */
bool bw_root_state_room(const struct bw_root *r);

/* The running digest: d' = xxh3(d, canonical bytes of the entry's identity); 0 before step 0. */
uint64_t bw_digest_next(uint64_t digest, const struct bw_entry *e);
/* The running digest after entries[n - 1], from that before entries[0]. */
uint64_t bw_digest_over(uint64_t digest, const struct bw_entry *entries, uint64_t n);

#endif
