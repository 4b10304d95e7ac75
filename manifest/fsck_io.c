/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests of fsck: each ends at its deadline, and soon after somebody wants to stop.
 */
#include "manifest/fsck_priv.h"
#include "manifest/open_io.h"
#include "manifest/open_search.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_NS (100 * BW_MS)	/* how often a wait looks whether to stop */

bool fsck_stopped(const struct fsck *f)
{
	return f->o->stop && atomic_load(f->o->stop);
}

bool fsck_fatal(int err)
{
	return err < 0 && err != -ENOENT && err != -BW_E_CORRUPT && err != -BW_E_FORMAT_NEWER;
}

/* What the op ended with; an end of the run is kept for the sentence, the first of them. */
static int result(struct fsck *f, const struct bw_op *op)
{
	int err = bw_op_err(op);

	/* A page that is none is no object that is damaged: what lies behind it is not known. */
	if (!fsck_fatal(err) && !(err && op->kind == BW_OP_LIST))
		return err;
	if (fsck_stopped(f))
		return -ECANCELED;
	if (err == -ECANCELED || err == -ETIMEDOUT)
		err = -BW_E_UNREACHABLE;	/* its deadline has passed */
	BW_LOCK_SCOPE(&f->io_lock);
	if (!f->failed[0]) {
		snprintf(f->failed, sizeof(f->failed), "%s of %s", bw_op_kind_name(op->kind),
			 op->key[0] ? op->key : "the stream");
		memcpy(f->failed_detail, op->detail, sizeof(f->failed_detail));
	}
	return err;
}

/* ---- Gets that run ahead ---------------------------------------------------------------------- */

static void slot_done(struct bw_op *op)
{
	struct fsck_slot *s = op->ctx;

	BW_LOCK_SCOPE(&s->f->io_lock);
	s->ended = true;
	s->ended_ns = bw_now();
	bw_cond_broadcast(&s->f->io_cond);
}

static void slot_send(struct fsck_slot *s)
{
	s->ended = false;
	s->op.deadline_ns = bw_now() + s->f->patience_ns;
	s->op.done = slot_done;
	s->op.ctx = s;
	bw_store_submit(s->f->store, &s->op);
}

static void slot_cancel(struct fsck_slot *s)
{
	BW_LOCK_SCOPE(&s->f->io_lock);
	if (!s->ended)
		bw_store_cancel(s->f->store, &s->op);
}

static void slot_wait(struct fsck_slot *s)
{
	struct fsck *f = s->f;
	bool cancelled = false;

	bw_lock(&f->io_lock);
	while (!s->ended) {
		bw_cond_wait_until(&f->io_cond, &f->io_lock, bw_now() + LOOK_NS);
		if (!s->ended && !cancelled && fsck_stopped(f)) {
			bw_store_cancel(f->store, &s->op);
			cancelled = true;
		}
	}
	bw_unlock(&f->io_lock);
}

int fsck_run(struct fsck *f, struct bw_op *op)
{
	struct fsck_slot s = {.op = *op, .f = f};

	if (fsck_stopped(f))
		return -ECANCELED;
	slot_send(&s);
	slot_wait(&s);
	*op = s.op;
	return result(f, op);
}

int fsck_get(struct fsck *f, const char *key, uint64_t max, struct bw_blob **ret)
{
	struct bw_op op;

	bw_op_get_all(&op, key, max);
	int err = fsck_run(f, &op);

	if (!err) {
		*ret = op.blob;
		op.blob = NULL;
	}
	bw_op_done(&op);
	return err;
}

int fsck_ahead_new(struct fsck *f, struct fsck_ahead **ret)
{
	struct fsck_ahead *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->f = f;
	*ret = a;
	return 0;
}

void fsck_ahead_free(struct fsck_ahead *a)
{
	if (!a)
		return;
	for (unsigned i = 0; i < a->n; i++)
		slot_cancel(&a->slots[(a->at + i) % BW_FSCK_AHEAD]);
	for (unsigned i = 0; i < a->n; i++) {
		struct fsck_slot *s = &a->slots[(a->at + i) % BW_FSCK_AHEAD];

		slot_wait(s);
		bw_op_done(&s->op);
	}
	free(a);
}

bool fsck_ahead_room(const struct fsck_ahead *a, uint64_t bytes)
{
	return !a->n || (a->n < BW_FSCK_AHEAD && bytes <= BW_FSCK_AHEAD_BYTES &&
			 a->bytes <= BW_FSCK_AHEAD_BYTES - bytes);
}

void fsck_ahead_push(struct fsck_ahead *a, const char *key, uint64_t offset, uint64_t length,
		     uint64_t bytes, const struct fsck_tag *tag)
{
	struct fsck_slot *s = &a->slots[(a->at + a->n) % BW_FSCK_AHEAD];

	s->f = a->f;
	s->bytes = bytes;
	s->tag = *tag;
	if (length == BW_TO_END)
		bw_op_get_all(&s->op, key, bytes);
	else
		bw_op_get(&s->op, key, offset, length);
	a->n++;
	a->bytes += bytes;
	slot_send(s);
}

