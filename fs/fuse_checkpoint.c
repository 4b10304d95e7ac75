/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /checkpoint: FUSE requests to checkpoint.h and its answers back.
 *
 * Look-ups and listings ask the store before they answer, and the kernel keeps none of it: other mounts set and
 * withdraw markers.  Attributes are read from what is known: the look-up that came before them has just asked.
 */
#include "fs/fuse_ops.h"

#include "fs/names.h"
#include "store/base/clock.h"
#include "store/base/parse.h"

#include <fcntl.h>
#include <stdlib.h>

static void node_stat(const struct bw_fs *fs, const struct bw_mark_node *n, struct stat *st)
{
	if (n->dir)
		bw_fill_dir(fs, n->ino, 0777, n->mtime_ms * BW_MS, st);
	else
		bw_fill_file(fs, n->ino, 0666, n->size, n->size, n->mtime_ms * BW_MS, st);
	if (fs->o.ro)
		st->st_mode &= ~0222u;
}

/* ---- Names ------------------------------------------------------------------------------------- */

static void looked_up(struct bw_fresh *f, int err)
{
	struct bw_mark_node node;
	struct stat st;

	if (!err)
		err = bw_checkpoint_lookup(f->fs->checkpoint, f->ino, f->name, &node);
	if (err) {
		bw_reply_err(f->req, err);
	} else {
		node_stat(f->fs, &node, &st);
		bw_reply_entry(f->req, &st, 0);
	}
	free(f);
}

void bw_fuse_checkpoint_lookup(fuse_req_t req, uint64_t parent, const char *name)
{
	int64_t io_ns = bw_req_fs(req)->o.io_timeout_ns;
	uint64_t step;
	bool possible = parent == BW_INO_CHECKPOINT ? bw_name_valid(name) : bw_decimal_parse(name, &step) == 0;

	if (possible)
		bw_fresh_ask(req, parent, name, NULL, 0,
			     io_ns < BW_LOOKUP_LIMIT_NS ? io_ns : BW_LOOKUP_LIMIT_NS, looked_up);
	else
		fuse_reply_err(req, ENOENT);
}

void bw_fuse_checkpoint_getattr(fuse_req_t req, uint64_t ino)
{
	struct bw_fs *fs = bw_req_fs(req);
	struct bw_mark_node node;
	struct stat st;
	int err = bw_checkpoint_node(fs->checkpoint, ino, &node);

	if (err) {
		bw_reply_err(req, err);
		return;
	}
	node_stat(fs, &node, &st);
	fuse_reply_attr(req, &st, 0);
}

void bw_fuse_checkpoint_opendir(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi)
{
	bw_fresh_opendir(req, ino, fi);
}

/* Offsets of "." and ".." are 1 and 2. */
static bool emit(void *ctx, const char *name, uint64_t ino, bool dir, uint64_t after)
{
	return bw_dirbuf_add(ctx, name, ino, dir, after + 2);
}

void bw_fuse_checkpoint_readdir(fuse_req_t req, uint64_t ino, size_t size, uint64_t off)
{
	uint64_t parent = ino == BW_INO_CHECKPOINT ? BW_INO_ROOT : BW_INO_CHECKPOINT;
	struct bw_dirbuf d;
	int err = 0;

	if (bw_dirbuf_init(&d, req, size)) {
		bw_reply_err(req, -ENOMEM);
		return;
	}
	if (bw_dirbuf_dots(&d, off, ino, parent))
		err = bw_checkpoint_list(bw_req_fs(req)->checkpoint, ino, off > 2 ? off - 2 : 0, emit, &d);
	if (err && err != -ENOENT) {
		free(d.bytes);
		bw_reply_err(req, err);
		return;
	}
	bw_dirbuf_reply(&d);	/* a job that has gone has no markers */
}

/* ---- Changes ----------------------------------------------------------------------------------- */

