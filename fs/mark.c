/* SPDX-License-Identifier: Apache-2.0 */
/*
 * C1, C2: the changes of jobs and markers.  Each is one commit; what it decides is decided by apply on the newest
 * root, so nothing is checked here but what no root can change: names.
 */
#include "fs/checkpoint_priv.h"

#include "fs/names.h"
#include "store/base/clock.h"
#include "store/base/parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_NS (100 * BW_MS)
#define AFTER_SIGNAL_NS BW_SEC	/* most commits are done by then, and no signal is lost on the rest */

struct bw_mark_change {
	struct bw_commit_item item;
	struct bw_checkpoint *c;
	struct bw_mark *mark;		/* who waits; NULL when nobody does any more */
};

/* ---- Those who wait ---------------------------------------------------------------------------- */

static void unlink_locked(struct bw_mark *m)
{
	*m->prev = m->next;
	if (m->next)
		m->next->prev = m->prev;
}

uint64_t bw_checkpoint_begin(struct bw_checkpoint *c, struct bw_mark *m)
{
	BW_LOCK_SCOPE(&c->lock);
	m->id = ++c->next_id;
	m->next = c->marks;
	m->prev = &c->marks;
	if (m->next)
		m->next->prev = &m->next;
	c->marks = m;
	return m->id;
}

static void finish(struct bw_checkpoint *c, struct bw_mark *m, int err)
{
	bw_lock(&c->lock);
	unlink_locked(m);
	bw_unlock(&c->lock);
	m->done(m, err);
}

void bw_checkpoint_interrupt(struct bw_checkpoint *c, uint64_t id)
{
	int64_t deadline_ns = bw_now() + AFTER_SIGNAL_NS;

	BW_LOCK_SCOPE(&c->lock);
	for (struct bw_mark *m = c->marks; m; m = m->next) {
		if (m->id != id)
			continue;
		m->interrupted = true;
		if (m->deadline_ns > deadline_ns)
			m->deadline_ns = deadline_ns;
		return;
	}
}

static void arm_tick_locked(struct bw_checkpoint *c)
{
	if (c->ticking)
		return;
	c->ticking = true;
	bw_workq_push_at(c->timer, &c->tick, bw_now() + TICK_NS);
}

static struct bw_mark *pop_late(struct bw_checkpoint *c, int64_t now)
{
	BW_LOCK_SCOPE(&c->lock);
	for (struct bw_mark *m = c->marks; m; m = m->next) {
		if (!m->change || m->deadline_ns > now)
			continue;
		m->change->mark = NULL;
		unlink_locked(m);
		bw_waiting_remove(c->c.waiting, &m->waiter);
		return m;
	}
	return NULL;
}

void bw_checkpoint_run_tick(struct bw_task *task)
{
	struct bw_checkpoint *c = bw_container_of(task, struct bw_checkpoint, tick);
	int64_t now = bw_now();

	for (struct bw_mark *m; (m = pop_late(c, now));)
		m->done(m, m->interrupted ? -EINTR : -ETIMEDOUT);
	BW_LOCK_SCOPE(&c->lock);
	c->ticking = false;
	if (c->busy_n && !bw_workq_stopping(c->timer))
		arm_tick_locked(c);
}

void bw_checkpoint_stop(struct bw_checkpoint *c)
{
	BW_LOCK_SCOPE(&c->lock);
	c->stopping = true;
}

void bw_checkpoint_drain(struct bw_checkpoint *c, int64_t deadline_ns)
{
	BW_LOCK_SCOPE(&c->lock);
	while (c->busy_n && bw_cond_wait_until(&c->idle, &c->lock, deadline_ns))
		;
}

/* ---- One change -------------------------------------------------------------------------------- */

static const char *verb(const struct bw_change *change)
{
	switch (change->kind) {
	case BW_CHANGE_JOB:
		return "job_registered";
	case BW_CHANGE_UNJOB:
		return "job_withdrawn";
	case BW_CHANGE_UNMARK:
		return "marker_withdrawn";
	default:
		return "marker_set";
	}
}

/* What a user asked for and cannot have is told by errno alone; bash looks at that of an open, not of a close. */
static bool is_refusal(const struct bw_change *change, int err)
{
	return !change->text && (err == -EINVAL || err == -ENOENT || err == -ENOTEMPTY ||
				 err == -BW_E_RECLAIMED || err == -BW_E_LIMIT);
}

