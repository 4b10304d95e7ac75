/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/spool.h"

#include "store/base/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (1u << 20)
#define CHUNK_MIN 4096u
#define SIZE_MAX_BYTES (UINT64_C(1) << 40)	/* of one staged file in a file; memory ends long before */

/*
 * Bytes [i * CHUNK, i * CHUNK + fill) of the file; what is above fill, or missing, is zeros.  Whoever looks at
 * them without a copy (bw_spool_view) shares the blob: then a change makes another.
 */
struct chunk {
	struct bw_blob *blob;	/* owned reference, room for cap bytes; NULL: a hole */
	uint32_t cap, fill;
};

struct bw_spool {
	atomic_uint refs;
	struct bw_spool_space *space;	/* borrowed */
	struct bw_mutex lock;	/* held while a disk is waited for */
	/* Changed under lock but for promised, and read without it: who asks for them does not wait for a disk. */
	_Atomic uint64_t size;
	_Atomic uint64_t filled;	/* written one after the other, from 0 */
	_Atomic uint64_t promised;	/* bytes below it were promised to stay */
	atomic_bool broken;		/* and did not */
	_Atomic uint64_t stored;	/* bytes it really holds */
	int fd;			/* -1 while in memory */
	bool is_sink;		/* of a commit, which ends with files that go */
	uint64_t on_disk;	/* counted in space->disk */
	size_t chunks_n;
	struct chunk *chunks;	/* owned */
	struct bw_spool *next;	/* in a list of those to be freed */
};

int bw_spool_new(struct bw_spool_space *space, struct bw_spool **ret)
{
	struct bw_spool *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	atomic_init(&s->refs, 1);
	s->space = space;
	s->fd = -1;
	bw_mutex_init(&s->lock, BW_RANK_SPOOL);
	*ret = s;
	return 0;
}

static void give_memory(struct bw_spool_space *space, uint64_t bytes)
{
	atomic_fetch_sub(&space->memory, bytes);
	bw_budget_give(space->budget, bytes);
}

static void drop_chunk(struct bw_spool *s, struct chunk *c)
{
	if (!c->blob)
		return;
	give_memory(s->space, c->cap);
	s->stored -= c->cap;
	bw_blob_unref(c->blob);
	*c = (struct chunk){0};
}

static void drop_chunks(struct bw_spool *s)
{
	for (size_t i = 0; i < s->chunks_n; i++)
		drop_chunk(s, &s->chunks[i]);
	free(s->chunks);
	s->chunks = NULL;
	s->chunks_n = 0;
}

struct bw_spool *bw_spool_ref(struct bw_spool *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

/* The rest of what may be open is for the store, the cache and looks at who closes. */
static bool count_file(struct bw_spool *s)
{
	struct bw_spool_space *space = s->space;

	if (s->is_sink || atomic_fetch_add(&space->files, 1) < space->files_max || !space->files_max)
		return true;
	atomic_fetch_sub(&space->files, 1);
	return false;
}

static void uncount_file(struct bw_spool *s)
{
	if (!s->is_sink)
		atomic_fetch_sub(&s->space->files, 1);
}

static void close_file(struct bw_spool *s)
{
	if (s->fd < 0)
		return;
	if (!s->space->leaving)
		close(s->fd);
	s->fd = -1;
	uncount_file(s);
}

void bw_spool_free_later(struct bw_spool *s, struct bw_spool **list)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	s->next = *list;
	*list = s;
}

void bw_spool_free_list(struct bw_spool *list)
{
	for (struct bw_spool *s = list, *next; s; s = next) {
		next = s->next;
		drop_chunks(s);
		close_file(s);
		atomic_fetch_sub(&s->space->disk, s->on_disk);
		bw_mutex_done(&s->lock);
		free(s);
	}
}

void bw_spool_free(struct bw_spool *s)
{
	struct bw_spool *last = NULL;

	bw_spool_free_later(s, &last);
	bw_spool_free_list(last);
}

static bool take_memory(struct bw_spool_space *space, uint64_t bytes)
{
	if (atomic_fetch_add(&space->memory, bytes) + bytes > space->memory_max) {
		atomic_fetch_sub(&space->memory, bytes);
		return false;
	}
	if (bw_budget_take(space->budget, bytes))
		return true;
	if (space->reclaim)
		space->reclaim(space->ctx, bytes);
	if (bw_budget_take(space->budget, bytes))
		return true;
	atomic_fetch_sub(&space->memory, bytes);
	return false;
}

