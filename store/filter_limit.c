/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An op that may not go down yet waits here, in the list of its priority.  The first op of the
 * highest priority is never overtaken, so a large one cannot be starved by small ones.
 *
 * Reads that somebody waits for go first, in a line of their own, and a share of the places and bytes
 * is theirs: however many large bodies are on their way, a read goes down at once.  A smaller share
 * of the places is for all the others, so that readers without end cannot starve a commit.
 *
 * Of these others, puts of large bodies have a line and a share of their own: one may take minutes, and a commit, a
 * marker or what is read ahead is not to wait for it.  A body counts with as much as a backend holds of it at a time.
 */
#include "store/layer.h"

#include <assert.h>
#include <stdlib.h>

#define READS_SHARE 4	/* one in so many places, and as much of the bytes, is for reads */
#define OTHERS_SHARE 8	/* one in so many places is for others */
#define SMALL_SHARE 8	/* one in so many of their places, and as much of the bytes, no body may take up */
#define BODY_MORE 256	/* a put of more than one in so many bytes is one of a body */
#define BODY_HELD 16	/* and counts with one in so many at most */

/* Those who share a line, and what they may take up. */
struct class {
	struct class *of;	/* in whose share theirs is; NULL: none */
	struct bw_line line;
	unsigned n, max_n;
	uint64_t bytes, max_bytes;
};

/* The place of an op that was lent to what is below. */
struct lent {
	struct bw_frame frame;
	struct limit *l;
	struct bw_op *op;	/* NULL: unused */
	struct class *class;
	uint64_t bytes;
	struct lent *next;	/* in the list of unused ones */
};

struct limit {
	struct bw_store store;
	struct bw_gate gate;
	struct bw_workq *q;
	struct bw_mutex lock;	/* all of the rest */
	uint64_t max_bytes, bytes;
	struct lent *unused;	/* none left: max_ops are lent */
	struct class reads, others, bodies;
	struct bw_alarm alarm;	/* at the first deadline of those who wait */
	unsigned places_n;
	struct lent places[];
};

static bool is_read(const struct bw_op *op)
{
	return op->prio == BW_PRIO_DEMAND && bw_op_kind_is_read(op->kind);
}

static bool is_body(const struct limit *l, const struct bw_op *op)
{
	return op->kind == BW_OP_PUT && op->body->size > l->max_bytes / BODY_MORE;
}

static struct class *class_of(struct limit *l, const struct bw_op *op)
{
	if (is_read(op))
		return &l->reads;
	return is_body(l, op) ? &l->bodies : &l->others;
}

/* An op larger than all that its class may take up goes when nothing else of the class does. */
static uint64_t bytes_of(const struct limit *l, const struct class *c, const struct bw_op *op)
{
	uint64_t bytes = 0, most = c == &l->bodies ? l->max_bytes / BODY_HELD : c->max_bytes;

	if (op->kind == BW_OP_GET)
		bytes = op->length == BW_TO_END ? op->max : op->length;
	else if (op->kind == BW_OP_PUT)
		bytes = op->body->size;
	return bytes < most ? bytes : most;
}

static void done(struct bw_op *op);

static void lend_locked(struct limit *l, struct class *c, struct bw_op *op, uint64_t bytes)
{
	struct lent *place = l->unused;

	bw_line_remove(&c->line, op);
	l->unused = place->next;
	l->bytes += bytes;
	for (struct class *in = c; in; in = in->of) {
		in->bytes += bytes;
		in->n++;
	}
	place->op = op;
	place->class = c;
	place->bytes = bytes;
	bw_frame_push(op, &place->frame, done);
}

static bool has_room(const struct class *c, uint64_t bytes)
{
	return c->n < c->max_n && bytes <= c->max_bytes - c->bytes;
}

/*
 * Of two that are as urgent the one that is soon over, unless no body is lent, for small ones may come without end.  A body for
 * which there is no room among bodies is in nobody's way.
 */
static struct class *next_of_others(struct limit *l)
{
	struct bw_op *body = bw_line_first(&l->bodies.line), *other = bw_line_first(&l->others.line);

	if (!body || !has_room(&l->bodies, bytes_of(l, &l->bodies, body)))
		return &l->others;
	if (!other || body->prio < other->prio || (body->prio == other->prio && !l->bodies.n))
		return &l->bodies;
	return &l->others;
}

/* The next op that may go down, with its place taken; NULL: none. */
static struct bw_op *take(struct limit *l)
{
	BW_LOCK_SCOPE(&l->lock);
	struct class *const classes[] = {&l->reads, next_of_others(l)};

	for (int i = 0; i < 2; i++) {
		struct class *c = classes[i];
		struct bw_op *op = bw_line_first(&c->line);
		if (!op)
			continue;
		uint64_t bytes = bytes_of(l, c, op);
		/* Nobody overtakes it for room; but the share of a class is no business of another. */
		if (!l->unused || bytes > l->max_bytes - l->bytes)
			return NULL;
		if (!has_room(c, bytes) || (c->of && !has_room(c->of, bytes)))
			continue;
		lend_locked(l, c, op, bytes);
		return op;
	}
	return NULL;
}

static void pump(struct limit *l)
{
	struct bw_op *op;

	while ((op = take(l)))
		bw_store_submit(l->store.next, op);
}

