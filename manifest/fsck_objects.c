/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies in the store against what the root names.  The live entries go into a table, in parts that
 * fit, and a listing looks its objects up in it: 1,000 a request.  What the listing did not show is asked for by itself.
 */
#include "manifest/fsck_priv.h"
#include "manifest/reclaim_rules.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LOOKS_MAX 1000u	/* for a stream.json beside what is foreign */

struct objects {
	struct fsck *f;
	struct bw_refs nobody;		/* an empty set: to judge what the root does not name */
	char manifest[BW_KEY_MAX + 1];	/* prefix of the versions */
	char data[BW_KEY_MAX + 1];	/* prefixes of what has parts */
	char nodes[BW_KEY_MAX + 1];
	/* Steps whose object was not listed. */
	uint64_t *missing;
	size_t missing_n, missing_at;
	struct fsck_ahead *ahead;
	/* Directories, with their slash, of the foreign objects that are being listed. */
	char nested[BW_KEY_MAX + 1];	/* has a stream of its own; "" before there is one */
	char plain[BW_KEY_MAX + 1];	/* has none, nor have those above */
	unsigned looks;
};

static bool in_part(const struct fsck *f, uint64_t hash)
{
	return (uint64_t)((unsigned __int128)hash * f->parts >> 64) == f->part;
}

static struct bw_key key_of(const struct bw_entry *e)
{
	struct bw_key k = {.kind = BW_KEY_DATA, .epoch = e->epoch, .seq = e->seq, .nonce = e->nonce};

	memcpy(k.producer, e->producer, sizeof(k.producer));
	return k;
}

/* ---- Filling the tables ----------------------------------------------------------------------- */

static int add_entry(struct fsck *f, void *ctx, const struct bw_entry *e)
{
	struct bw_key k = key_of(e);
	uint64_t hash = fsck_hash(&k);
	char key[BW_KEY_MAX + 1];

	(void)ctx;
	if (!in_part(f, hash))
		return 0;
	const struct fsck_cell *other;
	int err = fsck_table_add(&f->data, hash, e->step, e->size, &other);

	if (err || !other)
		return err;
	bw_key_data(&f->stream, e->producer, e->epoch, e->seq, e->nonce, key);
	return fsck_note(f, BW_FSCK_DATA_SHARED, e->step, e->step, key,
			 "%s is the object of step %" PRIu64 " as well", key, other->step);
}

static int add_node(struct fsck *f, void *ctx, unsigned level, const struct bw_pointer *p)
{
	struct bw_key k = {.kind = BW_KEY_NODE,
			   .level = level,
			   .first = p->first,
			   .last = p->last,
			   .hash = p->hash};
	uint64_t hash = fsck_hash(&k);

	(void)ctx;
	const struct fsck_cell *other;

	return in_part(f, hash) ? fsck_table_add(&f->nodes, hash, p->first, 0, &other) : 0;
}

/* Of so many objects that are spread by chance one part gets a little more than the mean. */
static uint64_t most_of(uint64_t n, uint64_t parts)
{
	uint64_t mean = n / parts;

	return mean + mean / 8 + 64;
}

static int fill(struct objects *o)
{
	struct fsck *f = o->f;
	uint64_t live = f->root->head - f->root->first;
	/* One in 126 steps is a node, partly live ones at both ends. */
	uint64_t nodes = live / 100 + 1024;
	struct fsck_visit visit = {.entry = add_entry, .node = add_node, .judge = f->part == 0};
	int err = fsck_table_reset(&f->data, f->parts > 1 ? most_of(live, f->parts) : live);

	if (!err)
		err = fsck_table_reset(&f->nodes, f->parts > 1 ? most_of(nodes, f->parts) : nodes);
	if (err)
		return err;
	if (f->part == 0)
		fsck_phase(f, "index", "steps", live);
	return fsck_walk(f, &visit);
}

/* ---- Objects that were listed ----------------------------------------------------------------- */

static void count(struct fsck *f, enum bw_key_kind kind, enum bw_fsck_class class, uint64_t size)
{
	f->report->sums[kind][class].objects++;
	f->report->sums[kind][class].bytes += size;
}

/* An upload that the root does not name.  Seqs below the first live one are of steps that are reclaimed. */
static enum bw_fsck_class class_of_upload(const struct objects *o, const struct bw_key *k)
{
	struct bw_reclaim_rules rules = {
		.judge = o->f->root, .needed = &o->nobody, .swept = o->f->root->swept};
	const struct bw_producer_entry *p = bw_root_producer(o->f->root, k->producer);

