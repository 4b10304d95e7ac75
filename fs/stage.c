/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/stage.h"

#include "store/base/clock.h"
#include "store/base/container.h"
#include "store/base/hash.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static uint32_t ino_bucket(uint64_t ino)
{
	return (uint32_t)(ino * UINT64_C(0x9e3779b97f4a7c15) >> (64 - BW_NODE_BUCKETS_LOG));
}

static uint32_t name_bucket(const struct bw_stage_node *parent, const char *name)
{
	return (uint32_t)bw_xxh3_seed(name, strlen(name), parent->ino) % BW_NODE_BUCKETS;
}

static int64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * BW_SEC + ts.tv_nsec;
}

void bw_stage_node_touch(struct bw_stage_node *n)
{
	n->mtime_ns = wall_ns();
}

bool bw_stage_node_is_dir(const struct bw_stage_node *n)
{
	return n->kind != BW_NODE_FILE && n->kind != BW_NODE_TEXT;
}

static void link_child(struct bw_produce *p, struct bw_stage_node *parent, struct bw_stage_node *n)
{
	/* New children go first and listings run from the highest cookie down, so that a listing may
	 * stop and go on while names come and go. */
	n->cookie = ++parent->next_cookie;
	n->parent = parent;
	n->prev = &parent->children;
	n->next = parent->children;
	if (n->next)
		n->next->prev = &n->next;
	parent->children = n;
	uint32_t b = name_bucket(parent, n->name);

	n->by_name = p->names[b];
	p->names[b] = n;
	bw_stage_node_touch(parent);
}

static void unlink_child(struct bw_produce *p, struct bw_stage_node *n)
{
	struct bw_stage_node **at = &p->names[name_bucket(n->parent, n->name)];

	while (*at != n)
		at = &(*at)->by_name;
	*at = n->by_name;
	if (n->parent->listed == n)
		n->parent->listed = n->prev == &n->parent->children ? NULL
			: bw_container_of(n->prev, struct bw_stage_node, next);
	*n->prev = n->next;
	if (n->next)
		n->next->prev = n->prev;
	bw_stage_node_touch(n->parent);
	n->parent = NULL;
}

struct bw_stage_node *bw_stage_node_make(struct bw_produce *p, struct bw_stage_node *parent, enum bw_node_kind kind,
			     const char *name)
{
	struct bw_stage_node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->name = strdup(name);
	if (!n->name) {
		free(n);
		return NULL;
	}
	n->kind = kind;
	n->rank = -1;
	n->ino = BW_PRODUCE_INO;
	if (kind != BW_NODE_ROOT) {
		n->ino = p->next_ino | bw_stage_node_is_dir(n);
		p->next_ino += 2;
	}
	bw_stage_node_touch(n);
	uint32_t b = ino_bucket(n->ino);

	n->by_ino = p->inos[b];
	p->inos[b] = n;
	if (parent) {
		n->producer = parent->producer;
		n->batch = parent->batch;
		link_child(p, parent, n);
	}
	return n;
}

struct bw_stage_node *bw_stage_node_find(struct bw_produce *p, uint64_t ino)
{
	struct bw_stage_node *n = p->inos[ino_bucket(ino)];

	while (n && n->ino != ino)
		n = n->by_ino;
	return n;
}

bool bw_stage_node_was_dir(struct bw_produce *p, uint64_t ino)
{
	return ino & 1 && ino < p->next_ino && !bw_stage_node_find(p, ino);
}

struct bw_stage_node *bw_stage_node_child(struct bw_produce *p, const struct bw_stage_node *parent, const char *name)
{
	struct bw_stage_node *n = p->names[name_bucket(parent, name)];

	while (n && (n->parent != parent || strcmp(n->name, name)))
		n = n->by_name;
	return n;
}

void bw_produce_unlock(struct bw_produce *p)
{
	struct bw_spool *freed = p->freed;

	p->freed = NULL;
	bw_unlock(&p->lock);
	bw_spool_free_list(freed);
}

void bw_stage_node_settle(struct bw_produce *p, struct bw_stage_node *n)
{
	if (!n->detached || n->opens)
		return;
	struct bw_stage_node **at = &p->inos[ino_bucket(n->ino)];

	while (*at != n)
		at = &(*at)->by_ino;
	*at = n->by_ino;
	bw_spool_free_later(n->spool, &p->freed);
	free(n->name);
	free(n);
}

static void drop_bytes(struct bw_produce *p, struct bw_stage_node *n)
{
	if (!n->spool || n->opens)
		return;
	n->size_was = bw_spool_size(n->spool);
	bw_spool_free_later(n->spool, &p->freed);
	n->spool = NULL;
}

/* The next one of n and all that is below it; NULL: at was the last. */
static struct bw_stage_node *after(const struct bw_stage_node *n, const struct bw_stage_node *at)
{
	if (at->children)
		return at->children;
	while (at != n && !at->next)
		at = at->parent;
	return at == n ? NULL : at->next;
}

void bw_stage_node_drop_bytes(struct bw_produce *p, struct bw_stage_node *n)
{
	for (struct bw_stage_node *at = n; at; at = after(n, at))
		drop_bytes(p, at);
}

uint32_t bw_stage_node_count(const struct bw_stage_node *n)
{
	uint32_t count = 0;

	for (const struct bw_stage_node *at = n; at; at = after(n, at))
		count++;
	return count;
}

static void detach_one(struct bw_produce *p, struct bw_stage_node *n)
{
	struct bw_stage_batch *b = n->batch;

	if (b) {
		if (n->rank >= 0 && b->by_rank && b->by_rank[n->rank] == n)
			b->by_rank[n->rank] = NULL;
		if (b->state_file == n)
			b->state_file = NULL;
		if (b->ranks == n)
			b->ranks = NULL;
		if (b->dir == n)
			b->dir = NULL;
	}
	unlink_child(p, n);
	n->batch = NULL;
	n->detached = true;
	drop_bytes(p, n);
	bw_stage_node_settle(p, n);
}

void bw_stage_node_detach(struct bw_produce *p, struct bw_stage_node *n)
{
	/* Bottom up, without recursion: names may nest as deep as a user likes. */
	for (struct bw_stage_node *at = n;;) {
		while (at->children)
			at = at->children;
		struct bw_stage_node *up = at->parent;
		bool last = at == n;
		detach_one(p, at);
		if (last)
			return;
		at = up;
	}
}

void bw_stage_node_move(struct bw_produce *p, struct bw_stage_node *n, struct bw_stage_node *to, char *name)
{
	unlink_child(p, n);
	free(n->name);
	n->name = name;
	link_child(p, to, n);
}

void bw_stage_node_attr(const struct bw_produce *p, const struct bw_stage_node *n, struct bw_attr *ret)
{
	uint32_t mode = bw_stage_node_is_dir(n) ? S_IFDIR | 0777 : S_IFREG | 0666;
	bool fixed = n->kind == BW_NODE_TEXT ||
		     (n->batch && n->batch->state == BW_BATCH_COMMITTED);

	if (fixed)
		mode &= ~0222u;
	*ret = (struct bw_attr){
		.ino = n->ino,
		.mode = mode & ~(uint32_t)p->c.options->umask,
		.mtime_ns = n->mtime_ns,
		.size = n->spool ? bw_spool_size(n->spool) : n->size_was,
		.stored = n->spool ? bw_spool_stored(n->spool) : 0,
		.stays = n->kind == BW_NODE_PRODUCER || n->kind == BW_NODE_BATCH || n->kind == BW_NODE_RANKS,
	};
}
