/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Destroying a stream, by a process that dies before or after each of its store operations, under a reader who has the
 * stream open: nobody reads wrong bytes, then or later; a second run brings it to its end; and the place is as good as new.
 */
#include "manifest/destroy.h"
#include "manifest/key.h"
#include "manifest/open.h"
#include "store/base/rand.h"
#include "tests/support/death.h"
#include "tests/support/mount.h"
#include "tests/support/stores.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEPS 300u	/* a leaf is folded */
#define STORED 20u	/* every so many steps has an object, the others never had one */

static size_t bytes_of(uint64_t step, char bytes[32])
{
	return (size_t)snprintf(bytes, 32, "the bytes of step %lu", (unsigned long)step);
}

static void prepare(const char *dir)
{
	struct bw_store *store = bw_test_plain_store(dir);
	struct bw_change *c = calloc(STEPS, sizeof(*c));
	char key[BW_KEY_MAX + 1], bytes[32];
	struct bw_root *root;
	struct bw_stream s;

	bw_test_create(store, &s, &root);
	c[0] = bw_test_fence("p", 9);
	bw_test_commit(store, &s, &root, c, 1);
	for (uint32_t i = 0; i < STEPS; i++) {
		c[i] = bw_test_append("p", 9, 1, i, i);
		bw_key_data(&s, "p", 1, i, i, key);
		if (i % STORED == 0)
			cr_assert_eq(bw_test_put(store, key, bytes, bytes_of(i, bytes), true), BW_OK);
	}
	bw_test_commit(store, &s, &root, c, BW_APPENDS_MAX);
	bw_test_commit(store, &s, &root, c + BW_APPENDS_MAX, STEPS - BW_APPENDS_MAX);
	cr_assert_gt(root->levels_n, 0);
	bw_test_bury(store, &s, 2);
	bw_key_hint(&s, key);
	cr_assert_eq(bw_test_put(store, key, "3\n", 2, false), BW_OK);
	bw_key_state(&s, "p", 1, 299, 299, key);
	cr_assert_eq(bw_test_put(store, key, "state", 5, true), BW_OK);
	bw_root_unref(root);
	bw_store_free(store);
	free(c);
}

static int destroy(struct bw_store *store)
{
	struct bw_destroy_report r;
	struct bw_stream s;
	char id[33], why[512];

	bw_test_stream(&s, 4);
	bw_hex(s.id, sizeof(s.id), id);
	const struct bw_destroy d = {.store = store, .id = id, .op_ns = 30 * BW_SEC};

	return bw_stream_destroy(&d, &r, why, sizeof(why));
}

/* Begins when something comes through the gate. */
static void child(const char *dir, int gate, uint64_t nth, enum bw_fault kind)
{
	struct bw_test_death d;
	char go;

	if (read(gate, &go, 1) != 1)
		_exit(2);
	struct bw_store *store = bw_test_deadly_store(dir, &d, nth, kind);
	int err = destroy(store);

	bw_store_free(store);
	_exit(err ? 2 : 0);
}

/* ---- What is read ----------------------------------------------------------------------------- */

/* How many of the steps that have an object can be read; what is read is what was committed. */
static unsigned read_steps(struct bw_test_mount *m, uint64_t nth)
{
	char key[BW_KEY_MAX + 1], bytes[32];
	struct bw_blob *blob = NULL;
	struct bw_entry e;
	unsigned n = 0;

	for (uint64_t step = 0; step < STEPS; step += STORED) {
		if (bw_head_find_sync(m->head, step, BW_NEVER, &e))
			continue;
		cr_assert(e.step == step && e.seq == step && e.nonce == step, "step %lu is another after death at %lu",
			  (unsigned long)step, (unsigned long)nth);
		bw_key_data(&m->stream, e.producer, e.epoch, e.seq, e.nonce, key);
		if (bw_test_get(m->store, key, &blob) != BW_OK)
			continue;
		size_t len = bytes_of(step, bytes);

		cr_assert(blob->len == len && !memcmp(blob->bytes, bytes, len), "step %lu after death at %lu",
			  (unsigned long)step, (unsigned long)nth);
		bw_blob_unref(blob);
		n++;
	}
	return n;
}

/* Who had it open knows no older stream than he did, nor a step too many. */
static void check_warm(struct bw_test_mount *m, uint64_t nth)
{
	struct bw_root *root = NULL;
	int err = bw_head_refresh(m->head, bw_now() + 60 * BW_SEC, &root);

	cr_assert(!err || err == -BW_E_DESTROYED, "after death at %lu: %d", (unsigned long)nth, err);
	cr_assert(err || root->head == STEPS);
	bw_root_unref(root);
	read_steps(m, nth);
}

