/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/envelope.h"
#include "manifest/root_check.h"
#include "manifest/root_entry.h"
#include "manifest/root_footers.h"
#include "store/base/hash.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const members[] = {
	"features_read", "features_write", "stream", "version",	    "commit",  "previous",
	"time_ms",	 "first",	   "swept",  "head",	    "bytes",   "sealed",
	"digest",	 "tail_digest",	   "changes", "producers", "jobs",    "tail",
	"levels",	 BW_ROOT_FOOTERS, NULL};

/* The words of changes, by enum bw_change_kind. */
static const char *const words[] = {
	[BW_CHANGE_REGISTER] = "register", [BW_CHANGE_FENCE] = "fence",
	[BW_CHANGE_APPEND] = "append",	   [BW_CHANGE_JOB] = "job",
	[BW_CHANGE_UNJOB] = "unjob",	   [BW_CHANGE_MARK] = "mark",
	[BW_CHANGE_UNMARK] = "unmark",	   [BW_CHANGE_TRIM] = "trim",
	[BW_CHANGE_SWEEP] = "sweep",	   [BW_CHANGE_SEAL] = "seal",
};
#define WORDS (sizeof(words) / sizeof(words[0]))

/* ---- Encoding ----------------------------------------------------------------------------------- */

static void put_sep(struct bw_buf *b, uint32_t i)
{
	if (i)
		bw_buf_str(b, ",");
}

/* len,"xxh3","hex of the bytes" or null */
static void put_state(struct bw_buf *b, const uint8_t *state, uint32_t len, uint64_t xxh3)
{
	bw_buf_fmt(b, "%" PRIu32 ",\"%016" PRIx64 "\",", len, xxh3);
	if (state)
		bw_json_put_hex(b, state, len);
	else
		bw_buf_str(b, "null");
}

static void put_append(struct bw_buf *b, const struct bw_change *c)
{
	bw_buf_str(b, ",");
	bw_json_put_hex(b, c->owner, sizeof(c->owner));
	bw_buf_u8(b, ',');
	bw_json_put_dec(b, c->epoch);
	bw_buf_u8(b, ',');
	bw_json_put_dec(b, c->seq);
	bw_buf_u8(b, ',');
	bw_json_put_hex64(b, c->nonce);
	bw_buf_u8(b, ',');
	bw_json_put_dec(b, c->size);
	bw_buf_u8(b, ',');
	bw_json_put_dec(b, c->raw);
	bw_buf_u8(b, ',');
	bw_json_put_int(b, c->footer_len);
	bw_buf_u8(b, ',');
	bw_json_put_hex64(b, c->footer_xxh3);
	bw_buf_u8(b, ',');
	if (!c->has_state) {
		bw_buf_str(b, "null");
		return;
	}
	bw_buf_str(b, "[");
	put_state(b, c->state, c->state_len, c->state_xxh3);
	bw_buf_str(b, "]");
}

static void put_change(struct bw_buf *b, const struct bw_change *c)
{
	bw_buf_fmt(b, "[\"%s\"", words[c->kind]);
	if (c->kind != BW_CHANGE_TRIM && c->kind != BW_CHANGE_SWEEP && c->kind != BW_CHANGE_SEAL)
		bw_buf_fmt(b, ",\"%s\"", c->name);
	if (c->kind == BW_CHANGE_FENCE) {
		bw_buf_str(b, ",");
		bw_json_put_hex(b, c->owner, sizeof(c->owner));
	}
	if (c->kind == BW_CHANGE_APPEND)
		put_append(b, c);
	if (c->kind == BW_CHANGE_MARK || c->kind == BW_CHANGE_UNMARK ||
	    c->kind == BW_CHANGE_SWEEP) {
		bw_buf_str(b, ",");
		bw_json_put_dec(b, c->step);
	}
	if (c->kind == BW_CHANGE_MARK) {
		bw_buf_str(b, ",");
		if (c->text)
			bw_json_put_text(b, c->text);
		else
			bw_buf_str(b, "null");
	}
	bw_buf_str(b, "]");
}

