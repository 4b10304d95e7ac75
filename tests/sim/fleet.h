/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fleet of mounts that follow one stream, in virtual time: how many requests they send, and when.
 *
 * The pauses (manifest/follow.h) and the search for the newest version are the real ones; around them is the
 * loop of the prober (manifest/head_probe.c) without its thread.  Each mount has one training process that reads
 * step after step, one a version.
 */
#ifndef BW_TESTS_SIM_FLEET_H
#define BW_TESTS_SIM_FLEET_H

#include <stdbool.h>
#include <stdint.h>

/* How the time between two commits is drawn, around its mean. */
enum fleet_pace {
	FLEET_STEADY,	/* a fifth more or less */
	FLEET_CLOCKED,	/* a fiftieth more or less */
	FLEET_CHANCE,	/* exponential: nothing can be foretold */
	FLEET_PAIRS,	/* two commits at once, twice the time between */
	FLEET_CHANGES,	/* steady, three times as often in every other ten seconds */
};

struct fleet {
	uint32_t mounts;
	double seconds;		/* measured, behind a third as many that are not */
	double every_s;		/* between two commits; 0: nothing is committed */
	enum fleet_pace pace;
	double compute_s;	/* of a step */
	bool lock_step;		/* nobody computes before all have the step */
	double ahead;		/* so many steps are there when training begins */
	double away_s;		/* the store answers nothing for so long, from the middle of what is measured on */
	bool hangs;		/* while it is away requests get no answer, rather than an error at once */
	double limit;		/* requests a second that the store answers; 0: all */
	uint64_t seed;
};

struct fleet_result {
	double requests;	/* per second, of all */
	double mount;		/* per second and mount: the mean */
	double mount_max;	/* the busiest mount in its busiest second */
	double peak;		/* in the busiest 100 ms, of all */
	double peak_back;	/* in the busiest 100 ms from the end of an outage on */
	double hits;		/* requests that brought a root, per second */
	double late_p50, late_p99;	/* s from the commit until a mount that waits knows of it */
	double throttled;	/* share of requests */
	uint64_t steps;		/* that every mount has read */
	uint64_t behind;	/* mounts that do not know the newest version a minute after the end */
};

void fleet_run(const struct fleet *f, struct fleet_result *ret);

#endif