	switch (bw_reclaim_judge(&rules, k)) {
	case BW_WHY_STATE_CURRENT:
		return BW_FSCK_LIVE;
	case BW_WHY_STATE_RECENT:
		return BW_FSCK_KEPT;
	case BW_WHY_STATE_OLD:
		return BW_FSCK_RECLAIMED;
	case BW_WHY_FENCED:
	case BW_WHY_LOST:
		break;
	default:
		return BW_FSCK_FLIGHT;
	}
	const struct fsck_place *at = &o->f->places[p - o->f->root->producers];

	if (k->seq < (at->seen ? at->first_seq : p->next))
		return o->f->holes_n ? BW_FSCK_UNJUDGED : BW_FSCK_RECLAIMED;
	if (k->seq < p->next && o->f->holes_n)
		return BW_FSCK_UNJUDGED;
	return BW_FSCK_LOST;
}

static int take_data(struct objects *o, const struct bw_key *k, const char *text, uint64_t size)
{
	struct fsck *f = o->f;
	uint64_t hash = fsck_hash(k);

	if (!in_part(f, hash))
		return 0;
	struct fsck_cell *c = fsck_table_find(&f->data, hash);

	if (!c) {
		count(f, BW_KEY_DATA, class_of_upload(o, k), size);
		return 0;
	}
	if (c->seen)
		return 0;
	c->seen = 1;
	count(f, BW_KEY_DATA, BW_FSCK_LIVE, size);
	if (c->size == size)
		return 0;
	int err = fsck_refresh(f, f->listed_ns);

	if (err || c->step < fsck_latest_first(f))
		return err;
	err = fsck_bad_add(f, c->step);
	return err ? err : fsck_note(f, BW_FSCK_DATA_SIZE, c->step, c->step, text,
				     "%s has %" PRIu64 " bytes, not %" PRIu64, text, size,
				     (uint64_t)c->size);
}

static void take_node(struct fsck *f, const struct bw_key *k, uint64_t size)
{
	uint64_t hash = fsck_hash(k);
	enum bw_fsck_class class = BW_FSCK_KEPT;

	if (!in_part(f, hash))
		return;
	if (fsck_table_find(&f->nodes, hash))
		class = BW_FSCK_LIVE;
	else if (k->last < f->root->first)
		class = BW_FSCK_RECLAIMED;
	else if (fsck_in_hole(f, k->first, k->last))
		class = BW_FSCK_UNJUDGED;
	else if (k->last >= f->root->head - f->root->tail_n)
		class = BW_FSCK_FLIGHT;
	count(f, BW_KEY_NODE, class, size);
}

/* Whether the directory, the first len bytes of text, has the stream.json of a stream. */
static int look_into(struct fsck *f, const char *text, size_t len, bool *ret)
{
	bw_auto_blob struct bw_blob *json = NULL;
	char key[BW_KEY_MAX + 1];
	struct bw_stream s;

	*ret = false;
	if (len + strlen(BW_STREAM_KEY) > BW_KEY_MAX)
		return 0;
	memcpy(key, text, len);
	memcpy(key + len, BW_STREAM_KEY, sizeof(BW_STREAM_KEY));
	if (!bw_key_valid(key))
		return 0;
	int err = fsck_get(f, key, BW_STREAM_JSON_MAX, &json);

	if (!err)
		err = bw_stream_decode(json->bytes, json->len, &s);
	*ret = !err || err == -BW_E_FORMAT_NEWER;
	if (err == -BW_E_DENIED)
		f->failed[0] = 0;	/* what may not be read is none */
	if (!*ret)
		return fsck_fatal(err) && err != -BW_E_DENIED ? err : 0;
	return fsck_note(f, BW_FSCK_NESTED, FSCK_NONE, key, "%s: a stream of its own lies below this one", key);
}

/* A listing has what is in a directory in one piece: so each directory is looked into once. */
static int is_nested(struct objects *o, const char *text, bool *ret)
{
	*ret = o->nested[0] && !strncmp(text, o->nested, strlen(o->nested));
	for (const char *slash = strchr(text, '/'); !*ret && slash && o->looks < LOOKS_MAX; slash = strchr(slash + 1, '/')) {
		size_t len = (size_t)(slash + 1 - text);

		if (!strncmp(text, o->plain, len))
			continue;
		int err = look_into(o->f, text, len, ret);

		if (err)
			return err;
		char *dir = *ret ? o->nested : o->plain;

		o->looks++;
		memcpy(dir, text, len);
		dir[len] = 0;
	}
	return 0;
}

