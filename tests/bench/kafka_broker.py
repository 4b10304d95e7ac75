#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Apache Kafka on loopback for the benchmarks: one KRaft broker, and clients that wait for commands.

  kafka_broker.py BUILD_DIR        downloads what is needed, starts a broker, prints its address, ends with its input

Jars come from Maven once, into BUILD_DIR/kafka.  A broker's data, log and configuration are in a directory of its own that
stop() removes.  The kernel ends each JVM with the program that started it, however that ends.
"""
import ctypes
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
VERSION = "4.1.1"
MIB = 1 << 20
PR_SET_PDEATHSIG = 1

BROKER = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "DIRECT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,DIRECT:PLAINTEXT,FAR:PLAINTEXT",
    # One copy of everything; a broker that is alone has nobody to wait for.
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    # A record is a whole batch of 64 MiB in one of the layouts.
    "message.max.bytes": str(160 * MIB),
    "replica.fetch.max.bytes": str(160 * MIB),
    "fetch.max.bytes": str(512 * MIB),
    "socket.request.max.bytes": str(512 * MIB),
    "socket.send.buffer.bytes": str(MIB),
    "socket.receive.buffer.bytes": str(MIB),
    "num.network.threads": "2",
    "num.io.threads": "4",
    # Defaults of 20 and 100 ms cost a transaction more than everything else it does here.
    "add.partitions.to.txn.retry.backoff.ms": "1",
    "add.partitions.to.txn.retry.backoff.max.ms": "100",
    # A removed topic must not occupy memory and disk during the next round.
    "log.segment.delete.delay.ms": "0",
    "log.retention.ms": "-1",
}


class Unavailable(Exception):
    """Kafka cannot be had here; says why in one sentence."""


def jars(build):
    """The class path, made on first use. Raises Unavailable."""
    home = os.path.join(os.path.abspath(build), "kafka")
    lib, classes = os.path.join(home, "lib"), os.path.join(home, "classes")
    for tool in ("java", "javac", "mvn"):
        if not shutil.which(tool):
            raise Unavailable(f"{tool} is not installed")
    if not os.path.exists(os.path.join(lib, f"kafka_2.13-{VERSION}.jar")):
        _run(["mvn", "-q", "-B", "-f", os.path.join(HERE, "kafka/pom.xml"), "dependency:copy-dependencies",
              f"-DoutputDirectory={lib}", "-DincludeScope=runtime"], "Maven did not deliver Kafka")
    sources = glob.glob(os.path.join(HERE, "kafka/src/batchweave/*.java"))
    newest = max(os.path.getmtime(s) for s in sources)
    made = os.path.join(classes, "batchweave/Agent.class")
    if not os.path.exists(made) or os.path.getmtime(made) < newest:
        _run(["javac", "-Xlint:all", "-d", classes, "-cp", os.path.join(lib, "*")] + sources, "javac failed")
    return f"{classes}:{lib}/*"


def _run(command, why):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        raise Unavailable(f"{why}: {lines[-1] if lines else done.returncode}")


def heap(wanted_mib):
    """MiB of heap: what was wanted, less on a machine whose memory would not hold all of this run."""
    with open("/proc/meminfo") as f:
        free = next(int(line.split()[1]) for line in f if line.startswith("MemAvailable")) >> 10
    return max(512, min(wanted_mib, free // 4))


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _stop(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Broker:
    """A started broker. Clients at a distance go to far_address, where somebody forwards to far_port."""

    def __init__(self, build, where=None, heap_mib=3072):
        self.path = jars(build)
        self.dir = tempfile.mkdtemp(prefix="batchweave-kafka-", dir=where)
        self.port, controller, self.far_port, proxy = free_port(), free_port(), free_port(), free_port()
        self.heap = heap(heap_mib)
        self.address, self.far_address = f"127.0.0.1:{self.port}", f"127.0.0.1:{proxy}"
        settings = {
            **BROKER, "log.dirs": os.path.join(self.dir, "data"),
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "listeners": f"CONTROLLER://127.0.0.1:{controller},DIRECT://{self.address},FAR://127.0.0.1:{self.far_port}",
            "advertised.listeners": f"DIRECT://{self.address},FAR://{self.far_address}",
        }
        self.settings = os.path.join(self.dir, "server.properties")
        with open(self.settings, "w") as f:
            f.writelines(f"{key}={value}\n" for key, value in settings.items())
        self.process = None
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self):
        tool = ["java", "-cp", self.path, "kafka.tools.StorageTool"]
        cluster = subprocess.run(tool + ["random-uuid"], check=True, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, text=True).stdout.split()[-1]
        _run(tool + ["format", "--standalone", "-t", cluster, "-c", self.settings], "formatting failed")
        log = os.path.join(self.dir, "log")
        options = [f"-Xms{self.heap}m", f"-Xmx{self.heap}m", "-XX:+AlwaysPreTouch", "-XX:+UseG1GC",
                   "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35", "-XX:G1HeapRegionSize=16m",
                   "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                   "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info"]
        with open(log, "w") as out:
            self.process = subprocess.Popen(["java", *options, "-cp", self.path, "kafka.Kafka", self.settings],
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=_die_with_parent)
        end = time.monotonic() + 120
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                with open(log) as f:
                    raise Unavailable("the broker did not start: " + f.read()[-300:].strip().replace("\n", " "))
            time.sleep(0.2)

    def _answers(self):
        with open(os.path.join(self.dir, "log")) as f:
            return "Kafka Server started" in f.read()

    def cpu(self):
        return cpu_seconds(self.process.pid)

    def data(self):
        return os.path.join(self.dir, "data")

    def stop(self):
        if self.process:
            _stop(self.process)
        shutil.rmtree(self.dir, ignore_errors=True)


class Agent:
    """A JVM with clients of Kafka. Commands are the ones of batchweave.Agent."""

    def __init__(self, broker, heap_mib=1536):
        self.heap = heap(heap_mib)
        self.log = os.path.join(broker.dir, f"agent-{id(self)}")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                ["java", f"-Xms{self.heap}m", f"-Xmx{self.heap}m", "-XX:+AlwaysPreTouch", "-XX:+UseG1GC",
                 "-XX:G1HeapRegionSize=16m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", broker.path,
                 "batchweave.Agent", broker.address, broker.far_address],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, preexec_fn=_die_with_parent)

    def ask(self, verb, **args):
        self.process.stdin.write(" ".join([verb] + [f"{k}={v}" for k, v in args.items()]) + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            with open(self.log) as f:
                raise RuntimeError("a Kafka client failed: " + f.read()[-2000:])
        return json.loads(line)

    def do(self, verb, **args):
        self.ask(verb, **args)
        return self.answer()

    def cpu(self):
        return cpu_seconds(self.process.pid)

    def stop(self):
        if self.process.poll() is None:
            self.process.stdin.close()
        _stop(self.process)


def cpu_seconds(pid):
    """User and system time of a process so far."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    try:
        broker = Broker(sys.argv[1])
    except Unavailable as e:
        sys.exit(f"Kafka is not available: {e}")
    print(broker.address, flush=True)
    try:
        sys.stdin.read()
    finally:
        broker.stop()


if __name__ == "__main__":
    main()
