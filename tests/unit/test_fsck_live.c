/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsck beside writers, trims, a collector that deletes at once what it may, and tombstones: whatever it
 * meets on the way, it never calls a whole stream damaged.
 */
#include "manifest/fsck.h"

#include "store/base/sync.h"
#include "tests/support/stores.h"
#include "tests/support/whole.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS 120u	/* of fsck */
#define KEPT 40u	/* steps below the head that a job holds */

struct world {
	struct bw_whole w;
	atomic_bool stop;
	/* What was uploaded, by step, so that it can be deleted; a ring. */
	char (*keys)[BW_KEY_MAX + 1];
	uint64_t deleted, buried;
	atomic_uint_fast64_t rounds;
};

#define RING 4096u

static void commit_one(struct world *x, struct bw_change c)
{
	bw_whole_commit(&x->w, &c, 1);
}

static void append(struct world *x, uint32_t n, size_t state_len)
{
	uint64_t head = x->w.root->head;

	bw_whole_append(&x->w, "tok", n, state_len);
	for (uint64_t step = head; step < x->w.root->head; step++)
		bw_whole_data_key(&x->w, step, x->keys[step % RING]);
}

/* Objects first, then the sweep, then nodes; no grace at all. */
static void collect(struct world *x)
{
	char prefix[BW_KEY_MAX + 1];
	struct bw_op op;

	for (; x->deleted < x->w.root->first; x->deleted++)
		bw_whole_delete(&x->w, x->keys[x->deleted % RING]);
	commit_one(x, bw_test_step(BW_CHANGE_SWEEP, "", x->w.root->first));
	bw_key_prefix(&x->w.stream, BW_KEY_NODE, prefix);
	bw_op_list(&op, prefix, "", BW_LIST_PAGE_MAX);
	cr_assert_eq(bw_store_sync(x->w.store, &op), BW_OK);
	for (size_t i = 0; i < op.listing->n; i++)
		if (bw_key_parse(&x->w.stream, op.listing->items[i].key).last < x->w.root->swept)
			bw_whole_delete(&x->w, op.listing->items[i].key);
	bw_op_done(&op);
	while (x->buried + 4 < x->w.root->version)
		bw_test_bury(x->w.store, &x->w.stream, ++x->buried);
}

static void delete_states(struct world *x)
{
	const struct bw_producer_entry *p = bw_root_producer(x->w.root, "tok");
	char prefix[BW_KEY_MAX + 1];
	struct bw_op op;

	bw_key_prefix(&x->w.stream, BW_KEY_STATE, prefix);
	bw_op_list(&op, prefix, "", BW_LIST_PAGE_MAX);
	cr_assert_eq(bw_store_sync(x->w.store, &op), BW_OK);
	for (size_t i = 0; i < op.listing->n; i++)
		if (bw_key_parse(&x->w.stream, op.listing->items[i].key).seq != p->state_seq)
			bw_whole_delete(&x->w, op.listing->items[i].key);
	bw_op_done(&op);
}

static void *live(void *arg)
{
	struct world *x = arg;
	uint8_t owner = 1;

	while (!x->stop) {
		uint64_t head = x->w.root->head;

		if (x->rounds % 7 == 3) {
			owner = (uint8_t)(owner % 100 + 1);
			bw_whole_fence(&x->w, "tok", owner);
		}
		append(x, 1 + (uint32_t)(x->rounds * 13 % 60), x->rounds % 3 ? 0 : 900);
		delete_states(x);
		commit_one(x, bw_test_step(BW_CHANGE_MARK, "train", head));
		const struct bw_job *j = bw_root_job(x->w.root, "train");

		if (j->markers_n > 2)
			commit_one(x, bw_test_step(BW_CHANGE_UNMARK, "train", j->markers[0].step));
		commit_one(x, bw_test_change(BW_CHANGE_TRIM, ""));
		if (x->rounds % 2)
			collect(x);
		atomic_fetch_add(&x->rounds, 1);
	}
	return NULL;
}

static void run(struct bw_store *store, const char *name)
{
	struct world x = {.keys = calloc(RING, sizeof(*x.keys))};
	pthread_t writer;
	uint64_t moved = 0;

	cr_assert(x.keys);
	bw_whole_init(&x.w, store);
	bw_whole_fence(&x.w, "tok", 1);
	commit_one(&x, bw_test_change(BW_CHANGE_JOB, "train"));
	append(&x, 300, 900);
	cr_assert_eq(bw_thread_start(&writer, "live", live, &x), 0);
	for (unsigned i = 0; i < RUNS; i++) {
		struct bw_fsck_options o = {.data = i % 4 == 0, .request_ns = 60 * BW_SEC,
					    .table_bytes = i % 3 ? 0 : 2048};
		struct bw_fsck_report r;
		uint64_t before = x.rounds;

		bw_whole_fsck(store, &o, &r);
		bw_whole_tell(&r);
		moved += x.rounds != before;
		cr_assert_eq(r.findings_n, 0, "%s, run %u", name, i);
		bw_fsck_report_done(&r);
	}
	x.stop = true;
	pthread_join(writer, NULL);
	cr_expect_gt(moved, 0, "%s: nothing happened meanwhile", name);
	cr_expect_gt(x.w.root->first, 0);
	bw_whole_done(&x.w);
	free(x.keys);
}

Test(fsck_live, no_false_alarm_in_memory)
{
	struct bw_store *mem;

	cr_assert_eq(bw_store_mem_new(&mem), 0);
	run(mem, "mem");
	bw_store_free(mem);
}

Test(fsck_live, no_false_alarm_on_files)
{
	char dir[BW_TMPDIR_MAX];
	struct bw_store *files;

	bw_test_tmpdir(dir);
	cr_assert_eq(bw_store_file_new(dir, false, 4, &files), 0);
	run(files, "file");
	bw_store_free(files);
	bw_test_rmtree(dir);
}
