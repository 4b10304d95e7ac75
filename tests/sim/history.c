/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_history: what a commit and a cold open cost after 10^3 .. 10^6 versions.
 *
 *   sim_history [--producers N] [--batches N (a version)] [--versions N] [--seed N]
 * Every version is made by the real apply; around each mark the roots are encoded and decoded by the
 * real codec, and every request has the latency of S3 Standard.  One CSV row a mark.
 */
#include "manifest/apply.h"
#include "manifest/open_search.h"
#include "store/base/clock.h"
#include "tests/sim/world_priv.h"
#include "tests/support/change.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WINDOW 512u	/* versions before a mark that are looked at */

struct history {
	struct world w;		/* for its latencies */
	struct bw_root *root;
	uint32_t producers, batches;
	uint64_t seqs;		/* batches so far */
	double bytes, bytes_max, node_bytes, requests, build_us, seconds[WINDOW];
	uint32_t seen;
};

static void name_of(uint64_t who, char *name, size_t size)
{
	snprintf(name, size, "producer-%04lu", (unsigned long)who);
}

static uint32_t changes(struct history *h, struct bw_change *c)
{
	uint32_t n = h->root->version == 1 ? h->producers : h->batches;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t who = h->root->version == 1 ? i : h->seqs % h->producers;
		char name[32];

		name_of(who, name, sizeof(name));
		if (h->root->version == 1) {
			c[i] = bw_test_fence(name, 1);
			continue;
		}
		c[i] = bw_test_append(name, 1, 1, h->seqs++ / h->producers,
				      bw_rng_next(&h->w.rng));
		c[i].size = 60000000 + bw_rng_below(&h->w.rng, 8000000);
		c[i].raw = c[i].size - 20000;
		c[i].footer_len = 20000;
		c[i].footer_xxh3 = bw_rng_next(&h->w.rng);
	}
	return n;
}

/* Of this thread: whatever else the machine does is no part of a commit. */
static int64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * BW_SEC + t.tv_nsec;
}

/* What the newest version cost: nodes one after the other, then the root. */
static void look(struct history *h, const struct bw_new_nodes *nodes, int64_t build_ns)
{
	bw_auto_buf struct bw_buf bytes = {.max = 0};
	struct bw_root *again;
	bool tombstone;
	int64_t put_ns = store_models[0].put_ns, ns = 0, began_ns = cpu_ns();

	bw_buf_init(&bytes, 2 * BW_ROOT_RAW_MAX);
	world_must(!bw_root_encode(h->root, &bytes), "encode");
	world_must(!bw_root_decode(&h->w.stream, h->root->version, bytes.bytes, bytes.len, &again,
				   &tombstone), "decode");
	build_ns += cpu_ns() - began_ns;
	bw_root_unref(again);
	for (uint32_t i = 0; i < nodes->n; i++) {
		ns += world_latency(&h->w, NULL, put_ns, nodes->nodes[i].bytes.len);
		h->node_bytes += (double)nodes->nodes[i].bytes.len;
	}
	ns += world_latency(&h->w, NULL, put_ns, bytes.len);
	h->bytes += (double)bytes.len;
	h->bytes_max = (double)bytes.len > h->bytes_max ? (double)bytes.len : h->bytes_max;
	h->requests += 1 + nodes->n + (h->root->version % BW_HINT_EVERY == 0);
	h->build_us += (double)build_ns / 1000;
	h->seconds[h->seen++] = (double)(ns + build_ns) / 1e9;
}

