/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One page of a listing, in byte order of whole keys.
 *
 * In that order a directory stands where its name with a slash stands: "a-b" comes before "a/b",
 * which comes before "a0".  So each directory is sorted by names, those of directories with their
 * slash, and entered in its turn.  Of a directory the next names are kept in memory, up to BATCH_BYTES; when
 * they are used up and the page is not full, it is read again.
 *
 * What is left of these names when a page is full is kept for the page that goes on behind it: else each page would
 * read and sort whole directories for a thousand of their names.  Each name is looked at again before it is told.
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

#define BATCH_BYTES (2u << 20)	/* of the names of one directory */
#define REST_BYTES (4u << 20)	/* between two pages; of more nothing is kept */
#define REST_NS (60 * BW_SEC)

/* The first names of a directory above a name; while it is filled a heap, the greatest on top. */
struct batch {
	char **names;	/* owned; a directory's ends in a slash */
	size_t n, cap, bytes;
	bool cut;	/* there were more */
};

/* A directory that a walk is in. */
struct frame {
	struct batch b;
	size_t next;	/* of its names */
	size_t len;	/* of its path */
};

/* Where a walk is. */
struct file_rest {
	struct file_root *root;	/* one reference, while it is kept */
	char prefix[BW_KEY_MAX + 1], after[BW_KEY_MAX + 1];
	char path[BW_KEY_MAX + 2];	/* the innermost directory, with its slash; "" for the root */
	size_t len;
	struct frame *frames;	/* owned, as are their names; the innermost last */
	size_t n, cap;
	int64_t until_ns;
};

struct walk {
	struct file_root *root;
	struct bw_op *op;
	struct bw_listing *l;
	struct file_rest *at;
	size_t prefix_len;
	int fd;			/* the innermost directory; -1: not open */
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
	*b = (struct batch){.names = NULL};
}

