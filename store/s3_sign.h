/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AWS Signature Version 4 for the service "s3" (and "sts"), without a clock or I/O.  Source: "Create a signed AWS API
 * request" and "Authenticating Requests: Using the Authorization Header" of the S3 API reference; the
 * tests hold it to their published vectors.  The only user of libcrypto.
 */
#ifndef BW_STORE_S3_SIGN_H
#define BW_STORE_S3_SIGN_H

#include "store/base/buf.h"
#include "store/base/sync.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BW_SHA256_LEN 32
#define BW_SHA256_HEX 64
#define BW_SHA256_OF_NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define BW_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"

/* Lower-case hex of the SHA-256 of bytes, NUL-terminated.  Any thread; 8 MiB take milliseconds. */
void bw_sha256_hex(const void *bytes, size_t len, char ret[BW_SHA256_HEX + 1]);

/* Content-MD5; -ENOTSUP when the library will not. */
#define BW_MD5_BASE64 24
int bw_md5_base64(const void *bytes, size_t len, char ret[BW_MD5_BASE64 + 1]) bw_must_check;

struct bw_sign_header {
	const char *name;	/* lower case */
	const char *value;	/* without blanks around it */
};

struct bw_sign_request {
	const char *method;
	const char *path;	/* as sent: percent-encoded, begins with '/' */
	const char *query;	/* as sent: encoded name=value pairs sorted by name; "" for none */
	const struct bw_sign_header *headers;	/* sorted by name; host, x-amz-date and all to be signed */
	size_t headers_n;
	const char *payload_sha256;	/* hex, or "UNSIGNED-PAYLOAD" */
};

/*
 * What a secret makes of a day, a region and a service, which is four fifths of a signature, kept for the next one.  As
 * secret as the secret is, and of one secret only.  Any thread.
 */
struct bw_sign_cache {
	struct bw_mutex lock;
	char scope[128];	/* "": nothing is kept */
	uint8_t key[BW_SHA256_LEN];
};
void bw_sign_cache_init(struct bw_sign_cache *c);
void bw_sign_cache_done(struct bw_sign_cache *c);	/* wipes */

struct bw_sign_key {
	const char *key_id, *secret;	/* borrowed */
	const char *region, *service;
	int64_t time_s;		/* since the epoch, as the store's clock has it */
	struct bw_sign_cache *cache;	/* borrowed; NULL: none */
};

/* "20130524T000000Z" for x-amz-date; zeros for a time behind the year 9999. */
void bw_sign_date(int64_t time_s, char ret[17]);

/* Appends the value of the Authorization header to out. */
int bw_sign(const struct bw_sign_request *request, const struct bw_sign_key *key, struct bw_buf *out)
	bw_must_check;

/* RFC 3986 percent-encoding of all but A-Za-z0-9-._~ (and '/' when keep_slashes), upper-case hex. */
int bw_percent_encode(const char *text, bool keep_slashes, struct bw_buf *out) bw_must_check;

#endif
