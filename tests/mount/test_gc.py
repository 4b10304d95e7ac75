# SPDX-License-Identifier: Apache-2.0
# ctest: waits 40-s
"""C4, C5, V6: what checkpoints release is deleted after the grace, by a command and by mounts."""
import os
import signal
import subprocess
import time

import bw

STEPS = 8


class Gc(bw.TestCase):
    def filled(self, grace, options=""):
        """8 steps, and markers at 3 and 5."""
        self.s = self.stream(2, "--grace", str(grace))
        self.m = self.mount(self.s, options)
        for seq in range(STEPS):
            self.m.put("p", seq, state=b"s" * 1000)

    def mark(self, *steps):
        bw.batchweave("checkpoint", self.s.url, "train")
        for step in steps:
            bw.batchweave("checkpoint", self.s.url, "train", step)

    def gc(self, *words, **kwargs):
        return bw.batchweave("gc", self.s.url, *words, **kwargs).stdout

    def data(self):
        return len(self.s.objects("/data/"))

    def fresh(self):
        """A mount that has nothing in its caches."""
        return self.mount(self.s)

    def assert_left(self, first):
        m = self.fresh()
        self.assertEqual(int(m.status("first")), first)
        for step in range(first):
            self.assert_errno("ESTALE", os.stat, m.step(step, 0))
        for step in range(first, STEPS):
            self.assert_step(m, step, "p", step)
        self.assertEqual(m.state("p"), b"s" * 1000)
        m.umount()

    def test_c4_one_pass_without_a_grace(self):
        """C3, C4: what lies below the oldest marker goes, all else stays; it says so."""
        self.filled(0)
        self.assertIn("no job is registered", self.gc())
        self.mark(3)
        self.assertIn("job train holds everything, it has 1 of 2 markers", self.gc())
        self.assertEqual(self.data(), STEPS)
        self.mark(5)
        out = self.gc()
        self.assertIn("first went from 0 to 3: the oldest marker of job train", out)
        self.assertRegex(out, r"\n +3  data objects of reclaimed steps, ")
        self.assertRegex(out, r"\n +5  data objects of steps that may be read, ")
        self.assertEqual(self.data(), STEPS - 3)
        self.assertEqual(len(self.s.objects("/state/")), 1)
        self.assert_left(3)

    def test_c4_a_dry_run_writes_nothing(self):
        """C4: it tells what a real pass then does."""
        self.filled(0)
        self.mark(3, 5)
        before = {k: self.s.store.read(k) for k in self.s.objects()}
        out = self.gc("--dry-run")
        self.assertIn("first would go from 0 to 3", out)
        self.assertRegex(out, r"\n +3  data objects of reclaimed steps, ")
        self.assertEqual({k: self.s.store.read(k) for k in self.s.objects()}, before)
        self.gc()
        self.assertEqual(self.data(), STEPS - 3)

    def test_c5_uploads_that_came_to_nothing(self):
        """C5: by proof, whatever their age."""
        self.filled(0)
        prefix = self.s.objects("/data/")[0].rsplit("/", 1)[0]
        lost, open_ = (f"{prefix}/{seq}-00000000000000ff" for seq in (2, STEPS))
        for key in (lost, open_, prefix + "/notes"):
            self.s.store.write(key, b"x")
        out = self.gc()
        self.assertRegex(out, r"\n +1  data objects that lost their seq")
        self.assertRegex(out, r"\n +1  uploads that may still be committed")
        self.assertRegex(out, r"\n +1  objects of something else")
        left = self.s.objects("/data/")
        self.assertNotIn(lost, left)
        self.assertIn(open_, left)
        self.assertIn(prefix + "/notes", left)
        # Taken by another mount, so the epoch is fenced.
        bw.batchweave("put", self.s.url, "p", *[self.slice_file(r) for r in range(2)])
        self.gc()
        self.assertNotIn(open_, self.s.objects("/data/"))

    def slice_file(self, rank):
        path = os.path.join(self.root, f"slice-{rank}")
        bw.write(path, bw.payload("p", STEPS, rank))
        return path

    def test_c4_the_grace_keeps_open_files(self):
        """C4, V6: between trim and deletion what is open reads on; who opens is told, and the log by which marker."""
        self.filled(100000)
        reader = self.fresh()
        held = os.open(reader.step(1, 0), os.O_RDONLY)
        self.addCleanup(os.close, held)
        self.mark(6, 7)
        for words in (), ("--dry-run",):
            self.assertIn("markers younger than the grace would release", self.gc(*words))
        self.assertIn("6 reclaimed steps are deleted when", self.gc("--force"))
        self.assertEqual(self.data(), STEPS)
        self.assert_errno("ENOENT", os.stat, reader.step(STEPS))  # which asks the store for news
        self.assert_errno("ESTALE", os.stat, reader.step(1, 1))
        self.assertEqual(os.pread(held, 1 << 20, 0), bw.payload("p", 1, 0))
        self.assertRegex(reader.log(), r"step=1 .*errno=116 .*released_by_job=train released_by_marker=6 by_version=\d+\n")

    def test_c4_mounts_collect(self):
        """C4: two mounts with gc, one of them killed at any time; the end of the mount ends it."""
        self.filled(1, "gc")
        other = self.mount(self.s, "gc")
        self.mark(3, 5)
        time.sleep(0.5)
        other.kill()
        bw.batchweave("checkpoint", self.s.url, "train", 6)
        bw.batchweave("checkpoint", self.s.url, "train", 3, "--remove")
        bw.wait_until(lambda: self.data() == STEPS - 5, what="deletion")
        bw.wait_until(lambda: len(self.s.objects("/state/")) == 1, what="deletion of states")
        bw.wait_until(lambda: self.m.metric("reclaimed_bytes_total") > 0, what="the counter")
        bw.wait_until(lambda: " reclaimed " in self.m.log(), what="a line in the log")
        self.assert_left(5)
        self.m.umount()

    def test_a_pass_that_ends_before_it_knows(self):
        """It says what stopped it, and not what it has not found out: what holds the oldest step, or that no version is old enough."""
        disk = self.disk("4m")
        url = f"file://{disk}/s"
        bw.batchweave("init", url, "--ranks", "1", "--grace", "0")
        for step in range(3):
            bw.write(f"{disk}/slice", f"{step}")
            bw.batchweave("put", url, "p", f"{disk}/slice")
        bw.batchweave("checkpoint", url, "train")
        for step in (1, 2):
            bw.batchweave("checkpoint", url, "train", step)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        done = bw.batchweave("gc", url, check=False)
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn("stopped at ", done.stderr)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        self.assertIn("first went from 0 to 1: the oldest marker of job train", bw.batchweave("gc", url).stdout)

    def test_c4_every_so_often_until_interrupted(self):
        """C4: gc --every goes on until a signal, and ends cleanly."""
        self.filled(0)
        self.mark(3, 5)
        gc = subprocess.Popen([bw.BATCHWEAVE, "gc", self.s.url, "--every", "1"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        self.addCleanup(gc.kill)
        bw.wait_until(lambda: self.data() == STEPS - 3, what="the first pass")
        bw.batchweave("checkpoint", self.s.url, "train", 6)
        bw.batchweave("checkpoint", self.s.url, "train", 3, "--remove")
        bw.wait_until(lambda: self.data() == STEPS - 5, what="another pass")
        gc.send_signal(signal.SIGINT)
        out, err = gc.communicate(timeout=bw.PATIENCE)
        self.assertEqual((gc.returncode, err), (0, ""))
        self.assertIn("first went from 3 to 5", out)

    def test_words(self):
        self.s = self.stream(1)
        for words, why in ((("--once", "--every", "5"), "exclude each other"), (("--rate", "0"), "--rate must be"),
                           (("--every", "0"), "--every must be"), (("--every", "x"), "--every must be")):
            done = bw.batchweave("gc", self.s.url, *words, check=False)
            self.assertEqual((done.returncode, why in done.stderr), (2, True), done.stderr)
        done = bw.batchweave("gc", "file:///nowhere/at/all", check=False)
        self.assertEqual(done.returncode, 1)
        m = bw.batchweave("mount", self.s.url, self.folder("m"), "-o", "gc,ro", check=False)
        self.assertEqual((m.returncode, "does not go with ro" in m.stderr), (1, True), m.stderr)


if __name__ == "__main__":
    bw.main()
