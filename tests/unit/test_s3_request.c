/* SPDX-License-Identifier: Apache-2.0 */
/* Where a store lives, what it is sent, and what its answers say. */
#include "store/s3_request.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* ---- Addresses -------------------------------------------------------------------------------- */

static int address(const char *url, const char *endpoint, const char *region, enum bw_s3_style style,
		   struct bw_s3_address *ret)
{
	struct bw_s3_config config = {.style = style};
	struct bw_url parsed;
	char why[256] = "";

	snprintf(config.endpoint, sizeof(config.endpoint), "%s", endpoint);
	snprintf(config.region, sizeof(config.region), "%s", region);
	cr_assert_eq(bw_url_parse(url, &parsed, why, sizeof(why)), 0, "%s", why);
	int err = bw_s3_address_make(&parsed, &config, ret, why, sizeof(why));

	cr_assert(!err || why[0], "%s is refused without a word", url);
	return err;
}

Test(s3_address, of_each_style)
{
	static const struct {
		const char *url, *endpoint, *region;
		enum bw_s3_style style;
		const char *scheme, *host, *path, *prefix, *in_region;
	} cases[] = {
		{"s3://buck", "", "", 0, "https", "buck.s3.us-east-1.amazonaws.com", "", "", "us-east-1"},
		{"s3://buck/a/b/", "", "eu-west-3", 0, "https", "buck.s3.eu-west-3.amazonaws.com", "",
		 "a/b/", "eu-west-3"},
		{"s3://buck", "", "cn-north-1", BW_S3_STYLE_PATH, "https",
		 "s3.cn-north-1.amazonaws.com.cn", "/buck", "", "cn-north-1"},
		{"s3://buck", "", "eusc-de-east-1", 0, "https", "buck.s3.eusc-de-east-1.amazonaws.eu", "", "",
		 "eusc-de-east-1"},
		{"s3://b.u.c.k", "", "", 0, "https", "s3.us-east-1.amazonaws.com",
		 "/b.u.c.k", "", "us-east-1"},
		{"s3://Buck_et", "", "", 0, "https", "s3.us-east-1.amazonaws.com", "/Buck_et", "",
		 "us-east-1"},
		{"s3://buck/p", "http://127.0.0.1:7480", "", 0, "http", "127.0.0.1:7480", "/buck", "p/",
		 "us-east-1"},
		{"s3://buck", "https://S3.Example.org:443/", "x", 0, "https", "s3.example.org", "/buck",
		 "", "x"},
		{"s3://buck", "http://h:80", "", BW_S3_STYLE_VIRTUAL, "http", "buck.h", "", "",
		 "us-east-1"},
		{"s3://buck", "https://h:80", "", 0, "https", "h:80", "/buck", "", "us-east-1"},
		{"s3://buck", "http://[::1]:8080", "", 0, "http", "[::1]:8080", "/buck", "", "us-east-1"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bw_s3_address a;
		cr_assert_eq(address(cases[i].url, cases[i].endpoint, cases[i].region, cases[i].style,
				     &a), 0);
		cr_assert_str_eq(a.scheme, cases[i].scheme);
		cr_assert_str_eq(a.host, cases[i].host);
		cr_assert_str_eq(a.bucket_path, cases[i].path);
		cr_assert_str_eq(a.prefix, cases[i].prefix);
		cr_assert_str_eq(a.region, cases[i].in_region);
	}
}

Test(s3_address, refuses_what_is_none)
{
	char url[700];
	struct bw_s3_address a;
	static const char *const urls[] = {"s3://ab", "s3://-buck", "s3://buck-", "s3://bu ck",
					   "s3://b\xc3\xa4" "cket", "s3://buck:et"};
	static const char *const endpoints[] = {"host", "ftp://h", "http://", "http://h/path", "http://h?x",
						"http://u:p@h", "http://h:x"};

	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
		cr_assert_eq(address(urls[i], "", "", 0, &a), -EINVAL, "%s", urls[i]);
	for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++)
		cr_assert_eq(address("s3://buck", endpoints[i], "", 0, &a), -EINVAL, "%s", endpoints[i]);
	cr_assert_eq(address("s3://buck", "", "eu west", 0, &a), -EINVAL);
	cr_assert_eq(address("s3://b.u.c.k", "http://h:80", "", BW_S3_STYLE_VIRTUAL, &a), -EINVAL);
	memset(url, 'p', sizeof(url));
	memcpy(url, "s3://buck/", 10);
	url[10 + BW_KEY_MAX] = 0;
	cr_assert_eq(address(url, "", "", 0, &a), -EINVAL);
	url[10 + BW_KEY_MAX - 1] = 0;
	cr_assert_eq(address(url, "", "", 0, &a), 0);
	cr_assert_eq(strlen(a.prefix), BW_KEY_MAX);
}

