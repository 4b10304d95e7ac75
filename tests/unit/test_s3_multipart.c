/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The course of an upload in parts against a scripted store: exchanges are stood in for by ones that ask the
 * test what the answer is, keep an account of what was sent, and answer on a thread of their own.
 */
#define bw_s3_job_begin fake_job_begin
#define bw_s3_job_end fake_job_end
#define bw_s3_op_end fake_op_end
#define bw_s3_op_fail_later fake_op_fail_later
#define bw_s3_exchange_start fake_start
#define bw_s3_exchange_cancel_locked fake_cancel_locked
#define bw_s3_exchange_clear fake_clear
#define bw_s3_exchange_to_op fake_to_op
#define bw_s3_multipart_put fake_multipart_put
#define bw_s3_early fake_early
#define bw_s3_early_put fake_early_put
#include "store/s3_multipart.c"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <sched.h>

#define MIB (UINT64_C(1) << 20)
#define ALL 10001	/* "of every part" */

enum step { BEGIN, PART, COMPLETE, ABORT };

struct world;

/* What the store does with the nth (from 1) request of its kind: 0 for all goes well. */
struct answer {
	enum bw_outcome outcome;
	int status;
	const char *code;
	const char *body;
	bool held;	/* no answer before the test lets go or the request is cancelled */
	int64_t retry_after_ns;
};

struct world {
	struct bw_s3 s3;
	struct bw_body body;
	uint64_t fail_from;	/* reads that reach it fail */
	struct bw_op op;
	struct bw_workq *answers;
	struct bw_mutex lock;	/* of what follows */
	struct bw_cond changed;
	bool done, let_go;
	unsigned asked[ABORT + 1];
	unsigned tries[ALL + 1];	/* of each part */
	unsigned parts_now, parts_most;
	uint64_t bytes_now, bytes_most, sent;
	char list[4096];
	bool if_absent_sent, is_deadline_of_op;
	struct answer (*script)(struct world *w, enum step step, unsigned nth, unsigned part);
	unsigned number;	/* the test's own */
};

static struct world *world_of(struct bw_s3 *s)
{
	return (struct world *)((char *)s - offsetof(struct world, s3));
}

/* ---- What stands in for s3.c and s3_exchange.c ------------------------------------------------ */

void fake_job_begin(struct bw_s3 *s, struct bw_s3_job *job, struct bw_op *op,
		    void (*cancel)(struct bw_s3_job *job))
{
	BW_LOCK_SCOPE(&s->lock);
	job->op = op;
	job->cancel_locked = cancel;
	s->jobs = job;
}

void fake_job_end(struct bw_s3 *s, struct bw_s3_job *job)
{
	BW_LOCK_SCOPE(&s->lock);
	s->jobs = s->jobs == job ? NULL : s->jobs;
}

void fake_op_end(struct bw_s3 *s, struct bw_op *op)
{
	op->done(op);
	bw_gate_leave(&s->gate);
}

static void run_fail(struct bw_task *task)
{
	struct bw_op *op = bw_op_of(task);

	fake_op_end(&((struct world *)op->ctx)->s3, op);
}

void fake_op_fail_later(struct bw_s3 *s, struct bw_op *op, enum bw_outcome outcome, int err)
{
	bw_op_fail(op, outcome, err);
	bw_op_queue(op, s->workers, run_fail, 0);
}

static enum step step_of(const struct bw_s3_exchange *x)
{
	if (!strcmp(x->call.method, "PUT"))
		return PART;
	if (!strcmp(x->call.method, "DELETE"))
		return ABORT;
	return strcmp(x->call.query, "uploads=") ? COMPLETE : BEGIN;
}

static unsigned part_of(const struct bw_s3_exchange *x)
{
	unsigned part = 0;

	if (step_of(x) == PART)
		cr_assert_eq(sscanf(x->call.query, "partNumber=%u&uploadId=2~%%2Fid", &part), 1);
	else if (step_of(x) != BEGIN)
		cr_assert_str_eq(x->call.query, "uploadId=2~%2Fid");
	return part;
}

static void set_body(struct bw_s3_exchange *x, const char *text)
{
	x->http.blob = bw_blob_copy(text, strlen(text));
}

static void answer_well(struct world *w, struct bw_s3_exchange *x)
{
	static const char begun[] = "<InitiateMultipartUploadResult><UploadId>2~/id</UploadId>"
				    "</InitiateMultipartUploadResult>";
	static const char completed[] = "<CompleteMultipartUploadResult/>";

	x->outcome = BW_OK;
	x->http.status = 200;
	if (step_of(x) == BEGIN)
		set_body(x, begun);
	if (step_of(x) == COMPLETE)
		set_body(x, completed);
	if (step_of(x) == PART) {
		snprintf(x->http.etag, sizeof(x->http.etag), "\"e%u\"", part_of(x));
		BW_LOCK_SCOPE(&w->lock);
		w->sent += x->bytes_len;
	}
}

