# SPDX-License-Identifier: Apache-2.0
# ctest: 40-s
"""A stream of a million steps on a real mount: opening, looking up, listing.  V2, S9, I12.

Asserts requests and bytes: what a mount of a long history costs is what one of a short history does.
BW_STEPS sets how many steps find looks at, one by one.
"""
import os
import random
import shutil
import subprocess
import sys
import tempfile

import bw
import objects

LONG_HISTORY = os.path.join(bw.BUILD, "tests", "mount", "long_history")
MILLION = 1_000_000
STEPS = int(os.environ.get("BW_STEPS", "6000"))


class History(bw.TestCase):
    limit = bw.TestCase.limit + STEPS // 500

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.streams = {}  # by their steps

    @classmethod
    def long_stream(cls, steps):
        """Made once, because nobody commits to it."""
        if steps not in cls.streams:
            folder = tempfile.mkdtemp(prefix="batchweave-history-", dir=bw.base_folder())
            cls.addClassCleanup(shutil.rmtree, folder)
            subprocess.run([LONG_HISTORY, folder, str(steps)], check=True, stdout=subprocess.DEVNULL)
            made, written = objects.new(lambda: folder), objects.Folder(folder)
            cls.addClassCleanup(made.close)
            if objects.ON_S3:
                for key in written.keys():
                    made.write(key, written.read(key))
            cls.streams[steps] = bw.Stream(made, 4)
        return cls.streams[steps]

    def requests(self, mount):
        return mount.metric("store_requests_total")

    def test_v2_opening_costs_the_same_at_any_length(self):
        """V2, S4: requests until the mount is usable, at 1,000 and at 1,000,000 steps."""
        counts = {}
        for steps in (1000, MILLION):
            mount = self.mount(self.long_stream(steps))
            counts[steps] = self.requests(mount)
            self.assertEqual(mount.head(), steps)
        print(f"requests until usable, by steps: {counts}", file=sys.stderr)
        self.assertEqual(counts[1000], counts[MILLION])
        self.assertLessEqual(counts[MILLION], 8)

    def test_v2_a_random_step_costs_at_most_three_gets(self):
        """V2: a cold look-up goes through the index, a warm one asks nothing."""
        mount = self.mount(self.long_stream(MILLION))
        rng = random.Random(7)
        cold = []
        for _ in range(20):
            step = rng.randrange(MILLION)
            before = self.requests(mount)
            os.stat(mount.step(step))
            cold.append(self.requests(mount) - before)
            self.assertLessEqual(cold[-1], 3, step)
            before = self.requests(mount)
            os.stat(mount.step(step) + "/rank")
            self.assertEqual(self.requests(mount) - before, 0, step)
        print(f"requests of cold look-ups: {cold}", file=sys.stderr)

    def test_s9_a_million_steps_list_in_order_within_bounded_memory(self):
        """S9, V2: numeric order, each once, types without a stat, no store requests for the entries."""
        mount = self.mount(self.long_stream(MILLION), "memory=64M")
        os.listdir(mount.path("status"))
        rss, before = mount.rss(), self.requests(mount)
        expected = 0
        with os.scandir(mount.path("step")) as entries:
            for entry in entries:
                self.assertEqual(entry.name, str(expected))
                if expected % 50_000 == 0:
                    self.assertTrue(entry.is_dir(follow_symlinks=False))
                expected += 1
        self.assertEqual(expected, MILLION)
        print(f"listed with {self.requests(mount) - before} requests, "
              f"{(mount.rss() - rss) >> 10} KiB more resident", file=sys.stderr)
        self.assertLessEqual(self.requests(mount) - before, 2)
        self.assertLess(mount.rss() - rss, (128 if bw.SANITIZED else 32) << 20)

    def lean(self, steps):
        """A mount of a long history with a view and little memory, and its resident bytes so far."""
        mount = self.mount(self.long_stream(steps), "memory=64M,view=rollouts/step_{step}/rank_{rank}.bin", env=bw.FRUGAL)
        os.listdir(mount.path("status"))
        return mount, mount.rss()

    def assert_lean(self, mount, rss):
        print(f"{(mount.rss() - rss) >> 10} KiB more resident", file=sys.stderr)
        self.assertLess(mount.rss() - rss, (64 if bw.SANITIZED else 32) << 20)

    def test_s9_what_people_type(self):
        """S9: ls, head and completion at a million steps, in /step and in a view."""
        mount, rss = self.lean(MILLION)
        before = self.requests(mount)
        for folder, prefix in ((mount.path("step"), ""), (mount.path("rollouts"), "step_")):
            typed = self.shell("""
                set -o pipefail
                ls -U $D | head -n 3; test ${PIPESTATUS[1]} = 0
                ls -U $D | tail -n 1
                compgen -d $D/${P}99999 | wc -l
            """, D=folder, P=prefix).stdout.split()
            self.assertEqual(typed, [prefix + n for n in ("0", "1", "2", "999999")] + ["11"])
        self.assertLessEqual(self.requests(mount) - before, 40)
        self.assert_lean(mount, rss)

    def test_s9_find_looks_at_each_step(self):
        """S9: find asks for each entry, even at its last level: nothing is kept of that, and the index is read once."""
        mount, rss = self.lean(STEPS)
        before = self.requests(mount)
        script = 'find $D -mindepth 1 -maxdepth 1 -type d -name "${P}599?" -printf "%f "; ls $D | wc -l'
        for folder, prefix in ((mount.path("step"), ""), (mount.path("rollouts"), "step_")):
            found = subprocess.run(["bash", "-c", script], env={**os.environ, "D": folder, "P": prefix}, check=True,
                                   timeout=self.limit, stdout=subprocess.PIPE, text=True).stdout.split()
            self.assertEqual(found, [f"{prefix}{n}" for n in range(5990, 6000)] + [str(STEPS)])
        print(f"found with {self.requests(mount) - before} requests", file=sys.stderr)
        self.assertLessEqual(self.requests(mount) - before, 2 * (STEPS / 128 + STEPS / 8192) + 100)
        self.assertLessEqual(mount.metric("memory_used_bytes"), 64 << 20)
        self.assert_lean(mount, rss)

    def test_s9_a_view_lists_a_million_steps(self):
        """S9, V2: numeric order, each once, from any place, where the directory is read by several at once."""
        mount, rss = self.lean(MILLION)
        with os.scandir(mount.path("rollouts")) as entries, os.scandir(mount.path("rollouts")) as other:
            next(other)
            for expected, entry in enumerate(entries):
                self.assertEqual(entry.name, f"step_{expected}")
            self.assertEqual((expected, next(other).name), (MILLION - 1, "step_1"))
        self.assert_lean(mount, rss)


if __name__ == "__main__":
    bw.main()
