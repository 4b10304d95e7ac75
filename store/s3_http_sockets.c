/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_http_priv.h"

#include <curl/curl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 32

static struct bw_socket *find(struct bw_sockets *s, int fd)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->at[i].fd == fd)
			return &s->at[i];
	return NULL;
}

/* ---- What curl calls -------------------------------------------------------------------------- */

static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct bw_sockets *s = ctx;
	int fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol), syns = BW_HTTP_SYNS;

	(void)purpose;
	if (fd >= 0)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &syns, sizeof(syns));
	if (fd >= 0 && s->n < BW_SOCKETS_MAX)
		s->at[s->n++] = (struct bw_socket){.fd = fd};
	return fd >= 0 ? fd : CURL_SOCKET_BAD;
}

static int on_close(void *ctx, curl_socket_t fd)
{
	struct bw_sockets *s = ctx;
	struct bw_socket *one = find(s, fd);

	if (one)
		*one = s->at[--s->n];
	return close(fd);
}

static void watch(struct bw_sockets *s, int fd, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.fd = fd};

	if (!events)
		(void)epoll_ctl(s->epoll, EPOLL_CTL_DEL, fd, NULL);
	else if (epoll_ctl(s->epoll, EPOLL_CTL_MOD, fd, &e) && errno == ENOENT)
		/* Of one that the kernel has no memory for curl hears by its deadline. */
		(void)epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e);
}

static int on_interest(CURL *easy, curl_socket_t fd, int what, void *ctx, void *sockp)
{
	struct bw_sockets *s = ctx;
	struct bw_socket *one = find(s, fd);
	uint32_t wanted = what == CURL_POLL_IN ? EPOLLIN : what == CURL_POLL_OUT ? EPOLLOUT :
			  what == CURL_POLL_INOUT ? EPOLLIN | EPOLLOUT : 0;

	(void)easy, (void)sockp;
	if (one)
		one->wanted = wanted;
	if (one && (!wanted || wanted == one->watched))
		return 0;
	if (one)
		one->watched = wanted;
	watch(s, fd, wanted);
	return 0;
}

static int on_timer(CURLM *multi, long ms, void *ctx)
{
	struct bw_sockets *s = ctx;

	(void)multi;
	s->timer_ns = ms < 0 ? BW_NEVER : bw_now() + ms * BW_MS;
	return 0;
}

/* ---- Waiting ---------------------------------------------------------------------------------- */

int bw_sockets_init(struct bw_sockets *s, void *multi)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLET};	/* of a waker nothing is ever read */

	s->multi = multi;
	s->timer_ns = BW_NEVER;
	s->waker = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	e.data.fd = s->waker;
	if (s->waker < 0 || s->epoll < 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->waker, &e))
		return -errno;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_interest);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, s);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(multi, CURLMOPT_TIMERDATA, s);
	return 0;
}

void bw_sockets_done(struct bw_sockets *s)
{
	if (!s->multi)
		return;
	if (s->waker >= 0)
		close(s->waker);
	if (s->epoll >= 0)
		close(s->epoll);
}

void bw_sockets_wake(struct bw_sockets *s)
{
	(void)eventfd_write(s->waker, 1);
}

void bw_sockets_tick(struct bw_sockets *s, bool force)
{
	int running;

	if (!force && bw_now() < s->timer_ns)
		return;
	s->timer_ns = BW_NEVER;
	curl_multi_socket_action(s->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

/* A socket with an error is readable and writable to curl, which finds the error by trying. */
static void act(struct bw_sockets *s, int fd, uint32_t events)
{
	struct bw_socket *one = find(s, fd);
	int running, bits = 0;

	if (one && !one->wanted) {	/* a kept connection: closed by the store, most likely, as curl will see */
		one->watched = 0;
		watch(s, fd, 0);
		return;
	}
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		bits |= CURL_CSELECT_IN;
	if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		bits |= CURL_CSELECT_OUT;
	curl_multi_socket_action(s->multi, fd, bits, &running);
}

void bw_sockets_wait(struct bw_sockets *s, int ms)
{
	struct epoll_event events[EVENTS];
	int64_t left_ms = s->timer_ns == BW_NEVER ? BW_NEVER : (s->timer_ns - bw_now() + BW_MS - 1) / BW_MS;

	if (left_ms < 0)
		left_ms = 0;
	if (ms < 0 || left_ms < ms)
		ms = left_ms < INT_MAX ? (int)left_ms : -1;
	int n = epoll_wait(s->epoll, events, EVENTS, ms);

	for (int i = 0; i < n; i++)
		if (events[i].data.fd != s->waker)
			act(s, events[i].data.fd, events[i].events);
	bw_sockets_tick(s, false);
}

/* ---- By its port ------------------------------------------------------------------------------ */

bool bw_sockets_watch(struct bw_sockets *s, void *easy)
{
	CURLcode bad = CURLE_OK;

	bad |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	bad |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, s);
	bad |= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
	bad |= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, s);
	return bad == CURLE_OK;
}

static int port_of(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} a = {0};
	socklen_t len = sizeof(a);

	if (getsockname(fd, &a.any, &len))
		return 0;
	return ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
}

int bw_sockets_find(struct bw_sockets *s, int port)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->at[i].port == port)
			return s->at[i].fd;
	/* One that has come about since: a port is had by connecting. */
	for (unsigned i = 0; i < s->n; i++) {
		if (!s->at[i].port)
			s->at[i].port = port_of(s->at[i].fd);
		if (s->at[i].port == port)
			return s->at[i].fd;
	}
	return -1;
}

/*
 * A server that leaves Nagle's algorithm on (Ceph's, unless told otherwise) sends the header of an answer and keeps a small
 * body back until the header is acknowledged; and the kernel here, which has just seen us send a request,
 * delays that by 40 ms, to send it along with the next one.  This sends it now.  It holds for this answer: the next
 * request brings the delay back.
 */
void bw_socket_acknowledge(int fd)
{
	int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}
