/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/fuse_ops.h"

#include "store/base/clock.h"

#include <stdlib.h>
#include <string.h>

struct bw_handle *bw_handle_new(struct bw_fs *fs, enum bw_handle_kind kind)
{
	struct bw_handle *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->kind = kind;
	h->fs = fs;
	BW_LOCK_SCOPE(&fs->handles_lock);
	h->next = fs->handles;
	h->prev = &fs->handles;
	if (h->next)
		h->next->prev = &h->next;
	fs->handles = h;
	return h;
}

/* A text that is larger than all may be is alone. */
static bool take_share(struct bw_budget *texts, uint64_t bytes)
{
	uint_fast64_t none = 0;

	return bw_budget_take(texts, bytes) || atomic_compare_exchange_strong(&texts->used, &none, bytes);
}

static void give_text(struct bw_handle *h)
{
	if (!h->charge)
		return;
	bw_budget_give(&h->fs->texts, h->charge);
	bw_budget_give(&h->fs->budget, h->charge);
}

/* Whoever wants to see how a mount is doing sees it also when data holds all of its memory: blocks give way. */
static bool take_text(struct bw_handle *h)
{
	struct bw_fs *fs = h->fs;
	uint64_t bytes = sizeof(*h) + h->text.cap, used;

	if (!take_share(&fs->texts, bytes))
		return false;
	h->charge = bytes;
	bw_budget_force(&fs->budget, bytes);
	used = bw_budget_used(&fs->budget);
	if (used <= fs->budget.limit)
		return true;
	BW_LOCK_SCOPE(&fs->lock);
	if (!fs->head_over)	/* or the reader may have gone */
		bw_reader_shrink(fs->reader, used - fs->budget.limit);
	return true;
}

void bw_handle_free(struct bw_handle *h)
{
	if (!h)
		return;
	bw_lock(&h->fs->handles_lock);
	*h->prev = h->next;
	if (h->next)
		h->next->prev = h->prev;
	bw_unlock(&h->fs->handles_lock);
	bw_buf_done(&h->text);
	give_text(h);
	if (h->kind == BW_HANDLE_SLICE && !h->is_hand)
		bw_once_closed(&h->fs->once);
	bw_tgb_unref(h->tgb);
	bw_mark_text_free(h->mark);
	free(h);
}

void bw_handle_abandon(struct bw_handle *h)
{
	free(h->stage);
	bw_handle_free(h);
}

void bw_reply_err(fuse_req_t req, int err)
{
	fuse_reply_err(req, bw_err_errno(err));
}

static void fill(const struct bw_fs *fs, uint64_t ino, uint32_t mode, int64_t mtime_ns,
		 struct stat *ret)
{
	struct timespec ts = {.tv_sec = mtime_ns / BW_SEC, .tv_nsec = mtime_ns % BW_SEC};

	*ret = (struct stat){
		.st_ino = ino,
		.st_mode = mode & ~fs->o.umask,
		.st_nlink = 1,
		.st_uid = fs->o.uid,
		.st_gid = fs->o.gid,
		.st_blksize = 1 << 20,
		.st_mtim = ts,
		.st_ctim = ts,
		.st_atim = ts,
	};
}

void bw_fill_dir(const struct bw_fs *fs, uint64_t ino, uint32_t perm, int64_t mtime_ns,
		 struct stat *ret)
{
	fill(fs, ino, S_IFDIR | perm, mtime_ns, ret);
}

void bw_fill_file(const struct bw_fs *fs, uint64_t ino, uint32_t perm, uint64_t size,
		  uint64_t stored, int64_t mtime_ns, struct stat *ret)
{
	fill(fs, ino, S_IFREG | perm, mtime_ns, ret);
	ret->st_size = (off_t)size;
	ret->st_blocks = (blkcnt_t)((stored + 511) / 512);
}

void bw_reply_entry(fuse_req_t req, const struct stat *st, double timeout)
{
	struct fuse_entry_param e = {
		.ino = st->st_ino, .attr = *st, .attr_timeout = timeout, .entry_timeout = timeout};

	fuse_reply_entry(req, &e);
}

bool bw_reply_open(fuse_req_t req, struct fuse_file_info *fi, struct bw_handle *h)
{
	fi->fh = (uint64_t)(uintptr_t)h;
	fi->noflush = 1;	/* nothing was written: a close need not ask */
	/* The caller was interrupted: no release will come. */
	bool was_opened = fuse_reply_open(req, fi) != -ENOENT;

	if (!was_opened)
		bw_handle_free(h);
	return was_opened;
}

void bw_reply_open_text(fuse_req_t req, struct fuse_file_info *fi, struct bw_buf *text)
{
	struct bw_handle *h = bw_buf_err(text) ? NULL : bw_handle_new(bw_req_fs(req), BW_HANDLE_TEXT);

	if (h)
		h->text = *text;
	else
		bw_buf_done(text);
	if (!h || !take_text(h)) {
		bw_handle_free(h);
		bw_reply_err(req, -ENOMEM);
		return;
	}
	fi->direct_io = 1;
	bw_reply_open(req, fi, h);
}

int bw_dirbuf_init(struct bw_dirbuf *d, fuse_req_t req, size_t size)
{
	*d = (struct bw_dirbuf){.req = req, .size = size, .bytes = malloc(size)};
	return d->bytes ? 0 : -ENOMEM;
}

bool bw_dirbuf_add(struct bw_dirbuf *d, const char *name, uint64_t ino, bool dir, uint64_t off)
{
	struct stat st = {.st_ino = ino, .st_mode = dir ? S_IFDIR : S_IFREG};
	size_t left = d->size - d->len;
	size_t need = fuse_add_direntry(d->req, d->bytes + d->len, left, name, &st, (off_t)off);

	if (need > left)
		return false;
	d->len += need;
	return true;
}

bool bw_dirbuf_dots(struct bw_dirbuf *d, uint64_t off, uint64_t ino, uint64_t parent)
{
	if (off < 1 && !bw_dirbuf_add(d, ".", ino, true, 1))
		return false;
	return off >= 2 || bw_dirbuf_add(d, "..", parent, true, 2);
}

void bw_dirbuf_reply(struct bw_dirbuf *d)
{
	fuse_reply_buf(d->req, d->bytes, d->len);
	free(d->bytes);
}
