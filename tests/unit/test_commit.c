/* SPDX-License-Identifier: Apache-2.0 */
/* P3, P4: what becomes of a whole batch whose staged bytes the local disk does not give back. */
#include "tests/unit/produce_world.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define STATE "the producer's cursor"

/* The disk that the staged bytes are on: reads of so many bytes fail with that. */
static atomic_size_t bad_len;
static atomic_int bad_errno;	/* 0: nothing is read, as behind the end */
static atomic_uint bad_reads;

ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	static ssize_t (*real)(int, void *, size_t, off_t);

	if (!real)
		real = (ssize_t (*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread64");
	if (!bad_len || len != bad_len)
		return real(fd, buf, len, off);
	bad_reads++;
	errno = bad_errno;
	return errno ? -1 : 0;
}

/* Closing a file that has no name may take seconds: whoever else asks /produce something is answered meanwhile. */
static atomic_bool asks_at_close;
static atomic_uint closed;

int close(int fd)
{
	struct bw_attr attr;
	struct stat st;

	if (asks_at_close && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && !st.st_nlink) {
		cr_assert_eq(bw_produce_getattr(w.p, BW_PRODUCE_INO, &attr), 0);
		closed++;
	}
	return (int)syscall(SYS_close, fd);
}

static void start_on_disk(void)
{
	start();
	w.space.memory_max = 0;
	bad_len = 0;
}

TestSuite(commit, .init = start_on_disk, .fini = end);

/* rank/ of batch 0 of p, which is whole but for the name of its rank 0. */
static uint64_t stage(const char *slice)
{
	uint64_t batch = make_dir(make_dir(BW_PRODUCE_INO, "p", false), "0", false);
	uint64_t ranks = make_dir(batch, "rank", false);
	char name[24];

	write_file(batch, "state", STATE);
	for (unsigned r = 1; r < w.stream.options.ranks; r++) {
		snprintf(name, sizeof(name), "%u", r);
		write_file(ranks, name, slice);
	}
	write_file(ranks, "part", slice);
	return ranks;
}

static int renamed(uint64_t ranks, const char *from, const char *to)
{
	struct asker a;

	bw_produce_rename(w.p, ranks, from, ranks, to, false, &ask(&a, false)->answer);
	bw_latch_wait(&a.answered);
	return a.err;
}

static void expect_committed(uint64_t steps)
{
	struct bw_root *root = bw_head_root(w.head);
	const struct bw_producer_entry *e = bw_root_producer(root, "p");

	cr_assert_eq(root->head, steps);
	cr_assert(e);
	cr_assert_eq(e->next, steps);
	cr_assert_eq(e->has_state, steps > 0);
	if (steps) {
		cr_assert_eq(e->state_len, sizeof(STATE) - 1);
		cr_assert_arr_eq(e->state, STATE, sizeof(STATE) - 1);
	}
	bw_root_unref(root);
}

static void expect_nothing_then_all(const char *slice, size_t len, int err)
{
	uint64_t ranks = stage(slice);

	bad_errno = err;
	bad_len = len;
	cr_assert_eq(renamed(ranks, "part", "0"), -EIO);
	expect_committed(0);
	bad_len = 0;
	cr_assert_eq(renamed(ranks, "0", "part"), 0);
	cr_assert_eq(renamed(ranks, "part", "0"), 0);
	expect_committed(1);
}

Test(commit, P4_a_state_that_cannot_be_read_is_not_committed)
{
	expect_nothing_then_all("x", sizeof(STATE) - 1, EIO);
}

Test(commit, P4_a_state_that_has_lost_its_end_is_not_committed)
{
	expect_nothing_then_all("x", sizeof(STATE) - 1, 0);
}

Test(commit, P3_a_slice_that_cannot_be_read_is_not_committed)
{
	static const char slice[] = "a slice of another length";

	expect_nothing_then_all(slice, sizeof(slice) - 1, EIO);
}

/* What is built of a batch before it is whole begins anew with its first slice when it begins again. */
Test(commit, P3_a_slice_that_cannot_be_read_is_read_ahead_once)
{
	const size_t block = w.stream.block_size;
	uint64_t ranks = make_dir(make_dir(make_dir(BW_PRODUCE_INO, "p", false), "0", false), "rank", false);
	struct bw_stage_handle *h;
	struct bw_attr attr;
	char *bytes = calloc(1, block);

	cr_assert_not_null(bytes);
	bad_errno = EIO;
	bad_len = block;
	cr_assert_eq(bw_produce_create(w.p, ranks, "0", O_WRONLY, getpid(), &attr, &h), 0);
	for (unsigned i = 0; i < 8; i++) {
		cr_assert_eq(bw_produce_write(w.p, h, i * block, bytes, block, getpid()), 0);
		for (unsigned ms = 0; !bad_reads && ms < 5000; ms++)
			bw_sleep(BW_MS);
		bw_sleep(10 * BW_MS);
	}
	cr_assert_eq(bad_reads, 1);
	bad_len = 0;
	bw_produce_release(w.p, h);
	free(bytes);
}

/* P7: what the slices compress to goes to a file as well, and nothing of them goes before it is there. */
Test(commit, P7_a_batch_whose_slices_have_all_the_files_is_compressed)
{
	w.stream.options.compress = BW_COMPRESS_ZSTD;
	w.space.files_max = w.stream.options.ranks + 1;
	uint64_t ranks = stage("x");

	cr_assert_eq(w.space.files, w.space.files_max, "the state is one of them");
	cr_assert_eq(renamed(ranks, "part", "0"), 0);
	expect_committed(1);
	cr_assert_eq(w.space.files, 0);
}

/* P3d: those that nobody has open when it is committed, and one when it is released. */
Test(commit, the_files_of_a_committed_batch_are_closed_beside_all_else)
{
	uint64_t ranks = stage("x");
	struct bw_stage_handle *h;
	struct bw_attr attr;

	cr_assert_eq(bw_produce_lookup(w.p, ranks, "part", &attr), 0);
	cr_assert_eq(bw_produce_open(w.p, attr.ino, O_RDONLY, getpid(), &h), 0);
	unsigned files = w.space.files;

	asks_at_close = true;
	cr_assert_eq(renamed(ranks, "part", "0"), 0);
	expect_committed(1);
	cr_assert_eq(closed, files - 1);
	bw_produce_release(w.p, h);
	cr_assert_eq(closed, files);
	asks_at_close = false;
}

/* Whoever removes, replaces or empties one does not hold up the others either. */
Test(commit, files_that_are_given_up_are_closed_beside_all_else)
{
	uint64_t ranks = stage("x");
	struct bw_stage_handle *h;
	struct bw_attr attr;

	cr_assert_geq(w.stream.options.ranks, 4);
	asks_at_close = true;
	cr_assert_eq(bw_produce_unlink(w.p, ranks, "part"), 0);
	cr_assert_eq(closed, 1);
	cr_assert_eq(renamed(ranks, "1", "2"), 0);
	cr_assert_eq(closed, 2);
	cr_assert_eq(bw_produce_lookup(w.p, ranks, "2", &attr), 0);
	cr_assert_eq(bw_produce_truncate(w.p, attr.ino, NULL, 0), 0);
	cr_assert_eq(closed, 3);
	cr_assert_eq(bw_produce_lookup(w.p, ranks, "3", &attr), 0);
	cr_assert_eq(bw_produce_open(w.p, attr.ino, O_WRONLY | O_TRUNC, getpid(), &h), 0);
	cr_assert_eq(closed, 4);
	cr_assert_eq(w.space.files, w.stream.options.ranks - 3, "the state and the ranks from 4 on");
	cr_assert_eq(bw_produce_write(w.p, h, 0, "y", 1, getpid()), 0);
	bw_produce_release(w.p, h);
	asks_at_close = false;
}

/* Nor does what its slices were compressed to. */
Test(commit, the_compressed_blocks_of_a_committed_batch_go_beside_all_else)
{
	w.stream.options.compress = BW_COMPRESS_ZSTD;
	uint64_t ranks = stage("x");
	unsigned files = w.space.files;

	asks_at_close = true;
	cr_assert_eq(renamed(ranks, "part", "0"), 0);
	expect_committed(1);
	cr_assert_eq(closed, files + 1);
	asks_at_close = false;
}
