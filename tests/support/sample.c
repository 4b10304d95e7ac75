/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/sample.h"

#include "manifest/envelope.h"
#include "store/base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CREATED_MS INT64_C(1767225600000)	/* 2026-01-01 */

static void must(bool fine, const char *what)
{
	if (!fine) {
		fprintf(stderr, "sample: %s\n", what);
		abort();
	}
}

void bw_sample_name(char to[BW_NAME_MAX + 1], const char *from)
{
	size_t len = strlen(from);

	must(len <= BW_NAME_MAX, "name");
	memcpy(to, from, len + 1);
}

static void *grown(void *array, uint32_t n, size_t size)
{
	void *p = reallocarray(array, n, size);

	must(p, "memory");
	return p;
}

void bw_sample_init(struct bw_sample *s, uint32_t ranks)
{
	memset(s, 0, sizeof(*s));
	for (size_t i = 0; i < sizeof(s->stream.id); i++)
		s->stream.id[i] = (uint8_t)(0x10 + i);
	s->stream.format = BW_FORMAT;
	s->stream.block_size = 4096;
	s->stream.created_ms = CREATED_MS;
	bw_stream_options_default(&s->stream.options);
	s->stream.options.ranks = ranks;
	must(bw_root_first(&s->stream, &s->root) == 0, "first root");
}

void bw_sample_done(struct bw_sample *s)
{
	bw_root_unref(s->root);
	s->root = NULL;
}

static struct bw_producer_entry *producer(struct bw_sample *s, const char *name)
{
	struct bw_root *r = s->root;
	uint32_t at = 0;

	while (at < r->producers_n && strcmp(r->producers[at].name, name) < 0)
		at++;
	if (at < r->producers_n && !strcmp(r->producers[at].name, name))
		return &r->producers[at];
	r->producers = grown(r->producers, r->producers_n + 1, sizeof(*r->producers));
	struct bw_producer_entry *p = &r->producers[at];

	memmove(p + 1, p, (r->producers_n++ - at) * sizeof(*p));
	memset(p, 0, sizeof(*p));
	bw_sample_name(p->name, name);
	p->epoch = 1;
	memset(p->owner, name[0], sizeof(p->owner));
	return p;
}

static void drop_oldest(void *array, uint32_t *n, uint32_t gone, size_t size)
{
	*n -= gone;
	memmove(array, (char *)array + gone * size, *n * size);
}

static void fold_level(struct bw_sample *s, unsigned level, const struct bw_pointer *p);

static void add_pointer(struct bw_sample *s, unsigned level, const struct bw_pointer *p)
{
	struct bw_root *r = s->root;

	r->levels[level].pointers = grown(r->levels[level].pointers, r->levels[level].n + 1,
					  sizeof(*p));
	r->levels[level].pointers[r->levels[level].n++] = *p;
	if (r->levels_n <= level)
		r->levels_n = level + 1;
	if (level + 1 < BW_LEVELS_MAX && r->levels[level].n >= BW_LEVEL_FOLD)
		fold_level(s, level + 1, r->levels[level].pointers);
}

/* The oldest pointers of the level below become one of this level. */
static void fold_level(struct bw_sample *s, unsigned level, const struct bw_pointer *oldest)
{
	struct bw_root *r = s->root;
	struct bw_pointer p;
	bw_auto_buf struct bw_buf out = {.max = 0};

	bw_buf_init(&out, BW_NODE_RAW_MAX);
	must(bw_node_encode(level, oldest, BW_FANOUT, &out, &p) == 0, "node");
	if (s->folded)
		s->folded(s->ctx, level, &p, &out);
	drop_oldest(r->levels[level - 1].pointers, &r->levels[level - 1].n, BW_FANOUT, sizeof(p));
	add_pointer(s, level, &p);
}

static void fold_tail(struct bw_sample *s)
{
	struct bw_root *r = s->root;
	struct bw_pointer p;
	bw_auto_buf struct bw_buf out = {.max = 0};

	bw_buf_init(&out, BW_NODE_RAW_MAX);
	must(bw_leaf_encode(r->tail, BW_LEAF_ENTRIES, r->tail_digest, &out, &p) == 0, "leaf");
	if (s->folded)
		s->folded(s->ctx, 0, &p, &out);
	r->tail_digest = bw_digest_over(r->tail_digest, r->tail, BW_LEAF_ENTRIES);
	drop_oldest(r->tail, &r->tail_n, BW_LEAF_ENTRIES, sizeof(*r->tail));
	add_pointer(s, 0, &p);
}

void bw_sample_append(struct bw_sample *s, const struct bw_entry *e)
{
	struct bw_root *r = s->root;
	struct bw_producer_entry *p = producer(s, e->producer);

	if (r->tail_n >= s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		r->tail = grown(r->tail, s->cap, sizeof(*r->tail));
	}
	r->version++;
	r->previous_xxh3 = r->version * UINT64_C(0x9e3779b97f4a7c15);
	memset(r->commit_id, (int)(r->version & 0xff), sizeof(r->commit_id));
	r->time_ms += 1000;
	struct bw_entry *to = &r->tail[r->tail_n++];

	*to = *e;
	to->step = r->head++;
	to->seq = p->next++;
	to->epoch = p->epoch;
	to->before = r->bytes;
	to->version = r->version;
	to->time_ms = r->time_ms;
	r->bytes += to->size;
	r->digest = bw_digest_next(r->digest, to);
	p->last_step = to->step;
	p->last_ms = to->time_ms;
	p->last_version = to->version;
	if (r->tail_n >= BW_TAIL_FOLD)
		fold_tail(s);
}

