/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Destroying a stream, stopped after every single request, on each kind of store: what is left is never taken
 * for a stream, the next call brings it to its end, and nothing of others is gone.
 */
#include "manifest/destroy.h"
#include "manifest/key.h"
#include "manifest/open.h"
#include "store/base/rand.h"
#include "tests/contract/each_store.h"
#include "tests/support/history.h"
#include "tests/support/mount.h"

#include <stdio.h>
#include <string.h>

#define STEPS 6	/* a search from version 1 then steps over the barrier */

/* The stores as they are; what filters do to single requests is told elsewhere. */
static bool is_bare(const struct bw_test_store *t)
{
	return strstr(t->name, "under nothing") != NULL;
}

/* Requests from the nth on are not answered; that one may have been applied, or half of it. */
struct cut {
	struct bw_fault_plan plan;
	uint64_t nth;
	bool applied, met;
};

static enum bw_fault cut_off(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	struct cut *c = (struct cut *)plan;

	(void)op;
	if (nth < c->nth)
		return BW_FAULT_NONE;
	c->met = true;
	return nth == c->nth && c->applied ? BW_FAULT_LOST_REPLY : BW_FAULT_BEFORE;
}

/* Of many that are deleted in one request those that come last are, and it is not told. */
static bool halve(struct bw_test_tap *tap, struct bw_op *op)
{
	const struct cut *c = tap->ctx;

	if (op->kind == BW_OP_DELETE_MANY && c->met) {
		size_t kept = op->items_n / 2;
		op->items += kept;
		op->items_n -= kept;
	}
	return false;
}

static struct bw_store *cut_store(struct bw_store *to, struct cut *c, uint64_t nth, bool applied)
{
	struct bw_test_tap *tap = bw_test_tap_new(bw_test_way_new(to));
	struct bw_store *s;

	*c = (struct cut){.plan = {.decide = cut_off}, .nth = nth, .applied = applied};
	tap->ctx = c;
	tap->on_submit = halve;
	cr_assert_eq(bw_filter_fault_new(&tap->store, &c->plan, &s), 0);
	return s;
}

/* ---- A stream and its neighbours -------------------------------------------------------------- */

/* Keys that look like those of the stream, but are not. */
static const char *const foreign[] = {"10111213-x", "10111213/data/p/01/0-0000000000000001", "10111213/new/1",
				      "20212223/manifest/1", "other/stream.json", "stream.json.bak"};
#define FOREIGN_N (sizeof(foreign) / sizeof(foreign[0]))

static void data_key(const struct bw_stream *stream, uint64_t seq, char key[BW_KEY_MAX + 1])
{
	bw_key_data(stream, "p", 1, seq, seq + 7, key);
}

static void build(struct bw_test_store *t, struct bw_stream *stream)
{
	char key[BW_KEY_MAX + 1];
	struct bw_root *root;

	bw_test_create(t->s, stream, &root);
	struct bw_change fence = bw_test_fence("p", 1);

	bw_test_commit(t->s, stream, &root, &fence, 1);
	for (uint64_t seq = 0; seq < STEPS; seq++) {
		struct bw_change append = bw_test_append("p", 1, 1, seq, seq + 7);
		data_key(stream, seq, key);
		expect(t, bw_test_put(t->s, key, "bytes", 5, true), BW_OK);
		bw_test_commit(t->s, stream, &root, &append, 1);
	}
	bw_root_unref(root);
	bw_test_bury(t->s, stream, 1);
	bw_key_hint(stream, key);
	expect(t, bw_test_put(t->s, key, "3\n", 2, false), BW_OK);
	bw_key_state(stream, "p", 1, 2, 9, key);
	expect(t, bw_test_put(t->s, key, "state", 5, false), BW_OK);
	bw_key_node(stream, 0, 0, 127, 1, key);
	expect(t, bw_test_put(t->s, key, "node", 4, false), BW_OK);
	bw_key_data(stream, "q", 3, 0, 1, key);
	bw_test_leave_upload(t, key);
	for (size_t i = 0; i < FOREIGN_N; i++)
		expect(t, bw_test_put(t->s, foreign[i], "not yours", 9, false), BW_OK);
}

static int destroy(struct bw_store *s, const struct bw_stream *stream, struct bw_destroy_report *r)
{
	char id[33], why[512] = "";
	const struct bw_destroy d = {.store = s, .id = id, .op_ns = 30 * BW_SEC};

	bw_hex(stream->id, sizeof(stream->id), id);
	int err = bw_stream_destroy(&d, r, why, sizeof(why));

	cr_assert(!err || why[0]);
	return err;
}