/* ---- Requests --------------------------------------------------------------------------------- */

static const char *header(const struct bw_http_request *r, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < r->headers_n; i++)
		if (strncmp(r->headers[i], name, len) == 0 && r->headers[i][len] == ':')
			return r->headers[i] + len + 2;
	return "";
}

/* The published example of a range read, through all of the machinery. */
Test(s3_request, a_get_as_published)
{
	struct bw_s3_address a = {.scheme = "https", .host = "examplebucket.s3.amazonaws.com",
				  .region = "us-east-1", .skew_s = -600};
	struct bw_creds creds = {.key_id = "AKIAIOSFODNN7EXAMPLE",
				 .secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};
	const struct bw_sign_header range = {"range", "bytes=0-9"};
	struct bw_s3_call call = {.method = "GET", .key = "test.txt", .query = "", .headers = &range,
				  .headers_n = 1, .payload_sha256 = EMPTY};
	struct bw_http_request r;

	bw_sign_cache_init(&creds.sign);
	/* Our clock is ten minutes ahead of the store's. */
	cr_assert_eq(bw_s3_request_make(&a, &creds, 1369353600 + 600, &call, &r), 0);
	cr_assert_str_eq(r.url, "https://examplebucket.s3.amazonaws.com/test.txt");
	cr_assert_str_eq(header(&r, "x-amz-date"), "20130524T000000Z");
	cr_assert_str_eq(header(&r, "range"), "bytes=0-9");
	cr_assert_str_eq(header(&r, "host"), "");
	cr_assert_not_null(strstr(header(&r, "Authorization"), "Signature=f0e8bdb87c964420e857bd35b5d6ed31"
							       "0bd44f0170aba48dd91039c6036bdb41"));
	bw_s3_request_clear(&r);
	cr_assert_null(r.url);
	bw_s3_request_clear(&r);
}

Test(s3_request, a_token_is_sent_and_signed)
{
	struct bw_s3_address a = {.scheme = "http", .host = "h:1", .bucket_path = "/buck",
				  .prefix = "a b/", .region = "r"};
	struct bw_creds creds = {.key_id = "K", .secret = "S", .token = "T/T=="};
	const struct bw_sign_header put = {"if-none-match", "*"};
	struct bw_s3_call call = {.method = "PUT", .key = "k/x", .query = "uploads=", .headers = &put,
				  .headers_n = 1, .payload_sha256 = EMPTY};
	struct bw_http_request r;

	bw_sign_cache_init(&creds.sign);
	cr_assert_eq(bw_s3_request_make(&a, &creds, 0, &call, &r), 0);
	cr_assert_str_eq(r.url, "http://h:1/buck/a%20b/k/x?uploads=");
	cr_assert_str_eq(header(&r, "x-amz-security-token"), "T/T==");
	cr_assert_not_null(strstr(header(&r, "Authorization"),
				  "SignedHeaders=host;if-none-match;x-amz-content-sha256;x-amz-date;"
				  "x-amz-security-token,"));
	bw_s3_request_clear(&r);
	call.key = NULL;
	call.query = "";
	cr_assert_eq(bw_s3_request_make(&a, &creds, 0, &call, &r), 0);
	cr_assert_str_eq(r.url, "http://h:1/buck/");
	bw_s3_request_clear(&r);
}

