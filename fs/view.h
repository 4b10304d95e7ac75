/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Name templates: the paths that a loader already expects, for the slices of /step.  Pure.
 *
 *	rollouts/step_{step}/rank_{rank}.bin	{step:08d}/{rank:05d}.tar	{step}_{rank}.npy
 *
 * The one idea: all templates of a mount are one tree of names.  A node is the name of an entry below its
 * parent's, with the fields that stand in it; templates that begin alike share nodes, and siblings are
 * such that no name fits two of them.  A place is a node with the numbers of its fields: one file or
 * directory of the mount.  Places are numbers as well, so they need no table, at any length of a history.
 *
 * Numbers are decimal without leading zeros, and filled with zeros to the width where one is given; what
 * is longer than the width has none.  So a place has one name, and a name is one place.
 */
#ifndef BW_FS_VIEW_H
#define BW_FS_VIEW_H

#include "store/base/err.h"
#include "store/base/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BW_VIEWS_MAX 8u
#define BW_VIEW_TEMPLATE_MAX 1023u	/* bytes */
#define BW_VIEW_NODES_MAX 32u		/* names in all templates of a mount, and the top directory */
#define BW_VIEW_TEXT_MAX 4096u		/* bytes of them */
#define BW_VIEW_NAME_MAX 255u		/* bytes of a name with its numbers */
#define BW_VIEW_WIDTH_MAX 20u
#define BW_VIEW_PATH_MAX (BW_VIEW_TEMPLATE_MAX + 2 * BW_VIEW_WIDTH_MAX)
#define BW_VIEW_STEPS_MAX (UINT64_C(1) << 40)	/* steps that fit a place */

#define BW_VIEW_STEP 1u
#define BW_VIEW_RANK 2u

struct bw_view_node {
	uint8_t parent;			/* 0: the top directory, which is node 0 */
	uint8_t fields;			/* BW_VIEW_STEP, BW_VIEW_RANK: in this name */
	uint8_t known;			/* in it or in a name above */
	uint8_t width[2];		/* of step and rank; 0: none */
	bool file;			/* a slice */
	uint16_t text;			/* of the name, where bytes 1 and 2 stand for step and rank */
};

/* The templates of a mount; all zero is none.  Copied by assignment. */
struct bw_views {
	uint8_t views_n, nodes_n;
	uint16_t text_len;
	struct bw_view_node nodes[BW_VIEW_NODES_MAX];
	char text[BW_VIEW_TEXT_MAX];
};

/* Adds a template.  -EINVAL, one sentence in why, and nothing is added: it is no template, or names of it
 * could be taken for another's or for the mount's own. */
int bw_views_add(struct bw_views *v, const char *template, char *why, size_t why_len) bw_must_check;

/* step and rank are 0 where the node does not know them. */
struct bw_view_place {
	uint32_t node;
	uint32_t rank;
	uint64_t step;
};

/* What name is in a directory; -ENOENT.  Ranks are below ranks, whether steps exist is not asked. */
int bw_view_match(const struct bw_views *v, const struct bw_view_place *dir, const char *name,
		  uint32_t ranks, struct bw_view_place *ret) bw_must_check;
/* The directory that a place is in. */
struct bw_view_place bw_view_parent(const struct bw_views *v, const struct bw_view_place *p);
/* Its name there; of the top directory "". */
void bw_view_name(const struct bw_views *v, const struct bw_view_place *p, char ret[BW_VIEW_NAME_MAX + 1]);
/* Its path from the top of the mount. */
void bw_view_path(const struct bw_views *v, const struct bw_view_place *p, char ret[BW_VIEW_PATH_MAX + 1]);
/* Whether entries of a directory come and go with steps. */
bool bw_view_lists_steps(const struct bw_views *v, uint32_t node);

/* What there is to list. */
struct bw_view_range {
	uint64_t first, head;		/* steps */
	uint32_t ranks;
};
/* False: no more of them now, this one was not taken.  number: bw_view_number() of p. */
typedef bool bw_view_emit(void *ctx, const struct bw_view_place *p, const char *name, uint64_t number);
/* The entries of a directory whose number is at least from, by number: each template's names by step, then by
 * rank.  Holds nothing between two calls.  False: emit said so. */
bool bw_view_list(const struct bw_views *v, const struct bw_view_place *dir, const struct bw_view_range *range,
		  uint64_t from, bw_view_emit *emit, void *ctx);

/* 5 bits of node, 40 of step, 16 of rank; below 2^61. */
uint64_t bw_view_number(const struct bw_view_place *p);
struct bw_view_place bw_view_of_number(uint64_t number);

/* Inode numbers of directories: bit 61 and the number, so what they are depends on the mount's options.
 * A slice has the inode number that it has under /step (names.h). */
uint64_t bw_view_ino(const struct bw_view_place *p);
bool bw_is_view_ino(uint64_t ino);
struct bw_view_place bw_view_ino_split(uint64_t ino);

#endif
