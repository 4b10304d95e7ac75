/* SPDX-License-Identifier: Apache-2.0 */
/* Sources behind HTTP: STS, the container's endpoint and the instance's, against a scripted server. */
#include "tests/support/http_script.h"
#include "tests/unit/cred_world.h"

#include <dlfcn.h>
#include <netdb.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define LATER "2099-01-31T12:00:00Z"
#define LATER_MS INT64_C(4073544000000)
#define STS_OPEN "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
#define STS_OK STS_OPEN "<AssumeRoleWithWebIdentityResult><SubjectFromWebIdentityToken>sys:me"                \
	"</SubjectFromWebIdentityToken><Credentials><SessionToken>sts-token</SessionToken><SecretAccessKey>"  \
	"sts-secret</SecretAccessKey><Expiration>" LATER "</Expiration><AccessKeyId>ASIASTS</AccessKeyId>"     \
	"</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
#define JSON_OK "{\"Code\":\"Success\",\"LastUpdated\":\"x\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"ASIAJ\"," \
	"\"SecretAccessKey\":\"js\\/secret\",\"Token\":\"js-token\",\"Expiration\":\"" LATER "\",\"more\":[{}]}"

static void write_file(const char *dir, const char *name, const char *text, char path[512])
{
	snprintf(path, 512, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void set_url(const char *variable, const struct bw_script *s, const char *path)
{
	char url[256];

	snprintf(url, sizeof(url), "%s%s", bw_script_url(s), path);
	setenv(variable, url, 1);
}

/* ---- Web identity ------------------------------------------------------------------------------- */

static void web_world(char dir[BW_TMPDIR_MAX], const struct bw_script *s)
{
	char path[512];

	cred_world(dir);
	write_file(dir, "token", "eyJ.jwt+/=\n", path);
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", path, 1);
	setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/r", 1);
	set_url("AWS_ENDPOINT_URL_STS", s, "");
}

static const struct bw_script_rule sts[] = {
	{.method = "POST", .target = "/", .status = 200, .body = STS_OK,
	 .demands = {"Content-Type: application/x-www-form-urlencoded",
		     "\r\n\r\nAction=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1"
		     "%3Arole%2Fr&RoleSessionName=batchweave&WebIdentityToken=eyJ.jwt%2B%2F%3D"}},
};

Test(s3_creds_http, web_identity)
{
	struct bw_script *s = bw_script_new(sts, N(sts));
	char dir[BW_TMPDIR_MAX], why[BW_CRED_WHY];

	web_world(dir, s);
	cred_expect("", "web identity", "ASIASTS", "sts-secret", "sts-token");
	struct bw_creds *c = cred_once("", why);
	cr_assert_eq(c->expires_ms, LATER_MS);
	bw_creds_unref(c);
	cr_assert_eq(bw_script_hits(s, 0), 2);
	cr_assert_eq(bw_script_misses(s), 0);
	bw_script_free(s);
	bw_test_rmtree(dir);
}

Test(s3_creds_http, web_identity_names_its_session)
{
	const struct bw_script_rule rules[] = {{.method = "POST", .target = "/", .status = 200, .body = STS_OK,
						.demands = {"&RoleSessionName=trainer%407&"}}};
	struct bw_script *s = bw_script_new(rules, N(rules));
	char dir[BW_TMPDIR_MAX];

	web_world(dir, s);
	setenv("AWS_ROLE_SESSION_NAME", "trainer@7", 1);
	cred_expect("", "web identity", "ASIASTS", "sts-secret", "sts-token");
	cr_assert_eq(bw_script_misses(s), 0);
	bw_script_free(s);
	bw_test_rmtree(dir);
}

/* S7: neither the token nor anything else secret is in what is said. */
Test(s3_creds_http, web_identity_is_refused)
{
	static const char expired[] = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>"
				      "Sender</Type><Code>ExpiredTokenException</Code><Message>Token expired</Message>"
				      "</Error><RequestId>x</RequestId></ErrorResponse>";
	struct bw_script *s = bw_script_new(sts, N(sts));
	char dir[BW_TMPDIR_MAX], why[BW_CRED_WHY];

	web_world(dir, s);
	bw_script_answer(s, 0, 400, expired);
	cred_expect_why("", "STS", "ExpiredTokenException", "Token expired");
	cr_assert_not(cred_once("", why));
	cr_assert_not(strstr(why, "jwt"));
	bw_script_answer(s, 0, 404, "no such page");
	cred_expect_why("", "HTTP 404");
	bw_script_answer(s, 0, 200, "<html/>");
	cred_expect_why("", "something else than credentials");
	cr_assert_eq(bw_script_hits(s, 0), 4);
	bw_script_free(s);
	bw_test_rmtree(dir);
}

Test(s3_creds_http, web_identity_is_half_configured)
{
	struct bw_script *s = bw_script_new(sts, N(sts));
	char dir[BW_TMPDIR_MAX], path[512];

	web_world(dir, s);
	unsetenv("AWS_ROLE_ARN");
	cred_expect_why("", "AWS_ROLE_ARN is not");
	setenv("AWS_ROLE_ARN", "arn", 1);
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token", 1);
	cred_expect_why("", "/nowhere/token", "No such file");
	write_file(dir, "empty", "\n", path);
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", path, 1);
	cred_expect_why("", "holds nothing");
	write_file(dir, "two", "a\nb\n", path);
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", path, 1);
	cred_expect_why("", "more than one line");
	cr_assert_eq(bw_script_hits(s, 0) + bw_script_misses(s), 0);
	bw_script_free(s);
	bw_test_rmtree(dir);
}

/* A failure of the server's is passing; one of ours is not. */
Test(s3_creds_http, passing_failures_are_tried_again)
{
	const struct bw_script_rule rules[] = {
		{.method = "POST", .target = "/", .status = 503, .times = 2},
		{.method = "POST", .target = "/", .status = 200, .body = STS_OK},
	};
	struct bw_script *s = bw_script_new(rules, N(rules));
	char dir[BW_TMPDIR_MAX];

	web_world(dir, s);
	cred_expect("", "web identity", "ASIASTS", "sts-secret", "sts-token");
	cr_assert_eq(bw_script_hits(s, 0), 2);
	cr_assert_eq(bw_script_hits(s, 1), 1);
	bw_script_free(s);
	bw_test_rmtree(dir);
}

#define STS_ERROR(code, message) "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender" \
	"</Type><Code>" code "</Code><Message>" message "</Message></Error><RequestId>x</RequestId></ErrorResponse>"

/* Many pods that start at once: some of them are told 400, which is no refusal. */
Test(s3_creds_http, sts_throttles, .timeout = 60)
{
	static const char *const bodies[] = {
		STS_ERROR("Throttling", "Rate exceeded"),
		STS_ERROR("ThrottlingException", "Rate exceeded"),
		STS_ERROR("RequestLimitExceeded", ""),
		STS_ERROR("IDPCommunicationError", "The identity provider cannot be reached"),
		STS_ERROR("InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider, please"
						  " reference AssumeRoleWithWebIdentity documentation for requirements"),
	};

	for (unsigned i = 0; i < N(bodies); i++) {
		const struct bw_script_rule rules[] = {
			{.method = "POST", .target = "/", .status = 400, .body = bodies[i], .times = 3},
			{.method = "POST", .target = "/", .status = 200, .body = STS_OK},
		};
		struct bw_script *s = bw_script_new(rules, N(rules));
		char dir[BW_TMPDIR_MAX];

		web_world(dir, s);
		cred_expect("", "web identity", "ASIASTS", "sts-secret", "sts-token");
		cr_assert_eq(bw_script_hits(s, 0), 3);
		cr_assert_eq(bw_script_hits(s, 1), 1);
		bw_script_free(s);
		bw_test_rmtree(dir);
	}
}

/* A token that is wrong stays wrong. */
Test(s3_creds_http, sts_refuses_at_once)
{
	const struct bw_script_rule rule = {.method = "POST", .target = "/", .status = 400,
					    .body = STS_ERROR("InvalidIdentityToken", "No OpenIDConnect provider found")};
	struct bw_script *s = bw_script_new(&rule, 1);
	char dir[BW_TMPDIR_MAX];

	web_world(dir, s);
	cred_expect_why("", "refuses the role", "InvalidIdentityToken");
	cr_assert_eq(bw_script_hits(s, 0), 1);
	bw_script_free(s);
	bw_test_rmtree(dir);
}

/* What a person has to read to the end: all of it, and what is longer up to a word. */
Test(s3_creds_http, what_sts_says_is_not_cut)
{
	static const char said[] = "User arn:aws:sts::123456789012:assumed-role/of-the-training-nodes/i-0123456789abcdef0"
				   " is not authorized to perform sts:AssumeRoleWithWebIdentity on resource"
				   " arn:aws:iam::123456789012:role/reader-of-batches";
	char body[2048], dir[BW_TMPDIR_MAX];
	struct bw_script_rule rule = {.method = "POST", .target = "/", .status = 403, .body = body};

	snprintf(body, sizeof(body), STS_ERROR("AccessDenied", "%s"), said);
	struct bw_script *s = bw_script_new(&rule, 1);

	web_world(dir, s);
	cred_expect_why("", "with AccessDenied (User", "role/reader-of-batches): correct AWS_ROLE_ARN, its trust policy or the"
			" token file");
	bw_script_free(s);
	snprintf(body, sizeof(body), STS_ERROR("AccessDenied", "%s %s %s"), said, said, said);
	s = bw_script_new(&rule, 1);
	bw_test_rmtree(dir);
	web_world(dir, s);
	cred_expect_why("", " ...): correct AWS_ROLE_ARN, its trust policy or the token file");
	bw_script_free(s);
	bw_test_rmtree(dir);
}

/* Nor is it a refusal when it goes on: who waits may ask again, and does. */
Test(s3_creds_http, sts_throttles_on, .timeout = 60)
{
	const struct bw_script_rule rules[] = {
		{.method = "POST", .target = "/", .status = 400, .body = STS_ERROR("Throttling", "Rate exceeded"),
		 .times = 6},
		{.method = "POST", .target = "/", .status = 200, .body = STS_OK},
	};
	struct bw_script *s = bw_script_new(rules, N(rules));
	struct bw_creds *creds = NULL;
	char dir[BW_TMPDIR_MAX], why[BW_CRED_WHY];

	web_world(dir, s);
	struct bw_cred_chain *c = cred_chain("", NULL);

	cr_assert_eq(cred_get(c, &creds, why), -BW_E_UNREACHABLE);
	cr_assert(strstr(why, "for now") && strstr(why, "Throttling"), "%s", why);
	cr_assert_eq(bw_script_hits(s, 0), 6);
	cr_assert_eq(cred_get(c, &creds, why), 0, "%s", why);
	bw_creds_unref(creds);
	bw_cred_chain_free(c);
	bw_script_free(s);
	bw_test_rmtree(dir);
}

/* Stands before the C library's: it takes so long to say that a name is this machine's. */
static int64_t names_take_ns;
static atomic_uint names_known;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
		(int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(RTLD_NEXT,
													"getaddrinfo");

	if (!names_take_ns)
		return real(node, service, hints, ret);
	bw_sleep(names_take_ns);
	names_known++;
	return real("127.0.0.1", service, hints, ret);
}

/* A resolver whose first server is dead asks the second one when 5 s are over, each time anew. */
Test(s3_creds_http, sts_whose_name_takes_long, .timeout = 60)
{
	struct bw_script *s = bw_script_new(sts, N(sts));
	char dir[BW_TMPDIR_MAX], url[256];

	web_world(dir, s);
	snprintf(url, sizeof(url), "http://sts.test%s", strrchr(bw_script_url(s), ':'));
	setenv("AWS_ENDPOINT_URL_STS", url, 1);
	names_take_ns = 6 * BW_SEC;
	cred_expect("", "web identity", "ASIASTS", "sts-secret", "sts-token");
	cr_assert_eq(names_known, 1);
	bw_script_free(s);
	bw_test_rmtree(dir);
}

Test(s3_creds_http, profile_with_web_identity)
{
	struct bw_script *s = bw_script_new(sts, N(sts));
	char dir[BW_TMPDIR_MAX], path[512], text[1024];

	web_world(dir, s);
	snprintf(text, sizeof(text), "[profile p]\nrole_arn = %s\nweb_identity_token_file = %s\n", getenv("AWS_ROLE_ARN"),
		 getenv("AWS_WEB_IDENTITY_TOKEN_FILE"));
	unsetenv("AWS_ROLE_ARN");
	unsetenv("AWS_WEB_IDENTITY_TOKEN_FILE");
	write_file(dir, "config", text, path);
	setenv("AWS_CONFIG_FILE", path, 1);
	cred_expect("p", "shared files", "ASIASTS", "sts-secret", "sts-token");
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere", 1);
	cred_expect("!p", "shared files", "ASIASTS", "sts-secret", "sts-token");
	cr_assert_eq(bw_script_misses(s), 0);
	bw_script_free(s);
	bw_test_rmtree(dir);
}

/* ---- Container ---------------------------------------------------------------------------------- */

Test(s3_creds_http, container)
{
	const struct bw_script_rule rules[] = {
		{.method = "GET", .target = "/creds?x=1", .status = 200, .body = JSON_OK,
		 .demands = {"\r\nAuthorization: first\r\n"}, .times = 1},
		{.method = "GET", .target = "/creds?x=1", .status = 200, .body = JSON_OK,
		 .demands = {"\r\nAuthorization: of the file\r\n"}, .times = 1},
		{.method = "GET", .target = "/creds?x=1", .status = 200, .body = JSON_OK,
		 .demands = {"\r\nAuthorization: rotated\r\n"}, .times = 1},
	};
	struct bw_script *s = bw_script_new(rules, N(rules));
	char dir[BW_TMPDIR_MAX], path[512];

	cred_world(dir);
	set_url("AWS_CONTAINER_CREDENTIALS_FULL_URI", s, "/creds?x=1");
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "first", 1);
	cred_expect("", "container", "ASIAJ", "js/secret", "js-token");

	/* The file goes before the variable, and is read again each time. */
	write_file(dir, "auth", "of the file\n", path);
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path, 1);
	struct bw_cred_chain *c = cred_chain("", NULL);
	char why[BW_CRED_WHY];
	struct bw_creds *creds;

	cr_assert_eq(cred_get(c, &creds, why), 0);
	write_file(dir, "auth", "rotated", path);
	bw_cred_chain_refused(c, creds);
	bw_creds_unref(creds);
	cr_assert_eq(cred_get(c, &creds, why), 0);
	bw_creds_unref(creds);
	bw_cred_chain_free(c);
	for (unsigned i = 0; i < N(rules); i++)
		cr_assert_eq(bw_script_hits(s, i), 1);
	cr_assert_eq(bw_script_misses(s), 0);
	bw_script_free(s);
	bw_test_rmtree(dir);
}

