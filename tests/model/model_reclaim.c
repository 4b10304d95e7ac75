/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may be deleted and when: jobs, markers, trim, the deletion root with its grace, uploads
 * before their commit, and collectors that stop anywhere.
 *
 * A commit is one move here: apply on the newest root.  That is what model_commit.c shows of
 * commits: whatever happens to them, they take place once, on a root that they were built on.  What
 * a client has read before and brings along is in the state, so a rule that lets it bring too much
 * is seen to break.
 *
 * Time is one number: the newest version whose root is older than grace.  It rises by any amount at
 * any time.  Who opened a root less than grace ago may be using any root from there on.
 *
 * Every batch has a data object and, unless stateless=1, a state object.  Index nodes and `swept`
 * are not modelled: nodes are named by their content and live exactly as long as their steps.
 */
#include "tests/model/reclaim_state.h"

#include <string.h>

static const struct bw_bound bounds[] = {
	{"writers", 2, 2, "mounts that take the producer from each other"},
	{"jobs", 1, 2, "jobs that register and set markers"},
	{"collectors", 1, 2, "collectors that delete"},
	{"versions", 6, 9, "versions that come to be"},
	{"begun", 1, 2, "steps committed by the first version"},
	{"steps", 2, 3, "batches until the producer is done"},
	{"objects", 4, 7, "batches uploaded, those of the first version included"},
	{"keep", 1, 4, "markers a job needs before anything is trimmed"},
	{"readers", 0, 1, "readers that keep their root, for ever or a while"},
	{"slack", 1, 1, "a state of a seq below next - slack is not needed by anybody"},
	{"stateless", 0, 1, "batches may come without a state: the one before stays current"},
};

static const struct bw_mutation mutations[] = {
	[ROOT_FIRST] = {"root-before-data", "data is durable before the root that names it is sent",
			"I9", NULL},
	[UPLOAD_FIRST] = {"upload-before-taken", "an upload starts after the producer is held",
			  "I9", NULL},
	[RETAKE_OLD] = {"retake-no-upload", "a producer taken again uploads again", "I9", NULL},
	[DELETE_FIRST] = {"delete-before-root",
			  "the new first is committed, then steps are deleted", "I9", NULL},
	[NEWEST_JUDGES] = {"newest-root-judges", "deletion is judged by a root older than grace",
			   "I9", "writers=0"},
	[CURRENT_EPOCH] = {"delete-current-epoch",
			   "an upload of the producer's epoch and next seq stays", "I9", NULL},
	[MIXED_ROOTS] = {"two-roots-judge",
			 "one and the same root judges references, epoch and next", "I9", NULL},
	[SHARED_NAMES] = {"shared-names",
			  "an object's name is used once: deletes may be repeated late", "I9",
			  NULL},
	[STATE_CURRENT] = {"state-current",
			   "a state that is current stays, though its epoch is fenced", "I8", NULL},
	[STATE_NEXT] = {"state-unreferenced", "a state of the producer's epoch and next seq stays",
			"I8", NULL},
	[TRIM_OPERAND] = {"trim-operand", "trim carries no number: apply computes first", "I9",
			  NULL},
	[MARKER_PUT] = {"marker-objects",
			"markers live in the root (a late PUT of a marker object)", "I9", NULL},
	[MARKER_DELETE] = {"marker-objects-delete",
			   "markers live in the root (a repeated DELETE of a marker object)", "I9",
			   "versions=7 writers=0"},
	[MARK_BELOW] = {"mark-below-first", "a marker below first is refused", "I9", NULL},
	[FEW_MARKERS] = {"few-markers", "a job with too few markers holds everything", "I9", NULL},
	[READ_THEN_JOB] = {"read-then-register", "a job registers first, then reads first", "I9",
			   "jobs=2"},
	[OWN_ROOT] = {"missing-by-own-root", "missing data is judged by the newest root", "I9",
		      "readers=1 writers=0"},
	[TAKEN_SEQ_KEPT] = {"taken-seq-kept", "an upload whose seq is taken is garbage", "I13",
			    "jobs=0 readers=0 versions=4"},
	[FENCED_KEPT] = {"fenced-kept", "an upload of a fenced epoch is garbage", "I13",
			 "jobs=0 readers=0 versions=4"},
	[STATE_KEPT] = {"state-kept", "a state that is not needed any more is garbage", "I13",
			"jobs=0 readers=0 versions=4"},
	[STALE_THERE] = {"stale-there",
			 "\"it is there already\" is only said on a root that was the newest "
			 "meanwhile",
			 "I9", "writers=0"},
	[TRIM_NEWEST] = {"trim-newest", "a trim stops at the oldest marker of each job", "I9",
			 "writers=0"},
	[EXISTS_UPLOADED] = {"exists-is-uploaded", "EXISTS of an upload is looked into", "I9",
			     NULL},
};

