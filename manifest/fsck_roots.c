/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The versions: which is the newest, whether all names below it are taken, and whether each follows
 * from the one before.
 */
#include "manifest/apply.h"
#include "manifest/fsck_priv.h"
#include "manifest/open_io.h"
#include "manifest/open_search.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define STEP_DOWN 64u	/* versions below a damaged newest one that are tried */

/* ---- The newest ------------------------------------------------------------------------------- */

/* The first readable root at or below version; NULL: none near. */
static int below(struct fsck *f, uint64_t version, struct bw_root **ret)
{
	for (unsigned i = 0; version && i < STEP_DOWN; i++, version--) {
		int rc = fsck_version(f, version, ret);

		if (fsck_fatal(rc))
			return rc;
		if (rc == BW_VERSION_ROOT)
			return 0;
	}
	return 0;
}

static int note_newest(struct fsck *f, int err, uint64_t version)
{
	char key[BW_KEY_MAX + 1];

	uint64_t first = 1, last = 0;

	bw_key_root(&f->stream, version, key);
	bw_root_unref(f->root);
	f->root = NULL;
	int rc = below(f, version - 1, &f->root);

	if (rc)
		return rc;
	if (f->root && f->root->first < f->root->head) {
		first = f->root->first;
		last = f->root->head - 1;
	}
	if (err == -BW_E_FORMAT_NEWER)
		return fsck_note(f, BW_FSCK_NEWER, FSCK_NONE, key,
				 "%s, the newest root, was written by a newer release: it cannot be checked", key);
	return fsck_note(f, BW_FSCK_NEWEST, first, last, key,
			 "%s, the newest root, is damaged: nobody can open the stream", key);
}

struct top {
	uint64_t version;	/* the highest that was listed; 0: none */
};

static int top_each(struct fsck *f, void *ctx, const char *text, uint64_t size)
{
	struct bw_key k = bw_key_parse(&f->stream, text);
	struct top *t = ctx;

	(void)size;
	if (k.kind == BW_KEY_ROOT)
		t->version = k.version;
	return 0;
}

/* Versions that are there above root: it was not the newest, or a name between them is free. */
static int list_above(struct fsck *f, struct top *t)
{
	char prefix[BW_KEY_MAX + 1], after[BW_KEY_MAX + 1] = "";

	*t = (struct top){.version = 0};
	bw_key_prefix(&f->stream, BW_KEY_ROOT, prefix);
	if (f->root)
		bw_key_root(&f->stream, f->root->version, after);
	return fsck_list(f, prefix, after, top_each, t);
}

/* Opens as readers do.  root stays NULL when nothing can be opened. */
static int open_cold(struct fsck *f)
{
	bw_auto_blob struct bw_blob *hint = NULL;
	struct bw_root *root = NULL;
	char key[BW_KEY_MAX + 1];
	uint64_t damaged;

	bw_key_hint(&f->stream, key);
	int err = fsck_get(f, key, BW_HINT_MAX, &hint);

	if (fsck_fatal(err))
		return err;
	err = fsck_cold(f, hint ? bw_hint_parse(hint->bytes, hint->len) : 1, &root, &damaged);
	if (err == -BW_E_NO_STREAM)
		return 0;
	if (err == -BW_E_CORRUPT || err == -BW_E_FORMAT_NEWER)
		return damaged ? note_newest(f, err, damaged) :
				 fsck_note(f, BW_FSCK_NEWEST, FSCK_NONE, "",
					   "the newest version is a tombstone: nobody can open the stream");
	if (err)
		return err;
	bw_root_unref(f->root);
	f->root = root;
	return 0;
}

/* Names above a free one: the history of the highest is the longest. */
static int beyond_gap(struct fsck *f, const struct top *t, bool told)
{
	struct bw_root *root = NULL;
	char key[BW_KEY_MAX + 1];
	int err = below(f, t->version, &root);

	if (err)
		return err;
	if (root && (!f->root || root->version > f->root->version)) {
		bw_root_unref(f->root);
		f->root = root;
		return 0;
	}
	bw_root_unref(root);
	bw_key_root(&f->stream, t->version, key);
	if (told || !f->root)
		return 0;
	return fsck_note(f, BW_FSCK_VERSIONS, FSCK_NONE, key,
			 "%s is there, but version %" PRIu64 " is the newest that can be opened", key,
			 f->root->version);
}

static int other_each(struct fsck *f, void *ctx, const char *text, uint64_t size)
{
	char *other = ctx;

	(void)size;
	if (bw_key_parse(&f->stream, text).kind != BW_KEY_FOREIGN || bw_key_is_probe(text))
		return 0;
	memcpy(other, text, strlen(text) + 1);
	return 1;
}

