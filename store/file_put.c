/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts: a temporary file, its bytes, fsync, then its name, then fsync of the directory.  An early one has its first
 * bytes in the temporary file before the put is asked for, a prepared one all of them, on disk; their tasks run one
 * after the other.
 *
 * Where nobody goes by the name before the put is acknowledged (sole), it is given first and both fsyncs run at the
 * same time: they share what the journal writes and the disk flushes, which takes two thirds of the time.
 */
#include "store/file_priv.h"

#include "store/base/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PIECE (1u << 20)
#define WAY_TRIES 100

struct temp {
	int dir, fd;
	bool synced;		/* all of the body is on disk */
	char name[NAME_MAX + 1];
};

static int temp_open(struct file_root *r, const char *key, struct temp *t)
{
	t->dir = file_tmp_dir(r);
	if (t->dir < 0)
		return t->dir;
	do {
		file_tmp_name(key, t->name);
		t->fd = openat(t->dir, t->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			       0644);
		if (t->fd < 0 && errno == ENAMETOOLONG && *key) {
			key = "";	/* a file system with shorter names than most */
			errno = EEXIST;
		}
	} while (t->fd < 0 && errno == EEXIST);
	return t->fd < 0 ? -errno : 0;
}

static bool is_aborted(const struct temp *t)
{
	struct stat st;

	return fstat(t->fd, &st) == 0 && st.st_nlink == 0;
}

static void temp_done(struct temp *t)
{
	if (t->fd >= 0) {
		unlinkat(t->dir, t->name, 0);	/* a plain put has renamed it away */
		close(t->fd);
	}
	if (t->dir >= 0)
		close(t->dir);
}

static int write_piece(struct bw_op *op, int fd, uint64_t at, uint8_t *buf, size_t *len)
{
	struct bw_lent piece;
	int err = bw_body_lend(op->body, at, buf, *len, &piece);

	if (err) {
		file_say(op, "body", err);
		op->outcome = BW_UNREACHABLE;
		return err;
	}
	err = bw_write_all(fd, piece.bytes, piece.len);
	if (err)
		file_fail(op, "write", err);
	*len = piece.len;
	bw_blob_unref(piece.hold);
	return err;
}

static bool is_sole(const struct bw_op *op)
{
	return op->sole && op->if_absent;
}

/* The body from at on, and all of it on disk unless it is a sole one.  False: the op has its outcome. */
static bool write_body(struct bw_op *op, const struct temp *t, uint64_t at)
{
	uint64_t size = op->body->size;
	uint8_t *buf = malloc(size < PIECE ? size + 1 : PIECE);
	int err = 0;

	if (!buf) {
		file_fail(op, "memory", -ENOMEM);
		return false;
	}
	while (!err && at < size) {
		size_t len = size - at < PIECE ? size - at : PIECE;
		err = file_is_late(op) ? -ECANCELED : write_piece(op, t->fd, at, buf, &len);
		at += len;
	}
	free(buf);
	if (err)
		return false;
	err = is_sole(op) || t->synced ? 0 : file_sync(t->fd);
	if (err)
		file_fail(op, "fsync", err);
	return !err;
}

/* ---- The two fsyncs of a sole put ----------------------------------------------------------- */

struct dir_sync {
	struct bw_task task;
	struct bw_latch over;
	int fd, err;
};

static void run_dir_sync(struct bw_task *task)
{
	struct dir_sync *d = bw_container_of(task, struct dir_sync, task);

	d->err = file_sync(d->fd);
	bw_latch_open(&d->over);
}

/* That of the directory on another thread, unless none takes it up before the file's is over. */
static int sync_both(struct file_store *f, int fd, int dir, int *ret_dir_err)
{
	struct dir_sync d = {.task = {.run = run_dir_sync}, .fd = dir};

	bw_latch_init(&d.over);
	bw_workq_push(f->q, &d.task);
	int err = file_sync(fd);

	if (bw_workq_cancel(f->q, &d.task))
		run_dir_sync(&d.task);
	bw_latch_wait(&d.over);
	*ret_dir_err = d.err;
	return err;
}

/*
 * The bytes may not be on disk, and once an fsync has said so no later one says it again.  So the name goes, or no
 * second try may find it there and take it for good.
 */
static void take_back(struct bw_op *op, int parent, const char *base, int err)
{
	file_fail(op, "fsync", err);
	if (unlinkat(parent, base, 0) != 0 && errno != ENOENT)
		op->outcome = BW_DENIED;
}

