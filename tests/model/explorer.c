/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/model/explorer.h"

#include "store/base/hash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define TABLE_FIRST ((size_t)1 << 16)

/* Zeroed address space: pages come with what is written, large ones where the system has them. */
static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	(void)madvise(p, bytes, MADV_HUGEPAGE);
	return p;
}

static void release(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

int bw_explorer_new(const struct bw_setting *s, uint32_t limit, struct bw_explorer **ret)
{
	struct bw_explorer *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->setting = *s;
	e->size = s->model->state_size;
	e->limit = limit;
	e->table_n = TABLE_FIRST;
	e->table = reserve(e->table_n * sizeof(*e->table));
	e->states = reserve((size_t)limit * e->size);
	e->parents = reserve((size_t)limit * sizeof(*e->parents));
	if (e->table && e->states && e->parents) {
		*ret = e;
		return 0;
	}
	bw_explorer_free(e);
	return -ENOMEM;
}

void bw_explorer_free(struct bw_explorer *e)
{
	if (!e)
		return;
	release(e->states, (size_t)e->limit * e->size);
	release(e->parents, (size_t)e->limit * sizeof(*e->parents));
	release(e->table, e->table_n * sizeof(*e->table));
	free(e);
}

/* ---- The set of states ------------------------------------------------------------------------ */

static uint8_t *state_at(const struct bw_explorer *e, uint32_t i)
{
	return e->states + (size_t)i * e->size;
}

static uint32_t hash_of(const struct bw_explorer *e, const void *state)
{
	return (uint32_t)bw_xxh3(state, e->size);
}

/* The place in the table of state, or of the free entry where it belongs. */
static size_t place(const struct bw_explorer *e, const void *state, uint32_t hash)
{
	size_t at = hash & (e->table_n - 1);

	while (e->table[at].index && (e->table[at].hash != hash ||
				      memcmp(state_at(e, e->table[at].index - 1), state, e->size)))
		at = (at + 1) & (e->table_n - 1);
	return at;
}

static bool table_grow(struct bw_explorer *e)
{
	size_t n = 2 * e->table_n;
	struct bw_slot *bigger = reserve(n * sizeof(*bigger));

	if (!bigger)
		return false;
	for (size_t i = 0; i < e->table_n; i++) {
		size_t at = e->table[i].hash & (n - 1);

		if (!e->table[i].index)
			continue;
		while (bigger[at].index)
			at = (at + 1) & (n - 1);
		bigger[at] = e->table[i];
	}
	release(e->table, e->table_n * sizeof(*e->table));
	e->table = bigger;
	e->table_n = n;
	return true;
}

/* The index of a canonical state; *ret_new: it was not there.  BW_NO_STATE: no room. */
static uint32_t intern(struct bw_explorer *e, const void *state, uint32_t hash, uint32_t parent,
		       bool *ret_new)
{
	size_t at = place(e, state, hash);

	*ret_new = !e->table[at].index;
	if (!*ret_new)
		return e->table[at].index - 1;
	if (e->n == e->limit)
		return BW_NO_STATE;
	memcpy(state_at(e, e->n), state, e->size);
	e->parents[e->n] = parent;
	e->table[at] = (struct bw_slot){.hash = hash, .index = ++e->n};
	if ((size_t)e->n * 10 > e->table_n * 6 && !table_grow(e))
		return BW_NO_STATE;
	return e->n - 1;
}

/* ---- Moves ------------------------------------------------------------------------------------ */

void bw_move_add(struct bw_moves *out, const void *next, enum bw_fairness fairness,
		 const char *format, int a, int b, int c)
{
	struct bw_move *m = &out->moves[out->n];

	if (out->n == BW_MOVES_MAX)
		abort();
	memcpy(m->next, next, out->state_size);
	m->fairness = fairness;
	m->broken = out->broken;
	m->format = format;
	m->args[0] = a;
	m->args[1] = b;
	m->args[2] = c;
	out->broken = NULL;
	out->n++;
}

const struct bw_moves *bw_explorer_moves(struct bw_explorer *e, const void *state)
{
	e->scratch.n = 0;
	e->scratch.broken = NULL;
	e->scratch.state_size = e->size;
	e->setting.model->moves(&e->setting, state, &e->scratch);
	return &e->scratch;
}

void bw_explorer_canonical(const struct bw_explorer *e, void *state)
{
	if (e->setting.model->canonical && !e->setting.whole)
		e->setting.model->canonical(&e->setting, state);
}

static enum bw_verdict broken(struct bw_explorer *e, const char *what, uint32_t from, uint32_t to)
{
	e->broken = what;
	e->from = from;
	e->to = to;
	return BW_BROKEN;
}

/*
 * Nearly all of the time is spent waiting for memory: table and states are larger than any cache.  So
 * where the moves from a state lead to is asked for all at once, and looked at afterwards.
 */
static void look_ahead(struct bw_explorer *e)
{
	struct bw_moves *moves = &e->scratch;

	for (size_t k = 0; k < moves->n; k++) {
		bw_explorer_canonical(e, moves->moves[k].next);
		e->hashes[k] = hash_of(e, moves->moves[k].next);
		__builtin_prefetch(&e->table[e->hashes[k] & (e->table_n - 1)]);
	}
	for (size_t k = 0; k < moves->n; k++) {
		struct bw_slot slot = e->table[e->hashes[k] & (e->table_n - 1)];

		if (slot.index && slot.hash == e->hashes[k])
			__builtin_prefetch(state_at(e, slot.index - 1));
	}
}

static enum bw_verdict visit(struct bw_explorer *e, uint32_t i)
{
	const struct bw_model *model = e->setting.model;
	const struct bw_moves *moves = bw_explorer_moves(e, state_at(e, i));

	look_ahead(e);
	for (size_t k = 0; k < moves->n; k++) {
		const uint8_t *next = moves->moves[k].next;
		bool fresh;

		e->moves++;
		if (moves->moves[k].broken)
			return broken(e, moves->moves[k].broken, i, BW_NO_STATE);
		uint32_t to = intern(e, next, e->hashes[k], i, &fresh);

		if (to == BW_NO_STATE)
			return BW_TOO_MANY;
		const char *what = fresh ? model->broken(&e->setting, next) : NULL;

		if (what)
			return broken(e, what, i, to);
	}
	return BW_HOLDS;
}

static enum bw_verdict explore_safety(struct bw_explorer *e)
{
	enum bw_verdict verdict = BW_HOLDS;
	uint32_t level_end = 1;

	for (uint32_t i = 0; i < e->n && verdict == BW_HOLDS; i++) {
		if (i == level_end) {
			e->depth++;
			level_end = e->n;
		}
		verdict = visit(e, i);
	}
	return verdict;
}

/* ---- All settles ------------------------------------------------------------------------------ */

static bool leads_to(struct bw_explorer *e, uint32_t i, const uint8_t *good)
{
	const struct bw_moves *moves = bw_explorer_moves(e, state_at(e, i));

	look_ahead(e);
	for (size_t k = 0; k < moves->n; k++) {
		if (moves->moves[k].fairness != BW_FAIR)
			continue;
		if (good[e->table[place(e, moves->moves[k].next, e->hashes[k])].index - 1])
			return true;
	}
	return false;
}

/*
 * Exact, without keeping an edge: a state is good when it is settled or a fair move leads to a good
 * one. Moves mostly lead to states found later, so going backwards a few rounds are enough.
 */
static enum bw_verdict explore_liveness(struct bw_explorer *e)
{
	uint8_t *good = calloc(e->n, 1);
	enum bw_verdict verdict = BW_HOLDS;

	if (!good)
		return BW_TOO_MANY;
	for (bool more = true; more;) {
		more = false;
		for (uint32_t i = e->n; i-- > 0;) {
			if (good[i])
				continue;
			good[i] = e->setting.model->settled(&e->setting, state_at(e, i)) ||
				  leads_to(e, i, good);
			more |= good[i];
		}
	}
	for (uint32_t i = 0; i < e->n && verdict == BW_HOLDS; i++)
		if (!good[i])
			verdict = broken(
				e, "I13: from here nothing without a fault settles everything", i,
				BW_NO_STATE);
	free(good);
	return verdict;
}

enum bw_verdict bw_explore(struct bw_explorer *e)
{
	uint8_t state[BW_STATE_MAX] = {0};
	bool fresh;

	e->setting.model->start(&e->setting, state);
	bw_explorer_canonical(e, state);
	if (intern(e, state, hash_of(e, state), BW_NO_STATE, &fresh) == BW_NO_STATE)
		return BW_TOO_MANY;
	enum bw_verdict verdict = explore_safety(e);

	return verdict == BW_HOLDS ? explore_liveness(e) : verdict;
}
