/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commit: put-if-absent of the next root, every way its answer can be wrong, late or lost,
 * fences with owner ids, tombstones met while away, a trim, and clients that die and come back.
 *
 * One producer, that 2 or 3 mounts take from each other.  A mount takes it (fence), reads `resume`,
 * and commits batches until `steps` are committed.  What apply reads of a root is in the state bit
 * by bit; who sent what is in an entry's nonce: owner, and whether the batch was edited since.
 *
 * What the network still holds of puts whose answer was UNKNOWN is a set: each may arrive at any
 * time, any number of times, also after its sender has died.
 *
 * After EXISTS one can read the newest root first, and the slot only when the owner has changed, or
 * the slot first, and the newest root only when the slot is a tombstone (docs/protocol.md says why
 * it is the slot).  The model does what manifest/txn.c does, and the other way with state-first=1.
 * A refresh is one move, because model_open.c shows that what a search accepts was the newest while
 * it searched; STATE and PROOF are one move, because PROOF looks into the very root that STATE has
 * read.  THROTTLED is no move: nothing changes by it.
 */
#include "tests/model/commit_state.h"

#include <stdlib.h>
#include <string.h>

static const struct bw_bound bounds[] = {
	{"mounts", 2, 3, "mounts that take the producer"},
	{"steps", 2, 3, "batches until the producer is done"},
	{"crashes", 1, 3, "deaths of a mount; it may come back with a new owner id"},
	{"retakes", 0, 3, "a fenced mount takes the producer again, its batch still staged"},
	{"lates", 2, 3, "puts that were answered UNKNOWN before they were applied"},
	{"trims", 0, 3, "trims of everything committed, by somebody else"},
	{"tombs", 7, 7, "roots overwritten by tombstones, in ascending order"},
	{"edits", 1, 1, "a batch refused by a definite error is rewritten and closed again"},
	{"strangers", 0, 3, "versions that others commit for other producers"},
	{"state-first", 0, 1, "after EXISTS the newest root is read first, then the slot"},
	{"lies", 0, 1, "EXISTS may be the answer of a put that was not applied yet"},
};

static const struct bw_mutation mutations[] = {
	[EXISTS_IS_LOST] = {"exists-is-lost", "EXISTS is no verdict: the slot is read", "I6", NULL},
	[EXISTS_IS_COMMITTED] = {"exists-is-committed", "EXISTS is no verdict: the slot is read",
				 "I6 I13", NULL},
	[UNKNOWN_IS_LOST] = {"unknown-is-lost", "no rebase while in doubt", "I6", NULL},
	[UNKNOWN_IS_COMMITTED] = {"unknown-is-committed", "acknowledge on OK or on state only",
				  "I6", NULL},
	[NOT_FOUND_IS_LOST] = {"not-found-is-lost",
			       "a slot that is not there proves nothing: the put may "
			       "still arrive",
			       "I6", NULL},
	[ABANDON] = {"abandon-slot", "a slot is never abandoned; its batches are frozen", "I6",
		     NULL},
	[OTHER_BYTES] = {"other-bytes", "the same bytes to the same name, every time", "I6", NULL},
	[DEFINITE_AFTER_DOUBT] = {"definite-after-doubt",
				  "a definite error is final only when no earlier "
				  "send can have been applied",
				  "I6", NULL},
	[BUILD_AHEAD] = {"build-ahead", "v+1 is never built before v is known to exist", "I2",
			 NULL},
	[PLAIN_PUT] = {"plain-put", "a root is put if absent (init refuses a store without it)",
		       "I1", NULL},
	[FREE_NAME] = {"free-name", "an old root becomes a tombstone, its name is never free", "I1",
		       NULL},
	[EPOCH_ONLY] = {"epoch-only", "the owner id is checked, not only the epoch", "I7", NULL},
	[NO_FENCE_CHECK] = {"no-fence-check", "an append needs the producer's owner and epoch",
			    "I7", NULL},
	[SAME_OWNER] = {"same-owner", "the owner id is of one life: a restart fences", "I6",
			"strangers=1 mounts=1"},
	[SKIP_SEQ] = {"skip-seq", "an append needs the producer's next seq", "I5",
		      "retakes=1"},
	[SEQ_RESTARTS] = {"seq-restarts", "seqs continue across epochs", "I5", NULL},
	[STALE_STATE] = {"stale-state", "a root older than the slot proves nothing", "I6", NULL},
	[SKIP_PROOF] = {"skip-proof", "fenced since: the entry at the assigned step decides", "I6",
			NULL},
	[TRIMMED_IS_LOST] = {"trimmed-is-lost", "a reclaimed step proves nothing: outcome unknown",
			     "I6", "trims=1"},
	[NO_RESEND] = {"no-resend", "UNKNOWN: wait, and send again", "I13",
		       "steps=1 crashes=0"},
	[DAMAGED_IS_LOST] = {"damaged-is-lost", "a damaged slot is read again", "I6", NULL},
	[ABSENT_IS_LOST] = {"absent-is-lost", "a slot that was taken and is not there is put again",
			    "I6", "lies=1"},
	[COVERED_IS_LOST] = {"covered-is-lost",
			     "owner mine, next past the batch: it is committed", "I6",
			     "strangers=1"},
	[UNCOVERED_IS_COMMITTED] = {"uncovered-is-committed",
				    "owner mine, next not past the batch: it is lost", "I6",
				    "strangers=2"},
	[NEXT_OF_ANOTHER] = {"next-of-another",
			     "next proves something only while the owner is mine", "I6", NULL},
	[PROOF_BY_SEQ] = {"proof-by-seq",
			  "the entry is mine by its nonce, not only by producer and seq", "I6",
			  NULL},
};

