/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials that a container's host hands out: ECS, EKS Pod Identity, Greengrass. */
#include "store/s3_cred_answer.h"
#include "store/s3_cred_http.h"
#include "store/s3_cred_web.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#define HOST "http://169.254.170.2"
#define TOKEN_MAX (16u << 10)
#define FIELD "Authorization: "

/* Hosts that nobody else can listen on or answer for: the machine itself, and the agents of ECS and EKS. */
static bool is_near(const char *host)
{
	static const char *const four[] = {"169.254.170.2", "169.254.170.23"};
	struct in6_addr v6, eks;
	struct in_addr v4;
	char bare[64];

	if (strcmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127 || !strcmp(host, four[0]) || !strcmp(host, four[1]);
	size_t len = strlen(host);
	if (len < 3 || len >= sizeof(bare) || host[0] != '[' || host[len - 1] != ']')
		return false;
	memcpy(bare, host + 1, len - 2);
	bare[len - 2] = 0;
	if (inet_pton(AF_INET6, bare, &v6) != 1 || inet_pton(AF_INET6, "fd00:ec2::23", &eks) != 1)
		return false;
	return IN6_IS_ADDR_LOOPBACK(&v6) || memcmp(&v6, &eks, sizeof(v6)) == 0;
}

/* With curl's own eyes, so that what is judged is what is asked. */
static bool is_allowed(const char *url, bool *ret_near)
{
	char *scheme = NULL, *host = NULL, *user = NULL;
	CURLU *u = curl_url();
	bool allowed = false;

	if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_NO_USER) {
		*ret_near = is_near(host);
		allowed = !strcmp(scheme, "https") || (!strcmp(scheme, "http") && *ret_near);
	}
	curl_free(scheme);
	curl_free(host);
	curl_free(user);
	curl_url_cleanup(u);
	return allowed;
}

/* 1: field holds the header field; 0: there is none. */
static int authorization(struct bw_cred_job *job, char *field, size_t size)
{
	const char *file = bw_cred_getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	const char *token = bw_cred_getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN");
	const size_t at = strlen(FIELD);

	memcpy(field, FIELD, at + 1);
	if (file) {
		int err = bw_cred_token_file(job, file, field + at, size - at);
		return err ? err : 1;
	}
	if (!token)
		return 0;
	if (strlen(token) >= size - at || token[strcspn(token, "\r\n")])
		return bw_cred_fail(job, "AWS_CONTAINER_AUTHORIZATION_TOKEN is too long or holds a line break: correct"
				    " it");
	memcpy(field + at, token, strlen(token) + 1);
	return 1;
}

static int judge(struct bw_cred_job *job, const struct bw_cred_http *h, struct bw_creds *out)
{
	bw_auto_cred_answer struct bw_cred_answer *a = bw_secret_new(sizeof(*a));

	if (!a)
		return -ENOMEM;
	bool is_json = bw_cred_answer_json(h->text, h->len, "Token", a) == 0;

	if (h->status != 200) {
		bw_cred_fail(job, "the container's credentials endpoint answered HTTP %d%s%s%s%s: check the"
			     " role of the task or pod and its authorization token", h->status,
			     a->code[0] ? " " : "", a->code, a->message[0] ? " " : "", a->message);
		return bw_cred_http_is_passing(h) ? bw_cred_away(job) : -BW_E_DENIED;
	}
	if (!is_json)
		return bw_cred_fail(job, "the container's credentials endpoint answered something else than credentials:"
				    " check AWS_CONTAINER_CREDENTIALS_FULL_URI");
	return bw_cred_answer_take(job, "the container's credentials endpoint", a, out);
}

static int ask(struct bw_cred_job *job, const char *url, bool near, struct bw_creds *out)
{
	char *field = bw_secret_new(TOKEN_MAX);
	int got = field ? authorization(job, field, TOKEN_MAX) : -ENOMEM;

	if (got >= 0) {
		bw_auto_cred_http struct bw_cred_http h = {
			.method = "GET", .url = url, .headers = {"Accept: application/json", got ? field : NULL},
			.connect_ms = 2000, .total_ms = 10000, .attempts = 3, .direct = near};

		got = bw_cred_http(job, &h);
		if (got == -BW_E_UNREACHABLE) {
			bw_cred_fail(job, "the container's credentials endpoint cannot be reached (%s): check that"
				     " its agent runs", h.detail);
			got = bw_cred_away(job);
		} else if (!got) {
			got = judge(job, &h, out);
		}
	}
	bw_secret_free(field, TOKEN_MAX);
	return got;
}

static int fetch(struct bw_cred_job *job, struct bw_creds *out)
{
	const char *relative = bw_cred_getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = bw_cred_getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	bool near = false;
	char url[2048];

	if (!relative && !full)
		return 0;
	if (relative && *relative != '/')
		return bw_cred_fail(job, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with a slash: correct"
				    " it");
	if ((size_t)snprintf(url, sizeof(url), "%s%s", relative ? HOST : "", relative ? relative : full) >=
	    sizeof(url))
		return bw_cred_fail(job, "the URI of the container's credentials is too long: correct it");
	if (!is_allowed(url, &near))
		return bw_cred_fail(job, "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor http to this machine"
				    " or to the agents of ECS or EKS: correct it");
	return ask(job, url, near, out);
}

const struct bw_cred_source bw_cred_container = {.name = "container", .fetch = fetch};
