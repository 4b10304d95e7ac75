/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_fleet [MOUNTS [SEED]]: a Markdown table of what a fleet of mounts costs a store (fleet.h).
 */
#include "tests/sim/fleet.h"

#include <stdio.h>
#include <stdlib.h>

static const struct {
	const char *title;
	struct fleet fleet;
} rows[] = {
	{"nothing is committed", {.seconds = 300}},
	{"a commit a minute, all wait", {.seconds = 600, .every_s = 60}},
	{"1 commit/s, all wait", {.seconds = 60, .every_s = 1}},
	{"1 commit/s, as a clock, all wait", {.seconds = 60, .every_s = 1, .pace = FLEET_CLOCKED}},
	{"1 commit/s, by chance, all wait", {.seconds = 60, .every_s = 1, .pace = FLEET_CHANCE}},
	{"1 commit/s, two at once, all wait", {.seconds = 60, .every_s = 1, .pace = FLEET_PAIRS}},
	{"1 commit/s and 3 in turns, all wait", {.seconds = 120, .every_s = 1, .pace = FLEET_CHANGES}},
	{"3 commits/s, all wait", {.seconds = 60, .every_s = 0.33}},
	{"a commit in 5 s, all wait", {.seconds = 300, .every_s = 5}},
	{"a commit in 20 s, all wait", {.seconds = 600, .every_s = 20}},
	{"1 commit/s, in lock step, 0.3 s of compute", {.seconds = 60, .every_s = 1, .compute_s = 0.3, .lock_step = true}},
	{"10 commits/s, all wait", {.seconds = 20, .every_s = 0.1}},
	{"10 commits/s, in lock step, 30 ms of compute", {.seconds = 20, .every_s = 0.1, .compute_s = 0.03, .lock_step = true}},
	{"1 commit/s, 20 steps ahead, 1 s of compute", {.seconds = 60, .every_s = 1, .compute_s = 1, .ahead = 20}},
	{"1 commit/s, store away for 60 s (errors)", {.seconds = 180, .every_s = 1, .away_s = 60}},
	{"1 commit/s, store away for 60 s (no answer)", {.seconds = 180, .every_s = 1, .away_s = 60, .hangs = true}},
	{"1 commit/s, 5,500 requests/s allowed", {.seconds = 120, .every_s = 1, .limit = 5500}},
	{"10 commits/s, 5,500 requests/s allowed", {.seconds = 60, .every_s = 0.1, .limit = 5500}},
};

int main(int argc, char **argv)
{
	uint32_t mounts = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 2048;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;

	printf("| %u mounts | requests/s | a mount | most of a mount in a second | most in 100 ms | once it is back | with a root/s | "
	       "refused | known after, p50 s | p99 s |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n", mounts);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct fleet f = rows[i].fleet;
		struct fleet_result r;

		f.mounts = mounts;
		f.seed = seed;
		fleet_run(&f, &r);
		printf("| %s | %.0f | %.2f | %.0f | %.0f | %.0f | %.0f | %.3f | %.2f | %.2f |\n", rows[i].title,
		       r.requests, r.mount, r.mount_max, r.peak, r.peak_back, r.hits, r.throttled, r.late_p50,
		       r.late_p99);
		if (r.behind)
			printf("%lu mounts never heard of the last commit\n", (unsigned long)r.behind);
		fflush(stdout);
	}
	return 0;
}