static void check_bytes(struct bw_s3_exchange *x)
{
	for (size_t i = 0; i < x->bytes_len; i += 4093)
		cr_assert_eq(x->buf[i], (uint8_t)((x->from_off + i) * 7 + ((x->from_off + i) >> 16)));
}

static void account(struct world *w, struct bw_s3_exchange *x, int sign)
{
	if (step_of(x) != PART)
		return;
	BW_LOCK_SCOPE(&w->lock);
	w->parts_now += (unsigned)sign;
	w->bytes_now += (uint64_t)(sign * (int64_t)x->bytes_len);
	if (w->parts_now > w->parts_most)
		w->parts_most = w->parts_now;
	if (w->bytes_now > w->bytes_most)
		w->bytes_most = w->bytes_now;
}

static bool is_cancelled(struct bw_s3_exchange *x)
{
	BW_LOCK_SCOPE(&x->s->lock);
	return x->cancelled;
}

/* The fate of a held request. */
static void hold(struct world *w, struct bw_s3_exchange *x, struct answer *a)
{
	bw_lock(&w->lock);
	while (!w->let_go && !is_cancelled(x))
		bw_cond_wait_until(&w->changed, &w->lock, bw_now() + BW_MS);
	bw_unlock(&w->lock);
	if (!is_cancelled(x))
		return;
	x->http.end = BW_HTTP_LATE;
	a->outcome = BW_UNKNOWN;
}

static struct answer ask(struct world *w, struct bw_s3_exchange *x)
{
	enum step step = step_of(x);
	unsigned part = part_of(x);

	BW_LOCK_SCOPE(&w->lock);
	unsigned nth = ++w->asked[step];
	if (step == PART)
		nth = ++w->tries[part];
	if (step == COMPLETE) {
		snprintf(w->list, sizeof(w->list), "%.*s", (int)x->bytes_len, x->bytes);
		w->if_absent_sent = x->headers_n == 2 && !strcmp(x->headers[1].name, "if-none-match");
		cr_assert_eq(w->if_absent_sent, x->if_absent);
	}
	w->is_deadline_of_op &= step == ABORT || x->deadline_ns == w->op.deadline_ns;
	bw_cond_broadcast(&w->changed);
	return w->script ? w->script(w, step, nth, part) : (struct answer){.outcome = BW_OK};
}

static void run_answer(struct bw_task *task)
{
	struct bw_s3_exchange *x =
		(struct bw_s3_exchange *)((char *)task - offsetof(struct bw_s3_exchange, task));
	struct world *w = world_of(x->s);
	struct answer a = ask(w, x);
	int err = 0;

	if (x->from) {
		x->buf = malloc(x->bytes_len);
		err = x->from->read(x->from, x->from_off, x->buf, x->bytes_len);
		if (!err)
			check_bytes(x);
	}
	if (a.held)
		hold(w, x, &a);
	x->outcome = err ? BW_UNREACHABLE : a.outcome;
	x->err = err;
	x->http.status = a.status;
	x->http.retry_after_ns = a.retry_after_ns;
	snprintf(x->error.code, sizeof(x->error.code), "%s", a.code ? a.code : "");
	if (x->outcome == BW_OK)
		answer_well(w, x);
	if (a.body) {
		bw_blob_unref(x->http.blob);
		set_body(x, a.body);
	}
	bw_lock(&x->s->lock);
	x->state = BW_S3_AT_REST;
	bw_unlock(&x->s->lock);
	account(w, x, -1);
	x->done(x);
}

void fake_start(struct bw_s3_exchange *x)
{
	struct world *w = world_of(x->s);

	bw_lock(&x->s->lock);
	cr_assert_eq(x->state, BW_S3_AT_REST);
	x->state = BW_S3_LENT;
	x->cancelled = false;
	bw_unlock(&x->s->lock);
	account(w, x, 1);
	x->task = (struct bw_task){.run = run_answer};
	bw_workq_push(w->answers, &x->task);
}

void fake_cancel_locked(struct bw_s3_exchange *x)
{
	if (x->state == BW_S3_LENT)
		x->cancelled = true;
}

void fake_clear(struct bw_s3_exchange *x)
{
	free(x->buf);
	x->buf = NULL;
	bw_blob_unref(x->http.blob);
	x->http.blob = NULL;
}

