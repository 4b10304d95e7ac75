# SPDX-License-Identifier: Apache-2.0
# ctest: long 45-s
"""S6: a daemon in a control group of 256 MiB through which much more is streamed than it may hold.

BW_LONG=1 streams 10 GiB; else 1 GiB is enough to show that nothing adds up.  The slices are read again and again,
each time cold: the kernel is made to forget its pages, and neither the daemon's memory= nor what the group leaves for pages
of the store's files holds them.
"""
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import bw
import objects

MIB = 1 << 20
LIMIT = (1024 if bw.SANITIZED else 256) * MIB
LONG = bool(os.environ.get("BW_LONG"))
TOTAL = (10 << 30) if LONG else (512 if bw.SANITIZED else 1024) * MIB
RANKS, SIZE = 4, 8 * MIB
if LONG:
    bw.PATIENCE = 2500


class Group:
    """A memory control group below ours (or, where those may not have children with processes beside them, below the next
    one above that may), of either version."""

    def __init__(self, limit):
        self.v2, parent = self.find()
        self.dir = os.path.join(parent, f"batchweave-test-{os.getpid()}")
        os.mkdir(self.dir)
        try:
            bw.write(self.dir + ("/memory.max" if self.v2 else "/memory.limit_in_bytes"), str(limit))
            with contextlib.suppress(OSError):  # no swap, or none that is accounted for
                bw.write(self.dir + ("/memory.swap.max" if self.v2 else "/memory.swappiness"), "0")
        except OSError:
            os.rmdir(self.dir)
            raise

    @staticmethod
    def find():
        where = dict((line.split(":", 2)[1], line.strip().split(":", 2)[2]) for line in bw.read("/proc/self/cgroup").split("\n")
                     if line)
        for names, path in where.items():
            if "memory" in names.split(","):
                return False, "/sys/fs/cgroup/memory" + path
        path = "/sys/fs/cgroup" + where.get("", "/")
        while "memory" not in bw.read(path + "/cgroup.subtree_control").split():
            if path.rstrip("/") == "/sys/fs/cgroup":
                raise OSError("no control group here hands on its memory")
            path = os.path.dirname(path)
        return True, path

    def prefix(self):
        """Begins its life in the group, so that all of it is counted."""
        return ["sh", "-c", f'echo $$ >{self.dir}/cgroup.procs && exec "$0" "$@"']

    def anon(self):
        """Bytes that are nobody's file, shared memory with them."""
        stat = dict(line.split() for line in bw.read(self.dir + "/memory.stat").split("\n") if line)
        return sum(int(stat.get(k, 0)) for k in (("anon", "shmem") if self.v2 else ("total_rss", "total_shmem")))

    def killed(self):
        text = bw.read(self.dir + ("/memory.events" if self.v2 else "/memory.oom_control"))
        return int(re.search(r"^oom_kill (\d+)", text, re.M).group(1))

    def peak(self):
        for name in ("memory.peak", "memory.max_usage_in_bytes"):
            with contextlib.suppress(OSError):
                return int(bw.read(f"{self.dir}/{name}"))
        return 0

    def remove(self):
        for _ in range(500):  # who was in it may still be going
            with contextlib.suppress(OSError):
                os.rmdir(self.dir)
            if not os.path.exists(self.dir):
                return
            time.sleep(0.01)
        raise AssertionError(f"{self.dir} cannot be removed")


