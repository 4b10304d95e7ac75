/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/apply_draft.h"

#include "manifest/root_entry.h"
#include "manifest/root_footers.h"

#include <stdlib.h>
#include <string.h>

/* ---- Copying the base ------------------------------------------------------------------------- */

static void *copy_array(const void *from, size_t n, size_t cap, size_t size)
{
	void *to = calloc(cap ? cap : 1, size);

	if (to && n)
		memcpy(to, from, n * size);
	return to;
}

static int copy_producers(struct bw_root *to, const struct bw_root *from)
{
	to->producers = copy_array(from->producers, from->producers_n, from->producers_n,
				   sizeof(*to->producers));
	if (!to->producers)
		return -ENOMEM;
	for (uint32_t i = 0; i < from->producers_n; i++)
		to->producers[i].state = NULL;
	to->producers_n = from->producers_n;
	for (uint32_t i = 0; i < from->producers_n; i++) {
		const struct bw_producer_entry *p = &from->producers[i];

		if (!p->state)
			continue;
		to->producers[i].state = copy_array(p->state, p->state_len, p->state_len + 1, 1);
		if (!to->producers[i].state)
			return -ENOMEM;
	}
	return 0;
}

static int copy_job(struct bw_job *to, const struct bw_job *from)
{
	memcpy(to->name, from->name, sizeof(to->name));
	to->markers = calloc(from->markers_n ? from->markers_n : 1, sizeof(*to->markers));
	if (!to->markers)
		return -ENOMEM;
	for (; to->markers_n < from->markers_n; to->markers_n++) {
		struct bw_marker *m = &to->markers[to->markers_n];

		m->step = from->markers[to->markers_n].step;
		m->text = strdup(from->markers[to->markers_n].text);
		if (!m->text)
			return -ENOMEM;
	}
	return 0;
}

static int copy_jobs(struct bw_root *to, const struct bw_root *from)
{
	to->jobs = calloc(from->jobs_n ? from->jobs_n : 1, sizeof(*to->jobs));
	if (!to->jobs)
		return -ENOMEM;
	for (uint32_t i = 0; i < from->jobs_n; i++) {
		to->jobs_n = i + 1;	/* so that a half copied one is freed as well */
		int err = copy_job(&to->jobs[i], &from->jobs[i]);

		if (err)
			return err;
	}
	return 0;
}

static int copy_levels(struct bw_root *to, const struct bw_root *from)
{
	to->levels_n = from->levels_n;
	for (uint32_t k = 0; k < from->levels_n; k++) {
		to->levels[k].pointers = copy_array(from->levels[k].pointers, from->levels[k].n,
						    from->levels[k].n, sizeof(struct bw_pointer));
		if (!to->levels[k].pointers)
			return -ENOMEM;
		to->levels[k].n = from->levels[k].n;
	}
	return 0;
}

static int copy_root(struct bw_draft *d, const struct bw_root *base)
{
	struct bw_root *to = d->root;
	int err = copy_producers(to, base);

	if (!err)
		err = copy_jobs(to, base);
	if (!err)
		err = copy_levels(to, base);
	if (err)
		return err;
	d->tail_cap = base->tail_n + BW_APPENDS_MAX;
	to->tail = copy_array(base->tail, base->tail_n, d->tail_cap, sizeof(*to->tail));
	if (!to->tail)
		return -ENOMEM;
	to->tail_n = base->tail_n;
	return bw_root_carry(to, base);
}

int bw_draft_init(struct bw_draft *d, const struct bw_stream *s, const struct bw_root *base,
		  const struct bw_commit *commit)
{
	struct bw_root *r = calloc(1, sizeof(*r));

	*d = (struct bw_draft){.stream = s, .root = r};
	if (!r)
		return -ENOMEM;
	atomic_init(&r->refs, 1);
	r->version = base->version + 1;
	memcpy(r->stream_id, base->stream_id, sizeof(r->stream_id));
	memcpy(r->commit_id, commit->id, sizeof(r->commit_id));
	r->previous_xxh3 = base->stored_xxh3;
	r->time_ms = commit->time_ms > base->time_ms ? commit->time_ms : base->time_ms;
	r->first = base->first;
	r->swept = base->swept;
	r->head = base->head;
	r->bytes = base->bytes;
	r->sealed = base->sealed;
	r->digest = base->digest;
	r->tail_digest = base->tail_digest;
	int err = copy_root(d, base);

	if (err)
		bw_draft_done(d);
	return err;
}

void bw_draft_done(struct bw_draft *d)
{
	bw_root_unref(d->root);
	d->root = NULL;
}

/* ---- The changes: checked by bw_change_check(), so only memory can be missing here -------------- */