static void put_producer(struct bw_buf *b, const struct bw_producer_entry *p)
{
	bw_buf_fmt(b, "[\"%s\",\"%" PRIu64 "\",", p->name, p->epoch);
	bw_json_put_hex(b, p->owner, sizeof(p->owner));
	bw_buf_fmt(b, ",\"%" PRIu64 "\",\"%" PRIu64 "\",%" PRId64 ",\"%" PRIu64 "\",", p->next,
		   p->last_step, p->last_ms, p->last_version);
	if (p->has_state) {
		bw_buf_fmt(b, "[\"%" PRIu64 "\",\"%" PRIu64 "\",\"%016" PRIx64 "\",", p->state_seq,
			   p->state_epoch, p->state_nonce);
		put_state(b, p->state, p->state_len, p->state_xxh3);
		bw_buf_str(b, "]]");
	} else {
		bw_buf_str(b, "null]");
	}
}

static void put_job(struct bw_buf *b, const struct bw_job *job)
{
	bw_buf_fmt(b, "[\"%s\",[", job->name);
	for (uint32_t i = 0; i < job->markers_n; i++) {
		put_sep(b, i);
		bw_buf_str(b, "[");
		bw_json_put_dec(b, job->markers[i].step);
		bw_buf_str(b, ",");
		bw_json_put_text(b, job->markers[i].text);
		bw_buf_str(b, "]");
	}
	bw_buf_str(b, "]]");
}

static void put_levels(struct bw_buf *b, const struct bw_root *r)
{
	unsigned n = r->levels_n;

	while (n && !r->levels[n - 1].n)	/* one spelling: no empty level on top */
		n--;
	for (unsigned level = 0; level < n; level++) {
		const struct bw_pointer *p = r->levels[level].pointers;
		uint32_t pointers_n = r->levels[level].n;

		put_sep(b, level);
		bw_buf_str(b, "[");
		bw_json_put_dec(b, pointers_n ? p[0].first : 0);
		bw_buf_str(b, ",");
		bw_pointers_put(b, p, pointers_n);
		bw_buf_str(b, "]");
	}
}

static void put_lists(struct bw_buf *b, const struct bw_root *r)
{
	bw_buf_str(b, ",\"changes\":[");
	for (uint32_t i = 0; i < r->changes_n; i++) {
		put_sep(b, i);
		put_change(b, &r->changes[i]);
	}
	bw_buf_str(b, "],\"producers\":[");
	for (uint32_t i = 0; i < r->producers_n; i++) {
		put_sep(b, i);
		put_producer(b, &r->producers[i]);
	}
	bw_buf_str(b, "],\"jobs\":[");
	for (uint32_t i = 0; i < r->jobs_n; i++) {
		put_sep(b, i);
		put_job(b, &r->jobs[i]);
	}
	bw_buf_str(b, "],\"tail\":[");
	for (uint32_t i = 0; i < r->tail_n; i++) {
		put_sep(b, i);
		bw_entry_put(b, &r->tail[i]);
	}
	bw_buf_str(b, "],\"levels\":[");
	put_levels(b, r);
	bw_buf_str(b, "]");
}

/* The members behind the known ones, in rising order of keys. */
static void put_optional(struct bw_buf *b, const struct bw_root *r)
{
	const char *unknown = r->unknown ? r->unknown : "", *below;
	struct bw_json j;
	size_t len;

	bw_json_init(&j, unknown, strlen(unknown));
	bw_json_extra_below(&j, members, BW_ROOT_FOOTERS, &below, &len);
	bw_buf_add(b, below, len);
	if (r->footers_n) {
		bw_buf_str(b, ",\"" BW_ROOT_FOOTERS "\":");
		bw_root_footers_put(b, r);
	}
	bw_buf_str(b, unknown + len);
}

static void put_root(struct bw_buf *b, const struct bw_root *r)
{
	bw_buf_fmt(b, "{\"features_read\":[],\"features_write\":[%s],\"stream\":",
		   r->features_write ? r->features_write : "");
	bw_json_put_hex(b, r->stream_id, sizeof(r->stream_id));
	bw_buf_fmt(b, ",\"version\":\"%" PRIu64 "\",\"commit\":", r->version);
	bw_json_put_hex(b, r->commit_id, sizeof(r->commit_id));
	bw_buf_fmt(b,
		   ",\"previous\":\"%016" PRIx64 "\",\"time_ms\":%" PRId64 ",\"first\":\"%" PRIu64
		   "\",\"swept\":\"%" PRIu64 "\",\"head\":\"%" PRIu64 "\",\"bytes\":\"%" PRIu64
		   "\",\"sealed\":%s,\"digest\":\"%016" PRIx64 "\",\"tail_digest\":\"%016" PRIx64
		   "\"",
		   r->previous_xxh3, r->time_ms, r->first, r->swept, r->head, r->bytes,
		   r->sealed ? "true" : "false", r->digest, r->tail_digest);
	put_lists(b, r);
	put_optional(b, r);
	bw_buf_str(b, "}");
}

