/* SPDX-License-Identifier: Apache-2.0 */
/* Roots that are prepared while their batch is on its way: what the disk sees, and that nobody else sees anything. */
#include "store/base/hash.h"
#include "tests/support/mount.h"
#include "tests/unit/store_file_calls.h"

TestSuite(prepared, .timeout = 60);

struct world {
	struct fixture f;
	struct bw_stream stream;	/* also when the mount is closed */
	struct bw_test_mount m;		/* owns f.s */
};

static void take(struct bw_committer *c, const char *p)
{
	struct bw_producer_entry e;

	cr_assert_eq(bw_committer_take(c, p, BW_NEVER, &e), 0);
	cr_assert_eq(e.epoch, 1);
}

static void open_world(struct world *w)
{
	struct bw_root *root;

	setup(&w->f);
	bw_test_create(w->f.s, &w->stream, &root);
	bw_root_unref(root);
	cr_assert_eq(bw_test_mount_open(&w->m, w->f.s), 0);
	take(w->m.committer, "p");
}

static void close_world(struct world *w)
{
	bw_test_mount_close(&w->m);
	w->f.s = NULL;
	teardown(&w->f);
}

static struct bw_change append(const struct bw_test_mount *m, const char *p, uint64_t seq)
{
	return bw_test_mount_append(m, p, 1, seq, seq * 1000);
}

static unsigned temporaries(const struct world *w)
{
	char dir[BW_TMPDIR_MAX + 8];
	unsigned n = 0;

	snprintf(dir, sizeof(dir), "%s/.tmp", w->f.dir);
	DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));)
		n += e->d_name[0] != '.';
	if (d)
		closedir(d);
	return n;
}

/* A get after it comes after what the store's one thread does for a root that is being prepared. */
static bool exists(struct world *w, uint64_t version)
{
	bw_auto_blob struct bw_blob *blob = NULL;
	char key[BW_KEY_MAX + 1];

	bw_key_root(&w->stream, version, key);
	return bw_test_get(w->f.s, key, &blob) == BW_OK;
}

static void expect_change(struct world *w, const struct bw_change *c)
{
	exists(w, 1);
	watch_calls();
	bw_committer_expect(w->m.committer, c);
	while (!was_called("fsync(tmp)"))
		bw_sleep(BW_MS);
	exists(w, 1);
	calls.on = false;
}

/* What the disk is told of one commit. */
static void commit(struct world *w, const struct bw_change *c, uint64_t version)
{
	struct bw_txn_change result;

	watch_calls();
	cr_assert_eq(bw_committer_sync(w->m.committer, c, BW_NEVER, &result), 0);
	calls.on = false;
	calls.fail = NONE;
	cr_assert_eq(result.version, version);
	cr_assert(exists(w, version));
}

enum made { AHEAD, ANEW, AGAIN };

/* What it takes when the root's bytes are on disk already, when they are not, and when what is there is another's. */
static void check_calls(struct world *w, uint64_t version, enum made made)
{
	static const char *const before[] = {"", "fsync(tmp) ", "unlink(tmp) fsync(tmp) "};

	char key[BW_KEY_MAX + 1], dir[BW_KEY_MAX + 1], want[2 * BW_KEY_MAX + 100];

	bw_key_root(&w->stream, version, key);
	snprintf(dir, sizeof(dir), "%s", key);
	*strrchr(dir, '/') = 0;
	snprintf(want, sizeof(want), "%slink(%s) fsync(%s) unlink(tmp) ", before[made], key, dir);
	cr_assert_str_eq(calls.text, want);
	cr_assert_eq(temporaries(w), 0);
}

Test(prepared, S2_bytes_on_disk_while_the_batch_is_on_its_way_and_no_name)
{
	struct world w;

	open_world(&w);
	struct bw_change c = append(&w.m, "p", 0);

	expect_change(&w, &c);
	cr_assert_str_eq(calls.text, "fsync(tmp) ");
	cr_assert_not(exists(&w, 3), "nobody may see a root whose batch is not durable");
	commit(&w, &c, 3);
	check_calls(&w, 3, AHEAD);
	c = append(&w.m, "p", 1);
	commit(&w, &c, 4);
	check_calls(&w, 4, ANEW);
	cr_assert_eq(atomic_load(&bw_committer_stats(w.m.committer)->prepared), 1);
	close_world(&w);
}

/* P4, S2: a build that was given up and made again has another object: a root that names the first one is never put. */
Test(prepared, P4_another_object_than_the_expected_one)
{
	struct world w;

	open_world(&w);
	uint8_t state[] = {1};

	for (int i = 0; i < 6; i++) {
		uint64_t seq = (uint64_t)i, version = 3 + seq;
		struct bw_change c = append(&w.m, "p", seq), other = c;

		other.nonce += i == 0;
		other.size += i == 1;
		other.footer_xxh3 += i == 2;
		other.epoch += i == 4;		/* out of its turn: nothing can be made of it */
		if (i == 3) {
			other.has_state = true;
			other.state = state;
			other.state_len = sizeof(state);
			other.state_xxh3 = bw_xxh3(state, sizeof(state));
		}
		if (i == 4) {
			bw_committer_expect(w.m.committer, &other);
			commit(&w, &c, version);
			check_calls(&w, version, ANEW);
			continue;
		}
		expect_change(&w, &other);
		commit(&w, &c, version);
		check_calls(&w, version, i == 5 ? AHEAD : AGAIN);
		struct bw_root *root = bw_head_root(w.m.head);
		const struct bw_entry *e = bw_root_tail_entry(root, seq);

		cr_assert_eq(e->nonce, c.nonce);
		cr_assert_eq(e->size, c.size);
		cr_assert_eq(e->footer_xxh3, c.footer_xxh3);
		cr_assert_null(bw_root_producer(root, "p")->state);
		bw_root_unref(root);
	}
	close_world(&w);
}

