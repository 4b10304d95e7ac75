/* SPDX-License-Identifier: Apache-2.0 */
#include "store/layer.h"

#include "store/base/rand.h"

#include <stdlib.h>

struct delay {
	struct bw_store store;
	struct bw_workq *q;
	struct bw_gate gate;
	int64_t base_ns, jitter_ns;
	struct bw_mutex lock;	/* rng */
	struct bw_rng rng;
};

struct delayed {
	struct bw_frame frame;
	struct delay *d;
};

static int64_t draw(struct delay *d)
{
	BW_LOCK_SCOPE(&d->lock);
	return d->base_ns + (int64_t)(bw_rng_unit(&d->rng) * (double)d->jitter_ns);
}

static void done(struct bw_op *op)
{
	struct delayed *w = (struct delayed *)bw_frame_pop(op);
	struct delay *d = w->d;

	free(w);
	op->done(op);
	bw_gate_leave(&d->gate);
}

static void run(struct bw_task *task)
{
	struct bw_op *op = bw_op_of(task);

	bw_store_submit(op->at->next, op);
}

static void submit(struct bw_store *s, struct bw_op *op)
{
	struct delay *d = (struct delay *)s;
	struct delayed *w = malloc(sizeof(*w));

	if (!w) {
		bw_store_submit(s->next, op);
		return;
	}
	w->d = d;
	bw_frame_push(op, &w->frame, done);
	bw_gate_enter(&d->gate);
	int64_t due_ns = bw_now() + draw(d);
	/* An op that will be late anyway is not held beyond its deadline: what is below ends it. */
	bw_op_queue(op, d->q, run, due_ns < op->deadline_ns ? due_ns : op->deadline_ns);
}

static void delay_free(struct bw_store *s)
{
	struct delay *d = (struct delay *)s;

	if (d->q) {
		bw_gate_wait(&d->gate);
		bw_workq_free(d->q);
	}
	bw_store_free(s->next);
	bw_gate_done(&d->gate);
	bw_mutex_done(&d->lock);
	free(d);
}

int bw_filter_delay_new(struct bw_store *below, int64_t base_ns, int64_t jitter_ns, uint64_t seed,
			struct bw_store **ret)
{
	static const struct bw_store_ops ops = {
		.name = "delay", .submit = submit, .free = delay_free};
	struct delay *d = calloc(1, sizeof(*d));

	if (!d) {
		bw_store_free(below);
		return -ENOMEM;
	}
	d->store = (struct bw_store){.ops = &ops, .next = below};
	d->base_ns = base_ns;
	d->jitter_ns = jitter_ns;
	bw_mutex_init(&d->lock, BW_RANK_FILTER);
	bw_rng_init(&d->rng, seed);
	bw_gate_init(&d->gate);
	int err = bw_workq_new("bw-delay", 1, &d->q);
	if (err) {
		delay_free(&d->store);
		return err;
	}
	*ret = &d->store;
	return 0;
}
