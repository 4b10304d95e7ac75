/* SPDX-License-Identifier: Apache-2.0 */
/* What the contract does not say: objects as files, and what else lies beside them. */
#include "tests/unit/store_file.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Files ---------------------------------------------------------------------------------- */

Test(file, an_object_is_a_file_with_its_bytes)
{
	struct fixture f;
	char path[512], bytes[16];
	struct stat st;

	umask(027);
	setup(&f);
	expect(bw_test_put(f.s, "a/b", "bytes", 5, true), BW_OK);
	cr_assert_eq(stat(below(&f, "a/b", path), &st), 0);
	cr_assert_eq(st.st_mode, S_IFREG | 0640);
	cr_assert_eq(st.st_nlink, 1, "the temporary name is left");
	FILE *file = fopen(path, "r");
	cr_assert_eq(fread(bytes, 1, sizeof(bytes), file), 5);
	fclose(file);
	cr_assert_arr_eq(bytes, "bytes", 5);
	cr_assert_eq(stat(below(&f, "a", path), &st), 0);
	cr_assert_eq(st.st_mode, S_IFDIR | 0750);
	cr_assert_eq(temporaries(&f), 0);
	teardown(&f);
}

Test(file, objects_outlive_the_store)
{
	struct fixture f;

	setup(&f);
	expect(bw_test_put(f.s, "a/b", "bytes", 5, true), BW_OK);
	close_store(&f);
	open_store(&f);
	cr_assert(bw_test_holds(f.s, "a/b", "bytes", 5));
	expect(bw_test_put(f.s, "a/b", "other", 5, true), BW_EXISTS);
	teardown(&f);
}

Test(file, two_stores_on_one_directory_see_each_other)
{
	struct fixture f;
	struct bw_store *other;

	setup(&f);
	cr_assert_eq(bw_store_file_new(f.dir, false, 1, &other), 0);
	for (int i = 0; i < 50; i++) {
		char key[32];
		snprintf(key, sizeof(key), "d%d/k", i);
		expect(bw_test_put(i % 2 ? f.s : other, key, "1", 1, true), BW_OK);
		expect(bw_test_put(i % 2 ? other : f.s, key, "2", 1, true), BW_EXISTS);
		cr_assert(bw_test_holds(i % 2 ? other : f.s, key, "1", 1));
	}
	bw_store_free(other);
	teardown(&f);
}

Test(file, open_says_what_is_wrong)
{
	struct fixture f;
	struct bw_store *s = NULL;
	char path[512];

	setup(&f);
	cr_assert_eq(bw_store_file_new(below(&f, "missing", path), false, 0, &s), -ENOENT);
	expect(bw_test_put(f.s, "file", "", 0, true), BW_OK);
	cr_assert_eq(bw_store_file_new(below(&f, "file", path), false, 0, &s), -ENOTDIR);
	cr_assert_eq(bw_store_file_new(below(&f, "file", path), true, 0, &s), -ENOTDIR);
	cr_assert_eq(bw_store_file_new(below(&f, "file/x", path), true, 0, &s), -ENOTDIR);
	cr_assert_null(s);
	cr_assert_eq(bw_store_file_new(below(&f, "new/deep/er", path), true, 0, &s), 0);
	expect(bw_test_put(s, "k", "", 0, true), BW_OK);
	bw_store_free(s);
	teardown(&f);
}

Test(file, a_key_and_a_directory_of_one_name)
{
	struct fixture f;
	struct bw_blob *blob;
	struct bw_op op;
	struct bw_bytes_body body;

	setup(&f);
	bw_bytes_body_init(&body, "x", 1);
	expect(bw_test_put(f.s, "a/b", "1", 1, true), BW_OK);
	for (int i = 0; i < 4; i++) {
		bw_op_put(&op, i < 2 ? "a" : "a/b/c", &body.body, i % 2);
		expect(bw_store_sync(f.s, &op), BW_DENIED);
		cr_assert_neq(op.err, 0);
	}
	expect(bw_test_get(f.s, "a", &blob), BW_NOT_FOUND);
	expect(bw_test_delete(f.s, "a/b/c"), BW_NOT_FOUND);
	cr_assert(bw_test_holds(f.s, "a/b", "1", 1));
	cr_assert_eq(temporaries(&f), 0);
	teardown(&f);
}

