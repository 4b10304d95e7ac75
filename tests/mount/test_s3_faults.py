# SPDX-License-Identifier: Apache-2.0
# ctest: long rgw 250-s
"""S3, V1-V3, V5, P4, P8: two mounts on an S3 store behind a network and a front that do everything wrong.

The proxy befalls one request in twenty with each of its kinds.  Whatever it does: an acknowledged batch
is there, once, whole, for everybody; nothing else is; nobody waits beyond the deadlines; the daemons
lose neither descriptors nor their manners.
"""
import os
import random
import subprocess
import sys
import tempfile
import time
import unittest

import bw
import proxy
import s3

RANKS = 2
BUCKET = os.environ.get("BW_S3_BUCKET", "batchweave")
REQUESTS = int(os.environ.get("BW_FAULT_REQUESTS", 10000))
ONE_NODE = os.path.join(bw.HERE, "..", "..", "mount-helpers", "one-node-s3")


def setUpModule():
    """The engine that the environment names, else one of our own."""
    if "AWS_ENDPOINT_URL_S3" in os.environ:
        return
    folder = os.path.join(tempfile.mkdtemp(prefix="batchweave-"), "s3")
    done = subprocess.run([ONE_NODE, "start", folder], text=True, capture_output=True, check=False)
    if done.returncode:
        raise AssertionError(f"one-node-s3: {done.stderr}")
    unittest.addModuleCleanup(os.rmdir, os.path.dirname(folder))
    unittest.addModuleCleanup(subprocess.run, [ONE_NODE, "stop", folder], check=True)
    for word in done.stdout.replace("export", "").split():
        name, value = word.split("=", 1)
        os.environ[name] = value.strip("'\";")


def slices(producer, seq):
    sizes = random.Random(f"{producer} {seq}").choices((1, 700, 40000, 1300000), (2, 6, 6, 1), k=RANKS)
    return [bw.payload(producer, seq, rank, size) for rank, size in enumerate(sizes)]


class S3Stream:
    """A stream of its own in the bucket, made without faults."""

    def __init__(self, ranks=RANKS):
        self.prefix = f"faults-{os.getpid()}-{random.SystemRandom().randrange(1 << 32):x}"
        self.url = f"s3://{BUCKET}/{self.prefix}"
        self.ranks = ranks
        bw.batchweave("init", self.url, "--ranks", ranks)

    def remove(self):
        bucket = s3.Bucket(BUCKET)
        for key in bucket.list(self.prefix + "/"):
            bucket.delete(key)
        bucket.close()


class Producer:
    """What runs in a child: batches one after the other, and what was acknowledged."""

    def __init__(self, case, name, mount, other, pending):
        self.case, self.name, self.mount, self.other = case, name, mount, other
        self.pending = pending
        self.acked = os.path.join(case.root, name + ".acked")
        self.acknowledge(0)

    def acknowledge(self, n):
        """Whole, whenever it is read."""
        bw.write(self.acked + ".new", str(n))
        os.rename(self.acked + ".new", self.acked)

    def acknowledged(self):
        return int(bw.read(self.acked))

    def run(self, stop):
        seq = 0
        while not os.path.exists(stop):
            self.mount.put(self.name, seq, slices(self.name, seq), f"{seq + 1}")
            seq += 1
            if self.pending and seq % 5:
                continue
            if self.pending:
                self.mount.drain(self.name)
            self.acknowledge(seq)
            self.look_from_the_other()
        if self.pending:
            self.mount.drain(self.name)
        self.acknowledge(seq)

    def look_from_the_other(self):
        """V1, V3: what is acknowledged here opens there, all ranks of it.  A look-up asks the store for
        five seconds and then may say EIO, which is asked again; that there is no such step, never."""
        step = self.mount.head() - 1
        for rank in range(RANKS):
            for left in range(9, -1, -1):
                error = bw.error_of(os.stat, self.other.step(step, rank))
                if error != "EIO" or not left:
                    break
            self.case.assertEqual(error, "")


def read_at_random(case, mount, stop, seed):
    """V2, V5: any step below the head is there, and its bytes are what its producer wrote."""
    rng, head = random.Random(seed), 0
    while not os.path.exists(stop):
        now = mount.head()
        case.assertGreaterEqual(now, head, "the mount went back")
        head = now
        if not head:
            time.sleep(0.01)
            continue
        step = rng.randrange(max(0, head - 50), head)
        meta = mount.meta(step)
        case.assert_step(mount, step, meta["producer"], int(meta["seq"]),
                         slices(meta["producer"], int(meta["seq"])))


