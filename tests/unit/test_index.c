/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/envelope.h"
#include "manifest/index.h"
#include "tests/support/sample.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every node a sample has folded. */
struct kept {
	uint32_t n;
	struct {
		unsigned level;
		struct bw_pointer p;
		struct bw_buf bytes;
	} nodes[300];
};

static void keep(void *ctx, unsigned level, const struct bw_pointer *p, const struct bw_buf *bytes)
{
	struct kept *k = ctx;

	cr_assert_lt(k->n, 300);
	k->nodes[k->n].level = level;
	k->nodes[k->n].p = *p;
	bw_buf_init(&k->nodes[k->n].bytes, BW_NODE_RAW_MAX);
	bw_buf_add(&k->nodes[k->n].bytes, bytes->bytes, bytes->len);
	k->n++;
}

static void kept_done(struct kept *k)
{
	for (uint32_t i = 0; i < k->n; i++)
		bw_buf_done(&k->nodes[i].bytes);
	free(k);
}

static struct kept *grow(struct bw_sample *s, uint64_t steps)
{
	struct kept *k = calloc(1, sizeof(*k));

	bw_sample_init(s, 4);
	s->folded = keep;
	s->ctx = k;
	bw_sample_grow(s, steps);
	return k;
}

static const struct bw_buf *fetch(const struct kept *k, unsigned level, const struct bw_pointer *p)
{
	for (uint32_t i = 0; i < k->n; i++) {
		if (k->nodes[i].level == level && k->nodes[i].p.hash == p->hash &&
		    k->nodes[i].p.first == p->first)
			return &k->nodes[i].bytes;
	}
	cr_assert_fail("no such node");
	return NULL;
}

/* I12: a look-up of any step costs at most three nodes. */
static unsigned find(const struct bw_sample *s, const struct kept *k, uint64_t step,
		     struct bw_entry *e)
{
	struct bw_node *node = NULL;
	struct bw_pointer p;
	unsigned level, gets = 0;
	int rc;

	while ((rc = bw_index_move(s->root, node, step, e, &p, &level)) == 0) {
		const struct bw_buf *b = fetch(k, level, &p);

		bw_node_unref(node);
		node = NULL;
		cr_assert_eq(bw_node_decode(level, &p, b->bytes, b->len, &node), 0);
		gets++;
	}
	bw_node_unref(node);
	cr_assert_eq(rc, 1);
	return gets;
}

Test(index, I12_every_step_is_found_from_the_root)
{
	enum { STEPS = 128 * 64 * 2 + 128 * 70 };	/* two levels, and leaves above them */
	struct bw_sample s;
	struct kept *k = grow(&s, STEPS);
	unsigned most = 0;

	cr_assert_eq(s.root->levels_n, 2);
	for (uint64_t step = 0; step < STEPS; step += step < 300 ? 1 : 61) {
		struct bw_entry e;
		unsigned gets = find(&s, k, step, &e);

		cr_assert_eq(e.step, step);
		cr_assert_str_eq(e.producer, step % 2 ? "beta" : "alpha");
		cr_assert_eq(e.seq, step / 2);
		most = gets > most ? gets : most;
	}
	cr_assert_eq(most, 2);
	/* The root itself stays small, and decodes. */
	bw_auto_buf struct bw_buf root = {.max = 0};
	struct bw_root *r;
	bool tombstone;

	bw_buf_init(&root, BW_ROOT_RAW_MAX);
	cr_assert_eq(bw_root_encode(s.root, &root), 0);
	cr_assert_lt(root.len, 64 << 10);
	cr_assert_eq(bw_root_decode(&s.stream, STEPS + 1, root.bytes, root.len, &r, &tombstone), 0);
	bw_root_unref(r);
	kept_done(k);
	bw_sample_done(&s);
}

Test(index, nodes_decode_to_what_they_encode)
{
	struct bw_sample s;
	struct kept *k = grow(&s, 128 * 130);

	for (uint32_t i = 0; i < k->n; i++) {
		const struct bw_buf *b = &k->nodes[i].bytes;
		bw_auto_buf struct bw_buf again = {.max = 0};
		struct bw_pointer p;
		struct bw_node *n;

		cr_assert_eq(bw_node_decode(k->nodes[i].level, &k->nodes[i].p, b->bytes, b->len, &n), 0);
		cr_assert(n->first == k->nodes[i].p.first && n->last == k->nodes[i].p.last);
		cr_assert_gt(bw_node_bytes(n), n->n * sizeof(struct bw_pointer));
		bw_buf_init(&again, BW_NODE_RAW_MAX);
		if (n->level)
			cr_assert_eq(bw_node_encode(n->level, n->pointers, n->n, &again, &p), 0);
		else
			cr_assert_eq(bw_leaf_encode(n->entries, n->n, n->digest_before, &again, &p), 0);
		cr_assert_eq(p.hash, k->nodes[i].p.hash);
		cr_assert_eq(again.len, b->len);
		cr_assert_eq(memcmp(again.bytes, b->bytes, b->len), 0);
		bw_node_unref(bw_node_ref(n));
		bw_node_unref(n);
	}
	kept_done(k);
	bw_sample_done(&s);
}

