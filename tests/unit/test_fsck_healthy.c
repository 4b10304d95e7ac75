/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsck finds nothing wrong with 1,000 healthy streams: random histories of everything that writers,
 * jobs and collectors do and may leave behind, in any order, cut off anywhere.  What it says of the objects is held
 * against a count of our own.
 */
#include "manifest/fsck.h"

#include "manifest/apply_draft.h"
#include "manifest/open_search.h"
#include "store/base/rand.h"
#include "tests/support/seed.h"
#include "tests/support/stores.h"
#include "tests/support/whole.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAMS 1000u
#define PARTS 2u
#define UPLOADS 4096u

static const char *const producers[] = {"img", "tok", "web-2"};
static const char *const jobs[] = {"eval", "train"};

/* An object that was uploaded, as the test remembers it. */
struct upload {
	char producer[16];
	uint64_t epoch, seq, nonce, size, step;
	size_t state_len;
	bool committed, deleted, state_deleted;
};

struct story {
	struct bw_whole w;
	struct bw_rng rng;
	struct upload uploads[UPLOADS];
	unsigned uploads_n;
	uint64_t buried;	/* versions up to it are tombstones */
	uint8_t owner;
};

static uint64_t roll(struct story *s, uint64_t n)
{
	return bw_rng_below(&s->rng, n);
}

static const struct bw_producer_entry *held(struct story *s, const char **ret_name)
{
	*ret_name = producers[roll(s, 3)];
	const struct bw_producer_entry *p = bw_root_producer(s->w.root, *ret_name);

	return p && p->epoch ? p : NULL;
}

static struct upload *upload(struct story *s, const char *name, const struct bw_producer_entry *p, uint64_t seq,
			     struct bw_change *ret)
{
	static const size_t lens[] = {0, 0, 12, 40, 700, 1500};
	struct upload *u = &s->uploads[s->uploads_n++];

	cr_assert_leq(s->uploads_n, UPLOADS);
	*u = (struct upload){.state_len = lens[roll(s, 6)]};
	*ret = bw_whole_upload(&s->w, name, p->owner[0], p->epoch, seq, u->state_len);
	snprintf(u->producer, sizeof(u->producer), "%s", name);
	u->epoch = p->epoch;
	u->seq = seq;
	u->nonce = ret->nonce;
	u->size = ret->size;
	return u;
}

static void appends(struct story *s, uint32_t n)
{
	struct bw_change changes[BW_APPENDS_MAX];
	const char *name;
	const struct bw_producer_entry *p = held(s, &name);

	if (!p || s->w.root->sealed || s->uploads_n + n > UPLOADS)
		return;
	for (uint32_t i = 0; i < n; i++) {
		struct upload *u = upload(s, name, p, p->next + i, &changes[i]);

		u->committed = true;
		u->step = s->w.root->head + i;
	}
	bw_whole_commit(&s->w, changes, n);
	for (uint32_t i = 0; i < n; i++)
		bw_change_done(&changes[i]);
}

/* Uploaded and never committed: the mount died, was fenced, or is still about to. */
static void lose(struct story *s)
{
	struct bw_change c;
	const char *name;
	const struct bw_producer_entry *p = held(s, &name);

	if (!p || s->uploads_n == UPLOADS)
		return;
	upload(s, name, p, p->next + roll(s, 3), &c);
	bw_change_done(&c);
}

static void commit_one(struct story *s, struct bw_change c)
{
	if (!bw_change_check(&s->w.stream, s->w.root, &c))
		bw_whole_commit(&s->w, &c, 1);
}

static void take(struct story *s)
{
	s->owner = (uint8_t)(s->owner % 200 + 1);
	commit_one(s, bw_test_fence(producers[roll(s, 3)], s->owner));
}

static void mark(struct story *s)
{
	uint64_t first = s->w.root->first, head = s->w.root->head;

	commit_one(s, bw_test_change(BW_CHANGE_JOB, jobs[roll(s, 2)]));
	for (int i = 0; i < 3; i++)
		commit_one(s, bw_test_step(BW_CHANGE_MARK, jobs[roll(s, 2)], first + roll(s, head - first + 1)));
	if (roll(s, 2))
		commit_one(s, bw_test_step(BW_CHANGE_UNMARK, jobs[roll(s, 2)], first + roll(s, head - first + 1)));
}

