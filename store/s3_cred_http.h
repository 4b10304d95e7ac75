/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One small HTTP exchange of a credential source, waited for on the chain's thread.
 *
 * TLS is always verified, redirects are not followed (an answer that sends us elsewhere is none of the service we
 * asked), and the answer's body is secret memory.  It ends at once when the chain is freed.
 */
#ifndef BW_STORE_S3_CRED_HTTP_H
#define BW_STORE_S3_CRED_HTTP_H

#include "store/s3_cred_source.h"

#define BW_CRED_HTTP_MAX (64u << 10)	/* bytes of a body; more is not answered */

struct bw_cred_http {
	const char *method;		/* "GET", "PUT", "POST" */
	const char *url;
	const char *headers[3];		/* "Name: value"; the first NULL ends them */
	const char *body;		/* POST: borrowed; NULL: none */
	size_t body_len;
	long connect_ms, total_ms;	/* of each attempt */
	unsigned attempts;		/* made when there is no answer, or a passing one: of 429 or 5xx */
	unsigned patience;		/* made in all when there is a passing one; 0: attempts */
	/* An answer of another status is passing too; NULL: none is. */
	bool (*is_passing)(const struct bw_cred_http *h);
	bool direct;			/* never by way of a proxy */

	/* The answer. */
	int status;
	char *text;			/* NUL-terminated; bw_cred_http_done() frees it */
	size_t len;
	char detail[256];		/* why there is no answer */
};

/*
 * 0: answered, with whatever status; -BW_E_UNREACHABLE with detail; -BW_E_STOPPING; -ENOMEM.  Pauses between attempts
 * grow and are drawn: those who began together do not go on so.
 */
int bw_cred_http(struct bw_cred_job *job, struct bw_cred_http *h) bw_must_check;
/* Of an answer: who asks later may get another. */
bool bw_cred_http_is_passing(const struct bw_cred_http *h);
void bw_cred_http_done(struct bw_cred_http *h);

static inline void bw_cred_http_done_p(struct bw_cred_http *h)
{
	bw_cred_http_done(h);
}
#define bw_auto_cred_http __attribute__((cleanup(bw_cred_http_done_p)))

#endif
