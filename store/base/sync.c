/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/sync.h"

#include "store/base/clock.h"
#include "store/base/err.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef BW_DEBUG
#define HELD_MAX 16
static const char *const rank_names[] = {
#define X(name, what) #name,
	BW_LOCK_RANKS(X)
#undef X
};
/* Per thread and for debugging only: the one piece of state outside an object. */
static _Thread_local enum bw_lock_rank held[HELD_MAX];
static _Thread_local int held_n;

static void note_locked(const struct bw_mutex *m)
{
	for (int i = 0; i < held_n; i++) {
		if (held[i] >= m->rank) {
			fprintf(stderr, "lock order: %s taken while holding %s\n",
				rank_names[m->rank], rank_names[held[i]]);
			abort();
		}
	}
	if (held_n == HELD_MAX)
		abort();
	held[held_n++] = m->rank;
}

static void note_unlocked(const struct bw_mutex *m)
{
	for (int i = held_n - 1; i >= 0; i--) {
		if (held[i] == m->rank) {
			held[i] = held[--held_n];
			return;
		}
	}
	fprintf(stderr, "lock order: %s released but not held\n", rank_names[m->rank]);
	abort();
}
#else
#define note_locked(m) ((void)(m))
#define note_unlocked(m) ((void)(m))
#endif

void bw_mutex_init(struct bw_mutex *m, enum bw_lock_rank rank)
{
	pthread_mutex_init(&m->m, NULL);
	m->rank = rank;
}

void bw_mutex_done(struct bw_mutex *m)
{
	pthread_mutex_destroy(&m->m);
}

void bw_lock(struct bw_mutex *m)
{
	note_locked(m);
	pthread_mutex_lock(&m->m);
}

void bw_unlock(struct bw_mutex *m)
{
	note_unlocked(m);
	pthread_mutex_unlock(&m->m);
}

void bw_cond_init(struct bw_cond *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->c, &attr);
	pthread_condattr_destroy(&attr);
}

void bw_cond_done(struct bw_cond *c)
{
	pthread_cond_destroy(&c->c);
}

void bw_cond_wait(struct bw_cond *c, struct bw_mutex *m)
{
	pthread_cond_wait(&c->c, &m->m);
}

bool bw_cond_wait_until(struct bw_cond *c, struct bw_mutex *m, int64_t deadline_ns)
{
	if (deadline_ns == BW_NEVER) {
		bw_cond_wait(c, m);
		return true;
	}
	struct timespec ts = {.tv_sec = deadline_ns / BW_SEC, .tv_nsec = deadline_ns % BW_SEC};

	return pthread_cond_timedwait(&c->c, &m->m, &ts) == 0;
}

void bw_cond_signal(struct bw_cond *c)
{
	pthread_cond_signal(&c->c);
}

void bw_cond_broadcast(struct bw_cond *c)
{
	pthread_cond_broadcast(&c->c);
}

void bw_latch_init(struct bw_latch *l)
{
	bw_mutex_init(&l->lock, BW_RANK_LEAF);
	bw_cond_init(&l->opened);
	l->open = false;
}

void bw_latch_open(struct bw_latch *l)
{
	BW_LOCK_SCOPE(&l->lock);
	l->open = true;
	bw_cond_signal(&l->opened);
}

bool bw_latch_wait_until(struct bw_latch *l, int64_t deadline_ns)
{
	bool late = false;

	bw_lock(&l->lock);
	while (!l->open && !late)
		late = !bw_cond_wait_until(&l->opened, &l->lock, deadline_ns);
	bool open = l->open;

	bw_unlock(&l->lock);
	if (open) {
		bw_cond_done(&l->opened);
		bw_mutex_done(&l->lock);
	}
	return open;
}

void bw_latch_wait(struct bw_latch *l)
{
	(void)bw_latch_wait_until(l, BW_NEVER);
}

/* A fault in a thread that blocks its signal ends the process without a handler: no word in the log. */
static void unblock_faults(sigset_t *set)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP};

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(set, faults[i]);
}

int bw_thread_start(pthread_t *ret, const char *name, void *(*run)(void *), void *arg)
{
	sigset_t all, old;

	sigfillset(&all);
	unblock_faults(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(ret, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return err == EAGAIN ? -BW_E_NO_THREADS : -err;
	pthread_setname_np(*ret, name);
	return 0;
}
