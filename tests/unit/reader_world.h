/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream to read, for the tests of the reader: objects in a memory store behind filters that count,
 * delay and spoil, and a head that says what a test wants it to say.
 *
 * The bytes of a slice follow from step, rank and offset, so that any range can be checked without a
 * copy.  Include in one file of a test program: it defines the functions of manifest/head.h.
 */
#ifndef BW_TESTS_READER_WORLD_H
#define BW_TESTS_READER_WORLD_H

#include "fs/reader.h"
#include "store/base/hash.h"
#include "store/base/rand.h"
#include "store/base/sync.h"
#include "store/stats.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define WORLD_STEPS 160

/* ---- A head to order -------------------------------------------------------------------------- */

struct bw_head {
	struct bw_mutex lock;
	struct bw_root root;
	struct bw_entry entries[WORLD_STEPS];
	struct bw_workq *later;
	bool slow;			/* look-ups are answered later, by another thread */
	int ask_err;
	uint64_t first_after_ask;	/* what the newest root says once somebody asked */
	atomic_uint asks, finds, follows;
};

struct later_find {
	struct bw_task task;
	struct bw_head *head;
	struct bw_find *find;
};

struct later_ask {
	struct bw_task task;
	struct bw_head *head;
	struct bw_ask *ask;
};

struct bw_root *bw_head_root(struct bw_head *h)
{
	struct bw_root *copy = malloc(sizeof(*copy));

	cr_assert(copy);
	BW_LOCK_SCOPE(&h->lock);
	*copy = h->root;
	return copy;
}

void bw_root_unref(struct bw_root *r)
{
	free(r);
}

static int head_entry(struct bw_head *h, struct bw_find *find)
{
	BW_LOCK_SCOPE(&h->lock);
	if (find->step >= h->root.head)
		return -BW_E_NOT_COMMITTED;
	if (find->step < h->root.first)
		return -BW_E_RECLAIMED;
	find->entry = h->entries[find->step];
	return 0;
}

static void run_find(struct bw_task *task)
{
	struct later_find *l = (struct later_find *)task;
	struct bw_find *find = l->find;
	int err = head_entry(l->head, find);

	free(l);
	find->done(find, err);
}

bool bw_head_find(struct bw_head *h, struct bw_find *find, int *ret_err)
{
	atomic_fetch_add(&h->finds, 1);
	if (!h->slow) {
		*ret_err = head_entry(h, find);
		return true;
	}
	struct later_find *l = calloc(1, sizeof(*l));

	cr_assert(l);
	*l = (struct later_find){.task = {.run = run_find}, .head = h, .find = find};
	bw_workq_push(h->later, &l->task);
	return false;
}

static void run_ask(struct bw_task *task)
{
	struct later_ask *l = (struct later_ask *)task;
	struct bw_ask *ask = l->ask;
	int err = l->head->ask_err;

	bw_lock(&l->head->lock);
	l->head->root.first = l->head->first_after_ask;
	bw_unlock(&l->head->lock);
	free(l);
	ask->done(ask, err);
}

void bw_head_ask(struct bw_head *h, struct bw_ask *ask)
{
	struct later_ask *l = calloc(1, sizeof(*l));

	cr_assert(l);
	atomic_fetch_add(&h->asks, 1);
	*l = (struct later_ask){.task = {.run = run_ask}, .head = h, .ask = ask};
	bw_workq_push(h->later, &l->task);
}

void bw_head_follow(struct bw_head *h)
{
	atomic_fetch_add(&h->follows, 1);
}

/* ---- Faults ----------------------------------------------------------------------------------- */

/* Spoils gets: those of [from, to) at `prio` or at any, at most `times` of them. */
struct world_faults {
	struct bw_fault_plan plan;
	struct bw_mutex lock;
	enum bw_fault fault;
	uint64_t from, to;
	int prio;			/* -1: any */
	unsigned times;
	int64_t deadline_ns;		/* of the last get, whether it was spoilt or not */
};

static enum bw_fault world_decide(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	struct world_faults *f = (struct world_faults *)plan;

	(void)nth;
	BW_LOCK_SCOPE(&f->lock);
	f->deadline_ns = op->kind == BW_OP_GET ? op->deadline_ns : f->deadline_ns;
	if (op->kind != BW_OP_GET || !f->times || op->offset < f->from || op->offset >= f->to ||
	    (f->prio >= 0 && op->prio != (enum bw_prio)f->prio))
		return BW_FAULT_NONE;
	f->times--;
	return f->fault;
}

/* ---- The world -------------------------------------------------------------------------------- */

