/* SPDX-License-Identifier: Apache-2.0 */
/* Many deletes where the store knows them in one request, and where it does not; and listings that are none. */
#include "tests/unit/cred_world.h"
#include "tests/unit/script_store.h"

#define N 20	/* more than are deleted one by one at a time */
#define MANY "/bucket/?delete="
#define LISTING "/bucket/?encoding-type=url&list-type=2&max-keys=1000&prefix=p%2F&start-after=p%2F"

static char home[BW_TMPDIR_MAX], names[N][16];
static struct bw_delete_item items[N];

static void begin(void)
{
	cred_world(home);
	setenv("AWS_ACCESS_KEY_ID", "K", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
	for (int i = 0; i < N; i++) {
		snprintf(names[i], sizeof(names[i]), "key-%02d", i);
		items[i] = (struct bw_delete_item){.key = names[i], .outcome = BW_CORRUPT};
	}
}

static void end(void)
{
	bw_test_rmtree(home);
}

TestSuite(s3_delete, .init = begin, .fini = end, .timeout = 60);

/* ---- Many deletes ------------------------------------------------------------------------------ */

static enum bw_outcome delete_all(struct bw_store *s, struct bw_op *op)
{
	bw_op_delete_many(op, items, N);
	return bw_store_sync(s, op);
}

/* What a store without it may say; each then deletes one by one, and is not asked again. */
static const struct {
	int status;
	const char *body;
} refusals[] = {
	{501, "<Error><Code>NotImplemented</Code></Error>"},
	{501, ""},
	{501, "<html>no such method</html>"},
	{405, "<Error><Code>MethodNotAllowed</Code></Error>"},
	{400, "<Error><Code>NotImplemented</Code></Error>"},
	{400, "<Error><Code>InvalidDigest</Code></Error>"},
	{400, "<Error><Code>MissingContentMD5</Code></Error>"},
};

Test(s3_delete, one_by_one_where_many_are_not_known)
{
	for (size_t r = 0; r < sizeof(refusals) / sizeof(refusals[0]); r++) {
		struct bw_script_rule rules[] = {
			{.method = "POST", .target = MANY, .status = refusals[r].status,
			 .body = refusals[r].body, .demands = {"<Key>p/key-00</Key>", "<Key>p/key-19</Key>"}},
			{.method = "DELETE", .target = "/bucket/p/key-07", .status = 404,
			 .body = "<Error><Code>NoSuchKey</Code></Error>"},
			{.method = "DELETE", .target = "/bucket/p/key-11", .status = 403,
			 .body = "<Error><Code>AccessDenied</Code></Error>", .times = 1},
			{.method = "DELETE", .prefix = true, .target = "/bucket/p/key-", .status = 204},
		};
		struct bw_script *script = bw_script_new(rules, 4);
		struct bw_store *s = store_at(script);
		struct bw_op op;

		cr_assert_eq(delete_all(s, &op), BW_DENIED, "%zu", r);
		cr_assert(strstr(op.detail, "AccessDenied"), "%s", op.detail);
		for (int i = 0; i < N; i++)
			cr_assert_eq(items[i].outcome, i == 11 ? BW_DENIED : BW_OK, "%zu: %d", r, i);
		cr_assert_eq(delete_all(s, &op), BW_OK, "%zu: %s", r, op.detail);
		for (int i = 0; i < N; i++)
			cr_assert_eq(items[i].outcome, BW_OK, "%zu: %d", r, i);
		cr_assert_eq(bw_script_hits(script, 0), 1, "what the store said is remembered");
		cr_assert_eq(bw_script_hits(script, 1), 2);
		cr_assert_eq(bw_script_hits(script, 2) + bw_script_hits(script, 3), 2 * N - 2,
			     "each key once");
		cr_assert_eq(bw_script_misses(script), 0);
		bw_store_free(s);
		bw_script_free(script);
	}
}

/* It says no to this request, not to the kind of it: nothing is deleted behind its back. */
Test(s3_delete, a_refusal_is_not_gone_around)
{
	static const struct {
		int status;
		const char *body;
		enum bw_outcome outcome;
	} answers[] = {
		{403, "<Error><Code>AccessDenied</Code></Error>", BW_DENIED},
		{503, "<Error><Code>SlowDown</Code></Error>", BW_THROTTLED},
		{500, "<Error><Code>InternalError</Code></Error>", BW_UNKNOWN},
		{200, "<Hello/>", BW_UNKNOWN},
		{200, "", BW_UNKNOWN},
	};

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct bw_script_rule rules[] = {
			{.method = "POST", .target = MANY, .status = answers[i].status, .body = answers[i].body},
			{.method = "DELETE", .prefix = true, .target = "/bucket/", .status = 204},
		};
		struct bw_script *script = bw_script_new(rules, 2);
		struct bw_store *s = store_at(script);
		struct bw_op op;

		cr_assert_eq(delete_all(s, &op), answers[i].outcome, "%zu: %s", i,
			     bw_outcome_name(op.outcome));
		for (int k = 0; k < N; k++)
			cr_assert_eq(items[k].outcome, answers[i].outcome, "%zu: %d", i, k);
		cr_assert_eq(bw_script_hits(script, 0), 1);
		cr_assert_eq(bw_script_hits(script, 1), 0);
		bw_store_free(s);
		bw_script_free(script);
	}
}