static void done(struct bw_op *op)
{
	struct lent *place = (struct lent *)bw_frame_pop(op);
	struct limit *l = place->l;

	bw_lock(&l->lock);
	l->bytes -= place->bytes;
	for (struct class *c = place->class; c; c = c->of) {
		c->bytes -= place->bytes;
		c->n--;
	}
	place->op = NULL;
	place->next = l->unused;
	l->unused = place;
	bw_unlock(&l->lock);
	pump(l);
	op->done(op);
	bw_gate_leave(&l->gate);
}

/* ---- Ops that end while they wait ----------------------------------------------------------- */

static void end(struct limit *l, struct bw_op *op)
{
	bw_op_fail(op, BW_CANCELLED, 0);
	op->done(op);
	bw_gate_leave(&l->gate);
}

static struct bw_op *take_late(struct limit *l)
{
	struct class *const classes[] = {&l->reads, &l->others, &l->bodies};
	int64_t now_ns = bw_now(), due_ns = BW_NEVER, first_ns;
	struct bw_op *op = NULL;

	BW_LOCK_SCOPE(&l->lock);
	for (int i = 0; i < 3 && !op; i++) {
		op = bw_line_take_late(&classes[i]->line, now_ns, &first_ns);
		if (!op && first_ns < due_ns)
			due_ns = first_ns;
	}
	if (!op)
		bw_alarm_set(&l->alarm, l->q, due_ns);
	return op;
}

static void run_alarm(struct bw_task *task)
{
	struct limit *l = bw_container_of(task, struct limit, alarm.task);
	struct bw_op *op;

	/* Once, for those who end below may submit more, and that sets it again. */
	bw_lock(&l->lock);
	bw_alarm_clear(&l->alarm);
	bw_unlock(&l->lock);
	while ((op = take_late(l)))
		end(l, op);
	pump(l);
}

static void run_cancelled(struct bw_task *task)
{
	struct bw_op *op = bw_op_of(task);

	end((struct limit *)op->at, op);
}

static bool stop_waiting(struct limit *l, struct bw_op *op)
{
	BW_LOCK_SCOPE(&l->lock);
	return bw_line_remove(&class_of(l, op)->line, op);
}

static bool is_lent(struct limit *l, const struct bw_op *op)
{
	BW_LOCK_SCOPE(&l->lock);
	for (unsigned i = 0; i < l->places_n; i++)
		if (l->places[i].op == op)
			return true;
	return false;
}

static void cancel(struct bw_store *s, struct bw_op *op)
{
	struct limit *l = (struct limit *)s;

	if (stop_waiting(l, op)) {
		bw_op_queue(op, l->q, run_cancelled, 0);
		pump(l);	/* it may have stood before others */
	} else if (is_lent(l, op)) {
		bw_store_cancel(s->next, op);
	}
	/* Else it is ending already, on our own thread: none of the business of what is below. */
}

/* ---- The filter ----------------------------------------------------------------------------- */

static void submit(struct bw_store *s, struct bw_op *op)
{
	struct limit *l = (struct limit *)s;

	bw_gate_enter(&l->gate);
	bw_lock(&l->lock);
	bw_line_push(&class_of(l, op)->line, op);
	bw_alarm_set(&l->alarm, l->q, op->deadline_ns);
	bw_unlock(&l->lock);
	pump(l);
}

static void limit_free(struct bw_store *s)
{
	struct limit *l = (struct limit *)s;

	if (l->q) {
		bw_gate_wait(&l->gate);
		bw_workq_free(l->q);
	}
	bw_store_free(s->next);
	bw_gate_done(&l->gate);
	bw_mutex_done(&l->lock);
	free(l);
}

int bw_filter_limit_new(struct bw_store *below, unsigned max_ops, uint64_t max_bytes,
			struct bw_store **ret)
{
	static const struct bw_store_ops ops = {
		.name = "limit", .submit = submit, .cancel = cancel, .free = limit_free};
	struct limit *l = calloc(1, sizeof(*l) + max_ops * sizeof(l->places[0]));

	assert(max_ops > 0);
	if (!l) {
		bw_store_free(below);
		return -ENOMEM;
	}
	l->store = (struct bw_store){.ops = &ops, .next = below};
	l->max_bytes = max_bytes;
	l->places_n = max_ops;
	bw_alarm_init(&l->alarm, run_alarm);
	bw_line_init(&l->reads.line);
	bw_line_init(&l->others.line);
	bw_line_init(&l->bodies.line);
	l->bodies.of = &l->others;
	l->reads.max_n = max_ops - max_ops / OTHERS_SHARE;
	l->others.max_n = max_ops - max_ops / READS_SHARE;
	l->reads.max_bytes = max_bytes;
	l->others.max_bytes = max_ops < READS_SHARE ? max_bytes : max_bytes - max_bytes / READS_SHARE;
	unsigned small_n = max_ops < SMALL_SHARE ? 1 : max_ops / SMALL_SHARE;

	l->bodies.max_n = l->others.max_n > small_n ? l->others.max_n - small_n : l->others.max_n;
	l->bodies.max_bytes = l->others.max_bytes - max_bytes / SMALL_SHARE;
	for (unsigned i = 0; i < max_ops; i++) {
		l->places[i].l = l;
		l->places[i].next = l->unused;
		l->unused = &l->places[i];
	}
	bw_mutex_init(&l->lock, BW_RANK_FILTER);
	bw_gate_init(&l->gate);
	int err = bw_workq_new("bw-limit", 1, &l->q);
	if (err) {
		limit_free(&l->store);
		return err;
	}
	*ret = &l->store;
	return 0;
}
