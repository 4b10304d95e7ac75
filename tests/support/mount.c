/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/mount.h"

#include "manifest/open.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "mount: %s\n", what);
	abort();
}

int bw_test_mount_open(struct bw_test_mount *m, struct bw_store *store)
{
	struct bw_root *root = NULL;
	char why[200];

	int64_t opened_ns = bw_boottime();

	*m = (struct bw_test_mount){.store = store};
	int err = bw_stream_open(store, BW_NEVER, &m->stream, &root, why, sizeof(why));

	if (!err)
		err = bw_head_new(store, &m->stream, root, opened_ns, NULL, &m->head);
	if (!err)
		err = bw_committer_new(store, &m->stream, m->head, opened_ns, NULL, &m->committer);
	bw_root_unref(root);
	if (err)
		bw_test_mount_close(m);
	return err;
}

void bw_test_mount_close(struct bw_test_mount *m)
{
	bw_committer_free(m->committer, bw_now() + 60 * BW_SEC);
	bw_head_free(m->head);
	bw_store_free(m->store);
	*m = (struct bw_test_mount){.store = NULL};
}

struct bw_change bw_test_mount_append(const struct bw_test_mount *m, const char *producer,
				      uint64_t epoch, uint64_t seq, uint64_t nonce)
{
	struct bw_change c = bw_test_append(producer, 1, epoch, seq, nonce);

	memcpy(c.owner, bw_committer_owner(m->committer), sizeof(c.owner));
	return c;
}

static void check_dense(const struct bw_entry *entries, uint64_t n)
{
	for (uint64_t s = 0; s < n; s++) {
		uint64_t seq = 0;

		must(entries[s].step == s, "steps are not dense");
		for (uint64_t t = s; t-- > 0 && !seq;)
			if (!strcmp(entries[t].producer, entries[s].producer))
				seq = entries[t].seq + 1;
		must(entries[s].seq == seq, "seqs are not dense");
	}
}

uint64_t bw_test_mount_read(struct bw_test_mount *m, struct bw_entry **ret_entries)
{
	struct bw_root *root;

	must(!bw_head_refresh(m->head, BW_NEVER, &root), "no newest root");
	uint64_t n = root->head;
	struct bw_entry *entries = calloc(n + 1, sizeof(*entries));

	bw_root_unref(root);
	must(entries, "memory");
	for (uint64_t s = 0; s < n; s++)
		must(!bw_head_find_sync(m->head, s, BW_NEVER, &entries[s]),
		     "a committed step cannot be looked up");
	check_dense(entries, n);
	*ret_entries = entries;
	return n;
}
