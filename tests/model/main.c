/* SPDX-License-Identifier: Apache-2.0 */
/* The command: checks configurations of the models, and sees each removed rule break an invariant.
 */
#include "tests/model/explorer.h"
#include "tests/model/trace.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct bw_model *const models[] = {
	&bw_model_commit, &bw_model_open, &bw_model_reclaim,
};
#define MODELS_N (sizeof(models) / sizeof(*models))

/*
 * SMALL: also under a sanitizer.  A plain check runs SMALL and USUAL: half a minute and 300 MB on
 * one core.  LONG: when it is asked for.
 */
enum when { SMALL, USUAL, LONG };

static const struct config {
	const char *name;
	const struct bw_model *model;
	const char *bounds;
	enum when when;
} configs[] = {
	{"commit", &bw_model_commit, "", USUAL},
	{"commit-again", &bw_model_commit, "crashes=0 retakes=1", USUAL},
	{"commit-three", &bw_model_commit, "mounts=3 steps=1 lates=1 edits=0 tombs=2", USUAL},
	{"commit-trim", &bw_model_commit, "crashes=0 trims=1", USUAL},
	{"commit-others", &bw_model_commit, "steps=1 crashes=0 strangers=2", USUAL},
	{"commit-state", &bw_model_commit, "steps=1 state-first=1", USUAL},
	{"commit-small", &bw_model_commit, "steps=1 lates=1 lies=1", SMALL},
	{"open", &bw_model_open, "", USUAL},
	{"open-own", &bw_model_open, "versions=5 own=2", USUAL},
	{"open-small", &bw_model_open, "versions=5", SMALL},
	{"reclaim", &bw_model_reclaim, "", USUAL},
	{"reclaim-read", &bw_model_reclaim, "writers=1 readers=1", USUAL},
	{"reclaim-jobs", &bw_model_reclaim,
	 "writers=0 jobs=2 begun=2 objects=2 versions=7 readers=1", USUAL},
	{"reclaim-take", &bw_model_reclaim, "jobs=0 versions=7", USUAL},
	{"reclaim-state", &bw_model_reclaim, "jobs=0 steps=3 versions=5 stateless=1", USUAL},
	{"reclaim-small", &bw_model_reclaim, "versions=4", SMALL},
	{"commit-again-long", &bw_model_commit, "retakes=1", LONG},
	{"commit-three-long", &bw_model_commit, "mounts=3 steps=1 edits=0 tombs=3", LONG},
	{"commit-others-long", &bw_model_commit, "steps=1 lates=1 strangers=1", LONG},
	{"commit-state-long", &bw_model_commit, "lates=1 state-first=1", LONG},
	{"open-long", &bw_model_open, "versions=8 hits=3", LONG},
	{"reclaim-state-long", &bw_model_reclaim, "jobs=0 steps=3 stateless=1", LONG},
	{"reclaim-two-long", &bw_model_reclaim, "collectors=2", LONG},
	{"reclaim-long", &bw_model_reclaim, "versions=7", LONG},
};
#define CONFIGS_N (sizeof(configs) / sizeof(*configs))

struct options {
	const char *set;
	uint32_t states;
	enum when when;		/* configurations up to it */
	bool quiet;
	bool table;
	bool whole;
};

/* Of this process: the machine may be busy with others. */
static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int bw_bounds_set(struct bw_setting *s, const char *text)
{
	while (text && *text) {
		size_t name = strcspn(text, "="), i = 0;
		char *rest;

		while (i < s->model->bounds_n &&
		       (strlen(s->model->bounds[i].name) != name ||
			memcmp(s->model->bounds[i].name, text, name) != 0))
			i++;
		if (i == s->model->bounds_n || text[name] != '=')
			return -EINVAL;
		s->bounds[i] = (int)strtol(text + name + 1, &rest, 10);
		if (rest == text + name + 1 || s->bounds[i] < 0 ||
		    s->bounds[i] > s->model->bounds[i].max)
			return -EINVAL;
		text = rest + strspn(rest, " ,");
	}
	return 0;
}

