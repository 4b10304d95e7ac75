#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# ctest: 40-s
"""`batchweave bench`: what it counts is what it did, and whatever ends it, it leaves nothing behind."""
import json
import os
import signal
import subprocess
import time
import unittest

import bw
import objects

SIZE = 65536
RANKS = 4
ROWS = ["ingest", "tail", "seek", "catchup", "hot", "loop"]


class Bench(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.tmp = self.folder("tmp")
        self.env = {**os.environ, "TMPDIR": self.tmp}

    def store(self):
        """Where a stream may be made; nothing is there."""
        store = objects.new(lambda: self.folder("store"))
        self.addCleanup(store.close)
        return store

    def bench(self, *args, check=True):
        """The object of --json."""
        done = bw.batchweave("bench", *args, "--json", check=False, env=self.env, timeout=bw.PATIENCE)
        if check:
            self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout) if check else done

    def assert_nothing_left(self, store):
        self.assertEqual(os.listdir(self.tmp), [])
        self.assertNotIn(self.tmp, bw.read("/proc/mounts"))
        self.assertEqual(store.keys(), [])

    def assert_row(self, row, steps, slices, size=SIZE):
        """Counts and bytes agree with each other, whatever the figures are."""
        self.assertEqual((row["steps"], row["slices"], row["bytes"]), (steps, slices, slices * size), row)
        if row["row"] != "ingest":
            self.assertEqual(row["verified_slices"], slices)
        self.assertAlmostEqual(row["mb_per_s"], row["bytes"] / row["seconds"] / 1e6, delta=0.01 * row["mb_per_s"])
        self.assertAlmostEqual(row["steps_per_s"], steps / row["seconds"], delta=0.01 * row["steps_per_s"])
        for times in row["times"].values():
            self.assertEqual(len(times["samples_ms"]), times["n"])
            ordered = sorted(times["samples_ms"])
            self.assertEqual((ordered[0], ordered[-1]), (times["min_ms"], times["max_ms"]))
            self.assertEqual(ordered[(times["n"] + 1) // 2 - 1], times["p50_ms"])
            self.assertEqual(times["p99_ms"] is None, times["n"] < 100)
        requests = sum(sum(m["requests"].values()) for m in row["mounts"].values())
        self.assertAlmostEqual(row["requests_per_step"], requests / steps, delta=0.001)


class Url(Bench):
    def test_all_rows(self):
        store = self.store()
        said = self.bench(store.url, "--ranks", RANKS, "--size", "64K", "--batches", 6, "--producers", 2, "--writers", 2,
                          "--readers", 3, "--compute", 1, "--samples")
        rows = {row["row"]: row for row in said["rows"]}
        self.assertEqual(list(rows), ROWS)
        self.assertTrue(said["complete"])
        self.assertTrue(said["stream"].startswith(store.url + "/bench-"))
        self.assert_row(rows["ingest"], 6, 6 * RANKS)
        self.assertEqual(rows["ingest"]["times"]["close"]["n"], 6)
        self.assert_row(rows["tail"], 6, 6 * 3)
        self.assertEqual(rows["tail"]["times"]["delivery"]["n"], 6 * 3)
        self.assert_row(rows["seek"], 6, 6)
        self.assert_row(rows["catchup"], 12, 12 * 3)
        self.assert_row(rows["hot"], 12, 12 * 3)
        self.assert_row(rows["loop"], 6, 6 * 3)
        self.assertGreater(rows["loop"]["stall_share"], 0)
        self.assertLess(rows["loop"]["stall_share"], 1)
        # Everything went through the store once, and the second time through the page cache.
        out = rows["ingest"]["mounts"]["producers"]["store_bytes_out"]
        self.assertGreaterEqual(out, rows["ingest"]["bytes"])
        self.assertGreaterEqual(rows["catchup"]["mounts"]["readers"]["store_bytes_in"], rows["catchup"]["bytes"])
        self.assertEqual(rows["hot"]["mounts"]["readers"]["store_bytes_in"], 0)
        self.assert_nothing_left(store)


if __name__ == "__main__":
    bw.main()
