/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A get that is lost in a stalled connection is asked for again while it is.
 *
 * Each get goes down as a child of its own, so that the caller has its answer from one child while the
 * other, cancelled, is still on its way back.  Both are part of one struct pair, which lives until the last
 * of those who look at it has let go: a child below, a thread that submits or cancels one.
 *
 * The alarm is set for the first get only; it wakes at the time at which that would be late, looks for
 * those that are, and sets itself again.  Gets that are answered in time wake nobody.
 */
#include "store/layer.h"
#include "store/stats.h"

#include <stdlib.h>

/* Tokens are counted in shares: what a get earns is one, what a second request costs is so many. */
#define COST BW_HEDGE_EARN
#define LATE 4			/* times the average */
#define UNKNOWN 5		/* times the least, while there is no average */
#define WEIGHT 0.125		/* of the newest answer in the average */
#define AGAIN_NS (50 * BW_MS)	/* after which it is tried again to pay for a second request */

/* Gets that take about as long as each other. */
enum size { SMALL, MIDDLE, LARGE, TO_END, SIZES };

enum state { AT_REST, BEING_SENT, LENT, ENDED };

struct child {
	struct bw_op op;
	struct pair *pair;
	enum state state;
	int64_t sent_ns;
};

struct pair {
	struct hedge *h;
	struct bw_op *parent;	/* NULL once it was given back, and then it is in no list */
	struct child child[2];
	unsigned refs;
	bool cancelled;
	int64_t late_ns;	/* when the second is to be sent; BW_NEVER: it was */
	struct pair *prev, *next;
};

struct hedge {
	struct bw_store store;
	int64_t min_ns;
	struct bw_send_stats *stats;	/* borrowed or NULL */
	struct bw_gate gate;
	struct bw_workq *q;
	struct bw_mutex lock;	/* all of the rest, and the pairs */
	struct pair *pairs;
	struct bw_alarm alarm;
	double average_ns[SIZES];	/* 0: unknown */
	uint64_t shares;
	uint64_t bytes;		/* that the pairs with two children may take up once more */
	bool stopping;
};

static void done(struct bw_op *op);

/* ---- What is late, and what may be done about it -------------------------------------------- */

static uint64_t bytes_of(const struct bw_op *op)
{
	return op->length == BW_TO_END ? op->max : op->length;
}

static bool is_hedged(const struct bw_op *op)
{
	return op->kind == BW_OP_GET && bytes_of(op) <= BW_HEDGE_BYTES_MAX;
}

static enum size size_of(const struct bw_op *op)
{
	if (op->length == BW_TO_END)
		return TO_END;
	return op->length <= 64 << 10 ? SMALL : op->length <= 1 << 20 ? MIDDLE : LARGE;
}

static int64_t patience_locked(const struct hedge *h, enum size size)
{
	int64_t ns = (int64_t)(LATE * h->average_ns[size]);

	if (!ns)
		return UNKNOWN * h->min_ns;
	return ns > h->min_ns ? ns : h->min_ns;
}

/* One that was late itself counts as one that came just in time: a few in stalled connections, for which there was no
 * second request, must not be what the next are compared with.  A store that has become slow is learnt of in some answers. */
static void learn_locked(struct hedge *h, const struct child *c)
{
	enum size size = size_of(&c->op);
	double *average_ns = &h->average_ns[size];
	int64_t took_ns = bw_now() - c->sent_ns, most_ns = patience_locked(h, size);
	double ns = (double)(took_ns < most_ns ? took_ns : most_ns);

	*average_ns += (ns - *average_ns) * (*average_ns > 0 ? WEIGHT : 1);
}

/* The store, when it asks for fewer requests, is slow because of those that there are. */
static bool is_slowed_down(const struct hedge *h)
{
	return h->stats && atomic_load(&h->stats->rate);
}

static bool pay_locked(struct hedge *h, const struct bw_op *op)
{
	if (h->shares < COST || bytes_of(op) > BW_HEDGE_BYTES_MAX - h->bytes || is_slowed_down(h))
		return false;
	h->shares -= COST;
	h->bytes += bytes_of(op);
	return true;
}

/* ---- Pairs ---------------------------------------------------------------------------------- */

static void list_locked(struct pair *p)
{
	struct hedge *h = p->h;

	p->next = h->pairs;
	if (p->next)
		p->next->prev = p;
	h->pairs = p;
}

