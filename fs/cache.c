/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cache.h"

#include "fs/failed.h"
#include "fs/table.h"
#include "store/base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESTS_NS (5 * BW_SEC)		/* a block used so long ago may make room for a prefetch */
#define STALE_NS (30 * BW_SEC)		/* prefetched so long ago and still unread */
#define AHEAD_SHARE 4			/* blocks ahead hold at most 1/4 of the budget */
#define SPENT_MOST (4u << 20)		/* bytes of spent blocks that stay, of a large budget */
#define SPENT_SHARE 16			/* of a small one */

enum place { FLYING, SPENT, AHEAD, USED };
#define LISTS (USED + 1)

/* One block.  item first: the table knows it by that. */
struct block {
	struct bw_item item;
	enum place place;
	bool ahead;		/* counted in ahead_bytes: fetched for nobody, and nobody has come yet */
	uint64_t served;	/* bytes handed out */
	uint64_t charge;	/* held of the budget */
	int64_t touched_ns;
	struct bw_blob *blob;	/* NULL while flying */
	struct flight *flight;	/* owned; NULL otherwise */
};

struct flight {
	struct bw_fetch fetch;	/* first */
	struct flight *lead;	/* whose fetch brings it: itself, or the first of those that come in one get */
	struct flight *mate;	/* the next of them */
	int verdict;		/* on what came of it with others */
	struct bw_cache *cache;
	struct block *block;
	struct bw_tgb *tgb;
	uint32_t rank, number, raw;
	bool ahead;		/* started by a prefetch */
	int64_t begun_ns;	/* then; 0: not, or what became of it has been told */
	bool on_disk;		/* the disk cache seems to have it: it comes alone */
	uint64_t stored;	/* charged for the flight alone: stored bytes of a compressed block */
	struct bw_blob *blob;	/* verified */
	struct bw_piece *waiters, **last;	/* in order of arrival */
};

struct bw_cache {
	struct bw_cache_config config;
	struct bw_mutex lock;		/* what follows */
	struct bw_table table;
	struct bw_item lists[LISTS];	/* by place; FLYING stays empty */
	uint64_t ahead_bytes;
	uint64_t spent_bytes;		/* in lists[SPENT] */
	struct bw_failed failed;
};

int bw_cache_new(const struct bw_cache_config *config, struct bw_cache **ret)
{
	struct bw_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->config = *config;
	if (bw_table_init(&c->table)) {
		free(c);
		return -ENOMEM;
	}
	bw_mutex_init(&c->lock, BW_RANK_CACHE);
	for (int i = 0; i < LISTS; i++)
		bw_list_init(&c->lists[i]);
	*ret = c;
	return 0;
}

/* ---- Memory ----------------------------------------------------------------------------------- */

static void charge_locked(struct bw_cache *c, struct block *b, uint64_t bytes)
{
	b->charge += bytes;
	if (b->ahead)
		c->ahead_bytes += bytes;
	atomic_fetch_add(&c->config.counters->cache_bytes, bytes);
}

static void give_locked(struct bw_cache *c, struct block *b, uint64_t bytes)
{
	b->charge -= bytes;
	if (b->ahead)
		c->ahead_bytes -= bytes;
	atomic_fetch_sub(&c->config.counters->cache_bytes, bytes);
	bw_budget_give(c->config.budget, bytes);
}

static void not_ahead_locked(struct bw_cache *c, struct block *b)
{
	if (b->ahead)
		c->ahead_bytes -= b->charge;
	b->ahead = false;
}

/* Blocks that left the table; their memory is freed when the lock is not held. */
static void bury(struct block *dead)
{
	for (struct block *next; dead; dead = next) {
		next = (struct block *)dead->item.chain;
		bw_blob_unref(dead->blob);
		free(dead);
	}
}

static void unlist_locked(struct bw_cache *c, struct block *b)
{
	bw_list_remove(&b->item);
	if (b->place == SPENT)
		c->spent_bytes -= b->charge;
}

static void evict_locked(struct bw_cache *c, struct block *b, struct block **dead)
{
	bw_table_remove(&c->table, &b->item);
	unlist_locked(c, b);
	give_locked(c, b, b->charge);
	b->item.chain = (struct bw_item *)*dead;
	*dead = b;
}

/* Only the cache hands out references and it has the lock, so one reference stays one. */
static bool is_held(const struct block *b)
{
	return atomic_load(&b->blob->refs) > 1;
}