static void advance(struct history *h, bool watch)
{
	struct bw_commit commit = {.time_ms = h->root->time_ms + 100};
	struct bw_change c[BW_CHANGES_MAX];
	struct bw_new_nodes nodes = {0};
	struct bw_root *next;
	uint64_t random = bw_rng_next(&h->w.rng);
	uint32_t n = changes(h, c);
	int64_t began_ns = cpu_ns();

	memcpy(commit.id, &random, 8);
	random = bw_rng_next(&h->w.rng);
	memcpy(commit.id + 8, &random, 8);
	world_must(!bw_apply(&h->w.stream, h->root, c, n, &commit, &next, &nodes), "apply");
	next->stored_xxh3 = random;	/* as if it had been stored: as long, and as random */
	bw_root_unref(h->root);
	h->root = next;
	if (watch)
		look(h, &nodes, cpu_ns() - began_ns);
	bw_new_nodes_done(&nodes);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* stream.json, hint, then probes from the hint; the newest is up to 63 versions above it. */
static void cold_open(struct history *h, double *ret_requests, double *ret_seconds)
{
	const struct store_model *s = &store_models[0];
	double requests = 0, seconds = 0, bytes = h->bytes / h->seen;

	for (uint64_t k = 0; k < BW_HINT_EVERY; k++) {
		uint64_t newest = h->root->version / BW_HINT_EVERY * BW_HINT_EVERY + k, v;
		struct bw_search search;

		bw_search_cold(&search, newest - k ? newest - k : 1);
		requests += 2;
		seconds += 2 * (double)s->get_ns / 1e9;
		while ((v = bw_search_next(&search))) {
			int64_t ns = world_latency(&h->w, NULL, v > newest ? s->miss_ns : s->get_ns,
						   v > newest ? 0 : (size_t)bytes);

			bw_search_saw(&search, v, v <= newest);
			requests += 1;
			seconds += (double)ns / 1e9;
		}
		world_must(search.low == newest, "a search that finds another version");
	}
	*ret_requests = requests / BW_HINT_EVERY;
	*ret_seconds = seconds / BW_HINT_EVERY;
}

/* Gets of nodes for the entry of a step, averaged over all steps, nothing cached. */
static double lookups(const struct bw_root *r)
{
	double sum = 0;

	for (unsigned l = 0; l < r->levels_n; l++)
		for (uint32_t i = 0; i < r->levels[l].n; i++)
			sum += (double)(l + 1) * (double)(r->levels[l].pointers[i].last -
							  r->levels[l].pointers[i].first + 1);
	return sum / (double)r->head;
}

static void mark(struct history *h)
{
	double open_requests, open_s, n = h->seen;
	uint32_t pointers = 0;

	for (unsigned l = 0; l < h->root->levels_n; l++)
		pointers += h->root->levels[l].n;
	cold_open(h, &open_requests, &open_s);
	qsort(h->seconds, h->seen, sizeof(*h->seconds), by_value);
	printf("%lu,%lu,%u,%.0f,%.0f,%.1f,%.4f,%.4f,%.4f,%.1f,%.2f,%.4f,%.3f,%u\n",
	       (unsigned long)h->root->version, (unsigned long)h->root->head, h->producers,
	       h->bytes / n, h->bytes_max, h->node_bytes / n, h->requests / n,
	       h->seconds[h->seen / 2], h->seconds[h->seen * 99 / 100], h->build_us / n,
	       open_requests, open_s, lookups(h->root), pointers);
	fflush(stdout);
	h->seen = 0;
	h->bytes = h->bytes_max = h->node_bytes = h->requests = h->build_us = 0;
}

int main(int argc, char **argv)
{
	static struct history h = {.producers = 64, .batches = 1};
	uint64_t versions = 1000000, seed = 1;

	for (int i = 1; i + 1 < argc; i += 2) {
		uint64_t v = strtoull(argv[i + 1], NULL, 10);

		if (!strcmp(argv[i], "--producers"))
			h.producers = (uint32_t)v;
		else if (!strcmp(argv[i], "--batches"))
			h.batches = (uint32_t)v;
		else if (!strcmp(argv[i], "--versions"))
			versions = v;
		else if (!strcmp(argv[i], "--seed"))
			seed = v;
		else
			return 2;
	}
	h.w.load.store = &store_models[0];
	bw_rng_init(&h.w.rng, seed);
	bw_test_stream(&h.w.stream, 8);
	world_must(!bw_root_first(&h.w.stream, &h.root), "first root");
	printf("version,steps,producers,root_bytes,root_bytes_max,node_bytes,requests,commit_p50,"
	       "commit_p99,build_us,open_requests,open_s,lookup_gets,pointers\n");
	for (uint64_t at = 1000; at <= versions; at *= 10)
		while (h.root->version < at) {
			advance(&h, h.root->version + WINDOW >= at);
			if (h.root->version == at)
				mark(&h);
		}
	bw_root_unref(h.root);
	return 0;
}
