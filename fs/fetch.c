/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/fetch.h"

#include <inttypes.h>
#include <stdio.h>

/* A fetch ahead that takes longer is of no use, and must not hold up the end of the mount. */
#define PREFETCH_TIMEOUT_NS (10 * BW_SEC)
#define CANCEL_AGAIN_NS (100 * BW_MS)

void bw_fetcher_init(struct bw_fetcher *by)
{
	bw_mutex_init(&by->lock, BW_RANK_LEAF);
	bw_cond_init(&by->idle);
	bw_fold_init(&by->fold);
	by->busy = 0;
	by->sent = NULL;
	by->stopping = false;
}

void bw_fetcher_done(struct bw_fetcher *by)
{
	bw_fold_done(&by->fold);
	bw_cond_done(&by->idle);
	bw_mutex_done(&by->lock);
}

void bw_fetcher_enter(struct bw_fetcher *by)
{
	BW_LOCK_SCOPE(&by->lock);
	by->busy++;
}

bool bw_fetcher_try_enter(struct bw_fetcher *by)
{
	BW_LOCK_SCOPE(&by->lock);
	by->busy += !by->stopping;
	return !by->stopping;
}

void bw_fetcher_leave(struct bw_fetcher *by)
{
	BW_LOCK_SCOPE(&by->lock);
	if (--by->busy == 0)
		bw_cond_broadcast(&by->idle);
}

bool bw_fetcher_stopping(struct bw_fetcher *by)
{
	BW_LOCK_SCOPE(&by->lock);
	return by->stopping;
}

static struct bw_fetch *fetch_of(struct bw_task *task)
{
	return bw_container_of(task, struct bw_fetch, task);
}

static void judge_later(struct bw_fetch *f, void (*run)(struct bw_task *task))
{
	f->task.run = run;
	f->task.prio = atomic_load(&f->demanded) ? BW_PRIO_DEMAND : f->prio;
	bw_workq_push(f->by->pool, &f->task);
}

static void finish(struct bw_fetch *f, int err)
{
	struct bw_fetcher *by = f->by;

	bw_op_done(&f->op);
	f->done(f, err);
	bw_fetcher_leave(by);
}

static void judge(struct bw_task *task);

static void unlink_locked(struct bw_fetch *f)
{
	*(f->prev ? &f->prev->next : &f->by->sent) = f->next;
	if (f->next)
		f->next->prev = f->prev;
}

static void arrived(struct bw_op *op)
{
	struct bw_fetch *f = op->ctx;

	bw_lock(&f->by->lock);
	bool held = f->held;
	f->has_arrived = true;
	if (!held)
		unlink_locked(f);
	bw_unlock(&f->by->lock);
	if (held)
		return;
	if (f->by->here)
		judge(&f->task);
	else
		judge_later(f, judge);
}

static int64_t patience(const struct bw_fetch *f)
{
	int64_t most = f->by->io_timeout_ns;

	return f->patience_ns && f->patience_ns < most ? f->patience_ns : most;
}

/* Of the time of a reader who joins a fetch ahead half is left at least when that has failed. */
static int64_t patience_ahead(const struct bw_fetch *f)
{
	int64_t most = patience(f) / 2;

	return most < PREFETCH_TIMEOUT_NS ? most : PREFETCH_TIMEOUT_NS;
}

static void set_deadline(struct bw_fetch *f)
{
	int64_t joined_ns = atomic_load(&f->demanded_ns);

	if (f->prio == BW_PRIO_PREFETCH)
		f->deadline_ns = bw_now() + patience_ahead(f);
	else
		f->deadline_ns = (joined_ns ? joined_ns : bw_now()) + patience(f);
}

void bw_fetch_demand(struct bw_fetch *f)
{
	int_fast64_t never = 0;

	atomic_compare_exchange_strong(&f->demanded_ns, &never, bw_now());
	atomic_store(&f->demanded, true);
}

