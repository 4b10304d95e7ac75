/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/guess.h"

#include <stdlib.h>

#define READS_FOR_CREDIT 16u	/* so many slices read bring a credit, guessed or not */

#define PARTS 4u		/* gets of one guess */
#define PROVEN 2u

struct guess;

/* One get.  Two answers are awaited, its own and the footer; whichever comes last ends it. */
struct part {
	struct bw_fetch fetch;		/* first */
	struct guess *of;
	uint32_t index, blocks_n;	/* in the slice */
	struct bw_expected *expected;	/* what entered the cache; NULL: nothing */
	struct bw_blob *bytes;
	int err;			/* of the bytes */
	unsigned missing;		/* answers, under the lock */
};

struct guess {
	struct bw_tgb_wait wait;
	struct bw_guesses *of;
	uint32_t rank, block_size, blocks_n;
	uint64_t offset, length;	/* of the bytes asked for */
	uint64_t charge;		/* held of the budget, until the cache holds its own */
	unsigned parts_n;
	unsigned missing;		/* parts that have not ended, and the footer; under the lock */
	struct part parts[PARTS];
};

void bw_guesses_init(struct bw_guesses *g, struct bw_fetcher *fetcher, struct bw_budget *budget,
		     struct bw_cache *blocks, struct bw_tgbs *tgbs, uint64_t most)
{
	*g = (struct bw_guesses){.fetcher = fetcher, .budget = budget, .blocks = blocks, .tgbs = tgbs,
				 .most = most, .credit = BW_GUESS_CREDIT};
	bw_mutex_init(&g->lock, BW_RANK_LEAF);
}

void bw_guesses_done(struct bw_guesses *g)
{
	for (unsigned i = 0; i < BW_GUESS_LIKES; i++)
		bw_tgb_unref(g->likes[i].tgb);
	bw_mutex_done(&g->lock);
}

/* ---- What is known ---------------------------------------------------------------------------- */

/* One that says where the slice of rank lies. */
static struct bw_like *like_locked(struct bw_guesses *g, const struct bw_entry *e, uint32_t rank)
{
	for (unsigned i = 0; i < BW_GUESS_LIKES; i++) {
		struct bw_like *like = &g->likes[i];
		if (like->tgb && like->size == e->size && like->footer_len == e->footer_len && bw_tgb_knows(like->tgb, rank))
			return like;
	}
	return NULL;
}

static void earn_locked(struct bw_guesses *g, unsigned n)
{
	g->credit = g->credit + n < BW_GUESS_CREDIT ? g->credit + n : BW_GUESS_CREDIT;
}

static bool is_even(const struct bw_tgb *tgb)
{
	for (uint32_t i = 1; i < tgb->known; i++)
		if (tgb->slices[i].stored != tgb->slices[0].stored)
			return false;
	return tgb->compress == BW_COMPRESS_NONE;
}

/* Returns what it has forgotten for it. */
static struct bw_tgb *remember_locked(struct bw_guesses *g, const struct bw_entry *entry, struct bw_tgb *tgb,
				      unsigned trust)
{
	struct bw_like *like = &g->likes[g->next_like++ % BW_GUESS_LIKES];
	struct bw_tgb *old = like->tgb;

	*like = (struct bw_like){entry->size, entry->footer_len, bw_tgb_ref(tgb), trust};
	return old;
}

void bw_guess_learn(struct bw_guesses *g, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank)
{
	struct bw_tgb *old = NULL;

	if (!g->most)
		return;
	bw_lock(&g->lock);
	uint64_t *made = &g->made[rank % BW_GUESS_RANKS];

	if (*made == bw_slice_number(entry->step, rank)) {
		*made = 0;
		earn_locked(g, 2);
	} else if (++g->reads % READS_FOR_CREDIT == 0) {
		earn_locked(g, 1);
	}
	if (!like_locked(g, entry, rank)) {
		g->uneven = !is_even(tgb);
		if (tgb->compress == BW_COMPRESS_NONE)
			old = remember_locked(g, entry, tgb, 1);
	}
	bw_unlock(&g->lock);
	bw_tgb_unref(old);
}

