/* SPDX-License-Identifier: Apache-2.0 */
/* The credential chain with sources that need no network: the environment, and none at all. */
#include "tests/unit/cred_world.h"

Test(s3_creds, environment)
{
	char dir[BW_TMPDIR_MAX];

	cred_world(dir);
	setenv("AWS_ACCESS_KEY_ID", "AKIDENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "env/secret+key=", 1);
	cred_expect("", "environment", "AKIDENV", "env/secret+key=", "");
	setenv("AWS_SESSION_TOKEN", "env-token", 1);
	cred_expect("", "environment", "AKIDENV", "env/secret+key=", "env-token");
	bw_test_rmtree(dir);
}

Test(s3_creds, half_an_environment_is_a_mistake)
{
	char dir[BW_TMPDIR_MAX];

	cred_world(dir);
	setenv("AWS_ACCESS_KEY_ID", "AKIDENV", 1);
	cred_expect_why("", "AWS_ACCESS_KEY_ID is set", "AWS_SECRET_ACCESS_KEY is not");
	setenv("AWS_SECRET_ACCESS_KEY", "", 1);
	cred_expect_why("", "AWS_SECRET_ACCESS_KEY is not");
	unsetenv("AWS_ACCESS_KEY_ID");
	setenv("AWS_SECRET_ACCESS_KEY", "wJalrSECRET", 1);
	cred_expect_why("", "AWS_SECRET_ACCESS_KEY is set", "AWS_ACCESS_KEY_ID is not");
	bw_test_rmtree(dir);
}

/* S7: what is wrong with a secret is said without it. */
Test(s3_creds, a_key_with_a_line_break_is_refused)
{
	char dir[BW_TMPDIR_MAX], why[BW_CRED_WHY];

	cred_world(dir);
	setenv("AWS_ACCESS_KEY_ID", "AKIDENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "wJalr\r\nx-evil: 1", 1);
	cred_expect_why("", "secret access key", "blank");
	cr_assert_not(cred_once("", why));
	cr_assert_not(strstr(why, "wJalr"), "%s", why);

	char *longer = calloc(1, 9000);
	memset(longer, 'x', 8500);
	setenv("AWS_SECRET_ACCESS_KEY", "fine", 1);
	setenv("AWS_SESSION_TOKEN", longer, 1);
	cred_expect_why("", "session token", "8500 bytes");
	free(longer);
	bw_test_rmtree(dir);
}

/* What somebody asks for by name he gets, whatever else lies about; a variable is as good as the others. */
Test(s3_creds, a_profile_that_is_named_goes_before_the_environment)
{
	char dir[BW_TMPDIR_MAX], path[512];

	cred_world(dir);
	snprintf(path, sizeof(path), "%s/credentials", dir);
	FILE *f = fopen(path, "w");
	cr_assert(f && fputs("[mine]\naws_access_key_id = M\naws_secret_access_key = s\n[none]\nregion = x\n", f) >= 0 &&
		  fclose(f) == 0);
	setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
	cred_expect("!mine", "shared files", "M", "s", "");

	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token", 1);
	setenv("AWS_ROLE_ARN", "arn", 1);
	cred_expect("!mine", "shared files", "M", "s", "");
	cred_expect_why("mine", "/nowhere/token");

	setenv("AWS_ACCESS_KEY_ID", "AKIDENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "e", 1);
	cred_expect("!mine", "shared files", "M", "s", "");
	cred_expect("mine", "environment", "AKIDENV", "e", "");
	setenv("AWS_PROFILE", "mine", 1);
	cred_expect("", "environment", "AKIDENV", "e", "");

	/* The identity of the environment is not taken for one that the profile does not have. */
	cred_expect_why("!none", "no credentials are configured");
	cred_expect_why("!gone", "profile \"gone\" is neither in");
	bw_test_rmtree(dir);
}

Test(s3_creds, nothing_configured_names_the_sources)
{
	char dir[BW_TMPDIR_MAX];

	cred_world(dir);
	cred_expect_why("", "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "~/.aws/credentials",
			"container", "instance");
	bw_test_rmtree(dir);
}

/* A look at the files is taken without the lock: what happens meanwhile must not be slept over. */
Test(s3_creds, what_happens_while_it_looks)
{
	char dir[BW_TMPDIR_MAX], path[512], why[BW_CRED_WHY];

	cred_world(dir);
	snprintf(path, sizeof(path), "%s/credentials", dir);
	FILE *f = fopen(path, "w");
	cr_assert(f && fputs("[default]\naws_access_key_id = A\naws_secret_access_key = s\n", f) >= 0 &&
		  fclose(f) == 0);
	setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
	for (int i = 0; i < 1000; i++) {
		struct bw_cred_chain *c = cred_chain("", NULL);
		struct bw_creds *creds;

		for (int k = 0; k < 4; k++) {
			cr_assert_eq(cred_get(c, &creds, why), 0);
			for (int64_t until = bw_now() + i % 100 * 1000; bw_now() < until;)
				;	/* too short for sleeping: the look may be at any place */
			if (k == 2)
				bw_creds_unref(cred_doubt(c, creds));
			else if (k)
				bw_cred_chain_refused(c, creds);
			bw_creds_unref(creds);
		}
		bw_cred_chain_free(c);
	}
	bw_test_rmtree(dir);
}
