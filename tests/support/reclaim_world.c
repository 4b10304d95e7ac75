/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/reclaim_world.h"

#include "manifest/apply_draft.h"
#include "manifest/index_walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "reclaim world: %s\n", what);
	abort();
}

/* ---- Objects ------------------------------------------------------------------------------------ */

static size_t find(const struct bw_world *w, const char *key)
{
	size_t low = 0, high = w->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(w->objects[mid].key, key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool at(const struct bw_world *w, size_t i, const char *key)
{
	return i < w->n && !strcmp(w->objects[i].key, key);
}

const struct bw_world_object *bw_world_get(const struct bw_world *w, const char *key)
{
	size_t i = find(w, key);

	return at(w, i, key) ? &w->objects[i] : NULL;
}

void bw_world_put(struct bw_world *w, const char *key, const void *bytes, size_t len)
{
	size_t i = find(w, key);
	struct bw_blob *blob = bw_blob_copy(bytes, len);

	must(blob, "memory");
	if (at(w, i, key)) {
		bw_blob_unref(w->objects[i].blob);
	} else {
		if (w->n == w->cap) {
			w->cap = w->cap ? 2 * w->cap : 64;
			w->objects = realloc(w->objects, w->cap * sizeof(*w->objects));
			must(w->objects, "memory");
		}
		memmove(&w->objects[i + 1], &w->objects[i], (w->n - i) * sizeof(*w->objects));
		w->n++;
		w->objects[i].key = strdup(key);
	}
	w->objects[i].blob = blob;
	w->objects[i].ms = w->now_ms;
}

void bw_world_delete(struct bw_world *w, const char *key)
{
	size_t i = find(w, key);

	if (!at(w, i, key))
		return;
	free(w->objects[i].key);
	bw_blob_unref(w->objects[i].blob);
	memmove(&w->objects[i], &w->objects[i + 1], (--w->n - i) * sizeof(*w->objects));
}

static struct bw_listing *list(const struct bw_world *w, const char *prefix, const char *after,
			       uint64_t max)
{
	struct bw_listing *l = calloc(1, sizeof(*l));
	size_t i = find(w, strcmp(prefix, after) < 0 ? after : prefix);

	must(l, "memory");
	l->items = calloc(max, sizeof(*l->items));
	for (; i < w->n && !strncmp(w->objects[i].key, prefix, strlen(prefix)); i++) {
		const struct bw_world_object *o = &w->objects[i];

		if (strcmp(o->key, after) <= 0)
			continue;
		if (l->n == max) {
			l->more = true;
			break;
		}
		l->items[l->n++] = (struct bw_listed){.key = strdup(o->key), .size = o->blob->len,
						      .modified_ms = o->ms};
	}
	return l;
}

/* ---- Worlds ------------------------------------------------------------------------------------- */

static void put_buf(struct bw_world *w, const char *key, const struct bw_buf *b)
{
	bw_world_put(w, key, b->bytes, b->len);
}

/* Takes r. */
static void put_root(struct bw_world *w, struct bw_root *r)
{
	bw_auto_buf struct bw_buf bytes = {.max = 0};
	char key[BW_KEY_MAX + 1];

	bw_buf_init(&bytes, BW_ROOT_RAW_MAX);
	bw_root_unref(w->root);
	w->root = bw_test_stored(&w->stream, r, &bytes);
	bw_root_unref(r);
	bw_key_root(&w->stream, w->root->version, key);
	put_buf(w, key, &bytes);
}

void bw_world_init(struct bw_world *w)
{
	struct bw_root *first;

	*w = (struct bw_world){.now_ms = 1700000000000};
	bw_test_stream(&w->stream, 4);
	w->stream.options.grace_s = 3600;
	must(!bw_root_first(&w->stream, &first), "root 1");
	put_root(w, first);
	bw_world_put(w, BW_STREAM_KEY, "{}", 2);
}

void bw_world_copy(struct bw_world *to, const struct bw_world *from)
{
	*to = *from;
	bw_root_ref(to->root);
	to->objects = calloc(from->cap, sizeof(*to->objects));
	must(to->objects, "memory");
	for (size_t i = 0; i < from->n; i++) {
		to->objects[i] = from->objects[i];
		to->objects[i].key = strdup(from->objects[i].key);
		bw_blob_ref(to->objects[i].blob);
	}
}

void bw_world_done(struct bw_world *w)
{
	for (size_t i = 0; i < w->n; i++) {
		free(w->objects[i].key);
		bw_blob_unref(w->objects[i].blob);
	}
	for (size_t i = 0; i < w->begun_n; i++) {
		free(w->begun[i].key);
		free(w->begun[i].id);
	}
	free(w->begun);
	free(w->objects);
	bw_root_unref(w->root);
	*w = (struct bw_world){.n = 0};
}

void bw_world_commit(struct bw_world *w, const struct bw_change *changes, uint32_t n)
{
	struct bw_commit by = {.time_ms = w->now_ms, .id = {(uint8_t)w->root->version}};
	struct bw_new_nodes nodes;
	struct bw_root *made;
	char key[BW_KEY_MAX + 1];

	must(!bw_apply(&w->stream, w->root, changes, n, &by, &made, &nodes), "apply");
	for (uint32_t i = 0; i < nodes.n; i++) {
		const struct bw_pointer *p = &nodes.nodes[i].pointer;

		bw_key_node(&w->stream, nodes.nodes[i].level, p->first, p->last, p->hash, key);
		put_buf(w, key, &nodes.nodes[i].bytes);
	}
	bw_new_nodes_done(&nodes);
	put_root(w, made);
}

void bw_world_commit_one(struct bw_world *w, struct bw_change c)
{
	bw_world_commit(w, &c, 1);
	bw_change_done(&c);
}

void bw_world_upload(struct bw_world *w, enum bw_key_kind kind, const char *producer, uint64_t epoch,
		     uint64_t seq, uint64_t nonce)
{
	char key[BW_KEY_MAX + 1];

	if (kind == BW_KEY_STATE)
		bw_key_state(&w->stream, producer, epoch, seq, nonce, key);
	else
		bw_key_data(&w->stream, producer, epoch, seq, nonce, key);
	bw_world_put(w, key, "0123456789", 10);
}

/* Different for each batch; that of the very first is 0, which is a nonce like any other. */
static uint64_t nonce_of(uint64_t step)
{
	return step * UINT64_C(0x9e3779b97f4a7c15);
}

void bw_world_append(struct bw_world *w, const char *producer, uint8_t owner, uint64_t epoch,
		     uint64_t seq, uint32_t n, uint32_t states)
{
	struct bw_change *c = calloc(BW_APPENDS_MAX, sizeof(*c));

	must(c, "memory");
	while (n) {
		uint32_t k = 0;
		uint64_t head = w->root->head;

		for (; k < n && k < BW_APPENDS_MAX; k++, seq++) {
			uint64_t nonce = nonce_of(head + k);

			c[k] = bw_test_append(producer, owner, epoch, seq, nonce);
			bw_world_upload(w, BW_KEY_DATA, producer, epoch, seq, nonce);
			if (!states || seq % states)
				continue;
			c[k].has_state = true;
			c[k].state_len = 10;
			bw_world_upload(w, BW_KEY_STATE, producer, epoch, seq, nonce);
		}
		bw_world_commit(w, c, k);
		n -= k;
	}
	free(c);
}

void bw_world_begin(struct bw_world *w, const char *key, const char *id)
{
	w->begun = realloc(w->begun, (w->begun_n + 1) * sizeof(*w->begun));
	must(w->begun, "memory");
	w->begun[w->begun_n++] = (struct bw_world_begun){strdup(key), strdup(id), w->now_ms};
}

void bw_world_grow(struct bw_world *w)
{
	bw_world_init(w);
	bw_world_commit_one(w, bw_test_fence("p", 1));
	bw_world_append(w, "p", 1, 1, 0, 200, 10);
	bw_world_upload(w, BW_KEY_DATA, "p", 1, 200, 77);
	bw_world_upload(w, BW_KEY_STATE, "p", 1, 200, 77);
	bw_world_commit_one(w, bw_test_fence("p", 2));
	bw_world_append(w, "p", 2, 2, 200, 400, 10);
	bw_world_upload(w, BW_KEY_DATA, "p", 2, 555, 78);
	bw_world_upload(w, BW_KEY_STATE, "p", 2, 555, 78);
	bw_world_upload(w, BW_KEY_DATA, "p", 2, 600, 79);
	bw_world_upload(w, BW_KEY_STATE, "p", 2, 600, 79);
	bw_world_commit_one(w, bw_test_fence("q", 3));
	bw_world_append(w, "q", 3, 1, 0, 100, 1);
	bw_world_upload(w, BW_KEY_DATA, "r", 1, 0, 80);
}

void bw_world_job(struct bw_world *w, const char *name, const uint64_t *markers, uint32_t n)
{
	bw_world_commit_one(w, bw_test_change(BW_CHANGE_JOB, name));
	for (uint32_t i = 0; i < n; i++)
		bw_world_commit_one(w, bw_test_step(BW_CHANGE_MARK, name, markers[i]));
}

/* ---- What is there ------------------------------------------------------------------------------ */

size_t bw_world_count(const struct bw_world *w, enum bw_key_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < w->n; i++)
		n += bw_key_parse(&w->stream, w->objects[i].key).kind == kind;
	return n;
}

/* A key is marked by its place in the array. */
struct marks {
	const struct bw_world *w;
	struct bw_root *root;	/* whose reader asks */
	bool *needed;
	const char *missing;
};

static const struct bw_blob *need(struct marks *m, const char *key, const char *what)
{
	size_t i = find(m->w, key);

	if (!at(m->w, i, key)) {
		m->missing = what;
		return NULL;
	}
	m->needed[i] = true;
	return m->w->objects[i].blob;
}

static void need_steps(struct marks *m)
{
	const struct bw_world *w = m->w;
	const struct bw_entry *e;
	char key[BW_KEY_MAX + 1];
	struct bw_walk walk;
	uint32_t n;
	int moved;

	bw_walk_begin(&walk, m->root, m->root->first, m->root->head);
	while (!m->missing && (moved = bw_walk_move(&walk, &e, &n)) != -ENODATA) {
		const struct bw_blob *blob;

		must(moved >= 0, "the index has a gap");
		if (moved) {
			bw_key_data(&w->stream, e->producer, e->epoch, e->seq, e->nonce, key);
			need(m, key, "data of a step that may be read");
			walk.at++;
			continue;
		}
		bw_key_node(&w->stream, walk.want_level, walk.want.first, walk.want.last,
			    walk.want.hash, key);
		blob = need(m, key, "an index node of steps that may be read");
		must(!blob || !bw_walk_give(&walk, blob->bytes, blob->len), "a damaged node");
	}
	bw_walk_done(&walk);
}

static void need_states(struct marks *m)
{
	char key[BW_KEY_MAX + 1];

	for (uint32_t i = 0; i < m->root->producers_n; i++) {
		const struct bw_producer_entry *p = &m->root->producers[i];

		if (!p->has_state || p->state)
			continue;
		bw_key_state(&m->w->stream, p->name, p->state_epoch, p->state_seq, p->state_nonce, key);
		need(m, key, "the state of a producer");
	}
}

static void need_root(struct marks *m)
{
	char key[BW_KEY_MAX + 1];

	bw_key_root(&m->w->stream, m->w->root->version, key);
	const struct bw_blob *blob = need(m, key, "the newest root");

	if (blob && blob->len <= BW_TOMBSTONE_MAX)
		m->missing = "the newest root is a tombstone";
}

static struct marks marks_of(const struct bw_world *w, struct bw_root *root)
{
	struct marks m = {.w = w, .root = root, .needed = calloc(w->n + 1, sizeof(bool))};

	must(m.needed, "memory");
	need_steps(&m);
	need_states(&m);
	need_root(&m);
	return m;
}

const char *bw_world_missing(const struct bw_world *w, struct bw_root *root)
{
	struct marks m = marks_of(w, root ? root : w->root);

	free(m.needed);
	return m.missing;
}

static bool may_be_committed(const struct bw_world *w, const struct bw_key *k)
{
	const struct bw_producer_entry *p = bw_root_producer(w->root, k->producer);

	return !p || (k->epoch >= p->epoch && k->seq >= p->next);
}

static const char *judge(const struct bw_world *w, size_t i)
{
	struct bw_key k = bw_key_parse(&w->stream, w->objects[i].key);
	const struct bw_producer_entry *p = bw_root_producer(w->root, k.producer);

	switch (k.kind) {
	case BW_KEY_DATA:
		return may_be_committed(w, &k) ? NULL : "data that nobody needs";
	case BW_KEY_STATE:	/* the one before stays until the next batch */
		return may_be_committed(w, &k) || (p && k.epoch == p->epoch && k.seq + 1 == p->next)
			       ? NULL : "a state that nobody needs";
	case BW_KEY_NODE:
		return k.last < w->root->first ? "an index node that nobody needs" : NULL;
	default:
		return NULL;
	}
}

const char *bw_world_garbage(const struct bw_world *w)
{
	struct marks m = marks_of(w, w->root);
	const char *garbage = m.missing;

	for (size_t i = 0; i < w->n && !garbage; i++)
		if (!m.needed[i])
			garbage = judge(w, i);
	free(m.needed);
	return garbage;
}

/* ---- Collectors --------------------------------------------------------------------------------- */

void bw_test_collector_init(struct bw_test_collector *c, struct bw_world *w,
			    const struct bw_reclaim_options *options)
{
	*c = (struct bw_test_collector){.w = w};
	must(!bw_reclaim_new(&w->stream, options, &c->r), "bw_reclaim_new");
}

void bw_test_collector_done(struct bw_test_collector *c)
{
	bw_reclaim_free(c->r);
	bw_listing_free(c->listing);
	bw_uploads_free(c->uploads);
	bw_root_unref(c->a.root);
	bw_blob_unref(c->a.blob);
}

enum bw_reclaim_want bw_test_collector_ask(struct bw_test_collector *c)
{
	c->want = bw_reclaim_step(c->r, &c->a, &c->q);
	bw_listing_free(c->listing);
	bw_uploads_free(c->uploads);
	bw_root_unref(c->a.root);
	bw_blob_unref(c->a.blob);
	c->listing = NULL;
	c->uploads = NULL;
	c->a = (struct bw_reclaim_answer){.outcome = BW_OK};
	if (bw_reclaim_bytes(c->r) > c->w->most_bytes)
		c->w->most_bytes = bw_reclaim_bytes(c->r);
	return c->want;
}

static void get(struct bw_test_collector *c)
{
	const struct bw_world_object *o = bw_world_get(c->w, c->q.key);

	if (!o) {
		c->a.outcome = BW_NOT_FOUND;
		return;
	}
	c->a.blob = bw_blob_ref(o->blob);
	bool hidden = c->w->hide_times || (c->w->hide_root_times && !strstr(c->q.key, "hint"));

	c->a.modified_ms = hidden ? 0 : o->ms;
}

/* As the committer does: what is there already is not committed again. */
static void commit(struct bw_test_collector *c)
{
	struct bw_world *w = c->w;
	const struct bw_change *change = &c->q.change;
	bool there = change->kind == BW_CHANGE_TRIM
			     ? bw_trim_first(&w->stream, w->root) == w->root->first
			     : change->step <= w->root->swept;

	c->a.err = there ? 0 : bw_change_check(&w->stream, w->root, change);
	if (c->a.err)
		return;
	if (!there) {
		bw_world_commit(w, change, 1);
		w->commits++;
	}
	c->a.root = bw_root_ref(w->root);
}

static bool faulty(struct bw_world *w, bool put)
{
	if (!w->faults || w->faulty_puts != put)
		return false;
	w->faults--;
	return true;
}

static void delete_keys(struct bw_test_collector *c, size_t from)
{
	struct bw_world *w = c->w;
	size_t n = c->q.items_n;
	bool fault = faulty(w, false);

	w->deletes += n;
	w->most_deletes = n > w->most_deletes ? n : w->most_deletes;
	for (size_t i = from; i < n; i++) {
		struct bw_delete_item *item = &c->q.items[i];

		/* An answer that was lost is one that was applied: every other one. */
		if (!fault || (i % 2 && w->fault == BW_UNKNOWN))
			bw_world_delete(w, item->key);
		item->outcome = fault ? w->fault : BW_OK;
	}
}

/* In the order in which they were begun; it goes on behind one that is there, and else from the start. */
static void list_uploads(struct bw_test_collector *c)
{
	struct bw_world *w = c->w;
	struct bw_uploads *u = calloc(1, sizeof(*u));
	size_t i = 0, max = w->begun_page ? w->begun_page : c->q.max;

	if (w->begun_fails != BW_OK) {
		free(u);
		c->a.outcome = w->begun_fails;
		return;
	}
	for (size_t k = 0; c->q.upload && k < w->begun_n; k++)
		if (!strcmp(w->begun[k].id, c->q.upload))
			i = k + 1;
	u->items = calloc(max, sizeof(*u->items));
	for (; i < w->begun_n && u->n < max; i++)
		if (!strncmp(w->begun[i].key, c->q.key, strlen(c->q.key)))
			u->items[u->n++] = (struct bw_upload){strdup(w->begun[i].key), strdup(w->begun[i].id),
							      w->begun[i].ms};
	u->more = i < w->begun_n;
	c->uploads = u;
	c->a.uploads = u;
}

static void abort_upload(struct bw_test_collector *c)
{
	struct bw_world *w = c->w;

	for (size_t i = 0; i < w->begun_n; i++) {
		if (strcmp(w->begun[i].id, c->q.upload) != 0 || strcmp(w->begun[i].key, c->q.key) != 0)
			continue;
		free(w->begun[i].key);
		free(w->begun[i].id);
		w->begun_n--;
		memmove(&w->begun[i], &w->begun[i + 1], (w->begun_n - i) * sizeof(*w->begun));
		return;
	}
	c->a.outcome = BW_NOT_FOUND;
}

/* The last one first: whoever is stopped in the middle has put those whose turn would come last. */
static void put_all(struct bw_test_collector *c, bool half)
{
	struct bw_world *w = c->w;
	size_t n = c->q.puts_n;

	w->puts += n;
	w->most_puts = n > w->most_puts ? n : w->most_puts;
	for (size_t i = n; i-- > (half ? n / 2 : 0);) {
		struct bw_reclaim_put *p = &c->q.puts[i];
		bool fault = faulty(w, true);

		if (!fault)
			bw_world_put(w, p->key, p->bytes, p->len);
		p->outcome = fault ? w->fault : BW_OK;
	}
}

static void serve(struct bw_test_collector *c, bool half)
{
	struct bw_world *w = c->w;

	w->requests += c->want == BW_RECLAIM_PUT ? c->q.puts_n : c->want != BW_RECLAIM_SLEEP;
	switch (c->want) {
	case BW_RECLAIM_REFRESH:
		c->a.err = w->destroyed ? -BW_E_DESTROYED : 0;
		c->a.root = w->destroyed ? NULL : bw_root_ref(w->root);
		break;
	case BW_RECLAIM_GET:
		get(c);
		break;
	case BW_RECLAIM_PUT:
		put_all(c, half);
		break;
	case BW_RECLAIM_LIST:
		c->listing = list(w, c->q.key, c->q.after, c->q.max);
		c->a.listing = c->listing;
		break;
	case BW_RECLAIM_DELETE:
		delete_keys(c, half ? c->q.items_n / 2 : 0);
		break;
	case BW_RECLAIM_UPLOADS:
		list_uploads(c);
		break;
	case BW_RECLAIM_ABORT:
		abort_upload(c);
		break;
	case BW_RECLAIM_COMMIT:
		commit(c);
		break;
	case BW_RECLAIM_SLEEP:
	case BW_RECLAIM_DONE:
		break;
	}
}

void bw_test_collector_serve(struct bw_test_collector *c)
{
	serve(c, false);
}

void bw_test_collector_serve_half(struct bw_test_collector *c)
{
	serve(c, true);
}

struct bw_reclaim_report bw_world_pass(struct bw_world *w, const struct bw_reclaim_options *options)
{
	struct bw_test_collector c;

	bw_test_collector_init(&c, w, options);
	while (bw_test_collector_ask(&c) != BW_RECLAIM_DONE)
		bw_test_collector_serve(&c);
	struct bw_reclaim_report report = *bw_reclaim_report(c.r);

	bw_test_collector_done(&c);
	return report;
}
