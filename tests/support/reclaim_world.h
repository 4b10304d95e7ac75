/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream whose store is an array and whose clock a test sets, and collectors in it that can be stopped at any
 * request.  One thread, no I/O: fast enough to stop everywhere.
 */
#ifndef BW_TESTS_RECLAIM_WORLD_H
#define BW_TESTS_RECLAIM_WORLD_H

#include "manifest/reclaim.h"
#include "tests/support/change.h"

struct bw_world_object {
	char *key;
	struct bw_blob *blob;
	int64_t ms;
};

struct bw_world_begun {
	char *key, *id;
	int64_t ms;
};

struct bw_world {
	struct bw_stream stream;
	struct bw_root *root;	/* the newest; owned */
	struct bw_world_object *objects;	/* ascending */
	size_t n, cap;
	struct bw_world_begun *begun;	/* uploads that have not ended */
	size_t begun_n;
	enum bw_outcome begun_fails;	/* the listing of them; BW_OK: it does not */
	size_t begun_page;	/* in a page; 0: as many as are asked for */
	int64_t now_ms;
	uint64_t requests;	/* served */
	uint64_t deletes, most_deletes;	/* keys of deletes, in all and in one */
	uint64_t puts, most_puts;	/* the same */
	uint64_t commits;
	size_t most_bytes;	/* that a collector held */
	/* Deletes, or if so puts, fail with this for as many requests as there are; 0: none. */
	enum bw_outcome fault;
	unsigned faults;
	bool faulty_puts;
	/* The store does not say when anything was written, or only of the hint. */
	bool hide_times, hide_root_times;
	bool destroyed;		/* the barrier is there: whoever asks for the newest root meets it */
};

void bw_world_init(struct bw_world *w);		/* root 1, keep 2, grace 1 h */
void bw_world_copy(struct bw_world *to, const struct bw_world *from);
void bw_world_done(struct bw_world *w);

void bw_world_put(struct bw_world *w, const char *key, const void *bytes, size_t len);
const struct bw_world_object *bw_world_get(const struct bw_world *w, const char *key);	/* or NULL */
void bw_world_delete(struct bw_world *w, const char *key);
void bw_world_commit(struct bw_world *w, const struct bw_change *changes, uint32_t n);
/* Commits n batches of producer, owned by owner in epoch, from seq on; each has a data object.  states: every so
 * many has a state object as well; 0: none. */
void bw_world_append(struct bw_world *w, const char *producer, uint8_t owner, uint64_t epoch,
		     uint64_t seq, uint32_t n, uint32_t states);
void bw_world_commit_one(struct bw_world *w, struct bw_change c);
/* An upload that nothing names. */
void bw_world_upload(struct bw_world *w, enum bw_key_kind kind, const char *producer, uint64_t epoch,
		     uint64_t seq, uint64_t nonce);
/* It has not ended.  Not for worlds that are copied. */
void bw_world_begin(struct bw_world *w, const char *key, const char *id);

/*
 * 600 steps of p and 100 of q, one state for each ten or each, and what came to nothing: of p data and state of a
 * fenced epoch, data and state that lost seq 555; of p's next seq, and of r, whom nobody knows, what may come yet.
 */
void bw_world_grow(struct bw_world *w);		/* instead of init */
void bw_world_job(struct bw_world *w, const char *name, const uint64_t *markers, uint32_t n);

/* Objects of a kind. */
size_t bw_world_count(const struct bw_world *w, enum bw_key_kind kind);
/* What a reader of root lacks, which is NULL for the newest; NULL: nothing.  Each step that may be read has its data,
 * and is found through index nodes that are there; so has each producer its state; the root is no tombstone. */
const char *bw_world_missing(const struct bw_world *w, struct bw_root *root);
/* NULL: nothing is there that a reader or writer of the newest root does not need, except uploads of an epoch and
 * seq that may be committed.  Written without the rules that are under test. */
const char *bw_world_garbage(const struct bw_world *w);

struct bw_test_collector {
	struct bw_world *w;
	struct bw_reclaim *r;
	struct bw_reclaim_request q;
	struct bw_reclaim_answer a;
	struct bw_listing *listing;
	struct bw_uploads *uploads;
	enum bw_reclaim_want want;
};
void bw_test_collector_init(struct bw_test_collector *c, struct bw_world *w,
			    const struct bw_reclaim_options *options);
void bw_test_collector_done(struct bw_test_collector *c);
/* What it asks for next; bw_test_collector_serve() answers. */
enum bw_reclaim_want bw_test_collector_ask(struct bw_test_collector *c);
void bw_test_collector_serve(struct bw_test_collector *c);
/* Of a delete, and of puts, only the second half of the keys. */
void bw_test_collector_serve_half(struct bw_test_collector *c);

/* A pass to its end. */
struct bw_reclaim_report bw_world_pass(struct bw_world *w, const struct bw_reclaim_options *options);

#endif
