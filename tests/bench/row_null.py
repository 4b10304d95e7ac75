# SPDX-License-Identifier: Apache-2.0
"""Reads through the mount on file://, beside a FUSE filesystem that answers from memory."""
import contextlib

from harness import Goal, Metric, Row
from world import KIB, MIB, size_text

SIZES = (64 * KIB, MIB, 8 * MIB)
STEPS = {64 * KIB: 64, MIB: 24, 8 * MIB: 6}
RANKS = 8


def read_twice(bench, daemon, steps, size, readers):
    """Cold and again: {metric: value}."""
    out = {}
    for heat in ("cold", "hot"):
        before = daemon.cpu()
        done = bench.load("read", readers, lines="".join(f"{r % readers} {daemon.dir}/step/{s}/rank/{r} 0 {size}\n"
                                                         for s in range(steps) for r in range(RANKS)))
        out.update({f"{heat}_p50": done["p50_ms"], f"{heat}_rate": done["bytes"] / done["seconds"] / 1e6,
                    f"{heat}_cpu": (daemon.cpu() - before) / done["bytes"] * 1e9})
    return out


def row(options, size, readers):
    bench, steps = options.bench, STEPS[size]
    if options.quick:
        steps = max(2, steps // (8 if options.tiny else 2))

    def null(direct):
        def contestant(_):
            with bench.nullfs(steps, RANKS, size, direct) as daemon:
                return read_twice(bench, daemon, steps, size, readers)
        return contestant

    def mount(stream):
        with bench.mount(stream) as daemon:
            return read_twice(bench, daemon, steps, size, readers)

    return Row(
        f"null.{size_text(size).replace(' ', '').lower()}" + (f"-r{readers}" if readers > 1 else ""),
        f"Reads of whole slices of {size_text(size)}, file://, {readers} reader{'s' * (readers > 1)}",
        {"null": null(False), "null direct_io": null(True), "mount": mount},
        [Metric("cold_p50", "cold, p50 ms", 3, [Goal("mount", at_most=1.4)] if readers == 1 else ()),
         Metric("hot_rate", "again, MB/s", 0, [Goal("mount", at_least=0.95)] if readers == 1 else ()),
         Metric("cold_rate", "cold, MB/s", 0, ratio=False), Metric("hot_p50", "again, p50 ms", 3, ratio=False),
         Metric("cold_cpu", "daemon's CPU s/GB, cold", ratio=False)],
        reference="null", prepare=lambda: contextlib.nullcontext(bench.stream(RANKS, size, steps)), seconds=2,
        x=size_text(size) + (f", {readers} readers" if readers > 1 else ""),
        note="Cold: mounted afresh, so nothing in the mount's page cache nor in the daemon, while the files of the store are in the "
             "host's page cache. A time is open, read to the end, close. Every block is verified before it is served.")


def rows(options):
    for readers in (1,) if options.quick else (1, 8):
        for size in SIZES[:2 if options.tiny else 3]:
            yield row(options, size, readers)