static void unlist_locked(struct pair *p)
{
	if (p->prev)
		p->prev->next = p->next;
	else
		p->h->pairs = p->next;
	if (p->next)
		p->next->prev = p->prev;
}

static struct pair *find_locked(struct hedge *h, const struct bw_op *parent)
{
	struct pair *p = h->pairs;

	while (p && p->parent != parent)
		p = p->next;
	return p;
}

static void let_go(struct pair *p)
{
	struct hedge *h = p->h;

	bw_lock(&h->lock);
	bool is_last = --p->refs == 0;
	if (is_last && p->child[1].state != AT_REST)
		h->bytes -= bytes_of(&p->child[1].op);
	bw_unlock(&h->lock);
	if (!is_last)
		return;
	bw_op_done(&p->child[0].op);
	bw_op_done(&p->child[1].op);
	free(p);
	bw_gate_leave(&h->gate);
}

/* ---- Sending and cancelling ----------------------------------------------------------------- */

static bool is_over_locked(const struct pair *p)
{
	return !p->parent || p->cancelled;
}

/* One that is being sent is cancelled by whoever sends it. */
static bool begin_cancel_locked(struct child *c)
{
	if (c->state != LENT)
		return false;
	c->pair->refs++;
	return true;
}

static void cancel_child(struct child *c)
{
	struct pair *p = c->pair;

	bw_store_cancel(p->h->store.next, &c->op);
	let_go(p);
}

static void child_init_locked(struct child *c, struct pair *p)
{
	bw_op_child(&c->op, p->parent, done, c);
	c->pair = p;
	c->state = BEING_SENT;
	c->sent_ns = bw_now();
	p->refs += 2;		/* of the child, and of its sender */
}

static void send(struct child *c)
{
	struct pair *p = c->pair;
	struct hedge *h = p->h;

	bw_store_submit(h->store.next, &c->op);
	bw_lock(&h->lock);
	if (c->state == BEING_SENT)
		c->state = LENT;
	bool cancel = is_over_locked(p) && begin_cancel_locked(c);
	bw_unlock(&h->lock);
	if (cancel)
		cancel_child(c);
	let_go(p);
}

/* The second child of a pair whose first is late; NULL: there is none, and the alarm is set. */
static struct child *take_late(struct hedge *h)
{
	int64_t now_ns = bw_now(), due_ns = BW_NEVER;

	BW_LOCK_SCOPE(&h->lock);
	for (struct pair *p = h->stopping ? NULL : h->pairs; p; p = p->next) {
		bool is_due = p->late_ns <= now_ns && now_ns < p->parent->deadline_ns && !p->cancelled;
		if (is_due && pay_locked(h, p->parent)) {
			p->late_ns = BW_NEVER;
			child_init_locked(&p->child[1], p);
			return &p->child[1];
		}
		if (p->late_ns <= now_ns)
			p->late_ns = now_ns + AGAIN_NS;
		due_ns = p->late_ns < due_ns ? p->late_ns : due_ns;
	}
	bw_alarm_set(&h->alarm, h->q, due_ns);
	return NULL;
}

static void run_alarm(struct bw_task *task)
{
	struct hedge *h = bw_container_of(task, struct hedge, alarm.task);
	struct child *c;

	bw_lock(&h->lock);
	bw_alarm_clear(&h->alarm);
	bw_unlock(&h->lock);
	while ((c = take_late(h))) {
		if (h->stats)
			atomic_fetch_add(&h->stats->hedges, 1);
		send(c);
	}
}

/* ---- Answers -------------------------------------------------------------------------------- */

/* The other child's answer could not be another, but for what happened in between. */
static bool is_good(const struct bw_op *op)
{
	return op->outcome == BW_OK || op->outcome == BW_NOT_FOUND;
}

static bool is_under_way(const struct child *c)
{
	return c->state == BEING_SENT || c->state == LENT;
}

/* Of two bad answers the one that says more: CANCELLED says only that there was no time. */
static struct child *better(struct child *last, struct child *before)
{
	if (before->state == ENDED && last->op.outcome == BW_CANCELLED)
		return before;
	return last;
}

/* The child whose answer the caller is to have now, if any.  *ret_cancel: the other is to be cancelled. */
static struct child *settle_locked(struct child *c, struct bw_op **ret_parent, bool *ret_cancel)
{
	struct pair *p = c->pair;
	struct child *other = &p->child[c == &p->child[0]];

