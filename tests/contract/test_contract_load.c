/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of store/store.h that only show with many requests under way at once. */
#include "store/base/rand.h"
#include "store/base/sync.h"
#include "tests/contract/each_store.h"
#include "tests/support/seed.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Those who are waited for. */
struct party {
	struct bw_mutex lock;
	struct bw_cond cond;
	unsigned left;
};

static void party_init(struct party *p, unsigned n)
{
	bw_mutex_init(&p->lock, BW_RANK_LEAF);
	bw_cond_init(&p->cond);
	p->left = n;
}

static void party_leave(struct party *p)
{
	BW_LOCK_SCOPE(&p->lock);
	if (--p->left == 0)
		bw_cond_broadcast(&p->cond);
}

static void party_wait(struct party *p)
{
	bw_lock(&p->lock);
	while (p->left)
		bw_cond_wait(&p->cond, &p->lock);
	bw_unlock(&p->lock);
}

/* A put with bytes of its own; its ctx is the party. */
struct flight {
	struct bw_op op;
	struct bw_bytes_body body;
	char bytes[64];
	atomic_uint done;
};

static void flight_put(struct flight *f, const char *key, unsigned n, bool if_absent)
{
	/* Of unequal lengths, so that no mixture of two looks like one. */
	int len = snprintf(f->bytes, sizeof(f->bytes), "flight %u %.*s", n, (int)(n % 32),
			   "................................");

	bw_bytes_body_init(&f->body, f->bytes, (size_t)len);
	bw_op_put(&f->op, key, &f->body.body, if_absent);
	atomic_init(&f->done, 0);
}

static void flight_done(struct bw_op *op)
{
	struct flight *f = (struct flight *)op;

	atomic_fetch_add(&f->done, 1);
	party_leave(op->ctx);
}

/* ---- Put-if-absent -------------------------------------------------------------------------- */

static void assert_one_winner(struct bw_test_store *t, const char *key, struct flight *f, unsigned n)
{
	unsigned winners = 0;

	for (unsigned i = 0; i < n; i++) {
		if (f[i].op.outcome == BW_OK) {
			winners++;
			cr_assert(bw_test_holds(t->s, key, f[i].bytes, f[i].body.body.size),
				  "%s: the object is not the winner's", t->name);
		} else {
			expect(t, f[i].op.outcome, BW_EXISTS);
		}
	}
	cr_assert_eq(winners, 1, "%s: %u winners", t->name, winners);
}

EACH_STORE(n_way_race_has_one_winner)
{
	enum { ROUNDS = 12, N = 16 };
	static struct flight f[N];
	char key[64];

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct party p;
		party_init(&p, N);
		/* Into directories that are there, and into such that all of them must make. */
		snprintf(key, sizeof(key), round % 2 ? "race/%u" : "race%u/a/b/c", round);
		for (unsigned i = 0; i < N; i++) {
			flight_put(&f[i], key, i + round, true);
			f[i].op.done = flight_done;
			f[i].op.ctx = &p;
		}
		for (unsigned i = 0; i < N; i++)
			bw_store_submit(s, &f[i].op);
		party_wait(&p);
		assert_one_winner(t, key, f, N);
	}
}

struct racer {
	pthread_t thread;
	struct bw_store *s;
	struct party *start;
	struct flight f;
};

static void *race(void *arg)
{
	struct racer *r = arg;

	party_leave(r->start);
	party_wait(r->start);
	bw_store_sync(r->s, &r->f.op);
	return NULL;
}

EACH_STORE(n_way_race_of_threads_has_one_winner)
{
	enum { ROUNDS = 5, N = 16 };
	static struct racer r[N];
	static struct flight f[N];
	char key[64];

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct party start;
		party_init(&start, N);
		snprintf(key, sizeof(key), "race%u/k", round);
		for (unsigned i = 0; i < N; i++) {
			r[i].s = s;
			r[i].start = &start;
			flight_put(&r[i].f, key, i, true);
			cr_assert_eq(bw_thread_start(&r[i].thread, "racer", race, &r[i]), 0);
		}
		for (unsigned i = 0; i < N; i++) {
			pthread_join(r[i].thread, NULL);
			f[i] = r[i].f;
		}
		assert_one_winner(t, key, f, N);
	}
}

/* ---- done() --------------------------------------------------------------------------------- */

static _Thread_local bool in_submit;
static _Thread_local unsigned done_inside_submit;

