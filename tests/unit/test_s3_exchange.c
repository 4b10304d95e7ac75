/* SPDX-License-Identifier: Apache-2.0 */
/* What surrounds a request: waiting for credentials, and what is asked of the store. */
#include "store/s3_priv.h"
#include "tests/unit/cred_world.h"
#include "tests/unit/script_store.h"

#include <stdlib.h>
#include <time.h>

static char home[BW_TMPDIR_MAX];

static void end(void)
{
	bw_test_rmtree(home);
}

struct told {
	struct bw_mutex lock;
	struct bw_cond cond;
	unsigned n;
};

static void tell(struct bw_op *op)
{
	struct told *t = op->ctx;

	BW_LOCK_SCOPE(&t->lock);
	t->n++;
	bw_cond_signal(&t->cond);
}

static void wait_for(struct told *t, unsigned n)
{
	BW_LOCK_SCOPE(&t->lock);
	while (t->n < n)
		bw_cond_wait(&t->cond, &t->lock);
}

/*
 * A source of credentials that says nothing holds up a request no longer than its deadline, or until nobody
 * wants it.  The source would be asked again before it gave up: that was not waited for.
 */
Test(s3_exchange, V3_waiting_for_credentials_ends_by_itself, .fini = end, .timeout = 60)
{
	struct bw_script_rule rule = {.method = "GET", .target = "/c", .hangs = true};
	struct bw_script *script = bw_script_new(&rule, 1);
	struct told told = {0};
	struct bw_op ops[6];
	char url[256];

	cred_world(home);
	snprintf(url, sizeof(url), "%s/c", bw_script_url(script));
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
	struct bw_store *s = store_at(script);

	bw_mutex_init(&told.lock, BW_RANK_LEAF);
	bw_cond_init(&told.cond);
	for (int i = 0; i < 6; i++) {
		bw_op_get(&ops[i], "key", 0, 5);
		ops[i].deadline_ns = i < 3 ? bw_now() + (i + 1) * 100 * BW_MS : BW_NEVER;
		ops[i].done = tell;
		ops[i].ctx = &told;
		bw_store_submit(s, &ops[i]);
	}
	wait_for(&told, 3);
	for (int i = 3; i < 6; i++)
		bw_store_cancel(s, &ops[i]);
	wait_for(&told, 6);
	cr_assert_leq(bw_script_hits(script, 0), 1);
	for (int i = 0; i < 6; i++)
		cr_assert_eq(ops[i].outcome, BW_CANCELLED, "%d: %s", i, bw_outcome_name(ops[i].outcome));
	bw_store_free(s);
	bw_script_free(script);
}

/* A source of credentials that is overloaded is a store that is away: the request may be sent again. */
Test(s3_exchange, S3_credentials_that_are_not_to_be_had_for_now, .fini = end, .timeout = 60)
{
	const struct bw_script_rule rules[] = {
		{.method = "POST", .target = "/", .status = 400, .times = 6,
		 .body = "<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error>"
			 "</ErrorResponse>"}};
	struct bw_script *script = bw_script_new(rules, 1);
	char path[512];
	struct bw_op op;

	cred_world(home);
	snprintf(path, sizeof(path), "%s/token", home);
	FILE *f = fopen(path, "w");
	cr_assert(f && fputs("jwt\n", f) >= 0 && fclose(f) == 0);
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", path, 1);
	setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/r", 1);
	setenv("AWS_ENDPOINT_URL_STS", bw_script_url(script), 1);
	struct bw_store *s = store_at(script);

	bw_op_get(&op, "key", 0, 5);
	cr_assert_eq(bw_store_sync(s, &op), BW_UNREACHABLE, "%s %s", bw_outcome_name(op.outcome), op.detail);
	cr_assert_eq(bw_script_misses(script), 0);
	bw_op_done(&op);
	bw_store_free(s);
	bw_script_free(script);
}

