/* SPDX-License-Identifier: Apache-2.0 */
/* Deletes what steps [swept, bound) are made of, ascending, and says so in the root. */
#include "manifest/reclaim_priv.h"

static bw_reclaim_phase walk, got, flushed, flushed_all, sweep, swept;

void bw_reclaim_steps(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	if (!r->judge) {	/* nothing is old enough for anything to be deleted */
		bw_reclaim_end(r);
		return;
	}
	uint64_t from = r->newest->swept;

	if (r->bound <= from) {
		r->phase = bw_reclaim_states;
		return;
	}
	bw_reclaim_stage(r, BW_RECLAIM_STEPS, r->bound - r->rep.swept_before);
	bw_walk_done(&r->walk);
	bw_walk_begin(&r->walk, r->newest, from, r->bound);
	r->clean = from;
	r->phase = walk;
}

/* ---- Index nodes ------------------------------------------------------------------------------- */

/* A node goes after the objects that it names: so it waits for the delete under way. */
static void wait_for(struct bw_reclaim *r, unsigned level, const struct bw_pointer *p, uint64_t size)
{
	struct bw_reclaim_item *w = &r->wait[r->wait_n++];

	bw_key_node(r->stream, level, p->first, p->last, p->hash, w->key);
	w->why = BW_WHY_NODE_OLD;
	w->size = size;
}

static bool waits_too_long(const struct bw_reclaim *r)
{
	return r->wait_n + BW_LEVELS_MAX + 1 > BW_RECLAIM_NODES_WAIT;
}

/* Nodes that the walk has left behind. */
static void leave_nodes(struct bw_reclaim *r)
{
	struct bw_walk *w = &r->walk;

	for (unsigned k = 0; k < BW_LEVELS_MAX; k++) {
		struct bw_node *n = w->nodes[k];

		if (!n || n->last >= w->at)
			continue;
		struct bw_pointer p = {.first = n->first, .last = n->last, .hash = w->hashes[k]};

		wait_for(r, k, &p, 0);
		bw_node_unref(n);
		w->nodes[k] = NULL;
	}
}

/* ---- Walking ----------------------------------------------------------------------------------- */

/* As many entries as the batch has room for. */
static void add_entries(struct bw_reclaim *r, const struct bw_entry *e, uint32_t n)
{
	char key[BW_KEY_MAX + 1];

	for (uint32_t i = 0; i < n && !bw_reclaim_full(r); i++, e++) {
		bw_key_data(r->stream, e->producer, e->epoch, e->seq, e->nonce, key);
		bw_reclaim_add(r, key, BW_WHY_RECLAIMED, e->size);
		r->walk.at = e->step + 1;
	}
	r->done_n = r->walk.at - r->rep.swept_before;
}

static void walk(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	const struct bw_entry *e;
	uint32_t n;

	(void)a;
	leave_nodes(r);
	if (bw_reclaim_full(r) || waits_too_long(r)) {
		bw_reclaim_flush(r, flushed);
		return;
	}
	int moved = bw_walk_move(&r->walk, &e, &n);

	if (moved == -ENODATA) {
		bw_reclaim_flush(r, flushed_all);
	} else if (moved < 0) {
		bw_reclaim_fail(r, moved, "");
	} else if (moved) {
		add_entries(r, e, n);
	} else {
		r->phase = got;
		bw_reclaim_get_node(r);
	}
}

/*
 * A node that is missing has been deleted by a collector that did not come to its sweep, after what it
 * names.  A damaged one does not hold up the rest: what it names is found in the listing of data/.
 */
static void got(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	struct bw_walk *w = &r->walk;
	int err = a->outcome == BW_NOT_FOUND ? -ENOENT : -BW_E_CORRUPT;

	r->phase = walk;
	if (a->outcome == BW_OK)
		err = bw_walk_give(w, a->blob->bytes, a->blob->len);
	if (!err)
		return;
	if (err == -ENOMEM || err == -BW_E_FORMAT_NEWER) {
		bw_reclaim_fail(r, err, r->req.key);
		return;
	}
	if (err != -ENOENT && w->want.last < r->bound)
		wait_for(r, w->want_level, &w->want, 0);
	bw_walk_pass(w);
	if (w->at > w->end)
		w->at = w->end;
}

/* ---- Deleting and sweeping --------------------------------------------------------------------- */

static void add_waiting(struct bw_reclaim *r)
{
	for (size_t i = 0; i < r->wait_n; i++)
		bw_reclaim_add(r, r->wait[i].key, r->wait[i].why, r->wait[i].size);
	r->wait_n = 0;
}

static void flushed(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	r->clean = r->walk.at;
	add_waiting(r);
	r->phase = walk;
	if (r->clean - r->newest->swept >= BW_RECLAIM_SWEEP_EVERY)
		r->phase = sweep;
}

static void flushed_all(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	r->clean = r->walk.at;
	leave_nodes(r);
	add_waiting(r);
	bw_reclaim_flush(r, sweep);
}

static void sweep(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	if (r->o.dry) {
		r->phase = r->clean == r->bound ? bw_reclaim_states : walk;
		return;
	}
	r->phase = swept;
	bw_reclaim_commit(r, BW_CHANGE_SWEEP, r->clean);
}

static void swept(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	bw_reclaim_newer(r, a->root);
	r->phase = walk;
	if (r->clean == r->bound) {
		bw_walk_done(&r->walk);
		r->phase = bw_reclaim_states;
	}
}
