/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /step: look-up, attributes, open and read of committed steps.
 *
 * Every question goes the same way: step -> entry (steps.h), entry -> footer (reader.h) where sizes are
 * needed, then the reply.  open("/step/7/rank/3") is bw_fuse_step_open() -> resolved() -> got_tgb() ->
 * reply_slice_open().
 */
#include "fs/fuse_ops.h"

#include "fs/names.h"
#include "store/base/clock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRESH_NS (1 * BW_SEC)

enum question { Q_LOOKUP, Q_GETATTR, Q_OPEN, Q_OPENDIR, Q_GETXATTR };

/* One parked request. */
struct step_req {
	struct bw_resolve resolve;
	struct bw_tgb_wait tgb_wait;
	fuse_req_t req;
	struct bw_fs *fs;
	enum question question;
	uint64_t ino;
	enum bw_step_what what;	/* DIR: also the directories of a step in a view */
	uint32_t rank;
	struct fuse_file_info fi;
	bool is_hand;		/* asked by fuse_hand.c */
	char name[48];		/* GETXATTR */
	size_t size;		/* GETXATTR */
};

/* data is the question's number, not its address: the answer may be on its way meanwhile. */
static void interrupted(fuse_req_t req, void *data)
{
	bw_steps_interrupt(bw_req_fs(req)->steps, (uint64_t)(uintptr_t)data);
}

static bool needs_tgb(const struct step_req *q)
{
	return q->what == BW_STEP_SLICE || q->what == BW_STEP_META;
}

/* ---- Replies ---------------------------------------------------------------------------------- */

static void fill_what(const struct step_req *q, const struct bw_entry *e, const struct bw_tgb *t,
		      struct stat *st)
{
	int64_t mtime = e->time_ms * BW_MS;

	if (q->what == BW_STEP_SLICE) {
		const struct bw_slice *s = bw_tgb_slice(t, q->rank);
		bw_fill_file(q->fs, q->ino, 0444, s->raw, s->stored, mtime, st);
	} else if (q->what == BW_STEP_META) {
		bw_auto_buf struct bw_buf text = {.max = 0};
		bw_buf_init(&text, BW_STATUS_TEXT_MAX);
		bw_meta_print(q->fs, e, t, &text);
		bw_fill_file(q->fs, q->ino, 0444, text.len, text.len, mtime, st);
	} else {
		bw_fill_dir(q->fs, q->ino, 0555, mtime, st);
	}
}

/* Nothing was committed after it, and it a moment ago: its reader may have waited for it. */
static bool is_fresh(struct bw_fs *fs, uint64_t step)
{
	int64_t grown_ns = atomic_load(&fs->grown_ns);

	return grown_ns && bw_now() - grown_ns < FRESH_NS && step + 1 >= bw_head_steps(fs->head);
}

/* What was handed over is in the page cache. */
static enum bw_opened way_of(struct step_req *q, const struct bw_tgb *t, bool was_handed)
{
	struct bw_fs *fs = q->fs;
	bool learns = fs->once.mode == BW_ONCE_AUTO;
	struct bw_once_slice s = {
		.step = q->resolve.entry.step, .rank = q->rank, .bytes = bw_tgb_slice(t, q->rank)->raw,
		.fresh = learns && is_fresh(fs, q->resolve.entry.step),
		.pauses = learns && bw_reader_pauses(fs->reader, q->rank),
	};
	bool direct = bw_once_opened(&fs->once, &s);

	return was_handed ? BW_OPENED_AHEAD : direct ? BW_OPENED_DIRECT : BW_OPENED_PAGE_CACHE;
}

/* Opened by a program.  Returns where its reads begin: what lies before was handed over. */
static uint64_t open_for_reader(struct step_req *q, const struct bw_tgb *t, struct bw_handle *h)
{
	uint64_t there = bw_reader_opened(q->fs->reader, &q->resolve.entry, q->rank, h->thread);
	enum bw_opened way = way_of(q, t, there);

	atomic_fetch_add(&q->fs->counters.opened[way], 1);
	q->fi.direct_io = h->is_direct = way == BW_OPENED_DIRECT;
	return there;
}

