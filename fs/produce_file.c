/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file side of /produce: open, write, and the closes of P1, P3 and P3k.
 *
 * A slice is whole when it has bytes and every handle that may write has ended well: by a flush of the
 * process that opened it (its last descriptor there), or by the release of the last descriptor of all.
 */
#include "fs/errors.h"
#include "fs/names.h"
#include "fs/stage.h"
#include "store/base/clock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Open ------------------------------------------------------------------------------------- */

static bool is_writable(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

static struct bw_stage_handle *handle_new(struct bw_stage_node *n, int flags, pid_t opener)
{
	struct bw_stage_handle *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->node = n;
	h->writable = is_writable(flags);
	h->opener = opener;
	n->opens++;
	if (h->writable) {
		h->next = n->writers;
		n->writers = h;
	}
	return h;
}

/* P3k: the file is written anew; what its writers did before is of no account. */
static void forgive_locked(struct bw_stage_node *n)
{
	n->torn = BW_NOT_TORN;
	for (struct bw_stage_handle *h = n->writers; h; h = h->next)
		h->dirty = h->killed_own = h->killed_last = h->unjudged = false;
}

static int truncate_locked(struct bw_produce *p, struct bw_stage_node *n, uint64_t size)
{
	if (n->sealed)
		return -EROFS;
	int err = bw_spool_truncate_later(n->spool, size, &p->freed);

	if (err)
		n->torn = BW_TORN_WRITE;
	else if (size == 0)
		forgive_locked(n);
	bw_stage_node_touch(n);
	if (n->batch)
		bw_build_recheck_locked(n->batch, n->rank);
	return err;
}

static int check_open(const struct bw_stage_node *n, int flags)
{
	bool write = is_writable(flags) || (flags & O_TRUNC);

	if (n->kind == BW_NODE_TEXT)
		return write ? -EACCES : -EINVAL;
	if (n->kind != BW_NODE_FILE)
		return -EISDIR;
	if (!n->batch)
		return n->spool && !write ? 0 : -ENOENT;	/* unlinked while it is open */
	if (n->batch->state == BW_BATCH_COMMITTED)
		return write ? -EROFS : -ENOENT;
	int err = write ? bw_stage_batch_editable(n->batch) : 0;

	if (err)
		return err;
	if (n->batch->err)
		return n->batch->err;		/* P3e */
	return write && n->sealed ? -EROFS : 0;
}

int bw_produce_open(struct bw_produce *p, uint64_t ino, int flags, pid_t pid,
		    struct bw_stage_handle **ret)
{
	pid_t opener = is_writable(flags) ? bw_closer_tgid(p->c.closer, pid) : 0;

	BW_PRODUCE_SCOPE(p);
	struct bw_stage_node *n = bw_stage_node_find(p, ino);
	int err = n ? check_open(n, flags) : -ENOENT;

	if (!err && (flags & O_TRUNC))
		err = truncate_locked(p, n, 0);
	if (err)
		return err;
	*ret = handle_new(n, flags, opener);
	return *ret ? 0 : -ENOMEM;
}

static int check_create(struct bw_produce *p, struct bw_stage_node *dir, const char *name, int64_t *ret_rank)
{
	uint32_t rank;

	*ret_rank = -1;
	if (!dir)
		return -ENOENT;
	if (dir->kind == BW_NODE_ROOT || dir->kind == BW_NODE_PRODUCER)
		return -EPERM;
	if (!dir->batch)
		return -ENOENT;
	int err = bw_stage_batch_editable(dir->batch);

	if (err || dir->kind != BW_NODE_RANKS)
		return err;
	err = bw_rank_name_parse(name, p->c.stream->options.ranks, &rank);
	if (err)
		return err == -ENOENT ? 0 : err;
	*ret_rank = rank;
	return dir->batch->by_rank[rank] ? -EEXIST : 0;
}

int bw_produce_create(struct bw_produce *p, uint64_t parent, const char *name, int flags, pid_t pid,
		      struct bw_attr *ret_attr, struct bw_stage_handle **ret)
{
	pid_t opener = is_writable(flags) ? bw_closer_tgid(p->c.closer, pid) : 0;
	int64_t rank;

	BW_PRODUCE_SCOPE(p);
	struct bw_stage_node *dir = bw_stage_node_find(p, parent);
	int err = p->stopping ? -ESHUTDOWN : check_create(p, dir, name, &rank);

	if (!err && bw_stage_node_child(p, dir, name))
		err = -EEXIST;
	if (err)
		return err;
	struct bw_spool *spool;

	err = bw_spool_new(p->c.space, &spool);
	if (err)
		return err;
	struct bw_stage_node *n = bw_stage_node_make(p, dir, BW_NODE_FILE, name);
	struct bw_stage_handle *h = n ? handle_new(n, flags, opener) : NULL;

	if (!h) {
		bw_spool_free(spool);
		if (n)
			bw_stage_node_detach(p, n);
		return -ENOMEM;
	}
	n->spool = spool;
	n->rank = rank;
	if (rank >= 0)
		n->batch->by_rank[rank] = n;
	if (dir->kind == BW_NODE_BATCH && strcmp(name, "state") == 0)
		n->batch->state_file = n;
	bw_stage_node_attr(p, n, ret_attr);
	*ret = h;
	return 0;
}

int bw_produce_truncate(struct bw_produce *p, uint64_t ino, struct bw_stage_handle *h, uint64_t size)
{
	BW_PRODUCE_SCOPE(p);
	struct bw_stage_node *n = bw_stage_node_find(p, ino);

	if (!n)
		return -ENOENT;
	if (n->kind != BW_NODE_FILE)
		return n->kind == BW_NODE_TEXT ? -EACCES : -EISDIR;
	int err = n->batch ? bw_stage_batch_editable(n->batch) : 0;

	if (err || !n->spool)
		return err ? err : -EROFS;
	err = truncate_locked(p, n, size);
	if (h && h->writable) {
		h->dirty = true;
		h->closed = false;
	}
	return err;
}

/* ---- Bytes ------------------------------------------------------------------------------------ */

ssize_t bw_produce_read(struct bw_produce *p, struct bw_stage_handle *h, uint64_t off, void *buf,
			size_t len)
{
	(void)p;
	/* A handle that may read keeps its node's bytes, committed or not. */
	return h->node->spool ? bw_spool_read(h->node->spool, off, buf, len) : -ESTALE;
}

static int begin_write(struct bw_produce *p, struct bw_stage_handle *h)
{
	BW_LOCK_SCOPE(&p->lock);
	struct bw_stage_node *n = h->node;
	int err = n->batch ? bw_stage_batch_editable(n->batch) : 0;

	if (!err && (n->sealed || !n->spool))
		err = -EROFS;
	if (!err && !h->writable)
		err = -EBADF;
	if (err)
		return err;
	h->dirty = true;
	h->closed = false;
	h->writing++;
	return 0;
}

/* The limit is ours, not the caller's: to him staging is full. */
static int told(int err)
{
	return err == -EMFILE ? -ENOSPC : err;
}

static void end_write(struct bw_produce *p, struct bw_stage_handle *h, int err)
{
	BW_PRODUCE_SCOPE(p);
	h->writing--;
	bw_stage_node_touch(h->node);
	if (h->node->batch && h->node->rank >= 0) {
		if (bw_spool_broken(h->node->spool))
			bw_build_recheck_locked(h->node->batch, h->node->rank);
		bw_build_nudge_locked(h->node->batch);
	}
	if (!err)
		return;
	h->node->torn = BW_TORN_WRITE;	/* P3k: a slice on which a write failed is not whole */
	if (h->node->batch)
		bw_errors_add(p->c.errors, "producer=%s seq=%" PRIu64 " file=%s errno=%d reason=\"%s\"",
			      h->node->batch->producer->name, h->node->batch->seq, h->node->name, -told(err),
			      err == -EMFILE ? "staged slices have all the open files of the daemon: ulimit -n, "
					       "LimitNOFILE=, or more memory="
					     : "a write failed");
}

/* P3: who writes to what another process has opened may go on when that one has closed it. */
static void note_writer(struct bw_produce *p, struct bw_stage_handle *h, pid_t pid)
{
	if (pid == h->opener || pid == atomic_load_explicit(&h->wrote, memory_order_relaxed))
		return;
	pid_t writer = bw_closer_tgid(p->c.closer, pid);

	if (writer && writer != h->opener)
		atomic_store(&h->writer, writer);
	atomic_store_explicit(&h->wrote, pid, memory_order_relaxed);
}

int bw_produce_write(struct bw_produce *p, struct bw_stage_handle *h, uint64_t off, const void *buf,
		     size_t len, pid_t pid)
{
	note_writer(p, h, pid);
	int err = begin_write(p, h);

	if (err)
		return err;
	err = bw_spool_write(h->node->spool, off, buf, len);
	end_write(p, h, err);
	return told(err);
}

int bw_produce_fallocate(struct bw_produce *p, struct bw_stage_handle *h, int mode, uint64_t off,
			 uint64_t len)
{
	struct bw_spool *s = h->node->spool;
	uint64_t end;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	if (__builtin_add_overflow(off, len, &end))
		return -EFBIG;
	int err = begin_write(p, h);

	if (err)
		return err;
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		err = bw_spool_punch(s, off, len);
	if (!err && !(mode & FALLOC_FL_KEEP_SIZE) && end > bw_spool_size(s))
		err = bw_spool_truncate(s, end);
	end_write(p, h, err);
	return err;
}

/* ---- Close ------------------------------------------------------------------------------------ */

struct flush {
	struct bw_produce *p;
	struct bw_stage_handle *h;
	struct bw_answer *a;
	pid_t writer;		/* who had written last when the look began */
};

static void tear_locked(struct bw_produce *p, struct bw_stage_node *n, enum bw_torn why)
{
	n->torn = why;
	if (!n->batch || why != BW_TORN_KILLED)
		return;
	atomic_fetch_add(&p->c.counters->killed_writers, 1);
	bw_log(p->c.log, BW_LOG_WARN, "writer_killed",
	       "producer=%s seq=%" PRIu64 " file=%s reason=\"its writer died of a signal: it is not whole "
	       "until it is written anew\"",
	       n->batch->producer->name, n->batch->seq, n->name);
	bw_errors_add(p->c.errors, "producer=%s seq=%" PRIu64 " file=%s reason=\"its writer died of a signal\"",
		      n->batch->producer->name, n->batch->seq, n->name);
}

static int note_unjudged_locked(struct bw_produce *p, struct bw_stage_handle *h)
{
	const struct bw_stage_node *n = h->node;

	h->unjudged = true;
	if (!n->batch)
		return -ENOTSUP;
	bw_log(p->c.log, BW_LOG_WARN, "closer_unknown",
	       "producer=%s seq=%" PRIu64 " file=%s reason=\"the closing process cannot be seen from here (another pid namespace, hidepid, or no /proc?): "
	       "nothing is committed; mount with commit=rename\"",
	       n->batch->producer->name, n->batch->seq, n->name);
	bw_errors_add(p->c.errors,
		      "producer=%s seq=%" PRIu64 " file=%s reason=\"who closed it cannot be seen from here: mount with commit=rename\"",
		      n->batch->producer->name, n->batch->seq, n->name);
	return -ENOTSUP;
}

/* P8: what a queued batch of this producer ran into is told once, to who looks: a shell, or a child with the descriptor, does not. */
static int take_deferred_locked(struct bw_stage_node *n)
{
	int err = n->producer ? n->producer->deferred_err : 0;

	if (err)
		n->producer->deferred_err = 0;
	return err;
}

static void finish_release_locked(struct bw_produce *p, struct bw_stage_handle *h);

/*
 * The opener of h has no descriptor of the file left, so what else it had opened has ended as well: those closes counted for nothing as long
 * as there was another, and the releases that end them may come behind this one.
 */
static void close_deferred_locked(struct bw_stage_node *n, const struct bw_stage_handle *h, pid_t writer)
{
	for (struct bw_stage_handle *o = n->writers; o; o = o->next) {
		bool by_others = (o->writer && o->writer != writer) || o->killed_own || o->killed_last || o->unjudged;
		if (o->deferred && o->opener == h->opener && !o->writing && !by_others) {
			o->closed = true;
			o->dirty = false;
		}
	}
}

/*
 * What the closing process turned out to be.  Not final: its time was up, the close is answered; the
 * verdict comes later, and a release that comes before it waits for it.
 */
static void judged(void *ctx, enum bw_closer_verdict verdict, bool final)
{
	struct flush *f = ctx;
	struct bw_produce *p = f->p;
	struct bw_stage_handle *h = f->h;
	struct bw_stage_node *n = h->node;
	struct bw_answer *now = f->a;
	int err = 0;

	bw_lock(&p->lock);
	/* Another process has begun to write meanwhile, whom nobody looked at: it may go on, and the release is never wrong. */
	if (verdict == BW_CLOSER_OWN && atomic_load(&h->writer) != f->writer)
		verdict = BW_CLOSER_DEFER;
	if (final) {
		h->looks--;
		h->killed_last = verdict == BW_CLOSER_KILLED_OWN || verdict == BW_CLOSER_KILLED_OTHER;
		h->deferred |= verdict == BW_CLOSER_DEFER;
		if (verdict == BW_CLOSER_UNKNOWN)
			err = note_unjudged_locked(p, h);
	}
	if (verdict == BW_CLOSER_KILLED_OWN) {
		/* At once: the rewrite that makes it whole again may come before the release. */
		h->killed_own = true;
		if (h->dirty)
			tear_locked(p, n, BW_TORN_KILLED);
		h->dirty = false;
	}
	if (verdict == BW_CLOSER_OWN && now && !h->writing) {
		h->closed = true;
		h->dirty = false;
		close_deferred_locked(n, h, f->writer);
		if (bw_stage_node_counts(n)) {
			bw_stage_batch_settled_locked(n->batch, f->a, &now, &err);
			bw_build_nudge_locked(n->batch);
		}
	}
	if (now && !err && verdict == BW_CLOSER_OWN)
		err = take_deferred_locked(n);
	f->a = NULL;
	if (final && h->released)
		finish_release_locked(p, h);
	bw_produce_unlock(p);
	if (final)
		free(f);
	if (now)
		now->done(now, err);
}

void bw_produce_flush(struct bw_produce *p, struct bw_stage_handle *h, struct bw_answer *a)
{
	char name[NAME_MAX + 1];
	struct flush *f = NULL;
	int err = 0;

	bw_lock(&p->lock);
	struct bw_stage_node *n = h->node;
	/* Those that wrote nothing are judged as well: once closed they are no reason to wait. */
	bool judge = h->writable && n->batch && n->spool && n->batch->state <= BW_BATCH_WHOLE &&
		     p->c.options->commit == BW_COMMIT_CLOSE;

	if (judge) {
		snprintf(name, sizeof(name), "%s", n->name);
		f = malloc(sizeof(*f));
		h->looks += f != NULL;
	} else if (h->writable && h->dirty) {
		err = take_deferred_locked(n);	/* not judged; a shell closes before the program that it starts writes */
	}
	bw_unlock(&p->lock);
	if (f) {
		*f = (struct flush){p, h, a, atomic_load(&h->writer)};
		if (bw_closer_judge(p->c.closer, a->waiter.pid, h->opener, f->writer, name, n->ino, judged, f))
			return;
	}
	if (judge) {
		BW_LOCK_SCOPE(&p->lock);
		h->looks -= f != NULL;
		h->unjudged = true;
		err = -ENOMEM;
	}
	free(f);
	a->done(a, err);
}

void bw_produce_flush_missed(struct bw_produce *p, struct bw_stage_handle *h)
{
	BW_LOCK_SCOPE(&p->lock);
	h->unjudged = true;
}

static void unlink_writer(struct bw_stage_handle *h)
{
	struct bw_stage_handle **at = &h->node->writers;

	while (*at && *at != h)
		at = &(*at)->next;
	if (*at)
		*at = h->next;
}

/*
 * Whether the end of h is to commit.  After a failure it is only where its last close was not the one that did: then somebody has written
 * the slice anew.  With commit=rename nothing becomes whole by it.
 */
static bool may_commit_locked(const struct bw_stage_handle *h)
{
	const struct bw_stage_batch *b = h->node->batch;

	return h->writable && bw_stage_node_counts(h->node) && b->state <= BW_BATCH_WHOLE &&
	       (!b->err || (!h->closed && b->produce->c.options->commit == BW_COMMIT_CLOSE));
}

static void finish_release_locked(struct bw_produce *p, struct bw_stage_handle *h)
{
	struct bw_stage_node *n = h->node;
	bool torn = h->dirty && (h->killed_own || h->killed_last || h->unjudged);
	struct bw_answer *now;
	int err;

	unlink_writer(h);
	n->opens--;
	if (torn && n->batch && p->c.options->commit == BW_COMMIT_CLOSE)
		tear_locked(p, n, h->unjudged ? BW_TORN_UNJUDGED : BW_TORN_KILLED);
	else if (may_commit_locked(h))
		bw_stage_batch_settled_locked(n->batch, NULL, &now, &err);
	if (n->detached || (n->batch && n->batch->state == BW_BATCH_COMMITTED))
		bw_stage_node_drop_bytes(p, n);
	free(h);
	bw_stage_node_settle(p, n);
}

void bw_produce_release(struct bw_produce *p, struct bw_stage_handle *h)
{
	bw_lock(&p->lock);
	h->released = true;
	if (!h->looks)
		finish_release_locked(p, h);
	bw_produce_unlock(p);
}

void bw_produce_fsync(struct bw_produce *p, struct bw_stage_handle *h, struct bw_answer *a)
{
	struct bw_answer *now = a;
	int err;

	bw_lock(&p->lock);
	struct bw_stage_node *n = h->node;

	err = take_deferred_locked(n);
	if (!err && n->batch)
		err = n->batch->err;	/* P3e */
	bool seals = h->writable && bw_stage_node_counts(n) && n->batch->state <= BW_BATCH_WHOLE && bw_stage_node_seals(n);

	if (!err && seals && bw_stage_node_writing(n))
		err = -EBUSY;		/* what becomes whole by this must stand still */
	if (!err && seals) {
		n->sealed = true;
		n->batch->hurry = true;
		bw_stage_batch_settled_locked(n->batch, a, &now, &err);
	}
	bw_produce_unlock(p);
	if (now)
		now->done(now, err);
}

void bw_produce_fsyncdir(struct bw_produce *p, uint64_t ino, struct bw_answer *a)
{
	int err = 0;

	bw_lock(&p->lock);
	struct bw_stage_node *n = bw_stage_node_find(p, ino);

	if (n && n->kind == BW_NODE_PRODUCER) {
		struct bw_stage_producer *sp = n->producer;
		for (struct bw_stage_batch *b = sp->batches; b; b = b->next) {
			if (b->state != BW_BATCH_BUSY)
				continue;
			bw_answer_park(p, a, BW_WAIT_COMMIT, b, NULL);
			a->next = sp->drainers;
			sp->drainers = a;
			bw_committer_hurry(p->c.committer);
			bw_unlock(&p->lock);
			return;
		}
		err = bw_producer_drained_locked(sp);
	} else if (n && n->batch) {
		err = n->batch->err;
	}
	bw_unlock(&p->lock);
	a->done(a, err);
}
