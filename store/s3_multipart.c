/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A large put as one upload in parts: begun, its parts sent up to SLOTS at a time, then completed; the object
 * appears whole or not at all.
 *
 * Integrity.  Without TLS every part is signed with the SHA-256 of its bytes, which a store computes over what arrived
 * and compares before it answers; a byte changed on the way makes the part fail (XAmzContentSHA256Mismatch), and it
 * is sent again.  With TLS that is TLS's work, and parts go unsigned (s3_exchange.c).  The list of parts is always signed and
 * names the ETag that the store gave to each, so what is put together is what was acknowledged.  The ETag of the
 * whole is no sum over the object and is not looked at.  SHA-256 costs about 1 ms a MiB of one core, in the threads
 * that read the body, never in the one that moves bytes; no store lacks it, and checksum headers of the newer kind (CRC)
 * are refused or ignored by some of those we want to work with.
 *
 * Outcomes.  Until the completion is sent nothing can have been applied, so whatever fails before it is
 * never UNKNOWN; after it only an answer that says what became of it counts.  A completion that finds no such
 * upload is UNKNOWN: the first copy of it may have succeeded and its answer been lost.  An upload of known
 * failure is aborted behind the op's back, for at most ABORT_NS, and once more when a part was cut off on its way:
 * stores let one that arrives behind the abort bring the upload back.  After UNKNOWN it is left alone, because an
 * abort that races with a completion takes parts from under an object in some stores; a lifecycle rule finds it.
 *
 * Repetition.  Only filter_retry repeats requests, with one exception that is here: a part is sent at most
 * TRIES times, and so is a completion that was certainly not applied.  To the layers above one op is the
 * whole put, and losing 60 MiB that did arrive to one reset would be silly.  It is safe since a part is
 * known by its number: a second copy replaces the first by the same bytes.
 *
 * Early (store.h).  An upload may be begun, and parts of it sent, before there is an op: then it is `open`, and its size is not
 * known.  It rests when all that it was told of has arrived, until it hears of more, of its op, or that there will be none.  What
 * fails meanwhile is not told; the op makes an upload of its own.  Parts are of one size, for some stores insist on that, so it is
 * settled when the upload begins, for a quarter more than is expected by then, as far as there is memory for one.  An object
 * that does not fit into 10,000 of them all the same is sent anew by its op.
 *
 * All state of an upload is under the store's lock; `busy` counts the parts on their way, a wait for memory, and
 * the thread that is in advance(): who brings it to zero goes on alone.
 */
#include "store/s3_priv.h"

#include "store/base/rand.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTS_MAX 10000u			/* of S3 */
#define PART_MIN (UINT64_C(5) << 20)		/* of S3, but for the last one */
#define PART_MAX (UINT64_C(5) << 30)
#define OBJECT_MAX (UINT64_C(5) << 40)		/* no expectation makes parts larger than such an object needs */
#define SLOTS 4					/* parts of one upload in memory */
#define TRIES 3u
#define PAUSE_NS (100 * BW_MS)			/* before the second try; doubled before the third */
#define ABORT_NS (5 * BW_SEC)
#define EARLY_NS (30 * BW_SEC)			/* for a part that no op waits for, and a second for so many bytes of it */
#define EARLY_RATE (UINT64_C(1) << 20)
#define ABORT_AGAIN_NS (500 * BW_MS)
#define ANSWER_MAX (1u << 20)
#define LIST_MAX (16u << 20)
#define ID_MAX (BW_UPLOAD_ID_MAX + 1)

struct bw_s3_upload;

struct slot {
	struct bw_s3_upload *u;
	struct bw_s3_exchange x;
	struct bw_task again;	/* queued during a pause */
	uint32_t number;	/* of the part, from 1; 0: the slot is free */
	unsigned tries;
	char query[3 * ID_MAX + 96];
};

