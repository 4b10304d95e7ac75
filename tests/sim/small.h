/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same code with small roots: a leaf of 4 steps, nodes of 4 pointers, so that a run of a few
 * hundred events folds leaves and nodes of every level, and costs a tenth.  Included before every
 * file of the simulator that CTest runs with many seeds; the numbers of the format are in limits.h.
 */
#ifndef BW_TESTS_SIM_SMALL_H
#define BW_TESTS_SIM_SMALL_H

#include "store/base/limits.h"

#undef BW_LEAF_ENTRIES
#define BW_LEAF_ENTRIES 4u
#undef BW_TAIL_FOLD
#define BW_TAIL_FOLD 16u	/* less a leaf: all that one commit of the simulator can append */
#undef BW_TAIL_MAX
#define BW_TAIL_MAX 64u
#undef BW_FANOUT
#define BW_FANOUT 4u
#undef BW_LEVEL_FOLD
#define BW_LEVEL_FOLD 4u
#undef BW_APPENDS_MAX
#define BW_APPENDS_MAX 32u
#undef BW_CHANGES_MAX
#define BW_CHANGES_MAX 64u

#endif
