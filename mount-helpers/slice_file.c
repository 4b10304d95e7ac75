/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/slice_file.h"

#include "fs/spool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int pread_all(int fd, uint64_t off, uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t n = pread(fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ESTALE;
		buf += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int read_checked(struct bw_slice_file *f, uint64_t off, void *buf, size_t len)
{
	struct stat now;
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	int r = fstat(fd, &now) < 0 ? -errno : 0;

	if (r == 0)
		r = same_file(&now, &f->was) ? pread_all(fd, off, buf, len) : -ESTALE;
	close(fd);
	return r;
}

static int read_slice(struct bw_body *body, uint64_t off, void *buf, size_t len)
{
	struct bw_slice_file *f = (struct bw_slice_file *)body;
	int r = read_checked(f, off, buf, len), none = 0;

	if (r < 0)
		atomic_compare_exchange_strong(&f->err, &none, r);
	else if (f->progress)
		bw_progress_add(f->progress, len);
	return r;
}

int bw_slice_file_init(struct bw_slice_file *f, const char *path, struct bw_progress *progress)
{
	struct stat st;

	if (stat(path, &st) < 0 || access(path, R_OK) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -ESPIPE;
	if (!st.st_size)
		return -ENODATA;
	f->body = (struct bw_body){.size = (uint64_t)st.st_size, .read = read_slice};
	f->path = path;
	f->progress = progress;
	f->was = st;
	atomic_init(&f->err, 0);
	return 0;
}

static int write_sink(struct bw_sink *sink, uint64_t off, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len) {
		ssize_t n = pwrite(((struct bw_file_sink *)sink)->fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int read_sink(struct bw_sink *sink, uint64_t off, void *bytes, size_t len)
{
	return pread_all(((struct bw_file_sink *)sink)->fd, off, bytes, len);
}

const char *bw_file_sink_folder(void)
{
	const char *folder = getenv("TMPDIR");

	return folder && *folder ? folder : "/tmp";
}

int bw_file_sink_init(struct bw_file_sink *s)
{
	s->sink = (struct bw_sink){.write = write_sink, .read = read_sink};
	s->fd = bw_spool_open_file(bw_file_sink_folder());
	return s->fd < 0 ? s->fd : 0;
}

void bw_file_sink_done(struct bw_file_sink *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}
