/* SPDX-License-Identifier: Apache-2.0 */
/* The directory side of /produce: look-up, listing, mkdir, unlink, rename; life of the module. */
#include "fs/produce.h"

#include "fs/names.h"
#include "fs/stage.h"
#include "store/base/clock.h"
#include "store/base/parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int bw_produce_new(const struct bw_produce_config *config, struct bw_produce **ret)
{
	struct bw_produce *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->c = *config;
	memcpy(p->owner, bw_committer_owner(config->committer), sizeof(p->owner));
	bw_mutex_init(&p->lock, BW_RANK_PRODUCE);
	bw_cond_init(&p->idle);
	/* Staged nodes count up from here; /step has the numbers with bit 63, fixed files the small ones. */
	p->next_ino = UINT64_C(1) << 32;
	p->root = bw_stage_node_make(p, NULL, BW_NODE_ROOT, "produce");
	int err = p->root ? bw_workq_new("bw-tick", 1, &p->timer) : -ENOMEM;

	if (err) {
		bw_produce_free(p);
		return err;
	}
	bw_head_subscribe(p->c.head, bw_ahead_news, p);
	*ret = p;
	return 0;
}

void bw_produce_stop(struct bw_produce *p)
{
	bw_lock(&p->lock);
	p->stopping = true;
	if (p->c.committer)
		bw_committer_hurry(p->c.committer);
	bw_unlock(&p->lock);
	bw_ahead_stop(p);
}

/* Directories alone are a loop's next batch, of which nothing is lost. */
static bool holds_files(const struct bw_stage_batch *b)
{
	for (const struct bw_stage_node *n = b->dir->children; n; n = n->next)
		if (n != b->ranks || n->children)
			return true;
	return false;
}

static void print_missing(const struct bw_stage_batch *b, struct bw_buf *out);

static void log_dropped(const struct bw_stage_batch *b)
{
	bw_auto_buf struct bw_buf text = {.max = 0};

	bw_buf_init(&text, BW_WHY_MAX);
	print_missing(b, &text);
	bw_log(b->produce->c.log, BW_LOG_WARN, "batch_dropped", "producer=%s seq=%" PRIu64 "%s", b->producer->name, b->seq,
	       bw_buf_text(&text));
}

/* Who wrote it has been told nothing: no close was the last one of a whole batch, or it failed. */
static void give_up_staged_locked(struct bw_produce *p)
{
	for (struct bw_stage_producer *sp = p->producers; sp; sp = sp->next) {
		for (struct bw_stage_batch *b = sp->batches; b; b = b->next) {
			if (b->state == BW_BATCH_WHOLE) {
				b->state = BW_BATCH_STAGING;
				bw_stage_batch_give_up_locked(b);
			} else if (b->state == BW_BATCH_STAGING && holds_files(b)) {
				log_dropped(b);
			}
		}
	}
}

void bw_produce_drain(struct bw_produce *p, int64_t deadline_ns)
{
	BW_LOCK_SCOPE(&p->lock);
	while (p->busy_n || p->asking_n)
		if (!bw_cond_wait_until(&p->idle, &p->lock, deadline_ns))
			break;
	if (!p->closed)
		give_up_staged_locked(p);
	p->closed = true;
}

void bw_produce_release_store(struct bw_produce *p)
{
	BW_PRODUCE_SCOPE(p);
	for (struct bw_stage_producer *sp = p->producers; sp; sp = sp->next)
		for (struct bw_stage_batch *b = sp->batches; b; b = b->next)
			if (b->state != BW_BATCH_BUSY)
				bw_build_drop_locked(b);
}

void bw_produce_free(struct bw_produce *p)
{
	if (!p)
		return;
	bw_workq_free(p->timer);
	while (p->producers) {
		struct bw_stage_producer *sp = p->producers;
		while (sp->batches) {
			bw_stage_batch_abandon(sp->batches);
			bw_stage_batch_drop(sp->batches);
		}
		while (sp->done)
			bw_stage_batch_drop(sp->done);
		p->producers = sp->next;
		free(sp);
	}
	bw_spool_free_list(p->freed);
	/* The kernel is gone: what it still referred to goes with it. */
	for (unsigned b = 0; b < BW_NODE_BUCKETS; b++) {
		for (struct bw_stage_node *n = p->inos[b], *next; n; n = next) {
			next = n->by_ino;
			bw_spool_free(n->spool);
			free(n->name);
			free(n);
		}
	}
	bw_cond_done(&p->idle);
	bw_mutex_done(&p->lock);
	free(p);
}

