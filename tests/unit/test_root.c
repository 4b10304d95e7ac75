/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/envelope.h"
#include "manifest/root.h"
#include "manifest/root_check.h"
#include "store/base/hash.h"
#include "tests/support/sample.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void encode(const struct bw_root *r, struct bw_buf *out)
{
	bw_buf_init(out, BW_ROOT_RAW_MAX + 64);
	const char *why = bw_root_check(r);
	cr_assert_null(why, "%s", why);
	cr_assert_eq(bw_root_encode(r, out), 0);
}

static int decode(const struct bw_sample *s, const void *bytes, size_t len, struct bw_root **ret)
{
	bool tombstone = true;
	int rc = bw_root_decode(&s->stream, s->root->version, bytes, len, ret, &tombstone);

	if (rc == 0)
		cr_assert_not(tombstone);
	return rc;
}

/* Encodes, decodes, encodes again: the same bytes.  The caller unrefs. */
static struct bw_root *round_trip(const struct bw_sample *s)
{
	bw_auto_buf struct bw_buf one = {.max = 0}, two = {.max = 0};
	struct bw_root *r = NULL;

	encode(s->root, &one);
	cr_assert_eq(decode(s, one.bytes, one.len, &r), 0);
	cr_assert_eq(r->stored_xxh3, bw_xxh3(one.bytes, one.len));
	encode(r, &two);
	cr_assert_eq(one.len, two.len);
	cr_assert_eq(memcmp(one.bytes, two.bytes, one.len), 0);
	return r;
}

Test(root, the_first_is_the_same_for_everybody)
{
	struct bw_sample a, b;
	bw_auto_buf struct bw_buf x = {.max = 0}, y = {.max = 0};

	bw_sample_init(&a, 4);
	bw_sample_init(&b, 4);
	encode(a.root, &x);
	encode(b.root, &y);
	cr_assert_eq(x.len, y.len);
	cr_assert_eq(memcmp(x.bytes, y.bytes, x.len), 0);
	struct bw_root *r = round_trip(&a);
	cr_assert_eq(r->version, 1);
	cr_assert_eq(r->head, 0);
	cr_assert_eq(r->time_ms, a.stream.created_ms);
	cr_assert_arr_eq(r->commit_id, a.stream.id, 16);
	bw_root_unref(r);
	bw_sample_done(&a);
	bw_sample_done(&b);
}

