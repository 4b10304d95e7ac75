/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/json.h"

#include "store/base/parse.h"
#include "store/base/rand.h"

#include <stdlib.h>
#include <string.h>

#define FEATURES_MAX 64
#define KEY_MAX 64	/* bytes of a key or of a feature's name */

void bw_json_init(struct bw_json *j, const void *bytes, size_t len)
{
	j->p = bytes;
	j->end = j->p + len;
	j->bad = false;
}

void bw_json_fail(struct bw_json *j)
{
	j->bad = true;
}

bool bw_json_finished(const struct bw_json *j)
{
	return !j->bad && j->p == j->end;
}

/* The next byte, not taken; 0 at the end or when bad. */
static char peek(const struct bw_json *j)
{
	return !j->bad && j->p < j->end ? *j->p : 0;
}

/* As bw_json_expect(), for one byte: roots are read one comma at a time. */
static void expect_byte(struct bw_json *j, char c)
{
	if (peek(j) == c)
		j->p++;
	else
		j->bad = true;
}

bool bw_json_try(struct bw_json *j, const char *text)
{
	if (text[0] && !text[1]) {
		if (peek(j) != text[0])
			return false;
		j->p++;
		return true;
	}
	size_t len = strlen(text);

	if (j->bad || (size_t)(j->end - j->p) < len || memcmp(j->p, text, len) != 0)
		return false;
	j->p += len;
	return true;
}

void bw_json_expect(struct bw_json *j, const char *text)
{
	if (!bw_json_try(j, text))
		j->bad = true;
}

bool bw_json_next(struct bw_json *j, uint32_t i, uint32_t max)
{
	if (i == 0)
		bw_json_expect(j, "[");
	if (bw_json_try(j, "]"))
		return false;
	if (i > 0)
		bw_json_expect(j, ",");
	if (i >= max)
		j->bad = true;
	return !j->bad;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

uint64_t bw_json_int(struct bw_json *j, uint64_t max)
{
	const char *start = j->p, *p = start;
	uint64_t v = 0;

	for (; !j->bad && p < j->end && is_digit(*p); p++) {
		uint64_t digit = (uint64_t)(*p - '0');

		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v)) {
			j->bad = true;
			return 0;
		}
	}
	size_t digits = (size_t)(p - start);

	j->p = p;
	if (!digits || (digits > 1 && *start == '0') || v > max)
		j->bad = true;
	return j->bad ? 0 : v;
}

uint64_t bw_json_dec(struct bw_json *j, uint64_t max)
{
	expect_byte(j, '"');
	uint64_t v = bw_json_int(j, max);
	expect_byte(j, '"');
	return j->bad ? 0 : v;
}

void bw_json_hex(struct bw_json *j, void *bytes, size_t len)
{
	expect_byte(j, '"');
	if (j->bad || (size_t)(j->end - j->p) < 2 * len ||
	    bw_unhex(j->p, 2 * len, bytes, len) != 0) {
		memset(bytes, 0, len);
		j->bad = true;
		return;
	}
	j->p += 2 * len;
	expect_byte(j, '"');
}

