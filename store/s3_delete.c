/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many deletes in one request; or, for a store that does not know that request, each in one of its own, SINGLES at
 * a time.  What a store said about it is remembered for as long as the store is open.
 */
#include "store/s3_priv.h"

#include <stdlib.h>
#include <string.h>

#define SINGLES 8
#define BODY_MAX (8u << 20)	/* 1,000 keys of 1,024 bytes, each of them &quot; */

struct deletion;

struct single {
	struct deletion *d;
	struct bw_s3_exchange x;
	struct bw_delete_item *item;	/* NULL: at rest */
};

struct deletion {
	struct bw_s3_job job;
	struct bw_s3 *s;
	struct bw_op *op;
	struct bw_s3_exchange x;	/* of all in one request */
	char prefix[BW_KEY_MAX + 1];	/* as it was when the body was printed */
	char md5[BW_MD5_BASE64 + 1];
	struct bw_buf body;
	struct bw_task task;
	/* Under s->lock: */
	bool cancelled;
	size_t next;			/* item to delete by itself */
	unsigned busy;			/* singles under way, and the thread that is in singles_advance() */
	struct single singles[SINGLES];
};

static void deletion_free(struct deletion *d)
{
	bw_buf_done(&d->body);
	free(d);
}

static void finish(struct deletion *d)
{
	struct bw_s3 *s = d->s;
	struct bw_op *op = d->op;

	op->outcome = bw_delete_worst(op->items, op->items_n);
	bw_s3_job_end(s, &d->job);
	deletion_free(d);
	bw_s3_op_end(s, op);
}

static void exchange_init(struct deletion *d, struct bw_s3_exchange *x)
{
	*x = (struct bw_s3_exchange){.s = d->s,
				     .prio = d->op->prio,
				     .deadline_ns = d->op->deadline_ns,
				     .expect = SIZE_MAX,
				     .max = BW_S3_XML_MAX};
}

static void cancel_locked(struct bw_s3_job *job)
{
	struct deletion *d = (struct deletion *)job;

	d->cancelled = true;
	bw_s3_exchange_cancel_locked(&d->x);
	for (int i = 0; i < SINGLES; i++)
		if (d->singles[i].item)
			bw_s3_exchange_cancel_locked(&d->singles[i].x);
}

/* ---- One by one ----------------------------------------------------------------------------- */

static void singles_advance(struct deletion *d);

static void on_single(struct bw_s3_exchange *x)
{
	struct single *one = x->ctx;
	struct deletion *d = one->d;

	bw_lock(&d->s->lock);
	one->item->outcome = x->outcome == BW_NOT_FOUND ? BW_OK : x->outcome;
	if (one->item->outcome != BW_OK)
		bw_s3_exchange_to_op(x, d->op);
	bw_unlock(&d->s->lock);
	bw_s3_exchange_clear(x);
	bw_lock(&d->s->lock);
	one->item = NULL;
	bw_unlock(&d->s->lock);
	singles_advance(d);
}

static struct single *take_locked(struct deletion *d)
{
	struct single *one = d->singles;

	while (d->cancelled && d->next < d->op->items_n)
		d->op->items[d->next++].outcome = BW_CANCELLED;
	while (one < &d->singles[SINGLES] && one->item)
		one++;
	if (d->next == d->op->items_n || one == &d->singles[SINGLES])
		return NULL;
	one->d = d;
	one->item = &d->op->items[d->next++];
	exchange_init(d, &one->x);
	one->x.kind = BW_OP_DELETE;
	one->x.call = (struct bw_s3_call){.method = "DELETE", .key = one->item->key, .query = ""};
	one->x.done = on_single;
	one->x.ctx = one;
	d->busy++;
	return one;
}

/* Begins what can be begun and gives up the caller's place in d->busy. */
static void singles_advance(struct deletion *d)
{
	struct bw_s3 *s = d->s;
	struct single *one;

	bw_lock(&s->lock);
	while ((one = take_locked(d))) {
		bw_unlock(&s->lock);
		bw_s3_exchange_start(&one->x);
		bw_lock(&s->lock);
	}
	bool last = --d->busy == 0;
	bw_unlock(&s->lock);
	if (last)
		finish(d);
}

