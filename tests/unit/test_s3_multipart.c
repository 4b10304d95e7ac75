/* SPDX-License-Identifier: Apache-2.0 */
/* The course of an upload in parts against a scripted store. */
#include "tests/unit/s3_multipart_world.h"

/* ---- What goes well ------------------------------------------------------------------------- */

Test(s3_multipart, parts_of_all_bytes_then_the_list_of_them)
{
	struct world w;

	world_init(&w, 12 * MIB + 1, true);
	w.op.deadline_ns = bw_now() + 100 * BW_SEC;
	cr_assert_eq(put(&w), BW_OK);
	cr_assert_eq(w.asked[PART], 2);
	cr_assert_eq(w.sent, 12 * MIB + 1);
	cr_assert_eq(w.asked[BEGIN], 1);
	cr_assert_eq(w.asked[COMPLETE], 1);
	cr_assert_eq(w.asked[ABORT], 0);
	cr_assert(w.if_absent_sent);
	cr_assert(w.is_deadline_of_op);
	cr_assert(strstr(w.list, "<Part><PartNumber>1</PartNumber><ETag>&quot;e1&quot;</ETag></Part>"
				 "<Part><PartNumber>2</PartNumber><ETag>&quot;e2&quot;</ETag></Part></C"));
	world_done(&w);
}

Test(s3_multipart, four_parts_of_it_in_memory_at_a_time)
{
	struct world w;

	world_init(&w, 64 * MIB, false);
	cr_assert_eq(put(&w), BW_OK);
	cr_assert_eq(w.asked[PART], 8);
	cr_assert_eq(w.sent, 64 * MIB);
	cr_assert_leq(w.parts_most, SLOTS);
	cr_assert_gt(w.parts_most, 1, "they go side by side");
	cr_assert_not(w.if_absent_sent);
	world_done(&w);
}

Test(s3_multipart, part_sizes_grow_so_that_ten_thousand_are_enough)
{
	cr_assert_eq(part_size_of(64 * MIB, 8 * MIB), 8 * MIB);
	cr_assert_eq(part_size_of(64 * MIB, 1), 5 * MIB, "no store takes smaller ones");
	for (uint64_t size = 70000 * MIB; size < 40000000 * MIB; size = size * 3 / 2 + 12345) {
		uint64_t part = part_size_of(size, 8 * MIB);
		cr_assert_leq((size + part - 1) / part, PARTS_MAX);
		cr_assert(part == 8 * MIB || (size + part - MIB - 1) / (part - MIB) >= PARTS_MAX);
	}
	cr_assert_eq(part_size_of(80000 * MIB, 8 * MIB), 9 * MIB);
	cr_assert_eq(part_size_of(PARTS_MAX * PART_MAX - 1, 8 * MIB), PART_MAX);
	cr_assert_eq(part_size_of(PARTS_MAX * PART_MAX, 8 * MIB), 0);
	cr_assert_eq(part_size_of(60000000 * MIB, 8 * MIB), 0);
}

Test(s3_multipart, larger_than_any_object_is_refused)
{
	struct world w;

	world_init(&w, 60000000 * MIB, false);
	cr_assert_eq(put(&w), BW_FULL);
	cr_assert_eq(w.op.err, -EFBIG);
	cr_assert_eq(w.asked[BEGIN], 0);
	world_done(&w);
}

/* ---- Parts that fail ------------------------------------------------------------------------ */

static struct answer twice(struct world *w, enum step step, unsigned nth, unsigned part)
{
	static const enum bw_outcome outcomes[] = {BW_UNREACHABLE, BW_THROTTLED, BW_UNKNOWN};

	if (step == PART && part % 2 && nth < TRIES)
		return (struct answer){.outcome = outcomes[(part + nth + w->number) % 3]};
	return (struct answer){.outcome = BW_OK};
}

Test(s3_multipart, a_part_is_tried_three_times)
{
	struct world w;

	for (unsigned i = 0; i < 3; i++) {
		world_init(&w, 40 * MIB, true);
		w.script = twice;
		w.number = i;
		cr_assert_eq(put(&w), BW_OK);
		cr_assert_eq(w.sent, 40 * MIB);
		for (unsigned part = 1; part <= 5; part++)
			cr_assert_eq(w.tries[part], part % 2 ? 3 : 1);
		cr_assert_leq(w.bytes_most, SLOTS * 8 * MIB);
		world_done(&w);
	}
}