static void full_sample(struct bw_sample *s)
{
	const uint64_t markers[] = {10, 20, 150};
	char long_text[BW_MARKER_TEXT_MAX + 1];

	bw_sample_init(s, 4);
	bw_sample_grow(s, 300);
	bw_sample_state(s, "alpha", "\x00\xff\"\\state", 9);
	bw_sample_state(s, "beta", NULL, BW_STATE_MAX);
	memset(long_text, 0x80, sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = 0;
	bw_sample_job(s, "job-a", markers, 3, "/ckpt/\"x\\y\" 100%\n\xc3\xa9");
	bw_sample_job(s, "job-b", markers, 0, "");
	bw_sample_job(s, "job-c", markers, 1, long_text);
	bw_sample_changes(s);
	s->root->first = 10;
	s->root->swept = 5;
	s->root->sealed = true;
}

Test(root, every_field_survives)
{
	struct bw_sample s;

	full_sample(&s);
	struct bw_root *r = round_trip(&s), *e = s.root;

	cr_assert_eq(r->version, 301);
	cr_assert_arr_eq(r->stream_id, s.stream.id, 16);
	cr_assert_arr_eq(r->commit_id, e->commit_id, 16);
	cr_assert_eq(r->previous_xxh3, e->previous_xxh3);
	cr_assert_eq(r->time_ms, e->time_ms);
	cr_assert(r->first == 10 && r->swept == 5 && r->head == 300 && r->sealed);
	cr_assert(r->bytes == e->bytes && r->digest == e->digest);
	cr_assert_eq(r->tail_digest, e->tail_digest);
	cr_assert_eq(r->levels_n, 1);
	cr_assert_eq(r->levels[0].n, 1);
	cr_assert_eq(memcmp(r->levels[0].pointers, e->levels[0].pointers, sizeof(struct bw_pointer)), 0);
	cr_assert_eq(r->tail_n, 172);
	for (uint32_t i = 0; i < r->tail_n; i++) {
		const struct bw_entry *a = &r->tail[i], *b = &e->tail[i];

		cr_assert_str_eq(a->producer, b->producer);
		cr_assert(a->step == b->step && a->epoch == b->epoch && a->seq == b->seq);
		cr_assert(a->nonce == b->nonce && a->size == b->size && a->raw == b->raw);
		cr_assert(a->before == b->before && a->footer_len == b->footer_len);
		cr_assert(a->footer_xxh3 == b->footer_xxh3 && a->version == b->version);
		cr_assert_eq(a->time_ms, b->time_ms);
	}
	cr_assert_eq(bw_root_tail_entry(r, 127), NULL);
	cr_assert_eq(bw_root_tail_entry(r, 128), &r->tail[0]);
	cr_assert_eq(bw_root_tail_entry(r, 299), &r->tail[171]);
	cr_assert_eq(bw_root_tail_entry(r, 300), NULL);
	bw_root_unref(r);
	bw_sample_done(&s);
}

Test(root, producers_jobs_and_changes_survive)
{
	struct bw_sample s;

	full_sample(&s);
	struct bw_root *r = round_trip(&s);
	const struct bw_producer_entry *alpha = bw_root_producer(r, "alpha");
	const struct bw_producer_entry *beta = bw_root_producer(r, "beta");

	cr_assert(alpha && beta && r->producers_n == 2);
	cr_assert_null(bw_root_producer(r, "al"));
	cr_assert_null(bw_root_producer(r, "gamma"));
	cr_assert(alpha->epoch == 1 && alpha->next == 150 && alpha->last_step == 298);
	cr_assert(alpha->owner[0] == 'a' && alpha->owner[15] == 'a');
	cr_assert(alpha->has_state && alpha->state && alpha->state_len == 9);
	cr_assert_eq(memcmp(alpha->state, "\x00\xff\"\\state", 9), 0);
	cr_assert(beta->has_state && !beta->state && beta->state_len == BW_STATE_MAX);
	cr_assert_eq(beta->state_nonce, s.root->producers[1].state_nonce);
	const struct bw_job *job = bw_root_job(r, "job-a");
	cr_assert(job && job->markers_n == 3 && job->markers[2].step == 150);
	cr_assert_str_eq(job->markers[1].text, "/ckpt/\"x\\y\" 100%\n\xc3\xa9");
	cr_assert_eq(strlen(bw_root_job(r, "job-c")->markers[0].text), BW_MARKER_TEXT_MAX);
	cr_assert_eq(r->changes_n, s.root->changes_n);
	for (uint32_t i = 0; i < r->changes_n; i++) {
		const struct bw_change *a = &r->changes[i], *b = &s.root->changes[i];

		cr_assert(a->kind == b->kind && a->epoch == b->epoch && a->seq == b->seq);
		cr_assert_str_eq(a->name, b->name);
		cr_assert_arr_eq(a->owner, b->owner, 16);
		cr_assert(a->nonce == b->nonce && a->size == b->size && a->raw == b->raw);
		cr_assert(a->footer_len == b->footer_len && a->footer_xxh3 == b->footer_xxh3);
		cr_assert(a->has_state == b->has_state && a->state_len == b->state_len);
		cr_assert(a->state_xxh3 == b->state_xxh3 && !a->state == !b->state);
		cr_assert_eq(a->step, b->step);
		cr_assert_eq(!a->text, !b->text);
		if (a->text)
			cr_assert_str_eq(a->text, b->text);
	}
	bw_root_unref(r);
	bw_sample_done(&s);
}

Test(root, a_tombstone_says_only_its_version)
{
	struct bw_sample s;
	bw_auto_buf struct bw_buf b = {.max = 0};
	struct bw_root *r = (struct bw_root *)&s;
	bool tombstone = false;

	bw_sample_init(&s, 4);
	bw_buf_init(&b, 1000);
	cr_assert_eq(bw_tombstone_encode(UINT64_MAX, &b), 0);
	cr_assert_leq(b.len, BW_TOMBSTONE_MAX);
	cr_assert_eq(bw_root_decode(&s.stream, UINT64_MAX, b.bytes, b.len, &r, &tombstone), 0);
	cr_assert(tombstone && !r);
	cr_assert_eq(bw_root_decode(&s.stream, 7, b.bytes, b.len, &r, &tombstone), -BW_E_CORRUPT);
	bw_sample_done(&s);
}

Test(root, the_name_it_was_asked_by_must_fit)
{
	struct bw_sample s;
	bw_auto_buf struct bw_buf b = {.max = 0};
	struct bw_root *r = NULL;
	bool tombstone;

	bw_sample_init(&s, 4);
	bw_sample_grow(&s, 3);
	encode(s.root, &b);
	cr_assert_eq(bw_root_decode(&s.stream, 5, b.bytes, b.len, &r, &tombstone), -BW_E_CORRUPT);
	s.stream.id[15] ^= 1;
	cr_assert_eq(bw_root_decode(&s.stream, 4, b.bytes, b.len, &r, &tombstone), -BW_E_CORRUPT);
	s.stream.id[15] ^= 1;
	cr_assert_eq(bw_root_decode(&s.stream, 4, b.bytes, b.len, &r, &tombstone), 0);
	bw_root_unref(r);
	bw_sample_done(&s);
}

/* ---- Edits of the text, wrapped again with right checksums ---------------------------------------- */

static int decode_edited(const struct bw_sample *s, const char *from, const char *to,
			 struct bw_root **ret)
{
	bw_auto_buf struct bw_buf sealed = {.max = 0}, raw = {.max = 0}, changed = {.max = 0}, again = {.max = 0};

	encode(s->root, &sealed);
	bw_buf_init(&raw, BW_ROOT_RAW_MAX);
	bw_sample_open(BW_ENVELOPE_ROOT, &sealed, &raw);
	bw_sample_edit(&raw, from, to, &changed);
	bw_buf_init(&again, BW_ROOT_RAW_MAX);
	cr_assert_eq(bw_envelope_seal(BW_ENVELOPE_ROOT, changed.bytes, changed.len, &again), 0);
	return decode(s, again.bytes, again.len, ret);
}

static const char *const edits[][2] = {
	/* spelling */
	{"\"version\":\"4\"", "\"version\":4"},
	{"\"version\":\"4\"", "\"version\":\"04\""},
	{"\"version\":\"4\"", "\"version\":\"4\" "},
	{"\"version\":\"4\"", "\"version\":\"4\",\"version\":\"4\""},
	{"\"version\":\"4\"", "\"version\":\"18446744073709551616\""},
	{"\"version\"", "\"Version\""},
	{"\"sealed\":false", "\"sealed\":0"},
	{"\"sealed\":false", "\"sealed\":null"},
	{"\"time_ms\":1767225603000", "\"time_ms\":\"1767225603000\""},
	{"\"time_ms\":1767225603000", "\"time_ms\":1767225603000.0"},
	{"\"time_ms\":1767225603000", "\"time_ms\":1.767225603e12"},
	{"\"time_ms\":1767225603000", "\"time_ms\":NaN"},
	{"\"time_ms\":1767225603000", "\"time_ms\":-1"},
	{"\"time_ms\":1767225603000", "\"time_ms\":9007199254740992"},
	{"\"digest\":\"", "\"digest\":\"A"},
	{"{\"features_read\"", "{ \"features_read\""},
	{"\"levels\":[]}", "\"levels\":[]"},
	{"\"levels\":[]}", "\"levels\":[]}}"},
	{"\"levels\":[]", "\"levels\":[[]]"},
	{"\"levels\":[]", "\"levels\":[[\"0\",[]]]"},
	{"\"levels\":[]", "\"levels\":[\"0\",[]]"},
	{"\"levels\":[]", "\"levels\":[null]"},
	{"\"levels\":[]}", "\"levels\":[],}"},
	{"[\"0\",\"alpha\"", "[\"0\",\"al/pha\""},
	{"[\"0\",\"alpha\"", "[\"0\",\"\""},
	{"[\"0\",\"alpha\"", "[\"0\",\".alpha\""},
	{"[\"0\",\"alpha\"", "[\"0\",\"alpha\\u0000\""},
	{"\"features_read\":[]", "\"features_read\":{}"},
	{"\"features_read\":[]", "\"features_read\":[1]"},
	/* meaning */
	{"\"head\":\"3\"", "\"head\":\"4\""},
	{"\"head\":\"3\"", "\"head\":\"2\""},
	{"\"first\":\"0\"", "\"first\":\"4\""},
	{"\"swept\":\"0\"", "\"swept\":\"1\""},
	{"\"tail_digest\":\"0000000000000000\"", "\"tail_digest\":\"0000000000000001\""},
	{"[\"1\",\"beta\"", "[\"2\",\"beta\""},
	{"[\"1\",\"beta\",\"1\",\"0\"", "[\"1\",\"beta\",\"1\",\"1\""},
	{"[\"1\",\"beta\",\"1\"", "[\"1\",\"beta\",\"0\""},
	{"[\"1\",\"beta\",\"1\"", "[\"1\",\"gamma\",\"1\""},
	{"[[\"alpha\",\"1\"", "[[\"beta\",\"1\""},
	{"[[\"alpha\",\"1\"", "[[\"zeta\",\"1\""},
	{"\"producers\":[", "\"producers\":[[\"alpha\"],"},
	{"\"changes\":[]", "\"changes\":[[\"trims\"]]"},
	{"\"changes\":[]", "\"changes\":[[\"trim\",\"x\"]]"},
	{"\"changes\":[]", "\"changes\":[[\"sweep\",\"70368744177665\"]]"},
	{"\"changes\":[]", "\"changes\":[[\"register\",\"\"]]"},
	{"\"jobs\":[]", "\"jobs\":[[\"b\",[]],[\"a\",[]]]"},
	{"\"jobs\":[]", "\"jobs\":[[\"a\",[]],[\"a\",[]]]"},
	{"\"jobs\":[]", "\"jobs\":[[\"a\",[[\"2\",\"\"],[\"2\",\"\"]]]]"},
	{"\"jobs\":[]", "\"jobs\":[[\"a\",[[\"4\",\"\"]]]]"},
	{"\"jobs\":[]", "\"jobs\":[[\"a\",[[\"1\",\"%41\"]]]]"},
	{"\"jobs\":[]", "\"jobs\":[[\"a\",[[\"1\",\"%00\"]]]]"},
	{"\"jobs\":[]", "\"jobs\":[[\"a\",[[\"1\",\"%C3\"]]]]"},
	{"\"jobs\":[]", "\"jobs\":[[\"a\",[[\"1\",\"%c\"]]]]"},
	{"\"jobs\":[]", "\"jobs\":[[\"a\",[[\"1\",\"\\n\"]]]]"},
	{"\"jobs\":[]", "\"jobs\":[[\"a\",[[\"1\",null]]]]"},
};

Test(root, text_that_breaks_a_rule_is_corrupt)
{
	struct bw_sample s;

	bw_sample_init(&s, 4);
	bw_sample_grow(&s, 3);
	for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
		struct bw_root *r = NULL;

		cr_assert_eq(decode_edited(&s, edits[i][0], edits[i][1], &r), -BW_E_CORRUPT,
			     "%s -> %s", edits[i][0], edits[i][1]);
	}
	struct bw_root *r = NULL;
	cr_assert_eq(decode_edited(&s, "\"jobs\":[]", "\"jobs\":[[\"a\",[[\"3\",\"%25\"]]]]", &r), 0,
		     "the edits fail for what they say, not for being edits");
	cr_assert_str_eq(r->jobs[0].markers[0].text, "%");
	bw_root_unref(r);
	bw_sample_done(&s);
}