/* A blob of cap bytes in the place of the one c has, with the same bytes.  False: memory is short. */
static bool move_chunk(struct chunk *c, uint32_t cap)
{
	struct bw_blob *blob = bw_blob_new(cap);

	if (!blob)
		return false;
	if (c->fill)
		memcpy(blob->bytes, c->blob->bytes, c->fill);
	bw_blob_unref(c->blob);
	c->blob = blob;
	c->cap = cap;
	return true;
}

/* Nobody else looks at the bytes of c from here on. */
static bool own_chunk(struct chunk *c)
{
	return atomic_load_explicit(&c->blob->refs, memory_order_acquire) == 1 || move_chunk(c, c->cap);
}

static bool reach_chunk(struct bw_spool *s, size_t i)
{
	if (i < s->chunks_n)
		return true;
	struct chunk *more = realloc(s->chunks, (i + 1) * sizeof(*more));

	if (!more)
		return false;
	memset(more + s->chunks_n, 0, (i + 1 - s->chunks_n) * sizeof(*more));
	s->chunks = more;
	s->chunks_n = i + 1;
	return true;
}

/* Room for the first `need` bytes of chunk i, to be written.  False: memory has no room for it. */
static bool grow_chunk(struct bw_spool *s, size_t i, uint32_t need)
{
	if (!reach_chunk(s, i))
		return false;
	struct chunk *c = &s->chunks[i];

	if (c->cap >= need)
		return own_chunk(c);
	uint32_t cap = c->cap ? c->cap : CHUNK_MIN, more;

	while (cap < need)
		cap *= 2;
	more = cap - c->cap;
	if (!take_memory(s->space, more))
		return false;
	if (!move_chunk(c, cap)) {
		give_memory(s->space, more);
		return false;
	}
	s->stored += more;
	return true;
}