/* A creation that was cut short; but what else is there may say that the id is the wrong one. */
static int note_none(struct fsck *f)
{
	char other[BW_KEY_MAX + 1] = "";
	int err = fsck_list(f, "", "", other_each, other);

	if (err)
		return err;
	if (other[0])
		return fsck_note(f, BW_FSCK_NEWEST, FSCK_NONE, other,
				 "there is no version of this stream, but %s: is " BW_STREAM_KEY " that of another?",
				 other);
	return fsck_note(f, BW_FSCK_NEWEST, FSCK_NONE, "",
			 "there is no version: the stream is only half created, and is finished when it is mounted");
}

int fsck_newest(struct fsck *f)
{
	const uint64_t *counts = f->report->counts;
	struct top t;
	int err = open_cold(f);

	if (!err)
		err = list_above(f, &t);
	bool told = counts[BW_FSCK_NEWEST] || counts[BW_FSCK_NEWER];

	/* Beside writers the first open is behind; the second begins after the listing. */
	if (!err && t.version && !told)
		err = open_cold(f);
	if (!err && t.version && (!f->root || t.version > f->root->version))
		err = beyond_gap(f, &t, told);
	if (err || f->root || counts[BW_FSCK_NEWER])
		return err;
	return t.version ? fsck_note(f, BW_FSCK_NEWEST, FSCK_NONE, "",
				     "no version from 1 to %" PRIu64 " can be read", t.version) :
			   note_none(f);
}

/* ---- History ---------------------------------------------------------------------------------- */

struct history {
	struct fsck *f;
	struct fsck_ahead *ahead;
	uint64_t expect;	/* the version to come next in the listing */
	struct bw_root *base;	/* owned: the newest root below that could be read; NULL: none */
	uint64_t left, above;	/* a root, and the first tombstone above it; 0: none */
};

/* A name that was not listed: is it free? */
static int is_free(struct fsck *f, uint64_t version, bool *ret)
{
	struct bw_root *root = NULL;
	int rc = fsck_version(f, version, &root);

	bw_root_unref(root);
	*ret = rc == BW_VERSION_ABSENT;
	return fsck_fatal(rc) ? rc : 0;
}

static int gap(struct history *h, uint64_t first, uint64_t last)
{
	char from[BW_KEY_MAX + 1];
	bool low, high;
	int err = is_free(h->f, first, &low);

	if (!err)
		err = is_free(h->f, last, &high);
	bw_key_root(&h->f->stream, first, from);
	if (err)
		return err;
	if (!low && !high)
		return fsck_note(h->f, BW_FSCK_LISTING, FSCK_NONE, from,
				 "%s is there and was not listed", from);
	if (first == last)
		return fsck_note(h->f, BW_FSCK_VERSIONS, FSCK_NONE, from,
				 "version %" PRIu64 " is gone: a name that is free again (%s)", first,
				 from);
	return fsck_note(h->f, BW_FSCK_VERSIONS, FSCK_NONE, from,
			 "versions %" PRIu64 "-%" PRIu64 " are gone: names that are free again, from %s on",
			 first, last, from);
}

/* The steps that a version added, as far as they are still there. */
static void added(const struct fsck *f, const struct bw_root *base, const struct bw_root *r,
		  uint64_t *ret_first, uint64_t *ret_last)
{
	uint64_t first = base->head > f->root->first ? base->head : f->root->first;
	uint64_t end = r->head < f->root->head ? r->head : f->root->head;

	*ret_first = first < end ? first : 1;
	*ret_last = first < end ? end - 1 : 0;
}

static int check_follows(struct history *h, const struct bw_root *r, const char *key)
{
	const struct bw_root *base = h->base;
	struct fsck *f = h->f;
	uint64_t first, last;

	if (!base)
		return 0;
	bool adjacent = r->version == base->version + 1;

	added(f, base, r, &first, &last);
	if (adjacent && r->previous_xxh3 != base->stored_xxh3)
		return fsck_note(f, BW_FSCK_HISTORY, first, last, key,
				 "%s was built on another version %" PRIu64 " than the one that is there", key,
				 base->version);
	/* A newer release may do what this one cannot repeat. */
	if (bw_root_may_write(r))
		return fsck_note(f, BW_FSCK_NEWER, FSCK_NONE, key,
				 "%s was written by a newer release: whether it follows cannot be checked", key);
	int err = bw_apply_check(&f->stream, base, r);

	if (err != -BW_E_CONTRADICTION)
		return err;
	return adjacent ? fsck_note(f, BW_FSCK_HISTORY, first, last, key,
				    "%s does not follow from version %" PRIu64 " by the changes that it names", key,
				    base->version) :
			  fsck_note(f, BW_FSCK_HISTORY, first, last, key,
				    "%s cannot follow from version %" PRIu64, key, base->version);
}

static int take_root(struct history *h, struct bw_root *r, const char *key)
{
	int err = check_follows(h, r, key);

	h->f->report->versions++;
	if (err) {
		bw_root_unref(r);
		return err;
	}
	bw_root_unref(h->base);
	h->base = r;
	return 0;
}