/* A length that differs from the inline bytes would have the checksum read past their end. */
Test(root, a_state_of_another_length_is_corrupt)
{
	struct bw_sample s;
	struct bw_root *r = NULL;

	bw_sample_init(&s, 4);
	bw_sample_grow(&s, 3);
	bw_sample_state(&s, "alpha", "state", 5);
	cr_assert_eq(decode_edited(&s, "5,\"", "5,\"", &r), 0);
	bw_root_unref(r);
	cr_assert_eq(decode_edited(&s, "5,\"", "4,\"", &r), -BW_E_CORRUPT);
	cr_assert_eq(decode_edited(&s, "5,\"", "512,\"", &r), -BW_E_CORRUPT);
	cr_assert_eq(decode_edited(&s, "7374617465", "737461746", &r), -BW_E_CORRUPT);
	cr_assert_eq(decode_edited(&s, "7374617465", "73746174650", &r), -BW_E_CORRUPT);
	cr_assert_eq(decode_edited(&s, "7374617465", "7374617466", &r), -BW_E_CORRUPT);
	bw_sample_done(&s);
}

/* ---- Newer releases ------------------------------------------------------------------------------- */

Test(root, S8_keys_of_a_newer_release_are_carried_through)
{
	static const char extra[] =
		",\"a\":1,\"new_key\":{\"list\":[true,false,null,-5,\"\\u00e9\\\\ \\\"\"]},"
		"\"quota\":\"18446744073709551615\"";
	char levels[300];
	struct bw_sample s;
	struct bw_root *r = NULL, next = {.version = 0};
	bw_auto_buf struct bw_buf one = {.max = 0}, raw = {.max = 0};

	bw_sample_init(&s, 4);
	bw_sample_grow(&s, 3);
	snprintf(levels, sizeof(levels), "\"levels\":[]%s}", extra);
	cr_assert_eq(decode_edited(&s, "\"levels\":[]}", levels, &r), 0);
	cr_assert_eq(bw_root_may_write(r), 0);
	cr_assert_eq(bw_root_carry(&next, r), 0);
	cr_assert_str_eq(next.unknown, extra);
	free(s.root->unknown);
	s.root->unknown = next.unknown;
	encode(s.root, &one);
	bw_buf_init(&raw, BW_ROOT_RAW_MAX);
	bw_sample_open(BW_ENVELOPE_ROOT, &one, &raw);
	cr_assert_not_null(strstr(bw_buf_text(&raw), levels));
	bw_root_unref(r);
	bw_sample_done(&s);
}

