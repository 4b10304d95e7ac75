/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/prefetch.h"

#include <stdlib.h>

#define WALKS_MAX 1024u			/* at a time, of all readers */
#define FOLLOW_AHEAD 4u			/* times as many steps: finding the newest takes gets one after the other */
#define FIND_TIMEOUT_NS (10 * BW_SEC)
#define CALM 64u			/* windows with room that make it a block larger */
#define LATE 4u			/* slices that were waited for, for each step more ahead; fewer where fewer ranks are read */
#define BLOCKS_A_STEP 4u	/* that a window may hold more with it */
#define NEAR 64u			/* steps: so far before its reader comes a footer is kept that came by itself */
#define REST_NS (10 * BW_SEC)		/* without a block ahead, when not even one came in time */
#define ROW_MIN 2u			/* steps in a row before one that make it worth to fetch the next */

/* The part of a window that lies in a later step, on the way there.  Those of several steps are on their way at once: one
 * after the other they would take a round trip each, and a reader of small slices be no slower than that. */
struct walk {
	struct bw_prefetch *p;
	struct bw_find find;		/* of the step */
	struct bw_tgb_wait wait;
	uint32_t rank;
	uint32_t before;		/* later steps that lie before it */
	uint32_t left;			/* blocks, in those and in this */
	unsigned window;		/* when it began */
	bool guess;			/* where the blocks are */
};

void bw_prefetch_init(struct bw_prefetch *p, struct bw_fetcher *fetcher, struct bw_cache *blocks,
		      struct bw_tgbs *tgbs, uint32_t steps, uint32_t most, uint64_t together)
{
	p->fetcher = fetcher;
	p->blocks = blocks;
	p->tgbs = tgbs;
	atomic_init(&p->steps, steps);
	atomic_init(&p->late, 0);
	p->steps_most = steps > most ? steps : most;
	p->together = together;
	atomic_init(&p->walks, 0);
	atomic_init(&p->window, BW_PREFETCH_BLOCKS);
	atomic_init(&p->window_most, BW_PREFETCH_BLOCKS);
	atomic_init(&p->calm, 0);
	atomic_init(&p->reach, BW_PREFETCH_ALL);
	atomic_init(&p->in_time, 0);
	atomic_init(&p->cut_ns, 0);
	for (unsigned i = 0; i < BW_PREFETCH_RANKS; i++) {
		atomic_init(&p->last[i].step_rank, 0);
		atomic_init(&p->last[i].row, 0);
	}
}

/* Readers that meet here may lose a step of each other's: the next one makes up for it. */
static void adapt(struct bw_prefetch *p, bool room)
{
	unsigned window = atomic_load(&p->window);

	if (room && atomic_fetch_add(&p->calm, 1) < CALM)
		return;
	atomic_store(&p->calm, 0);
	if (!room && window > 1)
		atomic_store(&p->window, window - 1);
	else if (room && window < atomic_load(&p->window_most))
		atomic_store(&p->window, window + 1);
}

static void walk_end(struct walk *w)
{
	struct bw_fetcher *fetcher = w->p->fetcher;

	atomic_fetch_sub(&w->p->walks, 1);
	free(w);
	bw_fetcher_leave(fetcher);
}

unsigned bw_prefetch_window(struct bw_prefetch *p)
{
	unsigned window = atomic_load(&p->window), reach = atomic_load(&p->reach);

	/* Without any ahead nobody would learn that they come in time again. */
	if (!reach && bw_now() - atomic_load(&p->cut_ns) >= REST_NS && atomic_compare_exchange_strong(&p->reach, &reach, 1))
		reach = 1;
	return window < reach ? window : reach;
}

static void cut_reach(struct bw_prefetch *p, int_fast64_t before_ns)
{
	unsigned half = bw_prefetch_window(p) / 2;

	if (!atomic_compare_exchange_strong(&p->cut_ns, &before_ns, bw_now()))
		return;
	atomic_store(&p->in_time, 0);
	atomic_store(&p->reach, half);
}

static void raise_reach(struct bw_prefetch *p)
{
	unsigned reach = atomic_load(&p->reach), more = reach + 1 < atomic_load(&p->window_most) ? reach + 1 : BW_PREFETCH_ALL;

	if (reach == BW_PREFETCH_ALL || atomic_fetch_add(&p->in_time, 1) + 1 < reach)
		return;
	atomic_store(&p->in_time, 0);
	atomic_compare_exchange_strong(&p->reach, &reach, more);
}

