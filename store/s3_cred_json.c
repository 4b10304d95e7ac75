/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON objects that hand out credentials: one scan, fields copied to where they belong, all else skipped.
 */
#include "store/s3_cred_answer.h"

#include <string.h>

#define DEPTH_MAX 16
#define NAME_MAX_LEN 32		/* longer names are none of ours */

struct scan {
	const char *p, *end;
};

struct field {
	const char *name;
	char *out;
	size_t size;
	bool found;
};

/* Receives decoded bytes; beyond its end they are counted only. */
struct sink {
	char *out;
	size_t size, len;
};

static void put(struct sink *s, unsigned char byte)
{
	if (s->len < s->size)
		s->out[s->len] = (char)byte;
	s->len++;
}

static void put_utf8(struct sink *s, uint32_t c)
{
	if (c < 0x80) {
		put(s, (unsigned char)c);
	} else if (c < 0x800) {
		put(s, (unsigned char)(0xc0 | c >> 6));
		put(s, (unsigned char)(0x80 | (c & 0x3f)));
	} else {
		if (c < 0x10000) {
			put(s, (unsigned char)(0xe0 | c >> 12));
		} else {
			put(s, (unsigned char)(0xf0 | c >> 18));
			put(s, (unsigned char)(0x80 | (c >> 12 & 0x3f)));
		}
		put(s, (unsigned char)(0x80 | (c >> 6 & 0x3f)));
		put(s, (unsigned char)(0x80 | (c & 0x3f)));
	}
}

static void blanks(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
		s->p++;
}

/* Takes c behind blanks. */
static bool take(struct scan *s, char c)
{
	blanks(s);
	if (s->p == s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

static bool hex4(struct scan *s, uint32_t *ret)
{
	uint32_t v = 0;

	if (s->end - s->p < 4)
		return false;
	for (int i = 0; i < 4; i++) {
		char c = *s->p++, low = (char)(c | 0x20);

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint32_t)(c - '0');
		else if (low >= 'a' && low <= 'f')
			v = v << 4 | (uint32_t)(low - 'a' + 10);
		else
			return false;
	}
	*ret = v;
	return true;
}

/* Behind "\u": one unit, or the two of a pair; half a pair is nothing. */
static bool unicode(struct scan *s, struct sink *to)
{
	uint32_t c, low;

	if (!hex4(s, &c) || !c || (c >= 0xdc00 && c < 0xe000))
		return false;
	if (c >= 0xd800 && c < 0xdc00) {
		if (s->end - s->p < 2 || s->p[0] != '\\' || s->p[1] != 'u')
			return false;
		s->p += 2;
		if (!hex4(s, &low) || low < 0xdc00 || low >= 0xe000)
			return false;
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	}
	put_utf8(to, c);
	return true;
}

static bool escape(struct scan *s, struct sink *to)
{
	static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";

	if (s->p == s->end)
		return false;
	char c = *s->p++;
	if (c == 'u')
		return unicode(s, to);
	const char *at = c ? strchr(from, c) : NULL;
	if (!at)
		return false;
	put(to, (unsigned char)into[at - from]);
	return true;
}

static bool string(struct scan *s, struct sink *to)
{
	if (!take(s, '"'))
		return false;
	while (s->p < s->end) {
		unsigned char c = (unsigned char)*s->p++;

		if (c == '"')
			return true;
		if (c < 0x20 || (c == '\\' && !escape(s, to)))
			return false;
		if (c != '\\')
			put(to, c);
	}
	return false;
}

/* A number or a word, taken as it is written. */
static bool word(struct scan *s, struct sink *to)
{
	const char *start = s->p;

	for (; s->p < s->end; s->p++) {
		char c = *s->p, low = (char)(c | 0x20);

		if (!(c >= '0' && c <= '9') && !(low >= 'a' && low <= 'z') && c != '-' && c != '+' && c != '.')
			break;
		put(to, (unsigned char)c);
	}
	return s->p > start;
}

static bool skip(struct scan *s, unsigned depth);

static bool skip_items(struct scan *s, unsigned depth, char close)
{
	struct sink none = {NULL, 0, 0};

	if (depth > DEPTH_MAX)
		return false;
	if (take(s, close))
		return true;
	do {
		if (close == '}' && (!string(s, &none) || !take(s, ':')))
			return false;
		if (!skip(s, depth))
			return false;
	} while (take(s, ','));
	return take(s, close);
}

static bool skip(struct scan *s, unsigned depth)
{
	struct sink none = {NULL, 0, 0};

	if (take(s, '{'))
		return skip_items(s, depth + 1, '}');
	if (take(s, '['))
		return skip_items(s, depth + 1, ']');
	return s->p < s->end && *s->p == '"' ? string(s, &none) : word(s, &none);
}

static bool read_field(struct scan *s, struct field *f)
{
	struct sink to = {f->out, f->size, 0};

	if (f->found)
		return false;
	f->found = true;
	blanks(s);
	bool is_text = s->p < s->end && *s->p == '"';
	if (!(is_text ? string(s, &to) : word(s, &to)) || to.len >= f->size)
		return false;
	f->out[to.len] = 0;
	if (!is_text && strcmp(f->out, "null") == 0)
		f->out[0] = 0;
	return true;
}

static bool member(struct scan *s, struct field *fields, size_t n)
{
	char name[NAME_MAX_LEN];
	struct sink to = {name, sizeof(name), 0};

	if (!string(s, &to) || !take(s, ':'))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (to.len == strlen(fields[i].name) && memcmp(name, fields[i].name, to.len) == 0)
			return read_field(s, &fields[i]);
	}
	return skip(s, 1);
}

static bool object(struct scan *s, struct field *fields, size_t n)
{
	if (!take(s, '{'))
		return false;
	if (take(s, '}'))
		return true;
	do {
		if (!member(s, fields, n))
			return false;
	} while (take(s, ','));
	return take(s, '}');
}

int bw_cred_answer_json(const void *bytes, size_t len, const char *token_name,
			struct bw_cred_answer *ret)
{
	struct scan s = {bytes, (const char *)bytes + len};
	struct field fields[] = {
		{"AccessKeyId", ret->key_id, sizeof(ret->key_id), false},
		{"SecretAccessKey", ret->secret, sizeof(ret->secret), false},
		{token_name, ret->token, sizeof(ret->token), false},
		{"Expiration", ret->expires, sizeof(ret->expires), false},
		{"Version", ret->version, sizeof(ret->version), false},
		{"Code", ret->code, sizeof(ret->code), false},
		{"Message", ret->message, sizeof(ret->message), false},
		{"code", ret->code, sizeof(ret->code), false},
		{"message", ret->message, sizeof(ret->message), false},
	};

	memset(ret, 0, sizeof(*ret));
	bool good = object(&s, fields, sizeof(fields) / sizeof(fields[0]));

	blanks(&s);
	if (good && s.p == s.end)
		return 0;
	explicit_bzero(ret, sizeof(*ret));
	return -BW_E_CORRUPT;
}