void file_rest_free(struct file_rest *rest)
{
	if (!rest)
		return;
	for (size_t i = 0; i < rest->n; i++)
		batch_done(&rest->frames[i].b);
	free(rest->frames);
	file_root_unref(rest->root);
	free(rest);
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

/* What a name takes, with its pointer and what malloc() adds. */
static size_t name_bytes(const char *name)
{
	return strlen(name) + 1 + sizeof(char *) + 16;
}

static int batch_grow(struct batch *b)
{
	size_t cap = b->cap ? 2 * b->cap : 64;
	char **names = realloc(b->names, cap * sizeof(*names));

	if (!names)
		return -ENOMEM;
	b->names = names;
	b->cap = cap;
	return 0;
}

/* The greatest goes: it is found when the directory is read again. */
static void batch_pop(struct batch *b)
{
	b->bytes -= name_bytes(b->names[0]);
	free(b->names[0]);
	b->names[0] = b->names[--b->n];
	sift_down(b->names, b->n);
	b->cut = true;
}

static int batch_add(struct batch *b, const char *name)
{
	if (b->cut && strcmp(name, b->names[0]) > 0)
		return 0;
	int err = b->n == b->cap ? batch_grow(b) : 0;
	char *copy = err ? NULL : strdup(name);

	if (!copy)
		return -ENOMEM;
	b->names[b->n] = copy;
	sift_up(b->names, b->n++);
	b->bytes += name_bytes(name);
	while (b->bytes > BATCH_BYTES)
		batch_pop(b);
	return 0;
}

/* May name (in the innermost directory) be a key of the page, or a directory that holds one? */
static bool is_wanted(const struct walk *w, const char *name)
{
	char path[2 * BW_KEY_MAX];
	size_t name_len = strlen(name), n = w->at->len + name_len;
	bool is_dir = name[name_len - 1] == '/';

	if (n > BW_KEY_MAX)
		return false;
	memcpy(path, w->at->path, w->at->len);
	memcpy(path + w->at->len, name, name_len + 1);
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

	if (!bw_key_valid(e->d_name) || (!w->at->len && file_is_private(e->d_name)))
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

/* A descriptor of the innermost directory; -1 when it is gone or cannot be had (w->err). */
static int open_dir(struct walk *w)
{
	const char *base;
	int fd;
	int err = file_parent(w->root, w->at->path, false, &fd, &base);

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
	if (b->n)
		qsort(b->names, b->n, sizeof(b->names[0]), compare);
}

static void add_file(struct walk *w, const char *name)
{
	struct bw_listing *l = w->l;
	struct stat st;

	if (fstatat(w->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
		if (errno != ENOENT)
			w->err = -errno;
		return;
	}
	if (!S_ISREG(st.st_mode))	/* it was, when the directory was read */
		return;
	if (l->n == w->op->max) {
		l->more = true;
		return;
	}
	struct bw_listed *item = &l->items[l->n];
	size_t name_len = strlen(name);

	item->key = malloc(w->at->len + name_len + 1);
	if (!item->key) {
		w->err = -ENOMEM;
		return;
	}
	memcpy(item->key, w->at->path, w->at->len);
	memcpy(item->key + w->at->len, name, name_len + 1);
	item->size = (uint64_t)st.st_size;
	item->modified_ms = file_appeared_ms(&st);
	l->n++;
}

/* ---- The walk ---------------------------------------------------------------------------------- */

static void close_dir(struct walk *w)
{
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

static void enter(struct walk *w)
{
	struct file_rest *at = w->at;

	close_dir(w);
	if (at->n == at->cap) {
		size_t cap = at->cap ? 2 * at->cap : 8;
		struct frame *frames = realloc(at->frames, cap * sizeof(*frames));

		if (!frames) {
			w->err = -ENOMEM;
			return;
		}
		at->frames = frames;
		at->cap = cap;
	}
	struct frame *f = &at->frames[at->n++];

	*f = (struct frame){.len = at->len};
	fill(w, "", &f->b);
}

static void leave(struct walk *w)
{
	struct file_rest *at = w->at;

	close_dir(w);
	batch_done(&at->frames[--at->n].b);
	at->len = at->n ? at->frames[at->n - 1].len : 0;
	at->path[at->len] = 0;
}

/* The names behind those that were kept of it. */
static void fill_again(struct walk *w, struct frame *f)
{
	char above[NAME_MAX + 2];

	snprintf(above, sizeof(above), "%s", f->b.names[f->b.n - 1]);
	batch_done(&f->b);
	f->next = 0;
	fill(w, above, &f->b);
}

/* The next name of the innermost directory.  Holds no descriptor but of that: keys may be deep. */
static void visit(struct walk *w, struct frame *f)
{
	const char *name = f->b.names[f->next];
	size_t name_len = strlen(name);

	if (name[name_len - 1] == '/') {
		f->next++;
		memcpy(w->at->path + w->at->len, name, name_len + 1);
		w->at->len += name_len;
		enter(w);
		return;
	}
	if (w->fd < 0 && (w->fd = open_dir(w)) < 0) {
		leave(w);
		return;
	}
	add_file(w, name);
	f->next += !w->l->more;
}

static void walk(struct walk *w)
{
	while (w->at->n && !is_over(w)) {
		struct frame *f = &w->at->frames[w->at->n - 1];

		if (f->next < f->b.n)
			visit(w, f);
		else if (f->b.cut)
			fill_again(w, f);
		else
			leave(w);
	}
	close_dir(w);
}

/* ---- Between two pages ------------------------------------------------------------------------- */

/* The rest that op goes on with.  Whatever else it was is dropped: one listing at a time is helped. */
static struct file_rest *take_rest(struct file_store *f, const struct file_root *r, const struct bw_op *op)
{
	bw_lock(&f->lock);
	struct file_rest *rest = f->rest;

	f->rest = NULL;
	bw_unlock(&f->lock);
	if (rest && rest->root == r && bw_now() < rest->until_ns && !strcmp(rest->prefix, op->key) &&
	    !strcmp(rest->after, op->after))
		return rest;
	file_rest_free(rest);
	return NULL;
}

static void forget(struct bw_task *task)
{
	struct file_store *f = bw_container_of(task, struct file_store, forget);
	struct file_rest *rest = NULL;

	bw_lock(&f->lock);
	f->forgets = f->rest && bw_now() < f->rest->until_ns && !bw_workq_stopping(f->q);
	if (f->forgets) {
		bw_workq_push_at(f->q, task, f->rest->until_ns);
	} else {
		rest = f->rest;
		f->rest = NULL;
	}
	bw_unlock(&f->lock);
	file_rest_free(rest);
}

static void keep_rest(struct file_store *f, struct file_root *r, const struct bw_op *op, struct file_rest *rest,
		      const struct bw_listing *l)
{
	struct file_rest *old = rest;
	size_t bytes = 0;

	for (size_t i = 0; i < rest->n; i++)
		bytes += rest->frames[i].b.bytes;
	if (bytes <= REST_BYTES) {
		if (!rest->root)
			rest->root = file_root_ref(r);
		memcpy(rest->prefix, op->key, sizeof(rest->prefix));
		snprintf(rest->after, sizeof(rest->after), "%s", l->items[l->n - 1].key);
		rest->until_ns = bw_now() + REST_NS;
		bw_lock(&f->lock);
		old = f->rest;
		f->rest = rest;
		if (!f->forgets) {
			f->forget = (struct bw_task){.run = forget, .prio = BW_PRIO_IDLE};
			bw_workq_push_at(f->q, &f->forget, rest->until_ns);
		}
		f->forgets = true;
		bw_unlock(&f->lock);
	}
	file_rest_free(old);
}

/* No key outside the directory that the prefix names can match. */
static void begin(struct walk *w)
{
	const char *slash = strrchr(w->op->key, '/');

	w->at = calloc(1, sizeof(*w->at));
	if (!w->at) {
		w->err = -ENOMEM;
		return;
	}
	w->at->len = slash ? (size_t)(slash + 1 - w->op->key) : 0;
	memcpy(w->at->path, w->op->key, w->at->len);
	enter(w);
}

void file_list(struct file_store *f, struct file_root *r, struct bw_op *op)
{
	struct walk w = {.root = r, .op = op, .prefix_len = strlen(op->key), .fd = -1};

	w.at = take_rest(f, r, op);
	w.l = calloc(1, sizeof(*w.l));
	if (!w.l || !(w.l->items = calloc(op->max, sizeof(w.l->items[0]))))
		w.err = -ENOMEM;
	else if (!w.at)
		begin(&w);
	if (!w.err)
		walk(&w);
	if (!w.err && w.l->more)
		keep_rest(f, r, op, w.at, w.l);
	else
		file_rest_free(w.at);
	if (w.err) {
		bw_listing_free(w.l);
		file_fail(op, "list", w.err);
		return;
	}
	op->listing = w.l;
	op->outcome = BW_OK;
}
