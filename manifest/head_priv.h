/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of a head: the newest root (head.c), the thread that probes (head_probe.c), the cache of
 * index nodes and look-ups through it (find.c).  Private to those three.
 *
 * Locks, outermost first: prober.lock, nodes.lock, lock.  None is held across a callback.
 */
#ifndef BW_MANIFEST_HEAD_PRIV_H
#define BW_MANIFEST_HEAD_PRIV_H

#include "manifest/follow.h"
#include "manifest/head.h"
#include "store/base/sync.h"

#define BW_HEAD_SUBSCRIBERS 8
#define BW_NODES_CACHED 256
#define BW_NODE_STORED_MAX (2 * (uint64_t)BW_NODE_RAW_MAX)

/* Fetches an object whole; waits.  0, -ENOENT or another error. */
typedef int bw_fetch(struct bw_head *h, const char *key, uint64_t max, struct bw_blob **ret);

struct bw_prober {
	struct bw_mutex lock;
	struct bw_cond cond;
	pthread_t thread;
	bool started;
	bool stopping;		/* asks fail at once */
	bool quit;		/* the thread ends */
	bool nudged;		/* a root was published: look at the asks again */
	struct bw_ask *asks;	/* who waits, in no order */
	uint64_t sent;		/* probes sent so far */
	int watchers;
	bool heard;		/* of something new, and it has not been looked at */
	int64_t follow_until_ns;
	uint64_t near;		/* who follows had come near to the newest step of this version; 0: nobody yet */
	struct bw_follow follow;
	uint64_t version;	/* known when the last round ended */
	int64_t patience_ns;	/* with one request; of the thread alone, as took_ns */
	int64_t took_ns;	/* the last probe that said NOT_FOUND */
	int64_t seen_ns;	/* bw_boottime() before the newest version of a whole stream was seen last; of the thread alone */
	bool op_done;		/* the request under way */
};

struct bw_flight;
struct bw_node_cache {
	struct bw_mutex lock;
	struct bw_cond idle;
	struct {
		struct bw_node *node;	/* owned; NULL: free */
		uint64_t hash;
		uint64_t used;		/* when, by `clock` */
	} slots[BW_NODES_CACHED];
	uint64_t clock;
	struct bw_flight *flights;
	uint64_t walks;			/* look-ups that are under way */
	bool stopping;
};

struct bw_news_item {
	struct bw_root *old, *now;	/* owned */
	struct bw_news_item *next;
};

struct bw_head {
	struct bw_store *store;		/* borrowed */
	struct bw_log *log;		/* borrowed */
	struct bw_stream stream;
	struct bw_mutex lock;
	struct bw_root *root;		/* owned */
	int poisoned;
	struct {
		bw_head_news *news;
		void *ctx;
	} subscribers[BW_HEAD_SUBSCRIBERS];
	unsigned subscribers_n;
	struct bw_news_item *news, **news_tail;
	bool telling;			/* somebody delivers news: he delivers what comes as well */
	struct bw_prober prober;
	struct bw_node_cache nodes;
};

/* Publishes; gaps are verified with nodes got by fetch. */
int bw_head_publish_by(struct bw_head *h, struct bw_root *root, bw_fetch *fetch) bw_must_check;

int bw_prober_init(struct bw_head *h, int64_t opened_ns) bw_must_check;
void bw_prober_nudge(struct bw_head *h);
void bw_prober_stop(struct bw_head *h);	/* asks fail from now on */
void bw_prober_done(struct bw_head *h);	/* joins; legal after a failed init */

void bw_nodes_init(struct bw_head *h);
void bw_nodes_done(struct bw_head *h);	/* waits for look-ups; the prober still runs */
/* The digest of all entries before step, from root's index.  step - 1 is at or above root's first. */
int bw_nodes_digest(struct bw_head *h, const struct bw_root *root, uint64_t step, bw_fetch *fetch,
		    uint64_t *ret) bw_must_check;

#endif
