/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store contract: what BatchWeave needs of an object store, and nothing more.
 *
 * A store is a chain: filters (retry, limit, stats, hedge, pace, fault, delay) around one backend (file, mem,
 * s3).  All of them are a struct bw_store; a filter owns what is below it.
 *
 * A request is a struct bw_op, owned by the caller and lent to the store from bw_store_submit()
 * until its done() runs.  The rules, which tests/contract holds every backend and filter to:
 *
 *  - submit cannot fail: whatever goes wrong arrives in done() as an outcome.
 *  - done() runs exactly once, never inside submit, never with a lock of the store held, on a thread
 *    of the store; it may submit further requests and may free the op, but must not block.
 *  - put with if_absent is atomic: of any number of them on one key at most one is ever OK, and a
 *    reader sees all of its bytes or NOT_FOUND.
 *  - read-after-write: a get, list or if_absent put sent after a put was OK sees that put; but of a listing, a page
 *    behind another may lack what was put after the first was sent.  What it tells was there when it was sent.
 *  - a get returns all the bytes asked for, or an outcome other than OK.
 *  - a backend classifies what happened and never repeats a request; only filter_retry repeats
 *    requests, and filter_hedge gets; only the commit protocol repeats commits.
 *
 * Outcomes are decided by what is known about the state of the store, not by status codes:
 * UNKNOWN is the honest answer whenever a put or delete may or may not have been applied.
 */
#ifndef BW_STORE_STORE_H
#define BW_STORE_STORE_H

#include "store/base/blob.h"
#include "store/base/clock.h"
#include "store/base/limits.h"
#include "store/base/log.h"
#include "store/base/workq.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bw_outcome {
	BW_OK,
	BW_EXISTS,		/* put if_absent: the key is taken; nothing was changed */
	BW_NOT_FOUND,		/* get: there is no such object; delete: the same, but a store may say OK */
	BW_THROTTLED,		/* nothing was applied; ask again more slowly */
	BW_DENIED,		/* nothing was applied; permissions or credentials */
	BW_FULL,		/* nothing was applied; out of space or quota */
	BW_UNREACHABLE,		/* nothing was applied; the request was not sent, or a read failed */
	BW_UNKNOWN,		/* a put or delete that may or may not have been applied */
	BW_CORRUPT,		/* a get whose answer is shorter or longer than asked for */
	BW_CANCELLED,		/* nothing was applied; cancelled or past its deadline before it was sent */
};

enum bw_op_kind {
	BW_OP_GET,
	BW_OP_PUT,
	BW_OP_DELETE,
	BW_OP_LIST,
	BW_OP_DELETE_MANY,
	BW_OP_LIST_UPLOADS,
	BW_OP_ABORT_UPLOAD,
};

#define BW_TO_END UINT64_MAX

/*
 * The bytes of a put, pulled by the backend in any order, maybe more than once (a retry, parallel
 * parts) and from any thread, until done().  They must be the same each time.
 */
struct bw_body {
	uint64_t size;
	/* Fills buf with len bytes from off (off + len <= size).  0 or -errno; may read a disk. */
	int (*read)(struct bw_body *body, uint64_t off, void *buf, size_t len);
	/*
	 * NULL, or spares a copy: how many bytes from off (at most len) lie at *ret; they stay until the caller unrefs
	 * *ret_hold.  0: read them.
	 */
	size_t (*view)(struct bw_body *body, uint64_t off, size_t len, struct bw_blob **ret_hold,
		       const uint8_t **ret);
};

/* Bytes of a body: where they lie, or in the buffer that they were read into. */
struct bw_lent {
	const uint8_t *bytes;
	size_t len;
	struct bw_blob *hold;	/* unref it when done with the bytes; NULL is fine */
};
/* 1 to len bytes from off (off + len <= size, len > 0); buf has room for all of them.  0 or -errno. */
int bw_body_lend(struct bw_body *body, uint64_t off, void *buf, size_t len, struct bw_lent *ret) bw_must_check;

/* A body over bytes in memory that outlive the put. */
struct bw_bytes_body {
	struct bw_body body;
	const uint8_t *bytes;	/* borrowed */
};
void bw_bytes_body_init(struct bw_bytes_body *b, const void *bytes, size_t len);

/* One page of a listing. */
struct bw_listed {
	char *key;		/* owned by the listing */
	uint64_t size;
	int64_t modified_ms;	/* by the store's clock */
};
struct bw_listing {
	size_t n;
	bool more;		/* ask again with after = the last key */
	struct bw_listed *items;	/* ascending by bytes of the key */
};
void bw_listing_free(struct bw_listing *l);	/* NULL is fine */

