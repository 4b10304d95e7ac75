/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of objects as files share: a store in a directory below one of the test's own. */
#ifndef BW_TESTS_STORE_FILE_H
#define BW_TESTS_STORE_FILE_H

#include "tests/support/stores.h"
#include "tests/unit/expect.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>

struct fixture {
	char top[BW_TMPDIR_MAX];	/* the store is in a directory below it */
	char dir[BW_TMPDIR_MAX + 16];
	char elsewhere[BW_TMPDIR_MAX + 16];
	struct bw_store *s;
};

static inline void open_store(struct fixture *f)
{
	cr_assert_eq(bw_store_file_new(f->dir, true, 0, &f->s), 0);
}

static inline void close_store(struct fixture *f)
{
	bw_store_free(f->s);
	f->s = NULL;
}

static inline void setup(struct fixture *f)
{
	bw_test_tmpdir(f->top);
	snprintf(f->dir, sizeof(f->dir), "%s/store", f->top);
	snprintf(f->elsewhere, sizeof(f->elsewhere), "%s/elsewhere", f->top);
	open_store(f);
}

static inline void teardown(struct fixture *f)
{
	bw_store_free(f->s);
	bw_test_rmtree(f->top);
}

/* A path below the directory of the store. */
static inline const char *below(struct fixture *f, const char *name, char path[512])
{
	snprintf(path, 512, "%s/%s", f->dir, name);
	return path;
}

static inline unsigned entries_of(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	if (!d)
		return 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static inline unsigned temporaries(struct fixture *f)
{
	char path[512];

	return entries_of(below(f, ".tmp", path));
}

static inline size_t keys(struct fixture *f)
{
	struct bw_op op;

	bw_op_list(&op, "", "", 1000);
	expect(bw_store_sync(f->s, &op), BW_OK);
	size_t n = op.listing->n;

	bw_op_done(&op);
	return n;
}

#endif
