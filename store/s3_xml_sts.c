/* SPDX-License-Identifier: Apache-2.0 */
/* The answer of STS to AssumeRoleWithWebIdentity. */
#include "store/s3_cred_answer.h"
#include "store/s3_xml_priv.h"

#include <string.h>

#define ROOT "AssumeRoleWithWebIdentityResponse"
#define CREDENTIALS ROOT "/AssumeRoleWithWebIdentityResult/Credentials/"

static int keep(const char *text, char *to, size_t size)
{
	size_t len = strlen(text);

	if (len >= size || *to)
		return -BW_E_CORRUPT;
	memcpy(to, text, len + 1);
	return 0;
}

static int on_close(void *ctx, const char *path, const char *text)
{
	struct bw_cred_answer *a = ctx;
	const char *field = path + strlen(CREDENTIALS);
	int err = 0;

	if (strncmp(path, ROOT, strlen(ROOT)) != 0)
		return -BW_E_CORRUPT;
	if (!text || strncmp(path, CREDENTIALS, strlen(CREDENTIALS)) != 0)
		return 0;
	if (!strcmp(field, "AccessKeyId"))
		err = keep(text, a->key_id, sizeof(a->key_id));
	else if (!strcmp(field, "SecretAccessKey"))
		err = keep(text, a->secret, sizeof(a->secret));
	else if (!strcmp(field, "SessionToken"))
		err = keep(text, a->token, sizeof(a->token));
	else if (!strcmp(field, "Expiration"))
		err = keep(text, a->expires, sizeof(a->expires));
	/* The scanner has read it for us alone, and goes on in the same memory: nothing else wipes it. */
	explicit_bzero((char *)(uintptr_t)text, strlen(text));
	return err;
}

int bw_cred_answer_sts(const void *bytes, size_t len, struct bw_cred_answer *ret)
{
	struct bw_xml_visitor v = {.close = on_close, .ctx = ret};

	memset(ret, 0, sizeof(*ret));
	int err = bw_xml_scan(bytes, len, &v);

	if (!err && (!ret->key_id[0] || !ret->secret[0]))
		err = -BW_E_CORRUPT;
	if (err)
		explicit_bzero(ret, sizeof(*ret));
	return err;
}
