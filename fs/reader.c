/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/reader.h"

#include "fs/guess.h"
#include "fs/prefetch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define HANDED_SHARE 4		/* as much of memory= as blocks ahead may hold waits in the kernel, not counted there */

struct bw_reader {
	struct bw_reader_config config;
	struct bw_fetcher fetcher;
	struct bw_cache *blocks;
	struct bw_tgbs *tgbs;
	struct bw_prefetch prefetch;
	struct bw_guesses guesses;
	struct bw_rhythm rhythm;
};

static void answer(struct bw_piece *piece, int err);
static void came(void *ctx, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank);
static void ahead(void *ctx, int64_t begun_ns, bool in_time);

int bw_reader_new(const struct bw_reader_config *config, struct bw_reader **ret)
{
	struct bw_reader *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->config = *config;
	r->fetcher = (struct bw_fetcher){
		.store = config->store,
		.stream = config->stream,
		.head = config->head,
		.pool = config->pool,
		.log = config->log,
		.counters = config->counters,
		.disk = config->disk,
		.here = config->here,
		.io_timeout_ns = config->io_timeout_ns,
	};
	bw_fetcher_init(&r->fetcher);
	bw_guesses_init(&r->guesses, &r->fetcher, config->budget, NULL, NULL, 0);
	bw_rhythm_init(&r->rhythm, config->now ? config->now : bw_now);
	struct bw_cache_config blocks = {.fetcher = &r->fetcher,
					 .budget = config->budget,
					 .counters = config->counters,
					 .answer = answer,
					 .came = config->came ? came : NULL,
					 .ahead = ahead,
					 .ctx = r,
					 .now = bw_now};
	int err = bw_cache_new(&blocks, &r->blocks);

	if (!err)
		err = bw_tgbs_new(&r->fetcher, config->budget, r->blocks, &r->tgbs);
	if (err) {
		bw_reader_free(r);
		return err;
	}
	r->guesses.blocks = r->blocks;
	r->guesses.tgbs = r->tgbs;
	r->guesses.most = config->prefetch ? config->together : 0;
	bw_prefetch_init(&r->prefetch, &r->fetcher, r->blocks, r->tgbs, config->prefetch, config->prefetch_most,
			 config->together);
	r->prefetch.guesses = &r->guesses;
	r->prefetch.rhythm = &r->rhythm;
	if (config->came) {
		r->prefetch.offer = config->came;
		r->prefetch.ctx = config->ctx;
		err = bw_handed_init(&r->prefetch.handed, config->budget->limit / HANDED_SHARE, bw_now);
	}
	if (err) {
		bw_reader_free(r);
		return err;
	}
	*ret = r;
	return 0;
}

void bw_reader_stop(struct bw_reader *r)
{
	if (r)
		bw_fetcher_stop(&r->fetcher);
}

void bw_reader_news(struct bw_reader *r, uint64_t old, uint64_t now)
{
	bw_prefetch_news(&r->prefetch, old, now);
}

void bw_reader_free(struct bw_reader *r)
{
	if (!r)
		return;
	bw_reader_stop(r);
	bw_guesses_done(&r->guesses);
	bw_tgbs_free(r->tgbs);
	bw_cache_free(r->blocks);
	bw_handed_done(&r->prefetch.handed);
	bw_rhythm_done(&r->rhythm);
	bw_fetcher_done(&r->fetcher);
	free(r);
}

bool bw_reader_tgb(struct bw_reader *r, struct bw_tgb_wait *w, struct bw_tgb **ret_tgb)
{
	if (!bw_fetcher_try_enter(&r->fetcher)) {
		w->done(w, -BW_E_STOPPING, NULL);
		return false;
	}
	if (w->reads)
		bw_guess(&r->guesses, &w->entry, w->needs - 1,
			 bw_prefetch_knows(&r->prefetch, w->needs - 1) ? BW_GUESS_READER : BW_GUESS_STRANGER);
	int found = bw_tgbs_get(r->tgbs, w, BW_PRIO_DEMAND, ret_tgb);

	if (found < 0)
		w->done(w, found, NULL);
	bw_fetcher_leave(&r->fetcher);
	return found > 0;
}

void bw_reader_learn(struct bw_reader *r, const struct bw_entry *entry, struct bw_tgb *tgb, const void *bytes)
{
	/* Else it would take memory for the disk's sake, and is fetched when somebody comes. */
	if (!bytes || !r->config.disk || bw_prefetch_far(&r->prefetch, entry->step) > entry->step)
		bw_tgbs_learn(r->tgbs, entry, tgb, bytes);
}

void bw_reader_root(struct bw_reader *r, const struct bw_root *root)
{
	uint64_t tail0 = root->head - root->tail_n, far = root->footers_n ? bw_prefetch_far(&r->prefetch, root->head) : 0;

	for (uint32_t i = 0; i < root->footers_n; i++) {
		const struct bw_root_footer *f = &root->footers[i];
		const struct bw_entry *e = f->step >= tail0 ? &root->tail[f->step - tail0] : NULL;
		struct bw_tgb *tgb;

		/* Those of older versions have been there before. */
		if (!e || e->version != root->version || f->step >= far ||
		    bw_tgb_verify(f->bytes, f->len, r->config.stream, e, &tgb))
			continue;
		bw_tgbs_learn(r->tgbs, e, tgb, f->bytes);
		bw_tgb_unref(tgb);
	}
}

