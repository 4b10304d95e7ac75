/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/options.h"
#include "mount-helpers/bench_run.h"
#include "store/base/parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPTIONS = 'o',
	ROWS = 1,
	RANKS,
	SIZE,
	BATCHES,
	SECONDS,
	PRODUCERS,
	WRITERS,
	READERS,
	COMPUTE,
	FROM,
	TO,
	IO,
	TOUCH,
	PID,
	PRODUCER_OPTIONS,
	READER_OPTIONS,
	JSON,
	SAMPLES,
	KEEP,
};

static const struct option longs[] = {
	{"options", required_argument, NULL, OPTIONS},
	{"rows", required_argument, NULL, ROWS},
	{"ranks", required_argument, NULL, RANKS},
	{"size", required_argument, NULL, SIZE},
	{"batches", required_argument, NULL, BATCHES},
	{"seconds", required_argument, NULL, SECONDS},
	{"producers", required_argument, NULL, PRODUCERS},
	{"writers", required_argument, NULL, WRITERS},
	{"readers", required_argument, NULL, READERS},
	{"compute", required_argument, NULL, COMPUTE},
	{"from", required_argument, NULL, FROM},
	{"to", required_argument, NULL, TO},
	{"io", required_argument, NULL, IO},
	{"touch", required_argument, NULL, TOUCH},
	{"pid", required_argument, NULL, PID},
	{"producer-options", required_argument, NULL, PRODUCER_OPTIONS},
	{"reader-options", required_argument, NULL, READER_OPTIONS},
	{"json", no_argument, NULL, JSON},
	{"samples", no_argument, NULL, SAMPLES},
	{"keep", no_argument, NULL, KEEP},
	BW_STORE_OPTIONS,
	{0},
};

/* What was typed, beside what goes into the plan at once. */
struct typed {
	struct bw_bench *b;
	char *both; /* -o; owned, like the next */
	char *side[BW_BENCH_SIDES];
	bool ranks;
	uint64_t pid;
};

static int say_number(const struct bw_command *c, const char *name, uint64_t min, uint64_t max,
		      const char *text)
{
	return bw_say(c, BW_EXIT_USAGE, "%s must be a number from %" PRIu64 " to %" PRIu64 ", not '%s'", name,
		      min, max, text);
}

/* 0, or an exit code with the sentence said. */
static int parse_number(const struct bw_command *c, const char *name, const char *text, uint64_t min,
			uint64_t max, uint64_t *ret)
{
	uint64_t v;

	if (bw_parse_u64(text, max, &v) < 0 || v < min)
		return say_number(c, name, min, max, text);
	*ret = v;
	return 0;
}

static int parse_u32(const struct bw_command *c, const char *name, const char *text, uint32_t max,
		     uint32_t *ret)
{
	uint64_t v = 0;
	int code = parse_number(c, name, text, 1, max, &v);

	if (!code)
		*ret = (uint32_t)v;
	return code;
}

static int parse_size(const struct bw_command *c, const char *name, const char *text, uint64_t *ret)
{
	if (bw_parse_size(text, ret) == 0 && *ret)
		return 0;
	return bw_say(c, BW_EXIT_USAGE, "%s must be a number of bytes such as 65536, 64K or 8M, not '%s'",
		      name, text);
}

static int parse_rows(struct bw_bench *b, const char *text)
{
	b->plan.rows = bw_bench_rows_parse(text);
	if (b->plan.rows)
		return 0;
	return bw_say(b->command, BW_EXIT_USAGE,
		      "--rows must be a list of ingest, tail, seek, catchup, hot and loop, such as "
		      "ingest,tail, not '%s'",
		      text);
}

static int parse_seconds(struct bw_bench *b, const char *text)
{
	if (bw_parse_duration(text, &b->plan.limit_ns) == 0 && b->plan.limit_ns > 0)
		return 0;
	return bw_say(b->command, BW_EXIT_USAGE, "--seconds must be a time such as 10 or 2m, not '%s'", text);
}

static int parse_compute(struct bw_bench *b, const char *text)
{
	uint64_t ms = 0;
	int code = parse_number(b->command, "--compute", text, 0, 3600 * 1000, &ms);

	b->plan.compute_ns = (int64_t)ms * BW_MS;
	return code;
}

