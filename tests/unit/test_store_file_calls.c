/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls of the file backend: their order, which is what makes OK durable, and what is
 * said when one of them fails.
 */
#include "tests/unit/store_file_calls.h"

/* ---- Order ---------------------------------------------------------------------------------- */

Test(file_calls, S2_data_then_way_then_name_then_directory)
{
	struct fixture f;

	setup(&f);
	expect(put(&f, "a/b/c", true), BW_OK, 0);
	cr_assert_str_eq(calls.text, "fsync(tmp) fsync(.) fsync(a) link(a/b/c) fsync(a/b) "
				     "unlink(tmp) ");
	/* The way is known to be on disk now. */
	expect(put(&f, "a/b/d", true), BW_OK, 0);
	cr_assert_str_eq(calls.text, "fsync(tmp) link(a/b/d) fsync(a/b) unlink(tmp) ");
	expect(put(&f, "top", true), BW_OK, 0);
	cr_assert_str_eq(calls.text, "fsync(tmp) link(top) fsync(.) unlink(tmp) ");
	expect(put(&f, "a/b/c", false), BW_OK, 0);
	cr_assert_str_eq(calls.text, "fsync(tmp) rename(a/b/c) fsync(a/b) unlink(tmp) ");
	teardown(&f);
}

Test(file_calls, S2_directories_made_by_others_are_synced_too)
{
	struct fixture f;
	struct bw_store *other;

	setup(&f);
	cr_assert_eq(bw_store_file_new(f.dir, false, 1, &other), 0);
	cr_assert_eq(bw_test_put(other, "a/b/c", "", 0, true), BW_OK);
	expect(put(&f, "a/b/d", true), BW_OK, 0);
	cr_assert_str_eq(calls.text, "fsync(tmp) fsync(.) fsync(a) link(a/b/d) fsync(a/b) "
				     "unlink(tmp) ");
	bw_store_free(other);
	teardown(&f);
}

/* The same path, but another directory than the one that is known to be on disk. */
Test(file_calls, S2_a_directory_made_again_is_synced_again)
{
	struct fixture f;
	struct bw_store *other;

	setup(&f);
	expect(put(&f, "a/b/c", true), BW_OK, 0);
	cr_assert_eq(bw_store_file_new(f.dir, false, 1, &other), 0);
	cr_assert_eq(bw_test_delete(other, "a/b/c"), BW_OK);
	cr_assert_eq(bw_test_put(other, "a/b/d", "", 0, true), BW_OK);
	expect(put(&f, "a/b/c", true), BW_OK, 0);
	cr_assert_str_eq(calls.text, "fsync(tmp) fsync(.) fsync(a) link(a/b/c) fsync(a/b) "
				     "unlink(tmp) ");
	bw_store_free(other);
	teardown(&f);
}

/* An inode number is given again, a moment of birth is shared: only both together tell. */
Test(file_calls, S2_a_directory_is_known_by_number_and_birth)
{
	static const struct {
		uint64_t ino;
		int64_t btime;
		bool synced;
	} cases[] = {{7, 100, true}, {7, 100, false}, {8, 100, true},  {8, 100, false},
		     {8, 101, true}, {8, 101, false}, {8, -1, true},   {8, -1, true},
		     {7, -1, true}};
	struct fixture f;
	char key[16];

	setup(&f);
	expect(put(&f, "a/k", true), BW_OK, 0);
	calls.forge_identity = true;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		calls.ino = cases[i].ino;
		calls.btime = cases[i].btime;
		snprintf(key, sizeof(key), "a/%u", i);
		expect(put(&f, key, true), BW_OK, 0);
		cr_assert_eq(strstr(calls.text, "fsync(.)") != NULL, cases[i].synced, "%u: %s", i,
			     calls.text);
	}
	teardown(&f);
}

/* Whoever is told EXISTS goes on from there: a crash must not take the name back. */
Test(file_calls, S2_exists_is_said_of_names_on_disk)
{
	struct fixture f;

	setup(&f);
	expect(put(&f, "a/k", true), BW_OK, 0);
	expect(put(&f, "a/k", true), BW_EXISTS, 0);
	cr_assert_str_eq(calls.text, "fsync(tmp) link(a/k) fsync(a) unlink(tmp) ");
	fail_next(FSYNC_DIR, EIO);
	expect(put(&f, "a/k", true), BW_UNREACHABLE, -EIO);
	teardown(&f);
}

