/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server as far away as one likes, for protocols that keep several requests under way: every byte
 * arrives so much later than it was sent, in either direction, and bandwidth is what it was.
 * (delay_proxy holds HTTP requests.)
 *
 *   tcp_delay HOST PORT LISTEN_PORT ONE_WAY_US
 *
 * Listens on 127.0.0.1, prints the port when it does (0: one that is free), ends with SIGTERM.  A thread for each
 * direction of a connection.
 */
#include "store/base/clock.h"
#include "store/base/parse.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK (256u << 10)
#define CHUNKS 1024	/* on their way at most */

struct chunk {
	int64_t due_ns;
	size_t len;	/* 0: the end */
	uint8_t *bytes;
};

struct flow {
	int from, to;
	int64_t delay_ns;
	struct chunk on_way[CHUNKS];
	size_t first, count;
	bool ended;
	struct flow *twin;
	pthread_t thread;
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "tcp_delay: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *must(void *p)
{
	if (!p)
		die("memory");
	return p;
}

static void take(struct flow *f, uint8_t *buffer)
{
	ssize_t n = recv(f->from, buffer, CHUNK, 0);
	struct chunk *c = &f->on_way[(f->first + f->count++) % CHUNKS];

	c->due_ns = bw_now() + f->delay_ns;
	c->len = n > 0 ? (size_t)n : 0;
	c->bytes = c->len ? must(malloc(c->len)) : NULL;
	if (c->len)
		memcpy(c->bytes, buffer, c->len);
	f->ended = !c->len;
}

/* False: nothing more can be delivered. */
static bool deliver(struct flow *f)
{
	struct chunk *c = &f->on_way[f->first];
	size_t done = 0;

	f->first = (f->first + 1) % CHUNKS;
	f->count--;
	if (!c->len)
		shutdown(f->to, SHUT_WR);
	while (done < c->len) {
		ssize_t n = send(f->to, c->bytes + done, c->len - done, MSG_NOSIGNAL);

		if (n <= 0) {
			shutdown(f->from, SHUT_RDWR);
			break;
		}
		done += (size_t)n;
	}
	free(c->bytes);
	return c->len && done == c->len;
}

static void wait_for_more(struct flow *f)
{
	struct pollfd p = {.fd = f->ended || f->count == CHUNKS ? -1 : f->from, .events = POLLIN};
	struct timespec left, *timeout = NULL;

	if (f->count) {
		int64_t ns = f->on_way[f->first].due_ns - bw_now();

		ns = ns > 0 ? ns : 0;
		left = (struct timespec){.tv_sec = ns / BW_SEC, .tv_nsec = ns % BW_SEC};
		timeout = &left;
	}
	ppoll(&p, 1, timeout, NULL);
}

static void *run(void *arg)
{
	struct flow *f = arg;
	uint8_t *buffer = must(malloc(CHUNK));
	bool open = true;

	while (open) {
		struct pollfd p = {.fd = f->from, .events = POLLIN};

		wait_for_more(f);
		if (!f->ended && f->count < CHUNKS && poll(&p, 1, 0) > 0)
			take(f, buffer);
		while (open && f->count && f->on_way[f->first].due_ns <= bw_now())
			open = deliver(f);
	}
	free(buffer);
	return NULL;
}

/* The way up, with the way down in its hands. */
static void *run_pair(void *arg)
{
	struct flow *up = arg, *down = up->twin;

	if (pthread_create(&down->thread, NULL, run, down))
		die("thread");
	run(up);
	pthread_join(down->thread, NULL);
	close(up->from);
	close(up->to);
	free(down);
	free(up);
	return NULL;
}

static int tcp_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0)
		die("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	return fd;
}

static void serve(int client, const struct sockaddr_in *server, int64_t delay_ns)
{
	int fd = tcp_socket(), on = 1;
	struct flow *up = must(calloc(1, sizeof(*up))), *down = must(calloc(1, sizeof(*down)));

	if (connect(fd, (const struct sockaddr *)server, sizeof(*server)) < 0)
		die("connect");
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	*up = (struct flow){.from = client, .to = fd, .delay_ns = delay_ns, .twin = down};
	*down = (struct flow){.from = fd, .to = client, .delay_ns = delay_ns, .twin = up};
	if (pthread_create(&up->thread, NULL, run_pair, up) || pthread_detach(up->thread))
		die("thread");
}

static uint64_t number(const char *text, uint64_t max)
{
	uint64_t v;

	if (bw_parse_u64(text, max, &v) < 0) {
		errno = EINVAL;
		die(text);
	}
	return v;
}

int main(int argc, char **argv)
{
	struct sockaddr_in server = {.sin_family = AF_INET}, here = {.sin_family = AF_INET};
	socklen_t len = sizeof(here);
	int fd = tcp_socket();

	if (argc != 5 || inet_pton(AF_INET, argv[1], &server.sin_addr) != 1) {
		fprintf(stderr, "usage: tcp_delay HOST PORT LISTEN_PORT ONE_WAY_US\n");
		return 2;
	}
	server.sin_port = htons((uint16_t)number(argv[2], UINT16_MAX));
	here.sin_port = htons((uint16_t)number(argv[3], UINT16_MAX));
	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int64_t delay_ns = (int64_t)number(argv[4], 60 * 1000 * 1000) * 1000;

	if (bind(fd, (struct sockaddr *)&here, len) < 0 || listen(fd, 128) < 0 || getsockname(fd, (struct sockaddr *)&here, &len) < 0)
		die("listen");
	printf("%u\n", ntohs(here.sin_port));
	fflush(stdout);
	for (;;) {
		int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (client >= 0)
			serve(client, &server, delay_ns);
		else if (errno != EINTR && errno != ECONNABORTED)
			die("accept");
	}
}
