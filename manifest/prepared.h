/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The next root, made and prepared in the store while the batch that it commits is still on its way there.
 *
 * A root is sent when the objects that it names are durable.  But a store may have work to do for a put that nobody sees
 * (bw_store_prepare()), and the root can be built as soon as the batch's checksums are known.  So both are done ahead, on the
 * supposition that the batch will be the next to be committed, alone, on the newest root; where that turns out otherwise all
 * of it is thrown away, and nothing has happened.
 *
 * Thread-safety: none; one owner at a time.
 */
#ifndef BW_MANIFEST_PREPARED_H
#define BW_MANIFEST_PREPARED_H

#include "manifest/txn.h"

struct bw_prepared;

/*
 * Builds the root that commits *change on base and begins to prepare its put.  NULL: it cannot be done ahead (index nodes
 * come first, the change is refused on base, memory, a store that prepares nothing).  Borrows store and s, copies the rest.
 */
struct bw_prepared *bw_prepared_new(struct bw_store *store, const struct bw_stream *s, struct bw_root *base,
				    const struct bw_change *change, int64_t clock_ms, const uint8_t commit_id[16]);
/* What it still has is dropped; NULL is fine. */
void bw_prepared_free(struct bw_prepared *p);

/* Is it what commits *change, and nothing else, on newest?  p NULL: no. */
bool bw_prepared_fits(const struct bw_prepared *p, const struct bw_root *newest, const struct bw_change *change);
/* The txn with its one change, whose first request, the put of the root, is *ret_request: the caller owns it from now on. */
struct bw_txn *bw_prepared_take(struct bw_prepared *p, struct bw_txn_request *ret_request);
/* Gives op, that put, what is prepared; once.  p stays until op is done, and where op still has an early put then, that
 * is dropped by the caller. */
void bw_prepared_arm(struct bw_prepared *p, struct bw_op *op);

#endif
