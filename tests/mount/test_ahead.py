# SPDX-License-Identifier: Apache-2.0
"""P7: max_ahead holds producers back in mkdir, until the slowest job has come near enough."""
import errno
import os
import shutil
import signal
import subprocess
import sys

import bw

AHEAD = 4
MKDIR = "import os, sys; os.mkdir(sys.argv[1])"


class Ahead(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.made = self.stream(1, "--max-ahead", str(AHEAD))
        self.a = self.mount(self.made)

    def job(self, mount, name, *steps):
        os.mkdir(mount.path("checkpoint", name))
        for step in steps:
            self.mark(mount, name, step)

    def mark(self, mount, name, step):
        bw.write(mount.path("checkpoint", name, step), b"")

    def waiting(self, mount, producer="p"):
        return [x for x in mount.status("waiting").split("\n")
                if "reason=ahead" in x and f"producer={producer} " in x]

    def blocked(self, mount, seq, producer="p", code=MKDIR):
        """A process that waits in mkdir of the seq."""
        if not os.path.isdir(mount.path("produce", producer)):
            os.mkdir(mount.path("produce", producer))
        child = subprocess.Popen([sys.executable, "-c", code, mount.slot(producer, seq)], stderr=subprocess.PIPE,
                                 text=True)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.addCleanup(child.stderr.close)
        bw.wait_until(lambda: self.waiting(mount, producer), what="the waiting mkdir")
        return child

    def fill(self, mount, upto, producer="p"):
        for seq in range(mount.head(), upto):
            mount.put(producer, seq)

    def test_p7_no_job_no_limit(self):
        """P7: without a job nobody waits, and when the last one goes nobody waits any more."""
        self.fill(self.a, 3 * AHEAD)
        self.job(self.a, "train")
        child = self.blocked(self.a, 3 * AHEAD)
        os.rmdir(self.a.path("checkpoint/train"))
        self.assertEqual(child.wait(bw.PATIENCE), 0)

    def test_p7_exactly_so_many_steps(self):
        """P7: N steps past the newest marker of the slowest job, not one more; close never waits."""
        b = self.mount(self.made)
        self.job(b, "fast", 0)
        self.job(b, "slow", 0)
        self.fill(self.a, AHEAD)
        child = self.blocked(self.a, AHEAD)
        self.mark(b, "fast", AHEAD)  # not the slowest
        self.mark(b, "slow", 0)  # not newer
        bw.wait_until(lambda: f"seq={AHEAD} job=slow " in self.waiting(self.a)[0], what="the slower job's name")
        self.assertIn(f"pid={child.pid} ", self.waiting(self.a)[0])
        self.assertEqual(self.a.metric("waiters", reason="ahead"), 1)
        self.assertIsNone(child.poll())
        self.mark(b, "slow", 2)  # from another mount
        self.assertEqual(child.wait(bw.PATIENCE), 0)
        self.assertEqual(self.waiting(self.a), [])
        os.mkdir(self.a.slot("p", AHEAD) + "/rank")
        bw.write(self.a.slot("p", AHEAD, 0), b"x")  # never in close
        self.a.put("p", AHEAD + 1)
        self.assertEqual(self.a.head(), AHEAD + 2)
        child = self.blocked(self.a, AHEAD + 2)
        self.mark(self.a, "slow", 3)  # from this mount
        self.assertEqual(child.wait(bw.PATIENCE), 0)
        self.assertEqual(self.a.metric("wait_seconds_count", reason="ahead"), 2)
        self.assertEqual(self.a.metric("max_ahead_steps"), AHEAD)

    def test_p7_the_store_is_asked(self):
        """P7: a job that another mount has just registered, and a head that it has moved, count at once."""
        b = self.mount(self.made)
        self.a.put("p", 0)
        for seq in range(AHEAD - 1):
            b.put("q", seq)
        self.job(b, "train")
        child = self.blocked(self.a, 1)
        self.mark(b, "train", 1)
        self.assertEqual(child.wait(bw.PATIENCE), 0)

    def test_p7_batches_before_it_count(self):
        """P7, P4: the seqs that are staged before this one come first."""
        self.job(self.a, "train", 0)
        for seq in range(AHEAD):
            self.a.begin("p", seq)
        child = self.blocked(self.a, AHEAD)
        self.assertEqual(self.a.head(), 0)
        for seq in range(AHEAD):
            bw.write(self.a.slot("p", seq, 0), b"x")
        self.assertIsNone(child.poll())
        self.mark(self.a, "train", 1)
        self.assertEqual(child.wait(bw.PATIENCE), 0)

    def test_p7_any_signal_ends_the_wait(self):
        """P7: SIGKILL, SIGTERM and SIGINT; nothing is staged, and nobody was fenced for it."""
        b = self.mount(self.made)
        self.fill(b, AHEAD)
        self.job(b, "train", 0)
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            child = self.blocked(self.a, AHEAD)
            child.send_signal(number)
            self.assertIn(child.wait(bw.PATIENCE), (-number, 1))
            bw.wait_until(lambda: not self.waiting(self.a), what="no waiters")
        self.assertNotIn(str(AHEAD), os.listdir(self.a.path("produce/p")))
        self.assertEqual(int(b.resume("p")["epoch"]), 1)
        self.mark(b, "train", 1)
        b.put("p", AHEAD)
        self.assertEqual(b.head(), AHEAD + 1)

    def test_p7_what_is_refused_is_refused_at_once(self):
        """P7, P4: a committed seq, one that is staged, and a gap do not wait."""
        self.job(self.a, "train", 0)
        self.fill(self.a, AHEAD - 1)
        self.a.begin("p", AHEAD - 1)
        self.assert_errno("EEXIST", os.mkdir, self.a.slot("p", 0))
        self.assert_errno("EEXIST", os.mkdir, self.a.slot("p", AHEAD - 1))
        self.assert_errno("EINVAL", os.mkdir, self.a.slot("p", AHEAD + 5))
        self.assert_errno("EINVAL", os.mkdir, self.a.slot("p", "007"))

    def test_p7_p5_who_is_fenced_does_not_wait(self):
        """P7, P5: with a batch in hand it is told so, before its mkdir waits and while it does."""
        b = self.mount(self.made)
        self.job(self.a, "train", 0)
        for seq in range(AHEAD):
            self.a.begin("p", seq)
        code = "import errno, os, sys\ntry: os.mkdir(sys.argv[1])\nexcept OSError as e: sys.exit(e.errno)"
        child = self.blocked(self.a, AHEAD, code=code)
        b.begin("p", 0)
        self.assertEqual(child.wait(bw.PATIENCE), errno.ESTALE)
        self.assert_errno("ESTALE", os.mkdir, self.a.slot("p", AHEAD))
        b.put("q", 0)
        shutil.rmtree(self.a.slot("p", 0))
        self.assert_errno("ESTALE", os.mkdir, self.a.slot("p", AHEAD))

    def test_p7_waiting_holds_nobody_else(self):
        """P7: other producers' directories, steps, markers and listings go on while one waits."""
        self.job(self.a, "train", 0)
        self.a.begin("q", 0)
        self.fill(self.a, AHEAD)
        children = [self.blocked(self.a, AHEAD)]
        children += [self.blocked(self.a, 0, f"r{i}") for i in range(12)]  # more than there are workers
        bw.write(self.a.slot("q", 0, 0), b"x")  # staged before: commits
        self.assertEqual(self.a.head(), AHEAD + 1)
        self.assertEqual(self.a.get(AHEAD), [b"x"])
        self.assertIn("p", os.listdir(self.a.path("produce")))
        self.assertEqual([c.poll() for c in children], [None] * 13)
        self.mark(self.a, "train", AHEAD + 1)
        self.assertEqual([c.wait(bw.PATIENCE) for c in children], [0] * 13)

    def test_p7_a_seal_ends_the_wait(self):
        """P7: EROFS, because nothing can be committed any more."""
        self.job(self.a, "train", 0)
        self.fill(self.a, AHEAD)
        child = self.blocked(self.a, AHEAD)
        bw.batchweave("seal", self.made.url)
        self.assertEqual(child.wait(bw.PATIENCE), 1)
        self.assertIn("Read-only file system", child.stderr.read())

    def test_p7_unmount_with_waiters(self):
        """P7, S5: the daemon leaves although a producer waits for a job."""
        self.job(self.a, "train", 0)
        self.fill(self.a, AHEAD)
        child = self.blocked(self.a, AHEAD)
        self.assertEqual(self.a.stop(signal.SIGTERM), 0)
        self.assertEqual(child.wait(bw.PATIENCE), 1)

    def test_p7_put_waits_too(self):
        """P7: with a message; Ctrl-C ends it and nothing was taken; a marker lets it commit."""
        self.job(self.a, "train", 0)
        self.fill(self.a, AHEAD)
        path = os.path.join(self.root, "slice")
        bw.write(path, b"from put")
        for end in ("interrupt", "marker"):
            put = subprocess.Popen([bw.BATCHWEAVE, "put", self.made.url, "p", path], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
            self.addCleanup(put.wait)
            self.addCleanup(put.kill)
            self.assertIn(f"waiting: the head is {AHEAD}, job train stands at step 0", put.stderr.readline())
            if end == "interrupt":
                put.send_signal(signal.SIGINT)
            else:
                self.mark(self.a, "train", 1)
            out, err = put.communicate(timeout=bw.PATIENCE)
            if end == "interrupt":
                self.assertEqual((put.returncode, out), (130, ""))
                self.assertEqual(int(self.a.resume("p")["epoch"]), 1)
            else:
                self.assertEqual((put.returncode, out), (0, f"{AHEAD}\n"), err)
        self.assertEqual(self.a.get(AHEAD), [b"from put"])


if __name__ == "__main__":
    bw.main()
