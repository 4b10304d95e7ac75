/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/open_search.h"

#include <inttypes.h>
#include <stdio.h>

/* A tombstone at the newest version says that there is a newer one by now: so often, it is a lie. */
#define RESTARTS 16

void bw_search_cold(struct bw_search *s, uint64_t start)
{
	*s = (struct bw_search){.start = start, .stride = 1};
}

/* A guess is off by about the root of what it adds: counts of versions scatter so, or less. */
void bw_search_warm(struct bw_search *s, uint64_t known, uint64_t guess)
{
	uint64_t stride = 1;

	guess = guess > known ? guess : known + 1;
	while (stride * stride < guess - known)
		stride *= 2;
	*s = (struct bw_search){.low = known, .start = guess, .stride = stride};
}

uint64_t bw_search_next(const struct bw_search *s)
{
	if (s->start)
		return s->start;
	if (!s->high)
		return s->low + s->stride;
	if (s->high - s->low <= 1)
		return 0;
	if (s->falling && s->high - s->low > s->stride)
		return s->high - s->stride;
	return s->low + (s->high - s->low) / 2;
}

void bw_search_saw(struct bw_search *s, uint64_t version, bool exists)
{
	bool first = s->start != 0;

	s->start = 0;
	if (exists) {
		s->low = version;
		s->falling = false;
	} else {
		s->high = version;
		s->falling = first ? s->low != 0 : s->falling;
	}
	if (!first)
		s->stride *= 2;
}

/* One that reads what it finds. */
struct climb {
	struct bw_search search;
	struct bw_root *root;	/* owned: of search.low; NULL when that is none */
	int err;		/* why low has no root: 0 for a tombstone */
};

static int visit(struct climb *c, struct bw_versions *from, uint64_t version)
{
	struct bw_root *root = NULL;
	int rc = from->get(from, version, &root);

	if (rc < 0 && rc != -BW_E_CORRUPT && rc != -BW_E_FORMAT_NEWER)
		return rc;
	bw_search_saw(&c->search, version, rc != BW_VERSION_ABSENT);
	if (rc == BW_VERSION_ABSENT)
		return 0;
	bw_root_unref(c->root);
	c->root = root;
	c->err = rc < 0 ? rc : 0;
	return 0;
}

static int climb(struct climb *c, struct bw_versions *from)
{
	uint64_t version;
	int err = 0;

	while (!err && (version = bw_search_next(&c->search)))
		err = visit(c, from, version);
	return err;
}

int bw_search_newest(struct bw_versions *from, uint64_t start, struct bw_root **ret)
{
	int err = 0;

	for (int i = 0; i < RESTARTS; i++) {
		struct climb c = {.root = NULL};

		bw_search_cold(&c.search, start);
		err = climb(&c, from);
		if (!err && c.root) {
			*ret = c.root;
			return 0;
		}
		bw_root_unref(c.root);
		if (err)
			return err;
		if (!c.search.low)
			return -BW_E_NO_STREAM;
		if (c.err)
			return c.err;
		start = c.search.low;
	}
	return -BW_E_CORRUPT;
}

int bw_search_newer(struct bw_versions *from, uint64_t known, uint64_t guess, struct bw_root **ret)
{
	struct climb c = {.root = NULL};

	bw_search_warm(&c.search, known, guess);
	int err = climb(&c, from);

	if (!err && !c.root && c.search.low > known)
		return c.err ? c.err : bw_search_newest(from, c.search.low, ret);
	if (err)
		bw_root_unref(c.root);
	else
		*ret = c.root;
	return err;
}

size_t bw_hint_print(uint64_t version, char text[BW_HINT_MAX])
{
	return (size_t)snprintf(text, BW_HINT_MAX, "%" PRIu64 "\n", version);
}

uint64_t bw_hint_parse(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint64_t v = 0;

	if (!len || len >= BW_HINT_MAX || p[len - 1] != '\n')
		return 1;
	for (size_t i = 0; i + 1 < len; i++) {
		if (p[i] < '0' || p[i] > '9' || v > BW_COUNTER_MAX / 16)
			return 1;
		v = v * 10 + (uint64_t)(p[i] - '0');
	}
	return v ? v : 1;
}
