/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/batch.h"
#include "store/base/hash.h"
#include "tests/support/sample.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define RANKS 3

static const uint8_t owner[16] = {9};

/* A sink in memory. */
struct memory_sink {
	struct bw_sink sink;
	uint8_t bytes[1 << 16];
	uint64_t written;
	int fail;
};

static int sink_write(struct bw_sink *sink, uint64_t off, const void *bytes, size_t len)
{
	struct memory_sink *m = (struct memory_sink *)sink;

	cr_assert_eq(off, m->written, "blocks come in order");
	if (m->fail)
		return m->fail;
	memcpy(m->bytes + off, bytes, len);
	m->written = off + len;
	return 0;
}

static int sink_read(struct bw_sink *sink, uint64_t off, void *bytes, size_t len)
{
	struct memory_sink *m = (struct memory_sink *)sink;

	cr_assert_leq(off + len, m->written);
	memcpy(bytes, m->bytes + off, len);
	return 0;
}

struct setup {
	struct bw_sample sample;
	uint8_t bytes[RANKS][5000];
	struct bw_bytes_body bodies[RANKS];
	struct bw_body *slices[RANKS];
	struct memory_sink sink;
	struct bw_store *store;
	struct bw_batch *batch;
};

static struct setup *setup(bool compress)
{
	struct setup *s = calloc(1, sizeof(*s));
	static const size_t len[RANKS] = {5000, 1, 2048};

	bw_sample_init(&s->sample, RANKS);
	s->sample.stream.block_size = 1024;
	if (compress) {
		s->sample.stream.options.compress = BW_COMPRESS_ZSTD;
		s->sample.stream.options.compress_level = 1;
	}
	for (int r = 0; r < RANKS; r++) {
		for (size_t i = 0; i < len[r]; i++)
			s->bytes[r][i] = (uint8_t)(i % 19 * (size_t)(r + 1));
		bw_bytes_body_init(&s->bodies[r], s->bytes[r], len[r]);
		s->slices[r] = &s->bodies[r].body;
	}
	s->sink.sink.write = sink_write;
	s->sink.sink.read = sink_read;
	cr_assert_eq(bw_store_mem_new(&s->store), 0);
	return s;
}

static void build(struct setup *s)
{
	cr_assert_eq(bw_batch_build(&s->sample.stream, "alpha", 1, 4, s->slices, &s->sink.sink,
				    &s->batch), 0);
}

static void teardown(struct setup *s)
{
	bw_batch_free(s->batch);
	bw_store_free(s->store);
	bw_sample_done(&s->sample);
	free(s);
}

static struct bw_blob *get(struct setup *s, const char *key)
{
	struct bw_op op;
	struct bw_blob *blob;

	bw_op_get_all(&op, key, 1 << 20);
	cr_assert_eq(bw_store_sync(s->store, &op), BW_OK, "%s", key);
	blob = bw_blob_ref(op.blob);
	bw_op_done(&op);
	return blob;
}

