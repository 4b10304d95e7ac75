/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers and withdraws jobs, sets and withdraws their markers, without a mount.
 *
 * A marker never registers its job: a name with a typo would be a job with one marker, which stops all reclaiming
 * and which nobody looks for; and a job that starts must register before it reads `first`.
 */
#include "mount-helpers/session.h"

#include "manifest/committer.h"
#include "store/base/parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { REMOVE = 1, TEXT };

static const struct option longs[] = {
	{"remove", no_argument, NULL, REMOVE},
	{"text", required_argument, NULL, TEXT},
	BW_STORE_OPTIONS,
	{0},
};

struct checkpoint {
	const struct bw_command *c;
	struct bw_store_options store;
	struct bw_session s;
	struct bw_committer *committer;
	const char *job;
	bool has_step, removes;
	uint64_t step;
	const char *text;	/* NULL: the marker keeps the one it has */
};

static int say_refused(struct checkpoint *k, int err)
{
	struct bw_root *r = bw_head_root(k->s.head);
	const struct bw_job *j = bw_root_job(r, k->job);
	uint64_t first = r->first, head = r->head;
	uint32_t markers = j ? j->markers_n : 0;

	bw_root_unref(r);
	switch (-err) {
	case ENOENT:
		if (j)
			return bw_say(k->c, BW_EXIT_WRONG, "job %s has no marker at step %" PRIu64, k->job, k->step);
		if (k->removes)
			return bw_say(k->c, BW_EXIT_WRONG, "there is no job %s", k->job);
		return bw_say(k->c, BW_EXIT_WRONG,
			      "there is no job %s; batchweave checkpoint %s %s registers it", k->job, k->s.url,
			      k->job);
	case ENOTEMPTY:
		return bw_say(k->c, BW_EXIT_WRONG,
			      "job %s has %" PRIu32 " marker%s; withdraw them first", k->job, markers,
			      markers == 1 ? "" : "s");
	case BW_E_RECLAIMED:
		return bw_say(k->c, BW_EXIT_WRONG,
			      "step %" PRIu64 " has been reclaimed: the oldest kept step is %" PRIu64, k->step, first);
	case EINVAL:
		return bw_say(k->c, BW_EXIT_WRONG,
			      "step %" PRIu64 " is beyond the head, which is %" PRIu64, k->step, head);
	case BW_E_LIMIT:
		return bw_say(k->c, BW_EXIT_WRONG, k->has_step ? "job %s has as many markers as fit (%u)"
							       : "there is no room for job %s: a stream has %u",
			      k->job, k->has_step ? BW_MARKERS_MAX : BW_JOBS_MAX);
	case BW_E_UNKNOWN:
		return bw_say(k->c, BW_EXIT_STORE,
			      "the store did not say whether it was done; batchweave status %s tells", k->s.url);
	default:
		return bw_say_err(k->c, err, "cannot change job %s", k->job);
	}
}

static int commit(struct checkpoint *k)
{
	struct bw_change change = {.step = k->step};
	struct bw_txn_change result = {.err = 0};

	snprintf(change.name, sizeof(change.name), "%s", k->job);
	if (k->has_step)
		change.kind = k->removes ? BW_CHANGE_UNMARK : BW_CHANGE_MARK;
	else
		change.kind = k->removes ? BW_CHANGE_UNJOB : BW_CHANGE_JOB;
	if (k->text && !(change.text = strdup(k->text)))
		return bw_say_err(k->c, -ENOMEM, "cannot start");
	int err = bw_committer_sync(k->committer, &change, bw_session_commit_deadline(), &result);

	bw_change_done(&change);
	return err ? say_refused(k, err) : 0;
}

/* C1: register first, then read first: from here on nothing at or above it goes. */
static void print_first(struct checkpoint *k)
{
	struct bw_root *r = bw_head_root(k->s.head);

	printf("%" PRIu64 "\n", r->first);
	bw_root_unref(r);
}

static int run(struct checkpoint *k, const char *url)
{
	int code = bw_session_open(&k->s, k->c, url, &k->store, true);

	if (code)
		return code;
	int err = bw_root_may_write(k->s.root);

	if (err)
		return bw_say_err(k->c, err, "cannot write to %s", url);
	err = bw_committer_new(k->s.store, &k->s.stream, k->s.head, k->s.opened_ns, NULL, &k->committer);
	if (err)
		return bw_say_err(k->c, err, "cannot start");
	code = commit(k);
	if (!code && !k->has_step && !k->removes)
		print_first(k);
	return code;
}

static int parse(struct checkpoint *k, int argc, char **argv)
{
	int option, code;

	bw_store_options_init(&k->store);
	while ((option = bw_option_of(k->c, argc, argv, longs, &k->store, &code)) != -1) {
		if (option == BW_OPT_STOP)
			return code;
		if (option == REMOVE)
			k->removes = true;
		else
			k->text = optarg;
	}
	if (argc - optind < 2 || argc - optind > 3)
		return bw_say_usage(k->c);
	k->job = argv[optind + 1];
	k->has_step = argc - optind == 3;
	if (!bw_name_valid(k->job))
		return bw_say(k->c, BW_EXIT_USAGE,
			      "a job's name is 1 to 64 letters, digits, dots, dashes and underscores and begins with"
			      " a letter or a digit; '%s' is not", k->job);
	if (k->text && (!k->has_step || k->removes))
		return bw_say(k->c, BW_EXIT_USAGE, "--text goes with a marker that is set");
	if (k->text && strlen(k->text) > BW_MARKER_TEXT_MAX)
		return bw_say(k->c, BW_EXIT_USAGE, "the text of a marker has at most %u bytes", BW_MARKER_TEXT_MAX);
	code = k->has_step ? bw_session_step(k->c, argv[optind + 2], &k->step) : 0;
	return code ? code : -1;
}

int bw_cmd_checkpoint(const struct bw_command *c, int argc, char **argv)
{
	struct checkpoint k = {.c = c};
	int code = parse(&k, argc, argv);

	if (code >= 0)
		return code;
	code = run(&k, argv[optind]);
	bw_committer_free(k.committer, bw_now());
	bw_session_done(&k.s);
	return code;
}
