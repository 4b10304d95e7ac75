/* SPDX-License-Identifier: Apache-2.0 */
/* The judge: what must hold of every root, every result and every view. */
#include "tests/sim/check_priv.h"

const char *const check_producers[PRODUCERS] = {"pa", "pb", "pc", "pd"};
const char *const check_jobs[JOBS] = {"ja", "jb"};

int producer_index(const char *name)
{
	for (int i = 0; i < PRODUCERS; i++)
		if (!strcmp(check_producers[i], name))
			return i;
	return -1;
}

/* ---- The oracle: every root, when it is created ------------------------------------------------- */

bool state_of(uint64_t nonce, char text[32])
{
	snprintf(text, 32, "cursor-%lu", (unsigned long)nonce);
	return nonce % 3 != 0;
}

bool state_is_apart(uint64_t nonce)
{
	return nonce % 5 == 1;
}

static void judge_entry(struct world *w, const struct bw_root *r, const struct bw_entry *e)
{
	int p = producer_index(e->producer);
	char text[32], key[BW_KEY_MAX + 1];

	CHECK(w, p >= 0, "an unknown producer");
	CHECK(w, e->step == w->history_n, "I4: step %lu after %lu", (unsigned long)e->step,
	      (unsigned long)w->history_n);
	CHECK(w, e->seq == w->truth[p].next, "I5: %s seq %lu, next was %lu", e->producer,
	      (unsigned long)e->seq, (unsigned long)w->truth[p].next);
	CHECK(w, e->epoch == w->truth[p].epoch, "I7: epoch %lu after the fence of %lu",
	      (unsigned long)e->epoch, (unsigned long)w->truth[p].epoch);
	CHECK(w, e->nonce < w->batches_n && !w->batches[e->nonce].dead,
	      "I6: a batch is committed that was said not to be");
	CHECK(w, !memcmp(w->batches[e->nonce].owner, w->truth[p].owner, 16),
	      "I7: a batch of a life that was fenced");
	CHECK(w, e->version == r->version, "an entry of another version");
	bw_key_data(&w->stream, e->producer, e->epoch, e->seq, e->nonce, key);
	CHECK(w, bw_sim_has(&w->sim, key), "I9: a root before its data");
	w->truth[p].next++;
	w->batches[e->nonce].step = e->step;
	if (state_of(e->nonce, text))
		w->truth[p].state = e->step;
	if (w->history_n == w->history_cap) {
		w->history_cap = 2 * w->history_cap + 64;
		w->history = realloc(w->history, w->history_cap * sizeof(*w->history));
		CHECK(w, w->history, "memory");
	}
	w->history[w->history_n++] = *e;
}

static void judge_changes(struct world *w, const struct bw_root *r)
{
	for (uint32_t i = 0; i < r->changes_n; i++) {
		const struct bw_change *c = &r->changes[i];
		int p = c->kind <= BW_CHANGE_APPEND ? producer_index(c->name) : -1;

		if (c->kind == BW_CHANGE_FENCE) {
			uint64_t epoch = ++w->truth[p].epoch;

			memcpy(w->truth[p].owner, c->owner, 16);
			w->truth[p].owners = realloc(w->truth[p].owners, (epoch + 1) * 16);
			CHECK(w, w->truth[p].owners, "memory");
			memcpy(w->truth[p].owners[epoch], c->owner, 16);
		}
		if (c->kind != BW_CHANGE_APPEND)
			continue;
		CHECK(w, !memcmp(c->owner, w->truth[p].owner, 16), "I7: not the owner's batch");
		const struct bw_entry *e = bw_root_tail_entry(r, w->history_n);

		CHECK(w, e && e->nonce == c->nonce, "the entry is not what the change says");
		judge_entry(w, r, e);
	}
}

static void judge_states(struct world *w, const struct bw_root *r)
{
	for (uint32_t i = 0; i < r->producers_n; i++) {
		const struct bw_producer_entry *p = &r->producers[i];
		uint64_t state = w->truth[producer_index(p->name)].state;
		const struct bw_entry *last = state == UNCOMMITTED ? NULL : &w->history[state];
		char text[32], text_key[BW_KEY_MAX + 1];

		CHECK(w, p->has_state == !!last, "I8: %s has %s state", p->name, last ? "no" : "a");
		if (!last)
			continue;
		state_of(last->nonce, text);
		CHECK(w, p->state_seq == last->seq && p->state_len == strlen(text), "I8: another batch's state");
		if (p->state) {
			CHECK(w, !memcmp(p->state, text, strlen(text)), "I8: another state");
			continue;
		}
		bw_key_state(&w->stream, p->name, p->state_epoch, p->state_seq, p->state_nonce, text_key);
		CHECK(w, bw_sim_has(&w->sim, text_key), "I8: a root before its state");
	}
}

