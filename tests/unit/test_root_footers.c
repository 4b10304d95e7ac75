/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/apply.h"
#include "manifest/envelope.h"
#include "manifest/root_check.h"
#include "manifest/root_footers.h"
#include "manifest/tgb.h"
#include "store/base/hash.h"
#include "tests/support/change.h"
#include "tests/support/sample.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *footer_new(uint64_t step, size_t len)
{
	uint8_t *bytes = calloc(1, len);

	cr_assert(bytes && len >= 120);
	memset(bytes + 100, (int)(step + 1), len - 100);
	return bytes;
}

/* A step whose footer, of len bytes, the root brings along. */
static void append(struct bw_sample *s, uint32_t len, bool keep)
{
	uint8_t *bytes = footer_new(s->root->head, len);
	struct bw_entry e = {.size = 100000, .raw = 9, .footer_len = len, .footer_xxh3 = bw_tgb_sum(bytes, len)};

	bw_sample_name(e.producer, "alpha");
	bw_sample_append(s, &e);
	if (keep)
		bw_root_footers_add(s->root, &s->root->tail[s->root->tail_n - 1], bytes);
	else
		free(bytes);
}

/* The footer of a step that the tail vouches for; NULL: the root does not have it. */
static const struct bw_root_footer *find(const struct bw_root *r, uint64_t step)
{
	for (uint32_t i = 0; i < r->footers_n; i++)
		if (r->footers[i].step == step && bw_root_tail_entry(r, step))
			return &r->footers[i];
	return NULL;
}

static void encode(const struct bw_root *r, struct bw_buf *raw)
{
	bw_auto_buf struct bw_buf sealed = {.max = 0};

	bw_buf_init(&sealed, BW_ROOT_RAW_MAX);
	bw_buf_init(raw, BW_ROOT_RAW_MAX);
	cr_assert_eq(bw_root_encode(r, &sealed), 0);
	bw_sample_open(BW_ENVELOPE_ROOT, &sealed, raw);
}

static int decode(const struct bw_sample *s, const struct bw_buf *raw, struct bw_root **ret)
{
	bw_auto_buf struct bw_buf sealed = {.max = 0};
	bool tombstone;

	bw_buf_init(&sealed, BW_ROOT_RAW_MAX);
	cr_assert_eq(bw_envelope_seal(BW_ENVELOPE_ROOT, raw->bytes, raw->len, &sealed), 0);
	return bw_root_decode(&s->stream, s->root->version, sealed.bytes, sealed.len, ret, &tombstone);
}

/* What comes of the sample's root with the first occurrence of one text replaced by another. */
static int decode_edited(const struct bw_sample *s, const char *from, const char *to, struct bw_root **ret)
{
	bw_auto_buf struct bw_buf raw = {.max = 0}, changed = {.max = 0};

	encode(s->root, &raw);
	bw_sample_edit(&raw, from, to, &changed);
	return decode(s, &changed, ret);
}

static void expect_same(const struct bw_sample *s)
{
	bw_auto_buf struct bw_buf one = {.max = 0}, two = {.max = 0};
	struct bw_root *r = NULL;

	encode(s->root, &one);
	cr_assert_eq(decode(s, &one, &r), 0);
	encode(r, &two);
	cr_assert(one.len == two.len && !memcmp(one.bytes, two.bytes, one.len));
	bw_root_unref(r);
}

Test(root_footers, come_back_with_the_step_they_belong_to)
{
	struct bw_sample s;
	struct bw_root *r = NULL;
	bw_auto_buf struct bw_buf raw = {.max = 0};

	bw_sample_init(&s, 4);
	append(&s, 150, true);
	append(&s, 160, false);
	append(&s, 170, true);
	expect_same(&s);
	encode(s.root, &raw);
	cr_assert_eq(decode(&s, &raw, &r), 0);
	cr_assert_null(find(r, 1));
	cr_assert_null(find(r, 3));
	for (uint64_t step = 0; step < 3; step += 2) {
		const struct bw_root_footer *f = find(r, step);
		uint32_t len = 150 + 10 * (uint32_t)step;
		uint8_t *bytes = footer_new(step, len);

		cr_assert(f && f->len == len && !memcmp(f->bytes, bytes, len));
		free(bytes);
	}
	bw_root_unref(r);
	bw_sample_done(&s);
}

