/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/clock.h"

#include <stdio.h>
#include <time.h>

int64_t bw_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * BW_SEC + ts.tv_nsec;
}

int64_t bw_wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / BW_MS;
}

void bw_sleep(int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / BW_SEC, .tv_nsec = ns % BW_SEC};

	while (nanosleep(&ts, &ts) != 0)
		;
}

void bw_wall_text(int64_t wall_ms, char *buf, unsigned long len)
{
	time_t sec = wall_ms / 1000;
	struct tm tm;

	if (!gmtime_r(&sec, &tm) || !strftime(buf, len, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(buf, len, "?");
}