static void reply_slice_open(struct step_req *q, struct bw_tgb *t)
{
	struct bw_handle *h = bw_handle_new(q->fs, BW_HANDLE_SLICE);

	if (!h) {
		bw_reply_err(q->req, -ENOMEM);
		return;
	}
	h->entry = q->resolve.entry;
	h->tgb = bw_tgb_ref(t);
	h->rank = q->rank;
	h->thread = q->resolve.waiter.pid;
	q->fi.keep_cache = 1;		/* V4: immutable, so what is cached stays right */
	struct bw_fs *fs = q->fs;
	uint64_t there = q->is_hand ? 0 : open_for_reader(q, t, h);

	h->is_hand = q->is_hand;
	atomic_init(&h->small, 0);
	atomic_init(&h->next_offset, there);
	if (!bw_reply_open(q->req, &q->fi, h) && !q->is_hand)
		(void)bw_reader_closed(fs->reader, q->resolve.step, q->rank, q->resolve.waiter.pid);
	if (there)
		bw_reader_passed(fs->reader, &q->resolve.entry, t, q->rank, there);
}

static void reply_meta_open(struct step_req *q, const struct bw_tgb *t)
{
	struct bw_buf text;

	bw_buf_init(&text, BW_STATUS_TEXT_MAX);
	bw_meta_print(q->fs, &q->resolve.entry, t, &text);
	bw_reply_open_text(q->req, &q->fi, &text);
}

static void xattr_text(const struct step_req *q, const struct bw_tgb *t, char *buf, size_t len)
{
	const struct bw_entry *e = &q->resolve.entry;
	const char *what = q->name;
	char key[BW_KEY_MAX + 1];

	buf[0] = 0;
	if (strcmp(what, "step") == 0)
		snprintf(buf, len, "%" PRIu64, e->step);
	else if (strcmp(what, "rank") == 0)
		snprintf(buf, len, "%" PRIu32, q->rank);
	else if (strcmp(what, "producer") == 0)
		snprintf(buf, len, "%s", e->producer);
	else if (strcmp(what, "seq") == 0)
		snprintf(buf, len, "%" PRIu64, e->seq);
	else if (strcmp(what, "xxh3") == 0)
		snprintf(buf, len, "%016" PRIx64, bw_tgb_slice(t, q->rank)->xxh3);
	else if (strcmp(what, "object") == 0) {
		bw_key_data(&q->fs->stream, e->producer, e->epoch, e->seq, e->nonce, key);
		snprintf(buf, len, "%s", key);
	}
}

static void reply_xattr(fuse_req_t req, const char *bytes, size_t len, size_t size)
{
	if (!len)
		fuse_reply_err(req, ENODATA);
	else if (!size)
		fuse_reply_xattr(req, len);
	else if (size < len)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, bytes, len);
}

static void reply(struct step_req *q, struct bw_tgb *t)
{
	const struct bw_entry *e = &q->resolve.entry;
	char text[BW_KEY_MAX + 1];
	struct stat st;

	switch (q->question) {
	case Q_LOOKUP:
		fill_what(q, e, t, &st);
		bw_reply_entry(q->req, &st, BW_STEP_KEPT);
		break;
	case Q_GETATTR:
		fill_what(q, e, t, &st);
		fuse_reply_attr(q->req, &st, BW_STEP_KEPT);
		break;
	case Q_OPENDIR:
		atomic_store(&q->fs->listed, e->step + 1);
		fuse_reply_open(q->req, &q->fi);
		break;
	case Q_OPEN:
		if (q->what == BW_STEP_SLICE)
			reply_slice_open(q, t);
		else
			reply_meta_open(q, t);
		break;
	case Q_GETXATTR:
		xattr_text(q, t, text, sizeof(text));
		reply_xattr(q->req, text, strlen(text), q->size);
		break;
	}
}

/* ---- The way of a question -------------------------------------------------------------------- */

