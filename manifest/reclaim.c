/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/reclaim_priv.h"

#include <stdio.h>
#include <stdlib.h>

const char *bw_reclaim_stage_name(enum bw_reclaim_stage stage)
{
	static const char *const names[] = {
		[BW_RECLAIM_OPENING] = "opening", [BW_RECLAIM_TRIMMING] = "trimming",
		[BW_RECLAIM_STEPS] = "steps", [BW_RECLAIM_STATES] = "states",
		[BW_RECLAIM_DATA] = "data", [BW_RECLAIM_NODES] = "index nodes",
		[BW_RECLAIM_PARTIALS] = "unfinished uploads", [BW_RECLAIM_ROOTS] = "roots",
	};

	return names[stage];
}

int bw_reclaim_new(const struct bw_stream *stream, const struct bw_reclaim_options *options,
		   struct bw_reclaim **ret)
{
	struct bw_reclaim *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->stream = stream;
	r->o = *options;
	r->memo = r->o.memo ? r->o.memo : &r->own_memo;
	r->phase = bw_reclaim_open;
	if (!r->o.memory)
		r->o.memory = BW_RECLAIM_MEMORY;
	if (!r->o.root_kept_ms)
		r->o.root_kept_ms = BW_RECLAIM_DAY_MS;
	r->batch = calloc(BW_DELETE_MANY_MAX, sizeof(*r->batch));
	r->items = calloc(BW_DELETE_MANY_MAX, sizeof(*r->items));
	if (!r->batch || !r->items) {
		bw_reclaim_free(r);
		return -ENOMEM;
	}
	*ret = r;
	return 0;
}

void bw_reclaim_free(struct bw_reclaim *r)
{
	if (!r)
		return;
	bw_reclaim_uploads_done(r);
	bw_walk_done(&r->walk);
	bw_refs_done(&r->needed);
	bw_refs_done(&r->counted);
	bw_root_unref(r->search.root);
	bw_root_unref(r->newest);
	bw_root_unref(r->judge);
	free(r->batch);
	free(r->items);
	free(r);
}

const struct bw_reclaim_report *bw_reclaim_report(const struct bw_reclaim *r)
{
	return &r->rep;
}

void bw_reclaim_progress(const struct bw_reclaim *r, uint64_t *ret_done, uint64_t *ret_total)
{
	*ret_done = r->done_n;
	*ret_total = r->total_n;
}

size_t bw_reclaim_bytes(const struct bw_reclaim *r)
{
	return sizeof(*r) + BW_DELETE_MANY_MAX * (sizeof(*r->batch) + sizeof(*r->items)) +
	       (r->needed.cap + r->counted.cap) * sizeof(*r->needed.slots) +
	       bw_walk_bytes(&r->walk);
}

/* ---- Asking ----------------------------------------------------------------------------------- */

static uint64_t cost(const struct bw_reclaim *r)
{
	return r->want == BW_RECLAIM_PUT ? r->req.puts_n : r->want != BW_RECLAIM_DONE;
}

static void ask(struct bw_reclaim *r, enum bw_reclaim_want want)
{
	r->want = want;
	r->asked = true;
	r->tries = 0;
	r->rep.requests += cost(r);
}

static void set_key(struct bw_reclaim *r, const char *key)
{
	memcpy(r->req.key, key, strnlen(key, BW_KEY_MAX) + 1);
}

void bw_reclaim_get(struct bw_reclaim *r, const char *key, uint64_t max)
{
	r->req = (struct bw_reclaim_request){.max = max};
	set_key(r, key);
	ask(r, BW_RECLAIM_GET);
}

void bw_reclaim_get_node(struct bw_reclaim *r)
{
	const struct bw_pointer *p = &r->walk.want;
	char key[BW_KEY_MAX + 1];

	bw_key_node(r->stream, r->walk.want_level, p->first, p->last, p->hash, key);
	bw_reclaim_get(r, key, 2 * (uint64_t)BW_NODE_RAW_MAX);
}

void bw_reclaim_put(struct bw_reclaim *r, size_t n)
{
	r->req = (struct bw_reclaim_request){.puts = r->puts, .puts_n = n};
	ask(r, BW_RECLAIM_PUT);
}

void bw_reclaim_refresh(struct bw_reclaim *r)
{
	r->req = (struct bw_reclaim_request){.max = 0};
	ask(r, BW_RECLAIM_REFRESH);
}

