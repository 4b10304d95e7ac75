/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TGB of one staged batch while it is made: summed, packed and on its way into the store as far as its slices are
 * certain, from before they are whole.  Private to the produce_*.c files.
 *
 * Certain are whole slices in the order of ranks, then what was written of the next one from its beginning.  It may turn
 * out otherwise (a slice is rewritten, truncated, unlinked, renamed): then all of this is given up, the upload with it, and
 * the commit makes the TGB anew from the spools, which keep every byte until the batch is committed.
 *
 * A build holds its spools and lives until the store has let go of it, which may be after its batch is gone.
 */
#ifndef BW_FS_BUILD_H
#define BW_FS_BUILD_H

#include "fs/spool.h"
#include "manifest/batch.h"

struct bw_produce;
struct bw_stage_batch;

struct bw_build {
	atomic_uint refs;
	struct bw_produce *produce;
	struct bw_batch *batch;		/* owned */
	struct bw_spool_body *bodies;	/* owned, [ranks], each with a reference to its spool */
	struct bw_spool *sink;		/* owned: compressed blocks */
	struct bw_spool_sink sink_body;
	uint64_t epoch;
	/* Under bw_produce.lock. */
	struct bw_stage_batch *of;	/* NULL: given up */
	bool feeding;			/* its task is queued or runs */
	bool wanted;			/* the batch is frozen: no more feeding, the commit goes on from here */
	bool failed;
	uint64_t largest;		/* bytes of the largest slice of which something was fed */
	uint64_t raw;			/* bytes that were fed */
	struct bw_task task;
};

/* Something of b was written or has become whole: feeds what is certain by now, if that is much. */
void bw_build_nudge_locked(struct bw_stage_batch *b);
/* Bytes or name of a rank of b changed (-1: of no rank): gives up what was built if what was built of that is not true any more. */
void bw_build_recheck_locked(struct bw_stage_batch *b, int64_t rank);
/* b is frozen.  True: its build, if any, stands still; false: b->task is pushed as soon as it does. */
bool bw_build_freeze_locked(struct bw_stage_batch *b) bw_must_check;
/* The rest of it, on a thread that may block; b is frozen.  b->build is set when it returns 0.  1: there is more, for
 * which it is to be called again, when others have had the thread. */
int bw_build_finish(struct bw_stage_batch *b) bw_must_check;
/* Gives it up, or lets go of it after the upload. */
void bw_build_drop_locked(struct bw_stage_batch *b);

#endif
