/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk over what is committed: index nodes from the oldest pointer that covers a live step to the
 * newest, then the tail.  Leaves are read ahead.
 */
#include "manifest/fsck_priv.h"
#include "manifest/head_priv.h"
#include "manifest/root_entry.h"

#include <inttypes.h>

struct walk {
	struct fsck *f;
	const struct fsck_visit *visit;
	struct fsck_ahead *ahead;
	/* Of the entries: the one before and the digest behind it, unless something could not be read. */
	bool last_known;
	struct bw_entry last;
	uint64_t digest;
};

bool fsck_in_hole(const struct fsck *f, uint64_t first, uint64_t last)
{
	for (unsigned i = 0; i < f->holes_n; i++)
		if (first <= f->holes[i].last && last >= f->holes[i].first)
			return true;
	return false;
}

/* What cannot be read breaks every chain. */
static void forget(struct walk *w)
{
	struct fsck *f = w->f;

	w->last_known = false;
	for (uint32_t i = 0; w->visit->judge && i < f->root->producers_n; i++)
		f->places[i].known = false;
}

static void add_hole(struct fsck *f, uint64_t first, uint64_t last)
{
	/* Too many: the last one is stretched, and more is left unjudged than need be. */
	if (f->holes_n == FSCK_HOLES_MAX) {
		f->holes[f->holes_n - 1].last = last;
		return;
	}
	f->holes[f->holes_n].first = first;
	f->holes[f->holes_n++].last = last;
}

/* ---- Entries ---------------------------------------------------------------------------------- */

static int check_seq(struct walk *w, const struct bw_entry *e)
{
	struct fsck *f = w->f;
	const struct bw_producer_entry *p = bw_root_producer(f->root, e->producer);

	if (!p)
		return fsck_note(f, BW_FSCK_INDEX, e->step, e->step, "",
				 "committed by %s, which the newest root does not know", e->producer);
	struct fsck_place *at = &f->places[p - f->root->producers];
	int err = 0;

	if (at->known && e->seq < at->next)
		err = fsck_note(f, BW_FSCK_SEQ, e->step, e->step, "",
				"seq %" PRIu64 " of %s is committed a second time", e->seq, e->producer);
	else if (at->known && e->seq > at->next)
		err = fsck_note(f, BW_FSCK_SEQ, e->step, e->step, "",
				"seq %" PRIu64 " of %s where its seq %" PRIu64 " must follow", e->seq,
				e->producer, at->next);
	else if (at->known && e->epoch < at->epoch)
		err = fsck_note(f, BW_FSCK_SEQ, e->step, e->step, "",
				"epoch %" PRIu64 " of %s after its epoch %" PRIu64, e->epoch, e->producer,
				at->epoch);
	if (!at->seen && e->step >= f->root->first) {
		at->seen = true;
		at->first_seq = e->seq;
	}
	at->known = true;
	at->next = e->seq + 1;
	at->epoch = e->epoch;
	at->last_step = e->step;
	return err;
}

static int take_entry(struct walk *w, const struct bw_entry *e)
{
	struct fsck *f = w->f;
	int err = 0;

	if (w->visit->judge) {
		if (w->last_known && !bw_entry_follows(&w->last, e))
			err = fsck_note(f, BW_FSCK_INDEX, e->step, e->step, "",
					"the entry does not follow from that of step %" PRIu64,
					w->last.step);
		if (!err)
			err = check_seq(w, e);
	}
	w->last = *e;
	w->last_known = true;
	if (err || e->step < f->root->first)
		return err;
	if (w->visit->judge) {
		f->report->steps++;
		fsck_did(f, 1);
	}
	return w->visit->entry(f, w->visit->ctx, e);
}

/* ---- Nodes ------------------------------------------------------------------------------------ */

/* A node that cannot be had: what became of it is judged by a root that is newer than the answer. */
static int lose_node(struct walk *w, unsigned level, const struct bw_pointer *p, int why)
{
	struct fsck *f = w->f;
	char key[BW_KEY_MAX + 1];
	int err;

	forget(w);
	if (!w->visit->judge)
		return 0;
	uint64_t first = p->first > f->root->first ? p->first : f->root->first;

	add_hole(f, first, p->last);
	err = fsck_refresh(f, bw_now());
	if (err || p->last < fsck_latest_first(f))
		return err;
	bw_key_node(&f->stream, level, p->first, p->last, p->hash, key);
	if (why == -BW_E_FORMAT_NEWER)
		return fsck_note(f, BW_FSCK_NEWER, FSCK_NONE, key,
				 "%s was written by a newer release: it cannot be checked", key);
	return why == -ENOENT ? fsck_note(f, BW_FSCK_INDEX_MISSING, first, p->last, key,
					  "the index node %s is missing", key) :
				fsck_note(f, BW_FSCK_INDEX_DAMAGED, first, p->last, key,
					  "the index node %s is damaged", key);
}

static int decode(struct walk *w, unsigned level, const struct bw_pointer *p, const char *key, int err,
		  struct bw_blob *blob, struct bw_node **ret)
{
	if (!err)
		err = bw_node_decode(level, p, blob->bytes, blob->len, ret);
	for (int i = 1; i < FSCK_READS && err == -BW_E_CORRUPT; i++) {
		bw_auto_blob struct bw_blob *again = NULL;

		err = fsck_get(w->f, key, BW_NODE_STORED_MAX, &again);
		if (!err)
			err = bw_node_decode(level, p, again->bytes, again->len, ret);
	}
	return err;
}