/* Lets go of the oldest markers, so that a trim has something to do. */
static void release(struct story *s)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct bw_job *j = bw_root_job(s->w.root, jobs[i]);

		if (j && j->markers_n > 2)
			commit_one(s, bw_test_step(BW_CHANGE_UNMARK, jobs[i], j->markers[0].step));
	}
	commit_one(s, bw_test_change(BW_CHANGE_TRIM, ""));
}

static void delete_state(struct story *s, struct upload *u)
{
	const struct bw_producer_entry *p = bw_root_producer(s->w.root, u->producer);
	char key[BW_KEY_MAX + 1];

	if (u->state_len <= BW_STATE_INLINE_MAX || u->state_deleted || (p->has_state && p->state_nonce == u->nonce) ||
	    u->seq + 1 >= p->next)
		return;
	bw_key_state(&s->w.stream, u->producer, u->epoch, u->seq, u->nonce, key);
	bw_whole_delete(&s->w, key);
	u->state_deleted = true;
}

/* A collector: deletes objects of reclaimed steps, ascending, and may die on the way. */
static void sweep(struct story *s, bool whole)
{
	uint64_t first = s->w.root->first, until = whole ? first : s->w.root->swept + roll(s, first + 1);
	char key[BW_KEY_MAX + 1];

	for (unsigned i = 0; i < s->uploads_n; i++) {
		struct upload *u = &s->uploads[i];

		if (!u->committed || u->deleted || u->step >= first || u->step >= until)
			continue;
		bw_key_data(&s->w.stream, u->producer, u->epoch, u->seq, u->nonce, key);
		bw_whole_delete(&s->w, key);
		u->deleted = true;
		delete_state(s, u);
	}
	if (whole)
		commit_one(s, bw_test_step(BW_CHANGE_SWEEP, "", first));
}

/* Nodes below swept. */
static void delete_nodes(struct story *s)
{
	char prefix[BW_KEY_MAX + 1];
	struct bw_op op;

	bw_key_prefix(&s->w.stream, BW_KEY_NODE, prefix);
	bw_op_list(&op, prefix, "", BW_LIST_PAGE_MAX);
	cr_assert_eq(bw_store_sync(s->w.store, &op), BW_OK);
	for (size_t i = 0; i < op.listing->n; i++)
		if (bw_key_parse(&s->w.stream, op.listing->items[i].key).last < s->w.root->swept)
			bw_whole_delete(&s->w, op.listing->items[i].key);
	bw_op_done(&op);
}

static void bury(struct story *s)
{
	uint64_t newest = s->w.root->version;

	for (uint64_t n = roll(s, 8); n && s->buried + 1 < newest; n--)
		bw_test_bury(s->w.store, &s->w.stream, ++s->buried);
}

static void hint(struct story *s)
{
	char key[BW_KEY_MAX + 1], text[BW_HINT_MAX];
	size_t len = bw_hint_print(1 + roll(s, s->w.root->version), text);

	bw_key_hint(&s->w.stream, key);
	bw_whole_put(&s->w, key, text, len);
}

static void event(struct story *s)
{
	switch (roll(s, 16)) {
	case 0:
	case 1:
		take(s);
		break;
	case 2:
		lose(s);
		break;
	case 3:
	case 4:
		mark(s);
		break;
	case 5:
	case 6:
		release(s);
		break;
	case 7:
		sweep(s, true);
		break;
	case 8:
		sweep(s, false);
		break;
	case 9:
		delete_nodes(s);
		break;
	case 10:
		bury(s);
		break;
	case 11:
		hint(s);
		break;
	default:
		appends(s, 1 + (uint32_t)roll(s, 6));
	}
}

/* ---- Judging ---------------------------------------------------------------------------------- */

