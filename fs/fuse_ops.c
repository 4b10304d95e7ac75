/* SPDX-License-Identifier: Apache-2.0 */
/* The table of operations: which area of the tree a request is for, and what holds for all of them. */
#include "fs/fuse_ops.h"

#include "fs/names.h"
#include "store/base/clock.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

enum area { AREA_ROOT, AREA_STEP, AREA_VIEW, AREA_PRODUCE, AREA_CHECKPOINT, AREA_STATUS, AREA_NONE };

static enum area area_of(const struct bw_fs *fs, fuse_ino_t ino)
{
	if (ino == BW_INO_ROOT)
		return AREA_ROOT;
	if (ino == BW_INO_STEP || bw_is_step_ino(ino))
		return AREA_STEP;
	if (bw_is_view_ino(ino))
		return AREA_VIEW;
	if (ino == BW_INO_STATUS ||
	    (ino >= BW_INO_STATUS_FILES && ino < BW_INO_STATUS_FILES + BW_STATUS_FILES))
		return AREA_STATUS;
	if (ino == BW_INO_CHECKPOINT || bw_is_job_ino(ino))
		return AREA_CHECKPOINT;
	return fs->produce ? AREA_PRODUCE : AREA_NONE;
}

static bool in_checkpoint(fuse_req_t req, fuse_ino_t ino)
{
	return area_of(bw_req_fs(req), ino) == AREA_CHECKPOINT;
}

/* What lies outside /produce and /checkpoint is written by nobody, and nothing is when it is ro. */
static bool refuse_write(fuse_req_t req, fuse_ino_t ino)
{
	enum area area = area_of(bw_req_fs(req), ino);

	if (bw_req_fs(req)->produce && (area == AREA_PRODUCE || area == AREA_CHECKPOINT))
		return false;
	fuse_reply_err(req, EROFS);
	return true;
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct bw_fs *fs = userdata;

	/* Copies through pipes cost more than they save here; splice stays off. */
	conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
				  FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
				  FUSE_CAP_AUTO_INVAL_DATA);
	conn->want |= conn->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS |
				       FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_ASYNC_DIO);
	fs->parallel_dirops = conn->capable & FUSE_CAP_PARALLEL_DIROPS;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	conn->max_write = 1u << 20;
}

/* ---- The top directory -------------------------------------------------------------------------- */

static const struct {
	const char *name;
	uint64_t ino;
	uint32_t perm;
} tops[] = {
	{"step", BW_INO_STEP, 0555},
	{"produce", BW_INO_PRODUCE, 0777},
	{"checkpoint", BW_INO_CHECKPOINT, 0777},
	{"status", BW_INO_STATUS, 0555},
};
#define TOPS_N (sizeof(tops) / sizeof(tops[0]))

static bool shown(const struct bw_fs *fs, size_t i)
{
	return fs->produce || tops[i].ino != BW_INO_PRODUCE;
}

static void top_stat(const struct bw_fs *fs, size_t i, struct stat *st)
{
	bw_fill_dir(fs, tops[i].ino, tops[i].perm, fs->started_ms * BW_MS, st);
}

static void top_lookup(fuse_req_t req, const char *name)
{
	struct bw_fs *fs = bw_req_fs(req);
	struct stat st;

	for (size_t i = 0; i < TOPS_N; i++) {
		if (!shown(fs, i) || strcmp(tops[i].name, name))
			continue;
		top_stat(fs, i, &st);
		bw_reply_entry(req, &st, BW_FOREVER);
		return;
	}
	bw_fuse_view_lookup(req, BW_INO_ROOT, name);
}

static void top_readdir(fuse_req_t req, size_t size, uint64_t off)
{
	struct bw_dirbuf d;

	if (bw_dirbuf_init(&d, req, size)) {
		bw_reply_err(req, -ENOMEM);
		return;
	}
	bool room = bw_dirbuf_dots(&d, off, BW_INO_ROOT, BW_INO_ROOT);

	for (uint64_t i = off > 2 ? off - 2 : 0; room && i < TOPS_N; i++)
		if (shown(bw_req_fs(req), i))
			room = bw_dirbuf_add(&d, tops[i].name, tops[i].ino, true, i + 3);
	if (room)
		bw_fuse_view_fill(&d, BW_INO_ROOT, off);
	bw_dirbuf_reply(&d);
}

