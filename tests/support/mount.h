/* SPDX-License-Identifier: Apache-2.0 */
/* What a mount has below its files: a store of its own, a head and a committer. */
#ifndef BW_TESTS_MOUNT_H
#define BW_TESTS_MOUNT_H

#include "manifest/committer.h"
#include "tests/support/history.h"

struct bw_test_mount {
	struct bw_store *store;
	struct bw_stream stream;
	struct bw_head *head;
	struct bw_committer *committer;
};

/* Opens the stream in store, which is taken, also when it fails.  Starts threads. */
int bw_test_mount_open(struct bw_test_mount *m, struct bw_store *store) bw_must_check;
/* Commits what is queued, then frees all. */
void bw_test_mount_close(struct bw_test_mount *m);

/* The APPEND of this mount's owner. */
struct bw_change bw_test_mount_append(const struct bw_test_mount *m, const char *producer,
				      uint64_t epoch, uint64_t seq, uint64_t nonce);
/*
 * Everything that is committed, read through the index: *ret_entries[head], to be freed.  Aborts
 * unless steps are dense and each producer's seqs are 0, 1, 2 ... (I4, I5).
 */
uint64_t bw_test_mount_read(struct bw_test_mount *m, struct bw_entry **ret_entries);

#endif
