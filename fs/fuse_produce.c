/* SPDX-License-Identifier: Apache-2.0 */
/* /produce: FUSE requests to produce.h and its answers back. */
#include "fs/fuse_ops.h"

#include "store/base/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Every open of a slice passes through three directories here.  Names of batches that are gone may resolve for so long
 * (P3d), and lead to nothing; everything else that becomes of these directories the kernel does itself or is told.
 */
#define STAYS 1.0

enum answer_kind { ANSWER_ERR, ANSWER_ENTRY };

struct produce_req {
	struct bw_answer answer;
	fuse_req_t req;
	struct bw_fs *fs;
	enum answer_kind kind;
	bool begun;
};

static void attr_stat(const struct bw_fs *fs, const struct bw_attr *a, struct stat *st)
{
	/* The umask is in the mode already. */
	bw_fill_file(fs, a->ino, 0, a->size, a->stored, a->mtime_ns, st);
	st->st_mode = a->mode;
}

static double keep(const struct bw_attr *a)
{
	return a->stays ? STAYS : 0;
}

static struct fuse_entry_param entry_of(const struct bw_fs *fs, const struct bw_attr *a)
{
	struct fuse_entry_param e = {.ino = a->ino, .attr_timeout = keep(a), .entry_timeout = keep(a)};

	attr_stat(fs, a, &e.attr);
	return e;
}

static void answered(struct bw_answer *a, int err)
{
	struct produce_req *q = (struct produce_req *)a;
	struct bw_fs *fs = q->fs;

	if (q->begun)
		bw_produce_end(fs->produce, a);
	if (err || q->kind == ANSWER_ERR) {
		bw_reply_err(q->req, err);
	} else {
		struct fuse_entry_param e = entry_of(fs, &a->attr);
		fuse_reply_entry(q->req, &e);
	}
	free(q);
}

/* NULL: memory is short, and req has no answer yet. */
static struct produce_req *try_question(fuse_req_t req, enum answer_kind kind)
{
	struct produce_req *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->req = req;
	q->fs = bw_req_fs(req);
	q->kind = kind;
	q->answer.done = answered;
	q->answer.waiter.pid = fuse_req_ctx(req)->pid;
	return q;
}

static struct produce_req *question(fuse_req_t req, enum answer_kind kind)
{
	struct produce_req *q = try_question(req, kind);

	if (!q)
		bw_reply_err(req, -ENOMEM);
	return q;
}

/* ---- Names ------------------------------------------------------------------------------------ */

static void reply_lookup(fuse_req_t req, int err, const struct bw_attr *attr)
{
	struct bw_fs *fs = bw_req_fs(req);

	if (err) {
		bw_reply_err(req, err);
		return;
	}
	struct fuse_entry_param e = entry_of(fs, attr);

	fuse_reply_entry(req, &e);
}

/* /produce/<p> that nobody here knew: the news may. */
static void lookup_again(struct bw_fresh *f, int err)
{
	struct bw_attr attr;

	if (!err)
		err = bw_produce_lookup(f->fs->produce, f->ino, f->name, &attr);
	reply_lookup(f->req, err == 1 ? -ENOENT : err, &attr);
	free(f);
}

void bw_fuse_produce_lookup(fuse_req_t req, uint64_t parent, const char *name)
{
	struct bw_attr attr;
	int err = bw_produce_lookup(bw_req_fs(req)->produce, parent, name, &attr);

	if (err == 1)
		bw_fresh_ask(req, parent, name, NULL, 0, BW_LOOKUP_LIMIT_NS, lookup_again);
	else
		reply_lookup(req, err, &attr);
}

static int get_attr(struct bw_fs *fs, uint64_t ino, struct stat *st, double *ret_keep)
{
	char producer[BW_NAME_MAX + 1];
	enum bw_produce_text what;
	struct bw_attr attr;
	int err = bw_produce_getattr(fs->produce, ino, &attr);

	if (err)
		return err;
	if (bw_produce_is_text(fs->produce, ino, &what, producer))
		attr.size = attr.stored = bw_text_size(fs, producer, what);
	attr_stat(fs, &attr, st);
	*ret_keep = keep(&attr);
	return 0;
}

