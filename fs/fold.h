/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failures of steps that repeat: a step that cannot be read is asked for by every rank, again and again, and one line says
 * what there is to say.  The first of a step with an error is told at once; those that follow are counted, and told of once a
 * minute.
 *
 * Any thread, one lock.  The owner has the clock, and asks now and then what is due.
 */
#ifndef BW_FS_FOLD_H
#define BW_FS_FOLD_H

#include "store/base/clock.h"
#include "store/base/sync.h"

#include <stdbool.h>
#include <stdint.h>

#define BW_FOLD_MOST 64u		/* kinds of failure that are known at a time */
#define BW_FOLD_NS (60 * BW_SEC)

struct bw_failure {
	uint64_t step;
	uint32_t part;		/* of the step: whatever the owner tells apart */
	int err;		/* a code of err.h; 0: none */
	uint64_t times;		/* that were not told */
};

struct bw_fold {
	struct bw_mutex lock;
	struct bw_folded {
		struct bw_failure failure;
		int64_t told_ns;
	} known[BW_FOLD_MOST];
};

void bw_fold_init(struct bw_fold *f);
void bw_fold_done(struct bw_fold *f);

/* failed: its times do not matter.  True: it is to be told.  *ret: one that is forgotten for it; to be told if its times are not 0. */
bool bw_fold_first(struct bw_fold *f, const struct bw_failure *failed, int64_t now, struct bw_failure *ret);
/* The next whose repeats are to be told now; BW_NEVER: all.  False: there is none. */
bool bw_fold_due(struct bw_fold *f, int64_t now, struct bw_failure *ret);

#endif
