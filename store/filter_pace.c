/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Additive increase, multiplicative decrease.  An op that may not go yet waits in line; an alarm
 * wakes the line when the rate lets the next one go.
 */
#include "store/layer.h"
#include "store/stats.h"

#include <stdlib.h>

#define WINDOW_NS (100 * BW_MS)	/* over which the rate without a limit is measured */
#define BURST_NS (20 * BW_MS)	/* what was not sent so long ago may still be */
#define GROW_PER_SEC 0.2	/* of what was before the cut */
#define GROW_MAX_NS BW_SEC	/* an answer after a silence counts for no more */
#define DEMANDS 2		/* that go before one that is none */
#define FROM_MIN (5 * BW_PACE_MIN)

/* Something that is cut by half and grows back. */
struct dial {
	double now;
	double from;	/* before the last cut: at twice this there is no limit any more */
};

enum state { WAITS, LENT, ENDS };

struct paced {
	struct bw_frame frame;
	struct bw_op *op;
	struct pace *p;
	enum state state;
	int64_t sent_ns;
	struct paced *prev, *next;
};

struct pace {
	struct bw_store store;
	struct bw_send_stats *stats;	/* borrowed or NULL */
	struct bw_gate gate;
	struct bw_workq *q;
	struct bw_mutex lock;	/* all of the rest */
	struct paced *all;
	struct bw_line line;
	struct bw_alarm alarm;	/* when the next may go, or a deadline passes */
	bool limited;
	struct dial rate;	/* requests per second */
	struct dial window;	/* requests under way */
	unsigned lent;
	unsigned demands;	/* that went out of the line since another did */
	int64_t next_ns;	/* when the rate lets the next one go */
	int64_t pause_ns;	/* until when nothing is sent */
	int64_t cut_ns, grown_ns;
	/* The rate without a limit: what was sent since start_ns, and in the window before. */
	int64_t start_ns;
	unsigned sent, sent_before;
};

/* ---- How much may be sent ------------------------------------------------------------------- */

static void measure_locked(struct pace *p, int64_t now_ns)
{
	if (now_ns - p->start_ns >= WINDOW_NS) {
		p->sent_before = now_ns - p->start_ns < 2 * WINDOW_NS ? p->sent : 0;
		p->sent = 0;
		p->start_ns = now_ns;
	}
	p->sent++;
}

static double measured_locked(const struct pace *p)
{
	unsigned most = p->sent > p->sent_before ? p->sent : p->sent_before;

	return (double)most * (double)BW_SEC / (double)WINDOW_NS;
}

static void dial_cut(struct dial *d, double now, double least, double from_least)
{
	d->from = now > from_least ? now : from_least;
	d->now = now / 2 > least ? now / 2 : least;
}

/* True: it is back where no limit is needed. */
static bool dial_grow(struct dial *d, double share)
{
	d->now += d->from * share;
	return d->now >= 2 * d->from;
}

static void tell_locked(const struct pace *p)
{
	if (p->stats)
		atomic_store(&p->stats->rate, p->limited ? (uint64_t)p->rate.now : 0);
}

static void cut_locked(struct pace *p, int64_t sent_ns, int64_t now_ns)
{
	if (p->cut_ns && (sent_ns <= p->cut_ns || now_ns - p->cut_ns < BW_PACE_CUT_NS))
		return;
	dial_cut(&p->rate, p->limited ? p->rate.now : measured_locked(p), BW_PACE_MIN, FROM_MIN);
	/* This one is under way no more, but was. */
	dial_cut(&p->window, p->limited ? p->window.now : (double)p->lent + 1, 1, 2);
	p->limited = true;
	p->cut_ns = p->grown_ns = now_ns;
	tell_locked(p);
}

static void grow_locked(struct pace *p, int64_t now_ns)
{
	int64_t ns = now_ns - p->grown_ns;

	if (!p->limited)
		return;
	p->grown_ns = now_ns;
	double share = GROW_PER_SEC * (double)(ns < GROW_MAX_NS ? ns : GROW_MAX_NS) / (double)BW_SEC;
	bool all_rate = dial_grow(&p->rate, share), all_window = dial_grow(&p->window, share);

	p->limited = !all_rate || !all_window;
	tell_locked(p);
}