/* was_listed: as one; else a collector has just been there, whose next ones may be so far above. */
static int count_tombstone(struct history *h, uint64_t version, bool was_listed)
{
	if (was_listed && h->base && !h->above) {
		h->left = h->base->version;
		h->above = version;
	}
	h->f->report->tombstones++;
	return 0;
}

/* The oldest of those that were read ahead. */
static int take_next(struct history *h)
{
	bw_auto_blob struct bw_blob *blob = NULL;
	struct bw_root *root = NULL;
	char key[BW_KEY_MAX + 1];
	struct fsck_tag tag;
	int rc = fsck_ahead_pop(h->ahead, &tag, key, &blob);

	if (!rc)
		rc = bw_version_decode(&h->f->stream, tag.version, blob, &root);
	if (rc == -BW_E_CORRUPT)
		rc = fsck_version(h->f, tag.version, &root);
	fsck_did(h->f, 1);
	switch (rc) {
	case BW_VERSION_ROOT:
		return take_root(h, root, key);
	case BW_VERSION_TOMBSTONE:
		return count_tombstone(h, tag.version, tag.buried);
	case BW_VERSION_ABSENT:
	case -ENOENT:
		return gap(h, tag.version, tag.version);
	case -BW_E_FORMAT_NEWER:
		return fsck_note(h->f, BW_FSCK_NEWER, FSCK_NONE, key,
				 "%s was written by a newer release: it cannot be checked", key);
	case -BW_E_CORRUPT:
		return fsck_note(h->f, BW_FSCK_ROOT, FSCK_NONE, key, "%s is damaged", key);
	default:
		return rc;
	}
}

static int drain(struct history *h)
{
	int err = 0;

	while (!err && h->ahead->n)
		err = take_next(h);
	return err;
}

/* By its size, which a damaged root may have as well: what has another one is read. */
static int is_buried(uint64_t version, uint64_t size, bool *ret)
{
	bw_auto_buf struct bw_buf bytes = {.max = 0};

	*ret = false;
	if (size > BW_TOMBSTONE_MAX)
		return 0;
	bw_buf_init(&bytes, BW_TOMBSTONE_MAX);
	int err = bw_tombstone_encode(version, &bytes);

	*ret = bytes.len == size;
	return err;
}

/* Behind what was read ahead. */
static int take_tombstone(struct history *h, uint64_t version)
{
	int err = drain(h);

	fsck_did(h->f, 1);
	return err ? err : count_tombstone(h, version, true);
}

static int history_each(struct fsck *f, void *ctx, const char *text, uint64_t size)
{
	struct bw_key k = bw_key_parse(&f->stream, text);
	struct history *h = ctx;
	int err = 0;

	if (k.kind != BW_KEY_ROOT || k.version < h->expect)
		return 0;
	if (k.version > f->root->version)
		return 1;
	if (k.version > h->expect) {
		err = drain(h);
		if (!err)
			err = gap(h, h->expect, k.version - 1);
		if (err)
			return err;
	}
	h->expect = k.version + 1;
	struct fsck_tag tag = {.version = k.version};

	err = is_buried(k.version, size, &tag.buried);
	if (!err && tag.buried && !f->o->data)
		return take_tombstone(h, k.version);
	uint64_t max = size < BW_ROOT_STORED_MAX ? size : BW_ROOT_STORED_MAX;

	while (!err && !fsck_ahead_room(h->ahead, max))
		err = take_next(h);
	if (!err)
		fsck_ahead_push(h->ahead, text, 0, BW_TO_END, max, &tag);
	return err;
}

/* Collectors bury from the oldest on; one that died has left a root behind. */
static int note_left(struct history *h)
{
	struct bw_root *root = NULL;
	char key[BW_KEY_MAX + 1];

	if (!h->left)
		return 0;
	int rc = fsck_version(h->f, h->left, &root);

	bw_root_unref(root);
	if (rc != BW_VERSION_ROOT)
		return fsck_fatal(rc) ? rc : 0;
	bw_key_root(&h->f->stream, h->above, key);
	return fsck_note(h->f, BW_FSCK_TOMBSTONE, FSCK_NONE, key,
			 "%s is a tombstone above version %" PRIu64 ", which is still a root", key, h->left);
}

int fsck_history(struct fsck *f)
{
	struct history h = {.f = f, .expect = 1};
	char prefix[BW_KEY_MAX + 1];
	int err = fsck_ahead_new(f, &h.ahead);

	if (err)
		return err;
	fsck_phase(f, "versions", "versions", f->root->version);
	bw_key_prefix(&f->stream, BW_KEY_ROOT, prefix);
	err = fsck_list(f, prefix, "", history_each, &h);
	if (!err)
		err = drain(&h);
	if (!err && h.expect <= f->root->version)
		err = gap(&h, h.expect, f->root->version);
	if (!err)
		err = note_left(&h);
	fsck_ahead_free(h.ahead);
	bw_root_unref(h.base);
	return err;
}