/* times: so often since it was told; 0: this is the first. */
static void tell_failure(struct bw_fs *fs, const struct bw_failure *f, const char *who)
{
	bool reclaimed = f->err == -BW_E_RECLAIMED;
	char by[BW_RELEASED_TEXT], text[128];
	const char *reason = bw_err_text(f->err, text, sizeof(text));

	if (reclaimed)
		bw_released_text(&fs->released, f->step, by);
	bw_log(fs->log, reclaimed ? BW_LOG_INFO : BW_LOG_ERROR, "step_failed",
	       "step=%" PRIu64 " %s errno=%d reason=\"%s\"%s%s", f->step, who, bw_err_errno(f->err), reason,
	       reclaimed ? " " : "", reclaimed ? by : "");
	if (!reclaimed && !f->times)
		bw_errors_add(&fs->errors, "step=%" PRIu64 " errno=%d reason=\"%s\"", f->step, bw_err_errno(f->err), reason);
}

static void tell_repeats(struct bw_fs *fs, const struct bw_failure *f)
{
	char who[40];

	snprintf(who, sizeof(who), "times=%" PRIu64, f->times);
	tell_failure(fs, f, who);
}

void bw_step_tell_repeats(struct bw_fs *fs, int64_t now)
{
	struct bw_failure f;

	while (bw_fold_due(&fs->fold, now, &f))
		tell_repeats(fs, &f);
}

static void log_failure(struct bw_fs *fs, uint64_t step, uint32_t rank, int err)
{
	const struct bw_failure failed = {.step = step, .err = err};
	struct bw_failure forgotten;
	char who[40];

	/* What a poller meets all day is not worth a line. */
	if (err == -BW_E_NOT_COMMITTED || err == -BW_E_PAST_END || err == -EINTR || err == -ETIMEDOUT ||
	    err == -BW_E_STOPPING)
		return;
	if (!bw_fold_first(&fs->fold, &failed, bw_now(), &forgotten)) {
		if (err != -BW_E_RECLAIMED)
			bw_errors_again(&fs->errors);
		return;
	}
	if (forgotten.times)
		tell_repeats(fs, &forgotten);
	snprintf(who, sizeof(who), "rank=%" PRIu32, rank);
	tell_failure(fs, &failed, who);
}

static void end(struct step_req *q, int err, struct bw_tgb *t)
{
	if (!q->is_hand)
		bw_reader_end(q->fs->reader, q->resolve.waiter.pid);
	if (err) {
		log_failure(q->fs, q->resolve.step, q->rank, err);
		bw_reply_err(q->req, err);
	} else {
		reply(q, t);
	}
	bw_tgb_unref(t);
	free(q);
}

static void got_tgb(struct bw_tgb_wait *w, int err, struct bw_tgb *t)
{
	struct step_req *q = bw_container_of(w, struct step_req, tgb_wait);

	bw_waiting_remove(&q->fs->waiting, &q->resolve.waiter);
	end(q, err, t);
}

/* Who lists a directory looks up names in it to know their sizes; whoever else does is about to read. */
static bool is_to_be_read(const struct step_req *q)
{
	if (q->what != BW_STEP_SLICE)
		return false;
	return q->question == Q_OPEN ||
	       (q->question == Q_LOOKUP && atomic_load(&q->fs->listed) != q->resolve.step + 1);
}

static void resolved(struct bw_resolve *r, int err)
{
	struct step_req *q = (struct step_req *)r;
	struct bw_tgb *t;

	if (err || !needs_tgb(q)) {
		end(q, err, NULL);
		return;
	}
	q->tgb_wait.done = got_tgb;
	q->tgb_wait.entry = r->entry;
	q->tgb_wait.needs = q->what == BW_STEP_SLICE ? q->rank + 1 : 0;
	q->tgb_wait.reads = is_to_be_read(q);
	q->resolve.waiter.reason = BW_WAIT_READ;
	bw_waiting_add(&q->fs->waiting, &q->resolve.waiter);
	if (bw_reader_tgb(q->fs->reader, &q->tgb_wait, &t)) {
		bw_waiting_forget(&q->fs->waiting, &q->resolve.waiter);
		end(q, 0, t);
	}
}

/* What of which step an inode number stands for. */
static void subject_of(uint64_t ino, uint64_t *step, enum bw_step_what *what, uint32_t *rank)
{
	if (!bw_is_view_ino(ino)) {
		bw_step_ino_split(ino, step, what, rank);
		return;
	}
	struct bw_view_place p = bw_view_ino_split(ino);

	*step = p.step;
	*what = BW_STEP_DIR;
	*rank = p.rank;
}

