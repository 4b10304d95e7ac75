/* SPDX-License-Identifier: Apache-2.0 */
/* The committer's thread: order, acknowledgement after publication, faults, shutdown (P4, S3, S5). */
#include "manifest/committer.h"
#include "manifest/destroy.h"
#include "manifest/open.h"
#include "store/base/sync.h"
#include "store/layer.h"
#include "tests/support/mount.h"
#include "tests/support/stores.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <unistd.h>

static struct bw_test_tap *tap;
static struct bw_stream stream;
static struct bw_head *head;
static struct bw_committer *committer;

static void start(void)
{
	struct bw_store *mem;
	struct bw_root *root;

	cr_assert_eq(bw_store_mem_new(&mem), 0);
	tap = bw_test_tap_new(mem);
	bw_test_create(&tap->store, &stream, &root);
	cr_assert_eq(bw_head_new(&tap->store, &stream, root, bw_boottime(), NULL, &head), 0);
	cr_assert_eq(bw_committer_new(&tap->store, &stream, head, bw_boottime(), NULL, &committer), 0);
	bw_root_unref(root);
}

static void end(void)
{
	bw_committer_free(committer, bw_now() + 60 * BW_SEC);
	bw_head_free(head);
	bw_store_free(&tap->store);
}

TestSuite(committer, .init = start, .fini = end);

static struct bw_change append(const struct bw_committer *c, const char *p, uint64_t epoch,
			       uint64_t seq)
{
	struct bw_change change = bw_test_append(p, 1, epoch, seq, seq * 1000 + epoch);

	memcpy(change.owner, bw_committer_owner(c), 16);
	return change;
}

static void take(struct bw_committer *c, const char *p, uint64_t epoch, uint64_t next)
{
	struct bw_producer_entry e;

	cr_assert_eq(bw_committer_take(c, p, BW_NEVER, &e), 0);
	cr_assert_eq(e.epoch, epoch);
	cr_assert_eq(e.next, next);
}

Test(committer, take_then_append)
{
	struct bw_txn_change result;
	struct bw_change c;

	take(committer, "p", 1, 0);
	take(committer, "p", 1, 0);
	c = append(committer, "p", 1, 0);
	cr_assert_eq(bw_committer_sync(committer, &c, BW_NEVER, &result), 0);
	cr_assert_eq(result.step, 0);
	cr_assert_eq(result.version, 3);
	c = append(committer, "p", 1, 0);
	cr_assert_eq(bw_committer_sync(committer, &c, BW_NEVER, &result), -BW_E_SEQ_TAKEN);
	take(committer, "p", 1, 1);
	cr_assert_eq(atomic_load(&bw_committer_stats(committer)->committed), 2);
	cr_assert_eq(atomic_load(&bw_committer_stats(committer)->failed), 1);
	cr_assert_eq(atomic_load(&bw_committer_stats(committer)->versions), 2);
}

static bool find_nothing(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (op->kind == BW_OP_GET)
		snprintf(op->key, sizeof(op->key), "nowhere");
	return false;
}

/* S2: a proxy that has lost its way says of everything that it is not there; what was put all the same stays. */
Test(committer, a_way_that_finds_nothing_is_no_stream_destroyed, .timeout = 60)
{
	struct bw_txn_change result;
	char key[BW_KEY_MAX + 1];

	take(committer, "p", 1, 0);
	bw_sleep(BW_DESTROY_UNSEEN_NS + BW_SEC);
	struct bw_change c = append(committer, "p", 1, 0);

	atomic_store(&tap->on_submit, find_nothing);
	cr_assert_eq(bw_committer_sync(committer, &c, BW_NEVER, &result), 0);
	atomic_store(&tap->on_submit, NULL);
	bw_key_root(&stream, result.version, key);
	bw_auto_blob struct bw_blob *blob = NULL;

	cr_assert_eq(bw_test_get(&tap->store, key, &blob), BW_OK, "the commit was deleted");
	cr_assert_eq(bw_head_poisoned(head), 0);
}

static atomic_uint first_asked;

static bool count_first(struct bw_test_tap *t, struct bw_op *op)
{
	char first[BW_KEY_MAX + 1];

	(void)t;
	bw_key_root(&stream, 1, first);
	atomic_fetch_add(&first_asked, op->kind == BW_OP_GET && !strcmp(op->key, first));
	return false;
}