struct bw_s3_upload {
	struct bw_early early;	/* first, so that this is an upload */
	struct bw_s3_job job;
	struct bw_s3 *s;
	struct bw_op *op;	/* NULL once it was given back: during an abort; and while it is open */
	struct bw_body *body;
	uint64_t size;		/* not while it is open */
	void (*released)(void *ctx);	/* of an early one */
	void *ctx;
	enum bw_prio prio;
	int64_t deadline_ns;
	char key[BW_KEY_MAX + 1];
	char query[3 * ID_MAX + 64];	/* "uploadId=..."; "" before there is one */
	uint64_t part_size;
	uint32_t parts_n;
	char **etags;
	struct bw_buf list;	/* the body of the completion */
	struct bw_s3_exchange x;	/* whatever is no part */
	unsigned completions;
	struct bw_rng rng;
	/* Under s->lock: */
	bool open;		/* early, and the op has not come */
	bool begun, heard;	/* early: the beginning was sent, and answered */
	bool dropped;		/* early: no op will come */
	uint64_t upto;		/* early: bytes that may be sent */
	uint32_t etags_n;	/* that there is room for */
	bool failed;		/* op has the outcome */
	bool completing;	/* from here on x says what became of it */
	bool cut;		/* a part that was sent has no answer: it may arrive yet */
	uint32_t next;		/* part to begin */
	unsigned busy;
	struct slot slots[SLOTS];
	struct bw_task task;	/* a wait for memory that counts in busy; a completion to be made */
	bool waits;		/* the first */
	bool in_line;		/* of s->uploads_waiting */
	struct bw_s3_upload *wait_next;
};

static void advance(struct bw_s3_upload *u);
static void run_part(struct bw_task *task);

/* ---- Sizes ---------------------------------------------------------------------------------- */

/* Parts of the size that is wished for, larger when there would be too many.  0: too large for S3. */
static uint64_t part_size_of(uint64_t size, uint64_t wished)
{
	const uint64_t step = UINT64_C(1) << 20;
	uint64_t part = wished > PART_MIN ? wished : PART_MIN;

	if (size / PARTS_MAX >= part)
		part = (size / PARTS_MAX / step + 1) * step;
	return part <= PART_MAX ? part : 0;
}

static uint64_t part_len(const struct bw_s3_upload *u, uint32_t number)
{
	uint64_t off = (number - 1) * u->part_size;

	return u->open || number < u->parts_n ? u->part_size : u->size - off;
}

/* ---- Ends ----------------------------------------------------------------------------------- */

static void upload_free(struct bw_s3_upload *u)
{
	for (uint32_t i = 0; u->etags && i < u->etags_n; i++)
		free(u->etags[i]);
	free(u->etags);
	bw_buf_done(&u->list);
	free(u);
}

static void exchange_init(struct bw_s3_upload *u, struct bw_s3_exchange *x, enum bw_op_kind kind,
			  const char *method, const char *query)
{
	*x = (struct bw_s3_exchange){.s = u->s,
				     .kind = kind,
				     .prio = u->prio,
				     .deadline_ns = u->deadline_ns,
				     .call = {.method = method, .key = u->key, .query = query},
				     .expect = SIZE_MAX,
				     .max = ANSWER_MAX,
				     .ctx = u};
}

static void on_aborted(struct bw_s3_exchange *x);

static void run_abort(struct bw_task *task)
{
	struct bw_s3_upload *u = bw_container_of(task, struct bw_s3_upload, task);

	exchange_init(u, &u->x, BW_OP_DELETE, "DELETE", u->query);
	u->x.deadline_ns = bw_now() + ABORT_NS;
	u->x.done = on_aborted;
	bw_s3_exchange_start(&u->x);
}

static void on_aborted(struct bw_s3_exchange *x)
{
	struct bw_s3_upload *u = x->ctx;
	struct bw_s3 *s = u->s;

	if (x->outcome != BW_OK && x->outcome != BW_NOT_FOUND)
		bw_log(s->log, BW_LOG_DEBUG, "upload_left", "key=%s why=\"%s\"", u->key, x->detail);
	bw_s3_exchange_clear(x);
	if (u->cut) {
		u->cut = false;
		bw_workq_push_at(s->workers, &u->task, bw_now() + ABORT_AGAIN_NS);
		return;
	}
	upload_free(u);
	bw_gate_leave(&s->gate);
}

/* Gives the op, if one came, back as it is; then, when there is something to abort, aborts it. */
static void finish(struct bw_s3_upload *u)
{
	struct bw_op *op = u->op;
	struct bw_s3 *s = u->s;
	bool abort = u->query[0] && (!op || (op->outcome != BW_OK && op->outcome != BW_UNKNOWN));
	bool early = u->released;

	if (op)
		bw_s3_job_end(s, &u->job);
	if (early)
		u->released(u->ctx);
	if (abort) {
		u->op = NULL;
		bw_gate_enter(&s->gate);
		u->task = (struct bw_task){.run = run_abort, .prio = u->prio};
		bw_workq_push(s->workers, &u->task);
	} else {
		upload_free(u);
	}
	if (early && op)
		bw_gate_leave(&s->gate);
	if (op)
		bw_s3_op_end(s, op);
	else
		bw_gate_leave(&s->gate);
}

