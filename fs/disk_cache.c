/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/disk_cache.h"

#include "fs/table.h"
#include "store/base/clock.h"
#include "store/base/limits.h"
#include "store/base/sync.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX_SHARE 16u			/* of the budget */
#define QUEUE_SHARE 16u
#define QUEUE_MOST (UINT64_C(16) << 20)	/* bytes that wait to be written */
#define QUEUE_BLOCKS 1024u		/* and blocks, all of which are looked at when another comes */
#define FILE_COST 80u			/* bytes of memory an indexed file takes, table and allocator included */
#define PAGE 4096u			/* what a file system gives out at a time */
#define PAUSE_NS (60 * BW_SEC)		/* that a full or failing disk is left alone */
#define LATE_NS (2 * BW_SEC)		/* who reads waits no longer */
#define HUNG_MAX (BW_DISK_THREADS / 2)	/* reads that are later: then no more are begun, and the other threads stay free */
#define TOUCH_S 3600u			/* a file is told so rarely that it is of use */
#define BATCH 256u			/* files looked at under one hold of the lock */

/* One block on the disk.  item first: the table knows it by that. */
struct file {
	struct bw_item item;
	uint32_t len;
	uint32_t used_s;	/* as the file's mtime has it, about */
};

/* One get, which may outlive who asked: its thread frees it. */
struct reading {
	struct bw_item item;		/* in reads, but when it was given up before it began */
	struct bw_task task;
	struct bw_disk_cache *disk;
	struct bw_disk_name name;
	bool touch;
	int64_t since_ns;
	struct bw_disk_get *get;	/* under the lock, with what follows; NULL: answered, or given up */
	bool begun, is_late;
	uint32_t charged;		/* bytes of the budget: its buffer is nobody's */
};

/* One that is to be. */
struct wish {
	struct bw_disk_name name;
	struct bw_blob *bytes;
	struct wish *next;
};

struct bw_disk_cache {
	struct bw_disk_config config;
	struct bw_disk_stats stats;
	int dir;
	struct bw_workq *threads, *timer;
	uint64_t files_max, queue_max;
	atomic_bool stopping;
	struct bw_task write, trim, scan, watch;
	struct bw_disk_room rooms[BW_DISK_THREADS];	/* each is its thread's while it is busy */
	struct file **found;		/* by the scan alone */
	size_t found_n, found_cap;

	struct bw_mutex lock;		/* what follows */
	struct bw_table table;
	struct bw_item lru;		/* oldest first */
	uint64_t used;			/* bytes, whole pages; what is to be deleted counts until it is */
	uint64_t first;
	struct wish *wishes, **last;	/* the first one is being written */
	struct file *graves;		/* damaged, chained by item.chain: the writer deletes them */
	uint64_t queued;		/* bytes of wishes */
	unsigned wishes_n;
	bool writing, trimming, ready, watching;
	bool busy[BW_DISK_THREADS];	/* rooms */
	int64_t paused_until_ns, told_until_ns;
	struct bw_item reads;		/* oldest first */
};

static uint64_t pages(uint32_t len)
{
	return ((uint64_t)len + PAGE - 1) / PAGE * PAGE;
}

static struct bw_disk_name name_of(const struct bw_disk_cache *d, uint64_t step, uint32_t number, uint32_t len)
{
	struct bw_disk_name n = {.step = step, .number = number, .len = len};

	memcpy(n.stream, d->config.stream, sizeof(n.stream));
	return n;
}

/* ---- The index -------------------------------------------------------------------------------- */

static void add_locked(struct bw_disk_cache *d, struct file *f)
{
	bw_table_add(&d->table, &f->item);
	bw_list_add(&d->lru, &f->item);
	d->used += pages(f->len);
	bw_budget_force(d->config.budget, FILE_COST);
	atomic_store(&d->stats.bytes, d->used);
	atomic_store(&d->stats.blocks, d->table.n);
}

