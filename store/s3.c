/* SPDX-License-Identifier: Apache-2.0 */
/* The backend: jobs, the ops that are one request each, and the store as a whole. */
#include "store/s3_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS 2
#define PART_MIN (UINT64_C(5) << 20)	/* stores refuse smaller parts, the last one apart */
#define ANSWER_MAX (64u << 10)		/* of an answer that has nothing to say */
#define QUERY_MAX (8u << 10)

/* ---- Jobs ------------------------------------------------------------------------------------- */

void bw_s3_job_begin(struct bw_s3 *s, struct bw_s3_job *job, struct bw_op *op,
		     void (*cancel_locked)(struct bw_s3_job *job))
{
	job->op = op;
	job->cancel_locked = cancel_locked;
	job->prev = NULL;
	BW_LOCK_SCOPE(&s->lock);
	job->next = s->jobs;
	if (s->jobs)
		s->jobs->prev = job;
	s->jobs = job;
}

void bw_s3_job_end(struct bw_s3 *s, struct bw_s3_job *job)
{
	BW_LOCK_SCOPE(&s->lock);
	if (job->next)
		job->next->prev = job->prev;
	*(job->prev ? &job->prev->next : &s->jobs) = job->next;
}

void bw_s3_op_end(struct bw_s3 *s, struct bw_op *op)
{
	op->done(op);
	bw_gate_leave(&s->gate);
}

static void run_op_end(struct bw_task *task)
{
	struct bw_op *op = bw_op_of(task);

	bw_s3_op_end((struct bw_s3 *)op->at, op);
}

void bw_s3_op_fail_later(struct bw_s3 *s, struct bw_op *op, enum bw_outcome outcome, int err)
{
	bw_op_fail(op, outcome, err);
	bw_op_queue(op, s->workers, run_op_end, 0);
}

/* ---- Ops that are one request ----------------------------------------------------------------- */

struct single {
	struct bw_s3_job job;
	struct bw_s3_exchange x;
	uint64_t first;		/* GET: of the range that was asked for */
	size_t drop, keep;	/* GET: bytes in front that are not the caller's, and how many are at most */
	char range[64];
	struct bw_buf query;
	struct bw_task task;	/* LIST, LIST_UPLOADS: to read the answer */
	bool by_key;		/* LIST_UPLOADS: goes on behind a key, whatever the upload */
};

static void end_single(struct single *g)
{
	struct bw_s3 *s = g->x.s;
	struct bw_op *op = g->job.op;

	bw_s3_job_end(s, &g->job);
	bw_s3_exchange_clear(&g->x);
	bw_buf_done(&g->query);
	free(g);
	bw_s3_op_end(s, op);
}

static void cancel_single_locked(struct bw_s3_job *job)
{
	bw_s3_exchange_cancel_locked(&((struct single *)job)->x);
}

/* ---- GET -------------------------------------------------------------------------------------- */

/*
 * Ranges that HTTP has no words for, nothing at all and what is behind the last byte, are asked for
 * with the byte before them: so one request tells what is there.
 */
static void ask_range(struct single *g, const struct bw_op *op)
{
	struct bw_s3_exchange *x = &g->x;
	bool is_open = op->length == BW_TO_END;

	g->drop = op->offset && (is_open || !op->length);
	g->keep = SIZE_MAX;
	g->first = op->offset - g->drop;
	x->expect = SIZE_MAX;
	if (is_open) {
		x->max = op->max < (uint64_t)INT64_MAX ? op->max + g->drop : (uint64_t)INT64_MAX;
		if (g->first || g->drop)
			snprintf(g->range, sizeof(g->range), "bytes=%llu-",
				 (unsigned long long)g->first);
	} else {
		g->keep = op->length;
		x->expect = x->max = op->length ? op->length : 1;
		x->cut = op->cut;
		snprintf(g->range, sizeof(g->range), "bytes=%llu-%llu", (unsigned long long)g->first,
			 (unsigned long long)(g->first + x->expect - 1));
	}
	if (g->range[0])
		x->headers[x->headers_n++] = (struct bw_sign_header){"range", g->range};
}

/* A good answer that is to the question: a store that ignores ranges sends others. */
static bool is_range(const struct single *g)
{
	const struct bw_http_request *r = &g->x.http;

	if (r->status == 206)
		return r->range_first < 0 || (uint64_t)r->range_first == g->first;
	return g->first == 0 && g->drop == 0;
}

