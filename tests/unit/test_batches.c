/* SPDX-License-Identifier: Apache-2.0 */
/* P3d, P4: the lists of a producer's batches, staged ones and those whose directories only stay for a while; S6: what goes with them. */
#include "fs/stage.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define N 12u

struct fixture {
	struct bw_mount_options options;
	struct bw_stream stream;
	struct bw_produce *p;
	struct bw_stage_producer *sp;
};

static struct bw_stage_batch *make(struct fixture *f, uint64_t seq)
{
	struct bw_stage_batch *b;
	char name[24];

	snprintf(name, sizeof(name), "%u", (unsigned)seq);
	cr_assert_eq(bw_stage_batch_make(f->sp, name, seq, &b), 0);
	return b;
}

static void commit(struct bw_stage_batch *b)
{
	b->state = BW_BATCH_COMMITTED;
	bw_stage_batch_done(b);
}

static void setup(struct fixture *f)
{
	*f = (struct fixture){.stream.options.ranks = 2};
	f->p = calloc(1, sizeof(*f->p));
	cr_assert_not_null(f->p);
	bw_mutex_init(&f->p->lock, BW_RANK_PRODUCE);
	f->p->c.stream = &f->stream;
	f->p->c.options = &f->options;
	f->p->next_ino = 100;
	f->p->root = bw_stage_node_make(f->p, NULL, BW_NODE_ROOT, "produce");
	cr_assert_not_null(f->p->root);
	f->sp = bw_producer_make(f->p, "p");
	cr_assert_not_null(f->sp);
}

static void teardown(struct fixture *f)
{
	while (f->sp->batches)
		bw_stage_batch_drop(f->sp->batches);
	while (f->sp->done)
		bw_stage_batch_drop(f->sp->done);
	cr_assert_null(f->sp->done_last);
	bw_stage_node_detach(f->p, f->sp->dir);
	free(f->sp);
	free(f->p->root->name);
	free(f->p->root);
	bw_lock(&f->p->lock);
	bw_produce_unlock(f->p);
	bw_mutex_done(&f->p->lock);
	free(f->p);
}

static unsigned length(const struct bw_stage_batch *b, const struct bw_stage_batch **ret_last)
{
	unsigned n = 0;

	for (*ret_last = NULL; b; b = b->next, n++) {
		cr_assert(!*ret_last || (*ret_last)->seq < b->seq, "ascending");
		*ret_last = b;
	}
	return n;
}

static void assert_lists(const struct fixture *f, unsigned staged, unsigned done)
{
	const struct bw_stage_batch *last;

	cr_assert_eq(length(f->sp->batches, &last), staged);
	cr_assert_eq(length(f->sp->done, &last), done);
	cr_assert_eq(f->sp->done_last, last);
}

Test(batches, P4_every_batch_is_found_staged_or_committed)
{
	struct bw_stage_batch *b[N];
	struct fixture f;

	setup(&f);
	for (unsigned i = 0; i < N; i++)	/* not in the order of seqs */
		b[(i * 5) % N] = make(&f, (i * 5) % N);
	for (unsigned n = 0; n <= N; n++) {
		assert_lists(&f, N - n, n);
		for (unsigned i = 0; i < N; i++)
			cr_assert_eq(bw_stage_batch_find(f.sp, i), b[i]);
		cr_assert_null(bw_stage_batch_find(f.sp, N));
		if (n < N)
			commit(b[n]);
	}
	teardown(&f);
}

/* One that lost its seq to another mount stays staged beside later ones that were committed. */
Test(batches, P4_a_staged_batch_below_committed_ones)
{
	struct fixture f;

	setup(&f);
	struct bw_stage_batch *taken = make(&f, 3), *later = make(&f, 5);

	commit(later);
	commit(make(&f, 6));
	cr_assert_eq(bw_stage_batch_find(f.sp, 3), taken);
	cr_assert_eq(bw_stage_batch_find(f.sp, 5), later);
	cr_assert_null(bw_stage_batch_find(f.sp, 4));
	teardown(&f);
}

