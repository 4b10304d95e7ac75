/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/tgbs.h"

#include "fs/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SHARE 8		/* footers keep at most 1/8 of the budget */
#define SEARCH 64	/* oldest footers looked at, at a time, for one that nobody holds */
#define WHOLE 0u	/* the number of a footer that is not a page */
#define SPREAD 64u	/* steps */

/* One footer, or page of one.  item first: the table knows it by step and WHOLE, or 1 + its page. */
struct footer {
	struct bw_item item;
	struct bw_tgb *tgb;	/* NULL while flying */
	struct flight *flight;	/* NULL otherwise */
	struct bw_blob *bytes;	/* owned: what was learnt and nobody has asked for is not on the disk yet; else NULL */
	uint64_t charge;	/* held of the budget */
};

struct flight {
	struct bw_fetch fetch;	/* first */
	struct bw_tgbs *tgbs;
	struct footer *footer;
	struct bw_tgb *tgb;
	struct bw_tgb_wait *waiters, **last;	/* in order of arrival */
};

struct bw_tgbs {
	struct bw_fetcher *fetcher;
	struct bw_budget *budget;
	struct bw_cache *blocks;
	struct bw_mutex lock;	/* what follows */
	struct bw_table table;
	struct bw_item lru;	/* decoded ones, oldest first */
	uint64_t held;		/* by those in lru */
	uint32_t page;		/* the last one that was asked for: its number, as in the table */
	bool has_turned;	/* to another page, and at which step it was last */
	uint64_t turned;
};

int bw_tgbs_new(struct bw_fetcher *fetcher, struct bw_budget *budget, struct bw_cache *blocks,
		struct bw_tgbs **ret)
{
	struct bw_tgbs *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	if (bw_table_init(&t->table)) {
		free(t);
		return -ENOMEM;
	}
	t->fetcher = fetcher;
	t->budget = budget;
	t->blocks = blocks;
	bw_mutex_init(&t->lock, BW_RANK_TGBS);
	bw_list_init(&t->lru);
	*ret = t;
	return 0;
}

/* ---- Memory ----------------------------------------------------------------------------------- */

static bool take(struct bw_tgbs *t, uint64_t bytes, bool demand)
{
	if (!bw_budget_take(t->budget, bytes)) {
		(void)bw_cache_shrink(t->blocks, bytes);
		if (!bw_budget_take(t->budget, bytes)) {
			if (!demand)
				return false;
			bw_budget_force(t->budget, bytes);
		}
	}
	atomic_fetch_add(&t->fetcher->counters->cache_bytes, bytes);
	return true;
}

static void give(struct bw_tgbs *t, uint64_t bytes)
{
	atomic_fetch_sub(&t->fetcher->counters->cache_bytes, bytes);
	bw_budget_give(t->budget, bytes);
}

static void keep_locked(struct bw_tgbs *t, struct footer *f)
{
	bw_list_add(&t->lru, &f->item);
	t->held += f->charge;
}

static void evict_locked(struct bw_tgbs *t, struct footer *f)
{
	bw_table_remove(&t->table, &f->item);
	bw_list_remove(&f->item);
	t->held -= f->charge;
	give(t, f->charge);
	bw_tgb_unref(f->tgb);
	bw_blob_unref(f->bytes);
	free(f);
}

/*
 * The oldest footer that nobody else holds; only the lock's holder can make it two.  One that is held counts as used just now:
 * files that stay open must not hide what lies behind their footers.
 */
static struct footer *victim_locked(struct bw_tgbs *t)
{
	for (int n = 0; n < SEARCH && t->lru.next != &t->lru; n++) {
		struct footer *f = (struct footer *)t->lru.next;
		if (atomic_load(&f->tgb->refs) == 1)
			return f;
		bw_list_remove(&f->item);
		bw_list_add(&t->lru, &f->item);
	}
	return NULL;
}

static uint64_t evict_down_locked(struct bw_tgbs *t, uint64_t most)
{
	uint64_t before = t->held;
	struct footer *f;

	while (t->held > most && (f = victim_locked(t)))
		evict_locked(t, f);
	return before - t->held;
}

uint64_t bw_tgbs_shrink(struct bw_tgbs *t, uint64_t bytes)
{
	BW_LOCK_SCOPE(&t->lock);
	return evict_down_locked(t, t->held > bytes ? t->held - bytes : 0);
}

void bw_tgbs_free(struct bw_tgbs *t)
{
	if (!t)
		return;
	while (t->lru.next != &t->lru)
		evict_locked(t, (struct footer *)t->lru.next);
	bw_table_done(&t->table);
	bw_mutex_done(&t->lock);
	free(t);
}