/* ---- Look-up ---------------------------------------------------------------------------------- */

static bool root_knows(struct bw_produce *p, const char *name)
{
	struct bw_root *root = bw_head_root(p->c.head);
	bool known = bw_root_producer(root, name) != NULL;

	bw_root_unref(root);
	return known;
}

int bw_produce_lookup(struct bw_produce *p, uint64_t parent, const char *name, struct bw_attr *ret)
{
	bool known = parent == BW_PRODUCE_INO && root_knows(p, name);

	BW_LOCK_SCOPE(&p->lock);
	struct bw_stage_node *dir = bw_stage_node_find(p, parent);

	if (!dir)
		return -ENOENT;
	if (!bw_stage_node_is_dir(dir))
		return -ENOTDIR;
	struct bw_stage_node *n = bw_stage_node_child(p, dir, name);

	if (!n && dir->kind == BW_NODE_ROOT) {
		if (!known)
			return bw_name_valid(name) ? 1 : -ENOENT;
		struct bw_stage_producer *sp = bw_producer_make(p, name);
		if (!sp)
			return -ENOMEM;
		n = sp->dir;
	}
	if (!n)
		return -ENOENT;
	bw_stage_node_attr(p, n, ret);
	return 0;
}

int bw_produce_getattr(struct bw_produce *p, uint64_t ino, struct bw_attr *ret)
{
	BW_LOCK_SCOPE(&p->lock);
	struct bw_stage_node *n = bw_stage_node_find(p, ino);

	if (n)
		bw_stage_node_attr(p, n, ret);
	else if (bw_stage_node_was_dir(p, ino))
		*ret = (struct bw_attr){.ino = ino, .mode = S_IFDIR | (0555 & ~(uint32_t)p->c.options->umask)};
	else
		return -ENOENT;
	return 0;
}

/* Cookies fall from child to child.  Most who go on are those who stopped last. */
static struct bw_stage_node *first_to_list_locked(const struct bw_stage_node *dir, uint64_t cookie)
{
	return cookie && dir->listed && dir->listed->cookie >= cookie ? dir->listed : dir->children;
}

int bw_produce_readdir(struct bw_produce *p, uint64_t ino, uint64_t cookie, bw_emit *emit, void *ctx)
{
	struct bw_root *root = ino == BW_PRODUCE_INO && !cookie ? bw_head_root(p->c.head) : NULL;

	bw_lock(&p->lock);
	/* A listing of /produce begins with nodes for every producer of the newest root. */
	for (uint32_t i = 0; root && i < root->producers_n; i++)
		bw_producer_make(p, root->producers[i].name);
	struct bw_stage_node *dir = bw_stage_node_find(p, ino);
	bool known = dir || bw_stage_node_was_dir(p, ino);
	bool gone = !dir || (dir->batch && dir->batch->state == BW_BATCH_COMMITTED);

	for (struct bw_stage_node *n = gone ? NULL : first_to_list_locked(dir, cookie); n; n = n->next) {
		if (cookie && n->cookie >= cookie)
			continue;
		if (n->kind == BW_NODE_BATCH && n->batch->state == BW_BATCH_COMMITTED)
			continue;
		if (!emit(ctx, n->name, n->ino, bw_stage_node_is_dir(n), n->cookie))
			break;
		dir->listed = n;
	}
	bw_unlock(&p->lock);
	bw_root_unref(root);
	return known ? 0 : -ENOENT;
}

/* ---- Making and removing ---------------------------------------------------------------------- */

static int mkdir_in_batch_locked(struct bw_produce *p, struct bw_stage_node *dir, const char *name,
				 struct bw_answer *a)
{
	struct bw_stage_batch *b = dir->batch;

	if (!b)
		return -ENOENT;
	if (bw_stage_node_child(p, dir, name))
		return -EEXIST;
	int err = bw_stage_batch_editable(b);
	if (err)
		return err;
	bool ranks = dir->kind == BW_NODE_BATCH && strcmp(name, "rank") == 0;
	struct bw_stage_node *n = bw_stage_node_make(p, dir, ranks ? BW_NODE_RANKS : BW_NODE_DIR, name);

	if (!n)
		return -ENOMEM;
	if (ranks)
		b->ranks = n;
	bw_stage_node_attr(p, n, &a->attr);
	return 0;
}