struct turn {
	const struct bw_setting *s;
	struct bw_moves *out;
	struct state next;
};

static void add(struct turn *t, enum bw_fairness fairness, const char *format, int a, int b, int c)
{
	bw_move_add(t->out, &t->next, fairness, format, a, b, c);
}

/* ---- Roots ------------------------------------------------------------------------------------ */

/* The root to change for the next version; NULL when there may be no more. */
static struct root *commit(struct turn *t, const struct state *from)
{
	t->next = *from;
	if (from->n >= t->s->bounds[VERSIONS_N])
		return NULL;
	t->next.n++;
	t->next.root[t->next.n] = from->root[from->n];
	return &t->next.root[t->next.n];
}

/* ---- Writers ---------------------------------------------------------------------------------- */

/* A new object with its state, in the store unless `later`; 0: none left. */
static unsigned upload(struct turn *t, unsigned epoch, unsigned seq, bool later, bool stated)
{
	for (int i = 0; i < t->s->bounds[OBJECTS_N]; i++) {
		if (t->next.object[i].used)
			continue;
		t->next.object[i] = (struct object){.data = !later,
						    .state = !later && stated,
						    .stated = stated,
						    .used = 1,
						    .epoch = epoch & 7u,
						    .seq = seq & 3u};
		return (unsigned)i + 1;
	}
	return 0;
}

static void take(struct turn *t, const struct state *from, int w)
{
	const struct writer was = from->writer[w];
	struct root *r = commit(t, from);
	bool keeps = was.phase == EARLY ||
		     (was.phase == FENCED && bw_reclaim_mutated(t->s, RETAKE_OLD));

	if (!r || r->epoch == 7)
		return;
	r->epoch++;
	r->owner = (unsigned)(w + 1) & 3u;
	keeps = keeps && was.seq == r->head;
	t->next.writer[w] = (struct writer){.phase = keeps ? UPLOADED : HELD, .epoch = r->epoch,
					    .seq = r->head, .object = keeps ? was.object : 0};
	add(t, BW_FAULT, "writer %c takes the producer, epoch %d, in root %d", 'A' + w, r->epoch,
	    t->next.n);
}

/* Under the epoch that the newest root shows, which is another's. */
static void upload_early(struct turn *t, const struct state *from, int w)
{
	struct root r = from->root[from->n];

	t->next = *from;
	unsigned object = upload(t, r.epoch, r.head, false, true);

	if (!object || r.head >= (unsigned)t->s->bounds[STEPS_N])
		return;
	t->next.writer[w] =
		(struct writer){.phase = EARLY, .seq = r.head, .object = (uint8_t)object};
	add(t, BW_FAULT, "writer %c uploads object %d for seq %d before it holds the producer",
	    'A' + w, (int)object - 1, r.head);
}

static void upload_held(struct turn *t, const struct state *from, int w, bool stated)
{
	const struct writer was = from->writer[w];
	bool exists = bw_reclaim_mutated(t->s, EXISTS_UPLOADED);
	bool later = exists || bw_reclaim_mutated(t->s, ROOT_FIRST);

	if (was.seq >= t->s->bounds[STEPS_N])
		return;
	t->next = *from;
	unsigned object = upload(t, was.epoch, was.seq, later, stated);

	if (!object)
		return;
	t->next.writer[w].phase = UPLOADED;
	t->next.writer[w].object = (uint8_t)object;
	const char *format = "writer %c uploads object %d for seq %d";

	if (exists)
		format = "writer %c uploads object %d for seq %d: EXISTS, not done yet";
	else if (later)
		format = "writer %c begins to upload object %d for seq %d";
	else if (!stated)
		format = "writer %c uploads object %d for seq %d, without a state";
	add(t, BW_FAULT, format, 'A' + w, (int)object - 1, was.seq);
}