/* f is the caller's, and its bytes still count. */
static void take_out_locked(struct bw_disk_cache *d, struct file *f)
{
	bw_table_remove(&d->table, &f->item);
	bw_list_remove(&f->item);
	bw_budget_give(d->config.budget, FILE_COST);
	atomic_store(&d->stats.blocks, d->table.n);
}

static struct file *find_locked(struct bw_disk_cache *d, uint64_t step, uint32_t number)
{
	return (struct file *)bw_table_find(&d->table, step, number);
}

static bool is_wished_locked(const struct bw_disk_cache *d, uint64_t step, uint32_t number)
{
	for (const struct wish *w = d->wishes; w; w = w->next)
		if (w->name.step == step && w->name.number == number)
			return true;
	return false;
}

/* As the oldest. */
static bool put_back_locked(struct bw_disk_cache *d, struct file *f)
{
	if (find_locked(d, f->item.step, f->item.number) || is_wished_locked(d, f->item.step, f->item.number))
		return false;
	bw_table_add(&d->table, &f->item);
	bw_list_add(d->lru.next, &f->item);
	bw_budget_force(d->config.budget, FILE_COST);
	atomic_store(&d->stats.blocks, d->table.n);
	return true;
}

/* f is the caller's no more. */
static void end_file(struct bw_disk_cache *d, struct file *f, bool back)
{
	bw_lock(&d->lock);
	bool is_back = back && put_back_locked(d, f);
	if (!is_back)
		d->used -= pages(f->len);
	atomic_store(&d->stats.bytes, d->used);
	bw_unlock(&d->lock);
	if (!is_back)
		free(f);
}

/*
 * Files that left the index, chained by item.chain.  Deletes them, then gives back their bytes.  What a disk that fails or is read-only
 * does not let go comes back when it is of use: 0, or why that is.
 */
static int bury(struct bw_disk_cache *d, struct file *dead, bool of_use)
{
	int ret = 0;

	for (struct file *f = dead, *next; f; f = next) {
		struct bw_disk_name n = name_of(d, f->item.step, f->item.number, f->len);
		next = (struct file *)f->item.chain;
		int err = bw_disk_remove(d->dir, &n);
		bool stays = of_use && err && err != -EISDIR;
		end_file(d, f, stays);
		if (stays)
			ret = err;
	}
	return ret;
}

/* Takes out what must go before bytes more may be written. */
static struct file *make_room_locked(struct bw_disk_cache *d, uint64_t bytes)
{
	uint64_t limit = atomic_load(&d->stats.limit), going = 0;
	struct file *dead = NULL;

	while (d->lru.next != &d->lru &&
	       (d->used - going + bytes > limit || d->table.n >= d->files_max)) {
		struct file *f = (struct file *)d->lru.next;
		take_out_locked(d, f);
		going += pages(f->len);
		f->item.chain = (struct bw_item *)dead;
		dead = f;
	}
	return dead;
}

/* There is one for each thread.  The first that is free, so that no more get memory than are used at a time. */
static struct bw_disk_room *room_take(struct bw_disk_cache *d)
{
	unsigned i = 0;

	BW_LOCK_SCOPE(&d->lock);
	while (d->busy[i])
		i++;
	d->busy[i] = true;
	return &d->rooms[i];
}

/* was: its size when it was taken. */
static void room_give(struct bw_disk_cache *d, struct bw_disk_room *room, size_t was)
{
	if (room->size != was) {
		bw_budget_give(d->config.budget, was);
		bw_budget_force(d->config.budget, room->size);
	}
	BW_LOCK_SCOPE(&d->lock);
	d->busy[room - d->rooms] = false;
}

/* ---- Writing ---------------------------------------------------------------------------------- */

/* What is to be deleted goes before what may be of the same name. */
static struct wish *first_wish(struct bw_disk_cache *d, struct file **ret_dead)
{
	BW_LOCK_SCOPE(&d->lock);
	struct wish *w = d->wishes;

