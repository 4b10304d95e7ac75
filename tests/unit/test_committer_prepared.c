/* SPDX-License-Identifier: Apache-2.0 */
/* Roots that are prepared while their batch is on its way: what the disk sees, and that nobody else sees anything. */
#include "manifest/committer.h"
#include "manifest/open.h"
#include "store/base/hash.h"
#include "store/base/sync.h"
#include "tests/support/history.h"
#include "tests/unit/store_file_calls.h"

TestSuite(prepared, .timeout = 60);

struct world {
	struct fixture f;
	struct bw_stream stream;
	struct bw_head *head;
	struct bw_committer *committer;
};

static void open_mount(struct world *w, struct bw_store *store, struct bw_head **ret_head,
		       struct bw_committer **ret_committer)
{
	struct bw_root *root;
	char why[200];

	cr_assert_eq(bw_stream_open(store, BW_NEVER, &w->stream, &root, why, sizeof(why)), 0, "%s", why);
	cr_assert_eq(bw_head_new(store, &w->stream, root, NULL, ret_head), 0);
	cr_assert_eq(bw_committer_new(store, &w->stream, *ret_head, NULL, ret_committer), 0);
	bw_root_unref(root);
}

static void take(struct bw_committer *c, const char *p)
{
	struct bw_producer_entry e;

	cr_assert_eq(bw_committer_take(c, p, &e), 0);
	cr_assert_eq(e.epoch, 1);
}

static void open_world(struct world *w)
{
	struct bw_root *root;

	setup(&w->f);
	bw_test_create(w->f.s, &w->stream, &root);
	bw_root_unref(root);
	open_mount(w, w->f.s, &w->head, &w->committer);
	take(w->committer, "p");
}

static void stop(struct world *w)
{
	bw_committer_free(w->committer, bw_now() + 60 * BW_SEC);
	bw_head_free(w->head);
}

static void close_world(struct world *w)
{
	stop(w);
	teardown(&w->f);
}

static struct bw_change append(const struct bw_committer *c, const char *p, uint64_t seq)
{
	struct bw_change change = bw_test_append(p, 1, 1, seq, seq * 1000);

	memcpy(change.owner, bw_committer_owner(c), 16);
	return change;
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
	calls.text[0] = 0;
	calls.on = true;
	bw_committer_expect(w->committer, c);
	while (!strstr(calls.text, "fsync(tmp)"))
		bw_sleep(BW_MS);
	exists(w, 1);
	calls.on = false;
}

/* What the disk is told of one commit. */
static void commit(struct world *w, const struct bw_change *c, uint64_t version)
{
	struct bw_txn_change result;

	calls.text[0] = 0;
	calls.on = true;
	cr_assert_eq(bw_committer_sync(w->committer, c, &result), 0);
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
	struct bw_change c = append(w.committer, "p", 0);

	expect_change(&w, &c);
	cr_assert_str_eq(calls.text, "fsync(tmp) ");
	cr_assert_not(exists(&w, 3), "nobody may see a root whose batch is not durable");
	commit(&w, &c, 3);
	check_calls(&w, 3, AHEAD);
	c = append(w.committer, "p", 1);
	commit(&w, &c, 4);
	check_calls(&w, 4, ANEW);
	cr_assert_eq(atomic_load(&bw_committer_stats(w.committer)->prepared), 1);
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
		struct bw_change c = append(w.committer, "p", seq), other = c;

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
			bw_committer_expect(w.committer, &other);
			commit(&w, &c, version);
			check_calls(&w, version, ANEW);
			continue;
		}
		expect_change(&w, &other);
		commit(&w, &c, version);
		check_calls(&w, version, i == 5 ? AHEAD : AGAIN);
		struct bw_root *root = bw_head_root(w.head);
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
	struct bw_change c = append(w.committer, "p", 0);

	expect_change(&w, &c);
	take(w.committer, "q");		/* version 3 */
	commit(&w, &c, 4);
	check_calls(&w, 4, ANEW);
	/* Or it fails, and the next one is expected. */
	c = append(w.committer, "p", 1);
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
	struct bw_committer *other;
	struct bw_head *other_head;
	struct bw_store *s;
	struct world w;

	open_world(&w);
	cr_assert_eq(bw_store_file_new(w.f.dir, false, 1, &s), 0);
	open_mount(&w, s, &other_head, &other);
	take(other, "q");
	struct bw_root *newest;

	cr_assert_eq(bw_head_refresh(w.head, BW_NEVER, &newest), 0);
	bw_root_unref(newest);
	for (uint64_t seq = 0; seq < 2; seq++) {
		struct bw_change c = append(w.committer, "p", seq), q = append(other, "q", seq);
		struct bw_txn_change result;

		expect_change(&w, &c);
		cr_assert_eq(bw_committer_sync(other, &q, &result), 0);
		cr_assert_eq(result.version, 4 + 2 * seq);
		if (seq) {
			cr_assert_eq(bw_head_refresh(w.head, BW_NEVER, &newest), 0);
			bw_root_unref(newest);
		}
		commit(&w, &c, 5 + 2 * seq);
		if (seq)
			check_calls(&w, 7, AGAIN);
		cr_assert_eq(bw_head_refresh(other_head, BW_NEVER, &newest), 0);
		cr_assert_eq(newest->head, 2 + 2 * seq);
		bw_root_unref(newest);
	}
	bw_committer_free(other, bw_now() + 60 * BW_SEC);
	bw_head_free(other_head);
	bw_store_free(s);
	close_world(&w);
}

/* S2: a failed fsync is told once, so the bytes are written again, to another file. */
Test(prepared, S2_what_did_not_get_to_disk_is_written_again)
{
	struct world w;

	open_world(&w);
	struct bw_change c = append(w.committer, "p", 0);

	fail_next(FSYNC_FILE, EIO);
	calls.on = true;
	bw_committer_expect(w.committer, &c);
	while (!strstr(calls.text, "unlink(tmp)"))
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
		struct bw_change c = append(w.committer, "p", seq);
		uint64_t before = atomic_load(&bw_committer_stats(w.committer)->prepared);

		bw_committer_expect(w.committer, &c);
		if (seq % 8 == 0 || seq == BW_TAIL_FOLD - 1)
			bw_sleep(20 * BW_MS);	/* mostly it has been prepared then, else it has not */
		commit(&w, &c, 3 + seq);
		without += atomic_load(&bw_committer_stats(w.committer)->prepared) == before;
	}
	cr_assert_geq(without, 1, "an index node comes before its root");
	close_world(&w);
}

/* P6: what never comes leaves nothing behind, and what is left at the end of the mount goes with it. */
Test(prepared, P6_what_never_comes_leaves_nothing)
{
	struct world w;

	open_world(&w);
	struct bw_change c = append(w.committer, "p", 0);

	expect_change(&w, &c);
	stop(&w);
	bw_store_free(w.f.s);
	cr_assert_eq(temporaries(&w), 0);
	cr_assert_eq(bw_store_file_new(w.f.dir, false, 1, &w.f.s), 0);
	cr_assert_not(exists(&w, 3));
	teardown(&w.f);
}
