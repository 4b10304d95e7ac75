# SPDX-License-Identifier: Apache-2.0
"""From the acknowledgement of a commit on one mount to the last byte of a slice read through another, S3 store."""
import contextlib

from harness import Goal, Metric, Row
from world import KIB, MIB, size_text

RANKS = 8
WARM = 3  # batches


class Contest:
    """One stream that grows, two mounts each time; the batches of a round are new."""

    def __init__(self, options, size, delay_ms):
        self.bench, self.size, self.delay_ms = options.bench, size, delay_ms
        self.batches = 2 if options.tiny else 6 if options.quick else {64 * KIB: 20, MIB: 10, 8 * MIB: max(3, 21 // (options.rounds or 3))}[size]

    @contextlib.contextmanager
    def prepare(self):
        self.s3 = self.bench.s3(self.delay_ms)
        with self.bench.scratch(RANKS, self.bench.s3()) as self.stream:
            yield self

    def by_mount(self, readers):
        with (self.bench.mount(self.stream, "rw", self.s3) as a, self.bench.mount(self.stream, "ro", self.s3) as b):
            for batches in (WARM, self.batches):  # what is new to a mount, memory above all, is no part of a tail: the second time counts
                head = a.head()
                done = self.bench.load("tail", a.dir, b.dir, "bench", head, head, batches, readers, RANKS, self.size)
            metas = [a.meta(step) for step in range(a.head() - self.batches - 1, a.head())]
        self.slices = ["{} {} {}\n".format(m["object"], m["ranks"][0]["offset"], m["ranks"][0]["stored"]) for m in metas]
        return {"p50": done["p50_ms"], "p99": done["p99_ms"], "commit_p50": done["commit_p50_ms"]}

    def newest_roots(self):
        client = self.bench.s3().client()
        where = self.stream.prefix + "/"
        keys = sorted(k for k in client.list(where) if "/manifest/" in k)[-self.batches - 1:]
        lines = [f"{key[len(where):]} 0 {len(client.get(key))}\n" for key in keys]
        client.close()
        return lines

    def by_raw(self):
        """What cannot be left out: the new root, then the slice, each once, over a connection that is there."""
        if not hasattr(self, "slices"):
            self.by_mount(1)
        p50, p99 = 0, 0
        for lines in (self.newest_roots(), self.slices):
            done = self.bench.raw("raw", "get", self.s3, self.stream.url, 1, lines="".join(lines))
            p50, p99 = p50 + done["p50_ms"], p99 + done["p99_ms"]
        return {"p50": p50, "p99": p99}


def row(options, size, delay_ms):
    c = Contest(options, size, delay_ms)
    return Row(
        f"tail{delay_ms or ''}.{size_text(size).replace(' ', '').lower()}",
        f"Commit acknowledged to last byte on another mount, slices of {size_text(size)}" +
        (f", {delay_ms} ms (median, lognormal) to the store" if delay_ms else ""),
        {"root + slice": lambda w: w.by_raw(), "mount, 1 reader": lambda w: w.by_mount(1), "mount, 8 readers": lambda w: w.by_mount(8)},
        [Metric("p50", "p50 ms", 2, [Goal("mount, 1 reader", at_most=1.3)]), Metric("p99", "p99 ms", ratio=False),
         Metric("commit_p50", "last close p50 ms", ratio=False)],
        reference="root + slice", prepare=c.prepare, seconds=3, rounds=None if options.quick else 3, x=size_text(size),
        note="The reader opens its slice when the last close of the batch has returned; the time ends with the last byte of the last reader. "
             f"Batches of {RANKS} slices, on mounts that have had {WARM} before. root + slice: two gets of bare libcurl, one after the other, medians added.")


def rows(options):
    if options.quick:
        shapes = [(64 * KIB if options.tiny else MIB, delay_ms) for delay_ms in (0, 10)]
    else:
        shapes = [(size, delay_ms) for delay_ms in (0, 10) for size in (64 * KIB, MIB, 8 * MIB)] + [(MIB, 30)]
    for size, delay_ms in shapes:
        yield row(options, size, delay_ms)