/* The first block of a list that no read holds, from its old or its new end. */
static struct block *loose(struct bw_item *list, bool newest)
{
	for (struct bw_item *i = newest ? list->prev : list->next; i != list;
	     i = newest ? i->prev : i->next) {
		if (!is_held((struct block *)i))
			return (struct block *)i;
	}
	return NULL;
}

static struct block *stale_locked(struct bw_cache *c, int64_t now)
{
	struct block *b = loose(&c->lists[AHEAD], false);

	return b && now - b->touched_ns > STALE_NS ? b : NULL;
}

static struct block *victim_locked(struct bw_cache *c, bool demand, int64_t now)
{
	struct block *b = loose(&c->lists[SPENT], false);

	if (!b)
		b = stale_locked(c, now);
	if (b)
		return b;
	b = loose(&c->lists[USED], false);
	if (b && (demand || now - b->touched_ns > RESTS_NS))
		return b;
	return demand ? loose(&c->lists[AHEAD], true) : NULL;
}

/* Takes bytes of the budget, by eviction if it must.  A demand takes them in any case. */
static bool take_locked(struct bw_cache *c, uint64_t bytes, bool demand, struct block **dead)
{
	struct block *b;

	while (!bw_budget_take(c->config.budget, bytes)) {
		b = victim_locked(c, demand, c->config.now());
		if (b) {
			evict_locked(c, b, dead);
			continue;
		}
		if (demand)
			bw_budget_force(c->config.budget, bytes);
		return demand;
	}
	return true;
}

static bool room_ahead_locked(struct bw_cache *c, uint64_t bytes, struct block **dead)
{
	uint64_t most = c->config.budget->limit / AHEAD_SHARE;
	struct block *b;

	while (c->ahead_bytes + bytes > most) {
		b = stale_locked(c, c->config.now());
		if (!b)
			return false;
		evict_locked(c, b, dead);
	}
	return true;
}

static void trim_locked(struct bw_cache *c, struct block **dead)
{
	struct block *b;

	while (bw_budget_used(c->config.budget) > c->config.budget->limit) {
		b = victim_locked(c, true, c->config.now());
		if (!b)
			return;
		evict_locked(c, b, dead);
	}
}

void bw_cache_trim(struct bw_cache *c)
{
	struct block *dead = NULL;

	if (bw_budget_used(c->config.budget) <= c->config.budget->limit)
		return;
	bw_lock(&c->lock);
	trim_locked(c, &dead);
	bw_unlock(&c->lock);
	bury(dead);
}

uint64_t bw_cache_shrink(struct bw_cache *c, uint64_t bytes)
{
	struct block *dead = NULL, *b;
	uint64_t given = 0;

	bw_lock(&c->lock);
	while (given < bytes && (b = victim_locked(c, true, c->config.now()))) {
		given += b->charge;
		evict_locked(c, b, &dead);
	}
	bw_unlock(&c->lock);
	bury(dead);
	return given;
}

void bw_cache_free(struct bw_cache *c)
{
	struct block *dead = NULL;

	if (!c)
		return;
	bw_lock(&c->lock);
	/* Held or not: bytes that wait to be written to the disk cache outlive their block. */
	for (int i = 0; i < LISTS; i++)
		while (c->lists[i].next != &c->lists[i])
			evict_locked(c, (struct block *)c->lists[i].next, &dead);
	bw_unlock(&c->lock);
	bury(dead);
	bw_table_done(&c->table);
	bw_mutex_done(&c->lock);
	free(c);
}

/* ---- Flights ---------------------------------------------------------------------------------- */

/* Puts a block that is not in a list into the one it belongs to, at the new end. */
static void place_locked(struct bw_cache *c, struct block *b)
{
	if (b->ahead)
		b->place = AHEAD;
	else
		b->place = b->served >= b->blob->len ? SPENT : USED;
	b->touched_ns = c->config.now();
	bw_list_add(&c->lists[b->place], &b->item);
	if (b->place == SPENT)
		c->spent_bytes += b->charge;
}

/* A spent block is worth little, and memory that goes round quickly stays in the CPU's caches. */
static void drop_spent_locked(struct bw_cache *c, struct block **dead)
{
	uint64_t most = c->config.budget->limit / SPENT_SHARE;
	struct block *b;

	most = most < SPENT_MOST ? most : SPENT_MOST;
	while (c->spent_bytes > most && (b = loose(&c->lists[SPENT], false)))
		evict_locked(c, b, dead);
}

