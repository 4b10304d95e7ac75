/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/destroy.h"

#include "manifest/envelope.h"
#include "manifest/json.h"
#include "manifest/key.h"
#include "manifest/open_io.h"
#include "manifest/open_search.h"
#include "store/base/rand.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_NS (100 * BW_MS)	/* of the pause */
#define SWEEPS 8		/* over what came meanwhile */
#define JSON_TRIES 5		/* to delete stream.json */
#define UPLOAD_PAGES 1000

struct job {
	const struct bw_destroy *d;
	struct bw_destroy_report *r;
	struct bw_stream stream;	/* of which only the id counts */
	struct bw_io io;
	bool has_json;
	uint64_t last;			/* highest version there is; 0: none */
	bool has_first;
	char barrier[BW_KEY_MAX + 1];	/* "" before there is one */
	int64_t since_ns;		/* when it was seen first */
	uint64_t total;
	char *why;
	size_t why_len;
};

static int fail(struct job *j, int err, const char *what)
{
	bw_io_why(&j->io, err, what, j->why, j->why_len);
	return err;
}

static int go_on(struct job *j)
{
	const struct bw_destroy *d = j->d;

	j->io.deadline_ns = bw_now() + d->op_ns;
	if (!d->go_on || d->go_on(d->ctx, j->r->objects, j->total))
		return 0;
	snprintf(j->why, j->why_len, "stopped before its end; the same command goes on with it");
	return -ECANCELED;
}

/* ---- Deleting --------------------------------------------------------------------------------- */

/* once: the store does not repeat it by itself. */
static int delete_items(struct job *j, struct bw_delete_item *items, size_t n, bool once)
{
	struct bw_op op;

	if (!n)
		return 0;
	bw_op_delete_many(&op, items, n);
	op.once = once;
	int err = bw_io_run(&j->io, &op);

	for (size_t i = 0; i < n; i++)
		j->r->objects += items[i].outcome == BW_OK;
	return err ? fail(j, err, "cannot delete") : go_on(j);
}

static int delete_one(struct job *j, const char *key)
{
	struct bw_delete_item item = {.key = key};

	return delete_items(j, &item, 1, false);
}

/* ---- Whose place it is -------------------------------------------------------------------------- */

static int say_no_stream(struct job *j)
{
	snprintf(j->why, j->why_len, "there is no stream here");
	return -BW_E_NO_STREAM;
}

/* Which stream it is; without stream.json, what the id says, and then the barrier has to bear it out. */
static int identify(struct job *j)
{
	bw_auto_blob struct bw_blob *json = NULL;
	char id[33];
	int err = bw_io_stream(&j->io, &j->stream, &json, j->why, j->why_len);

	j->has_json = !err;
	if (err == -BW_E_NO_STREAM)
		return bw_unhex(j->d->id, strlen(j->d->id), j->stream.id, sizeof(j->stream.id)) == 0 ? 0 : say_no_stream(j);
	if (err)
		return err;
	bw_hex(j->stream.id, sizeof(j->stream.id), id);
	if (!strcmp(id, j->d->id))
		return 0;
	snprintf(j->why, j->why_len, "the stream here is %s, not %s", id, j->d->id);
	return -EINVAL;
}

/*
 * Others may have brought the same stream to its end since, and made another in its place.  The two have one name in
 * common, stream.json, and that is not ours then.
 */
static int look_again(struct job *j)
{
	bw_auto_blob struct bw_blob *json = NULL;
	struct bw_stream there;
	char id[33];
	int err = go_on(j);

	if (err || !j->has_json)
		return err;
	err = bw_io_stream(&j->io, &there, &json, j->why, j->why_len);
	if (err == -BW_E_NO_STREAM) {
		j->has_json = false;
		return 0;
	}
	if (err || !memcmp(there.id, j->stream.id, sizeof(there.id)))
		return err;
	if (j->barrier[0])
		(void)!delete_one(j, j->barrier);
	bw_hex(there.id, sizeof(there.id), id);
	snprintf(j->why, j->why_len, "stream %s is gone, and %s was created here meanwhile, which stays as it is",
		 j->d->id, id);
	return -EINVAL;
}

/* ---- The barrier ------------------------------------------------------------------------------ */

