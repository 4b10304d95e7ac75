#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# ctest: once trainers long 60-s
"""P4, C1-C4, S2: a real training job (docs/examples/charlm) with kill -9 of its parts is the undisturbed one, bit for bit."""
import os
import subprocess
import sys

import bw
import objects
import test_trainers

DRILL = os.path.join(test_trainers.EXAMPLES, "charlm", "drill.py")


class Drill(bw.TestCase):
    limit = 500

    def drill(self, *more):
        args = ["--programs", os.path.dirname(bw.BATCHWEAVE), "--steps", 60, "--kills", 1, *more]
        if os.environ.get("BW_SEED"):
            args += ["--seed", os.environ["BW_SEED"]]
        if objects.ON_S3:
            store = objects.Prefix()
            self.addCleanup(store.close)
            args += ["--store", store.url]
        done = subprocess.run([test_trainers.PYTHON, DRILL, *map(str, args)], stdout=subprocess.PIPE, text=True, check=False,
                              timeout=self.limit - 50, env={**os.environ, "TMPDIR": self.root})
        print(done.stdout, file=sys.stderr)
        return done.returncode, [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.split("\n")[2:-1]]

    def test_p4_c3_s2_losses_are_equal_bit_for_bit(self):
        code, rows = self.drill("--runs", "uninterrupted,all of them")
        self.assertEqual(code, 0)
        self.assertEqual([r[-1] for r in rows], ["yes"] * len(rows))
        self.assertEqual(len({r[-2] for r in rows}), 1)
        self.assertEqual(rows[0][2:5], ["0", "0", "-"])
        for r in rows[1:]:
            self.assertGreaterEqual(int(r[2]), 1, "nothing was killed")
            self.assertGreaterEqual(int(r[3]), 1, "nothing was started again")


if __name__ == "__main__":
    bw.main()
