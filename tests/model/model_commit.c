/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commit: put-if-absent of the next root, every way its answer can be wrong, late or lost, fences with
 * owner ids, tombstones met while away, a trim, and clients that die and come back.
 *
 * One producer, that 2 or 3 mounts take from each other.  A mount takes it (fence), reads `resume`, and
 * commits batches until `steps` are committed.  What apply reads of a root is in the state bit by
 * bit; who sent what is in an entry's nonce: owner, and whether the batch was edited since.
 *
 * What the network still holds of puts whose answer was UNKNOWN is a set: each may arrive at any time, any
 * number of times, also after its sender has died.
 *
 * Two ways to decide exist.  The page of the design reads the newest root after EXISTS and the slot only
 * when the owner changed; manifest/txn.c reads the slot first and asks the newest root only when the
 * slot is a tombstone.  The model does what the code does.  A refresh is one move here, because
 * model_open.c shows that what a search accepts was the newest while it searched; STATE and PROOF are one
 * move, because PROOF looks into the very root that STATE has read.
 */
#include "tests/model/model.h"

#include <stdlib.h>
#include <string.h>

#define MOUNTS 3
#define VERSIONS 8
#define LATES 3
#define OWNERS 7	/* 0: nobody; 1 + mount * 2 + life */
#define STEPS 3
#define ENTRY_BITS 6

enum { MOUNTS_N, STEPS_N, CRASHES_N, RETAKES_N, LATES_N, TRIMS_N, TOMBS_N, EDITS_N };
static const struct bw_bound bounds[] = {
	{"mounts", 2, 3, "mounts that take the producer"},
	{"steps", 2, 3, "batches until the producer is done"},
	{"crashes", 1, 3, "deaths of a mount; it may come back with a new owner id"},
	{"retakes", 1, 3, "a fenced mount takes the producer again, its batch still staged"},
	{"lates", 2, 3, "puts that were answered UNKNOWN before they were applied"},
	{"trims", 0, 3, "trims of everything committed, by somebody else"},
	{"tombs", 7, 7, "roots overwritten by tombstones, in ascending order"},
	{"edits", 1, 1, "a batch refused by a definite error is rewritten and closed again"},
};

enum mutation {
	EXISTS_IS_LOST, EXISTS_IS_COMMITTED, UNKNOWN_IS_LOST, UNKNOWN_IS_COMMITTED, NOT_FOUND_IS_LOST,
	ABANDON, OTHER_BYTES, DEFINITE_AFTER_DOUBT, BUILD_AHEAD, PLAIN_PUT, FREE_NAME, EPOCH_ONLY,
	NO_FENCE_CHECK, SAME_OWNER, SKIP_SEQ, SEQ_RESTARTS, STALE_STATE, SKIP_PROOF, TRIMMED_IS_LOST,
};
static const struct bw_mutation mutations[] = {
	[EXISTS_IS_LOST] = {"exists-is-lost", "EXISTS is no verdict: the slot is read", "I6", NULL},
	[EXISTS_IS_COMMITTED] = {"exists-is-committed", "EXISTS is no verdict: the slot is read", "I6",
				 NULL},
	[UNKNOWN_IS_LOST] = {"unknown-is-lost", "no rebase while in doubt", "I6", NULL},
	[UNKNOWN_IS_COMMITTED] = {"unknown-is-committed", "acknowledge on OK or on state only", "I6",
				  NULL},
	[NOT_FOUND_IS_LOST] = {"not-found-is-lost", "a slot that is not there proves nothing: the put may "
			       "still arrive", "I6", NULL},
	[ABANDON] = {"abandon-slot", "a slot is never abandoned; its batches are frozen", "I6", NULL},
	[OTHER_BYTES] = {"other-bytes", "the same bytes to the same name, every time", "I6", NULL},
	[DEFINITE_AFTER_DOUBT] = {"definite-after-doubt", "a definite error is final only when no earlier "
				  "send can have been applied", "I6", NULL},
	[BUILD_AHEAD] = {"build-ahead", "v+1 is never built before v is known to exist", "I2", NULL},
	[PLAIN_PUT] = {"plain-put", "a root is put if absent (init refuses a store without it)", "I1",
		       NULL},
	[FREE_NAME] = {"free-name", "an old root becomes a tombstone, its name is never free", "I1", NULL},
	[EPOCH_ONLY] = {"epoch-only", "the owner id is checked, not only the epoch", "I7", NULL},
	[NO_FENCE_CHECK] = {"no-fence-check", "an append needs the producer's owner and epoch", "I7", NULL},
	[SAME_OWNER] = {"same-owner", "the owner id is of one life: a restart fences", "I6",
			"trims=1 mounts=1"},
	[SKIP_SEQ] = {"skip-seq", "an append needs the producer's next seq", "I5", NULL},
	[SEQ_RESTARTS] = {"seq-restarts", "seqs continue across epochs", "I5", NULL},
	[STALE_STATE] = {"stale-state", "a root older than the slot proves nothing", "I6", NULL},
	[SKIP_PROOF] = {"skip-proof", "fenced since: the entry at the assigned step decides", "I6", NULL},
	[TRIMMED_IS_LOST] = {"trimmed-is-lost", "a reclaimed step proves nothing: outcome unknown", "I6",
			     "trims=1"},
};

