/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registering producers and taking them (P5): the mkdirs that are commits.
 *
 * The first mkdir of a seq on a mount asks for fresh news, refuses what the news refuse, and only then
 * commits a fence; further mkdirs of the producer meanwhile join the same fence.
 */
#include "fs/names.h"
#include "fs/stage.h"

#include "store/base/clock.h"
#include "store/base/parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* P4: may seq be created now?  0 or why not. */
static int check_seq_locked(struct bw_stage_producer *sp, uint64_t next, uint64_t seq)
{
	struct bw_produce *p = sp->produce;
	struct bw_stage_batch *b = bw_stage_batch_find(sp, seq);

	if (b)
		return b->err && b->state != BW_BATCH_COMMITTED ? b->err : -EEXIST;
	if (seq < next)
		return -EEXIST;
	if (seq > next && !bw_stage_batch_find(sp, seq - 1)) {
		bw_log(p->c.log, BW_LOG_WARN, "seq_gap",
		       "producer=%s seq=%" PRIu64 " next=%" PRIu64
		       " reason=\"the seq before it is neither committed nor staged here\"",
		       sp->name, seq, next);
		return -EINVAL;
	}
	return 0;
}

static int make_batch_locked(struct bw_stage_producer *sp, struct bw_answer *a)
{
	char name[24];
	struct bw_stage_batch *b;

	snprintf(name, sizeof(name), "%" PRIu64, a->seq);
	int err = bw_stage_batch_make(sp, name, a->seq, &b);
	if (!err)
		bw_stage_node_attr(sp->produce, b->dir, &a->attr);
	return err;
}

/* P5: only who holds a producer makes batches, so who has some and does not hold it was fenced meanwhile. */
static bool is_fenced_locked(struct bw_stage_producer *sp, bool held)
{
	if (!held && sp->batches && !sp->lost)
		bw_producer_lose_locked(sp);
	return sp->lost && sp->batches;
}

static void join_take_locked(struct bw_stage_producer *sp, struct bw_answer *a);

/* Lowest seq first, or the gap check would refuse 1 before 0. */
static struct bw_answer *sorted_takers_locked(struct bw_stage_producer *sp)
{
	struct bw_answer *done = NULL;

	for (struct bw_answer *a = sp->takers, *next; a; a = next) {
		struct bw_answer **at = &done;
		next = a->next;
		while (*at && (*at)->seq <= a->seq)
			at = &(*at)->next;
		a->next = *at;
		*at = a;
		bw_waiting_remove(sp->produce->c.waiting, &a->waiter);
	}
	sp->takers = NULL;
	return done;
}

/* Everybody who waits for the producer to be taken is answered: with err, or by what the root says. */
static void answer_takers(struct bw_stage_producer *sp, int err)
{
	struct bw_produce *p = sp->produce;
	struct bw_answer *replies = NULL;
	bool held;

	bw_lock(&p->lock);
	struct bw_answer *all = sorted_takers_locked(sp);
	uint64_t next = bw_producer_next(p, sp->name, &held);

	sp->taking = false;
	if (!err && held)
		sp->lost = false;
	if (!err && is_fenced_locked(sp, held))
		err = -BW_E_FENCED;
	while (all) {
		struct bw_answer *a = all;
		all = a->next;
		a->err = err ? err : check_seq_locked(sp, next, a->seq);
		if (!a->err && !held && !p->stopping) {
			/* It came after the news were judged: nothing was fenced for it. */
			join_take_locked(sp, a);
			continue;
		}
		if (!a->err)
			a->err = held ? make_batch_locked(sp, a) : -ESHUTDOWN;
		a->next = replies;
		replies = a;
	}
	bw_unlock(&p->lock);
	bw_answers_run(replies);
	bw_produce_told(p);
}