void fake_to_op(const struct bw_s3_exchange *x, struct bw_op *op)
{
	op->outcome = x->outcome;
	op->err = x->err;
}

/* ---- A world -------------------------------------------------------------------------------- */

static int read_body(struct bw_body *body, uint64_t off, void *buf, size_t len)
{
	struct world *w = (struct world *)((char *)body - offsetof(struct world, body));
	uint8_t *to = buf;

	cr_assert_leq(off + len, body->size);
	if (off + len > w->fail_from)
		return -EIO;
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)((off + i) * 7 + ((off + i) >> 16));
	return 0;
}

static void on_done(struct bw_op *op)
{
	struct world *w = op->ctx;

	BW_LOCK_SCOPE(&w->lock);
	cr_assert_not(w->done, "done once");
	w->done = true;
	bw_cond_broadcast(&w->changed);
}

static void world_init(struct world *w, uint64_t size, bool if_absent)
{
	memset(w, 0, sizeof(*w));
	bw_gate_init(&w->s3.gate);
	bw_mutex_init(&w->s3.lock, BW_RANK_STORE);
	w->s3.part_size = 8 * MIB;
	w->s3.parts_memory = BW_S3_PARTS_MEMORY;
	bw_mutex_init(&w->lock, BW_RANK_FILTER);
	bw_cond_init(&w->changed);
	w->body = (struct bw_body){.size = size, .read = read_body};
	w->fail_from = UINT64_MAX;
	w->is_deadline_of_op = true;
	bw_op_put(&w->op, "data/key", &w->body, if_absent);
	w->op.done = on_done;
	w->op.ctx = w;
	cr_assert_eq(bw_workq_new("answers", 8, &w->answers), 0);
	cr_assert_eq(bw_workq_new("workers", 2, &w->s3.workers), 0);
}

static void world_done(struct world *w)
{
	bw_gate_wait(&w->s3.gate);
	cr_assert_eq(w->s3.part_bytes, 0, "all memory was given back");
	cr_assert_null(w->s3.uploads_waiting);
	bw_workq_free(w->answers);
	bw_workq_free(w->s3.workers);
	bw_cond_done(&w->changed);
	bw_mutex_done(&w->lock);
	bw_mutex_done(&w->s3.lock);
	bw_gate_done(&w->s3.gate);
}

static void begin(struct world *w)
{
	bw_gate_enter(&w->s3.gate);
	fake_multipart_put(&w->s3, &w->op);
}

static enum bw_outcome end(struct world *w)
{
	bw_lock(&w->lock);
	while (!w->done)
		bw_cond_wait(&w->changed, &w->lock);
	bw_unlock(&w->lock);
	bw_gate_wait(&w->s3.gate);	/* the abort too */
	return w->op.outcome;
}

static enum bw_outcome put(struct world *w)
{
	begin(w);
	return end(w);
}

static void cancel(struct world *w)
{
	BW_LOCK_SCOPE(&w->s3.lock);
	if (w->s3.jobs)
		w->s3.jobs->cancel_locked(w->s3.jobs);
}

static void wait_asked(struct world *w, enum step step, unsigned n)
{
	BW_LOCK_SCOPE(&w->lock);
	while (w->asked[step] < n)
		bw_cond_wait(&w->changed, &w->lock);
}

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

