# SPDX-License-Identifier: Apache-2.0
# ctest: 140-s
"""What readers see: V1 to V6 on real mounts."""
import mmap
import os
import re
import signal
import subprocess
import threading

import numpy

import bw
import objects

STEPS = 300 if objects.ON_S3 else 1000  # each takes several requests


class AllOrNone(bw.TestCase):
    limit = 300

    def test_v1_no_reader_ever_sees_a_partial_batch(self):
        """V1, V2: W readers poll on B during 1,000 commits on A, 300 in a bucket."""
        steps, stream = STEPS, self.stream()
        a, b = self.mount(stream), self.mount(stream)

        def poll(rank):
            for step in range(steps):
                bw.wait_until(lambda: os.path.exists(b.step(step, rank)), what=f"step {step}")
                for other in range(stream.ranks):
                    wanted = bw.payload("p", step, other, 100 + step)
                    self.assertEqual(bw.read(b.step(step, other), "rb"), wanted)

        def commit():
            for step in range(steps):
                a.put("p", step, [bw.payload("p", step, r, 100 + step) for r in range(4)])

        self.join(*[self.spawn(poll, r) for r in range(4)], self.spawn(commit))
        self.assertEqual((a.head(), b.head()), (steps, steps))

    def test_v1_a_step_appears_with_its_last_slice_only(self):
        """V1, P6: after every write but the last, nothing is there for any rank."""
        stream = self.stream()
        a, b = self.mount(stream), self.mount(stream)
        a.begin("p", 0)
        for rank in (2, 0, 3):
            bw.write(a.slot("p", 0, rank), b"x")
            for mount in (a, b):
                self.assert_errno("ENOENT", os.stat, mount.step(0))
                for seen in range(4):
                    self.assert_errno("ENOENT", os.stat, mount.step(0, seen))
                self.assert_nothing_committed(mount)
        bw.write(a.slot("p", 0, 1), b"x")
        for mount in (a, b):
            self.assertEqual(mount.get(0), [b"x"] * 4)

    def test_v2_listings_are_dense_and_heads_never_fall(self):
        """V2: while another mount commits, each listing is 0..n without a gap, and n grows."""
        steps, stream = 200, self.stream(2)
        a, b = self.mount(stream), self.mount(stream)
        writer = self.spawn(lambda: [a.put("p", s) for s in range(steps)])
        seen = 0
        while seen < steps:
            before = b.head()
            names = [int(n) for n in os.listdir(b.path("step"))]
            self.assertEqual(names, list(range(len(names))))
            self.assertGreaterEqual(len(names), before)
            self.assertGreaterEqual(before, seen)
            seen = before
            if names:
                self.assertTrue(os.path.exists(b.step(names[-1], 1)))
            self.assertIn(writer.poll(), (None, 0))
            os.path.exists(b.step(steps))  # asks the store, so that B hears of news
        self.join(writer)

    def test_v2_a_new_mount_starts_where_the_stream_is(self):
        stream = self.stream()
        a = self.mount(stream)
        for seq in range(5):
            a.put("p", seq)
        b = self.mount(stream)
        self.assertEqual(b.head(), 5)
        for step in range(5):
            self.assert_step(b, step, "p", step)