static size_t objects(struct bw_test_store *t, const char *prefix)
{
	struct bw_op op;

	bw_op_list(&op, prefix, "", 1000);
	expect(t, bw_store_sync(t->s, &op), BW_OK);
	size_t n = op.listing->n;

	bw_op_done(&op);
	return n;
}

static size_t uploads(struct bw_test_store *t)
{
	struct bw_op op;

	bw_op_list_uploads(&op, "", "", NULL, 1000);
	expect(t, bw_store_sync(t->s, &op), BW_OK);
	size_t n = op.uploads->n;

	bw_op_done(&op);
	return n;
}

static void expect_only_others(struct bw_test_store *t)
{
	cr_assert_eq(objects(t, ""), FOREIGN_N, "%s", t->name);
	for (size_t i = 0; i < FOREIGN_N; i++)
		cr_assert(bw_test_holds(t->s, foreign[i], "not yours", 9), "%s: %s is gone", t->name, foreign[i]);
	cr_assert_eq(uploads(t), 0);
}

/* ---- Stopped anywhere ------------------------------------------------------------------------- */

/* Whole, or refused: by who opens it, and by who would create another in its place. */
static void expect_whole_or_refused(struct bw_test_store *t, const struct bw_stream *stream, uint64_t nth)
{
	struct bw_stream_options options = stream->options;
	struct bw_root *root = NULL;
	char key[BW_KEY_MAX + 1], why[512];
	struct bw_stream s;
	size_t before = objects(t, "");
	bool existed = false;
	int err = bw_stream_open(t->s, bw_now() + 60 * BW_SEC, &s, &root, why, sizeof(why));

	if (!err) {
		cr_assert_eq(root->head, STEPS, "%s, stopped at %lu: an older stream", t->name, (unsigned long)nth);
		for (uint64_t seq = 0; seq < STEPS; seq++) {
			data_key(stream, seq, key);
			cr_assert(bw_test_holds(t->s, key, "bytes", 5), "%s, stopped at %lu: no step %lu", t->name,
				  (unsigned long)nth, (unsigned long)seq);
		}
		bw_root_unref(root);
		return;
	}
	cr_assert(err == -BW_E_DESTROYED || err == -BW_E_NO_STREAM, "%s, stopped at %lu: %s", t->name,
		  (unsigned long)nth, why);
	err = bw_stream_create(t->s, &options, bw_now() + 60 * BW_SEC, &s, &existed, why, sizeof(why));
	cr_assert(err == -BW_E_DESTROYED || err == -BW_E_FOREIGN, "%s, stopped at %lu: created, %d", t->name,
		  (unsigned long)nth, err);
	cr_assert_eq(objects(t, ""), before, "%s, stopped at %lu: somebody left something", t->name,
		     (unsigned long)nth);
}

static bool stop_at(struct bw_test_store *t, uint64_t nth, bool applied)
{
	struct bw_destroy_report r;
	struct bw_stream stream;
	struct cut c;

	build(t, &stream);
	struct bw_store *s = cut_store(t->s, &c, nth, applied);
	int err = destroy(s, &stream, &r);

	bw_store_free(s);
	cr_assert_eq(err != 0, c.met, "%s, stopped at %lu: %d", t->name, (unsigned long)nth, err);
	if (c.met)
		expect_whole_or_refused(t, &stream, nth);
	err = destroy(t->s, &stream, &r);
	/* NO_STREAM: nothing was left to do. */
	cr_assert(!err || err == -BW_E_NO_STREAM, "%s, stopped at %lu: cannot be gone on with: %d", t->name,
		  (unsigned long)nth, err);
	expect_only_others(t);
	return c.met;
}

EACH_STORE(destroy_stopped_after_every_request)
{
	uint64_t nth = 0;

	if (!is_bare(t))
		return;
	/* One of both on stores that are slow. */
	while (stop_at(t, nth, nth % 2) && ((!t->in_memory && !t->dir[0]) || stop_at(t, nth, !(nth % 2))))
		nth++;
	cr_assert_geq(nth, 20, "%s: only %lu requests", t->name, (unsigned long)nth);
}

/* ---- Two of them, and a new stream ------------------------------------------------------------ */

/* At the nth request of a first one a second one is quicker, and makes a stream of its own in the place. */
struct overtaken {
	struct bw_test_store *t;
	const struct bw_stream *old;
	struct bw_stream made;
	uint64_t at, nth;
	bool done, excused;
};