/* rmdir takes any of them out, the tick the oldest. */
Test(batches, P3d_dropped_in_any_order)
{
	struct fixture f;

	for (unsigned step = 1; step < N; step++) {
		setup(&f);
		for (unsigned i = 0; i < N; i++)
			commit(make(&f, i));
		for (unsigned i = 0, left = N; i < N; i++) {
			struct bw_stage_batch *b = bw_stage_batch_find(f.sp, (uint64_t)(i * step) % N);
			if (!b)
				continue;
			bw_stage_batch_drop(b);
			assert_lists(&f, 0, --left);
		}
		commit(make(&f, 2 * N));
		cr_assert_eq(f.sp->done_last->seq, 2 * N);
		teardown(&f);
	}
}

/* ---- S6: nodes -------------------------------------------------------------------------------------- */

#define BATCHES 200u
#define RANKS 2u

struct numbers {
	uint64_t dir, ranks, files[RANKS];
};

static uint64_t look_up(struct fixture *f, uint64_t parent, const char *name)
{
	struct bw_attr attr;

	cr_assert_eq(bw_produce_lookup(f->p, parent, name, &attr), 0);
	return attr.ino;
}

/* A batch with its slices, each of which the kernel has looked up and remembers. */
static struct bw_stage_batch *fill(struct fixture *f, uint64_t seq, struct numbers *ret)
{
	struct bw_stage_batch *b = make(f, seq);
	char name[24];

	b->ranks = bw_stage_node_make(f->p, b->dir, BW_NODE_RANKS, "rank");
	cr_assert_not_null(b->ranks);
	snprintf(name, sizeof(name), "%u", (unsigned)seq);
	ret->dir = look_up(f, f->sp->dir->ino, name);
	ret->ranks = look_up(f, ret->dir, "rank");
	for (unsigned r = 0; r < RANKS; r++) {
		snprintf(name, sizeof(name), "%u", r);
		struct bw_stage_node *n = bw_stage_node_make(f->p, b->ranks, BW_NODE_FILE, name);
		cr_assert_not_null(n);
		n->rank = r;
		b->by_rank[r] = n;
		ret->files[r] = look_up(f, ret->ranks, name);
	}
	return b;
}

static unsigned nodes(const struct bw_produce *p, unsigned *ret_buckets)
{
	unsigned n = 0;

	*ret_buckets = 0;
	for (unsigned i = 0; i < BW_NODE_BUCKETS; i++) {
		*ret_buckets += p->inos[i] != NULL;
		for (const struct bw_stage_node *at = p->inos[i]; at; at = at->by_ino)
			n++;
	}
	return n;
}

static bool emits(void *ctx, const char *name, uint64_t ino, bool dir, uint64_t cookie)
{
	(void)name, (void)ino, (void)dir, (void)cookie;
	++*(unsigned *)ctx;
	return true;
}

/* The kernel may remember names for ever: what is here of a batch goes when its names do. */
Test(batches, S6_nothing_of_a_batch_stays_when_its_names_have_gone)
{
	struct numbers was;
	struct fixture f;
	unsigned used;

	setup(&f);
	unsigned before = nodes(f.p, &used);

	for (unsigned i = 0; i < BATCHES; i++) {
		struct bw_stage_batch *b = fill(&f, i, &was);
		if (i % 2)
			commit(b);
		bw_stage_batch_drop(b);
		cr_assert_eq(nodes(f.p, &used), before);
	}
	teardown(&f);
}

