/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file backend's own: the store directory and the ways below it.  Private to store/file*.c.
 *
 * All work is done relative to a descriptor of the store directory, so that a directory that is
 * moved, removed or unmounted under the mount is noticed and never taken for an empty store: a
 * look-up that found nothing counts only while the directory at the path is still the one that was
 * asked.  A store that comes back is opened again by the next request.
 */
#ifndef BW_STORE_FILE_PRIV_H
#define BW_STORE_FILE_PRIV_H

#include "store/layer.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* Temporary files lie here, below the store directory, so that link(2) stays on one file system. */
#define FILE_TMP ".tmp"

/*
 * A random name in a file of the store directory, made by the first put.  Another directory at the
 * path is the same store, moved or restored, if it has the same name; an empty one (the mount point
 * of a disk that is gone) does not, and nothing it says counts.
 */
#define FILE_ANCHOR ".anchor"
#define FILE_ANCHOR_LEN 32	/* hex digits */

#define FILE_SYNCED_N 1024

/* One incarnation of the store directory. */
struct file_root {
	atomic_uint refs;
	int fd;
	dev_t dev;
	ino_t ino;
	atomic_int anchored;			/* private to file_anchor.c */
	char anchor[FILE_ANCHOR_LEN + 1];	/* once file_anchor_look() said so */
	/* Directories, by hash, whose entries in their parents are known to be on disk. */
	atomic_uint_fast64_t synced[FILE_SYNCED_N];
};

struct deletion;
struct file_rest;

struct file_store {
	struct bw_store store;
	struct bw_workq *q;
	char *dir;		/* owned */
	struct bw_mutex lock;	/* root, deletions, rest */
	struct file_root *root;
	struct deletion *deletions;	/* of many, under way: for cancel() */
	struct file_rest *rest;	/* owned: of the last listing that is not at its end; NULL: none */
	struct bw_task forget;	/* drops it */
	bool forgets;		/* that is queued */
	struct bw_gate earlies;
};

static inline void file_close_p(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define auto_fd __attribute__((cleanup(file_close_p))) int

/* The directory that is at the path now.  -errno when there is none, -ESTALE when it is another store's
 * or an empty one. */
int file_root_get(struct file_store *f, struct file_root **ret) bw_must_check;
struct file_root *file_root_ref(struct file_root *r);
void file_root_unref(struct file_root *r);	/* NULL is fine */
/* 0 while r is still what the path leads to; else what is wrong with the path, or -ESTALE. */
int file_root_check(struct file_store *f, const struct file_root *r) bw_must_check;

/*
 * Opens the directory that holds the last segment of path; *ret_base points to that segment.
 * Follows no symbolic link.  create: makes missing directories and sees to it that all of the way
 * is on disk.  -ENOENT, -ENOTDIR, -ENAMETOOLONG: there is no such way.  -EPERM: not for objects.
 */
int file_parent(struct file_root *r, const char *path, bool create, int *ret_fd,
		const char **ret_base) bw_must_check;
/* Removes the directories on the way to key that are empty now. */
void file_remove_empty(struct file_root *r, const char *key);
int file_tmp_dir(struct file_root *r) bw_must_check;	/* descriptor or -errno */
int file_tmp_look(struct file_root *r) bw_must_check;	/* the same, but makes none: -ENOENT */
static inline bool file_is_private(const char *name)
{
	return strcmp(name, FILE_TMP) == 0 || strcmp(name, FILE_ANCHOR) == 0;
}
void file_tmp_clean(struct file_root *r);	/* removes what crashed processes left long ago */
int file_make_dirs(const char *dir) bw_must_check;	/* like mkdir -p, on disk when it returns 0 */
int file_sync(int fd) bw_must_check;

bool file_anchor_look(struct file_root *r);	/* whether the store has been named */
/* Names it if nobody has.  Where that fails, no other directory is ever taken for this one. */
void file_anchor_make(struct file_root *r);
bool file_anchor_same(struct file_root *a, struct file_root *b);	/* known to be one store */

/*
 * The name of a temporary file: PID-RANDOM-KEY, each slash of the key a '%', which no key has.  A key that a name
 * has no room for is left out; what such a file holds goes when it is a day old.
 */
void file_tmp_name(const char *key, char ret[NAME_MAX + 1]);
/* Whether name is one of those. */
bool file_tmp_is(const char *name);
/* The key in name; false: there is none, or it is no such name. */
bool file_tmp_key(const char *name, char ret[BW_KEY_MAX + 1]);
void file_list_uploads(struct file_root *r, struct bw_op *op);
void file_abort_upload(struct file_root *r, struct bw_op *op);

/* Performs op on this thread; its outcome is set, its done() has not run. */
void file_perform(struct file_store *f, struct bw_op *op);
void file_put(struct file_store *f, struct file_root *r, struct bw_op *op);
bw_early_fn file_early, file_prepare;
void file_early_put(struct bw_op *op);	/* op->early is one of ours */

/* What went wrong, for the log; the outcome is the caller's. */
void file_say(struct bw_op *op, const char *what, int err);
/* There is no store directory. */
void file_gone(struct bw_op *op, int err);
/* Past its deadline: then it has its outcome. */
bool file_is_late(struct bw_op *op);
/* Ends a request on which nothing was applied. */
void file_fail(struct bw_op *op, const char *what, int err);
/* The answer of link, rename or unlink was err: nothing was applied, or nobody knows. */
void file_change_failed(struct bw_op *op, const char *what, int err);
/*
 * When an object got its name, or later.  Its bytes may have been written long before, by a process that was stopped
 * before the link; whoever reckons from then takes for old what has only just appeared.
 */
static inline int64_t file_appeared_ms(const struct stat *st)
{
	int64_t written = st->st_mtim.tv_sec * INT64_C(1000) + st->st_mtim.tv_nsec / BW_MS;
	int64_t named = st->st_ctim.tv_sec * INT64_C(1000) + st->st_ctim.tv_nsec / BW_MS;

	return written > named ? written : named;
}
void file_list(struct file_store *f, struct file_root *r, struct bw_op *op);
void file_rest_free(struct file_rest *rest);	/* NULL is fine */

static inline bool file_is_missing(int err)
{
	return err == -ENOENT || err == -ENOTDIR || err == -ENAMETOOLONG;
}

#endif
