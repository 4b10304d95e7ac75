/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the FUSE adapters: one file each for the areas of the tree, one table for all of them.
 *
 * No handler waits for the network: it answers, or parks the request in an object that whoever brings
 * the news answers.
 */
#ifndef BW_FS_FUSE_OPS_H
#define BW_FS_FUSE_OPS_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include "fs/fs_priv.h"

/* Fixed inode numbers. */
#define BW_INO_ROOT 1u
#define BW_INO_STEP 2u
#define BW_INO_PRODUCE BW_PRODUCE_INO
#define BW_INO_CHECKPOINT BW_CHECKPOINT_INO
#define BW_INO_STATUS 5u
#define BW_INO_STATUS_FILES 16u		/* + enum bw_status_file */

/* What the kernel may keep of names and attributes that never change (V4), seconds. */
#define BW_FOREVER 86400.0
/* The same of a step, which may be reclaimed. */
#define BW_STEP_KEPT 60.0

enum bw_handle_kind { BW_HANDLE_TEXT, BW_HANDLE_SLICE, BW_HANDLE_STAGE, BW_HANDLE_MARK };

struct bw_handle {
	enum bw_handle_kind kind;
	struct bw_fs *fs;
	struct bw_handle *next, **prev;		/* of fs->handles */
	struct bw_buf text;			/* TEXT */
	uint64_t charge;			/* TEXT: what it holds of the budget */
	struct bw_stage_handle *stage;		/* STAGE */
	struct bw_mark_text *mark;		/* MARK: owned */
	/* SLICE */
	struct bw_entry entry;
	struct bw_tgb *tgb;			/* ref */
	uint32_t rank;
	pid_t thread;				/* that opened it; 0: of another pid namespace */
	bool is_hand;				/* fuse_hand.c's */
	bool is_direct;				/* past the page cache (once.h) */
	atomic_uint small;			/* reads of a direct file */
	atomic_uint_fast64_t next_offset;	/* where a sequential reader goes on */
};
struct bw_handle *bw_handle_new(struct bw_fs *fs, enum bw_handle_kind kind);	/* NULL: no memory */
void bw_handle_free(struct bw_handle *h);
/* At the end of the mount, when what it refers to has been freed. */
void bw_handle_abandon(struct bw_handle *h);

static inline struct bw_fs *bw_req_fs(fuse_req_t req)
{
	return fuse_req_userdata(req);
}
static inline struct bw_handle *bw_fi_handle(const struct fuse_file_info *fi)
{
	return (struct bw_handle *)(uintptr_t)fi->fh;
}

/* ---- fuse_reply.c: the one place where codes become errno --------------------------------------- */

void bw_reply_err(fuse_req_t req, int err);
void bw_fill_dir(const struct bw_fs *fs, uint64_t ino, uint32_t perm, int64_t mtime_ns,
		 struct stat *ret);
void bw_fill_file(const struct bw_fs *fs, uint64_t ino, uint32_t perm, uint64_t size,
		  uint64_t stored, int64_t mtime_ns, struct stat *ret);
void bw_reply_entry(fuse_req_t req, const struct stat *st, double timeout);
/* Takes h.  False: the open was interrupted, h is freed, and no release will come. */
bool bw_reply_open(fuse_req_t req, struct fuse_file_info *fi, struct bw_handle *h);
/*
 * A text handle over what text holds (taken); direct_io, so that sizes seen before do not matter.  -ENOMEM is replied where texts
 * hold their share of memory= already.  No lock is held.
 */
void bw_reply_open_text(fuse_req_t req, struct fuse_file_info *fi, struct bw_buf *text);

struct bw_dirbuf {
	fuse_req_t req;
	char *bytes;		/* owned */
	size_t len, size;
};
int bw_dirbuf_init(struct bw_dirbuf *d, fuse_req_t req, size_t size) bw_must_check;
/* False: full, the entry was not added. */
bool bw_dirbuf_add(struct bw_dirbuf *d, const char *name, uint64_t ino, bool dir, uint64_t off);
void bw_dirbuf_reply(struct bw_dirbuf *d);	/* and frees */
/* "." and "..", at offsets 1 and 2. */
bool bw_dirbuf_dots(struct bw_dirbuf *d, uint64_t off, uint64_t ino, uint64_t parent);

/* ---- fuse_step.c ------------------------------------------------------------------------------- */

void bw_fuse_step_lookup(fuse_req_t req, uint64_t parent, const char *name);
/* A name of this inode number, of a slice or of a step's directory in a view. */
void bw_fuse_step_lookup_ino(fuse_req_t req, uint64_t ino);
void bw_fuse_step_getattr(fuse_req_t req, uint64_t ino);
void bw_fuse_step_open(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi);
void bw_fuse_step_read(fuse_req_t req, struct bw_handle *h, size_t size, uint64_t off);
void bw_fuse_step_opendir(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi);
void bw_fuse_step_readdir(fuse_req_t req, uint64_t ino, size_t size, uint64_t off);
void bw_fuse_step_getxattr(fuse_req_t req, uint64_t ino, const char *name, size_t size);
void bw_fuse_step_listxattr(fuse_req_t req, uint64_t ino, size_t size);

