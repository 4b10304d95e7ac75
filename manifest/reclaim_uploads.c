/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ends uploads that were begun and that nothing can come of: their parts cost what objects cost, and no listing of
 * objects shows them.
 *
 * A store may not know how to go on behind an upload that is gone: so they are gathered first, and then aborted.  Those
 * of the stream, and then those of probes (probe_large.c) that were killed: none takes a day.
 */
#include "manifest/reclaim_priv.h"

#include <stdlib.h>

static bw_reclaim_phase begin_round, page, next, aborted;

void bw_reclaim_uploads_done(struct bw_reclaim *r)
{
	for (size_t i = 0; i < r->uploads_n; i++) {
		free(r->uploads[i].key);
		free(r->uploads[i].id);
	}
	r->uploads_n = r->upload = 0;
	free(r->upload_after);
	r->upload_after = NULL;
}

void bw_reclaim_uploads(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	bw_reclaim_stage(r, BW_RECLAIM_PARTIALS, 0);
	r->rounds = 0;
	r->probes = false;
	r->phase = begin_round;
}

static void begin_round(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	bw_reclaim_uploads_done(r);
	r->phase = page;
	bw_reclaim_list_uploads(r, "", NULL);
}

/* False: memory is short. */
static bool gather(struct bw_reclaim *r, const struct bw_upload *u)
{
	size_t n = r->uploads_n;

	if (r->o.dry)
		return true;
	r->uploads[n].key = strdup(u->key);
	r->uploads[n].id = strdup(u->id);
	r->uploads_n++;
	return r->uploads[n].key && r->uploads[n].id;
}

static enum bw_reclaim_why why_of(const struct bw_reclaim *r, const struct bw_upload *u)
{
	struct bw_key k = bw_key_parse(r->stream, u->key);
	int64_t age_ms = u->begun_ms > 0 ? r->now_ms - u->begun_ms : 0;

	if (!r->probes)
		return bw_reclaim_judge_partial(&r->rules, &k, age_ms);
	if (!bw_key_is_probe(u->key))
		return BW_WHY_LATER;
	return age_ms < BW_RECLAIM_DAY_MS ? BW_WHY_PARTIAL_YOUNG : BW_WHY_PARTIAL_OLD;
}

static bool judge(struct bw_reclaim *r, const struct bw_upload *u)
{
	enum bw_reclaim_why why = why_of(r, u);

	/* Of what belongs to no part, and of later rounds, nothing is counted twice. */
	bool counts = !r->rounds && (why == BW_WHY_NEEDED || why == BW_WHY_UNSETTLED || !r->needed.part);

	if (why == BW_WHY_LATER)
		return true;
	if (bw_reclaim_deletes(why)) {
		if (r->o.dry)
			r->rep.deleted[why].n++;
		return gather(r, u);
	}
	r->rep.kept[why].n += counts;
	return true;
}

static int remember_place(struct bw_reclaim *r, const struct bw_upload *last)
{
	free(r->upload_after);
	r->upload_after = strdup(last->id);
	memcpy(r->after, last->key, strlen(last->key) + 1);
	return r->upload_after ? 0 : -ENOMEM;
}

static void page(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	const struct bw_uploads *l = a->outcome == BW_OK ? a->uploads : NULL;
	int err = 0;

	r->phase = next;
	r->probes |= !l;	/* it tells of none: it is not asked for those either */
	for (size_t i = 0; l && !err && i < l->n && r->uploads_n < BW_RECLAIM_UPLOADS_MAX; i++)
		err = judge(r, &l->items[i]) ? 0 : -ENOMEM;
	if (!err && l && l->more && l->n && r->uploads_n < BW_RECLAIM_UPLOADS_MAX) {
		err = remember_place(r, &l->items[l->n - 1]);
		r->phase = page;
		if (!err)
			bw_reclaim_list_uploads(r, r->after, r->upload_after);
	}
	if (err)
		bw_reclaim_fail(r, err, "");
}

static void next(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	if (r->upload < r->uploads_n) {
		r->phase = aborted;
		bw_reclaim_abort(r, r->uploads[r->upload].key, r->uploads[r->upload].id);
		return;
	}
	bool more = r->uploads_n == BW_RECLAIM_UPLOADS_MAX && ++r->rounds < BW_RECLAIM_ROUNDS;

	bw_reclaim_uploads_done(r);
	if (!more && !r->probes && !r->needed.part) {
		more = r->probes = true;
		r->rounds = 0;
	}
	r->phase = more ? begin_round : bw_reclaim_data_next;
}

static void aborted(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	r->upload++;
	if (a->outcome != BW_DENIED)
		r->rep.deleted[BW_WHY_PARTIAL_OLD].n++;
	r->phase = next;
}