uint64_t bw_json_hex64(struct bw_json *j)
{
	uint8_t bytes[8];
	uint64_t v = 0;

	bw_json_hex(j, bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		v = v << 8 | bytes[i];
	return v;
}

/* Takes the opening quote; the bytes up to the closing one, which is taken too.  No escapes. */
static const char *plain_string(struct bw_json *j, size_t max, size_t *ret_len)
{
	*ret_len = 0;
	bw_json_expect(j, "\"");
	if (j->bad)
		return NULL;
	const char *start = j->p;
	size_t left = (size_t)(j->end - j->p);
	const char *quote = memchr(start, '"', left < max + 1 ? left : max + 1);

	if (!quote) {
		j->bad = true;
		return NULL;
	}
	*ret_len = (size_t)(quote - start);
	j->p = quote + 1;
	return start;
}

void bw_json_name(struct bw_json *j, char name[BW_NAME_MAX + 1])
{
	size_t len;
	const char *text = plain_string(j, BW_NAME_MAX, &len);

	name[0] = 0;
	if (!text)
		return;
	memcpy(name, text, len);
	name[len] = 0;
	if (strlen(name) != len || !bw_name_valid(name)) {
		name[0] = 0;
		j->bad = true;
	}
}

uint8_t *bw_json_bytes(struct bw_json *j, size_t max, size_t *ret_len, int *ret_err)
{
	size_t len;
	const char *text = plain_string(j, 2 * max, &len);

	*ret_len = 0;
	*ret_err = -BW_E_CORRUPT;
	if (!text)
		return NULL;
	uint8_t *bytes = malloc(len / 2 + 1);
	if (!bytes) {
		*ret_err = -ENOMEM;
		j->bad = true;
		return NULL;
	}
	if (bw_unhex(text, len, bytes, len / 2) != 0) {
		free(bytes);
		j->bad = true;
		return NULL;
	}
	*ret_len = len / 2;
	*ret_err = 0;
	return bytes;
}

/* Bytes that stand for themselves in a text; every other one is %xx. */
static bool is_plain(char c)
{
	return c >= 0x20 && c <= 0x7e && c != '"' && c != '\\' && c != '%';
}

/* Decodes into out, which holds len + 1 bytes.  Only the canonical spelling; no NUL. */
static bool percent_decode(const char *text, size_t len, char *out, size_t *ret_len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c == '%') {
			if (len - i < 3 || bw_unhex(text + i + 1, 2, &c, 1) != 0 || is_plain(c) || !c)
				return false;
			i += 2;
		} else if (!is_plain(c)) {
			return false;
		}
		out[n++] = c;
	}
	out[n] = 0;
	*ret_len = n;
	return true;
}

char *bw_json_text(struct bw_json *j, size_t max, int *ret_err)
{
	size_t len, out_len = 0;
	const char *text = plain_string(j, 3 * max, &len);

	*ret_err = -BW_E_CORRUPT;
	if (!text)
		return NULL;
	char *out = malloc(len + 1);
	if (!out) {
		*ret_err = -ENOMEM;
		j->bad = true;
		return NULL;
	}
	if (!percent_decode(text, len, out, &out_len) || out_len > max) {
		free(out);
		j->bad = true;
		return NULL;
	}
	*ret_err = 0;
	return out;
}

/* ---- What newer releases add --------------------------------------------------------------------- */

struct key {
	const char *text;
	size_t len;
};

static bool rises(const struct key *a, const struct key *b)
{
	size_t len = a->len < b->len ? a->len : b->len;
	int order = len ? memcmp(a->text, b->text, len) : 0;

	return order < 0 || (order == 0 && a->len < b->len);
}

/* "key", of [a-z0-9_.-], above *last, which it replaces. */
static void next_key(struct bw_json *j, struct key *last)
{
	struct key k;

	k.text = plain_string(j, KEY_MAX, &k.len);
	if (!k.text)
		return;
	for (size_t i = 0; i < k.len; i++) {
		char c = k.text[i];

		if (!is_digit(c) && !(c >= 'a' && c <= 'z') && c != '_' && c != '.' && c != '-')
			j->bad = true;
	}
	if (!k.len || (last->text && !rises(last, &k)))
		j->bad = true;
	*last = k;
}

static void skip_string(struct bw_json *j)
{
	bw_json_expect(j, "\"");
	while (!j->bad && !bw_json_try(j, "\"")) {
		char c = peek(j);

		if (c < 0x20 || c > 0x7e) {
			j->bad = true;
		} else if (c != '\\') {
			j->p++;
		} else if (bw_json_try(j, "\\u")) {
			uint8_t unit[2];

			if (j->end - j->p < 4 || bw_unhex(j->p, 4, unit, 2) != 0 ||
			    (!unit[0] && !unit[1]))
				j->bad = true;
			else
				j->p += 4;
		} else {
			j->p++;
			c = peek(j);
			if (!c || !strchr("\"\\/bfnrt", c))
				j->bad = true;
			else
				j->p++;
		}
	}
}

/* depth: of the object or list that the value would be, the outermost object being 1. */
static void skip_value(struct bw_json *j, unsigned depth)
{
	char c = peek(j);

	if ((c == '[' || c == '{') && depth > BW_JSON_DEPTH_MAX) {
		j->bad = true;
	} else if (c == '"') {
		skip_string(j);
	} else if (c == '[') {
		for (uint32_t i = 0; bw_json_next(j, i, UINT32_MAX); i++)
			skip_value(j, depth + 1);
	} else if (bw_json_try(j, "{")) {
		struct key last = {NULL, 0};

		for (bool first = true; !j->bad && !bw_json_try(j, "}"); first = false) {
			if (!first)
				bw_json_expect(j, ",");
			next_key(j, &last);
			bw_json_expect(j, ":");
			skip_value(j, depth + 1);
		}
	} else if (!bw_json_try(j, "null") && !bw_json_try(j, "true") && !bw_json_try(j, "false")) {
		bool negative = bw_json_try(j, "-");

		if (bw_json_int(j, BW_JSON_INT_MAX) == 0 && negative)
			j->bad = true;
	}
}

