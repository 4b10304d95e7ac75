/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of a mount: text to struct, pure.  Names and defaults are interface.md's and fixed.
 */
#ifndef BW_FS_OPTIONS_H
#define BW_FS_OPTIONS_H

#include "fs/once.h"
#include "fs/view.h"
#include "store/base/log.h"
#include "store/s3.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum bw_commit_mode { BW_COMMIT_CLOSE, BW_COMMIT_RENAME };

struct bw_mount_options {
	bool ro;
	bool gc;		/* makes passes of reclaiming */
	int64_t wait_ns;
	enum bw_commit_mode commit;
	uint32_t pending;
	int64_t io_timeout_ns, commit_timeout_ns;
	uint64_t memory;		/* bytes; 0: bw_memory_default() (fs/memory.h) */
	char staging[4096];		/* directory for staged bytes above the memory budget; "": $TMPDIR */
	char cache[4096];		/* directory of the disk cache; "": none */
	uint64_t cache_size;		/* bytes; 0: a share of what is free */
	uint32_t prefetch;		/* steps */
	uint32_t prefetch_most;		/* what may become of them where the store is far; 0: they stay */
	enum bw_once_mode direct_io;
	struct bw_views views;
	bool allow_other;
	uid_t uid;
	gid_t gid;
	mode_t umask;
	char log[4096];			/* "": syslog when in the background, else stderr */
	enum bw_log_level loglevel;
	bool foreground, debug;
	struct bw_s3_config s3;		/* as the environment has it, options over it */
	char s3_option[32];		/* one of its options that was given, which a file:// stream refuses; "" */
};

/* What counts where no option says otherwise; of the store, what the environment says.  Before there are threads:
 * the process has no umask for a moment. */
void bw_mount_options_default(struct bw_mount_options *o);

/*
 * Applies a comma-separated list as mount -o gives it (several calls add up).  What mount(8), fstab
 * and systemd add for themselves (dev, _netdev, x-..., nofail ...) is accepted and dropped.  An
 * option that is unknown is -EINVAL and one sentence in why.
 */
int bw_mount_options_parse(struct bw_mount_options *o, const char *list, char *why, size_t why_len)
	bw_must_check;

#endif
