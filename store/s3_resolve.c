/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses behind the name of a store, for a probe that must ask each of them. */
#include "store/s3_request.h"

#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_NS (2 * BW_SEC)
#define TRIES_MAX 16u

/* "name:port", "[::1]:port", or either without its port. */
static bool split(const char *host, const char *default_port, char *name, size_t name_len, char port[8])
{
	const char *start = *host == '[' ? host + 1 : host;
	const char *end = *host == '[' ? strchr(host, ']') : start + strcspn(start, ":");
	const char *rest = end && *host == '[' ? end + 1 : end;

	if (!end || (size_t)(end - start) >= name_len || end == start)
		return false;
	memcpy(name, start, (size_t)(end - start));
	name[end - start] = 0;
	return snprintf(port, 8, "%s", *rest == ':' ? rest + 1 : default_port) < 8;
}

struct attempt {
	char text[BW_S3_ADDRESS_MAX];
	bool connected;
};

/* Connects to all of them at once; fds[i] is -1 for one that has failed already. */
static void wait_all(struct pollfd *fds, struct attempt *attempts, unsigned n)
{
	int64_t end = bw_now() + CONNECT_NS;
	unsigned left = n;

	while (left && bw_now() < end) {
		poll(fds, n, (int)((end - bw_now()) / BW_MS) + 1);
		left = 0;
		for (unsigned i = 0; i < n; i++) {
			int err = 0;
			socklen_t len = sizeof(err);

			if (fds[i].fd < 0)
				continue;
			if (!fds[i].revents) {
				left++;
				continue;
			}
			getsockopt(fds[i].fd, SOL_SOCKET, SO_ERROR, &err, &len);
			attempts[i].connected = !err;
			close(fds[i].fd);
			fds[i].fd = -1;
		}
	}
	for (unsigned i = 0; i < n; i++)
		if (fds[i].fd >= 0)
			close(fds[i].fd);
}

static unsigned try_all(const struct addrinfo *list, struct attempt *attempts)
{
	struct pollfd fds[TRIES_MAX];
	unsigned n = 0;

	for (const struct addrinfo *a = list; a && n < TRIES_MAX; a = a->ai_next) {
		int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		if (fd < 0)
			continue;
		if ((connect(fd, a->ai_addr, a->ai_addrlen) && errno != EINPROGRESS) ||
		    getnameinfo(a->ai_addr, a->ai_addrlen, attempts[n].text, sizeof(attempts[n].text),
				NULL, 0, NI_NUMERICHOST)) {
			close(fd);
			continue;
		}
		fds[n++] = (struct pollfd){.fd = fd, .events = POLLOUT};
	}
	wait_all(fds, attempts, n);
	return n;
}

unsigned bw_s3_resolve(const char *host, const char *default_port, char (*ret)[BW_S3_ADDRESS_MAX],
		       unsigned max)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct attempt attempts[TRIES_MAX] = {{.connected = false}};
	struct addrinfo *list = NULL;
	char name[300], port[8];
	unsigned n = 0;

	if (!split(host, default_port, name, sizeof(name), port) ||
	    getaddrinfo(name, port, &hints, &list))
		return 0;
	unsigned tried = try_all(list, attempts);

	freeaddrinfo(list);
	for (unsigned i = 0; i < tried && n < max; i++)
		if (attempts[i].connected)
			memcpy(ret[n++], attempts[i].text, sizeof(*ret));
	return n;
}

unsigned bw_s3_addresses(const struct bw_url *url, const struct bw_s3_config *config,
			 char (*ret)[BW_S3_ADDRESS_MAX], unsigned max)
{
	struct bw_s3_address a;
	char why[256];

	if (bw_s3_address_make(url, config, &a, why, sizeof(why)))
		return 0;
	return bw_s3_resolve(a.host, strcmp(a.scheme, "http") == 0 ? "80" : "443", ret, max);
}
