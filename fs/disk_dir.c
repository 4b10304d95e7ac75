/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/disk_dir.h"

#include "store/base/fd.h"
#include "store/base/limits.h"
#include "store/base/rand.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- Names ------------------------------------------------------------------------------------ */

static const char prefix[] = "bw1-";

#define STREAM_AT 4u
#define STEP_AT (STREAM_AT + 32 + 1)
#define NUMBER_AT (STEP_AT + 12 + 1)
#define LEN_AT (NUMBER_AT + 8 + 1)
_Static_assert(LEN_AT + 8 == BW_DISK_NAME_LEN, "the name is as long as its parts");
_Static_assert(BW_STEPS_MAX <= UINT64_C(1) << 48, "a step has twelve digits");

void bw_disk_name_print(const struct bw_disk_name *n, char text[BW_DISK_NAME_LEN + 1])
{
	char stream[33];

	bw_hex(n->stream, sizeof(n->stream), stream);
	snprintf(text, BW_DISK_NAME_LEN + 1, "%s%s-%012" PRIx64 "-%08" PRIx32 "-%08" PRIx32, prefix, stream,
		 n->step & ((UINT64_C(1) << 48) - 1), n->number, n->len);
}

/* digits hex digits, whole bytes, most significant first. */
static bool number_at(const char *text, unsigned digits, uint64_t *ret)
{
	uint8_t bytes[8];

	if (bw_unhex(text, digits, bytes, digits / 2))
		return false;
	*ret = 0;
	for (unsigned i = 0; i < digits / 2; i++)
		*ret = *ret << 8 | bytes[i];
	return true;
}

bool bw_disk_name_parse(const char *text, size_t len, struct bw_disk_name *ret)
{
	struct bw_disk_name n;
	uint64_t number, bytes;

	if (len != BW_DISK_NAME_LEN || memcmp(text, prefix, STREAM_AT) != 0 || text[STEP_AT - 1] != '-' ||
	    text[NUMBER_AT - 1] != '-' || text[LEN_AT - 1] != '-')
		return false;
	if (bw_unhex(text + STREAM_AT, 32, n.stream, sizeof(n.stream)) ||
	    !number_at(text + STEP_AT, 12, &n.step) || !number_at(text + NUMBER_AT, 8, &number) ||
	    !number_at(text + LEN_AT, 8, &bytes))
		return false;
	if (n.step >= BW_STEPS_MAX || !bytes || bytes > BW_FOOTER_MAX)
		return false;
	n.number = (uint32_t)number;
	n.len = (uint32_t)bytes;
	*ret = n;
	return true;
}

/* ---- The directory ---------------------------------------------------------------------------- */

static int refuse(char *why, size_t why_len, const char *path, int err, const char *what)
{
	char text[128];

	if (what)
		snprintf(why, why_len, "cache=%s: %s", path, what);
	else
		snprintf(why, why_len, "cache=%s: %s", path, bw_err_text(err, text, sizeof(text)));
	return err;
}

static int check_private(int fd, const char **ret_what)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	*ret_what = "the directory belongs to another user";
	if (st.st_uid != geteuid())
		return -EPERM;
	*ret_what = "others may use the directory: chmod 700 it";
	if (st.st_mode & 077)
		return -EPERM;
	*ret_what = "its owner may not use the directory: chmod 700 it";
	if ((st.st_mode & 0700) != 0700)
		return -EPERM;
	*ret_what = NULL;
	return 0;
}

int bw_disk_dir_open(const char *path, int *ret, char *why, size_t why_len)
{
	const char *what = NULL;

	if (path[0] != '/')
		return refuse(why, why_len, path, -EINVAL, "give an absolute path");
	if (mkdir(path, 0700) && errno != EEXIST)
		return refuse(why, why_len, path, -errno, NULL);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0) {
		int err = -errno;
		if (err == -ENOTDIR || err == -ELOOP)
			what = "not a directory, or a symbolic link to one";
		return refuse(why, why_len, path, err, what);
	}
	int err = check_private(fd, &what);

	if (!err && flock(fd, LOCK_EX | LOCK_NB)) {
		err = errno == EWOULDBLOCK ? -EBUSY : -errno;
		what = err == -EBUSY ? "another mount uses this directory: each needs its own" : NULL;
	}
	if (err) {
		close(fd);
		return refuse(why, why_len, path, err, what);
	}
	*ret = fd;
	return 0;
}

int bw_disk_free_bytes(int dir, uint64_t *ret)
{
	struct statvfs st;

	if (fstatvfs(dir, &st))
		return -errno;
	*ret = (uint64_t)st.f_bavail * st.f_frsize;
	return 0;
}

/* ---- Files ------------------------------------------------------------------------------------ */

static bool is_fit(const struct stat *st, const struct bw_disk_name *n)
{
	return S_ISREG(st->st_mode) && st->st_uid == geteuid() && st->st_size == (off_t)n->len;
}

/* What goes past the page cache does so in whole pages, from and to whole pages. */
#define DIRECT_PAGE 4096u
#define DIRECT_LEAST (64u << 10)

static size_t in_pages(size_t len)
{
	return (len + DIRECT_PAGE - 1) / DIRECT_PAGE * DIRECT_PAGE;
}

static bool has_room(struct bw_disk_room *room, size_t size)
{
	void *pages = NULL;

	if (room->size >= size)
		return true;
	free(room->bytes);
	if (posix_memalign(&pages, DIRECT_PAGE, size))
		pages = NULL;
	room->bytes = pages;
	room->size = pages ? size : 0;
	return pages;
}