/* What the disk cache knows one by, which has blocks from 0 on. */
static uint32_t disk_number(uint32_t number)
{
	return BW_DISK_FOOTER - number;
}

/* ---- Flights ---------------------------------------------------------------------------------- */

static int check_whole(struct bw_fetch *fetch, struct bw_blob *bytes, char *why, size_t why_len)
{
	struct flight *f = (struct flight *)fetch;
	const struct bw_entry *e = &fetch->entry;
	int err = bw_tgb_verify(bytes->bytes, bytes->len, fetch->by->stream, e, &f->tgb);
	uint64_t sum = err ? bw_tgb_sum(bytes->bytes, bytes->len) : 0;

	if (err && sum != e->footer_xxh3)
		snprintf(why, why_len, "footer got=%016" PRIx64 " wanted=%016" PRIx64, sum, e->footer_xxh3);
	else if (err)
		snprintf(why, why_len, "footer=\"not the one of this step\"");
	if (!err && !fetch->from_disk)
		bw_disk_put(fetch->by->disk, e->step, fetch->number, bytes);
	return err;
}

/* Where the footer is cut otherwise there is no page to be had, and no error. */
static int check_page(struct bw_fetch *fetch, struct bw_blob *bytes, char *why, size_t why_len)
{
	struct flight *f = (struct flight *)fetch;
	uint32_t page = f->footer->item.number - 1;
	struct bw_tgb *tgb;
	int err = bw_tgb_page_decode(bytes->bytes, bytes->len, &fetch->entry, page, &tgb);

	if (err == -ENOENT)
		return fetch->from_disk ? -BW_E_CORRUPT : 0;
	if (!err) {
		err = bw_tgb_check(tgb, fetch->by->stream, &fetch->entry);
		if (err)
			bw_tgb_unref(tgb);
	}
	if (err)
		snprintf(why, why_len, "page=%" PRIu32 " of=footer", page);
	else
		f->tgb = tgb;
	if (!err && !fetch->from_disk)
		bw_disk_put(fetch->by->disk, fetch->entry.step, fetch->number, bytes);
	return err;
}

static void tell(struct bw_tgb_wait *waiters, int err, struct bw_tgb *tgb)
{
	for (struct bw_tgb_wait *w = waiters, *next; w; w = next) {
		next = w->next;
		w->done(w, err, err ? NULL : bw_tgb_ref(tgb));
	}
}

static void failed(struct flight *f, int err)
{
	struct bw_tgbs *t = f->tgbs;

	bw_lock(&t->lock);
	if (bw_fetch_joined(&f->fetch, err)) {
		bw_unlock(&t->lock);
		bw_fetch_start(&f->fetch);
		return;
	}
	bw_table_remove(&t->table, &f->footer->item);
	bw_unlock(&t->lock);
	give(t, f->footer->charge);
	tell(f->waiters, err, NULL);
	free(f->footer);
	free(f);
}

/* Nobody has it before those who asked earlier have heard of it: a guess then knows what is on its way. */
static void publish(struct flight *f)
{
	struct bw_tgbs *t = f->tgbs;
	struct footer *o = f->footer;

	bw_lock(&t->lock);
	o->tgb = bw_tgb_ref(f->tgb);	/* not to be evicted while it is a flight's */
	keep_locked(t, o);
	(void)evict_down_locked(t, t->budget->limit / SHARE);
	for (struct bw_tgb_wait *waiters; (waiters = f->waiters);) {
		f->waiters = NULL;
		f->last = &f->waiters;
		bw_unlock(&t->lock);
		tell(waiters, 0, f->tgb);
		bw_lock(&t->lock);
	}
	o->flight = NULL;
	bw_unlock(&t->lock);
	bw_tgb_unref(f->tgb);
}

static void ask(struct bw_tgbs *t, struct bw_tgb_wait *w, enum bw_prio prio);

/* For the steps around it footers are fetched whole. */
static void turn_locked(struct bw_tgbs *t, uint64_t step)
{
	t->turned = step;
	t->has_turned = true;
}

/* What lies where the page should be is not the page.  Neither will those of the steps to come be. */
static void ask_whole(struct flight *f)
{
	struct bw_tgbs *t = f->tgbs;

	bw_lock(&t->lock);
	bw_table_remove(&t->table, &f->footer->item);
	enum bw_prio prio = atomic_load(&f->fetch.demanded) ? BW_PRIO_DEMAND : f->fetch.prio;
	turn_locked(t, f->fetch.entry.step);
	bw_unlock(&t->lock);
	for (struct bw_tgb_wait *w = f->waiters, *next; w; w = next) {
		next = w->next;
		w->needs = 0;
		ask(t, w, prio);
	}
	free(f->footer);
}

