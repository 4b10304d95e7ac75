/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collectors that die before and after every single store operation of a real pass (C4, S2): trim, deletes, sweep,
 * tombstones, through head and committer.  A fresh one then finishes.
 */
#include "manifest/collector.h"
#include "tests/support/death.h"
#include "tests/support/mount.h"
#include "tests/support/stores.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEPS 300u	/* a leaf is folded */
#define FIRST 150u	/* released */
#define STORED 50u	/* every so many steps has an object, the others never had one */

static void put_data(struct bw_store *s, const struct bw_stream *stream, uint64_t epoch, uint64_t seq,
		     uint64_t nonce)
{
	char key[BW_KEY_MAX + 1];

	bw_key_data(stream, "p", epoch, seq, nonce, key);
	cr_assert_eq(bw_test_put(s, key, "data", 4, true), BW_OK);
}

/* Without a grace, so that one pass goes all the way. */
static void prepare(const char *dir)
{
	struct bw_store *store = bw_test_plain_store(dir);
	struct bw_change *c = calloc(STEPS + 1, sizeof(*c));
	bw_auto_buf struct bw_buf json = {.max = 0};
	struct bw_stream s;
	struct bw_root *root;

	bw_test_create(store, &s, &root);
	s.options.grace_s = 0;
	bw_buf_init(&json, BW_STREAM_JSON_MAX);
	cr_assert_eq(bw_stream_encode(&s, &json), 0);
	cr_assert_eq(bw_test_put(store, BW_STREAM_KEY, json.bytes, json.len, false), BW_OK);
	c[0] = bw_test_fence("p", 9);
	bw_test_commit(store, &s, &root, c, 1);
	for (uint32_t i = 0; i < STEPS; i++) {
		c[i] = bw_test_append("p", 9, 1, i, i);
		if (i % STORED == 0)
			put_data(store, &s, 1, i, i);
	}
	bw_test_commit(store, &s, &root, c, BW_APPENDS_MAX);
	bw_test_commit(store, &s, &root, c + BW_APPENDS_MAX, STEPS - BW_APPENDS_MAX);
	put_data(store, &s, 1, 17, 999);	/* lost its seq */
	c[0] = bw_test_change(BW_CHANGE_JOB, "j");
	c[1] = bw_test_step(BW_CHANGE_MARK, "j", FIRST);
	c[2] = bw_test_step(BW_CHANGE_MARK, "j", FIRST + 1);
	bw_test_commit(store, &s, &root, c, 3);
	bw_root_unref(root);
	bw_store_free(store);
	free(c);
}

/* The end of the pass; roots are buried at once. */
static int collect_by(struct bw_test_mount *m, struct bw_committer *committer)
{
	struct bw_collector_config config = {.store = m->store, .stream = &m->stream, .head = m->head,
					     .committer = committer};
	struct bw_reclaim_options o = {.root_kept_ms = 1};
	struct bw_reclaim_report r;
	struct bw_collector *c;

	if (bw_collector_new(&config, &c))
		return 2;
	bw_collector_pass(c, &o, BW_WALK_ALWAYS, &r);
	bw_collector_free(c);
	return r.err;
}

static int collect(struct bw_test_mount *m)
{
	return collect_by(m, m->committer);
}

static void child(const char *dir, uint64_t nth, enum bw_fault kind)
{
	struct bw_test_mount m;
	struct bw_test_death d;

	if (bw_test_mount_open(&m, bw_test_deadly_store(dir, &d, nth, kind)) || collect(&m))
		_exit(2);
	bw_test_mount_close(&m);
	_exit(0);
}

static uint64_t count(struct bw_test_mount *m, enum bw_key_kind kind)
{
	char prefix[BW_KEY_MAX + 1];
	struct bw_op op;

	bw_key_prefix(&m->stream, kind, prefix);
	bw_op_list(&op, prefix, "", BW_LIST_PAGE_MAX);
	cr_assert_eq(bw_store_sync(m->store, &op), BW_OK);
	uint64_t n = op.listing->n;

	bw_op_done(&op);
	return n;
}

