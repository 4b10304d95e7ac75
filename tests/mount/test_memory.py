# SPDX-License-Identifier: Apache-2.0
# ctest: long 90-s
"""S6: memory is promised."""
import contextlib
import json
import os
import sys
import threading
import time

import bw
import objects

MEMORY = 128 << 20
BESIDE = 64 << 20  # code, threads, tables: what memory= does not count
SLACK = 5 if bw.SANITIZED else 1
MEBIBYTE = 1 << 20


class Memory(bw.TestCase):
    limit = 300

    def setUp(self):
        super().setUp()
        self.s = self.stream(4)
        self.staging = self.folder("staging")
        self.m = self.mount(self.s, f"memory={MEMORY},staging={self.staging}")
        self.peak, self.watching = 0, True
        watcher = threading.Thread(target=self.watch)
        watcher.start()
        self.addCleanup(watcher.join)
        self.addCleanup(setattr, self, "watching", False)

    def watch(self):
        while self.watching:
            if self.m.proc.poll() is None:
                with contextlib.suppress(AttributeError, OSError):  # it has just ended
                    self.peak = max(self.peak, self.m.rss())
            time.sleep(0.02)

    def stays_within(self):
        bound = (MEMORY + BESIDE) * SLACK
        print(f"peak resident size {self.peak >> 20} MiB of {bound >> 20}", file=sys.stderr)
        self.assertLess(self.peak, bound)

    def forget_pages(self):
        """Makes the kernel ask again for what it has read."""
        for step in range(self.m.head()):
            for rank in range(4):
                with open(self.m.step(step, rank), "rb") as f:
                    os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def test_s6_four_readers_and_two_writers(self):
        """S6: 2 GiB streamed by four readers while two writers stage: memory= plus 64 MiB."""
        steps, size, passes = 16, 8 * MEBIBYTE, 4
        block = os.urandom(MEBIBYTE)
        data = [bytes([rank]) + (block * 8)[1:] for rank in range(4)]
        for seq in range(steps):
            self.m.put("first", seq, data)

        def read(rank):
            for _ in range(passes):
                for step in range(steps):
                    with open(self.m.step(step, rank), "rb", buffering=0) as f:
                        got = 0
                        while chunk := f.read(MEBIBYTE):
                            got += len(chunk)
                        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    self.assertEqual(got, size)

        def produce(name):
            for seq in range(6):
                self.m.put(name, seq, data)

        self.join(*[self.spawn(read, r) for r in range(4)],
                  *[self.spawn(produce, f"w{i}") for i in range(2)])
        self.assertGreaterEqual(self.m.metric("useful_bytes_total"), 2 << 30)
        self.assertEqual(self.m.head(), steps + 12)
        self.assertEqual(bw.read(self.m.step(steps + 11, 3), "rb")[:5], data[3][:5])
        self.stays_within()

    def test_s6_a_batch_larger_than_memory(self):
        """S6, P7: what does not fit goes to staging=; the resident size stays."""
        block = os.urandom(MEBIBYTE)
        self.m.begin("p", 0)
        for rank in range(4):
            with open(self.m.slot("p", 0, rank), "wb", buffering=0) as f:
                for _ in range(100):
                    f.write(block)
        self.assertEqual(self.m.head(), 1)
        for rank in range(4):
            with open(self.m.step(0, rank), "rb", buffering=0) as f:
                for _ in range(100):
                    self.assertTrue(f.read(MEBIBYTE) == block)
        bw.wait_until(lambda: self.m.metric("staging_bytes") == 0, what="no staged bytes")
        self.stays_within()

    def test_p7_more_files_than_the_soft_limit_allows(self):
        """P7: each slice that does not fit into memory is a file of its own; what binds is the hard limit."""
        ranks = 128
        soft = ("sh", "-c", 'ulimit -S -n 64; exec "$@"', "sh")
        mount = self.mount(self.stream(ranks), "memory=16M", prefix=soft)
        block = os.urandom(MEBIBYTE // 4)
        mount.begin("p", 0)
        for rank in range(ranks):
            if rank == ranks - 1:
                self.assertGreater(len(os.listdir(f"/proc/{mount.proc.pid}/fd")), 64)
            bw.write(mount.slot("p", 0, rank), block)
        self.assertEqual(mount.head(), 1)

    def test_s6_many_small_steps(self):
        """S6: 3,000 steps read by name do not add up in the daemon; a third of them where each takes requests to a store."""
        steps = 1000 if objects.ON_S3 else 3000
        for seq in range(steps):
            self.m.put("p", seq)
        before = self.peak
        for _ in range(3):
            for step in range(steps):
                bw.read(self.m.step(step, step % 4), "rb")
        self.assertLess(self.peak - before, 32 * MEBIBYTE * SLACK)
        self.stays_within()

    def test_s6_the_limit_is_told(self):
        """S6: memory_limit_bytes and status.json say what was promised."""
        self.assertEqual(self.m.metric("memory_limit_bytes"), MEMORY)


class Texts(bw.TestCase):
    """S6: texts are made when they are opened, and count until they are closed."""

    SHARE = (16 << 20) // 8

    def setUp(self):
        super().setUp()
        self.m = self.mount(self.stream(1), "memory=16M")
        self.open = []
        self.addCleanup(self.close)

    def close(self):
        while self.open:
            os.close(self.open.pop())

    def fill(self, path):
        """Opens it as often as can be, and closes one again; how often that was."""
        bw.wait_until(lambda: bw.error_of(lambda: self.open.append(os.open(path, os.O_RDONLY))), what="an end")
        self.assert_errno("ENOMEM", os.open, path, os.O_RDONLY)
        os.close(self.open.pop())
        return len(self.open)

    def memory(self):
        return json.loads(self.m.status("status.json"))["memory"]

    def test_s6_many_that_are_open(self):
        """What does not fit is ENOMEM; data is read on, and what is closed counts no more."""
        self.m.put("p", 0)
        bw.read(self.m.step(0, 0), "rb")
        path, before = self.m.path("status", "metrics"), self.memory()["used"]
        size = len(bw.read(path))
        for _ in range(3):
            n = self.fill(path)
            self.assertGreater(n, 10)
            self.assertLess(n * size, self.SHARE)
            self.assertEqual(bw.read(self.m.step(0, 0), "rb"), bw.payload("p", 0, 0))
            self.close()
            self.assertEqual(self.memory()["used"], before)

    def test_s6_data_gives_way(self):
        """Beside blocks that hold all of memory= texts have room, and all together what was promised."""
        data = os.urandom(MEBIBYTE) * 4
        for seq in range(8):
            self.m.put("p", seq, [data])
        for seq in range(8):  # in part, so that the blocks stay
            with open(self.m.step(seq, 0), "rb", buffering=0) as f:
                for block in range(4):
                    os.pread(f.fileno(), 4096, block * MEBIBYTE)
        full = self.memory()
        together = len(data) if objects.ON_S3 else MEBIBYTE  # blocks of a get from a bucket go as they came
        self.assertGreater(full["used"], full["limit"] - 2 * MEBIBYTE - together)
        path = self.m.path("status", "metrics")
        texts = self.fill(path) * len(bw.read(path))
        self.assertGreater(texts, MEBIBYTE // 2)
        self.assertLessEqual(self.memory()["used"], full["limit"] - texts)

    def test_s6_one_that_is_larger_than_all_may_be(self):
        """A state above the share can be read, once at a time."""
        state = os.urandom(4 * MEBIBYTE)
        self.m.put("p", 0, state=state)
        path = self.m.path("produce/p/state")
        for _ in range(2):
            with open(path, "rb") as f:
                self.assert_errno("ENOMEM", os.open, path, os.O_RDONLY)
                self.assert_errno("ENOMEM", self.memory)
                self.assertTrue(f.read() == state)
        self.assertGreater(self.memory()["used"], 0)


if __name__ == "__main__":
    bw.main()
