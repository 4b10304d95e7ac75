/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The course of an upload in parts against a scripted store: exchanges are stood in for by ones that ask the
 * test what the answer is, keep an account of what was sent, and answer on a thread of their own.
 */
#ifndef BW_TESTS_S3_MULTIPART_WORLD_H
#define BW_TESTS_S3_MULTIPART_WORLD_H

#pragma GCC diagnostic ignored "-Wunused-function"

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
	return bw_container_of(s, struct world, s3);
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
	if (step == ABORT)
		cr_assert_gt(x->deadline_ns, bw_now(), "it has time of its own");
	w->is_deadline_of_op &= step == ABORT || x->deadline_ns == w->op.deadline_ns;
	bw_cond_broadcast(&w->changed);
	return w->script ? w->script(w, step, nth, part) : (struct answer){.outcome = BW_OK};
}

static void run_answer(struct bw_task *task)
{
	struct bw_s3_exchange *x = bw_container_of(task, struct bw_s3_exchange, task);
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
	struct world *w = bw_container_of(body, struct world, body);
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

#endif
