# SPDX-License-Identifier: Apache-2.0
"""What rows about Kafka share: one broker with warm clients for all of them, and the better of its layouts.

Kafka holds a global batch in one of three layouts.  "record": one partition, a record a batch; "ranks": a partition for each
rank, a record for each slice, nothing that makes a batch whole; "txn": the same with a transaction a batch.
"""
import contextlib
import glob
import json
import os
import subprocess

import kafka_broker
from world import KIB, MIB, Failed, die_with_parent, run

NEEDS = {"java": "openjdk-17-jdk-headless", "javac": "openjdk-17-jdk-headless", "mvn": "maven"}
LAYOUTS = ("record", "ranks", "txn")
NAMES = {"record": "Kafka, record a batch", "ranks": "Kafka, partition a rank", "txn": "Kafka, transactions"}
BETTER = "Kafka, the better layout"
PRODUCER = {"producers": 2, "batches": 1 << 30}


class Kafka:
    """A broker, one JVM of producers and one of consumers; warm. Topics are named after their number."""

    def __init__(self, bench):
        self.broker = kafka_broker.Broker(bench.build, bench.work)
        self.made = 0
        self.producers = self.consumers = None
        try:
            self.producers = kafka_broker.Agent(self.broker)
            self.consumers = kafka_broker.Agent(self.broker)
            self.warm(1 if bench.options.quick else 5)
        except BaseException:
            self.close()
            raise

    def warm(self, seconds):
        """What is compiled while a JVM runs would otherwise be part of the first rounds."""
        for layout in LAYOUTS:
            with self.topic(layout, 8, 64 * KIB, sync=False) as topic:
                self.producers.do("ingest", seconds=seconds, **PRODUCER, **topic)
            with self.topic(layout, 8, 64 * KIB, sync=False) as topic:
                self.fill(topic, 100 * int(seconds))
                self.consumers.do("catchup", readers=8, depth=16, steps=100 * int(seconds), **topic)

    @contextlib.contextmanager
    def topic(self, layout, ranks, size, sync=True):
        """Arguments of the agents' commands for a topic that exists meanwhile."""
        self.made += 1
        topic = {"topic": f"t{self.made}", "layout": layout, "ranks": ranks, "slice": size}
        self.producers.do("create", sync=int(sync), **topic)
        yield topic
        self.producers.do("remove", topic=topic["topic"])

    @contextlib.contextmanager
    def at_a_distance(self, bench, round_trip_ms):
        """Meanwhile the broker answers commands with far=1."""
        port = self.broker.far_address.rsplit(":", 1)[1]
        proxy = subprocess.Popen([bench.program("tests/bench/tcp_delay"), "127.0.0.1", str(self.broker.far_port), port,
                                  str(round_trip_ms * 500)], stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        try:
            proxy.stdout.readline()
            yield
        finally:
            proxy.terminate()
            proxy.wait()

    def fill(self, topic, steps):
        self.producers.do("paced", steps=steps, pause=0, **topic)

    def files(self, topic):
        return glob.glob(os.path.join(self.broker.data(), topic["topic"] + "-*", "*.log"))

    def cpu(self):
        return self.broker.cpu() + self.producers.cpu() + self.consumers.cpu()

    def close(self):
        for each in (self.producers, self.consumers, self.broker):
            if each:
                each.stop()


class Missing:
    """Why there is none."""

    def __init__(self, reason):
        self.reason = reason

    def close(self):
        pass


def start(bench):
    try:
        return Kafka(bench)
    except kafka_broker.Unavailable as e:
        return Missing(e)


def kafka_of(bench):
    """Started for the first row that needs it; the reason why not, for each of the rows."""
    kafka = bench.keep("kafka", lambda: start(bench))
    if isinstance(kafka, Missing):
        raise Failed(f"Kafka is not available: {kafka.reason}")
    return kafka


@contextlib.contextmanager
def prepared(bench):
    kafka_of(bench)
    yield bench


def stated(options, row):
    """The row, whose note will say with how much memory Kafka ran."""
    prepare = row.prepare

    @contextlib.contextmanager
    def with_heap():
        kafka = kafka_of(options.bench)
        with prepare() as world:
            row.note += (f" Kafka {kafka_broker.VERSION}, heap of the broker {kafka.broker.heap} MiB, of the clients "
                         f"{kafka.producers.heap} MiB each.")
            yield world
    row.prepare = with_heap
    row.keeps = "kafka"
    return row


class Best:
    """In each round, the sample of whichever of some contestants had the best value, as one more contestant."""

    def __init__(self, key, better):
        self.key, self.better, self.rounds, self.calls = key, better, {}, {}

    def sample(self, name):
        """The one of the round that this contestant is in; complete when the round is."""
        number = self.calls[name] = self.calls.get(name, 0) + 1
        return self.rounds.setdefault(number, {})

    def of(self, name, contestant):
        def measure(world):
            got, best = contestant(world), self.sample(name)
            if self.key not in best or self.better(got[self.key], best[self.key]) == got[self.key]:
                best.clear()
                best.update(got)
            return got
        return measure

    def __call__(self, _):
        return self.sample("")


# ---- our side -----------------------------------------------------------------------------------


def load(bench, target, rows, *args, env=None):
    """`batchweave bench`: {row: what it says of it}."""
    done = json.loads(run(bench.tool, "bench", target, "--rows", rows, "--json", "--samples", *args, env=env))
    if not done["complete"]:
        raise Failed(f"batchweave bench: {done['error']}")
    return {row["row"]: row for row in done["rows"]}


def cpu_of(row):
    return row["client_cpu_s"] + sum(m["cpu_s"] or 0 for m in row["mounts"].values())


def forget(paths):
    """Takes files out of the page cache."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def remember(paths):
    """Brings files into the page cache."""
    for path in paths:
        with open(path, "rb", buffering=0) as f:
            while f.read(4 * MIB):
                pass


def files_below(url):
    return [os.path.join(folder, name) for folder, _, names in os.walk(url[len("file://"):]) for name in names]
