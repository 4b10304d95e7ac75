/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Death before and after every single store operation of batches as a mount makes them (S2, P4, I8, I9):
 * a data object, a state that rides in the root or is an object of its own, the take-over from a
 * mount that held the producer, and a commit that folds a leaf and a node of the level above.
 */
#include "manifest/batch.h"
#include "manifest/open.h"
#include "manifest/open_search.h"
#include "store/base/hash.h"
#include "tests/support/death.h"
#include "tests/support/mount.h"
#include "tests/support/sample.h"
#include "tests/support/stores.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RANKS 2
/* Of "alpha" and "beta" in turn, before: three batches later a level of the index is full, and a node is made. */
#define STEPS ((BW_LEVEL_FOLD - 1) * BW_LEAF_ENTRIES + BW_TAIL_FOLD - 3)
#define BATCHES 4

/* The state of every other batch is too long for the root. */
static size_t state_of(uint64_t seq, uint8_t state[2000])
{
	memset(state, (int)(seq % 251), 2000);
	return seq % 2 ? 2000 : 100;
}

/* ---- The stream before ---------------------------------------------------------------------------- */

/* Test data needs no fsync. */
static void put_file(const char *dir, const char *key, const void *bytes, size_t len)
{
	char path[2 * BW_TMPDIR_MAX + BW_KEY_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, key);
	for (char *p = path + strlen(dir) + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		mkdir(path, 0755);
		*p = '/';
	}
	FILE *f = fopen(path, "we");

	cr_assert(f && fwrite(bytes, 1, len, f) == len && !fclose(f), "%s", path);
}

struct before {
	struct bw_sample sample;
	const char *dir;
};

static void folded(void *ctx, unsigned level, const struct bw_pointer *p, const struct bw_buf *bytes)
{
	struct before *b = ctx;
	char key[BW_KEY_MAX + 1];

	bw_key_node(&b->sample.stream, level, p->first, p->last, p->hash, key);
	put_file(b->dir, key, bytes->bytes, bytes->len);
}

static void prepare(const char *dir)
{
	bw_auto_buf struct bw_buf json = {.max = 0}, root = {.max = 0};
	struct before b = {.dir = dir};
	char key[BW_KEY_MAX + 1], hint[BW_HINT_MAX];

	bw_sample_init(&b.sample, RANKS);
	b.sample.folded = folded;
	b.sample.ctx = &b;
	bw_sample_grow(&b.sample, STEPS);
	bw_buf_init(&json, BW_STREAM_JSON_MAX);
	bw_buf_init(&root, 2 * BW_ROOT_RAW_MAX);
	cr_assert(!bw_stream_encode(&b.sample.stream, &json) &&
		  !bw_root_encode(b.sample.root, &root));
	put_file(dir, BW_STREAM_KEY, json.bytes, json.len);
	bw_key_root(&b.sample.stream, b.sample.root->version, key);
	put_file(dir, key, root.bytes, root.len);
	bw_key_hint(&b.sample.stream, key);
	put_file(dir, key, hint, bw_hint_print(b.sample.root->version, hint));
	cr_assert_eq(b.sample.root->levels[0].n, BW_LEVEL_FOLD - 1);
	bw_sample_done(&b.sample);
}

/* ---- A producer ------------------------------------------------------------------------------------- */

static int commit_one(struct bw_test_mount *m, uint64_t epoch, uint64_t seq, uint64_t *ret_step)
{
	struct bw_bytes_body bodies[RANKS];
	struct bw_body *slices[RANKS];
	struct bw_txn_change result;
	struct bw_batch *batch;
	struct bw_change c;
	uint8_t state[2000];
	char text[RANKS][32];

	for (int r = 0; r < RANKS; r++) {
		int len = snprintf(text[r], sizeof(text[r]), "alpha %lu %d", (unsigned long)seq, r);

		bw_bytes_body_init(&bodies[r], text[r], (size_t)len);
		slices[r] = &bodies[r].body;
	}
	int err = bw_batch_build(&m->stream, "alpha", epoch, seq, slices, NULL, &batch);

	if (err)
		return err;
	err = bw_batch_set_state(batch, state, state_of(seq, state), true);
	if (!err)
		err = bw_batch_upload_sync(batch, m->store, BW_NEVER);
	if (!err)
		err = bw_batch_change(batch, bw_committer_owner(m->committer), &c);
	bw_batch_free(batch);
	if (err)
		return err;
	err = bw_committer_sync(m->committer, &c, BW_NEVER, &result);
	bw_change_done(&c);
	*ret_step = result.step;
	return err;
}

/* Takes it from whoever has it, and commits from next on until there are so many. */
static int produce(struct bw_test_mount *m, uint64_t until, int fd)
{
	struct bw_producer_entry p;
	int err = bw_committer_take(m->committer, "alpha", BW_NEVER, &p);

	for (uint64_t seq = p.next; !err && seq < until; seq++) {
		uint64_t line[2] = {seq, 0};

		err = commit_one(m, p.epoch, seq, &line[1]);
		if (!err && fd >= 0 && write(fd, line, sizeof(line)) != (ssize_t)sizeof(line))
			_exit(2);
	}
	return err;
}

