/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/batch.h"

#include "store/base/hash.h"
#include "store/base/rand.h"
#include "store/base/sync.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPEATS 1	/* of an ambiguous put, at once: a reply that was lost is there then */
#define LOOKS 6		/* at a name that is taken and has nothing */
#define AGAIN_NS (100 * BW_MS)
#define AGAIN_MAX_NS (2 * BW_SEC)

/* One object of the batch on its way into the store. */
struct part {
	struct bw_batch *batch;
	struct bw_op op;
	struct bw_body *body;
	char key[BW_KEY_MAX + 1];
	unsigned repeats, looks;
	int err;
};

struct bw_batch {
	struct bw_body body;		/* the data object; first, so that a body is a batch */
	struct bw_stream stream;
	uint64_t nonce;
	struct bw_sink *sink;		/* borrowed; holds the blocks when the stream compresses */
	/*
	 * While it is built, threads of the store read of it (early): what they may look at was there before they were told
	 * of the bytes.  starts[i] is where slice i begins; the last of starts_n belongs to the slice that is being fed.
	 */
	struct bw_body **slices;	/* owned array of borrowed bodies */
	uint64_t *starts;		/* owned, [ranks + 1] */
	atomic_uint starts_n;
	atomic_uint_fast64_t data_len;	/* BW_TO_END until it is known */
	struct bw_tgb_builder *builder;	/* owned, until it is finished */
	void *block;			/* owned, likewise */
	uint64_t offset, fed;		/* in the object; in the slice that is being fed */
	struct bw_early *early;		/* NULL: none, or it is the data object's put that has it */
	char key[BW_KEY_MAX + 1];
	struct bw_tgb *tgb;
	struct bw_buf footer;
	uint64_t raw;
	bool has_state, state_inline;
	bool data_is_there;		/* durable: what is to be uploaded is the state */
	uint8_t *state;
	uint32_t state_len;
	struct bw_bytes_body state_body;
	/* Of the upload under way. */
	struct part data_part, state_part;
	atomic_uint pending;
	struct bw_store *store;
	int64_t deadline_ns;
	void (*done)(void *ctx, int err, const char *detail);
	void *ctx;
};

/* ---- Building ------------------------------------------------------------------------------------ */

/* len bytes in one piece: where they lie, held by *ret_hold, or in block. */
static int read_block(struct bw_body *slice, uint64_t at, void *block, size_t len, struct bw_blob **ret_hold,
		      const void **ret)
{
	const uint8_t *bytes;

	*ret_hold = NULL;
	*ret = block;
	if (slice->view && slice->view(slice, at, len, ret_hold, &bytes) == len) {
		*ret = bytes;
		return 0;
	}
	bw_blob_unref(*ret_hold);
	*ret_hold = NULL;
	return slice->read(slice, at, block, len);
}

static int feed_block(struct bw_batch *b, struct bw_body *slice, size_t len)
{
	struct bw_blob *hold;
	const void *raw, *stored;
	size_t stored_len;
	int rc = read_block(slice, b->fed, b->block, len, &hold, &raw);

	if (!rc)
		rc = bw_tgb_builder_block(b->builder, raw, len, &stored, &stored_len);
	if (!rc && b->sink)
		rc = b->sink->write(b->sink, b->offset, stored, stored_len);
	bw_blob_unref(hold);
	if (rc)
		return rc;
	b->offset += stored_len;
	b->fed += len;
	return 0;
}

uint32_t bw_batch_feeds(const struct bw_batch *b)
{
	return atomic_load_explicit(&b->starts_n, memory_order_relaxed) - 1;
}

uint64_t bw_batch_fed(const struct bw_batch *b)
{
	return b->fed;
}

int bw_batch_feed(struct bw_batch *b, struct bw_body *slice, uint64_t upto, bool whole)
{
	uint32_t i = bw_batch_feeds(b);

	if (i == b->stream.options.ranks)
		return -EINVAL;
	if (b->slices[i] != slice)	/* once: a thread of the store may be looking at what was told of it */
		b->slices[i] = slice;
	while (b->fed < upto) {
		uint64_t left = upto - b->fed;
		if (left < b->stream.block_size && !whole)
			break;
		int rc = feed_block(b, slice, left < b->stream.block_size ? (size_t)left : b->stream.block_size);
		if (rc)
			return rc;
	}
	if (!whole)
		return 0;
	int rc = bw_tgb_builder_end_slice(b->builder);
	if (rc)
		return rc;
	b->raw += b->fed;
	b->fed = 0;
	b->starts[i + 1] = b->offset;
	atomic_store_explicit(&b->starts_n, i + 2, memory_order_release);
	return 0;
}

