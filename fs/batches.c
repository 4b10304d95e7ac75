/* SPDX-License-Identifier: Apache-2.0 */
/* Producers and staged batches as data: making, finding, judging wholeness, dropping. */
#include "fs/names.h"
#include "fs/stage.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct bw_stage_producer *bw_producer_find(struct bw_produce *p, const char *name)
{
	struct bw_stage_producer *sp = p->producers;

	while (sp && strcmp(sp->name, name))
		sp = sp->next;
	return sp;
}

static bool make_texts(struct bw_produce *p, struct bw_stage_node *dir)
{
	static const char *const names[] = {
		[BW_TEXT_NEXT] = "next", [BW_TEXT_STATE] = "state", [BW_TEXT_RESUME] = "resume"};

	for (int i = BW_TEXT_RESUME; i >= BW_TEXT_NEXT; i--) {
		struct bw_stage_node *n = bw_stage_node_make(p, dir, BW_NODE_TEXT, names[i]);
		if (!n)
			return false;
		n->text = (enum bw_produce_text)i;
	}
	return true;
}

struct bw_stage_producer *bw_producer_make(struct bw_produce *p, const char *name)
{
	struct bw_stage_producer *sp = bw_producer_find(p, name);

	if (sp)
		return sp;
	sp = calloc(1, sizeof(*sp));
	if (!sp)
		return NULL;
	sp->produce = p;
	memcpy(sp->name, name, strlen(name) + 1);
	sp->dir = bw_stage_node_make(p, p->root, BW_NODE_PRODUCER, name);
	if (sp->dir)
		sp->dir->producer = sp;
	if (!sp->dir || !make_texts(p, sp->dir)) {
		if (sp->dir)
			bw_stage_node_detach(p, sp->dir);
		free(sp);
		return NULL;
	}
	sp->next = p->producers;
	p->producers = sp;
	return sp;
}

static struct bw_stage_batch *find_in(struct bw_stage_batch *b, uint64_t seq)
{
	while (b && b->seq < seq)
		b = b->next;
	return b && b->seq == seq ? b : NULL;
}

struct bw_stage_batch *bw_stage_batch_find(const struct bw_stage_producer *sp, uint64_t seq)
{
	struct bw_stage_batch *b = find_in(sp->batches, seq), *last = sp->done_last;

	if (b || !last || seq > last->seq)
		return b;
	return seq == last->seq ? last : find_in(sp->done, seq);
}

static void list_insert(struct bw_stage_batch **at, struct bw_stage_batch *b)
{
	b->next = *at;
	b->prev = at;
	if (b->next)
		b->next->prev = &b->next;
	*at = b;
}

static void list_remove(struct bw_stage_batch *b)
{
	struct bw_stage_producer *sp = b->producer;

	if (sp->done_last == b)
		sp->done_last = b->prev == &sp->done ? NULL
						     : bw_container_of(b->prev, struct bw_stage_batch, next);
	if (sp->full == b)
		sp->full = b->next;
	*b->prev = b->next;
	if (b->next)
		b->next->prev = b->prev;
}

static void count_kept(struct bw_stage_batch *b, uint32_t kept)
{
	b->produce->kept -= b->kept;
	b->produce->kept += kept;
	b->kept = kept;
}

/* Its directories stay. */
static void drop_names(struct bw_stage_batch *b)
{
	struct bw_produce *p = b->produce;

	for (struct bw_stage_node *n = b->dir->children, *next; n; n = next) {
		next = n->next;
		if (n != b->ranks)
			bw_stage_node_detach(p, n);
	}
	while (b->ranks && b->ranks->children)
		bw_stage_node_detach(p, b->ranks->children);
	free(b->by_rank);
	b->by_rank = NULL;
	count_kept(b, bw_stage_node_count(b->dir) + BW_KEPT_BATCH);
}

/* P3d holds for those that are in use: nobody comes back to a batch before so many others. */
static void forget_oldest(struct bw_stage_producer *sp)
{
	struct bw_stage_batch *full = sp->full;

	if (full != sp->done_last) {
		sp->full = full->next;
		drop_names(full);
	} else {
		bw_stage_batch_drop(sp->done);
	}
}