/* S2: what was found before a long start tells nothing of the stream any more; what was found just now does. */
Test(committer, whoever_found_the_root_long_ago_asks_for_root_1)
{
	struct bw_change job = bw_test_change(BW_CHANGE_JOB, "j");
	struct bw_txn_change result;

	atomic_store(&tap->on_submit, count_first);
	cr_assert_eq(bw_committer_sync(committer, &job, BW_NEVER, &result), 0);
	cr_assert_eq(atomic_load(&first_asked), 1, "root 1 alone may be about to be taken back");
	bw_committer_free(committer, bw_now() + 60 * BW_SEC);
	cr_assert_eq(bw_committer_new(&tap->store, &stream, head, bw_boottime(), NULL, &committer), 0);
	job.name[0] = 'i';
	cr_assert_eq(bw_committer_sync(committer, &job, BW_NEVER, &result), 0);
	cr_assert_eq(atomic_load(&first_asked), 1);
	bw_committer_free(committer, bw_now() + 60 * BW_SEC);
	int64_t long_ago = bw_boottime() - BW_DESTROY_UNSEEN_NS - BW_SEC;

	cr_assert_eq(bw_committer_new(&tap->store, &stream, head, long_ago, NULL, &committer), 0);
	job.name[0] = 'k';
	cr_assert_eq(bw_committer_sync(committer, &job, BW_NEVER, &result), 0);
	cr_assert_eq(atomic_load(&first_asked), 2);
	job.name[0] = 'l';
	cr_assert_eq(bw_committer_sync(committer, &job, BW_NEVER, &result), 0);
	cr_assert_eq(atomic_load(&first_asked), 2, "it was there a moment ago");
	atomic_store(&tap->on_submit, NULL);
}

/* A queue of items, and what they got, in the order it was said. */
struct noted {
	struct bw_commit_item item;
	struct notes *notes;
	int err;
	uint64_t step, head_then;
	unsigned place;
};
struct notes {
	struct bw_mutex lock;
	struct bw_cond cond;
	unsigned n;
	struct bw_head *head;
};

static void notes_init(struct notes *n, struct bw_head *h)
{
	*n = (struct notes){.head = h};
	bw_mutex_init(&n->lock, BW_RANK_LEAF);
	bw_cond_init(&n->cond);
}

static void notes_wait(struct notes *n, unsigned want)
{
	bw_lock(&n->lock);
	while (n->n < want)
		bw_cond_wait(&n->cond, &n->lock);
	bw_unlock(&n->lock);
}

static void note(struct bw_commit_item *item, const struct bw_txn_change *result)
{
	struct noted *n = (struct noted *)item;
	struct bw_root *r = bw_head_root(n->notes->head);

	n->head_then = r->head;
	bw_root_unref(r);
	BW_LOCK_SCOPE(&n->notes->lock);
	n->err = result->err;
	n->step = result->step;
	n->place = n->notes->n++;
	bw_cond_broadcast(&n->notes->cond);
}

static void push(struct noted *n, struct notes *notes, struct bw_change c)
{
	*n = (struct noted){.item = {.change = c, .done = note}, .notes = notes};
	bw_committer_push(committer, &n->item);
}

/* P4, V3: in order, and published before it is acknowledged. */
Test(committer, a_queue_is_committed_in_order_and_published_first)
{
	enum { N = 700 };
	struct noted *items = calloc(N, sizeof(*items));
	struct notes notes;

	notes_init(&notes, head);
	take(committer, "p", 1, 0);
	for (unsigned i = 0; i < N; i++)
		push(&items[i], &notes, append(committer, "p", 1, i));
	notes_wait(&notes, N);
	for (unsigned i = 0; i < N; i++) {
		cr_assert_eq(items[i].err, 0);
		cr_assert_eq(items[i].step, i);
		cr_assert_eq(items[i].place, i);
		cr_assert_gt(items[i].head_then, i);
	}
	cr_assert_lt(atomic_load(&bw_committer_stats(committer)->versions), N,
		     "what is queued is committed together");
	free(items);
}

/* ---- Faults ------------------------------------------------------------------------------------ */

static bool (*fail_when)(const struct bw_op *op);
static atomic_uint faults;
static atomic_int fault_kind;

static enum bw_fault decide(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	(void)plan;
	(void)nth;
	if (!fail_when(op) || !atomic_load(&faults))
		return BW_FAULT_NONE;
	atomic_fetch_sub(&faults, 1);
	return (enum bw_fault)atomic_load(&fault_kind);
}

