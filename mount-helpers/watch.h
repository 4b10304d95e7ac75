/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoint directories of trainers: what is in one, and which of it are whole checkpoints.
 *
 * Looking (watch_look.c) does all the input: it lists the directory and takes down names, sizes, times
 * and what a few small files say, as a snapshot.  A format is pure: it names the checkpoints in a
 * snapshot and says of each whether it is finished.  What one look says is never acted on alone:
 * watch_plan.h compares looks.
 *
 * The rule for all of them: what is not known is kept.  A format says BW_WATCH_TORN only when it can name
 * what is missing, BW_WATCH_DONE only when the trainer has put its own mark of completion and nothing
 * speaks against it, and BW_WATCH_UNKNOWN otherwise.
 *
 * Thread-safety: none; a snapshot that is not being taken is immutable.
 */
#ifndef BW_MOUNT_HELPERS_WATCH_H
#define BW_MOUNT_HELPERS_WATCH_H

#include "mount-helpers/watch_scan.h"

#define BW_WATCH_ITEMS_MAX 65536u	/* entries of the directory */
#define BW_WATCH_FILES_MAX 262144u	/* files in one checkpoint */
#define BW_WATCH_DEPTH_MAX 8u		/* directories below each other in one */

/* What stat says of a file, and what its bytes say. */
struct bw_watch_file {
	char *path;		/* owned; below its item, or the item's own name */
	bool is_dir;
	uint64_t size, ino;
	int64_t mtime_ns, ctime_ns;
	enum bw_watch_scan scanned;
	struct bw_watch_facts facts;
};

/* An entry of the directory, and everything below it when it may be a checkpoint. */
struct bw_watch_item {
	struct bw_watch_file self;
	int err;		/* the first thing that could not be read: -errno */
	bool moved;		/* files came and went while it was looked at */
	uint32_t n, cap;
	struct bw_watch_file *files;	/* owned, ascending by path; directories among them */
};

struct bw_watch_snapshot {
	uint64_t dev, ino;	/* of the directory */
	uint32_t n, cap;
	struct bw_watch_item *items;	/* owned, ascending by name */
};
void bw_watch_snapshot_done(struct bw_watch_snapshot *s);

/* By name, and by path in the item; borrowed; NULL: there is none. */
const struct bw_watch_item *bw_watch_item(const struct bw_watch_snapshot *s, const char *name);
const struct bw_watch_file *bw_watch_file(const struct bw_watch_item *item, const char *path);

enum bw_watch_state {
	BW_WATCH_TORN,		/* not finished, or not whole any more */
	BW_WATCH_UNKNOWN,
	BW_WATCH_DONE,
};

struct bw_watch_verdict {
	enum bw_watch_state state;
	bool slow;		/* DONE, but less sure of it: wait longer before it counts */
	char why[160];		/* what is missing; "" when DONE */
};

struct bw_watch_format {
	const char *name;
	/* Is this an entry of the directory that a checkpoint would have?  arg: what stood behind
	 * "NAME:", or NULL. */
	bool (*step)(const char *arg, const char *name, bool is_dir, uint64_t *ret);
	/* How a file is to be read; path begins with the name of the directory's entry. */
	enum bw_watch_scan (*scan)(const char *path);
	void (*judge)(const char *arg, const struct bw_watch_snapshot *s,
		      const struct bw_watch_item *item, struct bw_watch_verdict *v);
	bool (*arg_ok)(const char *arg);	/* NULL: takes none */
};

/* "NAME" or "NAME:ARG"; NULL when there is no such format.  *ret_arg points into text. */
const struct bw_watch_format *bw_watch_format_find(const char *text, const char **ret_arg);

extern const struct bw_watch_format bw_watch_megatron, bw_watch_deepspeed, bw_watch_dcp, bw_watch_hf,
	bw_watch_orbax, bw_watch_lightning, bw_watch_pattern;

/* ---- What formats share ------------------------------------------------------------------------- */

/* Decimal digits, leading zeros allowed, below 2^62.  Moves *at behind them. */
bool bw_watch_digits(const char **at, uint64_t *ret);
/* The number that a name ends in. */
bool bw_watch_step_last(const char *name, uint64_t *ret);
/* Makes one slash of several in a row: the same place, written once. */
void bw_watch_squeeze(char *path);
/* The last part of a path. */
const char *bw_watch_base(const char *path);
bool bw_watch_ends(const char *text, const char *ending);
/* How files of weights and of state are read, by their ending. */
enum bw_watch_scan bw_watch_scan_of(const char *path);

/* Sets the state, and why, which is cut where it is too long. */
void bw_watch_say(struct bw_watch_verdict *v, enum bw_watch_state state, const char *fmt, ...)
	bw_printf_like(3, 4);

/*
 * What holds for all of them: it could be read, it is a directory with files in it, no file that
 * holds weights or state is empty or torn, and what a .metadata or an index names is there.  False,
 * and the verdict, when one of these fails.
 */
bool bw_watch_whole(const struct bw_watch_item *item, struct bw_watch_verdict *v);
/* The same for the .distcp files alone: each folder of them has its .metadata.  *ret_n: how many. */
bool bw_watch_shards(const struct bw_watch_item *item, uint32_t *ret_n, struct bw_watch_verdict *v);
/* The name of a file of model that item lacks, or NULL: two checkpoints of one run have the same. */
const char *bw_watch_lacks(const struct bw_watch_item *item, const struct bw_watch_item *model);

#endif
