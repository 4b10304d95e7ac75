/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A root in the making: a private copy of a base root that takes changes one by one.
 *
 * apply is this in a loop.  It stands alone so that a writer can try each queued change on what the
 * ones before it left, and leave out those that fail, at the cost of one copy.
 * Pure; private to manifest/.  Thread-safety: none.
 */
#ifndef BW_MANIFEST_APPLY_DRAFT_H
#define BW_MANIFEST_APPLY_DRAFT_H

#include "manifest/apply.h"

struct bw_draft {
	const struct bw_stream *stream;	/* borrowed */
	struct bw_root *root;		/* owned; nobody else has a reference */
	uint32_t appends_n;
	uint32_t changes_cap, tail_cap;
};

/* Copies base, without the changes that made it.  base may go away afterwards. */
int bw_draft_init(struct bw_draft *d, const struct bw_stream *s, const struct bw_root *base,
		  const struct bw_commit *commit) bw_must_check;
void bw_draft_done(struct bw_draft *d);

/* Applies c (copied) or changes nothing and says why not: what bw_change_check() returns, plus
 * -BW_E_LIMIT when the version is full. */
int bw_draft_change(struct bw_draft *d, const struct bw_change *c) bw_must_check;

/* Folds the tail and the levels, and hands the root over.  Empty drafts are refused: -EINVAL. */
int bw_draft_finish(struct bw_draft *d, struct bw_root **ret, struct bw_new_nodes *ret_nodes)
	bw_must_check;

/* What TRIM would make of first. */
uint64_t bw_trim_first(const struct bw_stream *s, const struct bw_root *r);

#endif