static void uploads(struct turn *t, const struct state *from, int w)
{
	upload_held(t, from, w, true);
	if (t->s->bounds[STATELESS_N])
		upload_held(t, from, w, false);
}

static bool may_append(const struct turn *t, struct root r, const struct state *from, int w)
{
	const struct writer was = from->writer[w];
	bool any_epoch = bw_reclaim_mutated(t->s, RETAKE_OLD) ||
			 bw_reclaim_mutated(t->s, UPLOAD_FIRST);

	return r.owner == (unsigned)(w + 1) && r.epoch == was.epoch && r.head == was.seq &&
	       (any_epoch || from->object[was.object - 1].epoch == was.epoch);
}

static void append(struct turn *t, const struct state *from, int w)
{
	const struct writer was = from->writer[w];

	if (!may_append(t, from->root[from->n], from, w)) {
		t->next = *from;
		t->next.writer[w].phase = FENCED;
		if (!bw_reclaim_mutated(t->s, RETAKE_OLD))
			t->next.writer[w] = (struct writer){.phase = FENCED};
		add(t, BW_FAIR, "writer %c commits object %d, seq %d: it is fenced", 'A' + w,
		    was.object - 1, was.seq);
		return;
	}
	struct root *r = commit(t, from);

	if (!r)
		return;
	r->objects |= (unsigned)(was.object - 1) << (3 * r->head);
	r->head++;
	t->next.writer[w] = (struct writer){.phase = HELD, .epoch = was.epoch,
					    .seq = (uint8_t)(was.seq + 1)};
	add(t, BW_FAIR, "writer %c commits object %d in root %d", 'A' + w, was.object - 1,
	    t->next.n);
}

static void crash(struct turn *t, const struct state *from, int w)
{
	t->next = *from;
	memset(&t->next.writer[w], 0, sizeof(t->next.writer[w]));
	add(t, BW_FAULT, "writer %c dies", 'A' + w, 0, 0);
}

static void writer_moves(struct turn *t, const struct state *from, int w)
{
	switch ((enum phase)from->writer[w].phase) {
	case OUT:
		if (bw_reclaim_mutated(t->s, UPLOAD_FIRST))
			upload_early(t, from, w);
		take(t, from, w);
		return;
	case EARLY:
	case FENCED:
		take(t, from, w);
		break;
	case HELD:
		uploads(t, from, w);
		break;
	case UPLOADED:
		append(t, from, w);
		uploads(t, from, w);	/* the batch is rewritten before it is committed */
		break;
	}
	crash(t, from, w);
}

/* An upload that arrives late, or once more after its object was deleted. */
static void late_uploads(struct turn *t, const struct state *from)
{
	for (int i = 0; i < t->s->bounds[OBJECTS_N]; i++) {
		struct object o = from->object[i];

		if (!o.used || (o.data && o.state == o.stated))
			continue;
		t->next = *from;
		t->next.object[i].data = 1;
		t->next.object[i].state = o.stated;
		add(t, BW_FAULT, "a late copy of the upload of object %d arrives", i, 0, 0);
	}
}

/* ---- Jobs ------------------------------------------------------------------------------------- */

static void job_registers(struct turn *t, const struct state *from, int job)
{
	if (bw_reclaim_mutated(t->s, READ_THEN_JOB) && !from->brought[job]) {
		t->next = *from;
		t->next.brought[job] = (uint8_t)(from->root[from->n].first + 1);
		add(t, BW_FAULT, "job %d reads first, %d", job, from->root[from->n].first, 0);
		return;
	}
	struct root *r = commit(t, from);

	if (!r)
		return;
	r->jobs |= 1u << job;
	t->next.seen[job] = r->first;
	if (from->brought[job])
		t->next.seen[job] = (uint8_t)(from->brought[job] - 1);
	t->next.brought[job] = 0;
	add(t, BW_FAULT, "job %d registers in root %d and counts on steps from %d", job, t->next.n,
	    t->next.seen[job]);
}

