/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of store/store.h about uploads that nobody finished: a process that died in the middle of a put. */
#include "store/base/sync.h"
#include "tests/contract/each_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UPLOADS_MAX 16

struct found {
	size_t n;
	struct {
		char key[64], id[BW_UPLOAD_ID_MAX + 1];
		int64_t begun_ms;
	} at[UPLOADS_MAX];
};

/* All below prefix, in pages of max. */
static void find(struct bw_test_store *t, const char *prefix, unsigned max, struct found *f)
{
	bool more = true;
	struct bw_op op;

	for (f->n = 0; more; bw_op_done(&op)) {
		bw_op_list_uploads(&op, prefix, f->n ? f->at[f->n - 1].key : "",
				   f->n ? f->at[f->n - 1].id : NULL, max);
		bw_store_sync(t->s, &op);
		cr_assert_eq(op.outcome, BW_OK, "%s: page of %u behind %s: %s", t->name, max, op.after,
			     op.detail);
		cr_assert_leq(op.uploads->n, max);
		cr_assert(op.uploads->n || !op.uploads->more);
		more = op.uploads->more;
		for (size_t i = 0; i < op.uploads->n; i++, f->n++) {
			const struct bw_upload *u = &op.uploads->items[i];
			cr_assert_lt(f->n, UPLOADS_MAX, "%s: too many", t->name);
			snprintf(f->at[f->n].key, sizeof(f->at[0].key), "%s", u->key);
			snprintf(f->at[f->n].id, sizeof(f->at[0].id), "%s", u->id);
			f->at[f->n].begun_ms = u->begun_ms;
		}
	}
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* In any order. */
static void expect_keys(struct bw_test_store *t, const struct found *f, const char *const *keys, size_t n)
{
	const char *found[UPLOADS_MAX];

	cr_assert_eq(f->n, n, "%s: %zu uploads, not %zu", t->name, f->n, n);
	for (size_t i = 0; i < n; i++)
		found[i] = f->at[i].key;
	qsort(found, n, sizeof(found[0]), compare);
	for (size_t i = 0; i < n; i++) {
		cr_assert_str_eq(found[i], keys[i], "%s: %s, not %s", t->name, found[i], keys[i]);
		for (size_t k = 0; k < i; k++)
			cr_assert(strcmp(f->at[i].key, f->at[k].key) || strcmp(f->at[i].id, f->at[k].id),
				  "%s: told twice", t->name);
	}
}

static enum bw_outcome abort_upload(struct bw_store *s, const char *key, const char *id)
{
	struct bw_op op;

	bw_op_abort_upload(&op, key, id);
	return bw_store_sync(s, &op);
}

EACH_STORE(uploads_of_the_dead_are_listed)
{
	static const char *const all[] = {"u-/x", "u/a", "u/a", "u/a.0", "v"};
	struct found f;
	int64_t before = bw_wall_ms();

	for (size_t i = 0; i < 5; i++)
		if (!bw_test_leave_upload(t, all[(i * 3 + 1) % 5]))
			return;		/* a store that keeps none */
	find(t, "", 5, &f);
	expect_keys(t, &f, all, 5);
	for (size_t i = 0; i < f.n; i++) {
		cr_assert_geq(f.at[i].begun_ms, before - 1100, "%s: begun before it was", t->name);
		cr_assert_leq(f.at[i].begun_ms, bw_wall_ms() + 1000);
	}
	find(t, "u/", 3, &f);
	expect_keys(t, &f, all + 1, 3);
	find(t, "u/a.", 10, &f);
	expect_keys(t, &f, all + 3, 1);
	find(t, "w", 10, &f);
	expect_keys(t, &f, NULL, 0);
}

/* Of one key that a page ends on, others may be passed over. */
EACH_STORE(uploads_in_pages)
{
	static const char *const all[] = {"a", "b-1", "b/1", "b/1", "c"};
	struct found f;

	for (size_t i = 0; i < 5; i++)
		if (!bw_test_leave_upload(t, all[i]))
			return;
	for (unsigned max = 1; max <= 4; max++) {
		find(t, "", max, &f);
		if (f.n == 4)
			expect_keys(t, &f, (const char *const[]){"a", "b-1", "b/1", "c"}, 4);
		else
			expect_keys(t, &f, all, 5);
	}
}

EACH_STORE(an_upload_is_no_object)
{
	struct bw_blob *blob;
	struct bw_op op;

	bw_test_leave_upload(t, "u/a");
	expect(t, bw_test_get(s, "u/a", &blob), BW_NOT_FOUND);
	bw_op_list(&op, "", "", 10);
	expect(t, bw_store_sync(s, &op), BW_OK);
	cr_assert_eq(op.listing->n, 0);
	bw_op_done(&op);
	expect(t, bw_test_put(s, "u/a", "bytes", 5, true), BW_OK);
	expect(t, bw_test_put(s, "u/a", "again", 5, true), BW_EXISTS);
	cr_assert(bw_test_holds(s, "u/a", "bytes", 5));
}

EACH_STORE(an_aborted_upload_is_gone_and_nothing_else)
{
	static const char *const all[] = {"u/a", "u/a", "u/b"};
	struct found f, left;

	expect(t, bw_test_put(s, "u/a", "bytes", 5, true), BW_OK);
	for (size_t i = 0; i < 3; i++)
		bw_test_leave_upload(t, all[i]);
	find(t, "u/", 10, &f);
	for (size_t i = 0; i < f.n; i++) {
		expect(t, abort_upload(s, f.at[i].key, f.at[i].id), BW_OK);
		find(t, "u/", 10, &left);
		cr_assert_eq(left.n, 2 - i, "%s: %zu left", t->name, left.n);
		for (size_t k = 0; k < left.n; k++)
			cr_assert_str_eq(left.at[k].id, f.at[i + 1 + k].id, "%s: the wrong one", t->name);
		expect(t, abort_upload(s, f.at[i].key, f.at[i].id), BW_OK);
	}
	cr_assert(bw_test_holds(s, "u/a", "bytes", 5), "%s: took the object with it", t->name);
}

/* What is no id, or the id of another key, harms nothing. */
EACH_STORE(aborting_what_is_not_there)
{
	struct found f;

	expect(t, bw_test_put(s, "u/a", "bytes", 5, true), BW_OK);
	expect(t, abort_upload(s, "none", "2~no-such-upload"), BW_OK);
	if (!bw_test_leave_upload(t, "u/b"))
		return;
	find(t, "", 10, &f);
	cr_assert_eq(f.n, 1);
	abort_upload(s, "u/a", f.at[0].id);
	find(t, "", 10, &f);
	cr_assert_eq(f.n, 1, "%s: the upload of another key went", t->name);
	cr_assert(bw_test_holds(s, "u/a", "bytes", 5));
}

EACH_STORE(uploads_and_deadlines)
{
	struct found f;
	struct bw_op op;

	bool is_left = bw_test_leave_upload(t, "u/a");
	bw_op_list_uploads(&op, "", "", NULL, 10);
	op.deadline_ns = bw_now() - 1;
	expect(t, bw_store_sync(s, &op), BW_CANCELLED);
	cr_assert_null(op.uploads);
	find(t, "", 10, &f);
	cr_assert_eq(f.n, is_left);
	bw_op_abort_upload(&op, "u/a", is_left ? f.at[0].id : "id");
	op.deadline_ns = bw_now() - 1;
	expect(t, bw_store_sync(s, &op), BW_CANCELLED);
	find(t, "", 10, &f);
	cr_assert_eq(f.n, is_left, "%s: aborted past the deadline", t->name);
}

/* ---- An upload that is alive ------------------------------------------------------------------ */

/* A body whose second part is not given out before somebody says so. */
struct held {
	struct bw_body body;
	struct bw_mutex lock;
	struct bw_cond cond;
	bool is_open, is_done;
};

static int read_held(struct bw_body *body, uint64_t off, void *buf, size_t len)
{
	struct held *h = (struct held *)body;

	memset(buf, 'x', len);
	BW_LOCK_SCOPE(&h->lock);
	while (off && !h->is_open)
		bw_cond_wait(&h->cond, &h->lock);
	return 0;
}

static void held_done(struct bw_op *op)
{
	struct held *h = op->ctx;

	BW_LOCK_SCOPE(&h->lock);
	h->is_done = true;
	bw_cond_broadcast(&h->cond);
}

static void held_end(struct held *h)
{
	BW_LOCK_SCOPE(&h->lock);
	h->is_open = true;
	bw_cond_broadcast(&h->cond);
	while (!h->is_done)
		bw_cond_wait(&h->cond, &h->lock);
}

static void hold(struct held *h, struct bw_op *op, struct bw_store *s)
{
	memset(h, 0, sizeof(*h));
	bw_mutex_init(&h->lock, BW_RANK_LEAF);
	bw_cond_init(&h->cond);
	h->body = (struct bw_body){.size = 13 << 20, .read = read_held};
	bw_op_put(op, "u/held", &h->body, true);
	op->done = held_done;
	op->ctx = h;
	bw_store_submit(s, op);
}

/* The put does not become an object behind the abort's back: it says so, or is made again as a whole. */
EACH_STORE(a_put_whose_upload_is_aborted_under_it)
{
	struct bw_blob *blob;
	struct bw_op op, get;
	struct held h;
	struct found f;

	if (!bw_test_leave_upload(t, "other"))
		return;
	hold(&h, &op, s);
	do
		find(t, "u/", 10, &f);
	while (!f.n);
	cr_assert_str_eq(f.at[0].key, "u/held");
	expect(t, abort_upload(s, f.at[0].key, f.at[0].id), BW_OK);
	held_end(&h);
	if (op.outcome == BW_OK) {
		bw_op_get(&get, "u/held", (13 << 20) - 1, 1);
		expect(t, bw_store_sync(s, &get), BW_OK);
		bw_op_done(&get);
	} else {
		expect(t, op.outcome == BW_UNKNOWN ? BW_UNREACHABLE : op.outcome, BW_UNREACHABLE);
		expect(t, bw_test_get(s, "u/held", &blob), BW_NOT_FOUND);
	}
}

EACH_STORE(an_upload_that_was_finished_is_not_listed)
{
	static const char *const other[] = {"other"};
	struct bw_op op;
	struct held h;
	struct found f;

	if (!bw_test_leave_upload(t, "other"))
		return;
	hold(&h, &op, s);
	held_end(&h);
	expect(t, op.outcome, BW_OK);
	find(t, "", 10, &f);
	expect_keys(t, &f, other, 1);
}
