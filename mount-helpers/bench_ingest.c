/* SPDX-License-Identifier: Apache-2.0 */
/* The row ingest: each producer is a team of writers that share the slices of a batch. */
#include "mount-helpers/bench_batch.h"
#include "mount-helpers/bench_load.h"
#include "store/base/clock.h"

#include <stdlib.h>

#define GLANCE_NS (50 * BW_MS)

struct team {
	struct bw_mutex lock;
	struct bw_cond cond;
	uint32_t arrived; /* at the barrier */
	uint64_t turn;	  /* of the barrier */
	uint64_t seq;	  /* of the batch under way */
	bool more;	  /* there is one */
	bool begun;	  /* and its directories are */
	uint32_t written; /* slices of it */
	uint32_t gone;	  /* writers */
	int64_t begin_ns;
	int64_t close_ns, closed_ns; /* of the close that ended last */
};

struct ingest {
	const struct bw_load *load;
	struct team *teams;
	_Atomic(uint64_t) left; /* batches to begin */
};

/* Waits for the others of the team.  False: the row has ended otherwise. */
static bool meet(struct team *t, uint32_t writers, struct bw_crew *crew)
{
	BW_LOCK_SCOPE(&t->lock);
	uint64_t turn = t->turn;

	if (++t->arrived == writers) {
		t->arrived = 0;
		t->turn++;
		bw_cond_broadcast(&t->cond);
	}
	while (t->turn == turn && !bw_crew_ends(crew))
		bw_cond_wait_until(&t->cond, &t->lock, bw_now() + GLANCE_NS);
	return t->turn != turn;
}

static bool take_ticket(struct ingest *in, struct bw_crew *crew)
{
	uint64_t left = atomic_load(&in->left);

	while (left && bw_crew_goes_on(crew))
		if (atomic_compare_exchange_weak(&in->left, &left, left - 1))
			return true;
	return false;
}

static int begin_batch(struct ingest *in, struct team *t, struct bw_bench_batch *b)
{
	t->more = take_ticket(in, b->crew);
	t->close_ns = t->closed_ns = 0;
	t->written = 0;
	t->begun = t->more;
	t->begin_ns = bw_now();
	return t->more ? bw_bench_batch_begin(b, t->seq) : 0;
}

static void note_close(struct team *t, const struct bw_bench_batch *b)
{
	BW_LOCK_SCOPE(&t->lock);
	t->written++;
	if (b->closed_ns > t->closed_ns) {
		t->close_ns = b->close_ns;
		t->closed_ns = b->closed_ns;
	}
}

static int end_batch(struct team *t, struct bw_hand *h)
{
	int err = bw_times_add(&h->times[0], t->closed_ns - t->close_ns);

	if (!err)
		err = bw_times_add(&h->times[1], t->closed_ns - t->begin_ns);
	t->begun = false;
	t->seq++;
	h->steps++;
	return err ? bw_crew_fail(h->crew, err, "out of memory") : 0;
}

static int write_share(struct team *t, struct bw_bench_batch *b, uint32_t writer, struct bw_hand *h)
{
	const struct bw_bench_plan *p = b->load->plan;

	for (uint32_t rank = writer; rank < p->ranks; rank += p->writers) {
		int err = bw_bench_batch_write(b, t->seq, rank);

		if (err)
			return err;
		bw_progress_add(&h->crew->progress, p->size);
		h->slices++;
		h->bytes += p->size;
		note_close(t, b);
	}
	return 0;
}

static int write_batches(struct bw_hand *h, struct bw_bench_batch *b)
{
	struct ingest *in = h->ctx;
	uint32_t writers = in->load->plan->writers, writer = h->index % writers;
	struct team *t = &in->teams[h->index / writers];
	int err = 0;

	while (!err) {
		if (writer == 0)
			err = begin_batch(in, t, b);
		if (err || !meet(t, writers, h->crew) || !t->more)
			break;
		err = write_share(t, b, writer, h);
		if (err || !meet(t, writers, h->crew))
			break;
		if (writer == 0)
			err = end_batch(t, h);
	}
	if (!err && writer == 0 && !bw_crew_ends(h->crew))
		err = bw_bench_batch_drain(b);
	return err;
}

/* Who goes last takes away what is left of a batch in a mount that stays. */
static void leave(struct team *t, struct bw_bench_batch *b)
{
	const struct bw_bench_plan *p = b->load->plan;

	bw_lock(&t->lock);
	bool drop = ++t->gone == p->writers && t->begun && t->written < p->ranks;
	bw_unlock(&t->lock);
	if (drop && !p->scratch)
		bw_bench_batch_drop(b, t->seq);
}

static int produce(struct bw_hand *h)
{
	struct ingest *in = h->ctx;
	uint32_t writers = in->load->plan->writers;
	struct team *t = &in->teams[h->index / writers];
	struct bw_bench_batch b;
	int err = bw_bench_batch_init(&b, h->crew, in->load, h->index / writers);

	if (!err && h->index % writers == 0)
		err = bw_bench_batch_next(&b, &t->seq);
	if (!err && bw_crew_start(h->crew))
		err = write_batches(h, &b);
	leave(t, &b);
	bw_bench_batch_done(&b);
	return err;
}

int bw_load_ingest(const struct bw_load *l, const char *what, struct bw_crew *crew)
{
	const struct bw_bench_plan *p = l->plan;
	struct ingest in = {.load = l, .left = p->batches};
	uint64_t each = p->size * p->ranks;
	uint64_t total = p->limit_ns || p->batches > UINT64_MAX / each ? 0 : each * p->batches;

	in.teams = calloc(p->producers, sizeof(*in.teams));
	if (!in.teams)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->producers; i++) {
		bw_mutex_init(&in.teams[i].lock, BW_RANK_LEAF);
		bw_cond_init(&in.teams[i].cond);
	}
	int err = bw_crew_run(crew, what, total, p->producers * p->writers, p->limit_ns, produce, &in,
			      l->watch);

	for (uint32_t i = 0; i < p->producers; i++) {
		bw_cond_done(&in.teams[i].cond);
		bw_mutex_done(&in.teams[i].lock);
	}
	free(in.teams);
	return err;
}
