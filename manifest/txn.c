/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/txn.h"

#include "manifest/apply_draft.h"
#include "manifest/root_footers.h"

#include <stdlib.h>
#include <string.h>

/* Where the txn stands: which answer it waits for, or what it does next. */
enum state {
	BUILD,		/* make an attempt on the newest root */
	NODE,		/* an index node was put */
	SLOT,		/* the root was put: in doubt until resolved */
	READ,		/* the slot was read back: in doubt */
	STATE,		/* the slot is a tombstone, the newest root was asked for: in doubt */
	PROOF,		/* the entry at the step the attempt assigned was asked for: in doubt */
	NEWEST,		/* the newest root was asked for, to build on it */
	END,
};

/* Unreadable roots are read again: a bit may have flipped on the way.  A newer format is final. */
#define NEWER_READS 3

struct bw_txn {
	const struct bw_stream *stream;	/* borrowed */
	enum state state;
	bool sleeping;		/* the answer of the last request is dealt with: send `state` again */
	struct bw_txn_change *changes;
	size_t n, cap;

	struct bw_root *newest;	/* owned: newest known to exist; attempts are built on it */
	bool fresh;		/* newest was the newest at some moment of this txn */
	struct bw_root *made;	/* owned: the attempt; NULL when there is none */
	struct bw_buf bytes;	/* its stored form: the same for every send */
	struct bw_new_nodes nodes;
	uint32_t node;		/* next to put */
	size_t *part;		/* [part_n] indices of the changes in the attempt */
	size_t part_n;
	size_t proof;		/* PROOF: index of the APPEND that is looked for */
	bool maybe_applied;	/* some send of the attempt may have been applied */
	bool in_doubt;

	unsigned conflicts;	/* slots lost in a row */
	unsigned tries;		/* of the current request */
	unsigned attempts;
};

int bw_txn_new(const struct bw_stream *s, struct bw_root *base, struct bw_txn **ret)
{
	struct bw_txn *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->stream = s;
	t->state = BUILD;
	t->newest = bw_root_ref(base);
	bw_buf_init(&t->bytes, 2 * BW_ROOT_RAW_MAX);
	*ret = t;
	return 0;
}

static void attempt_drop(struct bw_txn *t)
{
	bw_root_unref(t->made);
	t->made = NULL;
	bw_buf_reset(&t->bytes);
	bw_new_nodes_done(&t->nodes);
	t->node = 0;
	t->part_n = 0;
	t->maybe_applied = false;
	t->in_doubt = false;
	t->tries = 0;
}

void bw_txn_free(struct bw_txn *t)
{
	if (!t)
		return;
	attempt_drop(t);
	for (size_t i = 0; i < t->n; i++)
		bw_change_done(&t->changes[i].change);
	free(t->changes);
	free(t->part);
	bw_root_unref(t->newest);
	bw_buf_done(&t->bytes);
	free(t);
}

int bw_txn_add(struct bw_txn *t, struct bw_change *c, void *ctx)
{
	if (t->n == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 8;
		struct bw_txn_change *changes = realloc(t->changes, cap * sizeof(*changes));
		size_t *part = changes ? realloc(t->part, cap * sizeof(*part)) : NULL;

		t->changes = changes ? changes : t->changes;
		t->part = part ? part : t->part;
		if (!changes || !part) {
			bw_change_done(c);
			return -ENOMEM;
		}
		t->cap = cap;
	}
	t->changes[t->n++] = (struct bw_txn_change){.change = *c, .ctx = ctx};
	c->state = NULL;
	c->text = NULL;
	c->footer = NULL;
	return 0;
}

size_t bw_txn_n(const struct bw_txn *t)
{
	return t->n;
}

struct bw_txn_change *bw_txn_at(struct bw_txn *t, size_t i)
{
	return &t->changes[i];
}

struct bw_root *bw_txn_root(const struct bw_txn *t)
{
	return t->newest;
}

bool bw_txn_in_doubt(const struct bw_txn *t)
{
	return t->in_doubt;
}

unsigned bw_txn_attempts(const struct bw_txn *t)
{
	return t->attempts;
}

/* ---- Settling --------------------------------------------------------------------------------- */

static void settle(struct bw_txn_change *c, int err)
{
	c->settled = true;
	c->err = err;
}

/* Everything that has no result yet gets err. */
static enum state settle_rest(struct bw_txn *t, int err)
{
	for (size_t i = 0; i < t->n; i++)
		if (!t->changes[i].settled)
			settle(&t->changes[i], err);
	attempt_drop(t);
	return END;
}