/* What is carried through came from a decode, or is not put into a store. */
static bool carried_is_sound(const struct bw_root *r)
{
	bw_auto_buf struct bw_buf text = {.max = 0};
	struct bw_json j;
	const char *ignored;
	size_t len;

	bw_buf_init(&text, BW_ROOT_RAW_MAX);
	bw_buf_fmt(&text, "[%s]%s", r->features_write ? r->features_write : "",
		   r->unknown ? r->unknown : "");
	if (text.err)
		return false;
	bw_json_init(&j, text.bytes, text.len);
	bw_json_features(&j, &ignored, &len);
	bw_json_extra(&j, members, NULL, &ignored, &len);
	return bw_json_finished(&j);
}

int bw_root_encode(const struct bw_root *r, struct bw_buf *out)
{
	bw_auto_buf struct bw_buf raw = {.max = 0};

	bw_buf_init(&raw, BW_ROOT_RAW_MAX);
	if (bw_root_check(r) || !carried_is_sound(r))
		return -EINVAL;
	put_root(&raw, r);
	int rc = bw_buf_err(&raw);
	if (rc)
		return rc == -ENOSPC ? -BW_E_LIMIT : rc;
	return bw_envelope_seal(BW_ENVELOPE_ROOT, raw.bytes, raw.len, out);
}

int bw_tombstone_encode(uint64_t version, struct bw_buf *out)
{
	bw_auto_buf struct bw_buf raw = {.max = 0};

	bw_buf_init(&raw, BW_TOMBSTONE_MAX);
	bw_buf_fmt(&raw, "{\"version\":\"%" PRIu64 "\"}", version);
	int rc = bw_buf_err(&raw);
	if (rc)
		return rc;
	return bw_envelope_seal(BW_ENVELOPE_TOMBSTONE, raw.bytes, raw.len, out);
}

/* ---- Decoding: sticky errors in j; *err for short memory ------------------------------------------ */

/* Keeps the first error of memory; anything else shows in j. */
static void note(struct bw_json *j, int *err, int rc)
{
	bw_json_fail(j);
	if (rc == -ENOMEM)
		*err = rc;
}

static void get_state(struct bw_json *j, int *err, uint32_t *len, uint64_t *xxh3, uint8_t **state)
{
	size_t inline_len;
	int rc;

	*len = (uint32_t)bw_json_int(j, BW_STATE_MAX);
	bw_json_expect(j, ",");
	*xxh3 = bw_json_hex64(j);
	bw_json_expect(j, ",");
	if (bw_json_try(j, "null"))
		return;
	*state = bw_json_bytes(j, BW_STATE_INLINE_MAX, &inline_len, &rc);
	if (!*state || inline_len != *len)
		note(j, err, rc);
}

static void get_append(struct bw_json *j, int *err, struct bw_change *c)
{
	bw_json_expect(j, ",");
	bw_json_hex(j, c->owner, sizeof(c->owner));
	bw_json_expect(j, ",");
	c->epoch = bw_json_dec(j, BW_COUNTER_MAX - 1);
	bw_json_expect(j, ",");
	c->seq = bw_json_dec(j, BW_COUNTER_MAX - 1);
	bw_json_expect(j, ",");
	c->nonce = bw_json_hex64(j);
	bw_json_expect(j, ",");
	c->size = bw_json_dec(j, BW_BYTES_MAX);
	bw_json_expect(j, ",");
	c->raw = bw_json_dec(j, BW_BYTES_MAX);
	bw_json_expect(j, ",");
	c->footer_len = (uint32_t)bw_json_int(j, BW_FOOTER_MAX);
	bw_json_expect(j, ",");
	c->footer_xxh3 = bw_json_hex64(j);
	bw_json_expect(j, ",");
	if (bw_json_try(j, "null"))
		return;
	c->has_state = true;
	bw_json_expect(j, "[");
	get_state(j, err, &c->state_len, &c->state_xxh3, &c->state);
	bw_json_expect(j, "]");
}