int bw_batch_finish(struct bw_batch *b)
{
	int rc = bw_tgb_builder_finish(b->builder, &b->footer, &b->tgb);

	if (rc)
		return rc;
	bw_tgb_builder_free(b->builder);
	free(b->block);
	b->builder = NULL;
	b->block = NULL;
	atomic_store(&b->data_len, b->tgb->data_len);
	b->body.size = b->tgb->data_len + b->footer.len;
	return 0;
}

/* The slice that byte off of the object belongs to; *ret_end: where it ends, as far as is known. */
static uint32_t slice_at(const struct bw_batch *b, uint64_t off, uint64_t *ret_end)
{
	uint32_t n = atomic_load_explicit(&b->starts_n, memory_order_acquire), low = 0, high = n;

	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;

		if (b->starts[mid] <= off)
			low = mid;
		else
			high = mid;
	}
	*ret_end = low + 1 < n ? b->starts[low + 1] : BW_TO_END;
	return low;
}

static int read_slices(struct bw_batch *b, uint64_t off, uint8_t *to, size_t len)
{
	while (len) {
		uint64_t end;
		uint32_t i = slice_at(b, off, &end);
		size_t n = end - off < len ? (size_t)(end - off) : len;
		int rc = b->slices[i]->read(b->slices[i], off - b->starts[i], to, n);

		if (rc)
			return rc;
		off += n;
		to += n;
		len -= n;
	}
	return 0;
}

/* The data object: the slices, or what the sink has kept of them, then the footer. */
static int read_object(struct bw_body *body, uint64_t off, void *buf, size_t len)
{
	struct bw_batch *b = (struct bw_batch *)body;
	uint64_t data_len = atomic_load(&b->data_len);
	uint8_t *to = buf;

	if (off < data_len && len) {
		size_t n = data_len - off < len ? (size_t)(data_len - off) : len;
		int rc = b->sink ? b->sink->read(b->sink, off, to, n) : read_slices(b, off, to, n);

		if (rc)
			return rc;
		off += n;
		to += n;
		len -= n;
	}
	if (len)
		memcpy(to, b->footer.bytes + (off - data_len), len);
	return 0;
}

static size_t view_object(struct bw_body *body, uint64_t off, size_t len, struct bw_blob **ret_hold,
			  const uint8_t **ret)
{
	struct bw_batch *b = (struct bw_batch *)body;
	uint64_t end;

	if (b->sink || off >= atomic_load(&b->data_len))
		return 0;
	uint32_t i = slice_at(b, off, &end);
	struct bw_body *slice = b->slices[i];

	if (len > end - off)
		len = (size_t)(end - off);
	return slice->view ? slice->view(slice, off - b->starts[i], len, ret_hold, ret) : 0;
}

int bw_batch_new(const struct bw_stream *s, const char *producer, uint64_t epoch, uint64_t seq,
		 struct bw_sink *sink, struct bw_batch **ret)
{
	bool compresses = s->options.compress != BW_COMPRESS_NONE;

	if (compresses && !sink)
		return -EINVAL;
	struct bw_batch *b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->stream = *s;
	b->sink = compresses ? sink : NULL;
	bw_buf_init(&b->footer, BW_FOOTER_MAX);
	bw_random(&b->nonce, sizeof(b->nonce));
	b->body.read = read_object;
	b->body.view = view_object;
	atomic_init(&b->starts_n, 1);
	atomic_init(&b->data_len, BW_TO_END);
	b->slices = calloc(s->options.ranks, sizeof(*b->slices));
	b->starts = calloc(s->options.ranks + (size_t)1, sizeof(*b->starts));
	b->block = malloc(s->block_size);
	int rc = b->slices && b->starts && b->block
			 ? bw_tgb_builder_new(s, producer, epoch, seq, &b->builder)
			 : -ENOMEM;
	if (rc) {
		bw_batch_free(b);
		return rc;
	}
	bw_key_data(s, producer, epoch, seq, b->nonce, b->key);
	*ret = b;
	return 0;
}

int bw_batch_build(const struct bw_stream *s, const char *producer, uint64_t epoch, uint64_t seq,
		   struct bw_body *const *slices, struct bw_sink *sink, struct bw_batch **ret)
{
	struct bw_batch *b;
	int rc = bw_batch_new(s, producer, epoch, seq, sink, &b);

