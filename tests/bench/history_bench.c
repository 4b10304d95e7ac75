/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What commits and cold opens cost along a real history: one batch a version, by the committer of a mount.
 *
 *   history_bench URL VERSIONS        URL: a new stream (batchweave init URL --ranks 1), file:// or s3://
 *
 * At 10^3, 10^4 ... versions a CSV row: bytes of the root in the store (mean of the last 512), requests and bytes of
 * puts a commit, commit time p50 and p99 (ms, from queued to acknowledged), requests and time of a cold open,
 * gets and time of a cold look-up of a random step.  Data objects are not written: they are the same for all.
 */
#include "store/base/clock.h"
#include "store/base/rand.h"
#include "store/stats.h"
#include "manifest/open.h"
#include "tests/support/mount.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW 512u
#define PRODUCERS 64u
#define OPENS 20u
#define LOOKUPS 50u

struct bench {
	struct bw_url url;
	struct bw_store_stats stats;
	struct bw_test_mount mount;
	struct bw_producer_entry producers[PRODUCERS];
	struct bw_rng rng;
	uint64_t n;			/* batches */
	double ms[WINDOW];
	uint64_t requests, bytes;	/* at the begin of the window */
};

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "history_bench: %s\n", what);
	exit(1);
}

static struct bw_store *store_of(struct bench *b)
{
	struct bw_store_config config = {.stats = &b->stats};
	struct bw_store *store;
	char why[256];

	must(!bw_store_open(&b->url, &config, &store, why, sizeof(why)), why);
	return store;
}

static void take_all(struct bench *b)
{
	for (uint32_t i = 0; i < PRODUCERS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "producer-%02u", i);
		must(!bw_committer_take(b->mount.committer, name, BW_NEVER, &b->producers[i]), "take");
		memcpy(b->producers[i].name, name, strlen(name) + 1);
	}
}

static double commit_one(struct bench *b)
{
	struct bw_producer_entry *p = &b->producers[b->n++ % PRODUCERS];
	struct bw_change c = bw_test_mount_append(&b->mount, p->name, p->epoch, p->next++,
						  bw_rng_next(&b->rng));
	struct bw_txn_change result;

	c.size = 60000000 + bw_rng_below(&b->rng, 8000000);
	c.raw = c.size - 20000;
	c.footer_len = 20000;
	c.footer_xxh3 = bw_rng_next(&b->rng);
	int64_t began_ns = bw_now();

	must(!bw_committer_sync(b->mount.committer, &c, BW_NEVER, &result), "commit");
	return (double)(bw_now() - began_ns) / 1e6;
}

static void cold_opens(struct bench *b, double *ret_requests, double *ret_ms)
{
	uint64_t before = bw_stats_all(&b->stats);
	int64_t ns = 0;

	for (uint32_t i = 0; i < OPENS; i++) {
		struct bw_store *store = store_of(b);
		int64_t began_ns = bw_now();
		struct bw_stream stream;
		struct bw_root *root;
		char why[256];

		must(!bw_stream_open(store, BW_NEVER, &stream, &root, why, sizeof(why)), why);
		ns += bw_now() - began_ns;
		bw_root_unref(root);
		bw_store_free(store);
	}
	*ret_requests = (double)(bw_stats_all(&b->stats) - before) / OPENS;
	*ret_ms = (double)ns / 1e6 / OPENS;
}

/* Each with nothing cached. */
static void lookups(struct bench *b, double *ret_gets, double *ret_ms)
{
	uint64_t gets = 0;
	int64_t ns = 0;

	for (uint32_t i = 0; i < LOOKUPS; i++) {
		struct bw_test_mount m;
		struct bw_entry e;

		must(!bw_test_mount_open(&m, store_of(b)), "open");
		uint64_t step = bw_rng_below(&b->rng, b->n);
		uint64_t before = bw_stats_requests(&b->stats, BW_OP_GET);
		int64_t began_ns = bw_now();

		must(!bw_head_find_sync(m.head, step, BW_NEVER, &e), "look-up");
		ns += bw_now() - began_ns;
		gets += bw_stats_requests(&b->stats, BW_OP_GET) - before;
		bw_test_mount_close(&m);
	}
	*ret_gets = (double)gets / LOOKUPS;
	*ret_ms = (double)ns / 1e6 / LOOKUPS;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double root_bytes(struct bench *b)
{
	struct bw_root *root = bw_head_root(b->mount.head);
	uint64_t newest = root->version;
	double sum = 0;

	bw_root_unref(root);
	for (uint64_t v = newest - WINDOW + 1; v <= newest; v++) {
		char key[BW_KEY_MAX + 1];
		struct bw_op op;

		bw_key_root(&b->mount.stream, v, key);
		bw_op_get_all(&op, key, 2 * BW_ROOT_RAW_MAX);
		must(bw_store_sync(b->mount.store, &op) == BW_OK, "get of a root");
		sum += (double)op.blob->len;
		bw_op_done(&op);
	}
	return sum / WINDOW;
}

static void mark(struct bench *b)
{
	double requests = (double)(bw_stats_all(&b->stats) - b->requests) / WINDOW;
	double bytes = (double)(atomic_load(&b->stats.bytes_out) - b->bytes) / WINDOW;
	double opens, open_ms, gets, find_ms;

	qsort(b->ms, WINDOW, sizeof(*b->ms), by_value);
	double root = root_bytes(b);

	cold_opens(b, &opens, &open_ms);
	lookups(b, &gets, &find_ms);
	printf("%lu,%.0f,%.4f,%.0f,%.2f,%.2f,%.1f,%.2f,%.2f,%.2f\n", (unsigned long)b->n, root,
	       requests, bytes, b->ms[WINDOW / 2], b->ms[WINDOW * 99 / 100], opens, open_ms, gets,
	       find_ms);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static struct bench b;
	char why[256];

	must(argc == 3, "usage: history_bench URL VERSIONS");
	uint64_t versions = strtoull(argv[2], NULL, 10);

	must(!bw_url_parse(argv[1], &b.url, why, sizeof(why)), why);
	bw_rng_init(&b.rng, 1);
	must(!bw_test_mount_open(&b.mount, store_of(&b)), "open");
	take_all(&b);
	printf("versions,root_bytes,requests,put_bytes,commit_p50_ms,commit_p99_ms,open_requests,"
	       "open_ms,lookup_gets,lookup_ms\n");
	for (uint64_t at = 1000; at <= versions; at *= 10) {
		while (b.n < at) {
			if (at - b.n == WINDOW) {
				b.requests = bw_stats_all(&b.stats);
				b.bytes = atomic_load(&b.stats.bytes_out);
			}
			double ms = commit_one(&b);

			if (at - b.n < WINDOW)
				b.ms[at - b.n] = ms;
		}
		mark(&b);
	}
	bw_test_mount_close(&b.mount);
	return 0;
}
