/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the newest root: cold open from any hint, warm probes, look-ups that join them,
 * tombstones.
 *
 * A writer adds versions and collectors overwrite superseded ones at any time and in any order;
 * version v commits step v.  One mount opens, follows and looks up.  One is enough: mounts that
 * only read do not act on each other, so what holds for one whatever the others do to the store
 * holds for all.
 *
 * A request of a search is one move: it reads the store at one moment between being sent and being
 * answered, and the mount does nothing else with the search meanwhile.  A warm probe is two moves,
 * because look-ups begin between them: the store executes it, then its answer arrives.
 */
#include "tests/model/model.h"

#include <string.h>

enum { VERSIONS_N, HITS_N, OPENS_N, LOOKUPS_N, OWN_N };
static const struct bw_bound bounds[] = {
	{"versions", 7, 15, "versions that come to be"},
	{"hits", 2, 9, "warm hits in a row before the mount searches (4 in manifest/head_probe.c)"},
	{"opens", 2, 9, "times the mount opens"},
	{"lookups", 2, 9, "look-ups past the known head"},
	{"own", 0, 9, "of the versions, commits of this mount, which it knows at once"},
};

enum mutation {
	NO_NOT_FOUND,
	OLD_NOT_FOUND,
	SEARCH_TOMBSTONE,
	WARM_TOMBSTONE,
	TOMBSTONE_AT_END,
	FREE_NAME,
	JOIN_OLDER,
	JUMP_OLDER,
	TOMBSTONE_EARLY,
	HINT_MUST_BE,
	NO_GAP_SEARCH,
	STALE_STORE,
	NO_ANSWER,
	OLDER_ROOT,
};
static const struct bw_mutation mutations[] = {
	[NO_NOT_FOUND] = {"open-no-not-found",
			  "a root is accepted only with a NOT_FOUND at the next name", "V3", NULL},
	[OLD_NOT_FOUND] = {"open-old-not-found", "... and that one was sent during this open", "V3",
			   NULL},
	[SEARCH_TOMBSTONE] = {"search-tombstone", "a tombstone counts as found when searching",
			      "V3 I13", NULL},
	[WARM_TOMBSTONE] = {"warm-tombstone", "a tombstone after the head: search, do not say no",
			    "V3", NULL},
	[TOMBSTONE_AT_END] = {"tombstone-at-end",
			      "a tombstone at the end of a search: search again", "V3", NULL},
	[FREE_NAME] = {"free-name-open", "old roots become tombstones, so existence is monotone",
		       "V3 I13", NULL},
	[JOIN_OLDER] = {"join-older-probe", "a look-up is not answered by a probe sent before it",
			"V3", NULL},
	[JUMP_OLDER] = {"join-older-search", "... nor by a search that had begun before it", "V3",
			NULL},
	[TOMBSTONE_EARLY] = {"tombstone-early", "a root is overwritten only once v+1 was seen",
			     "I2", NULL},
	[HINT_MUST_BE] = {"hint-is-believed", "a hint is only a place to start", "I13", NULL},
	[NO_GAP_SEARCH] = {"no-halving",
			   "after doubling, the gap to the first NOT_FOUND is searched", "V3",
			   NULL},
	[STALE_STORE] = {"stale-store", "what was put is seen by every request sent afterwards",
			 "V3", NULL},
	[NO_ANSWER] = {"no-answer-is-none", "a store that does not answer is no \"not committed\"",
		       "V3", NULL},
	[OLDER_ROOT] = {"older-root", "an older root changes nothing", "V2", "versions=5 own=2"},
};

enum phase { OUT, SEARCH, WARM };
enum probe { IDLE, SENT, GOT_NONE, GOT_ROOT, GOT_TOMB };

struct state {
	uint16_t tombs;		/* bit v: version v is a tombstone */
	uint8_t n;		/* newest version */
	uint8_t opens, lookups, own;	/* begun, or made */
	uint8_t phase;
	uint8_t open_n;		/* newest when this open began */
	/* A search. */
	uint8_t start, low, high, stride;
	uint8_t low_root;	/* low is a root, not a tombstone */
	uint8_t jump;		/* the search is of a mount that knows a root already */
	uint8_t old_none; /* a name that was NOT_FOUND before this open; of OLD_NOT_FOUND alone */
	/* What the mount knows. */
	uint8_t known, hits;
	uint8_t probe, probe_v;
	/* One look-up under way, of the step that version `ask` commits; 0: none. */
	uint8_t ask, ask_n, ask_late; /* late: it began after the probe, or the search, under way */
};
_Static_assert(sizeof(struct state) <= BW_STATE_MAX, "a state fits");

