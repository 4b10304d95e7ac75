/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/fsck_table.h"

#include "store/base/hash.h"

#include <stdlib.h>
#include <string.h>

uint64_t fsck_table_room(uint64_t bytes)
{
	uint64_t cells = 16;

	while (2 * cells * sizeof(struct fsck_cell) <= bytes)
		cells *= 2;
	return cells / 4 * 3;
}

int fsck_table_reset(struct fsck_table *t, uint64_t n)
{
	uint64_t cells = 16;

	while (cells / 4 * 3 < n)
		cells *= 2;
	if (!t->cells || t->mask + 1 < cells) {
		free(t->cells);
		t->cells = calloc(cells, sizeof(*t->cells));
		t->mask = cells - 1;
	} else {
		memset(t->cells, 0, (t->mask + 1) * sizeof(*t->cells));
	}
	t->n = 0;
	return t->cells ? 0 : -ENOMEM;
}

void fsck_table_done(struct fsck_table *t)
{
	free(t->cells);
	*t = (struct fsck_table){.cells = NULL};
}

uint64_t fsck_hash(const struct bw_key *k)
{
	struct {
		char producer[BW_NAME_MAX];
		uint64_t kind, a, b, c, d;
	} text = {.kind = k->kind};

	memcpy(text.producer, k->producer, strlen(k->producer));
	text.a = k->kind == BW_KEY_NODE ? k->level : k->epoch;
	text.b = k->kind == BW_KEY_NODE ? k->first : k->seq;
	text.c = k->kind == BW_KEY_NODE ? k->last : k->nonce;
	text.d = k->hash;
	uint64_t hash = bw_xxh3(&text, sizeof(text));

	return hash ? hash : 1;
}

static struct fsck_cell *place(const struct fsck_table *t, uint64_t hash)
{
	uint64_t i = hash & t->mask;

	while (t->cells[i].hash && t->cells[i].hash != hash)
		i = (i + 1) & t->mask;
	return &t->cells[i];
}

/* More than was expected: chance is uneven. */
static int grow(struct fsck_table *t)
{
	struct fsck_table twice = {.mask = 2 * t->mask + 1, .n = t->n};

	twice.cells = calloc(twice.mask + 1, sizeof(*twice.cells));
	if (!twice.cells)
		return -ENOMEM;
	for (uint64_t i = 0; i <= t->mask; i++)
		if (t->cells[i].hash)
			*place(&twice, t->cells[i].hash) = t->cells[i];
	free(t->cells);
	*t = twice;
	return 0;
}

int fsck_table_add(struct fsck_table *t, uint64_t hash, uint64_t step, uint64_t size,
		   const struct fsck_cell **ret_other)
{
	struct fsck_cell *c = place(t, hash);

	*ret_other = c->hash ? c : NULL;
	if (c->hash)
		return 0;
	if (t->n >= t->mask / 8 * 7) {
		int err = grow(t);

		if (err)
			return err;
		c = place(t, hash);
	}
	*c = (struct fsck_cell){.hash = hash, .step = step, .size = size & (UINT64_MAX >> 1)};
	t->n++;
	return 0;
}

struct fsck_cell *fsck_table_find(const struct fsck_table *t, uint64_t hash)
{
	struct fsck_cell *c = place(t, hash);

	return c->hash ? c : NULL;
}
