/* SPDX-License-Identifier: Apache-2.0 */
/*
 * P7: with max_ahead, mkdir of a seq waits until the slowest job has come near enough.
 *
 * The store is asked first: a job may have been registered, or a marker set, elsewhere.  Nobody is fenced for a
 * mkdir that waits; what would be refused anyway is refused at once.  News end the wait, from here or elsewhere
 * (the head is watched), and so does any signal.
 */
#include "fs/jobs.h"
#include "fs/stage.h"

#include "store/base/clock.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define AFTER_SIGNAL_NS BW_SEC	/* most takes are done by then, and no signal is lost on the rest */

struct bw_ahead {
	struct bw_ask ask;
	struct bw_answer *answer;
	struct bw_stage_producer *producer;
	bool waits;			/* else it still asks */
	struct bw_ahead *next, **prev;	/* in bw_produce.ahead, while it waits */
};

uint64_t bw_produce_begin(struct bw_produce *p, struct bw_answer *a)
{
	BW_LOCK_SCOPE(&p->lock);
	a->id = ++p->next_id;
	a->begun_next = p->begun;
	a->begun_prev = &p->begun;
	if (a->begun_next)
		a->begun_next->begun_prev = &a->begun_next;
	p->begun = a;
	return a->id;
}

void bw_produce_end(struct bw_produce *p, struct bw_answer *a)
{
	BW_LOCK_SCOPE(&p->lock);
	*a->begun_prev = a->begun_next;
	if (a->begun_next)
		a->begun_next->begun_prev = a->begun_prev;
}

static bool must_wait_locked(const struct bw_stage_producer *sp, const struct bw_root *root, uint64_t seq)
{
	const struct bw_producer_entry *e = bw_root_producer(root, sp->name);
	uint64_t next = e ? e->next : 0;

	/* Those are refused, or it is not known yet whether they are. */
	if (root->sealed || seq < next || bw_stage_batch_find(sp, seq))
		return false;
	/* P5: so is who was fenced with a batch in hand. */
	if (sp->batches && !bw_producer_held(sp->produce, e))
		return false;
	if (seq > next && !bw_stage_batch_find(sp, seq - 1))
		return false;
	/* The seqs before it come first (P4). */
	return bw_jobs_too_far(sp->produce->c.stream, root, seq - next + 1);
}

static void leave_locked(struct bw_produce *p, struct bw_ahead *w)
{
	*w->prev = w->next;
	if (w->next)
		w->next->prev = w->prev;
	bw_waiting_remove(p->c.waiting, &w->answer->waiter);
	bw_head_watch(p->c.head, -1);
	w->answer->ahead = NULL;
}

/* Which job it is may change while it waits. */
static void say_locked(struct bw_produce *p, struct bw_ahead *w, const struct bw_root *root)
{
	const struct bw_job *slowest = bw_jobs_slowest(root);
	char what[sizeof(w->answer->waiter.what)];

	snprintf(what, sizeof(what), "producer=%s seq=%" PRIu64 " job=%s", w->producer->name, w->answer->seq,
		 slowest ? slowest->name : "-");
	bw_waiting_say(p->c.waiting, &w->answer->waiter, what);
}

static void wait_locked(struct bw_produce *p, struct bw_ahead *w, const struct bw_root *root)
{
	w->waits = true;
	w->next = p->ahead;
	w->prev = &p->ahead;
	if (w->next)
		w->next->prev = &w->next;
	p->ahead = w;
	w->answer->waiter.reason = BW_WAIT_AHEAD;
	say_locked(p, w, root);
	bw_waiting_add(p->c.waiting, &w->answer->waiter);
	bw_head_watch(p->c.head, 1);
}

/* No lock held; w is nobody else's any more. */
static void go_on(struct bw_produce *p, struct bw_ahead *w, int err)
{
	struct bw_stage_producer *sp = w->producer;
	struct bw_answer *a = w->answer;

	atomic_fetch_sub(&p->ahead_n, 1);
	free(w);
	if (err)
		a->done(a, err);
	else
		bw_take_seq(p, sp, a);
}