static void take_object(struct single *g, struct bw_op *op)
{
	struct bw_http_request *r = &g->x.http;
	struct bw_blob *b = r->blob;

	if (!is_range(g) || b->len < g->drop) {
		bw_op_fail(op, BW_CORRUPT, 0);
		return;
	}
	if (r->range_total >= 0)
		op->object_size = (uint64_t)r->range_total;
	else if (r->status == 200)
		op->object_size = bw_blob_chain_len(b);
	if (g->drop)
		memmove(b->bytes, b->bytes + g->drop, b->len - g->drop);
	b->len -= g->drop;
	if (b->len > g->keep)
		b->len = g->keep;
	op->modified_ms = r->modified_s > 0 ? r->modified_s * 1000 : 0;
	op->blob = b;
	r->blob = NULL;
}

static void get_done(struct bw_s3_exchange *x)
{
	struct single *g = x->ctx;
	struct bw_op *op = g->job.op;

	bw_s3_exchange_to_op(x, op);
	if (op->outcome == BW_OK) {
		take_object(g, op);
	} else if (x->http.status == 416 && !op->length && !op->offset) {
		/* Of an empty object there is no byte to ask for, and none was. */
		op->blob = bw_blob_new(0);
		bw_op_fail(op, op->blob ? BW_OK : BW_UNREACHABLE, op->blob ? 0 : -ENOMEM);
	}
	end_single(g);
}

/* ---- LIST ------------------------------------------------------------------------------------- */

static int ask_list(struct single *g, const struct bw_op *op)
{
	const char *prefix = g->x.address.prefix;
	struct bw_buf *q = &g->query;
	int err;

	bw_buf_fmt(q, "encoding-type=url&list-type=2&max-keys=%llu&prefix=",
		   (unsigned long long)op->max);
	err = bw_percent_encode(prefix, false, q);
	if (!err)
		err = bw_percent_encode(op->key, false, q);
	/* An object named like the prefix, the mark that consoles make of a folder, is not one of ours. */
	if (!err && (op->after[0] || *prefix)) {
		bw_buf_str(q, "&start-after=");
		err = bw_percent_encode(prefix, false, q);
		if (!err)
			err = bw_percent_encode(op->after, false, q);
	}
	g->x.call.query = bw_buf_text(q);
	return err;
}

static int ask_uploads(struct single *g, const struct bw_op *op)
{
	const char *prefix = g->x.address.prefix;
	struct bw_buf *q = &g->query;
	int err = 0;

	bw_buf_str(q, "encoding-type=url");
	if (op->after[0]) {
		bw_buf_str(q, "&key-marker=");
		err = bw_percent_encode(prefix, false, q);
		if (!err)
			err = bw_percent_encode(op->after, false, q);
	}
	bw_buf_fmt(q, "&max-uploads=%llu&prefix=", (unsigned long long)op->max);
	if (!err)
		err = bw_percent_encode(prefix, false, q);
	if (!err)
		err = bw_percent_encode(op->key, false, q);
	if (!err && op->after[0] && op->upload && !g->by_key) {
		bw_buf_str(q, "&upload-id-marker=");
		err = bw_percent_encode(op->upload, false, q);
	}
	bw_buf_str(q, "&uploads=");
	g->x.call.query = bw_buf_text(q);
	return err ? err : bw_buf_err(q);
}

/* A page of keys that were listed already would come again for ever; the page itself ascends. */
static bool goes_back(const struct bw_op *op)
{
	return op->listing->n && strcmp(op->listing->items[0].key, op->after) <= 0;
}

/* A page that begins anew at the upload that it was to go on behind would come again for ever. */
static bool goes_nowhere(const struct bw_op *op)
{
	for (size_t i = 0; op->upload && i < op->uploads->n; i++)
		if (!strcmp(op->uploads->items[i].key, op->after) && !strcmp(op->uploads->items[i].id, op->upload))
			return true;
	return false;
}

/*
 * Ceph RGW looks for the prefix in names of its own, "KEY.ID.meta", so it may tell of others.  False: nothing is
 * left to go on behind.
 */
static bool keep_asked_for(struct bw_op *op)
{
	struct bw_uploads *page = op->uploads;
	size_t n = page->n, prefix_len = strlen(op->key);

	page->n = 0;
	for (size_t i = 0; i < n; i++) {
		struct bw_upload u = page->items[i];

		if (strncmp(u.key, op->key, prefix_len) == 0) {
			page->items[page->n++] = u;
			continue;
		}
		free(u.key);
		free(u.id);
	}
	return page->n || !page->more;
}

