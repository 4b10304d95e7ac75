/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/ways.h"

#include <string.h>

int bw_ways_open(struct bw_ways *w, const char *url, const struct bw_s3_config *s3, char *why,
		 size_t why_len)
{
	char addresses[BW_WAYS_MAX][BW_S3_ADDRESS_MAX];
	struct bw_s3_config pinned = *s3;
	struct bw_store_config config = {.s3 = &pinned};
	struct bw_url parsed;

	*w = (struct bw_ways){.n = 0};
	int err = bw_url_parse(url, &parsed, why, why_len);

	if (err || parsed.scheme != BW_URL_S3)
		return err;
	unsigned n = bw_s3_addresses(&parsed, s3, addresses, BW_WAYS_MAX);

	for (unsigned i = 0; i < n && n > 1 && !err; i++) {
		memcpy(pinned.address, addresses[i], sizeof(pinned.address));
		err = bw_store_open(&parsed, &config, &w->stores[i], why, why_len);
		w->n += !err;
	}
	return err;
}

void bw_ways_done(struct bw_ways *w)
{
	for (unsigned i = 0; i < w->n; i++)
		bw_store_free(w->stores[i]);
	w->n = 0;
}
