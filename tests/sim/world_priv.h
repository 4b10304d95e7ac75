/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the load simulator: world.c has the store and the clock, writer.c the client, engine.c what
 * a root is. */
#ifndef BW_TESTS_SIM_WORLD_PRIV_H
#define BW_TESTS_SIM_WORLD_PRIV_H

#include "manifest/open_search.h"
#include "manifest/txn.h"
#include "tests/sim/world.h"

enum event_kind { EVENT_ARRIVE, EVENT_EFFECT, EVENT_ANSWER, EVENT_WAKE };
enum request_kind { REQUEST_GET, REQUEST_NODE, REQUEST_ROOT };

/* What a writer is at. */
enum activity {
	IDLE,		/* nothing queued, or put off */
	LOOKING,	/* for the newest version */
	SENDING,	/* nodes, the root */
	READING,	/* the slot, back */
	SLEEPING,	/* after a lost slot */
};

struct writer {
	uint32_t who;
	double slowness;
	struct pacer pacer;
	enum activity at, was;	/* was: before a refusal */
	uint64_t token;		/* events of older tokens are void */
	uint64_t known;		/* the newest version it knows */
	/* Queue of batches by their time; a ring. */
	int64_t *queue;
	uint32_t queue_at, queued, queue_cap;
	uint32_t taken;		/* by the commit under way */
	/* The request under way. */
	enum request_kind request;
	enum bw_outcome outcome;
	uint64_t version;
	int64_t sent_ns;
	int64_t think_ns;	/* CPU before it is sent */
	unsigned refusals;	/* of it, in a row */
	/* Looking. */
	bool peek;		/* only looking: nothing is committed after it */
	bool found;		/* the linear probes hit often enough: searching */
	unsigned hits, looks;
	struct bw_search search;
	int64_t absent_ns;	/* when the probe was sent that said "not there" */
	/* The commit under way. */
	unsigned conflicts, nodes;
	bool begun;		/* the commit has been built once */
	bool refused;		/* SLEEPING because of it */
	bool ask_node;		/* what it wants put is an index node */
	bool throttled;
	uint64_t committed;
	/* Of the real engine. */
	struct bw_txn *txn;
	struct bw_txn_request ask;
	struct bw_root *view;
	uint64_t seq;
};

struct event {
	int64_t at_ns;
	uint64_t order, token;
	enum event_kind kind;
	struct writer *who;
};

struct limiter {
	double tokens;
	int64_t at_ns;
};

struct world {
	struct load load;
	struct bw_rng rng;
	int64_t now_ns, warm_ns;
	bool measuring;
	struct event *events;
	size_t events_n, events_cap;
	uint64_t order;
	struct limiter puts, gets;
	struct writer *writers;
	uint64_t newest, head;
	double newest_bytes;	/* of its root, stored */
	uint32_t tail;		/* entries in its tail */
	uint64_t *last_version;	/* [producers] */
	uint32_t committers;	/* cached for committers_at */
	uint64_t committers_at;
	/* Of the real engine: stored roots by version, the newest decoded. */
	struct bw_stream stream;
	struct bw_blob **blobs;
	uint64_t blobs_cap;
	struct bw_root *newest_root;
	/* Of the model: size of a root with tails of 0, 128, 256, and CPU for a build. */
	double sizes[3];
	int64_t build_ns;
	/* Counted while measuring. */
	uint64_t arrived, committed, commits, attempts, requests, refusals;
	double bytes_sum;
	double *samples;
	size_t samples_n, samples_cap;
};

void world_must(bool ok, const char *what);
void world_at(struct world *w, int64_t at_ns, enum event_kind kind, struct writer *who);
int64_t world_latency(struct world *w, const struct writer *who, int64_t median_ns, size_t bytes);
void world_request(struct world *w, struct writer *me, enum request_kind kind, uint64_t version);
uint32_t world_committers(struct world *w);

void writer_arrived(struct world *w, struct writer *me);
void writer_event(struct world *w, struct writer *me, enum event_kind kind);

/* What a commit makes.  begin: all producers known and taken. */
void engine_begin(struct world *w);
void engine_end(struct world *w);
/*
 * Answers the request before (me->request, me->outcome) and says what the commit wants next, as
 * bw_txn_step() does: PUT (me->ask_node tells of what), GET the slot, REFRESH, SLEEP (me->conflicts or a refusal), DONE.
 */
enum bw_txn_want engine_step(struct world *w, struct writer *me);
/* me's root was created: newest_bytes, tail. */
void engine_created(struct world *w, struct writer *me);
/* The commit is given up, or done. */
void engine_over(struct writer *me);
int64_t engine_build_ns(const struct world *w);

#endif
