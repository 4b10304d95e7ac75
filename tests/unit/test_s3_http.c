/* SPDX-License-Identifier: Apache-2.0 */
/* What the store makes of answers that are none: each connection gets the same bytes and is closed. */
#include "store/s3_http_priv.h"

#include "store/base/sync.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct server {
	int fd;
	unsigned port;
	const char *bytes;	/* NULL: says nothing and keeps the connection */
	int kept[64];
	unsigned kept_n;
	atomic_uint asked;
	int64_t thinks_ns;
	pthread_t thread;
};

static void *serve(void *arg)
{
	struct server *s = arg;
	char request[65536];
	int c;

	while ((c = accept(s->fd, NULL, NULL)) >= 0) {
		if (!s->bytes && s->kept_n < 64) {
			s->kept[s->kept_n++] = c;
			continue;
		}
		ssize_t n = recv(c, request, sizeof(request), 0);
		s->asked += n > 0;
		if (n > 0)
			bw_sleep(s->thinks_ns);
		if (n > 0)
			n = send(c, s->bytes, strlen(s->bytes), MSG_NOSIGNAL);
		/* The rest is read: a reset would take our answer with it. */
		shutdown(c, SHUT_WR);
		while (n > 0)
			n = recv(c, request, sizeof(request), 0);
		close(c);
	}
	return NULL;
}

static int listening(unsigned *ret_port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&at, len), 0);
	cr_assert_eq(listen(fd, 64), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	*ret_port = ntohs(at.sin_port);
	return fd;
}

static void server_open(struct server *s, const char *bytes)
{
	memset(s, 0, sizeof(*s));
	s->bytes = bytes;
	s->fd = listening(&s->port);
	cr_assert_eq(bw_thread_start(&s->thread, "server", serve, s), 0);
}

static void server_close(struct server *s)
{
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	for (unsigned i = 0; i < s->kept_n; i++)
		close(s->kept[i]);
	close(s->fd);
}

static struct bw_store *store_with(unsigned port, unsigned loops)
{
	struct bw_url url = {.scheme = BW_URL_S3, .path = "bucket/p"};
	struct bw_s3_config config = {.loops = loops};
	struct bw_store *s;
	char why[256];

	setenv("AWS_ACCESS_KEY_ID", "K", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
	snprintf(config.endpoint, sizeof(config.endpoint), "http://127.0.0.1:%u", port);
	cr_assert_eq(bw_store_s3_new(&url, &config, &s, why, sizeof(why)), 0, "%s", why);
	return s;
}

static struct bw_store *store_at(unsigned port)
{
	return store_with(port, 0);
}

static enum bw_outcome get(struct bw_store *s, uint64_t off, uint64_t len)
{
	struct bw_op op;

	bw_op_get(&op, "key", off, len);
	enum bw_outcome o = bw_store_sync(s, &op);

	cr_assert_eq(o == BW_OK, op.blob != NULL);
	bw_op_done(&op);
	return o;
}

static enum bw_outcome put(struct bw_store *s)
{
	struct bw_bytes_body body;
	struct bw_op op;

	bw_bytes_body_init(&body, "bytes", 5);
	bw_op_put(&op, "key", &body.body, true);
	return bw_store_sync(s, &op);
}

Test(s3_http, answers_that_are_none, .timeout = 60)
{
	static const struct {
		const char *bytes;
		enum bw_outcome get, put;
	} cases[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nshor", BW_UNREACHABLE, BW_UNKNOWN},
		{"HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nshort", BW_UNREACHABLE,
		 BW_UNKNOWN},
		{"", BW_UNREACHABLE, BW_UNKNOWN},
		{"HTTP/1.1 20", BW_UNREACHABLE, BW_UNKNOWN},
		{"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", BW_UNREACHABLE, BW_UNKNOWN},
		{"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nlonger", BW_CORRUPT, BW_OK},
		{"HTTP/1.1 200 OK\r\n\r\nlonger", BW_CORRUPT, BW_OK},
		{"HTTP/1.1 200 OK\r\n\r\nless", BW_CORRUPT, BW_OK},
		{"HTTP/1.1 206 OK\r\nContent-Length: 5\r\nContent-Range: bytes 3-7/9\r\n\r\nother",
		 BW_CORRUPT, BW_OK},
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytes", BW_OK,
		 BW_OK},
		{"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
		 BW_DENIED, BW_DENIED},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct server server;
		server_open(&server, cases[i].bytes);
		struct bw_store *s = store_at(server.port);
		enum bw_outcome got = get(s, 0, 5);

		/* The server may not have closed the connection yet, and a put that finds it closed is lost. */
		bw_store_free(s);
		s = store_at(server.port);
		enum bw_outcome done = put(s);
		cr_assert_eq(got, cases[i].get, "case %zu: get %s", i, bw_outcome_name(got));
		cr_assert_eq(done, cases[i].put, "case %zu: put %s", i, bw_outcome_name(done));
		bw_store_free(s);
		server_close(&server);
	}
}