void bw_produce_mkdir(struct bw_produce *p, uint64_t parent, const char *name, struct bw_answer *a)
{
	int err = -ENOENT;

	bw_lock(&p->lock);
	struct bw_stage_node *dir = bw_stage_node_find(p, parent);
	enum bw_node_kind kind = dir ? dir->kind : BW_NODE_FILE;

	if (dir && (kind == BW_NODE_BATCH || kind == BW_NODE_RANKS || kind == BW_NODE_DIR))
		err = mkdir_in_batch_locked(p, dir, name, a);
	bw_unlock(&p->lock);
	if (kind == BW_NODE_ROOT)
		bw_register_mkdir(p, name, a);
	else if (kind == BW_NODE_PRODUCER)
		bw_take_mkdir(p, dir, name, a);
	else
		a->done(a, err);
}

int bw_produce_unlink(struct bw_produce *p, uint64_t parent, const char *name)
{
	BW_PRODUCE_SCOPE(p);
	struct bw_stage_node *dir = bw_stage_node_find(p, parent);
	struct bw_stage_node *n = dir ? bw_stage_node_child(p, dir, name) : NULL;

	if (!n)
		return -ENOENT;
	if (bw_stage_node_is_dir(n))
		return -EISDIR;
	if (n->kind == BW_NODE_TEXT)
		return -EPERM;
	int err = bw_stage_batch_editable(n->batch);
	if (err)
		return err == -EROFS ? 0 : err;	/* P3d: what was in a committed batch may be removed */
	struct bw_stage_batch *b = n->batch;
	int64_t rank = n->rank;

	bw_stage_node_detach(p, n);
	bw_build_recheck_locked(b, rank);
	return 0;
}

int bw_produce_rmdir(struct bw_produce *p, uint64_t parent, const char *name)
{
	BW_PRODUCE_SCOPE(p);
	struct bw_stage_node *dir = bw_stage_node_find(p, parent);
	struct bw_stage_node *n = dir ? bw_stage_node_child(p, dir, name) : NULL;

	if (!n)
		return -ENOENT;
	if (!bw_stage_node_is_dir(n))
		return -ENOTDIR;
	if (n->kind == BW_NODE_PRODUCER)
		return -EPERM;		/* producers are for ever: their seqs are */
	int err = bw_stage_batch_editable(n->batch);
	if (err == -EBUSY)
		return err;
	if (err == -EROFS) {
		if (n->kind == BW_NODE_BATCH)
			bw_stage_batch_drop(n->batch);
		return 0;
	}
	if (n->children)
		return -ENOTEMPTY;
	if (n->kind == BW_NODE_BATCH)
		bw_stage_batch_drop(n->batch);
	else
		bw_stage_node_detach(p, n);
	return 0;
}

/* ---- Rename ----------------------------------------------------------------------------------- */

/* Is to a name inside rank/ that n may take?  *ret_rank: -1 for a stray name. */
static int check_rank_name(struct bw_produce *p, const struct bw_stage_node *to, const char *to_name,
			   const struct bw_stage_node *n, const struct bw_stage_node *replaced, int64_t *ret_rank)
{
	uint32_t rank;

	*ret_rank = -1;
	if (to->kind != BW_NODE_RANKS)
		return 0;
	int err = bw_rank_name_parse(to_name, p->c.stream->options.ranks, &rank);
	if (err == -ENOENT)
		return 0;
	if (err)
		return err;
	if (n && bw_stage_node_is_dir(n))
		return -EINVAL;
	struct bw_stage_node *holder = to->batch->by_rank[rank];

	if (holder && holder != n && holder != replaced)
		return -EEXIST;
	*ret_rank = rank;
	return 0;
}

static int check_rename(const struct bw_stage_node *n, const struct bw_stage_node *to, const char *to_name,
			const struct bw_stage_node *replaced, bool noreplace)
{
	if (n->kind == BW_NODE_TEXT || n->kind == BW_NODE_PRODUCER)
		return -EPERM;
	if (n->kind == BW_NODE_BATCH || n->kind == BW_NODE_RANKS)
		return -EXDEV;		/* mv copies; a batch is never renamed into another */
	if (!to->batch || to->batch != n->batch)
		return -EXDEV;
	/* P2: a rename that may wait stays inside one directory. */
	if (to->kind == BW_NODE_RANKS && n->parent != to)
		return -EXDEV;
	/* Nobody has judged its files as ranks: mv copies them, one by one. */
	if (to->kind == BW_NODE_BATCH && bw_stage_node_is_dir(n) && strcmp(to_name, "rank") == 0)
		return -EXDEV;
	int err = bw_stage_batch_editable(n->batch);
	if (err)
		return err;
	for (const struct bw_stage_node *up = to; up; up = up->parent)
		if (up == n)
			return -EINVAL;
	if (!replaced || replaced == n)
		return 0;
	if (noreplace)
		return -EEXIST;
	if (bw_stage_node_is_dir(replaced) != bw_stage_node_is_dir(n))
		return bw_stage_node_is_dir(replaced) ? -EISDIR : -ENOTDIR;
	return replaced->children ? -ENOTEMPTY : 0;
}

