/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commits one change by itself, so that mounts can be tested against its effect.
 *
 * usage: change URL seal | job NAME | mark JOB STEP | trim
 */
#include "manifest/committer.h"
#include "manifest/open.h"
#include "store/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse(int argc, char **argv, struct bw_change *c)
{
	memset(c, 0, sizeof(*c));
	if (argc == 1 && strcmp(argv[0], "seal") == 0)
		c->kind = BW_CHANGE_SEAL;
	else if (argc == 1 && strcmp(argv[0], "trim") == 0)
		c->kind = BW_CHANGE_TRIM;
	else if (argc == 2 && strcmp(argv[0], "job") == 0)
		c->kind = BW_CHANGE_JOB;
	else if (argc == 3 && strcmp(argv[0], "mark") == 0)
		c->kind = BW_CHANGE_MARK;
	else
		return -EINVAL;
	if (argc > 1)
		snprintf(c->name, sizeof(c->name), "%s", argv[1]);
	if (argc > 2)
		c->step = strtoull(argv[2], NULL, 10);
	return 0;
}

static int commit(struct bw_store *store, const struct bw_change *c)
{
	struct bw_stream stream;
	struct bw_root *root;
	struct bw_head *head;
	struct bw_committer *committer;
	struct bw_txn_change result;
	char why[256];
	int64_t deadline = bw_now() + 20 * BW_SEC;

	if (bw_stream_open(store, deadline, &stream, &root, why, sizeof(why))) {
		fprintf(stderr, "%s\n", why);
		return 1;
	}
	int err = bw_head_new(store, &stream, root, bw_boottime(), NULL, &head);

	if (!err) {
		err = bw_committer_new(store, &stream, head, bw_boottime(), NULL, &committer);
		if (!err) {
			err = bw_committer_sync(committer, c, BW_NEVER, &result);
			bw_committer_free(committer, deadline);
		}
		bw_head_free(head);
	}
	bw_root_unref(root);
	if (err)
		fprintf(stderr, "%s\n", bw_err_text(err, why, sizeof(why)));
	return err != 0;
}

int main(int argc, char **argv)
{
	struct bw_store_config config = {.create = false};
	struct bw_change c;
	struct bw_store *store;
	struct bw_url url;
	char why[256];

	if (argc < 3 || parse(argc - 2, argv + 2, &c)) {
		fprintf(stderr, "usage: %s URL seal | job NAME | mark JOB STEP | trim\n", argv[0]);
		return 2;
	}
	if (bw_url_parse(argv[1], &url, why, sizeof(why)) ||
	    bw_store_open(&url, &config, &store, why, sizeof(why))) {
		fprintf(stderr, "%s\n", why);
		return 1;
	}
	int code = commit(store, &c);

	bw_store_free(store);
	return code;
}
