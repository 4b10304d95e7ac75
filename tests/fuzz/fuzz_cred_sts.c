/* SPDX-License-Identifier: Apache-2.0 */
/* The XML answer of STS: what is taken has keys that end within their places; what is refused leaves nothing. */
#include "store/s3_cred_answer.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

void bw_fuzz_fix(uint8_t *bytes, size_t len)
{
	(void)bytes, (void)len;	/* there is no checksum */
}

bool bw_fuzz_one(const uint8_t *bytes, size_t len)
{
	struct bw_cred_answer *a = malloc(sizeof(*a));
	static const struct bw_cred_answer nothing;

	bw_fuzz_must(a, "memory");
	int err = bw_cred_answer_sts(bytes, len, a);

	bw_fuzz_must(err == 0 || err == -BW_E_CORRUPT, "no other error");
	bw_fuzz_must(!err || memcmp(a, &nothing, sizeof(*a)) == 0, "what is refused leaves nothing");
	bw_fuzz_must(err || (a->key_id[0] && a->secret[0]), "what is taken has both keys");
	bw_fuzz_must(strnlen(a->key_id, sizeof(a->key_id)) < sizeof(a->key_id), "the id ends");
	bw_fuzz_must(strnlen(a->secret, sizeof(a->secret)) < sizeof(a->secret), "the secret ends");
	bw_fuzz_must(strnlen(a->token, sizeof(a->token)) < sizeof(a->token), "the token ends");
	bw_fuzz_must(strnlen(a->expires, sizeof(a->expires)) < sizeof(a->expires), "the time ends");
	free(a);
	return !err;
}