static bool is_root_put(const struct bw_op *op)
{
	return op->kind == BW_OP_PUT && strstr(op->key, "/manifest/");
}

static struct bw_fault_plan plan = {.decide = decide, .late_ns = 30 * BW_MS};

/* Another committer on the same objects, through a fault filter. */
static void mount_open(struct bw_test_mount *m, bool (*when)(const struct bw_op *op))
{
	struct bw_store *faulty;

	fail_when = when;
	cr_assert_eq(bw_filter_fault_new(bw_test_way_new(&tap->store), &plan, &faulty), 0);
	cr_assert_eq(bw_test_mount_open(m, faulty), 0);
}

/* ---- Putting off --------------------------------------------------------------------------------- */

/* As many committers as the table shows, by their owners: fences, then a batch of each. */
static void crowd(struct bw_committer *c, struct bw_head *h, uint32_t n)
{
	struct noted *items = calloc(n, sizeof(*items));
	struct notes notes;

	notes_init(&notes, h);
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < n; i++) {
			char name[16];
			struct bw_change change;

			snprintf(name, sizeof(name), "crowd-%u", i);
			change = round ? bw_test_append(name, 1, 1, 0, i) : bw_test_fence(name, 1);
			memcpy(change.owner, &i, sizeof(i));
			items[i] = (struct noted){.item = {.change = change, .done = note},
						  .notes = &notes};
			bw_committer_push(c, &items[i].item);
		}
		notes_wait(&notes, n * (unsigned)(round + 1));
	}
	free(items);
}

static void slow_open(struct bw_test_mount *m)
{
	struct bw_store *slow;

	cr_assert_eq(bw_filter_delay_new(bw_test_way_new(&tap->store), 30 * BW_MS, 0, 1, &slow), 0);
	cr_assert_eq(bw_test_mount_open(m, slow), 0);
}

static void commit_now(struct bw_committer *c, const char *p, uint64_t seq)
{
	struct bw_change change = append(c, p, 1, seq);
	struct bw_txn_change result;

	cr_assert_eq(bw_committer_sync(c, &change, BW_NEVER, &result), 0);
}

/* One of 250 on a stream that is fast for its store shares its versions; who is in a hurry takes along
 * what is queued. */
Test(committer, batches_are_put_off_until_somebody_is_in_a_hurry, .timeout = 120)
{
	struct bw_test_mount m;
	struct noted items[3];
	struct notes notes;

	slow_open(&m);
	notes_init(&notes, m.head);
	take(m.committer, "p", 1, 0);
	take(committer, "q", 1, 0);
	const struct bw_commit_stats *stats = bw_committer_stats(m.committer);

	commit_now(m.committer, "p", 0);
	cr_assert_eq(atomic_load(&stats->window_ns), 0, "no load: at once");
	crowd(committer, head, 250);
	for (uint64_t i = 0; i < 60; i++)
		commit_now(committer, "q", i);
	commit_now(m.committer, "p", 1);
	cr_assert_gt(atomic_load(&stats->window_ns), 0);
	uint64_t versions = atomic_load(&stats->versions);

	items[0] = (struct noted){.item = {.change = append(m.committer, "p", 1, 2), .done = note},
				  .notes = &notes};
	items[1] = items[2] = items[0];
	items[1].item.change.seq = 3;
	items[1].item.hurry = true;
	items[2].item.change.seq = 4;
	bw_committer_push(m.committer, &items[0].item);
	usleep(100000);
	bw_committer_push(m.committer, &items[1].item);
	notes_wait(&notes, 2);
	cr_assert_eq(items[0].err, 0);
	cr_assert_eq(items[1].step, items[0].step + 1);
	cr_assert_eq(atomic_load(&stats->versions), versions + 1, "one version for both");
	bw_committer_push(m.committer, &items[2].item);
	bw_committer_hurry(m.committer);
	notes_wait(&notes, 3);
	cr_assert_eq(items[2].err, 0);

	/* Nor is it put off for longer than those who wait for it have time. */
	for (uint64_t i = 0; i < 20; i++) {
		items[0].item.change.seq = 5 + 2 * i;
		items[0].item.latest_ns = bw_now() + 3600 * BW_SEC;
		items[1].item.change.seq = 6 + 2 * i;
		items[1].item.latest_ns = bw_now();
		items[1].item.hurry = false;
		bw_committer_push(m.committer, &items[0].item);
		bw_committer_push(m.committer, &items[1].item);
		notes_wait(&notes, 5 + 2 * (unsigned)i);
		cr_assert_eq(items[0].err, 0);
		cr_assert_eq(items[1].err, 0);
		cr_assert_gt(atomic_load(&stats->window_ns), 2 * BW_SEC, "by itself each would wait half of this");
	}
	bw_test_mount_close(&m);
}

