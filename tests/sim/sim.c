/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim: the protocol under every fault, as many seeds as asked for.
 *
 *   sim [--seeds N] [--events M] [--from SEED] [--bug NAME]
 * Ends with 1 at the first seed that breaks an invariant, after printing the smallest run found that still does.
 */
#include "store/base/clock.h"
#include "tests/sim/check.h"

#include <stdlib.h>
#include <string.h>

static int usage(void)
{
	fprintf(stderr, "usage: sim [--seeds N] [--events M] [--from SEED] [--bug NAME]\nbugs:");
	for (int i = 0; i < BUGS; i++)
		fprintf(stderr, " %s", check_bug_names[i]);
	fprintf(stderr, "\n");
	return 2;
}

static int failed(struct check_options *o, struct check_result *r, uint64_t n)
{
	printf("seed %lu, the %luth: %s, at event %lu; shrinking\n", (unsigned long)o->seed,
	       (unsigned long)n, r->text, (unsigned long)r->at_event);
	check_shrink(o, r);
	check_print(o, r, stdout);
	return 1;
}

int main(int argc, char **argv)
{
	uint64_t seeds = 1000, from = 1, events = 0, versions = 0, acked = 0, looks = 0;
	struct check_options o;
	int64_t began_ns = bw_now();

	check_options_init(&o, 0);
	for (int i = 1; i < argc; i += 2) {
		int bug = BUGS;

		if (i + 1 == argc)
			return usage();
		if (!strcmp(argv[i], "--seeds"))
			seeds = strtoull(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--from"))
			from = strtoull(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--events"))
			o.events = strtoull(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--bug"))
			for (bug = 0; bug < BUGS && strcmp(argv[i + 1], check_bug_names[bug]) != 0;)
				bug++;
		else
			return usage();
		if (!strcmp(argv[i], "--bug") && bug == BUGS)
			return usage();
		if (bug < BUGS)
			o.bug = (enum check_bug)bug;
	}
	for (uint64_t n = 1; n <= seeds; n++) {
		struct check_result r;

		o.seed = from + n - 1;
		check_run(&o, &r);
		events += r.events;
		versions += r.versions;
		acked += r.acked;
		looks += r.opens + r.polls;
		if (r.failed)
			return failed(&o, &r, n);
	}
	double seconds = (double)(bw_now() - began_ns) / 1e9;

	printf("%lu seeds, %lu events (%.0f a second), %lu versions, %lu changes acknowledged, "
	       "%lu looks; no invariant broken\n", (unsigned long)seeds, (unsigned long)events,
	       (double)events / seconds, (unsigned long)versions, (unsigned long)acked,
	       (unsigned long)looks);
	return 0;
}
