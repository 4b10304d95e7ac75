/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_http_priv.h"

#include <curl/curl.h>
#include <ctype.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define RECEIVE_BUFFER (512L << 10)
#define SEND_BUFFER (512L << 10)
#define IDLE_S 60L		/* stores close idle connections after about as long */

_Static_assert(BW_HTTP_WORDS >= CURL_ERROR_SIZE, "curl writes that much");

static void fail(struct bw_transfer *t, enum bw_http_end end)
{
	t->failed = true;
	t->r->end = end;
}

static void forget_answer(struct bw_transfer *t)
{
	struct bw_http_request *r = t->r;

	r->status = 0;
	r->content_length = r->range_first = r->range_total = r->date_s = r->modified_s = -1;
	r->retry_after_ns = -1;
	r->etag[0] = r->request_id[0] = r->region[0] = r->location[0] = 0;
}

/*
 * Bytes both ways, but for those of the body that lie in the buffers of curl and of the kernel: over a slow line these hold more
 * than leaves in a long time.
 */
static uint64_t moved(const struct bw_transfer *t)
{
	curl_off_t written = 0;
	uint64_t held = 0;
	int unacknowledged = 0;

	if (!t->sent)
		return t->moved;
	if (curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &written) == CURLE_OK && (uint64_t)written < t->sent)
		held = t->sent - (uint64_t)written;
	if (t->fd >= 0 && ioctl(t->fd, SIOCOUTQ, &unacknowledged) == 0 && unacknowledged > 0)
		held += (unsigned)unacknowledged;	/* with what TLS adds, and the header */
	return t->moved - (held < t->sent ? held : t->sent);
}

/* ---- What curl calls -------------------------------------------------------------------------- */

static bool is_read(const struct bw_http_request *r)
{
	return strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;
}

static int64_t info_ns(const struct bw_transfer *t, CURLINFO what)
{
	curl_off_t us = 0;

	return curl_easy_getinfo(t->easy, what, &us) == CURLE_OK && us > 0 ? us * (BW_MS / 1000) : 0;
}

static int64_t tls_ns(const struct bw_transfer *t)
{
	int64_t done_ns = info_ns(t, CURLINFO_APPCONNECT_TIME_T), tcp_ns = info_ns(t, CURLINFO_CONNECT_TIME_T);

	return done_ns > tcp_ns ? done_ns - tcp_ns : 0;
}

/*
 * curl sends once more what left over a kept connection that turned out dead before anything came back.  The first
 * one may have been applied, and its second would be told so as if by somebody else: what changes something
 * leaves once, and its end is LOST.
 */
static int on_connected(void *ctx, char *ip, char *local_ip, int port, int local_port)
{
	struct bw_transfer *t = ctx;
	long made = 0;

	(void)ip, (void)local_ip, (void)port;
	t->fd = bw_sockets_find(t->sockets, local_port);
	if (t->connected && !is_read(t->r)) {
		fail(t, bw_transfer_was_sent(t) ? BW_HTTP_LOST : BW_HTTP_NOT_SENT);
		return CURL_PREREQFUNC_ABORT;
	}
	if (!t->connected && curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &made) == CURLE_OK && made)
		t->connect_took_ns = info_ns(t, CURLINFO_NAMELOOKUP_TIME_T) + tls_ns(t);
	t->connected = true;
	t->since_ns = bw_now();
	return CURL_PREREQFUNC_OK;
}

static size_t on_read(char *to, size_t size, size_t n, void *ctx)
{
	struct bw_transfer *t = ctx;
	size_t left = t->r->body_len - t->sent;
	size_t take = size * n < left ? size * n : left;

	if (take)
		memcpy(to, t->r->body + t->sent, take);
	t->sent += take;
	t->moved += take;
	if (t->sent == t->r->body_len)
		t->since_ns = bw_now();	/* from here on the store thinks */
	return take;
}

/*
 * curl found a kept connection dead before anything came back over it, and wants to send again.  But
 * bytes of the body are on their way, and so the request may have been applied: that is for others to
 * hear, not for curl to hide.
 */