/* True when ino is one of the fixed directories; their attributes do not change. */
static bool fixed_getattr(fuse_req_t req, fuse_ino_t ino)
{
	struct bw_fs *fs = bw_req_fs(req);
	struct stat st;

	if (ino == BW_INO_ROOT && bw_view_lists_steps(&fs->o.views, 0)) {
		bw_fuse_view_getattr(req, ino);
		return true;
	}
	if (ino == BW_INO_ROOT) {
		bw_fill_dir(fs, ino, 0555, fs->started_ms * BW_MS, &st);
		fuse_reply_attr(req, &st, BW_FOREVER);
		return true;
	}
	for (size_t i = 0; i < TOPS_N; i++) {
		if (tops[i].ino != ino || ino == BW_INO_STEP || !shown(fs, i))
			continue;
		top_stat(fs, i, &st);
		fuse_reply_attr(req, &st, 1.0);
		return true;
	}
	return false;
}

/* ---- Names -------------------------------------------------------------------------------------- */

/* The kernel lets names of up to 4,095 bytes through to us. */
static bool refuse_name(fuse_req_t req, const char *name)
{
	bool too_long = strlen(name) > NAME_MAX;

	if (too_long)
		fuse_reply_err(req, ENAMETOOLONG);
	return too_long;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (refuse_name(req, name))
		return;
	switch (area_of(bw_req_fs(req), parent)) {
	case AREA_ROOT:
		top_lookup(req, name);
		break;
	case AREA_STEP:
		bw_fuse_step_lookup(req, parent, name);
		break;
	case AREA_VIEW:
		bw_fuse_view_lookup(req, parent, name);
		break;
	case AREA_STATUS:
		bw_fuse_status_lookup(req, name);
		break;
	case AREA_CHECKPOINT:
		bw_fuse_checkpoint_lookup(req, parent, name);
		break;
	case AREA_PRODUCE:
		bw_fuse_produce_lookup(req, parent, name);
		break;
	default:
		fuse_reply_err(req, ENOENT);
	}
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	if (fixed_getattr(req, ino))
		return;
	switch (area_of(bw_req_fs(req), ino)) {
	case AREA_STEP:
		bw_fuse_step_getattr(req, ino);
		break;
	case AREA_VIEW:
		bw_fuse_view_getattr(req, ino);
		break;
	case AREA_STATUS:
		bw_fuse_status_getattr(req, ino);
		break;
	case AREA_CHECKPOINT:
		bw_fuse_checkpoint_getattr(req, ino);
		break;
	case AREA_PRODUCE:
		bw_fuse_produce_getattr(req, ino);
		break;
	default:
		fuse_reply_err(req, ENOENT);
	}
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	if (refuse_write(req, ino))
		return;
	if (in_checkpoint(req, ino))
		bw_fuse_checkpoint_setattr(req, ino, fi ? bw_fi_handle(fi) : NULL, attr, to_set);
	else
		bw_fuse_produce_setattr(req, ino, fi ? bw_fi_handle(fi) : NULL, attr, to_set);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	(void)name;
	(void)mode;
	(void)rdev;
	if (!refuse_write(req, parent))
		fuse_reply_err(req, EPERM);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	(void)mode;
	if (refuse_write(req, parent) || refuse_name(req, name))
		return;
	if (in_checkpoint(req, parent))
		bw_fuse_checkpoint_mkdir(req, parent, name);
	else
		bw_fuse_produce_mkdir(req, parent, name);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (refuse_write(req, parent))
		return;
	if (in_checkpoint(req, parent))
		bw_fuse_checkpoint_unlink(req, parent, name);
	else
		bw_reply_err(req, bw_produce_unlink(bw_req_fs(req)->produce, parent, name));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (refuse_write(req, parent))
		return;
	if (in_checkpoint(req, parent))
		bw_fuse_checkpoint_rmdir(req, parent, name);
	else
		bw_reply_err(req, bw_produce_rmdir(bw_req_fs(req)->produce, parent, name));
}

static void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	(void)link;
	(void)name;
	if (!refuse_write(req, parent))
		fuse_reply_err(req, EPERM);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	(void)ino;
	(void)name;
	if (!refuse_write(req, parent))
		fuse_reply_err(req, EPERM);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to,
		      const char *to_name, unsigned flags)
{
	if (refuse_write(req, parent) || refuse_write(req, to) || refuse_name(req, to_name))
		return;
	/* A marker says where a job resumes: under another name it would be another one. */
	if (in_checkpoint(req, parent) || in_checkpoint(req, to))
		fuse_reply_err(req, EPERM);
	else
		bw_fuse_produce_rename(req, parent, name, to, to_name, flags);
}

