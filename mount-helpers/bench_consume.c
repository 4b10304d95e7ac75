/* SPDX-License-Identifier: Apache-2.0 */
/* The rows that read what is committed: seek, catchup, hot, loop. */
#include "mount-helpers/bench_load.h"
#include "mount-helpers/bench_reader.h"
#include "store/base/clock.h"
#include "store/base/rand.h"

#include <stdlib.h>

struct consume {
	const struct bw_load *load;
	enum bw_bench_kind kind;
	uint64_t *steps; /* seek: in which order */
	uint64_t n;
};

static int note(struct bw_hand *h, unsigned i, int64_t ns)
{
	int err = bw_times_add(&h->times[i], ns);

	return err ? bw_crew_fail(h->crew, err, "out of memory") : 0;
}

/* As if the processor had nothing to do with it: the accelerator computes. */
static void compute(struct bw_crew *crew, int64_t ns)
{
	int64_t end = bw_now() + ns;

	for (int64_t left; (left = end - bw_now()) > 0 && !bw_crew_ends(crew);)
		bw_sleep(left < 100 * BW_MS ? left : 100 * BW_MS);
}

static int read_step(struct consume *c, struct bw_hand *h, struct bw_bench_reader *r, uint64_t step,
		     uint32_t rank)
{
	int64_t begin = bw_now();
	int err = bw_bench_reader_read(r, step, rank, false);

	if (!err)
		err = note(h, 0, r->end_ns - r->begin_ns);
	if (err || c->kind != BW_BENCH_LOOP)
		return err;
	compute(h->crew, c->load->plan->compute_ns);
	int64_t end = bw_now();

	h->busy_ns += r->end_ns - r->begin_ns;
	h->all_ns += end - begin;
	return note(h, 1, end - begin);
}

static int consume(struct bw_hand *h)
{
	struct consume *c = h->ctx;
	const struct bw_load *l = c->load;
	struct bw_bench_reader r;
	struct bw_rng rng;
	int err = bw_bench_reader_init(&r, h, l);

	bw_rng_init(&rng, l->run);
	if (!err && bw_crew_start(h->crew))
		for (uint64_t i = 0; i < c->n && !err && bw_crew_goes_on(h->crew); i++) {
			uint32_t rank = c->steps ? (uint32_t)bw_rng_below(&rng, l->plan->ranks) : h->index;

			err = read_step(c, h, &r, c->steps ? c->steps[i] : l->from + i, rank);
			h->steps += !err;
		}
	bw_bench_reader_done(&r);
	return err;
}

static int run(struct consume *c, uint32_t readers, struct bw_crew *crew)
{
	const struct bw_load *l = c->load;
	const struct bw_bench_plan *p = l->plan;
	uint64_t total = p->scratch && !p->limit_ns ? c->n * readers * p->size : 0;

	return bw_crew_run(crew, bw_bench_name(c->kind), total, readers, p->limit_ns, consume, c, l->watch);
}

static uint64_t fewer(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

#define SHUFFLED_MAX (UINT64_C(1) << 20)

/* The steps there are, in random order.  Of a stream that is longer, any: then repeats are rare and harmless. */
static uint64_t *shuffle(const struct bw_load *l, uint64_t n)
{
	uint64_t there = l->to - l->from, *steps = calloc(n, sizeof(*steps));
	struct bw_rng rng;

	bw_rng_init(&rng, ~l->run);
	for (uint64_t i = 0; steps && i < n; i++) {
		if (there > n) {
			steps[i] = l->from + bw_rng_below(&rng, there);
			continue;
		}
		uint64_t at = bw_rng_below(&rng, i + 1);

		steps[i] = steps[at];
		steps[at] = l->from + i;
	}
	return steps;
}

int bw_load_seek(const struct bw_load *l, struct bw_crew *crew)
{
	struct consume c = {.load = l, .kind = BW_BENCH_SEEK};

	c.n = fewer(l->to - l->from, SHUFFLED_MAX);
	c.steps = shuffle(l, c.n);
	if (!c.steps)
		return -ENOMEM;
	/* No step twice: the second time it would not be cold. */
	c.n = fewer(c.n, l->plan->batches);
	int err = run(&c, 1, crew);

	free(c.steps);
	return err;
}

int bw_load_read(const struct bw_load *l, enum bw_bench_kind kind, struct bw_crew *crew)
{
	struct consume c = {.load = l, .kind = kind, .n = l->to - l->from};

	if (kind == BW_BENCH_LOOP)
		c.n = fewer(c.n, l->plan->batches);
	return run(&c, l->plan->readers, crew);
}

int bw_load_sum(const struct bw_crew *crew, enum bw_bench_kind kind, struct bw_bench_row *ret)
{
	int64_t busy = 0, all = 0;
	int err = 0;

	*ret = (struct bw_bench_row){.kind = kind, .ns = crew->took_ns};
	for (uint32_t i = 0; i < crew->n && !err; i++) {
		const struct bw_hand *h = &crew->hands[i];

		/* Readers go through the same steps, producers through steps of their own. */
		if (kind == BW_BENCH_INGEST)
			ret->steps += h->steps;
		else if (h->steps > ret->steps)
			ret->steps = h->steps;
		ret->slices += h->slices;
		ret->bytes += h->bytes;
		ret->verified += h->verified;
		busy += h->busy_ns;
		all += h->all_ns;
		err = bw_times_append(&ret->times[0], &h->times[0]);
		if (!err)
			err = bw_times_append(&ret->times[1], &h->times[1]);
	}
	ret->stall = all ? (double)busy / (double)all : 0;
	return err;
}