static void land_locked(struct bw_cache *c, struct flight *f, int err)
{
	struct block *b = f->block;

	b->flight = NULL;
	if (err) {
		if (f->waiters)
			bw_failed_note(&c->failed, &f->fetch, err, c->config.now());
		bw_table_remove(&c->table, &b->item);
		give_locked(c, b, b->charge);
		return;
	}
	give_locked(c, b, f->stored);
	b->blob = f->blob;
	for (struct bw_piece *p = f->waiters; p; p = p->next) {
		p->blob = bw_blob_ref(b->blob);
		p->from_disk = f->fetch.from_disk;
		b->served += p->length;
	}
	place_locked(c, b);
}

static void flight_end(struct flight *f, int err)
{
	struct bw_cache *c = f->cache;

	if (err)
		free(f->block);
	else if (f->ahead)
		atomic_fetch_add(&c->config.counters->prefetched, f->raw);
	if (!err && f->ahead && !f->waiters && c->config.came)
		c->config.came(c->config.ctx, &f->fetch.entry, f->tgb, f->rank);
	for (struct bw_piece *p = f->waiters, *next; p; p = next) {
		next = p->next;
		c->config.answer(p, err);
	}
	bw_tgb_unref(f->tgb);
	free(f);
}

/* Of a get ahead.  One that a reader has joined may have been sent again, as his, when its time was over. */
static void tell_ahead(struct flight *f, int err)
{
	const struct bw_cache_config *config = &f->cache->config;
	bool is_late = err == -BW_E_UNREACHABLE || f->fetch.prio == BW_PRIO_DEMAND;

	if (f->begun_ns && config->ahead && (is_late || !err) && !f->fetch.from_disk)
		config->ahead(config->ctx, f->begun_ns, !is_late);
	f->begun_ns = 0;
}

static void landed(struct bw_fetch *fetch, int err)
{
	struct flight *f = (struct flight *)fetch;
	struct bw_cache *c = f->cache;
	struct block *dead = NULL;

	tell_ahead(f, err);
	bw_lock(&c->lock);
	bool again = bw_fetch_joined(fetch, err);

	if (!again)
		land_locked(c, f, err);
	drop_spent_locked(c, &dead);
	trim_locked(c, &dead);
	bw_unlock(&c->lock);
	bury(dead);
	if (again)
		bw_fetch_start(fetch);
	else
		flight_end(f, err);
}

static int check_block(struct flight *f, struct bw_blob *bytes, char *why, size_t why_len)
{
	struct bw_blob *raw;
	int err = bw_tgb_block_read(f->tgb, f->number, bytes, &raw);

	if (!err && raw->len != f->raw) {
		bw_blob_unref(raw);
		err = -BW_E_CORRUPT;
	}
	if (!err)
		f->blob = raw;
	else
		snprintf(why, why_len,
			 "rank=%" PRIu32 " block=%" PRIu32 " got=%016" PRIx64 " wanted=%016" PRIx64,
			 f->rank, f->number, bw_xxh3(bytes->bytes, bytes->len),
			 bw_tgb_block(f->tgb, f->number)->xxh3);
	return err;
}

static void keep_on_disk(const struct flight *f, struct bw_blob *stored)
{
	bw_disk_put(f->cache->config.fetcher->disk, f->block->item.step, f->number, stored);
}

static int check(struct bw_fetch *fetch, struct bw_blob *bytes, char *why, size_t why_len)
{
	struct flight *f = (struct flight *)fetch;
	int err = check_block(f, bytes, why, why_len);

	if (!err && !fetch->from_disk)
		keep_on_disk(f, bytes);
	return err;
}

/* The get of f's block alone. */
static void aim(struct flight *f, const struct bw_entry *entry)
{
	const struct bw_block *at = bw_tgb_block(f->tgb, f->number);

	f->lead = f;
	f->mate = NULL;
	memset(&f->fetch, 0, sizeof(f->fetch));
	f->fetch.by = f->cache->config.fetcher;
	f->fetch.entry = *entry;
	f->fetch.offset = at->offset;
	f->fetch.length = at->stored;
	f->fetch.number = f->number;
	f->fetch.check = check;
	f->fetch.done = landed;
}

/* ---- Flights that come in one get ------------------------------------------------------------- */

/* Of compressed bytes the disk cache has its own copy. */
static void keep_part(const struct flight *f, const struct bw_blob *part)
{
	struct bw_blob *copy = f->cache->config.fetcher->disk ? bw_blob_copy(part->bytes, part->len) : NULL;

	if (copy)
		keep_on_disk(f, copy);
	bw_blob_unref(copy);
}