Test(file, a_delete_leaves_no_empty_directories)
{
	struct fixture f;
	char path[512];

	setup(&f);
	expect(bw_test_put(f.s, "a/b/c/k", "1", 1, true), BW_OK);
	expect(bw_test_put(f.s, "a/k", "2", 1, true), BW_OK);
	expect(bw_test_put(f.s, "d/e/k", "3", 1, true), BW_OK);
	expect(bw_test_delete(f.s, "a/b/c/k"), BW_OK);
	cr_assert_eq(entries_of(below(&f, "a", path)), 1);
	cr_assert(bw_test_holds(f.s, "a/k", "2", 1));
	expect(bw_test_delete(f.s, "a/k"), BW_OK);
	expect(bw_test_delete(f.s, "d/e/k"), BW_OK);
	cr_assert_eq(entries_of(f.dir), 2, "the anchor and the place of temporaries");
	/* What was a directory may be an object now. */
	expect(bw_test_put(f.s, "a", "4", 1, true), BW_OK);
	cr_assert(bw_test_holds(f.s, "a", "4", 1));
	teardown(&f);
}

Test(file, a_segment_no_file_can_have)
{
	struct fixture f;
	struct bw_blob *blob;
	char key[300];

	setup(&f);
	memset(key, 'k', 256);
	key[256] = 0;
	expect(bw_test_get(f.s, key, &blob), BW_NOT_FOUND);
	expect(bw_test_delete(f.s, key), BW_NOT_FOUND);
	expect(bw_test_put(f.s, key, "", 0, true), BW_DENIED);
	expect(bw_test_put(f.s, key, "", 0, false), BW_DENIED);
	teardown(&f);
}

/* ---- Temporary files ------------------------------------------------------------------------ */

Test(file, temporaries_are_no_objects)
{
	struct fixture f;
	struct bw_blob *blob;
	struct bw_op op;
	char path[512];

	setup(&f);
	expect(bw_test_put(f.s, "k", "", 0, true), BW_OK);
	close(open(below(&f, ".tmp/x", path), O_CREAT | O_WRONLY, 0644));
	expect(bw_test_get(f.s, ".tmp/x", &blob), BW_NOT_FOUND);
	expect(bw_test_delete(f.s, ".tmp/x"), BW_NOT_FOUND);
	expect(bw_test_put(f.s, ".tmp/x", "", 0, false), BW_DENIED);
	expect(bw_test_put(f.s, ".tmp", "", 0, true), BW_DENIED);
	expect(bw_test_put(f.s, ".anchor", "", 0, false), BW_DENIED);
	expect(bw_test_get(f.s, ".anchor", &blob), BW_NOT_FOUND);
	expect(bw_test_delete(f.s, ".anchor"), BW_NOT_FOUND);
	cr_assert_eq(temporaries(&f), 1);
	cr_assert_eq(keys(&f), 1);
	bw_op_list(&op, ".tmp/", "", 10);
	expect(bw_store_sync(f.s, &op), BW_OK);
	cr_assert_eq(op.listing->n, 0);
	bw_op_done(&op);
	/* Only there is that name taken. */
	expect(bw_test_put(f.s, "a/.tmp/x", "", 0, true), BW_OK);
	expect(bw_test_put(f.s, ".tmpx", "", 0, true), BW_OK);
	cr_assert_eq(keys(&f), 3);
	teardown(&f);
}

/* Ends the process when it is asked for its second piece. */
static int read_and_die(struct bw_body *body, uint64_t off, void *buf, size_t len)
{
	(void)body;
	if (off)
		_exit(7);
	memset(buf, 'x', len);
	return 0;
}

