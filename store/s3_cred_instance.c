/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials of the role of an EC2 instance, from its metadata service, version 2: a token first, with it the
 * name of the role, with both the credentials.  Version 1 is never tried.
 *
 * While the service that renews them is out of order it goes on handing out expired ones, which AWS honours meanwhile.
 *
 * The one source that nobody configures: where there is no such service (a laptop, another cloud) that must be
 * found out soon, and is no failure.
 */
#include "store/s3_cred_answer.h"
#include "store/s3_cred_http.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define NAME "instance"
#define TTL "X-aws-ec2-metadata-token-ttl-seconds: 21600"
#define TOKEN_FIELD "X-aws-ec2-metadata-token: "
#define TOKEN_MAX 1024
#define ROLES "latest/meta-data/iam/security-credentials/"
#define URL_MAX 1024

struct imds {
	struct bw_cred_job *job;
	char base[512];		/* ends in a slash */
	bool expected;		/* somebody named it, or it has answered before: its absence is a failure */
	char *field;		/* the header field with the token: secret memory */
	char role[128];
};

static bool is_true(const char *text)
{
	return text && strcasecmp(text, "true") == 0;
}

static int find(struct imds *m)
{
	const char *said = bw_cred_getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	const char *mode = bw_cred_getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
	bool six = mode && strcasecmp(mode, "IPv6") == 0;
	const char *url = said ? said : six ? "http://[fd00:ec2::254]" : "http://169.254.169.254";
	size_t len = strlen(url);

	if (len + 2 > sizeof(m->base) ||
	    (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0))
		return bw_cred_fail(m->job, "AWS_EC2_METADATA_SERVICE_ENDPOINT is no http URL: correct it");
	snprintf(m->base, sizeof(m->base), "%s%s", url, url[len - 1] == '/' ? "" : "/");
	m->expected = said || six || (m->job->before && strcmp(m->job->before, NAME) == 0);
	return 1;
}

/* 1: answered; 0: nobody is there; or an error. */
static int request(struct imds *m, const char *method, const char *path, const char *field,
		   struct bw_cred_http *h)
{
	char url[URL_MAX];

	if ((size_t)snprintf(url, sizeof(url), "%s%s", m->base, path) >= sizeof(url))
		return bw_cred_fail(m->job, "the URL of the instance metadata service is too long: correct"
				    " AWS_EC2_METADATA_SERVICE_ENDPOINT");
	*h = (struct bw_cred_http){.method = method, .url = url, .headers = {field}, .connect_ms = 1000,
				   .total_ms = 5000, .attempts = m->expected ? 3 : 1, .direct = true};
	int err = bw_cred_http(m->job, h);

	h->url = NULL;
	if (err != -BW_E_UNREACHABLE)
		return err ? err : 1;
	if (!m->expected)
		return 0;
	bw_cred_fail(m->job, "the instance metadata service at %.200s does not answer (%s): in a container,"
		     " raise its hop limit to 2", m->base, h->detail);
	return bw_cred_away(m->job);
}

/* An answer that is not 200 from somebody who need not be the metadata service. */
static int unwanted(struct imds *m, const struct bw_cred_http *h, const char *what)
{
	if (m->expected) {
		bw_cred_fail(m->job, "the instance metadata service at %.200s answered HTTP %d when asked for %s:"
			     " check its settings", m->base, h->status, what);
		return bw_cred_http_is_passing(h) ? bw_cred_away(m->job) : -BW_E_DENIED;
	}
	snprintf(m->job->note, sizeof(m->job->note),
		 "what is at the address of the instance metadata service answered HTTP %d when asked for %s",
		 h->status, what);
	return 0;
}

static int get_token(struct imds *m)
{
	bw_auto_cred_http struct bw_cred_http h = {.text = NULL};
	int got = request(m, "PUT", "latest/api/token", TTL, &h);

	if (got <= 0)
		return got;
	if (h.status != 200)
		return unwanted(m, &h, "a token (version 2)");
	if (!h.len || h.len > TOKEN_MAX || strlen(h.text) != h.len || strpbrk(h.text, "\r\n"))
		return bw_cred_fail(m->job, "the instance metadata service at %.200s answered something else than a"
				    " token: check AWS_EC2_METADATA_SERVICE_ENDPOINT", m->base);
	snprintf(m->field, sizeof(TOKEN_FIELD) + TOKEN_MAX, "%s%s", TOKEN_FIELD, h.text);
	m->expected = true;	/* it is one */
	return 1;
}

static int get_role(struct imds *m)
{
	static const char known[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@-";
	bw_auto_cred_http struct bw_cred_http h = {.text = NULL};
	int got = request(m, "GET", ROLES, m->field, &h);

	if (got <= 0)
		return got;
	if (h.status == 404) {
		snprintf(m->job->note, sizeof(m->job->note), "this instance has no role: attach one");
		return 0;
	}
	if (h.status != 200)
		return unwanted(m, &h, "its role");
	size_t len = strspn(h.text, known);
	if (!len || len >= sizeof(m->role) || (h.text[len] && h.text[len] != '\n' && h.text[len] != '\r'))
		return bw_cred_fail(m->job, "the instance metadata service at %.200s names no role that could be one:"
				    " check AWS_EC2_METADATA_SERVICE_ENDPOINT", m->base);
	memcpy(m->role, h.text, len);
	m->role[len] = 0;
	return 1;
}

static int get_credentials(struct imds *m, struct bw_creds *out)
{
	bw_auto_cred_answer struct bw_cred_answer *a = bw_secret_new(sizeof(*a));
	bw_auto_cred_http struct bw_cred_http h = {.text = NULL};
	char path[sizeof(ROLES) + sizeof(m->role)];

	if (!a)
		return -ENOMEM;
	snprintf(path, sizeof(path), "%s%s", ROLES, m->role);
	int got = request(m, "GET", path, m->field, &h);

	if (got <= 0)
		return got;
	if (h.status != 200)
		return unwanted(m, &h, "credentials");
	if (bw_cred_answer_json(h.text, h.len, "Token", a) < 0)
		return bw_cred_fail(m->job, "the instance metadata service at %.200s answered something else than"
				    " credentials: check AWS_EC2_METADATA_SERVICE_ENDPOINT", m->base);
	if (a->code[0] && strcmp(a->code, "Success") != 0)
		return bw_cred_fail(m->job, "the instance metadata service has no credentials for role %s (%s %s):"
				    " check the role's trust policy", m->role, a->code, a->message);
	return bw_cred_answer_take(m->job, "the instance metadata service", a, out);
}

static int fetch(struct bw_cred_job *job, struct bw_creds *out)
{
	struct imds m = {.job = job};

	if (is_true(bw_cred_getenv("AWS_EC2_METADATA_DISABLED")))
		return 0;
	m.field = bw_secret_new(sizeof(TOKEN_FIELD) + TOKEN_MAX);
	int got = m.field ? find(&m) : -ENOMEM;

	if (got > 0)
		got = get_token(&m);
	if (got > 0)
		got = get_role(&m);
	if (got > 0)
		got = get_credentials(&m, out);
	bw_secret_free(m.field, sizeof(TOKEN_FIELD) + TOKEN_MAX);
	return got;
}

const struct bw_cred_source bw_cred_instance = {.name = NAME, .extends = true, .fetch = fetch};
