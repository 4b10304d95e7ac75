/* SPDX-License-Identifier: Apache-2.0 */
/* What can befall the directory of a store: it goes and comes, is full, read-only, not ours. */
#include "tests/unit/store_file.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Every kind of request ends with this outcome and error; what is in the store must not be told. */
static void assert_all_end(struct fixture *f, enum bw_outcome wanted, int err)
{
	struct bw_bytes_body body;
	struct bw_op op;

	bw_bytes_body_init(&body, "bytes", 5);
	for (int i = 0; i < 7; i++) {
		const char *key = i % 2 ? "known" : "unknown/key";
		if (i < 2)
			bw_op_get_all(&op, key, 100);
		else if (i < 4)
			bw_op_put(&op, key, &body.body, i == 2);
		else if (i < 6)
			bw_op_delete(&op, key);
		else
			bw_op_list(&op, "", "", 10);
		enum bw_outcome o = bw_store_sync(f->s, &op);
		cr_assert_eq(o, wanted, "request %d: %s, not %s", i, bw_outcome_name(o),
			     bw_outcome_name(wanted));
		cr_assert_eq(op.err, err, "request %d: err %d", i, op.err);
		cr_assert_neq(op.detail[0], 0);
	}
}

/* ---- The directory goes and comes ----------------------------------------------------------- */

Test(file_loss, a_directory_moved_away_is_unreachable_until_it_is_back)
{
	struct fixture f;
	struct bw_blob *blob;

	setup(&f);
	expect(bw_test_put(f.s, "known", "1", 1, true), BW_OK);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(rename(f.dir, f.elsewhere), 0);
		assert_all_end(&f, BW_UNREACHABLE, -ENOENT);
		cr_assert_eq(rename(f.elsewhere, f.dir), 0);
		cr_assert(bw_test_holds(f.s, "known", "1", 1));
		expect(bw_test_get(f.s, "unknown/key", &blob), BW_NOT_FOUND);
		expect(bw_test_put(f.s, "unknown/key", "", 0, true), BW_OK);
		expect(bw_test_delete(f.s, "unknown/key"), BW_OK);
	}
	teardown(&f);
}

static void copy_store(struct fixture *f, const char *from, const char *to)
{
	char command[1200];

	snprintf(command, sizeof(command), "cp -a '%s' '%s'", from, to);
	cr_assert_eq(system(command), 0, "%s", f->top);
}

Test(file_loss, a_directory_removed_is_unreachable_until_it_is_restored)
{
	struct fixture f;
	struct bw_store *other;
	struct bw_blob *blob;

	setup(&f);
	expect(bw_test_put(f.s, "known", "1", 1, true), BW_OK);
	copy_store(&f, f.dir, f.elsewhere);
	bw_test_rmtree(f.dir);
	assert_all_end(&f, BW_UNREACHABLE, -ENOENT);
	/* An empty directory is what a file system that was unmounted leaves behind. */
	cr_assert_eq(mkdir(f.dir, 0755), 0);
	assert_all_end(&f, BW_UNREACHABLE, -ESTALE);
	/* And what somebody puts there then is another store. */
	cr_assert_eq(bw_store_file_new(f.dir, false, 1, &other), 0);
	expect(bw_test_put(other, "known", "2", 1, true), BW_OK);
	assert_all_end(&f, BW_UNREACHABLE, -ESTALE);
	cr_assert(bw_test_holds(other, "known", "2", 1));
	bw_store_free(other);
	bw_test_rmtree(f.dir);
	copy_store(&f, f.elsewhere, f.dir);
	cr_assert(bw_test_holds(f.s, "known", "1", 1));
	expect(bw_test_get(f.s, "unknown", &blob), BW_NOT_FOUND);
	expect(bw_test_put(f.s, "a/b", "3", 1, true), BW_OK);
	cr_assert(bw_test_holds(f.s, "a/b", "3", 1));
	teardown(&f);
}

Test(file_loss, opening_a_directory_leaves_nothing_in_it)
{
	struct fixture f;
	struct bw_blob *blob;
	struct bw_op op;

	setup(&f);
	expect(bw_test_get(f.s, "k", &blob), BW_NOT_FOUND);
	expect(bw_test_delete(f.s, "k"), BW_NOT_FOUND);
	bw_op_list(&op, "", "", 1);
	expect(bw_store_sync(f.s, &op), BW_OK);
	bw_op_done(&op);
	cr_assert_eq(entries_of(f.dir), 0);
	teardown(&f);
}

