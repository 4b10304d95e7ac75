/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does the store keep the promises of store.h that the commit protocol stands on?
 *
 * Asked once, when a stream is created, and by doctor.  A store that fails is refused with the rule
 * it broke: on such a store two writers would both believe that they own a version.
 */
#include "manifest/open.h"

#include "manifest/open_io.h"
#include "store/base/rand.h"
#include "store/base/sync.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RACERS 16
#define ONE "the first bytes"
#define TWO "the second bytes"

struct probe {
	struct bw_io io;
	char prefix[32];	/* "probe-<random>/" */
	char *why;
	size_t why_len;
};

static const char *const names[] = {"a", "b", "c", "race"};
#define NAMES (sizeof(names) / sizeof(names[0]))

static void key_of(const struct probe *p, const char *name, char key[BW_KEY_MAX + 1])
{
	snprintf(key, BW_KEY_MAX + 1, "%s%s", p->prefix, name);
}

static int refuse(struct probe *p, const char *rule)
{
	snprintf(p->why, p->why_len, "this store cannot hold a stream: %s", rule);
	return -EOPNOTSUPP;
}

static int fail(struct probe *p, int err, const char *what)
{
	bw_io_why(&p->io, err, what, p->why, p->why_len);
	return err;
}

static int expect_bytes(struct probe *p, const char *name, const char *bytes, const char *rule)
{
	bw_auto_blob struct bw_blob *blob = NULL;
	char key[BW_KEY_MAX + 1];

	key_of(p, name, key);
	int err = bw_io_get(&p->io, key, 4096, &blob);

	if (err == -ENOENT)
		return refuse(p, "what was written cannot be read at once");
	if (err)
		return fail(p, err, "cannot read from the store");
	if (blob->len != strlen(bytes) || memcmp(blob->bytes, bytes, blob->len) != 0)
		return refuse(p, rule);
	return 0;
}

static int probe_absent(struct probe *p)
{
	bw_auto_blob struct bw_blob *other = NULL;
	char key[BW_KEY_MAX + 1];

	key_of(p, "a", key);
	int err = bw_io_get(&p->io, key, 4096, &other);

	if (!err)
		return refuse(p, "it has an object that nobody wrote");
	if (err != -ENOENT)
		return fail(p, err, "cannot read from the store");
	err = bw_io_make(&p->io, key, ONE, strlen(ONE), &other);
	if (err)
		return fail(p, err, "cannot write to the store");
	err = bw_io_put(&p->io, key, TWO, strlen(TWO), true);
	if (!err)
		return refuse(p, "a second put-if-absent of one name succeeds");
	if (err != -EEXIST && err != -BW_E_UNKNOWN)
		return fail(p, err, "cannot write to the store");
	return expect_bytes(p, "a", ONE, "a put-if-absent replaces what is there");
}

static int probe_range(struct probe *p)
{
	char key[BW_KEY_MAX + 1];
	struct bw_op op;

	key_of(p, "a", key);
	bw_op_get(&op, key, 4, 5);
	op.deadline_ns = p->io.deadline_ns;
	bw_store_sync(p->io.store, &op);
	int err = bw_op_err(&op);

	if (err)
		err = fail(p, err, "cannot read a range from the store");
	else if (op.blob->len != 5 || memcmp(op.blob->bytes, &ONE[4], 5) != 0)
		err = refuse(p, "a read of a range brings other bytes");
	bw_op_done(&op);
	return err;
}

struct race {
	struct bw_mutex lock;
	struct bw_cond cond;
	unsigned left;
	struct racer {
		struct bw_op op;
		struct bw_bytes_body body;
		char bytes[16];
	} racers[RACERS];
};

static void racer_done(struct bw_op *op)
{
	struct race *r = op->ctx;

	BW_LOCK_SCOPE(&r->lock);
	if (--r->left == 0)
		bw_cond_signal(&r->cond);
}

static void race_run(struct probe *p, struct race *r)
{
	char key[BW_KEY_MAX + 1];

	key_of(p, "race", key);
	r->left = RACERS;
	for (int i = 0; i < RACERS; i++) {
		struct racer *one = &r->racers[i];

		snprintf(one->bytes, sizeof(one->bytes), "racer %d", i);
		bw_bytes_body_init(&one->body, one->bytes, strlen(one->bytes));
		bw_op_put(&one->op, key, &one->body.body, true);
		one->op.deadline_ns = p->io.deadline_ns;
		one->op.done = racer_done;
		one->op.ctx = r;
	}
	for (int i = 0; i < RACERS; i++)
		bw_store_submit(p->io.store, &r->racers[i].op);
	bw_lock(&r->lock);
	while (r->left)
		bw_cond_wait(&r->cond, &r->lock);
	bw_unlock(&r->lock);
}

