/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/clock.h"

#include <string.h>
#include <time.h>

int64_t bw_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * BW_SEC + ts.tv_nsec;
}

int64_t bw_boottime(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
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

/* By hand, because gmtime_r() may take a lock: a signal handler says the time as well. */
static void civil(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day)
{
	/* Years that begin in March, in eras of 400 years: the leap day is the last of its year. */
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	unsigned of_era = (unsigned)(z - era * 146097);
	unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
	unsigned month = (5 * of_year + 2) / 153;

	*ret_day = of_year - (153 * month + 2) / 5 + 1;
	*ret_month = month < 10 ? month + 3 : month - 9;
	*ret_year = (int64_t)year + era * 400 + (*ret_month <= 2);
}

static void digits(char *to, unsigned width, uint64_t n)
{
	for (unsigned i = width; i--; n /= 10)
		to[i] = (char)('0' + n % 10);
}

void bw_wall_text(int64_t wall_ms, char *buf, unsigned long len)
{
	int64_t sec = wall_ms / 1000 - (wall_ms % 1000 < 0), year;
	int64_t days = sec / 86400 - (sec % 86400 < 0);
	unsigned of_day = (unsigned)(sec - days * 86400), month, day;
	char text[] = "0000-00-00T00:00:00Z";

	civil(days, &year, &month, &day);
	if (year < 0 || year > 9999 || len < sizeof(text)) {
		memcpy(buf, "?", 2);
		return;
	}
	digits(text, 4, (uint64_t)year);
	digits(text + 5, 2, month);
	digits(text + 8, 2, day);
	digits(text + 11, 2, of_day / 3600);
	digits(text + 14, 2, of_day / 60 % 60);
	digits(text + 17, 2, of_day % 60);
	memcpy(buf, text, sizeof(text));
}
