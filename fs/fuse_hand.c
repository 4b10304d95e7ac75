/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slices that are expected next go into the page cache of the mount before their reader opens them.
 *
 * The kernel takes bytes only of inodes it knows, and it knows those that were looked up.  So the path of the slice is looked
 * up here, as its reader will: that one finds names and bytes there and sends nothing but OPEN.
 *
 * A look-up in the mount would make it busy for umount(8).  It goes through a copy of the mount that nobody sees, which is
 * given back when nothing was handed over for a moment: until then an unmounted file system goes on.  Only root
 * may make one; elsewhere, or where the mount is hidden below another one, nothing is handed over, and READs fetch what they
 * need.
 *
 * Whoever looks up paths depends on the threads that serve them, so this has a thread of its own, holds nothing meanwhile,
 * and is not waited for before the mount is gone.
 */
#include "fs/fuse_ops.h"

#include "fs/names.h"
#include "store/base/clock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAITING_MOST 256u		/* slices; what more come stay in memory */
#define FAILURES_MOST 8u		/* in a row */
#define PAUSE_NS (60 * BW_SEC)		/* after so many */
#define REST_NS (50 * BW_MS)		/* without a slice */
/*
 * A reader may come to a block while it is on its way to the kernel, and then its READ asks for it once more.  The cache
 * counts it as handed out and soon drops it, so the latest ones are held for a moment.
 */
#define HELD_N 8u

struct bw_hand {
	struct bw_fs *fs;
	struct bw_workq *queue;		/* one thread */
	atomic_uint waiting;
	struct bw_task rest;		/* queued while tree is open; the thread's, with what follows */
	atomic_int tid;			/* the thread; 0: it has not run yet */
	int tree;			/* the copy of the mount; -1: none */
	int64_t used_ns;
	struct bw_blob *held[HELD_N];	/* refs */
	unsigned next;			/* of them to be given back */
	unsigned failures;		/* in a row */
	int64_t until_ns;		/* not before */
	struct bw_mutex lock;		/* held while the session is used; what follows */
	bool stopping;
};

struct slice {
	struct bw_task task;
	struct bw_hand *hand;
	struct bw_entry entry;
	struct bw_tgb *tgb;		/* ref */
	uint32_t rank;
};

/* Takes the reference. */
static void hold(struct bw_hand *h, struct bw_blob *blob)
{
	struct bw_blob **at = &h->held[h->next++ % HELD_N];

	bw_blob_unref(*at);
	*at = blob;
}

static void let_go(struct bw_hand *h)
{
	for (unsigned i = 0; i < HELD_N; i++)
		hold(h, NULL);
	if (h->tree >= 0)
		close(h->tree);
	h->tree = -1;
}

static void rest(struct bw_task *task)
{
	struct bw_hand *h = (struct bw_hand *)((char *)task - offsetof(struct bw_hand, rest));

	if (bw_now() - h->used_ns < REST_NS && !bw_workq_stopping(h->queue))
		bw_workq_push_at(h->queue, task, h->used_ns + REST_NS);
	else
		let_go(h);
}

int bw_hand_new(struct bw_fs *fs, struct bw_hand **ret)
{
	struct bw_hand *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->fs = fs;
	h->tree = -1;
	h->rest = (struct bw_task){.run = rest, .prio = BW_PRIO_IDLE};
	bw_mutex_init(&h->lock, BW_RANK_LEAF);
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
	if (!h)
		return;
	BW_LOCK_SCOPE(&h->lock);
	h->stopping = true;
}

void bw_hand_free(struct bw_hand *h)
{
	if (!h)
		return;
	bw_hand_stop(h);
	bw_workq_free(h->queue);
	let_go(h);
	bw_mutex_done(&h->lock);
	free(h);
}

static bool is_stopping(struct bw_hand *h)
{
	BW_LOCK_SCOPE(&h->lock);
	return h->stopping;
}

static int open_mount(struct bw_hand *h)
{
	h->used_ns = bw_now();
	atomic_store(&h->tid, gettid());
	if (h->tree >= 0)
		return 0;
	h->tree = open_tree(AT_FDCWD, h->fs->dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (h->tree < 0)
		return -errno;
	bw_workq_push_at(h->queue, &h->rest, h->used_ns + REST_NS);
	return 0;
}

bool bw_hand_is(const struct bw_hand *h, pid_t tid)
{
	return h && tid == atomic_load(&h->tid);
}

static int look_up(struct slice *s)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "step/%" PRIu64 "/rank/%" PRIu32, s->entry.step, s->rank);
	if (fstatat(s->hand->tree, path, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT))
		return -errno;
	return st.st_ino == bw_step_ino(s->entry.step, BW_STEP_SLICE, s->rank) ? 0 : -ENOENT;
}

static int store(struct slice *s, const struct bw_piece *piece, uint64_t offset)
{
	struct bw_hand *h = s->hand;
	struct fuse_bufvec bytes = FUSE_BUFVEC_INIT(piece->length);

	bytes.buf[0].mem = piece->blob->bytes;
	BW_LOCK_SCOPE(&h->lock);
	return h->stopping ? -ESHUTDOWN
			   : fuse_lowlevel_notify_store(h->fs->session, bw_step_ino(s->entry.step, BW_STEP_SLICE, s->rank),
							(off_t)offset, &bytes, 0);
}

static int hand_over(struct slice *s)
{
	struct bw_reader *reader = s->hand->fs->reader;
	int err = open_mount(s->hand);
	struct bw_piece piece;
	bool is_known = false;
	uint64_t offset;

	while (!err && bw_reader_hand(reader, &s->entry, s->tgb, s->rank, &piece, &offset)) {
		if (!is_known)
			err = look_up(s);
		is_known = true;
		if (!err)
			err = store(s, &piece, offset);
		hold(s->hand, piece.blob);
	}
	return err;
}

static void run(struct bw_task *task)
{
	struct slice *s = (struct slice *)task;
	struct bw_hand *h = s->hand;

	if (!is_stopping(h) && bw_now() >= h->until_ns) {
		h->failures = hand_over(s) ? h->failures + 1 : 0;
		if (h->failures >= FAILURES_MOST) {
			h->failures = 0;
			h->until_ns = bw_now() + PAUSE_NS;
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