/* Not sent in the time that it was begun with, before there was an op, which has more. */
static bool has_more_time(const struct bw_s3_upload *u, const struct bw_s3_exchange *x)
{
	return x->outcome == BW_CANCELLED && x->deadline_ns < u->deadline_ns && bw_now() < u->deadline_ns;
}

/* What a failure before the completion means for the put. */
static enum bw_outcome nothing_applied(const struct bw_s3_upload *u, const struct bw_s3_exchange *x)
{
	if (!strcmp(x->error.code, "NoSuchUpload"))	/* somebody aborted it: another may work */
		return BW_UNREACHABLE;
	if (has_more_time(u, x))
		return BW_UNREACHABLE;
	switch (x->outcome) {
	case BW_THROTTLED:
	case BW_DENIED:
	case BW_FULL:
	case BW_CANCELLED:
	case BW_NOT_FOUND:	/* the bucket */
		return x->outcome;
	default:
		return BW_UNREACHABLE;
	}
}

static void wake_locked(struct bw_workq *q, struct bw_task *task)
{
	if (bw_workq_cancel(q, task))
		bw_workq_push(q, task);
}

/* Leaves the line for memory; who is first now may find that there is enough for it. */
static void leave_line_locked(struct bw_s3_upload *u)
{
	struct bw_s3 *s = u->s;
	struct bw_s3_upload **at = &s->uploads_waiting;

	if (!u->in_line)
		return;
	while (*at != u)
		at = &(*at)->wait_next;
	*at = u->wait_next;
	u->in_line = false;
	if (s->uploads_waiting)
		wake_locked(s->workers, &s->uploads_waiting->task);
}

/* The first failure is the one that is told; what is under way is ended. */
static void stop_locked(struct bw_s3_upload *u)
{
	u->failed = true;
	leave_line_locked(u);
	for (int i = 0; i < SLOTS; i++) {
		if (!u->slots[i].number)
			continue;
		bw_s3_exchange_cancel_locked(&u->slots[i].x);
		wake_locked(u->s->workers, &u->slots[i].again);
	}
	wake_locked(u->s->workers, &u->task);
}

static void fail_locked(struct bw_s3_upload *u, enum bw_outcome outcome, int err)
{
	if (u->failed)
		return;
	if (u->op)
		bw_op_fail(u->op, outcome, err);
	stop_locked(u);
}

static void fail_by_locked(struct bw_s3_upload *u, const struct bw_s3_exchange *x)
{
	if (u->failed)
		return;
	if (u->op) {
		bw_s3_exchange_to_op(x, u->op);
		u->op->outcome = nothing_applied(u, x);
	}
	stop_locked(u);
}

static void cancel_locked(struct bw_s3_job *job)
{
	struct bw_s3_upload *u = bw_container_of(job, struct bw_s3_upload, job);

	/* A beginning is heard out: it is short, and without the id there is nothing to abort. */
	if (u->completing)
		bw_s3_exchange_cancel_locked(&u->x);
	else
		fail_locked(u, BW_CANCELLED, 0);
}

/* ---- Memory --------------------------------------------------------------------------------- */

static void run_waited(struct bw_task *task)
{
	struct bw_s3_upload *u = bw_container_of(task, struct bw_s3_upload, task);

	bw_lock(&u->s->lock);
	u->waits = false;
	if (!u->open && bw_now() >= u->deadline_ns)
		fail_locked(u, BW_CANCELLED, 0);
	bw_unlock(&u->s->lock);
	advance(u);
}

/* In order of arrival; until it is first and there is memory, or nobody waits for it any more.  What is open has time. */
static void wait_locked(struct bw_s3_upload *u)
{
	struct bw_s3_upload **at = &u->s->uploads_waiting;

	if (!u->in_line) {
		while (*at)
			at = &(*at)->wait_next;
		*at = u;
		u->wait_next = NULL;
		u->in_line = true;
	}
	u->waits = true;
	u->busy++;
	u->task = (struct bw_task){.run = run_waited, .prio = u->prio};
	bw_workq_push_at(u->s->workers, &u->task, u->open ? BW_NEVER : u->deadline_ns);
}

