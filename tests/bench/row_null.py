# SPDX-License-Identifier: Apache-2.0
"""Reads through the mount on file://, beside a FUSE filesystem that answers from memory."""
import contextlib

from harness import Goal, Metric, Row
from world import KIB, MIB, size_text

SIZES = (64 * KIB, MIB, 8 * MIB)
STEPS = {64 * KIB: 64, MIB: 32, 8 * MIB: 12}
RANKS = 4


def lines(where, steps):
    return "".join(f"0 {where}/step/{s}/rank/{r} 0 {{size}}\n" for s in range(steps) for r in range(RANKS))


def read_twice(bench, daemon, steps, size):
    """Cold and again: {metric: value}."""
    out = {}
    for heat in ("cold", "hot"):
        before = daemon.cpu()
        done = bench.load("read", 1, lines=lines(daemon.dir, steps).format(size=size))
        out.update({f"{heat}_p50": done["p50_ms"], f"{heat}_rate": done["bytes"] / done["seconds"] / 1e6,
                    f"{heat}_cpu": (daemon.cpu() - before) / done["bytes"] * 1e9})
    return out


def row(options, size):
    bench, steps = options.bench, STEPS[size]
    if options.quick:
        steps = max(2, steps // (8 if options.tiny else 2))

    def null(direct):
        def contestant(_):
            with bench.nullfs(steps, RANKS, size, direct) as daemon:
                return read_twice(bench, daemon, steps, size)
        return contestant

    def mount(stream):
        with bench.mount(stream) as daemon:
            return read_twice(bench, daemon, steps, size)

    return Row(
        f"null.{size_text(size).replace(' ', '').lower()}", f"Reads of whole slices of {size_text(size)}, file://, one reader",
        {"null": null(False), "null direct_io": null(True), "mount": mount},
        [Metric("cold_p50", "cold, p50 ms", 3, [Goal("mount", at_most=1.4)]),
         Metric("hot_rate", "again, MB/s", 0, [Goal("mount", at_least=0.95)]),
         Metric("cold_rate", "cold, MB/s", 0, ratio=False), Metric("hot_p50", "again, p50 ms", 3, ratio=False),
         Metric("cold_cpu", "daemon's CPU s/GB, cold", ratio=False)],
        reference="null", prepare=lambda: contextlib.nullcontext(bench.stream(RANKS, size, steps)), seconds=4,
        x=size_text(size),
        note="Cold: mounted afresh, so nothing in the mount's page cache nor in the daemon, while the files of the store are in the "
             "host's page cache. A time is open, read to the end, close. Every block is verified before it is served.")


def rows(options):
    for size in SIZES:
        yield row(options, size)
