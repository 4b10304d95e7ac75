/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does a store still keep put-if-absent?  What the probe found when the stream was created may have ended since:
 * Ceph RGW ignores the condition in a bucket that has been made versioned.
 *
 * stream.json is put if-absent once more, with the bytes that were just read: a store that keeps the primitive
 * says that it is there, and one that does not is left with the same object.  The answer is waited for only at the
 * end, so that the question costs a request and no time.  Private to manifest/; one thread.
 */
#ifndef BW_MANIFEST_OPEN_KEEPS_H
#define BW_MANIFEST_OPEN_KEEPS_H

#include "store/base/sync.h"
#include "store/store.h"

struct bw_keeps {
	struct bw_op op;
	struct bw_bytes_body body;
	struct bw_mutex lock;
	struct bw_cond cond;
	bool ended;
};

/* json is borrowed, and k stays where it is, until bw_keeps_wait(), which is due. */
void bw_keeps_ask(struct bw_keeps *k, struct bw_store *store, const struct bw_blob *json,
		  int64_t deadline_ns);
/*
 * False: the store took it, so nothing would keep two writers from one version.  True also when it could not be
 * found out: not permitted, no answer, an answer that says nothing.
 */
bool bw_keeps_wait(struct bw_keeps *k) bw_must_check;

#endif
