/* SPDX-License-Identifier: Apache-2.0 */
/* Streams in a store with a history, written without the code that is under test. */
#ifndef BW_TESTS_HISTORY_H
#define BW_TESTS_HISTORY_H

#include "manifest/stream.h"
#include "store/store.h"
#include "tests/support/change.h"

/* A store that passes everything on, counts gets, and lets a test hold or change answers. */
struct bw_test_tap {
	struct bw_store store;		/* first */
	atomic_uint_fast64_t gets, puts;
	/* May change the request before it goes down.  NULL: nothing.  True: the op is kept, and the
	 * test submits it to store.next later. */
	bool (*_Atomic on_submit)(struct bw_test_tap *tap, struct bw_op *op);
	void *ctx;
};
/* Takes below.  Freed by bw_store_free(). */
struct bw_test_tap *bw_test_tap_new(struct bw_store *below);

/* A second way to a store, which freeing it does not free: for several mounts on one store. */
struct bw_store *bw_test_way_new(struct bw_store *to);

/* Writes stream.json and root 1; *ret_root is what a reader would have. */
void bw_test_create(struct bw_store *s, struct bw_stream *stream, struct bw_root **ret_root);
/* Commits on top of *root, nodes and root object, and replaces *root.  Aborts when the slot is taken. */
void bw_test_commit(struct bw_store *s, const struct bw_stream *stream, struct bw_root **root,
		    const struct bw_change *changes, uint32_t n);
/* Overwrites a version with a tombstone. */
void bw_test_bury(struct bw_store *s, const struct bw_stream *stream, uint64_t version);
/* Puts r as it is, whatever it says. */
void bw_test_put_root(struct bw_store *s, const struct bw_stream *stream, const struct bw_root *r);

#endif