static void note_done(struct bw_op *op)
{
	if (in_submit)
		done_inside_submit++;
	flight_done(op);
}

/* Every kind, with every end that a request can come to by itself. */
static void fill_request(struct flight *f, unsigned i)
{
	char key[64];

	snprintf(key, sizeof(key), "once/%u", i % 7);
	flight_put(f, key, i, i % 2);
	switch (i % 5) {
	case 0:
		bw_op_get_all(&f->op, key, 1000);
		break;
	case 1:
		bw_op_delete(&f->op, key);
		break;
	case 2:
		bw_op_list(&f->op, "once/", "", 3);
		break;
	}
	if (i % 11 == 0)
		f->op.deadline_ns = bw_now() - 1;
	f->op.prio = (enum bw_prio)(i % 4);
	f->op.done = note_done;
}

EACH_STORE(done_exactly_once_never_inside_submit)
{
	enum { N = 300 };
	static struct flight f[N];
	struct party p;

	party_init(&p, N);
	for (unsigned i = 0; i < N; i++) {
		fill_request(&f[i], i);
		f[i].op.ctx = &p;
		in_submit = true;
		bw_store_submit(s, &f[i].op);
		in_submit = false;
	}
	party_wait(&p);
	/* Whatever were to come a second time has come once free() is back. */
	bw_store_free(s);
	t->s = NULL;
	cr_assert_eq(done_inside_submit, 0, "%s: done() ran inside submit", t->name);
	for (unsigned i = 0; i < N; i++) {
		cr_assert_eq(atomic_load(&f[i].done), 1, "%s: done() ran %u times", t->name,
			     atomic_load(&f[i].done));
		cr_assert_eq(f[i].op.ctx, &p, "%s: ctx was not left alone", t->name);
		cr_assert_eq(f[i].op.done, note_done, "%s: done was not put back", t->name);
		bw_op_done(&f[i].op);
	}
}

struct relay {
	struct bw_store *s;
	struct party *p;
	unsigned left;
	atomic_uint *count;
};

/* Frees the op it is called with and sends another. */
static void pass_on(struct bw_op *op)
{
	struct relay *r = op->ctx;
	bool was_put = op->kind == BW_OP_PUT;

	atomic_fetch_add(r->count, 1);
	bw_op_done(op);
	free(op);
	if (!r->left--) {
		party_leave(r->p);
		return;
	}
	struct flight *next = malloc(sizeof(*next));

	flight_put(next, "relay/key", r->left, false);
	if (was_put)
		bw_op_get_all(&next->op, "relay/key", 1000);
	/* Each before the last, so that whoever keeps time must look at every one. */
	next->op.deadline_ns = bw_now() + (60 + (int64_t)r->left) * BW_SEC;
	next->op.done = pass_on;
	next->op.ctx = r;
	bw_store_submit(r->s, &next->op);
}

static void relay_start(struct relay *r)
{
	struct flight *f = malloc(sizeof(*f));

	flight_put(f, "relay/key", 0, false);
	f->op.done = pass_on;
	f->op.ctx = r;
	bw_store_submit(r->s, &f->op);
}

EACH_STORE(done_may_submit_and_free)
{
	enum { N = 4, LENGTH = 20 };
	struct relay r[N];
	atomic_uint count = 0;
	struct party p;

	party_init(&p, N);
	for (int i = 0; i < N; i++) {
		r[i] = (struct relay){.s = s, .p = &p, .left = LENGTH, .count = &count};
		relay_start(&r[i]);
	}
	party_wait(&p);
	cr_assert_eq(atomic_load(&count), N * (LENGTH + 1));
}

/* ---- free() and cancel ---------------------------------------------------------------------- */

EACH_STORE(free_waits_for_ops_lent)
{
	enum { N = 100 };
	static struct flight f[N];
	struct party p;
	char key[64];

	party_init(&p, N);
	for (unsigned i = 0; i < N; i++) {
		snprintf(key, sizeof(key), "lent/%u", i);
		flight_put(&f[i], key, i, true);
		f[i].op.done = flight_done;
		f[i].op.ctx = &p;
		bw_store_submit(s, &f[i].op);
	}
	bw_store_free(s);
	t->s = NULL;
	for (unsigned i = 0; i < N; i++) {
		cr_assert_eq(atomic_load(&f[i].done), 1, "%s: free() did not wait", t->name);
		expect(t, f[i].op.outcome, BW_OK);
	}
}

