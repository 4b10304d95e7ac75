/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four mounts with threads of their own on one store that fails one request in eight: every batch
 * that was acknowledged is committed once, where it was said to be, and no other is (S1, S3, P4, I6).
 */
#include "store/base/rand.h"
#include "store/base/sync.h"
#include "tests/support/mount.h"
#include "tests/support/seed.h"
#include "tests/support/stores.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOUNTS 4
#define BATCHES 120	/* of each mount's own producer */

struct chance {
	struct bw_fault_plan plan;
	struct bw_mutex lock;
	struct bw_rng rng;
	atomic_bool quiet;
};

static enum bw_fault by_chance(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	static const enum bw_fault kinds[] = {BW_FAULT_BEFORE,	  BW_FAULT_LOST_REPLY,
					      BW_FAULT_DUPLICATE, BW_FAULT_LATE,
					      BW_FAULT_THROTTLED, BW_FAULT_FULL};
	struct chance *c = (struct chance *)plan;

	(void)nth;
	if (atomic_load(&c->quiet))
		return BW_FAULT_NONE;
	BW_LOCK_SCOPE(&c->lock);
	if (bw_rng_below(&c->rng, 8))
		return BW_FAULT_NONE;
	return kinds[bw_rng_below(&c->rng, op->kind == BW_OP_PUT ? 6 : 1)];
}

struct worker {
	struct bw_test_mount mount;
	struct chance chance;
	pthread_t thread;
	struct bw_rng rng;
	int number;
	char own[16];
	/* What was said: by nonce, which is number * 1000000 + n. */
	struct said {
		char producer[8];
		uint64_t seq, step;
		int err;
	} *said;
	uint64_t said_n;
};

/* One batch of a producer, from its next; the producer is taken when it is another's. */
static bool one_batch(struct worker *w, const char *producer)
{
	struct bw_producer_entry p;
	struct bw_txn_change result;

	if (bw_committer_take(w->mount.committer, producer, BW_NEVER, &p))
		return false;
	struct said *s = &w->said[w->said_n];
	uint64_t nonce = (uint64_t)w->number * 1000000 + w->said_n++;
	struct bw_change c = bw_test_mount_append(&w->mount, producer, p.epoch, p.next, nonce);

	*s = (struct said){.seq = p.next};
	snprintf(s->producer, sizeof(s->producer), "%s", producer);
	s->err = bw_committer_sync(w->mount.committer, &c, BW_NEVER, &result);
	s->step = result.step;
	return !s->err;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint64_t done = 0;

	for (int tries = 0; done < BATCHES && tries < 20 * BATCHES; tries++) {
		/* Now and then all of them want the same producer. */
		if (bw_rng_below(&w->rng, 10) == 0)
			one_batch(w, "shared");
		else
			done += one_batch(w, w->own);
	}
	return done == BATCHES ? NULL : w;
}

static void check_said(struct worker *w, const struct bw_entry *entries, uint64_t n, uint64_t *acked)
{
	bool *committed = calloc(w->said_n + 1, 1);

	for (uint64_t s = 0; s < n; s++)
		if (entries[s].nonce / 1000000 == (uint64_t)w->number)
			committed[entries[s].nonce % 1000000] = true;
	for (uint64_t i = 0; i < w->said_n; i++) {
		const struct said *a = &w->said[i];

		cr_assert_eq(committed[i], !a->err, "batch %lu of mount %d: said %d",
			     (unsigned long)i, w->number, a->err);
		if (a->err)
			continue;
		(*acked)++;
		cr_assert(a->step < n && entries[a->step].seq == a->seq &&
			  !strcmp(entries[a->step].producer, a->producer) &&
			  entries[a->step].nonce == (uint64_t)w->number * 1000000 + i);
	}
	free(committed);
}

static void worker_start(struct worker *w, struct bw_store *store, int number, uint64_t seed)
{
	struct bw_store *fault;

	w->number = number;
	snprintf(w->own, sizeof(w->own), "own%d", number);
	w->said = calloc(40 * BATCHES, sizeof(*w->said));
	bw_rng_init(&w->rng, seed * 31 + (uint64_t)number);
	bw_rng_init(&w->chance.rng, seed * 37 + (uint64_t)number);
	bw_mutex_init(&w->chance.lock, BW_RANK_LEAF);
	w->chance.plan = (struct bw_fault_plan){.decide = by_chance, .late_ns = 15 * BW_MS};
	atomic_store(&w->chance.quiet, true);
	cr_assert_eq(bw_filter_fault_new(bw_test_way_new(store), &w->chance.plan, &fault), 0);
	cr_assert_eq(bw_test_mount_open(&w->mount, fault), 0);
	atomic_store(&w->chance.quiet, false);
}

static void load(struct bw_store *store)
{
	struct worker *workers = calloc(MOUNTS, sizeof(*workers));
	uint64_t seed = bw_test_seed(), acked = 0;
	struct bw_test_mount reader;
	struct bw_entry *entries;
	struct bw_stream s;
	struct bw_root *root;

	fprintf(stderr, "BW_SEED=%lu\n", (unsigned long)seed);
	bw_test_create(store, &s, &root);
	bw_root_unref(root);
	for (int i = 0; i < MOUNTS; i++)
		worker_start(&workers[i], store, i, seed);
	for (int i = 0; i < MOUNTS; i++)
		cr_assert_eq(bw_thread_start(&workers[i].thread, "worker", work, &workers[i]), 0);
	for (int i = 0; i < MOUNTS; i++) {
		void *failed;

		pthread_join(workers[i].thread, &failed);
		cr_assert_null(failed, "mount %d did not get through", i);
		bw_test_mount_close(&workers[i].mount);
	}
	cr_assert_eq(bw_test_mount_open(&reader, bw_test_way_new(store)), 0);
	uint64_t n = bw_test_mount_read(&reader, &entries);

	for (int i = 0; i < MOUNTS; i++) {
		check_said(&workers[i], entries, n, &acked);
		free(workers[i].said);
	}
	cr_assert_eq(acked, n, "what is committed was acknowledged");
	cr_assert_geq(n, MOUNTS * BATCHES);
	bw_test_mount_close(&reader);
	free(entries);
	free(workers);
}

Test(load, four_mounts_on_memory, .timeout = 300)
{
	struct bw_store *store;

	cr_assert_eq(bw_store_mem_new(&store), 0);
	load(store);
	bw_store_free(store);
}

Test(load, four_mounts_on_files, .timeout = 300)
{
	char dir[BW_TMPDIR_MAX];
	struct bw_store *store;

	bw_test_tmpdir(dir);
	cr_assert_eq(bw_store_file_new(dir, true, 4, &store), 0);
	load(store);
	bw_store_free(store);
	bw_test_rmtree(dir);
}
