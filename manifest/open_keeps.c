/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/open_keeps.h"

#include "manifest/open.h"
#include "manifest/stream.h"

static void on_answer(struct bw_op *op)
{
	struct bw_keeps *k = op->ctx;

	BW_LOCK_SCOPE(&k->lock);
	k->ended = true;
	bw_cond_signal(&k->cond);
}

void bw_keeps_ask(struct bw_keeps *k, struct bw_store *store, const struct bw_blob *json,
		  int64_t deadline_ns)
{
	int64_t first_ns = bw_now() + BW_FIRST_ANSWER_NS;

	bw_mutex_init(&k->lock, BW_RANK_LEAF);
	bw_cond_init(&k->cond);
	k->ended = false;
	bw_bytes_body_init(&k->body, json->bytes, json->len);
	bw_op_put(&k->op, BW_STREAM_KEY, &k->body.body, true);
	k->op.deadline_ns = first_ns < deadline_ns ? first_ns : deadline_ns;
	k->op.done = on_answer;
	k->op.ctx = k;
	bw_store_submit(store, &k->op);
}

bool bw_keeps_wait(struct bw_keeps *k)
{
	bw_lock(&k->lock);
	while (!k->ended)
		bw_cond_wait(&k->cond, &k->lock);
	bw_unlock(&k->lock);
	bool keeps = k->op.outcome != BW_OK;

	bw_op_done(&k->op);
	bw_cond_done(&k->cond);
	bw_mutex_done(&k->lock);
	return keeps;
}
