/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials as services and helpers hand them out: JSON of a container, an instance or a credential_process, XML
 * of STS.  The parsers are pure, take whole answers, and copy no more than these fields hold.
 */
#ifndef BW_STORE_S3_CRED_ANSWER_H
#define BW_STORE_S3_CRED_ANSWER_H

#include "store/s3_cred_source.h"

/* Texts as they stand in the answer; "": missing.  Holds secrets: keep it in bw_secret_new() memory. */
struct bw_cred_answer {
	char key_id[256], secret[512], token[8192];
	char expires[64];
	char version[16];
	char code[64], message[256];	/* of an error; IMDS says code "Success" as well */
};

/*
 * One JSON object; token_name is what its session token is called ("Token", "SessionToken").  Members that
 * are not known are skipped, whatever they hold.  -BW_E_CORRUPT: no JSON object, a field that is no
 * text or number, is longer than its place, or is there twice.
 */
int bw_cred_answer_json(const void *bytes, size_t len, const char *token_name,
			struct bw_cred_answer *ret) bw_must_check;
/* <AssumeRoleWithWebIdentityResponse>.  -BW_E_CORRUPT for what is none, -ENOMEM. */
int bw_cred_answer_sts(const void *bytes, size_t len, struct bw_cred_answer *ret) bw_must_check;

/* Milliseconds since 1970 of "2026-01-31T12:00:00[.5](Z|+01:00|+0100)"; -EINVAL. */
int bw_cred_time(const char *text, int64_t *ret_ms) bw_must_check;

/*
 * Fills out from a: key, secret and, when it is there, expiry.  where begins the sentence of a failure.
 * 1 or -BW_E_DENIED.
 */
int bw_cred_answer_take(struct bw_cred_job *job, const char *where, const struct bw_cred_answer *a,
			struct bw_creds *out) bw_must_check;

static inline void bw_cred_answer_free_p(struct bw_cred_answer **a)
{
	bw_secret_free(*a, sizeof(**a));
}
#define bw_auto_cred_answer __attribute__((cleanup(bw_cred_answer_free_p)))

#endif