Test(root, keys_of_a_newer_release_have_one_spelling_too)
{
	static const char *const bad[] = {
		",\"b\":1,\"a\":1",   ",\"a\":1,\"a\":1", ",\"head\":1",     ",\"a\":1.5",
		",\"a\":1e3",	      ",\"a\":-0",	  ",\"a\":007",	     ",\"a\":9007199254740992",
		",\"a\":NaN",	      ",\"a\": 1",	  ",\"A\":1",	     ",\"\":1",
		",\"a\":\"\x01\"",    ",\"a\":\"\xc3\xa9\"", ",\"a\":\"\\u0000\"", ",\"a\":\"\\x\"",
		",\"a\":[1,]",	      ",\"a\":{\"b\":1,\"b\":2}", ",\"a\":{b:1}", ",\"a\":[1",
		",\"a\":tru",	      ",\"a\":",
		",\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]",
	};
	struct bw_sample s;
	struct bw_root *r = NULL;
	char levels[200];

	bw_sample_init(&s, 4);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(levels, sizeof(levels), "\"levels\":[]%s}", bad[i]);
		cr_assert_eq(decode_edited(&s, "\"levels\":[]}", levels, &r), -BW_E_CORRUPT, "%s",
			     bad[i]);
	}
	cr_assert_eq(decode_edited(&s, "\"levels\":[]}",
				   "\"levels\":[],\"a\":[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]}", &r), 0);
	bw_root_unref(r);
	bw_sample_done(&s);
}

