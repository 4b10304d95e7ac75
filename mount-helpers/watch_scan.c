/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/watch_scan.h"

#include "store/base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW (64u << 10)
#define NAME_MAX_BYTES 255u
#define OVERLAP 64u		/* longer than any "__R_N.distcp" */

struct scan {
	bw_watch_read *read;
	void *ctx;
	uint64_t size;
	struct bw_watch_facts *facts;
	struct bw_buf names;
};

void bw_watch_facts_done(struct bw_watch_facts *f)
{
	free(f->names);
	f->names = NULL;
	f->names_n = 0;
}

/* Exactly len bytes, or an error; -ENODATA when the file has become shorter. */
static int read_at(struct scan *s, uint64_t off, void *bytes, size_t len)
{
	char *to = bytes;

	while (len) {
		ssize_t n = s->read(s->ctx, off, to, len);

		if (n < 0)
			return (int)n;
		if (!n || (size_t)n > len)
			return -ENODATA;
		to += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* ---- Names ------------------------------------------------------------------------------------- */

static void name_add(struct scan *s, const char *name, size_t len)
{
	bw_buf_add(&s->names, name, len);
	bw_buf_u8(&s->names, 0);
	s->facts->names_n += bw_buf_err(&s->names) == 0;
}

static bool name_known(const struct scan *s, const char *name, size_t len)
{
	const char *p = (const char *)s->names.bytes;

	for (uint32_t i = 0; i < s->facts->names_n; i++, p += strlen(p) + 1)
		if (strlen(p) == len && !memcmp(p, name, len))
			return true;
	return false;
}

/* ---- Trackers ---------------------------------------------------------------------------------- */

static int scan_text(struct scan *s)
{
	char text[BW_WATCH_TEXT_MAX + 1];
	size_t from = 0, to = (size_t)s->size;

	s->facts->end = BW_END_TORN;
	if (s->size > BW_WATCH_TEXT_MAX)
		return 0;
	int err = read_at(s, 0, text, to);

	if (err)
		return err;
	while (to > from && is_blank(text[to - 1]))
		to--;
	while (from < to && is_blank(text[from]))
		from++;
	if (from == to || memchr(text + from, 0, to - from))
		return 0;
	memcpy(s->facts->text, text + from, to - from);
	s->facts->text[to - from] = 0;
	s->facts->end = BW_END_WHOLE;
	return 0;
}

/* ---- JSON -------------------------------------------------------------------------------------- */

#define DEPTH_MAX 64

struct json {
	uint64_t arrays;	/* a bit a level: it is an array */
	unsigned depth;
	bool in_text, escape, key, over, bad, began;
	char text[NAME_MAX_BYTES + 1];	/* of the string or the word being read */
	size_t text_len;		/* what it would be; longer than the array holds: not kept */
	char member[NAME_MAX_BYTES + 1];	/* the key at depth 1 whose value is being read */
};

static void json_keep(struct json *j, char c)
{
	if (j->text_len < NAME_MAX_BYTES)
		j->text[j->text_len] = c;
	j->text_len++;
}

static bool has_ending(const char *text, size_t len, const char *ending)
{
	size_t n = strlen(ending);

	return len > n && !memcmp(text + len - n, ending, n);
}

/* A string has ended. */
static void json_text(struct scan *s, struct json *j)
{
	bool kept = j->text_len <= NAME_MAX_BYTES;

	if (j->key) {
		j->key = false;
		if (j->depth == 1) {
			j->text[kept ? j->text_len : 0] = 0;
			memcpy(j->member, j->text, sizeof(j->member));
		}
		return;
	}
	if (!kept || s->facts->names_n >= 65536 ||
	    (!has_ending(j->text, j->text_len, ".safetensors") &&
	     !has_ending(j->text, j->text_len, ".bin")))
		return;
	if (!memchr(j->text, 0, j->text_len) && !name_known(s, j->text, j->text_len))
		name_add(s, j->text, j->text_len);
}

/* A number, true, false or null has ended. */
static void json_word(struct scan *s, struct json *j)
{
	uint64_t v = 0;
	size_t n = j->text_len;

	j->text_len = 0;
	if (!n || n > 18 || j->depth != 1)
		return;
	for (size_t i = 0; i < n; i++) {
		if (!is_digit(j->text[i]))
			return;
		v = v * 10 + (uint64_t)(j->text[i] - '0');
	}
	if (!strcmp(j->member, "global_step")) {
		s->facts->has_step = true;
		s->facts->step = v;
	}
	if (!strcmp(j->member, "commit_timestamp_nsecs"))
		s->facts->committed = v > 0;
}

/* commit_timestamp_nsecs has 19 digits: more than json_word() counts. */
static void json_long_word(struct scan *s, struct json *j)
{
	if (j->depth == 1 && j->text_len > 18 && j->text_len < 24 && is_digit(j->text[0]) &&
	    !strcmp(j->member, "commit_timestamp_nsecs"))
		s->facts->committed = true;
	json_word(s, j);
}

static void json_open(struct json *j, bool array)
{
	if (j->depth == DEPTH_MAX || (!j->depth && j->began)) {
		j->bad = true;
		return;
	}
	j->began = true;
	j->arrays = j->arrays << 1 | array;
	j->depth++;
	j->key = !array;
}

static void json_close(struct json *j, bool array)
{
	if (!j->depth || (j->arrays & 1) != array) {
		j->bad = true;
		return;
	}
	j->arrays >>= 1;
	j->depth--;
	j->key = false;
	j->over = !j->depth;
}

/* A byte within a string. */
static void json_text_byte(struct scan *s, struct json *j, char c)
{
	if (j->escape) {
		j->escape = false;
		json_keep(j, c);
	} else if (c == '\\') {
		j->escape = true;
		json_keep(j, c);
	} else if (c == '"') {
		j->in_text = false;
		json_text(s, j);
		j->text_len = 0;
	} else {
		json_keep(j, c);
	}
}

static void json_byte(struct scan *s, struct json *j, char c)
{
	if (j->in_text) {
		json_text_byte(s, j, c);
		return;
	}
	if (is_blank(c) || c == ',' || c == ':' || c == '}' || c == ']')
		json_long_word(s, j);
	if (is_blank(c))
		return;
	j->bad |= j->over;
	switch (c) {
	case '{':
	case '[':
		json_open(j, c == '[');
		break;
	case '}':
	case ']':
		json_close(j, c == ']');
		break;
	case '"':
		j->in_text = true;
		j->text_len = 0;
		break;
	case ',':
		j->key = j->depth && !(j->arrays & 1);
		break;
	case ':':
		j->key = false;
		break;
	default:
		json_keep(j, c);
		break;
	}
	/* Of the two forms that a document may have ours are the first: an object or an array. */
	j->bad |= !j->depth && !j->over;
}

static int scan_json(struct scan *s)
{
	struct json j = {.depth = 0};
	char *window = NULL;
	int err = 0;

	if (s->size > BW_WATCH_JSON_MAX)
		return 0;
	window = malloc(WINDOW);
	if (!window)
		return -ENOMEM;
	for (uint64_t at = 0; at < s->size && !err && !j.bad; ) {
		size_t n = s->size - at < WINDOW ? (size_t)(s->size - at) : WINDOW;

		err = read_at(s, at, window, n);
		for (size_t i = 0; i < n && !err && !j.bad; i++)
			json_byte(s, &j, window[i]);
		at += n;
	}
	free(window);
	s->facts->end = j.over && !j.bad && !err ? BW_END_WHOLE : BW_END_TORN;
	return err;
}

/* ---- .metadata of a distributed checkpoint ------------------------------------------------------- */

struct shards {
	uint64_t *keys;		/* owned: rank << 32 | number */
	size_t n, cap;
	bool over;
};

static int by_key(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void shards_sort(struct shards *t)
{
	size_t n = 0;

	if (t->n)
		qsort(t->keys, t->n, sizeof(*t->keys), by_key);
	for (size_t i = 0; i < t->n; i++)
		if (!n || t->keys[n - 1] != t->keys[i])
			t->keys[n++] = t->keys[i];
	t->n = n;
}

static int shards_add(struct shards *t, uint64_t key)
{
	if (t->n && t->keys[t->n - 1] == key)
		return 0;
	if (t->n == t->cap) {
		shards_sort(t);
		if (t->n > BW_WATCH_NAMES_MAX) {
			t->over = true;
			return 0;
		}
		size_t cap = 2 * t->n < 1024 ? 1024 : 2 * t->n;
		uint64_t *keys = realloc(t->keys, cap * sizeof(*keys));

		if (!keys)
			return -ENOMEM;
		t->keys = keys;
		t->cap = cap;
	}
	t->keys[t->n++] = key;
	return 0;
}

/* The decimal number that ends before *at, which is moved to its first digit. */
static bool number_before(const char *from, const char **at, uint64_t *ret)
{
	const char *p = *at;
	uint64_t v = 0, digit = 1;

	while (p > from && is_digit(p[-1]) && *at - p < 9) {
		p--;
		v += digit * (uint64_t)(*p - '0');
		digit *= 10;
	}
	if (p == *at)
		return false;
	*at = p;
	*ret = v;
	return true;
}

/* Every "__R_N.distcp" in a window. */
static int shards_in(struct shards *t, const char *window, size_t len)
{
	static const char ending[] = ".distcp";
	const char *p = window, *end = window + len;
	int err = 0;

	while (!err && !t->over && (p = memmem(p, (size_t)(end - p), ending, sizeof(ending) - 1))) {
		const char *at = p;
		uint64_t rank, number;

		p += sizeof(ending) - 1;
		if (!number_before(window, &at, &number) || at == window || *--at != '_' ||
		    !number_before(window, &at, &rank) || at - window < 2 || at[-1] != '_' ||
		    at[-2] != '_')
			continue;
		err = shards_add(t, rank << 32 | number);
	}
	return err;
}

static int shards_read(struct scan *s, struct shards *t, char *window)
{
	size_t kept = 0;
	char last = 0;

	for (uint64_t at = 0; at < s->size;) {
		size_t n = s->size - at < WINDOW ? (size_t)(s->size - at) : WINDOW;
		int err = read_at(s, at, window + kept, n);

		if (!err)
			err = shards_in(t, window, kept + n);
		if (err)
			return err;
		last = window[kept + n - 1];
		at += n;
		n += kept;
		kept = n < OVERLAP ? n : OVERLAP;
		memmove(window, window + n - kept, kept);
	}
	/* A pickle ends in a full stop. */
	s->facts->end = last == '.' ? BW_END_WHOLE : BW_END_TORN;
	return 0;
}

static int scan_dcp(struct scan *s)
{
	struct shards t = {.n = 0};
	char name[64];
	char *window;
	int err;

	if (s->size > BW_WATCH_METADATA_MAX)
		return 0;
	window = malloc(WINDOW + OVERLAP);
	if (!window)
		return -ENOMEM;
	s->facts->end = BW_END_TORN;
	err = shards_read(s, &t, window);
	shards_sort(&t);
	if (t.over)
		s->facts->end = BW_END_UNSAID;
	for (size_t i = 0; i < t.n && !t.over && !err; i++) {
		int n = snprintf(name, sizeof(name), "__%u_%u.distcp", (unsigned)(t.keys[i] >> 32),
				 (unsigned)t.keys[i]);

		name_add(s, name, (size_t)n);
	}
	free(window);
	free(t.keys);
	return err;
}

/* ---- torch.save() ------------------------------------------------------------------------------ */

#define ZIP_END 22		/* bytes of the record at the end of a zip archive without a comment */

static int scan_torch(struct scan *s)
{
	char head[4], tail[ZIP_END];
	int err;

	if (s->size < sizeof(head))
		return 0;
	err = read_at(s, 0, head, sizeof(head));
	if (err || memcmp(head, "PK\3\4", 4) != 0)
		return err;
	s->facts->end = BW_END_TORN;
	if (s->size < ZIP_END)
		return 0;
	err = read_at(s, s->size - ZIP_END, tail, ZIP_END);
	if (!err && !memcmp(tail, "PK\5\6", 4))
		s->facts->end = BW_END_WHOLE;
	return err;
}

/* ---- safetensors ------------------------------------------------------------------------------- */

#define HEADER_MAX (100u << 20)		/* the format's own limit */

/* Behind "data_offsets": the second number of [a, b]. */
static void offsets_at(const char *p, const char *end, uint64_t *largest)
{
	uint64_t v = 0;
	unsigned digits = 0, commas = 0;

	for (; p < end && *p != ']'; p++) {
		if (*p == ',') {
			commas++;
			v = digits = 0;
		} else if (is_digit(*p) && digits < 19) {
			v = v * 10 + (uint64_t)(*p - '0');
			digits++;
		}
	}
	if (p < end && commas == 1 && digits && v > *largest)
		*largest = v;
}

#define OFFSETS_MAX 128u	/* bytes of "data_offsets":[a,b] at most, blanks included */

static int largest_offset(struct scan *s, uint64_t from, uint64_t to, char *window, uint64_t *ret)
{
	static const char word[] = "\"data_offsets\"";
	size_t kept = 0;

	while (from < to) {
		size_t n = to - from < WINDOW ? (size_t)(to - from) : WINDOW;
		int err = read_at(s, from, window + kept, n);
		const char *p = window, *end = window + kept + n;

		if (err)
			return err;
		while ((p = memmem(p, (size_t)(end - p), word, sizeof(word) - 1))) {
			p += sizeof(word) - 1;
			offsets_at(p, end - p < OFFSETS_MAX ? end : p + OFFSETS_MAX, ret);
		}
		from += n;
		n += kept;
		kept = n < OFFSETS_MAX ? n : OFFSETS_MAX;
		memmove(window, window + n - kept, kept);
	}
	return 0;
}

static int scan_safetensors(struct scan *s)
{
	uint64_t header = 0, data = 0;
	uint8_t len[8];
	int err;

	s->facts->end = BW_END_TORN;
	if (s->size < sizeof(len))
		return 0;
	err = read_at(s, 0, len, sizeof(len));
	if (err)
		return err;
	for (unsigned i = 0; i < 8; i++)
		header |= (uint64_t)len[i] << (8 * i);
	if (header > HEADER_MAX || header > s->size - sizeof(len))
		return 0;
	char *window = malloc(WINDOW + OFFSETS_MAX);

	if (!window)
		return -ENOMEM;
	err = largest_offset(s, sizeof(len), sizeof(len) + header, window, &data);
	free(window);
	if (!err && s->size - sizeof(len) - header >= data)
		s->facts->end = BW_END_WHOLE;
	return err;
}

/* ------------------------------------------------------------------------------------------------ */

int bw_watch_scan(enum bw_watch_scan kind, uint64_t size, bw_watch_read *read, void *ctx,
		  struct bw_watch_facts *ret)
{
	struct scan s = {.read = read, .ctx = ctx, .size = size, .facts = ret};
	int err = 0;

	memset(ret, 0, sizeof(*ret));
	bw_buf_init(&s.names, (size_t)BW_WATCH_NAMES_MAX * 64);
	if (kind == BW_SCAN_TEXT)
		err = scan_text(&s);
	else if (kind == BW_SCAN_JSON)
		err = scan_json(&s);
	else if (kind == BW_SCAN_DCP)
		err = scan_dcp(&s);
	else if (kind == BW_SCAN_TORCH)
		err = scan_torch(&s);
	else if (kind == BW_SCAN_SAFETENSORS)
		err = scan_safetensors(&s);
	if (err == -ENODATA) {		/* it has become shorter meanwhile */
		ret->end = BW_END_TORN;
		err = 0;
	}
	if (!err)
		err = bw_buf_err(&s.names);
	if (err || !ret->names_n) {
		bw_buf_done(&s.names);
		ret->names_n = 0;
		return err;
	}
	size_t len;

	ret->names = bw_buf_take(&s.names, &len);
	return 0;
}
