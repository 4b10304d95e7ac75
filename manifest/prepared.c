/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/prepared.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct bw_prepared {
	atomic_uint refs;		/* the owner, and the store until it has let go of the body */
	struct bw_txn *txn;		/* owned; NULL once taken */
	struct bw_txn_request request;	/* its first */
	uint64_t base;			/* version */
	struct bw_bytes_body body;
	uint8_t *bytes;			/* owned: the txn's own end with the put, not with the store's interest */
	struct bw_early *early;		/* NULL once an op has it */
};

static void unref(void *ctx)
{
	struct bw_prepared *p = ctx;

	if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(p->bytes);
	free(p);
}

/* 0: the txn's first request is the put of a root that commits all of it. */
static int build(struct bw_prepared *p, const struct bw_stream *s, struct bw_root *base, const struct bw_change *change,
		 int64_t clock_ms, const uint8_t commit_id[16])
{
	struct bw_change copy;
	int err = bw_txn_new(s, base, &p->txn);

	if (!err)
		err = bw_change_copy(&copy, change);
	if (!err)
		err = bw_txn_add(p->txn, &copy, NULL);
	if (err)
		return err;
	enum bw_txn_want want = bw_txn_step(p->txn, NULL, clock_ms, commit_id, &p->request);

	/* In doubt is only whose root is to be put: not who asks for a newer one, or puts an index node first. */
	return want == BW_TXN_PUT && bw_txn_in_doubt(p->txn) ? 0 : -EAGAIN;
}

struct bw_prepared *bw_prepared_new(struct bw_store *store, const struct bw_stream *s, struct bw_root *base,
				    const struct bw_change *change, int64_t clock_ms, const uint8_t commit_id[16])
{
	struct bw_prepared *p = bw_store_prepares(store) ? calloc(1, sizeof(*p)) : NULL;

	if (!p)
		return NULL;
	atomic_init(&p->refs, 1);
	p->base = base->version;
	if (build(p, s, base, change, clock_ms, commit_id) != 0)
		goto fail;
	p->bytes = malloc(p->request.len);
	if (!p->bytes)
		goto fail;
	memcpy(p->bytes, p->request.bytes, p->request.len);
	bw_bytes_body_init(&p->body, p->bytes, p->request.len);
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	p->early = bw_store_prepare(store, p->request.key, &p->body.body, unref, p);
	if (!p->early) {
		unref(p);
		goto fail;
	}
	return p;
fail:
	bw_prepared_free(p);
	return NULL;
}

void bw_prepared_free(struct bw_prepared *p)
{
	if (!p)
		return;
	bw_txn_free(p->txn);
	if (p->early)
		p->early->drop(p->early);
	unref(p);
}

bool bw_prepared_fits(const struct bw_prepared *p, const struct bw_root *newest, const struct bw_change *change)
{
	if (!p || !p->txn || newest->version != p->base || change->kind != BW_CHANGE_APPEND)
		return false;
	/* The nonce is one object's alone, and with it the same go all that the change says, but where its state is. */
	const struct bw_change *c = &bw_txn_at(p->txn, 0)->change;

	return c->nonce == change->nonce && c->seq == change->seq && c->epoch == change->epoch &&
	       c->size == change->size && c->footer_xxh3 == change->footer_xxh3 &&
	       c->has_state == change->has_state && c->state_xxh3 == change->state_xxh3 && !c->state == !change->state &&
	       !memcmp(c->owner, change->owner, sizeof(c->owner)) && !strcmp(c->name, change->name);
}

struct bw_txn *bw_prepared_take(struct bw_prepared *p, struct bw_txn_request *ret_request)
{
	struct bw_txn *txn = p->txn;

	p->txn = NULL;
	*ret_request = p->request;
	return txn;
}

void bw_prepared_arm(struct bw_prepared *p, struct bw_op *op)
{
	op->body = &p->body.body;
	op->early = p->early;
	p->early = NULL;
}