void bw_reader_shrink(struct bw_reader *r, uint64_t bytes)
{
	uint64_t given = bw_cache_shrink(r->blocks, bytes);

	if (given < bytes)
		(void)bw_tgbs_shrink(r->tgbs, bytes - given);
}

static void ahead(void *ctx, int64_t begun_ns, bool in_time)
{
	struct bw_reader *r = ctx;

	bw_prefetch_ended(&r->prefetch, begun_ns, in_time);
}

/* ---- Slices for the kernel -------------------------------------------------------------------- */

static void came(void *ctx, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank)
{
	struct bw_reader *r = ctx;

	bw_prefetch_came(&r->prefetch, entry, tgb, rank);
}

bool bw_reader_hand(struct bw_reader *r, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank,
		    uint64_t *ret_offset, uint64_t *ret_length)
{
	struct bw_handed *handed = &r->prefetch.handed;
	struct bw_block_want want = {
		.entry = entry, .tgb = tgb, .rank = rank, .index = bw_handed_blocks(handed, entry->step, rank)};

	if (want.index == bw_tgb_slice(tgb, rank)->blocks_n || !bw_prefetch_expects(&r->prefetch, rank, entry->step) ||
	    !bw_cache_is_ahead(r->blocks, &want))
		return false;
	*ret_offset = (uint64_t)want.index * tgb->block_size;
	*ret_length = bw_tgb_block_raw(tgb, bw_tgb_slice(tgb, rank), want.index);
	return bw_handed_add(handed, entry->step, rank, want.index, *ret_length);
}

void bw_reader_hand_back(struct bw_reader *r, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank,
			 uint64_t offset, uint64_t length)
{
	bw_handed_drop(&r->prefetch.handed, entry->step, rank, (uint32_t)(offset / tgb->block_size), length);
}

void bw_reader_begin(struct bw_reader *r, pid_t thread)
{
	bw_rhythm_begin(&r->rhythm, thread);
}

void bw_reader_end(struct bw_reader *r, pid_t thread)
{
	bw_rhythm_end(&r->rhythm, thread);
}

void bw_reader_asked(struct bw_reader *r, uint64_t step, uint32_t rank, pid_t thread)
{
	bw_rhythm_asked(&r->rhythm, step, rank, thread);
}

int64_t bw_reader_closed(struct bw_reader *r, uint64_t step, uint32_t rank, pid_t thread)
{
	bw_rhythm_closed(&r->rhythm, step, rank, thread);
	return r->config.came ? bw_rhythm_first_pause(&r->rhythm, rank, false) : BW_NEVER;
}

int64_t bw_reader_first_pauses(struct bw_reader *r)
{
	return bw_prefetch_first_pauses(&r->prefetch);
}

bool bw_reader_pauses(struct bw_reader *r, uint32_t rank)
{
	return bw_rhythm_pauses(&r->rhythm, rank);
}

uint64_t bw_reader_opened(struct bw_reader *r, const struct bw_entry *entry, uint32_t rank, pid_t thread)
{
	struct bw_handed *handed = &r->prefetch.handed;

	bw_rhythm_opened(&r->rhythm, entry->step, rank, thread);
	uint64_t bytes = handed->most ? bw_handed_take(handed, entry->step, rank) : 0;

	atomic_fetch_add(&r->config.counters->useful, bytes);
	return bytes;
}

void bw_reader_passed(struct bw_reader *r, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank,
		      uint64_t bytes)
{
	struct bw_block_want last = {
		.entry = entry, .tgb = tgb, .rank = rank, .index = (uint32_t)((bytes - 1) / tgb->block_size)};

	if (!bw_fetcher_try_enter(&r->fetcher))
		return;
	bw_guess_learn(&r->guesses, entry, tgb, rank);
	bw_prefetch_entered(&r->prefetch, &last);
	bw_fetcher_leave(&r->fetcher);
}

/* ---- A read ----------------------------------------------------------------------------------- */

static struct bw_piece *pieces_of(struct bw_read *read, unsigned *ret_n)
{
	*ret_n = read->many ? read->many_n : read->pieces_n;
	return read->many ? read->many : read->pieces;
}

static void drop_pieces(struct bw_piece *pieces, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		bw_blob_unref(pieces[i].blob);
}

/* More pieces than the caller has room for become one. */
static int gather(struct bw_read *read)
{
	struct bw_blob *whole = bw_blob_new(read->length);
	size_t at = 0;

	if (!whole)
		return -ENOMEM;
	for (unsigned i = 0; i < read->many_n; i++) {
		const struct bw_piece *p = &read->many[i];
		memcpy(whole->bytes + at, p->blob->bytes + p->offset, p->length);
		at += p->length;
	}
	read->pieces[0] = (struct bw_piece){.blob = whole, .length = read->length};
	read->pieces_n = 1;
	return 0;
}

