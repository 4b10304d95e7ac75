/* SPDX-License-Identifier: Apache-2.0 */
/* Files whose text is made when they are opened: /status, and next, state, resume of a producer. */
#include "fs/fuse_ops.h"

#include "fs/names.h"
#include "store/base/clock.h"
#include "store/base/hash.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void status_fresh(struct bw_fresh *f, int err);

/* ---- Fresh news -------------------------------------------------------------------------------- */

/* Whoever asks how the mount is doing does not wait for its data: what he sees is not to be of himself. */
static bool is_a_look(const struct bw_fresh *f)
{
	return f->next == status_fresh && (f->arg == BW_STATUS_STATUS || f->arg == BW_STATUS_JSON);
}

static void fresh_done(struct bw_ask *ask, int err)
{
	struct bw_fresh *f = bw_container_of(ask, struct bw_fresh, ask);

	if (is_a_look(f))
		bw_waiting_forget(&f->fs->waiting, &f->waiter);
	else
		bw_waiting_remove(&f->fs->waiting, &f->waiter);
	f->next(f, err);
}

void bw_fresh_ask(fuse_req_t req, uint64_t ino, const char *name, const struct fuse_file_info *fi,
		  int arg, int64_t limit_ns, void (*next)(struct bw_fresh *f, int err))
{
	struct bw_fresh *f = calloc(1, sizeof(*f));

	if (!f) {
		bw_reply_err(req, -ENOMEM);
		return;
	}
	f->fs = bw_req_fs(req);
	f->req = req;
	f->ino = ino;
	f->arg = arg;
	f->next = next;
	if (fi)
		f->fi = *fi;
	snprintf(f->name, sizeof(f->name), "%s", name);
	f->waiter.pid = fuse_req_ctx(req)->pid;
	f->waiter.reason = BW_WAIT_LOOKUP;
	snprintf(f->waiter.what, sizeof(f->waiter.what), "step=- rank=-");
	f->ask.done = fresh_done;
	f->ask.until_step = BW_STEPS_MAX;
	f->ask.deadline_ns = bw_now() + limit_ns;
	f->ask.urgent = (ino == BW_INO_CHECKPOINT || bw_is_job_ino(ino)) && bw_checkpoint_pace(f->fs->checkpoint);
	bw_waiting_add(&f->fs->waiting, &f->waiter);
	bw_head_ask(f->fs->head, &f->ask);
}

static void dir_fresh(struct bw_fresh *f, int err)
{
	/* A store that does not answer must not hide what is known to be there. */
	(void)err;
	fuse_reply_open(f->req, &f->fi);
	free(f);
}

void bw_fresh_opendir(fuse_req_t req, uint64_t ino, const struct fuse_file_info *fi)
{
	bw_fresh_ask(req, ino, "", fi, 0, BW_SEC, dir_fresh);
}

/* ---- /status ------------------------------------------------------------------------------------ */

static void status_stat(struct bw_fs *fs, enum bw_status_file file, struct stat *st)
{
	bw_auto_buf struct bw_buf text = {.max = 0};

	bw_buf_init(&text, BW_STATUS_TEXT_MAX);
	bw_status_print(fs, file, &text);
	/* S9: a size of 0 would make rsync, tar and sendfile copy nothing. */
	bw_fill_file(fs, BW_INO_STATUS_FILES + file, 0444, text.len, text.len,
		     bw_wall_ms() * BW_MS, st);
}

void bw_fuse_status_lookup(fuse_req_t req, const char *name)
{
	struct stat st;

	for (int i = 0; i < BW_STATUS_FILES; i++) {
		if (strcmp(name, bw_status_name((enum bw_status_file)i)))
			continue;
		status_stat(bw_req_fs(req), (enum bw_status_file)i, &st);
		bw_reply_entry(req, &st, 0);
		return;
	}
	fuse_reply_err(req, ENOENT);
}

void bw_fuse_status_getattr(fuse_req_t req, uint64_t ino)
{
	struct stat st;

	status_stat(bw_req_fs(req), (enum bw_status_file)(ino - BW_INO_STATUS_FILES), &st);
	fuse_reply_attr(req, &st, 0);
}

