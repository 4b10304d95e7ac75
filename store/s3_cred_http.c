/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_cred_http.h"

#include "store/base/rand.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_MS 200		/* about so long before a second attempt; doubled for each further one */

struct exchange {
	struct bw_cred_job *job;
	struct bw_cred_http *h;
	CURLM *multi;
	CURL *easy;
	struct curl_slist *headers;
	char detail[CURL_ERROR_SIZE];
};

static size_t on_body(char *bytes, size_t one, size_t n, void *ctx)
{
	struct bw_cred_http *h = ctx;

	(void)one;
	if (n > BW_CRED_HTTP_MAX - h->len)
		return 0;	/* ends the exchange */
	memcpy(h->text + h->len, bytes, n);
	h->len += n;
	return n;
}

static int add_headers(struct exchange *x)
{
	for (size_t i = 0; i < 3 && x->h->headers[i]; i++) {
		struct curl_slist *more = curl_slist_append(x->headers, x->h->headers[i]);

		if (!more)
			return -ENOMEM;
		x->headers = more;
	}
	return 0;
}

/* curl keeps its own copies of header fields, and some are tokens. */
static void free_headers(struct curl_slist *headers)
{
	for (struct curl_slist *s = headers; s; s = s->next)
		explicit_bzero(s->data, strlen(s->data));
	curl_slist_free_all(headers);
}

static CURLcode set_request(struct exchange *x)
{
	const struct bw_cred_http *h = x->h;
	CURLcode e = curl_easy_setopt(x->easy, CURLOPT_URL, h->url);

	if (!e)
		e = curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers);
	if (!e && h->body) {
		e = curl_easy_setopt(x->easy, CURLOPT_POSTFIELDS, h->body);
		if (!e)
			e = curl_easy_setopt(x->easy, CURLOPT_POSTFIELDSIZE, (long)h->body_len);
	}
	if (!e && (!h->body || strcmp(h->method, "POST") != 0))
		e = curl_easy_setopt(x->easy, CURLOPT_CUSTOMREQUEST, h->method);
	if (!e && h->direct)
		e = curl_easy_setopt(x->easy, CURLOPT_NOPROXY, "*");
	if (!e && *x->job->ca)
		e = curl_easy_setopt(x->easy, CURLOPT_CAINFO, x->job->ca);
	return e;
}

static CURLcode set_manners(struct exchange *x)
{
	CURLcode e = curl_easy_setopt(x->easy, CURLOPT_PROTOCOLS_STR, "http,https");

	if (!e)
		e = curl_easy_setopt(x->easy, CURLOPT_NOSIGNAL, 1L);
	if (!e)		/* a resolver that hangs must not hold up whoever frees the chain */
		e = curl_easy_setopt(x->easy, CURLOPT_QUICK_EXIT, 1L);
	if (!e)
		e = curl_easy_setopt(x->easy, CURLOPT_CONNECTTIMEOUT_MS, x->h->connect_ms);
	if (!e)
		e = curl_easy_setopt(x->easy, CURLOPT_TIMEOUT_MS, x->h->total_ms);
	if (!e)
		e = curl_easy_setopt(x->easy, CURLOPT_USERAGENT, "batchweave/" BW_VERSION);
	if (!e)
		e = curl_easy_setopt(x->easy, CURLOPT_ERRORBUFFER, x->detail);
	if (!e)
		e = curl_easy_setopt(x->easy, CURLOPT_WRITEFUNCTION, on_body);
	if (!e)
		e = curl_easy_setopt(x->easy, CURLOPT_WRITEDATA, x->h);
	return e;
}

/* What curl says of an exchange that ended without an answer. */
static int no_answer(struct exchange *x, CURLcode e)
{
	const char *said = x->h->len == BW_CRED_HTTP_MAX || e == CURLE_WRITE_ERROR
				   ? "an answer of more than 64 KiB"
			   : x->detail[0] ? x->detail
					  : curl_easy_strerror(e);

	snprintf(x->h->detail, sizeof(x->h->detail), "%s", said);
	return e == CURLE_OUT_OF_MEMORY ? -ENOMEM : -BW_E_UNREACHABLE;
}

static int result(struct exchange *x)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(x->multi, &left))) {
		long status = 0;

		if (m->msg != CURLMSG_DONE)
			continue;
		if (m->data.result != CURLE_OK)
			return no_answer(x, m->data.result);
		curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
		x->h->status = (int)status;
		x->h->text[x->h->len] = 0;
		return 0;
	}
	return no_answer(x, CURLE_GOT_NOTHING);
}

static int drive(struct exchange *x)
{
	struct curl_waitfd stop = {.fd = x->job->stop_fd, .events = CURL_WAIT_POLLIN};
	int running = 1;

	if (curl_multi_add_handle(x->multi, x->easy) != CURLM_OK)
		return -ENOMEM;
	while (running) {
		stop.revents = 0;
		if (curl_multi_perform(x->multi, &running) != CURLM_OK)
			return -ENOMEM;
		if (running && curl_multi_poll(x->multi, &stop, 1, 1000, NULL) != CURLM_OK)
			return -ENOMEM;
		if (bw_cred_stopped(x->job, 0))
			return -BW_E_STOPPING;
	}
	return result(x);
}

static int attempt(struct bw_cred_job *job, struct bw_cred_http *h)
{
	struct exchange x = {.job = job, .h = h};
	int err = -ENOMEM;

	h->len = 0;
	h->status = 0;
	h->detail[0] = 0;
	x.multi = curl_multi_init();
	x.easy = curl_easy_init();
	if (x.multi && x.easy && add_headers(&x) == 0) {
		CURLcode e = set_request(&x);

		if (!e)
			e = set_manners(&x);
		err = e ? no_answer(&x, e) : drive(&x);
	}
	if (x.multi && x.easy)
		curl_multi_remove_handle(x.multi, x.easy);
	curl_easy_cleanup(x.easy);
	curl_multi_cleanup(x.multi);
	free_headers(x.headers);
	return err;
}

bool bw_cred_http_is_passing(const struct bw_cred_http *h)
{
	return h->status == 429 || h->status >= 500 || (h->is_passing && h->is_passing(h));
}

/* From half of it to half as much again. */
static int drawn(int ms)
{
	uint64_t random;

	bw_random(&random, sizeof(random));
	return ms / 2 + (int)(random % (unsigned)ms);
}

static unsigned most_attempts(const struct bw_cred_http *h, int err)
{
	if (err)
		return err == -BW_E_UNREACHABLE ? h->attempts : 0;
	if (!bw_cred_http_is_passing(h))
		return 0;
	return h->patience ? h->patience : h->attempts;
}

int bw_cred_http(struct bw_cred_job *job, struct bw_cred_http *h)
{
	int pause_ms = PAUSE_MS, err;

	h->text = bw_secret_new(BW_CRED_HTTP_MAX + 1);
	if (!h->text)
		return -ENOMEM;
	for (unsigned i = 1; err = attempt(job, h), i < most_attempts(h, err); i++) {
		if (bw_cred_stopped(job, drawn(pause_ms)))
			return -BW_E_STOPPING;
		pause_ms *= 2;
	}
	return err;
}

void bw_cred_http_done(struct bw_cred_http *h)
{
	bw_secret_free(h->text, BW_CRED_HTTP_MAX + 1);
	h->text = NULL;
}