static void make_anew(struct overtaken *o)
{
	struct bw_stream_options options = o->old->options;
	struct bw_destroy_report r;
	char why[512];
	bool existed;
	int err = destroy(o->t->s, o->old, &r);

	cr_assert(!err || err == -BW_E_NO_STREAM, "%d", err);
	err = bw_stream_create(o->t->s, &options, bw_now() + 60 * BW_SEC, &o->made, &existed, why, sizeof(why));
	cr_assert_eq(err, 0, "%s: created at %lu: %s", o->t->name, (unsigned long)o->nth, why);
}

static bool overtake(struct bw_test_tap *tap, struct bw_op *op)
{
	struct overtaken *o = tap->ctx;

	if (o->at++ != o->nth)
		return false;
	o->done = true;
	/* It has looked, and is on its way: no store can be asked to delete only what was seen. */
	o->excused = op->kind == BW_OP_DELETE_MANY && !strcmp(op->items[0].key, BW_STREAM_KEY);
	if (!o->excused)
		make_anew(o);
	return false;
}

static void expect_made(struct overtaken *o, int err, const char *why)
{
	struct bw_test_store *t = o->t;
	char key[BW_KEY_MAX + 1], made[33], said[512];
	struct bw_root *root = NULL;
	struct bw_stream s;

	cr_assert(!err || err == -BW_E_NO_STREAM || err == -EINVAL, "%s, overtaken at %lu: %d, %s", t->name,
		  (unsigned long)o->nth, err, why);
	bw_hex(o->made.id, sizeof(o->made.id), made);
	cr_assert(err != -EINVAL || strstr(why, made), "%s", why);
	err = bw_stream_open(t->s, bw_now() + 60 * BW_SEC, &s, &root, said, sizeof(said));
	cr_assert_eq(err, 0, "%s, overtaken at %lu: %s", t->name, (unsigned long)o->nth, said);
	cr_assert_arr_eq(s.id, o->made.id, sizeof(s.id));
	bw_root_unref(root);
	bw_key_root(&s, 1, key);
	cr_assert_eq(objects(t, key), 1);
	cr_assert_eq(objects(t, ""), 2, "%s, overtaken at %lu: more than a new stream is there", t->name,
		     (unsigned long)o->nth);
}

/* False: there is no such request any more. */
static bool overtake_at(struct bw_test_store *t, uint64_t nth)
{
	struct bw_test_tap *tap = bw_test_tap_new(bw_test_way_new(t->s));
	struct overtaken o = {.t = t, .nth = nth};
	char id[33], why[512] = "";
	struct bw_destroy_report r;
	struct bw_stream stream;

	build(t, &stream);
	for (size_t i = 0; i < FOREIGN_N; i++)
		expect(t, bw_test_delete(t->s, foreign[i]), BW_OK);
	bw_hex(stream.id, sizeof(stream.id), id);
	o.old = &stream;
	tap->ctx = &o;
	tap->on_submit = overtake;
	const struct bw_destroy d = {.store = &tap->store, .id = id, .op_ns = 30 * BW_SEC};
	int err = bw_stream_destroy(&d, &r, why, sizeof(why));

	bw_store_free(&tap->store);
	if (!o.done || o.excused) {
		cr_assert_eq(err, 0, "%s", why);
		return o.done;
	}
	expect_made(&o, err, why);
	cr_assert_eq(destroy(t->s, &o.made, &r), 0);
	return true;
}

EACH_STORE(destroy_while_another_makes_a_new_one)
{
	uint64_t nth = 0;

	if (!is_bare(t) || (!t->in_memory && !t->dir[0]))
		return;
	while (overtake_at(t, nth))
		nth++;
	cr_assert_geq(nth, 20, "%s: only %lu requests", t->name, (unsigned long)nth);
}

/* ---- What is whose ---------------------------------------------------------------------------- */

EACH_STORE(destroy_tells_what_it_did_and_what_it_left)
{
	struct bw_destroy_report r;
	struct bw_stream stream;

	if (!is_bare(t))
		return;
	build(t, &stream);
	cr_assert_eq(destroy(t->s, &stream, &r), 0);
	/* stream.json, 8 versions and the barrier, hint, node, state, data. */
	cr_assert_eq(r.objects, 1 + (2 + STEPS) + 1 + 1 + 1 + 1 + STEPS, "%lu", (unsigned long)r.objects);
	cr_assert_eq(r.uploads, !t->in_memory);
	cr_assert_eq(r.uploads_err, 0);
	cr_assert_eq(r.left_n, FOREIGN_N);
	cr_assert_not(r.left_more);
	for (size_t i = 0; i < FOREIGN_N; i++)
		cr_assert_str_eq(r.left[i], foreign[i]);
	expect_only_others(t);
	cr_assert_eq(destroy(t->s, &stream, &r), -BW_E_NO_STREAM);
}

