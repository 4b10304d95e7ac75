/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/progress.h"
#include "mount-helpers/session.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

static const struct option longs[] = {BW_STORE_OPTIONS, {0}};

/* Steps one by one: memory stays the same however many there are. */
static int list_steps(struct bw_session *s)
{
	struct bw_progress p;
	int code = 0;

	bw_progress_init(&p, "listing", "steps", s->root->head - s->root->first,
			 !isatty(STDOUT_FILENO));
	for (uint64_t step = s->root->first; step < s->root->head && !code && !ferror(stdout); step++) {
		struct bw_entry e;
		char when[32];

		code = bw_session_entry(s, step, &e);
		if (code)
			break;
		bw_wall_text(e.time_ms, when, sizeof(when));
		printf("%8" PRIu64 " %12" PRIu64 " %s %s/%" PRIu64 "\n", step, e.raw, when, e.producer,
		       e.seq);
		bw_progress_add(&p, 1);
	}
	bw_progress_done(&p);
	return code;
}

static int list_ranks(struct bw_session *s, uint64_t step)
{
	struct bw_entry e;
	struct bw_tgb *t = NULL;
	int code = bw_session_entry(s, step, &e);

	if (!code)
		code = bw_session_tgb(s, &e, &t);
	if (code)
		return code;
	for (uint32_t rank = 0; rank < t->ranks; rank++)
		printf("%8" PRIu32 " %12" PRIu64 " %016" PRIx64 "\n", rank, t->slices[rank].raw,
		       t->slices[rank].xxh3);
	bw_tgb_unref(t);
	return 0;
}

int bw_cmd_ls(const struct bw_command *c, int argc, char **argv)
{
	struct bw_store_options o;
	struct bw_session s;
	uint64_t step = 0;
	int code;

	bw_store_options_init(&o);
	if (bw_option_of(c, argc, argv, longs, &o, &code) == BW_OPT_STOP)
		return code;
	if (argc - optind < 1 || argc - optind > 2)
		return bw_say_usage(c);
	bool one = argc - optind == 2;

	if (one) {
		code = bw_session_step(c, argv[optind + 1], &step);
		if (code)
			return code;
	}
	code = bw_session_open(&s, c, argv[optind], &o, false);
	if (!code)
		code = one ? list_ranks(&s, step) : list_steps(&s);
	bw_session_done(&s);
	return code;
}
