/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A loop takes requests in, gives them to idle transfers by priority, watches over their time and gives
 * them back.  Its lock guards what other threads touch: the waiting ones and the state of each request.
 *
 * Receiving costs 0.3 CPU seconds per GB (docs/benchmarks.md), so one loop moves some 3 GB/s at most; a machine with many processors
 * has several.  A request goes to the first one that has
 * little to do, so few requests stay together on warm connections, and many are spread.
 */
#include "store/s3_http_priv.h"

#include "store/base/sync.h"

#include <curl/curl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TICK_MS 50		/* how late a deadline or a slow body is noticed */
#define REST_MS (600 * 1000)
#define FEW 8u			/* requests that one loop has while others have none */
#define CPUS_A_LOOP 8u

struct queue {
	struct bw_http_request *head, **tail;
};

struct loop {
	struct bw_http *of;
	CURLM *multi;
	pthread_t thread;
	struct bw_mutex lock;
	struct queue waiting[BW_PRIO_IDLE + 1];
	bool cancels;			/* somebody cancelled since the last sweep */
	bool hungry;			/* it sleeps, or is about to, and has transfers that are idle */
	atomic_uint lent;		/* requests, from submit to done(): a hint for who chooses */
	/* The loop's own. */
	int64_t tick_ns;
	unsigned running;
	struct bw_sockets sockets;
	struct bw_transfer *idle;
	unsigned transfers_n;
	struct bw_transfer transfers[];
};

struct bw_http {
	struct bw_s3_config config;
	atomic_bool believed;		/* a request has left: what answered was the store */
	atomic_llong connect_ns;	/* how long the next connection may take: a hint */
	atomic_bool stopping;
	unsigned loops_n;
	struct loop *loops[BW_HTTP_LOOPS_MAX];
};

static void queue_push(struct queue *q, struct bw_http_request *r)
{
	r->next = NULL;
	*q->tail = r;
	q->tail = &r->next;
}

static void give_back(struct loop *l, struct bw_http_request *r)
{
	bw_lock(&l->lock);
	r->state = BW_HTTP_AT_REST;
	bw_unlock(&l->lock);
	atomic_fetch_sub(&l->lent, 1);
	r->done(r);
}

static void end_unsent(struct loop *l, struct bw_http_request *r, enum bw_http_end end,
		       const char *words)
{
	r->end = end;
	snprintf(r->detail, sizeof(r->detail), "%s", words);
	give_back(l, r);
}

static bool is_cancelled(struct loop *l, const struct bw_http_request *r)
{
	BW_LOCK_SCOPE(&l->lock);
	return r->cancelled || atomic_load(&l->of->stopping);
}

/* ---- Running ones ----------------------------------------------------------------------------- */

static void let_go(struct loop *l, struct bw_transfer *t)
{
	t->next = l->idle;
	l->idle = t;
	l->running--;
}

static void cut(struct loop *l, struct bw_transfer *t, enum bw_http_end end, const char *words)
{
	struct bw_http_request *r = t->r;

	curl_multi_remove_handle(l->multi, t->easy);
	bw_transfer_cut(t, end, words);
	let_go(l, t);
	give_back(l, r);
}

static struct bw_http_request *take_waiting(struct loop *l)
{
	BW_LOCK_SCOPE(&l->lock);
	for (int p = 0; p <= BW_PRIO_IDLE; p++) {
		struct queue *q = &l->waiting[p];
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

static void begin(struct loop *l, struct bw_http_request *r)
{
	struct bw_transfer *t = l->idle;
	int64_t now = bw_now();

	if (is_cancelled(l, r) || now >= r->deadline_ns) {
		end_unsent(l, r, BW_HTTP_CANCELLED, "cancelled before it was sent");
		return;
	}
	l->idle = t->next;
	l->running++;
	if (bw_transfer_begin(t, r, now, atomic_load(&l->of->connect_ns)) &&
	    curl_multi_add_handle(l->multi, t->easy) == CURLM_OK)
		return;
	bw_transfer_cut(t, BW_HTTP_NO_MEMORY, "no memory for the request");
	let_go(l, t);
	give_back(l, r);
}

static void begin_waiting(struct loop *l)
{
	struct bw_http_request *r;

	while (l->idle && (r = take_waiting(l)))
		begin(l, r);
}

static void learn_to_connect(struct bw_http *h, struct bw_transfer *t, CURLcode code)
{
	bw_transfer_not_connected(t);
	int64_t ns = atomic_load(&h->connect_ns), next = bw_transfer_next_connect_ns(t, code, ns);

	if (next != ns)
		atomic_store(&h->connect_ns, next);
}

/* True when one ended. */
static bool reap(struct loop *l)
{
	bool any = false;
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(l->multi, &left))) {
		struct bw_transfer *t;
		CURLcode code = m->data.result;
		CURL *easy = m->easy_handle;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
		struct bw_http_request *r = t->r;
		learn_to_connect(l->of, t, code);
		curl_multi_remove_handle(l->multi, easy);	/* m is gone with it */
		bw_transfer_end(t, code);
		if (t->connected)
			atomic_store(&l->of->believed, true);
		if (r->end == BW_HTTP_NOT_BELIEVED && atomic_load(&l->of->believed))
			r->end = BW_HTTP_NOT_SENT;
		let_go(l, t);
		give_back(l, r);
		any = true;
	}
	return any;
}

