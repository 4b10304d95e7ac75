# SPDX-License-Identifier: Apache-2.0
"""Reading what is there: seeking, catching up and a training loop, Apache Kafka on loopback beside our mount on file://."""
import contextlib
import os
import shutil

from harness import Goal, Metric, Row, percentile
from kafka_world import (BETTER, NAMES, NEEDS, Best, cpu_of, files_below, forget, kafka_of, load, stated,  # noqa: F401
                         remember)
from world import KIB, MIB, size_text

RANKS = 8
STEPS = {64 * KIB: 400, MIB: 64, 8 * MIB: 16}
LOOP_STEPS = {64 * KIB: 200, MIB: 200, 8 * MIB: 104}  # of fewer than 100, p99 is the worst one
SEEKS = 12
COMPUTE_MS = 10
FETCH = 16 * MIB
LOOP_GOALS = {64 * KIB: 0.7, MIB: 0.45, 8 * MIB: 0.65}


class Filled:
    """The same steps as a stream of ours and as a topic in each layout."""

    def __init__(self, bench, ranks, size, steps, topics):
        self.bench, self.ranks, self.size, self.steps, self.topics = bench, ranks, size, steps, topics
        self.kafka = kafka_of(bench)

    def paths(self, layout=None):
        return self.kafka.files(self.topics[layout]) if layout else files_below(self.url)


@contextlib.contextmanager
def filled(bench, layouts, ranks, size, steps):
    kafka = kafka_of(bench)
    with contextlib.ExitStack() as stack:
        world = Filled(bench, ranks, size, steps, {n: stack.enter_context(kafka.topic(n, ranks, size, False)) for n in layouts})
        for topic in world.topics.values():
            kafka.fill(topic, steps)
        where = bench.folder("filled")
        stack.callback(shutil.rmtree, where)
        world.url = new_stream(bench, where, ranks, size, steps)
        yield world


def new_stream(bench, where, ranks, size, steps):
    """A stream that `batchweave bench` wrote, whose words it will know again; its URL."""
    done = load(bench, f"file://{where}", "ingest", "--ranks", ranks, "--size", size, "--batches", steps, "--keep")
    assert done["ingest"]["steps"] == steps
    return f"file://{where}/{os.listdir(where)[0]}"


class Url:
    """A stream as Bench.mount() wants it."""

    def __init__(self, url):
        self.url, self.env = url, {}


def from_mount(world, row, *args, stream=None):
    """A fresh mount, and what `batchweave bench` says of the row on it; all steps, as Kafka's consumers have them."""
    with world.bench.mount(stream or Url(world.url)) as daemon:
        return load(world.bench, daemon.dir, row, "--pid", daemon.pid, "--from", 0, "--to", world.steps, *args)[row]


# ---- contestants --------------------------------------------------------------------------------


def times(ms):
    return {"p50": percentile(ms, 50), "p99": percentile(ms, 99)}


def kafka_seek(layout):
    def contestant(world):
        forget(world.paths(layout))
        seeks = min(SEEKS, world.steps - 1)
        done = world.kafka.consumers.do("seek", steps=world.steps, times=seeks, seed=1, depth=1, **world.topics[layout])
        return times(done["ms"])
    return contestant


def mount_seek(world):
    forget(world.paths())
    row = from_mount(world, "seek", "--batches", min(SEEKS, world.steps - 1), "--readers", 1)
    return times(row["times"]["read"]["samples_ms"])


