/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the disk cache's files, and reads of them that the disk fails. */
#include "fs/disk_dir.h"

#include "tests/support/tmpdir.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What reads of the cache's files end with: errno, or SHORT. */
#define SHORT (-1)
static atomic_int fault;

ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	static ssize_t (*real)(int, void *, size_t, off_t);

	if (!real)
		real = (ssize_t (*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread64");
	if (!fault)
		return real(fd, buf, len, off);
	errno = fault == SHORT ? 0 : fault;
	return fault == SHORT ? 0 : -1;
}

Test(disk_dir, a_name_says_all_and_has_one_spelling)
{
	struct bw_disk_name n = {.stream = {0xab, 1}, .step = (UINT64_C(1) << 45) - 1, .number = BW_DISK_FOOTER, .len = 77},
			    got;
	char text[BW_DISK_NAME_LEN + 1], bad[BW_DISK_NAME_LEN + 1];

	bw_disk_name_print(&n, text);
	cr_assert_str_eq(text, "bw1-ab010000000000000000000000000000-1fffffffffff-ffffffff-0000004d");
	cr_assert(bw_disk_name_parse(text, BW_DISK_NAME_LEN, &got));
	cr_assert_eq(memcmp(got.stream, n.stream, sizeof(n.stream)), 0);
	cr_assert(got.step == n.step && got.number == n.number && got.len == n.len);
	for (size_t i = 0; i < BW_DISK_NAME_LEN; i++) {
		cr_assert_not(bw_disk_name_parse(text, i, &got));
		memcpy(bad, text, sizeof(bad));
		bad[i] = 'A';
		cr_assert_not(bw_disk_name_parse(bad, BW_DISK_NAME_LEN, &got), "%s", bad);
	}
	memcpy(bad, text, sizeof(bad));
	bad[37] = '2';
	cr_assert_not(bw_disk_name_parse(bad, BW_DISK_NAME_LEN, &got), "a step beyond all");
	memcpy(bad, text, sizeof(bad));
	memcpy(bad + 59, "00000000", 8);
	cr_assert_not(bw_disk_name_parse(bad, BW_DISK_NAME_LEN, &got), "no bytes");
	memcpy(bad + 59, "04000001", 8);
	cr_assert_not(bw_disk_name_parse(bad, BW_DISK_NAME_LEN, &got), "more than any block or footer");
}

Test(disk_dir, bytes_that_the_disk_does_not_give_are_none)
{
	struct bw_disk_name n = {.stream = {0xab, 1}, .step = 7, .number = 3, .len = 10000};
	struct bw_disk_room room = {.bytes = NULL};
	char path[BW_TMPDIR_MAX], name[BW_DISK_NAME_LEN + 1];
	struct bw_blob *blob = NULL;
	uint8_t bytes[10000];

	memset(bytes, 0x5a, sizeof(bytes));
	bw_test_tmpdir(path);
	int dir = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);

	bw_disk_name_print(&n, name);
	int fd = openat(dir, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	cr_assert_eq(write(fd, bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
	close(fd);
	fault = EIO;
	cr_assert_eq(bw_disk_read(dir, &n, &room, &blob), -EIO);
	fault = SHORT;
	cr_assert_eq(bw_disk_read(dir, &n, &room, &blob), -BW_E_CORRUPT);
	cr_assert_null(blob);
	fault = 0;
	cr_assert_eq(bw_disk_read(dir, &n, &room, &blob), 0);
	cr_assert_eq(blob->len, sizeof(bytes));
	cr_assert_arr_eq(blob->bytes, bytes, sizeof(bytes));
	bw_blob_unref(blob);
	free(room.bytes);
	close(dir);
	bw_test_rmtree(path);
}