struct root {
	uint32_t there : 1, epoch : 3, owner : 3, next : 2, head : 2, first : 2, entries : 18;
};

enum phase {
	OUT,		/* not started, or dead */
	NEWEST,		/* reads the newest root, to build on it */
	SLOT,		/* sends its attempt */
	READ,		/* reads back the slot */
	STATE,		/* the slot is a tombstone: reads the newest root */
	FENCED,		/* was told so */
	DONE,
};

struct mount {
	struct root attempt;
	uint32_t phase : 3, life : 1, fresh : 1, maybe : 1, edit : 1, appends : 1, staged : 1, seq : 2,
		epoch : 3, known : 4, slot : 4;
};

struct state {
	struct root slot[VERSIONS + 1];
	struct mount mount[MOUNTS];
	struct root late[LATES];
	uint8_t late_slot[LATES];	/* 0: none */
	uint8_t refused[OWNERS];	/* batches their producer was told are not committed, a bit each */
	uint8_t n;			/* newest version */
	uint8_t tomb;			/* roots up to it are tombstones; their bytes here are only for us */
	uint8_t crashes, retakes, lates, trims;	/* used up */
};
_Static_assert(sizeof(struct state) <= BW_STATE_MAX, "a state fits");

/* One turn of one mount: next is what the move being made leads to. */
struct turn {
	const struct bw_setting *s;
	struct bw_moves *out;
	struct state next;
	struct mount *m;	/* in next */
	int i;			/* its index */
};

static bool mutated(const struct bw_setting *s, enum mutation m)
{
	return s->mutation == (int)m;
}

/* ---- Roots ------------------------------------------------------------------------------------ */

static unsigned entry_at(struct root r, unsigned step)
{
	return r.entries >> (step * ENTRY_BITS) & ((1u << ENTRY_BITS) - 1);
}

static unsigned entry_make(unsigned seq, unsigned owner, unsigned edit)
{
	return seq | owner << 2 | edit << 5;
}

static unsigned entry_owner(unsigned entry)
{
	return entry >> 2 & 7;
}

static struct root with_entry(struct root r, unsigned entry)
{
	r.entries |= entry << (r.head * ENTRY_BITS);
	r.head++;
	r.next = (entry & 3) + 1;
	return r;
}

static bool same(struct root a, struct root b)
{
	return !memcmp(&a, &b, sizeof(a));
}

/* The life of a mount, as it is in the nonces of its uploads. */
static unsigned life_id(const struct turn *t)
{
	return 1 + (unsigned)t->i * 2 + t->m->life;
}

/* What a life puts into the producer table. */
static unsigned owner_of(const struct bw_setting *s, unsigned life)
{
	return mutated(s, SAME_OWNER) ? life - (life + 1) % 2 : life;
}

static unsigned owner_id(const struct turn *t)
{
	return owner_of(t->s, life_id(t));
}

/* ---- What must hold when a root comes to be --------------------------------------------------- */

static const char *check_append(const struct bw_setting *s, const struct state *st, struct root was,
				struct root is)
{
	unsigned entry = entry_at(is, was.head);

	if (is.entries != (was.entries | entry << (was.head * ENTRY_BITS)))
		return "I3: an entry changed";
	if ((entry & 3) != was.head)	/* of one producer, seqs and steps are the same */
		return "I5: a seq is committed twice, or one is left out";
	if (is.epoch != was.epoch || owner_of(s, entry_owner(entry)) != was.owner)
		return "I7: a batch is committed by one who does not hold the producer";
	if (st->refused[entry_owner(entry)] >> ((entry >> 5) * 4 + (entry & 3)) & 1)
		return "I6: a batch is committed whose producer was told that it is not";
	return NULL;
}