static void landed(struct bw_fetch *fetch, int err)
{
	struct flight *f = (struct flight *)fetch;
	struct footer *o = f->footer;

	if (err) {
		failed(f, err);
		return;
	}
	give(f->tgbs, o->charge);
	o->charge = f->tgb ? bw_tgb_bytes(f->tgb) + sizeof(*o) : 0;
	if (f->tgb)
		(void)take(f->tgbs, o->charge, true);
	if (f->tgb)
		publish(f);
	else
		ask_whole(f);
	free(f);
}

/* page: NULL for the whole footer. */
static struct flight *flight_new(struct bw_tgbs *t, const struct bw_entry *e, const struct bw_tgb_page *page,
				 enum bw_prio prio)
{
	uint32_t length = page ? page->length : e->footer_len;
	struct flight *f = calloc(1, sizeof(*f));
	struct footer *o = calloc(1, sizeof(*o));

	if (!f || !o || !take(t, length, prio == BW_PRIO_DEMAND)) {
		free(f);
		free(o);
		return NULL;
	}
	o->item.step = e->step;
	o->item.number = page ? page->number + 1 : WHOLE;
	o->flight = f;
	o->charge = length;
	f->tgbs = t;
	f->footer = o;
	f->last = &f->waiters;
	f->fetch.by = t->fetcher;
	f->fetch.entry = *e;
	f->fetch.offset = page ? page->offset : e->size - e->footer_len;
	f->fetch.length = length;
	f->fetch.number = disk_number(o->item.number);
	f->fetch.prio = prio;
	atomic_init(&f->fetch.demanded, prio == BW_PRIO_DEMAND);
	f->fetch.check = page ? check_page : check_whole;
	f->fetch.done = landed;
	return f;
}

static void join_locked(struct flight *f, struct bw_tgb_wait *w)
{
	w->next = NULL;
	*f->last = w;
	f->last = &w->next;
}

/* Whether a serves sooner than b: it is there, or its waiters are being told, while b is not there. */
static bool is_nearer(const struct footer *a, const struct footer *b)
{
	return !a->flight || (a->tgb && b->flight);
}

/* The footer or the page, whichever is there rather than on its way; NULL: neither is either. */
static struct footer *find_locked(struct bw_tgbs *t, uint64_t step, const struct bw_tgb_page *page)
{
	struct footer *whole = (struct footer *)bw_table_find(&t->table, step, WHOLE), *part;

	if (!page)
		return whole;
	part = (struct footer *)bw_table_find(&t->table, step, page->number + 1);
	return part && (!whole || is_nearer(part, whole)) ? part : whole;
}

/* What was only learnt is about to be used, so the disk cache shall have it: the caller's, or NULL. */
static struct bw_blob *take_bytes_locked(struct bw_tgbs *t, struct footer *o)
{
	struct bw_blob *bytes = o->bytes;

	if (bytes) {
		o->bytes = NULL;
		o->charge -= bytes->len;
		t->held -= bytes->len;
		give(t, bytes->len);
	}
	return bytes;
}

/* Consumes bytes; no lock held. */
static void put_bytes(struct bw_tgbs *t, uint64_t step, struct bw_blob *bytes)
{
	if (bytes)
		bw_disk_put(t->fetcher->disk, step, disk_number(WHOLE), bytes);
	bw_blob_unref(bytes);
}

/* 1 cached, 0 joined, -ENOENT.  *ret_bytes is for put_bytes(). */
static int look_locked(struct bw_tgbs *t, struct bw_tgb_wait *w, const struct bw_tgb_page *page, enum bw_prio prio,
		       struct bw_tgb **ret, struct bw_blob **ret_bytes)
{
	struct footer *o = find_locked(t, w->entry.step, page);

	if (!o)
		return -ENOENT;
	if (o->flight) {
		join_locked(o->flight, w);
		if (prio == BW_PRIO_DEMAND)
			bw_fetch_demand(&o->flight->fetch);
		return 0;
	}
	bw_list_remove(&o->item);
	bw_list_add(&t->lru, &o->item);
	*ret = bw_tgb_ref(o->tgb);
	*ret_bytes = take_bytes_locked(t, o);
	return 1;
}

