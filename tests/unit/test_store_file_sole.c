/* SPDX-License-Identifier: Apache-2.0 */
/* Sole puts of the file backend: the name first, then the fsyncs of file and directory side by side. */
#include "tests/unit/store_file_calls.h"

static struct ending put_sole(struct fixture *f, const char *key, bool if_absent)
{
	struct bw_bytes_body body;
	struct bw_op op;

	bw_bytes_body_init(&body, "bytes", 5);
	bw_op_put(&op, key, &body.body, if_absent);
	op.sole = true;
	return end_of(f->s, &op);
}

Test(file_sole, S2_name_then_both_on_disk)
{
	struct fixture f;

	setup(&f);
	expect(put_sole(&f, "a/b/c", true), BW_OK, 0);
	cr_assert_str_eq(calls.text, "fsync(.) fsync(a) link(a/b/c) fsync(tmp) fsync(a/b) "
				     "unlink(tmp) ");
	expect(put_sole(&f, "a/b/d", true), BW_OK, 0);
	cr_assert_str_eq(calls.text, "link(a/b/d) fsync(tmp) fsync(a/b) unlink(tmp) ");
	cr_assert(is_there(&f, "a/b/d"));
	/* What may replace another is sure of its bytes before. */
	expect(put_sole(&f, "a/b/d", false), BW_OK, 0);
	cr_assert_str_eq(calls.text, "fsync(tmp) rename(a/b/d) fsync(a/b) unlink(tmp) ");
	teardown(&f);
}

Test(file_sole, S2_both_fsyncs_at_the_same_time)
{
	struct fixture f;
	struct bw_store *s;
	struct bw_bytes_body body;
	struct bw_op op;

	setup(&f);
	expect(put(&f, "a/first", true), BW_OK, 0);
	cr_assert_eq(bw_store_file_new(f.dir, false, 2, &s), 0);
	bw_bytes_body_init(&body, "bytes", 5);
	for (int i = 0; i < 2; i++) {	/* the first of this store syncs the way, too */
		bw_op_put(&op, i ? "a/k" : "a/second", &body.body, true);
		op.sole = true;
		calls.meet = i;
		cr_assert_eq(bw_store_sync(s, &op), BW_OK);
	}
	calls.meet = false;
	cr_assert_eq(calls.met, 2);
	bw_store_free(s);
	teardown(&f);
}

/* Every layer above the backend hands on that a put is sole. */
Test(file_sole, S2_through_the_chain_of_a_mount)
{
	struct fixture f;
	struct bw_store *s;
	struct bw_bytes_body body;
	struct bw_op op;
	struct bw_url url = {.scheme = BW_URL_FILE};
	struct bw_store_config config = {.threads = 1};
	char why[256];

	setup(&f);
	snprintf(url.path, sizeof(url.path), "%s", f.dir);
	cr_assert_eq(bw_store_open(&url, &config, &s, why, sizeof(why)), 0, "%s", why);
	bw_bytes_body_init(&body, "bytes", 5);
	bw_op_put(&op, "top", &body.body, true);
	op.sole = true;
	expect(end_of(s, &op), BW_OK, 0);
	cr_assert_str_eq(calls.text, "link(top) fsync(tmp) fsync(.) unlink(tmp) ");
	bw_store_free(s);
	teardown(&f);
}

/* A failed fsync is told once: a second try must not find the name and believe a later one. */
Test(file_sole, S2_a_file_that_is_not_on_disk_loses_its_name)
{
	static const struct {
		int err;
		enum bw_outcome outcome;
	} cases[] = {{EIO, BW_UNREACHABLE}, {ENOSPC, BW_FULL}};
	struct fixture f;

	setup(&f);
	expect(put(&f, "a/first", true), BW_OK, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fail_next(FSYNC_FILE, cases[i].err);
		expect(put_sole(&f, "a/k", true), cases[i].outcome, -cases[i].err);
		cr_assert_str_eq(calls.text, "link(a/k) fsync(tmp) fsync(a) unlink(a/k) unlink(tmp) ");
		cr_assert_not(is_there(&f, "a/k"));
	}
	expect(put_sole(&f, "a/k", true), BW_OK, 0);
	cr_assert(is_there(&f, "a/k"));
	teardown(&f);
}

/* And where it cannot be taken from it, nobody tries again under that name. */
Test(file_sole, S2_a_name_that_cannot_be_taken_back_is_given_up)
{
	struct fixture f;

	setup(&f);
	expect(put(&f, "a/first", true), BW_OK, 0);
	fail_next(FSYNC_FILE, EIO);
	calls.also_unlink = true;
	expect(put_sole(&f, "a/k", true), BW_DENIED, -EIO);
	cr_assert(is_there(&f, "a/k"));
	teardown(&f);
}

/* S3: the first try got its name and was not sure of the directory; the second one is, of both. */
Test(file_sole, S3_an_earlier_try_is_synced_before_it_is_told_of)
{
	struct fixture f;

	setup(&f);
	expect(put(&f, "a/first", true), BW_OK, 0);
	fail_next(FSYNC_DIR, EIO);
	expect(put_sole(&f, "a/k", true), BW_UNKNOWN, -EIO);
	cr_assert(is_there(&f, "a/k"));
	expect(put_sole(&f, "a/k", true), BW_EXISTS, 0);
	cr_assert_str_eq(calls.text, "link(a/k) fsync(a/k) fsync(a) unlink(tmp) ");
	fail_next(FSYNC_FILE, EIO);
	expect(put_sole(&f, "a/k", true), BW_UNREACHABLE, -EIO);
	cr_assert(is_there(&f, "a/k"), "it is not this try's to remove");
	fail_next(FSYNC_DIR, EIO);
	expect(put_sole(&f, "a/k", true), BW_UNREACHABLE, -EIO);
	/* Our own link, seen twice. */
	fail_next(LINK, EEXIST);
	calls.fail_after = true;
	expect(put_sole(&f, "a/k2", true), BW_OK, 0);
	cr_assert_str_eq(calls.text, "link(a/k2) fsync(tmp) fsync(a) unlink(tmp) ");
	teardown(&f);
}