/* In a process of its own, forked while this one has no threads of a store. */
static int put_and_die(struct fixture *f, const char *key, bool if_absent)
{
	struct bw_body body = {.size = 3 << 20, .read = read_and_die};
	struct bw_op op;
	int status;

	close_store(f);
	pid_t pid = fork();
	if (pid == 0) {
		struct bw_store *s;
		if (bw_store_file_new(f->dir, false, 1, &s) != 0)
			_exit(1);
		bw_op_put(&op, key, &body, if_absent);
		bw_store_sync(s, &op);
		_exit(2);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	open_store(f);
	return WEXITSTATUS(status);
}

Test(file, a_put_that_was_killed_leaves_nothing_to_see)
{
	struct fixture f;
	struct bw_blob *blob;

	setup(&f);
	expect(bw_test_put(f.s, "old", "old", 3, true), BW_OK);
	cr_assert_eq(put_and_die(&f, "new/key", true), 7);
	cr_assert_eq(put_and_die(&f, "old", false), 7);
	cr_assert_eq(temporaries(&f), 2, "the puts did not die in the middle");
	expect(bw_test_get(f.s, "new/key", &blob), BW_NOT_FOUND);
	cr_assert(bw_test_holds(f.s, "old", "old", 3));
	cr_assert_eq(keys(&f), 1);
	expect(bw_test_put(f.s, "new/key", "new", 3, true), BW_OK);
	teardown(&f);
}

static enum bw_fault die(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	(void)op, (void)nth;
	return *(enum bw_fault *)plan->ctx;
}

static int put_with_fault(struct fixture *f, const char *key, enum bw_fault fault)
{
	struct bw_fault_plan plan = {.decide = die, .ctx = &fault};
	int status;

	close_store(f);
	pid_t pid = fork();
	if (pid == 0) {
		struct bw_store *s;
		if (bw_store_file_new(f->dir, false, 1, &s) != 0 ||
		    bw_filter_fault_new(s, &plan, &s) != 0)
			_exit(1);
		bw_test_put(s, key, "bytes", 5, true);
		_exit(2);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	open_store(f);
	return WEXITSTATUS(status);
}

Test(file, S2_what_was_applied_survives_the_process)
{
	struct fixture f;
	struct bw_blob *blob;

	setup(&f);
	cr_assert_eq(put_with_fault(&f, "k", BW_FAULT_DIE_BEFORE), 137);
	expect(bw_test_get(f.s, "k", &blob), BW_NOT_FOUND);
	cr_assert_eq(put_with_fault(&f, "k", BW_FAULT_DIE_AFTER), 137);
	cr_assert(bw_test_holds(f.s, "k", "bytes", 5));
	cr_assert_eq(temporaries(&f), 0);
	teardown(&f);
}

Test(file, old_temporaries_are_removed_at_open_and_nothing_else)
{
	static const char *const others[] = {".tmp/notes", ".tmp/7-cafe", ".tmp/x-0123456789abcdef",
					     ".tmp/7-0123456789abcdef0", ".tmp/7-0123456789abcdef.bak"};
	enum { OTHERS = sizeof(others) / sizeof(others[0]) };
	struct fixture f;
	struct timespec old[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 0}};
	char path[512];

	setup(&f);
	cr_assert_eq(put_and_die(&f, "a", true), 7);
	cr_assert_eq(temporaries(&f), 1, "of a put that may be under way");
	bw_store_free(f.s);
	/* A directory need not be a store's only because somebody looks whether it is one. */
	for (size_t i = 0; i < OTHERS; i++)
		close(open(below(&f, others[i], path), O_CREAT | O_WRONLY, 0644));
	for (int hours = 23; hours <= 25; hours += 2) {
		struct dirent *e;
		DIR *d = opendir(below(&f, ".tmp", path));
		old[1].tv_sec = bw_wall_ms() / 1000 - hours * 3600;
		while ((e = readdir(d)))
			if (e->d_name[0] != '.')
				cr_assert_eq(utimensat(dirfd(d), e->d_name, old, 0), 0);
		closedir(d);
		open_store(&f);
		cr_assert_eq(temporaries(&f), OTHERS + (hours < 24));
		if (hours < 24)
			bw_store_free(f.s);
	}
	teardown(&f);
}

/* Whose writer was stopped for a year before the link, say. */
Test(file, an_object_is_as_old_as_its_name_not_as_its_bytes)
{
	struct timespec old[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000}};
	struct fixture f;
	struct bw_op get, list;
	char path[512];

	setup(&f);
	cr_assert_eq(bw_test_put(f.s, "a", "x", 1, true), BW_OK);
	bw_op_get_all(&get, "a", 1);
	cr_assert_eq(bw_store_sync(f.s, &get), BW_OK);
	int64_t put_ms = get.modified_ms;

	bw_op_done(&get);
	cr_assert_eq(utimensat(AT_FDCWD, below(&f, "a", path), old, 0), 0);
	bw_op_get_all(&get, "a", 1);
	cr_assert_eq(bw_store_sync(f.s, &get), BW_OK);
	cr_assert_geq(get.modified_ms, put_ms);
	bw_op_list(&list, "a", "", 1);
	cr_assert_eq(bw_store_sync(f.s, &list), BW_OK);
	cr_assert_geq(list.listing->items[0].modified_ms, put_ms);
	bw_op_done(&get);
	bw_op_done(&list);
	teardown(&f);
}

