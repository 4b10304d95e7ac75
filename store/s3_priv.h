/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the S3 backend share: s3.c (one request an op), s3_exchange.c, s3_multipart.c,
 * s3_delete.c.  Private to store/s3*.c.
 *
 * An exchange is one request and its answer: credentials are asked for, the request is signed, sent,
 * classified, and when the store corrects us (redirect, clock, expired credentials) sent once more.
 * A job is an op that is lent to the backend, made of one or more exchanges; the list of jobs is how cancel()
 * finds what to end, for an op may have been given back already when the hint arrives.
 */
#ifndef BW_STORE_S3_PRIV_H
#define BW_STORE_S3_PRIV_H

#include "store/layer.h"
#include "store/s3_request.h"

struct bw_s3_job {
	struct bw_op *op;
	/* Under s->lock: marks, and calls bw_s3_exchange_cancel_locked() for what is under way; no more. */
	void (*cancel_locked)(struct bw_s3_job *job);
	struct bw_s3_job *prev, *next;
};

struct bw_s3 {
	struct bw_store store;
	struct bw_gate gate;
	struct bw_http *http;
	struct bw_cred_chain *creds;
	struct bw_workq *workers;	/* read and hash bodies; end what fails inside submit */
	uint64_t part_size;
	unsigned connections;
	struct bw_log *log;
	struct bw_mutex lock;		/* BW_RANK_STORE: all of the rest, and the state of every exchange */
	struct bw_s3_address address;	/* copied out by whoever signs, replaced as a whole */
	struct bw_s3_job *jobs;
	uint64_t parts_memory;		/* constant: the most of the next */
	uint64_t part_bytes;		/* of parts of uploads that are on their way */
	struct bw_s3_upload *uploads_waiting;	/* for memory, by order of arrival */
	bool no_delete_many;		/* the store has said that it does not know it */
	bool bodies_unsigned;		/* large ones: somebody else vouches for them, and the store takes that */
};

/* The op is lent to job; s3.c has entered the gate for it already. */
void bw_s3_job_begin(struct bw_s3 *s, struct bw_s3_job *job, struct bw_op *op,
		     void (*cancel_locked)(struct bw_s3_job *job));
/*
 * No cancel_locked() is running or will: the job may be freed from here on.  bw_s3_op_end() then gives the op
 * back and leaves the gate: after it neither s nor the op may be touched.
 */
void bw_s3_job_end(struct bw_s3 *s, struct bw_s3_job *job);
void bw_s3_op_end(struct bw_s3 *s, struct bw_op *op);
/* Gives op back from a thread of workers, for what fails inside submit; it has no job (any more). */
void bw_s3_op_fail_later(struct bw_s3 *s, struct bw_op *op, enum bw_outcome outcome, int err);

#define BW_S3_HEADERS_MAX 6

enum bw_s3_exchange_state {
	BW_S3_AT_REST,
	BW_S3_PREPARING,
	BW_S3_ASKING,		/* for credentials; task is its alarm */
	BW_S3_LENT,
};

/* Zeroed and filled in by its owner, who keeps it where it is from start to done(). */
struct bw_s3_exchange {
	struct bw_s3 *s;
	enum bw_op_kind kind;		/* how the answer is classified: every part of a multipart put is a PUT */
	bool if_absent;
	enum bw_prio prio;
	int64_t deadline_ns;
	unsigned attempts;		/* that ended before: a read is given more time to think */
	struct bw_s3_call call;		/* headers and payload_sha256 are filled in by start: use the next two */
	struct bw_sign_header headers[BW_S3_HEADERS_MAX];	/* sorted by name; values outlive done() */
	size_t headers_n;
	const uint8_t *bytes;		/* the body in memory, borrowed; ignored with from */
	size_t bytes_len;
	struct bw_body *from;		/* or: read and hashed by a worker; borrowed */
	uint64_t from_off;		/* bytes_len of them */
	size_t expect, max, cut;	/* as in s3_http.h */
	/* On a thread of the store, never inside start; may start others, this one again included (after
	 * bw_s3_exchange_clear()), and may free it. */
	void (*done)(struct bw_s3_exchange *x);
	void *ctx;			/* the owner's */

	/* The result. */
	enum bw_outcome outcome;
	int err;			/* -errno or 0: of the body, of memory */
	struct bw_http_request http;	/* the answer: status, blob, etag ... */
	struct bw_s3_error error;	/* what the store said when it refused */
	char detail[BW_DETAIL_MAX + 1];	/* for the log: status, code, request id; never a secret */

	/* Private. */
	enum bw_s3_exchange_state state;
	bool cancelled;
	unsigned remedies;		/* one bit each: applied already */
	bool was_unsigned;		/* and refused so */
	bool elsewhere;			/* sent away for this time: address is its own */
	char sha256[BW_SHA256_HEX + 1];
	uint8_t *buf;			/* what was read of from */
	struct bw_s3_address address;	/* as the request in flight was signed for */
	struct bw_creds *creds;
	struct bw_creds *doubted;	/* while others are asked for; owned */
	struct bw_cred_wait wait;
	/* ASKING, under s->lock: of answer and alarm, whoever is second goes on, and the first leaves it alone. */
	bool asked_answered, asked_alarmed;
	int asked_err;
	struct bw_task task;
};

void bw_s3_exchange_start(struct bw_s3_exchange *x);
/* Under s->lock: a hint; done() runs soon and not inside.  Nothing happens to one at rest. */
void bw_s3_exchange_cancel_locked(struct bw_s3_exchange *x);
/* Frees what a result holds (http.blob too, unless taken: set it to NULL); the request stays. */
void bw_s3_exchange_clear(struct bw_s3_exchange *x);
/* The outcome, err, retry_after_ns and detail of op are those of x. */
void bw_s3_exchange_to_op(const struct bw_s3_exchange *x, struct bw_op *op);

/* s3_multipart.c: a put whose body is longer than 1.5 parts.  Makes a job of its own; ends op. */
void bw_s3_multipart_put(struct bw_s3 *s, struct bw_op *op);
/* The same, begun before there is an op; and the put with op->early, for which s3.c has entered the gate: false, op is
 * still the caller's, to be put without. */
bw_early_fn bw_s3_early;
bool bw_s3_early_put(struct bw_op *op);
/* s3_delete.c: one request for op->items.  Makes a job of its own; ends op. */
void bw_s3_delete_many(struct bw_s3 *s, struct bw_op *op);

#endif
