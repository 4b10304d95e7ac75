# SPDX-License-Identifier: Apache-2.0
"""What a step costs in a stream of a thousand steps, and in one of a million: a commit, and the reader on another mount."""
import contextlib
import json
import os

import world
from harness import Goal, Metric, Row

STEPS = (10**3, 10**4, 10**5, 10**6)
FOLD = 128  # commits between two leaves of the index


def name(steps):
    return f"10^{len(str(steps)) - 1} steps"


class Histories:
    """Streams of so many steps, as objects of the manifest; the slices of the past are not there and not needed."""

    def __init__(self, bench, lengths, batches):
        self.bench, self.batches = bench, batches
        self.streams, self.warm = {}, set()
        for steps in lengths:
            where = bench.folder("history")
            world.run(bench.program("tests/mount/long_history"), where, steps)
            url = "file://" + where
            ranks = json.loads(world.run(bench.tool, "status", url, "--json"))["ranks"]
            self.streams[steps] = world.Stream(url, ranks, 1, steps, {})

    def commit(self, mount, seq, ranks):
        root = f"{mount.dir}/produce/growth/{seq}/rank"
        os.makedirs(root)
        for rank in range(ranks):
            with open(f"{root}/{rank}", "wb") as f:
                f.write(b"%04096d" % seq)

    def run(self, steps):
        """
        Each round goes on where the last one ended; by a few hundred steps, whatever the length.  Before the first one
        whoever made the history is left behind: beside another who committed lately a mount looks before it commits.
        """
        stream = self.streams[steps]
        with self.bench.mount(stream, "rw") as out, self.bench.mount(stream, "ro,wait=120") as into:
            os.makedirs(f"{out.dir}/produce/growth", exist_ok=True)
            with open(f"{out.dir}/produce/growth/next", encoding="ascii") as f:
                seq = int(f.read())
            self.commit(out, seq, stream.ranks)  # takes the producer
            for _ in range(0 if steps in self.warm else self.batches):
                seq += 1
                self.commit(out, seq, stream.ranks)
            self.warm.add(steps)
            head = out.head()
            with open(f"{into.dir}/step/{head - 1}/rank/0", "rb") as f:
                f.read()
            before = [self.counts(m) for m in (out, into)]
            for i in range(self.batches):
                self.commit(out, seq + 1 + i, stream.ranks)
                with open(f"{into.dir}/step/{head + i}/rank/0", "rb") as f:
                    f.read()
            after = [self.counts(m) for m in (out, into)]
        return {f"{who}_{what}": (b - a) / self.batches for who, x, y in zip(("commit", "read"), before, after)
                for what, a, b in zip(("requests", "bytes", "cpu"), x, y)}

    @staticmethod
    def counts(mount):
        return mount.metric("store_requests_total"), mount.metric("store_bytes_total"), mount.cpu() * 1e3


def rows(options):
    lengths = STEPS[:2] if options.tiny else STEPS
    batches = 4 if options.tiny else FOLD if options.quick else 2 * FOLD
    goals = [Goal(name(s), at_most=1.1) for s in lengths[1:]]

    @contextlib.contextmanager
    def prepare():
        yield Histories(options.bench, lengths, batches)

    def contestant(steps):
        return lambda histories: histories.run(steps)

    yield Row(
        "growth.steps", "What a step costs as the stream grows", {name(s): contestant(s) for s in lengths},
        [Metric("commit_requests", "requests of a commit", 3, goals), Metric("commit_bytes", "bytes of a commit", 0, goals),
         Metric("commit_cpu", "CPU ms of a commit", 2, goals), Metric("read_requests", "requests of a reader", 3, goals),
         Metric("read_bytes", "bytes of a reader", 0, goals), Metric("read_cpu", "CPU ms of a reader", 2, goals)],
        reference=name(lengths[0]), prepare=prepare, seconds=10 if options.quick else 25,
        note=f"file://, slices of 4 KiB, {batches} batches one after the other, each read on another mount as soon as it is committed; with their share of "
             "folding the index. Most of the bytes is the root, which every commit writes and every reader gets. CPU is the daemon's, by the kernel's "
             "ticks of 10 ms.")
