/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slices that are expected next go into the page cache of the mount before their reader opens them.
 *
 * A thread does what the reader will do: it opens the slice and has the kernel read ahead, a block at a time as they come.  That
 * reader then finds names and bytes there and sends nothing but OPEN.
 *
 * Opening a file in the mount would make it busy for umount(8).  It is done in a copy of the mount that nobody sees, which is
 * given back when nothing was handed over for a moment: until then an unmounted file system goes on.  Only root
 * may make one; elsewhere, or where the mount is hidden below another one, nothing is handed over, and READs fetch what they
 * need.
 *
 * Whoever waits for an answer of this mount waits even when it is killed, until the answer comes or /dev/fuse is closed.  So the
 * thread has a table of files of its own, without /dev/fuse: when the threads that answer die, that is closed.
 */
#include "fs/fuse_ops.h"

#include "fs/names.h"
#include "store/base/clock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAITING_MOST 256u		/* slices; what more come stay in memory */
#define FAILURES_MOST 8u		/* in a row */
#define PAUSE_NS (60 * BW_SEC)		/* after so many */
#define REST_NS (50 * BW_MS)		/* without a slice */

struct bw_hand {
	struct bw_fs *fs;
	struct bw_workq *queue;		/* one thread */
	atomic_uint waiting;
	atomic_int tid;			/* of the thread, once it may look into the mount; 0 before */
	atomic_bool stopping;
	atomic_int_fast64_t until_ns;	/* nothing is taken before */
	/*
	 * Whether somebody pauses for the first time.  On another thread: what it finds missing is asked of the store, and this
	 * one has no files with which to wake what sends it.
	 */
	struct bw_task look;
	struct bw_mutex lock;
	int64_t look_ns;		/* look is queued for; BW_NEVER: it is not.  Under the lock */
	/* The thread's. */
	struct bw_task rest;		/* queued while tree is open */
	int tree;			/* the copy of the mount; -1: none, as the next */
	int file;			/* the slice it was at last */
	uint64_t step;			/* of it */
	uint32_t rank;
	int64_t used_ns;
	unsigned failures;		/* in a row */
};

struct slice {
	struct bw_task task;
	struct bw_hand *hand;
	struct bw_entry entry;
	struct bw_tgb *tgb;		/* ref */
	uint32_t rank;
};

static void close_file(struct bw_hand *h)
{
	if (h->file >= 0)
		close(h->file);
	h->file = -1;
}

static void close_tree(struct bw_hand *h)
{
	close_file(h);
	if (h->tree >= 0)
		close(h->tree);
	h->tree = -1;
}

static void rest(struct bw_task *task)
{
	struct bw_hand *h = bw_container_of(task, struct bw_hand, rest);

	if (bw_now() - h->used_ns < REST_NS && !bw_workq_stopping(h->queue))
		bw_workq_push_at(h->queue, task, h->used_ns + REST_NS);
	else
		close_tree(h);
}

static void look(struct bw_task *task)
{
	struct bw_hand *h = bw_container_of(task, struct bw_hand, look);

	bw_lock(&h->lock);
	h->look_ns = BW_NEVER;
	bw_unlock(&h->lock);
	if (!atomic_load(&h->stopping))
		bw_hand_look(h, bw_reader_first_pauses(h->fs->reader));
}

void bw_hand_look(struct bw_hand *h, int64_t due_ns)
{
	if (!h || due_ns == BW_NEVER)
		return;
	BW_LOCK_SCOPE(&h->lock);
	if (due_ns >= h->look_ns || (h->look_ns != BW_NEVER && !bw_workq_cancel(h->fs->side, &h->look)))
		return;		/* one that is about to run finds this reader too */
	h->look_ns = due_ns;
	bw_workq_push_at(h->fs->side, &h->look, due_ns);
}

int bw_hand_new(struct bw_fs *fs, struct bw_hand **ret)
{
	struct bw_hand *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->fs = fs;
	h->tree = h->file = -1;
	h->look_ns = BW_NEVER;
	bw_mutex_init(&h->lock, BW_RANK_HAND);
	h->rest = (struct bw_task){.run = rest, .prio = BW_PRIO_IDLE};
	h->look = (struct bw_task){.run = look, .prio = BW_PRIO_PREFETCH};
	int err = bw_workq_new("bw-hand", 1, &h->queue);

	if (err) {
		bw_mutex_done(&h->lock);
		free(h);
		return err;
	}
	*ret = h;
	return 0;
}