/* EXISTS: an earlier try of this put got the name and was not sure of it. */
static int sync_earlier(struct file_store *f, int parent, const char *base, int *ret_dir_err)
{
	auto_fd fd = openat(parent, base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	*ret_dir_err = 0;
	return fd < 0 ? -errno : sync_both(f, fd, parent, ret_dir_err);
}

/* After link(2): file and name are on disk, or the op has its outcome.  What is left is an error of the directory. */
static int settle_sole(struct file_store *f, struct bw_op *op, const struct temp *t, int parent, const char *base)
{
	bool ours = op->outcome == BW_OK;
	int dir_err, err = ours ? sync_both(f, t->fd, parent, &dir_err) : sync_earlier(f, parent, base, &dir_err);

	if (!err)
		return dir_err;
	if (ours) {
		take_back(op, parent, base, err);
	} else {
		file_say(op, "fsync", err);
		op->outcome = BW_UNREACHABLE;
	}
	return 0;
}

/* The name is taken: by us, if a network file system lost the answer to a first link. */
static void name_taken(struct bw_op *op, const struct temp *t, int parent, const char *base)
{
	struct stat st;

	if (fstat(t->fd, &st) == 0 && st.st_nlink > 1) {
		op->outcome = BW_OK;
		return;
	}
	if (fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode)) {
		file_fail(op, "link", -EISDIR);
		return;
	}
	op->outcome = BW_EXISTS;
}

/*
 * Puts the file in its place.  OK and EXISTS are said only once the name is on disk.  -ENOENT: the
 * directory was removed meanwhile, nothing was applied; else 0, and the op has its outcome.
 */
static int publish(struct file_store *f, struct bw_op *op, const struct temp *t, int parent, const char *base)
{
	int err = op->if_absent ? linkat(t->dir, t->name, parent, base, 0)
				: renameat(t->dir, t->name, parent, base);

	err = err ? -errno : 0;
	if (err == -ENOENT)
		return err;
	if (!err)
		op->outcome = BW_OK;
	else if (err == -EEXIST && op->if_absent)
		name_taken(op, t, parent, base);
	else
		file_change_failed(op, op->if_absent ? "link" : "rename", err == -EEXIST ? -EISDIR : err);
	if (op->outcome != BW_OK && op->outcome != BW_EXISTS)
		return 0;

	bool ours = op->outcome == BW_OK;
	err = is_sole(op) ? settle_sole(f, op, t, parent, base) : file_sync(parent);
	if (err) {
		file_say(op, "fsync of the directory", err);
		op->outcome = ours ? BW_UNKNOWN : BW_UNREACHABLE;
	}
	return 0;
}

/* A delete beside us removes the directories it leaves empty: the way may have to be made again. */
static void find_place(struct file_store *f, struct file_root *r, struct bw_op *op,
		       const struct temp *t)
{
	int err = -ENOENT;

	for (int tries = 0; err == -ENOENT && tries < WAY_TRIES; tries++) {
		auto_fd parent = -1;
		const char *base;
		if (file_is_late(op))
			return;
		err = file_parent(r, op->key, true, &parent, &base);
		if (!err)
			err = publish(f, op, t, parent, base);
		if (err == -ENOENT && (file_root_check(f, r) != 0 || is_aborted(t)))
			break;
	}
	if (err)
		file_fail(op, "directory", err);
}

static void put_temp(struct file_store *f, struct file_root *r, struct bw_op *op, struct temp *t, uint64_t written)
{
	if (!write_body(op, t, written))
		return;
	find_place(f, r, op, t);
	int err = file_root_check(f, r);

	if (err && op->outcome == BW_OK) {
		file_say(op, "store directory", err);
		op->outcome = BW_UNKNOWN;
	} else if (err && op->outcome != BW_UNKNOWN && op->outcome != BW_CANCELLED) {
		file_gone(op, err);
	}
}

void file_put(struct file_store *f, struct file_root *r, struct bw_op *op)
{
	struct temp t = {.dir = -1, .fd = -1};

	file_anchor_make(r);
	int err = temp_open(r, op->key, &t);

	if (err)
		file_fail(op, "temporary file", err);
	else
		put_temp(f, r, op, &t, 0);
	temp_done(&t);
}

/* ---- Early and prepared puts ---------------------------------------------------------------- */

struct file_early {
	struct bw_early early;
	struct file_store *f;
	struct bw_body *body;	/* borrowed until released() */
	char key[BW_KEY_MAX + 1];
	void (*released)(void *ctx);
	void *ctx;
	bool prepare;		/* the body is all there: it is synced as well */
	struct bw_task task;
	/* Of the task, which is queued or runs once at a time. */
	struct file_root *r;	/* owned reference; NULL: not begun */
	struct temp t;
	uint64_t written;
	bool failed;		/* nothing is kept of it: the put writes all */
	/* Under lock. */
	struct bw_mutex lock;
	uint64_t upto;
	bool active, dropped;
	struct bw_op *put;
};

static void early_forget(struct file_early *e)
{
	temp_done(&e->t);
	e->t = (struct temp){.dir = -1, .fd = -1};
	e->failed = true;
}

static int early_begin(struct file_early *e)
{
	int err = file_root_get(e->f, &e->r);

	if (err)
		return err;
	file_anchor_make(e->r);
	return temp_open(e->r, e->key, &e->t);
}