static int race_judge(struct probe *p, struct race *r)
{
	bw_auto_blob struct bw_blob *blob = NULL;
	char key[BW_KEY_MAX + 1];
	const struct racer *winner = NULL;

	for (int i = 0; i < RACERS; i++) {
		if (r->racers[i].op.outcome != BW_OK)
			continue;
		if (winner)
			return refuse(p, "of many put-if-absent of one name more than one succeeds");
		winner = &r->racers[i];
	}
	if (winner)
		return expect_bytes(p, "race", winner->bytes,
				    "a put-if-absent that lost a race replaces the winner");
	/* All ambiguous: then some one of them must be there, or none was applied. */
	key_of(p, "race", key);
	int err = bw_io_get(&p->io, key, 4096, &blob);

	return err ? fail(p, err, "of many put-if-absent of one name none succeeds") : 0;
}

static int probe_race(struct probe *p)
{
	struct race *r = calloc(1, sizeof(*r));

	if (!r)
		return fail(p, -ENOMEM, "cannot probe the store");
	bw_mutex_init(&r->lock, BW_RANK_LEAF);
	bw_cond_init(&r->cond);
	race_run(p, r);
	int err = race_judge(p, r);

	for (int i = 0; i < RACERS; i++)
		bw_op_done(&r->racers[i].op);
	bw_cond_done(&r->cond);
	bw_mutex_done(&r->lock);
	free(r);
	return err;
}

/* One page of two keys above `after` must be exactly those of names[from], names[from + 1]. */
static int expect_page(struct probe *p, const char *after, size_t from, bool more)
{
	char key[BW_KEY_MAX + 1];
	struct bw_op op;

	bw_op_list(&op, p->prefix, after, 2);
	op.deadline_ns = p->io.deadline_ns;
	bw_store_sync(p->io.store, &op);
	int err = bw_op_err(&op);

	if (err)
		err = fail(p, err, "cannot list the store");
	else if (op.listing->n != 2)
		err = refuse(p, "a listing does not show what was just written");
	for (size_t i = 0; !err && i < 2; i++) {
		key_of(p, names[from + i], key);
		if (strcmp(op.listing->items[i].key, key) != 0)
			err = refuse(p, "a listing is not in the order of its keys");
	}
	if (!err && op.listing->more != more)
		err = refuse(p, "a page of a listing does not say whether there is more");
	bw_op_done(&op);
	return err;
}

static int probe_list(struct probe *p)
{
	char key[BW_KEY_MAX + 1];

	for (size_t i = 1; i < 3; i++) {
		bw_auto_blob struct bw_blob *other = NULL;

		key_of(p, names[3 - i], key);	/* written in falling order */
		int err = bw_io_make(&p->io, key, ONE, strlen(ONE), &other);

		if (err)
			return fail(p, err, "cannot write to the store");
	}
	int err = expect_page(p, "", 0, true);

	if (err)
		return err;
	key_of(p, names[1], key);
	return expect_page(p, key, 2, false);
}

static int delete_all(struct probe *p)
{
	char key[BW_KEY_MAX + 1];
	int first_err = 0;

	for (size_t i = 0; i < NAMES; i++) {
		struct bw_op op;

		key_of(p, names[i], key);
		bw_op_delete(&op, key);
		op.deadline_ns = p->io.deadline_ns;
		bw_store_sync(p->io.store, &op);
		int err = bw_op_err(&op);

		if (err == -ENOENT)
			err = 0;
		if (err && !first_err)
			first_err = err;
		bw_op_done(&op);
	}
	return first_err;
}

int bw_stream_probe(struct bw_store *store, int64_t deadline_ns, char *why, size_t why_len)
{
	struct probe p = {.io = {.store = store, .deadline_ns = deadline_ns},
			  .why = why,
			  .why_len = why_len};
	uint8_t random[8];
	char hex[17];

	bw_random(random, sizeof(random));
	bw_hex(random, sizeof(random), hex);
	snprintf(p.prefix, sizeof(p.prefix), "probe-%s/", hex);
	int err = probe_absent(&p);

	if (!err)
		err = probe_range(&p);
	if (!err)
		err = probe_race(&p);
	if (!err)
		err = probe_list(&p);
	int deleted = delete_all(&p);

	if (!err && deleted)
		err = fail(&p, deleted, "cannot delete from the store");
	return err;
}