Test(file_calls, a_delete_is_on_disk)
{
	struct fixture f;
	struct bw_op op;

	setup(&f);
	expect(put(&f, "a/k", true), BW_OK, 0);
	bw_op_delete(&op, "a/k");
	expect(end_of(f.s, &op), BW_OK, 0);
	/* And then, in vain or not, the directory is removed. */
	cr_assert_str_eq(calls.text, "unlink(a/k) fsync(a) unlink(a) ");
	teardown(&f);
}

static struct {
	struct bw_store *s;
	struct bw_op *op;
	unsigned left;
} to_cancel;

static void cancel_by_and_by(void)
{
	if (--to_cancel.left == 0)
		bw_store_cancel(to_cancel.s, to_cancel.op);
}

/* Each costs an fsync: a collector that is to stop does not wait for a thousand. */
Test(file_calls, deleting_many_ends_between_two_when_it_is_cancelled)
{
	static const char *const keys[] = {"a", "b", "c", "d"};
	struct bw_delete_item items[4];
	struct fixture f;
	struct bw_op op;

	setup(&f);
	for (int i = 0; i < 4; i++) {
		expect(put(&f, keys[i], true), BW_OK, 0);
		items[i] = (struct bw_delete_item){.key = keys[i]};
	}
	bw_op_delete_many(&op, items, 4);
	to_cancel.s = f.s;
	to_cancel.op = &op;
	to_cancel.left = 2;
	calls.at_unlink = cancel_by_and_by;
	expect(end_of(f.s, &op), BW_CANCELLED, 0);
	calls.at_unlink = NULL;
	for (int i = 0; i < 4; i++) {
		cr_assert_eq(items[i].outcome, i < 2 ? BW_OK : BW_CANCELLED, "%s", keys[i]);
		cr_assert_eq(is_there(&f, keys[i]), i >= 2, "%s", keys[i]);
	}
	/* The next one is not cancelled by that. */
	bw_op_delete_many(&op, items + 2, 2);
	expect(end_of(f.s, &op), BW_OK, 0);
	teardown(&f);
}

static struct ending get(struct fixture *f, const char *key)
{
	struct bw_op op;

	calls.openat_n = calls.openat2_n = 0;
	bw_op_get_all(&op, key, 100);
	return end_of(f->s, &op);
}

Test(file_calls, a_get_opens_its_object_in_one_call)
{
	struct fixture f;

	setup(&f);
	expect(put(&f, "a/b/c", true), BW_OK, 0);
	expect(get(&f, "a/b/c"), BW_OK, 0);
	cr_assert_eq(calls.openat2_n, 1);
	cr_assert_eq(calls.openat_n, 0);
	expect(get(&f, "a/b/none"), BW_NOT_FOUND, 0);
	cr_assert_eq(calls.openat_n, 0);
	teardown(&f);
}

Test(file_calls, a_get_goes_the_long_way_where_the_call_is_refused)
{
	static const int refusals[] = {ENOSYS, EPERM};
	struct fixture f;

	setup(&f);
	expect(put(&f, "a/b/c", true), BW_OK, 0);
	for (int i = 0; i < 2; i++) {
		calls.refuse_openat2 = refusals[i];
		expect(get(&f, "a/b/c"), BW_OK, 0);
		cr_assert_eq(calls.openat2_n, 1);
		cr_assert_eq(calls.openat_n, 4, "the store, two directories, and the object");
		expect(get(&f, "a/b/none"), BW_NOT_FOUND, 0);
	}
	teardown(&f);
}

Test(file_calls, making_the_store_directory_is_on_disk)
{
	struct fixture f;
	char dir[BW_TMPDIR_MAX + 8];
	struct bw_store *s;

	setup(&f);
	snprintf(dir, sizeof(dir), "%s/x/y", f.dir);
	calls.on = true;
	cr_assert_eq(bw_store_file_new(dir, true, 1, &s), 0);
	calls.on = false;
	cr_assert_str_eq(calls.text, "fsync(.) fsync(x) ");
	bw_store_free(s);
	teardown(&f);
}

/* ---- Failures before anything was applied --------------------------------------------------- */