static bool same_owner(const struct bw_root *r, const struct bw_change *c)
{
	const struct bw_producer_entry *p = bw_root_producer(r, c->name);

	return p && !memcmp(p->owner, c->owner, sizeof(p->owner));
}

static bool has_marker(const struct bw_root *r, const struct bw_change *c)
{
	const struct bw_job *j = bw_root_job(r, c->name);

	for (uint32_t i = 0; j && i < j->markers_n; i++)
		if (j->markers[i].step == c->step)
			return !c->text || !strcmp(j->markers[i].text, c->text);
	return false;
}

/* Once there, always there: an old root proves it as well as the newest. */
static bool is_for_ever(const struct bw_change *c)
{
	return c->kind == BW_CHANGE_REGISTER || c->kind == BW_CHANGE_SWEEP ||
	       c->kind == BW_CHANGE_SEAL;
}

/* Does r already have what c asks for, so that committing it would change nothing? */
static bool is_there(const struct bw_stream *s, const struct bw_root *r, const struct bw_change *c)
{
	switch (c->kind) {
	case BW_CHANGE_REGISTER:
		return bw_root_producer(r, c->name) != NULL;
	case BW_CHANGE_FENCE:
		return same_owner(r, c);
	case BW_CHANGE_JOB:
		return bw_root_job(r, c->name) != NULL;
	case BW_CHANGE_MARK:
		return has_marker(r, c);
	case BW_CHANGE_TRIM:
		return bw_trim_first(s, r) == r->first;
	case BW_CHANGE_SWEEP:
		return c->step <= r->swept;
	case BW_CHANGE_SEAL:
		return r->sealed;
	case BW_CHANGE_APPEND:
	case BW_CHANGE_UNJOB:
	case BW_CHANGE_UNMARK:
		break;
	}
	return false;
}

static void settle_there(struct bw_txn_change *c, const struct bw_root *r)
{
	settle(c, 0);
	c->version = r->version;
	if (c->change.kind == BW_CHANGE_FENCE)
		c->epoch = bw_root_producer(r, c->change.name)->epoch;
}

/* The step that the attempt assigned to its i-th change, an APPEND. */
static uint64_t attempt_step(const struct bw_txn *t, size_t i)
{
	uint64_t after = 0;

	for (size_t k = i; k < t->part_n; k++)
		after += t->changes[t->part[k]].change.kind == BW_CHANGE_APPEND;
	return t->made->head - after;
}

/* The epoch that the attempt gave with its i-th change, a FENCE: later ones in it raised it further. */
static uint64_t attempt_epoch(const struct bw_txn *t, size_t i)
{
	const struct bw_change *c = &t->changes[t->part[i]].change;
	uint64_t epoch = bw_root_producer(t->made, c->name)->epoch;

	for (size_t k = i + 1; k < t->part_n; k++) {
		const struct bw_change *later = &t->changes[t->part[k]].change;

		epoch -= later->kind == BW_CHANGE_FENCE && !strcmp(later->name, c->name);
	}
	return epoch;
}

static void saw(struct bw_txn *t, struct bw_root *r)
{
	if (r->version <= t->newest->version)
		return;
	bw_root_unref(t->newest);
	t->newest = bw_root_ref(r);
}

/* The attempt is committed, as a whole: every change in it has the slot's version. */
static enum state committed(struct bw_txn *t)
{
	bool more = false;

	for (size_t i = 0; i < t->part_n; i++) {
		struct bw_txn_change *c = &t->changes[t->part[i]];

		settle(c, 0);
		c->version = t->made->version;
		if (c->change.kind == BW_CHANGE_APPEND)
			c->step = attempt_step(t, i);
		else if (c->change.kind == BW_CHANGE_FENCE)
			c->epoch = attempt_epoch(t, i);
	}
	saw(t, t->made);
	t->fresh = true;
	t->conflicts = 0;
	attempt_drop(t);
	for (size_t i = 0; i < t->n; i++)
		more |= !t->changes[i].settled;
	return more ? BUILD : END;
}

/* Another's bytes have the slot: the attempt never took place. */
static enum state lost(struct bw_txn *t)
{
	attempt_drop(t);
	t->conflicts++;
	return NEWEST;
}

/* ---- Building an attempt ---------------------------------------------------------------------- */

/* What the APPEND of an earlier seq of the same producer says of this one, which must not overtake it: its error,
 * or HELD, or 0.  One of a later seq, which came sooner because what is before it went back and is pushed again, says nothing. */
