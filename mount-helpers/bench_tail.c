/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The row tail: how soon a step is in the memory of readers on another mount.
 *
 * One producer and R readers, step by step: the readers wait for a step, it is committed, all have read it, and a
 * short random pause lets them wait for the next one.  All clocks are one clock: it is one process.
 */
#include "mount-helpers/bench_batch.h"
#include "mount-helpers/bench_load.h"
#include "mount-helpers/bench_reader.h"
#include "store/base/clock.h"
#include "store/base/rand.h"

#include <stdlib.h>

#define GLANCE_NS (50 * BW_MS)
#define PAUSE_NS (5 * BW_MS) /* and as much again, at random: no beat with the mount's own polling */

struct tail {
	const struct bw_load *load;
	struct bw_mutex lock;
	struct bw_cond cond;
	uint64_t step;	  /* that is read now; under lock, like what follows */
	uint32_t arrived; /* readers that have it */
	bool over;
	int64_t *at; /* when each had its last byte */
};

static void arrive(struct tail *t, uint32_t reader, int64_t at)
{
	BW_LOCK_SCOPE(&t->lock);
	t->at[reader] = at;
	/* Nobody is woken beside those who still read: that would be in their times. */
	if (++t->arrived == t->load->plan->readers)
		bw_cond_broadcast(&t->cond);
}

/* Waits for the step behind this one.  False: there is none. */
static bool await_next(struct tail *t, uint64_t step, struct bw_crew *crew)
{
	BW_LOCK_SCOPE(&t->lock);
	while (t->step == step && !t->over && !bw_crew_ends(crew))
		bw_cond_wait_until(&t->cond, &t->lock, bw_now() + GLANCE_NS);
	return t->step != step && !t->over;
}

static int follow(struct tail *t, struct bw_hand *h, uint32_t reader)
{
	struct bw_bench_reader r;
	uint64_t step = t->load->to;
	int err = bw_bench_reader_init(&r, h, t->load);

	if (!err && bw_crew_start(h->crew))
		do {
			err = bw_bench_reader_read(&r, step, reader, true);
			if (!err)
				arrive(t, reader, r.last_ns);
			h->steps += !err;
		} while (!err && await_next(t, step++, h->crew));
	bw_bench_reader_done(&r);
	return err;
}

/* Once all readers have the step; false: they never will. */
static bool await_readers(struct tail *t, struct bw_crew *crew)
{
	uint32_t readers = t->load->plan->readers;

	BW_LOCK_SCOPE(&t->lock);
	while (t->arrived < readers && !bw_crew_ends(crew))
		bw_cond_wait_until(&t->cond, &t->lock, bw_now() + GLANCE_NS);
	return t->arrived == readers;
}

static void go_to_next(struct tail *t, bool more)
{
	BW_LOCK_SCOPE(&t->lock);
	t->arrived = 0;
	t->step += more;
	t->over = !more;
	bw_cond_broadcast(&t->cond);
}

static int note(struct tail *t, struct bw_hand *h, int64_t close_ns, int64_t closed_ns)
{
	int err = 0;

	for (uint32_t i = 0; i < t->load->plan->readers && !err; i++) {
		err = bw_times_add(&h->times[0], t->at[i] - closed_ns);
		if (!err)
			err = bw_times_add(&h->times[1], t->at[i] - close_ns);
	}
	return err ? bw_crew_fail(h->crew, err, "out of memory") : 0;
}

static int commit_step(struct tail *t, struct bw_bench_batch *b, uint64_t seq, int64_t *ret_closed_ns)
{
	const struct bw_bench_plan *p = t->load->plan;
	int err = bw_bench_batch_begin(b, seq);

	for (uint32_t rank = 0; rank < p->ranks && !err; rank++)
		err = bw_bench_batch_write(b, seq, rank);
	if (err && !p->scratch)
		bw_bench_batch_drop(b, seq);
	if (err)
		return err;
	*ret_closed_ns = b->closed_ns;
	/* Where close does not mean committed, this does. */
	if (p->pending || !p->scratch) {
		err = bw_bench_batch_drain(b);
		*ret_closed_ns = p->pending ? bw_now() : b->closed_ns;
	}
	return err;
}

static int lead(struct tail *t, struct bw_hand *h, struct bw_bench_batch *b, uint64_t seq)
{
	uint64_t left = t->load->plan->batches;
	struct bw_rng rng;
	bool more = true;

	bw_rng_init(&rng, t->load->run);
	while (more) {
		int64_t closed_ns = 0;

		bw_sleep(PAUSE_NS + (int64_t)bw_rng_below(&rng, PAUSE_NS));
		int err = commit_step(t, b, seq++, &closed_ns);

		if (err)
			return err;
		if (!await_readers(t, h->crew))
			break;
		err = note(t, h, b->close_ns, closed_ns);
		if (err)
			return err;
		more = --left && bw_crew_goes_on(h->crew);
		go_to_next(t, more);
	}
	return 0;
}

static int work(struct bw_hand *h)
{
	struct tail *t = h->ctx;
	uint64_t seq = 0;
	struct bw_bench_batch b;

	if (h->index)
		return follow(t, h, h->index - 1);
	int err = bw_bench_batch_init(&b, h->crew, t->load, 0);

	if (!err)
		err = bw_bench_batch_next(&b, &seq);
	if (!err && bw_crew_start(h->crew))
		err = lead(t, h, &b, seq);
	bw_bench_batch_done(&b);
	return err;
}

int bw_load_tail(const struct bw_load *l, struct bw_crew *crew)
{
	const struct bw_bench_plan *p = l->plan;
	struct tail t = {.load = l, .step = l->to};

	t.at = calloc(p->readers, sizeof(*t.at));
	if (!t.at)
		return -ENOMEM;
	bw_mutex_init(&t.lock, BW_RANK_LEAF);
	bw_cond_init(&t.cond);
	int err = bw_crew_run(crew, bw_bench_name(BW_BENCH_TAIL), 0, 1 + p->readers, p->limit_ns, work, &t,
			      l->watch);

	bw_cond_done(&t.cond);
	bw_mutex_done(&t.lock);
	free(t.at);
	return err;
}
