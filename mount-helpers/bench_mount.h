/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mount that bench drives: its own, whose daemon is a child process, or somebody else's.
 *
 * The child runs in the foreground and in a session of its own, so that a Ctrl-C of the terminal reaches
 * bench alone, which then unmounts; and it ends by itself when bench is killed.  One thread, which must be the
 * one that lives as long as the program.
 */
#ifndef BW_MOUNT_HELPERS_BENCH_MOUNT_H
#define BW_MOUNT_HELPERS_BENCH_MOUNT_H

#include "mount-helpers/bench_counts.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct bw_bench_mount {
	char dir[PATH_MAX];
	char log[PATH_MAX];	/* what its daemon says; "": somebody else's */
	pid_t pid;		/* of the daemon; 0: not known */
	bool own;		/* pid is a child */
};

/*
 * Mounts url on dir, which is made, with log beside it.  go_on is asked every few milliseconds while it is
 * not ready.  0, -ECANCELED, or -EIO with the daemon's sentence in why.
 */
int bw_bench_mount_start(struct bw_bench_mount *m, const char *url, const char *dir, const char *options,
			 bool (*go_on)(void *ctx), void *ctx, char *why, size_t why_len) bw_must_check;

/* Ends the daemon and removes what start() made.  0, or 1 when it had ended before, or not cleanly. */
int bw_bench_mount_stop(struct bw_bench_mount *m);
/* Every call into the mount fails from now on; stop() is due all the same. */
void bw_bench_mount_kill(struct bw_bench_mount *m);
/* The daemon of an own mount has ended. */
bool bw_bench_mount_is_dead(struct bw_bench_mount *m);

/* The last sentence that the daemon said: "" for none. */
void bw_bench_mount_last_words(const struct bw_bench_mount *m, char *text, size_t len);

/* 0 or -errno. */
int bw_bench_mount_counts(const struct bw_bench_mount *m, struct bw_counts *ret) bw_must_check;
/* User and system time of the daemon.  -ESRCH: not known. */
int bw_bench_mount_cpu(const struct bw_bench_mount *m, int64_t *ret_ns) bw_must_check;
/* A file of /status as text with a NUL: its length or -errno. */
ssize_t bw_bench_mount_status(const struct bw_bench_mount *m, const char *name, char *buf, size_t len);

#endif