static void reply_attr(fuse_req_t req, uint64_t ino)
{
	struct stat st;
	double seconds;
	int err = get_attr(bw_req_fs(req), ino, &st, &seconds);

	if (err)
		bw_reply_err(req, err);
	else
		fuse_reply_attr(req, &st, seconds);
}

void bw_fuse_produce_getattr(fuse_req_t req, uint64_t ino)
{
	reply_attr(req, ino);
}

void bw_fuse_produce_setattr(fuse_req_t req, uint64_t ino, struct bw_handle *h, struct stat *attr,
			     int to_set)
{
	struct bw_stage_handle *stage = h && h->kind == BW_HANDLE_STAGE ? h->stage : NULL;
	int err = 0;

	/* P2: owners, modes and times are accepted and dropped. */
	if (to_set & FUSE_SET_ATTR_SIZE)
		err = bw_produce_truncate(bw_req_fs(req)->produce, ino, stage, (uint64_t)attr->st_size);
	if (err)
		bw_reply_err(req, err);
	else
		reply_attr(req, ino);
}

/* data is the request's number, not its address: the answer may be on its way meanwhile. */
static void interrupted(fuse_req_t req, void *data)
{
	bw_produce_interrupt(bw_req_fs(req)->produce, (uint64_t)(uintptr_t)data);
}

void bw_fuse_produce_mkdir(fuse_req_t req, uint64_t parent, const char *name)
{
	struct produce_req *q = question(req, ANSWER_ENTRY);

	if (!q)
		return;
	q->begun = true;
	uint64_t id = bw_produce_begin(q->fs->produce, &q->answer);

	fuse_req_interrupt_func(req, interrupted, (void *)(uintptr_t)id);
	bw_produce_mkdir(q->fs->produce, parent, name, &q->answer);
}

void bw_fuse_produce_rename(fuse_req_t req, uint64_t parent, const char *name, uint64_t to,
			    const char *to_name, unsigned flags)
{
	struct produce_req *q;

	if (flags & ~(unsigned)RENAME_NOREPLACE) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	q = question(req, ANSWER_ERR);
	if (q)
		bw_produce_rename(q->fs->produce, parent, name, to, to_name,
				  flags & RENAME_NOREPLACE, &q->answer);
}

/* ---- Files ------------------------------------------------------------------------------------ */

static struct bw_handle *stage_handle(struct bw_fs *fs, struct fuse_file_info *fi)
{
	struct bw_handle *h = bw_handle_new(fs, BW_HANDLE_STAGE);

	if (!h)
		return NULL;
	/* Large writes, no shared writable mmap (P3m), and no page cache to go stale. */
	fi->direct_io = 1;
	fi->fh = (uint64_t)(uintptr_t)h;
	return h;
}

void bw_fuse_produce_create(fuse_req_t req, uint64_t parent, const char *name,
			    struct fuse_file_info *fi)
{
	struct bw_fs *fs = bw_req_fs(req);
	struct bw_handle *h = stage_handle(fs, fi);
	struct bw_attr attr;
	int err = h ? bw_produce_create(fs->produce, parent, name, fi->flags, fuse_req_ctx(req)->pid,
					&attr, &h->stage)
		    : -ENOMEM;

	if (err) {
		bw_handle_free(h);
		bw_reply_err(req, err);
		return;
	}
	struct fuse_entry_param e = entry_of(fs, &attr);

	/* The kernel asks for the mode of what it has just created, and would ask us.  Size and times it asks for
	 * anew once it has written. */
	e.attr_timeout = STAYS;
	if (fuse_reply_create(req, &e, fi) == -ENOENT) {
		bw_produce_release(fs->produce, h->stage);
		bw_handle_free(h);
	}
}

