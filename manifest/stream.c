/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/stream.h"

#include "manifest/json.h"
#include "store/base/hash.h"
#include "store/base/rand.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZSTD_LEVEL_DEFAULT 3
#define ZSTD_LEVEL_MAX 19
/* Absent where it would be true, as it is in nearly all streams. */
#define LARGE_UNCONDITIONAL ",\"large_if_absent\":false"

static const char *const members[] = {"format",	  "id",	  "created_ms", "ranks",   "block_size", "compress",
				      "keep",	  "margin", "grace_s",	"max_ahead", "large_if_absent",
				      "checksum", NULL};

void bw_stream_options_default(struct bw_stream_options *o)
{
	*o = (struct bw_stream_options){.keep = 2, .grace_s = 3600};
}

bool bw_stream_options_equal(const struct bw_stream_options *a, const struct bw_stream_options *b)
{
	return a->ranks == b->ranks && a->keep == b->keep && a->margin == b->margin &&
	       a->grace_s == b->grace_s && a->max_ahead == b->max_ahead &&
	       a->compress == b->compress && a->compress_level == b->compress_level;
}

int bw_compress_parse(const char *text, enum bw_compress *ret, int32_t *ret_level)
{
	int32_t level = 0;

	if (!strcmp(text, "none")) {
		*ret = BW_COMPRESS_NONE;
		*ret_level = 0;
		return 0;
	}
	if (!strcmp(text, "zstd")) {
		level = ZSTD_LEVEL_DEFAULT;
	} else if (!strncmp(text, "zstd:", 5)) {
		const char *p = text + 5;

		if (*p == '0')
			return -EINVAL;
		for (; *p >= '0' && *p <= '9' && level <= ZSTD_LEVEL_MAX; p++)
			level = level * 10 + (*p - '0');
		if (*p)
			return -EINVAL;
	}
	if (level < 1 || level > ZSTD_LEVEL_MAX)
		return -EINVAL;
	*ret = BW_COMPRESS_ZSTD;
	*ret_level = level;
	return 0;
}

static bool is_sound(const struct bw_stream *s)
{
	const struct bw_stream_options *o = &s->options;

	if (s->format != BW_FORMAT || s->created_ms < 0 ||
	    (uint64_t)s->created_ms > BW_JSON_INT_MAX)
		return false;
	if (s->block_size < 1 || s->block_size > BW_BLOCK_SIZE_MAX || o->ranks < 1 ||
	    o->ranks > BW_RANKS_MAX || o->keep < 1 || o->keep > BW_MARKERS_MAX)
		return false;
	if (o->margin >= BW_COUNTER_MAX || o->grace_s >= BW_COUNTER_MAX ||
	    o->max_ahead >= BW_COUNTER_MAX)
		return false;
	if (o->compress == BW_COMPRESS_NONE)
		return o->compress_level == 0;
	return o->compress == BW_COMPRESS_ZSTD && o->compress_level >= 1 &&
	       o->compress_level <= ZSTD_LEVEL_MAX;
}

/* All members but the checksum, without white space: what the checksum is made of. */
static void put_compact(struct bw_buf *b, const struct bw_stream *s)
{
	const struct bw_stream_options *o = &s->options;

	bw_buf_fmt(b, "{\"format\":%" PRIu32 ",\"id\":", s->format);
	bw_json_put_hex(b, s->id, sizeof(s->id));
	bw_buf_fmt(b, ",\"created_ms\":%" PRId64 ",\"ranks\":%" PRIu32 ",\"block_size\":%" PRIu32,
		   s->created_ms, o->ranks, s->block_size);
	if (o->compress == BW_COMPRESS_NONE)
		bw_buf_str(b, ",\"compress\":\"none\"");
	else
		bw_buf_fmt(b, ",\"compress\":\"zstd:%" PRId32 "\"", o->compress_level);
	bw_buf_fmt(b, ",\"keep\":%" PRIu32 ",\"margin\":", o->keep);
	bw_json_put_dec(b, o->margin);
	bw_buf_str(b, ",\"grace_s\":");
	bw_json_put_dec(b, o->grace_s);
	bw_buf_str(b, ",\"max_ahead\":");
	bw_json_put_dec(b, o->max_ahead);
	if (s->large_unconditional)
		bw_buf_str(b, LARGE_UNCONDITIONAL);
	bw_buf_str(b, "}");
}

