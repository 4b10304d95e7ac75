/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chain: a thread that asks the sources in order, for those who wait and before credentials expire.
 */
#include "store/s3_creds.h"

#include "store/base/clock.h"
#include "store/base/rand.h"
#include "store/base/sync.h"
#include "store/s3_cred_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EXTEND_MS (INT64_C(600) * 1000)	/* and up to half as much again */
#define WALL_NS (60 * BW_SEC)	/* the wall clock is looked at this often: it may jump, and machines sleep */

static const struct bw_cred_times usual_times = {
	.early_ms = 5 * 60 * 1000,
	.retry_ns = 10 * BW_SEC,
	.again_ns = BW_SEC,
	.look_ns = 5 * BW_SEC,
};

static const struct bw_cred_source *const sources[] = {
	&bw_cred_environment, &bw_cred_web_identity, &bw_cred_files, &bw_cred_container, &bw_cred_instance,
};
#define SOURCES (sizeof(sources) / sizeof(sources[0]))

struct bw_cred_chain {
	char *profile, *region, *ca;
	struct bw_log *log;
	struct bw_cred_times times;
	int stop_fd;
	pthread_t thread;

	struct bw_mutex lock;		/* what follows */
	struct bw_cond cond;
	bool stopping;
	struct bw_creds *current;	/* owned; NULL: none, or refused */
	int64_t renew_ms;		/* wall clock; of current */
	int64_t retry_ns;		/* the next attempt to renew is not before this */
	int64_t again_ns;		/* the next attempt for those who wait is not before this */
	int64_t looked_ns;		/* when the files were looked at */
	bool look;			/* somebody asked since, and it is time to look again */
	struct bw_cred_wait *waits, **waits_end;
	struct bw_cred_wait *doubts;	/* what they wait for is a look at the files */
	struct bw_rng rng;

	/* The thread's own. */
	struct bw_cred_job job;
};

static bool serves(const struct bw_creds *c)
{
	return c && bw_wall_ms() < c->expires_ms;
}

/* ---- For those who need credentials ------------------------------------------------------------- */

static void wait_locked(struct bw_cred_chain *c, struct bw_cred_wait *w)
{
	w->next = NULL;
	*c->waits_end = w;
	c->waits_end = &w->next;
	bw_cond_signal(&c->cond);
}

bool bw_cred_chain_get(struct bw_cred_chain *c, struct bw_cred_wait *w, struct bw_creds **ret)
{
	BW_LOCK_SCOPE(&c->lock);
	if (serves(c->current) && !c->stopping) {
		if (!c->look && bw_now() - c->looked_ns >= c->times.look_ns) {
			c->look = true;
			bw_cond_signal(&c->cond);
		}
		*ret = bw_creds_ref(c->current);
		return true;
	}
	wait_locked(c, w);
	return false;
}

bool bw_cred_chain_doubted(struct bw_cred_chain *c, struct bw_cred_wait *w, const struct bw_creds *creds,
			   struct bw_creds **ret)
{
	BW_LOCK_SCOPE(&c->lock);
	if (!serves(c->current) || c->stopping) {
		wait_locked(c, w);
		return false;
	}
	if (c->current != creds) {
		*ret = bw_creds_ref(c->current);
		return true;
	}
	w->next = c->doubts;
	c->doubts = w;
	c->look = true;
	bw_cond_signal(&c->cond);
	return false;
}

bool bw_cred_chain_forget(struct bw_cred_chain *c, struct bw_cred_wait *w)
{
	BW_LOCK_SCOPE(&c->lock);
	for (struct bw_cred_wait **at = &c->doubts; *at; at = &(*at)->next) {
		if (*at != w)
			continue;
		*at = w->next;
		return true;
	}
	for (struct bw_cred_wait **at = &c->waits; *at; at = &(*at)->next) {
		if (*at != w)
			continue;
		*at = w->next;
		if (!*at)
			c->waits_end = at;
		return true;
	}
	return false;
}

