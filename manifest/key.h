/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an object is, told from its key: for those that walk over a stream's objects (reclaim, fsck).
 *
 * The keys are built by stream.h.  Only the one spelling that it writes is recognised, so a key that
 * parses is the key that the same numbers give back; whatever else lies there is none of ours, and
 * nothing may be concluded of it.  Pure.
 */
#ifndef BW_MANIFEST_KEY_H
#define BW_MANIFEST_KEY_H

#include "manifest/stream.h"

enum bw_key_kind {
	BW_KEY_FOREIGN,		/* not of this stream, or of no kind known to this release */
	BW_KEY_STREAM,		/* stream.json */
	BW_KEY_HINT,
	BW_KEY_ROOT,		/* a root or the tombstone in its place: version */
	BW_KEY_NODE,		/* level, first, last, hash */
	BW_KEY_DATA,		/* producer, epoch, seq, nonce */
	BW_KEY_STATE,		/* producer, epoch, seq, nonce */
};

struct bw_key {
	enum bw_key_kind kind;
	/* Which of these count depends on kind; the rest is zero. */
	char producer[BW_NAME_MAX + 1];
	uint64_t epoch, seq, nonce;
	uint64_t version;
	unsigned level;
	uint64_t first, last, hash;
};

/* What a probe of the store writes, and deletes again, before there is a stream or beside it: behind it 8 random bytes, in hex, and '/'. */
#define BW_PROBE_PREFIX "probe-"

/* Whether it is that, or was left behind by one that was killed.  Others may call what is theirs probe-something. */
bool bw_key_is_probe(const char *text);

/* text: the key below the stream's URL.  Never fails: what it does not know is BW_KEY_FOREIGN. */
struct bw_key bw_key_parse(const struct bw_stream *s, const char *text);

/* "data", "index node" ...: for people. */
const char *bw_key_kind_name(enum bw_key_kind kind);

/* The prefix of all keys of one kind, ROOT, NODE, DATA or STATE: "10111213/data/".  All of the stream's
 * but stream.json: BW_KEY_FOREIGN. */
void bw_key_prefix(const struct bw_stream *s, enum bw_key_kind kind, char prefix[BW_KEY_MAX + 1]);

#endif