void bw_prefetch_ended(struct bw_prefetch *p, int64_t begun_ns, bool in_time)
{
	int_fast64_t cut_ns = atomic_load(&p->cut_ns);

	/* What was under way when it was cut is why it was. */
	if (begun_ns < cut_ns)
		return;
	if (in_time)
		raise_reach(p);
	else
		cut_reach(p, cut_ns);
}

static uint32_t half_window(struct bw_prefetch *p)
{
	uint32_t half = bw_prefetch_window(p) / 2;

	return half ? half : 1;
}

static uint32_t most_together(struct bw_prefetch *p, const struct bw_tgb *tgb)
{
	uint64_t most = p->together / tgb->block_size, half = half_window(p);

	most = most < half ? most : half;
	return most ? (uint32_t)most : 1;
}

/* Here, on its way, or in the kernel. */
static bool is_there(struct bw_prefetch *p, const struct bw_block_want *want)
{
	if (bw_cache_has(p->blocks, want))
		return true;
	return p->handed.most && want->index < bw_handed_blocks(&p->handed, want->entry->step, want->rank);
}

/* How many blocks from at on are not there, up to end and at most most. */
static uint32_t missing(struct bw_prefetch *p, const struct bw_block_want *at, uint32_t end, uint32_t most)
{
	struct bw_block_want want = *at;

	while (want.index < end && want.index - at->index < most && !is_there(p, &want))
		want.index++;
	return want.index - at->index;
}

static uint32_t steps_of(const struct bw_prefetch *p)
{
	return atomic_load(&p->steps);
}

/* Whether the reader of rank, who reads step after step, will come to step soon. */
static bool is_expected(struct bw_prefetch *p, uint32_t rank, uint64_t step)
{
	const struct bw_prefetch_last *last = &p->last[rank % BW_PREFETCH_RANKS];
	uint64_t before = atomic_load(&last->step_rank);

	if (!before || (before - 1) % BW_RANKS_MAX != rank || atomic_load(&last->row) < ROW_MIN)
		return false;
	uint64_t from = (before - 1) / BW_RANKS_MAX;

	/* One more than those: its neighbour may be a step ahead of it. */
	return from < step && step - from <= steps_of(p) + 1;
}

/* Whether the reader of rank has been in step, a moment ago or now: what it still needs of that its own windows fetch. */
static bool is_passed(const struct bw_prefetch *p, uint32_t rank, uint64_t step)
{
	uint64_t last = atomic_load(&p->last[rank % BW_PREFETCH_RANKS].step_rank);

	if (!last || (last - 1) % BW_RANKS_MAX != rank)
		return false;
	uint64_t at = (last - 1) / BW_RANKS_MAX;

	return at >= step && at - step <= steps_of(p) + 1;
}

static const struct bw_block *block_of(const struct bw_block_want *w)
{
	return bw_tgb_block(w->tgb, bw_tgb_slice(w->tgb, w->rank)->block0 + w->index);
}

static bool is_wanted(struct bw_prefetch *p, const struct bw_block_want *w)
{
	return is_expected(p, w->rank, w->entry->step) && !is_there(p, w);
}

/* Slices of one block before *at's, down to where one begins below cut: *at moves to the first, and how many they are. */
static uint32_t neighbours_before(struct bw_prefetch *p, struct bw_block_want *at, uint64_t cut)
{
	struct bw_block_want want = *at;
	uint32_t n = 0;

	while (want.rank && bw_tgb_knows(want.tgb, want.rank - 1)) {
		want.rank--;
		const struct bw_slice *slice = bw_tgb_slice(want.tgb, want.rank);
		if (slice->blocks_n != 1 || slice->offset < cut || !is_wanted(p, &want))
			break;
		*at = want;
		n++;
	}
	return n;
}

/*
 * How many blocks of the ranks behind *last, which ends its slice, can come with it: those that begin below end, or, when that is 0,
 * to half a window with the n there are from offset on, for each of them is waited for by another reader, or, small ones, to as many
 * bytes as come together.
 */
static uint32_t neighbours_behind(struct bw_prefetch *p, const struct bw_block_want *last, uint64_t end, uint64_t offset,
				  uint32_t n)
{
	struct bw_block_want want = *last;
	uint64_t at = block_of(last)->offset + block_of(last)->stored;
	uint32_t more = 0, half = half_window(p);

	for (; bw_block_next(&want); more++) {
		const struct bw_block *b = block_of(&want);
		if (end ? b->offset >= end : n + more >= half && at + b->stored - offset > p->together)
			break;
		if (b->offset != at || !is_wanted(p, &want))
			break;
		at += b->stored;
	}
	return more;
}