/* ---- In the middle of a put ----------------------------------------------------------------- */

/* Does something while the body is being read. */
struct acting_body {
	struct bw_body body;
	struct fixture *f;
	int64_t until_ns;	/* waits until then */
	bool move;		/* moves the store away */
	unsigned reads;
};

static int read_and_act(struct bw_body *body, uint64_t off, void *buf, size_t len)
{
	struct acting_body *a = (struct acting_body *)body;

	(void)off;
	a->reads++;
	while (bw_now() < a->until_ns)
		bw_sleep(BW_MS);
	if (a->move && rename(a->f->dir, a->f->elsewhere) != 0)
		return -errno;
	memset(buf, 'x', len);
	return 0;
}

Test(file, a_put_stops_at_its_deadline)
{
	struct fixture f;
	struct bw_op op;

	setup(&f);
	int64_t time_ns = 20 * BW_MS;

	for (int i = 0; i < 2;) {
		struct acting_body a = {.body = {.size = i ? 5 : 3 << 20, .read = read_and_act}};
		bw_op_put(&op, "k", &a.body, i);
		op.deadline_ns = a.until_ns = bw_now() + time_ns;
		expect(bw_store_sync(f.s, &op), BW_CANCELLED);
		cr_assert_leq(a.reads, 1, "it went on beyond its deadline");
		/* A busy machine did not even begin it. */
		if (!a.reads)
			time_ns *= 2;
		i += a.reads == 1;
	}
	cr_assert_eq(keys(&f), 0);
	cr_assert_eq(temporaries(&f), 0);
	teardown(&f);
}

/* It landed in a directory that is not the store's any more; nobody knows what becomes of that. */
Test(file, a_put_into_a_store_that_goes_is_unknown)
{
	struct fixture f;
	struct bw_op op;

	setup(&f);
	struct acting_body a = {.body = {.size = 5, .read = read_and_act}, .f = &f, .move = true};
	bw_op_put(&op, "k", &a.body, true);
	expect(bw_store_sync(f.s, &op), BW_UNKNOWN);
	cr_assert_eq(rename(f.elsewhere, f.dir), 0);
	cr_assert(bw_test_holds(f.s, "k", "xxxxx", 5));
	expect(bw_store_sync(f.s, &op), BW_UNREACHABLE);	/* of a name that is taken */
	cr_assert_eq(rename(f.elsewhere, f.dir), 0);
	teardown(&f);
}