/* Of data objects; what is reclaimed and what is lost is told apart only as well as fsck can. */
static void expected(struct story *s, struct bw_fsck_sum *live, struct bw_fsck_sum *gone, struct bw_fsck_sum *flight)
{
	for (unsigned i = 0; i < s->uploads_n; i++) {
		const struct upload *u = &s->uploads[i];
		const struct bw_producer_entry *p = bw_root_producer(s->w.root, u->producer);
		struct bw_fsck_sum *to = gone;

		if (u->deleted)
			continue;
		if (u->committed && u->step >= s->w.root->first)
			to = live;
		else if (u->epoch == p->epoch && u->seq >= p->next)
			to = flight;
		to->objects++;
		to->bytes += u->size;
	}
}

static void check(struct story *s, uint64_t seed)
{
	struct bw_fsck_options o = {.data = roll(&(struct story){.rng = {seed}}, 4) == 0,
				    .request_ns = 60 * BW_SEC,
				    .table_bytes = seed % 5 ? 0 : 4096};
	struct bw_fsck_sum live = {0}, gone = {0}, flight = {0};
	struct bw_fsck_report r;

	bw_whole_fsck(s->w.store, &o, &r);
	bw_whole_tell(&r);
	cr_assert_eq(r.findings_n, 0, "stream of seed %" PRIu64, seed);
	cr_assert_eq(r.steps, s->w.root->head - s->w.root->first, "seed %" PRIu64, seed);
	cr_assert_eq(r.versions + r.tombstones, s->w.root->version, "seed %" PRIu64, seed);
	cr_assert_eq(r.tombstones, s->buried, "seed %" PRIu64, seed);
	expected(s, &live, &gone, &flight);
	const struct bw_fsck_sum *sums = r.sums[BW_KEY_DATA];

	cr_assert_eq(sums[BW_FSCK_LIVE].objects, live.objects, "seed %" PRIu64, seed);
	cr_assert_eq(sums[BW_FSCK_LIVE].bytes, live.bytes, "seed %" PRIu64, seed);
	cr_assert_eq(sums[BW_FSCK_FLIGHT].objects, flight.objects, "seed %" PRIu64, seed);
	cr_assert_eq(sums[BW_FSCK_RECLAIMED].objects + sums[BW_FSCK_LOST].objects, gone.objects,
		     "seed %" PRIu64, seed);
	cr_assert_eq(sums[BW_FSCK_RECLAIMED].bytes + sums[BW_FSCK_LOST].bytes, gone.bytes, "seed %" PRIu64,
		     seed);
	if (o.data)
		cr_assert_eq(r.blocks, r.steps * BW_WHOLE_RANKS, "seed %" PRIu64, seed);
	bw_fsck_report_done(&r);
}

/* One in twenty has so many steps that they leave the root. */
static void tell_story(uint64_t seed, struct story *s)
{
	struct bw_store *mem;

	memset(s, 0, sizeof(*s));
	bw_rng_init(&s->rng, seed);
	cr_assert_eq(bw_store_mem_new(&mem), 0);
	bw_whole_init(&s->w, mem);
	uint64_t events = roll(s, 40), folds = roll(s, 20) == 0 ? 3 : 0;

	for (uint64_t i = 0; i < events; i++) {
		event(s);
		if (folds && roll(s, 10) == 0) {
			take(s);
			appends(s, 128 + (uint32_t)roll(s, 128));
			folds--;
		}
	}
	if (roll(s, 10) == 0)
		commit_one(s, bw_test_change(BW_CHANGE_SEAL, ""));
	check(s, seed);
	bw_store_free(mem);
	bw_whole_done(&s->w);
}

static void tell_some(unsigned part)
{
	struct story *s = malloc(sizeof(*s));
	uint64_t seed = bw_test_seed();

	cr_assert(s);
	fprintf(stderr, "BW_SEED=%" PRIu64 "\n", seed);
	for (unsigned i = part; i < STREAMS; i += PARTS)
		tell_story(seed + i, s);
	free(s);
}

Test(fsck_healthy, nothing_is_wrong_1)
{
	tell_some(0);
}

Test(fsck_healthy, nothing_is_wrong_2)
{
	tell_some(1);
}