Test(s3_multipart, cancelled_during_a_pause_does_not_sit_it_out)
{
	struct world w;

	for (unsigned step = PART; step <= COMPLETE; step++) {
		world_init(&w, 16 * MIB, true);
		w.script = long_pause;
		w.number = step;
		begin(&w);
		wait_asked(&w, step, 1);
		bw_sleep(20 * BW_MS);	/* most likely it pauses by now; the test holds if not */
		cancel(&w);
		enum bw_outcome o = end(&w);
		cr_assert(o == BW_CANCELLED || o == BW_THROTTLED, "%s", bw_outcome_name(o));
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

/* ---- Early ones ----------------------------------------------------------------------------- */

static void count(void *ctx)
{
	atomic_fetch_add((atomic_uint *)ctx, 1);
}

/* False: the put has to do without it, and none was begun. */
static bool put_early(struct world *w, struct bw_early *e)
{
	w->op.early = e;
	bw_gate_enter(&w->s3.gate);
	if (fake_early_put(&w->s3, &w->op)) {
		cr_assert_null(w->op.early);
		return true;
	}
	cr_assert_null(w->op.early);
	bw_gate_leave(&w->s3.gate);
	return false;
}

Test(s3_multipart, early_parts_have_arrived_when_the_put_comes)
{
	atomic_uint released = 0;
	struct world w;

	world_init(&w, 20 * MIB + 100, true);
	w.is_deadline_of_op = false;
	struct bw_early *e = fake_early(&w.s3.store, "data/key", &w.body, count, &released);

	e->grow(e, 12 * MIB);
	cr_assert_eq(w.asked[BEGIN], 0, "as little goes in one piece");
	e->grow(e, 13 * MIB);
	wait_asked(&w, PART, 1);
	e->grow(e, 20 * MIB);
	wait_asked(&w, PART, 2);
	e->grow(e, 20 * MIB + 100);
	cr_assert_eq(w.asked[COMPLETE], 0);
	cr_assert(put_early(&w, e));
	cr_assert_eq(end(&w), BW_OK);
	cr_assert_eq(w.asked[BEGIN], 1);
	cr_assert_eq(w.asked[PART], 3);
	cr_assert_eq(w.sent, 20 * MIB + 100);
	cr_assert_eq(w.asked[ABORT], 0);
	cr_assert(w.if_absent_sent);
	cr_assert_eq(released, 1);
	world_done(&w);
}

Test(s3_multipart, early_parts_that_nobody_wants_are_aborted)
{
	for (unsigned mib = 0; mib < 40; mib += 6) {
		atomic_uint released = 0;
		struct world w;

		world_init(&w, 100 * MIB, true);
		struct bw_early *e = fake_early(&w.s3.store, "data/key", &w.body, count, &released);
		e->grow(e, mib * MIB);
		if (mib % 4 == 0 && mib > 12)
			wait_asked(&w, PART, 1);
		e->drop(e);
		bw_gate_wait(&w.s3.gate);
		cr_assert_eq(released, 1);
		cr_assert_eq(w.asked[COMPLETE], 0);
		cr_assert_eq(w.asked[BEGIN], mib > 12, "%u MiB", mib);
		cr_assert(mib <= 12 ? !w.asked[ABORT] : w.asked[ABORT] >= 1);
		world_done(&w);
	}
}

static struct answer first_try_denied(struct world *w, enum step step, unsigned nth, unsigned part)
{
	bool is_bad = nth == 1 && (w->number ? step == PART && part == w->number : step == BEGIN);

	return (struct answer){.outcome = is_bad ? BW_DENIED : BW_OK};
}

Test(s3_multipart, after_an_early_failure_the_put_sends_everything)
{
	for (unsigned bad = 0; bad < 3; bad++) {
		atomic_uint released = 0;
		struct world w;

		world_init(&w, 20 * MIB, true);
		w.script = first_try_denied;
		w.number = bad;
		struct bw_early *e = fake_early(&w.s3.store, "data/key", &w.body, count, &released);
		e->grow(e, 18 * MIB);
		for (bool failed = false; !failed;) {
			BW_LOCK_SCOPE(&w.s3.lock);
			failed = ((struct bw_s3_upload *)e)->failed;
		}
		cr_assert_not(put_early(&w, e));
		bw_gate_wait(&w.s3.gate);
		cr_assert_eq(released, 1);
		cr_assert_eq(w.asked[ABORT] >= 1, bad > 0);
		w.sent = 0;
		cr_assert_eq(put(&w), BW_OK);
		cr_assert_eq(w.sent, 20 * MIB);
		world_done(&w);
	}
}

/* Whoever comes first: the answers, more bytes, the put or a drop. */
Test(s3_multipart, early_ones_end_whenever_they_are_ended)
{
	struct bw_rng rng;

	bw_rng_init(&rng, 7);
	for (unsigned round = 0; round < 12; round++) {
		atomic_uint released = 0;
		uint64_t size = 14 * MIB + bw_rng_below(&rng, 12 * MIB), at = 0;
		struct world w;

		world_init(&w, size, false);
		w.s3.parts_memory = 20 * MIB;
		struct bw_early *e = fake_early(&w.s3.store, "data/key", &w.body, count, &released);
		uint64_t stop = bw_rng_below(&rng, size);
		while (at < stop) {
			at += bw_rng_below(&rng, 6 * MIB) + 1;
			e->grow(e, at < size ? at : size);
			if (bw_rng_below(&rng, 3) == 0)
				sched_yield();
		}
		bool puts = bw_rng_below(&rng, 3);
		if (puts && !put_early(&w, e))
			begin(&w);
		else if (!puts)
			e->drop(e);
		if (puts) {
			cr_assert_eq(end(&w), BW_OK);
			cr_assert_geq(w.sent, size);
		}
		bw_gate_wait(&w.s3.gate);
		cr_assert_eq(released, 1);
		world_done(&w);
	}
}