static int setting_make(const struct bw_model *model, int mutation, const char *bounds,
			const struct options *o, struct bw_setting *ret)
{
	const char *more = o->set;

	*ret = (struct bw_setting){.model = model, .mutation = mutation, .whole = o->whole};
	for (size_t i = 0; i < model->bounds_n; i++)
		ret->bounds[i] = model->bounds[i].value;
	int err = bw_bounds_set(ret, bounds);

	if (!err)
		err = bw_bounds_set(ret, more);
	if (err)
		fprintf(stderr, "model: %s: no such bound, or not such a value: \"%s %s\"\n",
			model->name, bounds ? bounds : "", more ? more : "");
	return err;
}

static void print_bounds(const struct bw_setting *s)
{
	for (size_t i = 0; i < s->model->bounds_n; i++)
		printf(" %s=%d", s->model->bounds[i].name, s->bounds[i]);
}

/* ---- Checking --------------------------------------------------------------------------------- */

static int check(const struct config *c, const struct options *o)
{
	static const char *const said[] = {"holds", "BROKEN", "NOT FINISHED: too many states"};
	struct bw_explorer *e;
	struct bw_setting s;
	double began = seconds();

	if (setting_make(c->model, -1, c->bounds, o, &s) || bw_explorer_new(&s, o->states, &e))
		return 1;
	enum bw_verdict verdict = bw_explore(e);

	printf("%-14s %s: %" PRIu32 " states, %" PRIu64 " moves, depth %u, %.1f s of CPU, %zu MB;",
	       c->name, said[verdict], e->n, e->moves, e->depth, seconds() - began,
	       ((size_t)e->n * (e->size + sizeof(*e->parents)) + e->table_n * sizeof(*e->table)) >>
		       20);
	print_bounds(&s);
	putchar('\n');
	if (verdict == BW_BROKEN)
		bw_trace(e, stdout);
	fflush(stdout);
	bw_explorer_free(e);
	return verdict != BW_HOLDS;
}

static int check_all(char **names, const struct options *o)
{
	int failed = 0;

	for (size_t i = 0; i < CONFIGS_N; i++) {
		bool wanted = !*names && configs[i].when <= o->when;

		for (char **name = names; *name; name++)
			wanted |= !strcmp(*name, configs[i].name);
		if (wanted)
			failed += check(&configs[i], o);
	}
	return failed;
}

/* ---- Mutations -------------------------------------------------------------------------------- */

/* Does the list of invariants have the one that text begins with? */
static bool expected(const char *list, const char *text)
{
	size_t n = strcspn(text, ":");

	for (const char *at = list; *at; at += strspn(at, " ")) {
		size_t len = strcspn(at, " ");

		if (len == n && !memcmp(at, text, n))
			return true;
		at += len;
	}
	return false;
}

static int mutate(const struct bw_model *model, size_t i, const struct options *o)
{
	const struct bw_mutation *m = &model->mutations[i];
	struct bw_explorer *e;
	struct bw_setting s;

	if (setting_make(model, (int)i, m->bounds, o, &s) || bw_explorer_new(&s, o->states, &e))
		return 1;
	enum bw_verdict verdict = bw_explore(e);
	bool seen = verdict == BW_BROKEN && expected(m->breaks, e->broken);

	if (o->table && seen)
		printf("| %s | `%s` | `%s`%s%s | %s | %u | %" PRIu32 " |\n", m->rule, m->name,
		       model->name, m->bounds ? " " : "", m->bounds ? m->bounds : "", e->broken,
		       bw_trace(e, NULL), e->n);
	else if (verdict == BW_BROKEN)
		printf("%s %s (%s): %s | %u moves | %" PRIu32 " states | %s\n", model->name,
		       m->name, m->rule, e->broken, bw_trace(e, NULL), e->n,
		       seen ? "seen" : "NOT EXPECTED");
	else
		printf("%s %s (%s): NOTHING BREAKS in %" PRIu32 " states%s\n", model->name, m->name,
		       m->rule, e->n, verdict == BW_TOO_MANY ? ", not finished" : "");
	if (verdict == BW_BROKEN && !o->quiet && !o->table)
		bw_trace(e, stdout);
	fflush(stdout);
	bw_explorer_free(e);
	return !seen;
}