	c->state = ENDED;
	*ret_cancel = false;
	*ret_parent = p->parent;
	if (!p->parent)
		return NULL;
	if (is_good(&c->op)) {
		learn_locked(p->h, c);
		*ret_cancel = begin_cancel_locked(other);
	} else if (is_under_way(other)) {
		return NULL;
	} else {
		c = better(c, other);
	}
	p->parent = NULL;
	unlist_locked(p);
	return c;
}

static void done(struct bw_op *op)
{
	struct child *c = op->ctx;
	struct pair *p = c->pair;
	struct hedge *h = p->h;
	struct bw_op *parent;
	bool cancel;

	bw_lock(&h->lock);
	struct child *winner = settle_locked(c, &parent, &cancel);
	bw_unlock(&h->lock);
	if (winner) {
		bw_op_child_give(&winner->op, parent);
		if (winner == &p->child[1] && h->stats && is_good(op))
			atomic_fetch_add(&h->stats->hedges_won, 1);
		if (cancel)
			cancel_child(&p->child[c == &p->child[0]]);
		parent->done(parent);
	} else if (is_good(op)) {
		/* Nobody will ask for these bytes.  Of a bad answer there are none, and the other's thread may be about to give it. */
		bw_op_done(op);
	}
	let_go(p);
}

/* ---- The filter ----------------------------------------------------------------------------- */

static void submit(struct bw_store *s, struct bw_op *op)
{
	struct hedge *h = (struct hedge *)s;
	struct pair *p = is_hedged(op) ? calloc(1, sizeof(*p)) : NULL;

	/* Short of memory, a get goes down as it is. */
	if (!p) {
		bw_store_submit(s->next, op);
		return;
	}
	bw_gate_enter(&h->gate);
	p->h = h;
	p->parent = op;
	bw_lock(&h->lock);
	if (h->stopping) {
		/* From the done() of a request that is not hedged: the alarm may have gone. */
		bw_unlock(&h->lock);
		bw_gate_leave(&h->gate);
		free(p);
		bw_store_submit(s->next, op);
		return;
	}
	child_init_locked(&p->child[0], p);
	p->late_ns = p->child[0].sent_ns + patience_locked(h, size_of(op));
	list_locked(p);
	h->shares += h->shares < COST * BW_HEDGE_BURST;
	bw_alarm_set(&h->alarm, h->q, p->late_ns);
	bw_unlock(&h->lock);
	send(&p->child[0]);
}

static void cancel(struct bw_store *s, struct bw_op *op)
{
	struct hedge *h = (struct hedge *)s;
	bool cancels[2] = {false, false};

	bw_lock(&h->lock);
	struct pair *p = find_locked(h, op);
	if (p) {
		p->cancelled = true;
		for (int i = 0; i < 2; i++)
			cancels[i] = begin_cancel_locked(&p->child[i]);
	}
	bw_unlock(&h->lock);
	for (int i = 0; i < 2; i++)
		if (cancels[i])
			cancel_child(&p->child[i]);
	/* One that is answered already is none of the business of what is below. */
	if (!p && !is_hedged(op))
		bw_store_cancel(s->next, op);
}

static void hedge_free(struct bw_store *s)
{
	struct hedge *h = (struct hedge *)s;

	if (h->q) {
		bw_lock(&h->lock);
		h->stopping = true;
		bw_unlock(&h->lock);
		bw_gate_wait(&h->gate);
		bw_workq_free(h->q);
	}
	bw_store_free(s->next);
	bw_gate_done(&h->gate);
	bw_mutex_done(&h->lock);
	free(h);
}

int bw_filter_hedge_new(struct bw_store *below, int64_t min_ns, struct bw_send_stats *stats,
			struct bw_store **ret)
{
	static const struct bw_store_ops ops = {
		.name = "hedge", .submit = submit, .cancel = cancel, .free = hedge_free};
	struct hedge *h = calloc(1, sizeof(*h));

	if (!h) {
		bw_store_free(below);
		return -ENOMEM;
	}
	h->store = (struct bw_store){.ops = &ops, .next = below};
	h->min_ns = min_ns;
	h->stats = stats;
	h->shares = COST * BW_HEDGE_BURST;
	bw_alarm_init(&h->alarm, run_alarm);
	bw_mutex_init(&h->lock, BW_RANK_FILTER);
	bw_gate_init(&h->gate);
	int err = bw_workq_new("bw-hedge", 1, &h->q);
	if (err) {
		hedge_free(&h->store);
		return err;
	}
	*ret = &h->store;
	return 0;
}
