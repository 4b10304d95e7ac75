/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/devlog.h"

#include "store/base/clock.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define RECORD_MAX 2304
#define ROOM_MS 50

int bw_devlog_init(struct bw_devlog *d, const char *path)
{
	*d = (struct bw_devlog){.daemon.sun_family = AF_UNIX, .fd = -1};
	if (strlen(path) >= sizeof(d->daemon.sun_path))
		return -ENAMETOOLONG;
	memcpy(d->daemon.sun_path, path, strlen(path));
	return 0;
}

void bw_devlog_done(struct bw_devlog *d)
{
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

static int connect_as(struct bw_devlog *d, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&d->daemon, sizeof(d->daemon)) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	d->fd = fd;
	d->is_stream = type == SOCK_STREAM;
	return 0;
}

/* record[len] is a NUL. */
static int try(struct bw_devlog *d, const char *record, size_t len)
{
	if (d->fd < 0) {
		int err = connect_as(d, SOCK_DGRAM);

		if (err == -EPROTOTYPE)
			err = connect_as(d, SOCK_STREAM);
		if (err)
			return err;
	}
	len += d->is_stream;
	ssize_t n = send(d->fd, record, len, MSG_NOSIGNAL);

	if (n < 0)
		return -errno;
	return n == (ssize_t)len ? 0 : -EMSGSIZE;
}

static bool gets_room(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return fd >= 0 && poll(&p, 1, ROOM_MS) == 1;
}

int bw_devlog_send(struct bw_devlog *d, int priority, const char *line)
{
	char record[RECORD_MAX], when[32];
	time_t now = (time_t)(bw_wall_ms() / 1000);
	bool was_open = d->fd >= 0;
	struct tm tm;

	if (!localtime_r(&now, &tm) || !strftime(when, sizeof(when), "%b %e %T", &tm))
		return -EINVAL;
	int n = snprintf(record, sizeof(record), "<%d>%s batchweave[%d]: %s", LOG_DAEMON | priority, when, (int)getpid(), line);
	size_t len = (size_t)n < sizeof(record) ? (size_t)n : sizeof(record) - 1;
	int err = try(d, record, len);

	if (err == -EAGAIN && !d->is_stuck && gets_room(d->fd))
		err = try(d, record, len);
	if (err && err != -EAGAIN && d->fd >= 0) {
		bw_devlog_done(d);
		/* The daemon that took the lines before has gone; another may be there. */
		if (was_open)
			err = try(d, record, len);
	}
	d->is_stuck = err == -EAGAIN;
	return err;
}
