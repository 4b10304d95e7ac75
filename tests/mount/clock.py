# SPDX-License-Identifier: Apache-2.0
"""A wall clock that is wrong, for daemons and commands that are started with its environment (wrong_clock.c)."""
import os

import bw

LIBRARY = os.path.join(bw.BUILD, "tests", "mount", "libwrong_clock.so")


class Clock:
    def __init__(self, folder):
        self.file = os.path.join(folder, "shift")
        self.shift(0)
        self.env = {"LD_PRELOAD": LIBRARY, "BW_WRONG_CLOCK": self.file,
                    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}

    def shift(self, seconds):
        """From now on it is so many seconds ahead."""
        bw.write(self.file + ".new", str(seconds))
        os.rename(self.file + ".new", self.file)