static int parse_range(struct bw_bench *b, int option, const char *text)
{
	b->plan.range = true;
	return parse_number(b->command, option == FROM ? "--from" : "--to", text, 0, BW_STEPS_MAX,
			    option == FROM ? &b->plan.from : &b->plan.to);
}

/* Adds to a list with commas. */
static int add_options(const struct bw_command *c, char **list, const char *more)
{
	struct bw_mount_options o;
	char why[BW_WHY_MAX + 1] = "", *both = NULL;

	bw_mount_options_default(&o);
	if (bw_mount_options_parse(&o, more, why, sizeof(why)) < 0)
		return bw_say(c, BW_EXIT_USAGE, "%s", why);
	if (*o.s3_option)
		return bw_say(c, BW_EXIT_USAGE,
			      "how to reach the store is an option of bench, such as --endpoint, and not of "
			      "its mounts: %s",
			      o.s3_option);
	if (asprintf(&both, "%s%s%s", *list ? *list : "", *list ? "," : "", more) < 0)
		return bw_say_err(c, -ENOMEM, "cannot start");
	free(*list);
	*list = both;
	return 0;
}

static int parse_load(struct typed *t, int option, const char *text)
{
	const struct bw_command *c = t->b->command;
	struct bw_bench_plan *p = &t->b->plan;

	switch (option) {
	case RANKS:
		t->ranks = true;
		return parse_u32(c, "--ranks", text, BW_BENCH_RANKS_MAX, &p->ranks);
	case SIZE:
		return parse_size(c, "--size", text, &p->size);
	case BATCHES:
		return parse_number(c, "--batches", text, 1, BW_STEPS_MAX, &p->batches);
	case SECONDS:
		return parse_seconds(t->b, text);
	case PRODUCERS:
		return parse_u32(c, "--producers", text, BW_BENCH_HANDS_MAX, &p->producers);
	case WRITERS:
		return parse_u32(c, "--writers", text, BW_BENCH_HANDS_MAX, &p->writers);
	case READERS:
		return parse_u32(c, "--readers", text, BW_BENCH_HANDS_MAX, &p->readers);
	case COMPUTE:
		return parse_compute(t->b, text);
	case FROM:
	case TO:
		return parse_range(t->b, option, text);
	case IO:
		return parse_size(c, "--io", text, &p->io);
	default:
		return parse_size(c, "--touch", text, &p->touch);
	}
}

static int parse_option(struct typed *t, int option, const char *text)
{
	struct bw_bench *b = t->b;

	switch (option) {
	case OPTIONS:
		return add_options(b->command, &t->both, text);
	case PRODUCER_OPTIONS:
		return add_options(b->command, &t->side[BW_BENCH_PRODUCERS], text);
	case READER_OPTIONS:
		return add_options(b->command, &t->side[BW_BENCH_READERS], text);
	case ROWS:
		return parse_rows(b, text);
	case PID:
		return parse_number(b->command, "--pid", text, 1, 1 << 22, &t->pid);
	case JSON:
		b->json = true;
		return 0;
	case SAMPLES:
		b->samples = true;
		return 0;
	case KEEP:
		b->keep = true;
		return 0;
	default:
		return parse_load(t, option, text);
	}
}

/* How the daemons reach the store: what the environment says they see themselves. */
static void print_store(FILE *to, const struct bw_s3_config *s3)
{
	const struct {
		const char *name, *value;
	} texts[] = {
		{"endpoint", s3->endpoint}, {"region", s3->region}, {"profile", s3->profile_named ? s3->profile : ""},
		{"ca", s3->ca}};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (*texts[i].value)
			fprintf(to, "%s=%s,", texts[i].name, texts[i].value);
	if (s3->style == BW_S3_STYLE_PATH)
		fputs("path_style,", to);
	if (s3->style == BW_S3_STYLE_VIRTUAL)
		fputs("virtual_hosts,", to);
	if (s3->no_verify_tls)
		fputs("no_verify_tls,", to);
	if (s3->unsigned_payload)
		fputs("unsigned_payload,", to);
}