static int rename_locked(struct bw_produce *p, struct bw_stage_node *dir, const char *name,
			 struct bw_stage_node *to, const char *to_name, bool noreplace,
			 struct bw_stage_node **ret_moved)
{
	struct bw_stage_node *n = dir ? bw_stage_node_child(p, dir, name) : NULL;
	int64_t rank;

	if (!n || !to)
		return -ENOENT;
	struct bw_stage_node *replaced = bw_stage_node_child(p, to, to_name);
	int err = check_rename(n, to, to_name, replaced, noreplace);

	if (!err)
		err = check_rank_name(p, to, to_name, n, replaced, &rank);
	/* What becomes whole by this must stand still. */
	if (!err && p->c.options->commit == BW_COMMIT_RENAME && bw_stage_node_writing(n))
		err = -EBUSY;
	if (err || replaced == n)
		return err;
	struct bw_stage_batch *b = n->batch;
	int64_t was = n->rank;
	char *copy = strdup(to_name);

	if (!copy)
		return -ENOMEM;
	if (replaced)
		bw_stage_node_detach(p, replaced);
	if (n->rank >= 0 && b->by_rank[n->rank] == n)
		b->by_rank[n->rank] = NULL;
	if (b->state_file == n)
		b->state_file = NULL;
	bw_stage_node_move(p, n, to, copy);
	n->rank = rank;
	if (rank >= 0)
		b->by_rank[rank] = n;
	if (to->kind == BW_NODE_BATCH && !bw_stage_node_is_dir(n) && strcmp(to_name, "state") == 0)
		b->state_file = n;
	bw_build_recheck_locked(b, was);
	bw_build_recheck_locked(b, rank);
	*ret_moved = n;
	return 0;
}

void bw_produce_rename(struct bw_produce *p, uint64_t parent, const char *name, uint64_t to_parent,
		       const char *to_name, bool noreplace, struct bw_answer *a)
{
	struct bw_answer *now = a;
	struct bw_stage_node *moved = NULL;

	bw_lock(&p->lock);
	int err = rename_locked(p, bw_stage_node_find(p, parent), name, bw_stage_node_find(p, to_parent), to_name,
				noreplace, &moved);

	if (!err && moved && bw_stage_node_counts(moved)) {
		moved->sealed |= bw_stage_node_seals(moved);
		bw_stage_batch_settled_locked(moved->batch, a, &now, &err);
	}
	bw_produce_unlock(p);
	if (now)
		now->done(now, err);
}

/* ---- Texts and status ------------------------------------------------------------------------- */

bool bw_produce_is_text(struct bw_produce *p, uint64_t ino, enum bw_produce_text *ret_what,
			char producer[BW_NAME_MAX + 1])
{
	BW_LOCK_SCOPE(&p->lock);
	struct bw_stage_node *n = bw_stage_node_find(p, ino);

	if (!n || n->kind != BW_NODE_TEXT)
		return false;
	*ret_what = n->text;
	memcpy(producer, n->producer->name, BW_NAME_MAX + 1);
	return true;
}

#define LISTED 8u	/* of a batch's ranks that are missing, neighbours as one; and of its stray names */
#define BATCHES 1000u	/* that have a line */

/* As a value of a line: nothing in it ends the value, or the line. */
static void print_name(const char *name, struct bw_buf *out)
{
	for (const char *p = name; *p; p++)
		bw_buf_u8(out, (unsigned char)*p <= ' ' || *p == 0x7f ? '?' : (uint8_t)*p);
}

static void print_names(const struct bw_stage_node *dir, struct bw_buf *out, unsigned *n)
{
	for (const struct bw_stage_node *c = dir ? dir->children : NULL; c; c = c->next) {
		bool stray = c->kind == BW_NODE_DIR ||
			     (c->kind == BW_NODE_FILE && c->rank < 0 && c->batch->state_file != c);
		if (!stray || (*n)++ >= LISTED)
			continue;
		bw_buf_fmt(out, "%s%s", *n == 1 ? " stray=" : ",", dir->kind == BW_NODE_RANKS ? "rank/" : "");
		print_name(c->name, out);
	}
}

