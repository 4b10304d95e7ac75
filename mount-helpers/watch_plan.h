/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What several looks at a checkpoint directory mean for the markers of a job.
 *
 * Two looks, at least settle_ns apart, must agree before anything follows from them: that a checkpoint
 * is done (and has not changed in between), that it is torn, or that it is gone.  Then:
 *  - a marker is set for a checkpoint that is done; but not above one that cannot be judged and has no
 *    marker at or below it, because the marker would release what that one may need;
 *  - a marker is withdrawn when its checkpoint is gone or torn, another one that is done has a marker,
 *    and none that cannot be judged would lose the last marker at or below it.
 * Nothing at all is done while none of the checkpoints that have markers is there, and not all of them
 * are newer: it may be the directory below a mount point, with something old in it.
 * So markers only ever say too much.  Pure: no clock, no input, no output.  Thread-safety: none.
 */
#ifndef BW_MOUNT_HELPERS_WATCH_PLAN_H
#define BW_MOUNT_HELPERS_WATCH_PLAN_H

#include "manifest/root.h"
#include "mount-helpers/watch.h"

#define BW_WATCH_SLOW 12	/* times settle_ns that "torn", and a verdict which is slow, must hold */

struct bw_watch_rules {
	const struct bw_watch_format *format;
	const char *arg;
	const char *dir;	/* absolute, without a slash at its end and two in a row */
	uint64_t scale;		/* marker = step * scale + offset */
	int64_t offset;
	int64_t settle_ns;
	bool adopt;		/* markers that nothing explains are ours as well, and so is the directory */
};

/* A checkpoint that was seen. */
struct bw_watch_known {
	char *name;			/* owned */
	bool counts;			/* its marker's step is one that a stream may have */
	uint64_t marker;
	struct bw_watch_verdict verdict;
	uint64_t print;			/* of all names, sizes and times in it */
	bool here;			/* in the last look */
	int64_t since_ns;		/* looked like that, or was gone, since then */
	uint32_t looks;			/* so many times */
	unsigned told;			/* the caller's: what was said of it already */
};

struct bw_watch_memory {
	uint32_t n, cap;
	struct bw_watch_known *known;	/* owned, ascending by name */
	uint64_t dev, ino;
	bool replaced;			/* it was another one at first */
	bool trusted;			/* this directory is the one that the markers tell of */
	int64_t since_ns;		/* the same directory could be listed since then */
	uint32_t looks;			/* so many times; 0: the last look failed */
};
void bw_watch_memory_done(struct bw_watch_memory *m);

/*
 * Takes in a look.  A directory without entries is no news: it may be the place where nothing is
 * mounted now.  Returns 1 when it is another directory than before, 0, or -ENOMEM.
 */
int bw_watch_memory_look(struct bw_watch_memory *m, const struct bw_watch_rules *rules,
			 const struct bw_watch_snapshot *s, int64_t now_ns) bw_must_check;
/* The directory could not be read: what is gone must be found gone again. */
void bw_watch_memory_blind(struct bw_watch_memory *m);
/* Another look would settle something. */
bool bw_watch_memory_unsettled(const struct bw_watch_memory *m, const struct bw_watch_rules *rules,
			       int64_t now_ns);

/* One that is done, but must hold still for BW_WATCH_SLOW times settle_ns, has not yet. */
bool bw_watch_memory_slow(const struct bw_watch_memory *m, const struct bw_watch_rules *rules,
			  int64_t now_ns);

enum bw_watch_act_kind {
	BW_WATCH_MARK,
	BW_WATCH_UNMARK,
	/* Things to say, once: */
	BW_WATCH_HELD,		/* not marked, or withdrawn, because of what cannot be judged */
	BW_WATCH_BELOW,		/* not marked: below the stream's first step */
	BW_WATCH_BEYOND,	/* not marked: beyond the stream's head */
	BW_WATCH_FOREIGN,	/* a marker that nothing here explains */
	BW_WATCH_LAST,		/* not withdrawn: no other checkpoint that is done has a marker */
	BW_WATCH_MANY,		/* more checkpoints than a job has markers */
	BW_WATCH_STRANGER,	/* nothing is done: no checkpoint that has a marker is in this directory */
};

struct bw_watch_act {
	enum bw_watch_act_kind kind;
	uint64_t step;
	char text[BW_MARKER_TEXT_MAX + 1];	/* of the marker */
	struct bw_watch_known *of;		/* borrowed from the memory, or NULL */
	const char *why;			/* static, or of->verdict.why */
};

struct bw_watch_acts {
	uint32_t n, cap;
	struct bw_watch_act *acts;	/* owned; marks first, ascending; no UNMARK beside a MARK */
};
void bw_watch_acts_done(struct bw_watch_acts *a);

/*
 * s: of the last look.  root: the newest; the job must be registered in it.  0 or -ENOMEM;
 * bw_watch_acts_done() in any case.
 */
int bw_watch_plan(struct bw_watch_memory *m, const struct bw_watch_rules *rules,
		  const struct bw_watch_snapshot *s, const struct bw_root *root, const char *job,
		  int64_t now_ns, struct bw_watch_acts *ret) bw_must_check;

#endif