static const struct {
	struct answer answer;
	enum bw_outcome outcome;
	unsigned tries;
} part_ends[] = {
	{{.outcome = BW_UNREACHABLE}, BW_UNREACHABLE, 3},
	{{.outcome = BW_UNKNOWN}, BW_UNREACHABLE, 3},	/* of the object nothing was applied */
	{{.outcome = BW_CORRUPT}, BW_UNREACHABLE, 3},
	{{.outcome = BW_THROTTLED}, BW_THROTTLED, 3},
	{{.outcome = BW_DENIED, .status = 403}, BW_DENIED, 1},
	{{.outcome = BW_FULL}, BW_FULL, 1},
	{{.outcome = BW_NOT_FOUND, .code = "NoSuchBucket"}, BW_NOT_FOUND, 1},
	{{.outcome = BW_NOT_FOUND, .code = "NoSuchUpload"}, BW_UNREACHABLE, 1},
	{{.outcome = BW_UNKNOWN, .code = "NoSuchUpload"}, BW_UNREACHABLE, 1},
	{{.outcome = BW_CANCELLED}, BW_CANCELLED, 1},
};

static struct answer part_ends_so(struct world *w, enum step step, unsigned nth, unsigned part)
{
	(void)nth;
	return step == PART && part == 3 ? part_ends[w->number].answer : (struct answer){.outcome = BW_OK};
}

Test(s3_multipart, a_part_that_cannot_be_sent_fails_the_put_and_aborts)
{
	struct world w;

	for (unsigned i = 0; i < sizeof(part_ends) / sizeof(part_ends[0]); i++) {
		world_init(&w, 64 * MIB, true);
		w.script = part_ends_so;
		w.number = i;
		cr_assert_eq(put(&w), part_ends[i].outcome, "row %u: %s", i,
			     bw_outcome_name(w.op.outcome));
		cr_assert_eq(w.tries[3], part_ends[i].tries, "row %u", i);
		cr_assert_eq(w.asked[COMPLETE], 0);
		cr_assert_eq(w.asked[ABORT], 1);
		world_done(&w);
	}
}

Test(s3_multipart, a_body_that_fails_is_not_read_again)
{
	struct world w;

	world_init(&w, 64 * MIB, true);
	w.fail_from = 20 * MIB;		/* within part 3 */
	cr_assert_eq(put(&w), BW_UNREACHABLE);
	cr_assert_eq(w.op.err, -EIO);
	cr_assert_eq(w.tries[3], 1);
	cr_assert_eq(w.asked[COMPLETE], 0);
	cr_assert_eq(w.asked[ABORT], 1);
	world_done(&w);
}

/* A store that asks for more time than there is ends the put before its deadline, not behind it. */
static struct answer much_later(struct world *w, enum step step, unsigned nth, unsigned part)
{
	(void)w, (void)nth, (void)part;
	if (step != PART)
		return (struct answer){.outcome = BW_OK};
	return (struct answer){.outcome = BW_THROTTLED, .retry_after_ns = 3600 * BW_SEC};
}

Test(s3_multipart, no_pause_goes_beyond_the_deadline)
{
	struct world w;

	world_init(&w, 16 * MIB, false);
	w.script = much_later;
	w.op.deadline_ns = bw_now() + 600 * BW_SEC;
	cr_assert_eq(put(&w), BW_THROTTLED);
	cr_assert_eq(w.tries[1], 1);
	cr_assert_eq(w.asked[ABORT], 1);
	world_done(&w);
}

/* ---- Beginnings and ends that fail ------------------------------------------------------------ */

static const struct {
	struct answer answer;
	enum bw_outcome outcome;
} begins[] = {
	{{.outcome = BW_UNKNOWN}, BW_UNREACHABLE},
	{{.outcome = BW_UNREACHABLE}, BW_UNREACHABLE},
	{{.outcome = BW_THROTTLED}, BW_THROTTLED},
	{{.outcome = BW_DENIED}, BW_DENIED},
	{{.outcome = BW_OK, .body = "<html/>"}, BW_UNREACHABLE},
	{{.outcome = BW_OK, .body = ""}, BW_UNREACHABLE},
};

static struct answer begins_so(struct world *w, enum step step, unsigned nth, unsigned part)
{
	(void)nth, (void)part;
	return step == BEGIN ? begins[w->number].answer : (struct answer){.outcome = BW_OK};
}

Test(s3_multipart, nothing_was_applied_when_it_cannot_begin)
{
	struct world w;

	for (unsigned i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
		world_init(&w, 16 * MIB, false);
		w.script = begins_so;
		w.number = i;
		cr_assert_eq(put(&w), begins[i].outcome, "row %u", i);
		cr_assert_eq(w.asked[PART] + w.asked[COMPLETE] + w.asked[ABORT], 0);
		world_done(&w);
	}
}