void bw_stage_batch_done(struct bw_stage_batch *b)
{
	struct bw_stage_producer *sp = b->producer;

	list_remove(b);
	list_insert(sp->done_last ? &sp->done_last->next : &sp->done, b);
	sp->done_last = b;
	if (!sp->full)
		sp->full = b;
	count_kept(b, bw_stage_node_count(b->dir) + BW_KEPT_BATCH);
	while (b->produce->kept > BW_KEPT_MAX && sp->done != b)
		forget_oldest(sp);
}

int bw_stage_batch_make(struct bw_stage_producer *sp, const char *name, uint64_t seq,
		  struct bw_stage_batch **ret)
{
	struct bw_produce *p = sp->produce;
	struct bw_stage_batch *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->produce = p;
	b->producer = sp;
	b->seq = seq;
	b->by_rank = calloc(p->c.stream->options.ranks, sizeof(struct bw_stage_node *));
	b->dir = b->by_rank ? bw_stage_node_make(p, sp->dir, BW_NODE_BATCH, name) : NULL;
	if (!b->dir) {
		free(b->by_rank);
		free(b);
		return -ENOMEM;
	}
	b->dir->batch = b;
	struct bw_stage_batch **at = &sp->batches;

	while (*at && (*at)->seq < seq)
		at = &(*at)->next;
	list_insert(at, b);
	*ret = b;
	return 0;
}

void bw_stage_batch_drop(struct bw_stage_batch *b)
{
	list_remove(b);
	count_kept(b, 0);
	bw_build_drop_locked(b);
	if (b->dir)
		bw_stage_node_detach(b->produce, b->dir);
	free(b->by_rank);
	free(b);
}

int bw_stage_batch_editable(const struct bw_stage_batch *b)
{
	if (b->state == BW_BATCH_BUSY)
		return -EBUSY;
	return b->state == BW_BATCH_COMMITTED ? -EROFS : 0;
}

bool bw_stage_node_whole(const struct bw_stage_node *n)
{
	if (n->torn || !n->spool || bw_spool_size(n->spool) == 0)
		return false;
	if (n->sealed)
		return true;
	if (n->batch->produce->c.options->commit == BW_COMMIT_RENAME)
		return false;
	for (const struct bw_stage_handle *h = n->writers; h; h = h->next)
		if (!h->closed)
			return false;
	return true;
}

bool bw_stage_node_writing(const struct bw_stage_node *n)
{
	for (const struct bw_stage_handle *h = n->writers; h; h = h->next)
		if (h->writing)
			return true;
	return false;
}

bool bw_stage_node_counts(const struct bw_stage_node *n)
{
	return n->batch && (n->rank >= 0 || n->batch->state_file == n);
}

/* A cursor that is cut short or still being written must not ride with the batch (P4). */
static bool state_is_ready(const struct bw_stage_node *n)
{
	if (n->torn)
		return false;
	if (n->batch->produce->c.options->commit == BW_COMMIT_RENAME)
		return n->sealed;
	for (const struct bw_stage_handle *h = n->writers; h; h = h->next)
		if (!h->closed)
			return false;
	return true;
}

bool bw_stage_node_seals(const struct bw_stage_node *n)
{
	if (n->batch->produce->c.options->commit != BW_COMMIT_RENAME || n->torn || !n->spool)
		return false;
	return n->rank < 0 || bw_spool_size(n->spool) > 0;
}

bool bw_stage_batch_state_missing(const struct bw_stage_batch *b)
{
	return b->state_file && !state_is_ready(b->state_file);
}

static bool has_rank(const struct bw_stage_batch *b, uint32_t rank)
{
	return b->by_rank[rank] && bw_stage_node_whole(b->by_rank[rank]);
}

bool bw_stage_batch_whole(struct bw_stage_batch *b, uint32_t ranks)
{
	uint32_t looked = 0;

	for (; looked < ranks && has_rank(b, b->lacks); looked++)
		b->lacks = (b->lacks + 1) % ranks;
	return looked == ranks && !bw_stage_batch_state_missing(b);
}

uint32_t bw_stage_batch_missing(const struct bw_stage_batch *b, uint32_t ranks)
{
	uint32_t missing = 0;

	for (uint32_t r = 0; r < ranks; r++)
		missing += !has_rank(b, r);
	return missing + bw_stage_batch_state_missing(b);
}
