# SPDX-License-Identifier: Apache-2.0
# ctest: 65-s
"""P3: which close counts.  The streams have one rank, so a close that counts too early commits a part.

Each way of writing must commit exactly once, and what it commits must be whole.
"""
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import bw

# Each writes the files $A and $B, in this order, to $F.
AB_SCRIPTS = {
    "cat a b >": "cat $A $B > $F",
    "(a; b) >": "(cat $A; cat $B) > $F",
    "{ a; b; } >": "{ cat $A; cat $B; } > $F",
    "{ a; b; } > in the background": "{ cat $A; cat $B; } > $F & wait $!",
    "a function": "f() { cat $A; /bin/cat $B; }; f > $F",
    "a loop": "for f in $A $B; do cat $f; done > $F",
    "a while loop": "while read -r f; do cat $f; done > $F < <(echo $A; echo $B)",
    "a pipeline": "cat $A $B | cat > $F",
    "a pipeline inside": "{ cat $A | cat; cat $B | cat; } > $F",
    "exec 3>": "exec 3> $F; cat $A >&3; cat $B >&3; exec 3>&-",
    "exec 1>": "exec > $F; cat $A; cat $B",
    "exec 1> in a child shell": "bash -c 'exec > $F; cat $A; exec cat $B'",
    "a dup in the shell": "exec 3> $F; exec 4>&3; cat $A >&4; exec 4>&-; cat $B >&3; exec 3>&-",
    "a descriptor moved": "exec 3> $F; exec 5>&3-; cat $A >&5; cat $B >&5; exec 5>&-",
    "dash": "dash -c '{ cat $A; cat $B; } > $F'",
    "dash exec 3>": "dash -c 'exec 3> $F; cat $A >&3; cat $B >&3; exec 3>&-'",
    "tee": "cat $A $B | tee $F >/dev/null",
    "tee twice": "cat $A $B | tee $F $TMP >/dev/null",
    "cp": "cat $A $B > $TMP; cp $TMP $F",
    "mv": "cat $A $B > $TMP; mv $TMP $F",
    "dd of=": "cat $A $B | dd of=$F status=none",
    "dd > ": "cat $A $B | dd bs=7777 status=none > $F",
    "dd in two parts": "{ dd if=$A status=none; dd if=$B status=none; } > $F",
    "rsync": "cat $A $B > $TMP; rsync $TMP $F",
    "python stdout": "python3 -c 'import sys; [sys.stdout.buffer.write(open(p, \"rb\").read()) "
                     "for p in sys.argv[1:]]' $A $B > $F",
    "xargs": "printf '%s\\n' $A $B | xargs cat > $F",
    "xargs, a process each": "printf '%s\\n' $A $B | xargs -n1 cat > $F",
    "find -exec": "find $A $B -exec cat {} \\; > $F",
    "sh -c that execs": "sh -c 'cat $A; exec cat $B' > $F",
    "env, nice, timeout": "env nice timeout 100 cat $A $B > $F",
    "gzip and back": "cat $A $B | gzip | gunzip > $F",
    "sed in place of a copy": "cat $A $B | sed -n p > $F",
    "a here document": "{ cat $A; cat; } > $F <<< $(cat $B)",
    "append by a second descriptor": "{ cat $A; cat $B >> $F; } > $F",
    "a subshell that stays": "{ cat $A; (exec 1>&-; sleep 0.2) & cat $B; } > $F",
    "clobber": "set -C; cat $A $B >| $F",
    "read and write": "cat $A $B 1<> $F",
    "vim's way": "cat $A $B > $F.new && mv $F.new $F",
}


