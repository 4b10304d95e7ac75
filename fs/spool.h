/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of one staged file: sparse, growable, in memory while the byte budget has room and in an
 * unlinked temporary file from then on.
 *
 * Thread-safe.  Writes may go to a disk, so they block for as long as a local write does and no longer, and so do all
 * others that touch the bytes meanwhile; those that only ask how many there are (size, stored, filled, promise, broken)
 * never block, and are told of a write when it has returned.
 */
#ifndef BW_FS_SPOOL_H
#define BW_FS_SPOOL_H

#include "manifest/batch.h"
#include "store/base/budget.h"
#include "store/base/sync.h"
#include "store/store.h"

#include <sys/types.h>

/* Where spools may put their bytes; shared by all spools of a mount. */
struct bw_spool_space {
	struct bw_budget *budget;	/* borrowed */
	uint64_t memory_max;		/* share of the budget that staging may hold */
	atomic_uint_fast64_t memory, disk;	/* staged bytes now */
	const char *dir;		/* borrowed: for temporary files */
	uint32_t files_max;		/* of spools in a file, but for sinks; 0: as many as there may be */
	atomic_uint files;		/* that there are */
	bool leaving;			/* the process ends, and its files with it: they need not be closed one by one */
	/* Asks others (the cache) to give back bytes of the budget; may be NULL. */
	void (*reclaim)(void *ctx, uint64_t bytes);
	void *ctx;
};

/* A new file in dir, to read and write, that is gone when it is closed; or why not.  Not all file systems know O_TMPFILE. */
int bw_spool_open_file(const char *dir) bw_must_check;
/* Can spools make a file in dir?  0, or why not. */
int bw_spool_try(const char *dir) bw_must_check;

struct bw_spool;

int bw_spool_new(struct bw_spool_space *space, struct bw_spool **ret) bw_must_check;
struct bw_spool *bw_spool_ref(struct bw_spool *s);
void bw_spool_free(struct bw_spool *s);		/* drops a reference; NULL is fine */
/* The same, without a wait: what is left to be done is put on *list, for bw_spool_free_list() where nobody waits for the caller.  Closing a file that
 * has no name gives back its blocks, which takes part of a millisecond to seconds. */
void bw_spool_free_later(struct bw_spool *s, struct bw_spool **list);
void bw_spool_free_list(struct bw_spool *list);

uint64_t bw_spool_size(struct bw_spool *s);
uint64_t bw_spool_stored(struct bw_spool *s);	/* bytes it really holds, for st_blocks */

/* All or nothing: on failure (-ENOSPC, -EFBIG, -EIO, -EMFILE: files_max ...) the old bytes and size stand. */
int bw_spool_write(struct bw_spool *s, uint64_t off, const void *bytes, size_t len) bw_must_check;
/* Bytes read, short at the end; holes read as zeros. */
ssize_t bw_spool_read(struct bw_spool *s, uint64_t off, void *bytes, size_t len) bw_must_check;
/*
 * Bytes from off without a copy: how many (at most len) lie at *ret, which stay as they are until *ret_hold is
 * unrefed, whatever becomes of the spool.  0: they are to be read.
 */
size_t bw_spool_view(struct bw_spool *s, uint64_t off, size_t len, struct bw_blob **ret_hold, const uint8_t **ret);
int bw_spool_truncate(struct bw_spool *s, uint64_t size) bw_must_check;
/* The same; a file that is emptied goes to *list, as with bw_spool_free_later(). */
int bw_spool_truncate_later(struct bw_spool *s, uint64_t size, struct bw_spool **list) bw_must_check;
/*
 * Bytes on their way into the store before the file is whole.  filled: how many were written one after the other from the
 * beginning, so that they are likely to stay.  promise: somebody builds on those below upto; UINT64_MAX: on the size too.
 * broken: some of them, or the size, have changed since, whether or not that went well.
 */
uint64_t bw_spool_filled(struct bw_spool *s);
void bw_spool_promise(struct bw_spool *s, uint64_t upto);
bool bw_spool_broken(struct bw_spool *s);
/* Makes [off, off+len) read as zeros without changing the size. */
int bw_spool_punch(struct bw_spool *s, uint64_t off, uint64_t len) bw_must_check;

/* The spool as a body to upload; valid while the spool is, its size as of now. */
struct bw_spool_body {
	struct bw_body body;
	struct bw_spool *spool;		/* borrowed */
};
void bw_spool_body_init(struct bw_spool_body *b, struct bw_spool *s);

/* The spool, of which nothing is in a file yet, as a sink for compressed blocks. */
struct bw_spool_sink {
	struct bw_sink sink;
	struct bw_spool *spool;		/* borrowed */
};
void bw_spool_sink_init(struct bw_spool_sink *k, struct bw_spool *s);

#endif
