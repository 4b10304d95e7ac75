# SPDX-License-Identifier: Apache-2.0
# ctest: 40-s
"""P3k: a writer that was killed commits nothing; and commit=rename, which judges nobody."""
import os
import resource
import signal
import subprocess
import sys
import time

import bw

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV)
PART, WHOLE = b"x" * 70000, b"y" * 200000

WRITER = """
import ctypes, os, sys, threading, time
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
threads, size = int(sys.argv[2]), int(sys.argv[3])
for _ in range(threads):
    threading.Thread(target=time.sleep, args=[1000], daemon=True).start()
def write():
    os.write(fd, b"x" * size)
    print("written", flush=True)
if threads:
    threading.Thread(target=write, daemon=True).start()
else:
    write()
if sys.argv[4:] == ["crash"]:
    time.sleep(0.1)
    ctypes.string_at(0)
time.sleep(1000)
"""


def no_core():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Killed(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.m = self.mounted(ranks=1)
        self.seq = 0
        self.m.begin("p", 0)

    def path(self):
        return self.m.slot("p", self.seq, 0)

    def start(self, *args, path=None):
        """A writer that has written and holds the file open."""
        child = subprocess.Popen([sys.executable, "-c", WRITER, path or self.path(), *map(str, args)],
                                 stdout=subprocess.PIPE, preexec_fn=no_core)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.assertEqual(child.stdout.readline(), b"written\n")
        return child

    def is_not_committed(self):
        """Nothing is committed by what has died, and the batch waits for a rewrite."""
        for _ in range(4):  # a release may come a moment after the death
            self.assertEqual(self.m.head(), self.seq)
            time.sleep(0.02)
        self.assertIn("producer=p", self.m.status("waiting"))

    def rewritten_it_commits(self):
        bw.write(self.path(), WHOLE)
        self.assertEqual(self.m.head(), self.seq + 1)
        self.assertEqual(bw.read(self.m.step(self.seq, 0), "rb"), WHOLE)
        self.seq += 1
        self.m.begin("p", self.seq)

    def test_p3k_killed_in_the_middle_or_after_the_last_byte(self):
        """P3k: SIGKILL, SIGTERM, SIGSEGV; one thread and many; the batch commits when rewritten."""
        for number in SIGNALS:
            for threads in (0, 8):
                for size in (len(PART), len(WHOLE)):
                    with self.subTest(signal=number.name, threads=threads, size=size):
                        child = self.start(threads, size)
                        child.send_signal(number)
                        self.assertEqual(child.wait(bw.PATIENCE), -number)
                        self.is_not_committed()
                        self.rewritten_it_commits()

    def test_p3k_a_real_crash(self):
        """P3k: a load from address 0 in the writer itself, single and multithreaded."""
        for threads in (0, 4):
            child = self.start(threads, len(PART), "crash")
            self.assertEqual(child.wait(bw.PATIENCE), -signal.SIGSEGV)
            self.is_not_committed()
            self.rewritten_it_commits()

    def test_p3k_abort_and_other_deadly_signals(self):
        for number in (signal.SIGABRT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM, signal.SIGBUS):
            with self.subTest(signal=number.name):
                child = self.start(2, len(PART))
                child.send_signal(number)
                self.assertEqual(child.wait(bw.PATIENCE), -number)
                self.is_not_committed()
                self.rewritten_it_commits()

    def test_p3k_killed_while_it_writes(self):
        """P3k: SIGKILL at arbitrary moments of a loop of writes."""
        for i in range(20):
            child = subprocess.Popen([sys.executable, "-c", "import os, sys\n"
                                      "fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)\n"
                                      "print('open', flush=True)\n"
                                      "while True: os.write(fd, b'x' * 10000)", self.path()],
                                     stdout=subprocess.PIPE)
            child.stdout.readline()
            time.sleep(0.003 * i)
            child.kill()
            child.wait(bw.PATIENCE)
            child.stdout.close()
            self.assertEqual(self.m.head(), self.seq)
        bw.write(self.path(), WHOLE)
        self.assertEqual(bw.read(self.m.step(0, 0), "rb"), WHOLE)

    def test_p3k_a_killed_shell(self):
        """P3k: the shell that had opened the file is killed, then what it ran ends."""
        shell = subprocess.Popen(
            ["bash", "-c", "{ echo part; sleep 1000 2>&- & echo $! >&2; wait; echo never; } > $F"],
            env={**os.environ, "F": self.path()}, stderr=subprocess.PIPE)
        self.addCleanup(shell.stderr.close)
        sleeper = int(shell.stderr.readline())
        shell.kill()
        shell.wait(bw.PATIENCE)
        self.is_not_committed()
        os.kill(sleeper, signal.SIGTERM)
        self.is_not_committed()
        self.rewritten_it_commits()

    def test_p3k_the_parent_is_killed_while_a_child_holds_the_file(self):
        """P3k: the opener was killed; that the child leaves in order later does not commit."""
        code = ("import os, sys, time\n"
                "fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)\n"
                "os.write(fd, b'part')\n"
                "r, w = os.pipe()\n"
                "if os.fork() == 0:\n"
                "    os.close(w); os.read(r, 1); os._exit(0)\n"
                "print('written', flush=True); time.sleep(1000)\n")
        parent = subprocess.Popen([sys.executable, "-c", code, self.path()], stdout=subprocess.PIPE)
        self.addCleanup(parent.stdout.close)
        parent.stdout.readline()
        parent.kill()
        parent.wait(bw.PATIENCE)
        parent.stdout.read()  # until the child has gone too
        self.is_not_committed()
        self.rewritten_it_commits()

    def test_p3k_a_child_is_killed_that_writes_when_its_parent_has_closed(self):
        """P3k, P3: the writer is the child then, and was killed."""
        for number in SIGNALS:
            fd = os.open(self.path(), os.O_WRONLY | os.O_CREAT)
            child = subprocess.Popen([sys.executable, "-c", "import os, time\nos.write(1, b'part')\n"
                                      "time.sleep(1000)"], stdout=fd, preexec_fn=no_core)
            self.addCleanup(child.kill)
            bw.wait_until(lambda: bw.read(self.path()) == "part", what="the first bytes")
            os.close(fd)
            self.is_not_committed()
            child.send_signal(number)
            self.assertEqual(child.wait(bw.PATIENCE), -number)
            bw.wait_until(lambda: self.m.log().count("writer_killed") == self.seq + 1, what="a line in the log")
            self.is_not_committed()
            self.rewritten_it_commits()

    def test_p3k_a_child_is_killed_while_its_parent_writes(self):
        """P3k, P3: the opener lives and closes: that commits."""
        fd = os.open(self.path(), os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"one ")
        child = self.spawn(time.sleep, 1000)
        child.kill()
        self.assertEqual(child.wait(), -signal.SIGKILL)
        self.assertEqual(self.m.head(), 0)
        os.write(fd, b"two")
        os.close(fd)
        self.assertEqual(bw.read(self.m.step(0, 0)), "one two")

    def test_p3k_the_other_ranks_wait_for_the_rewrite(self):
        """P3k: in a batch of four one writer is killed; the others' closes do not commit around it."""
        m = self.mounted(ranks=4)
        m.begin("p", 0)
        for rank in (0, 1):
            bw.write(m.slot("p", 0, rank), b"fine")
        child = self.start(0, 100, path=m.slot("p", 0, 2))
        child.kill()
        child.wait(bw.PATIENCE)
        bw.write(m.slot("p", 0, 3), b"fine")
        self.assert_nothing_committed(m)
        line = [x for x in m.status("waiting").split("\n") if "producer=p" in x][0]
        self.assertRegex(line, r"\b2\b")
        bw.write(m.slot("p", 0, 2), b"again")
        self.assertEqual(m.get(0), [b"fine", b"fine", b"again", b"fine"])

    def test_p3k_appending_does_not_mend_a_truncated_slice(self):
        """P3k: not whole until truncated to 0 or replaced; adding to it is neither."""
        child = self.start(0, 100)
        child.kill()
        child.wait(bw.PATIENCE)
        with open(self.path(), "ab") as f:
            f.write(b"more")
        self.is_not_committed()
        bw.write(self.path() + ".new", b"replaced")
        os.replace(self.path() + ".new", self.path())
        self.assertEqual(bw.read(self.m.step(0, 0)), "replaced")

    def test_p3k_removed_it_is_gone(self):
        """P3k, P6: rm -rf of the batch, and the seq is free."""
        child = self.start(0, 100)
        child.kill()
        child.wait(bw.PATIENCE)
        bw.shutil.rmtree(self.m.slot("p", 0))
        self.m.put("p", 0)
        self.assertEqual(self.m.head(), 1)
        self.assert_step(self.m, 0, "p", 0)

    def test_p3k_is_told(self):
        """P3k: the log, /status/waiting, /status/errors and a metric tell of the killed writer."""
        child = self.start(0, 100)
        child.kill()
        child.wait(bw.PATIENCE)
        bw.wait_until(lambda: "kill" in self.m.log().lower(), what="a line in the log")
        self.assertRegex(self.m.status("waiting"), r"ranks=0\b")
        self.assertIn("seq=0", self.m.status("errors"))
        samples = self.m.metrics()
        killed = [v for name, s in samples.items() if "killed" in name for v in s.values()]
        self.assertEqual(sum(killed), 1)


class StateByClose(bw.TestCase):
    """P3k, P4: a cursor that is not whole does not ride with the batch, whatever makes a file whole."""

    OPTIONS, RENAME = "commit=close", False

    def start(self, options=""):
        self.m = self.mounted(self.OPTIONS + options, ranks=2)
        self.m.begin("p", 0)
        self.path = self.m.path("produce/p/0/state")

    def make_whole(self, path, data):
        """In either mode."""
        bw.write(path + ".new", data)
        os.rename(path + ".new", path)

    def write_ranks(self, seq=0):
        for rank in range(2):
            self.make_whole(self.m.slot("p", seq, rank), bw.payload("p", seq, rank))

    def waits(self, why):
        line = f"producer=p seq=0 state=staging missing=1/2 state_file=({why})\n"
        bw.wait_until(lambda: self.m.status("waiting") == line, what=line)  # a release may come a moment after the death
        self.assert_nothing_committed(self.m)

    def commits(self, state):
        self.assertEqual(self.m.head(), 1)
        self.assert_step(self.m, 0, "p", 0)
        self.assertEqual(self.m.state("p"), state)

    def test_p3k_p4_a_killed_writer(self):
        """P3k, P4: cut short by a kill it waits for one that is whole."""
        self.start()
        child = self.spawn(lambda: (os.write(os.open(self.path, os.O_WRONLY | os.O_CREAT), b"cursor "),
                                    os.kill(os.getpid(), signal.SIGKILL)))
        self.assertEqual(child.wait(), -signal.SIGKILL)
        if not self.RENAME:
            bw.wait_until(lambda: "writer_killed" in self.m.log(), what="the judgement")
        self.write_ranks()
        self.waits("not renamed" if self.RENAME else "writer killed")
        self.make_whole(self.path, b"cursor 1234")
        self.commits(b"cursor 1234")

    def test_p3k_p4_still_open(self):
        """P3k, P4: while somebody writes it, it is not whole; its close, or its fsync, commits then."""
        self.start()
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"cursor ")
        self.write_ranks()
        self.waits("open")
        os.write(fd, b"1234")
        if self.RENAME:
            os.fsync(fd)
            self.commits(b"cursor 1234")
        os.close(fd)
        self.commits(b"cursor 1234")

    def test_p3k_p4_closed(self):
        """P3k, P4: a close makes it whole, or does not."""
        self.start()
        bw.write(self.path, b"cursor 1234")
        self.write_ranks()
        if self.RENAME:
            self.waits("not renamed")
            fd = os.open(self.path, os.O_WRONLY)
            os.fsync(fd)
            os.close(fd)
        self.commits(b"cursor 1234")

    def test_p3k_p4_a_write_that_failed(self):
        """P3k, P4: torn until it is truncated to 0 or replaced."""
        self.start(f",memory=16M,staging={self.disk('16m')}")
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT)
        self.write_ranks()
        while not bw.error_of(os.write, fd, b"z" * (1 << 20)):
            self.assertLess(os.fstat(fd).st_size, 64 << 20)
        bw.error_of(os.fsync, fd)
        bw.error_of(os.close, fd)
        self.waits("write failed")
        fd = os.open(self.path, os.O_WRONLY | os.O_TRUNC)
        os.write(fd, b"fits")
        if self.RENAME:
            os.fsync(fd)
        os.close(fd)
        self.commits(b"fits")

    def test_p3k_p4_an_empty_one(self):
        """P3k, P4: it says that there is no cursor any more, and is made whole like any other."""
        self.start()
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT))
        self.write_ranks()
        if self.RENAME:
            self.waits("not renamed")
            self.make_whole(self.path, b"")
        self.commits(b"")