/* What is in the store under the name that the change gives decodes to the slices. */
static void check_stored(struct setup *s)
{
	struct bw_change c;
	char key[BW_KEY_MAX + 1];
	struct bw_tgb *t;

	cr_assert_eq(bw_batch_change(s->batch, owner, &c), 0);
	cr_assert(c.kind == BW_CHANGE_APPEND && c.epoch == 1 && c.seq == 4);
	cr_assert_str_eq(c.name, "alpha");
	cr_assert_arr_eq(c.owner, owner, 16);
	cr_assert_eq(c.raw, 7049);
	bw_key_data(&s->sample.stream, c.name, c.epoch, c.seq, c.nonce, key);
	bw_auto_blob struct bw_blob *object = get(s, key);
	cr_assert_eq(object->len, c.size);
	cr_assert_eq(object->len, bw_batch_size(s->batch));
	const uint8_t *footer = object->bytes + object->len - c.footer_len;
	cr_assert_eq(bw_tgb_sum(footer, c.footer_len), c.footer_xxh3);
	cr_assert(c.footer && !memcmp(c.footer, footer, c.footer_len), "for the root to bring along");
	cr_assert_eq(bw_tgb_decode(footer, c.footer_len, object->len, &t), 0);
	for (int r = 0; r < RANKS; r++) {
		uint8_t *at = s->bytes[r];

		for (uint32_t i = 0; i < t->slices[r].blocks_n; i++) {
			const struct bw_block *b = &t->blocks[t->slices[r].block0 + i];
			bw_auto_blob struct bw_blob *stored =
				bw_blob_copy(object->bytes + b->offset, b->stored);
			bw_auto_blob struct bw_blob *raw = NULL;

			cr_assert_eq(bw_tgb_block_read(t, t->slices[r].block0 + i, stored, &raw), 0);
			cr_assert_eq(memcmp(raw->bytes, at, raw->len), 0);
			at += raw->len;
		}
	}
	bw_tgb_unref(t);
	bw_change_done(&c);
}

Test(batch, what_is_uploaded_decodes_to_the_slices)
{
	for (int compress = 0; compress < 2; compress++) {
		struct setup *s = setup(compress);

		build(s);
		cr_assert_eq(bw_batch_upload_sync(s->batch, s->store, BW_NEVER), 0);
		check_stored(s);
		cr_assert_eq(s->sink.written != 0, compress);
		cr_assert_eq(bw_batch_tgb(s->batch)->ranks, RANKS);
		teardown(s);
	}
}

static size_t view_bytes(struct bw_body *body, uint64_t off, size_t len, struct bw_blob **ret_hold, const uint8_t **ret)
{
	*ret_hold = bw_blob_copy(((struct bw_bytes_body *)body)->bytes + off, len);
	*ret = (*ret_hold)->bytes;
	return len;
}

/* The length of the piece that is lent at off; it is what is read there. */
static size_t check_view(struct bw_body *body, uint64_t off, const uint8_t *whole)
{
	struct bw_blob *hold;
	const uint8_t *bytes;
	size_t n = body->view(body, off, body->size - off, &hold, &bytes);

	if (!n)
		return 0;
	cr_assert_leq(off + n, body->size);
	cr_assert_eq(memcmp(bytes, whole + off, n), 0, "at %lu", (unsigned long)off);
	bw_blob_unref(hold);
	return n;
}

/* V5: slices as they are may be lent from where they are, and nothing else of the object. */
Test(batch, V5_what_is_lent_is_what_is_read)
{
	for (int compress = 0; compress < 2; compress++) {
		struct setup *s = setup(compress);

		for (int r = 0; r < RANKS; r++)
			s->bodies[r].body.view = view_bytes;
		build(s);
		struct bw_body *body = (struct bw_body *)s->batch;
		uint8_t *whole = malloc(body->size);
		cr_assert_eq(body->read(body, 0, whole, body->size), 0);
		for (uint64_t off = 0; off < body->size; off++) {
			size_t n = check_view(body, off, whole);
			cr_assert_eq(n > 0, !compress && off < 7049, "at %lu", (unsigned long)off);
		}
		free(whole);
		teardown(s);
	}
}

/* A backend may pull the body in any pieces and in any order. */
Test(batch, the_body_reads_the_same_in_any_pieces)
{
	for (int compress = 0; compress < 2; compress++) {
		struct setup *s = setup(compress);

		build(s);
		struct bw_body *body = (struct bw_body *)s->batch;
		uint8_t *whole = malloc(body->size), *piece = malloc(body->size);
		cr_assert_eq(body->read(body, 0, whole, body->size), 0);
		for (uint64_t off = 0; off <= body->size; off += 131) {
			for (size_t len = 0; off + len <= body->size; len += 577) {
				memset(piece, 0xee, len);
				cr_assert_eq(body->read(body, off, piece, len), 0);
				cr_assert_eq(memcmp(piece, whole + off, len), 0);
			}
			cr_assert_eq(body->read(body, off, piece, body->size - off), 0);
			cr_assert_eq(memcmp(piece, whole + off, body->size - off), 0, "to the end");
		}
		free(whole);
		free(piece);
		teardown(s);
	}
}