#define ERROR(code) "<?xml version=\"1.0\"?>\n <Error><Code>" code "</Code></Error>"

static const struct {
	struct answer answer;
	enum bw_outcome outcome;
	unsigned asked, aborts;
} completes[] = {
	{{.outcome = BW_UNKNOWN}, BW_UNKNOWN, 1, 0},	/* a lost reply: an abort might race with it */
	{{.outcome = BW_NOT_FOUND, .status = 404, .code = "NoSuchUpload"}, BW_UNKNOWN, 1, 0},
	{{.outcome = BW_DENIED, .status = 404, .code = "NoSuchUpload"}, BW_UNKNOWN, 1, 0},
	{{.outcome = BW_EXISTS, .status = 412, .code = "PreconditionFailed"}, BW_EXISTS, 1, 1},
	{{.outcome = BW_OK, .body = ERROR("PreconditionFailed")}, BW_EXISTS, 1, 1},
	{{.outcome = BW_OK, .body = ERROR("InternalError")}, BW_UNKNOWN, 1, 0},
	{{.outcome = BW_OK, .body = ERROR("NoSuchUpload")}, BW_UNKNOWN, 1, 0},
	{{.outcome = BW_OK, .body = ERROR("InvalidPart")}, BW_UNREACHABLE, 1, 1},
	{{.outcome = BW_OK, .body = ""}, BW_UNKNOWN, 1, 0},
	{{.outcome = BW_OK, .body = "<CompleteMultipartUploadResult>"}, BW_UNKNOWN, 1, 0},
	{{.outcome = BW_CORRUPT, .status = 200}, BW_UNKNOWN, 1, 0},
	{{.outcome = BW_DENIED, .status = 400, .code = "InvalidPart"}, BW_UNREACHABLE, 1, 1},
	{{.outcome = BW_DENIED, .status = 403, .code = "AccessDenied"}, BW_DENIED, 1, 1},
	{{.outcome = BW_FULL, .status = 403, .code = "QuotaExceeded"}, BW_FULL, 1, 1},
	{{.outcome = BW_UNKNOWN, .status = 409, .code = "ConditionalRequestConflict"}, BW_THROTTLED, 1, 1},
	{{.outcome = BW_UNKNOWN, .status = 409, .code = "Other"}, BW_UNKNOWN, 1, 0},
	{{.outcome = BW_THROTTLED, .status = 503, .code = "SlowDown"}, BW_THROTTLED, 3, 1},
	{{.outcome = BW_UNREACHABLE}, BW_UNREACHABLE, 3, 1},
	{{.outcome = BW_CANCELLED}, BW_CANCELLED, 1, 1},
};

static struct answer completes_so(struct world *w, enum step step, unsigned nth, unsigned part)
{
	(void)nth, (void)part;
	return step == COMPLETE ? completes[w->number].answer : (struct answer){.outcome = BW_OK};
}

/* The outcome is what is known of the object; the parts are not sent again for any of it. */
Test(s3_multipart, what_became_of_the_completion)
{
	struct world w;

	for (unsigned i = 0; i < sizeof(completes) / sizeof(completes[0]); i++) {
		world_init(&w, 16 * MIB, true);
		w.script = completes_so;
		w.number = i;
		cr_assert_eq(put(&w), completes[i].outcome, "row %u: %s", i,
			     bw_outcome_name(w.op.outcome));
		cr_assert_eq(w.asked[PART], 2, "row %u", i);
		cr_assert_eq(w.asked[COMPLETE], completes[i].asked, "row %u", i);
		cr_assert_eq(w.asked[ABORT], completes[i].aborts, "row %u", i);
		world_done(&w);
	}
}

static struct answer completes_at_last(struct world *w, enum step step, unsigned nth, unsigned part)
{
	(void)w, (void)part;
	return (struct answer){.outcome = step == COMPLETE && nth < 3 ? BW_THROTTLED : BW_OK};
}

Test(s3_multipart, a_completion_that_was_not_applied_is_sent_again)
{
	struct world w;

	world_init(&w, 16 * MIB, true);
	w.script = completes_at_last;
	cr_assert_eq(put(&w), BW_OK);
	cr_assert_eq(w.asked[COMPLETE], 3);
	cr_assert_eq(w.asked[PART], 2);
	cr_assert_eq(w.asked[ABORT], 0);
	world_done(&w);
}

