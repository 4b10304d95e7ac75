/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines for the syslog daemon of this machine, as syslog(3) writes them, through a socket of our own: syslog(3) waits without
 * end, under a lock, for a daemon that takes nothing.
 *
 * A daemon that has no room is given a moment once, and none for the lines behind until it has taken one.  One that was
 * started again, or was not there, is found by the next line.
 *
 * Not thread-safe: the log calls it under its lock.
 */
#ifndef BW_BASE_DEVLOG_H
#define BW_BASE_DEVLOG_H

#include "store/base/err.h"

#include <stdbool.h>
#include <sys/un.h>

#define BW_DEVLOG_PATH "/dev/log"

struct bw_devlog {
	struct sockaddr_un daemon;
	int fd;			/* -1: not connected */
	bool is_stream;		/* of records that end with a NUL */
	bool is_stuck;		/* it had no room for the last line */
};

/* path is copied.  -ENAMETOOLONG; whether anybody is there is seen by the first line. */
int bw_devlog_init(struct bw_devlog *d, const char *path) bw_must_check;
void bw_devlog_done(struct bw_devlog *d);

/*
 * priority: one of syslog(3)'s levels; the facility is daemon.  line: without newline.  -errno: it is lost, -EAGAIN because
 * there was no room.  Takes 50 ms at most.
 */
int bw_devlog_send(struct bw_devlog *d, int priority, const char *line) bw_must_check;

#endif