void bw_reclaim_list(struct bw_reclaim *r, enum bw_key_kind kind, const char *after)
{
	r->req = (struct bw_reclaim_request){.max = BW_LIST_PAGE_MAX};
	bw_key_prefix(r->stream, kind, r->req.key);
	memcpy(r->req.after, after, strnlen(after, BW_KEY_MAX) + 1);
	ask(r, BW_RECLAIM_LIST);
}

void bw_reclaim_list_uploads(struct bw_reclaim *r, const char *after, const char *id)
{
	r->req = (struct bw_reclaim_request){.max = BW_LIST_PAGE_MAX, .upload = id};
	if (r->probes)
		set_key(r, BW_PROBE_PREFIX);
	else
		bw_key_prefix(r->stream, BW_KEY_FOREIGN, r->req.key);
	memcpy(r->req.after, after, strnlen(after, BW_KEY_MAX) + 1);
	ask(r, BW_RECLAIM_UPLOADS);
}

void bw_reclaim_abort(struct bw_reclaim *r, const char *key, const char *id)
{
	r->req = (struct bw_reclaim_request){.upload = id};
	set_key(r, key);
	ask(r, BW_RECLAIM_ABORT);
}

void bw_reclaim_commit(struct bw_reclaim *r, enum bw_change_kind kind, uint64_t step)
{
	r->req = (struct bw_reclaim_request){.change = {.kind = kind, .step = step}};
	ask(r, BW_RECLAIM_COMMIT);
}

/* ---- Deleting --------------------------------------------------------------------------------- */

static void tally(struct bw_reclaim_tally *t, uint64_t size)
{
	t->n++;
	t->bytes += size;
}

bool bw_reclaim_full(const struct bw_reclaim *r)
{
	return r->batch_n == BW_DELETE_MANY_MAX;
}

void bw_reclaim_add(struct bw_reclaim *r, const char *key, enum bw_reclaim_why why, uint64_t size)
{
	if (r->o.dry) {
		tally(&r->rep.deleted[why], size);
		return;
	}
	struct bw_reclaim_item *item = &r->batch[r->batch_n++];

	memcpy(item->key, key, strlen(key) + 1);
	item->why = why;
	item->size = size;
}

static void set_delete(struct bw_reclaim *r)
{
	for (size_t i = 0; i < r->batch_n; i++)
		r->items[i] = (struct bw_delete_item){.key = r->batch[i].key, .outcome = BW_UNKNOWN};
	r->req = (struct bw_reclaim_request){.items = r->items, .items_n = r->batch_n};
}

/* What did not go stays in the batch; a delete may be repeated as often as one likes. */
static void deleted(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	enum bw_outcome worst = BW_OK;
	size_t left = 0;

	(void)a;
	for (size_t i = 0; i < r->batch_n; i++) {
		enum bw_outcome outcome = r->items[i].outcome;

		if (outcome == BW_OK || outcome == BW_NOT_FOUND) {
			tally(&r->rep.deleted[r->batch[i].why], r->batch[i].size);
			continue;
		}
		worst = worst == BW_DENIED ? worst : outcome;
		if (left != i)
			r->batch[left] = r->batch[i];
		left++;
	}
	r->batch_n = left;
	if (!left) {
		r->phase = r->after_delete;
		return;
	}
	if (worst == BW_DENIED || ++r->tries >= BW_RECLAIM_TRIES) {
		bw_reclaim_fail(r, worst == BW_DENIED ? -BW_E_DENIED : -BW_E_UNREACHABLE,
				r->batch[0].key);
		return;
	}
	set_delete(r);
	r->asked = r->sleeping = true;
}

void bw_reclaim_flush(struct bw_reclaim *r, bw_reclaim_phase *then)
{
	r->after_delete = then;
	r->phase = r->batch_n ? deleted : then;
	if (!r->batch_n)
		return;
	set_delete(r);
	ask(r, BW_RECLAIM_DELETE);
}

/* ---- Ends ------------------------------------------------------------------------------------- */

void bw_reclaim_stage(struct bw_reclaim *r, enum bw_reclaim_stage stage, uint64_t total)
{
	r->rep.stage = stage;
	r->done_n = 0;
	r->total_n = total;
}

void bw_reclaim_end(struct bw_reclaim *r)
{
	ask(r, BW_RECLAIM_DONE);
}

void bw_reclaim_fail(struct bw_reclaim *r, int err, const char *what)
{
	r->rep.err = err;
	memcpy(r->rep.what, what, strnlen(what, BW_KEY_MAX));
	r->rep.what[strnlen(what, BW_KEY_MAX)] = 0;
	bw_reclaim_end(r);
}

