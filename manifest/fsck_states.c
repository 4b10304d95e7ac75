/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few objects that a root names one by one: states.  And the hint, which nobody has to believe.
 */
#include "manifest/fsck_priv.h"
#include "manifest/open_search.h"
#include "store/base/hash.h"

#include <inttypes.h>
#include <string.h>

static bool is_right(const struct bw_producer_entry *p, const struct bw_blob *blob)
{
	return blob->len == p->state_len && bw_xxh3(blob->bytes, blob->len) == p->state_xxh3;
}

/* Does the newest root still name the state that could not be had? */
static int still_current(struct fsck *f, const struct bw_producer_entry *p, bool *ret)
{
	int err = fsck_refresh(f, bw_now());

	BW_LOCK_SCOPE(&f->io_lock);
	const struct bw_producer_entry *now = bw_root_producer(f->latest, p->name);

	*ret = now && now->has_state && !now->state && now->state_seq == p->state_seq &&
	       now->state_nonce == p->state_nonce;
	return err;
}

static int take_state(struct fsck *f, struct fsck_ahead *ahead)
{
	bw_auto_blob struct bw_blob *blob = NULL;
	char key[BW_KEY_MAX + 1];
	struct fsck_tag tag;
	bool current;
	int err = fsck_ahead_pop(ahead, &tag, key, &blob);
	const struct bw_producer_entry *p = tag.producer;

	for (int i = 1; i < FSCK_READS && !fsck_fatal(err) && err != -ENOENT && (err || !is_right(p, blob));
	     i++) {
		bw_blob_unref(blob);
		blob = NULL;
		err = fsck_get(f, key, BW_STATE_MAX, &blob);
	}
	if (fsck_fatal(err))
		return err;
	f->report->states++;
	if (!err && is_right(p, blob))
		return 0;
	int why = err;

	err = still_current(f, p, &current);
	if (err || !current)
		return err;
	if (why == -ENOENT)
		return fsck_note(f, BW_FSCK_STATE_MISSING, FSCK_NONE, key,
				 "the state object %s of %s is missing: it cannot resume behind its seq %" PRIu64, key,
				 p->name, p->state_seq);
	if (!why && blob->len != p->state_len)
		return fsck_note(f, BW_FSCK_STATE_DAMAGED, FSCK_NONE, key,
				 "the state object %s of %s has %zu bytes, not %" PRIu32, key, p->name, blob->len,
				 p->state_len);
	return fsck_note(f, BW_FSCK_STATE_DAMAGED, FSCK_NONE, key,
			 "the state object %s of %s is damaged: it cannot resume behind its seq %" PRIu64, key,
			 p->name, p->state_seq);
}

int fsck_states(struct fsck *f)
{
	struct fsck_ahead *ahead;
	int err = fsck_ahead_new(f, &ahead);

	if (err)
		return err;
	for (uint32_t i = 0; !err && i < f->root->producers_n; i++) {
		const struct bw_producer_entry *p = &f->root->producers[i];
		struct fsck_tag tag = {.producer = p};
		char key[BW_KEY_MAX + 1];

		if (!p->has_state || p->state)
			continue;
		while (!err && !fsck_ahead_room(ahead, BW_STATE_MAX))
			err = take_state(f, ahead);
		bw_key_state(&f->stream, p->name, p->state_epoch, p->state_seq, p->state_nonce, key);
		if (!err)
			fsck_ahead_push(ahead, key, 0, BW_TO_END, BW_STATE_MAX, &tag);
	}
	while (!err && ahead->n)
		err = take_state(f, ahead);
	fsck_ahead_free(ahead);
	return err;
}

int fsck_hint(struct fsck *f)
{
	bw_auto_blob struct bw_blob *hint = NULL;
	char key[BW_KEY_MAX + 1], text[BW_HINT_MAX];

	bw_key_hint(&f->stream, key);
	int err = fsck_get(f, key, BW_HINT_MAX, &hint);

	if (err && err != -BW_E_CORRUPT)
		return err == -ENOENT ? 0 : err;
	uint64_t version = hint ? bw_hint_parse(hint->bytes, hint->len) : 0;
	size_t len = bw_hint_print(version, text);

	if (!hint || hint->len != len || memcmp(hint->bytes, text, len) != 0)
		return fsck_note(f, BW_FSCK_HINT, FSCK_NONE, key,
				 "%s is no version: opening takes longer until it is written again", key);
	/* It is written after its version: a newer root is known by now, or it is wrong. */
	err = fsck_refresh(f, bw_now());
	BW_LOCK_SCOPE(&f->io_lock);
	if (err || version <= f->latest->version)
		return err;
	return fsck_note(f, BW_FSCK_HINT, FSCK_NONE, key,
			 "%s says version %" PRIu64 ", which is not there: opening takes longer", key, version);
}