/*
 * *first and the n blocks from there on end a slice; both grow by what can come with them.  For slices of one block the object counts
 * as cut at multiples of what comes together: whichever of their readers comes first, the gets are the same.
 */
static void add_neighbours(struct bw_prefetch *p, struct bw_block_want *first, uint32_t *n)
{
	const struct bw_block *b = block_of(first);
	uint64_t half = (uint64_t)half_window(p) * b->stored, cell = p->together > half ? p->together : half;
	uint64_t cut = b->offset - b->offset % cell;
	struct bw_block_want last = *first;
	bool is_small = bw_tgb_slice(first->tgb, first->rank)->blocks_n == 1;

	last.index += *n - 1;
	if (is_small)
		*n += neighbours_before(p, first, cut);
	*n += neighbours_behind(p, &last, is_small ? cut + cell : 0, b->offset, *n);
}

/* Sees to the blocks from `from` on, at most `most`: how many those are.  False when there was no room for one. */
static bool fetch_blocks(struct bw_prefetch *p, const struct bw_block_want *from, uint32_t most,
			 uint32_t *ret_n)
{
	struct bw_block_want at = *from;
	uint32_t blocks_n = bw_tgb_slice(at.tgb, at.rank)->blocks_n, together = most_together(p, at.tgb);
	uint32_t left = at.index < blocks_n ? blocks_n - at.index : 0;
	uint32_t end = at.index + (left < most ? left : most), n;

	*ret_n = end - at.index;
	for (; at.index < end; at.index += n ? n : 1) {
		struct bw_block_want first = at;
		uint32_t all = n = missing(p, &at, end, together);
		if (!n)
			continue;
		if (n < together && at.index + n == end) {
			if (end < blocks_n)
				return true;	/* the window ends here, the slice does not */
			add_neighbours(p, &first, &all);
		}
		if (!bw_cache_prefetch(p->blocks, &first, all))
			return false;
	}
	return true;
}

/* The blocks of the window that are left for the walk's step when those before it are like it. */
static uint32_t share(const struct walk *w)
{
	const struct bw_stream *s = w->p->fetcher->stream;
	uint64_t slice = w->find.entry.raw / s->options.ranks;
	uint64_t blocks = slice > s->block_size ? (slice + s->block_size - 1) / s->block_size : 1;
	uint64_t taken = w->before * blocks;

	return taken < w->left ? w->left - (uint32_t)taken : 0;
}

/* All walks of a window that find no room make it smaller by one block together. */
static void no_room(struct walk *w)
{
	unsigned window = w->window;

	atomic_store(&w->p->calm, 0);
	if (window > 1)
		atomic_compare_exchange_strong(&w->p->window, &window, window - 1);
}

/* What came when nobody was known to want it in the kernel. */
static void offer(struct bw_prefetch *p, const struct bw_block_want *first)
{
	if (p->offer && !bw_handed_blocks(&p->handed, first->entry->step, first->rank) &&
	    bw_cache_is_ahead(p->blocks, first))
		bw_prefetch_came(p, first->entry, first->tgb, first->rank);
}

/* Takes the reference. */
static void take_footer(struct walk *w, struct bw_tgb *tgb)
{
	struct bw_block_want want = {
		.entry = &w->find.entry, .tgb = tgb, .rank = w->rank, .index = 0};
	uint32_t n;

	if (!is_passed(w->p, w->rank, w->find.step)) {
		offer(w->p, &want);
		if (!fetch_blocks(w->p, &want, share(w), &n))
			no_room(w);
	}
	bw_tgb_unref(tgb);
}

static void footer_came(struct bw_tgb_wait *wait, int err, struct bw_tgb *tgb)
{
	struct walk *w = bw_container_of(wait, struct walk, wait);

	if (!err)
		take_footer(w, tgb);
	walk_end(w);
}

/* True: that was all.  Else footer_came() goes on, or has been. */
static bool ask_footer(struct walk *w)
{
	struct bw_tgb *tgb;

	if (!share(w) || is_passed(w->p, w->rank, w->find.step))
		return true;
	w->wait.done = footer_came;
	w->wait.entry = w->find.entry;
	w->wait.needs = w->rank + 1;
	if (w->guess && w->p->guesses)
		bw_guess(w->p->guesses, &w->find.entry, w->rank, BW_GUESS_FOLLOWER);
	int found = bw_tgbs_get(w->p->tgbs, &w->wait, BW_PRIO_PREFETCH, &tgb);

	if (found > 0)
		take_footer(w, tgb);
	return found;
}

