/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/bench_crew.h"

#include "store/base/clock.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define GLANCE_NS (50 * BW_MS)
#define PATIENCE_NS (3 * BW_SEC) /* without a call that returns, until they are made to */
#define KICK SIGUSR1

void bw_crew_init(struct bw_crew *c)
{
	*c = (struct bw_crew){.n = 0};
	bw_mutex_init(&c->lock, BW_RANK_LEAF);
	bw_cond_init(&c->cond);
	atomic_store(&c->end_ns, BW_NEVER);
}

bool bw_crew_start(struct bw_crew *c)
{
	BW_LOCK_SCOPE(&c->lock);
	c->ready++;
	bw_cond_broadcast(&c->cond);
	while (!c->go && !atomic_load(&c->stop))
		bw_cond_wait(&c->cond, &c->lock);
	return !atomic_load(&c->stop);
}

bool bw_crew_ends(struct bw_crew *c)
{
	return atomic_load(&c->stop);
}

bool bw_crew_goes_on(struct bw_crew *c)
{
	return !atomic_load(&c->stop) && bw_now() < atomic_load(&c->end_ns);
}

int bw_crew_fail(struct bw_crew *c, int err, const char *fmt, ...)
{
	va_list ap;

	BW_LOCK_SCOPE(&c->lock);
	if (!c->err && !atomic_load(&c->stop)) {
		c->err = err;
		va_start(ap, fmt);
		vsnprintf(c->why, sizeof(c->why), fmt, ap);
		va_end(ap);
	}
	atomic_store(&c->stop, true);
	bw_cond_broadcast(&c->cond);
	return err;
}

static void *run_hand(void *arg)
{
	struct bw_hand *h = arg;
	struct bw_crew *c = h->crew;
	sigset_t kick;

	sigemptyset(&kick);
	sigaddset(&kick, KICK);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	h->work(h);
	BW_LOCK_SCOPE(&c->lock);
	c->running--;
	bw_cond_broadcast(&c->cond);
	return NULL;
}

static void wake(int sig)
{
	(void)sig;
}

static int take_kicks(void)
{
	struct sigaction a = {.sa_handler = wake}; /* without SA_RESTART: the call ends */

	sigemptyset(&a.sa_mask);
	return sigaction(KICK, &a, NULL) < 0 ? -errno : 0;
}

static int start_hands(struct bw_crew *c, uint32_t n, int (*work)(struct bw_hand *h), void *ctx)
{
	int err = take_kicks();

	c->hands = err ? NULL : calloc(n, sizeof(*c->hands));
	if (!c->hands)
		return err ? err : -ENOMEM;
	c->n = n;
	for (uint32_t i = 0; i < n; i++) {
		struct bw_hand *h = &c->hands[i];

		*h = (struct bw_hand){.crew = c, .index = i, .ctx = ctx, .work = work};
		bw_lock(&c->lock);
		c->running++;
		bw_unlock(&c->lock);
		err = bw_thread_start(&h->thread, "bw-bench", run_hand, h);
		h->started = !err;
		if (err) {
			bw_lock(&c->lock);
			c->running--;
			bw_unlock(&c->lock);
			return bw_crew_fail(c, err, "cannot start a thread");
		}
	}
	return 0;
}

/* Until all are ready, or all have ended; false: they have ended. */
static bool glance(struct bw_crew *c, bool until_ready)
{
	int64_t deadline = bw_now() + GLANCE_NS;

	BW_LOCK_SCOPE(&c->lock);
	while (c->running && !(until_ready && c->ready == c->n))
		if (!bw_cond_wait_until(&c->cond, &c->lock, deadline))
			break;
	return c->running;
}

static void kick(struct bw_crew *c)
{
	for (uint32_t i = 0; i < c->n; i++)
		if (c->hands[i].started)
			pthread_kill(c->hands[i].thread, KICK);
}

/* True when it was cancelled. */
static bool watch_over(struct bw_crew *c, bool until_ready, const struct bw_crew_watch *w)
{
	bool cancelled = false, killed = false;
	uint64_t seen = 0;
	int64_t since = 0;

	while (glance(c, until_ready)) {
		bw_lock(&c->lock);
		bool ready = until_ready && c->ready == c->n;
		bw_unlock(&c->lock);
		if (ready)
			break;
		if (!cancelled && !w->go_on(w->ctx)) {
			cancelled = true;
			bw_crew_fail(c, -ECANCELED, "interrupted");
		}
		if (!atomic_load(&c->stop))
			continue;
		kick(c);
		uint64_t calls = atomic_load(&c->calls);

		if (!since || calls != seen)
			since = bw_now();
		seen = calls;
		if (!killed && bw_now() - since > PATIENCE_NS) {
			w->kill(w->ctx);
			killed = true;
		}
	}
	return cancelled;
}

static void let_go(struct bw_crew *c, const struct bw_crew_watch *w)
{
	w->begin(w->ctx);
	BW_LOCK_SCOPE(&c->lock);
	c->begin_ns = bw_now();
	atomic_store(&c->end_ns, c->limit_ns ? c->begin_ns + c->limit_ns : BW_NEVER);
	c->go = true;
	bw_cond_broadcast(&c->cond);
}

int bw_crew_run(struct bw_crew *c, const char *what, uint64_t total, uint32_t n, int64_t limit_ns,
		int (*work)(struct bw_hand *h), void *ctx, const struct bw_crew_watch *watch)
{
	c->limit_ns = limit_ns;
	bw_progress_init(&c->progress, what, "B", total, true);
	int err = start_hands(c, n, work, ctx);
	bool cancelled = watch_over(c, true, watch);

	if (!err && !cancelled && !bw_crew_ends(c)) {
		let_go(c, watch);
		cancelled = watch_over(c, false, watch);
		c->took_ns = bw_now() - c->begin_ns;
		watch->end(watch->ctx);
	}
	for (uint32_t i = 0; i < c->n; i++)
		if (c->hands[i].started)
			pthread_join(c->hands[i].thread, NULL);
	bw_progress_done(&c->progress);
	return cancelled ? -ECANCELED : err ? err : c->err;
}

void bw_crew_done(struct bw_crew *c)
{
	for (uint32_t i = 0; i < c->n && c->hands; i++) {
		bw_times_done(&c->hands[i].times[0]);
		bw_times_done(&c->hands[i].times[1]);
	}
	free(c->hands);
	bw_cond_done(&c->cond);
	bw_mutex_done(&c->lock);
	c->hands = NULL;
	c->n = 0;
}