static void believe(struct turn *t, int job, int step, bool there)
{
	unsigned bit = bw_mark_bit(job, step);

	if (bw_reclaim_mutated(t->s, MARKER_DELETE) || bw_reclaim_mutated(t->s, STALE_THERE))
		t->next.believed =
			(uint8_t)(there ? t->next.believed | bit : t->next.believed & ~bit);
}

static void job_marks(struct turn *t, const struct state *from, int job, int step)
{
	struct root was = from->root[from->n];

	if (step < (int)was.first && !bw_reclaim_mutated(t->s, MARK_BELOW))
		return;
	if (bw_reclaim_mutated(t->s, MARKER_PUT)) {
		if (from->brought[job])
			return;
		t->next = *from;
		t->next.brought[job] = (uint8_t)(step + 1);
		add(t, BW_FAULT, "job %d sees first %d and puts a marker object at %d", job,
		    was.first, step);
		return;
	}
	struct root *r = commit(t, from);

	if (!r)
		return;
	r->marks |= bw_mark_bit(job, step) & 255u;
	believe(t, job, step, true);
	add(t, BW_FAULT, "job %d sets a marker at %d in root %d", job, step, t->next.n);
}

static void job_unmarks(struct turn *t, const struct state *from, int job, int step)
{
	struct root *r = commit(t, from);

	if (!r)
		return;
	r->marks &= ~bw_mark_bit(job, step) & 255u;
	believe(t, job, step, false);
	if (bw_reclaim_mutated(t->s, MARKER_DELETE))
		t->next.again |= (uint8_t)bw_mark_bit(job, step);
	if (bw_job_holds_all(t->s, r->marks, job))
		t->next.seen[job] = r->first;
	add(t, BW_FAULT, "job %d removes its marker at %d in root %d", job, step, t->next.n);
}

/* A second mount of the job, which knows an old root alone. */
static void job_marks_again(struct turn *t, const struct state *from, int job, int step)
{
	for (int v = from->n - 1; v > 0; v--) {
		if (!(from->root[v].marks & bw_mark_bit(job, step)))
			continue;
		t->next = *from;
		believe(t, job, step, true);
		add(t, BW_FAULT, "job %d sets a marker at %d: it is there already, says root %d",
		    job, step, v);
		return;
	}
}

/* What arrives late when markers are objects of their own: it changes no version. */
static void late_markers(struct turn *t, const struct state *from, int job)
{
	if (bw_reclaim_mutated(t->s, MARKER_PUT) && from->brought[job]) {
		t->next = *from;
		t->next.root[from->n].marks |= bw_mark_bit(job, from->brought[job] - 1) & 255u;
		t->next.brought[job] = 0;
		add(t, BW_FAULT, "the marker object of job %d at %d arrives", job,
		    from->brought[job] - 1, 0);
	}
	for (int step = 0; step <= STEPS && bw_reclaim_mutated(t->s, MARKER_DELETE); step++) {
		unsigned bit = bw_mark_bit(job, step);

		if (!(from->again & from->root[from->n].marks & bit))
			continue;
		t->next = *from;
		t->next.root[from->n].marks &= ~bit & 255u;
		add(t, BW_FAULT, "a repeated DELETE of the marker object of job %d at %d arrives",
		    job, step, 0);
	}
}

static void job_moves(struct turn *t, const struct state *from, int job)
{
	struct root r = from->root[from->n];

	late_markers(t, from, job);
	if (!(r.jobs >> job & 1)) {
		job_registers(t, from, job);
		return;
	}
	for (int step = 0; step <= (int)r.head; step++) {
		if (bw_marks_of(r, job) >> step & 1)
			job_unmarks(t, from, job, step);
		else
			job_marks(t, from, job, step);
		if (bw_reclaim_mutated(t->s, STALE_THERE) && !(bw_marks_of(r, job) >> step & 1))
			job_marks_again(t, from, job, step);
	}
}