/* ---- fuse_view.c: directories of name templates; the top directory has entries of them as well --- */

/* Offsets of entries: this, the number of the place (view.h) and 1; those of the top directory are below. */
#define BW_VIEW_OFFSET 16u

void bw_fuse_view_lookup(fuse_req_t req, uint64_t parent, const char *name);
void bw_fuse_view_getattr(fuse_req_t req, uint64_t ino);
void bw_fuse_view_opendir(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi);
void bw_fuse_view_readdir(fuse_req_t req, uint64_t ino, size_t size, uint64_t off);
/* Adds the entries from off on; false: full. */
bool bw_fuse_view_fill(struct bw_dirbuf *d, uint64_t ino, uint64_t off);

/* ---- fuse_produce.c ---------------------------------------------------------------------------- */

void bw_fuse_produce_lookup(fuse_req_t req, uint64_t parent, const char *name);
void bw_fuse_produce_getattr(fuse_req_t req, uint64_t ino);
void bw_fuse_produce_setattr(fuse_req_t req, uint64_t ino, struct bw_handle *h, struct stat *attr,
			     int to_set);
void bw_fuse_produce_mkdir(fuse_req_t req, uint64_t parent, const char *name);
void bw_fuse_produce_rename(fuse_req_t req, uint64_t parent, const char *name, uint64_t to,
			    const char *to_name, unsigned flags);
void bw_fuse_produce_create(fuse_req_t req, uint64_t parent, const char *name,
			    struct fuse_file_info *fi);
void bw_fuse_produce_open(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi);
void bw_fuse_produce_read(fuse_req_t req, struct bw_handle *h, size_t size, uint64_t off);
void bw_fuse_produce_write(fuse_req_t req, struct bw_handle *h, const char *buf, size_t size,
			   uint64_t off);
void bw_fuse_produce_flush(fuse_req_t req, struct bw_handle *h);
void bw_fuse_produce_fsync(fuse_req_t req, struct bw_handle *h);
void bw_fuse_produce_fsyncdir(fuse_req_t req, uint64_t ino);
void bw_fuse_produce_opendir(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi);
void bw_fuse_produce_readdir(fuse_req_t req, uint64_t ino, size_t size, uint64_t off);

/* ---- fuse_checkpoint.c ------------------------------------------------------------------------- */

void bw_fuse_checkpoint_lookup(fuse_req_t req, uint64_t parent, const char *name);
void bw_fuse_checkpoint_getattr(fuse_req_t req, uint64_t ino);
void bw_fuse_checkpoint_setattr(fuse_req_t req, uint64_t ino, struct bw_handle *h, struct stat *attr,
				int to_set);
void bw_fuse_checkpoint_mkdir(fuse_req_t req, uint64_t parent, const char *name);
void bw_fuse_checkpoint_unlink(fuse_req_t req, uint64_t parent, const char *name);
void bw_fuse_checkpoint_rmdir(fuse_req_t req, uint64_t parent, const char *name);
void bw_fuse_checkpoint_create(fuse_req_t req, uint64_t parent, const char *name,
			       struct fuse_file_info *fi);
void bw_fuse_checkpoint_open(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi);
void bw_fuse_checkpoint_read(fuse_req_t req, struct bw_handle *h, size_t size, uint64_t off);
void bw_fuse_checkpoint_write(fuse_req_t req, struct bw_handle *h, const char *buf, size_t size,
			      uint64_t off);
void bw_fuse_checkpoint_flush(fuse_req_t req, struct bw_handle *h);	/* fsync as well */
void bw_fuse_checkpoint_opendir(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi);
void bw_fuse_checkpoint_readdir(fuse_req_t req, uint64_t ino, size_t size, uint64_t off);

/* ---- fuse_text.c: /status, and the files next, state, resume ----------------------------------- */

void bw_fuse_status_lookup(fuse_req_t req, const char *name);
void bw_fuse_status_getattr(fuse_req_t req, uint64_t ino);
void bw_fuse_status_open(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi);
void bw_fuse_status_readdir(fuse_req_t req, size_t size, uint64_t off);
void bw_fuse_text_open(fuse_req_t req, uint64_t ino, enum bw_produce_text what, const char *producer,
		       struct fuse_file_info *fi);

/* Asks for fresh news, at most limit_ns, then runs next (on another thread, with the outcome). */
struct bw_fresh {
	struct bw_ask ask;
	struct bw_waiter waiter;
	struct bw_fs *fs;
	fuse_req_t req;
	uint64_t ino;
	struct fuse_file_info fi;
	char name[BW_NAME_MAX + 1];
	int arg;
	void (*next)(struct bw_fresh *f, int err);	/* frees f */
};
/* Replies ENOMEM itself when it cannot. */
void bw_fresh_ask(fuse_req_t req, uint64_t ino, const char *name, const struct fuse_file_info *fi,
		  int arg, int64_t limit_ns, void (*next)(struct bw_fresh *f, int err));

/* Opens a directory that grows once there are fresh news, or after a second without. */
void bw_fresh_opendir(fuse_req_t req, uint64_t ino, const struct fuse_file_info *fi);

extern const struct fuse_lowlevel_ops bw_fuse_ops;	/* fuse_ops.c */

#endif
