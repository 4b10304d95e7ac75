/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an op to an HTTP request and from its answer to an outcome; pure (the clock is an argument).
 *
 * Where a store lives is an address: scheme, host, base path, learnt redirects and region included.  It is a
 * value that s3.c replaces as a whole when the store corrects it.
 */
#ifndef BW_STORE_S3_REQUEST_H
#define BW_STORE_S3_REQUEST_H

#include "store/s3.h"
#include "store/s3_creds.h"
#include "store/s3_http.h"
#include "store/s3_sign.h"
#include "store/s3_xml.h"

struct bw_s3_address {
	char scheme[8];		/* "http", "https" */
	char host[300];		/* as the Host header has it: with the port unless it is the scheme's own */
	char bucket_path[80];	/* "/bucket" in path style, else "" */
	char prefix[BW_KEY_MAX + 1];	/* of every key: "runs/7/" or "" */
	char region[64];
	int64_t skew_s;		/* store's clock minus ours */
};

/* -EINVAL and a sentence. */
int bw_s3_address_make(const struct bw_url *url, const struct bw_s3_config *config,
		       struct bw_s3_address *ret, char *why, size_t why_len) bw_must_check;

/* Of the len bytes of host, without a port that the scheme ("http...", "https...") implies: curl sends none either. */
size_t bw_s3_host_len(const char *scheme, const char *host, size_t len);

/* One request, apart from its signature. */
struct bw_s3_call {
	const char *method;
	const char *key;	/* without prefix; NULL: the bucket */
	const char *query;	/* sorted, encoded; "" */
	const struct bw_sign_header *headers;	/* extra ones: range, if-none-match, content-type ...; sorted */
	size_t headers_n;
	const char *payload_sha256;
};
/* Fills url and headers of r (malloc'ed; bw_s3_request_clear frees them). */
int bw_s3_request_make(const struct bw_s3_address *a, struct bw_creds *creds, int64_t wall_s,
		       const struct bw_s3_call *call, struct bw_http_request *r) bw_must_check;
void bw_s3_request_clear(struct bw_http_request *r);

/* What to do about an answer before anybody hears of it. */
enum bw_s3_remedy {
	BW_S3_NONE,		/* the outcome stands */
	BW_S3_MOVED,		/* address changed (redirect, region): sign and send again, once */
	BW_S3_SKEWED,		/* skew_s changed: sign and send again, once */
	BW_S3_EXPIRED,		/* credentials: ask the chain for others and send again, once */
	BW_S3_DOUBTED,		/* the same if their files have changed; else the outcome stands */
};

/*
 * The outcome of r for an op of this kind, by what is known about the state of the store: a request that may
 * have been applied is UNKNOWN, never guessed from a status.  *a is corrected when the remedy says so.  *error is
 * filled in from the answer's body.
 *
 * EXISTS says that the key is taken, not by whom: s3_http.h lets a put leave once, but a proxy or network may
 * deliver it twice, and then it is our own first one that refuses the second.  Who cares reads what is there.
 */
enum bw_outcome bw_s3_classify(enum bw_op_kind kind, bool if_absent, const struct bw_http_request *r,
			       int64_t wall_s, struct bw_s3_address *a, struct bw_s3_error *error,
			       enum bw_s3_remedy *ret_remedy);

/* -errno that goes with the outcome, or 0. */
int bw_s3_errno(enum bw_outcome outcome, const struct bw_http_request *r, const struct bw_s3_error *error);
/* For the log: status, code, request id, or why there is no answer.  Never a secret. */
void bw_s3_detail(const struct bw_http_request *r, const struct bw_s3_error *error, char *ret, size_t ret_len);

/* What became of an object in parts; outcome is that of the status, the error's code may say more. */
enum bw_outcome bw_s3_judge_completion(enum bw_outcome outcome, const char *code, bool if_absent);

#endif
