/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/session.h"

#include "manifest/committer.h"

#include <inttypes.h>
#include <stdio.h>

static const struct option longs[] = {BW_STORE_OPTIONS, {0}};

static int seal(struct bw_session *s)
{
	struct bw_change change = {.kind = BW_CHANGE_SEAL};
	struct bw_txn_change result = {.err = 0};
	struct bw_committer *committer;
	int err = bw_root_may_write(s->root);

	if (err)
		return bw_say_err(s->command, err, "cannot write to %s", s->url);
	err = bw_committer_new(s->store, &s->stream, s->head, s->opened_ns, NULL, &committer);
	if (err)
		return bw_say_err(s->command, err, "cannot start");
	err = bw_committer_sync(committer, &change, bw_session_commit_deadline(), &result);
	bw_committer_free(committer, bw_now());
	if (err == -BW_E_UNKNOWN)
		return bw_say(s->command, BW_EXIT_STORE,
			      "the store did not say whether it was done; run this again: to seal twice is harmless");
	if (err)
		return bw_say_err(s->command, err, "cannot seal %s", s->url);
	struct bw_root *r = bw_head_root(s->head);

	printf("%" PRIu64 "\n", r->head);
	bw_root_unref(r);
	return BW_EXIT_DONE;
}

int bw_cmd_seal(const struct bw_command *c, int argc, char **argv)
{
	struct bw_store_options o;
	struct bw_session s;
	int option, code;

	bw_store_options_init(&o);
	while ((option = bw_option_of(c, argc, argv, longs, &o, &code)) != -1)
		if (option == BW_OPT_STOP)
			return code;
	if (argc - optind != 1)
		return bw_say_usage(c);
	code = bw_session_open(&s, c, argv[optind], &o, true);
	if (!code)
		code = seal(&s);
	bw_session_done(&s);
	return code;
}
