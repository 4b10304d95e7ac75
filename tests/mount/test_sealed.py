# SPDX-License-Identifier: Apache-2.0
"""V6, V7, P7, C1, C2: batchweave seal, and what a sealed stream still does."""
import errno
import json
import os
import subprocess

import bw

CHANGE = os.path.join(bw.BUILD, "tests", "mount", "change")


class Sealed(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.made = self.stream(2)
        self.a = self.mount(self.made)
        for seq in range(4):
            self.a.put("p", seq)

    def seal(self):
        self.assertEqual(bw.batchweave("seal", self.made.url).stdout, "4\n")

    def test_the_command(self):
        """V6, P7: seals once; again is harmless; status says so; put is refused."""
        self.seal()
        self.seal()
        for where in (self.made.url, self.a.dir):
            self.assertIn("head 4, sealed", bw.batchweave("status", where).stdout)
            self.assertIs(json.loads(bw.batchweave("status", where, "--json").stdout)["sealed"], True)
        path = os.path.join(self.root, "slice")
        bw.write(path, b"x")
        for producer in ("p", "q"):
            done = bw.batchweave("put", self.made.url, producer, path, path, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("the stream is sealed", done.stderr)
        self.assertEqual(bw.batchweave("seal", check=False).returncode, 2)
        self.assertEqual(bw.batchweave("seal", self.made.url, "x", check=False).returncode, 2)

    def test_v6_a_loader_reads_to_the_end(self):
        """V6, V7: with wait= it gets every step, waits at the head, and is told of the end while it waits."""
        b = self.mount(self.made, "wait=100")

        def load():
            step = 0
            while True:
                try:
                    self.assertEqual(bw.read(b.step(step, 1), "rb"), bw.payload("p", step, 1))
                except OSError as e:
                    self.assertEqual(e.errno, errno.ENODATA)
                    break
                step += 1
            self.assertEqual(step, 4)

        loader = self.spawn(load)
        bw.wait_until(lambda: "step=4" in b.status("waiting"), what="the loader at the head")
        self.seal()
        self.join(loader)
        for call in (os.stat, os.listdir):
            self.assert_errno("ENODATA", call, b.step(4))
        self.assert_errno("ENODATA", os.stat, b.step(4, 0))
        self.assert_errno("ENODATA", open, b.path("step/5/meta.json"))

    def test_p7_no_more_batches(self):
        """P7, P6: mkdir of a seq is EROFS, on the mount that holds the producer and on others; staged ones fail."""
        self.a.begin("p", 4)
        bw.write(self.a.slot("p", 4, 0), b"x")
        self.seal()
        self.assert_errno("EROFS", bw.write, self.a.slot("p", 4, 1), b"y")
        self.assert_errno("EROFS", os.mkdir, self.a.slot("p", 5))
        b = self.mount(self.made)
        self.assert_errno("EROFS", os.mkdir, b.slot("p", 4))
        os.mkdir(b.path("produce/q"))
        self.assert_errno("EROFS", os.mkdir, b.slot("q", 0))
        self.assert_errno("EEXIST", os.mkdir, b.slot("p", 3))
        self.shell("rm -r $S", S=self.a.slot("p", 4))
        self.assert_nothing_committed(self.a, 4)

    def test_c1_c2_markers_and_trims_go_on(self):
        """C1, C2, C3: jobs register, set and withdraw markers; what lies below goes."""
        self.seal()
        b = self.mount(self.made)
        os.mkdir(b.path("checkpoint/train"))
        for step in (1, 3, 4):
            bw.write(b.path("checkpoint/train", step), f"text {step}")
        self.assert_errno("EINVAL", open, b.path("checkpoint/train/5"), "x")
        os.unlink(self.a.path("checkpoint/train/1"))
        done = subprocess.run([CHANGE, self.made.url, "trim"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for mount in (self.a, b):
            self.assertEqual(mount.status("first"), "3\n")
            self.assert_errno("ESTALE", os.stat, mount.step(0))
            self.assert_step(mount, 3, "p", 3)
            self.assert_errno("ENODATA", os.stat, mount.step(4))
        bw.batchweave("checkpoint", self.made.url, "eval")
        self.assertEqual(sorted(os.listdir(self.a.path("checkpoint"))), ["eval", "train"])


if __name__ == "__main__":
    bw.main()