/* ---- What others leave in the directory ----------------------------------------------------- */

Test(file, no_symbolic_link_is_followed)
{
	struct fixture f;
	struct bw_blob *blob;
	char path[512], target[512];

	setup(&f);
	cr_assert_eq(mkdir(f.elsewhere, 0755), 0);
	snprintf(target, sizeof(target), "%s/secret", f.elsewhere);
	FILE *file = fopen(target, "w");
	fputs("secret", file);
	fclose(file);
	cr_assert_eq(symlink(target, below(&f, "link", path)), 0);
	cr_assert_eq(symlink(f.elsewhere, below(&f, "way", path)), 0);
	expect(bw_test_get(f.s, "link", &blob), BW_DENIED);
	expect(bw_test_put(f.s, "link", "x", 1, true), BW_DENIED);
	expect(bw_test_get(f.s, "way/secret", &blob), BW_NOT_FOUND);
	expect(bw_test_put(f.s, "way/new", "x", 1, true), BW_DENIED);
	expect(bw_test_put(f.s, "way/secret", "x", 1, false), BW_DENIED);
	expect(bw_test_delete(f.s, "way/secret"), BW_NOT_FOUND);
	cr_assert_eq(keys(&f), 0);
	cr_assert_eq(entries_of(f.elsewhere), 1);
	file = fopen(target, "r");
	char bytes[16] = "";
	cr_assert_eq(fread(bytes, 1, sizeof(bytes), file), 6);
	cr_assert_str_eq(bytes, "secret");
	fclose(file);
	teardown(&f);
}

Test(file, what_is_no_object_is_left_alone)
{
	struct fixture f;
	struct bw_blob *blob;
	char path[512];

	setup(&f);
	cr_assert_eq(mkfifo(below(&f, "pipe", path), 0644), 0);
	cr_assert_eq(mkdir(below(&f, "lost+found", path), 0700), 0);
	close(open(below(&f, "my notes.txt", path), O_CREAT | O_WRONLY, 0644));
	close(open(below(&f, "lost+found/x", path), O_CREAT | O_WRONLY, 0644));
	expect(bw_test_put(f.s, "k", "", 0, true), BW_OK);
	cr_assert_eq(keys(&f), 1);
	expect(bw_test_get(f.s, "pipe", &blob), BW_DENIED);
	expect(bw_test_put(f.s, "pipe", "", 0, true), BW_DENIED);
	teardown(&f);
}

/* ---- Large directories ---------------------------------------------------------------------- */

static size_t list_all(struct bw_store *s, const char *prefix, unsigned max)
{
	char last[BW_KEY_MAX + 1] = "";
	bool more = true;
	struct bw_op op;
	size_t n = 0;

	while (more) {
		bw_op_list(&op, prefix, last, max);
		expect(bw_store_sync(s, &op), BW_OK);
		more = op.listing->more;
		for (size_t i = 0; i < op.listing->n; i++, n++) {
			cr_assert_gt(strcmp(op.listing->items[i].key, last), 0);
			snprintf(last, sizeof(last), "%s", op.listing->items[i].key);
		}
		bw_op_done(&op);
	}
	return n;
}

Test(file, list_of_directories_larger_than_what_is_kept_of_them)
{
	enum { FILES = 5000, EMPTY = 3000 };
	struct fixture f;
	char path[512], name[64];

	setup(&f);
	cr_assert_eq(mkdir(below(&f, "files", path), 0755), 0);
	cr_assert_eq(mkdir(below(&f, "empty", path), 0755), 0);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "files/%u", i * 7919 % FILES);
		close(open(below(&f, name, path), O_CREAT | O_WRONLY, 0644));
	}
	for (unsigned i = 0; i < EMPTY; i++) {
		snprintf(name, sizeof(name), "empty/%u", i);
		cr_assert_eq(mkdir(below(&f, name, path), 0755), 0);
	}
	expect(bw_test_put(f.s, "empty/z", "", 0, true), BW_OK);
	cr_assert_eq(list_all(f.s, "", 1000), FILES + 1);
	cr_assert_eq(list_all(f.s, "", 999), FILES + 1);
	cr_assert_eq(list_all(f.s, "files/", 700), FILES);
	cr_assert_eq(list_all(f.s, "files/49", 100), 111);
	cr_assert_eq(list_all(f.s, "empty", 1), 1);
	teardown(&f);
}

