/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/key.h"

#include "manifest/json.h"
#include "store/base/parse.h"
#include "store/base/rand.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID8 8
#define PROBE_HEX 16

/*
 * Each parser reads loosely; bw_key_parse() then builds the key of what was read and compares, so
 * that only one spelling is left.
 */

static uint64_t number(const char **text, int base)
{
	char *end;
	uint64_t n = strtoull(*text, &end, base);

	*text = end;
	return n;
}

/* "LEVEL/FIRST-LAST-HASH" */
static void parse_node(const char *text, struct bw_key *k)
{
	k->kind = BW_KEY_NODE;
	k->level = (unsigned)number(&text, 10);
	text += *text == '/';
	k->first = number(&text, 10);
	text += *text == '-';
	k->last = number(&text, 10);
	text += *text == '-';
	k->hash = number(&text, 16);
}

/* "PRODUCER/EPOCH/SEQ-NONCE" */
static void parse_upload(const char *text, enum bw_key_kind kind, struct bw_key *k)
{
	size_t len = strcspn(text, "/");

	if (len > BW_NAME_MAX)
		return;
	memcpy(k->producer, text, len);
	if (!bw_name_valid(k->producer))
		return;
	text += len + (text[len] == '/');
	k->kind = kind;
	k->epoch = number(&text, 10);
	text += *text == '/';
	k->seq = number(&text, 10);
	text += *text == '-';
	k->nonce = number(&text, 16);
}

static const char *after(const char *text, const char *folder)
{
	size_t len = strlen(folder);

	return strncmp(text, folder, len) == 0 ? text + len : NULL;
}

static struct bw_key parse(const char *text)
{
	struct bw_key k = {.kind = BW_KEY_FOREIGN};
	const char *rest;

	if (strcmp(text, BW_STREAM_KEY) == 0) {
		k.kind = BW_KEY_STREAM;
		return k;
	}
	if (strnlen(text, ID8 + 1) <= ID8)
		return k;
	text += ID8;
	if (strcmp(text, "/hint") == 0) {
		k.kind = BW_KEY_HINT;
	} else if ((rest = after(text, "/manifest/"))) {
		k.kind = BW_KEY_ROOT;
		k.version = number(&rest, 10);
	} else if ((rest = after(text, "/index/"))) {
		parse_node(rest, &k);
	} else if ((rest = after(text, "/data/"))) {
		parse_upload(rest, BW_KEY_DATA, &k);
	} else if ((rest = after(text, "/state/"))) {
		parse_upload(rest, BW_KEY_STATE, &k);
	}
	return k;
}

static void build(const struct bw_stream *s, const struct bw_key *k, char *text)
{
	switch (k->kind) {
	case BW_KEY_FOREIGN:
		break;
	case BW_KEY_STREAM:
		memcpy(text, BW_STREAM_KEY, sizeof(BW_STREAM_KEY));
		break;
	case BW_KEY_HINT:
		bw_key_hint(s, text);
		break;
	case BW_KEY_ROOT:
		bw_key_root(s, k->version, text);
		break;
	case BW_KEY_NODE:
		bw_key_node(s, k->level, k->first, k->last, k->hash, text);
		break;
	case BW_KEY_DATA:
		bw_key_data(s, k->producer, k->epoch, k->seq, k->nonce, text);
		break;
	case BW_KEY_STATE:
		bw_key_state(s, k->producer, k->epoch, k->seq, k->nonce, text);
		break;
	}
}

struct bw_key bw_key_parse(const struct bw_stream *s, const char *text)
{
	struct bw_key k = parse(text);
	char built[BW_KEY_MAX + 1] = "";

	build(s, &k, built);
	if (strcmp(built, text) != 0)
		return (struct bw_key){.kind = BW_KEY_FOREIGN};
	return k;
}

bool bw_key_is_probe(const char *text)
{
	const char *random = text + strlen(BW_PROBE_PREFIX);

	return strncmp(text, BW_PROBE_PREFIX, strlen(BW_PROBE_PREFIX)) == 0 &&
	       strspn(random, "0123456789abcdef") == PROBE_HEX && random[PROBE_HEX] == '/';
}

const char *bw_key_kind_name(enum bw_key_kind kind)
{
	static const char *const names[] = {
		[BW_KEY_FOREIGN] = "foreign object",
		[BW_KEY_STREAM] = "stream.json",
		[BW_KEY_HINT] = "hint",
		[BW_KEY_ROOT] = "root",
		[BW_KEY_NODE] = "index node",
		[BW_KEY_DATA] = "data",
		[BW_KEY_STATE] = "state",
	};

	return names[kind];
}

void bw_key_prefix(const struct bw_stream *s, enum bw_key_kind kind, char prefix[BW_KEY_MAX + 1])
{
	static const char *const folders[] = {
		[BW_KEY_FOREIGN] = "", [BW_KEY_STREAM] = "", [BW_KEY_HINT] = "",
		[BW_KEY_ROOT] = "manifest/", [BW_KEY_NODE] = "index/",
		[BW_KEY_DATA] = "data/", [BW_KEY_STATE] = "state/",
	};
	char id8[ID8 + 1];

	bw_hex(s->id, ID8 / 2, id8);
	snprintf(prefix, BW_KEY_MAX + 1, "%s/%s", id8, folders[kind]);
}
