/* SPDX-License-Identifier: Apache-2.0 */
/* Objects as files below a directory. */
#include "store/file_priv.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS_DEFAULT 8

/* ---- Outcomes ------------------------------------------------------------------------------- */

void file_say(struct bw_op *op, const char *what, int err)
{
	char text[64];

	op->err = err;
	snprintf(op->detail, sizeof(op->detail), "%s: %s", what,
		 bw_err_text(err, text, sizeof(text)));
}

void file_fail(struct bw_op *op, const char *what, int err)
{
	file_say(op, what, err);
	switch (-err) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
	case EMLINK:
		op->outcome = BW_FULL;
		break;
	case EACCES:
	case EPERM:
	case EROFS:
	/* What the directory holds stands in the way; asking again does not help. */
	case EISDIR:
	case ENOTDIR:
	case ENOTEMPTY:
	case ELOOP:
	case EXDEV:
	case ENAMETOOLONG:
	case EOPNOTSUPP:
	case ENOSYS:	/* of FUSE: there are no links */
		op->outcome = BW_DENIED;
		break;
	default:
		op->outcome = BW_UNREACHABLE;
	}
}

/* The answer of link, rename or unlink: does it prove that nothing was applied? */
static bool is_refusal(int err)
{
	switch (-err) {
	case EACCES:
	case EPERM:
	case EROFS:
	case ENOSPC:
	case EDQUOT:
	case EMLINK:
	case ENOENT:
	case ENOTDIR:
	case EISDIR:
	case ENOTEMPTY:
	case EEXIST:
	case ELOOP:
	case EXDEV:
	case ENAMETOOLONG:
	case EOPNOTSUPP:
	case ENOSYS:
		return true;
	default:
		return false;
	}
}

void file_change_failed(struct bw_op *op, const char *what, int err)
{
	if (is_refusal(err)) {
		file_fail(op, what, err);
	} else {
		file_say(op, what, err);
		op->outcome = BW_UNKNOWN;
	}
}

bool file_is_late(struct bw_op *op)
{
	if (bw_now() < op->deadline_ns)
		return false;
	bw_op_fail(op, BW_CANCELLED, 0);
	return true;
}

void file_gone(struct bw_op *op, int err)
{
	file_say(op, "store directory", err);
	op->outcome = err == -EACCES ? BW_DENIED : BW_UNREACHABLE;
}

/* Nothing was found; which means something only if the store is still there. */
static void missing(struct file_store *f, struct file_root *r, struct bw_op *op)
{
	int err = file_root_check(f, r);

	if (err)
		file_gone(op, err);
	else
		op->outcome = BW_NOT_FOUND;
}

/* ---- get ------------------------------------------------------------------------------------ */

/* O_NONBLOCK: a pipe that somebody left here must not hold the thread. */
#define OBJECT_FLAGS (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

/* The whole way in one call.  -ENOSYS: the kernel is older than 5.6, a filter refuses the call, or the key is odd. */
static int open_way(struct file_root *r, const char *key)
{
	struct open_how how = {.flags = OBJECT_FLAGS, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};

	/* Names of the store's own are none that a key may have; they begin with a dot. */
	if (!bw_key_valid(key) || key[0] == '.')
		return -ENOSYS;
	long fd = syscall(SYS_openat2, r->fd, key, &how, sizeof(how));

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG ? -errno : -ENOSYS;
	return (int)fd;
}

static int walk_way(struct file_root *r, const char *key)
{
	const char *base;
	auto_fd parent = -1;
	int err = file_parent(r, key, false, &parent, &base);

	if (err)
		return err == -EPERM ? -ENOENT : err;
	int fd = openat(parent, base, OBJECT_FLAGS);

	return fd < 0 ? -errno : fd;
}

static int open_object(struct file_root *r, const char *key, struct stat *st)
{
	int fd = open_way(r, key), err = 0;

	/* What else went wrong is for the long way to say. */
	if (fd == -ENOSYS)
		fd = walk_way(r, key);
	if (fd < 0)
		return fd;
	if (fstat(fd, st) != 0)
		err = -errno;
	else if (!S_ISREG(st->st_mode))
		err = S_ISDIR(st->st_mode) ? -ENOENT : -EPERM;
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

static void read_range(struct bw_op *op, int fd, uint64_t length)
{
	bw_auto_blob struct bw_blob *blob = bw_blob_new(length);

	if (!blob) {
		file_fail(op, "memory", -ENOMEM);
		return;
	}
	for (size_t at = 0; at < length;) {
		ssize_t n = pread(fd, blob->bytes + at, length - at, (off_t)(op->offset + at));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			file_fail(op, "read", -errno);
			op->outcome = BW_UNREACHABLE;
			return;
		}
		if (n == 0) {
			op->outcome = BW_CORRUPT;
			return;
		}
		at += (size_t)n;
	}
	op->blob = blob;
	blob = NULL;
	op->outcome = BW_OK;
}

static void get(struct file_store *f, struct file_root *r, struct bw_op *op)
{
	struct stat st;
	auto_fd fd = open_object(r, op->key, &st);

	if (fd < 0) {
		if (file_is_missing(fd))
			missing(f, r, op);
		else
			file_fail(op, "open", fd);
		return;
	}
	uint64_t size = (uint64_t)st.st_size;
	uint64_t left = op->offset <= size ? size - op->offset : 0;
	uint64_t length = op->length == BW_TO_END ? left : op->length;

	if (op->offset > size || length > left || (op->length == BW_TO_END && left > op->max)) {
		snprintf(op->detail, sizeof(op->detail), "the object has %llu bytes",
			 (unsigned long long)size);
		op->outcome = BW_CORRUPT;
		return;
	}
	op->object_size = size;
	op->modified_ms = file_appeared_ms(&st);
	read_range(op, fd, length);
}

