/* SPDX-License-Identifier: Apache-2.0 */
/* Roles that a web identity may assume: STS AssumeRoleWithWebIdentity, which needs no signature. */
#ifndef BW_STORE_S3_CRED_WEB_H
#define BW_STORE_S3_CRED_WEB_H

#include "store/s3_cred_source.h"

/*
 * The token file is read anew each time.  session "": a name of our own.  As bw_cred_source's fetch, never 0;
 * -BW_E_UNREACHABLE with why: STS asks for patience.
 */
int bw_cred_assume(struct bw_cred_job *job, const char *token_file, const char *role_arn,
		   const char *session, struct bw_creds *out) bw_must_check;

/*
 * Reads a token from a file into a NUL-terminated text of at most size - 1 bytes, line breaks at its end cut off.
 * 0; -BW_E_DENIED with why.
 */
int bw_cred_token_file(struct bw_cred_job *job, const char *path, char *ret, size_t size) bw_must_check;

#endif