	*ret_dead = d->graves;
	d->graves = NULL;
	if (*ret_dead)
		return NULL;
	if (!w || atomic_load(&d->stopping)) {
		d->writing = false;
		return NULL;
	}
	*ret_dead = make_room_locked(d, pages(w->name.len));
	return w;
}

/* Ends the first wish. */
static void drop_wish(struct bw_disk_cache *d, struct file *written)
{
	bw_lock(&d->lock);
	struct wish *w = d->wishes;
	d->wishes = w->next;
	if (!d->wishes)
		d->last = &d->wishes;
	d->queued -= w->bytes->len;
	d->wishes_n--;
	if (written)
		add_locked(d, written);
	bw_unlock(&d->lock);
	bw_budget_give(d->config.budget, w->bytes->len);
	bw_blob_unref(w->bytes);
	free(w);
}

/* why: more than err says, or "". */
static void pause_writing(struct bw_disk_cache *d, int err, const char *why)
{
	char text[128];

	bw_lock(&d->lock);
	bool told = atomic_exchange(&d->stats.paused, true);
	d->paused_until_ns = d->config.now() + PAUSE_NS;
	d->told_until_ns = d->config.now() + BW_DISK_TOLD_NS;
	bw_unlock(&d->lock);
	if (!told)
		bw_log(d->config.log, BW_LOG_WARN, "disk_cache_stops_filling", "dir=\"%s\" bytes=%" PRIu64 " err=\"%s\"",
		       d->config.dir, (uint64_t)atomic_load(&d->stats.bytes), *why ? why : bw_err_text(err, text, sizeof(text)));
}

#define WHY_MAX 512

/*
 * Somebody has deleted the directory with all that was in it: true, with a new one, whose descriptor has the old one's number.  Else
 * perhaps in why what keeps it from being made.
 */
static bool came_back(struct bw_disk_cache *d, char why[WHY_MAX])
{
	struct stat st;
	int dir;

	if (fstat(d->dir, &st) || st.st_nlink || bw_disk_dir_open(d->config.dir, &dir, why, WHY_MAX))
		return false;
	bool is_there = dup3(dir, d->dir, O_CLOEXEC) >= 0;

	close(dir);
	return is_there;
}

static void not_written(struct bw_disk_cache *d, int err, const char *why)
{
	atomic_fetch_add(&d->stats.dropped, 1);
	pause_writing(d, err, why);
	drop_wish(d, NULL);
}

static void write_one(struct bw_disk_cache *d, const struct wish *w)
{
	struct file *f = calloc(1, sizeof(*f));
	struct bw_disk_room *room = room_take(d);
	size_t was = room->size;
	char why[WHY_MAX] = "";
	int err = f ? bw_disk_write(d->dir, &w->name, w->bytes->bytes, room) : -ENOMEM;

	if (err == -ENOENT && came_back(d, why))
		err = bw_disk_write(d->dir, &w->name, w->bytes->bytes, room);
	room_give(d, room, was);

	if (err) {
		free(f);
		not_written(d, err, why);
		return;
	}
	if (atomic_exchange(&d->stats.paused, false))
		bw_log(d->config.log, BW_LOG_INFO, "disk_cache_fills_again", "dir=\"%s\"", d->config.dir);
	f->item.step = w->name.step;
	f->item.number = w->name.number;
	f->len = w->name.len;
	f->used_s = (uint32_t)(bw_wall_ms() / 1000);
	atomic_fetch_add(&d->stats.written, w->name.len);
	drop_wish(d, f);
}

static void write_wishes(struct bw_task *task)
{
	struct bw_disk_cache *d = bw_container_of(task, struct bw_disk_cache, write);
	bool more = true;

	while (more) {
		struct file *dead;
		struct wish *w = first_wish(d, &dead);
		more = w || dead;
		int err = bury(d, dead, w);
		if (w && err)
			not_written(d, err, "");
		else if (w)
			write_one(d, w);
	}
}