/* A flat object, one member a line. */
static void put_pretty(struct bw_buf *out, const char *compact, size_t len)
{
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		char c = compact[i];

		if (c == '"')
			in_string = !in_string;
		if (c == '}')
			bw_buf_str(out, "\n");
		bw_buf_u8(out, (uint8_t)c);
		if (!in_string && (c == '{' || c == ','))
			bw_buf_str(out, "\n  ");
		if (!in_string && c == ':')
			bw_buf_str(out, " ");
	}
	bw_buf_str(out, "\n");
}

int bw_stream_encode(const struct bw_stream *s, struct bw_buf *out)
{
	bw_auto_buf struct bw_buf compact = {.max = 0};

	bw_buf_init(&compact, BW_STREAM_JSON_MAX);
	if (!is_sound(s))
		return -EINVAL;
	put_compact(&compact, s);
	int rc = bw_buf_err(&compact);
	if (rc)
		return rc;
	uint64_t sum = bw_xxh3(compact.bytes, compact.len);
	compact.len--;
	bw_buf_str(&compact, ",\"checksum\":");
	bw_json_put_hex64(&compact, sum);
	bw_buf_str(&compact, "}");
	rc = bw_buf_err(&compact);
	if (rc)
		return rc;
	put_pretty(out, (const char *)compact.bytes, compact.len);
	return bw_buf_err(out);
}

/* Copies text without the white space outside strings; to holds len bytes.  Returns the length. */
static size_t squeeze(const char *text, size_t len, char *to)
{
	bool in_string = false, escaped = false;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (!in_string && (c == ' ' || c == '\n' || c == '\r' || c == '\t'))
			continue;
		if (c == '"' && !escaped)
			in_string = !in_string;
		escaped = in_string && c == '\\' && !escaped;
		to[n++] = c;
	}
	return n;
}

static void get_compress(struct bw_json *j, struct bw_stream_options *o)
{
	if (bw_json_try(j, "\"none\"")) {
		o->compress = BW_COMPRESS_NONE;
		o->compress_level = 0;
		return;
	}
	bw_json_expect(j, "\"zstd:");
	o->compress = BW_COMPRESS_ZSTD;
	o->compress_level = (int32_t)bw_json_int(j, ZSTD_LEVEL_MAX);
	bw_json_expect(j, "\"");
}

static void get_members(struct bw_json *j, struct bw_stream *s)
{
	struct bw_stream_options *o = &s->options;

	bw_json_expect(j, ",\"id\":");
	bw_json_hex(j, s->id, sizeof(s->id));
	bw_json_expect(j, ",\"created_ms\":");
	s->created_ms = (int64_t)bw_json_int(j, BW_JSON_INT_MAX);
	bw_json_expect(j, ",\"ranks\":");
	o->ranks = (uint32_t)bw_json_int(j, BW_RANKS_MAX);
	bw_json_expect(j, ",\"block_size\":");
	s->block_size = (uint32_t)bw_json_int(j, BW_BLOCK_SIZE_MAX);
	bw_json_expect(j, ",\"compress\":");
	get_compress(j, o);
	bw_json_expect(j, ",\"keep\":");
	o->keep = (uint32_t)bw_json_int(j, BW_MARKERS_MAX);
	bw_json_expect(j, ",\"margin\":");
	o->margin = bw_json_dec(j, BW_COUNTER_MAX - 1);
	bw_json_expect(j, ",\"grace_s\":");
	o->grace_s = bw_json_dec(j, BW_COUNTER_MAX - 1);
	bw_json_expect(j, ",\"max_ahead\":");
	o->max_ahead = bw_json_dec(j, BW_COUNTER_MAX - 1);
	s->large_unconditional = bw_json_try(j, LARGE_UNCONDITIONAL);
}