/* ---- Files -------------------------------------------------------------------------------------- */

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	(void)mode;
	if (refuse_write(req, parent) || refuse_name(req, name))
		return;
	if (in_checkpoint(req, parent))
		bw_fuse_checkpoint_create(req, parent, name, fi);
	else
		bw_fuse_produce_create(req, parent, name, fi);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	switch (area_of(bw_req_fs(req), ino)) {
	case AREA_STEP:
		bw_fuse_step_open(req, ino, fi);
		break;
	case AREA_STATUS:
		bw_fuse_status_open(req, ino, fi);
		break;
	case AREA_CHECKPOINT:
		bw_fuse_checkpoint_open(req, ino, fi);
		break;
	case AREA_PRODUCE:
		bw_fuse_produce_open(req, ino, fi);
		break;
	default:
		fuse_reply_err(req, EISDIR);
	}
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct bw_handle *h = bw_fi_handle(fi);

	(void)ino;
	if (h->kind == BW_HANDLE_SLICE) {
		bw_fuse_step_read(req, h, size, (uint64_t)off);
	} else if (h->kind == BW_HANDLE_STAGE) {
		bw_fuse_produce_read(req, h, size, (uint64_t)off);
	} else if (h->kind == BW_HANDLE_MARK) {
		bw_fuse_checkpoint_read(req, h, size, (uint64_t)off);
	} else {
		size_t at = (size_t)off < h->text.len ? (size_t)off : h->text.len;
		size_t n = h->text.len - at < size ? h->text.len - at : size;
		fuse_reply_buf(req, bw_buf_text(&h->text) + at, n);
	}
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	struct bw_handle *h = bw_fi_handle(fi);

	(void)ino;
	if (h->kind == BW_HANDLE_STAGE)
		bw_fuse_produce_write(req, h, buf, size, (uint64_t)off);
	else if (h->kind == BW_HANDLE_MARK)
		bw_fuse_checkpoint_write(req, h, buf, size, (uint64_t)off);
	else
		fuse_reply_err(req, EBADF);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct bw_handle *h = bw_fi_handle(fi);

	(void)ino;
	if (h->kind == BW_HANDLE_STAGE)
		bw_fuse_produce_flush(req, h);
	else if (h->kind == BW_HANDLE_MARK)
		bw_fuse_checkpoint_flush(req, h);
	else
		fuse_reply_err(req, 0);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct bw_handle *h = bw_fi_handle(fi);

	(void)ino;
	if (h->kind == BW_HANDLE_STAGE)
		bw_produce_release(bw_req_fs(req)->produce, h->stage);
	else if (h->kind == BW_HANDLE_SLICE && !h->is_hand)
		bw_hand_look(h->fs->hand, bw_reader_closed(h->fs->reader, h->entry.step, h->rank, h->thread));
	bw_handle_free(h);
	fuse_reply_err(req, 0);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct bw_handle *h = bw_fi_handle(fi);

	(void)ino;
	(void)datasync;
	if (h->kind == BW_HANDLE_STAGE)
		bw_fuse_produce_fsync(req, h);
	else if (h->kind == BW_HANDLE_MARK)
		bw_fuse_checkpoint_flush(req, h);
	else
		fuse_reply_err(req, 0);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	struct bw_handle *h = bw_fi_handle(fi);

	(void)ino;
	if (h->kind != BW_HANDLE_STAGE)
		fuse_reply_err(req, EBADF);
	else
		bw_reply_err(req, bw_produce_fallocate(bw_req_fs(req)->produce, h->stage, mode,
						       (uint64_t)off, (uint64_t)len));
}

