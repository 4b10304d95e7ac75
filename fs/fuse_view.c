/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views: the directories of name templates (view.h).
 *
 * Files of a view are the slices of /step, by their inode numbers, so everything about them is fuse_step.c's
 * and the kernel keeps one page cache for both.  A directory that belongs to a step is there when the step is,
 * which fuse_step.c answers as well; what is left are directories that are always there, and listings.
 */
#include "fs/fuse_ops.h"

#include "fs/names.h"
#include "store/base/clock.h"

static struct bw_view_place place_of(uint64_t ino)
{
	return ino == BW_INO_ROOT ? (struct bw_view_place){0} : bw_view_ino_split(ino);
}

static bool is_of_a_step(const struct bw_fs *fs, const struct bw_view_place *p)
{
	return fs->o.views.nodes[p->node].known & BW_VIEW_STEP;
}

static uint64_t place_ino(const struct bw_fs *fs, const struct bw_view_place *p)
{
	if (!p->node)
		return BW_INO_ROOT;
	return fs->o.views.nodes[p->node].file ? bw_step_ino(p->step, BW_STEP_SLICE, p->rank) : bw_view_ino(p);
}

/* Of a directory that is always there. */
static void fill_fixed(struct bw_fs *fs, const struct bw_view_place *p, struct stat *st)
{
	struct bw_root *root = bw_head_root(fs->head);
	bool grows = bw_view_lists_steps(&fs->o.views, p->node);

	bw_fill_dir(fs, place_ino(fs, p), 0555, (grows ? root->time_ms : fs->started_ms) * BW_MS, st);
	bw_root_unref(root);
}

void bw_fuse_view_lookup(fuse_req_t req, uint64_t parent, const char *name)
{
	struct bw_fs *fs = bw_req_fs(req);
	struct bw_view_place dir = place_of(parent), p;
	struct stat st;

	if (bw_view_match(&fs->o.views, &dir, name, fs->stream.options.ranks, &p)) {
		fuse_reply_err(req, ENOENT);
	} else if (is_of_a_step(fs, &p)) {
		bw_fuse_step_lookup_ino(req, place_ino(fs, &p));
	} else {
		fill_fixed(fs, &p, &st);
		bw_reply_entry(req, &st, 1.0);
	}
}

void bw_fuse_view_getattr(fuse_req_t req, uint64_t ino)
{
	struct bw_fs *fs = bw_req_fs(req);
	struct bw_view_place p = place_of(ino);
	struct stat st;

	if (is_of_a_step(fs, &p)) {
		bw_fuse_step_getattr(req, ino);
		return;
	}
	fill_fixed(fs, &p, &st);
	fuse_reply_attr(req, &st, 1.0);
}

void bw_fuse_view_opendir(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi)
{
	struct bw_fs *fs = bw_req_fs(req);
	struct bw_view_place p = place_of(ino);

	if (is_of_a_step(fs, &p))
		bw_fuse_step_opendir(req, ino, fi);
	else if (bw_view_lists_steps(&fs->o.views, p.node))
		bw_fresh_opendir(req, ino, fi);
	else
		fuse_reply_open(req, fi);
}

struct listing {
	struct bw_dirbuf *to;
	const struct bw_fs *fs;
};

static bool emit(void *ctx, const struct bw_view_place *p, const char *name, uint64_t number)
{
	struct listing *l = ctx;
	bool dir = !l->fs->o.views.nodes[p->node].file;

	return bw_dirbuf_add(l->to, name, place_ino(l->fs, p), dir, BW_VIEW_OFFSET + number + 1);
}

bool bw_fuse_view_fill(struct bw_dirbuf *d, uint64_t ino, uint64_t off)
{
	const struct bw_fs *fs = bw_req_fs(d->req);
	struct bw_view_place dir = place_of(ino);
	struct bw_root *root = bw_head_root(fs->head);
	struct bw_view_range range = {.first = root->first, .head = root->head,
				      .ranks = fs->stream.options.ranks};

	bw_root_unref(root);
	struct listing l = {.to = d, .fs = fs};

	return bw_view_list(&fs->o.views, &dir, &range, off > BW_VIEW_OFFSET ? off - BW_VIEW_OFFSET : 0, emit, &l);
}

void bw_fuse_view_readdir(fuse_req_t req, uint64_t ino, size_t size, uint64_t off)
{
	struct bw_view_place p = place_of(ino), up = bw_view_parent(&bw_req_fs(req)->o.views, &p);
	struct bw_dirbuf d;

	if (bw_dirbuf_init(&d, req, size)) {
		bw_reply_err(req, -ENOMEM);
		return;
	}
	if (bw_dirbuf_dots(&d, off, ino, place_ino(bw_req_fs(req), &up)))
		bw_fuse_view_fill(&d, ino, off);
	bw_dirbuf_reply(&d);
}
