/* SPDX-License-Identifier: Apache-2.0 */
/* JSON that hands out credentials, with its times: fields end within their places; what is refused leaves nothing. */
#include "store/s3_cred_answer.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

void bw_fuzz_fix(uint8_t *bytes, size_t len)
{
	(void)bytes, (void)len;	/* there is no checksum */
}

static void check_text(const char *text, size_t size)
{
	bw_fuzz_must(strnlen(text, size) < size, "a field ends within its place");
}

bool bw_fuzz_one(const uint8_t *bytes, size_t len)
{
	struct bw_cred_answer *a = malloc(sizeof(*a));
	static const struct bw_cred_answer nothing;
	int64_t ms = -1;

	bw_fuzz_must(a, "memory");
	int err = bw_cred_answer_json(bytes, len, "SessionToken", a);

	bw_fuzz_must(err == 0 || err == -BW_E_CORRUPT, "no other error");
	bw_fuzz_must(!err || memcmp(a, &nothing, sizeof(*a)) == 0, "what is refused leaves nothing");
	check_text(a->key_id, sizeof(a->key_id));
	check_text(a->secret, sizeof(a->secret));
	check_text(a->token, sizeof(a->token));
	check_text(a->expires, sizeof(a->expires));
	check_text(a->version, sizeof(a->version));
	check_text(a->code, sizeof(a->code));
	check_text(a->message, sizeof(a->message));
	if (bw_cred_time(a->expires, &ms) == 0)
		bw_fuzz_must(ms >= -86400000 && ms < INT64_C(253402387200000), "a time between 1970 and 9999");
	free(a);
	return !err;
}