Test(root, S8_features_gate_readers_and_writers)
{
	struct bw_sample s;
	struct bw_root *r = NULL, next = {.version = 0};

	bw_sample_init(&s, 4);
	bw_sample_grow(&s, 3);
	/* The rest may look as it likes when a reader has to know a feature. */
	cr_assert_eq(decode_edited(&s, "\"features_read\":[],\"features_write\"",
				   "\"features_read\":[\"striped\"],\"whatever\"", &r),
		     -BW_E_FORMAT_NEWER);
	cr_assert_eq(decode_edited(&s, "\"features_write\":[]",
				   "\"features_write\":[\"retire\",\"tiers-2\"]", &r), 0);
	cr_assert_eq(bw_root_may_write(r), -BW_E_FORMAT_NEWER);
	cr_assert_eq(bw_root_carry(&next, r), 0);
	cr_assert_str_eq(next.features_write, "\"retire\",\"tiers-2\"");
	free(next.features_write);
	free(next.unknown);
	bw_root_unref(r);
	cr_assert_eq(decode_edited(&s, "\"features_write\":[]", "\"features_write\":[\"b\",\"a\"]", &r),
		     -BW_E_CORRUPT);
	bw_sample_done(&s);
}

/* ---- Limits --------------------------------------------------------------------------------------- */