static bool wants_locked(struct bw_disk_cache *d, uint64_t step, uint32_t number, size_t len)
{
	return d->ready && step >= d->first && len && len <= BW_FOOTER_MAX &&
	       pages((uint32_t)len) <= atomic_load(&d->stats.limit) && !find_locked(d, step, number) &&
	       !is_wished_locked(d, step, number);
}

static bool has_room_locked(const struct bw_disk_cache *d, size_t len)
{
	if (d->paused_until_ns && d->config.now() < d->paused_until_ns)
		return false;
	return !d->wishes_n || (d->wishes_n < QUEUE_BLOCKS && d->queued + len <= d->queue_max);
}

/* Returns whether the writer has to be woken. */
static bool has_work_locked(struct bw_disk_cache *d)
{
	bool wake = !d->writing;

	d->writing = true;
	return wake;
}

/* As has_work_locked(). */
static bool wish_locked(struct bw_disk_cache *d, struct wish *w)
{
	*d->last = w;
	d->last = &w->next;
	d->queued += w->bytes->len;
	d->wishes_n++;
	bw_budget_force(d->config.budget, w->bytes->len);
	return has_work_locked(d);
}

void bw_disk_put(struct bw_disk_cache *d, uint64_t step, uint32_t number, struct bw_blob *bytes)
{
	bool wake = false, taken = false;
	struct wish *w = d ? calloc(1, sizeof(*w)) : NULL;

	if (!w)
		return;
	w->name = name_of(d, step, number, (uint32_t)bytes->len);
	bw_lock(&d->lock);
	if (wants_locked(d, step, number, bytes->len)) {
		taken = has_room_locked(d, bytes->len);
		if (taken) {
			w->bytes = bw_blob_ref(bytes);
			wake = wish_locked(d, w);
		} else {
			atomic_fetch_add(&d->stats.dropped, 1);
		}
	}
	bw_unlock(&d->lock);
	if (wake)
		bw_workq_push(d->threads, &d->write);
	if (!taken)
		free(w);
}

/* ---- Reading ---------------------------------------------------------------------------------- */

void bw_disk_forget(struct bw_disk_cache *d, uint64_t step, uint32_t number)
{
	bw_lock(&d->lock);
	struct file *f = find_locked(d, step, number);
	if (f) {
		take_out_locked(d, f);
		f->item.chain = (struct bw_item *)d->graves;
		d->graves = f;
	}
	bool wake = f && has_work_locked(d);
	bw_unlock(&d->lock);
	if (wake)
		bw_workq_push(d->threads, &d->write);
	atomic_fetch_add(&d->stats.damaged, 1);
	bw_log(d->config.log, BW_LOG_DEBUG, "disk_cache_damaged", "dir=\"%s\" step=%" PRIu64 " block=%" PRIu32,
	       d->config.dir, step, number);
}

/* False: it was given up meanwhile. */
static bool begin(struct reading *r)
{
	BW_LOCK_SCOPE(&r->disk->lock);
	r->begun = r->get;
	return r->begun;
}

/* Who asked, once. */
static struct bw_disk_get *take_asker_locked(struct reading *r)
{
	struct bw_disk_get *g = r->get;

	r->get = NULL;
	return g;
}

static void answer(struct reading *r, struct bw_blob *bytes)
{
	bw_lock(&r->disk->lock);
	struct bw_disk_get *g = take_asker_locked(r);
	bw_unlock(&r->disk->lock);

	if (g)
		g->done(g, bytes);
	else
		bw_blob_unref(bytes);
}

static unsigned hung_locked(const struct bw_disk_cache *d, int64_t now)
{
	unsigned n = 0;

	for (const struct bw_item *i = d->reads.next; i != &d->reads; i = i->next) {
		const struct reading *r = (const struct reading *)i;
		if (now - r->since_ns <= LATE_NS)
			break;
		n += r->begun;
	}
	return n;
}