void bw_cred_chain_refused(struct bw_cred_chain *c, const struct bw_creds *creds)
{
	struct bw_creds *gone = NULL;

	bw_lock(&c->lock);
	/* Of many requests that are refused with the same ones, only the first changes anything. */
	if (c->current == creds) {
		gone = c->current;
		c->current = NULL;
	}
	bw_unlock(&c->lock);
	if (gone)
		bw_log(c->log, BW_LOG_WARN, "credentials_refused", "source=\"%s\"", gone->source);
	bw_creds_unref(gone);
}

static void answer(struct bw_cred_wait *waits, int err, struct bw_creds *creds, const char *why)
{
	while (waits) {
		struct bw_cred_wait *w = waits;

		waits = w->next;	/* done() may free w, or lend it again */
		w->done(w, err, err ? NULL : bw_creds_ref(creds), why);
	}
}

static struct bw_cred_wait *take_waits_locked(struct bw_cred_chain *c)
{
	struct bw_cred_wait *waits = c->waits;

	c->waits = NULL;
	c->waits_end = &c->waits;
	return waits;
}

/* Those who doubted get what is current, or wait for it like everybody. */
static void settle_doubts_locked(struct bw_cred_chain *c)
{
	struct bw_cred_wait *doubts = c->doubts, *next;
	struct bw_creds *current = serves(c->current) ? bw_creds_ref(c->current) : NULL;

	c->doubts = NULL;
	if (current) {
		bw_unlock(&c->lock);
		answer(doubts, 0, current, "");
		bw_creds_unref(current);
		bw_lock(&c->lock);
		return;
	}
	for (; doubts; doubts = next) {
		next = doubts->next;
		wait_locked(c, doubts);
	}
}

/* ---- Asking the sources ------------------------------------------------------------------------- */

static int nothing_configured(struct bw_cred_job *job)
{
	bw_cred_fail(job, "no credentials are configured: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"
		     " AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, or a profile in ~/.aws/credentials, or run"
		     " where a container or an instance is given a role%s%s%s", job->note[0] ? " (" : "",
		     job->note, job->note[0] ? ")" : "");
	return -BW_E_DENIED;
}

/* Ten to fifteen minutes, so that they are asked for again in four to ten, and not by a whole fleet at once. */
static void extend(struct bw_cred_job *job, struct bw_creds *out, const char *when)
{
	uint64_t random;

	bw_random(&random, sizeof(random));
	out->expires_ms = bw_wall_ms() + EXTEND_MS + (int64_t)(random % (EXTEND_MS / 2));
	if (!job->was_extended)
		bw_log(job->log, BW_LOG_WARN, "credentials_extended", "source=\"%s\" expired=%s", out->source, when);
	job->extended = out->extended = true;
}

static int ask(struct bw_cred_job *job, struct bw_creds *out)
{
	char when[32];

	for (size_t i = 0; i < SOURCES; i++) {
		bool yields = sources[i]->yields && job->profile_named;
		int got = yields ? 0 : sources[i]->fetch(job, out);

		if (got == 0)
			continue;
		out->source = sources[i]->name;
		if (got < 0 || bw_wall_ms() < out->expires_ms)
			return got < 0 ? got : 0;
		bw_wall_text(out->expires_ms, when, sizeof(when));
		if (sources[i]->extends) {
			extend(job, out, when);
			return 0;
		}
		return bw_cred_fail(job, "the credentials of the source \"%s\" expired at %s: renew them there, or"
				    " set the clock of this machine", out->source, when);
	}
	return nothing_configured(job);
}

/* *ret is set when it answers 0; else the job's why is. */
static int fetch(struct bw_cred_chain *c, struct bw_creds **ret)
{
	struct bw_cred_job *job = &c->job;
	struct bw_creds *fresh = bw_creds_new();

	job->why[0] = job->note[0] = 0;
	job->was_extended = job->extended;
	job->extended = false;
	memset(&job->watch, 0, sizeof(job->watch));
	int err = fresh ? ask(job, fresh) : -ENOMEM;

	if (err) {
		if (err == -ENOMEM)
			err = bw_cred_fail(job, "memory is short");
		bw_creds_unref(fresh);
		return err;
	}
	*ret = fresh;
	return 0;
}