void bw_sample_grow(struct bw_sample *s, uint64_t steps)
{
	for (uint64_t i = 0; i < steps; i++) {
		struct bw_entry e = {.footer_len = 200};

		bw_sample_name(e.producer, s->root->head % 2 ? "beta" : "alpha");
		e.nonce = bw_xxh3_seed("nonce", 5, s->root->head);
		e.size = 5000 + s->root->head % 100;
		e.raw = 4800;
		e.footer_xxh3 = bw_xxh3_seed("footer", 6, s->root->head);
		bw_sample_append(s, &e);
	}
}

void bw_sample_state(struct bw_sample *s, const char *name, const void *bytes, uint32_t len)
{
	struct bw_producer_entry *p = producer(s, name);

	free(p->state);
	p->state = NULL;
	p->has_state = true;
	p->state_seq = p->next - 1;
	p->state_epoch = p->epoch;
	p->state_nonce = bw_xxh3_seed("nonce", 5, p->last_step);
	p->state_len = len;
	p->state_xxh3 = bytes ? bw_xxh3(bytes, len) : 0x0123456789abcdef;
	if (bytes) {
		p->state = malloc(len + 1);
		must(p->state, "memory");
		memcpy(p->state, bytes, len);
	}
}

void bw_sample_job(struct bw_sample *s, const char *name, const uint64_t *steps, uint32_t n,
		   const char *text)
{
	struct bw_root *r = s->root;

	r->jobs = grown(r->jobs, r->jobs_n + 1, sizeof(*r->jobs));
	struct bw_job *job = &r->jobs[r->jobs_n++];

	memset(job, 0, sizeof(*job));
	bw_sample_name(job->name, name);
	job->markers = grown(NULL, n ? n : 1, sizeof(*job->markers));
	for (uint32_t i = 0; i < n; i++) {
		job->markers[i].step = steps[i];
		job->markers[i].text = strdup(text);
		must(job->markers[i].text, "memory");
	}
	job->markers_n = n;
}

void bw_sample_changes(struct bw_sample *s)
{
	struct bw_root *r = s->root;
	enum { KINDS = BW_CHANGE_SEAL + 1 };

	must(r->changes_n == 0, "changes twice");
	r->changes = calloc(KINDS + 1, sizeof(*r->changes));
	must(r->changes, "memory");
	for (uint32_t i = 0; i <= KINDS; i++) {
		struct bw_change *c = &r->changes[r->changes_n++];

		c->kind = i < KINDS ? (enum bw_change_kind)i : BW_CHANGE_APPEND;
		if (c->kind != BW_CHANGE_TRIM && c->kind != BW_CHANGE_SWEEP &&
		    c->kind != BW_CHANGE_SEAL)
			bw_sample_name(c->name, "alpha");
		if (c->kind == BW_CHANGE_FENCE || c->kind == BW_CHANGE_APPEND)
			memset(c->owner, 0xab, sizeof(c->owner));
		if (c->kind == BW_CHANGE_APPEND) {
			c->epoch = 3;
			c->seq = 17 + i;
			c->nonce = UINT64_MAX - i;
			c->size = UINT64_C(1) << 60;
			c->raw = 12345;
			c->footer_len = 4096;
			c->footer_xxh3 = 7;
			c->has_state = true;
			c->state_len = i < KINDS ? 5 : BW_STATE_MAX;
			c->state = i < KINDS ? (uint8_t *)strdup("a\"b\\c") : NULL;
			c->state_xxh3 = i < KINDS ? bw_xxh3("a\"b\\c", 5) : 99;
		}
		if (c->kind == BW_CHANGE_MARK || c->kind == BW_CHANGE_UNMARK ||
		    c->kind == BW_CHANGE_SWEEP)
			c->step = 1000 + i;
		if (c->kind == BW_CHANGE_MARK)
			c->text = strdup("ckpt/\"1\"\n\xc3\xa9 100%");
	}
}

void bw_sample_open(int kind, const struct bw_buf *sealed, struct bw_buf *raw)
{
	must(bw_envelope_open((enum bw_envelope_kind)kind, sealed->bytes, sealed->len, raw, NULL) == 0,
	     "envelope");
}

void bw_sample_edit(const struct bw_buf *raw, const char *from, const char *to, struct bw_buf *out)
{
	const char *text = bw_buf_text(raw), *at = strstr(text, from);

	must(at, from);
	bw_buf_init(out, BW_ROOT_RAW_MAX);
	bw_buf_add(out, text, (size_t)(at - text));
	bw_buf_str(out, to);
	bw_buf_str(out, at + strlen(from));
	must(!out->err, "memory");
}
