/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of fsck: findings (fsck_note.c), requests (fsck_io.c), versions (fsck_roots.c), the index
 * (fsck_walk.c), listings (fsck_objects.c), states and hint (fsck_states.c), blocks (fsck_data.c).
 * Private to those.
 *
 * Functions return 0 or what ends the run: -ECANCELED, an error of the store, -ENOMEM.  What is wrong
 * with the stream is a finding and no error.
 */
#ifndef BW_MANIFEST_FSCK_PRIV_H
#define BW_MANIFEST_FSCK_PRIV_H

#include "manifest/fsck.h"
#include "manifest/fsck_table.h"
#include "manifest/index.h"
#include "store/base/sync.h"

#define FSCK_READS 3	/* of an object that came damaged: it may have been damaged on the way */
#define FSCK_HOLES_MAX 256u

/* Of one producer, in what is indexed. */
struct fsck_place {
	bool known;		/* next is set: the seq that must follow */
	bool seen;		/* some entry was its */
	uint64_t next, epoch, last_step;
	uint64_t first_seq;	/* of its first live entry; valid when seen */
};

struct fsck {
	struct bw_store *store;			/* borrowed */
	const struct bw_fsck_options *o;	/* borrowed */
	struct bw_fsck_report *report;		/* under note_lock while there are lanes */
	struct bw_mutex note_lock;
	struct bw_stream stream;
	struct bw_root *root;			/* owned: everything is held against it */
	struct bw_mutex io_lock;		/* requests, latest, failed */
	struct bw_cond io_cond;
	struct bw_root *latest;			/* owned: the newest known; judges what is missing */
	int64_t patience_ns;			/* with one request */
	int64_t refreshed_ns;			/* when the search began that found latest */
	int64_t listed_ns;			/* when the page of a listing came that is being read */
	char failed[BW_KEY_MAX + 32];		/* the request that ended the run, "get of KEY"; "" for none */
	char failed_detail[BW_DETAIL_MAX + 1];	/* what the store said of it */
	struct fsck_place *places;		/* [root->producers_n] */
	struct {
		uint64_t first, last;
	} holes[FSCK_HOLES_MAX];		/* steps whose entries cannot be read, rising */
	unsigned holes_n;
	struct fsck_table data, nodes;		/* of this part of the live steps */
	uint64_t part, parts;
	uint64_t *bad;				/* steps with a finding about their object */
	size_t bad_n, bad_cap;
};

/* ---- Findings --------------------------------------------------------------------------------- */

/* No steps. */
#define FSCK_NONE 1, 0
/* Adds a finding.  key may be "".  Steps are put before the text, a key is part of it.  Any thread. */
int fsck_note(struct fsck *f, enum bw_fsck_check check, uint64_t first, uint64_t last,
	      const char *key, const char *fmt, ...) bw_printf_like(6, 7) bw_must_check;
void fsck_did(struct fsck *f, uint64_t n);
void fsck_phase(struct fsck *f, const char *what, const char *unit, uint64_t total);
#define BW_FSCK_BAD_MAX (1u << 20)
/* As many as BW_FSCK_BAD_MAX; the others get a second look. */
int fsck_bad_add(struct fsck *f, uint64_t step) bw_must_check;
void fsck_bad_sort(struct fsck *f);	/* between the last add and the first has */
bool fsck_bad_has(const struct fsck *f, uint64_t step);

/* ---- Requests --------------------------------------------------------------------------------- */

bool fsck_stopped(const struct fsck *f);
/* Submits and waits.  0, -ENOENT, -BW_E_CORRUPT (wrong length) or what ends the run. */
int fsck_run(struct fsck *f, struct bw_op *op) bw_must_check;
/* A whole object of at most max bytes; the same. */
int fsck_get(struct fsck *f, const char *key, uint64_t max, struct bw_blob **ret) bw_must_check;
/* Ends the run: err is no answer about an object. */
bool fsck_fatal(int err);