Test(prepared, another_change_comes_first)
{
	struct world w;

	open_world(&w);
	struct bw_change c = append(&w.m, "p", 0);

	expect_change(&w, &c);
	take(w.m.committer, "q");		/* version 3 */
	commit(&w, &c, 4);
	check_calls(&w, 4, ANEW);
	/* Or it fails, and the next one is expected. */
	c = append(&w.m, "p", 1);
	expect_change(&w, &c);
	c.nonce++;
	expect_change(&w, &c);
	commit(&w, &c, 5);
	check_calls(&w, 5, AHEAD);
	close_world(&w);
}

/* I1, I2: the version goes to another mount, and this one finds that out before its put, or by it. */
Test(prepared, I2_another_mount_is_faster)
{
	struct bw_test_mount other;
	struct bw_store *s;
	struct world w;

	open_world(&w);
	cr_assert_eq(bw_store_file_new(w.f.dir, false, 1, &s), 0);
	cr_assert_eq(bw_test_mount_open(&other, s), 0);
	take(other.committer, "q");
	struct bw_root *newest;

	cr_assert_eq(bw_head_refresh(w.m.head, BW_NEVER, &newest), 0);
	bw_root_unref(newest);
	for (uint64_t seq = 0; seq < 2; seq++) {
		struct bw_change c = append(&w.m, "p", seq), q = append(&other, "q", seq);
		struct bw_txn_change result;

		expect_change(&w, &c);
		cr_assert_eq(bw_committer_sync(other.committer, &q, BW_NEVER, &result), 0);
		cr_assert_eq(result.version, 4 + 2 * seq);
		if (seq) {
			cr_assert_eq(bw_head_refresh(w.m.head, BW_NEVER, &newest), 0);
			bw_root_unref(newest);
		}
		commit(&w, &c, 5 + 2 * seq);
		if (seq)
			check_calls(&w, 7, AGAIN);
		cr_assert_eq(bw_head_refresh(other.head, BW_NEVER, &newest), 0);
		cr_assert_eq(newest->head, 2 + 2 * seq);
		bw_root_unref(newest);
	}
	bw_test_mount_close(&other);
	close_world(&w);
}

/* S2: a failed fsync is told once, so the bytes are written again, to another file. */
Test(prepared, S2_what_did_not_get_to_disk_is_written_again)
{
	struct world w;

	open_world(&w);
	struct bw_change c = append(&w.m, "p", 0);

	fail_next(FSYNC_FILE, EIO);
	calls.on = true;
	bw_committer_expect(w.m.committer, &c);
	while (!was_called("unlink(tmp)"))
		bw_sleep(BW_MS);
	calls.fail = NONE;
	cr_assert_str_eq(calls.text, "fsync(tmp) unlink(tmp) ");
	commit(&w, &c, 3);
	check_calls(&w, 3, ANEW);
	close_world(&w);
}

/* Where an index node is due it is put first, and all goes as ever; so does every commit around it. */
Test(prepared, every_commit_of_a_long_row)
{
	struct world w;
	unsigned without = 0;

	open_world(&w);
	for (uint64_t seq = 0; seq < BW_TAIL_FOLD + 3; seq++) {
		struct bw_change c = append(&w.m, "p", seq);
		uint64_t before = atomic_load(&bw_committer_stats(w.m.committer)->prepared);

		bw_committer_expect(w.m.committer, &c);
		if (seq % 8 == 0 || seq == BW_TAIL_FOLD - 1)
			bw_sleep(20 * BW_MS);	/* mostly it has been prepared then, else it has not */
		commit(&w, &c, 3 + seq);
		without += atomic_load(&bw_committer_stats(w.m.committer)->prepared) == before;
	}
	cr_assert_geq(without, 1, "an index node comes before its root");
	close_world(&w);
}

/* P6: what never comes leaves nothing behind, and what is left at the end of the mount goes with it. */
Test(prepared, P6_what_never_comes_leaves_nothing)
{
	struct world w;

	open_world(&w);
	struct bw_change c = append(&w.m, "p", 0);

	expect_change(&w, &c);
	bw_test_mount_close(&w.m);
	cr_assert_eq(temporaries(&w), 0);
	cr_assert_eq(bw_store_file_new(w.f.dir, false, 1, &w.f.s), 0);
	cr_assert_not(exists(&w, 3));
	teardown(&w.f);
}
