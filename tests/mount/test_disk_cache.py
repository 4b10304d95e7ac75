# SPDX-License-Identifier: Apache-2.0
# ctest: 25-s
"""cache=DIR: blocks on a local disk are found again, never believed, and may go at any time (V5, V6)."""
import os
import stat
import subprocess

import bw

MIB = 1 << 20
BLOCKS = 2 * 2 + 1  # of a step of these tests: two blocks of two slices each, and the footer


class DiskCache(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.dir = os.path.join(self.root, "cache")

    def made(self, steps, breakable=False):
        """A stream of two slices of 1.5 MiB a step, and what is in them."""
        stream = self.stream(2, breakable=breakable)
        writer = self.mount(stream)
        data = [[os.urandom(MIB * 3 // 2) for _ in range(2)] for _ in range(steps)]
        for seq, slices in enumerate(data):
            writer.put("p", seq, slices)
        writer.umount()
        return stream, data

    def reader(self, stream, more="cache_size=1G", gate=None):
        """A mount whose queue holds 16 MiB, so that no block of a test is dropped, however slow the machine."""
        m = self.mount(stream, ",".join(filter(None, (f"cache={self.dir},memory=512M", more))), gate)
        bw.wait_until(lambda: m.metric("disk_cache_filling"), what="what lies in the directory")
        return m

    def check(self, mount, data, steps=None):
        for step in steps if steps is not None else range(len(data)):
            if mount.get(step) != data[step]:
                self.fail(f"step {step} has other bytes")

    def filled(self, mount, steps):
        bw.wait_until(lambda: mount.metric("disk_cache_blocks") == steps * BLOCKS, what="all blocks on the disk")

    def files(self):
        return sorted(os.listdir(self.dir))

    def bytes_on_disk(self):
        total = 0
        for name in self.files():
            try:
                total += os.stat(os.path.join(self.dir, name)).st_size
            except FileNotFoundError:
                pass  # gone since it was listed
        return total

    def remove_data(self, stream):
        for key in stream.objects("/data/"):
            stream.store.remove(key)

    def from_disk(self, mount, data):
        """All is read, and nothing comes from the store; that there is no newer step it may be asked."""
        gets = mount.metric("store_requests_total", op="get", code="ok")
        self.check(mount, data)
        total = sum(len(s) for slices in data for s in slices)
        self.assertEqual(mount.metric("store_requests_total", op="get", code="ok"), gets)
        self.assertEqual(mount.metric("read_bytes_total", source="store"), 0)
        disk, memory = (mount.metric("read_bytes_total", source=s) for s in ("disk", "cache"))
        self.assertGreaterEqual(disk + memory, total)  # what is handed over while a READ asks for it counts twice
        self.assertGreater(disk, 0)

    def test_v6_what_was_followed_is_on_the_disk_as_well(self):
        """V6: steps that are read as they are committed, whose footers come with the news."""
        stream = self.stream(2)
        writer, reader = self.mount(stream), self.reader(stream, "ro,wait=60")
        data = [[os.urandom(MIB * 3 // 2) for _ in range(2)] for _ in range(5)]
        for seq, slices in enumerate(data):
            writer.put("p", seq, slices)
            self.check(reader, {seq: slices}, [seq])
        self.filled(reader, len(data))
        reader.umount()
        writer.umount()
        self.remove_data(stream)
        self.from_disk(self.reader(stream, "ro"), data)

    def test_a_second_mount_reads_all_from_disk(self):
        """V5: after an unmount, after a kill; and the objects are not even there any more."""
        stream, data = self.made(3)
        first = self.reader(stream)
        self.check(first, data)
        self.filled(first, 3)
        self.assertEqual(stat.S_IMODE(os.stat(self.dir).st_mode), 0o700)
        self.assertEqual(first.metric("disk_cache_bytes"), 3 * (4 * (MIB * 3 // 4) + 4096))
        self.assertRegex(first.status("status"), r"(?m)^disk cache \d+ of 1073741824 bytes in 15 blocks, fills$")
        first.umount()
        self.remove_data(stream)
        second = self.reader(stream)
        self.from_disk(second, data)
        self.filled(second, 3)
        second.kill()
        third = self.reader(stream)
        self.from_disk(third, data)
        self.assertEqual(third.metric("disk_cache_damaged_total"), 0)

    def test_v5_damage_on_the_disk_never_reaches_a_reader(self):
        """V5: a bit flipped, bytes cut off, nothing left, a link, in each file: fetched again, and kept anew."""
        stream, data = self.made(2)
        first = self.reader(stream)
        self.check(first, data)
        self.filled(first, 2)
        first.umount()
        secret = os.path.join(self.root, "secret")
        bw.write(secret, os.urandom(MIB))

        def flip(path):
            with open(path, "r+b") as f:
                f.seek(os.stat(path).st_size // 2)
                byte = f.read(1)[0]
                f.seek(-1, os.SEEK_CUR)
                f.write(bytes([byte ^ 4]))

        def link(path):
            os.unlink(path)
            os.symlink(secret, path)

        for spoil, told in ((flip, True), (lambda p: os.truncate(p, os.stat(p).st_size - 1), False),
                            (lambda p: os.truncate(p, 0), False), (link, False)):
            for name in self.files():
                spoil(os.path.join(self.dir, name))
            m = self.reader(stream)
            self.check(m, data)
            self.filled(m, 2)
            self.assertEqual(m.metric("disk_cache_damaged_total"), 2 * BLOCKS if told else 0)
            self.assertEqual(m.metric("checksum_failures_total"), 0)
            m.umount()
            self.assertFalse(any(os.path.islink(os.path.join(self.dir, n)) for n in self.files()))
        self.assertEqual(os.stat(secret).st_size, MIB)

    def test_what_lies_there_may_be_deleted_at_any_time(self):
        """Readers notice nothing when files go, are cut or spoilt below them."""
        stream, data = self.made(6)
        m = self.reader(stream, "cache_size=1G,memory=16M,prefetch=1")

        def read(seed):
            for i in range(12):
                step = (seed + 5 * i) % 6
                self.check(m, data, [step])
                for rank in range(2):
                    with open(m.step(step, rank), "rb") as f:
                        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

        readers = [self.spawn(read, seed) for seed in range(3)]
        while any(r.poll() is None for r in readers):
            for i, name in enumerate(self.files()):
                path = os.path.join(self.dir, name)
                try:
                    if i % 2:
                        os.unlink(path)
                    else:
                        os.truncate(path, 1000)
                except FileNotFoundError:
                    pass  # the daemon was faster
        self.join(*readers)

    def test_v6_a_store_that_is_away(self):
        """V6: what is on the disk reads on, although memory has lost it; what is not is EIO, what is not committed too."""
        stream, data = self.made(3, breakable=True)
        first = self.reader(stream, "cache_size=1G,prefetch=0")
        self.check(first, data, [0, 1])
        self.filled(first, 2)
        first.umount()
        m = self.reader(stream, "cache_size=1G,io_timeout=2,prefetch=0")
        with stream.away():
            self.check(m, data, [0, 1])
            self.assert_errno("EIO", bw.read, m.step(2, 0), "rb")
            self.assert_errno("EIO", os.stat, m.step(3))
        self.check(m, data)

    def test_v6_a_disk_that_hangs(self):
        """V6: what it does not read is fetched; it is asked again when it answers."""
        stream, data = self.made(4)
        first = self.reader(stream)
        self.check(first, data)
        self.filled(first, 4)
        first.umount()
        gate = bw.Gate(self.root + "/gate")
        self.addCleanup(gate.open)
        m = self.reader(stream, "cache_size=1G,prefetch=0", gate)
        gate.say("disk")
        self.check(m, data, [0, 1, 2])
        self.assertEqual(m.metric("read_bytes_total", source="disk"), 0)
        self.assertGreaterEqual(m.metric("disk_cache_given_up_total"), 2)
        self.assertEqual(m.metric("disk_cache_filling"), 0)
        self.assertIn("DOES NOT ANSWER", m.status("status"))
        self.assertEqual(m.log().count("disk_cache_hangs"), 1)
        gate.open()
        bw.wait_until(lambda: "disk_cache_answers" in m.log(), what="the disk")
        self.check(m, data)
        self.assertGreater(m.metric("read_bytes_total", source="disk"), 0)
        self.assertIn("fills", m.status("status"))
        self.assertEqual(m.metric("disk_cache_damaged_total"), 0)

    def test_cache_size_is_kept(self):
        """The directory never holds more, and what was read last is what is there."""
        stream, data = self.made(8)
        m = self.reader(stream, "cache_size=16M,prefetch=0")
        for step in range(8):
            self.check(m, data, [step])
            self.assertLessEqual(self.bytes_on_disk(), 16 * MIB)
            bw.wait_until(lambda s=step: len([n for n in self.files() if f"-{s:012x}-" in n]) == BLOCKS,
                          what=f"step {step} on the disk")
        self.assertLessEqual(self.bytes_on_disk(), 16 * MIB)
        self.assertGreater(self.bytes_on_disk(), 12 * MIB)
        self.assertFalse([n for n in self.files() if f"-{0:012x}-" in n])
        self.assertLessEqual(m.metric("disk_cache_bytes"), 16 * MIB)

    def test_v6_reclaimed_steps_are_not_served(self):
        """C3, V6: ESTALE although the bytes lie here; they go, the others stay and are served."""
        stream = self.stream(2, "--grace", "0")
        writer = self.mount(stream)
        data = [[os.urandom(MIB * 3 // 2) for _ in range(2)] for _ in range(5)]
        for seq, slices in enumerate(data):
            writer.put("p", seq, slices)
        writer.umount()
        m = self.reader(stream)
        self.check(m, data)
        self.filled(m, 5)
        bw.batchweave("checkpoint", stream.url, "train")
        for step in (3, 4):
            bw.batchweave("checkpoint", stream.url, "train", step)
        bw.batchweave("gc", stream.url)
        self.assert_errno("ENOENT", os.stat, m.step(5))  # and now it knows
        for step in range(3):
            self.assert_errno("ESTALE", os.open, m.step(step, 0), os.O_RDONLY)  # stat may be the kernel's, for a minute
        bw.wait_until(lambda: len(self.files()) == 2 * BLOCKS, what="the end of reclaimed blocks")
        self.filled(m, 2)
        self.check(m, data, [3, 4])
        m.umount()
        again = self.reader(stream)
        self.assertEqual(again.metric("disk_cache_blocks"), 2 * BLOCKS)
        for step in range(3):
            self.assert_errno("ESTALE", os.stat, again.step(step, 0))
        self.check(again, data, [3, 4])
        self.assertEqual(again.metric("read_bytes_total", source="store"), 0)

    def test_a_directory_is_private_and_of_one_mount(self):
        stream = self.stream(1)
        m = self.reader(stream, "")

        def refused(code, sentence, options):
            done = subprocess.run([bw.MOUNT, stream.url, self.folder("no"), "-o", options], text=True,
                                  capture_output=True, check=False, timeout=bw.PATIENCE)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertIn(sentence, done.stderr)

        refused(32, "another mount uses this directory", f"cache={self.dir}")
        for name in self.files():  # the lock is not one of them
            os.unlink(os.path.join(self.dir, name))
        refused(32, "another mount uses this directory", f"cache={self.dir}")
        m.umount()
        os.chmod(self.dir, 0o750)
        refused(1, "chmod 700", f"cache={self.dir}")
        os.chmod(self.dir, 0o700)
        os.symlink(self.dir, self.root + "/link")
        refused(1, "symbolic link", f"cache={self.root}/link")
        bw.write(self.root + "/file", "x")
        refused(1, "not a directory", f"cache={self.root}/file")
        refused(1, "No such file", f"cache={self.root}/none/below")
        refused(1, "goes with cache=DIR", "cache_size=1G")
        self.reader(stream, "")

    def test_a_full_disk_is_no_error(self):
        """Reads go on, the log tells it once, nothing is left half written."""
        disk = self.disk("8m")
        self.dir = disk + "/cache"
        stream, data = self.made(6)
        m = self.reader(stream, "cache_size=1G,prefetch=0")
        for step in range(3):
            self.check(m, data, [step])
            bw.wait_until(lambda s=step: m.metric("disk_cache_filling") == 0 or
                          m.metric("disk_cache_blocks") == (s + 1) * BLOCKS, what="the end of the writing")
        self.assertEqual(m.metric("disk_cache_filling"), 0)
        self.check(m, data)
        self.assertGreater(m.metric("disk_cache_dropped_total"), 0)
        self.assertIn("DOES NOT FILL", m.status("status"))
        self.assertEqual(m.log().count("disk_cache_stops_filling"), 1)
        for name in self.files():
            self.assertEqual(os.stat(os.path.join(self.dir, name)).st_size, int(name[-8:], 16))


if __name__ == "__main__":
    bw.main()