static int barrier_print(const struct bw_stream *s, uint64_t version, struct bw_buf *out)
{
	bw_auto_buf struct bw_buf raw = {.max = 0};

	bw_buf_init(&raw, 1024);
	bw_buf_str(&raw, "{\"features_read\":[\"" BW_FEATURE_DESTROYED "\"],\"features_write\":[\""
		   BW_FEATURE_DESTROYED "\"],\"stream\":");
	bw_json_put_hex(&raw, s->id, sizeof(s->id));
	bw_buf_fmt(&raw, ",\"version\":\"%" PRIu64 "\"}", version);
	if (raw.err)
		return raw.err;
	return bw_envelope_seal(BW_ENVELOPE_ROOT, raw.bytes, raw.len, out);
}

/* How much there is to delete, by the newest root; a guess will do, and no root as well. */
static void guess_total(struct job *j, uint64_t version, const struct bw_blob *newest)
{
	struct bw_root *root = NULL;

	j->total = j->last;
	if (!newest || bw_version_decode(&j->stream, version, newest, &root) != BW_VERSION_ROOT)
		return;
	j->total += root->head - root->swept + (root->head - root->swept) / BW_LEAF_ENTRIES;
	bw_root_unref(root);
}

/* Below a barrier that was there, where this was stopped before; how much of that is gone is not known. */
static void guess_rest(struct job *j)
{
	bw_auto_blob struct bw_blob *newest = NULL;
	char key[BW_KEY_MAX + 1];

	bw_key_root(&j->stream, j->last - 1, key);
	if (j->last > 1)
		(void)!bw_io_get(&j->io, key, BW_ROOT_STORED_MAX, &newest);
	guess_total(j, j->last - 1, newest);
}

/* Whether the highest version is the barrier of this very stream. */
static int look_at_last(struct job *j)
{
	bw_auto_blob struct bw_blob *there = NULL;
	bw_auto_buf struct bw_buf barrier = {.max = 0};
	char key[BW_KEY_MAX + 1];

	if (!j->last)
		return 0;
	bw_buf_init(&barrier, 4096);
	bw_key_root(&j->stream, j->last, key);
	int err = barrier_print(&j->stream, j->last, &barrier);

	if (!err)
		err = bw_io_get(&j->io, key, BW_ROOT_STORED_MAX, &there);
	if (err == -ENOENT || err == -BW_E_CORRUPT)
		return 0;
	if (err)
		return fail(j, err, "cannot read the newest version");
	if (there->len != barrier.len || memcmp(there->bytes, barrier.bytes, there->len) != 0) {
		guess_total(j, j->last, there);
		return 0;
	}
	memcpy(j->barrier, key, sizeof(key));
	guess_rest(j);
	return 0;
}

/* Versions of writers that are still at work may come between: the first free one is ours. */
static int put_barrier(struct job *j)
{
	char key[BW_KEY_MAX + 1];
	int err = -EEXIST;

	while (err == -EEXIST) {
		bw_auto_blob struct bw_blob *other = NULL;
		bw_auto_buf struct bw_buf barrier = {.max = 0};

		err = go_on(j);
		if (err)
			return err;
		bw_buf_init(&barrier, 4096);
		bw_key_root(&j->stream, ++j->last, key);
		err = barrier_print(&j->stream, j->last, &barrier);
		if (!err)
			err = bw_io_make(&j->io, key, barrier.bytes, barrier.len, &other);
	}
	if (err)
		return fail(j, err, "cannot end the stream's versions");
	memcpy(j->barrier, key, sizeof(key));
	return 0;
}

/* ---- Listing ----------------------------------------------------------------------------------- */

/* Calls page() with each page of keys below prefix. */
static int each_page(struct job *j, const char *prefix,
		     int (*page)(struct job *j, const struct bw_listing *l, void *ctx), void *ctx)
{
	char after[BW_KEY_MAX + 1] = "";
	bool more = true;
	int err = 0;

	while (more && !err) {
		struct bw_op op;

		err = go_on(j);
		if (err)
			return err;
		bw_op_list(&op, prefix, after, BW_LIST_PAGE_MAX);
		err = bw_io_run(&j->io, &op);
		if (err) {
			bw_op_done(&op);
			return fail(j, err, "cannot list the objects");
		}
		more = op.listing->more && op.listing->n;
		if (op.listing->n)
			snprintf(after, sizeof(after), "%s", op.listing->items[op.listing->n - 1].key);
		err = page(j, op.listing, ctx);
		bw_op_done(&op);
	}
	return err;
}

