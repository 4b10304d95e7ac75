/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/whole.h"

#include "manifest/batch.h"
#include "manifest/index.h"
#include "tests/support/stores.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "whole: %s failed\n", what);
	abort();
}

void bw_whole_init(struct bw_whole *w, struct bw_store *store)
{
	bw_auto_buf struct bw_buf json = {.max = 0};
	struct bw_root *first;

	*w = (struct bw_whole){.store = store};
	bw_test_stream(&w->stream, BW_WHOLE_RANKS);
	w->stream.block_size = BW_WHOLE_BLOCK;	/* builders hold a few of them */
	bw_buf_init(&json, BW_STREAM_JSON_MAX);
	must(!bw_stream_encode(&w->stream, &json), "stream.json");
	bw_whole_put(w, BW_STREAM_KEY, json.bytes, json.len);
	must(!bw_root_first(&w->stream, &first), "root 1");
	bw_test_put_root(store, &w->stream, first);
	w->root = bw_test_stored(&w->stream, first, NULL);
	bw_root_unref(first);
}

void bw_whole_done(struct bw_whole *w)
{
	bw_root_unref(w->root);
	w->root = NULL;
}

struct bw_change bw_whole_upload(struct bw_whole *w, const char *producer, uint8_t owner, uint64_t epoch,
				 uint64_t seq, size_t state_len)
{
	struct bw_bytes_body bytes[BW_WHOLE_RANKS];
	struct bw_body *slices[BW_WHOLE_RANKS];
	char text[BW_WHOLE_RANKS][120];
	uint8_t id[16];
	struct bw_batch *b;
	struct bw_change c;

	for (unsigned i = 0; i < BW_WHOLE_RANKS; i++) {
		int len = snprintf(text[i], sizeof(text[i]), "%s epoch %06" PRIu64 " seq %06" PRIu64 " rank %u",
				   producer, epoch, seq, i);

		bw_bytes_body_init(&bytes[i], text[i], (size_t)len);
		slices[i] = &bytes[i].body;
	}
	must(!bw_batch_build(&w->stream, producer, epoch, seq, slices, NULL, &b), "build");
	if (state_len) {
		char *state = calloc(1, state_len);

		must(state, "memory");
		memset(state, 'a' + (int)(seq % 26), state_len);
		must(!bw_batch_set_state(b, state, state_len, true), "state");
		free(state);
	}
	must(!bw_batch_upload_sync(b, w->store, BW_NEVER), "upload");
	bw_test_owner(id, owner);
	must(!bw_batch_change(b, id, &c), "change");
	bw_batch_free(b);
	return c;
}

void bw_whole_no_footer(struct bw_change *c)
{
	free(c->footer);
	c->footer = NULL;
}

void bw_whole_commit(struct bw_whole *w, const struct bw_change *changes, uint32_t n)
{
	bw_test_commit(w->store, &w->stream, &w->root, changes, n);
}

void bw_whole_fence(struct bw_whole *w, const char *producer, uint8_t owner)
{
	struct bw_change c = bw_test_fence(producer, owner);

	bw_whole_commit(w, &c, 1);
}

void bw_whole_append(struct bw_whole *w, const char *producer, uint32_t n, size_t state_len)
{
	struct bw_change changes[BW_APPENDS_MAX];

	while (n) {
		const struct bw_producer_entry *p = bw_root_producer(w->root, producer);
		uint32_t k = n < BW_APPENDS_MAX ? n : BW_APPENDS_MAX;

		must(p, "producer");
		for (uint32_t i = 0; i < k; i++)
			changes[i] = bw_whole_upload(w, producer, p->owner[0], p->epoch, p->next + i,
						     state_len);
		bw_whole_commit(w, changes, k);
		for (uint32_t i = 0; i < k; i++)
			bw_change_done(&changes[i]);
		n -= k;
	}
}

struct bw_entry bw_whole_entry(struct bw_whole *w, uint64_t step)
{
	struct bw_node *node = NULL;
	struct bw_pointer p;
	struct bw_entry e;
	unsigned level;
	int rc;

