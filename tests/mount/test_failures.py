# SPDX-License-Identifier: Apache-2.0
# ctest: waits 75-s
"""P3e, P3m, P6, P7, S3: commits that fail, hang or end unknown, on a store in trouble."""
import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import bw


@bw.file_only("a disk that fills up below the store")
class Full(bw.TestCase):
    """The store is a disk that fills up."""

    def setUp(self):
        super().setUp()
        self.disk_dir = self.disk("8m")
        self.stream_ = self.stream(2, folder=os.path.join(self.disk_dir, "store"))
        self.m = self.mount(self.stream_, "commit_timeout=20,io_timeout=20")
        self.m.put("p", 0)

    def stream(self, ranks=4, *options, folder=None, **kwargs):
        if folder:
            os.mkdir(folder)
        return super().stream(ranks, *options, folder=folder, **kwargs)

    def fill(self):
        fd = os.open(self.disk_dir + "/ballast", os.O_WRONLY | os.O_CREAT)
        try:
            for size in (1 << 20, 4096):
                while bw.error_of(os.write, fd, b"b" * size) == "":
                    pass
        finally:
            os.close(fd)

    def free(self):
        os.unlink(self.disk_dir + "/ballast")

    def fail_batch(self):
        """Batch 1, whose last close says ENOSPC."""
        self.m.begin("p", 1)
        bw.write(self.m.slot("p", 1, 0), b"x" * 50000)
        self.fill()
        self.assert_errno("ENOSPC", bw.write, self.m.slot("p", 1, 1), b"y" * 50000)
        self.assert_nothing_committed(self.m, 1)

    def test_p3e_a_failed_commit_stays_on_the_batch(self):
        """P3e, P6: open and fsync report it; look-up, stat, unlink and rmdir work; retried, it commits."""
        self.m.begin("p", 1)
        bw.write(self.m.slot("p", 1, 0), b"x" * 50000)
        kept = os.open(self.m.slot("p", 1, 0), os.O_RDONLY)
        self.fill()
        self.assert_errno("ENOSPC", bw.write, self.m.slot("p", 1, 1), b"y" * 50000)
        self.assert_nothing_committed(self.m, 1)
        self.assert_errno("ENOSPC", os.fsync, kept)
        os.close(kept)
        for rank in (0, 1):
            self.assert_errno("ENOSPC", os.open, self.m.slot("p", 1, rank), os.O_RDONLY)
            self.assertEqual(os.stat(self.m.slot("p", 1, rank)).st_size, 50000)
        self.assertEqual(sorted(os.listdir(self.m.slot("p", 1) + "/rank")), ["0", "1"])
        self.shell("ls -lR $B; rm -rf $B", B=self.m.slot("p", 1))
        self.free()
        self.m.put("p", 1)
        self.assert_step(self.m, 1, "p", 1)
        self.assertEqual(self.m.head(), 2)

    def test_p3e_a_shell_that_does_not_look(self):
        """P3e: bash's echo ignores the close; what failed is in errors, log and metric all the same."""
        self.m.begin("p", 1)
        bw.write(self.m.slot("p", 1, 0), b"x" * 50000)
        failed = self.m.metric("commits_total") - self.m.metric("commits_total", result="ok")
        self.fill()
        self.shell("echo y > $F", F=self.m.slot("p", 1, 1))
        self.assert_nothing_committed(self.m, 1)
        line = [x for x in self.m.status("errors").split("\n") if x][-1]
        self.assertIn("p", line)
        self.assertRegex(line, r"seq=1\b")
        self.assertTrue([x for x in self.m.log().split("\n") if "seq=1" in x and "p" in x])
        now = self.m.metric("commits_total") - self.m.metric("commits_total", result="ok")
        self.assertEqual(now - failed, 1)
        self.assert_errno("ENOSPC", open, self.m.slot("p", 1, 0))
        self.free()

    def test_p3e_rewriting_a_slice_retries(self):
        """P3e: with room again, replacing a slice of the failed batch by rename commits it."""
        self.fail_batch()
        self.free()
        os.unlink(self.m.slot("p", 1, 1))
        bw.write(self.m.slot("p", 1, 1), b"again")
        self.assertEqual(self.m.get(1), [b"x" * 50000, b"again"])

    def test_p3e_a_slice_that_a_child_rewrites(self):
        """P3, P3e: so it is where the end of the last descriptor is what makes the new slice whole."""
        self.fail_batch()
        self.free()
        os.unlink(self.m.slot("p", 1, 1))
        with open(self.m.slot("p", 1, 1), "wb") as f:
            child = subprocess.Popen(["sh", "-c", "echo again; read end"], stdin=subprocess.PIPE, stdout=f)
        bw.wait_until(lambda: os.stat(self.m.slot("p", 1, 1)).st_size, what="what the child writes")
        self.assert_nothing_committed(self.m, 1)
        child.communicate(b"\n")
        bw.wait_until(lambda: self.m.head() == 2, what="the commit")
        self.assertEqual(self.m.get(1), [b"x" * 50000, b"again\n"])

    def test_p6_a_full_disk_leaves_no_trace(self):
        """P6, S2: what was committed reads on; then recovery without a remount."""
        for seq in range(1, 100):
            self.m.begin("p", seq)
            error = bw.error_of(self.write_ranks, seq, os.urandom(300000))
            if error:
                break
        self.assertEqual(error, "ENOSPC")
        self.assertGreater(seq, 3)
        self.assert_nothing_committed(self.m, seq)
        self.assert_step(self.m, 0, "p", 0)
        shutil.rmtree(self.m.slot("p", seq))
        other = self.mount(self.stream_)
        self.assertEqual(other.head(), seq)
        subprocess.run(["mount", "-o", "remount,size=64m", self.disk_dir], check=True)
        self.m.begin("p", seq)
        self.write_ranks(seq, b"fits")
        self.assertEqual(other.get(seq), [b"fits", b"fits"])

    def write_ranks(self, seq, data):
        for rank in range(2):
            bw.write(self.m.slot("p", seq, rank), data)

    def test_p6_a_store_that_became_read_only(self):
        """P6: a clear errno, nothing under /step, recovery when it is writable again."""
        self.m.begin("p", 1)
        bw.write(self.m.slot("p", 1, 0), b"x")
        subprocess.run(["mount", "-o", "remount,ro", self.disk_dir], check=True)
        self.assert_errno("EROFS EACCES", bw.write, self.m.slot("p", 1, 1), b"y")
        self.assert_nothing_committed(self.m, 1)
        self.assert_step(self.m, 0, "p", 0)
        self.assertIn("seq=1", self.m.status("errors"))
        subprocess.run(["mount", "-o", "remount,rw", self.disk_dir], check=True)
        shutil.rmtree(self.m.slot("p", 1))
        self.m.put("p", 1)
        self.assert_step(self.m, 1, "p", 1)


