/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include "store/base/sync.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

static void op_init(struct bw_op *op, enum bw_op_kind kind, const char *key)
{
	memset(op, 0, sizeof(*op));
	op->kind = kind;
	op->deadline_ns = BW_NEVER;
	size_t len = strlen(key);

	assert(len <= BW_KEY_MAX);
	memcpy(op->key, key, len + 1);
}

void bw_op_get(struct bw_op *op, const char *key, uint64_t offset, uint64_t length)
{
	op_init(op, BW_OP_GET, key);
	op->offset = offset;
	op->length = length;
}

void bw_op_get_all(struct bw_op *op, const char *key, uint64_t max)
{
	op_init(op, BW_OP_GET, key);
	op->length = BW_TO_END;
	op->max = max;
}

void bw_op_put(struct bw_op *op, const char *key, struct bw_body *body, bool if_absent)
{
	op_init(op, BW_OP_PUT, key);
	op->body = body;
	op->if_absent = if_absent;
}

void bw_op_delete(struct bw_op *op, const char *key)
{
	op_init(op, BW_OP_DELETE, key);
}

void bw_op_delete_many(struct bw_op *op, struct bw_delete_item *items, size_t n)
{
	op_init(op, BW_OP_DELETE_MANY, "");
	op->items = items;
	op->items_n = n;
}

void bw_op_list(struct bw_op *op, const char *prefix, const char *after, unsigned max)
{
	op_init(op, BW_OP_LIST, prefix);
	size_t len = strlen(after);

	assert(len <= BW_KEY_MAX);
	memcpy(op->after, after, len + 1);
	op->max = max;
}

void bw_op_list_uploads(struct bw_op *op, const char *prefix, const char *after, const char *after_id,
			unsigned max)
{
	bw_op_list(op, prefix, after, max);
	op->kind = BW_OP_LIST_UPLOADS;
	op->upload = after_id;
}

void bw_op_abort_upload(struct bw_op *op, const char *key, const char *id)
{
	op_init(op, BW_OP_ABORT_UPLOAD, key);
	op->upload = id;
}

void bw_op_done(struct bw_op *op)
{
	bw_blob_unref(op->blob);
	op->blob = NULL;
	bw_listing_free(op->listing);
	op->listing = NULL;
	bw_uploads_free(op->uploads);
	op->uploads = NULL;
}

bool bw_key_valid(const char *key)
{
	size_t len = 0, segment = 0, dots = 0;

	for (const char *p = key;; p++, len++) {
		if (len > BW_KEY_MAX)
			return false;
		if (*p == '/' || !*p) {
			if (!segment || (dots == segment && dots <= 2))
				return false;
			if (!*p)
				return true;
			segment = dots = 0;
			continue;
		}
		if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
			return false;
		segment++;
		dots += *p == '.';
	}
}

/* Of assertions alone, in some builds. */
static inline bool is_listing(enum bw_op_kind kind)
{
	return kind == BW_OP_LIST || kind == BW_OP_LIST_UPLOADS;
}

void bw_store_submit(struct bw_store *s, struct bw_op *op)
{
	assert(op->done);
	assert(is_listing(op->kind) || op->kind == BW_OP_DELETE_MANY || bw_key_valid(op->key));
	assert(op->kind != BW_OP_DELETE_MANY || (op->items_n > 0 && op->items_n <= BW_DELETE_MANY_MAX));
	assert(op->kind != BW_OP_PUT || op->body);
	assert(!is_listing(op->kind) || (op->max > 0 && op->max <= BW_LIST_PAGE_MAX));
	assert(op->kind != BW_OP_ABORT_UPLOAD || (op->upload && *op->upload));
	assert(!op->upload || strlen(op->upload) <= BW_UPLOAD_ID_MAX);
	op->outcome = BW_UNREACHABLE;
	op->err = 0;
	op->retry_after_ns = 0;
	op->detail[0] = 0;
	op->blob = NULL;
	op->listing = NULL;
	op->uploads = NULL;
	op->object_size = 0;
	op->modified_ms = 0;
	op->at = s;
	s->ops->submit(s, op);
}

void bw_store_cancel(struct bw_store *s, struct bw_op *op)
{
	if (s->ops->cancel)
		s->ops->cancel(s, op);
}

struct bw_early *bw_store_early(struct bw_store *s, const char *key, struct bw_body *body,
				void (*released)(void *ctx), void *ctx)
{
	while (s && !s->ops->early)
		s = s->next;
	return s ? s->ops->early(s, key, body, released, ctx) : NULL;
}

static struct bw_store *preparing(struct bw_store *s)
{
	while (s && !s->ops->prepare)
		s = s->next;
	return s;
}

bool bw_store_prepares(struct bw_store *s)
{
	return preparing(s);
}

struct bw_early *bw_store_prepare(struct bw_store *s, const char *key, struct bw_body *body,
				  void (*released)(void *ctx), void *ctx)
{
	s = preparing(s);
	return s ? s->ops->prepare(s, key, body, released, ctx) : NULL;
}

void bw_store_free(struct bw_store *s)
{
	if (s)
		s->ops->free(s);
}

void bw_store_leave(struct bw_store *s)
{
	for (struct bw_store *at = s; at; at = at->next)
		if (at->ops->leave)
			at->ops->leave(at);
	bw_store_free(s);
}

static void wake(struct bw_op *op)
{
	bw_latch_open(op->ctx);
}

enum bw_outcome bw_store_sync(struct bw_store *s, struct bw_op *op)
{
	struct bw_latch answered;

	bw_latch_init(&answered);
	op->done = wake;
	op->ctx = &answered;
	bw_store_submit(s, op);
	bw_latch_wait(&answered);
	return op->outcome;
}

int bw_op_err(const struct bw_op *op)
{
	switch (op->outcome) {
	case BW_OK:
		return 0;
	case BW_EXISTS:
		return -EEXIST;
	case BW_NOT_FOUND:
		return -ENOENT;
	case BW_THROTTLED:
		return -BW_E_THROTTLED;
	case BW_DENIED:
		return op->err == -EROFS ? -EROFS : -BW_E_DENIED;
	case BW_FULL:
		return op->err == -EDQUOT ? -EDQUOT : -ENOSPC;
	case BW_UNKNOWN:
		return -BW_E_UNKNOWN;
	case BW_CORRUPT:
		return -BW_E_CORRUPT;
	case BW_CANCELLED:
		return -ECANCELED;
	case BW_UNREACHABLE:
		break;
	}
	return -BW_E_UNREACHABLE;
}

const char *bw_outcome_name(enum bw_outcome outcome)
{
	static const char *const names[] = {
		[BW_OK] = "ok",
		[BW_EXISTS] = "exists",
		[BW_NOT_FOUND] = "not_found",
		[BW_THROTTLED] = "throttled",
		[BW_DENIED] = "denied",
		[BW_FULL] = "full",
		[BW_UNREACHABLE] = "unreachable",
		[BW_UNKNOWN] = "unknown",
		[BW_CORRUPT] = "corrupt",
		[BW_CANCELLED] = "cancelled",
	};
	return names[outcome];
}

const char *bw_op_kind_name(enum bw_op_kind kind)
{
	static const char *const names[] = {
		[BW_OP_GET] = "get",
		[BW_OP_PUT] = "put",
		[BW_OP_DELETE] = "delete",
		[BW_OP_LIST] = "list",
		[BW_OP_DELETE_MANY] = "delete_many",
		[BW_OP_LIST_UPLOADS] = "list_uploads",
		[BW_OP_ABORT_UPLOAD] = "abort_upload",
	};
	return names[kind];
}
