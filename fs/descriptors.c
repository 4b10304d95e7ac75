/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/descriptors.h"

#include "store/base/clock.h"
#include "store/base/sync.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEPT_N 64

struct bw_descriptors {
	struct bw_workq *timer;
	int64_t kept_ns;
	struct bw_task give_up;		/* queued while will_give_up */
	struct bw_mutex lock;		/* what follows */
	bool will_give_up;
	struct kept {
		int dir;		/* owned; -1: none */
		pid_t tid;
		bool used;		/* since they were looked through last */
	} kept[KEPT_N];			/* by thread */
};

/* What is looked for. */
struct want {
	pid_t tgid, tid;
	const char *name;
	uint64_t ino;
};

/* ---- Looking ---------------------------------------------------------------------------------- */

/* A look that failed: what has gone is none of those wanted, of everything else nothing is known. */
static enum bw_descriptors_seen not_seen(int err, enum bw_descriptors_seen gone)
{
	return err == ENOENT || err == ESRCH ? gone : BW_DESCRIPTORS_HIDDEN;
}

bool bw_fdinfo_is_writer(const char *text, uint64_t ino)
{
	const char *at_ino = strstr(text, "\nino:"), *at_flags = strstr(text, "\nflags:");

	if (at_flags && (strtoul(at_flags + 7, NULL, 8) & O_ACCMODE) == O_RDONLY)
		return false;
	return !at_ino || strtoull(at_ino + 5, NULL, 10) == ino;
}

/* Is that descriptor a writable one of the file?  Reading fdinfo asks no filesystem. */
static enum bw_descriptors_seen look_into(const struct want *w, const char *fd)
{
	char path[96], text[1024];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/fdinfo/%.32s", (int)w->tgid, (int)w->tid, fd);
	int file = open(path, O_RDONLY | O_CLOEXEC);

	if (file < 0)
		return not_seen(errno, BW_DESCRIPTORS_OTHERS);
	ssize_t n = read(file, text, sizeof(text) - 1);
	int err = errno;

	close(file);
	if (n < 0)
		return not_seen(err, BW_DESCRIPTORS_OTHERS);
	text[n] = 0;
	return bw_fdinfo_is_writer(text, w->ino) ? BW_DESCRIPTORS_WRITER : BW_DESCRIPTORS_OTHERS;
}

/*
 * The name alone does not tell (bind mounts show other paths), the inode number alone might be another
 * filesystem's.
 */
static enum bw_descriptors_seen see(const struct want *w, int dir, const char *fd)
{
	char target[PATH_MAX];
	size_t len = strlen(w->name);
	ssize_t n = readlinkat(dir, fd, target, sizeof(target));

	if (n < 0 && errno != ENAMETOOLONG)
		return not_seen(errno, BW_DESCRIPTORS_OTHERS);
	/* A terminal, which programs may write, has a number for its name as well. */
	if (n > 9 && memcmp(target, "/dev/pts/", 9) == 0)
		return BW_DESCRIPTORS_OTHERS;
	bool leads_there = n < 0 || (n > (ssize_t)len && target[n - (ssize_t)len - 1] == '/' &&
				     memcmp(target + n - len, w->name, len) == 0);

	return leads_there ? look_into(w, fd) : BW_DESCRIPTORS_OTHERS;
}

static int open_dir(const struct want *w)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/fd", (int)w->tgid, (int)w->tid);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* -errno: the list ends early, as that of a thread that has gone does. */
static int see_all(const struct want *w, int dir, enum bw_descriptors_seen *ret)
{
	_Alignas(struct dirent64) char list[4096];
	ssize_t n;

	*ret = BW_DESCRIPTORS_NONE;
	while ((n = getdents64(dir, list, sizeof(list))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *e = (const struct dirent64 *)(list + at);
			at += e->d_reclen;
			if (e->d_name[0] == '.')
				continue;
			*ret = see(w, dir, e->d_name);
			if (*ret != BW_DESCRIPTORS_OTHERS)
				return 0;
		}
	}
	return n < 0 ? -errno : 0;
}

/* ---- What is kept ----------------------------------------------------------------------------- */

/* -1: none. */
static int take(struct bw_descriptors *d, pid_t tid)
{
	struct kept *k = &d->kept[(unsigned)tid % KEPT_N];
	int dir = -1;

	BW_LOCK_SCOPE(&d->lock);
	if (k->tid == tid) {
		dir = k->dir;
		k->dir = -1;
	}
	return dir;
}

static void keep(struct bw_descriptors *d, pid_t tid, int dir)
{
	struct kept *k = &d->kept[(unsigned)tid % KEPT_N];

	bw_lock(&d->lock);
	int before = k->dir;
	bool begins = !d->will_give_up;
	*k = (struct kept){.dir = dir, .tid = tid, .used = true};
	d->will_give_up = true;
	bw_unlock(&d->lock);
	if (before >= 0)
		close(before);
	if (begins)
		bw_workq_push_at(d->timer, &d->give_up, bw_now() + d->kept_ns);
}

/* Closes what nobody has looked into since the last time; whether any are left. */
static bool give_up(struct bw_descriptors *d)
{
	bool left = false;

	BW_LOCK_SCOPE(&d->lock);
	for (unsigned i = 0; i < KEPT_N; i++) {
		struct kept *k = &d->kept[i];
		if (k->dir >= 0 && !k->used) {
			close(k->dir);
			k->dir = -1;
		}
		k->used = false;
		left = left || k->dir >= 0;
	}
	d->will_give_up = left;
	return left;
}

static void run_give_up(struct bw_task *task)
{
	struct bw_descriptors *d = bw_container_of(task, struct bw_descriptors, give_up);

	/* At its end the timer runs this again at once, until none are left. */
	if (give_up(d))
		bw_workq_push_at(d->timer, task, bw_now() + d->kept_ns);
}

/* ---- The look --------------------------------------------------------------------------------- */

enum bw_descriptors_seen bw_descriptors_look(struct bw_descriptors *d, pid_t tgid, pid_t tid, const char *name,
					     uint64_t ino)
{
	const struct want want = {.tgid = tgid, .tid = tid, .name = name, .ino = ino};
	enum bw_descriptors_seen seen;
	int dir = take(d, tid);

	if (dir >= 0 && (lseek(dir, 0, SEEK_SET) < 0 || see_all(&want, dir, &seen))) {
		close(dir);
		dir = -1;
	}
	if (dir < 0) {
		dir = open_dir(&want);
		if (dir < 0)
			return not_seen(errno, BW_DESCRIPTORS_NONE);
		int err = see_all(&want, dir, &seen);
		if (err) {
			close(dir);
			return not_seen(-err, BW_DESCRIPTORS_NONE);
		}
	}
	keep(d, tid, dir);
	return seen;
}

int bw_descriptors_new(struct bw_workq *timer, int64_t kept_ns, struct bw_descriptors **ret)
{
	struct bw_descriptors *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->timer = timer;
	d->kept_ns = kept_ns;
	d->give_up.run = run_give_up;
	bw_mutex_init(&d->lock, BW_RANK_LEAF);
	for (unsigned i = 0; i < KEPT_N; i++)
		d->kept[i].dir = -1;
	*ret = d;
	return 0;
}

void bw_descriptors_free(struct bw_descriptors *d)
{
	if (!d)
		return;
	bw_mutex_done(&d->lock);
	free(d);
}