/* Key ids are no secrets, but their last letters are enough to tell them apart. */
static void log_fetched(struct bw_cred_chain *c, const struct bw_creds *creds)
{
	size_t len = strlen(creds->key_id);
	char when[32] = "never";

	if (creds->expires_ms != INT64_MAX)
		bw_wall_text(creds->expires_ms, when, sizeof(when));
	bw_log(c->log, BW_LOG_INFO, "credentials", "source=\"%s\" key=...%s expires=%s", creds->source,
	       creds->key_id + (len > 8 ? len - 4 : len), when);
}

int64_t bw_cred_renew_ms(int64_t wall_ms, int64_t expires_ms, int64_t early_ms, double chance)
{
	if (expires_ms == INT64_MAX)
		return INT64_MAX;
	int64_t life_ms = expires_ms - wall_ms, ahead_ms = life_ms >= 2 * early_ms ? early_ms : life_ms / 2;

	return expires_ms - ahead_ms - (int64_t)((double)ahead_ms / 4 * chance);
}

/* fresh replaces the current ones, which are returned for the caller to drop. */
static struct bw_creds *settle_locked(struct bw_cred_chain *c, struct bw_creds *fresh)
{
	struct bw_creds *old = c->current;

	c->current = fresh;
	c->renew_ms = bw_cred_renew_ms(bw_wall_ms(), fresh->expires_ms, c->times.early_ms, bw_rng_unit(&c->rng));
	/* A source that has nothing newer must not be asked faster and faster. */
	if (old && fresh->expires_ms <= old->expires_ms)
		c->retry_ns = bw_now() + c->times.retry_ns;
	return old;
}

/* One round, without the lock but at its ends. */
static void round_locked(struct bw_cred_chain *c)
{
	struct bw_creds *fresh = NULL, *old = NULL, *given = NULL;
	struct bw_cred_wait *waits = NULL;

	bw_unlock(&c->lock);
	int err = fetch(c, &fresh);

	if (!err) {
		c->job.before = fresh->source;
		log_fetched(c, fresh);
		given = bw_creds_ref(fresh);
	} else if (err != -BW_E_STOPPING) {
		char why[BW_CRED_WHY];

		memcpy(why, c->job.why, sizeof(why));
		bw_log(c->log, BW_LOG_WARN, "credentials_failed", "why=\"%s\"", bw_log_value(why));
	}
	bw_lock(&c->lock);
	c->looked_ns = bw_now();
	c->look = false;
	c->again_ns = bw_now() + c->times.again_ns;
	if (!err)
		old = settle_locked(c, fresh);
	else
		c->retry_ns = bw_now() + c->times.retry_ns;
	if (err != -BW_E_STOPPING)
		waits = take_waits_locked(c);
	bw_unlock(&c->lock);
	answer(waits, err, given, c->job.why);
	bw_creds_unref(given);
	bw_creds_unref(old);
	bw_lock(&c->lock);
	settle_doubts_locked(c);
}

/* ---- The thread --------------------------------------------------------------------------------- */

/* When the sources are to be asked: bw_now() time; BW_NEVER: nobody needs it. */
static int64_t due_locked(const struct bw_cred_chain *c)
{
	bool good = serves(c->current);

	if (!good)
		return c->waits ? c->again_ns : BW_NEVER;
	if (c->current->expires_ms == INT64_MAX)
		return BW_NEVER;
	int64_t left_ms = c->renew_ms - bw_wall_ms();
	int64_t due = left_ms <= 0 ? 0 : left_ms > WALL_NS / BW_MS ? BW_NEVER : bw_now() + left_ms * BW_MS;

	return due > c->retry_ns ? due : c->retry_ns;
}

