/* SPDX-License-Identifier: Apache-2.0 */
#include "store/file_priv.h"

#include "store/base/hash.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)
#define TMP_MAX_AGE_S (24 * 3600)

int file_sync(int fd)
{
	while (fsync(fd) != 0) {
		/* A file system that cannot sync directories says EINVAL: no better can be had. */
		if (errno == EINVAL)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* ---- The store directory -------------------------------------------------------------------- */

static int root_open(const char *dir, struct file_root **ret)
{
	struct file_root *r = calloc(1, sizeof(*r));
	struct stat st;
	int err;

	if (!r)
		return -ENOMEM;
	atomic_init(&r->refs, 1);
	r->fd = open(dir, DIR_FLAGS);
	if (r->fd < 0 || fstat(r->fd, &st) != 0) {
		err = -errno;
		file_root_unref(r);
		return err;
	}
	r->dev = st.st_dev;
	r->ino = st.st_ino;
	file_anchor_look(r);
	*ret = r;
	return 0;
}

struct file_root *file_root_ref(struct file_root *r)
{
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

void file_root_unref(struct file_root *r)
{
	if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (r->fd >= 0)
		close(r->fd);
	free(r);
}

/* The descriptor that a root holds keeps its inode number from being given to another directory. */
int file_root_check(struct file_store *f, const struct file_root *r)
{
	struct stat st;

	if (stat(f->dir, &st) != 0)
		return -errno;
	return st.st_dev == r->dev && st.st_ino == r->ino ? 0 : -ESTALE;
}

static struct file_root *root_ref(struct file_store *f)
{
	BW_LOCK_SCOPE(&f->lock);
	return f->root ? file_root_ref(f->root) : NULL;
}

static void root_set(struct file_store *f, struct file_root *r)
{
	bw_lock(&f->lock);
	struct file_root *old = f->root;
	f->root = r;
	bw_unlock(&f->lock);
	file_root_unref(old);
}

/* Opens what is at the path now, if it is the store that was lost; old NULL: whatever it is. */
static int root_replace(struct file_store *f, struct file_root *old, struct file_root **ret)
{
	struct file_root *r = NULL;
	int err = root_open(f->dir, &r);

	if (err)
		return err;
	if (old && !file_anchor_same(old, r)) {
		file_root_unref(r);
		return -ESTALE;
	}
	root_set(f, file_root_ref(r));
	*ret = r;
	return 0;
}

int file_root_get(struct file_store *f, struct file_root **ret)
{
	struct file_root *r = root_ref(f);

	if (!r)
		return root_replace(f, NULL, ret);
	int err = file_root_check(f, r);

	if (err) {
		if (err == -ESTALE)
			err = root_replace(f, r, ret);
		file_root_unref(r);
		return err;
	}
	/* While the store is new: somebody may have named it meanwhile. */
	file_anchor_look(r);
	*ret = r;
	return 0;
}

/* ---- Ways below it -------------------------------------------------------------------------- */

/*
 * Which directory a path leads to, as a hash; 0 when the file system cannot tell a directory from a
 * later one that was given its inode number.
 */
static uint64_t identity(int dir, uint64_t path_hash)
{
	struct statx sx;

	if (statx(dir, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &sx) != 0 ||
	    !(sx.stx_mask & STATX_BTIME))
		return 0;
	uint64_t id[] = {path_hash, sx.stx_ino, (uint64_t)sx.stx_btime.tv_sec,
			 sx.stx_btime.tv_nsec};

	return bw_xxh3(id, sizeof(id)) | 1;
}

/*
 * Sees to it that dir's entry in its parent is on disk.  Whoever puts below a directory relies on
 * it, so one made a moment ago by somebody else is synced as well.  A hit in the table spares an
 * fsync; a slot lost to another path costs one.
 */
static int sync_entry(struct file_root *r, int parent, int dir, const char *path, size_t len)
{
	uint64_t path_hash = bw_xxh3(path, len), id = identity(dir, path_hash);
	atomic_uint_fast64_t *slot = &r->synced[path_hash % FILE_SYNCED_N];

	if (id && atomic_load_explicit(slot, memory_order_relaxed) == id)
		return 0;
	int err = file_sync(parent);
	if (!err)
		atomic_store_explicit(slot, id, memory_order_relaxed);
	return err;
}

static int enter(int parent, const char *name, bool create)
{
	/* Somebody may remove the directory between the two calls; not for ever, though. */
	for (int tries = 0; tries < 16; tries++) {
		int fd = openat(parent, name, DIR_FLAGS | O_NOFOLLOW);
		if (fd >= 0)
			return fd;
		if (errno != ENOENT || !create)
			return -errno;
		if (mkdirat(parent, name, 0755) != 0 && errno != EEXIST)
			return -errno;
	}
	return -ENOENT;
}

/* One segment of a path, checked: nothing here trusts that keys were. */
static int segment(const char *path, const char *from, size_t len, char name[NAME_MAX + 1])
{
	if (len > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(name, from, len);
	name[len] = 0;
	if (!len || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -ENOENT;
	return from == path && file_is_private(name) ? -EPERM : 0;
}

int file_parent(struct file_root *r, const char *path, bool create, int *ret_fd,
		const char **ret_base)
{
	char name[NAME_MAX + 1];
	const char *from = path;
	/* Not a duplicate: that would share the position of a directory that is being read. */
	int fd = openat(r->fd, ".", DIR_FLAGS);

	if (fd < 0)
		return -errno;
	for (;;) {
		size_t len = strcspn(from, "/");
		int err = segment(path, from, len, name);
		/* The last segment may be empty: a listing's prefix ends in a slash. */
		if (!from[len] && (!err || !len)) {
			*ret_fd = fd;
			*ret_base = from;
			return 0;
		}
		int child = err ? err : enter(fd, name, create);
		if (child >= 0 && create) {
			err = sync_entry(r, fd, child, path, (size_t)(from - path) + len);
			if (err) {
				close(child);
				child = err;
			}
		}
		close(fd);
		if (child < 0)
			return child;
		fd = child;
		from += len + 1;
	}
}

void file_remove_empty(struct file_root *r, const char *key)
{
	char path[BW_KEY_MAX + 1];
	const char *base;
	int fd;

	snprintf(path, sizeof(path), "%s", key);
	for (char *slash; (slash = strrchr(path, '/'));) {
		*slash = 0;
		if (file_parent(r, path, false, &fd, &base) != 0)
			return;
		int err = unlinkat(fd, base, AT_REMOVEDIR);
		close(fd);
		if (err)
			return;
	}
}

static int sync_above(char *path)
{
	char *slash = strrchr(path, '/');
	const char *above = !slash ? "." : slash == path ? "/" : path;

	if (slash)
		*slash = 0;
	int fd = open(above, DIR_FLAGS);
	if (slash)
		*slash = '/';
	if (fd < 0)
		return -errno;
	int err = file_sync(fd);
	close(fd);
	return err;
}

int file_make_dirs(const char *dir)
{
	char path[PATH_MAX];
	size_t len = strlen(dir);

	if (len >= sizeof(path))
		return -ENAMETOOLONG;
	for (size_t end = 1; end <= len; end++) {
		if (dir[end] && dir[end] != '/')
			continue;
		memcpy(path, dir, end);
		path[end] = 0;
		int err = mkdir(path, 0755) == 0 ? 0 : -errno;
		if (err == -EEXIST)
			continue;
		if (!err)
			err = sync_above(path);
		if (err)
			return err;
	}
	return 0;
}

/* ---- Temporary files ------------------------------------------------------------------------ */

int file_tmp_dir(struct file_root *r)
{
	return enter(r->fd, FILE_TMP, true);
}

int file_tmp_look(struct file_root *r)
{
	return enter(r->fd, FILE_TMP, false);
}

void file_tmp_clean(struct file_root *r)
{
	int fd = file_tmp_look(r);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	struct stat st;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	int64_t now_s = bw_wall_ms() / 1000;
	while ((e = readdir(d)))
		if (file_tmp_is(e->d_name) && fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    now_s - st.st_mtim.tv_sec > TMP_MAX_AGE_S)
			unlinkat(fd, e->d_name, 0);	/* refuses directories */
	closedir(d);
}