/* I8: the state is committed with its batch, inline or as an object of the same name. */
Test(batch, I8_a_short_state_rides_in_the_change_and_a_long_one_in_an_object)
{
	static const struct {
		size_t len;
		bool inline_ok, inlined;
	} cases[] = {{0, true, true}, {5, true, true}, {BW_STATE_INLINE_MAX, true, true},
		     {BW_STATE_INLINE_MAX + 1, true, false}, {5, false, false}, {0, false, false}};
	uint8_t state[BW_STATE_INLINE_MAX + 1];

	memset(state, 's', sizeof(state));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct setup *s = setup(false);
		struct bw_change c;
		char key[BW_KEY_MAX + 1];

		build(s);
		cr_assert_eq(bw_batch_set_state(s->batch, "other", 5, true), 0);
		cr_assert_eq(bw_batch_set_state(s->batch, state, cases[i].len, cases[i].inline_ok), 0);
		cr_assert_eq(bw_batch_upload_sync(s->batch, s->store, BW_NEVER), 0);
		check_stored(s);
		cr_assert_eq(bw_batch_change(s->batch, owner, &c), 0);
		cr_assert(c.has_state && c.state_len == cases[i].len);
		cr_assert_eq(c.state_xxh3, bw_xxh3(state, cases[i].len));
		cr_assert_eq(c.state != NULL, cases[i].inlined);
		bw_key_state(&s->sample.stream, c.name, c.epoch, c.seq, c.nonce, key);
		if (cases[i].inlined) {
			struct bw_op op;

			cr_assert_eq(memcmp(c.state, state, c.state_len), 0);
			bw_op_get_all(&op, key, 100);
			cr_assert_eq(bw_store_sync(s->store, &op), BW_NOT_FOUND);
		} else {
			bw_auto_blob struct bw_blob *blob = get(s, key);

			cr_assert_eq(blob->len, c.state_len);
			cr_assert_eq(memcmp(blob->bytes, state, blob->len), 0);
		}
		bw_change_done(&c);
		teardown(s);
	}
	struct setup *s = setup(false);
	build(s);
	cr_assert_eq(bw_batch_set_state(s->batch, state, (size_t)BW_STATE_MAX + 1, false), -EFBIG);
	teardown(s);
}

/* ---- Faults --------------------------------------------------------------------------------------- */

struct script {
	struct bw_fault_plan plan;
	const char *folder;		/* faults hit puts below it; "/data/" unless set */
	const enum bw_fault *faults;	/* of the first of them */
	unsigned n, puts;
};

static enum bw_fault decide(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	struct script *s = plan->ctx;

	(void)nth;
	if (op->kind != BW_OP_PUT || !strstr(op->key, s->folder ? s->folder : "/data/"))
		return BW_FAULT_NONE;
	return s->puts++ < s->n ? s->faults[s->puts - 1] : BW_FAULT_NONE;
}

static int upload_with(struct setup *s, const enum bw_fault *faults, unsigned n, unsigned *ret_puts)
{
	struct script script = {.plan = {.decide = decide, .late_ns = BW_MS}, .faults = faults, .n = n};

	script.plan.ctx = &script;
	build(s);
	cr_assert_eq(bw_filter_fault_new(s->store, &script.plan, &s->store), 0);
	int rc = bw_batch_upload_sync(s->batch, s->store, BW_NEVER);
	*ret_puts = script.puts;
	script.n = 0;
	if (rc == 0 || rc == -BW_E_UNKNOWN) {
		/* Again, as a caller does that was told "unknown": the object is there, and ours. */
		cr_assert_eq(bw_batch_upload_sync(s->batch, s->store, BW_NEVER), 0);
		check_stored(s);
	}
	return rc;
}