class StateByRename(StateByClose):
    """The same with commit=rename."""

    OPTIONS, RENAME = "commit=rename", True

    def test_p3k_p4_an_empty_one_that_was_synced(self):
        """P3k, P4: fsync does what rename does."""
        self.start()
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT)
        self.write_ranks()
        self.waits("open")
        os.fsync(fd)
        os.close(fd)
        self.commits(b"")


class Namespaces(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.needs_root()

    def test_p3k_a_closer_that_cannot_be_judged(self):
        """P3k: the daemon in a pid namespace of its own sees no pid: ENOTSUP, and the log says how."""
        m = self.mount(self.stream(2), prefix=["unshare", "-p", "-f"])
        m.begin("p", 0)
        said = [bw.error_of(bw.write, m.slot("p", 0, r), b"x") for r in (0, 1)]
        self.assertIn("ENOTSUP", said)
        self.assert_nothing_committed(m)
        self.assertRegex(m.log(), "closer_unknown producer=p seq=0 file=1 .*commit=rename")
        self.assertRegex(m.status("errors"), "producer=p seq=0 file=1 .*commit=rename")  # P3e: the shell's echo looks at no close

    def test_p3k_commit_rename_needs_no_judgement(self):
        """P3k: with commit=rename the same mount commits."""
        m = self.mount(self.stream(2), "commit=rename", prefix=["unshare", "-p", "-f"])
        m.begin("p", 0)
        for rank in (0, 1):
            bw.write(m.slot("p", 0, f"new{rank}"), b"x")
            os.rename(m.slot("p", 0, f"new{rank}"), m.slot("p", 0, rank))
        self.assertEqual(m.get(0), [b"x", b"x"])

    def test_p3k_writers_in_containers(self):
        """P3k: a writer in a namespace below the daemon's can be judged: it commits, killed it does not."""
        m = self.mounted(ranks=1)
        m.begin("p", 0)
        self.shell("unshare -p -f bash -c '{ echo a; /bin/echo b; } > $F'", F=m.slot("p", 0, 0))
        self.assertEqual(bw.read(m.step(0, 0)), "a\nb\n")
        m.begin("p", 1)
        self.shell("unshare -p -f --mount-proc bash -c '{ echo a; kill -9 $BASHPID; } > $F & wait $!; "
                   "true'", F=m.slot("p", 1, 0))
        self.assert_nothing_committed(m, 1)
        bw.write(m.slot("p", 1, 0), b"again")
        self.assertEqual(bw.read(m.step(1, 0)), "again")


class ByRename(bw.TestCase):
    """commit=rename"""

    def setUp(self):
        super().setUp()
        self.m = self.mounted("commit=rename", ranks=2)
        self.m.begin("p", 0)

    def at(self, rank):
        return self.m.slot("p", 0, rank)

    def test_p3k_close_makes_nothing_whole(self):
        bw.write(self.at(0), b"x")
        bw.write(self.at(1), b"y")
        self.shell("echo more >> $F", F=self.at(0))
        self.assert_nothing_committed(self.m)
        self.assertEqual(bw.read(self.at(0)), "xmore\n")

    def test_p3k_rename_does(self):
        """P3k: the rename that makes the last slice whole commits the batch."""
        for rank in (0, 1):
            bw.write(self.at(f"{rank}.tmp"), b"%d" % rank)
            self.assert_nothing_committed(self.m)
            os.rename(self.at(f"{rank}.tmp"), self.at(rank))
        self.assertEqual(self.m.get(0), [b"0", b"1"])

    def test_p3k_fsync_does(self):
        """P3k: fsync of the file makes it whole; the one that completes the batch commits it."""
        for rank in (0, 1):
            fd = os.open(self.at(rank), os.O_WRONLY | os.O_CREAT)
            os.write(fd, b"%d" % rank)
            self.assert_nothing_committed(self.m)
            os.fsync(fd)
            self.assertEqual(self.m.head(), rank)
            self.assert_errno("EROFS", os.write, fd, b"late")
            os.close(fd)
        self.assertEqual(self.m.get(0), [b"0", b"1"])

    def test_p3k_whole_slices_take_no_more(self):
        """P3k: later writes, truncates and opens for writing are EROFS."""
        bw.write(self.at("t"), b"x")
        os.rename(self.at("t"), self.at(0))
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_TRUNC):
            self.assert_errno("EROFS", os.open, self.at(0), flags)
        self.assert_errno("EROFS", os.truncate, self.at(0), 0)
        self.assertEqual(bw.read(self.at(0)), "x")

    def test_p3k_renamed_while_a_writer_has_it_open(self):
        """P3k: the writer that renamed its open file cannot change it any more."""
        fd = os.open(self.at("t"), os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"x")
        os.rename(self.at("t"), self.at(0))
        self.assert_errno("EROFS", os.write, fd, b"late")
        os.close(fd)
        bw.write(self.at("u"), b"y")
        os.rename(self.at("u"), self.at(1))
        self.assertEqual(self.m.get(0), [b"x", b"y"])

    def test_p3k_killed_writers_matter_not(self):
        """P3k: what a killed writer left under its temporary name is rewritten and renamed."""
        child = self.spawn(lambda: (bw.write(self.at("t"), b"part"), os.kill(os.getpid(), 9)))
        self.assertEqual(child.wait(), -9)
        bw.write(self.at("t"), b"whole")
        os.rename(self.at("t"), self.at(0))
        bw.write(self.at("u"), b"y")
        os.rename(self.at("u"), self.at(1))
        self.assertEqual(self.m.get(0), [b"whole", b"y"])

    def test_p3k_rsync_and_mv_commit_by_rename(self):
        """P2, P3k: programs that write a temporary name and rename it work unchanged."""
        source = self.folder("source")
        for rank in (0, 1):
            bw.write(f"{source}/{rank}", b"%d" % rank)
        self.shell("rsync -a $S/ $R/", S=source, R=self.m.slot("p", 0) + "/rank")
        self.assertEqual(self.m.get(0), [b"0", b"1"])


if __name__ == "__main__":
    bw.main()
