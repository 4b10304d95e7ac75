/* SPDX-License-Identifier: Apache-2.0 */
/* Every rule of root_check.h: a sound root, broken in one place, is told by that rule. */
#include "manifest/root_check.h"
#include "tests/support/sample.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void time_below_zero(struct bw_root *r) { r->time_ms = -1; }
static void time_above_2_53(struct bw_root *r) { r->time_ms = INT64_C(1) << 53; }
static void version_0(struct bw_root *r) { r->version = 0; }
static void first_above_head(struct bw_root *r) { r->first = r->head + 1; }
static void swept_above_first(struct bw_root *r) { r->swept = r->first + 1; }
static void too_many_changes(struct bw_root *r)
{
	r->changes = realloc(r->changes, (BW_CHANGES_MAX + 1) * sizeof(*r->changes));
	for (; r->changes_n <= BW_CHANGES_MAX; r->changes_n++)
		r->changes[r->changes_n] = (struct bw_change){.kind = BW_CHANGE_TRIM};
}
static void too_many_appends(struct bw_root *r)
{
	struct bw_change append = {.kind = BW_CHANGE_APPEND, .name = "a", .epoch = 1, .size = 9,
				   .raw = 1, .footer_len = 8};

	too_many_changes(r);
	r->changes_n--;
	for (uint32_t i = r->changes_n - BW_APPENDS_MAX; i < r->changes_n; i++)
		r->changes[i] = append;
}
static void change_of_no_kind(struct bw_root *r) { r->changes[0].kind = (enum bw_change_kind)99; }
static void change_without_name(struct bw_root *r) { r->changes[0].name[0] = 0; }
static void state_sum_of_a_change(struct bw_root *r) { r->changes[BW_CHANGE_APPEND].state_xxh3++; }
static void producers_swapped(struct bw_root *r) { r->producers[0].name[0] = 'z'; }
static void owner_at_epoch_0(struct bw_root *r) { r->producers[0].epoch = 0; }
static void next_above_head(struct bw_root *r) { r->producers[0].next = r->head + 1; }
static void next_too_high(struct bw_root *r) { r->producers[0].next = r->head; }
static void last_step_at_head(struct bw_root *r) { r->producers[0].last_step = r->head; }
static void state_sum_of_a_producer(struct bw_root *r) { r->producers[0].state_xxh3++; }
static void state_of_a_later_seq(struct bw_root *r) { r->producers[0].state_seq = 1000; }
static void state_of_a_later_epoch(struct bw_root *r) { r->producers[0].state_epoch = 2; }
static void jobs_swapped(struct bw_root *r) { r->jobs[0].name[0] = 'z'; }
static void marker_above_head(struct bw_root *r) { r->jobs[0].markers[1].step = r->head + 1; }
static void markers_swapped(struct bw_root *r) { r->jobs[0].markers[0].step = r->head; }
static void marker_without_text(struct bw_root *r)
{
	free(r->jobs[0].markers[0].text);
	r->jobs[0].markers[0].text = NULL;
}
static void tail_shorter(struct bw_root *r) { r->tail_n--; }
static void tail_off_a_leaf(struct bw_root *r)
{
	memmove(r->tail, r->tail + 1, --r->tail_n * sizeof(*r->tail));
}
static void tail_of_other_steps(struct bw_root *r) { r->tail[0].step++; }
static void tail_with_a_gap(struct bw_root *r) { r->tail[5].step++; }
static void tail_with_a_wrong_sum(struct bw_root *r) { r->tail[5].before++; }
static void tail_with_a_falling_version(struct bw_root *r) { r->tail[5].version = 2; }
static void tail_with_a_falling_time(struct bw_root *r) { r->tail[5].time_ms = 0; }
static void entry_of_a_later_version(struct bw_root *r) { r->tail[r->tail_n - 1].version = 1000; }
static void entry_with_footer_alone(struct bw_root *r) { r->tail[5].footer_len = 6000; }
static void entry_seq_above_step(struct bw_root *r) { r->tail[5].seq = 5000; }
static void bytes_wrong(struct bw_root *r) { r->bytes++; }
static void digest_wrong(struct bw_root *r) { r->digest++; }
static void identity_wrong(struct bw_root *r) { r->tail[5].nonce++; }
static void pointer_not_aligned(struct bw_root *r) { r->levels[0].pointers[0].first++; }
static void pointer_of_another_leaf(struct bw_root *r)
{
	r->levels[0].pointers[0].first += 128;
	r->levels[0].pointers[0].last += 128;
}
static void pointer_missing(struct bw_root *r) { r->levels[0].n = 0; }
static void pointer_twice(struct bw_root *r)
{
	r->levels[0].pointers = realloc(r->levels[0].pointers, 2 * sizeof(struct bw_pointer));
	r->levels[0].pointers[1] = r->levels[0].pointers[0];
	r->levels[0].n = 2;
}
static void too_many_levels(struct bw_root *r) { r->levels_n = BW_LEVELS_MAX + 1; }

