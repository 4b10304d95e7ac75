/* SPDX-License-Identifier: Apache-2.0 */
/* I14: a version that says of anything else than the changes in it make of the one before is a contradiction, field by field. */
#include "manifest/apply.h"
#include "tests/support/change.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 300u	/* a leaf is folded */

static struct bw_stream stream;
static struct bw_root *base;	/* p has STEPS batches and a state, q none; j has two markers, k has one */

static void commit(const struct bw_change *changes, uint32_t n)
{
	struct bw_root *next = bw_test_apply(&stream, base, changes, n, 7);

	bw_root_unref(base);
	base = next;
}

static void append_steps(uint64_t from, uint64_t to)
{
	for (uint64_t seq = from; seq < to; seq++) {
		struct bw_change c = bw_test_append("p", 1, 1, seq, seq + 1);

		if (seq % 100 == 99)
			bw_test_state(&c, "a cursor");
		commit(&c, 1);
		bw_change_done(&c);
	}
}

static void start(void)
{
	struct bw_change c[] = {bw_test_fence("p", 1), bw_test_fence("q", 2), bw_test_change(BW_CHANGE_JOB, "j"),
				bw_test_step(BW_CHANGE_MARK, "j", 0), bw_test_change(BW_CHANGE_JOB, "k"),
				bw_test_step(BW_CHANGE_MARK, "k", 0)};
	struct bw_change mark = bw_test_step(BW_CHANGE_MARK, "j", 5);
	struct bw_root *first;

	bw_test_stream(&stream, 4);
	cr_assert_eq(bw_root_first(&stream, &first), 0);
	base = bw_test_stored(&stream, first, NULL);
	bw_root_unref(first);
	commit(c, sizeof(c) / sizeof(c[0]));
	append_steps(0, STEPS);
	mark.text = strdup("text");
	commit(&mark, 1);
	bw_change_done(&mark);
	cr_assert(base->levels[0].n && base->producers[0].state && base->jobs[0].markers_n == 2);
}

static void end(void)
{
	bw_root_unref(base);
}

TestSuite(apply_check, .init = start, .fini = end);

static struct bw_entry *newest_entry(struct bw_root *r)
{
	return &r->tail[r->tail_n - 1];
}