static enum bw_change_kind get_kind(struct bw_json *j)
{
	bw_json_expect(j, "\"");
	for (size_t i = 0; i < WORDS; i++) {
		struct bw_json before = *j;

		if (bw_json_try(j, words[i]) && bw_json_try(j, "\""))
			return (enum bw_change_kind)i;
		*j = before;
	}
	bw_json_fail(j);
	return BW_CHANGE_TRIM;
}

static void get_change(struct bw_json *j, int *err, struct bw_change *c)
{
	int rc = 0;

	bw_json_expect(j, "[");
	c->kind = get_kind(j);
	if (c->kind != BW_CHANGE_TRIM && c->kind != BW_CHANGE_SWEEP && c->kind != BW_CHANGE_SEAL) {
		bw_json_expect(j, ",");
		bw_json_name(j, c->name);
	}
	if (c->kind == BW_CHANGE_FENCE) {
		bw_json_expect(j, ",");
		bw_json_hex(j, c->owner, sizeof(c->owner));
	}
	if (c->kind == BW_CHANGE_APPEND)
		get_append(j, err, c);
	if (c->kind == BW_CHANGE_MARK || c->kind == BW_CHANGE_UNMARK ||
	    c->kind == BW_CHANGE_SWEEP) {
		bw_json_expect(j, ",");
		c->step = bw_json_dec(j, BW_STEPS_MAX);
	}
	if (c->kind == BW_CHANGE_MARK) {
		bw_json_expect(j, ",");
		if (!bw_json_try(j, "null")) {
			c->text = bw_json_text(j, BW_MARKER_TEXT_MAX, &rc);
			if (!c->text)
				note(j, err, rc);
		}
	}
	bw_json_expect(j, "]");
}

static void get_producer(struct bw_json *j, int *err, struct bw_producer_entry *p)
{
	bw_json_expect(j, "[");
	bw_json_name(j, p->name);
	bw_json_expect(j, ",");
	p->epoch = bw_json_dec(j, BW_COUNTER_MAX - 1);
	bw_json_expect(j, ",");
	bw_json_hex(j, p->owner, sizeof(p->owner));
	bw_json_expect(j, ",");
	p->next = bw_json_dec(j, BW_STEPS_MAX);
	bw_json_expect(j, ",");
	p->last_step = bw_json_dec(j, BW_STEPS_MAX - 1);
	bw_json_expect(j, ",");
	p->last_ms = (int64_t)bw_json_int(j, BW_JSON_INT_MAX);
	bw_json_expect(j, ",");
	p->last_version = bw_json_dec(j, BW_VERSION_MAX);
	bw_json_expect(j, ",");
	if (!bw_json_try(j, "null")) {
		p->has_state = true;
		bw_json_expect(j, "[");
		p->state_seq = bw_json_dec(j, BW_COUNTER_MAX - 1);
		bw_json_expect(j, ",");
		p->state_epoch = bw_json_dec(j, BW_COUNTER_MAX - 1);
		bw_json_expect(j, ",");
		p->state_nonce = bw_json_hex64(j);
		bw_json_expect(j, ",");
		get_state(j, err, &p->state_len, &p->state_xxh3, &p->state);
		bw_json_expect(j, "]");
	}
	bw_json_expect(j, "]");
}

/*
 * Before each element of an array: makes room for it, zeroes it and counts it, so that
 * bw_root_unref() frees it however far its decoding gets.  NULL at the end and when j is bad.
 */
static void *get_next(struct bw_json *j, int *err, void *array_of_anything, uint32_t *n,
		      uint32_t *cap, size_t size, uint32_t max)
{
	void **array = array_of_anything;

	if (!bw_json_next(j, *n, max))
		return NULL;
	void *room = bw_array_room(*array, *n, cap, size);
	if (!room) {
		note(j, err, -ENOMEM);
		return NULL;
	}
	*array = room;
	return memset((char *)room + (size_t)(*n)++ * size, 0, size);
}

