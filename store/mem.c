/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects in memory.  One thread works on the requests, so it alone touches the objects and nothing
 * needs a lock; the same requests in the same order give the same answers.
 */
#include "store/layer.h"

#include <stdlib.h>
#include <string.h>

struct object {
	struct bw_blob *blob;
	int64_t modified_ms;
	char key[];
};

struct mem {
	struct bw_store store;
	struct bw_workq *q;
	struct object **objects;	/* ascending by key */
	size_t n, cap;
};

/* The first object whose key is not below key. */
static size_t lower_bound(const struct mem *m, const char *key)
{
	size_t lo = 0, hi = m->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (strcmp(m->objects[mid]->key, key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool is_at(const struct mem *m, size_t at, const char *key)
{
	return at < m->n && strcmp(m->objects[at]->key, key) == 0;
}

static void object_free(struct object *o)
{
	bw_blob_unref(o->blob);
	free(o);
}

static struct bw_blob *copy_cut(const uint8_t *bytes, uint64_t len, uint64_t cut)
{
	struct bw_blob *first = NULL, **at = &first;

	do {
		uint64_t n = cut && cut < len ? cut : len;
		*at = bw_blob_copy(bytes, n);
		if (!*at) {
			bw_blob_unref(first);
			return NULL;
		}
		at = &(*at)->next;
		bytes += n;
		len -= n;
	} while (len);
	return first;
}

static void get(struct mem *m, struct bw_op *op)
{
	size_t at = lower_bound(m, op->key);

	if (!is_at(m, at, op->key)) {
		op->outcome = BW_NOT_FOUND;
		return;
	}
	struct object *o = m->objects[at];
	uint64_t size = o->blob->len;
	uint64_t left = op->offset <= size ? size - op->offset : 0;
	uint64_t length = op->length == BW_TO_END ? left : op->length;

	if (op->offset > size || length > left || (op->length == BW_TO_END && left > op->max)) {
		op->outcome = BW_CORRUPT;
		return;
	}
	if (length == size && !op->cut)
		op->blob = bw_blob_ref(o->blob);
	else
		op->blob = copy_cut(o->blob->bytes + op->offset, length, op->cut);
	if (!op->blob) {
		bw_op_fail(op, BW_UNREACHABLE, -ENOMEM);
		return;
	}
	op->object_size = size;
	op->modified_ms = o->modified_ms;
	op->outcome = BW_OK;
}

static int insert(struct mem *m, size_t at, struct object *o)
{
	if (m->n == m->cap) {
		size_t cap = m->cap ? 2 * m->cap : 64;
		struct object **objects = realloc(m->objects, cap * sizeof(*objects));
		if (!objects)
			return -ENOMEM;
		m->objects = objects;
		m->cap = cap;
	}
	memmove(&m->objects[at + 1], &m->objects[at], (m->n - at) * sizeof(m->objects[0]));
	m->objects[at] = o;
	m->n++;
	return 0;
}

static int object_new(struct bw_op *op, struct object **ret)
{
	size_t key_len = strlen(op->key);
	struct object *o = calloc(1, sizeof(*o) + key_len + 1);

	if (!o)
		return -ENOMEM;
	memcpy(o->key, op->key, key_len + 1);
	o->modified_ms = bw_wall_ms();
	o->blob = bw_blob_new(op->body->size);
	int err = o->blob ? op->body->read(op->body, 0, o->blob->bytes, o->blob->len) : -ENOMEM;
	if (err) {
		object_free(o);
		return err;
	}
	*ret = o;
	return 0;
}

static void put(struct mem *m, struct bw_op *op)
{
	size_t at = lower_bound(m, op->key);
	bool there = is_at(m, at, op->key);
	struct object *o;

	if (there && op->if_absent) {
		op->outcome = BW_EXISTS;
		return;
	}
	int err = object_new(op, &o);
	if (!err && there) {
		object_free(m->objects[at]);
		m->objects[at] = o;
	} else if (!err) {
		err = insert(m, at, o);
		if (err)
			object_free(o);
	}
	if (err)
		bw_op_fail(op, BW_UNREACHABLE, err);
	else
		op->outcome = BW_OK;
}

static void delete(struct mem *m, struct bw_op *op)
{
	size_t at = lower_bound(m, op->key);

	if (!is_at(m, at, op->key)) {
		op->outcome = BW_NOT_FOUND;
		return;
	}
	object_free(m->objects[at]);
	m->n--;
	memmove(&m->objects[at], &m->objects[at + 1], (m->n - at) * sizeof(m->objects[0]));
	op->outcome = BW_OK;
}

static void delete_one(void *ctx, struct bw_op *op)
{
	delete(ctx, op);
}

/* Adds objects[at] on to a listing that has room for it. */
static int list_add(struct bw_listing *l, const struct object *o)
{
	struct bw_listed *item = &l->items[l->n];

	item->key = strdup(o->key);
	if (!item->key)
		return -ENOMEM;
	item->size = o->blob->len;
	item->modified_ms = o->modified_ms;
	l->n++;
	return 0;
}

static void list(struct mem *m, struct bw_op *op)
{
	size_t prefix_len = strlen(op->key);
	size_t at = lower_bound(m, strcmp(op->after, op->key) > 0 ? op->after : op->key);
	struct bw_listing *l = calloc(1, sizeof(*l));

	if (!l || !(l->items = calloc(op->max, sizeof(l->items[0]))))
		goto fail;
	if (op->after[0] && is_at(m, at, op->after))
		at++;
	for (; at < m->n && strncmp(m->objects[at]->key, op->key, prefix_len) == 0; at++) {
		if (l->n == op->max) {
			l->more = true;
			break;
		}
		if (list_add(l, m->objects[at]) != 0)
			goto fail;
	}
	op->listing = l;
	op->outcome = BW_OK;
	return;
fail:
	bw_listing_free(l);
	bw_op_fail(op, BW_UNREACHABLE, -ENOMEM);
}

/* An object is there at once, or was never begun. */
static void list_uploads(struct bw_op *op)
{
	op->uploads = calloc(1, sizeof(*op->uploads));
	bw_op_fail(op, op->uploads ? BW_OK : BW_UNREACHABLE, op->uploads ? 0 : -ENOMEM);
}

static void run(struct bw_task *task)
{
	struct bw_op *op = bw_op_of(task);
	struct mem *m = (struct mem *)op->at;

	if (bw_now() >= op->deadline_ns) {
		bw_op_fail(op, BW_CANCELLED, 0);
	} else {
		switch (op->kind) {
		case BW_OP_GET:
			get(m, op);
			break;
		case BW_OP_PUT:
			put(m, op);
			break;
		case BW_OP_DELETE:
			delete(m, op);
			break;
		case BW_OP_DELETE_MANY:
			bw_op_delete_each(op, delete_one, m);
			break;
		case BW_OP_LIST:
			list(m, op);
			break;
		case BW_OP_LIST_UPLOADS:
			list_uploads(op);
			break;
		case BW_OP_ABORT_UPLOAD:
			op->outcome = BW_OK;
			break;
		}
	}
	op->done(op);
}

static void submit(struct bw_store *s, struct bw_op *op)
{
	bw_op_queue(op, ((struct mem *)s)->q, run, 0);
}

static void cancel(struct bw_store *s, struct bw_op *op)
{
	bw_op_cancel_on(op, ((struct mem *)s)->q);
}

static void mem_free(struct bw_store *s)
{
	struct mem *m = (struct mem *)s;

	bw_workq_free(m->q);
	for (size_t i = 0; i < m->n; i++)
		object_free(m->objects[i]);
	free(m->objects);
	free(m);
}

int bw_store_mem_new(struct bw_store **ret)
{
	static const struct bw_store_ops ops = {
		.name = "mem", .submit = submit, .cancel = cancel, .free = mem_free};
	struct mem *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->store.ops = &ops;
	int err = bw_workq_new("bw-mem", 1, &m->q);
	if (err) {
		free(m);
		return err;
	}
	*ret = &m->store;
	return 0;
}