def kafka_catch_up(layout):
    def contestant(world):
        whole = layout == "record"  # moves so much that a part of it shows how fast
        out, depth = {}, max(1, FETCH // (world.size * (world.ranks if whole else 1)))
        steps = max(4, world.steps // 4) if whole else world.steps
        for heat, before in (("cold", forget), ("hot", remember)):
            before(world.paths(layout))
            cpu = world.kafka.cpu()
            done = world.kafka.consumers.do("catchup", readers=world.ranks, depth=depth, steps=steps, **world.topics[layout])
            out[heat] = done["bytes"] / done["seconds"] / 1e6
            out[heat + "_cpu"] = (world.kafka.cpu() - cpu) / done["bytes"] * 1e9
        return out
    return contestant


def mount_catch_up(world):
    out = {}
    for heat, before in (("cold", forget), ("hot", remember)):
        before(world.paths())
        row = from_mount(world, "catchup", "--readers", world.ranks)
        assert row["steps"] == world.steps, row["steps"]
        out[heat] = row["mb_per_s"]
        out[heat + "_cpu"] = cpu_of(row) / row["bytes"] * 1e9
    return out


def kafka_loop(layout, depth):
    def contestant(world):
        done = world.kafka.consumers.do("loop", readers=1, depth=depth, steps=world.steps, compute=COMPUTE_MS, **world.topics[layout])
        return times(done["ms"])
    return contestant


def mount_loop(s3):
    def contestant(world):
        stream = world.bench.stream(world.ranks, world.size, world.steps, world.bench.s3()) if s3 else None
        row = from_mount(world, "loop", "--readers", 1, "--compute", COMPUTE_MS, "--batches", world.steps, stream=stream)
        return times(row["times"]["read"]["samples_ms"][1:])
    return contestant


# ---- rows ---------------------------------------------------------------------------------------


def name(group, size):
    return f"{group}.{size_text(size).replace(' ', '').lower()}"


def two(key, run):
    """Both layouts that keep up at all, and the better one."""
    best = Best(*key)
    return {NAMES["record"]: best.of("record", run("record")), NAMES["ranks"]: best.of("ranks", run("ranks")), BETTER: best}


def seek_row(options, size, steps):
    return Row(
        name("kafka_seek", size), f"A random old step, cold, slices of {size_text(size)}, 1 reader, file://",
        {"mount": mount_seek, **two(("p50", min), kafka_seek)},
        [Metric("p50", "p50 ms", 3, [Goal("mount", at_most=0.7)]), Metric("p99", "p99 ms", 3, ratio=False)],
        reference=BETTER, prepare=lambda: filled(options.bench, ("record", "ranks"), RANKS, size, steps), seconds=4,
        note="The files of store and broker are out of the page cache. Ours on a mount that has read nothing, so that the first step "
             "brings the manifest too. Kafka's offset is known to be the step's number and a fetch is one record; a client that seeks "
             "first waits for what it had asked for ahead, for which it gets time that is not counted.")


def catch_up_row(options, size, steps):
    goal = [Goal("mount", at_least=0.9)] if size >= MIB else []
    return Row(
        name("kafka_catchup", size), f"Catching up, {RANKS} readers, slices of {size_text(size)}, file://",
        {"mount": mount_catch_up, **two(("hot", max), kafka_catch_up)},
        [Metric("hot", "hot, MB/s", 0, goal), Metric("cold", "cold, MB/s", 0, goal), Metric("hot_cpu", "hot, CPU s/GB", ratio=False),
         Metric("cold_cpu", "cold, CPU s/GB", ratio=False)],
        reference=BETTER, prepare=lambda: filled(options.bench, ("record", "ranks"), RANKS, size, steps), seconds=8,
        note="Every reader reads all slices of its rank in order. Hot: the files of store and broker are in the page cache; cold: they "
             "are not. The mount is fresh both times. MB of the slices that were wanted: one record a batch moves eight times as much.")


def loop_row(options, size, steps):
    kafka, mounts = NAMES["ranks"], {"mount": mount_loop(False)}
    if not options.quick:
        mounts["mount, RGW"] = mount_loop(True)
    buffer = kafka + ", buffer of 16 steps"
    return Row(
        name("kafka_loop", size), f"Step loop behind the head, {COMPUTE_MS} ms of compute, slices of {size_text(size)}, 1 reader",
        {**mounts, kafka: kafka_loop("ranks", 1), buffer: kafka_loop("ranks", 16)},
        [Metric("p50", "p50 ms", 3, [Goal(m, at_most=LOOP_GOALS[size]) for m in mounts]),
         Metric("p99", "p99 ms", 3, [Goal(m, at_most=0.5) for m in mounts])],
        reference=kafka, prepare=lambda: filled(options.bench, ("ranks",), 2, size, steps), seconds=6,
        note="What a loop waits for its next slice. A client of Kafka asks for the next fetch while the loop computes: here of one slice, and "
             "in the last line of sixteen, which then come from the client's own buffer.")


def rows(options):
    if options.tiny:
        return
    for make, steps in ((seek_row, STEPS), (catch_up_row, STEPS), (loop_row, LOOP_STEPS)):
        for size in (MIB,) if options.quick else STEPS:
            yield stated(options, make(options, size, max(14, steps[size] // 4) if options.quick else steps[size]))