/* Where the slice of rank lies, as far as one can tell. */
static bool place_locked(const struct bw_guesses *g, const struct bw_like *like, const struct bw_entry *entry,
			 uint32_t rank, struct bw_slice *ret)
{
	uint64_t length;

	if (like) {
		if (!like->trust)
			return false;
		*ret = *bw_tgb_slice(like->tgb, rank);
		return true;
	}
	if (g->uneven || !bw_tgb_may_be_even(g->fetcher->stream, entry, &length))
		return false;
	*ret = (struct bw_slice){.offset = rank * length, .stored = length};
	return true;
}

/* What the footer has shown. */
static void judged(struct bw_guesses *g, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank, bool is_right)
{
	struct bw_tgb *old = NULL;

	bw_lock(&g->lock);
	struct bw_like *like = like_locked(g, entry, rank);

	if (like)
		like->trust = is_right ? PROVEN : like->trust - !!like->trust;
	else if (is_right)
		old = remember_locked(g, entry, tgb, PROVEN);
	else
		g->uneven = true;
	bw_unlock(&g->lock);
	bw_tgb_unref(old);
}

/* ---- A guess ---------------------------------------------------------------------------------- */

static void guess_free(struct guess *s)
{
	if (!s)
		return;
	bw_budget_give(s->of->budget, s->charge);
	for (unsigned i = 0; i < s->parts_n; i++)
		bw_blob_unref(s->parts[i].bytes);
	free(s);
}

/* True for the one who is last. */
static bool count_down(struct guess *s, unsigned *missing)
{
	BW_LOCK_SCOPE(&s->of->lock);
	return --*missing == 0;
}

static void leave(struct guess *s)
{
	if (count_down(s, &s->missing))
		guess_free(s);
}

static void settle(struct part *p)
{
	struct guess *s = p->of;

	if (!count_down(s, &p->missing))
		return;
	if (p->expected)
		bw_cache_arrive(s->of->blocks, p->expected, p->bytes, p->err);
	leave(s);
}

static int keep(struct bw_fetch *fetch, struct bw_blob *bytes, char *why, size_t why_len)
{
	(void)why, (void)why_len;
	((struct part *)fetch)->bytes = bw_blob_ref(bytes);
	return 0;
}

static void bytes_came(struct bw_fetch *fetch, int err)
{
	struct part *p = (struct part *)fetch;

	p->err = err;
	settle(p);
}

/* Blocks that are stored as they are have one length, but for the last one of a slice. */
static bool is_right(const struct guess *s, const struct bw_tgb *tgb)
{
	const struct bw_slice *is = bw_tgb_slice(tgb, s->rank);

	if (tgb->compress != BW_COMPRESS_NONE || tgb->block_size != s->block_size || is->offset != s->offset)
		return false;
	return is->stored == s->length || (is->stored > s->length && s->length % s->block_size == 0);
}

static void take_footer(struct guess *s, struct bw_tgb *tgb)
{
	struct bw_block_want want = {.entry = &s->wait.entry, .tgb = tgb, .rank = s->rank};
	bool is = is_right(s, tgb);

	bw_budget_give(s->of->budget, s->charge);
	s->charge = 0;
	judged(s->of, &s->wait.entry, tgb, s->rank, is);
	for (unsigned i = 0; i < s->parts_n && is; i++) {
		want.index = s->parts[i].index;
		s->parts[i].expected = bw_cache_expect(s->of->blocks, &want, s->parts[i].blocks_n);
	}
}

/* Before those who asked for the footer after it hear of it: so their reads find what is on its way. */
static void footer_came(struct bw_tgb_wait *wait, int err, struct bw_tgb *tgb)
{
	struct guess *s = bw_container_of(wait, struct guess, wait);

	if (!err)
		take_footer(s, tgb);
	bw_tgb_unref(tgb);
	for (unsigned i = 0; i < s->parts_n; i++)
		settle(&s->parts[i]);
	leave(s);
}

