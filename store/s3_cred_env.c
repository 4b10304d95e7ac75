/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials in the environment. */
#include "store/s3_cred_source.h"

static int fetch(struct bw_cred_job *job, struct bw_creds *out)
{
	const char *key_id = bw_cred_getenv("AWS_ACCESS_KEY_ID");
	const char *secret = bw_cred_getenv("AWS_SECRET_ACCESS_KEY");
	const char *token = bw_cred_getenv("AWS_SESSION_TOKEN");

	if (!key_id && !secret)
		return 0;
	/* Half of a pair is a mistake, not a wish for another identity. */
	if (!key_id || !secret)
		return bw_cred_fail(job, "%s is set, but %s is not: set both or neither",
				    key_id ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
				    key_id ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
	return bw_cred_set(job, "the environment", key_id, secret, token ? token : "", out);
}

const struct bw_cred_source bw_cred_environment = {.name = "environment", .yields = true, .fetch = fetch};
