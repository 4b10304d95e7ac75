/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a service manager wants to hear: that the mount answers, what it does, that it is going.
 *
 * The manager names a datagram socket in NOTIFY_SOCKET (sd_notify(3)'s protocol, which systemd, Podman
 * and others speak); each message is one datagram of VARIABLE=value lines.  Nobody waits for an answer
 * and no failure matters: a mount is a mount without a manager too.
 */
#ifndef BW_MOUNT_HELPERS_NOTIFY_H
#define BW_MOUNT_HELPERS_NOTIFY_H

#include "store/base/err.h"

#include <sys/socket.h>
#include <sys/un.h>

struct bw_notify {
	int fd;			/* -1: nobody listens */
	struct sockaddr_un to;
	socklen_t to_len;
};

/* Takes NOTIFY_SOCKET out of the environment, so that no child speaks for us.  Before any thread. */
void bw_notify_open(struct bw_notify *n);
void bw_notify_close(struct bw_notify *n);

/* "READY=1\nSTATUS=...", at most 2 KiB of it.  Any thread. */
void bw_notify_say(const struct bw_notify *n, const char *fmt, ...) bw_printf_like(2, 3);

#endif
