/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Superseded roots become tombstones, ascending: their names are never free again.
 *
 * Whoever sent a root and was away still finds the slot's bytes for a day, and so need not ask the state.
 */
#include "manifest/reclaim_priv.h"

static bw_reclaim_phase aged, find, found, bury;

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
	r->bury_low = r->memo->buried ? r->memo->buried : 1;
	r->bury_high = r->bury_end;
	r->phase = find;
}

/* The first that is no tombstone, in [bury_low, bury_high]: the end of the range is looked at first, as most often
 * nothing is left to do, then its begin, then it is halved. */
static void find(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	char key[BW_KEY_MAX + 1];

	(void)a;
	if (r->bury_low >= r->bury_high) {
		r->bury = r->bury_low;
		r->memo->buried = r->bury_low;
		bw_reclaim_stage(r, BW_RECLAIM_ROOTS, r->bury_end > r->bury ? r->bury_end - r->bury : 0);
		r->phase = bury;
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

/* Damaged roots are no tombstones: they become some. */
static void found(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	struct bw_root *root = NULL;
	bool tombstone = false;
	int err = a->outcome == BW_OK ? bw_root_decode(r->stream, r->bury, a->blob->bytes,
						       a->blob->len, &root, &tombstone)
				      : 0;

	bw_root_unref(root);
	if (err == -ENOMEM || err == -BW_E_FORMAT_NEWER) {
		bw_reclaim_fail(r, err, r->req.key);
		return;
	}
	if (tombstone)
		r->bury_low = r->bury + 1;
	else
		r->bury_high = r->bury;
	r->phase = find;
}

static int put_tombstone(struct bw_reclaim *r)
{
	char key[BW_KEY_MAX + 1];
	bw_auto_buf struct bw_buf tombstone = {.max = 0};

	bw_buf_init(&tombstone, sizeof(r->text));
	int err = bw_tombstone_encode(r->bury, &tombstone);

	if (err)
		return err;
	memcpy(r->text, tombstone.bytes, tombstone.len);
	bw_key_root(r->stream, r->bury, key);
	bw_reclaim_put(r, key, tombstone.len);
	return 0;
}

static void bury(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	if (a) {	/* the one before is in its place */
		r->bury++;
		r->memo->buried = r->bury;
		r->rep.roots_buried++;
		r->done_n++;
	} else if (r->o.dry && r->bury_end > r->bury) {
		r->rep.roots_buried = r->bury_end - r->bury;
		r->bury = r->bury_end;
	}
	if (r->bury >= r->bury_end) {
		bw_reclaim_end(r);
		return;
	}
	int err = put_tombstone(r);

	if (err)
		bw_reclaim_fail(r, err, "");
}
