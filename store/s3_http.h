/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP: threads, each of which owns a libcurl multi handle and its easy handles.  One for every eight
 * processors, one at least, four at most.  The only user of curl but for the credential sources.
 *
 * It moves bytes and reports facts; what an answer means is s3_request.h's.  The body of an answer goes
 * straight into its blob, but only once the status is known to be a good one: an error page is never data.
 * Connections are kept alive and shared; as many requests as connections are in flight, others wait by priority.
 */
#ifndef BW_STORE_S3_HTTP_H
#define BW_STORE_S3_HTTP_H

#include "store/base/blob.h"
#include "store/base/workq.h"
#include "store/s3.h"

enum bw_http_end {
	BW_HTTP_ANSWERED,	/* a whole answer, of whatever status */
	BW_HTTP_NOT_SENT,	/* no connection, a name that does not resolve, TLS refused: nothing can have been applied */
	/* The same, because who answers there is not believed, and nobody has been yet: a wrong certificate or CA file,
	 * which asking again does not mend.  Later on it is NOT_SENT: a certificate is being renewed, say. */
	BW_HTTP_NOT_BELIEVED,
	BW_HTTP_LOST,		/* sent, at least in part, and no whole answer */
	BW_HTTP_SLOW,		/* cut: too slow, before or during the answer, as below */
	BW_HTTP_LATE,		/* the deadline passed after it was sent */
	BW_HTTP_CANCELLED,	/* cancelled or past its deadline before it was sent */
	BW_HTTP_TOO_LONG,	/* the answer is longer than max */
	BW_HTTP_NO_MEMORY,
};

/*
 * A transfer that makes less than 64 KiB in 5 s (a put: its own bytes count too) is cut and may be asked for
 * again.  A store that has the whole request may think before the first byte of its answer: 5 s over a GET, and
 * twice as long over each repeat of it, for a store that is slow with everybody must not be asked for ever anew;
 * 30 s over what changes something.  There it may also pause for so long within its answer, again and again until the
 * deadline: stores send the status at once, and blanks while they put an object together.
 */
#define BW_HTTP_SLOW_BYTES (64u << 10)
#define BW_HTTP_SLOW_NS (5 * BW_SEC)
#define BW_HTTP_THINK_NS (30 * BW_SEC)
/*
 * Until a connection is there: the look-up of its name, TCP, TLS.  It begins anew with each request, and so what takes
 * longer (a resolver asks its second server when the first has been silent for 5 s) would never come about: after one
 * that took too long the next one is given twice as long, and after one that came about twice as long as it took, within
 * these bounds.  TCP alone is given up sooner, by the kernel, so that another address or another attempt has its turn.
 */
#define BW_HTTP_CONNECT_NS (3 * BW_SEC)
#define BW_HTTP_CONNECT_MAX_NS (30 * BW_SEC)
#define BW_HTTP_SYNS 1		/* that are sent again: with pauses of 1 s and 2 s that makes 3 s; since Linux 6.5 four more, 7 s */
#define BW_HTTP_ERROR_MAX (16u << 10)	/* bytes kept of an error's body */

/* Owned by the caller, lent from submit to done(). */
struct bw_http_request {
	const char *method;	/* "GET", "PUT", "POST", "DELETE", "HEAD" */
	char *url;		/* owned by the caller until done */
	char **headers;		/* "Name: value"; owned by the caller until done */
	size_t headers_n;
	const uint8_t *body;	/* PUT, POST: borrowed until done; sent without Expect: */
	size_t body_len;
	size_t expect;		/* bytes a good answer is known to have: the blob is made at once; SIZE_MAX: unknown */
	size_t max;		/* a longer good answer ends TOO_LONG */
	size_t cut;		/* a good answer of a told length comes in a chain of blobs of so many bytes; 0: in one */
	enum bw_prio prio;
	int64_t deadline_ns;	/* bw_now() time, BW_NEVER */
	int64_t think_ns;	/* how long the store may think, as above */
	void (*done)(struct bw_http_request *r);	/* on a loop's thread; may submit; must not block */
	void *ctx;

	/* The result. */
	enum bw_http_end end;
	int status;		/* 0: none was seen */
	char detail[256];	/* curl's words, for the log, when there is no whole answer */
	struct bw_blob *blob;	/* body of a 2xx answer: the caller's */
	struct bw_blob *error;	/* body of any other, cut off at BW_HTTP_ERROR_MAX: the caller's */
	/* Header fields; "" or -1 when absent. */
	int64_t content_length, range_first, range_total, retry_after_ns, date_s, modified_s;
	char etag[128], request_id[80], region[64], location[1024];

	/* The loop's while it is lent. */
	enum bw_http_state { BW_HTTP_AT_REST, BW_HTTP_WAITING, BW_HTTP_RUNNING } state;
	unsigned loop;		/* which one has it */
	bool cancelled;
	struct bw_http_request *next;
};

#define BW_HTTP_LOOPS_MAX 4u

struct bw_http;
/* Starts its threads.  -EINVAL and a sentence when the CA file cannot be read. */
int bw_http_new(const struct bw_s3_config *config, struct bw_http **ret, char *why, size_t why_len)
	bw_must_check;
void bw_http_submit(struct bw_http *h, struct bw_http_request *r);
/*
 * A hint: done() runs soon, never inside, with CANCELLED or, when it was sent, LATE.  Nothing happens to a request
 * whose done() has begun; the caller sees to it that it exists.
 */
void bw_http_cancel(struct bw_http *h, struct bw_http_request *r);
void bw_http_request_done(struct bw_http_request *r);	/* drops blobs; url and headers stay the caller's */
/* Ends what is lent (CANCELLED, or LATE when it was sent), joins, frees.  NULL is fine. */
void bw_http_free(struct bw_http *h);

#endif