struct turn {
	const struct bw_setting *s;
	struct bw_moves *out;
	struct state next;
};

static bool mutated(const struct bw_setting *s, enum mutation m)
{
	return s->mutation == (int)m;
}

static void add(struct turn *t, enum bw_fairness fairness, const char *format, int a, int b)
{
	bw_move_add(t->out, &t->next, fairness, format, a, b, 0);
}

static enum probe get(const struct turn *t, unsigned v)
{
	if (v > t->next.n)
		return GOT_NONE;
	if (!(t->next.tombs >> v & 1))
		return GOT_ROOT;
	return mutated(t->s, FREE_NAME) ? GOT_NONE : GOT_TOMB;
}

/* ---- Look-ups --------------------------------------------------------------------------------- */

static void ask_end(struct state *st)
{
	st->ask = st->ask_n = st->ask_late = 0;
}

/* Nothing newer was found.  May the look-up be told so? */
static void say_none(struct turn *t, bool may_be_older)
{
	struct state *st = &t->next;

	if (!st->ask || (st->ask_late && !may_be_older))
		return;
	if (st->ask <= st->ask_n)
		bw_broken(t->out,
			  "V3: a look-up says \"not committed\" of a step that was when it began");
	ask_end(st);
}

static void knows(struct turn *t, unsigned v)
{
	struct state *st = &t->next;

	if (v < st->known && !mutated(t->s, OLDER_ROOT))
		return;
	if (v < st->known)
		bw_broken(t->out, "V2: a mount goes back");
	st->known = (uint8_t)v;
	if (st->ask && st->ask <= v)
		ask_end(st);
}

static void ask_moves(struct turn *t, const struct state *from)
{
	if (from->phase == OUT || !from->known || from->ask ||
	    from->lookups >= t->s->bounds[LOOKUPS_N])
		return;
	for (int v = from->known + 1; v <= t->s->bounds[VERSIONS_N]; v++) {
		t->next = *from;
		t->next.lookups++;
		t->next.ask = (uint8_t)v;
		t->next.ask_n = from->n;
		t->next.ask_late = from->phase == SEARCH || from->probe != IDLE;
		add(t, BW_FAULT,
		    "a look-up of the step of version %d begins, version %d is the newest", v,
		    from->n);
	}
}

/* ---- Searching -------------------------------------------------------------------------------- */

static void search_reset(struct state *st, unsigned start)
{
	st->phase = SEARCH;
	st->start = (uint8_t)start;
	st->low = st->high = st->low_root = 0;
	st->stride = 1;
}

static unsigned search_next(const struct state *st)
{
	if (!st->low && !st->high)
		return st->start;
	if (!st->high)
		return st->low + st->stride;
	return st->low + (st->high - st->low) / 2u;
}

static void search_end(struct state *st)
{
	st->phase = WARM;
	st->start = st->low = st->high = st->stride = st->low_root = st->jump = st->open_n = 0;
	st->hits = 0;
	st->probe = IDLE;
	st->probe_v = 0;
}

static void accept(struct turn *t, unsigned v)
{
	struct state *st = &t->next;

	if (v < st->open_n)
		bw_broken(t->out, "V3: what an open accepts was not the newest while it searched");
	st->old_none = 0;
	if (mutated(t->s, OLD_NOT_FOUND))
		st->old_none = (uint8_t)(v + 1);
	bool jump = st->jump;

	search_end(st);
	knows(t, v);
	if (jump)
		say_none(t, mutated(t->s, JUMP_OLDER));
	st->ask_late = 0;
}

static bool is_over(const struct turn *t)
{
	const struct state *st = &t->next;

	if (mutated(t->s, NO_NOT_FOUND) && st->low_root)
		return true;
	if (mutated(t->s, NO_GAP_SEARCH) && st->high && st->low)
		return true;
	return st->high && st->high - st->low <= 1;
}