class Shell(bw.TestCase):
    def test_p3_shells_and_programs(self):
        """P3: each way of a shell commits once, whole; twice in a row for each."""
        m = self.mounted(ranks=1)
        a, b = (os.path.join(self.root, n) for n in "ab")
        texts = ["".join(f"{i:07d}\n" for i in range(start, start + 30000)) for start in (0, 500000)]
        bw.write(a, texts[0])
        bw.write(b, texts[1])
        seq = 0
        for name, script in AB_SCRIPTS.items():
            for turn in (1, 2):
                with self.subTest(way=name, turn=turn):
                    m.begin("p", seq)
                    done = self.shell("export F A B TMP; " + script, check=False, A=a, B=b,
                                      F=m.slot("p", seq, 0), TMP=self.root + "/tmp")
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                    self.assertEqual(m.head(), seq + 1)
                    got = bw.read(m.step(seq, 0))
                    self.assertTrue(got == "".join(texts), f"{len(got)} bytes of {len(texts[0]) * 2}")
                seq = m.head()
                bw.shutil.rmtree(m.slot("p", seq), ignore_errors=True)  # what a failure left
        self.assertEqual(m.status("errors"), "")

    def test_p3_one_word(self):
        """P3: echo, printf, and the empty flush that bash sends first."""
        m = self.mounted(ranks=1)
        for seq, script in enumerate(("echo x > $F", "echo x >> $F", "printf 'x\\n' > $F",
                                      "echo x | cat > $F", "/bin/echo x > $F", "echo x 1<> $F",
                                      "echo x | tee $F", ": > $F; echo x > $F", "touch $F; echo x >$F",
                                      "dash -c 'echo x > $F'")):
            m.begin("p", seq)
            self.shell("export F; " + script, F=m.slot("p", seq, 0))
            self.assertEqual(m.head(), seq + 1, script)
            self.assertEqual(bw.read(m.step(seq, 0)), "x\n", script)

    def test_p3_a_descriptor_of_the_shell_commits_at_its_close(self):
        """P3: exec 3> f; each echo >&3 dups and closes, and only exec 3>&- commits."""
        m = self.mounted(ranks=1)
        m.begin("p", 0)
        done = self.shell("""exec 3> $F
            echo a >&3; cat $M/status/head
            /bin/echo b >&3; cat $M/status/head
            { echo c; (echo d); } >&3; cat $M/status/head
            exec 3>&-; cat $M/status/head""", F=m.slot("p", 0, 0), M=m.dir)
        self.assertEqual(done.stdout.split(), ["0", "0", "0", "1"])
        self.assertEqual(bw.read(m.step(0, 0)), "a\nb\nc\nd\n")

    def test_p3_bind_mounts(self):
        """P3: seen through a bind mount, as containers do, the path of a descriptor is another."""
        self.needs_root()
        m = self.mounted(ranks=1)
        for seq, below in enumerate(("", "produce", "produce/p", "produce/p/3/rank")):
            m.begin("p", seq)
            out = self.folder("bind")
            self.shell("mount --bind $M $O", M=m.path(below), O=out)
            self.addCleanup(self.shell, "umount $O", O=out)
            path = os.path.join(out, os.path.relpath(m.slot("p", seq, 0), m.path(below)))
            done = self.shell("""exec 3> $F; echo a >&3; echo b >&3; cat $M/status/head
                exec 3>&-; cat $M/status/head""", F=path, M=m.dir)
            self.assertEqual(done.stdout.split(), [str(seq), str(seq + 1)], below)
            self.assertEqual(bw.read(m.step(seq, 0)), "a\nb\n", below)

    def test_p3_append_to_a_file_that_is_not_empty(self):
        """P3: cat >> opens, dups and closes before it has written; the other rank's close is no commit."""
        m = self.mounted(ranks=2)
        m.begin("p", 0)
        bw.write(m.slot("p", 0, 0), "one,")
        pipe = os.path.join(self.root, "pipe")
        os.mkfifo(pipe)
        shell = subprocess.Popen(["bash", "-c", "cat $P >> $F; true"],
                                 env={**os.environ, "P": pipe, "F": m.slot("p", 0, 0)})
        self.addCleanup(shell.kill)
        with open(pipe, "wb", buffering=0) as f:
            f.write(b"two,")
            bw.wait_until(lambda: bw.read(m.slot("p", 0, 0)) == "one,two,", what="the first word")
            bw.write(m.slot("p", 0, 1), "other")
            self.assert_nothing_committed(m)
            f.write(b"three")
        self.assertEqual(shell.wait(bw.PATIENCE), 0)
        self.assertEqual(m.get(0), [b"one,two,three", b"other"])

    def test_p3_a_shell_with_the_file_open_leaves_its_child_behind(self):
        """P3: the opener's exit counts although a background child still holds the descriptor."""
        m = self.mounted(ranks=1)
        m.begin("p", 0)
        done = self.shell("(echo whole; sleep 1000 2>&- & echo $! >&2) > $F", F=m.slot("p", 0, 0))
        child = int(done.stderr)
        try:
            self.assertEqual(m.head(), 1)
            self.assertEqual(bw.read(m.step(0, 0)), "whole\n")
        finally:
            os.kill(child, signal.SIGKILL)