static void get_job(struct bw_json *j, int *err, struct bw_job *job)
{
	struct bw_marker *m;
	uint32_t cap = 0;
	int rc = 0;

	bw_json_expect(j, "[");
	bw_json_name(j, job->name);
	bw_json_expect(j, ",");
	while ((m = get_next(j, err, &job->markers, &job->markers_n, &cap, sizeof(*m),
			     BW_MARKERS_MAX))) {
		bw_json_expect(j, "[");
		m->step = bw_json_dec(j, BW_STEPS_MAX);
		bw_json_expect(j, ",");
		m->text = bw_json_text(j, BW_MARKER_TEXT_MAX, &rc);
		if (!m->text)
			note(j, err, rc);
		bw_json_expect(j, "]");
	}
	bw_json_expect(j, "]");
}

static void get_levels(struct bw_json *j, int *err, struct bw_root *r)
{
	while (bw_json_next(j, r->levels_n, BW_LEVELS_MAX)) {
		unsigned level = r->levels_n++;
		uint32_t *n = &r->levels[level].n, cap = 0;
		struct bw_pointer *p;

		bw_json_expect(j, "[");
		uint64_t first = bw_json_dec(j, BW_STEPS_MAX - 1);
		bw_json_expect(j, ",");
		while ((p = get_next(j, err, &r->levels[level].pointers, n, &cap, sizeof(*p),
				     BW_TOP_POINTERS_MAX)))
			bw_pointer_get(j, level, first, *n - 1, p);
		bw_json_expect(j, "]");
		if (!*n && first)
			bw_json_fail(j);
	}
	if (r->levels_n && !r->levels[r->levels_n - 1].n)
		bw_json_fail(j);
}

static void get_lists(struct bw_json *j, int *err, struct bw_root *r)
{
	struct bw_producer_entry *producer;
	struct bw_change *change;
	struct bw_entry *entry;
	struct bw_job *job;
	uint32_t cap = 0;

	bw_json_expect(j, ",\"changes\":");
	while ((change = get_next(j, err, &r->changes, &r->changes_n, &cap, sizeof(*change),
				  BW_CHANGES_MAX)))
		get_change(j, err, change);
	cap = 0;
	bw_json_expect(j, ",\"producers\":");
	while ((producer = get_next(j, err, &r->producers, &r->producers_n, &cap, sizeof(*producer),
				    BW_PRODUCERS_MAX)))
		get_producer(j, err, producer);
	cap = 0;
	bw_json_expect(j, ",\"jobs\":");
	while ((job = get_next(j, err, &r->jobs, &r->jobs_n, &cap, sizeof(*job), BW_JOBS_MAX)))
		get_job(j, err, job);
	cap = 0;
	bw_json_expect(j, ",\"tail\":");
	while ((entry = get_next(j, err, &r->tail, &r->tail_n, &cap, sizeof(*entry), BW_TAIL_MAX)))
		bw_entry_get(j, entry);
	bw_json_expect(j, ",\"levels\":");
	get_levels(j, err, r);
}

static void get_numbers(struct bw_json *j, struct bw_root *r)
{
	bw_json_expect(j, ",\"stream\":");
	bw_json_hex(j, r->stream_id, sizeof(r->stream_id));
	bw_json_expect(j, ",\"version\":");
	r->version = bw_json_dec(j, BW_VERSION_MAX);
	bw_json_expect(j, ",\"commit\":");
	bw_json_hex(j, r->commit_id, sizeof(r->commit_id));
	bw_json_expect(j, ",\"previous\":");
	r->previous_xxh3 = bw_json_hex64(j);
	bw_json_expect(j, ",\"time_ms\":");
	r->time_ms = (int64_t)bw_json_int(j, BW_JSON_INT_MAX);
	bw_json_expect(j, ",\"first\":");
	r->first = bw_json_dec(j, BW_STEPS_MAX);
	bw_json_expect(j, ",\"swept\":");
	r->swept = bw_json_dec(j, BW_STEPS_MAX);
	bw_json_expect(j, ",\"head\":");
	r->head = bw_json_dec(j, BW_STEPS_MAX);
	bw_json_expect(j, ",\"bytes\":");
	r->bytes = bw_json_dec(j, BW_BYTES_MAX);
	bw_json_expect(j, ",\"sealed\":");
	r->sealed = bw_json_try(j, "true");
	if (!r->sealed)
		bw_json_expect(j, "false");
	bw_json_expect(j, ",\"digest\":");
	r->digest = bw_json_hex64(j);
	bw_json_expect(j, ",\"tail_digest\":");
	r->tail_digest = bw_json_hex64(j);
}