static void end(struct reading *r)
{
	struct bw_disk_cache *d = r->disk;

	bw_lock(&d->lock);
	bw_list_remove(&r->item);
	/* Whichever ends last: of one that is late by now the watch may not know yet. */
	bool answers = atomic_load(&d->stats.hangs) && !hung_locked(d, d->config.now());
	if (answers)
		atomic_store(&d->stats.hangs, false);
	bw_budget_give(d->config.budget, r->charged);
	bw_unlock(&d->lock);
	if (answers)
		bw_log(d->config.log, BW_LOG_INFO, "disk_cache_answers", "dir=\"%s\"", d->config.dir);
	free(r);
}

/* Not of the daemon, which is short of something. */
static bool is_of_the_file(int err)
{
	return err && err != -ENOMEM && err != -EMFILE && err != -ENFILE;
}

static void read_one(struct bw_task *task)
{
	struct reading *r = bw_container_of(task, struct reading, task);
	struct bw_disk_cache *d = r->disk;
	struct bw_blob *bytes = NULL;

	if (!begin(r)) {
		free(r);
		return;
	}
	struct bw_disk_room *room = room_take(d);
	size_t was = room->size;
	int err = bw_disk_read(d->dir, &r->name, room, &bytes);

	room_give(d, room, was);
	if (is_of_the_file(err))
		bw_disk_forget(d, r->name.step, r->name.number);
	answer(r, err ? NULL : bytes);
	if (!err && r->touch)	/* nobody waits for that */
		bw_disk_touch(d->dir, &r->name);
	end(r);
}

/* The oldest one of which it is not known yet that it is late. */
static struct reading *oldest_locked(struct bw_disk_cache *d)
{
	struct bw_item *i = d->reads.next;

	while (i != &d->reads && ((struct reading *)i)->is_late)
		i = i->next;
	return i == &d->reads ? NULL : (struct reading *)i;
}

/* What has begun goes on, and its bytes are nobody's when they come. */
static struct bw_disk_get *give_up_locked(struct bw_disk_cache *d, struct reading *r)
{
	struct bw_disk_get *g = take_asker_locked(r);

	r->is_late = r->begun;
	if (!r->begun) {
		bw_list_remove(&r->item);
	} else if (g) {
		r->charged = r->name.len;
		bw_budget_force(d->config.budget, r->charged);
	}
	return g;
}

/* The oldest one, if it is late: true, there may be more.  Else how long until it is, 0: there is none. */
static bool give_up_one(struct bw_disk_cache *d, int64_t *ret_wait_ns)
{
	struct bw_disk_get *g = NULL;

	bw_lock(&d->lock);
	struct reading *r = oldest_locked(d);
	int64_t wait_ns = r ? r->since_ns + LATE_NS + 1 - d->config.now() : 0;
	bool is_late = r && wait_ns <= 0, hangs = is_late && r->begun;
	uint64_t step = hangs ? r->name.step : 0;
	uint32_t number = hangs ? r->name.number : 0;
	if (is_late)
		g = give_up_locked(d, r);
	d->watching = r;
	bool told = hangs && atomic_exchange(&d->stats.hangs, true);
	bw_unlock(&d->lock);

	if (g) {
		atomic_fetch_add(&d->stats.given_up, 1);
		g->done(g, NULL);
	}
	if (hangs && !told)
		bw_log(d->config.log, BW_LOG_WARN, "disk_cache_hangs", "dir=\"%s\" step=%" PRIu64 " block=%" PRIu32, d->config.dir,
		       step, number);
	*ret_wait_ns = wait_ns;
	return is_late;
}

static void watch_reads(struct bw_task *task)
{
	struct bw_disk_cache *d = bw_container_of(task, struct bw_disk_cache, watch);
	int64_t wait_ns;

	while (give_up_one(d, &wait_ns))
		;
	if (wait_ns)
		bw_workq_push_at(d->timer, task, bw_now() + wait_ns);
}

