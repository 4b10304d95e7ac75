/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/holder.h"

#include <stdlib.h>
#include <string.h>

static uint64_t size_of(const struct bw_op *op)
{
	return op->kind == BW_OP_GET ? op->length == BW_TO_END ? op->max : op->length
	       : op->kind == BW_OP_PUT ? op->body->size
				       : 0;
}

static void hold(struct bw_store *s, struct bw_op *op)
{
	struct bw_holder *h = (struct bw_holder *)s;
	uint64_t bytes = 0;

	BW_LOCK_SCOPE(&h->lock);
	if (h->n == BW_HOLDER_MAX)
		abort();
	h->held[h->n++] = op;
	h->sent++;
	for (unsigned i = 0; i < h->n; i++)
		bytes += size_of(h->held[i]);
	h->most = h->n > h->most ? h->n : h->most;
	h->most_bytes = bytes > h->most_bytes ? bytes : h->most_bytes;
}

static void note_cancel(struct bw_store *s, struct bw_op *op)
{
	struct bw_holder *h = (struct bw_holder *)s;

	(void)op;
	BW_LOCK_SCOPE(&h->lock);
	h->cancels++;
}

static void run_end(struct bw_task *task)
{
	struct bw_op *op = bw_container_of(task, struct bw_op, task);

	if (op->outcome == BW_OK && op->kind == BW_OP_GET)
		op->blob = bw_blob_copy("bytes", 5);
	op->done(op);
}

static void holder_free(struct bw_store *s)
{
	struct bw_holder *h = (struct bw_holder *)s;

	bw_workq_free(h->q);
	bw_mutex_done(&h->lock);
	free(h);
}

struct bw_holder *bw_holder_new(void)
{
	static const struct bw_store_ops ops = {
		.name = "holder", .submit = hold, .cancel = note_cancel, .free = holder_free};
	struct bw_holder *h = calloc(1, sizeof(*h));

	if (!h || bw_workq_new("holder", 1, &h->q))
		abort();
	h->store.ops = &ops;
	bw_mutex_init(&h->lock, BW_RANK_STORE);
	return h;
}

unsigned bw_holder_n(struct bw_holder *h)
{
	BW_LOCK_SCOPE(&h->lock);
	return h->n;
}

unsigned bw_holder_sent(struct bw_holder *h)
{
	BW_LOCK_SCOPE(&h->lock);
	return h->sent;
}

void bw_holder_wait(struct bw_holder *h, unsigned n)
{
	while (bw_holder_n(h) != n)
		bw_sleep(BW_MS / 10);
}

void bw_holder_wait_sent(struct bw_holder *h, unsigned n)
{
	while (bw_holder_sent(h) < n)
		bw_sleep(BW_MS / 10);
}

void bw_holder_answer(struct bw_holder *h, unsigned at, enum bw_outcome outcome,
		      int64_t retry_after_ns)
{
	bw_lock(&h->lock);
	if (at >= h->n)
		abort();
	struct bw_op *op = h->held[at];

	memmove(h->held + at, h->held + at + 1, (--h->n - at) * sizeof(h->held[0]));
	bw_unlock(&h->lock);
	op->outcome = outcome;
	op->retry_after_ns = retry_after_ns;
	op->task.run = run_end;
	bw_workq_push(h->q, &op->task);
}

void bw_holder_let_go(struct bw_holder *h)
{
	bw_holder_answer(h, 0, BW_NOT_FOUND, 0);
}

bool bw_holder_holds(struct bw_holder *h, unsigned at, const char *key)
{
	BW_LOCK_SCOPE(&h->lock);
	return at < h->n && strcmp(h->held[at]->key, key) == 0;
}