/* A deadline, and a store that hangs over a single one and so over all that come after it. */
Test(s3_delete, single_ones_end_at_the_deadline)
{
	struct bw_script_rule rules[] = {
		{.method = "POST", .target = MANY, .status = 501},
		{.method = "DELETE", .target = "/bucket/p/key-03", .hangs = true},
		{.method = "DELETE", .prefix = true, .target = "/bucket/", .status = 204},
	};
	struct bw_script *script = bw_script_new(rules, 3);
	struct bw_store *s = store_at(script);
	struct bw_op op;
	unsigned deleted = 0;

	bw_op_delete_many(&op, items, N);
	op.deadline_ns = bw_now() + BW_SEC;
	cr_assert_eq(bw_store_sync(s, &op), BW_UNKNOWN, "%s", bw_outcome_name(op.outcome));
	for (int i = 0; i < N; i++) {
		enum bw_outcome o = items[i].outcome;

		cr_assert(o == BW_UNKNOWN || o == BW_CANCELLED || (o == BW_OK && i != 3), "%d: %s", i,
			  bw_outcome_name(o));
		deleted += o == BW_OK;
	}
	cr_assert_eq(items[3].outcome, BW_UNKNOWN, "it was sent");
	cr_assert_eq(items[N - 1].outcome, BW_CANCELLED, "it was not");
	cr_assert_eq(deleted, bw_script_hits(script, 2));
	bw_store_free(s);
	bw_script_free(script);
}

/* ---- Listings ---------------------------------------------------------------------------------- */

#define ITEM "<Contents><Key>p/a</Key><LastModified>2026-01-02T03:04:05Z</LastModified><Size>1</Size></Contents>"

/* A page that does not say whether it is the last could be taken for all there is. */
Test(s3_delete, a_listing_that_is_none_is_told_from_an_empty_one)
{
	static const struct {
		int status;
		const char *body, *detail;
		enum bw_outcome outcome;
	} answers[] = {
		{200, "<ListBucketResult><IsTruncated>false</IsTruncated>" ITEM "</ListBucketResult>", "", BW_OK},
		{200, "<ListBucketResult>" ITEM "</ListBucketResult>", "", BW_CORRUPT},
		{200, "<ListBucketResult><IsTruncated/>" ITEM "</ListBucketResult>", "", BW_CORRUPT},
		{200, "<ListBucketResult/>", "", BW_CORRUPT},
		{200, "<html>Welcome</html>", "no whole page of a listing", BW_CORRUPT},
		{200, "", "", BW_CORRUPT},
		{501, "<Error><Code>NotImplemented</Code></Error>", "501 NotImplemented", BW_DENIED},
		{501, "", "501", BW_DENIED},
		{204, "", "", BW_CORRUPT},
	};

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct bw_script_rule rule = {.method = "GET", .target = LISTING, .status = answers[i].status,
					      .body = answers[i].body};
		struct bw_script *script = bw_script_new(&rule, 1);
		struct bw_store *s = store_at(script);
		struct bw_op op;

		bw_op_list(&op, "", "", 1000);
		cr_assert_eq(bw_store_sync(s, &op), answers[i].outcome, "%zu: %s %s", i,
			     bw_outcome_name(op.outcome), op.detail);
		cr_assert_eq(op.listing != NULL, answers[i].outcome == BW_OK, "%zu", i);
		if (answers[i].detail[0])
			cr_assert_str_eq(op.detail, answers[i].detail);
		cr_assert_eq(bw_script_hits(script, 0), 1);
		cr_assert_eq(bw_script_misses(script), 0);
		bw_op_done(&op);
		bw_store_free(s);
		bw_script_free(script);
	}
}

/* Whoever asked for the page behind it, again and again, would never come to an end. */
Test(s3_delete, a_page_that_does_not_go_on_is_no_page)
{
	static const struct {
		const char *after;
		enum bw_outcome outcome;
	} asked[] = {{"Z", BW_OK}, {"a", BW_CORRUPT}, {"aa", BW_CORRUPT}, {"b", BW_CORRUPT}};
	struct bw_script_rule rule = {
		.method = "GET", .target = "/bucket/?encoding-type=url&list-type=2&max-keys=1000&prefix=p%2F", .prefix = true,
		.status = 200, .body = "<ListBucketResult><IsTruncated>true</IsTruncated>" ITEM "</ListBucketResult>"};
	struct bw_script *script = bw_script_new(&rule, 1);
	struct bw_store *s = store_at(script);
	struct bw_op op;

	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		bw_op_list(&op, "", asked[i].after, 1000);
		cr_assert_eq(bw_store_sync(s, &op), asked[i].outcome, "behind %s: %s", asked[i].after, op.detail);
		cr_assert_eq(op.listing != NULL, asked[i].outcome == BW_OK);
		if (op.outcome == BW_CORRUPT)
			cr_assert(strstr(bw_s3_advice(op.detail)->cause, "lists again what it has listed"), "%s", op.detail);
		bw_op_done(&op);
	}
	bw_store_free(s);
	bw_script_free(script);
}