/* A part larger than all there is goes when no other is there. */
static bool take_bytes_locked(struct bw_s3_upload *u, uint64_t len)
{
	struct bw_s3 *s = u->s;
	bool is_first = !s->uploads_waiting || s->uploads_waiting == u;

	if (!is_first || (s->part_bytes && s->part_bytes + len > s->parts_memory)) {
		wait_locked(u);
		return false;
	}
	s->part_bytes += len;
	leave_line_locked(u);
	return true;
}

static void give_bytes_locked(struct bw_s3 *s, uint64_t len)
{
	s->part_bytes -= len;
	if (s->uploads_waiting)
		wake_locked(s->workers, &s->uploads_waiting->task);
}

/* ---- Parts ---------------------------------------------------------------------------------- */

static void free_slot_locked(struct slot *slot)
{
	struct bw_s3_upload *u = slot->u;

	give_bytes_locked(u->s, part_len(u, slot->number));
	slot->number = 0;
}

static void keep_etag_locked(struct bw_s3_upload *u, const struct slot *slot)
{
	const char *etag = slot->x.http.etag;

	if (!*etag) {
		fail_locked(u, BW_UNREACHABLE, 0);
		if (u->op)
			snprintf(u->op->detail, sizeof(u->op->detail), "part %u has no ETag", slot->number);
		return;
	}
	u->etags[slot->number - 1] = strdup(etag);
	if (!u->etags[slot->number - 1])
		fail_locked(u, BW_UNREACHABLE, -ENOMEM);
}

/* When to try again; BW_NEVER: not at all. */
static int64_t again_at(struct bw_s3_upload *u, const struct bw_s3_exchange *x, unsigned tries)
{
	int64_t ns = PAUSE_NS << (tries - 1);

	if (tries == TRIES || x->err)
		return BW_NEVER;
	ns = ns / 2 + (int64_t)bw_rng_below(&u->rng, (uint64_t)ns / 2);
	if (x->http.retry_after_ns > ns)
		ns = x->http.retry_after_ns;
	ns += bw_now();
	return ns < u->deadline_ns ? ns : BW_NEVER;
}

/* When the part is to be sent again; BW_NEVER: it is done, or the upload has failed. */
static int64_t settle_part_locked(struct slot *slot)
{
	struct bw_s3_upload *u = slot->u;
	const struct bw_s3_exchange *x = &slot->x;
	int64_t due_ns = BW_NEVER;

	switch (x->outcome) {
	case BW_OK:
		keep_etag_locked(u, slot);
		return BW_NEVER;
	case BW_UNREACHABLE:
	case BW_THROTTLED:
	case BW_UNKNOWN:
	case BW_CORRUPT:
		if (!u->failed && strcmp(x->error.code, "NoSuchUpload") != 0)
			due_ns = again_at(u, x, slot->tries);
		break;
	default:
		if (!u->failed && has_more_time(u, x))
			due_ns = again_at(u, x, slot->tries);
		break;
	}
	if (due_ns == BW_NEVER)
		fail_by_locked(u, x);
	return due_ns;
}

static void on_part(struct bw_s3_exchange *x)
{
	struct slot *slot = x->ctx;
	struct bw_s3_upload *u = slot->u;

	bw_lock(&u->s->lock);
	int64_t due_ns = settle_part_locked(slot);
	u->cut |= x->http.end == BW_HTTP_LOST || x->http.end == BW_HTTP_SLOW || x->http.end == BW_HTTP_LATE;
	bw_unlock(&u->s->lock);
	bw_s3_exchange_clear(x);	/* the bytes are gone before others may have their memory */
	bw_lock(&u->s->lock);
	bool again = due_ns != BW_NEVER && !u->failed;
	if (again) {
		slot->again = (struct bw_task){.run = run_part, .prio = u->prio};
		bw_workq_push_at(u->s->workers, &slot->again, due_ns);
	} else {
		free_slot_locked(slot);
	}
	bw_unlock(&u->s->lock);
	if (!again)
		advance(u);
}

/* The caller has a place in u->busy besides the part's: u stays. */
static void send_part(struct slot *slot)
{
	struct bw_s3_upload *u = slot->u;
	struct bw_s3_exchange *x = &slot->x;

	bw_lock(&u->s->lock);
	slot->tries++;
	exchange_init(u, x, BW_OP_PUT, "PUT", slot->query);
	x->from = u->body;
	x->from_off = (slot->number - 1) * u->part_size;
	x->bytes_len = part_len(u, slot->number);
	x->done = on_part;
	x->ctx = slot;
	bw_unlock(&u->s->lock);
	bw_s3_exchange_start(x);
}

