# SPDX-License-Identifier: Apache-2.0
"""V7: waiting for a step that is not committed yet."""
import os
import re
import signal
import subprocess
import sys

import bw

OPEN = "import sys; open(sys.argv[1], 'rb').read()"


class Wait(bw.TestCase):
    def waiters(self, mount, n):
        """Waits until n processes wait; returns their lines."""
        def lines():
            found = [x for x in mount.status("waiting").split("\n") if "reason=step" in x]
            return found if len(found) >= n else None
        return bw.wait_until(lines, what=f"{n} waiters in /status/waiting")

    def blocked(self, code, path):
        """A process of its own that runs code on path."""
        child = subprocess.Popen([sys.executable, "-c", code, path], stderr=subprocess.PIPE,
                                 text=True)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.addCleanup(child.stderr.close)
        return child

    def test_v7_stat_open_exists_and_list_wait_for_the_commit(self):
        """V7: each way to ask blocks until another mount commits, then finds the step whole."""
        stream = self.stream()
        a, b = self.mount(stream), self.mount(stream, "wait=100")
        path = b.step(0, 1)

        def wait_by(call):
            self.assertTrue(call())

        asked = [self.spawn(wait_by, call) for call in (
            lambda: os.stat(path).st_size == len(bw.payload("p", 0, 1)),
            lambda: bw.read(path, "rb") == bw.payload("p", 0, 1),
            lambda: os.path.exists(path),
            lambda: os.path.exists(b.step(0)),
            lambda: sorted(os.listdir(b.step(0))) == ["meta.json", "rank"],
            lambda: sorted(os.listdir(b.path("step/0/rank"))) == list("0123"),
            lambda: '"producer"' in bw.read(b.path("step/0/meta.json")),
        )]
        self.waiters(b, len(asked))
        self.assertEqual([c.poll() for c in asked], [None] * len(asked))
        a.put("p", 0)
        self.join(*asked)
        self.assertEqual(b.metric("waiters"), 0)

    def test_v7_woken_by_a_commit_of_the_same_mount(self):
        mount = self.mounted("wait=100")
        readers = [self.spawn(bw.read, mount.step(s, r), "rb") for s in (0, 1) for r in range(4)]
        self.waiters(mount, 8)
        mount.put("p", 0)
        self.join(*readers[:4])
        self.assertEqual([r.poll() for r in readers[4:]], [None] * 4)
        mount.put("p", 1)
        self.join(*readers[4:])
        self.assertEqual(mount.get(1)[2], bw.payload("p", 1, 2))

    def test_v7_the_wait_ends(self):
        """V7: ETIMEDOUT after wait=, and nothing of it is remembered."""
        mount = self.mounted("wait=1")
        self.assert_errno("ETIMEDOUT", os.stat, mount.step(0))
        self.assert_errno("ETIMEDOUT", os.stat, mount.step(0, 0))
        self.assert_errno("ETIMEDOUT", open, mount.step(5, 3))
        self.assert_errno("ETIMEDOUT", os.listdir, mount.step(0))
        self.assertFalse(os.path.exists(mount.step(0)))
        mount.put("p", 0)
        self.assert_step(mount, 0, "p", 0)
        self.assertTrue(os.path.exists(mount.step(0)))

    def test_v7_only_steps_wait(self):
        """V7: names that can never be, and ranks the stream does not have, are refused at once."""
        mount = self.mounted("wait=1000")
        mount.put("p", 0)
        for name in ("x", "007", "-1", str(1 << 63)):
            self.assert_errno("ENOENT", os.stat, mount.step(name))
        self.assert_errno("ENOENT", os.stat, mount.step(0, 4))
        self.assert_errno("ENOENT", os.stat, mount.step(0, "x"))
        self.assert_errno("ENOENT", os.stat, mount.path("produce/nobody"))

    def test_v7_any_signal_ends_the_wait(self):
        """V7: no unkillable process: SIGKILL, SIGTERM and SIGINT end open, stat and list."""
        mount = self.mounted("wait=1000")
        codes = (OPEN, "import os, sys; os.stat(sys.argv[1])",
                 "import os, sys; os.listdir(os.path.dirname(sys.argv[1]))")
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            children = [self.blocked(code, mount.step(0, r)) for code in codes for r in (0, 1)]
            self.waiters(mount, len(children))
            for child in children:
                child.send_signal(number)
            for child in children:
                code = child.wait(bw.PATIENCE)
                self.assertIn(code, (-number, 1), child.stderr.read())
            bw.wait_until(lambda: mount.metric("waiters") == 0, what="no waiters")
        mount.put("p", 0)
        self.assert_step(mount, 0, "p", 0)

    def test_v7_one_of_many_waiters_dies_and_the_others_go_on(self):
        mount = self.mounted("wait=1000")
        children = [self.blocked(OPEN, mount.step(0, 0)) for _ in range(4)]
        self.waiters(mount, 4)
        children[1].kill()
        children[2].send_signal(signal.SIGINT)
        children[1].wait(bw.PATIENCE)
        children[2].wait(bw.PATIENCE)
        self.assertEqual([children[0].poll(), children[3].poll()], [None, None])
        mount.put("p", 0)
        self.assertEqual([children[i].wait(bw.PATIENCE) for i in (0, 3)], [0, 0])

    def test_v7_waiting_holds_nobody_else(self):
        """V7: while 3 processes wait, /step lists, other steps read, mkdir and commits work."""
        mount = self.mounted("wait=1000")
        mount.put("p", 0)
        children = [self.blocked(OPEN, mount.step(1, r)) for r in range(3)]
        self.waiters(mount, 3)
        self.assert_errno("EROFS", os.mkdir, mount.path("step/new"))
        self.assertEqual(os.listdir(mount.path("step")), ["0"])
        self.shell('ls -l "$M/step" "$M/step/0/rank" && mkdir -p "$M/produce/q/0/rank"', M=mount.dir)
        self.assert_step(mount, 0, "p", 0)
        late = [self.blocked(OPEN, mount.step(2, r)) for r in range(3)]
        self.waiters(mount, 6)
        self.assertEqual(os.listdir(mount.path("step")), ["0"])
        self.assertEqual([c.poll() for c in children + late], [None] * 6)
        mount.put("p", 1)
        self.assertEqual([c.wait(bw.PATIENCE) for c in children], [0] * 3)

    def test_v7_many_waiters_leave_workers_free(self):
        """V7: 40 waiters are more than any pool of threads; the mount still answers."""
        mount = self.mounted("wait=1000")
        children = [self.spawn(bw.read, mount.step(s, s % 4), "rb") for s in range(40)]
        self.waiters(mount, 40)
        self.assertEqual(os.listdir(mount.path("step")), [])
        for seq in range(40):
            mount.put("p", seq)
        self.join(*children)

    def test_v7_status_names_each_waiter(self):
        """V7: pid, step, since when and why; the metric counts them."""
        mount = self.mounted("wait=1000")
        children = [self.blocked(OPEN, mount.step(7, r)) for r in range(3)]
        lines = self.waiters(mount, 3)
        for child, rank in zip(children, range(3)):
            mine = [x for x in lines if f"pid={child.pid} " in x]
            self.assertEqual(len(mine), 1, lines)
            words = dict(w.split("=", 1) for w in mine[0].split() if "=" in w)
            self.assertEqual(words["step"], "7")
            self.assertIn(words["rank"], (str(rank), "-"))  # "-": on the step's directory
            self.assertTrue(words["comm"].startswith("python"), words)
            self.assertTrue(re.search(r"\d", words["since"]), words)
            self.assertIn("reason", words)
        self.assertEqual(mount.metric("waiters"), 3)
        for child in children:
            child.kill()
        bw.wait_until(lambda: "reason=step" not in mount.status("waiting"))

    def test_v7_unmount_with_waiters(self):
        """V7, S5: the daemon leaves although processes wait; they get an error."""
        mount = self.mounted("wait=1000")
        children = [self.blocked(OPEN, mount.step(0, r)) for r in range(3)]
        self.waiters(mount, 3)
        self.assertEqual(mount.stop(signal.SIGTERM), 0)
        for child in children:
            self.assertEqual(child.wait(bw.PATIENCE), 1)

    def test_v7_off_by_default(self):
        """V7: without wait= a step that is not there is ENOENT, also after waiters elsewhere."""
        stream = self.stream()
        a, b = self.mount(stream, "wait=1000"), self.mount(stream)
        child = self.blocked(OPEN, a.step(0, 0))
        self.waiters(a, 1)
        self.assert_errno("ENOENT", os.stat, b.step(0))
        self.assert_errno("ENOENT", open, b.step(0, 0))
        b.put("p", 0)
        self.assertEqual(child.wait(bw.PATIENCE), 0)


if __name__ == "__main__":
    bw.main()