static struct reading *reading_new(struct bw_disk_cache *d, struct bw_disk_get *g)
{
	struct reading *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->disk = d;
	r->name = name_of(d, g->step, g->number, g->len);
	r->task = (struct bw_task){.run = read_one, .prio = g->prio};
	r->get = g;
	return r;
}

/* Returns whether the watch has to be started. */
static bool enter_locked(struct bw_disk_cache *d, struct reading *r, struct file *f)
{
	uint32_t now_s = (uint32_t)(bw_wall_ms() / 1000);
	bool wake = !d->watching;

	bw_list_remove(&f->item);
	bw_list_add(&d->lru, &f->item);
	r->touch = now_s - f->used_s > TOUCH_S;
	if (r->touch)
		f->used_s = now_s;
	r->since_ns = d->config.now();
	bw_list_add(&d->reads, &r->item);
	d->watching = true;
	return wake;
}

bool bw_disk_get(struct bw_disk_cache *d, struct bw_disk_get *g)
{
	struct reading *r = d ? reading_new(d, g) : NULL;
	bool wake = false;

	if (!r)
		return false;
	bw_lock(&d->lock);
	struct file *f = d->ready ? find_locked(d, g->step, g->number) : NULL;
	if (f && hung_locked(d, d->config.now()) >= HUNG_MAX)
		f = NULL;
	if (f)
		wake = enter_locked(d, r, f);
	bw_unlock(&d->lock);
	if (!f) {
		free(r);
		return false;
	}
	if (wake)
		bw_workq_push_at(d->timer, &d->watch, bw_now() + LATE_NS);
	bw_workq_push(d->threads, &r->task);
	return true;
}

bool bw_disk_has(struct bw_disk_cache *d, uint64_t step, uint32_t number)
{
	if (!d)
		return false;
	BW_LOCK_SCOPE(&d->lock);
	return d->ready && find_locked(d, step, number);
}

/* ---- What is reclaimed ------------------------------------------------------------------------ */

/* Looks at some heads of the table from *at on.  When it grows meanwhile what was looked at comes again, that is
 * all. */
static struct file *gather_locked(struct bw_disk_cache *d, size_t *at)
{
	struct file *dead = NULL;

	for (unsigned i = 0; i < BATCH && *at <= d->table.mask; i++, (*at)++) {
		for (struct bw_item *item = d->table.heads[*at], *next; item; item = next) {
			next = item->chain;
			if (item->step >= d->first)
				continue;
			take_out_locked(d, (struct file *)item);
			item->chain = (struct bw_item *)dead;
			dead = (struct file *)item;
		}
	}
	return dead;
}

static void trim_all(struct bw_task *task)
{
	struct bw_disk_cache *d = bw_container_of(task, struct bw_disk_cache, trim);
	bool over = false;

	bw_lock(&d->lock);
	d->trimming = false;	/* what is reclaimed from here on needs another round */
	bw_unlock(&d->lock);
	for (size_t at = 0; !over && !atomic_load(&d->stopping);) {
		bw_lock(&d->lock);
		struct file *dead = gather_locked(d, &at);
		over = at > d->table.mask;
		bw_unlock(&d->lock);
		(void)bury(d, dead, false);
	}
}

void bw_disk_reclaimed(struct bw_disk_cache *d, uint64_t first)
{
	bool wake = false;

	if (!d)
		return;
	bw_lock(&d->lock);
	if (first > d->first) {
		d->first = first;
		wake = d->ready && !d->trimming;
		d->trimming |= wake;
	}
	bw_unlock(&d->lock);
	if (wake)
		bw_workq_push(d->threads, &d->trim);
}

/* ---- The start -------------------------------------------------------------------------------- */

static int by_age(const void *a, const void *b)
{
	const struct file *one = *(struct file *const *)a, *two = *(struct file *const *)b;

	if (one->used_s != two->used_s)
		return one->used_s < two->used_s ? -1 : 1;
	if (one->item.step != two->item.step)
		return one->item.step < two->item.step ? -1 : 1;
	return one->item.number < two->item.number ? -1 : one->item.number > two->item.number;
}