static const char *check_created(const struct bw_setting *s, const struct state *st, unsigned v,
				 struct root r)
{
	struct root was = st->slot[v - 1];

	if (st->slot[v].there)
		return "I1: a version is created twice";
	if (!was.there)
		return "I2: a version is created before the one it follows";
	if (r.head < was.head || r.first < was.first)
		return "I2: head or first falls";
	if (r.head > was.head)
		return check_append(s, st, was, r);
	if (r.entries != was.entries)
		return "I3: an entry changed";
	return r.epoch < was.epoch ? "I7: an epoch falls" : NULL;
}

static void create(struct turn *t, unsigned v, struct root r)
{
	const char *what = check_created(t->s, &t->next, v, r);

	if (what)
		bw_broken(t->out, what);
	t->next.slot[v] = r;
	if (v > t->next.n)
		t->next.n = v;
}

static bool absent(const struct bw_setting *s, const struct state *st, unsigned v)
{
	return !st->slot[v].there || (mutated(s, FREE_NAME) && v <= st->tomb);
}

/* Does a put-if-absent of v take place? */
static bool lands(const struct bw_setting *s, const struct state *st, unsigned v)
{
	return absent(s, st, v) || mutated(s, PLAIN_PUT);
}

/* ---- What a producer is told ------------------------------------------------------------------ */

static bool is_committed(const struct state *st, unsigned entry)
{
	for (unsigned step = 0; step < st->slot[st->n].head; step++)
		if (entry_at(st->slot[st->n], step) == entry)
			return true;
	return false;
}

static void told_committed(struct turn *t)
{
	if (!is_committed(&t->next, entry_make(t->m->seq, life_id(t), t->m->edit)))
		bw_broken(t->out, "I6: a batch is acknowledged that is not committed");
}

static void told_refused(struct turn *t)
{
	if (is_committed(&t->next, entry_make(t->m->seq, life_id(t), t->m->edit)))
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
	if (mutated(t->s, NO_FENCE_CHECK) && t->m->appends)
		return true;
	if (mutated(t->s, EPOCH_ONLY))
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
	if (mutated(t->s, SEQ_RESTARTS))
		base.next = 0;
	t->m->epoch = mutated(t->s, EPOCH_ONLY) ? base.epoch : 0;
	send_next(t, base);
}