static void entry_came(struct bw_find *find, int err)
{
	struct walk *w = bw_container_of(find, struct walk, find);

	if (err || ask_footer(w))
		walk_end(w);
}

/* To a step, before which so many of the window's lie. */
static void walk_start(struct bw_prefetch *p, uint32_t rank, uint64_t step, uint32_t before, uint32_t left, bool guess)
{
	int err;

	if (atomic_fetch_add(&p->walks, 1) >= WALKS_MAX) {
		atomic_fetch_sub(&p->walks, 1);
		return;
	}
	struct walk *w = calloc(1, sizeof(*w));

	if (!w || !bw_fetcher_try_enter(p->fetcher)) {
		free(w);
		atomic_fetch_sub(&p->walks, 1);
		return;
	}
	*w = (struct walk){
		.p = p, .rank = rank, .before = before, .left = left, .window = atomic_load(&p->window), .guess = guess,
		.find = {.done = entry_came, .step = step, .deadline_ns = bw_now() + FIND_TIMEOUT_NS},
	};
	if (bw_head_find(p->fetcher->head, &w->find, &err))
		entry_came(&w->find, err);
}

/* To each of the steps from first to last. */
static void walk(struct bw_prefetch *p, uint32_t rank, uint64_t first, uint64_t last, uint32_t left, bool guess)
{
	for (uint64_t step = first; step <= last && step - first < left; step++)
		walk_start(p, rank, step, (uint32_t)(step - first), left, guess && step == first);
}

/* The steps behind at's; who is about to come to the newest hears of the next. */
static void walk_from(struct bw_prefetch *p, const struct bw_block_want *at, uint32_t left, uint32_t steps)
{
	uint64_t step = at->entry->step, head = bw_head_steps(p->fetcher->head), last = step + steps;

	if (step + (uint64_t)FOLLOW_AHEAD * steps >= head)
		bw_head_follow(p->fetcher->head);
	if (last >= head)
		last = head - 1;
	walk(p, at->rank, step + 1, last, left, false);
}

/* Whoever begins where the stream begins or ends will go on from there. */
static bool is_an_end(struct bw_prefetch *p, uint64_t step)
{
	struct bw_root *root = bw_head_root(p->fetcher->head);
	bool is = step == root->first || step + 1 >= root->head;

	bw_root_unref(root);
	return is;
}

/* As long as a row must be for all steps ahead. */
static unsigned whole_row(const struct bw_prefetch *p)
{
	return steps_of(p) + ROW_MIN - 1;
}

/* How long the row is when step comes after from.  A long one outlasts a jump nearby. */
static unsigned row_after(const struct bw_prefetch *p, unsigned row, uint64_t from, uint64_t step)
{
	uint64_t away = step > from ? step - from : from - step;

	if (step == from + 1)
		return row < 2 * whole_row(p) ? row + 1 : row;
	return row && away <= steps_of(p) + 1 ? row - 1 : 0;
}

static uint32_t row_steps(const struct bw_prefetch *p, unsigned row)
{
	uint32_t steps = row < ROW_MIN ? 0 : row - ROW_MIN + 1, most = steps_of(p);

	return steps < most ? steps : most;
}

/* How many steps ahead of at are worth fetching for its rank, whose reader is there now. */
static uint32_t steps_ahead(struct bw_prefetch *p, const struct bw_block_want *at)
{
	struct bw_prefetch_last *last = &p->last[at->rank % BW_PREFETCH_RANKS];
	uint64_t step = at->entry->step, now = bw_slice_number(step, at->rank);
	uint64_t before = atomic_exchange(&last->step_rank, now);
	unsigned row = atomic_load(&last->row);

	if (before != now) {
		bool is_known = before && (before - 1) % BW_RANKS_MAX == at->rank;
		if (is_known)
			row = row_after(p, row, (before - 1) / BW_RANKS_MAX, step);
		else
			row = is_an_end(p, step) ? whole_row(p) : 0;
		atomic_store(&last->row, row);
	}
	return row_steps(p, row);
}

uint64_t bw_prefetch_far(struct bw_prefetch *p, uint64_t step)
{
	uint64_t far = 0;

	for (unsigned i = 0; i < BW_PREFETCH_RANKS; i++) {
		uint64_t last = atomic_load(&p->last[i].step_rank), at = last ? (last - 1) / BW_RANKS_MAX : step;

		if (at < step && at + NEAR + 1 > far)
			far = at + NEAR + 1;
	}
	return far;
}