static int decode_compact(char *text, size_t len, struct bw_stream *ret)
{
	struct bw_stream s = {.format = 0};
	struct bw_json j;
	const char *extra;
	size_t extra_len;

	/* The format comes first, in every format there will be: nothing else is looked at before. */
	bw_json_init(&j, text, len);
	bw_json_expect(&j, "{\"format\":");
	s.format = (uint32_t)bw_json_int(&j, UINT32_MAX);
	if (j.bad)
		return -BW_E_CORRUPT;
	if (s.format > BW_FORMAT)
		return -BW_E_FORMAT_NEWER;
	get_members(&j, &s);
	bw_json_extra(&j, members, "checksum", &extra, &extra_len);
	size_t summed = (size_t)(j.p - text);
	bw_json_expect(&j, ",\"checksum\":");
	uint64_t sum = bw_json_hex64(&j);
	bw_json_expect(&j, "}");
	if (!bw_json_finished(&j) || !is_sound(&s))
		return -BW_E_CORRUPT;
	text[summed] = '}';
	if (bw_xxh3(text, summed + 1) != sum)
		return -BW_E_CORRUPT;
	*ret = s;
	return 0;
}

int bw_stream_decode(const void *bytes, size_t len, struct bw_stream *ret)
{
	if (!len || len > BW_STREAM_JSON_MAX)
		return -BW_E_CORRUPT;
	char *text = malloc(len);
	if (!text)
		return -ENOMEM;
	int rc = decode_compact(text, squeeze(bytes, len, text), ret);
	free(text);
	return rc;
}

/* ---- Keys --------------------------------------------------------------------------------------- */

static void key_prefix(const struct bw_stream *s, char id8[9])
{
	bw_hex(s->id, 4, id8);
}

void bw_key_root(const struct bw_stream *s, uint64_t version, char key[BW_KEY_MAX + 1])
{
	char id8[9];

	key_prefix(s, id8);
	snprintf(key, BW_KEY_MAX + 1, "%s/manifest/%020" PRIu64, id8, version);
}

void bw_key_hint(const struct bw_stream *s, char key[BW_KEY_MAX + 1])
{
	char id8[9];

	key_prefix(s, id8);
	snprintf(key, BW_KEY_MAX + 1, "%s/hint", id8);
}

static void upload_key(const struct bw_stream *s, const char *folder, const char *producer,
		       uint64_t epoch, uint64_t seq, uint64_t nonce, char *key)
{
	char id8[9];

	key_prefix(s, id8);
	snprintf(key, BW_KEY_MAX + 1, "%s/%s/%s/%" PRIu64 "/%" PRIu64 "-%016" PRIx64, id8, folder,
		 producer, epoch, seq, nonce);
}

void bw_key_data(const struct bw_stream *s, const char *producer, uint64_t epoch, uint64_t seq,
		 uint64_t nonce, char key[BW_KEY_MAX + 1])
{
	upload_key(s, "data", producer, epoch, seq, nonce, key);
}

void bw_key_state(const struct bw_stream *s, const char *producer, uint64_t epoch, uint64_t seq,
		  uint64_t nonce, char key[BW_KEY_MAX + 1])
{
	upload_key(s, "state", producer, epoch, seq, nonce, key);
}

void bw_key_node(const struct bw_stream *s, unsigned level, uint64_t first, uint64_t last,
		 uint64_t hash, char key[BW_KEY_MAX + 1])
{
	char id8[9];

	key_prefix(s, id8);
	snprintf(key, BW_KEY_MAX + 1, "%s/index/%u/%" PRIu64 "-%" PRIu64 "-%016" PRIx64, id8, level,
		 first, last, hash);
}