/* Errors are only given on a root that was the newest meanwhile. */
static void build_append(struct turn *t)
{
	struct root base = t->next.slot[t->m->known];
	bool mine = holds(t, base);

	if (mine && (t->m->seq == base.next || mutated(t->s, SKIP_SEQ))) {
		if (base.head < STEPS)
			send_next(t, with_entry(base, entry_make(t->m->seq, life_id(t), t->m->edit)));
		else
			end(t, DONE);
	} else if (!t->m->fresh) {
		lost(t);
	} else {
		told_refused(t);
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

static void late_sort(struct state *st)
{
	for (int i = 1; i < LATES; i++)
		for (int k = i; k > 0; k--) {
			struct root r = st->late[k];
			uint8_t v = st->late_slot[k];
			int order = (int)v - st->late_slot[k - 1];

			if ((order ? order : memcmp(&r, &st->late[k - 1], sizeof(r))) <= 0)
				break;
			st->late[k] = st->late[k - 1];
			st->late_slot[k] = st->late_slot[k - 1];
			st->late[k - 1] = r;
			st->late_slot[k - 1] = v;
		}
}

/* A put of a name that is taken for ever can do nothing any more. */
static void late_drop(const struct bw_setting *s, struct state *st)
{
	for (int i = 0; i < LATES; i++) {
		if (!st->late_slot[i] || !st->slot[st->late_slot[i]].there ||
		    mutated(s, FREE_NAME) || mutated(s, PLAIN_PUT))
			continue;
		memset(&st->late[i], 0, sizeof(st->late[i]));
		st->late_slot[i] = 0;
	}
	late_sort(st);
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
		if (st->late_slot[i] == t->m->slot && same(st->late[i], t->m->attempt))
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
	if (mutated(t->s, EXISTS_IS_LOST))
		lost(t);
	else if (mutated(t->s, EXISTS_IS_COMMITTED))
		committed(t);
	else
		t->m->phase = READ;
}

static void got_unknown(struct turn *t)
{
	if (mutated(t->s, UNKNOWN_IS_LOST))
		lost(t);
	else if (mutated(t->s, UNKNOWN_IS_COMMITTED))
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
	bool final = !was.maybe || mutated(t->s, DEFINITE_AFTER_DOUBT);

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
	if (was.appends && !was.edit && mutated(t->s, ABANDON)) {
		refused_edit(t);
		add(t, BW_FAIR, SENDS(&was, "given up at commit_timeout, the batch is rewritten"),
		    SENT(&was));
	}
	if (was.appends && !was.edit && mutated(t->s, OTHER_BYTES)) {
		told_refused(t);
		t->m->edit = 1;
		build(t);
		add(t, BW_FAIR, SENDS(&was, "in doubt, and the batch is rewritten"), SENT(&was));
	}
	if (was.appends && !was.edit && mutated(t->s, NOT_FOUND_IS_LOST) &&
	    absent(t->s, from, was.slot)) {
		refused_edit(t);
		add(t, BW_FAIR, SENDS(&was, "read back, NOT_FOUND, so it is said to be lost"),
		    SENT(&was));
	}
	if (mutated(t->s, BUILD_AHEAD) && was.slot < VERSIONS && was.attempt.head < STEPS) {
		t->m->seq = was.attempt.next;
		t->m->appends = 1;
		t->m->attempt = with_entry(was.attempt, entry_make(t->m->seq, life_id(t), 0));
		t->m->slot++;
		t->m->maybe = 0;
		add(t, BW_FAIR, SENDS(&was, "in doubt, and the next root is built on it"), SENT(&was));
	}
}

/* ---- Resolving -------------------------------------------------------------------------------- */

static void read_back(struct turn *t, const struct state *from)
{
	const struct mount was = from->mount[t->i];
	const char *format = "mount %c reads slot %d: the bytes of another";

	turn_begin(t, from);
	if (absent(t->s, from, was.slot)) {
		t->m->phase = SLOT;
		t->m->maybe = 1;
		format = "mount %c reads slot %d: NOT_FOUND";
	} else if (was.slot <= from->tomb) {
		t->m->phase = STATE;
		format = "mount %c reads slot %d: a tombstone";
	} else if (same(from->slot[was.slot], was.attempt)) {
		committed(t);
		format = "mount %c reads slot %d: its own bytes";
	} else {
		lost(t);
	}
	add(t, BW_FAIR, format, (int)was.slot, 0);
}

/* The producer is not ours any more: the entry at the step the attempt assigned says whose it is. */
static void prove(struct turn *t, struct root r)
{
	unsigned step = t->m->attempt.head - 1u;

	if (mutated(t->s, SKIP_PROOF)) {
		told_refused(t);
		end(t, FENCED);
	} else if (step < r.first && !mutated(t->s, TRIMMED_IS_LOST)) {
		end(t, FENCED);		/* EIO, outcome unknown: the producer reads next */
	} else if (step >= r.first && step < r.head &&
		   entry_at(r, step) == entry_at(t->m->attempt, step)) {
		committed(t);
	} else {
		lost(t);
	}
}

static void ask_state(struct turn *t, const struct state *from)
{
	turn_begin(t, from);
	if (!mutated(t->s, STALE_STATE))
		t->m->known = from->n;
	struct root r = from->slot[t->m->known];

	if (!t->m->appends)
		lost(t);	/* made again; the next BUILD sees what is there already */
	else if (!holds(t, r))
		prove(t, r);
	else if (r.next > t->m->seq)
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
}

/* ---- Mounts that come and go ------------------------------------------------------------------ */

static void begin(struct turn *t, const struct state *from)
{
	turn_begin(t, from);
	t->m->known = from->n;
	build(t);
	add(t, BW_FAULT, "mount %c starts, opens at root %d and takes the producer", (int)from->n, 0);
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
	t->m->known = from->n;
	t->m->appends = 0;
	t->m->epoch = 0;
	t->m->edit = 1;
	t->m->staged = 1;
	build(t);
	add(t, BW_FAULT, "mount %c takes the producer again at root %d", (int)from->n, 0);
}

static void mount_moves(struct turn *t, const struct state *from)
{
	enum phase phase = (enum phase)from->mount[t->i].phase;

	switch (phase) {
	case OUT:
		begin(t, from);
		return;
	case SLOT:
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
		bw_move_add(t->out, &t->next, BW_FAULT, "a late copy of a put of root %d arrives", (int)v,
			    0, 0);
	}
}

static void others(struct turn *t, const struct state *from)
{
	int limit = t->s->bounds[TOMBS_N];

	t->i = 0;
	if (from->tomb + 1 < from->n && from->tomb < limit) {
		turn_begin(t, from);
		t->next.tomb++;
		bw_move_add(t->out, &t->next, BW_FAULT,
			    mutated(t->s, FREE_NAME) ? "a collector deletes old root %d"
						     : "a collector makes old root %d a tombstone",
			    t->next.tomb, 0, 0);
	}
	if (from->trims < t->s->bounds[TRIMS_N] && from->n < VERSIONS) {
		struct root r = from->slot[from->n];

		turn_begin(t, from);
		r.first = r.head;
		t->next.trims++;
		create(t, from->n + 1u, r);
		late_drop(t->s, &t->next);
		bw_move_add(t->out, &t->next, BW_FAULT, "somebody trims all %d steps in root %d",
			    (int)r.head, from->n + 1, 0);
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

/* ---- Symmetry: mounts are alike, so which of them did what makes no difference ----------------- */

static struct root rename_root(struct root r, const uint8_t *owner)
{
	uint32_t entries = 0;

	if (!r.there)
		return r;
	r.owner = owner[r.owner] & 7u;
	for (unsigned step = 0; step < r.head; step++) {
		unsigned e = entry_at(r, step);

		e = entry_make(e & 3, owner[entry_owner(e)], e >> 5);
		entries |= e << (step * ENTRY_BITS);
	}
	r.entries = entries & ((1u << 18) - 1);
	return r;
}

static void rename_mounts(const struct state *from, const uint8_t *to, struct state *ret)
{
	uint8_t owner[8] = {0};

	*ret = *from;
	if (to[0] == 0 && to[1] == 1)
		return;
	for (unsigned i = 0; i < MOUNTS; i++)
		for (unsigned life = 0; life < 2; life++)
			owner[1 + i * 2 + life] = (uint8_t)(1u + to[i] * 2u + life);
	for (unsigned v = 1; v <= VERSIONS; v++)
		ret->slot[v] = rename_root(from->slot[v], owner);
	for (unsigned i = 0; i < MOUNTS; i++) {
		ret->mount[to[i]] = from->mount[i];
		ret->mount[to[i]].attempt = rename_root(from->mount[i].attempt, owner);
	}
	for (unsigned i = 0; i < LATES; i++)
		ret->late[i] = rename_root(from->late[i], owner);
	for (unsigned o = 1; o < OWNERS; o++)
		ret->refused[owner[o]] = from->refused[o];
	late_sort(ret);
}

/* A mount's own fields, without what names other mounts. */
static uint32_t own_fields(const struct mount *m)
{
	uint32_t word;

	memcpy(&word, (const uint8_t *)m + sizeof(m->attempt), sizeof(word));
	return word;
}

static bool sorts(const struct state *st, const uint8_t *to, int n)
{
	for (int i = 0; i < n; i++)
		for (int k = 0; k < n; k++)
			if (to[i] < to[k] && own_fields(&st->mount[i]) > own_fields(&st->mount[k]))
				return false;
	return true;
}

/* Of all orders that sort the mounts by their own fields, the one that gives the least bytes. */
static void canonical(const struct bw_setting *s, void *state)
{
	static const uint8_t orders[][MOUNTS] = {{0, 1, 2}, {1, 0, 2}, {0, 2, 1},
						 {2, 1, 0}, {1, 2, 0}, {2, 0, 1}};
	static const int orders_n[] = {0, 1, 2, 6};
	int n = s->bounds[MOUNTS_N];
	struct state from, best, other;
	bool any = false;

	memcpy(&from, state, sizeof(from));
	for (int i = 0; i < orders_n[n]; i++) {
		if (!sorts(&from, orders[i], n))
			continue;
		rename_mounts(&from, orders[i], &other);
		if (!any || memcmp(&other, &best, sizeof(best)) < 0)
			best = other;
		any = true;
	}
	memcpy(state, &best, sizeof(best));
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
	.canonical = canonical,
	.broken = broken,
	.settled = settled,
};
