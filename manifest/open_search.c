/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/open_search.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A tombstone at the newest version says that there is a newer one by now: so often, it is a lie. */
#define RESTARTS 16

struct search {
	uint64_t low;		/* highest version known to exist; 0: none */
	uint64_t high;		/* lowest version known not to exist; 0: none */
	uint64_t stride;	/* of the doubling */
	struct bw_root *root;	/* owned: of low; NULL when that is none */
	int err;		/* why low has no root: 0 for a tombstone */
};

static uint64_t next_version(const struct search *s, uint64_t start)
{
	if (!s->low && !s->high)
		return start;
	if (!s->high)
		return s->low + s->stride;
	return s->low + (s->high - s->low) / 2;
}

static int visit(struct search *s, struct bw_versions *from, uint64_t version)
{
	struct bw_root *root = NULL;
	int rc = from->get(from, version, &root);

	if (rc < 0 && rc != -BW_E_CORRUPT && rc != -BW_E_FORMAT_NEWER)
		return rc;
	if (rc == BW_VERSION_ABSENT) {
		s->high = version;
		return 0;
	}
	if (s->low)
		s->stride *= 2;
	s->low = version;
	bw_root_unref(s->root);
	s->root = root;
	s->err = rc < 0 ? rc : 0;
	return 0;
}

static int climb(struct search *s, struct bw_versions *from, uint64_t start)
{
	int err = 0;

	while (!err && (!s->high || s->high - s->low > 1))
		err = visit(s, from, next_version(s, start));
	return err;
}

int bw_search_newest(struct bw_versions *from, uint64_t start, struct bw_root **ret)
{
	int err = 0;

	for (int i = 0; i < RESTARTS; i++) {
		struct search s = {.stride = 1};

		err = climb(&s, from, start);
		if (!err && s.root) {
			*ret = s.root;
			return 0;
		}
		bw_root_unref(s.root);
		if (err)
			return err;
		if (!s.low)
			return -BW_E_NO_STREAM;
		if (s.err)
			return s.err;
		start = s.low;
	}
	return -BW_E_CORRUPT;
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