/*
 * One page of the uploads that were begun and have not ended: puts that are on their way, and what those left
 * behind whose process died.  A put that a store takes in one piece leaves nothing; nor does one in memory.
 */
struct bw_upload {
	char *key;		/* owned by the page, like id */
	char *id;		/* names it to the store, together with key; at most BW_UPLOAD_ID_MAX bytes */
	int64_t begun_ms;	/* by the store's clock; a store of files tells when it last grew */
};
struct bw_uploads {
	size_t n;
	bool more;		/* ask again with key and id of the last */
	struct bw_upload *items;	/* in an order of the store's own */
};
void bw_uploads_free(struct bw_uploads *u);	/* NULL is fine */

/* One of the keys of a DELETE_MANY and what became of it: OK also when there was no such object. */
struct bw_delete_item {
	const char *key;	/* borrowed until done */
	enum bw_outcome outcome;
};

struct bw_op {
	/* The request: set before submit; until done() nobody else touches it (filters stand in for
	 * done and put it back). */
	enum bw_op_kind kind;
	enum bw_prio prio;
	int64_t deadline_ns;	/* bw_now() time; BW_NEVER.  Past it the op ends, soon, by itself */
	bool once;		/* filter_retry: not repeated; whoever asks does so himself, and knows which answer is how old */
	unsigned attempts;	/* filter_retry: that have ended; a backend is more patient with each */
	char key[BW_KEY_MAX + 1];	/* LIST, LIST_UPLOADS: the prefix */
	bool if_absent;		/* PUT */
	bool sole;		/* PUT if_absent: the key is this caller's alone, and until it is told OK nobody goes by what
				 * is there, which a crash may have cut short then */
	struct bw_body *body;	/* PUT: borrowed until done */
	struct bw_early *early;	/* PUT: NULL, or what was begun of it.  A backend that takes it sets it to NULL; if it is
				 * still here when done() runs, the caller drops it */
	uint64_t offset;	/* GET */
	uint64_t length;	/* GET: BW_TO_END reads the rest, at most max bytes of it */
	uint32_t cut;		/* GET with a length: the answer may be a chain of blobs of so many bytes; 0: it is one blob */
	uint64_t max;		/* GET to the end: a longer object is CORRUPT.  LIST, LIST_UPLOADS: items in the page */
	char after[BW_KEY_MAX + 1];	/* LIST: only keys above this; "" for all */
	const char *upload;	/* ABORT_UPLOAD: its id.  LIST_UPLOADS: with after, the one to go on behind.  Borrowed
				 * until done */
	struct bw_delete_item *items;	/* DELETE_MANY: 1 to BW_DELETE_MANY_MAX, borrowed until done; key is "" */
	size_t items_n;
	void (*done)(struct bw_op *op);
	void *ctx;		/* the caller's */

	/* The result: set when done() runs. */
	enum bw_outcome outcome;
	int err;		/* detail: -errno or 0 */
	int64_t retry_after_ns;	/* THROTTLED, UNREACHABLE: not before so long, when the store said so; else 0 */
	char detail[BW_DETAIL_MAX + 1];	/* for the log, so without double quotes: status, request id; "" when there is nothing to say */
	struct bw_blob *blob;	/* GET OK: one reference that the caller takes or bw_op_done() drops; a chain only by cut */
	uint64_t object_size;	/* GET OK: size of the whole object, or 0 when the store did not say */
	int64_t modified_ms;	/* GET OK: when it was put or later, by the store's clock; or 0 */
	struct bw_listing *listing;	/* LIST OK: dropped by bw_op_done() */
	struct bw_uploads *uploads;	/* LIST_UPLOADS OK: the same */

	/* The store's own while the op is lent. */
	struct bw_store *at;	/* the layer that was given it last */
	struct bw_task task;
	void *store_priv;
};

struct bw_store;

/*
 * A put that begins before all of its bytes are there, so that most of them are in the store when the last one
 * comes.  It spares time and promises nothing: no object appears, nothing of it is told, and the put, which is given it in op->early
 * with the same key and body, sends whatever is missing; after a failure, or the second time, everything.  It is no op: filters
 * do not see it, so backends begin no more of it than they can hold.
 *
 * grow: bytes [0, upto) of body may be read from now on, by threads of the store, and do not change; it will have about
 * `expected` of them in the end, as far as is known (0: not at all).  drop: instead of the put.  Neither blocks.  released() runs once, not inside the calls, on a thread of the store: after drop, or
 * about when the put ends; before it the body stays as it is.
 */
