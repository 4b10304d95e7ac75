/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every store under a load of all kinds of requests, some cancelled, some with deadlines that pass,
 * some that the fault filter spoils.  Whatever happens, each request ends once, and an object is one
 * that somebody put.
 */
#include "store/base/rand.h"
#include "store/base/sync.h"
#include "tests/support/seed.h"
#include "tests/support/stores.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS 4
#define ROUNDS 250
#define FLIGHTS 8

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

struct client;

/* A request that its client does not wait for. */
struct flight {
	struct bw_op op;
	struct bw_bytes_body body;
	struct client *client;
	bool lent;	/* under client->lock */
};

struct client {
	pthread_t thread;
	struct bw_store *s;
	struct bw_rng rng;
	struct bw_mutex lock;
	struct bw_cond back;
	struct flight flights[FLIGHTS];
	unsigned sent, ended;
};

/* All bodies are of this kind, so any mixture of two shows. */
static const char bodies[4][8] = {"a", "bbb", "ccccc", "ddddddd"};

static bool is_body(const struct bw_blob *b)
{
	for (int i = 0; i < 4; i++)
		if (b->len == strlen(bodies[i]) && memcmp(b->bytes, bodies[i], b->len) == 0)
			return true;
	return false;
}

static void flight_done(struct bw_op *op)
{
	struct flight *f = op->ctx;
	struct client *c = f->client;

	if (op->kind == BW_OP_GET && op->outcome == BW_OK)
		must(is_body(op->blob), "an object that nobody put");
	bw_op_done(op);
	BW_LOCK_SCOPE(&c->lock);
	must(f->lent, "a request that ended twice");
	f->lent = false;
	c->ended++;
	bw_cond_signal(&c->back);
}

static void random_key(struct client *c, char key[32])
{
	snprintf(key, 32, "k/%u/%u", (unsigned)bw_rng_below(&c->rng, 3),
		 (unsigned)bw_rng_below(&c->rng, 5));
}

static void fill(struct client *c, struct flight *f)
{
	const char *bytes = bodies[bw_rng_below(&c->rng, 4)];
	char key[32];

	random_key(c, key);
	bw_bytes_body_init(&f->body, bytes, strlen(bytes));
	switch (bw_rng_below(&c->rng, 6)) {
	case 0:
	case 1:
		bw_op_put(&f->op, key, &f->body.body, bw_rng_below(&c->rng, 2));
		break;
	case 2:
		bw_op_delete(&f->op, key);
		break;
	case 3:
		bw_op_list(&f->op, "k/", key, 4);
		break;
	default:
		bw_op_get_all(&f->op, key, 100);
	}
	f->op.prio = (enum bw_prio)bw_rng_below(&c->rng, 4);
	if (bw_rng_below(&c->rng, 3) == 0)
		f->op.deadline_ns = bw_now() + (int64_t)bw_rng_below(&c->rng, 3) * BW_MS;
	f->op.done = flight_done;
	f->op.ctx = f;
}

static void *run(void *arg)
{
	struct client *c = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct flight *f = &c->flights[bw_rng_below(&c->rng, FLIGHTS)];
		bw_lock(&c->lock);
		bool lent = f->lent;
		/* Legal only while it is lent, which the lock holds it to. */
		if (lent && bw_rng_below(&c->rng, 2))
			bw_store_cancel(c->s, &f->op);
		f->lent = true;
		bw_unlock(&c->lock);
		if (lent)
			continue;
		f->client = c;
		fill(c, f);
		c->sent++;
		bw_store_submit(c->s, &f->op);
		if (bw_rng_below(&c->rng, 4) == 0)
			bw_sleep(BW_MS / 10);
	}
	bw_lock(&c->lock);
	while (c->ended < c->sent)
		bw_cond_wait(&c->back, &c->lock);
	bw_unlock(&c->lock);
	return NULL;
}

/* What spoils an answer without making up bytes. */
static enum bw_fault some_fault(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	static const enum bw_fault faults[] = {
		BW_FAULT_BEFORE,    BW_FAULT_LOST_REPLY, BW_FAULT_DUPLICATE, BW_FAULT_LATE,
		BW_FAULT_THROTTLED, BW_FAULT_SHORT,	 BW_FAULT_NONE,	     BW_FAULT_NONE};
	struct bw_rng rng;

	(void)op;
	bw_rng_init(&rng, *(uint64_t *)plan->ctx + nth);
	return faults[bw_rng_below(&rng, sizeof(faults) / sizeof(faults[0]))];
}

static void load(unsigned number, uint64_t seed)
{
	struct client *c = calloc(CLIENTS, sizeof(*c));
	struct bw_test_store t;

	bw_test_store_open(number, &t);
	t.plan.decide = some_fault;
	t.plan.late_ns = BW_MS;
	t.plan.ctx = &seed;
	for (unsigned i = 0; i < CLIENTS; i++) {
		c[i].s = t.s;
		bw_rng_init(&c[i].rng, seed + i);
		bw_mutex_init(&c[i].lock, BW_RANK_CACHE);
		bw_cond_init(&c[i].back);
		must(bw_thread_start(&c[i].thread, "client", run, &c[i]) == 0, "a thread");
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		pthread_join(c[i].thread, NULL);
	bw_test_store_close(&t);
	for (unsigned i = 0; i < CLIENTS; i++) {
		must(c[i].sent == c[i].ended, "a request that ended twice or never");
		bw_cond_done(&c[i].back);
		bw_mutex_done(&c[i].lock);
	}
	free(c);
	printf("%s: ok\n", t.name);
	fflush(stdout);
}

int main(void)
{
	uint64_t seed = bw_test_seed();
	unsigned first, n;

	bw_test_stores(&first, &n);
	printf("BW_SEED=%lu\n", (unsigned long)seed);
	for (unsigned number = first; number < first + n; number++)
		load(number, seed);
	return 0;
}