/* S3: an ambiguous put is resolved by putting the same bytes under the same name. */
Test(batch, S3_a_lost_reply_is_resolved)
{
	enum { ONCE_AND_REPEATS = 2 };
	enum bw_fault lost[ONCE_AND_REPEATS];
	struct setup *s = setup(false);
	unsigned puts;

	for (int i = 0; i < ONCE_AND_REPEATS; i++)
		lost[i] = BW_FAULT_LOST_REPLY;
	cr_assert_eq(upload_with(s, lost, 1, &puts), 0);
	cr_assert_eq(puts, 2);
	teardown(s);
	s = setup(true);
	cr_assert_eq(upload_with(s, lost, ONCE_AND_REPEATS, &puts), -BW_E_UNKNOWN);
	cr_assert_eq(puts, ONCE_AND_REPEATS);
	teardown(s);
}

/* S3: a store in trouble is asked less and less often, and once more at the end. */
Test(batch, S3_what_stays_unknown_is_put_again_later_and_later)
{
	int64_t now_ns = bw_now(), last_ns = 0;

	for (unsigned times = 0; times < 40; times++) {
		int64_t wait_ns = bw_batch_again_ns(times, BW_NEVER) - bw_now();

		cr_assert_geq(wait_ns, last_ns - 50 * BW_MS);
		cr_assert_leq(wait_ns, 2 * BW_SEC);
		cr_assert(times || wait_ns <= 100 * BW_MS);
		cr_assert(times < 6 || wait_ns > BW_SEC);
		last_ns = wait_ns;
	}
	cr_assert_eq(bw_batch_again_ns(40, now_ns + 1100 * BW_MS), now_ns + BW_SEC);
	cr_assert_eq(bw_batch_again_ns(40, now_ns + 50 * BW_MS), BW_NEVER);
}

Test(batch, what_was_not_applied_fails_with_its_error)
{
	static const enum bw_fault full[] = {BW_FAULT_FULL}, denied[] = {BW_FAULT_DENIED},
				   before[] = {BW_FAULT_BEFORE};
	struct setup *s;
	unsigned puts;

	s = setup(false);
	cr_assert_eq(upload_with(s, full, 1, &puts), -ENOSPC);
	teardown(s);
	s = setup(false);
	cr_assert_eq(upload_with(s, denied, 1, &puts), -BW_E_DENIED);
	cr_assert_eq(puts, 1);
	teardown(s);
	s = setup(false);
	cr_assert_eq(upload_with(s, before, 1, &puts), -BW_E_UNREACHABLE);
	teardown(s);
}

/* P4: for which the root has no room after all: the same batch, of which only the state is still to be uploaded. */
Test(batch, a_state_that_the_root_has_no_room_for_becomes_an_object)
{
	struct setup *s = setup(false);
	struct script script = {.plan = {.decide = decide}};
	struct bw_change before, after;
	bw_auto_blob struct bw_blob *blob = NULL;
	char key[BW_KEY_MAX + 1];
	struct bw_op op;

	script.plan.ctx = &script;
	script.folder = "/";
	build(s);
	cr_assert_eq(bw_filter_fault_new(s->store, &script.plan, &s->store), 0);
	cr_assert_not(bw_batch_state_apart(s->batch), "there is none");
	cr_assert_eq(bw_batch_set_state(s->batch, "cursor", 6, true), 0);
	cr_assert_eq(bw_batch_upload_sync(s->batch, s->store, BW_NEVER), 0);
	cr_assert_eq(bw_batch_change(s->batch, owner, &before), 0);
	cr_assert(before.state);
	script.puts = 0;
	cr_assert(bw_batch_state_apart(s->batch));
	cr_assert_eq(bw_batch_upload_sync(s->batch, s->store, BW_NEVER), 0);
	cr_assert_eq(script.puts, 1);
	cr_assert_eq(bw_batch_change(s->batch, owner, &after), 0);
	cr_assert(after.has_state && !after.state && after.state_len == 6);
	cr_assert(after.state_xxh3 == before.state_xxh3 && after.nonce == before.nonce && after.seq == before.seq);
	bw_key_state(&s->sample.stream, after.name, after.epoch, after.seq, after.nonce, key);
	bw_op_get_all(&op, key, 100);
	cr_assert_eq(bw_store_sync(s->store, &op), BW_OK);
	blob = op.blob;
	cr_assert(blob->len == 6 && !memcmp(blob->bytes, "cursor", 6));
	check_stored(s);
	cr_assert_not(bw_batch_state_apart(s->batch), "once");
	bw_change_done(&before);
	bw_change_done(&after);
	teardown(s);
}