/* One turn of one mount: next is what the move being made leads to. */
struct turn {
	const struct bw_setting *s;
	struct bw_moves *out;
	struct state next;
	struct mount *m;	/* in next */
	int i;			/* its index */
};

/* The life of a mount, as it is in the nonces of its uploads. */
static unsigned life_id(const struct turn *t)
{
	return 1 + (unsigned)t->i * 2 + t->m->life;
}

static unsigned owner_id(const struct turn *t)
{
	return bw_owner_of(t->s, life_id(t));
}

static void create(struct turn *t, unsigned v, struct root r)
{
	const char *what = bw_root_created(t->s, &t->next, v, r);

	if (what)
		bw_broken(t->out, what);
	t->next.slot[v] = r;
	if (v > t->next.n)
		t->next.n = v;
}

static bool absent(const struct bw_setting *s, const struct state *st, unsigned v)
{
	return !st->slot[v].there || (bw_commit_mutated(s, FREE_NAME) && v <= st->tomb);
}

/* Does a put-if-absent of v take place? */
static bool lands(const struct bw_setting *s, const struct state *st, unsigned v)
{
	return absent(s, st, v) || bw_commit_mutated(s, PLAIN_PUT);
}

/* ---- What a producer is told ------------------------------------------------------------------ */

static bool is_committed(const struct state *st, unsigned entry)
{
	for (unsigned step = 0; step < st->slot[st->n].head; step++)
		if (bw_entry_at(st->slot[st->n], step) == entry)
			return true;
	return false;
}

static void told_committed(struct turn *t)
{
	if (!is_committed(&t->next, bw_entry_make(t->m->seq, life_id(t), t->m->edit)))
		bw_broken(t->out, "I6: a batch is acknowledged that is not committed");
}

static void told_refused(struct turn *t)
{
	if (is_committed(&t->next, bw_entry_make(t->m->seq, life_id(t), t->m->edit)))
		bw_broken(t->out, "I6: a committed batch is said not to be");
	t->next.refused[life_id(t)] |= (uint8_t)(1u << (t->m->edit * 4 + t->m->seq));
}

static void build(struct turn *t);