/* ---- Answers ---------------------------------------------------------------------------------- */

struct row {
	int status;		/* 0: no answer, but end */
	const char *code;
	enum bw_http_end end;
	enum bw_outcome get, list, put, put_if_absent, delete;
	int put_err;
};

#define SAME(o) o, o, o, o, o
#define DARK BW_UNREACHABLE, BW_UNREACHABLE, BW_UNKNOWN, BW_UNKNOWN, BW_UNKNOWN

static const struct row rows[] = {
	{0, "", BW_HTTP_NOT_SENT, SAME(BW_UNREACHABLE), 0},
	{0, "", BW_HTTP_NOT_BELIEVED, SAME(BW_DENIED), 0},
	{0, "", BW_HTTP_LOST, DARK, 0},
	{0, "", BW_HTTP_SLOW, DARK, 0},
	{0, "", BW_HTTP_LATE, DARK, 0},
	{200, "", BW_HTTP_LOST, DARK, 0},
	{0, "", BW_HTTP_CANCELLED, SAME(BW_CANCELLED), 0},
	{200, "", BW_HTTP_TOO_LONG, BW_CORRUPT, BW_CORRUPT, BW_UNKNOWN, BW_UNKNOWN, BW_UNKNOWN, 0},
	{0, "", BW_HTTP_NO_MEMORY, SAME(BW_UNREACHABLE), -ENOMEM},
	{200, "", BW_HTTP_NO_MEMORY, DARK, -ENOMEM},
	{204, "", 0, BW_CORRUPT, BW_OK, BW_OK, BW_OK, BW_OK, 0},
	{404, "NoSuchKey", 0, BW_NOT_FOUND, BW_UNREACHABLE, BW_UNKNOWN, BW_UNKNOWN, BW_NOT_FOUND, 0},
	{404, "NoSuchBucket", 0, SAME(BW_DENIED), 0},
	{404, "NoSuchUpload", 0, SAME(BW_NOT_FOUND), 0},
	{404, "", 0, DARK, 0},		/* of a proxy: it knows nothing about the object */
	{412, "PreconditionFailed", 0, BW_UNREACHABLE, BW_UNREACHABLE, BW_UNKNOWN, BW_EXISTS, BW_UNKNOWN, 0},
	{412, "", 0, BW_UNREACHABLE, BW_UNREACHABLE, BW_UNKNOWN, BW_EXISTS, BW_UNKNOWN, 0},
	{409, "ConditionalRequestConflict", 0, DARK, 0},
	{408, "", 0, DARK, 0},
	{416, "InvalidRange", 0, BW_CORRUPT, BW_UNREACHABLE, BW_UNKNOWN, BW_UNKNOWN, BW_UNKNOWN, 0},
	{403, "", 0, SAME(BW_DENIED), 0},
	{403, "QuotaExceeded", 0, SAME(BW_FULL), -EDQUOT},
	{400, "XMinioAdminBucketQuotaExceeded", 0, SAME(BW_FULL), -EDQUOT},
	{405, "MethodNotAllowed", 0, SAME(BW_DENIED), 0},
	{400, "InvalidArgument", 0, SAME(BW_DENIED), 0},
	{400, "BadDigest", 0, SAME(BW_UNREACHABLE), 0},
	{400, "XAmzContentSHA256Mismatch", 0, SAME(BW_UNREACHABLE), 0},
	{400, "IncompleteBody", 0, SAME(BW_UNREACHABLE), 0},
	{400, "RequestTimeout", 0, SAME(BW_UNREACHABLE), 0},
	{413, "", 0, SAME(BW_FULL), -EFBIG},
	{400, "EntityTooLarge", 0, SAME(BW_FULL), -EFBIG},
	{429, "", 0, SAME(BW_THROTTLED), 0},
	{503, "SlowDown", 0, SAME(BW_THROTTLED), 0},
	{503, "", 0, DARK, 0},
	{503, "ServiceUnavailable", 0, DARK, 0},
	{500, "InternalError", 0, DARK, 0},
	{502, "", 0, DARK, 0},
	{504, "", 0, DARK, 0},
	{507, "", 0, SAME(BW_FULL), -ENOSPC},
	{507, "XMinioStorageFull", 0, SAME(BW_FULL), -ENOSPC},
	{501, "NotImplemented", 0, SAME(BW_DENIED), 0},
	{501, "", 0, SAME(BW_DENIED), 0},
	{304, "", 0, SAME(BW_DENIED), 0},
};