Test(root, a_rule_that_is_broken_is_not_encoded)
{
	struct bw_sample s;
	bw_auto_buf struct bw_buf out = {.max = 0};
	const uint64_t steps[] = {1};

	bw_buf_init(&out, BW_ROOT_RAW_MAX);
	bw_sample_init(&s, 4);
	bw_sample_grow(&s, 3);
	s.root->digest ^= 1;
	cr_assert_eq(bw_root_encode(s.root, &out), -EINVAL);
	s.root->digest ^= 1;
	s.root->producers[0].next++;
	cr_assert_eq(bw_root_encode(s.root, &out), -EINVAL);
	s.root->producers[0].next--;
	bw_sample_job(&s, "not/a/name", steps, 1, "");
	cr_assert_eq(bw_root_encode(s.root, &out), -EINVAL);
	bw_sample_name(s.root->jobs[0].name, "name");
	cr_assert_eq(bw_root_encode(s.root, &out), 0);
	s.root->unknown = strdup(",\"head\":1");
	cr_assert_eq(bw_root_encode(s.root, &out), -EINVAL);
	bw_sample_done(&s);
}

/* I12: whatever the limits of limits.h let in fits one root. */
Test(root, I12_a_root_at_every_limit_fits)
{
	struct bw_sample s;
	char text[BW_MARKER_TEXT_MAX + 1], name[BW_NAME_MAX + 1];
	uint8_t state[BW_STATE_INLINE_MAX] = {0xff};
	uint64_t steps[BW_MARKERS_MAX];

	memset(text, 0xee, BW_MARKER_TEXT_MAX);
	text[BW_MARKER_TEXT_MAX] = 0;
	bw_sample_init(&s, 4);
	bw_sample_grow(&s, BW_TAIL_FOLD + 100);
	for (unsigned i = 0; i < BW_PRODUCERS_MAX - 2; i++) {
		struct bw_entry e = {.footer_len = 20, .size = UINT64_C(1) << 50, .raw = 1};

		memset(name, 'p', BW_NAME_MAX);
		snprintf(name, sizeof(name), "%064u", i);
		bw_sample_name(e.producer, name);
		bw_sample_append(&s, &e);
		if (i < BW_STATES_INLINE_MAX / BW_STATE_INLINE_MAX)
			bw_sample_state(&s, name, state, sizeof(state));
	}
	for (unsigned i = 0; i < BW_MARKERS_MAX; i++)
		steps[i] = i;
	for (unsigned i = 0; i < BW_JOBS_MAX; i++) {
		snprintf(name, sizeof(name), "%064u", i);
		bw_sample_job(&s, name, steps, BW_MARKERS_MAX, text);
	}
	s.root->changes = calloc(BW_CHANGES_MAX, sizeof(*s.root->changes));
	for (s.root->changes_n = 0; s.root->changes_n < BW_CHANGES_MAX; s.root->changes_n++) {
		struct bw_change *c = &s.root->changes[s.root->changes_n];

		bw_sample_name(c->name, name);
		c->kind = BW_CHANGE_MARK;
		if (s.root->changes_n >= BW_APPENDS_MAX) {
			c->text = strdup(text);
			continue;
		}
		c->kind = BW_CHANGE_APPEND;
		c->epoch = c->seq = c->size = BW_COUNTER_MAX - 1;
		c->raw = 1;
		c->footer_len = BW_FOOTER_MAX;
		c->has_state = true;
		c->state_len = sizeof(state);
		c->state = malloc(sizeof(state));
		memcpy(c->state, state, sizeof(state));
		c->state_xxh3 = bw_xxh3(state, sizeof(state));
	}
	/* Of steps that have left the tail; the longest list that is as many bytes as it may be. */
	s.root->footers = calloc(BW_APPENDS_MAX, sizeof(*s.root->footers));
	for (uint64_t i = 0; i < BW_APPENDS_MAX; i++) {
		uint32_t len = BW_FOOTERS_INLINE_MAX / BW_APPENDS_MAX;

		s.root->footers[s.root->footers_n++] = (struct bw_root_footer){.step = i, .len = len, .bytes = calloc(1, len)};
	}
	struct bw_root *r = round_trip(&s);
	cr_assert_not(bw_root_state_room(r));
	bw_root_unref(r);
	bw_sample_state(&s, "alpha", state, 1);
	bw_auto_buf struct bw_buf out = {.max = 0};
	bw_buf_init(&out, BW_ROOT_RAW_MAX);
	cr_assert_eq(bw_root_encode(s.root, &out), -EINVAL, "one inline state too many");
	bw_sample_done(&s);
}