/* Many commits within the minute that their directories stay: names in the oldest go, then these, never those of the last one. */
Test(batches, S6_P3d_names_of_committed_batches_are_bounded)
{
	const unsigned most = 65536;
	struct numbers was, first;
	struct bw_attr attr;
	struct fixture f;
	unsigned used;

	setup(&f);
	struct bw_stage_producer *other = bw_producer_make(f.p, "other"), *sp = f.sp;

	cr_assert_not_null(other);
	unsigned before = nodes(f.p, &used);
	f.sp = other;
	commit(fill(&f, 0, &was));
	f.sp = sp;
	for (unsigned i = 0; i < 2 * most / 4; i++) {
		commit(fill(&f, i, i ? &was : &first));
		if (i == most / (4 + RANKS) / 2)
			cr_assert_eq(bw_produce_getattr(f.p, first.files[0], &attr), 0);
	}
	cr_assert_leq(nodes(f.p, &used) - before, most);
	cr_assert_geq(nodes(f.p, &used) - before, most / 4);
	cr_assert_eq(bw_produce_getattr(f.p, was.files[0], &attr), 0);
	cr_assert_null(bw_stage_batch_find(f.sp, 0));
	cr_assert_not_null(bw_stage_batch_find(other, 0)->by_rank, "another's");
	while (sp->done)
		bw_stage_batch_drop(sp->done);
	cr_assert_null(sp->full);
	commit(fill(&f, most, &was));
	cr_assert_eq(bw_produce_getattr(f.p, was.files[0], &attr), 0);
	while (other->done)
		bw_stage_batch_drop(other->done);
	bw_stage_node_detach(f.p, other->dir);
	free(other);
	teardown(&f);
}

/* Whoever works in a directory that is gone still finds the way out of it, as anywhere else; nothing is in it. */
Test(batches, P3d_numbers_of_what_is_gone)
{
	struct numbers was;
	struct fixture f;
	struct bw_attr attr;
	unsigned names = 0;

	setup(&f);
	struct bw_stage_batch *b = fill(&f, 0, &was);
	const uint64_t dirs[] = {was.dir, was.ranks};

	commit(b);
	cr_assert_eq(bw_produce_getattr(f.p, was.files[1], &attr), 0, "it stays for a while");
	bw_stage_batch_drop(b);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(bw_produce_getattr(f.p, dirs[i], &attr), 0);
		cr_assert_eq(attr.mode, S_IFDIR | 0555u);
		cr_assert_eq(attr.ino, dirs[i]);
		cr_assert_not(attr.stays);
		cr_assert_eq(bw_produce_readdir(f.p, dirs[i], 0, emits, &names), 0);
		cr_assert_eq(bw_produce_lookup(f.p, dirs[i], "0", &attr), -ENOENT);
		cr_assert_eq(bw_produce_unlink(f.p, dirs[i], "0"), -ENOENT);
		cr_assert_eq(bw_produce_rmdir(f.p, dirs[i], "rank"), -ENOENT);
	}
	cr_assert_eq(names, 0);
	cr_assert_eq(bw_produce_getattr(f.p, was.files[0], &attr), -ENOENT);
	cr_assert_eq(bw_produce_readdir(f.p, was.files[0], 0, emits, &names), -ENOENT);
	cr_assert_eq(bw_produce_truncate(f.p, was.files[0], NULL, 0), -ENOENT);
	cr_assert_eq(bw_produce_getattr(f.p, f.p->next_ino, &attr), -ENOENT, "given to nobody yet");
	cr_assert_eq(bw_produce_getattr(f.p, f.p->next_ino | 1, &attr), -ENOENT);
	fill(&f, 1, &was);
	cr_assert_neq(was.dir, dirs[0], "numbers are never given twice");
	teardown(&f);
}

/* A handle keeps the node of its file, and nothing else, until it is released. */
Test(batches, S6_an_open_file_outlives_its_batch)
{
	struct bw_stage_handle *h;
	struct numbers was;
	struct fixture f;
	struct bw_attr attr;
	unsigned used;

	setup(&f);
	unsigned before = nodes(f.p, &used);
	struct bw_stage_batch *b = fill(&f, 0, &was);

	cr_assert_eq(bw_produce_open(f.p, was.files[0], O_RDONLY, 0, &h), 0);
	commit(b);
	bw_stage_batch_drop(b);
	cr_assert_eq(nodes(f.p, &used), before + 1);
	cr_assert_eq(bw_produce_getattr(f.p, was.files[0], &attr), 0);
	cr_assert(S_ISREG(attr.mode));
	bw_produce_release(f.p, h);
	cr_assert_eq(nodes(f.p, &used), before);
	cr_assert_eq(bw_produce_getattr(f.p, was.files[0], &attr), -ENOENT);
	teardown(&f);
}

