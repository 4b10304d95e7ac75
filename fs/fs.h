/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mount, from opening the stream to the last byte: for mount.batchweave and for tests.
 *
 *   bw_fs_start()   opens store and stream, starts threads, mounts, returns when the mount answers.
 *                   Call it after the last fork.
 *   bw_fs_run()     until somebody unmounts it or bw_fs_stop() is called: then drains and unmounts.
 *   bw_fs_free()
 *
 * One process may hold several; there is no global state.
 */
#ifndef BW_FS_FS_H
#define BW_FS_FS_H

#include "fs/options.h"
#include "store/base/log.h"

#include <stddef.h>

struct bw_fs;

enum bw_fs_failure { BW_FS_USAGE = 1, BW_FS_SYSTEM = 2, BW_FS_MOUNT_FAILED = 32 };

/*
 * N of "/dev/fd/N", else -1.  As dir it says that descriptor N is /dev/fuse, which somebody else has mounted and
 * unmounts, with default_permissions among the options, so that this process needs no privilege.
 */
int bw_fs_passed_fd(const char *dir);

/*
 * url and dir are copied; log is borrowed until bw_fs_free().  0, or one of enum bw_fs_failure
 * (mount(8)'s exit codes) and one sentence in why.
 */
int bw_fs_start(const char *url, const char *dir, const struct bw_mount_options *options,
		struct bw_log *log, struct bw_fs **ret, char *why, size_t why_len) bw_must_check;

/* Serves until unmounted or stopped.  Returns when all is drained, or after a bounded time. */
void bw_fs_run(struct bw_fs *fs);

/* Ends bw_fs_run().  Any thread, any number of times; not from a signal handler. */
void bw_fs_stop(struct bw_fs *fs);

/* After bw_fs_run(), or instead of it.  NULL is fine. */
void bw_fs_free(struct bw_fs *fs);

/* SIGHUP: opens the log file again. */
void bw_fs_reopen_log(struct bw_fs *fs);

#endif