class Gone(bw.TestCase):
    def test_p6_store_directory_removed_under_the_mount(self):
        """P3m, P6, S3: EIO within the deadline; when the directory is back, the batch commits once."""
        stream = self.stream(2, breakable=True)
        mount = self.mount(stream, "commit_timeout=5,io_timeout=5")
        mount.put("p", 0)
        mount.begin("p", 1)
        bw.write(mount.slot("p", 1, 0), b"x")
        with stream.away():
            self.assert_errno("EIO ETIMEDOUT", bw.write, mount.slot("p", 1, 1), b"y")
            self.assertEqual(mount.head(), 1)
            self.assertEqual(os.listdir(mount.path("step")), ["0"])
            self.assertFalse(stream.dir and os.path.exists(stream.dir))
            self.assertIn("seq=1", mount.status("errors"))

        def settled():
            """Committed after all, or free to be written again."""
            if mount.head() == 2:
                return True
            shutil.rmtree(mount.slot("p", 1), ignore_errors=True)
            return not os.path.exists(mount.slot("p", 1))

        bw.wait_until(settled, what="the end of the attempt")
        if mount.head() == 1:
            mount.put("p", 1, [b"x", b"y"])
        self.assertEqual(mount.get(1), [b"x", b"y"])
        mount.put("p", 2)
        self.assert_step(mount, 2, "p", 2)
        self.assertEqual(mount.head(), 3)

    def test_p6_mkdir_needs_the_store(self):
        """P6, V6: registering and taking a producer say EIO while the store is away."""
        stream = self.stream(1, breakable=True)
        mount = self.mount(stream, "commit_timeout=5,io_timeout=5")
        with stream.away():
            self.assert_errno("EIO ETIMEDOUT", os.mkdir, mount.path("produce/p"))
        mount.put("p", 0)
        self.assert_step(mount, 0, "p", 0)


