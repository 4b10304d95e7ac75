/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_request.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define URL_MAX (16u << 10)
#define HEADER_MAX (16u << 10)
#define SIGNED_MAX 12

/* ---- Where a store lives ---------------------------------------------------------------------- */

static bool is_all_of(const char *text, size_t len, const char *others)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr(others, text[i]))
			return false;
	return true;
}

/* A name that can be a label of a host, so that one certificate fits all buckets. */
static bool fits_host(const char *bucket)
{
	for (const char *p = bucket; *p; p++)
		if (!islower((unsigned char)*p) && !isdigit((unsigned char)*p) && *p != '-')
			return false;
	return true;
}

static int take_bucket(const char *path, char bucket[64], struct bw_s3_address *a, char *why,
		       size_t why_len)
{
	size_t len = strcspn(path, "/");
	const char *prefix = path[len] ? path + len + 1 : "";

	if (len < 3 || len > 63 || !is_all_of(path, len, "._-") ||
	    !isalnum((unsigned char)path[0]) || !isalnum((unsigned char)path[len - 1]))
		return bw_refuse(why, why_len, "%.80s is no bucket name: 3 to 63 letters, digits, dots "
					       "and dashes", path);
	memcpy(bucket, path, len);
	bucket[len] = 0;
	if (strlen(prefix) + 1 > BW_KEY_MAX)
		return bw_refuse(why, why_len, "the prefix in the URL is longer than %d bytes; use a "
					       "shorter one", BW_KEY_MAX - 1);
	snprintf(a->prefix, sizeof(a->prefix), "%s%s", prefix, *prefix ? "/" : "");
	return 0;
}

size_t bw_s3_host_len(const char *scheme, const char *host, size_t len)
{
	const char *port = strncmp(scheme, "https", 5) == 0 ? ":443" : ":80";
	size_t port_len = strlen(port);

	return len >= port_len && memcmp(host + len - port_len, port, port_len) == 0 ? len - port_len : len;
}

/* Of a valid endpoint: scheme and host, in lower case. */
static bool take_host(const char *url, char scheme[8], char *host, size_t host_len)
{
	size_t scheme_len = strcspn(url, ":");
	const char *at = url + scheme_len + 3;
	size_t len = bw_s3_host_len(url, at, strcspn(at, "/"));

	if (len >= host_len)
		return false;
	snprintf(scheme, 8, "%.*s", (int)scheme_len, url);
	for (size_t i = 0; i < len; i++)
		host[i] = (char)tolower((unsigned char)at[i]);
	host[len] = 0;
	return true;
}

const char *bw_aws_domain(const char *region)
{
	if (strncmp(region, "cn-", 3) == 0)
		return "amazonaws.com.cn";
	return strncmp(region, "eusc-", 5) == 0 ? "amazonaws.eu" : "amazonaws.com";
}

int bw_s3_address_make(const struct bw_url *url, const struct bw_s3_config *config,
		       struct bw_s3_address *ret, char *why, size_t why_len)
{
	struct bw_s3_address a = {.scheme = "https"};
	char bucket[64], host[236];
	int err = take_bucket(url->path, bucket, &a, why, why_len);

	if (err)
		return err;
	snprintf(a.region, sizeof(a.region), "%s", config->region[0] ? config->region : "us-east-1");
	if (!is_all_of(a.region, strlen(a.region), "-_"))
		return bw_refuse(why, why_len, "%s is no name of a region", a.region);
	if (!config->endpoint[0])
		snprintf(host, sizeof(host), "s3.%s.%s", a.region, bw_aws_domain(a.region));
	else if (!bw_s3_endpoint_valid(config->endpoint) ||
		 !take_host(config->endpoint, a.scheme, host, sizeof(host)))
		return bw_refuse(why, why_len, "write the endpoint as https://host or https://host:port, "
					       "without a path");
	enum bw_s3_style style = config->style;

	if (style == BW_S3_STYLE_VIRTUAL && !fits_host(bucket))
		return bw_refuse(why, why_len, "a bucket named %s has no place in a host's name: leave virtual_hosts out", bucket);
	if (style == BW_S3_STYLE_AUTO)
		style = config->endpoint[0] || !fits_host(bucket) ? BW_S3_STYLE_PATH : BW_S3_STYLE_VIRTUAL;
	if (style == BW_S3_STYLE_PATH) {
		snprintf(a.host, sizeof(a.host), "%s", host);
		snprintf(a.bucket_path, sizeof(a.bucket_path), "/%s", bucket);
	} else {
		snprintf(a.host, sizeof(a.host), "%s.%s", bucket, host);
	}
	*ret = a;
	return 0;
}