/* The node is there; objects stay, so it is enough to look when a pointer is new. */
static void judge_pointer(struct world *w, const struct bw_root *old, const struct bw_root *r, unsigned level,
			  const struct bw_pointer *p)
{
	char key[BW_KEY_MAX + 1];

	/* Of steps that are swept: a collector may have found what an attempt had put that lost its slot. */
	if (p->last < r->swept)
		return;
	for (uint32_t i = old && level < old->levels_n ? old->levels[level].n : 0; i-- > 0;)
		if (old->levels[level].pointers[i].hash == p->hash &&
		    old->levels[level].pointers[i].first == p->first)
			return;
	bw_key_node(&w->stream, level, p->first, p->last, p->hash, key);
	CHECK(w, bw_sim_has(&w->sim, key), "I9: a root before its index node");
}

static void judge_prefix(struct world *w, const struct bw_root *old, const struct bw_root *r)
{
	for (uint32_t i = 0; i < r->tail_n; i++) {
		const struct bw_entry *e = &r->tail[i], *h = &w->history[e->step];

		CHECK(w, e->nonce == h->nonce && e->seq == h->seq && e->version == h->version &&
			 !strcmp(e->producer, h->producer),
		      "I3: entry %lu has changed", (unsigned long)e->step);
	}
	for (unsigned k = 0; k < r->levels_n; k++)
		for (uint32_t i = 0; i < r->levels[k].n; i++)
			judge_pointer(w, old, r, k, &r->levels[k].pointers[i]);
}

void judge_root(struct bw_sim *sim, struct bw_root *r)
{
	struct world *w = sim->ctx;
	const struct bw_root *old = r->version > 1 ? sim->roots[r->version - 1] : NULL;

	w->result->versions++;
	if (old)
		CHECK(w, !bw_apply_check(&w->stream, old, r), "version %lu does not follow",
		      (unsigned long)r->version);
	judge_changes(w, r);
	CHECK(w, !old || (r->head >= old->head && r->first >= old->first), "I2: it has fallen");
	CHECK(w, r->tail_n <= 2 * BW_TAIL_FOLD, "I12: a tail of %u", r->tail_n);
	CHECK(w, r->head == w->history_n, "I2: head %lu, history %lu", (unsigned long)r->head,
	      (unsigned long)w->history_n);
	judge_states(w, r);
	judge_prefix(w, old, r);
	/* A late put, after all had come to rest: those who sleep look once more. */
	for (int i = 0; i < w->readers_n && w->quiet; i++)
		if (!w->readers[i].asked)
			bw_sim_wake(sim, WRITERS_MAX + i, ++w->readers[i].token, 1);
}

/* ---- The oracle: every result, when it is given -------------------------------------------------- */

/* What an append may be told when it is not committed; anything else says that a root could not be built. */
static bool may_fail_with(int err)
{
	switch (err) {
	case -BW_E_FENCED:
	case -BW_E_SEQ_TAKEN:
	case -BW_E_SEQ_GAP:
	case -BW_E_SEALED:
	case -BW_E_UNREACHABLE:
	case -BW_E_DENIED:
	case -ENOSPC:
		return true;
	default:
		return false;
	}
}

static void judge_append(struct world *w, const struct bw_txn_change *c)
{
	const struct bw_root *newest = w->sim.roots[w->sim.newest];
	uint64_t step = w->batches[c->change.nonce].step;

	if (!c->err) {
		CHECK(w, step == c->step, "I6: acknowledged at %lu, committed at %lu",
		      (unsigned long)c->step, (unsigned long)step);
		CHECK(w, w->history[step].version == c->version, "I6: another version");
		return;
	}
	if (c->err == -BW_E_UNKNOWN) {
		w->result->unknowns++;
		CHECK(w, newest->first > 0, "unknown, with nothing trimmed");
		return;
	}
	CHECK(w, may_fail_with(c->err), "I13: an append failed with %d", c->err);
	CHECK(w, step == UNCOMMITTED, "I6: error %d, but committed at %lu", c->err,
	      (unsigned long)step);
	w->batches[c->change.nonce].dead = true;
}

