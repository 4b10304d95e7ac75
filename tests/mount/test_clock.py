# SPDX-License-Identifier: Apache-2.0
# ctest: waits 25-s
"""A wall clock that jumps by a day below a mount: no wait, no commit and no grace is measured with it.

What a store does with requests that are signed at a wrong time is in test_s3_clock.py; here too each jump is seen by it.
"""
import json
import os
import time

import bw
import clock

DAY = 86400


class Clock(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.clock = clock.Clock(self.root)

    def since(self, mount, who):
        """Since when it has waited, as status/waiting says."""
        line = bw.wait_until(lambda: [x for x in mount.status("waiting").split("\n") if who in x], what="the waiter")[0]
        return line.split("since=")[1].split()[0]

    def test_v7_jumps_under_waits_and_commits(self):
        """V7, P3m, P4: waits last as long as they were to; commits go on; commit times never fall, whoever commits."""
        stream = self.stream(2)
        wrong = self.mount(stream, "wait=1000,commit_timeout=100", env=self.clock.env)
        right = self.mount(stream, "wait=1000,commit_timeout=100")
        at = 0
        for jump in (DAY, -DAY, 0):
            waiter = self.spawn(lambda s=at + 1: bw.read(wrong.step(s, 0), "rb"))
            before = self.since(wrong, f"step={at + 1}")
            self.clock.shift(jump)
            wrong.put("w", at // 2)
            self.assertIsNone(waiter.poll(), "the wait has ended with a jump of the clock")
            after = self.since(wrong, f"step={at + 1}")
            self.assertNotEqual(before[:10], after[:10], "the clock was right: the test proved nothing")
            right.put("r", at // 2)
            self.join(waiter)
            at += 2
        times = [json.loads(bw.read(self.mount(stream).path("step", s, "meta.json")))["commit_time_ms"] for s in range(at)]
        self.assertEqual(times, sorted(times))
        for mount in (wrong, right):
            self.assertEqual((mount.head(), mount.status("errors")), (at, ""))

    def test_p5_p3d_jumps_and_fences(self):
        """P5, P3d: who is fenced, and how long a committed batch's directory stays, is not told by the clock."""
        stream = self.stream(2)
        wrong, right = self.mount(stream, env=self.clock.env), self.mount(stream)
        wrong.put("p", 0)
        self.clock.shift(DAY)
        self.assertEqual(os.listdir(wrong.slot("p", 0)), [])
        right.put("p", 1)
        wrong.begin("q", 0)
        self.clock.shift(-DAY)
        for rank in (0, 1):
            bw.write(wrong.slot("q", 0, rank), bw.payload("q", 0, rank))
        self.assert_errno("EEXIST", wrong.begin, "p", 1)
        wrong.put("p", 2)
        wrong.begin("p", 3)
        bw.write(wrong.slot("p", 3, 0), b"late")
        right.begin("p", 3)
        self.clock.shift(DAY)
        self.assert_errno("ESTALE", bw.write, wrong.slot("p", 3, 1), b"late")
        for rank in (0, 1):
            bw.write(right.slot("p", 3, rank), bw.payload("p", 3, rank))
        for step, batch in enumerate((("p", 0), ("p", 1), ("q", 0), ("p", 2), ("p", 3))):
            self.assert_step(wrong, step, *batch)

    def test_c4_the_grace_is_the_stores(self):
        """C4: a collector a day ahead deletes nothing before the grace is over, one a day behind deletes it then."""
        for jump in (DAY, -DAY):
            with self.subTest(jump=jump):
                self.clock.shift(0)
                stream = self.stream(1, "--grace", "3")
                mount = self.mount(stream)
                for seq in range(6):
                    mount.put("p", seq)
                for marker in ([], [3], [5]):
                    bw.batchweave("checkpoint", stream.url, "train", *marker)
                self.clock.shift(jump)
                env = {**os.environ, **self.clock.env}
                began = time.monotonic()
                bw.batchweave("gc", stream.url, "--force", env=env)
                left = len(stream.objects("/data/"))
                if time.monotonic() - began < 2.5:
                    self.assertEqual(left, 6, "deleted before the grace was over")
                bw.wait_until(lambda s=stream, e=env: bw.batchweave("gc", s.url, "--force", env=e) and
                              len(s.objects("/data/")) == 3, what="the end of the grace")
                self.assertEqual(mount.status("first"), "3\n")
                self.assert_step(mount, 3, "p", 3)


if __name__ == "__main__":
    bw.main()