/* It is not durable before both objects are, whichever ends first. */
Test(batch, the_upload_waits_for_the_state_and_for_the_data)
{
	static const enum bw_fault full[] = {BW_FAULT_FULL};
	uint8_t state[BW_STATE_INLINE_MAX + 1] = {0};

	for (int i = 0; i < 20; i++) {
		struct setup *s = setup(false);
		struct script script = {.plan = {.decide = decide}, .faults = full, .n = 1};

		script.plan.ctx = &script;
		script.folder = i % 2 ? "/data/" : "/state/";
		build(s);
		cr_assert_eq(bw_filter_fault_new(s->store, &script.plan, &s->store), 0);
		cr_assert_eq(bw_batch_set_state(s->batch, state, sizeof(state), true), 0);
		cr_assert_eq(bw_batch_upload_sync(s->batch, s->store, BW_NEVER), -ENOSPC);
		cr_assert_eq(script.puts, 1);
		/* Again: what is there already counts as done. */
		cr_assert_eq(bw_batch_upload_sync(s->batch, s->store, BW_NEVER), 0);
		check_stored(s);
		teardown(s);
	}
}

Test(batch, a_name_that_was_taken_before_the_first_try_is_a_contradiction)
{
	struct setup *s = setup(false);
	struct bw_change c;
	char key[BW_KEY_MAX + 1];
	struct bw_bytes_body other;
	struct bw_op op;

	build(s);
	cr_assert_eq(bw_batch_change(s->batch, owner, &c), 0);
	bw_key_data(&s->sample.stream, c.name, c.epoch, c.seq, c.nonce, key);
	bw_bytes_body_init(&other, "other", 5);
	bw_op_put(&op, key, &other.body, true);
	cr_assert_eq(bw_store_sync(s->store, &op), BW_OK);
	bw_op_done(&op);
	cr_assert_eq(bw_batch_upload_sync(s->batch, s->store, BW_NEVER), -BW_E_CONTRADICTION);
	bw_change_done(&c);
	teardown(s);
}

/* A store behind a proxy that delivers everything twice: the second delivery is the one that is answered. */
struct twice {
	struct bw_store store;
	unsigned puts;
};

static void twice_submit(struct bw_store *store, struct bw_op *op)
{
	struct twice *t = (struct twice *)store;

	if (op->kind == BW_OP_PUT) {
		struct bw_op first;

		t->puts++;
		bw_op_put(&first, op->key, op->body, op->if_absent);
		cr_assert_eq(bw_store_sync(store->next, &first), BW_OK);
	}
	bw_store_submit(store->next, op);
}

static void twice_free(struct bw_store *store)
{
	bw_store_free(store->next);
	free(store);
}

Test(batch, S3_a_put_that_was_delivered_twice_is_ours)
{
	static const struct bw_store_ops ops = {.name = "twice", .submit = twice_submit, .free = twice_free};
	uint8_t state[BW_STATE_INLINE_MAX + 1] = {1};
	struct twice *t = calloc(1, sizeof(*t));
	struct setup *s = setup(false);

	build(s);
	cr_assert_eq(bw_batch_set_state(s->batch, state, sizeof(state), true), 0);
	t->store = (struct bw_store){.ops = &ops, .next = s->store};
	s->store = &t->store;
	cr_assert_eq(bw_batch_upload_sync(s->batch, s->store, BW_NEVER), 0);
	cr_assert_eq(t->puts, 2);
	check_stored(s);
	teardown(s);
}