static void judge_fence(struct world *w, const struct bw_txn_change *c)
{
	int p = producer_index(c->change.name);

	CHECK(w, c->err || (c->epoch <= w->truth[p].epoch &&
			    !memcmp(w->truth[p].owners[c->epoch], c->change.owner, 16)),
	      "I6: a fence was acknowledged that did not take place");
}

void judge_results(struct world *w, struct bw_txn *t)
{
	for (size_t i = 0; i < bw_txn_n(t); i++) {
		const struct bw_txn_change *c = bw_txn_at(t, i);

		CHECK(w, c->settled, "a change without a result");
		CHECK(w, c->err || c->version <= w->sim.newest, "I6: acknowledged at a version that is not there");
		if (c->change.kind == BW_CHANGE_APPEND)
			judge_append(w, c);
		if (c->change.kind == BW_CHANGE_FENCE)
			judge_fence(w, c);
	}
}

/* I10: whatever any mount has seen is a prefix of the one history. */
void judge_view(struct world *w, const struct bw_root *view)
{
	CHECK(w, view->stored_xxh3 == w->sim.roots[view->version]->stored_xxh3,
	      "I1: two byte strings at version %lu", (unsigned long)view->version);
}

struct batch *batch_new(struct world *w, const uint8_t owner[16])
{
	if (w->batches_n == w->batches_cap) {
		w->batches_cap = 2 * w->batches_cap + 64;
		w->batches = realloc(w->batches, w->batches_cap * sizeof(*w->batches));
		CHECK(w, w->batches, "memory");
	}
	struct batch *b = &w->batches[w->batches_n++];

	*b = (struct batch){.step = UNCOMMITTED};
	memcpy(b->owner, owner, 16);
	return b;
}

/* ---- The oracle: every deletion ------------------------------------------------------------------------- */

/* Some mount may still go by this root: it is the newest, or was until less than grace ago. */
static bool is_used(const struct world *w, uint64_t version)
{
	return version == w->sim.newest ||
	       w->sim.now < w->sim.created_at[version + 1] + 1000 * w->stream.options.grace_s;
}

static bool needs(const struct world *w, const struct bw_root *r, const struct bw_key *k)
{
	uint64_t step;

	switch (k->kind) {
	case BW_KEY_DATA:
		step = w->batches[k->nonce].step;
		return step != UNCOMMITTED && step >= r->first && step < r->head;
	case BW_KEY_STATE:
		for (uint32_t i = 0; i < r->producers_n; i++)
			if (r->producers[i].has_state && !r->producers[i].state &&
			    r->producers[i].state_nonce == k->nonce)
				return true;
		return false;
	case BW_KEY_NODE:
		return k->last >= r->first;
	default:
		return true;
	}
}

/* I9, and C4: open files keep working within the grace. */
void judge_deletion(struct bw_sim *sim, const struct bw_sim_object *object)
{
	struct world *w = sim->ctx;
	struct bw_key k = bw_key_parse(&w->stream, object->key);

	for (uint64_t v = sim->newest; v && is_used(w, v); v--)
		CHECK(w, !needs(w, sim->roots[v], &k), "I9: %s is deleted, and version %lu of %lu needs it",
		      object->key, (unsigned long)v, (unsigned long)sim->newest);
}

void judge_burial(struct bw_sim *sim, uint64_t version)
{
	struct world *w = sim->ctx;

	CHECK(w, version < sim->newest, "the newest root is overwritten");
	CHECK(w, !is_used(w, version), "I9: version %lu is overwritten while it is used", (unsigned long)version);
}

void judge_rest(struct world *w)
{
	const struct bw_root *newest = w->sim.roots[w->sim.newest];

	for (size_t i = 0; i < w->sim.objects_n; i++) {
		struct bw_key k = bw_key_parse(&w->stream, w->sim.objects[i].key);
		int p = k.kind == BW_KEY_DATA || k.kind == BW_KEY_STATE ? producer_index(k.producer) : -1;
		bool settled = p < 0 || k.epoch < w->truth[p].epoch || k.seq < w->truth[p].next;
		/* The state before the current one goes with the next batch. */
		bool recent = k.kind == BW_KEY_STATE && k.seq + 1 >= w->truth[p].next;

		CHECK(w, k.kind == BW_KEY_HINT || needs(w, newest, &k) || !settled || recent,
		      "I13: %s is left", w->sim.objects[i].key);
	}
}
