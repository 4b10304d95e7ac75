/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who waits for what: the source of /status/waiting and of the wait metrics.
 *
 * Every FUSE request that is parked registers here for as long as it is.  Thread-safe.
 */
#ifndef BW_FS_WAITING_H
#define BW_FS_WAITING_H

#include "fs/counters.h"
#include "store/base/buf.h"
#include "store/base/sync.h"

#include <sys/types.h>

struct bw_waiter {
	pid_t pid;
	enum bw_wait_reason reason;
	char what[160];			/* "step=7 rank=3", "producer=p seq=4 rank=0" */
	int64_t since_ns;		/* private */
	struct bw_waiter *next, **prev;	/* private */
};

struct bw_waiting {
	struct bw_mutex lock;
	struct bw_waiter *head;		/* the one that came last */
	uint32_t n;
	struct bw_counters *counters;	/* borrowed */
};

void bw_waiting_init(struct bw_waiting *w, struct bw_counters *counters);
void bw_waiting_done(struct bw_waiting *w);
void bw_waiting_add(struct bw_waiting *w, struct bw_waiter *one);
void bw_waiting_remove(struct bw_waiting *w, struct bw_waiter *one);
/* As remove, for one that need not have waited: the metrics do not count it. */
void bw_waiting_forget(struct bw_waiting *w, struct bw_waiter *one);
/* Says anew what one that waits is waiting for. */
void bw_waiting_say(struct bw_waiting *w, struct bw_waiter *one, const char *what);
/* A line per waiter, of the thousand that came last: pid= comm= WHAT since= reason=; and how many more there are. */
void bw_waiting_print(struct bw_waiting *w, struct bw_buf *out);

#endif