EACH_STORE(destroy_refuses_what_is_not_the_id)
{
	static const char *const wrong[] = {"", "10111213", "stream", "101112131415161718191a1b1c1d1e20",
					    "101112131415161718191A1B1C1D1E1F",
					    "101112131415161718191a1b1c1d1e1f0"};
	struct bw_destroy_report r;
	struct bw_stream stream;
	char why[512];

	if (!is_bare(t))
		return;
	build(t, &stream);
	size_t before = objects(t, "");

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const struct bw_destroy d = {.store = t->s, .id = wrong[i], .op_ns = 30 * BW_SEC};
		cr_assert_eq(bw_stream_destroy(&d, &r, why, sizeof(why)), -EINVAL, "'%s'", wrong[i]);
		cr_assert_eq(objects(t, ""), before);
		cr_assert_eq(r.objects, 0);
	}
	cr_assert_eq(uploads(t), !t->in_memory);
	/* Nor is anything deleted by the id alone, where no barrier bears it out. */
	expect(t, bw_test_delete(t->s, BW_STREAM_KEY), BW_OK);
	cr_assert_eq(destroy(t->s, &stream, &r), -BW_E_NO_STREAM);
	cr_assert_eq(objects(t, ""), before - 1);
}

/* ---- In pages --------------------------------------------------------------------------------- */

EACH_STORE(destroy_deletes_in_pages)
{
	enum { N = 10000 };
	struct bw_store_stats stats = {0};
	struct bw_destroy_report r;
	struct bw_stream stream;
	char key[BW_KEY_MAX + 1];
	struct bw_store *counted;

	if (!is_bare(t) || !t->in_memory)
		return;
	build(t, &stream);
	for (uint64_t i = 0; i < N; i++) {
		bw_key_data(&stream, "many", 1, i, i, key);
		expect(t, bw_test_put(t->s, key, "x", 1, true), BW_OK);
	}
	cr_assert_eq(bw_filter_stats_new(bw_test_way_new(t->s), &stats, &counted), 0);
	cr_assert_eq(destroy(counted, &stream, &r), 0);
	cr_assert_geq(r.objects, N);
	cr_assert_eq(bw_stats_requests(&stats, BW_OP_DELETE), 0);
	cr_assert_leq(bw_stats_requests(&stats, BW_OP_DELETE_MANY), N / BW_DELETE_MANY_MAX + 10);
	cr_assert_leq(bw_stats_all(&stats), 2 * (N / BW_DELETE_MANY_MAX) + 40);
	bw_store_free(counted);
	expect_only_others(t);
}

static bool stop_when_some_are_gone(void *ctx, uint64_t deleted, uint64_t total)
{
	uint64_t *told = ctx;

	*told = total;
	return deleted == 0;
}

static bool hear(void *ctx, uint64_t deleted, uint64_t total)
{
	uint64_t *told = ctx;

	(void)deleted;
	*told = total;
	return true;
}

EACH_STORE(destroy_tells_how_much_there_is_also_when_it_goes_on)
{
	struct bw_destroy_report r;
	struct bw_stream stream;
	uint64_t told = 0;
	char id[33], why[512];

	if (!is_bare(t))
		return;
	build(t, &stream);
	bw_hex(stream.id, sizeof(stream.id), id);
	struct bw_destroy d = {.store = t->s, .id = id, .op_ns = 30 * BW_SEC, .go_on = stop_when_some_are_gone, .ctx = &told};

	cr_assert_eq(bw_stream_destroy(&d, &r, why, sizeof(why)), -ECANCELED);
	/* Versions and steps. */
	cr_assert_eq(told, 2 + STEPS + STEPS);
	d.go_on = hear;
	told = 0;
	cr_assert_eq(bw_stream_destroy(&d, &r, why, sizeof(why)), 0);
	cr_assert_eq(told, 2 + STEPS + 1 + STEPS, "and the barrier: %lu", (unsigned long)told);
}

/* ---- Mounts that are still there -------------------------------------------------------------- */

static bool stop_now(void *ctx, uint64_t deleted, uint64_t total)
{
	(void)ctx, (void)total;
	return deleted == 0;
}

