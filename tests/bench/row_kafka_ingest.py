# SPDX-License-Identifier: Apache-2.0
"""Ingest: Apache Kafka on loopback beside our mount on file:// and beside one local file, the same batches in the same run."""
import os
import shutil

from harness import Goal, Metric, Row, percentile
from kafka_world import BETTER, LAYOUTS, NAMES, NEEDS, Best, kafka_of, prepared, stated  # noqa: F401
from world import KIB, MIB, size_text


AHEAD = "mount, pending=8"


def figures(done, cpu):
    took, size = done["seconds"], done["bytes"]
    return {"rate": size / took / 1e6, "batches": done["batches"] / took, "cpu": cpu / size * 1e9,
            "p50": percentile(done["commit"], 50), "p99": percentile(done["commit"], 99)}


def kafka_ingest(layout, ranks, size, producers, count, sync=True):
    def contestant(bench):
        kafka = kafka_of(bench)
        with kafka.topic(layout, ranks, size, sync) as topic:
            before = kafka.cpu()
            done = kafka.producers.do("ingest", producers=producers, batches=count, seconds=3, **topic)
            cpu = kafka.cpu() - before
        if not sync:
            os.sync()  # else the disk writes it while somebody else is measured, who waits for the disk
        return figures(done, cpu)
    return contestant


def mount_ingest(ranks, size, producers, count, options):
    def contestant(bench):
        stream = bench.init(ranks)
        with bench.mount(stream, options) as daemon:
            before = daemon.cpu()
            done = bench.load("batch", daemon.dir, producers, 0, count, ranks, size)
            seconds = done["seconds"] + daemon.drain(producers)
            cpu = daemon.cpu() - before + done["cpu_s"]
        shutil.rmtree(os.path.dirname(stream.url[len("file://"):]))
        return {"rate": done["bytes"] / seconds / 1e6, "cpu": cpu / done["bytes"] * 1e9,
                "batches": producers * count / seconds, "p50": done["commit_p50_ms"], "p99": done["commit_p99_ms"]}
    return contestant


def file_ingest(ranks, size, producers, count):
    def contestant(bench):
        where = bench.folder("files")
        done = bench.load("files", where, producers, count, 1, ranks * size, 1)
        shutil.rmtree(where)
        return {"rate": done["bytes"] / done["seconds"] / 1e6, "cpu": done["cpu_s"] / done["bytes"] * 1e9,
                "batches": producers * count / done["seconds"], "p50": done["p50_ms"], "p99": done["p99_ms"]}
    return contestant


def ingest_row(options, ranks, size, producers, goals):
    batch, best = ranks * size, Best("rate", max)
    total = (128 if batch < 4 * MIB else 512) * MIB // (4 if options.quick else 1)
    count = max(2, total // batch // producers)
    contestants = {"file + fsync": file_ingest(ranks, size, producers, count),
                   "mount": mount_ingest(ranks, size, producers, count, "rw"),
                   AHEAD: mount_ingest(ranks, size, producers, count, "rw,pending=8")}
    for layout in LAYOUTS:
        run = kafka_ingest(layout, ranks, size, producers, count)
        contestants[NAMES[layout]] = run if layout == "txn" else best.of(layout, run)
    contestants[BETTER] = best
    if size <= MIB and ranks == 8:
        contestants.update({NAMES[layout] + ", no fsync": kafka_ingest(layout, ranks, size, producers, count, False)
                            for layout in LAYOUTS})
    plural = "s" if producers > 1 else ""
    return Row(
        f"kafka_ingest.{ranks}x{size_text(size).replace(' ', '').lower()}.{producers}",
        f"Ingest, {ranks} slices of {size_text(size)} a batch, {producers} producer{plural}, file://", contestants,
        [Metric("rate", "MB/s", 0, goals), Metric("batches", "batches/s", 0, ratio=False),
         Metric("cpu", "CPU s/GB", ratio=False), Metric("p50", "p50 ms", ratio=False), Metric("p99", "p99 ms", ratio=False)],
        reference=BETTER, prepare=lambda: prepared(options.bench), seconds=13,
        note="Everything is durable when it is acknowledged, except where it says no fsync: Kafka has flush.messages=1 for the topic and for "
             "the topic of transactions. CPU is the daemon's or the broker's and the clients'. The times of Kafka without transactions are "
             "from send() to the acknowledgement with up to five requests in flight; ours are of the close that commits, or with "
             "pending=8 only begins to, and the row ends when all is committed.")


def rows(options):
    if options.tiny:
        return  # a broker takes longer to start than all tiny rows together
    def at_least(factor):
        return [Goal(who, at_least=factor) for who in ("mount", AHEAD)]

    txn = [Goal("mount", at_least=4, reference=NAMES["txn"])]
    yield stated(options, ingest_row(options, 8, 64 * KIB, 4, at_least(1.2) + txn))
    yield stated(options, ingest_row(options, 8, MIB, 1, at_least(1.5) + txn))
    if options.quick:
        return
    yield stated(options, ingest_row(options, 8, 64 * KIB, 1, at_least(0.7) + txn))
    yield stated(options, ingest_row(options, 8, 8 * MIB, 1, at_least(1.5)))
    yield stated(options, ingest_row(options, 64, MIB, 1, at_least(1.5)))
    yield stated(options, ingest_row(options, 64, 64 * KIB, 1, at_least(0.7) + txn))
