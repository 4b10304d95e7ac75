/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop: takes requests in, gives them to idle transfers by priority, watches over their time and gives
 * them back.  The lock guards what other threads touch: the waiting ones and the state of each request.
 */
#include "store/s3_http_priv.h"

#include "store/base/sync.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICK_MS 50		/* how late a deadline or a slow body is noticed */
#define REST_MS (600 * 1000)

struct queue {
	struct bw_http_request *head, **tail;
};

struct bw_http {
	struct bw_s3_config config;
	CURLM *multi;
	pthread_t thread;
	struct bw_mutex lock;
	struct queue waiting[BW_PRIO_IDLE + 1];
	bool cancels;			/* somebody cancelled since the last sweep */
	bool stopping;
	/* The loop's own. */
	int64_t tick_ns;
	unsigned running;
	struct bw_sockets sockets;
	bool believed;			/* a request has left: what answered was the store */
	struct bw_transfer *idle;
	unsigned transfers_n;
	struct bw_transfer transfers[];
};

static void queue_push(struct queue *q, struct bw_http_request *r)
{
	r->next = NULL;
	*q->tail = r;
	q->tail = &r->next;
}

static void give_back(struct bw_http *h, struct bw_http_request *r)
{
	bw_lock(&h->lock);
	r->state = BW_HTTP_AT_REST;
	bw_unlock(&h->lock);
	r->done(r);
}

static void end_unsent(struct bw_http *h, struct bw_http_request *r, enum bw_http_end end,
		       const char *words)
{
	r->end = end;
	snprintf(r->detail, sizeof(r->detail), "%s", words);
	give_back(h, r);
}

static bool is_cancelled(struct bw_http *h, const struct bw_http_request *r)
{
	BW_LOCK_SCOPE(&h->lock);
	return r->cancelled || h->stopping;
}

/* ---- Running ones ----------------------------------------------------------------------------- */

static void let_go(struct bw_http *h, struct bw_transfer *t)
{
	t->next = h->idle;
	h->idle = t;
	h->running--;
}

static void cut(struct bw_http *h, struct bw_transfer *t, enum bw_http_end end, const char *words)
{
	struct bw_http_request *r = t->r;

	curl_multi_remove_handle(h->multi, t->easy);
	bw_transfer_cut(t, end, words);
	let_go(h, t);
	give_back(h, r);
}

static struct bw_http_request *take_waiting(struct bw_http *h)
{
	BW_LOCK_SCOPE(&h->lock);
	for (int p = 0; p <= BW_PRIO_IDLE; p++) {
		struct queue *q = &h->waiting[p];
		struct bw_http_request *r = q->head;
		if (!r)
			continue;
		q->head = r->next;
		if (!q->head)
			q->tail = &q->head;
		r->state = BW_HTTP_RUNNING;
		return r;
	}
	return NULL;
}

static void begin(struct bw_http *h, struct bw_http_request *r)
{
	struct bw_transfer *t = h->idle;
	int64_t now = bw_now();

	if (is_cancelled(h, r) || now >= r->deadline_ns) {
		end_unsent(h, r, BW_HTTP_CANCELLED, "cancelled before it was sent");
		return;
	}
	h->idle = t->next;
	h->running++;
	if (bw_transfer_begin(t, &h->config, r, now) &&
	    curl_multi_add_handle(h->multi, t->easy) == CURLM_OK)
		return;
	bw_transfer_cut(t, BW_HTTP_NO_MEMORY, "no memory for the request");
	let_go(h, t);
	give_back(h, r);
}

static void begin_waiting(struct bw_http *h)
{
	struct bw_http_request *r;

	while (h->idle && (r = take_waiting(h)))
		begin(h, r);
}

/* True when a place became free. */
static bool reap(struct bw_http *h)
{
	bool any = false;
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(h->multi, &left))) {
		struct bw_transfer *t;
		CURLcode code = m->data.result;
		CURL *easy = m->easy_handle;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
		struct bw_http_request *r = t->r;
		curl_multi_remove_handle(h->multi, easy);	/* m is gone with it */
		bw_transfer_end(t, code);
		h->believed |= t->connected;
		if (r->end == BW_HTTP_NOT_BELIEVED && h->believed)
			r->end = BW_HTTP_NOT_SENT;
		let_go(h, t);
		give_back(h, r);
		any = true;
	}
	return any;
}

/* ---- Time and cancelling ---------------------------------------------------------------------- */

static void sweep_one(struct bw_http *h, struct bw_transfer *t, int64_t now)
{
	bool is_sent = bw_transfer_was_sent(t);

	if (is_cancelled(h, t->r))
		cut(h, t, is_sent ? BW_HTTP_LATE : BW_HTTP_CANCELLED, "cancelled");
	else if (now >= t->r->deadline_ns)
		cut(h, t, is_sent ? BW_HTTP_LATE : BW_HTTP_CANCELLED, "the deadline passed");
	else if (bw_transfer_is_slow(t, now))
		cut(h, t, is_sent ? BW_HTTP_SLOW : BW_HTTP_NOT_SENT, "too slow");
}

/* Moves the waiting ones that must end into a list of their own. */
static struct bw_http_request *take_ended(struct bw_http *h, int64_t now)
{
	struct bw_http_request *ended = NULL;