/* What begins at step first, up to last, and says which digest is before it: a leaf, or the tail. */
static int check_before(struct walk *w, uint64_t before, uint64_t first, uint64_t last, const char *key)
{
	struct fsck *f = w->f;

	if (!w->visit->judge || !w->last_known || before == w->digest)
		return 0;
	return fsck_note(f, BW_FSCK_INDEX, first > f->root->first ? first : f->root->first, last, key,
			 "%s begins with another digest than the steps before it end with",
			 *key ? key : "the tail of the newest root");
}

/* The oldest leaf that was read ahead. */
static int take_leaf(struct walk *w)
{
	bw_auto_blob struct bw_blob *blob = NULL;
	struct bw_node *node = NULL;
	char key[BW_KEY_MAX + 1];
	struct fsck_tag tag;
	int err = fsck_ahead_pop(w->ahead, &tag, key, &blob);

	err = decode(w, 0, &tag.pointer, key, err, blob, &node);
	if (fsck_fatal(err))
		return err;
	if (err)
		return lose_node(w, 0, &tag.pointer, err);
	err = check_before(w, node->digest_before, node->first, node->last, key);
	if (w->visit->judge)
		w->f->report->nodes++;
	if (!err && w->visit->node)
		err = w->visit->node(w->f, w->visit->ctx, 0, &tag.pointer);
	for (uint32_t i = 0; !err && i < node->n; i++)
		err = take_entry(w, &node->entries[i]);
	w->digest = bw_digest_over(node->digest_before, node->entries, node->n);
	bw_node_unref(node);
	return err;
}

static int drain(struct walk *w)
{
	int err = 0;

	while (!err && w->ahead->n)
		err = take_leaf(w);
	return err;
}

static int take_pointer(struct walk *w, unsigned level, const struct bw_pointer *p);

static int take_inner(struct walk *w, const char *key, const struct fsck_tag *tag)
{
	bw_auto_blob struct bw_blob *blob = NULL;
	struct bw_node *node = NULL;
	int err = fsck_get(w->f, key, BW_NODE_STORED_MAX, &blob);

	err = decode(w, tag->level, &tag->pointer, key, err, blob, &node);
	if (fsck_fatal(err))
		return err;
	if (err) {
		int why = err;

		err = drain(w);
		return err ? err : lose_node(w, tag->level, &tag->pointer, why);
	}
	if (w->visit->judge)
		w->f->report->nodes++;
	if (!err && w->visit->node)
		err = w->visit->node(w->f, w->visit->ctx, tag->level, &tag->pointer);
	for (uint32_t i = 0; !err && i < node->n; i++)
		err = take_pointer(w, tag->level - 1, &node->pointers[i]);
	bw_node_unref(node);
	return err;
}

static int take_pointer(struct walk *w, unsigned level, const struct bw_pointer *p)
{
	struct fsck_tag tag = {.level = level, .pointer = *p};
	char key[BW_KEY_MAX + 1];
	int err = 0;

	if (p->last < w->f->root->first ||
	    (w->visit->wants && !w->visit->wants(w->f, w->visit->ctx, p->first, p->last)))
		return 0;
	bw_key_node(&w->f->stream, level, p->first, p->last, p->hash, key);
	if (level)
		return take_inner(w, key, &tag);
	while (!err && !fsck_ahead_room(w->ahead, BW_NODE_STORED_MAX))
		err = take_leaf(w);
	if (!err)
		fsck_ahead_push(w->ahead, key, 0, BW_TO_END, BW_NODE_STORED_MAX, &tag);
	return err;
}

/* ---- All of it -------------------------------------------------------------------------------- */

static int walk(struct walk *w)
{
	const struct bw_root *r = w->f->root;
	int err = 0;

	for (unsigned level = r->levels_n; !err && level-- > 0;)
		for (uint32_t i = 0; !err && i < r->levels[level].n; i++)
			err = take_pointer(w, level, &r->levels[level].pointers[i]);
	if (!err)
		err = drain(w);
	if (!err)
		err = check_before(w, r->tail_digest, r->head - r->tail_n, r->head - 1, "");
	for (uint32_t i = 0; !err && i < r->tail_n; i++)
		err = take_entry(w, &r->tail[i]);
	return err;
}

/* The producers as the entries leave them, against what the root says of them. */
static int check_ends(struct fsck *f)
{
	int err = 0;

	for (uint32_t i = 0; !err && i < f->root->producers_n; i++) {
		const struct bw_producer_entry *p = &f->root->producers[i];
		const struct fsck_place *at = &f->places[i];

		if (!at->known)
			continue;
		if (at->next != p->next || at->epoch > p->epoch)
			err = fsck_note(f, BW_FSCK_SEQ, FSCK_NONE, "",
					"behind the steps of %s comes its seq %" PRIu64 " of epoch %" PRIu64
					", but the newest root says seq %" PRIu64 " of epoch %" PRIu64,
					p->name, at->next, at->epoch, p->next, p->epoch);
		else if (at->seen && at->last_step != p->last_step)
			err = fsck_note(f, BW_FSCK_SEQ, at->last_step, at->last_step, "",
					"the last step of %s, which is step %" PRIu64 " for the newest root",
					p->name, p->last_step);
	}
	return err;
}

int fsck_walk(struct fsck *f, const struct fsck_visit *visit)
{
	struct walk w = {.f = f, .visit = visit};
	int err = fsck_ahead_new(f, &w.ahead);

	if (err)
		return err;
	/* From step 0 on, every producer begins with seq 0. */
	for (uint32_t i = 0; visit->judge && f->root->first == 0 && i < f->root->producers_n; i++)
		f->places[i].known = true;
	err = walk(&w);
	fsck_ahead_free(w.ahead);
	return err || !visit->judge ? err : check_ends(f);
}
