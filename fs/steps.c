/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/steps.h"

#include "store/base/clock.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define TICK_NS (100 * BW_MS)

struct bw_steps {
	struct bw_steps_config c;
	struct bw_mutex lock;
	struct bw_resolve *all;		/* every question that has no answer */
	uint64_t next_id;
	uint32_t waiting_n;
	bool stopping, ticking;
	struct bw_workq *timer;		/* owned */
	struct bw_task tick;
};

static void arm_tick_locked(struct bw_steps *s);

static void unlink_locked(struct bw_resolve *r)
{
	*r->prev = r->next;
	if (r->next)
		r->next->prev = r->prev;
	r->prev = NULL;
}

/* The question is the caller's alone: it was unlinked under the lock. */
static void answer(struct bw_resolve *r, int err)
{
	r->done(r, err);
}

static void finish(struct bw_resolve *r, int err)
{
	bw_lock(&r->steps->lock);
	unlink_locked(r);
	bw_unlock(&r->steps->lock);
	answer(r, err);
}

static void found_now(struct bw_resolve *r, int err)
{
	r->entry = r->find.entry;
	finish(r, err);
}

static void found(struct bw_find *find, int err)
{
	struct bw_resolve *r = bw_container_of(find, struct bw_resolve, find);

	bw_waiting_remove(r->steps->c.waiting, &r->waiter);
	found_now(r, err);
}

static void start_find(struct bw_resolve *r)
{
	int err;

	r->find = (struct bw_find){.step = r->step,
				   .deadline_ns = bw_now() + r->steps->c.io_timeout_ns,
				   .done = found};
	r->waiter.reason = BW_WAIT_READ;
	bw_waiting_add(r->steps->c.waiting, &r->waiter);
	if (bw_head_find(r->steps->c.head, &r->find, &err)) {
		bw_waiting_forget(r->steps->c.waiting, &r->waiter);
		found_now(r, err);
	}
}

/* 1: at or past the head. */
static int place(struct bw_steps *s, uint64_t step)
{
	struct bw_root *root = bw_head_root(s->c.head);
	int err = bw_head_poisoned(s->c.head);

	if (!err)
		err = step < root->first ? -BW_E_RECLAIMED
		      : step < root->head ? 0
		      : root->sealed	 ? -BW_E_PAST_END
					 : 1;
	bw_root_unref(root);
	return err;
}

static void leave_wait_locked(struct bw_steps *s, struct bw_resolve *r)
{
	s->waiting_n--;
	bw_waiting_remove(s->c.waiting, &r->waiter);
	bw_head_watch(s->c.head, -1);
}

/* V7: parks the question; or says at once that it must not wait. */
static void park(struct bw_steps *s, struct bw_resolve *r)
{
	int err = 0;

	bw_lock(&s->lock);
	if (s->stopping)
		err = -BW_E_STOPPING;
	else if (r->interrupted)
		err = -EINTR;
	if (!err) {
		r->stage = BW_RESOLVE_WAIT;
		r->waiter.reason = BW_WAIT_STEP;
		bw_waiting_add(s->c.waiting, &r->waiter);
		bw_head_watch(s->c.head, 1);
		s->waiting_n++;
		arm_tick_locked(s);
	}
	/* News that came before it was parked would be missed. */
	int now = err ? err : place(s, r->step);
	if (!err && now != 1)
		leave_wait_locked(s, r);
	if (now != 1)
		r->stage = BW_RESOLVE_FIND;
	if (now != 1 && now != 0)
		unlink_locked(r);
	bw_unlock(&s->lock);
	if (now == 0)
		start_find(r);
	else if (now != 1)
		answer(r, now);
}

static void asked(struct bw_ask *ask, int err)
{
	struct bw_resolve *r = bw_container_of(ask, struct bw_resolve, ask);
	struct bw_steps *s = r->steps;

	bw_lock(&s->lock);
	r->stage = BW_RESOLVE_FIND;
	bw_unlock(&s->lock);
	bw_waiting_remove(s->c.waiting, &r->waiter);
	int where = err ? err : place(s, r->step);

	if (where == 0)
		start_find(r);
	else if (where == 1 && r->may_wait && s->c.wait_ns > 0)
		park(s, r);
	else
		finish(r, where == 1 ? -BW_E_NOT_COMMITTED : where);
}

uint64_t bw_steps_begin(struct bw_steps *s, struct bw_resolve *r)
{
	BW_LOCK_SCOPE(&s->lock);
	r->steps = s;
	r->id = ++s->next_id;
	r->stage = BW_RESOLVE_NEW;
	r->interrupted = false;
	r->next = s->all;
	r->prev = &s->all;
	if (r->next)
		r->next->prev = &r->next;
	s->all = r;
	return r->id;
}

/*
 * How long the store may be silent before the question fails (V6).  A look-up holds its directory, so it is short (V3); who
 * wants to wait for the step holds nothing, and does not hear of an outage that is shorter than both times.
 */
static int64_t patience(const struct bw_steps *s, const struct bw_resolve *r)
{
	int64_t limit = BW_LOOKUP_LIMIT_NS;

	if (r->may_wait && s->c.wait_ns > limit)
		limit = s->c.wait_ns;
	return s->c.io_timeout_ns < limit ? s->c.io_timeout_ns : limit;
}