/* S3: each fault on the put of a root, once and several times: committed exactly once. */
Test(committer, a_root_put_with_faults_is_committed_once)
{
	enum bw_fault kinds[] = {BW_FAULT_LOST_REPLY, BW_FAULT_DUPLICATE, BW_FAULT_LATE,
				 BW_FAULT_THROTTLED};
	struct bw_test_mount m;
	uint64_t seq = 0;

	mount_open(&m, is_root_put);
	take(m.committer, "q", 1, 0);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		for (unsigned n = 1; n <= 3; n++) {
			struct bw_change c = append(m.committer, "q", 1, seq);
			struct bw_txn_change result;

			atomic_store(&fault_kind, kinds[k]);
			atomic_store(&faults, n);
			cr_assert_eq(bw_committer_sync(m.committer, &c, BW_NEVER, &result), 0);
			cr_assert_eq(result.step, seq);
			seq++;
			cr_assert_not(bw_committer_in_doubt(m.committer));
		}
	}
	bw_test_mount_close(&m);
	struct bw_root *r;

	cr_assert_eq(bw_head_refresh(head, BW_NEVER, &r), 0);
	cr_assert_eq(r->head, seq);
	cr_assert_eq(bw_root_producer(r, "q")->next, seq);
	bw_root_unref(r);
}

static atomic_uint sends;
static atomic_bool busy;

static bool is_too_much(const struct bw_op *op)
{
	if (!is_root_put(op))
		return false;
	atomic_fetch_add(&sends, 1);
	return atomic_load(&busy);
}

/* S3: a store that wants fewer requests gets no storm of them. */
Test(committer, S3_a_root_is_sent_again_after_pauses)
{
	struct noted item;
	struct notes notes;
	struct bw_test_mount m;

	mount_open(&m, is_too_much);
	notes_init(&notes, m.head);
	take(m.committer, "q", 1, 0);
	atomic_store(&fault_kind, BW_FAULT_THROTTLED);
	atomic_store(&faults, 1000000);
	atomic_store(&sends, 0);
	atomic_store(&busy, true);
	item = (struct noted){.item = {.change = append(m.committer, "q", 1, 0), .done = note}, .notes = &notes};
	bw_committer_push(m.committer, &item.item);
	while (atomic_load(&sends) < 2)
		bw_sleep(BW_MS);
	bw_sleep(300 * BW_MS);
	cr_assert_lt(atomic_load(&sends), 100);
	atomic_store(&busy, false);
	notes_wait(&notes, 1);
	cr_assert_eq(item.err, 0);
	bw_test_mount_close(&m);
}

static atomic_uint soles, node_puts;

static bool count_soles(const struct bw_op *op)
{
	atomic_fetch_add(&soles, op->kind == BW_OP_PUT && op->sole);
	atomic_fetch_add(&node_puts, op->kind == BW_OP_PUT && strstr(op->key, "/index/") != NULL);
	return false;
}

/* Others go by the names of roots and nodes at once: they are given to bytes that are on disk. */
Test(committer, S2_no_root_and_no_node_is_put_as_sole)
{
	struct bw_test_mount m;

	mount_open(&m, count_soles);
	take(m.committer, "q", 1, 0);
	for (uint64_t seq = 0; seq < BW_TAIL_FOLD + 1; seq++) {
		struct bw_change c = append(m.committer, "q", 1, seq);
		struct bw_txn_change result;

		cr_assert_eq(bw_committer_sync(m.committer, &c, BW_NEVER, &result), 0);
	}
	bw_test_mount_close(&m);
	cr_assert_gt(atomic_load(&node_puts), 0);
	cr_assert_eq(atomic_load(&soles), 0);
}

