/* SPDX-License-Identifier: Apache-2.0 */
/* Who reads slices of a mount into memory of his own, as a data loader does.  One thread. */
#ifndef BW_MOUNT_HELPERS_BENCH_READER_H
#define BW_MOUNT_HELPERS_BENCH_READER_H

#include "mount-helpers/bench_crew.h"
#include "mount-helpers/bench_load.h"

struct bw_bench_reader {
	struct bw_crew *crew;
	const struct bw_load *load;
	struct bw_hand *hand;	/* what was read is counted there */
	uint8_t *bytes;		/* owned */
	size_t room;
	size_t len;		/* of the slice in bytes */
	int64_t begin_ns, last_ns, end_ns;	/* open was called; the last byte was there; close returned */
};

/* The functions that return int fail through bw_crew_fail().  bw_bench_reader_done() is due in any case. */
int bw_bench_reader_init(struct bw_bench_reader *r, struct bw_hand *h, const struct bw_load *l) bw_must_check;
void bw_bench_reader_done(struct bw_bench_reader *r);

/*
 * Reads a slice and looks whether it is the one.  waits: a step that is not committed is asked for until it
 * is, or the row ends (-ECANCELED).
 */
int bw_bench_reader_read(struct bw_bench_reader *r, uint64_t step, uint32_t rank, bool waits) bw_must_check;

#endif
