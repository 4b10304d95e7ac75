/* SPDX-License-Identifier: Apache-2.0 */
/* The judge: what must hold of every root, every result and every view. */
#include "tests/sim/check_priv.h"

const char *const check_producers[PRODUCERS] = {"pa", "pb", "pc", "pd"};
const char *const check_jobs[JOBS] = {"ja", "jb"};

static int producer_index(const char *name)
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

static void judge_entry(struct world *w, const struct bw_root *r, const struct bw_entry *e)
{
	int p = producer_index(e->producer);

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
	w->truth[p].next++;
	w->history = realloc(w->history, (w->history_n + 1) * sizeof(*w->history));
	w->history[w->history_n++] = *e;
}

static void judge_changes(struct world *w, const struct bw_root *r)
{
	for (uint32_t i = 0; i < r->changes_n; i++) {
		const struct bw_change *c = &r->changes[i];
		int p = c->kind <= BW_CHANGE_APPEND ? producer_index(c->name) : -1;

		if (c->kind == BW_CHANGE_FENCE) {
			w->truth[p].epoch++;
			memcpy(w->truth[p].owner, c->owner, 16);
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
		const struct bw_entry *last = NULL;
		char text[32];

		for (uint64_t s = w->history_n; s-- > 0 && !last;)
			if (!strcmp(w->history[s].producer, p->name) &&
			    state_of(w->history[s].nonce, text))
				last = &w->history[s];
		CHECK(w, p->has_state == !!last, "I8: %s has %s state", p->name, last ? "no" : "a");
		if (!last)
			continue;
		state_of(last->nonce, text);
		CHECK(w, p->state_seq == last->seq && p->state_len == strlen(text) &&
			 !memcmp(p->state, text, strlen(text)),
		      "I8: another batch's state");
	}
}

static void judge_prefix(struct world *w, const struct bw_root *r)
{
	for (uint32_t i = 0; i < r->tail_n; i++) {
		const struct bw_entry *e = &r->tail[i], *h = &w->history[e->step];

		CHECK(w, e->nonce == h->nonce && e->seq == h->seq && e->version == h->version &&
			 !strcmp(e->producer, h->producer),
		      "I3: entry %lu has changed", (unsigned long)e->step);
	}
	for (unsigned k = 0; k < r->levels_n; k++) {
		for (uint32_t i = 0; i < r->levels[k].n; i++) {
			const struct bw_pointer *p = &r->levels[k].pointers[i];
			char key[BW_KEY_MAX + 1];

			bw_key_node(&w->stream, k, p->first, p->last, p->hash, key);
			CHECK(w, bw_sim_has(&w->sim, key), "I9: a root before its index node");
		}
	}
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
	CHECK(w, r->tail_n <= 2 * 256, "I12: a tail of %u", r->tail_n);
	CHECK(w, r->head == w->history_n, "I2: head %lu, history %lu", (unsigned long)r->head,
	      (unsigned long)w->history_n);
	judge_states(w, r);
	judge_prefix(w, r);
	/* A late put, after all had come to rest: those who sleep look once more. */
	for (int i = 0; i < w->readers_n && w->quiet; i++)
		if (!w->readers[i].asked)
			bw_sim_wake(sim, WRITERS_MAX + i, ++w->readers[i].token, 1);
}

/* ---- The oracle: every result, when it is given -------------------------------------------------- */

static void judge_append(struct world *w, const struct bw_txn_change *c)
{
	const struct bw_root *newest = w->sim.roots[w->sim.newest];
	uint64_t step = UINT64_MAX;

	for (uint64_t s = 0; s < w->history_n; s++)
		if (w->history[s].nonce == c->change.nonce)
			step = s;
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
	CHECK(w, step == UINT64_MAX, "I6: error %d, but committed at %lu", c->err,
	      (unsigned long)step);
	w->batches[c->change.nonce].dead = true;
}

static void judge_fence(struct world *w, const struct bw_txn_change *c)
{
	bool found = false;

	for (uint64_t v = 1; v <= w->sim.newest && !c->err; v++) {
		const struct bw_producer_entry *p =
			bw_root_producer(w->sim.roots[v], c->change.name);

		found |= p && p->epoch == c->epoch && !memcmp(p->owner, c->change.owner, 16);
	}
	CHECK(w, c->err || found, "I6: a fence was acknowledged that did not take place");
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
	w->batches = realloc(w->batches, (w->batches_n + 1) * sizeof(*w->batches));
	CHECK(w, w->batches, "memory");
	struct batch *b = &w->batches[w->batches_n++];

	*b = (struct batch){.dead = false};
	memcpy(b->owner, owner, 16);
	return b;
}