/* The search has come to its end, or goes on. */
static void search_step(struct turn *t)
{
	struct state *st = &t->next;

	if (!is_over(t))
		return;
	if (st->low && st->low_root) {
		accept(t, st->low);
	} else if (!st->low) {
		bw_broken(t->out, "I13: an open finds no version, though the stream has one");
		search_end(st);
		st->phase = OUT;
	} else if (mutated(t->s, TOMBSTONE_AT_END) && st->known) {
		accept(t, st->known);
	} else {
		search_reset(st, st->low);
	}
}

static void search_got(struct turn *t, const struct state *from, unsigned v, enum probe got)
{
	const char *format = "the search reads version %d: a root";

	t->next = *from;
	struct state *st = &t->next;

	if (got == GOT_TOMB)
		format = "the search reads version %d: a tombstone";
	if (got == GOT_NONE)
		format = "the search reads version %d: NOT_FOUND";
	if (mutated(t->s, HINT_MUST_BE) && got == GOT_NONE && !st->low)
		st->high = 1;
	else if (got == GOT_NONE || (got == GOT_TOMB && mutated(t->s, SEARCH_TOMBSTONE))) {
		st->high = (uint8_t)v;
	} else {
		if (st->low)
			st->stride *= 2;
		st->low = (uint8_t)v;
		st->low_root = got == GOT_ROOT;
	}
	search_step(t);
	add(t, BW_FAIR, format, (int)v, 0);
}

static bool stale(const struct turn *t, const struct state *from, unsigned v)
{
	return mutated(t->s, STALE_STORE) && v == from->n && v > 1;
}

static void search_moves(struct turn *t, const struct state *from)
{
	unsigned v = search_next(from);

	t->next = *from;
	search_got(t, from, v, get(t, v));
	if (stale(t, from, v))
		search_got(t, from, v, GOT_NONE);
	if (!from->jump)
		return;		/* an open that fails is a mount that dies */
	t->next = *from;
	search_end(&t->next);
	t->next.ask_late = 0;	/* the next probe is sent later than it */
	add(t, BW_FAULT, "version %d is not answered, the search is given up", (int)v, 0);
}

/* A hint of any age, or a damaged one that names what never was. */
static void open_moves(struct turn *t, const struct state *from)
{
	if (from->opens >= t->s->bounds[OPENS_N])
		return;
	for (int hint = 1; hint <= t->s->bounds[VERSIONS_N]; hint++) {
		t->next = *from;
		t->next.opens++;
		t->next.open_n = from->n;
		search_reset(&t->next, (unsigned)hint);
		/* Only OLD_NOT_FOUND remembers one. */
		if (from->old_none > hint) {
			t->next.high = from->old_none;
			t->next.low = 0;
		}
		add(t, BW_FAULT, "the mount opens with hint %d, version %d is the newest", hint,
		    from->n);
	}
}

static void close_move(struct turn *t, const struct state *from)
{
	uint8_t old_none = from->old_none;

	if (from->opens >= t->s->bounds[OPENS_N])
		return;
	t->next = *from;
	memset(&t->next.phase, 0, sizeof(t->next) - offsetof(struct state, phase));
	t->next.old_none = old_none;
	add(t, BW_FAULT, "the mount dies", 0, 0);
}

/* ---- Following -------------------------------------------------------------------------------- */

static void jump(struct turn *t, unsigned from)
{
	struct state *st = &t->next;

	search_reset(st, from);
	st->open_n = st->n;
	st->jump = 1;
	st->hits = 0;
	st->probe = IDLE;
	st->probe_v = 0;
	st->ask_late = 0;	/* it begins now: later than every look-up so far */
}

static void probe_sent(struct turn *t, const struct state *from)
{
	t->next = *from;
	t->next.probe_v = (uint8_t)(from->known + 1);
	t->next.probe = SENT;
	t->next.ask_late = 0;
	add(t, BW_FAIR, "the mount asks for version %d", from->known + 1, 0);
}

static void probe_got(struct turn *t, const struct state *from, enum probe got)
{
	static const char *const formats[] = {
		[GOT_NONE] = "the store reads version %d: NOT_FOUND",
		[GOT_ROOT] = "the store reads version %d: a root",
		[GOT_TOMB] = "the store reads version %d: a tombstone",
	};

	t->next = *from;
	t->next.probe = (uint8_t)got;
	add(t, BW_FAIR, formats[got], from->probe_v, 0);
}

static void probe_executed(struct turn *t, const struct state *from)
{
	t->next = *from;
	probe_got(t, from, get(t, from->probe_v));
	if (stale(t, from, from->probe_v))
		probe_got(t, from, GOT_NONE);
}

