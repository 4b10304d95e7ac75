/* SPDX-License-Identifier: Apache-2.0 */
#include "store/file_priv.h"

#include "store/base/hash.h"
#include "store/base/rand.h"

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

/* ---- The store directory -------------------------------------------------------------------- */

static void anchor_read(struct file_root *r)
{
	char text[FILE_ANCHOR_LEN + 1] = "";
	int fd = openat(r->fd, FILE_ANCHOR, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return;
	if (read(fd, text, FILE_ANCHOR_LEN) == FILE_ANCHOR_LEN &&
	    strspn(text, "0123456789abcdef") == FILE_ANCHOR_LEN)
		memcpy(r->anchor, text, sizeof(text));
	close(fd);
}

int file_anchor_make(struct file_root *r, bool create)
{
	char text[FILE_ANCHOR_LEN + 1], name[sizeof(FILE_TMP) + sizeof(FILE_ANCHOR) + sizeof(text)];
	uint8_t id[FILE_ANCHOR_LEN / 2];
	int tmp, fd, err = 0;

	if (r->anchor[0])
		return 0;
	bw_random(id, sizeof(id));
	bw_hex(id, sizeof(id), text);
	tmp = enter(r->fd, FILE_TMP, create);
	if (tmp < 0)
		return tmp;
	close(tmp);
	snprintf(name, sizeof(name), FILE_TMP "/" FILE_ANCHOR "%s", text);
	fd = openat(r->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	if (write(fd, text, FILE_ANCHOR_LEN) != FILE_ANCHOR_LEN)
		err = errno ? -errno : -EIO;
	if (!err)
		err = file_sync(fd);
	close(fd);
	/* Whoever is first names the store. */
	if (!err && linkat(r->fd, name, r->fd, FILE_ANCHOR, 0) != 0 && errno != EEXIST)
		err = -errno;
	unlinkat(r->fd, name, 0);
	if (!err)
		err = file_sync(r->fd);
	anchor_read(r);
	return err;
}

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
	anchor_read(r);
	*ret = r;
	return 0;
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

static bool is_same_store(struct file_store *f, const struct file_root *r)
{
	BW_LOCK_SCOPE(&f->lock);
	return !f->root || (r->anchor[0] && strcmp(r->anchor, f->root->anchor) == 0);
}

int file_root_get(struct file_store *f, struct file_root **ret)
{
	struct file_root *r, *old;

	bw_lock(&f->lock);
	r = f->root;
	if (r)
		atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	bw_unlock(&f->lock);

	int err = r ? file_root_check(f, r) : -ESTALE;
	if (err) {
		file_root_unref(r);
		if (err != -ESTALE)
			return err;
		err = root_open(f->dir, &r);
		if (err)
			return err;
		if (!is_same_store(f, r)) {
			file_root_unref(r);
			return -ESTALE;
		}
		atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
		bw_lock(&f->lock);
		old = f->root;
		f->root = r;
		bw_unlock(&f->lock);
		file_root_unref(old);
	}
	*ret = r;
	return 0;
}

/* ---- Ways below it -------------------------------------------------------------------------- */

/* A hit spares an fsync; a slot lost to another path costs one. */
static atomic_uint_fast64_t *synced_slot(struct file_root *r, const char *path, size_t len,
					 uint64_t *ret_hash)
{
	*ret_hash = bw_xxh3(path, len) | 1;
	return &r->synced[(*ret_hash >> 1) % FILE_SYNCED_N];
}

/*
 * Whoever puts below a directory relies on it, so a directory made a moment ago by somebody else is
 * synced as well.
 */
static int sync_entry(struct file_root *r, int parent, const char *path, size_t len)
{
	uint64_t hash;
	atomic_uint_fast64_t *slot = synced_slot(r, path, len, &hash);

	if (atomic_load_explicit(slot, memory_order_relaxed) == hash)
		return 0;
	int err = file_sync(parent);
	if (!err)
		atomic_store_explicit(slot, hash, memory_order_relaxed);
	return err;
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
			err = sync_entry(r, fd, path, (size_t)(from - path) + len);
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

void file_tmp_clean(struct file_root *r)
{
	int fd = enter(r->fd, FILE_TMP, false);
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
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
		    now_s - st.st_mtim.tv_sec > TMP_MAX_AGE_S)
			unlinkat(fd, e->d_name, 0);
	closedir(d);
}
