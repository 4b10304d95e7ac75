# SPDX-License-Identifier: Apache-2.0
"""V6, V7, P7: the two ends of a stream: sealed above, reclaimed below.

tests/mount/change.c commits one change each; what the commands do is in test_sealed.py and test_checkpoint.py.
"""
import os
import subprocess

import bw

CHANGE = os.path.join(bw.BUILD, "tests", "mount", "change")


class Ends(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.made = self.stream(2)
        self.a = self.mount(self.made)
        for seq in range(6):
            self.a.put("p", seq)

    def change(self, *words):
        done = subprocess.run([CHANGE, self.made.url, *map(str, words)], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def trim_below(self, step):
        """Two markers of one job release what lies below the older one (keep is 2)."""
        self.change("job", "train")
        self.change("mark", "train", step)
        self.change("mark", "train", step + 1)
        self.change("trim")

    def test_v6_past_the_end_of_a_sealed_stream(self):
        """V6: ENODATA past the end, everything below stays readable; without wait= and with it."""
        b = self.mount(self.made, "wait=60")
        self.change("seal")
        for mount in (self.a, b):
            self.assert_errno("ENODATA", os.stat, mount.step(6))
            self.assert_errno("ENODATA", open, mount.step(1000, 0))
            self.assertFalse(os.path.exists(mount.step(6, 1)))
            self.assert_step(mount, 5, "p", 5)
            self.assertIn("sealed", mount.status("status"))

    def test_v7_a_seal_ends_the_wait(self):
        """V7, V6: who waits for a step that will never come is told so."""
        b = self.mount(self.made, "wait=60")
        child = self.spawn(lambda: self.assert_errno("ENODATA", open, b.step(6, 0)))
        bw.wait_until(lambda: "step=6" in b.status("waiting"), what="the waiter")
        self.change("seal")
        self.join(child)

    def test_p7_a_sealed_stream_takes_no_batch(self):
        """P7, P6: EROFS for a batch staged before, and for taking a producer after."""
        self.a.begin("p", 6)
        bw.write(self.a.slot("p", 6, 0), b"x")
        self.change("seal")
        self.assert_errno("EROFS", bw.write, self.a.slot("p", 6, 1), b"y")
        b = self.mount(self.made)
        self.assert_errno("EROFS", os.mkdir, b.slot("p", 6))
        self.assertEqual(b.head(), 6)
        self.assert_errno("ENODATA", os.stat, b.step(6))

    def test_v6_reclaimed(self):
        """V6: ESTALE below first on every mount, never skipped or replaced; the rest reads on."""
        b = self.mount(self.made)
        kept = open(b.step(1, 0), "rb")
        self.trim_below(3)
        self.assertEqual(self.a.status("first"), "3\n")
        for mount in (self.a, b):
            self.assertEqual(mount.status("first"), "3\n")
            self.assert_errno("ESTALE", os.stat, mount.step(0))
            self.assert_errno("ESTALE", open, mount.step(2, 1))
            self.assertEqual(sorted(os.listdir(mount.path("step")), key=int), ["3", "4", "5"])
            self.assert_step(mount, 3, "p", 3)
        # Its object is not deleted yet: open files keep working.
        self.assertEqual(kept.read(), bw.payload("p", 1, 0))
        kept.close()

    def test_v6_a_mount_that_did_not_hear_of_the_trim(self):
        """V6: a deleted object of a reclaimed step is ESTALE, of a live one EIO."""
        b = self.mount(self.made)
        self.assertEqual(b.head(), 6)
        self.trim_below(3)
        for step, said in ((0, "ESTALE"), (4, "EIO")):
            self.made.store.remove(self.a.meta(step)["object"] if step == 4 else self.object_of(0))
            self.assert_errno(said, lambda at=step: open(b.step(at, 0), "rb").read())

    def object_of(self, seq):
        folder = [p for p in self.made.objects("data") if os.path.basename(p).startswith(f"{seq}-")]
        self.assertEqual(len(folder), 1)
        return folder[0]


if __name__ == "__main__":
    bw.main()
