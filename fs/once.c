/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/once.h"

#include "store/base/limits.h"

#include <stdlib.h>

#define FACTOR_MAX 8u

int bw_once_init(struct bw_once *o, enum bw_once_mode mode)
{
	*o = (struct bw_once){.mode = mode, .factor = 1};
	o->seen = calloc(BW_ONCE_SEEN, sizeof(*o->seen));
	if (!o->seen)
		return -ENOMEM;
	bw_mutex_init(&o->lock, BW_RANK_LEAF);
	return 0;
}

void bw_once_done(struct bw_once *o)
{
	if (!o->seen)
		return;
	free(o->seen);
	o->seen = NULL;
	bw_mutex_done(&o->lock);
}

/* Whether the slice was seen before, as far as is remembered; from now on it was. */
static bool see_locked(struct bw_once *o, uint64_t step, uint32_t rank)
{
	uint64_t hash = (step * BW_RANKS_MAX + rank) * 0x9E3779B97F4A7C15u;	/* Knuth's multiplicative hash: 2^64 over the golden ratio */
	uint32_t *at = &o->seen[hash >> 32 & (BW_ONCE_SEEN - 1)];
	uint32_t mark = (uint32_t)hash | 1;
	bool was = *at == mark;

	*at = mark;
	return was;
}

static void end_row_locked(struct bw_once *o)
{
	if (o->row >= BW_ONCE_FEW * o->factor && o->factor < FACTOR_MAX)
		o->factor *= 2;
	o->row = 0;
	o->crowd = false;
}

void bw_once_give_up(struct bw_once *o)
{
	if (o->mode == BW_ONCE_AUTO)
		o->mode = BW_ONCE_NEVER;
}

/* Whether the slice that would be the n-th in this row is one to open directly. */
static bool is_direct_locked(const struct bw_once *o, unsigned n, uint64_t bytes, bool soon)
{
	return bytes <= BW_ONCE_BYTES && n > (soon ? BW_ONCE_FEW : BW_ONCE_MANY) * o->factor;
}

bool bw_once_opened(struct bw_once *o, const struct bw_once_slice *s)
{
	if (o->mode != BW_ONCE_AUTO)
		return o->mode == BW_ONCE_ALWAYS;
	BW_LOCK_SCOPE(&o->lock);
	if (see_locked(o, s->step, s->rank))
		end_row_locked(o);
	else if (o->row < UINT32_MAX)
		o->row++;
	o->crowd = ++o->open >= BW_ONCE_CROWD || o->crowd;
	return is_direct_locked(o, o->row, s->bytes,
				o->crowd || s->fresh || (s->pauses && s->bytes > BW_ONCE_LARGE));
}

bool bw_once_rather(struct bw_once *o, uint64_t bytes)
{
	if (o->mode != BW_ONCE_AUTO)
		return o->mode == BW_ONCE_ALWAYS;
	BW_LOCK_SCOPE(&o->lock);
	return bytes > BW_ONCE_LARGE && is_direct_locked(o, o->row + 1, bytes, true);
}

void bw_once_closed(struct bw_once *o)
{
	if (o->mode != BW_ONCE_AUTO)
		return;
	BW_LOCK_SCOPE(&o->lock);
	o->open--;
}

void bw_once_small(struct bw_once *o)
{
	if (o->mode != BW_ONCE_AUTO)
		return;
	BW_LOCK_SCOPE(&o->lock);
	end_row_locked(o);
}