static void attempt_drop(struct mount *m)
{
	memset(&m->attempt, 0, sizeof(m->attempt));
	m->slot = 0;
	m->maybe = 0;
}

static void end(struct turn *t, enum phase phase)
{
	attempt_drop(t->m);
	t->m->phase = phase;
	t->m->fresh = 0;
}

static void lost(struct turn *t)
{
	attempt_drop(t->m);
	t->m->phase = NEWEST;
}

/* The next change begins, on the root that is known. */
static void go_on(struct turn *t)
{
	attempt_drop(t->m);
	t->m->fresh = 0;
	if (t->m->appends && t->m->seq >= (unsigned)t->s->bounds[STEPS_N])
		end(t, DONE);
	else
		build(t);
}

/* What a producer does that reads `resume`: what is not committed is made again from there. */
static void resume(struct turn *t)
{
	t->m->seq = t->next.slot[t->m->known].next;
	t->m->edit = 0;
	t->m->staged = 0;
	go_on(t);
}

static void taken(struct turn *t, unsigned epoch)
{
	t->m->epoch = epoch;
	t->m->appends = 1;
	if (t->m->staged)
		go_on(t);
	else
		resume(t);
}

static void committed(struct turn *t)
{
	struct mount *m = t->m;

	if (m->slot > m->known)
		m->known = m->slot;
	if (!m->appends) {
		taken(t, m->attempt.epoch);
		return;
	}
	told_committed(t);
	m->seq++;
	m->edit = 0;
	m->staged = 0;
	go_on(t);
}

/* The batch is refused for good; its producer rewrites it and closes it again. */
static void refused_edit(struct turn *t)
{
	told_refused(t);
	t->m->edit = 1;
	lost(t);
}

/* ---- BUILD ------------------------------------------------------------------------------------ */

static bool holds(struct turn *t, struct root r)
{
	if (bw_commit_mutated(t->s, NO_FENCE_CHECK) && t->m->appends)
		return true;
	if (bw_commit_mutated(t->s, EPOCH_ONLY))
		return t->m->epoch && r.epoch == t->m->epoch;
	return r.owner == owner_id(t) && (!t->m->appends || r.epoch == t->m->epoch);
}

static void send_next(struct turn *t, struct root attempt)
{
	struct mount *m = t->m;

	if (m->known == VERSIONS) {	/* only mutations get here */
		end(t, DONE);
		return;
	}
	m->attempt = attempt;
	m->slot = m->known + 1;
	m->phase = SLOT;
}

static void build_fence(struct turn *t)
{
	struct root base = t->next.slot[t->m->known];

	if (holds(t, base)) {
		if (t->m->fresh)
			taken(t, base.epoch);
		else
			lost(t);
		return;
	}
	base.epoch++;
	base.owner = owner_id(t);
	if (bw_commit_mutated(t->s, SEQ_RESTARTS))
		base.next = 0;
	t->m->epoch = bw_commit_mutated(t->s, EPOCH_ONLY) ? base.epoch : 0;
	send_next(t, base);
}

/* Errors are only given on a root that was the newest meanwhile. */
static void build_append(struct turn *t)
{
	struct root base = t->next.slot[t->m->known];
	bool mine = holds(t, base);

	if (mine && (t->m->seq == base.next || bw_commit_mutated(t->s, SKIP_SEQ))) {
		if (base.head < STEPS)
			send_next(t, bw_root_with(base, bw_entry_make(t->m->seq, life_id(t),
								      t->m->edit)));
		else
			end(t, DONE);
	} else if (!t->m->fresh) {
		lost(t);
	} else {
		told_refused(t);
		if (!mine && base.epoch <= t->m->epoch)
			bw_broken(t->out, "I13: a mount is fenced by nobody");
		if (mine)
			resume(t);
		else
			end(t, FENCED);
	}
}

static void build(struct turn *t)
{
	if (t->m->appends)
		build_append(t);
	else
		build_fence(t);
}