	BW_LOCK_SCOPE(&h->lock);
	h->cancels = false;
	for (int p = 0; p <= BW_PRIO_IDLE; p++) {
		struct queue *q = &h->waiting[p];
		struct bw_http_request **at = &q->head;
		while (*at) {
			struct bw_http_request *r = *at;
			if (!r->cancelled && !h->stopping && now < r->deadline_ns) {
				at = &r->next;
				continue;
			}
			*at = r->next;
			r->next = ended;
			ended = r;
		}
		q->tail = at;
	}
	return ended;
}

static void sweep(struct bw_http *h, int64_t now)
{
	struct bw_http_request *r, *next;

	h->tick_ns = now + TICK_MS * BW_MS;
	for (r = take_ended(h, now); r; r = next) {
		next = r->next;
		end_unsent(h, r, BW_HTTP_CANCELLED, "cancelled before it was sent");
	}
	for (unsigned i = 0; i < h->transfers_n; i++)
		if (h->transfers[i].r)
			sweep_one(h, &h->transfers[i], now);
}

/* Whether a sweep is asked for, and whether anything is left to do. */
static void look(struct bw_http *h, bool *ret_sweep, bool *ret_waiting, bool *ret_stop)
{
	BW_LOCK_SCOPE(&h->lock);
	*ret_sweep = h->cancels || h->stopping;
	*ret_waiting = false;
	for (int p = 0; p <= BW_PRIO_IDLE; p++)
		*ret_waiting |= h->waiting[p].head != NULL;
	*ret_stop = h->stopping;
}

static void *loop(void *arg)
{
	struct bw_http *h = arg;
	bool must_sweep, has_waiting, stop;
	int n;

	for (;;) {
		int64_t now = bw_now();
		look(h, &must_sweep, &has_waiting, &stop);
		if (must_sweep || now >= h->tick_ns)
			sweep(h, now);
		begin_waiting(h);
		curl_multi_perform(h->multi, &n);
		if (reap(h))
			continue;
		look(h, &must_sweep, &has_waiting, &stop);
		if (stop && !h->running && !has_waiting)
			return NULL;
		if (!stop)
			curl_multi_poll(h->multi, NULL, 0,
					h->running || has_waiting ? TICK_MS : REST_MS, NULL);
	}
}

/* ---- From other threads ----------------------------------------------------------------------- */

void bw_http_submit(struct bw_http *h, struct bw_http_request *r)
{
	r->status = 0;
	r->blob = r->error = NULL;
	r->cancelled = false;
	bw_lock(&h->lock);
	r->state = BW_HTTP_WAITING;
	queue_push(&h->waiting[r->prio], r);
	bw_unlock(&h->lock);
	if (!pthread_equal(pthread_self(), h->thread))
		curl_multi_wakeup(h->multi);
}

void bw_http_cancel(struct bw_http *h, struct bw_http_request *r)
{
	bw_lock(&h->lock);
	bool is_lent = r->state != BW_HTTP_AT_REST;

	if (is_lent)
		r->cancelled = h->cancels = true;
	bw_unlock(&h->lock);
	if (is_lent)
		curl_multi_wakeup(h->multi);
}

void bw_http_request_done(struct bw_http_request *r)
{
	bw_blob_unref(r->blob);
	bw_blob_unref(r->error);
	r->blob = r->error = NULL;
}

static void destroy(struct bw_http *h)
{
	for (unsigned i = 0; i < h->transfers_n; i++)
		curl_easy_cleanup(h->transfers[i].easy);
	if (h->multi)
		curl_multi_cleanup(h->multi);
	bw_mutex_done(&h->lock);
	free(h);
	curl_global_cleanup();
}

void bw_http_free(struct bw_http *h)
{
	if (!h)
		return;
	bw_lock(&h->lock);
	h->stopping = true;
	bw_unlock(&h->lock);
	curl_multi_wakeup(h->multi);
	pthread_join(h->thread, NULL);
	destroy(h);
}

static int check_ca(const struct bw_s3_config *config, char *why, size_t why_len)
{
	char text[80];

	if (!config->ca[0] || access(config->ca, R_OK) == 0)
		return 0;
	snprintf(why, why_len, "cannot read the CA file %s: %s", config->ca,
		 bw_err_text(-errno, text, sizeof(text)));
	return -EINVAL;
}

static int make_transfers(struct bw_http *h, unsigned n)
{
	for (; h->transfers_n < n; h->transfers_n++) {
		struct bw_transfer *t = &h->transfers[h->transfers_n];
		t->sockets = &h->sockets;
		t->easy = curl_easy_init();
		if (!t->easy)
			return -ENOMEM;
		t->next = h->idle;
		h->idle = t;
	}
	return 0;
}

int bw_http_new(const struct bw_s3_config *config, struct bw_http **ret, char *why, size_t why_len)
{
	unsigned n = config->connections ? config->connections : BW_S3_CONNECTIONS;
	int err = check_ca(config, why, why_len);

	if (err)
		return err;
	snprintf(why, why_len, "cannot start the HTTP client");
	struct bw_http *h = calloc(1, sizeof(*h) + n * sizeof(h->transfers[0]));

	if (!h)
		return -ENOMEM;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(h);
		return -ENOMEM;
	}
	h->config = *config;
	bw_mutex_init(&h->lock, BW_RANK_WORKQ);
	for (int p = 0; p <= BW_PRIO_IDLE; p++)
		h->waiting[p].tail = &h->waiting[p].head;
	h->multi = curl_multi_init();
	err = h->multi ? make_transfers(h, n) : -ENOMEM;
	if (!err) {
		curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)n);
		err = bw_thread_start(&h->thread, "bw-s3-io", loop, h);
	}
	if (err) {
		destroy(h);
		return err;
	}
	*ret = h;
	return 0;
}
