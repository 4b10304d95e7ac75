/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line on stderr for work that takes long: rate and time left.  Only when stderr is a terminal,
 * only after a second, so that quick work and scripts never see it.  Any thread may add.
 */
#ifndef BW_MOUNT_HELPERS_PROGRESS_H
#define BW_MOUNT_HELPERS_PROGRESS_H

#include "store/base/sync.h"

struct bw_progress {
	const char *what;	/* "reading" */
	const char *unit;	/* "B" is shown as kB, MB ...; anything else as it is */
	uint64_t total;		/* 0: no end is known, and none is shown */
	struct bw_mutex lock;	/* what follows */
	uint64_t done;
	int64_t start_ns, shown_ns;
	bool on;
};

/* on: additional condition, such as that stdout is not the same terminal. */
void bw_progress_init(struct bw_progress *p, const char *what, const char *unit, uint64_t total,
		      bool on);
void bw_progress_add(struct bw_progress *p, uint64_t n);
void bw_progress_done(struct bw_progress *p);	/* wipes the line */

#endif