/* An answer as the loop gives it; error has the code and whatever more is said. */
static void answer(struct bw_http_request *r, int status, const char *code, const char *more)
{
	char text[1024];
	int len = snprintf(text, sizeof(text), "<?xml version=\"1.0\"?><Error><Code>%s</Code>%s"
					       "<RequestId>id-1</RequestId></Error>", code, more);

	memset(r, 0, sizeof(*r));
	r->end = BW_HTTP_ANSWERED;
	r->status = status;
	r->expect = SIZE_MAX;
	r->content_length = r->range_total = r->range_first = r->date_s = r->modified_s = -1;
	if (status >= 300)
		r->error = bw_blob_copy(text, code[0] ? (size_t)len : 0);
}

static enum bw_outcome outcome_of(const struct row *row, enum bw_op_kind kind, bool if_absent, int *ret_err)
{
	struct bw_s3_address a = {.scheme = "http", .host = "h", .region = "r"};
	struct bw_s3_error error;
	struct bw_http_request r;
	enum bw_s3_remedy remedy;

	answer(&r, row->status, row->code, "");
	if (row->end)
		r.end = row->end;
	enum bw_outcome outcome = bw_s3_classify(kind, if_absent, &r, 1000, &a, &error, &remedy);

	cr_assert_eq(remedy, BW_S3_NONE, "%d %s", row->status, row->code);
	*ret_err = bw_s3_errno(outcome, &r, &error);
	bw_http_request_done(&r);
	return outcome;
}

Test(s3_classify, every_row)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		const struct {
			enum bw_op_kind kind;
			bool if_absent;
			enum bw_outcome wanted;
		} kinds[] = {{BW_OP_GET, false, row->get},
			     {BW_OP_LIST, false, row->list},
			     {BW_OP_PUT, true, row->put_if_absent},
			     {BW_OP_DELETE, false, row->delete},
			     {BW_OP_LIST_UPLOADS, false, row->list},
			     {BW_OP_ABORT_UPLOAD, false, row->delete},
			     {BW_OP_DELETE_MANY, false, row->put},
			     {BW_OP_PUT, false, row->put}};
		int err;
		for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
			if (kinds[k].kind == BW_OP_DELETE_MANY && row->status == 404)
				continue;
			enum bw_outcome o = outcome_of(row, kinds[k].kind, kinds[k].if_absent, &err);
			cr_assert_eq(o, kinds[k].wanted, "%s%s, %d %s, end %d: %s, not %s",
				     bw_op_kind_name(kinds[k].kind), kinds[k].if_absent ? " if absent" : "",
				     row->status, row->code, row->end, bw_outcome_name(o),
				     bw_outcome_name(kinds[k].wanted));
		}
		cr_assert_eq(err, row->put_err, "%d %s: %d", row->status, row->code, err);
	}
}

