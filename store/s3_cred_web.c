/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_cred_web.h"

#include "store/base/fd.h"
#include "store/s3.h"
#include "store/s3_cred_answer.h"
#include "store/s3_cred_http.h"
#include "store/s3_xml.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TOKEN_MAX (16u << 10)	/* STS takes 20,000 characters; cloud tokens have about 1,500 */
#define FORM_MAX (3 * TOKEN_MAX + 8192)
#define SESSION "batchweave"
#define CONNECT_MS 10000	/* a resolver whose first server is dead asks the second one after 5 s */

int bw_cred_token_file(struct bw_cred_job *job, const char *path, char *ret, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	ssize_t n = fd < 0 ? -errno : bw_read_all(fd, ret, size);
	char text[64];

	if (fd >= 0)
		close(fd);
	if (n == -EFBIG)
		return bw_cred_fail(job, "the token file %.300s is longer than %zu bytes: check that it is the"
				    " right one", path, size - 1);
	if (n < 0)
		return bw_cred_fail(job, "the token file %.300s cannot be read (%s): mount it or correct its name",
				    path, bw_err_text((int)n, text, sizeof(text)));
	while (n && (ret[n - 1] == '\n' || ret[n - 1] == '\r' || ret[n - 1] == ' '))
		n--;
	ret[n] = 0;
	if (!n || strlen(ret) != (size_t)n || ret[strcspn(ret, "\r\n")])
		return bw_cred_fail(job, "the token file %.300s holds %s: check what writes it", path,
				    n ? "more than one line" : "nothing");
	return 0;
}

/* AWS of the region, unless the environment says otherwise. */
static int endpoint(struct bw_cred_job *job, char *url, size_t size)
{
	const char *said = bw_cred_getenv("AWS_ENDPOINT_URL_STS");
	const char *region = *job->region ? job->region : "us-east-1";

	if (!said)
		said = bw_cred_getenv("AWS_ENDPOINT_URL");
	if (said) {
		if (strlen(said) < size - 1)
			snprintf(url, size, "%s%s", said, said[strlen(said) - 1] == '/' ? "" : "/");
		else
			return bw_cred_fail(job, "AWS_ENDPOINT_URL_STS is too long: correct it");
		return 0;
	}
	if (strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(region) || strlen(region) > 63)
		return bw_cred_fail(job, "\"%.64s\" is no AWS region to ask STS in: set region= or"
				    " AWS_ENDPOINT_URL_STS", region);
	snprintf(url, size, "https://sts.%s.%s/", region, bw_aws_domain(region));
	return 0;
}

/* Percent-encoding straight into secret memory: a growing buffer would leave copies behind. */
static size_t encode(const char *text, char *to, size_t size)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	size_t n = 0;

	for (; *text && n + 4 <= size; text++) {
		if (strchr(plain, *text))
			to[n++] = *text;
		else
			n += (size_t)snprintf(to + n, 4, "%%%02X", (unsigned char)*text);
	}
	to[n] = 0;
	return n;
}

static size_t print_form(char *form, const char *role_arn, const char *session, const char *token)
{
	size_t n = (size_t)snprintf(form, FORM_MAX, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15"
				    "&RoleArn=");

	n += encode(role_arn, form + n, 3 * 1024 + 4);
	n += (size_t)snprintf(form + n, FORM_MAX - n, "&RoleSessionName=");
	n += encode(*session ? session : SESSION, form + n, 3 * 256 + 4);
	n += (size_t)snprintf(form + n, FORM_MAX - n, "&WebIdentityToken=");
	return n + encode(token, form + n, FORM_MAX - n);
}

/* STS throttles, and tells of an identity provider that does not answer it, with HTTP 400. */
static bool is_passing(const struct bw_cred_http *h)
{
	static const char *const codes[] = {"Throttling", "ThrottlingException", "RequestLimitExceeded",
					    "IDPCommunicationError"};
	struct bw_s3_error e = {.code = ""};

	if (h->status == 200 || bw_s3_error_parse(h->text, h->len, &e) != 0)
		return false;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (!strcmp(e.code, codes[i]))
			return true;
	return !strcmp(e.code, "InvalidIdentityToken") && strstr(e.message, "retrieve verification key");
}