/* The answer in one piece. */
static int check_part(struct flight *f, struct bw_blob *bytes, size_t *at)
{
	struct bw_blob part = {.len = bw_tgb_block(f->tgb, f->number)->stored, .bytes = bytes->bytes + *at};
	char why[192];

	atomic_init(&part.refs, 1);
	if (part.len > bytes->len - *at)
		return -BW_E_CORRUPT;
	if (part.len == bytes->len)
		return check(&f->fetch, bytes, why, sizeof(why));
	*at += part.len;
	int err = check_block(f, &part, why, sizeof(why));

	if (err)
		return err;
	if (f->blob != &part) {
		keep_part(f, &part);
		return 0;
	}
	f->blob = bw_blob_copy(part.bytes, part.len);
	if (f->blob)
		keep_on_disk(f, f->blob);
	return f->blob ? 0 : -ENOMEM;
}

/* The answer cut into blocks: the first one stays the store's, the others are ours from here on. */
static int check_link(struct flight *f, struct bw_blob **at, const struct bw_blob *first)
{
	struct bw_blob *link = *at;
	char why[192];

	if (!link)
		return -BW_E_CORRUPT;
	*at = link->next;
	link->next = NULL;
	int err = check_block(f, link, why, sizeof(why));

	if (!err)
		keep_on_disk(f, link);
	if (link != first)
		bw_blob_unref(link);
	return err;
}

/* What is wrong with one of them says nothing of the others. */
static int check_all(struct bw_fetch *fetch, struct bw_blob *bytes, char *why, size_t why_len)
{
	struct bw_blob *link = bytes;
	bool is_cut = bytes->next;
	size_t at = 0;

	(void)why, (void)why_len;
	for (struct flight *m = (struct flight *)fetch; m; m = m->mate) {
		m->verdict = is_cut ? check_link(m, &link, bytes) : check_part(m, bytes, &at);
		if (m->verdict == -BW_E_CORRUPT)
			atomic_fetch_add(&m->cache->config.counters->checksum_failures, 1);
	}
	if (is_cut)
		bw_blob_unref(link);	/* more than there were flights for */
	return 0;
}

/* Lets land what came or is not waited for, and aims the others anew.  Both lists keep their order. */
static void sort_locked(struct bw_cache *c, struct flight *lead, int err, struct flight **over,
			struct flight **alone)
{
	const struct bw_entry entry = lead->fetch.entry;
	const int64_t joined_ns = atomic_load(&lead->fetch.demanded_ns);

	for (struct flight *m = lead, *next; m; m = next) {
		next = m->mate;
		if (err)
			m->verdict = err;
		bool is_final = m->verdict == -BW_E_RECLAIMED || m->verdict == -BW_E_DENIED;
		if (!m->verdict || is_final || !m->waiters) {
			land_locked(c, m, m->verdict);
			m->mate = NULL;
			*over = m;
			over = &m->mate;
			continue;
		}
		aim(m, &entry);
		m->begun_ns = 0;
		/* It was asked for once: bytes that are damaged in the store end in as many gets as ever. */
		m->fetch.again = !err && m->verdict == -BW_E_CORRUPT;
		atomic_init(&m->fetch.demanded, true);
		atomic_init(&m->fetch.demanded_ns, joined_ns);
		*alone = m;
		alone = &m->mate;
	}
}

static void landed_all(struct bw_fetch *fetch, int err)
{
	struct flight *lead = (struct flight *)fetch, *over = NULL, *alone = NULL, *next;
	struct bw_cache *c = lead->cache;
	struct block *dead = NULL;

	tell_ahead(lead, err);
	bw_lock(&c->lock);
	sort_locked(c, lead, err, &over, &alone);
	drop_spent_locked(c, &dead);
	trim_locked(c, &dead);
	bw_unlock(&c->lock);
	bury(dead);
	for (; over; over = next) {
		next = over->mate;
		flight_end(over, over->verdict);
	}
	for (; alone; alone = next) {
		next = alone->mate;
		alone->mate = NULL;
		bw_fetch_start(&alone->fetch);
	}
}

static struct flight *flight_new(struct bw_cache *c, const struct bw_block_want *w)
{
	const struct bw_slice *s = bw_tgb_slice(w->tgb, w->rank);
	const struct bw_block *at = bw_tgb_block(w->tgb, s->block0 + w->index);
	struct flight *f = calloc(1, sizeof(*f));
	struct block *b = calloc(1, sizeof(*b));

