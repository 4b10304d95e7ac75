/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a daemon under test: its wall clock is wrong by as many seconds as the file named by
 * BW_WRONG_CLOCK says, a decimal of one fixed width that may be changed while the daemon runs.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long shift_s(void)
{
	const char *path = getenv("BW_WRONG_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	char text[32] = "";

	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return strtol(text, NULL, 10);
}

int clock_gettime(clockid_t clock, struct timespec *ts)
{
	int (*real)(clockid_t, struct timespec *) = NULL;
	void *symbol = dlsym(RTLD_NEXT, "clock_gettime");

	memcpy(&real, &symbol, sizeof(real));
	int err = real(clock, ts);

	if (!err && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		ts->tv_sec += shift_s();
	return err;
}

time_t time(time_t *ret)
{
	struct timespec ts;
	time_t now = clock_gettime(CLOCK_REALTIME, &ts) ? -1 : ts.tv_sec;

	if (ret)
		*ret = now;
	return now;
}