Test(committer, a_definite_failure_is_said_and_leaves_nothing)
{
	struct {
		enum bw_fault kind;
		int err;
	} kinds[] = {{BW_FAULT_FULL, -ENOSPC},
		     {BW_FAULT_DENIED, -BW_E_DENIED},
		     {BW_FAULT_BEFORE, -BW_E_UNREACHABLE}};
	struct bw_txn_change result;
	struct bw_test_mount m;

	mount_open(&m, is_root_put);
	take(m.committer, "q", 1, 0);
	for (size_t k = 0; k < 3; k++) {
		struct bw_change c = append(m.committer, "q", 1, 0);

		atomic_store(&fault_kind, kinds[k].kind);
		atomic_store(&faults, 1);
		cr_assert_eq(bw_committer_sync(m.committer, &c, BW_NEVER, &result), kinds[k].err);
	}
	struct bw_change c = append(m.committer, "q", 1, 0);

	cr_assert_eq(bw_committer_sync(m.committer, &c, BW_NEVER, &result), 0);
	cr_assert_eq(result.step, 0);
	bw_test_mount_close(&m);
}

/* P4: what is queued behind a failed batch of its producer fails with it; others go on. */
Test(committer, followers_fail_with_their_predecessor)
{
	struct noted items[5];
	struct notes notes;

	notes_init(&notes, head);
	take(committer, "p", 1, 0);
	take(committer, "q", 1, 0);
	push(&items[0], &notes, append(committer, "p", 1, 0));
	push(&items[1], &notes, append(committer, "p", 9, 1));	/* of an epoch that is not ours */
	push(&items[2], &notes, append(committer, "p", 1, 2));
	push(&items[3], &notes, append(committer, "q", 1, 0));
	push(&items[4], &notes, append(committer, "p", 1, 3));
	notes_wait(&notes, 5);
	cr_assert_eq(items[0].err, 0);
	cr_assert_eq(items[1].err, -BW_E_FENCED);
	cr_assert_eq(items[2].err, -BW_E_FENCED);
	cr_assert_eq(items[3].err, 0);
	cr_assert_eq(items[4].err, -BW_E_FENCED);
}

static struct bw_op *_Atomic held;

static bool hold_root_put(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (!is_root_put(op))
		return false;
	held = op;
	return true;
}

/* ... also when they were queued while it was on its way. */
Test(committer, followers_in_the_queue_fail_with_their_predecessor)
{
	struct noted items[4];
	struct notes notes;

	notes_init(&notes, head);
	take(committer, "p", 1, 0);
	take(committer, "q", 1, 0);
	tap->on_submit = hold_root_put;
	push(&items[0], &notes, append(committer, "p", 1, 0));
	while (!held)
		bw_sleep(BW_MS);
	push(&items[1], &notes, append(committer, "p", 1, 1));
	push(&items[2], &notes, append(committer, "q", 1, 0));
	push(&items[3], &notes, append(committer, "p", 1, 2));
	tap->on_submit = NULL;
	held->outcome = BW_FULL;
	held->done(held);
	notes_wait(&notes, 4);
	cr_assert_eq(items[0].err, -ENOSPC);
	cr_assert_eq(items[1].err, -ENOSPC);
	cr_assert_eq(items[2].err, 0);
	cr_assert_eq(items[3].err, -ENOSPC);
}

/* P5: the mount that had it fails from then on, and leaves nothing. */
Test(committer, a_second_mount_fences_the_first)
{
	struct bw_txn_change result;
	struct bw_test_mount m;

	mount_open(&m, is_root_put);
	take(committer, "p", 1, 0);
	struct bw_change c = append(committer, "p", 1, 0);

	cr_assert_eq(bw_committer_sync(committer, &c, BW_NEVER, &result), 0);
	take(m.committer, "p", 2, 1);
	c = append(committer, "p", 1, 1);
	cr_assert_eq(bw_committer_sync(committer, &c, BW_NEVER, &result), -BW_E_FENCED);
	c = append(m.committer, "p", 2, 1);
	cr_assert_eq(bw_committer_sync(m.committer, &c, BW_NEVER, &result), 0);
	cr_assert_eq(result.step, 1);
	take(committer, "p", 3, 2);
	bw_test_mount_close(&m);
}