void bw_steps_go(struct bw_steps *s, struct bw_resolve *r)
{
	int where = place(s, r->step);

	if (where == 0) {
		start_find(r);
		return;
	}
	bw_lock(&s->lock);
	if (where == 1 && s->stopping)
		where = -BW_E_STOPPING;
	if (where == 1 && r->interrupted)
		where = -EINTR;
	if (where != 1) {
		unlink_locked(r);
		bw_unlock(&s->lock);
		answer(r, where);
		return;
	}
	int64_t now = bw_now();

	r->deadline_ns = now + s->c.wait_ns;
	r->waiter.reason = BW_WAIT_LOOKUP;
	r->stage = BW_RESOLVE_ASK;
	r->ask = (struct bw_ask){.done = asked, .until_step = r->step, .deadline_ns = now + patience(s, r),
				 .patient = r->may_wait && s->c.wait_ns > 0};
	bw_waiting_add(s->c.waiting, &r->waiter);
	bw_head_ask(s->c.head, &r->ask);
	bw_unlock(&s->lock);
}

void bw_steps_interrupt(struct bw_steps *s, uint64_t id)
{
	bw_lock(&s->lock);
	struct bw_resolve *r = s->all;

	while (r && r->id != id)
		r = r->next;
	bool mine = false;

	if (r) {
		r->interrupted = true;
		if (r->stage == BW_RESOLVE_WAIT) {
			leave_wait_locked(s, r);
			mine = true;
		} else if (r->stage == BW_RESOLVE_ASK && bw_head_ask_cancel(s->c.head, &r->ask)) {
			bw_waiting_remove(s->c.waiting, &r->waiter);
			mine = true;
		}
	}
	if (mine)
		unlink_locked(r);
	bw_unlock(&s->lock);
	if (mine)
		answer(r, -EINTR);
}

/* Those in the WAIT stage whose wait is over leave it, one list for each end.  True: shutting down. */
static bool sort_waiters(struct bw_steps *s, int64_t now, struct bw_resolve **ret_find,
			 struct bw_resolve **ret_end)
{
	struct bw_root *root = bw_head_root(s->c.head);
	/* No step comes any more. */
	bool over = root->sealed || bw_head_poisoned(s->c.head);

	*ret_find = *ret_end = NULL;
	bw_lock(&s->lock);
	for (struct bw_resolve *r = s->all, *next; r; r = next) {
		next = r->next;
		if (r->stage != BW_RESOLVE_WAIT)
			continue;
		bool find = r->step < root->head;
		if (!find && !over && !s->stopping && now < r->deadline_ns)
			continue;
		leave_wait_locked(s, r);
		r->stage = BW_RESOLVE_FIND;
		unlink_locked(r);
		struct bw_resolve **to = find ? ret_find : ret_end;
		r->next = *to;
		*to = r;
	}
	bool stopping = s->stopping;

	bw_unlock(&s->lock);
	bw_root_unref(root);
	return stopping;
}

static void end_waits(struct bw_steps *s, int64_t now)
{
	struct bw_resolve *find, *end;

	bool stopping = sort_waiters(s, now, &find, &end);
	while (find) {
		struct bw_resolve *r = find;
		find = r->next;
		bw_lock(&s->lock);
		r->next = s->all;
		r->prev = &s->all;
		if (r->next)
			r->next->prev = &r->next;
		s->all = r;
		bw_unlock(&s->lock);
		start_find(r);
	}
	while (end) {
		struct bw_resolve *r = end;
		end = r->next;
		int where = place(s, r->step);
		answer(r, stopping ? -BW_E_STOPPING : where == 1 || where == 0 ? -ETIMEDOUT : where);
	}
}

static void run_tick(struct bw_task *task)
{
	struct bw_steps *s = bw_container_of(task, struct bw_steps, tick);

	bw_lock(&s->lock);
	s->ticking = false;
	bw_unlock(&s->lock);
	end_waits(s, bw_now());
	BW_LOCK_SCOPE(&s->lock);
	if (s->waiting_n && !s->stopping)
		arm_tick_locked(s);
}

static void arm_tick_locked(struct bw_steps *s)
{
	if (s->ticking || s->stopping)
		return;
	s->ticking = true;
	bw_workq_push_at(s->timer, &s->tick, bw_now() + TICK_NS);
}

static void news(void *ctx, struct bw_root *old, struct bw_root *now)
{
	(void)old;
	(void)now;
	end_waits(ctx, bw_now());
}

int bw_steps_new(const struct bw_steps_config *config, struct bw_steps **ret)
{
	struct bw_steps *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->c = *config;
	s->tick.run = run_tick;
	bw_mutex_init(&s->lock, BW_RANK_FS);
	int err = bw_workq_new("bw-wait", 1, &s->timer);

	if (err) {
		bw_mutex_done(&s->lock);
		free(s);
		return err;
	}
	bw_head_subscribe(s->c.head, news, s);
	*ret = s;
	return 0;
}

void bw_steps_stop(struct bw_steps *s)
{
	bw_lock(&s->lock);
	s->stopping = true;
	struct bw_workq *timer = s->timer;

	s->timer = NULL;	/* nobody arms it any more */
	bw_unlock(&s->lock);
	bw_workq_free(timer);
	end_waits(s, bw_now());
}

void bw_steps_free(struct bw_steps *s)
{
	if (!s)
		return;
	bw_workq_free(s->timer);
	bw_mutex_done(&s->lock);
	free(s);
}
