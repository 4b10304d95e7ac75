/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/stale.h"

#include "store/base/proc.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_MAX 16		/* dead mounts one over the other */
#define FSTYPE "fuse.batchweave"

/* realpath() of what cannot be looked at itself: of the directory it is in, and its name. */
static int resolve(const char *dir, char ret[PATH_MAX])
{
	char parent[PATH_MAX], name[NAME_MAX + 1];
	size_t len = strlen(dir);

	while (len > 1 && dir[len - 1] == '/')
		len--;
	size_t at = len;

	while (at && dir[at - 1] != '/')
		at--;
	if (!len || len - at > NAME_MAX || at >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(name, dir + at, len - at);
	name[len - at] = 0;
	memcpy(parent, at ? dir : ".", at ? at : 1);
	parent[at ? at : 1] = 0;
	char *whole = realpath(parent, NULL);

	if (!whole)
		return -errno;
	int n = snprintf(ret, PATH_MAX, "%s/%s", strcmp(whole, "/") ? whole : "", name);

	free(whole);
	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* Whether what is mounted on top at path is ours. */
static bool is_ours(const char *path)
{
	struct bw_proc_mount m;

	return bw_proc_mount_at(path, &m) && strcmp(m.type, FSTYPE) == 0;
}

static int unmount_as_user(const char *path)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		execlp("fusermount3", "fusermount3", "-u", "-z", "-q", "--", path, (char *)NULL);
		_exit(127);
	}
	if (child < 0)
		return -errno;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

static bool is_dead(const char *path)
{
	struct statvfs st;

	/* What stat() says of a directory may be remembered by the kernel; this is always asked. */
	return statvfs(path, &st) < 0 && errno == ENOTCONN;
}

int bw_stale_remove(const char *dir)
{
	char path[PATH_MAX];
	int err = 0, took = 0;

	for (; took < STACK_MAX && is_dead(dir); took++) {
		err = resolve(dir, path);
		if (err || !is_ours(path))
			return err ? err : -ENOTCONN;
		err = umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) ? -errno : 0;
		if (err == -EPERM)
			err = unmount_as_user(path);
		if (err)
			return err;
	}
	return took > 0;
}