static int64_t wake_locked(const struct bw_cred_chain *c, int64_t now, int64_t due)
{
	bool expiring = c->current && c->current->expires_ms != INT64_MAX;

	return expiring && due > now + WALL_NS ? now + WALL_NS : due;
}

/* True: the files that the credentials came from have changed.  The lock was open: anything else may have too. */
static bool look_locked(struct bw_cred_chain *c)
{
	bw_unlock(&c->lock);
	bool changed = bw_cred_watch_changed(&c->job.watch);

	bw_lock(&c->lock);
	c->look = false;
	c->looked_ns = bw_now();
	return changed;
}

static void *run(void *arg)
{
	struct bw_cred_chain *c = arg;

	bw_lock(&c->lock);
	while (!c->stopping) {
		int64_t now = bw_now(), due = due_locked(c);

		if (due <= now)
			round_locked(c);
		else if (!c->look)
			bw_cond_wait_until(&c->cond, &c->lock, wake_locked(c, now, due));
		else if (look_locked(c))
			round_locked(c);
		else
			settle_doubts_locked(c);
	}
	for (settle_doubts_locked(c); c->waits; settle_doubts_locked(c)) {
		struct bw_cred_wait *waits = take_waits_locked(c);

		bw_unlock(&c->lock);
		answer(waits, -BW_E_STOPPING, NULL, "shutting down");
		bw_lock(&c->lock);
	}
	bw_unlock(&c->lock);
	return NULL;
}

static void chain_done(struct bw_cred_chain *c)
{
	if (c->stop_fd >= 0)
		close(c->stop_fd);
	bw_cond_done(&c->cond);
	bw_mutex_done(&c->lock);
	bw_creds_unref(c->current);
	free(c->profile);
	free(c->region);
	free(c->ca);
	free(c);
}

int bw_cred_chain_new_timed(const struct bw_cred_config *config, const struct bw_cred_times *times,
			    struct bw_cred_chain **ret)
{
	struct bw_cred_chain *c = calloc(1, sizeof(*c));
	uint64_t seed;
	int err = -ENOMEM;

	if (!c)
		return -ENOMEM;
	c->log = config->log;
	c->times = *times;
	c->again_ns = c->retry_ns = INT64_MIN;
	c->waits_end = &c->waits;
	bw_mutex_init(&c->lock, BW_RANK_LEAF);
	bw_cond_init(&c->cond);
	bw_random(&seed, sizeof(seed));
	bw_rng_init(&c->rng, seed);
	c->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c->profile = strdup(config->profile ? config->profile : "");
	c->region = strdup(config->region ? config->region : "");
	c->ca = strdup(config->ca ? config->ca : "");
	if (!c->profile || !c->region || !c->ca)
		goto fail;
	c->job = (struct bw_cred_job){.profile = c->profile, .profile_named = config->profile_named, .region = c->region,
				      .ca = c->ca, .log = c->log, .stop_fd = c->stop_fd};
	err = c->stop_fd < 0 ? -errno : bw_thread_start(&c->thread, "bw-creds", run, c);
	if (err)
		goto fail;
	*ret = c;
	return 0;
fail:
	chain_done(c);
	return err;
}

int bw_cred_chain_new(const struct bw_cred_config *config, struct bw_cred_chain **ret)
{
	return bw_cred_chain_new_timed(config, &usual_times, ret);
}

void bw_cred_chain_free(struct bw_cred_chain *c)
{
	if (!c)
		return;
	bw_lock(&c->lock);
	c->stopping = true;
	bw_cond_signal(&c->cond);
	bw_unlock(&c->lock);
	/* A fresh counter takes one more: this cannot block or fail. */
	if (eventfd_write(c->stop_fd, 1) != 0)
		bw_log(c->log, BW_LOG_ERROR, "credentials_stop", "errno=%d", errno);
	pthread_join(c->thread, NULL);
	chain_done(c);
}