static int take_foreign(struct objects *o, const char *text, uint64_t size)
{
	struct fsck *f = o->f;
	bool nested = false;

	count(f, BW_KEY_FOREIGN, BW_FSCK_OTHER, size);
	int err = bw_key_is_probe(text) ? 0 : is_nested(o, text, &nested);

	if (err || nested)
		return err;
	if (bw_key_is_probe(text))
		return fsck_note(f, BW_FSCK_PROBE, FSCK_NONE, text, "%s was left behind by an init", text);
	return fsck_note(f, BW_FSCK_FOREIGN, FSCK_NONE, text,
			 "%s (%" PRIu64 " bytes) is no object of this stream", text, size);
}

static int each(struct fsck *f, void *ctx, const char *text, uint64_t size)
{
	struct bw_key k = bw_key_parse(&f->stream, text);
	struct objects *o = ctx;

	if (k.kind != BW_KEY_DATA && k.kind != BW_KEY_NODE && f->part)
		return 0;
	switch (k.kind) {
	case BW_KEY_DATA:
		return take_data(o, &k, text, size);
	case BW_KEY_NODE:
		take_node(f, &k, size);
		return 0;
	case BW_KEY_STATE:
		count(f, BW_KEY_STATE, class_of_upload(o, &k), size);
		return 0;
	case BW_KEY_ROOT:
		if (size <= BW_TOMBSTONE_MAX) {
			f->report->tombstone_sum.objects++;
			f->report->tombstone_sum.bytes += size;
		} else {
			count(f, BW_KEY_ROOT, k.version < f->root->version ? BW_FSCK_RECLAIMED : BW_FSCK_LIVE,
			      size);
		}
		return 0;
	case BW_KEY_STREAM:
	case BW_KEY_HINT:
		count(f, k.kind, BW_FSCK_LIVE, size);
		return 0;
	case BW_KEY_FOREIGN:
		break;
	}
	return take_foreign(o, text, size);
}

/* ---- Uploads that have not ended -------------------------------------------------------------- */

static void take_upload(struct objects *o, const char *text)
{
	struct bw_key k = bw_key_parse(&o->f->stream, text);
	bool judged = k.kind == BW_KEY_DATA || k.kind == BW_KEY_STATE;
	enum bw_fsck_class class = judged ? class_of_upload(o, &k) : BW_FSCK_FLIGHT;

	/* The parts of one that is committed meanwhile are its own business. */
	o->f->report->uploads[class == BW_FSCK_FLIGHT || class == BW_FSCK_LIVE ? BW_FSCK_FLIGHT :
										 BW_FSCK_LOST]++;
}

/* Stores that tell nobody of them, or something else, and those who may not ask, are left in peace. */
static int list_uploads(struct objects *o)
{
	struct bw_uploads *last = NULL;
	bool more = true;
	int err = 0;

	while (more && !err) {
		struct bw_upload *u = last ? &last->items[last->n - 1] : NULL;
		struct bw_op op;

		bw_op_list_uploads(&op, "", u ? u->key : "", u ? u->id : NULL, BW_LIST_PAGE_MAX);
		err = fsck_run(o->f, &op);
		bool refused = op.outcome == BW_DENIED || op.outcome == BW_CORRUPT;

		for (size_t i = 0; !err && i < op.uploads->n; i++)
			take_upload(o, op.uploads->items[i].key);
		more = !err && op.uploads->more && op.uploads->n;
		bw_uploads_free(last);
		last = op.uploads;
		op.uploads = NULL;
		bw_op_done(&op);
		if (refused) {
			o->f->failed[0] = 0;
			err = 0;
			more = false;
		}
	}
	bw_uploads_free(last);
	return err;
}

static int list(struct objects *o)
{
	struct fsck *f = o->f;

	int err;

	if (f->part == 0) {
		err = fsck_list(f, "", "", each, o);
		return err ? err : list_uploads(o);
	}
	err = fsck_list(f, o->data, "", each, o);
	return err ? err : fsck_list(f, o->nodes, "", each, o);
}