static void note(struct bw_checkpoint *c, const struct bw_change *change, const struct bw_txn_change *result)
{
	char what[BW_NAME_MAX + 48], text[128];
	bool marker = change->kind == BW_CHANGE_MARK || change->kind == BW_CHANGE_UNMARK;

	snprintf(what, sizeof(what), marker ? "job=%s step=%" PRIu64 : "job=%s", change->name, change->step);
	if (!result->err) {
		bw_log(c->c.log, BW_LOG_INFO, verb(change), "%s version=%" PRIu64, what, result->version);
		return;
	}
	const char *why = bw_err_text(result->err, text, sizeof(text));
	bool refused = is_refusal(change, result->err);

	bw_log(c->c.log, refused ? BW_LOG_INFO : BW_LOG_ERROR, "checkpoint_failed", "%s errno=%d reason=\"%s\"", what,
	       bw_err_errno(result->err), why);
	if (!refused)
		bw_errors_add(c->c.errors, "%s errno=%d reason=\"%s\"", what, bw_err_errno(result->err), why);
}

/* What has been made is gone again when somebody else was as fast: then it is as it was made. */
static void fill_made(struct bw_checkpoint *c, const struct bw_change *change, struct bw_mark_node *ret)
{
	char step[24];

	if (change->kind == BW_CHANGE_JOB) {
		if (bw_checkpoint_lookup(c, BW_CHECKPOINT_INO, change->name, ret))
			*ret = (struct bw_mark_node){.ino = 0};
		return;
	}
	snprintf(step, sizeof(step), "%" PRIu64, change->step);
	if (bw_checkpoint_lookup(c, BW_CHECKPOINT_INO, change->name, ret) ||
	    bw_checkpoint_lookup(c, ret->ino, step, ret))
		*ret = (struct bw_mark_node){.ino = 0};
}

static void settled(struct bw_commit_item *item, const struct bw_txn_change *result)
{
	struct bw_mark_change *change = (struct bw_mark_change *)item;
	struct bw_checkpoint *c = change->c;
	/* A text of what was withdrawn meanwhile: nobody is told of it, and nobody asks. */
	bool moot = item->change.only_there && result->err == -ENOENT;
	int err = moot ? 0 : result->err;

	if (!moot)
		note(c, &item->change, result);
	bw_lock(&c->lock);
	struct bw_mark *m = change->mark;

	if (m) {
		unlink_locked(m);
		bw_waiting_remove(c->c.waiting, &m->waiter);
	}
	bw_unlock(&c->lock);
	if (m) {
		bool makes = item->change.kind == BW_CHANGE_JOB ||
			     (item->change.kind == BW_CHANGE_MARK && !item->change.text);
		if (!err && makes)
			fill_made(c, &item->change, &m->node);
		if (!err && makes && !m->node.ino)
			err = -ESTALE;	/* withdrawn in the same moment: who asks again finds out */
		m->done(m, err);
	}
	bw_change_done(&item->change);
	free(change);
	BW_LOCK_SCOPE(&c->lock);
	c->busy_n--;
	bw_cond_broadcast(&c->idle);
}

static int park(struct bw_checkpoint *c, struct bw_mark *m, struct bw_mark_change *change)
{
	BW_LOCK_SCOPE(&c->lock);
	if (c->stopping)
		return -BW_E_STOPPING;
	if (m->interrupted)
		return -EINTR;
	m->waiter.reason = BW_WAIT_MARK;
	m->deadline_ns = bw_now() + c->c.commit_timeout_ns;
	m->change = change;
	change->mark = m;
	c->busy_n++;
	bw_waiting_add(c->c.waiting, &m->waiter);
	arm_tick_locked(c);
	return 0;
}

