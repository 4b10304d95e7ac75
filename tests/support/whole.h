/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole streams: histories whose versions name objects that are really there, so that fsck finds
 * nothing.  And what a test does to them.
 */
#ifndef BW_TESTS_WHOLE_H
#define BW_TESTS_WHOLE_H

#include "manifest/fsck.h"
#include "tests/support/history.h"

#define BW_WHOLE_RANKS 4u
#define BW_WHOLE_BLOCK 64u

struct bw_whole {
	struct bw_store *store;		/* borrowed */
	struct bw_stream stream;
	struct bw_root *root;		/* owned: the newest */
};

/* Creates a stream of 4 ranks in an empty store. */
void bw_whole_init(struct bw_whole *w, struct bw_store *store);
void bw_whole_done(struct bw_whole *w);

/*
 * Uploads a batch whose slices hold a few bytes of their own, and a state when state_len is not 0 (an
 * object when it is long).  Returns the APPEND that commits it, to be bw_change_done()d.
 */
struct bw_change bw_whole_upload(struct bw_whole *w, const char *producer, uint8_t owner, uint64_t epoch,
				 uint64_t seq, size_t state_len);
/* c's root will not bring the footer along: it is not the one that c says. */
void bw_whole_no_footer(struct bw_change *c);
/* Commits changes as one version. */
void bw_whole_commit(struct bw_whole *w, const struct bw_change *changes, uint32_t n);
/* Takes the producer for owner, in a version of its own. */
void bw_whole_fence(struct bw_whole *w, const char *producer, uint8_t owner);
/* Uploads and commits n batches of the producer by who holds it, at most 256 a version. */
void bw_whole_append(struct bw_whole *w, const char *producer, uint32_t n, size_t state_len);

/* The entry of a committed step, read from the store. */
struct bw_entry bw_whole_entry(struct bw_whole *w, uint64_t step);
void bw_whole_data_key(struct bw_whole *w, uint64_t step, char key[BW_KEY_MAX + 1]);
/* The key of the only object that contains part; aborts unless there is one. */
void bw_whole_find(struct bw_whole *w, const char *part, char key[BW_KEY_MAX + 1]);

/* Changes an object behind everybody's back. */
void bw_whole_put(struct bw_whole *w, const char *key, const void *bytes, size_t len);
void bw_whole_delete(struct bw_whole *w, const char *key);
void bw_whole_cut(struct bw_whole *w, const char *key, size_t len);	/* to len bytes */
void bw_whole_flip(struct bw_whole *w, const char *key, size_t at);	/* a bit of this byte */
void bw_whole_swap(struct bw_whole *w, const char *a, const char *b);
void bw_whole_copy(struct bw_whole *w, const char *from, const char *to);

/* Runs fsck; a test that it does not end with 0 aborts. */
void bw_whole_fsck(struct bw_store *store, const struct bw_fsck_options *o, struct bw_fsck_report *ret);
/* Prints what was found to stderr. */
void bw_whole_tell(const struct bw_fsck_report *r);

#endif