/* ---- The slot --------------------------------------------------------------------------------- */

static void turn_begin(struct turn *t, const struct state *from)
{
	t->next = *from;
	t->m = &t->next.mount[t->i];
}

/* A put of a name that is taken for ever can do nothing any more. */
static void late_drop(const struct bw_setting *s, struct state *st)
{
	for (int i = 0; i < LATES; i++) {
		if (!st->late_slot[i] || !st->slot[st->late_slot[i]].there ||
		    bw_commit_mutated(s, FREE_NAME) || bw_commit_mutated(s, PLAIN_PUT))
			continue;
		memset(&st->late[i], 0, sizeof(st->late[i]));
		st->late_slot[i] = 0;
	}
	bw_late_sort(st);
}

static void add(struct turn *t, enum bw_fairness fairness, const char *format, int b, int c)
{
	late_drop(t->s, &t->next);
	bw_move_add(t->out, &t->next, fairness, format, 'A' + t->i, b, c);
}

/* False: the network holds as many puts as it may. */
static bool late_keep(struct turn *t)
{
	struct state *st = &t->next;

	for (int i = 0; i < LATES; i++)
		if (st->late_slot[i] == t->m->slot && bw_roots_same(st->late[i], t->m->attempt))
			return true;
	if (st->lates >= t->s->bounds[LATES_N])
		return false;
	for (int i = 0; i < LATES; i++) {
		if (st->late_slot[i])
			continue;
		st->lates++;
		st->late_slot[i] = t->m->slot;
		st->late[i] = t->m->attempt;
		return true;
	}
	return false;
}

static void got_exists(struct turn *t)
{
	if (bw_commit_mutated(t->s, EXISTS_IS_LOST))
		lost(t);
	else if (bw_commit_mutated(t->s, EXISTS_IS_COMMITTED))
		committed(t);
	else
		t->m->phase = t->s->bounds[STATE_FIRST_N] ? STATE : READ;
}

static void got_unknown(struct turn *t)
{
	if (bw_commit_mutated(t->s, UNKNOWN_IS_LOST))
		lost(t);
	else if (bw_commit_mutated(t->s, UNKNOWN_IS_COMMITTED))
		committed(t);
	else
		t->m->maybe = 1;
}

#define SENDS(m, outcome)                                                                              \
	((m)->appends ? "mount %c puts root %d with its batch, seq %d: " outcome                       \
		      : "mount %c puts root %d with its fence, epoch %d: " outcome)
#define SENT(m) (int)(m)->slot, (int)((m)->appends ? (m)->seq : (m)->attempt.epoch)

static void slot_free(struct turn *t, const struct state *from)
{
	const struct mount was = from->mount[t->i];

	turn_begin(t, from);
	create(t, was.slot, was.attempt);
	committed(t);
	add(t, BW_FAIR, SENDS(&was, "OK"), SENT(&was));

	turn_begin(t, from);
	create(t, was.slot, was.attempt);
	got_exists(t);
	add(t, BW_FAULT, SENDS(&was, "delivered twice, EXISTS"), SENT(&was));

	turn_begin(t, from);
	create(t, was.slot, was.attempt);
	got_unknown(t);
	add(t, BW_FAULT, SENDS(&was, "applied, the answer is lost"), SENT(&was));

	turn_begin(t, from);
	if (!late_keep(t))
		return;
	got_unknown(t);
	add(t, BW_FAULT, SENDS(&was, "no answer, not applied yet"), SENT(&was));

	if (!t->s->bounds[LIES_N])
		return;
	turn_begin(t, from);
	if (late_keep(t))
		got_exists(t);
	add(t, BW_FAULT, SENDS(&was, "EXISTS, though it is not applied yet"), SENT(&was));
}

static void slot_taken(struct turn *t, const struct state *from)
{
	const struct mount was = from->mount[t->i];

	turn_begin(t, from);
	got_exists(t);
	add(t, BW_FAIR, SENDS(&was, "EXISTS"), SENT(&was));

	turn_begin(t, from);
	got_unknown(t);
	add(t, BW_FAULT, SENDS(&was, "refused, the answer is lost"), SENT(&was));
}