static void send(struct bw_fetch *f)
{
	const struct bw_entry *e = &f->entry;
	char key[BW_KEY_MAX + 1];

	bw_key_data(f->by->stream, e->producer, e->epoch, e->seq, e->nonce, key);
	bw_op_get(&f->op, key, f->offset, f->length);
	f->op.cut = f->cut;
	f->op.prio = f->prio;
	f->op.deadline_ns = f->deadline_ns;
	f->op.done = arrived;
	f->op.ctx = f;
	bw_lock(&f->by->lock);
	f->has_arrived = false;
	f->cancels = 0;
	f->prev = NULL;
	f->next = f->by->sent;
	if (f->next)
		f->next->prev = f;
	f->by->sent = f;
	if (f->by->stopping)
		f->op.deadline_ns = 0;
	bw_unlock(&f->by->lock);
	bw_store_submit(f->by->store, &f->op);
}

/* ---- The disk first --------------------------------------------------------------------------- */

/* V6: what is reclaimed is not served because it happens to lie here; the store says what is the matter. */
static bool is_reclaimed(const struct bw_fetch *f)
{
	struct bw_root *root = bw_head_root(f->by->head);
	bool below = f->entry.step < root->first;

	bw_root_unref(root);
	return below;
}

static void disk_came(struct bw_disk_get *get, struct bw_blob *bytes)
{
	struct bw_fetch *f = bw_container_of(get, struct bw_fetch, disk);
	char why[192];

	f->from_disk = true;
	int err = bytes ? f->check(f, bytes, why, sizeof(why)) : -ENOENT;
	bw_blob_unref(bytes);
	if (!err) {
		finish(f, 0);
		return;
	}
	if (err == -BW_E_CORRUPT)
		bw_disk_forget(f->by->disk, get->step, get->number);
	f->from_disk = false;
	set_deadline(f);
	send(f);
}

static bool ask_disk(struct bw_fetch *f)
{
	if (f->once || f->again || !bw_disk_has(f->by->disk, f->entry.step, f->number) || is_reclaimed(f))
		return false;
	f->disk = (struct bw_disk_get){
		.step = f->entry.step,
		.number = f->number,
		.len = (uint32_t)f->length,
		.prio = f->prio,
		.done = disk_came,
	};
	return bw_disk_get(f->by->disk, &f->disk);
}

void bw_fetch_start(struct bw_fetch *f)
{
	bw_fetcher_enter(f->by);
	if (ask_disk(f))
		return;
	set_deadline(f);
	send(f);
}

/* One that fails again and again is told of once, until it did not for a minute: how often is said with who got the error. */
static bool is_news(struct bw_fetch *f, uint32_t part, int err)
{
	const struct bw_failure failed = {.step = f->entry.step, .part = part, .err = err};
	struct bw_failure over;

	while (bw_fold_due(&f->by->fold, bw_now(), &over))
		;
	return bw_fold_first(&f->by->fold, &failed, bw_now(), &over);
}

/* ---- An object that is not there -------------------------------------------------------------- */

/* For all its blocks. */
static void judge_missing(struct bw_task *task)
{
	struct bw_fetch *f = fetch_of(task);
	int err = f->ask_err;

	if (!err) {
		struct bw_root *root = bw_head_root(f->by->head);
		err = f->entry.step < root->first ? -BW_E_RECLAIMED : -BW_E_CORRUPT;
		if (err == -BW_E_CORRUPT && is_news(f, 0, -ENOENT))
			bw_log(f->by->log, BW_LOG_ERROR, "object_missing",
			       "object=%s step=%" PRIu64 " first=%" PRIu64 " version=%" PRIu64,
			       f->op.key, f->entry.step, root->first, root->version);
		bw_root_unref(root);
	}
	finish(f, err);
}

static void asked(struct bw_ask *ask, int err)
{
	struct bw_fetch *f = bw_container_of(ask, struct bw_fetch, ask);

	f->ask_err = err;
	judge_later(f, judge_missing);
}

static void ask(struct bw_fetch *f)
{
	f->ask = (struct bw_ask){
		.done = asked,
		.until_step = BW_STEPS_MAX,
		.deadline_ns = bw_now() + patience(f),
	};
	bw_head_ask(f->by->head, &f->ask);
}

/* ---- An object that is ------------------------------------------------------------------------ */

static int verify(struct bw_fetch *f, char *why, size_t why_len)
{
	int err = f->check(f, f->op.blob, why, why_len);

	if (err == -BW_E_CORRUPT)
		atomic_fetch_add(&f->by->counters->checksum_failures, 1);
	return err;
}