class ReadAfterCommit(bw.TestCase):
    limit = 300

    def test_v3_opened_on_b_right_after_the_commit_on_a(self):
        """V3: 1,000 alternations without a sleep, 300 in a bucket; B never says ENOENT."""
        stream = self.stream()
        a, b = self.mount(stream), self.mount(stream)
        for step in range(STEPS):
            a.put("p", step, [b"%d/%d" % (step, r) for r in range(4)])
            self.assertEqual(bw.read(b.step(step, step % 4), "rb"), b"%d/%d" % (step, step % 4))

    def test_v3_no_refusal_is_remembered(self):
        """V3: a step that B has just said no to is there once A has committed it."""
        stream = self.stream()
        a, b = self.mount(stream), self.mount(stream)
        for step in range(20):
            for _ in range(2):
                self.assert_errno("ENOENT", os.stat, b.step(step))
                self.assert_errno("ENOENT", open, b.step(step, 1))
            a.put("p", step)
            with open(b.step(step, 1), "rb") as f:
                self.assertEqual(f.read(), bw.payload("p", step, 1))
            os.stat(b.step(step))

    def test_v3_commits_without_a_mount_are_seen(self):
        """V3: batchweave put, then open, with no sleep."""
        stream = self.stream(2)
        b = self.mount(stream)
        files = [os.path.join(self.root, f"slice{r}") for r in range(2)]
        for step in range(20):
            for rank, path in enumerate(files):
                bw.write(path, bw.payload("c", step, rank))
            printed = bw.batchweave("put", stream.url, "c", *files).stdout
            self.assertEqual(printed.split()[-1], str(step))
            self.assert_step(b, step, "c", step)

    def test_v3_pollers_cost_little(self):
        """V3: who asks at the same time shares a probe: 200 look-ups cause far fewer requests.

        Each process polls a step of its own: the kernel sends look-ups of one name one by one.
        """
        stream = self.stream()
        a = self.mount(stream)
        before = a.metric("store_requests_total")

        def poll(step):
            for _ in range(25):
                self.assertFalse(os.path.exists(a.step(step)))

        self.join(*[self.spawn(poll, i) for i in range(8)])
        spent = a.metric("store_requests_total") - before
        self.assertGreater(spent, 0)
        self.assertLess(spent, 100, "200 look-ups did not share their probes")