static int judge(struct bw_cred_job *job, const struct bw_cred_http *h, struct bw_creds *out)
{
	bw_auto_cred_answer struct bw_cred_answer *a = bw_secret_new(sizeof(*a));
	struct bw_s3_error e = {.code = ""};

	if (!a)
		return -ENOMEM;
	if (h->status == 200) {
		int err = bw_cred_answer_sts(h->text, h->len, a);

		if (err == -ENOMEM)
			return err;
		if (err)
			return bw_cred_fail(job, "STS at %.200s answered something else than credentials: correct"
					    " AWS_ENDPOINT_URL_STS", h->url);
		return bw_cred_answer_take(job, "STS", a, out);
	}
	bool is_error = bw_s3_error_parse(h->text, h->len, &e) == 0 && e.code[0];

	if (bw_cred_http_is_passing(h)) {
		bw_cred_fail(job, "STS at %.150s gives no credentials for now (HTTP %d%s%s): it is asked again", h->url,
			     h->status, is_error ? " " : "", is_error ? e.code : "");
		return -BW_E_UNREACHABLE;
	}
	if (is_error)
		return bw_cred_fail(job, "STS at %.150s refuses the role with %s (%s): correct AWS_ROLE_ARN, its"
				    " trust policy or the token file", h->url, e.code, e.message);
	return bw_cred_fail(job, "STS at %.200s answered HTTP %d: check AWS_ENDPOINT_URL_STS and the role", h->url,
			    h->status);
}

static int exchange(struct bw_cred_job *job, const char *role_arn, const char *session, const char *token,
		    char *form, struct bw_creds *out)
{
	char url[600];
	bw_auto_cred_http struct bw_cred_http h = {
		.method = "POST", .url = url, .headers = {"Accept: text/xml"}, .body = form,
		.connect_ms = CONNECT_MS, .total_ms = 20000, .attempts = 3, .patience = 6,
		.is_passing = is_passing};
	int err = endpoint(job, url, sizeof(url));

	if (err)
		return err;
	h.body_len = print_form(form, role_arn, session, token);
	err = bw_cred_http(job, &h);
	if (err == -BW_E_UNREACHABLE) {
		bw_cred_fail(job, "STS at %.200s cannot be reached (%s): check the network, region= or"
			     " AWS_ENDPOINT_URL_STS", url, h.detail);
		return bw_cred_away(job);
	}
	return err ? err : judge(job, &h, out);
}

int bw_cred_assume(struct bw_cred_job *job, const char *token_file, const char *role_arn,
		   const char *session, struct bw_creds *out)
{
	char *memory, *form;

	if (strlen(role_arn) > 1024 || strlen(session) > 255)
		return bw_cred_fail(job, "the role or its session name is too long for STS: correct it");
	memory = bw_secret_new(TOKEN_MAX + FORM_MAX);
	if (!memory)
		return -ENOMEM;
	form = memory + TOKEN_MAX;
	int got = bw_cred_token_file(job, token_file, memory, TOKEN_MAX);

	if (!got)
		got = exchange(job, role_arn, session, memory, form, out);
	bw_secret_free(memory, TOKEN_MAX + FORM_MAX);
	return got;
}

static int fetch(struct bw_cred_job *job, struct bw_creds *out)
{
	const char *file = bw_cred_getenv("AWS_WEB_IDENTITY_TOKEN_FILE");
	const char *role = bw_cred_getenv("AWS_ROLE_ARN");
	const char *session = bw_cred_getenv("AWS_ROLE_SESSION_NAME");

	/* A role alone is also what other tools leave in the environment. */
	if (!file)
		return 0;
	if (!role)
		return bw_cred_fail(job, "AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not: set both or"
				    " neither");
	return bw_cred_assume(job, file, role, session ? session : "", out);
}

const struct bw_cred_source bw_cred_web_identity = {.name = "web identity", .yields = true, .fetch = fetch};