/* An abort that fails changes nothing of what is said. */
static struct answer abort_fails(struct world *w, enum step step, unsigned nth, unsigned part)
{
	(void)w, (void)nth, (void)part;
	if (step == ABORT)
		return (struct answer){.outcome = BW_UNKNOWN};
	return (struct answer){.outcome = step == PART ? BW_DENIED : BW_OK};
}

Test(s3_multipart, abort_is_tried_once)
{
	struct world w;

	world_init(&w, 16 * MIB, true);
	w.script = abort_fails;
	cr_assert_eq(put(&w), BW_DENIED);
	cr_assert_eq(w.asked[ABORT], 1);
	world_done(&w);
}

/* ---- Cancel --------------------------------------------------------------------------------- */

static struct answer held_at(struct world *w, enum step step, unsigned nth, unsigned part)
{
	(void)nth, (void)part;
	return (struct answer){.outcome = BW_OK, .held = step == (enum step)w->number};
}

Test(s3_multipart, cancelled_while_parts_are_on_their_way)
{
	struct world w;

	world_init(&w, 64 * MIB, true);
	w.script = held_at;
	w.number = PART;
	begin(&w);
	wait_asked(&w, PART, 4);
	cancel(&w);
	cancel(&w);
	cr_assert_eq(end(&w), BW_CANCELLED);
	cr_assert_eq(w.asked[PART], 4);
	cr_assert_eq(w.asked[COMPLETE], 0);
	cr_assert_eq(w.asked[ABORT], 2, "once more for parts that arrive behind it");
	world_done(&w);
}

Test(s3_multipart, cancelled_at_its_beginning)
{
	struct world w;

	world_init(&w, 64 * MIB, true);
	w.script = held_at;
	w.number = BEGIN;
	begin(&w);
	wait_asked(&w, BEGIN, 1);
	cancel(&w);
	bw_lock(&w.lock);
	w.let_go = true;	/* only its answer tells what there is to abort */
	bw_unlock(&w.lock);
	cr_assert_eq(end(&w), BW_CANCELLED);
	cr_assert_eq(w.asked[PART], 0);
	cr_assert_eq(w.asked[ABORT], 1);
	world_done(&w);
}

Test(s3_multipart, cancelled_while_it_completes_is_unknown)
{
	struct world w;

	world_init(&w, 16 * MIB, true);
	w.script = held_at;
	w.number = COMPLETE;
	begin(&w);
	wait_asked(&w, COMPLETE, 1);
	cancel(&w);
	cr_assert_eq(end(&w), BW_UNKNOWN);
	cr_assert_eq(w.asked[ABORT], 0);
	world_done(&w);
}

static struct answer long_pause(struct world *w, enum step step, unsigned nth, unsigned part)
{
	(void)nth, (void)part;
	if (step == (enum step)w->number)
		return (struct answer){.outcome = BW_THROTTLED, .retry_after_ns = 3600 * BW_SEC};
	return (struct answer){.outcome = BW_OK};
}

/* Until both parts, or the completion, are to be sent again later. */
static void wait_pause(struct world *w, enum step step)
{
	for (bool pauses = false; !pauses;) {
		BW_LOCK_SCOPE(&w->s3.lock);
		const struct bw_s3_upload *u =
			(struct bw_s3_upload *)((char *)w->s3.jobs - offsetof(struct bw_s3_upload, job));

		pauses = step == PART ? u->slots[0].again.run && u->slots[1].again.run : !u->completing;
	}
}

Test(s3_multipart, cancelled_during_a_pause_does_not_sit_it_out)
{
	struct world w;

	for (unsigned step = PART; step <= COMPLETE; step++) {
		world_init(&w, 16 * MIB, true);
		w.script = long_pause;
		w.number = step;
		begin(&w);
		wait_asked(&w, step, 1);
		wait_pause(&w, step);
		cancel(&w);
		cr_assert_eq(end(&w), BW_CANCELLED, "%s", bw_outcome_name(w.op.outcome));
		cr_assert_eq(w.asked[ABORT], 1);
		world_done(&w);
	}
}

/* ---- Memory --------------------------------------------------------------------------------- */

/* Stands for other uploads that have it all. */
static void take_all(struct world *w, uint64_t bytes)
{
	BW_LOCK_SCOPE(&w->s3.lock);
	w->s3.part_bytes += bytes;
}

static void give_all(struct world *w, uint64_t bytes)
{
	BW_LOCK_SCOPE(&w->s3.lock);
	give_bytes_locked(&w->s3, bytes);
}