Test(committer, writes_the_hint)
{
	struct bw_change c = bw_test_change(BW_CHANGE_JOB, "j");
	struct bw_txn_change result;
	struct bw_blob *blob = NULL;
	char key[BW_KEY_MAX + 1];

	for (int i = 0; i < 70; i++) {
		c.kind = i % 2 ? BW_CHANGE_UNJOB : BW_CHANGE_JOB;
		cr_assert_eq(bw_committer_sync(committer, &c, BW_NEVER, &result), 0);
	}
	bw_key_hint(&stream, key);
	cr_assert_eq(bw_test_get(&tap->store, key, &blob), BW_OK);
	cr_assert(blob->len == 3 && !memcmp(blob->bytes, "64\n", 3));
	bw_blob_unref(blob);
}

/* S5: what is queued is committed within the time, the rest is told, and an attempt in doubt says so. */
Test(committer, free_drains_the_queue)
{
	enum { N = 300 };
	struct noted *items = calloc(N, sizeof(*items));
	struct notes notes;

	notes_init(&notes, head);
	take(committer, "p", 1, 0);
	for (unsigned i = 0; i < N; i++)
		push(&items[i], &notes, append(committer, "p", 1, i));
	bw_committer_free(committer, bw_now() + 60 * BW_SEC);
	committer = NULL;
	cr_assert_eq(notes.n, N);
	for (unsigned i = 0; i < N; i++)
		cr_assert_eq(items[i].err, 0);
	free(items);
}

Test(committer, free_without_time_tells_all)
{
	struct noted items[3];
	struct notes notes;
	struct bw_test_mount m;

	mount_open(&m, is_root_put);
	notes_init(&notes, m.head);
	take(m.committer, "q", 1, 0);
	atomic_store(&fault_kind, BW_FAULT_LOST_REPLY);
	atomic_store(&faults, 1000000);
	items[0] = (struct noted){.item = {.change = append(m.committer, "q", 1, 0), .done = note},
				  .notes = &notes};
	bw_committer_push(m.committer, &items[0].item);
	while (!bw_committer_in_doubt(m.committer))
		bw_sleep(BW_MS);
	for (int i = 1; i < 3; i++) {
		items[i] = (struct noted){.item = {.change = append(m.committer, "q", 1, (uint64_t)i),
						   .done = note},
					  .notes = &notes};
		bw_committer_push(m.committer, &items[i].item);
	}
	bw_committer_free(m.committer, bw_now() + 20 * BW_MS);
	cr_assert_eq(notes.n, 3);
	/* Applied with the reply lost: either the slot was read in time, or it is not known. */
	cr_assert(items[0].err == -BW_E_UNKNOWN || items[0].err == 0, "%d", items[0].err);
	cr_assert(items[1].err == -BW_E_STOPPING || items[1].err == -BW_E_UNKNOWN);
	cr_assert(items[2].err == -BW_E_STOPPING || items[2].err == -BW_E_UNKNOWN);
	atomic_store(&faults, 0);
	bw_head_free(m.head);
	bw_store_free(m.store);
}

/* A way to the store on which puts of roots get no answer while it is busy, until they are cancelled. */
static struct bw_workq *silence;

static void speak(struct bw_task *task)
{
	struct bw_op *op = bw_op_of(task);

	op->done(op);
}

static void silent_submit(struct bw_store *s, struct bw_op *op)
{
	if (is_too_much(op))
		bw_op_queue(op, silence, speak, bw_now() + 3600 * BW_SEC);
	else
		bw_store_submit(s->next, op);
}

static void silent_cancel(struct bw_store *s, struct bw_op *op)
{
	if (is_root_put(op))
		bw_op_cancel_on(op, silence);
	else
		bw_store_cancel(s->next, op);
}

static void silent_free(struct bw_store *s)
{
	bw_workq_free(silence);
	bw_store_free(s->next);
}

/* S5: a request that is not answered is given up when the time is over, however long it might wait itself. */
Test(committer, free_without_time_gives_up_a_request, .timeout = 60)
{
	static const struct bw_store_ops ops = {
		.name = "silent", .submit = silent_submit, .cancel = silent_cancel, .free = silent_free};
	struct bw_store silent = {.ops = &ops, .next = bw_test_way_new(&tap->store)};
	struct noted item;
	struct notes notes;
	struct bw_test_mount m;

	cr_assert_eq(bw_workq_new("silence", 1, &silence), 0);
	cr_assert_eq(bw_test_mount_open(&m, &silent), 0);
	notes_init(&notes, m.head);
	take(m.committer, "q", 1, 0);
	atomic_store(&sends, 0);
	atomic_store(&busy, true);
	item = (struct noted){.item = {.change = append(m.committer, "q", 1, 0), .done = note}, .notes = &notes};
	bw_committer_push(m.committer, &item.item);
	while (!atomic_load(&sends))
		bw_sleep(BW_MS);
	bw_committer_free(m.committer, bw_now() + 20 * BW_MS);
	cr_assert_eq(notes.n, 1);
	cr_assert(item.err == -BW_E_UNKNOWN || item.err == -BW_E_UNREACHABLE, "%d", item.err);
	cr_assert_eq(atomic_load(&sends), 1);
	bw_head_free(m.head);
	bw_store_free(m.store);
}