static int verdict(struct bw_fetch *f, char *why, size_t why_len)
{
	switch (f->op.outcome) {
	case BW_OK:
		return verify(f, why, why_len);
	case BW_CORRUPT:
		snprintf(why, why_len, "got=\"another length: %s\" wanted=%" PRIu64, f->op.detail,
			 f->length);
		return -BW_E_CORRUPT;
	case BW_DENIED:
		return -BW_E_DENIED;
	default:
		return f->op.err == -ENOMEM ? -ENOMEM : -BW_E_UNREACHABLE;
	}
}

bool bw_fetch_joined(struct bw_fetch *f, int err)
{
	if (err != -BW_E_UNREACHABLE || f->prio != BW_PRIO_PREFETCH || !atomic_load(&f->demanded))
		return false;
	f->prio = BW_PRIO_DEMAND;
	return true;
}

/* Whether what went wrong may go better: then f is under way again. */
static bool try_again(struct bw_fetch *f, int err)
{
	if (f->once || bw_fetcher_stopping(f->by))
		return false;
	if (err == -BW_E_CORRUPT && f->again < BW_FETCH_AGAIN) {
		f->again++;
	} else if (bw_fetch_joined(f, err)) {
		set_deadline(f);
	} else {
		return false;
	}
	bw_op_done(&f->op);
	send(f);
	return true;
}

static void tell(struct bw_fetch *f, int err, const char *why)
{
	bool quiet = f->once || (err != -BW_E_CORRUPT && !atomic_load(&f->demanded));
	char text[64];

	if (!quiet && !is_news(f, f->number, err))
		return;
	if (err == -BW_E_CORRUPT && !quiet)
		bw_log(f->by->log, BW_LOG_ERROR, "checksum", "object=%s step=%" PRIu64 " %s", f->op.key,
		       f->entry.step, why);
	else
		bw_log(f->by->log, quiet ? BW_LOG_DEBUG : BW_LOG_WARN, "get_failed",
		       "object=%s step=%" PRIu64 " outcome=%s detail=\"%s\" err=\"%s\"", f->op.key,
		       f->entry.step, bw_outcome_name(f->op.outcome), f->op.detail,
		       bw_err_text(err, text, sizeof(text)));
}

static void judge(struct bw_task *task)
{
	struct bw_fetch *f = fetch_of(task);
	char why[BW_DETAIL_MAX + 128];

	why[0] = 0;
	if (f->op.outcome == BW_NOT_FOUND) {
		ask(f);
		return;
	}
	int err = verdict(f, why, sizeof(why));

	if (err && try_again(f, err))
		return;
	if (err)
		tell(f, err, why);
	finish(f, err);
}

/* ---- The end ---------------------------------------------------------------------------------- */

static struct bw_fetch *hold_next(struct bw_fetcher *by, unsigned round)
{
	BW_LOCK_SCOPE(&by->lock);
	struct bw_fetch *f = by->sent;

	while (f && f->cancels >= round)
		f = f->next;
	if (f) {
		f->cancels = round;
		f->held = true;
	}
	return f;
}

static void let_go(struct bw_fetch *f)
{
	bw_lock(&f->by->lock);
	bool has_arrived = f->has_arrived;
	f->held = false;
	if (has_arrived)
		unlink_locked(f);
	bw_unlock(&f->by->lock);
	if (has_arrived)
		judge_later(f, judge);
}

/* One that was just being handed to the store does not hear of it: hence by rounds. */
void bw_fetcher_stop(struct bw_fetcher *by)
{
	struct bw_fetch *f;
	bool busy = true;

	bw_lock(&by->lock);
	by->stopping = true;
	bw_unlock(&by->lock);
	for (unsigned round = 1; busy; round++) {
		while ((f = hold_next(by, round))) {
			bw_store_cancel(by->store, &f->op);
			let_go(f);
		}
		int64_t until_ns = bw_now() + CANCEL_AGAIN_NS;
		BW_LOCK_SCOPE(&by->lock);
		while (by->busy && bw_cond_wait_until(&by->idle, &by->lock, until_ns))
			;
		busy = by->busy;
	}
}