EACH_STORE(done_may_submit_while_the_store_is_freed)
{
	enum { N = 4, LENGTH = 10 };
	struct relay r[N];
	atomic_uint count = 0;
	struct party p;

	party_init(&p, N);
	for (int i = 0; i < N; i++) {
		r[i] = (struct relay){.s = s, .p = &p, .left = LENGTH, .count = &count};
		relay_start(&r[i]);
	}
	bw_store_free(s);
	t->s = NULL;
	cr_assert_eq(atomic_load(&count), N * (LENGTH + 1), "%s: %u of %d came back", t->name,
		     atomic_load(&count), N * (LENGTH + 1));
}

/* Cancelling is legal while the op is lent; this lock is how the canceller knows. */
struct canceller {
	struct bw_mutex lock;
	bool lent;
	struct party *p;
};

static void cancelled_done(struct bw_op *op)
{
	struct flight *f = (struct flight *)op;
	struct canceller *c = op->ctx;

	bw_lock(&c->lock);
	c->lent = false;
	bw_unlock(&c->lock);
	atomic_fetch_add(&f->done, 1);
	party_leave(c->p);
}

EACH_STORE(cancel_still_completes)
{
	enum { N = 120 };
	static struct flight f[N];
	static struct canceller c[N];
	struct party p;
	char key[64];

	party_init(&p, N);
	for (unsigned i = 0; i < N; i++) {
		snprintf(key, sizeof(key), "cancel/%u", i);
		flight_put(&f[i], key, i, true);
		bw_mutex_init(&c[i].lock, BW_RANK_CACHE);
		c[i].lent = true;
		c[i].p = &p;
		f[i].op.prio = (enum bw_prio)(i % 4);
		f[i].op.done = cancelled_done;
		f[i].op.ctx = &c[i];
		bw_store_submit(s, &f[i].op);
	}
	for (unsigned i = N; i-- > 0;) {
		bw_lock(&c[i].lock);
		if (c[i].lent)
			bw_store_cancel(s, &f[i].op);
		bw_unlock(&c[i].lock);
	}
	party_wait(&p);
	for (unsigned i = 0; i < N; i++) {
		bool there = f[i].op.outcome == BW_OK;
		cr_assert_eq(atomic_load(&f[i].done), 1);
		if (f[i].op.outcome == BW_UNKNOWN)	/* it was under way */
			continue;
		expect(t, there ? BW_CANCELLED : f[i].op.outcome, BW_CANCELLED);
		cr_assert_eq(bw_test_holds(s, f[i].op.key, f[i].bytes, f[i].body.body.size), there,
			     "%s: %s ended %s", t->name, f[i].op.key,
			     bw_outcome_name(f[i].op.outcome));
	}
}

/* ---- Readers beside writers ----------------------------------------------------------------- */

struct writer {
	pthread_t thread;
	struct bw_store *s;
	atomic_bool stop;
};

#define MANY_BYTES 40000

/* Objects of one byte repeated, of a length that tells which. */
static void *rewrite(void *arg)
{
	struct writer *w = arg;
	uint8_t *bytes = malloc(MANY_BYTES);

	for (unsigned i = 0; !atomic_load(&w->stop) && i < 400; i++) {
		memset(bytes, (int)(i % 200), MANY_BYTES);
		bw_test_put(w->s, "whole/object", bytes, MANY_BYTES - i % 200, false);
	}
	free(bytes);
	return NULL;
}

EACH_STORE(readers_see_whole_objects)
{
	struct writer w = {.s = s};
	struct bw_blob *blob;

	expect(t, bw_test_put(s, "whole/object", "", 0, false), BW_OK);
	cr_assert_eq(bw_thread_start(&w.thread, "writer", rewrite, &w), 0);
	for (int i = 0; i < 100; i++) {
		expect(t, bw_test_get(s, "whole/object", &blob), BW_OK);
		for (size_t k = 0; k < blob->len; k++)
			cr_assert_eq(blob->bytes[k], MANY_BYTES - blob->len,
				     "%s: two puts in one object", t->name);
		bw_blob_unref(blob);
	}
	atomic_store(&w.stop, true);
	pthread_join(w.thread, NULL);
}

static void *write_new(void *arg)
{
	struct writer *w = arg;
	char key[64];

	for (unsigned i = 0; !atomic_load(&w->stop) && i < 400; i++) {
		snprintf(key, sizeof(key), "new/%06u", i);
		bw_test_put(w->s, key, key, strlen(key), true);
	}
	return NULL;
}