static void count(struct bw_read *read)
{
	struct bw_counters *counters = read->reader->config.counters;
	uint64_t disk = atomic_load(&read->disk);

	if (!read->ahead)
		atomic_fetch_add(&counters->useful, read->length);
	atomic_fetch_add(&counters->read_cache, read->hits);
	atomic_fetch_add(&counters->read_disk, disk);
	atomic_fetch_add(&counters->read_store, read->length - read->hits - disk);
}

/* Everything has come.  The read is its owner's again from done() on. */
static void finish(struct bw_read *read)
{
	struct bw_reader *r = read->reader;
	struct bw_blob *held[BW_READ_PIECES];
	int err = atomic_load(&read->err);

	if (!err && read->many)
		err = gather(read);
	if (read->many || err) {
		unsigned n;
		struct bw_piece *pieces = pieces_of(read, &n);
		drop_pieces(pieces, n);
		free(read->many);
		read->many = NULL;
	}
	if (err)
		read->pieces_n = 0;
	else
		count(read);
	unsigned held_n = read->pieces_n;

	for (unsigned i = 0; i < held_n; i++)
		held[i] = read->pieces[i].blob;
	read->done(read, err);
	for (unsigned i = 0; i < held_n; i++)
		bw_blob_unref(held[i]);
	bw_cache_trim(r->blocks);
}

/* Of the pieces that wait, and of the reader itself while it starts them, the last one finishes. */
static void settle(struct bw_read *read)
{
	if (atomic_fetch_sub(&read->missing, 1) == 1)
		finish(read);
}

static void fail(struct bw_read *read, int err)
{
	int none = 0;

	atomic_compare_exchange_strong(&read->err, &none, err);
}

static void answer(struct bw_piece *piece, int err)
{
	if (err)
		fail(piece->read, err);
	else if (piece->from_disk)
		atomic_fetch_add(&piece->read->disk, piece->length);
	settle(piece->read);
}

/* Cuts the read into pieces of blocks; *ret_first is the first block, in its slice. */
static int cut(struct bw_read *read, uint32_t *ret_first)
{
	uint64_t block_size = read->tgb->block_size;
	uint64_t at = read->offset, end = at + read->length;
	uint64_t n = read->length ? (end - 1) / block_size - at / block_size + 1 : 0;
	struct bw_piece *pieces = read->pieces;

	*ret_first = (uint32_t)(at / block_size);
	read->many = NULL;
	read->pieces_n = 0;
	if (n > BW_READ_PIECES) {
		pieces = read->many = calloc(n, sizeof(*pieces));
		if (!pieces)
			return -ENOMEM;
		read->many_n = (unsigned)n;
	} else {
		read->pieces_n = (unsigned)n;
	}
	for (uint64_t i = 0; i < n; i++) {
		uint64_t stop = (at / block_size + 1) * block_size;
		stop = stop < end ? stop : end;
		pieces[i] = (struct bw_piece){.offset = at % block_size, .length = stop - at,
					      .read = read};
		at = stop;
	}
	return 0;
}

/* Where the window of a sequential reader moves: whenever it enters a block. */
static void look_ahead(struct bw_reader *r, const struct bw_read *read, uint32_t first, unsigned n,
		       bool enters)
{
	struct bw_block_want at = {
		.entry = read->entry, .tgb = read->tgb, .rank = read->rank, .index = first + n - 1};

	if (n && !read->offset)
		bw_guess_learn(&r->guesses, read->entry, read->tgb, read->rank);
	if (n && enters && (read->sequential || !read->offset))
		bw_prefetch_entered(&r->prefetch, &at);
}

void bw_reader_read(struct bw_reader *r, struct bw_read *read)
{
	assert(read->rank < read->tgb->ranks);
	const struct bw_slice *slice = bw_tgb_slice(read->tgb, read->rank);
	uint64_t left = read->offset < slice->raw ? slice->raw - read->offset : 0;
	uint32_t first;
	unsigned n;

	if (read->length > left)
		read->length = left;
	read->reader = r;
	read->hits = 0;
	atomic_init(&read->missing, 1);
	atomic_init(&read->err, 0);
	atomic_init(&read->disk, 0);
	int err = cut(read, &first);

	if (err) {
		read->done(read, err);
		return;
	}
	struct bw_piece *pieces = pieces_of(read, &n);
	bool enters = n > 1 || (n && !pieces[0].offset);

	for (unsigned i = 0; i < n; i++) {
		struct bw_block_want want = {
			.entry = read->entry, .tgb = read->tgb, .rank = read->rank, .index = first + i};
		atomic_fetch_add(&read->missing, 1);
		int found = bw_cache_get(r->blocks, &want, &pieces[i]);
		if (found > 0)
			read->hits += pieces[i].length;
		else if (found < 0)
			fail(read, found);
		if (found)
			atomic_fetch_sub(&read->missing, 1);
		else if (!read->offset && !i && !read->ahead)
			bw_prefetch_late(&r->prefetch, read->rank, read->entry->step);
	}
	if (!read->ahead)
		look_ahead(r, read, first, n, enters);
	if (read->waits && atomic_load(&read->missing) > 1)
		read->waits(read);
	settle(read);
}
