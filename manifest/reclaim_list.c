/* SPDX-License-Identifier: Apache-2.0 */
/* Walks over listings: states, data objects that no commit names, index nodes. */
#include "manifest/reclaim_priv.h"

static bw_reclaim_phase states_page, states_flushed, data, refs_walk, refs_got, data_page, data_flushed,
	nodes, nodes_page, nodes_flushed;

/* ---- One page ---------------------------------------------------------------------------------- */

static void count_kept(struct bw_reclaim *r, enum bw_reclaim_why why, uint64_t size)
{
	if (why == BW_WHY_LATER)
		return;
	r->rep.kept[why].n++;
	r->rep.kept[why].bytes += size;
}

/* Of a dry run, which has counted them with their steps. */
static bool is_counted(const struct bw_reclaim *r, const struct bw_key *k)
{
	return r->o.dry && k->kind == BW_KEY_NODE && k->last < r->bound &&
	       k->last >= r->newest->swept;
}

static void judge_page(struct bw_reclaim *r, const struct bw_listing *l)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct bw_listed *o = &l->items[i];
		struct bw_key k = bw_key_parse(r->stream, o->key);
		enum bw_reclaim_why why = bw_reclaim_judge(&r->rules, &k);

		if (is_counted(r, &k))
			continue;
		if (bw_reclaim_deletes(why))
			bw_reclaim_add(r, o->key, why, o->size);
		else
			count_kept(r, why, o->size);
	}
	r->done_n += l->n;
	r->more = l->more && l->n;
	if (l->n)
		memcpy(r->after, l->items[l->n - 1].key, strlen(l->items[l->n - 1].key) + 1);
}

static void list(struct bw_reclaim *r, enum bw_key_kind kind, bw_reclaim_phase *then)
{
	r->phase = then;
	bw_reclaim_list(r, kind, r->after);
}

static void begin_list(struct bw_reclaim *r, enum bw_key_kind kind, bw_reclaim_phase *then)
{
	r->after[0] = 0;
	list(r, kind, then);
}

/* ---- States ------------------------------------------------------------------------------------ */

void bw_reclaim_states(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	bw_reclaim_stage(r, BW_RECLAIM_STATES, 0);
	r->rules = (struct bw_reclaim_rules){.judge = r->judge, .swept = r->newest->swept};
	begin_list(r, BW_KEY_STATE, states_page);
}

static void states_page(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	judge_page(r, a->listing);
	bw_reclaim_flush(r, states_flushed);
}

static void states_flushed(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	if (r->more)
		list(r, BW_KEY_STATE, states_page);
	else
		r->phase = r->o.walk ? data : nodes;
}

/* ---- Data -------------------------------------------------------------------------------------- */

/*
 * The steps whose entries are gathered: those that may be read, or, of a dry run, those dealt with.  What others have
 * swept meanwhile, by a newer root, is gone with its nodes.
 */
static void begin_refs(struct bw_reclaim *r, bool counting)
{
	uint64_t swept = r->newest->swept, from = counting || r->bound < swept ? swept : r->bound;
	uint64_t end = counting ? r->bound : r->judge->head;

	r->counting = counting;
	bw_walk_done(&r->walk);
	bw_walk_begin(&r->walk, counting ? r->newest : r->judge, from, end);
	r->phase = refs_walk;
}

static void data(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	uint64_t from = r->newest->swept < r->bound ? r->newest->swept : r->bound;
	uint64_t most = r->judge->head - from;
	uint64_t memory = r->o.dry ? r->o.memory / 2 : r->o.memory;

	(void)a;
	bw_reclaim_stage(r, BW_RECLAIM_DATA, r->newest->head - r->bound);
	bw_refs_done(&r->needed);	/* it may have begun again */
	bw_refs_done(&r->counted);
	/* Both sets are made for the same number, so they are cut into the same parts. */
	int err = bw_refs_init(&r->needed, most, memory);

	if (!err && r->o.dry)
		err = bw_refs_init(&r->counted, most, memory);
	if (err) {
		bw_reclaim_fail(r, err, "");
		return;
	}
	begin_refs(r, false);
}

static int add_refs(struct bw_reclaim *r, const struct bw_entry *e, uint32_t n)
{
	int err = 0;

	for (uint32_t i = 0; i < n && !err; i++)
		err = bw_refs_add(r->counting ? &r->counted : &r->needed, e[i].nonce);
	r->walk.at += n;
	return err;
}

static void begin_data(struct bw_reclaim *r)
{
	bw_walk_done(&r->walk);
	r->done_n = 0;
	r->rules.needed = &r->needed;
	r->rules.counted = r->o.dry ? &r->counted : NULL;
	begin_list(r, BW_KEY_DATA, data_page);
}

static void refs_walk(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	const struct bw_entry *e;
	uint32_t n;

	(void)a;
	int moved = bw_walk_move(&r->walk, &e, &n);

	if (moved == 1)
		moved = add_refs(r, e, n);
	else if (moved == 0) {
		r->phase = refs_got;
		bw_reclaim_get_node(r);
		return;
	}
	if (moved == -ENODATA && r->o.dry && !r->counting && r->newest->swept < r->bound)
		begin_refs(r, true);
	else if (moved == -ENODATA)
		begin_data(r);
	else if (moved)
		bw_reclaim_fail(r, moved, "");
}

/* Without a node nothing is known of what it names: nothing of data/ is judged in this pass. */
static void refs_got(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	r->phase = refs_walk;
	int err = -BW_E_CORRUPT;

	if (a->outcome == BW_NOT_FOUND) {
		bw_reclaim_again(r, r->req.key);
		return;
	}
	if (a->outcome == BW_OK)
		err = bw_walk_give(&r->walk, a->blob->bytes, a->blob->len);
	if (err)
		bw_reclaim_fail(r, err, r->req.key);
}

static void data_page(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	judge_page(r, a->listing);
	bw_reclaim_flush(r, data_flushed);
}

static void data_flushed(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	if (r->more)
		list(r, BW_KEY_DATA, data_page);
	else
		r->phase = bw_reclaim_uploads;
}

void bw_reclaim_data_next(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	if (r->needed.part + 1 < r->needed.parts) {
		bw_refs_next_part(&r->needed);
		if (r->o.dry)
			bw_refs_next_part(&r->counted);
		bw_reclaim_stage(r, BW_RECLAIM_DATA, r->newest->head - r->bound);
		begin_refs(r, false);
		return;
	}
	r->rep.walked = true;
	r->rules.needed = r->rules.counted = NULL;
	bw_refs_done(&r->needed);
	bw_refs_done(&r->counted);
	r->phase = nodes;
}

/* ---- Index nodes: what an attempt left that lost its slot, and who died before he deleted it ------ */

static void nodes(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	bw_reclaim_stage(r, BW_RECLAIM_NODES, 0);
	begin_list(r, BW_KEY_NODE, nodes_page);
}

static void nodes_page(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	judge_page(r, a->listing);
	bw_reclaim_flush(r, nodes_flushed);
}

static void nodes_flushed(struct bw_reclaim *r, const struct bw_reclaim_answer *a)
{
	(void)a;
	if (r->more)
		list(r, BW_KEY_NODE, nodes_page);
	else
		r->phase = bw_reclaim_roots;
}