static void fence_done(struct bw_commit_item *item, const struct bw_txn_change *result)
{
	struct bw_stage_producer *sp = item->ctx;
	struct bw_produce *p = sp->produce;

	if (!result->err)
		bw_log(p->c.log, BW_LOG_INFO, "taken", "producer=%s epoch=%" PRIu64, sp->name,
		       result->epoch);
	else
		bw_log(p->c.log, BW_LOG_ERROR, "take_failed", "producer=%s errno=%d", sp->name,
		       bw_err_errno(result->err));
	bw_change_done(&item->change);
	answer_takers(sp, result->err);
}

static bool any_taker_may_go(struct bw_stage_producer *sp, uint64_t next)
{
	uint64_t lowest = UINT64_MAX;

	for (struct bw_answer *a = sp->takers; a; a = a->next)
		if (a->seq < lowest && a->seq >= next)
			lowest = a->seq;
	return lowest == next;
}

static void news_arrived(struct bw_ask *ask, int err)
{
	struct bw_stage_producer *sp = bw_container_of(ask, struct bw_stage_producer, ask);
	struct bw_produce *p = sp->produce;
	bool held, go, closed;

	if (err) {
		answer_takers(sp, err);
		return;
	}
	bw_lock(&p->lock);
	uint64_t next = bw_producer_next(p, sp->name, &held);
	struct bw_root *root = bw_head_root(p->c.head);

	go = any_taker_may_go(sp, next) && !is_fenced_locked(sp, held);
	closed = p->closed;
	bw_unlock(&p->lock);
	err = go && root->sealed ? -BW_E_SEALED : 0;
	if (closed)
		err = -BW_E_STOPPING;
	bw_root_unref(root);
	/* Nobody is fenced for a mkdir that is refused anyway. */
	if (err || held || !go) {
		answer_takers(sp, err);
		return;
	}
	memset(&sp->item, 0, sizeof(sp->item));
	sp->item.change.kind = BW_CHANGE_FENCE;
	memcpy(sp->item.change.name, sp->name, sizeof(sp->name));
	memcpy(sp->item.change.owner, p->owner, sizeof(p->owner));
	sp->item.done = fence_done;
	sp->item.ctx = sp;
	bw_committer_push(p->c.committer, &sp->item);
}

static void join_take_locked(struct bw_stage_producer *sp, struct bw_answer *a)
{
	struct bw_produce *p = sp->produce;

	snprintf(a->waiter.what, sizeof(a->waiter.what), "producer=%s seq=%" PRIu64, sp->name, a->seq);
	bw_answer_park(p, a, BW_WAIT_TAKE, NULL, NULL);
	a->next = sp->takers;
	sp->takers = a;
	bw_produce_tick_locked(p);
	if (sp->taking)
		return;
	sp->taking = true;
	p->asking_n++;
	sp->ask = (struct bw_ask){.done = news_arrived,
				  .until_step = BW_STEPS_MAX,
				  .deadline_ns = bw_now() + p->c.options->io_timeout_ns};
	bw_head_ask(p->c.head, &sp->ask);
}

/* By what is known here.  The news may know better: the seqs before it may be committed elsewhere. */
static bool is_gap_locked(const struct bw_stage_producer *sp, uint64_t next, uint64_t seq)
{
	return seq > next && !bw_stage_batch_find(sp, seq - 1);
}

void bw_take_mkdir(struct bw_produce *p, struct bw_stage_node *dir, const char *name, struct bw_answer *a)
{
	int err = bw_decimal_parse(name, &a->seq);

	if (err)
		a->done(a, err);
	else if (p->c.stream->options.max_ahead)
		bw_ahead_mkdir(p, dir->producer, a);
	else
		bw_take_seq(p, dir->producer, a);
}

static bool known_sealed(struct bw_produce *p)
{
	struct bw_root *root = bw_head_root(p->c.head);
	bool sealed = root->sealed;

	bw_root_unref(root);
	return sealed;
}