/* S8: the member stands among those of newer releases where its key belongs, and these are carried on. */
Test(root_footers, S8_stand_among_keys_of_a_newer_release)
{
	static const char *const unknown[] = {",\"a\":1", ",\"zoo\":[2]", ",\"a\":1,\"zoo\":[2]", ",\"footer\":1,\"footers_2\":2"};
	static const size_t below[] = {6, 0, 6, 11};
	struct bw_sample s;

	bw_sample_init(&s, 4);
	append(&s, 150, true);
	for (size_t i = 0; i < sizeof(below) / sizeof(below[0]); i++) {
		bw_auto_buf struct bw_buf raw = {.max = 0};
		struct bw_root *r = NULL, next = {.version = 0};

		free(s.root->unknown);
		s.root->unknown = strdup(unknown[i]);
		expect_same(&s);
		encode(s.root, &raw);
		const char *at = strstr(bw_buf_text(&raw), ",\"footers\":[[");

		cr_assert_not_null(at);
		cr_assert_eq(memcmp(at - below[i], unknown[i], below[i]), 0);
		cr_assert_eq(decode(&s, &raw, &r), 0);
		cr_assert_str_eq(r->unknown, unknown[i]);
		cr_assert_eq(bw_root_carry(&next, r), 0);
		cr_assert_str_eq(next.unknown, unknown[i]);
		cr_assert_eq(next.footers_n, 0);
		free(next.unknown);
		bw_root_unref(r);
	}
	bw_sample_done(&s);
}

Test(root_footers, have_one_spelling)
{
	static const char *const edits[][2] = {
		{"\"footers\":[[\"0\"", "\"footers\":[[\"00\""},
		{"\"footers\":[[\"0\"", "\"footers\":[[0"},
		{"\"footers\":[[\"0\"", "\"footers\":[[\"1\""},		/* that of another step */
		{"\"footers\":[[\"0\"", "\"footers\":[[\"2\""},		/* which is not committed */
		{"\"footers\":[[\"0\",\"00", "\"footers\":[[\"0\",\"01"},	/* damaged */
		{"\"footers\":[[\"0\",\"00", "\"footers\":[[\"0\",\""},	/* short */
		{"\"footers\":[[\"0\",\"00", "\"footers\":[[\"0\",\"0"},
		{"\"footers\":[[\"0\",\"00", "\"footers\":[[\"0\",\"0000"},
		{"\"footers\":[", "\"footers\":[],\"zoo\":["},
		{"\"footers\":[", "\"footers\":[[\"0\",\"\"],"},
		{"\"footers\":[", "\"zoo\":1,\"footers\":["},
		{"]]}", "]],\"a\":1}"},
		{"]]}", "]],\"footers\":[]}"},
		{"]]}", "],]}"},
	};
	struct bw_sample s;
	struct bw_root *r = NULL;

	bw_sample_init(&s, 4);
	append(&s, 150, true);
	append(&s, 150, true);
	for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++)
		cr_assert_eq(decode_edited(&s, edits[i][0], edits[i][1], &r), -BW_E_CORRUPT, "%s -> %s", edits[i][0],
			     edits[i][1]);
	cr_assert_eq(decode_edited(&s, "]]}", "]],\"zoo\":1}", &r), 0);
	bw_root_unref(r);
	bw_sample_done(&s);
}

/* Of steps that nothing vouches for any more, so that only their order and their number is judged. */
static void old_footers(struct bw_sample *s, uint32_t n, uint32_t len)
{
	bw_sample_init(s, 4);
	bw_sample_grow(s, 3 * BW_TAIL_FOLD);
	s->root->footers = calloc(n, sizeof(*s->root->footers));
	cr_assert(s->root->footers && s->root->head - s->root->tail_n > n);
	for (s->root->footers_n = 0; s->root->footers_n < n; s->root->footers_n++)
		s->root->footers[s->root->footers_n] =
			(struct bw_root_footer){.step = s->root->footers_n, .len = len, .bytes = footer_new(1, len)};
}

static void expect_rule(const struct bw_sample *s, const char *why)
{
	const char *got = bw_root_check(s->root);

	cr_assert(got && !strcmp(got, why), "%s", got ? got : "nothing is wrong");
}

Test(root_footers, rise)
{
	struct bw_sample s;

	old_footers(&s, 3, 120);
	expect_same(&s);
	s.root->footers[1].step = 0;
	expect_rule(&s, "footers out of order");
	s.root->footers[0].step = 1;
	expect_rule(&s, "footers out of order");
	s.root->footers[0].step = s.root->head;
	expect_rule(&s, "a footer is not that of its step");
	bw_sample_done(&s);
}