static void singles_begin(struct deletion *d)
{
	d->busy = 1;
	singles_advance(d);
}

/* ---- In one request ------------------------------------------------------------------------- */

/* The request, not one of the keys, is what the store refuses. */
static bool is_unknown_to_store(const struct bw_s3_exchange *x)
{
	static const char *const codes[] = {"NotImplemented", "MethodNotAllowed", "MissingContentMD5",
					    "InvalidDigest"};

	if (x->http.status == 501 || x->http.status == 405)
		return true;
	for (size_t i = 0; x->outcome != BW_OK && i < sizeof(codes) / sizeof(codes[0]); i++)
		if (!strcmp(x->error.code, codes[i]))
			return true;
	return false;
}

static void all_ended(struct deletion *d, enum bw_outcome outcome)
{
	for (size_t i = 0; i < d->op->items_n; i++)
		d->op->items[i].outcome = outcome;
}

static void on_answer(struct bw_s3_exchange *x)
{
	struct deletion *d = x->ctx;
	const struct bw_blob *b = x->http.blob;
	int err = -BW_E_CORRUPT;

	if (is_unknown_to_store(x)) {
		bw_lock(&d->s->lock);
		d->s->no_delete_many = true;
		bw_unlock(&d->s->lock);
		bw_s3_exchange_clear(x);
		singles_begin(d);
		return;
	}
	bw_s3_exchange_to_op(x, d->op);
	if (x->outcome == BW_OK && b)
		err = bw_s3_deleted_parse(b->bytes, b->len, d->prefix, d->op->items, d->op->items_n);
	if (x->outcome != BW_OK)
		all_ended(d, x->outcome == BW_CORRUPT ? BW_UNKNOWN : x->outcome);
	else if (err)
		all_ended(d, BW_UNKNOWN);
	bw_s3_exchange_clear(x);
	finish(d);
}

static int print(struct deletion *d)
{
	bw_lock(&d->s->lock);
	memcpy(d->prefix, d->s->address.prefix, sizeof(d->prefix));
	bw_unlock(&d->s->lock);
	int err = bw_s3_delete_print(d->prefix, d->op->items, d->op->items_n, &d->body);

	return err ? err : bw_md5_base64(d->body.bytes, d->body.len, d->md5);
}

static void run(struct bw_task *task)
{
	struct deletion *d = bw_container_of(task, struct deletion, task);
	struct bw_s3_exchange *x = &d->x;

	bw_lock(&d->s->lock);
	bool one_by_one = d->s->no_delete_many;
	bw_unlock(&d->s->lock);
	/* Without MD5 (some builds of the library refuse it) stores would refuse the request. */
	if (one_by_one || print(d) != 0) {
		singles_begin(d);
		return;
	}
	bw_lock(&d->s->lock);
	exchange_init(d, x);
	bw_unlock(&d->s->lock);
	x->kind = BW_OP_DELETE_MANY;
	x->call = (struct bw_s3_call){.method = "POST", .query = "delete="};
	x->headers[x->headers_n++] = (struct bw_sign_header){"content-md5", d->md5};
	x->headers[x->headers_n++] = (struct bw_sign_header){"content-type", "application/xml"};
	x->bytes = d->body.bytes;
	x->bytes_len = d->body.len;
	x->done = on_answer;
	x->ctx = d;
	bw_s3_exchange_start(x);
}

void bw_s3_delete_many(struct bw_s3 *s, struct bw_op *op)
{
	struct deletion *d = calloc(1, sizeof(*d));

	if (!d) {
		bw_s3_op_fail_later(s, op, BW_UNREACHABLE, -ENOMEM);
		return;
	}
	d->s = s;
	d->op = op;
	bw_buf_init(&d->body, BODY_MAX);
	bw_s3_job_begin(s, &d->job, op, cancel_locked);
	d->task = (struct bw_task){.run = run, .prio = op->prio};
	bw_workq_push(s->workers, &d->task);
}