class Deadline(bw.TestCase):
    """The link that commits a root hangs."""

    MKDIR = "import os, sys; os.mkdir(sys.argv[1])"

    def setUp(self):
        super().setUp()
        self.g = self.gate()
        self.s = self.stream(2)

    def start(self, options):
        mount = self.mount(self.s, options, gate=self.g)
        mount.put("p", 0)
        mount.begin("p", 1)
        bw.write(mount.slot("p", 1, 0), b"x")
        return mount

    def test_p3m_the_deadline_ends_the_wait_not_the_attempt(self):
        """P3m: close returns; until the outcome is known the batch is frozen; then it is committed."""
        m = self.start("commit_timeout=5")
        self.g.hold()
        self.assert_errno("ETIMEDOUT EIO", bw.write, m.slot("p", 1, 1), b"y")
        for path in (m.slot("p", 1, 0), m.slot("p", 1, 1)):
            self.assert_errno("EBUSY", os.open, path, os.O_WRONLY)
            self.assert_errno("EBUSY", os.open, path, os.O_WRONLY | os.O_TRUNC)
            self.assert_errno("EBUSY", os.truncate, path, 0)
            self.assert_errno("EBUSY", os.unlink, path)
            self.assert_errno("EBUSY", os.rename, path, path + "x")
        self.assert_errno("EBUSY", bw.write, m.slot("p", 1, "new"), b"x")
        self.assertIn(bw.error_of(os.rmdir, m.slot("p", 1) + "/rank"), ("EBUSY", "ENOTEMPTY"))
        self.assertIn(bw.error_of(os.rmdir, m.slot("p", 1)), ("EBUSY", "ENOTEMPTY"))
        self.assertEqual(os.stat(m.slot("p", 1, 0)).st_size, 1)
        self.assert_nothing_committed(m, 1)
        self.assertRegex(m.status("errors"), r'(?m)^\S+ producer=p seq=1 errno=110 reason="[^"]+" detail="the attempt goes on"$')
        self.g.open()
        bw.wait_until(lambda: m.head() == 2, what="the commit")
        self.assertEqual(m.get(1), [b"x", b"y"])
        self.assert_errno("EEXIST", os.mkdir, m.slot("p", 1))
        m.put("p", 2)
        self.assertEqual(m.head(), 3)

    def test_p3m_the_mount_answers_while_a_close_waits(self):
        """P3m, V7: reads, listings and other producers' staging go on; the waiter is named."""
        m = self.start("commit_timeout=1000")
        self.g.hold()
        writer = self.spawn(bw.write, m.slot("p", 1, 1), b"y")
        line = bw.wait_until(lambda: [x for x in m.status("waiting").split("\n")
                                      if f"pid={writer.pid} " in x], what="the waiter")[0]
        self.assertIn("reason=commit", line)
        self.assert_step(m, 0, "p", 0)
        self.assertEqual(os.listdir(m.path("step")), ["0"])
        self.assert_errno("EBUSY", os.unlink, m.slot("p", 1, 0))
        self.assertGreaterEqual(m.metric("waiters"), 1)
        self.assertIsNone(writer.poll())
        self.g.open()
        self.join(writer)
        self.assertEqual(m.get(1), [b"x", b"y"])

    def test_p3m_mkdirs_that_commit_have_a_deadline(self):
        """P3m, P5: registering and taking a producer say ETIMEDOUT after commit_timeout; the attempt goes on."""
        self.mount(self.s).put("p", 0)
        m = self.mount(self.s, "commit_timeout=5", gate=self.g)
        self.g.hold()
        self.assert_errno("ETIMEDOUT", os.mkdir, m.path("produce/q"))
        self.assert_errno("ETIMEDOUT", os.mkdir, m.slot("p", 1))
        self.assertNotIn("reason=take", m.status("waiting"))
        self.assertFalse(os.path.exists(m.slot("p", 1)))
        self.g.open()
        bw.wait_until(lambda: os.path.isdir(m.path("produce/q")), what="the producer")
        m.put("p", 1)
        self.assert_step(m, 1, "p", 1)
        m.put("q", 0)
        self.assert_step(m, 2, "q", 0)

    def test_p3m_a_signal_ends_mkdirs_that_commit(self):
        """P3m, P5: no unkillable process; the attempt goes on."""
        self.mount(self.s).put("p", 0)
        m = self.mount(self.s, gate=self.g)
        self.g.hold()
        for path in (m.path("produce/q"), m.slot("p", 1)):
            for number in (signal.SIGINT, signal.SIGKILL):
                child = subprocess.Popen([sys.executable, "-c", self.MKDIR, path], stderr=subprocess.DEVNULL)
                self.addCleanup(child.wait)
                self.addCleanup(child.kill)
                bw.wait_until(lambda: f"pid={child.pid} " in m.status("waiting"), what="the waiting mkdir")
                child.send_signal(number)
                self.assertIn(child.wait(bw.PATIENCE), (-number, 1))
                self.assertNotIn(f"pid={child.pid} ", m.status("waiting"))
        self.g.open()
        m.put("p", 1)
        m.put("q", 0)
        self.assertEqual(m.head(), 3)

    def test_p3m_an_interrupted_close_never_cancels(self):
        """P3m: SIGALRM and SIGKILL during the close that commits: the batch commits, once."""
        m = self.start("commit_timeout=1000")
        self.g.hold()

        def write_with_alarm():
            signal.signal(signal.SIGALRM, lambda *_: None)
            signal.setitimer(signal.ITIMER_REAL, 0.2, 0.05)
            bw.write(m.slot("p", 1, 1), b"y")

        writer = self.spawn(write_with_alarm)
        bw.wait_until(lambda: "reason=commit" in m.status("waiting"), what="the waiter")
        time.sleep(0.5)  # some alarms
        self.assert_nothing_committed(m, 1)
        self.g.open()
        self.join(writer)
        self.assertEqual(m.get(1), [b"x", b"y"])

        m.begin("p", 2)
        bw.write(m.slot("p", 2, 0), b"x")
        self.g.hold()
        writer = self.spawn(bw.write, m.slot("p", 2, 1), b"y")
        bw.wait_until(lambda: "reason=commit" in m.status("waiting"), what="the waiter")
        writer.kill()
        self.g.open()
        bw.wait_until(lambda: m.head() == 3, what="the commit")
        self.assertEqual(m.get(2), [b"x", b"y"])

    def test_s3_a_lost_reply_is_resolved(self):
        """S3: the root was written but the reply says EIO: one commit, acknowledged, not repeated."""
        m = self.start("commit_timeout=30")
        self.g.fail(errno.EIO, applied=True)
        bw.write(m.slot("p", 1, 1), b"y")
        m.put("p", 2)
        m.put("q", 0)
        self.g.open()
        m.put("p", 3)
        self.assertEqual(m.head(), 5)
        self.assertEqual([(m.meta(s)["producer"], int(m.meta(s)["seq"])) for s in range(5)],
                         [("p", 0), ("p", 1), ("p", 2), ("q", 0), ("p", 3)])
        self.assertEqual(m.get(1), [b"x", b"y"])

    def test_s3_a_request_that_fails_for_a_while(self):
        """S3: nothing was written and EIO came back: sent again until it is, once."""
        m = self.start("commit_timeout=60")
        self.g.fail(errno.EIO)
        writer = self.spawn(bw.write, m.slot("p", 1, 1), b"y")
        bw.wait_until(lambda: "reason=commit" in m.status("waiting"), what="the waiter")
        time.sleep(0.5)
        self.assert_nothing_committed(m, 1)
        self.g.open()
        self.join(writer)
        self.assertEqual(m.head(), 2)
        self.assertEqual(m.get(1), [b"x", b"y"])

    def test_s3_two_mounts_while_one_hangs(self):
        """S3, V1: a mount whose root hangs loses its slot to another and commits after it, once."""
        m = self.start("commit_timeout=1000")
        other = self.mount(self.s)
        self.g.hold()
        writer = self.spawn(bw.write, m.slot("p", 1, 1), b"y")
        bw.wait_until(lambda: "reason=commit" in m.status("waiting"), what="the waiter")
        other.put("q", 0)
        self.assertEqual(other.head(), 2)
        self.g.open()
        self.join(writer)
        for mount in (m, other):
            self.assertEqual(mount.get(2), [b"x", b"y"])
            self.assert_step(mount, 1, "q", 0)
        self.assertEqual(m.head(), 3)

    def test_s5_the_daemon_leaves_although_the_store_hangs(self):
        """S5: SIGTERM ends the daemon in bounded time, also with a commit that does not end."""
        m = self.start("commit_timeout=5,io_timeout=5")
        self.g.hold()
        writer = self.spawn(lambda: bw.error_of(bw.write, m.slot("p", 1, 1), b"y"))
        bw.wait_until(lambda: "reason=commit" in m.status("waiting"), what="the waiter")
        m.stop(signal.SIGTERM)
        self.join(writer)
        self.assertEqual([c for c in m.complaints if "did not end" in c], [])
        m.complaints.clear()  # with a commit unresolved its exit code may say so
        self.g.open()
        m.restart()
        self.assertIn(m.head(), (1, 2))
        self.assertEqual(int(m.resume("p")["next"]), m.head())


