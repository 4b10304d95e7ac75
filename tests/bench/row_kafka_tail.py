# SPDX-License-Identifier: Apache-2.0
"""From "commit acknowledged" to the last byte in a reader's memory: Apache Kafka on loopback beside two of our mounts."""
import contextlib
import shutil

from harness import Goal, Metric, Row, percentile
from kafka_world import BETTER, LAYOUTS, NAMES, NEEDS, Best, cpu_of, kafka_of, load, prepared, stated  # noqa: F401
from world import KIB, MIB, size_text

RANKS = 8
STEPS = {64 * KIB: 150, MIB: 80, 8 * MIB: 20}
PAUSE_MS = {64 * KIB: 8, MIB: 20, 8 * MIB: 120}  # between an acknowledgement and the next batch: all readers wait again
FIRST = 3  # steps until everything is connected
QUICK = ((64 * KIB, 1), (MIB, RANKS))
FAR_MS = 10
FAR_STEPS = {64 * KIB: 40, MIB: 30, 8 * MIB: 10}
GOALS = {64 * KIB: 0.7, MIB: 0.9, 8 * MIB: 0.7}


def figures(ms, cpu, size):
    """A reader that had it all before its producer knew is not below zero: a ratio would turn round."""
    return {"p50": max(0.01, percentile(ms, 50)), "p99": percentile(ms, 99), "cpu": cpu / size * 1e9}


def kafka_tail(layout, readers, size, steps, far=0):
    def contestant(bench):
        kafka = kafka_of(bench)
        with kafka.topic(layout, RANKS, size) as topic:
            kafka.consumers.ask("tail", readers=readers, depth=1, steps=steps, far=far, **topic)
            kafka.consumers.answer()  # ready
            before = kafka.cpu()
            acknowledged = kafka.producers.do("paced", steps=steps, pause=PAUSE_MS[size], far=far, **topic)["acknowledged"]
            arrived = kafka.consumers.answer()["arrived"]
            cpu = kafka.cpu() - before
        ms = [(at[s] - acknowledged[rank % len(acknowledged)][s]) / 1e6
              for rank, at in enumerate(arrived) for s in range(FIRST, steps)]
        return figures(ms, cpu, readers * steps * size)
    return contestant


def mount_tail(readers, size, steps):
    def contestant(bench):
        where = bench.folder("tail")
        row = load(bench, f"file://{where}", "tail", "--ranks", RANKS, "--size", size, "--batches", steps, "--readers", readers)["tail"]
        shutil.rmtree(where)
        ms = row["times"]["delivery"]["samples_ms"][FIRST * readers:]
        return figures(ms, cpu_of(row), readers * steps * size)
    return contestant


def store_tail(readers, size, steps):
    """The same on an S3 store behind a proxy that holds every request."""
    def contestant(bench):
        s3 = bench.s3(FAR_MS)
        url = f"{bench.new_url(bench.s3())}"
        row = load(bench, url, "tail", "--ranks", RANKS, "--size", size, "--batches", steps, "--readers", readers, env=s3.env)["tail"]
        return figures(row["times"]["delivery"]["samples_ms"][FIRST * readers:], cpu_of(row), readers * steps * size)
    return contestant


@contextlib.contextmanager
def far_away(bench):
    bench.s3(FAR_MS)
    with kafka_of(bench).at_a_distance(bench, FAR_MS):
        yield bench


def far_row(options, size):
    steps, best = FAR_STEPS[size], Best("p50", min)
    contestants = {"mount, RGW": store_tail(1, size, steps)}
    for layout in ("record", "ranks"):
        contestants[NAMES[layout]] = best.of(layout, kafka_tail(layout, 1, size, steps, 1))
    contestants[BETTER] = best
    return Row(
        f"kafka_far.{size_text(size).replace(' ', '').lower()}",
        f"Acknowledged to in memory at {FAR_MS} ms, {RANKS} slices of {size_text(size)}, 1 reader, RGW and Kafka", contestants,
        [Metric("p50", "p50 ms", 3, [Goal("mount, RGW", at_most=1)]), Metric("p99", "p99 ms", 3, ratio=False),
         Metric("cpu", "CPU s/GB read", ratio=False)],
        reference=BETTER, prepare=lambda: far_away(options.bench), rounds=3, seconds=20,
        note=f"Every request to the store is held for about {FAR_MS} ms; every byte to and from the broker is {FAR_MS / 2:g} ms on its way. A "
             "reader of Kafka has its next fetch at the broker before there is anything to fetch, so that the acknowledgement and the slice leave "
             "the broker at the same moment and distance cancels out; a reader of an object store asks for the root and then for the slice.")


def tail_row(options, readers, size):
    steps, best = STEPS[size] // (3 if options.quick else 1), Best("p50", min)
    contestants = {"mount": mount_tail(readers, size, steps)}
    for layout in LAYOUTS:
        run = kafka_tail(layout, readers, size, steps if layout == "ranks" else steps // 2)
        contestants[NAMES[layout]] = run if layout == "txn" else best.of(layout, run)
    contestants[BETTER] = best
    return Row(
        f"kafka_tail.{size_text(size).replace(' ', '').lower()}.{readers}",
        f"Acknowledged to in memory, {RANKS} slices of {size_text(size)}, {readers} reader{'s' if readers > 1 else ''}, file://",
        contestants,
        [Metric("p50", "p50 ms", 3, [Goal("mount", at_most=GOALS[size])]), Metric("p99", "p99 ms", 3, ratio=False),
         Metric("cpu", "CPU s/GB read", ratio=False)],
        reference=BETTER, prepare=lambda: prepared(options.bench), rounds=None if options.quick else 3, seconds=12,
        note="Readers wait for each step before it is written: ours in open(2) of a mount with wait=, other than the producer's, Kafka's in "
             "poll(). One producer, fsync on both, a pause after each step. Times count from the acknowledgement of the batch; of Kafka's "
             "partition a rank, where nothing makes a batch whole, from that of the reader's own slice. A reader of Kafka's one record "
             "a batch gets the slices of all ranks. CPU is everybody's, writing included. At least 0.01 ms is shown.")


def rows(options):
    if options.tiny:
        return
    for size in STEPS:
        for readers in (1, RANKS):
            if not options.quick or (size, readers) in QUICK:
                yield stated(options, tail_row(options, readers, size))
    if not options.quick:
        for size in FAR_STEPS:
            yield stated(options, far_row(options, size))
