/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each op is sent down as a child of its own, again and again, and ends once with what is known
 * after all of its attempts: an attempt that proves "nothing was applied" proves it of itself only.
 *
 * Between two attempts a child sleeps, then waits in line for a token (see struct bw_retry_config).
 */
#include "store/layer.h"

#include "store/base/rand.h"
#include "store/stats.h"

#include <stdlib.h>
#include <string.h>

/* Tokens are counted in shares: what a fresh request earns is one, what a repeat costs is so many. */
#define COST BW_RETRY_EARN
#define REWARD (2 * COST)

/* What an attempt ended with. */
struct answer {
	enum bw_outcome outcome;
	int err;
	int64_t retry_after_ns;
	char detail[sizeof(((struct bw_op *)0)->detail)];
};

struct child {
	struct bw_op op;
	struct bw_op *parent;	/* NULL once it was given back */
	struct retry *r;
	unsigned attempts;	/* that have ended */
	struct answer last;	/* of the one before, when attempts > 0 */
	bool in_doubt;		/* an attempt ended UNKNOWN */
	/* Under r->lock: */
	bool asleep, waits, cancelled;
	bool held;		/* a cancel is on its way down to the attempt, and needs the child for it */
	bool ended;		/* the attempt has, and no other begins: no cancel may take hold of the child */
	struct child *prev, *next;
	struct bw_delete_item items[];	/* DELETE_MANY: those of this attempt */
};

struct retry {
	struct bw_store store;
	struct bw_retry_config config;
	struct bw_gate gate;
	struct bw_workq *q;	/* sleepers */
	struct bw_mutex lock;	/* all of the rest */
	struct bw_rng rng;
	struct child *children;
	struct bw_line line;	/* of those who slept enough: for a token */
	struct bw_alarm alarm;	/* at the next token of the floor, and at deadlines */
	uint64_t shares, max_shares;
	int64_t floor_ns;	/* when the floor gives its next token */
	bool stopping;
};

static void done(struct bw_op *op);

/* ---- Items of a DELETE_MANY: each is repeated, and concluded, by itself --------------------- */

static bool is_open(const struct bw_delete_item *item)
{
	return item->outcome == BW_THROTTLED || item->outcome == BW_UNREACHABLE ||
	       item->outcome == BW_UNKNOWN;
}

static void items_begin(struct bw_op *p)
{
	for (size_t i = 0; p->kind == BW_OP_DELETE_MANY && i < p->items_n; i++)
		p->items[i].outcome = BW_UNREACHABLE;
}

static void items_pick(struct child *c)
{
	const struct bw_op *p = c->parent;

	c->op.items = c->items;
	c->op.items_n = 0;
	for (size_t i = 0; i < p->items_n; i++)
		if (is_open(&p->items[i]))
			c->items[c->op.items_n++] = p->items[i];
}

static enum bw_outcome item_concluded(const struct child *c, enum bw_outcome before,
				      enum bw_outcome now)
{
	switch (now) {
	case BW_CANCELLED:
		return c->attempts > 1 ? before : now;
	case BW_THROTTLED:
	case BW_DENIED:
	case BW_FULL:
	case BW_UNREACHABLE:
		return before == BW_UNKNOWN ? before : now;
	default:
		return now;
	}
}

/* The outcome of the attempt becomes one that calls for another as long as an item does. */
static void items_settle(struct child *c)
{
	struct bw_op *p = c->parent;
	const struct bw_delete_item *from = c->items;

	for (size_t i = 0; i < p->items_n; i++)
		if (is_open(&p->items[i]))
			p->items[i].outcome =
				item_concluded(c, p->items[i].outcome, (from++)->outcome);
	if (c->op.outcome == BW_CANCELLED)
		return;		/* no time is left, whatever calls for more of it */
	c->op.outcome = bw_delete_worst(p->items, p->items_n);
	for (size_t i = 0; i < p->items_n; i++)
		if (is_open(&p->items[i]))
			c->op.outcome = p->items[i].outcome;
}

/* ---- Attempts ------------------------------------------------------------------------------- */