static void is_earlier(struct bw_root *r) { r->time_ms = base->time_ms - 1; }
static void first_falls(struct bw_root *r) { r->first = base->first - 1; }
static void first_moves(struct bw_root *r) { r->first++; }
static void swept_moves(struct bw_root *r) { r->swept++; }
static void head_stays(struct bw_root *r) { r->head--; }
static void head_falls(struct bw_root *r) { r->head = base->head - 1; }
static void bytes_grow(struct bw_root *r) { r->bytes++; }
static void bytes_fall(struct bw_root *r) { r->bytes = base->bytes - 1; }
static void is_sealed(struct bw_root *r) { r->sealed = true; }
static void other_digest(struct bw_root *r) { r->digest++; }
static void other_tail_digest(struct bw_root *r) { r->tail_digest++; }
static void other_past(struct bw_root *r) { r->previous_xxh3++; }
static void other_stream(struct bw_root *r) { r->stream_id[15]++; }
static void producer_goes(struct bw_root *r) { r->producers_n--; }
static void producer_has_another_name(struct bw_root *r) { r->producers[1].name[0]++; }
static void epoch_rises(struct bw_root *r) { r->producers[1].epoch++; }
static void epoch_falls(struct bw_root *r) { r->producers[1].epoch--; }
static void owner_changes(struct bw_root *r) { r->producers[1].owner[15]++; }
static void next_rises(struct bw_root *r) { r->producers[0].next++; }
static void next_falls(struct bw_root *r) { r->producers[0].next = 1; }
static void last_step_changes(struct bw_root *r) { r->producers[0].last_step--; }
static void last_time_changes(struct bw_root *r) { r->producers[0].last_ms--; }
static void last_version_changes(struct bw_root *r) { r->producers[0].last_version--; }
static void state_goes(struct bw_root *r) { r->producers[0].has_state = false; }
static void state_changes(struct bw_root *r) { r->producers[0].state[0]++; }
static void state_has_another_sum(struct bw_root *r) { r->producers[0].state_xxh3++; }
static void state_is_shorter(struct bw_root *r) { r->producers[0].state_len--; }
static void state_of_another_seq(struct bw_root *r) { r->producers[0].state_seq--; }
static void state_of_another_epoch(struct bw_root *r) { r->producers[0].state_epoch++; }
static void state_of_another_batch(struct bw_root *r) { r->producers[0].state_nonce++; }
static void job_goes(struct bw_root *r) { r->jobs_n--; }
static void job_has_another_name(struct bw_root *r) { r->jobs[0].name[0]++; }
static void marker_goes(struct bw_root *r) { r->jobs[0].markers_n--; }
static void changes_that_do_not_apply(struct bw_root *r) { r->changes[0].seq++; }
static void marker_of_another_job_moves(struct bw_root *r) { r->jobs[1].markers[0].step++; }
static void older_marker_moves(struct bw_root *r) { r->jobs[0].markers[0].step++; }
static void marker_moves(struct bw_root *r) { r->jobs[0].markers[1].step++; }
static void marker_says_something_else(struct bw_root *r) { r->jobs[0].markers[1].text[3]++; }
static void entry_of_another_producer(struct bw_root *r) { newest_entry(r)->producer[0]++; }
static void entry_of_another_epoch(struct bw_root *r) { newest_entry(r)->epoch++; }
static void entry_of_another_seq(struct bw_root *r) { newest_entry(r)->seq--; }
static void entry_of_another_object(struct bw_root *r) { newest_entry(r)->nonce++; }
static void entry_of_another_size(struct bw_root *r) { newest_entry(r)->size++; }
static void entry_of_other_bytes(struct bw_root *r) { newest_entry(r)->raw++; }
static void entry_elsewhere(struct bw_root *r) { newest_entry(r)->before++; }
static void entry_with_another_footer(struct bw_root *r) { newest_entry(r)->footer_xxh3++; }
static void entry_with_a_longer_footer(struct bw_root *r) { newest_entry(r)->footer_len++; }
static void entry_of_another_version(struct bw_root *r) { newest_entry(r)->version--; }
static void entry_of_another_time(struct bw_root *r) { newest_entry(r)->time_ms--; }
static void entry_of_the_past_changes(struct bw_root *r) { r->tail[0].nonce++; }
static void entry_goes(struct bw_root *r) { r->tail_n--; }
static void pointer_changes(struct bw_root *r) { r->levels[0].pointers[0].hash++; }
static void pointer_spans_more(struct bw_root *r) { r->levels[0].pointers[0].last++; }
static void pointer_spans_less(struct bw_root *r) { r->levels[0].pointers[0].first++; }
static void pointer_goes(struct bw_root *r) { r->levels[0].n--; }

#define ROW(name, far) {name, #name, far}
static const struct {
	void (*change)(struct bw_root *r);
	const char *name;
	bool far;	/* seen from further back as well */
} rows[] = {
	ROW(is_earlier, true), ROW(first_falls, false), ROW(first_moves, false), ROW(swept_moves, false),
	ROW(head_stays, false), ROW(head_falls, true), ROW(bytes_grow, false), ROW(bytes_fall, true),
	ROW(is_sealed, false), ROW(other_digest, false), ROW(other_tail_digest, true), ROW(other_past, false),
	ROW(other_stream, true), ROW(producer_goes, true), ROW(producer_has_another_name, true),
	ROW(epoch_rises, false), ROW(epoch_falls, true), ROW(owner_changes, true), ROW(next_rises, false),
	ROW(next_falls, true), ROW(last_step_changes, false), ROW(last_time_changes, false),
	ROW(last_version_changes, false), ROW(state_goes, false), ROW(state_changes, false),
	ROW(state_has_another_sum, false), ROW(state_is_shorter, false), ROW(state_of_another_seq, false),
	ROW(state_of_another_epoch, false), ROW(state_of_another_batch, false), ROW(job_goes, false),
	ROW(job_has_another_name, false), ROW(marker_goes, false), ROW(marker_moves, false),
	ROW(older_marker_moves, false), ROW(marker_of_another_job_moves, false), ROW(changes_that_do_not_apply, false),
	ROW(marker_says_something_else, false), ROW(entry_of_another_producer, false),
	ROW(entry_of_another_epoch, false), ROW(entry_of_another_seq, false), ROW(entry_of_another_object, false),
	ROW(entry_of_another_size, false), ROW(entry_of_other_bytes, false), ROW(entry_elsewhere, false),
	ROW(entry_with_another_footer, false), ROW(entry_with_a_longer_footer, false),
	ROW(entry_of_another_version, false), ROW(entry_of_another_time, false),
	ROW(entry_of_the_past_changes, true), ROW(entry_goes, false), ROW(pointer_changes, false),
	ROW(pointer_spans_more, false), ROW(pointer_spans_less, false), ROW(pointer_goes, false),
};