struct bw_early {
	void (*grow)(struct bw_early *e, uint64_t upto, uint64_t expected);
	void (*drop)(struct bw_early *e);
};
typedef struct bw_early *bw_early_fn(struct bw_store *s, const char *key, struct bw_body *body,
				     void (*released)(void *ctx), void *ctx);

struct bw_store_ops {
	const char *name;
	/* See the rules above. */
	void (*submit)(struct bw_store *s, struct bw_op *op);
	/*
	 * A hint that nobody wants the answer any more; done() still runs, exactly once, and never
	 * inside cancel.  The caller sees to it that the op is still lent.  May be NULL.
	 */
	void (*cancel)(struct bw_store *s, struct bw_op *op);
	bw_early_fn *early;	/* of a backend; may be NULL */
	/*
	 * A put that is known before it may be sent, because something else has to be durable first: what nobody sees of it is
	 * done meanwhile, its bytes made durable included, so that the put has little left to do.  All of the body may be read
	 * from now on; it does not grow.  Else like an early put, and ended like one: by the put or by drop.
	 */
	bw_early_fn *prepare;	/* of a backend; NULL: it has nothing to do ahead */
	void (*leave)(struct bw_store *s);	/* of a filter; NULL: freeing it waits for nothing that was given up.  See bw_store_leave() */
	/* Waits until every op lent has been given back, stops threads, frees, then frees what is below. */
	void (*free)(struct bw_store *s);
};

struct bw_store {
	const struct bw_store_ops *ops;
	struct bw_store *next;	/* owned: the store below; NULL in a backend */
};

/* The checkpoint between any two layers: asserts a well-formed request, then calls down. */
void bw_store_submit(struct bw_store *s, struct bw_op *op);
void bw_store_cancel(struct bw_store *s, struct bw_op *op);
void bw_store_free(struct bw_store *s);		/* NULL is fine */
/*
 * The same for a process that is about to end, without early puts of its own: what was given up and does not return a second
 * later is left behind, with the backend.
 */
void bw_store_leave(struct bw_store *s);
/* NULL: this store has none, or not now; released() will not run. */
bw_early_fn bw_store_early, bw_store_prepare;
bool bw_store_prepares(struct bw_store *s);	/* whether bw_store_prepare() is worth making a body for */

/* Fill in a request; everything not named keeps its default (prio DEMAND, no deadline, no done). */
void bw_op_get(struct bw_op *op, const char *key, uint64_t offset, uint64_t length);
void bw_op_get_all(struct bw_op *op, const char *key, uint64_t max);
void bw_op_put(struct bw_op *op, const char *key, struct bw_body *body, bool if_absent);
void bw_op_delete(struct bw_op *op, const char *key);
/* OK: all of them are; else the worst of what they ended with, and each item says its own. */
void bw_op_delete_many(struct bw_op *op, struct bw_delete_item *items, size_t n);
void bw_op_list(struct bw_op *op, const char *prefix, const char *after, unsigned max);
/*
 * after, after_id: those of the last of the page before; "" and NULL for the first.  Gather all pages before you
 * abort: a store may not know how to go on behind an upload that is gone.  It may also pass over others of the key
 * on which a page ends.  So who wants all of them gone lists again until nothing is left.  Stores that tell nobody
 * of uploads say DENIED, or nothing.
 */
void bw_op_list_uploads(struct bw_op *op, const char *prefix, const char *after, const char *after_id,
			unsigned max);
/*
 * OK also when there is no such upload (any more).  For one that nobody can finish any more: a put whose upload is
 * aborted under it ends UNREACHABLE, or UNKNOWN when it was about to be completed; but some stores take the
 * parts from under an object that is being completed at that moment.  A part that arrives behind the abort can
 * bring an upload back.
 */
void bw_op_abort_upload(struct bw_op *op, const char *key, const char *id);
/* Frees what a result holds.  The op may then be used again. */
void bw_op_done(struct bw_op *op);

/* Submits and waits: for commands, tests and threads whose job is to wait.  Returns the outcome. */
enum bw_outcome bw_store_sync(struct bw_store *s, struct bw_op *op);

/* 0 for OK, else the private code or -errno that fits (EXISTS: -EEXIST, NOT_FOUND: -ENOENT ...). */
int bw_op_err(const struct bw_op *op);
const char *bw_outcome_name(enum bw_outcome outcome);	/* "ok", "exists", ... for metrics and logs */
const char *bw_op_kind_name(enum bw_op_kind kind);	/* "get", "put", "delete", "list", "delete_many", "list_uploads", "abort_upload" */