static int on_seek(void *ctx, curl_off_t off, int whence)
{
	struct bw_transfer *t = ctx;

	return off == 0 && whence == SEEK_SET && t->sent == 0 ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

/* Of "HTTP/1.1 206 Partial Content", which is not NUL-terminated by promise; 0: none is there. */
static int status_of(const char *line, size_t len)
{
	const char *end = line + len, *at = memchr(line, ' ', len);
	int status = 0;

	while (at && at < end && *at == ' ')
		at++;
	for (; at && at < end && isdigit((unsigned char)*at) && status < 1000; at++)
		status = 10 * status + *at - '0';
	return status;
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
	struct bw_transfer *t = ctx;
	size_t len = size * n;

	t->moved += len;
	while (len && (line[len - 1] == '\n' || line[len - 1] == '\r'))
		len--;
	if (len > 5 && memcmp(line, "HTTP/", 5) == 0) {
		forget_answer(t);
		t->r->status = status_of(line, len);
		if (!t->answering && t->r->status >= 200) {
			t->answering = true;
			t->since_ns = bw_now();
			t->mark = moved(t);
			t->owes = t->sockets->owe = t->fd >= 0;
		}
	} else if (len) {
		bw_http_header(t->r, line, len);
	}
	return size * n;
}

static bool add_blob(struct bw_transfer *t, struct bw_blob **at)
{
	size_t len = t->r->cut && t->r->cut < t->to_come ? t->r->cut : t->to_come;

	*at = t->last = bw_blob_new(len);
	if (!t->last) {
		fail(t, BW_HTTP_NO_MEMORY);
		return false;
	}
	t->in_last = 0;
	t->to_come -= len;
	return true;
}

/* Room for the body of a good answer, once its status and length are known. */
static bool make_room(struct bw_transfer *t)
{
	struct bw_http_request *r = t->r;
	bool is_known = r->content_length >= 0 || r->expect != SIZE_MAX;
	size_t len = r->content_length >= 0 ? (size_t)r->content_length : r->expect;

	if (!is_known)
		return true;
	if (len > r->max) {
		fail(t, BW_HTTP_TOO_LONG);
		return false;
	}
	t->to_come = len;
	return add_blob(t, &r->blob);
}

static bool fill_chain(struct bw_transfer *t, const uint8_t *bytes, size_t len)
{
	if (len > t->to_come + t->last->len - t->in_last) {
		fail(t, BW_HTTP_TOO_LONG);
		return false;
	}
	for (size_t at = 0; at < len;) {
		size_t room = t->last->len - t->in_last;
		size_t n = len - at < room ? len - at : room;
		memcpy(t->last->bytes + t->in_last, bytes + at, n);
		t->in_last += n;
		at += n;
		if (at < len && !add_blob(t, &t->last->next))
			return false;
	}
	return true;
}

static bool add_good(struct bw_transfer *t, const void *bytes, size_t len)
{
	struct bw_http_request *r = t->r;

	if (!t->got && !make_room(t))
		return false;
	if (r->blob)
		return fill_chain(t, bytes, len);
	bw_buf_add(&t->unsized, bytes, len);
	if (bw_buf_err(&t->unsized))
		fail(t, bw_buf_err(&t->unsized) == -ENOSPC ? BW_HTTP_TOO_LONG : BW_HTTP_NO_MEMORY);
	return !t->failed;
}

/* What is beyond the limit is read and dropped: the status counts, and the connection is kept. */
static void add_error(struct bw_transfer *t, const void *bytes, size_t len)
{
	size_t room = t->got < BW_HTTP_ERROR_MAX ? BW_HTTP_ERROR_MAX - t->got : 0;

	t->unsized.max = BW_HTTP_ERROR_MAX;
	bw_buf_add(&t->unsized, bytes, len < room ? len : room);
}

static size_t on_write(char *bytes, size_t size, size_t n, void *ctx)
{
	struct bw_transfer *t = ctx;
	size_t len = size * n;

	t->moved += len;
	if (t->r->status < 200 || t->r->status > 299)
		add_error(t, bytes, len);
	else if (len && !add_good(t, bytes, len))
		return CURL_WRITEFUNC_ERROR;
	t->got += len;
	return len;
}

/* ---- What is the same for all requests -------------------------------------------------------- */

/* True when one of the options could not be set: memory is short. */
static bool set_connection(CURL *easy, const struct bw_s3_config *config)
{
	CURLcode bad = CURLE_OK;

	/* Each connection asks for addresses anew and shuffles them, so they spread over all. */
	bad |= curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, 0L);
	curl_easy_setopt(easy, CURLOPT_DNS_SHUFFLE_ADDRESSES, 1L);
	/* One that is cut while its name is looked up must not hold up the loop until there is an answer. */
	bad |= curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	bad |= curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);	/* as it was signed */
	bad |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	bad |= curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	bad |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	bad |= curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
	bad |= curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	bad |= curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 15L);
	bad |= curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
	bad |= curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
	bad |= curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, SEND_BUFFER);
	bad |= curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, IDLE_S);
	bad |= curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	bad |= curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (config->ca[0])
		bad |= curl_easy_setopt(easy, CURLOPT_CAINFO, config->ca);
	if (config->no_verify_tls) {
		bad |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
		bad |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	return bad != CURLE_OK;
}

