/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Death before and after every single store operation of creating, taking, committing and folding
 * (S2, S3, P4): what was acknowledged is there, and a replay from `next` makes it whole, once.
 */
#include "manifest/open.h"
#include "tests/support/death.h"
#include "tests/support/mount.h"
#include "tests/support/stores.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEPS 250	/* before: six batches later a leaf is folded */
#define BATCHES 12

/* ---- Creating ------------------------------------------------------------------------------------ */

static void child_create(const char *dir, uint64_t nth, enum bw_fault kind)
{
	struct bw_store *store;
	struct bw_stream_options options;
	struct bw_stream s;
	struct bw_test_death d;
	char why[200];
	bool existed;

	store = bw_test_deadly_store(dir, &d, nth, kind);
	bw_stream_options_default(&options);
	options.ranks = 4;
	int err = bw_stream_create(store, &options, BW_NEVER, &s, &existed, why, sizeof(why));

	bw_store_free(store);
	_exit(err ? 2 : 0);
}

static int create_and_die(uint64_t nth, enum bw_fault kind)
{
	struct bw_stream_options options;
	char dir[BW_TMPDIR_MAX], why[200];
	struct bw_stream s, o;
	struct bw_root *root;
	bool existed;

	bw_test_tmpdir(dir);
	pid_t pid = fork();

	if (!pid)
		child_create(dir, nth, kind);
	int code = bw_test_death_wait(pid);
	struct bw_store *store = bw_test_plain_store(dir);

	bw_stream_options_default(&options);
	options.ranks = 4;
	cr_assert_eq(bw_stream_create(store, &options, BW_NEVER, &s, &existed, why, sizeof(why)), 0,
		     "after death at %lu: %s", (unsigned long)nth, why);
	cr_assert_eq(bw_stream_open(store, BW_NEVER, &o, &root, why, sizeof(why)), 0, "%s", why);
	cr_assert_arr_eq(s.id, o.id, sizeof(s.id));
	cr_assert_eq(root->version, 1);
	bw_root_unref(root);
	bw_store_free(store);
	bw_test_rmtree(dir);
	return code;
}

static void until_it_lives(int (*run)(uint64_t nth, enum bw_fault kind), enum bw_fault kind,
			   uint64_t least)
{
	uint64_t nth = 0;

	while (run(nth, kind) == BW_TEST_DIED)
		nth++;
	cr_assert_geq(nth, least, "only %lu deaths", (unsigned long)nth);
}

Test(crash, create_dies_before, .timeout = 120)
{
	until_it_lives(create_and_die, BW_FAULT_DIE_BEFORE, 30);
}

Test(crash, create_dies_after, .timeout = 120)
{
	until_it_lives(create_and_die, BW_FAULT_DIE_AFTER, 30);
}

/* ---- Taking, committing, folding ------------------------------------------------------------------ */

static void tell(int fd, uint64_t seq, uint64_t step)
{
	uint64_t line[2] = {seq, step};

	if (write(fd, line, sizeof(line)) != (ssize_t)sizeof(line))
		_exit(2);
}

/* Appends from next on, one by one, and tells of each acknowledgement. */
static int produce(struct bw_test_mount *m, int fd, uint64_t nonce)
{
	struct bw_producer_entry p;
	int err = bw_committer_take(m->committer, "p", BW_NEVER, &p);

	for (uint64_t seq = p.next; !err && seq < STEPS + BATCHES; seq++) {
		struct bw_change c = bw_test_mount_append(m, "p", p.epoch, seq, nonce + seq);
		struct bw_txn_change result;

		/* Every other root is prepared, or is about to be, when its batch comes. */
		if (seq % 2)
			bw_committer_expect(m->committer, &c);
		err = bw_committer_sync(m->committer, &c, BW_NEVER, &result);
		if (!err && fd >= 0)
			tell(fd, seq, result.step);
	}
	return err;
}

static void child_produce(const char *dir, uint64_t nth, enum bw_fault kind, int fd)
{
	struct bw_test_mount m;
	struct bw_test_death d;

	if (bw_test_mount_open(&m, bw_test_deadly_store(dir, &d, nth, kind)) || produce(&m, fd, 1000))
		_exit(2);
	bw_test_mount_close(&m);
	_exit(0);
}

static void prepare(const char *dir)
{
	struct bw_store *store = bw_test_plain_store(dir);
	struct bw_change *c = calloc(STEPS + 1, sizeof(*c));
	struct bw_stream s;
	struct bw_root *root;

	bw_test_create(store, &s, &root);
	c[0] = bw_test_fence("p", 9);
	for (uint64_t i = 0; i < STEPS; i++)
		c[i + 1] = bw_test_append("p", 9, 1, i, i);
	bw_test_commit(store, &s, &root, c, STEPS + 1);
	bw_root_unref(root);
	bw_store_free(store);
	free(c);
}

static void check_after(const char *dir, int fd, uint64_t nth)
{
	struct bw_test_mount m;
	struct bw_entry *entries;
	uint64_t line[2], told = 0;

	cr_assert_eq(bw_test_mount_open(&m, bw_test_plain_store(dir)), 0, "after death at %lu",
		     (unsigned long)nth);
	uint64_t n = bw_test_mount_read(&m, &entries);

	while (read(fd, line, sizeof(line)) == (ssize_t)sizeof(line)) {
		cr_assert_lt(line[1], n, "seq %lu was acknowledged and is lost",
			     (unsigned long)line[0]);
		cr_assert_eq(entries[line[1]].seq, line[0]);
		cr_assert_eq(entries[line[1]].nonce, 1000 + line[0]);
		told++;
	}
	/* At most one commit can have happened that nobody was told of. */
	cr_assert_leq(n, STEPS + told + 1);
	free(entries);
	/* Replay. */
	cr_assert_eq(produce(&m, -1, 5000), 0);
	n = bw_test_mount_read(&m, &entries);
	cr_assert_eq(n, STEPS + BATCHES);
	struct bw_root *root = bw_head_root(m.head);

	cr_assert_eq(root->levels[0].n, 1);
	bw_root_unref(root);
	free(entries);
	bw_test_mount_close(&m);
}

static int produce_and_die(uint64_t nth, enum bw_fault kind)
{
	char dir[BW_TMPDIR_MAX];
	int fd[2];

	bw_test_tmpdir(dir);
	prepare(dir);
	cr_assert_eq(pipe(fd), 0);
	pid_t pid = fork();

	if (!pid) {
		close(fd[0]);
		child_produce(dir, nth, kind, fd[1]);
	}
	close(fd[1]);
	int code = bw_test_death_wait(pid);

	check_after(dir, fd[0], nth);
	close(fd[0]);
	bw_test_rmtree(dir);
	return code;
}

Test(crash, commit_dies_before, .timeout = 120)
{
	/* open: 5; fence; batches; a leaf */
	until_it_lives(produce_and_die, BW_FAULT_DIE_BEFORE, 5 + 1 + BATCHES + 1);
}

Test(crash, commit_dies_after, .timeout = 120)
{
	until_it_lives(produce_and_die, BW_FAULT_DIE_AFTER, 5 + 1 + BATCHES + 1);
}