/*
 * Keys are 1 to BW_KEY_MAX bytes of [A-Za-z0-9._-] segments joined by single slashes; no segment is
 * "." or "..".
 */
bool bw_key_valid(const char *key);

/* ---- Backends ------------------------------------------------------------------------------- */

/* Objects in memory, for tests. */
int bw_store_mem_new(struct bw_store **ret) bw_must_check;

/*
 * Objects as files below dir.  put: temporary file, write, fsync, link(2) into place (if_absent) or
 * rename(2), fsync of the directory; so OK means durable and names appear whole.  Sole ones are linked before
 * both fsyncs, which then run side by side: what appears is whole unless the machine fails.
 * create: makes dir when it is missing.  -ENOENT when dir is missing and create is not set.
 */
int bw_store_file_new(const char *dir, bool create, unsigned threads, struct bw_store **ret)
	bw_must_check;

/* ---- Filters: each takes below, also when it fails ------------------------------------------ */

/* Counts and times; see struct bw_store_stats.  stats outlives the store. */
struct bw_store_stats;
int bw_filter_stats_new(struct bw_store *below, struct bw_store_stats *stats, struct bw_store **ret)
	bw_must_check;

/*
 * At most max_ops lent to what is below and max_bytes of bodies and answers in them; the rest waits
 * by priority.  A quarter of both is kept for gets and lists of DEMAND priority, an eighth of max_ops for all
 * the others, so neither waits for many of the other; and an eighth of both is not
 * for puts of large bodies, so that no small put waits for them.
 */
int bw_filter_limit_new(struct bw_store *below, unsigned max_ops, uint64_t max_bytes,
			struct bw_store **ret) bw_must_check;

/*
 * Repeats gets, lists, deletes, aborts and unconditional puts that ended THROTTLED, UNREACHABLE or UNKNOWN,
 * and if_absent puts only when nothing can have been applied (THROTTLED, UNREACHABLE), with full
 * jitter from base_ns doubling to max_ns, not before the store's retry_after_ns (BW_PACE_PAUSE_MAX_NS at most), until the
 * op's deadline.  An op without a deadline is tried at most tries times, one that is to be sent once is not repeated.
 *
 * A retry storm is impossible: each repeat costs a token, of which there are budget at first and at
 * most; a fresh request earns a fifth of one, a repeat that got an answer (OK, EXISTS, NOT_FOUND) two, and
 * when there are none one comes every floor_ns.  Whoever has none waits in line, by priority.  So of F
 * fresh requests over a time T, S of which a repeat answered, repeats are at most
 *
 *	budget + F / 5 + 2 S + T / floor_ns + 1
 *
 * and while the store is away (S = 0) they come to a trickle; once it is back, answers feed repeats.
 */
struct bw_send_stats;
struct bw_retry_config {
	int64_t base_ns, max_ns;
	unsigned tries;
	uint64_t seed;
	unsigned budget;	/* 0: BW_RETRY_BUDGET */
	int64_t floor_ns;	/* 0: BW_RETRY_FLOOR_NS */
	struct bw_send_stats *stats;	/* outlives the store; NULL: counts nowhere */
};
#define BW_RETRY_BUDGET 100u
#define BW_RETRY_EARN 5u	/* fresh requests that earn a token */
#define BW_RETRY_FLOOR_NS (200 * BW_MS)
int bw_filter_retry_new(struct bw_store *below, const struct bw_retry_config *config,
			struct bw_store **ret) bw_must_check;

/*
 * Sends as fast as the store takes it.  Until the store throttles there is no limit and nothing
 * waits.  A THROTTLED answer halves the rate of sending and the number of requests under way, but not
 * if its request was sent before the last cut, nor within BW_PACE_CUT_NS of it.  Answers raise both
 * again, by a fifth per second of what they were before the cut; at twice that there is no limit any more,
 * so ten seconds without throttling end it.  Never below BW_PACE_MIN requests per second and one under way.
 * retry_after_ns of a THROTTLED or UNREACHABLE answer pauses all sending for so long
 * (BW_PACE_PAUSE_MAX_NS at most).  Whoever waits does so by priority, but each third that goes is
 * no demand if any other waits, so that readers cannot starve a commit; past its deadline it ends
 * CANCELLED.
 */
#define BW_PACE_CUT_NS (100 * BW_MS)
#define BW_PACE_MIN 20.0
#define BW_PACE_PAUSE_MAX_NS (30 * BW_SEC)
/* stats outlives the store; NULL: counts nowhere. */
int bw_filter_pace_new(struct bw_store *below, struct bw_send_stats *stats, struct bw_store **ret)
	bw_must_check;

