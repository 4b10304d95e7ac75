# SPDX-License-Identifier: Apache-2.0
"""Reads of a stream in an S3 store: bare libcurl, the store layer, our mount, s3fs and rclone; near and far."""
import contextlib
import random

from harness import Goal, Metric, Row
from world import KIB, MIB, size_text

PEER_READERS = 4  # s3fs and rclone read whole objects, so many at a time
DELAYS_MS = (0, 10, 30)
# So many that a mount's first look, which the rows `cold` measure, is a small part of them.
STEPS = {(8, 64 * KIB): 400, (64, 64 * KIB): 64, (8, MIB): 64, (64, MIB): 12, (8, 8 * MIB): 16, (64, 8 * MIB): 2}

METRICS = [Metric("p50", "p50 ms", ratio=False), Metric("p99", "p99 ms", ratio=False),
           Metric("requests", "requests a slice", ratio=False), Metric("bytes", "bytes a useful byte", 3, ratio=False)]


class Contest:
    """One stream, and one way to its store, for all contestants of a row."""

    def __init__(self, options, ranks, size, delay_ms):
        self.bench, self.options, self.ranks, self.size, self.delay_ms = options.bench, options, ranks, size, delay_ms
        self.steps = STEPS[ranks, size]
        # As docs/operations.md says: room for 8 blocks of each rank that is read at a time, and for what comes next.
        self.memory = max(512, 2 * 8 * ranks * min(size, MIB) // MIB)
        if options.quick:
            self.steps = 2 if options.tiny else max(2, self.steps // 12)

    @contextlib.contextmanager
    def prepare(self):
        near = self.bench.s3()
        self.stream = self.bench.stream(self.ranks, self.size, self.steps, near)
        self.s3 = self.bench.s3(self.delay_ms)
        yield self

    def measured(self, call, useful, slices, cpu=None):
        """call() runs a load program; cpu() is a daemon's, else the program's own counts."""
        before, cpu_before = self.s3.counts(), cpu() if cpu else 0
        done = call()
        used = cpu() - cpu_before if cpu else done["cpu_s"]
        after = self.s3.counts()
        return {"rate": useful / done["seconds"] / 1e6, "p50": done["p50_ms"], "p99": done["p99_ms"], "cpu": used / useful * 1e9,
                "requests": (after[0] - before[0]) / slices if before else None,
                "bytes": (after[1] - before[1]) / useful if before else None}

    # ---- contestants; items are pieces of the stream ----

    def by_program(self, who, items, readers):
        lines = "".join(f"{key} {offset} {length}\n" for _, _, key, offset, length in items)
        return self.measured(lambda: self.bench.raw(who, "get", self.s3, self.stream.url, readers, lines=lines),
                             sum(i[4] for i in items), len(items))

    def by_mount(self, items, readers):
        with self.bench.mount(self.stream, s3=self.s3, memory=f"{self.memory}M") as m:
            lines = "".join(f"{rank % readers} {m.dir}/step/{step}/rank/{rank} 0 {self.size}\n" for step, rank, *_ in items)
            return self.measured(lambda: self.bench.load("read", readers, lines=lines), len(items) * self.size, len(items), m.cpu)

    def by_peer(self, peer, items, readers, slices):
        """items: [(reader, object, offset, length)]"""
        with getattr(self.bench, peer)(self.s3, self.stream.prefix) as m:
            lines = "".join(f"{reader % readers} {m.dir}/{key} {offset} {length}\n" for reader, key, offset, length in items)
            return self.measured(lambda: self.bench.load("read", readers, lines=lines), sum(i[3] for i in items), slices, m.cpu)

    def by_peer_whole(self, peer):
        objects = self.stream.objects()
        items = [(at, key, 0, n) for at, (_, key, n) in enumerate(objects)]
        return self.by_peer(peer, items, min(PEER_READERS, len(items)), len(self.stream.pieces))

    def by_peer_pieces(self, peer, items, readers):
        return self.by_peer(peer, [(rank, *rest) for _, rank, *rest in items], readers, len(items))


def label(ranks, size):
    return f"w{ranks}-{size_text(size).replace(' ', '').lower()}"


def behind(delay_ms):
    return f", {delay_ms} ms (median, lognormal) to the store" if delay_ms else ""


PEERS = {"s3fs": "s3fs", "rclone": "rclone"}


def in_order(options, ranks, size, delay_ms):
    c = Contest(options, ranks, size, delay_ms)
    goals = [Goal("mount", at_least=0.95 if delay_ms else 0.72)]
    if not delay_ms:
        goals += [Goal("mount", at_least=1.5, reference="s3fs")]
    return Row(
        f"s3read{delay_ms or ''}.{label(ranks, size)}",
        f"All of a stream in S3: {ranks} readers, slices of {size_text(size)}{behind(delay_ms)}",
        {"raw": lambda w: w.by_program("raw", w.stream.pieces, ranks), "mount": lambda w: w.by_mount(w.stream.pieces, ranks),
         "s3fs": lambda w: w.by_peer_whole("s3fs"), "rclone": lambda w: w.by_peer_whole("rclone")},
        [Metric("rate", "MB/s", 0, goals), Metric("cpu", "CPU s/GB", 2, [Goal("mount", at_most=0.6, reference=None)]), *METRICS],
        reference="raw", prepare=c.prepare, optional=PEERS, seconds=3 + size * ranks * c.steps / (80 * MIB),
        rounds=None if options.quick else 2 if size * ranks > 256 * MIB else 3 if delay_ms else 5, x=f"W={ranks} {size_text(size)}",
        note=f"raw: bare libcurl, {ranks} connections. mount: mounted afresh, {ranks} readers of a rank each, step after step. s3fs and "
             f"rclone read the objects whole, {PEER_READERS} at a time, which is what they are best at; p50 and p99 are of a slice, and of an "
             "object for them. CPU is the daemon's, or raw's own.")


def layer(options, size):
    c = Contest(options, 8, size, 0)
    return Row(
        f"layer.{size_text(size).replace(' ', '').lower()}", f"The store layer beside bare libcurl: range gets of {size_text(size)}, 8 connections",
        {"raw": lambda w: w.by_program("raw", w.stream.pieces, 8), "layer": lambda w: w.by_program("layer", w.stream.pieces, 8)},
        [Metric("rate", "MB/s", 0, [Goal("layer", at_least=0.97)]), Metric("cpu", "CPU s/GB", ratio=False), *METRICS[:2]],
        reference="raw", prepare=c.prepare, seconds=1, rounds=None if options.quick else 9, x=size_text(size))


def jumps(options, ranks, size, readers):
    c = Contest(options, ranks, size, 0)

    def items(w):
        mine = [p for p in w.stream.pieces if p[1] < readers]
        random.Random(1).shuffle(mine)
        return mine

    return Row(
        f"jump.{label(ranks, size)}-r{readers}", f"Steps in random order: {readers} reader{'s' * (readers > 1)} of {ranks} ranks, slices of {size_text(size)}",
        {"raw": lambda w: w.by_program("raw", items(w), readers), "layer": lambda w: w.by_program("layer", items(w), readers),
         "mount": lambda w: w.by_mount(items(w), readers),
         "s3fs": lambda w: w.by_peer_pieces("s3fs", items(w), readers), "rclone": lambda w: w.by_peer_pieces("rclone", items(w), readers)},
        [Metric("rate", "MB/s", 0), Metric("cpu", "CPU s/GB", ratio=False), *METRICS],
        reference="raw", prepare=c.prepare, optional=PEERS, seconds=4, rounds=None if options.quick else 3)


def cold_slice(options, delay_ms):
    c = Contest(options, 64, 64 * KIB if options.tiny else MIB, delay_ms)

    def items(w):
        rng = random.Random(2)
        wanted = {step: rng.randrange(1, 63) for step in rng.sample(range(w.steps), w.steps)}
        where = {p[:2]: p for p in w.stream.pieces}
        return [where[place] for place in wanted.items()]

    return Row(
        f"cold{delay_ms or ''}.1mib-of-64mib", f"A slice of {size_text(c.size)} of a batch of 64, cold{behind(delay_ms)}",
        {"raw": lambda w: w.by_program("raw", items(w), 1), "mount": lambda w: w.by_mount(items(w), 1),
         "s3fs": lambda w: w.by_peer_pieces("s3fs", items(w), 1), "rclone": lambda w: w.by_peer_pieces("rclone", items(w), 1)},
        [Metric("p50", "p50 ms", 2, [Goal("mount", at_most=1.3), Goal("mount", at_most=0.1, reference="s3fs")]),
         Metric("p99", "p99 ms", ratio=False), *METRICS[2:]],
        reference="raw", prepare=c.prepare, optional=PEERS, seconds=2, x=f"{delay_ms} ms",
        note="Every slice is of another batch, none of which the mount has seen; raw knows object and offset and keeps its connection.")


def shapes(options):
    """(ranks, slice, delay): all that is asked of one stream in a row, because there is not room for all streams."""
    if options.tiny:
        return [(8, MIB, 0), (8, MIB, 10)]
    if options.quick:
        return [(8, 64 * KIB, 0), (8, MIB, 0), (8, MIB, 10), (8, 8 * MIB, 0)]
    return [(ranks, size, delay_ms) for ranks, size in STEPS for delay_ms in DELAYS_MS
            if delay_ms == 0 or ranks == 8 or (delay_ms == 10 and size < 8 * MIB)]


def rows(options):
    for size in [MIB] if options.tiny else (64 * KIB, MIB, 8 * MIB):
        yield layer(options, size)
    for ranks, size, delay_ms in shapes(options):
        yield in_order(options, ranks, size, delay_ms)
    for ranks, size, readers in [(64, 64 * KIB, 1)] if options.tiny else [
            (64, 64 * KIB, 4), (64, 64 * KIB, 1), (64, MIB, 4), (64, MIB, 1), (8, 8 * MIB, 4), (8, 8 * MIB, 1)][:3 if options.quick else 6]:
        yield jumps(options, ranks, size, readers)
    for delay_ms in DELAYS_MS[:2 if options.quick else 3]:
        yield cold_slice(options, delay_ms)