static void run_part(struct bw_task *task)
{
	struct slot *slot = bw_container_of(task, struct slot, again);
	struct bw_s3_upload *u = slot->u;

	bw_lock(&u->s->lock);
	bool stop = u->failed;
	if (stop)
		free_slot_locked(slot);
	else
		u->busy++;
	bw_unlock(&u->s->lock);
	if (!stop)
		send_part(slot);
	advance(u);
}

static bool has_part_locked(struct bw_s3_upload *u)
{
	if (!u->open)
		return u->next <= u->parts_n;
	return u->next <= PARTS_MAX && u->next * u->part_size <= u->upto;
}

static bool has_etag_room_locked(struct bw_s3_upload *u)
{
	uint32_t n = u->etags_n ? 2 * u->etags_n : 16;

	if (u->next <= u->etags_n)
		return true;
	char **more = realloc(u->etags, n * sizeof(*more));

	if (!more) {
		fail_locked(u, BW_UNREACHABLE, -ENOMEM);
		return false;
	}
	memset(more + u->etags_n, 0, (n - u->etags_n) * sizeof(*more));
	u->etags = more;
	u->etags_n = n;
	return true;
}

/* Of an upload that no op waits for: what is begun now has so long, however long what came before it took. */
static void renew_deadline_locked(struct bw_s3_upload *u)
{
	if (u->open)
		u->deadline_ns = bw_now() + EARLY_NS + (int64_t)(u->part_size / EARLY_RATE) * BW_SEC;
}

/* The next part with a slot and memory for it; NULL: none now. */
static struct slot *take_part_locked(struct bw_s3_upload *u)
{
	struct slot *slot = u->slots;

	while (slot < &u->slots[SLOTS] && slot->number)
		slot++;
	if (u->failed || u->waits || !has_part_locked(u) || slot == &u->slots[SLOTS] || !has_etag_room_locked(u) ||
	    !take_bytes_locked(u, part_len(u, u->next)))
		return NULL;
	slot->u = u;
	slot->number = u->next++;
	slot->tries = 0;
	u->busy++;
	renew_deadline_locked(u);
	return slot;
}

/* ---- Completion ----------------------------------------------------------------------------- */

static enum bw_outcome outcome_of(const struct bw_s3_upload *u, struct bw_s3_exchange *x)
{
	if (x->outcome != BW_OK)
		return bw_s3_judge_completion(x->outcome, x->error.code, u->op->if_absent);
	const struct bw_blob *b = x->http.blob;
	int end = b ? bw_s3_complete_parse(b->bytes, b->len, &x->error) : -BW_E_CORRUPT;

	if (end == 0)
		return BW_OK;
	snprintf(x->detail, sizeof(x->detail), "completion: %s", end > 0 ? x->error.code : "no answer");
	return end > 0 ? bw_s3_judge_completion(x->outcome, x->error.code, u->op->if_absent) : BW_UNKNOWN;
}

static void run_complete(struct bw_task *task);

/* Only what was certainly not applied, and what the same parts can still become. */
static bool repeat_completion(struct bw_s3_upload *u, enum bw_outcome outcome)
{
	struct bw_s3_exchange *x = &u->x;
	int64_t due_ns = again_at(u, x, u->completions);

	if (due_ns == BW_NEVER || outcome != x->outcome || x->http.status == 409 ||
	    (outcome != BW_UNREACHABLE && outcome != BW_THROTTLED))
		return false;
	bw_s3_exchange_clear(x);
	BW_LOCK_SCOPE(&u->s->lock);
	u->completing = false;
	u->task = (struct bw_task){.run = run_complete, .prio = u->prio};
	bw_workq_push_at(u->s->workers, &u->task, due_ns);
	return true;
}

static void on_completed(struct bw_s3_exchange *x)
{
	struct bw_s3_upload *u = x->ctx;
	enum bw_outcome outcome = outcome_of(u, x);

	if (repeat_completion(u, outcome))
		return;
	bw_s3_exchange_to_op(x, u->op);
	u->op->outcome = outcome;
	bw_s3_exchange_clear(x);
	finish(u);
}

