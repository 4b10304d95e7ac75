/* SPDX-License-Identifier: Apache-2.0 */
/* A store in a bucket whose server is a script.  Its credentials are the environment's. */
#ifndef BW_TEST_SCRIPT_STORE_H
#define BW_TEST_SCRIPT_STORE_H

#include "store/s3.h"
#include "tests/support/http_script.h"

#include <criterion/criterion.h>
#include <stdio.h>

static inline struct bw_store *store_with(const struct bw_script *script, struct bw_s3_config config)
{
	struct bw_url url = {.scheme = BW_URL_S3, .path = "bucket/p"};
	struct bw_store *s;
	char why[256];

	snprintf(config.endpoint, sizeof(config.endpoint), "%s", bw_script_url(script));
	cr_assert_eq(bw_store_s3_new(&url, &config, &s, why, sizeof(why)), 0, "%s", why);
	return s;
}

static inline struct bw_store *store_at(const struct bw_script *script)
{
	return store_with(script, (struct bw_s3_config){0});
}

#endif