/* However it comes off the wire, an answer is cut where it was asked to be. */
Test(s3_http, an_answer_is_cut_into_a_chain, .timeout = 60)
{
	static const char *const answers[] = {
		"HTTP/1.1 206 OK\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/5\r\n\r\nbytes",
		"HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n3\r\nyte\r\n1\r\ns\r\n0\r\n\r\n",
	};
	static const char *const links[] = {"by", "te", "s"};

	for (int i = 0; i < 2; i++) {
		struct server server;
		struct bw_op op;
		int n = 0;
		server_open(&server, answers[i]);
		struct bw_store *s = store_at(server.port);
		bw_op_get(&op, "key", 0, 5);
		op.cut = 2;
		cr_assert_eq(bw_store_sync(s, &op), BW_OK);
		for (const struct bw_blob *b = op.blob; b; b = b->next, n++) {
			cr_assert_eq(b->len, strlen(links[n]));
			cr_assert(memcmp(b->bytes, links[n], b->len) == 0);
		}
		cr_assert_eq(n, 3);
		bw_op_done(&op);
		bw_op_get(&op, "key", 0, 6);	/* one more than there is */
		op.cut = 2;
		cr_assert_eq(bw_store_sync(s, &op), BW_CORRUPT);
		bw_op_done(&op);
		bw_store_free(s);
		server_close(&server);
	}
}

/* A whole object, or another part of it, holds other bytes, if as many. */
Test(s3_http, a_store_that_ignores_ranges, .timeout = 60)
{
	static const struct {
		const char *answer;
		enum bw_outcome wanted;
	} cases[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytes", BW_CORRUPT},
		{"HTTP/1.1 206 OK\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/9\r\n\r\nbytes", BW_CORRUPT},
		{"HTTP/1.1 206 OK\r\nContent-Length: 5\r\nContent-Range: bytes 4-8/9\r\n\r\nbytes", BW_CORRUPT},
		{"HTTP/1.1 206 OK\r\nContent-Length: 5\r\nContent-Range: bytes 3-7/9\r\n\r\nbytes", BW_OK},
		{"HTTP/1.1 206 OK\r\nContent-Length: 5\r\n\r\nbytes", BW_OK},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct server server;

		server_open(&server, cases[i].answer);
		struct bw_store *s = store_at(server.port);

		cr_assert_eq(get(s, 3, 5), cases[i].wanted, "case %zu", i);
		bw_store_free(s);
		server_close(&server);
	}
}

/* S3: by its size, too, a batch is told from another under its name; 0: the store did not say. */
Test(s3_http, the_size_of_the_object_is_told_with_a_part_of_it, .timeout = 60)
{
	static const struct {
		const char *answer;
		uint64_t off, size;
	} cases[] = {
		{"HTTP/1.1 206 OK\r\nContent-Length: 5\r\nContent-Range: bytes 3-7/9\r\n\r\nbytes", 3, 9},
		{"HTTP/1.1 206 OK\r\nContent-Length: 5\r\nContent-Range: bytes 3-7/*\r\n\r\nbytes", 3, 0},
		{"HTTP/1.1 206 OK\r\nContent-Length: 5\r\n\r\nbytes", 3, 0},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytes", 0, 5},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct server server;
		struct bw_op op;

		server_open(&server, cases[i].answer);
		struct bw_store *s = store_at(server.port);

		bw_op_get(&op, "key", cases[i].off, 5);
		cr_assert_eq(bw_store_sync(s, &op), BW_OK, "case %zu", i);
		cr_assert_eq(op.object_size, cases[i].size, "case %zu", i);
		bw_op_done(&op);
		bw_store_free(s);
		server_close(&server);
	}
}