Test(s3_classify, a_get_has_the_length_asked_for)
{
	static const struct {
		int status;
		size_t expect, got;
		enum bw_outcome wanted;
	} cases[] = {{206, 5, 5, BW_OK},      {200, 5, 5, BW_OK},	    {206, 5, 4, BW_CORRUPT},
		     {200, 5, 6, BW_CORRUPT}, {200, SIZE_MAX, 7, BW_OK},    {200, SIZE_MAX, 0, BW_OK},
		     {206, 1, 0, BW_CORRUPT}, {203, SIZE_MAX, 7, BW_CORRUPT}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bw_s3_address a = {.host = "h"};
		struct bw_s3_error error;
		struct bw_http_request r;
		enum bw_s3_remedy remedy;
		answer(&r, cases[i].status, "", "");
		r.expect = cases[i].expect;
		r.blob = bw_blob_copy("1234567", cases[i].got);
		cr_assert_eq(bw_s3_classify(BW_OP_GET, false, &r, 0, &a, &error, &remedy),
			     cases[i].wanted, "case %zu", i);
		bw_http_request_done(&r);
	}
}

/* ---- Remedies --------------------------------------------------------------------------------- */

static enum bw_s3_remedy remedy_for(struct bw_http_request *r, struct bw_s3_address *a)
{
	struct bw_s3_error error;
	enum bw_s3_remedy remedy;
	enum bw_outcome outcome = bw_s3_classify(BW_OP_PUT, true, r, 1000, a, &error, &remedy);

	/* When it does not help, nobody may believe that anything was applied. */
	cr_assert_eq(outcome, BW_DENIED);
	bw_http_request_done(r);
	return remedy;
}

static const struct bw_s3_address aws = {
	.scheme = "https", .host = "buck.s3.us-east-1.amazonaws.com", .region = "us-east-1"};
static const struct bw_s3_address own = {
	.scheme = "http", .host = "10.0.0.1:80", .bucket_path = "/buck", .region = "us-east-1"};

