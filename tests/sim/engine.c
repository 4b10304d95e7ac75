/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a commit asks for, and what a root is: by the real txn, apply and codec, or by a model of them
 * that knows versions, counts and sizes only.  The model's sizes are taken from real roots.
 */
#include "tests/sim/world_priv.h"

#include "store/base/clock.h"
#include "tests/support/change.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLD_AT 256u
#define FOLD 128u
#define CHANGE_BYTES 38.0	/* a root lists what made it */

static void owner_of(uint32_t who, uint8_t owner[16])
{
	memset(owner, 0xb5, 16);
	memcpy(owner, &who, sizeof(who));
}

static void name_of(uint32_t who, char *name, size_t size)
{
	snprintf(name, size, "producer-%04u", who);
}

/* ---- Real roots ------------------------------------------------------------------------------------ */

static struct bw_change append_of(struct bw_rng *rng, uint32_t who, uint64_t seq)
{
	char name[32];

	name_of(who, name, sizeof(name));
	struct bw_change c = bw_test_append(name, 1, 1, seq, bw_rng_next(rng));

	owner_of(who, c.owner);
	c.size = 60000000 + bw_rng_below(rng, 8000000);
	c.raw = c.size - 20000;
	c.footer_len = 20000;
	c.footer_xxh3 = bw_rng_next(rng);
	return c;
}

static struct bw_root *applied(struct world *w, struct bw_root *base, struct bw_change *c, uint32_t n)
{
	struct bw_commit commit = {.time_ms = 1700000000000 + (int64_t)base->version * 100};
	struct bw_new_nodes nodes = {0};
	struct bw_root *next;

	for (int i = 0; i < 2; i++) {
		uint64_t random = bw_rng_next(&w->rng);

		memcpy(commit.id + 8 * i, &random, 8);
	}
	world_must(!bw_apply(&w->stream, base, c, n, &commit, &next, &nodes), "apply");
	bw_new_nodes_done(&nodes);
	struct bw_root *stored = bw_test_stored(&w->stream, next, NULL);

	bw_root_unref(next);
	bw_root_unref(base);
	return stored;
}

/* A root with all producers, who all have committed. */
static struct bw_root *first_root(struct world *w)
{
	struct bw_root *r;
	uint32_t p = w->load.producers;
	struct bw_change *c = calloc(p > 256 ? p : 256, sizeof(*c));

	world_must(c && !bw_root_first(&w->stream, &r), "first root");
	for (uint32_t i = 0; i < p; i++) {
		char name[32];

		name_of(i, name, sizeof(name));
		c[i] = bw_test_fence(name, 1);
		owner_of(i, c[i].owner);
	}
	r = applied(w, r, c, p);
	for (uint32_t done = 0; done < p;) {
		uint32_t n = p - done < 250 ? p - done : 250;

		for (uint32_t i = 0; i < n; i++)
			c[i] = append_of(&w->rng, done + i, 0);
		r = applied(w, r, c, n);
		done += n;
	}
	free(c);
	return r;
}

static double stored_size(const struct bw_root *r, struct bw_blob **ret)
{
	bw_auto_buf struct bw_buf bytes = {.max = 0};

	bw_buf_init(&bytes, 2 * BW_ROOT_RAW_MAX);
	world_must(!bw_root_encode(r, &bytes), "encode");
	if (ret)
		*ret = bw_blob_copy(bytes.bytes, bytes.len);
	return (double)bytes.len;
}

/* Sizes of roots with short, middling and long tails. */
static void measure(struct world *w)
{
	struct bw_root *r = bw_root_ref(w->newest_root);
	uint64_t seq = 1;

	for (int i = 0; i < 40; i++) {
		struct bw_change c[16];

		for (uint32_t k = 0; k < 16; k++) {
			uint32_t who = (uint32_t)(seq * 16 + k) % w->load.producers;
			const struct bw_producer_entry *p = NULL;
			char name[32];
			uint64_t ahead = 0;

			name_of(who, name, sizeof(name));
			p = bw_root_producer(r, name);
			for (uint32_t j = 0; j < k; j++)
				ahead += !strcmp(c[j].name, name);
			c[k] = append_of(&w->rng, who, p->next + ahead);
		}
		seq++;
		r = applied(w, r, c, 16);
		w->sizes[r->tail_n / 128 < 2 ? r->tail_n / 128 : 2] = stored_size(r, NULL);
	}
	bw_root_unref(r);
	w->sizes[2] = 2 * w->sizes[1] - w->sizes[0];
}

/* The newest root as it is stored; NULL: to be encoded. */
static void keep(struct world *w, const void *bytes, size_t len)
{
	if (w->newest >= w->blobs_cap) {
		uint64_t cap = 2 * w->newest + 64;

		w->blobs = realloc(w->blobs, cap * sizeof(*w->blobs));
		world_must(w->blobs, "memory");
		memset(w->blobs + w->blobs_cap, 0, (cap - w->blobs_cap) * sizeof(*w->blobs));
		w->blobs_cap = cap;
	}
	if (bytes)
		w->blobs[w->newest] = bw_blob_copy(bytes, len);
	else
		stored_size(w->newest_root, &w->blobs[w->newest]);
}

void engine_begin(struct world *w)
{
	bw_test_stream(&w->stream, 8);
	w->newest_root = first_root(w);
	w->newest = w->newest_root->version;
	w->tail = w->newest_root->tail_n;
	measure(w);
	/* Measured with the release build: a build is a copy, an encode and a decode. */
	w->build_ns = 150000 + 2500 * (int64_t)w->load.producers;
	w->newest_bytes = stored_size(w->newest_root, NULL);
	if (w->load.real) {
		keep(w, NULL, 0);
		return;
	}
	bw_root_unref(w->newest_root);
	w->newest_root = NULL;
}

