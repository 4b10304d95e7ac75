/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that dies at one of its store operations, chosen by number: for the tests that visit every crash point of
 * something on a file store.
 */
#ifndef BW_TESTS_DEATH_H
#define BW_TESTS_DEATH_H

#include "store/store.h"
#include "tests/support/tmpdir.h"

#include <sys/types.h>

#define BW_TEST_DIED 137

struct bw_test_death {
	struct bw_fault_plan plan;
	uint64_t nth;
	enum bw_fault kind;	/* BW_FAULT_DIE_BEFORE ... */
};

/* The store in dir, which ends this process at its nth operation; d outlives it.  Ends it with 2 when it cannot be made. */
struct bw_store *bw_test_deadly_store(const char *dir, struct bw_test_death *d, uint64_t nth, enum bw_fault kind);
/* The store in dir as it is. */
struct bw_store *bw_test_plain_store(const char *dir);
/* 0: the child came to its end; BW_TEST_DIED: it met its death.  Anything else ends the test. */
int bw_test_death_wait(pid_t pid);

/* Makes dir, a temporary directory, with a copy of all that is in base. */
void bw_test_copy_dir(const char *base, char dir[BW_TMPDIR_MAX]);
/*
 * Prepares a directory, and runs over it once for each operation, 0 and on, until one is survived: how many were not.  run() works on
 * a copy and returns what bw_test_death_wait() said.
 */
uint64_t bw_test_deaths(void (*prepare)(const char *base), int (*run)(const char *base, uint64_t nth, enum bw_fault kind),
			enum bw_fault kind);

#endif