void bw_take_seq(struct bw_produce *p, struct bw_stage_producer *sp, struct bw_answer *a)
{
	bool held, sealed = known_sealed(p);
	int err = 0;

	bw_lock(&p->lock);
	uint64_t next = bw_producer_next(p, sp->name, &held);

	if (p->stopping)
		err = -ESHUTDOWN;
	else if (is_fenced_locked(sp, held))
		err = -BW_E_FENCED;
	else if (!held || sp->taking || is_gap_locked(sp, next, a->seq)) {
		struct bw_stage_batch *b = bw_stage_batch_find(sp, a->seq);
		err = b ? (b->err && b->state != BW_BATCH_COMMITTED ? b->err : -EEXIST) : 0;
		if (!err) {
			join_take_locked(sp, a);
			bw_unlock(&p->lock);
			return;
		}
	} else {
		err = check_seq_locked(sp, next, a->seq);
	}
	if (!err && sealed)
		err = -BW_E_SEALED;
	if (!err)
		err = make_batch_locked(sp, a);
	bw_unlock(&p->lock);
	a->done(a, err);
}

/* ---- Registration ----------------------------------------------------------------------------- */

struct bw_registration {
	struct bw_commit_item item;
	struct bw_produce *p;
	struct bw_answer *a;		/* NULL when nobody waits any more */
	struct bw_registration *next, **prev;	/* in bw_produce.registrations */
};

bool bw_register_late_locked(struct bw_produce *p, int64_t now, struct bw_answer **late)
{
	bool waits = false;

	for (struct bw_registration *reg = p->registrations; reg; reg = reg->next) {
		struct bw_answer *a = reg->a;
		if (a && a->deadline_ns <= now) {
			reg->a = NULL;
			bw_answer_late_locked(p, a, late);
		}
		waits |= reg->a != NULL;
	}
	return waits;
}

static void list_registration_locked(struct bw_registration *reg)
{
	struct bw_produce *p = reg->p;

	reg->next = p->registrations;
	reg->prev = &p->registrations;
	if (reg->next)
		reg->next->prev = &reg->next;
	p->registrations = reg;
}

static void unlist_registration_locked(struct bw_registration *reg)
{
	*reg->prev = reg->next;
	if (reg->next)
		reg->next->prev = reg->prev;
}

static void registered(struct bw_commit_item *item, const struct bw_txn_change *result)
{
	struct bw_registration *reg = (struct bw_registration *)item;
	struct bw_produce *p = reg->p;
	int err = result->err;

	bw_lock(&p->lock);
	struct bw_answer *a = reg->a;

	unlist_registration_locked(reg);
	if (a)
		bw_waiting_remove(p->c.waiting, &a->waiter);
	struct bw_stage_producer *sp = err ? NULL : bw_producer_make(p, item->change.name);

	if (!err && !sp)
		err = -ENOMEM;
	if (!err && a)
		bw_stage_node_attr(p, sp->dir, &a->attr);
	bw_unlock(&p->lock);
	if (a)
		a->done(a, err);
	bw_change_done(&item->change);
	free(reg);
	bw_produce_told(p);
}

void bw_register_mkdir(struct bw_produce *p, const char *name, struct bw_answer *a)
{
	struct bw_root *root = bw_head_root(p->c.head);
	int err = !bw_name_valid(name) ? -EINVAL : bw_root_producer(root, name) ? -EEXIST : 0;
	struct bw_registration *reg = err ? NULL : calloc(1, sizeof(*reg));

	bw_root_unref(root);
	if (!err && !reg)
		err = -ENOMEM;
	if (!err) {
		BW_LOCK_SCOPE(&p->lock);
		err = p->stopping ? -ESHUTDOWN : 0;
		if (!err) {
			p->asking_n++;
			reg->p = p;
			reg->a = a;
			list_registration_locked(reg);
			snprintf(a->waiter.what, sizeof(a->waiter.what), "producer=%s", name);
			bw_answer_park(p, a, BW_WAIT_TAKE, NULL, NULL);
			bw_produce_tick_locked(p);
		}
	}
	if (err) {
		free(reg);
		a->done(a, err);
		return;
	}
	reg->item.change.kind = BW_CHANGE_REGISTER;
	memcpy(reg->item.change.name, name, strlen(name) + 1);
	reg->item.done = registered;
	bw_committer_push(p->c.committer, &reg->item);
}
