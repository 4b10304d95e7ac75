/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many committers that share one stream, in virtual time: what a rule for when to commit costs.
 *
 * Requests have latencies from a table and count against the store's rate limits; nothing is lost (that is
 * tests/sim/test_sim.c).  The controller and the search for the newest version are the real ones; the
 * commit is the real one's sequence of requests (txn.c: find the newest, build, nodes, root, read back),
 * with roots reduced to their size.  `sim_load --validate` runs it beside the real txn and roots.
 */
#ifndef BW_TESTS_SIM_WORLD_H
#define BW_TESTS_SIM_WORLD_H

#include "tests/sim/policies.h"

struct store_model {
	const char *name, *title;
	/* Lognormal: medians in ns, and the deviation of the logarithm. */
	int64_t get_ns, miss_ns, put_ns;
	double sigma;
	double bytes_per_ns;	/* of one request */
	unsigned puts_per_s, gets_per_s;	/* above: 503 */
};
extern const struct store_model store_models[];
extern const unsigned store_models_n;

struct load {
	const struct store_model *store;
	const struct policy *policy;
	uint32_t producers;	/* one each committer */
	double offered;		/* TGB/s in all */
	int64_t length_ns;	/* of the run; the first 40 % are not measured */
	uint64_t seed;
	bool real;		/* real txn and roots */
	uint32_t slow;		/* so many producers have 4 times the latency */
};

struct load_result {
	double seconds;		/* measured */
	double offered, committed;	/* TGB/s */
	double commits;		/* per second */
	double attempts;	/* per commit */
	double requests;	/* per second, nodes, hints and refused ones included */
	double requests_tgb;	/* per committed TGB */
	double throttled;	/* share of requests */
	double p50, p99;	/* seconds from queued to visible */
	double jain;		/* of committed TGB per producer */
	double tau_s, rho;	/* medians over producers, at the end */
	double root_bytes;	/* mean stored size */
	double bare_p50;	/* a put of a root on this store, nothing else */
	uint64_t backlog;	/* queued at the end */
	uint64_t events;
};

void load_run(const struct load *l, struct load_result *ret);

#endif
