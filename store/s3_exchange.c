/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request and its answer.  It moves between threads (who starts it, a worker that reads and hashes
 * the body, the credentials' thread, the HTTP loop) but is on one of them at a time; only its state and the mark
 * of cancel() are shared, under the store's lock.
 */
#include "store/s3_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_HERE_MAX (16u << 10)	/* longer bodies are hashed by a worker */

static void ask_credentials(struct bw_s3_exchange *x);
static void go_on(struct bw_s3_exchange *x);

static struct bw_s3_exchange *exchange_of(struct bw_task *task)
{
	return bw_container_of(task, struct bw_s3_exchange, task);
}

/* ---- The end ---------------------------------------------------------------------------------- */

static bool set_state(struct bw_s3_exchange *x, enum bw_s3_exchange_state state)
{
	BW_LOCK_SCOPE(&x->s->lock);
	x->state = state;
	return x->cancelled;
}

static void finish(struct bw_s3_exchange *x)
{
	bool was_cancelled = set_state(x, BW_S3_AT_REST);

	/* A read that nobody waits for changed nothing, however far it came. */
	if (was_cancelled && x->outcome == BW_UNREACHABLE)
		x->outcome = BW_CANCELLED;
	x->done(x);
}

static void run_finish(struct bw_task *task)
{
	finish(exchange_of(task));
}

/* Ends it before anything was sent; on another thread, for this one may still be inside start. */
static void fail_later(struct bw_s3_exchange *x, enum bw_outcome outcome, int err)
{
	x->outcome = outcome;
	x->err = err;
	x->task.run = run_finish;
	x->task.prio = x->prio;
	bw_workq_push(x->s->workers, &x->task);
}

/* ---- Sending and hearing ---------------------------------------------------------------------- */

static void on_answer(struct bw_http_request *r);

static int64_t think_ns(const struct bw_s3_exchange *x)
{
	bool is_read = bw_op_kind_is_read(x->kind);
	int64_t ns = BW_HTTP_SLOW_NS;

	for (unsigned i = 0; i < x->attempts && ns < BW_HTTP_THINK_NS; i++)
		ns *= 2;
	return is_read && ns < BW_HTTP_THINK_NS ? ns : BW_HTTP_THINK_NS;
}

static void send_signed(struct bw_s3_exchange *x)
{
	struct bw_http_request *r = &x->http;

	r->body = x->from ? x->buf : x->bytes;
	r->body_len = x->bytes_len;
	r->expect = x->expect;
	r->max = x->max;
	r->cut = x->cut;
	r->prio = x->prio;
	r->deadline_ns = x->deadline_ns;
	r->think_ns = think_ns(x);
	r->done = on_answer;
	r->ctx = x;
	bw_lock(&x->s->lock);
	bool is_cancelled = x->cancelled;

	if (!is_cancelled) {
		/* Under the lock, so that a cancel() finds it either not sent or in the loop's hands. */
		x->state = BW_S3_LENT;
		bw_http_submit(x->s->http, r);
	}
	bw_unlock(&x->s->lock);
	if (is_cancelled)
		fail_later(x, BW_CANCELLED, 0);
}

static void sign_and_send(struct bw_s3_exchange *x)
{
	struct bw_s3 *s = x->s;

	bw_lock(&s->lock);
	if (!x->elsewhere)
		x->address = s->address;
	bw_unlock(&s->lock);
	x->call.headers = x->headers;
	x->call.headers_n = x->headers_n;
	x->call.payload_sha256 = x->sha256;
	bw_s3_request_clear(&x->http);
	int err = bw_s3_request_make(&x->address, x->creds, bw_wall_ms() / 1000, &x->call, &x->http);

	if (err)
		fail_later(x, BW_UNREACHABLE, err);
	else
		send_signed(x);
}

static void learn(struct bw_s3 *s, enum bw_s3_remedy remedy, const struct bw_s3_address *a)
{
	bw_lock(&s->lock);
	bool is_news = remedy == BW_S3_MOVED || s->address.skew_s != a->skew_s;

	if (remedy == BW_S3_MOVED) {
		memcpy(s->address.host, a->host, sizeof(a->host));
		memcpy(s->address.bucket_path, a->bucket_path, sizeof(a->bucket_path));
		memcpy(s->address.region, a->region, sizeof(a->region));
	} else {
		s->address.skew_s = a->skew_s;
	}
	bw_unlock(&s->lock);
	if (remedy == BW_S3_MOVED)
		bw_log(s->log, BW_LOG_WARN, "store_moved", "host=%s region=%s", a->host, a->region);
	else if (is_news)
		bw_log(s->log, BW_LOG_WARN, "clock_skew", "seconds=%lld", (long long)a->skew_s);
}

/* True when it was sent again. */
static bool remedied(struct bw_s3_exchange *x, enum bw_s3_remedy remedy, const struct bw_s3_address *a)
{
	struct bw_creds *creds = x->creds;
	/* A store that spreads its keys over hosts sends each request to another: none is the place for all. */
	bool is_temporary = remedy == BW_S3_MOVED && x->http.status == 307;

	if (remedy == BW_S3_NONE || (x->remedies & 1u << remedy))
		return false;
	x->remedies |= 1u << remedy;
	bw_http_request_done(&x->http);
	if (remedy == BW_S3_EXPIRED) {
		bw_cred_chain_refused(x->s->creds, creds);
		x->creds = NULL;
		bw_creds_unref(creds);
		ask_credentials(x);
	} else if (remedy == BW_S3_DOUBTED) {
		x->doubted = creds;
		x->creds = NULL;
		ask_credentials(x);
	} else {
		x->elsewhere |= is_temporary;
		x->address = *a;
		if (!is_temporary)
			learn(x->s, remedy, a);
		sign_and_send(x);
	}
	return true;
}

/*
 * Some buckets have a policy against it, and some stores do not know it; few say so in their own words.  What is not
 * denied failed for a reason that is known, which is another one, but for sums that were found wrong though there was none.
 */
static bool is_unsigned_refused(const struct bw_s3_exchange *x, enum bw_s3_remedy remedy)
{
	int status = x->http.status;
	static const char *const sums[] = {
		"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"};
	bool is_sum = false;

	for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++)
		is_sum |= !strcmp(x->error.code, sums[i]);

	return strcmp(x->sha256, BW_UNSIGNED_PAYLOAD) == 0 && (status == 400 || status == 403 || status == 501) &&
	       (x->outcome == BW_DENIED || is_sum) && (remedy == BW_S3_NONE || remedy == BW_S3_DOUBTED);
}

