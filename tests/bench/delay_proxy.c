/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store as far away as one likes: a TCP proxy in front of an HTTP server that holds each request for a lognormal
 * time before it passes it on, and counts.  It looks at no header but one: bytes of the client after an
 * answer has begun (or on a new connection) are a new request, because nobody pipelines here; "100 Continue" is no
 * answer.  Bytes move by splice(2), so what it costs is system calls and no copy.
 *
 *   delay_proxy HOST PORT COUNTS [MEDIAN_MS [SIGMA [SEED]]]
 *
 * Prints the port it listens on (127.0.0.1) and a newline.  The file COUNTS holds three native uint64_t that are
 * always current: requests, bytes towards the server, bytes towards the client.  Ends with SIGTERM.  One thread.
 */
#include "store/base/clock.h"
#include "store/base/rand.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define PAIRS_MAX 1024
#define PIPE_BYTES (1 << 20)

/* One direction: from -> pipe -> to. */
struct flow {
	int from, to;
	int pipe[2];
	size_t held;		/* bytes in the pipe */
	bool ended;		/* nothing more comes */
	bool shut;
	uint64_t *count;
};

enum state { IDLE, HELD, ASKED, ANSWERED };	/* of the request under way */

struct pair {
	bool used, held_in_list;
	struct flow up, down;
	enum state state;
	int64_t due_ns;
};

struct end {			/* what epoll tells */
	struct pair *pair;
	bool server;
};

struct proxy {
	struct pair pairs[PAIRS_MAX];
	struct end ends[2 * PAIRS_MAX];
	int epoll, timer, listener;
	struct sockaddr_in server;
	uint64_t *counts;	/* requests, up, down */
	struct bw_rng rng;
	double median_ms, sigma;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int64_t delay_ns(struct proxy *p)
{
	double a = ((double)(bw_rng_next(&p->rng) >> 11) + 1) / 9007199254740993.0;
	double b = (double)(bw_rng_next(&p->rng) >> 11) / 9007199254740992.0;
	double gauss = sqrt(-2 * log(a)) * cos(2 * M_PI * b);

	return (int64_t)(p->median_ms * 1e6 * exp(p->sigma * gauss));
}

static void watch(struct proxy *p, int fd, struct end *e)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = e};

	if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl");
}

static void flow_open(struct flow *f, int from, int to, uint64_t *count)
{
	*f = (struct flow){.from = from, .to = to, .count = count};
	if (pipe2(f->pipe, O_NONBLOCK | O_CLOEXEC))
		die("pipe");
	(void)fcntl(f->pipe[1], F_SETPIPE_SZ, PIPE_BYTES);
}

static void flow_close(struct flow *f)
{
	close(f->pipe[0]);
	close(f->pipe[1]);
}

static void pair_close(struct pair *r)
{
	close(r->up.from);
	close(r->down.from);
	flow_close(&r->up);
	flow_close(&r->down);
	r->used = false;
}

static void accept_one(struct proxy *p, int client)
{
	int one = 1, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pair *r = p->pairs;

	while (r < p->pairs + PAIRS_MAX && r->used)
		r++;
	if (r == p->pairs + PAIRS_MAX || server < 0 ||
	    connect(server, (struct sockaddr *)&p->server, sizeof(p->server))) {
		close(client);
		close(server);
		return;
	}
	(void)fcntl(server, F_SETFL, O_NONBLOCK);
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	*r = (struct pair){.used = true, .state = IDLE};
	flow_open(&r->up, client, server, &p->counts[1]);
	flow_open(&r->down, server, client, &p->counts[2]);
	struct end *ends = &p->ends[2 * (r - p->pairs)];

	ends[0] = (struct end){r, false};
	ends[1] = (struct end){r, true};
	watch(p, client, &ends[0]);
	watch(p, server, &ends[1]);
}