/* ---- From a call to a request ----------------------------------------------------------------- */

static int make_path(const struct bw_s3_address *a, const char *key, struct bw_buf *out)
{
	int err = bw_percent_encode(a->bucket_path, true, out);

	bw_buf_str(out, "/");
	if (!err && key)
		err = bw_percent_encode(a->prefix, true, out);
	if (!err && key)
		err = bw_percent_encode(key, true, out);
	return err ? err : bw_buf_err(out);
}

static void insert_header(struct bw_sign_header *all, size_t *n, const char *name, const char *value)
{
	size_t at = (*n)++;

	for (; at && strcmp(all[at - 1].name, name) > 0; at--)
		all[at] = all[at - 1];
	all[at] = (struct bw_sign_header){.name = name, .value = value};
}

static int add_line(struct bw_http_request *r, const char *name, const char *value)
{
	char *line;

	if (asprintf(&line, "%s: %s", name, value) < 0)
		return -ENOMEM;
	r->headers[r->headers_n++] = line;
	return 0;
}

static int fill_request(const struct bw_s3_address *a, const struct bw_sign_request *s,
			const char *authorization, struct bw_http_request *r)
{
	r->headers = calloc(s->headers_n + 1, sizeof(r->headers[0]));
	if (!r->headers || asprintf(&r->url, "%s://%s%s%s%s", a->scheme, a->host, s->path,
				    *s->query ? "?" : "", s->query) < 0) {
		r->url = NULL;
		return -ENOMEM;
	}
	int err = add_line(r, "Authorization", authorization);

	for (size_t i = 0; i < s->headers_n && !err; i++)
		if (strcmp(s->headers[i].name, "host") != 0)	/* curl makes the same of the URL */
			err = add_line(r, s->headers[i].name, s->headers[i].value);
	return err;
}

int bw_s3_request_make(const struct bw_s3_address *a, struct bw_creds *creds, int64_t wall_s,
		       const struct bw_s3_call *call, struct bw_http_request *r)
{
	bw_auto_buf struct bw_buf path = {.max = 0}, authorization = {.max = 0};
	struct bw_sign_header headers[SIGNED_MAX];
	char date[17];
	const struct bw_sign_key key = {.key_id = creds->key_id, .secret = creds->secret,
					.region = a->region, .service = "s3",
					.time_s = wall_s + a->skew_s,
					.cache = &creds->sign};
	size_t n = 0;

	if (call->headers_n > SIGNED_MAX - 4)
		return -EINVAL;
	bw_buf_init(&path, URL_MAX);
	bw_buf_init(&authorization, HEADER_MAX);
	bw_sign_date(key.time_s, date);
	for (size_t i = 0; i < call->headers_n; i++)
		insert_header(headers, &n, call->headers[i].name, call->headers[i].value);
	insert_header(headers, &n, "host", a->host);
	insert_header(headers, &n, "x-amz-content-sha256", call->payload_sha256);
	insert_header(headers, &n, "x-amz-date", date);
	if (creds->token[0])
		insert_header(headers, &n, "x-amz-security-token", creds->token);
	int err = make_path(a, call->key, &path);
	const struct bw_sign_request s = {.method = call->method, .path = bw_buf_text(&path),
					  .query = call->query, .headers = headers,
					  .headers_n = n, .payload_sha256 = call->payload_sha256};

	if (!err)
		err = bw_sign(&s, &key, &authorization);
	r->method = call->method;
	r->url = NULL;
	r->headers = NULL;
	r->headers_n = 0;
	if (!err)
		err = fill_request(a, &s, bw_buf_text(&authorization), r);
	if (err)
		bw_s3_request_clear(r);
	return err;
}

void bw_s3_request_clear(struct bw_http_request *r)
{
	for (size_t i = 0; i < r->headers_n; i++) {
		explicit_bzero(r->headers[i], strlen(r->headers[i]));	/* a session token may be there */
		free(r->headers[i]);
	}
	free(r->headers);
	free(r->url);
	r->headers = NULL;
	r->headers_n = 0;
	r->url = NULL;
}