/* Where a level without pointers would begin has one spelling. */
Test(root, an_empty_level_begins_at_0)
{
	struct bw_sample s;
	struct bw_root *r;

	bw_sample_init(&s, 2);
	bw_sample_grow(&s, BW_LEAF_ENTRIES * (BW_FANOUT + 1));
	cr_assert(s.root->levels_n == 2 && s.root->levels[0].n == 0);
	cr_assert_eq(decode_edited(&s, "\"levels\":[[\"0\",[]],", "\"levels\":[[\"0\",[]],", &r), 0);
	cr_assert_eq(r->levels_n, 2);
	cr_assert_eq(r->levels[1].pointers[0].last, BW_LEAF_ENTRIES * BW_FANOUT - 1);
	bw_root_unref(r);
	cr_assert_eq(decode_edited(&s, "\"levels\":[[\"0\",[]],", "\"levels\":[[\"128\",[]],", &r),
		     -BW_E_CORRUPT);
	cr_assert_eq(decode_edited(&s, "[[\"0\",[]],[\"0\",", "[[\"0\",[]],[\"128\",", &r), -BW_E_CORRUPT);
	bw_sample_done(&s);
}

Test(root, the_digest_depends_on_identity_alone)
{
	struct bw_entry e = {.producer = "p", .step = 1, .epoch = 2, .seq = 3, .nonce = 4, .size = 5,
			     .footer_len = 6, .footer_xxh3 = 7};
	uint64_t d = bw_digest_next(9, &e);
	struct bw_entry f[9];

	/* The bytes that docs/format.md says: so this number never changes. */
	static const uint8_t bytes[] = {
		9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 'p', 2, 0, 0, 0, 0, 0, 0, 0,
		3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0,
		6, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0};
	cr_assert_eq(d, bw_xxh3(bytes, sizeof(bytes)));
	for (int i = 0; i < 9; i++)
		f[i] = e;
	f[0].step++, f[1].epoch++, f[2].seq++, f[3].nonce++, f[4].size++, f[5].footer_len++;
	f[6].footer_xxh3++, f[7].producer[0]++, bw_sample_name(f[8].producer, "p2");
	for (int i = 0; i < 9; i++)
		cr_assert_neq(bw_digest_next(9, &f[i]), d, "%d", i);
	cr_assert_neq(bw_digest_next(8, &e), d);
	e.version = 100, e.time_ms = 100, e.raw = 100, e.before = 100;
	cr_assert_eq(bw_digest_next(9, &e), d);
}

Test(change, a_copy_owns_its_bytes)
{
	struct bw_sample s;

	bw_sample_init(&s, 4);
	bw_sample_changes(&s);
	for (uint32_t i = 0; i < s.root->changes_n; i++) {
		struct bw_change copy;
		const struct bw_change *c = &s.root->changes[i];

		cr_assert_eq(bw_change_copy(&copy, c), 0);
		cr_assert(copy.kind == c->kind && copy.seq == c->seq);
		cr_assert(!c->state || (copy.state != c->state &&
					!memcmp(copy.state, c->state, c->state_len)));
		cr_assert(!c->text || (copy.text != c->text && !strcmp(copy.text, c->text)));
		bw_change_done(&copy);
		cr_assert(!copy.state && !copy.text);
	}
	bw_sample_done(&s);
}
