/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deleting a whole stream, so that at no moment anybody takes what is left of it for a stream.
 *
 *   barrier -> data, states, index nodes, unfinished uploads -> pause -> hint -> root 1 -> other roots ->
 *   what came meanwhile -> stream.json -> barrier
 *
 * The barrier is an object in the place of the next version that asks every reader for a feature, "destroyed",
 * that none has: behind it nobody can commit, and whoever looks for the newest version, or opens the
 * stream, is told -BW_E_DESTROYED.  It is the last to go.  The hint and root 1 go before other roots because
 * searches begin there: in a chain with holes a search could end anywhere.  stream.json without a root 1 is a
 * creation that was torn only if nothing else of the stream is there (open.c), and there the barrier is.
 * Root 1 is what a writer or reader asks for that has not looked at the stream for long (committer.c, head_probe.c), and the pause is
 * for those that have just looked: so no name is free, and no commit acknowledged, on a chain that is going.
 *
 * Whatever was done before it was stopped, the same call goes on with it; once stream.json is gone, by
 * the barrier, which holds the stream's id.  Of several calls each may bring it to its end, and then anybody may make a stream
 * of his own in the place: so stream.json is read again behind the barrier, and before each request that deletes it.
 * Synchronous, one thread.
 */
#ifndef BW_MANIFEST_DESTROY_H
#define BW_MANIFEST_DESTROY_H

#include "manifest/stream.h"
#include "store/store.h"

#define BW_DESTROY_PAUSE_NS (6 * BW_SEC)
/* Who last saw the newest version so long ago asks whether the stream is still there. */
#define BW_DESTROY_UNSEEN_NS (5 * BW_SEC)
#define BW_DESTROY_NAMED 20u

struct bw_destroy {
	struct bw_store *store;	/* borrowed */
	const char *id;		/* the stream's, 32 hex digits, or it is refused; borrowed */
	int64_t op_ns;		/* of one request, at most */
	int64_t pause_ns;	/* BW_DESTROY_PAUSE_NS; less only when nobody has the stream open */
	/* Every now and then; total is a guess, 0: none.  False: stop, -ECANCELED.  May be NULL. */
	bool (*go_on)(void *ctx, uint64_t deleted, uint64_t total);
	void *ctx;
};

struct bw_destroy_report {
	uint64_t objects;	/* deleted by this call */
	uint64_t uploads;	/* aborted by it */
	int uploads_err;	/* unfinished uploads could not be listed, or aborted; 0: they could */
	unsigned left_n;	/* objects below the URL that are not of the stream, by name */
	bool left_more;		/* there are others */
	char left[BW_DESTROY_NAMED][BW_KEY_MAX + 1];
};

/*
 * 0; -BW_E_NO_STREAM; -EINVAL: the stream has another id, maybe since this began; -ECANCELED: stopped by go_on; else what the store said.  A
 * sentence in why.  *ret is written in any case.
 */
int bw_stream_destroy(const struct bw_destroy *d, struct bw_destroy_report *ret, char *why, size_t why_len)
	bw_must_check;

/* The id of the stream in a store, also of one that is being destroyed while stream.json is there. */
int bw_stream_id(struct bw_store *store, int64_t deadline_ns, char id[33], char *why, size_t why_len)
	bw_must_check;

#endif