static void run_sign_after_all(struct bw_task *task)
{
	struct bw_s3_exchange *x = exchange_of(task);

	bw_sha256_hex(x->buf, x->bytes_len, x->sha256);
	go_on(x);
}

static void sign_after_all(struct bw_s3_exchange *x)
{
	x->was_unsigned = true;
	bw_http_request_done(&x->http);
	x->task.run = run_sign_after_all;
	x->task.prio = x->prio;
	bw_workq_push(x->s->workers, &x->task);
}

/* What was refused unsigned and is not when signed shows what the store wants. */
static void learn_to_sign(struct bw_s3 *s)
{
	bw_lock(&s->lock);
	bool is_news = s->bodies_unsigned;
	s->bodies_unsigned = false;
	bw_unlock(&s->lock);
	if (is_news)
		bw_log(s->log, BW_LOG_INFO, "payload_signed", "why=\"the store refuses UNSIGNED-PAYLOAD\"");
}

static void on_answer(struct bw_http_request *r)
{
	struct bw_s3_exchange *x = r->ctx;
	struct bw_s3_address a = x->address;
	enum bw_s3_remedy remedy;
	bool was_cancelled = set_state(x, BW_S3_PREPARING);

	bw_s3_request_clear(r);
	x->outcome = bw_s3_classify(x->kind, x->if_absent, r, bw_wall_ms() / 1000, &a, &x->error,
				    &remedy);
	x->err = bw_s3_errno(x->outcome, r, &x->error);
	bw_s3_detail(r, &x->error, x->detail, sizeof(x->detail));
	if (x->was_unsigned && x->outcome == BW_OK)
		learn_to_sign(x->s);
	if (!was_cancelled && is_unsigned_refused(x, remedy))
		sign_after_all(x);
	else if (was_cancelled || !remedied(x, remedy, &a))
		finish(x);
}

/* ---- Credentials and body --------------------------------------------------------------------- */

/* The answer is there: x->creds, or why not in x->detail.  Without others, what the store said stands. */
static void go_on(struct bw_s3_exchange *x)
{
	struct bw_creds *doubted = x->doubted;

	x->doubted = NULL;
	if (set_state(x, BW_S3_PREPARING))
		fail_later(x, BW_CANCELLED, 0);
	else if (x->asked_err)
		fail_later(x, x->asked_err == -BW_E_STOPPING	  ? BW_CANCELLED :
			      x->asked_err == -BW_E_UNREACHABLE ? BW_UNREACHABLE : BW_DENIED, 0);
	else if (doubted && doubted == x->creds)
		fail_later(x, x->outcome, x->err);
	else
		sign_and_send(x);
	bw_creds_unref(doubted);
}

static void on_credentials(struct bw_cred_wait *w, int err, struct bw_creds *creds, const char *why)
{
	struct bw_s3_exchange *x = bw_container_of(w, struct bw_s3_exchange, wait);
	struct bw_s3 *s = x->s;

	bw_lock(&s->lock);
	x->asked_err = err;
	if (err)
		snprintf(x->detail, sizeof(x->detail), "%s", why);
	else
		x->creds = creds;
	x->asked_answered = true;
	bool is_mine = x->asked_alarmed || bw_workq_cancel(s->workers, &x->task);
	bw_unlock(&s->lock);
	if (is_mine)
		go_on(x);
}

