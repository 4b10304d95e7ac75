/* SPDX-License-Identifier: Apache-2.0 */
/* Names to places and back, and the places in a directory. */
#include "fs/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- Names ---------------------------------------------------------------------------------------- */

/* n digits as the field is written: as many as width, or more without a leading zero. */
static bool read_number(const char *digits, size_t n, unsigned width, uint64_t limit, uint64_t *ret)
{
	size_t least = width ? width : 1;
	uint64_t v = 0;

	if (n < least || (n > least && digits[0] == '0'))
		return false;
	for (size_t i = 0; i < n; i++) {
		v = 10 * v + (uint64_t)(digits[i] - '0');
		if (v >= limit)		/* and limits are far below an overflow */
			return false;
	}
	*ret = v;
	return true;
}

static bool match_node(const struct bw_views *v, const struct bw_view_node *n, const char *name, uint32_t ranks,
		       struct bw_view_place *ret)
{
	for (const char *t = v->text + n->text; *t; t++) {
		bool step = *t == BW_VIEW_STEP;
		uint64_t number;
		if (!step && *t != BW_VIEW_RANK) {
			if (*t != *name++)
				return false;
			continue;
		}
		size_t digits = strspn(name, "0123456789");
		if (!read_number(name, digits, n->width[*t - 1], step ? BW_VIEW_STEPS_MAX : ranks, &number))
			return false;
		name += digits;
		if (step)
			ret->step = number;
		else
			ret->rank = (uint32_t)number;
	}
	return !*name;
}

int bw_view_match(const struct bw_views *v, const struct bw_view_place *dir, const char *name, uint32_t ranks,
		  struct bw_view_place *ret)
{
	for (uint32_t i = 1; i < v->nodes_n; i++) {
		struct bw_view_place p = {.node = i, .step = dir->step, .rank = dir->rank};
		if (v->nodes[i].parent != dir->node || !match_node(v, &v->nodes[i], name, ranks, &p))
			continue;
		*ret = p;
		return 0;
	}
	return -ENOENT;
}

struct bw_view_place bw_view_parent(const struct bw_views *v, const struct bw_view_place *p)
{
	struct bw_view_place up = {.node = v->nodes[p->node].parent};

	if (v->nodes[up.node].known & BW_VIEW_STEP)
		up.step = p->step;
	if (v->nodes[up.node].known & BW_VIEW_RANK)
		up.rank = p->rank;
	return up;
}

void bw_view_name(const struct bw_views *v, const struct bw_view_place *p, char ret[BW_VIEW_NAME_MAX + 1])
{
	const struct bw_view_node *n = &v->nodes[p->node];
	size_t len = 0;

	/* Templates whose names could be longer are refused. */
	for (const char *t = v->text + n->text; *t && len < BW_VIEW_NAME_MAX; t++) {
		char *to = ret + len;
		size_t room = BW_VIEW_NAME_MAX + 1 - len;
		if (*t == BW_VIEW_STEP)
			len += (size_t)snprintf(to, room, "%0*" PRIu64, n->width[0], p->step);
		else if (*t == BW_VIEW_RANK)
			len += (size_t)snprintf(to, room, "%0*" PRIu32, n->width[1], p->rank);
		else
			ret[len++] = *t;
	}
	ret[len < BW_VIEW_NAME_MAX ? len : BW_VIEW_NAME_MAX] = 0;
}

void bw_view_path(const struct bw_views *v, const struct bw_view_place *p, char ret[BW_VIEW_PATH_MAX + 1])
{
	char name[BW_VIEW_NAME_MAX + 1];
	struct bw_view_place at = *p;
	size_t from = BW_VIEW_PATH_MAX;		/* written from its end */

	ret[from] = 0;
	for (; at.node; at = bw_view_parent(v, &at)) {
		bw_view_name(v, &at, name);
		size_t n = strlen(name);
		if (n >= from)
			break;
		if (ret[from])
			ret[--from] = '/';
		from -= n;
		memcpy(ret + from, name, n);
	}
	memmove(ret, ret + from, BW_VIEW_PATH_MAX + 1 - from);
}

/* ---- Listing -------------------------------------------------------------------------------------- */

bool bw_view_lists_steps(const struct bw_views *v, uint32_t node)
{
	for (uint32_t i = 1; i < v->nodes_n; i++)
		if (v->nodes[i].parent == node && (v->nodes[i].fields & BW_VIEW_STEP))
			return true;
	return false;
}

/* The names that one node stands for; what stands in a name above is the directory's. */
static bool list_node(const struct bw_views *v, uint32_t node, const struct bw_view_place *dir,
		      const struct bw_view_range *range, struct bw_view_place at, bw_view_emit *emit, void *ctx)
{
	bool by_step = v->nodes[node].fields & BW_VIEW_STEP, by_rank = v->nodes[node].fields & BW_VIEW_RANK;
	uint64_t first = by_step ? range->first : dir->step, head = by_step ? range->head : dir->step + 1;
	uint32_t low = by_rank ? 0 : dir->rank, high = by_rank ? range->ranks : dir->rank + 1;
	char name[BW_VIEW_NAME_MAX + 1];

	if (head > BW_VIEW_STEPS_MAX)
		head = BW_VIEW_STEPS_MAX;
	if (at.step < first)
		at = (struct bw_view_place){.step = first};
	if (at.rank < low)
		at.rank = low;
	for (at.node = node; at.step < head; at.step++, at.rank = low) {
		for (; at.rank < high; at.rank++) {
			bw_view_name(v, &at, name);
			if (!emit(ctx, &at, name, bw_view_number(&at)))
				return false;
		}
	}
	return true;
}

bool bw_view_list(const struct bw_views *v, const struct bw_view_place *dir, const struct bw_view_range *range,
		  uint64_t from, bw_view_emit *emit, void *ctx)
{
	struct bw_view_place at = bw_view_of_number(from);

	for (uint32_t i = at.node; i < v->nodes_n; i++, at = (struct bw_view_place){0})
		if (i && v->nodes[i].parent == dir->node && !list_node(v, i, dir, range, at, emit, ctx))
			return false;
	return true;
}

/* ---- Numbers -------------------------------------------------------------------------------------- */

#define RANK_BITS 16
#define STEP_BITS 40
#define VIEW_AREA (UINT64_C(1) << 61)
#define AREAS (UINT64_C(7) << 61)

_Static_assert(BW_RANKS_MAX <= 1u << RANK_BITS && BW_VIEW_STEPS_MAX <= UINT64_C(1) << STEP_BITS &&
	       BW_VIEW_NODES_MAX <= 1u << (61 - STEP_BITS - RANK_BITS), "a place fits into 61 bits");

uint64_t bw_view_number(const struct bw_view_place *p)
{
	return (uint64_t)p->node << (STEP_BITS + RANK_BITS) | p->step << RANK_BITS | p->rank;
}

struct bw_view_place bw_view_of_number(uint64_t number)
{
	return (struct bw_view_place){
		.node = (uint32_t)(number >> (STEP_BITS + RANK_BITS)),
		.step = number >> RANK_BITS & (BW_VIEW_STEPS_MAX - 1),
		.rank = number & (BW_RANKS_MAX - 1),
	};
}

uint64_t bw_view_ino(const struct bw_view_place *p)
{
	return VIEW_AREA | bw_view_number(p);
}

bool bw_is_view_ino(uint64_t ino)
{
	return (ino & AREAS) == VIEW_AREA;
}

struct bw_view_place bw_view_ino_split(uint64_t ino)
{
	return bw_view_of_number(ino & ~AREAS);
}
