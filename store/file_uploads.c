/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Temporary files as unfinished uploads: each tells in its name which key it was to become.  Its name is the id of
 * the upload.
 */
#include "store/file_priv.h"

#include "store/base/rand.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLASH '%'
#define RANDOM 8	/* bytes */

void file_tmp_name(const char *key, char ret[NAME_MAX + 1])
{
	uint8_t random[RANDOM];
	char hex[2 * RANDOM + 1];

	bw_random(random, sizeof(random));
	bw_hex(random, sizeof(random), hex);
	size_t at = (size_t)snprintf(ret, NAME_MAX + 1, "%ld-%s", (long)getpid(), hex);

	if (!*key || strlen(key) > NAME_MAX - at - 1)
		return;
	ret[at++] = '-';
	for (; *key; key++)
		ret[at++] = *key == '/' ? SLASH : *key;
	ret[at] = 0;
}

/* What stands behind PID-RANDOM, a key after a '-' or nothing; NULL: it is no such name. */
static const char *behind_random(const char *name)
{
	size_t pid_len = strspn(name, "0123456789");
	const char *hex = name + pid_len + 1;

	if (!pid_len || name[pid_len] != '-' || strspn(hex, "0123456789abcdef") != 2 * RANDOM)
		return NULL;
	const char *end = hex + 2 * RANDOM;

	return !*end || *end == '-' ? end : NULL;
}

bool file_tmp_is(const char *name)
{
	return behind_random(name);
}

bool file_tmp_key(const char *name, char ret[BW_KEY_MAX + 1])
{
	const char *key = behind_random(name);
	size_t len = key ? strlen(key) : 0;

	if (!len || --len > BW_KEY_MAX)
		return false;
	key++;
	for (size_t i = 0; i <= len; i++)
		ret[i] = key[i] == SLASH ? '/' : key[i];
	return bw_key_valid(ret);
}

static int compare(const struct bw_upload *u, const char *key, const char *id)
{
	int order = strcmp(u->key, key);

	return order ? order : strcmp(u->id, id);
}

/* Keeps the first max of what it is given. */
static int keep(struct bw_uploads *page, uint64_t max, const char *key, const char *id, int64_t begun_ms)
{
	size_t at = page->n;

	while (at && compare(&page->items[at - 1], key, id) > 0)
		at--;
	if (page->n == max) {
		page->more = true;
		if (at == max)
			return 0;
	}
	struct bw_upload u = {.key = strdup(key), .id = strdup(id), .begun_ms = begun_ms};

	if (!u.key || !u.id) {
		free(u.key);
		free(u.id);
		return -ENOMEM;
	}
	if (page->n == max) {
		page->n--;
		free(page->items[page->n].key);
		free(page->items[page->n].id);
	}
	memmove(&page->items[at + 1], &page->items[at], (page->n - at) * sizeof(page->items[0]));
	page->items[at] = u;
	page->n++;
	return 0;
}

static bool is_wanted(const struct bw_op *op, const char *key, const char *id)
{
	int order = strcmp(key, op->after);

	if (strncmp(key, op->key, strlen(op->key)) != 0)
		return false;
	return order > 0 || (order == 0 && op->upload && strcmp(id, op->upload) > 0);
}

static int fill(DIR *d, const struct bw_op *op, struct bw_uploads *page)
{
	char key[BW_KEY_MAX + 1];
	struct dirent *e;
	struct stat st;
	int err = 0;

	for (errno = 0; !err && (e = readdir(d)); errno = 0) {
		if (!file_tmp_key(e->d_name, key) || !is_wanted(op, key, e->d_name))
			continue;
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
			err = errno == ENOENT ? 0 : -errno;	/* it has just become an object */
			continue;
		}
		if (S_ISREG(st.st_mode))
			err = keep(page, op->max, key, e->d_name,
				   st.st_mtim.tv_sec * INT64_C(1000) + st.st_mtim.tv_nsec / BW_MS);
	}
	return err ? err : -errno;
}

/* -ENOENT: nobody has put anything yet. */
static int open_tmp(struct file_root *r, DIR **ret)
{
	int fd = file_tmp_look(r);

	if (fd < 0)
		return fd;
	*ret = fdopendir(fd);
	if (*ret)
		return 0;
	int err = -errno;

	close(fd);
	return err;
}

void file_list_uploads(struct file_root *r, struct bw_op *op)
{
	struct bw_uploads *page = calloc(1, sizeof(*page));
	DIR *d = NULL;
	int err = -ENOMEM;

	if (page)
		page->items = calloc(op->max, sizeof(page->items[0]));
	if (page && page->items)
		err = open_tmp(r, &d);
	if (!err) {
		err = fill(d, op, page);
		closedir(d);
	}
	if (err && err != -ENOENT) {
		bw_uploads_free(page);
		file_fail(op, "list", err);
		return;
	}
	op->uploads = page;
	op->outcome = BW_OK;
}

void file_abort_upload(struct file_root *r, struct bw_op *op)
{
	char key[BW_KEY_MAX + 1];
	int dir = file_tmp_look(r);
	int err = dir < 0 ? dir : 0;

	/* An id that is none of ours names nothing: least of all a way out of the directory. */
	if (!err && file_tmp_key(op->upload, key) && strcmp(key, op->key) == 0 &&
	    unlinkat(dir, op->upload, 0) != 0)
		err = -errno;
	if (dir >= 0)
		close(dir);
	if (!err || file_is_missing(err))
		op->outcome = BW_OK;
	else
		file_change_failed(op, "unlink", err);
}
