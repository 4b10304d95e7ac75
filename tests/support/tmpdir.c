/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/tmpdir.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

void bw_test_tmpdir(char path[BW_TMPDIR_MAX])
{
	const char *top = getenv("TMPDIR");

	snprintf(path, BW_TMPDIR_MAX, "%s/bw-test-XXXXXX", top && *top ? top : "/tmp");
	if (!mkdtemp(path)) {
		perror(path);
		abort();
	}
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	remove(path);
	return 0;
}

void bw_test_rmtree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
