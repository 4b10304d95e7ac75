/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/watch_look.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* ---- Files --------------------------------------------------------------------------------------- */

static int64_t ns_of(const struct timespec *t)
{
	return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

static int file_init(struct bw_watch_file *f, const char *path, const struct stat *st)
{
	*f = (struct bw_watch_file){
		.path = strdup(path),
		.is_dir = S_ISDIR(st->st_mode),
		.size = S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_size,
		.ino = st->st_ino,
		.mtime_ns = ns_of(&st->st_mtim),
		.ctime_ns = ns_of(&st->st_ctim),
	};
	return f->path ? 0 : -ENOMEM;
}

static ssize_t read_fd(void *ctx, uint64_t off, void *bytes, size_t len)
{
	ssize_t n;

	do {
		n = pread(*(int *)ctx, bytes, len, (off_t)off);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Moves what an unchanged file says out of the snapshot before. */
static bool facts_take(struct bw_watch_file *f, struct bw_watch_file *old)
{
	if (!old || old->scanned != f->scanned || old->ino != f->ino || old->size != f->size ||
	    old->mtime_ns != f->mtime_ns || old->ctime_ns != f->ctime_ns)
		return false;
	f->facts = old->facts;
	memset(&old->facts, 0, sizeof(old->facts));
	old->scanned = BW_SCAN_NONE;
	return true;
}

/* 0, -ENOENT when the file has gone meanwhile, or -errno. */
static int file_scan(int dir, const char *name, struct bw_watch_file *f, struct bw_watch_file *old)
{
	struct stat st;

	if (f->scanned == BW_SCAN_NONE || f->is_dir || facts_take(f, old))
		return 0;
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return -errno;
	int err = fstat(fd, &st) < 0 ? -errno : 0;

	if (!err && S_ISREG(st.st_mode))
		err = bw_watch_scan(f->scanned, f->size, read_fd, &fd, &f->facts);
	close(fd);
	return err;
}

/* ---- Below an entry -------------------------------------------------------------------------------- */

struct walk {
	const struct bw_watch_format *format;
	struct bw_watch_item *item;
	struct bw_watch_item *old;	/* of the snapshot before, or NULL */
	char path[PATH_MAX];		/* of the folder, with the entry's name and a slash behind it */
	size_t head;			/* bytes of the entry's name and its slash */
};

/* The first thing that could not be read counts; what has gone since it was listed is no error. */
static void walk_failed(struct walk *w, int err)
{
	if (err == -ENOENT)
		w->item->moved = true;
	else if (!w->item->err)
		w->item->err = err;
}

static struct bw_watch_file *walk_add(struct walk *w, const char *path, const struct stat *st)
{
	struct bw_watch_item *item = w->item;

	if (item->n == item->cap) {
		uint32_t cap = item->cap ? 2 * item->cap : 16;
		void *files = cap > BW_WATCH_FILES_MAX ? NULL
						       : realloc(item->files, cap * sizeof(*item->files));

		if (!files) {
			walk_failed(w, cap > BW_WATCH_FILES_MAX ? -E2BIG : -ENOMEM);
			return NULL;
		}
		item->files = files;
		item->cap = cap;
	}
	struct bw_watch_file *f = &item->files[item->n];

	if (file_init(f, path, st)) {
		walk_failed(w, -ENOMEM);
		return NULL;
	}
	item->n++;
	return f;
}

static void walk_folder(struct walk *w, int dir, const char *name, unsigned depth);

static void walk_entry(struct walk *w, int dir, const char *name, unsigned depth)
{
	size_t len = strlen(w->path);
	struct stat st, link;

	if (len + strlen(name) + 2 > sizeof(w->path)) {
		walk_failed(w, -ENAMETOOLONG);
		return;
	}
	if (fstatat(dir, name, &st, 0) < 0 || fstatat(dir, name, &link, AT_SYMLINK_NOFOLLOW) < 0) {
		walk_failed(w, -errno);
		return;
	}
	memcpy(w->path + len, name, strlen(name) + 1);
	struct bw_watch_file *f = walk_add(w, w->path + w->head, &st);

	if (f && !f->is_dir) {
		struct bw_watch_file *old = NULL;

		if (w->old)
			old = (struct bw_watch_file *)bw_watch_file(w->old, f->path);
		f->scanned = w->format->scan(w->path);
		int err = file_scan(dir, name, f, old);

		if (err)
			walk_failed(w, err);
	} else if (f && !S_ISLNK(link.st_mode)) {
		w->path[len + strlen(name)] = '/';
		w->path[len + strlen(name) + 1] = 0;
		walk_folder(w, dir, name, depth + 1);
	}
	w->path[len] = 0;
}

static void walk_folder(struct walk *w, int dir, const char *name, unsigned depth)
{
	/* A checkpoint itself may be a link to another disk; what is in it may not lead elsewhere. */
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (depth ? O_NOFOLLOW : 0));
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!list || depth > BW_WATCH_DEPTH_MAX) {
		walk_failed(w, list ? -ELOOP : -errno);
		if (list)
			closedir(list);
		else if (fd >= 0)
			close(fd);
		return;
	}
	for (errno = 0; (e = readdir(list)) && !w->item->err; errno = 0)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			walk_entry(w, fd, e->d_name, depth);
	if (!e && errno)
		walk_failed(w, -errno);
	closedir(list);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct bw_watch_file *)a)->path, ((const struct bw_watch_file *)b)->path);
}

/* ---- The directory --------------------------------------------------------------------------------- */

struct look {
	const struct bw_watch_format *format;
	const char *arg;
	struct bw_watch_snapshot *old, *now;
};

