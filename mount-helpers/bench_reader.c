/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/bench_reader.h"

#include "mount-helpers/bench_slice.h"
#include "store/base/clock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define AGAIN_NS BW_MS /* between look-ups of a step, on a mount without wait= */

static int grow(struct bw_bench_reader *r, size_t len)
{
	if (len <= r->room)
		return 0;
	uint8_t *bytes = malloc(len);

	if (!bytes)
		return -ENOMEM;
	free(r->bytes);
	/* Every page is there before the clock runs. */
	memset(bytes, 0x5a, len);
	r->bytes = bytes;
	r->room = len;
	return 0;
}

int bw_bench_reader_init(struct bw_bench_reader *r, struct bw_hand *h, const struct bw_load *l)
{
	*r = (struct bw_bench_reader){.crew = h->crew, .load = l, .hand = h};
	/* Slices of somebody's stream may have any size: then it grows with the first. */
	int err = l->plan->scratch ? grow(r, l->plan->size) : 0;

	return err ? bw_crew_fail(r->crew, err, "out of memory") : 0;
}

void bw_bench_reader_done(struct bw_bench_reader *r)
{
	free(r->bytes);
	r->bytes = NULL;
}

static int read_all(struct bw_bench_reader *r, int fd, size_t len)
{
	size_t at_once = r->load->plan->io ? r->load->plan->io : len, got = 0;

	while (got < len) {
		ssize_t n = read(fd, r->bytes + got, len - got < at_once ? len - got : at_once);

		atomic_fetch_add(&r->crew->calls, 1);
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		got += (size_t)n;
	}
	r->len = len;
	return 0;
}

static int read_once(struct bw_bench_reader *r, const char *path)
{
	struct stat st;

	r->begin_ns = bw_now();
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;

	if (!err)
		err = grow(r, (size_t)st.st_size);
	if (!err)
		err = read_all(r, fd, (size_t)st.st_size);
	r->last_ns = bw_now();
	if (fd >= 0)
		close(fd);
	r->end_ns = bw_now();
	return err;
}

static int verify(struct bw_bench_reader *r, const char *path, uint32_t rank)
{
	struct bw_stamp is;
	int err = bw_slice_check(r->bytes, r->len, &is);

	if (err == -ENOENT && !r->load->plan->scratch)
		return 0; /* somebody else wrote it */
	if (err)
		return bw_crew_fail(r->crew, -EILSEQ, "%s holds other bytes than were written there", path);
	if (is.rank != rank || (r->load->plan->scratch && is.run != r->load->run))
		return bw_crew_fail(r->crew, -EILSEQ,
				    "%s holds the slice of rank %" PRIu32 " of batch %" PRIu64, path, is.rank,
				    is.seq);
	r->hand->verified++;
	return 0;
}

/* Not committed, as a mount with wait= says it and as one without. */
static bool is_late(int err)
{
	return err == -ENOENT || err == -ETIMEDOUT;
}

int bw_bench_reader_read(struct bw_bench_reader *r, uint64_t step, uint32_t rank, bool waits)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/step/%" PRIu64 "/rank/%" PRIu32, r->load->readers, step, rank);
	int err = read_once(r, path);

	while (waits && is_late(err) && !bw_crew_ends(r->crew)) {
		bw_sleep(AGAIN_NS);
		err = read_once(r, path);
	}
	if (waits && (is_late(err) || err == -EINTR) && bw_crew_ends(r->crew))
		return -ECANCELED;
	if (err)
		return bw_crew_fail(r->crew, err, "cannot read %s: %s", path, strerrordesc_np(-err));
	r->hand->slices++;
	r->hand->bytes += r->len;
	bw_progress_add(&r->crew->progress, r->len);
	return verify(r, path, rank);
}