bool bw_prefetch_knows(struct bw_prefetch *p, uint32_t rank)
{
	uint64_t before = atomic_load(&p->last[rank % BW_PREFETCH_RANKS].step_rank);

	return before && (before - 1) % BW_RANKS_MAX == rank;
}

void bw_prefetch_entered(struct bw_prefetch *p, const struct bw_block_want *at)
{
	struct bw_block_want next = *at;
	uint32_t window = bw_prefetch_window(p), n;

	if (!steps_of(p)) {
		(void)steps_ahead(p, at);	/* where its reader is, for bw_prefetch_far() */
		return;
	}
	next.index++;
	bool room = fetch_blocks(p, &next, window, &n);
	uint32_t steps = steps_ahead(p, at);

	adapt(p, room);
	if (steps && room)
		walk_from(p, at, window - n, steps);
}

/* How many ranks are read step after step. */
static unsigned followers(struct bw_prefetch *p)
{
	unsigned n = 0;

	for (unsigned i = 0; i < BW_PREFETCH_RANKS; i++)
		n += atomic_load(&p->last[i].step_rank) && row_steps(p, atomic_load(&p->last[i].row));
	return n;
}

/* One more slice was waited for: are those as many as a step of all readers here, or, of many readers, LATE? */
static bool is_often(struct bw_prefetch *p)
{
	unsigned late = atomic_fetch_add(&p->late, 1) + 1;

	if (late < LATE && late < followers(p))
		return false;
	atomic_store(&p->late, 0);
	return true;
}

void bw_prefetch_late(struct bw_prefetch *p, uint32_t rank, uint64_t step)
{
	uint32_t steps = steps_of(p);
	unsigned window = atomic_load(&p->window), most = atomic_load(&p->window_most);

	if (!steps || steps >= p->steps_most || atomic_load(&p->reach) != BW_PREFETCH_ALL || !is_expected(p, rank, step) ||
	    !is_often(p) || !atomic_compare_exchange_strong(&p->steps, &steps, steps + 1))
		return;
	atomic_store(&p->window_most, most + BLOCKS_A_STEP);
	/* Where memory is short it stays as small as it has become. */
	if (window == most)
		atomic_compare_exchange_strong(&p->window, &window, most + BLOCKS_A_STEP);
}

bool bw_prefetch_expects(struct bw_prefetch *p, uint32_t rank, uint64_t step)
{
	return is_expected(p, rank, step) && !bw_rhythm_is_asked(p->rhythm, step, rank) && bw_rhythm_pauses(p->rhythm, rank);
}

void bw_prefetch_came(struct bw_prefetch *p, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank)
{
	if (bw_prefetch_expects(p, rank, entry->step))
		p->offer(p->ctx, entry, tgb, rank);
}

/* Of the steps that are new only: what was known before has been fetched, or had no room. */
static void follow(struct bw_prefetch *p, const struct bw_prefetch_last *reader, uint64_t old, uint64_t now,
		   bool guess)
{
	uint64_t at = atomic_load(&reader->step_rank);

	if (!at)
		return;
	uint64_t step = (at - 1) / BW_RANKS_MAX, first = step + 1;
	uint64_t last = step + row_steps(p, atomic_load(&reader->row));

	if (first < old)
		first = old;
	if (last >= now)
		last = now - 1;
	walk(p, (uint32_t)((at - 1) % BW_RANKS_MAX), first, last, bw_prefetch_window(p), guess);
}

int64_t bw_prefetch_first_pauses(struct bw_prefetch *p)
{
	uint64_t head = bw_head_steps(p->fetcher->head);
	int64_t again_ns = BW_NEVER;

	for (unsigned i = 0; i < BW_PREFETCH_RANKS; i++) {
		uint64_t at = atomic_load(&p->last[i].step_rank);
		int64_t due_ns = at ? bw_rhythm_first_pause(p->rhythm, (uint32_t)((at - 1) % BW_RANKS_MAX), true) : BW_NEVER;

		if (due_ns <= p->rhythm->now())
			follow(p, &p->last[i], 0, head, false);
		else if (due_ns < again_ns)
			again_ns = due_ns;
	}
	return again_ns;
}

void bw_prefetch_news(struct bw_prefetch *p, uint64_t old, uint64_t now)
{
	if (!steps_of(p) || now <= old)
		return;
	bool guess = followers(p) == 1;

	for (unsigned i = 0; i < BW_PREFETCH_RANKS; i++)
		follow(p, &p->last[i], old, now, guess);
}