static void run_list(struct bw_task *task)
{
	struct single *g = bw_container_of(task, struct single, task);
	struct bw_op *op = g->job.op;
	const struct bw_blob *b = g->x.http.blob;
	const char *prefix = g->x.address.prefix;
	const char *why = "no whole page of a listing";
	int err = op->kind == BW_OP_LIST ? bw_s3_list_parse(b->bytes, b->len, prefix, &op->listing)
					 : bw_s3_uploads_parse(b->bytes, b->len, prefix, &op->uploads);

	if (!err && op->kind == BW_OP_LIST && goes_back(op)) {
		bw_op_done(op);
		why = "a listing does not go on";
		err = -BW_E_CORRUPT;
	}
	if (!err && op->kind == BW_OP_LIST_UPLOADS && (goes_nowhere(op) || !keep_asked_for(op))) {
		bw_op_done(op);
		err = -BW_E_CORRUPT;
	}
	if (err == -ENOMEM) {
		bw_op_fail(op, BW_UNREACHABLE, err);
	} else if (err) {
		bw_op_fail(op, BW_CORRUPT, 0);
		snprintf(op->detail, sizeof(op->detail), "%s", why);
	}
	end_single(g);
}

/* Some stores do not take back even the markers that they have given out (Versity 1.8). */
static bool is_marker_refused(const struct single *g)
{
	return g->job.op->kind == BW_OP_LIST_UPLOADS && g->job.op->upload && !g->by_key &&
	       !strcmp(g->x.error.code, "InvalidArgument");
}

static bool ask_by_key(struct single *g)
{
	g->by_key = true;
	bw_buf_reset(&g->query);
	if (ask_uploads(g, g->job.op))
		return false;
	bw_s3_exchange_clear(&g->x);
	g->x.remedies = 0;
	return true;
}

/* A page of keys takes a while to read: not on the thread that moves everybody's bytes. */
static void list_done(struct bw_s3_exchange *x)
{
	struct single *g = x->ctx;
	struct bw_op *op = g->job.op;

	if (is_marker_refused(g) && ask_by_key(g)) {
		bw_s3_exchange_start(x);
		return;
	}
	bw_s3_exchange_to_op(x, op);
	if (op->outcome != BW_OK) {
		end_single(g);
		return;
	}
	g->task.run = run_list;
	g->task.prio = op->prio;
	bw_workq_push(x->s->workers, &g->task);
}

/* ---- ABORT_UPLOAD ------------------------------------------------------------------------------ */

static int ask_abort(struct single *g, const struct bw_op *op)
{
	bw_buf_str(&g->query, "uploadId=");
	int err = bw_percent_encode(op->upload, false, &g->query);

	g->x.call.query = bw_buf_text(&g->query);
	return err ? err : bw_buf_err(&g->query);
}

static void abort_done(struct bw_s3_exchange *x)
{
	struct single *g = x->ctx;

	bw_s3_exchange_to_op(x, g->job.op);
	if (x->outcome == BW_NOT_FOUND)
		g->job.op->outcome = BW_OK;
	end_single(g);
}

/* ---- PUT and DELETE --------------------------------------------------------------------------- */

static void change_done(struct bw_s3_exchange *x)
{
	struct single *g = x->ctx;

	bw_s3_exchange_to_op(x, g->job.op);
	end_single(g);
}

static void ask_put(struct single *g, const struct bw_op *op)
{
	struct bw_s3_exchange *x = &g->x;

	x->call.method = "PUT";
	x->bytes_len = op->body->size;
	x->from = op->body->size ? op->body : NULL;
	x->if_absent = op->if_absent;
	if (op->if_absent)
		x->headers[x->headers_n++] = (struct bw_sign_header){"if-none-match", "*"};
	x->done = change_done;
}

/* ---- The store -------------------------------------------------------------------------------- */

static int single_new(struct bw_s3 *s, struct bw_op *op, struct single **ret)
{
	struct single *g = calloc(1, sizeof(*g));
	struct bw_s3_exchange *x;

	if (!g)
		return -ENOMEM;
	x = &g->x;
	x->s = s;
	x->kind = op->kind;
	x->prio = op->prio;
	x->deadline_ns = op->deadline_ns;
	x->attempts = op->attempts;
	x->call.method = "GET";
	x->call.key = op->key;
	x->call.query = "";
	x->expect = SIZE_MAX;
	x->max = ANSWER_MAX;
	x->ctx = g;
	bw_buf_init(&g->query, QUERY_MAX);
	*ret = g;
	return 0;
}

static int ask(struct bw_s3 *s, struct bw_op *op, struct single **ret)
{
	struct single *g;
	int err = single_new(s, op, &g);

	if (err)
		return err;
	switch (op->kind) {
	case BW_OP_GET:
		ask_range(g, op);
		g->x.done = get_done;
		break;
	case BW_OP_PUT:
		ask_put(g, op);
		break;
	case BW_OP_LIST:
	case BW_OP_LIST_UPLOADS:
		bw_lock(&s->lock);
		g->x.address = s->address;
		bw_unlock(&s->lock);
		err = op->kind == BW_OP_LIST ? ask_list(g, op) : ask_uploads(g, op);
		g->x.call.key = NULL;
		g->x.max = BW_S3_XML_MAX;
		g->x.done = list_done;
		break;
	case BW_OP_ABORT_UPLOAD:
		err = ask_abort(g, op);
		g->x.call.method = "DELETE";
		g->x.done = abort_done;
		break;
	case BW_OP_DELETE:
	case BW_OP_DELETE_MANY:
		g->x.call.method = "DELETE";
		g->x.done = change_done;
		break;
	}
	if (err) {
		bw_buf_done(&g->query);
		free(g);
		return err;
	}
	*ret = g;
	return 0;
}

