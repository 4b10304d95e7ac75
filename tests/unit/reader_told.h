/* SPDX-License-Identifier: Apache-2.0 */
/* A root that has just committed one step of a world, and brings its footer along. */
#ifndef BW_TESTS_READER_TOLD_H
#define BW_TESTS_READER_TOLD_H

#include "tests/unit/reader_world.h"

struct told {
	struct bw_root root;
	struct bw_entry entry;
	struct bw_root_footer footer;	/* bytes are owned */
};

static inline void told_init(struct told *t, struct world *w, uint64_t step)
{
	const struct bw_entry *e = &w->head.entries[step];
	struct bw_op op;
	char key[BW_KEY_MAX + 1];

	bw_key_data(&w->stream, e->producer, e->epoch, e->seq, e->nonce, key);
	bw_op_get(&op, key, e->size - e->footer_len, e->footer_len);
	cr_assert_eq(bw_store_sync(w->store, &op), BW_OK);
	memset(t, 0, sizeof(*t));
	t->footer.bytes = malloc(e->footer_len);
	cr_assert(t->footer.bytes && op.blob->len == e->footer_len);
	memcpy(t->footer.bytes, op.blob->bytes, e->footer_len);
	bw_op_done(&op);
	t->footer.step = step;
	t->footer.len = e->footer_len;
	t->entry = *e;
	t->entry.version = t->root.version = 7;
	t->root.head = step + 1;
	t->root.tail_n = t->root.footers_n = 1;
	t->root.tail = &t->entry;
	t->root.footers = &t->footer;
}

static inline void told_done(struct told *t)
{
	free(t->footer.bytes);
}

#endif