static void trim_moves(struct turn *t, const struct state *from)
{
	unsigned first = bw_first_after_trim(t->s, from->root[from->n]);

	if (bw_reclaim_mutated(t->s, TRIM_OPERAND) && !from->brought_trim &&
	    first > from->root[from->n].first) {
		t->next = *from;
		t->next.brought_trim = (uint8_t)(first + 1);
		add(t, BW_FAULT, "a trimmer reads root %d and computes first = %d", from->n,
		    (int)first, 0);
	}
	if (bw_reclaim_mutated(t->s, TRIM_OPERAND))
		first = from->brought_trim ? from->brought_trim - 1u : 0;
	struct root *r = first > from->root[from->n].first ? commit(t, from) : NULL;

	if (!r)
		return;
	r->first = first & 3u;
	t->next.brought_trim = 0;
	add(t, BW_FAULT, "a trim commits first = %d in root %d", (int)first, t->next.n, 0);
}

/* ---- Collectors ------------------------------------------------------------------------------- */

static void collect(struct turn *t, const struct state *from, int c)
{
	struct root r = from->root[from->judge[c]], p = r;

	if (bw_reclaim_mutated(t->s, MIXED_ROOTS))
		p = from->root[from->n];
	if (bw_reclaim_mutated(t->s, DELETE_FIRST))
		r.first = bw_first_after_trim(t->s, from->root[from->n]) & 3u;
	for (int i = 0; i < t->s->bounds[OBJECTS_N]; i++) {
		struct object o = from->object[i];

		t->next = *from;
		if (o.data && bw_data_deletable(t->s, r, p, o, (unsigned)i)) {
			t->next.object[i].data = 0;
			if (bw_reclaim_mutated(t->s, SHARED_NAMES))
				t->next.again |= (uint8_t)(1u << i);
			add(t, BW_FAIR, "the collector, judging by root %d, deletes object %d",
			    from->judge[c], i, 0);
			t->next = *from;
		}
		if (o.state && bw_state_deletable(t->s, from, r, p, (unsigned)i)) {
			t->next.object[i].state = 0;
			add(t, BW_FAIR,
			    "the collector, judging by root %d, deletes the state object %d",
			    from->judge[c], i, 0);
		}
	}
}

/* Names without epoch and nonce: what was deleted is uploaded again under the same name. */
static void late_deletes(struct turn *t, const struct state *from)
{
	for (int i = 0; i < t->s->bounds[OBJECTS_N]; i++)
		for (int k = 0; k < t->s->bounds[OBJECTS_N]; k++) {
			if (!(from->again >> i & 1) || !from->object[k].data ||
			    from->object[i].seq != from->object[k].seq)
				continue;
			t->next = *from;
			t->next.object[k].data = 0;
			add(t, BW_FAULT,
			    "the DELETE of object %d is repeated, its name is now object %d", i, k,
			    0);
		}
}

static void collector_moves(struct turn *t, const struct state *from)
{
	for (int c = 0; c < t->s->bounds[COLLECTORS_N]; c++) {
		uint8_t judge = bw_reclaim_mutated(t->s, NEWEST_JUDGES) ? from->n : from->old;

		if (from->judge[c] != judge) {
			t->next = *from;
			t->next.judge[c] = judge;
			add(t, BW_FAIR,
			    "a collector starts, judging by root %d, root %d is the newest", judge,
			    from->n, 0);
		}
		if (from->judge[c])
			collect(t, from, c);
	}
	if (bw_reclaim_mutated(t->s, SHARED_NAMES))
		late_deletes(t, from);
}

/* ---- The world -------------------------------------------------------------------------------- */

/* A reader of any age finds that an object is missing. */
static void read_missing(struct turn *t, const struct state *from)
{
	struct root mine = from->root[from->reader], newest = from->root[from->n];

	for (unsigned step = mine.first; step < mine.head; step++) {
		unsigned judged = bw_reclaim_mutated(t->s, OWN_ROOT) ? mine.first : newest.first;

		if (from->object[bw_object_at(mine, step)].data || step < judged)
			continue;
		t->next = *from;
		bw_broken(t->out, "I9: a reader calls a reclaimed step damaged");
		add(t, BW_FAULT, "the reader of root %d reads step %d: NOT_FOUND", from->reader,
		    (int)step, 0);
	}
}