Test(file_calls, before_the_name_every_failure_applied_nothing)
{
	static const struct {
		enum call call;
		int err;
		enum bw_outcome outcome;
	} cases[] = {
		{FSYNC_FILE, EIO, BW_UNREACHABLE}, {FSYNC_FILE, ENOSPC, BW_FULL},
		{FSYNC_FILE, EDQUOT, BW_FULL},	   {WRITE, EIO, BW_UNREACHABLE},
		{WRITE, ENOSPC, BW_FULL},	   {WRITE, EDQUOT, BW_FULL},
		{WRITE, EFBIG, BW_FULL},	   {FSYNC_DIR, EIO, BW_UNREACHABLE},
		{FSYNC_DIR, ENOSPC, BW_FULL},
	};
	struct fixture f;
	struct bw_blob *blob;

	setup(&f);
	for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
		fail_next(cases[i / 2].call, cases[i / 2].err);
		expect(put(&f, "a/b/c", i % 2), cases[i / 2].outcome, -cases[i / 2].err);
		cr_assert_null(strstr(calls.text, "link(a"), "%s", calls.text);
		cr_assert_null(strstr(calls.text, "rename("));
		cr_assert_not_null(strstr(calls.text, "unlink(tmp)"));
		cr_assert_eq(bw_test_get(f.s, "a/b/c", &blob), BW_NOT_FOUND);
	}
	teardown(&f);
}

Test(file_calls, a_refused_name_applied_nothing)
{
	static const struct {
		int err;
		enum bw_outcome outcome;
	} cases[] = {{ENOSPC, BW_FULL},	 {EDQUOT, BW_FULL},  {EMLINK, BW_FULL},
		     {EACCES, BW_DENIED}, {EROFS, BW_DENIED}, {EPERM, BW_DENIED},
		     {EOPNOTSUPP, BW_DENIED}, {ENOSYS, BW_DENIED}};
	struct fixture f;

	setup(&f);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fail_next(LINK, cases[i].err);
		expect(put(&f, "k", true), cases[i].outcome, -cases[i].err);
		fail_next(RENAME, cases[i].err);
		expect(put(&f, "k", false), cases[i].outcome, -cases[i].err);
		cr_assert_not(is_there(&f, "k"));
	}
	teardown(&f);
}

/* Somebody's delete has removed the directory between our look and our link. */
Test(file_calls, a_way_that_is_gone_is_made_again)
{
	struct fixture f;

	setup(&f);
	for (int i = 0; i < 2; i++) {
		fail_next(i ? RENAME : LINK, ENOENT);
		calls.times = 3;
		expect(put(&f, "a/k", !i), BW_OK, 0);
		cr_assert(is_there(&f, "a/k"));
		calls.on = false;
		/* Not for ever, though. */
		fail_next(i ? RENAME : LINK, ENOENT);
		expect(put(&f, "a/k2", !i), BW_UNREACHABLE, -ENOENT);
		cr_assert_not(is_there(&f, "a/k2"));
	}
	teardown(&f);
}

Test(file_calls, nothing_is_sent_past_the_deadline)
{
	struct fixture f;
	struct bw_bytes_body body;
	struct bw_op op;

	setup(&f);
	bw_bytes_body_init(&body, "bytes", 5);
	bw_op_put(&op, "k", &body.body, true);
	op.deadline_ns = bw_now() - 1;
	expect(end_of(f.s, &op), BW_CANCELLED, 0);
	cr_assert_str_eq(calls.text, "");
	teardown(&f);
}

/* ---- Failures that leave a doubt ------------------------------------------------------------ */

Test(file_calls, S3_a_name_that_may_not_be_on_disk_is_unknown)
{
	struct fixture f;

	setup(&f);
	expect(put(&f, "d/first", true), BW_OK, 0);
	for (int i = 0; i < 2; i++) {
		fail_next(FSYNC_DIR, i ? ENOSPC : EIO);
		expect(put(&f, i ? "d/a" : "d/b", !i), BW_UNKNOWN, i ? -ENOSPC : -EIO);
		cr_assert(is_there(&f, i ? "d/a" : "d/b"));
	}
	expect(put(&f, "d/b", true), BW_EXISTS, 0);
	cr_assert_str_eq(calls.text, "fsync(tmp) link(d/b) fsync(d) unlink(tmp) ",
			 "resolved without a look at the disk: %s", calls.text);
	teardown(&f);
}

