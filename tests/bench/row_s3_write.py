# SPDX-License-Identifier: Apache-2.0
"""Writes to an S3 store: batches through the mount beside bare puts, and beside files through s3fs and rclone."""
import contextlib
import os

from harness import Goal, Metric, Row
from world import KIB, MIB, size_text

PEERS = {"s3fs": "s3fs", "rclone": "rclone"}
PRODUCERS = 4
UNSIGNED = "mount, unsigned_payload"
# (ranks, slice): batches a producer
INGEST = {(8, 64 * KIB): 64, (64, 64 * KIB): 16, (8, MIB): 16, (64, MIB): 4, (8, 8 * MIB): 4}


def mounts(batch):
    """{contestant: its options}.  Eight batches of 64 MiB of each producer would not fit into memory=."""
    ways = {"mount": "rw", UNSIGNED: "rw,unsigned_payload"}
    if batch <= 8 * MIB:
        ways |= {"mount, pending=8": "rw,pending=8", UNSIGNED + ", pending=8": "rw,unsigned_payload,pending=8"}
    return ways


class Contest:
    def __init__(self, options, ranks, size, batches, delay_ms):
        self.bench, self.ranks, self.size, self.batches, self.delay_ms = options.bench, ranks, size, batches, delay_ms

    @contextlib.contextmanager
    def prepare(self):
        self.near, self.s3 = self.bench.s3(), self.bench.s3(self.delay_ms)
        yield self

    @property
    def whole(self):
        return self.ranks * self.size

    def figures(self, done, cpu, requests, batches):
        return {"rate": done["bytes"] / done["seconds"] / 1e6, "tgb": batches / done["seconds"], "p50": done["p50_ms"],
                "p99": done["p99_ms"], "commit_p50": done.get("commit_p50_ms"), "commit_p99": done.get("commit_p99_ms"),
                "cpu": cpu / done["bytes"] * 1e9, "requests": requests}

    def by_program(self, who, what, connections, count):
        url = self.bench.new_url(self.near)
        before = self.s3.counts()
        try:
            done = self.bench.raw(who, what, self.s3, url, connections, self.whole, count)
            after = self.s3.counts()
        finally:
            self.bench.remove(url)
        return self.figures(done, done["cpu_s"], (after[0] - before[0]) / count if before else None, count)

    def by_mount(self, producers, options="rw"):
        """The time includes the queue of pending=."""
        with self.bench.scratch(self.ranks, self.near) as stream, self.bench.mount(stream, options, self.s3, "1G") as m:
            self.bench.load("batch", m.dir, producers, 0, 1, self.ranks, self.size)  # takes the producers
            m.drain(producers)
            before, cpu = self.s3.counts(), m.cpu()
            done = self.bench.load("batch", m.dir, producers, 1, self.batches, self.ranks, self.size)
            if "pending" in options:
                done["seconds"] += m.drain(producers)
            after, cpu = self.s3.counts(), m.cpu() - cpu
            n = producers * self.batches
            if m.head() != n + producers:
                raise AssertionError(f"{m.head()} steps instead of {n + producers}")
            return self.figures(done, cpu, (after[0] - before[0]) / n if before else None, n)

    def by_peer(self, peer):
        options = {"s3fs": "rw", "rclone": ()}[peer]
        prefix = f"peer-{self.bench.new_url(self.near).rsplit('/', 1)[1]}"
        self.near.client().put(prefix + "/", b"")
        try:
            with getattr(self.bench, peer)(self.s3, prefix, options) as m:
                os.mkdir(m.dir + "/first")
                self.bench.load("files", m.dir + "/first", 1, 1, 1, self.whole, 0)
                before, cpu = self.s3.counts(), m.cpu()
                done = self.bench.load("files", m.dir, 1, self.batches, 1, self.whole, 0)
                after, cpu = self.s3.counts(), m.cpu() - cpu
            return self.figures(done, cpu, (after[0] - before[0]) / self.batches if before else None, self.batches)
        finally:
            self.bench.remove(f"s3://{self.near.bucket}/{prefix}")