/* An object named like the prefix would be a page of nothing, and more of it. */
Test(s3_exchange, a_listing_begins_behind_the_prefix, .fini = end, .timeout = 60)
{
	static const struct bw_script_rule rule = {
		.method = "GET",
		.target = "/bucket/?encoding-type=url&list-type=2&max-keys=1&prefix=p%2F&start-after=p%2F",
		.status = 200,
		.body = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>p/a</Key>"
			"<LastModified>2026-01-02T03:04:05.678Z</LastModified>"
			"<Size>1</Size></Contents></ListBucketResult>",
	};
	struct bw_script *script = bw_script_new(&rule, 1);
	struct bw_op op;

	cred_world(home);
	setenv("AWS_ACCESS_KEY_ID", "K", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
	struct bw_store *s = store_at(script);

	bw_op_list(&op, "", "", 1);
	cr_assert_eq(bw_store_sync(s, &op), BW_OK, "%s", op.detail);
	cr_assert_eq(op.listing->n, 1);
	cr_assert_str_eq(op.listing->items[0].key, "a");
	bw_op_done(&op);
	bw_store_free(s);
	bw_script_free(script);
}

/* ---- The wrong region --------------------------------------------------------------------------- */

#define MALFORMED "<Error><Code>AuthorizationHeaderMalformed</Code></Error>"
#define OBJECT "/bucket/p/key"

static enum bw_outcome get(struct bw_store *s, struct bw_op *op)
{
	bw_op_get_all(op, "key", 100);
	enum bw_outcome outcome = bw_store_sync(s, op);

	bw_op_done(op);
	return outcome;
}

static void with_keys(void)
{
	cred_world(home);
	setenv("AWS_ACCESS_KEY_ID", "K", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
	setenv("AWS_REGION", "us-east-1", 1);
}

#define ILLEGAL(region) "<Error><Code>IllegalLocationConstraintException</Code><Message>The " region " location"      \
	" constraint is incompatible for the region specific endpoint this request was sent to.</Message></Error>"

/* Each way in which stores name the region of a bucket. */
static const struct bw_script_rule sent_away[] = {
	{.status = 400, .headers = "x-amz-bucket-region: eu-test-1\r\n", .body = MALFORMED},
	{.status = 400, .body = "<Error><Code>AuthorizationHeaderMalformed</Code>"
				"<Region>eu-test-1</Region></Error>"},
	{.status = 403, .headers = "x-amz-bucket-region: eu-test-1\r\n", .body = MALFORMED},
	{.status = 301, .headers = "x-amz-bucket-region: eu-test-1\r\n",
	 .body = "<Error><Code>PermanentRedirect</Code></Error>"},
	{.status = 301, .headers = "x-amz-bucket-region: eu-test-1\r\n"},
	{.status = 400, .headers = "x-amz-bucket-region: eu-test-1\r\n", .body = ILLEGAL("unspecified")},
	{.status = 400, .body = ILLEGAL("eu-test-1")},
};

/* The same request is signed anew, once, and from then on everything for the region that the store has named. */
Test(s3_exchange, another_region_is_followed_and_remembered, .init = with_keys, .fini = end, .timeout = 60)
{
	for (size_t i = 0; i < sizeof(sent_away) / sizeof(sent_away[0]); i++) {
		struct bw_script_rule rules[] = {
			sent_away[i],
			{.method = "GET", .target = OBJECT, .demands = {"/eu-test-1/s3/aws4_request"},
			 .status = 200, .body = "bytes"},
		};
		struct bw_op op;

		rules[0].method = "GET";
		rules[0].target = OBJECT;
		rules[0].demands[0] = "/us-east-1/s3/aws4_request";
		rules[0].times = 1;
		struct bw_script *script = bw_script_new(rules, 2);
		struct bw_store *s = store_at(script);

		for (unsigned n = 1; n <= 3; n++) {
			cr_assert_eq(get(s, &op), BW_OK, "%zu: %s", i, op.detail);
			cr_assert_eq(bw_script_hits(script, 0), 1);
			cr_assert_eq(bw_script_hits(script, 1), n);
		}
		cr_assert_eq(bw_script_misses(script), 0);
		bw_store_free(s);
		bw_script_free(script);
	}
}

/* Whoever sends us to and fro is not followed a second time. */
Test(s3_exchange, another_region_is_followed_once, .init = with_keys, .fini = end, .timeout = 60)
{
	static const struct bw_script_rule rules[] = {
		{.method = "GET", .target = OBJECT, .status = 400, .body = MALFORMED, .times = 1,
		 .headers = "x-amz-bucket-region: eu-test-1\r\n"},
		{.method = "GET", .target = OBJECT, .status = 400, .body = MALFORMED,
		 .headers = "x-amz-bucket-region: us-east-1\r\n"},
	};
	struct bw_script *script = bw_script_new(rules, 2);
	struct bw_store *s = store_at(script);
	struct bw_op op;

	cr_assert_eq(get(s, &op), BW_DENIED, "%s", bw_outcome_name(op.outcome));
	cr_assert(strstr(op.detail, "AuthorizationHeaderMalformed"), "%s", op.detail);
	cr_assert_eq(bw_script_hits(script, 0) + bw_script_hits(script, 1), 2);
	bw_store_free(s);
	bw_script_free(script);
}

/* ---- Old signatures ----------------------------------------------------------------------------- */

#define TOO_SKEWED "<Error><Code>RequestTimeTooSkewed</Code></Error>"

/* "Date: ...\r\n" of now: whoever says so agrees with our clock. */
static const char *date_now(char ret[64])
{
	time_t now = time(NULL);
	struct tm tm;

	cr_assert(gmtime_r(&now, &tm) && strftime(ret, 64, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm));
	return ret;
}

/*
 * A machine that is suspended between a signature and its arrival finds its clock right: it is signed anew, once, and
 * nobody is told of a clock.
 */
Test(s3_exchange, S3_what_was_signed_before_a_machine_slept_is_signed_anew, .init = with_keys, .fini = end, .timeout = 60)
{
	for (int is_lie = 0; is_lie < 2; is_lie++) {
		char date[64];
		const struct bw_script_rule rules[] = {
			{.method = "GET", .target = OBJECT, .status = 403, .body = TOO_SKEWED, .headers = date_now(date),
			 .times = is_lie ? 0 : 1},
			{.method = "GET", .target = OBJECT, .status = 200, .body = "bytes"},
		};
		struct bw_script *script = bw_script_new(rules, 2);
		struct bw_store *s = store_at(script);
		struct bw_op op;

		cr_assert_eq(get(s, &op), is_lie ? BW_DENIED : BW_OK, "%s", op.detail);
		cr_assert_eq(bw_script_hits(script, 0), 1 + (unsigned)is_lie);
		cr_assert_leq(llabs(((struct bw_s3 *)s)->address.skew_s), 1);
		bw_store_free(s);
		bw_script_free(script);
	}
}

/* ---- The end of a mount -------------------------------------------------------------------------- */

/*
 * What nobody waits for any more ends as cancelled through the whole chain, in flight over a connection that has
 * stalled: not cut as too slow, and not sent again.
 */
Test(s3_exchange, S5_a_stalled_get_ends_when_it_is_cancelled, .init = with_keys, .fini = end, .timeout = 60)
{
	struct bw_script_rule rule = {.method = "GET", .target = OBJECT, .hangs = true};
	struct bw_script *script = bw_script_new(&rule, 1);
	struct bw_url url = {.scheme = BW_URL_S3, .path = "bucket/p"};
	struct bw_s3_config s3 = {0};
	struct bw_store_config config = {.s3 = &s3};
	struct told told = {0};
	struct bw_store *s;
	struct bw_op op;
	char why[256];

	snprintf(s3.endpoint, sizeof(s3.endpoint), "%s", bw_script_url(script));
	cr_assert_eq(bw_store_open(&url, &config, &s, why, sizeof(why)), 0, "%s", why);
	bw_mutex_init(&told.lock, BW_RANK_LEAF);
	bw_cond_init(&told.cond);
	bw_op_get_all(&op, "key", 100);
	op.done = tell;
	op.ctx = &told;
	bw_store_submit(s, &op);
	bw_script_wait(script, 0, 1);
	bw_store_cancel(s, &op);
	wait_for(&told, 1);
	cr_assert_eq(op.outcome, BW_CANCELLED, "%s %s", bw_outcome_name(op.outcome), op.detail);
	cr_assert_eq(bw_script_hits(script, 0), 1);
	bw_op_done(&op);
	bw_store_free(s);
	bw_script_free(script);
}

/* ---- Unsigned bodies -------------------------------------------------------------------------- */

#define BODY (20u << 10)
#define UNSIGNED "x-amz-content-sha256: UNSIGNED-PAYLOAD"

static uint8_t body_bytes[BODY];

static enum bw_outcome put(struct bw_store *s, size_t len)
{
	struct bw_bytes_body body;
	struct bw_op op;

	bw_bytes_body_init(&body, body_bytes, len);
	bw_op_put(&op, "key", &body.body, true);
	return bw_store_sync(s, &op);
}

static const char *signed_as(size_t len, char ret[100])
{
	char sum[BW_SHA256_HEX + 1];

	bw_sha256_hex(body_bytes, len, sum);
	snprintf(ret, 100, "x-amz-content-sha256: %s", sum);
	return ret;
}

static struct bw_store *unsigned_at(const struct bw_script *script)
{
	return store_with(script, (struct bw_s3_config){.unsigned_payload = true});
}

/* Over https:// with a certificate that was verified it is the same, but no script speaks TLS. */
Test(s3_exchange, only_large_bodies_go_unsigned_and_only_where_somebody_vouches, .init = with_keys, .fini = end, .timeout = 60)
{
	char large[100], small[100], none[100];
	const struct bw_script_rule rules[] = {
		{.method = "PUT", .target = OBJECT, .demands = {signed_as(BODY, large)}, .status = 200, .times = 1},
		{.method = "PUT", .target = OBJECT, .demands = {UNSIGNED}, .status = 200, .times = 1},
		{.method = "PUT", .target = OBJECT, .demands = {signed_as(1000, small)}, .status = 200, .times = 1},
		{.method = "PUT", .target = OBJECT, .demands = {signed_as(0, none)}, .status = 200, .times = 1},
	};
	struct bw_script *script = bw_script_new(rules, 4);
	struct bw_store *s = store_at(script);

	cr_assert_eq(put(s, BODY), BW_OK);
	bw_store_free(s);
	s = unsigned_at(script);
	cr_assert_eq(put(s, BODY), BW_OK);
	cr_assert_eq(put(s, 1000), BW_OK);
	cr_assert_eq(put(s, 0), BW_OK);
	cr_assert_eq(bw_script_misses(script), 0);
	bw_store_free(s);
	bw_script_free(script);
}

/* TLS that was verified does; over http:// the user may; for TLS that was not nobody can. */
Test(s3_exchange, who_vouches_for_large_bodies, .init = with_keys, .fini = end)
{
	static const struct {
		const char *endpoint;
		bool no_verify_tls, unsigned_payload, goes_unsigned;
	} cases[] = {
		{"http://127.0.0.1:1", false, false, false}, {"http://127.0.0.1:1", false, true, true},
		{"http://127.0.0.1:1", true, true, true},    {"https://127.0.0.1:1", false, false, true},
		{"https://127.0.0.1:1", false, true, true},  {"https://127.0.0.1:1", true, false, false},
		{"https://127.0.0.1:1", true, true, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bw_url url = {.scheme = BW_URL_S3, .path = "bucket/p"};
		struct bw_s3_config config = {.no_verify_tls = cases[i].no_verify_tls,
					      .unsigned_payload = cases[i].unsigned_payload};
		struct bw_store *s;
		char why[256];

		snprintf(config.endpoint, sizeof(config.endpoint), "%s", cases[i].endpoint);
		cr_assert_eq(bw_store_s3_new(&url, &config, &s, why, sizeof(why)), 0, "%s", why);
		cr_assert_eq(((struct bw_s3 *)s)->bodies_unsigned, cases[i].goes_unsigned, "%zu", i);
		bw_store_free(s);
	}
}

Test(s3_exchange, what_is_refused_unsigned_is_signed_from_then_on, .init = with_keys, .fini = end, .timeout = 60)
{
	static const struct {
		int status;
		const char *body;
	} refusals[] = {
		{400, "<Error><Code>AccessDenied</Code></Error>"},
		{403, "<Error><Code>AccessDenied</Code></Error>"},
		{501, "<Error><Code>AccessDenied</Code></Error>"},
		{400, "<Error><Code>InvalidDigest</Code></Error>"},
		{400, "<Error><Code>XAmzContentSHA256Mismatch</Code></Error>"},
		{400, "<Error><Code>InvalidArgument</Code></Error>"},
		{501, "<Error><Code>NotImplemented</Code></Error>"},
		{403, ""},
	};

	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		char sum[100];
		const struct bw_script_rule rules[] = {
			{.method = "PUT", .target = OBJECT, .demands = {UNSIGNED}, .status = refusals[i].status, .times = 1,
			 .body = refusals[i].body},
			{.method = "PUT", .target = OBJECT, .demands = {signed_as(BODY, sum)}, .status = 200},
		};
		struct bw_script *script = bw_script_new(rules, 2);
		struct bw_store *s = unsigned_at(script);

		cr_assert_eq(put(s, BODY), BW_OK);
		cr_assert_eq(put(s, BODY), BW_OK);
		cr_assert_eq(bw_script_hits(script, 0), 1);
		cr_assert_eq(bw_script_hits(script, 1), 2);
		cr_assert_eq(bw_script_misses(script), 0);
		bw_store_free(s);
		bw_script_free(script);
	}
}

/* What went wrong with one says nothing about the next, and is not sent a second time for it. */
Test(s3_exchange, what_fails_for_another_reason_stays_unsigned, .init = with_keys, .fini = end, .timeout = 60)
{
	static const struct {
		int status;
		const char *body;
		enum bw_outcome outcome;
	} failures[] = {
		{400, "<Error><Code>RequestTimeout</Code></Error>", BW_UNREACHABLE},
		{400, "<Error><Code>IncompleteBody</Code></Error>", BW_UNREACHABLE},
		{400, "<Error><Code>EntityTooLarge</Code></Error>", BW_FULL},
		{403, "<Error><Code>QuotaExceeded</Code></Error>", BW_FULL},
		{400, "<Error><Code>XMinioAdminBucketQuotaExceeded</Code></Error>", BW_FULL},
		{403, "<Error><Code>TooManyRequests</Code></Error>", BW_THROTTLED},
	};

	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		const struct bw_script_rule rules[] = {
			{.method = "PUT", .target = OBJECT, .demands = {UNSIGNED}, .status = failures[i].status,
			 .times = 1, .body = failures[i].body},
			{.method = "PUT", .target = OBJECT, .demands = {UNSIGNED}, .status = 200},
		};
		struct bw_script *script = bw_script_new(rules, 2);
		struct bw_store *s = unsigned_at(script);
		enum bw_outcome outcome = put(s, BODY);

		cr_assert_eq(outcome, failures[i].outcome, "%zu: %s", i, bw_outcome_name(outcome));
		cr_assert_eq(put(s, BODY), BW_OK);
		cr_assert_eq(bw_script_hits(script, 1), 1);
		cr_assert_eq(bw_script_misses(script), 0);
		bw_store_free(s);
		bw_script_free(script);
	}
}

/* One that may not write at all teaches nothing about signatures. */
Test(s3_exchange, what_is_refused_either_way_is_denied, .init = with_keys, .fini = end, .timeout = 60)
{
	const struct bw_script_rule rule = {.method = "PUT", .target = OBJECT, .status = 403,
					    .body = "<Error><Code>AccessDenied</Code></Error>"};
	struct bw_script *script = bw_script_new(&rule, 1);
	struct bw_store *s = unsigned_at(script);

	cr_assert_eq(put(s, BODY), BW_DENIED);
	cr_assert_eq(bw_script_hits(script, 0), 2);
	cr_assert(((struct bw_s3 *)s)->bodies_unsigned);
	bw_store_free(s);
	bw_script_free(script);
}
