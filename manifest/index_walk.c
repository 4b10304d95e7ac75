/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/index_walk.h"

#include <string.h>

void bw_walk_begin(struct bw_walk *w, struct bw_root *root, uint64_t at, uint64_t end)
{
	*w = (struct bw_walk){.root = bw_root_ref(root), .at = at, .end = end};
}

void bw_walk_done(struct bw_walk *w)
{
	for (unsigned k = 0; k < BW_LEVELS_MAX; k++)
		bw_node_unref(w->nodes[k]);
	bw_root_unref(w->root);
	memset(w, 0, sizeof(*w));
}

/* The lowest node at hand that covers the next step. */
static const struct bw_node *covering(const struct bw_walk *w)
{
	for (unsigned k = 0; k < BW_LEVELS_MAX; k++) {
		const struct bw_node *n = w->nodes[k];

		if (n && n->first <= w->at && w->at <= n->last)
			return n;
	}
	return NULL;
}

static int entries(const struct bw_walk *w, const struct bw_entry *first, uint64_t n,
		   const struct bw_entry **ret, uint32_t *ret_n)
{
	*ret = first;
	*ret_n = (uint32_t)(n < w->end - w->at ? n : w->end - w->at);
	return 1;
}

int bw_walk_move(struct bw_walk *w, const struct bw_entry **ret, uint32_t *ret_n)
{
	struct bw_entry unused;

	if (w->at >= w->end)
		return -ENODATA;
	const struct bw_entry *tail = bw_root_tail_entry(w->root, w->at);

	if (tail)
		return entries(w, tail, w->root->head - w->at, ret, ret_n);
	const struct bw_node *n = covering(w);

	if (n && !n->level)
		return entries(w, &n->entries[w->at - n->first], n->last - w->at + 1, ret, ret_n);
	return bw_index_move(w->root, n, w->at, &unused, &w->want, &w->want_level);
}

int bw_walk_give(struct bw_walk *w, const void *bytes, size_t len)
{
	struct bw_node *n;
	int err = bw_node_decode(w->want_level, &w->want, bytes, len, &n);

	if (err)
		return err;
	bw_node_unref(w->nodes[w->want_level]);
	w->nodes[w->want_level] = n;
	w->hashes[w->want_level] = w->want.hash;
	return 0;
}

void bw_walk_pass(struct bw_walk *w)
{
	w->at = w->want.last + 1;
}

size_t bw_walk_bytes(const struct bw_walk *w)
{
	size_t bytes = 0;

	for (unsigned k = 0; k < BW_LEVELS_MAX; k++)
		bytes += w->nodes[k] ? bw_node_bytes(w->nodes[k]) : 0;
	return bytes;
}
