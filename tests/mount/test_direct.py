# SPDX-License-Identifier: Apache-2.0
"""Slices that are read once, in large pieces, bypass the page cache; all others are read through it, and all are right."""
import mmap
import os
import time

import bw
import pages

RANKS = 4  # as many open at once as say that several read
FEW = 8  # slices that are read once before the next are believed to be
STEPS = 8
SIZE = 300 * 1024 + 7
PIECE = 4096


def slice_of(step, rank):
    return bw.payload("p", step, rank, SIZE)


class Direct(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.made = self.stream(RANKS)
        with_producer = self.mount(self.made)
        for step in range(STEPS):
            with_producer.put("p", step, {r: slice_of(step, r) for r in range(RANKS)})
        self.close_mount(with_producer)

    def read_steps(self, mnt, steps, piece=SIZE + 1):
        """All ranks of each, open at once."""
        for step in steps:
            fds = [os.open(mnt.step(step, r), os.O_RDONLY) for r in range(RANKS)]
            for rank, fd in enumerate(fds):
                self.assertEqual(b"".join(iter(lambda fd=fd: os.read(fd, piece), b"")), slice_of(step, rank))
                os.close(fd)

    def kept(self, mnt, step, rank):
        """How many pages of a slice the kernel has; asks as somebody who opens it again."""
        fd = os.open(mnt.step(step, rank), os.O_RDONLY)
        try:
            return pages.resident(fd, SIZE)
        finally:
            os.close(fd)

    def opened(self, mnt, how):
        return mnt.metric("slices_opened_total", how=how)

    def test_v4_slices_read_once_are_not_kept(self):
        """V4: a job of several readers, from its third step on."""
        mnt = self.mount(self.made, "ro,prefetch=0")
        self.read_steps(mnt, range(4))
        self.assertEqual(mnt.metric("slices_opened_total", how="page_cache"), FEW)
        self.assertEqual(self.opened(mnt, "direct"), 4 * RANKS - FEW)
        self.assertEqual(self.kept(mnt, 3, 0), 0)
        self.assertEqual(self.kept(mnt, 1, 0), pages.of(SIZE))

    def test_v4_who_opens_again_finds_the_page_cache(self):
        """V4: two processes that read the same slices are seen at once, and so is the next epoch."""
        mnt = self.mount(self.made, "ro,prefetch=0")
        self.read_steps(mnt, range(4))
        for again in range(2):
            fd = os.open(mnt.step(3, 0), os.O_RDONLY)
            self.assertEqual(pages.resident(fd, SIZE), pages.of(SIZE) * again)
            self.assertEqual(os.read(fd, SIZE + 1), slice_of(3, 0))
            os.close(fd)
        self.read_steps(mnt, range(4, 6))
        self.assertEqual(self.kept(mnt, 5, 3), pages.of(SIZE), "the row begins anew")

    def test_v4_small_reads_go_through_the_page_cache(self):
        """V4: a reader in small pieces has one slice read so, not more."""
        mnt = self.mount(self.made, "ro,prefetch=0")
        self.read_steps(mnt, range(2))
        self.read_steps(mnt, range(2, 6), piece=PIECE)
        self.assertLessEqual(self.opened(mnt, "direct"), RANKS)
        self.assertGreater(self.opened(mnt, "direct"), 0)

    def test_v4_direct_files_are_right_however_they_are_read(self):
        """V4: mapped, shared and private, in part, in pieces, by sendfile, and by several at once."""
        mnt = self.mount(self.made, "ro,direct_io=yes,prefetch=0")
        whole = slice_of(0, 0)
        fd, other = (os.open(mnt.step(0, 0), os.O_RDONLY) for _ in range(2))
        for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
            with mmap.mmap(fd, SIZE, flags, mmap.PROT_READ) as at:
                self.assertEqual(at[:], whole)
                self.assertEqual(os.pread(other, SIZE, 0), whole, "read while it is mapped")
        self.assertEqual(os.pread(fd, 100000, 12345), whole[12345:112345])
        self.assertEqual(os.pread(fd, 100, SIZE), b"")
        self.assertEqual(b"".join(iter(lambda: os.read(fd, PIECE), b"")), whole)
        copy = os.open(self.root + "/copy", os.O_RDWR | os.O_CREAT)
        at = 0
        while n := os.sendfile(copy, fd, at, SIZE):
            at += n
        self.assertEqual(os.pread(copy, SIZE + 1, 0), whole)
        for each in (copy, fd, other):
            os.close(each)

    def test_v4_the_newest_step_of_a_stream_that_rests_is_kept(self):
        """V4: as the others are; one that has just been committed is perhaps waited for."""
        mnt = self.mount(self.made, "ro,prefetch=0")
        for step in range(STEPS):
            for rank in range(RANKS):
                self.assertEqual(bw.read(mnt.step(step, rank), "rb"), slice_of(step, rank))
        self.assertEqual(self.opened(mnt, "direct"), 0)
        with_producer = self.mount(self.made)
        with_producer.put("p", STEPS, {r: slice_of(STEPS, r) for r in range(RANKS)})
        self.assertEqual(bw.read(mnt.step(STEPS, 0), "rb"), slice_of(STEPS, 0))
        self.assertEqual(self.opened(mnt, "direct"), 1)

    def test_v4_never_when_told_so(self):
        """V4: direct_io=no."""
        mnt = self.mount(self.made, "ro,direct_io=no,prefetch=0")
        self.read_steps(mnt, range(STEPS))
        self.assertEqual(self.opened(mnt, "direct"), 0)
        self.assertEqual(self.kept(mnt, STEPS - 1, 0), pages.of(SIZE))

    def test_v4_large_slices_of_who_computes_are_not_handed_over(self):
        """V4: what will be read directly takes no pages before it is opened, once that is known; small slices do (test_handed)."""
        size, steps = (2 << 20) + 1, FEW + 12
        known = FEW + 3  # those handed over before that were open by then
        made = self.stream(1)
        with_producer = self.mount(made)
        for step in range(steps):
            with_producer.put("p", step, [bw.payload("p", step, 0, size)])
        self.close_mount(with_producer)
        mnt = self.mount(made, "ro")
        for step in range(steps):
            self.assertEqual(bw.read(mnt.step(step, 0), "rb"), bw.payload("p", step, 0, size))
            if step == known:
                ahead = self.opened(mnt, "ahead")
            time.sleep(0.05)  # the loop's own work
        self.assertEqual(self.opened(mnt, "ahead"), ahead)
        self.assertGreater(self.opened(mnt, "direct"), 0)

    def test_v4_p2_shared_mappings_decide(self):
        """V4, P2: the kernel knows one rule for all files of a mount: where files are staged, shared mappings must be refused past the
        page cache, so slices, which can be mapped, are read through it, unless somebody does without."""
        for options, direct in (("prefetch=0", False), ("prefetch=0,direct_io=yes", True)):
            mnt = self.mount(self.made, options)
            self.read_steps(mnt, range(4))
            self.assertEqual(self.opened(mnt, "direct"), 4 * RANKS * direct)
            fd = os.open(mnt.step(3, 0), os.O_RDONLY)
            if direct:
                self.assert_errno("ENODEV", mmap.mmap, fd, SIZE, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
            with mmap.mmap(fd, SIZE, mmap.MAP_PRIVATE if direct else mmap.MAP_SHARED, mmap.PROT_READ) as at:
                self.assertEqual(at[:], slice_of(3, 0))
            os.close(fd)
            mnt.begin("q", 0)
            fd = os.open(mnt.slot("q", 0, 0), os.O_RDWR | os.O_CREAT)
            os.write(fd, b"a" * 5000)
            self.assert_errno("ENODEV", mmap.mmap, fd, 5000, flags=mmap.MAP_SHARED)
            os.close(fd)
            self.close_mount(mnt)


if __name__ == "__main__":
    bw.main()