int bw_spool_open_file(const char *dir)
{
	char path[4200];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd >= 0 ? fd : -errno;
	snprintf(path, sizeof(path), "%s/batchweave-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

int bw_spool_try(const char *dir)
{
	int fd = bw_spool_open_file(dir);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/* Its file holds `now` bytes, some of which may be holes; 0: and is gone. */
static void count_disk_locked(struct bw_spool *s, uint64_t now)
{
	struct stat st;

	s->stored = s->fd >= 0 && fstat(s->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
	atomic_fetch_add(&s->space->disk, now);
	atomic_fetch_sub(&s->space->disk, s->on_disk);
	s->on_disk = now;
}

static int open_file(struct bw_spool *s)
{
	if (!count_file(s))
		return -EMFILE;
	int fd = bw_spool_open_file(s->space->dir);

	if (fd < 0)
		uncount_file(s);
	return fd;
}

/* Moves everything to a temporary file; on failure everything stays where it was. */
static int spill_locked(struct bw_spool *s)
{
	int fd = open_file(s), err = 0;

	if (fd < 0)
		return fd;
	for (size_t i = 0; i < s->chunks_n && !err; i++) {
		uint64_t off = (uint64_t)i * CHUNK;
		struct chunk *c = &s->chunks[i];
		if (!c->fill || off >= s->size)
			continue;
		uint64_t len = s->size - off < c->fill ? s->size - off : c->fill;
		err = bw_write_at(fd, c->blob->bytes, len, off);
	}
	if (!err && ftruncate(fd, (off_t)s->size))
		err = -errno;
	if (err) {
		close(fd);
		uncount_file(s);
		return err;
	}
	drop_chunks(s);
	s->fd = fd;
	count_disk_locked(s, s->size);
	return 0;
}

static int write_memory_locked(struct bw_spool *s, uint64_t off, const uint8_t *bytes, size_t len)
{
	uint64_t end = off + len;

	if (end / CHUNK > s->space->memory_max / CHUNK + 4096)
		return -ENOSPC;		/* a far hole would need a huge table: the file handles it */
	for (uint64_t at = off; at < end;) {
		uint64_t stop = (at / CHUNK + 1) * CHUNK;
		stop = stop < end ? stop : end;
		if (!grow_chunk(s, at / CHUNK, (uint32_t)(stop - at / CHUNK * CHUNK)))
			return -ENOSPC;
		at = stop;
	}
	while (len) {
		struct chunk *c = &s->chunks[off / CHUNK];
		uint32_t in = off % CHUNK;
		uint32_t n = CHUNK - in < len ? CHUNK - in : (uint32_t)len;
		if (in > c->fill)
			memset(c->blob->bytes + c->fill, 0, in - c->fill);
		memcpy(c->blob->bytes + in, bytes, n);
		if (in + n > c->fill)
			c->fill = in + n;
		off += n;
		bytes += n;
		len -= n;
	}
	return 0;
}

/* Zeros in memory from off to the end of what is held; whole chunks above are dropped. */
static void cut_memory_locked(struct bw_spool *s, uint64_t off)
{
	for (size_t i = off / CHUNK; i < s->chunks_n; i++) {
		uint64_t start = (uint64_t)i * CHUNK;
		struct chunk *c = &s->chunks[i];
		if (start >= off)
			drop_chunk(s, c);
		else if (off - start < c->fill)
			c->fill = (uint32_t)(off - start);
	}
}

static int write_file_locked(struct bw_spool *s, uint64_t off, const uint8_t *bytes, size_t len)
{
	/* An append that fails is cut off again.  What overwrites gets its room first, so that a full
	 * disk is found before old bytes are gone; a file system without fallocate does without. */
	if (off < s->size && fallocate(s->fd, FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) &&
	    errno != EOPNOTSUPP && errno != ENOSYS)
		return -errno;
	int err = bw_write_at(s->fd, bytes, len, off);

	if (err)
		(void)!ftruncate(s->fd, (off_t)s->size);
	return err;
}

/* Bytes from off on are about to change, or the size is. */
static void change_locked(struct bw_spool *s, uint64_t off)
{
	if (off < s->promised)
		s->broken = true;
}

int bw_spool_write(struct bw_spool *s, uint64_t off, const void *bytes, size_t len)
{
	uint64_t end;

	if (__builtin_add_overflow(off, len, &end) || end > SIZE_MAX_BYTES)
		return -EFBIG;
	if (!len)
		return 0;
	BW_LOCK_SCOPE(&s->lock);
	change_locked(s, off);
	if (s->fd < 0 && write_memory_locked(s, off, bytes, len) != 0) {
		int err = spill_locked(s);
		if (err) {
			cut_memory_locked(s, s->size);
			return err;
		}
	}
	if (s->fd >= 0) {
		int err = write_file_locked(s, off, bytes, len);
		if (err)
			return err;
	}
	if (end > s->size)
		s->size = end;
	if (off <= s->filled && end > s->filled)
		s->filled = end;
	if (s->fd >= 0)
		count_disk_locked(s, s->size);
	return 0;
}

static void read_memory_locked(struct bw_spool *s, uint64_t off, uint8_t *bytes, size_t len)
{
	while (len) {
		size_t i = off / CHUNK;
		uint32_t in = off % CHUNK;
		size_t n = CHUNK - in < len ? CHUNK - in : len, have = 0;
		if (i < s->chunks_n && s->chunks[i].fill > in)
			have = s->chunks[i].fill - in < n ? s->chunks[i].fill - in : n;
		if (have)
			memcpy(bytes, s->chunks[i].blob->bytes + in, have);
		memset(bytes + have, 0, n - have);
		off += n;
		bytes += n;
		len -= n;
	}
}

ssize_t bw_spool_read(struct bw_spool *s, uint64_t off, void *bytes, size_t len)
{
	BW_LOCK_SCOPE(&s->lock);
	if (off >= s->size)
		return 0;
	if (len > s->size - off)
		len = s->size - off;
	if (s->fd < 0) {
		read_memory_locked(s, off, bytes, len);
		return (ssize_t)len;
	}
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(s->fd, (uint8_t *)bytes + done, len - done, (off_t)(off + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return (ssize_t)len;
}

/* Its file, and what is counted of that, is another spool's, which has nothing else.  Not if memory is short. */
static void hand_over_file_locked(struct bw_spool *s, struct bw_spool **list)
{
	struct bw_spool *heir;

	if (!list || bw_spool_new(s->space, &heir) != 0)
		return;
	heir->fd = s->fd;
	heir->on_disk = s->on_disk;
	heir->is_sink = s->is_sink;
	heir->next = *list;
	*list = heir;
	s->fd = -1;
	s->on_disk = 0;
}

int bw_spool_truncate(struct bw_spool *s, uint64_t size)
{
	return bw_spool_truncate_later(s, size, NULL);
}

int bw_spool_truncate_later(struct bw_spool *s, uint64_t size, struct bw_spool **list)
{
	if (size > SIZE_MAX_BYTES)
		return -EFBIG;
	BW_LOCK_SCOPE(&s->lock);
	change_locked(s, size < s->size ? size : s->size);
	if (size == 0 && s->fd >= 0) {
		hand_over_file_locked(s, list);
		close_file(s);	/* back to memory */
		count_disk_locked(s, 0);
	}
	if (s->fd >= 0) {
		if (ftruncate(s->fd, (off_t)size))
			return -errno;
		count_disk_locked(s, size);
	} else if (size < s->size) {
		cut_memory_locked(s, size);
	}
	s->size = size;
	s->filled = s->filled < size ? s->filled : size;
	return 0;
}

static int punch_file_locked(struct bw_spool *s, uint64_t off, uint64_t len)
{
	static const uint8_t zeros[64u << 10];

	if (fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) == 0)
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;
	while (len) {
		size_t n = len < sizeof(zeros) ? len : sizeof(zeros);
		int err = bw_write_at(s->fd, zeros, n, off);
		if (err)
			return err;
		off += n;
		len -= n;
	}
	return 0;
}

int bw_spool_punch(struct bw_spool *s, uint64_t off, uint64_t len)
{
	BW_LOCK_SCOPE(&s->lock);
	change_locked(s, off);
	if (off >= s->size)
		return 0;
	if (len > s->size - off)
		len = s->size - off;
	if (s->fd >= 0) {
		int err = punch_file_locked(s, off, len);
		count_disk_locked(s, s->size);
		return err;
	}
	while (len) {
		size_t i = off / CHUNK;
		uint32_t in = off % CHUNK;
		uint64_t n = CHUNK - in < len ? CHUNK - in : len;
		struct chunk *c = i < s->chunks_n ? &s->chunks[i] : NULL;
		if (c && c->fill > in + n) {
			if (!own_chunk(c))
				return -ENOMEM;
			memset(c->blob->bytes + in, 0, n);
		} else if (c && c->fill > in) {
			c->fill = in;
		}
		off += n;
		len -= n;
	}
	return 0;
}

uint64_t bw_spool_size(struct bw_spool *s)
{
	return s->size;
}

uint64_t bw_spool_filled(struct bw_spool *s)
{
	return s->filled;
}

void bw_spool_promise(struct bw_spool *s, uint64_t upto)
{
	uint64_t was = s->promised;

	/* What is read of it from now on is read under the lock: before a change, which finds the promise then, or after it. */
	while (was < upto && !atomic_compare_exchange_weak(&s->promised, &was, upto))
		;
}

bool bw_spool_broken(struct bw_spool *s)
{
	return s->broken;
}

uint64_t bw_spool_stored(struct bw_spool *s)
{
	return s->stored;
}

static int body_read(struct bw_body *body, uint64_t off, void *buf, size_t len)
{
	ssize_t n = bw_spool_read(((struct bw_spool_body *)body)->spool, off, buf, len);

	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -EIO;
}

size_t bw_spool_view(struct bw_spool *s, uint64_t off, size_t len, struct bw_blob **ret_hold, const uint8_t **ret)
{
	size_t i = off / CHUNK;
	uint32_t in = off % CHUNK;

	BW_LOCK_SCOPE(&s->lock);
	if (off >= s->size || s->fd >= 0 || i >= s->chunks_n || s->chunks[i].fill <= in)
		return 0;
	if (len > s->size - off)
		len = (size_t)(s->size - off);
	if (len > s->chunks[i].fill - in)
		len = s->chunks[i].fill - in;
	*ret_hold = bw_blob_ref(s->chunks[i].blob);
	*ret = s->chunks[i].blob->bytes + in;
	return len;
}

static size_t body_view(struct bw_body *body, uint64_t off, size_t len, struct bw_blob **ret_hold,
			const uint8_t **ret)
{
	return bw_spool_view(((struct bw_spool_body *)body)->spool, off, len, ret_hold, ret);
}

void bw_spool_body_init(struct bw_spool_body *b, struct bw_spool *s)
{
	b->body.size = bw_spool_size(s);
	b->body.read = body_read;
	b->body.view = body_view;
	b->spool = s;
}

static int sink_write(struct bw_sink *sink, uint64_t off, const void *bytes, size_t len)
{
	return bw_spool_write(((struct bw_spool_sink *)sink)->spool, off, bytes, len);
}

static int sink_read(struct bw_sink *sink, uint64_t off, void *bytes, size_t len)
{
	ssize_t n = bw_spool_read(((struct bw_spool_sink *)sink)->spool, off, bytes, len);

	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -EIO;
}

void bw_spool_sink_init(struct bw_spool_sink *k, struct bw_spool *s)
{
	k->sink.write = sink_write;
	k->sink.read = sink_read;
	k->spool = s;
	s->is_sink = true;
}
