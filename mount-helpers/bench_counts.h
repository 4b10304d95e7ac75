/* SPDX-License-Identifier: Apache-2.0 */
/* What a mount asked of its store, from /status/metrics. */
#ifndef BW_MOUNT_HELPERS_BENCH_COUNTS_H
#define BW_MOUNT_HELPERS_BENCH_COUNTS_H

#include "store/base/err.h"

#include <stddef.h>
#include <stdint.h>

enum bw_counts_op { BW_COUNTS_GET, BW_COUNTS_PUT, BW_COUNTS_DELETE, BW_COUNTS_LIST, BW_COUNTS_OTHER, BW_COUNTS_OPS };

struct bw_counts {
	uint64_t requests[BW_COUNTS_OPS];	/* whatever their outcome */
	uint64_t in, out;			/* bytes of objects */
	uint64_t cache;				/* bytes of slices handed to the kernel from memory */
	uint64_t disk;				/* from the disk cache */
	uint64_t store;				/* the same that had to be fetched first */
};

const char *bw_counts_op_name(enum bw_counts_op op);	/* "get" */

/* Samples that are not known are passed over.  -EINVAL: text is no such page, or a number is none. */
int bw_counts_parse(const char *text, size_t len, struct bw_counts *ret) bw_must_check;
/* after - before; what went down counts as 0. */
void bw_counts_since(const struct bw_counts *before, const struct bw_counts *after, struct bw_counts *ret);
uint64_t bw_counts_requests(const struct bw_counts *c);

#endif
