/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that asks the store for newer versions.
 *
 * It sleeps until somebody asks or watches, sends one request at a time, and looks after the asks'
 * deadlines while it waits for the answer.  Probes are numbered: an ask is answered by the NOT_FOUND
 * of a probe with a higher number than had been sent when it was made, so never by an older one.
 */
#include "manifest/destroy.h"
#include "manifest/head_priv.h"
#include "manifest/open_io.h"
#include "manifest/open_search.h"
#include "manifest/standing.h"

/*
 * Of two requests one may stall, and the second that the store's filters send for it as well: an ask that waits 5 s
 * (V3) must have time for another.  A store that takes longer to answer is given that time.
 */
#define PATIENCE_MIN_NS (2 * BW_SEC)
#define PATIENCE_MAX_NS (10 * BW_SEC)
#define PATIENCE 4		/* times what the last answer took */
#define HITS_BEFORE_JUMP 4
#define GIVE_WAY_NS (5 * BW_MS)	/* about what a slice takes where it costs a request more */
#define READS 5

/* ---- Asks ------------------------------------------------------------------------------------- */

static void run_done(struct bw_ask *taken, int err)
{
	while (taken) {
		struct bw_ask *a = taken;

		taken = a->next;
		a->done(a, err);
	}
}

enum why { WHY_HEAD, WHY_DEADLINE, WHY_PROBE, WHY_ALL };

static bool is_due(const struct bw_ask *a, enum why why, uint64_t number)
{
	switch (why) {
	case WHY_HEAD:
		return a->until_step < number;
	case WHY_DEADLINE:
		return a->deadline_ns <= (int64_t)number;
	case WHY_PROBE:
		return a->asked < number;
	case WHY_ALL:
		break;
	}
	return true;
}

/* Ends the asks that `why` applies to: number is the head, the time, or a probe's number. */
static void end_asks(struct bw_head *h, enum why why, uint64_t number, int err)
{
	struct bw_prober *p = &h->prober;
	struct bw_ask *taken = NULL;

	bw_lock(&p->lock);
	for (struct bw_ask **at = &p->asks; *at;) {
		struct bw_ask *a = *at;

		if (!is_due(a, why, number)) {
			at = &a->next;
			continue;
		}
		*at = a->next;
		a->took_ns = why == WHY_PROBE && !err ? p->took_ns : 0;
		if (why == WHY_PROBE && !err && a->patient && !a->joins_ns)
			bw_follow_in_vain(&p->follow);
		a->next = taken;
		taken = a;
	}
	bw_unlock(&p->lock);
	run_done(taken, err);
}

/* Everything that can be said without the store. */
static void look_after_asks(struct bw_head *h)
{
	struct bw_root *r = bw_head_root(h);
	uint64_t head = r->head;
	int poisoned = bw_head_poisoned(h);

	bw_root_unref(r);
	bw_lock(&h->prober.lock);
	bool stopping = h->prober.stopping;

	h->prober.nudged = false;
	bw_unlock(&h->prober.lock);
	if (stopping || poisoned) {
		end_asks(h, WHY_ALL, 0, stopping ? -BW_E_STOPPING : poisoned);
		return;
	}
	end_asks(h, WHY_HEAD, head, 0);
	end_asks(h, WHY_DEADLINE, (uint64_t)bw_now(), -BW_E_UNREACHABLE);
}

static int64_t next_deadline_locked(const struct bw_prober *p)
{
	int64_t next = BW_NEVER;

	for (const struct bw_ask *a = p->asks; a; a = a->next)
		next = a->deadline_ns < next ? a->deadline_ns : next;
	return next;
}

/* ---- Requests --------------------------------------------------------------------------------- */

static void op_done(struct bw_op *op)
{
	struct bw_prober *p = op->ctx;

	BW_LOCK_SCOPE(&p->lock);
	p->op_done = true;
	bw_cond_broadcast(&p->cond);
}