static void asked(struct bw_ask *ask, int err)
{
	struct bw_ahead *w = bw_container_of(ask, struct bw_ahead, ask);
	struct bw_produce *p = w->producer->produce;

	bw_lock(&p->lock);
	if (!err)
		err = p->stopping ? -ESHUTDOWN : w->answer->interrupted ? -EINTR : 0;
	/* Under the lock: news that are published from now on find it in the list. */
	struct bw_root *root = bw_head_root(p->c.head);
	bool waits = !err && must_wait_locked(w->producer, root, w->answer->seq);

	if (waits)
		wait_locked(p, w, root);
	else
		w->answer->ahead = NULL;
	bw_unlock(&p->lock);
	bw_root_unref(root);
	if (!waits)
		go_on(p, w, err);
	bw_produce_told(p);
}

void bw_ahead_mkdir(struct bw_produce *p, struct bw_stage_producer *sp, struct bw_answer *a)
{
	struct bw_ahead *w = calloc(1, sizeof(*w));
	int err = w ? 0 : -ENOMEM;

	bw_lock(&p->lock);
	if (!err)
		err = p->stopping ? -ESHUTDOWN : a->interrupted ? -EINTR : 0;
	if (!err) {
		w->answer = a;
		w->producer = sp;
		w->ask = (struct bw_ask){.done = asked, .until_step = BW_STEPS_MAX, .urgent = true,
					 .deadline_ns = bw_now() + p->c.options->io_timeout_ns};
		a->ahead = w;
		atomic_fetch_add(&p->ahead_n, 1);
		p->asking_n++;
		bw_head_ask(p->c.head, &w->ask);
	}
	bw_unlock(&p->lock);
	if (err) {
		free(w);
		a->done(a, err);
	}
}

void bw_produce_interrupt(struct bw_produce *p, uint64_t id)
{
	int64_t deadline_ns = bw_now() + AFTER_SIGNAL_NS;
	struct bw_ahead *mine = NULL;
	bool asked = false;

	bw_lock(&p->lock);
	struct bw_answer *a = p->begun;

	while (a && a->id != id)
		a = a->begun_next;
	if (a) {
		a->interrupted = true;
		if (!a->deadline_ns || a->deadline_ns > deadline_ns)
			a->deadline_ns = deadline_ns;
	}
	struct bw_ahead *w = a ? a->ahead : NULL;

	if (w && w->waits) {
		leave_locked(p, w);
		mine = w;
	} else if (w && bw_head_ask_cancel(p->c.head, &w->ask)) {
		a->ahead = NULL;
		mine = w;
		asked = true;
	}
	bw_unlock(&p->lock);
	if (mine)
		go_on(p, mine, -EINTR);
	if (asked)
		bw_produce_told(p);
}

static struct bw_ahead *pop_free(struct bw_produce *p, const struct bw_root *root)
{
	BW_LOCK_SCOPE(&p->lock);
	for (struct bw_ahead *w = p->ahead; w; w = w->next) {
		if (!p->stopping && must_wait_locked(w->producer, root, w->answer->seq)) {
			say_locked(p, w, root);
			continue;
		}
		leave_locked(p, w);
		return w;
	}
	return NULL;
}

void bw_ahead_news(void *ctx, struct bw_root *old, struct bw_root *now)
{
	struct bw_produce *p = ctx;
	(void)old;

	/* Who is not counted yet will see this root: it asks for the newest one once it is. */
	if (!atomic_load(&p->ahead_n))
		return;
	for (struct bw_ahead *w; (w = pop_free(p, now));)
		go_on(p, w, 0);
}

void bw_ahead_stop(struct bw_produce *p)
{
	struct bw_root *root = bw_head_root(p->c.head);

	for (struct bw_ahead *w; (w = pop_free(p, root));)
		go_on(p, w, -ESHUTDOWN);
	bw_root_unref(root);
}
