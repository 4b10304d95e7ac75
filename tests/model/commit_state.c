/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/model/commit_state.h"

#include <string.h>

bool bw_commit_mutated(const struct bw_setting *s, enum mutation m)
{
	return s->mutation == (int)m;
}

unsigned bw_entry_at(struct root r, unsigned step)
{
	return r.entries >> (step * ENTRY_BITS) & ((1u << ENTRY_BITS) - 1);
}

unsigned bw_entry_make(unsigned seq, unsigned owner, unsigned edit)
{
	return seq | owner << 2 | edit << 5;
}

unsigned bw_entry_owner(unsigned entry)
{
	return entry >> 2 & 7;
}

struct root bw_root_with(struct root r, unsigned entry)
{
	r.entries |= entry << (r.head * ENTRY_BITS);
	r.head++;
	r.next = (entry & 3) + 1;
	return r;
}

bool bw_roots_same(struct root a, struct root b)
{
	return !memcmp(&a, &b, sizeof(a));
}

unsigned bw_owner_of(const struct bw_setting *s, unsigned life)
{
	return bw_commit_mutated(s, SAME_OWNER) ? life - (life + 1) % 2 : life;
}

/* ---- What must hold when a root comes to be --------------------------------------------------- */

static const char *check_append(const struct bw_setting *s, const struct state *st, struct root was,
				struct root is)
{
	unsigned entry = bw_entry_at(is, was.head);

	if (is.entries != (was.entries | entry << (was.head * ENTRY_BITS)))
		return "I3: an entry changed";
	if ((entry & 3) != was.head)	/* of one producer, seqs and steps are the same */
		return "I5: a seq is committed twice, or one is left out";
	if (is.epoch != was.epoch || bw_owner_of(s, bw_entry_owner(entry)) != was.owner)
		return "I7: a batch is committed by one who does not hold the producer";
	if (st->refused[bw_entry_owner(entry)] >> ((entry >> 5) * 4 + (entry & 3)) & 1)
		return "I6: a batch is committed whose producer was told that it is not";
	return NULL;
}

const char *bw_root_created(const struct bw_setting *s, const struct state *st, unsigned v,
				 struct root r)
{
	struct root was = st->slot[v - 1];

	if (st->slot[v].there)
		return "I1: a version is created twice";
	if (!was.there)
		return "I2: a version is created before the one it follows";
	if (r.head < was.head || r.first < was.first)
		return "I2: head or first falls";
	if (r.head > was.head)
		return check_append(s, st, was, r);
	if (r.entries != was.entries)
		return "I3: an entry changed";
	return r.epoch < was.epoch ? "I7: an epoch falls" : NULL;
}

/* ---- Symmetry: mounts are alike, so which of them did what makes no difference ----------------- */

static struct root rename_root(struct root r, const uint8_t *owner)
{
	uint32_t entries = 0;

	if (!r.there)
		return r;
	r.owner = owner[r.owner] & 7u;
	for (unsigned step = 0; step < r.head; step++) {
		unsigned e = bw_entry_at(r, step);

		e = bw_entry_make(e & 3, owner[bw_entry_owner(e)], e >> 5);
		entries |= e << (step * ENTRY_BITS);
	}
	r.entries = entries & ((1u << 18) - 1);
	return r;
}

void bw_late_sort(struct state *st)
{
	for (int i = 1; i < LATES; i++)
		for (int k = i; k > 0; k--) {
			struct root r = st->late[k];
			uint8_t v = st->late_slot[k];
			int order = (int)v - st->late_slot[k - 1];

			if ((order ? order : memcmp(&r, &st->late[k - 1], sizeof(r))) <= 0)
				break;
			st->late[k] = st->late[k - 1];
			st->late_slot[k] = st->late_slot[k - 1];
			st->late[k - 1] = r;
			st->late_slot[k - 1] = v;
		}
}

static void rename_mounts(const struct state *from, const uint8_t *to, struct state *ret)
{
	uint8_t owner[8] = {0};

	*ret = *from;
	if (to[0] == 0 && to[1] == 1)
		return;
	for (unsigned i = 0; i < MOUNTS; i++)
		for (unsigned life = 0; life < 2; life++)
			owner[1 + i * 2 + life] = (uint8_t)(1u + to[i] * 2u + life);
	for (unsigned v = 1; v <= VERSIONS; v++)
		ret->slot[v] = rename_root(from->slot[v], owner);
	for (unsigned i = 0; i < MOUNTS; i++) {
		ret->mount[to[i]] = from->mount[i];
		ret->mount[to[i]].attempt = rename_root(from->mount[i].attempt, owner);
	}
	for (unsigned i = 0; i < LATES; i++)
		ret->late[i] = rename_root(from->late[i], owner);
	for (unsigned o = 1; o < OWNERS; o++)
		ret->refused[owner[o]] = from->refused[o];
	bw_late_sort(ret);
}

/* A mount's own fields, without what names other mounts. */
static uint32_t own_fields(const struct mount *m)
{
	uint32_t word;

	memcpy(&word, (const uint8_t *)m + sizeof(m->attempt), sizeof(word));
	return word;
}

static bool sorts(const struct state *st, const uint8_t *to, int n)
{
	for (int i = 0; i < n; i++)
		for (int k = 0; k < n; k++)
			if (to[i] < to[k] && own_fields(&st->mount[i]) > own_fields(&st->mount[k]))
				return false;
	return true;
}

/* Of all orders that sort the mounts by their own fields, the one that gives the least bytes. */
void bw_commit_canonical(const struct bw_setting *s, void *state)
{
	static const uint8_t orders[][MOUNTS] = {{0, 1, 2}, {1, 0, 2}, {0, 2, 1},
						 {2, 1, 0}, {1, 2, 0}, {2, 0, 1}};
	static const int orders_n[] = {0, 1, 2, 6};
	int n = s->bounds[MOUNTS_N];
	struct state from, best, other;
	bool any = false;

	memcpy(&from, state, sizeof(from));
	for (int i = 0; i < orders_n[n]; i++) {
		if (!sorts(&from, orders[i], n))
			continue;
		rename_mounts(&from, orders[i], &other);
		if (!any || memcmp(&other, &best, sizeof(best)) < 0)
			best = other;
		any = true;
	}
	memcpy(state, &best, sizeof(best));
}