/* Name, certificate and signature stay those of the host; only where it connects to is given. */
static bool set_address(struct bw_transfer *t, const char *address)
{
	char entry[BW_S3_ADDRESS_MAX + 8];
	CURLcode bad;

	if (!*address)
		return false;
	snprintf(entry, sizeof(entry), strchr(address, ':') ? "::[%s]:" : "::%s:", address);
	t->connect_to = curl_slist_append(NULL, entry);
	bad = t->connect_to ? curl_easy_setopt(t->easy, CURLOPT_CONNECT_TO, t->connect_to) :
			      CURLE_OUT_OF_MEMORY;
	bad |= curl_easy_setopt(t->easy, CURLOPT_PROXY, "");
	return bad != CURLE_OK;
}

static bool set_callbacks(struct bw_transfer *t)
{
	CURL *easy = t->easy;
	CURLcode bad = CURLE_OK;

	bad |= curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
	bad |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->words);
	bad |= curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
	bad |= curl_easy_setopt(easy, CURLOPT_PREREQDATA, t);
	bad |= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	bad |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
	bad |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
	bad |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
	bad |= curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
	bad |= curl_easy_setopt(easy, CURLOPT_READDATA, t);
	bad |= curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
	bad |= curl_easy_setopt(easy, CURLOPT_SEEKDATA, t);
	return bad != CURLE_OK;
}

bool bw_transfer_init(struct bw_transfer *t, struct bw_sockets *sockets, const struct bw_s3_config *config)
{
	t->sockets = sockets;
	t->easy = curl_easy_init();
	t->lines = calloc(BW_HTTP_LINES_MAX, sizeof(t->lines[0]));
	return t->easy && t->lines && bw_sockets_watch(sockets, t->easy) && !set_connection(t->easy, config) &&
	       !set_address(t, config->address) && !set_callbacks(t);
}

void bw_transfer_done(struct bw_transfer *t)
{
	curl_easy_cleanup(t->easy);
	curl_slist_free_all(t->connect_to);
	free(t->lines);
}

/* ---- Begin ------------------------------------------------------------------------------------ */

static bool set_method(CURL *easy, const struct bw_http_request *r)
{
	CURLcode bad = curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
	bool is_other = false;

	if (strcmp(r->method, "PUT") == 0) {
		bad |= curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
		bad |= curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->body_len);
	} else if (strcmp(r->method, "POST") == 0) {
		bad |= curl_easy_setopt(easy, CURLOPT_POST, 1L);
		bad |= curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
	} else if (strcmp(r->method, "HEAD") == 0) {
		bad |= curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	} else {
		is_other = strcmp(r->method, "GET") != 0;
	}
	bad |= curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, is_other ? r->method : NULL);
	return bad != CURLE_OK;
}

static void add_line(struct bw_transfer *t, size_t *n, char *line)
{
	if (*n)
		t->lines[*n - 1].next = &t->lines[*n];
	t->lines[(*n)++] = (struct curl_slist){.data = line};
}

static bool set_headers(struct bw_transfer *t)
{
	/* Nothing that curl would add of its own: a 100-continue costs a round trip. */
	static char expect[] = "Expect:", accept[] = "Accept:", type[] = "Content-Type:";
	const struct bw_http_request *r = t->r;
	bool has_type = false;
	size_t n = 0;

	if (r->headers_n > BW_HTTP_LINES_MAX - 3)
		return true;
	for (size_t i = 0; i < r->headers_n; i++) {
		has_type |= strncasecmp(r->headers[i], type, sizeof(type) - 1) == 0;
		add_line(t, &n, r->headers[i]);
	}
	add_line(t, &n, expect);
	add_line(t, &n, accept);
	if (!has_type)
		add_line(t, &n, type);
	return curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->lines) != CURLE_OK;
}

bool bw_transfer_begin(struct bw_transfer *t, struct bw_http_request *r, int64_t now, int64_t connect_ns)
{
	t->r = r;
	t->connect_ns = connect_ns;
	t->connect_took_ns = -1;
	t->connect_named_ns = 0;
	t->sent = t->got = t->in_last = t->to_come = 0;
	t->last = NULL;
	t->fd = -1;
	t->connected = t->answering = t->owes = t->failed = false;
	t->moved = t->mark = 0;
	t->since_ns = now;
	t->words[0] = 0;
	bw_buf_init(&t->unsized, r->max);
	forget_answer(t);
	return curl_easy_setopt(t->easy, CURLOPT_URL, r->url) == CURLE_OK && !set_method(t->easy, r) &&
	       curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(connect_ns / BW_MS)) == CURLE_OK &&
	       !set_headers(t);
}

/* ---- Progress and end ------------------------------------------------------------------------- */