	if (rc)
		return rc;
	for (uint32_t i = 0; !rc && i < s->options.ranks; i++)
		rc = bw_batch_feed(b, slices[i], slices[i]->size, true);
	if (!rc)
		rc = bw_batch_finish(b);
	if (rc) {
		bw_batch_free(b);
		return rc;
	}
	*ret = b;
	return 0;
}

bool bw_batch_early(struct bw_batch *b, struct bw_store *store, void (*released)(void *ctx), void *ctx)
{
	b->early = bw_store_early(store, b->key, &b->body, released, ctx);
	return b->early;
}

void bw_batch_early_grow(struct bw_batch *b, uint64_t expected)
{
	if (b->early)
		b->early->grow(b->early, b->offset, expected);
}

void bw_batch_early_drop(struct bw_batch *b)
{
	if (b->early)
		b->early->drop(b->early);
	b->early = NULL;
}

int bw_batch_set_state(struct bw_batch *b, const void *state, size_t len, bool inline_ok)
{
	if (len > BW_STATE_MAX)
		return -EFBIG;
	uint8_t *copy = malloc(len + 1);
	if (!copy)
		return -ENOMEM;
	if (len)
		memcpy(copy, state, len);
	free(b->state);
	b->state = copy;
	b->state_len = (uint32_t)len;
	b->has_state = true;
	b->state_inline = inline_ok && len <= BW_STATE_INLINE_MAX;
	bw_bytes_body_init(&b->state_body, copy, len);
	return 0;
}

bool bw_batch_state_apart(struct bw_batch *b)
{
	bool was_inline = b->state_inline;

	b->state_inline = false;
	b->data_is_there |= was_inline;
	return was_inline;
}

void bw_batch_free(struct bw_batch *b)
{
	if (!b)
		return;
	bw_tgb_unref(b->tgb);
	bw_buf_done(&b->footer);
	bw_tgb_builder_free(b->builder);
	free(b->block);
	free(b->slices);
	free(b->starts);
	free(b->state);
	free(b);
}

/* ---- Uploading ----------------------------------------------------------------------------------- */

static void submit(struct part *p);

static bool submit_again(struct part *p, unsigned *times, unsigned most)
{
	if ((*times)++ == most || bw_now() >= p->batch->deadline_ns)
		return false;
	submit(p);
	return true;
}

/* The last part to settle tells; nothing of the batch is touched afterwards. */
static void settle(struct part *p, int err)
{
	struct bw_batch *b = p->batch;

	p->err = err;
	if (atomic_fetch_sub_explicit(&b->pending, 1, memory_order_acq_rel) != 1)
		return;
	const struct part *told = b->data_part.err ? &b->data_part : &b->state_part;
	char detail[sizeof(told->op.detail)];

	memcpy(detail, told->op.detail, sizeof(detail));
	b->done(b->ctx, told->err, told->err ? detail : "");
}

static void looked(struct bw_op *op)
{
	struct part *p = op->ctx;
	int err = bw_op_err(op);

	bw_op_done(op);
	if (op->outcome == BW_OK && op->object_size && op->object_size != p->body->size)
		err = -BW_E_CONTRADICTION;
	else if (op->outcome == BW_CORRUPT)
		err = -BW_E_CONTRADICTION;
	else if (op->outcome == BW_NOT_FOUND) {
		if (submit_again(p, &p->looks, LOOKS))
			return;
		err = -BW_E_CONTRADICTION;
	}
	settle(p, err);
}

/*
 * EXISTS: the name carries a nonce of ours, so an earlier try of this put made it, even one that the
 * network repeated behind our back.  A commit rests on it, so its last byte must be there.
 */
static void look(struct part *p)
{
	uint64_t size = p->body->size;

	bw_op_get(&p->op, p->key, size ? size - 1 : 0, size ? 1 : 0);
	p->op.prio = BW_PRIO_COMMIT;
	p->op.deadline_ns = p->batch->deadline_ns;
	p->op.done = looked;
	p->op.ctx = p;
	bw_store_submit(p->batch->store, &p->op);
}

static void part_done(struct bw_op *op)
{
	struct part *p = op->ctx;
	int err = bw_op_err(op);

	bw_op_done(op);
	if (op->early)
		op->early->drop(op->early);	/* the put ended before it came to the backend */
	op->early = NULL;
	switch (op->outcome) {
	case BW_OK:
		break;
	case BW_EXISTS:
		look(p);
		return;
	case BW_UNKNOWN:
		if (submit_again(p, &p->repeats, REPEATS))
			return;
		break;
	default:
		break;
	}
	settle(p, err);
}