/* Moves what can be moved; false when the connection is broken. */
static bool flow_move(struct flow *f)
{
	for (bool more = true; more;) {
		more = false;
		ssize_t n = f->ended ? -1 : splice(f->from, NULL, f->pipe[1], NULL, PIPE_BYTES,
						   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (n == 0) {
			f->ended = true;
		} else if (n > 0) {
			f->held += (size_t)n;
			*f->count += (uint64_t)n;
			more = true;
		} else if (!f->ended && errno != EAGAIN && errno != EINTR) {
			return false;
		}
		while (f->held) {
			n = splice(f->pipe[0], NULL, f->to, NULL, f->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
			if (n < 0 && errno == EAGAIN)
				return true;
			if (n <= 0)
				return false;
			f->held -= (size_t)n;
			more = !f->ended;
		}
	}
	if (f->ended && !f->held && !f->shut) {
		f->shut = true;
		shutdown(f->to, SHUT_WR);
	}
	return true;
}

static ssize_t peek(int fd, char *to, size_t n)
{
	return recv(fd, to, n, MSG_PEEK | MSG_DONTWAIT);
}

static bool client_has_bytes(const struct pair *r)
{
	char byte;

	return peek(r->up.from, &byte, 1) > 0;
}

static bool server_answers(const struct pair *r)
{
	char head[12];
	ssize_t n = peek(r->down.from, head, sizeof(head));

	return n > 0 && !(n == sizeof(head) && memcmp(head + 9, "100", 3) == 0);
}

static void pair_move(struct proxy *p, struct pair *r)
{
	if (r->state == ASKED && server_answers(r))
		r->state = ANSWERED;
	bool alive = flow_move(&r->down);

	if (alive && (r->state == IDLE || r->state == ANSWERED) && client_has_bytes(r)) {
		p->counts[0]++;
		r->state = HELD;
		r->due_ns = p->median_ms > 0 ? bw_now() + delay_ns(p) : 0;
	}
	if (r->state == HELD && bw_now() >= r->due_ns)
		r->state = ASKED;
	if (alive && r->state != HELD)
		alive = flow_move(&r->up);
	if (!alive || r->down.shut)
		pair_close(r);
}

static void timer_set(struct proxy *p)
{
	int64_t soonest_ns = INT64_MAX;

	for (struct pair *r = p->pairs; r < p->pairs + PAIRS_MAX; r++)
		if (r->used && r->state == HELD && r->due_ns < soonest_ns)
			soonest_ns = r->due_ns;
	int64_t left = soonest_ns - bw_now();
	struct itimerspec at = {0};

	if (soonest_ns < INT64_MAX) {
		left = left > 0 ? left : 1;
		at.it_value = (struct timespec){left / 1000000000, left % 1000000000};
	}
	timerfd_settime(p->timer, 0, &at, NULL);
}

static void timer_ended(struct proxy *p)
{
	int64_t now_ns = bw_now();

	for (struct pair *r = p->pairs; r < p->pairs + PAIRS_MAX; r++)
		if (r->used && r->state == HELD && r->due_ns <= now_ns)
			pair_move(p, r);
}

static void loop(struct proxy *p)
{
	struct epoll_event events[64];

	for (;;) {
		int n = epoll_wait(p->epoll, events, 64, -1);

		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			struct end *e = events[i].data.ptr;
			uint64_t ticks;
			int client;

			if (!e) {
				while ((client = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
					accept_one(p, client);
			} else if (e == (void *)p) {
				if (read(p->timer, &ticks, sizeof(ticks)) > 0)
					timer_ended(p);
			} else if (e->pair->used) {
				pair_move(p, e->pair);
			}
		}
		timer_set(p);
	}
}

static void open_counts(struct proxy *p, const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, 3 * sizeof(uint64_t)))
		die(path);
	p->counts = mmap(NULL, 3 * sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p->counts == MAP_FAILED)
		die(path);
	close(fd);
}

static void listen_somewhere(struct proxy *p)
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(here);

	p->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->listener < 0 || bind(p->listener, (struct sockaddr *)&here, len) || listen(p->listener, 512) ||
	    getsockname(p->listener, (struct sockaddr *)&here, &len))
		die("listen");
	printf("%d\n", ntohs(here.sin_port));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static struct proxy p;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

	if (argc < 4) {
		fprintf(stderr, "usage: %s HOST PORT COUNTS [MEDIAN_MS [SIGMA [SEED]]]\n", argv[0]);
		return 2;
	}
	p.server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10))};
	if (inet_pton(AF_INET, argv[1], &p.server.sin_addr) != 1) {
		fprintf(stderr, "%s: HOST is an IPv4 address\n", argv[0]);
		return 2;
	}
	p.median_ms = argc > 4 ? strtod(argv[4], NULL) : 0;
	p.sigma = argc > 5 ? strtod(argv[5], NULL) : 0.3;
	bw_rng_init(&p.rng, argc > 6 ? strtoull(argv[6], NULL, 10) : 1);
	signal(SIGPIPE, SIG_IGN);
	open_counts(&p, argv[3]);
	p.epoll = epoll_create1(EPOLL_CLOEXEC);
	p.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (p.epoll < 0 || p.timer < 0)
		die("epoll");
	listen_somewhere(&p);
	epoll_ctl(p.epoll, EPOLL_CTL_ADD, p.listener, &event);
	event.data.ptr = &p;
	epoll_ctl(p.epoll, EPOLL_CTL_ADD, p.timer, &event);
	loop(&p);
}
