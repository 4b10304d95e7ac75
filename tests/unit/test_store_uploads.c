/* SPDX-License-Identifier: Apache-2.0 */
/* Unfinished uploads: the names of temporary files, and what the filters make of the two requests. */
#include "store/file_priv.h"
#include "tests/unit/store_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void touch(struct fixture *f, const char *name)
{
	char path[1024];

	snprintf(path, sizeof(path), "%s/.tmp/%s", f->dir, name);
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);

	cr_assert_geq(fd, 0, "%s", path);
	close(fd);
}

static size_t uploads(struct bw_store *s)
{
	struct bw_op op;

	bw_op_list_uploads(&op, "", "", NULL, 1000);
	expect(bw_store_sync(s, &op), BW_OK);
	size_t n = op.uploads->n;

	bw_op_done(&op);
	return n;
}

static enum bw_outcome abort_upload(struct bw_store *s, const char *key, const char *id)
{
	struct bw_op op;

	bw_op_abort_upload(&op, key, id);
	return bw_store_sync(s, &op);
}

Test(file_uploads, a_name_tells_the_key)
{
	static const char *const keys[] = {"a", "a/b/c", "8c1f/data/p-0/1/7-00ff", "a.b_c/-", "-"};
	char name[NAME_MAX + 1], other[NAME_MAX + 1], key[BW_KEY_MAX + 1];

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		file_tmp_name(keys[i], name);
		cr_assert_null(strchr(name, '/'));
		cr_assert(file_tmp_key(name, key), "%s", name);
		cr_assert_str_eq(key, keys[i]);
		file_tmp_name(keys[i], other);
		cr_assert_str_neq(name, other, "two puts of a key share a file");
	}
}

Test(file_uploads, what_is_no_name)
{
	static const char *const bad[] = {"", "x", "12", "12-", "12-00ff", "1-0123456789abcdef",
					  "1-0123456789abcdef-", "-0123456789abcdef-k", "1-0123456789abcdeg-k",
					  "1-0123456789abcdef0-k", "1-0123456789abcdef-a%", "1-0123456789abcdef-%a",
					  "1-0123456789abcdef-a%%b", "1-0123456789abcdef-a%..%b",
					  "1-0123456789abcdef-a b", "1-0123456789abcdef-..",
					  "0123456789abcdef0123456789abcdef"};
	char key[BW_KEY_MAX + 1];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_not(file_tmp_key(bad[i], key), "%s", bad[i]);
}

/* The longest name there is holds no more; such a file is only found by its age. */
Test(file_uploads, a_key_that_a_name_has_no_room_for)
{
	char name[NAME_MAX + 1], key[BW_KEY_MAX + 1], read[BW_KEY_MAX + 1];

	for (size_t len = 1; len <= BW_KEY_MAX; len++) {
		memset(key, 'k', len);
		key[len] = 0;
		file_tmp_name(key, name);
		cr_assert_leq(strlen(name), NAME_MAX);
		if (len < 200)
			cr_assert(file_tmp_key(name, read));
		cr_assert(!file_tmp_key(name, read) || !strcmp(read, key), "%zu: %s", len, name);
	}
	cr_assert_not(file_tmp_key(name, read));
}

Test(file_uploads, long_keys_are_put_all_the_same)
{
	char key[BW_KEY_MAX + 1];
	struct fixture f;

	setup(&f);
	memset(key, 'k', sizeof(key));
	key[250] = key[400] = '/';
	key[BW_KEY_MAX] = 0;
	expect(bw_test_put(f.s, key, "x", 1, true), BW_OK);
	cr_assert(bw_test_holds(f.s, key, "x", 1));
	cr_assert_eq(temporaries(&f), 0);
	teardown(&f);
}

Test(file_uploads, files_of_others_are_neither_listed_nor_removed)
{
	static const char *const others[] = {"12-0123456789abcdef", "x", "0123456789abcdef0123456789abcdef",
					     "1-0123456789abcdef-a%%b"};
	struct fixture f;
	char path[512];

	setup(&f);
	cr_assert_eq(uploads(f.s), 0);
	expect(abort_upload(f.s, "a", "1-0123456789abcdef-a"), BW_OK);
	expect(bw_test_put(f.s, "a", "x", 1, true), BW_OK);
	for (size_t i = 0; i < 4; i++)
		touch(&f, others[i]);
	mkdir(below(&f, ".tmp/1-0123456789abcdef-dir", path), 0755);
	cr_assert_eq(uploads(f.s), 0);
	for (size_t i = 0; i < 4; i++)
		expect(abort_upload(f.s, "a", others[i]), BW_OK);
	expect(abort_upload(f.s, "a", "../a"), BW_OK);
	expect(abort_upload(f.s, "a", ".."), BW_OK);
	expect(abort_upload(f.s, "a", "x/../../a"), BW_OK);
	cr_assert_eq(temporaries(&f), 5);
	cr_assert(bw_test_holds(f.s, "a", "x", 1));
	teardown(&f);
}

