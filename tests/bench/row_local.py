# SPDX-License-Identifier: Apache-2.0
"""Ingest on file:// beside local files with fsync on the same disk."""
import shutil

from harness import Metric, Row
from world import KIB, MIB, size_text

# (ranks, slice): batches a producer
SHAPES = {(8, 64 * KIB): 32, (64, 64 * KIB): 10, (8, MIB): 10, (64, MIB): 2, (8, 8 * MIB): 2}


def row(options, ranks, size, producers):
    bench = options.bench
    batches = 1 if options.tiny else 2 if options.quick else SHAPES[ranks, size]

    def figures(done, cpu):
        return {"rate": done["bytes"] / done["seconds"] / 1e6, "tgb": producers * batches / done["seconds"], "p50": done["p50_ms"],
                "p99": done["p99_ms"], "commit_p50": done.get("commit_p50_ms"), "cpu": (cpu + done["cpu_s"]) / done["bytes"] * 1e9}

    def files(per_batch, each):
        folder = bench.folder("files")
        try:
            return figures(bench.load("files", folder, producers, batches, per_batch, each, 2), 0)
        finally:
            shutil.rmtree(folder)

    def mount(_):
        with bench.scratch(ranks) as stream, bench.mount(stream, "rw", memory="1G") as m:
            bench.load("batch", m.dir, producers, 0, 1, ranks, size)  # takes the producers
            before = m.cpu()
            done = bench.load("batch", m.dir, producers, 1, batches, ranks, size)
            return figures(done, m.cpu() - before)

    return Row(
        f"local.w{ranks}-{size_text(size).replace(' ', '').lower()}-p{producers}",
        f"Ingest on file://: batches of {ranks} x {size_text(size)}, {producers} producer{'s' * (producers > 1)}",
        {"one file a batch": lambda _: files(1, ranks * size), "a file a slice": lambda _: files(ranks, size), "mount": mount},
        [Metric("rate", "MB/s", 0), Metric("tgb", "batches/s", 1, ratio=False), Metric("p50", "batch p50 ms", ratio=False),
         Metric("p99", "batch p99 ms", ratio=False), Metric("commit_p50", "last close p50 ms", ratio=False), Metric("cpu", "CPU s/GB, writer and daemon", ratio=False)],
        reference="one file a batch", seconds=1.5, x=f"{ranks} x {size_text(size)}, {producers}",
        note="Files are written, fsynced and closed, and their folder fsynced, once a batch. A producer's first batch is not measured.")


def rows(options):
    for ranks, size in [(8, 64 * KIB)] if options.tiny else [(8, 64 * KIB), (8, MIB)] if options.quick else SHAPES:
        for producers in (1,) if options.tiny else (1, 4) if size * ranks < 64 * MIB else (1,):
            yield row(options, ranks, size, producers)
