# SPDX-License-Identifier: Apache-2.0
"""S2, P4, P6: the daemon is killed at 20 seeded moments under load (test_crash_long.py: at 200)."""
import os
import subprocess

import bw
import crash


class Killed(crash.CrashCase):
    def test_s2_killed_at_seeded_moments(self):
        """S2, P4, P6, P8: replay from resume gives every batch once."""
        self.kill_often(20)

    def test_s2_killed_right_after_the_acknowledgement(self):
        """S2: what close has acknowledged is there for another mount, whatever dies then."""
        stream = self.stream(2)
        mount = self.mount(stream)
        for seq in range(10):
            mount.put("p", seq)
            mount.kill()
            self.assertEqual(stream.cat(seq, 1), bw.payload("p", seq, 1))
            mount.restart()
            self.assertEqual(mount.head(), seq + 1)
            self.assert_step(mount, seq, "p", seq)

    def test_s2_a_dead_mount_says_so(self):
        """S2: readers of a dead mount get ENOTCONN; a lazy unmount and a new mount bring all back."""
        mount = self.mounted()
        mount.put("p", 0)
        mount.proc.kill()
        mount.proc.wait(bw.PATIENCE)
        self.assert_errno("ENOTCONN", os.stat, mount.step(0))
        subprocess.run(["umount", "-l", mount.dir], check=True)
        mount.restart()
        self.assert_step(mount, 0, "p", 0)

    def test_s1_other_mounts_do_not_notice(self):
        """S1: one mount dies with a batch half staged; the other goes on and may take the producer."""
        stream = self.stream()
        a, b = self.mount(stream), self.mount(stream)
        a.put("p", 0)
        a.begin("p", 1)
        bw.write(a.slot("p", 1, 0), b"lost")
        a.kill()
        b.put("q", 0)
        b.put("p", 1)
        self.assert_step(b, 1, "q", 0)
        self.assert_step(b, 2, "p", 1)


if __name__ == "__main__":
    bw.main()