/* O_DIRECT where it is worth it and the file system has it. */
static int open_file(int dir, const char *name, int flags, size_t len)
{
	bool direct = len >= DIRECT_LEAST && len <= BW_DISK_ROOM_MAX;
	int fd = openat(dir, name, flags | (direct ? O_DIRECT : 0), 0600);

	return fd < 0 && errno == EINVAL ? openat(dir, name, flags, 0600) : fd;
}

static bool is_direct(int fd)
{
	return fcntl(fd, F_GETFL) & O_DIRECT;
}

static int not_direct(int fd)
{
	return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_DIRECT) ? -errno : 0;
}

static int read_all(int fd, uint8_t *to, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = pread(fd, to + at, len - at, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -BW_E_CORRUPT;	/* it was longer a moment ago */
		at += (size_t)n;
	}
	return 0;
}

/* False: it has to be done the ordinary way, which tells why. */
static bool read_direct(int fd, uint8_t *to, size_t len, struct bw_disk_room *room)
{
	size_t size = in_pages(len);

	if (!is_direct(fd) || !has_room(room, size) || pread(fd, room->bytes, size, 0) != (ssize_t)len)
		return false;
	memcpy(to, room->bytes, len);
	return true;
}

static int read_file(int fd, const struct bw_disk_name *n, struct bw_disk_room *room, struct bw_blob **ret)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!is_fit(&st, n))
		return -BW_E_CORRUPT;
	struct bw_blob *b = bw_blob_new(n->len);

	if (!b)
		return -ENOMEM;
	int err = 0;

	if (!read_direct(fd, b->bytes, n->len, room)) {
		err = not_direct(fd);
		if (!err)
			err = read_all(fd, b->bytes, n->len);
	}
	if (err)
		bw_blob_unref(b);
	else
		*ret = b;
	return err;
}

int bw_disk_read(int dir, const struct bw_disk_name *n, struct bw_disk_room *room, struct bw_blob **ret)
{
	char name[BW_DISK_NAME_LEN + 1];

	bw_disk_name_print(n, name);
	/* A fifo must not hold us up. */
	int fd = open_file(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, n->len);

	if (fd < 0)
		return errno == ELOOP || errno == ENXIO ? -BW_E_CORRUPT : -errno;
	int err = read_file(fd, n, room, ret);

	close(fd);
	return err;
}

void bw_disk_touch(int dir, const struct bw_disk_name *n)
{
	char name[BW_DISK_NAME_LEN + 1];

	bw_disk_name_print(n, name);
	(void)utimensat(dir, name, NULL, AT_SYMLINK_NOFOLLOW);	/* its age is a hint */
}

/* Whole pages, then cut.  1: it has to be done the ordinary way. */
static int write_direct(int fd, const void *bytes, size_t len, struct bw_disk_room *room)
{
	size_t size = in_pages(len);

	if (!has_room(room, size))
		return 1;
	memcpy(room->bytes, bytes, len);
	memset(room->bytes + len, 0, size - len);
	ssize_t n = pwrite(fd, room->bytes, size, 0);

	if (n < 0 && errno != EINVAL && errno != EINTR)
		return -errno;
	if (n != (ssize_t)size)
		return 1;
	return size != len && ftruncate(fd, (off_t)len) ? -errno : 0;
}

static int write_file(int fd, const void *bytes, size_t len, struct bw_disk_room *room)
{
	int err = is_direct(fd) ? write_direct(fd, bytes, len, room) : 1;

	if (err <= 0)
		return err;
	err = not_direct(fd);
	return err ? err : bw_write_at(fd, bytes, len, 0);
}

static int create(int dir, const char *name, size_t len)
{
	int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd = open_file(dir, name, flags, len);

	if (fd < 0 && errno == EEXIST && !unlinkat(dir, name, 0))
		fd = open_file(dir, name, flags, len);
	return fd < 0 ? -errno : fd;
}

int bw_disk_write(int dir, const struct bw_disk_name *n, const void *bytes, struct bw_disk_room *room)
{
	char name[BW_DISK_NAME_LEN + 1];

	bw_disk_name_print(n, name);
	int fd = create(dir, name, n->len);

	if (fd < 0)
		return fd;
	int err = write_file(fd, bytes, n->len, room);

	if (close(fd) && !err)
		err = -errno;
	if (err)
		(void)unlinkat(dir, name, 0);
	return err;
}

int bw_disk_remove(int dir, const struct bw_disk_name *n)
{
	char name[BW_DISK_NAME_LEN + 1];

	bw_disk_name_print(n, name);
	return unlinkat(dir, name, 0) && errno != ENOENT ? -errno : 0;
}

/* ---- What is there ---------------------------------------------------------------------------- */

static DIR *open_again(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

static uint32_t seconds(const struct stat *st)
{
	return st->st_mtime < 0 ? 0 : st->st_mtime > UINT32_MAX ? UINT32_MAX : (uint32_t)st->st_mtime;
}

int bw_disk_scan(int dir, const atomic_bool *stop,
		 bool (*each)(void *ctx, const struct bw_disk_name *n, uint32_t used_s), void *ctx)
{
	DIR *d = open_again(dir);
	struct dirent *e;

	if (!d)
		return -errno;
	while (!atomic_load(stop) && (errno = 0, e = readdir(d))) {
		struct bw_disk_name n;
		struct stat st;
		if (!bw_disk_name_parse(e->d_name, strlen(e->d_name), &n))
			continue;
		if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		if (!is_fit(&st, &n) || !each(ctx, &n, seconds(&st)))
			(void)unlinkat(dir, e->d_name, 0);
	}
	int err = -errno;

	closedir(d);
	return atomic_load(stop) ? 0 : err;
}