class InAGroup(bw.TestCase):
    limit = 3000 if LONG else 300

    def setUp(self):
        super().setUp()
        self.needs_root()
        # On a disk: what is in a tmpfs counts as memory of whoever wrote it.
        self.disk = tempfile.mkdtemp(prefix="batchweave-cgroup-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.disk)
        self.peak, self.watching = 0, True

    def group(self, limit=LIMIT):
        try:
            group = Group(limit)
        except OSError as e:
            if os.environ.get("BW_NO_CGROUP"):
                self.skipTest("BW_NO_CGROUP")
            self.fail(f"no memory control group can be made, BW_NO_CGROUP=1 leaves this out: {e}")
        self.addCleanup(group.remove)
        return group

    def mount_in(self, group, stream, options=""):
        staging = os.path.join(self.disk, "staging")
        os.makedirs(staging, exist_ok=True)
        env = {}
        if bw.SANITIZED:  # what is freed is kept for a while, 256 MiB of it
            env["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=16"
        return self.mount(stream, ",".join(filter(None, [f"staging={staging}", options])), env=env, prefix=group.prefix())

    def watch(self, group):
        def look():
            while self.watching:
                self.peak = max(self.peak, group.anon())
                time.sleep(0.02)
        watcher = threading.Thread(target=look)
        watcher.start()
        self.addCleanup(watcher.join)
        self.addCleanup(setattr, self, "watching", False)

    def read_all(self, mount, rank, steps, passes):
        for _ in range(passes):
            for step in range(steps):
                with open(mount.step(step, rank), "rb", buffering=0) as f:
                    first, got = f.read(16), 16
                    while chunk := f.read(MIB):
                        got += len(chunk)
                    os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                self.assertEqual((first, got), (b"%d/%d" % (step, rank) + first[len(b"%d/%d" % (step, rank)):], SIZE))

    def test_s6_streams_in_256_mib(self):
        """S6: four readers and a producer whose batches are larger than what staging may hold in memory."""
        group = self.group()
        store = os.path.join(self.disk, "store")
        os.mkdir(store)
        stream = self.stream(RANKS, folder=None if objects.ON_S3 else store)
        if bw.SANITIZED:
            mount = self.mount_in(group, stream, "memory=64M")
        else:
            mount = self.mount_in(group, stream)
            self.assertEqual(mount.metric("memory_limit_bytes"), LIMIT // 4)
        self.watch(group)
        block = os.urandom(SIZE)
        steps = 4 if bw.SANITIZED else 8
        for step in range(steps):
            mount.put("p", step, [b"%d/%d" % (step, r) + block[len(b"%d/%d" % (step, r)):] for r in range(RANKS)])

        def write():
            for seq in range(steps * (8 if LONG else 1)):
                mount.put("q", seq, [block] * RANKS)

        passes = max(1, TOTAL // (steps * RANKS * SIZE))
        self.join(*[self.spawn(self.read_all, mount, r, steps, passes) for r in range(RANKS)], self.spawn(write))
        read = mount.metric("useful_bytes_total")
        print(f"read {read / 2**30:.2f} GiB, wrote {mount.head() * RANKS * SIZE / 2**30:.2f} GiB in a group of "
              f"{LIMIT >> 20} MiB: anonymous memory at most {self.peak >> 20} MiB, all of it {group.peak() >> 20} MiB",
              file=sys.stderr)
        self.assertGreaterEqual(read, TOTAL)
        self.assertEqual(group.killed(), 0)
        self.assertGreater(self.peak, 16 * MIB, "nobody was in the group: the test proved nothing")
        # memory= and the 64 MiB beside it; under a sanitizer whatever the group lets live.
        self.assertLess(self.peak, LIMIT if bw.SANITIZED else LIMIT // 4 + 64 * MIB)
        bw.wait_until(lambda: mount.metric("staging_bytes") == 0, what="no staged bytes")

    def test_s6_what_is_wrong_is_told(self):
        """S6: a memory= that the group does not allow, and staging that is memory, are lines of the log."""
        group = self.group(LIMIT)
        stream = self.stream(1)
        mount = self.mount_in(group, stream, f"memory={LIMIT - MIB}")
        self.assertRegex(mount.log(), rf" warn memory_above_limit memory={LIMIT - MIB} limit={LIMIT} ")
        self.assertNotIn("staging_in_memory", mount.log())
        if subprocess.run(["stat", "-f", "-c", "%T", "/dev/shm"], capture_output=True, text=True, check=True).stdout == "tmpfs\n":
            other = self.mount_in(group, stream, "memory=32M,staging=/dev/shm")
            self.assertIn(' warn staging_in_memory dir="/dev/shm" ', other.log())
            self.assertNotIn("memory_above_limit", other.log())


if __name__ == "__main__":
    bw.main()