static void send(struct child *c)
{
	const struct bw_op *p = c->parent;

	c->op.kind = p->kind;
	c->op.prio = p->prio;
	c->op.attempts = c->attempts;
	c->op.deadline_ns = p->deadline_ns;
	c->op.if_absent = p->if_absent;
	c->op.sole = p->sole;
	c->op.body = p->body;
	c->op.offset = p->offset;
	c->op.length = p->length;
	c->op.cut = p->cut;
	c->op.max = p->max;
	c->op.upload = p->upload;
	if (p->early) {
		c->op.early = p->early;		/* of the first attempt that comes to the backend */
		c->parent->early = NULL;
	}
	if (p->kind == BW_OP_DELETE_MANY)
		items_pick(c);
	c->op.done = done;
	c->op.ctx = c;
	bw_store_submit(c->r->store.next, &c->op);
}

static void answer_take(struct answer *a, const struct bw_op *op)
{
	a->outcome = op->outcome;
	a->err = op->err;
	a->retry_after_ns = op->retry_after_ns;
	memcpy(a->detail, op->detail, sizeof(a->detail));
}

static void answer_give(const struct answer *a, struct bw_op *op)
{
	op->outcome = a->outcome;
	op->err = a->err;
	op->retry_after_ns = a->retry_after_ns;
	memcpy(op->detail, a->detail, sizeof(op->detail));
}

/* What the caller may conclude from the last attempt, the ones before it considered. */
static void conclude(struct child *c)
{
	struct bw_op *op = &c->op;

	/* Why it was repeated says more than that there was no time for it. */
	if (op->outcome == BW_CANCELLED && c->attempts > 1)
		answer_give(&c->last, op);
	if (!c->in_doubt)
		return;
	switch (op->outcome) {
	case BW_THROTTLED:
	case BW_DENIED:
	case BW_FULL:
	case BW_UNREACHABLE:
	case BW_CANCELLED:
		op->outcome = BW_UNKNOWN;
		break;
	default:
		break;
	}
}

static void finish(struct child *c)
{
	struct retry *r = c->r;
	struct bw_op *p = c->parent;

	conclude(c);
	bw_op_child_give(&c->op, p);
	if (p->kind == BW_OP_DELETE_MANY)
		p->outcome = bw_delete_worst(p->items, p->items_n);
	p->early = c->op.early;
	bw_lock(&r->lock);
	if (c->prev)
		c->prev->next = c->next;
	else
		r->children = c->next;
	if (c->next)
		c->next->prev = c->prev;
	bw_unlock(&r->lock);
	free(c);
	p->done(p);
	bw_gate_leave(&r->gate);
}

static bool may_repeat(const struct child *c)
{
	const struct bw_op *op = &c->op;

	if (c->parent->once)
		return false;
	switch (op->outcome) {
	case BW_THROTTLED:
	case BW_UNREACHABLE:
		break;
	case BW_UNKNOWN:
		if (op->kind == BW_OP_PUT && op->if_absent)
			return false;
		break;
	default:
		return false;
	}
	return op->deadline_ns != BW_NEVER || c->attempts < c->r->config.tries;
}

/* The store answered: it is neither away nor asking for less. */
static bool is_answer(const struct bw_op *op)
{
	return op->outcome == BW_OK || op->outcome == BW_EXISTS || op->outcome == BW_NOT_FOUND;
}

static int64_t draw_locked(struct retry *r, unsigned attempts)
{
	int64_t ceiling_ns = r->config.base_ns;

	for (unsigned i = 1; i < attempts && ceiling_ns < r->config.max_ns; i++)
		ceiling_ns *= 2;
	if (ceiling_ns > r->config.max_ns)
		ceiling_ns = r->config.max_ns;
	return (int64_t)(bw_rng_unit(&r->rng) * (double)ceiling_ns);
}

/* ---- Tokens --------------------------------------------------------------------------------- */

static void earn_locked(struct retry *r, uint64_t shares)
{
	r->shares += shares;
	if (r->shares > r->max_shares)
		r->shares = r->max_shares;
}

static bool pay_locked(struct retry *r, int64_t now_ns)
{
	if (r->shares >= COST) {
		r->shares -= COST;
		return true;
	}
	if (now_ns < r->floor_ns)
		return false;
	r->floor_ns = now_ns + r->config.floor_ns;
	return true;
}