static void touch(struct fixture *f, const char *name)
{
	char path[sizeof(f->dir) + 300];

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	close(open(path, O_CREAT | O_WRONLY, 0644));
}

/* Of names as long as names may be, not all of a directory are kept. */
Test(file, list_of_a_directory_whose_names_are_longer_than_what_is_kept)
{
	enum { FILES = 9000 };
	struct fixture f;
	char path[512], name[256];

	setup(&f);
	cr_assert_eq(mkdir(below(&f, "d", path), 0755), 0);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "d/%05u%0235u", i * 7919 % FILES, 0u);
		touch(&f, name);
	}
	cr_assert_eq(list_all(f.s, "", 1000), FILES);
	cr_assert_eq(list_all(f.s, "d/", 7), FILES);
	cr_assert_eq(list_all(f.s, "d/012", 11), 100);
	teardown(&f);
}

/* A page that goes on behind last, which it sets. */
static bool next_page(struct fixture *f, const char *prefix, unsigned max, char last[BW_KEY_MAX + 1], size_t *ret_n)
{
	struct bw_op op;

	bw_op_list(&op, prefix, last, max);
	expect(bw_store_sync(f->s, &op), BW_OK);
	bool more = op.listing->more;

	*ret_n = op.listing->n;
	cr_assert(!more || op.listing->n == max);
	for (size_t i = 0; i < op.listing->n; i++) {
		cr_assert_gt(strcmp(op.listing->items[i].key, last), 0);
		snprintf(last, BW_KEY_MAX + 1, "%s", op.listing->items[i].key);
	}
	bw_op_done(&op);
	return more;
}

/* What goes between two pages is not told, whatever stands in its place; what stays is. */
Test(file, a_listing_goes_on_when_objects_have_gone)
{
	enum { FILES = 50 };
	char last[BW_KEY_MAX + 1] = "", path[512], name[64];
	struct fixture f;
	size_t n;

	setup(&f);
	for (char d = 'a'; d <= 'c'; d++)
		for (unsigned i = 0; i < FILES; i++) {
			snprintf(name, sizeof(name), "%c/%02u", d, i);
			expect(bw_test_put(f.s, name, "", 0, true), BW_OK);
		}
	cr_assert(next_page(&f, "", 10, last, &n));
	/* Three of the page to come, one of them for a directory; all of b; the last but one of c. */
	for (unsigned i = 10; i < 13; i++) {
		snprintf(name, sizeof(name), "a/%02u", i);
		expect(bw_test_delete(f.s, name), BW_OK);
	}
	cr_assert_eq(mkdir(below(&f, "a/11", path), 0755), 0);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "b/%02u", i);
		expect(bw_test_delete(f.s, name), BW_OK);
	}
	expect(bw_test_delete(f.s, "c/48"), BW_OK);
	cr_assert(next_page(&f, "", 10, last, &n));
	cr_assert_str_eq(last, "a/22");
	cr_assert(next_page(&f, "", 27, last, &n));
	cr_assert_str_eq(last, "a/49");
	cr_assert(next_page(&f, "", 48, last, &n), "c/49 comes yet");
	cr_assert_str_eq(last, "c/47");
	expect(bw_test_delete(f.s, "c/49"), BW_OK);
	cr_assert_not(next_page(&f, "", 48, last, &n));
	cr_assert_eq(n, 0);
	teardown(&f);
}