/* It was opened while it had no name yet; its first object came from somebody else. */
Test(file_loss, a_store_named_by_others_is_known_again)
{
	struct fixture f;
	struct bw_store *other;

	setup(&f);
	cr_assert_eq(bw_store_file_new(f.dir, false, 1, &other), 0);
	expect(bw_test_put(other, "known", "1", 1, true), BW_OK);
	bw_store_free(other);
	cr_assert(bw_test_holds(f.s, "known", "1", 1));
	copy_store(&f, f.dir, f.elsewhere);
	bw_test_rmtree(f.dir);
	assert_all_end(&f, BW_UNREACHABLE, -ENOENT);
	copy_store(&f, f.elsewhere, f.dir);
	cr_assert(bw_test_holds(f.s, "known", "1", 1));
	teardown(&f);
}

Test(file_loss, a_file_in_the_place_of_the_directory_is_no_store)
{
	struct fixture f;

	setup(&f);
	expect(bw_test_put(f.s, "known", "1", 1, true), BW_OK);
	cr_assert_eq(rename(f.dir, f.elsewhere), 0);
	close(open(f.dir, O_CREAT | O_WRONLY, 0644));
	assert_all_end(&f, BW_UNREACHABLE, -ENOTDIR);
	cr_assert_eq(unlink(f.dir), 0);
	cr_assert_eq(rename(f.elsewhere, f.dir), 0);
	cr_assert(bw_test_holds(f.s, "known", "1", 1));
	teardown(&f);
}

/* ---- File systems of their own (root only) -------------------------------------------------- */

/* False: told to skip.  Mounts end with the test's process, whatever becomes of it. */
static bool mount_tmpfs(struct fixture *f, const char *options)
{
	const char *skip = getenv("BW_SKIP_ROOT");

	if (skip && strcmp(skip, "1") == 0)
		return false;
	cr_assert_eq(unshare(CLONE_NEWNS), 0, "needs root; BW_SKIP_ROOT=1 skips it");
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	bw_test_tmpdir(f->top);
	snprintf(f->dir, sizeof(f->dir), "%s/store", f->top);
	cr_assert_eq(mkdir(f->dir, 0755), 0);
	cr_assert_eq(mount("tmpfs", f->dir, "tmpfs", 0, options), 0);
	open_store(f);
	return true;
}

static void unmount_tmpfs(struct fixture *f)
{
	bw_store_free(f->s);
	umount2(f->dir, MNT_DETACH);
	bw_test_rmtree(f->top);
}

static enum bw_outcome put_zeros(struct bw_store *s, const char *key, size_t len, bool if_absent,
				 int *ret_err)
{
	struct bw_bytes_body body;
	struct bw_op op;
	void *bytes = calloc(1, len);

	bw_bytes_body_init(&body, bytes, len);
	bw_op_put(&op, key, &body.body, if_absent);
	bw_store_sync(s, &op);
	free(bytes);
	*ret_err = bw_op_err(&op);
	return op.outcome;
}

Test(file_loss, a_full_disk_is_full_and_keeps_what_it_had)
{
	struct fixture f;
	struct bw_blob *blob;
	int err;

	if (!mount_tmpfs(&f, "size=2m"))
		cr_skip("BW_SKIP_ROOT");
	expect(bw_test_put(f.s, "kept", "kept", 4, true), BW_OK);
	for (int i = 0; i < 4; i++) {
		const char *key = i % 2 ? "kept" : "new/key";
		expect(put_zeros(f.s, key, 4 << 20, i == 0, &err), BW_FULL);
		cr_assert_eq(err, -ENOSPC);
		cr_assert_eq(temporaries(&f), 0, "what did not fit takes up the disk");
	}
	expect(bw_test_get(f.s, "new/key", &blob), BW_NOT_FOUND);
	cr_assert(bw_test_holds(f.s, "kept", "kept", 4));
	expect(put_zeros(f.s, "new/key", 1 << 20, true, &err), BW_OK);
	expect(bw_test_delete(f.s, "new/key"), BW_OK);
	unmount_tmpfs(&f);
}