static int mutate_all(char **names, const struct options *o)
{
	int failed = 0;

	for (size_t k = 0; k < MODELS_N; k++)
		for (size_t i = 0; i < models[k]->mutations_n; i++) {
			bool wanted = !*names;

			for (char **name = names; *name; name++)
				wanted |= !strcmp(*name, models[k]->mutations[i].name);
			if (wanted)
				failed += mutate(models[k], i, o);
		}
	if (failed)
		printf("%d rules can be removed and nothing is seen to break\n", failed);
	return failed;
}

/* ---- The command ------------------------------------------------------------------------------ */

static void list(void)
{
	for (size_t i = 0; i < CONFIGS_N; i++)
		printf("configuration %s: model %s %s\n", configs[i].name, configs[i].model->name,
		       configs[i].bounds);
	for (size_t k = 0; k < MODELS_N; k++) {
		for (size_t i = 0; i < models[k]->bounds_n; i++)
			printf("bound %s.%s=%d: %s\n", models[k]->name, models[k]->bounds[i].name,
			       models[k]->bounds[i].value, models[k]->bounds[i].what);
		for (size_t i = 0; i < models[k]->mutations_n; i++)
			printf("mutation %s.%s: without \"%s\" breaks %s\n", models[k]->name,
			       models[k]->mutations[i].name, models[k]->mutations[i].rule,
			       models[k]->mutations[i].breaks);
	}
}

static const char usage[] =
	"usage: model check [CONFIGURATION...]   every state keeps every invariant, and settles\n"
	"       model mutations [MUTATION...]    each removed rule breaks an invariant, with its "
	"trace\n"
	"       model --list\n"
	"  --set \"NAME=N ...\"  other bounds      --states N  at most (12000000)\n"
	"  --small             check only what is small   --long  check also what takes long\n"
	"  --quiet             no traces of mutations\n"
	"  --table             mutations as rows of docs/model.md\n"
	"  --whole             without symmetry: no state stands for another\n";

static int options_read(int argc, char **argv, struct options *ret)
{
	static const struct option known[] = {
		{"set", required_argument, NULL, 's'}, {"states", required_argument, NULL, 'n'},
		{"small", no_argument, NULL, 'm'},     {"quiet", no_argument, NULL, 'q'},
		{"table", no_argument, NULL, 't'},     {"list", no_argument, NULL, 'l'},
		{"whole", no_argument, NULL, 'w'},     {"long", no_argument, NULL, 'g'},
		{NULL, 0, NULL, 0},
	};

	for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
		if (c == 's')
			ret->set = optarg;
		else if (c == 'n')
			ret->states = (uint32_t)strtoul(optarg, NULL, 10);
		else if (c == 'm')
			ret->when = SMALL;
		else if (c == 'g')
			ret->when = LONG;
		else if (c == 'w')
			ret->whole = true;
		else if (c == 't')
			ret->table = true;
		else if (c == 'q')
			ret->quiet = true;
		else
			return c == 'l' ? 1 : -EINVAL;
	}
	return optind < argc ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	struct options o = {.states = 12000000, .when = USUAL};
	int rc = options_read(argc, argv, &o);

	if (rc == 1) {
		list();
		return 0;
	}
	if (!rc && !strcmp(argv[optind], "check"))
		return check_all(argv + optind + 1, &o) != 0;
	if (!rc && !strcmp(argv[optind], "mutations"))
		return mutate_all(argv + optind + 1, &o) != 0;
	fputs(usage, stderr);
	return 2;
}