static void submit(struct part *p)
{
	struct bw_batch *b = p->batch;

	/*
	 * The nonce makes the name ours alone, so nothing of anybody else's can be there: if-absent only
	 * finds mistakes early.  A store that does not know it for large objects can do without.
	 */
	bool if_absent = !b->stream.large_unconditional || p->body->size <= BW_LARGE_OBJECT;

	bw_op_put(&p->op, p->key, p->body, if_absent);
	p->op.sole = if_absent;
	p->op.prio = BW_PRIO_COMMIT;
	p->op.deadline_ns = b->deadline_ns;
	p->op.done = part_done;
	p->op.ctx = p;
	if (p == &b->data_part) {
		p->op.early = b->early;
		b->early = NULL;
	}
	bw_store_submit(b->store, &p->op);
}

static void prepare(struct part *p, struct bw_batch *b, struct bw_body *body)
{
	p->batch = b;
	p->body = body;
	p->repeats = p->looks = 0;
	p->err = 0;
}

void bw_batch_upload(struct bw_batch *b, struct bw_store *store, int64_t deadline_ns,
		     void (*done)(void *ctx, int err, const char *detail), void *ctx)
{
	bool state_object = b->has_state && !b->state_inline;
	const struct bw_tgb *t = b->tgb;

	b->store = store;
	b->deadline_ns = deadline_ns;
	b->done = done;
	b->ctx = ctx;
	prepare(&b->data_part, b, &b->body);
	prepare(&b->state_part, b, &b->state_body.body);
	memcpy(b->data_part.key, b->key, sizeof(b->key));
	bw_key_state(&b->stream, t->producer, t->epoch, t->seq, b->nonce, b->state_part.key);
	bool data = !b->data_is_there;	/* either may end the batch once all is submitted */

	atomic_store(&b->pending, (unsigned)state_object + data);
	if (state_object)
		submit(&b->state_part);
	if (data)
		submit(&b->data_part);
}

int64_t bw_batch_again_ns(unsigned times, int64_t deadline_ns)
{
	int64_t now_ns = bw_now(), left_ns = deadline_ns - now_ns - AGAIN_NS;
	int64_t wait_ns = times < 5 ? AGAIN_NS << times : AGAIN_MAX_NS;

	if (left_ns <= 0)
		return BW_NEVER;
	return now_ns + (wait_ns < left_ns ? wait_ns : left_ns);
}

struct waiter {
	struct bw_latch answered;
	int err;
};

static void wake(void *ctx, int err, const char *detail)
{
	struct waiter *w = ctx;

	(void)detail;
	w->err = err;
	bw_latch_open(&w->answered);
}

int bw_batch_upload_sync(struct bw_batch *b, struct bw_store *store, int64_t deadline_ns)
{
	struct waiter w;

	bw_latch_init(&w.answered);
	bw_batch_upload(b, store, deadline_ns, wake, &w);
	bw_latch_wait(&w.answered);
	return w.err;
}

/* ---- What came of it ----------------------------------------------------------------------------- */

int bw_batch_change(const struct bw_batch *b, const uint8_t owner[16], struct bw_change *ret)
{
	struct bw_change c = {
		.kind = BW_CHANGE_APPEND,
		.epoch = b->tgb->epoch,
		.seq = b->tgb->seq,
		.nonce = b->nonce,
		.size = b->body.size,
		.raw = b->raw,
		.footer_len = (uint32_t)b->footer.len,
		.footer_xxh3 = bw_tgb_sum(b->footer.bytes, b->footer.len),
		.has_state = b->has_state,
		.state_len = b->state_len,
	};

	memcpy(c.name, b->tgb->producer, sizeof(c.name));
	memcpy(c.owner, owner, sizeof(c.owner));
	if (b->has_state)
		c.state_xxh3 = bw_xxh3(b->state, b->state_len);
	if (b->state_inline) {
		c.state = malloc((size_t)b->state_len + 1);
		if (!c.state)
			return -ENOMEM;
		memcpy(c.state, b->state, b->state_len);
	}
	if (b->footer.len <= BW_FOOTER_INLINE_MAX)
		c.footer = malloc(b->footer.len);
	if (c.footer)		/* else readers fetch it */
		memcpy(c.footer, b->footer.bytes, b->footer.len);
	*ret = c;
	return 0;
}

const void *bw_batch_footer(const struct bw_batch *b)
{
	return b->footer.bytes;
}

struct bw_tgb *bw_batch_tgb(const struct bw_batch *b)
{
	return b->tgb;
}

uint64_t bw_batch_size(const struct bw_batch *b)
{
	return b->body.size;
}
