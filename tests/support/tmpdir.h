/* SPDX-License-Identifier: Apache-2.0 */
/* Directories of a test: below $TMPDIR or /tmp, removed by the test. */
#ifndef BW_TESTS_TMPDIR_H
#define BW_TESTS_TMPDIR_H

#define BW_TMPDIR_MAX 256

/* A new, empty directory; ends the test program when there can be none. */
void bw_test_tmpdir(char path[BW_TMPDIR_MAX]);
/* rm -rf; what is missing is fine.  Does not enter other file systems. */
void bw_test_rmtree(const char *path);

#endif