/* The next piece.  What goes wrong here is not told: the put will run into it, or it will not. */
static void early_write(struct file_early *e, uint64_t upto)
{
	uint64_t from = e->written;
	size_t len = upto - from < PIECE ? (size_t)(upto - from) : PIECE;
	uint8_t *buf = malloc(len ? len : 1);
	struct bw_lent piece = {.len = 0};
	int err = buf ? 0 : -ENOMEM;

	if (!err && !e->r)
		err = early_begin(e);
	if (!err && len)
		err = bw_body_lend(e->body, from, buf, len, &piece);
	if (!err && len) {
		err = bw_write_all(e->t.fd, piece.bytes, piece.len);
		e->written += piece.len;
		bw_blob_unref(piece.hold);
	}
	free(buf);
	bool syncs = e->prepare && e->written == e->body->size;
	if (!err && syncs)
		err = file_sync(e->t.fd);
	if (err)
		early_forget(e);	/* at once: a full disk needs the room, and a second fsync tells nothing */
	else if (syncs)
		e->t.synced = true;
	else
		sync_file_range(e->t.fd, (off_t)from, (off_t)(e->written - from), SYNC_FILE_RANGE_WRITE);
}

static void early_free(struct file_early *e)
{
	void (*released)(void *ctx) = e->released;
	void *ctx = e->ctx;
	struct file_store *f = e->f;

	temp_done(&e->t);
	file_root_unref(e->r);
	bw_mutex_done(&e->lock);
	free(e);
	released(ctx);
	bw_gate_leave(&f->earlies);
}

static void early_finish(struct file_early *e, struct bw_op *op)
{
	if (!file_is_late(op)) {
		if (e->r && !e->failed && file_root_check(e->f, e->r) == 0)
			put_temp(e->f, e->r, op, &e->t, e->written);
		else
			file_perform(e->f, op);
	}
	early_free(e);
	op->done(op);
}

static void run_early(struct bw_task *task);

/* What nobody waits for yet goes behind all that somebody does. */
static void early_push_locked(struct file_early *e)
{
	enum bw_prio prio = e->put || e->prepare ? BW_PRIO_COMMIT : BW_PRIO_PREFETCH;

	e->active = true;
	e->task = (struct bw_task){.run = run_early, .prio = prio};
	bw_workq_push(e->f->q, &e->task);
}

/* After a piece the thread is the next one's: all would be taken else for as long as so many producers write. */
static void run_early(struct bw_task *task)
{
	struct file_early *e = bw_container_of(task, struct file_early, task);

	for (bool wrote = false;; wrote = true) {
		bw_lock(&e->lock);
		uint64_t upto = e->upto;
		struct bw_op *put = e->put;
		bool dropped = e->dropped;
		bool more = !e->failed && (upto > e->written || (e->prepare && !e->t.synced));
		e->active = put || dropped || more;
		bool writes = more && !put && !dropped;
		if (writes && wrote)
			early_push_locked(e);
		bw_unlock(&e->lock);
		if (dropped)
			early_free(e);
		else if (put)
			early_finish(e, put);
		if (!writes || wrote)
			return;
		early_write(e, upto);
	}
}

static void early_wake_locked(struct file_early *e)
{
	if (!e->active || bw_workq_cancel(e->f->q, &e->task))
		early_push_locked(e);
}

static void early_grow(struct bw_early *early, uint64_t upto, uint64_t expected)
{
	struct file_early *e = (struct file_early *)early;
	(void)expected;

	BW_LOCK_SCOPE(&e->lock);
	e->upto = upto;
	early_wake_locked(e);
}

static void early_drop(struct bw_early *early)
{
	struct file_early *e = (struct file_early *)early;

	BW_LOCK_SCOPE(&e->lock);
	e->dropped = true;
	early_wake_locked(e);
}

void file_early_put(struct bw_op *op)
{
	struct file_early *e = (struct file_early *)op->early;

	op->early = NULL;
	BW_LOCK_SCOPE(&e->lock);
	e->put = op;
	early_wake_locked(e);
}

static struct file_early *early_new(struct bw_store *s, const char *key, struct bw_body *body,
				    void (*released)(void *ctx), void *ctx)
{
	struct file_early *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->early = (struct bw_early){.grow = early_grow, .drop = early_drop};
	e->f = (struct file_store *)s;
	e->body = body;
	e->released = released;
	e->ctx = ctx;
	e->t.dir = e->t.fd = -1;
	snprintf(e->key, sizeof(e->key), "%s", key);
	bw_mutex_init(&e->lock, BW_RANK_STORE);
	bw_gate_enter(&e->f->earlies);
	return e;
}

struct bw_early *file_early(struct bw_store *s, const char *key, struct bw_body *body,
			    void (*released)(void *ctx), void *ctx)
{
	struct file_early *e = early_new(s, key, body, released, ctx);

	return e ? &e->early : NULL;
}

struct bw_early *file_prepare(struct bw_store *s, const char *key, struct bw_body *body,
			      void (*released)(void *ctx), void *ctx)
{
	struct file_early *e = early_new(s, key, body, released, ctx);

	if (!e)
		return NULL;
	e->prepare = true;
	early_grow(&e->early, body->size, body->size);
	return &e->early;
}