static void learn_locked(struct pace *p, const struct bw_op *op, int64_t sent_ns)
{
	int64_t now_ns = bw_now(), pause_ns = op->retry_after_ns;

	switch (op->outcome) {
	case BW_THROTTLED:
		if (p->stats)
			atomic_fetch_add(&p->stats->throttled, 1);
		cut_locked(p, sent_ns, now_ns);
		break;
	case BW_OK:
	case BW_EXISTS:
	case BW_NOT_FOUND:
		grow_locked(p, now_ns);
		return;
	case BW_UNREACHABLE:
		break;
	default:
		return;
	}
	if (pause_ns > BW_PACE_PAUSE_MAX_NS)
		pause_ns = BW_PACE_PAUSE_MAX_NS;
	if (pause_ns && now_ns + pause_ns > p->pause_ns)
		p->pause_ns = now_ns + pause_ns;
}

/* When one more may be sent; BW_NEVER: when another was answered. */
static int64_t open_at_locked(const struct pace *p, int64_t now_ns)
{
	int64_t at_ns = p->pause_ns > now_ns ? p->pause_ns : 0;

	if (!p->limited)
		return at_ns;
	if (p->lent >= p->window.now)
		return BW_NEVER;
	return at_ns > p->next_ns ? at_ns : p->next_ns;
}

static void count_sent_locked(struct pace *p, int64_t now_ns)
{
	measure_locked(p, now_ns);
	p->lent++;
	if (!p->limited)
		return;
	if (p->next_ns < now_ns - BURST_NS)
		p->next_ns = now_ns - BURST_NS;
	p->next_ns += (int64_t)((double)BW_SEC / p->rate.now);
}

/* ---- Ops on their way ----------------------------------------------------------------------- */

static void forget_locked(struct paced *w)
{
	struct pace *p = w->p;

	if (w->prev)
		w->prev->next = w->next;
	else
		p->all = w->next;
	if (w->next)
		w->next->prev = w->prev;
}

static struct paced *find_locked(struct pace *p, const struct bw_op *op)
{
	struct paced *w = p->all;

	while (w && w->op != op)
		w = w->next;
	return w;
}

static void pump(struct pace *p);

static void done(struct bw_op *op)
{
	struct paced *w = (struct paced *)bw_frame_pop(op);
	struct pace *p = w->p;

	bw_lock(&p->lock);
	p->lent--;
	learn_locked(p, op, w->sent_ns);
	forget_locked(w);
	bool waits = bw_line_first(&p->line) != NULL;
	bw_unlock(&p->lock);
	free(w);
	if (waits)
		pump(p);
	op->done(op);
	bw_gate_leave(&p->gate);
}

static void send_locked(struct paced *w, int64_t now_ns)
{
	w->state = LENT;
	w->sent_ns = now_ns;
	count_sent_locked(w->p, now_ns);
	bw_frame_push(w->op, &w->frame, done);
}

/* The next op that may go; NULL: none. */
static struct bw_op *take(struct pace *p)
{
	int64_t now_ns = bw_now();

	BW_LOCK_SCOPE(&p->lock);
	struct bw_op *op = p->demands < DEMANDS ? NULL : bw_line_first_below(&p->line, BW_PRIO_COMMIT);

	if (!op)
		op = bw_line_first(&p->line);
	if (!op)
		return NULL;
	int64_t at_ns = open_at_locked(p, now_ns);

	if (at_ns > now_ns) {
		bw_alarm_set(&p->alarm, p->q, at_ns);
		return NULL;
	}
	bw_line_remove(&p->line, op);
	p->demands = op->prio == BW_PRIO_DEMAND ? p->demands + 1 : 0;
	send_locked(find_locked(p, op), now_ns);
	return op;
}

static void pump(struct pace *p)
{
	struct bw_op *op;

	while ((op = take(p)))
		bw_store_submit(p->store.next, op);
}

/* ---- Ops that end while they wait ----------------------------------------------------------- */