/* FULL, DENIED and alike: this send was not applied.  Final when no other can have been. */
static void slot_definite(struct turn *t, const struct state *from)
{
	const struct mount was = from->mount[t->i];
	bool final = !was.maybe || bw_commit_mutated(t->s, DEFINITE_AFTER_DOUBT);

	if (!final || !was.appends || was.edit || !t->s->bounds[EDITS_N])
		return;
	turn_begin(t, from);
	refused_edit(t);
	add(t, BW_FAULT, SENDS(&was, "denied; the batch is rewritten"), SENT(&was));
}

/* What only mutations do while in doubt. */
static void slot_doubt(struct turn *t, const struct state *from)
{
	const struct mount was = from->mount[t->i];

	if (!was.maybe)
		return;
	turn_begin(t, from);
	if (was.appends && !was.edit && bw_commit_mutated(t->s, ABANDON)) {
		refused_edit(t);
		add(t, BW_FAIR, SENDS(&was, "given up at commit_timeout, the batch is rewritten"),
		    SENT(&was));
	}
	if (was.appends && !was.edit && bw_commit_mutated(t->s, OTHER_BYTES)) {
		told_refused(t);
		t->m->edit = 1;
		build(t);
		add(t, BW_FAIR, SENDS(&was, "in doubt, and the batch is rewritten"), SENT(&was));
	}
	if (was.appends && !was.edit && bw_commit_mutated(t->s, NOT_FOUND_IS_LOST) &&
	    absent(t->s, from, was.slot)) {
		refused_edit(t);
		add(t, BW_FAIR, SENDS(&was, "read back, NOT_FOUND, so it is said to be lost"),
		    SENT(&was));
	}
	if (bw_commit_mutated(t->s, BUILD_AHEAD) && was.slot < VERSIONS &&
	    was.attempt.head < STEPS) {
		t->m->seq = was.attempt.next;
		t->m->appends = 1;
		t->m->attempt = bw_root_with(was.attempt, bw_entry_make(t->m->seq, life_id(t), 0));
		t->m->slot++;
		t->m->maybe = 0;
		add(t, BW_FAIR, SENDS(&was, "in doubt, and the next root is built on it"),
		    SENT(&was));
	}
}

/* ---- Resolving -------------------------------------------------------------------------------- */

static void read_back(struct turn *t, const struct state *from)
{
	const struct mount was = from->mount[t->i];
	const char *format = "mount %c reads slot %d: the bytes of another";

	turn_begin(t, from);
	if (bw_commit_mutated(t->s, DAMAGED_IS_LOST)) {
		lost(t);
		add(t, BW_FAULT, "mount %c reads slot %d: damaged", (int)was.slot, 0);
		turn_begin(t, from);
	}
	if (absent(t->s, from, was.slot) && bw_commit_mutated(t->s, ABSENT_IS_LOST)) {
		lost(t);
		format = "mount %c reads slot %d: NOT_FOUND";
	} else if (absent(t->s, from, was.slot)) {
		t->m->phase = SLOT;
		t->m->maybe = 1;
		format = "mount %c reads slot %d: NOT_FOUND";
	} else if (was.slot <= from->tomb) {
		t->m->phase = STATE;
		format = "mount %c reads slot %d: a tombstone";
	} else if (bw_roots_same(from->slot[was.slot], was.attempt)) {
		committed(t);
		format = "mount %c reads slot %d: its own bytes";
	} else {
		lost(t);
	}
	add(t, BW_FAIR, format, (int)was.slot, 0);
}

/* The producer is not ours any more: the entry at the step the attempt assigned says whose it is.
 */