/* Takes the next child out of the line; it is to end when *ret_late, else it has its token. */
static struct child *take(struct retry *r, bool *ret_late)
{
	int64_t now_ns = bw_now(), due_ns;

	BW_LOCK_SCOPE(&r->lock);
	struct bw_op *op = bw_line_take_late(&r->line, now_ns, &due_ns);

	*ret_late = op != NULL;
	if (!op) {
		op = bw_line_first(&r->line);
		if (!op)
			return NULL;
		if (!pay_locked(r, now_ns)) {
			bw_alarm_set(&r->alarm, r->q, due_ns < r->floor_ns ? due_ns : r->floor_ns);
			return NULL;
		}
		bw_line_remove(&r->line, op);
	}
	struct child *c = op->ctx;

	c->waits = false;
	c->ended = *ret_late;	/* else there is about to be an attempt that a cancel may follow */
	return c;
}

static void feed(struct retry *r)
{
	struct child *c;
	bool late;

	while ((c = take(r, &late))) {
		if (late) {
			finish(c);
			continue;
		}
		if (r->config.stats)
			atomic_fetch_add(&r->config.stats->repeats, 1);
		send(c);
	}
}

static void run_alarm(struct bw_task *task)
{
	struct retry *r = bw_container_of(task, struct retry, alarm.task);

	bw_lock(&r->lock);
	bw_alarm_clear(&r->alarm);
	bw_unlock(&r->lock);
	feed(r);
}

/* ---- Between two attempts ------------------------------------------------------------------- */

static void run_awake(struct bw_task *task)
{
	struct child *c = bw_op_of(task)->ctx;
	struct retry *r = c->r;

	bw_lock(&r->lock);
	bool stop = r->stopping || c->cancelled;
	c->asleep = false;
	c->waits = !stop;
	if (!stop)
		bw_line_push(&r->line, &c->op);
	bw_unlock(&r->lock);
	if (stop)
		finish(c);
	else
		feed(r);
}

/* False: no time is left, or nobody waits for it any more. */
static bool sleep_on_it(struct child *c)
{
	struct retry *r = c->r;

	BW_LOCK_SCOPE(&r->lock);
	int64_t wait_ns = draw_locked(r, c->attempts), asked_ns = c->op.retry_after_ns;

	/* Some stores ask for a minute or two with each 503, and take the next request all the same. */
	if (asked_ns > BW_PACE_PAUSE_MAX_NS)
		asked_ns = BW_PACE_PAUSE_MAX_NS;
	if (wait_ns < asked_ns)
		wait_ns = asked_ns;
	int64_t now_ns = bw_now();

	if (r->stopping || c->cancelled || wait_ns >= c->op.deadline_ns - now_ns)
		return false;
	c->asleep = true;
	bw_op_queue(&c->op, r->q, run_awake, now_ns + wait_ns);
	return true;
}

static bool is_held(struct child *c)
{
	BW_LOCK_SCOPE(&c->r->lock);
	c->ended = true;
	return c->held;
}

static void attempt_done(struct child *c);

static void run_attempt_done(struct bw_task *task)
{
	attempt_done(bw_op_of(task)->ctx);
}

static void done(struct bw_op *op)
{
	struct child *c = op->ctx;

	if (!is_held(c))
		attempt_done(c);
}

static void attempt_done(struct child *c)
{
	struct bw_op *op = &c->op;
	struct retry *r = c->r;

	c->attempts++;
	if (op->kind == BW_OP_DELETE_MANY)
		items_settle(c);
	else
		c->in_doubt |= op->outcome == BW_UNKNOWN;
	if (may_repeat(c)) {
		if (r->config.stats && c->attempts >= BW_STATS_TROUBLE_TRIES)
			bw_stats_note(r->config.stats, op->kind, op->outcome, bw_wall_ms());
		answer_take(&c->last, op);
		if (sleep_on_it(c))
			return;
	} else if (c->attempts > 1 && is_answer(op)) {
		bw_lock(&r->lock);
		earn_locked(r, REWARD);
		bw_unlock(&r->lock);
		feed(r);	/* c is still lent, and so is r */
	}
	finish(c);
}