/* Only one of them is helped, and both are right. */
Test(file, two_listings_take_turns)
{
	char a[BW_KEY_MAX + 1] = "", b[BW_KEY_MAX + 1] = "", name[64];
	struct fixture f;
	size_t n;

	setup(&f);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "d/%02u", i);
		expect(bw_test_put(f.s, name, "", 0, true), BW_OK);
	}
	for (unsigned i = 0; i < 9; i++) {
		cr_assert(next_page(&f, "", 10, a, &n));
		cr_assert(next_page(&f, "d/", 10, b, &n));
		cr_assert_str_eq(a, b);
	}
	/* One that begins shows what has been put. */
	expect(bw_test_put(f.s, "d/995", "", 0, true), BW_OK);
	a[0] = 0;
	cr_assert_not(next_page(&f, "", 1000, a, &n));
	cr_assert_eq(n, 101);
	cr_assert_str_eq(a, "d/995");
	teardown(&f);
}

static unsigned open_files(void)
{
	return entries_of("/proc/self/fd");
}

Test(file, ten_thousand_requests_leave_no_file_open)
{
	struct fixture f;
	struct bw_blob *blob;
	struct bw_op op;
	char key[64];

	setup(&f);
	expect(bw_test_put(f.s, "some/object", "bytes", 5, true), BW_OK);
	unsigned before = open_files();

	for (unsigned i = 0; i < 10000; i++) {
		snprintf(key, sizeof(key), "d%u/%u", i % 3, i % 50);
		switch (i % 10) {
		case 0:
			bw_test_put(f.s, key, key, 3, i % 20);
			break;
		case 1:
			bw_test_delete(f.s, key);
			break;
		case 2:
			bw_op_list(&op, "", "", 5);
			bw_store_sync(f.s, &op);
			bw_op_done(&op);
			break;
		case 3:
			expect(bw_test_put(f.s, "some/object", "x", 1, true), BW_EXISTS);
			break;
		case 4:
			expect(bw_test_get(f.s, "some", &blob), BW_NOT_FOUND);
			break;
		case 5:
			bw_op_get(&op, "some/object", 3, 3);
			expect(bw_store_sync(f.s, &op), BW_CORRUPT);
			break;
		case 6:
			expect(bw_test_put(f.s, "some/object/x", "x", 1, true), BW_DENIED);
			break;
		default:
			cr_assert(bw_test_holds(f.s, "some/object", "bytes", 5));
		}
	}
	cr_assert_eq(open_files(), before);
	cr_assert_eq(temporaries(&f), 0);
	teardown(&f);
}

/* ---- Early puts ------------------------------------------------------------------------------- */

static void count(void *ctx)
{
	atomic_fetch_add((atomic_uint *)ctx, 1);
}

static uint64_t bytes_on_their_way(struct fixture *f)
{
	char path[512];
	DIR *d = opendir(below(f, ".tmp", path));
	uint64_t sum = 0;
	struct stat st;

	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] != '.' && fstatat(dirfd(d), e->d_name, &st, 0) == 0)
			sum += (uint64_t)st.st_size;
	if (d)
		closedir(d);
	return sum;
}

static void wait_for_bytes(struct fixture *f, uint64_t n)
{
	while (bytes_on_their_way(f) != n)
		bw_sleep(BW_MS);
}

static enum bw_outcome put_early(struct fixture *f, struct bw_early *e, struct bw_body *body)
{
	struct bw_op op;

	bw_op_put(&op, "a/early", body, true);
	op.early = e;
	enum bw_outcome o = bw_store_sync(f->s, &op);

	cr_assert_null(op.early);
	bw_op_done(&op);
	return o;
}

Test(file, an_early_put_has_written_what_it_was_told_of)
{
	struct bw_bytes_body body;
	atomic_uint released = 0;
	struct fixture f;

	setup(&f);
	bw_bytes_body_init(&body, "0123456789", 10);
	struct bw_early *e = bw_store_early(f.s, "a/early", &body.body, count, &released);

	e->grow(e, 3, 0);
	wait_for_bytes(&f, 3);
	e->grow(e, 8, 0);
	wait_for_bytes(&f, 8);
	cr_assert_eq(keys(&f), 0, "no object before the put");
	expect(put_early(&f, e, &body.body), BW_OK);
	cr_assert(bw_test_holds(f.s, "a/early", "0123456789", 10));
	close_store(&f);
	cr_assert_eq(released, 1);
	cr_assert_eq(temporaries(&f), 0);
	teardown(&f);
}