/* A store that puts an object together may answer first, and then send blanks until it has: each is a sign of life. */
bool bw_transfer_is_slow(struct bw_transfer *t, int64_t now)
{
	bool has_all = t->connected && t->sent == t->r->body_len;
	bool works = has_all && t->answering && !is_read(t->r);
	bool thinks = has_all && !t->answering;
	int64_t limit = thinks || works ? t->r->think_ns : BW_HTTP_SLOW_NS;

	if (!t->connected)
		limit += t->connect_ns;		/* which curl watches over, and has better words for */

	uint64_t at = moved(t);

	if (at >= t->mark + (works ? 1 : BW_HTTP_SLOW_BYTES)) {
		t->mark = at;
		t->since_ns = now;
	}
	return now - t->since_ns >= limit;
}

void bw_transfer_not_connected(struct bw_transfer *t)
{
	if (!t->connected && !info_ns(t, CURLINFO_CONNECT_TIME_T))
		t->connect_named_ns = info_ns(t, CURLINFO_NAMELOOKUP_TIME_T);
}

int64_t bw_transfer_next_connect_ns(const struct bw_transfer *t, int code, int64_t now_ns)
{
	int64_t ns = now_ns, needs_ns = 0;

	if (t->connect_took_ns >= 0)
		ns = BW_HTTP_CONNECT_NS + 2 * t->connect_took_ns;
	else if (!t->connected && code == CURLE_OPERATION_TIMEDOUT)
		needs_ns = t->connect_named_ns ? BW_HTTP_CONNECT_NS + 2 * t->connect_named_ns : 2 * t->connect_ns;
	if (ns < needs_ns)
		ns = needs_ns;
	return ns < BW_HTTP_CONNECT_MAX_NS ? ns : BW_HTTP_CONNECT_MAX_NS;
}

bool bw_transfer_was_sent(const struct bw_transfer *t)
{
	long bytes = 0;

	return t->connected &&
	       (curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &bytes) != CURLE_OK || bytes > 0);
}

void bw_transfer_acknowledge(struct bw_transfer *t)
{
	if (t->r && t->owes)
		bw_socket_acknowledge(t->fd);
	t->owes = false;
}

/* The body of a whole answer, to where its reader looks for it. */
static void settle_body(struct bw_transfer *t)
{
	struct bw_http_request *r = t->r;
	bool is_good = r->status >= 200 && r->status <= 299;
	struct bw_blob **to = is_good ? &r->blob : &r->error;
	size_t len;

	if (*to) {
		/* Less, when the length was told only by who asked. */
		t->last->len = t->in_last;
		return;
	}
	void *bytes = bw_buf_take(&t->unsized, &len);

	*to = bytes ? bw_blob_take(bytes, len) : bw_blob_new(0);
	if (!*to && is_good)
		r->end = BW_HTTP_NO_MEMORY;
}

static void go_idle(struct bw_transfer *t)
{
	bw_buf_done(&t->unsized);
	t->r = NULL;
}

void bw_transfer_cut(struct bw_transfer *t, enum bw_http_end end, const char *words)
{
	struct bw_http_request *r = t->r;

	r->end = end;
	snprintf(r->detail, sizeof(r->detail), "%.*s", (int)sizeof(r->detail) - 1, words);
	bw_blob_unref(r->blob);
	r->blob = NULL;
	go_idle(t);
}

/* What a callback failed it for. */
static const char *words_of(enum bw_http_end end)
{
	switch (end) {
	case BW_HTTP_TOO_LONG:
		return "the answer is too long";
	case BW_HTTP_LOST:
	case BW_HTTP_NOT_SENT:
		return "the connection was closed before an answer";
	default:
		return "no memory for the answer";
	}
}

static bool is_about_trust(const struct bw_transfer *t, int code)
{
	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_CERTPROBLEM:
		return true;
	case CURLE_SSL_CONNECT_ERROR:	/* OpenSSL's words for what speaks no TLS at all */
		return strstr(t->words, "wrong version number") != NULL;
	default:
		return false;
	}
}

static enum bw_http_end end_of(const struct bw_transfer *t, int code)
{
	if (bw_transfer_was_sent(t))
		return BW_HTTP_LOST;
	return is_about_trust(t, code) ? BW_HTTP_NOT_BELIEVED : BW_HTTP_NOT_SENT;
}

void bw_transfer_end(struct bw_transfer *t, int code)
{
	struct bw_http_request *r = t->r;

	if (code == CURLE_OK && r->status >= 200) {
		r->end = BW_HTTP_ANSWERED;
		r->detail[0] = 0;
		settle_body(t);
		go_idle(t);
	} else if (t->failed) {
		bw_transfer_cut(t, r->end, words_of(r->end));
	} else {
		bw_transfer_cut(t, end_of(t, code),
				t->words[0] ? t->words : curl_easy_strerror((CURLcode)code));
	}
}