class Immutable(bw.TestCase):
    def slice_of_mebibytes(self, mebibytes=3, options="", breakable=False):
        stream = self.stream(2, breakable=breakable)
        mount = self.mount(stream, options)
        data = os.urandom(mebibytes << 20)
        mount.put("p", 0, [data, b"other"])
        return stream, mount, data

    def test_v4_second_read_reaches_neither_daemon_nor_store(self):
        """V4: counters stand still, and with daemon stopped and store gone the bytes still come."""
        stream, mount, data = self.slice_of_mebibytes(breakable=True)
        path = mount.step(0, 0)
        self.assertEqual(bw.read(path, "rb"), data)
        self.lock_pages(path, len(data))

        def counters():
            names = ("useful_bytes_total", "read_bytes_total")
            return [mount.metric(n) for n in names] + [mount.metric("store_bytes_total")]

        before = counters()
        self.assertGreaterEqual(before[0], len(data))
        self.assertEqual(bw.read(path, "rb"), data)
        self.assertEqual(counters()[:2], before[:2])
        self.assertLess(counters()[2] - before[2], 1 << 16)

        fd = os.open(path, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        got = []
        reader = threading.Thread(target=lambda: got.append(os.pread(fd, len(data) + 1, 0)))
        with stream.away():
            mount.proc.send_signal(signal.SIGSTOP)
            try:
                reader.start()
                reader.join(20)
                answered = bool(got)
            finally:
                mount.proc.send_signal(signal.SIGCONT)
                reader.join(bw.PATIENCE)
        self.assertTrue(answered, "the read went to the daemon")
        self.assertTrue(got == [data])

    def test_v4_mmap(self):
        """V4: mmap, shared and private, numpy.memmap and sendfile see the bytes."""
        _, mount, data = self.slice_of_mebibytes()
        with open(mount.step(0, 0), "rb") as f:
            for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
                with mmap.mmap(f.fileno(), 0, flags=flags, prot=mmap.PROT_READ) as m:
                    self.assertTrue(m[:] == data)
                    self.assertEqual(m[1 << 20], data[1 << 20])
        array = numpy.memmap(mount.step(0, 0), dtype="u1", mode="r")
        self.assertTrue(array.tobytes() == data)
        copy = os.path.join(self.root, "copy")
        with open(mount.step(0, 0), "rb") as f, open(copy, "wb") as out:
            while os.sendfile(out.fileno(), f.fileno(), None, 1 << 20):
                pass
        self.assertTrue(bw.read(copy, "rb") == data)

    def test_v4_random_reads(self):
        """V4, V5: any range of a slice, across blocks and past its end."""
        _, mount, data = self.slice_of_mebibytes(5)
        other = self.mount(mount.stream, "prefetch=0")
        size = len(data)
        offsets = [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 * (1 << 20) - 7, size - 1, size,
                   size + 5]
        fd = os.open(other.step(0, 0), os.O_RDONLY)
        self.addCleanup(os.close, fd)
        for offset in reversed(offsets):
            for length in (1, 4096, (1 << 20) + 3, size):
                self.assertTrue(os.pread(fd, length, offset) == data[offset:offset + length],
                                (offset, length))

    def test_v4_same_attributes_on_every_mount_for_ever(self):
        """V4: size, mtime and inode number are the same on two mounts and after a remount."""
        stream = self.stream()
        a, b = self.mount(stream), self.mount(stream)
        a.put("p", 0)
        a.put("p", 1)

        def facts(mount):
            paths = [mount.step(s, r) for s in (0, 1) for r in range(4)]
            paths += [mount.step(s) for s in (0, 1)] + [mount.path("step/1/rank")]
            paths += [mount.path("step/1/meta.json")]
            stats = [os.stat(p) for p in paths]
            return [(s.st_ino, s.st_size, s.st_mtime_ns, s.st_mode) for s in stats]

        first = facts(a)
        self.assertEqual(facts(b), first)
        self.assertEqual(a.umount(), 0)
        a.restart()
        self.assertEqual(facts(a), first)
        self.assertEqual(len({ino for ino, *_ in first}), len(first), "inode numbers repeat")
        self.assertEqual(first[0][3], 0o100444)
        self.assertEqual(first[0][1], len(bw.payload("p", 0, 0)))

    def test_v4_mtime_is_the_commit_time(self):
        mount = self.mounted()
        mount.put("p", 0)
        mount.put("p", 1)
        times = [os.stat(mount.step(s, 0)).st_mtime for s in (0, 1)]
        self.assertLess(abs(times[0] - os.stat(self.root).st_mtime), 600)
        self.assertLessEqual(times[0], times[1])


class Verified(bw.TestCase):
    def damage(self, stream, key, at):
        data = bytearray(stream.store.read(key))
        data[at] ^= 0x40
        stream.store.write(key, bytes(data))

    def test_v5_a_flipped_byte_is_never_served(self):
        """V5: EIO and a log line with object, block and both sums; repaired, the file reads again."""
        stream = self.stream(2)
        writer = self.mount(stream)
        data = os.urandom(3 << 20)
        writer.put("p", 0, [data, b"fine" * 1000])
        mount = self.mount(stream, "prefetch=0")
        key = os.getxattr(mount.step(0, 0), "user.batchweave.object").decode()
        self.assertEqual(mount.meta(0)["object"], key)
        objects = stream.objects(key)
        self.assertEqual(len(objects), 1, key)
        where = stream.store.read(objects[0]).find(data[1 << 20:(1 << 20) + 64])
        self.assertGreater(where, 0, "streams are not compressed unless asked")

        self.damage(stream, objects[0], where + 5)
        with open(mount.step(0, 0), "rb", buffering=0) as f:
            self.assertTrue(os.pread(f.fileno(), 1000, 0) == data[:1000])
            self.assert_errno("EIO", os.pread, f.fileno(), 1000, (1 << 20) + 100)
        self.assertEqual(bw.read(mount.step(0, 1), "rb"), b"fine" * 1000)
        self.assertGreaterEqual(mount.metric("checksum_failures_total"), 1)
        lines = [line for line in mount.log().split("\n") if key in line]
        self.assertTrue(lines, "the log does not name the object")
        self.assertRegex(lines[-1], r"block=1\b")
        self.assertGreaterEqual(len(set(bw.re.findall(r"\b[0-9a-f]{16}\b", lines[-1]))), 2, lines[-1])

        self.damage(stream, objects[0], where + 5)
        self.assertTrue(bw.read(mount.step(0, 0), "rb") == data)

    def test_v5_damaged_objects_are_eio_for_what_needs_them(self):
        """V5: a data object cut short, emptied, foreign or gone: EIO, and the rest goes on."""
        stream = self.stream(2)
        writer = self.mount(stream)
        for seq in range(5):
            writer.put("p", seq)
        objects = [stream.objects(writer.meta(s)["object"])[0] for s in range(5)]
        whole = stream.store.read(objects[0])
        stream.store.write(objects[0], whole[:-3])
        stream.store.write(objects[1], b"")
        stream.store.write(objects[2], os.urandom(len(whole)))
        stream.store.remove(objects[3])
        mount = self.mount(stream)
        for step in range(4):
            for rank in range(2):
                self.assert_errno("EIO", lambda p: bw.read(p, "rb"), mount.step(step, rank))
        self.assert_step(mount, 4, "p", 4)
        mount.put("p", 5)
        self.assert_step(mount, 5, "p", 5)
        stream.store.write(objects[0], whole)
        again = self.mount(stream)
        self.assert_step(again, 0, "p", 0)

    def test_v5_what_every_rank_meets_is_one_line(self):
        """V5: a step that is lost does not fill the log, however often it is read; how often is told."""
        stream = self.stream(4)
        writer = self.mount(stream)
        writer.put("p", 0)
        stream.store.remove(stream.objects(writer.meta(0)["object"])[0])
        mount = self.mount(stream)
        for _ in range(10):
            for rank in range(4):
                self.assert_errno("EIO", bw.read, mount.step(0, rank), "rb")
        total = mount.metric("errors_total")
        self.assertGreaterEqual(total, 40)
        self.assertEqual(len(mount.status("errors").splitlines()), 1)
        self.assertEqual(mount.stop(), 0)
        first, again = re.findall(r" error step_failed (.*)", mount.log())
        self.assertRegex(first, r"^step=0 rank=0 errno=5 reason=")
        self.assertEqual(mount.log().count(" error object_missing "), 1)
        self.assertRegex(again, rf"^step=0 times={total - 1:.0f} errno=5 reason=")

    def test_v5_objects_of_another_step_are_not_taken(self):
        """V5: the object of one batch in the place of another is not what its name says."""
        stream = self.stream(2)
        writer = self.mount(stream)
        writer.put("p", 0)
        writer.put("p", 1)
        first, second = [stream.objects(writer.meta(s)["object"])[0] for s in (0, 1)]
        stream.store.write(first, stream.store.read(second))
        mount = self.mount(stream)
        self.assert_errno("EIO", lambda p: bw.read(p, "rb"), mount.step(0, 0))
        self.assert_step(mount, 1, "p", 1)


class Errnos(bw.TestCase):
    def test_v6_names_that_cannot_be(self):
        """V6: what is not committed, and what is no canonical number, is ENOENT."""
        mount = self.mounted()
        mount.put("p", 0)
        for step in ("1", "00", "007", "+0", "-1", "x", "0x0", " 0", "0.", str(1 << 45),
                     str(1 << 63), str(1 << 64), "9" * 40):
            self.assert_errno("ENOENT", os.stat, mount.step(step))
            self.assert_errno("ENOENT", open, mount.step(step, 0))
        for rank in ("4", "00", "01", "-1", "x", str(1 << 63)):
            self.assert_errno("ENOENT", os.stat, mount.step(0, rank))
        for other in ("step/0/x", "step/0/meta", "step/0/rank/0/x", "nothing", "status/nothing"):
            self.assert_errno("ENOENT ENOTDIR", os.stat, mount.path(other))
        self.assert_errno("ENAMETOOLONG ENOENT", os.stat, mount.step("1" * 256))

    def test_v6_store_out_of_reach(self):
        """V6: EIO for what has to be asked, never ENOENT; what is known goes on; then all is well."""
        stream = self.stream(2, breakable=True)
        writer = self.mount(stream)
        for seq in range(3):
            writer.put("p", seq, [os.urandom(100000), b"y"])
        mount = self.mount(stream, "io_timeout=5,prefetch=0")
        slices = mount.get(0)
        with stream.away():
            self.assert_errno("EIO", os.stat, mount.step(3))
            self.assert_errno("EIO", open, mount.step(3, 0))
            self.assert_errno("EIO", lambda p: bw.read(p, "rb"), mount.step(1, 0))
            self.assertEqual(mount.get(0), slices)
            self.assertEqual(mount.head(), 3)
            self.assertEqual(sorted(os.listdir(mount.path("step"))), ["0", "1", "2"])
            self.assertFalse(stream.dir and os.path.exists(stream.dir), "the mount made a store of its own")
        self.assert_errno("ENOENT", os.stat, mount.step(3))
        self.assertEqual(len(bw.read(mount.step(1, 0), "rb")), 100000)
        writer.put("p", 3)
        self.assert_step(mount, 3, "p", 3)

    @bw.file_only("a directory in the place of another")
    def test_v6_an_empty_directory_is_not_the_store(self):
        """V6: a store directory replaced by an empty one is EIO, not a stream without steps."""
        stream = self.stream(2)
        mount = self.mount(stream, "io_timeout=5,commit_timeout=5")
        mount.put("p", 0)
        with stream.away():
            os.mkdir(stream.dir)
            error = bw.error_of(os.stat, mount.step(1))
            begun = bw.error_of(mount.put, "p", 1)
            left = os.listdir(stream.dir)
            bw.shutil.rmtree(stream.dir)
        self.assertEqual(error, "EIO")
        self.assertIn(begun, ("EIO", "ETIMEDOUT"))
        self.assertEqual([n for n in left if not n.startswith(".")], [])
        self.assertIn(mount.head(), (1, 2))  # the attempt may go on with the store that came back

    @bw.file_only("a file system that does not come back from a read")
    def test_v6_a_store_that_hangs(self):
        """V6: EIO when its time is over, for whoever waits; what needs no such read goes on; then all is well."""
        stream, gate = self.stream(2), self.gate()
        self.mount(stream).put("p", 0, [os.urandom(100000)] * 2)
        mount = self.mount(stream, "io_timeout=5,prefetch=0", gate=gate)
        gate.say("data")
        self.join(*[self.spawn(self.assert_errno, "EIO", bw.read, mount.step(0, r), "rb") for r in (0, 1)])
        with subprocess.Popen(["cat", mount.step(0, 1)], stdout=subprocess.DEVNULL) as reader:
            bw.wait_until(lambda: "fuse" in bw.read(f"/proc/{reader.pid}/wchan") or "request_wait" in
                          bw.read(f"/proc/{reader.pid}/wchan"), what="a request")
            reader.kill()
        self.assertEqual(mount.head(), 1)
        self.assert_errno("ENOENT", os.stat, mount.step(1))
        gate.open()
        self.assertEqual(len(bw.read(mount.step(0, 1), "rb")), 100000)

    @bw.file_only("a file system that does not come back from a call")
    def test_v6_df_of_a_store_that_hangs(self):
        """V6: neither df, which kill -9 could not end, nor mount(8) waits for as long as the file system does."""
        stream, gate = self.stream(2), self.gate()
        mount = self.mount(stream, "io_timeout=2", gate=gate)
        gate.say("room")
        self.join(*[self.spawn(self.assert_errno, "EIO", os.statvfs, mount.dir) for _ in range(3)])
        gate.open()
        self.assertGreater(os.statvfs(mount.dir).f_bavail, 0)
        gate.say("roots")
        done = subprocess.run([bw.MOUNT, stream.url, self.folder("mnt"), "-o", "io_timeout=1"], env={**os.environ, **gate.env()},
                              capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(done.returncode, 32)
        self.assertIn("the store cannot be reached", done.stderr)

    def test_v6_every_open_of_a_slice_is_read_only(self):
        """V6, S9: a slice is never truncated or replaced."""
        mount = self.mounted()
        mount.put("p", 0)
        path = mount.step(0, 0)
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND,
                      os.O_WRONLY | os.O_CREAT):
            self.assert_errno("EROFS EACCES", os.open, path, flags)
        self.assert_errno("EROFS EACCES", os.truncate, path, 0)
        self.assert_step(mount, 0, "p", 0)


if __name__ == "__main__":
    bw.main()
