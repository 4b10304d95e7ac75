/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/parse.h"

#include "store/base/clock.h"
#include "store/base/limits.h"

#include <stddef.h>

/* Canonical decimal digits up to max; *end is the first byte that is no digit. */
static int parse_digits(const char *text, uint64_t max, uint64_t *ret, const char **end)
{
	const char *p = text;
	uint64_t v = 0;

	for (; *p >= '0' && *p <= '9'; p++) {
		uint64_t digit = (uint64_t)(*p - '0');

		if (v > max / 10 || digit > max - v * 10)
			return -EINVAL;
		v = v * 10 + digit;
	}
	if (p == text || (*text == '0' && p != text + 1))
		return -EINVAL;
	*ret = v;
	*end = p;
	return 0;
}

int bw_parse_u64(const char *text, uint64_t max, uint64_t *ret)
{
	const char *end;
	uint64_t v;

	if (parse_digits(text, max, &v, &end) < 0 || *end)
		return -EINVAL;
	*ret = v;
	return 0;
}

int bw_parse_size(const char *text, uint64_t *ret)
{
	const char *end;
	uint64_t v;
	unsigned shift = 0;

	if (parse_digits(text, UINT64_MAX, &v, &end) < 0)
		return -EINVAL;
	switch (*end) {
	case 'K':
	case 'k':
		shift = 10;
		break;
	case 'M':
	case 'm':
		shift = 20;
		break;
	case 'G':
	case 'g':
		shift = 30;
		break;
	case 0:
		break;
	default:
		return -EINVAL;
	}
	if ((*end && end[1]) || v > UINT64_MAX >> shift)
		return -EINVAL;
	*ret = v << shift;
	return 0;
}

/* What stands behind the point, as billionths; *p moves behind it. */
static int parse_fraction(const char **p, uint64_t *ret)
{
	uint64_t v = 0, weight = 100000000;

	for (; **p >= '0' && **p <= '9'; (*p)++, weight /= 10) {
		if (!weight)
			return -EINVAL;
		v += (uint64_t)(**p - '0') * weight;
	}
	if (weight == 100000000)
		return -EINVAL;
	*ret = v;
	return 0;
}

int bw_parse_duration(const char *text, int64_t *ret_ns)
{
	const char *p;
	uint64_t whole, billionths = 0, unit = 1;

	if (parse_digits(text, INT64_MAX, &whole, &p) < 0)
		return -EINVAL;
	if (*p == '.') {
		p++;
		if (parse_fraction(&p, &billionths) < 0)
			return -EINVAL;
	}
	if (*p == 'h')
		unit = 3600;
	else if (*p == 'm')
		unit = 60;
	if (*p == 'h' || *p == 'm' || *p == 's')
		p++;
	/* One unit is kept free for the fraction. */
	if (*p || whole > (INT64_MAX / (uint64_t)BW_SEC / unit) - 1)
		return -EINVAL;
	*ret_ns = (int64_t)(whole * unit * (uint64_t)BW_SEC + billionths * unit);
	return 0;
}

bool bw_name_valid(const char *text)
{
	size_t len = 0;

	for (const char *p = text; *p; p++, len++) {
		bool alnum = (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');

		if (!alnum && (!len || (*p != '.' && *p != '_' && *p != '-')))
			return false;
		if (len >= BW_NAME_MAX)
			return false;
	}
	return len > 0;
}