struct world {
	struct bw_stream stream;
	struct bw_store_stats stats;
	struct world_faults faults;
	struct bw_store *store;
	struct bw_head head;
	struct bw_budget budget;
	struct bw_counters counters;
	struct bw_workq *pool;
	struct bw_log *log;
	char log_path[64];
	struct bw_disk_cache *disk;	/* NULL unless a test sets it and starts another reader */
	struct bw_reader *reader;
	struct bw_tgb *tgbs[WORLD_STEPS];
	bool ahead;			/* reads are nobody's yet */
};

struct world_options {
	uint32_t ranks, block_size;
	enum bw_compress compress;
	uint64_t budget;
	uint32_t prefetch, prefetch_most;
	uint64_t together;
	bool here;
	int64_t delay_ns;
	bool slow_head;
	int64_t io_timeout_ns;	/* 0: 60 s */
	void (*came)(void *ctx, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank);
	void *ctx;
	int64_t (*now)(void);	/* see struct bw_reader_config */
};

/* Byte number at of a slice: noise, or for compressed streams noise that is half as dense. */
static inline uint8_t world_byte(const struct world *w, uint64_t step, uint32_t rank, uint64_t at)
{
	uint64_t key[3] = {step, rank, at / 8};
	uint64_t word = (key[0] * 31 + key[1] + 1) * UINT64_C(0x9e3779b97f4a7c15) + key[2];

	word = (word ^ word >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	if (w->stream.options.compress == BW_COMPRESS_ZSTD)
		word &= UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (uint8_t)(word >> 8 * (at % 8));
}

static inline void world_bytes(const struct world *w, uint64_t step, uint32_t rank, uint64_t at,
			       uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = world_byte(w, step, rank, at + i);
}

static inline void world_reader(struct world *w, const struct world_options *o)
{
	struct bw_reader_config config = {
		.store = w->store,
		.stream = &w->stream,
		.head = &w->head,
		.budget = &w->budget,
		.pool = w->pool,
		.log = w->log,
		.counters = &w->counters,
		.disk = w->disk,
		.prefetch = o->prefetch,
		.prefetch_most = o->prefetch_most,
		.together = o->together,
		.here = o->here,
		.came = o->came,
		.ctx = o->ctx,
		.now = o->now,
		.io_timeout_ns = o->io_timeout_ns ? o->io_timeout_ns : 60 * BW_SEC,
	};

	cr_assert_eq(bw_reader_new(&config, &w->reader), 0);
}

static inline void world_init(struct world *w, const struct world_options *o)
{
	struct bw_store *s;

	memset(w, 0, sizeof(*w));
	w->stream.format = BW_FORMAT;
	w->stream.block_size = o->block_size;
	bw_stream_options_default(&w->stream.options);
	w->stream.options.ranks = o->ranks;
	w->stream.options.compress = o->compress;
	w->stream.options.compress_level = o->compress == BW_COMPRESS_ZSTD ? 1 : 0;
	bw_random(w->stream.id, sizeof(w->stream.id));
	snprintf(w->log_path, sizeof(w->log_path), "/tmp/bw-reader-XXXXXX");
	int fd = mkstemp(w->log_path);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(bw_log_open(w->log_path, BW_LOG_DEBUG, &w->log), 0);
	w->faults.plan.decide = world_decide;
	w->faults.prio = -1;
	bw_mutex_init(&w->faults.lock, BW_RANK_LEAF);
	cr_assert_eq(bw_store_mem_new(&s), 0);
	if (o->delay_ns)
		cr_assert_eq(bw_filter_delay_new(s, o->delay_ns, o->delay_ns, 1, &s), 0);
	cr_assert_eq(bw_filter_fault_new(s, &w->faults.plan, &s), 0);
	cr_assert_eq(bw_filter_stats_new(s, &w->stats, &w->store), 0);
	bw_mutex_init(&w->head.lock, BW_RANK_HEAD);
	cr_assert_eq(bw_workq_new("head", 1, &w->head.later), 0);
	bw_budget_init(&w->budget, o->budget ? o->budget : 256 * MIB);
	cr_assert_eq(bw_workq_new("pool", 2, &w->pool), 0);
	w->head.slow = o->slow_head;
	world_reader(w, o);
}

/* Everything is given back; what the log says is the test's own business. */
static inline void world_done(struct world *w)
{
	bw_reader_free(w->reader);
	cr_assert_eq(bw_budget_used(&w->budget), 0, "%" PRIu64 " bytes of the budget are lost",
		     bw_budget_used(&w->budget));
	cr_assert_eq(w->counters.cache_bytes, 0);
	bw_workq_free(w->head.later);
	bw_workq_free(w->pool);
	bw_store_free(w->store);
	bw_log_close(w->log);
	unlink(w->log_path);
	for (int i = 0; i < WORLD_STEPS; i++)
		bw_tgb_unref(w->tgbs[i]);
	bw_mutex_done(&w->faults.lock);
	bw_mutex_done(&w->head.lock);
}

static inline void world_slice(struct world *w, struct bw_tgb_builder *b, uint64_t step, uint32_t rank,
			       uint64_t size, struct bw_buf *object)
{
	uint32_t block_size = w->stream.block_size;
	uint8_t *raw = malloc(block_size);

	cr_assert(raw);
	for (uint64_t at = 0; at < size;) {
		size_t n = size - at < block_size ? size - at : block_size, stored_len;
		const void *stored;
		world_bytes(w, step, rank, at, raw, n);
		cr_assert_eq(bw_tgb_builder_block(b, raw, n, &stored, &stored_len), 0);
		bw_buf_add(object, stored, stored_len);
		at += n;
	}
	cr_assert_eq(bw_tgb_builder_end_slice(b), 0);
	free(raw);
}

static inline void world_put(struct world *w, const struct bw_entry *e, const void *bytes, size_t len)
{
	struct bw_bytes_body body;
	struct bw_op op;
	char key[BW_KEY_MAX + 1];

	bw_key_data(&w->stream, e->producer, e->epoch, e->seq, e->nonce, key);
	bw_bytes_body_init(&body, bytes, len);
	bw_op_put(&op, key, &body.body, false);
	cr_assert_eq(bw_store_sync(w->store, &op), BW_OK);
	bw_op_done(&op);
}

static inline void world_delete(struct world *w, uint64_t step)
{
	const struct bw_entry *e = &w->head.entries[step];
	struct bw_op op;
	char key[BW_KEY_MAX + 1];

	bw_key_data(&w->stream, e->producer, e->epoch, e->seq, e->nonce, key);
	bw_op_delete(&op, key);
	cr_assert_eq(bw_store_sync(w->store, &op), BW_OK);
}

/* Commits the next step: slices of these sizes. */
static inline uint64_t world_commit(struct world *w, const uint64_t *sizes)
{
	bw_auto_buf struct bw_buf object = {.max = 0};
	struct bw_tgb_builder *b;
	uint64_t step = w->head.root.head;
	struct bw_entry *e = &w->head.entries[step];

	cr_assert_lt(step, WORLD_STEPS);
	bw_buf_init(&object, 1024 * MIB);
	cr_assert_eq(bw_tgb_builder_new(&w->stream, "p", 1, step, &b), 0);
	for (uint32_t rank = 0; rank < w->stream.options.ranks; rank++) {
		world_slice(w, b, step, rank, sizes[rank], &object);
		e->raw += sizes[rank];
	}
	uint64_t data_len = object.len;
	cr_assert_eq(bw_tgb_builder_finish(b, &object, &w->tgbs[step]), 0);
	bw_tgb_builder_free(b);
	cr_assert_eq(bw_buf_err(&object), 0);
	e->step = step;
	memcpy(e->producer, "p", 2);
	e->epoch = 1;
	e->seq = step;
	e->nonce = 0x1234 + step;
	e->size = object.len;
	e->footer_len = (uint32_t)(object.len - data_len);
	e->footer_xxh3 = bw_tgb_sum(object.bytes + data_len, e->footer_len);
	world_put(w, e, object.bytes, object.len);
	BW_LOCK_SCOPE(&w->head.lock);
	w->head.root.head = step + 1;
	return step;
}

static inline void world_commit_even(struct world *w, unsigned steps, uint64_t size)
{
	uint64_t sizes[256];

	cr_assert_leq(w->stream.options.ranks, 256);
	for (int i = 0; i < 256; i++)
		sizes[i] = size;
	while (steps--)
		world_commit(w, sizes);
}

static inline uint64_t world_gets(const struct world *w)
{
	return bw_stats_requests(&w->stats, BW_OP_GET);
}

static inline void world_spoil(struct world *w, enum bw_fault fault, uint64_t from, uint64_t to,
			       unsigned times)
{
	BW_LOCK_SCOPE(&w->faults.lock);
	w->faults.fault = fault;
	w->faults.from = from;
	w->faults.to = to;
	w->faults.times = times;
}

/* Whether some line of the log holds all three. */
static inline bool world_logged(struct world *w, const char *a, const char *b, const char *c)
{
	FILE *f = fopen(w->log_path, "re");
	char line[4096];
	bool found = false;

	cr_assert(f);
	while (!found && fgets(line, sizeof(line), f))
		found = strstr(line, a) && strstr(line, b) && strstr(line, c);
	fclose(f);
	return found;
}

static inline unsigned world_log_lines(struct world *w, const char *with)
{
	FILE *f = fopen(w->log_path, "re");
	char line[4096];
	unsigned n = 0;

	cr_assert(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, with) != NULL;
	fclose(f);
	return n;
}

/* ---- Reads that wait -------------------------------------------------------------------------- */

struct world_read {
	struct bw_read read;
	uint8_t *bytes;		/* the caller's, length of them; NULL: not looked at */
	size_t got;
	struct bw_piece pieces[BW_READ_PIECES];	/* as they came; their blobs have gone */
	unsigned pieces_n;
	struct bw_latch answered;
	int err;
};

static inline void world_read_done(struct bw_read *read, int err)
{
	struct world_read *r = read->ctx;

	r->err = err;
	r->pieces_n = read->pieces_n;
	memcpy(r->pieces, read->pieces, sizeof(r->pieces));
	for (unsigned i = 0; i < read->pieces_n; i++) {
		const struct bw_piece *p = &read->pieces[i];
		cr_assert_leq(p->offset + p->length, p->blob->len);
		if (r->bytes)
			memcpy(r->bytes + r->got, p->blob->bytes + p->offset, p->length);
		r->got += p->length;
	}
	memset(read, 0xee, sizeof(*read));	/* may be gone from here on: it is not looked at any more */
	bw_latch_open(&r->answered);
}

static inline void world_start(struct world *w, struct world_read *r, uint64_t step, uint32_t rank,
			       uint64_t offset, size_t length, bool sequential)
{
	bw_latch_init(&r->answered);
	r->got = 0;
	memset(&r->read, 0xee, sizeof(r->read));	/* the reader sets what it uses */
	r->read.entry = &w->head.entries[step];
	r->read.tgb = w->tgbs[step];
	r->read.rank = rank;
	r->read.offset = offset;
	r->read.length = length;
	r->read.sequential = sequential;
	r->read.ahead = w->ahead;
	r->read.done = world_read_done;
	r->read.waits = NULL;
	r->read.ctx = r;
	bw_reader_read(w->reader, &r->read);
}

static inline int world_wait(struct world_read *r)
{
	bw_latch_wait(&r->answered);
	return r->err;
}

/* Reads and compares; the error of the read. */
static inline int world_read(struct world *w, uint64_t step, uint32_t rank, uint64_t offset,
			     size_t length, bool sequential)
{
	uint64_t raw = bw_tgb_slice(w->tgbs[step], rank)->raw;
	uint64_t want = offset >= raw ? 0 : raw - offset < length ? raw - offset : length;
	uint8_t *bytes = malloc(length + 1), *model = malloc(length + 1);
	struct world_read r = {.bytes = bytes};

	cr_assert(bytes && model);
	world_start(w, &r, step, rank, offset, length, sequential);
	int err = world_wait(&r);
	if (err) {
		cr_assert_eq(r.got, 0, "an error comes without bytes");
	} else {
		world_bytes(w, step, rank, offset, model, want);
		cr_assert_eq(r.got, want);
		cr_assert(memcmp(bytes, model, want) == 0, "step %" PRIu64 " rank %" PRIu32
			  " at %" PRIu64 "+%zu", step, rank, offset, length);
	}
	free(bytes);
	free(model);
	return err;
}

struct world_wait {
	struct bw_tgb_wait wait;
	struct bw_tgb *tgb;
	struct bw_latch answered;
	int err;
};

static inline void world_tgb_came(struct bw_tgb_wait *wait, int err, struct bw_tgb *tgb)
{
	struct world_wait *w = (struct world_wait *)wait;

	w->err = err;
	w->tgb = tgb;
	memset(wait, 0xee, sizeof(*wait));	/* as of a read */
	bw_latch_open(&w->answered);
}

/* Asks for the footer of a step through the reader, for who is going to read rank reads - 1 (0: nobody); whether it is there. */
static inline bool world_tgb_start(struct world *w, struct world_wait *t, const struct bw_entry *e, uint32_t reads)
{
	*t = (struct world_wait){.wait = {.done = world_tgb_came, .entry = *e, .needs = reads, .reads = reads}};
	bw_latch_init(&t->answered);
	bool there = bw_reader_tgb(w->reader, &t->wait, &t->tgb);

	if (there)
		bw_latch_open(&t->answered);
	return there;
}

/* The same, and waits; *ret is the caller's. */
static inline int world_tgb_for(struct world *w, const struct bw_entry *e, uint32_t reads, struct bw_tgb **ret)
{
	struct world_wait t;

	world_tgb_start(w, &t, e, reads);
	bw_latch_wait(&t.answered);
	*ret = t.tgb;
	return t.err;
}

static inline int world_tgb(struct world *w, const struct bw_entry *e, struct bw_tgb **ret)
{
	return world_tgb_for(w, e, 0, ret);
}

/* Waits for what goes on in the background: until the store has answered n gets. */
static inline void world_until_gets(const struct world *w, uint64_t n)
{
	while (world_gets(w) < n)
		bw_sleep(BW_MS);
}

/* Ends the reader and so all that goes on in the background: counts are final from here on. */
static inline void world_stop(struct world *w)
{
	bw_reader_free(w->reader);
	w->reader = NULL;
}

#endif
