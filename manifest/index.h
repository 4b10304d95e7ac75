/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Index nodes: where entries go when they leave the root's tail.
 *
 * A leaf holds BW_LEAF_ENTRIES entries, a node of level n > 0 holds BW_FANOUT pointers to nodes of
 * level n-1.  Nodes are immutable and named by their content, so writers that race to fold write the
 * same bytes under the same name, and a node may be cached for ever.
 */
#ifndef BW_MANIFEST_INDEX_H
#define BW_MANIFEST_INDEX_H

#include "manifest/root.h"

struct bw_node {
	atomic_uint refs;
	unsigned level;
	uint64_t first, last;
	uint64_t digest_before;		/* level 0: running digest before entry first */
	uint32_t n;
	struct bw_entry *entries;	/* level 0: owned, [n]; else NULL */
	struct bw_pointer *pointers;	/* level > 0: owned, [n]; else NULL */
};

struct bw_node *bw_node_ref(struct bw_node *n);
void bw_node_unref(struct bw_node *n);	/* NULL is fine */
size_t bw_node_bytes(const struct bw_node *n);	/* memory it holds */

/* Both append the object's bytes (envelope included) to out and fill in the pointer to it. */
int bw_leaf_encode(const struct bw_entry *entries, uint32_t n, uint64_t digest_before,
		   struct bw_buf *out, struct bw_pointer *ret) bw_must_check;
int bw_node_encode(unsigned level, const struct bw_pointer *pointers, uint32_t n,
		   struct bw_buf *out, struct bw_pointer *ret) bw_must_check;

/* Checks the bytes against the pointer they were fetched by.  -BW_E_CORRUPT ... */
int bw_node_decode(unsigned level, const struct bw_pointer *by, const void *bytes, size_t len,
		   struct bw_node **ret) bw_must_check;

/*
 * One move of a search for the entry of step (below r->head, at or above r->swept).  node is what the
 * last move asked for (NULL at the start).  Returns 1 with *ret_entry copied; 0 with the pointer and
 * level to fetch next; -BW_E_CORRUPT when the tree has no such step.
 */
int bw_index_move(const struct bw_root *r, const struct bw_node *node, uint64_t step,
		  struct bw_entry *ret_entry, struct bw_pointer *ret_fetch, unsigned *ret_level)
	bw_must_check;

#endif