void engine_end(struct world *w)
{
	bw_root_unref(w->newest_root);
	for (uint32_t i = 0; i < w->load.producers; i++) {
		bw_txn_free(w->writers[i].txn);
		bw_root_unref(w->writers[i].view);
	}
	for (uint64_t v = 0; v < w->blobs_cap; v++)
		bw_blob_unref(w->blobs[v]);
	free(w->blobs);
}

int64_t engine_build_ns(const struct world *w)
{
	return w->build_ns;
}

/* ---- The model -------------------------------------------------------------------------------------- */

static unsigned folds(uint32_t tail)
{
	unsigned n = 0;

	for (; tail >= FOLD_AT; tail -= FOLD)
		n++;
	return n;
}

static enum bw_txn_want model_step(struct world *w, struct writer *me)
{
	if (!me->begun || me->at == LOOKING) {
		me->begun = true;
		me->nodes = folds(w->tail + me->taken);
		me->ask_node = me->nodes > 0;
		return BW_TXN_PUT;
	}
	if (me->at == SLEEPING)
		return BW_TXN_REFRESH;
	if (me->at == READING) {
		me->conflicts++;
		if (me->version > me->known)
			me->known = me->version;
		return BW_TXN_SLEEP;
	}
	if (me->refused)
		return BW_TXN_PUT;
	if (me->outcome == BW_THROTTLED)
		return BW_TXN_SLEEP;
	if (me->ask_node) {
		me->ask_node = --me->nodes > 0;
		return BW_TXN_PUT;
	}
	return me->outcome == BW_OK ? BW_TXN_DONE : BW_TXN_GET;
}

static void model_created(struct world *w, const struct writer *me)
{
	uint32_t tail = w->tail + me->taken;

	w->tail = tail - FOLD * folds(tail);
	double at = w->tail / 128.0;
	int i = at < 1 ? 0 : 1;

	w->newest_bytes = w->sizes[i] + (at - i) * (w->sizes[i + 1] - w->sizes[i]) +
			  CHANGE_BYTES * me->taken;
}

/* ---- The real thing --------------------------------------------------------------------------------- */

static struct bw_root *root_at(struct world *w, uint64_t version)
{
	struct bw_root *r;
	bool tombstone;

	if (version == w->newest_root->version)
		return bw_root_ref(w->newest_root);
	struct bw_blob *b = w->blobs[version];

	world_must(!bw_root_decode(&w->stream, version, b->bytes, b->len, &r, &tombstone), "decode");
	return r;
}

static void real_begin(struct world *w, struct writer *me)
{
	char name[32];

	name_of(me->who, name, sizeof(name));
	if (!me->view || me->view->version < me->known) {
		bw_root_unref(me->view);
		me->view = root_at(w, me->known);
	}
	world_must(!bw_txn_new(&w->stream, me->view, &me->txn), "memory");
	uint64_t seq = bw_root_producer(me->view, name)->next;

	for (uint32_t i = 0; i < me->taken; i++) {
		struct bw_change c = append_of(&w->rng, me->who, seq + i);

		world_must(!bw_txn_add(me->txn, &c, NULL), "memory");
	}
	me->begun = true;
}

static enum bw_txn_want real_step(struct world *w, struct writer *me)
{
	struct bw_txn_answer a = {.outcome = me->outcome};
	bool building = !me->begun || me->at == LOOKING;
	uint8_t id[16] = {0};
	uint64_t random = bw_rng_next(&w->rng);

	memcpy(id, &random, sizeof(random));
	if (!me->begun)
		real_begin(w, me);
	else if (me->at == LOOKING)
		a = (struct bw_txn_answer){.outcome = BW_OK, .root = root_at(w, me->known)};
	if (me->at == READING)
		a.blob = w->blobs[me->version];
	enum bw_txn_want want =
		bw_txn_step(me->txn, &a, 1700000000000 + w->now_ns / BW_MS, id, &me->ask);

	bw_root_unref(a.root);
	if (me->at == READING && want == BW_TXN_SLEEP) {
		me->conflicts = me->ask.conflicts;
		me->known = me->version > me->known ? me->version : me->known;
	}
	if (building)
		world_must(want == BW_TXN_PUT, "a build that puts nothing");
	if (want == BW_TXN_PUT)
		me->ask_node = !bw_txn_in_doubt(me->txn);
	if (want == BW_TXN_DONE) {
		world_must(!bw_txn_at(me->txn, 0)->err, "a batch was not committed");
		bw_root_unref(me->view);
		me->view = bw_root_ref(bw_txn_root(me->txn));
	}
	return want;
}

static void real_created(struct world *w, const struct writer *me)
{
	struct bw_root *r;
	bool tombstone;

	world_must(!bw_root_decode(&w->stream, w->newest, me->ask.bytes, me->ask.len, &r,
				   &tombstone), "an unreadable root was put");
	bw_root_unref(w->newest_root);
	w->newest_root = r;
	w->tail = r->tail_n;
	w->newest_bytes = (double)me->ask.len;
	keep(w, me->ask.bytes, me->ask.len);
}

/* ---- Either ------------------------------------------------------------------------------------------ */

enum bw_txn_want engine_step(struct world *w, struct writer *me)
{
	return w->load.real ? real_step(w, me) : model_step(w, me);
}

void engine_created(struct world *w, struct writer *me)
{
	if (w->load.real)
		real_created(w, me);
	else
		model_created(w, me);
}

void engine_over(struct writer *me)
{
	bw_txn_free(me->txn);
	me->txn = NULL;
	me->begun = false;
}