void bw_fuse_produce_open(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi)
{
	struct bw_fs *fs = bw_req_fs(req);
	char producer[BW_NAME_MAX + 1];
	enum bw_produce_text what;

	if (bw_produce_is_text(fs->produce, ino, &what, producer)) {
		if ((fi->flags & O_ACCMODE) == O_RDONLY)
			bw_fuse_text_open(req, ino, what, producer, fi);
		else
			fuse_reply_err(req, EACCES);
		return;
	}
	struct bw_handle *h = stage_handle(fs, fi);
	int err = h ? bw_produce_open(fs->produce, ino, fi->flags, fuse_req_ctx(req)->pid, &h->stage)
		    : -ENOMEM;

	if (err) {
		bw_handle_free(h);
		bw_reply_err(req, err);
		return;
	}
	if (fuse_reply_open(req, fi) == -ENOENT) {
		bw_produce_release(fs->produce, h->stage);
		bw_handle_free(h);
	}
}

void bw_fuse_produce_read(fuse_req_t req, struct bw_handle *h, size_t size, uint64_t off)
{
	char *buf = malloc(size);
	ssize_t n = buf ? bw_produce_read(bw_req_fs(req)->produce, h->stage, off, buf, size) : -ENOMEM;

	if (n < 0)
		bw_reply_err(req, (int)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
	free(buf);
}

void bw_fuse_produce_write(fuse_req_t req, struct bw_handle *h, const char *buf, size_t size,
			   uint64_t off)
{
	int err = bw_produce_write(bw_req_fs(req)->produce, h->stage, off, buf, size, fuse_req_ctx(req)->pid);

	if (err)
		bw_reply_err(req, err);
	else
		fuse_reply_write(req, size);
}

void bw_fuse_produce_flush(fuse_req_t req, struct bw_handle *h)
{
	struct produce_req *q = try_question(req, ANSWER_ERR);

	if (q) {
		bw_produce_flush(q->fs->produce, h->stage, &q->answer);
		return;
	}
	/* Before the answer: behind it comes the release, which commits what was not written by somebody killed (P3k). */
	bw_produce_flush_missed(bw_req_fs(req)->produce, h->stage);
	bw_reply_err(req, -ENOMEM);
}

void bw_fuse_produce_fsync(fuse_req_t req, struct bw_handle *h)
{
	struct produce_req *q = question(req, ANSWER_ERR);

	if (q)
		bw_produce_fsync(q->fs->produce, h->stage, &q->answer);
}

void bw_fuse_produce_fsyncdir(fuse_req_t req, uint64_t ino)
{
	struct produce_req *q = question(req, ANSWER_ERR);

	if (q)
		bw_produce_fsyncdir(q->fs->produce, ino, &q->answer);
}

/* ---- Listing ---------------------------------------------------------------------------------- */

static void produce_dir_fresh(struct bw_fresh *f, int err)
{
	(void)err;	/* what is known is shown */
	fuse_reply_open(f->req, &f->fi);
	free(f);
}

void bw_fuse_produce_opendir(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi)
{
	if (ino == BW_INO_PRODUCE)
		bw_fresh_ask(req, ino, "", fi, 0, BW_SEC, produce_dir_fresh);
	else
		fuse_reply_open(req, fi);
}

/* Children have cookies that fall; offsets are cookie + 2, above those of "." and "..". */
static bool emit(void *ctx, const char *name, uint64_t ino, bool dir, uint64_t cookie)
{
	return bw_dirbuf_add(ctx, name, ino, dir, cookie + 2);
}

void bw_fuse_produce_readdir(fuse_req_t req, uint64_t ino, size_t size, uint64_t off)
{
	struct bw_dirbuf d;

	if (bw_dirbuf_init(&d, req, size)) {
		bw_reply_err(req, -ENOMEM);
		return;
	}
	if (bw_dirbuf_dots(&d, off, ino, BW_INO_PRODUCE)) {
		int err = bw_produce_readdir(bw_req_fs(req)->produce, ino, off > 2 ? off - 2 : 0, emit,
					     &d);
		if (err) {
			free(d.bytes);
			bw_reply_err(req, err);
			return;
		}
	}
	bw_dirbuf_reply(&d);
}