static void wait_in_line(struct world *w)
{
	for (;;) {
		bw_lock(&w->s3.lock);
		bool there = w->s3.uploads_waiting != NULL;
		bw_unlock(&w->s3.lock);
		if (there)
			return;
		bw_sleep(BW_MS);
	}
}

Test(s3_multipart, waits_for_memory)
{
	struct world w;

	world_init(&w, 64 * MIB, true);
	take_all(&w, BW_S3_PARTS_MEMORY - 8 * MIB);
	begin(&w);
	wait_in_line(&w);
	give_all(&w, BW_S3_PARTS_MEMORY - 8 * MIB);
	cr_assert_eq(end(&w), BW_OK);
	world_done(&w);

	/* One part at a time is enough to come to an end. */
	world_init(&w, 64 * MIB, true);
	take_all(&w, BW_S3_PARTS_MEMORY - 8 * MIB);
	cr_assert_eq(put(&w), BW_OK);
	cr_assert_eq(w.parts_most, 1);
	give_all(&w, BW_S3_PARTS_MEMORY - 8 * MIB);
	world_done(&w);
}

Test(s3_multipart, waits_for_memory_until_its_deadline_or_a_cancel)
{
	struct world w;

	for (int i = 0; i < 2; i++) {
		world_init(&w, 64 * MIB, true);
		take_all(&w, BW_S3_PARTS_MEMORY);
		w.op.deadline_ns = i ? BW_NEVER : bw_now() + 50 * BW_MS;
		begin(&w);
		wait_asked(&w, BEGIN, 1);
		if (i)
			cancel(&w);
		cr_assert_eq(end(&w), BW_CANCELLED);
		cr_assert_eq(w.asked[PART], 0);
		cr_assert_eq(w.asked[ABORT], 1);
		give_all(&w, BW_S3_PARTS_MEMORY);
		world_done(&w);
	}
}

/* Of many at once each comes to its end, within the bound. */
#define MANY 8

static void on_done_of_many(struct bw_op *op)
{
	struct world *w = op->ctx;

	BW_LOCK_SCOPE(&w->lock);
	w->number++;
	bw_cond_broadcast(&w->changed);
}

static void share(uint64_t memory)
{
	struct bw_op ops[MANY];
	struct world w;

	world_init(&w, 96 * MIB, true);
	w.s3.part_size = 24 * MIB;
	w.s3.parts_memory = memory;
	for (int i = 0; i < MANY; i++) {
		ops[i] = w.op;
		ops[i].done = on_done_of_many;
		bw_gate_enter(&w.s3.gate);
		fake_multipart_put(&w.s3, &ops[i]);
	}
	bw_lock(&w.lock);
	while (w.number < MANY)
		bw_cond_wait(&w.changed, &w.lock);
	bw_unlock(&w.lock);
	for (int i = 0; i < MANY; i++)
		cr_assert_eq(ops[i].outcome, BW_OK);
	cr_assert_leq(w.bytes_most, memory < 24 * MIB ? 24 * MIB : memory);
	cr_assert_eq(w.asked[PART], 4 * MANY);
	world_done(&w);
}

Test(s3_multipart, S6_uploads_share_the_memory)
{
	share(BW_S3_PARTS_MEMORY);
	share(50 * MIB);
	share(1);	/* one at a time */
}

/* There is memory for the second in line, and none will be given back to tell it so. */
Test(s3_multipart, S6_whoever_stands_behind_one_that_gives_up_goes, .timeout = 60)
{
	struct bw_op small;
	struct world w;

	world_init(&w, 16 * MIB, true);
	w.s3.parts_memory = 10 * MIB;
	take_all(&w, 4 * MIB);
	begin(&w);
	wait_in_line(&w);
	struct bw_s3_job *first = w.s3.jobs;

	w.s3.part_size = 5 * MIB;
	small = w.op;
	small.done = on_done_of_many;
	bw_gate_enter(&w.s3.gate);
	fake_multipart_put(&w.s3, &small);
	for (bool waits = false; !waits;) {
		BW_LOCK_SCOPE(&w.s3.lock);
		waits = w.s3.uploads_waiting->wait_next;
	}
	bw_lock(&w.s3.lock);
	first->cancel_locked(first);
	bw_unlock(&w.s3.lock);
	cr_assert_eq(end(&w), BW_CANCELLED);
	cr_assert_eq(small.outcome, BW_OK, "%s", bw_outcome_name(small.outcome));
	cr_assert_eq(w.sent, 16 * MIB);
	give_all(&w, 4 * MIB);
	world_done(&w);
}