class Processes(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.m = self.mounted(ranks=1)
        self.m.begin("p", 0)
        self.path = self.m.slot("p", 0, 0)

    def open(self, flags=0):
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | flags)

    def not_yet(self):
        self.assertEqual(self.m.head(), 0)

    def committed_as(self, data):
        self.assertEqual(self.m.head(), 1)
        self.assertEqual(bw.read(self.m.step(0, 0), "rb"), data)

    def test_p3_a_forked_child_exits_first(self):
        """P3: the child's exit flushes the half-written file and does not count."""
        fd = self.open()
        os.write(fd, b"one ")
        child = self.spawn(lambda: None)
        self.join(child)
        self.not_yet()
        os.write(fd, b"two")
        os.close(fd)
        self.committed_as(b"one two")

    def test_p3_a_forked_child_closes_and_lives(self):
        fd = self.open()
        os.write(fd, b"one ")
        ready, go = os.pipe(), os.pipe()

        def child():
            os.close(fd)
            os.write(ready[1], b".")
            os.read(go[0], 1)

        process = self.spawn(child)
        os.read(ready[0], 1)
        self.not_yet()
        os.write(fd, b"two")
        os.close(fd)
        self.committed_as(b"one two")
        os.write(go[1], b".")
        self.join(process)
        for end in ready + go:
            os.close(end)

    def test_p3_the_child_writes_the_rest(self):
        """P3: what the child wrote before the opener's close is in it."""
        fd = self.open()
        os.write(fd, b"parent ")
        self.join(self.spawn(os.write, fd, b"child "))
        self.not_yet()
        os.write(fd, b"parent")
        os.close(fd)
        self.committed_as(b"parent child parent")

    def test_p3_the_parent_closes_first(self):
        """P3: the opener's close counts, and commits at once, though a child holds the descriptor."""
        fd = self.open()
        os.write(fd, b"whole")
        hold = os.pipe()

        def child():
            os.close(hold[1])
            os.read(hold[0], 1)

        process = self.spawn(child)
        os.close(fd)
        self.committed_as(b"whole")
        os.close(hold[1])
        self.join(process)
        os.close(hold[0])
        self.assertEqual(self.m.head(), 1)

    def child_that_writes(self, fd, end, *args):
        """A child that has written one word; on its way to end it writes another when told to."""
        ready, go = os.pipe(), os.pipe()

        def child():
            os.close(go[1])
            os.write(fd, b"one ")
            os.write(ready[1], b".")
            if os.read(go[0], 1):
                os.write(fd, b"two")
                end(*args)

        process = self.spawn(child)
        self.assertEqual(os.read(ready[0], 1), b".")
        for one in (go[0], *ready):
            os.close(one)
        self.addCleanup(os.close, go[1])
        return process, go[1]

    def test_p3_the_child_writes_on_when_the_opener_has_closed(self):
        """P3: Popen(..., stdout=open(slot, "wb")): the close of who only opened it is no end; the writer's own is, or its exit."""
        fd = self.open()
        child, go = self.child_that_writes(fd, lambda: None)
        os.close(fd)
        self.not_yet()
        os.write(go, b".")
        self.join(child)
        bw.wait_until(lambda: self.m.head() == 1, what="the commit")
        self.committed_as(b"one two")
        self.m.begin("p", 1)
        self.path = self.m.slot("p", 1, 0)
        fd = self.open()
        child, go = self.child_that_writes(fd, lambda: (os.close(fd), time.sleep(1000)))
        os.close(fd)
        self.assertEqual(self.m.head(), 1)
        os.write(go, b".")
        bw.wait_until(lambda: self.m.head() == 2, what="the commit")
        self.assertEqual(bw.read(self.m.step(1, 0)), "one two")

    def test_p3_the_opener_exits_while_its_child_writes(self):
        """P3: the same of { gen & ...; } > slot in a shell that goes on, in one that exits, and of one that exits with it open."""
        for seq, script in enumerate(("{ %s & read; } > $F; echo closed; read", "{ %s & read; } > $F", "exec > $F; %s & read")):
            if seq:
                self.m.begin("p", seq)
            pipe = os.path.join(self.root, f"pipe{seq}")
            os.mkfifo(pipe)
            shell = subprocess.Popen(["bash", "-c", script % "{ echo one; cat $P; echo three; }"], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, env={**os.environ, "P": pipe, "F": self.m.slot("p", seq, 0)})
            self.addCleanup(shell.stdout.close)
            self.addCleanup(shell.kill)
            with open(pipe, "wb", buffering=0) as f:
                bw.wait_until(lambda: bw.read(self.m.slot("p", seq, 0)) == "one\n", what="the first word")
                shell.stdin.write(b"\n")
                shell.stdin.flush()
                if seq == 0:
                    self.assertEqual(shell.stdout.readline(), b"closed\n")
                else:
                    self.assertEqual(shell.wait(bw.PATIENCE), 0)
                self.assertEqual(self.m.head(), seq)
                f.write(b"two\n")
            bw.wait_until(lambda: self.m.head() == seq + 1, what="the commit")
            self.assertEqual(bw.read(self.m.step(seq, 0)), "one\ntwo\nthree\n")
            shell.stdin.close()
            shell.wait(bw.PATIENCE)

    def test_p3_the_child_begins_to_write_while_the_opener_closes(self):
        """P3: its first bytes come while it is looked at who closes, which takes long where that has many descriptors."""
        many = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 20000) - 200
        closing = os.pipe()

        def child(fd):
            os.read(closing[0], 1)
            time.sleep(0.002)
            os.write(fd, b"one ")
            time.sleep(0.1)
            os.write(fd, b"two")

        def opener(path):
            resource.setrlimit(resource.RLIMIT_NOFILE, (many + 200, many + 200))
            fd = os.open(path, os.O_WRONLY | os.O_CREAT)
            writer = self.spawn(child, fd)
            null = os.open(os.devnull, os.O_RDONLY)
            for _ in range(many):
                os.dup(null)
            os.write(closing[1], b".")
            os.close(fd)
            self.join(writer)

        self.join(self.spawn(opener, self.path))
        for end in closing:
            os.close(end)
        bw.wait_until(lambda: self.m.head() == 1, what="the commit")
        self.committed_as(b"one two")

    def test_p3_a_child_that_wrote_and_has_closed_holds_nothing(self):
        """P3: the opener's close commits at once when the child that wrote lives, but has no descriptor any more."""
        fd = self.open()
        child, go = self.child_that_writes(fd, lambda: (os.close(fd), os.kill(os.getpid(), signal.SIGSTOP)))
        os.write(go, b".")
        self.assertEqual(os.waitpid(child.pid, os.WUNTRACED)[0], child.pid)
        os.close(fd)
        self.committed_as(b"one two")

    def test_p3_a_child_that_wrote_and_has_ended_holds_nothing(self):
        """P1, P3: nor does one that nobody has waited for yet."""
        fd = self.open()
        child, go = self.child_that_writes(fd, lambda: None)
        os.write(go, b".")
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        os.close(fd)
        self.committed_as(b"one two")

    def test_p3_the_opener_exits_before_it_has_written(self):
        """P3: opened by a parent that exits, written by the child: the last descriptor decides."""
        code = ("import os, sys, time\n"
                "fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)\n"
                "if os.fork(): os._exit(0)\n"
                "time.sleep(0.3)\n"
                "os.write(fd, b'by the child')\n")
        subprocess.run([sys.executable, "-c", code, self.path], check=True)
        bw.wait_until(lambda: self.m.head() == 1, what="the commit")
        self.committed_as(b"by the child")

    def test_p3_dup(self):
        """P3: of two descriptors of one process the last close counts, in either order."""
        for seq, first in enumerate((0, 1)):
            if seq:
                self.m.begin("p", seq)
            fd = os.open(self.m.slot("p", seq, 0), os.O_WRONLY | os.O_CREAT)
            fds = [fd, os.dup(fd)]
            os.write(fds[first], b"one ")
            os.close(fds[first])
            self.assertEqual(self.m.head(), seq)
            os.write(fds[1 - first], b"two")
            os.close(fds[1 - first])
            self.assertEqual(self.m.head(), seq + 1)
            self.assertEqual(bw.read(self.m.step(seq, 0)), "one two")

    def test_p3_dup2_over_it(self):
        """P3: a descriptor replaced by dup2 is closed by that."""
        fd = self.open()
        os.write(fd, b"whole")
        with open(os.devnull, "rb") as f:
            os.dup2(f.fileno(), fd)
        self.committed_as(b"whole")
        os.close(fd)

    def test_p3_two_opens_of_one_file(self):
        """P1, P3: two writers of a slice: not before both have closed."""
        one, two = self.open(), self.open()
        os.write(one, b"ABCD")
        os.pwrite(two, b"x", 1)
        os.close(one)
        self.not_yet()
        os.close(two)
        self.committed_as(b"AxCD")

    def test_p3_a_subprocess_while_open(self):
        """P3: Python's subprocess closes the descriptor in its child before exec."""
        with open(self.path, "wb", buffering=0) as f:
            f.write(b"one ")
            for _ in range(5):
                subprocess.run(["true"], check=True)
                subprocess.run("true", shell=True, check=True, close_fds=False)
                self.not_yet()
            f.write(b"two")
        self.committed_as(b"one two")

    def test_p3_a_subprocess_that_inherits_it(self):
        fd = self.open()
        subprocess.run(["sh", "-c", f"echo from the child >&{fd}"], pass_fds=[fd], check=True)
        self.not_yet()
        subprocess.run(["cat"], input=b"and another", stdout=fd, check=True)
        self.not_yet()
        os.close(fd)
        self.committed_as(b"from the child\nand another")

    def test_p3_posix_spawn_while_open(self):
        fd = self.open(os.O_CLOEXEC)
        os.write(fd, b"one ")
        for _ in range(5):
            pid = os.posix_spawn("/bin/true", ["true"], os.environ)
            self.assertEqual(os.waitpid(pid, 0)[1], 0)
            self.not_yet()
        os.write(fd, b"two")
        os.close(fd)
        self.committed_as(b"one two")

    def test_p3_fork_then_exec_with_close_on_exec(self):
        """P3, 50 ms: exec flushes inside the kernel; it neither hangs nor counts."""
        fd = self.open(os.O_CLOEXEC)
        os.write(fd, b"one ")
        for _ in range(5):
            self.join(self.spawn(os.execvp, "true", ["true"]))
            self.not_yet()
        os.write(fd, b"two")
        os.close(fd)
        self.committed_as(b"one two")

    def run_code(self, code):
        return subprocess.run([sys.executable, "-c", "import os, sys, threading, time\np=sys.argv[1]\n"
                               "fd = os.open(p, os.O_WRONLY | os.O_CREAT)\n" + code, self.path],
                              check=False, timeout=bw.PATIENCE, capture_output=True)

    def settled(self, done, data):
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        bw.wait_until(lambda: self.m.head() == 1, what="the commit")
        self.committed_as(data)

    def test_p3_the_opener_execs_with_the_file_closed_by_it(self):
        """P3: a close-on-exec descriptor of the opener itself: exec neither hangs nor loses the commit."""
        self.settled(self.run_code("os.write(fd, b'whole')\nos.execvp('true', ['true'])"), b"whole")

    def test_p3_the_opener_execs_with_the_file_open(self):
        """P3: the descriptor survives exec; what the new program writes is in it."""
        self.settled(self.run_code(
            "os.write(fd, b'before ')\nos.dup2(fd, 1)\n"
            "os.execvp('sh', ['sh', '-c', 'printf after'])"), b"before after")

    def test_p3_many_openers_exec_at_once(self):
        """P3: more of them than there are threads to look; none hangs, and each commits once, whole."""
        code = ("import os, sys\n"
                "fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)\n"
                "os.write(fd, b'whole')\n"
                "print('.', flush=True)\n"
                "os.read(0, 1)\n"
                "os.execvp('true', ['true'])\n")
        children = []
        for i in range(12):
            self.m.begin(f"q{i}", 0)
            child = subprocess.Popen([sys.executable, "-c", code, self.m.slot(f"q{i}", 0, 0)],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.addCleanup(child.stdout.close)
            self.addCleanup(child.kill)
            children.append(child)
        for child in children:
            self.assertEqual(child.stdout.readline(), b".\n")
        for child in children:
            child.stdin.close()
        for child in children:
            self.assertEqual(child.wait(bw.PATIENCE), 0)
        bw.wait_until(lambda: self.m.head() == 12, what="the commits")
        self.assertEqual({bw.read(self.m.step(s, 0)) for s in range(12)}, {"whole"})

    def test_p3_exit_without_close(self):
        """P3: an exit in order closes; with exit, _exit and an uncaught exception alike."""
        for seq, end in enumerate(("sys.exit(0)", "os._exit(0)", "sys.exit(3)", "raise ValueError")):
            if seq:
                self.m.begin("p", seq)
            self.path = self.m.slot("p", seq, 0)
            self.run_code("os.write(fd, b'whole')\n" + end)
            bw.wait_until(lambda: self.m.head() == seq + 1, what="the commit")
            self.assertEqual(bw.read(self.m.step(seq, 0)), "whole")

    def test_p3_exit_of_a_process_with_threads(self):
        """P3: exit_group sweeps the other threads away; that is no killed writer."""
        for seq in range(10):
            if seq:
                self.m.begin("p", seq)
            self.path = self.m.slot("p", seq, 0)
            done = self.run_code(
                "for i in range(8): threading.Thread(target=time.sleep, args=[99], daemon=True).start()\n"
                "os.write(fd, b'whole')\nos._exit(0)")
            self.assertEqual(done.returncode, 0)
            bw.wait_until(lambda: self.m.head() == seq + 1, what="the commit")

    def test_p3_exit_by_another_thread(self):
        """P3: a thread that is not the first ends the process with the file open."""
        for seq in range(5):
            if seq:
                self.m.begin("p", seq)
            self.path = self.m.slot("p", seq, 0)
            self.run_code("os.write(fd, b'whole')\n"
                          "threading.Thread(target=os._exit, args=[0]).start()\ntime.sleep(99)")
            bw.wait_until(lambda: self.m.head() == seq + 1, what="the commit")

    def test_p3_opened_written_and_closed_by_threads(self):
        """P3: the thread that opened is gone when another closes; it is one process all the same."""
        made = []
        for call in (lambda: made.append(self.open()), lambda: os.write(made[0], b"by threads"),
                     lambda: os.close(made[0])):
            self.not_yet()
            thread = threading.Thread(target=call)
            thread.start()
            thread.join(bw.PATIENCE)
        self.committed_as(b"by threads")

    def test_p3_threads_write_their_parts(self):
        fd = self.open()
        part = 100000

        def put(i):
            for at in range(0, part, 1000):
                os.pwrite(fd, b"%d" % i * 1000, i * part + at)

        threads = [threading.Thread(target=put, args=[i]) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(bw.PATIENCE)
        self.not_yet()
        os.close(fd)
        self.committed_as(b"".join(b"%d" % i * part for i in range(8)))

    def test_p3_a_reader_of_the_opener_does_not_hold_it(self):
        """P3, P1: a second descriptor for reading is none of writing."""
        fd = self.open()
        os.write(fd, b"whole")
        reader = os.open(self.path, os.O_RDONLY)
        os.close(fd)
        self.committed_as(b"whole")
        os.close(reader)

    def test_p3_passed_over_a_socket(self):
        """P3: opened here, closed here, written and closed by a process that was sent it."""
        ours, theirs = socket.socketpair()

        def child():
            ours.close()
            _, fds, _, _ = socket.recv_fds(theirs, 1, 1)
            os.write(fds[0], b"by the other")
            os.close(fds[0])
            theirs.send(b".")

        process = self.spawn(child)
        theirs.close()
        fd = self.open()
        socket.send_fds(ours, [b"."], [fd])
        ours.recv(1)
        self.join(process)
        ours.close()
        self.not_yet()
        os.close(fd)
        self.committed_as(b"by the other")

    def test_p3_many_closes_at_once(self):
        """P3, P1: 20 producers close from 20 processes at the same time; each batch commits once."""
        for i in range(20):
            self.m.begin(f"q{i}", 0)
        self.join(*[self.spawn(bw.write, self.m.slot(f"q{i}", 0, 0), b"%d" % i) for i in range(20)])
        self.assertEqual(self.m.head(), 20)
        seen = {bw.read(self.m.step(s, 0)) for s in range(20)}
        self.assertEqual(seen, {str(i) for i in range(20)})


class OfAUser(bw.TestCase):
    limit = 2 * bw.TestCase.limit

    def test_p3_p3k_a_mount_of_an_ordinary_user(self):
        """P3, P3k: who is not root sees less of a process that exits, and judges it all the same: the tests of this file and
        of test_killed.py where that matters."""
        self.needs_root()
        self.run_as_user("test_close.py", [
            "Processes.test_p3_exit_without_close", "Processes.test_p3_exit_of_a_process_with_threads",
            "Processes.test_p3_exit_by_another_thread", "Processes.test_p3_the_opener_execs_with_the_file_closed_by_it",
            "Processes.test_p3_a_child_that_wrote_and_has_ended_holds_nothing"])
        self.run_as_user("test_killed.py", [
            "Killed.test_p3k_killed_in_the_middle_or_after_the_last_byte", "Killed.test_p3k_a_real_crash",
            "Killed.test_p3k_abort_and_other_deadly_signals", "Killed.test_p3k_a_killed_shell",
            "Killed.test_p3k_a_child_is_killed_that_writes_when_its_parent_has_closed"])

    def run_as_user(self, program, tests):
        """/dev/fuse is for everybody there, as it is on most machines."""
        script = """d=$(mktemp -d -p $ROOT) && mount -t tmpfs -o mode=755 dev $d && mknod -m 666 $d/fuse c 10 229 &&
            mount --bind $d/fuse /dev/fuse && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@" """
        done = subprocess.run(["unshare", "--mount", "--propagation=private", sys.executable, bw.HERE + "/apart.py", "bash",
                               "-c", script, "-", sys.executable, f"{bw.HERE}/{program}", *tests], check=False, text=True,
                              capture_output=True, timeout=self.limit, env={**os.environ, "ROOT": self.root})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("skipped", done.stderr)


if __name__ == "__main__":
    bw.main()
