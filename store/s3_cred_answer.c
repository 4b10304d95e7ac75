/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_cred_answer.h"

int bw_cred_answer_take(struct bw_cred_job *job, const char *where, const struct bw_cred_answer *a,
			struct bw_creds *out)
{
	int64_t expires_ms = INT64_MAX;

	if (a->expires[0] && bw_cred_time(a->expires, &expires_ms) < 0)
		return bw_cred_fail(job, "%s gave credentials with an expiration that is no time: correct what"
				    " hands them out", where);
	int got = bw_cred_set(job, where, a->key_id, a->secret, a->token, out);
	if (got > 0)
		out->expires_ms = expires_ms;
	return got;
}
