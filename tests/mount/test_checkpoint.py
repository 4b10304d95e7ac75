# SPDX-License-Identifier: Apache-2.0
# ctest: 60-s
"""C1, C2, C3, S9: jobs and markers under /checkpoint, and what their commands do."""
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time

import bw

CHANGE = os.path.join(bw.BUILD, "tests", "mount", "change")
KEEP = 2  # markers a job must hold, by default


class Checkpoint(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.made = self.stream(1)
        self.a = self.mount(self.made)
        for seq in range(8):
            self.a.put("p", seq)

    def trim(self):
        done = subprocess.run([CHANGE, self.made.url, "trim"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def at(self, mount, *parts):
        return mount.path("checkpoint", *parts)

    def job(self, mount, name, *steps):
        os.mkdir(self.at(mount, name))
        for step in steps:
            bw.write(self.at(mount, name, step), b"")

    def markers(self, mount, job):
        return sorted(map(int, os.listdir(self.at(mount, job))))


class Names(Checkpoint):
    def test_c1_jobs_are_directories(self):
        """C1: mkdir registers, on every mount and past a crash; EEXIST, ENOTEMPTY and ENOENT say why not."""
        b = self.mount(self.made)
        self.assertEqual(os.listdir(self.at(self.a)), [])
        self.assert_errno("", os.mkdir, self.at(self.a, "train"))
        self.assertTrue(os.path.isdir(self.at(b, "train")))
        for mount in (self.a, b):
            self.assert_errno("EEXIST", os.mkdir, self.at(mount, "train"))
        os.mkdir(self.at(b, "eval.1"))
        self.assertEqual(sorted(os.listdir(self.at(self.a))), ["eval.1", "train"])
        self.a.kill()
        self.a.restart()
        self.assertEqual(sorted(os.listdir(self.at(self.a))), ["eval.1", "train"])
        bw.write(self.at(b, "train", 3), b"")
        self.assert_errno("ENOTEMPTY", os.rmdir, self.at(self.a, "train"))
        os.unlink(self.at(self.a, "train", 3))
        self.assert_errno("", os.rmdir, self.at(b, "train"))
        self.assert_errno("ENOENT", os.rmdir, self.at(self.a, "train"))
        self.assert_errno("ENOENT", os.listdir, self.at(self.a, "train"))
        self.assertEqual(os.listdir(self.at(self.a)), ["eval.1"])
        self.assert_errno("", os.mkdir, self.at(self.a, "train"))

    def test_names(self):
        """C1, C2: EINVAL on create, ENOENT on look-up; directories and files stand where they belong."""
        self.job(self.a, "train")
        for name in ("a b", ".x", "-x", "x" * 65, "\xe9"):
            self.assert_errno("EINVAL", os.mkdir, self.at(self.a, name))
            self.assert_errno("ENOENT", os.stat, self.at(self.a, name))
        for name in ("007", "+1", "-1", "x", "1.tmp", ".1.swp", str(1 << 63), str(1 << 50)):
            self.assert_errno("EINVAL", open, self.at(self.a, "train", name), "x")
            self.assert_errno("ENOENT", os.stat, self.at(self.a, "train", name))
        self.assert_errno("EPERM", open, self.at(self.a, "file"), "x")
        self.assert_errno("EPERM", os.mkdir, self.at(self.a, "train", "1"))
        self.assert_errno("ENOENT", open, self.at(self.a, "nobody", "1"), "x")
        bw.write(self.at(self.a, "train", 1), b"")
        self.assert_errno("ENOTDIR", os.stat, self.at(self.a, "train", 1, 2))
        self.assertEqual(self.markers(self.a, "train"), [1])

    def test_what_is_not_for_markers(self):
        """C2: mv and links are EPERM, and change nothing; owners, modes and times are accepted and dropped."""
        self.job(self.a, "train", 1)
        self.job(self.a, "eval")
        one = self.at(self.a, "train", 1)
        self.assert_errno("EPERM", os.rename, one, self.at(self.a, "train", 2))
        self.assert_errno("EPERM", os.rename, one, self.at(self.a, "eval", 1))
        self.assert_errno("EPERM", os.rename, self.at(self.a, "train"), self.at(self.a, "t"))
        self.assert_errno("EPERM", os.link, one, self.at(self.a, "train", 2))
        self.assert_errno("EPERM", os.symlink, "1", self.at(self.a, "train", 2))
        self.assert_errno("EPERM", os.mkfifo, self.at(self.a, "train", 2))
        self.shell("chmod 600 $F; touch -d 2001-01-01 $F", F=one)
        self.assertEqual(self.markers(self.a, "train"), [1])
        self.assertGreater(os.stat(one).st_mtime, 1e9 + 1e8)


class Markers(Checkpoint):
    def test_c2_a_marker_is_committed_by_the_open(self):
        """C2: so echo, which does not look at close, and touch both tell; and other mounts see it at once."""
        b = self.mount(self.made)
        self.job(self.a, "train")
        for step in (0, 3, 8):
            fd = os.open(self.at(self.a, "train", step), os.O_CREAT | os.O_WRONLY)
            self.assertTrue(os.path.exists(self.at(b, "train", step)))
            os.close(fd)
        self.assertEqual(self.markers(b, "train"), [0, 3, 8])
        for command in ("echo text > $F", "touch $F", ": > $F", "cp /dev/null $F"):
            done = self.shell(command, check=False, F=self.at(b, "train", 9))
            self.assertIn("Invalid argument", done.stderr, command)
            self.assertNotEqual(done.returncode, 0, command)
        self.assertEqual(self.markers(self.a, "train"), [0, 3, 8])

    def test_c2_text(self):
        """C2: stored by the close, at most 255 bytes, read back on every mount with its size."""
        b = self.mount(self.made)
        self.job(self.a, "train")
        one = self.at(self.a, "train", 1)
        texts = [b"/ckpt/step 1, 100%\n", b"x" * 255, bytes(range(1, 256)), b"x"]
        for text in texts:
            bw.write(one, text)
            for mount in (self.a, b):
                self.assertEqual(bw.read(self.at(mount, "train", 1), "rb"), text)
                self.assertEqual(os.stat(self.at(mount, "train", 1)).st_size, len(text))
        self.shell("echo a > $F; echo b >> $F; printf c | dd of=$F bs=1 seek=1 conv=notrunc", F=one)
        self.assertEqual(bw.read(self.at(b, "train", 1)), "acb\n")
        self.shell("(echo d; echo e) > $F; exec 3> $F; echo f >&3; exec 3>&-", F=one)
        self.assertEqual(bw.read(self.at(b, "train", 1)), "f\n")
        with open(one, "r+", encoding="ascii") as f:
            self.assertEqual(f.read(), "f\n")
            f.write("g\n")
            f.flush()
            os.fsync(f.fileno())
            self.assertEqual(bw.read(self.at(b, "train", 1)), "f\ng\n")
        out = self.folder("out")
        self.shell("cp $M/checkpoint/train/1 $O/; tar c -C $M checkpoint | tar x -C $O; cmp $O/1 $O/checkpoint/train/1",
                   M=b.dir, O=out)
        self.assertEqual(bw.read(out + "/1"), "f\ng\n")

    def test_c2_an_empty_file_keeps_the_text(self):
        """C2: who only says that the marker is there does not take its text away."""
        self.job(self.a, "train")
        one = self.at(self.a, "train", 1)
        bw.write(one, b"text")
        version = self.a.said()["version"]
        self.shell("touch $F; : > $F; : >> $F; truncate -s 0 $F; cp /dev/null $F", F=one)
        self.assertEqual(bw.read(one), "text")
        bw.write(one, b"text")
        self.assertEqual(self.a.said()["version"], version)

    def test_c2_texts_that_are_refused(self):
        """C2: 256 bytes are EFBIG, a NUL or a hole EINVAL; the marker itself stays."""
        self.job(self.a, "train")
        one = self.at(self.a, "train", 1)
        self.assert_errno("EFBIG", bw.write, one, b"x" * 256)
        self.assert_errno("EINVAL", bw.write, one, b"a\0b")
        fd = os.open(one, os.O_WRONLY)
        self.assert_errno("EINVAL", os.pwrite, fd, b"x", 10)
        os.pwrite(fd, b"x" * 250, 0)
        self.assert_errno("EFBIG", os.pwrite, fd, b"x" * 6, 250)
        os.close(fd)
        self.assertEqual(bw.read(one), "x" * 250)
        self.assert_errno("EINVAL", os.truncate, one, 10)
        self.assertEqual(bw.read(one), "x" * 250)

    def test_c2_rm_withdraws(self):
        """C2: on every mount; a file that is open when it goes is not made again by its close."""
        b = self.mount(self.made)
        self.job(self.a, "train", 1, 2, 3)
        os.unlink(self.at(b, "train", 2))
        self.assertFalse(os.path.exists(self.at(self.a, "train", 2)))
        self.assert_errno("ENOENT", os.unlink, self.at(self.a, "train", 2))
        self.assert_errno("ENOENT", open, self.at(self.a, "train", 2))
        for remover, knows in ((self.a, True), (b, True), (b, False)):
            with open(self.at(self.a, "train", 3), "w", encoding="ascii") as f:
                f.write("late")
                os.unlink(self.at(remover, "train", 3))
                if knows:
                    os.path.exists(self.at(self.a, "train", 3))
            self.assertEqual(self.markers(b, "train"), [1])
            self.assertEqual(self.a.status("errors"), "")
            bw.write(self.at(self.a, "train", 3), b"")
        self.shell("rm -r $J", J=self.at(b, "train"))
        self.assertEqual(os.listdir(self.at(self.a)), [])

    def test_c2_made_elsewhere_meanwhile(self):
        """C2: what the other mount has just set or withdrawn is seen by the next look, each time."""
        b = self.mount(self.made)
        self.job(self.a, "train")
        for i in range(20):
            with open(self.at(self.a, "train", 5), "x", encoding="ascii") as f:
                f.write(f"text {i}")
            self.assert_errno("EEXIST", open, self.at(b, "train", 5), "x")
            self.assertEqual(bw.read(self.at(b, "train", 5)), f"text {i}")
            with open(self.at(b, "train", 5), "a", encoding="ascii") as f:
                f.write("!")
            self.assertEqual(bw.read(self.at(self.a, "train", 5)), f"text {i}!")
            os.unlink(self.at(b, "train", 5))
            self.assert_errno("ENOENT", os.stat, self.at(self.a, "train", 5))
            self.assertEqual(self.markers(self.a, "train"), [])

    def test_c2_two_hosts_create_the_same_marker(self):
        """C2: whoever comes second and brings no text leaves the other's, however the two interleave."""
        gate = self.gate()
        b = self.mount(self.made, gate=gate)
        self.job(self.a, "train")
        gate.hold()
        toucher = self.spawn(lambda: self.shell("touch $F", F=self.at(b, "train", 3)))
        bw.wait_until(lambda: "reason=mark" in b.status("waiting"), what="the held create")
        bw.write(self.at(self.a, "train", 3), b"text")
        gate.open()
        self.join(toucher)
        for mount in (self.a, b):
            self.assertEqual(bw.read(self.at(mount, "train", 3)), "text")

    def test_c2_times_and_inodes_stand_still(self):
        """C2, S9: a marker's mtime is when it was set, as its mounts saw it; nothing changes by looking."""
        self.job(self.a, "train", 1)
        b = self.mount(self.made)
        began = time.time()
        bw.write(self.at(self.a, "train", 2), b"text")
        for mount in (self.a, b):
            before = [os.stat(self.at(mount, "train", s)) for s in (1, 2)]
            self.assertLess(abs(before[1].st_mtime - began), 60)
            self.a.put("p", 8 if mount is self.a else 9)
            os.mkdir(self.at(mount, f"other{mount is b}"))
            after = [os.stat(self.at(mount, "train", s)) for s in (1, 2)]
            self.assertEqual([(s.st_mtime_ns, s.st_ino, s.st_size) for s in before],
                             [(s.st_mtime_ns, s.st_ino, s.st_size) for s in after])
            self.assertEqual(len({s.st_ino for s in after}), 2)

    @bw.file_only("a limit of the manifest; hundreds of commits take long on S3")
    def test_limits(self):
        """C1, C2: 256 markers and 64 jobs, then ENOSPC; ls -l of all does not ask at the pace of pollers."""
        for seq in range(8, 257):
            self.a.put("p", seq)
        self.job(self.a, "train")
        names = [str(i) for i in range(256)]
        for name in names:
            bw.write(self.at(self.a, "train", name), b"")
        self.assert_errno("ENOSPC", open, self.at(self.a, "train", 256), "x")
        bw.write(self.at(self.a, "train", 255), b"text")  # one that is there may still have its text
        listed = self.shell("ls -l $J | tail -n +2 | awk '{print $NF}'", J=self.at(self.a, "train")).stdout.split()
        self.assertEqual(sorted(listed, key=int), names)
        for i in range(64 - 1):
            os.mkdir(self.at(self.a, f"job{i}"))
        self.assert_errno("ENOSPC", os.mkdir, self.at(self.a, "one.more"))
        self.assertEqual(len(os.listdir(self.at(self.a))), 64)


class Trims(Checkpoint):
    def test_c3_what_lies_below_the_oldest_markers_goes(self):
        """C3: below the oldest marker of every job, each with keep markers; a job with fewer stops it."""
        b = self.mount(self.made)
        self.trim()
        self.assertEqual(self.a.status("first"), "0\n")  # no job: nothing goes
        self.job(self.a, "train", 4)
        self.trim()
        self.assertEqual(self.a.status("first"), "0\n")
        self.assertIn("fewer than 2 markers stops all reclaiming", self.a.status("status"))
        bw.write(self.at(b, "train", 6), b"")
        self.job(b, "eval", 3, 5)
        os.mkdir(self.at(b, "late"))
        self.trim()
        self.assertEqual(self.a.status("first"), "0\n")
        os.rmdir(self.at(self.a, "late"))
        self.trim()
        for mount in (self.a, b):
            self.assertEqual(mount.status("first"), "3\n")
            self.assertNotIn("stops all", mount.status("status"))
        os.unlink(self.at(self.a, "eval", 3))
        self.trim()
        self.assertEqual(b.status("first"), "3\n")  # eval holds one
        os.unlink(self.at(self.a, "eval", 5))
        os.rmdir(self.at(self.a, "eval"))
        self.trim()
        self.assertEqual(b.status("first"), "4\n")

    def test_c2_c3_a_marker_that_comes_after_the_trim(self):
        """C2, C3: ESTALE below first, also on a mount that did not hear of the trim, and nothing is made."""
        b = self.mount(self.made)
        self.job(self.a, "train", 4, 6)
        os.mkdir(self.at(b, "new"))
        self.assertEqual(b.status("first"), "0\n")
        os.rmdir(self.at(self.a, "new"))
        self.trim()
        os.mkdir(self.at(b, "new"))
        for mount in (b, self.a):
            for step in (0, 3):
                self.assert_errno("ESTALE", open, self.at(mount, "new", step), "x")
                self.assert_errno("ESTALE", open, self.at(mount, "train", step), "w")
            done = self.shell("echo x > $F", check=False, F=self.at(mount, "new", 2))
            self.assertIn("Stale file handle", done.stderr)
        self.assertEqual(self.markers(b, "new"), [])
        self.assert_errno("", open, self.at(b, "new", 4), "x")
        self.assert_errno("EINVAL", open, self.at(b, "new", 9), "x")
        self.a.put("p", 8)
        self.assert_errno("", open, self.at(b, "new", 9), "x")  # b has not heard of step 8: it asks
        self.assertEqual(self.markers(self.a, "new"), [4, 9])

    def test_c2_c3_a_text_that_comes_after_the_trim(self):
        """C2: a marker that is withdrawn and trimmed away while its text is written does not come back."""
        b = self.mount(self.made)
        self.job(self.a, "train", 2, 4, 6)
        f = open(self.at(self.a, "train", 2), "w", encoding="ascii")
        f.write("late")
        os.unlink(self.at(b, "train", 2))
        self.trim()
        self.assert_errno("ESTALE", f.close)
        self.assertEqual(self.markers(b, "train"), [4, 6])
        self.assertEqual(b.status("first"), "4\n")
        self.assertIn("job=train step=2", self.a.status("errors"))

    def test_c2_c3_markers_and_trims_race(self):
        """C2, C3: whatever the order, a marker that was acknowledged is not below first."""
        b = self.mount(self.made)
        self.job(self.a, "train", 0, 1)
        os.mkdir(self.at(b, "other"))
        bw.write(self.at(b, "other", 0), b"")
        bw.write(self.at(b, "other", 1), b"")
        trimmer = self.spawn(lambda: [self.trim() for _ in range(12)])
        for step in range(2, 8):
            bw.write(self.at(self.a, "train", step), b"")
            os.unlink(self.at(self.a, "train", step - 2))
            old = bw.error_of(open, self.at(b, "other", step - 2), "w")
            self.assertIn(old, ("", "ESTALE"))
            bw.write(self.at(b, "other", step), b"")
            for gone in range(step - 1):
                bw.error_of(os.unlink, self.at(b, "other", gone))
            first = int(b.status("first"))
            for job in ("train", "other"):
                self.assertEqual([m for m in self.markers(self.a, job) if m < first], [])
        self.join(trimmer)
        self.trim()
        self.assertEqual(self.a.status("first"), "6\n")


class Trouble(Checkpoint):
    CREATE = "import os, sys; os.close(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY))"

    def blocked(self, mount, path):
        child = subprocess.Popen([sys.executable, "-c", self.CREATE, path], stderr=subprocess.PIPE, text=True)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.addCleanup(child.stderr.close)
        bw.wait_until(lambda: "reason=mark" in mount.status("waiting"), what="the waiting create")
        return child

    def test_c2_a_signal_ends_the_wait_not_the_attempt(self):
        """C2: no unkillable process, whatever the store does; the marker is set when the store goes on."""
        gate = self.gate()
        b = self.mount(self.made, gate=gate)
        os.mkdir(self.at(b, "train"))
        gate.hold()
        for number in (signal.SIGKILL, signal.SIGINT):
            step = 3 if number == signal.SIGKILL else 4
            child = self.blocked(b, self.at(b, "train", step))
            self.assertIn(f"pid={child.pid} ", b.status("waiting"))
            self.assertIn(f"job=train step={step}", b.status("waiting"))
            child.send_signal(number)
            self.assertIn(child.wait(bw.PATIENCE), (-number, 1))
            bw.wait_until(lambda: "reason=mark" not in b.status("waiting"), what="no waiters")
            self.assertEqual(os.listdir(b.path("step/0/rank")), ["0"])  # nobody else waits
        gate.open()
        bw.wait_until(lambda: self.markers(self.a, "train") == [3, 4], what="the markers")

    def test_c2_the_deadline_ends_the_wait(self):
        """C2: ETIMEDOUT after commit_timeout; the attempt goes on."""
        gate = self.gate()
        b = self.mount(self.made, "commit_timeout=1", gate=gate)
        gate.hold()
        self.assert_errno("ETIMEDOUT", os.mkdir, self.at(b, "train"))
        self.assertNotIn("reason=mark", b.status("waiting"))
        self.assertEqual(os.listdir(self.at(self.a)), [])
        gate.open()
        bw.wait_until(lambda: os.path.isdir(self.at(b, "train")), what="the job")

    def test_c2_killed_right_after_the_acknowledgement(self):
        """C1, C2, S2: what mkdir and open have acknowledged survives the daemon."""
        b = self.mount(self.made)
        for i in range(5):
            os.mkdir(self.at(b, f"job{i}"))
            bw.write(self.at(b, f"job{i}", i), f"text {i}")
            b.kill()
            b.restart()
            for mount in (self.a, b):
                self.assertEqual(bw.read(self.at(mount, f"job{i}", i)), f"text {i}")

    def test_s3_a_lost_reply_is_resolved(self):
        """C1, C2, S3: each change whose reply is lost was made once, and its caller is told that it was."""
        gate = self.gate()
        b = self.mount(self.made, gate=gate)
        gate.fail(errno.EIO, applied=True)
        version = self.a.said()["version"]
        os.mkdir(self.at(b, "train"))
        bw.write(self.at(b, "train", 1), b"")
        bw.write(self.at(b, "train", 2), b"text")
        os.unlink(self.at(b, "train", 1))
        self.assertEqual(self.markers(self.a, "train"), [2])
        self.assertEqual(bw.read(self.at(self.a, "train", 2)), "text")
        os.unlink(self.at(b, "train", 2))
        os.rmdir(self.at(b, "train"))
        self.assertEqual(os.listdir(self.at(self.a)), [])
        self.assertEqual(self.a.said()["version"], version + 7)

    def test_s1_many_at_once(self):
        """C2, S1: processes of two mounts set and withdraw markers of several jobs side by side."""
        b = self.mount(self.made)

        def work(mount, job, mine):
            for i in range(4):
                bw.write(self.at(mount, job, mine), f"{mine} {i}")
                if i < 3:
                    os.unlink(self.at(mount, job, mine))

        for job in ("x", "y"):
            os.mkdir(self.at(b, job))
        self.join(*[self.spawn(work, mount, job, 2 * i + (mount is b))
                    for i in range(3) for job in ("x", "y") for mount in (self.a, b)])
        for mount in (self.a, b):
            for job in ("x", "y"):
                self.assertEqual(self.markers(mount, job), list(range(6)))
                self.assertEqual([bw.read(self.at(mount, job, i)) for i in range(6)], [f"{i} 3" for i in range(6)])

    def test_the_store_out_of_reach(self):
        """C2, V6: EIO for who must not be wrong, a listing of what is known for who looks; then all goes on."""
        stream = self.stream(1, breakable=True)
        m = self.mount(stream, "io_timeout=5,commit_timeout=30")
        m.put("p", 0)
        os.mkdir(m.path("checkpoint/train"))
        bw.write(m.path("checkpoint/train/1"), b"text")
        with stream.away():
            self.assert_errno("EIO", os.stat, m.path("checkpoint/train/1"))
            self.assertEqual(os.listdir(m.path("checkpoint")), ["train"])
            self.assertIn("jobs       1", m.status("status"))
        bw.wait_until(lambda: bw.error_of(os.stat, m.path("checkpoint/train/1")) == "", what="the store")
        self.assertEqual(bw.read(m.path("checkpoint/train/1")), "text")
        bw.write(m.path("checkpoint/train/0"), b"")
        self.assertEqual(self.markers(m, "train"), [0, 1])

    def test_s9_ro(self):
        """S9: a mount with ro reads jobs and markers of others, and changes none."""
        self.job(self.a, "train", 1)
        ro = self.mount(self.made, "ro")
        bw.write(self.at(self.a, "train", 2), b"text")
        self.assertEqual(self.markers(ro, "train"), [1, 2])
        self.assertEqual(bw.read(self.at(ro, "train", 2)), "text")
        self.assert_errno("EROFS", os.mkdir, self.at(ro, "eval"))
        self.assert_errno("EROFS", open, self.at(ro, "train", 3), "x")
        self.assert_errno("EROFS", open, self.at(ro, "train", 2), "a")
        self.assert_errno("EROFS", os.unlink, self.at(ro, "train", 2))
        self.assert_errno("EROFS", os.rmdir, self.at(ro, "train"))
        self.assertFalse(os.path.exists(ro.path("produce")))


class Status(Checkpoint):
    def test_jobs_in_status(self):
        """C3: what each job holds, in words, for machines, and as a metric; the same from the command."""
        self.job(self.a, "train", 2, 5)
        self.job(self.a, "eval", 7)
        for text in (self.a.status("status"), bw.batchweave("status", self.made.url).stdout):
            train = re.search(r"^ +train: (.*)$", text, re.MULTILINE).group(1)
            self.assertEqual(train, "2 markers, oldest at step 2, newest at 5, holds everything from step 2")
            self.assertIn("eval: 1 marker, oldest at step 7, newest at 7, holds everything from step 0; "
                          "a job with fewer than 2 markers stops all reclaiming", text)
        for where in (self.made.url, self.a.dir):
            jobs = json.loads(bw.batchweave("status", where, "--json").stdout)["jobs"]
            self.assertEqual(jobs, {
                "eval": {"markers": [7], "holds": 0, "stops_reclaiming": True},
                "train": {"markers": [2, 5], "holds": 2, "stops_reclaiming": False}})
        self.assertEqual((self.a.metric("lag_steps", job="train"), self.a.metric("lag_steps", job="eval")), (3, 1))


    def used(self, mount):
        info = os.statvfs(mount.dir)
        return (info.f_blocks - info.f_bfree) * info.f_frsize

    @bw.file_only("hundreds of commits take long on S3")
    def test_s9_live_bytes_follow_first(self):
        """S9: df and status tell what is live, on mounts that saw the trim, heard of it, or came after it."""
        stream = self.stream(1)
        a, b = self.mount(stream), self.mount(stream)
        step = 1 << 20
        for seq in range(300):  # index nodes: the entry of first is not in the root
            a.put("p", seq, [os.urandom(step) if seq % 100 == 0 else b"x"])
        bw.batchweave("checkpoint", stream.url, "train")
        for marker, big in ((50, 2), (150, 1), (300, 0)):
            for at in (marker, marker - 1):
                bw.write(a.path("checkpoint/train", at), b"")
            for old in os.listdir(a.path("checkpoint/train")):
                if int(old) < marker - 1:
                    os.unlink(a.path("checkpoint/train", old))
            done = subprocess.run([CHANGE, stream.url, "trim"], capture_output=True, text=True)
            self.assertEqual(done.stderr, "")
            late = self.mount(stream, "ro")
            for mount in (a, b, late):
                self.assertEqual(mount.status("first"), f"{marker - 1}\n")
                bw.wait_until(lambda at=mount, n=big: n * step <= json.loads(
                    at.status("status.json"))["live_bytes"] < (n + 1) * step, what="live bytes")
                self.assertTrue(big * step <= self.used(mount) < (big + 1) * step)
                self.assertEqual(mount.metric("garbage_steps"), marker - 1)
            said = json.loads(bw.batchweave("status", stream.url, "--json").stdout)
            self.assertEqual(said["live_bytes"], a.said()["live_bytes"])
            self.assertEqual(said["garbage_steps"], marker - 1)


class Command(Checkpoint):
    def checkpoint(self, *words, code=0):
        done = bw.batchweave("checkpoint", self.made.url, *words, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return (done.stdout + done.stderr).strip()

    def test_the_command(self):
        """C1, C2: registers, marks and withdraws without a mount; the mount sees it, and it the mount."""
        self.assertIn("there is no job train", self.checkpoint("train", 3, code=1))
        self.assertEqual(self.checkpoint("train"), "0")
        self.assertEqual(self.checkpoint("train"), "0")
        self.assertEqual(self.checkpoint("train", 3, "--text", "/ckpt/3"), "")
        self.assertEqual(self.checkpoint("train", 5), "")
        self.assertEqual(bw.read(self.at(self.a, "train", 3)), "/ckpt/3")
        self.checkpoint("train", 3)
        self.assertEqual(bw.read(self.at(self.a, "train", 3)), "/ckpt/3")
        self.assertEqual(self.markers(self.a, "train"), [3, 5])
        self.trim()
        self.assertEqual(self.checkpoint("eval"), "3")
        self.assertIn("the oldest kept step is 3", self.checkpoint("eval", 2, code=1))
        self.assertIn("beyond the head, which is 8", self.checkpoint("eval", 9, code=1))
        self.assertIn("has 2 markers", self.checkpoint("train", "--remove", code=1))
        self.assertIn("no marker at step 4", self.checkpoint("train", 4, "--remove", code=1))
        self.assertEqual(self.checkpoint("train", 3, "--remove"), "")
        os.unlink(self.at(self.a, "train", 5))
        self.assertEqual(self.checkpoint("train", "--remove"), "")
        self.assertIn("there is no job train", self.checkpoint("train", "--remove", code=1))
        self.assertEqual(os.listdir(self.at(self.a)), ["eval"])
        for words in (("train", "007"), ("a b",), ("train", 1, 2), (), ("train", "--text", "x"),
                      ("train", 1, "--text", "x" * 256)):
            self.checkpoint(*words, code=2)


if __name__ == "__main__":
    bw.main()