/* Of what has been found what the index does not hold: an eighth of that at a time. */
static void drop_oldest(struct bw_disk_cache *d)
{
	size_t n = d->found_n - d->files_max;
	struct file *dead = NULL;

	qsort(d->found, d->found_n, sizeof(struct file *), by_age);
	bw_lock(&d->lock);
	for (size_t i = 0; i < n; dead = d->found[i++]) {
		take_out_locked(d, d->found[i]);
		d->found[i]->item.chain = (struct bw_item *)dead;
	}
	bw_unlock(&d->lock);
	d->found_n = d->files_max;
	memmove(d->found, d->found + n, d->found_n * sizeof(struct file *));
	(void)bury(d, dead, false);
}

static bool has_place(struct bw_disk_cache *d)
{
	size_t most = d->files_max + d->files_max / 8 + 1, cap = d->found_cap ? 2 * d->found_cap : 256;

	cap = cap < most ? cap : most;
	if (d->found_n == most)
		drop_oldest(d);
	if (d->found_n < d->found_cap)
		return true;
	struct file **more = realloc(d->found, cap * sizeof(struct file *));

	d->found = more ? more : d->found;
	d->found_cap = more ? cap : d->found_cap;
	return more;
}

/* Nobody else looks at the index until all is found. */
static bool found(void *ctx, const struct bw_disk_name *n, uint32_t used_s)
{
	struct bw_disk_cache *d = ctx;
	bool ours = memcmp(n->stream, d->config.stream, sizeof(n->stream)) == 0;

	if (!ours || n->step < d->config.first || !has_place(d))
		return false;
	BW_LOCK_SCOPE(&d->lock);
	/* One block of two lengths: one of them is wrong. */
	struct file *f = find_locked(d, n->step, n->number) ? NULL : calloc(1, sizeof(*f));

	if (!f)
		return false;
	f->item.step = n->step;
	f->item.number = n->number;
	f->len = n->len;
	f->used_s = used_s;
	add_locked(d, f);
	d->found[d->found_n++] = f;
	return true;
}

static void sort_by_age(struct bw_disk_cache *d)
{
	if (d->found_n)
		qsort(d->found, d->found_n, sizeof(struct file *), by_age);
	BW_LOCK_SCOPE(&d->lock);
	bw_list_init(&d->lru);
	for (size_t i = 0; i < d->found_n; i++)
		bw_list_add(&d->lru, &d->found[i]->item);
}

static uint64_t default_size(struct bw_disk_cache *d)
{
	uint64_t room, size;

	if (bw_disk_free_bytes(d->dir, &room))
		return BW_DISK_LEAST;
	size = (room + d->used) / BW_DISK_SHARE;
	return size > BW_DISK_LEAST ? size : BW_DISK_LEAST;
}

static void find_all(struct bw_task *task)
{
	struct bw_disk_cache *d = bw_container_of(task, struct bw_disk_cache, scan);
	char text[128];
	int err = bw_disk_scan(d->dir, &d->stopping, found, d);

	sort_by_age(d);
	free(d->found);
	d->found = NULL;
	atomic_store(&d->stats.limit, d->config.size ? d->config.size : default_size(d));
	bw_lock(&d->lock);
	struct file *dead = make_room_locked(d, 0);
	bool trim = d->first > d->config.first;
	d->ready = !err;
	d->trimming = trim;
	bw_unlock(&d->lock);
	(void)bury(d, dead, true);
	if (trim)
		bw_workq_push(d->threads, &d->trim);
	if (err)
		bw_log(d->config.log, BW_LOG_WARN, "disk_cache_unusable", "dir=\"%s\" err=\"%s\" note=\"all is fetched until the next mount\"",
		       d->config.dir, bw_err_text(err, text, sizeof(text)));
	else
		bw_log(d->config.log, BW_LOG_INFO, "disk_cache", "dir=\"%s\" blocks=%" PRIu64 " bytes=%" PRIu64
		       " limit=%" PRIu64, d->config.dir, (uint64_t)atomic_load(&d->stats.blocks),
		       (uint64_t)atomic_load(&d->stats.bytes), (uint64_t)atomic_load(&d->stats.limit));
	atomic_store(err ? &d->stats.unusable : &d->stats.ready, true);
}