static void check_cold(const char *dir, uint64_t nth)
{
	struct bw_test_mount m;
	int err = bw_test_mount_open(&m, bw_test_plain_store(dir));

	cr_assert(!err || err == -BW_E_DESTROYED || err == -BW_E_NO_STREAM, "after death at %lu: %d", (unsigned long)nth,
		  err);
	if (err)
		return;
	cr_assert_eq(read_steps(&m, nth), STEPS / STORED, "opened after death at %lu, and it is not whole", (unsigned long)nth);
	bw_test_mount_close(&m);
}

/* ---- And afterwards --------------------------------------------------------------------------- */

static void check_ends(struct bw_store *store, uint64_t nth)
{
	struct bw_op op;
	int err = destroy(store);

	cr_assert(!err || err == -BW_E_NO_STREAM, "cannot be gone on with after death at %lu: %d", (unsigned long)nth, err);
	bw_op_list(&op, "", "", 10);
	cr_assert_eq(bw_store_sync(store, &op), BW_OK);
	cr_assert_eq(op.listing->n, 0, "after death at %lu", (unsigned long)nth);
	bw_op_done(&op);
}

static void check_anew(const char *dir, struct bw_test_mount *old, uint64_t nth)
{
	struct bw_stream_options options = old->stream.options;
	struct bw_store *store = bw_test_plain_store(dir);
	struct bw_producer_entry p;
	struct bw_txn_change result;
	struct bw_test_mount m;
	struct bw_stream s;
	struct bw_entry e;
	char key[BW_KEY_MAX + 1], why[512];
	bool existed = true;

	check_ends(store, nth);
	cr_assert_eq(bw_stream_create(store, &options, bw_now() + 60 * BW_SEC, &s, &existed, why, sizeof(why)), 0, "%s", why);
	cr_assert_not(existed);
	bw_key_data(&s, "p", 1, 0, 0, key);
	cr_assert_eq(bw_test_put(store, key, "anew", 4, true), BW_OK);
	cr_assert_eq(bw_test_mount_open(&m, store), 0);
	cr_assert_eq(bw_committer_take(m.committer, "p", BW_NEVER, &p), 0);
	struct bw_change append = bw_test_mount_append(&m, "p", 1, 0, 0);

	cr_assert_eq(bw_committer_sync(m.committer, &append, BW_NEVER, &result), 0);
	cr_assert_eq(bw_head_find_sync(m.head, 0, BW_NEVER, &e), 0);
	cr_assert_eq(e.nonce, 0);
	cr_assert(bw_test_holds(m.store, key, "anew", 4));
	check_warm(old, nth);
	cr_assert_eq(read_steps(old, nth), 0, "of the new stream, after death at %lu", (unsigned long)nth);
	bw_test_mount_close(&m);
}

/* ---- Each operation --------------------------------------------------------------------------- */

static int destroy_and_die(const char *base, uint64_t nth, enum bw_fault kind)
{
	char dir[BW_TMPDIR_MAX];
	struct bw_test_mount warm;
	int gate[2];

	bw_test_copy_dir(base, dir);
	cr_assert_eq(pipe(gate), 0);
	pid_t pid = fork();	/* before this process has threads */

	if (!pid)
		child(dir, gate[0], nth, kind);
	cr_assert_eq(bw_test_mount_open(&warm, bw_test_plain_store(dir)), 0);
	cr_assert_eq(write(gate[1], "", 1), 1);
	int code = bw_test_death_wait(pid);

	close(gate[0]);
	close(gate[1]);
	check_warm(&warm, nth);
	check_cold(dir, nth);
	check_anew(dir, &warm, nth);
	bw_test_mount_close(&warm);
	bw_test_rmtree(dir);
	return code;
}

static void until_it_lives(enum bw_fault kind)
{
	uint64_t deaths = bw_test_deaths(prepare, destroy_and_die, kind);

	cr_assert_geq(deaths, 20, "only %lu deaths", (unsigned long)deaths);
}

Test(crash_destroy, dies_before_each_operation, .timeout = 200)
{
	until_it_lives(BW_FAULT_DIE_BEFORE);
}

Test(crash_destroy, dies_after_each_operation, .timeout = 200)
{
	until_it_lives(BW_FAULT_DIE_AFTER);
}
