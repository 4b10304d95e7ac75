/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run of bench: the scratch stream, the mounts, the rows, and taking all of it away again, whatever ends it.
 *
 * SIGINT, SIGTERM and SIGHUP are taken as long as it lasts: the first ends the rows, one that comes while
 * things are taken away ends that too.  The thread that calls is the one that forks the daemons.
 */
#ifndef BW_MOUNT_HELPERS_BENCH_RUN_H
#define BW_MOUNT_HELPERS_BENCH_RUN_H

#include "mount-helpers/bench.h"
#include "mount-helpers/bench_mount.h"
#include "mount-helpers/bench_scratch.h"

struct bw_bench_snapshot {
	int64_t client_ns;
	struct bw_bench_use use[BW_BENCH_SIDES];
};

struct bw_bench {
	const struct bw_command *command;
	struct bw_bench_plan plan;
	struct bw_store_options how;
	char *options[BW_BENCH_SIDES];	/* of the mounts; owned */
	struct bw_stream_options stream;
	bool json, samples, keep;
	/* What follows is the run's. */
	struct bw_bench_result result;
	struct bw_scratch scratch;
	struct bw_bench_mount mounts[BW_BENCH_SIDES];
	char work[PATH_MAX];	/* "": none yet */
	char name[32];		/* of the producer, and of the scratch stream */
	uint64_t run;
	int signals;		/* signalfd */
	unsigned signals_n, signals_known;
	struct bw_bench_snapshot before, after;
};

/* plan, how, options, stream and the switches are set, and settled.  The exit code, with its sentence said. */
int bw_bench_run(struct bw_bench *b);

/* What a mount of somebody's says of its stream.  0 or an exit code with the sentence said. */
int bw_bench_ask_mount(struct bw_bench *b, const char *dir);

#endif
