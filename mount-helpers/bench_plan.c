/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/bench.h"

#include "mount-helpers/bench_slice.h"
#include "store/base/clock.h"

#include <inttypes.h>
#include <string.h>

#define RANKS 8u
#define READERS 8u
#define READ_ROWS (BW_BENCH_ALL & ~BW_BENCH_WRITES)

static const struct {
	const char *name, *times[2];
} kinds[BW_BENCH_KINDS] = {
	[BW_BENCH_INGEST] = {"ingest", {"close", "batch"}},
	[BW_BENCH_TAIL] = {"tail", {"delivery", "close_to_memory"}},
	[BW_BENCH_SEEK] = {"seek", {"read", NULL}},
	[BW_BENCH_CATCHUP] = {"catchup", {"read", NULL}},
	[BW_BENCH_HOT] = {"hot", {"read", NULL}},
	[BW_BENCH_LOOP] = {"loop", {"read", "step"}},
};

const char *bw_bench_name(enum bw_bench_kind kind)
{
	return kinds[kind].name;
}

const char *bw_bench_time_name(enum bw_bench_kind kind, unsigned i)
{
	return kinds[kind].times[i];
}

void bw_bench_plan_default(struct bw_bench_plan *p)
{
	*p = (struct bw_bench_plan){.ranks = RANKS,
				    .producers = 1,
				    .writers = 1,
				    .size = UINT64_C(1) << 20,
				    .compute_ns = 10 * BW_MS,
				    .from = BW_BENCH_NEWEST,
				    .to = UINT64_MAX};
}

unsigned bw_bench_rows_parse(const char *list)
{
	unsigned rows = 0;

	for (;;) {
		size_t len = strcspn(list, ",");
		unsigned row = 0;

		for (int k = 0; k < BW_BENCH_KINDS; k++)
			if (strlen(kinds[k].name) == len && memcmp(kinds[k].name, list, len) == 0)
				row = 1u << k;
		if (!row)
			return 0;
		rows |= row;
		if (!list[len])
			return rows;
		list += len + 1;
	}
}

static int check(const struct bw_bench_plan *p, char *why, size_t why_len)
{
	if (p->ranks < 1 || p->ranks > BW_BENCH_RANKS_MAX)
		return bw_refuse(why, why_len, "--ranks must be from 1 to %u", BW_BENCH_RANKS_MAX);
	if (p->size < BW_SLICE_MIN || p->size > BW_BENCH_SLICE_MAX)
		return bw_refuse(why, why_len, "--size must be from %u bytes to 4G", BW_SLICE_MIN);
	if (p->readers > p->ranks)
		return bw_refuse(why, why_len,
				 "%" PRIu32 " readers of different ranks need as many ranks, and there are"
				 " %" PRIu32,
				 p->readers, p->ranks);
	if (p->writers > p->ranks)
		return bw_refuse(why, why_len,
				 "%" PRIu32 " writers of a batch need as many ranks, and there are %" PRIu32,
				 p->writers, p->ranks);
	if ((uint64_t)p->producers * p->writers > BW_BENCH_HANDS_MAX || p->readers > BW_BENCH_HANDS_MAX)
		return bw_refuse(why, why_len, "at most %u threads can be asked for", BW_BENCH_HANDS_MAX);
	if (p->from != BW_BENCH_NEWEST && p->from >= p->to)
		return bw_refuse(why, why_len, "--from must be below --to");
	if (p->range && p->scratch)
		return bw_refuse(why, why_len, "--from and --to are for the mount of a stream that has steps");
	return 0;
}

int bw_bench_plan_settle(struct bw_bench_plan *p, char *why, size_t why_len)
{
	/* Nobody's stream is written to unless he says so. */
	if (!p->rows)
		p->rows = p->scratch ? BW_BENCH_ALL : READ_ROWS;
	if (!p->readers)
		p->readers = p->ranks < READERS ? p->ranks : READERS;
	if (!p->batches)
		p->batches = p->limit_ns ? UINT64_MAX : BW_BENCH_BATCHES;
	return check(p, why, why_len);
}

/* Rows that read a scratch stream need one that was filled. */
static bool needs_fill(const struct bw_bench_plan *p)
{
	return p->scratch && !(p->rows & 1u << BW_BENCH_INGEST) && (p->rows & READ_ROWS);
}

uint64_t bw_bench_plan_steps(const struct bw_bench_plan *p)
{
	uint64_t rows =
		!!(p->rows & 1u << BW_BENCH_INGEST) + !!(p->rows & 1u << BW_BENCH_TAIL) + needs_fill(p);

	return rows && p->batches > UINT64_MAX / rows ? UINT64_MAX : rows * p->batches;
}
