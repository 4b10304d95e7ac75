/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies that leave slowly, or not at all: each connection is read at a rate. */
#include "store/s3.h"
#include "store/s3_http.h"

#include "store/base/sync.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BODY (640u << 10)
#define RATE (64 << 10)		/* bytes a second: five times what is too slow */
#define ROOM (8 << 10)		/* in the buffers of both sockets, as a long line has it */

struct line {
	int fd;
	unsigned port;
	size_t takes;		/* bytes of a request, then nothing more */
	atomic_uint requests;
	pthread_t thread;
};

/* Stands before the C library's: the store sets this of each connection. */
int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	int room = ROOM;

	if (level == IPPROTO_TCP && name == TCP_SYNCNT)
		(void)syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

static void *serve(void *arg)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	struct line *l = arg;
	char bytes[8192];
	int c;

	while ((c = accept(l->fd, NULL, NULL)) >= 0) {
		size_t taken = 0;
		ssize_t n = 1;

		l->requests++;
		while (taken < l->takes && (n = recv(c, bytes, sizeof(bytes), 0)) > 0) {
			taken += (size_t)n;
			bw_sleep(n * BW_SEC / RATE);
		}
		if (taken >= BODY)
			(void)send(c, answer, strlen(answer), MSG_NOSIGNAL);
		else
			bw_sleep(2 * BW_HTTP_SLOW_NS);
		shutdown(c, SHUT_WR);
		while (n > 0)
			n = recv(c, bytes, sizeof(bytes), 0);
		close(c);
	}
	return NULL;
}

static void line_open(struct line *l, size_t takes)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int room = ROOM;

	*l = (struct line){.fd = socket(AF_INET, SOCK_STREAM, 0), .takes = takes};
	cr_assert_eq(setsockopt(l->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
	cr_assert_eq(bind(l->fd, (struct sockaddr *)&at, len), 0);
	cr_assert_eq(listen(l->fd, 4), 0);
	cr_assert_eq(getsockname(l->fd, (struct sockaddr *)&at, &len), 0);
	l->port = ntohs(at.sin_port);
	cr_assert_eq(bw_thread_start(&l->thread, "line", serve, l), 0);
}

/* How long the put took. */
static int64_t put(struct line *l, enum bw_outcome wanted)
{
	struct bw_url url = {.scheme = BW_URL_S3, .path = "bucket/p"};
	struct bw_s3_config config = {.loops = 1};
	uint8_t *bytes = calloc(1, BODY);
	struct bw_bytes_body body;
	struct bw_store *s;
	struct bw_op op;
	char why[256];

	setenv("AWS_ACCESS_KEY_ID", "K", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
	snprintf(config.endpoint, sizeof(config.endpoint), "http://127.0.0.1:%u", l->port);
	cr_assert(bytes);
	cr_assert_eq(bw_store_s3_new(&url, &config, &s, why, sizeof(why)), 0, "%s", why);
	bw_bytes_body_init(&body, bytes, BODY);
	bw_op_put(&op, "key", &body.body, true);
	int64_t began_ns = bw_now();
	enum bw_outcome outcome = bw_store_sync(s, &op);
	int64_t took_ns = bw_now() - began_ns;

	cr_assert_eq(outcome, wanted, "%s: %s", bw_outcome_name(outcome), op.detail);
	cr_assert_eq(l->requests, 1);
	bw_store_free(s);
	free(bytes);
	shutdown(l->fd, SHUT_RDWR);
	pthread_join(l->thread, NULL);
	close(l->fd);
	return took_ns;
}

/* Curl takes half a MiB of a body at once; what counts is what leaves of it. */
Test(s3_http_slow, P3m_a_body_that_leaves_slowly_is_not_cut, .timeout = 60)
{
	struct line line;

	line_open(&line, BODY);
	cr_assert_gt(put(&line, BW_OK), BW_HTTP_SLOW_NS);
}

/* What lies in buffers does not leave by that. */
Test(s3_http_slow, P3m_a_body_that_does_not_leave_is_cut, .timeout = 60)
{
	struct line line;

	line_open(&line, RATE);
	cr_assert_lt(put(&line, BW_UNKNOWN), BW_HTTP_SLOW_NS + 4 * BW_SEC);
}