Test(s3_creds_http, container_refuses)
{
	const struct bw_script_rule rules[] = {
		{.method = "GET", .target = "/creds", .status = 403, .body = "{\"code\":\"Denied\",\"message\":\"no\"}"}};
	struct bw_script *s = bw_script_new(rules, N(rules));
	char dir[BW_TMPDIR_MAX];

	cred_world(dir);
	set_url("AWS_CONTAINER_CREDENTIALS_FULL_URI", s, "/creds");
	cred_expect_why("", "HTTP 403", "Denied", "no");
	bw_script_answer(s, 0, 200, "{\"AccessKeyId\":");
	cred_expect_why("", "something else than credentials");
	bw_script_answer(s, 0, 200, "{\"AccessKeyId\":\"A\"}");
	cred_expect_why("", "secret access key is empty");
	bw_script_answer(s, 0, 200, "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Expiration\":\"soon\"}");
	cred_expect_why("", "expiration that is no time");
	bw_script_answer(s, 0, 200, "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Expiration\":"
				    "\"2001-01-01T00:00:00Z\"}");
	cred_expect_why("", "expired at 2001-01-01T00:00:00Z", "clock");
	bw_script_free(s);
	bw_test_rmtree(dir);
}

Test(s3_creds_http, container_over_http_must_be_near)
{
	static const char *const urls[] = {
		"http://example.com/creds", "http://169.254.170.3/creds", "http://127.0.0.1@example.com/creds",
		"http://[fd00:ec2::24]/creds", "http://127.0.0.1.example.com/", "ftp://127.0.0.1/creds",
		"file:///etc/passwd", "nonsense",
	};
	char dir[BW_TMPDIR_MAX];

	cred_world(dir);
	for (unsigned i = 0; i < N(urls); i++) {
		setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", urls[i], 1);
		cred_expect_why("", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "correct it");
	}
	unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@example.com/creds", 1);
	cred_expect_why("", "begin with a slash");
	/* Near, but nobody listens: allowed, and said to be unreachable. */
	unsetenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://[::1]:1/creds", 1);
	cred_expect_why("", "cannot be reached");
	bw_test_rmtree(dir);
}

