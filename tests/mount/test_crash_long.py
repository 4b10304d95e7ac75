# SPDX-License-Identifier: Apache-2.0
# ctest: long
"""S2, P4, P6: the daemon is killed at 200 seeded moments under load."""
import bw
import crash


class Killed(crash.CrashCase):
    def test_s2_killed_at_200_seeded_moments(self):
        """S2, P4, P6, P8: replay from resume gives every batch once."""
        self.kill_often(200)


if __name__ == "__main__":
    bw.main()
