/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/history.h"

#include "tests/support/stores.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s failed\n", what);
	abort();
}

static void tap_submit(struct bw_store *s, struct bw_op *op)
{
	struct bw_test_tap *tap = (struct bw_test_tap *)s;

	if (op->kind == BW_OP_GET)
		atomic_fetch_add(&tap->gets, 1);
	if (op->kind == BW_OP_PUT)
		atomic_fetch_add(&tap->puts, 1);
	bool (*on_submit)(struct bw_test_tap *, struct bw_op *) = tap->on_submit;

	if (on_submit && on_submit(tap, op))
		return;
	bw_store_submit(s->next, op);
}

static void tap_cancel(struct bw_store *s, struct bw_op *op)
{
	bw_store_cancel(s->next, op);
}

static void tap_free(struct bw_store *s)
{
	bw_store_free(s->next);
	free(s);
}

struct bw_test_tap *bw_test_tap_new(struct bw_store *below)
{
	static const struct bw_store_ops ops = {
		.name = "tap", .submit = tap_submit, .cancel = tap_cancel, .free = tap_free};
	struct bw_test_tap *tap = calloc(1, sizeof(*tap));

	must(tap, "memory");
	tap->store = (struct bw_store){.ops = &ops, .next = below};
	return tap;
}

static bool pass(struct bw_test_tap *t, struct bw_op *op)
{
	bw_store_submit(t->ctx, op);
	return true;
}

static void nowhere_submit(struct bw_store *s, struct bw_op *op)
{
	(void)s;
	(void)op;
	must(false, "a request to nowhere");
}

static void nowhere_free(struct bw_store *s)
{
	free(s);
}

struct bw_store *bw_test_way_new(struct bw_store *to)
{
	static const struct bw_store_ops ops = {
		.name = "nowhere", .submit = nowhere_submit, .free = nowhere_free};
	struct bw_store *nowhere = calloc(1, sizeof(*nowhere));

	must(nowhere, "memory");
	nowhere->ops = &ops;
	struct bw_test_tap *t = bw_test_tap_new(nowhere);

	t->on_submit = pass;
	t->ctx = to;
	return &t->store;
}

static void put_bytes(struct bw_store *s, const char *key, const struct bw_buf *b, bool if_absent)
{
	must(bw_test_put(s, key, b->bytes, b->len, if_absent) == BW_OK, key);
}

void bw_test_put_root(struct bw_store *s, const struct bw_stream *stream, const struct bw_root *r)
{
	bw_auto_buf struct bw_buf bytes = {.max = 0};
	char key[BW_KEY_MAX + 1];

	bw_buf_init(&bytes, BW_ROOT_RAW_MAX);
	must(!bw_root_encode(r, &bytes), "encode");
	bw_key_root(stream, r->version, key);
	put_bytes(s, key, &bytes, false);
}

void bw_test_create(struct bw_store *s, struct bw_stream *stream, struct bw_root **ret_root)
{
	bw_auto_buf struct bw_buf json = {.max = 0};
	struct bw_root *first;

	bw_test_stream(stream, 4);
	bw_buf_init(&json, BW_STREAM_JSON_MAX);
	must(!bw_stream_encode(stream, &json), "stream.json");
	put_bytes(s, BW_STREAM_KEY, &json, true);
	must(!bw_root_first(stream, &first), "root 1");
	bw_test_put_root(s, stream, first);
	*ret_root = bw_test_stored(stream, first, NULL);
	bw_root_unref(first);
}

void bw_test_commit(struct bw_store *s, const struct bw_stream *stream, struct bw_root **root,
		    const struct bw_change *changes, uint32_t n)
{
	struct bw_commit by = {.time_ms = (*root)->time_ms + 1, .id = {(uint8_t)(*root)->version}};
	bw_auto_buf struct bw_buf bytes = {.max = 0};
	struct bw_new_nodes nodes;
	struct bw_root *made;
	char key[BW_KEY_MAX + 1];

	must(!bw_apply(stream, *root, changes, n, &by, &made, &nodes), "apply");
	for (uint32_t i = 0; i < nodes.n; i++) {
		const struct bw_pointer *p = &nodes.nodes[i].pointer;

		bw_key_node(stream, nodes.nodes[i].level, p->first, p->last, p->hash, key);
		put_bytes(s, key, &nodes.nodes[i].bytes, false);
	}
	bw_new_nodes_done(&nodes);
	bw_root_unref(*root);
	bw_buf_init(&bytes, BW_ROOT_RAW_MAX);
	*root = bw_test_stored(stream, made, &bytes);
	bw_root_unref(made);
	bw_key_root(stream, (*root)->version, key);
	put_bytes(s, key, &bytes, true);
}

void bw_test_bury(struct bw_store *s, const struct bw_stream *stream, uint64_t version)
{
	bw_auto_buf struct bw_buf bytes = {.max = 0};
	char key[BW_KEY_MAX + 1];

	bw_buf_init(&bytes, 1024);
	must(!bw_tombstone_encode(version, &bytes), "tombstone");
	bw_key_root(stream, version, key);
	put_bytes(s, key, &bytes, false);
}
