/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One page of a listing, in byte order of whole keys.
 *
 * In that order a directory stands where its name with a slash stands: "a-b" comes before "a/b",
 * which comes before "a0".  So each directory is sorted by names, those of directories with their
 * slash, and entered in its turn.  Of a directory only the next BATCH names are kept in memory; when
 * they are used up and the page is not full, it is read again.
 */
#include "store/file_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH 1024

/* The first names of a directory above a name; while it is filled a heap, the greatest on top. */
struct batch {
	char **names;	/* owned; a directory's ends in a slash */
	size_t n;
	bool cut;	/* there were more */
};

struct walk {
	struct file_root *root;
	struct bw_op *op;
	struct bw_listing *l;
	size_t prefix_len;
	char path[BW_KEY_MAX + 2];	/* the directory, with its slash; "" for the root */
	size_t len;
	int err;
};

static bool is_over(const struct walk *w)
{
	return w->err || w->l->more;
}

static void batch_done(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++)
		free(b->names[i]);
	free(b->names);
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void swap(char **a, char **b)
{
	char *t = *a;

	*a = *b;
	*b = t;
}

static void sift_up(char **e, size_t i)
{
	for (; i && compare(&e[i], &e[(i - 1) / 2]) > 0; i = (i - 1) / 2)
		swap(&e[i], &e[(i - 1) / 2]);
}

static void sift_down(char **e, size_t n)
{
	for (size_t i = 0, child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && compare(&e[child + 1], &e[child]) > 0)
			child++;
		if (compare(&e[child], &e[i]) <= 0)
			return;
		swap(&e[child], &e[i]);
	}
}

static int batch_add(struct batch *b, const char *name)
{
	b->cut |= b->n == BATCH;
	if (b->n == BATCH && strcmp(name, b->names[0]) > 0)
		return 0;
	char *copy = strdup(name);

	if (!copy)
		return -ENOMEM;
	if (b->n == BATCH) {
		free(b->names[0]);
		b->names[0] = copy;
		sift_down(b->names, b->n);
	} else {
		b->names[b->n] = copy;
		sift_up(b->names, b->n++);
	}
	return 0;
}

/* May name (in w->path) be a key of the page, or a directory that holds one? */
static bool is_wanted(const struct walk *w, const char *name)
{
	char path[2 * BW_KEY_MAX];
	size_t name_len = strlen(name), n = w->len + name_len;
	bool is_dir = name[name_len - 1] == '/';

	if (n > BW_KEY_MAX)
		return false;
	memcpy(path, w->path, w->len);
	memcpy(path + w->len, name, name_len + 1);
	if (strncmp(path, w->op->key, n < w->prefix_len && is_dir ? n : w->prefix_len) != 0)
		return false;
	return is_dir ? strncmp(path, w->op->after, n) >= 0 : strcmp(path, w->op->after) > 0;
}

/* A regular file or a directory whose name can stand in a key: its name, else false. */
static bool entry_name(const struct walk *w, int dir, const struct dirent *e,
		       char name[NAME_MAX + 2])
{
	struct stat st;
	unsigned char type = e->d_type;

	if (!bw_key_valid(e->d_name) || (!w->len && file_is_private(e->d_name)))
		return false;
	if (type == DT_UNKNOWN) {
		if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			return false;
		type = S_ISDIR(st.st_mode) ? DT_DIR : S_ISREG(st.st_mode) ? DT_REG : DT_LNK;
	}
	if (type != DT_DIR && type != DT_REG)
		return false;
	snprintf(name, NAME_MAX + 2, "%s%s", e->d_name, type == DT_DIR ? "/" : "");
	return true;
}

/* The descriptor of the walk's directory; -1 when it is gone or cannot be had (w->err). */
static int open_dir(struct walk *w)
{
	const char *base;
	int fd;
	int err = file_parent(w->root, w->path, false, &fd, &base);

	if (!err)
		return fd;
	if (!file_is_missing(err) && err != -EPERM)
		w->err = err;
	return -1;
}

static void fill(struct walk *w, const char *above, struct batch *b)
{
	char name[NAME_MAX + 2];
	struct dirent *e;
	int fd = open_dir(w);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d) {
		if (fd >= 0) {
			w->err = -errno;
			close(fd);
		}
		return;
	}
	for (errno = 0; !w->err && (e = readdir(d)); errno = 0)
		if (entry_name(w, fd, e, name) && strcmp(name, above) > 0 && is_wanted(w, name))
			w->err = batch_add(b, name);
	if (!w->err && errno)
		w->err = -errno;
	closedir(d);
	qsort(b->names, b->n, sizeof(b->names[0]), compare);
}

static void add_file(struct walk *w, int dir, const char *name)
{
	struct bw_listing *l = w->l;
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
		if (errno != ENOENT)
			w->err = -errno;
		return;
	}
	if (l->n == w->op->max) {
		l->more = true;
		return;
	}
	struct bw_listed *item = &l->items[l->n];
	size_t name_len = strlen(name);

	item->key = malloc(w->len + name_len + 1);
	if (!item->key) {
		w->err = -ENOMEM;
		return;
	}
	memcpy(item->key, w->path, w->len);
	memcpy(item->key + w->len, name, name_len + 1);
	item->size = (uint64_t)st.st_size;
	item->modified_ms = file_appeared_ms(&st);
	l->n++;
}

static void walk_dir(struct walk *w);

/* Holds no descriptor while it is inside a directory: keys may be deep. */
static void walk_batch(struct walk *w, const struct batch *b)
{
	int fd = -1;

	for (size_t i = 0; i < b->n && !is_over(w); i++) {
		const char *name = b->names[i];
		size_t name_len = strlen(name), len = w->len;
		if (name[name_len - 1] != '/') {
			if (fd < 0 && (fd = open_dir(w)) < 0)
				break;
			add_file(w, fd, name);
			continue;
		}
		if (fd >= 0)
			close(fd);
		fd = -1;
		memcpy(w->path + len, name, name_len + 1);
		w->len += name_len;
		walk_dir(w);
		w->len = len;
		w->path[len] = 0;
	}
	if (fd >= 0)
		close(fd);
}

static void walk_dir(struct walk *w)
{
	char above[NAME_MAX + 2] = "";
	bool cut = true;

	while (cut && !is_over(w)) {
		struct batch b = {.names = calloc(BATCH, sizeof(b.names[0]))};
		if (!b.names) {
			w->err = -ENOMEM;
			return;
		}
		fill(w, above, &b);
		walk_batch(w, &b);
		cut = b.cut;
		if (b.n)
			snprintf(above, sizeof(above), "%s", b.names[b.n - 1]);
		batch_done(&b);
	}
}

void file_list(struct file_root *r, struct bw_op *op)
{
	struct walk w = {.root = r, .op = op, .prefix_len = strlen(op->key)};
	const char *slash = strrchr(op->key, '/');

	w.l = calloc(1, sizeof(*w.l));
	if (!w.l || !(w.l->items = calloc(op->max, sizeof(w.l->items[0])))) {
		w.err = -ENOMEM;
	} else {
		/* No key outside the directory that the prefix names can match. */
		w.len = slash ? (size_t)(slash + 1 - op->key) : 0;
		memcpy(w.path, op->key, w.len);
		walk_dir(&w);
	}
	if (w.err) {
		bw_listing_free(w.l);
		file_fail(op, "list", w.err);
		return;
	}
	op->listing = w.l;
	op->outcome = BW_OK;
}
