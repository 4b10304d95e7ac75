/* SPDX-License-Identifier: Apache-2.0 */
/* The header fields of an answer that anybody asks for. */
#include "store/s3_http_priv.h"

#include "store/base/parse.h"

#include <curl/curl.h>
#include <string.h>
#include <time.h>

#define RETRY_AFTER_MAX_S 3600

struct field {
	const char *value;
	size_t len;
};

/* The value of the field when line is one of this name. */
static bool is_field(const char *line, size_t len, const char *name, struct field *ret)
{
	size_t name_len = strlen(name);

	if (len <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0)
		return false;
	ret->value = line + name_len + 1;
	ret->len = len - name_len - 1;
	while (ret->len && (*ret->value == ' ' || *ret->value == '\t')) {
		ret->value++;
		ret->len--;
	}
	while (ret->len && (ret->value[ret->len - 1] == ' ' || ret->value[ret->len - 1] == '\t'))
		ret->len--;
	return true;
}

/* What is too long is none: half a value would be another. */
static void take_text(struct field f, char *ret, size_t ret_len)
{
	if (f.len >= ret_len)
		f.len = 0;
	memcpy(ret, f.value, f.len);
	ret[f.len] = 0;
}

static int64_t take_number(struct field f)
{
	char text[24];
	uint64_t n;

	take_text(f, text, sizeof(text));
	return bw_parse_u64(text, INT64_MAX, &n) == 0 ? (int64_t)n : -1;
}

/* p begins with two digits. */
static int two(const char *p)
{
	return 10 * (p[0] - '0') + p[1] - '0';
}

/* Dates as HTTP wants them written; -1: it is none of these.  Curl takes all others, but ten times as long. */
static int64_t usual_date(const char *text)
{
	static const char shape[] = "xxx, 00 xxx 0000 00:00:00 GMT", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	int month = 0;

	if (strlen(text) != sizeof(shape) - 1)
		return -1;
	for (size_t i = 0; shape[i]; i++)
		if (shape[i] == '0' ? text[i] < '0' || text[i] > '9' : shape[i] != 'x' && shape[i] != text[i])
			return -1;
	while (month < 12 && memcmp(months + 3 * month, text + 8, 3) != 0)
		month++;
	struct tm tm = {.tm_mday = two(text + 5), .tm_mon = month, .tm_year = 100 * two(text + 12) + two(text + 14) - 1900,
			.tm_hour = two(text + 17), .tm_min = two(text + 20), .tm_sec = two(text + 23)};

	if (month == 12 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
		return -1;
	return timegm(&tm);
}

static int64_t take_date(struct field f)
{
	char text[64];

	take_text(f, text, sizeof(text));
	int64_t s = usual_date(text);

	return s >= 0 || !text[0] ? s : (int64_t)curl_getdate(text, NULL);
}

/* "bytes 0-9/100", or with an asterisk for the range or the total. */
static void take_range(struct field f, struct bw_http_request *r)
{
	const char *slash = memchr(f.value, '/', f.len);
	struct field part;

	if (!slash || f.len < 6 || strncasecmp(f.value, "bytes ", 6) != 0)
		return;
	part.value = slash + 1;
	part.len = f.len - (size_t)(part.value - f.value);
	r->range_total = take_number(part);
	part.value = f.value + 6;
	part.len = strcspn(part.value, "-/*");
	if (part.value + part.len < slash && part.value[part.len] == '-')
		r->range_first = take_number(part);
}

/* Seconds, or the date until when. */
static int64_t take_retry_after(struct field f)
{
	int64_t s = take_number(f);

	if (s < 0) {
		s = take_date(f);
		if (s >= 0)
			s = s > bw_wall_ms() / 1000 ? s - bw_wall_ms() / 1000 : 0;
	}
	if (s < 0)
		return -1;
	return (s < RETRY_AFTER_MAX_S ? s : RETRY_AFTER_MAX_S) * BW_SEC;
}

void bw_http_header(struct bw_http_request *r, const char *line, size_t len)
{
	struct field f;

	if (is_field(line, len, "content-length", &f))
		r->content_length = take_number(f);
	else if (is_field(line, len, "content-range", &f))
		take_range(f, r);
	else if (is_field(line, len, "retry-after", &f))
		r->retry_after_ns = take_retry_after(f);
	else if (r->status >= 300 && is_field(line, len, "date", &f))	/* of use when it refuses our clock */
		r->date_s = take_date(f);
	else if (is_field(line, len, "last-modified", &f))
		r->modified_s = take_date(f);
	else if (is_field(line, len, "etag", &f))
		take_text(f, r->etag, sizeof(r->etag));
	else if (is_field(line, len, "x-amz-request-id", &f))
		take_text(f, r->request_id, sizeof(r->request_id));
	else if (is_field(line, len, "x-amz-bucket-region", &f))
		take_text(f, r->region, sizeof(r->region));
	else if (is_field(line, len, "location", &f))
		take_text(f, r->location, sizeof(r->location));
}
