/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3.h"
#include "tests/support/stores.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

Test(store, outcomes_have_an_error_and_a_name)
{
	static const struct {
		enum bw_outcome outcome;
		int err, wanted;
	} cases[] = {
		{BW_OK, 0, 0},
		{BW_EXISTS, 0, -EEXIST},
		{BW_NOT_FOUND, 0, -ENOENT},
		{BW_THROTTLED, 0, -BW_E_THROTTLED},
		{BW_DENIED, -EACCES, -BW_E_DENIED},
		{BW_DENIED, -EROFS, -EROFS},
		{BW_FULL, -ENOSPC, -ENOSPC},
		{BW_FULL, -EDQUOT, -EDQUOT},
		{BW_FULL, -EFBIG, -ENOSPC},
		{BW_UNREACHABLE, -EIO, -BW_E_UNREACHABLE},
		{BW_UNKNOWN, -EIO, -BW_E_UNKNOWN},
		{BW_CORRUPT, 0, -BW_E_CORRUPT},
		{BW_CANCELLED, 0, -ECANCELED},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bw_op op = {.outcome = cases[i].outcome, .err = cases[i].err};
		cr_assert_eq(bw_op_err(&op), cases[i].wanted, "%s with %d",
			     bw_outcome_name(op.outcome), op.err);
		cr_assert_neq(bw_outcome_name(op.outcome)[0], 0);
	}
	cr_assert_str_eq(bw_op_kind_name(BW_OP_LIST), "list");
	cr_assert_str_eq(bw_op_kind_name(BW_OP_ABORT_UPLOAD), "abort_upload");
}

Test(store, an_op_can_be_used_again)
{
	struct bw_store *s;
	struct bw_op op;

	cr_assert_eq(bw_store_mem_new(&s), 0);
	cr_assert_eq(bw_test_put(s, "k", "bytes", 5, true), BW_OK);
	bw_op_get_all(&op, "k", 5);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(bw_store_sync(s, &op), BW_OK);
		cr_assert_eq(op.blob->len, 5);
		bw_op_done(&op);
		cr_assert_null(op.blob);
	}
	bw_store_free(s);
	bw_store_free(NULL);
	bw_listing_free(NULL);
	bw_uploads_free(NULL);
}

/* ---- Opening -------------------------------------------------------------------------------- */

static int open_url(const char *text, const struct bw_store_config *config, struct bw_store **ret,
		    char why[256])
{
	struct bw_url url;

	why[0] = 0;
	cr_assert_eq(bw_url_parse(text, &url, why, 256), 0, "%s", why);
	return bw_store_open(&url, config, ret, why, 256);
}

Test(open, says_in_a_sentence_what_is_wrong)
{
	struct bw_store_config config = {0};
	char dir[BW_TMPDIR_MAX], text[512], why[256];
	struct bw_store *s = NULL;

	struct bw_s3_config s3 = {.endpoint = "http://127.0.0.1:1", .ca = "/no/such/file"};

	cr_assert_eq(open_url("s3://-b/prefix", &config, &s, why), -EINVAL);
	cr_assert_not_null(strstr(why, "bucket"), "%s", why);
	config.s3 = &s3;
	cr_assert_eq(open_url("s3://bucket", &config, &s, why), -EINVAL);
	cr_assert_not_null(strstr(why, "/no/such/file"), "%s", why);
	s3.endpoint[0] = 'x';
	cr_assert_eq(open_url("s3://bucket", &config, &s, why), -EINVAL);
	cr_assert_not_null(strstr(why, "endpoint"), "%s", why);
	bw_test_tmpdir(dir);
	snprintf(text, sizeof(text), "file://%s/missing", dir);
	cr_assert_eq(open_url(text, &config, &s, why), -ENOENT);
	cr_assert_not_null(strstr(why, "/missing"), "%s", why);
	snprintf(text, sizeof(text), "%s/file", dir);
	fclose(fopen(text, "w"));
	snprintf(text, sizeof(text), "file://%s/file", dir);
	config.create = true;
	cr_assert_eq(open_url(text, &config, &s, why), -ENOTDIR);
	cr_assert_not_null(strstr(why, "not a directory"), "%s", why);
	cr_assert_null(s);
	bw_test_rmtree(dir);
}

static enum bw_fault first_lost(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	(void)op;
	atomic_fetch_add((atomic_uint *)plan->ctx, 1);
	return nth == 0 ? BW_FAULT_LOST_REPLY : BW_FAULT_NONE;
}

Test(open, the_chain_counts_retries_and_takes_faults)
{
	atomic_uint attempts = 0;
	struct bw_fault_plan plan = {.decide = first_lost, .ctx = &attempts};
	struct bw_store_stats stats = {0};
	struct bw_store_config config = {.create = true, .stats = &stats, .fault = &plan};
	char dir[BW_TMPDIR_MAX], text[512], why[256];
	struct bw_store *s;

	bw_test_tmpdir(dir);
	snprintf(text, sizeof(text), "file://%s/new/store/", dir);
	cr_assert_eq(open_url(text, &config, &s, why), 0, "%s", why);
	cr_assert_eq(bw_test_put(s, "k", "bytes", 5, false), BW_OK, "it was not repeated");
	cr_assert_eq(atomic_load(&attempts), 2, "faults stand below retry");
	cr_assert_eq(bw_stats_all(&stats), 1, "stats stand above retry");
	cr_assert(bw_test_holds(s, "k", "bytes", 5));
	bw_store_free(s);
	bw_test_rmtree(dir);
}
