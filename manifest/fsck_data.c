/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every block of every live step, through the code that readers use.  Lanes take entries from a short
 * queue; each reads one object at a time, a small one with one get and a large one in ranges.
 */
#include "manifest/fsck_priv.h"
#include "manifest/tgb.h"
#include "store/base/hash.h"

#include <inttypes.h>
#include <stdio.h>

#define QUEUE 64u
#define RANGE (UINT64_C(8) << 20)	/* bytes of one get, or a single longer block */

struct data {
	struct fsck *f;
	struct bw_mutex lock;
	struct bw_cond cond;
	struct bw_entry queue[QUEUE];
	unsigned at, n;
	bool closed;		/* no more will come */
	int err;		/* ends the run: the first of a lane */
};

/* One object that is being read. */
struct reading {
	struct fsck *f;
	const struct bw_entry *e;
	char key[BW_KEY_MAX + 1];
	struct bw_tgb *tgb;	/* owned */
	struct bw_blob *whole;	/* owned: of a small object; else NULL */
	uint64_t bytes, blocks;
};

static void reading_drop(struct reading *r)
{
	bw_tgb_unref(r->tgb);
	bw_blob_unref(r->whole);
	r->tgb = NULL;
	r->whole = NULL;
}

static int get_range(struct reading *r, uint64_t off, uint64_t len, struct bw_blob **ret)
{
	struct bw_op op;

	if (r->whole) {
		*ret = bw_blob_copy(r->whole->bytes + off, len);
		return *ret ? 0 : -ENOMEM;
	}
	bw_op_get(&op, r->key, off, len);
	int err = fsck_run(r->f, &op);

	if (!err) {
		*ret = op.blob;
		op.blob = NULL;
		r->bytes += len;
	}
	bw_op_done(&op);
	return err;
}

/* Missing, or damaged: unless it was reclaimed meanwhile. */
static int note(struct reading *r, enum bw_fsck_check check, const char *what)
{
	uint64_t step = r->e->step;
	int err = fsck_refresh(r->f, bw_now());

	if (err || step < fsck_latest_first(r->f))
		return err;
	return fsck_note(r->f, check, step, step, r->key, "%s %s", r->key, what);
}

/* 0 with r->tgb, 1: noted, or what ends the run. */
static int read_footer(struct reading *r)
{
	bw_auto_blob struct bw_blob *footer = NULL;
	const struct bw_entry *e = r->e;
	int err = get_range(r, e->size - e->footer_len, e->footer_len, &footer);

	return err ? err : bw_tgb_verify(footer->bytes, footer->len, &r->f->stream, e, &r->tgb);
}

static int note_block(struct reading *r, uint32_t i, uint32_t rank, uint64_t xxh3)
{
	const struct bw_block *b = bw_tgb_block(r->tgb, i);
	char what[200];

	snprintf(what, sizeof(what),
		 "is damaged: block %" PRIu32 " (rank %" PRIu32 ", %" PRIu32 " bytes at %" PRIu64
		 ") has checksum %016" PRIx64 ", not %016" PRIx64,
		 i, rank, b->stored, b->offset, xxh3, b->xxh3);
	return note(r, BW_FSCK_DATA_BLOCK, what);
}

/* Block i, read again by itself when the range did not give it whole. */
static int read_block(struct reading *r, uint32_t i, uint32_t rank, const struct bw_blob *range,
		      uint64_t range_off, struct bw_xxh3 *sum, bool *ret_bad)
{
	const struct bw_block *b = bw_tgb_block(r->tgb, i);
	bw_auto_blob struct bw_blob *stored =
		bw_blob_copy(range->bytes + (b->offset - range_off), b->stored);
	bw_auto_blob struct bw_blob *raw = NULL;
	int err = stored ? bw_tgb_block_read(r->tgb, i, stored, &raw) : -ENOMEM;

	for (int k = 1; k < FSCK_READS && err == -BW_E_CORRUPT && !r->whole; k++) {
		bw_blob_unref(stored);
		stored = NULL;
		err = get_range(r, b->offset, b->stored, &stored);
		if (!err)
			err = bw_tgb_block_read(r->tgb, i, stored, &raw);
	}
	r->blocks++;
	if (!err) {
		bw_xxh3_add(sum, raw->bytes, raw->len);
		return 0;
	}
	*ret_bad = true;
	return err == -BW_E_CORRUPT ?
		       note_block(r, i, rank, stored ? bw_xxh3(stored->bytes, stored->len) : 0) :
		       err;
}

/* Blocks i and following, as many as fit into a range; *i moves on. */
static int read_range(struct reading *r, const struct bw_slice *s, uint32_t rank, uint32_t *i,
		      struct bw_xxh3 *sum, bool *ret_bad)
{
	bw_auto_blob struct bw_blob *range = NULL;
	const struct bw_block *b = bw_tgb_block(r->tgb, *i);
	uint32_t end = *i + 1;
	uint64_t len = b->stored;

	while (end < s->block0 + s->blocks_n && len + bw_tgb_block(r->tgb, end)->stored <= RANGE)
		len += bw_tgb_block(r->tgb, end++)->stored;
	int err = get_range(r, b->offset, len, &range);

	for (; !err && *i < end; ++*i)
		err = read_block(r, *i, rank, range, b->offset, sum, ret_bad);
	return err;
}