#define HELD 1
static int predecessor(const struct bw_txn *t, size_t i)
{
	const struct bw_change *c = &t->changes[i].change;

	if (c->kind != BW_CHANGE_APPEND)
		return 0;
	for (size_t k = i; k-- > 0;) {
		const struct bw_txn_change *before = &t->changes[k];

		if (before->change.kind != BW_CHANGE_APPEND || before->change.seq > c->seq ||
		    strcmp(before->change.name, c->name) != 0)
			continue;
		if (before->held)
			return HELD;
		return before->settled ? before->err : 0;
	}
	return 0;
}

/*
 * Settles, drafts or holds back the i-th change.  An answer without a commit (an error, or that it is
 * there already) is only given on a root that is committed and that was the newest since the txn
 * began: a change that fails on top of others of the draft is held until they are committed.
 * STALE: newest must be read first.
 */
#define STALE 1
static int draft_add(struct bw_txn *t, struct bw_draft *d, size_t i)
{
	struct bw_txn_change *c = &t->changes[i];
	int err = predecessor(t, i);

	c->held = err == HELD;
	if (c->held)
		return 0;
	if (err) {
		settle(c, err);
		return 0;
	}
	if (!t->part_n && is_there(t->stream, t->newest, &c->change)) {
		if (!t->fresh && !is_for_ever(&c->change))
			return STALE;
		settle_there(c, t->newest);
		return 0;
	}
	err = bw_draft_change(d, &c->change);
	if (!err)
		t->part[t->part_n++] = i;
	else if (err == -ENOMEM)
		return err;
	else if (t->part_n)
		c->held = true;
	else if (!t->fresh)
		return STALE;
	else
		settle(c, err);
	return 0;
}

static int draft_fill(struct bw_txn *t, struct bw_draft *d)
{
	int rc = 0;

	for (size_t i = 0; i < t->n && !rc; i++)
		if (!t->changes[i].settled)
			rc = draft_add(t, d, i);
	return rc;
}

/* A root is the one put that must be refused where something is already. */
static bool is_too_large(const struct bw_txn *t)
{
	return t->stream->large_unconditional && t->bytes.len > BW_LARGE_OBJECT;
}

/* Encodes the attempt and reads it back: bytes that no reader would accept are never sent. */
static int encode(struct bw_txn *t, struct bw_root *draft)
{
	struct bw_root *decoded = NULL;
	bool tombstone;
	int err = bw_root_encode(draft, &t->bytes);

	if (!err && is_too_large(t) && draft->footers_n) {
		/* No commit fails for what only helps readers. */
		bw_root_footers_done(draft);
		bw_buf_reset(&t->bytes);
		err = bw_root_encode(draft, &t->bytes);
	}
	if (!err && is_too_large(t))
		err = -BW_E_LIMIT;
	if (!err)
		err = bw_root_decode(t->stream, draft->version, t->bytes.bytes, t->bytes.len,
				     &decoded, &tombstone);
	if (err)
		return err;
	t->made = decoded;
	return 0;
}

static int attempt_make(struct bw_txn *t, int64_t clock_ms, const uint8_t commit_id[16])
{
	struct bw_commit commit = {.time_ms = clock_ms};
	struct bw_root *draft = NULL;
	struct bw_draft d;

	memcpy(commit.id, commit_id, sizeof(commit.id));
	int err = bw_draft_init(&d, t->stream, t->newest, &commit);

	if (err)
		return err;
	err = draft_fill(t, &d);
	if (!err && t->part_n)
		err = bw_draft_finish(&d, &draft, &t->nodes);
	if (draft)
		err = encode(t, draft);
	bw_root_unref(draft);
	bw_draft_done(&d);
	return err;
}

static enum state build(struct bw_txn *t, int64_t clock_ms, const uint8_t commit_id[16])
{
	attempt_drop(t);
	int err = bw_root_may_write(t->newest);

	if (!err)
		err = attempt_make(t, clock_ms, commit_id);
	if (err == STALE)
		return NEWEST;
	if (err)
		return settle_rest(t, err);
	if (!t->part_n)
		return END;
	t->attempts++;
	return t->nodes.n ? NODE : SLOT;
}

/* ---- Dealing with answers --------------------------------------------------------------------- */

static int outcome_err(enum bw_outcome outcome)
{
	switch (outcome) {
	case BW_DENIED:
		return -BW_E_DENIED;
	case BW_FULL:
		return -ENOSPC;
	default:
		return -BW_E_UNREACHABLE;
	}
}

/* Send the same request again, later. */
static enum state again(struct bw_txn *t)
{
	t->sleeping = true;
	t->tries++;
	return t->state;
}