struct mark_req {
	struct bw_mark mark;
	fuse_req_t req;
	struct bw_fs *fs;
	struct fuse_file_info fi;	/* create */
	uint32_t edit;			/* a text: which edit of the handle it is */
	struct bw_mark_text *text;	/* of the handle; it stays until the flush is answered */
};

/* data is the change's number, not its address: the answer may be on its way meanwhile. */
static void interrupted(fuse_req_t req, void *data)
{
	bw_checkpoint_interrupt(bw_req_fs(req)->checkpoint, (uint64_t)(uintptr_t)data);
}

static struct mark_req *question(fuse_req_t req, void (*done)(struct bw_mark *m, int err))
{
	struct mark_req *q = calloc(1, sizeof(*q));

	if (!q) {
		bw_reply_err(req, -ENOMEM);
		return NULL;
	}
	q->req = req;
	q->fs = bw_req_fs(req);
	q->mark.done = done;
	q->mark.waiter.pid = fuse_req_ctx(req)->pid;
	uint64_t id = bw_checkpoint_begin(q->fs->checkpoint, &q->mark);

	fuse_req_interrupt_func(req, interrupted, (void *)(uintptr_t)id);
	return q;
}

static void done_err(struct bw_mark *m, int err)
{
	struct mark_req *q = (struct mark_req *)m;

	bw_reply_err(q->req, err);
	free(q);
}

static void done_mkdir(struct bw_mark *m, int err)
{
	struct mark_req *q = (struct mark_req *)m;
	struct stat st;

	if (err) {
		bw_reply_err(q->req, err);
	} else {
		node_stat(q->fs, &m->node, &st);
		bw_reply_entry(q->req, &st, 0);
	}
	free(q);
}

void bw_fuse_checkpoint_mkdir(fuse_req_t req, uint64_t parent, const char *name)
{
	struct mark_req *q = question(req, done_mkdir);

	if (q)
		bw_checkpoint_mkdir(q->fs->checkpoint, &q->mark, parent, name);
}

void bw_fuse_checkpoint_unlink(fuse_req_t req, uint64_t parent, const char *name)
{
	struct mark_req *q = question(req, done_err);

	if (q)
		bw_checkpoint_unlink(q->fs->checkpoint, &q->mark, parent, name);
}

void bw_fuse_checkpoint_rmdir(fuse_req_t req, uint64_t parent, const char *name)
{
	struct mark_req *q = question(req, done_err);

	if (q)
		bw_checkpoint_rmdir(q->fs->checkpoint, &q->mark, parent, name);
}

/* ---- Files ------------------------------------------------------------------------------------- */

/* A handle whose bytes wait for the close.  direct_io: no page cache to go stale, no shared writable mmap. */
static struct bw_handle *mark_handle(struct bw_fs *fs, uint64_t ino, const char *text, struct fuse_file_info *fi)
{
	struct bw_handle *h = bw_handle_new(fs, BW_HANDLE_MARK);

	if (h && bw_mark_text_new(ino, text, fi->flags & O_APPEND, &h->mark)) {
		bw_handle_free(h);
		return NULL;
	}
	fi->direct_io = 1;
	fi->fh = (uint64_t)(uintptr_t)h;
	return h;
}

static void done_create(struct bw_mark *m, int err)
{
	struct mark_req *q = (struct mark_req *)m;
	struct fuse_entry_param e = {.ino = m->node.ino};
	char text[BW_MARKER_TEXT_MAX + 1] = "";
	struct bw_handle *h = NULL;

	if (!err && !(q->fi.flags & O_TRUNC))
		err = bw_checkpoint_text(q->fs->checkpoint, m->node.ino, text) == -EISDIR ? -EISDIR : 0;
	if (!err) {
		h = mark_handle(q->fs, m->node.ino, text, &q->fi);
		err = h ? 0 : -ENOMEM;
	}
	if (err) {
		bw_reply_err(q->req, err);
	} else {
		node_stat(q->fs, &m->node, &e.attr);
		if (fuse_reply_create(q->req, &e, &q->fi) == -ENOENT)
			bw_handle_free(h);
	}
	free(q);
}