/* ---- Instance ----------------------------------------------------------------------------------- */

#define ROLES "/latest/meta-data/iam/security-credentials/"
enum { TOKEN, ROLE, CREDENTIALS };
static const struct bw_script_rule imds[] = {
	[TOKEN] = {.method = "PUT", .target = "/latest/api/token", .status = 200, .body = "imds-token==",
		   .demands = {"\r\nX-aws-ec2-metadata-token-ttl-seconds: 21600\r\n"}},
	[ROLE] = {.method = "GET", .target = ROLES, .status = 200, .body = "train-role\n",
		  .demands = {"\r\nX-aws-ec2-metadata-token: imds-token==\r\n"}},
	[CREDENTIALS] = {.method = "GET", .target = ROLES "train-role", .status = 200, .body = JSON_OK,
			 .demands = {"\r\nX-aws-ec2-metadata-token: imds-token==\r\n"}},
};

static struct bw_script *imds_world(char dir[BW_TMPDIR_MAX])
{
	struct bw_script *s = bw_script_new(imds, N(imds));

	cred_world(dir);
	unsetenv("AWS_EC2_METADATA_DISABLED");
	set_url("AWS_EC2_METADATA_SERVICE_ENDPOINT", s, "");
	return s;
}

Test(s3_creds_http, instance)
{
	char dir[BW_TMPDIR_MAX];
	struct bw_script *s = imds_world(dir);

	cred_expect("", "instance", "ASIAJ", "js/secret", "js-token");
	setenv("AWS_EC2_METADATA_DISABLED", "TRUE", 1);
	cred_expect_why("", "no credentials are configured");
	for (unsigned i = 0; i < N(imds); i++)
		cr_assert_eq(bw_script_hits(s, i), 1);
	cr_assert_eq(bw_script_misses(s), 0);
	bw_script_free(s);
	bw_test_rmtree(dir);
}