static atomic_bool slept, goes_on;

/* An index node comes before the root that names it. */
static bool sleep_at_nodes(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (op->kind != BW_OP_PUT || !strstr(op->key, "/index/"))
		return false;
	atomic_store(&slept, true);
	while (!atomic_load(&goes_on))
		bw_sleep(BW_MS);
	return false;
}

static bool is_none(const struct bw_op *op)
{
	(void)op;
	return false;
}

/* S5: what was not sent when the time was over is not in doubt. */
Test(committer, free_without_time_doubts_nothing_that_was_not_sent)
{
	enum { N = BW_TAIL_FOLD };
	struct noted *items = calloc(N, sizeof(*items));
	struct notes notes;
	struct bw_test_mount m;
	struct bw_root *r;

	mount_open(&m, is_none);
	notes_init(&notes, m.head);
	take(m.committer, "q", 1, 0);
	atomic_store(&tap->on_submit, sleep_at_nodes);
	for (unsigned i = 0; i < N; i++) {
		items[i] = (struct noted){.item = {.change = append(m.committer, "q", 1, i), .done = note},
					  .notes = &notes};
		bw_committer_push(m.committer, &items[i].item);
	}
	while (!atomic_load(&slept))
		bw_sleep(BW_MS);
	bw_committer_stop(m.committer, bw_now());
	atomic_store(&goes_on, true);
	bw_committer_free(m.committer, bw_now());
	atomic_store(&tap->on_submit, NULL);
	cr_assert_eq(notes.n, N);
	cr_assert_eq(bw_head_refresh(m.head, BW_NEVER, &r), 0);
	for (unsigned i = 0; i < N; i++)
		cr_assert_eq(items[i].err, i < r->head ? 0 : -BW_E_STOPPING, "%u: %d", i, items[i].err);
	cr_assert_lt(r->head, N);
	bw_root_unref(r);
	bw_head_free(m.head);
	bw_store_free(m.store);
	free(items);
}

static atomic_bool away, full;

/* The answer to the first put of a root is lost, and then the store is away; or it wants fewer of them, for ever. */
static bool is_lost(const struct bw_op *op)
{
	bool was_away = atomic_load(&away), is_root = is_root_put(op);

	atomic_store(&fault_kind, was_away ? BW_FAULT_BEFORE : atomic_load(&full) ? BW_FAULT_THROTTLED : BW_FAULT_LOST_REPLY);
	if (is_root && !atomic_load(&full))
		atomic_store(&away, true);
	return was_away || is_root;
}

/* A command does not wait for ever to hear what came of its commit, and says whether it may have been made. */
Test(committer, sync_has_a_deadline, .timeout = 60)
{
	for (int sent = 0; sent < 2; sent++) {
		struct bw_txn_change result;
		struct bw_test_mount m;

		mount_open(&m, is_lost);
		take(m.committer, "q", sent ? 2 : 1, 0);
		atomic_store(&away, false);
		atomic_store(&full, !sent);
		atomic_store(&faults, 1000000);
		struct bw_change c = append(m.committer, "q", sent ? 2 : 1, 0);

		cr_expect_eq(bw_committer_sync(m.committer, &c, bw_now() + 300 * BW_MS, &result),
			     sent ? -BW_E_UNKNOWN : -BW_E_UNREACHABLE, "%d", result.err);
		cr_expect_eq(atomic_load(&away), sent);
		cr_expect_eq(bw_committer_sync(m.committer, &c, BW_NEVER, &result), -BW_E_UNREACHABLE, "it has ended");
		bw_committer_free(m.committer, bw_now());
		atomic_store(&faults, 0);
		bw_head_free(m.head);
		bw_store_free(m.store);
	}
}
