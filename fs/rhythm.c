/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/rhythm.h"

#include "fs/names.h"
#include "store/base/clock.h"

#define PAUSE_MIN_NS (2 * BW_MS)
#define PAUSE_MAX_NS (1 * BW_SEC)

void bw_rhythm_init(struct bw_rhythm *r, int64_t (*now)(void))
{
	r->now = now;
	for (unsigned i = 0; i < BW_RHYTHM_RANKS; i++) {
		atomic_init(&r->ranks[i].asked, 0);
		atomic_init(&r->ranks[i].thread, 0);
		atomic_init(&r->ranks[i].opened_ns, 0);
		atomic_init(&r->ranks[i].closed_ns, 0);
		atomic_init(&r->ranks[i].rested_ns, 0);
		atomic_init(&r->ranks[i].pause_ns, 0);
		atomic_init(&r->ranks[i].read_ns, 0);
	}
	for (unsigned i = 0; i < BW_RHYTHM_THREADS; i++) {
		atomic_init(&r->threads[i].id, 0);
		atomic_init(&r->threads[i].open, 0);
		atomic_init(&r->threads[i].closed_ns, 0);
		atomic_init(&r->threads[i].rested_ns, 0);
	}
}

static void add_to_mean(atomic_int_fast64_t *mean_ns, int64_t ns)
{
	ns = ns < PAUSE_MAX_NS ? ns : PAUSE_MAX_NS;
	atomic_store(mean_ns, (3 * atomic_load(mean_ns) + ns) / 4);
}

static struct bw_rhythm_thread *thread_of(struct bw_rhythm *r, pid_t thread)
{
	struct bw_rhythm_thread *t = &r->threads[(unsigned)thread % BW_RHYTHM_THREADS];

	if (atomic_exchange(&t->id, thread) != thread) {
		atomic_store(&t->open, 0);
		atomic_store(&t->closed_ns, 0);
	}
	return t;
}

void bw_rhythm_asked(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread)
{
	struct bw_rhythm_rank *last = &r->ranks[rank % BW_RHYTHM_RANKS];
	struct bw_rhythm_thread *t = thread_of(r, thread);
	uint64_t slice = bw_slice_number(step, rank);
	int64_t now = r->now(), rests_since = atomic_exchange(&t->closed_ns, 0);

	if (rests_since)
		atomic_fetch_add(&t->rested_ns, now - rests_since);
	if (atomic_exchange(&last->asked, slice) == slice)
		return;
	int64_t closed = atomic_exchange(&last->closed_ns, 0), pause = closed ? now - closed : 0;

	if (closed && atomic_exchange(&last->thread, thread) == thread)
		pause = atomic_load(&t->rested_ns) - atomic_load(&last->rested_ns);
	add_to_mean(&last->pause_ns, pause);
	atomic_store(&last->thread, thread);
	atomic_store(&last->opened_ns, 0);
}

void bw_rhythm_opened(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread)
{
	struct bw_rhythm_thread *t = thread_of(r, thread);

	atomic_store(&t->open, bw_slice_number(step, rank));
	atomic_store(&t->closed_ns, 0);
	if (bw_rhythm_is_asked(r, step, rank))
		atomic_store(&r->ranks[rank % BW_RHYTHM_RANKS].opened_ns, r->now());
}

void bw_rhythm_closed(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread)
{
	struct bw_rhythm_rank *last = &r->ranks[rank % BW_RHYTHM_RANKS];
	struct bw_rhythm_thread *t = thread_of(r, thread);
	int64_t now = r->now();

	/* The kernel does not wait for the answer to a RELEASE: the thread may have opened another one before it comes. */
	if (atomic_load(&t->open) == bw_slice_number(step, rank))
		atomic_store(&t->closed_ns, now);
	if (!bw_rhythm_is_asked(r, step, rank))
		return;
	int64_t opened = atomic_exchange(&last->opened_ns, 0);

	add_to_mean(&last->read_ns, opened ? now - opened : 0);
	atomic_store(&last->rested_ns, atomic_load(&t->rested_ns));
	atomic_store(&last->closed_ns, now);
}

bool bw_rhythm_is_asked(const struct bw_rhythm *r, uint64_t step, uint32_t rank)
{
	return atomic_load(&r->ranks[rank % BW_RHYTHM_RANKS].asked) == bw_slice_number(step, rank);
}

bool bw_rhythm_pauses(const struct bw_rhythm *r, uint32_t rank)
{
	const struct bw_rhythm_rank *last = &r->ranks[rank % BW_RHYTHM_RANKS];
	int64_t pause = atomic_load(&last->pause_ns);

	return pause >= PAUSE_MIN_NS && pause >= atomic_load(&last->read_ns) / 2;
}