void bw_fuse_checkpoint_create(fuse_req_t req, uint64_t parent, const char *name, struct fuse_file_info *fi)
{
	struct mark_req *q = question(req, done_create);

	if (!q)
		return;
	q->fi = *fi;
	bw_checkpoint_create(q->fs->checkpoint, &q->mark, parent, name, fi->flags & O_EXCL);
}

void bw_fuse_checkpoint_open(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi)
{
	struct bw_fs *fs = bw_req_fs(req);
	bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;
	char text[BW_MARKER_TEXT_MAX + 1];
	int err = writes && fs->o.ro ? -EROFS : bw_checkpoint_text(fs->checkpoint, ino, text);

	if (err) {
		/* Gone since it was looked up: ESTALE makes the kernel look again, and then perhaps create it. */
		bw_reply_err(req, err == -ENOENT ? -ESTALE : err);
		return;
	}
	if (!writes) {
		struct bw_buf buf;
		bw_buf_init(&buf, sizeof(text));
		bw_buf_str(&buf, text);
		bw_reply_open_text(req, fi, &buf);
		return;
	}
	struct bw_handle *h = mark_handle(fs, ino, fi->flags & O_TRUNC ? NULL : text, fi);

	if (!h)
		bw_reply_err(req, -ENOMEM);
	else if (fuse_reply_open(req, fi) == -ENOENT)
		bw_handle_free(h);
}

void bw_fuse_checkpoint_read(fuse_req_t req, struct bw_handle *h, size_t size, uint64_t off)
{
	char text[BW_MARKER_TEXT_MAX];
	size_t n = bw_mark_text_read(h->mark, off, text, size < sizeof(text) ? size : sizeof(text));

	fuse_reply_buf(req, text, n);
}

void bw_fuse_checkpoint_write(fuse_req_t req, struct bw_handle *h, const char *buf, size_t size, uint64_t off)
{
	int err = bw_mark_text_write(h->mark, off, buf, size);

	if (err)
		bw_reply_err(req, err);
	else
		fuse_reply_write(req, size);
}

static void done_text(struct bw_mark *m, int err)
{
	struct mark_req *q = (struct mark_req *)m;

	if (!err)
		bw_mark_text_saved(q->text, q->edit);
	bw_reply_err(q->req, err);
	free(q);
}

/* close(2) and fsync(2). */
void bw_fuse_checkpoint_flush(fuse_req_t req, struct bw_handle *h)
{
	char text[BW_MARKER_TEXT_MAX + 1];
	uint32_t edit;

	if (!bw_mark_text_dirty(h->mark, text, &edit)) {
		fuse_reply_err(req, 0);
		return;
	}
	struct mark_req *q = question(req, done_text);

	if (!q)
		return;
	q->text = h->mark;
	q->edit = edit;
	bw_checkpoint_set_text(q->fs->checkpoint, &q->mark, bw_mark_text_ino(h->mark), text);
}

void bw_fuse_checkpoint_setattr(fuse_req_t req, uint64_t ino, struct bw_handle *h, struct stat *attr, int to_set)
{
	uint64_t size = (uint64_t)attr->st_size;
	struct bw_mark_node node;
	int err = 0;

	/* Owners, modes and times are accepted and dropped, as under /produce. */
	if (to_set & FUSE_SET_ATTR_SIZE) {
		if (h && h->kind == BW_HANDLE_MARK)
			err = bw_mark_text_truncate(h->mark, size);
		else if (bw_checkpoint_node(bw_req_fs(req)->checkpoint, ino, &node) == 0 && size && size != node.size)
			err = -EINVAL;	/* a text is written, not cut; an empty one keeps what is there */
	}
	if (err)
		bw_reply_err(req, err);
	else
		bw_fuse_checkpoint_getattr(req, ino);
}