/* A minute of commits is many nodes, and each request looks for one. */
Test(batches, S6_nodes_are_found_in_as_many_buckets_as_there_are)
{
	struct fixture f;
	unsigned used;

	setup(&f);
	struct bw_stage_batch *b = make(&f, 0);

	for (unsigned i = 0; i < BW_NODE_BUCKETS; i++) {
		char name[24];
		snprintf(name, sizeof(name), "stray-%u", i);
		cr_assert_not_null(bw_stage_node_make(f.p, b->dir, i % 2 ? BW_NODE_FILE : BW_NODE_DIR, name));
	}
	nodes(f.p, &used);
	cr_assert_gt(used, BW_NODE_BUCKETS / 2);
	teardown(&f);
}

/* ---- Many ranks: what each request looks at --------------------------------------------------------- */

#define WIDE 65536u
#define NOBODY ((struct bw_stage_node *)16)	/* who looks at it dies */

struct wide {
	struct fixture f;
	struct bw_budget budget;
	struct bw_spool_space space;
	struct bw_stage_batch *b;
	struct bw_stage_node *slice;	/* whole, of one byte; in the place of every rank */
};

static void wide_init(struct wide *w)
{
	setup(&w->f);
	w->f.stream.options.ranks = WIDE;
	w->f.stream.block_size = 1u << 20;
	bw_budget_init(&w->budget, 1u << 20);
	w->space = (struct bw_spool_space){.budget = &w->budget, .memory_max = 1u << 20, .dir = "/tmp"};
	w->b = make(&w->f, 0);
	w->b->ranks = bw_stage_node_make(w->f.p, w->b->dir, BW_NODE_RANKS, "rank");
	cr_assert_not_null(w->b->ranks);
	w->slice = bw_stage_node_make(w->f.p, w->b->ranks, BW_NODE_FILE, "slice");
	cr_assert_not_null(w->slice);
	cr_assert_eq(bw_spool_new(&w->space, &w->slice->spool), 0);
	cr_assert_eq(bw_spool_write(w->slice->spool, 0, "x", 1), 0);
}

static void wide_done(struct wide *w)
{
	teardown(&w->f);
	cr_assert_eq(bw_budget_used(&w->budget), 0);
}

/* P1 is asked at each of the closes: each may look at two ranks, or the closes of one batch look at billions. */
Test(batches, P1_a_close_looks_at_few_ranks)
{
	struct wide w;

	wide_init(&w);
	for (int up = 0; up < 2; up++) {
		for (unsigned i = 0; i < WIDE; i++) {
			unsigned r = up ? i : WIDE - 1 - i;
			w.b->by_rank[r] = w.slice;
			cr_assert_eq(bw_stage_batch_whole(w.b, WIDE), i == WIDE - 1);
			if (i == WIDE - 1)
				break;
			/* None that lies behind is looked at again. */
			w.b->by_rank[r] = NOBODY;
			if (i == WIDE - 2)
				for (unsigned k = 0; k < WIDE; k++)
					w.b->by_rank[k] = w.b->by_rank[k] ? w.slice : NULL;
		}
		cr_assert_eq(bw_stage_batch_missing(w.b, WIDE), 0);
		memset(w.b->by_rank, 0, WIDE * sizeof(struct bw_stage_node *));
		w.b->lacks = 0;
	}
	wide_done(&w);
}

/* P1: one that was whole when somebody looked and is not any more, on either side of where the last look ended. */
Test(batches, P1_ranks_that_are_not_whole_any_more)
{
	struct wide w;

	wide_init(&w);
	for (unsigned r = 0; r < WIDE; r++)
		w.b->by_rank[r] = r == WIDE / 2 ? NULL : w.slice;
	cr_assert_not(bw_stage_batch_whole(w.b, WIDE));
	w.b->by_rank[WIDE / 2] = w.slice;
	w.b->by_rank[7] = NULL;
	cr_assert_not(bw_stage_batch_whole(w.b, WIDE));
	w.b->by_rank[7] = w.slice;
	w.b->by_rank[WIDE - 1] = NULL;
	cr_assert_not(bw_stage_batch_whole(w.b, WIDE));
	w.b->by_rank[WIDE - 1] = w.slice;
	cr_assert(bw_stage_batch_whole(w.b, WIDE));
	w.b->state_file = w.slice;
	w.slice->torn = BW_TORN_KILLED;
	cr_assert_not(bw_stage_batch_whole(w.b, WIDE));
	w.slice->torn = BW_NOT_TORN;
	w.b->state_file = NULL;
	cr_assert(bw_stage_batch_whole(w.b, WIDE));
	wide_done(&w);
}

