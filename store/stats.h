/* SPDX-License-Identifier: Apache-2.0 */
/* What filter_stats counts: requests by kind and outcome, bytes by direction, time by kind. */
#ifndef BW_STORE_STATS_H
#define BW_STORE_STATS_H

#include "store/store.h"

#include <stdatomic.h>

#define BW_STATS_KINDS (BW_OP_ABORT_UPLOAD + 1)
#define BW_STATS_OUTCOMES (BW_CANCELLED + 1)
/* Upper bounds of the time buckets, seconds; the last bucket is +Inf.  A request is in one bucket. */
#define BW_STATS_BUCKETS {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30}
#define BW_STATS_BUCKETS_N 10

/* What the filters below filter_stats do to send a request; it counts once above, whatever they do. */
struct bw_send_stats {
	atomic_uint_fast64_t repeats;	/* attempts after the first of a request */
	atomic_uint_fast64_t hedges;	/* gets sent a second time while the first was under way */
	atomic_uint_fast64_t hedges_won;	/* of them, those that were answered first */
	atomic_uint_fast64_t throttled;	/* answers that asked for fewer requests */
	atomic_uint_fast64_t rate;	/* requests per second that may be sent now; 0: no limit */
	/* See bw_stats_trouble(). */
	atomic_uint_fast64_t reads_trouble, writes_trouble;	/* wall ms of its first failure times 16 plus the outcome */
	atomic_bool reads_answered;	/* since writes_trouble began */
	atomic_int_fast64_t write_failed_ns;	/* bw_now() when the last one did */
};

struct bw_store_stats {
	atomic_uint_fast64_t requests[BW_STATS_KINDS][BW_STATS_OUTCOMES];
	atomic_uint_fast64_t bytes_in;	/* answers of gets that were OK */
	atomic_uint_fast64_t bytes_out;	/* bodies that were sent: puts that ended OK, EXISTS, UNKNOWN */
	atomic_uint_fast64_t nanoseconds[BW_STATS_KINDS];
	atomic_uint_fast64_t buckets[BW_STATS_KINDS][BW_STATS_BUCKETS_N + 1];
	struct bw_send_stats send;
};

/*
 * How the store is doing, by the last answer to anybody.  That a store has gone is seen when an op gives up or has failed
 * BW_STATS_TROUBLE_TRIES times, whichever is first: a commit is repeated for minutes.  A store that is full, or takes no puts
 * from this mount, may answer gets all the while; that trouble is over when a write is answered, or when none has failed for
 * BW_STATS_WRITES_MS, for then nobody writes.
 */
#define BW_STATS_TROUBLE_TRIES 3u
#define BW_STATS_WRITES_MS 120000
struct bw_trouble {
	enum bw_outcome outcome;	/* BW_OK: none; else BW_UNREACHABLE, BW_UNKNOWN, BW_THROTTLED, BW_DENIED or BW_FULL */
	bool writes_only;	/* reads have been answered since it began */
	int64_t since_ms;	/* wall clock, for people: nothing else has come since */
};
struct bw_trouble bw_stats_trouble(const struct bw_store_stats *s);

/* What an op, or an attempt of it, has ended with.  now_ms: wall clock. */
void bw_stats_note(struct bw_send_stats *s, enum bw_op_kind kind, enum bw_outcome outcome, int64_t now_ms);

/* Requests of one kind, whatever their outcome; for tests that count. */
uint64_t bw_stats_requests(const struct bw_store_stats *s, enum bw_op_kind kind);
uint64_t bw_stats_all(const struct bw_store_stats *s);

#endif
