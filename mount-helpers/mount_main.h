/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount.batchweave(8), also as `batchweave mount`: arguments, the daemon, its signals.
 *
 * The process forks before any thread is started.  The child mounts and tells the parent over a pipe
 * how it went; the parent says it and ends with one of mount(8)'s exit codes.
 */
#ifndef BW_MOUNT_HELPERS_MOUNT_MAIN_H
#define BW_MOUNT_HELPERS_MOUNT_MAIN_H

/* name begins the sentences on stderr; argv[0] is not looked at.  Returns the exit code. */
int bw_mount_main(const char *name, int argc, char **argv);

#endif
