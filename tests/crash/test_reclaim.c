/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collectors that stop before, after and in the middle of each of their requests, and many at once beside writers:
 * nothing that may be read goes (I9), and no garbage is left when a later pass comes to its end (I13, C4).
 */
#include "store/base/rand.h"
#include "tests/support/reclaim_world.h"
#include "tests/support/seed.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define HOUR INT64_C(3600000)
#define DAY (24 * HOUR)

static const struct bw_reclaim_options whole = {.walk = true};

static void whole_again(struct bw_world *w)
{
	for (int i = 0; i < 4; i++) {
		w->now_ms += 2 * DAY;
		struct bw_reclaim_report r = bw_world_pass(w, &whole);

		cr_assert_eq(r.err, 0);
	}
	const char *missing = bw_world_missing(w, NULL), *garbage = bw_world_garbage(w);

	cr_assert_null(missing, "%s", missing);
	cr_assert_null(garbage, "%s", garbage);
	cr_assert_eq(w->root->swept, w->root->first);
	cr_assert_eq(bw_world_count(w, BW_KEY_ROOT), w->root->version, "a name is free");
	for (size_t i = 0; i < w->n; i++) {
		struct bw_key k = bw_key_parse(&w->stream, w->objects[i].key);

		cr_assert(k.kind != BW_KEY_ROOT || k.version == w->root->version ||
			  w->objects[i].blob->len <= BW_TOMBSTONE_MAX,
			  "version %lu of %lu is no tombstone", (unsigned long)k.version,
			  (unsigned long)w->root->version);
	}
}

/* ---- Everywhere ----------------------------------------------------------------------------------- */

enum end { BEFORE, HALF, AFTER };

/* Serves a pass; at request *left it ends as `how` says.  True: it came to its own end. */
static bool pass_until(struct bw_world *w, uint64_t *left, enum end how)
{
	struct bw_test_collector c;
	bool alive = true;

	bw_test_collector_init(&c, w, &whole);
	while (alive && bw_test_collector_ask(&c) != BW_RECLAIM_DONE) {
		alive = *left > 0;
		if (alive)
			--*left;
		if (alive || how == AFTER)
			bw_test_collector_serve(&c);
		else if (how == HALF)
			bw_test_collector_serve_half(&c);
	}
	bw_test_collector_done(&c);
	return alive;
}

/* A pass that trims and a pass that deletes and buries; false: one of them was stopped. */
static bool passes_until(struct bw_world *w, uint64_t nth, enum end how)
{
	w->now_ms += 2 * HOUR;
	if (!pass_until(w, &nth, how))
		return false;
	w->now_ms += 2 * DAY;
	return pass_until(w, &nth, how);
}

/* What steps are made of is found by the index, not only by the walk: nodes outlive what they name. */
static void steps_are_found_again(const struct bw_world *stopped)
{
	struct bw_reclaim_options steps_only = {.walk = false};
	struct bw_world w;

	bw_world_copy(&w, stopped);
	for (int i = 0; i < 3; i++) {
		w.now_ms += 2 * DAY;
		cr_assert_eq(bw_world_pass(&w, &steps_only).err, 0);
	}
	size_t data = bw_world_count(&w, BW_KEY_DATA);

	cr_assert_leq(data, w.root->head - w.root->first + 4, "%lu data objects", (unsigned long)data);
	bw_world_done(&w);
}

static uint64_t everywhere(enum end how)
{
	const uint64_t markers[] = {300, 450};
	struct bw_world base, w;
	uint64_t nth = 0;
	bool alive = false;

	bw_world_grow(&base);
	bw_world_job(&base, "j", markers, 2);
	for (; !alive; nth++) {
		bw_world_copy(&w, &base);
		alive = passes_until(&w, nth, how);
		const char *missing = bw_world_missing(&w, NULL);

		cr_assert_null(missing, "stopped at %lu: %s", (unsigned long)nth, missing);
		steps_are_found_again(&w);
		whole_again(&w);
		cr_assert_eq(w.root->first, 300);
		bw_world_done(&w);
	}
	bw_world_done(&base);
	return nth - 1;
}

Test(crash_reclaim, c4_stops_before_each_request)
{
	cr_assert_geq(everywhere(BEFORE), 40);
}

Test(crash_reclaim, c4_stops_after_each_request)
{
	cr_assert_geq(everywhere(AFTER), 40);
}

Test(crash_reclaim, c4_stops_in_the_middle_of_each_delete)
{
	cr_assert_geq(everywhere(HALF), 40);
}

/* ---- Many at once, beside writers and jobs -------------------------------------------------------- */

#define COLLECTORS 3
#define PRODUCERS 2
#define READERS 64
#define EVENTS 500

struct reader {
	struct bw_root *root;
	int64_t until_ms;	/* it may be in use until then */
};

struct town {
	struct bw_world w;
	struct bw_rng rng;
	struct bw_test_collector c[COLLECTORS];
	bool up[COLLECTORS];
	struct reader readers[READERS];	/* roots superseded less than a grace ago */
	size_t readers_n;
	uint64_t version;		/* the newest that was looked at */
	uint64_t passes, restarts;
};

static uint64_t roll(struct town *t, uint64_t n)
{
	return bw_rng_below(&t->rng, n);
}