static void send_completion(struct bw_s3_upload *u)
{
	struct bw_s3_exchange *x = &u->x;

	u->completions++;
	bw_lock(&u->s->lock);
	exchange_init(u, x, BW_OP_PUT, "POST", u->query);
	bw_unlock(&u->s->lock);
	x->if_absent = u->op->if_absent;
	x->bytes = u->list.bytes;
	x->bytes_len = u->list.len;
	x->headers[x->headers_n++] = (struct bw_sign_header){"content-type", "application/xml"};
	if (x->if_absent)
		x->headers[x->headers_n++] = (struct bw_sign_header){"if-none-match", "*"};
	x->done = on_completed;
	bw_s3_exchange_start(x);
}

static bool has_failed(struct bw_s3_upload *u)
{
	BW_LOCK_SCOPE(&u->s->lock);
	return u->failed;
}

static void run_complete(struct bw_task *task)
{
	struct bw_s3_upload *u = bw_container_of(task, struct bw_s3_upload, task);
	int err = 0;

	if (!has_failed(u) && !u->list.len)
		err = bw_s3_complete_print(u->etags, u->parts_n, &u->list);
	bw_lock(&u->s->lock);
	if (err)
		fail_locked(u, BW_UNREACHABLE, err);
	bool stop = u->failed;
	u->completing = !stop;
	bw_unlock(&u->s->lock);
	if (stop)
		finish(u);
	else
		send_completion(u);
}

/* ---- The course of an upload ---------------------------------------------------------------- */

/* Begins what can be begun and gives up the caller's place in u->busy. */
static void advance(struct bw_s3_upload *u)
{
	struct bw_s3 *s = u->s;
	struct slot *slot;

	bw_lock(&s->lock);
	while ((slot = take_part_locked(u))) {
		bw_unlock(&s->lock);
		snprintf(slot->query, sizeof(slot->query), "partNumber=%u&%s", slot->number, u->query);
		send_part(slot);
		bw_lock(&s->lock);
	}
	if (u->failed)
		stop_locked(u);		/* what was just being started has not heard of it */
	if (--u->busy == 0 && (!u->open || u->dropped)) {
		/* Every part has arrived, or it failed and nothing is under way any more. */
		u->task = (struct bw_task){.run = run_complete, .prio = u->prio};
		bw_workq_push(s->workers, &u->task);
	}
	bw_unlock(&s->lock);
}

static int read_id(struct bw_s3_upload *u)
{
	const struct bw_blob *b = u->x.http.blob;
	bw_auto_buf struct bw_buf encoded = {.max = 0};
	char id[ID_MAX];

	bw_buf_init(&encoded, 3 * ID_MAX);
	int err = b ? bw_s3_upload_id_parse(b->bytes, b->len, id, sizeof(id)) : -BW_E_CORRUPT;
	if (err)
		return err;
	err = bw_percent_encode(id, false, &encoded);
	if (err)
		return err;
	snprintf(u->query, sizeof(u->query), "uploadId=%s", bw_buf_text(&encoded));
	return 0;
}

static void on_begun(struct bw_s3_exchange *x)
{
	struct bw_s3_upload *u = x->ctx;
	int err = x->outcome == BW_OK ? read_id(u) : 0;

	bw_lock(&u->s->lock);
	if (x->outcome != BW_OK)
		fail_by_locked(u, x);
	else if (err)
		fail_locked(u, BW_UNREACHABLE, err);
	u->heard = true;
	u->busy++;
	bw_unlock(&u->s->lock);
	bw_s3_exchange_clear(x);
	advance(u);
}

static struct bw_s3_upload *upload_new(struct bw_s3 *s, const char *key, struct bw_body *body, enum bw_prio prio)
{
	struct bw_s3_upload *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->s = s;
	u->body = body;
	u->prio = prio;
	u->next = 1;
	snprintf(u->key, sizeof(u->key), "%s", key);
	bw_buf_init(&u->list, LIST_MAX);
	bw_rng_init(&u->rng, (uint64_t)bw_now());
	return u;
}

static void set_size(struct bw_s3_upload *u, uint64_t size)
{
	u->size = size;
	u->parts_n = (uint32_t)((size + u->part_size - 1) / u->part_size);
}

static void send_beginning(struct bw_s3_upload *u)
{
	exchange_init(u, &u->x, BW_OP_PUT, "POST", "uploads=");
	u->x.done = on_begun;
	bw_s3_exchange_start(&u->x);
}