void bw_hand_stop(struct bw_hand *h)
{
	if (h)
		atomic_store(&h->stopping, true);
}

void bw_hand_free(struct bw_hand *h)
{
	if (!h)
		return;
	bw_hand_stop(h);
	bw_workq_free(h->queue);	/* its last task closes what is open: it has a table of its own */
	bw_mutex_done(&h->lock);
	free(h);
}

bool bw_hand_is(const struct bw_hand *h, pid_t tid)
{
	return h && tid > 0 && tid == atomic_load(&h->tid);	/* of another pid namespace it is 0, as of a thread that has not begun */
}

static int leave_files(struct bw_hand *h)
{
	if (atomic_load(&h->tid))
		return 0;
	if (unshare(CLONE_FILES))
		return -errno;
	if (close_range(STDERR_FILENO + 1, ~0u, 0))
		return -errno;
	atomic_store(&h->tid, gettid());
	return 0;
}

static int open_mount(struct bw_hand *h)
{
	int err = leave_files(h);

	h->used_ns = bw_now();
	if (err || h->tree >= 0)
		return err;
	h->tree = open_tree(AT_FDCWD, h->fs->dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_NO_AUTOMOUNT);
	if (h->tree < 0)
		return -errno;
	bw_workq_push_at(h->queue, &h->rest, h->used_ns + REST_NS);
	return 0;
}

static int open_slice(struct slice *s)
{
	struct bw_hand *h = s->hand;
	char path[64];
	struct stat st;

	if (h->file >= 0 && h->step == s->entry.step && h->rank == s->rank)
		return 0;
	close_file(h);
	snprintf(path, sizeof(path), "step/%" PRIu64 "/rank/%" PRIu32, s->entry.step, s->rank);
	h->file = openat(h->tree, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (h->file < 0)
		return -errno;
	if (fstat(h->file, &st) || st.st_ino != bw_step_ino(s->entry.step, BW_STEP_SLICE, s->rank)) {
		close_file(h);	/* somebody else's */
		return -ENOENT;
	}
	h->step = s->entry.step;
	h->rank = s->rank;
	return 0;
}

static int hand_over(struct slice *s)
{
	struct bw_reader *reader = s->hand->fs->reader;
	int err = open_mount(s->hand);
	uint64_t offset, length;

	while (!err && bw_reader_hand(reader, &s->entry, s->tgb, s->rank, &offset, &length)) {
		err = open_slice(s);
		if (!err)
			err = -posix_fadvise(s->hand->file, (off_t)offset, (off_t)length, POSIX_FADV_WILLNEED);
		if (err)
			bw_reader_hand_back(reader, &s->entry, s->tgb, s->rank, offset, length);
	}
	return err;
}

static void run(struct bw_task *task)
{
	struct slice *s = (struct slice *)task;
	struct bw_hand *h = s->hand;

	if (!atomic_load(&h->stopping)) {
		h->failures = hand_over(s) ? h->failures + 1 : 0;
		if (h->failures >= FAILURES_MOST) {
			h->failures = 0;
			atomic_store(&h->until_ns, bw_now() + PAUSE_NS);
		}
	}
	atomic_fetch_sub(&h->waiting, 1);
	bw_tgb_unref(s->tgb);
	free(s);
}

void bw_hand_came(void *ctx, const struct bw_entry *entry, struct bw_tgb *tgb, uint32_t rank)
{
	struct bw_hand *h = ctx;
	struct slice *s = NULL;

	if (bw_now() < atomic_load(&h->until_ns))
		return;
	if (bw_once_rather(&h->fs->once, bw_tgb_slice(tgb, rank)->raw))
		return;
	if (atomic_fetch_add(&h->waiting, 1) < WAITING_MOST)
		s = calloc(1, sizeof(*s));
	if (!s) {
		atomic_fetch_sub(&h->waiting, 1);
		return;
	}
	s->task = (struct bw_task){.run = run, .prio = BW_PRIO_PREFETCH};
	s->hand = h;
	s->entry = *entry;
	s->tgb = bw_tgb_ref(tgb);
	s->rank = rank;
	bw_workq_push(h->queue, &s->task);
}