static enum state node_answer(struct bw_txn *t, const struct bw_txn_answer *a)
{
	switch (a->outcome) {
	case BW_OK:
	case BW_EXISTS:		/* named by its content: whoever wrote it wrote this */
		t->tries = 0;
		return ++t->node < t->nodes.n ? NODE : SLOT;
	case BW_FULL:
	case BW_DENIED:
	case BW_UNREACHABLE:
	case BW_CANCELLED:
		return settle_rest(t, outcome_err(a->outcome));
	default:
		return again(t);
	}
}

static enum state slot_answer(struct bw_txn *t, const struct bw_txn_answer *a)
{
	switch (a->outcome) {
	case BW_OK:
		return committed(t);
	case BW_EXISTS:
		t->tries = 0;
		return READ;
	case BW_FULL:
	case BW_DENIED:
	case BW_UNREACHABLE:
	case BW_CANCELLED:
		/* Final only when no earlier send can have been applied. */
		if (!t->maybe_applied)
			return settle_rest(t, outcome_err(a->outcome));
		return again(t);
	case BW_THROTTLED:
		t->in_doubt = t->maybe_applied;
		return again(t);
	case BW_NOT_FOUND:	/* the caller's word: there is no stream any more to commit to */
		return settle_rest(t, -BW_E_DESTROYED);
	default:
		t->maybe_applied = true;
		return again(t);
	}
}

static enum state read_answer(struct bw_txn *t, const struct bw_txn_answer *a)
{
	struct bw_root *r = NULL;
	bool tombstone = false;

	if (a->outcome == BW_NOT_FOUND) {
		/* Taken, and then not there: believe neither, ask with the put again. */
		t->maybe_applied = true;
		t->state = SLOT;
		return again(t);
	}
	if (a->outcome != BW_OK)
		return again(t);
	if (a->blob->len == t->bytes.len && !memcmp(a->blob->bytes, t->bytes.bytes, t->bytes.len))
		return committed(t);
	int err = bw_root_decode(t->stream, t->made->version, a->blob->bytes, a->blob->len, &r,
				 &tombstone);

	if (err == -BW_E_DESTROYED || (err == -BW_E_FORMAT_NEWER && t->tries >= NEWER_READS))
		return settle_rest(t, err);
	if (err)
		return again(t);
	if (tombstone) {
		t->tries = 0;
		return STATE;
	}
	/* Other bytes can hold the same root; the commit id is this attempt's alone. */
	bool mine = !memcmp(r->commit_id, t->made->commit_id, sizeof(r->commit_id));

	if (!mine)
		saw(t, r);
	bw_root_unref(r);
	return mine ? committed(t) : lost(t);
}

/*
 * The slot is a tombstone: what does the state of r, at or above the slot, say of the attempt?
 * An attempt is one object, so proof for one APPEND is proof for all of it.
 */
static enum state decide_by_state(struct bw_txn *t, struct bw_root *r)
{
	bool found = false;

	saw(t, r);
	for (size_t i = 0; i < t->part_n; i++) {
		const struct bw_change *c = &t->changes[t->part[i]].change;
		const struct bw_producer_entry *p = bw_root_producer(r, c->name);

		if (c->kind != BW_CHANGE_APPEND || !same_owner(r, c) || p->epoch != c->epoch)
			continue;
		/* Nobody but this committer commits for this owner, and this was all it had sent. */
		return p->next > c->seq ? committed(t) : lost(t);
	}
	for (size_t i = 0; i < t->part_n; i++) {
		if (t->changes[t->part[i]].change.kind != BW_CHANGE_APPEND)
			continue;
		t->proof = i;	/* the newest: it is trimmed last */
		found = true;
	}
	if (found) {
		t->tries = 0;
		return PROOF;
	}
	/* No batch in it.  All other changes may be made again: the next build finds out which of
	 * them are there already. */
	return lost(t);
}

static enum state state_answer(struct bw_txn *t, const struct bw_txn_answer *a)
{
	/* No root will come any more: not even this outcome is told. */
	if (a->outcome != BW_OK && a->err == -BW_E_DESTROYED)
		return settle_rest(t, a->err);
	if (a->outcome != BW_OK &&
	    (a->err == -BW_E_CONTRADICTION || (a->err == -BW_E_FORMAT_NEWER && t->tries >= NEWER_READS)))
		return settle_rest(t, -BW_E_UNKNOWN);
	if (a->outcome != BW_OK || a->root->version < t->made->version)
		return again(t);
	return decide_by_state(t, a->root);
}

