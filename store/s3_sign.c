/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_sign.h"

#include "store/base/rand.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ALGORITHM "AWS4-HMAC-SHA256"
#define CANONICAL_MAX (64u << 10)	/* a session token is the longest part: 8 KiB */
#define CANONICAL_USUAL 1000

static void sha256(const void *bytes, size_t len, uint8_t ret[BW_SHA256_LEN])
{
	/* It fails for want of a provider or of a few bytes only: then nothing can be signed at all. */
	if (!EVP_Digest(bytes, len, ret, NULL, EVP_sha256(), NULL))
		abort();
}

void bw_sha256_hex(const void *bytes, size_t len, char ret[BW_SHA256_HEX + 1])
{
	uint8_t sum[BW_SHA256_LEN];

	sha256(bytes, len, sum);
	bw_hex(sum, sizeof(sum), ret);
}

int bw_md5_base64(const void *bytes, size_t len, char ret[BW_MD5_BASE64 + 1])
{
	uint8_t sum[EVP_MAX_MD_SIZE];
	unsigned sum_len;

	if (!EVP_Digest(bytes, len, sum, &sum_len, EVP_md5(), NULL))
		return -ENOTSUP;
	EVP_EncodeBlock((uint8_t *)ret, sum, (int)sum_len);
	return 0;
}

static int hmac(const void *key, size_t key_len, const char *text, size_t len,
		uint8_t ret[BW_SHA256_LEN])
{
	return HMAC(EVP_sha256(), key, (int)key_len, (const uint8_t *)text, len, ret, NULL)
		       ? 0 : -ENOMEM;
}

void bw_sign_date(int64_t time_s, char ret[17])
{
	time_t t = (time_t)time_s;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(ret, 17, "%Y%m%dT%H%M%SZ", &tm))
		memset(ret, 0, 17);
}

static void add_signed_names(const struct bw_sign_request *request, struct bw_buf *out)
{
	for (size_t i = 0; i < request->headers_n; i++) {
		if (i)
			bw_buf_u8(out, ';');
		bw_buf_str(out, request->headers[i].name);
	}
}

static void add_two(struct bw_buf *out, const char *one, const char *other)
{
	bw_buf_str(out, one);
	bw_buf_str(out, other);
}

static int canonical_hash(const struct bw_sign_request *request, char ret[BW_SHA256_HEX + 1])
{
	bw_auto_buf struct bw_buf b = {.max = 0};

	bw_buf_init(&b, CANONICAL_MAX);
	(void)bw_buf_room(&b, CANONICAL_USUAL);
	add_two(&b, request->method, "\n");
	add_two(&b, request->path, "\n");
	add_two(&b, request->query, "\n");
	for (size_t i = 0; i < request->headers_n; i++) {
		add_two(&b, request->headers[i].name, ":");
		add_two(&b, request->headers[i].value, "\n");
	}
	bw_buf_str(&b, "\n");
	add_signed_names(request, &b);
	add_two(&b, "\n", request->payload_sha256);
	int err = bw_buf_err(&b);

	if (!err)
		bw_sha256_hex(b.bytes, b.len, ret);
	return err;
}

static int derive_key(const struct bw_sign_key *key, const char *date, size_t date_len,
		      uint8_t ret[BW_SHA256_LEN])
{
	char secret[4 + 512];
	size_t len = strlen(key->secret);

	if (len > sizeof(secret) - 4)
		return -EINVAL;
	memcpy(secret, "AWS4", 4);
	memcpy(secret + 4, key->secret, len);
	int err = hmac(secret, 4 + len, date, date_len, ret);

	explicit_bzero(secret, sizeof(secret));
	if (!err)
		err = hmac(ret, BW_SHA256_LEN, key->region, strlen(key->region), ret);
	if (!err)
		err = hmac(ret, BW_SHA256_LEN, key->service, strlen(key->service), ret);
	if (!err)
		err = hmac(ret, BW_SHA256_LEN, "aws4_request", 12, ret);
	return err;
}