Test(s3_remedy, another_region)
{
	struct bw_http_request r;
	struct bw_s3_address a = aws;

	answer(&r, 400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>");
	cr_assert_eq(remedy_for(&r, &a), BW_S3_MOVED);
	cr_assert_str_eq(a.region, "eu-west-1");
	cr_assert_str_eq(a.host, "buck.s3.eu-west-1.amazonaws.com");
	/* The same again is no news. */
	answer(&r, 400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>");
	cr_assert_eq(remedy_for(&r, &a), BW_S3_NONE);
	a = own;
	answer(&r, 301, "PermanentRedirect", "");
	snprintf(r.region, sizeof(r.region), "there");
	cr_assert_eq(remedy_for(&r, &a), BW_S3_MOVED);
	cr_assert_str_eq(a.region, "there");
	cr_assert_str_eq(a.host, own.host);
	answer(&r, 400, "AuthorizationHeaderMalformed", "<Region>../x y</Region>");
	cr_assert_eq(remedy_for(&r, &a), BW_S3_NONE);
}

#define MESSAGE(region) "<Message>The " region " location constraint is incompatible for the region specific endpoint" \
	" this request was sent to.</Message>"

/* Regions that an account must ask for say it in words, and of a bucket in the first one that it has none. */
Test(s3_remedy, another_region_in_words)
{
	static const struct {
		const char *from, *more, *header, *region;	/* region NULL: no remedy */
	} cases[] = {
		{"us-east-1", MESSAGE("ap-east-1"), "", "ap-east-1"},
		{"ap-east-1", MESSAGE("unspecified"), "", "us-east-1"},
		{"us-east-1", MESSAGE("ap-east-1"), "me-south-1", "me-south-1"},
		{"us-east-1", MESSAGE("us-east-1"), "", NULL},
		{"us-east-1", MESSAGE("../x"), "", NULL},
		{"us-east-1", MESSAGE("a-name-of-more-characters-than-a-region-may-have-in-any-address-x"), "", NULL},
		{"us-east-1", MESSAGE(""), "", NULL},
		{"us-east-1", "<Message>The ap-east-1 region is full</Message>", "", NULL},
		{"us-east-1", "<Message>The</Message>", "", NULL},
		{"us-east-1", "", "", NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bw_s3_address a = {.scheme = "https"};
		struct bw_http_request r;
		char host[100];

		snprintf(a.region, sizeof(a.region), "%s", cases[i].from);
		snprintf(a.host, sizeof(a.host), "buck.s3.%s.amazonaws.com", cases[i].from);
		answer(&r, 400, "IllegalLocationConstraintException", cases[i].more);
		snprintf(r.region, sizeof(r.region), "%s", cases[i].header);
		enum bw_s3_remedy remedy = remedy_for(&r, &a);
		const char *region = cases[i].region ? cases[i].region : cases[i].from;

		cr_assert_eq(remedy, cases[i].region ? BW_S3_MOVED : BW_S3_NONE, "case %zu", i);
		cr_assert_str_eq(a.region, region, "case %zu: %s", i, a.region);
		snprintf(host, sizeof(host), "buck.s3.%s.amazonaws.com", region);
		cr_assert_str_eq(a.host, host, "case %zu: %s", i, a.host);
	}
}

/* The host that names no region is none to find such a bucket at. */
Test(s3_remedy, another_region_in_words_of_the_general_host)
{
	static const char *const cases[][2] = {
		{"s3.amazonaws.com", "s3.ap-east-1.amazonaws.com"},
		{"buck.s3.amazonaws.com", "buck.s3.ap-east-1.amazonaws.com"},
		{"s3.amazonaws.com:443", "s3.ap-east-1.amazonaws.com:443"},
		{"nots3.amazonaws.com", "nots3.amazonaws.com"},
		{"s3.example.com", "s3.example.com"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bw_s3_address a = {.scheme = "https", .region = "us-east-1"};
		struct bw_http_request r;

		snprintf(a.host, sizeof(a.host), "%s", cases[i][0]);
		answer(&r, 400, "IllegalLocationConstraintException", MESSAGE("ap-east-1"));
		cr_assert_eq(remedy_for(&r, &a), BW_S3_MOVED);
		cr_assert_str_eq(a.region, "ap-east-1");
		cr_assert_str_eq(a.host, cases[i][1], "%s", a.host);
	}
}

/* A host that names a region goes to the other one, as what it is; one that names none goes where the store says. */
Test(s3_remedy, another_region_of_an_endpoint)
{
	static const struct {
		const char *host, *bucket_path, *endpoint, *new_host, *new_path;
	} cases[] = {
		{"s3.amazonaws.com", "/buck", "buck.s3.eu-west-1.amazonaws.com", "buck.s3.eu-west-1.amazonaws.com", ""},
		{"s3.amazonaws.com", "/buck", "s3.eu-west-1.amazonaws.com", "s3.eu-west-1.amazonaws.com", "/buck"},
		{"s3.dualstack.us-east-1.amazonaws.com", "/buck", "buck.s3.eu-west-1.amazonaws.com",
		 "s3.dualstack.eu-west-1.amazonaws.com", "/buck"},
		{"s3-fips.us-east-1.amazonaws.com", "/buck", "buck.s3.eu-west-1.amazonaws.com",
		 "s3-fips.eu-west-1.amazonaws.com", "/buck"},
		{"s3-fips.us-west-2.amazonaws.com", "/buck", "buck.s3.eu-west-1.amazonaws.com",
		 "buck.s3.eu-west-1.amazonaws.com", ""},
		{"s3.amazonaws.com", "/buck", "", "s3.amazonaws.com", "/buck"},
		{"s3.amazonaws.com", "/buck", "user@evil", "s3.amazonaws.com", "/buck"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bw_s3_address a = {.scheme = "https", .region = "us-east-1"};
		struct bw_http_request r;
		char more[200];

		snprintf(a.host, sizeof(a.host), "%s", cases[i].host);
		snprintf(a.bucket_path, sizeof(a.bucket_path), "%s", cases[i].bucket_path);
		snprintf(more, sizeof(more), "<Endpoint>%s</Endpoint>", cases[i].endpoint);
		answer(&r, 301, "PermanentRedirect", more);
		snprintf(r.region, sizeof(r.region), "eu-west-1");
		cr_assert_eq(remedy_for(&r, &a), BW_S3_MOVED, "case %zu", i);
		cr_assert_str_eq(a.region, "eu-west-1");
		cr_assert_str_eq(a.host, cases[i].new_host, "case %zu: %s", i, a.host);
		cr_assert_str_eq(a.bucket_path, cases[i].new_path, "case %zu: %s", i, a.bucket_path);
	}
}

Test(s3_remedy, another_host)
{
	struct bw_http_request r;
	struct bw_s3_address a = own;

	answer(&r, 307, "TemporaryRedirect", "");
	snprintf(r.location, sizeof(r.location), "http://10.0.0.2:81/buck/key?x=y");
	cr_assert_eq(remedy_for(&r, &a), BW_S3_MOVED);
	cr_assert_str_eq(a.host, "10.0.0.2:81");
	cr_assert_str_eq(a.bucket_path, "/buck");
	answer(&r, 307, "TemporaryRedirect", "");
	snprintf(r.location, sizeof(r.location), "http://buck.h/key");
	cr_assert_eq(remedy_for(&r, &a), BW_S3_MOVED);
	cr_assert_str_eq(a.host, "buck.h");
	cr_assert_str_eq(a.bucket_path, "");
	a = own;
	answer(&r, 301, "PermanentRedirect", "<Endpoint>buck.elsewhere.org</Endpoint>");
	cr_assert_eq(remedy_for(&r, &a), BW_S3_MOVED);
	cr_assert_str_eq(a.host, "buck.elsewhere.org");
	cr_assert_str_eq(a.bucket_path, "");
}

/* curl leaves a port that goes without saying out of the header, and the header is signed. */
Test(s3_remedy, another_host_with_a_port_that_goes_without_saying)
{
	struct bw_http_request r;
	struct bw_s3_address a = own;

	answer(&r, 307, "TemporaryRedirect", "");
	snprintf(r.location, sizeof(r.location), "http://10.0.0.2:80/buck/key");
	cr_assert_eq(remedy_for(&r, &a), BW_S3_MOVED);
	cr_assert_str_eq(a.host, "10.0.0.2");
	answer(&r, 307, "TemporaryRedirect", "");
	snprintf(r.location, sizeof(r.location), "http://10.0.0.2:80/buck/key");
	cr_assert_eq(remedy_for(&r, &a), BW_S3_NONE, "the same again is no news");
	answer(&r, 307, "TemporaryRedirect", "");
	snprintf(r.location, sizeof(r.location), "http://10.0.0.2:443/buck/key");
	cr_assert_eq(remedy_for(&r, &a), BW_S3_MOVED);
	cr_assert_str_eq(a.host, "10.0.0.2:443");
	a = aws;
	answer(&r, 301, "PermanentRedirect", "<Endpoint>[fe80::443]:443</Endpoint>");
	cr_assert_eq(remedy_for(&r, &a), BW_S3_MOVED);
	cr_assert_str_eq(a.host, "[fe80::443]");
	answer(&r, 301, "PermanentRedirect", "<Endpoint>:443</Endpoint>");
	cr_assert_eq(remedy_for(&r, &a), BW_S3_NONE);
}

/* S7: what began encrypted does not go on in the clear because somebody says so. */
Test(s3_remedy, never_to_another_scheme)
{
	struct bw_http_request r;
	struct bw_s3_address a = aws;

	answer(&r, 307, "TemporaryRedirect", "");
	snprintf(r.location, sizeof(r.location), "http://buck.s3.us-east-1.amazonaws.com/key");
	cr_assert_eq(remedy_for(&r, &a), BW_S3_NONE);
	answer(&r, 307, "TemporaryRedirect", "");
	snprintf(r.location, sizeof(r.location), "https://user:x@elsewhere/key");
	cr_assert_eq(remedy_for(&r, &a), BW_S3_NONE);
	cr_assert_str_eq(a.host, aws.host);
}

Test(s3_remedy, another_clock)
{
	struct bw_http_request r;
	struct bw_s3_address a = aws;

	answer(&r, 403, "RequestTimeTooSkewed", "");
	cr_assert_eq(remedy_for(&r, &a), BW_S3_NONE, "without a date there is nothing to go by");
	answer(&r, 403, "RequestTimeTooSkewed", "");
	r.date_s = 9000;
	cr_assert_eq(remedy_for(&r, &a), BW_S3_SKEWED);
	cr_assert_eq(a.skew_s, 8000);
	/* By our clock, as it was corrected, nothing is wrong: it is the signature that is old. */
	answer(&r, 403, "RequestTimeTooSkewed", "");
	r.date_s = 9001;
	cr_assert_eq(remedy_for(&r, &a), BW_S3_SKEWED);
	cr_assert_eq(a.skew_s, 8000);
	/* Ours may have stopped long ago; but nobody's runs where years have more than four digits. */
	answer(&r, 403, "RequestTimeTooSkewed", "");
	r.date_s = 1796000000;
	cr_assert_eq(remedy_for(&r, &a), BW_S3_SKEWED);
	cr_assert_eq(a.skew_s, 1796000000 - 1000);
	answer(&r, 403, "RequestTimeTooSkewed", "");
	r.date_s = 253402300799;	/* 9999-12-31 23:59:59 */
	cr_assert_eq(remedy_for(&r, &a), BW_S3_NONE);
	cr_assert_eq(a.skew_s, 1796000000 - 1000);
}

/* A permission that lacks, or a key that a Ceph RGW has just forgotten. */
Test(s3_remedy, doubtful_credentials)
{
	struct bw_s3_address a = aws;
	struct bw_http_request r;

	answer(&r, 403, "AccessDenied", "");
	cr_assert_eq(remedy_for(&r, &a), BW_S3_DOUBTED);
}

Test(s3_remedy, other_credentials)
{
	static const struct {
		int status;
		const char *code;
	} cases[] = {{400, "ExpiredToken"}, {403, "ExpiredToken"}, {400, "TokenRefreshRequired"},
		     {403, "InvalidAccessKeyId"}, {400, "InvalidToken"},
		     {403, "SignatureDoesNotMatch"}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bw_s3_address a = aws;
		struct bw_http_request r;
		answer(&r, cases[i].status, cases[i].code, "");
		cr_assert_eq(remedy_for(&r, &a), BW_S3_EXPIRED, "%s", cases[i].code);
	}
}

Test(s3_detail, tells_status_code_and_request)
{
	struct bw_s3_address a = aws;
	struct bw_s3_error error;
	struct bw_http_request r;
	enum bw_s3_remedy remedy;
	char text[96];

	answer(&r, 503, "SlowDown", "");
	cr_assert_eq(bw_s3_classify(BW_OP_GET, false, &r, 0, &a, &error, &remedy), BW_THROTTLED);
	bw_s3_detail(&r, &error, text, sizeof(text));
	cr_assert_str_eq(text, "503 SlowDown, request id-1");
	snprintf(r.request_id, sizeof(r.request_id), "of-the-header");
	bw_s3_detail(&r, &error, text, sizeof(text));
	cr_assert_str_eq(text, "503 SlowDown, request of-the-header");
	bw_http_request_done(&r);
	/* What AWS says of a put into a bucket that locks by default; of the code alone nobody would know. */
	answer(&r, 400, "InvalidRequest", "<Message>Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object"
					  " requests with Object Lock parameters</Message>");
	cr_assert_eq(bw_s3_classify(BW_OP_PUT, true, &r, 0, &a, &error, &remedy), BW_DENIED);
	bw_s3_detail(&r, &error, text, sizeof(text));
	cr_assert_str_eq(text, "400 InvalidRequest (Object Lock), request id-1");
	cr_assert(strstr(bw_s3_advice(text)->remedy, "default retention"));
	r.end = BW_HTTP_LOST;
	snprintf(r.detail, sizeof(r.detail), "it went away");
	bw_s3_detail(&r, &error, text, sizeof(text));
	cr_assert_str_eq(text, "it went away");
	bw_http_request_done(&r);
}