Test(s3_creds_http, instance_refuses)
{
	char dir[BW_TMPDIR_MAX];
	struct bw_script *s = imds_world(dir);

	bw_script_answer(s, CREDENTIALS, 200, "{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"EC2 cannot\"}");
	cred_expect_why("", "train-role", "AssumeRoleUnauthorizedAccess", "EC2 cannot");
	bw_script_answer(s, ROLE, 200, "../../evil");
	cred_expect_why("", "names no role");
	bw_script_answer(s, ROLE, 404, "");
	cred_expect_why("", "no credentials are configured", "this instance has no role");
	bw_script_answer(s, TOKEN, 200, "two\r\nlines: x");
	cred_expect_why("", "something else than a token");
	/* Version 1 is what is there: its open answers are not asked for. */
	unsigned asked = bw_script_hits(s, ROLE);
	bw_script_answer(s, TOKEN, 405, "");
	cred_expect_why("", "HTTP 405", "version 2");
	cr_assert_eq(bw_script_hits(s, ROLE), asked);
	bw_script_free(s);
	bw_test_rmtree(dir);
}

#define EXPIRED "{\"Code\":\"Success\",\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"s\",\"Token\":\"t\"," \
	"\"Expiration\":\"2001-01-01T00:00:00Z\"}"

static unsigned lines_with(const char *path, const char *what)
{
	char line[1024];
	unsigned n = 0;
	FILE *f = fopen(path, "r");

	cr_assert(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, what) != NULL;
	fclose(f);
	return n;
}

