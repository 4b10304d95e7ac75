/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/rhythm.h"

#include "fs/names.h"
#include "store/base/clock.h"

#define REST_MIN_NS (2 * BW_MS)
#define SAMPLE_MAX_NS (1 * BW_SEC)	/* one long night does not outweigh the steps after it */
#define PROBES 8u

void bw_rhythm_init(struct bw_rhythm *r, int64_t (*now)(void))
{
	*r = (struct bw_rhythm){.now = now};
	bw_mutex_init(&r->lock, BW_RANK_LEAF);
}

void bw_rhythm_done(struct bw_rhythm *r)
{
	bw_mutex_done(&r->lock);
}

static void add_to_mean(int64_t *mean_ns, int64_t ns, bool is_first)
{
	ns = ns < SAMPLE_MAX_NS ? ns : SAMPLE_MAX_NS;
	*mean_ns = is_first ? ns : (3 * *mean_ns + ns) / 4;
}

/* ---- Threads ---------------------------------------------------------------------------------- */

/* Numbers of threads come in strides. */
static struct bw_rhythm_thread *place_of(struct bw_rhythm *r, pid_t id, unsigned probe)
{
	uint32_t hash = (uint32_t)id * 2654435761u;	/* Knuth's multiplicative hash: 2^32 over the golden ratio */

	return &r->threads[((hash >> 16) + probe) % BW_RHYTHM_THREADS];
}

static struct bw_rhythm_thread *find_locked(struct bw_rhythm *r, pid_t id)
{
	for (unsigned i = 0; id > 0 && i < PROBES; i++) {
		struct bw_rhythm_thread *t = place_of(r, id, i);

		if (t->id == id)
			return t;
	}
	return NULL;
}

/* NULL: it cannot be seen, or all of its places are taken by threads that are busy. */
static struct bw_rhythm_thread *find_or_add_locked(struct bw_rhythm *r, pid_t id)
{
	struct bw_rhythm_thread *oldest = find_locked(r, id);

	if (oldest || id <= 0)
		return oldest;
	for (unsigned i = 0; i < PROBES; i++) {
		struct bw_rhythm_thread *t = place_of(r, id, i);

		if (!t->busy && (!oldest || t->since_ns < oldest->since_ns))
			oldest = t;
	}
	if (oldest)
		*oldest = (struct bw_rhythm_thread){.id = id, .since_ns = r->now()};
	return oldest;
}

static void begin_locked(struct bw_rhythm *r, pid_t thread)
{
	struct bw_rhythm_thread *t = find_or_add_locked(r, thread);

	if (t && !t->busy++)
		t->rested_ns += r->now() - t->since_ns;
}

/* The kernel does not wait for the answer to a RELEASE: the thread may have asked for another slice before it comes. */
static void end_locked(struct bw_rhythm *r, pid_t thread)
{
	struct bw_rhythm_thread *t = find_locked(r, thread);

	if (t && t->busy && !--t->busy)
		t->since_ns = r->now();
}

void bw_rhythm_begin(struct bw_rhythm *r, pid_t thread)
{
	BW_LOCK_SCOPE(&r->lock);
	begin_locked(r, thread);
}

void bw_rhythm_end(struct bw_rhythm *r, pid_t thread)
{
	BW_LOCK_SCOPE(&r->lock);
	end_locked(r, thread);
}

/* ---- Ranks ------------------------------------------------------------------------------------ */

static struct bw_rhythm_rank *rank_of(struct bw_rhythm *r, uint32_t rank)
{
	return &r->ranks[rank % BW_RHYTHM_RANKS];
}

/* How much of the time since the rank's last close the thread has rested. */
static int64_t rest_locked(struct bw_rhythm *r, const struct bw_rhythm_rank *last, pid_t thread, int64_t elapsed)
{
	const struct bw_rhythm_thread *t = find_locked(r, thread);
	int64_t rest = elapsed;

	if (t && last->closer == thread)
		rest = t->rested_ns - last->rested_ns + (t->busy ? 0 : r->now() - t->since_ns);
	return rest >= 0 && rest <= elapsed ? rest : elapsed;	/* one that was forgotten began anew */
}

