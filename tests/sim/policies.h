/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules for when to commit, behind one interface: DAC as it is built, and what others do, to compare.
 *
 * A pacer is one committer's state under a rule.  Each has a struct bw_dac that observes, because the
 * client around the rule is the same for all: it guesses the newest version from the speed that it saw, and
 * looks before it puts on a root that is likely old.  Only the waits differ.
 */
#ifndef BW_TESTS_POLICIES_H
#define BW_TESTS_POLICIES_H

#include "manifest/dac.h"

struct pacer;

struct policy {
	const char *name;	/* of the column in the CSV */
	const char *title;
	bool one;		/* a commit takes one batch; else all that is queued */
	bool adaptive;		/* DAC: due and peeks are its own */
	int64_t interval_ns;	/* between attempts; 0: none */
	unsigned tries;		/* a commit fails after so many lost slots and is begun anew; 0: never */
	int64_t (*after_conflict)(struct pacer *p, unsigned conflicts);
};

struct pacer {
	const struct policy *policy;
	struct bw_dac dac;
	int64_t next_ns;	/* fixed interval: the next beat */
	int64_t first_ns;	/* how long the first attempt of this commit took */
};

extern const struct policy policies[];
extern const unsigned policies_n;

void pacer_init(struct pacer *p, const struct policy *policy, uint64_t seed);
int64_t pacer_due(struct pacer *p, int64_t now_ns, uint32_t queued);
int64_t pacer_peek(const struct pacer *p, int64_t now_ns, int64_t due_ns);
/* An attempt begins; it was lost, or won. */
void pacer_attempted(struct pacer *p, int64_t took_ns, bool throttled, unsigned conflicts);
void pacer_committed(struct pacer *p, int64_t now_ns);
int64_t pacer_after_conflict(struct pacer *p, unsigned conflicts);

#endif