/* Nobody waits any more, by the deadline or by a cancel(). */
static void run_asking_alarm(struct bw_task *task)
{
	struct bw_s3_exchange *x = exchange_of(task);
	struct bw_s3 *s = x->s;

	bw_lock(&s->lock);
	bool is_answered = x->asked_answered;
	bool is_forgotten = !is_answered && bw_cred_chain_forget(s->creds, &x->wait);
	x->asked_alarmed = true;
	bw_unlock(&s->lock);
	if (is_answered) {
		go_on(x);
	} else if (is_forgotten) {
		bw_creds_unref(x->doubted);
		x->doubted = NULL;
		x->outcome = BW_CANCELLED;
		snprintf(x->detail, sizeof(x->detail), "no credentials in time");
		finish(x);
	}
}

static void ask_credentials(struct bw_s3_exchange *x)
{
	struct bw_s3 *s = x->s;

	x->wait.done = on_credentials;
	x->asked_answered = x->asked_alarmed = false;
	x->asked_err = 0;
	bw_lock(&s->lock);
	bool is_there = x->doubted ? bw_cred_chain_doubted(s->creds, &x->wait, x->doubted, &x->creds)
				   : bw_cred_chain_get(s->creds, &x->wait, &x->creds);

	if (!is_there) {
		x->state = BW_S3_ASKING;
		x->task.run = run_asking_alarm;
		x->task.prio = x->prio;
		bw_workq_push_at(s->workers, &x->task, x->cancelled ? 0 : x->deadline_ns);
	}
	bw_unlock(&s->lock);
	if (is_there)
		go_on(x);
}

static int read_body(struct bw_s3_exchange *x)
{
	if (!x->from)
		return 0;
	x->buf = malloc(x->bytes_len ? x->bytes_len : 1);
	if (!x->buf)
		return -ENOMEM;
	return x->from->read(x->from, x->from_off, x->buf, x->bytes_len);
}

/* What is small is signed always: that is cheap, and roots are small. */
static bool goes_unsigned(struct bw_s3_exchange *x)
{
	BW_LOCK_SCOPE(&x->s->lock);
	return x->s->bodies_unsigned && x->from && x->bytes_len > HASH_HERE_MAX;
}

static void sum_body(struct bw_s3_exchange *x)
{
	static const char nothing[] = BW_SHA256_OF_NOTHING, is_unsigned[] = BW_UNSIGNED_PAYLOAD;

	if (!x->bytes_len)
		memcpy(x->sha256, nothing, sizeof(nothing));
	else if (goes_unsigned(x))
		memcpy(x->sha256, is_unsigned, sizeof(is_unsigned));
	else
		bw_sha256_hex(x->from ? x->buf : x->bytes, x->bytes_len, x->sha256);
}

static void run_prepare(struct bw_task *task)
{
	struct bw_s3_exchange *x = exchange_of(task);
	int err;

	if (set_state(x, BW_S3_PREPARING) || bw_now() >= x->deadline_ns) {
		x->outcome = BW_CANCELLED;
		finish(x);
		return;
	}
	err = read_body(x);
	if (err) {
		x->outcome = BW_UNREACHABLE;
		x->err = err;
		snprintf(x->detail, sizeof(x->detail), "the body cannot be read");
		finish(x);
		return;
	}
	sum_body(x);
	ask_credentials(x);
}

/* ---- For the owner ---------------------------------------------------------------------------- */

void bw_s3_exchange_start(struct bw_s3_exchange *x)
{
	bw_lock(&x->s->lock);
	x->state = BW_S3_PREPARING;
	x->cancelled = false;
	bw_unlock(&x->s->lock);
	x->remedies = 0;
	x->elsewhere = x->was_unsigned = false;
	x->err = 0;
	x->detail[0] = 0;
	x->http.retry_after_ns = 0;
	memset(&x->error, 0, sizeof(x->error));
	if (x->from || x->bytes_len > HASH_HERE_MAX) {
		x->task.run = run_prepare;
		x->task.prio = x->prio;
		bw_workq_push(x->s->workers, &x->task);
		return;
	}
	sum_body(x);
	ask_credentials(x);
}

void bw_s3_exchange_cancel_locked(struct bw_s3_exchange *x)
{
	if (x->state == BW_S3_AT_REST)
		return;
	x->cancelled = true;
	if (x->state == BW_S3_LENT)
		bw_http_cancel(x->s->http, &x->http);
	else if (x->state == BW_S3_ASKING && bw_workq_cancel(x->s->workers, &x->task))
		bw_workq_push(x->s->workers, &x->task);
}

void bw_s3_exchange_clear(struct bw_s3_exchange *x)
{
	bw_http_request_done(&x->http);
	bw_s3_request_clear(&x->http);
	bw_creds_unref(x->creds);
	x->creds = NULL;
	free(x->buf);
	x->buf = NULL;
}

void bw_s3_exchange_to_op(const struct bw_s3_exchange *x, struct bw_op *op)
{
	op->outcome = x->outcome;
	op->err = x->err;
	op->retry_after_ns = x->http.retry_after_ns > 0 ? x->http.retry_after_ns : 0;
	snprintf(op->detail, sizeof(op->detail), "%s", x->detail);
	bw_log_value(op->detail);
}