/* No object is that long, and the end of the range would not fit its header. */
static bool is_beyond(const struct bw_op *op)
{
	const uint64_t max = INT64_MAX;

	return op->offset > max || (op->length != BW_TO_END && op->length > max - op->offset);
}

static void submit(struct bw_store *store, struct bw_op *op)
{
	struct bw_s3 *s = (struct bw_s3 *)store;
	struct single *g;

	bw_gate_enter(&s->gate);
	if (op->kind == BW_OP_DELETE_MANY) {
		bw_s3_delete_many(s, op);
		return;
	}
	if (op->kind == BW_OP_PUT && op->early && bw_s3_early_put(op))
		return;
	if (op->kind == BW_OP_PUT && op->body->size > s->part_size + s->part_size / 2) {
		bw_s3_multipart_put(s, op);
		return;
	}
	if (op->kind == BW_OP_GET && is_beyond(op)) {
		bw_s3_op_fail_later(s, op, BW_CORRUPT, 0);
		return;
	}
	int err = ask(s, op, &g);

	if (err) {
		bw_s3_op_fail_later(s, op, BW_UNREACHABLE, err);
		return;
	}
	bw_s3_job_begin(s, &g->job, op, cancel_single_locked);
	bw_s3_exchange_start(&g->x);
}

static void cancel(struct bw_store *store, struct bw_op *op)
{
	struct bw_s3 *s = (struct bw_s3 *)store;

	BW_LOCK_SCOPE(&s->lock);
	for (struct bw_s3_job *j = s->jobs; j; j = j->next)
		if (j->op == op) {
			j->cancel_locked(j);
			return;
		}
}

static void s3_free(struct bw_store *store)
{
	struct bw_s3 *s = (struct bw_s3 *)store;

	bw_gate_wait(&s->gate);
	bw_http_free(s->http);
	bw_cred_chain_free(s->creds);
	bw_workq_free(s->workers);
	bw_gate_done(&s->gate);
	bw_mutex_done(&s->lock);
	free(s);
}

static int start(struct bw_s3 *s, const struct bw_s3_config *config, char *why, size_t why_len)
{
	const struct bw_cred_config creds = {.profile = config->profile, .profile_named = config->profile_named,
					     .region = s->address.region, .ca = config->ca, .log = config->log};
	char text[128];
	int err = bw_http_new(config, &s->http, why, why_len);

	if (err && err != -BW_E_NO_THREADS)
		return err;
	if (!err)
		err = bw_workq_new("bw-s3", WORKERS, &s->workers);
	if (!err)
		err = bw_cred_chain_new(&creds, &s->creds);
	if (err)
		snprintf(why, why_len, "cannot start the store's threads: %s", bw_err_text(err, text, sizeof(text)));
	return err;
}

int bw_store_s3_new(const struct bw_url *url, const struct bw_s3_config *config,
		    struct bw_store **ret, char *why, size_t why_len)
{
	static const struct bw_store_ops ops = {
		.name = "s3", .submit = submit, .cancel = cancel, .early = bw_s3_early, .free = s3_free};
	struct bw_s3 *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->store.ops = &ops;
	s->part_size = config->part_size ? config->part_size : BW_S3_PART;
	if (s->part_size < PART_MIN)
		s->part_size = PART_MIN;
	s->parts_memory = config->parts_memory ? config->parts_memory : BW_S3_PARTS_MEMORY;
	s->connections = config->connections ? config->connections : BW_S3_CONNECTIONS;
	s->log = config->log;
	bw_mutex_init(&s->lock, BW_RANK_STORE);
	bw_gate_init(&s->gate);
	int err = bw_s3_address_make(url, config, &s->address, why, why_len);

	if (!err)
		err = start(s, config, why, why_len);
	if (err) {
		s3_free(&s->store);
		return err;
	}
	bool is_tls = strcmp(s->address.scheme, "https") == 0;

	s->bodies_unsigned = is_tls ? !config->no_verify_tls : config->unsigned_payload;
	if (config->no_verify_tls && is_tls)
		bw_log(s->log, BW_LOG_WARN, "tls_not_verified",
		       "host=%s why=\"no_verify_tls: whoever answers there is believed\"", s->address.host);
	*ret = &s->store;
	return 0;
}
