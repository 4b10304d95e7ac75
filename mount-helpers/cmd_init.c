/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/outer.h"
#include "mount-helpers/progress.h"
#include "mount-helpers/session.h"
#include "mount-helpers/ways.h"

#include "store/base/parse.h"
#include "store/base/rand.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Two parts of the shortest kind. */
#define LARGE (8u << 20)

enum { RANKS = 1, KEEP, MARGIN, GRACE, AHEAD, COMPRESS };

static const struct option longs[] = {
	{"ranks", required_argument, NULL, RANKS},
	{"keep", required_argument, NULL, KEEP},
	{"margin", required_argument, NULL, MARGIN},
	{"grace", required_argument, NULL, GRACE},
	{"max-ahead", required_argument, NULL, AHEAD},
	{"compress", required_argument, NULL, COMPRESS},
	BW_STORE_OPTIONS,
	{0},
};

/* 0, or an exit code with the sentence said. */
static int parse_number(const struct bw_command *c, const char *name, const char *text, uint64_t min,
			uint64_t max, uint64_t *ret)
{
	uint64_t v;

	if (bw_parse_u64(text, max, &v) < 0 || v < min)
		return bw_say(c, BW_EXIT_USAGE,
			      "%s must be a number from %" PRIu64 " to %" PRIu64 ", not '%s'", name, min,
			      max, text);
	*ret = v;
	return 0;
}

static int parse_u32(const struct bw_command *c, const char *name, const char *text, uint64_t max,
		     uint32_t *ret)
{
	uint64_t v = 0;
	int code = parse_number(c, name, text, 1, max, &v);

	if (code == 0)
		*ret = (uint32_t)v;
	return code;
}

static int parse_grace(const struct bw_command *c, const char *text, uint64_t *ret)
{
	int64_t ns;

	if (bw_parse_duration(text, &ns) < 0 || ns % BW_SEC)
		return bw_say(c, BW_EXIT_USAGE,
			      "--grace must be whole seconds or a time such as 10s, 5m or 2h, not '%s'",
			      text);
	*ret = (uint64_t)(ns / BW_SEC);
	return 0;
}

static int parse_option(const struct bw_command *c, int option, const char *text,
			struct bw_stream_options *o)
{
	switch (option) {
	case RANKS:
		return parse_u32(c, "--ranks", text, BW_RANKS_MAX, &o->ranks);
	case KEEP:
		return parse_u32(c, "--keep", text, BW_MARKERS_MAX, &o->keep);
	case MARGIN:
		return parse_number(c, "--margin", text, 0, BW_STEPS_MAX, &o->margin);
	case GRACE:
		return parse_grace(c, text, &o->grace_s);
	case AHEAD:
		return parse_number(c, "--max-ahead", text, 0, BW_STEPS_MAX, &o->max_ahead);
	case COMPRESS:
	default:
		if (bw_compress_parse(text, &o->compress, &o->compress_level) == 0)
			return 0;
		return bw_say(c, BW_EXIT_USAGE,
			      "--compress must be none, zstd or zstd:LEVEL with a level from 1 to 19,"
			      " not '%s'", text);
	}
}

struct making {
	struct bw_progress progress;
	const char *url;
	const struct bw_s3_config *s3;
};

static void count_step(void *ctx)
{
	struct making *m = ctx;

	bw_progress_add(&m->progress, 1);
}

static int look_above(void *ctx, char *why, size_t why_len)
{
	const struct making *m = ctx;

	return bw_outer_refuse(m->url, m->s3, why, why_len);
}

/* 0 or a negative error with its sentence in why. */
static int create_in(struct bw_store *store, const char *url, const struct bw_store_options *how,
		     const struct bw_stream_options *o, struct bw_stream *ret, bool *ret_existed,
		     char *why, size_t why_len)
{
	struct making m = {.url = url, .s3 = &how->s3};
	struct bw_ways ways;
	int r = bw_ways_open(&ways, url, &how->s3, why, why_len);

	bw_progress_init(&m.progress, "probing", "checks", BW_PROBE_STEPS, true);
	struct bw_probe_config probe = {
		.ways = ways.stores, .ways_n = ways.n, .place = look_above, .step = count_step, .ctx = &m,
		.large = bw_url_is_s3(url) ? LARGE : 0,
	};
	if (r == 0)
		r = bw_stream_create_probed(store, &probe, o, bw_session_deadline(), ret, ret_existed, why,
					    why_len);
	bw_progress_done(&m.progress);
	bw_ways_done(&ways);
	return r;
}

static int create(const struct bw_command *c, const char *url, struct bw_store_options *how,
		  const struct bw_stream_options *o)
{
	struct bw_store *store = NULL;
	struct bw_stream stream;
	bool existed = false;
	char why[BW_WHY_MAX + 1] = "", id[33];

	how->s3.part_size = BW_LARGE_OBJECT;
	/* As in bw_session_store(). */
	void (*on_interrupt)(int) = signal(SIGINT, SIG_DFL);
	/* A directory that is refused is not even made. */
	int r = strncmp(url, "file://", 7) == 0 ? bw_outer_refuse(url, &how->s3, why, sizeof(why)) : 0;

	signal(SIGINT, on_interrupt);
	if (r < 0)
		return bw_say_why(c, r, why);
	int code = bw_session_store(c, url, how, true, &store);

	if (code)
		return code;
	r = create_in(store, url, how, o, &stream, &existed, why, sizeof(why));

	bw_store_leave(store);
	if (r < 0)
		return bw_say_why(c, r, why);
	bw_hex(stream.id, sizeof(stream.id), id);
	printf("%s stream %s at %s: %" PRIu32 " rank%s\n", existed ? "found the same" : "created", id,
	       url, o->ranks, o->ranks == 1 ? "" : "s");
	return BW_EXIT_DONE;
}

int bw_cmd_init(const struct bw_command *c, int argc, char **argv)
{
	struct bw_store_options how;
	struct bw_stream_options o;
	int option, code;

	bw_store_options_init(&how);
	bw_stream_options_default(&o);
	while ((option = bw_option_of(c, argc, argv, longs, &how, &code)) != -1) {
		if (option != BW_OPT_STOP)
			code = parse_option(c, option, optarg, &o);
		if (option == BW_OPT_STOP || code)
			return code;
	}
	if (argc - optind != 1)
		return bw_say_usage(c);
	if (!o.ranks)
		return bw_say(c, BW_EXIT_USAGE,
			      "--ranks is missing: the number of data-parallel ranks that read this stream");
	return create(c, argv[optind], &how, &o);
}