	if (!f || !b) {
		free(f);
		free(b);
		return NULL;
	}
	b->item.step = w->entry->step;
	b->item.number = s->block0 + w->index;
	b->flight = f;
	f->cache = c;
	f->block = b;
	f->last = &f->waiters;
	f->tgb = bw_tgb_ref(w->tgb);
	f->rank = w->rank;
	f->number = s->block0 + w->index;
	f->raw = bw_tgb_block_raw(w->tgb, s, w->index);
	f->stored = at->stored < f->raw ? at->stored : 0;
	aim(f, w->entry);
	return f;
}

static void flight_drop(struct flight *f)
{
	if (!f)
		return;
	free(f->block);
	bw_tgb_unref(f->tgb);
	free(f);
}

/* All from f on. */
static void flights_drop(struct flight *f)
{
	for (struct flight *next; f; f = next) {
		next = f->mate;
		flight_drop(f);
	}
}

static uint64_t flight_charge(const struct flight *f)
{
	return f->raw + f->stored + sizeof(struct block) + sizeof(struct bw_blob);
}

/* Enters f's block, whose memory has been taken. */
static void take_off_locked(struct bw_cache *c, struct flight *f, bool ahead)
{
	f->ahead = f->block->ahead = ahead;
	f->begun_ns = ahead ? c->config.now() : 0;
	f->fetch.prio = ahead ? BW_PRIO_PREFETCH : BW_PRIO_DEMAND;
	atomic_init(&f->fetch.demanded, !ahead);
	charge_locked(c, f->block, flight_charge(f));
	bw_table_add(&c->table, &f->block->item);
}

/* ---- Getting ---------------------------------------------------------------------------------- */

static struct block *find_locked(struct bw_cache *c, const struct bw_block_want *w)
{
	uint32_t number = bw_tgb_slice(w->tgb, w->rank)->block0 + w->index;

	return (struct block *)bw_table_find(&c->table, w->entry->step, number);
}

static void join_locked(struct bw_cache *c, struct block *b, struct bw_piece *p)
{
	not_ahead_locked(c, b);
	p->next = NULL;
	*b->flight->last = p;
	b->flight->last = &p->next;
	bw_fetch_demand(&b->flight->lead->fetch);
}

static void hit_locked(struct bw_cache *c, struct block *b, struct bw_piece *p)
{
	not_ahead_locked(c, b);
	p->blob = bw_blob_ref(b->blob);
	b->served += p->length;
	unlist_locked(c, b);
	place_locked(c, b);
}

/* 1 hit, 0 joined, -ENOENT. */
static int look_locked(struct bw_cache *c, const struct bw_block_want *w, struct bw_piece *p)
{
	struct block *b = find_locked(c, w);

	if (!b)
		return -ENOENT;
	if (b->flight)
		join_locked(c, b, p);
	else
		hit_locked(c, b, p);
	return !b->flight;
}

int bw_cache_get(struct bw_cache *c, const struct bw_block_want *w, struct bw_piece *p)
{
	struct block *dead = NULL;

	bw_lock(&c->lock);
	int found = look_locked(c, w, p);
	drop_spent_locked(c, &dead);
	bw_unlock(&c->lock);
	bury(dead);
	if (found >= 0)
		return found;
	struct flight *f = flight_new(c, w);

	if (!f)
		return -ENOMEM;
	dead = NULL;
	bw_lock(&c->lock);
	found = look_locked(c, w, p);
	if (found < 0) {
		(void)take_locked(c, flight_charge(f), true, &dead);
		take_off_locked(c, f, false);
		bw_failed_hurry(&c->failed, &f->fetch, c->config.now());
		join_locked(c, f->block, p);
	}
	bw_unlock(&c->lock);
	bury(dead);
	if (found >= 0) {
		flight_drop(f);
		return found;
	}
	bw_fetch_start(&f->fetch);
	return 0;
}

bool bw_cache_is_ahead(struct bw_cache *c, const struct bw_block_want *w)
{
	BW_LOCK_SCOPE(&c->lock);
	const struct block *b = find_locked(c, w);

	return b && b->place == AHEAD;
}

/* ---- Ahead ------------------------------------------------------------------------------------ */

bool bw_cache_has(struct bw_cache *c, const struct bw_block_want *w)
{
	BW_LOCK_SCOPE(&c->lock);
	return find_locked(c, w);
}

