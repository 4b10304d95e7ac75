/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store and a clock in one thread, for simulating many writers from one seed.
 *
 * Time is virtual: events run in order of their time, and nothing else happens.  A request is split
 * into the moment it takes effect in the store and the moment its answer arrives, and the faults of
 * the network are what can happen to these two: neither, one without the other, the effect long
 * after the answer, the effect twice.
 */
#ifndef BW_TESTS_SIM_H
#define BW_TESTS_SIM_H

#include "manifest/root.h"
#include "store/base/rand.h"
#include "store/store.h"

#include <stdio.h>

#define BW_SIM_HOUR UINT64_C(3600000)	/* time is in milliseconds */

struct bw_sim;

/* What can happen to a request; bits, so that a failing run can be shrunk to those that matter. */
enum bw_sim_fault {
	BW_SIM_REFUSED = 1,	/* 503, full, denied, no connection: not applied, and the client is told */
	BW_SIM_LOST_REPLY = 2,	/* applied, then a timeout, reset or 500 */
	BW_SIM_LATE = 4,	/* a timeout, and applied up to an hour after it */
	BW_SIM_NEVER = 8,	/* a timeout, and never applied */
	BW_SIM_TWICE = 16,	/* applied, and once more long after the answer */
	BW_SIM_REPEATED = 32,	/* applied twice, and the second answer counts */
	BW_SIM_CONFLICT = 64,	/* 409 instead of 412: taken, and the client learns nothing */
	BW_SIM_STOPPED = 128,	/* the answer waits, up to an hour: SIGSTOP, or a stalled body */
	BW_SIM_FLIPPED = 256,	/* a bit of what is read, or its end is missing */
	BW_SIM_UNREADABLE = 512,	/* a read fails */
	BW_SIM_ALL_FAULTS = 1023,
};

/* What a request is about; answered by sim->answer. */
struct bw_sim_op {
	enum { BW_SIM_PUT, BW_SIM_GET, BW_SIM_NEWEST, BW_SIM_FIND, BW_SIM_WAKE, BW_SIM_LIST, BW_SIM_DELETE } kind;
	int who;
	uint64_t token;		/* the caller's, to tell its requests from older ones */
	char key[BW_KEY_MAX + 1];
	uint64_t step;		/* FIND */
	bool over;		/* PUT: whether the name is taken or not */
	char after[BW_KEY_MAX + 1];	/* LIST: only keys above; key is the prefix */
	size_t max;		/* LIST: keys in the page */
	char **keys;		/* DELETE: owned */
	size_t keys_n;
	/* The answer. */
	enum bw_outcome outcome;
	struct bw_blob *blob;	/* GET OK */
	int64_t modified_ms;	/* GET OK */
	struct bw_listing *listing;	/* LIST OK */
	struct bw_root *root;	/* NEWEST OK */
	struct bw_entry entry;	/* FIND OK */
	/* Private. */
	struct bw_blob *bytes;
	unsigned refs;
	bool fixed;		/* the outcome does not depend on the effect */
};

struct bw_sim_object {
	uint64_t hash;		/* of key */
	char *key;
	struct bw_blob *blob;
	uint64_t made;		/* when it was put last */
};

struct bw_sim_event {
	uint64_t at, order;
	enum { BW_SIM_EFFECT, BW_SIM_ANSWER } what;
	struct bw_sim_op *op;
};

struct bw_sim {
	const struct bw_stream *stream;
	struct bw_rng rng;
	char root_prefix[BW_KEY_MAX + 1];	/* of the keys of roots */
	size_t root_prefix_len;
	uint64_t now, order;
	double faults;		/* the chance that a request meets one */
	unsigned kinds;		/* of faults; 0 is all */
	FILE *trace;		/* NULL: none */
	struct bw_sim_op *current;	/* whose event runs */
	struct bw_sim_event *events;	/* heap */
	size_t events_n, events_cap;
	struct bw_sim_object *objects;	/* all but roots */
	size_t objects_n;
	/* [newest + 1]: what was put at each version (owned), and what is there now. */
	struct bw_root **roots;
	struct bw_blob **slots;
	uint64_t *made;		/* when what is there now was put */
	uint64_t *created_at;	/* when it was put first */
	uint64_t newest;
	/* A root was put, for the first time: it may be looked at, and the oracle judges it. */
	void (*created)(struct bw_sim *sim, struct bw_root *root);
	void (*answer)(struct bw_sim *sim, struct bw_sim_op *op);
	/* A version whose name was free again was put for the second time: NULL is an abort. */
	void (*recreated)(struct bw_sim *sim, uint64_t version);
	/* An object is about to be deleted, a version about to be overwritten by what is no root.  May be NULL. */
	void (*deleting)(struct bw_sim *sim, const struct bw_sim_object *object);
	void (*burying)(struct bw_sim *sim, uint64_t version);
	void *ctx;
};

void bw_sim_init(struct bw_sim *sim, const struct bw_stream *stream, uint64_t seed);
void bw_sim_done(struct bw_sim *sim);
/* Puts r and its nodes, if any, by hand. */
void bw_sim_put_root(struct bw_sim *sim, const struct bw_root *r);
void bw_sim_put_node(struct bw_sim *sim, const char *key, const void *bytes, size_t len);
bool bw_sim_has(const struct bw_sim *sim, const char *key);
/* Replaces a version by a tombstone, as a collector would. */
void bw_sim_bury(struct bw_sim *sim, uint64_t version);
/* Deletes it, which no collector may do: its name is free. */
void bw_sim_delete(struct bw_sim *sim, uint64_t version);

/* bytes: for PUT, copied. */
void bw_sim_put(struct bw_sim *sim, int who, uint64_t token, const char *key, const void *bytes,
		size_t len);
/* The same, in the place of what is there. */
void bw_sim_put_over(struct bw_sim *sim, int who, uint64_t token, const char *key, const void *bytes,
		     size_t len);
void bw_sim_get(struct bw_sim *sim, int who, uint64_t token, const char *key);
void bw_sim_list(struct bw_sim *sim, int who, uint64_t token, const char *prefix, const char *after,
		 size_t max);
/* keys: copied. */
void bw_sim_delete_many(struct bw_sim *sim, int who, uint64_t token, const char *const *keys, size_t n);
/* The store's clock. */
int64_t bw_sim_wall_ms(uint64_t at);
void bw_sim_newest(struct bw_sim *sim, int who, uint64_t token);
void bw_sim_find(struct bw_sim *sim, int who, uint64_t token, uint64_t step);
void bw_sim_wake(struct bw_sim *sim, int who, uint64_t token, uint64_t after);

/* Runs the next event; false when there is none. */
bool bw_sim_run(struct bw_sim *sim);
/* A number in [0, n), and true with this chance. */
uint64_t bw_sim_roll(struct bw_sim *sim, uint64_t n);
bool bw_sim_chance(struct bw_sim *sim, double p);

#endif
