/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Range gets and uploads at an S3 store, by a bare libcurl program (raw) and by the store layer of this
 * project (layer), so that one can be quoted as a ratio of the other.  Not a test.
 *
 *   s3_load raw|layer get URL CONNECTIONS < LINES        lines "KEY OFFSET LENGTH"
 *   s3_load raw|layer put URL CONNECTIONS SIZE COUNT     COUNT objects of SIZE bytes below URL, one after the other,
 *                                                        in parts where they are large
 *   s3_load raw puts URL CONNECTIONS SIZE COUNT          the same, each in one request, CONNECTIONS at a time
 *
 * Endpoint and keys come from the environment.  Prints one JSON object: seconds, bytes, p50_ms, p99_ms, cpu_s.
 *
 * The raw program does what is needed and nothing more: one thread, one multi handle, keep-alive, curl's own
 * signer, bodies into one buffer per connection, payloads unsigned.
 */
#include "fs/heap.h"
#include "store/base/clock.h"
#include "store/base/rand.h"
#include "store/base/sync.h"
#include "store/s3.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define PART BW_S3_PART
#define PARTS_MAX 1024u
#define CONNECTIONS_MAX 64u

struct item {
	char key[BW_KEY_MAX + 1];
	uint64_t offset, length;
};

struct load {
	const char *url;
	unsigned connections;
	struct item *items;
	size_t n;
	double *ms;		/* [n] */
	uint64_t bytes;
	/* put */
	uint8_t *body;
	size_t size;
	bool beside;		/* objects beside each other, not parts */
};

static void die(const char *what)
{
	fprintf(stderr, "s3_load: %s\n", what);
	exit(1);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec / 1e6 + (double)u.ru_stime.tv_sec +
	       (double)u.ru_stime.tv_usec / 1e6;
}

static double ms_since(int64_t begin_ns)
{
	return (double)(bw_now() - begin_ns) / 1e6;
}

/* ---- raw -------------------------------------------------------------------------------------- */

struct raw {
	CURLM *multi;
	const char *base;	/* endpoint/bucket/prefix */
	char userpwd[600], sigv4[96];
	struct load *l;
};

struct easy {
	CURL *curl;
	struct curl_slist *headers;
	size_t item;
	int64_t begin_ns;
	uint8_t *to;		/* get: where the body goes */
	size_t len, cap;
	const uint8_t *from;	/* put: what is left of it */
	size_t left;
	char etag[128];
};

static size_t take(char *bytes, size_t one, size_t n, void *ctx)
{
	struct easy *e = ctx;

	(void)one;
	if (n > e->cap - e->len)
		return 0;
	memcpy(e->to + e->len, bytes, n);
	e->len += n;
	return n;
}

static size_t give(char *bytes, size_t one, size_t n, void *ctx)
{
	struct easy *e = ctx;

	n *= one;
	if (n > e->left)
		n = e->left;
	memcpy(bytes, e->from, n);
	e->from += n;
	e->left -= n;
	return n;
}

static size_t header(char *line, size_t one, size_t n, void *ctx)
{
	struct easy *e = ctx;

	(void)one;
	if (n > 6 && strncasecmp(line, "etag: ", 6) == 0)
		snprintf(e->etag, sizeof(e->etag), "%.*s", (int)strcspn(line + 6, "\r\n"), line + 6);
	return n;
}