void bw_json_features(struct bw_json *j, const char **ret, size_t *ret_len)
{
	struct key last = {NULL, 0};
	const char *start = j->p + 1;

	for (uint32_t i = 0; bw_json_next(j, i, FEATURES_MAX); i++)
		next_key(j, &last);
	*ret = start;
	*ret_len = j->bad ? 0 : (size_t)(j->p - start) - 1;
}

static bool among(const struct key *k, const char *const *known)
{
	for (; *known; known++) {
		if (strlen(*known) == k->len && memcmp(*known, k->text, k->len) == 0)
			return true;
	}
	return false;
}

/* The next member's key, which is not taken; len 0 when it is none. */
static struct key peek_key(const struct bw_json *j)
{
	struct bw_json ahead = *j;
	struct key k = {NULL, 0};

	ahead.p++;
	next_key(&ahead, &k);
	return ahead.bad ? (struct key){NULL, 0} : k;
}

/* As bw_json_extra(), up to the key end, or, if rising, to what is not below it. */
static void take_extra(struct bw_json *j, const char *const *known, const char *end, bool rising, const char **ret,
		       size_t *ret_len)
{
	struct key key = {NULL, 0}, until = {end, end ? strlen(end) : 0};
	const char *start = j->p;

	while (peek(j) == ',') {
		struct key next = peek_key(j);

		if (end && next.len && (rising ? !rises(&next, &until)
					       : !rises(&next, &until) && !rises(&until, &next)))
			break;
		j->p++;
		next_key(j, &key);
		if (!j->bad && among(&key, known))
			j->bad = true;
		bw_json_expect(j, ":");
		skip_value(j, 2);
	}
	*ret = start;
	*ret_len = j->bad ? 0 : (size_t)(j->p - start);
}

void bw_json_extra(struct bw_json *j, const char *const *known, const char *last, const char **ret,
		   size_t *ret_len)
{
	take_extra(j, known, last, false, ret, ret_len);
}

void bw_json_extra_below(struct bw_json *j, const char *const *known, const char *key, const char **ret,
			 size_t *ret_len)
{
	take_extra(j, known, key, true, ret, ret_len);
}

/* ---- Writing ------------------------------------------------------------------------------------ */

/* Numbers make up most of a root, and a root is written at each attempt: no printf. */
void bw_json_put_int(struct bw_buf *b, uint64_t v)
{
	char text[20], *p = text + sizeof(text);

	do
		*--p = (char)('0' + v % 10);
	while (v /= 10);
	bw_buf_add(b, p, (size_t)(text + sizeof(text) - p));
}

void bw_json_put_dec(struct bw_buf *b, uint64_t v)
{
	char text[22], *p = text + sizeof(text);

	*--p = '"';
	do
		*--p = (char)('0' + v % 10);
	while (v /= 10);
	*--p = '"';
	bw_buf_add(b, p, (size_t)(text + sizeof(text) - p));
}

void bw_json_put_hex64(struct bw_buf *b, uint64_t v)
{
	char text[18] = {[0] = '"', [17] = '"'};

	for (int i = 16; i > 0; i--, v >>= 4)
		text[i] = "0123456789abcdef"[v & 15];
	bw_buf_add(b, text, sizeof(text));
}

void bw_json_put_hex(struct bw_buf *b, const void *bytes, size_t len)
{
	bw_buf_str(b, "\"");
	char *room = bw_buf_room(b, 2 * len);
	if (room) {
		bw_hex(bytes, len, room);
		bw_buf_used(b, 2 * len);
	}
	bw_buf_str(b, "\"");
}

void bw_json_put_text(struct bw_buf *b, const char *text)
{
	bw_buf_str(b, "\"");
	for (const char *p = text; *p; p++) {
		if (is_plain(*p))
			bw_buf_u8(b, (uint8_t)*p);
		else
			bw_buf_fmt(b, "%%%02x", (unsigned char)*p);
	}
	bw_buf_str(b, "\"");
}