static void ask(fuse_req_t req, uint64_t ino, enum question question, const struct fuse_file_info *fi,
		const char *name, size_t size)
{
	struct step_req *q = calloc(1, sizeof(*q));
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	if (!q) {
		bw_reply_err(req, -ENOMEM);
		return;
	}
	q->req = req;
	q->fs = bw_req_fs(req);
	q->question = question;
	if (fi)
		q->fi = *fi;
	if (name)
		snprintf(q->name, sizeof(q->name), "%s", name);
	q->size = size;
	q->ino = ino;
	subject_of(ino, &q->resolve.step, &q->what, &q->rank);
	q->resolve.done = resolved;
	/* V7: a LOOKUP holds the directory, so it never waits. */
	q->resolve.may_wait = question != Q_LOOKUP;
	q->resolve.waiter.pid = ctx->pid;
	q->is_hand = bw_hand_is(q->fs->hand, ctx->pid);
	if (q->what == BW_STEP_SLICE)
		snprintf(q->resolve.waiter.what, sizeof(q->resolve.waiter.what),
			 "step=%" PRIu64 " rank=%" PRIu32, q->resolve.step, q->rank);
	else
		snprintf(q->resolve.waiter.what, sizeof(q->resolve.waiter.what),
			 "step=%" PRIu64 " rank=-", q->resolve.step);
	if (!q->is_hand) {
		bw_reader_begin(q->fs->reader, ctx->pid);
		if (q->what == BW_STEP_SLICE && (question == Q_OPEN || question == Q_GETATTR))
			bw_reader_asked(q->fs->reader, q->resolve.step, q->rank, ctx->pid);
	}
	uint64_t id = bw_steps_begin(q->fs->steps, &q->resolve);

	fuse_req_interrupt_func(req, interrupted, (void *)(uintptr_t)id);
	bw_steps_go(q->fs->steps, &q->resolve);
}

/* ---- Operations ------------------------------------------------------------------------------- */

/* V7: with wait=, a step that may come is a name at once; GETATTR and OPEN do the waiting. */
static bool answer_provisionally(fuse_req_t req, uint64_t ino)
{
	struct bw_fs *fs = bw_req_fs(req);
	enum bw_step_what what;
	uint64_t step;
	uint32_t rank;
	struct stat st;

	subject_of(ino, &step, &what, &rank);
	if (fs->o.wait_ns == 0)
		return false;
	struct bw_root *root = bw_head_root(fs->head);
	bool maybe = step >= root->head && !root->sealed;

	bw_root_unref(root);
	if (!maybe)
		return false;
	if (what == BW_STEP_SLICE || what == BW_STEP_META)
		bw_fill_file(fs, ino, 0444, 0, 0, 0, &st);
	else
		bw_fill_dir(fs, ino, 0555, 0, &st);
	bw_reply_entry(req, &st, 0);
	return true;
}

/* The inode number of name in parent; 0: there cannot be such a name. */
static uint64_t child_ino(struct bw_fs *fs, uint64_t parent, const char *name)
{
	enum bw_step_what what;
	uint64_t number;
	uint32_t rank;

	if (parent == BW_INO_STEP)
		return bw_decimal_parse(name, &number) || number >= BW_STEPS_MAX
			       ? 0 : bw_step_ino(number, BW_STEP_DIR, 0);
	uint64_t step;

	bw_step_ino_split(parent, &step, &what, &rank);
	if (what == BW_STEP_DIR && strcmp(name, "rank") == 0)
		return bw_step_ino(step, BW_STEP_RANKS, 0);
	if (what == BW_STEP_DIR && strcmp(name, "meta.json") == 0)
		return bw_step_ino(step, BW_STEP_META, 0);
	if (what == BW_STEP_RANKS && bw_decimal_parse(name, &number) == 0 &&
	    number < fs->stream.options.ranks)
		return bw_step_ino(step, BW_STEP_SLICE, (uint32_t)number);
	return 0;
}

void bw_fuse_step_lookup(fuse_req_t req, uint64_t parent, const char *name)
{
	uint64_t ino = child_ino(bw_req_fs(req), parent, name);

	if (ino)
		bw_fuse_step_lookup_ino(req, ino);
	else
		fuse_reply_err(req, ENOENT);
}