/* So many and one: what is added is all zeros. */
static void *one_too_many(void *array, uint32_t *n, uint32_t most, size_t size)
{
	uint8_t *more = realloc(array, (most + 1) * size);

	memset(more + *n * size, 0, (most + 1 - *n) * size);
	*n = most + 1;
	return more;
}

static void too_many_producers(struct bw_root *r)
{
	r->producers = one_too_many(r->producers, &r->producers_n, BW_PRODUCERS_MAX, sizeof(*r->producers));
}
static void too_many_jobs(struct bw_root *r)
{
	r->jobs = one_too_many(r->jobs, &r->jobs_n, BW_JOBS_MAX, sizeof(*r->jobs));
}
static void too_many_markers(struct bw_root *r)
{
	struct bw_job *j = &r->jobs[0];

	j->markers = one_too_many(j->markers, &j->markers_n, BW_MARKERS_MAX, sizeof(*j->markers));
}
static void too_many_entries(struct bw_root *r)
{
	r->tail = one_too_many(r->tail, &r->tail_n, BW_TAIL_MAX, sizeof(*r->tail));
}
static void more_entries_than_steps(struct bw_root *r)
{
	r->tail = one_too_many(r->tail, &r->tail_n, (uint32_t)r->head, sizeof(*r->tail));
}
static void too_many_pointers(struct bw_root *r)
{
	r->levels[0].pointers = one_too_many(r->levels[0].pointers, &r->levels[0].n, BW_TOP_POINTERS_MAX,
					     sizeof(struct bw_pointer));
}
static void marker_text_too_long(struct bw_root *r)
{
	char *text = calloc(1, BW_MARKER_TEXT_MAX + 2);

	memset(text, 'x', BW_MARKER_TEXT_MAX + 1);
	free(r->jobs[0].markers[0].text);
	r->jobs[0].markers[0].text = text;
}
static void epoch_of_no_counter(struct bw_root *r) { r->producers[0].epoch = BW_COUNTER_MAX; }
static void commit_of_a_later_version(struct bw_root *r) { r->producers[0].last_version = r->version + 1; }
static void commit_at_a_later_time(struct bw_root *r) { r->producers[0].last_ms = r->time_ms + 1; }
static void last_step_without_a_batch(struct bw_root *r)
{
	r->producers[0].next = 0;
	r->producers[0].last_step = 1;
}

/* The digest is made right again, so that what follows it is reached. */
static void redigest(struct bw_root *r)
{
	r->digest = r->tail_digest;
	for (uint32_t i = 0; i < r->tail_n; i++)
		r->digest = bw_digest_next(r->digest, &r->tail[i]);
}
static void entry_of_a_stranger(struct bw_root *r)
{
	r->tail[5].producer[0] = 'x';
	redigest(r);
}
static void last_step_of_an_older_entry(struct bw_root *r) { r->producers[0].last_step = 0; }
static void seq_twice(struct bw_root *r)
{
	r->tail[5].seq--;
	redigest(r);
}
static void epoch_too_high(struct bw_root *r)
{
	r->tail[5].epoch = 2;
	redigest(r);
}

static const struct {
	void (*broken)(struct bw_root *r);
	const char *why;
} rules[] = {
	{time_below_zero, "time out of range"},
	{time_above_2_53, "time out of range"},
	{version_0, "version out of range"},
	{first_above_head, "not swept <= first <= head"},
	{swept_above_first, "not swept <= first <= head"},
	{too_many_changes, "too many changes"},
	{too_many_appends, "too many appends"},
	{change_of_no_kind, "a change is malformed"},
	{change_without_name, "a change is malformed"},
	{state_sum_of_a_change, "a change is malformed"},
	{producers_swapped, "producers out of order"},
	{owner_at_epoch_0, "a producer is malformed"},
	{next_above_head, "a producer is malformed"},
	{next_too_high, "more batches than steps"},
	{last_step_at_head, "a producer is malformed"},
	{state_sum_of_a_producer, "a producer is malformed"},
	{state_of_a_later_seq, "a producer is malformed"},
	{state_of_a_later_epoch, "a producer is malformed"},
	{epoch_of_no_counter, "a producer is malformed"},
	{commit_of_a_later_version, "a producer is malformed"},
	{commit_at_a_later_time, "a producer is malformed"},
	{last_step_without_a_batch, "a producer is malformed"},
	{too_many_producers, "too many producers"},
	{too_many_jobs, "too many jobs"},
	{too_many_markers, "a job is malformed"},
	{marker_text_too_long, "a marker is malformed"},
	{too_many_entries, "too many entries"},
	{more_entries_than_steps, "too many entries"},
	{too_many_pointers, "too many pointers"},
	{jobs_swapped, "jobs out of order"},
	{marker_above_head, "a marker is malformed"},
	{markers_swapped, "markers out of order"},
	{marker_without_text, "a marker is malformed"},
	{tail_shorter, "the tail does not begin where a leaf would"},
	{tail_off_a_leaf, "the tail does not begin where a leaf would"},
	{tail_of_other_steps, "an entry does not follow the one before"},
	{tail_with_a_gap, "an entry does not follow the one before"},
	{tail_with_a_wrong_sum, "an entry does not follow the one before"},
	{tail_with_a_falling_version, "an entry does not follow the one before"},
	{tail_with_a_falling_time, "an entry does not follow the one before"},
	{entry_of_a_later_version, "an entry is malformed"},
	{entry_with_footer_alone, "an entry is malformed"},
	{entry_seq_above_step, "an entry is malformed"},
	{bytes_wrong, "the sum of sizes does not end at the root's"},
	{digest_wrong, "the digest does not end at the root's"},
	{identity_wrong, "the digest does not end at the root's"},
	{pointer_not_aligned, "a pointer does not span a whole node"},
	{pointer_of_another_leaf, "a gap between pointers"},
	{pointer_missing, "a gap before the tail"},
	{pointer_twice, "a gap between pointers"},
	{too_many_levels, "too many levels"},
	{entry_of_a_stranger, "an entry of an unknown producer"},
	{last_step_of_an_older_entry, "a producer's last step is not its last entry"},
	{seq_twice, "a gap in a producer's seqs or epochs"},
	{epoch_too_high, "a gap in a producer's seqs or epochs"},
};