Test(file_calls, S3_an_error_of_unclear_effect_is_unknown)
{
	static const int errs[] = {EIO, ETIMEDOUT, EINTR, ESTALE, ENOMEM};
	struct fixture f;
	struct bw_op op;
	char key[32];

	setup(&f);
	for (size_t i = 0; i < 4 * sizeof(errs) / sizeof(errs[0]); i++) {
		int err = errs[i / 4];
		snprintf(key, sizeof(key), "k%zu", i);
		fail_next(i & 1 ? LINK : RENAME, err);
		calls.fail_after = i & 2;
		expect(put(&f, key, i & 1), BW_UNKNOWN, -err);
		cr_assert_eq(is_there(&f, key), (i & 2) != 0);
	}
	expect(put(&f, "k", true), BW_OK, 0);
	fail_next(UNLINK, EIO);
	bw_op_delete(&op, "k");
	expect(end_of(f.s, &op), BW_UNKNOWN, -EIO);
	fail_next(FSYNC_DIR, EIO);
	bw_op_delete(&op, "k");
	expect(end_of(f.s, &op), BW_UNKNOWN, -EIO);
	cr_assert_not(is_there(&f, "k"));
	teardown(&f);
}

/* A network file system sends link again when the answer is lost, and then finds its own name. */
Test(file_calls, S3_our_own_link_seen_twice_is_ours)
{
	struct fixture f;

	setup(&f);
	fail_next(LINK, EEXIST);
	calls.fail_after = true;
	expect(put(&f, "k", true), BW_OK, 0);
	cr_assert(is_there(&f, "k"));
	fail_next(LINK, EEXIST);
	calls.fail_after = true;
	expect(put_bytes(&f, "k", "other", 5, true), BW_EXISTS, 0);
	cr_assert(is_there(&f, "k"));
	teardown(&f);
}

Test(file_calls, a_file_system_without_directory_sync_is_served)
{
	struct fixture f;

	setup(&f);
	fail_next(FSYNC_DIR, EINVAL);
	expect(put(&f, "a/k", true), BW_OK, 0);
	cr_assert(is_there(&f, "a/k"));
	teardown(&f);
}

/* ---- Reading -------------------------------------------------------------------------------- */

Test(file_calls, short_reads_and_writes_are_continued)
{
	struct fixture f;
	struct bw_op op;
	uint8_t bytes[5500];

	setup(&f);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	expect(put_bytes(&f, "k", bytes, sizeof(bytes), true), BW_OK, 0);
	cr_assert(bw_test_holds(f.s, "k", bytes, sizeof(bytes)));
	calls.on = true;
	bw_op_get(&op, "k", 100, 5300);
	bw_store_sync(f.s, &op);
	calls.on = false;
	cr_assert_eq(op.outcome, BW_OK);
	cr_assert_eq(op.blob->len, 5300);
	cr_assert_arr_eq(op.blob->bytes, bytes + 100, 5300);
	bw_op_done(&op);
	teardown(&f);
}

Test(file_calls, a_read_that_fails_is_unreachable)
{
	static const int errs[] = {EIO, ESTALE, EACCES};
	struct fixture f;
	struct bw_op op;
	uint8_t bytes[5500] = {0};

	setup(&f);
	expect(put_bytes(&f, "k", bytes, sizeof(bytes), true), BW_OK, 0);
	for (size_t i = 0; i < 2 * sizeof(errs) / sizeof(errs[0]); i++) {
		fail_next(PREAD, errs[i / 2]);
		calls.skip = i % 2 ? 3 : 0;
		bw_op_get_all(&op, "k", sizeof(bytes));
		expect(end_of(f.s, &op), BW_UNREACHABLE, -errs[i / 2]);
		cr_assert_null(op.blob);
	}
	teardown(&f);
}

/* Somebody else's truncation, before or after the look at the size. */
Test(file_calls, an_object_that_shrinks_is_corrupt)
{
	struct fixture f;
	struct bw_op op;
	char path[BW_TMPDIR_MAX + 8];

	setup(&f);
	expect(put(&f, "k", true), BW_OK, 0);
	snprintf(path, sizeof(path), "%s/k", f.dir);
	cr_assert_eq(truncate(path, 3), 0);
	bw_op_get(&op, "k", 0, 5);
	expect(end_of(f.s, &op), BW_CORRUPT, 0);
	fail_next(PREAD, 0);
	bw_op_get(&op, "k", 0, 3);
	expect(end_of(f.s, &op), BW_CORRUPT, 0);
	cr_assert_null(op.blob);
	teardown(&f);
}