/* Slices of a byte, all of which are too little to begin with: none is counted twice. */
Test(batches, a_write_counts_few_ranks)
{
	struct wide w;

	wide_init(&w);
	for (unsigned r = 0; r < WIDE; r++) {
		w.b->by_rank[r] = w.slice;
		bw_build_nudge_locked(w.b);
		cr_assert_eq(w.b->counted, r + 1);
		w.b->by_rank[r] = NOBODY;
	}
	cr_assert_null(w.b->build);
	memset(w.b->by_rank, 0, WIDE * sizeof(struct bw_stage_node *));
	wide_done(&w);
}

/* Write to a temporary name, rename: what is built of the other ranks is not looked at. */
Test(batches, a_rename_looks_at_its_rank)
{
	static struct bw_spool_body bodies[WIDE];
	struct wide w;

	wide_init(&w);
	struct bw_build build = {.produce = w.f.p, .of = w.b, .bodies = bodies};

	for (unsigned r = 0; r < WIDE; r++) {
		w.b->by_rank[r] = r == WIDE - 1 ? w.slice : NOBODY;
		bodies[r].spool = w.slice->spool;
	}
	w.b->build = &build;
	bw_build_recheck_locked(w.b, WIDE - 1);
	bw_build_recheck_locked(w.b, -1);
	cr_assert_eq(w.b->build, &build);
	w.b->build = NULL;
	memset(w.b->by_rank, 0, WIDE * sizeof(struct bw_stage_node *));
	wide_done(&w);
}

static void assert_printed(struct wide *w, const char *expected)
{
	bw_auto_buf struct bw_buf text = {.max = 0};

	bw_buf_init(&text, 1u << 20);
	bw_produce_print(w->f.p, &text);
	cr_assert_eq(bw_buf_err(&text), 0);
	cr_assert_str_eq(bw_buf_text(&text), expected);
}

/* /status/waiting: a line can be read however many ranks are missing. */
Test(batches, P2_missing_ranks_are_told_in_ranges)
{
	struct wide w;

	wide_init(&w);
	struct bw_stage_node *torn = bw_stage_node_make(w.f.p, w.b->ranks, BW_NODE_FILE, "torn");

	cr_assert_not_null(torn);
	torn->rank = w.slice->rank = 0;		/* their names are of ranks */
	torn->torn = BW_TORN_KILLED;
	assert_printed(&w, "producer=p seq=0 state=staging missing=65536/65536 ranks=0-65535\n");
	w.b->by_rank[6] = w.b->by_rank[8] = w.slice;
	assert_printed(&w, "producer=p seq=0 state=staging missing=65534/65536 ranks=0-5,7,9-65535\n");
	w.b->by_rank[10] = w.b->by_rank[11] = torn;
	assert_printed(&w, "producer=p seq=0 state=staging missing=65534/65536 "
			   "ranks=0-5,7,9,10-11(writer killed),12-65535\n");
	w.b->state_file = torn;
	for (unsigned r = 0; r < WIDE; r += 2)
		w.b->by_rank[r] = w.slice;
	w.b->by_rank[11] = NULL;
	assert_printed(&w, "producer=p seq=0 state=staging missing=32769/65536 ranks=1,3,5,7,9,11,13,15 more=32760"
			   " state_file=(writer killed)\n");
	w.b->state_file = NULL;
	for (unsigned r = 0; r < WIDE; r++)
		w.b->by_rank[r] = r == WIDE - 1 ? NULL : w.slice;
	assert_printed(&w, "producer=p seq=0 state=staging missing=1/65536 ranks=65535\n");
	memset(w.b->by_rank, 0, WIDE * sizeof(struct bw_stage_node *));
	wide_done(&w);
}