class Limits(bw.TestCase):
    def test_p7_staging_full(self):
        """P7, P3k: ENOSPC for the write; that slice is not whole until it is replaced."""
        disk = self.disk("16m")
        m = self.mount(self.stream(2), f"memory=16M,staging={disk}")
        m.begin("p", 0)
        bw.write(m.slot("p", 0, 1), b"last")
        fd = os.open(m.slot("p", 0, 0), os.O_WRONLY | os.O_CREAT)
        written = 0
        try:
            while written < 1 << 30:
                written += os.write(fd, b"z" * (1 << 20))
            self.fail("a GiB fits into 32 MiB of staging")
        except OSError as e:
            self.assertEqual(e.errno, errno.ENOSPC)
        finally:
            error = bw.error_of(os.close, fd)
        self.assertIn(error, ("", "ENOSPC", "EIO"))
        self.assertGreater(written, 4 << 20)
        self.assert_nothing_committed(m)
        self.assertIn("p", m.status("waiting") + m.status("errors"))
        bw.write(m.slot("p", 0, 0), b"fits")
        self.assertEqual(m.get(0), [b"fits", b"last"])
        m.put("p", 1, [os.urandom(6 << 20), b"x"])
        self.assertEqual(m.head(), 2)

    def test_p7_staging_goes_to_disk_above_the_memory_budget(self):
        """P7, S6: batches larger than memory= commit, by way of files that have no name."""
        staging = self.folder("staging")
        m = self.mount(self.stream(2), f"memory=16M,staging={staging}")
        m.begin("p", 0)
        slices = [os.urandom(1 << 20) * 40, os.urandom(1 << 20) * 24]
        bw.write(m.slot("p", 0, 0), slices[0])
        self.assertEqual(os.listdir(staging), [])
        bw.write(m.slot("p", 0, 1), slices[1])
        self.assertTrue(m.get(0) == slices)
        bw.wait_until(lambda: m.metric("staging_bytes") == 0, what="no staged bytes")

    def assert_alone(self, gate, held, others):
        """The others end while one is held by the gate, which is opened then."""
        try:
            bw.wait_until(lambda: others.poll() is not None, what="the end of what others do")
            self.assertEqual(held.poll(), None)
        finally:
            gate.open()
        self.join(others, held)

    @bw.file_only("the gate that holds a write to disk holds the way to the engine there")
    def test_p7_a_disk_that_hangs_holds_nobody_else(self):
        """P7, V3: a write of staged bytes that waits for its disk is waited for by its writer, and by nobody else."""
        gate, stream, staging = self.gate(), self.stream(2), self.folder("staging")
        other = self.mount(stream)
        m = self.mount(stream, f"memory=16M,staging={staging}", gate=gate)
        m.begin("p", 0)
        bw.write(m.slot("p", 0, 1), b"last")
        m.begin("p", 1)
        slices = [os.urandom(1 << 20) * 20, b"last"]
        gate.say("staging")
        writer = self.spawn(bw.write, m.slot("p", 0, 0), slices[0])
        bw.wait_until(lambda: os.path.exists(gate.path + ".held"), what="a write that waits for the disk")

        def works():
            self.assertGreater(os.stat(m.slot("p", 0, 0)).st_size, 0)
            self.assertEqual(len(os.listdir(m.slot("p", 0) + "/rank")), 2)
            self.assertIn("ranks=0(open)", m.status("waiting"))
            bw.write(m.slot("p", 1, 0), b"x")
            other.put("q", 0)
            self.assert_step(m, 0, "q", 0)

        self.assert_alone(gate, writer, self.spawn(works))
        self.assertTrue(m.get(1) == slices)

    @bw.file_only("the gate that holds the end of a file holds the way to the engine there")
    def test_p7_a_disk_that_is_slow_to_delete_holds_nobody_else(self):
        """P7: who removes or replaces staged bytes waits for their disk, and nobody else does."""
        gate, staging = self.gate(), self.folder("staging")
        m = self.mount(self.stream(2), f"memory=16M,staging={staging}", gate=gate)
        for seq, end in enumerate((os.unlink, lambda path: os.rename(path + ".new", path))):
            m.begin("p", seq)
            bw.write(m.slot("p", seq, 1), os.urandom(1 << 20) * 20)
            bw.write(m.slot("p", seq, 1) + ".new", b"new")
            gate.say("drop")
            remover = self.spawn(end, m.slot("p", seq, 1))
            bw.wait_until(lambda: os.path.exists(gate.path + ".held"), what="a file whose end waits for the disk")
            self.assert_alone(gate, remover, self.spawn(m.put, "q", seq))
            os.unlink(gate.path + ".held")

    def test_p7_a_state_too_large(self):
        """P7: a state beyond the limit is refused in words, not cut."""
        m = self.mounted(ranks=1)
        m.begin("p", 0)
        error = bw.error_of(bw.write, m.path("produce/p/0/state"), b"s" * (17 << 20))
        if not error:
            error = bw.error_of(bw.write, m.slot("p", 0, 0), b"x")
        self.assertIn(error, ("EFBIG", "ENOSPC", "EINVAL", "E2BIG"))
        self.assert_nothing_committed(m)


