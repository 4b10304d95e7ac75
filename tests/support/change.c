/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/change.h"

#include "store/base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "%s: error %d\n", what, err);
	abort();
}

void bw_test_stream(struct bw_stream *s, uint32_t ranks)
{
	*s = (struct bw_stream){.format = BW_FORMAT,
				.block_size = BW_BLOCK_SIZE,
				.created_ms = 1700000000000};
	memset(s->id, 0xab, sizeof(s->id));
	bw_stream_options_default(&s->options);
	s->options.ranks = ranks;
}

void bw_test_owner(uint8_t owner[16], uint8_t b)
{
	memset(owner, b, 16);
}

struct bw_change bw_test_change(enum bw_change_kind kind, const char *name)
{
	struct bw_change c = {.kind = kind};

	snprintf(c.name, sizeof(c.name), "%s", name);
	return c;
}

struct bw_change bw_test_fence(const char *producer, uint8_t owner)
{
	struct bw_change c = bw_test_change(BW_CHANGE_FENCE, producer);

	bw_test_owner(c.owner, owner);
	return c;
}

struct bw_change bw_test_append(const char *producer, uint8_t owner, uint64_t epoch, uint64_t seq,
				uint64_t nonce)
{
	struct bw_change c = bw_test_change(BW_CHANGE_APPEND, producer);

	bw_test_owner(c.owner, owner);
	c.epoch = epoch;
	c.seq = seq;
	c.nonce = nonce;
	c.size = 1000 + seq % 100;
	c.raw = 900;
	c.footer_len = 100;
	c.footer_xxh3 = seq * 31 + nonce;
	return c;
}

struct bw_change bw_test_step(enum bw_change_kind kind, const char *name, uint64_t step)
{
	struct bw_change c = bw_test_change(kind, name);

	c.step = step;
	return c;
}

void bw_test_state(struct bw_change *c, const char *text)
{
	c->has_state = true;
	c->state_len = (uint32_t)strlen(text);
	c->state = (uint8_t *)strdup(text);
	c->state_xxh3 = bw_xxh3(text, strlen(text));
}

struct bw_root *bw_test_stored(const struct bw_stream *s, const struct bw_root *r,
			       struct bw_buf *ret_bytes)
{
	bw_auto_buf struct bw_buf bytes = {.max = 0};
	struct bw_root *again = NULL;
	bool tombstone;

	bw_buf_init(&bytes, BW_ROOT_RAW_MAX);
	must(bw_root_encode(r, &bytes), "encode");
	must(bw_root_decode(s, r->version, bytes.bytes, bytes.len, &again, &tombstone), "decode");
	if (ret_bytes)
		bw_buf_add(ret_bytes, bytes.bytes, bytes.len);
	return again;
}

struct bw_root *bw_test_apply(const struct bw_stream *s, const struct bw_root *base,
			      const struct bw_change *changes, uint32_t n, uint8_t commit_id)
{
	struct bw_commit commit = {.time_ms = base->time_ms + 1};
	struct bw_new_nodes nodes;
	struct bw_root *made;

	memset(commit.id, commit_id, sizeof(commit.id));
	must(bw_apply(s, base, changes, n, &commit, &made, &nodes), "apply");
	bw_new_nodes_done(&nodes);
	struct bw_root *stored = bw_test_stored(s, made, NULL);

	bw_root_unref(made);
	return stored;
}
