/* SPDX-License-Identifier: Apache-2.0 */
/* Many writers of one name at the same time, through every address of the store: one may win. */
#include "manifest/probe_priv.h"

#include "store/base/sync.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RACERS 16

struct race {
	struct bw_mutex lock;
	struct bw_cond cond;
	unsigned left;
	char name[16], key[BW_KEY_MAX + 1];
	struct racer {
		struct bw_op op;
		struct bw_bytes_body body;
		char bytes[24];
	} racers[RACERS];
};

static void racer_done(struct bw_op *op)
{
	struct race *r = op->ctx;

	BW_LOCK_SCOPE(&r->lock);
	if (--r->left == 0)
		bw_cond_signal(&r->cond);
}

static void run(struct bw_probe *p, struct race *r, unsigned nth)
{
	snprintf(r->name, sizeof(r->name), "race-%u", nth);
	bw_probe_key(p, r->name, r->key);
	r->left = RACERS;
	for (int i = 0; i < RACERS; i++) {
		struct racer *one = &r->racers[i];

		snprintf(one->bytes, sizeof(one->bytes), "racer %d", i);
		bw_bytes_body_init(&one->body, one->bytes, strlen(one->bytes));
		bw_op_put(&one->op, r->key, &one->body.body, true);
		one->op.deadline_ns = p->io.deadline_ns;
		one->op.done = racer_done;
		one->op.ctx = r;
	}
	for (unsigned i = 0; i < RACERS; i++)
		bw_store_submit(bw_probe_way(p, i % (p->config->ways_n + 1)), &r->racers[i].op);
	bw_lock(&r->lock);
	while (r->left)
		bw_cond_wait(&r->cond, &r->lock);
	bw_unlock(&r->lock);
}

/* Nobody was told that they won: that is in order only when somebody was told nothing. */
static int judge_without_winner(struct bw_probe *p, struct race *r)
{
	bw_auto_blob struct bw_blob *blob = NULL;
	const struct racer *lost = NULL, *failed = NULL;
	int err = bw_io_get(&p->io, r->key, 4096, &blob);

	if (err && err != -ENOENT)
		return bw_probe_fail(p, err, "cannot read from the store");
	for (int i = 0; i < RACERS; i++) {
		const struct racer *one = &r->racers[i];
		bool mine = blob && blob->len == strlen(one->bytes) &&
			    memcmp(blob->bytes, one->bytes, blob->len) == 0;

		if (mine && one->op.outcome == BW_UNKNOWN)
			return 0;
		if (one->op.outcome == BW_EXISTS)
			lost = one;
		else
			failed = one;
	}
	if (blob)
		return bw_probe_refuse(p, "a put-if-absent that it refused was carried out");
	if (lost)
		return bw_probe_refuse(p, "of many put-if-absent of one name none succeeds");
	/* Without a loser all have failed. */
	memcpy(p->io.detail, failed->op.detail, sizeof(p->io.detail));
	return bw_probe_fail(p, bw_op_err(&failed->op), "cannot write to the store");
}

static int judge(struct bw_probe *p, struct race *r)
{
	const struct racer *winner = NULL;

	for (int i = 0; i < RACERS; i++) {
		if (r->racers[i].op.outcome != BW_OK)
			continue;
		if (winner)
			return bw_probe_refuse(p, "of many put-if-absent of one name more than one succeeds");
		winner = &r->racers[i];
	}
	if (!winner)
		return judge_without_winner(p, r);
	return bw_probe_expect(p, r->name, winner->bytes,
			       "a put-if-absent that lost a race replaces the winner");
}

int bw_probe_race(struct bw_probe *p)
{
	struct race *r = calloc(1, sizeof(*r));
	int err = 0;

	if (!r)
		return bw_probe_fail(p, -ENOMEM, "cannot probe the store");
	bw_mutex_init(&r->lock, BW_RANK_LEAF);
	bw_cond_init(&r->cond);
	for (unsigned nth = 0; nth < BW_PROBE_RACES && !err; nth++) {
		run(p, r, nth);
		err = judge(p, r);
		for (int i = 0; i < RACERS; i++)
			bw_op_done(&r->racers[i].op);
	}
	bw_cond_done(&r->cond);
	bw_mutex_done(&r->lock);
	free(r);
	return err;
}
