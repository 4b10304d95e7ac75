/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A few mounts and readers against one store that loses, delays and repeats, in virtual time, one
 * seed a run.
 *
 * Each writer drives bw_txn as the committer does; each reader opens cold and polls by bw_search as
 * open.c and head_probe.c do.  The oracle looks at every root at the moment it is created, at every
 * result at the moment it is given, at every deletion and at every view a reader takes: I1-I12 and, once faults
 * stop, I13: everything queued is committed, and all garbage goes.  A run can be made worse by a bug of the client, to see that it is found.
 */
#ifndef BW_TESTS_SIM_CHECK_H
#define BW_TESTS_SIM_CHECK_H

#include "tests/support/sim.h"

/* Rules of the protocol, broken on purpose in the simulated clients: the code under test has no switch. */
enum check_bug {
	BUG_NONE,
	BUG_STATUS,	/* EXISTS is taken for a lost slot: the slot is not read */
	BUG_OWNER,	/* batches go under whatever epoch and owner the root has */
	BUG_REUSE,	/* the collector deletes old roots: their names are free */
	BUG_EARLY,	/* acknowledged when the outcome of the put is not known */
	BUG_NODES,	/* the root is put although the put of its index node failed */
	BUG_ABANDON,	/* a slot in doubt is given up, and the batches are built into the next */
	BUG_UPLOAD,	/* committed although the upload of its data failed */
	BUG_CLOCK,	/* the collector takes its own clock, which is ahead, for the store's */
	BUGS,
};
extern const char *const check_bug_names[BUGS];
extern const char *const check_bug_breaks[BUGS];	/* the invariant it is found as */

struct check_options {
	uint64_t seed;
	uint64_t events;	/* with faults; then everybody comes to rest */
	unsigned kinds;		/* of faults (bw_sim_fault) */
	double faults;		/* a request meets one by this chance at least; 0: by the seed */
	int writers, readers, collectors;	/* at most; -1: by the seed */
	bool kills, buries, jobs, fences;
	enum check_bug bug;
	FILE *trace;
};

struct check_result {
	bool failed;
	char text[256];		/* what broke: begins with the invariant */
	uint64_t at_event;	/* when */
	uint64_t events, versions, acked, unknowns, opens, polls, passes, deleted;
};

void check_options_init(struct check_options *o, uint64_t seed);
void check_run(const struct check_options *o, struct check_result *ret);
/*
 * Removes faults, actors and events from a run as long as it, or one of a few seeds after it, still breaks
 * the same invariant; *o becomes the smallest found.
 */
void check_shrink(struct check_options *o, struct check_result *ret);
void check_print(const struct check_options *o, const struct check_result *r, FILE *out);

#endif
