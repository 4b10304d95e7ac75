# SPDX-License-Identifier: Apache-2.0
"""What one rank's reader costs the store: bytes and requests, index, footers and prefetch included; counted on the way."""
import contextlib

from harness import Goal, Metric, Row
from world import KIB, MIB, size_text

# (W, slice): steps.  1024 slices of 1 MiB would want gigabytes in the store.
SHAPES = {(1, 64 * KIB): 64, (8, 64 * KIB): 64, (64, 64 * KIB): 32, (128, 64 * KIB): 24, (1024, 64 * KIB): 12,
          (1, MIB): 32, (8, MIB): 24, (64, MIB): 8}
PEERS = {"s3fs": "s3fs", "rclone": "rclone"}


class Contest:
    def __init__(self, options, ranks, size, steps):
        self.bench, self.ranks, self.size, self.steps = options.bench, ranks, size, steps

    @contextlib.contextmanager
    def prepare(self):
        self.stream = self.bench.stream(self.ranks, self.size, self.steps, self.bench.s3())
        self.s3 = self.bench.s3(counted=True)
        yield self

    def counted(self, m, paths):
        lines = "".join(f"0 {path} {offset} {length}\n" for path, offset, length in paths)
        before = self.s3.counts()
        done = self.bench.load("read", 1, lines=lines)
        after = self.s3.counts()
        return {"bytes": (after[1] - before[1]) / done["bytes"], "requests": (after[0] - before[0]) / self.steps}

    def by_mount(self):
        with self.bench.mount(self.stream, s3=self.s3) as m:
            return self.counted(m, [(f"{m.dir}/step/{s}/rank/{self.ranks // 2}", 0, self.size) for s in range(self.steps)])

    def by_peer(self, peer):
        mine = [p for p in self.stream.pieces if p[1] == self.ranks // 2]
        with getattr(self.bench, peer)(self.s3, self.stream.prefix) as m:
            return self.counted(m, [(f"{m.dir}/{key}", offset, length) for _, _, key, offset, length in mine])


def row(options, ranks, size):
    steps = SHAPES[ranks, size]
    c = Contest(options, ranks, size, 2 if options.tiny else max(4, steps // 4) if options.quick else steps)
    contestants = {"mount": lambda w: w.by_mount()}
    if ranks == 64:
        contestants.update({p: lambda w, p=p: w.by_peer(p) for p in PEERS})
    return Row(
        f"amplification.w{ranks}-{size_text(size).replace(' ', '').lower()}",
        f"One reader of one rank of {ranks}, {c.steps} steps in order, slices of {size_text(size)}", contestants,
        [Metric("bytes", "bytes a useful byte", 3, [Goal("mount", at_most=1.02 if size >= MIB else 1.1, reference=None)]),
         Metric("requests", "requests a step", ratio=False)],
        prepare=c.prepare, optional=PEERS if ranks == 64 else {}, seconds=3, rounds=1 if options.quick else 3, x=f"W={ranks} {size_text(size)}",
        note="All that the store sends from the first read on, headers included. A mount that has just begun; s3fs and rclone read the same ranges "
             "of the same objects.")


def rows(options):
    for ranks, size in [(8, 64 * KIB), (64, 64 * KIB)] if options.tiny else SHAPES:
        if not options.quick or ranks < 1024:
            yield row(options, ranks, size)