/* The root that was newest until now may be in use for a grace. */
static void note_reader(struct town *t, struct bw_root *was)
{
	if (t->w.root->version == was->version) {
		bw_root_unref(was);
		return;
	}
	if (t->readers_n == READERS) {
		bw_root_unref(t->readers[0].root);
		memmove(t->readers, t->readers + 1, (READERS - 1) * sizeof(*t->readers));
		t->readers_n--;
	}
	t->readers[t->readers_n++] = (struct reader){was, t->w.now_ms + HOUR};
}

static void forget_readers(struct town *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->readers_n; i++) {
		if (t->readers[i].until_ms > t->w.now_ms)
			t->readers[n++] = t->readers[i];
		else
			bw_root_unref(t->readers[i].root);
	}
	t->readers_n = n;
}

/* Two of the readers, and the newest. */
static void look(struct town *t, const char *after)
{
	const char *missing = bw_world_missing(&t->w, NULL);

	cr_assert_null(missing, "after %s: %s", after, missing);
	for (int i = 0; i < 2 && t->readers_n; i++) {
		struct bw_root *root = t->readers[i ? roll(t, t->readers_n) : 0].root;

		missing = bw_world_missing(&t->w, root);
		cr_assert_null(missing, "after %s: root %lu lacks %s", after,
			       (unsigned long)root->version, missing);
	}
}

static void produce(struct town *t)
{
	const char *names[PRODUCERS] = {"p", "q"};
	const char *name = names[roll(t, PRODUCERS)];
	const struct bw_producer_entry *e = bw_root_producer(&*t->w.root, name);
	uint8_t owner = (uint8_t)(1 + roll(t, 250));
	uint64_t nonce = bw_rng_next(&t->rng);

	if (!e || roll(t, 4) == 0) {
		bw_world_commit_one(&t->w, bw_test_fence(name, owner));
		return;
	}
	uint64_t epoch = e->epoch, next = e->next;

	owner = e->owner[0];
	if (roll(t, 3) == 0)
		bw_world_upload(&t->w, roll(t, 2) ? BW_KEY_DATA : BW_KEY_STATE, name, epoch, next, nonce);
	if (roll(t, 4))
		bw_world_append(&t->w, name, owner, epoch, next, 1 + (uint32_t)roll(t, 60),
				(uint32_t)roll(t, 3));
}

static void mark(struct town *t)
{
	const struct bw_root *r = t->w.root;
	const char *name = roll(t, 2) ? "j" : "k";
	const struct bw_job *j = bw_root_job(r, name);

	if (!j)
		bw_world_commit_one(&t->w, bw_test_change(BW_CHANGE_JOB, name));
	else if (j->markers_n > 3)
		bw_world_commit_one(&t->w, bw_test_step(BW_CHANGE_UNMARK, name, j->markers[0].step));
	else
		bw_world_commit_one(&t->w, bw_test_step(BW_CHANGE_MARK, name,
							r->head - roll(t, (r->head - r->first) / 3 + 1)));
}

static void collect(struct town *t)
{
	struct bw_reclaim_options o = {.walk = roll(t, 2), .force = roll(t, 2),
				       .memory = roll(t, 2) ? 0 : 4096};
	size_t i = roll(t, COLLECTORS);
	struct bw_test_collector *c = &t->c[i];

	if (t->up[i] && roll(t, 60) == 0) {
		bw_test_collector_done(c);
		t->up[i] = false;
		t->restarts++;
	}
	if (!t->up[i]) {
		bw_test_collector_init(c, &t->w, &o);
		t->up[i] = true;
	}
	if (roll(t, 10) == 0) {
		t->w.fault = roll(t, 2) ? BW_UNKNOWN : BW_THROTTLED;
		t->w.faults = 1;
		t->w.faulty_puts = roll(t, 2);
	}
	if (bw_test_collector_ask(c) != BW_RECLAIM_DONE) {
		bool deletes = c->want == BW_RECLAIM_DELETE;

		bw_test_collector_serve(c);
		if (deletes)
			look(t, "a delete");
		return;
	}
	const struct bw_reclaim_report *r = bw_reclaim_report(c->r);

	cr_assert(!r->err || r->err == -BW_E_UNREACHABLE || r->err == -BW_E_THROTTLED,
		  "error %d, %s", r->err, r->what);
	bw_test_collector_done(c);
	t->up[i] = false;
	t->passes++;
}

static void event(struct town *t)
{
	struct bw_root *was = bw_root_ref(t->w.root);
	uint64_t n = roll(t, 100);

	if (n < 8)
		produce(t);
	else if (n < 12)
		mark(t);
	else if (n < 20)
		t->w.now_ms += (int64_t)roll(t, (uint64_t)(n < 14 ? 2 * DAY : HOUR));
	else
		collect(t);
	note_reader(t, was);
	forget_readers(t);
}

static void run_town(uint64_t seed)
{
	struct town t = {.readers_n = 0};

	bw_rng_init(&t.rng, seed);
	bw_world_init(&t.w);
	for (int i = 0; i < EVENTS; i++)
		event(&t);
	for (int i = 0; i < COLLECTORS; i++)
		if (t.up[i])
			bw_test_collector_done(&t.c[i]);
	for (size_t i = 0; i < t.readers_n; i++)
		bw_root_unref(t.readers[i].root);
	t.w.faults = 0;
	whole_again(&t.w);
	bw_world_done(&t.w);
}

Test(crash_reclaim, c4_many_collectors_beside_writers_and_jobs)
{
	uint64_t seed = bw_test_seed();

	fprintf(stderr, "BW_SEED=%lu\n", (unsigned long)seed);
	for (uint64_t i = 0; i < 60; i++)
		run_town(seed + i);
}