static void status_fresh(struct bw_fresh *f, int err)
{
	struct bw_buf text;

	(void)err;	/* status tells of a store that does not answer */
	bw_buf_init(&text, BW_STATUS_TEXT_MAX);
	bw_status_print(f->fs, (enum bw_status_file)f->arg, &text);
	bw_reply_open_text(f->req, &f->fi, &text);
	free(f);
}

static void looked(struct bw_ask *ask, int err)
{
	struct bw_fs *fs = bw_container_of(ask, struct bw_fs, look);

	(void)err;	/* what the store said has been noted on its way */
	atomic_store(&fs->looking, false);
}

/* A mount that nobody uses asks its store nothing, and who collects its metrics would not see the end of an outage. */
static void look_for_the_end(struct bw_fs *fs)
{
	struct bw_trouble trouble = bw_stats_trouble(&fs->stats);

	if (trouble.outcome == BW_OK || trouble.writes_only || atomic_exchange(&fs->looking, true))
		return;
	fs->look = (struct bw_ask){
		.done = looked, .until_step = BW_STEPS_MAX, .deadline_ns = bw_now() + fs->o.io_timeout_ns};
	bw_head_ask(fs->head, &fs->look);
}

void bw_fuse_status_open(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi)
{
	enum bw_status_file file = (enum bw_status_file)(ino - BW_INO_STATUS_FILES);
	struct bw_buf text;

	if ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC)) {
		fuse_reply_err(req, EROFS);
		return;
	}
	/* What is only about this mount is shown at once, whatever the store does. */
	if (file != BW_STATUS_WAITING && file != BW_STATUS_ERRORS && file != BW_STATUS_METRICS) {
		bw_fresh_ask(req, ino, "", fi, file, BW_SEC, status_fresh);
		return;
	}
	bw_buf_init(&text, BW_STATUS_TEXT_MAX);
	bw_status_print(bw_req_fs(req), file, &text);
	if (file == BW_STATUS_METRICS)
		look_for_the_end(bw_req_fs(req));
	bw_reply_open_text(req, fi, &text);
}

void bw_fuse_status_readdir(fuse_req_t req, size_t size, uint64_t off)
{
	struct bw_dirbuf d;

	if (bw_dirbuf_init(&d, req, size)) {
		bw_reply_err(req, -ENOMEM);
		return;
	}
	bool room = bw_dirbuf_dots(&d, off, BW_INO_STATUS, BW_INO_ROOT);

	for (uint64_t i = off > 2 ? off - 2 : 0; room && i < BW_STATUS_FILES; i++)
		room = bw_dirbuf_add(&d, bw_status_name((enum bw_status_file)i),
				     BW_INO_STATUS_FILES + i, false, i + 3);
	bw_dirbuf_reply(&d);
}

/* ---- next, state, resume ------------------------------------------------------------------------ */

/* One consistent snapshot: entry and state are of one root. */
struct text_open {
	struct bw_op op;
	struct bw_ask ask;		/* when the state is not there: is there another by now? */
	struct bw_fs *fs;
	fuse_req_t req;
	struct fuse_file_info fi;
	struct bw_root *root;		/* ref: keeps entry */
	const struct bw_producer_entry *entry;
	enum bw_produce_text what;
	int64_t deadline_ns;
};

static void text_reply(struct text_open *t, int err, const void *state, size_t len)
{
	struct bw_buf text;

	bw_buf_init(&text, 2 * (size_t)BW_STATE_MAX);
	if (!err)
		bw_text_print(t->entry, state, len, t->what, &text);
	if (err)
		bw_reply_err(t->req, err);
	else
		bw_reply_open_text(t->req, &t->fi, &text);
	bw_op_done(&t->op);
	bw_root_unref(t->root);
	free(t);
}

static void state_failed(struct text_open *t, int err)
{
	bw_log(t->fs->log, BW_LOG_ERROR, "state_failed", "object=%s outcome=%s errno=%d", t->op.key,
	       bw_outcome_name(t->op.outcome), bw_err_errno(err));
	text_reply(t, err, NULL, 0);
}