static void end(struct pace *p, struct bw_op *op)
{
	bw_lock(&p->lock);
	struct paced *w = find_locked(p, op);
	forget_locked(w);
	bw_unlock(&p->lock);
	free(w);
	bw_op_fail(op, BW_CANCELLED, 0);
	op->done(op);
	bw_gate_leave(&p->gate);
}

static struct bw_op *take_late(struct pace *p)
{
	int64_t due_ns;

	BW_LOCK_SCOPE(&p->lock);
	struct bw_op *op = bw_line_take_late(&p->line, bw_now(), &due_ns);

	if (op)
		find_locked(p, op)->state = ENDS;
	else
		bw_alarm_set(&p->alarm, p->q, due_ns);
	return op;
}

static void run_alarm(struct bw_task *task)
{
	struct pace *p = bw_container_of(task, struct pace, alarm.task);
	struct bw_op *op;

	/* Once, for those who end below may submit more, and that sets it again. */
	bw_lock(&p->lock);
	bw_alarm_clear(&p->alarm);
	bw_unlock(&p->lock);
	while ((op = take_late(p)))
		end(p, op);
	pump(p);
}

static void run_cancelled(struct bw_task *task)
{
	struct bw_op *op = bw_op_of(task);

	end((struct pace *)op->at, op);
}

static void cancel(struct bw_store *s, struct bw_op *op)
{
	struct pace *p = (struct pace *)s;

	bw_lock(&p->lock);
	struct paced *w = find_locked(p, op);
	enum state state = w ? w->state : LENT;

	if (state == WAITS) {
		bw_line_remove(&p->line, op);
		w->state = ENDS;
		bw_op_queue(op, p->q, run_cancelled, 0);
	}
	bw_unlock(&p->lock);
	if (state == LENT)
		bw_store_cancel(s->next, op);
}

/* ---- The filter ----------------------------------------------------------------------------- */

/* True: op goes now. */
static bool enter(struct pace *p, struct paced *w)
{
	int64_t now_ns = bw_now();

	BW_LOCK_SCOPE(&p->lock);
	w->next = p->all;
	if (w->next)
		w->next->prev = w;
	p->all = w;
	if (!bw_line_first(&p->line) && open_at_locked(p, now_ns) <= now_ns) {
		send_locked(w, now_ns);
		return true;
	}
	int64_t at_ns = open_at_locked(p, now_ns);

	w->state = WAITS;
	bw_line_push(&p->line, w->op);
	bw_alarm_set(&p->alarm, p->q, at_ns < w->op->deadline_ns ? at_ns : w->op->deadline_ns);
	return false;
}

static void submit(struct bw_store *s, struct bw_op *op)
{
	struct pace *p = (struct pace *)s;
	struct paced *w = calloc(1, sizeof(*w));

	/* Short of memory, a request goes uncounted rather than undone. */
	if (!w) {
		bw_store_submit(s->next, op);
		return;
	}
	w->op = op;
	w->p = p;
	bw_gate_enter(&p->gate);
	if (enter(p, w))
		bw_store_submit(s->next, op);
}

static void pace_free(struct bw_store *s)
{
	struct pace *p = (struct pace *)s;

	if (p->q) {
		bw_gate_wait(&p->gate);
		bw_workq_free(p->q);
	}
	bw_store_free(s->next);
	bw_gate_done(&p->gate);
	bw_mutex_done(&p->lock);
	free(p);
}

int bw_filter_pace_new(struct bw_store *below, struct bw_send_stats *stats, struct bw_store **ret)
{
	static const struct bw_store_ops ops = {
		.name = "pace", .submit = submit, .cancel = cancel, .free = pace_free};
	struct pace *p = calloc(1, sizeof(*p));

	if (!p) {
		bw_store_free(below);
		return -ENOMEM;
	}
	p->store = (struct bw_store){.ops = &ops, .next = below};
	p->stats = stats;
	bw_line_init(&p->line);
	bw_alarm_init(&p->alarm, run_alarm);
	bw_mutex_init(&p->lock, BW_RANK_FILTER);
	bw_gate_init(&p->gate);
	int err = bw_workq_new("bw-pace", 1, &p->q);
	if (err) {
		pace_free(&p->store);
		return err;
	}
	*ret = &p->store;
	return 0;
}