void bw_reclaim_again(struct bw_reclaim *r, const char *what)
{
	if (r->restarts++ >= BW_RECLAIM_RESTARTS) {
		bw_reclaim_fail(r, -BW_E_CORRUPT, what);
		return;
	}
	bw_walk_done(&r->walk);
	r->phase = bw_reclaim_open;
}

void bw_reclaim_newer(struct bw_reclaim *r, struct bw_root *root)
{
	if (r->newest && root->version < r->newest->version)
		return;
	bw_root_unref(r->newest);
	r->newest = bw_root_ref(root);
	r->rep.version = root->version;
	r->rep.head = root->head;
	r->rep.first = root->first;
	r->rep.swept = root->swept;
}

/* ---- The machine ------------------------------------------------------------------------------ */

static int outcome_err(enum bw_outcome outcome)
{
	switch (outcome) {
	case BW_DENIED:
		return -BW_E_DENIED;
	case BW_FULL:
		return -ENOSPC;
	case BW_CORRUPT:
		return -BW_E_CORRUPT;
	case BW_THROTTLED:
		return -BW_E_THROTTLED;
	default:
		return -BW_E_UNREACHABLE;
	}
}

/* What was not put stays, and is named by the key of the request. */
static int puts_failure(struct bw_reclaim *r)
{
	enum bw_outcome worst = BW_OK;
	size_t left = 0;

	for (size_t i = 0; i < r->req.puts_n; i++) {
		if (r->puts[i].outcome == BW_OK) {
			r->rep.roots_buried += r->rep.stage == BW_RECLAIM_ROOTS;
			continue;
		}
		worst = worst == BW_DENIED ? worst : r->puts[i].outcome;
		r->puts[left++] = r->puts[i];
	}
	r->req.puts_n = left;
	if (!left)
		return 0;
	set_key(r, r->puts[0].key);
	return outcome_err(worst);
}

/* 0: an answer for the phase; else why it is none. */
static int failure(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	switch (r->want) {
	case BW_RECLAIM_PUT:
		return puts_failure(r);
	case BW_RECLAIM_REFRESH:
		return a->err;
	case BW_RECLAIM_COMMIT:	/* that markers have moved is for the phase */
		return a->err == -EAGAIN ? 0 : a->err;
	case BW_RECLAIM_GET:
		if (a->outcome == BW_NOT_FOUND)
			return 0;
		break;
	case BW_RECLAIM_UPLOADS:
	case BW_RECLAIM_ABORT:	/* some stores tell nobody of uploads */
		if (a->outcome == BW_DENIED || a->outcome == BW_NOT_FOUND)
			return 0;
		break;
	case BW_RECLAIM_LIST:
		break;
	default:
		return 0;
	}
	return a->outcome == BW_OK ? 0 : outcome_err(a->outcome);
}

/* A commit has been repeated by who makes it; the rest may come right. */
static bool is_final(const struct bw_reclaim *r, int err)
{
	return r->want == BW_RECLAIM_COMMIT || err == -BW_E_DENIED || err == -ENOSPC ||
	       err == -ENOMEM || err == -BW_E_STOPPING || err == -BW_E_CONTRADICTION ||
	       err == -BW_E_FORMAT_NEWER || err == -BW_E_DESTROYED;
}

/* True: the answer is none, and it is dealt with. */
static bool failed(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	int err = failure(r, a);

	if (!err)
		return false;
	if (!is_final(r, err) && ++r->tries < BW_RECLAIM_TRIES) {
		r->sleeping = true;
		return true;
	}
	/* A damaged object is for the phase, and so is a store that answers something else when it is asked for uploads. */
	if ((r->want == BW_RECLAIM_GET || r->want == BW_RECLAIM_UPLOADS) && a->outcome == BW_CORRUPT)
		return false;
	bw_reclaim_fail(r, err, r->req.key);
	return true;
}

enum bw_reclaim_want bw_reclaim_step(struct bw_reclaim *r, const struct bw_reclaim_answer *last,
				     struct bw_reclaim_request *ret)
{
	const struct bw_reclaim_answer *a = r->begun ? last : NULL;

	if (r->begun && r->want == BW_RECLAIM_DONE)
		return BW_RECLAIM_DONE;
	snprintf(r->rep.detail, sizeof(r->rep.detail), "%s", a && a->detail ? a->detail : "");
	if (r->sleeping) {
		r->sleeping = false;
		r->rep.requests += cost(r);
	} else if (!a || !failed(r, a)) {
		r->begun = true;
		r->asked = false;
		while (!r->asked) {
			r->phase(r, a);
			a = NULL;
		}
	}
	*ret = r->req;
	ret->tries = r->tries;
	return r->sleeping ? BW_RECLAIM_SLEEP : r->want;
}