/*
 * An outage of what renews an instance's credentials: the expired ones are honoured, and so they serve, though the
 * store may have the last word.
 */
Test(s3_creds_http, instance_hands_out_expired_ones)
{
	char dir[BW_TMPDIR_MAX], path[512], old[256], older[256], why[BW_CRED_WHY];
	struct bw_script *s = imds_world(dir);
	struct bw_creds *creds, *again;
	struct bw_log *log;

	snprintf(path, sizeof(path), "%s/log", dir);
	cr_assert_eq(bw_log_open(path, BW_LOG_DEBUG, &log), 0);
	snprintf(old, sizeof(old), EXPIRED, "OLD");
	snprintf(older, sizeof(older), EXPIRED, "OLDER");
	bw_script_answer(s, CREDENTIALS, 200, old);
	struct bw_cred_chain *c = cred_chain("", log);
	int64_t wall_ms = bw_wall_ms();

	cr_assert_eq(cred_get(c, &creds, why), 0, "%s", why);
	cr_assert_str_eq(creds->key_id, "OLD");
	cr_assert_geq(creds->expires_ms, wall_ms + 600 * 1000);
	cr_assert_leq(creds->expires_ms, bw_wall_ms() + 900 * 1000);
	cr_assert(creds->extended);
	cr_assert_eq(cred_get(c, &again, why), 0);
	cr_assert_eq(again, creds, "they are current");
	bw_creds_unref(again);
	cr_assert_eq(bw_script_hits(s, CREDENTIALS), 1);

	bw_script_answer(s, CREDENTIALS, 200, older);
	bw_cred_chain_refused(c, creds);
	bw_creds_unref(creds);
	cr_assert_eq(cred_get(c, &creds, why), 0, "%s", why);
	cr_assert_str_eq(creds->key_id, "OLDER");
	cr_assert_eq(lines_with(path, "credentials_extended source=\"instance\" expired=2001-01-01T00:00:00Z"), 1);

	/* Over, and the next one is another. */
	bw_script_answer(s, CREDENTIALS, 200, JSON_OK);
	bw_cred_chain_refused(c, creds);
	bw_creds_unref(creds);
	cr_assert_eq(cred_get(c, &creds, why), 0, "%s", why);
	cr_assert_eq(creds->expires_ms, LATER_MS);
	cr_assert_not(creds->extended);
	bw_script_answer(s, CREDENTIALS, 200, old);
	bw_cred_chain_refused(c, creds);
	bw_creds_unref(creds);
	cr_assert_eq(cred_get(c, &creds, why), 0, "%s", why);
	bw_creds_unref(creds);
	cr_assert_eq(lines_with(path, "credentials_extended"), 2);
	bw_cred_chain_free(c);
	bw_log_close(log);
	bw_script_free(s);
	bw_test_rmtree(dir);
}