void bw_s3_multipart_put(struct bw_s3 *s, struct bw_op *op)
{
	uint64_t part_size = part_size_of(op->body->size, s->part_size);
	struct bw_s3_upload *u = part_size ? upload_new(s, op->key, op->body, op->prio) : NULL;

	if (!u) {
		bw_s3_op_fail_later(s, op, part_size ? BW_UNREACHABLE : BW_FULL, part_size ? -ENOMEM : -EFBIG);
		return;
	}
	u->op = op;
	u->deadline_ns = op->deadline_ns;
	u->part_size = part_size;
	set_size(u, op->body->size);
	bw_s3_job_begin(s, &u->job, op, cancel_locked);
	send_beginning(u);
}

/* ---- Before there is an op ------------------------------------------------------------------ */

/* A part is held in memory.  For what is only expected that is not exceeded: one slice may be much larger than the others. */
static uint64_t early_part_size(const struct bw_s3 *s, uint64_t expected)
{
	uint64_t size = part_size_of(expected < OBJECT_MAX / 5 * 4 ? expected + expected / 4 : OBJECT_MAX, s->part_size);
	uint64_t most = s->parts_memory > s->part_size ? s->parts_memory : s->part_size;

	return size < most ? size : most;
}

static void early_grow(struct bw_early *early, uint64_t upto, uint64_t expected)
{
	struct bw_s3_upload *u = (struct bw_s3_upload *)early;

	bw_lock(&u->s->lock);
	u->upto = upto;
	if (!u->begun)
		u->part_size = early_part_size(u->s, expected > upto ? expected : upto);
	renew_deadline_locked(u);
	/* Less would not go in parts. */
	bool starts = !u->begun && !u->failed && upto > u->part_size + u->part_size / 2;
	u->begun |= starts;
	bool goes = u->heard && !u->failed;
	u->busy += goes;
	bw_unlock(&u->s->lock);
	if (starts)
		send_beginning(u);
	if (goes)
		advance(u);
}

static void early_drop(struct bw_early *early)
{
	struct bw_s3_upload *u = (struct bw_s3_upload *)early;

	BW_LOCK_SCOPE(&u->s->lock);
	u->dropped = true;
	bool rests = !u->busy && (!u->begun || u->heard);
	if (rests) {
		u->failed = true;
		u->task = (struct bw_task){.run = run_complete, .prio = u->prio};
		bw_workq_push(u->s->workers, &u->task);
	} else if (!u->failed) {
		stop_locked(u);
	}
}

/* False: there is nothing of it that the put can use. */
static bool adopt(struct bw_s3_upload *u, struct bw_op *op)
{
	struct bw_s3 *s = u->s;
	uint64_t size = op->body->size;

	bw_lock(&s->lock);
	bool usable = u->begun && !u->failed && size <= PARTS_MAX * u->part_size;
	if (usable) {
		u->open = false;
		u->op = op;
		u->deadline_ns = op->deadline_ns;
		set_size(u, size);
		u->busy++;	/* whatever comes to an end now waits for what follows */
		if (u->waits)
			wake_locked(s->workers, &u->task);	/* to wait until the new deadline */
	}
	bw_unlock(&s->lock);
	if (!usable)
		return false;
	bw_s3_job_begin(s, &u->job, op, cancel_locked);
	bw_lock(&s->lock);
	bool goes = u->heard;	/* else the answer to the beginning goes on */
	u->busy -= !goes;
	bw_unlock(&s->lock);
	if (goes)
		advance(u);
	return true;
}

bool bw_s3_early_put(struct bw_op *op)
{
	struct bw_early *early = op->early;

	op->early = NULL;
	if (adopt((struct bw_s3_upload *)early, op))
		return true;
	early_drop(early);
	return false;
}

struct bw_early *bw_s3_early(struct bw_store *store, const char *key, struct bw_body *body,
			     void (*released)(void *ctx), void *ctx)
{
	struct bw_s3 *s = (struct bw_s3 *)store;
	struct bw_s3_upload *u = upload_new(s, key, body, BW_PRIO_COMMIT);

	if (!u)
		return NULL;
	u->early = (struct bw_early){.grow = early_grow, .drop = early_drop};
	u->part_size = part_size_of(0, s->part_size);
	u->released = released;
	u->ctx = ctx;
	u->open = true;
	bw_gate_enter(&s->gate);
	return &u->early;
}