/* Where all requests are to go is remembered; where one is to go for this time is not. */
Test(s3_http, for_good_and_for_this_time, .timeout = 60)
{
	static const char good[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytes";
	static const int statuses[] = {301, 307, 308};

	for (int i = 0; i < 3; i++) {
		struct server first, second;
		char moved[256];
		server_open(&second, good);
		snprintf(moved, sizeof(moved), "HTTP/1.1 %d Moved\r\nContent-Length: 0\r\nLocation: "
			 "http://127.0.0.1:%u/bucket/p/key\r\n\r\n", statuses[i], second.port);
		server_open(&first, moved);
		struct bw_store *s = store_at(first.port);
		for (int n = 0; n < 3; n++)
			cr_assert_eq(get(s, 0, 5), BW_OK);
		cr_assert_eq(second.asked, 3);
		cr_assert_eq(first.asked, statuses[i] == 307 ? 3 : 1, "%d: %u", statuses[i], first.asked);
		bw_store_free(s);
		server_close(&first);
		server_close(&second);
	}
}

Test(s3_http, what_was_not_sent_was_not_applied, .timeout = 60)
{
	struct server server;

	server_open(&server, "");
	server_close(&server);	/* nobody listens there now */
	struct bw_store *s = store_at(server.port);

	cr_assert_eq(put(s), BW_UNREACHABLE);
	cr_assert_eq(get(s, 0, 5), BW_UNREACHABLE);
	bw_store_free(s);
}

/* Takes two requests over one connection, answers the first and closes on the second; counts what is sent anew. */
struct stale {
	int fd;
	unsigned port;
	atomic_uint connections, requests;
	pthread_t thread;
};

static void *serve_stale(void *arg)
{
	static const char good[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	static const char taken[] = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n";
	struct stale *s = arg;
	char request[65536];
	int c;

	while ((c = accept(s->fd, NULL, NULL)) >= 0) {
		bool is_first = s->connections++ == 0;

		while (recv(c, request, sizeof(request), 0) > 0 && ++s->requests) {
			const char *answer = is_first ? good : taken;
			if (is_first && s->requests == 2)
				break;
			if (send(c, answer, strlen(answer), MSG_NOSIGNAL) < 0)
				break;
		}
		shutdown(c, SHUT_WR);
		close(c);
	}
	return NULL;
}

/*
 * curl sends again what a kept connection took and did not answer.  A put that was applied would then hear that
 * its key is taken.
 */
Test(s3_http, S3_a_put_leaves_once_even_over_a_connection_that_dies, .timeout = 60)
{
	struct stale server = {0};
	struct bw_bytes_body body;
	struct bw_op op;

	server.fd = listening(&server.port);
	cr_assert_eq(bw_thread_start(&server.thread, "stale", serve_stale, &server), 0);
	struct bw_store *s = store_at(server.port);

	bw_bytes_body_init(&body, NULL, 0);
	bw_op_put(&op, "key", &body.body, true);
	cr_assert_eq(bw_store_sync(s, &op), BW_OK);
	bw_op_put(&op, "key2", &body.body, true);
	cr_assert_eq(bw_store_sync(s, &op), BW_UNKNOWN, "%s", bw_outcome_name(op.outcome));
	cr_assert_eq(server.requests, 2);
	bw_store_free(s);
	shutdown(server.fd, SHUT_RDWR);
	pthread_join(server.thread, NULL);
	close(server.fd);
}

/* Stands before the C library's: which connections acknowledge at once what has come, and how often. */
static unsigned acknowledging_port;
static atomic_uint acknowledged;
static atomic_uint syns_limited;

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	struct sockaddr_in at;
	socklen_t at_len = sizeof(at);

	if (level == IPPROTO_TCP && name == TCP_QUICKACK &&
	    getpeername(fd, (struct sockaddr *)&at, &at_len) == 0 && ntohs(at.sin_port) == acknowledging_port)
		acknowledged++;
	syns_limited += level == IPPROTO_TCP && name == TCP_SYNCNT;
	return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

#define KEPT_FOR 3u

/* The header of the first answer of each connection comes alone, its body once that is acknowledged. */
static void *serve_kept(void *arg)
{
	struct stale *s = arg;
	char request[65536], answer[256];
	unsigned acknowledgements = 0;
	int c;

	while ((c = accept(s->fd, NULL, NULL)) >= 0) {
		s->connections++;
		for (unsigned i = 0; i < KEPT_FOR && recv(c, request, sizeof(request), 0) > 0; i++) {
			int n = snprintf(answer, sizeof(answer),
					 "HTTP/1.1 206 OK\r\nContent-Length: 5\r\n%s"
					 "Content-Range: bytes 0-4/5\r\n\r\nbytes",
					 i + 1 < KEPT_FOR ? "" : "Connection: close\r\n");
			int first = i ? n : n - 5;
			s->requests++;
			if (send(c, answer, (size_t)first, MSG_NOSIGNAL) < 0)
				break;
			acknowledgements += !i;
			while (acknowledged < acknowledgements)
				bw_sleep(BW_MS);
			if (first < n && send(c, answer + first, (size_t)(n - first), MSG_NOSIGNAL) < 0)
				break;
		}
		shutdown(c, SHUT_WR);
		close(c);
	}
	return NULL;
}

/*
 * A body that waits for the acknowledgement of its header does not wait for our next request, over whichever
 * connection.  An answer that comes in one piece waits for nothing.
 */
Test(s3_http, a_header_that_comes_alone_is_acknowledged_at_once, .timeout = 60)
{
	struct stale server = {0};

	server.fd = listening(&server.port);
	cr_assert_eq(bw_thread_start(&server.thread, "kept", serve_kept, &server), 0);
	acknowledging_port = server.port;
	struct bw_store *s = store_at(server.port);

	for (unsigned i = 0; i < 3 * KEPT_FOR; i++)
		cr_assert_eq(get(s, 0, 5), BW_OK);
	bw_store_free(s);
	cr_assert_eq(acknowledged, server.connections);
	cr_assert_geq(server.requests, 3 * KEPT_FOR);
	cr_assert_geq(server.connections, 3);
	shutdown(server.fd, SHUT_RDWR);
	pthread_join(server.thread, NULL);
	close(server.fd);
}

/* Stands before the C library's. */
static atomic_uint waits;

int epoll_wait(int epoll, struct epoll_event *events, int n, int ms)
{
	waits++;
	return (int)syscall(SYS_epoll_pwait, epoll, events, n, ms, NULL, (size_t)8);
}

/* A store closes a connection that we keep: that is heard once, not for as long as nobody needs it. */
Test(s3_http, a_kept_connection_that_ends_is_no_work, .timeout = 60)
{
	struct server server;

	server_open(&server, "HTTP/1.1 206 OK\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/5\r\n\r\nbytes");
	struct bw_store *s = store_at(server.port);

	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(get(s, 0, 5), BW_OK);
		unsigned before = waits;
		bw_sleep(50 * BW_MS);
		cr_assert_leq(waits - before, 20);
	}
	bw_store_free(s);
	server_close(&server);
}

/* A store that is slow with everybody is given more time by each repeat: else nothing would ever be read of it. */
Test(s3_http, V3_a_repeat_is_more_patient, .timeout = 60)
{
	struct bw_retry_config config = {.base_ns = BW_MS, .max_ns = BW_MS, .tries = 3};
	struct server server;

	server_open(&server, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytes");
	server.thinks_ns = BW_HTTP_SLOW_NS + BW_SEC;
	struct bw_store *s = store_at(server.port);

	cr_assert_eq(bw_filter_retry_new(s, &config, &s), 0);
	cr_assert_eq(get(s, 0, 5), BW_OK);
	cr_assert_geq(server.asked, 1);
	bw_store_free(s);
	server_close(&server);
}

/* Its status line comes at once, then a blank a second until it is done, for longer than a stalled answer is given. */
static void *serve_blanks(void *arg)
{
	static const char header[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
	static const char blank[] = "1\r\n \r\n", rest[] = "7\r\n<Done/>\r\n0\r\n\r\n";
	struct stale *s = arg;
	char request[65536];
	int c;

	while ((c = accept(s->fd, NULL, NULL)) >= 0) {
		bool goes = recv(c, request, sizeof(request), 0) > 0 &&
			    send(c, header, strlen(header), MSG_NOSIGNAL) > 0;
		s->requests += goes;
		for (int64_t ns = 0; goes && ns < BW_HTTP_SLOW_NS + 2 * BW_SEC; ns += BW_SEC) {
			bw_sleep(BW_SEC);
			goes = send(c, blank, strlen(blank), MSG_NOSIGNAL) > 0;
		}
		if (goes)
			(void)send(c, rest, strlen(rest), MSG_NOSIGNAL);
		shutdown(c, SHUT_WR);
		while (goes && recv(c, request, sizeof(request), 0) > 0)
			;
		close(c);
	}
	return NULL;
}

/* Stores that put an object together say so at once, and keep the connection alive with blanks until it is. */
Test(s3_http, P3m_a_store_that_works_and_sends_blanks_is_heard_out, .timeout = 60)
{
	struct stale server = {0};

	server.fd = listening(&server.port);
	cr_assert_eq(bw_thread_start(&server.thread, "blanks", serve_blanks, &server), 0);
	struct bw_store *s = store_at(server.port);
	enum bw_outcome outcome = put(s);

	cr_assert_eq(outcome, BW_OK, "%s", bw_outcome_name(outcome));
	cr_assert_eq(server.requests, 1);
	bw_store_free(s);
	shutdown(server.fd, SHUT_RDWR);
	pthread_join(server.thread, NULL);
	close(server.fd);
}

/* One that says nothing more is not; nor does a trickle keep a read alive. */
Test(s3_http, V3_how_long_an_answer_may_stall)
{
	static const struct {
		const char *method;
		size_t sent;			/* of 10 */
		bool answering;
		uint64_t more;			/* bytes that have just come */
		int64_t limit_ns;
		bool renews;			/* it counts from them on */
	} cases[] = {
		{"PUT", 10, false, 0, BW_HTTP_THINK_NS, false},
		{"PUT", 10, true, 0, BW_HTTP_THINK_NS, false},
		{"PUT", 10, true, 1, BW_HTTP_THINK_NS, true},
		{"POST", 10, true, 1, BW_HTTP_THINK_NS, true},
		{"DELETE", 10, true, 1, BW_HTTP_THINK_NS, true},
		{"PUT", 9, false, 1, BW_HTTP_SLOW_NS, false},
		{"PUT", 9, true, 1, BW_HTTP_SLOW_NS, false},
		{"GET", 10, false, 0, BW_HTTP_THINK_NS, false},
		{"GET", 10, true, 1, BW_HTTP_SLOW_NS, false},
		{"GET", 10, true, BW_HTTP_SLOW_BYTES, BW_HTTP_SLOW_NS, true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bw_http_request r = {.method = cases[i].method, .body_len = 10,
					    .think_ns = BW_HTTP_THINK_NS};
		struct bw_transfer t = {.r = &r, .connected = true, .sent = cases[i].sent,
					.answering = cases[i].answering, .moved = 100 + cases[i].more,
					.mark = 100};
		cr_assert_not(bw_transfer_is_slow(&t, cases[i].limit_ns - 1), "case %zu", i);
		cr_assert_eq(bw_transfer_is_slow(&t, cases[i].limit_ns), !cases[i].renews, "case %zu", i);
		cr_assert(bw_transfer_is_slow(&t, 2 * cases[i].limit_ns), "case %zu", i);
	}
	/* Before it begins to leave, its connection has its own time, which curl watches over. */
	struct bw_http_request r = {.method = "GET", .think_ns = BW_HTTP_SLOW_NS};
	struct bw_transfer t = {.r = &r, .connect_ns = BW_HTTP_CONNECT_MAX_NS};

	cr_assert_not(bw_transfer_is_slow(&t, BW_HTTP_CONNECT_MAX_NS));
	cr_assert(bw_transfer_is_slow(&t, BW_HTTP_CONNECT_MAX_NS + BW_HTTP_SLOW_NS));
}

/*
 * Stands before the C library's: a name server that does not answer until it is told to, or takes so long to say that
 * all names are this machine's.
 */
static atomic_bool names_hang;
static atomic_uint names_asked, names_known;
static int64_t names_take_ns;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
		(int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(RTLD_NEXT,
													"getaddrinfo");

	(void)node;
	if (names_take_ns) {
		bw_sleep(names_take_ns);
		names_known++;
		return real("127.0.0.1", service, hints, ret);
	}
	names_asked++;
	while (names_hang)
		bw_sleep(BW_MS);
	names_asked--;
	return EAI_AGAIN;
}

/* The thread that moves everybody's bytes does not wait for a name that nobody waits for any more. */
Test(s3_http, S5_a_name_server_that_hangs_holds_up_nothing, .timeout = 60)
{
	struct bw_url url = {.scheme = BW_URL_S3, .path = "bucket/p"};
	struct bw_s3_config config = {.endpoint = "http://store.test:1"};
	struct bw_store *s;
	struct bw_op op;
	char why[256];

	setenv("AWS_ACCESS_KEY_ID", "K", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
	names_hang = true;
	cr_assert_eq(bw_store_s3_new(&url, &config, &s, why, sizeof(why)), 0, "%s", why);
	do {	/* a busy machine may have come to the deadline before it asked */
		bw_op_get(&op, "key", 0, 5);
		op.deadline_ns = bw_now() + 300 * BW_MS;
		cr_assert_eq(bw_store_sync(s, &op), BW_CANCELLED);
	} while (!names_asked);
	bw_store_free(s);
	names_hang = false;
	while (names_asked)
		bw_sleep(BW_MS);
}

static struct bw_store *store_by_name(unsigned port)
{
	struct bw_url url = {.scheme = BW_URL_S3, .path = "bucket/p"};
	struct bw_s3_config config = {0};
	struct bw_store *s;
	char why[256];

	setenv("AWS_ACCESS_KEY_ID", "K", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
	snprintf(config.endpoint, sizeof(config.endpoint), "http://store.test:%u", port);
	cr_assert_eq(bw_store_s3_new(&url, &config, &s, why, sizeof(why)), 0, "%s", why);
	return s;
}

/*
 * A resolver whose first server is dead takes its time for each name, and begins anew with each connection: one that
 * took too long is followed by one that has more time, whoever asks, and so are those after it.
 */
Test(s3_http, V3_a_connection_that_takes_long_comes_about, .timeout = 60)
{
	struct server server;

	server_open(&server, "HTTP/1.1 206 OK\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/5\r\n\r\nbytes");
	names_take_ns = BW_HTTP_CONNECT_NS + BW_SEC;
	struct bw_store *s = store_by_name(server.port);

	cr_assert_eq(get(s, 0, 5), BW_UNREACHABLE);
	cr_assert_eq(get(s, 0, 5), BW_OK);
	cr_assert_eq(get(s, 0, 5), BW_OK);	/* over another connection: the server has closed the first one */
	cr_assert_eq(server.asked, 2);
	bw_store_free(s);
	cr_assert_eq(syns_limited, 2);
	while (names_known < 3)		/* the first one was not waited for */
		bw_sleep(BW_MS);
	server_close(&server);
}

Test(s3_http, V3_how_long_a_connection_may_take)
{
	static const struct {
		int64_t may_ns, took_ns, named_ns;	/* took_ns: -1: it is not there */
		bool connected;
		CURLcode code;
		int64_t now_ns, next_ns;
	} cases[] = {
		{3 * BW_SEC, -1, 0, false, CURLE_OPERATION_TIMEDOUT, 3 * BW_SEC, 6 * BW_SEC},
		{12 * BW_SEC, -1, 0, false, CURLE_OPERATION_TIMEDOUT, 12 * BW_SEC, 24 * BW_SEC},
		{24 * BW_SEC, -1, 0, false, CURLE_OPERATION_TIMEDOUT, 24 * BW_SEC, BW_HTTP_CONNECT_MAX_NS},
		/* What is dead to TCP has no need of more, but what its name left of the time. */
		{3 * BW_SEC, -1, BW_MS, false, CURLE_OPERATION_TIMEDOUT, 3 * BW_SEC, 3 * BW_SEC + 2 * BW_MS},
		{30 * BW_SEC, -1, BW_MS, false, CURLE_OPERATION_TIMEDOUT, 6 * BW_SEC, 6 * BW_SEC},
		{3 * BW_SEC, -1, 2 * BW_SEC, false, CURLE_OPERATION_TIMEDOUT, 3 * BW_SEC, 7 * BW_SEC},
		/* Many at once that took too long count as one. */
		{3 * BW_SEC, -1, 0, false, CURLE_OPERATION_TIMEDOUT, 6 * BW_SEC, 6 * BW_SEC},
		{3 * BW_SEC, -1, 0, false, CURLE_OPERATION_TIMEDOUT, 24 * BW_SEC, 24 * BW_SEC},
		/* What was refused at once has no need of time, what was there says nothing of how long one takes. */
		{3 * BW_SEC, -1, 0, false, CURLE_COULDNT_CONNECT, 6 * BW_SEC, 6 * BW_SEC},
		{3 * BW_SEC, -1, 0, true, CURLE_OK, 12 * BW_SEC, 12 * BW_SEC},
		{3 * BW_SEC, -1, 0, true, CURLE_OPERATION_TIMEDOUT, 6 * BW_SEC, 6 * BW_SEC},
		{6 * BW_SEC, 5 * BW_SEC, 0, true, CURLE_OK, 6 * BW_SEC, 13 * BW_SEC},
		{30 * BW_SEC, 20 * BW_SEC, 0, true, CURLE_OK, 30 * BW_SEC, BW_HTTP_CONNECT_MAX_NS},
		{10 * BW_SEC, BW_MS, 0, true, CURLE_OK, 10 * BW_SEC, BW_HTTP_CONNECT_NS + 2 * BW_MS},
		{10 * BW_SEC, BW_MS, 0, true, CURLE_RECV_ERROR, 10 * BW_SEC, BW_HTTP_CONNECT_NS + 2 * BW_MS},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct bw_transfer t = {.connected = cases[i].connected, .connect_ns = cases[i].may_ns,
					      .connect_took_ns = cases[i].took_ns,
					      .connect_named_ns = cases[i].named_ns};
		int64_t next_ns = bw_transfer_next_connect_ns(&t, cases[i].code, cases[i].now_ns);
		cr_assert_eq(next_ns, cases[i].next_ns, "case %zu: %lld", i, (long long)next_ns);
	}
}

struct wait {
	struct bw_mutex lock;
	struct bw_cond cond;
	unsigned left;
};

static void one_less(struct bw_op *op)
{
	struct wait *w = op->ctx;

	BW_LOCK_SCOPE(&w->lock);
	w->left--;
	bw_cond_signal(&w->cond);
}

/* A store that says nothing: deadlines and cancel() end what waits for it, each once. */
Test(s3_http, deadlines_and_cancelling, .timeout = 60)
{
	enum { N = 8 };
	struct bw_bytes_body body;
	struct server server;
	struct bw_op ops[N];
	struct wait w = {.left = N};

	server_open(&server, NULL);
	struct bw_store *s = store_at(server.port);

	bw_mutex_init(&w.lock, BW_RANK_LEAF);
	bw_cond_init(&w.cond);
	bw_bytes_body_init(&body, "bytes", 5);
	for (int i = 0; i < N; i++) {
		if (i % 2)
			bw_op_put(&ops[i], "key", &body.body, true);
		else
			bw_op_get(&ops[i], "key", 0, 5);
		if (i < 4)
			ops[i].deadline_ns = bw_now() + 300 * BW_MS;
		ops[i].done = one_less;
		ops[i].ctx = &w;
		bw_store_submit(s, &ops[i]);
	}
	bw_lock(&w.lock);
	while (w.left > N / 2)
		bw_cond_wait(&w.cond, &w.lock);
	bw_unlock(&w.lock);
	for (int i = 4; i < N; i++)
		bw_store_cancel(s, &ops[i]);
	bw_store_free(s);
	cr_assert_eq(w.left, 0);
	/* On a slow machine a request may have been ended before it left. */
	for (int i = 0; i < N; i++) {
		enum bw_outcome sent = i % 2 ? BW_UNKNOWN : i < 4 ? BW_UNREACHABLE : BW_CANCELLED;
		cr_assert(ops[i].outcome == sent || ops[i].outcome == BW_CANCELLED, "%d: %s", i,
			  bw_outcome_name(ops[i].outcome));
	}
	server_close(&server);
}

/* ---- Dates ------------------------------------------------------------------------------------ */

Test(s3_http, dates_however_they_are_written)
{
	static const struct {
		const char *line;
		int64_t s;
	} cases[] = {
		{"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
		{"last-modified:Mon, 12 Oct 2009 17:50:30 GMT ", 1255369830},
		{"Last-Modified: Thu, 29 Feb 2024 23:59:60 GMT", 1709251200},
		{"Last-Modified: Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
		{"Last-Modified: Sun Nov  6 08:49:37 1994", 784111777},
		{"Last-Modified: Sun, 06 Nov 1994 08:49:37 EST", 784129777},
		{"Last-Modified: Sun, 06 Abc 1994 08:49:37 GMT", -1},
		{"Last-Modified: Sun, 06 Nov 1994 38:49:37 GMT", -1},
		{"Last-Modified: Sun, 0x Nov 1994 08:49:37 GMT", -1},
		{"Last-Modified:", -1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bw_http_request r = {.modified_s = -1};
		bw_http_header(&r, cases[i].line, strlen(cases[i].line));
		cr_assert_eq(r.modified_s, cases[i].s, "%s: %lld", cases[i].line, (long long)r.modified_s);
	}
}

/* ---- Several threads ---------------------------------------------------------------------------- */

#define LOOPS 3u
#define MANY 40

struct many {
	struct wait wait;
	unsigned threads_n;
	pthread_t threads[MANY];	/* that gave something back */
	struct bw_op ops[MANY];
};

static void note_thread(struct bw_op *op)
{
	struct many *m = op->ctx;
	unsigned i = 0;

	BW_LOCK_SCOPE(&m->wait.lock);
	while (i < m->threads_n && !pthread_equal(m->threads[i], pthread_self()))
		i++;
	if (i == m->threads_n)
		m->threads[m->threads_n++] = pthread_self();
	m->wait.left--;
	bw_cond_signal(&m->wait.cond);
}

static void many_gets(struct many *m, struct bw_store *s)
{
	*m = (struct many){.wait.left = MANY};
	bw_mutex_init(&m->wait.lock, BW_RANK_LEAF);
	bw_cond_init(&m->wait.cond);
	for (int i = 0; i < MANY; i++) {
		bw_op_get(&m->ops[i], "key", 0, 5);
		m->ops[i].done = note_thread;
		m->ops[i].ctx = m;
		bw_store_submit(s, &m->ops[i]);
	}
}

static void many_wait(struct many *m)
{
	bw_lock(&m->wait.lock);
	while (m->wait.left)
		bw_cond_wait(&m->wait.cond, &m->wait.lock);
	bw_unlock(&m->wait.lock);
}

Test(s3_http, many_requests_are_spread_over_threads, .timeout = 60)
{
	struct server server;
	static struct many m;

	server_open(&server, "HTTP/1.1 206 OK\r\nConnection: close\r\nContent-Length: 5\r\n"
		    "Content-Range: bytes 0-4/5\r\n\r\nbytes");
	server.thinks_ns = BW_MS;	/* so that they meet */
	struct bw_store *s = store_with(server.port, LOOPS);

	many_gets(&m, s);
	many_wait(&m);
	cr_assert_geq(m.threads_n, 2);
	cr_assert_leq(m.threads_n, LOOPS);
	for (int i = 0; i < MANY; i++) {
		cr_assert_eq(m.ops[i].outcome, BW_OK, "%d: %s", i, bw_outcome_name(m.ops[i].outcome));
		bw_op_done(&m.ops[i]);
	}
	bw_store_free(s);
	server_close(&server);
}

Test(s3_http, cancelling_finds_the_thread_that_has_it, .timeout = 60)
{
	struct server server;
	static struct many m;

	server_open(&server, NULL);
	struct bw_store *s = store_with(server.port, LOOPS);

	many_gets(&m, s);
	for (int i = 0; i < MANY; i++)
		bw_store_cancel(s, &m.ops[i]);
	bw_store_free(s);
	cr_assert_eq(m.wait.left, 0);
	for (int i = 0; i < MANY; i++)
		cr_assert_eq(m.ops[i].outcome, BW_CANCELLED, "%d: %s", i, bw_outcome_name(m.ops[i].outcome));
	server_close(&server);
}