#define FIRST ((STEPS + 1) / 2)	/* alpha's next before */

static void child(const char *dir, uint64_t nth, enum bw_fault kind, int fd)
{
	struct bw_test_mount m;
	struct bw_test_death d;

	if (bw_test_mount_open(&m, bw_test_deadly_store(dir, &d, nth, kind)) || produce(&m, FIRST + BATCHES, fd))
		_exit(2);
	bw_test_mount_close(&m);
	_exit(0);
}

/* ---- After ------------------------------------------------------------------------------------------ */

/* The state in the root is that of seq next - 1, and its object, if it has one, is there (I8, I9). */
static void check_state(struct bw_test_mount *m, const struct bw_producer_entry *p)
{
	uint8_t state[2000];
	size_t len = state_of(p->state_seq, state);
	char key[BW_KEY_MAX + 1];

	cr_assert_eq(p->state_seq, p->next - 1);
	cr_assert_eq(p->state_len, len);
	cr_assert_eq(p->state_xxh3, bw_xxh3(state, len));
	cr_assert_eq(!p->state, len > BW_STATE_INLINE_MAX);
	if (p->state) {
		cr_assert_arr_eq(p->state, state, len);
		return;
	}
	bw_key_state(&m->stream, p->name, p->state_epoch, p->state_seq, p->state_nonce, key);
	cr_assert(bw_test_holds(m->store, key, state, len), "%s", key);
}

static void check_step(struct bw_test_mount *m, uint64_t step, uint64_t seq)
{
	char key[BW_KEY_MAX + 1];
	struct bw_entry e;
	struct bw_blob *b;

	cr_assert_eq(bw_head_find_sync(m->head, step, BW_NEVER, &e), 0, "step %lu",
		     (unsigned long)step);
	cr_assert(e.step == step && e.seq == seq && !strcmp(e.producer, "alpha"));
	bw_key_data(&m->stream, e.producer, e.epoch, e.seq, e.nonce, key);
	cr_assert_eq(bw_test_get(m->store, key, &b), BW_OK, "%s", key);
	cr_assert_eq(b->len, e.size);
	cr_assert_eq(bw_tgb_sum(b->bytes + e.size - e.footer_len, e.footer_len), e.footer_xxh3);
	bw_blob_unref(b);
}

static uint64_t check_newest(struct bw_test_mount *m)
{
	struct bw_root *root;

	cr_assert_eq(bw_head_refresh(m->head, BW_NEVER, &root), 0);
	const struct bw_producer_entry *p = bw_root_producer(root, "alpha");
	uint64_t n = root->head - STEPS;

	cr_assert_eq(p->next, FIRST + n);
	if (n)
		check_state(m, p);
	cr_assert_eq(root->levels_n, n >= 3 ? 2 : 1);
	for (uint64_t i = 0; i < n; i++)
		check_step(m, STEPS + i, FIRST + i);
	/* What was there before is, through whatever nodes lead there now. */
	for (uint64_t step = 0; step < STEPS; step += 997) {
		struct bw_entry e;

		cr_assert_eq(bw_head_find_sync(m->head, step, BW_NEVER, &e), 0);
		cr_assert(e.step == step && e.seq == step / 2);
	}
	bw_root_unref(root);
	return n;
}

static void check_after(const char *dir, int fd)
{
	struct bw_test_mount m;
	struct bw_store *file;
	uint64_t line[2], told = 0;

	cr_assert_eq(bw_store_file_new(dir, true, 2, &file), 0);
	cr_assert_eq(bw_test_mount_open(&m, file), 0);
	uint64_t n = check_newest(&m);

	while (read(fd, line, sizeof(line)) == (ssize_t)sizeof(line)) {
		cr_assert(line[0] == FIRST + told && line[1] == STEPS + told);
		told++;
	}
	cr_assert_leq(told, n, "an acknowledged batch is lost");
	cr_assert_leq(n, told + 1, "more than one commit that nobody was told of");
	cr_assert_eq(produce(&m, FIRST + BATCHES, -1), 0);
	cr_assert_eq(check_newest(&m), BATCHES);
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
		child(dir, nth, kind, fd[1]);
	}
	close(fd[1]);
	int code = bw_test_death_wait(pid);

	check_after(dir, fd[0]);
	close(fd[0]);
	bw_test_rmtree(dir);
	return code;
}

static void until_it_lives(enum bw_fault kind)
{
	uint64_t nth = 0;

	while (produce_and_die(nth, kind) == BW_TEST_DIED)
		nth++;
	/* Open: 5; fence; data, root, and state of every other batch; a leaf and a node. */
	cr_assert_geq(nth, 5 + 1 + 2 * BATCHES + BATCHES / 2 + 2, "only %lu deaths",
		      (unsigned long)nth);
}

Test(crash_state, dies_before, .timeout = 240)
{
	until_it_lives(BW_FAULT_DIE_BEFORE);
}

Test(crash_state, dies_after, .timeout = 240)
{
	until_it_lives(BW_FAULT_DIE_AFTER);
}