/* It has so many lines, however many batches are staged. */
Test(batches, S6_so_many_batches_have_a_line)
{
	bw_auto_buf struct bw_buf text = {.max = 0};
	struct fixture f;
	unsigned lines = 0;

	setup(&f);
	for (unsigned i = 0; i < 1003; i++)
		make(&f, i);
	bw_buf_init(&text, 1u << 20);
	bw_produce_print(f.p, &text);
	for (const char *at = bw_buf_text(&text); (at = strchr(at, '\n')); at++)
		lines++;
	cr_assert_eq(lines, 1001);
	cr_assert_eq(bw_produce_staged(f.p), 1003, "all of them are counted");
	cr_assert(strstr(bw_buf_text(&text), "\nproducer=p seq=999 state=staging missing=2/2 ranks=0-1\n... and 3 more batches\n"));
	teardown(&f);
}

/* ---- Listings --------------------------------------------------------------------------------------- */

struct page {
	unsigned n, max;
	uint64_t cookie;
	const char *seen;	/* of the last name */
};

static bool fills(void *ctx, const char *name, uint64_t ino, bool dir, uint64_t cookie)
{
	struct page *page = ctx;

	(void)ino, (void)dir;
	if (page->n == page->max)
		return false;
	page->n++;
	page->cookie = cookie;
	page->seen = name;
	return true;
}

/* A page of a listing begins where the one before it ended, not at the first name, and so do others whatever went in between. */
Test(batches, a_listing_goes_on_where_it_stopped)
{
	enum { FILES = 1000, PAGE = 10 };
	struct bw_stage_node *files[FILES];
	struct fixture f;
	char name[24];

	setup(&f);
	struct bw_stage_batch *b = make(&f, 0);

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		files[i] = bw_stage_node_make(f.p, b->dir, BW_NODE_FILE, name);
		cr_assert_not_null(files[i]);
	}
	struct page page = {.max = PAGE};
	unsigned listed = 0;

	for (unsigned i = 0; i < FILES / PAGE; i++) {
		struct bw_stage_node *second = b->dir->children->next;

		page.n = 0;
		if (i)
			b->dir->children->next = NOBODY;
		cr_assert_eq(bw_produce_readdir(f.p, b->dir->ino, page.cookie, fills, &page), 0);
		b->dir->children->next = second;
		cr_assert_eq(page.n, PAGE);
		listed += page.n;
		/* The newest is listed first. */
		cr_assert_eq(b->dir->listed, files[FILES - listed], "%s", page.seen);
		if (i % 3 == 0) {	/* it goes; so does one before it and one that is to come */
			bw_stage_node_detach(f.p, files[FILES - listed]);
			cr_assert_eq(b->dir->listed, files[FILES - listed + 1]);
			bw_stage_node_detach(f.p, files[FILES - listed + 1]);
			cr_assert_eq(b->dir->listed, files[FILES - listed + 2]);
		}
		snprintf(name, sizeof(name), "more%u", i);	/* comes first: this listing has passed it */
		cr_assert_not_null(bw_stage_node_make(f.p, b->dir, BW_NODE_FILE, name));
	}
	page.n = 0;
	cr_assert_eq(bw_produce_readdir(f.p, b->dir->ino, page.cookie, fills, &page), 0);
	cr_assert_eq(page.n, 0);
	/* From another place: everything there is. */
	struct page all = {.max = 2 * FILES};

	cr_assert_eq(bw_produce_readdir(f.p, b->dir->ino, 0, fills, &all), 0);
	cr_assert_eq(all.n, FILES + FILES / PAGE - 2 * ((FILES / PAGE + 2) / 3));
	while (b->dir->children)
		bw_stage_node_detach(f.p, b->dir->children);
	cr_assert_null(b->dir->listed);
	teardown(&f);
}