static void acknowledge(struct loop *l)
{
	for (unsigned i = 0; l->sockets.owe && i < l->transfers_n; i++)
		bw_transfer_acknowledge(&l->transfers[i]);
	l->sockets.owe = false;
}

/* ---- Time and cancelling ---------------------------------------------------------------------- */

static void sweep_one(struct loop *l, struct bw_transfer *t, int64_t now)
{
	bool is_sent = bw_transfer_was_sent(t);

	if (is_cancelled(l, t->r))
		cut(l, t, is_sent ? BW_HTTP_LATE : BW_HTTP_CANCELLED, "cancelled");
	else if (now >= t->r->deadline_ns)
		cut(l, t, is_sent ? BW_HTTP_LATE : BW_HTTP_CANCELLED, "the deadline passed");
	else if (bw_transfer_is_slow(t, now))
		cut(l, t, is_sent ? BW_HTTP_SLOW : BW_HTTP_NOT_SENT, "too slow");
}

/* Moves the waiting ones that must end into a list of their own. */
static struct bw_http_request *take_ended(struct loop *l, int64_t now)
{
	struct bw_http_request *ended = NULL;

	BW_LOCK_SCOPE(&l->lock);
	l->cancels = false;
	for (int p = 0; p <= BW_PRIO_IDLE; p++) {
		struct queue *q = &l->waiting[p];
		struct bw_http_request **at = &q->head;
		while (*at) {
			struct bw_http_request *r = *at;
			if (!r->cancelled && !atomic_load(&l->of->stopping) && now < r->deadline_ns) {
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

static void sweep(struct loop *l, int64_t now)
{
	struct bw_http_request *r, *next;

	l->tick_ns = now + TICK_MS * BW_MS;
	for (r = take_ended(l, now); r; r = next) {
		next = r->next;
		end_unsent(l, r, BW_HTTP_CANCELLED, "cancelled before it was sent");
	}
	for (unsigned i = 0; i < l->transfers_n; i++)
		if (l->transfers[i].r)
			sweep_one(l, &l->transfers[i], now);
	bw_sockets_tick(&l->sockets, true);	/* once too often rather than never */
}

static bool must_sweep(struct loop *l, int64_t now)
{
	BW_LOCK_SCOPE(&l->lock);
	return l->cancels || atomic_load(&l->of->stopping) || now >= l->tick_ns;
}

/* How long there may be nothing to do, in ms; from here on who brings something wakes it.  -1: it is over. */
static int rest_ms(struct loop *l)
{
	bool has_waiting = false;

	BW_LOCK_SCOPE(&l->lock);
	for (int p = 0; p <= BW_PRIO_IDLE; p++)
		has_waiting |= l->waiting[p].head != NULL;
	if (atomic_load(&l->of->stopping) && !l->running && !has_waiting)
		return -1;
	if (l->cancels || atomic_load(&l->of->stopping) || (has_waiting && l->idle))
		return 0;
	l->hungry = l->idle != NULL;
	return l->running ? TICK_MS : REST_MS;
}

/* Whatever is brought from here on it looks for before it sleeps again. */
static void be_awake(struct loop *l)
{
	BW_LOCK_SCOPE(&l->lock);
	l->hungry = false;
}

static void *loop(void *arg)
{
	struct loop *l = arg;

	for (;;) {
		int64_t now = bw_now();
		if (must_sweep(l, now))
			sweep(l, now);
		begin_waiting(l);
		bw_sockets_tick(&l->sockets, false);
		int ms = reap(l) ? 0 : rest_ms(l);
		if (ms < 0)
			return NULL;
		acknowledge(l);
		bw_sockets_wait(&l->sockets, ms);
		be_awake(l);
		reap(l);
	}
}

/* ---- From other threads ----------------------------------------------------------------------- */

/* What a loop gives back while all stop it may submit anew: only its own is sure to be there. */
static unsigned own(struct bw_http *h)
{
	unsigned i = 0;

	while (i + 1 < h->loops_n && !pthread_equal(pthread_self(), h->loops[i]->thread))
		i++;
	return i;
}

static unsigned choose(struct bw_http *h)
{
	unsigned best = 0, least = UINT_MAX;

	if (atomic_load(&h->stopping))
		return own(h);
	for (unsigned i = 0; i < h->loops_n; i++) {
		unsigned lent = atomic_load(&h->loops[i]->lent);
		if (lent < FEW)
			return i;
		if (lent < least) {
			least = lent;
			best = i;
		}
	}
	return best;
}

void bw_http_submit(struct bw_http *h, struct bw_http_request *r)
{
	r->loop = choose(h);
	r->status = 0;
	r->blob = r->error = NULL;
	r->cancelled = false;
	struct loop *l = h->loops[r->loop];

	atomic_fetch_add(&l->lent, 1);
	bw_lock(&l->lock);
	r->state = BW_HTTP_WAITING;
	queue_push(&l->waiting[r->prio], r);
	bool wake = l->hungry;
	l->hungry = false;
	bw_unlock(&l->lock);
	if (wake)
		bw_sockets_wake(&l->sockets);
}

void bw_http_cancel(struct bw_http *h, struct bw_http_request *r)
{
	struct loop *l = h->loops[r->loop];

	bw_lock(&l->lock);
	bool is_lent = r->state != BW_HTTP_AT_REST;

	if (is_lent)
		r->cancelled = l->cancels = true;
	bw_unlock(&l->lock);
	if (is_lent)
		bw_sockets_wake(&l->sockets);
}

void bw_http_request_done(struct bw_http_request *r)
{
	bw_blob_unref(r->blob);
	bw_blob_unref(r->error);
	r->blob = r->error = NULL;
}

/* ---- Life ------------------------------------------------------------------------------------- */

static void loop_free(struct loop *l)
{
	for (unsigned i = 0; i < l->transfers_n; i++)
		bw_transfer_done(&l->transfers[i]);
	if (l->multi)
		curl_multi_cleanup(l->multi);
	bw_sockets_done(&l->sockets);
	bw_mutex_done(&l->lock);
	free(l);
}

void bw_http_free(struct bw_http *h)
{
	if (!h)
		return;
	atomic_store(&h->stopping, true);
	for (unsigned i = 0; i < h->loops_n; i++)
		bw_sockets_wake(&h->loops[i]->sockets);
	for (unsigned i = 0; i < h->loops_n; i++)
		pthread_join(h->loops[i]->thread, NULL);
	for (unsigned i = 0; i < h->loops_n; i++)
		loop_free(h->loops[i]);
	free(h);
	curl_global_cleanup();
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

static int make_transfers(struct loop *l, unsigned n)
{
	for (; l->transfers_n < n; l->transfers_n++) {
		struct bw_transfer *t = &l->transfers[l->transfers_n];
		if (!bw_transfer_init(t, &l->sockets, &l->of->config)) {
			bw_transfer_done(t);
			return -ENOMEM;
		}
		t->next = l->idle;
		l->idle = t;
	}
	return 0;
}

static int loop_new(struct bw_http *h, unsigned connections, struct loop **ret)
{
	struct loop *l = calloc(1, sizeof(*l) + connections * sizeof(l->transfers[0]));

	if (!l)
		return -ENOMEM;
	l->of = h;
	bw_mutex_init(&l->lock, BW_RANK_WORKQ);
	for (int p = 0; p <= BW_PRIO_IDLE; p++)
		l->waiting[p].tail = &l->waiting[p].head;
	l->multi = curl_multi_init();
	int err = l->multi ? bw_sockets_init(&l->sockets, l->multi) : -ENOMEM;

	if (!err)
		err = make_transfers(l, connections);
	if (!err) {
		curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, (long)connections);
		err = bw_thread_start(&l->thread, "bw-s3-io", loop, l);
	}
	if (err) {
		loop_free(l);
		return err;
	}
	*ret = l;
	return 0;
}

static unsigned loops_by_cpus(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned n = cpus > 0 ? (unsigned)cpus / CPUS_A_LOOP : 0;

	return n < 1 ? 1 : n < BW_HTTP_LOOPS_MAX ? n : BW_HTTP_LOOPS_MAX;
}

int bw_http_new(const struct bw_s3_config *config, struct bw_http **ret, char *why, size_t why_len)
{
	unsigned n = config->connections ? config->connections : BW_S3_CONNECTIONS;
	unsigned loops = config->loops ? config->loops : loops_by_cpus();
	int err = check_ca(config, why, why_len);

	if (err)
		return err;
	snprintf(why, why_len, "cannot start the HTTP client");
	if (loops > n)
		loops = n;
	if (loops > BW_HTTP_LOOPS_MAX)
		loops = BW_HTTP_LOOPS_MAX;
	struct bw_http *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(h);
		return -ENOMEM;
	}
	h->config = *config;
	atomic_init(&h->connect_ns, BW_HTTP_CONNECT_NS);
	for (; !err && h->loops_n < loops; h->loops_n += !err)
		err = loop_new(h, (n + loops - 1) / loops, &h->loops[h->loops_n]);
	if (err) {
		bw_http_free(h);
		return err;
	}
	*ret = h;
	return 0;
}