/* ---- delete --------------------------------------------------------------------------------- */

static void delete(struct file_store *f, struct file_root *r, struct bw_op *op)
{
	auto_fd parent = -1;
	const char *base;
	int err = file_parent(r, op->key, false, &parent, &base);

	if (file_is_missing(err) || err == -EPERM) {
		missing(f, r, op);
		return;
	}
	if (err) {
		file_fail(op, "directory", err);
		return;
	}
	if (unlinkat(parent, base, 0) != 0) {
		err = -errno;
		if (file_is_missing(err) || err == -EISDIR)
			missing(f, r, op);
		else
			file_change_failed(op, "unlink", err);
		return;
	}
	err = file_sync(parent);
	if (err) {
		file_say(op, "fsync of the directory", err);
		op->outcome = BW_UNKNOWN;
		return;
	}
	op->outcome = BW_OK;
	file_remove_empty(r, op->key);
}

struct deletion {
	struct file_store *f;
	struct file_root *r;
	struct bw_op *op;
	/* Under f->lock: */
	bool cancelled;		/* what is left of it ends so */
	struct deletion *next;
};

static bool is_cancelled(struct deletion *d)
{
	BW_LOCK_SCOPE(&d->f->lock);
	return d->cancelled;
}

static void delete_one(void *ctx, struct bw_op *op)
{
	struct deletion *d = ctx;

	if (is_cancelled(d))
		bw_op_fail(op, BW_CANCELLED, 0);
	else
		delete(d->f, d->r, op);
}

static void delete_many(struct file_store *f, struct file_root *r, struct bw_op *op)
{
	struct deletion d = {.f = f, .r = r, .op = op}, **at = &f->deletions;

	bw_lock(&f->lock);
	d.next = f->deletions;
	f->deletions = &d;
	bw_unlock(&f->lock);
	bw_op_delete_each(op, delete_one, &d);
	BW_LOCK_SCOPE(&f->lock);
	while (*at != &d)
		at = &(*at)->next;
	*at = d.next;
}

/* ---- The store ------------------------------------------------------------------------------ */

/* What was found, or not found, counts only if that was the store. */
static void still_there(struct file_store *f, struct file_root *r, struct bw_op *op)
{
	int err = op->outcome == BW_OK ? file_root_check(f, r) : 0;

	if (!err)
		return;
	bw_op_done(op);
	file_gone(op, err);
}

void file_perform(struct file_store *f, struct bw_op *op)
{
	struct file_root *r;

	if (file_is_late(op))
		return;
	int err = file_root_get(f, &r);
	if (err) {
		file_gone(op, err);
		return;
	}
	switch (op->kind) {
	case BW_OP_GET:
		get(f, r, op);
		break;
	case BW_OP_PUT:
		file_put(f, r, op);
		break;
	case BW_OP_DELETE:
		delete(f, r, op);
		break;
	case BW_OP_DELETE_MANY:
		delete_many(f, r, op);
		break;
	case BW_OP_LIST:
		file_list(f, r, op);
		still_there(f, r, op);
		break;
	case BW_OP_LIST_UPLOADS:
		file_list_uploads(r, op);
		still_there(f, r, op);
		break;
	case BW_OP_ABORT_UPLOAD:
		file_abort_upload(r, op);
		still_there(f, r, op);
		break;
	}
	file_root_unref(r);
}

static void run(struct bw_task *task)
{
	struct bw_op *op = bw_op_of(task);

	file_perform((struct file_store *)op->at, op);
	op->done(op);
}

static void submit(struct bw_store *s, struct bw_op *op)
{
	if (op->kind == BW_OP_PUT && op->early)
		file_early_put(op);
	else
		bw_op_queue(op, ((struct file_store *)s)->q, run, 0);
}

static void cancel(struct bw_store *s, struct bw_op *op)
{
	struct file_store *f = (struct file_store *)s;

	bw_lock(&f->lock);
	for (struct deletion *d = f->deletions; d; d = d->next)
		d->cancelled |= d->op == op;
	bw_unlock(&f->lock);
	bw_op_cancel_on(op, f->q);
}

static void file_free(struct bw_store *s)
{
	struct file_store *f = (struct file_store *)s;

	if (f->q) {
		bw_gate_wait(&f->earlies);
		bw_workq_free(f->q);
	}
	bw_gate_done(&f->earlies);
	file_rest_free(f->rest);
	file_root_unref(f->root);
	bw_mutex_done(&f->lock);
	free(f->dir);
	free(f);
}

int bw_store_file_new(const char *dir, bool create, unsigned threads, struct bw_store **ret)
{
	static const struct bw_store_ops ops = {
		.name = "file", .submit = submit, .cancel = cancel, .early = file_early, .prepare = file_prepare,
		.free = file_free};
	struct file_store *f = calloc(1, sizeof(*f));
	struct file_root *r;

	if (!f)
		return -ENOMEM;
	f->store.ops = &ops;
	bw_mutex_init(&f->lock, BW_RANK_STORE);
	bw_gate_init(&f->earlies);
	f->dir = strdup(dir);
	int err = f->dir ? 0 : -ENOMEM;
	if (!err && create)
		err = file_make_dirs(dir);
	if (!err)
		err = file_root_get(f, &r);
	if (err)
		goto fail;
	file_tmp_clean(r);
	file_root_unref(r);
	err = bw_workq_new("bw-file", threads ? threads : THREADS_DEFAULT, &f->q);
	if (err)
		goto fail;
	*ret = &f->store;
	return 0;
fail:
	file_free(&f->store);
	return err;
}