Test(file_uploads, a_page_is_the_first_of_many)
{
	enum { N = 30 };
	char name[64], last[64] = "", id[64] = "";
	struct fixture f;
	struct bw_op op;
	size_t n = 0;

	setup(&f);
	expect(bw_test_put(f.s, "a", "x", 1, true), BW_OK);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "1-%016x-k%%%02d", i * 7 % N, i * 11 % N);
		touch(&f, name);
	}
	for (bool more = true; more; bw_op_done(&op)) {
		bw_op_list_uploads(&op, "k/", last, *id ? id : NULL, 7);
		expect(bw_store_sync(f.s, &op), BW_OK);
		more = op.uploads->more;
		cr_assert_eq(op.uploads->n, more ? 7 : N % 7);
		for (size_t i = 0; i < op.uploads->n; i++, n++) {
			cr_assert_gt(strcmp(op.uploads->items[i].key, last), 0);
			snprintf(last, sizeof(last), "%s", op.uploads->items[i].key);
			snprintf(id, sizeof(id), "%s", op.uploads->items[i].id);
		}
	}
	cr_assert_eq(n, N);
	teardown(&f);
}

/* ---- Filters ---------------------------------------------------------------------------------- */

static enum bw_fault once(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	(void)op;
	return nth == 0 ? *(const enum bw_fault *)plan->ctx : BW_FAULT_NONE;
}

struct faulty {
	struct fixture f;
	enum bw_fault fault;
	struct bw_fault_plan plan;
	struct bw_store *s;
};

static void open_faulty(struct faulty *y, enum bw_fault fault, bool retried)
{
	static const struct bw_retry_config retry = {
		.base_ns = BW_MS / 10, .max_ns = BW_MS, .tries = 3, .seed = 1};

	setup(&y->f);
	expect(bw_test_put(y->f.s, "a", "x", 1, true), BW_OK);
	touch(&y->f, "1-0123456789abcdef-k");
	y->fault = fault;
	y->plan = (struct bw_fault_plan){.decide = once, .late_ns = BW_MS, .ctx = &y->fault};
	cr_assert_eq(bw_filter_fault_new(y->f.s, &y->plan, &y->s), 0);
	if (retried)
		cr_assert_eq(bw_filter_retry_new(y->s, &retry, &y->s), 0);
	y->f.s = y->s;
}

Test(uploads_under_fault, a_listing_that_was_lost_changed_nothing)
{
	static const enum bw_fault faults[] = {BW_FAULT_BEFORE, BW_FAULT_LOST_REPLY, BW_FAULT_LATE};

	for (size_t i = 0; i < 3; i++) {
		struct faulty y;
		struct bw_op op;
		open_faulty(&y, faults[i], false);
		bw_op_list_uploads(&op, "", "", NULL, 10);
		expect(bw_store_sync(y.s, &op), BW_UNREACHABLE);
		cr_assert_null(op.uploads);
		cr_assert_eq(uploads(y.s), 1);
		teardown(&y.f);
		open_faulty(&y, faults[i], true);
		cr_assert_eq(uploads(y.s), 1);
		teardown(&y.f);
	}
}

/* The id is the caller's again once the op is done, whatever is still under way. */
Test(uploads_under_fault, an_abort_that_is_late_or_delivered_twice)
{
	static const enum bw_fault faults[] = {BW_FAULT_LATE, BW_FAULT_DUPLICATE, BW_FAULT_LOST_REPLY};
	static const enum bw_outcome outcomes[] = {BW_UNKNOWN, BW_OK, BW_UNKNOWN};

	for (size_t i = 0; i < 3; i++) {
		char *id = strdup("1-0123456789abcdef-k");
		struct faulty y;
		open_faulty(&y, faults[i], false);
		expect(abort_upload(y.s, "k", id), outcomes[i]);
		memset(id, '!', strlen(id));
		free(id);
		bw_store_free(y.s);	/* what is late is delivered now */
		y.f.s = NULL;
		cr_assert_eq(temporaries(&y.f), 0);
		teardown(&y.f);
	}
}

Test(uploads_under_fault, an_abort_is_repeated_until_it_is_known)
{
	static const enum bw_fault faults[] = {BW_FAULT_BEFORE, BW_FAULT_LOST_REPLY, BW_FAULT_THROTTLED};

	for (size_t i = 0; i < 3; i++) {
		struct faulty y;
		open_faulty(&y, faults[i], true);
		expect(abort_upload(y.s, "k", "1-0123456789abcdef-k"), BW_OK);
		cr_assert_eq(temporaries(&y.f), 0);
		teardown(&y.f);
	}
}
