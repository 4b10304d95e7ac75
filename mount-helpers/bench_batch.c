/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/bench_batch.h"

#include "mount-helpers/bench_slice.h"
#include "store/base/clock.h"
#include "store/base/parse.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(struct bw_bench_batch *b, int err, const char *what, const char *path)
{
	return bw_crew_fail(b->crew, err, "cannot %s %s: %s", what, path, strerrordesc_np(-err));
}

int bw_bench_batch_init(struct bw_bench_batch *b, struct bw_crew *crew, const struct bw_load *l,
			uint32_t producer)
{
	*b = (struct bw_bench_batch){.crew = crew, .load = l, .producer = producer};
	int n = producer ? snprintf(b->dir, sizeof(b->dir), "%s/produce/%s-%" PRIu32, l->producers, l->name,
				    producer)
			 : snprintf(b->dir, sizeof(b->dir), "%s/produce/%s", l->producers, l->name);

	if (n < 0 || (size_t)n >= sizeof(b->dir) - 64)
		return bw_crew_fail(crew, -ENAMETOOLONG, "the path of the mount is too long");
	b->bytes = malloc(l->plan->size);
	if (!b->bytes)
		return bw_crew_fail(crew, -ENOMEM, "out of memory");
	bw_slice_fill(b->bytes, l->plan->size, l->run ^ (uintptr_t)b->bytes);
	return 0;
}

void bw_bench_batch_done(struct bw_bench_batch *b)
{
	free(b->bytes);
	b->bytes = NULL;
}

static int make(const char *path)
{
	return mkdir(path, 0755) == 0 ? 0 : -errno;
}

int bw_bench_batch_next(struct bw_bench_batch *b, uint64_t *ret)
{
	char path[PATH_MAX], text[32] = "";
	int err = make(b->dir);

	if (err && err != -EEXIST)
		return fail(b, err, "make", b->dir);
	snprintf(path, sizeof(path), "%.*s/next", PATH_MAX - 64, b->dir);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	err = n < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	text[strcspn(text, "\n")] = 0;
	if (!err)
		err = bw_parse_u64(text, UINT64_MAX, ret);
	return err ? fail(b, err, "read", path) : 0;
}

int bw_bench_batch_begin(struct bw_bench_batch *b, uint64_t seq)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%.*s/%" PRIu64, PATH_MAX - 64, b->dir, seq);
	int err = make(path);

	if (!err) {
		snprintf(path + n, sizeof(path) - (size_t)n, "/rank");
		err = make(path);
	}
	return err ? fail(b, err, "make", path) : 0;
}

static int write_all(struct bw_crew *crew, int fd, const uint8_t *bytes, size_t len, size_t at_once)
{
	while (len) {
		if (bw_crew_ends(crew))
			return -ECANCELED;
		ssize_t n = write(fd, bytes, len < at_once ? len : at_once);

		atomic_fetch_add(&crew->calls, 1);
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

int bw_bench_batch_write(struct bw_bench_batch *b, uint64_t seq, uint32_t rank)
{
	const struct bw_bench_plan *p = b->load->plan;
	const struct bw_stamp stamp = {
		.run = b->load->run, .seq = seq, .producer = b->producer, .rank = rank};
	char path[PATH_MAX];

	if (bw_crew_ends(b->crew))
		return -ECANCELED;
	bw_slice_stamp(b->bytes, p->size, &stamp);
	snprintf(path, sizeof(path), "%.*s/%" PRIu64 "/rank/%" PRIu32, PATH_MAX - 64, b->dir, seq, rank);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return fail(b, -errno, "create", path);
	int err = write_all(b->crew, fd, b->bytes, p->size, p->io ? p->io : p->size);

	/* The close of a part of a slice could be the commit of the batch. */
	if (err)
		unlink(path);
	b->close_ns = bw_now();
	if (close(fd) < 0 && !err) {
		err = -errno;
		b->closed_ns = bw_now();
		return fail(b, err, "commit (close of)", path);
	}
	b->closed_ns = bw_now();
	atomic_fetch_add(&b->crew->calls, 1);
	if (err)
		return fail(b, err, "write", path);
	return 0;
}

void bw_bench_batch_drop(struct bw_bench_batch *b, uint64_t seq)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%.*s/%" PRIu64 "/rank", PATH_MAX - 64, b->dir, seq);

	for (uint32_t rank = 0; rank < b->load->plan->ranks; rank++) {
		snprintf(path + n, sizeof(path) - (size_t)n, "/%" PRIu32, rank);
		unlink(path);
		atomic_fetch_add(&b->crew->calls, 1);
	}
	path[n] = 0;
	rmdir(path);
	path[n - (int)strlen("/rank")] = 0;
	rmdir(path);
}

int bw_bench_batch_drain(struct bw_bench_batch *b)
{
	int fd = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = fd < 0 || fsync(fd) < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return err ? fail(b, err, "commit the last batches (fsync) of", b->dir) : 0;
}