/* Waits for the answer, and meanwhile ends asks that are over. */
static void wait_answer(struct bw_head *h, struct bw_op *op)
{
	struct bw_prober *p = &h->prober;
	bool cancelled = false;

	bw_lock(&p->lock);
	while (!p->op_done) {
		if (p->stopping && !cancelled)
			bw_store_cancel(h->store, op);
		cancelled |= p->stopping;
		if (!p->nudged &&
		    bw_cond_wait_until(&p->cond, &p->lock, next_deadline_locked(p)))
			continue;
		bw_unlock(&p->lock);
		look_after_asks(h);
		bw_lock(&p->lock);
	}
	bw_unlock(&p->lock);
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* At most twice as much at once: one slow answer must not make the next request that stalls cost a look-up all its time. */
static void adapt_patience(struct bw_prober *p, int err, int64_t took_ns)
{
	bool is_answer = !err || err == -ENOENT;
	int64_t ns = is_answer ? PATIENCE * took_ns : 2 * p->patience_ns;

	/* A connection that is lost says nothing of how long answers take. */
	if (!is_answer && took_ns < p->patience_ns)
		return;
	p->patience_ns = sooner(later(sooner(ns, 2 * p->patience_ns), PATIENCE_MIN_NS), PATIENCE_MAX_NS);
}

/* Sends op and waits.  *ret_ns: what that took. */
static int run_op(struct bw_head *h, struct bw_op *op, int64_t *ret_ns)
{
	struct bw_prober *p = &h->prober;
	int64_t sent_ns = bw_now();

	op->deadline_ns = sent_ns + p->patience_ns;
	op->done = op_done;
	op->ctx = p;
	bw_lock(&p->lock);
	p->op_done = false;
	p->sent++;
	bool stopping = p->stopping;

	bw_unlock(&p->lock);
	if (stopping) {
		op->outcome = BW_CANCELLED;
		return -BW_E_STOPPING;
	}
	bw_store_submit(h->store, op);
	wait_answer(h, op);
	int err = bw_op_err(op);

	*ret_ns = bw_now() - sent_ns;
	adapt_patience(p, err, *ret_ns);
	return err;
}

static int ask_store(struct bw_head *h, const char *key, uint64_t max, bool once, struct bw_blob **ret)
{
	struct bw_op op;
	int64_t took_ns = 0;

	bw_op_get_all(&op, key, max);
	op.once = once;
	int err = run_op(h, &op, &took_ns);

	if (err == -ENOENT)
		h->prober.took_ns = took_ns;
	if (!err) {
		*ret = op.blob;
		op.blob = NULL;
	}
	bw_op_done(&op);
	return err;
}

static int fetch(struct bw_head *h, const char *key, uint64_t max, struct bw_blob **ret)
{
	return ask_store(h, key, max, false, ret);
}

struct source {
	struct bw_versions versions;
	struct bw_head *head;
	/* A probe that the store does not answer is made again here, not by the store's filters: asks made
	 * meanwhile are answered by the next one, and wait for no pause that began before them. */
	bool once;
};

static int get_version(struct bw_versions *from, uint64_t version, struct bw_root **ret)
{
	const struct source *s = (struct source *)from;
	struct bw_head *h = s->head;
	char key[BW_KEY_MAX + 1];
	int rc = -BW_E_CORRUPT;

	bw_key_root(&h->stream, version, key);
	/* A search is long: one request that stalled is no reason to begin it anew. */
	for (int i = 0; i < READS && (rc == -BW_E_CORRUPT || (rc == -BW_E_UNREACHABLE && !s->once)); i++) {
		bw_auto_blob struct bw_blob *blob = NULL;

		rc = ask_store(h, key, BW_ROOT_STORED_MAX, s->once, &blob);
		if (rc == -ENOENT)
			return BW_VERSION_ABSENT;
		if (!rc)
			rc = bw_version_decode(&h->stream, version, blob, ret);
	}
	return rc;
}

/* ---- A round of probes ------------------------------------------------------------------------ */

static uint64_t sent_so_far(struct bw_prober *p)
{
	BW_LOCK_SCOPE(&p->lock);
	return p->sent;
}

static int publish(struct bw_head *h, struct bw_root *root)
{
	int err = bw_head_publish_by(h, root, fetch);

	bw_root_unref(root);
	look_after_asks(h);
	return err;
}

/* Far behind, or the next version is a tombstone: search as a cold open does.  *ret_number: the
 * search's NOT_FOUND answers asks that were made before this many probes had been sent. */
static int jump(struct bw_head *h, struct source *from, uint64_t start, uint64_t *ret_number)
{
	struct bw_root *root;
	uint64_t number = sent_so_far(&h->prober) + 1;

	from->once = false;
	int err = bw_search_newest(&from->versions, start, &root);

	if (!err)
		err = publish(h, root);
	if (!err)
		*ret_number = number;
	return err;
}

/* Somebody expects the newest version to be far from the one known: search around there.  0: search,
 * or fail, as jump(); else the expectation is not worth it. */
#define NOT_FAR 1
static int leap(struct bw_head *h, struct source *from, uint64_t version, uint64_t *ret_number)
{
	struct bw_root *root = NULL;
	uint64_t guess = 0, number = sent_so_far(&h->prober) + 1;

	bw_lock(&h->prober.lock);
	for (const struct bw_ask *a = h->prober.asks; a; a = a->next)
		guess = a->guess > guess ? a->guess : guess;
	bw_unlock(&h->prober.lock);
	if (guess <= version + HITS_BEFORE_JUMP)
		return NOT_FAR;
	from->once = false;
	int err = bw_search_newer(&from->versions, version, guess, &root);

	if (!err && root)
		err = publish(h, root);
	if (!err)
		*ret_number = number;
	return err;
}

static bool wants_news_locked(const struct bw_prober *p)
{
	return p->asks || p->watchers || bw_now() < p->follow_until_ns;
}

static bool wants_news(struct bw_prober *p)
{
	BW_LOCK_SCOPE(&p->lock);
	return wants_news_locked(p);
}

/* Who was answered by the version just found fetches what it says now.  The next probe, which mostly finds nothing, lets
 * that go first, unless somebody asks for it or there is something to find. */
static void give_way(struct bw_prober *p)
{
	int64_t until_ns = bw_now() + GIVE_WAY_NS;

	BW_LOCK_SCOPE(&p->lock);
	while (!p->asks && !p->heard && !p->stopping && bw_cond_wait_until(&p->cond, &p->lock, until_ns))
		;
}

/* Nobody asks whether there is a version above the one just found, and it is too early for one. */
static bool is_content(struct bw_prober *p)
{
	BW_LOCK_SCOPE(&p->lock);
	return !p->asks && !p->heard && bw_follow_is_content(&p->follow, bw_now());
}

/*
 * Probes until nothing newer is found or to be expected, or until nobody is left who asks; 0 with the number of the
 * fruitless probe (0: there was none).
 */
static int probe_on(struct bw_head *h, uint64_t *ret_number)
{
	struct source from = {.versions.get = get_version, .head = h, .once = true};

	for (unsigned hits = 0;; hits++) {
		struct bw_root *root = bw_head_root(h), *next = NULL;
		uint64_t version = root->version + 1;

		bw_root_unref(root);
		/* A leap that failed brought nothing; one by one, each version found is kept. */
		int far = hits || h->prober.follow.failed_ns ? NOT_FAR : leap(h, &from, version - 1, ret_number);

		if (far != NOT_FAR)
			return far;
		if (hits == HITS_BEFORE_JUMP)
			return jump(h, &from, version - 1, ret_number);
		int rc = get_version(&from.versions, version, &next);

		if (rc == BW_VERSION_ABSENT) {
			*ret_number = sent_so_far(&h->prober);
			return 0;
		}
		if (rc == BW_VERSION_TOMBSTONE)
			return jump(h, &from, version, ret_number);
		if (rc == BW_VERSION_ROOT)
			rc = publish(h, next);
		if (rc < 0)
			return rc;
		if (!wants_news(&h->prober) || (!hits && is_content(&h->prober)))
			return 0;
		if (!hits)
			give_way(&h->prober);
	}
}

/* ---- Whether the stream is still there ---------------------------------------------------------- */

static enum bw_outcome run_once(void *ctx, struct bw_op *op)
{
	int64_t took_ns;

	op->once = true;	/* as probes are */
	(void)run_op(ctx, op, &took_ns);
	return op->outcome;
}

/*
 * Nothing newer was found.  Where the newest version had not been seen for longer than the pause of who destroys a stream,
 * its name may have been freed meanwhile: then root 1 is gone as well (destroy.h).  Who may not read that, which may lie in an
 * archive, has just been told of what is not there that it is not.  began_ns: bw_boottime() before it was asked for.
 */
static int check_standing(struct bw_head *h, int64_t began_ns)
{
	struct bw_prober *p = &h->prober;
	bool unseen = bw_boottime() - p->seen_ns > BW_DESTROY_UNSEEN_NS;
	enum bw_outcome there = unseen ? bw_ask_for_root_1(&h->stream, run_once, h) : BW_OK;

	if (there == BW_NOT_FOUND)
		return -BW_E_DESTROYED;
	if (there != BW_OK && there != BW_DENIED)
		return there == BW_THROTTLED ? -BW_E_THROTTLED : -BW_E_UNREACHABLE;
	p->seen_ns = began_ns;
	return 0;
}

static uint64_t known_version(struct bw_head *h)
{
	struct bw_root *root = bw_head_root(h);
	uint64_t version = root->version;

	bw_root_unref(root);
	return version;
}

static bool answers_locked(const struct bw_prober *p, uint64_t number)
{
	const struct bw_ask *a = p->asks;

	while (a && !is_due(a, WHY_PROBE, number))
		a = a->next;
	return a;
}

/* From a round whose last probe was that number; what was committed here in the meantime is news as well. */
static void learn_locked(struct bw_prober *p, int err, uint64_t version, uint64_t number)
{
	if (err) {
		bw_follow_failed(&p->follow, bw_now(), err == -BW_E_THROTTLED);
		return;
	}
	bw_follow_found(&p->follow, bw_now(), version - p->version, number, answers_locked(p, number));
	p->version = version;
}

static void round_of_probes(struct bw_head *h)
{
	struct bw_prober *p = &h->prober;
	int64_t began_ns = bw_boottime();
	uint64_t number = 0;

	bw_lock(&p->lock);
	p->heard = false;
	bw_unlock(&p->lock);
	int err = probe_on(h, &number);

	if (!err && number)
		err = check_standing(h, began_ns);
	if (err == -BW_E_DESTROYED)
		bw_head_destroyed(h);
	bw_lock(&p->lock);
	learn_locked(p, err, known_version(h), number);
	bw_unlock(&p->lock);
	if (!err)
		end_asks(h, WHY_PROBE, number, 0);
	/* What cannot change by asking again is said at once. */
	if (err == -BW_E_FORMAT_NEWER || err == -BW_E_DENIED || err == -BW_E_CORRUPT ||
	    err == -BW_E_DESTROYED)
		end_asks(h, WHY_PROBE, sent_so_far(p), err);
}

/* ---- The thread ------------------------------------------------------------------------------- */

static int64_t ask_due(const struct bw_prober *p, const struct bw_ask *a)
{
	if (a->urgent && !p->follow.failed_ns)
		return 0;
	if (a->joins_ns)
		return later(sooner(bw_follow_wait_due(&p->follow), a->joins_ns), p->follow.resume_ns);
	return bw_follow_ask_due(&p->follow);
}

static bool follows_locked(const struct bw_prober *p, int64_t now)
{
	return p->near >= p->version && now < p->follow_until_ns;
}

/* When the next round may begin: at once for the urgent, spaced for the rest. */
static int64_t round_due_locked(struct bw_prober *p, int64_t now)
{
	int64_t due = p->watchers || follows_locked(p, now) ? bw_follow_wait_due(&p->follow) : BW_NEVER;

	if (p->stopping)
		return BW_NEVER;
	if (p->heard && wants_news_locked(p))
		due = sooner(due, p->follow.resume_ns);
	for (const struct bw_ask *a = p->asks; a; a = a->next)
		due = sooner(due, ask_due(p, a));
	return due;
}

static void *run(void *arg)
{
	struct bw_head *h = arg;
	struct bw_prober *p = &h->prober;

	bw_lock(&p->lock);
	while (!p->quit) {
		bw_unlock(&p->lock);
		look_after_asks(h);
		bw_lock(&p->lock);
		int64_t now = bw_now(), due = round_due_locked(p, now);

		if (due <= now) {
			bw_unlock(&p->lock);
			round_of_probes(h);
			bw_lock(&p->lock);
			continue;
		}
		int64_t deadline = next_deadline_locked(p);

		if (!p->nudged && !p->quit)
			bw_cond_wait_until(&p->cond, &p->lock, due < deadline ? due : deadline);
	}
	bw_unlock(&p->lock);
	return NULL;
}

int bw_prober_init(struct bw_head *h, int64_t opened_ns)
{
	struct bw_prober *p = &h->prober;
	uint64_t seed;

	bw_mutex_init(&p->lock, BW_RANK_POLLER);
	bw_cond_init(&p->cond);
	bw_random(&seed, sizeof(seed));
	bw_follow_init(&p->follow, bw_now(), seed);
	p->version = h->root->version;
	p->patience_ns = PATIENCE_MIN_NS;
	p->seen_ns = opened_ns;
	int err = bw_thread_start(&p->thread, "bw-probe", run, h);

	p->started = !err;
	return err;
}

void bw_prober_nudge(struct bw_head *h)
{
	struct bw_prober *p = &h->prober;

	BW_LOCK_SCOPE(&p->lock);
	if (!p->asks)
		return;
	p->nudged = true;
	bw_cond_broadcast(&p->cond);
}

void bw_prober_stop(struct bw_head *h)
{
	struct bw_prober *p = &h->prober;

	BW_LOCK_SCOPE(&p->lock);
	p->stopping = true;
	p->nudged = true;
	bw_cond_broadcast(&p->cond);
}

void bw_prober_done(struct bw_head *h)
{
	struct bw_prober *p = &h->prober;

	bw_lock(&p->lock);
	p->quit = true;
	bw_cond_broadcast(&p->cond);
	bw_unlock(&p->lock);
	if (p->started)
		pthread_join(p->thread, NULL);
	end_asks(h, WHY_ALL, 0, -BW_E_STOPPING);
	bw_cond_done(&p->cond);
	bw_mutex_done(&p->lock);
}

/* ---- Those who ask ---------------------------------------------------------------------------- */

void bw_head_ask(struct bw_head *h, struct bw_ask *a)
{
	struct bw_prober *p = &h->prober;

	BW_LOCK_SCOPE(&p->lock);
	a->asked = p->sent;
	a->joins_ns = a->patient && bw_follow_joins(&p->follow) ? bw_now() + BW_PATIENT_NS : 0;
	a->next = p->asks;
	p->asks = a;
	p->nudged = true;
	bw_cond_broadcast(&p->cond);
}

bool bw_head_ask_cancel(struct bw_head *h, struct bw_ask *a)
{
	struct bw_prober *p = &h->prober;

	BW_LOCK_SCOPE(&p->lock);
	for (struct bw_ask **at = &p->asks; *at; at = &(*at)->next) {
		if (*at == a) {
			*at = a->next;
			return true;
		}
	}
	return false;
}

void bw_head_watch(struct bw_head *h, int delta)
{
	struct bw_prober *p = &h->prober;

	BW_LOCK_SCOPE(&p->lock);
	p->watchers += delta;
	p->nudged = true;
	bw_cond_broadcast(&p->cond);
}

void bw_head_heard(struct bw_head *h)
{
	struct bw_prober *p = &h->prober;

	BW_LOCK_SCOPE(&p->lock);
	p->heard = true;
	if (!wants_news_locked(p))
		return;
	p->nudged = true;
	bw_cond_broadcast(&p->cond);
}

void bw_head_follow(struct bw_head *h)
{
	struct bw_prober *p = &h->prober;
	/* A round under way may have published it and not have ended: it is what comes next that is followed. */
	uint64_t version = known_version(h);

	BW_LOCK_SCOPE(&p->lock);
	bool already = follows_locked(p, bw_now());

	p->follow_until_ns = bw_now() + BW_FOLLOW_NS;
	p->near = version;
	if (already)
		return;
	p->nudged = true;
	bw_cond_broadcast(&p->cond);
}

struct waiter {
	struct bw_ask ask;
	struct bw_latch answered;
	int err;
};

static void wake(struct bw_ask *a, int err)
{
	struct waiter *w = (struct waiter *)a;

	w->err = err;
	bw_latch_open(&w->answered);
}

int bw_head_refresh(struct bw_head *h, int64_t deadline_ns, struct bw_root **ret)
{
	struct waiter w = {.ask = {.done = wake, .until_step = BW_STEPS_MAX,
				   .deadline_ns = deadline_ns, .urgent = true}};

	bw_latch_init(&w.answered);
	bw_head_ask(h, &w.ask);
	bw_latch_wait(&w.answered);
	if (!w.err && ret)
		*ret = bw_head_root(h);
	return w.err;
}
