/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a model of the protocol is to the explorer: a start state, the moves from a state, and what
 * must hold.
 *
 * A state is a fixed number of bytes without padding that matters (zeroed first), so equal states
 * are equal bytes.  A move is one request that the store executes together with what its sender
 * makes of the answer, or one fault.  That a client stops anywhere, for ever or for a day, needs no
 * move of its own: nothing forces it to move.  What must hold is said in two places: bw_broken()
 * while a move is made, for what only the move shows, and the model's broken() for what a state
 * shows.
 *
 * Threading: none.
 */
#ifndef BW_TESTS_MODEL_MODEL_H
#define BW_TESTS_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BW_STATE_MAX 128
#define BW_MOVES_MAX 96
#define BW_BOUNDS_MAX 12

/* A move that is a fault, or news from outside, is not taken when it is asked whether all settles.
 */
enum bw_fairness { BW_FAULT, BW_FAIR };

struct bw_move {
	uint8_t next[BW_STATE_MAX];
	enum bw_fairness fairness;
	const char *broken;	/* the invariant this move breaks, or NULL */
	const char *format;	/* printf format of what happens, for the arguments below */
	int args[4];
};

struct bw_moves {
	struct bw_move moves[BW_MOVES_MAX];
	size_t n;
	size_t state_size;
	const char *broken;	/* of the move that is being made */
};

/* A rule of the protocol and the switch that removes it. */
struct bw_mutation {
	const char *name;
	const char *rule;	/* as docs/protocol.md has it */
	const char *breaks;	/* invariants that may be seen broken first: "I6", "I3 I9" */
	const char *bounds; /* "name=value ...": needed besides the configuration's own, or NULL */
};

struct bw_bound {
	const char *name;
	int value, max;
	const char *what;
};

struct bw_setting {
	const struct bw_model *model;
	int mutation;		/* index into the model's mutations; -1: none */
	int bounds[BW_BOUNDS_MAX];
	bool whole;		/* no state stands for another: to check canonical() itself */
};

struct bw_model {
	const char *name;
	size_t state_size;
	const struct bw_mutation *mutations;
	size_t mutations_n;
	const struct bw_bound *bounds;
	size_t bounds_n;
	void (*start)(const struct bw_setting *s, void *state);
	void (*moves)(const struct bw_setting *s, const void *state, struct bw_moves *out);
	/* Turns state into the one that stands for all that differ only by names of mounts. */
	void (*canonical)(const struct bw_setting *s, void *state);
	const char *(*broken)(const struct bw_setting *s, const void *state);	/* or NULL */
	/* Nothing is left to do: all is told its outcome, all garbage is gone. */
	bool (*settled)(const struct bw_setting *s, const void *state);
};

/* The state the next move leads to is written here first: a copy of the state it starts from. */
#define bw_broken(out, text) ((out)->broken = (out)->broken ? (out)->broken : (text))

/* Adds a move to next; takes over what bw_broken() said since the one before. */
void bw_move_add(struct bw_moves *out, const void *next, enum bw_fairness fairness,
		 const char *format, int a, int b, int c);

/* "name=value ..."; 0, or -EINVAL for a name or a value that the model does not have. */
int bw_bounds_set(struct bw_setting *s, const char *text);

extern const struct bw_model bw_model_commit, bw_model_open, bw_model_reclaim;

#endif
