/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Superseded roots become tombstones, ascending: their names are never free again.
 *
 * Whoever sent a root and was away still finds the slot's bytes for a day, and so need not ask the state.
 *
 * Some are put at a time, and the next not before all of these are in their place.  So whoever was stopped has left roots
 * among tombstones only in the BW_RECLAIM_PUTS_MAX versions up to the last tombstone.
 *
 * A put takes a name, also one that `destroy` has just made free, root 1's above all, by which others know that the stream is
 * there.  Long after its begin a pass knows nothing of that, so it asks for the newest root, and ends at the barrier.
 */
#include "manifest/reclaim_priv.h"

static bw_reclaim_phase aged, find, found, recheck, rechecked, bury, buried;

void bw_reclaim_roots(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	bw_reclaim_stage(r, BW_RECLAIM_ROOTS, 0);
	bw_reclaim_search(r, r->o.root_kept_ms, r->memo->aged, aged);
}

/* What is below a version that is a day old was superseded a day ago.  The judge and what follows it stay. */
static void aged(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	uint64_t end = r->search.low;

	(void)a;
	r->memo->aged = end;
	r->bury_end = end < r->judge->version ? end : r->judge->version;
	r->buried = r->bury_low = r->memo->buried ? r->memo->buried : 1;
	r->bury_high = r->bury_end;
	r->phase = find;
}

/* A last tombstone, in [bury_low, bury_high]: the end of the range is looked at first, as most often nothing is left
 * to do, then its begin, then it is halved. */
static void find(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	char key[BW_KEY_MAX + 1];

	(void)a;
	if (r->bury_low >= r->bury_high) {
		r->bury_high = r->bury_low;
		if (r->bury_low > r->buried + BW_RECLAIM_PUTS_MAX)
			r->buried = r->bury_low - BW_RECLAIM_PUTS_MAX;
		r->phase = recheck;
		return;
	}
	uint64_t at = r->bury_low + (r->bury_high - r->bury_low) / 2;

	if (r->bury_high == r->bury_end)
		at = r->bury_high - 1;
	r->bury = at;
	bw_key_root(r->stream, at, key);
	r->phase = found;
	bw_reclaim_get(r, key, BW_ROOT_STORED_MAX);
}

/* Damaged roots are no tombstones: they become some.  1: it is one; negative: the pass has ended. */
static int is_tombstone(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	struct bw_root *root = NULL;
	bool tombstone = false;
	int err = a->outcome == BW_OK ? bw_root_decode(r->stream, r->bury, a->blob->bytes,
						       a->blob->len, &root, &tombstone)
				      : 0;

	bw_root_unref(root);
	if (err == -ENOMEM || err == -BW_E_FORMAT_NEWER) {
		bw_reclaim_fail(r, err, r->req.key);
		return err;
	}
	return tombstone;
}

static void found(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	int is = is_tombstone(r, a);

	if (is > 0)
		r->bury_low = r->bury + 1;
	else
		r->bury_high = r->bury;
	r->phase = find;
}

/* The first that is none: it may lie a little before the last tombstone. */
static void recheck(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	uint64_t most = r->buried + BW_RECLAIM_BURIED_MAX;
	char key[BW_KEY_MAX + 1];

	(void)a;
	if (r->buried < r->bury_high) {
		r->bury = r->buried;
		bw_key_root(r->stream, r->bury, key);
		r->phase = rechecked;
		bw_reclaim_get(r, key, BW_ROOT_STORED_MAX);
		return;
	}
	r->memo->buried = r->buried;
	if (r->bury_end > most) {
		r->rep.roots_left = r->bury_end - most;
		r->bury_end = most;
	}
	bw_reclaim_stage(r, BW_RECLAIM_ROOTS, r->bury_end > r->buried ? r->bury_end - r->buried : 0);
	r->bury = r->look_at = r->buried;
	r->phase = bury;
}

static void rechecked(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	if (is_tombstone(r, a) > 0)
		r->buried++;
	else
		r->bury_high = r->buried;
	r->phase = recheck;
}

/* The next few; 0: they are asked for. */
static int put_tombstones(struct bw_reclaim *r)
{
	bw_auto_buf struct bw_buf tombstone = {.max = 0};
	size_t n = 0;

	bw_buf_init(&tombstone, BW_TOMBSTONE_MAX);
	for (; n < BW_RECLAIM_PUTS_MAX && r->bury < r->bury_end; n++, r->bury++) {
		struct bw_reclaim_put *p = &r->puts[n];

		bw_buf_reset(&tombstone);
		int err = bw_tombstone_encode(r->bury, &tombstone);

		if (err)
			return err;
		memcpy(p->bytes, tombstone.bytes, tombstone.len);
		p->len = tombstone.len;
		bw_key_root(r->stream, r->bury, p->key);
	}
	bw_reclaim_put(r, n);
	return 0;
}

static void bury(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	if (r->o.dry && r->bury_end > r->bury) {
		r->rep.roots_buried = r->bury_end - r->bury;
		r->bury = r->bury_end;
	}
	if (r->bury >= r->bury_end) {
		bw_reclaim_end(r);
		return;
	}
	if (r->bury >= r->look_at) {
		r->look_at = r->bury + BW_RECLAIM_LOOK_EVERY;
		bw_reclaim_refresh(r);
		return;
	}
	int err = put_tombstones(r);

	r->phase = buried;
	if (err)
		bw_reclaim_fail(r, err, "");
}

/* They are in their places. */
static void buried(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	r->done_n += r->bury - r->memo->buried;
	r->memo->buried = r->bury;
	r->phase = bury;
}