static uint32_t lower_bound(const void *array, uint32_t n, size_t size, const char *name)
{
	uint32_t lo = 0, hi = n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		/* Producers and jobs both begin with their name. */
		if (strcmp((const char *)array + mid * size, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Makes room at i for one more element and zeroes it. */
static void *insert(void **array, uint32_t *n, size_t size, uint32_t i)
{
	char *grown = realloc(*array, (*n + (size_t)1) * size);

	if (!grown)
		return NULL;
	*array = grown;
	memmove(grown + (i + (size_t)1) * size, grown + i * size, (*n - i) * size);
	memset(grown + i * size, 0, size);
	(*n)++;
	return grown + i * size;
}

static struct bw_producer_entry *producer_make(struct bw_root *r, const char *name)
{
	uint32_t i = lower_bound(r->producers, r->producers_n, sizeof(*r->producers), name);

	if (i < r->producers_n && !strcmp(r->producers[i].name, name))
		return &r->producers[i];
	void *array = r->producers;
	struct bw_producer_entry *p = insert(&array, &r->producers_n, sizeof(*p), i);

	r->producers = array;
	if (p)
		memcpy(p->name, name, strlen(name) + 1);
	return p;
}

static struct bw_job *job_find(struct bw_root *r, const char *name)
{
	uint32_t i = lower_bound(r->jobs, r->jobs_n, sizeof(*r->jobs), name);

	return i < r->jobs_n && !strcmp(r->jobs[i].name, name) ? &r->jobs[i] : NULL;
}

static int do_fence(struct bw_root *r, const struct bw_change *c)
{
	struct bw_producer_entry *p = producer_make(r, c->name);

	if (!p)
		return -ENOMEM;
	p->epoch++;
	memcpy(p->owner, c->owner, sizeof(p->owner));
	return 0;
}

static int set_state(struct bw_producer_entry *p, const struct bw_change *c)
{
	uint8_t *state = NULL;

	if (c->state) {
		state = malloc((size_t)c->state_len + 1);
		if (!state)
			return -ENOMEM;
		memcpy(state, c->state, c->state_len);
	}
	free(p->state);
	p->state = state;
	p->has_state = true;
	p->state_seq = c->seq;
	p->state_epoch = c->epoch;
	p->state_nonce = c->nonce;
	p->state_len = c->state_len;
	p->state_xxh3 = c->state_xxh3;
	return 0;
}

static int do_append(struct bw_draft *d, const struct bw_change *c)
{
	struct bw_root *r = d->root;
	struct bw_producer_entry *p = producer_make(r, c->name);

	if (!p || (c->has_state && set_state(p, c)))
		return -ENOMEM;
	struct bw_entry *e = &r->tail[r->tail_n++];

	*e = (struct bw_entry){
		.step = r->head,
		.epoch = c->epoch,
		.seq = c->seq,
		.nonce = c->nonce,
		.size = c->size,
		.raw = c->raw,
		.before = r->bytes,
		.footer_len = c->footer_len,
		.footer_xxh3 = c->footer_xxh3,
		.version = r->version,
		.time_ms = r->time_ms,
	};
	memcpy(e->producer, p->name, sizeof(e->producer));
	r->digest = bw_digest_next(r->digest, e);
	r->head++;
	r->bytes += c->size;
	p->next = c->seq + 1;
	p->last_step = e->step;
	p->last_ms = r->time_ms;
	p->last_version = r->version;
	d->appends_n++;
	return 0;
}

static int do_job(struct bw_root *r, const struct bw_change *c)
{
	if (job_find(r, c->name))
		return 0;
	void *array = r->jobs;
	uint32_t i = lower_bound(r->jobs, r->jobs_n, sizeof(*r->jobs), c->name);
	struct bw_job *j = insert(&array, &r->jobs_n, sizeof(*j), i);

	r->jobs = array;
	if (!j)
		return -ENOMEM;
	memcpy(j->name, c->name, strlen(c->name) + 1);
	return 0;
}

static int do_unjob(struct bw_root *r, const struct bw_change *c)
{
	struct bw_job *j = job_find(r, c->name);
	size_t after = r->jobs_n - (size_t)(j - r->jobs) - 1;

	free(j->markers);
	memmove(j, j + 1, after * sizeof(*j));
	r->jobs_n--;
	return 0;
}

static int do_mark(struct bw_root *r, const struct bw_change *c)
{
	struct bw_job *j = job_find(r, c->name);
	uint32_t i = 0;

	while (i < j->markers_n && j->markers[i].step < c->step)
		i++;
	bool there = i < j->markers_n && j->markers[i].step == c->step;

	if (there && !c->text)
		return 0;
	char *text = strdup(c->text ? c->text : "");

	if (!text)
		return -ENOMEM;
	if (there) {
		free(j->markers[i].text);
		j->markers[i].text = text;
		return 0;
	}
	void *array = j->markers;
	struct bw_marker *m = insert(&array, &j->markers_n, sizeof(*m), i);

	j->markers = array;
	if (!m) {
		free(text);
		return -ENOMEM;
	}
	m->step = c->step;
	m->text = text;
	return 0;
}

static int do_unmark(struct bw_root *r, const struct bw_change *c)
{
	struct bw_job *j = job_find(r, c->name);
	uint32_t i = 0;

	while (j->markers[i].step != c->step)
		i++;
	free(j->markers[i].text);
	memmove(&j->markers[i], &j->markers[i + 1], (j->markers_n - i - 1) * sizeof(*j->markers));
	j->markers_n--;
	return 0;
}

uint64_t bw_trim_first(const struct bw_stream *s, const struct bw_root *r)
{
	uint32_t keep = s->options.keep ? s->options.keep : 1;
	uint64_t first = r->head;

	if (!r->jobs_n)
		return r->first;
	for (uint32_t i = 0; i < r->jobs_n; i++) {
		const struct bw_job *j = &r->jobs[i];

		if (j->markers_n < keep)
			return r->first;
		uint64_t oldest = j->markers[0].step;
		uint64_t needs = oldest > s->options.margin ? oldest - s->options.margin : 0;

		if (needs < first)
			first = needs;
	}
	return first > r->first ? first : r->first;
}

/*
 * Drops the oldest pointers, in groups that would have become one node: nodes are whole, so a group
 * that is only partly swept is kept until it can be folded or go.
 */
static int do_sweep(struct bw_root *r, const struct bw_change *c)
{
	if (c->step <= r->swept)
		return 0;
	r->swept = c->step;
	for (unsigned k = r->levels_n; k-- > 0;) {
		uint64_t span = bw_level_span(k + 1 < BW_LEVELS_MAX ? k + 1 : k);
		struct bw_pointer *p = r->levels[k].pointers;
		uint32_t gone = 0;

		while (gone < r->levels[k].n && (p[gone].first / span + 1) * span <= r->swept)
			gone++;
		r->levels[k].n -= gone;
		memmove(p, p + gone, r->levels[k].n * sizeof(*p));
		if (r->levels[k].n)
			break;	/* what is newer follows it without a gap */
	}
	return 0;
}

static int change_do(struct bw_draft *d, const struct bw_change *c)
{
	struct bw_root *r = d->root;

	switch (c->kind) {
	case BW_CHANGE_REGISTER:
		return producer_make(r, c->name) ? 0 : -ENOMEM;
	case BW_CHANGE_FENCE:
		return do_fence(r, c);
	case BW_CHANGE_APPEND:
		return do_append(d, c);
	case BW_CHANGE_JOB:
		return do_job(r, c);
	case BW_CHANGE_UNJOB:
		return do_unjob(r, c);
	case BW_CHANGE_MARK:
		return do_mark(r, c);
	case BW_CHANGE_UNMARK:
		return do_unmark(r, c);
	case BW_CHANGE_TRIM:
		r->first = bw_trim_first(d->stream, r);
		return 0;
	case BW_CHANGE_SWEEP:
		return do_sweep(r, c);
	case BW_CHANGE_SEAL:
		r->sealed = true;
		return 0;
	}
	return -EINVAL;
}

/* That of the last change goes to the root's own, which it was copied for. */
static void keep_footer(struct bw_root *r)
{
	struct bw_change *c = &r->changes[r->changes_n - 1];

	if (!c->footer || c->kind != BW_CHANGE_APPEND)
		return;
	bw_root_footers_add(r, &r->tail[r->tail_n - 1], c->footer);
	c->footer = NULL;
}

int bw_draft_change(struct bw_draft *d, const struct bw_change *c)
{
	struct bw_root *r = d->root;
	int err = bw_change_check(d->stream, r, c);

	if (err)
		return err;
	if (r->changes_n >= BW_CHANGES_MAX)
		return -BW_E_LIMIT;
	if (c->kind == BW_CHANGE_APPEND && d->appends_n >= BW_APPENDS_MAX)
		return -BW_E_LIMIT;
	if (r->changes_n == d->changes_cap) {
		uint32_t cap = d->changes_cap ? 2 * d->changes_cap : 8;
		struct bw_change *changes = realloc(r->changes, cap * sizeof(*changes));

		if (!changes)
			return -ENOMEM;
		r->changes = changes;
		d->changes_cap = cap;
	}
	struct bw_change copy;

	if (bw_change_copy(&copy, c))
		return -ENOMEM;
	err = change_do(d, c);
	if (err) {
		bw_change_done(&copy);
		return err;
	}
	r->changes[r->changes_n++] = copy;
	keep_footer(r);
	return 0;
}

/* ---- Folding ---------------------------------------------------------------------------------- */

static struct bw_new_node *node_add(struct bw_new_nodes *nodes, unsigned level)
{
	struct bw_new_node *grown = realloc(nodes->nodes, (nodes->n + 1) * sizeof(*grown));

	if (!grown)
		return NULL;
	nodes->nodes = grown;
	struct bw_new_node *node = &grown[nodes->n++];

	*node = (struct bw_new_node){.level = level};
	bw_buf_init(&node->bytes, 2 * BW_NODE_RAW_MAX);
	return node;
}

static int pointer_push(struct bw_root *r, unsigned level, const struct bw_pointer *p)
{
	void *array = r->levels[level].pointers;
	struct bw_pointer *at = insert(&array, &r->levels[level].n, sizeof(*p), r->levels[level].n);

	r->levels[level].pointers = array;
	if (!at)
		return -ENOMEM;
	*at = *p;
	if (r->levels_n <= level)
		r->levels_n = level + 1;
	return 0;
}

static int fold_leaf(struct bw_root *r, struct bw_new_nodes *nodes)
{
	uint32_t n = BW_LEAF_ENTRIES - (uint32_t)(r->tail[0].step % BW_LEAF_ENTRIES);
	struct bw_new_node *leaf = node_add(nodes, 0);

	if (!leaf)
		return -ENOMEM;
	int err = bw_leaf_encode(r->tail, n, r->tail_digest, &leaf->bytes, &leaf->pointer);

	if (!err)
		err = pointer_push(r, 0, &leaf->pointer);
	if (err)
		return err;
	r->tail_digest = bw_digest_over(r->tail_digest, r->tail, n);
	r->tail_n -= n;
	memmove(r->tail, r->tail + n, r->tail_n * sizeof(*r->tail));
	return 0;
}

/*
 * A node is whole, but a sweep may have dropped the oldest of its pointers: it drops all of a group whose steps are swept,
 * and the newest leaf of that may still have been in the tail; the level above then begins with a group that lacks a
 * node.  Levels above are empty where that is so (check_levels() of root_check.c: they would have to end in the middle of
 * a node), so nothing below the oldest pointer is live.  In the place of what is missing comes a pointer to nothing,
 * which nobody follows: a search begins at or above swept, and what is swept may be gone in any case.
 */
static void whole_group(unsigned level, const struct bw_pointer *oldest, uint32_t missing,
			struct bw_pointer ret[BW_FANOUT])
{
	uint64_t span = bw_level_span(level), first = oldest->first - missing * span;

	for (uint32_t i = 0; i < missing; i++, first += span)
		ret[i] = (struct bw_pointer){.first = first, .last = first + span - 1};
	memcpy(&ret[missing], oldest, (BW_FANOUT - missing) * sizeof(*ret));
}

_Static_assert(BW_LEVEL_FOLD >= BW_FANOUT, "a level that folds has the newest pointers of its oldest group");

static int fold_level(struct bw_root *r, unsigned level, struct bw_new_nodes *nodes)
{
	struct bw_pointer *p = r->levels[level].pointers, whole[BW_FANOUT];
	uint32_t missing = (uint32_t)(p[0].first / bw_level_span(level) % BW_FANOUT);
	uint32_t n = BW_FANOUT - missing;
	struct bw_new_node *node = node_add(nodes, level + 1);

	if (!node)
		return -ENOMEM;
	if (r->levels[level + 1].n >= BW_TOP_POINTERS_MAX)
		return -BW_E_LIMIT;
	whole_group(level, p, missing, whole);
	int err = bw_node_encode(level + 1, whole, BW_FANOUT, &node->bytes, &node->pointer);

	if (!err)
		err = pointer_push(r, level + 1, &node->pointer);
	if (err)
		return err;
	r->levels[level].n -= n;
	memmove(p, p + n, r->levels[level].n * sizeof(*p));
	return 0;
}

static int fold(struct bw_root *r, struct bw_new_nodes *nodes)
{
	int err = 0;

	while (!err && r->tail_n >= BW_TAIL_FOLD)
		err = fold_leaf(r, nodes);
	for (unsigned k = 0; k + 1 < BW_LEVELS_MAX; k++) {
		uint32_t limit = k + 2 < BW_LEVELS_MAX ? BW_LEVEL_FOLD : BW_TOP_POINTERS_MAX;

		while (!err && r->levels[k].n >= limit)
			err = fold_level(r, k, nodes);
	}
	return err;
}

int bw_draft_finish(struct bw_draft *d, struct bw_root **ret, struct bw_new_nodes *ret_nodes)
{
	struct bw_new_nodes nodes = {.n = 0};
	int err = d->root->changes_n ? fold(d->root, &nodes) : -EINVAL;

	if (err) {
		bw_new_nodes_done(&nodes);
		return err;
	}
	*ret = d->root;
	*ret_nodes = nodes;
	d->root = NULL;
	return 0;
}
