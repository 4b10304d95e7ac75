/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Creating and opening a stream.  Synchronous: for commands and the start of a mount.
 */
#ifndef BW_MANIFEST_OPEN_H
#define BW_MANIFEST_OPEN_H

#include "manifest/root.h"
#include "store/store.h"

/*
 * Probes the store (put-if-absent twice, a race of 16 with one winner, range read, order of a
 * listing, read-after-write), refuses a prefix that holds other objects, then writes stream.json and
 * root 1.  An existing stream with equal options: 0 and *ret_existed; with others: -EEXIST.
 * Everything it fails for is one sentence in why.
 */
int bw_stream_create(struct bw_store *store, const struct bw_stream_options *options,
		     int64_t deadline_ns, struct bw_stream *ret, bool *ret_existed, char *why,
		     size_t why_len) bw_must_check;

/* The probe alone, for doctor.  Leaves nothing behind. */
int bw_stream_probe(struct bw_store *store, int64_t deadline_ns, char *why, size_t why_len)
	bw_must_check;

/* stream.json, then the newest root as protocol.md, "Cold open", finds it: hint, doubling, bisection.
 * No listing, no clock. */
int bw_stream_open(struct bw_store *store, int64_t deadline_ns, struct bw_stream *ret,
		   struct bw_root **ret_root, char *why, size_t why_len) bw_must_check;

/* The search of a cold open alone: also what a poller does when it meets a tombstone. */
int bw_root_newest(struct bw_store *store, const struct bw_stream *s, int64_t deadline_ns,
		   struct bw_root **ret) bw_must_check;

#endif
