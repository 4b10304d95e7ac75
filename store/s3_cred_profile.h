/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the shared config and credentials files say about one profile.
 */
#ifndef BW_STORE_S3_CRED_PROFILE_H
#define BW_STORE_S3_CRED_PROFILE_H

#include "store/s3_cred_ini.h"
#include "store/s3_cred_source.h"

#define BW_PROFILE_KEYS(X)                                                                         \
	X(KEY_ID, "aws_access_key_id")                                                             \
	X(SECRET, "aws_secret_access_key")                                                         \
	X(TOKEN, "aws_session_token")                                                              \
	X(PROCESS, "credential_process")                                                           \
	X(ROLE, "role_arn")                                                                        \
	X(ROLE_SESSION, "role_session_name")                                                       \
	X(TOKEN_FILE, "web_identity_token_file")                                                   \
	X(SOURCE_PROFILE, "source_profile")                                                        \
	X(CREDENTIAL_SOURCE, "credential_source")                                                  \
	X(SSO_SESSION, "sso_session")                                                              \
	X(SSO_START_URL, "sso_start_url")                                                          \
	X(LOGIN_SESSION, "login_session")

enum bw_profile_key {
#define X(name, text) BW_PROFILE_##name,
	BW_PROFILE_KEYS(X)
#undef X
	BW_PROFILE_KEYS_N
};

enum { BW_PROFILE_CONFIG, BW_PROFILE_CREDENTIALS, BW_PROFILE_FILES };
#define BW_PROFILE_FILE_MAX (256u << 10)	/* bytes of one file */

struct bw_profile {
	const char *name;
	bool named;			/* asked for by name, and not only the default */
	bool found;			/* a section of it is there */
	struct bw_profile_file {
		char path[PATH_MAX];
		char *bytes;		/* owned, bw_secret_new(BW_PROFILE_FILE_MAX + 1) */
		size_t len;
		struct bw_ini_text values[BW_PROFILE_KEYS_N];
	} files[BW_PROFILE_FILES];
};

/* Reads both files and watches them.  0; -BW_E_DENIED with why; -ENOMEM. */
int bw_profile_read(struct bw_cred_job *job, struct bw_profile *ret) bw_must_check;
void bw_profile_done(struct bw_profile *p);

/* The value of key, of either file, the credentials file first; NULL when it is missing or empty. */
const struct bw_ini_text *bw_profile_get(const struct bw_profile *p, enum bw_profile_key key);

/* Copies a value with a NUL.  False: it is longer than size - 1 bytes, or holds a NUL. */
bool bw_profile_copy(const struct bw_ini_text *value, char *to, size_t size) bw_must_check;

#endif