Test(file, an_early_put_that_is_dropped_leaves_nothing)
{
	struct bw_bytes_body body;
	atomic_uint released = 0;
	struct fixture f;

	setup(&f);
	bw_bytes_body_init(&body, "0123456789", 10);
	struct bw_early *e = bw_store_early(f.s, "a/early", &body.body, count, &released);

	e->drop(e);
	e = bw_store_early(f.s, "a/early", &body.body, count, &released);
	e->grow(e, 5, 0);
	e->drop(e);
	e = bw_store_early(f.s, "a/early", &body.body, count, &released);
	e->grow(e, 5, 0);
	wait_for_bytes(&f, 5);
	e->drop(e);
	close_store(&f);
	cr_assert_eq(released, 3);
	cr_assert_eq(temporaries(&f), 0);
	teardown(&f);
}

struct bad_body {
	struct bw_body body;
	atomic_uint reads;
};

static int read_second_time(struct bw_body *body, uint64_t off, void *buf, size_t len)
{
	memset(buf, 'x', len);
	(void)off;
	return atomic_fetch_add(&((struct bad_body *)body)->reads, 1) ? 0 : -EIO;
}

Test(file, after_an_early_failure_the_put_writes_everything)
{
	struct bad_body body = {.body = {.size = 6, .read = read_second_time}};
	atomic_uint released = 0;
	struct fixture f;

	setup(&f);
	struct bw_early *e = bw_store_early(f.s, "a/early", &body.body, count, &released);

	e->grow(e, 4, 0);
	while (!atomic_load(&body.reads))
		bw_sleep(BW_MS);
	wait_for_bytes(&f, 0);
	expect(put_early(&f, e, &body.body), BW_OK);
	cr_assert(bw_test_holds(f.s, "a/early", "xxxxxx", 6));
	close_store(&f);
	cr_assert_eq(released, 1);
	cr_assert_eq(temporaries(&f), 0);
	teardown(&f);
}

/* Of a slow disk. */
struct slow_body {
	struct bw_body body;
	atomic_uint reads;
};

static int read_slowly(struct bw_body *body, uint64_t off, void *buf, size_t len)
{
	(void)off;
	atomic_fetch_add(&((struct slow_body *)body)->reads, 1);
	bw_sleep(10 * BW_MS);
	memset(buf, 'x', len);
	return 0;
}

/* There may be as many of them as there are threads, or more, and no filter sees them. */
Test(file, an_early_put_holds_nobody_else)
{
	const unsigned pieces = 100;
	struct slow_body body = {.body = {.size = (uint64_t)pieces << 20, .read = read_slowly}};
	atomic_uint released = 0;
	struct fixture f;

	setup(&f);
	close_store(&f);
	cr_assert_eq(bw_store_file_new(f.dir, false, 1, &f.s), 0);
	cr_assert_eq(bw_test_put(f.s, "k", "bytes", 5, true), BW_OK);
	struct bw_early *e = bw_store_early(f.s, "a/early", &body.body, count, &released);

	e->grow(e, body.body.size, 0);
	while (!atomic_load(&body.reads))
		bw_sleep(BW_MS);
	cr_assert(bw_test_holds(f.s, "k", "bytes", 5));
	cr_assert_lt(body.reads, pieces / 2, "whoever reads has waited for all of it");
	e->drop(e);
	close_store(&f);
	cr_assert_lt(body.reads, pieces / 2, "what nobody wants is not written");
	cr_assert_eq(released, 1);
	cr_assert_eq(temporaries(&f), 0);
	teardown(&f);
}