@bw.file_only("a limit of the daemon's files, some of which are the store's")
class FilesThatMayNotGrow(bw.TestCase):
    """A daemon that was started under ulimit -f: SIGXFSZ is not its end."""

    MOST = 2 << 20

    def setUp(self):
        super().setUp()
        self.s = self.stream(1)

    def limited(self, options):
        return self.mount(self.s, options, prefix=("prlimit", f"--fsize={self.MOST}"))

    def test_p7_staged_bytes(self):
        """P7: the write that goes too far says EFBIG, is told of, and the mount goes on."""
        m = self.limited("memory=16M")
        m.begin("p", 0)
        with open(m.slot("p", 0, 0), "wb", buffering=0) as f:
            self.assert_errno("EFBIG", lambda: [f.write(bytes(1 << 20)) for _ in range(16)])
        self.assertRegex(m.status("errors"), r'seq=0 file=0 errno=27 reason="a write failed"')
        shutil.rmtree(m.slot("p", 0))
        m.put("p", 0)
        self.assert_step(m, 0, "p", 0)

    def test_p6_objects_of_the_store(self):
        """P6: a batch that the store's files cannot hold is ENOSPC."""
        m = self.limited("commit_timeout=20")
        m.begin("p", 0)
        self.assert_errno("ENOSPC", bw.write, m.slot("p", 0, 0), os.urandom(self.MOST + 1))
        self.assertIn("File too large", m.log())
        self.assert_nothing_committed(m)
        shutil.rmtree(m.slot("p", 0))
        m.put("p", 0)
        self.assert_step(m, 0, "p", 0)

    def test_the_log(self):
        """Its lines are lost, and counted."""
        log = self.root + "/full.log"
        bw.write(log, b"\n" * self.MOST)
        m = self.limited("log=" + log)
        m.put("p", 0)
        self.assert_errno("EINVAL", m.begin, "p", 7)
        self.assertEqual(os.stat(log).st_size, self.MOST)
        os.truncate(log, 0)
        self.assertEqual(m.stop(), 0)
        self.assertRegex(bw.read(log), r"warn lines_dropped lines=3 .*\n.* stopping ")

    def test_the_disk_cache(self):
        """Reads go on without it, and one line says why it does not fill."""
        data = [os.urandom(1 << 20)]
        self.mount(self.s).put("p", 0, data)
        self.MOST = 1 << 19
        m = self.limited(f"ro,cache={self.root}/cache,cache_size=1G")
        self.assert_step(m, 0, "p", 0, data)
        bw.wait_until(lambda: "disk_cache_stops_filling" in m.log(), what="the line")
        self.assertRegex(m.log(), r'disk_cache_stops_filling .*err="File too large"')
        self.assert_step(m, 0, "p", 0, data)


if __name__ == "__main__":
    bw.main()