static void raw_begin(struct raw *r, struct easy *e, const char *method, const char *key, const char *query)
{
	char url[2048];

	snprintf(url, sizeof(url), "%s%s%s%s", r->base, key, *query ? "?" : "", query);
	if (!e->curl)
		e->curl = curl_easy_init();
	curl_easy_reset(e->curl);
	curl_slist_free_all(e->headers);
	e->headers = curl_slist_append(NULL, "x-amz-content-sha256: UNSIGNED-PAYLOAD");
	curl_easy_setopt(e->curl, CURLOPT_URL, url);
	curl_easy_setopt(e->curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(e->curl, CURLOPT_AWS_SIGV4, r->sigv4);
	curl_easy_setopt(e->curl, CURLOPT_USERPWD, r->userpwd);
	curl_easy_setopt(e->curl, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(e->curl, CURLOPT_WRITEDATA, e);
	curl_easy_setopt(e->curl, CURLOPT_HEADERFUNCTION, header);
	curl_easy_setopt(e->curl, CURLOPT_HEADERDATA, e);
	curl_easy_setopt(e->curl, CURLOPT_PRIVATE, e);
	curl_easy_setopt(e->curl, CURLOPT_FAILONERROR, 1L);
	curl_easy_setopt(e->curl, CURLOPT_BUFFERSIZE, 512L << 10);
	curl_easy_setopt(e->curl, CURLOPT_UPLOAD_BUFFERSIZE, 512L << 10);
	e->len = 0;
	e->begin_ns = bw_now();
}

static void raw_host(struct raw *r, struct easy *e)
{
	char line[600];
	const char *host = strstr(r->base, "://") + 3;

	snprintf(line, sizeof(line), "Host: %.*s", (int)strcspn(host, "/"), host);
	e->headers = curl_slist_append(e->headers, line);
	curl_easy_setopt(e->curl, CURLOPT_HTTPHEADER, e->headers);
}

static void raw_body(struct easy *e, const uint8_t *bytes, size_t len)
{
	e->from = bytes;
	e->left = len;
	curl_easy_setopt(e->curl, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(e->curl, CURLOPT_READFUNCTION, give);
	curl_easy_setopt(e->curl, CURLOPT_READDATA, e);
	curl_easy_setopt(e->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)len);
}

static void raw_get(struct raw *r, struct easy *e, size_t at)
{
	const struct item *i = &r->l->items[at];
	char range[64];

	raw_begin(r, e, "GET", i->key, "");
	e->item = at;
	if (i->length > e->cap) {
		free(e->to);
		e->cap = i->length;
		e->to = malloc(e->cap);
	}
	snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-%" PRIu64, i->offset, i->offset + i->length - 1);
	e->headers = curl_slist_append(e->headers, range);
	raw_host(r, e);
	curl_multi_add_handle(r->multi, e->curl);
}

/* Runs until one transfer ends; which. */
static struct easy *raw_next(struct raw *r)
{
	for (;;) {
		int running, left;
		CURLMsg *m;
		struct easy *e;

		curl_multi_perform(r->multi, &running);
		while ((m = curl_multi_info_read(r->multi, &left))) {
			if (m->msg != CURLMSG_DONE)
				continue;
			if (m->data.result != CURLE_OK)
				die(curl_easy_strerror(m->data.result));
			curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&e);
			curl_multi_remove_handle(r->multi, e->curl);
			return e;
		}
		if (!running)
			return NULL;
		curl_multi_poll(r->multi, NULL, 0, 1000, NULL);
	}
}

static void raw_gets(struct raw *r, struct easy *e)
{
	struct load *l = r->l;
	size_t next = 0;
	struct easy *ended;

	for (; next < l->n && next < l->connections; next++)
		raw_get(r, &e[next], next);
	while ((ended = raw_next(r))) {
		l->ms[ended->item] = ms_since(ended->begin_ns);
		if (ended->len != l->items[ended->item].length)
			die("a get was short");
		l->bytes += ended->len;
		if (next < l->n)
			raw_get(r, ended, next++);
	}
}

static void raw_alone(struct raw *r, struct easy *e)
{
	raw_host(r, e);
	curl_multi_add_handle(r->multi, e->curl);
	if (raw_next(r) != e)
		die("a request was lost");
}

static void raw_part(struct raw *r, struct easy *e, const char *key, const char *upload, size_t at)
{
	char query[512];
	size_t offset = at * PART, len = r->l->size - offset < PART ? r->l->size - offset : PART;

	snprintf(query, sizeof(query), "partNumber=%zu&uploadId=%s", at + 1, upload);
	raw_begin(r, e, "PUT", key, query);
	e->item = at;
	raw_body(e, r->l->body + offset, len);
	raw_host(r, e);
	curl_multi_add_handle(r->multi, e->curl);
}

static void raw_put_parts(struct raw *r, struct easy *e, const char *key)
{
	static char etags[PARTS_MAX][128];
	size_t parts = (r->l->size + PART - 1) / PART, next = 0;
	char upload[256], query[300], *xml, *at;
	struct easy *ended;

	raw_begin(r, e, "POST", key, "uploads=");
	raw_alone(r, e);
	e->to[e->len < e->cap ? e->len : e->cap - 1] = 0;
	at = strstr((char *)e->to, "<UploadId>");
	if (!at)
		die("no upload id");
	snprintf(upload, sizeof(upload), "%.*s", (int)strcspn(at + 10, "<"), at + 10);
	for (; next < parts && next < r->l->connections; next++)
		raw_part(r, &e[next], key, upload, next);
	while ((ended = raw_next(r))) {
		memcpy(etags[ended->item], ended->etag, sizeof(etags[0]));
		if (next < parts)
			raw_part(r, ended, key, upload, next++);
	}
	size_t len = 0, cap = parts * 256 + 128;

	xml = malloc(cap);
	len += (size_t)snprintf(xml, cap, "<CompleteMultipartUpload>");
	for (size_t i = 0; i < parts; i++)
		len += (size_t)snprintf(xml + len, cap - len, "<Part><PartNumber>%zu</PartNumber><ETag>%s</ETag></Part>",
					i + 1, etags[i]);
	len += (size_t)snprintf(xml + len, cap - len, "</CompleteMultipartUpload>");
	snprintf(query, sizeof(query), "uploadId=%s", upload);
	raw_begin(r, e, "POST", key, query);
	raw_body(e, (uint8_t *)xml, len);
	raw_alone(r, e);
	free(xml);
}

static void raw_puts(struct raw *r, struct easy *e)
{
	struct load *l = r->l;

	for (unsigned i = 0; i < l->connections; i++) {
		e[i].cap = 64 << 10;
		e[i].to = malloc(e[i].cap);
	}
	for (size_t i = 0; i < l->n; i++) {
		int64_t begin_ns = bw_now();
		if (l->size > PART + PART / 2) {
			raw_put_parts(r, e, l->items[i].key);
		} else {
			raw_begin(r, e, "PUT", l->items[i].key, "");
			raw_body(e, l->body, l->size);
			raw_alone(r, e);
		}
		l->ms[i] = ms_since(begin_ns);
		l->bytes += l->size;
	}
}

static void raw_put(struct raw *r, struct easy *e, size_t at)
{
	raw_begin(r, e, "PUT", r->l->items[at].key, "");
	e->item = at;
	raw_body(e, r->l->body, r->l->size);
	raw_host(r, e);
	curl_multi_add_handle(r->multi, e->curl);
}

static void raw_puts_beside(struct raw *r, struct easy *e)
{
	struct load *l = r->l;
	size_t next = 0;
	struct easy *ended;

	for (; next < l->n && next < l->connections; next++)
		raw_put(r, &e[next], next);
	while ((ended = raw_next(r))) {
		l->ms[ended->item] = ms_since(ended->begin_ns);
		l->bytes += l->size;
		if (next < l->n)
			raw_put(r, ended, next++);
	}
}

static const char *env(const char *name, const char *otherwise)
{
	const char *value = getenv(name);

	if (!value && !otherwise)
		die("AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set");
	return value ? value : otherwise;
}

static void raw_run(struct load *l, bool put)
{
	static struct easy e[CONNECTIONS_MAX];
	char base[1200];
	struct raw r = {.l = l, .base = base, .multi = curl_multi_init()};

	snprintf(base, sizeof(base), "%s/%s/", env("AWS_ENDPOINT_URL", NULL), l->url + strlen("s3://"));
	snprintf(r.userpwd, sizeof(r.userpwd), "%s:%s", env("AWS_ACCESS_KEY_ID", NULL),
		 env("AWS_SECRET_ACCESS_KEY", NULL));
	snprintf(r.sigv4, sizeof(r.sigv4), "aws:amz:%s:s3", env("AWS_REGION", "us-east-1"));
	curl_multi_setopt(r.multi, CURLMOPT_MAXCONNECTS, (long)l->connections);
	if (put && l->beside)
		raw_puts_beside(&r, e);
	else if (put)
		raw_puts(&r, e);
	else
		raw_gets(&r, e);
	for (unsigned i = 0; i < l->connections; i++) {
		curl_easy_cleanup(e[i].curl);
		curl_slist_free_all(e[i].headers);
		free(e[i].to);
	}
	curl_multi_cleanup(r.multi);
}

/* ---- layer ------------------------------------------------------------------------------------ */

struct layer {
	struct load *l;
	struct bw_store *s;
	struct bw_mutex lock;
	struct bw_cond ended;
	size_t next, done;
};

struct layer_op {
	struct bw_op op;
	struct layer *y;
	size_t item;
	int64_t begin_ns;
};

static void layer_send(struct layer_op *o);

static void layer_done(struct bw_op *op)
{
	struct layer_op *o = op->ctx;
	struct layer *y = o->y;

	if (op->outcome != BW_OK)
		die(op->detail);
	y->l->ms[o->item] = ms_since(o->begin_ns);
	bw_op_done(op);
	bw_lock(&y->lock);
	y->l->bytes += y->l->items[o->item].length;
	y->done++;
	bool more = y->next < y->l->n;
	if (more)
		o->item = y->next++;
	if (y->done == y->l->n)	/* raw has no second thread to wake for each */
		bw_cond_signal(&y->ended);
	bw_unlock(&y->lock);
	if (more)
		layer_send(o);
}

static void layer_send(struct layer_op *o)
{
	const struct item *i = &o->y->l->items[o->item];

	bw_op_get(&o->op, i->key, i->offset, i->length);
	o->op.done = layer_done;
	o->op.ctx = o;
	o->begin_ns = bw_now();
	bw_store_submit(o->y->s, &o->op);
}

static void layer_gets(struct layer *y)
{
	static struct layer_op ops[CONNECTIONS_MAX];
	size_t first = y->l->n < y->l->connections ? y->l->n : y->l->connections;

	y->next = first;
	for (size_t i = 0; i < first; i++) {
		ops[i].y = y;
		ops[i].item = i;
		layer_send(&ops[i]);
	}
	bw_lock(&y->lock);
	while (y->done < y->l->n)
		bw_cond_wait(&y->ended, &y->lock);
	bw_unlock(&y->lock);
}

static void layer_puts(struct layer *y)
{
	struct load *l = y->l;

	for (size_t i = 0; i < l->n; i++) {
		struct bw_bytes_body body;
		struct bw_op op;
		int64_t begin_ns = bw_now();
		bw_bytes_body_init(&body, l->body, l->size);
		bw_op_put(&op, l->items[i].key, &body.body, false);
		if (bw_store_sync(y->s, &op) != BW_OK)
			die(op.detail);
		l->ms[i] = ms_since(begin_ns);
		l->bytes += l->size;
	}
}

static void layer_run(struct load *l, bool put)
{
	struct layer y = {.l = l};
	struct bw_s3_config s3;
	struct bw_store_config config = {.s3 = &s3};
	struct bw_url url;
	char why[256];

	bw_s3_config_from_env(&s3);
	s3.connections = l->connections;
	bw_mutex_init(&y.lock, BW_RANK_LEAF);
	bw_cond_init(&y.ended);
	if (bw_url_parse(l->url, &url, why, sizeof(why)) ||
	    bw_store_open(&url, &config, &y.s, why, sizeof(why)))
		die(why);
	if (put)
		layer_puts(&y);
	else
		layer_gets(&y);
	bw_store_free(y.s);
}

/* ---- both ------------------------------------------------------------------------------------- */

static void read_items(struct load *l)
{
	char line[700];
	size_t cap = 0;

	while (fgets(line, sizeof(line), stdin)) {
		if (l->n == cap) {
			cap = cap ? cap * 2 : 256;
			l->items = realloc(l->items, cap * sizeof(l->items[0]));
			if (!l->items)
				die("out of memory");
		}
		struct item *i = &l->items[l->n++];
		if (sscanf(line, "%511s %" SCNu64 " %" SCNu64, i->key, &i->offset, &i->length) != 3)
			die("lines are KEY OFFSET LENGTH");
	}
}

static void make_items(struct load *l, size_t size, size_t n)
{
	struct bw_rng rng;

	l->size = size;
	l->n = n;
	l->items = calloc(n, sizeof(l->items[0]));
	l->body = malloc(size);
	if (!l->items || !l->body || size > PARTS_MAX * PART)
		die("out of memory");
	bw_rng_init(&rng, 1);
	for (size_t i = 0; i + 8 <= size; i += 8) {
		uint64_t word = bw_rng_next(&rng);
		memcpy(l->body + i, &word, 8);
	}
	for (size_t i = 0; i < n; i++)
		snprintf(l->items[i].key, sizeof(l->items[i].key), "put/%zu-%" PRIx64, i, bw_rng_next(&rng));
}

int main(int argc, char **argv)
{
	struct load l = {0};

	if (argc < 5 || strncmp(argv[3], "s3://", 5) != 0)
		die("usage: s3_load raw|layer get|put|puts URL CONNECTIONS [SIZE COUNT]");
	bool raw = strcmp(argv[1], "raw") == 0, put = strncmp(argv[2], "put", 3) == 0;

	l.beside = strcmp(argv[2], "puts") == 0;
	l.url = argv[3];
	l.connections = (unsigned)strtoul(argv[4], NULL, 10);
	if (!l.connections || l.connections > CONNECTIONS_MAX || (put && argc != 7))
		die("1 to 64 connections; put needs SIZE and COUNT");
	if (put)
		make_items(&l, strtoull(argv[5], NULL, 10), strtoull(argv[6], NULL, 10));
	else
		read_items(&l);
	if (!l.n || !(l.ms = calloc(l.n, sizeof(l.ms[0]))))
		die("nothing to do");
	if (!raw)
		bw_heap_tune(0);	/* as every mount does; raw keeps its buffers anyway */
	curl_global_init(CURL_GLOBAL_DEFAULT);
	double cpu_begin = cpu_s();
	int64_t begin_ns = bw_now();

	if (raw)
		raw_run(&l, put);
	else
		layer_run(&l, put);
	double seconds = ms_since(begin_ns) / 1e3, cpu = cpu_s() - cpu_begin;

	qsort(l.ms, l.n, sizeof(l.ms[0]), by_size);
	printf("{\"seconds\": %.4f, \"bytes\": %" PRIu64 ", \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"cpu_s\": %.3f}\n",
	       seconds, l.bytes, l.ms[l.n / 2], l.ms[l.n * 99 / 100], cpu);
	free(l.items);
	free(l.ms);
	free(l.body);
	curl_global_cleanup();
	return 0;
}