EACH_STORE(list_sees_whole_objects_only)
{
	struct writer w = {.s = s};
	struct bw_op op;

	cr_assert_eq(bw_thread_start(&w.thread, "writer", write_new, &w), 0);
	for (size_t seen = 0, i = 0; i < 60; i++) {
		bw_op_list(&op, "", "", 1000);
		expect(t, bw_store_sync(s, &op), BW_OK);
		cr_assert_geq(op.listing->n, seen, "%s: a key is gone", t->name);
		seen = op.listing->n;
		for (size_t k = 0; k < seen; k++) {
			char key[64];
			snprintf(key, sizeof(key), "new/%06zu", k);
			cr_assert_str_eq(op.listing->items[k].key, key);
			cr_assert_eq(op.listing->items[k].size, strlen(key));
		}
		bw_op_done(&op);
	}
	atomic_store(&w.stop, true);
	pthread_join(w.thread, NULL);
}

/* Fills and empties one prefix that others fill and empty too. */
struct churner {
	pthread_t thread;
	struct bw_store *s;
	unsigned id;
	bool may_fail;
	enum bw_outcome wrong;	/* the first that was not OK */
};

static void *churn(void *arg)
{
	struct churner *c = arg;
	char key[64];

	for (unsigned i = 0; i < 40 && c->wrong == BW_OK; i++) {
		snprintf(key, sizeof(key), i % 2 ? "x/y/z/%u" : "x/%u", c->id);
		c->wrong = bw_test_put(c->s, key, key, strlen(key), i % 4 < 2);
		/* Versity's folders come and go with their objects, and a put that meets that fails. */
		for (int again = 0; c->may_fail && c->wrong == BW_UNKNOWN && again < 100; again++)
			c->wrong = bw_test_put(c->s, key, key, strlen(key), false);
		if (c->wrong == BW_OK && !bw_test_holds(c->s, key, key, strlen(key)))
			c->wrong = BW_CORRUPT;
		if (c->wrong == BW_OK)
			c->wrong = bw_test_delete(c->s, key);
	}
	return NULL;
}

EACH_STORE(puts_do_not_mind_deletes_beside_them)
{
	enum { N = 6 };
	struct churner c[N];
	struct bw_op op;

	for (unsigned i = 0; i < N; i++) {
		c[i] = (struct churner){
			.s = s, .id = i, .may_fail = strncmp(t->name, "versity", 7) == 0};
		cr_assert_eq(bw_thread_start(&c[i].thread, "churner", churn, &c[i]), 0);
	}
	for (unsigned i = 0; i < N; i++) {
		pthread_join(c[i].thread, NULL);
		expect(t, c[i].wrong, BW_OK);
	}
	bw_op_list(&op, "", "", 1);
	expect(t, bw_store_sync(s, &op), BW_OK);
	cr_assert_eq(op.listing->n, 0);
	bw_op_done(&op);
}

/* ---- A model beside it ---------------------------------------------------------------------- */

#define MODEL_KEYS 12

/* One client with keys of its own, and what it knows to be in them: a number, or -1. */
struct client {
	pthread_t thread;
	struct bw_store *s;
	struct bw_rng rng;
	unsigned id;
	int value[MODEL_KEYS];
	unsigned shared_won;
	char wrong[128];	/* the first thing that went wrong */
};

static void client_key(const struct client *c, unsigned k, char key[64])
{
	snprintf(key, 64, k % 3 ? "c%u/%c/k" : "c%u-%c", c->id, 'a' + (int)k);
}

static size_t value_bytes(int value, char bytes[256])
{
	return (size_t)snprintf(bytes, 256, "value %d%*s", value, value % 97, "");
}

static void wrong(struct client *c, const char *what, const char *key, enum bw_outcome o)
{
	if (!c->wrong[0])
		snprintf(c->wrong, sizeof(c->wrong), "%s of %s: %s", what, key, bw_outcome_name(o));
}

static void client_put(struct client *c, unsigned k, bool if_absent)
{
	char key[64], bytes[256];
	int value = (int)bw_rng_below(&c->rng, 10000);
	bool refused = if_absent && c->value[k] >= 0;

	client_key(c, k, key);
	enum bw_outcome o = bw_test_put(c->s, key, bytes, value_bytes(value, bytes), if_absent);
	if (o != (refused ? BW_EXISTS : BW_OK))
		wrong(c, "put", key, o);
	if (!refused)
		c->value[k] = value;
}

