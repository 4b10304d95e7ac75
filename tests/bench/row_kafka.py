# SPDX-License-Identifier: Apache-2.0
"""Apache Kafka on loopback beside our mount on file://: the same batches, the same machine, the same run.

Kafka holds a global batch in one of three layouts.  "record": one partition, a record a batch; "ranks": a partition for each
rank, a record for each slice, nothing that makes a batch whole; "txn": the same with a transaction a batch.
"""
import contextlib
import os
import shutil

import kafka_broker
from harness import Goal, Metric, Row, percentile
from world import KIB, MIB, Failed, size_text

NEEDS = {"java": "openjdk-17-jdk-headless", "javac": "openjdk-17-jdk-headless", "mvn": "maven"}
LAYOUTS = ("record", "ranks", "txn")
NAMES = {"record": "Kafka, record a batch", "ranks": "Kafka, partition a rank", "txn": "Kafka, transactions"}
BETTER = "Kafka, the better layout"


class Kafka:
    """A broker, one JVM of producers and one of consumers; warm. Topics are named after their number."""

    def __init__(self, bench):
        self.broker = kafka_broker.Broker(bench.build, bench.work)
        self.made = 0
        self.producers = self.consumers = None
        try:
            self.producers = kafka_broker.Agent(self.broker)
            self.consumers = kafka_broker.Agent(self.broker)
            self.warm(1 if bench.options.quick else 6)
        except BaseException:
            self.close()
            raise

    def warm(self, seconds):
        """What is compiled while a JVM runs would otherwise be part of the first rounds."""
        for layout in LAYOUTS:
            with self.topic(layout, 8, 64 * KIB) as topic:
                done = self.producers.do("ingest", producers=2, batches=1 << 30, seconds=seconds, **topic)
                if layout != "txn":
                    self.consumers.do("catchup", readers=2, depth=16, steps=0, **topic)

    @contextlib.contextmanager
    def topic(self, layout, ranks, size, sync=True):
        """Arguments of the agents' commands for a topic that exists meanwhile."""
        self.made += 1
        topic = {"topic": f"t{self.made}", "layout": layout, "ranks": ranks, "slice": size}
        self.producers.do("create", sync=int(sync), **topic)
        yield topic
        self.producers.do("remove", topic=topic["topic"])

    def cpu(self):
        return self.broker.cpu() + self.producers.cpu() + self.consumers.cpu()

    def close(self):
        for each in (self.producers, self.consumers, self.broker):
            if each:
                each.stop()


def kafka_of(bench):
    """Started for the first row that needs it; the reason why not, for each of the rows."""
    if not hasattr(bench, "kafka"):
        try:
            bench.kafka = Kafka(bench)
            bench.at_close.callback(bench.kafka.close)
        except kafka_broker.Unavailable as e:
            bench.kafka = e
    if isinstance(bench.kafka, Exception):
        raise Failed(f"Kafka is not available: {bench.kafka}")
    return bench.kafka


class Best:
    """In each round, the sample of whichever of some contestants had the best value, as one more contestant."""

    def __init__(self, key, better):
        self.key, self.better, self.rounds, self.calls = key, better, {}, {}

    def sample(self, name):
        """The one of the round that this contestant is in; complete when the round is."""
        number = self.calls[name] = self.calls.get(name, 0) + 1
        return self.rounds.setdefault(number, {})

    def of(self, name, contestant):
        def run(world):
            got, best = contestant(world), self.sample(name)
            if self.key not in best or self.better(got[self.key], best[self.key]) == got[self.key]:
                best.clear()
                best.update(got)
            return got
        return run

    def __call__(self, _):
        return self.sample("")


# ---- ingest -------------------------------------------------------------------------------------


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
            return figures(done, kafka.cpu() - before)
    return contestant


def drain(where, producers):
    """Returns when everything that was closed is committed."""
    for p in range(producers):
        fd = os.open(f"{where}/produce/bench-{p}", os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def mount_ingest(ranks, size, producers, count, options):
    def contestant(bench):
        stream = bench.init(ranks)
        with bench.mount(stream, options) as daemon:
            before = daemon.cpu()
            done = bench.load("batch", daemon.dir, producers, 0, count, ranks, size)
            drain(daemon.dir, producers)
            cpu = daemon.cpu() - before + done["cpu_s"]
        shutil.rmtree(os.path.dirname(stream.url[len("file://"):]))
        return {"rate": done["bytes"] / done["seconds"] / 1e6, "cpu": cpu / done["bytes"] * 1e9,
                "batches": producers * count / done["seconds"], "p50": done["commit_p50_ms"], "p99": done["commit_p99_ms"]}
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
                   "mount": mount_ingest(ranks, size, producers, count, "rw")}
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
        reference=BETTER, prepare=lambda: prepared(options.bench), seconds=12,
        note="Everything is durable when it is acknowledged, except where it says no fsync: Kafka has flush.messages=1 for the topic and for "
             "the topic of transactions. CPU is the daemon's or the broker's and the clients'. The times of Kafka without transactions are "
             "from send() to the acknowledgement with up to five requests in flight; ours are of the close that commits.")


@contextlib.contextmanager
def prepared(bench):
    kafka_of(bench)
    yield bench


def ingest_rows(options):
    above = [Goal("mount", at_least=1.5)]
    txn = [Goal("mount", at_least=4, reference=NAMES["txn"])]
    yield ingest_row(options, 8, 64 * KIB, 1, [Goal("mount", at_least=0.7)] + txn)
    yield ingest_row(options, 8, 64 * KIB, 4, [Goal("mount", at_least=1.2)] + txn)
    yield ingest_row(options, 8, MIB, 1, above + txn)
    yield ingest_row(options, 8, 8 * MIB, 1, above)
    yield ingest_row(options, 64, MIB, 1, above)
    yield ingest_row(options, 64, 64 * KIB, 1, [Goal("mount", at_least=0.7)] + txn)


def rows(options):
    if options.tiny:
        return  # a broker takes longer to start than all tiny rows together
    yield from ingest_rows(options)