static int read_slice(struct reading *r, uint32_t rank, struct bw_xxh3 *sum)
{
	const struct bw_slice *s = bw_tgb_slice(r->tgb, rank);
	bool bad = false;
	char what[80];
	int err = 0;

	bw_xxh3_reset(sum);
	for (uint32_t i = s->block0; !err && i < s->block0 + s->blocks_n;)
		err = read_range(r, s, rank, &i, sum, &bad);
	if (err || bad || bw_xxh3_sum(sum) == s->xxh3)
		return err;
	snprintf(what, sizeof(what), "is damaged: the checksum of the slice of rank %" PRIu32, rank);
	return note(r, BW_FSCK_DATA_BLOCK, what);
}

static int read_slices(struct reading *r)
{
	struct bw_xxh3 *sum = bw_xxh3_new();
	int err = sum ? 0 : -ENOMEM;

	for (uint32_t rank = 0; !err && rank < r->tgb->ranks; rank++)
		err = read_slice(r, rank, sum);
	bw_xxh3_free(sum);
	return err;
}

static int get_whole(struct reading *r)
{
	struct bw_blob *blob;
	int err = r->e->size <= RANGE ? get_range(r, 0, r->e->size, &blob) : 0;

	if (!err && r->e->size <= RANGE)
		r->whole = blob;
	return err;
}

static int read_once(struct reading *r)
{
	int err = get_whole(r);

	if (!err)
		err = read_footer(r);
	return err;
}

/* A small object is read whole again when a block of it came damaged. */
static bool is_intact(const struct reading *r)
{
	for (uint32_t i = 0; r->whole && i < r->tgb->blocks_n; i++) {
		const struct bw_block *b = bw_tgb_block(r->tgb, i);

		if (bw_xxh3(r->whole->bytes + b->offset, b->stored) != b->xxh3)
			return false;
	}
	return true;
}

static int read_object(struct fsck *f, const struct bw_entry *e)
{
	struct reading r = {.f = f, .e = e};
	int err;

	bw_key_data(&f->stream, e->producer, e->epoch, e->seq, e->nonce, r.key);
	err = read_once(&r);
	for (int i = 1; i < FSCK_READS && (err == -BW_E_CORRUPT || (!err && !is_intact(&r))); i++) {
		reading_drop(&r);
		err = read_once(&r);
	}
	if (!err)
		err = read_slices(&r);
	if (err == -ENOENT)
		err = note(&r, BW_FSCK_DATA_MISSING, "is missing");
	else if (err == -BW_E_FORMAT_NEWER)
		err = note(&r, BW_FSCK_NEWER, "was written by a newer release: it cannot be checked");
	else if (err == -BW_E_CORRUPT)
		err = note(&r, BW_FSCK_DATA_FOOTER,
			   "is not what was committed: its footer is damaged or that of another batch");
	reading_drop(&r);
	bw_lock(&f->note_lock);
	f->report->blocks += r.blocks;
	f->report->bytes_read += r.bytes;
	bw_unlock(&f->note_lock);
	fsck_did(f, e->size);
	return err;
}

/* ---- Lanes ------------------------------------------------------------------------------------ */

static bool take(struct data *d, struct bw_entry *ret)
{
	BW_LOCK_SCOPE(&d->lock);
	while (!d->n && !d->closed && !d->err)
		bw_cond_wait(&d->cond, &d->lock);
	if (!d->n || d->err)
		return false;
	*ret = d->queue[d->at];
	d->at = (d->at + 1) % QUEUE;
	d->n--;
	bw_cond_broadcast(&d->cond);
	return true;
}

static void *lane(void *arg)
{
	struct data *d = arg;
	struct bw_entry e;

	while (take(d, &e)) {
		int err = read_object(d->f, &e);

		if (!err)
			continue;
		BW_LOCK_SCOPE(&d->lock);
		if (!d->err)
			d->err = err;
		bw_cond_broadcast(&d->cond);
	}
	return NULL;
}

/* What has a finding needs no second one, and what is reclaimed none at all. */
static int put(struct fsck *f, void *ctx, const struct bw_entry *e)
{
	struct data *d = ctx;

	if (fsck_bad_has(f, e->step) || e->step < fsck_latest_first(f)) {
		fsck_did(f, e->size);
		return 0;
	}
	BW_LOCK_SCOPE(&d->lock);
	while (d->n == QUEUE && !d->err)
		bw_cond_wait(&d->cond, &d->lock);
	d->queue[(d->at + d->n++) % QUEUE] = *e;
	bw_cond_broadcast(&d->cond);
	return d->err;
}

static void close_queue(struct data *d, int err)
{
	BW_LOCK_SCOPE(&d->lock);
	d->closed = true;
	if (err && !d->err)
		d->err = err;
	bw_cond_broadcast(&d->cond);
}

int fsck_data(struct fsck *f)
{
	struct data d = {.f = f};
	struct fsck_visit visit = {.entry = put, .ctx = &d};
	pthread_t lanes[BW_FSCK_LANES];
	unsigned n = 0;
	int err = 0;

	bw_mutex_init(&d.lock, BW_RANK_LEAF);
	bw_cond_init(&d.cond);
	fsck_phase(f, "data", "B", f->report->sums[BW_KEY_DATA][BW_FSCK_LIVE].bytes);
	while (n < BW_FSCK_LANES && !err) {
		err = bw_thread_start(&lanes[n], "fsck", lane, &d);
		n += !err;
	}
	if (n)
		err = fsck_walk(f, &visit);
	close_queue(&d, err);
	for (unsigned i = 0; i < n; i++)
		pthread_join(lanes[i], NULL);
	bw_cond_done(&d.cond);
	bw_mutex_done(&d.lock);
	return d.err;
}