/*
 * Whether pages are not worth their requests: who reads slices of several pages goes from one to the other all the time,
 * who reads one slice of each step hardly ever.
 */
static bool is_spread_locked(struct bw_tgbs *t, uint64_t step, const struct bw_tgb_page *page)
{
	bool other = t->page && t->page != page->number + 1;

	t->page = page->number + 1;
	if (other)
		turn_locked(t, step);
	return t->has_turned && step <= t->turned + SPREAD && t->turned <= step + SPREAD;
}

int bw_tgbs_get(struct bw_tgbs *t, struct bw_tgb_wait *w, enum bw_prio prio,
		struct bw_tgb **ret_tgb)
{
	struct bw_tgb_page at, *page = NULL;
	struct bw_blob *bytes = NULL;
	uint64_t step = w->entry.step;	/* one that has joined is gone as soon as it has been told */

	if (w->needs && bw_tgb_page(t->fetcher->stream, &w->entry, w->needs - 1, &at))
		page = &at;
	bw_lock(&t->lock);
	bool whole = !page || is_spread_locked(t, step, page);
	int found = look_locked(t, w, page, prio, ret_tgb, &bytes);
	bw_unlock(&t->lock);
	put_bytes(t, step, bytes);
	if (found >= 0)
		return found;
	bytes = NULL;
	whole = whole || bw_disk_has(t->fetcher->disk, step, disk_number(WHOLE));
	struct flight *f = flight_new(t, &w->entry, whole ? NULL : page, prio);

	if (!f)
		return -ENOMEM;
	bw_lock(&t->lock);
	found = look_locked(t, w, page, prio, ret_tgb, &bytes);
	if (found < 0) {
		bw_table_add(&t->table, &f->footer->item);
		join_locked(f, w);
	}
	bw_unlock(&t->lock);
	put_bytes(t, step, bytes);
	if (found < 0) {
		bw_fetch_start(&f->fetch);
		return 0;
	}
	give(t, f->footer->charge);
	free(f->footer);
	free(f);
	return found;
}

/* For who has been told that done() will run. */
static void ask(struct bw_tgbs *t, struct bw_tgb_wait *w, enum bw_prio prio)
{
	struct bw_tgb *tgb = NULL;
	int found = bw_tgbs_get(t, w, prio, &tgb);

	if (found)
		w->done(w, found < 0 ? found : 0, tgb);
}

bool bw_tgbs_has(struct bw_tgbs *t, const struct bw_entry *entry, uint32_t rank)
{
	struct bw_tgb_page at;
	bool has_page = bw_tgb_page(t->fetcher->stream, entry, rank, &at);

	BW_LOCK_SCOPE(&t->lock);
	return find_locked(t, entry->step, has_page ? &at : NULL);
}

bool bw_tgbs_on_disk(struct bw_tgbs *t, const struct bw_entry *entry, uint32_t rank)
{
	struct bw_disk_cache *disk = t->fetcher->disk;
	struct bw_tgb_page at;

	return bw_disk_has(disk, entry->step, disk_number(WHOLE)) ||
	       (bw_tgb_page(t->fetcher->stream, entry, rank, &at) &&
		bw_disk_has(disk, entry->step, disk_number(at.number + 1)));
}

static bool is_known(struct bw_tgbs *t, uint64_t step)
{
	BW_LOCK_SCOPE(&t->lock);
	return bw_table_find(&t->table, step, WHOLE);
}

static void footer_free(struct footer *o)
{
	bw_blob_unref(o->bytes);
	free(o);
}

void bw_tgbs_learn(struct bw_tgbs *t, const struct bw_entry *entry, struct bw_tgb *tgb, const void *bytes)
{
	struct footer *o = is_known(t, entry->step) ? NULL : calloc(1, sizeof(*o));

	if (!o)
		return;
	o->item.step = entry->step;
	if (bytes && t->fetcher->disk)
		o->bytes = bw_blob_copy(bytes, entry->footer_len);
	o->charge = bw_tgb_bytes(tgb) + sizeof(*o) + (o->bytes ? o->bytes->len : 0);
	if (!take(t, o->charge, false)) {
		footer_free(o);
		return;
	}
	bw_lock(&t->lock);
	bool known = bw_table_find(&t->table, entry->step, WHOLE);
	if (!known) {
		o->tgb = bw_tgb_ref(tgb);
		bw_table_add(&t->table, &o->item);
		keep_locked(t, o);
		(void)evict_down_locked(t, t->budget->limit / SHARE);
	}
	bw_unlock(&t->lock);
	if (known) {
		give(t, o->charge);
		footer_free(o);
	}
}
