# SPDX-License-Identifier: Apache-2.0
# ctest: once 15-s
"""S5, P8: `umount` while programs read and produce: it is busy, or lazy; nothing that a close has taken is lost."""
import os
import subprocess

import bw

RANKS = 2


class UnderLoad(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.s = self.stream(RANKS)
        self.m = self.mount(self.s, "pending=40,wait=3")
        self.said = self.folder("said")

    def produce(self, name):
        """Until the mount has gone; notes how many closes have said yes."""
        seq = 0
        while not os.path.exists(self.said + "/stop"):
            try:
                self.m.put(name, seq)
            except OSError as e:
                # The way there, or the daemon: which, depends on the moment.
                if bw.errno_name(e.errno) not in ("ENOENT", "ENOTCONN", "ECANCELED", "ECONNABORTED", "EIO"):
                    raise
                return
            seq += 1
            bw.write(f"{self.said}/{name}.new", str(seq))
            os.rename(f"{self.said}/{name}.new", f"{self.said}/{name}")

    def consume(self):
        step = 0
        while not os.path.exists(self.said + "/stop"):
            try:
                bw.read(self.m.step(step, 0), "rb")
            except OSError:
                return
            step += 1

    def accepted(self, name):
        path = f"{self.said}/{name}"
        return int(bw.read(path)) if os.path.exists(path) else 0

    def load(self):
        children = [self.spawn(self.produce, "p"), self.spawn(self.produce, "q"), self.spawn(self.consume),
                    self.spawn(self.consume)]
        bw.wait_until(lambda: min(self.accepted("p"), self.accepted("q")) > 10, what="some batches")
        return children

    def everything_is_there(self):
        """Every batch whose close said yes, each once, in order; from a mount made anew."""
        self.m.restart()
        seen = {"p": 0, "q": 0}
        for step in range(self.m.head()):
            meta = self.m.meta(step)
            name, seq = meta["producer"], int(meta["seq"])
            self.assertEqual(seq, seen[name])
            self.assert_step(self.m, step, name, seq)
            seen[name] += 1
        for name, n in seen.items():
            # One more may have been whole when its producer was told otherwise, never one less.
            self.assertIn(n - self.accepted(name), (0, 1), name)

    def test_s5_a_lazy_umount(self):
        """S5, P8: umount -l: the daemon takes what is open, drains its queue, and leaves."""
        children = self.load()
        self.assertEqual(self.m.detach().returncode, 0)
        self.join(*children)
        self.assertEqual(self.m.reap(), 0)
        self.assertIn(" info unmounted reason=umount ", self.m.log())
        self.everything_is_there()

    def test_s5_a_busy_umount(self):
        """S5: umount says busy and does no harm, again and again; when it goes through all is committed."""
        command = ["umount", self.m.dir] if bw.ROOT else ["fusermount3", "-u", self.m.dir]
        with open(self.m.path("status", "head"), encoding="ascii"):
            children = self.load()
            for _ in range(20):
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("busy", done.stderr)
            before = self.accepted("p")
            bw.wait_until(lambda: self.accepted("p") > before, what="more batches")
            self.assertEqual([c.poll() for c in children], [None] * 4)
        bw.write(self.said + "/stop", "")
        bw.wait_until(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0, what="an umount")
        self.join(*children)
        self.assertEqual(self.m.reap(), 0)
        self.everything_is_there()

    def test_s5_lazy_with_a_batch_half_written(self):
        """S5, P6: a writer that is in the mount finishes its batch after umount -l, and it is committed."""
        m = self.mount(self.s)
        m.put("r", 0)
        m.begin("r", 1)
        bw.write(m.slot("r", 1, 0), bw.payload("r", 1, 0))
        inside = os.open(m.slot("r", 1) + "/rank", os.O_RDONLY | os.O_DIRECTORY)
        fd = os.open("1", os.O_WRONLY | os.O_CREAT, dir_fd=inside)
        os.write(fd, bw.payload("r", 1, 1))
        self.assertEqual(m.detach().returncode, 0)
        os.close(fd)
        os.close(inside)
        self.assertEqual(m.reap(), 0)
        self.assert_step(self.m, 1, "r", 1)


class Path(bw.TestCase):
    """S5: a daemon that ends takes its own mount away, and not what has been mounted there since."""

    def setUp(self):
        super().setUp()
        self.needs_root()
        self.s = self.stream(RANKS)
        self.m = self.mount(self.s)
        self.m.put("p", 0)

    def mount_again(self):
        """Another daemon, in the same place."""
        m = bw.Mount(self.s, self.m.dir, self.m.log_path + ".2")
        self.mounts.append(m)
        self.addCleanup(self.close_mount, m)
        bw.wait_until(lambda: " info mounted " in m.log(), what="the second mount")
        return m

    def test_s5_detached_and_mounted_anew(self):
        """S5: umount -l while a program is in it, mounted anew, SIGTERM to the old daemon."""
        inside = os.open(self.m.dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.assertEqual(self.m.detach().returncode, 0)
            new = self.mount_again()
            self.assertEqual(self.m.stop(), 0)
            self.assert_errno("ENOTCONN ECONNABORTED", os.fstatvfs, inside)
        finally:
            os.close(inside)
        self.assert_step(new, 0, "p", 0)
        self.assertEqual(new.umount(), 0)
        self.assertFalse(os.path.ismount(self.m.dir))

    def test_s5_one_over_the_other(self):
        """S5: the lower one ends: the upper one stays, and what is below is a mount without a daemon."""
        upper = self.mount_again()
        ahead = os.stat(upper.dir).st_dev
        self.assertEqual(bw.read(f"/sys/class/bdi/{os.major(ahead)}:{os.minor(ahead)}/read_ahead_kb"), "1024\n")
        self.assertEqual(self.m.stop(), 0)
        self.assert_step(upper, 0, "p", 0)
        self.assertEqual(upper.umount(), 0)
        self.assertTrue(bw.is_dead(self.m))
        self.assertEqual(self.m.detach().returncode, 0)
        self.assertFalse(os.path.ismount(self.m.dir))


if __name__ == "__main__":
    bw.main()