void bw_fuse_step_lookup_ino(fuse_req_t req, uint64_t ino)
{
	if (!answer_provisionally(req, ino))
		ask(req, ino, Q_LOOKUP, NULL, NULL, 0);
}

void bw_fuse_step_getattr(fuse_req_t req, uint64_t ino)
{
	struct bw_fs *fs = bw_req_fs(req);
	struct stat st;

	if (ino != BW_INO_STEP) {
		ask(req, ino, Q_GETATTR, NULL, NULL, 0);
		return;
	}
	struct bw_root *root = bw_head_root(fs->head);

	bw_fill_dir(fs, ino, 0555, root->time_ms * BW_MS, &st);
	bw_root_unref(root);
	fuse_reply_attr(req, &st, 1.0);
}

void bw_fuse_step_open(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi)
{
	if ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC))
		fuse_reply_err(req, EROFS);
	else
		ask(req, ino, Q_OPEN, fi, NULL, 0);
}

void bw_fuse_step_opendir(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi)
{
	if (ino == BW_INO_STEP)
		bw_fresh_opendir(req, ino, fi);
	else
		ask(req, ino, Q_OPENDIR, fi, NULL, 0);
}

/* Offsets are step numbers + 3, so a listing of a million steps holds nothing but its place. */
static void readdir_steps(fuse_req_t req, size_t size, uint64_t off)
{
	struct bw_fs *fs = bw_req_fs(req);
	struct bw_dirbuf d;
	char name[24];

	if (bw_dirbuf_init(&d, req, size)) {
		bw_reply_err(req, -ENOMEM);
		return;
	}
	struct bw_root *root = bw_head_root(fs->head);
	bool room = bw_dirbuf_dots(&d, off, BW_INO_STEP, BW_INO_ROOT);
	uint64_t step = off > 2 ? off - 2 : 0;

	if (step < root->first)
		step = root->first;
	for (; room && step < root->head; step++) {
		snprintf(name, sizeof(name), "%" PRIu64, step);
		room = bw_dirbuf_add(&d, name, bw_step_ino(step, BW_STEP_DIR, 0), true, step + 3);
	}
	bw_root_unref(root);
	bw_dirbuf_reply(&d);
}

static void readdir_step(fuse_req_t req, uint64_t ino, size_t size, uint64_t off)
{
	struct bw_fs *fs = bw_req_fs(req);
	enum bw_step_what what;
	struct bw_dirbuf d;
	uint64_t step;
	uint32_t rank;
	char name[24];

	bw_step_ino_split(ino, &step, &what, &rank);
	if (bw_dirbuf_init(&d, req, size)) {
		bw_reply_err(req, -ENOMEM);
		return;
	}
	uint64_t up = what == BW_STEP_DIR ? BW_INO_STEP : bw_step_ino(step, BW_STEP_DIR, 0);
	bool room = bw_dirbuf_dots(&d, off, ino, up);

	if (what == BW_STEP_DIR) {
		if (room && off < 3)
			room = bw_dirbuf_add(&d, "rank", bw_step_ino(step, BW_STEP_RANKS, 0), true, 3);
		if (room && off < 4)
			bw_dirbuf_add(&d, "meta.json", bw_step_ino(step, BW_STEP_META, 0), false, 4);
		bw_dirbuf_reply(&d);
		return;
	}
	for (uint64_t r = off > 2 ? off - 2 : 0; room && r < fs->stream.options.ranks; r++) {
		snprintf(name, sizeof(name), "%" PRIu64, r);
		room = bw_dirbuf_add(&d, name, bw_step_ino(step, BW_STEP_SLICE, (uint32_t)r), false,
				     r + 3);
	}
	bw_dirbuf_reply(&d);
}

void bw_fuse_step_readdir(fuse_req_t req, uint64_t ino, size_t size, uint64_t off)
{
	if (ino == BW_INO_STEP)
		readdir_steps(req, size, off);
	else
		readdir_step(req, ino, size, off);
}

/* ---- Read ------------------------------------------------------------------------------------- */

struct slice_read {
	struct bw_read read;
	fuse_req_t req;
	pid_t pid;
	bool waits;
	struct bw_waiter waiter;
};

