/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/reclaim_rules.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 4096u

bool bw_reclaim_deletes(enum bw_reclaim_why why)
{
	static const bool deletes[] = {
#define X(name, deletes, words) [BW_WHY_##name] = deletes,
		BW_RECLAIM_WHYS(X)
#undef X
	};

	return deletes[why];
}

const char *bw_reclaim_why_words(enum bw_reclaim_why why)
{
	static const char *const words[] = {
#define X(name, deletes, words) [BW_WHY_##name] = words,
		BW_RECLAIM_WHYS(X)
#undef X
	};

	return words[why];
}

/* ---- References ------------------------------------------------------------------------------- */

/* Nonces are random; where they are not, they are spread all the same.  Parts are chosen by the high bits. */
static uint64_t spread(uint64_t nonce)
{
	return nonce * UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t part_of(const struct bw_refs *r, uint64_t nonce)
{
	return (uint64_t)((unsigned __int128)spread(nonce) * r->parts >> 64);
}

int bw_refs_init(struct bw_refs *r, uint64_t most, uint64_t memory)
{
	uint64_t slots = PAGE / sizeof(*r->slots);

	/* At least half of the slots stay free. */
	while (slots < 2 * most && 2 * slots * sizeof(*r->slots) <= memory)
		slots *= 2;
	*r = (struct bw_refs){.cap = slots, .parts = 1};
	/* Of many parts one gets more than the mean, hence three eighths. */
	if (slots < 2 * most)
		r->parts = most / (slots / 8 * 3) + 1;
	r->slots = calloc(slots, sizeof(*r->slots));
	return r->slots ? 0 : -ENOMEM;
}

void bw_refs_done(struct bw_refs *r)
{
	free(r->slots);
	*r = (struct bw_refs){.slots = NULL};
}

void bw_refs_next_part(struct bw_refs *r)
{
	memset(r->slots, 0, r->cap * sizeof(*r->slots));
	r->n = 0;
	r->zero = false;
	r->part++;
}

bool bw_refs_covers(const struct bw_refs *r, uint64_t nonce)
{
	return part_of(r, nonce) == r->part;
}

static size_t slot_of(const struct bw_refs *r, uint64_t nonce)
{
	uint64_t h = spread(nonce);
	size_t i = (h ^ h >> 32) & (r->cap - 1);

	while (r->slots[i] && r->slots[i] != nonce)
		i = (i + 1) & (r->cap - 1);
	return i;
}

int bw_refs_add(struct bw_refs *r, uint64_t nonce)
{
	if (!bw_refs_covers(r, nonce))
		return 0;
	if (!nonce) {
		r->zero = true;
		return 0;
	}
	size_t i = slot_of(r, nonce);

	if (r->slots[i])
		return 0;
	if (r->n + 1 >= r->cap)
		return -ENOMEM;
	r->slots[i] = nonce;
	r->n++;
	return 0;
}

bool bw_refs_has(const struct bw_refs *r, uint64_t nonce)
{
	return nonce ? r->slots[slot_of(r, nonce)] != 0 : r->zero;
}

/* ---- The rules -------------------------------------------------------------------------------- */

static const struct bw_producer_entry *producer_of(const struct bw_reclaim_rules *r,
						   const struct bw_key *k)
{
	return bw_root_producer(r->judge, k->producer);
}

/* Of an upload that no entry of the judge names. */
static enum bw_reclaim_why judge_upload(const struct bw_producer_entry *p, const struct bw_key *k)
{
	if (!p)
		return BW_WHY_NO_PRODUCER;
	if (k->epoch < p->epoch)
		return BW_WHY_FENCED;
	return k->seq < p->next ? BW_WHY_LOST : BW_WHY_UNSETTLED;
}

static enum bw_reclaim_why judge_data(const struct bw_reclaim_rules *r, const struct bw_key *k)
{
	if (!r->needed || !bw_refs_covers(r->needed, k->nonce))
		return BW_WHY_LATER;
	if (bw_refs_has(r->needed, k->nonce))
		return BW_WHY_NEEDED;
	if (r->counted && bw_refs_has(r->counted, k->nonce))
		return BW_WHY_LATER;
	return judge_upload(producer_of(r, k), k);
}

static bool is_current(const struct bw_producer_entry *p, const struct bw_key *k)
{
	return p->has_state && !p->state && p->state_seq == k->seq && p->state_epoch == k->epoch &&
	       p->state_nonce == k->nonce;
}

static enum bw_reclaim_why judge_state(const struct bw_reclaim_rules *r, const struct bw_key *k)
{
	const struct bw_producer_entry *p = producer_of(r, k);

	if (!p)
		return BW_WHY_NO_PRODUCER;
	if (is_current(p, k))
		return BW_WHY_STATE_CURRENT;
	if (k->epoch < p->epoch || k->seq + 1 < p->next)
		return BW_WHY_STATE_OLD;
	return k->seq < p->next ? BW_WHY_STATE_RECENT : BW_WHY_UNSETTLED;
}

/* By swept as well as by first: until its steps are deleted a node says what their objects are called. */
static enum bw_reclaim_why judge_node(const struct bw_reclaim_rules *r, const struct bw_key *k)
{
	uint64_t below = r->swept < r->judge->first ? r->swept : r->judge->first;

	return k->last < below ? BW_WHY_NODE_OLD : BW_WHY_NODE_NEEDED;
}

enum bw_reclaim_why bw_reclaim_judge(const struct bw_reclaim_rules *r, const struct bw_key *k)
{
	switch (k->kind) {
	case BW_KEY_FOREIGN:
		break;
	case BW_KEY_STREAM:
	case BW_KEY_HINT:
	case BW_KEY_ROOT:
		return BW_WHY_META;
	case BW_KEY_NODE:
		return judge_node(r, k);
	case BW_KEY_DATA:
		return judge_data(r, k);
	case BW_KEY_STATE:
		return judge_state(r, k);
	}
	return BW_WHY_FOREIGN;
}

/* A state is named by the nonce of its data: what is committed is left alone, whatever hangs on it. */
static enum bw_reclaim_why judge_partial_upload(const struct bw_reclaim_rules *r,
						const struct bw_key *k)
{
	if (!r->needed || !bw_refs_covers(r->needed, k->nonce))
		return BW_WHY_LATER;
	if (bw_refs_has(r->needed, k->nonce))
		return BW_WHY_NEEDED;
	enum bw_reclaim_why why = judge_upload(producer_of(r, k), k);

	return bw_reclaim_deletes(why) ? BW_WHY_PARTIAL_OLD : why;
}

enum bw_reclaim_why bw_reclaim_judge_partial(const struct bw_reclaim_rules *r, const struct bw_key *k,
					     int64_t age_ms)
{
	if (k->kind == BW_KEY_FOREIGN || k->kind == BW_KEY_STREAM)
		return BW_WHY_FOREIGN;
	if (age_ms < BW_RECLAIM_DAY_MS)
		return BW_WHY_PARTIAL_YOUNG;
	if (k->kind == BW_KEY_DATA || k->kind == BW_KEY_STATE)
		return judge_partial_upload(r, k);
	/* One part of the references is enough for what they say nothing of. */
	if (!r->needed || r->needed->part)
		return BW_WHY_LATER;
	if ((k->kind == BW_KEY_ROOT && k->version > r->judge->version) ||
	    (k->kind == BW_KEY_NODE && k->last >= r->judge->head))
		return BW_WHY_UNSETTLED;
	return BW_WHY_PARTIAL_OLD;
}

bool bw_reclaim_trim_waits(uint64_t live_bytes, uint64_t fresh_bytes)
{
	return fresh_bytes > live_bytes / 2;
}