/* ---- Looking into EXISTS -------------------------------------------------------------------------- */

/* The reply to the first put is lost and the second is told EXISTS; then comes a look, with a fault. */
struct looks {
	struct bw_fault_plan plan;
	enum bw_fault fault;		/* of the first look */
	unsigned puts, gets;
	uint64_t offset, length;	/* of the last look */
};

static enum bw_fault decide_look(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	struct looks *l = plan->ctx;

	(void)nth;
	if (op->kind == BW_OP_PUT)
		return l->puts++ ? BW_FAULT_NONE : BW_FAULT_LOST_REPLY;
	if (op->kind != BW_OP_GET)
		return BW_FAULT_NONE;
	l->offset = op->offset;
	l->length = op->length;
	return l->gets++ ? BW_FAULT_NONE : l->fault;
}

static int upload_and_look(struct setup *s, struct looks *l)
{
	l->plan.decide = decide_look;
	l->plan.ctx = l;
	build(s);
	cr_assert_eq(bw_filter_fault_new(s->store, &l->plan, &s->store), 0);
	return bw_batch_upload_sync(s->batch, s->store, BW_NEVER);
}

Test(batch, S3_exists_is_looked_into_by_the_last_byte)
{
	struct setup *s = setup(false);
	struct looks l = {.fault = BW_FAULT_NONE};

	cr_assert_eq(upload_and_look(s, &l), 0);
	cr_assert_eq(l.puts, 2);
	cr_assert_eq(l.gets, 1);
	cr_assert_eq(l.offset, bw_batch_size(s->batch) - 1);
	cr_assert_eq(l.length, 1);
	check_stored(s);
	teardown(s);
}

/* Gets of the first `blind` are of a name that does not exist. */
struct blind {
	struct bw_store store;
	unsigned blind;
};

static void blind_submit(struct bw_store *store, struct bw_op *op)
{
	struct blind *b = (struct blind *)store;

	if (op->kind == BW_OP_GET && b->blind) {
		b->blind--;
		memcpy(op->key, "nothing", sizeof("nothing"));
	}
	bw_store_submit(store->next, op);
}

static int upload_blindly(struct setup *s, struct looks *l, unsigned blind)
{
	static const struct bw_store_ops ops = {.name = "blind", .submit = blind_submit, .free = twice_free};
	struct blind *b = calloc(1, sizeof(*b));

	b->store = (struct bw_store){.ops = &ops, .next = s->store};
	b->blind = blind;
	s->store = &b->store;
	return upload_and_look(s, l);
}

/* EXISTS of what is not there says nothing: put once more and looked at again, but not for ever. */
Test(batch, S3_what_exists_and_is_not_there_is_put_again)
{
	struct setup *s = setup(false);
	struct looks l = {.fault = BW_FAULT_NONE};

	cr_assert_eq(upload_blindly(s, &l, 1), 0);
	cr_assert_eq(l.puts, 3);
	cr_assert_eq(l.gets, 2);
	check_stored(s);
	teardown(s);
	s = setup(false);
	l = (struct looks){.fault = BW_FAULT_NONE};
	cr_assert_eq(upload_blindly(s, &l, 1000), -BW_E_CONTRADICTION);
	cr_assert_eq(l.puts, 8, "once, its repeat, and six looks");
	teardown(s);
}