static const char *why_not_whole(const struct bw_stage_node *n)
{
	static const char *const torn[] = {
		[BW_TORN_KILLED] = "(writer killed)", [BW_TORN_WRITE] = "(write failed)",
		[BW_TORN_UNJUDGED] = "(closer unknown)"};

	if (!n)
		return "";
	if (n->torn)
		return torn[n->torn];
	if (n->rank < 0)
		return n->writers ? "(open)" : "(not renamed)";
	return n->writers ? "(open)" : bw_spool_size(n->spool) ? "(not renamed)" : "(empty)";
}

static bool is_missing(const struct bw_stage_node *n)
{
	return !n || !bw_stage_node_whole(n);
}

/* The ranks that are not whole, neighbours that lack the same as one: 0-5,7(open),9-65535. */
static void print_ranks(const struct bw_stage_batch *b, uint32_t ranks, uint32_t missing, struct bw_buf *out)
{
	unsigned listed = 0;

	for (uint32_t r = 0, end; missing && listed < LISTED && r < ranks; r = end) {
		end = r + 1;
		if (!is_missing(b->by_rank[r]))
			continue;
		const char *why = why_not_whole(b->by_rank[r]);
		while (end < ranks && is_missing(b->by_rank[end]) && strcmp(why, why_not_whole(b->by_rank[end])) == 0)
			end++;
		bw_buf_fmt(out, "%s%" PRIu32, listed++ ? "," : " ranks=", r);
		if (end - r > 1)
			bw_buf_fmt(out, "-%" PRIu32, end - 1);
		bw_buf_str(out, why);
		missing -= end - r;
	}
	if (missing)
		bw_buf_fmt(out, " more=%" PRIu32, missing);
}

/* " missing=...", and what else keeps it from being whole. */
static void print_missing(const struct bw_stage_batch *b, struct bw_buf *out)
{
	uint32_t ranks = b->produce->c.stream->options.ranks, missing = bw_stage_batch_missing(b, ranks);
	bool lacks_state = bw_stage_batch_state_missing(b);
	unsigned stray = 0;
	char text[64];

	bw_buf_fmt(out, " missing=%" PRIu32 "/%" PRIu32, missing, ranks);
	print_ranks(b, ranks, missing - lacks_state, out);
	if (lacks_state)
		bw_buf_fmt(out, " state_file=%s", why_not_whole(b->state_file));
	print_names(b->dir, out, &stray);
	print_names(b->ranks, out, &stray);
	if (b->uploads_failed && !b->uploaded)
		bw_buf_fmt(out, " uploads_failed=%u", b->uploads_failed);
	if (b->err)
		bw_buf_fmt(out, " error=\"%s\"", bw_err_text(b->err, text, sizeof(text)));
}

static void print_batch(const struct bw_stage_batch *b, struct bw_buf *out)
{
	static const char *const states[] = {"staging", "whole", "committing", "committed"};

	bw_buf_fmt(out, "producer=%s seq=%" PRIu64 " state=%s", b->producer->name, b->seq, states[b->state]);
	print_missing(b, out);
	bw_buf_str(out, "\n");
}

void bw_produce_print(struct bw_produce *p, struct bw_buf *out)
{
	unsigned n = 0;

	BW_LOCK_SCOPE(&p->lock);
	for (struct bw_stage_producer *sp = p->producers; sp; sp = sp->next)
		for (struct bw_stage_batch *b = sp->batches; b; b = b->next)
			if (n++ < BATCHES)
				print_batch(b, out);
	if (n > BATCHES)
		bw_buf_fmt(out, "... and %u more batches\n", n - BATCHES);
}

uint64_t bw_produce_staged(struct bw_produce *p)
{
	uint64_t n = 0;

	BW_LOCK_SCOPE(&p->lock);
	for (struct bw_stage_producer *sp = p->producers; sp; sp = sp->next)
		for (struct bw_stage_batch *b = sp->batches; b; b = b->next)
			n++;
	return n;
}

uint64_t bw_produce_pending(struct bw_produce *p, const char *producer)
{
	uint64_t n = 0;

	BW_LOCK_SCOPE(&p->lock);
	struct bw_stage_producer *sp = bw_producer_find(p, producer);

	for (struct bw_stage_batch *b = sp ? sp->batches : NULL; b; b = b->next)
		n += b->state == BW_BATCH_BUSY;
	return n;
}
