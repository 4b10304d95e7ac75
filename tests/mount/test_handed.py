# SPDX-License-Identifier: Apache-2.0
"""Slices that are read ahead are in the kernel's page cache, and right, before their reader opens them."""
import contextlib
import os
import time

import bw
import pages

STEPS = 60
SIZE = 300 * 1024 + 7
PAGES = pages.of(SIZE)


class Handed(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.needs_root()
        self.made = self.stream(1)
        with_producer = self.mount(self.made)
        for step in range(STEPS):
            with_producer.put("p", step, {0: bw.payload("p", step, 0, SIZE)})
        self.close_mount(with_producer)
        self.mnt = self.mount(self.made)

    def read_until_handed(self, then):
        """Reads step after step; then(fd, step) of the first one that was there when it was opened."""
        for step in range(STEPS):
            fd = os.open(self.mnt.step(step, 0), os.O_RDONLY)
            try:
                if pages.resident(fd, SIZE) == PAGES:
                    then(fd, step)
                    return step
                self.assertEqual(os.read(fd, SIZE + 1), bw.payload("p", step, 0, SIZE))
            finally:
                os.close(fd)
            time.sleep(0.1)  # the loop's own work
        return self.fail("no slice was in memory before it was opened")

    def bytes_read(self):
        return sum(self.mnt.metric("read_bytes_total", source=s) for s in ("cache", "store"))

    def test_v5_what_was_handed_over_is_right(self):
        """V5: and it counts as read."""
        at = self.read_until_handed(lambda fd, step: self.assertEqual(
            os.read(fd, SIZE + 1), bw.payload("p", step, 0, SIZE)))
        self.assertGreaterEqual(self.bytes_read(), (at + 1) * SIZE)

    def test_the_second_slice_of_a_fresh_mount(self):
        """The first pause is taken for one while it lasts."""
        self.assertEqual(bw.read(self.mnt.step(0, 0), "rb"), bw.payload("p", 0, 0, SIZE))
        # Somebody else looks: whoever asks for something does not pause.
        self.join(self.spawn(bw.wait_until, lambda: self.bytes_read() >= 3 * SIZE, None, "the two slices behind it"))
        with open(self.mnt.step(1, 0), "rb") as f:
            bw.wait_until(lambda: pages.resident(f.fileno(), SIZE) == PAGES, what="all of the second slice")

    def test_readers_of_another_pid_namespace(self):
        """They have no number here, and are not taken for the thread that hands over: what they read next is read ahead."""
        self.close_mount(self.mnt)
        self.mnt = self.mount(self.made, prefix=["unshare", "-p", "-f"])
        self.read_until_handed(lambda fd, step: self.assertEqual(
            os.read(fd, SIZE + 1), bw.payload("p", step, 0, SIZE)))

    def test_what_the_kernel_gave_up_it_asks_for(self):
        def dropped(fd, step):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            self.assertEqual(pages.resident(fd, SIZE), 0)
            self.assertEqual(os.read(fd, SIZE + 1), bw.payload("p", step, 0, SIZE))
        self.read_until_handed(dropped)

    def test_the_mount_ends_as_ever(self):
        """What looks into the mount does not keep it: unmounted, the daemon ends."""
        self.read_until_handed(lambda fd, step: None)
        self.close_mount(self.mnt)

    def test_the_thread_that_looks_into_the_mount_does_not_hold_it(self):
        """Else it would wait for answers that only the last close of /dev/fuse ends, and be the one that holds it."""
        self.read_until_handed(lambda fd, step: None)
        tasks = f"/proc/{self.mnt.proc.pid}/task"
        holds = {}
        for task in os.listdir(tasks):
            files = []
            for fd in os.listdir(f"{tasks}/{task}/fd"):
                with contextlib.suppress(FileNotFoundError):
                    files.append(os.readlink(f"{tasks}/{task}/fd/{fd}"))
            holds[bw.read(f"{tasks}/{task}/comm").strip()] = "/dev/fuse" in files
        self.assertTrue(holds["bw-fuse"])
        self.assertFalse(holds["bw-hand"])

    def test_killed_while_it_looks_into_the_mount(self):
        """It waits for answers of threads that die with it, and dies too."""
        def read_all(mount):
            with contextlib.suppress(OSError):
                for step in range(STEPS):
                    bw.read(mount.step(step, 0), "rb")
        for round_ in range(8):
            reader = self.spawn(read_all, self.mnt)
            time.sleep(0.02 * round_)
            self.mnt.kill()
            self.join(reader)
            self.mnt.restart()

    def test_the_kernel_reads_ahead_by_a_mebibyte(self):
        """On every mount: what the mount says must come after what the kernel sets by itself."""
        for _ in range(12):
            at = os.stat(self.mnt.path()).st_dev
            says = f"/sys/class/bdi/{os.major(at)}:{os.minor(at)}/read_ahead_kb"
            bw.wait_until(lambda says=says: bw.read(says) == "1024\n", what="the mount's word")
            self.assertEqual(self.mnt.umount(), 0)
            self.mnt.restart()

    def test_the_kernel_reads_ahead_whatever_the_path_is(self):
        """The list of mounts writes blanks of a path as \\040."""
        self.assertEqual(self.mnt.umount(), 0)
        self.mnt.there = self.mnt.dir = self.folder("a b\\c")
        self.mnt.restart()
        at = os.stat(self.mnt.path()).st_dev
        bw.wait_until(lambda: bw.read(f"/sys/class/bdi/{os.major(at)}:{os.minor(at)}/read_ahead_kb") == "1024\n", what="the mount's word")

    def test_hidden_below_another_file_system(self):
        """Paths that are somebody else's: nothing is handed over, and all of it is read."""
        held = os.open(self.mnt.path("step"), os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.shell("mount -t tmpfs tmpfs \"$dir\"", dir=self.mnt.path())
            try:
                for step in range(12):
                    fd = os.open(f"{step}/rank/0", os.O_RDONLY, dir_fd=held)
                    self.assertEqual(os.read(fd, SIZE + 1), bw.payload("p", step, 0, SIZE))
                    os.close(fd)
                    time.sleep(0.02)
            finally:
                self.shell("umount \"$dir\"", dir=self.mnt.path())
        finally:
            os.close(held)


class Looks(bw.TestCase):
    def test_who_looks_for_pauses_can_wake_who_sends(self):
        """What is missing at a first pause is asked of the store, by a thread with the files that this takes."""
        self.needs_root()
        large = 3 * 1024 * 1024 + 1
        made = self.stream(2)
        with_producer = self.mount(made)
        for step in range(12):
            with_producer.put("p", step, {r: bw.payload("p", step, r, large if r else SIZE) for r in (0, 1)})
        self.close_mount(with_producer)
        mnt = self.mount(made)
        for step in range(6):
            bw.read(mnt.step(step, 0), "rb")
            time.sleep(0.1)
        with open(mnt.step(0, 1), "rb", buffering=0) as f:
            f.read(64 * 1024)  # its other blocks, and the next steps, are nobody's yet
        time.sleep(1)
        self.shell("timeout 20 cat \"$path\" > /dev/null", path=mnt.step(7, 1))


if __name__ == "__main__":
    bw.main()
