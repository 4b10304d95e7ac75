/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One commit, from queued changes to a known outcome for each of them.
 *
 * Does no I/O and reads no clock: the caller performs the request that bw_txn_step() asks for and
 * hands the answer back.  So one thread can simulate a thousand writers, and every crash point can be
 * visited.  docs/protocol.md draws the states.
 *
 *   BUILD -> NODES* -> PUT -> OK: DONE
 *                       | EXISTS / UNKNOWN
 *                       v
 *               same bytes, same name, until OK or EXISTS; then read the slot that was sent:
 *               our bytes: committed.  Other bytes: not committed, never will be (the name is taken):
 *               rebase on the newest root.  A tombstone: decide by the newest root's state.
 *
 * A slot is never abandoned: once a put was sent, the txn ends only when its outcome is known.
 * Thread-safety: none; one owner at a time.
 */
#ifndef BW_MANIFEST_TXN_H
#define BW_MANIFEST_TXN_H

#include "manifest/apply.h"
#include "store/store.h"

enum bw_txn_want {
	BW_TXN_PUT,	/* put key with bytes, if_absent; then step with the outcome */
	BW_TXN_GET,	/* get key whole; then step with outcome and blob */
	BW_TXN_REFRESH,	/* bring the newest root; step with it.  Older than the slot is asked again */
	BW_TXN_FIND,	/* find the entry of a step in the newest root; step with it */
	BW_TXN_SLEEP,	/* wait; then step with nothing */
	BW_TXN_DONE,	/* every change has its result */
};

/* What came of one change. */
struct bw_txn_change {
	struct bw_change change;	/* owned */
	void *ctx;			/* the caller's */
	bool settled;
	int err;			/* 0 committed; -BW_E_FENCED ...; -BW_E_UNKNOWN: read next */
	uint64_t step;			/* APPEND committed: the step it got */
	uint64_t version;		/* committed: in which version */
	uint64_t epoch;			/* FENCE committed: the new epoch */
	bool held;			/* private: waits for others of this txn to be committed */
};

struct bw_txn;

struct bw_txn_answer {
	enum bw_outcome outcome;	/* PUT, GET, FIND (OK or not).  PUT of a root NOT_FOUND: the stream is gone */
	struct bw_blob *blob;		/* GET OK: borrowed */
	struct bw_root *root;		/* REFRESH OK: borrowed */
	int err;			/* REFRESH not OK: why, negative */
	const struct bw_entry *entry;	/* FIND OK: borrowed */
};

struct bw_txn_request {
	char key[BW_KEY_MAX + 1];
	const void *bytes;	/* PUT: borrowed from the txn until the next step */
	size_t len;
	bool look;		/* PUT: nobody reads it before the commit, so EXISTS is looked into: not there
				 * is UNKNOWN */
	uint64_t max;		/* GET: longest object to accept */
	uint64_t step;		/* FIND */
	unsigned conflicts;	/* SLEEP: lost this many slots in a row (0: an ambiguous answer) */
	unsigned tries;		/* SLEEP: of the same request so far */
};

/* Refs s's lifetime to the caller.  base is ref'ed. */
int bw_txn_new(const struct bw_stream *s, struct bw_root *base, struct bw_txn **ret) bw_must_check;
void bw_txn_free(struct bw_txn *t);	/* legal in every state; NULL is fine */

/* Takes *c (its buffers), also when it fails.  Before the first step only. */
int bw_txn_add(struct bw_txn *t, struct bw_change *c, void *ctx) bw_must_check;
size_t bw_txn_n(const struct bw_txn *t);
struct bw_txn_change *bw_txn_at(struct bw_txn *t, size_t i);

/*
 * clock_ms and commit_id feed the next build; a fresh random id each call.  last answers the request
 * before; it is not looked at in the first step and after a SLEEP.
 */
enum bw_txn_want bw_txn_step(struct bw_txn *t, const struct bw_txn_answer *last, int64_t clock_ms,
			     const uint8_t commit_id[16], struct bw_txn_request *ret);

/* The newest root this txn has made or seen; borrowed. */
struct bw_root *bw_txn_root(const struct bw_txn *t);
/* A put was sent and its outcome is not known yet. */
bool bw_txn_in_doubt(const struct bw_txn *t);
unsigned bw_txn_attempts(const struct bw_txn *t);

#endif
