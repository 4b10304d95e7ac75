/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/output.h"

#include "mount-helpers/say.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void bw_output_begin(void)
{
	int fd;

	do
		fd = open("/", O_PATH);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

void bw_output_unread(void)
{
	signal(SIGPIPE, SIG_DFL);
	raise(SIGPIPE);
	_exit(128 + SIGPIPE);	/* it is blocked here */
}

/* The write that failed may be long ago, and its errno with it. */
static bool is_unread(void)
{
	struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && p.revents & (POLLERR | POLLHUP);
}

int bw_output_finish(const char *who, int code)
{
	bool flushed = fflush(stdout) == 0;
	int why = errno;

	if (flushed && !ferror(stdout))
		return code;
	if (is_unread()) {
		if (code)
			return code;
		bw_output_unread();
	}
	return bw_complain(who, code ? code : 1, "cannot write the output%s%s", flushed ? "" : ": ",
			   flushed ? "" : strerrordesc_np(why));
}