/*
 * Sends a get once more that is not answered in four times as long as gets of its size lately took, at least
 * min_ns.  The first good answer (OK, NOT_FOUND) is the answer and the other request is cancelled; a bad one
 * waits for the other.  So a connection that has stalled costs a get that much and no more.
 *
 * A store that is slow with all of them is not asked twice as much: each get earns a twentieth of a second request
 * (so of N gets at most BW_HEDGE_BURST + N / BW_HEDGE_EARN are sent twice), and none is sent while filter_pace
 * below holds requests back.  Second requests take up at most BW_HEDGE_BYTES_MAX together, beyond what
 * filter_limit above knows of; a get that may be longer is not sent twice.
 *
 * Anything but a get passes through.  stats, which are those of filter_pace, outlive the store; NULL: counts nowhere.
 */
#define BW_HEDGE_MIN_NS (200 * BW_MS)
#define BW_HEDGE_EARN 20u
#define BW_HEDGE_BURST 8u
#define BW_HEDGE_BYTES_MAX (UINT64_C(64) << 20)
int bw_filter_hedge_new(struct bw_store *below, int64_t min_ns, struct bw_send_stats *stats,
			struct bw_store **ret) bw_must_check;

/*
 * Gives up a get that has not come back more_ns after its deadline, UNREACHABLE: a call to a file system that hangs cannot be
 * ended.  It goes on below, and nobody hears of it; freeing the store waits for it, leaving it for more_ns.  All else passes
 * through.
 */
#define BW_LATE_NS BW_SEC
int bw_filter_late_new(struct bw_store *below, int64_t more_ns, struct bw_store **ret) bw_must_check;

/* Adds latency to every op: base_ns plus U(0, jitter_ns). */
int bw_filter_delay_new(struct bw_store *below, int64_t base_ns, int64_t jitter_ns, uint64_t seed,
			struct bw_store **ret) bw_must_check;

/*
 * Injects faults, by script or by chance.  For tests.  The plan is asked for each op, in order of
 * submission, from any thread.
 */
enum bw_fault {
	BW_FAULT_NONE,
	BW_FAULT_BEFORE,	/* UNREACHABLE, nothing applied */
	BW_FAULT_LOST_REPLY,	/* applied, but puts and deletes end UNKNOWN, reads UNREACHABLE */
	BW_FAULT_DUPLICATE,	/* delivered twice, the first answer counts */
	BW_FAULT_LATE,		/* ends UNKNOWN at once and is applied late_ns afterwards */
	BW_FAULT_THROTTLED,	/* THROTTLED, nothing applied */
	BW_FAULT_FULL,		/* FULL, nothing applied */
	BW_FAULT_DENIED,	/* DENIED, nothing applied */
	BW_FAULT_SHORT,		/* get: the answer loses its last byte: CORRUPT */
	BW_FAULT_FLIP,		/* get: one bit of the answer is flipped, outcome OK */
	BW_FAULT_DIE_BEFORE,	/* _exit(137) instead of sending */
	BW_FAULT_DIE_AFTER,	/* _exit(137) once applied */
};
struct bw_fault_plan {
	enum bw_fault (*decide)(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth);
	int64_t late_ns;
	void *ctx;
};
int bw_filter_fault_new(struct bw_store *below, struct bw_fault_plan *plan, struct bw_store **ret)
	bw_must_check;

/* ---- Opening by URL -------------------------------------------------------------------------- */

/*
 * A parsed stream URL: file:///abs/dir, s3://bucket[/prefix].  Trailing slashes are dropped; what
 * is wrong is said in one sentence in why (len bytes).
 */
struct bw_url {
	enum { BW_URL_FILE, BW_URL_S3 } scheme;
	char path[4096];	/* file: absolute directory; s3: bucket[/prefix] */
};
int bw_url_parse(const char *text, struct bw_url *ret, char *why, size_t why_len) bw_must_check;
/* Whether text, which bw_url_parse() takes, is of a bucket. */
bool bw_url_is_s3(const char *text);

struct bw_s3_config;
/* The production chain stats -> limit -> retry -> hedge (s3) -> pace -> backend. */
struct bw_store_config {
	bool create;		/* file: make the directory */
	unsigned threads;	/* file: 0 = default */
	struct bw_store_stats *stats;	/* NULL: no stats */
	struct bw_fault_plan *fault;	/* tests: NULL for none */
	const struct bw_s3_config *s3;	/* s3: NULL for what the environment says */
};
int bw_store_open(const struct bw_url *url, const struct bw_store_config *config,
		  struct bw_store **ret, char *why, size_t why_len) bw_must_check;

#endif
