/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3.h"

#include "store/base/rand.h"
#include "store/stats.h"

#include <stdio.h>

#define FILE_THREADS 8
#define LENT_BYTES (UINT64_C(256) << 20)
#define RETRY_BASE (20 * BW_MS)
#define RETRY_MAX (2 * BW_SEC)
#define RETRY_TRIES 8

static int open_file(const struct bw_url *url, bool create, unsigned threads, struct bw_store **ret,
		     char *why, size_t why_len)
{
	char text[80];
	int err = bw_store_file_new(url->path, create, threads, ret);

	if (err == -ENOENT)
		snprintf(why, why_len, "there is no directory %s; create it or check the URL",
			 url->path);
	else if (err == -ENOTDIR)
		snprintf(why, why_len, "%s is not a directory; a store needs one", url->path);
	else if (err)
		snprintf(why, why_len, "cannot open the directory %s: %s", url->path,
			 bw_err_text(err, text, sizeof(text)));
	return err;
}

/*
 * As many ops go down as there are threads: the rest waits in the limit filter, where priority and
 * deadline count.
 */
static int add_filters(struct bw_store **s, const struct bw_store_config *config, bool is_s3,
		       unsigned threads)
{
	struct bw_retry_config retry = {
		.base_ns = RETRY_BASE, .max_ns = RETRY_MAX, .tries = RETRY_TRIES};
	int err = config->fault ? bw_filter_fault_new(*s, config->fault, s) : 0;

	bw_random(&retry.seed, sizeof(retry.seed));
	retry.stats = config->stats ? &config->stats->send : NULL;
	if (!err && !is_s3)
		err = bw_filter_late_new(*s, BW_LATE_NS, s);
	if (!err)
		err = bw_filter_pace_new(*s, retry.stats, s);
	if (!err && is_s3)
		err = bw_filter_hedge_new(*s, BW_HEDGE_MIN_NS, retry.stats, s);
	if (!err)
		err = bw_filter_retry_new(*s, &retry, s);
	if (!err)
		err = bw_filter_limit_new(*s, threads, LENT_BYTES, s);
	if (!err && config->stats)
		err = bw_filter_stats_new(*s, config->stats, s);
	return err;
}

/* Connections of a store in a bucket are its threads: more requests would only wait for one. */
static int open_s3(const struct bw_url *url, const struct bw_s3_config *given, unsigned *ret_threads,
		   struct bw_store **ret, char *why, size_t why_len)
{
	struct bw_s3_config config;

	if (given)
		config = *given;
	else
		bw_s3_config_from_env(&config);
	*ret_threads = config.connections ? config.connections : BW_S3_CONNECTIONS;
	return bw_store_s3_new(url, &config, ret, why, why_len);
}

int bw_store_open(const struct bw_url *url, const struct bw_store_config *config,
		  struct bw_store **ret, char *why, size_t why_len)
{
	unsigned threads = config->threads ? config->threads : FILE_THREADS;
	struct bw_store *s;
	char text[80];
	int err;

	if (url->scheme == BW_URL_S3)
		err = open_s3(url, config->s3, &threads, &s, why, why_len);
	else
		err = open_file(url, config->create, threads, &s, why, why_len);
	if (err)
		return err;
	err = add_filters(&s, config, url->scheme == BW_URL_S3, threads);
	if (err) {
		snprintf(why, why_len, "cannot start the store: %s",
			 bw_err_text(err, text, sizeof(text)));
		return err;
	}
	*ret = s;
	return 0;
}
