/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE_MAX 2048

void bw_notify_open(struct bw_notify *n)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;

	*n = (struct bw_notify){.fd = -1, .to = {.sun_family = AF_UNIX}};
	/* A name may fill sun_path without a 0 at its end. */
	if (len > 1 && len <= sizeof(n->to.sun_path) && (*path == '/' || *path == '@')) {
		memcpy(n->to.sun_path, path, len);
		if (*path == '@')
			n->to.sun_path[0] = 0;	/* Linux's abstract names */
		n->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
		n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	}
	unsetenv("NOTIFY_SOCKET");
}

void bw_notify_close(struct bw_notify *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
}

void bw_notify_say(const struct bw_notify *n, const char *fmt, ...)
{
	char text[MESSAGE_MAX];
	va_list ap;

	if (n->fd < 0)
		return;
	va_start(ap, fmt);
	int len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (len < 0)
		return;
	size_t send = (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1;

	(void)!sendto(n->fd, text, send, MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&n->to,
		      n->to_len);
}