/* job is copied, as is text, which may be NULL; a text is that of a marker which is there. */
static void start(struct bw_checkpoint *c, struct bw_mark *m, enum bw_change_kind kind, const char *job,
		  uint64_t step, const char *text)
{
	struct bw_mark_change *change = calloc(1, sizeof(*change));
	int err = change ? 0 : -ENOMEM;

	if (change) {
		change->c = c;
		change->item.done = settled;
		change->item.change.kind = kind;
		change->item.change.step = step;
		change->item.change.only_there = text;
		snprintf(change->item.change.name, sizeof(change->item.change.name), "%s", job);
		change->item.change.text = text ? strdup(text) : NULL;
		if (text && !change->item.change.text)
			err = -ENOMEM;
	}
	if (kind == BW_CHANGE_MARK || kind == BW_CHANGE_UNMARK)
		snprintf(m->waiter.what, sizeof(m->waiter.what), "job=%s step=%" PRIu64, job, step);
	else
		snprintf(m->waiter.what, sizeof(m->waiter.what), "job=%s", job);
	if (!err)
		err = park(c, m, change);
	if (!err) {
		bw_committer_push(c->c.committer, &change->item);
		return;
	}
	if (change)
		bw_change_done(&change->item.change);
	free(change);
	finish(c, m, err);
}

/* ---- For callers ------------------------------------------------------------------------------- */

/* The job whose directory ino is. */
static int job_of(struct bw_checkpoint *c, uint64_t ino, char job[BW_NAME_MAX + 1])
{
	uint32_t number;
	uint64_t step;

	if (!bw_is_job_ino(ino))
		return -EPERM;
	if (bw_job_ino_split(ino, &number, &step))
		return -ENOTDIR;
	BW_LOCK_SCOPE(&c->lock);
	const char *name = bw_checkpoint_job_locked(c, number);

	if (name)
		memcpy(job, name, BW_NAME_MAX + 1);
	return name ? 0 : -ENOENT;
}

void bw_checkpoint_mkdir(struct bw_checkpoint *c, struct bw_mark *m, uint64_t parent, const char *name)
{
	struct bw_mark_node node;
	int err = parent != BW_CHECKPOINT_INO ? -EPERM : bw_name_valid(name) ? 0 : -EINVAL;

	if (!err && bw_checkpoint_lookup(c, parent, name, &node) == 0)
		err = -EEXIST;
	if (err)
		finish(c, m, err);
	else
		start(c, m, BW_CHANGE_JOB, name, 0, NULL);
}

void bw_checkpoint_create(struct bw_checkpoint *c, struct bw_mark *m, uint64_t parent, const char *name,
			  bool exclusive)
{
	char job[BW_NAME_MAX + 1];
	uint64_t step = 0;
	int err = job_of(c, parent, job);

	if (!err)
		err = bw_decimal_parse(name, &step);
	if (!err && step >= BW_STEPS_MAX)
		err = -EINVAL;		/* beyond every head */
	if (!err && bw_checkpoint_lookup(c, parent, name, &m->node) == 0) {
		/* Somebody else's, since the kernel looked: its text stays. */
		finish(c, m, exclusive ? -EEXIST : 0);
		return;
	}
	if (err)
		finish(c, m, err);
	else
		start(c, m, BW_CHANGE_MARK, job, step, NULL);
}

void bw_checkpoint_set_text(struct bw_checkpoint *c, struct bw_mark *m, uint64_t ino, const char *text)
{
	char before[BW_MARKER_TEXT_MAX + 1];
	struct bw_mark_node node;
	int err = bw_checkpoint_node(c, ino, &node);

	if (!err)
		err = bw_checkpoint_text(c, ino, before);
	if (err || strcmp(before, text) == 0)
		finish(c, m, err == -ENOENT ? 0 : err);
	else
		start(c, m, BW_CHANGE_MARK, node.job, node.step, text);
}

void bw_checkpoint_unlink(struct bw_checkpoint *c, struct bw_mark *m, uint64_t parent, const char *name)
{
	char job[BW_NAME_MAX + 1];
	uint64_t step = 0;
	int err = parent == BW_CHECKPOINT_INO ? -EISDIR : job_of(c, parent, job);

	if (!err && bw_decimal_parse(name, &step))
		err = -ENOENT;
	if (err)
		finish(c, m, err);
	else
		start(c, m, BW_CHANGE_UNMARK, job, step, NULL);
}

void bw_checkpoint_rmdir(struct bw_checkpoint *c, struct bw_mark *m, uint64_t parent, const char *name)
{
	int err = parent != BW_CHECKPOINT_INO ? -ENOTDIR : bw_name_valid(name) ? 0 : -ENOENT;

	if (err)
		finish(c, m, err);
	else
		start(c, m, BW_CHANGE_UNJOB, name, 0, NULL);
}
