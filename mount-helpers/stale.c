/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/stale.h"

#include "store/base/proc.h"

#include <fcntl.h>
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

/* Where the mount is that fd is of; what cannot be looked at itself can be asked for its name. */
static int place_of(const char *itself, char ret[PATH_MAX])
{
	ssize_t n = readlink(itself, ret, PATH_MAX - 1);

	if (n < 0)
		return -errno;
	ret[n] = 0;
	return n < PATH_MAX - 1 ? 0 : -ENAMETOOLONG;
}

#define ID_LEN 24

/* The number of the mount that fd is of, as mountinfo has it. */
static int mount_id(int fd, char id[ID_LEN])
{
	char path[64], line[128];
	bool said = false;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	FILE *f = fopen(path, "re");

	if (!f)
		return -errno;
	while (!said && fgets(line, sizeof(line), f))
		said = sscanf(line, "mnt_id: %23s", id) == 1;
	fclose(f);
	return said ? 0 : -ENOTCONN;
}

enum whose { OURS, OTHERS, NOBODYS };

/* Of the mount of that number at path; NOBODYS: it is mounted no more. */
static enum whose whose_is(const char *id, const char *path)
{
	struct bw_proc_mount m;
	char *line = NULL;
	size_t room = 0;
	enum whose whose = NOBODYS;
	FILE *f = fopen("/proc/self/mountinfo", "re");

	if (!f)
		return OTHERS;
	while (getline(&line, &room, f) > 0)
		if (bw_proc_mount_read(line, &m) && strcmp(m.id, id) == 0)
			whose = strcmp(m.where, path) == 0 && strcmp(m.type, FSTYPE) == 0 ? OURS : OTHERS;
	free(line);
	fclose(f);
	return whose;
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

static bool is_dead(int fd)
{
	struct statvfs st;

	/* What stat() says of a directory may be remembered by the kernel; this is always asked. */
	return fstatvfs(fd, &st) < 0 && errno == ENOTCONN;
}

/*
 * Takes away the mount that fd is of, and no other: another process that mounts here may have been faster, and what is at
 * dir now may be its new one.  1: done; 0: it was gone; -errno.
 */
static int detach(int fd)
{
	char path[PATH_MAX], itself[64], id[ID_LEN];
	int err = mount_id(fd, id);

	snprintf(itself, sizeof(itself), "/proc/self/fd/%d", fd);
	if (!err)
		err = place_of(itself, path);
	if (err)
		return err;
	enum whose whose = whose_is(id, path);

	if (whose != OURS)
		return whose == NOBODYS ? 0 : -ENOTCONN;
	if (umount2(itself, MNT_DETACH) == 0)
		return 1;
	if (errno == EPERM)	/* fusermount3 wants a path: nearly as good */
		err = unmount_as_user(path);
	else if (errno == EINVAL)
		return 0;
	else
		err = -errno;
	return err ? err : 1;
}

int bw_stale_remove(const char *dir)
{
	int took = 0, rc = 0;

	for (int i = 0; i < STACK_MAX && rc >= 0; i++) {
		int fd = open(dir, O_PATH | O_CLOEXEC);
		bool dead = fd >= 0 && is_dead(fd);

		rc = dead ? detach(fd) : 0;
		took += rc > 0;
		if (fd >= 0)
			close(fd);
		if (!dead)
			break;
	}
	return rc < 0 ? rc : took > 0;
}