static void probe_failed(struct turn *t, const struct state *from)
{
	t->next = *from;
	t->next.probe = IDLE;
	t->next.probe_v = 0;
	t->next.hits = 0;
	if (mutated(t->s, NO_ANSWER))
		say_none(t, false);
	t->next.ask_late = 0;
	add(t, BW_FAULT, "nothing is heard about version %d", from->probe_v, 0);
}

static void probe_answered(struct turn *t, const struct state *from)
{
	enum probe got = (enum probe)from->probe;

	t->next = *from;
	struct state *st = &t->next;

	if (got == GOT_TOMB && mutated(t->s, WARM_TOMBSTONE))
		got = GOT_NONE;
	st->probe = IDLE;
	st->probe_v = 0;
	if (got == GOT_NONE) {
		say_none(t, mutated(t->s, JOIN_OLDER));
		st->hits = 0;
	} else if (got == GOT_TOMB) {
		jump(t, from->probe_v);
	} else {
		knows(t, from->probe_v);
		if (++st->hits >= t->s->bounds[HITS_N])
			jump(t, st->known);
	}
	st->ask_late = 0;	/* the next probe is sent later than it */
	add(t, BW_FAIR, "the answer about version %d arrives", from->probe_v, 0);
}

static void warm_moves(struct turn *t, const struct state *from)
{
	switch ((enum probe)from->probe) {
	case IDLE:
		probe_sent(t, from);
		break;
	case SENT:
		probe_executed(t, from);
		break;
	case GOT_NONE:
	case GOT_ROOT:
	case GOT_TOMB:
		probe_answered(t, from);
		break;
	}
	if (from->probe != IDLE)
		probe_failed(t, from);
}

/* ---- The world -------------------------------------------------------------------------------- */

static void others(struct turn *t, const struct state *from)
{
	int last = mutated(t->s, TOMBSTONE_EARLY) ? from->n : from->n - 1;

	if (from->n < t->s->bounds[VERSIONS_N]) {
		t->next = *from;
		t->next.n++;
		add(t, BW_FAULT, "somebody commits version %d", t->next.n, 0);
	}
	if (from->known && from->n < t->s->bounds[VERSIONS_N] && from->own < t->s->bounds[OWN_N]) {
		t->next = *from;
		t->next.own++;
		knows(t, ++t->next.n);
		add(t, BW_FAULT, "the mount itself commits version %d", t->next.n, 0);
	}
	for (int v = 1; v <= last; v++) {
		if (from->tombs >> v & 1)
			continue;
		t->next = *from;
		t->next.tombs |= (uint16_t)(1u << v);
		add(t, BW_FAULT, "a collector overwrites version %d", v, 0);
	}
}

static void moves(const struct bw_setting *s, const void *state, struct bw_moves *out)
{
	struct state from;
	struct turn t = {.s = s, .out = out};

	memcpy(&from, state, sizeof(from));
	if (from.phase == OUT)
		open_moves(&t, &from);
	else if (from.phase == SEARCH)
		search_moves(&t, &from);
	else
		warm_moves(&t, &from);
	if (from.phase != OUT)
		close_move(&t, &from);
	ask_moves(&t, &from);
	others(&t, &from);
}

static void start(const struct bw_setting *s, void *state)
{
	struct state st;

	(void)s;
	memset(&st, 0, sizeof(st));
	st.n = 1;
	memcpy(state, &st, sizeof(st));
}

static const char *broken(const struct bw_setting *s, const void *state)
{
	struct state st;

	(void)s;
	memcpy(&st, state, sizeof(st));
	return st.tombs >> st.n & 1 ? "I2: the newest version is no root any more" : NULL;
}

static bool settled(const struct bw_setting *s, const void *state)
{
	struct state st;

	(void)s;
	memcpy(&st, state, sizeof(st));
	return st.phase == OUT || (st.phase == WARM && !st.ask && st.known == st.n);
}

const struct bw_model bw_model_open = {
	.name = "open",
	.state_size = sizeof(struct state),
	.mutations = mutations,
	.mutations_n = sizeof(mutations) / sizeof(*mutations),
	.bounds = bounds,
	.bounds_n = sizeof(bounds) / sizeof(*bounds),
	.start = start,
	.moves = moves,
	.broken = broken,
	.settled = settled,
};
