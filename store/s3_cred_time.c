/* SPDX-License-Identifier: Apache-2.0 */
/* Times as RFC 3339 writes them. */
#include "store/s3_cred_answer.h"

#include <stdbool.h>

/* Exactly n digits; *p moves behind them. */
static bool digits(const char **p, int n, int *ret)
{
	int v = 0;

	for (; n; n--, (*p)++) {
		if (**p < '0' || **p > '9')
			return false;
		v = v * 10 + (**p - '0');
	}
	*ret = v;
	return true;
}

static bool literal(const char **p, const char *one_of)
{
	for (; *one_of; one_of++) {
		if (**p == *one_of) {
			(*p)++;
			return true;
		}
	}
	return false;
}

static int month_days(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

/* Of the proleptic Gregorian calendar, since 1970-01-01; year from 1970. */
static int64_t days_since_epoch(int year, int month, int day)
{
	int64_t y = year - 1;
	int64_t days = y * 365 + y / 4 - y / 100 + y / 400 - 719162;

	for (int m = 1; m < month; m++)
		days += month_days(year, m);
	return days + day - 1;
}

/* What stands behind the point: milliseconds, the rest cut off. */
static bool fraction(const char **p, int *ret)
{
	int scale = 100, n = 0;

	*ret = 0;
	for (; **p >= '0' && **p <= '9'; (*p)++, n++, scale /= 10)
		*ret += (**p - '0') * scale;
	return n > 0 && n <= 9;
}

/* Minutes east of Greenwich.  A time without a zone could mean anything and is refused. */
static bool zone(const char **p, int *ret)
{
	int hours, minutes, sign = **p == '-' ? -1 : 1;

	*ret = 0;
	if (literal(p, "Zz"))
		return true;
	if (!literal(p, "+-") || !digits(p, 2, &hours))
		return false;
	literal(p, ":");
	if (!digits(p, 2, &minutes) || hours > 23 || minutes > 59)
		return false;
	*ret = sign * (hours * 60 + minutes);
	return true;
}

int bw_cred_time(const char *text, int64_t *ret_ms)
{
	int year, month, day, hour, minute, second, ms = 0, east;
	const char *p = text;

	if (!digits(&p, 4, &year) || !literal(&p, "-") || !digits(&p, 2, &month) || !literal(&p, "-") ||
	    !digits(&p, 2, &day) || !literal(&p, "Tt ") || !digits(&p, 2, &hour) || !literal(&p, ":") ||
	    !digits(&p, 2, &minute) || !literal(&p, ":") || !digits(&p, 2, &second))
		return -EINVAL;
	if (literal(&p, ".") && !fraction(&p, &ms))
		return -EINVAL;
	if (!zone(&p, &east) || *p)
		return -EINVAL;
	/* 60 is a leap second. */
	if (year < 1970 || month < 1 || month > 12 || day < 1 || day > month_days(year, month) ||
	    hour > 23 || minute > 59 || second > 60)
		return -EINVAL;
	int64_t minutes = days_since_epoch(year, month, day) * 1440 + hour * 60 + minute - east;

	*ret_ms = (minutes * 60 + second) * 1000 + ms;
	return 0;
}