bool bw_block_next(struct bw_block_want *w)
{
	if (w->index + 1 < bw_tgb_slice(w->tgb, w->rank)->blocks_n) {
		w->index++;
		return true;
	}
	if (!bw_tgb_knows(w->tgb, w->rank + 1))
		return false;
	w->rank++;
	w->index = 0;	/* every slice has a block */
	return true;
}

static struct flight *flights_new(struct bw_cache *c, const struct bw_block_want *from, uint32_t n)
{
	struct bw_block_want w = *from;
	struct flight *first = NULL, **at = &first;

	do {
		*at = flight_new(c, &w);
		if (!*at)
			break;
		(*at)->on_disk = bw_disk_has(c->config.fetcher->disk, w.entry->step, (*at)->number);
		at = &(*at)->mate;
	} while (--n && bw_block_next(&w));
	return first;
}

/*
 * Enters flights of what is not there, up to a block that has no room: then false.  A block that is there ends it too, or, with gaps, is
 * passed over.  *flights keeps those, *ret_rest has the rest.
 */
static bool enter_locked(struct bw_cache *c, bool gaps, struct flight **flights, struct flight **ret_rest,
			 struct block **dead)
{
	struct flight *lead = NULL, **at = flights, **rest = ret_rest;
	bool room = true;

	for (struct flight *f; (f = *at);) {
		const struct bw_item *i = &f->block->item;
		bool is_there = bw_table_find(&c->table, i->step, i->number);
		if (is_there && !gaps)
			break;
		if (is_there) {
			*at = f->mate;
			*rest = f;
			rest = &f->mate;
			lead = NULL;	/* what is behind it comes by another get */
			continue;
		}
		room = room_ahead_locked(c, flight_charge(f), dead) &&
		       take_locked(c, flight_charge(f), false, dead);
		if (!room)
			break;
		take_off_locked(c, f, true);
		if (!lead || lead->on_disk || f->on_disk)
			lead = f;
		f->lead = lead;
		at = &f->mate;
	}
	*rest = *at;
	*at = NULL;
	return room;
}

/* Where blocks are stored as they are the answer comes cut into them; else it is unpacked anyway. */
static void aim_all(struct flight *lead)
{
	struct bw_fetch *fetch = &lead->fetch;
	const struct flight *m;
	bool even = true;

	fetch->length = 0;
	for (m = lead; m; m = m->mate) {
		uint32_t stored = bw_tgb_block(m->tgb, m->number)->stored;
		even = even && !m->stored && (m->mate ? stored == lead->raw : stored <= lead->raw);
		fetch->length += stored;
	}
	fetch->cut = even ? lead->raw : 0;
	fetch->once = true;
	fetch->check = check_all;
	fetch->done = landed_all;
}

static void start_all(struct flight *lead)
{
	for (struct flight *next, *end; lead; lead = next) {
		for (end = lead; end->mate && end->mate->lead == lead; end = end->mate)
			;
		next = end->mate;
		end->mate = NULL;
		if (lead->mate)
			aim_all(lead);
		bw_fetch_start(&lead->fetch);
	}
}

/* NULL: none; *ret_room: as bw_cache_prefetch() returns it. */
static struct flight *enter_all(struct bw_cache *c, const struct bw_block_want *w, uint32_t n, bool gaps, bool *ret_room)
{
	struct flight *flights = flights_new(c, w, n), *rest;
	struct block *dead = NULL;

	*ret_room = flights;
	if (!flights)
		return NULL;
	bw_lock(&c->lock);
	*ret_room = enter_locked(c, gaps, &flights, &rest, &dead);
	bw_unlock(&c->lock);
	bury(dead);
	flights_drop(rest);
	return flights;
}

bool bw_cache_prefetch(struct bw_cache *c, const struct bw_block_want *w, uint32_t n)
{
	bool room;

	start_all(enter_all(c, w, n, true, &room));
	return room;
}

struct bw_expected *bw_cache_expect(struct bw_cache *c, const struct bw_block_want *w, uint32_t n)
{
	bool room;

	return (struct bw_expected *)enter_all(c, w, n, false, &room);
}

void bw_cache_arrive(struct bw_cache *c, struct bw_expected *e, struct bw_blob *bytes, int err)
{
	struct flight *lead = (struct flight *)e;

	(void)c;
	if (!err)
		(void)check_all(&lead->fetch, bytes, NULL, 0);
	landed_all(&lead->fetch, err);
}
