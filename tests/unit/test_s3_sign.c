/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signer against published vectors: the examples of "Signature Calculations for the Authorization
 * Header" in the S3 API reference, of the AWS general reference and of its SigV4 test suite.
 */
#include "store/s3_sign.h"

#include <criterion/criterion.h>
#include <string.h>

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const struct bw_sign_key s3 = {
	.key_id = "AKIAIOSFODNN7EXAMPLE", .secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
	.region = "us-east-1", .service = "s3", .time_s = 1369353600};
static const struct bw_sign_key suite = {
	.key_id = "AKIDEXAMPLE", .secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
	.region = "us-east-1", .service = "service", .time_s = 1440938160};

static void expect(const struct bw_sign_request *request, const struct bw_sign_key *key,
		   const char *scope, const char *names, const char *signature)
{
	bw_auto_buf struct bw_buf out = {.max = 0}, wanted = {.max = 0};

	bw_buf_init(&out, 4096);
	bw_buf_init(&wanted, 4096);
	bw_buf_fmt(&wanted, "AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=%s,Signature=%s",
		   key->key_id, scope, names, signature);
	cr_assert_eq(bw_sign(request, key, &out), 0);
	cr_assert_str_eq(bw_buf_text(&out), bw_buf_text(&wanted));
}

#define HOST {"host", "examplebucket.s3.amazonaws.com"}
#define DATE {"x-amz-date", "20130524T000000Z"}
#define SCOPE "20130524/us-east-1/s3/aws4_request"