/* ---- Objects that were not -------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Steps below what is reclaimed by now are none of ours: their objects may go. */
static int collect_missing(struct objects *o)
{
	struct fsck *f = o->f;
	uint64_t n = 0;
	int err = fsck_refresh(f, bw_now());
	uint64_t first = fsck_latest_first(f);

	for (uint64_t i = 0; i <= f->data.mask; i++)
		n += f->data.cells[i].hash && !f->data.cells[i].seen && f->data.cells[i].step >= first;
	free(o->missing);
	o->missing_n = o->missing_at = 0;
	o->missing = calloc(n ? n : 1, sizeof(*o->missing));
	if (err || !o->missing)
		return err ? err : -ENOMEM;
	for (uint64_t i = 0; i <= f->data.mask; i++) {
		const struct fsck_cell *c = &f->data.cells[i];

		if (c->hash && !c->seen && c->step >= first)
			o->missing[o->missing_n++] = c->step;
	}
	qsort(o->missing, o->missing_n, sizeof(*o->missing), compare);
	return 0;
}

static bool wants_missing(struct fsck *f, void *ctx, uint64_t first, uint64_t last)
{
	const struct objects *o = ctx;
	size_t low = 0, high = o->missing_n;

	(void)f;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (o->missing[mid] < first)
			low = mid + 1;
		else
			high = mid;
	}
	return low < o->missing_n && o->missing[low] <= last;
}

static int judge_missing(struct objects *o)
{
	bw_auto_blob struct bw_blob *blob = NULL;
	char key[BW_KEY_MAX + 1];
	struct fsck *f = o->f;
	struct fsck_tag tag;
	int err = fsck_ahead_pop(o->ahead, &tag, key, &blob);

	if (fsck_fatal(err))
		return err;
	if (err != -ENOENT)
		return fsck_note(f, BW_FSCK_LISTING, FSCK_NONE, key, "%s is there and was not listed", key);
	err = fsck_refresh(f, tag.answered_ns);
	if (err || tag.entry.step < fsck_latest_first(f))
		return err;
	err = fsck_bad_add(f, tag.entry.step);
	return err ? err : fsck_note(f, BW_FSCK_DATA_MISSING, tag.entry.step, tag.entry.step, key,
				     "the data object %s is missing", key);
}

static int ask_missing(struct fsck *f, void *ctx, const struct bw_entry *e)
{
	struct fsck_tag tag = {.entry = *e};
	char key[BW_KEY_MAX + 1];
	struct objects *o = ctx;
	int err = 0;

	while (o->missing_at < o->missing_n && o->missing[o->missing_at] < e->step)
		o->missing_at++;
	if (o->missing_at == o->missing_n || o->missing[o->missing_at] != e->step)
		return 0;
	while (!err && !fsck_ahead_room(o->ahead, 1))
		err = judge_missing(o);
	bw_key_data(&f->stream, e->producer, e->epoch, e->seq, e->nonce, key);
	if (!err)
		fsck_ahead_push(o->ahead, key, 0, 1, 1, &tag);
	return err;
}

static int find_missing(struct objects *o)
{
	struct fsck_visit visit = {.entry = ask_missing, .wants = wants_missing, .ctx = o};
	int err = collect_missing(o);

	if (err || !o->missing_n)
		return err;
	err = fsck_ahead_new(o->f, &o->ahead);
	if (!err)
		err = fsck_walk(o->f, &visit);
	while (!err && o->ahead->n)
		err = judge_missing(o);
	fsck_ahead_free(o->ahead);
	o->ahead = NULL;
	return err;
}

/* ---- All of it -------------------------------------------------------------------------------- */

static int run(struct objects *o)
{
	struct fsck *f = o->f;
	uint64_t live = f->root->head - f->root->first, room = fsck_table_room(
		f->o->table_bytes ? f->o->table_bytes : BW_FSCK_TABLE_BYTES);
	int err = 0;

	f->parts = 1;
	while (f->parts < live && (f->parts > 1 ? most_of(live, f->parts) : live) > room)
		f->parts++;
	for (f->part = 0; !err && f->part < f->parts; f->part++) {
		err = fill(o);
		if (!err)
			err = list(o);
		if (!err)
			err = find_missing(o);
	}
	fsck_bad_sort(f);
	return err;
}

int fsck_objects(struct fsck *f)
{
	struct objects o = {.f = f};
	int err = bw_refs_init(&o.nobody, 0, 0);

	bw_key_prefix(&f->stream, BW_KEY_DATA, o.data);
	bw_key_prefix(&f->stream, BW_KEY_NODE, o.nodes);
	if (!err)
		err = run(&o);
	bw_refs_done(&o.nobody);
	free(o.missing);
	return err;
}