static int make(const struct bw_disk_config *config, struct bw_disk_cache **ret)
{
	struct bw_disk_cache *d = calloc(1, sizeof(*d));
	uint64_t queue = config->budget->limit / QUEUE_SHARE;

	if (!d)
		return -ENOMEM;
	d->config = *config;
	d->dir = -1;
	d->first = config->first;
	d->files_max = config->budget->limit / INDEX_SHARE / FILE_COST;
	d->queue_max = queue < QUEUE_MOST ? queue : QUEUE_MOST;
	d->last = &d->wishes;
	d->write = (struct bw_task){.run = write_wishes, .prio = BW_PRIO_IDLE};
	d->trim = (struct bw_task){.run = trim_all, .prio = BW_PRIO_IDLE};
	d->scan = (struct bw_task){.run = find_all, .prio = BW_PRIO_IDLE};
	d->watch = (struct bw_task){.run = watch_reads};
	bw_mutex_init(&d->lock, BW_RANK_LEAF);
	bw_list_init(&d->lru);
	bw_list_init(&d->reads);
	d->config.dir = strdup(config->dir);
	*ret = d;
	return d->config.dir ? bw_table_init(&d->table) : -ENOMEM;
}

int bw_disk_new(const struct bw_disk_config *config, struct bw_disk_cache **ret, char *why, size_t why_len)
{
	struct bw_disk_cache *d = NULL;
	int err = make(config, &d);

	snprintf(why, why_len, "cache=%s: out of memory", config->dir);
	if (!err)
		err = bw_disk_dir_open(config->dir, &d->dir, why, why_len);
	if (!err)
		err = bw_workq_new("bw-disk", BW_DISK_THREADS, &d->threads);
	if (!err)
		err = bw_workq_new("bw-disk-late", 1, &d->timer);
	if (err) {
		bw_disk_free(d);
		return err;
	}
	bw_workq_push(d->threads, &d->scan);
	*ret = d;
	return 0;
}

const struct bw_disk_stats *bw_disk_stats(const struct bw_disk_cache *d)
{
	return &d->stats;
}

enum bw_disk_state bw_disk_state(struct bw_disk_cache *d)
{
	if (atomic_load(&d->stats.unusable))
		return BW_DISK_UNUSABLE;
	if (!atomic_load(&d->stats.ready))
		return BW_DISK_LOOKS;
	if (atomic_load(&d->stats.hangs))
		return BW_DISK_HANGS;
	BW_LOCK_SCOPE(&d->lock);
	return atomic_load(&d->stats.paused) && d->config.now() < d->told_until_ns ? BW_DISK_DOES_NOT_FILL : BW_DISK_FILLS;
}

static void forget_all(struct bw_disk_cache *d)
{
	while (d->wishes)
		drop_wish(d, NULL);
	while (d->lru.next != &d->lru) {
		struct file *f = (struct file *)d->lru.next;
		take_out_locked(d, f);
		free(f);
	}
}

void bw_disk_free(struct bw_disk_cache *d)
{
	if (!d)
		return;
	atomic_store(&d->stopping, true);
	bw_workq_free(d->threads);
	bw_workq_free(d->timer);	/* nothing is under way that it would wait for */
	forget_all(d);
	if (d->dir >= 0)
		close(d->dir);
	for (unsigned i = 0; i < BW_DISK_THREADS; i++) {
		bw_budget_give(d->config.budget, d->rooms[i].size);
		free(d->rooms[i].bytes);
	}
	bw_table_done(&d->table);
	bw_mutex_done(&d->lock);
	free((char *)d->config.dir);
	free(d);
}
