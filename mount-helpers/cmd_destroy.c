/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/destroy.h"
#include "mount-helpers/progress.h"
#include "mount-helpers/session.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { YES = 1 };

static const struct option longs[] = {
	{"yes-destroy", required_argument, NULL, YES}, BW_STORE_OPTIONS, {0}};

struct shown {
	struct bw_progress progress;
	uint64_t deleted;
	bool on;
};

/* At any moment: whatever was deleted by then, the same command goes on with it. */
static void on_interrupt(int sig)
{
	static const char text[] = "\nbatchweave destroy: interrupted; the same command goes on with it\n";
	ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)sig, (void)n;
	_exit(BW_EXIT_INTERRUPTED);
}

static bool show(void *ctx, uint64_t deleted, uint64_t total)
{
	struct shown *s = ctx;

	if (!s->on && total)
		bw_progress_init(&s->progress, "deleting", "objects", total, true);
	s->on |= total != 0;
	if (!s->on)
		return true;
	if (s->progress.total < deleted)
		s->progress.total = deleted;	/* it was a guess */
	bw_progress_add(&s->progress, deleted - s->deleted);
	s->deleted = deleted;
	return true;
}

static int report(const char *url, const char *id, const struct bw_destroy_report *r)
{
	char text[96];

	printf("destroyed stream %s at %s: %" PRIu64 " objects and %" PRIu64 " unfinished uploads\n", id, url,
	       r->objects, r->uploads);
	for (unsigned i = 0; i < r->left_n; i++)
		printf("left %s, which is of something else\n", r->left[i]);
	if (r->left_more)
		printf("left others beside these %u\n", r->left_n);
	if (r->uploads_err)
		printf("unfinished uploads may be left: %s; a lifecycle rule ends them\n",
		       bw_err_text(r->uploads_err, text, sizeof(text)));
	return BW_EXIT_DONE;
}

static int destroy(const struct bw_command *c, struct bw_store *store, const char *url, const char *id)
{
	struct bw_destroy_report r;
	struct shown shown = {.on = false};
	char why[BW_WHY_MAX + 1] = "";
	const struct bw_destroy d = {.store = store,
				     .id = id,
				     .op_ns = BW_SESSION_TIMEOUT_NS,
				     .pause_ns = BW_DESTROY_PAUSE_NS,
				     .go_on = show,
				     .ctx = &shown};
	int err = bw_stream_destroy(&d, &r, why, sizeof(why));

	if (shown.on)
		bw_progress_done(&shown.progress);
	if (err == -BW_E_NO_STREAM)
		return bw_say(c, BW_EXIT_WRONG, "there is no stream at %s", url);
	return err ? bw_say_why(c, err, why) : report(url, id, &r);
}

/* Nothing is deleted by who has not typed what it is. */
static int say_what_to_type(const struct bw_command *c, struct bw_store *store, const char *url)
{
	char id[33], why[BW_WHY_MAX + 1] = "";
	int err = bw_stream_id(store, bw_session_deadline(), id, why, sizeof(why));

	if (err == -BW_E_NO_STREAM)
		return bw_say(c, BW_EXIT_WRONG, "there is no stream at %s", url);
	if (err)
		return bw_say_why(c, err, why);
	return bw_say(c, BW_EXIT_USAGE,
		      "this deletes all of the stream for ever; to have that, type: batchweave destroy %s"
		      " --yes-destroy %s", url, id);
}

int bw_cmd_destroy(const struct bw_command *c, int argc, char **argv)
{
	struct bw_store_options how;
	struct bw_store *store;
	const char *id = NULL;
	int option, code;

	bw_store_options_init(&how);
	while ((option = bw_option_of(c, argc, argv, longs, &how, &code)) != -1) {
		if (option == BW_OPT_STOP)
			return code;
		id = optarg;
	}
	if (argc - optind != 1)
		return bw_say_usage(c);
	signal(SIGINT, on_interrupt);
	code = bw_session_store(c, argv[optind], &how, false, &store);
	if (code)
		return code;
	code = id ? destroy(c, store, argv[optind], id) : say_what_to_type(c, store, argv[optind]);
	bw_store_leave(store);
	return code;
}
