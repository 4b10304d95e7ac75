# SPDX-License-Identifier: Apache-2.0
# ctest: long 110-s
"""S2, P4, P6: the daemon is killed at 200 seeded moments under load (40 on S3)."""
import bw
import crash
import objects


class Killed(crash.CrashCase):
    def test_s2_killed_at_200_seeded_moments(self):
        """S2, P4, P6, P8: replay from resume gives every batch once."""
        self.kill_often(40 if objects.ON_S3 else 200)


if __name__ == "__main__":
    bw.main()
