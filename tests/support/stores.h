/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stores to hold to the contract, by number, and requests that wait for their answer.
 *
 * The numbers run over every backend under every stack of filters, so a parameterised test takes
 * them as its index.  BW_STORE (mem, file, rgw, versity) chooses one backend; without it they are those
 * that need nothing but this machine's memory and disk.  BW_STYLE=virtual: rgw with the bucket in the host name.
 */
#ifndef BW_TESTS_STORES_H
#define BW_TESTS_STORES_H

#include "store/stats.h"
#include "store/store.h"
#include "tests/support/tmpdir.h"

#define BW_TEST_BACKENDS 4
#define BW_TEST_STACKS 10
#define BW_TEST_STORES (BW_TEST_BACKENDS * BW_TEST_STACKS)	/* at most */

struct bw_test_store {
	struct bw_store *s;
	char name[48];			/* "file under retry" */
	char dir[BW_TMPDIR_MAX];	/* "" when the backend has none */
	struct bw_store_stats stats;	/* counts when the stack holds that filter */
	struct bw_fault_plan plan;
	bool in_memory;
};

/* The numbers of the stores to test. */
void bw_test_stores(unsigned *ret_first, unsigned *ret_n);

/* Ends the program when it fails; starts threads. */
void bw_test_store_open(unsigned number, struct bw_test_store *t);
/* Frees the store unless t->s is NULL, and removes the directory. */
void bw_test_store_close(struct bw_test_store *t);

enum bw_outcome bw_test_put(struct bw_store *s, const char *key, const void *bytes, size_t len,
			    bool if_absent);
/* The whole object; *ret_blob only when it is OK. */
enum bw_outcome bw_test_get(struct bw_store *s, const char *key, struct bw_blob **ret_blob);
enum bw_outcome bw_test_delete(struct bw_store *s, const char *key);
/* Leaves the upload of a process that dies in the middle of a put.  False: this store keeps none. */
bool bw_test_leave_upload(struct bw_test_store *t, const char *key);
/* Whether the object is there and has these bytes. */
bool bw_test_holds(struct bw_store *s, const char *key, const void *bytes, size_t len);

#endif