def behind(delay_ms):
    return f", {delay_ms} ms (median, lognormal) to the store" if delay_ms else ""


BESIDE = [Metric("tgb", "batches/s", 1, ratio=False), Metric("p50", "batch p50 ms", 1, ratio=False), Metric("p99", "batch p99 ms", 1, ratio=False),
          Metric("commit_p50", "last close p50 ms", 1, ratio=False), Metric("commit_p99", "last close p99 ms", 1, ratio=False),
          Metric("requests", "requests a batch", 2, ratio=False)]


def ingest(options, ranks, size, delay_ms):
    batches = 1 if options.quick else INGEST[ranks, size]
    c = Contest(options, ranks, size, batches, delay_ms)
    n, ways = PRODUCERS * batches, mounts(c.whole)
    return Row(
        f"ingest{delay_ms or ''}.w{ranks}-{size_text(size).replace(' ', '').lower()}",
        f"Ingest on S3: batches of {ranks} x {size_text(size)}, {PRODUCERS} producers{behind(delay_ms)}",
        {"raw": lambda w: w.by_program("raw", "puts", PRODUCERS, n), "raw, parts": lambda w: w.by_program("raw", "put", PRODUCERS, n),
         **{name: lambda w, o=o: w.by_mount(PRODUCERS, o) for name, o in ways.items()}},
        [Metric("rate", "MB/s", 0, [Goal(name, at_least=0.85) for name in ways]), Metric("cpu", "CPU s/GB", ratio=False), *BESIDE],
        reference="raw", prepare=c.prepare, seconds=4, rounds=None if options.quick else 3, x=f"{ranks} x {size_text(size)}",
        note=f"raw: one put of the bytes of a batch, {PRODUCERS} at a time; parts: one object after the other, parts of 8 MiB. Payloads of raw are "
             "not signed; the mount's are unless it says so. With pending=8 the time ends when all is committed. A batch's requests include its commit; each producer's first batch, which takes the producer, is not "
             "measured.")


def write_close(options, delay_ms):
    c = Contest(options, 64, 16 * KIB if options.tiny else MIB, 1 if options.tiny else 2 if options.quick else 4, delay_ms)
    return Row(
        f"close{delay_ms or ''}.{c.whole // MIB}mib", f"Write and close of a batch of 64 x {size_text(c.size)}, one producer{behind(delay_ms)}",
        {"raw": lambda w: w.by_program("raw", "put", PRODUCERS, w.batches), "mount": lambda w: w.by_mount(1), UNSIGNED: lambda w: w.by_mount(1, "rw,unsigned_payload"),
         "s3fs": lambda w: w.by_peer("s3fs"), "rclone": lambda w: w.by_peer("rclone")},
        [Metric("p50", "p50 ms", 0, [Goal(m, at_most=0.6) for m in ("mount", UNSIGNED)]),
         Metric("cpu", "CPU s/GB", 2, [Goal(m, at_most=0.9, reference=None) for m in ("mount", UNSIGNED)]),
         BESIDE[4 - 1], BESIDE[-1]],
        reference="s3fs", prepare=c.prepare, optional=PEERS, seconds=8, rounds=None if options.quick else 3, x=f"{delay_ms} ms",
        note="s3fs and rclone write one file of the same bytes; their close returns when it is uploaded. raw: parts of 8 MiB over 4 connections. "
             "The first batch or file is not measured.")


def rows(options):
    if options.quick:
        shapes = [(8, 64 * KIB if options.tiny else MIB, delay_ms) for delay_ms in (0, 10)]
    else:
        shapes = [(*shape, 0) for shape in INGEST] + [(8, 64 * KIB, 10), (8, MIB, 10), (64, MIB, 10), (8, MIB, 30)]
    for ranks, size, delay_ms in shapes:
        yield ingest(options, ranks, size, delay_ms)
    for delay_ms in (0,) if options.quick else (0, 10, 30):
        yield write_close(options, delay_ms)