static void keep_text(struct bw_json *j, int *err, const char *text, size_t len, char **ret)
{
	if (!len || j->bad)
		return;
	*ret = strndup(text, len);
	if (!*ret)
		note(j, err, -ENOMEM);
}

static void get_optional(struct bw_json *j, int *err, struct bw_root *r)
{
	const char *below, *between, *above;
	size_t below_len, between_len, above_len;

	bw_json_extra_below(j, members, BW_ROOT_FOOTERS, &below, &below_len);
	if (bw_json_try(j, ",\"" BW_ROOT_FOOTERS "\":"))
		bw_root_footers_get(j, err, r);
	bw_json_extra_below(j, members, BW_ROOT_FOOTERS, &between, &between_len);
	if (between_len)
		bw_json_fail(j);
	bw_json_extra(j, members, NULL, &above, &above_len);
	if (!(below_len + above_len) || j->bad)
		return;
	r->unknown = malloc(below_len + above_len + 1);
	if (!r->unknown) {
		note(j, err, -ENOMEM);
		return;
	}
	memcpy(r->unknown, below, below_len);
	memcpy(r->unknown + below_len, above, above_len);
	r->unknown[below_len + above_len] = 0;
}

static bool is_destroyed(const char *features, size_t len)
{
	static const char name[] = "\"" BW_FEATURE_DESTROYED "\"";

	return len == sizeof(name) - 1 && !memcmp(features, name, len);
}

static int get_root(struct bw_json *j, struct bw_root *r)
{
	const char *text;
	size_t len;
	int err = 0;

	/* Features first: when a newer release asks for one, the rest may look different. */
	bw_json_expect(j, "{\"features_read\":");
	bw_json_features(j, &text, &len);
	if (!j->bad && len)
		return is_destroyed(text, len) ? -BW_E_DESTROYED : -BW_E_FORMAT_NEWER;
	bw_json_expect(j, ",\"features_write\":");
	bw_json_features(j, &text, &len);
	keep_text(j, &err, text, len, &r->features_write);
	get_numbers(j, r);
	get_lists(j, &err, r);
	get_optional(j, &err, r);
	bw_json_expect(j, "}");
	if (err)
		return err;
	return bw_json_finished(j) ? 0 : -BW_E_CORRUPT;
}

static int check_tombstone(const struct bw_buf *raw, uint64_t version)
{
	struct bw_json j;

	bw_json_init(&j, bw_buf_text(raw), raw->len);
	bw_json_expect(&j, "{\"version\":");
	uint64_t v = bw_json_dec(&j, UINT64_MAX);
	bw_json_expect(&j, "}");
	return bw_json_finished(&j) && v == version ? 0 : -BW_E_CORRUPT;
}

static int decode_root(const struct bw_stream *s, uint64_t version, const struct bw_buf *raw,
		       struct bw_root **ret)
{
	struct bw_json j;
	struct bw_root *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	atomic_init(&r->refs, 1);
	bw_json_init(&j, bw_buf_text(raw), raw->len);
	int rc = get_root(&j, r);
	if (!rc && (r->version != version || bw_root_check(r) ||
		    memcmp(r->stream_id, s->id, sizeof(s->id)) != 0))
		rc = -BW_E_CORRUPT;
	if (rc) {
		bw_root_unref(r);
		return rc;
	}
	*ret = r;
	return 0;
}

int bw_root_decode(const struct bw_stream *s, uint64_t version, const void *bytes, size_t len,
		   struct bw_root **ret, bool *ret_tombstone)
{
	bw_auto_buf struct bw_buf raw = {.max = 0};
	enum bw_envelope_kind kind;

	bw_buf_init(&raw, BW_ROOT_RAW_MAX);
	int rc = bw_envelope_open(BW_ENVELOPE_ROOT, bytes, len, &raw, &kind);
	if (rc)
		return rc;
	if (kind == BW_ENVELOPE_TOMBSTONE) {
		rc = check_tombstone(&raw, version);
		if (!rc) {
			*ret = NULL;
			*ret_tombstone = true;
		}
		return rc;
	}
	rc = decode_root(s, version, &raw, ret);
	if (rc)
		return rc;
	(*ret)->stored_xxh3 = bw_xxh3(bytes, len);
	*ret_tombstone = false;
	return 0;
}