static void others(struct turn *t, const struct state *from)
{
	if (from->old < from->n) {
		t->next = *from;
		t->next.old++;
		add(t, BW_FAIR, "root %d is older than grace now", t->next.old, 0, 0);
	}
	if (!t->s->bounds[READERS_N])
		return;
	if (from->reader)
		read_missing(t, from);
	if (from->reader == from->n)
		return;
	t->next = *from;
	t->next.reader = from->n;
	add(t, BW_FAULT, "a reader opens root %d", from->n, 0, 0);
}

static void moves(const struct bw_setting *s, const void *state, struct bw_moves *out)
{
	struct state from;
	struct turn t = {.s = s, .out = out};

	memcpy(&from, state, sizeof(from));
	for (int w = 0; w < s->bounds[WRITERS_N]; w++)
		writer_moves(&t, &from, w);
	late_uploads(&t, &from);
	for (int job = 0; job < s->bounds[JOBS_N]; job++)
		job_moves(&t, &from, job);
	trim_moves(&t, &from);
	collector_moves(&t, &from);
	others(&t, &from);
}

static void start(const struct bw_setting *s, void *state)
{
	struct state st;

	memset(&st, 0, sizeof(st));
	st.n = st.old = 1;
	st.root[1].there = 1;
	st.root[1].epoch = 1;
	for (int i = 0; i < s->bounds[BEGUN_N]; i++) {
		st.object[i] = (struct object){.data = 1, .state = 1, .used = 1, .stated = 1,
					       .epoch = 1, .seq = (unsigned)i & 3u};
		st.root[1].objects |= (unsigned)i << (3 * i);
		st.root[1].head++;
	}
	memcpy(state, &st, sizeof(st));
}

/* ---- What must hold --------------------------------------------------------------------------- */

static const char *jobs_broken(const struct bw_setting *s, const struct state *st)
{
	struct root r = st->root[st->n];
	bool believes = bw_reclaim_mutated(s, MARKER_DELETE) || bw_reclaim_mutated(s, STALE_THERE);
	unsigned marks = believes ? st->believed : r.marks;

	for (int job = 0; job < s->bounds[JOBS_N]; job++) {
		if (!(r.jobs >> job & 1))
			continue;
		if (marks >> (4 * job) & 15 & ((1u << r.first) - 1))
			return "I9: a job has a live marker below first";
		if (bw_job_holds_all(s, marks, job) && !(marks >> (4 * job) & 15) &&
		    r.first > st->seen[job])
			return "I9: a job without markers loses steps it counts on";
	}
	return NULL;
}

/* Roots from `old` on may be in use. */
static const char *broken(const struct bw_setting *s, const void *state)
{
	struct state st;

	memcpy(&st, state, sizeof(st));
	struct root r = st.root[st.n];

	for (unsigned step = st.root[st.old].first; step < r.head; step++)
		if (!st.object[bw_object_at(r, step)].data)
			return "I9: a step that may be read has lost its object";
	for (unsigned v = st.old; v <= st.n; v++) {
		unsigned i = bw_current_state(&st, st.root[v]);

		if (i < OBJECTS && !st.object[i].state)
			return "I8: the state in a root has lost its object";
	}
	return jobs_broken(s, &st);
}

/* No batch waits, and no garbage is left. */
static bool settled(const struct bw_setting *s, const void *state)
{
	struct bw_setting unmutated = *s;
	struct state st;

	unmutated.mutation = -1;
	memcpy(&st, state, sizeof(st));
	struct root r = st.root[st.n];

	for (int w = 0; w < WRITERS && st.n < s->bounds[VERSIONS_N]; w++)
		if (st.writer[w].phase == UPLOADED)
			return false;
	for (unsigned i = 0; i < OBJECTS; i++)
		if ((st.object[i].data && bw_data_deletable(&unmutated, r, r, st.object[i], i)) ||
		    (st.object[i].state && bw_state_deletable(&unmutated, &st, r, r, i)))
			return false;
	return true;
}

const struct bw_model bw_model_reclaim = {
	.name = "reclaim",
	.state_size = sizeof(struct state),
	.mutations = mutations,
	.mutations_n = sizeof(mutations) / sizeof(*mutations),
	.bounds = bounds,
	.bounds_n = sizeof(bounds) / sizeof(*bounds),
	.start = start,
	.moves = moves,
	.canonical = bw_reclaim_canonical,
	.broken = broken,
	.settled = settled,
};