static void client_get(struct client *c, unsigned k)
{
	char key[64], bytes[256];
	struct bw_op op;

	client_key(c, k, key);
	size_t len = c->value[k] < 0 ? 0 : value_bytes(c->value[k], bytes);
	size_t from = len ? bw_rng_below(&c->rng, len) : 0;

	bw_op_get(&op, key, from, len - from);
	enum bw_outcome o = bw_store_sync(c->s, &op);
	if (o != (c->value[k] < 0 ? BW_NOT_FOUND : BW_OK))
		wrong(c, "get", key, o);
	else if (o == BW_OK && memcmp(op.blob->bytes, bytes + from, len - from) != 0)
		wrong(c, "bytes", key, o);
	bw_op_done(&op);
}

static void client_delete(struct client *c, unsigned k)
{
	char key[64];

	client_key(c, k, key);
	enum bw_outcome o = bw_test_delete(c->s, key);
	/* A store may not tell that there was nothing. */
	if (o != BW_OK && (o != BW_NOT_FOUND || c->value[k] >= 0))
		wrong(c, "delete", key, o);
	c->value[k] = -1;
}

static void client_list(struct client *c)
{
	char prefix[64], key[64];
	unsigned wanted = 0, listed = 0;
	struct bw_op op;

	for (unsigned k = 0; k < MODEL_KEYS; k++)
		wanted += k % 3 && c->value[k] >= 0;
	snprintf(prefix, sizeof(prefix), "c%u/", c->id);
	bw_op_list(&op, prefix, "", 100);
	enum bw_outcome o = bw_store_sync(c->s, &op);
	for (size_t i = 0; o == BW_OK && i < op.listing->n; i++) {
		for (unsigned k = 0; k < MODEL_KEYS; k++) {
			client_key(c, k, key);
			listed += c->value[k] >= 0 && strcmp(op.listing->items[i].key, key) == 0;
		}
	}
	if (o != BW_OK || listed != wanted || op.listing->n != wanted)
		wrong(c, "list", prefix, o);
	bw_op_done(&op);
}

static void *client_run(void *arg)
{
	struct client *c = arg;
	char key[64];

	for (int i = 0; i < 120 && !c->wrong[0]; i++) {
		unsigned k = (unsigned)bw_rng_below(&c->rng, MODEL_KEYS);
		switch (bw_rng_below(&c->rng, 8)) {
		case 0:
		case 1:
			client_put(c, k, true);
			break;
		case 2:
			client_put(c, k, false);
			break;
		case 3:
			client_delete(c, k);
			break;
		case 4:
			client_list(c);
			break;
		case 5:
			snprintf(key, sizeof(key), "shared/%d", i / 8);
			c->shared_won += bw_test_put(c->s, key, "", 0, true) == BW_OK;
			break;
		default:
			client_get(c, k);
		}
	}
	return NULL;
}

EACH_STORE(concurrent_mixed_load_agrees_with_a_model)
{
	enum { N = 4 };
	static struct client c[N];
	uint64_t seed = bw_test_seed();
	unsigned keys = 0;
	struct bw_op op;

	for (unsigned i = 0; i < N; i++) {
		c[i].s = s;
		c[i].id = i;
		bw_rng_init(&c[i].rng, seed + i);
		memset(c[i].value, -1, sizeof(c[i].value));
		cr_assert_eq(bw_thread_start(&c[i].thread, "client", client_run, &c[i]), 0);
	}
	for (unsigned i = 0; i < N; i++) {
		pthread_join(c[i].thread, NULL);
		cr_assert_eq(c[i].wrong[0], 0, "%s, BW_SEED=%lu: %s", t->name, (unsigned long)seed,
			     c[i].wrong);
		keys += c[i].shared_won;
		for (unsigned k = 0; k < MODEL_KEYS; k++)
			keys += c[i].value[k] >= 0;
	}
	bw_op_list(&op, "", "", 1000);
	expect(t, bw_store_sync(s, &op), BW_OK);
	cr_assert_eq(op.listing->n, keys, "%s, BW_SEED=%lu: %zu keys, not %u", t->name,
		     (unsigned long)seed, op.listing->n, keys);
	bw_op_done(&op);
}
