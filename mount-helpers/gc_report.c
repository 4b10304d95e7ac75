/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/gc_report.h"

#include <inttypes.h>
#include <stdio.h>

static void print_bytes(uint64_t bytes)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
	double v = (double)bytes;
	unsigned i = 0;

	for (; v >= 1000 && i < 5; i++)
		v /= 1000;
	printf(i && v < 100 ? "%.1f %s" : "%.0f %s", v, units[i]);
}

static void print_rows(const struct bw_reclaim_tally rows[BW_WHYS])
{
	for (unsigned why = 0; why < BW_WHYS; why++) {
		if (!rows[why].n)
			continue;
		printf("  %10" PRIu64 "  %s", rows[why].n, bw_reclaim_why_words(why));
		if (rows[why].bytes) {
			printf(", ");
			print_bytes(rows[why].bytes);
		}
		putchar('\n');
	}
}

static uint64_t sum(const struct bw_reclaim_tally rows[BW_WHYS])
{
	uint64_t n = 0;

	for (unsigned why = 0; why < BW_WHYS; why++)
		n += rows[why].n;
	return n;
}

bool bw_gc_did(const struct bw_reclaim_report *r)
{
	return r->trim == BW_TRIM_DONE || sum(r->deleted) || r->roots_buried;
}

/* Where the oldest step is and what holds it there. */
static void print_trim(const struct bw_stream *stream, const struct bw_reclaim_report *r, bool dry)
{
	switch (r->trim) {
	case BW_TRIM_DONE:
		printf("first %s from %" PRIu64 " to %" PRIu64, dry ? "would go" : "went",
		       r->first_before, r->first);
		if (r->holder[0])
			printf(": the oldest marker of job %s", r->holder);
		if (r->live_bytes) {
			printf("; releases ");
			print_bytes(r->trim_bytes);
			printf(" of ");
			print_bytes(r->live_bytes);
		}
		putchar('\n');
		break;
	case BW_TRIM_WAITS:
		printf("first stays at %" PRIu64 " for now: markers younger than the grace would release ",
		       r->first);
		print_bytes(r->fresh_bytes);
		printf(" of ");
		print_bytes(r->live_bytes);
		printf(" at once.  If they are right, come back after the grace (%" PRIu64
		       " s), or use --force\n",
		       stream->options.grace_s);
		break;
	case BW_TRIM_OVERTAKEN:
		printf("first stays at %" PRIu64 " for now: markers were moved each time before the trim was"
		       " committed.  The next pass tries again\n",
		       r->first);
		break;
	case BW_TRIM_NO_JOBS:
		printf("first stays at %" PRIu64 ": no job is registered, so nothing is reclaimed\n",
		       r->first);
		break;
	case BW_TRIM_JOB_HOLDS:
		printf("first stays at %" PRIu64 ": job %s holds everything, it has %" PRIu32
		       " of %" PRIu32 " markers\n",
		       r->first, r->holder, r->holder_markers, stream->options.keep);
		break;
	case BW_TRIM_NOTHING:
		printf("first stays at %" PRIu64 ": the oldest marker of job %s\n", r->first, r->holder);
		break;
	}
}

static void print_waiting(const struct bw_stream *stream, const struct bw_reclaim_report *r)
{
	uint64_t bound = r->judge ? r->judge_first : r->swept;

	if (r->first <= bound)
		return;
	printf("%" PRIu64 " reclaimed steps are deleted when their trim is older than the grace (%" PRIu64
	       " s)\n",
	       r->first - bound, stream->options.grace_s);
}

void bw_gc_report(const struct bw_stream *stream, const struct bw_reclaim_report *r, bool dry)
{
	print_trim(stream, r, dry);
	print_waiting(stream, r);
	if (!r->judge && r->no_time)
		printf("nothing is deleted: the store does not say when objects were written\n");
	else if (!r->judge)
		printf("nothing is deleted: no version is older than the grace (%" PRIu64 " s)\n",
		       stream->options.grace_s);
	if (sum(r->deleted) || r->roots_buried)
		printf("%s\n", dry ? "would delete" : "deleted");
	print_rows(r->deleted);
	if (r->roots_buried)
		printf("  %10" PRIu64 "  old versions, %s\n", r->roots_buried,
		       dry ? "which would become tombstones" : "which are tombstones now");
	if (r->roots_left)
		printf("  %10" PRIu64 "  more of them are left for the next pass\n", r->roots_left);
	if (sum(r->kept))
		printf("kept\n");
	print_rows(r->kept);
}
