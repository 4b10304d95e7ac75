/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/output.h"
#include "mount-helpers/progress.h"
#include "mount-helpers/session.h"

#include "store/base/fd.h"
#include "store/base/parse.h"

#include <inttypes.h>
#include <unistd.h>

static const struct option longs[] = {BW_STORE_OPTIONS, {0}};

static int write_slice(struct bw_session *s, const struct bw_entry *e, const struct bw_tgb *t,
		       const struct bw_slice *slice)
{
	struct bw_progress p;
	int code = 0, r = 0;

	bw_progress_init(&p, "reading", "B", slice->raw, !isatty(STDOUT_FILENO));
	for (uint32_t i = 0; i < slice->blocks_n && r == 0; i++) {
		bw_auto_blob struct bw_blob *block = NULL;

		code = bw_session_block(s, e, t, slice->block0 + i, &block);
		if (code)
			break;
		r = bw_write_all(STDOUT_FILENO, block->bytes, block->len);
		bw_progress_add(&p, block->len);
	}
	bw_progress_done(&p);
	if (r == -EPIPE)
		bw_output_unread();
	return r < 0 ? bw_say_err(s->command, r, "cannot write the output") : code;
}

static int cat(struct bw_session *s, uint64_t step, uint32_t rank)
{
	struct bw_entry e;
	struct bw_tgb *t = NULL;
	int code = bw_session_entry(s, step, &e);

	if (!code)
		code = bw_session_tgb(s, &e, &t);
	if (!code)
		code = write_slice(s, &e, t, bw_tgb_slice(t, rank));
	bw_tgb_unref(t);
	return code;
}

int bw_cmd_cat(const struct bw_command *c, int argc, char **argv)
{
	struct bw_store_options o;
	struct bw_session s;
	uint64_t step, rank;
	int code;

	bw_store_options_init(&o);
	if (bw_option_of(c, argc, argv, longs, &o, &code) == BW_OPT_STOP)
		return code;
	if (argc - optind != 3)
		return bw_say_usage(c);
	code = bw_session_step(c, argv[optind + 1], &step);
	if (code)
		return code;
	const char *text = argv[optind + 2];

	if (bw_parse_u64(text, UINT64_MAX, &rank) < 0)
		return bw_say(c, BW_EXIT_USAGE,
			      "RANK must be a plain decimal number such as 0 or 17, not '%s'", text);
	code = bw_session_open(&s, c, argv[optind], &o, false);
	if (!code && rank >= s.stream.options.ranks)
		code = bw_say(c, BW_EXIT_WRONG,
			      "there is no rank %" PRIu64 ": the stream has %" PRIu32
			      " (ranks are counted from 0)", rank, s.stream.options.ranks);
	if (!code)
		code = cat(&s, step, (uint32_t)rank);
	bw_session_done(&s);
	return code;
}
