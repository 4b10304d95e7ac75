# SPDX-License-Identifier: Apache-2.0
# ctest: once waits 15-s
"""batchweave top: the page on a terminal, lines elsewhere, of a mount and of a stream."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios

import bw

ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"


class Terminal:
    """A terminal of our own with top in it, and what it has drawn."""

    def __init__(self, test, *args, rows=24, columns=80):
        self.master, slave = pty.openpty()
        test.addCleanup(os.close, self.master)
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.text = ""
        self.proc = subprocess.Popen([bw.BATCHWEAVE, "top", *args], stdin=slave, stdout=slave, stderr=subprocess.PIPE,
                                     preexec_fn=self.own_session)
        self.slave = slave
        test.addCleanup(os.close, slave)
        test.addCleanup(self.end)

    @staticmethod
    def own_session():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def end(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()
        self.proc.stderr.close()

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        while select.select([self.master], [], [], 0)[0]:
            self.text += os.read(self.master, 65536).decode()

    def see(self, condition, what):
        """Reads on until condition(text) is true."""
        def look():
            self.read()
            return condition(self.text)
        try:
            return bw.wait_until(look, what=what)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.text!r}") from e

    def pages(self):
        """Each page that was drawn whole: its lines."""
        found = re.findall(r"\x1b\[H(.*?)\x1b\[J", self.text, re.DOTALL)
        return [[line.strip("\r").removesuffix("\x1b[K") for line in page.split("\n")] for page in found]

    def type(self, keys):
        os.write(self.master, keys)

    def leave(self, code=0):
        """It has ended with code, and the terminal is as it was."""
        bw.wait_until(lambda: self.read() or self.proc.poll() is not None, what="the end of top")
        self.read()
        assert self.proc.returncode == code, (self.proc.returncode, self.proc.stderr.read())
        self.assert_as_before()

    def assert_as_before(self):
        assert self.text.rstrip("\r\n").endswith(LEAVE), self.text[-200:]
        assert termios.tcgetattr(self.slave) == self.before


class Top(bw.TestCase):
    def loaded(self):
        """A mount with a job, a producer with batches, and a reader of them."""
        m = self.mounted("wait=100", ranks=2)
        os.mkdir(m.path("checkpoint/train"))
        for seq in range(3):
            m.put("tokens", seq)
            m.get(seq)
        bw.write(m.path("checkpoint/train/1"), b"")
        return m

    def top(self, *args, code=0):
        done = bw.batchweave("top", *args, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def test_once(self):
        """The whole page, of a mount and of its stream; what one does not know it does not show."""
        m = self.loaded()
        page = self.top(m.dir, "--once", "--every", "0.1")
        for word in (m.stream.url, "steps 0 to 3 ", "steps/s", "batches/s", "conflicts/s", "from memory", "get ",
                     "put ", "memory ", "waiting   nobody"):
            self.assertIn(word, page)
        self.assertRegex(page, r"(?m)^train +2 .* 1  stops reclaiming$")
        self.assertRegex(page, r"(?m)^tokens +3 +0 +0$")
        self.assertNotIn("nan", page)
        page = self.top(m.stream.url, "--once", "--every", "0.1")
        self.assertIn("steps 0 to 3 ", page)
        self.assertRegex(page, r"(?m)^tokens +3 +0 +-$")
        self.assertNotIn("waiting", page)

    def test_it_does_not_see_itself(self):
        """What top waits for when it looks is no waiting of the mount's users, however far the store is away."""
        m = self.loaded()

        def waits():
            return m.metric("wait_seconds_count", reason="lookup"), m.metric("wait_seconds_sum", reason="lookup")

        before = waits()
        self.top(m.dir, "--json", "-n", "3", "--every", "0.1")
        m.status("status")
        self.assertEqual(waits(), before)
        m.status("head")
        self.assertEqual(waits()[0], before[0] + 1, "a program that asks for the head")

    def test_lines(self):
        """Elsewhere than on a terminal: a line a look, key=value; they follow what is committed."""
        m = self.loaded()
        for where in (m.dir, m.stream.url):
            with subprocess.Popen([bw.BATCHWEAVE, "top", where, "--every", "0.1"], stdout=subprocess.PIPE,
                                  text=True) as child:
                self.addCleanup(child.kill)
                first = child.stdout.readline()
                said = dict(pair.split("=") for pair in first.split()[1:])
                head = int(said["head"])
                self.assertEqual((said["first"], said["lag"]), ("0", str(head - 1)))
                self.assertEqual("requests_per_s" in said, where == m.dir)
                m.put("tokens", head)
                seen = ""
                while f" head={head + 1} " not in seen:
                    seen = child.stdout.readline()
                    self.assertTrue(seen)
                self.assertGreater(float(re.search(r"steps_per_s=(\S+)", seen).group(1)), 0)
                child.send_signal(signal.SIGTERM)
                self.assertEqual(child.wait(bw.PATIENCE), 0)

    def test_hangup(self):
        """Of the terminal that it was started from: it ends, but not under nohup(1)."""
        m = self.mounted()
        for ignored in (False, True):
            with subprocess.Popen([bw.BATCHWEAVE, "top", m.dir, "--every", "0.1"], stdout=subprocess.PIPE, text=True,
                                  preexec_fn=lambda: signal.signal(signal.SIGHUP, (signal.SIG_DFL, signal.SIG_IGN)[ignored])) as child:
                self.addCleanup(child.kill)
                self.assertIn("head=", child.stdout.readline())
                child.send_signal(signal.SIGHUP)
                for _ in range(20 if ignored else 0):
                    self.assertIn("head=", child.stdout.readline())
                child.send_signal(signal.SIGTERM if ignored else 0)
                self.assertEqual(child.wait(bw.PATIENCE), 0)

    def test_json(self):
        m = self.loaded()
        lines = self.top(m.dir, "--json", "-n", "3", "--every", "0.1").splitlines()
        self.assertEqual(len(lines), 3)
        for line in lines:
            said = json.loads(line)
            self.assertEqual((said["head"], said["lags"], said["store_ok"]), (3, {"train": 2}, True))
            self.assertEqual(set(said["waiters"]), {"step", "lookup", "commit", "take", "mark", "ahead", "read"})
        said = json.loads(self.top(m.stream.url, "--json", "--once", "--every", "0.1"))
        self.assertEqual((said["head"], said["get_ms"]), (3, None))

    def test_usage(self):
        m = self.mounted()
        for args in ((), (m.dir, m.dir), (m.dir, "--every", "0"), (m.dir, "-n", "0"), (m.dir, "--once", "-n", "1"),
                     (m.dir, "--endpoint", "http://x"), (self.folder("none"),), ("file:x",)):
            self.assertEqual(self.top(*args, code=2).count("\n"), 1, args)
        self.assertIn("init", self.top("file://" + self.folder("empty"), code=1))

    def test_a_reader_that_has_gone(self):
        m = self.mounted()
        done = self.shell('set -o pipefail; "$TOP" top "$M" --every 0.1 | head -n 1', TOP=bw.BATCHWEAVE, M=m.dir)
        self.assertIn("head=", done.stdout)
        self.assertEqual(done.stderr, "")

    def test_a_disk_that_is_full(self):
        m = self.mounted()
        done = self.shell('"$TOP" top "$M" --every 0.1 >/dev/full', check=False, TOP=bw.BATCHWEAVE, M=m.dir)
        self.assertEqual((done.returncode, done.stderr), (1, "batchweave: cannot write the output\n"))

    def test_terminal(self):
        """Drawn in place, in the size of the terminal also when that changes; q gives it back as it was."""
        m = self.loaded()
        waiter = self.spawn(lambda: os.stat(m.step(3)))
        t = Terminal(self, m.dir, "--every", "0.2", rows=12, columns=70)
        t.see(lambda text: "waiting   step 1" in text and len(t.pages()) > 3, "pages with a waiter")
        self.assertTrue(t.text.startswith(ENTER))
        self.assertFalse(termios.tcgetattr(t.slave)[3] & (termios.ECHO | termios.ICANON))
        for page in t.pages():
            self.assertLessEqual(len(page), 12)
            self.assertLessEqual(max(map(len, page)), 70)
        t.resize(40, 30)
        t.see(lambda text: any(p for p in t.pages()[-1:] if max(map(len, p)) <= 30 and len(p) > 12), "the new size")
        t.resize(40, 120)
        t.see(lambda text: any("PRODUCER" in "".join(p) for p in t.pages()[-1:]), "all of it")
        m.put("tokens", 3)
        self.join(waiter)
        t.see(lambda text: "steps 0 to 4 " in text, "the step that was committed")
        t.type(b"xyz")
        t.type(b"q")
        t.leave()

    def test_signals(self):
        """Ctrl-C, SIGTERM and Ctrl-Z give the terminal back; fg goes on."""
        m = self.loaded()
        t = Terminal(self, m.dir, "--every", "0.2")
        t.see(lambda text: len(t.pages()) > 1, "a page")
        t.proc.send_signal(signal.SIGTSTP)
        bw.wait_until(lambda: re.search(r"\nState:\s+T", bw.read(f"/proc/{t.proc.pid}/status")), what="that it stops")
        t.read()
        t.assert_as_before()
        drawn = len(t.pages())
        t.proc.send_signal(signal.SIGCONT)
        t.see(lambda text: len(t.pages()) > drawn + 1, "that it goes on")
        t.type(b"\x03")
        t.leave()
        t = Terminal(self, m.dir)
        t.see(lambda text: ENTER in text, "a page")
        t.proc.send_signal(signal.SIGTERM)
        t.leave()

    def test_a_mount_that_hangs_does_not_hold_it(self):
        """The page and the keys are alive while the daemon is not."""
        m = self.loaded()
        t = Terminal(self, m.dir, "--every", "0.2")
        t.see(lambda text: "train" in text, "a page")
        m.proc.send_signal(signal.SIGSTOP)
        self.addCleanup(m.proc.send_signal, signal.SIGCONT)
        t.type(b"q")
        t.leave()
        m.proc.send_signal(signal.SIGCONT)

    def test_a_mount_that_ends(self):
        m = self.loaded()
        t = Terminal(self, m.dir, "--every", "0.2")
        t.see(lambda text: "train" in text, "a page")
        m.proc.kill()
        m.proc.wait()
        t.leave(1)
        self.assertRegex(t.proc.stderr.read().decode(), r"^batchweave top: the mount at \S+ has ended")

    @bw.file_only("a directory that is moved away")
    def test_a_store_that_goes_and_comes(self):
        """Of a URL: it says so, and goes on when the store is back."""
        m = self.loaded()
        url = m.stream.url
        self.assertEqual(m.umount(), 0)
        t = Terminal(self, url, "--every", "0.2", columns=200)
        t.see(lambda text: "train" in text, "a page")
        with m.stream.away():
            t.see(lambda text: "DOES NOT ANSWER" in text, "that the store is away")
        t.see(lambda text: not any("DOES NOT ANSWER" in line for line in t.pages()[-1]), "that it is back")
        t.type(b"q")
        t.leave()


if __name__ == "__main__":
    bw.main()