	while ((rc = bw_index_move(w->root, node, step, &e, &p, &level)) == 0) {
		bw_auto_blob struct bw_blob *blob = NULL;
		char key[BW_KEY_MAX + 1];

		bw_node_unref(node);
		bw_key_node(&w->stream, level, p.first, p.last, p.hash, key);
		must(bw_test_get(w->store, key, &blob) == BW_OK, "node");
		must(!bw_node_decode(level, &p, blob->bytes, blob->len, &node), "decode");
	}
	bw_node_unref(node);
	must(rc == 1, "entry");
	return e;
}

void bw_whole_data_key(struct bw_whole *w, uint64_t step, char key[BW_KEY_MAX + 1])
{
	struct bw_entry e = bw_whole_entry(w, step);

	bw_key_data(&w->stream, e.producer, e.epoch, e.seq, e.nonce, key);
}

void bw_whole_find(struct bw_whole *w, const char *part, char key[BW_KEY_MAX + 1])
{
	struct bw_op op;
	unsigned n = 0;

	bw_op_list(&op, "", "", BW_LIST_PAGE_MAX);
	must(bw_store_sync(w->store, &op) == BW_OK && !op.listing->more, "list");
	for (size_t i = 0; i < op.listing->n; i++) {
		if (!strstr(op.listing->items[i].key, part))
			continue;
		snprintf(key, BW_KEY_MAX + 1, "%s", op.listing->items[i].key);
		n++;
	}
	bw_op_done(&op);
	must(n == 1, part);
}

void bw_whole_put(struct bw_whole *w, const char *key, const void *bytes, size_t len)
{
	must(bw_test_put(w->store, key, bytes, len, false) == BW_OK, key);
}

void bw_whole_delete(struct bw_whole *w, const char *key)
{
	must(bw_test_delete(w->store, key) == BW_OK, key);
}

void bw_whole_cut(struct bw_whole *w, const char *key, size_t len)
{
	bw_auto_blob struct bw_blob *blob = NULL;

	must(bw_test_get(w->store, key, &blob) == BW_OK && len < blob->len, key);
	bw_whole_put(w, key, blob->bytes, len);
}

void bw_whole_flip(struct bw_whole *w, const char *key, size_t at)
{
	bw_auto_blob struct bw_blob *blob = NULL, *other = NULL;

	must(bw_test_get(w->store, key, &blob) == BW_OK && at < blob->len, key);
	other = bw_blob_copy(blob->bytes, blob->len);
	must(other, "memory");
	other->bytes[at] ^= 4;
	bw_whole_put(w, key, other->bytes, other->len);
}

void bw_whole_swap(struct bw_whole *w, const char *a, const char *b)
{
	bw_auto_blob struct bw_blob *x = NULL, *y = NULL;

	must(bw_test_get(w->store, a, &x) == BW_OK && bw_test_get(w->store, b, &y) == BW_OK, "swap");
	bw_whole_put(w, a, y->bytes, y->len);
	bw_whole_put(w, b, x->bytes, x->len);
}

void bw_whole_copy(struct bw_whole *w, const char *from, const char *to)
{
	bw_auto_blob struct bw_blob *blob = NULL;

	must(bw_test_get(w->store, from, &blob) == BW_OK, from);
	bw_whole_put(w, to, blob->bytes, blob->len);
}

void bw_whole_tell(const struct bw_fsck_report *r)
{
	for (size_t i = 0; i < r->findings_n; i++)
		fprintf(stderr, "[%s] %s\n", bw_fsck_check_name(r->findings[i].check), r->findings[i].text);
}

void bw_whole_fsck(struct bw_store *store, const struct bw_fsck_options *o, struct bw_fsck_report *ret)
{
	char why[200] = "";

	if (!bw_fsck(store, o, ret, why, sizeof(why)))
		return;
	fprintf(stderr, "fsck: %s\n", why);
	abort();
}
