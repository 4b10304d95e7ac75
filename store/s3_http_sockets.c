/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_http_priv.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct bw_sockets *s = ctx;
	int fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);

	(void)purpose;
	if (fd >= 0 && s->n < BW_SOCKETS_MAX)
		s->at[s->n++] = (struct bw_socket){.fd = fd};
	return fd >= 0 ? fd : CURL_SOCKET_BAD;
}

static int on_close(void *ctx, curl_socket_t fd)
{
	struct bw_sockets *s = ctx;
	unsigned i = 0;

	while (i < s->n && s->at[i].fd != fd)
		i++;
	if (i < s->n)
		s->at[i] = s->at[--s->n];
	return close(fd);
}

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
