/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply: the one function that says what a commit does.  (root at v, changes) -> root at v+1.
 *
 * Pure: no clock, no I/O, no randomness.  Writers use it to build what they put, readers to re-check
 * what they got (bw_apply_check), simulator and fsck to follow the history.
 */
#ifndef BW_MANIFEST_APPLY_H
#define BW_MANIFEST_APPLY_H

#include "manifest/index.h"
#include "manifest/root.h"

/* Index nodes that must be durable before the root that names them is sent. */
struct bw_new_node {
	unsigned level;
	struct bw_pointer pointer;
	struct bw_buf bytes;		/* owned */
};
struct bw_new_nodes {
	uint32_t n;
	struct bw_new_node *nodes;	/* owned */
};
void bw_new_nodes_done(struct bw_new_nodes *n);

/* What a commit brings besides its changes. */
struct bw_commit {
	uint8_t id[16];
	int64_t time_ms;	/* the committer's clock; the root gets max(this, previous) */
};

/*
 * Would this one change be valid on r?  0, or why not:
 *  -BW_E_FENCED     APPEND: owner or epoch is not the producer's
 *  -BW_E_SEQ_TAKEN  APPEND: seq is committed already
 *  -BW_E_SEQ_GAP    APPEND: seq is above next
 *  -BW_E_SEALED     APPEND, FENCE, on a sealed stream
 *  -BW_E_LIMIT      a limit of limits.h
 *  -BW_E_RECLAIMED  MARK below first;  -EINVAL MARK beyond head, bad names, SWEEP beyond first
 *  -ENOENT          UNMARK, MARK, UNJOB of what is not there;  -ENOTEMPTY UNJOB with markers
 *  -EAGAIN          TRIM beyond its trim_most
 */
int bw_change_check(const struct bw_stream *s, const struct bw_root *r, const struct bw_change *c)
	bw_must_check;

/*
 * Applies changes in order; all must be valid, or the first error is returned and nothing made.
 * *ret_nodes gets the nodes folded on the way (init and done by the caller).
 */
int bw_apply(const struct bw_stream *s, const struct bw_root *base, const struct bw_change *changes,
	     uint32_t n, const struct bw_commit *commit, struct bw_root **ret,
	     struct bw_new_nodes *ret_nodes) bw_must_check;

/*
 * Does next follow from base?  Adjacent versions are applied again and compared; across a gap, or where a newer release has
 * features that writers must know, the monotone fields are checked, and the digest where next's tail reaches back to base's
 * head.  0, -BW_E_CONTRADICTION (I2, I3, I14), -ENOMEM.
 */
int bw_apply_check(const struct bw_stream *s, const struct bw_root *base, const struct bw_root *next)
	bw_must_check;

#endif