static struct bw_watch_item *item_add(struct bw_watch_snapshot *s)
{
	if (s->n == s->cap) {
		uint32_t cap = s->cap ? 2 * s->cap : 64;
		void *items = realloc(s->items, cap * sizeof(*s->items));

		if (!items)
			return NULL;
		s->items = items;
		s->cap = cap;
	}
	struct bw_watch_item *item = &s->items[s->n];

	memset(item, 0, sizeof(*item));
	return item;
}

static void item_walk(struct look *l, int dir, struct bw_watch_item *item, struct bw_watch_item *old)
{
	struct walk w = {.format = l->format, .item = item, .old = old};
	int n = snprintf(w.path, sizeof(w.path), "%s/", item->self.path);

	w.head = (size_t)n;
	walk_folder(&w, dir, item->self.path, 0);
	if (item->n)
		qsort(item->files, item->n, sizeof(*item->files), by_path);
}

/* 0 also for an entry that cannot be read: that is said in the item. */
static int look_entry(struct look *l, int dir, const char *name)
{
	struct stat st, link;
	uint64_t step;
	int err = fstatat(dir, name, &st, 0) < 0 ? -errno : 0;

	if (err && fstatat(dir, name, &link, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		return 0;		/* it has gone since it was listed */
	if (err) {
		/* A link that leads nowhere may have led to a disk that is away. */
		memset(&st, 0, sizeof(st));
		st.st_mode = S_IFDIR;
	}
	struct bw_watch_item *item = item_add(l->now);

	if (!item || file_init(&item->self, name, &st))
		return -ENOMEM;
	l->now->n++;
	item->err = err;
	struct bw_watch_item *old = NULL;

	if (l->old)
		old = (struct bw_watch_item *)bw_watch_item(l->old, name);
	if (err)
		return 0;
	if (!item->self.is_dir) {
		item->self.scanned = S_ISREG(st.st_mode) ? l->format->scan(name) : BW_SCAN_NONE;
		item->err = file_scan(dir, name, &item->self, old ? &old->self : NULL);
		if (item->err == -ENOENT) {
			item->err = 0;
			item->moved = true;
		}
	} else if (l->format->step(l->arg, name, true, &step)) {
		item_walk(l, dir, item, old);
	}
	return 0;
}

static int look_all(struct look *l, int fd, DIR *list)
{
	struct dirent *e;
	int err = 0;

	for (errno = 0; !err && (e = readdir(list)); errno = 0) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		err = l->now->n < BW_WATCH_ITEMS_MAX ? look_entry(l, fd, e->d_name) : -E2BIG;
	}
	return err ? err : -errno;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct bw_watch_item *)a)->self.path,
		      ((const struct bw_watch_item *)b)->self.path);
}

int bw_watch_look(const char *dir, const struct bw_watch_format *format, const char *arg,
		  struct bw_watch_snapshot *old, struct bw_watch_snapshot *ret)
{
	struct bw_watch_snapshot now = {.n = 0};
	struct look l = {.format = format, .arg = arg, .old = old, .now = &now};
	struct stat st, after;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);

	if (!list) {
		int err = -errno;

		if (fd >= 0)
			close(fd);
		return err;
	}
	int err = fstat(fd, &st) < 0 ? -errno : look_all(&l, fd, list);

	/* Somebody may have mounted over it, or unmounted it, meanwhile. */
	if (!err && (stat(dir, &after) < 0 || after.st_dev != st.st_dev || after.st_ino != st.st_ino))
		err = -ESTALE;
	closedir(list);
	if (err) {
		bw_watch_snapshot_done(&now);
		return err;
	}
	if (now.n)
		qsort(now.items, now.n, sizeof(*now.items), by_name);
	now.dev = st.st_dev;
	now.ino = st.st_ino;
	*ret = now;
	return 0;
}

/* ---- Changes --------------------------------------------------------------------------------------- */

bool bw_watch_is_network(const char *dir)
{
	/* Those that tell of changes by this host alone: nfs, smb, cifs, smb2, lustre, gpfs, ceph, fuse,
	 * beegfs, afs, 9p, gfs2, ocfs2. */
	static const uint32_t types[] = {0x6969,     0x517b,	 0xff534d42, 0xfe534d42, 0x0bd00bd0,
					 0x47504653, 0x00c36400, 0x65735546, 0x19830326, 0x5346414f,
					 0x01021997, 0x01161970, 0x7461636f};
	struct statfs fs;

	if (statfs(dir, &fs) < 0)
		return false;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if ((uint32_t)fs.f_type == types[i])
			return true;
	return false;
}

#define EVENTS                                                                                     \
	(IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE | IN_DELETE_SELF |   \
	 IN_MOVE_SELF)

int bw_watch_listen(const char *dir, const struct bw_watch_format *format, const char *arg,
		    const struct bw_watch_snapshot *s)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char path[PATH_MAX];
	uint64_t step;
	int err = 0;

	if (fd < 0)
		return -errno;
	if (inotify_add_watch(fd, dir, EVENTS) < 0)
		err = -errno;
	for (uint32_t i = 0; s && i < s->n && !err; i++) {
		const struct bw_watch_file *f = &s->items[i].self;

		if (!f->is_dir || !format->step(arg, f->path, true, &step) ||
		    snprintf(path, sizeof(path), "%s/%s", dir, f->path) >= (int)sizeof(path))
			continue;
		/* It may have gone; but a limit that is reached ends all of it. */
		if (inotify_add_watch(fd, path, EVENTS) < 0 && errno == ENOSPC)
			err = -ENOSPC;
	}
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}
