/* SPDX-License-Identifier: Apache-2.0 */
/* P3d, P4: the lists of a producer's batches, staged ones and those whose directories only stay for a while. */
#include "fs/stage.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define N 12u

struct fixture {
	struct bw_stream stream;
	struct bw_produce *p;
	struct bw_stage_producer *sp;
};

static struct bw_stage_batch *make(struct fixture *f, uint64_t seq)
{
	struct bw_stage_batch *b;
	char name[24];

	snprintf(name, sizeof(name), "%u", (unsigned)seq);
	cr_assert_eq(bw_stage_batch_make(f->sp, name, seq, &b), 0);
	return b;
}

static void commit(struct bw_stage_batch *b)
{
	b->state = BW_BATCH_COMMITTED;
	bw_stage_batch_done(b);
}

static void setup(struct fixture *f)
{
	*f = (struct fixture){.stream.options.ranks = 2};
	f->p = calloc(1, sizeof(*f->p));
	cr_assert_not_null(f->p);
	f->p->c.stream = &f->stream;
	f->p->next_ino = 100;
	f->p->root = bw_stage_node_make(f->p, NULL, BW_NODE_ROOT, "produce");
	cr_assert_not_null(f->p->root);
	f->sp = bw_producer_make(f->p, "p");
	cr_assert_not_null(f->sp);
}

static void teardown(struct fixture *f)
{
	while (f->sp->batches)
		bw_stage_batch_drop(f->sp->batches);
	while (f->sp->done)
		bw_stage_batch_drop(f->sp->done);
	cr_assert_null(f->sp->done_last);
	bw_stage_node_detach(f->p, f->sp->dir);
	free(f->sp);
	free(f->p->root->name);
	free(f->p->root);
	free(f->p);
}

static unsigned length(const struct bw_stage_batch *b, const struct bw_stage_batch **ret_last)
{
	unsigned n = 0;

	for (*ret_last = NULL; b; b = b->next, n++) {
		cr_assert(!*ret_last || (*ret_last)->seq < b->seq, "ascending");
		*ret_last = b;
	}
	return n;
}

static void assert_lists(const struct fixture *f, unsigned staged, unsigned done)
{
	const struct bw_stage_batch *last;

	cr_assert_eq(length(f->sp->batches, &last), staged);
	cr_assert_eq(length(f->sp->done, &last), done);
	cr_assert_eq(f->sp->done_last, last);
}

Test(batches, P4_every_batch_is_found_staged_or_committed)
{
	struct bw_stage_batch *b[N];
	struct fixture f;

	setup(&f);
	for (unsigned i = 0; i < N; i++)	/* not in the order of seqs */
		b[(i * 5) % N] = make(&f, (i * 5) % N);
	for (unsigned n = 0; n <= N; n++) {
		assert_lists(&f, N - n, n);
		for (unsigned i = 0; i < N; i++)
			cr_assert_eq(bw_stage_batch_find(f.sp, i), b[i]);
		cr_assert_null(bw_stage_batch_find(f.sp, N));
		if (n < N)
			commit(b[n]);
	}
	teardown(&f);
}

/* One that lost its seq to another mount stays staged beside later ones that were committed. */
Test(batches, P4_a_staged_batch_below_committed_ones)
{
	struct fixture f;

	setup(&f);
	struct bw_stage_batch *taken = make(&f, 3), *later = make(&f, 5);

	commit(later);
	commit(make(&f, 6));
	cr_assert_eq(bw_stage_batch_find(f.sp, 3), taken);
	cr_assert_eq(bw_stage_batch_find(f.sp, 5), later);
	cr_assert_null(bw_stage_batch_find(f.sp, 4));
	teardown(&f);
}

/* rmdir takes any of them out, the tick the oldest. */
Test(batches, P3d_dropped_in_any_order)
{
	struct fixture f;

	for (unsigned step = 1; step < N; step++) {
		setup(&f);
		for (unsigned i = 0; i < N; i++)
			commit(make(&f, i));
		for (unsigned i = 0, left = N; i < N; i++) {
			struct bw_stage_batch *b = bw_stage_batch_find(f.sp, (uint64_t)(i * step) % N);
			if (!b)
				continue;
			bw_stage_batch_drop(b);
			assert_lists(&f, 0, --left);
		}
		commit(make(&f, 2 * N));
		cr_assert_eq(f.sp->done_last->seq, 2 * N);
		teardown(&f);
	}
}