/* Before it is done, which may be a moment later, on another thread. */
static void read_waits(struct bw_read *read)
{
	struct slice_read *s = (struct slice_read *)read;

	s->waits = true;
	s->waiter.reason = BW_WAIT_READ;
	s->waiter.pid = s->pid;
	snprintf(s->waiter.what, sizeof(s->waiter.what), "step=%" PRIu64 " rank=%" PRIu32, read->entry->step, read->rank);
	bw_waiting_add(&bw_req_fs(s->req)->waiting, &s->waiter);
}

static void read_done(struct bw_read *read, int err)
{
	struct slice_read *s = (struct slice_read *)read;
	struct iovec iov[BW_READ_PIECES];

	if (s->waits)
		bw_waiting_remove(&bw_req_fs(s->req)->waiting, &s->waiter);
	if (err) {
		/* After the reply the handle may be closed, and the entry is the handle's. */
		log_failure(bw_req_fs(s->req), read->entry->step, read->rank, err);
		bw_reply_err(s->req, err);
		free(s);
		return;
	}
	for (unsigned i = 0; i < read->pieces_n; i++) {
		iov[i].iov_base = read->pieces[i].blob->bytes + read->pieces[i].offset;
		iov[i].iov_len = read->pieces[i].length;
	}
	fuse_reply_iov(s->req, iov, (int)read->pieces_n);
	free(s);
}

void bw_fuse_step_read(fuse_req_t req, struct bw_handle *h, size_t size, uint64_t off)
{
	uint64_t raw = bw_tgb_slice(h->tgb, h->rank)->raw;

	if (off >= raw || !size) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	struct slice_read *s = calloc(1, sizeof(*s));

	if (!s) {
		bw_reply_err(req, -ENOMEM);
		return;
	}
	if (h->is_direct && size < BW_ONCE_PIECE && off + size < raw &&
	    atomic_fetch_add(&h->small, 1) == BW_ONCE_PIECES)
		bw_once_small(&h->fs->once);
	s->req = req;
	s->pid = fuse_req_ctx(req)->pid;
	s->read.entry = &h->entry;
	s->read.tgb = h->tgb;
	s->read.rank = h->rank;
	s->read.offset = off;
	s->read.length = raw - off < size ? raw - off : size;
	/* Kernel readahead may overtake itself by a request or two: near is sequential enough. */
	uint64_t expected = atomic_exchange(&h->next_offset, off + s->read.length);

	s->read.sequential = off <= expected + (1u << 20) && expected <= off + (1u << 20);
	s->read.ahead = h->is_hand;
	s->read.done = read_done;
	s->read.waits = read_waits;
	bw_reader_read(bw_req_fs(req)->reader, &s->read);
}

/* ---- Extended attributes ---------------------------------------------------------------------- */

#define XATTR_PREFIX "user.batchweave."
static const char *const xattrs[] = {"step", "rank", "producer", "seq", "xxh3", "object"};
#define XATTRS_N (sizeof(xattrs) / sizeof(xattrs[0]))

static bool is_slice(uint64_t ino)
{
	enum bw_step_what what = BW_STEP_DIR;
	uint64_t step;
	uint32_t rank;

	if (bw_is_step_ino(ino))
		bw_step_ino_split(ino, &step, &what, &rank);
	return what == BW_STEP_SLICE;
}

void bw_fuse_step_getxattr(fuse_req_t req, uint64_t ino, const char *name, size_t size)
{
	if (is_slice(ino) && strncmp(name, XATTR_PREFIX, strlen(XATTR_PREFIX)) == 0)
		for (size_t i = 0; i < XATTRS_N; i++)
			if (strcmp(name + strlen(XATTR_PREFIX), xattrs[i]) == 0) {
				ask(req, ino, Q_GETXATTR, NULL, xattrs[i], size);
				return;
			}
	fuse_reply_err(req, ENODATA);
}

void bw_fuse_step_listxattr(fuse_req_t req, uint64_t ino, size_t size)
{
	char list[256];
	size_t len = 0;

	for (size_t i = 0; is_slice(ino) && i < XATTRS_N; i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, XATTR_PREFIX "%s", xattrs[i]) + 1;
	if (!size)
		fuse_reply_xattr(req, len);
	else if (size < len)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, list, len);
}
