# SPDX-License-Identifier: Apache-2.0
# ctest: once 12-s
"""Logs that are rotated below daemons: by a move, by copy and truncate, with and without a signal."""
import contextlib
import glob
import os
import re
import shutil
import signal
import subprocess
import sys

import bw

EXAMPLE = os.path.join(bw.HERE, "..", "..", "mount-helpers", "batchweave.logrotate")


class Rotated(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.m = self.mounted(ranks=1)
        self.log = self.m.log_path
        self.said, self.pid = 0, None

    def say(self):
        """One more line: seq 1000 and up of a producer that has none."""
        self.assert_errno("EINVAL", self.m.begin, "p", 1000 + self.said)
        self.said += 1

    def lines(self, *paths):
        """What say() made the logs tell, in this order."""
        text = "".join(bw.read(path) for path in paths)
        return [int(n) - 1000 for n in re.findall(r" warn seq_gap .*\bseq=(\d+)", text)]

    def test_moved_without_a_word(self):
        """The next line goes to a new file, and no line is lost on the way."""
        for turn in range(20):
            self.say()
            os.rename(self.log, f"{self.log}.{turn:02}")
            if turn % 2:
                self.say()
        self.say()
        files = sorted(glob.glob(self.log + ".[0-9]*")) + [self.log]
        self.assertEqual(self.lines(*files), list(range(self.said)))
        self.assertEqual(self.lines(self.log), [self.said - 2, self.said - 1])
        self.assertEqual(os.stat(self.log).st_mode & 0o777, 0o640)

    def test_moved_while_many_write(self):
        """Each line is in one file, once and whole."""
        turns, writers, moves, enough = 40, 4, 0, self.root + "/enough"

        def write(first):
            """Goes on until there were enough moves, also where whoever moves has hardly a processor."""
            i = 0
            while i < turns or not os.path.exists(enough):
                self.assert_errno("EINVAL", os.mkdir, self.m.slot(f"p{first}", 1000 + first + i * writers))
                i += 1
            bw.write(f"{enough}.{first}", str(i))

        for i in range(writers):
            os.mkdir(self.m.path("produce", f"p{i}"))
        children = [self.spawn(write, i) for i in range(writers)]
        while any(c.poll() is None for c in children):
            if os.path.exists(self.log):
                os.rename(self.log, f"{self.log}.{moves:06}")
                moves += 1
                if moves == 4:
                    bw.write(enough, "")
        self.join(*children)
        files = glob.glob(self.log + ".[0-9]*") + glob.glob(self.log)
        said = [first + i * writers for first in range(writers) for i in range(int(bw.read(f"{enough}.{first}")))]
        self.assertEqual(sorted(self.lines(*files)), sorted(said))

    def test_copied_and_truncated(self):
        """Lines are appended: what follows stands at the beginning, not behind a hole."""
        self.say()
        shutil.copy(self.log, self.log + ".1")
        os.truncate(self.log, 0)
        self.say()
        self.assertEqual((self.lines(self.log + ".1"), self.lines(self.log)), ([0], [1]))
        self.assertNotIn("\0", bw.read(self.log))

    def test_a_readahead_that_cannot_be_raised(self):
        """It is told once, with what to do: /sys is read-only in most containers."""
        if not bw.ROOT:
            self.skipTest("it takes a mount namespace of root's")
        folder, log = self.folder("mnt"), self.root + "/ahead.log"
        self.shell("""unshare --mount --propagation=private $P $H/apart.py sh -ec '
            mount -o remount,bind,ro /sys
            $B $U $D -o log=$L
            umount $D'""", P=sys.executable, H=bw.HERE, B=bw.MOUNT, U=self.m.stream.url, D=folder, L=log)
        bw.wait_until(lambda: " unmounted " in bw.read(log), what="the end of the daemon")
        said = re.findall(r" info readahead_not_raised (.*)", bw.read(log))
        self.assertEqual(len(said), 1)
        self.assertRegex(said[0], r'^file="(/sys/class/bdi/0:\d+/read_ahead_kb)" reason="Read-only file system" '
                                  r'remedy="as root: echo 1024 > \1"$')

    def test_removed(self):
        self.say()
        os.unlink(self.log)
        self.say()
        self.assertEqual(self.lines(self.log), [1])

    def test_no_new_file_can_be_made(self):
        """Lines go on into the old one rather than nowhere."""
        folder = self.folder("logs")
        m = self.mount(self.m.stream, f"log={folder}/log")
        os.rename(folder, folder + ".away")
        self.m, kept = m, self.m
        self.say()
        self.assertEqual(self.lines(folder + ".away/log"), [0])
        os.mkdir(folder)
        self.say()
        self.assertEqual(self.lines(folder + "/log"), [1])
        self.m = kept

    def daemon(self, log, cwd=None):
        """One in the background, as mount(8) starts it; its id."""
        folder = self.folder("mnt")
        subprocess.run([bw.MOUNT, self.m.stream.url, folder, "-o", "log=" + log], check=True, cwd=cwd,
                       stdin=subprocess.DEVNULL)
        self.addCleanup(self.end_daemon, folder)
        self.m.dir = folder  # whose daemon says the lines; taken back at the end
        self.addCleanup(setattr, self.m, "dir", self.m.there)
        where = os.path.join(cwd or "/", log)
        said = bw.wait_until(lambda: re.search(r" mounted .*\bpid=(\d+)", bw.read(where)), what="its first line")
        self.pid = int(said.group(1))
        return self.pid, where

    def end_daemon(self, folder):
        subprocess.run(["umount", "-l", folder], check=False, capture_output=True)
        if self.pid:
            bw.wait_until(lambda: not os.path.exists(f"/proc/{self.pid}"), what="the end of the daemon")

    def test_moved_and_told_by_a_signal(self):
        """SIGHUP opens the file anew at once, so that the old one may be compressed."""
        pid, log = self.daemon(self.root + "/other.log")
        os.rename(log, log + ".1")
        os.kill(pid, signal.SIGHUP)
        bw.wait_until(lambda: os.path.exists(log) and "log_reopened" in bw.read(log), what="the new log")
        held = []
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                held.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        self.assertIn(log, held)
        self.assertNotIn(log + ".1", held)
        self.say()
        self.assertEqual(self.lines(log), [0])

    def test_a_relative_path(self):
        """It is meant from where the command was typed, for the new file as well."""
        _, log = self.daemon("relative.log", cwd=self.root)
        self.assertEqual(os.path.dirname(log), self.root)
        os.rename(log, log + ".1")
        self.say()
        self.assertEqual((self.lines(log + ".1"), self.lines(log)), ([], [0]))

    def test_the_example_for_logrotate(self):
        """What is installed works: three rotations lose nothing."""
        logrotate = shutil.which("logrotate", path="/usr/sbin:/usr/bin:/sbin:/bin")
        if not logrotate:
            self.skipTest("logrotate is not installed")
        text = bw.read(EXAMPLE)
        self.assertIn("/var/log/batchweave/*.log {", text)
        config = os.path.join(self.root, "logrotate.conf")
        bw.write(config, text.replace("/var/log/batchweave/*.log", self.log))
        os.chmod(self.root, 0o755)
        for _ in range(3):
            self.say()
            done = subprocess.run([logrotate, "-f", "-s", self.root + "/state", config], capture_output=True, text=True,
                                  check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.say()
        rotated = sorted(glob.glob(self.log + "?*[0-9]") + glob.glob(self.log + "*.gz"))
        self.assertEqual(len(rotated), 3, os.listdir(self.root))
        for path in rotated:
            if path.endswith(".gz"):
                subprocess.run(["gunzip", path], check=True)
        found = self.lines(self.log, *(p.removesuffix(".gz") for p in rotated))
        self.assertEqual(sorted(found), list(range(self.said)))


class Full(bw.TestCase):
    """A pipe for a log, as a supervisor that has stopped reading leaves it."""

    def setUp(self):
        super().setUp()
        pipe = self.root + "/pipe"
        os.mkfifo(pipe)
        self.r = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, self.r)
        w = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(w, b"\n" * 4096)
        self.m = self.mount(self.stream(1), "log=stderr", prefix=("sh", "-c", 'exec "$@" 2>"$0"', pipe))
        os.close(w)
        os.mkdir(self.m.path("produce/p"))

    def gap(self, seq):
        self.assert_errno("EINVAL", os.mkdir, self.m.slot("p", seq))

    def test_s5_it_serves_and_ends(self):
        """S5: what it has to say holds neither a commit nor a read, nor its end."""
        self.join(*[self.spawn(self.gap, 10 + i) for i in range(12)])
        self.m.put("p", 0)
        self.assert_step(self.m, 0, "p", 0)
        self.assertEqual(self.m.stop(signal.SIGTERM), 0)

    def test_what_was_not_said_is_counted(self):
        for seq in range(10, 15):
            self.gap(seq)
        self.assertEqual(os.read(self.r, 1 << 20).strip(b"\n"), b"")
        self.gap(20)
        dropped, said = os.read(self.r, 1 << 20).decode().splitlines()[:2]
        self.assertRegex(dropped, r" warn lines_dropped lines=[0-9]+ ")
        self.assertGreaterEqual(int(re.search(r"lines=(\d+)", dropped).group(1)), 6)  # these, and that it was mounted
        self.assertRegex(said, r" warn seq_gap .*\bseq=20\b")


if __name__ == "__main__":
    bw.main()
