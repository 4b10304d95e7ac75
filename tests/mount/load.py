# SPDX-License-Identifier: Apache-2.0
"""Two producers and two readers on two mounts, while something happens to the store or the way there.

What must be true at the end: no call of anybody failed, every acknowledged batch is there once, in the
producer's order, byte for byte, and nothing else is (S2, S3).
"""
import os
import random
import sys
import time

import bw

RANKS = 2
MIB = 1 << 20


def slices(producer, seq):
    """Small ones, some above a block, and every now and then one that is sent in parts."""
    sizes = random.Random(f"{producer} {seq}").choices((900, 70000, 1500000, 13 * MIB), (6, 5, 3, 1), k=RANKS)
    return [bw.payload(producer, seq, rank, size) for rank, size in enumerate(sizes)]


def produce(mount, name, folder, pending):
    """Batch after batch until told to stop; what was acknowledged is in a file."""
    seq, acked = 0, 0
    while not os.path.exists(folder + "/stop"):
        mount.put(name, seq, slices(name, seq))
        seq += 1
        if not pending:
            acked = seq
        elif seq % 5 == 0:
            mount.drain(name)
            acked = seq
        bw.write(f"{folder}/{name}.new", f"{acked}\n")
        os.rename(f"{folder}/{name}.new", f"{folder}/{name}.acked")
    mount.drain(name)
    bw.write(f"{folder}/{name}.acked", f"{seq}\n")


def follow(mount, folder):
    """
    Reads every step as it comes; an error of what is committed ends the test.  Whether a step is there is
    asked with a look-up, which holds its folder and so gives up with EIO after seconds, whatever io_timeout says.
    """
    step = 0
    while not os.path.exists(folder + "/end") or step < int(bw.read(folder + "/end")):
        missing = bw.error_of(os.stat, mount.step(step))
        if missing in ("ENOENT", "EIO"):
            time.sleep(0.02)
            continue
        if missing:
            raise AssertionError(f"step {step}: {missing}")
        meta = mount.meta(step)
        wanted = slices(meta["producer"], int(meta["seq"]))
        if mount.get(step) != wanted:
            raise AssertionError(f"step {step} has other bytes than its producer wrote")
        step += 1


class Load:
    """Started by the constructor, in processes of the test's own."""

    def __init__(self, case, one, two):
        """two is mounted with pending=."""
        self.case, self.mounts, self.dir = case, (one, two), case.folder("said")
        self.producers = [case.spawn(produce, one, "p", self.dir, 0), case.spawn(produce, two, "q", self.dir, 4)]
        self.readers = [case.spawn(follow, m, self.dir) for m in self.mounts]

    def wait_for_commits(self, n=1):
        """The load goes on: both have committed again, and nobody has failed."""
        before = [self.seen(m) for m in self.mounts]
        bw.wait_until(lambda: self.anybody_failed() or
                      all(self.seen(m)[i] >= b[i] + n for i in range(2) for m, b in zip(self.mounts, before)),
                      what="commits of both producers")
        self.case.assertFalse(self.anybody_failed(), "a producer or reader has ended")

    @staticmethod
    def seen(mount):
        said = mount.said()["producers"]
        return [int(said.get(name, {"next": 0})["next"]) for name in "pq"]

    def anybody_failed(self):
        return any(c.poll() is not None for c in self.producers + self.readers)

    def end(self):
        bw.write(self.dir + "/stop", "")
        self.case.join(*self.producers)
        bw.write(self.dir + "/end.new", str(max(m.head() for m in self.mounts)))
        os.rename(self.dir + "/end.new", self.dir + "/end")
        self.case.join(*self.readers)

    def check(self, mount):
        """mount: a fresh one."""
        acked = {name: int(bw.read(f"{self.dir}/{name}.acked")) for name in "pq"}
        print(f"acknowledged: {acked}", file=sys.stderr)
        seen = {name: 0 for name in acked}
        for step in range(mount.head()):
            meta = mount.meta(step)
            name, seq = meta["producer"], int(meta["seq"])
            self.case.assertEqual(seq, seen[name], f"step {step}")
            self.case.assert_step(mount, step, name, seq, slices(name, seq))
            seen[name] += 1
        self.case.assertEqual(seen, acked)
        for m in self.mounts:
            self.case.assertEqual([x for x in m.status("errors").split("\n") if "seq=" in x], [])
