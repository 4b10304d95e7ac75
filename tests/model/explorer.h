/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Visits every state that a model can reach, breadth first, so the first break found has the
 * shortest trace.
 *
 * States are kept whole (no hash stands for a state: nothing is missed), one after the other in one
 * arena, found by a table of hashes and indices; of a trace only the parent's index is kept, the
 * moves are made again when it is printed.  Then every state is asked whether moves without faults
 * lead from it to a settled one, by going backwards over the states until nothing changes.
 *
 * Threading: none.
 */
#ifndef BW_TESTS_MODEL_EXPLORER_H
#define BW_TESTS_MODEL_EXPLORER_H

#include "tests/model/model.h"

/* The hash saves most looks into the arena; index is + 1, 0 for empty. */
struct bw_slot {
	uint32_t hash, index;
};

struct bw_explorer {
	struct bw_setting setting;
	size_t size;		/* of a state */
	uint32_t n, limit;
	uint8_t *states;	/* owned, like what follows: [n][size] */
	uint32_t *parents;	/* [n] */
	struct bw_slot *table;	/* [table_n] */
	size_t table_n;
	uint64_t moves;		/* made so far */
	unsigned depth;		/* longest shortest trace */
	const char *broken;	/* NULL, or the invariant that does not hold */
	uint32_t from, to;	/* the move that broke it: from a state, to one or to BW_NO_STATE */
	struct bw_moves scratch;
	uint32_t hashes[BW_MOVES_MAX];	/* of the states that scratch leads to */
};
#define BW_NO_STATE UINT32_MAX

enum bw_verdict { BW_HOLDS, BW_BROKEN, BW_TOO_MANY };

/* limit: states at most.  0 or -ENOMEM. */
int bw_explorer_new(const struct bw_setting *s, uint32_t limit, struct bw_explorer **ret);
void bw_explorer_free(struct bw_explorer *e);

/* Safety, then (where it holds) that all settles. */
enum bw_verdict bw_explore(struct bw_explorer *e);

/* The moves from state, with their next states as they are, not canonical. */
const struct bw_moves *bw_explorer_moves(struct bw_explorer *e, const void *state);
void bw_explorer_canonical(const struct bw_explorer *e, void *state);

#endif