/* A mount with a producer, whose store may be troubled. */
struct sleeper {
	struct bw_test_mount m;
	struct bw_producer_entry p;
	char name[8], first[BW_KEY_MAX + 1];
	struct bw_fault_plan plan;
	enum bw_fault of_root, of_first;	/* of the next put of a root; of the next get of root 1 */
};

static enum bw_fault trouble(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	struct sleeper *s = bw_container_of(plan, struct sleeper, plan);
	enum bw_fault fault = BW_FAULT_NONE;

	(void)nth;
	if (op->kind == BW_OP_PUT && strstr(op->key, "/manifest/")) {
		fault = s->of_root;
		s->of_root = BW_FAULT_NONE;
	} else if (op->kind == BW_OP_GET && !strcmp(op->key, s->first)) {
		fault = s->of_first;
		s->of_first = BW_FAULT_NONE;
	}
	return fault;
}

static void sleeper_open(struct sleeper *s, struct bw_store *way, const char *name)
{
	struct bw_store *troubled;

	*s = (struct sleeper){.plan = {.decide = trouble}};
	snprintf(s->name, sizeof(s->name), "%s", name);
	cr_assert_eq(bw_filter_fault_new(way, &s->plan, &troubled), 0);
	cr_assert_eq(bw_test_mount_open(&s->m, troubled), 0);
	cr_assert_eq(bw_committer_take(s->m.committer, name, BW_NEVER, &s->p), 0);
	bw_key_root(&s->m.stream, 1, s->first);
}

static int commit(struct sleeper *s, uint64_t ahead)
{
	uint64_t seq = s->p.next + ahead;
	struct bw_change append = bw_test_mount_append(&s->m, s->name, s->p.epoch, seq, seq + 100);
	struct bw_txn_change result;

	return bw_committer_sync(s->m.committer, &append, BW_NEVER, &result);
}

/* A mount that slept through all of it finds the name of its next version free, and nothing else is there. */
static void commit_asleep(struct sleeper *s)
{
	cr_assert_eq(commit(s, 0), -BW_E_DESTROYED, "%s: a commit on nothing", s->name);
	cr_assert_eq(bw_head_poisoned(s->m.head), -BW_E_DESTROYED);
	bw_test_mount_close(&s->m);
}

/* One that knows the newest version is stopped by the barrier; one that slept through all of it, by root 1. */
EACH_STORE(destroy_under_a_mount)
{
	struct sleeper asleep, looks, lost, unsaid;
	struct bw_destroy_report r;
	struct bw_test_mount awake;
	struct bw_stream stream;
	char id[33], why[512];

	if (!is_bare(t))
		return;
	build(t, &stream);
	bw_hex(stream.id, sizeof(stream.id), id);
	sleeper_open(&asleep, bw_test_way_new(t->s), "p");
	sleeper_open(&looks, bw_test_way_new(t->s), "looks");
	sleeper_open(&lost, bw_test_way_new(t->s), "lost");
	sleeper_open(&unsaid, bw_test_way_new(t->s), "unsaid");
	int64_t slept_ns = bw_now();

	cr_assert_eq(bw_test_mount_open(&awake, bw_test_way_new(t->s)), 0);
	const struct bw_destroy d = {.store = t->s, .id = id, .op_ns = 30 * BW_SEC, .go_on = stop_now};

	cr_assert_eq(bw_stream_destroy(&d, &r, why, sizeof(why)), -ECANCELED);
	cr_assert_eq(bw_head_refresh(awake.head, bw_now() + 60 * BW_SEC, NULL), -BW_E_DESTROYED);
	struct bw_change job = bw_test_change(BW_CHANGE_JOB, "j");
	struct bw_txn_change result;

	cr_assert_eq(bw_committer_sync(awake.committer, &job, BW_NEVER, &result), -BW_E_DESTROYED);
	bw_test_mount_close(&awake);
	cr_assert_eq(destroy(t->s, &stream, &r), 0);
	while (bw_now() <= slept_ns + BW_DESTROY_UNSEEN_NS)
		bw_sleep(100 * BW_MS);
	commit_asleep(&asleep);
	/* Nothing newer is there: that alone is no news of the stream. */
	cr_assert_eq(commit(&looks, 1), -BW_E_DESTROYED);
	commit_asleep(&looks);
	/* Put, and not told of it: then there is something in the slot. */
	lost.of_root = BW_FAULT_LOST_REPLY;
	commit_asleep(&lost);
	/* No answer to the question for root 1 is none. */
	unsaid.of_first = BW_FAULT_BEFORE;
	commit_asleep(&unsaid);
	expect_only_others(t);
}