static bool is_there(struct bw_test_mount *m, uint64_t step)
{
	struct bw_blob *blob = NULL;
	struct bw_entry e;
	char key[BW_KEY_MAX + 1];

	cr_assert_eq(bw_head_find_sync(m->head, step, BW_NEVER, &e), 0, "step %lu", (unsigned long)step);
	bw_key_data(&m->stream, e.producer, e.epoch, e.seq, e.nonce, key);
	bool there = bw_test_get(m->store, key, &blob) == BW_OK;

	if (there)
		bw_blob_unref(blob);
	return there;
}

static void check_live(struct bw_test_mount *m, uint64_t nth)
{
	for (uint64_t step = FIRST; step < STEPS; step += STORED)
		cr_assert(is_there(m, step), "step %lu is gone after death at %lu", (unsigned long)step,
			  (unsigned long)nth);
}

static void check_after(const char *dir, uint64_t nth)
{
	struct bw_test_mount m;

	cr_assert_eq(bw_test_mount_open(&m, bw_test_plain_store(dir)), 0, "after death at %lu",
		     (unsigned long)nth);
	check_live(&m, nth);
	cr_assert_eq(collect(&m), 0);
	check_live(&m, nth);
	struct bw_root *root = bw_head_root(m.head);

	cr_assert_eq(root->first, FIRST);
	cr_assert_eq(root->swept, FIRST);
	cr_assert_eq(count(&m, BW_KEY_DATA), (STEPS - FIRST) / STORED);
	cr_assert_eq(count(&m, BW_KEY_NODE), 0);
	cr_assert_eq(count(&m, BW_KEY_ROOT), root->version, "no name is free");
	bw_root_unref(root);
	bw_test_mount_close(&m);
}

static int collect_and_die(const char *base, uint64_t nth, enum bw_fault kind)
{
	char dir[BW_TMPDIR_MAX];

	bw_test_copy_dir(base, dir);
	pid_t pid = fork();

	if (!pid)
		child(dir, nth, kind);
	int code = bw_test_death_wait(pid);

	check_after(dir, nth);
	bw_test_rmtree(dir);
	return code;
}

static void until_it_lives(enum bw_fault kind)
{
	uint64_t deaths = bw_test_deaths(prepare, collect_and_die, kind);

	cr_assert_geq(deaths, 25, "only %lu deaths", (unsigned long)deaths);
}

Test(crash_collector, c4_dies_before_each_operation, .timeout = 200)
{
	until_it_lives(BW_FAULT_DIE_BEFORE);
}

Test(crash_collector, c4_dies_after_each_operation, .timeout = 200)
{
	until_it_lives(BW_FAULT_DIE_AFTER);
}

/* Whoever may not commit may not delete either. */
Test(crash_collector, c4_without_a_committer_nothing_is_changed)
{
	static const enum bw_key_kind kinds[] = {BW_KEY_DATA, BW_KEY_NODE, BW_KEY_ROOT};
	uint64_t before[3];
	struct bw_test_mount m;
	char dir[BW_TMPDIR_MAX];

	bw_test_tmpdir(dir);
	prepare(dir);
	cr_assert_eq(bw_test_mount_open(&m, bw_test_plain_store(dir)), 0);
	for (int i = 0; i < 3; i++)
		before[i] = count(&m, kinds[i]);
	cr_assert_eq(collect_by(&m, NULL), 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(count(&m, kinds[i]), before[i], "%s", bw_key_kind_name(kinds[i]));
	for (uint64_t step = 0; step < STEPS; step += STORED)
		cr_assert(is_there(&m, step), "step %lu", (unsigned long)step);
	bw_test_mount_close(&m);
	bw_test_rmtree(dir);
}