/* Objects of the stream, and of it alone; the barrier stays. */
static int delete_page(struct job *j, const struct bw_listing *l, void *ctx)
{
	struct bw_delete_item *items = calloc(l->n + 1, sizeof(*items));
	bool *any = ctx;
	size_t n = 0;

	if (!items)
		return fail(j, -ENOMEM, "cannot delete");
	for (size_t i = 0; i < l->n; i++)
		if (bw_key_parse(&j->stream, l->items[i].key).kind != BW_KEY_FOREIGN &&
		    strcmp(l->items[i].key, j->barrier) != 0)
			items[n++].key = l->items[i].key;
	*any |= n != 0;
	int err = delete_items(j, items, n, false);

	free(items);
	return err;
}

static int delete_kind(struct job *j, enum bw_key_kind kind, bool *ret_any)
{
	char prefix[BW_KEY_MAX + 1];

	bw_key_prefix(&j->stream, kind, prefix);
	return each_page(j, prefix, delete_page, ret_any);
}

/* ---- Unfinished uploads ----------------------------------------------------------------------- */

static int abort_page(struct job *j, const struct bw_uploads *page, size_t *ret_n)
{
	int err = 0;

	for (size_t i = 0; i < page->n && !err; i++) {
		const struct bw_upload *u = &page->items[i];
		struct bw_op op;

		if (bw_key_parse(&j->stream, u->key).kind == BW_KEY_FOREIGN)
			continue;
		err = go_on(j);
		if (err)
			return err;
		bw_op_abort_upload(&op, u->key, u->id);
		err = bw_io_run(&j->io, &op);
		*ret_n += !err;
	}
	j->r->uploads += *ret_n;
	return err;
}

/* One page; *ret_n: how many were aborted, and those on it are gone.  after: in and out. */
static int abort_some(struct job *j, const char *prefix, struct bw_upload *after, size_t *ret_n, bool *ret_more)
{
	struct bw_op op;

	bw_op_list_uploads(&op, prefix, after->key ? after->key : "", after->id, BW_LIST_PAGE_MAX);
	int err = bw_io_run(&j->io, &op);

	*ret_n = 0;
	*ret_more = false;
	if (!err)
		err = abort_page(j, op.uploads, ret_n);
	free(after->key);
	free(after->id);
	*after = (struct bw_upload){.key = NULL};
	if (!err && op.uploads->n && !*ret_n) {
		struct bw_upload *last = &op.uploads->items[op.uploads->n - 1];

		*after = *last;
		*ret_more = op.uploads->more;
		last->key = last->id = NULL;
	}
	bw_op_done(&op);
	return err;
}

/* A store that tells nobody of them, or a role that may not ask, is no reason to keep the stream. */
static int abort_uploads(struct job *j)
{
	struct bw_upload after = {.key = NULL};
	char prefix[BW_KEY_MAX + 1];
	bool more = true;
	size_t n;
	int err = 0;

	bw_key_prefix(&j->stream, BW_KEY_FOREIGN, prefix);
	for (int i = 0; more && !err && i < UPLOAD_PAGES; i++) {
		err = go_on(j);
		if (!err)
			err = abort_some(j, prefix, &after, &n, &more);
		more |= !err && n;	/* from the beginning again, until none is found */
	}
	free(after.key);
	free(after.id);
	j->r->uploads_err = err == -ECANCELED ? 0 : err;
	if (err == -BW_E_DENIED || err == -BW_E_CORRUPT)
		return 0;
	return err && err != -ECANCELED ? fail(j, err, "cannot abort unfinished uploads") : err;
}

/* ---- The course of it ------------------------------------------------------------------------- */

static int look_page(struct job *j, const struct bw_listing *l, void *ctx)
{
	(void)ctx;
	for (size_t i = 0; i < l->n; i++) {
		struct bw_key k = bw_key_parse(&j->stream, l->items[i].key);

		if (k.kind != BW_KEY_ROOT)
			continue;
		j->last = k.version > j->last ? k.version : j->last;
		j->has_first |= k.version == 1;
	}
	return 0;
}