/* Cuts what is asked for into gets: whole blocks, as many as the bytes allow, and one at least. */
static void cut(struct guess *s, const struct bw_slice *slice, unsigned parts_most)
{
	uint64_t most = s->of->most / s->block_size, blocks = (slice->stored + s->block_size - 1) / s->block_size;
	uint32_t together = most ? (uint32_t)most : 1;

	s->offset = slice->offset;
	for (; s->parts_n < parts_most && s->blocks_n < blocks; s->parts_n++) {
		struct part *p = &s->parts[s->parts_n];
		p->of = s;
		p->missing = 2;
		p->index = s->blocks_n;
		p->blocks_n = blocks - p->index < together ? (uint32_t)(blocks - p->index) : together;
		s->blocks_n += p->blocks_n;
	}
	s->length = s->blocks_n == blocks ? slice->stored : (uint64_t)s->blocks_n * s->block_size;
	s->missing = s->parts_n + 1;
}

static void aim(struct guess *s, struct part *p)
{
	uint64_t at = (uint64_t)p->index * s->block_size, end = at + (uint64_t)p->blocks_n * s->block_size;

	p->fetch.by = s->of->fetcher;
	p->fetch.entry = s->wait.entry;
	p->fetch.offset = s->offset + at;
	p->fetch.length = (end < s->length ? end : s->length) - at;
	p->fetch.cut = s->block_size;
	p->fetch.prio = BW_PRIO_DEMAND;
	p->fetch.once = true;
	atomic_init(&p->fetch.demanded, true);
	p->fetch.check = keep;
	p->fetch.done = bytes_came;
}

/* The gets that are paid for; 0: none.  Whoever is not read here may not use up what there is. */
static unsigned pay(struct bw_guesses *g, const struct bw_entry *entry, uint32_t rank, enum bw_guess_for why,
		    struct bw_slice *ret_slice)
{
	BW_LOCK_SCOPE(&g->lock);
	const struct bw_like *like = like_locked(g, entry, rank);

	if (g->credit <= (why == BW_GUESS_STRANGER ? BW_GUESS_CREDIT - BW_GUESS_STRANGERS : 0) ||
	    !place_locked(g, like, entry, rank, ret_slice))
		return 0;
	g->credit--;
	g->made[rank % BW_GUESS_RANKS] = bw_slice_number(entry->step, rank);
	return why == BW_GUESS_FOLLOWER && like && like->trust == PROVEN ? PARTS : 1;
}

static struct guess *guess_new(struct bw_guesses *g, const struct bw_entry *entry, uint32_t rank,
			       enum bw_guess_for why)
{
	struct bw_slice slice;
	unsigned parts_most = pay(g, entry, rank, why, &slice);
	struct guess *s = parts_most ? calloc(1, sizeof(*s)) : NULL;

	if (!s)
		return NULL;
	s->of = g;
	s->rank = rank;
	s->block_size = g->fetcher->stream->block_size;
	s->wait = (struct bw_tgb_wait){.done = footer_came, .entry = *entry, .needs = rank + 1};
	cut(s, &slice, parts_most);
	for (unsigned i = 0; i < s->parts_n; i++)
		aim(s, &s->parts[i]);
	if (!bw_budget_take(g->budget, s->length)) {
		guess_free(s);
		return NULL;
	}
	s->charge = s->length;
	return s;
}

void bw_guess(struct bw_guesses *g, const struct bw_entry *entry, uint32_t rank, enum bw_guess_for why)
{
	struct bw_tgb *tgb;

	if (!g->most || bw_tgbs_has(g->tgbs, entry, rank) || bw_tgbs_on_disk(g->tgbs, entry, rank))
		return;
	struct guess *s = guess_new(g, entry, rank, why);

	if (!s)
		return;
	int found = bw_tgbs_get(g->tgbs, &s->wait, BW_PRIO_DEMAND, &tgb);

	if (found) {
		/* Somebody was quicker, or memory is short. */
		if (found > 0)
			bw_tgb_unref(tgb);
		guess_free(s);
		return;
	}
	/* Each part holds the guess until its own bytes have come. */
	for (unsigned i = 0, n = s->parts_n; i < n; i++)
		bw_fetch_start(&s->parts[i].fetch);
}
