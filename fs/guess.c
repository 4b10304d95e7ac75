/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/guess.h"

#include <stdlib.h>

#define READS_FOR_CREDIT 16u	/* so many slices read bring a credit, guessed or not */

/* Two answers are awaited; whichever comes last ends it. */
struct guess {
	struct bw_fetch fetch;		/* of the bytes; first */
	struct bw_tgb_wait wait;
	struct bw_guesses *of;
	struct bw_tgb *like;
	uint32_t rank, blocks_n;
	uint64_t charge;		/* held of the budget, until the cache holds its own */
	struct bw_expected *expected;	/* what entered the cache; NULL: nothing */
	struct bw_blob *bytes;
	int err;			/* of the bytes */
	unsigned missing;		/* answers, under the lock */
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

static struct bw_like *like_locked(struct bw_guesses *g, const struct bw_entry *e)
{
	for (unsigned i = 0; i < BW_GUESS_LIKES; i++)
		if (g->likes[i].tgb && g->likes[i].size == e->size && g->likes[i].footer_len == e->footer_len)
			return &g->likes[i];
	return NULL;
}

static uint64_t name_of(uint64_t step, uint32_t rank)
{
	return 1 + step * BW_RANKS_MAX + rank;
}

static void earn_locked(struct bw_guesses *g, unsigned n)
{
	g->credit = g->credit + n < BW_GUESS_CREDIT ? g->credit + n : BW_GUESS_CREDIT;
}

void bw_guess_learn(struct bw_guesses *g, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank)
{
	struct bw_tgb *old = NULL;

	if (!g->most)
		return;
	bw_lock(&g->lock);
	uint64_t *made = &g->made[rank % BW_GUESS_RANKS];

	if (*made == name_of(entry->step, rank)) {
		*made = 0;
		earn_locked(g, 2);
	} else if (++g->reads % READS_FOR_CREDIT == 0) {
		earn_locked(g, 1);
	}
	if (tgb->compress == BW_COMPRESS_NONE && !like_locked(g, entry)) {
		struct bw_like *like = &g->likes[g->next_like++ % BW_GUESS_LIKES];
		old = like->tgb;
		*like = (struct bw_like){entry->size, entry->footer_len, bw_tgb_ref(tgb)};
	}
	bw_unlock(&g->lock);
	bw_tgb_unref(old);
}

/* ---- A guess ---------------------------------------------------------------------------------- */

static void guess_free(struct guess *s)
{
	if (!s)
		return;
	bw_budget_give(s->of->budget, s->charge);
	bw_blob_unref(s->bytes);
	bw_tgb_unref(s->like);
	free(s);
}

static void settle(struct guess *s)
{
	bw_lock(&s->of->lock);
	bool over = --s->missing == 0;
	bw_unlock(&s->of->lock);
	if (!over)
		return;
	if (s->expected)
		bw_cache_arrive(s->of->blocks, s->expected, s->bytes, s->err);
	guess_free(s);
}

static int keep(struct bw_fetch *fetch, struct bw_blob *bytes, char *why, size_t why_len)
{
	(void)why, (void)why_len;
	((struct guess *)fetch)->bytes = bw_blob_ref(bytes);
	return 0;
}

static void bytes_came(struct bw_fetch *fetch, int err)
{
	struct guess *s = (struct guess *)fetch;

	s->err = err;
	settle(s);
}

static bool is_alike(const struct guess *s, const struct bw_tgb *tgb)
{
	const struct bw_slice *is = &tgb->slices[s->rank], *was = &s->like->slices[s->rank];

	if (tgb->ranks != s->like->ranks || tgb->compress != s->like->compress ||
	    is->offset != was->offset || is->blocks_n < s->blocks_n)
		return false;
	for (uint32_t i = 0; i < s->blocks_n; i++)
		if (tgb->blocks[is->block0 + i].stored != s->like->blocks[was->block0 + i].stored)
			return false;
	return true;
}

static void take_footer(struct guess *s, struct bw_tgb *tgb)
{
	struct bw_block_want want = {.entry = &s->wait.entry, .tgb = tgb, .rank = s->rank};

	bw_budget_give(s->of->budget, s->charge);
	s->charge = 0;
	if (is_alike(s, tgb))
		s->expected = bw_cache_expect(s->of->blocks, &want, s->blocks_n);
}

/* Before those who asked for the footer after it hear of it: so their reads find what is on its way. */
static void footer_came(struct bw_tgb_wait *wait, int err, struct bw_tgb *tgb)
{
	struct guess *s = (struct guess *)((char *)wait - offsetof(struct guess, wait));

	if (!err)
		take_footer(s, tgb);
	bw_tgb_unref(tgb);
	settle(s);
}

/* As many whole blocks as the bytes allow, and one at least. */
static uint64_t measure(const struct bw_guesses *g, const struct bw_tgb *like, uint32_t rank, uint32_t *ret_n)
{
	const struct bw_slice *slice = &like->slices[rank];
	const struct bw_block *b = &like->blocks[slice->block0];
	uint64_t length = b->stored;
	uint32_t n = 1;

	for (; n < slice->blocks_n && length + b[n].stored <= g->most; n++)
		length += b[n].stored;
	*ret_n = n;
	return length;
}

static struct bw_tgb *pay(struct bw_guesses *g, const struct bw_entry *entry, uint32_t rank)
{
	BW_LOCK_SCOPE(&g->lock);
	const struct bw_like *like = like_locked(g, entry);

	if (!like || !g->credit || rank >= like->tgb->ranks)
		return NULL;
	g->credit--;
	g->made[rank % BW_GUESS_RANKS] = name_of(entry->step, rank);
	return bw_tgb_ref(like->tgb);
}

static struct guess *guess_new(struct bw_guesses *g, const struct bw_entry *entry, uint32_t rank)
{
	struct bw_tgb *like = pay(g, entry, rank);
	struct guess *s = like ? calloc(1, sizeof(*s)) : NULL;

	if (!s) {
		bw_tgb_unref(like);
		return NULL;
	}
	s->of = g;
	s->like = like;
	s->rank = rank;
	s->missing = 2;
	s->wait = (struct bw_tgb_wait){.done = footer_came, .entry = *entry};
	s->fetch.by = g->fetcher;
	s->fetch.entry = *entry;
	s->fetch.offset = like->slices[rank].offset;
	s->fetch.length = measure(g, like, rank, &s->blocks_n);
	s->fetch.cut = like->block_size;
	s->fetch.prio = BW_PRIO_DEMAND;
	s->fetch.once = true;
	atomic_init(&s->fetch.demanded, true);
	s->fetch.check = keep;
	s->fetch.done = bytes_came;
	if (!bw_budget_take(g->budget, s->fetch.length)) {
		guess_free(s);
		return NULL;
	}
	s->charge = s->fetch.length;
	return s;
}

void bw_guess(struct bw_guesses *g, const struct bw_entry *entry, uint32_t rank)
{
	struct bw_tgb *tgb;

	if (!g->most || bw_tgbs_has(g->tgbs, entry->step) ||
	    bw_disk_has(g->fetcher->disk, entry->step, BW_DISK_FOOTER))
		return;
	struct guess *s = guess_new(g, entry, rank);

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
	bw_fetch_start(&s->fetch);
}