/* What a root may have of them: what is more is refused when it is written, and by the reader of a text that has it. */
Test(root_footers, have_limits)
{
	bw_auto_buf struct bw_buf raw = {.max = 0}, text = {.max = 0};
	struct bw_root *r = NULL;
	struct bw_sample s;

	old_footers(&s, BW_APPENDS_MAX + 1, 120);
	expect_rule(&s, "too many footers");
	bw_sample_done(&s);
	old_footers(&s, 5, BW_FOOTER_INLINE_MAX);
	expect_rule(&s, "too many bytes of footers");
	free(s.root->footers[--s.root->footers_n].bytes);
	expect_same(&s);
	encode(s.root, &raw);
	bw_buf_init(&text, BW_ROOT_RAW_MAX);
	const char *at = strstr(bw_buf_text(&raw), ",\"footers\":[["), *end = strstr(at, "]]");

	/* One more of as many bytes, and then of the first a byte more. */
	bw_buf_add(&text, raw.bytes, (size_t)(end - (const char *)raw.bytes));
	bw_buf_str(&text, "],[\"5\",");
	bw_json_put_hex(&text, s.root->footers[0].bytes, s.root->footers[0].len);
	bw_buf_str(&text, "]]}");
	cr_assert_eq(decode(&s, &text, &r), -BW_E_CORRUPT);
	cr_assert_eq(decode_edited(&s, "\"footers\":[[\"0\",\"00", "\"footers\":[[\"0\",\"0000", &r), -BW_E_CORRUPT);
	bw_sample_done(&s);
}

/* S8: a writer that does not know them carries them on, however far the stream has come. */
Test(root_footers, S8_of_steps_that_left_the_tail_are_no_fault)
{
	struct bw_sample s;

	bw_sample_init(&s, 4);
	append(&s, 150, true);
	for (unsigned i = 0; i < BW_TAIL_FOLD; i++)
		append(&s, 150, false);
	cr_assert_null(bw_root_tail_entry(s.root, 0));
	expect_same(&s);
	cr_assert_eq(s.root->footers_n, 1);
	cr_assert_null(find(s.root, 0), "nothing vouches for it any more");
	bw_sample_done(&s);
}

Test(root_footers, are_few_and_small)
{
	struct bw_sample s;

	bw_sample_init(&s, 4);
	append(&s, BW_FOOTER_INLINE_MAX + 1, true);
	cr_assert_eq(s.root->footers_n, 0);
	for (unsigned i = 0; i < BW_FOOTERS_INLINE_MAX / BW_FOOTER_INLINE_MAX; i++)
		append(&s, BW_FOOTER_INLINE_MAX, true);
	append(&s, 150, true);
	cr_assert_eq(s.root->footers_n, BW_FOOTERS_INLINE_MAX / BW_FOOTER_INLINE_MAX);
	expect_same(&s);
	s.root->footers[0].len++;	/* nobody reads it: the length is refused first */
	cr_assert_not_null(bw_root_check(s.root));
	s.root->footers[0].len--;
	bw_sample_done(&s);
}

/* Those of a version are its own appends', and none when it has none. */
Test(root_footers, are_those_of_what_the_version_appends)
{
	struct bw_new_nodes nodes = {.n = 0};
	struct bw_commit commit = {.id = {1}, .time_ms = 0};
	struct bw_root *with = NULL, *without = NULL;
	struct bw_sample s;

	bw_sample_init(&s, 4);
	append(&s, 150, true);
	const struct bw_producer_entry *p = bw_root_producer(s.root, "alpha");
	struct bw_change c = {.kind = BW_CHANGE_APPEND, .epoch = p->epoch, .seq = p->next, .size = 1000, .raw = 9,
			      .footer_len = 200, .footer = footer_new(7, 200)};

	bw_sample_name(c.name, "alpha");
	memcpy(c.owner, p->owner, sizeof(c.owner));
	c.footer_xxh3 = bw_tgb_sum(c.footer, 200);
	cr_assert_eq(bw_apply(&s.stream, s.root, &c, 1, &commit, &with, &nodes), 0);
	cr_assert(with->footers_n == 1 && find(with, 1) && !find(with, 0));
	cr_assert_null(with->changes[0].footer);
	bw_new_nodes_done(&nodes);

	struct bw_change job = {.kind = BW_CHANGE_JOB, .name = "train"};

	cr_assert_eq(bw_apply(&s.stream, with, &job, 1, &commit, &without, &nodes), 0);
	cr_assert_eq(without->footers_n, 0);
	bw_new_nodes_done(&nodes);

	c.footer_xxh3 ^= 1;
	cr_assert_eq(bw_change_check(&s.stream, s.root, &c), -EINVAL, "not the footer that it says");
	bw_change_done(&c);
	bw_root_unref(with);
	bw_root_unref(without);
	bw_sample_done(&s);
}