void bw_sign_cache_init(struct bw_sign_cache *c)
{
	bw_mutex_init(&c->lock, BW_RANK_LEAF);
	c->scope[0] = 0;
}

void bw_sign_cache_done(struct bw_sign_cache *c)
{
	bw_mutex_done(&c->lock);
	explicit_bzero(c->key, sizeof(c->key));
}

static bool recall(struct bw_sign_cache *c, const char *scope, uint8_t ret[BW_SHA256_LEN])
{
	if (!c)
		return false;
	BW_LOCK_SCOPE(&c->lock);
	if (strcmp(c->scope, scope) != 0)
		return false;
	memcpy(ret, c->key, sizeof(c->key));
	return true;
}

static void keep(struct bw_sign_cache *c, const char *scope, const uint8_t key[BW_SHA256_LEN])
{
	size_t len = strlen(scope);

	if (!c || len >= sizeof(c->scope))
		return;
	BW_LOCK_SCOPE(&c->lock);
	memcpy(c->scope, scope, len + 1);
	memcpy(c->key, key, sizeof(c->key));
}

static int key_of_day(const struct bw_sign_key *key, const char *date, const char *scope,
		      uint8_t ret[BW_SHA256_LEN])
{
	if (recall(key->cache, scope, ret))
		return 0;
	int err = derive_key(key, date, 8, ret);

	if (!err)
		keep(key->cache, scope, ret);
	return err;
}

/* The signature over the hash of the canonical request, in hex. */
static int signature(const struct bw_sign_key *key, const char *hash, const char *date,
		     const char *scope, char ret[BW_SHA256_HEX + 1])
{
	bw_auto_buf struct bw_buf b = {.max = 0};
	uint8_t mac[BW_SHA256_LEN];

	bw_buf_init(&b, CANONICAL_MAX);
	(void)bw_buf_room(&b, CANONICAL_USUAL);
	add_two(&b, ALGORITHM "\n", date);
	add_two(&b, "\n", scope);
	add_two(&b, "\n", hash);
	int err = bw_buf_err(&b);

	if (!err)
		err = key_of_day(key, date, scope, mac);
	if (!err)
		err = hmac(mac, sizeof(mac), bw_buf_text(&b), b.len, mac);
	if (!err)
		bw_hex(mac, sizeof(mac), ret);
	explicit_bzero(mac, sizeof(mac));
	return err;
}

int bw_sign(const struct bw_sign_request *request, const struct bw_sign_key *key, struct bw_buf *out)
{
	char date[17], hash[BW_SHA256_HEX + 1], sign[BW_SHA256_HEX + 1];
	bw_auto_buf struct bw_buf scope = {.max = 0};

	bw_sign_date(key->time_s, date);
	bw_buf_init(&scope, 512);
	bw_buf_fmt(&scope, "%.8s/%s/%s/aws4_request", date, key->region, key->service);
	int err = bw_buf_err(&scope);

	if (!err)
		err = canonical_hash(request, hash);
	if (!err)
		err = signature(key, hash, date, bw_buf_text(&scope), sign);
	if (err)
		return err;
	(void)bw_buf_room(out, CANONICAL_USUAL);
	add_two(out, ALGORITHM " Credential=", key->key_id);
	add_two(out, "/", bw_buf_text(&scope));
	bw_buf_str(out, ",SignedHeaders=");
	add_signed_names(request, out);
	add_two(out, ",Signature=", sign);
	return bw_buf_err(out);
}

int bw_percent_encode(const char *text, bool keep_slashes, struct bw_buf *out)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-._~";

	while (*text) {
		size_t n = strspn(text, plain);

		bw_buf_add(out, text, n);
		text += n;
		if (!*text)
			break;
		if (*text == '/' && keep_slashes)
			bw_buf_u8(out, '/');
		else
			bw_buf_fmt(out, "%%%02X", (uint8_t)*text);
		text++;
	}
	return bw_buf_err(out);
}