Test(index, a_node_must_be_what_its_pointer_says)
{
	struct bw_sample s;
	struct kept *k = grow(&s, 128 * 130);
	struct bw_node *n = NULL;

	for (uint32_t i = 0; i < k->n; i++) {
		const struct bw_buf *b = &k->nodes[i].bytes;
		struct bw_pointer wrong[3] = {k->nodes[i].p, k->nodes[i].p, k->nodes[i].p};

		wrong[0].first++;
		wrong[1].last--;
		wrong[2].hash ^= 1;
		for (int w = 0; w < 3; w++)
			cr_assert_eq(bw_node_decode(k->nodes[i].level, &wrong[w], b->bytes, b->len, &n),
				     -BW_E_CORRUPT);
		cr_assert_eq(bw_node_decode(k->nodes[i].level ^ 1, &k->nodes[i].p, b->bytes, b->len, &n),
			     -BW_E_CORRUPT);
	}
	/* Another leaf of the same stream under this pointer's name. */
	cr_assert_eq(bw_node_decode(0, &k->nodes[0].p, k->nodes[1].bytes.bytes, k->nodes[1].bytes.len,
				    &n), -BW_E_CORRUPT);
	kept_done(k);
	bw_sample_done(&s);
}

Test(index, only_whole_aligned_nodes_are_written)
{
	struct bw_sample s;
	bw_auto_buf struct bw_buf out = {.max = 0};
	struct bw_pointer p, pointers[BW_FANOUT];

	bw_sample_init(&s, 4);
	bw_sample_grow(&s, 200);
	bw_buf_init(&out, BW_NODE_RAW_MAX);
	cr_assert_eq(bw_leaf_encode(s.root->tail, 127, 0, &out, &p), -EINVAL);
	cr_assert_eq(bw_leaf_encode(s.root->tail + 1, 128, 0, &out, &p), -EINVAL);
	cr_assert_eq(bw_leaf_encode(s.root->tail, 128, 1, &out, &p), -EINVAL, "digest starts at 0");
	s.root->tail[60].before++;
	cr_assert_eq(bw_leaf_encode(s.root->tail, 128, 0, &out, &p), -EINVAL);
	for (unsigned i = 0; i < BW_FANOUT; i++)
		pointers[i] = (struct bw_pointer){128 * i, 128 * i + 127, i};
	cr_assert_eq(bw_node_encode(1, pointers, BW_FANOUT - 1, &out, &p), -EINVAL);
	cr_assert_eq(bw_node_encode(0, pointers, BW_FANOUT, &out, &p), -EINVAL);
	cr_assert_eq(bw_node_encode(2, pointers, BW_FANOUT, &out, &p), -EINVAL);
	cr_assert_eq(bw_node_encode(BW_LEVELS_MAX, pointers, BW_FANOUT, &out, &p), -EINVAL);
	pointers[5].last++;
	cr_assert_eq(bw_node_encode(1, pointers, BW_FANOUT, &out, &p), -EINVAL);
	cr_assert_eq(out.len, 0);
	bw_sample_done(&s);
}

/* Steps near the largest there can be: nothing wraps around. */
Test(index, the_last_leaf_of_the_longest_stream)
{
	struct bw_entry entries[BW_LEAF_ENTRIES];
	bw_auto_buf struct bw_buf out = {.max = 0};
	struct bw_pointer p;
	struct bw_node *n;

	memset(entries, 0, sizeof(entries));
	for (unsigned i = 0; i < BW_LEAF_ENTRIES; i++) {
		struct bw_entry *e = &entries[i];

		bw_sample_name(e->producer, "p");
		e->step = BW_STEPS_MAX - BW_LEAF_ENTRIES + i;
		e->epoch = 1;
		e->size = 100, e->raw = 1, e->footer_len = 20, e->version = BW_COUNTER_MAX - 1;
		e->before = BW_COUNTER_MAX - 1 - 100 * (BW_LEAF_ENTRIES - i);
	}
	bw_buf_init(&out, BW_NODE_RAW_MAX);
	cr_assert_eq(bw_leaf_encode(entries, BW_LEAF_ENTRIES, 77, &out, &p), 0);
	cr_assert_eq(bw_node_decode(0, &p, out.bytes, out.len, &n), 0);
	cr_assert_eq(n->last, BW_STEPS_MAX - 1);
	bw_node_unref(n);
	for (unsigned i = 0; i < BW_LEAF_ENTRIES; i++)
		entries[i].before++;
	cr_assert_eq(bw_leaf_encode(entries, BW_LEAF_ENTRIES, 77, &out, &p), -EINVAL);
}

Test(index, a_search_outside_the_tree_is_corrupt)
{
	struct bw_sample s;
	struct kept *k = grow(&s, 300);
	struct bw_entry e;
	struct bw_pointer p;
	unsigned level;
	struct bw_node *n;

	cr_assert_eq(bw_index_move(s.root, NULL, 300, &e, &p, &level), -BW_E_CORRUPT);
	cr_assert_eq(bw_node_decode(0, &k->nodes[0].p, k->nodes[0].bytes.bytes, k->nodes[0].bytes.len,
				    &n), 0);
	cr_assert_eq(bw_index_move(s.root, n, 128, &e, &p, &level), -BW_E_CORRUPT);
	cr_assert_eq(bw_index_move(s.root, n, 127, &e, &p, &level), 1);
	bw_node_unref(n);
	/* Swept: the pointer is gone. */
	s.root->levels[0].n = 0;
	cr_assert_eq(bw_index_move(s.root, NULL, 5, &e, &p, &level), -BW_E_CORRUPT);
	kept_done(k);
	bw_sample_done(&s);
}