int fsck_ahead_pop(struct fsck_ahead *a, struct fsck_tag *ret_tag, char *ret_key,
		   struct bw_blob **ret)
{
	struct fsck_slot *s = &a->slots[a->at];

	slot_wait(s);
	a->at = (a->at + 1) % BW_FSCK_AHEAD;
	a->n--;
	a->bytes -= s->bytes;
	int err = fsck_stopped(a->f) ? -ECANCELED : result(a->f, &s->op);

	if (ret_tag) {
		*ret_tag = s->tag;
		ret_tag->answered_ns = s->ended_ns;
	}
	if (ret_key)
		memcpy(ret_key, s->op.key, sizeof(s->op.key));
	if (!err) {
		*ret = s->op.blob;
		s->op.blob = NULL;
	}
	bw_op_done(&s->op);
	return err;
}

/* ---- Listings --------------------------------------------------------------------------------- */

int fsck_list(struct fsck *f, const char *prefix, const char *after,
	      int (*each)(struct fsck *f, void *ctx, const char *key, uint64_t size), void *ctx)
{
	char last[BW_KEY_MAX + 1];
	bool more = true;
	int err = 0;

	snprintf(last, sizeof(last), "%s", after);
	while (more && !err) {
		struct bw_op op;

		bw_op_list(&op, prefix, last, BW_LIST_PAGE_MAX);
		err = fsck_run(f, &op);
		f->listed_ns = bw_now();
		for (size_t i = 0; !err && i < op.listing->n; i++)
			err = each(f, ctx, op.listing->items[i].key, op.listing->items[i].size);
		more = !err && op.listing->more && op.listing->n;
		if (more)
			snprintf(last, sizeof(last), "%s",
				 op.listing->items[op.listing->n - 1].key);
		bw_op_done(&op);
	}
	return err > 0 ? 0 : err;
}

/* ---- Versions --------------------------------------------------------------------------------- */

struct source {
	struct bw_versions versions;
	struct fsck *f;
	uint64_t damaged;	/* the highest that could not be read; 0: none */
};

int fsck_version(struct fsck *f, uint64_t version, struct bw_root **ret)
{
	char key[BW_KEY_MAX + 1];
	int rc = -BW_E_CORRUPT;

	bw_key_root(&f->stream, version, key);
	for (int i = 0; i < FSCK_READS && rc == -BW_E_CORRUPT; i++) {
		bw_auto_blob struct bw_blob *blob = NULL;

		rc = fsck_get(f, key, BW_ROOT_STORED_MAX, &blob);
		if (rc == -ENOENT)
			return BW_VERSION_ABSENT;
		if (!rc)
			rc = bw_version_decode(&f->stream, version, blob, ret);
	}
	return rc;
}

static int source_get(struct bw_versions *from, uint64_t version, struct bw_root **ret)
{
	struct source *s = (struct source *)from;
	int rc = fsck_version(s->f, version, ret);

	if ((rc == -BW_E_CORRUPT || rc == -BW_E_FORMAT_NEWER) && version > s->damaged)
		s->damaged = version;
	return rc;
}

int fsck_cold(struct fsck *f, uint64_t hint, struct bw_root **ret, uint64_t *ret_damaged)
{
	struct source s = {.versions.get = source_get, .f = f};
	int err = bw_search_newest(&s.versions, hint, ret);

	*ret_damaged = s.damaged;
	return err;
}

int fsck_refresh(struct fsck *f, int64_t since_ns)
{
	struct source s = {.versions.get = source_get, .f = f};
	struct bw_root *newer = NULL;
	int64_t began_ns = bw_now();

	bw_lock(&f->io_lock);
	uint64_t known = f->latest->version;
	bool fresh = f->refreshed_ns > since_ns;
	bw_unlock(&f->io_lock);
	if (fresh)
		return 0;
	int err = bw_search_newer(&s.versions, known, known + 1, &newer);

	/* A newest root that cannot be read judges nothing; the next run finds it. */
	if (err == -BW_E_CORRUPT || err == -BW_E_FORMAT_NEWER)
		return 0;
	if (err)
		return err;
	BW_LOCK_SCOPE(&f->io_lock);
	struct bw_root *drop = newer;

	if (began_ns > f->refreshed_ns)
		f->refreshed_ns = began_ns;
	if (newer && newer->version > f->latest->version) {
		drop = f->latest;
		f->latest = newer;
	}
	bw_root_unref(drop);
	return 0;
}

uint64_t fsck_latest_first(struct fsck *f)
{
	BW_LOCK_SCOPE(&f->io_lock);
	return f->latest->first;
}
