/* SPDX-License-Identifier: Apache-2.0 */
/* A store that keeps what it is given, in order of arrival, until the test says how it ends. */
#ifndef BW_TESTS_HOLDER_H
#define BW_TESTS_HOLDER_H

#include "store/base/sync.h"
#include "store/store.h"

#define BW_HOLDER_MAX 2048

struct bw_holder {
	struct bw_store store;
	struct bw_workq *q;
	struct bw_mutex lock;
	struct bw_op *held[BW_HOLDER_MAX];
	unsigned n;
	unsigned most;		/* held at once */
	uint64_t most_bytes;
	unsigned sent;		/* since the start */
	unsigned cancels;	/* that came down */
};

struct bw_holder *bw_holder_new(void);	/* ends the test when it fails; freed with the store above */
unsigned bw_holder_n(struct bw_holder *h);
unsigned bw_holder_sent(struct bw_holder *h);
void bw_holder_wait(struct bw_holder *h, unsigned n);		/* until so many are held */
void bw_holder_wait_sent(struct bw_holder *h, unsigned n);	/* until so many came, or more */
/* Ends the one held at that place, on a thread of the store; an OK get is answered with "bytes". */
void bw_holder_answer(struct bw_holder *h, unsigned at, enum bw_outcome outcome,
		      int64_t retry_after_ns);
/* Ends the one that came first: NOT_FOUND. */
void bw_holder_let_go(struct bw_holder *h);
bool bw_holder_holds(struct bw_holder *h, unsigned at, const char *key);

#endif
