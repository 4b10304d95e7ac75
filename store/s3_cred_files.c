/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials of a profile in the shared files. */
#include "store/s3_cred_answer.h"
#include "store/s3_cred_process.h"
#include "store/s3_cred_profile.h"
#include "store/s3_cred_web.h"

#include <stdio.h>
#include <string.h>

#define COMMAND_MAX 4096
#define ARN_MAX 2048

static int role(struct bw_cred_job *job, const struct bw_profile *p, struct bw_creds *out)
{
	const struct bw_ini_text *file = bw_profile_get(p, BW_PROFILE_TOKEN_FILE);
	const struct bw_ini_text *session = bw_profile_get(p, BW_PROFILE_ROLE_SESSION);
	char arn[ARN_MAX], path[PATH_MAX], name[128] = "";

	if (!file)
		return bw_cred_fail(job, "profile \"%s\" assumes a role (role_arn) with %s, which is not supported:"
				    " set credential_process = aws configure export-credentials --profile %s"
				    " in another profile and use that one", p->name,
				    bw_profile_get(p, BW_PROFILE_CREDENTIAL_SOURCE) ? "credential_source"
										    : "source_profile", p->name);
	if (!bw_profile_copy(bw_profile_get(p, BW_PROFILE_ROLE), arn, sizeof(arn)) ||
	    !bw_profile_copy(file, path, sizeof(path)) ||
	    (session && !bw_profile_copy(session, name, sizeof(name))))
		return bw_cred_fail(job, "profile \"%s\": role_arn, role_session_name or web_identity_token_file"
				    " is too long: shorten it", p->name);
	return bw_cred_assume(job, path, arn, name, out);
}

/* Plain keys of one file; a pair is never made of two files. */
static int keys(struct bw_cred_job *job, const struct bw_profile *p, int i, struct bw_creds *out)
{
	const struct bw_profile_file *f = &p->files[i];
	const struct bw_ini_text *id = &f->values[BW_PROFILE_KEY_ID];
	const struct bw_ini_text *secret = &f->values[BW_PROFILE_SECRET];
	bw_auto_cred_answer struct bw_cred_answer *a = NULL;
	char where[256];

	if (!id->len && !secret->len)
		return 0;
	if (!id->len || !secret->len)
		return bw_cred_fail(job, "profile \"%s\" in %.200s has %s without %s: set both", p->name,
				    f->path, id->len ? "aws_access_key_id" : "aws_secret_access_key",
				    id->len ? "aws_secret_access_key" : "aws_access_key_id");
	a = bw_secret_new(sizeof(*a));
	if (!a)
		return -ENOMEM;
	snprintf(where, sizeof(where), "profile \"%.64s\" in %.150s", p->name, f->path);
	if (!bw_profile_copy(id, a->key_id, sizeof(a->key_id)) ||
	    !bw_profile_copy(secret, a->secret, sizeof(a->secret)) ||
	    (f->values[BW_PROFILE_TOKEN].len &&
	     !bw_profile_copy(&f->values[BW_PROFILE_TOKEN], a->token, sizeof(a->token))))
		return bw_cred_fail(job, "%s holds a key or token that is too long: check it", where);
	return bw_cred_answer_take(job, where, a, out);
}

static int process(struct bw_cred_job *job, const struct bw_profile *p, struct bw_creds *out)
{
	const struct bw_ini_text *value = bw_profile_get(p, BW_PROFILE_PROCESS);
	char command[COMMAND_MAX], where[256];

	if (!value)
		return 0;
	if (!bw_profile_copy(value, command, sizeof(command)))
		return bw_cred_fail(job, "profile \"%s\": credential_process is longer than %d bytes: put it into a"
				    " script", p->name, COMMAND_MAX - 1);
	snprintf(where, sizeof(where), "credential_process of profile \"%.64s\"", p->name);
	int got = bw_cred_process(job, where, command, out);

	explicit_bzero(command, sizeof(command));
	return got;
}

static int of_profile(struct bw_cred_job *job, const struct bw_profile *p, struct bw_creds *out)
{
	static const enum bw_profile_key unsupported[] = {
		BW_PROFILE_SSO_SESSION, BW_PROFILE_SSO_START_URL, BW_PROFILE_LOGIN_SESSION};
	static const char *const names[] = {"sso_session", "sso_start_url", "login_session"};
	int got;

	if (!p->found && p->named)
		return bw_cred_fail(job, "profile \"%s\" is neither in %.150s nor in %.150s: add it or name another",
				    p->name, p->files[BW_PROFILE_CONFIG].path,
				    p->files[BW_PROFILE_CREDENTIALS].path);
	if (bw_profile_get(p, BW_PROFILE_ROLE))
		return role(job, p, out);
	got = keys(job, p, BW_PROFILE_CREDENTIALS, out);
	if (!got)
		got = process(job, p, out);
	if (!got)
		got = keys(job, p, BW_PROFILE_CONFIG, out);
	for (int i = 0; !got && i < 3; i++) {
		if (bw_profile_get(p, unsupported[i]))
			return bw_cred_fail(job, "profile \"%s\" signs in with %s, which is not supported: set"
					    " credential_process = aws configure export-credentials --profile %s"
					    " in another profile and use that one", p->name, names[i], p->name);
	}
	return got;
}

static int fetch(struct bw_cred_job *job, struct bw_creds *out)
{
	struct bw_profile p;
	int got = bw_profile_read(job, &p);

	if (got < 0)
		return got;
	got = of_profile(job, &p, out);
	bw_profile_done(&p);
	return got;
}

const struct bw_cred_source bw_cred_files = {.name = "shared files", .fetch = fetch};
