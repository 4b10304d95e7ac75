/* SPDX-License-Identifier: Apache-2.0 */
/* What a mount counts for /status/metrics, beside the store's and the committer's own counters. */
#ifndef BW_FS_COUNTERS_H
#define BW_FS_COUNTERS_H

#include "store/stats.h"

#include <stdatomic.h>

enum bw_wait_reason {
	BW_WAIT_STEP,		/* V7: for a step that is not committed */
	BW_WAIT_LOOKUP,		/* V3: for a probe */
	BW_WAIT_COMMIT,		/* P1: in close, rename or fsync */
	BW_WAIT_TAKE,		/* P5: mkdir that takes a producer or registers it */
	BW_WAIT_MARK,		/* C1, C2: mkdir, create, close, rm and rmdir under /checkpoint */
	BW_WAIT_AHEAD,		/* P7: mkdir of a seq, for the slowest job */
	BW_WAIT_READ,		/* V6: for the store to bring what is committed */
	BW_WAIT_REASONS
};
#define BW_WAIT_REASON_NAMES {"step", "lookup", "commit", "take", "mark", "ahead", "read"}

/* How a slice was opened. */
enum bw_opened { BW_OPENED_PAGE_CACHE, BW_OPENED_AHEAD, BW_OPENED_DIRECT, BW_OPENED_WAYS };
#define BW_OPENED_NAMES {"page_cache", "ahead", "direct"}

struct bw_counters {
	atomic_uint_fast64_t opened[BW_OPENED_WAYS];	/* slices, by programs */
	/* read_bytes_total{source}: raw bytes handed to the kernel, by where the block was found. */
	atomic_uint_fast64_t read_cache, read_disk, read_store;
	atomic_uint_fast64_t useful;		/* raw bytes asked for by read(2) */
	atomic_uint_fast64_t prefetched;	/* raw bytes of blocks fetched ahead */
	atomic_uint_fast64_t checksum_failures;
	atomic_uint_fast64_t cache_bytes;	/* held by block cache and footers */
	atomic_uint_fast64_t waiters[BW_WAIT_REASONS];	/* now */
	atomic_uint_fast64_t waits[BW_WAIT_REASONS];	/* ended */
	atomic_uint_fast64_t waited_ns[BW_WAIT_REASONS];
	atomic_uint_fast64_t commits_ok, commits_failed;	/* batches */
	atomic_uint_fast64_t commit_ns;		/* whole to acknowledged, of all batches, summed */
	atomic_uint_fast64_t commit_buckets[BW_STATS_BUCKETS_N + 1];	/* the same, as BW_STATS_BUCKETS; each in one */
	atomic_uint_fast64_t reclaimed_bytes;	/* of objects that this mount's gc has deleted */
	atomic_uint_fast64_t killed_writers;	/* P3k: slices not made whole because the writer was killed */
};

/* A batch is committed that took so long. */
static inline void bw_counters_committed(struct bw_counters *c, int64_t took_ns)
{
	static const double bounds[] = BW_STATS_BUCKETS;
	int b = 0;

	while (b < BW_STATS_BUCKETS_N && (double)took_ns / 1e9 > bounds[b])
		b++;
	atomic_fetch_add(&c->commits_ok, 1);
	atomic_fetch_add(&c->commit_ns, (uint64_t)took_ns);
	atomic_fetch_add(&c->commit_buckets[b], 1);
}

#endif