/* How long a reader must rest between two slices, when it is busy for so long with them. */
static int64_t rest_wanted(int64_t busy_ns)
{
	return busy_ns / 2 > REST_MIN_NS ? busy_ns / 2 : REST_MIN_NS;
}

/* How much longer the first pause of a rank must last to be one; BW_NEVER: it is none, or not the first. */
static int64_t missing_locked(struct bw_rhythm *r, const struct bw_rhythm_rank *last)
{
	if (last->is_known || !last->closed_ns)
		return BW_NEVER;
	int64_t elapsed = r->now() - last->closed_ns;
	int64_t rest = rest_locked(r, last, last->closer, elapsed);
	int64_t more = rest_wanted(last->read_ns + elapsed - rest) - rest;

	return more > 0 ? more : 0;
}

void bw_rhythm_asked(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread)
{
	struct bw_rhythm_rank *last = rank_of(r, rank);
	uint64_t slice = bw_slice_number(step, rank);

	BW_LOCK_SCOPE(&r->lock);
	if (last->asked == slice)
		return;
	int64_t elapsed = last->closed_ns ? r->now() - last->closed_ns : 0;
	int64_t rest = rest_locked(r, last, thread, elapsed);

	add_to_mean(&last->rest_ns, rest, !last->is_known);
	add_to_mean(&last->busy_ns, elapsed - rest, !last->is_known);
	last->is_known = last->is_known || last->closed_ns;
	last->asked = slice;
	last->opened_ns = last->closed_ns = 0;
}

void bw_rhythm_opened(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread)
{
	struct bw_rhythm_rank *last = rank_of(r, rank);

	BW_LOCK_SCOPE(&r->lock);
	begin_locked(r, thread);
	if (last->asked == bw_slice_number(step, rank))
		last->opened_ns = r->now();
}

void bw_rhythm_closed(struct bw_rhythm *r, uint64_t step, uint32_t rank, pid_t thread)
{
	struct bw_rhythm_rank *last = rank_of(r, rank);

	BW_LOCK_SCOPE(&r->lock);
	end_locked(r, thread);
	if (last->asked != bw_slice_number(step, rank))
		return;
	const struct bw_rhythm_thread *t = find_locked(r, thread);

	last->closed_ns = r->now();
	last->closer = t ? thread : 0;
	last->rested_ns = t ? t->rested_ns : 0;
	if (last->opened_ns)
		add_to_mean(&last->read_ns, last->closed_ns - last->opened_ns, !last->read_ns);
	last->opened_ns = 0;
}

bool bw_rhythm_is_asked(struct bw_rhythm *r, uint64_t step, uint32_t rank)
{
	BW_LOCK_SCOPE(&r->lock);
	return rank_of(r, rank)->asked == bw_slice_number(step, rank);
}

bool bw_rhythm_pauses(struct bw_rhythm *r, uint32_t rank)
{
	const struct bw_rhythm_rank *last = rank_of(r, rank);

	BW_LOCK_SCOPE(&r->lock);
	if (!last->is_known)
		return missing_locked(r, last) == 0;
	return last->rest_ns >= rest_wanted(last->read_ns + last->busy_ns);
}

int64_t bw_rhythm_first_pause(struct bw_rhythm *r, uint32_t rank, bool will_act)
{
	struct bw_rhythm_rank *last = rank_of(r, rank);

	BW_LOCK_SCOPE(&r->lock);
	const struct bw_rhythm_thread *t = find_locked(r, last->closer);
	int64_t more = last->was_told || (t && t->busy) ? BW_NEVER : missing_locked(r, last);

	if (more == BW_NEVER)
		return BW_NEVER;
	last->was_told = will_act && !more;
	return r->now() + more;
}
