/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A state of the commit model: the store's roots, the mounts, what the network still holds, and
 * what producers were told.  What must hold when a root comes to be, and which states differ by
 * names only.
 *
 * A root is a number: the producer's epoch, owner, next, and an entry for each step.  Owners are
 * lives of mounts: 1 + mount * 2 + life, 0 is nobody.  An entry is seq, the life that uploaded it,
 * and whether it was edited since: this stands for its nonce.
 */
#ifndef BW_TESTS_MODEL_COMMIT_STATE_H
#define BW_TESTS_MODEL_COMMIT_STATE_H

#include "tests/model/model.h"

#define MOUNTS 3
#define VERSIONS 8
#define LATES 3
#define OWNERS 7
#define STEPS 3
#define ENTRY_BITS 6

enum commit_bound {
	MOUNTS_N,
	STEPS_N,
	CRASHES_N,
	RETAKES_N,
	LATES_N,
	TRIMS_N,
	TOMBS_N,
	EDITS_N,
	STRANGERS_N,
	STATE_FIRST_N,
	LIES_N,
};

enum mutation {
	EXISTS_IS_LOST,
	EXISTS_IS_COMMITTED,
	UNKNOWN_IS_LOST,
	UNKNOWN_IS_COMMITTED,
	NOT_FOUND_IS_LOST,
	ABANDON,
	OTHER_BYTES,
	DEFINITE_AFTER_DOUBT,
	BUILD_AHEAD,
	PLAIN_PUT,
	FREE_NAME,
	EPOCH_ONLY,
	NO_FENCE_CHECK,
	SAME_OWNER,
	SKIP_SEQ,
	SEQ_RESTARTS,
	STALE_STATE,
	SKIP_PROOF,
	TRIMMED_IS_LOST,
	NO_RESEND,
	DAMAGED_IS_LOST,
	ABSENT_IS_LOST,
	COVERED_IS_LOST,
	UNCOVERED_IS_COMMITTED,
	NEXT_OF_ANOTHER,
	PROOF_BY_SEQ,
};
struct root {
	uint32_t there : 1, epoch : 3, owner : 3, next : 2, head : 2, first : 2, entries : 18;
};

enum phase {
	OUT,		/* not started, or dead */
	NEWEST,		/* reads the newest root, to build on it */
	SLOT,		/* sends its attempt */
	READ,		/* reads back the slot */
	STATE,		/* the slot is a tombstone: reads the newest root */
	FENCED,		/* was told so */
	DONE,
};

struct mount {
	struct root attempt;
	uint32_t phase : 3, life : 1, fresh : 1, maybe : 1, edit : 1, appends : 1, staged : 1,
		seq : 2, epoch : 3, known : 4, slot : 4;
};

struct state {
	struct root slot[VERSIONS + 1];
	struct mount mount[MOUNTS];
	struct root late[LATES];
	uint8_t late_slot[LATES];	/* 0: none */
	uint8_t refused[OWNERS]; /* batches their producer was told are not committed, a bit each */
	uint8_t n;			/* newest version */
	uint8_t tomb; /* roots up to it are tombstones; their bytes here are only for us */
	uint8_t crashes, retakes, lates, trims, strangers;	/* used up */
};
_Static_assert(sizeof(struct state) <= BW_STATE_MAX, "a state fits");


bool bw_commit_mutated(const struct bw_setting *s, enum mutation m);

unsigned bw_entry_at(struct root r, unsigned step);
unsigned bw_entry_make(unsigned seq, unsigned life, unsigned edit);
unsigned bw_entry_owner(unsigned entry);
struct root bw_root_with(struct root r, unsigned entry);	/* appended */
bool bw_roots_same(struct root a, struct root b);
/* What a life puts into the producer table. */
unsigned bw_owner_of(const struct bw_setting *s, unsigned life);

/* Which invariant breaks when r becomes version v; NULL: none. */
const char *bw_root_created(const struct bw_setting *s, const struct state *st, unsigned v,
			    struct root r);

void bw_late_sort(struct state *st);
void bw_commit_canonical(const struct bw_setting *s, void *state);

#endif
