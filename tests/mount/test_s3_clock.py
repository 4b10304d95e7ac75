# SPDX-License-Identifier: Apache-2.0
# ctest: once s3 long
"""A daemon whose clock is wrong: an S3 store takes no request that was signed a quarter of an hour off."""
import os

import bw
import clock
import load
import node

HOUR = 3600


class Clock(node.TestCase):
    def setUp(self):
        super().setUp()
        self.clock = clock.Clock(self.root)
        self.made = self.s3_stream(load.RANKS)

    def corrections(self, mount):
        """What the log tells of them, in seconds."""
        return [int(line.split("seconds=")[1]) for line in mount.log().split("\n") if " clock_skew " in line]

    def test_a_clock_that_is_wrong_from_the_start(self):
        """The first answer corrects it: mount, commits in one piece and in parts, reads."""
        for at, seconds in enumerate((2 * HOUR, -30 * 24 * HOUR)):
            self.clock.shift(seconds)
            mount = self.s3_mount(self.made, env=self.clock.env)
            data = [os.urandom(13 << 20), b"y"]
            mount.put("p", at, data)
            self.assertTrue(self.s3_mount(self.made, env=self.clock.env).get(at) == data)
            said = self.corrections(mount)
            self.assertTrue(said, "the clock was right: the test proved nothing")
            for skew in said:
                self.assertLess(abs(skew + seconds), 60, said)
            self.assertEqual(mount.status("errors"), "")
        self.clock.shift(2 * HOUR)
        done = self.command("status", self.made.url, "--json", env=self.clock.env)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_a_clock_that_is_set_under_load(self):
        """S2, S3: with many requests on their way; nobody notices, and each change is told in the log."""
        one = self.s3_mount(self.made, "commit_timeout=300", env=self.clock.env)
        two = self.s3_mount(self.made, "commit_timeout=300,pending=4,memory=96M", env=self.clock.env)
        load_ = load.Load(self, one, two)
        load_.wait_for_commits()
        self.assertEqual(self.corrections(one), [])
        for seconds in (HOUR, 0, -5 * HOUR, 7 * HOUR):
            self.clock.shift(seconds)
            load_.wait_for_commits(3)
            self.assertLess(abs(self.corrections(one)[-1] + seconds), 60)
        load_.end()
        load_.check(self.s3_mount(self.made))
        for mount in (one, two):
            self.assertLess(len(self.corrections(mount)), 200)

    def test_a_clock_a_few_minutes_off(self):
        """What the store tolerates is not corrected."""
        self.clock.shift(300)
        mount = self.s3_mount(self.made, env=self.clock.env)
        mount.put("p", 0)
        self.assert_step(mount, 0, "p", 0)
        self.assertEqual(self.corrections(mount), [])


if __name__ == "__main__":
    bw.main()