/* ---- Directories -------------------------------------------------------------------------------- */

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	switch (area_of(bw_req_fs(req), ino)) {
	case AREA_STEP:
		bw_fuse_step_opendir(req, ino, fi);
		break;
	case AREA_ROOT:
	case AREA_VIEW:
		bw_fuse_view_opendir(req, ino, fi);
		break;
	case AREA_CHECKPOINT:
		bw_fuse_checkpoint_opendir(req, ino, fi);
		break;
	case AREA_PRODUCE:
		bw_fuse_produce_opendir(req, ino, fi);
		break;
	default:
		fuse_reply_open(req, fi);
	}
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	(void)fi;
	switch (area_of(bw_req_fs(req), ino)) {
	case AREA_ROOT:
		top_readdir(req, size, (uint64_t)off);
		break;
	case AREA_STEP:
		bw_fuse_step_readdir(req, ino, size, (uint64_t)off);
		break;
	case AREA_VIEW:
		bw_fuse_view_readdir(req, ino, size, (uint64_t)off);
		break;
	case AREA_STATUS:
		bw_fuse_status_readdir(req, size, (uint64_t)off);
		break;
	case AREA_CHECKPOINT:
		bw_fuse_checkpoint_readdir(req, ino, size, (uint64_t)off);
		break;
	case AREA_PRODUCE:
		bw_fuse_produce_readdir(req, ino, size, (uint64_t)off);
		break;
	default:
		fuse_reply_err(req, ENOTDIR);
	}
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	(void)fi;
	if (area_of(bw_req_fs(req), ino) == AREA_PRODUCE)
		bw_fuse_produce_fsyncdir(req, ino);
	else
		fuse_reply_err(req, 0);
}

/* ---- The rest ----------------------------------------------------------------------------------- */

struct statfs_req {
	struct bw_task task, late;
	struct bw_fs *fs;
	fuse_req_t req;
	atomic_uint refs;	/* one for each task */
	atomic_bool answered;
};

static void statfs_unref(struct statfs_req *q)
{
	if (atomic_fetch_sub(&q->refs, 1) == 1)
		free(q);
}

static void run_statfs_late(struct bw_task *task)
{
	struct statfs_req *q = bw_container_of(task, struct statfs_req, late);

	if (!atomic_exchange(&q->answered, true))
		bw_reply_err(q->req, -BW_E_UNREACHABLE);
	statfs_unref(q);
}

/* On a thread that may wait: the store directory may be on a disk or a server that does not answer. */
static void run_statfs(struct bw_task *task)
{
	struct statfs_req *q = (struct statfs_req *)task;
	struct bw_fs *fs = q->fs;
	struct bw_root *root = bw_head_root(fs->head);
	/* A store without a size of its own has room; programs look at free before they write. */
	struct statvfs below, st = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = NAME_MAX};
	uint64_t free_blocks = UINT64_C(1) << 38;

	if (fs->url.scheme == BW_URL_FILE && statvfs(fs->url.path, &below) == 0)
		free_blocks = below.f_bavail * (below.f_frsize ? below.f_frsize : 1) / st.f_frsize;
	st.f_bfree = st.f_bavail = free_blocks;
	uint64_t live = bw_live_bytes(&fs->live, root);

	st.f_blocks = free_blocks + (live + st.f_frsize - 1) / st.f_frsize;
	/* Inodes are numbers, of which there are always more: none at all are told, as other file systems without a table do. */
	bw_root_unref(root);
	if (!atomic_exchange(&q->answered, true))
		fuse_reply_statfs(q->req, &st);
	if (bw_workq_cancel(fs->pool, &q->late))
		statfs_unref(q);
	statfs_unref(q);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct bw_fs *fs = bw_req_fs(req);
	struct statfs_req *q = calloc(1, sizeof(*q));

	(void)ino;
	if (!q) {
		bw_reply_err(req, -ENOMEM);
		return;
	}
	q->task = (struct bw_task){.run = run_statfs, .prio = BW_PRIO_DEMAND};
	q->late = (struct bw_task){.run = run_statfs_late, .prio = BW_PRIO_DEMAND};
	q->fs = fs;
	q->req = req;
	atomic_init(&q->refs, 2);
	atomic_init(&q->answered, false);
	bw_workq_push_at(fs->pool, &q->late, bw_now() + fs->o.io_timeout_ns);
	bw_workq_push(fs->side, &q->task);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	if (area_of(bw_req_fs(req), ino) == AREA_STEP)
		bw_fuse_step_getxattr(req, ino, name, size);
	else
		fuse_reply_err(req, ENODATA);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	bw_fuse_step_listxattr(req, ino, size);
}

/* No forget: what the kernel remembers keeps nothing here alive. */
const struct fuse_lowlevel_ops bw_fuse_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.link = op_link,
	.rename = op_rename,
	.create = op_create,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
};