def descriptors(mount):
    """(sockets, others) of the daemon."""
    folder = f"/proc/{mount.proc.pid}/fd"
    found = []
    for name in os.listdir(folder):
        try:
            found.append(os.readlink(os.path.join(folder, name)))
        except OSError:
            continue
    sockets = sum(f.startswith("socket:") for f in found)
    return sockets, len(found) - sockets


class FaultCase(bw.TestCase):
    limit = 400

    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get("BW_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"seed {self.seed} (repeat with BW_SEED={self.seed})", file=sys.stderr, flush=True)
        self.proxy = proxy.Proxy(os.environ["AWS_ENDPOINT_URL_S3"], self.seed)
        self.addCleanup(self.proxy.close)
        self.stream_ = S3Stream()
        self.addCleanup(self.stream_.remove)

    def through(self, options=""):
        """A mount behind the proxy."""
        return self.mount(self.stream_, options, env={"AWS_ENDPOINT_URL_S3": self.proxy.endpoint})

    def report(self, since):
        print(f"{self.id()}: {self.proxy.requests} requests in {time.monotonic() - since:.0f} s:",
              " ".join(f"{k}={n}" for k, n in sorted(self.proxy.counts.items())), file=sys.stderr)

    def load(self, kinds, requests):
        mounts = [self.through("io_timeout=120"), self.through("io_timeout=120,pending=4")]
        producers = [Producer(self, f"p{i}", mounts[i % 2], mounts[1 - i % 2], i % 2)
                     for i in range(4)]
        for mount in mounts:  # what a daemon holds once it has done everything before
            name = f"first{mounts.index(mount)}"
            mount.put(name, 0, slices(name, 0))
        others = [descriptors(m)[1] for m in mounts]
        stop = os.path.join(self.root, "stop")
        began, before = time.monotonic(), self.proxy.requests
        self.proxy.kinds, self.proxy.rate = kinds, 0.05
        children = [self.spawn(p.run, stop) for p in producers]
        children += [self.spawn(read_at_random, self, m, stop, self.seed + i)
                     for i, m in enumerate(mounts * 2)]
        try:
            while (self.proxy.requests - before < requests
                   or min(p.acknowledged() for p in producers) < 3):
                self.assertEqual([c.poll() for c in children], [None] * len(children))
                time.sleep(0.05)
        finally:
            self.report(began)
        bw.write(stop, "")
        self.join(*children)
        self.assert_befallen(kinds, requests)
        self.read_all(kinds, producers)
        self.proxy.quiet()
        for mount, n in zip(mounts, others):
            bw.wait_until(lambda m=mount, n=n: descriptors(m)[1] <= n, what="closed descriptors")
            self.assertLessEqual(descriptors(mount)[0], 40, "connections are left behind")

    def assert_befallen(self, kinds, requests):
        for kind in kinds:
            self.assertGreater(self.proxy.counts[kind], requests / 2000, f"{kind} hardly happened")

    def read_all(self, kinds, producers):
        """A cold mount, through the same faults: the stream is every acknowledged batch, once, in order."""
        self.proxy.kinds = kinds
        mount = self.through("io_timeout=120")
        seen = {}
        head = mount.head()
        self.assertEqual(os.listdir(mount.path("step")), [str(s) for s in range(head)])
        for step in range(head):
            meta = mount.meta(step)
            name, seq = meta["producer"], int(meta["seq"])
            self.assertEqual(seq, seen.get(name, 0), f"step {step}")
            seen[name] = seq + 1
            self.assert_step(mount, step, name, seq, slices(name, seq))
        for producer in producers:
            self.assertEqual(seen.get(producer.name), producer.acknowledged())
            self.assertEqual(int(mount.resume(producer.name)["next"]), producer.acknowledged())
        print(f"{head} steps: {seen}", file=sys.stderr)


# What goes together here also does so in a store in trouble.
GROUPS = {
    "answers": ["lost", "500", "409", "412", "duplicate", "delay"],
    "pushback": ["503", "reset_request", "reset_answer", "delay"],
    "bytes": ["flip", "flip_put", "short", "truncated", "duplicate"],
    "slow": ["slow", "stall", "delay", "lost"],
}


class Load(FaultCase):
    def test_S3_V1_V2_V3_answers(self):
        self.load(GROUPS["answers"], REQUESTS * 4 // 10)

    def test_S3_V1_V2_V3_pushback(self):
        self.load(GROUPS["pushback"], REQUESTS * 2 // 10)

    def test_S3_V1_V2_V3_V5_bytes(self):
        self.load(GROUPS["bytes"], REQUESTS * 3 // 10)

    def test_S3_V1_V2_V3_slow(self):
        self.load(GROUPS["slow"], REQUESTS * 1 // 10)


if __name__ == "__main__":
    bw.main()
