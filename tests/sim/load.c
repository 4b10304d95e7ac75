/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_load: tables of what each rule for when to commit costs (world.h).
 *
 *   sim_load [--store NAME] [--policy NAME] [--producers N] [--offered X] [--seconds S] [--seed N] [--real] [--slow N]
 *            [--latency GET,MISS,PUT,SIGMA] [--interval S]
 * prints one CSV row per run; without a policy or a number of producers: all of them.
 * --offered -X: X a second and producer.  --latency: instead of a store, medians in ms that were measured, and no
 * limits.  --interval: of the policy with a fixed one.
 */
#include "store/base/clock.h"
#include "tests/sim/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t counts[] = {1, 4, 16, 64, 256, 1000};

struct wish {
	const char *store, *policy;
	uint32_t producers;
	double offered, seconds;
	uint64_t seed;
	bool real;
	uint32_t slow;
	struct store_model measured;	/* named when there is one */
	double interval;
};

static void row(const struct load *l)
{
	struct load_result r;

	load_run(l, &r);
	printf("%s,%s,%u,%s,%lu,%.1f,%.3f,%.3f,%.3f,%.3f,%.2f,%.4f,%.4f,%.4f,%.4f,%.4f,%.2f,%.3f,%.0f,%.4f,%lu,%lu\n",
	       l->store->name, l->policy->name, l->producers, l->real ? "real" : "model",
	       (unsigned long)l->seed, r.seconds, r.offered, r.committed, r.commits, r.attempts,
	       r.requests, r.requests_tgb, r.throttled, r.p50, r.p99, r.jain, r.tau_s, r.rho,
	       r.root_bytes, r.bare_p50, (unsigned long)r.backlog, (unsigned long)r.events);
	fflush(stdout);
}

static void run(const struct wish *o, const struct store_model *store, const struct policy *policy,
		uint32_t producers)
{
	struct load l = {.store = store, .policy = policy, .producers = producers,
			 .seed = o->seed, .real = o->real, .slow = o->slow,
			 .offered = o->offered < 0 ? -o->offered * producers : o->offered};
	/* At least ten of the longest waits of the fair share. */
	double seconds = o->seconds ? o->seconds : producers < 100 ? 400 : 400 + 2 * producers;

	l.length_ns = (int64_t)(seconds * 1e9);
	row(&l);
}

static void matrix(const struct wish *o)
{
	bool measured = o->measured.name != NULL;

	for (unsigned s = 0; s < (measured ? 1 : store_models_n); s++)
		for (size_t n = 0; n < sizeof(counts) / sizeof(*counts); n++)
			for (unsigned p = 0; p < policies_n; p++) {
				if (!measured && o->store && strcmp(o->store, store_models[s].name) != 0)
					continue;
				if (o->policy && strcmp(o->policy, policies[p].name) != 0)
					continue;
				if (o->producers && n)
					continue;
				struct policy policy = policies[p];

				if (o->interval > 0 && policy.interval_ns)
					policy.interval_ns = (int64_t)(o->interval * 1e9);
				run(o, measured ? &o->measured : &store_models[s], &policy,
				    o->producers ? o->producers : counts[n]);
			}
}

static bool latency(struct store_model *m, const char *text)
{
	double get, miss, put, sigma;

	if (sscanf(text, "%lf,%lf,%lf,%lf", &get, &miss, &put, &sigma) != 4)
		return false;
	*m = (struct store_model){.name = "measured", .title = "measured",
				  .get_ns = (int64_t)(get * 1e6), .miss_ns = (int64_t)(miss * 1e6),
				  .put_ns = (int64_t)(put * 1e6), .sigma = sigma,
				  .bytes_per_ns = 1, .puts_per_s = 1000000,
				  .gets_per_s = 1000000};
	return true;
}

static int usage(void)
{
	fprintf(stderr, "usage: sim_load [--store NAME] [--policy NAME] [--producers N] [--offered X]\n"
			"                [--seconds S] [--seed N] [--slow N] [--real] [--no-header]\n"
			"                [--latency GET,MISS,PUT,SIGMA] [--interval SECONDS]\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct wish o = {.offered = 500, .seed = 1};
	bool header = true;

	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(a, "--real")) {
			o.real = true;
			continue;
		}
		if (!strcmp(a, "--no-header")) {
			header = false;
			continue;
		}
		if (!strcmp(a, "--store"))
			o.store = v;
		else if (!strcmp(a, "--policy"))
			o.policy = v;
		else if (!strcmp(a, "--producers"))
			o.producers = (uint32_t)strtoul(v, NULL, 10);
		else if (!strcmp(a, "--offered"))
			o.offered = strtod(v, NULL);
		else if (!strcmp(a, "--seconds"))
			o.seconds = strtod(v, NULL);
		else if (!strcmp(a, "--seed"))
			o.seed = strtoull(v, NULL, 10);
		else if (!strcmp(a, "--slow"))
			o.slow = (uint32_t)strtoul(v, NULL, 10);
		else if (!strcmp(a, "--interval"))
			o.interval = strtod(v, NULL);
		else if (!strcmp(a, "--latency") && latency(&o.measured, v))
			;
		else
			return usage();
		i++;
	}
	if (header)
		printf("store,policy,producers,engine,seed,seconds,offered,committed,commits,attempts,"
		       "requests,requests_tgb,throttled,p50,p99,jain,tau,rho,root_bytes,bare_p50,"
		       "backlog,events\n");
	matrix(&o);
	return 0;
}