static void prove(struct turn *t, struct root r)
{
	unsigned step = t->m->attempt.head - 1u;

	if (bw_commit_mutated(t->s, SKIP_PROOF)) {
		told_refused(t);
		end(t, FENCED);
	} else if (t->m->slot > t->next.tomb) {		/* only with state-first */
		if (bw_roots_same(t->next.slot[t->m->slot], t->m->attempt))
			committed(t);
		else
			lost(t);
	} else if (step < r.first && !bw_commit_mutated(t->s, TRIMMED_IS_LOST)) {
		end(t, FENCED);		/* EIO, outcome unknown: the producer reads next */
	} else if (step >= r.first && step < r.head &&
		   (bw_entry_at(r, step) == bw_entry_at(t->m->attempt, step) ||
		    bw_commit_mutated(t->s, PROOF_BY_SEQ))) {
		committed(t);
	} else {
		lost(t);
	}
}

static void ask_state(struct turn *t, const struct state *from)
{
	turn_begin(t, from);
	if (!bw_commit_mutated(t->s, STALE_STATE))
		t->m->known = from->n;
	struct root r = from->slot[t->m->known];
	bool mine = holds(t, r) || bw_commit_mutated(t->s, NEXT_OF_ANOTHER);
	bool covered = r.next > t->m->seq;

	if (bw_commit_mutated(t->s, COVERED_IS_LOST))
		covered = false;
	if (bw_commit_mutated(t->s, UNCOVERED_IS_COMMITTED))
		covered = true;
	if (!t->m->appends)
		lost(t);	/* made again; the next BUILD sees what is there already */
	else if (!mine)
		prove(t, r);
	else if (covered)
		committed(t);
	else
		lost(t);
	add(t, BW_FAIR, "mount %c decides by the state of root %d", (int)from->n, 0);
}

static void refresh(struct turn *t, const struct state *from)
{
	turn_begin(t, from);
	t->m->known = from->n;
	t->m->fresh = 1;
	build(t);
	add(t, BW_FAIR, "mount %c reads the newest root, %d", (int)from->n, 0);
	if (!from->mount[t->i].appends || from->mount[t->i].edit || !t->s->bounds[EDITS_N])
		return;
	turn_begin(t, from);
	refused_edit(t);
	add(t, BW_FAULT, "mount %c cannot read the newest root; the batch is rewritten", 0, 0);
}

/* ---- Mounts that come and go ------------------------------------------------------------------ */

static void begin(struct turn *t, const struct state *from)
{
	turn_begin(t, from);
	t->m->known = from->n;
	build(t);
	add(t, BW_FAULT, "mount %c starts, opens at root %d and takes the producer", (int)from->n,
	    0);
}

static void crash(struct turn *t, const struct state *from)
{
	const struct mount was = from->mount[t->i];

	if (was.phase == DONE || was.life || from->crashes >= t->s->bounds[CRASHES_N])
		return;
	turn_begin(t, from);
	memset(t->m, 0, sizeof(*t->m));
	t->m->life = 1;
	t->next.crashes++;
	add(t, BW_FAULT, "mount %c dies", 0, 0);
}

/* Its batch is still staged: it is uploaded again, and committed when it is still the next. */
static void retake(struct turn *t, const struct state *from)
{
	const struct mount was = from->mount[t->i];

	if (was.edit || from->retakes >= t->s->bounds[RETAKES_N])
		return;
	turn_begin(t, from);
	t->next.retakes++;
	t->m->appends = 0;
	t->m->epoch = 0;
	t->m->edit = 1;
	t->m->staged = 1;
	build(t);
	add(t, BW_FAULT, "mount %c takes the producer again, knowing root %d", (int)was.known,
	    0);
}

static void mount_moves(struct turn *t, const struct state *from)
{
	enum phase phase = (enum phase)from->mount[t->i].phase;

	switch (phase) {
	case OUT:
		begin(t, from);
		return;
	case SLOT:
		if (from->mount[t->i].maybe && bw_commit_mutated(t->s, NO_RESEND))
			break;
		if (lands(t->s, from, from->mount[t->i].slot))
			slot_free(t, from);
		else
			slot_taken(t, from);
		slot_definite(t, from);
		slot_doubt(t, from);
		break;
	case READ:
		read_back(t, from);
		break;
	case STATE:
		ask_state(t, from);
		break;
	case NEWEST:
		refresh(t, from);
		break;
	case FENCED:
		retake(t, from);
		break;
	case DONE:
		break;
	}
	crash(t, from);
}