Test(s3_sign, get_object_with_a_range)
{
	const struct bw_sign_header headers[] = {
		HOST, {"range", "bytes=0-9"}, {"x-amz-content-sha256", EMPTY}, DATE};
	const struct bw_sign_request r = {"GET", "/test.txt", "", headers, 4, EMPTY};

	expect(&r, &s3, SCOPE, "host;range;x-amz-content-sha256;x-amz-date",
	       "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

Test(s3_sign, put_object)
{
	char sum[BW_SHA256_HEX + 1];
	const struct bw_sign_header headers[] = {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
						 HOST,
						 {"x-amz-content-sha256", sum},
						 DATE,
						 {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
	const struct bw_sign_request r = {"PUT", "/test%24file.text", "", headers, 5, sum};

	bw_sha256_hex("Welcome to Amazon S3.", 21, sum);
	cr_assert_str_eq(sum, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
	expect(&r, &s3, SCOPE, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
	       "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

/* What is kept of a day serves that day, region and secret, and no other; and it is what serves. */
Test(s3_sign, the_key_of_a_day_is_kept)
{
	const struct bw_sign_header headers[] = {HOST, {"x-amz-content-sha256", EMPTY}, DATE};
	const struct bw_sign_request r = {"GET", "/", "lifecycle=", headers, 3, EMPTY};
	bw_auto_buf struct bw_buf kept = {.max = 0}, fresh = {.max = 0};
	struct bw_sign_cache cache;
	struct bw_sign_key key = s3;

	bw_sign_cache_init(&cache);
	key.cache = &cache;
	for (int i = 0; i < 2; i++)
		expect(&r, &key, SCOPE, "host;x-amz-content-sha256;x-amz-date",
		       "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
	for (int i = 0; i < 3; i++) {
		struct bw_sign_key plain;
		key.time_s += i == 1 ? 86400 : 0;
		key.region = i == 2 ? "eu-test-1" : key.region;
		plain = key;
		plain.cache = NULL;
		bw_buf_init(&kept, 4096);
		bw_buf_init(&fresh, 4096);
		cache.key[0] ^= i == 0;		/* only the first looks at it */
		cr_assert_eq(bw_sign(&r, &key, &kept), 0);
		cr_assert_eq(bw_sign(&r, &plain, &fresh), 0);
		cr_assert_eq(strcmp(bw_buf_text(&kept), bw_buf_text(&fresh)) == 0, i > 0);
		bw_buf_done(&kept);
		bw_buf_done(&fresh);
	}
	bw_sign_cache_done(&cache);
}

Test(s3_sign, dates_and_none)
{
	static const char nothing[17];
	char date[17];

	bw_sign_date(1369353600, date);
	cr_assert_str_eq(date, "20130524T000000Z");
	bw_sign_date(253402300799, date);
	cr_assert_str_eq(date, "99991231T235959Z");
	for (int i = 0; i < 2; i++) {
		memset(date, 'x', sizeof(date));
		bw_sign_date(i ? INT64_MAX : 253402300800, date);
		cr_assert_arr_eq(date, nothing, sizeof(date));
	}
}

Test(s3_sign, queries)
{
	const struct bw_sign_header headers[] = {HOST, {"x-amz-content-sha256", EMPTY}, DATE};
	struct bw_sign_request r = {"GET", "/", "lifecycle=", headers, 3, EMPTY};

	expect(&r, &s3, SCOPE, "host;x-amz-content-sha256;x-amz-date",
	       "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
	r.query = "max-keys=2&prefix=J";
	expect(&r, &s3, SCOPE, "host;x-amz-content-sha256;x-amz-date",
	       "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

Test(s3_sign, other_services)
{
	const struct bw_sign_header vanilla[] = {{"host", "example.amazonaws.com"},
						 {"x-amz-date", "20150830T123600Z"}};
	const struct bw_sign_header iam_headers[] = {
		{"content-type", "application/x-www-form-urlencoded; charset=utf-8"},
		{"host", "iam.amazonaws.com"}, {"x-amz-date", "20150830T123600Z"}};
	struct bw_sign_request r = {"GET", "/", "", vanilla, 2, EMPTY};
	const struct bw_sign_request list_users = {
		"GET", "/", "Action=ListUsers&Version=2010-05-08", iam_headers, 3, EMPTY};
	struct bw_sign_key iam = suite;

	expect(&r, &suite, "20150830/us-east-1/service/aws4_request", "host;x-amz-date",
	       "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
	r.query = "Param1=value1&Param2=value2";
	expect(&r, &suite, "20150830/us-east-1/service/aws4_request", "host;x-amz-date",
	       "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
	r.method = "POST";
	r.query = "";
	expect(&r, &suite, "20150830/us-east-1/service/aws4_request", "host;x-amz-date",
	       "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
	iam.service = "iam";
	expect(&list_users, &iam, "20150830/us-east-1/iam/aws4_request",
	       "content-type;host;x-amz-date",
	       "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
}

Test(s3_sign, sums_and_their_base64)
{
	char hex[BW_SHA256_HEX + 1], md5[BW_MD5_BASE64 + 1];

	bw_sha256_hex("", 0, hex);
	cr_assert_str_eq(hex, EMPTY);
	cr_assert_eq(bw_md5_base64("", 0, md5), 0);
	cr_assert_str_eq(md5, "1B2M2Y8AsgTpgAmY7PhCfg==");
}

Test(s3_sign, a_secret_that_is_too_long_is_refused)
{
	const struct bw_sign_request r = {"GET", "/", "", NULL, 0, EMPTY};
	bw_auto_buf struct bw_buf out = {.max = 0};
	struct bw_sign_key key = s3;
	char secret[514];

	memset(secret, 'x', 513);
	secret[513] = 0;
	key.secret = secret;
	bw_buf_init(&out, 4096);
	cr_assert_eq(bw_sign(&r, &key, &out), -EINVAL);
	cr_assert_eq(out.len, 0);
}

Test(s3_sign, percent_encoding)
{
	bw_auto_buf struct bw_buf out = {.max = 0};

	bw_buf_init(&out, 64);
	cr_assert_eq(bw_percent_encode("a/b c~-._\xc3\xa4+Z9", true, &out), 0);
	cr_assert_str_eq(bw_buf_text(&out), "a/b%20c~-._%C3%A4%2BZ9");
	bw_buf_reset(&out);
	cr_assert_eq(bw_percent_encode("/=/", false, &out), 0);
	cr_assert_str_eq(bw_buf_text(&out), "%2F%3D%2F");
	out.max = out.len + 4;
	cr_assert_eq(bw_percent_encode("     ", false, &out), -ENOSPC);
}