Test(batch, S3_a_look_without_an_answer_is_no_upload)
{
	static const struct {
		enum bw_fault fault;
		int err;
	} cases[] = {
		{BW_FAULT_BEFORE, -BW_E_UNREACHABLE},
		{BW_FAULT_LOST_REPLY, -BW_E_UNREACHABLE},
		{BW_FAULT_DENIED, -BW_E_DENIED},
		{BW_FAULT_THROTTLED, -BW_E_THROTTLED},
		{BW_FAULT_SHORT, -BW_E_CONTRADICTION},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct setup *s = setup(false);
		struct looks l = {.fault = cases[i].fault};

		cr_assert_eq(upload_and_look(s, &l), cases[i].err, "%zu", i);
		cr_assert_eq(l.puts, 2);
		cr_assert_eq(l.gets, 1);
		cr_assert_eq(bw_batch_upload_sync(s->batch, s->store, BW_NEVER), 0, "%zu: tried again", i);
		check_stored(s);
		teardown(s);
	}
}

/* Counts the puts below folder that ask for absence, and those that do not. */
struct conditions {
	struct bw_fault_plan plan;
	atomic_uint with, without;
	atomic_uint sole;	/* of those with */
};

static enum bw_fault count_conditions(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	struct conditions *c = plan->ctx;

	(void)nth;
	if (op->kind == BW_OP_PUT)
		++*(op->if_absent ? &c->with : &c->without);
	c->sole += op->kind == BW_OP_PUT && op->sole && op->if_absent;
	return BW_FAULT_NONE;
}

/* What the store was found not to know is not asked of it, and all else still is. */
Test(batch, large_objects_go_without_a_condition_where_the_store_knows_none)
{
	static const struct {
		bool unconditional;
		size_t state_len;
		unsigned without;
	} cases[] = {
		{false, BW_LARGE_OBJECT + 1, 0}, {true, BW_LARGE_OBJECT, 0}, {true, BW_LARGE_OBJECT + 1, 1},
	};
	uint8_t *state = calloc(1, BW_LARGE_OBJECT + 1);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct setup *s = setup(false);
		struct conditions c = {.plan = {.decide = count_conditions}};

		c.plan.ctx = &c;
		s->sample.stream.large_unconditional = cases[i].unconditional;
		build(s);
		cr_assert_eq(bw_filter_fault_new(s->store, &c.plan, &s->store), 0);
		cr_assert_eq(bw_batch_set_state(s->batch, state, cases[i].state_len, false), 0);
		for (int again = 0; again < 2; again++)
			cr_assert_eq(bw_batch_upload_sync(s->batch, s->store, BW_NEVER), 0);
		cr_assert_eq(c.without, 2 * cases[i].without, "%zu", i);
		cr_assert_eq(c.with, 2 * (2 - cases[i].without), "%zu", i);
		cr_assert_eq(c.sole, c.with, "nobody goes by these names before the upload is acknowledged");
		check_stored(s);
		teardown(s);
	}
	free(state);
}

static int fail_read(struct bw_body *body, uint64_t off, void *buf, size_t len)
{
	(void)body, (void)off, (void)buf, (void)len;
	return -EIO;
}

Test(batch, what_cannot_be_built_says_why)
{
	struct setup *s = setup(true);
	struct bw_batch *b;
	struct bw_stream *stream = &s->sample.stream;

	cr_assert_eq(bw_batch_build(stream, "alpha", 1, 4, s->slices, NULL, &b), -EINVAL, "no sink");
	s->sink.fail = -ENOSPC;
	cr_assert_eq(bw_batch_build(stream, "alpha", 1, 4, s->slices, &s->sink.sink, &b), -ENOSPC);
	s->sink.fail = 0;
	cr_assert_eq(bw_batch_build(stream, "../x", 1, 4, s->slices, &s->sink.sink, &b), -EINVAL);
	s->bodies[1].body.size = 0;
	cr_assert_eq(bw_batch_build(stream, "alpha", 1, 4, s->slices, &s->sink.sink, &b), -EINVAL);
	s->bodies[1].body.size = 1;
	s->bodies[1].body.read = fail_read;
	s->sink.written = 0;
	cr_assert_eq(bw_batch_build(stream, "alpha", 1, 4, s->slices, &s->sink.sink, &b), -EIO);
	s->batch = NULL;
	teardown(s);
}
