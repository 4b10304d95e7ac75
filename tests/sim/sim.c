/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim: the protocol under every fault, as many seeds as asked for.
 *
 *   sim [--seeds N] [--events M] [--from SEED] [--faults MIN] [--seconds S] [--bug NAME]
 *
 * Ends with 1 at the first seed that breaks an invariant, after printing the smallest run found that
 * still does.  With --bug it is the other way round: the bug must be found, as what it is.  Without --from
 * the seeds are new ones; BW_SEED=SEED runs one again.
 */
#include "store/base/clock.h"
#include "store/base/rand.h"
#include "tests/sim/check.h"

#include <stdlib.h>
#include <string.h>

#define REPORT_NS (60 * BW_SEC)

struct totals {
	int64_t began_ns, reported_ns;
	uint64_t seeds, events, versions, acked, looks, unknowns, passes, deleted;
};

static int usage(void)
{
	fprintf(stderr, "usage: sim [--seeds N] [--events M] [--from SEED] [--faults MIN] "
			"[--seconds S] [--bug NAME]\nbugs:");
	for (int i = 0; i < BUGS; i++)
		fprintf(stderr, " %s", check_bug_names[i]);
	fprintf(stderr, "\n");
	return 2;
}

static void report(struct totals *t)
{
	t->reported_ns = bw_now();
	double seconds = (double)(t->reported_ns - t->began_ns) / 1e9;

	printf("%lu seeds, %lu events in %.0f s (%.0f a second), %lu versions, %lu changes "
	       "acknowledged, %lu unknown, %lu looks, %lu objects deleted in %lu passes; no invariant broken\n",
	       (unsigned long)t->seeds, (unsigned long)t->events, seconds,
	       (double)t->events / seconds, (unsigned long)t->versions, (unsigned long)t->acked,
	       (unsigned long)t->unknowns, (unsigned long)t->looks, (unsigned long)t->deleted,
	       (unsigned long)t->passes);
	fflush(stdout);
}

static void add(struct totals *t, const struct check_result *r)
{
	t->seeds++;
	t->events += r->events;
	t->versions += r->versions;
	t->acked += r->acked;
	t->unknowns += r->unknowns;
	t->looks += r->opens + r->polls;
	t->passes += r->passes;
	t->deleted += r->deleted;
}

static int failed(struct check_options *o, struct check_result *r, uint64_t n)
{
	printf("seed %lu, the %luth: %s, at event %lu; shrinking\n", (unsigned long)o->seed,
	       (unsigned long)n, r->text, (unsigned long)r->at_event);
	check_shrink(o, r);
	check_print(o, r, stdout);
	return 1;
}

static int bug_found(const struct check_options *o, const struct check_result *r, uint64_t n)
{
	const char *as = check_bug_breaks[o->bug];

	printf("%s: seed %lu, the %luth: %s\n", check_bug_names[o->bug], (unsigned long)o->seed,
	       (unsigned long)n, r->text);
	if (!strncmp(r->text, as, strlen(as)))
		return 0;
	printf("it breaks %s\n", as);
	return 1;
}

static int run(struct check_options *o, uint64_t from, uint64_t seeds, int64_t until_ns)
{
	struct totals t = {.began_ns = bw_now(), .reported_ns = bw_now()};

	while (t.seeds < seeds && bw_now() < until_ns) {
		struct check_result r;

		o->seed = from + t.seeds;
		check_run(o, &r);
		add(&t, &r);
		if (r.failed)
			return o->bug ? bug_found(o, &r, t.seeds) : failed(o, &r, t.seeds);
		if (bw_now() - t.reported_ns > REPORT_NS)
			report(&t);
	}
	report(&t);
	return o->bug ? 1 : 0;
}

static bool option(const char *name, const char *value, struct check_options *o, uint64_t *from,
		   uint64_t *seeds, int64_t *until_ns)
{
	if (!strcmp(name, "--seeds"))
		*seeds = strtoull(value, NULL, 10);
	else if (!strcmp(name, "--from"))
		*from = strtoull(value, NULL, 10);
	else if (!strcmp(name, "--events"))
		o->events = strtoull(value, NULL, 10);
	else if (!strcmp(name, "--faults"))
		o->faults = strtod(value, NULL);
	else if (!strcmp(name, "--seconds"))
		*until_ns = bw_now() + (int64_t)(strtod(value, NULL) * 1e9);
	else if (!strcmp(name, "--bug"))
		for (o->bug = BUG_NONE; o->bug < BUGS &&
					strcmp(value, check_bug_names[o->bug]) != 0;)
			o->bug++;
	else
		return false;
	return o->bug < BUGS;
}

int main(int argc, char **argv)
{
	const char *again = getenv("BW_SEED");
	uint64_t seeds = again ? 1 : 1000, from;
	int64_t until_ns = BW_NEVER;
	struct check_options o;

	check_options_init(&o, 0);
	bw_random(&from, sizeof(from));
	from = again ? strtoull(again, NULL, 10) : from >> 20;
	for (int i = 1; i < argc; i += 2)
		if (i + 1 == argc || !option(argv[i], argv[i + 1], &o, &from, &seeds, &until_ns))
			return usage();
	printf("BW_SEED=%lu and those after it\n", (unsigned long)from);
	return run(&o, from, seeds, until_ns);
}