/* What a request is about, kept beside it. */
struct fsck_tag {
	int64_t answered_ns;		/* set by the pop: when its answer came */
	uint64_t version;		/* of a root */
	bool buried;			/* which a tombstone has by the size that was listed */
	unsigned level;			/* of a node */
	struct bw_pointer pointer;
	struct bw_entry entry;
	const struct bw_producer_entry *producer;	/* of a state; borrowed */
};
/* Gets that are sent ahead and taken in the order they were sent. */
struct fsck_slot {
	struct bw_op op;
	struct fsck *f;
	bool ended;			/* under io_lock */
	int64_t ended_ns;
	uint64_t bytes;
	struct fsck_tag tag;
};
struct fsck_ahead {
	struct fsck *f;
	unsigned at, n;
	uint64_t bytes;
	struct fsck_slot slots[BW_FSCK_AHEAD];
};
int fsck_ahead_new(struct fsck *f, struct fsck_ahead **ret) bw_must_check;
/* Cancels what is under way.  NULL is fine. */
void fsck_ahead_free(struct fsck_ahead *a);
/* Is there room for an object of so many bytes? */
bool fsck_ahead_room(const struct fsck_ahead *a, uint64_t bytes);
/* length BW_TO_END: the whole, at most bytes.  tag is copied. */
void fsck_ahead_push(struct fsck_ahead *a, const char *key, uint64_t offset, uint64_t length,
		     uint64_t bytes, const struct fsck_tag *tag);
/* The oldest: -ENOENT, -BW_E_CORRUPT or what ends the run.  key and tag may be NULL.  n must not be 0. */
int fsck_ahead_pop(struct fsck_ahead *a, struct fsck_tag *ret_tag, char *ret_key,
		   struct bw_blob **ret) bw_must_check;

/* Lists what lies above `after` with this prefix; each() may end it with an error, or 1 for enough. */
int fsck_list(struct fsck *f, const char *prefix, const char *after,
	      int (*each)(struct fsck *f, void *ctx, const char *key, uint64_t size), void *ctx)
	bw_must_check;

/* Finds the newest root, unless that was done by a search that began after since_ns: it is at least as new as
 * whatever was answered then.  Any thread. */
int fsck_refresh(struct fsck *f, int64_t since_ns) bw_must_check;
/* After fsck_refresh(): steps below it are reclaimed. */
uint64_t fsck_latest_first(struct fsck *f);
/* Reads a version: a value of enum bw_version_is, -BW_E_CORRUPT, -BW_E_FORMAT_NEWER, or what ends the run. */
int fsck_version(struct fsck *f, uint64_t version, struct bw_root **ret) bw_must_check;
/* The cold open.  *ret_damaged: with -BW_E_CORRUPT, -BW_E_FORMAT_NEWER the version that could not be read. */
int fsck_cold(struct fsck *f, uint64_t hint, struct bw_root **ret, uint64_t *ret_damaged)
	bw_must_check;

/* ---- The parts -------------------------------------------------------------------------------- */

/* Finds root; leaves it NULL when there is none to be found, which is a finding. */
int fsck_newest(struct fsck *f) bw_must_check;
int fsck_history(struct fsck *f) bw_must_check;

/* Every entry from root->first on, in order; where the index cannot be read they are left out. */
struct fsck_visit {
	int (*entry)(struct fsck *f, void *ctx, const struct bw_entry *e);
	/* A node that has live steps; may be NULL. */
	int (*node)(struct fsck *f, void *ctx, unsigned level, const struct bw_pointer *p);
	/* Does anybody care about these steps?  NULL: yes. */
	bool (*wants)(struct fsck *f, void *ctx, uint64_t first, uint64_t last);
	bool judge;		/* the first walk: what is wrong is a finding */
	void *ctx;
};
int fsck_walk(struct fsck *f, const struct fsck_visit *visit) bw_must_check;
bool fsck_in_hole(const struct fsck *f, uint64_t first, uint64_t last);

int fsck_objects(struct fsck *f) bw_must_check;
int fsck_states(struct fsck *f) bw_must_check;
int fsck_hint(struct fsck *f) bw_must_check;
int fsck_data(struct fsck *f) bw_must_check;

#endif