static int bar(struct job *j)
{
	char prefix[BW_KEY_MAX + 1];

	bw_key_prefix(&j->stream, BW_KEY_ROOT, prefix);
	int err = each_page(j, prefix, look_page, NULL);

	if (!err)
		err = look_at_last(j);
	if (!err && !j->barrier[0])
		err = look_again(j);
	if (!err && !j->has_json && !j->barrier[0])
		return say_no_stream(j);
	if (!err && !j->barrier[0])
		err = put_barrier(j);
	j->since_ns = bw_now();
	return err ? err : look_again(j);
}

static int delete_payload(struct job *j)
{
	static const enum bw_key_kind kinds[] = {BW_KEY_DATA, BW_KEY_STATE, BW_KEY_NODE};
	bool any = false;
	int err = 0;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && !err; i++)
		err = delete_kind(j, kinds[i], &any);
	return err ? err : abort_uploads(j);
}

static int pause_here(struct job *j)
{
	int err = 0;

	/* Without root 1 this was behind us when we were stopped. */
	while (j->has_first && !err && bw_now() < j->since_ns + j->d->pause_ns) {
		bw_sleep(SLICE_NS);
		err = go_on(j);
	}
	return err;
}

static int delete_roots(struct job *j)
{
	char key[BW_KEY_MAX + 1];
	bool any = false;

	bw_key_hint(&j->stream, key);
	int err = each_page(j, key, delete_page, &any);

	bw_key_root(&j->stream, 1, key);
	if (!err && j->has_first && strcmp(key, j->barrier) != 0)
		err = delete_one(j, key);
	return err ? err : delete_kind(j, BW_KEY_ROOT, &any);
}

/* What mounts that are still there have sent meanwhile. */
static int sweep(struct job *j)
{
	bool any = true;
	int err = 0;

	for (int i = 0; any && !err && i < SWEEPS; i++) {
		any = false;
		err = delete_kind(j, BW_KEY_FOREIGN, &any);
		if (!err)
			err = abort_uploads(j);
	}
	if (!err && any) {
		snprintf(j->why, j->why_len, "new objects keep coming: unmount the stream everywhere, then go on");
		err = -EBUSY;
	}
	return err;
}

static bool may_pass(int err)
{
	return err == -BW_E_UNKNOWN || err == -BW_E_THROTTLED || err == -BW_E_UNREACHABLE;
}

/* Looked at before each time it is sent: a repeat might come when it is the stream.json of another. */
static int delete_json(struct job *j)
{
	struct bw_delete_item item = {.key = BW_STREAM_KEY};
	int err = look_again(j);

	for (int i = 0; !err && j->has_json; i++) {
		err = delete_items(j, &item, 1, true);
		if (!may_pass(err) || i == JSON_TRIES)
			return err;
		bw_sleep(SLICE_NS << i);
		err = look_again(j);
	}
	return err;
}

static int name_page(struct job *j, const struct bw_listing *l, void *ctx)
{
	struct bw_destroy_report *r = j->r;

	(void)ctx;
	for (size_t i = 0; i < l->n; i++) {
		if (r->left_n == BW_DESTROY_NAMED) {
			r->left_more = true;
			return 1;
		}
		snprintf(r->left[r->left_n++], sizeof(r->left[0]), "%s", l->items[i].key);
	}
	return 0;
}

static int destroy(struct job *j)
{
	int err = go_on(j);

	if (!err)
		err = identify(j);
	if (!err)
		err = bar(j);
	if (!err)
		err = delete_payload(j);
	if (!err)
		err = pause_here(j);
	if (!err)
		err = delete_roots(j);
	if (!err)
		err = sweep(j);
	if (!err)
		err = delete_json(j);
	if (!err)
		err = delete_one(j, j->barrier);
	if (!err)
		err = each_page(j, "", name_page, NULL);
	return err > 0 ? 0 : err;
}

int bw_stream_destroy(const struct bw_destroy *d, struct bw_destroy_report *ret, char *why, size_t why_len)
{
	struct job j = {.d = d, .r = ret, .io = {.store = d->store}, .why = why, .why_len = why_len};

	memset(ret, 0, sizeof(*ret));
	return destroy(&j);
}

int bw_stream_id(struct bw_store *store, int64_t deadline_ns, char id[33], char *why, size_t why_len)
{
	struct bw_io io = {.store = store, .deadline_ns = deadline_ns};
	bw_auto_blob struct bw_blob *json = NULL;
	struct bw_stream s;
	int err = bw_io_stream(&io, &s, &json, why, why_len);

	if (!err)
		bw_hex(s.id, sizeof(s.id), id);
	return err;
}