/* The -o list of a side. */
static int join_options(struct typed *t, bool s3, enum bw_bench_side side)
{
	const struct bw_bench *b = t->b;
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return -ENOMEM;
	if (s3)
		print_store(f, &b->how.s3);
	/* As hosts that only read should mount; who waits for a step waits in the mount, and not in a loop of his own. */
	if (side == BW_BENCH_READERS)
		fputs("ro,wait=60,", f);
	fprintf(f, "%s%s%s", t->both ? t->both : "", t->both && t->side[side] ? "," : "",
		t->side[side] ? t->side[side] : "");
	if (fclose(f) != 0) {
		free(text);
		return -ENOMEM;
	}
	while (len && text[len - 1] == ',')
		text[--len] = 0;
	t->b->options[side] = text;
	return 0;
}

static bool asks_pending(const char *list)
{
	struct bw_mount_options o;
	char why[256];

	bw_mount_options_default(&o);
	return bw_mount_options_parse(&o, list, why, sizeof(why)) == 0 && o.pending;
}

static int settle_scratch(struct typed *t, const char *url)
{
	struct bw_bench *b = t->b;

	if (t->pid)
		return bw_say(b->command, BW_EXIT_USAGE, "--pid is for the mount of somebody else");
	for (int side = 0; side < BW_BENCH_SIDES; side++)
		if (join_options(t, bw_url_is_s3(url), (enum bw_bench_side)side))
			return bw_say_err(b->command, -ENOMEM, "cannot start");
	b->plan.pending = asks_pending(b->options[BW_BENCH_PRODUCERS]);
	return 0;
}

static int settle_mount(struct typed *t, const char *dir)
{
	struct bw_bench *b = t->b;

	if (t->both || t->side[0] || t->side[1] || t->ranks || b->keep)
		return bw_say(b->command, BW_EXIT_USAGE,
			      "%s is mounted already: mount options, --ranks and --keep are for a URL", dir);
	for (int side = 0; side < BW_BENCH_SIDES; side++) {
		b->options[side] = strdup("");
		if (!b->options[side])
			return bw_say_err(b->command, -ENOMEM, "cannot start");
	}
	b->mounts[BW_BENCH_PRODUCERS].pid = (pid_t)t->pid;
	return bw_bench_ask_mount(b, dir);
}

static int settle(struct typed *t, const char *target)
{
	struct bw_bench *b = t->b;
	char why[256] = "";

	b->plan.target = target;
	b->plan.scratch = strstr(target, "://") != NULL;
	int code = b->plan.scratch ? settle_scratch(t, target) : settle_mount(t, target);

	if (!code && bw_bench_plan_settle(&b->plan, why, sizeof(why)) < 0)
		code = bw_say(b->command, BW_EXIT_USAGE, "%s", why);
	b->stream.ranks = b->plan.ranks;
	return code;
}

static int parse(struct typed *t, int argc, char **argv)
{
	struct bw_bench *b = t->b;
	int option, code = 0;

	while ((option = bw_option_of(b->command, argc, argv, longs, &b->how, &code)) != -1) {
		if (option != BW_OPT_STOP)
			code = parse_option(t, option, optarg);
		if (option == BW_OPT_STOP || code)
			return code ? code : -1;
	}
	if (argc - optind != 1)
		return bw_say_usage(b->command);
	return settle(t, argv[optind]);
}

int bw_cmd_bench(const struct bw_command *c, int argc, char **argv)
{
	struct bw_bench *b = calloc(1, sizeof(*b));
	struct typed t = {.b = b};

	if (!b)
		return bw_say_err(c, -ENOMEM, "cannot start");
	b->command = c;
	b->signals = -1;
	bw_store_options_init(&b->how);
	bw_stream_options_default(&b->stream);
	bw_bench_plan_default(&b->plan);
	int code = parse(&t, argc, argv);

	if (!code)
		code = bw_bench_run(b);
	free(t.both);
	for (int side = 0; side < BW_BENCH_SIDES; side++) {
		free(t.side[side]);
		free(b->options[side]);
	}
	free(b);
	return code < 0 ? 0 : code;
}
