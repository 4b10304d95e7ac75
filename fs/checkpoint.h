/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /checkpoint: jobs as directories, markers as files.
 *
 * The one idea: there is nothing here but the newest root.  What is shown is read from it when it is asked for,
 * and every mkdir, create, close, rm and rmdir is a commit whose answer is the answer of the system call.  So
 * whether a marker came before a trim is decided by the order of versions (C2), and all that this module keeps
 * is which number each job has and when things were seen first: a root does not tell their times.
 *
 * Questions about names and attributes are answered at once from the root that is known; whoever must not be
 * wrong asks for fresh news before (bw_checkpoint_pace() tells how).  Changes park a struct bw_mark.
 *
 * Thread-safe, one lock.  Knows nothing of FUSE.
 */
#ifndef BW_FS_CHECKPOINT_H
#define BW_FS_CHECKPOINT_H

#include "fs/errors.h"
#include "fs/waiting.h"
#include "manifest/committer.h"
#include "store/base/log.h"

#define BW_CHECKPOINT_INO 4u		/* of /checkpoint itself */

struct bw_checkpoint;
struct bw_checkpoint_config {
	struct bw_head *head;			/* all borrowed */
	struct bw_committer *committer;		/* NULL: read-only */
	struct bw_waiting *waiting;
	struct bw_errors *errors;
	struct bw_log *log;
	int64_t commit_timeout_ns;
};

/* Subscribes to the head's news, so before any. */
int bw_checkpoint_new(const struct bw_checkpoint_config *config, struct bw_checkpoint **ret) bw_must_check;
/* No new change from now on; those under way go on. */
void bw_checkpoint_stop(struct bw_checkpoint *c);
/* Waits until deadline_ns for changes under way. */
void bw_checkpoint_drain(struct bw_checkpoint *c, int64_t deadline_ns);
void bw_checkpoint_free(struct bw_checkpoint *c);	/* after committer and head; NULL is fine */

/* ---- What is there, by the root that is known (checkpoint.c) ----------------------------------- */

/* A job, or a marker of it. */
struct bw_mark_node {
	uint64_t ino;
	bool dir;
	char job[BW_NAME_MAX + 1];
	uint64_t step;
	uint64_t size;			/* of the text */
	int64_t mtime_ms;
};

/* -ENOENT also for names that can never be. */
int bw_checkpoint_lookup(struct bw_checkpoint *c, uint64_t parent, const char *name,
			 struct bw_mark_node *ret) bw_must_check;
int bw_checkpoint_node(struct bw_checkpoint *c, uint64_t ino, struct bw_mark_node *ret) bw_must_check;
/* The text of a marker. */
int bw_checkpoint_text(struct bw_checkpoint *c, uint64_t ino, char text[BW_MARKER_TEXT_MAX + 1]) bw_must_check;
/* Entries after offset `after` (0: from the start), in a stable order; false from emit stops. */
typedef bool bw_mark_emit(void *ctx, const char *name, uint64_t ino, bool dir, uint64_t after);
int bw_checkpoint_list(struct bw_checkpoint *c, uint64_t ino, uint64_t after, bw_mark_emit *emit, void *ctx)
	bw_must_check;
/*
 * May the next question to the store go out at once?  `ls -l` of all the markers that a job may have need not
 * wait for each; whoever asks without an end is slowed to the pace of all other look-ups.
 */
bool bw_checkpoint_pace(struct bw_checkpoint *c);

/* ---- Changes (mark.c) -------------------------------------------------------------------------- */

/*
 * One change that somebody waits for.  Zeroed by the caller but for done and waiter.pid, and lent from
 * bw_checkpoint_begin() to done(), which runs once: inside the call or later on any thread, no lock held.  The
 * deadline, and a second after a signal, end the wait with -ETIMEDOUT or -EINTR: the attempt goes on.
 */
struct bw_mark {
	void (*done)(struct bw_mark *m, int err);
	struct bw_waiter waiter;
	struct bw_mark_node node;	/* set before done(0): what was made */

	uint64_t id;			/* private from here on */
	bool interrupted;
	int64_t deadline_ns;
	struct bw_mark_change *change;
	struct bw_mark *next, **prev;
};

/* Gives the change a number that bw_checkpoint_interrupt() knows it by; then one of those below. */
uint64_t bw_checkpoint_begin(struct bw_checkpoint *c, struct bw_mark *m);
void bw_checkpoint_interrupt(struct bw_checkpoint *c, uint64_t id);

/* C1.  -EEXIST when it is there already, -EPERM outside /checkpoint itself. */
void bw_checkpoint_mkdir(struct bw_checkpoint *c, struct bw_mark *m, uint64_t parent, const char *name);
/* C2.  A marker without a text; one that is there already is left as it is, or -EEXIST. */
void bw_checkpoint_create(struct bw_checkpoint *c, struct bw_mark *m, uint64_t parent, const char *name,
			  bool exclusive);
/* A marker that has gone meanwhile is not made again: 0. */
void bw_checkpoint_set_text(struct bw_checkpoint *c, struct bw_mark *m, uint64_t ino, const char *text);
void bw_checkpoint_unlink(struct bw_checkpoint *c, struct bw_mark *m, uint64_t parent, const char *name);
void bw_checkpoint_rmdir(struct bw_checkpoint *c, struct bw_mark *m, uint64_t parent, const char *name);

/* ---- Texts that are being written (mark_text.c) ------------------------------------------------ */

/* An open marker file; its bytes go into the root when it is closed. */
struct bw_mark_text;
/* text: what it has now, NULL for nothing. */
int bw_mark_text_new(uint64_t ino, const char *text, bool append, struct bw_mark_text **ret) bw_must_check;
void bw_mark_text_free(struct bw_mark_text *t);		/* NULL is fine */
uint64_t bw_mark_text_ino(const struct bw_mark_text *t);
/* -EFBIG above BW_MARKER_TEXT_MAX, -EINVAL for a NUL or a hole. */
int bw_mark_text_write(struct bw_mark_text *t, uint64_t off, const void *buf, size_t len) bw_must_check;
int bw_mark_text_truncate(struct bw_mark_text *t, uint64_t size) bw_must_check;
size_t bw_mark_text_read(struct bw_mark_text *t, uint64_t off, void *buf, size_t len);
/* Is there something to commit?  Copies it; *ret_edit goes to bw_mark_text_saved() when that is done.  Never for an
 * empty text: that keeps what is there. */
bool bw_mark_text_dirty(struct bw_mark_text *t, char text[BW_MARKER_TEXT_MAX + 1], uint32_t *ret_edit);
void bw_mark_text_saved(struct bw_mark_text *t, uint32_t edit);

#endif