/* Ends a child that is not under way, on our own thread. */
static void wake_locked(struct child *c)
{
	if (c->waits)
		bw_line_remove(&c->r->line, &c->op);
	else if (!c->asleep || !bw_workq_cancel(c->r->q, &c->op.task))
		return;
	c->waits = false;
	c->asleep = true;
	bw_op_queue(&c->op, c->r->q, run_awake, 0);
}

static void run_short_of_memory(struct bw_task *task)
{
	struct bw_op *op = bw_op_of(task);
	struct retry *r = (struct retry *)op->at;

	op->done(op);
	bw_gate_leave(&r->gate);
}

static void submit(struct bw_store *s, struct bw_op *op)
{
	struct retry *r = (struct retry *)s;
	size_t items_n = op->kind == BW_OP_DELETE_MANY ? op->items_n : 0;
	struct child *c = calloc(1, sizeof(*c) + items_n * sizeof(c->items[0]));

	bw_gate_enter(&r->gate);
	items_begin(op);
	if (!c) {
		bw_op_fail(op, BW_UNREACHABLE, -ENOMEM);
		bw_op_queue(op, r->q, run_short_of_memory, 0);
		return;
	}
	c->parent = op;
	c->r = r;
	memcpy(c->op.key, op->key, sizeof(op->key));
	memcpy(c->op.after, op->after, sizeof(op->after));
	bw_lock(&r->lock);
	c->next = r->children;
	if (c->next)
		c->next->prev = c;
	r->children = c;
	earn_locked(r, 1);
	/* On our own thread, for it may end others, and their done() never runs inside a submit. */
	if (r->shares >= COST && bw_line_first(&r->line))
		bw_alarm_set(&r->alarm, r->q, bw_now());
	bw_unlock(&r->lock);
	send(c);
}

/* The child to cancel below, held; NULL: none is under way. */
static struct child *hold(struct retry *r, struct bw_op *op)
{
	BW_LOCK_SCOPE(&r->lock);
	struct child *c = r->children;

	while (c && c->parent != op)
		c = c->next;
	if (!c || c->held)
		return NULL;
	c->cancelled = true;
	if (c->waits || c->asleep) {
		wake_locked(c);
		return NULL;
	}
	if (c->ended)
		return NULL;
	c->held = true;
	return c;
}

/* There is no attempt after this one, which may still be waiting below. */
static void cancel(struct bw_store *s, struct bw_op *op)
{
	struct retry *r = (struct retry *)s;
	struct child *c = hold(r, op);

	if (!c)
		return;
	bw_store_cancel(s->next, &c->op);
	BW_LOCK_SCOPE(&r->lock);
	c->held = false;
	if (c->ended)
		bw_op_queue(&c->op, r->q, run_attempt_done, 0);
}

static void retry_free(struct bw_store *s)
{
	struct retry *r = (struct retry *)s;

	if (r->q) {
		bw_lock(&r->lock);
		r->stopping = true;
		for (struct child *c = r->children; c; c = c->next)
			wake_locked(c);
		bw_unlock(&r->lock);
		bw_gate_wait(&r->gate);
		bw_workq_free(r->q);
	}
	bw_store_free(s->next);
	bw_gate_done(&r->gate);
	bw_mutex_done(&r->lock);
	free(r);
}

int bw_filter_retry_new(struct bw_store *below, const struct bw_retry_config *config,
			struct bw_store **ret)
{
	static const struct bw_store_ops ops = {
		.name = "retry", .submit = submit, .cancel = cancel, .free = retry_free};
	struct retry *r = calloc(1, sizeof(*r));

	if (!r) {
		bw_store_free(below);
		return -ENOMEM;
	}
	r->store = (struct bw_store){.ops = &ops, .next = below};
	r->config = *config;
	if (!config->floor_ns)
		r->config.floor_ns = BW_RETRY_FLOOR_NS;
	r->max_shares = r->shares = COST * (uint64_t)(config->budget ? config->budget : BW_RETRY_BUDGET);
	bw_line_init(&r->line);
	bw_alarm_init(&r->alarm, run_alarm);
	bw_mutex_init(&r->lock, BW_RANK_FILTER);
	bw_rng_init(&r->rng, config->seed);
	bw_gate_init(&r->gate);
	int err = bw_workq_new("bw-retry", 1, &r->q);
	if (err) {
		retry_free(&r->store);
		return err;
	}
	*ret = &r->store;
	return 0;
}