static void got_state(struct bw_op *op);

/* Of the entry; it is none that is in an object, or the object is fetched. */
static void text_go(struct text_open *t)
{
	const struct bw_producer_entry *e = t->entry;
	char key[BW_KEY_MAX + 1];

	if (!e) {
		text_reply(t, -ENOENT, NULL, 0);
	} else if (t->what == BW_TEXT_NEXT || !e->has_state || e->state) {
		text_reply(t, 0, e->state, e->has_state ? e->state_len : 0);
	} else {
		bw_key_state(&t->fs->stream, e->name, e->state_epoch, e->state_seq, e->state_nonce, key);
		bw_op_get_all(&t->op, key, BW_STATE_MAX);
		t->op.deadline_ns = t->deadline_ns;
		t->op.done = got_state;
		t->op.ctx = t;
		bw_store_submit(t->fs->store, &t->op);
	}
}

static bool is_of_same_state(const struct bw_producer_entry *e, const struct bw_producer_entry *now)
{
	return now && now->has_state && !now->state && now->state_epoch == e->state_epoch &&
	       now->state_seq == e->state_seq && now->state_nonce == e->state_nonce;
}

static void state_asked(struct bw_ask *ask, int err)
{
	struct text_open *t = bw_container_of(ask, struct text_open, ask);
	struct bw_root *root = bw_head_root(t->fs->head);
	const struct bw_producer_entry *now = bw_root_producer(root, t->entry->name);

	/* A state that is named by the newest root and gone is no ENOENT of the file's. */
	if (!err && is_of_same_state(t->entry, now))
		err = -BW_E_CORRUPT;
	if (err) {
		bw_root_unref(root);
		state_failed(t, err);
		return;
	}
	bw_op_done(&t->op);
	bw_root_unref(t->root);
	t->root = root;
	t->entry = now;
	text_go(t);
}

/* Another batch may be committed by now, and the state before it reclaimed. */
static void ask_for_another(struct text_open *t)
{
	bool asks;

	t->ask = (struct bw_ask){.done = state_asked, .until_step = BW_STEPS_MAX, .deadline_ns = t->deadline_ns};
	bw_lock(&t->fs->lock);
	asks = !t->fs->head_over;
	if (asks)
		bw_head_ask(t->fs->head, &t->ask);
	bw_unlock(&t->fs->lock);
	if (!asks)
		state_failed(t, -BW_E_STOPPING);
}

static void got_state(struct bw_op *op)
{
	struct text_open *t = op->ctx;
	int err = bw_op_err(op);

	if (err == -ENOENT) {
		ask_for_another(t);
		return;
	}
	if (!err && (op->blob->len != t->entry->state_len ||
		     bw_xxh3(op->blob->bytes, op->blob->len) != t->entry->state_xxh3))
		err = -BW_E_CORRUPT;
	if (err)
		state_failed(t, err);
	else
		text_reply(t, 0, op->blob->bytes, op->blob->len);
}

static void text_fresh(struct bw_fresh *f, int err)
{
	struct text_open *t = err ? NULL : calloc(1, sizeof(*t));

	if (!t) {
		bw_reply_err(f->req, err ? err : -ENOMEM);
		free(f);
		return;
	}
	t->fs = f->fs;
	t->req = f->req;
	t->fi = f->fi;
	t->what = (enum bw_produce_text)f->arg;
	t->deadline_ns = bw_now() + t->fs->o.io_timeout_ns;
	t->root = bw_head_root(f->fs->head);
	t->entry = bw_root_producer(t->root, f->name);
	free(f);
	text_go(t);
}

void bw_fuse_text_open(fuse_req_t req, uint64_t ino, enum bw_produce_text what, const char *producer,
		       struct fuse_file_info *fi)
{
	bw_fresh_ask(req, ino, producer, fi, what, bw_req_fs(req)->o.io_timeout_ns, text_fresh);
}
