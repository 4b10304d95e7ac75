/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a daemon under test: makes the link(2) that commits a root slow, failing or
 * ambiguous, as a store in trouble would.
 *
 * While the file named by BW_GATE exists, links into a folder called "manifest" do what it says:
 *	hold		wait until the file is gone, then go on
 *	before ERRNO	fail without linking
 *	after ERRNO	link, then fail all the same: the reply is lost
 * and writes at an offset into a folder called "staging":
 *	staging		wait until the file is gone, then go on; $BW_GATE.held is made meanwhile
 * and closes of files in a folder called "staging", which have no name and so end with them:
 *	drop		wait until the file is gone, then go on; $BW_GATE.held is made meanwhile
 * and reads at an offset of files of a disk cache:
 *	disk		wait until the file is gone, then go on
 * and those of data objects of a file:// store:
 *	data		wait until the file is gone, then go on
 * and those of its roots and of stream.json:
 *	roots		wait until the file is gone, then go on
 * and statvfs(3), by which a file:// store says how much room there is:
 *	room		wait until the file is gone, then go on
 * and umount2(2):
 *	detach		wait until the file is gone, then go on; $BW_GATE.held is made meanwhile
 * and the close of the descriptor of /dev/fuse:
 *	unmount		another file, $BW_GATE.held, gets its number at once; wait until the file is gone, then go on
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

typedef int linkat_fn(int from_fd, const char *from, int to_fd, const char *to, int flags);

static linkat_fn *real_linkat(void)
{
	linkat_fn *fn = NULL;
	void *symbol = dlsym(RTLD_NEXT, "linkat");

	memcpy(&fn, &symbol, sizeof(fn));
	return fn;
}

/* The whole path of what is linked: names are mostly given relative to a directory's descriptor. */
static int is_root(int to_fd, const char *to)
{
	char proc[64], dir[PATH_MAX];
	ssize_t n = 0;

	if (to_fd != AT_FDCWD) {
		snprintf(proc, sizeof(proc), "/proc/self/fd/%d", to_fd);
		n = readlink(proc, dir, sizeof(dir) - 2);
	}
	if (n < 0)
		n = 0;
	dir[n] = '/';
	dir[n + 1] = 0;
	return strstr(dir, "/manifest/") != NULL || strstr(to, "manifest/") != NULL;
}

/* What the gate says now; 0: nothing. */
static int ask(char word[16], int *ret_errno)
{
	const char *path = getenv("BW_GATE");
	FILE *f = path ? fopen(path, "re") : NULL;

	if (!f)
		return 0;
	int n = fscanf(f, "%15s %d", word, ret_errno);

	fclose(f);
	return n > 0;
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	char word[16] = "";
	int number = 0;

	if (!is_root(to_fd, to))
		return real_linkat()(from_fd, from, to_fd, to, flags);
	while (ask(word, &number) && strcmp(word, "hold") == 0)
		usleep(2000);
	if (ask(word, &number) && strcmp(word, "before") == 0) {
		errno = number;
		return -1;
	}
	int result = real_linkat()(from_fd, from, to_fd, to, flags);

	if (result == 0 && ask(word, &number) && strcmp(word, "after") == 0) {
		errno = number;
		return -1;
	}
	return result;
}

typedef ssize_t pwrite_fn(int fd, const void *bytes, size_t len, off_t off);

static pwrite_fn *real_pwrite(void)
{
	pwrite_fn *fn = NULL;
	void *symbol = dlsym(RTLD_NEXT, "pwrite64");

	memcpy(&fn, &symbol, sizeof(fn));
	return fn;
}

static int is_below(int fd, const char *part)
{
	char proc[64], path[PATH_MAX];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(proc, path, sizeof(path) - 1);

	path[n < 0 ? 0 : n] = 0;
	return strstr(path, part) != NULL;
}

/* The new file's descriptor, or -1. */
static int say_held(void)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s.held", getenv("BW_GATE"));
	return open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
}

typedef int close_fn(int fd);

static close_fn *real_close(void)
{
	close_fn *fn = NULL;
	void *symbol = dlsym(RTLD_NEXT, "close");

	memcpy(&fn, &symbol, sizeof(fn));
	return fn;
}

static void hold_drop(int fd)
{
	char word[16] = "";
	int number = 0;

	while (is_below(fd, "/staging/") && ask(word, &number) && strcmp(word, "drop") == 0) {
		int held = say_held();
		if (held >= 0)
			real_close()(held);
		usleep(2000);
	}
}

int close(int fd)
{
	char proc[64], path[16] = "", word[16] = "";
	int number = 0;

	hold_drop(fd);
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	if (readlink(proc, path, sizeof(path) - 1) < 0 || strcmp(path, "/dev/fuse") != 0 || !ask(word, &number) ||
	    strcmp(word, "unmount") != 0)
		return real_close()(fd);
	int other = say_held();

	if (other >= 0) {
		dup2(other, fd);
		real_close()(other);
	}
	while (ask(word, &number))
		usleep(2000);
	return 0;
}

/* With 64 bits for an offset its name is that of the real one. */
ssize_t pwrite(int fd, const void *bytes, size_t len, off_t off)
{
	char word[16] = "";
	int number = 0;

	while (is_below(fd, "/staging/") && ask(word, &number) && strcmp(word, "staging") == 0) {
		int held = say_held();
		if (held >= 0)
			close(held);
		usleep(2000);
	}
	return real_pwrite()(fd, bytes, len, off);
}

static int is_root_object(int fd)
{
	return is_below(fd, "/manifest/") || is_below(fd, "/stream.json");
}

typedef ssize_t pread_fn(int fd, void *to, size_t len, off_t off);

static pread_fn *real_pread(void)
{
	pread_fn *fn = NULL;
	void *symbol = dlsym(RTLD_NEXT, "pread64");

	memcpy(&fn, &symbol, sizeof(fn));
	return fn;
}

/* As pwrite(). */
ssize_t pread(int fd, void *to, size_t len, off_t off)
{
	char word[16] = "";
	int number = 0;

	while (ask(word, &number) && ((strcmp(word, "disk") == 0 && is_below(fd, "/bw1-")) ||
				      (strcmp(word, "data") == 0 && is_below(fd, "/data/")) ||
				      (strcmp(word, "roots") == 0 && is_root_object(fd))))
		usleep(2000);
	return real_pread()(fd, to, len, off);
}

typedef int statvfs_fn(const char *path, struct statvfs *ret);

static statvfs_fn *real_statvfs(void)
{
	statvfs_fn *fn = NULL;
	void *symbol = dlsym(RTLD_NEXT, "statvfs64");

	memcpy(&fn, &symbol, sizeof(fn));
	return fn;
}

/* As pwrite(). */
int statvfs(const char *path, struct statvfs *ret)
{
	char word[16] = "";
	int number = 0;

	while (ask(word, &number) && strcmp(word, "room") == 0)
		usleep(2000);
	return real_statvfs()(path, ret);
}

typedef int umount2_fn(const char *target, int flags);

static umount2_fn *real_umount2(void)
{
	umount2_fn *fn = NULL;
	void *symbol = dlsym(RTLD_NEXT, "umount2");

	memcpy(&fn, &symbol, sizeof(fn));
	return fn;
}

int umount2(const char *target, int flags)
{
	char word[16] = "";
	int number = 0;

	while (ask(word, &number) && strcmp(word, "detach") == 0) {
		int held = say_held();
		if (held >= 0)
			close(held);
		usleep(2000);
	}
	return real_umount2()(target, flags);
}

int link(const char *from, const char *to)
{
	return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}