/* The producer is not ours any more.  The entry at the step the attempt assigned says whose it is. */
static enum state proof_answer(struct bw_txn *t, const struct bw_txn_answer *a)
{
	const struct bw_change *c = &t->changes[t->part[t->proof]].change;
	uint64_t step = attempt_step(t, t->proof);

	if (step < t->newest->first)
		return settle_rest(t, -BW_E_UNKNOWN);
	if (step < t->newest->head) {
		if (a->outcome != BW_OK) {
			t->state = STATE;	/* it may have been trimmed meanwhile */
			return again(t);
		}
		if (!strcmp(a->entry->producer, c->name) && a->entry->epoch == c->epoch &&
		    a->entry->seq == c->seq && a->entry->nonce == c->nonce)
			return committed(t);
	}
	return lost(t);
}

static enum state newest_answer(struct bw_txn *t, const struct bw_txn_answer *a)
{
	if (a->outcome != BW_OK)
		return settle_rest(t, a->err ? a->err : outcome_err(a->outcome));
	saw(t, a->root);
	t->fresh = true;
	return BUILD;
}

static enum state take_answer(struct bw_txn *t, const struct bw_txn_answer *a)
{
	switch (t->state) {
	case NODE:
		return node_answer(t, a);
	case SLOT:
		return slot_answer(t, a);
	case READ:
		return read_answer(t, a);
	case STATE:
		return state_answer(t, a);
	case PROOF:
		return proof_answer(t, a);
	case NEWEST:
		return newest_answer(t, a);
	case BUILD:
	case END:
		break;
	}
	return t->state;
}

/* ---- Asking ----------------------------------------------------------------------------------- */

static enum bw_txn_want ask_put(struct bw_txn *t, struct bw_txn_request *ret)
{
	if (t->state == NODE) {
		const struct bw_new_node *n = &t->nodes.nodes[t->node];

		bw_key_node(t->stream, n->level, n->pointer.first, n->pointer.last, n->pointer.hash,
			    ret->key);
		ret->bytes = n->bytes.bytes;
		ret->len = n->bytes.len;
		ret->look = true;
		return BW_TXN_PUT;
	}
	bw_key_root(t->stream, t->made->version, ret->key);
	ret->bytes = t->bytes.bytes;
	ret->len = t->bytes.len;
	ret->look = false;
	t->in_doubt = true;
	return BW_TXN_PUT;
}

static enum bw_txn_want ask(struct bw_txn *t, struct bw_txn_request *ret)
{
	switch (t->state) {
	case NODE:
	case SLOT:
		return ask_put(t, ret);
	case READ:
		bw_key_root(t->stream, t->made->version, ret->key);
		ret->max = 2 * BW_ROOT_RAW_MAX;
		return BW_TXN_GET;
	case STATE:
	case NEWEST:
		return BW_TXN_REFRESH;
	case PROOF:
		ret->step = attempt_step(t, t->proof);
		return BW_TXN_FIND;
	case BUILD:
	case END:
		break;
	}
	return BW_TXN_DONE;
}

static enum bw_txn_want ask_sleep(struct bw_txn_request *ret, unsigned conflicts, unsigned tries)
{
	ret->conflicts = conflicts;
	ret->tries = tries;
	return BW_TXN_SLEEP;
}

/* A slot was lost: wait, then read the newest root. */
static enum bw_txn_want back_off(struct bw_txn *t, struct bw_txn_request *ret)
{
	t->sleeping = true;
	return ask_sleep(ret, t->conflicts, 0);
}

/* The entry to look for may be known not to be there. */
static bool proof_known(const struct bw_txn *t)
{
	uint64_t step = attempt_step(t, t->proof);

	return step < t->newest->first || step >= t->newest->head;
}

enum bw_txn_want bw_txn_step(struct bw_txn *t, const struct bw_txn_answer *last, int64_t clock_ms,
			     const uint8_t commit_id[16], struct bw_txn_request *ret)
{
	unsigned conflicts = t->conflicts;

	*ret = (struct bw_txn_request){.len = 0};
	if (t->sleeping) {
		t->sleeping = false;
		return ask(t, ret);
	}
	if (t->state != BUILD && t->state != END)
		t->state = take_answer(t, last);
	if (t->state == PROOF && !t->sleeping && proof_known(t))
		t->state = proof_answer(t, last);
	if (t->sleeping)
		return ask_sleep(ret, 0, t->tries);
	if (t->conflicts > conflicts)
		return back_off(t, ret);
	if (t->state == BUILD)
		t->state = build(t, clock_ms, commit_id);
	return ask(t, ret);
}