static void move_away(void)
{
	char to[BW_TMPDIR_MAX + 8];

	snprintf(to, sizeof(to), "%s-moved", calls.root);
	rename(calls.root, to);
}

/* What was read of a directory that had gone meanwhile may be less than all. */
Test(file_calls, a_listing_of_a_store_that_goes_is_unreachable)
{
	char moved[BW_TMPDIR_MAX + 8];
	struct fixture f;
	struct bw_op op;

	setup(&f);
	expect(put(&f, "k", true), BW_OK, 0);
	calls.at_listing = move_away;
	bw_op_list(&op, "", "", 10);
	expect(end_of(f.s, &op), BW_UNREACHABLE, -ENOENT);
	cr_assert_null(op.listing);
	snprintf(moved, sizeof(moved), "%s-moved", f.dir);
	cr_assert_eq(rename(moved, f.dir), 0);
	calls.at_listing = NULL;
	bw_op_list(&op, "", "", 10);
	expect(end_of(f.s, &op), BW_OK, 0);
	teardown(&f);
}

static unsigned directories_read;

static void count_read(void)
{
	directories_read++;
}

/* All of a prefix, so many a page. */
static unsigned list_all(struct fixture *f, const char *prefix, unsigned max)
{
	char last[BW_KEY_MAX + 1] = "";
	bool more = true;
	struct bw_op op;
	unsigned n = 0;

	while (more) {
		bw_op_list(&op, prefix, last, max);
		cr_assert_eq(bw_store_sync(f->s, &op), BW_OK);
		more = op.listing->more;
		n += (unsigned)op.listing->n;
		if (op.listing->n)
			snprintf(last, sizeof(last), "%s", op.listing->items[op.listing->n - 1].key);
		bw_op_done(&op);
	}
	return n;
}

/* However many pages: what is left of a directory when one is full is kept for the next. */
Test(file_calls, a_listing_reads_each_directory_once)
{
	enum { FILES = 3000 };
	char path[BW_TMPDIR_MAX + 32];
	struct fixture f;

	setup(&f);
	unsigned others = list_all(&f, "", 1000);

	expect(put(&f, "a/k", true), BW_OK, 0);
	expect(put(&f, "b/c/k", true), BW_OK, 0);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/b/%u", f.dir, i);
		close(open(path, O_CREAT | O_WRONLY, 0644));
	}
	calls.at_listing = count_read;
	watch_calls();
	unsigned n = list_all(&f, "", 100);

	cr_assert_eq(n, others + FILES + 2, "%u", n);
	cr_assert_eq(directories_read, 4, "the store, a, b and b/c: %u", directories_read);
	directories_read = 0;
	cr_assert_eq(list_all(&f, "b/1", 7), 1111);
	cr_assert_eq(directories_read, 1, "%u", directories_read);
	calls.at_listing = NULL;
	teardown(&f);
}

/* What was kept of one directory is not told of another in its place, nor while it is away. */
Test(file_calls, a_listing_does_not_go_on_in_a_store_that_has_gone)
{
	char moved[BW_TMPDIR_MAX + 8];
	struct fixture f;
	struct bw_op op;

	setup(&f);
	for (int i = 0; i < 4; i++)
		expect(put(&f, (const char *[]){"a", "b", "c", "d"}[i], true), BW_OK, 0);
	bw_op_list(&op, "", "", 2);
	expect(end_of(f.s, &op), BW_OK, 0);
	snprintf(moved, sizeof(moved), "%s-moved", f.dir);
	cr_assert_eq(rename(f.dir, moved), 0);
	bw_op_list(&op, "", "b", 2);
	expect(end_of(f.s, &op), BW_UNREACHABLE, -ENOENT);
	cr_assert_null(op.listing);
	cr_assert_eq(rename(moved, f.dir), 0);
	bw_op_list(&op, "", "b", 2);
	cr_assert_eq(bw_store_sync(f.s, &op), BW_OK);
	cr_assert_eq(op.listing->n, 2);
	bw_op_done(&op);
	teardown(&f);
}