/* ---- The world -------------------------------------------------------------------------------- */

static void late_moves(struct turn *t, const struct state *from)
{
	for (int i = 0; i < LATES; i++) {
		unsigned v = from->late_slot[i];

		if (!v || !lands(t->s, from, v))
			continue;
		turn_begin(t, from);
		create(t, v, from->late[i]);
		late_drop(t->s, &t->next);
		bw_move_add(t->out, &t->next, BW_FAULT, "a late copy of a put of root %d arrives",
			    (int)v, 0, 0);
	}
}

static void other_commits(struct turn *t, struct root r, const char *format)
{
	unsigned v = t->next.n + 1u;

	create(t, v, r);
	late_drop(t->s, &t->next);
	bw_move_add(t->out, &t->next, BW_FAULT, format, (int)r.head, (int)v, 0);
}

static void others(struct turn *t, const struct state *from)
{
	int limit = t->s->bounds[TOMBS_N];

	t->i = 0;
	if (from->tomb + 1 < from->n && from->tomb < limit) {
		turn_begin(t, from);
		t->next.tomb++;
		bw_move_add(t->out, &t->next, BW_FAULT,
			    bw_commit_mutated(t->s, FREE_NAME) ? "a collector deletes old root %d"
						     : "a collector makes old root %d a tombstone",
			    t->next.tomb, 0, 0);
	}
	if (from->n == VERSIONS)
		return;
	if (from->trims < t->s->bounds[TRIMS_N]) {
		struct root r = from->slot[from->n];

		turn_begin(t, from);
		r.first = r.head;
		t->next.trims++;
		other_commits(t, r, "somebody trims all %d steps in root %d");
	}
	if (from->strangers < t->s->bounds[STRANGERS_N]) {
		turn_begin(t, from);
		t->next.strangers++;
		other_commits(
			t, from->slot[from->n],
			"others commit for another producer, this one keeps %d steps, in root %d");
	}
}

static void moves(const struct bw_setting *s, const void *state, struct bw_moves *out)
{
	struct state from;
	struct turn t = {.s = s, .out = out};

	memcpy(&from, state, sizeof(from));
	for (t.i = 0; t.i < s->bounds[MOUNTS_N]; t.i++)
		mount_moves(&t, &from);
	late_moves(&t, &from);
	others(&t, &from);
}

static void start(const struct bw_setting *s, void *state)
{
	struct state st;

	(void)s;
	memset(&st, 0, sizeof(st));
	st.n = 1;
	st.slot[1].there = 1;
	memcpy(state, &st, sizeof(st));
}

/* All invariants are about roots that come to be and what producers are told. */
static const char *broken(const struct bw_setting *s, const void *state)
{
	(void)s;
	(void)state;
	return NULL;
}

static bool settled(const struct bw_setting *s, const void *state)
{
	struct state st;

	(void)s;
	memcpy(&st, state, sizeof(st));
	for (int i = 0; i < MOUNTS; i++)
		if (st.mount[i].phase != OUT && st.mount[i].phase != DONE &&
		    st.mount[i].phase != FENCED)
			return false;
	return true;
}

const struct bw_model bw_model_commit = {
	.name = "commit",
	.state_size = sizeof(struct state),
	.mutations = mutations,
	.mutations_n = sizeof(mutations) / sizeof(*mutations),
	.bounds = bounds,
	.bounds_n = sizeof(bounds) / sizeof(*bounds),
	.start = start,
	.moves = moves,
	.canonical = bw_commit_canonical,
	.broken = broken,
	.settled = settled,
};
