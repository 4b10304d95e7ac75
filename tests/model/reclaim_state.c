/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/model/reclaim_state.h"

#include <string.h>

bool bw_reclaim_mutated(const struct bw_setting *s, enum mutation m)
{
	return s->mutation == (int)m;
}

unsigned bw_object_at(struct root r, unsigned step)
{
	return r.objects >> (3 * step) & 7;
}

unsigned bw_marks_of(struct root r, int job)
{
	return r.marks >> (4 * job) & 15;
}

unsigned bw_mark_bit(int job, int step)
{
	return 1u << (4 * job + step);
}

/* The step of object i in r, or STEPS. */
static unsigned step_of(struct root r, unsigned i)
{
	unsigned step = 0;

	while (step < r.head && bw_object_at(r, step) != i)
		step++;
	return step < r.head ? step : STEPS;
}

/* The object of the state that r holds, or OBJECTS. */
unsigned bw_current_state(const struct state *st, struct root r)
{
	for (unsigned step = r.head; step-- > 0;)
		if (st->object[bw_object_at(r, step)].stated)
			return bw_object_at(r, step);
	return OBJECTS;
}

/* The step of the marker that a trim must stop at. */
static unsigned trim_stop(const struct bw_setting *s, unsigned marks)
{
	if (!marks)
		return STEPS + 1;
	return bw_reclaim_mutated(s, TRIM_NEWEST) ? 31u - (unsigned)__builtin_clz(marks)
				       : (unsigned)__builtin_ctz(marks);
}

unsigned bw_first_after_trim(const struct bw_setting *s, struct root r)
{
	unsigned first = r.head;

	if (!r.jobs)
		return r.first;
	for (int job = 0; job < s->bounds[JOBS_N]; job++) {
		unsigned marks = bw_marks_of(r, job);

		if (!(r.jobs >> job & 1))
			continue;
		if (__builtin_popcount(marks) < s->bounds[KEEP_N]) {
			if (bw_reclaim_mutated(s, FEW_MARKERS))
				continue;
			return r.first;
		}
		if (trim_stop(s, marks) < first)
			first = trim_stop(s, marks);
	}
	return first > r.first ? first : r.first;
}

bool bw_job_holds_all(const struct bw_setting *s, unsigned marks, int job)
{
	return __builtin_popcount(marks >> (4 * job) & 15) < s->bounds[KEEP_N];
}

/* ---- What may be deleted ---------------------------------------------------------------------- */

/* References are those of r; what is not referenced is judged by p, which is the same root. */
bool bw_data_deletable(const struct bw_setting *s, struct root r, struct root p,
			   struct object o, unsigned i)
{
	unsigned step = step_of(r, i);

	if (step < STEPS)
		return step < r.first;
	if (bw_reclaim_mutated(s, CURRENT_EPOCH))
		return true;
	if (o.epoch < p.epoch && !bw_reclaim_mutated(s, FENCED_KEPT))
		return true;
	return o.seq < p.head && !bw_reclaim_mutated(s, TAKEN_SEQ_KEPT);
}

bool bw_state_deletable(const struct bw_setting *s, const struct state *st, struct root r,
			    struct root p, unsigned i)
{
	struct object o = st->object[i];

	if (bw_current_state(st, r) == i && !bw_reclaim_mutated(s, STATE_CURRENT))
		return false;
	if (bw_reclaim_mutated(s, STATE_NEXT))
		return true;
	if (bw_reclaim_mutated(s, STATE_KEPT))
		return false;
	return o.epoch < p.epoch || o.seq + (unsigned)s->bounds[SLACK_N] < p.head;
}

/* ---- Symmetry, and what cannot matter any more ------------------------------------------------- */

static void forget(struct state *st)
{
	for (uint8_t v = 1; v < st->old; v++)
		if (st->judge[0] != v && st->judge[1] != v && st->reader != v)
			memset(&st->root[v], 0, sizeof(st->root[v]));
	if (st->judge[1] && st->judge[0] > st->judge[1]) {
		uint8_t judge = st->judge[0];

		st->judge[0] = st->judge[1];
		st->judge[1] = judge;
	}
}

void bw_reclaim_canonical(const struct bw_setting *s, void *state)
{
	static const uint8_t other[] = {0, 2, 1, 3};
	struct state st, swapped;

	memcpy(&st, state, sizeof(st));
	forget(&st);
	if (s->bounds[WRITERS_N] == 2) {
		swapped = st;
		for (int v = 1; v <= VERSIONS; v++)
			swapped.root[v].owner = other[st.root[v].owner] & 3u;
		swapped.writer[0] = st.writer[1];
		swapped.writer[1] = st.writer[0];
		if (memcmp(&swapped, &st, sizeof(st)) < 0)
			st = swapped;
	}
	memcpy(state, &st, sizeof(st));
}