/* The next version with another batch. */
static struct bw_root *next_of(const struct bw_root *r)
{
	struct bw_change c = bw_test_append("p", 1, 1, r->producers[0].next, 5000);

	return bw_test_apply(&stream, r, &c, 1, 9);
}

/* What a row has taken out of it is freed as well. */
static void drop(struct bw_root *r)
{
	r->producers_n = base->producers_n;
	r->jobs_n = base->jobs_n;
	r->jobs[0].markers_n = base->jobs[0].markers_n;
	bw_root_unref(r);
}

Test(apply_check, I14_each_field_of_the_next_version_is_checked)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bw_root *next = next_of(base);

		cr_assert_eq(bw_apply_check(&stream, base, next), 0);
		rows[i].change(next);
		cr_assert_eq(bw_apply_check(&stream, base, next), -BW_E_CONTRADICTION, "%s", rows[i].name);
		drop(next);
	}
}

Test(apply_check, I14_what_may_not_change_is_checked_across_a_gap)
{
	struct bw_root *between = next_of(base);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bw_root *next = next_of(between);

		cr_assert_eq(bw_apply_check(&stream, base, next), 0);
		rows[i].change(next);
		if (rows[i].far)
			cr_assert_eq(bw_apply_check(&stream, base, next), -BW_E_CONTRADICTION, "%s", rows[i].name);
		drop(next);
	}
	bw_root_unref(between);
}

/* What is reclaimed does not come back, and a sealed stream stays as it is. */
Test(apply_check, I14_nothing_goes_back_across_a_gap)
{
	struct bw_root *between = next_of(base), *next = next_of(between);

	base->first = 5;
	next->first = 4;
	cr_assert_eq(bw_apply_check(&stream, base, next), -BW_E_CONTRADICTION);
	next->first = 5;
	cr_assert_eq(bw_apply_check(&stream, base, next), 0);
	base->swept = 3;
	next->swept = 2;
	cr_assert_eq(bw_apply_check(&stream, base, next), -BW_E_CONTRADICTION);
	next->swept = 3;
	cr_assert_eq(bw_apply_check(&stream, base, next), 0);
	base->sealed = next->sealed = true;
	cr_assert_eq(bw_apply_check(&stream, base, next), -BW_E_CONTRADICTION, "steps behind the end");
	bw_root_unref(next);
	bw_root_unref(between);
}

Test(apply_check, I14_an_end_is_for_good)
{
	struct bw_change job = bw_test_change(BW_CHANGE_JOB, "l");
	struct bw_root *between = bw_test_apply(&stream, base, &job, 1, 9);

	job.name[0]++;
	struct bw_root *next = bw_test_apply(&stream, between, &job, 1, 9);

	base->sealed = next->sealed = true;
	cr_assert_eq(bw_apply_check(&stream, base, next), 0);
	next->sealed = false;
	cr_assert_eq(bw_apply_check(&stream, base, next), -BW_E_CONTRADICTION);
	bw_root_unref(next);
	bw_root_unref(between);
}