/* One that has given credentials before and gives none for now refuses nothing. */
Test(s3_creds_http, instance_that_is_away)
{
	char dir[BW_TMPDIR_MAX], why[BW_CRED_WHY];
	struct bw_script *s = imds_world(dir);
	struct bw_cred_chain *c = cred_chain("", NULL);
	struct bw_creds *creds, *none;

	cr_assert_eq(cred_get(c, &creds, why), 0, "%s", why);
	bw_cred_chain_refused(c, creds);
	bw_creds_unref(creds);
	bw_script_answer(s, CREDENTIALS, 500, "");
	cr_assert_eq(cred_get(c, &none, why), -BW_E_UNREACHABLE, "%s", why);
	cr_assert(strstr(why, "HTTP 500"), "%s", why);
	bw_script_answer(s, CREDENTIALS, 403, "");
	cr_assert_eq(cred_get(c, &none, why), -BW_E_DENIED, "%s", why);
	bw_script_free(s);
	cr_assert_eq(cred_get(c, &none, why), -BW_E_UNREACHABLE, "%s", why);
	cr_assert(strstr(why, "does not answer"), "%s", why);
	bw_cred_chain_free(c);
	bw_test_rmtree(dir);
}

Test(s3_creds_http, instance_that_was_named_must_answer)
{
	char dir[BW_TMPDIR_MAX];

	cred_world(dir);
	unsetenv("AWS_EC2_METADATA_DISABLED");
	setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1", 1);
	cred_expect_why("", "instance metadata service at http://127.0.0.1:1/ does not answer", "hop limit");
	setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "127.0.0.1", 1);
	cred_expect_why("", "no http URL");
	bw_test_rmtree(dir);
}

/* The first source that is configured answers, whatever else is there; and when it fails nobody else is asked. */
Test(s3_creds_http, order_of_the_chain)
{
	char dir[BW_TMPDIR_MAX], path[512];
	struct bw_script *s = imds_world(dir);

	set_url("AWS_CONTAINER_CREDENTIALS_FULL_URI", s, ROLES "train-role");
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "x\r\nX-aws-ec2-metadata-token: imds-token==", 1);
	cred_expect_why("", "AWS_CONTAINER_AUTHORIZATION_TOKEN");
	write_file(dir, "config", "[default]\naws_access_key_id = F\naws_secret_access_key = S\n", path);
	setenv("AWS_CONFIG_FILE", path, 1);
	cred_expect("", "shared files", "F", "S", "");
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere", 1);
	setenv("AWS_ROLE_ARN", "arn", 1);
	cred_expect_why("", "/nowhere");
	setenv("AWS_ACCESS_KEY_ID", "E", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
	cred_expect("", "environment", "E", "S", "");
	cr_assert_eq(bw_script_hits(s, TOKEN) + bw_script_misses(s), 0);
	bw_script_free(s);
	bw_test_rmtree(dir);
}