static void sound(struct bw_sample *s)
{
	const uint64_t markers[] = {10, 20};

	bw_sample_init(s, 4);
	bw_sample_grow(s, 300);
	bw_sample_state(s, "alpha", "state", 5);
	bw_sample_job(s, "job-a", markers, 2, "text");
	bw_sample_job(s, "job-b", markers, 0, "");
	bw_sample_changes(s);
	s->root->first = 10;
	s->root->swept = 5;
	cr_assert_null(bw_root_check(s->root));
}

Test(root_rules, what_breaks_one_is_told_by_it_and_never_encoded)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		struct bw_sample s;
		bw_auto_buf struct bw_buf out = {.max = 0};

		sound(&s);
		rules[i].broken(s.root);
		const char *why = bw_root_check(s.root);
		cr_assert_not_null(why, "number %zu: %s", i, rules[i].why);
		cr_assert_str_eq(why, rules[i].why);
		bw_buf_init(&out, BW_ROOT_RAW_MAX);
		cr_assert_eq(bw_root_encode(s.root, &out), -EINVAL);
		cr_assert_eq(out.len, 0);
		if (s.root->levels_n > BW_LEVELS_MAX)
			s.root->levels_n = 1;
		bw_sample_done(&s);
	}
}

/* I12, I4: what was swept may be gone from the index, what was not may not. */
Test(root_rules, I4_pointers_may_be_missing_below_swept_alone)
{
	struct bw_sample s;

	bw_sample_init(&s, 4);
	bw_sample_grow(&s, 128 * 5);	/* leaves 0, 1, 2, 3 and a tail of one leaf */
	struct bw_pointer *p = s.root->levels[0].pointers;
	cr_assert_eq(s.root->levels[0].n, 4);
	memmove(p, p + 2, 2 * sizeof(*p));
	s.root->levels[0].n = 2;
	s.root->first = 300;
	for (uint64_t swept = 250; swept <= 260; swept++) {
		s.root->swept = swept;
		cr_assert_eq(bw_root_check(s.root) == NULL, swept >= 256, "%d", (int)swept);
	}
	s.root->levels[0].n = 0;
	s.root->first = 600;
	for (uint64_t swept = 510; swept <= 514; swept++) {
		s.root->swept = swept;
		cr_assert_eq(bw_root_check(s.root) == NULL, swept >= 512, "%d", (int)swept);
	}
	bw_sample_done(&s);
}

/* Spans that touch each other are not enough: a pointer begins where its node could. */
Test(root_rules, pointers_of_higher_levels_are_aligned)
{
	struct bw_sample s;

	bw_sample_init(&s, 4);
	bw_sample_grow(&s, 128 * 100);
	struct bw_root *r = s.root;
	cr_assert(r->levels_n == 2 && r->levels[1].n == 1);
	r->levels[1].pointers[0].first += 128;
	r->levels[1].pointers[0].last += 128;
	memmove(r->levels[0].pointers, r->levels[0].pointers + 1,
		--r->levels[0].n * sizeof(struct bw_pointer));
	r->first = r->swept = 128;
	cr_assert_str_eq(bw_root_check(r), "a pointer does not span a whole node");
	bw_sample_done(&s);
}

Test(root_rules, version_1_is_empty)
{
	struct bw_sample s;

	bw_sample_init(&s, 4);
	cr_assert_null(bw_root_check(s.root));
	s.root->sealed = true;
	cr_assert_str_eq(bw_root_check(s.root), "version 1 is not empty");
	s.root->sealed = false;
	s.root->previous_xxh3 = 1;
	cr_assert_str_eq(bw_root_check(s.root), "version 1 is not empty");
	s.root->previous_xxh3 = 0;
	s.root->tail_digest = s.root->digest = 1;
	cr_assert_str_eq(bw_root_check(s.root), "the digest does not begin at 0");
	bw_sample_done(&s);
}