Test(file_loss, no_inode_left_is_full_too)
{
	struct fixture f;
	int err = 0;

	if (!mount_tmpfs(&f, "nr_inodes=12"))
		cr_skip("BW_SKIP_ROOT");
	expect(bw_test_put(f.s, "kept", "kept", 4, true), BW_OK);
	enum bw_outcome o = BW_OK;
	for (int i = 0; i < 20 && o == BW_OK; i++) {
		char key[32];
		snprintf(key, sizeof(key), "a%d/b/c/d", i);
		o = put_zeros(f.s, key, 1, true, &err);
	}
	expect(o, BW_FULL);
	cr_assert_eq(err, -ENOSPC);
	cr_assert_eq(temporaries(&f), 0);
	cr_assert(bw_test_holds(f.s, "kept", "kept", 4));
	unmount_tmpfs(&f);
}

Test(file_loss, a_read_only_directory_is_denied_and_reads_go_on)
{
	struct fixture f;
	struct bw_blob *blob;
	struct bw_store *s;
	int err;

	if (!mount_tmpfs(&f, "size=2m"))
		cr_skip("BW_SKIP_ROOT");
	expect(bw_test_put(f.s, "d/kept", "kept", 4, true), BW_OK);
	cr_assert_eq(mount(NULL, f.dir, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	for (int i = 0; i < 4; i++) {
		expect(put_zeros(f.s, i < 2 ? "d/kept" : "e/new", 5, i % 2, &err), BW_DENIED);
		cr_assert_eq(err, -EROFS);
	}
	expect(bw_test_delete(f.s, "d/kept"), BW_DENIED);
	expect(bw_test_get(f.s, "e/new", &blob), BW_NOT_FOUND);
	cr_assert(bw_test_holds(f.s, "d/kept", "kept", 4));
	cr_assert_eq(bw_store_file_new(f.dir, true, 1, &s), 0, "reading needs no leave to write");
	cr_assert(bw_test_holds(s, "d/kept", "kept", 4));
	bw_store_free(s);
	cr_assert_eq(mount(NULL, f.dir, NULL, MS_REMOUNT, NULL), 0);
	expect(bw_test_put(f.s, "e/new", "1", 1, true), BW_OK);
	unmount_tmpfs(&f);
}

Test(file_loss, an_unmounted_file_system_is_not_an_empty_store)
{
	struct fixture f;

	if (!mount_tmpfs(&f, "size=2m"))
		cr_skip("BW_SKIP_ROOT");
	expect(bw_test_put(f.s, "known", "1", 1, true), BW_OK);
	cr_assert_eq(umount2(f.dir, MNT_DETACH), 0);
	assert_all_end(&f, BW_UNREACHABLE, -ESTALE);
	/* Nor is another one in its place, whose root has the same inode number. */
	cr_assert_eq(mount("tmpfs", f.dir, "tmpfs", 0, "size=2m"), 0);
	assert_all_end(&f, BW_UNREACHABLE, -ESTALE);
	unmount_tmpfs(&f);
}

/* Root may do anything, so somebody else tries. */
Test(file_loss, no_permission_is_denied)
{
	struct fixture f;
	int status;

	if (geteuid() != 0)
		cr_skip("the test gives its rights away");
	setup(&f);
	cr_assert_eq(chmod(f.top, 0755), 0);
	expect(bw_test_put(f.s, "open", "1", 1, true), BW_OK);
	expect(bw_test_put(f.s, "d/closed", "1", 1, true), BW_OK);
	char path[512];
	cr_assert_eq(chmod(below(&f, "d", path), 0700), 0);
	close_store(&f);
	pid_t pid = fork();
	if (pid == 0) {
		struct bw_store *s;
		struct bw_blob *blob;
		int err;
		if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534) ||
		    bw_store_file_new(f.dir, false, 1, &s))
			_exit(1);
		if (bw_test_get(s, "open", &blob) != BW_OK)
			_exit(2);
		if (bw_test_get(s, "d/closed", &blob) != BW_DENIED)
			_exit(3);
		if (put_zeros(s, "new", 1, true, &err) != BW_DENIED || err != -BW_E_DENIED)
			_exit(4);
		if (bw_test_delete(s, "open") != BW_DENIED)
			_exit(5);
		struct bw_op op;
		bw_op_list(&op, "", "", 10);
		_exit(bw_store_sync(s, &op) == BW_DENIED ? 0 : 6);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0, "step %d", WEXITSTATUS(status));
	teardown(&f);
}
